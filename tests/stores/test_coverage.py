"""Never silently late: what looks like personal data and no policy has is found, in every table that there is."""

from __future__ import annotations

import gzip
import json
import secrets
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
import yaml
from tests.stores import sql_kit, tables_kit
from tests.stores.parquet_kit import encoded

from lethe.connections import Connection
from lethe.environment import Environment
from lethe.errors import ParameterError
from lethe.judging.recognising import ColumnSeen, Personal, forms_of, personal
from lethe.settings import Settings
from lethe.stages.coverage import CoverageFinding, coverage
from lethe_demo.servers import EmbeddedPostgres, EmbeddedS3

TODAY = date(2026, 11, 21)
DATASET: dict[str, Any] = {
    "name": "people",
    "kind": "table",
    "store": "crm",
    "table": "people",
    "key": ["id"],
    "clock": {"column": "at"},
    "identifiers": {"email": ["email"]},
}


def policy(*datasets: dict[str, Any], **fields: object) -> dict[str, Any]:
    return {
        "category": "things",
        "title": "Things",
        "owner": "tests",
        "legal_basis": "none",
        "source": "§ 1",
        "retention": {"keep_for": "P1Y"},
        "time_zone": "Europe/Prague",
        "schedule": None,
        "limits": {"records": 100, "share": 1},
        "datasets": list(datasets),
        **fields,
    }


class World:
    """A database, and policies of it."""

    def __init__(self, connection: Connection, folder: Path) -> None:
        self._connection, self.folder = connection, folder
        (folder / "policies").mkdir()

    def look(self, written: dict[str, Any]) -> list[CoverageFinding]:
        (self.folder / "policies" / "things.yaml").write_text(json.dumps(written))
        settings = Settings(self.folder / "policies", self.folder / "expectations", self.folder / "home")
        with Environment(lambda conn_id: replace(self._connection, conn_id=conn_id), settings) as env:
            return list(coverage(env, TODAY))

    def except_for(self, **exception: object) -> None:
        text = yaml.safe_dump({"exceptions": [{"store": "crm", "reason": "known", **exception}]})
        (self.folder / "coverage.yaml").write_text(text)


@pytest.fixture(scope="module")
def company(postgres: EmbeddedPostgres) -> Iterator[tuple[Connection, dict[str, set[str]]]]:
    with sql_kit.postgresql(postgres) as made:
        yield made.connection, tables_kit.build(made.engine)


def test_in_a_company_of_two_hundred_tables_hardly_anything_is_missed_or_taken_for_personal(
    company: tuple[Connection, dict[str, set[str]]], tmp_path: Path
) -> None:
    connection, truth = company
    assert len(truth) == 200
    found: dict[str, set[str]] = {name: set() for name in truth}
    for finding in World(connection, tmp_path).look(policy(DATASET | {"table": "archive.log_0"})):
        if finding.columns:
            found[finding.where] = set(finding.columns)
    expected, there = ({(table, one) for table, names in of.items() for one in names} for of in (truth, found))
    missed, wrong = sorted(expected - there), sorted(there - expected)
    recall = len(expected & there) / len(expected)
    precision = len(expected & there) / len(there)
    assert recall >= 0.95, missed
    assert precision >= 0.9, wrong
    tables, seen = ({name for name, columns in of.items() if columns} for of in (truth, found))
    assert tables <= seen, "a table was missed altogether"
    assert len(tables & seen) / len(seen) >= 0.9, sorted(seen - tables)


@pytest.fixture
def world(database: sql_kit.Database, tmp_path: Path) -> World:
    table = database.create(
        "people",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("email", sa.String(100)),
        sa.Column("phone", sa.String(100)),
        sa.Column("city", sa.String(100)),
        sa.Column("at", sa.Date, index=True),
    )
    rows = [
        {"id": n, "email": f"kanarek{n}@example.com", "phone": f"+42060112{n:04d}", "city": "Brno", "at": TODAY}
        for n in range(20)
    ]
    database.insert(table, rows)
    copy = database.create("t_7", sa.Column("c1", sa.Integer), sa.Column("c2", sa.String(100)))
    database.insert(copy, [{"c1": n, "c2": row["email"]} for n, row in enumerate(rows)])
    (tmp_path / "project").mkdir()
    return World(database.connection, tmp_path / "project")


def by_table(findings: list[CoverageFinding]) -> dict[str, set[str]]:
    return {finding.where.rpartition(".")[2]: set(finding.columns) for finding in findings}


def test_a_copy_and_an_undeclared_column_are_found_on_every_database_and_no_value_is_said(world: World) -> None:
    findings = world.look(policy(DATASET))
    assert by_table(findings) == {"t_7": {"c2"}, "people": {"phone"}}
    said = " ".join(map(str, findings))
    assert "no policy has it: c2 (e-mail address)" in said
    assert "no identifier or mask names what looks like personal data: phone (telephone number)" in said
    assert "kanarek" not in repr(findings)
    complete = DATASET | {"identifiers": {"email": ["email"], "phone": ["phone"]}}
    copied = DATASET | {"name": "copies", "table": "t_7", "key": ["c1"], "identifiers": {"email": ["c2"]}}
    assert world.look(policy(complete, copied)) == []


def test_where_columns_are_masked_every_one_that_is_personal_has_to_be(world: World) -> None:
    named = {"email": ["email"], "phone": ["phone"]}
    masked = DATASET | {"masks": [{"column": "email"}, {"column": "phone"}], "identifiers": named}
    assert "people" not in by_table(world.look(policy(masked, disposition="anonymise")))


def test_a_dataset_that_is_gone_is_named(world: World) -> None:
    findings = world.look(policy(DATASET | {"table": "nowhere"}))
    assert any(one.where == "things.people" and "the dataset is gone" in one.what for one in findings)
    assert by_table(findings)["t_7"] == {"c2"}


def test_an_exception_has_a_reason_and_a_day_on_which_somebody_looks_again(world: World) -> None:
    complete = policy(DATASET | {"identifiers": {"email": ["email"], "phone": ["phone"]}})
    [found] = world.look(complete)
    world.except_for(table=found.where, look_again="2026-11-21")
    assert world.look(complete) == []
    world.except_for(table=found.where, columns=["c1"], look_again="2026-11-21")
    assert world.look(complete) == [found]
    world.except_for(table=found.where, look_again="2026-11-20")
    assert [one.what for one in world.look(complete)] == [
        "an exception was to be looked at again by 2026-11-20 (known)",
        found.what,
    ]
    world.except_for(table=found.where)
    with pytest.raises(ParameterError, match=r"coverage\.yaml: exceptions\.0\.look_again: is missing"):
        world.look(complete)


def test_a_table_that_the_login_may_not_read_is_judged_by_its_names(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    with sql_kit.postgresql(postgres) as made:
        made.run_text(
            "CREATE TABLE people (id int PRIMARY KEY, email text, at date)",
            "CREATE TABLE secrets (id int, email text, c2 text)",
            "INSERT INTO secrets VALUES (1, 'a@example.com', 'b@example.com')",
            "DROP ROLE IF EXISTS reader_of_people",
            "CREATE ROLE reader_of_people LOGIN",
            "GRANT SELECT ON people TO reader_of_people",
        )
        findings = World(replace(made.connection, login="reader_of_people"), tmp_path).look(policy(DATASET))
        assert by_table(findings) == {"secrets": {"email"}}
        assert "by its names alone" in findings[0].what


def test_what_cannot_be_read_for_another_reason_ends_nothing_and_is_judged_by_its_names(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    """A view that was never filled, and a day before Christ, which Python cannot hold."""
    with sql_kit.postgresql(postgres) as made:
        made.run_text(
            "CREATE TABLE people (id int PRIMARY KEY, email text, at date)",
            "CREATE MATERIALIZED VIEW unfilled AS SELECT email AS phone FROM people WITH NO DATA",
            "CREATE TABLE odd (email text, at date)",
            "INSERT INTO odd VALUES ('a@example.com', '0044-03-15 BC')",
        )
        findings = World(made.connection, tmp_path).look(policy(DATASET))
        assert by_table(findings) == {"odd": {"email"}, "unfilled": {"phone"}}
        assert all("by its names alone" in one.what for one in findings)


def test_partitions_are_their_table(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    with sql_kit.postgresql(postgres) as made:
        made.run_text(
            "CREATE TABLE people (id int, email text, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)",
            "CREATE TABLE people_1 PARTITION OF people FOR VALUES FROM ('2020-01-01') TO ('2030-01-01')",
            "INSERT INTO people VALUES (1, 'a@example.com', '2025-01-01')",
            "CREATE MATERIALIZED VIEW copied AS SELECT email AS c1 FROM people",
        )
        findings = World(made.connection, tmp_path).look(policy(DATASET | {"key": ["id", "at"]}))
        assert by_table(findings) == {"copied": {"c1"}}


def test_what_lies_in_a_bucket_below_no_prefix_is_found_by_its_files(s3: EmbeddedS3, tmp_path: Path) -> None:
    client, bucket = s3.client(), f"coverage-{secrets.token_hex(4)}"
    client.create_bucket(Bucket=bucket)
    people = [{"n": n, "user": {"mail": f"kanarek{n}@example.com"}} for n in range(9)]
    lines = "\n".join(map(json.dumps, people)).encode()
    files = {
        "views/date=2026-01-01/a.jsonl": lines,
        "exports/kanarek@example.com/2026/b.jsonl.gz": gzip.compress(lines),
        "copies/part-1.parquet": encoded(pa.table({"c1": [one["user"]["mail"] for one in people]})),  # type: ignore[index]
        "sheets/list.csv": b"id,phone\n" + b"".join(b"%d,+42060112345%d\n" % (n, n) for n in range(9)),
        "notes/today.txt": b"shipped\nwrite to kanarek@example.com\n",
        "metrics/load.csv": b"host,load\na,1\nb,2\n",
        "bare/rows.csv": b"".join(b"Jana Kanarek,kanarek%d@example.com\n" % n for n in range(9)),
        "Jana Kanarek/list.csv": b"id,phone\n1,+420601123451\n",
        "filed/by.jsonl": json.dumps({"kanarek@example.com": {"mail": "k1@example.com"}}).encode(),
        "pictures/logo.png": b"\x89PNG\0\0",
        "_lethe/staged.jsonl": lines,
    }
    for key, body in files.items():
        client.put_object(Bucket=bucket, Key=key, Body=body)
    dataset = {"name": "views", "kind": "objects", "store": "lake", "bucket": bucket, "prefix": "views/",
               "clock": {"last_modified": True}}  # fmt: skip
    findings = World(s3.connection("lake"), tmp_path).look(policy(dataset))
    found = {one.where.removeprefix(f"s3://{bucket}/"): set(one.columns) for one in findings}
    assert found == {"exports/…/…/": {"user.mail"}, "copies/": {"c1"}, "sheets/": {"phone"}, "notes/": {"line"},
                     "bare/": {"column 1", "column 2"}, "filed/": {"….mail"}, "…/": {"phone"}}  # fmt: skip
    assert "kanarek" not in repr(findings).lower()


def test_values_that_contradict_a_name_are_believed_and_no_value_is_in_what_is_kept() -> None:
    def column(name: str, *values: object, kind: str = "TEXT") -> ColumnSeen:
        number, distinct, forms = forms_of(values * 5)
        return ColumnSeen(name=name, type=kind, values=number, distinct=distinct, forms=forms)

    assert personal([column("email", "welcome", "reset")]) == {}
    assert personal([column("anything", "a.b@example.com", "c@example.com")]) == {"anything": Personal.EMAIL}
    assert personal([column("email", "noreply@example.com")]) == {}
    assert personal([column("email", True, kind="BOOLEAN")]) == {}
    assert personal([ColumnSeen(name="email", type="TEXT")]) == {"email": Personal.EMAIL}, "an empty table says nothing"
    assert "example" not in repr(column("email", "a.b@example.com"))
