"""Exact evidence: two records never share a key, one has the same in every run, and people find it by any spelling."""

# ruff: noqa: DTZ001, S608 - values of keys are of any type, and times without a zone are a subject here
from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from tests.stores.parquet_kit import OLD as OLD_ROW
from tests.stores.parquet_kit import Lake
from tests.stores.sql_kit import KEYED_TEXT, SINGLE, WALL, Database, Gate, dataset, run_through, sqlite, work

from lethe.counts import Outcome, Unjudgeable
from lethe.holds.rules import NO_HOLDS
from lethe.judging.keys import readings, record_key
from lethe_demo.servers import EmbeddedS3

OLD = datetime(2024, 3, 1, 12, tzinfo=UTC)
PRAGUE = timezone(timedelta(hours=1))


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Database]:
    with sqlite(tmp_path) as database:
        yield database


def erased(database: Database, key: list[str]) -> tuple[list[bytes], Any]:
    """Erase all, and give the keys of what went, and the columns of keys."""
    job = work(dataset(key=key, identifiers={}))
    candidates = database.store.discover(job, NO_HOLDS)
    database.store.erase(job, candidates, range(candidates.batches), Gate())
    pairs = list(database.store.outcomes(job, candidates))
    assert {outcome for _, outcome in pairs} == {Outcome.ERASED}
    return [key for key, _ in pairs], candidates.key


# --- SQLite: what one column may hold -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("DECIMAL(10,2)", ["1.10", "1.1000000001", "'x'"]),
        ("JSON", ["""'{"a": 1}'""", """'{"a":1}'""", "'[1]'"]),
        ("", ["1", "'1'", "x'31'", "1.5", "'1.5'"]),
        ("TIMESTAMP", ["'2024-01-05 10:00:00.000000'", "'2024-01-05 10:00'", "'2024-01-05T10:00'", "1704448800"]),
        ("DATE", ["'2024-01-05'", "20240105", "'5 January'"]),
        ("BOOLEAN", ["1", "0", "'true'", "2"]),
        ("CHAR(32)", ["'" + "0" * 31 + "a'", "'" + "0" * 31 + "A'", "'00000000-0000-0000-0000-00000000000a'"]),
        ("BLOB", ["x'00'", "'00'", "x'0000'"]),
        ("REAL", ["0.1", "0.1000000000000001", "'x'"]),
    ],
)
def test_no_two_records_of_sqlite_share_a_key(file: Database, kind: str, values: list[str]) -> None:
    file.run_text(
        f"CREATE TABLE leads (id {kind} PRIMARY KEY, last_contact TIMESTAMP) WITHOUT ROWID",
        *(f"INSERT INTO leads VALUES ({value}, '2024-03-01 12:00:00+00:00')" for value in values),
    )
    keys, columns = erased(file, ["id"])
    assert len(set(keys)) == len(keys) == len(values)
    for value in values:
        text = value.strip("'")
        named = text.removeprefix("x'") if value.startswith("x") else text
        assert set(readings([named], columns)) & set(keys), value


def test_a_key_that_is_null_cannot_be_judged_and_fails_no_other_record(file: Database) -> None:
    file.run_text(
        "CREATE TABLE leads (tenant TEXT, id TEXT, last_contact TIMESTAMP, PRIMARY KEY (tenant, id))",
        *(
            f"INSERT INTO leads VALUES ({key}, {at})"
            for key in ("'a', '1'", "'a', NULL", "'a', NULL", "NULL, '1'")
            for at in ["'2024-03-01 12:00:00+00:00'"]
        ),
        "INSERT INTO leads VALUES ('b', NULL, NULL)",
    )
    job = work(dataset(key=["tenant", "id"], identifiers={}))
    found = file.store.discover(job, NO_HOLDS)
    assert (found.total, found.due, found.unjudgeable) == (5, 1, {Unjudgeable.NO_KEY: 4})
    assert file.store.survey(job, NO_HOLDS).unjudged == 4
    assert run_through(file, replace(job, run="run-2")).erased == 1
    with file.engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM leads")) == 4


# --- every type, by every spelling --------------------------------------------------------------------------------


SPELLINGS: dict[str, tuple[Any, Any, list[str]]] = {
    "uuid": (sa.Uuid(), uuid.UUID(int=171), ["{00000000-0000-0000-0000-0000000000AB}", f"{171:032x}"]),
    "number": (sa.Numeric(10, 2), Decimal("1.50"), ["1.5", "1.50", "01.500", "15e-1"]),
    "integer": (sa.BigInteger(), 42, ["42", "042", "42.0"]),
    "double": (sa.Double(), 0.1, ["0.1", "0.10", "1e-1"]),
    "single": (SINGLE, 0.1, ["0.1"]),
    "bytes": (sa.LargeBinary().with_variant(sa.VARBINARY(20), "mariadb"), b"\x00\xff", ["\\x00ff", "00FF", "0x00ff"]),
    "day": (sa.Date(), date(2024, 1, 5), ["2024-01-05", "20240105"]),
    "wall": (WALL, datetime(2024, 1, 5, 10), ["2024-01-05 10:00", "2024-01-05T10:00:00.000000"]),
    "time": (sa.Time(), time(10, 0), ["10:00", "10:00:00.000"]),
    "text": (KEYED_TEXT, "A\\ \x1f", ["A\\ \x1f"]),
}
ONLY_POSTGRESQL: dict[str, tuple[Any, Any, list[str]]] = {
    "padded": (sa.CHAR(5), "ab", ["ab", "ab   "]),
    "moment": (
        sa.DateTime(timezone=True),
        datetime(2024, 1, 5, 10, tzinfo=PRAGUE),
        ["2024-01-05T09:00:00Z", "2024-01-05 10:00+01:00", "2024-01-05 09:00:00+00"],
    ),
    "json": (pg.JSONB(), {"b": 1.5, "a": [1]}, ['{"a": [1], "b": 1.50}']),
    "enum": (sa.Enum("new", "old", name="state"), "old", ["old"]),
    "inet": (pg.INET(), "10.0.0.1", ["10.0.0.1", "10.0.0.1/32"]),
    "interval": (pg.INTERVAL(), timedelta(days=1), ["1 day"]),
    "domain": (pg.DOMAIN("amount", sa.Numeric(10, 2)), Decimal("1.50"), ["1.5"]),
    "array": (pg.ARRAY(sa.Integer), [1, 2], ["{1,2}"]),
}


@pytest.mark.parametrize("kind", [*SPELLINGS, *ONLY_POSTGRESQL])
def test_a_record_is_found_by_any_spelling_of_its_key(any_database: Database, kind: str) -> None:
    if kind in ONLY_POSTGRESQL and not any_database.is_postgres:
        pytest.skip("a type of PostgreSQL")
    column, value, spellings = {**SPELLINGS, **ONLY_POSTGRESQL}[kind]
    table = any_database.create(
        "leads",
        sa.Column("id", column, primary_key=True, autoincrement=False),
        sa.Column("part", KEYED_TEXT, primary_key=True),
        sa.Column("last_contact", any_database.moment),
    )
    any_database.insert(table, [{"id": value, "part": part, "last_contact": OLD} for part in ("1", "01")])
    keys, columns = erased(any_database, ["id", "part"])
    assert len(set(keys)) == 2
    if kind == "time" and any_database.name == "mariadb":  # a duration there, which can be longer than a day
        spellings = ["10:00:00"]
    for spelling in spellings:
        for part in ("1", "01"):
            assert len(set(readings([spelling, part], columns)) & set(keys)) == 1, (spelling, part)


NASTY = ["", "a\\", "a\\-b", "a\x1fb", "a\nb", "\N{PILE OF POO}", "\N{LATIN SMALL LETTER E WITH ACUTE}", "'", " a "]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (sa.BigInteger(), [0, -1, 7, 2**63 - 1, -(2**63)]),
        (sa.SmallInteger(), [0, -1, 7]),
        (sa.Uuid(), [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)]),
        (sa.Text(), NASTY),
        (sa.String(20, collation="C"), NASTY),
    ],
    ids=repr,
)
def test_keys_that_the_database_writes_are_those_that_python_writes(
    warehouse: Database, kind: sa.types.TypeEngine[Any], values: list[Any]
) -> None:
    table = warehouse.create(
        "leads",
        sa.Column("id", kind, primary_key=True),
        sa.Column("part", sa.Text(), primary_key=True),
        sa.Column("last_contact", warehouse.moment),
    )
    rows = [(value, part) for value in values for part in NASTY]
    warehouse.insert(table, [{"id": value, "part": part, "last_contact": OLD} for value, part in rows])
    keys, _ = erased(warehouse, ["id", "part"])
    assert sorted(keys) == sorted(map(record_key, rows))


ARROW: dict[str, tuple[pa.Array, list[str]]] = {
    "nanoseconds": (pa.array([1, 2], pa.timestamp("ns", "UTC")), ["1970-01-01T00:00:00.000000001Z"]),
    "local": (pa.array([datetime(2024, 1, 5), datetime(2024, 1, 6)], pa.timestamp("ms")), ["2024-01-05"]),
    "decimal": (pa.array([Decimal("1.50"), Decimal("2.00")]), ["1.5", "1.50"]),
    "single": (pa.array([0.1, 0.2], pa.float32()), ["0.1", "0.10000000149011612"]),
    "bytes": (pa.array([b"\xff\x00", b"\xff\x01"]), ["0xFF00"]),
    "unmarked text": (pa.array([b"Ann", b"ann"]), ["Ann"]),
    "uuid": (
        pa.array([uuid.UUID(int=5).bytes, uuid.UUID(int=6).bytes], pa.binary(16)),
        [str(uuid.UUID(int=5)).upper()],
    ),
    "dictionary": (pa.array(["a", "b"]).dictionary_encode(), ["a"]),
    "truth": (pa.array([True, False]), ["true"]),
    "time": (pa.array([time(10), time(11)], pa.time64("us")), ["10:00"]),
    "integer": (pa.array([7, 8], pa.uint8()), ["7", "07"]),
    "time to the nanosecond": (pa.array([1, 2], pa.time64("ns")), ["00:00:00.000000001"]),
    "days beyond the calendar": (pa.array([2**31 - 1, 2**31 - 2], pa.date32()), [str(2**31 - 1)]),
}


def test_rows_of_files_are_found_by_any_spelling_of_their_keys(s3: EmbeddedS3) -> None:
    lake = Lake.make(s3)
    for kind, (column, spellings) in ARROW.items():
        lake.fields = {"prefix": f"{kind}/", "identifiers": {}}
        lake.run = f"run-{kind.replace(' ', '-')}"
        lake.put(f"{kind}/a.parquet", pa.table({"id": column, "at": [OLD_ROW, OLD_ROW]}))
        found = lake.discover()
        assert lake.erase(found).erased == 2
        keys = list(lake.outcomes(found))
        for spelling in spellings:
            assert set(readings([spelling], found.key)) & set(keys) == {keys[0]}, (kind, spelling)
