"""Requests of data subjects: due as the law counts, kept without a name, ended for good; a restriction is a hold."""

from __future__ import annotations

import calendar
import json
import re
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cli_kit import AS_OF, TOKEN, Command
from tests.unit.conftest import KEYS, Office

from lethe import stages
from lethe.answering import local_day, record_request
from lethe.connections import from_environment
from lethe.environment import Environment
from lethe.errors import EvidenceError, StoreError, SubjectRequestError
from lethe.evidence.ledger import Ledger
from lethe.evidence.rotation import replace_master_secret
from lethe.governance import schema
from lethe.holds.registry import require_own_secret
from lethe.judging.identifiers import IdentifierType
from lethe.keys import Keys
from lethe.policy import RequestKind
from lethe.stores import REGISTRY
from lethe.stores.abilities import Abilities
from lethe.stores.sql import SqlStore
from lethe.subjects.registry import MOST, SubjectRegistry, normalised
from lethe.subjects.rules import due_on

EMAIL, PHONE = IdentifierType.EMAIL, IdentifierType.PHONE
ANN = {EMAIL: [f"{TOKEN}1@example.com"], PHONE: ["+420777120001"]}
DAY = date(2026, 1, 31)
WITHIN = date(2026, 2, 10)


def registry(office: Office, keys: Keys = KEYS) -> SubjectRegistry:
    return SubjectRegistry(office.governance, keys, Ledger(office.governance).append)


def recorded(office: Office, kind: RequestKind = RequestKind.ERASURE) -> str:
    return registry(office).record(kind, ANN, DAY, reference="DSR-1", by=" Eva ").id


def entries(office: Office) -> list[tuple[str, Mapping[str, object]]]:
    with office.governance.read() as connection:
        rows = connection.execute(sa.select(schema.ledger).order_by(schema.ledger.c.seq)).all()
    return [(row.kind, json.loads(row.body)) for row in rows]


# --- until when ---------------------------------------------------------------------------------------------------


@given(st.dates(date(1950, 1, 1), date(2999, 12, 31)), st.booleans())
def test_a_request_is_due_on_the_same_day_of_a_later_month_or_on_that_months_last(
    received: date, extended: bool
) -> None:
    """Found by walking from day to day: Article 12(3) GDPR, as Article 3(2)(c) of Regulation 1182/71 counts."""
    day, months = received, 0
    while months < (3 if extended else 1):
        day += timedelta(days=1)
        months += day.day == 1
    expected = day.replace(day=min(received.day, calendar.monthrange(day.year, day.month)[1]))
    assert due_on(RequestKind.ACCESS, received, extended=extended) == expected
    assert due_on(RequestKind.MINOR, received) == received, "at once"


def test_due_is_counted_also_where_the_month_is_shorter() -> None:
    assert due_on(RequestKind.ERASURE, date(2024, 1, 31)) == date(2024, 2, 29)
    assert due_on(RequestKind.ERASURE, date(2025, 11, 30), extended=True) == date(2026, 2, 28)


# --- what becomes of one ------------------------------------------------------------------------------------------


def test_a_request_is_open_until_its_last_day_is_over(office: Office) -> None:
    """Promise 3."""
    one = registry(office).get(recorded(office))
    assert (one.kind, one.received, one.due) == (RequestKind.ERASURE, DAY, date(2026, 2, 28))
    assert (one.recorded_by, one.identifier_counts) == ("Eva", {EMAIL: 1, PHONE: 1})
    assert [one.state(date(2026, 2, day)) for day in (1, 28)] == ["open", "open"]
    assert one.state(date(2026, 3, 1)) == "overdue"
    assert one.waits_for_confirmation
    assert registry(office).identifiers_of(one.id) == ANN


def test_what_is_due_first_comes_first_and_what_has_ended_does_not(office: Office) -> None:
    requests = registry(office)
    late, early = (
        requests.record(RequestKind.ACCESS, ANN, day, reference="DSR", by="Eva").id for day in (DAY, date(2026, 1, 2))
    )
    assert [one.id for one in requests.requests()] == [early, late]
    requests.answer(early, "told what there is", by="Jan")
    assert [one.id for one in requests.requests()] == [late]
    assert [one.state(DAY) for one in requests.requests(ended=True)] == ["answered", "open"]


def test_a_second_person_confirms_who_names_the_person_anew(office: Office) -> None:
    """No conflict of interest, and a slip of the first person's shows."""
    requests, one = registry(office), recorded(office)
    with pytest.raises(SubjectRequestError, match="who recorded it cannot confirm it"):
        requests.confirm(one, ANN, by="EVA@example.org")
    for slip in ({**ANN, EMAIL: [f"{TOKEN}2@example.com"]}, {EMAIL: ANN[EMAIL]}, {}):
        with pytest.raises(SubjectRequestError, match="is on record with other identifiers"):
            requests.confirm(one, slip, by="Jan")
    confirmed = requests.confirm(one, ANN, by="Jan")
    assert (confirmed.confirmed_by, confirmed.waits_for_confirmation) == ("Jan", False)
    with pytest.raises(SubjectRequestError, match="was confirmed already"):
        requests.confirm(one, ANN, by="Petr")
    with pytest.raises(SubjectRequestError, match="one of access, by which nothing goes"):
        requests.confirm(recorded(office, RequestKind.ACCESS), ANN, by="Jan")


def test_time_is_extended_once_with_a_reason_and_within_the_first_month(office: Office) -> None:
    requests, one = registry(office), recorded(office)
    with pytest.raises(SubjectRequestError, match=r"was due on 2026-02-28.*answer it now"):
        requests.extend(one, "many records", by="Eva", today=date(2026, 3, 1))
    assert requests.extend(one, "many records", by="Eva", today=WITHIN).due == date(2026, 4, 30)
    with pytest.raises(SubjectRequestError, match="was extended already: answer it by 2026-04-30"):
        requests.extend(one, "more", by="Eva", today=WITHIN)
    with pytest.raises(SubjectRequestError, match="is to be done at once"):
        requests.extend(recorded(office, RequestKind.MINOR), "more", by="Eva", today=WITHIN)


def test_what_has_ended_stays_so(office: Office) -> None:
    requests = registry(office)
    answered, cancelled = recorded(office), recorded(office)
    requests.answer(answered, "all erased", by="Eva")
    assert requests.cancel(cancelled, "sent twice", by="Eva").state(DAY) == "cancelled, not yet binding"
    assert requests.mark_cancellation_binding(cancelled).state(DAY) == "cancelled"
    for one in (answered, cancelled):
        changes: list[Callable[[], object]] = [
            partial(requests.answer, one, "again", by="Eva"),
            partial(requests.cancel, one, "again", by="Eva"),
            partial(requests.confirm, one, ANN, by="Jan"),
            partial(requests.extend, one, "again", by="Eva", today=DAY),
        ]
        for change in changes:
            with pytest.raises(SubjectRequestError, match="already"):
                change()
    with pytest.raises(SubjectRequestError, match="there is no request request-1"):
        requests.answer("request-1", "all erased", by="Eva")


def test_every_change_is_in_the_ledger_without_a_name(office: Office) -> None:
    """Promises 5 and 6: also not in the database, but encrypted."""
    requests, one, other = registry(office), recorded(office), recorded(office, RequestKind.ACCESS)
    requests.extend(one, "many records", by="Eva", today=WITHIN)
    requests.confirm(one, ANN, by="Jan")
    requests.cancel(one, "sent twice", by="Eva")
    requests.mark_cancellation_binding(one)
    requests.mark_cancellation_binding(one)
    requests.answer(other, "told", by="Jan")
    steps = ["recorded", "recorded", "extended", "confirmed", "cancelled", "cancellation_binds", "answered"]
    said = entries(office)
    assert [kind for kind, _ in said] == [f"request.{step}" for step in steps]
    assert said[0][1]["due"] == "2026-02-28" and said[2][1]["due"] == "2026-04-30"
    assert TOKEN not in str(said) and "777120001" not in str(said)
    with office.governance.read() as connection:
        assert TOKEN not in str(connection.execute(sa.select(schema.subject_request)).all())


def test_identifiers_open_under_their_secret_alone_and_under_the_one_in_its_place(
    office: Office, tmp_path: Path
) -> None:
    keys = KEYS.with_new_signing_key()
    require_own_secret(office.governance, keys)
    requests = registry(office, keys)
    one = requests.record(RequestKind.ACCESS, ANN, DAY, reference="DSR-1", by="Eva").id
    new = replace_master_secret(office.governance, keys, tmp_path / "new.json")
    assert registry(office, new).identifiers_of(one) == ANN
    with pytest.raises(EvidenceError):
        requests.identifiers_of(one)
    with pytest.raises(EvidenceError, match="master secret"):
        requests.record(RequestKind.ACCESS, ANN, DAY, reference="DSR-2", by="Eva")


def test_what_is_no_request_is_refused_and_its_identifiers_are_not_repeated(office: Office) -> None:
    requests = registry(office)
    many = {EMAIL: [f"{TOKEN}{n}@example.com" for n in range(MOST + 1)]}
    for named, reference, by, message in (
        ({}, "DSR-1", "Eva", "with 1 to 200 identifiers, not 0"),
        (many, "DSR-1", "Eva", "with 1 to 200 identifiers, not 201"),
        (ANN, " ", "Eva", "needs a reference of its file"),
        (ANN, "DSR-1", "-", "say who you are with --by"),
    ):
        with pytest.raises(SubjectRequestError, match=message) as caught:
            requests.record(RequestKind.ERASURE, named, DAY, reference=reference, by=by)
        assert TOKEN not in str(caught.value)
    assert entries(office) == []
    with pytest.raises(SubjectRequestError, match="email number 2: ") as caught:
        normalised({EMAIL: [ANN[EMAIL][0], TOKEN]}, None)
    assert TOKEN not in str(caught.value)
    assert normalised({EMAIL: [f"{TOKEN}1@EXAMPLE.com", *ANN[EMAIL]]}, None) == {EMAIL: ANN[EMAIL]}


# --- the command --------------------------------------------------------------------------------------------------


class _Killed(BaseException):
    """As a process that is killed ends."""


def ask(lethe: Command, kind: str, *arguments: str, received: str = "2026-11-01") -> str:
    text = lethe("subject", "request", kind, "--reference", "DSR-7", "--received", received, *arguments)
    found = re.search(r"request-[0-9a-f]{16}", text)
    assert found
    return found[0]


def test_a_request_is_recorded_confirmed_extended_and_answered(lethe: Command) -> None:
    whose = ("--email", lethe.email(60), "--phone", "+420777120060")
    one = ask(lethe, "erasure", *whose)
    assert "is confirmed by jan" in lethe("subject", "confirm", one, *whose, "--by", "jan")
    received = datetime.now(UTC).date().isoformat()
    later = ask(lethe, "access", "--email", lethe.email(60), received=received)
    due = due_on(RequestKind.ACCESS, date.fromisoformat(received), extended=True)
    assert f"by {due}" in lethe("subject", "extend", later, "--reason", "many systems")
    assert re.findall(r"request-[0-9a-f]{16}", lethe("subject", "list")) == [one, later]
    lethe("subject", "answer", one, "--answer", "erased, invoices stay")
    assert one not in lethe("subject", "list") and one in lethe("subject", "list", "--all")
    shown = lethe("subject", "show", one)
    assert "Answered:     by eva" in shown and "erased, invoices stay" in shown and "1 email, 1 phone" in shown
    lethe(
        "subject", "request", "access", "--reference", "x", "--received", "2999-01-01", "--email", "a@b.cz", exit_code=1
    )


def test_identifiers_come_from_standard_input_in_the_order_of_the_options(lethe: Command) -> None:
    given_ = ("--email", "-", "--phone", "-")
    arguments = ("subject", "request", "access", "--reference", "x", "--received", "2026-11-01", *given_)
    text = lethe(*arguments, stdin=f"{lethe.email(3)}\n+420777120003\n")
    with Environment(from_environment) as env:
        (one,) = env.subjects.requests()
        assert one.id in text
        assert env.subjects.identifiers_of(one.id) == {EMAIL: [lethe.email(3)], PHONE: ["+420777120003"]}
    assert "has no line for phone" in lethe(*arguments, stdin=f"{lethe.email(3)}\n", exit_code=2)


def test_a_restriction_is_a_hold_until_somebody_else_releases_it(lethe: Command) -> None:
    """Promise 2: nothing is erased while it lasts, whatever becomes of the request."""
    one = ask(lethe, "restriction", "--email", lethe.email(7))
    lethe("run", "webinars", "--as-of", AS_OF)
    assert lethe.rows() & set(range(50)) == {7}
    lethe("subject", "answer", one, "--answer", "restricted")
    assert "in force" in lethe("subject", "show", one)
    text = lethe("hold", "list")
    assert one in text and "restriction" in text
    other = ask(lethe, "restriction", "--email", lethe.email(60))
    said = lethe("subject", "cancel", other, "--reason", "dispute is over")
    hold = re.search(r"hold-[0-9a-f]{16}", said)
    assert hold and "release proposed" in lethe("subject", "show", other)
    lethe("hold", "release", hold[0], exit_code=1)
    lethe("hold", "release", hold[0], "--by", "jan")
    assert "Restriction:  released" in lethe("subject", "show", other)
    assert lethe("subject", "enforce", other, exit_code=1)


def test_a_restriction_that_would_find_nothing_is_not_recorded(lethe: Command) -> None:
    arguments = ("--reference", "x", "--received", "2026-11-01", "--identifier", "account=A-1")
    assert "would cover nothing" in lethe("subject", "request", "restriction", *arguments, exit_code=1)
    assert "request-" not in lethe("subject", "list", "--all")


def test_a_restriction_whose_recording_was_cut_short_is_placed_by_enforce(
    lethe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_arguments: object) -> None:
        raise _Killed

    with monkeypatch.context() as killed, Environment(from_environment) as env:
        killed.setattr("lethe.answering.place_hold", dies)
        whose = {EMAIL: [lethe.email(7)]}
        with pytest.raises(_Killed):
            record_request(env, RequestKind.RESTRICTION, whose, DAY, reference="DSR-7", by="eva")
        (one,) = env.subjects.requests()
    assert "not in force: `lethe subject enforce" in lethe("subject", "show", one.id)
    assert "is in force since" in lethe("subject", "enforce", one.id)
    lethe("run", "webinars", "--as-of", AS_OF)
    assert 7 in lethe.rows()


# --- what there is of a person ------------------------------------------------------------------------------------

SPONSORS = """
category: sponsors
title: Sponsors
owner: marketing
legal_basis: Contract
source: "§ 5.3"
retention: {keep_for: P3Y}
time_zone: Europe/Prague
schedule: null
limits: {records: 60, share: 0.9}
datasets:
  - {name: companies, kind: table, store: crm, table: sponsors, key: [id],
     clock: {column: ended, when_missing: running}, identifiers: {email: [contact]},
     keep_while: [{column: state, in: [disputed]}]}
  - {name: cards, kind: table, store: crm, table: cards, key: [id], clock: {column: at}, identifiers: {company: [no]}}
  - {name: lost, kind: table, store: nowhere, table: lost, key: [id], clock: {column: at}, identifiers: {email: [e]}}
"""


@pytest.fixture
def sponsors(lethe: Command) -> Command:
    """Besides webinars: sponsors that run on, one that has ended and is disputed, and a store that is not there."""
    (lethe.policy.parent / "sponsors.yaml").write_text(SPONSORS)
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        connection.execute("CREATE TABLE sponsors (id INTEGER PRIMARY KEY, contact TEXT, ended DATE, state TEXT)")
        connection.execute("CREATE TABLE cards (id INTEGER PRIMARY KEY, no TEXT, at DATE)")
        mine = [(1, None, "paid"), (2, "2019-01-01", "disputed"), (3, "2020-05-31", "paid"), (4, "2199-12-31", "paid")]
        rows = [(n, lethe.email(7).upper(), ended, state) for n, ended, state in mine]
        connection.executemany("INSERT INTO sponsors VALUES (?, ?, ?, ?)", [*rows, (5, lethe.email(8), None, "paid")])
        connection.commit()
    return lethe


def test_a_report_says_what_there_is_until_when_and_why_and_what_is_not_known(sponsors: Command) -> None:
    """Article 15 GDPR; nothing is left out silently."""
    one = ask(sponsors, "access", "--email", sponsors.email(7))
    sponsors.place("--email", sponsors.email(7), "--dataset", "webinars.registrations")
    rows = json.loads(sponsors_report(sponsors, one, "--format", "json"))
    found = {f"{row['category']}.{row['dataset']}": row for row in rows}
    companies, webinars = found["sponsors.companies"], found["webinars.registrations"]
    names = ("records", "undated", "expired", "kept_on", "held", "kept_on_by", "first_expires", "last_expires")
    today = local_day_of(sponsors)
    assert [companies[name] for name in names] == [4, 1, 2, 1, 0, "state", today, "2203-01-01"]
    assert [webinars[name] for name in names] == [1, 0, 1, 0, 1, None, today, today]
    assert (companies["kept"], companies["legal_basis"]) == ("for 3 years", "Contract")
    assert found["sponsors.cards"]["records"] is None
    assert found["sponsors.cards"]["problem"] == "it carries company, not email"
    assert "nowhere" in found["sponsors.lost"]["problem"]
    text = sponsors_report(sponsors, one)
    for said in (
        "sponsors.companies (Sponsors): 4 records",
        "1 of them without a date yet",
        "1 of them kept on by the condition on state",
        "until: at the latest 2203-01-01",
        "1 of them held, by a legal hold",
        "NOT KNOWN: sponsors.lost",
        "Not searched: sponsors.cards: it carries company, not email.",
    ):
        assert said in text
    assert "request,category,dataset" in sponsors_report(sponsors, one, "--format", "csv")


def sponsors_report(lethe: Command, request: str, *arguments: str) -> str:
    """The report, which complains of the store that is not there."""
    text = lethe("subject", "report", request, *arguments, exit_code=1)
    before, complaint, _ = text.partition("error: sponsors.lost")
    assert complaint
    return before


def local_day_of(lethe: Command) -> str:
    with Environment(from_environment) as env:
        return local_day(env).isoformat()


# --- records that go on request -----------------------------------------------------------------------------------


@pytest.fixture
def honouring(lethe: Command) -> Command:
    """The policy gives way to erasure and minors, and to no objection."""
    text = lethe.policy.read_text()
    lethe.policy.write_text(text.replace("schedule: null", "schedule: null\non_request: {erase: [erasure, minor]}"))
    return lethe


def confirmed(lethe: Command, kind: str, *whose: str) -> str:
    one = ask(lethe, kind, *whose)
    lethe("subject", "confirm", one, *whose, "--by", "jan")
    return one


def go(lethe: Command, *arguments: str, exit_code: int = 0) -> str:
    return lethe("run", "webinars", "--on-request", "--approve-as", "petr", *arguments, exit_code=exit_code)


def test_what_a_confirmed_request_is_about_goes_early_and_nothing_else(
    honouring: Command,
) -> None:
    """Promises 1 and 4: whatever has expired stays, too, for the runs by periods. One without a date goes."""
    before = honouring.rows()
    for number in (70, 100):
        confirmed(honouring, "erasure", "--email", honouring.email(number))
    ask(honouring, "erasure", "--email", honouring.email(71))  # nobody has confirmed it
    confirmed(honouring, "objection", "--email", honouring.email(72))  # the policy does not give way to it
    dry = go(honouring, "--dry-run")
    assert "Cutoff on request" in dry and honouring.rows() == before
    assert "2 records are to go on request" in honouring("run", "webinars", "--on-request", exit_code=1)
    text = go(honouring)
    assert honouring.rows() == before - {70, 100}
    run = re.search(r"webinars-[0-9a-z-]+", text)
    assert run
    honouring("certificate", "show", run[0], "--html", str(honouring.folder / "page.html"))
    page = (honouring.folder / "page.html").read_text()
    assert "none: records went on request" in page and "no period is counted" in page
    go(honouring)
    assert honouring.rows() == before - {70, 100}


def test_nobody_approves_what_they_recorded(honouring: Command) -> None:
    confirmed(honouring, "minor", "--email", honouring.email(70))
    said = honouring("run", "webinars", "--on-request", "--by", "petr", "--approve-as", "eva", exit_code=1)
    assert "eva recorded request" in said or "eva runs this command" in said
    assert 70 in honouring.rows()


def test_a_record_with_anothers_identifier_beside_stays_and_the_report_says_why(honouring: Command) -> None:
    """Promise 1: what is not surely this person's alone is another's. A hold would find them all."""
    with closing(sqlite3.connect(honouring.warehouse)) as connection:
        changes = [
            (81, honouring.email(80), "+420777990001"),  # another's telephone number
            (82, f"{honouring.email(80)}; bob@example.com", "+420777120080"),  # another's address in one value
            (83, f" {honouring.email(80).upper()} ", "+420 777 120 080"),  # the same, as people write it
            (84, honouring.email(80), ""),  # none at all
        ]
        for number, email, phone in changes:
            connection.execute("UPDATE registrations SET email = ?, phone = ? WHERE id = ?", (email, phone, number))
        connection.commit()
    whose = ("--email", honouring.email(80), "--phone", "+420777120080")
    one = confirmed(honouring, "erasure", *whose)
    report = honouring("subject", "report", one)
    assert "5 records" in report and "3 of them go with the next run on request" in report
    assert "2 stay: a hold covers them" in report
    before = honouring.rows()
    go(honouring)
    assert honouring.rows() == before - {80, 83, 84}


def test_a_hold_on_the_same_person_wins(honouring: Command) -> None:
    """Promise 2."""
    one = confirmed(honouring, "erasure", "--email", honouring.email(70))
    honouring.place("--email", honouring.email(70))
    before = honouring.rows()
    go(honouring)
    assert honouring.rows() == before
    report = honouring("subject", "report", one)
    assert "1 of them held" in report and "1 stay: a hold covers them" in report


def test_nothing_goes_on_request_where_no_policy_or_no_request_says_so(honouring: Command) -> None:
    assert "no confirmed request of erasure, minor is open" in go(honouring, exit_code=1)
    one = confirmed(honouring, "erasure", "--email", honouring.email(70))
    honouring("subject", "cancel", one, "--reason", "sent twice")
    assert "no confirmed request" in go(honouring, exit_code=1)
    confirmed(honouring, "minor", "--email", honouring.email(71))
    honouring.policy.write_text(honouring.policy.read_text().replace("on_request:", "# on_request:"))
    assert "no request lets its records go before their period has ended (legal basis: Consent)" in go(
        honouring, exit_code=1
    )


def test_a_run_on_request_is_no_run_of_the_schedule(honouring: Command) -> None:
    """Promise 3: a category is not on time because of it, and nobody has seen what its periods let go."""
    confirmed(honouring, "erasure", "--email", honouring.email(70))
    go(honouring)
    with Environment(from_environment) as env:
        policy = env.policy("webinars")
        assert env.runs.last_successes({"webinars": ["registrations"]}) == {}
        assert env.runs.seen("webinars", policy.digest, datetime.now(UTC)) == set()
        assert env.runs.last_that_counts(["webinars"]) == {}
        assert len(env.runs.latest(1, category="webinars")) == 1


def test_the_retention_page_says_how_many_are_open_and_overdue(lethe: Command) -> None:
    """Also while a policy cannot be read."""
    from lethe.airflow import pages

    for kind, received in (("access", "2026-01-31"), ("access", "2026-02-01"), ("minor", "2026-02-28")):
        ask(lethe, kind, "--email", lethe.email(60), received=received)
    answered = ask(lethe, "access", "--email", lethe.email(60), received="2026-01-01")
    lethe("subject", "answer", answered, "--answer", "told")
    (lethe.policy.parent / "broken.yaml").write_text("category: broken")
    with Environment(from_environment) as env:
        moments = [
            datetime(2026, 2, 28, 12, tzinfo=UTC),
            datetime(2026, 2, 28, 23, 30, tzinfo=UTC),
        ]  # 1 March in Prague
        seen = [pages.overview(env, lambda _: True, lambda _: {}, at).requests for at in moments]
    assert seen == [{"open": 3}, {"overdue": 2, "open": 1}]


def test_who_asks_to_be_erased_comes_onto_the_suppression_list(honouring: Command) -> None:
    """All that a policy says of erasing is said of erasing on request."""
    text = honouring.policy.read_text()
    honouring.policy.write_text(f"{text}    suppression: {{table: objectors, column: email, from: email}}\n")
    with closing(sqlite3.connect(honouring.warehouse)) as connection:
        connection.execute("CREATE TABLE objectors (email TEXT PRIMARY KEY)")
        connection.commit()
    confirmed(honouring, "erasure", "--email", honouring.email(70))
    go(honouring)
    with closing(sqlite3.connect(honouring.warehouse)) as connection:
        assert connection.execute("SELECT email FROM objectors").fetchall() == [(honouring.email(70),)]
    assert 70 not in honouring.rows()


def test_where_expired_records_are_masked_so_are_those_that_go_on_request(honouring: Command) -> None:
    text = honouring.policy.read_text().replace("schedule: null", "schedule: null\ndisposition: anonymise")
    honouring.policy.write_text(
        f"{text}    masks: [{{column: email, with: 'null'}}, {{column: phone, with: 'null'}}]\n"
    )
    before = honouring.rows()
    confirmed(honouring, "minor", "--email", honouring.email(100))
    go(honouring)
    go(honouring)
    with closing(sqlite3.connect(honouring.warehouse)) as connection:
        masked = connection.execute("SELECT id FROM registrations WHERE email IS NULL").fetchall()
    assert (masked, honouring.rows()) == ([(100,)], before)


class OfBefore(SqlStore):
    """As a store is that was written before records could go on request: it declares nothing of them."""

    @property
    def abilities(self) -> Abilities:
        return replace(super().abilities, declares=frozenset())


def test_a_run_on_request_refuses_a_store_that_does_not_declare_that_it_can(
    honouring: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promises 1 and 10: whatever the store itself would do; also where it says so only once the run has begun."""
    confirmed(honouring, "erasure", "--email", honouring.email(70))
    before = honouring.rows()
    with Environment(from_environment) as env:
        planned = stages.plan(env, "webinars", None, trigger="test", on_request=True)
        candidates = stages.discover(env, planned, "registrations")
        assert candidates.due == 1
        stages.validate(env, planned, "registrations", candidates)
        stages.decide(env, planned, approved=True, by="petr")
    monkeypatch.setitem(REGISTRY, "table", f"{__name__}:{OfBefore.__name__}")
    with Environment(from_environment) as env:
        for act in (
            lambda: stages.discover(env, planned, "registrations"),
            lambda: stages.erase(env, planned, "registrations", range(1)),
            lambda: stages.verify(env, planned, "registrations"),
        ):
            with pytest.raises(StoreError, match="its store does not declare that it can"):
                act()
    assert "no dataset of which records can go on request" in go(honouring, exit_code=1)
    named = go(honouring, "--dataset", "registrations", exit_code=1)
    assert "webinars.registrations: records do not go on request" in named
    assert honouring.rows() == before
