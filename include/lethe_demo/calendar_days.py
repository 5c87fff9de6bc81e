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


@dataclass(frozen=True, slots=True)
class Rule:
    """Kept for so many months or days after the clock's day; erased so many days (`lead`) before that ends."""

    months: int = 0
    days: int = 0
    lead: int = 0

    def last_day(self, clock: date) -> date:
        """The day with whose last hour the period ends."""
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
