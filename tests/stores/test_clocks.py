"""Never early, never silently late: every engine makes of a clock in text or numbers what the vectors say."""

# ruff: noqa: ANN401 - types of columns and fields of policies are of any type
from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql as pg
from tests.dates_kit import NEAR, PRAGUE, Clock, cutoffs, read_clocks, vectors
from tests.stores.parquet_kit import Body, encoded
from tests.stores.sql_kit import WALL, Database, dataset, work

from lethe.counts import Unjudgeable
from lethe.holds.rules import NO_HOLDS
from lethe.judging.dates import TimestampFormat
from lethe.periods import Cutoff
from lethe.policy import ColumnClock, Expiry, JsonLinesDataset, ParquetDataset
from lethe.stores.files.clocks import reader
from lethe.stores.files.formats.base import As
from lethe.stores.files.formats.jsonlines.reading import LinesFile
from lethe.stores.files.formats.parquet.reading import ParquetRows
from lethe.stores.files.holds import Loaded, RowMatcher
from lethe.stores.files.judge import DatasetJudge

ISO = TimestampFormat.ISO_8601
NUMBERS = [TimestampFormat.EPOCH_SECONDS, TimestampFormat.EPOCH_MILLISECONDS, TimestampFormat.EPOCH_MICROSECONDS]

Judged = Callable[[Cutoff], tuple[set[int], set[int]]]
"""Which rows an engine finds expired at a cutoff, and which it cannot judge."""


@contextmanager
def in_sql(database: Database, values: Sequence[Any], kind: Any, form: TimestampFormat | None) -> Iterator[Judged]:
    """Judge clocks in a table."""
    clock = {"column": "last_contact", **({"format": form.value} if form else {})}
    table = database.leads(clock=kind)
    rows = [{"id": number, "email": "a", "last_contact": value} for number, value in enumerate(values)]
    database.insert(table, rows)

    def judged(cutoff: Cutoff) -> tuple[set[int], set[int]]:
        job = work(dataset(clock=clock), expiry=Expiry(zone=PRAGUE, default=cutoff))
        expired, unparsable = database.judged(job, "expired", "unparsable_clock")
        return expired, unparsable

    try:
        yield judged
    finally:
        with database.engine.begin() as connection:
            table.drop(connection)


def in_parquet(values: Sequence[Any], kind: pa.DataType, form: TimestampFormat | None) -> Judged:
    """Judge clocks in a file."""
    clock = {"column": "at", **({"format": form.value} if form else {})}
    fields = {"kind": "parquet", "name": "views", "store": "lake", "bucket": "lake", "clock": clock}
    of = ParquetDataset.model_validate(fields)
    body = encoded(pa.table({"at": pa.array(values, kind)}), row_group_size=50)
    file = pq.ParquetFile(io.BytesIO(body))

    def judged(cutoff: Cutoff) -> tuple[set[int], set[int]]:
        judge = DatasetJudge(of, Expiry(zone=PRAGUE, default=cutoff)).bind(file.schema_arrow, "data/a.parquet")
        result = judge.judge_file(ParquetRows(Body(body)), RowMatcher(NO_HOLDS, of.identifiers, Loaded()))
        going = {int(row) for rows in result.going.positions() for row in rows}
        values = judge.readers["at"](file.read().column("at").combine_chunks())
        unparsable = {int(row) for row in values.unparsable.nonzero()[0]}
        assert result.unjudgeable.get(Unjudgeable.UNPARSABLE_CLOCK, 0) == len(unparsable)
        return going, unparsable

    return judged


def in_json_lines(values: Sequence[Any], form: TimestampFormat) -> Judged:
    """Judge clocks in a file of JSON lines, deep in objects."""
    of = JsonLinesDataset.model_validate(
        {
            "kind": "jsonlines",
            "name": "views",
            "store": "lake",
            "bucket": "lake",
            "clock": {"column": "one.at", "format": form.value},
        }
    )
    body = "\n".join(json.dumps({"one": {"at": value}}) for value in values).encode()

    def judged(cutoff: Cutoff) -> tuple[set[int], set[int]]:
        judge = DatasetJudge(of, Expiry(zone=PRAGUE, default=cutoff))
        file = LinesFile(Body(body))
        result = judge.bind(file.schema(judge.stored), "a.jsonl").judge_file(
            file, RowMatcher(NO_HOLDS, of.identifiers, Loaded())
        )
        going = {int(row) for rows in result.going.positions() for row in rows}
        (batch,) = (batch for chunk in file.chunks() for batch in chunk.read({"one.at": As.VALUE}, len(values)))
        read = judge.bind(file.schema(judge.stored), "a.jsonl").readers["one.at"](batch.column("one.at"))
        unparsable = {int(row) for row in read.unparsable.nonzero()[0]}
        assert result.unjudgeable.get(Unjudgeable.UNPARSABLE_CLOCK, 0) == len(unparsable)
        return going, unparsable

    return judged


def compare(clocks: Sequence[Clock], judged: Judged, at: Sequence[Cutoff] | None = None) -> None:
    """An engine finds what the clocks say, at every cutoff that makes a difference."""
    no_clock = {number for number, clock in enumerate(clocks) if clock.moment is None}
    for cutoff in at or cutoffs(clocks):
        expired = {number for number, clock in enumerate(clocks) if clock.expired(cutoff)}
        found, unjudgeable = judged(cutoff)
        assert {clocks[number].text for number in found ^ expired} == set(), cutoff
        assert {clocks[number].text for number in unjudgeable ^ no_clock} == set()


@pytest.mark.parametrize("form", TimestampFormat)
def test_text_in_a_table_is_judged_as_the_vectors_say(any_database: Database, form: TimestampFormat) -> None:
    clocks = vectors(form)
    with in_sql(any_database, [one.text for one in clocks], sa.Text(), form) as judged:
        compare(clocks, judged)


@pytest.mark.parametrize("form", TimestampFormat)
def test_text_in_a_file_is_judged_as_the_vectors_say(form: TimestampFormat) -> None:
    clocks = vectors(form)
    compare(clocks, in_parquet([one.text for one in clocks], pa.string(), form))
    compare(clocks, in_json_lines([one.text for one in clocks], form))


_DIGIT = re.compile("[0-9]")


@settings(max_examples=400, deadline=None)
@given(shape=NEAR | st.sampled_from([one.text for one in vectors(ISO)]), data=st.data())
def test_texts_that_differ_in_digits_alone_are_judged_like_all_others(shape: str, data: st.DataObject) -> None:
    """Columns of one shape are read in another way."""
    digits = st.lists(st.sampled_from("0123456789"), min_size=len(shape), max_size=len(shape))
    others = [
        "".join(new if _DIGIT.match(old) else old for old, new in zip(shape, data.draw(digits), strict=True))
        for _ in range(3)
    ]
    texts = [shape, *others, shape]
    read = reader(pa.large_string(), ColumnClock(column="at", format=ISO), PRAGUE)
    alike, mixed = read(pa.array(texts, pa.large_string())), read(pa.array([*texts, "2025"], pa.large_string()))
    for one, other in ((alike.missing, mixed.missing), (alike.unparsable, mixed.unparsable)):
        assert one.tolist() == other[:-1].tolist()
    for cutoff in cutoffs(read_clocks(texts)):
        assert alike.before(cutoff).tolist() == mixed.before(cutoff)[:-1].tolist()


@pytest.mark.parametrize("form", NUMBERS)
@pytest.mark.parametrize("kind", ["integer", "float", "decimal"])
def test_numbers_are_judged_as_the_vectors_say(any_database: Database, form: TimestampFormat, kind: str) -> None:
    clocks = [one for one in vectors(form) if one.exact]
    sql, arrow, of = {
        "integer": (sa.BigInteger(), pa.int64(), int),
        "float": (sa.Double(), pa.float64(), float),
        "decimal": (sa.Numeric(30, 3), pa.decimal128(30, 3), Decimal),
    }[kind]
    if kind == "float":  # one unit at the ends of the calendar is less than a float of microseconds can tell
        clocks = [one for one in clocks if float(one.text) == int(one.text)]
    values = [of(one.text) for one in clocks]
    bound = [float(value) for value in values] if kind == "decimal" and any_database.name == "sqlite" else values
    with in_sql(any_database, bound, sql, form) as judged:
        compare(clocks, judged)
    compare(clocks, in_parquet(values, arrow, form))
    if kind != "decimal":
        compare(clocks, in_json_lines(values, form))


def test_numbers_that_are_none_cannot_be_judged(warehouse: Database) -> None:
    kinds: list[Any] = [sa.Double(), pg.NUMERIC()]
    for kind in kinds:
        values = ["NaN", "Infinity", "-Infinity", "1e17", "1000"]
        clocks = [Clock(text, None) for text in values[:4]] + read_clocks(["1000"], NUMBERS[0])
        with in_sql(warehouse, [float(value) for value in values], kind, NUMBERS[0]) as judged:
            compare(clocks, judged)
    compare(clocks, in_parquet([float(value) for value in values], pa.float64(), NUMBERS[0]))


def test_a_number_with_a_fraction_is_not_early_within_its_second(any_database: Database) -> None:
    """A cutoff between two seconds: the as-of moment of records that go at once."""
    clocks = read_clocks(["1747735200.25", "1747735200.75", "1747735200.5"], NUMBERS[0])
    kinds: list[Any] = [sa.Double(), sa.Numeric(20, 6)]
    for kind in kinds:
        values = [float(one.text) for one in clocks]
        with in_sql(any_database, values, kind, NUMBERS[0]) as judged:
            compare(clocks, judged)


NATIVE = ["infinity", "-infinity", "0044-03-15 BC", "10000-01-01", "0001-01-01", "9999-12-31"]


@pytest.mark.parametrize("kind", [sa.Date(), sa.DateTime(), sa.DateTime(timezone=True)])
def test_dates_beyond_the_calendar_cannot_be_judged_and_fail_nobody(warehouse: Database, kind: Any) -> None:
    with in_sql(warehouse, [], kind, None) as judged:
        for number, text in enumerate(NATIVE):
            warehouse.run_text(f"INSERT INTO leads VALUES ({number}, 'a', '{text}')")  # noqa: S608
        found = judged(cutoffs(read_clocks(["2025-05-20"]))[0])
        assert found == ({4}, {0, 1, 2, 3})
        job = work(expiry=Expiry(zone=PRAGUE, default=cutoffs(read_clocks(["2025-05-20"]))[0]))
        candidates = warehouse.store.discover(job, NO_HOLDS)
        assert (candidates.due, candidates.unjudgeable) == (1, {Unjudgeable.UNPARSABLE_CLOCK: 4})


def test_local_times_in_columns_are_judged_as_those_in_text(any_database: Database) -> None:
    near_a_change = [one for one in vectors(ISO) if one.text.startswith(("2025-10-26T", "2025-03-30T"))]
    clocks = [one for one in near_a_change if "+" not in one.text]
    values = [datetime.fromisoformat(one.text) for one in clocks]
    with in_sql(any_database, values, WALL, None) as judged:
        compare(clocks, judged)
    for unit in ("us", "ns"):
        compare(clocks, in_parquet(values, pa.timestamp(unit), None))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NEAR, min_size=40, max_size=60))
def test_texts_near_the_grammar_are_judged_alike_by_all(any_database: Database, texts: list[str]) -> None:
    clocks = read_clocks([text.replace("\0", "") for text in texts])
    at = cutoffs([*clocks, *read_clocks(["2025-05-20"])])[:12]
    with in_sql(any_database, [one.text for one in clocks], sa.Text(), ISO) as judged:
        compare(clocks, judged, at)
    compare(clocks, in_parquet([one.text for one in clocks], pa.string(), ISO), at)


def test_one_text_clock_fails_no_neighbour(any_database: Database) -> None:
    texts = [*(one.text for one in vectors(ISO) if one.moment is None), "2024-01-01"]
    table = any_database.leads(
        [{"id": number, "email": "a", "last_contact": text} for number, text in enumerate(texts)], clock=sa.Text()
    )
    of = dataset(clock={"column": "last_contact", "format": "iso8601"})
    candidates = any_database.store.discover(work(of), NO_HOLDS)
    assert candidates.due == 1
    assert candidates.unjudgeable == {Unjudgeable.UNPARSABLE_CLOCK: len(texts) - 1}
    assert len(any_database.ids(table)) == len(texts)
