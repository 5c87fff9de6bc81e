"""The demo company is believable, repeatable, and has something of everything that a run can meet."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.connections import Connection
from lethe.judging.identifiers import IdentifierType, normalise, tail
from lethe.policy import Policy, TableDataset, load_all
from lethe_demo.airflow_server import AirflowServer
from lethe_demo.calendar_days import BY_VALUE, RULES, first_kept_day
from lethe_demo.company import Company
from lethe_demo.fates import Fate, Fates
from lethe_demo.records import HELD_PEOPLE, Table

AS_OF = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)  # the night in which Europe's clocks go forward
DATABASES = ("crm", "operations")


@pytest.fixture(scope="module")
def company() -> Company:
    return Company(AS_OF, scale=0.2)


def tables(company: Company) -> list[Table]:
    return [table for database in DATABASES for table in company.tables(database)]


def test_the_same_arguments_make_the_same_company(company: Company) -> None:
    again = Company(AS_OF, scale=0.2)
    assert [table.rows for table in tables(again)] == [table.rows for table in tables(company)]
    assert again.objects == company.objects
    assert all(
        one.as_bytes() == two.as_bytes() for one, two in zip(again.view_files(), company.view_files(), strict=True)
    )


def test_at_full_size_it_has_as_many_records_as_the_demo_promises() -> None:
    company = Company(AS_OF)
    assert (
        sum(
            len(table.rows) for table in (company.registrations, company.invitations, company.enquiries, company.guests)
        )
        >= 200_000
    )
    assert sum(file.table.num_rows for file in company.view_files()) >= 2_000_000
    assert len(company.objects) >= 3_000
    assert sum(1 for scan in company.scans if scan.locked) >= 3


EVERY_FATE = {Fate.KEPT, Fate.ERASED, Fate.HELD, Fate.UNJUDGEABLE}
CANNOT_BE = {"traffic_customers.records": {Fate.UNJUDGEABLE}}
"""Its partitions are by the clock, so that there is no record without one."""


def test_every_dataset_has_records_of_every_fate(company: Company) -> None:
    fates = Fates(company)
    for dataset in fates.datasets:
        assert set(+fates.counts(dataset)) >= EVERY_FATE - CANNOT_BE.get(dataset, set()), dataset


def test_however_small_the_company_its_systems_have_records_of_every_fate() -> None:
    company = Company(AS_OF, scale=0.01)
    fates = Fates(company)
    for system in company.systems:
        for dataset in (dataset for family in system.families for dataset in family.datasets):
            if dataset != "account_users.users":
                assert set(+fates.counts(dataset)) >= EVERY_FATE - CANNOT_BE.get(dataset, set()), dataset


@pytest.mark.parametrize(
    ("dataset", "child", "columns"),
    [
        ("recruitment.candidates", "hiring.referees", ("email", "phone")),
        ("support.tickets", "helpdesk.messages", ("sender",)),
        ("invoices.issued", "billing.payments", ("payer_email",)),
        ("agreements.agreements", "customers.signatories", ("full_name", "email")),
        ("accounts.contacts", "customers.contact_channels", ("value",)),
        ("letters.letters", "visas.companions", ("full_name", "email")),
        ("ux_research.sessions", "research.observers", ("email",)),
    ],
)
def test_records_are_held_by_the_rows_that_go_with_them(
    company: Company, policies: dict[str, Policy], dataset: str, child: str, columns: tuple[str, ...]
) -> None:
    """And the policy says by which of their columns."""
    family = next(family for family in company.families if dataset in family.datasets)
    rows = next(table for table in family.children if table.name == child)
    fates = Fates(company).fates(dataset)
    pairs = zip(rows.parents, rows.about, strict=True)
    through = {index for index, whom in pairs if whom < HELD_PEOPLE <= family.table.about[index]}
    assert Fate.HELD in {fates[index] for index in through}
    category, _, name = dataset.partition(".")
    declared = policies[category].dataset(name)
    assert isinstance(declared, TableDataset)
    found = next(one for one in declared.children if one.table == child)
    assert {column for names in found.identifiers.values() for column in names} == set(columns)


@pytest.fixture(scope="module")
def policies(root: Path) -> dict[str, Policy]:
    return load_all(root / "include" / "policies")


@given(seconds=st.integers(0, 13 * 366 * 24 * 3600))
def test_policies_and_the_oracles_own_calendar_agree(policies: dict[str, Policy], seconds: int) -> None:
    as_of = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    for category, policy in policies.items():
        if policy.retention.at_once:  # which the oracle compares as moments
            continue
        expiry = policy.expiry(as_of)
        days = {value: cutoff.day for value, cutoff in expiry.by_value.items()}
        if expiry.default is not None:
            assert expiry.default.day == first_kept_day(category, as_of), category
        assert (expiry.default is not None) == (category in RULES)
        assert days == {value: first_kept_day(category, as_of, value) for value in BY_VALUE.get(category, {})}, category


def test_each_dataset_has_a_record_on_either_side_of_its_cutoff(company: Company) -> None:
    clocks: dict[str, set[object]] = {
        "webinars": {row[2] for row in company.registrations.rows},
        "events": {row[2] for row in company.invitations.rows},
        "logistics": {row[2] for row in company.guests.rows},
        "leads": {chat.clock for chat in company.chats},
    }
    for category, days in clocks.items():
        boundary = first_kept_day(category, AS_OF)
        edges = {str(boundary), str(boundary - timedelta(days=1))}
        assert edges <= {str(day) for day in days}, category


def test_people_differ_in_every_identifier_also_in_what_databases_compare(company: Company) -> None:
    for kind, values in {
        IdentifierType.EMAIL: [person.email for person in company.people],
        IdentifierType.PHONE: [person.phone for person in company.people],
        IdentifierType.ACCOUNT: [person.account for person in company.people],
        IdentifierType.COOKIE: [person.cookie for person in company.people],
        IdentifierType.IP: [person.ip for person in company.people],
    }.items():
        normal = [normalise(kind, value) for value in values]
        compared = [tail(value) for value in normal] if kind.is_telephone else normal
        assert Counter(compared).most_common(1)[0][1] == 1, kind


def test_people_have_addresses_in_domains_that_can_belong_to_nobody(company: Company) -> None:
    domains = {person.email.partition("@")[2] for person in company.people}
    assert all(
        domain.endswith(".example") or domain in ("example.com", "example.org", "example.net") for domain in domains
    )
    assert all(person.ip.startswith("2001:db8:") for person in company.people)


def test_two_matters_hold_thirty_people_and_an_expired_event(company: Company) -> None:
    lawsuit, investigation = company.matters
    assert len(lawsuit.people) == HELD_PEOPLE
    assert dict(company.events)[str(investigation.event)] < first_kept_day("events", AS_OF)


def test_timestamps_are_in_utc_where_every_moment_exists_once(company: Company) -> None:
    moments = [value for table in tables(company) for row in table.rows for value in row if isinstance(value, datetime)]
    assert len(moments) > 1_000
    assert {moment.tzinfo for moment in moments} == {UTC}


def test_only_what_the_demo_starts_runs(tmp_path: Path) -> None:
    """A scheduled run in the middle of it would be looked at half done, at some hours of the day."""
    metadata = Connection("metadata", "postgres", "127.0.0.1", 5432, "airflow", "user", "secret")
    server = AirflowServer(tmp_path, tmp_path, metadata, {}, tmp_path, tmp_path / "lineage.jsonl")
    assert server.environment["AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE"] == "False"
