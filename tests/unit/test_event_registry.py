"""Events that people record: kept exactly, confirmed by a second person, and withdrawn so that nothing goes by them."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.unit.cli_kit import TOKEN, Command, cells, words
from tests.unit.conftest import KEYS, Office, policy

from lethe.connections import Connection, from_environment
from lethe.counts import Became
from lethe.environment import Environment
from lethe.errors import EventError, EvidenceError, StoreUnavailable
from lethe.evidence.ledger import Ledger
from lethe.evidence.rotation import replace_master_secret
from lethe.governance import Governance, schema
from lethe.holds.registry import require_own_secret
from lethe.keys import Keys
from lethe.policy import Policy
from lethe.recording import withdraw_event
from lethe.retention_events.registry import EventRegistry
from lethe.retention_events.rules import Reference
from lethe.stores.sql import SqlStore

DAY = date(2024, 3, 31)
CLOCK = {"event": "contract_closed", "refers_to": ["supplier_no"], "when_missing": "running"}


def registry(office: Office, keys: Keys = KEYS) -> EventRegistry:
    return EventRegistry(office.governance, keys, Ledger(office.governance).append)


def entries(governance: Governance) -> list[tuple[str, str, Mapping[str, object]]]:
    with governance.read() as connection:
        rows = connection.execute(sa.select(schema.ledger).order_by(schema.ledger.c.seq)).all()
    return [(row.kind, row.subject, json.loads(row.body)) for row in rows]


def in_force(events: EventRegistry, version: int = 10**9, *, two_people: bool = False) -> dict[Reference, date]:
    found = events.in_force("contract_closed", two_people=two_people, version=version)
    return {reference: day for some in found.load() for reference, day in some}


# --- recording ----------------------------------------------------------------------------------------------------


def test_an_event_is_recorded_found_and_in_force(office: Office) -> None:
    events = registry(office)
    event = events.record("contract_closed", [" S-17 "], DAY, by=" Eva ")
    assert (event.name, event.day, event.recorded_by, event.state) == ("contract_closed", DAY, "Eva", "recorded")
    assert events.events() == events.events(name="contract_closed") == events.events(reference=["S-17"]) == [event]
    assert events.events(reference=["s-17"]) == events.events(name="account_closed") == []
    assert events.reference_of(event.id) == ("S-17",)
    assert in_force(events) == {("S-17",): DAY}


def test_what_was_in_force_at_a_version_is_known_for_good(office: Office) -> None:
    """Also while, and after, it changes: who reads some at a time reads what was then."""
    events = registry(office)
    first = events.record("contract_closed", ["S-1"], DAY, by="Eva")
    events.record("account_closed", ["S-1"], DAY, by="Eva")
    events.record("contract_closed", ["CZ", "S-2"], DAY, by="Eva")
    read = events.in_force("contract_closed", two_people=False, version=3)
    events.withdraw(first.id, by="Eva")
    events.record("contract_closed", ["S-1"], date(2025, 1, 1), by="Eva")
    events.confirm("contract_closed", ["S-1"], date(2025, 1, 1), by="Jan")
    assert dict(pair for some in read.load() for pair in some) == {("S-1",): DAY, ("CZ", "S-2"): DAY}
    found = [in_force(events, version) for version in range(6)]
    both = {("S-1",): DAY, ("CZ", "S-2"): DAY}
    assert found == [
        {},
        {("S-1",): DAY},
        {("S-1",): DAY},
        both,
        {("CZ", "S-2"): DAY},
        {**both, ("S-1",): date(2025, 1, 1)},
    ]
    confirmed = [in_force(events, version, two_people=True) for version in (5, 6)]
    assert confirmed == [{}, {("S-1",): date(2025, 1, 1)}]
    changes = [events.in_force("contract_closed", two_people=False, version=v).changed for v in range(8)]
    assert changes == [0, 1, 1, 3, 4, 5, 6, 6], "another event's changes are none of it"


def test_many_events_are_read_some_at_a_time(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lethe.retention_events.registry._AT_A_TIME", 3)
    events = registry(office)
    for number in range(7):
        events.record("contract_closed", [f"S-{number}"], DAY, by="Eva")
    read = events.in_force("contract_closed", two_people=False, version=7)
    assert [len(some) for some in read.load()] == [3, 3, 1]
    assert in_force(events) == {(f"S-{number}",): DAY for number in range(7)}


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ([""], "part 1 of the reference is empty"),
        (["S-1", " "], "part 2 of the reference is empty"),
        (["S\n1"], "part 1 of the reference is empty, or not plain text"),
        (["S\x1f1"], "not plain text"),
        (["S" * 201], "longer than 200 characters"),
        ([], "the event has no reference"),
    ],
)
def test_what_is_no_reference_is_refused_and_not_repeated(office: Office, reference: list[str], message: str) -> None:
    with pytest.raises(EventError, match=message) as caught:
        registry(office).record("contract_closed", reference, DAY, by="Eva")
    assert "S-1" not in str(caught.value)
    assert entries(office.governance) == []


def test_an_event_is_on_record_once(office: Office) -> None:
    """Also where several people record it at one moment; withdrawn, it can be recorded anew."""
    told: list[str] = []

    def record() -> None:
        try:
            registry(office).record("contract_closed", ["S-1"], DAY, by="Eva")
        except EventError as error:
            told.append(str(error))

    threads = [threading.Thread(target=record) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (event,) = registry(office).events()
    assert len(told) == 3
    assert all(f"of 2024-03-31 ({event.id}): to correct it, `lethe event withdraw {event.id}`" in one for one in told)
    registry(office).withdraw(event.id, by="Eva")
    registry(office).record("contract_closed", ["S-1"], date(2024, 4, 1), by="Eva")
    assert in_force(registry(office)) == {("S-1",): date(2024, 4, 1)}
    assert [one.state for one in registry(office).events(withdrawn=True)] == ["withdrawn, not yet binding", "recorded"]


# --- a second person ----------------------------------------------------------------------------------------------


def test_a_second_person_names_the_event_anew(office: Office) -> None:
    events = registry(office)
    event = events.record("contract_closed", ["S-1"], DAY, by="eva@example.org")
    for reference, day, by, message in [
        (["S-2"], DAY, "Jan", "no event contract_closed is on record for it"),
        (["S-1"], date(2014, 3, 31), "Jan", "on record as of 2024-03-31, not of 2014-03-31: one of you is wrong"),
        (["S-1"], DAY, r"CORP\Eva", "who recorded it cannot confirm it; ask somebody else"),
        (["S-1"], DAY, "…", "needs a name of who does this"),
    ]:
        with pytest.raises(EventError, match=message):
            events.confirm("contract_closed", reference, day, by=by)
        assert in_force(events, two_people=True) == {}
    confirmed = events.confirm("contract_closed", [" S-1"], DAY, by="Jan")
    assert (confirmed.id, confirmed.state, confirmed.confirmed_by) == (event.id, "confirmed", "Jan")
    assert in_force(events, two_people=True) == in_force(events) == {("S-1",): DAY}
    with pytest.raises(EventError, match="confirmed already, by Jan"):
        events.confirm("contract_closed", ["S-1"], DAY, by="Petr")


def test_an_event_that_was_withdrawn_is_not_confirmed_and_not_withdrawn_again(office: Office) -> None:
    events = registry(office)
    event = events.record("contract_closed", ["S-1"], DAY, by="Eva")
    events.withdraw(event.id, by="Jan")
    assert in_force(events) == {}
    with pytest.raises(EventError, match="no event contract_closed is on record"):
        events.confirm("contract_closed", ["S-1"], DAY, by="Petr")
    with pytest.raises(EventError, match=f"event {event.id} was withdrawn already"):
        events.withdraw(event.id, by="Eva")
    asks: tuple[Callable[[str], object], ...] = (
        events.get,
        events.reference_of,
        lambda one: events.withdraw(one, by="Eva"),
    )
    for ask in asks:
        with pytest.raises(EventError, match="there is no event event-0; `lethe event list --all` shows all"):
            ask("event-0")


# --- what is kept -------------------------------------------------------------------------------------------------


def test_the_ledger_says_who_did_what_when_but_not_whose_event_it_is(office: Office) -> None:
    events = registry(office)
    event = events.record("contract_closed", [TOKEN], DAY, by="Eva")
    events.confirm("contract_closed", [TOKEN], DAY, by="Jan")
    events.withdraw(event.id, by="Jan")
    events.mark_withdrawal_binding(event.id)
    events.mark_withdrawal_binding(event.id)
    found = entries(office.governance)
    kinds = ["event.recorded", "event.confirmed", "event.withdrawn", "event.withdrawal_binds"]
    assert [kind for kind, _, _ in found] == kinds
    assert {subject for _, subject, _ in found} == {event.id}
    recorded = found[0][2]
    assert (recorded["event"], recorded["day"], recorded["by"]) == ("contract_closed", "2024-03-31", "Eva")
    assert found[1][2] == {"by": "Jan", "recorded_by": "Eva", "version": 2}
    assert found[2][2] == {"event": "contract_closed", "day": "2024-03-31", "by": "Jan", "version": 3}
    assert TOKEN not in str(found)
    assert Ledger(office.governance).verify().holds


def test_an_event_is_in_the_ledger_exactly_if_it_is_on_record(office: Office) -> None:
    def dies(*_: object) -> None:
        raise RuntimeError("killed")

    events = EventRegistry(office.governance, KEYS, dies)
    kept = registry(office).record("contract_closed", ["S-1"], DAY, by="Eva")
    acts: tuple[Callable[[], object], ...] = (
        lambda: events.record("contract_closed", ["S-2"], DAY, by="Eva"),
        lambda: events.confirm("contract_closed", ["S-1"], DAY, by="Jan"),
        lambda: events.withdraw(kept.id, by="Eva"),
    )
    for act in acts:
        with pytest.raises(RuntimeError):
            act()
    assert registry(office).events(withdrawn=True) == [kept]
    assert [kind for kind, _, _ in entries(office.governance)] == ["event.recorded"]


def test_references_are_nowhere_in_clear_and_open_with_their_own_key_and_event_alone(tmp_path: Path) -> None:
    office = Office.at(Connection("lethe_governance", "sqlite", host=str(tmp_path / "governance.db")))
    events = registry(office)
    one, two = (events.record("contract_closed", [f"{TOKEN} {n}"], DAY, by="Eva") for n in range(2))
    files = [path for path in tmp_path.iterdir() if path.stat().st_size]
    assert not any(form in path.read_bytes() for path in files for form in (TOKEN.encode(), TOKEN.encode("utf-16-le")))
    with pytest.raises(EvidenceError, match="master secret does not open"):
        registry(office, Keys(b"x" * 32)).reference_of(one.id)
    table = schema.retention_event
    with office.governance.write() as connection:
        moved = sa.select(table.c.reference).where(table.c.id == one.id).scalar_subquery()
        connection.execute(sa.update(table).where(table.c.id == two.id).values(reference=moved))
    with pytest.raises(EvidenceError, match="or that was changed"):
        in_force(events)
    office.governance.close()


def test_events_are_in_force_under_another_master_secret(office: Office, tmp_path: Path) -> None:
    keys = KEYS.with_new_signing_key()
    require_own_secret(office.governance, keys)
    events = registry(office, keys)
    event = events.record("contract_closed", ["S-1"], DAY, by="Eva")
    new = replace_master_secret(office.governance, keys, tmp_path / "new.json")
    later = registry(office, new)
    assert in_force(later) == {("S-1",): DAY}
    assert later.events(reference=["S-1"]) == [event]
    with pytest.raises(EvidenceError, match="master secret"):
        events.record("contract_closed", ["S-2"], DAY, by="Eva")
    with pytest.raises(EventError, match="on record for it already"):
        later.record("contract_closed", ["S-1"], DAY, by="Eva")


def test_rules_of_a_dataset_have_its_events(office: Office) -> None:
    judged = policy("suppliers", {"name": "contacts", "clock": CLOCK}, {"name": "others"})
    doubly = policy("suppliers", {"name": "contacts", "clock": {**CLOCK, "two_people": True}})
    registry(office).record("contract_closed", ["S-1"], DAY, by="Eva")

    def rules(of: Policy, dataset: str = "contacts") -> object:
        found = office.registry.rules("suppliers", of.dataset(dataset))
        return found.version, None if found.events is None else [list(some) for some in found.events.load()]

    assert rules(judged) == (1, [[(("S-1",), DAY)]])
    assert rules(judged, "others") == (1, None)
    assert rules(doubly) == (1, [[]])
    registry(office).confirm("contract_closed", ["S-1"], DAY, by="Jan")
    assert rules(doubly) == (2, [[(("S-1",), DAY)]])


# --- the command --------------------------------------------------------------------------------------------------


SUPPLIERS = """
category: suppliers
title: Suppliers
owner: purchasing
legal_basis: contract
source: "§ 5.2"
retention: {keep_for: P1Y}
time_zone: Europe/Prague
schedule: null
limits: {records: 60, share: 1}
datasets:
  - name: contacts
    kind: table
    store: crm
    table: contacts
    key: [id]
    clock: {event: contract_closed, refers_to: [supplier_no], when_missing: running}
    identifiers: {email: [email]}
"""


@pytest.fixture
def office_of_suppliers(lethe: Command) -> Command:
    """Ten contacts: five of SUPPLIER-17, five of SUPPLIER-18."""
    (lethe.policy.parent / "suppliers.yaml").write_text(SUPPLIERS)
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        connection.execute("CREATE TABLE contacts (id INTEGER PRIMARY KEY, supplier_no TEXT, email TEXT)")
        rows = [(n, f"SUPPLIER-{17 + n // 5}", lethe.email(n)) for n in range(10)]
        connection.executemany("INSERT INTO contacts VALUES (?, ?, ?)", rows)
        connection.commit()
    return lethe


def left(lethe: Command) -> list[int]:
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        return [number for (number,) in connection.execute("SELECT id FROM contacts ORDER BY id")]


def two_people(lethe: Command) -> None:
    text = SUPPLIERS.replace("when_missing: running", "when_missing: running, two_people: true")
    (lethe.policy.parent / "suppliers.yaml").write_text(text)


def event_of(text: str) -> str:
    return next(word for word in words(text).replace(":", " ").split() if word.startswith("event-"))


def test_an_event_starts_the_period_of_what_refers_to_it(office_of_suppliers: Command) -> None:
    lethe = office_of_suppliers
    lethe("run", "suppliers")
    assert left(lethe) == list(range(10))
    text = lethe("event", "record", "contract_closed", "SUPPLIER-17", "--date", "2020-03-31")
    assert cells(text, "suppliers.contacts") == ["suppliers.contacts", "5", "5", "no"]
    assert "SUPPLIER-17" not in text, "whose event it is is not shown"
    lethe("run", "suppliers")
    assert left(lethe) == [5, 6, 7, 8, 9]
    lethe("ledger", "verify")


def test_an_event_of_lately_lets_nothing_go_yet(office_of_suppliers: Command) -> None:
    lethe = office_of_suppliers
    text = lethe("event", "record", "contract_closed", "SUPPLIER-17", "--date", f"{datetime.now(UTC):%Y-%m-%d}")
    assert cells(text, "suppliers.contacts") == ["suppliers.contacts", "5", "0", "no"]
    lethe("run", "suppliers")
    assert left(lethe) == list(range(10))


def test_where_a_policy_asks_for_two_people_one_starts_nothing(office_of_suppliers: Command) -> None:
    lethe = office_of_suppliers
    two_people(lethe)
    named = ("contract_closed", "SUPPLIER-17", "--date", "2020-03-31")
    text = lethe("event", "record", *named, "--by", "Eva")
    assert "counts once somebody else than Eva runs `lethe event confirm contract_closed`" in words(text)
    lethe("run", "suppliers")
    assert left(lethe) == list(range(10))
    assert "who recorded it cannot confirm it" in words(lethe("event", "confirm", *named, "--by", "eva", exit_code=1))
    assert "confirmed by Jan" in words(lethe("event", "confirm", *named, "--by", "Jan"))
    lethe("run", "suppliers")
    assert left(lethe) == [5, 6, 7, 8, 9]


def test_what_is_withdrawn_lets_nothing_go(office_of_suppliers: Command) -> None:
    lethe = office_of_suppliers
    event = event_of(lethe("event", "record", "contract_closed", "SUPPLIER-17", "--date", "2020-03-31"))
    assert "nothing goes by it any more" in words(lethe("event", "withdraw", event))
    lethe("run", "suppliers")
    assert left(lethe) == list(range(10))
    assert cells(lethe("event", "list", "--all"), event)[3] == "withdrawn"
    assert event not in lethe("event", "list")
    assert event in lethe("event", "find", "SUPPLIER-17")
    assert event in lethe("event", "find", "-", stdin="SUPPLIER-17\n")
    assert "No event is on record" in lethe("event", "find", "SUPPLIER-18")


def test_a_reference_that_nothing_has_is_recorded_and_said(office_of_suppliers: Command) -> None:
    lethe = office_of_suppliers
    text = lethe("event", "record", "contract_closed", "supplier-17", "--date", "2020-03-31")
    assert "No record refers to it today: see that the reference is spelt" in words(text)
    assert event_of(text) in lethe("event", "list", "contract_closed")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("closing", "S-1", "--date", "2020-03-31"), "no policy names an event closing; choose from contract_closed"),
        (("contract_closed", "S-1", "--date", "2999-01-01"), "2999-01-01 is in the future"),
        (("contract_closed", "CZ", "S-1", "--date", "2020-03-31"), "has 1 parts, as refers_to says, not 2"),
        (("contract_closed", " ", "--date", "2020-03-31"), "part 1 of the reference is empty"),
    ],
)
def test_an_event_that_can_be_none_is_refused_and_not_recorded(
    office_of_suppliers: Command, arguments: tuple[str, ...], message: str
) -> None:
    assert message in words(office_of_suppliers("event", "record", *arguments, exit_code=1))
    with Environment(from_environment) as env:
        assert env.events.events(withdrawn=True) == []


def test_a_reference_is_not_needed_as_an_argument(office_of_suppliers: Command) -> None:
    """What is typed as one stays in a shell's history."""
    text = office_of_suppliers("event", "record", "contract_closed", "-", "--date", "2020-03-31", stdin="SUPPLIER-18\n")
    assert cells(text, "suppliers.contacts")[1] == "5"


def test_a_reference_of_several_parts_is_one_line_of_csv(office_of_suppliers: Command) -> None:
    """As spreadsheets write it; and nothing is taken for a reference that is not just one."""
    lethe = office_of_suppliers
    text = SUPPLIERS.replace("refers_to: [supplier_no]", "refers_to: [supplier_no, email]")
    assert text != SUPPLIERS
    (lethe.policy.parent / "suppliers.yaml").write_text(text)
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        connection.execute("""UPDATE contacts SET supplier_no = 'Novák, "a" & syn' WHERE id = 3""")
        connection.commit()
    named = ("contract_closed", "-", "--date", "2020-03-31")
    for number, supplier in {3: '"Novák, ""a"" & syn"', 4: '\ufeff"SUPPLIER-17"'}.items():
        said = lethe("event", "record", *named, stdin=f"{supplier}, {lethe.email(number)}\r\n")
        assert cells(said, "suppliers.contacts")[1] == "1"
    lethe("run", "suppliers")
    assert 3 not in left(lethe)
    assert 4 not in left(lethe)
    for wrong in ("", "\n", 'A"B,"C', '"A,B', "A,B\nC,D\n"):
        assert "not just one line of CSV" in words(lethe("event", "find", "-", stdin=wrong, exit_code=2))


def test_a_day_that_is_none_is_wrong_usage(office_of_suppliers: Command) -> None:
    office_of_suppliers("event", "record", "contract_closed", "S-1", "--date", "31.3.2020", exit_code=2)
    office_of_suppliers("event", "record", "contract_closed", "S-1", exit_code=2)
    office_of_suppliers("event", "record", "contract_closed", "S-1", "--date", "2020-03-31", "--by", "…", exit_code=2)


# --- a withdrawal binds when it is answered -----------------------------------------------------------------------


def test_a_withdrawal_that_cannot_be_fenced_is_recorded_and_not_acknowledged(
    office_of_suppliers: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    lethe = office_of_suppliers
    event = event_of(lethe("event", "record", "contract_closed", "SUPPLIER-17", "--date", "2020-03-31"))

    def silent(*_: object) -> None:
        raise StoreUnavailable("connection crm does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(SqlStore, "settle", silent)
        text = words(lethe("event", "withdraw", event, exit_code=1))
    assert (
        f"running ones could not be waited for (connection crm does not answer). Repeat `lethe event withdraw {event}`"
        in text
    )
    assert cells(lethe("event", "list", "--all"), event)[3] == "withdrawn, not yet binding"
    lethe("run", "suppliers")
    assert left(lethe) == list(range(10)), "what starts from then on keeps to it all the same"
    lethe("event", "withdraw", event)
    assert cells(lethe("event", "list", "--all"), event)[3] == "withdrawn"


def test_an_event_that_is_withdrawn_while_a_run_is_under_way_lets_nothing_go_after_the_answer(
    office_of_suppliers: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between discovery and erasing; the run ends well, as what it kept is not due."""
    lethe = office_of_suppliers
    keep = event_of(lethe("event", "record", "contract_closed", "SUPPLIER-17", "--date", "2020-03-31"))
    lethe("event", "record", "contract_closed", "SUPPLIER-18", "--date", "2020-03-31")
    erase = SqlStore.erase

    def withdrawn_first(store: SqlStore, *arguments: Any) -> Became:  # noqa: ANN401 - as the store is asked
        with Environment(from_environment) as env:
            withdraw_event(env, keep, "eva")
        return erase(store, *arguments)

    monkeypatch.setattr(SqlStore, "erase", withdrawn_first)
    text = lethe("run", "suppliers")
    assert left(lethe) == [0, 1, 2, 3, 4]
    assert cells(text, "Renewed") == ["Renewed", "5"]
