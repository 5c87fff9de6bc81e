"""Exact evidence: a record has one canonical key, and who names it in another spelling means the same."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal, localcontext
from importlib.resources import files
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lethe.judging.keys import (
    Address,
    Json,
    KeyColumn,
    KeyKind,
    Padded,
    Single,
    form,
    readings,
    record_key,
    record_keys,
    to_the_nanosecond,
)

VECTORS = yaml.safe_load((files("lethe.judging") / "vectors" / "keys.yaml").read_text("utf-8"))
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
VALUES: dict[KeyKind, st.SearchStrategy[Any]] = {
    KeyKind.TEXT: st.text(),
    KeyKind.PADDED: st.text().map(Padded),
    KeyKind.NUMBER: st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30),
    KeyKind.DOUBLE: st.floats(),
    KeyKind.SINGLE: st.floats(width=32).map(Single),
    KeyKind.BOOLEAN: st.booleans(),
    KeyKind.UUID: st.uuids(),
    KeyKind.DAY: st.dates(),
    KeyKind.WALL: st.datetimes(),
    KeyKind.INSTANT: st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=ZONES),  # noqa: DTZ001
    KeyKind.TIME: st.times(),
    KeyKind.BYTES: st.binary(min_size=1),
    KeyKind.ADDRESS: st.ip_addresses().map(str).map(Address),
    KeyKind.JSON: st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(lambda content: Json(json.dumps(content))),
}
PYTHON: dict[KeyKind, Callable[[Any], str]] = {
    KeyKind.TEXT: str,
    KeyKind.PADDED: str,
    KeyKind.NUMBER: str,
    KeyKind.DOUBLE: repr,
    KeyKind.SINGLE: lambda value: repr(float(value)),
    KeyKind.BOOLEAN: str,
    KeyKind.UUID: lambda value: f"{{{value}}}".upper(),
    KeyKind.DAY: str,
    KeyKind.WALL: str,
    KeyKind.INSTANT: str,
    KeyKind.TIME: str,
    KeyKind.BYTES: lambda value: "\\x" + value.hex().upper(),
    KeyKind.ADDRESS: str,
    KeyKind.JSON: lambda value: json.dumps(json.loads(value), indent=3),
}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda one: f"{one['kind']}-{one['form'][:20]}")
def test_spellings_mean_the_forms_that_the_vectors_say(vector: dict[str, Any]) -> None:
    column = KeyColumn(name="a", kind=KeyKind[vector["kind"].upper()])
    for text in vector["spellings"]:
        assert readings([text], [column]) == [vector["form"].encode()], text
    for text in vector.get("others", ()):
        try:
            found = readings([text], [column])
        except ValueError:
            continue
        assert found != [vector["form"].encode()], text


@pytest.mark.parametrize("kind", KeyKind)
def test_who_names_a_value_as_python_writes_it_means_it(kind: KeyKind) -> None:
    @given(VALUES[kind])
    def named(value: Any) -> None:  # noqa: ANN401
        written = PYTHON[kind](value)
        assert record_key([value]) in readings([written])
        assert readings([written], [KeyColumn(name="a", kind=kind)]) == [record_key([value])]

    named()


@given(st.lists(st.one_of(*VALUES.values()), min_size=1, max_size=3), st.lists(st.one_of(*VALUES.values()), max_size=3))
def test_two_keys_with_one_form_are_one_key(one: list[Any], two: list[Any]) -> None:
    same = len(one) == len(two) and all(form(a) == form(b) for a, b in zip(one, two, strict=True))
    assert (record_key(one) == record_key(two)) == same


@given(st.text(), st.text(), st.text(), st.text())
def test_text_with_a_separator_does_not_run_into_its_neighbour(a: str, b: str, c: str, d: str) -> None:
    assert (record_key([a, b]) == record_key([c, d])) == ((a, b) == (c, d))


@given(st.decimals(allow_nan=False, allow_infinity=False, places=8), st.decimals(allow_nan=False, allow_infinity=False))
def test_numbers_share_a_form_just_where_they_are_equal(a: Decimal, b: Decimal) -> None:
    assert (form(a) == form(b)) == (a == b)
    with localcontext(prec=400):
        assert form(a) == form(a * Decimal("1.00"))


@pytest.mark.parametrize(
    "columns",
    [
        [[]],
        [[1, 2, -3]],
        [["a", "\x1f", "\\", "\ud800"], [1, "1", None, True]],
        [[1.5, 2, Decimal("2.50")], [b"x", bytearray(b"x"), memoryview(b"x")]],
        [[Single(0.1), Padded("a "), Json('{"b":1, "a":2}')]],
    ],
)
def test_keys_of_columns_are_those_of_their_rows(columns: list[list[Any]]) -> None:
    assert record_keys(columns) == [record_key(row) for row in zip(*columns, strict=True)]


def test_values_of_different_types_never_share_a_form() -> None:
    alike = [
        1, "1", 1.0, Single(1.0), True, b"\x01", Padded("1"), Json("1"), date(2024, 1, 1), datetime(2024, 1, 1),  # noqa: DTZ001
        datetime(2024, 1, 1, tzinfo=UTC), time(0, 0), uuid.UUID(int=1), None,
    ]  # fmt: skip
    assert len({form(value) for value in alike}) == len(alike)


def test_moments_are_those_of_utc_whatever_zone_they_came_in() -> None:
    moment = datetime(2024, 1, 5, 10, tzinfo=timezone(timedelta(hours=2)))
    assert form(moment) == form(moment.astimezone(UTC)) == "i2024-01-05T08:00:00Z"
    assert form(to_the_nanosecond(moment.astimezone(UTC), 7)) == "i2024-01-05T08:00:00.000000007Z"
    assert form(to_the_nanosecond(moment.astimezone(UTC), 0)) == form(moment)


def test_what_can_be_no_value_of_a_column_is_refused_by_the_columns_name() -> None:
    with pytest.raises(ValueError, match="named for id can be no value"):
        readings(
            ["a", "secret"], [KeyColumn(name="tenant", kind=KeyKind.TEXT), KeyColumn(name="id", kind=KeyKind.NUMBER)]
        )
    with pytest.raises(ValueError, match="too many keys"):
        readings(["1"] * 9)
