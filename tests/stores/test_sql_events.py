"""A record's period that starts on an event which people record: the same promises, and what is refused."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.stores import leased_postgresql, sql_kit
from tests.stores.sql_kit import (
    CUTOFF,
    KEYED_TEXT,
    Database,
    Gate,
    anonymise,
    dataset,
    hold,
    outcomes,
    refused,
    work,
)

from lethe.counts import Became, Outcome, Unjudgeable
from lethe.errors import StoreError
from lethe.holds.rules import ClockRange, HoldRules
from lethe.policy import TableDataset
from lethe.retention_events.rules import EventsInForce, Reference
from lethe.stores.base import Candidates
from lethe_demo.servers import EmbeddedPostgres

LONG_AGO = date(2024, 3, 1)
LATELY = date(2026, 3, 1)
CLOSED = {"event": "contract_closed", "refers_to": ["supplier_no"], "when_missing": "running"}
CONTACTS = {
    "kind": "table",
    "name": "contacts",
    "store": "warehouse",
    "table": "contacts",
    "key": ["id"],
    "clock": CLOSED,
    "identifiers": {"email": ["email"]},
}
SUPPLIER = {"table": "suppliers", "foreign_key": ["supplier_id"], "references": ["id"]}


def in_force(days: Mapping[str | Reference, date], changed: int = 1) -> EventsInForce:
    """Events by reference, in pages of two."""
    rows: list[tuple[Reference, date]] = [
        ((whose,) if isinstance(whose, str) else whose, day) for whose, day in days.items()
    ]

    def load() -> Iterator[Sequence[tuple[Reference, date]]]:
        yield from (rows[at : at + 2] for at in range(0, len(rows) + 1, 2))

    return EventsInForce("contract_closed", changed, load)


class Suppliers:
    """Suppliers, each with a contact of the same number, and the events that are in force."""

    def __init__(self, database: Database, number_type: Any = KEYED_TEXT) -> None:  # noqa: ANN401 - any type
        self.database = database
        metadata = sa.MetaData()
        self.suppliers = sa.Table(
            "suppliers",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("supplier_no", number_type),
        )
        self.contacts = sa.Table(
            "contacts",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("supplier_id", sa.ForeignKey(self.suppliers.c.id), index=True),
            sa.Column("supplier_no", number_type),
            sa.Column("country", sa.Text()),
            sa.Column("email", sa.Text()),
        )
        metadata.create_all(database.engine)
        self.rules = HoldRules(1, (), in_force({}))
        self.run = f"run-{secrets.token_hex(4)}"

    def add(self, *numbers: Any) -> None:  # noqa: ANN401 - of the column's type
        """Suppliers with these numbers, with a contact each; they are numbered from 1."""
        rows = [{"id": n, "supplier_no": number} for n, number in enumerate(numbers, start=1)]
        self.database.insert(self.suppliers, rows)
        contacts = [{**row, "supplier_id": row["id"], "email": f"c{row['id']}@x.org", "country": "CZ"} for row in rows]
        self.database.insert(self.contacts, contacts)

    def events(self, days: Mapping[str | Reference, date]) -> HoldRules:
        """Have these events in force, as another version of the registry, with the holds that there are."""
        version = self.rules.version + 1
        self.rules = replace(self.rules, version=version, events=in_force(days, version))
        return self.rules

    @property
    def left(self) -> list[int]:
        """Contacts that are there."""
        return self.database.ids(self.contacts)

    def discover(self, of: TableDataset) -> Candidates:
        """Discover with what is in force."""
        return self.database.store.discover(work(of, run=self.run), self.rules)

    def erase(self, of: TableDataset, candidates: Candidates, gate: Gate | None = None) -> Became:
        """Erase all with what is in force."""
        gate = gate or Gate(self.rules)
        return self.database.store.erase(work(of, run=self.run), candidates, range(candidates.batches), gate)

    def run_through(self, of: TableDataset) -> Became:
        """Discover and erase all."""
        return self.erase(of, self.discover(of))


@pytest.fixture
def crm(any_database: Database) -> Suppliers:
    """Contracts of S-1 and S-2 were closed long ago, of S-3 lately, and S-4 has one."""
    made = Suppliers(any_database)
    made.add("S-1", "S-2", "S-3", "S-4")
    made.events({"S-1": LONG_AGO, "S-2": LONG_AGO, "S-3": LATELY, "S-9": LONG_AGO})
    return made


def contacts(**changes: Any) -> TableDataset:  # noqa: ANN401 - as in a policy
    return dataset(CONTACTS, **changes)


def through_the_supplier(**changes: Any) -> TableDataset:  # noqa: ANN401 - as in a policy
    """Contacts that find their event by the number that their supplier has."""
    clock = {**CLOSED, "refers_to": ["supplier.supplier_no"]}
    return contacts(related={"supplier": SUPPLIER}, clock=clock, **changes)


either_way = pytest.mark.parametrize("of", [contacts(), through_the_supplier()], ids=["own", "related"])


# --- judged by what is in force -----------------------------------------------------------------------------------


@either_way
def test_a_record_goes_when_its_event_is_long_ago(crm: Suppliers, of: TableDataset) -> None:
    assert refused(crm.database, of) == []
    found = crm.database.store.survey(work(of), crm.rules)
    assert (found.total, found.due, found.unjudgeable, found.oldest) == (4, 2, {}, LONG_AGO)
    candidates = crm.discover(of)
    assert crm.erase(of, candidates) == Became(erased=2)
    assert outcomes(crm.database, work(of, run=crm.run), candidates) == {"1": Outcome.ERASED, "2": Outcome.ERASED}
    assert crm.left == [3, 4]
    assert crm.database.store.survey(work(of), crm.rules).expired == 0


def test_the_day_of_the_event_is_a_local_day(crm: Suppliers) -> None:
    crm.events({"S-1": CUTOFF.replace(day=CUTOFF.day - 1), "S-2": CUTOFF})
    assert crm.run_through(contacts()) == Became(erased=1)
    assert crm.left == [2, 3, 4]


def test_a_record_without_an_event_is_kept_or_is_reported(crm: Suppliers) -> None:
    reported = contacts(clock={**CLOSED, "when_missing": "unjudgeable"})
    assert crm.database.store.survey(work(contacts()), crm.rules).unjudgeable == {}
    assert crm.database.store.survey(work(reported), crm.rules).unjudgeable == {Unjudgeable.NO_CLOCK: 1}


def test_records_are_anonymised_by_events_too(crm: Suppliers) -> None:
    masked = contacts(masks=[{"column": "email", "with": "null"}])
    candidates = crm.database.store.discover(anonymise(masked), crm.rules)
    crm.events({"S-1": LONG_AGO, "S-2": LATELY})
    done = crm.database.store.erase(anonymise(masked), candidates, range(candidates.batches), Gate(crm.rules))
    assert done == Became(anonymised=1, renewed=1)


def test_periods_by_value_conditions_and_holds_go_with_events(crm: Suppliers) -> None:
    of = through_the_supplier(keep_while=[{"column": "country", "in": ["SK"]}])
    crm.database.do(sa.update(crm.contacts).where(crm.contacts.c.id == 1).values(country="SK"))
    crm.rules = replace(crm.rules, rules=(hold(ClockRange(first=LONG_AGO, last=LONG_AGO), email="c2@x.org"),))
    found = crm.database.store.survey(work(of), crm.rules)
    assert (found.kept_on, found.held, found.due) == (1, 1, 0)


def test_several_columns_name_one_event(any_database: Database) -> None:
    crm = Suppliers(any_database)
    crm.add("S-1", "S-2", "S-1")
    crm.database.do(sa.update(crm.contacts).where(crm.contacts.c.id == 3).values(country="SK"))
    crm.events({("CZ", "S-1"): LONG_AGO, ("SK", "S-2"): LONG_AGO, ("S-2",): LONG_AGO, ("CZ", "S-2", ""): LONG_AGO})
    assert crm.run_through(contacts(clock={**CLOSED, "refers_to": ["country", "supplier_no"]})) == Became(erased=1)
    assert crm.left == [2, 3]


# --- what names a value, and what does not ------------------------------------------------------------------------


def test_a_number_is_named_in_one_spelling_only(any_database: Database) -> None:
    crm = Suppliers(any_database, sa.BigInteger())
    crm.add(17, 170, -17, 0)
    spellings: dict[str | Reference, date] = dict.fromkeys(
        ["017", "17.0", "+17", "1.7e1", "S-17", "٣", "-0", "-17"], LONG_AGO
    )
    crm.events(spellings)
    assert crm.run_through(contacts()) == Became(erased=1)
    assert crm.left == [1, 2, 4]
    crm.events({"17": LONG_AGO, "0": LONG_AGO})
    assert crm.database.store.survey(work(contacts()), crm.rules).due == 2


def test_text_is_compared_by_its_characters_whatever_the_collation(any_database: Database) -> None:
    """MariaDB would take s-1 and S-1, and é and e, for equal."""
    crm = Suppliers(any_database)
    crm.add("S-1", "s-1", "S-1 ", "é", "e", "%")
    crm.events({"S-1": LONG_AGO, "e": LONG_AGO})
    assert crm.run_through(contacts()) == Became(erased=2)
    assert crm.left == [2, 3, 4, 6]


def test_sqlite_takes_no_text_for_a_number(file: Database) -> None:
    """A column without a type may have both 1 and '1'; one of text has no number."""
    file.run_text(
        "CREATE TABLE contacts (id INTEGER PRIMARY KEY, supplier_no, email TEXT)",
        "INSERT INTO contacts VALUES (1, 1, ''), (2, '1', '')",
    )
    assert "cannot be named exactly" in refused(file, contacts())[0].message
    with pytest.raises(StoreError, match="cannot be named exactly"):
        file.store.survey(work(contacts()), HoldRules(0, (), in_force({"1": LONG_AGO})))


NAMES = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1, max_size=4).map(str.strip)


@settings(
    max_examples=12,
    phases=[Phase.generate],  # to make an example smaller takes a database longer than anybody waits
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_just_the_records_go_whose_event_is_before_the_cutoff(any_database: Database, data: st.DataObject) -> None:
    """By an oracle in Python, with an event that is withdrawn, moved or added while the run is under way."""
    any_database.run_text("DROP TABLE IF EXISTS contacts", "DROP TABLE IF EXISTS suppliers")
    crm = Suppliers(any_database)
    numbers = data.draw(st.lists(NAMES.filter(bool), min_size=1, max_size=8))
    days = st.sampled_from([LONG_AGO, CUTOFF.replace(day=20), CUTOFF, LATELY])
    events = st.dictionaries(st.one_of(st.sampled_from(numbers), NAMES.filter(bool)), days, max_size=6)
    before, since = data.draw(events), data.draw(events)
    crm.add(*numbers)
    crm.events(before)  # type: ignore[arg-type]
    of = data.draw(st.sampled_from([contacts(), through_the_supplier()]))
    candidates = crm.discover(of)
    crm.events(since)  # type: ignore[arg-type]

    def expired(events: Mapping[str, date], number: str) -> bool:
        return number in events and events[number] < CUTOFF

    due = {n for n, number in enumerate(numbers, start=1) if expired(before, number)}
    go = {n for n in due if expired(since, numbers[n - 1])}
    assert candidates.due == len(due)
    assert crm.erase(of, candidates) == Became(erased=len(go), renewed=len(due - go))
    assert set(crm.left) == set(range(1, len(numbers) + 1)) - go


# --- what changes while a run is under way ------------------------------------------------------------------------


@either_way
def test_an_event_that_was_withdrawn_since_discovery_lets_nothing_go(crm: Suppliers, of: TableDataset) -> None:
    candidates = crm.discover(of)
    crm.events({"S-2": LONG_AGO})
    assert crm.erase(of, candidates) == Became(erased=1, renewed=1)
    assert outcomes(crm.database, work(of, run=crm.run), candidates) == {"1": Outcome.RENEWED, "2": Outcome.ERASED}
    assert crm.left == [1, 3, 4]


@either_way
def test_an_event_that_moved_since_discovery_keeps_what_has_not_expired_by_it(crm: Suppliers, of: TableDataset) -> None:
    candidates = crm.discover(of)
    crm.events({"S-1": LATELY, "S-2": date(2024, 3, 2)})
    assert crm.erase(of, candidates) == Became(erased=1, renewed=1)
    assert crm.left == [1, 3, 4]


@either_way
def test_a_hold_on_some_days_binds_a_record_whose_event_moved_into_them(crm: Suppliers, of: TableDataset) -> None:
    january = ClockRange(first=date(2024, 1, 1), last=date(2024, 1, 31))
    crm.rules = replace(crm.rules, rules=(hold(january, email="c2@x.org"),))
    candidates = crm.discover(of)
    assert candidates.held == 0
    crm.events({"S-1": LONG_AGO, "S-2": date(2024, 1, 15)})
    assert crm.erase(of, candidates) == Became(erased=1, held=1)


def test_an_event_that_is_withdrawn_between_two_batches_binds_the_second(crm: Suppliers) -> None:
    store = crm.database.another(lethe_batch_size=1)
    candidates = store.discover(work(contacts()), crm.rules)
    gate, asked = Gate(crm.rules), []

    def before(number: int) -> None:
        asked.append(number)
        if not crm.left or 1 in crm.left:
            return
        gate.rules = crm.events({})  # batch 0 is done

    gate.before = before
    done = store.erase(work(contacts()), candidates, range(candidates.batches), gate)
    assert candidates.batches == 2
    assert done == Became(erased=1, renewed=1)
    assert crm.left == [2, 3, 4]
    store.close()


def test_events_that_change_for_every_batch_that_asks_are_loaded_within_it(crm: Suppliers) -> None:
    """A batch gives way for loading some times only; then what it loads itself counts."""
    candidates, gate = crm.discover(contacts()), Gate(crm.rules)

    def before(_number: int) -> None:
        gate.rules = crm.events({"S-1": LONG_AGO, "S-2": LONG_AGO})

    gate.before = before
    assert crm.erase(contacts(), candidates, gate) == Became(erased=2)


@either_way
def test_a_record_that_refers_to_another_since_discovery_stays(crm: Suppliers, of: TableDataset) -> None:
    candidates = crm.discover(of)
    for table in (crm.contacts, crm.suppliers):
        crm.database.do(sa.update(table).where(table.c.id == 1).values(supplier_no="S-4"))
    assert crm.erase(of, candidates) == Became(erased=1, renewed=1)
    assert crm.left == [1, 3, 4]


def test_nothing_is_judged_where_nobody_says_what_is_in_force(crm: Suppliers) -> None:
    candidates = crm.discover(contacts())
    for unsaid in (None, replace(in_force({"S-1": LONG_AGO}), name="account_closed")):
        rules = HoldRules(99, (), unsaid)
        for action in (
            lambda rules=rules: crm.database.store.survey(work(contacts()), rules),
            lambda rules=rules: crm.database.store.discover(work(contacts(), run="run-2"), rules),
            lambda rules=rules: crm.erase(contacts(), candidates, Gate(rules)),
        ):
            with pytest.raises(StoreError, match="nobody said which events contract_closed are in force"):
                action()
    assert crm.left == [1, 2, 3, 4]


# --- what is refused ----------------------------------------------------------------------------------------------


def test_a_column_whose_values_cannot_be_named_exactly_is_refused(any_database: Database) -> None:
    Suppliers(any_database, sa.Double())
    (problem,) = refused(any_database, contacts())
    assert (problem.field, "cannot be named exactly: name a column of text" in problem.message) == (
        "clock.refers_to",
        True,
    )


def test_a_column_that_is_not_there_is_refused(crm: Suppliers) -> None:
    (problem,) = refused(crm.database, contacts(clock={**CLOSED, "refers_to": ["vendor"]}))
    assert problem.message == "table contacts has no column vendor"


def test_a_database_without_locks_refuses(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    with sql_kit.database(leased_postgresql.NAME, tmp_path, postgres) as database:
        crm = Suppliers(database)
        (problem,) = refused(database, contacts())
        assert "events start" in problem.message
        with pytest.raises(StoreError, match="events start"):
            database.store.survey(work(contacts()), crm.rules)


@pytest.mark.parametrize(
    ("clock", "message"),
    [
        ({"event": "closed"}, "event needs refers_to"),
        ({"column": "at", "refers_to": ["a"]}, "event needs refers_to"),
        ({"event": "closed", "refers_to": []}, "at least 1"),
        ({"event": "closed", "refers_to": ["a", "a"]}, "names a column twice"),
        ({"event": "closed", "refers_to": ["a"], "column": "at"}, "exactly one of column, latest_of, earliest_of and"),
        ({"event": "closed", "refers_to": ["a"], "format": "iso8601"}, "an event has a day"),
        ({"event": "Closed!", "refers_to": ["a"]}, "match pattern"),
        ({"column": "at", "two_people": True}, "two_people is of an event"),
        ({"event": "closed", "refers_to": ["supplier_no", "supplier.supplier_no"]}, "columns of several rows"),
    ],
)
def test_a_clock_that_says_no_event_is_refused(clock: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        contacts(clock=clock, related={"supplier": SUPPLIER})


def test_what_refers_to_an_event_is_not_masked() -> None:
    with pytest.raises(ValidationError, match="supplier_no is needed to find and judge the record"):
        contacts(masks=[{"column": "supplier_no", "with": "null"}])
