"""The suites that every category is checked with, made in memory: they differ in nothing but names.

Ids are worked out from the category and the expectation (UUID version 5), so that a result names the same expectation
in every run. What people add to them is in `lethe.checks.added`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import Any

CANDIDATES, COUNT, LEFT = "candidates", "count", "left"
SUITES = (CANDIDATES, COUNT, LEFT)
"""On candidates before erasing, on their number, and on the dataset after erasing."""

EARLIEST = "1990-01-01"
"""No clock is plausible before it. Later than what computers write when they know no date: 1900, 1904, 1970, 1980."""

_NAMESPACE = uuid.UUID("5f0c8a35-7d4b-5a63-9c1e-2b6f0d9a1e74")

Json = dict[str, Any]


def parameter(name: str) -> Json:
    """A value that is only known at run time."""
    return {"$PARAMETER": name}


def suite(category: str, name: str, *, by_value: bool = False, on_request: bool = False) -> Json:
    """One suite of a category, as Great Expectations takes it.

    Args:
        category: a category of the schedule.
        name: one of `SUITES`.
        by_value: whether some of its records have periods of their own.
        on_request: whether its candidates go on request, whatever their clocks are.
    """
    full_name = f"{category}.{name}"
    if on_request and name == CANDIDATES:
        return {"name": full_name, "expectations": _with_ids(full_name, (*_keys(), *_not_held()))}
    expectations = {CANDIDATES: _candidates, COUNT: _count, LEFT: _left}[name](by_value)
    return {"name": full_name, "expectations": _with_ids(full_name, expectations)}


def _with_ids(full_name: str, expectations: Iterable[Json]) -> list[Json]:
    return [{**one, "id": _id(full_name, one["meta"]["lethe"]["name"])} for one in expectations]


def _id(suite_name: str, expectation: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{suite_name}/{expectation}"))


def _expect(name: str, kind: str, promise: int, description: str, *, asks: bool = False, **kwargs: object) -> Json:
    lethe: Json = {"name": name, "promise": promise}
    return {
        "type": kind,
        "kwargs": kwargs,
        "meta": {"lethe": lethe | {"asks": True} if asks else lethe},
        "description": description,
        "severity": "warning" if asks else "critical",
    }


def _candidates(by_value: bool) -> Iterator[Json]:
    yield from _keys()
    yield from _clocks(by_value)
    yield from _not_held()


def _keys() -> Iterator[Json]:
    yield _expect(
        "key-not-null",
        "expect_column_values_to_not_be_null",
        4,
        "Every candidate has a key.",
        column="record",
    )
    yield _expect(
        "key-unique",
        "expect_column_values_to_be_unique",
        4,
        "No candidate is there twice.",
        column="record",
    )


def _clocks(by_value: bool) -> Iterator[Json]:
    yield _expect(
        "clock-not-null",
        "expect_column_values_to_not_be_null",
        3,
        "Every candidate has a clock: what cannot be judged is never a candidate.",
        column="clock",
    )
    yield _expect(
        "clock-before-cutoff",
        "expect_column_values_to_be_between",
        1,
        "Every clock is before the cutoff.",
        column="clock",
        max_value=parameter("cutoff"),
        strict_max=True,
    )
    if by_value:
        yield _expect(
            "clock-before-own-cutoff",
            "expect_column_pair_values_a_to_be_greater_than_b",
            1,
            "Every clock is before the cutoff of the record's own period.",
            column_A="cutoff",
            column_B="clock",
        )
        yield _expect(
            "own-cutoff-not-null",
            "expect_column_values_to_not_be_null",
            1,
            "Every candidate has a period.",
            column="cutoff",
        )
    yield _expect(
        "clock-plausible",
        "expect_column_values_to_be_between",
        1,
        "No clock is implausibly early, as those are that stand for no date.",
        column="clock",
        min_value=parameter("earliest"),
    )


def _not_held() -> Iterator[Json]:
    yield _expect(
        "held-known",
        "expect_column_values_to_not_be_null",
        2,
        "Of every candidate it is known whether it is held.",
        column="held",
    )
    yield _expect(
        "none-held",
        "expect_column_values_to_be_in_set",
        2,
        "No hold covers a candidate.",
        column="held",
        value_set=[False],
    )


def _count(_by_value: bool) -> Iterator[Json]:
    yield _expect(
        "as-discovered",
        "expect_column_values_to_be_between",
        4,
        "As many candidates are staged as were discovered.",
        column="records",
        min_value=parameter("due"),
        max_value=parameter("due"),
    )
    yield _expect(
        "within-records",
        "expect_column_values_to_be_between",
        9,
        "The number of candidates is within the policy's limit; above it, a person decides.",
        asks=True,
        column="records",
        max_value=parameter("records"),
    )
    yield _expect(
        "within-share",
        "expect_column_values_to_be_between",
        9,
        "The candidates' share of the dataset is within the policy's limit; above it, a person decides.",
        asks=True,
        column="records",
        max_value=parameter("share"),
    )


def _left(_by_value: bool) -> Iterator[Json]:
    yield _expect(
        "nothing-due-left",
        "expect_column_values_to_be_between",
        3,
        "Nothing expired is left but what a hold covers.",
        column="expired",
        max_value=parameter("held"),
    )
    yield _expect(
        "all-judged",
        "expect_column_values_to_be_between",
        3,
        "Every record can be judged; those that cannot are counted and reported.",
        asks=True,
        column="unjudgeable",
        max_value=0,
    )
