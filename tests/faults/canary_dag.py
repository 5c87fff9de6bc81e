"""Runs the DAG of the canaries, task by task, in an Airflow of its own: ``python -m tests.faults.canary_dag NAME…``.

Each name is a run, on a date of its own. A run whose name is `approved` is asked about, and a person approves; of a
date that another process had a run of, it would be that run carried out again, which nobody may approve.
Airflow's home is where `AIRFLOW_HOME` says; its logs go to standard output, and everything is logged.
"""

from __future__ import annotations

import logging
import sys
from contextlib import nullcontext
from datetime import timedelta

from tests.airflow_kit import answering
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
        day = AS_OF + timedelta(hours=2 if name == "approved" else number)
        with answering("Approve") if name == "approved" else nullcontext():
            run = bag.dags["canaries"].test(run_conf={}, logical_date=day, run_after=day)
        print(f"{name}: {run.state}")
        print({f"{ti.task_id}[{ti.map_index}]": str(ti.state) for ti in run.get_task_instances()}, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
