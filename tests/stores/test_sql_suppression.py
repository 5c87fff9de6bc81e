"""The suppression list: who objected is on it from the moment that the subscription is gone, and nothing else is."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from multiprocessing.connection import Connection as Pipe
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.stores.sql_kit import (
    Database,
    Gate,
    dataset,
    hold,
    holding,
    kill_while,
    outcomes,
    refused,
    remarks,
    run_through,
    work,
)

from lethe.connections import Connection
from lethe.counts import Became, Outcome
from lethe.errors import StoreError
from lethe.holds.rules import NO_HOLDS
from lethe.policy import TableDataset
from lethe.stores.base import Candidates
from lethe.stores.sql import SqlStore

OLD = datetime(2024, 3, 1, 12, tzinfo=UTC)
NEW = datetime(2026, 11, 1, 12, tzinfo=UTC)
LIST = {
    "table": "objectors",
    "column": "email",
    "from": "email",
    "when": [{"column": "objected_at", "is_null": False}],
}
SUBSCRIPTIONS = {
    "kind": "table",
    "name": "subscriptions",
    "store": "warehouse",
    "table": "subscriptions",
    "key": ["id"],
    "clock": {"earliest_of": ["unsubscribed_at", "objected_at"], "when_missing": "running"},
    "identifiers": {"email": ["email"]},
    "suppression": LIST,
}
OBJECTORS = {
    "kind": "table",
    "name": "objectors",
    "store": "warehouse",
    "table": "objectors",
    "key": ["email"],
    "related": {
        "subscription": {
            "table": "subscriptions",
            "foreign_key": ["email"],
            "references": ["email"],
            "when_missing": "empty",
        }
    },
    "clock": {"column": "subscription.subscribed_at", "when_missing": "running"},
    "identifiers": {"email": ["email"]},
}


class Newsletter:
    """Subscriptions, one an address, and the list of those who objected."""

    def __init__(self, database: Database, *further: sa.Column[Any], unique: bool = True) -> None:
        self.database = database
        metadata = sa.MetaData()
        self.subscriptions = sa.Table(
            "subscriptions",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("email", sa.String(100), unique=True),
            sa.Column("subscribed_at", database.moment),
            sa.Column("unsubscribed_at", database.moment),
            sa.Column("objected_at", database.moment),
        )
        self.objectors = sa.Table(
            "objectors",
            metadata,
            sa.Column("email", sa.String(100), primary_key=unique),
            sa.Column("added_at", database.moment, server_default=sa.func.now()),
            *further,
        )
        metadata.create_all(database.engine)

    def add(self, number: int, **moments: datetime) -> None:
        """Somebody subscribed."""
        self.add_all({number: moments})

    def add_all(self, readers: Mapping[int, Mapping[str, datetime]]) -> None:
        """Several did."""
        usual = {"subscribed_at": OLD, "unsubscribed_at": None, "objected_at": None}
        rows = [{"id": n, "email": address(n), **usual, **moments} for n, moments in readers.items()]
        self.database.insert(self.subscriptions, rows)

    @property
    def left(self) -> list[int]:
        """Subscriptions that are there."""
        return self.database.ids(self.subscriptions)

    @property
    def listed(self) -> set[str]:
        """What is on the list."""
        return set(self.database.ids(self.objectors, "email"))


def address(number: int) -> str:
    return f"reader{number}@x.org"


@pytest.fixture
def newsletter(any_database: Database) -> Newsletter:
    """1 objected, 2 unsubscribed, 3 did neither, 4 objected without an address."""
    made = Newsletter(any_database)
    made.add(1, objected_at=OLD)
    made.add(2, unsubscribed_at=OLD)
    made.add(3)
    made.add(4, objected_at=OLD)
    any_database.do(sa.update(made.subscriptions).where(made.subscriptions.c.id == 4).values(email=None))
    return made


def subscriptions(suppression: Mapping[str, Any] | None = None, **changes: Any) -> TableDataset:  # noqa: ANN401
    return dataset({**SUBSCRIPTIONS, "suppression": {**LIST, **(suppression or {})}}, **changes)


def said(database: Database, of: TableDataset) -> str:
    """What checking refuses."""
    return "; ".join(f"{one.field}: {one.message}" for one in refused(database, of))


# --- what goes onto it --------------------------------------------------------------------------------------------


def test_who_objected_is_on_the_list_when_the_subscription_is_gone(newsletter: Newsletter) -> None:
    assert said(newsletter.database, subscriptions()) == ""
    assert run_through(newsletter.database, work(subscriptions())) == Became(erased=3)
    assert newsletter.left == [3]
    assert newsletter.listed == {address(1)}


def test_without_conditions_all_addresses_go_onto_it(newsletter: Newsletter) -> None:
    run_through(newsletter.database, work(subscriptions({"when": []})))
    assert newsletter.listed == {address(1), address(2)}


def test_who_is_on_it_already_stays_as_they_are(newsletter: Newsletter) -> None:
    newsletter.database.insert(
        newsletter.objectors, [{"email": address(1), "added_at": OLD}, {"email": address(9), "added_at": OLD}]
    )
    before = dict(newsletter.database.rows(newsletter.objectors))
    assert run_through(newsletter.database, work(subscriptions())).erased == 3
    assert dict(newsletter.database.rows(newsletter.objectors)) == before


def test_who_is_held_or_subscribed_again_is_neither_erased_nor_listed(newsletter: Newsletter) -> None:
    """By a hold that is placed, and a change that is made, between discovery and the batch."""
    database = newsletter.database
    for number in range(5, 9):
        newsletter.add(number, objected_at=OLD)
    job = work(subscriptions())
    candidates = database.store.discover(job, NO_HOLDS)
    table = newsletter.subscriptions
    database.do(sa.update(table).where(table.c.id == 6).values(objected_at=None, subscribed_at=NEW))
    gate = Gate(holding(hold(email=address(7))))
    database.store.erase(job, candidates, range(candidates.batches), gate)
    assert newsletter.left == [3, 6, 7]
    assert newsletter.listed == {address(number) for number in (1, 5, 8)}
    assert outcomes(database, job, candidates)["6"] is Outcome.RENEWED


def test_a_subscription_that_rows_refer_to_is_neither_erased_nor_listed(newsletter: Newsletter) -> None:
    database = newsletter.database
    clicks = database.create(
        "clicks",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("subscription", sa.ForeignKey(newsletter.subscriptions.c.id), index=True),
    )
    newsletter.add(5, objected_at=OLD)
    database.insert(clicks, [{"id": 1, "subscription": 1}])
    became = run_through(database, work(subscriptions()))
    assert (became.erased, became.blocked) == (3, 1)
    assert newsletter.listed == {address(5)}


def test_rows_that_go_along_do_not_keep_anybody_from_the_list(newsletter: Newsletter) -> None:
    database = newsletter.database
    clicks = database.create(
        "clicks",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("subscription", sa.ForeignKey(newsletter.subscriptions.c.id), index=True),
    )
    database.insert(clicks, [{"id": 1, "subscription": 1}, {"id": 2, "subscription": 3}])
    child = {"table": "clicks", "foreign_key": ["subscription"], "identifiers": {}}
    became = run_through(database, work(subscriptions(children=[child])))
    assert (became.erased, became.rows_with) == (3, 1)
    assert newsletter.listed == {address(1)}


def test_a_condition_that_cannot_be_compared_lists(any_database: Database) -> None:
    """Who perhaps objected is not written to."""
    newsletter = Newsletter(any_database)
    text = any_database.create(
        "notes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("email", sa.String(100)),
        sa.Column("ended_at", any_database.moment),
        sa.Column("objected", sa.String(100)),
    )
    days = {1: "2024-01-05", 2: "2031-01-05", 3: "in spring", 4: None}
    rows = [{"id": n, "email": address(n), "ended_at": OLD, "objected": day} for n, day in days.items()]
    any_database.insert(text, rows)
    before = {"column": "objected", "before": "2025-01-01", "format": "iso8601"}
    notes = subscriptions({"when": [before]}, name="notes", table="notes", clock={"column": "ended_at"})
    assert said(any_database, notes) == ""
    assert run_through(any_database, work(notes)).erased == 4
    assert newsletter.listed == {address(1), address(3)}


# --- one transaction ----------------------------------------------------------------------------------------------


COUNT, KILLS = 400, 5


def _erase(connection: Connection, candidates: Candidates, ready: Pipe) -> None:
    store = SqlStore(connection)
    ready.send_bytes(b"1")
    store.erase(work(subscriptions()), candidates, range(candidates.batches), Gate())


def test_nobody_is_gone_and_not_listed_whenever_a_process_is_killed(any_database: Database) -> None:
    newsletter = Newsletter(any_database)
    rows = [{"id": n, "email": address(n), "objected_at": OLD} for n in range(1, COUNT + 1)]
    any_database.insert(newsletter.subscriptions, rows)
    job = work(subscriptions())
    candidates = any_database.store.discover(job, NO_HOLDS)
    randomly, killed = random.Random(7), 0
    for _ in range(KILLS):
        killed += kill_while(_erase, any_database, candidates, randomly.uniform(0.01, 0.1))
        any_database.store.settle([], 20)  # the server may be committing the last batch still
        gone = {address(number) for number in set(range(1, COUNT + 1)) - set(newsletter.left)}
        assert newsletter.listed == gone
    assert killed
    any_database.store.erase(job, candidates, range(candidates.batches), Gate())
    assert newsletter.listed == {address(number) for number in range(1, COUNT + 1)}
    assert newsletter.left == []


_KEEP_OUT = {
    "postgresql": [
        "CREATE FUNCTION keep_out() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER keep_out BEFORE INSERT ON objectors FOR EACH ROW EXECUTE FUNCTION keep_out()",
    ],
    "sqlite": ["CREATE TRIGGER keep_out BEFORE INSERT ON objectors BEGIN SELECT RAISE(IGNORE); END"],
    "mariadb": ["CREATE TRIGGER keep_out AFTER INSERT ON objectors FOR EACH ROW DELETE FROM objectors"],
}


def test_a_list_that_keeps_an_address_out_keeps_the_record(newsletter: Newsletter) -> None:
    """Without an error: the record is not erased, and the run says what is wrong."""
    database = newsletter.database
    database.run_text(*_KEEP_OUT[database.name])
    assert "trigger keep_out of objectors runs when values are put on the list" in "; ".join(
        remarks(database, subscriptions())
    )
    with pytest.raises(StoreError) as caught:
        run_through(database, work(subscriptions()))
    if database.name != "mariadb":  # where a trigger that changes its own table is an error by itself
        assert "does not take what goes onto the list (email)" in str(caught.value)
    assert newsletter.left == [1, 2, 3, 4]
    assert newsletter.listed == set()


# --- off it again -------------------------------------------------------------------------------------------------


def test_who_subscribes_again_goes_from_the_list_and_nobody_else(newsletter: Newsletter) -> None:
    database = newsletter.database
    run_through(database, work(subscriptions({"when": []})))
    newsletter.add(11)  # is another reader
    assert said(database, dataset(OBJECTORS)) == ""
    again = work(dataset(OBJECTORS), run="run-2")
    assert run_through(database, again).total == 0
    newsletter.add(1, subscribed_at=OLD)
    assert run_through(database, work(dataset(OBJECTORS), run="run-3")).erased == 1
    assert newsletter.listed == {address(2)}
    assert newsletter.left == [1, 3, 11]


def test_a_row_that_is_missing_waits_only_where_the_clock_has_nothing_else(newsletter: Newsletter) -> None:
    """Without a foreign key it may be there a moment later: then nothing may have gone because it was missing."""
    added = {"latest_of": ["added_at", "subscription.subscribed_at"]}
    assert "no foreign key leads from (email) to subscriptions" in said(
        newsletter.database, dataset(OBJECTORS, clock=added)
    )


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()), max_size=25))
def test_the_list_has_those_who_objected_and_nobody_else(
    newsletter: Newsletter, readers: list[tuple[bool, bool, bool, bool]]
) -> None:
    """Whatever they did, were held for, and whoever was on it before."""
    database = newsletter.database
    database.do(sa.delete(newsletter.subscriptions), sa.delete(newsletter.objectors))
    before = {address(number) for number, (*_, listed) in enumerate(readers, start=1) if listed}
    database.insert(newsletter.objectors, [{"email": one} for one in before])
    held, gone, moments = set(), set(), {}
    for number, (objected, unsubscribed, is_held, _) in enumerate(readers, start=1):
        did = {"objected_at": objected, "unsubscribed_at": unsubscribed}
        moments[number] = {name: OLD for name, one in did.items() if one}
        if is_held:
            held.add(address(number))
        elif objected or unsubscribed:
            gone.add(number)
    newsletter.add_all(moments)
    rules = holding(hold(email=sorted(held))) if held else NO_HOLDS
    job = work(subscriptions())
    database.store.clean(job.run, job.dataset)
    run_through(database, job, rules)
    assert set(newsletter.left) == set(moments) - gone
    assert newsletter.listed == before | {address(number) for number in gone if readers[number - 1][0]}


def test_lineage_knows_the_list(newsletter: Newsletter) -> None:
    described = newsletter.database.store.describe(subscriptions())
    assert described.suppression is not None
    assert described.suppression.name == described.name.removesuffix("subscriptions") + "objectors"


# --- what is refused ----------------------------------------------------------------------------------------------


def test_lists_that_do_not_fit_are_refused(any_database: Database) -> None:
    Newsletter(any_database, sa.Column("reason", sa.String(100), nullable=False))
    assert "column reason of objectors needs a value, and nothing but email is put on the list" in said(
        any_database, subscriptions()
    )
    assert "suppression: there is no table nowhere" in said(any_database, subscriptions({"table": "nowhere"}))
    assert "has no column address" in said(any_database, subscriptions({"column": "address"}))
    assert "suppression.from: table subscriptions has no column mail" in said(
        any_database, subscriptions({"from": "mail"})
    )
    assert "nothing makes (added_at) of objectors unique" in said(any_database, subscriptions({"column": "added_at"}))
    assert "is a table whose rows are erased" in said(any_database, subscriptions({"table": "subscriptions"}))


def test_a_list_without_a_unique_column_is_refused(any_database: Database) -> None:
    Newsletter(any_database, unique=False)
    assert "nothing makes (email) of objectors unique" in said(any_database, subscriptions())


def test_a_column_that_would_keep_another_value_is_refused(newsletter: Newsletter) -> None:
    """SQLite and MariaDB make 601 of 0601, and say nothing: who objected would be written to again."""
    database = newsletter.database
    database.run_text("CREATE TABLE numbers (email integer PRIMARY KEY)")
    database.do(sa.update(newsletter.subscriptions).where(newsletter.subscriptions.c.id == 1).values(email="0601"))
    numbers = subscriptions({"table": "numbers"})
    assert "the database cannot put email of subscriptions into email of numbers" in said(database, numbers)
    with pytest.raises(StoreError):
        run_through(database, work(numbers))
    assert newsletter.left == [1, 2, 3, 4]


def test_a_list_that_a_crash_empties_is_refused(warehouse: Database) -> None:
    """The records are gone for good: so has to be on the list for good who objected."""
    newsletter = Newsletter(warehouse)
    newsletter.add(1, objected_at=OLD)
    warehouse.run_text("ALTER TABLE objectors SET UNLOGGED")
    assert "is emptied when the server crashes (UNLOGGED)" in said(warehouse, subscriptions())
    with pytest.raises(StoreError, match="SET LOGGED"):
        run_through(warehouse, work(subscriptions()))
    assert newsletter.left == [1]
    warehouse.run_text("ALTER TABLE objectors SET LOGGED")
    assert said(warehouse, subscriptions()) == ""


def test_a_list_of_which_a_crash_empties_a_partition_is_refused(warehouse: Database) -> None:
    """The statement is that of the partition: of the list itself it would change nothing."""
    Newsletter(warehouse)
    warehouse.run_text("CREATE TABLE parted (email text PRIMARY KEY) PARTITION BY HASH (email)")
    warehouse.run_text("CREATE UNLOGGED TABLE half PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0)")
    warehouse.run_text("CREATE TABLE other_half PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1)")
    told = said(warehouse, subscriptions({"table": "parted"}))
    statement = told[told.index("ALTER TABLE") :].splitlines()[0]
    assert "half SET LOGGED" in statement and "other_half" not in statement
    warehouse.run_text(statement)
    assert said(warehouse, subscriptions({"table": "parted"})) == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masks": [{"column": "email"}]}, "suppression is for records that are erased"),
        (
            {
                "related": {"person": {"table": "people", "foreign_key": ["id"], "references": ["id"]}},
                "suppression": {**LIST, "from": "person.email"},
            },
            "suppression.from: person.email is of another row",
        ),
        ({"suppression": {**LIST, "reason": "objected"}}, "reason"),
    ],
)
def test_policies_that_say_nonsense_of_a_list_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        dataset(SUBSCRIPTIONS, **changes)
