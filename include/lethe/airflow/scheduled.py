"""What Airflow's scheduler knows of DAGs, read from its metadata database: on its server side only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from lethe.stages.standing import Scheduled

_LOOKED_AT = 20
"""Runs of each DAG that are looked at for the newest that is over and was no dry run."""


def scheduled(categories: Collection[str]) -> Mapping[str, Scheduled]:
    """What is known of the DAGs of categories, by category; nothing of those that have none."""
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    with create_session() as session:
        known = sa.select(DagModel.dag_id, DagModel.is_paused, DagModel.next_dagrun_create_after)
        dags = session.execute(known.where(DagModel.dag_id.in_(categories), DagModel.is_stale.is_(False))).all()
        failed = _failed(session, [dag.dag_id for dag in dags])
    return {
        dag.dag_id: Scheduled(
            paused=dag.is_paused,
            following=None if dag.is_paused else dag.next_dagrun_create_after,
            failed_at=failed.get(dag.dag_id),
        )
        for dag in dags
    }


@dataclass(frozen=True, slots=True)
class Over:
    """A DAG run that is over: when it began, and whether it succeeded."""

    began: datetime
    succeeded: bool


def newest_over(dag_id: str) -> Over | None:
    """The newest run of a DAG that is over; None: there is none."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState

    began = sa.func.coalesce(DagRun.start_date, DagRun.queued_at, DagRun.run_after)
    query = (
        sa.select(began.label("began"), DagRun.state)
        .where(DagRun.dag_id == dag_id, DagRun.state.in_((DagRunState.SUCCESS, DagRunState.FAILED)))
        .order_by(began.desc())
        .limit(1)
    )
    with create_session() as session:
        found = session.execute(query).one_or_none()
    return Over(found.began, found.state == DagRunState.SUCCESS) if found else None


def _failed(session: sa.orm.Session, dags: Collection[str]) -> Mapping[str, datetime]:
    """When the newest run of each DAG that is over and was no dry run began, where that failed."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.state import DagRunState

    began = sa.func.coalesce(DagRun.start_date, DagRun.queued_at, DagRun.run_after)
    rank = sa.func.row_number().over(partition_by=DagRun.dag_id, order_by=began.desc())
    over = DagRun.state.in_((DagRunState.SUCCESS, DagRunState.FAILED))
    runs = sa.select(DagRun.dag_id, DagRun.state, DagRun.conf, began.label("began"), rank.label("rank"))
    ranked = runs.where(DagRun.dag_id.in_(dags), over).subquery()
    newest: dict[str, datetime | None] = {}
    for run in session.execute(sa.select(ranked).where(ranked.c.rank <= _LOOKED_AT).order_by(ranked.c.rank)):
        if not (run.conf or {}).get("dry_run"):
            newest.setdefault(run.dag_id, run.began if run.state == DagRunState.FAILED else None)
    return {dag: began for dag, began in newest.items() if began is not None}
