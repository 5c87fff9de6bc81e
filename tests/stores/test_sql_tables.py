"""Tables of all shapes: keys, names, children, anonymising, and what a wrong one is told."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

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
    postgresql,
    refused,
    run_through,
    work,
)

from lethe.connections import Connection
from lethe.counts import Became, Outcome
from lethe.errors import ConnectionMissing, StoreError, StoreUnavailable
from lethe.holds.rules import NO_HOLDS
from lethe.judging.keys import readings
from lethe.stores.sql import SqlStore
from lethe_demo.servers import EmbeddedPostgres

OLD = datetime(2024, 3, 1, 12, tzinfo=UTC)
NEW = datetime(2026, 3, 1, 12, tzinfo=UTC)


# --- keys and names -----------------------------------------------------------------------------------------------


KEYS: dict[str, tuple[Any, list[Any]]] = {
    "numbers": (sa.BigInteger(), [-(10**12), -1, 0, 7, 10**12]),
    "text": (sa.Text(), ["", "a\nb", "a\\nb", "ä", "Z", "a\tb", "\x1f", "'; DROP TABLE leads; --", "%s {x} :y"]),
    "uuids": (sa.Uuid(), [uuid.UUID(int=number) for number in (1, 2**127, 77)]),
    "decimals": (sa.Numeric(10, 2), [Decimal("1.50"), Decimal("-3.00"), Decimal("0.00")]),
    "days": (sa.Date(), [date(2024, 1, 1), date(1999, 12, 31)]),
}


@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_any_type(database: Database, kind: str) -> None:
    column, keys = KEYS[kind]
    if kind == "uuids" and not database.is_postgres:
        pytest.skip("SQLite keeps them as text")
    table = database.create(
        "leads",
        sa.Column("id", column, primary_key=True),
        sa.Column("email", sa.Text()),
        sa.Column("last_contact", database.moment, index=True),
    )
    database.insert(table, [{"id": key, "email": f"p{n}@x.cz", "last_contact": OLD} for n, key in enumerate(keys)])
    assert database.store.check(dataset()) == []
    rules = holding(hold(email="p1@x.cz"))
    candidates = database.store.discover(work(), rules)
    tally = database.store.erase(work(), candidates, range(candidates.batches), Gate(rules))
    assert tally == Became(erased=len(keys) - 1)
    assert database.ids(table) == [keys[1]]
    found = dict(database.store.outcomes(work(), candidates))
    assert len(found) == len(keys) - 1
    for key in keys:
        outcomes = [found[one] for one in readings([str(key)], candidates.key) if one in found]
        assert outcomes == ([] if key == keys[1] else [Outcome.ERASED])


def test_digests_tell_apart_what_looks_alike(database: Database) -> None:
    table = database.create(
        "leads",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("email", sa.Text()),
        sa.Column("last_contact", database.moment, index=True),
    )
    digests = set()
    for keys in (["a", "b"], ["a\nb"], ["a\\nb"], ["ab"], ["a", "b", ""], ["a\\", "b"], ["a", "\\b"]):
        database.do(sa.delete(table))
        database.insert(table, [{"id": key, "email": "a@x.cz", "last_contact": OLD} for key in keys])
        digests.add(database.store.discover(work(), NO_HOLDS).digest)
    assert len(digests) == 7


def test_the_digest_does_not_depend_on_how_many_keys_are_joined_at_once(
    warehouse: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.leads([{"id": n, "email": "a@x.cz", "last_contact": OLD} for n in range(1, 120)])
    whole = warehouse.store.discover(work(), NO_HOLDS)
    assert whole.digest == hashlib.sha256("".join(f"{n}\n" for n in range(1, 120)).encode()).hexdigest()
    monkeypatch.setattr("lethe.stores.sql.dialects.postgresql._ONE_AGGREGATE", 0)
    assert warehouse.store.discover(work(), NO_HOLDS) == whole


def test_names_with_capitals_blanks_and_reserved_words(database: Database) -> None:
    schema = "Sales Dept" if database.is_postgres else None
    if schema:
        database.run_text('CREATE SCHEMA "Sales Dept"')
    table = database.create(
        "Order",
        sa.Column("First", sa.Integer, primary_key=True),
        sa.Column("select", sa.Text(), primary_key=True),
        sa.Column("E-Mail", sa.Text()),
        sa.Column("Last Contact", database.moment),
        sa.Column("group", sa.Text()),
        sa.Index("by clock", "Last Contact"),
        schema=schema,
    )
    rows = [(1, "a", "x@x.cz", OLD), (1, "b", "Y@x.cz", OLD), (2, "a", "x@x.cz", NEW), (2, "b", "x@x.cz", OLD)]
    names = ["First", "select", "E-Mail", "Last Contact"]
    database.insert(table, [{**dict(zip(names, row, strict=True)), "group": "user"} for row in rows])
    # Names of tables in policies have no blanks: the schema is found by the connection's search path.
    of = dataset(
        table="Order",
        key=["First", "select"],
        clock={"column": "Last Contact"},
        identifiers={"email": ["E-Mail"]},
        where=[{"column": "group", "in": ["user"]}],
    )
    store = database.another(options='-c search_path="Sales\\ Dept"') if schema else database.store
    assert store.check(of) == []
    rules = holding(hold(email="y@x.cz"))
    candidates = store.discover(work(of), rules)
    assert store.erase(work(of), candidates, range(candidates.batches), Gate(rules)) == Became(erased=2)
    with database.engine.connect() as connection:
        left = connection.execute(sa.select(table.c.First, table.c["select"]).order_by(*table.primary_key)).all()
    assert [tuple(row) for row in left] == [(1, "b"), (2, "a")]
    store.close()


def test_a_table_in_a_schema(warehouse: Database) -> None:
    warehouse.run_text("CREATE SCHEMA crm")
    table = warehouse.create(
        "leads",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("email", sa.Text()),
        sa.Column("last_contact", sa.DateTime(timezone=True), index=True),
        schema="crm",
    )
    warehouse.leads([{"id": 1, "email": "a", "last_contact": OLD}])
    warehouse.insert(table, [{"id": 2, "email": "a", "last_contact": OLD}])
    of = dataset(table="crm.leads")
    assert warehouse.store.check(of) == []
    assert run_through(warehouse, work(of)) == Became(erased=1)
    assert warehouse.ids(table) == []
    described = warehouse.store.describe(of)
    assert described.namespace.startswith("postgres://localhost:")
    assert described.name == f"{warehouse.connection.schema}.crm.leads"
    assert [(one.name, one.type) for one in described.fields] == [
        ("id", "integer"), ("email", "text"), ("last_contact", "timestamp with time zone"),
    ]  # fmt: skip


def test_a_partitioned_table(warehouse: Database) -> None:
    warehouse.run_text(
        "CREATE TABLE leads (id int, email text, last_contact timestamptz, part int, PRIMARY KEY (id, part)) "
        "PARTITION BY LIST (part)",
        "CREATE INDEX ON leads (last_contact)",
        *(f"CREATE TABLE leads_{part} PARTITION OF leads FOR VALUES IN ({part})" for part in range(3)),
    )
    table = sa.table("leads", *(sa.column(name) for name in ("id", "email", "last_contact", "part")))
    warehouse.do(
        sa.insert(table).values(
            [{"id": n, "email": f"p{n}@x.cz", "last_contact": NEW if n == 5 else OLD, "part": n % 3} for n in range(60)]
        )
    )
    of = dataset(key=["id", "part"])
    assert warehouse.store.check(of) == []
    assert run_through(warehouse, work(of), holding(hold(email="p7@x.cz"))) == Became(erased=58)
    with warehouse.engine.connect() as connection:
        assert sorted(connection.scalars(sa.select(table.c.id))) == [5, 7]


def test_batches_have_at_most_as_many_records_as_the_connection_says(database: Database) -> None:
    database.leads([{"id": n, "email": "a" * (n % 50), "last_contact": OLD} for n in range(1000)])
    store = database.another(lethe_batch_size=137)
    candidates = store.discover(work(), NO_HOLDS)
    assert candidates.batch_size == 137
    sizes = [store.erase(work(), candidates, range(n, n + 1), Gate()).total for n in range(candidates.batches)]
    assert max(sizes) <= 137
    assert sum(sizes) == 1000
    store.close()


# --- children -----------------------------------------------------------------------------------------------------

CHILDREN = [
    {
        "table": "notes",
        "foreign_key": ["lead"],
        "children": [{"table": "files", "foreign_key": ["note"], "references": ["id"]}],
    },
    {"table": "calls", "foreign_key": ["lead_code"], "references": ["code"]},
]


def family(database: Database, count: int = 30) -> dict[str, sa.Table]:
    """Leads with notes (which have files) and calls."""
    metadata = sa.MetaData()
    leads = sa.Table(
        "leads",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("code", sa.Text(), unique=True),
        sa.Column("email", sa.Text()),
        sa.Column("last_contact", database.moment, index=True),
    )
    notes = sa.Table(
        "notes",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("lead", sa.ForeignKey("leads.id"), index=True),
    )
    files = sa.Table(
        "files",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("note", sa.ForeignKey("notes.id"), index=True),
    )
    calls = sa.Table(
        "calls",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("lead_code", sa.ForeignKey("leads.code"), index=True),
    )
    with database.engine.begin() as connection:
        metadata.create_all(connection)
    ids = range(1, count + 1)
    database.insert(
        leads,
        [{"id": n, "code": f"c{n}", "email": f"p{n}@x.cz", "last_contact": NEW if n % 10 == 0 else OLD} for n in ids],
    )
    database.insert(notes, [{"id": n * 10 + k, "lead": n} for n in ids for k in range(2)])
    database.insert(files, [{"id": n, "note": n * 10} for n in ids])
    database.insert(calls, [{"id": n, "lead_code": f"c{n}"} for n in ids])
    return {"leads": leads, "notes": notes, "files": files, "calls": calls}


def test_children_go_with_their_parents_and_no_others(database: Database) -> None:
    tables = family(database)
    of = dataset(children=CHILDREN)
    assert database.store.check(of) == []
    rules = holding(hold(email="p7@x.cz"))
    candidates = database.store.discover(work(of), rules)
    assert candidates.batch_size < 10
    tally = database.store.erase(work(of), candidates, range(candidates.batches), Gate(rules))
    assert tally == Became(erased=26, rows_with=26 * 4)
    stay = [7, 10, 20, 30]
    assert database.ids(tables["leads"]) == stay
    assert database.ids(tables["notes"]) == sorted(n * 10 + k for n in stay for k in range(2))
    assert database.ids(tables["files"]) == stay
    assert database.ids(tables["calls"]) == stay


def test_children_of_what_was_renewed_or_held_since_stay(database: Database) -> None:
    tables = family(database)
    leads = tables["leads"]
    of = dataset(children=CHILDREN)
    candidates = database.store.discover(work(of), NO_HOLDS)
    database.do(
        sa.update(leads).where(leads.c.id == 3).values(last_contact=NEW),
        sa.update(leads).where(leads.c.id == 4).values(email="changed@x.cz"),
        sa.insert(tables["notes"]).values(id=999, lead=5),
    )
    gate = Gate()
    gate.place(hold(email=["p6@x.cz", "changed@x.cz"]))
    tally = database.store.erase(work(of), candidates, range(candidates.batches), gate)
    assert tally == Became(erased=24, held=2, renewed=1, rows_with=24 * 4 + 1)
    stay = [3, 4, 6, 10, 20, 30]
    assert database.ids(leads) == stay
    assert database.ids(tables["files"]) == stay


# --- anonymising --------------------------------------------------------------------------------------------------

MASKS = [
    {"column": "email", "with": "null"},
    {"column": "name", "with": "constant", "value": "erased"},
    {"column": "age", "with": "constant", "value": 0},
]


def people(database: Database) -> sa.Table:
    """Leads with names and ages; one is masked already."""
    table = database.leads(name=sa.Text(), age=sa.Integer())
    rows: list[tuple[str | None, datetime, str | None, int | None]]
    rows = [("a@x.cz", OLD, "A", 1), ("b@x.cz", OLD, "B", 2), ("c@x.cz", NEW, "C", 3), (None, OLD, "erased", 0)]
    rows += [(None, OLD, "erased", 5), ("d@x.cz", OLD, None, None)]
    database.insert(
        table,
        [
            {"id": n, "email": email, "last_contact": clock, "name": name, "age": age}
            for n, (email, clock, name, age) in enumerate(rows)
        ],
    )
    return table


def test_anonymising_masks_every_column_and_leaves_the_row(database: Database) -> None:
    table = people(database)
    job = anonymise(dataset(masks=MASKS))
    assert database.store.check(job.dataset) == []
    rules = holding(hold(email="b@x.cz"))
    candidates = database.store.discover(job, rules)
    assert (candidates.total, candidates.expired, candidates.held) == (6, 4, 1)
    tally = database.store.erase(job, candidates, range(candidates.batches), Gate(rules))
    assert tally == Became(anonymised=3)
    assert [(row[0], row[1], *row[3:]) for row in database.rows(table)] == [
        (0, None, "erased", 0),
        (1, "b@x.cz", "B", 2),
        (2, "c@x.cz", "C", 3),
        (3, None, "erased", 0),
        (4, None, "erased", 0),
        (5, None, "erased", 0),
    ]
    assert database.store.survey(job, rules).due == 0
    assert outcomes(database, job, candidates)["0"] is Outcome.ANONYMISED
    again = anonymise(dataset(masks=MASKS), run="run-2")
    assert database.store.discover(again, rules).due == 0


def test_anonymising_judges_changed_rows_anew(database: Database) -> None:
    table = people(database)
    job = anonymise(dataset(masks=MASKS))
    candidates = database.store.discover(job, NO_HOLDS)
    database.do(
        sa.update(table).where(table.c.id == 0).values(last_contact=NEW),
        sa.update(table).where(table.c.id == 1).values(name="Other"),
    )
    assert database.store.erase(job, candidates, range(candidates.batches), Gate()) == Became(anonymised=3, renewed=1)
    assert [row[4 - 1] for row in database.rows(table)] == ["A", "erased", "C", "erased", "erased", "erased"]


# --- what a wrong dataset is told ---------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "table": ({"table": "nowhere"}, "table: there is no table nowhere"),
    "schema": ({"table": "nowhere.leads"}, "table: there is no table nowhere.leads"),
    "key": ({"key": ["nix"]}, "key: table leads has no column nix"),
    "clock": ({"clock": {"column": "nix"}}, "clock: table leads has no column nix"),
    "identifier": ({"identifiers": {"email": ["nix"]}}, "identifiers.email: table leads has no column nix"),
    "where": ({"where": [{"column": "nix", "is_null": True}]}, "where: table leads has no column nix"),
    "keep_while": ({"keep_while": [{"column": "nix", "is_null": True}]}, "keep_while: table leads has no column nix"),
    "mask": ({"masks": [{"column": "nix"}]}, "masks: table leads has no column nix"),
    "key not unique": ({"key": ["bare"]}, r"key: nothing makes \(bare\) of leads unique"),
    "key may be null": ({"key": ["code"]}, "key: column code of leads may be NULL"),
    "text clock": (
        {"clock": {"column": "email"}},
        r"clock: column email of leads is of type text: .*give clock.format",
    ),
    "number clock": ({"clock": {"column": "bare"}}, "clock: column bare of leads is of type integer"),
    "wrong format": ({"clock": {"column": "bare", "format": "iso8601"}}, "clock of format iso8601 needs text"),
    "mask not null": ({"masks": [{"column": "bare"}]}, "masks: column bare of leads cannot be NULL"),
    "child table": ({"children": [{"table": "nix", "foreign_key": ["a"]}]}, "children.nix: there is no table nix"),
    "child column": (
        {"children": [{"table": "notes", "foreign_key": ["nix"]}]},
        "children.notes: table notes has no column",
    ),
    "child key": (
        {"children": [{"table": "notes", "foreign_key": ["id"]}]},
        r"children.notes: no foreign key of notes leads from \(id\) to leads \(id\)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_every_problem_has_one_clear_message(database: Database, case: str) -> None:
    leads = database.create(
        "leads",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("code", sa.Text(), unique=True),
        sa.Column("bare", sa.Integer, nullable=False),
        sa.Column("email", sa.Text()),
        sa.Column("last_contact", database.moment, index=True),
        sa.Column("other", database.moment),
    )
    database.create(
        "notes", sa.Column("id", sa.Integer, primary_key=True), sa.Column("lead", sa.ForeignKey(leads.c.id))
    )
    assert refused(database, dataset()) == []
    changes, message = WRONG[case]
    problems = [f"{problem.field}: {problem.message}" for problem in refused(database, dataset(**changes))]
    assert problems
    with pytest.raises(AssertionError, match=message):
        raise AssertionError("; ".join(problems))


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL"])
def test_rows_that_the_database_would_delete_by_itself_must_be_named(database: Database, action: str) -> None:
    leads = database.create(
        "leads",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("email", sa.Text()),
        sa.Column("last_contact", database.moment, index=True),
        sa.Column("merged_into", sa.ForeignKey("leads.id", ondelete=action)),
    )
    database.create(
        "notes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("lead", sa.ForeignKey(leads.c.id, ondelete=action)),
    )

    def following(**changes: Any) -> set[str]:  # noqa: ANN401
        told = [one.message for one in refused(database, dataset(**changes)) if one.field == "children"]
        assert all(f"would follow those of leads (ON DELETE {action}) without being" in message for message in told)
        return {message.split(" would ")[0].split()[-1].rpartition(".")[2] for message in told}

    assert following() == {"leads", "notes"}
    assert following(children=[{"table": "notes", "foreign_key": ["lead"]}]) == {"leads"}


def test_a_wrong_dataset_is_refused_by_discovering_too(database: Database) -> None:
    database.leads()
    for changes in ({"table": "nowhere"}, {"key": ["nix"]}, {"clock": {"column": "email"}}):
        with pytest.raises(StoreError, match=r"leads: .*(nowhere|nix|email)"):
            database.store.discover(work(dataset(**changes)), NO_HOLDS)
    assert database.store.staged_runs(dataset()) == []


# --- connections --------------------------------------------------------------------------------------------------


def test_a_server_that_is_down(tmp_path: Path) -> None:
    secret = "s3cret-canary"
    for connection in (
        Connection("warehouse", "postgres", "127.0.0.1", 1, "db", "user", secret),
        Connection("warehouse", "sqlite", str(tmp_path / "nowhere.db")),
    ):
        store = SqlStore(connection)
        actions: tuple[Callable[..., object], ...] = (
            lambda store=store: store.check(dataset()),
            lambda store=store: store.discover(work(), NO_HOLDS),
            lambda store=store: store.settle([], 1),
            lambda store=store: store.staged_runs(dataset()),
        )
        for action in actions:
            with pytest.raises(StoreUnavailable, match="connection warehouse cannot be reached") as caught:
                action()
            assert secret not in str(caught.value)
            assert secret not in repr(caught.value.__context__)
    assert not (tmp_path / "nowhere.db").exists()


@pytest.mark.parametrize(
    "extra",
    [
        {"lethe_batch_size": 0},
        {"lethe_batch_size": 50_001},
        {"lethe_lock_timeout": "x"},
        {"lethe_scratch_schema": "a;b"},
    ],
)
def test_settings_that_cannot_be_used(extra: dict[str, Any]) -> None:
    with pytest.raises(ConnectionMissing, match=r"connection warehouse: .*lethe_"):
        SqlStore(Connection("warehouse", "sqlite", "x.db", extra=extra))


def test_an_unknown_kind_of_connection() -> None:
    with pytest.raises(ConnectionMissing, match="warehouse is of type 'oracle'"):
        SqlStore(Connection("warehouse", "oracle", "localhost"))


def test_permission_denied_says_so_and_nothing_of_the_rows(postgres: EmbeddedPostgres) -> None:
    with postgresql(postgres) as database:
        table = database.leads([{"id": 1, "email": "canary@x.cz", "last_contact": OLD}])
        database.run_text(
            "DROP ROLE IF EXISTS lethe_reader",
            "CREATE ROLE lethe_reader LOGIN",
            "GRANT SELECT ON leads TO lethe_reader",
            "CREATE SCHEMA lethe_scratch AUTHORIZATION lethe_reader",
        )
        connection = database.connection
        store = SqlStore(
            Connection("warehouse", "postgres", connection.host, connection.port, connection.schema, "lethe_reader")
        )
        candidates = store.discover(work(), NO_HOLDS)
        with pytest.raises(StoreError, match="leads: connection warehouse: permission denied") as caught:
            store.erase(work(), candidates, range(1), Gate())
        assert not caught.value.transient
        assert "canary" not in str(caught.value)
        assert database.ids(table) == [1]
        store.close()
    with postgres.engine("postgres").begin() as admin:
        admin.exec_driver_sql("DROP ROLE lethe_reader")


def test_the_scratch_schema_can_be_chosen(database: Database) -> None:
    database.leads([{"id": 1, "email": "a@x.cz", "last_contact": OLD}])
    store = database.another(lethe_scratch_schema="elsewhere")
    store.discover(work(), NO_HOLDS)
    assert database.tables() == set()
    assert store.staged_runs(dataset()) == [("run-1", "leads")]
    store.close()
