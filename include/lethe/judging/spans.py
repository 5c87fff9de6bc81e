"""Dates in names of files and objects, of whatever precision: from the first to the last moment that they may mean.

A key often says a month, a quarter, a week or an hour: ``year=2024/month=01/``, ``2024-W52``. What a record's period
counts from is the last moment that such a date may mean, so that none is early; a hold on a range of clocks covers it
where any of its days is in the range. A pattern captures either all of a date, as the group ``value`` that is read as
`lethe.judging.dates` says, or its parts, each as a group of its own: `PARTS`.

Days and local times are those of the clock's zone. Where that is not the policy's, a day ends when it ends there.

`vectors/spans.yaml` says this as data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from lethe.judging.dates import Moment, TimestampFormat, day_of, later, read

PARTS = {
    "year": "",
    "quarter": "year",
    "month": "year",
    "day": "month",
    "hour": "day",
    "minute": "hour",
    "iso_year": "week",
    "week": "iso_year",
}
"""The parts of a date that a pattern may capture, each with the one that it needs beside it.

A week is one of ISO 8601, and goes with the year that it is counted in (``%G``): a calendar year beside it would leave
open whether week 1 of 2024 is in its January or its December.
"""

_DIGITS = {"year": re.compile("[0-9]{4}"), "iso_year": re.compile("[0-9]{4}")}
_OTHERS = re.compile("[0-9]{1,2}")
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Span:
    """The first and the last moment that a date may mean: days, local times or moments in UTC, both of one kind."""

    first: Moment
    last: Moment

    def placed(self, clock_zone: ZoneInfo, zone: ZoneInfo) -> Span:
        """The same as days of `zone`, where `clock_zone` is that too, and as moments in UTC."""
        return Span(_placed(self.first, clock_zone, zone, time.min), _placed(self.last, clock_zone, zone, time.max))

    def days(self, zone: ZoneInfo) -> tuple[date, date]:
        """The local days of a placed span."""
        return day_of(self.first, zone, zone), day_of(self.last, zone, zone)


def _placed(moment: Moment, clock_zone: ZoneInfo, zone: ZoneInfo, edge: time) -> Moment:
    if not isinstance(moment, datetime):
        if clock_zone.key == zone.key:
            return moment
        moment = datetime.combine(moment, edge)
    if moment.tzinfo is not None:
        return moment
    return later(moment, clock_zone) if edge == time.max else _earlier(moment, clock_zone)


def _earlier(wall: datetime, zone: ZoneInfo) -> datetime:
    try:
        return min(wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    except OverflowError:
        return later(wall, zone)


def span_of(parts: Mapping[str, str | None], form: TimestampFormat) -> Span | None:
    """What the groups of a pattern say; None where it cannot be judged. `form` is that of the group ``value``."""
    if "value" in parts:
        return _of_text(parts["value"] or "", form)
    given = {name: text for name, text in parts.items() if name in PARTS and text}
    if any(not _DIGITS.get(name, _OTHERS).fullmatch(text) for name, text in given.items()):
        return None
    if any(PARTS[name] and PARTS[name] not in given for name in given):
        return None
    try:
        return _of_numbers({name: int(text) for name, text in given.items()})
    except (ValueError, OverflowError):
        return None


def _of_text(text: str, form: TimestampFormat) -> Span | None:
    moment = read(text, form)
    if moment is None:
        return None
    return Span(date(moment.year, 1, 1) if form is TimestampFormat.YEAR else moment, moment)


def _of_numbers(parts: Mapping[str, int]) -> Span:
    if "week" in parts:
        monday = date.fromisocalendar(parts["iso_year"], parts["week"], 1)
        return Span(monday, monday + timedelta(days=6))
    year, month, day = parts["year"], parts.get("month"), parts.get("day")
    quarter = parts.get("quarter")
    if quarter is not None and (
        quarter not in range(1, 5) or month not in (None, *range(3 * quarter - 2, 3 * quarter + 1))
    ):
        raise ValueError("no quarter, or not that of the month")
    if month is None:
        first_month, last_month = (3 * quarter - 2, 3 * quarter) if quarter else (1, 12)
        return Span(date(year, first_month, 1), _last_of_month(year, last_month))
    if day is None:
        return Span(date(year, month, 1), _last_of_month(year, month))
    if "hour" not in parts:
        return Span(date(year, month, day), date(year, month, day))
    first = datetime(year, month, day, parts["hour"], parts.get("minute", 0))  # noqa: DTZ001 - a local time
    return Span(first, first + timedelta(minutes=1 if "minute" in parts else 60) - _TICK)


def _last_of_month(year: int, month: int) -> date:
    return date(year, 12, 31) if month == 12 else date(year, month + 1, 1) - timedelta(days=1)


def wrong_groups(groups: frozenset[str]) -> str | None:
    """What is wrong with the names of a pattern's groups, for capturing a date; None: nothing."""
    if "value" in groups:
        beside = sorted(groups & PARTS.keys())
        return (
            f"the pattern captures value and {', '.join(beside)}: either all of the date, or its parts"
            if beside
            else None
        )
    if not groups & {"year", "iso_year"}:
        return (
            "the pattern needs a group named value, such as date=(?P<value>[0-9-]{10})/, or the parts of a date, such "
            "as (?P<year>[0-9]{4})/(?P<month>[0-9]{2})/(?P<day>[0-9]{2})/"
        )
    if groups >= {"year", "week"}:
        return (
            "a week needs the year that it is counted in, as iso_year (strftime %G): week 1 of a calendar year may be "
            "in its January or in its December"
        )
    if groups >= {"year", "iso_year"}:
        return "the pattern captures year and iso_year: either year, month and day, or iso_year and week"
    lacking = sorted(
        f"{part} needs {PARTS[part]}" for part in groups & PARTS.keys() if PARTS[part] and PARTS[part] not in groups
    )
    return f"the pattern captures a part of a date without another: {', '.join(lacking)}" if lacking else None
