"""The vectors of conditions, and conditions and values at random, each with what every engine has to make of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from hypothesis import strategies as st

from lethe.judging.conditions import Precision, edge, is_before, is_beyond, is_like
from lethe.judging.dates import TimestampFormat, read
from lethe.policy import Condition

PRAGUE = ZoneInfo("Europe/Prague")


@dataclass(frozen=True)
class Case:
    """A condition on a column of a kind, a value of it, and whether it is met (None: it cannot be said)."""

    kind: str
    condition: Condition
    value: Any
    met: bool | None


def condition(**test: Any) -> Condition:  # noqa: ANN401 - whatever a policy may say
    """A condition on the column that all cases have."""
    return Condition.model_validate({"column": "tested", **test})


def vectors() -> list[Case]:
    """All vectors."""
    content = yaml.safe_load((files("lethe.judging") / "vectors" / "conditions.yaml").read_text("utf-8"))
    found = [Case("text", condition(like=one["pattern"]), one["text"], one["met"]) for one in content["like"]]
    for one in content["numbers"]:
        value = number(one["precision"], one["value"])
        found += [
            Case(one["precision"], condition(**{test: one["number"]}), value, one[test]) for test in ("below", "above")
        ]
    for one in content["days"]:
        form = {"format": "iso8601"} if one["kind"] == "text" else {}
        said = moment(one["kind"], one["value"])
        found += [
            Case(one["kind"], condition(**{test: one["day"]}, **form), said, one[test]) for test in ("before", "after")
        ]
    return found


def number(precision: str, text: str | None) -> int | Decimal | float | None:
    """A value of a precision."""
    if text is None:
        return None
    if precision == "single":
        return float(struct.unpack("<f", struct.pack("<f", float(text)))[0])
    if precision == "whole":
        return int(text)
    return Decimal(text) if precision == "exact" else float(text)


def moment(kind: str, text: str | None) -> date | str | None:
    """A value of a kind of dates."""
    if text is None or kind == "text":
        return text
    if kind == "day":
        return date.fromisoformat(text)
    found = datetime.fromisoformat(text)
    return found if kind == "wall" else found.astimezone(UTC)


def oracle(kind: str, test: Condition, value: Any) -> bool | None:  # noqa: ANN401 - of any column
    """What a condition says of a value, in Python."""
    if value is None:
        return False
    if test.like is not None:
        return is_like(value, test.like)
    if test.number is not None:
        return is_beyond(value, test.number, Precision(kind), below=test.below is not None)
    assert test.day is not None
    said = read(value, TimestampFormat.ISO_8601) if isinstance(value, str) else value
    if said is None:
        return None
    earlier = is_before(said, edge(test.day, PRAGUE, after=test.after is not None), PRAGUE)
    return earlier == (test.before is not None)


def expected(cases: Sequence[Case]) -> tuple[set[int], set[int]]:
    """The positions of those that are met, and of those of which it cannot be said."""
    met = {number for number, case in enumerate(cases) if case.met}
    return met, {number for number, case in enumerate(cases) if case.met is None}


_LETTERS = st.sampled_from([*"aAbBéÉß%_\\!*?[].^$' \n😀", "e\u0301"])
TEXTS = st.lists(_LETTERS, max_size=6).map("".join)
PATTERNS = st.lists(
    st.one_of(st.sampled_from(["%", "_", r"\%", r"\_", "\\\\"]), _LETTERS.filter(lambda one: one not in "%_\\")),
    max_size=6,
).map("".join)
_NEAR = [0, 1, -1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 10**18]
WHOLES = st.sampled_from(_NEAR) | st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.one_of(
    st.sampled_from(_NEAR).map(Decimal),
    st.decimals(-100, 100, places=3, allow_nan=False),
    st.sampled_from([Decimal("0.1"), Decimal("0.5"), Decimal("9007199254740992.5"), Decimal(2**63), Decimal(10) ** 39]),
).map(lambda one: format(one, "f"))
DOUBLES = st.floats() | st.sampled_from([0.1, 0.5, float(2**53), 1e300])
SINGLES = st.floats(width=32)
EXACTS = st.decimals(-1000, 1000, places=6, allow_nan=False) | st.sampled_from([Decimal("0.1"), Decimal(2**53 + 1)])
DAYS = st.dates(date(2025, 3, 25), date(2025, 4, 5)) | st.dates(date(2, 1, 1), date(9998, 12, 31))
MOMENTS = st.datetimes(datetime(2025, 3, 25), datetime(2025, 11, 1))  # noqa: DTZ001 - local times
VALUES = {
    "text": TEXTS,
    "whole": WHOLES,
    "exact": EXACTS,
    "double": DOUBLES,
    "single": SINGLES,
    "day": DAYS,
    "wall": MOMENTS,
    "moment": MOMENTS.map(lambda one: one.replace(tzinfo=UTC)),
}
TESTS = {
    **dict.fromkeys(("text",), PATTERNS.map(lambda one: condition(like=one))),
    **dict.fromkeys(
        ("whole", "exact", "double", "single"),
        st.builds(lambda test, bound: condition(**{test: bound}), st.sampled_from(["below", "above"]), NUMBERS),
    ),
    **dict.fromkeys(
        ("day", "wall", "moment"),
        st.builds(
            lambda test, day: condition(**{test: day.isoformat()}),
            st.sampled_from(["before", "after"]),
            st.dates(date(2025, 3, 25), date(2025, 11, 1)),
        ),
    ),
}
"""By kind of column: values, and conditions."""
