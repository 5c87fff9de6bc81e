"""The one meaning of a clock that is written as text or as a number, and of local times without a zone.

Text of format ``iso8601``: ``YYYY-MM-DD`` or ``YYYYMMDD``; then ``T``, ``t`` or a space, ``hh:mm``, seconds, a fraction
after ``.`` or ``,`` (what is finer than microseconds is cut off); then, after a space or none, ``Z``, ``z``, ``±hh``,
``±hhmm`` or ``±hh:mm`` up to 15:59. ``24:00`` is the start of the next day. White space around it does not matter.
All else cannot be judged: week dates, days of the year and hours without minutes most of all, because their first
instant would be too early. So it is with moments outside of the years 1 to 9999.

A local time that occurs twice counts as the later of its two moments, and one that the clocks skipped counts as long
after the skip as it would have been: no record is ever early.

`vectors/dates.yaml` says all this as data, which every engine has to agree with.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from math import floor
from zoneinfo import ZoneInfo

Moment = date
"""A local day (a plain date), a local time without a zone (a naive datetime), or a moment in UTC (an aware one)."""

FIRST_WALL = datetime.min  # noqa: DTZ901 - a local time
"""The first local time without a zone that is a clock."""

LAST_WALL = datetime.max  # noqa: DTZ901 - a local time
"""The last one."""

Walls = tuple[tuple[datetime, datetime], ...]
"""Ranges of local times without a zone: from (included), until (excluded); in order."""


@dataclass(frozen=True, slots=True)
class Zones:
    """The policy's zone, and that of local times without one."""

    policy: ZoneInfo
    clock: ZoneInfo


BLANKS = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""White space around a clock, as Python has it; engines have other notions."""

ISO_8601 = (
    "^([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8})"
    "(?:[Tt ]([01][0-9]|2[0-4]):([0-5][0-9])(?::([0-5][0-9])(?:[.,]([0-9]{1,6})[0-9]*)?)?"
    "(?: ?([Zz]|[+-](?:0[0-9]|1[0-5])(?::?[0-5][0-9])?))?)?$"
)
"""Day, hour, minute, second, fraction and offset of trimmed text, written so that Python, PostgreSQL and Rust mean the
same by it. What it lets through still may be no day of the calendar."""

NUMBER = "^([+-]?[0-9]{1,20}(?:[.][0-9]{1,20})?)$"
"""A number since 1970 as trimmed text."""

YEAR = "^([0-9]{4})$"
"""A year as trimmed text."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_SECOND, SECOND_AFTER_LAST = -62_135_596_800, 253_402_300_800
"""The years 1 to 9999 in seconds since 1970: from (included) and until (excluded)."""

_ISO_8601, _NUMBER, _YEAR = re.compile(ISO_8601), re.compile(NUMBER), re.compile(YEAR)
_MICROSECOND = timedelta(microseconds=1)
_AN_HOUR = timedelta(hours=1)
_A_DAY = timedelta(days=1)
_WINDOW_HOURS = 48
_FIRST, _LAST = FIRST_WALL.replace(tzinfo=UTC), LAST_WALL.replace(tzinfo=UTC)


class TimestampFormat(StrEnum):
    """How a clock is written where its column has no date or timestamp type."""

    ISO_8601 = "iso8601"
    EPOCH_SECONDS = "epoch_seconds"
    EPOCH_MILLISECONDS = "epoch_milliseconds"
    EPOCH_MICROSECONDS = "epoch_microseconds"
    YEAR = "year"


PER_SECOND = {
    TimestampFormat.EPOCH_SECONDS: 1,
    TimestampFormat.EPOCH_MILLISECONDS: 1_000,
    TimestampFormat.EPOCH_MICROSECONDS: 1_000_000,
}
"""How many of a format's units are a second."""


def read(text: str, form: TimestampFormat) -> Moment | None:
    """What a clock's text says; None where it cannot be judged."""
    text = text.strip(BLANKS)
    if form is TimestampFormat.ISO_8601:
        return _read_iso(text)
    if form is TimestampFormat.YEAR:
        year = int(text) if _YEAR.fullmatch(text) else 0
        return date(year, 12, 31) if year else None
    return from_epoch(Decimal(text), PER_SECOND[form]) if _NUMBER.fullmatch(text) else None


def from_epoch(number: Decimal | int | float, per_second: int) -> datetime | None:
    """The moment of a finite number since 1970, to the microsecond before it; None outside of the years 1 to 9999."""
    if not FIRST_SECOND * per_second <= number < SECOND_AFTER_LAST * per_second:
        return None
    return EPOCH + floor(Fraction(number) * (1_000_000 // per_second)) * _MICROSECOND


def epoch_number(instant: datetime, per_second: int) -> Decimal:
    """A moment as a number since 1970, exactly."""
    return Decimal((instant - EPOCH) // _MICROSECOND) / (1_000_000 // per_second)


def _read_iso(text: str) -> Moment | None:
    match = _ISO_8601.fullmatch(text)
    if match is None:
        return None
    day, hour, minute, second, fraction, offset = match.groups()
    digits = day.replace("-", "")
    try:
        read = date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
        if hour is None:
            return read
        since = timedelta(
            hours=int(hour),
            minutes=int(minute),
            seconds=int(second or 0),
            microseconds=int((fraction or "").ljust(6, "0")),
        )
        if since > _A_DAY:
            return None
        if offset is None:
            return datetime(read.year, read.month, read.day) + since  # noqa: DTZ001 - a local time
        return datetime(read.year, read.month, read.day, tzinfo=UTC) + (since - _offset_of(offset))
    except (ValueError, OverflowError):
        return None


def _offset_of(text: str) -> timedelta:
    if text in "Zz":
        return timedelta(0)
    digits = text[1:].replace(":", "")
    size = timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0))
    return -size if text[0] == "-" else size


# --- local times without a zone -----------------------------------------------------------------------------------


def later(wall: datetime, zone: ZoneInfo) -> datetime:
    """The moment (UTC) that a local time without a zone counts as, within the calendar."""
    try:
        return max(wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    except OverflowError:
        return _FIRST if wall.year == 1 else _LAST


def day_of(moment: Moment, zone: ZoneInfo, clock_zone: ZoneInfo) -> date:
    """The local day in `zone` of a clock, within the calendar; `clock_zone` is that of local times without one."""
    if not isinstance(moment, datetime):
        return moment
    if moment.tzinfo is None:
        if clock_zone.key == zone.key:
            return moment.date()
        moment = later(moment, clock_zone)
    try:
        return moment.astimezone(zone).date()
    except OverflowError:
        return date.min if moment.year == 1 else date.max


@lru_cache(maxsize=4096)
def walls_before(instant: datetime, zone: ZoneInfo) -> Walls:
    """The local times without a zone that count as before a moment: one range, or two within an hour that was skipped.

    A local time that was skipped counts as the moment after the skip, as other local times do, so that the local times
    before a moment just after a skip are not all in one piece.
    """
    points = _boundaries(instant, zone)
    ranges = [(FIRST_WALL, points[0])]
    for start, end in pairwise(points):
        if later(start, zone) < instant:
            joined = ranges.pop()[0] if ranges[-1][1] == start else start
            ranges.append((joined, end))
    return tuple(ranges)


def latest_wall(instant: datetime, zone: ZoneInfo) -> datetime:
    """A local time from which on none may stand for a moment before `instant`."""
    return _boundaries(instant, zone)[-1]


def _boundaries(instant: datetime, zone: ZoneInfo) -> list[datetime]:
    """Where local times may begin or end to be before: `instant` by each offset in force around it, and each change."""
    if not date.min.year < instant.year < date.max.year:
        return [instant.replace(tzinfo=None)]
    hours = [instant + step * _AN_HOUR for step in range(-_WINDOW_HOURS, _WINDOW_HOURS + 1)]
    walls = {(instant + _offset(at, zone)).replace(tzinfo=None) for at in hours}
    for before, after in pairwise(hours):
        if _offset(before, zone) != _offset(after, zone):
            change = _change(before, after, zone)
            walls |= {(change + _offset(at, zone)).replace(tzinfo=None) for at in (before, after)}
    return sorted(walls)


def _offset(at: datetime, zone: ZoneInfo) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta(0)


def _change(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The second at which the zone's offset changes, between two moments."""
    old = _offset(before, zone)
    low, high = int(before.timestamp()), int(after.timestamp()) + 1
    while high - low > 1:
        middle = (low + high) // 2
        same = _offset(datetime.fromtimestamp(middle, UTC), zone) == old
        low, high = (middle, high) if same else (low, middle)
    return datetime.fromtimestamp(high, UTC)
