"""The one meaning of a policy's conditions on days, numbers and text.

- **before** and **after** a day of the policy's time zone: what is before the day has begun, and what is from its end
  on. What a column's dates, timestamps, text and numbers mean, `lethe.judging.dates` says.
- **below** and **above** a number, which is read as a value of the column's type: exactly where that has whole numbers
  or decimals, as the nearest float where it has floats. Infinity is above, minus infinity below every number.
- **like** a pattern: ``%`` is any text, also none, ``_`` any one character (a code point), and a backslash before one
  of these, or before another backslash, takes it as it is. Everything else is itself: capitals matter, and no
  collation, composition or padding is looked at.

NULL meets none of them. Neither does what the column's type lets in but cannot be compared (NaN, the date infinity,
text that is no date): such a value is not surely met, nor surely not. It is outside of `where`, and `keep_while` keeps
it: no record goes because nobody can say what it says.

`vectors/conditions.yaml` says all this as data, which every engine has to agree with.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

from lethe.judging.dates import Moment, later
from lethe.periods import Cutoff, start_of_day

ESCAPE = "\\"
NUMBER = r"-?[0-9]{1,40}(?:\.[0-9]{1,20})?"
"""A number of a policy, or of text that stands for one. Longer ones are refused: no column has them."""

_FIRST_DAY, _LAST_DAY = date(2, 1, 1), date(9998, 12, 31)


class Precision(StrEnum):
    """How exact the numbers of a column are."""

    WHOLE = "whole"
    EXACT = "exact"
    DOUBLE = "double"
    SINGLE = "single"


class Wild(Enum):
    """What in a pattern stands for other characters."""

    ANY = "%"
    ONE = "_"


# --- days ---------------------------------------------------------------------------------------------------------


def read_day(text: str) -> date:
    """A day of a policy.

    Raises:
        ValueError: if it is none, in words.
    """
    try:
        day = date.fromisoformat(text) if re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else None
    except ValueError:
        day = None
    if day is None or not _FIRST_DAY <= day <= _LAST_DAY:
        raise ValueError(f"{text!r} is no day: write one of the years 2 to 9998, such as 2025-01-31")
    return day


def edge(day: date, zone: ZoneInfo, *, after: bool) -> Cutoff:
    """The bound that is met by what is before it, or, for `after`, by what is not."""
    first = day + timedelta(days=1) if after else day
    return Cutoff(first, start_of_day(first, zone))


def is_before(moment: Moment, bound: Cutoff, clock_zone: ZoneInfo) -> bool:
    """Whether a day, a local time or a moment is before a bound."""
    if not isinstance(moment, datetime):
        return moment < bound.day
    return (later(moment, clock_zone) if moment.tzinfo is None else moment.astimezone(UTC)) < bound.instant


# --- numbers ------------------------------------------------------------------------------------------------------


def read_number(text: str) -> Decimal | None:
    """The number that text stands for; None where it stands for none."""
    return Decimal(text) if re.fullmatch(NUMBER, text) else None


def limit(number: Decimal, precision: Precision, *, below: bool) -> Decimal | float:
    """A number of a policy as one that values of a precision are compared with, below it or above it."""
    if precision is Precision.WHOLE:
        return Decimal(math.ceil(number) if below else math.floor(number))
    if precision is Precision.EXACT:
        return number
    return float(number) if precision is Precision.DOUBLE else _single(float(number))


def _single(number: float) -> float:
    try:
        return float(struct.unpack("<f", struct.pack("<f", number))[0])
    except OverflowError:
        return math.copysign(math.inf, number)


def is_beyond(value: int | Decimal | float, number: Decimal, precision: Precision, *, below: bool) -> bool | None:
    """Whether a value is below, or above, a number of a policy; None where it is no number."""
    if value != value:  # noqa: PLR0124 - NaN is not itself
        return None
    bound = limit(number, precision, below=below)
    return bool(value < bound if below else value > bound)


# --- text ---------------------------------------------------------------------------------------------------------


def pattern_parts(pattern: str) -> list[str | Wild]:
    """What a pattern consists of, a character each.

    Raises:
        ValueError: if it cannot be one, in words.
    """
    if "\0" in pattern or any("\ud800" <= one <= "\udfff" for one in pattern):
        raise ValueError("a pattern cannot have a zero character, or half of one: leave it out")
    parts: list[str | Wild] = []
    characters = iter(pattern)
    for one in characters:
        if one != ESCAPE:
            parts.append(Wild(one) if one in "%_" else one)
        elif (escaped := next(characters, "")) in ("%", "_", ESCAPE):
            parts.append(escaped)
        else:
            raise ValueError(
                rf"{pattern!r} has a backslash before what needs none: write \% or \_ for the character itself, and \\ "
                "for a backslash"
            )
    return parts


def spelt_pattern(pattern: str, escape: str) -> str:
    """The same pattern with another character that escapes, for SQL's LIKE."""
    special = {Wild.ANY.value, Wild.ONE.value, escape}
    return "".join(
        part.value if isinstance(part, Wild) else escape + part if part in special else part
        for part in pattern_parts(pattern)
    )


def as_expression(pattern: str, literal: Callable[[str], str]) -> str:
    """A pattern as a regular expression for the whole of a text, in which a dot is every character."""
    wild = {Wild.ANY: ".*", Wild.ONE: "."}
    return "".join(wild[part] if isinstance(part, Wild) else literal(part) for part in pattern_parts(pattern))


def is_like(text: str, pattern: str) -> bool:
    """Whether text is like a pattern."""
    return _expression(pattern).fullmatch(text) is not None


@lru_cache(maxsize=1000)
def _expression(pattern: str) -> re.Pattern[str]:
    """What is between two ``%`` is taken where it is found first, so that no pattern takes long."""
    pieces = [""]
    for part in pattern_parts(pattern):
        if part is Wild.ANY:
            pieces.append("")
        else:
            pieces[-1] += "." if isinstance(part, Wild) else re.escape(part)
    first, *others = pieces
    if others:
        first += "".join(f"(?>.*?{piece})" for piece in others[:-1]) + ".*" + others[-1]
    return re.compile(first, re.DOTALL)
