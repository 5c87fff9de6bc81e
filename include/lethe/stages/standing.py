"""How a category stands: whether its schedule is kept, as far as the records of its runs and its scheduler say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from croniter import croniter

from lethe.environment import Environment
from lethe.evidence.records import RunRecord
from lethe.evidence.runs import FAILED, OPEN
from lethe.policy import Policy

GRACE = timedelta(hours=24)
"""How long after the time that its schedule says a run may take to succeed: a day, the longest that one is given."""


class Standing(StrEnum):
    """How a category stands, in the words of pages; what needs somebody first, first."""

    WAITING = "waits for a decision"
    FAILED = "failed"
    NEVER = "never run"
    LATE = "late"
    PAUSED = "paused"
    ON_TIME = "on time"


@dataclass(frozen=True, slots=True)
class Scheduled:
    """What a scheduler knows of a category.

    Attributes:
        paused: nothing is started by its schedule.
        following: when it starts the next run; None: not known, or only a person does.
        failed_at: when its newest run that is over and was no dry run began, where that failed.
    """

    paused: bool
    following: datetime | None
    failed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Records:
    """The newest runs of a category that were no dry runs, None where there is none.

    Attributes:
        newest: whatever became of it.
        success: the one of all its datasets that succeeded, as of the latest moment.
    """

    newest: RunRecord | None
    success: RunRecord | None


def records_of(env: Environment, datasets: Mapping[str, Sequence[str]]) -> dict[str, Records]:
    """The runs by which categories stand, by category.

    Args:
        env: whose records.
        datasets: those of each category's policy: a run of some of them is no success of all.
    """
    newest, successes = env.runs.last_that_counts(datasets), env.runs.last_successes(datasets)
    return {category: Records(newest.get(category), successes.get(category)) for category in datasets}


def standing(policy: Policy | None, found: Records, scheduled: Scheduled | None, now: datetime) -> Standing:
    """How a category stands.

    Args:
        policy: in force; None where its file cannot be read, and so no run succeeds.
        found: its runs.
        scheduled: what a scheduler knows of it; None: nothing.
        now: the moment.
    """
    newest, success = found.newest, found.success
    if newest and newest.state == OPEN and newest.waiting_until and newest.waiting_until > now:
        return Standing.WAITING
    if policy is None or _failed(newest, success, scheduled):
        return Standing.FAILED
    if success is None:
        return Standing.NEVER
    if is_late(policy, success.as_of, now):
        return Standing.LATE
    return Standing.PAUSED if scheduled and scheduled.paused and policy.schedule else Standing.ON_TIME


def _failed(newest: RunRecord | None, success: RunRecord | None, scheduled: Scheduled | None) -> bool:
    """Whether the last that is known is a failure: of a run on record, or of one that was never planned."""
    if newest and newest.state == FAILED:
        return success is None or newest.started_at > success.started_at
    failed_at = scheduled.failed_at if scheduled else None
    return failed_at is not None and (success is None or failed_at > success.started_at)


def is_late(policy: Policy, as_of: datetime, now: datetime) -> bool:
    """Whether a run should have succeeded since the one as of a moment: a scheduled time, and `GRACE`, have passed."""
    due = due_after(policy, as_of)
    return due is not None and now > due + GRACE


def overdue_from(policy: Policy, now: datetime) -> datetime:
    """What had expired by when is overdue: by the last time of its schedule that a day, or more, has passed since.

    A day ago where only people start it.
    """
    if policy.schedule is None:
        return now - GRACE
    given = (now - GRACE).astimezone(ZoneInfo(policy.time_zone))
    at: datetime = croniter(policy.schedule, given).get_prev(datetime)
    return at


def due_after(policy: Policy, as_of: datetime) -> datetime | None:
    """When, after a moment, its schedule says that a category is carried out; None: only when a person starts it."""
    if policy.schedule is None:
        return None
    due: datetime = croniter(policy.schedule, as_of.astimezone(ZoneInfo(policy.time_zone))).get_next(datetime)
    return due
