"""Never held: an identifier that only a row of a child table carries holds the record that the row goes with."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from tests.stores.sql_kit import Database, Gate, dataset, hold, holding, outcomes, run_through, work

from lethe.counts import Became, Outcome
from lethe.holds.rules import NO_HOLDS, ClockRange, HoldRule
from lethe.judging.identifiers import IdentifierType
from lethe.policy import TableDataset
from lethe.stores.base import Candidates

OLD = datetime(2024, 3, 1, 12, tzinfo=UTC)
LATER = datetime(2024, 9, 1, 12, tzinfo=UTC)
COUNT = 30

CONTACTS: list[dict[str, Any]] = [
    {
        "table": "contacts",
        "foreign_key": ["lead"],
        "identifiers": {"email": ["mail", "second_mail"], "phone": ["phone"]},
        "phone_region": "CZ",
        "children": [
            {
                "table": "devices",
                "foreign_key": ["contact_lead", "contact_no"],
                "references": ["lead", "no"],
                "identifiers": {"cookie": ["cookie"]},
            }
        ],
    },
    {"table": "invoices", "foreign_key": ["lead_code"], "references": ["code"], "identifiers": {"account": ["payer"]}},
]


class Family:
    """Thirty expired leads, each with two contacts, which have a device each, and an invoice."""

    def __init__(self, database: Database) -> None:
        metadata = sa.MetaData()
        self.database = database
        self.leads = sa.Table(
            "leads",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("code", sa.Text(), unique=True),
            sa.Column("email", sa.Text()),
            sa.Column("last_contact", database.moment, index=True),
        )
        self.contacts = sa.Table(
            "contacts",
            metadata,
            sa.Column("lead", sa.ForeignKey("leads.id"), primary_key=True),
            sa.Column("no", sa.Integer, primary_key=True),
            sa.Column("mail", sa.Text()),
            sa.Column("second_mail", sa.Text()),
            sa.Column("phone", sa.Text()),
        )
        self.devices = sa.Table(
            "devices",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("contact_lead", sa.Integer),
            sa.Column("contact_no", sa.Integer),
            sa.Column("cookie", sa.Text()),
            sa.ForeignKeyConstraint(["contact_lead", "contact_no"], ["contacts.lead", "contacts.no"]),
        )
        self.invoices = sa.Table(
            "invoices",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("lead_code", sa.ForeignKey("leads.code")),
            sa.Column("payer", sa.BigInteger()),
        )
        with database.engine.begin() as connection:
            metadata.create_all(connection)
        ids, numbers = range(1, COUNT + 1), (1, 2)
        database.insert(
            self.leads,
            [{"id": n, "code": f"c{n}", "email": f"p{n}@x.cz", "last_contact": OLD if n <= 20 else LATER} for n in ids],
        )
        database.insert(
            self.contacts,
            [
                {"lead": n, "no": k, "mail": f" C{n}-{k}@X.cz", "phone": f"601 {n:03} {k:03}"}
                for n in ids
                for k in numbers
            ],
        )
        database.insert(
            self.devices,
            [
                {"id": n * 10 + k, "contact_lead": n, "contact_no": k, "cookie": f"d{n}-{k}"}
                for n in ids
                for k in numbers
            ],
        )
        database.insert(self.invoices, [{"id": n, "lead_code": f"c{n}", "payer": 1000 + n} for n in ids])

    def require(self, *stay: int) -> None:
        """Just these leads are left, each whole."""
        ids = self.database.ids
        assert ids(self.leads) == list(stay)
        assert ids(self.contacts, "lead") == sorted([*stay, *stay])
        assert ids(self.devices) == sorted(n * 10 + k for n in stay for k in (1, 2))
        assert ids(self.invoices) == list(stay)


def families(children: Sequence[Mapping[str, Any]] = CONTACTS) -> TableDataset:
    """The dataset of leads with all that goes with them."""
    return dataset(children=children)


def discovered(database: Database) -> Candidates:
    """The candidates, nothing held."""
    found = database.store.discover(work(families()), NO_HOLDS)
    assert (found.expired, found.held) == (COUNT, 0)
    return found


def erased(database: Database, candidates: Candidates, *holds: HoldRule) -> Became:
    """What became of the candidates, with holds placed since they were discovered."""
    gate = Gate()
    gate.place(*holds)
    return database.store.erase(work(families()), candidates, range(candidates.batches), gate)


HOLDS = {
    "address": hold(email="c7-2@x.cz"),
    "telephone number": hold(phone="+420601007001"),
    "grandchild": hold(cookie="d7-1"),
    "number in another child": hold(account="1007"),
    "several": hold(email="c7-1@x.cz", cookie="d7-1", account="1007"),
}
NOT_HELD = [
    hold(email="c99@x.cz", cookie="c7-2@x.cz"),
    hold(clock=ClockRange(date(2024, 6, 1), None), email="c7-1@x.cz", cookie="d7-1"),
]
"""Of other types, unknown, or on records of other days than the parent's."""


def test_the_policy_fits(database: Database) -> None:
    Family(database)
    assert database.store.check(families()) == []


@pytest.mark.parametrize("held", HOLDS.values(), ids=HOLDS)
def test_a_hold_before_the_run(database: Database, held: HoldRule) -> None:
    family = Family(database)
    rules = holding(held, *NOT_HELD)
    assert database.store.survey(work(families()), rules).held == 1
    candidates = database.store.discover(work(families()), rules)
    assert (candidates.expired, candidates.held, candidates.due) == (COUNT, 1, COUNT - 1)
    tally = database.store.erase(work(families()), candidates, range(candidates.batches), Gate(rules))
    assert tally == Became(erased=COUNT - 1, rows_with=(COUNT - 1) * 5)
    family.require(7)
    left = database.store.survey(work(families()), rules)
    assert (left.total, left.held, left.due) == (1, 1, 0)


@pytest.mark.parametrize("held", HOLDS.values(), ids=HOLDS)
def test_a_hold_after_discovery(database: Database, held: HoldRule) -> None:
    family = Family(database)
    candidates = discovered(database)
    tally = erased(database, candidates, held, *NOT_HELD)
    assert tally == Became(erased=COUNT - 1, held=1, rows_with=(COUNT - 1) * 5)
    assert outcomes(database, work(families()), candidates)["7"] is Outcome.HELD
    family.require(7)


def test_a_hold_while_batches_run(database: Database) -> None:
    family = Family(database)
    candidates = discovered(database)
    gate = Gate()
    gate.before = lambda number: gate.place(hold(cookie=["d30-2", "d1-1"])) if number == 1 else None
    tally = database.store.erase(work(families()), candidates, range(candidates.batches), gate)
    assert tally == Became(erased=COUNT - 1, held=1, rows_with=(COUNT - 1) * 5)
    family.require(30)


def test_rows_of_child_tables_that_were_changed_since_discovery(database: Database) -> None:
    """The hold is older than the run: only the rows that go with the records are new to it."""
    family = Family(database)
    rules = holding(hold(email=["inserted@x.cz", "changed@x.cz", "c4-1@x.cz"], cookie="moved"))
    database.do(
        sa.insert(family.contacts).values(lead=21, no=3, mail="c4@x.cz"),
        sa.insert(family.devices).values(id=1, contact_lead=21, contact_no=3, cookie="moved"),
    )
    candidates = database.store.discover(work(families()), rules)
    assert candidates.held == 2  # 4 and 21
    contacts, devices = family.contacts, family.devices
    database.do(
        sa.insert(contacts).values(lead=1, no=3, mail="inserted@x.cz"),
        sa.update(contacts).where(contacts.c.lead == 2, contacts.c.no == 1).values(second_mail="Changed@x.cz"),
        sa.update(devices).where(devices.c.id == 1).values(contact_lead=3, contact_no=2),
    )
    tally = database.store.erase(work(families()), candidates, range(candidates.batches), Gate(rules))
    assert (tally.erased, tally.held) == (COUNT - 5, 3)
    assert database.ids(family.leads) == [1, 2, 3, 4, 21]
    assert len(database.ids(contacts, "lead")) == 5 * 2 + 2


@pytest.mark.parametrize("since", [False, True])
def test_rows_of_child_tables_are_searched_however_they_are_written(database: Database, since: bool) -> None:
    family = Family(database)
    contacts, devices = family.contacts.c, family.devices.c
    database.do(
        sa.update(family.contacts).where(contacts.lead == 3, contacts.no == 2).values(mail="C <C3-2@X.cz>, d@x.cz"),
        sa.update(family.contacts)
        .where(contacts.lead == 5, contacts.no == 1)
        .values(phone="601 005 001 / 777 000 111"),
        sa.update(family.devices).where(devices.id == 71).values(cookie="id=d7-1; path=/"),
    )
    held = [hold(email="c3-2@x.cz"), hold(phone="+420777000111"), hold(cookie="d7-1")]
    candidates = database.store.discover(work(families()), NO_HOLDS if since else holding(*held))
    assert candidates.held == (0 if since else 3)
    gate = Gate() if since else Gate(holding(*held))
    if since:
        gate.place(*held)
    database.store.erase(work(families()), candidates, range(candidates.batches), gate)
    family.require(3, 5, 7)


def test_a_clock_range_is_of_the_record(database: Database) -> None:
    family = Family(database)
    before, after = ClockRange(None, date(2024, 6, 1)), ClockRange(date(2024, 6, 1), None)
    holds = (
        hold(clock=before, email=["c5-1@x.cz", "c25-1@x.cz", "c6-1@x.cz"]),
        hold(clock=after, email=["c6-1@x.cz", "c26-1@x.cz"], cookie="d7-1"),
    )
    assert database.store.survey(work(families()), holding(*holds)).held == 3
    candidates = discovered(database)
    assert erased(database, candidates, *holds) == Became(erased=COUNT - 3, held=3, rows_with=(COUNT - 3) * 5)
    family.require(5, 6, 26)


def test_records_and_rows_may_be_held_both(database: Database) -> None:
    family = Family(database)
    rules = holding(hold(email=["p3@x.cz", "c3-1@x.cz", "c3-2@x.cz", "c4-1@x.cz"]))
    assert run_through(database, work(families()), rules).erased == COUNT - 2
    family.require(3, 4)


def test_rows_that_refer_to_nothing_hold_nothing(database: Database) -> None:
    family = Family(database)
    database.do(sa.insert(family.devices).values(id=1, contact_lead=None, contact_no=2, cookie="d"))
    assert database.store.survey(work(families()), holding(hold(cookie="d"))).held == 0


def test_one_child_table_by_two_foreign_keys(database: Database) -> None:
    leads = database.leads([{"id": n, "last_contact": OLD} for n in range(1, 5)])
    deals = database.create(
        "deals",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("buyer", sa.Integer),
        sa.Column("seller", sa.Integer),
        sa.Column("email", sa.Text()),
    )
    database.insert(deals, [{"id": 1, "buyer": 1, "seller": 2, "email": "a@x.cz"}])
    named = {"table": "deals", "references": ["id"], "identifiers": {"email": ["email"]}}
    of = dataset(children=[{**named, "foreign_key": ["buyer"]}, {**named, "foreign_key": ["seller"]}])
    run_through(database, work(of), holding(hold(email="a@x.cz")))
    assert database.ids(leads) == [1, 2]


def test_what_cannot_carry_identifiers_is_refused(database: Database) -> None:
    Family(database)
    of = families([{"table": "contacts", "foreign_key": ["lead"], "identifiers": {"email": ["nix"]}}])
    told = [(one.message, one.field) for one in database.store.check(of) if not one.remark]
    assert told == [("table contacts has no column nix", "children.contacts")]


def test_a_row_that_is_being_changed_is_waited_for(warehouse: Database) -> None:
    """A transaction that has not committed when the batch begins gives a row its held identifier."""
    family = Family(warehouse)
    rules = holding(hold(email="changed@x.cz", cookie="inserted"))
    candidates = warehouse.store.discover(work(families()), rules)
    contacts, devices = family.contacts, family.devices
    with ThreadPoolExecutor(1) as pool:
        with warehouse.engine.begin() as other:
            other.execute(sa.update(contacts).where(contacts.c.lead == 2).values(second_mail="Changed@x.cz"))
            other.execute(sa.insert(devices).values(id=1, contact_lead=1, contact_no=1, cookie="inserted"))
            erasing = pool.submit(
                warehouse.store.erase, work(families()), candidates, range(candidates.batches), Gate(rules)
            )
            while not _waits(warehouse):
                time.sleep(0.01)
        tally = erasing.result(60)
    assert (tally.erased, tally.held) == (COUNT - 2, 2)
    assert warehouse.ids(family.leads) == [1, 2]


def _waits(database: Database) -> bool:
    """Whether a session of Lethe waits for somebody's lock."""
    activity = sa.table("pg_stat_activity", sa.column("wait_event_type"), sa.column("application_name"))
    waiting = sa.select(sa.func.count()).where(
        activity.c.wait_event_type == "Lock", activity.c.application_name == "lethe"
    )
    with database.engine.connect() as connection:
        return bool(connection.scalar(waiting.select_from(activity)))


def test_child_tables_that_seem_to_have_identifiers_are_named(database: Database) -> None:
    Family(database)
    bare: list[dict[str, Any]] = [
        {
            "table": "contacts",
            "foreign_key": ["lead"],
            "children": [
                {"table": "devices", "foreign_key": ["contact_lead", "contact_no"], "references": ["lead", "no"]}
            ],
        }
    ]
    store, kinds = database.store, {IdentifierType.EMAIL, IdentifierType.COOKIE}
    assert store.unsearched(families(bare), kinds) == ("contacts (mail, second_mail)", "devices (cookie)")
    assert store.unsearched(families(bare), {IdentifierType.IMEI}) == ()
    told = {one.field: one.message for one in store.check(families(bare)) if one.remark}
    assert "devices (cookie) looks like cookie: nothing declares" in told["children.contacts.children.devices"]
    assert "children.contacts" in told
    empty = [{**bare[0], "identifiers": {}, "children": [{**bare[0]["children"][0], "identifiers": {}}]}]
    assert store.unsearched(families(empty), kinds) == ()
    assert store.unsearched(families(), kinds) == ()


def test_columns_look_like_identifiers_in_other_languages_too(database: Database) -> None:
    """A hold on an address is not "covered" where a child table has addresses under a name that is not English."""
    addresses = ["pošta", "e_posta", "Mejl2", "mailadresse", "courriel", "EmailAddress", "sähköposti"]
    numbers = ["mobil", "telefonnummer", "Téléphone", "móvil", "handy", "telNo", "číslo_mobilu", "phoneNumber"]
    others = ["poznamka", "post", "postcode", "template", "hotel", "cellar"]
    database.leads()
    database.create(
        "kontakty",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("lead", sa.Integer),
        *(sa.Column(name, sa.Text()) for name in (*addresses, *numbers, *others)),
    )
    of, store = dataset(children=[{"table": "kontakty", "foreign_key": ["lead"]}]), database.store
    assert store.unsearched(of, {IdentifierType.EMAIL}) == (f"kontakty ({', '.join(addresses)})",)
    assert store.unsearched(of, {IdentifierType.PHONE}) == (f"kontakty ({', '.join(numbers)})",)


def test_identifiers_that_are_forgotten_beside_others_are_named(database: Database) -> None:
    Family(database)
    some = [{"table": "contacts", "foreign_key": ["lead"], "identifiers": {"email": ["mail"]}}]
    kinds = {IdentifierType.EMAIL, IdentifierType.PHONE}
    assert database.store.unsearched(families(some), kinds) == ("contacts (second_mail)", "contacts (phone)")
    told = [one.message for one in database.store.check(families(some)) if one.remark]
    assert any("contacts (phone) looks like phone" in message for message in told)
    own = dataset(identifiers={"account": ["code"]})
    assert database.store.unsearched(own, kinds) == ("leads (email)",)
    assert database.store.unsearched(dataset(), kinds) == ()


def test_rows_that_go_along_are_counted_before(database: Database) -> None:
    family = Family(database)
    recent = datetime(2026, 6, 1, tzinfo=UTC)
    database.do(
        sa.update(family.leads).where(family.leads.c.id == 1).values(last_contact=recent),
        sa.delete(family.devices).where(family.devices.c.contact_lead == 2),
        sa.insert(family.devices).values(id=1, contact_lead=None, contact_no=None, cookie="of nobody"),
    )
    rules = holding(hold(cookie="d7-1"), hold(email="p8@x.cz"))
    along = (COUNT - 3) * 5 - 2
    assert database.store.survey(work(families()), rules).rows_along == along
    candidates = database.store.discover(work(families()), rules)
    assert (candidates.due, candidates.rows_along) == (COUNT - 3, along)
    tally = database.store.erase(work(families()), candidates, range(candidates.batches), Gate(rules))
    assert tally.rows_with == along
    assert database.store.survey(work(families()), rules).rows_along == 0
