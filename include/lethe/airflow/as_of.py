"""The moment that a run judges by: fixed by the DAG run, never the time at which a task happens to execute."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from lethe.errors import ParameterError


class DatedRun(Protocol):
    """The dates of an Airflow DAG run. Which of them are set depends on what started it."""

    logical_date: datetime | None
    partition_date: datetime | None
    data_interval_end: datetime | None
    run_after: datetime


def as_of_moment(requested: object, run: DatedRun) -> datetime:
    """The as-of moment of a DAG run: what was asked for, else the first of its dates that is set.

    In this order: the parameter `as_of`; the date of its partition; its logical date, which cron schedules and
    backfills give; the end of its data interval; and the moment it was due (`run_after`), which every run has.

    Raises:
        ParameterError: if what was asked for is not an ISO 8601 moment with a time zone.
    """
    if requested is not None:
        return _parse(requested)
    return run.partition_date or run.logical_date or run.data_interval_end or run.run_after


def _parse(requested: object) -> datetime:
    try:
        moment = requested if isinstance(requested, datetime) else datetime.fromisoformat(str(requested))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ParameterError("as_of: write a moment with its time zone, such as 2026-11-21T02:15:00+01:00")
    return moment
