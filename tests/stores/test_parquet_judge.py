"""Which rows have expired and which are held: every kind of clock and identifier, against plain Python."""

# ruff: noqa: ANN401, DTZ001 - fields of policies are of any type, and times without a zone are a subject here
from __future__ import annotations

import io
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, cast
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.stores.parquet_kit import Body, encoded, hold, rules

from lethe.counts import Unjudgeable
from lethe.holds.rules import NO_HOLDS, ClockRange, HoldRules
from lethe.judging.identifiers import IdentifierType, exact, normalise
from lethe.periods import Cutoff, start_of_day
from lethe.policy import Expiry, ParquetDataset
from lethe.stores.files.clocks import WrongSchema
from lethe.stores.files.formats.parquet import footer as ft
from lethe.stores.files.formats.parquet.reading import ParquetRows
from lethe.stores.files.formats.parquet.thrift import Struct, ThriftReader
from lethe.stores.files.holds import Identifiers, Loaded, RowMatcher, values_of
from lethe.stores.files.judge import DatasetJudge, FileJudgement

PRAGUE = ZoneInfo("Europe/Prague")
NEW_YORK = ZoneInfo("America/New_York")
DAY = date(2025, 1, 1)
CUTOFF = Cutoff(DAY, start_of_day(DAY, PRAGUE))


def with_footer(body: bytes, footer: Struct) -> ParquetRows:
    """A file whose statistics are those of another footer."""
    rows = ParquetRows(Body(body))
    rows.footer = footer
    return rows


def judged(
    table: pa.Table,
    held: HoldRules = NO_HOLDS,
    expiry: Expiry | None = None,
    key: str = "data/a.parquet",
    **fields: Any,
) -> FileJudgement:
    """Judge a table as a file."""
    dataset = ParquetDataset.model_validate(
        {
            "kind": "parquet",
            "name": "views",
            "store": "lake",
            "bucket": "lake",
            "clock": {"column": "at"},
            **fields,
        }
    )
    body = encoded(table, row_group_size=3)
    file = pq.ParquetFile(io.BytesIO(body))
    judge = DatasetJudge(dataset, expiry or Expiry(zone=PRAGUE, default=CUTOFF))
    matcher = RowMatcher(held, dataset.identifiers, Loaded())
    return judge.bind(file.schema_arrow, key).judge_file(ParquetRows(Body(body)), matcher)


def going(result: FileJudgement) -> list[int]:
    return [int(row) for rows in result.going.positions() for row in rows]


def expired(values: Any, kind: pa.DataType, held: HoldRules = NO_HOLDS, **clock: Any) -> list[int]:
    """Which of some clocks have expired on 1 January 2025 in Prague."""
    table = pa.table({"at": values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, kind)})
    return going(judged(table, held, clock={"column": "at", **clock}))


MIDNIGHT = CUTOFF.instant  # 2024-12-31 23:00 UTC
JUST_BEFORE = MIDNIGHT - timedelta(microseconds=1)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_moments_expire_at_local_midnight(unit: str) -> None:
    """Promise 1: to the last unit."""
    values = [MIDNIGHT - timedelta(seconds=1), MIDNIGHT, None, MIDNIGHT + timedelta(days=1)]
    assert expired(values, pa.timestamp(unit, tz="UTC")) == [0]
    assert expired(values, pa.timestamp(unit, tz="America/New_York")) == [0]
    assert expired(values, pa.timestamp(unit, tz="+02:00")) == [0]
    if unit in ("us", "ns"):
        assert expired([JUST_BEFORE, MIDNIGHT], pa.timestamp(unit, tz="UTC")) == [0]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_on_the_wall_are_local(unit: str) -> None:
    values = [datetime(2024, 12, 31, 23, 59, 59), datetime(2025, 1, 1), datetime(2025, 1, 1, 6)]
    assert expired(values, pa.timestamp(unit)) == [0]
    # In New York it is six hours earlier: local midnight in Prague is 18:00 there.
    values = [datetime(2024, 12, 31, 17, 59, 59), datetime(2024, 12, 31, 18), datetime(2025, 1, 1)]
    assert expired(values, pa.timestamp(unit), time_zone="America/New_York") == [0]


def test_days() -> None:
    values = [date(2024, 12, 31), date(2025, 1, 1), None, date(1, 1, 1), date(9999, 12, 31)]
    assert expired(values, pa.date32()) == [0, 3]
    assert expired(values[:3], pa.date64()) == [0]
    assert expired(pa.array(["2024-12-31", "2025-01-01"]).dictionary_encode(), pa.string(), format="iso8601") == [0]


def test_text() -> None:
    values = [
        "2024-12-31",
        "2025-01-01",
        " 2024-12-31T23:59:59.999999999 ",
        "2025-01-01T00:00",
        "2024-12-31T22:59:59Z",
        "2024-12-31T23:00:00Z",
        "2025-01-01 00:59:59+02:00",
        "2025-01-01 01:00:00+0200",
        "2024-12-31T17:59:59.5-05",
    ]
    assert expired(values, pa.string(), format="iso8601") == [0, 2, 4, 6, 8]
    assert expired(values, pa.large_string(), format="iso8601") == [0, 2, 4, 6, 8]
    assert expired([value.encode() for value in values], pa.binary(), format="iso8601") == [0, 2, 4, 6, 8]


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2024-02-30", "2024-13-01", "31.12.2024", "2024-12-31T24:01", "2024-12-31T10:60", "2024-1-1",
     "2024-12-31T10:00+25:00", "2024366", "2024-12-31T10:00:61Z", "٢٠٢٤-١٢-٣١x", "0000-01-01"],
)  # fmt: skip
def test_text_that_is_no_clock_cannot_be_judged(text: str) -> None:
    result = judged(pa.table({"at": [text, "2024-12-31"]}), clock={"column": "at", "format": "iso8601"})
    assert result.unjudgeable == {Unjudgeable.UNPARSABLE_CLOCK: 1}
    assert going(result) == [1]


def test_seconds_and_years() -> None:
    seconds = [int(MIDNIGHT.timestamp()) - 1, int(MIDNIGHT.timestamp()), None, 10**15]
    for kind in (pa.int64(), pa.uint64()):
        assert expired(seconds, kind, format="epoch_seconds") == [0]
    assert expired([None if s is None else str(s) for s in seconds], pa.string(), format="epoch_seconds") == [0]
    years = [2023, 2024, 2025, None, 0, 12345]
    result = judged(pa.table({"at": pa.array(years, pa.int32())}), clock={"column": "at", "format": "year"})
    assert going(result) == [0, 1]
    assert result.unjudgeable == {Unjudgeable.NO_CLOCK: 1, Unjudgeable.UNPARSABLE_CLOCK: 2}
    assert expired(["2024", "2025", "MMXX"], pa.string(), format="year") == [0]


@pytest.mark.parametrize(
    ("kind", "format_"),
    [(pa.int64(), None), (pa.string(), None), (pa.bool_(), None), (pa.float64(), "year"),
     (pa.time64("us"), None), (pa.int64(), "iso8601")],
)  # fmt: skip
def test_a_clock_of_the_wrong_type_is_refused(kind: pa.DataType, format_: str | None) -> None:
    clock: dict[str, Any] = {"format": format_} if format_ else {}
    with pytest.raises(WrongSchema):
        expired(pa.array([None], kind), kind, **clock)


def test_the_latest_and_the_earliest_of_several() -> None:
    table = pa.table(
        {
            "a": pa.array([date(2024, 1, 1), date(2024, 1, 1), date(2026, 1, 1), None, None]),
            "b": pa.array(["2024-02-01", "2025-02-01", None, "2024-01-01", None]),
        }
    )
    latest = judged(table, clock={"latest_of": ["a", "b"], "format": "iso8601"})
    assert going(latest) == [0, 3]
    assert latest.unjudgeable == {Unjudgeable.NO_CLOCK: 1}
    assert latest.oldest == date(2024, 1, 1)
    earliest = judged(table, clock={"earliest_of": ["a", "b"], "format": "iso8601"})
    assert going(earliest) == [0, 1, 3]
    running = judged(table, clock={"latest_of": ["a", "b"], "format": "iso8601", "when_missing": "running"})
    assert running.unjudgeable == {}
    broken = judged(
        pa.table({"a": pa.array([date(2024, 1, 1)]), "b": ["?"]}),
        clock={"latest_of": ["a", "b"], "format": "iso8601"},
    )
    assert broken.unjudgeable == {Unjudgeable.UNPARSABLE_CLOCK: 1}
    assert not going(broken)


def test_periods_by_value() -> None:
    early = Cutoff(date(2020, 1, 1), start_of_day(date(2020, 1, 1), PRAGUE))
    table = pa.table(
        {
            "at": pa.array([date(2021, 1, 1)] * 5 + [date(2019, 1, 1)]),
            "country": pa.array(["CZ", "DE", None, "FR", "cz", "DE"]).dictionary_encode(),
        }
    )
    result = judged(table, expiry=Expiry(PRAGUE, CUTOFF, "country", {"DE": early}))
    assert going(result) == [0, 2, 3, 4, 5]
    result = judged(table, expiry=Expiry(PRAGUE, None, "country", {"DE": early, "CZ": CUTOFF}))
    assert going(result) == [0, 5]
    assert result.unjudgeable == {Unjudgeable.NO_PERIOD: 3}
    numbers = pa.table({"at": pa.array([date(2021, 1, 1)] * 2), "plan": pa.array([1, 2])})
    assert going(judged(numbers, expiry=Expiry(PRAGUE, None, "plan", {"1": CUTOFF}))) == [0]


@pytest.mark.parametrize("kept", ["1", "1.0"])
def test_of_several_spellings_of_a_value_the_longest_period_counts(kept: str) -> None:
    early = Cutoff(date(2020, 1, 1), start_of_day(date(2020, 1, 1), PRAGUE))
    by_value = {text: early if text == kept else CUTOFF for text in ("1", "1.0")}
    table = pa.table({"at": pa.array([date(2021, 1, 1)]), "plan": pa.array([1.0])})
    assert going(judged(table, expiry=Expiry(PRAGUE, None, "plan", by_value))) == []


@pytest.mark.parametrize(
    ("condition", "rows"),
    [({"in": ["a"]}, [0]), ({"not_in": ["a"]}, [1, 2]), ({"is_null": True}, [2]), ({"is_null": False}, [0, 1])],
)
def test_null_is_none_of_any_values(condition: dict[str, Any], rows: list[int]) -> None:
    table = pa.table({"at": pa.array([date(2020, 1, 1)] * 3), "x": ["a", "b", None]})
    result = judged(table, where=[{"column": "x", **condition}])
    assert going(result) == rows
    assert result.total == len(rows)
    kept = judged(table, keep_while=[{"column": "x", **condition}])
    assert going(kept) == [row for row in range(3) if row not in rows]
    assert kept.kept_on == len(rows)


def test_conditions_on_numbers_and_truth_values() -> None:
    table = pa.table({"at": pa.array([date(2020, 1, 1)] * 3), "n": [1, 2, 3], "b": [True, False, None]})
    assert going(judged(table, where=[{"column": "n", "in": [1, "3"]}])) == [0, 2]
    assert going(judged(table, where=[{"column": "b", "in": [True]}])) == [0]
    assert going(judged(table, where=[{"column": "b", "not_in": [True]}])) == [1, 2]


UUID = uuid.UUID("0189f0a1-0000-7000-8000-00000000abcd")
VALUES: list[tuple[pa.Array, list[Any], list[int]]] = [
    (pa.array([Decimal("1.00"), Decimal("2.50"), None], pa.decimal128(12, 2)), ["1", "2.5"], [0, 1]),
    (pa.array([1, 2, None], pa.uint8()), ["2", 1], [0, 1]),
    (pa.array([1.0, 2.5, None], pa.float32()), [1, "2.5"], [0, 1]),
    (pa.array([True, False, None]), [1], [0]),
    (pa.array([True, False, None]), ["False", True], [0, 1]),
    (pa.array([UUID.bytes, bytes(16), None], pa.binary(16)), [str(UUID).upper()], [0]),
    (pa.array([UUID.bytes, None], pa.uuid()), [str(UUID).upper()], [0]),
    (pa.array([b"open", b"shut", None]), ["open"], [0]),
    (pa.array([date(2025, 1, 2), None]), ["2025-01-02"], [0]),
    (pa.array(["1", "x", None]).dictionary_encode(), [1], [0]),
]


@pytest.mark.parametrize(("column", "values", "rows"), VALUES, ids=[str(kind.type) for kind, _, _ in VALUES])
def test_values_of_a_policy_are_compared_as_those_of_the_column(column: pa.Array, values: Any, rows: Any) -> None:
    """Promise 2: a keep_while that nothing can meet would keep nothing."""
    table = pa.table({"at": pa.array([date(2020, 1, 1)] * len(column)), "x": column})
    kept = judged(table, keep_while=[{"column": "x", "in": values}])
    assert kept.kept_on == len(rows)
    assert going(kept) == [row for row in range(len(column)) if row not in rows]
    assert going(judged(table, where=[{"column": "x", "not_in": values}])) == going(kept)
    if all(isinstance(value, str) for value in values):
        by_value = Expiry(PRAGUE, None, "x", dict.fromkeys(values, CUTOFF))
        assert going(judged(table, expiry=by_value)) == rows


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.int64(), "x"),
        (pa.int64(), "1.5"),
        (pa.int64(), True),
        (pa.uint8(), 256),
        (pa.decimal128(12, 2), "1.005"),
        (pa.decimal128(4, 2), 12345),
        (pa.float64(), "much"),
        (pa.bool_(), 2),
        (pa.bool_(), "yes"),
        (pa.uuid(), "no-uuid"),
        (pa.date32(), "tomorrow"),
        (pa.string(), True),
    ],
    ids=str,
)
def test_a_value_that_a_column_can_never_have_is_refused(kind: pa.DataType, value: Any) -> None:
    table = pa.table({"at": pa.array([date(2020, 1, 1)]), "x": pa.array([None], kind)})
    with pytest.raises(WrongSchema, match="can never be the value"):
        judged(table, keep_while=[{"column": "x", "in": [value]}])


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("kind", [pa.date32(), pa.timestamp("ms"), pa.timestamp("ns", tz="UTC")])
def test_statistics_decide_nothing_that_rows_would_not(kind: pa.DataType, statistics: bool) -> None:
    random = np.random.default_rng(5)
    days = [None if n % 11 == 0 else date(2024, 12, 20) + timedelta(days=int(n)) for n in random.integers(0, 25, 300)]
    values: list[Any] = [
        None if d is None else d if pa.types.is_date(kind) else datetime.combine(d, datetime.min.time()) for d in days
    ]
    if getattr(kind, "tz", None):
        values = [None if v is None else v.replace(tzinfo=UTC) for v in values]
    table = pa.table({"at": pa.array(values, kind)})
    body = encoded(table, row_group_size=2, write_statistics=statistics)
    dataset = ParquetDataset.model_validate(
        {"kind": "parquet", "name": "v", "store": "l", "bucket": "lake", "clock": {"column": "at"}}
    )
    bound = DatasetJudge(dataset, Expiry(zone=PRAGUE, default=CUTOFF)).bind(
        pq.read_schema(io.BytesIO(body)), "data/a.parquet"
    )
    matcher = RowMatcher(NO_HOLDS, {}, Loaded())
    with_them = bound.judge_file(ParquetRows(Body(body)), matcher)
    without = bound.judge_file(with_footer(body, {}), matcher)
    assert going(with_them) == going(without)
    assert with_them.unjudgeable == without.unjudgeable
    assert with_them.oldest == without.oldest


def test_statistics_that_exclude_nothing_are_not_trusted_to_erase() -> None:
    """A group that statistics call expired is read all the same."""
    body = encoded(pa.table({"at": pa.array([date(2026, 1, 1)] * 3)}))
    footer = ft.read(body, len(body))
    for chunk in ft.chunks(footer):
        statistics = (ft.substruct(chunk, 3) or {})[12].value
        for identity in (1, 2, 5, 6):
            if identity in statistics:
                statistics[identity] = statistics[identity]._replace(value=(100).to_bytes(4, "little"))
    dataset = ParquetDataset.model_validate(
        {"kind": "parquet", "name": "v", "store": "l", "bucket": "lake", "clock": {"column": "at"}}
    )
    bound = DatasetJudge(dataset, Expiry(zone=PRAGUE, default=CUTOFF)).bind(
        pq.read_schema(io.BytesIO(body)), "data/a.parquet"
    )
    result = bound.judge_file(with_footer(body, footer), RowMatcher(NO_HOLDS, {}, Loaded()))
    assert not going(result)


# --- holds ---------------------------------------------------------------------------------------------------------


def held_rows(values: pa.Array, kind: IdentifierType, *texts: str, region: str | None = None) -> list[int]:
    """Rows of an identifier column that a hold on some texts covers."""
    table = pa.table({"at": pa.array([date(2020, 1, 1)] * len(values)), "who": values})
    named: dict[str, Any] = {kind.value: [normalise(kind, text, region=region) for text in texts]}
    held = rules(hold(1, **named))
    result = judged(table, held, identifiers={kind.value: ["who"]})
    return [int(row) for rows in result.held.positions() for row in rows]


def test_identifiers_match_however_they_are_written() -> None:
    mails = pa.array(["Ann@Example.org", " ann@example.org\n", "bob@example.org", None, "", "ÉVA@example.org"])
    assert held_rows(mails, IdentifierType.EMAIL, "ANN@example.org") == [0, 1]
    assert held_rows(mails, IdentifierType.EMAIL, "e\u0301va@example.org") == [5]
    assert held_rows(mails.dictionary_encode(), IdentifierType.EMAIL, "ann@example.org") == [0, 1]
    assert held_rows(mails.cast(pa.binary()), IdentifierType.EMAIL, "ann@example.org") == [0, 1]
    numbers = pa.array(["+420 777 123 456", "777123456", "(0042)0777-123-456", "777123457", "٧٧٧١٢٣٤٥٦", "123"])
    assert held_rows(numbers, IdentifierType.PHONE, "+420 777 123 456") == [0, 1, 2, 4]
    assert held_rows(pa.array([420777123456, 1]), IdentifierType.MSISDN, "420777123456") == [0]
    assert held_rows(pa.array([17, 18, None]), IdentifierType.ACCOUNT, "17") == [0]
    assert held_rows(pa.array([17.0, 18.5, None]), IdentifierType.ACCOUNT, "17", "18.5") == [0, 1]
    assert held_rows(pa.array([Decimal("17.00"), Decimal("18.00")]), IdentifierType.ACCOUNT, "17") == [0]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(IdentifierType)), st.lists(st.text(max_size=12), max_size=8))
def test_what_is_exactly_one_identifier_has_the_key_that_it_has_everywhere(
    kind: IdentifierType, texts: list[str]
) -> None:
    values = values_of(pa.array(texts, pa.string()), kind)
    assert [texts[row] for row in values.odd] == list(values.stored)
    for row in set(range(len(texts))) - set(values.odd):
        if not kind.is_telephone:
            assert values.keys[row] == exact(kind, texts[row])


def test_many_identifiers_are_found_exactly() -> None:
    random = np.random.default_rng(3)
    wanted = np.unique(random.integers(0, 2**63, 200_000).astype(np.uint64) * np.uint64(2))
    found = Identifiers.of([wanted[:100_000], wanted[50_000:]])
    asked = np.concatenate([wanted[::7], wanted[::11] + np.uint64(1)])
    assert (found.contain(asked) == np.isin(asked, wanted)).all()


def test_rules_are_combined_by_any_and_conditions_by_all() -> None:
    table = pa.table(
        {
            "at": pa.array([date(2020, 1, 1), date(2021, 1, 1), date(2022, 1, 1), date(2023, 1, 1)]),
            "who": ["a@x.y", "a@x.y", "b@x.y", "c@x.y"],
        }
    )
    held = rules(
        hold(1, ClockRange(date(2021, 1, 1), None), email=["a@x.y"]),
        hold(2, ClockRange(date(2022, 6, 1), date(2023, 1, 1))),
        hold(3, email=["none@x.y"]),
    )
    result = judged(table, held, identifiers={"email": ["who"]})
    assert going(result) == [0, 2]
    assert result.expired == 4
    assert result.oldest == date(2020, 1, 1)
    only_newer = judged(table, HoldRules(3, held.since(2).rules), identifiers={"email": ["who"]})
    assert going(only_newer) == [0, 1, 2, 3]


def test_identifiers_are_read_only_where_rows_have_expired() -> None:
    table = pa.table({"at": pa.array([date(2026, 1, 1)] * 6 + [date(2020, 1, 1)] * 3), "who": ["a@x.y"] * 9})
    body = encoded(table, row_group_size=3)
    file = pq.ParquetFile(io.BytesIO(body))
    read: list[tuple[list[int], list[str]]] = []
    real = file.iter_batches

    class Watched:
        metadata, num_row_groups, schema_arrow = file.metadata, file.num_row_groups, file.schema_arrow

        def iter_batches(self, *args: Any, **options: Any) -> Any:
            read.append((options["row_groups"], options["columns"]))
            return real(*args, **options)

    dataset = ParquetDataset.model_validate(
        {
            "kind": "parquet", "name": "v", "store": "l", "bucket": "lake", "clock": {"column": "at"},
            "identifiers": {"email": ["who"]},
        }
    )  # fmt: skip
    matcher = RowMatcher(rules(hold(1, email=["a@x.y"])), dataset.identifiers, Loaded())
    bound = DatasetJudge(dataset, Expiry(zone=PRAGUE, default=CUTOFF)).bind(file.schema_arrow, "data/a.parquet")
    rows = ParquetRows(Body(body))
    rows.parquet = cast("pq.ParquetFile", Watched())
    result = bound.judge_file(rows, matcher)
    assert result.held.count == 3
    assert [groups for groups, columns in read if "who" in columns] == [[2]]


# --- what only the key of a file says ------------------------------------------------------------------------------

YMD = r"/year=(?P<year>\d+)/month=(?P<month>\d+)(?:/day=(?P<day>\d+))?/"
WEEK = r"/week=(?P<iso_year>\d+)-W(?P<week>\d+)/"
TEXT = r"/at=(?P<value>[^/]+)/"


@pytest.mark.parametrize(
    ("pattern", "key", "clock", "rows"),
    [
        (YMD, "data/year=2024/month=12/day=31/a", {}, 2),
        (YMD, "data/year=2025/month=1/day=1/a", {}, 0),
        (YMD, "data/year=2024/month=12/a", {}, 2),
        (YMD, "data/year=2025/month=01/a", {}, 0),
        (YMD, "data/year=2024/month=12/day=31/a", {"time_zone": "UTC"}, 0),  # lasts until 1 January in Prague
        (YMD, "data/year=2024/month=12/day=30/a", {"time_zone": "UTC"}, 2),
        (WEEK, "data/week=2024-W52/a", {}, 2),
        (WEEK, "data/week=2025-W01/a", {}, 0),  # has days of 2024
        (TEXT, "data/at=2024-12-31/a", {"format": "iso8601"}, 2),
        (TEXT, "data/at=2024-12-31 22%3A59%3A59Z/a", {"format": "iso8601"}, 2),
        (TEXT, "data/at=2024-12-31 23%3A00%3A00Z/a", {"format": "iso8601"}, 0),
        (TEXT, "data/at=2024/a", {"format": "year"}, 2),
        (TEXT, "data/at=1735685999/a", {"format": "epoch_seconds"}, 2),
        (TEXT, "data/at=1735686000/a", {"format": "epoch_seconds"}, 0),
    ],
)
def test_a_clock_that_only_the_key_says(pattern: str, key: str, clock: dict[str, str], rows: int) -> None:
    table = pa.table({"id": [1, 2]})
    assert len(going(judged(table, key=key, path_columns={"at": pattern}, clock={"column": "at", **clock}))) == rows


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("data/at=2024-W52/a", Unjudgeable.UNPARSABLE_CLOCK),
        ("data/at=2024-12/a", Unjudgeable.UNPARSABLE_CLOCK),
        ("data/at=2024-12-31T10/a", Unjudgeable.UNPARSABLE_CLOCK),
        ("data/at=__HIVE_DEFAULT_PARTITION__/a", Unjudgeable.NO_CLOCK),
    ],
)
def test_a_date_in_a_key_that_says_less_than_a_day_or_nothing_cannot_be_judged(key: str, why: Unjudgeable) -> None:
    clock = {"column": "at", "format": "iso8601"}
    assert judged(pa.table({"id": [1, 2]}), key=key, path_columns={"at": TEXT}, clock=clock).unjudgeable == {why: 2}


def test_a_clock_of_the_key_is_one_of_several() -> None:
    table = pa.table({"paid": pa.array([date(2024, 5, 1), date(2025, 5, 1), None])})
    fields: dict[str, Any] = {"path_columns": {"at": YMD}, "clock": {"latest_of": ["at", "paid"]}}
    assert going(judged(table, key="data/year=2024/month=3/a", **fields)) == [0, 2]
    assert going(judged(table, key="data/year=2025/month=3/a", **fields)) == []


def test_a_hold_on_some_days_holds_whatever_may_be_of_them_in_a_month() -> None:
    fields: dict[str, Any] = {"path_columns": {"at": YMD}, "clock": {"column": "at"}}
    middle = rules(hold(clock=ClockRange(date(2024, 3, 10), date(2024, 3, 11))))
    for month, held in ((2, 0), (3, 2), (4, 0)):
        result = judged(pa.table({"id": [1, 2]}), middle, key=f"data/year=2024/month={month}/a", **fields)
        assert result.held.count == held


@pytest.mark.parametrize(
    ("key", "condition", "met"),
    [
        ("data/country=CZ/a", {"in": ["CZ"]}, True),
        ("data/country=CZ/a", {"in": ["DE"]}, False),
        ("data/country=CZ/a", {"not_in": ["DE"]}, True),
        ("data/country=C%5A/a", {"in": ["CZ"]}, True),
        ("data/country=01/a", {"in": [1]}, True),
        ("data/country=1/a", {"in": ["01"]}, True),
        ("data/country=true/a", {"in": [True]}, True),
        ("data/country=__HIVE_DEFAULT_PARTITION__/a", {"is_null": True}, True),
        ("data/country=__HIVE_DEFAULT_PARTITION__/a", {"in": ["CZ"]}, False),
        ("data/country=__HIVE_DEFAULT_PARTITION__/a", {"not_in": ["CZ"]}, True),
        ("data/country=CZ/a", {"is_null": False}, True),
    ],
)
def test_conditions_and_periods_by_what_only_the_key_says(key: str, condition: dict[str, Any], met: bool) -> None:
    table = pa.table({"at": pa.array([date(2024, 5, 1), date(2025, 5, 1)])})
    fields: dict[str, Any] = {"path_columns": {"country": "/country=(?P<value>[^/]+)/"}}
    wanted = {"column": "country", **condition}
    result = judged(table, key=key, where=[wanted], **fields)
    assert (result.total, len(going(result))) == ((2, 1) if met else (0, 0))
    assert judged(table, key=key, keep_while=[wanted], **fields).kept_on == met
    values = condition.get("in")
    if values:
        by_value = {str(values[0]).lower() if values[0] is True else str(values[0]): CUTOFF}
        expiry = Expiry(zone=PRAGUE, default=None, column="country", by_value=by_value)
        result = judged(table, key=key, expiry=expiry, **fields)
        assert len(going(result)) == met
        assert result.unjudgeable == ({} if met else {Unjudgeable.NO_PERIOD: 2})


def test_holds_find_identifiers_that_only_the_key_says() -> None:
    fields: dict[str, Any] = {
        "path_columns": {"account": "/account=(?P<value>[^/]+)/"},
        "identifiers": {"account": ["account"]},
    }
    table = pa.table({"at": pa.array([date(2024, 5, 1)])})
    for account, held in (("A-1%2F2", 1), ("a-1%2f2", 1), ("A-1", 0)):
        assert (
            judged(table, rules(hold(account=["a-1/2"])), key=f"data/account={account}/a", **fields).held.count == held
        )


def test_a_file_whose_key_does_not_say_a_column_or_that_has_it_itself_is_not_judged() -> None:
    fields: dict[str, Any] = {"path_columns": {"account": "/account=(?P<value>[^/]+)/"}}
    with pytest.raises(WrongSchema, match="does not say"):
        judged(pa.table({"at": pa.array([date(2024, 5, 1)])}), key="data/a", **fields)
    with pytest.raises(WrongSchema, match="a column of its own"):
        judged(pa.table({"at": pa.array([date(2024, 5, 1)]), "account": ["x"]}), key="data/account=1/a", **fields)


# --- checksums -----------------------------------------------------------------------------------------------------


def _pages(body: bytes, chunk: pq.ColumnChunkMetaData) -> list[tuple[int, int]]:
    """Where the content of each page of a column is, its dictionary's too: (offset, bytes)."""
    found = []
    at = chunk.dictionary_page_offset or chunk.data_page_offset
    end = at + chunk.total_compressed_size
    while at < end:
        reader = ThriftReader(memoryview(body)[at:])
        size = ft.number(reader.struct(), 3)
        found.append((at + reader.position, size))
        at += reader.position + size
    return found


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_no_page_whose_checksum_is_wrong_is_read(version: str, dictionary: bool, compression: str) -> None:
    """Of either version, of dictionaries, and also where only the levels of lists and nulls were harmed."""
    table = pa.table(
        {
            "email": [f"person{n % 7}@x.org" if n % 5 else None for n in range(40)],
            "numbers": [[n, None] for n in range(40)],
        }
    )
    body = encoded(
        table,
        data_page_version=version,
        use_dictionary=dictionary,
        compression=compression,
        write_page_checksum=True,
        data_page_size=64,
    )
    group = pq.read_metadata(io.BytesIO(body)).row_group(0)
    for column in range(group.num_columns):
        name = group.column(column).path_in_schema.split(".")[0]
        for start, size in _pages(body, group.column(column)):
            for offset in {0, size // 2, size - 1}:
                harmed = bytearray(body)
                harmed[start + offset] ^= 1
                file = pq.ParquetFile(io.BytesIO(bytes(harmed)), page_checksum_verification=True)
                with pytest.raises(OSError, match="checksum"):
                    file.read(columns=[name])
