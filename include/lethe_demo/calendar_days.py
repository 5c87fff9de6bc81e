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

    What is kept for a period (`lead` is 0) is kept to the end of a working day; what must be gone within one is not,
    and neither is what is kept until a day that somebody named (`exactly`).

    Attributes:
        year_end: whether it is counted from the end of the year of the clock's day.
    """

    months: int = 0
    days: int = 0
    lead: int = 0
    year_end: bool = False
    exactly: bool = False

    def last_day(self, clock: date) -> date:
        """The day with whose last hour the period ends."""
        day = self._counted(date(clock.year, 12, 31) if self.year_end else clock)
        while not (self.lead or self.exactly) and (day.weekday() >= 5 or is_public_holiday(day)):
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

    def surely_kept(self, today: date) -> date:
        """A clock's day that surely has not expired, however long the months."""
        return today - timedelta(days=28 * self.months + self.days - self.lead)


RULES = {
    "webinars": Rule(months=18),
    "events": Rule(months=36),
    "logistics": Rule(days=60, lead=5),
    "leads": Rule(months=6, lead=7),
    "analytics": Rule(months=25),
    "account_users": Rule(months=12),
    "traffic_end_users": Rule(months=12),
    "recruitment_prospects": Rule(days=30, lead=3),
    "recruitment": Rule(exactly=True),
    "support": Rule(months=84),
    "suppliers": Rule(months=84),
    "supplier_agreements": Rule(months=120),
    "supplier_contacts": Rule(months=12, lead=14),
    "invoices": Rule(months=120, year_end=True),
    "agreements": Rule(months=120, year_end=True),
    "accounts": Rule(months=84, lead=14),
    "traffic_customers": Rule(months=120),
}
BY_VALUE = {
    "letters": {"AT": Rule(months=36), "CZ": Rule(months=60), "DE": Rule(months=24), "NO": Rule(months=120)},
    "ux_research": {"short": Rule(months=6), "usual": Rule(months=12), "long": Rule(months=24)},
}
"""Rules of categories whose records have periods of their own, by the value that says which."""


@lru_cache
def first_kept_day(category: str, as_of: datetime, value: str | None = None) -> date:
    """The earliest clock day whose records must stay: found by walking back, a day at a time, from one that must.

    Args:
        category: the category, of which there has to be a rule.
        as_of: the moment to judge by.
        value: of which value, where records have periods of their own.
    """
    rule = RULES[category] if value is None else BY_VALUE[category][value]
    today = as_of.astimezone(ZONE).date()
    day = rule.surely_kept(today)
    while not rule.has_expired(day - timedelta(days=1), today):
        day -= timedelta(days=1)
    return day


def local_day(moment: datetime) -> date:
    """The day of a moment in the company's time zone."""
    return moment.astimezone(ZONE).date()


def midnight(day: date) -> datetime:
    """The moment at which a day begins in the company's time zone (where 00:00 always exists, once)."""
    return datetime.combine(day, time.min, tzinfo=ZONE)
