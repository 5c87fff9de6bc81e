"""Databases as strangers have them: names, foreign keys, triggers, indexes and logins that nobody made for Lethe."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from tests.stores.sql_kit import (
    Database,
    Gate,
    anonymise,
    dataset,
    hold,
    holding,
    outcomes,
    refused,
    remarks,
    run_through,
    work,
)

from lethe.counts import Unjudgeable
from lethe.errors import StoreError
from lethe.holds.rules import NO_HOLDS
from lethe.stores.sql import SqlStore

OLD = datetime(2024, 3, 1, 12, tzinfo=UTC)


def leads(database: Database, count: int = 14) -> sa.Table:
    """Leads that all have expired, numbered from 1."""
    return database.leads([{"id": n, "email": f"{n}@x.org", "last_contact": OLD} for n in range(1, count + 1)])


def test_cascades_are_seen_whatever_letters_a_name_has(database: Database) -> None:
    table = database.create(
        "Účty", sa.Column("id", sa.Integer, primary_key=True), sa.Column("last_contact", database.moment, index=True)
    )
    lines = database.create("Řádky", sa.Column("id", sa.ForeignKey(table.c.id, ondelete="CASCADE"), primary_key=True))
    database.insert(table, [{"id": 1, "last_contact": OLD}])
    database.insert(lines, [{"id": 1}])
    of = dataset(table="Účty", identifiers={})
    assert "Řádky would follow those of Účty" in refused(database, of)[0].message
    with pytest.raises(StoreError, match="Řádky would follow"):
        run_through(database, work(of))
    assert database.ids(lines) == [1]


def test_foreign_keys_are_read_whatever_capitals_they_are_written_in(file: Database) -> None:
    table = leads(file)
    file.run_text(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, Lead INTEGER REFERENCES LEADS (ID))",
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, Lead INTEGER, FOREIGN KEY (LEAD) REFERENCES Leads (Id))",
        "INSERT INTO orders VALUES (1, 3)",
        "INSERT INTO notes VALUES (1, 4)",
    )
    of = dataset(children=[{"table": "notes", "foreign_key": ["Lead"]}])
    assert refused(file, of) == []
    became = run_through(file, work(of))
    assert (became.erased, became.blocked, became.rows_with) == (13, 1, 1)
    assert file.ids(table) == [3]


def test_a_foreign_key_to_no_key_is_refused_in_words(file: Database) -> None:
    file.run_text(
        "CREATE TABLE leads (id INTEGER NOT NULL UNIQUE, email TEXT, last_contact TIMESTAMP)",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, lead INTEGER REFERENCES leads)",
    )
    with pytest.raises(StoreError, match="correct the foreign key of orders"):
        file.store.check(dataset())


def test_text_that_is_no_unicode_is_searched_for_holds_and_is_no_clock(file: Database) -> None:
    """SQLite keeps any bytes as text: what an old program wrote in Windows-1252 is among what UTF-8 is beside it."""
    table = leads(file)
    file.run_text(
        "UPDATE leads SET email = CAST(x'4A6F73E9' || CAST(' <2@x.org>' AS BLOB) AS TEXT) WHERE id = 2",
        "UPDATE leads SET last_contact = CAST(x'E9' || CAST('2024' AS BLOB) AS TEXT) WHERE id = 3",
    )
    rules = holding(hold(email="2@x.org"))
    found = file.store.survey(work(), rules)
    assert (found.expired, found.held, found.unjudgeable) == (13, 1, {Unjudgeable.UNPARSABLE_CLOCK: 1})
    assert run_through(file, work(), rules).erased == 12
    assert file.ids(table) == [2, 3]


def test_a_key_that_is_no_unicode_is_refused_in_words(file: Database) -> None:
    file.run_text(
        "CREATE TABLE leads (id TEXT PRIMARY KEY, email TEXT, last_contact TIMESTAMP)",
        "INSERT INTO leads VALUES (CAST(x'E9' AS TEXT), '1@x.org', '2024-03-01')",
    )
    with pytest.raises(StoreError, match=r"cannot be read here, .* or text that is no Unicode"):
        file.store.discover(work(), NO_HOLDS)


@pytest.mark.parametrize("name", ['"begin keep"', "[update]", "keep /* UPDATE or INSERT */", "keep -- INSERT\n"])
def test_triggers_are_seen_whatever_they_are_called(file: Database, name: str) -> None:
    table = leads(file)
    file.run_text(f"CREATE TRIGGER {name} BEFORE DELETE ON leads WHEN old.id = 3 BEGIN SELECT RAISE(IGNORE); END")
    assert any("runs when rows are erased" in remark for remark in remarks(file, dataset()))
    became = run_through(file, work())
    assert (became.erased, became.blocked) == (13, 1)
    assert file.ids(table) == [3]


def test_records_that_a_trigger_marks_as_deleted_are_blocked(warehouse: Database) -> None:
    table = leads(warehouse)
    warehouse.run_text(
        "CREATE FUNCTION soft() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF old.id < 3 THEN "
        "UPDATE leads SET email = ''deleted'', last_contact = now() WHERE id = old.id; RETURN NULL; END IF; "
        "RETURN old; END'",
        "CREATE TRIGGER soft BEFORE DELETE ON leads FOR EACH ROW EXECUTE FUNCTION soft()",
    )
    became = run_through(warehouse, work())
    assert (became.erased, became.blocked) == (12, 2)
    assert [row[:2] for row in warehouse.rows(table)] == [(1, "1@x.org"), (2, "2@x.org")]


def test_what_a_trigger_writes_back_is_not_anonymised(database: Database) -> None:
    table = leads(database)
    if database.is_postgres:
        database.run_text(
            "CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN IF old.id = 3 THEN new.email = old.email; END IF; RETURN new; END'",
            "CREATE TRIGGER undo BEFORE UPDATE ON leads FOR EACH ROW EXECUTE FUNCTION undo()",
        )
    else:
        database.run_text(
            "CREATE TRIGGER undo AFTER UPDATE ON leads WHEN old.id = 3 AND new.email IS NULL "
            "BEGIN UPDATE leads SET email = old.email WHERE id = old.id; END"
        )
    became = run_through(database, anonymise(dataset(masks=[{"column": "email"}])))
    assert (became.anonymised, became.blocked) == (13, 1)
    assert [row[0] for row in database.rows(table) if row[1] is not None] == [3]


@pytest.mark.parametrize(
    ("unique", "constant"),
    [
        ("CREATE UNIQUE INDEX ON leads (lower(email))", True),
        ("CREATE UNIQUE INDEX ON leads (email) WHERE id > 0", True),
        ("ALTER TABLE leads ADD UNIQUE (email) DEFERRABLE INITIALLY DEFERRED", True),
        ("ALTER TABLE leads ADD EXCLUDE USING hash (email WITH =)", True),
        ("CREATE UNIQUE INDEX ON leads (email) NULLS NOT DISTINCT", False),
    ],
)
def test_masks_that_any_index_does_not_allow_are_refused(warehouse: Database, unique: str, constant: bool) -> None:
    leads(warehouse)
    warehouse.run_text(unique)
    mask = {"column": "email", **({"with": "constant", "value": "x"} if constant else {})}
    (problem,) = refused(warehouse, dataset(masks=[mask]))
    assert "email of leads is unique" in problem.message


def test_null_is_a_mask_where_an_index_leaves_it_out(warehouse: Database) -> None:
    leads(warehouse)
    warehouse.run_text(
        "CREATE UNIQUE INDEX ON leads (email) NULLS NOT DISTINCT WHERE email IS NOT NULL",
        "CREATE UNIQUE INDEX ON leads (lower(email))",
    )
    of = dataset(masks=[{"column": "email"}])
    assert refused(warehouse, of) == []
    assert run_through(warehouse, anonymise(of)).anonymised == 14


@pytest.mark.parametrize("odd", ["rate %", "per%(x)s", 'quo"te:', "č" * 31])
def test_any_name_of_tables_and_columns_can_be_erased_by(database: Database, odd: str) -> None:
    key, clock, email = odd, f"{odd[:-1]}l", f"{odd[:-1]}m"
    table = database.create(
        f"{odd[:-1]}1",
        sa.Column(key, sa.Integer, primary_key=True),
        sa.Column(email, sa.Text),
        sa.Column(clock, database.moment),
    )
    notes = database.create(
        f"{odd[:-1]}2",
        sa.Column(key, sa.Integer, sa.ForeignKey(table.c[key]), primary_key=True),
        sa.Column(email, sa.Text),
    )
    database.insert(table, [{key: n, email: f"{n}@x.org", clock: OLD} for n in range(1, 15)])
    database.insert(notes, [{key: 3, email: "c@x.org"}, {key: 5, email: "d@x.org"}])
    quoted = ['"{}"'.format(one.name.replace('"', '""')) for one in (table, notes)]
    emails = {"email": [email]}
    child = {"table": quoted[1], "foreign_key": [key], "identifiers": emails}
    of = dataset(table=quoted[0], key=[key], clock={"column": clock}, identifiers=emails, children=[child])
    assert refused(database, of) == []
    candidates = database.store.discover(work(of), NO_HOLDS)
    gate = Gate()
    gate.place(hold(email="7@x.org"), hold(email="c@x.org"))
    became = database.store.erase(work(of), candidates, range(candidates.batches), gate)
    assert (became.erased, became.held, became.rows_with) == (12, 2, 1)
    assert database.ids(table, key) == [3, 7]


def test_a_login_beside_another_that_stages_is_told_its_grant(warehouse: Database) -> None:
    leads(warehouse)
    run_through(warehouse, work())
    login = f"beside_{warehouse.connection.schema}"
    warehouse.run_text(
        f"CREATE ROLE {login} LOGIN PASSWORD 'beside'",
        f"GRANT SELECT, DELETE, UPDATE ON leads TO {login}",
        f"GRANT USAGE, CREATE ON SCHEMA lethe_scratch TO {login}",
    )
    store = SqlStore(replace(warehouse.connection, login=login, password="beside"))
    try:
        (problem,) = (one for one in store.check(dataset()) if not one.remark)
        assert "which another login has made" in problem.message
        grant = problem.message.partition("; ")[2].partition(", or give")[0]
        warehouse.run_text(grant)
        assert [one for one in store.check(dataset()) if not one.remark] == []
        assert store.discover(work(run="run-2"), NO_HOLDS).expired == 0
    finally:
        store.close()
        warehouse.run_text(f"DROP OWNED BY {login}", f"DROP ROLE {login}")


def test_floats_are_exact_keys_whatever_the_database_rounds_them_to(warehouse: Database) -> None:
    table = warehouse.create(
        "leads",
        sa.Column("id", sa.Double(), primary_key=True, autoincrement=False),
        sa.Column("email", sa.Text),
        sa.Column("last_contact", warehouse.moment, index=True),
    )
    close = (0.3, 0.1 + 0.2)
    warehouse.insert(table, [{"id": number, "last_contact": OLD} for number in close])
    warehouse.run_text(f'ALTER DATABASE "{warehouse.connection.schema}" SET extra_float_digits = 0')
    job = work()
    candidates = warehouse.store.discover(job, NO_HOLDS)
    warehouse.store.erase(job, candidates, range(candidates.batches), Gate())
    assert set(outcomes(warehouse, job, candidates)) == {repr(number) for number in close}
