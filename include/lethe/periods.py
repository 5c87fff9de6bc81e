"""Retention periods, counted as Regulation (EEC, Euratom) No 1182/71, Article 3 does.

Article 3(1): the day of the event is not counted. Article 3(2)(c): a period in months or years ends with the last
hour of the day with the same date, and, where the last month has no such day, with the last hour of that month's
last day. So a record whose clock is on day D expires at 00:00 local time of the day after D + period.

Article 3(4): where that last day is a public holiday, a Sunday or a Saturday, the period ends with the last hour of the
following working day. It is applied where `cutoff_for` is told which days are working days. It is not for periods in
hours, of which there are none here, nor for those that are counted backwards, as the lead of "erased within" is.

Nothing here does I/O or reads the time of day: the as-of moment is always given.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo

_ISO_8601 = re.compile(
    r"P(?:(?P<years>[0-9]{1,4})Y)?(?:(?P<months>[0-9]{1,4})M)?(?:(?P<weeks>[0-9]{1,4})W)?(?:(?P<days>[0-9]{1,5})D)?"
)
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Period:
    """A calendar period: whole months (years are twelve of them) or whole days (weeks are seven), never both.

    Mixed periods such as ``P1M10D`` are refused: the Regulation does not say in which order they are counted.
    """

    months: int = 0
    days: int = 0

    def __post_init__(self) -> None:
        if self.months < 0 or self.days < 0 or (self.months and self.days):
            raise ValueError("a period has whole months or whole days, none of them negative")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an ISO 8601 duration such as ``P18M``, ``P60D``, ``P3Y``, ``P1Y6M`` or ``P2W``.

        Raises:
            ValueError: if it is not one, has a time part, or mixes months with days.
        """
        match = _ISO_8601.fullmatch(text)
        if match is None or text == "P":
            raise ValueError(f"{text!r} is not a period: write an ISO 8601 duration such as P18M, P60D or P3Y")
        part = {name: int(value) for name, value in match.groupdict(default="0").items()}
        months, days = 12 * part["years"] + part["months"], 7 * part["weeks"] + part["days"]
        if months and days:
            raise ValueError(f"{text!r} mixes months with days: give whole months and years, or whole days")
        return cls(months=months, days=days)

    def __str__(self) -> str:
        """ISO 8601, as schedules say it: whole years, else months, else days."""
        if self.months:
            return f"P{self.months // 12}Y" if self.months % 12 == 0 else f"P{self.months}M"
        return f"P{self.days}D"

    @property
    def words(self) -> str:
        """As people say it: ``18 months``, ``3 years``, ``1 day``."""
        number, unit = (self.months, "month") if self.months else (self.days, "day")
        if self.months and self.months % 12 == 0:
            number, unit = self.months // 12, "year"
        return f"{number} {unit}{'' if number == 1 else 's'}"

    def last_day(self, start: date) -> date:
        """The day with whose last hour the period ends, when it started by an event on `start`.

        Days beyond the calendar's last year are given as ``date.max``.
        """
        month_index = start.year * 12 + (start.month - 1) + self.months
        year, month = divmod(month_index, 12)
        if year > date.max.year:
            return date.max
        day = min(start.day, calendar.monthrange(year, month + 1)[1])
        try:
            return date(year, month + 1, day) + timedelta(days=self.days)
        except OverflowError:
            return date.max


def same_day(day: date) -> date:
    """The day itself, from which most periods start."""
    return day


def end_of_year(day: date) -> date:
    """31 December of the year of `day`, from which periods that count from the end of a year start."""
    return date(day.year, 12, 31)


@dataclass(frozen=True, slots=True)
class Cutoff:
    """What has expired at one as-of moment: every record whose clock is before it.

    Attributes:
        day: local dates before it have expired.
        instant: moments before it have expired (timezone-aware, UTC).
    """

    day: date
    instant: datetime

    @property
    def none_expired(self) -> bool:
        """Whether no record at all can have expired (the period is longer than the calendar)."""
        return self.day == date.min


EVER = Cutoff(date(9998, 12, 31), datetime(9998, 12, 31, tzinfo=UTC))
"""By it every record with a clock has expired."""


def cutoff_for(
    as_of: datetime,
    zone: ZoneInfo,
    period: Period,
    *,
    lead: timedelta = timedelta(0),
    anchor: Callable[[date], date] = same_day,
    is_working_day: Callable[[date], bool] | None = None,
) -> Cutoff:
    """The cutoff of a period that is counted from `anchor(clock day)` in the local time of `zone`.

    Args:
        as_of: the moment to judge by, timezone-aware.
        zone: the category's time zone; its calendar days are what is counted.
        period: how long records are kept.
        lead: how much earlier than the end of the period records may go (only for "erased within").
        anchor: the day that counting starts from, given the clock's day; must not decrease.
        is_working_day: extends periods whose last day is none to the next day that is one; None: they are not extended.

    Raises:
        ValueError: if `as_of` is naive; from `is_working_day`.
    """
    if as_of.tzinfo is None:
        raise ValueError("the as-of moment needs a time zone")
    today = as_of.astimezone(zone).date()
    over = today if is_working_day is None else _first_day_not_over(today, is_working_day)

    def expired(day: date) -> bool:
        last = period.last_day(anchor(day))
        return last - lead < over if last != date.max else False

    # Expiry is monotone in the clock's day (clamping to the end of a month never reorders days), so the
    # first unexpired day is found by bisection between the calendar's first day and today.
    low, high = date.min, today  # `high` never has expired: its period cannot end before it starts
    if not expired(low):
        return Cutoff(day=date.min, instant=datetime.min.replace(tzinfo=UTC))
    while high - low > _ONE_DAY:
        middle = low + (high - low) // 2
        low, high = (middle, high) if expired(middle) else (low, middle)
    return Cutoff(day=high, instant=start_of_day(high, zone))


def _first_day_not_over(today: date, is_working_day: Callable[[date], bool]) -> date:
    """The earliest last day of a period that, extended to a working day, is not over yet.

    Such a period ends with the first working day on or after its last day. That is over exactly if there is a working
    day from then until yesterday; so the days right before today that are none are not over.
    """
    day = today
    while day > date.min and not is_working_day(day - _ONE_DAY):
        day -= _ONE_DAY
    return day


def cutoff_at_once(as_of: datetime, zone: ZoneInfo) -> Cutoff:
    """The cutoff of records that go as soon as their clock has struck: clocks up to and including `as_of`."""
    if as_of.tzinfo is None:
        raise ValueError("the as-of moment needs a time zone")
    return Cutoff(
        day=as_of.astimezone(zone).date() + _ONE_DAY,
        instant=as_of.astimezone(UTC) + timedelta(microseconds=1),
    )


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a local day, in UTC.

    Where daylight saving starts at midnight, 00:00 does not exist and the day starts at the end of the gap. Where
    clocks fall back over midnight, 00:00 happens twice and the first counts: a later one would let records of the
    first pass go early. A day that a zone skipped (Samoa, 30 December 2011) starts where the next one does.
    """
    midnight = datetime.combine(day, time.min, tzinfo=zone)
    candidates = sorted(midnight.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    same_day = [at for at in candidates if at.astimezone(zone).date() == day]
    return same_day[0] if same_day else candidates[-1]
