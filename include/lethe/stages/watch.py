"""Watch: what nobody would be told of otherwise, because nothing runs that could fail.

A DAG that is paused, a scheduler that is down, a policy that cannot be read: no task of theirs can say so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from lethe.alerts import Alert, Kind, Outbox
from lethe.environment import Environment
from lethe.errors import PolicyError
from lethe.evidence.records import RunRecord
from lethe.evidence.runs import FAILED, OPEN, SUCCEEDED
from lethe.policy import Policy, load_each
from lethe.stages.standing import GRACE, Records, due_after, records_of

WATCHED = (Kind.OVERDUE, Kind.SILENT, Kind.POLICY)
"""What a watch finds. Their causes begin with the kind."""


def overlooked(env: Environment, now: datetime) -> list[Alert]:
    """The categories that are overdue or without success, and the policies that cannot be used.

    Where none has ever succeeded, time counts from when this first looked.

    Args:
        env: whose records, policies and settings.
        now: the moment.

    Raises:
        PolicyError: if there are no policies at all.
    """
    found: list[Alert] = []
    written = load_each(env.settings.policies)
    usable = [policy for policy in written.values() if isinstance(policy, Policy)]
    records = records_of(env, {one.category: [dataset.name for dataset in one.datasets] for one in usable})
    for category, policy in written.items():
        if isinstance(policy, PolicyError):
            found.append(_unusable(category, policy, now))
        else:
            found += _late(env, policy, records[category], now)
    return found


def _unusable(category: str, error: PolicyError, now: datetime) -> Alert:
    text = str(error)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    cause = f"{Kind.POLICY}:{category}:{digest}"
    return Alert(kind=Kind.POLICY, cause=cause, subject=category, since=now, what=(text,))


def _late(env: Environment, policy: Policy, found: Records, now: datetime) -> Iterator[Alert]:
    """At most one alert: that no run succeeds stands for that one is overdue."""
    since = found.success.as_of if found.success else Outbox(env.governance).known_since(policy.category)
    due = due_after(policy, since)
    if due is None or now <= due + env.settings.overdue_after:
        return
    later = found.newest if found.newest != found.success else None
    kind = Kind.SILENT if now > due + env.settings.silent_after else Kind.OVERDUE
    yield Alert(
        kind=kind,
        cause=f"{kind}:{policy.category}:{due.astimezone(UTC).isoformat()}",
        subject=policy.category,
        run=later.id if later else None,
        since=due.astimezone(UTC),
        what=(*_words(found.success, kind, due, now), _of_newest(later, now)),
    )


def _words(success: RunRecord | None, kind: Kind, due: datetime, now: datetime) -> Iterator[str]:
    moment = f"{due.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if success is None:
        yield f"No run of all its datasets has ever succeeded; by its schedule, one was due at {moment}."
    else:
        yield (
            f"The last run of all its datasets that succeeded is {success.id}; by its schedule, the next was due "
            f"at {moment}."
        )
    if kind is Kind.OVERDUE:
        yield f"What has expired since is late from {(due + GRACE).astimezone(UTC):%Y-%m-%d %H:%M} UTC."
    else:
        yield f"That is {_hours(now - due)} hours ago."


def _of_newest(newest: RunRecord | None, now: datetime) -> str:
    """What is known of why; None: nothing was planned since the last that succeeded."""
    if newest is None:
        return "No run has been planned since: its DAG is paused or cannot be read, or its runs are refused."
    if newest.state == OPEN and newest.waiting_until and newest.waiting_until > now:
        return f"Run {newest.id} waits for a person's answer until {newest.waiting_until:%Y-%m-%d %H:%M} UTC."
    if newest.state == FAILED:
        return f"Run {newest.id} failed."
    if newest.state == SUCCEEDED:
        return f"Run {newest.id} succeeded, but as of {newest.as_of:%Y-%m-%d %H:%M} UTC, or not for all datasets."
    return f"Run {newest.id} is {newest.state}."


def _hours(span: timedelta) -> int:
    return int(span.total_seconds() // 3600)
