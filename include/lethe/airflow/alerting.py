"""Who is told what, when something happens in Airflow. Nothing here fails, delays or changes a run.

The callback of a DAG run is called once a run, by Airflow's DAG processor: not by a task, and not at each try.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import BaseNotifier

from lethe.airflow.channels import send
from lethe.airflow.connections import open_environment
from lethe.airflow.links import dag_run_path, record_path
from lethe.alerts import Alert, Kind, Outbox
from lethe.environment import Environment
from lethe.errors import LetheError
from lethe.evidence.records import RunRecord
from lethe.evidence.runs import FAILED
from lethe.policy import load_each
from lethe.settings import Settings
from lethe.stages import Plan

_log = logging.getLogger(__name__)

_CALLED_BACK_WITHIN = timedelta(minutes=15)
"""How long after the end of a run its callback may come."""

_REASONS = {
    "timed_out": "The DAG run took longer than its dagrun_timeout.",
    "all_tasks_deadlocked": "No task of the DAG run could start any more.",
}
"""Why a DAG run failed, where no task of it says so."""


def run_failed(context: Mapping[str, Any]) -> None:
    """Tell that a DAG run of a category failed, or was refused. The callback of its DAG; raises nothing."""
    _safely(lambda: _tell_of_run(context))


def noting(context: Mapping[str, Any]) -> Callable[[LetheError], None]:
    """Notes why a run was not planned, or a check not made, for `run_failed` to tell: of that there is no record."""
    return lambda error: note_finding(context, Kind.FAILED if error.transient else Kind.REFUSED, (str(error),))


class Telling(BaseNotifier):  # type: ignore[misc]
    """A notifier of Airflow that tells people of one thing, by the connections of `LETHE_ALERTS`; raises nothing."""

    def __init__(self, alert: Alert) -> None:
        super().__init__()
        self._alert = alert

    def notify(self, context: Mapping[str, Any]) -> None:
        """Tell."""
        del context
        _safely(self._tell)

    def _tell(self) -> None:
        settings = Settings()
        if settings.alerts:
            with open_environment(settings) as env:
                tell(env, self._alert)


def of_question(context: Mapping[str, Any], planned: Plan, what: Sequence[str], until: datetime) -> Alert:
    """That a run waits for a person's answer."""
    return _of_dag_run(context, Kind.WAITING, what=what).model_copy(
        update={
            "cause": f"{Kind.WAITING}:{planned.run}",
            "datasets": planned.datasets,
            "run": planned.run,
            "since": datetime.now(UTC),
            "what": (*what, f"Answer until {until:%Y-%m-%d %H:%M} UTC; without an answer nothing is erased."),
            "page": record_path(_dag_id(context), context["run_id"]),
        }
    )


def note_finding(context: Mapping[str, Any], kind: Kind, what: Sequence[str]) -> None:
    """Note what a DAG that looks after all categories has found, for `run_failed` to tell; raises nothing."""
    _safely(lambda: _note(context, kind, what))


def keep_silent(context: Mapping[str, Any]) -> None:
    """Have `run_failed` tell nothing of this DAG run: what it has found has been told. Raises nothing."""
    _safely(lambda: _note(context, Kind.FAILED, (), connections=()))


def _safely(work: Callable[[], None]) -> None:
    """Do what nothing else may depend on. Only the type of an unforeseen error is logged: its text may be anything."""
    try:
        work()
    except LetheError as error:
        _log.error("An alert could not be sent: %s", error)
    except Exception as error:  # noqa: BLE001
        _log.error("An alert could not be sent: unexpected %s; this is a bug in Lethe", type(error).__name__)


def _note(
    context: Mapping[str, Any], kind: Kind, what: Sequence[str], *, connections: Sequence[str] | None = None
) -> None:
    settings = Settings()
    if settings.alerts:
        with open_environment(settings) as env:
            alert = _of_dag_run(context, kind, what=what)
            Outbox(env.governance).note(alert, settings.alerts if connections is None else connections)


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


def tell(env: Environment, alert: Alert, connections: Sequence[str] | None = None) -> None:
    """Tell people of a cause, unless they have been told; what was noted of it before is what they are told.

    Where the governance database does not answer, nobody knows whether they have been told: then they are told.

    Args:
        env: whose settings and governance database.
        alert: what they are told.
        connections: by which; None: all.
    """
    ways = env.settings.alerts if connections is None else tuple(connections)
    try:
        outbox = Outbox(env.governance)
        outbox.note(alert, ways)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, that is no reason to keep silent
        _log.error("The alert %r cannot be noted (%s)", alert.headline, type(error).__name__)
        send(alert, ways, env.settings)
        return
    _send_noted(env, outbox, alert.cause)


def send_again(env: Environment) -> list[Alert]:
    """Send what has not reached everybody; tell, by the other connections, of those that do not work.

    Returns:
        What was told: one alert a connection that does not.
    """
    outbox, ways = Outbox(env.governance), env.settings.alerts
    for cause in outbox.waiting():
        _send_noted(env, outbox, cause)
    unsent = Counter(way for left in outbox.waiting().values() for way in left if way in ways)
    found = [_broken(way, number) for way, number in unsent.items()]
    outbox.over([Kind.UNSENT], {alert.cause for alert in found})
    for alert in found:
        tell(env, alert, [way for way in ways if way not in unsent])
    return found


def _send_noted(env: Environment, outbox: Outbox, cause: str) -> None:
    """Send what was noted of a cause by the connections that it has not reached, unless somebody is at it."""
    letter = outbox.claim(cause)
    if letter is not None:
        ways = [way for way in letter.unsent if way in env.settings.alerts]
        outbox.settle(cause, send(letter.alert, ways, env.settings))


def _broken(way: str, number: int) -> Alert:
    some = "1 alert has" if number == 1 else f"{number} alerts have"
    return Alert(
        kind=Kind.UNSENT,
        cause=f"{Kind.UNSENT}:{way}",
        subject=f"connection {way}",
        since=datetime.now(UTC),
        what=(f"{some} not been sent by it; the log of who tried says why.",),
    )


def _failure(env: Environment, context: Mapping[str, Any]) -> Alert:
    """What is known of a DAG run that failed: from the record of its run, if it was planned."""
    record = env.runs.triggered_by(f"airflow:{_dag_id(context)}/{context['run_id']}")
    reason = _REASONS.get(str(context.get("reason")))
    if record is None:
        return _of_dag_run(context, Kind.FAILED, what=(reason or "Its tasks say why.",))
    page = record_path(_dag_id(context), context["run_id"])
    return _of_record(env, record, cause=_cause(context), page=page, reason=reason)


def untold(env: Environment) -> list[Alert]:
    """The newest runs of categories that failed some time ago and that nobody was told of.

    Airflow's DAG processor ends a callback that takes too long, or is itself ended in the midst of one.
    """
    outbox, now = Outbox(env.governance), datetime.now(UTC)
    found = []
    for category in load_each(env.settings.policies):
        for record in env.runs.latest(1, category=category, dry_run=False):
            scheduler, _, name = record.trigger.partition(":")
            over = record.state == FAILED and record.finished_at and now > record.finished_at + _CALLED_BACK_WITHIN
            if over and scheduler == "airflow" and not outbox.knows(f"run:{name}"):
                dag_id, _, run_id = name.partition("/")
                found.append(_of_record(env, record, cause=f"run:{name}", page=record_path(dag_id, run_id)))
    return found


def _of_record(env: Environment, record: RunRecord, *, cause: str, page: str, reason: str | None = None) -> Alert:
    """That a run failed, by its record."""
    problems = {one.dataset: one.problem for one in env.runs.datasets(record.id) if one.problem}
    what = [reason] if reason else []
    what += [f"{dataset}: {problem}" for dataset, problem in problems.items()]
    if record.finished_at is None:
        what.append("Its record is not complete; its task certify says why. The next run completes it.")
    return Alert(
        kind=Kind.FAILED,
        cause=cause,
        subject=record.category,
        datasets=tuple(problems),
        run=record.id,
        since=record.started_at,
        what=tuple(what) or ("Its tasks say why.",),
        page=page,
    )


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
