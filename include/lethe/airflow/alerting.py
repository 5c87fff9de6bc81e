"""Who is told what, when something happens in Airflow: callbacks of DAGs, which never fail, delay or change a run.

The callback of a DAG run is called once a run, by Airflow's DAG processor: not by a task, and not at each try.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from lethe.airflow.channels import send
from lethe.airflow.connections import open_environment
from lethe.airflow.links import dag_run_path, record_path
from lethe.alerts import Alert, Kind, Outbox
from lethe.alerts.outbox import Letter
from lethe.environment import Environment
from lethe.errors import LetheError
from lethe.evidence.records import RunRecord
from lethe.settings import Settings

_log = logging.getLogger(__name__)

_REASONS = {
    "timed_out": "The DAG run took longer than its dagrun_timeout.",
    "all_tasks_deadlocked": "No task of the DAG run could start any more.",
}
"""Why a DAG run failed, where no task of it says so."""


def run_failed(context: Mapping[str, Any]) -> None:
    """Tell that a DAG run of a category failed, or was refused. The callback of its DAG; raises nothing."""
    _safely(lambda: _tell_of_run(context))


def note_of_plan(context: Mapping[str, Any]) -> Callable[[LetheError], None]:
    """Notes why a run was not planned, for `run_failed` to tell: of such a run there is no record."""
    return lambda error: _safely(lambda: _note_of_plan(context, error))


def _safely(work: Callable[[], None]) -> None:
    """Do what nothing else may depend on. Only the type of an unforeseen error is logged: its text may be anything."""
    try:
        work()
    except LetheError as error:
        _log.error("An alert could not be sent: %s", error)
    except Exception as error:  # noqa: BLE001
        _log.error("An alert could not be sent: unexpected %s; this is a bug in Lethe", type(error).__name__)


def _note_of_plan(context: Mapping[str, Any], error: LetheError) -> None:
    settings = Settings()
    if not settings.alerts:
        return
    kind = Kind.FAILED if error.transient else Kind.REFUSED
    with open_environment(settings) as env:
        alert = _of_dag_run(context, kind, what=(str(error),))
        Outbox(env.governance).note(alert, settings.alerts)


def _tell_of_run(context: Mapping[str, Any]) -> None:
    settings = Settings()
    if not settings.alerts:
        return
    with open_environment(settings) as env:
        try:
            alert = _failure(env, context)
        except LetheError as error:
            alert = _of_dag_run(context, Kind.FAILED, what=(f"Its record cannot be read: {error}",))
        tell(env, alert)


def tell(env: Environment, alert: Alert) -> None:
    """Tell people of a cause, unless they have been told; what was noted of it before is what they are told.

    Where the governance database does not answer, nobody knows whether they have been told: then they are told.
    """
    outbox, connections = None, env.settings.alerts
    try:
        outbox = Outbox(env.governance)
        outbox.note(alert, connections)
        letter = outbox.claim(alert.cause)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, that is no reason to keep silent
        _log.error("The alert %r cannot be noted (%s)", alert.headline, type(error).__name__)
        outbox, letter = None, Letter(alert, connections)
    if letter is None:
        return
    unsent = [one for one in letter.unsent if one in connections and not send(letter.alert, one, env.settings)]
    if outbox is not None:
        outbox.settle(alert.cause, unsent)


def _failure(env: Environment, context: Mapping[str, Any]) -> Alert:
    """What is known of a DAG run that failed: from the record of its run, if it was planned."""
    record = env.runs.triggered_by(f"airflow:{_dag_id(context)}/{context['run_id']}")
    reason = _REASONS.get(str(context.get("reason")))
    if record is None:
        return _of_dag_run(context, Kind.FAILED, what=(reason or "It was not planned; its task plan says why.",))
    return _of_record(env, context, record, reason)


def _of_record(env: Environment, context: Mapping[str, Any], record: RunRecord, reason: str | None) -> Alert:
    problems = {one.dataset: one.problem for one in env.runs.datasets(record.id) if one.problem}
    what = [reason] if reason else []
    what += [f"{dataset}: {problem}" for dataset, problem in problems.items()]
    if record.finished_at is None:
        what.append("Its record is not complete; its task certify says why. The next run completes it.")
    alert = _of_dag_run(context, Kind.FAILED, what=what or ("Its tasks say why.",))
    page = record_path(_dag_id(context), context["run_id"])
    known = {"datasets": tuple(problems), "run": record.id, "since": record.started_at, "page": page}
    return alert.model_copy(update=known)


def _of_dag_run(context: Mapping[str, Any], kind: Kind, *, what: Sequence[str]) -> Alert:
    """An alert of a DAG run, as far as Airflow tells of it."""
    dag_id, run_id, run = _dag_id(context), context["run_id"], context.get("dag_run")
    began = (run.start_date or run.run_after) if run else None
    return Alert(
        kind=kind,
        cause=_cause(context),
        subject=dag_id,
        run=run_id,
        since=(began or datetime.now(UTC)).astimezone(UTC),
        what=tuple(what),
        page=dag_run_path(dag_id, run_id),
    )


def _cause(context: Mapping[str, Any]) -> str:
    """A DAG run; once it was cleared, what becomes of it then is told anew."""
    run = context.get("dag_run")
    cleared = getattr(run, "clear_number", 0)
    return f"run:{_dag_id(context)}/{context['run_id']}" + (f"#{cleared}" if cleared else "")


def _dag_id(context: Mapping[str, Any]) -> str:
    return str(context["dag"].dag_id)
