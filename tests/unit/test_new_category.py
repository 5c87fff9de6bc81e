"""Refuse first: a category begun from a table says what the database says, or nothing is written."""

from __future__ import annotations

import ast
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.unit.cli_kit import Command, cells

from lethe.policy import load

SAID = (
    *("--title", 'Guests "of" 2024', "--owner", "events", "--legal-basis", "Consent", "--source", "§ 5.5"),
    *("--time-zone", "Europe/Prague"),
)
TABLES = """
CREATE TABLE guests (guest_no INTEGER PRIMARY KEY, contact_email TEXT, mobile TEXT, left_on DATE, note TEXT);
CREATE INDEX guests_left ON guests (left_on);
CREATE TABLE stays (id INTEGER PRIMARY KEY, guest INTEGER NOT NULL REFERENCES guests, booked_by_email TEXT);
CREATE TABLE meals (id INTEGER PRIMARY KEY, stay INTEGER NOT NULL REFERENCES stays ON DELETE CASCADE, menu TEXT);
CREATE TABLE reviews (id INTEGER PRIMARY KEY, guest INTEGER REFERENCES guests ON DELETE SET NULL, stars INTEGER);
CREATE TABLE loose (a TEXT, left_on DATE);
"""


@pytest.fixture
def guests(lethe: Command) -> Command:
    """Twenty guests who left long ago, each with a stay and a meal, and twenty of this year."""
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        connection.executescript(TABLES)
        connection.executemany(
            "INSERT INTO guests VALUES (?, ?, NULL, ?, '')",
            [(n, lethe.email(n), "2020-01-15" if n < 20 else "2026-10-01") for n in range(40)],
        )
        connection.executemany("INSERT INTO stays VALUES (?, ?, NULL)", [(n, n) for n in range(40)])
        connection.executemany("INSERT INTO meals VALUES (?, ?, 'fish')", [(n, n) for n in range(40)])
        connection.commit()
    return lethe


def begin(lethe: Command, *arguments: str, exit_code: int = 0) -> str:
    dags = ("--dags", str(lethe.folder / "dags"))
    return lethe("new", "guests", "--store", "crm", *SAID, *dags, *arguments, exit_code=exit_code)


def test_a_category_is_begun_from_a_table_and_ends_with_a_dry_run(guests: Command) -> None:
    text = begin(guests, "--table", "guests", "--keep-for", "P3Y")
    policy = load(guests.folder / "policies" / "guests.yaml")
    (dataset,) = policy.datasets
    said = dataset.model_dump(mode="json", exclude_unset=True)
    assert said == {
        **{"name": "guests", "kind": "table", "store": "crm", "table": "guests", "key": ["guest_no"]},
        "clock": {"column": "left_on"},
        "identifiers": {"email": ["contact_email"], "phone": ["mobile"]},
        "children": [
            {"table": "reviews", "foreign_key": ["guest"]},
            {
                **{"table": "stays", "foreign_key": ["guest"], "identifiers": {"email": ["booked_by_email"]}},
                "children": [{"table": "meals", "foreign_key": ["stay"], "references": ["id"]}],
            },
        ],
    }
    assert "rows of reviews only lose what they refer to (ON DELETE SET NULL" in text
    assert [cells(text, what)[1] for what in ("Records", "Expired", "Due")] == ["40", "20", "20 (+40)"]
    assert "guests, dry" in text
    tree = ast.parse((guests.folder / "dags" / "guests.py").read_text())
    assert ast.get_docstring(tree) == "Guests 'of' 2024: the retention DAG of `guests.yaml`, run by Airflow."
    assert 'dag = retention_dag("guests")' in ast.unparse(tree).replace("'", '"')
    assert "1 policy is fine" in guests("policy", "check", "guests")


def test_what_is_there_is_not_written_over(guests: Command) -> None:
    begin(guests, "--table", "guests", "--keep-for", "P3Y", "--no-dry-run")
    before = (guests.folder / "policies" / "guests.yaml").read_text()
    assert "guests.yaml is there already" in begin(guests, "--table", "guests", "--keep-for", "P1D", exit_code=1)
    assert (guests.folder / "policies" / "guests.yaml").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--table", "guests"), "--keep-for is missing"),
        (("--keep-for", "P3Y"), "--table is missing"),
        (("--table", "nobody", "--keep-for", "P3Y"), "there is no table nobody"),
        (("--table", "loose", "--keep-for", "P3Y"), "nothing makes the rows of loose unique"),
        (("--table", "guests", "--keep-for", "3 years"), "3 years"),
        (("--table", "guests", "--keep-for", "P3Y", "--clock", "note"), "column note of guests"),
        (("--table", "guests", "--keep-for", "P3Y", "--erase-within", "P3Y"), "exactly one of keep_for, erase_within"),
        (("--table", "stays", "--keep-for", "P3Y"), "--clock is missing"),
    ],
)
def test_what_cannot_be_a_category_is_refused_and_nothing_is_written(
    guests: Command, arguments: tuple[str, ...], says: str
) -> None:
    before = sorted(path for path in guests.folder.rglob("*") if path.suffix in (".yaml", ".py", ".json"))
    assert says in " ".join(begin(guests, *arguments, exit_code=1).split())
    assert before == sorted(path for path in guests.folder.rglob("*") if path.suffix in (".yaml", ".py", ".json"))


def test_a_store_without_tables_is_refused(guests: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", '{"conn_type": "aws"}')
    dags = ("--dags", str(tmp_path / "dags"))
    text = guests("new", "lake", "--store", "lake", *SAID, *dags, "--table", "t", "--keep-for", "P1Y", exit_code=1)
    assert "connection lake" in text
