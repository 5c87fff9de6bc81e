"""Never early: every engine makes of a condition on days, numbers or text what the vectors say, and Python does."""

# ruff: noqa: ANN401 - types of columns are of any type
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from functools import partial
from itertools import groupby
from math import isfinite, isnan
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conditions_kit import PRAGUE, TESTS, VALUES, Case, expected, oracle, vectors
from tests.stores.sql_kit import SINGLE, Database, dataset, kind_of, refused, work

from lethe.counts import Unjudgeable
from lethe.holds.rules import NO_HOLDS
from lethe.judging.dates import Zones
from lethe.policy import Condition
from lethe.stores.files.conditions import answer, answer_of_text

Answers = Callable[[Condition], tuple[set[int], set[int]]]
"""The positions of the values that surely meet a condition, and of those of which it cannot be said."""

ARROW = {
    "text": pa.string(),
    "whole": pa.int64(),
    "exact": pa.decimal128(38, 6),
    "double": pa.float64(),
    "single": pa.float32(),
    "day": pa.date32(),
    "wall": pa.timestamp("us"),
    "moment": pa.timestamp("us", "UTC"),
}


def sql_type(database: Database, kind: str) -> Any:
    """The type of a kind of column."""
    types = {
        "text": sa.Text(),
        "whole": sa.BigInteger(),
        "exact": sa.Numeric(38, 6),
        "double": sa.Double(),
        "single": SINGLE,
        "day": sa.Date(),
        "wall": kind_of(database.connection).wall,
        "moment": database.moment,
    }
    return types[kind]


@contextmanager
def in_sql(database: Database, values: Sequence[Any], kind: str) -> Iterator[Answers]:
    """Ask a table."""
    columns = [sa.Column("at", sa.Date), sa.Column("tested", sql_type(database, kind))]
    table = database.create("tests", sa.Column("id", sa.Integer, primary_key=True, autoincrement=False), *columns)
    if database.name == "sqlite":
        values = [float(value) if isinstance(value, Decimal) else value for value in values]
    database.insert(table, [{"id": number, "tested": value} for number, value in enumerate(values)])

    def answers(asked: Condition) -> tuple[set[int], set[int]]:
        of = dataset(table="tests", clock={"column": "at"}, identifiers={}, where=[asked.model_dump(by_alias=True)])
        met, unclear = database.judged(work(of), "in_scope", "unclear")
        return met, unclear

    try:
        yield answers
    finally:
        database.do(sa.schema.DropTable(table))


def in_parquet(values: Sequence[Any], kind: str) -> Answers:
    """Ask a column of a file."""
    array = pa.array(values, ARROW[kind])

    def answers(asked: Condition) -> tuple[set[int], set[int]]:
        found = answer(asked, array, Zones(PRAGUE, PRAGUE))
        return set(found.met.nonzero()[0].tolist()), set(found.unclear.nonzero()[0].tolist())

    return answers


def by_kind(keep: Callable[[Case], bool]) -> dict[str, list[Case]]:
    chosen = sorted((case for case in vectors() if keep(case)), key=lambda case: case.kind)
    return {kind: list(cases) for kind, cases in groupby(chosen, lambda case: case.kind)}


def compare(cases: Sequence[Case], answers: Answers) -> None:
    """Each value is in a row of its own; each condition is asked of all, and has to be right of its own."""
    for number, case in enumerate(cases):
        met, unclear = answers(case.condition)
        found = None if number in unclear else number in met
        assert found is case.met, case


def _has(database: Database, case: Case) -> bool:
    """Whether a database has such a value: SQLite has doubles for all fractions, and MariaDB finite ones alone."""
    return _has_number(database, case.value) and (database.name != "sqlite" or case.kind not in ("exact", "single"))


def _has_number(database: Database, value: object) -> bool:
    """Whether a database has such a number: SQLite has no NaN, and MariaDB none that is not finite."""
    if database.is_postgres or not isinstance(value, float):
        return True
    return isfinite(value) if database.name == "mariadb" else not isnan(value)


def test_the_vectors_are_what_python_says() -> None:
    for case in vectors():
        assert oracle(case.kind, case.condition, case.value) is case.met, case


def test_a_table_answers_as_the_vectors_say(any_database: Database) -> None:
    for kind, cases in by_kind(partial(_has, any_database)).items():
        with in_sql(any_database, [case.value for case in cases], kind) as answers:
            compare(cases, answers)


def test_a_file_answers_as_the_vectors_say() -> None:
    for kind, cases in by_kind(lambda _: True).items():
        compare(cases, in_parquet([case.value for case in cases], kind))


def test_a_key_answers_as_the_vectors_say() -> None:
    for case in vectors():
        if case.kind in ("text", "exact"):
            text = None if case.value is None else str(case.value)
            found = answer_of_text(case.condition, text, 2, Zones(PRAGUE, PRAGUE))
            assert (None if found.unclear.all() else bool(found.met.all())) is case.met, case


def test_a_file_without_types_answers_as_the_vectors_say() -> None:
    """Its values are text, numbers too."""
    zones = Zones(PRAGUE, PRAGUE)
    for case in vectors():
        if case.kind in ("text", "whole", "exact"):
            text = None if case.value is None else str(case.value)
            found = answer(case.condition, pa.array([text, None], pa.string()), zones, typed=False)
            assert (None if found.unclear[0] else bool(found.met[0])) is case.met, case


def test_text_that_is_no_unicode_cannot_be_compared(any_database: Database) -> None:
    if any_database.name != "sqlite":
        pytest.skip("only SQLite takes such text")
    with in_sql(any_database, ["a", None], "text") as answers:
        any_database.run_text("UPDATE tests SET tested = CAST(X'FF61' AS TEXT) WHERE id = 1")
        assert answers(Condition.model_validate({"column": "tested", "like": "a%"})) == ({0}, {1})


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(sorted(VALUES)))
def test_whatever_is_asked_of_a_table_it_answers_as_python_does(any_database: Database, kind: str, data: Any) -> None:
    if any_database.name == "sqlite" and kind in ("exact", "single"):
        kind = "double"
    values = data.draw(st.lists(st.none() | VALUES[kind], min_size=1, max_size=30))
    values = [value if _has_number(any_database, value) else None for value in values]
    with in_sql(any_database, values, kind) as answers:
        for asked in data.draw(st.lists(TESTS[kind], min_size=1, max_size=5)):
            assert answers(asked) == expected([Case(kind, asked, one, oracle(kind, asked, one)) for one in values])


@settings(max_examples=200, deadline=None)
@given(data=st.data(), kind=st.sampled_from(sorted(VALUES)))
def test_whatever_is_asked_of_a_file_it_answers_as_python_does(kind: str, data: Any) -> None:
    values = data.draw(st.lists(st.none() | VALUES[kind], min_size=1, max_size=30))
    asked = data.draw(TESTS[kind])
    cases = [Case(kind, asked, one, oracle(kind, asked, one)) for one in values]
    assert in_parquet(values, kind)(asked) == expected(cases)


def test_what_cannot_be_compared_is_counted_in_where_and_kept_by_keep_while(database: Database) -> None:
    rows = [
        {"id": number, "email": "a", "last_contact": date(2020, 1, 1), "note": note}
        for number, note in enumerate(["2024-01-01", "2026-01-01", "soon", None])
    ]
    database.leads(rows, clock=sa.Date(), note=sa.Text())
    test = {"column": "note", "after": "2025-01-01", "format": "iso8601"}
    found = database.store.discover(work(dataset(where=[test])), NO_HOLDS)
    assert (found.total, found.expired, found.unjudgeable) == (2, 1, {Unjudgeable.UNCLEAR_CONDITION: 1})
    kept = database.store.discover(work(dataset(keep_while=[test]), run="run-2"), NO_HOLDS)
    assert (kept.total, kept.kept_on, kept.due, kept.unjudgeable) == (4, 2, 2, {})


@pytest.mark.parametrize(
    ("test", "needs"),
    [
        ({"column": "email", "before": "2025-01-01"}, "before needs a date or a timestamp"),
        ({"column": "email", "below": 5}, "below needs a number"),
        ({"column": "id", "like": "a%"}, "like needs text"),
    ],
)
def test_a_column_that_has_nothing_to_compare_is_refused(database: Database, test: dict[str, Any], needs: str) -> None:
    database.leads(clock=sa.Date())
    (problem,) = refused(database, dataset(where=[test]))
    assert problem.field == "where"
    assert needs in problem.message
