"""Clocks in MariaDB: text, local days and time zones, said in whole numbers.

The server has time zones only where an administrator loaded them, and its casts of text to dates take more than our
grammar does, and fail a statement that writes. So what a text says is worked out from its digits, moments are counted
in microseconds since 1970 (a `tick`), and a zone is its list of changes, written into the statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from lethe.judging.dates import (
    BLANKS,
    EPOCH,
    FIRST_WALL,
    ISO_8601,
    LAST_WALL,
    NUMBER,
    YEAR,
    Walls,
)
from lethe.stores.sql.dialects.base import AnyColumn, Bound, ClockKind, Predicate, epochs

EXACT = "utf8mb4_nopad_bin"
"""The collation that compares text by its characters alone, blanks at the end included."""

_TICK = timedelta(microseconds=1)
_PER_SECOND = 1_000_000
_PER_DAY = 86_400 * _PER_SECOND
_DAYS_TO_1970 = 719_528
"""TO_DAYS('1970-01-01')."""
_FIRST_DAY, _LAST_DAY = 366, 3_652_424
"""TO_DAYS of the first and the last day of the years 1 to 9999."""
_FIRST_CHANGE, _LAST_CHANGE = datetime(1850, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
"""Between which changes of zones are listed: before, no zone had any; after, no record has expired."""
_A_DAY, _A_SECOND = timedelta(days=1), timedelta(seconds=1)


def exact_text(column: AnyColumn) -> AnyColumn:
    """A column as text that is compared by its characters, whatever its own character set and collation are."""
    read = sa.func.convert(column.op("USING")(sa.literal_column("utf8mb4")), type_=sa.Text())
    return sa.type_coerce(sa.collate(read, EXACT), sa.Text())


def whole_pattern(pattern: str) -> str:
    """A pattern up to the very end of a text: for PCRE, `$` is also before a last line feed."""
    return pattern.removesuffix("$") + r"\z"


def is_like(text: AnyColumn, pattern: str) -> Predicate:
    """Whether a text is as a pattern says; false where the server gives up on it."""
    return sa.func.coalesce(text.regexp_match(whole_pattern(pattern)), sa.false(), type_=sa.Boolean()) == sa.true()


def trimmed(column: AnyColumn) -> AnyColumn:
    """Text without white space around it."""
    pattern = rf"^[{BLANKS}]+|[{BLANKS}]+\z"
    return sa.func.regexp_replace(exact_text(column), pattern, "", type_=sa.Text())


def number(column: AnyColumn, kind: ClockKind) -> AnyColumn:
    """A column as a number; NULL where its text is none."""
    if not isinstance(column.type, sa.String):
        return column
    text = trimmed(column)
    pattern, read = (YEAR, sa.BigInteger()) if kind is ClockKind.YEAR else (NUMBER, sa.Numeric(40, 20))
    return sa.case((is_like(text, pattern), sa.cast(text, read)))


def there_is(day: AnyColumn) -> Predicate:
    """Whether a date, or the date of a time, is a day of the years 1 to 9999: sessions read days that are none."""
    back = sa.func.from_days(sa.func.to_days(day))
    return sa.func.coalesce(back == sa.func.date(day), sa.false(), type_=sa.Boolean()) == sa.true()


def ticks(local: AnyColumn) -> AnyColumn:
    """A local time, or a moment in UTC, as a tick."""
    start: AnyColumn = sa.literal_column("'1970-01-01 00:00:00'")
    return sa.func.timestampdiff(sa.literal_column("MICROSECOND"), start, local, type_=sa.BigInteger())


def ticks_of(count: AnyColumn, per_second: int) -> AnyColumn:
    """A number since 1970 as a tick, within the calendar."""
    first, end = (bound * per_second for bound in epochs(ClockKind.EPOCH_SECONDS))
    within = sa.case((count < first, first), (count >= end, end - 1), else_=count)
    whole = sa.func.floor(within * _constant(_PER_SECOND // per_second))
    return sa.cast(whole, sa.BigInteger())


def day(tick: AnyColumn) -> AnyColumn:
    """The day that a local time is on."""
    days = _div(tick + _constant(_DAYS_TO_1970 * _PER_DAY), _PER_DAY)
    within = sa.func.least(sa.func.greatest(days, _constant(_FIRST_DAY)), _constant(_LAST_DAY))
    return sa.func.from_days(within, type_=sa.Date())


def year_end(year: AnyColumn) -> AnyColumn:
    """The last day of a year."""
    return _day_of_year(sa.cast(year, sa.BigInteger()) + _constant(1), before=1)


def _day_of_year(year: AnyColumn, *, before: int = 0) -> AnyColumn:
    """1 January of a year, or some days before; MAKEDATE takes the year 70 for 1970."""
    y = year - _constant(1)
    days = _constant(365) * y + _div(y, 4) - _div(y, 100) + _div(y, 400) + _constant(_FIRST_DAY - before)
    return sa.func.from_days(days, type_=sa.Date())


def local_in(zone: ZoneInfo, tick: AnyColumn) -> AnyColumn:
    """The local time in a zone at a moment."""
    return tick + _offset(tick, [(at, after) for at, after in _changes(zone.key)])


def moment_of(zone: ZoneInfo, tick: AnyColumn) -> AnyColumn:
    """The moment of a local time in a zone, by the rule of `judging.dates` for those that occur twice or never."""
    return tick - _offset(tick, [(at + after, after) for at, after in _changes(zone.key)])


def _offset(tick: AnyColumn, changes: Sequence[tuple[int, int]]) -> AnyColumn:
    """What is in force at a tick: the offset of the last change that is not after it; of none, the first's.

    By INTERVAL, which searches a list of numbers for one that it works out once.
    """
    found = sa.func.interval(tick, *(_constant(at) for at, _ in changes[1:]), type_=sa.BigInteger())
    offsets = (_constant(offset) for _, offset in changes)
    return sa.cast(sa.func.elt(found + _constant(1), *offsets), sa.BigInteger()) if changes[1:] else next(offsets)


@lru_cache(maxsize=100)
def _changes(key: str) -> tuple[tuple[int, int], ...]:
    """The changes of a zone: from which tick on, which offset in ticks; the first one is from ever on."""
    zone = ZoneInfo(key)

    def offset(at: datetime) -> timedelta:
        found = at.astimezone(zone).utcoffset()
        assert found is not None  # noqa: S101 - it has a zone
        return found

    found = [(_tick(_FIRST_CHANGE), offset(_FIRST_CHANGE) // _TICK)]
    at, before = _FIRST_CHANGE, offset(_FIRST_CHANGE)
    while at < _LAST_CHANGE:
        following = offset(at + _A_DAY)
        if following != before:
            low, high = at, at + _A_DAY
            while high - low > _A_SECOND:
                middle = low + (high - low) // 2
                middle = middle.replace(microsecond=0)
                low, high = (middle, high) if offset(middle) == before else (low, middle)
            found.append((_tick(high), following // _TICK))
        at, before = at + _A_DAY, following
    return tuple(found)


def _tick(moment: datetime) -> int:
    return (moment.astimezone(UTC) - EPOCH) // _TICK


def _local_tick(wall: datetime) -> int:
    return (wall.replace(tzinfo=UTC) - EPOCH) // _TICK


def _constant(value: int) -> AnyColumn:
    return sa.literal_column(str(value), sa.BigInteger())


def _div(dividend: AnyColumn, divisor: int) -> AnyColumn:
    """Whole division, of what is not negative; FLOOR(x / y) rounds y's fourth decimal first."""
    return dividend.op("DIV", precedence=9, return_type=sa.BigInteger())(_constant(divisor))


def _mod(dividend: AnyColumn, divisor: int) -> AnyColumn:
    return sa.func.mod(dividend, _constant(divisor), type_=sa.BigInteger())


# --- text of format ISO 8601 ---

_ISO = whole_pattern(ISO_8601)


@dataclass(frozen=True)
class IsoText:
    """Text of format ISO 8601, in the parts that `judging.dates.ISO_8601` captures.

    Nothing here can fail where it is asked behind `matches`: what is cast is digits.
    """

    text: AnyColumn

    @classmethod
    def of(cls, column: AnyColumn) -> IsoText:
        """That of a column."""
        return cls(trimmed(column))

    @property
    def matches(self) -> Predicate:
        """Whether it is of the format; it still may be no day of the calendar."""
        return is_like(self.text, ISO_8601)

    def _part(self, group: int) -> AnyColumn:
        return sa.func.regexp_replace(self.text, _ISO, f"\\{group}", type_=sa.Text())

    def _number(self, group: int) -> AnyColumn:
        return _whole(self._part(group))

    @property
    def _digits(self) -> AnyColumn:
        return _whole(sa.func.replace(self._part(1), "-", ""))

    @property
    def _month(self) -> AnyColumn:
        return _mod(_div(self._digits, 100), 100)

    @property
    def _day(self) -> AnyColumn:
        return _mod(self._digits, 100)

    @property
    def day(self) -> AnyColumn:
        """The day, or another one where there is no such day."""
        first = _day_of_year(sa.func.greatest(_div(self._digits, 10_000), _constant(1), type_=sa.BigInteger()))
        for unit, part, most in (("MONTH", self._month, 12), ("DAY", self._day, 31)):
            further = sa.func.least(sa.func.greatest(part, _constant(1)), _constant(most), type_=sa.BigInteger())
            first = sa.func.timestampadd(sa.literal_column(unit), further - _constant(1), first, type_=sa.Date())
        return first

    @property
    def has_time(self) -> Predicate:
        """Whether it says more than a day."""
        return self._part(2) != ""

    @property
    def has_offset(self) -> Predicate:
        """Whether it says a moment."""
        return self._part(6) != ""

    @property
    def _since_midnight(self) -> AnyColumn:
        seconds = self._number(2) * _constant(3600) + self._number(3) * _constant(60) + self._number(4)
        fraction = _whole(sa.func.rpad(self._part(5), 6, "0"))
        return seconds * _constant(_PER_SECOND) + fraction

    @property
    def local(self) -> AnyColumn:
        """Day and time as written, as a tick."""
        days = sa.func.to_days(self.day, type_=sa.BigInteger()) - _constant(_DAYS_TO_1970)
        return days * _constant(_PER_DAY) + self._since_midnight

    @property
    def utc(self) -> AnyColumn:
        """The moment of a time with an offset, as a tick."""
        digits = sa.func.replace(self._part(6), ":", "", type_=sa.Text())
        hours, minutes = (_whole(sa.func.substr(digits, at, 2)) for at in (2, 4))
        sign = sa.case((sa.func.left(digits, 1) == "-", _constant(-1)), else_=_constant(1))
        return self.local - sign * (hours * _constant(60) + minutes) * _constant(60 * _PER_SECOND)

    @property
    def readable(self) -> Predicate:
        """Whether there is such a moment in the calendar."""
        first, last = (_constant(_local_tick(end)) for end in (FIRST_WALL, LAST_WALL))
        tick = sa.case((self.has_offset, self.utc), else_=self.local)
        time = sa.and_(self._since_midnight <= _constant(_PER_DAY), tick.between(first, last))
        there = sa.and_(
            self._digits >= _constant(10_000),
            sa.func.month(self.day) == self._month,
            sa.func.dayofmonth(self.day) == self._day,
            sa.or_(sa.not_(self.has_time), time),
        )
        return sa.case((self.matches, there), else_=sa.false())

    def before(self, bound: Bound) -> Predicate:
        """Whether it is before a bound, where it is readable."""
        return sa.case(
            (sa.not_(self.matches), sa.false()),
            (sa.not_(self.has_time), self.day < sa.literal(bound.day, sa.Date())),
            (self.has_offset, self.utc < _constant(_tick(bound.instant))),
            else_=in_walls(self.local, bound.walls),
        )

    def local_day(self, policy: ZoneInfo, clock: ZoneInfo) -> AnyColumn:
        """Its local day; NULL where it is not readable."""
        moment = sa.case((self.has_offset, self.utc), else_=moment_of(clock, self.local))
        on_wall = policy.key == clock.key
        local = sa.case((self.has_offset, local_in(policy, self.utc)), else_=self.local) if on_wall else None
        return sa.case(
            (sa.not_(self.readable), sa.null()),
            (sa.not_(self.has_time), self.day),
            else_=day(local_in(policy, moment) if local is None else local),
        )


def in_walls(tick: AnyColumn, walls: Walls) -> Predicate:
    """Whether a local time lies in one of the ranges."""
    ends = [(_constant(_local_tick(start)), _constant(_local_tick(end))) for start, end in walls]
    return sa.or_(tick < ends[0][1], *(sa.and_(tick >= start, tick < end) for start, end in ends[1:]))


def _whole(digits: AnyColumn) -> AnyColumn:
    """Digits as a number; 0 where there are none."""
    return sa.cast(sa.func.coalesce(sa.func.nullif(digits, ""), "0"), sa.BigInteger())


def extreme(values: Sequence[AnyColumn], *, latest: bool) -> AnyColumn:
    """The greatest or the least of some values that is not NULL; the server's own functions are NULL where one is."""
    if len(values) == 1:
        return values[0]
    each = [sa.func.coalesce(*values[number:], *values[:number], type_=values[0].type) for number in range(len(values))]
    return (sa.func.greatest if latest else sa.func.least)(*each, type_=values[0].type)


def shown_day(value: object) -> Any:  # noqa: ANN401 - of the type that was read
    """A moment that the driver read without its zone, with it."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value
