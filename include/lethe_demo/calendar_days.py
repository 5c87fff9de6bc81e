"""The retention rules of the demo company, counted day by day: slow, plain, and independent of `lethe.periods`.

The oracle judges by this module, so it must not import what it is to judge. The rules are those of the reference
schedule, written down a second time.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Europe/Prague")


_FIXED = {(1, 1), (5, 1), (5, 8), (7, 5), (7, 6), (9, 28), (10, 28), (11, 17), (12, 24), (12, 25), (12, 26)}
"""Public holidays of the Czech Republic, as month and day (Act No. 245/2000)."""


def is_public_holiday(day: date) -> bool:
    """Whether a day is a public holiday in the Czech Republic (since 2016, when Good Friday became one)."""
    easter = easter_sunday(day.year)
    return (day.month, day.day) in _FIXED or day in (easter - timedelta(days=2), easter + timedelta(days=1))


def easter_sunday(year: int) -> date:
    """By the anonymous Gregorian computus."""
    a, b, c = year % 19, year // 100, year % 100
    h = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    n = (32 + 2 * (b % 4) + 2 * (c // 4) - h - c % 4) % 7
    m = (a + 11 * h + 22 * n) // 451
    month, day = divmod(h + n - 7 * m + 114, 31)
    return date(year, month, day + 1)


@dataclass(frozen=True, slots=True)
class Rule:
    """Kept for so many months or days after the clock's day; erased so many days (`lead`) before that ends.

    What is kept for a period (`lead` is 0) is kept to the end of a working day; what must be gone within one is not.
    """

    months: int = 0
    days: int = 0
    lead: int = 0

    def last_day(self, clock: date) -> date:
        """The day with whose last hour the period ends."""
        day = self._counted(clock)
        while not self.lead and (day.weekday() >= 5 or is_public_holiday(day)):
            day += timedelta(days=1)
        return day

    def _counted(self, clock: date) -> date:
        year, month, day = clock.year, clock.month, clock.day
        for _ in range(self.months):
            month += 1
            if month > 12:
                year, month = year + 1, 1
        day = min(day, calendar.monthrange(year, month)[1])
        return date(year, month, day) + timedelta(days=self.days)

    def has_expired(self, clock: date, today: date) -> bool:
        """Whether a record of that clock may go today."""
        return self.last_day(clock) - timedelta(days=self.lead) < today


RULES = {
    "webinars": Rule(months=18),
    "events": Rule(months=36),
    "logistics": Rule(days=60, lead=5),
    "leads": Rule(months=6, lead=7),
    "analytics": Rule(months=25),
    "account_users": Rule(months=12),
    "traffic_end_users": Rule(months=12),
}


@lru_cache
def first_kept_day(category: str, as_of: datetime) -> date:
    """The earliest clock day whose records must stay: found by walking back from today, a day at a time."""
    today = as_of.astimezone(ZONE).date()
    day = today
    while not RULES[category].has_expired(day - timedelta(days=1), today):
        day -= timedelta(days=1)
    return day


def local_day(moment: datetime) -> date:
    """The day of a moment in the company's time zone."""
    return moment.astimezone(ZONE).date()


def midnight(day: date) -> datetime:
    """The moment at which a day begins in the company's time zone (where 00:00 always exists, once)."""
    return datetime.combine(day, time.min, tzinfo=ZONE)
