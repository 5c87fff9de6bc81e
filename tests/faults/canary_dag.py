"""Runs the DAG of the canaries, task by task, in an Airflow of its own: ``python -m tests.faults.canary_dag NAME…``.

Each name is a run, on a date of its own. A run whose name is `approved` is asked about, and a person approves.
Airflow's home is where `AIRFLOW_HOME` says; its logs go to standard output, and everything is logged.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.faults.canary import AS_OF


def main(names: list[str]) -> None:
    """Run the DAG once for each name, and print how it ended."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.utils.db import initdb

    initdb()
    for name in ("sqlalchemy.engine.Engine.lethe", "sqlalchemy.dialects", "botocore", "urllib3"):
        logging.getLogger(name).setLevel(logging.DEBUG)  # Airflow's settings do not reach all of them
    bag = DagBag()
    if bag.import_errors:
        raise SystemExit(str(bag.import_errors))
    for number, name in enumerate(names):
        if name == "approved":
            threading.Thread(target=_approve, daemon=True).start()
        day = AS_OF + timedelta(hours=number)
        run = bag.dags["canaries"].test(run_conf={}, logical_date=day, run_after=day)
        print(f"{name}: {run.state}")
        print({f"{ti.task_id}[{ti.map_index}]": str(ti.state) for ti in run.get_task_instances()}, flush=True)


def _approve() -> None:
    """Answer the question as soon as it is asked."""
    import sqlalchemy as sa
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.sdk.serde import serialize
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState

    while True:
        time.sleep(0.3)
        with create_session() as session:
            waiting: Any = session.scalars(
                sa.select(TaskInstance).where(TaskInstance.state == TaskInstanceState.AWAITING_INPUT)
            ).first()
            detail = session.get(HITLDetail, waiting.id) if waiting else None
            if detail is None:
                continue
            detail.responded_at = datetime.now(UTC)
            detail.chosen_options = ["Approve"]
            detail.responded_by = {"id": "7", "name": "Eva"}
            waiting.next_kwargs = {
                **(waiting.next_kwargs or {}),
                "event": serialize(detail.as_resume_event_payload(timedout=False)),
            }
            waiting.state = TaskInstanceState.SCHEDULED
            return


if __name__ == "__main__":
    main(sys.argv[1:])
