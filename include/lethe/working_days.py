"""Which days are working days in a country: what Regulation 1182/71, Article 3(4), extends periods by.

Public holidays are those of the package `holidays`, substitute days among them. Saturdays and Sundays are never working
days, whatever the country's own weekend is: so the Article says. The package is imported where a calendar is declared.
"""

from __future__ import annotations

import difflib
from datetime import date, timedelta
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holidays import HolidayBase

_SATURDAY = 5
_PUBLIC_IN_PLACES = {"DE": ("catholic",)}
"""Further categories of the package, by country, whose days are public holidays in many of its places: the Assumption
in those of Bavaria where most are Catholics (Bavaria's law on holidays, Article 1(1)). Whoever is in such a place would
have a period end too early."""


class OutOfCalendar(ValueError):
    """The public holidays of a year are not known."""


def known_calendar(code: str) -> str:
    """The code of a calendar, if there is one: a country (`CZ`), or a part of one with holidays of its own (`DE-BY`).

    Raises:
        ValueError: naming the nearest ones, if there is none.
    """
    from holidays.registry import COUNTRIES

    countries = {entry[1]: entry for entry in COUNTRIES.values()}
    country, dash, part = code.partition("-")
    if country not in countries:
        known_as = {name.casefold(): code for code, entry in countries.items() for name in entry}
        near = difflib.get_close_matches(country.casefold(), known_as, n=5, cutoff=0.5)
        meant = f" (did you mean {', '.join(dict.fromkeys(known_as[name] for name in near))}?)" if near else ""
        raise ValueError(
            f"{code!r} is not a calendar of public holidays: write the code of a country (ISO 3166), such as CZ, or of "
            f"a part of one, such as DE-BY{meant}"
        )
    if dash and part not in (parts := _public_holidays(country).subdivisions):
        there = ", ".join(f"{country}-{one}" for one in parts) or f"{country} alone"
        raise ValueError(f"{code!r} is not a calendar of public holidays: write one of {there}")
    return code


def is_working_day(calendar: str, day: date) -> bool:
    """Whether a day is neither a Saturday, nor a Sunday, nor a public holiday.

    Of years before the first one that the package knows, only Saturdays and Sundays: what ended then ended long ago.

    Raises:
        OutOfCalendar: of years after the last one that it knows.
    """
    public = _public_holidays(calendar)
    if day.year > public.end_year:
        raise OutOfCalendar(f"the public holidays of {calendar} are not known after {public.end_year}")
    return day.weekday() < _SATURDAY and day not in public


def parts_with_more(calendar: str) -> tuple[str, ...]:
    """The calendars of those parts of a country that have public holidays which it does not have everywhere.

    None where the calendar is one of a part: `GB` leaves out the bank holidays of England, `DE-BY` nothing.
    """
    country, dash, _ = calendar.partition("-")
    if dash:
        return ()
    everywhere = _public_holidays(country)
    days = [date(2026, 1, 1) + timedelta(days=n) for n in range(3 * 365)]
    parts = [f"{country}-{part}" for part in everywhere.subdivisions]
    return tuple(part for part in parts if any(day in _public_holidays(part) and day not in everywhere for day in days))


def source() -> str:
    """The package that the public holidays come from, with its version, for the record."""
    return f"holidays {version('holidays')}"


@cache
def _public_holidays(calendar: str) -> HolidayBase:
    import holidays

    country, _, part = calendar.partition("-")
    categories = ("public", *_PUBLIC_IN_PLACES.get(country, ()))
    return holidays.country_holidays(country, subdiv=part or None, categories=categories)
