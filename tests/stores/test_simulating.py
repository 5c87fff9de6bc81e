"""What is simulated is what so many runs erase, by every kind of clock: on SQLite, over 400 days."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.stores import sql_kit
from tests.stores.sql_kit import Database, Gate, hold, holding
from tests.stores.test_sql_events import in_force

from lethe.errors import StoreError
from lethe.holds.rules import NO_HOLDS, ClockRange, HoldRules
from lethe.policy import Policy
from lethe.retention_events.rules import Reference
from lethe.stages import work
from lethe.stages.simulate import run_moments
from lethe.stores.base import Going, simulate
from lethe.stores.sql import simulating

NOW = datetime(2026, 3, 10, 11, 30, tzinfo=UTC)
UNTIL = date(2027, 4, 14)
"""400 days on, with both changes of the clocks, a leap of the year and the public holidays of more than one."""
PEOPLE = 20
VISITS = {"table": "visits", "foreign_key": ["person_id"], "references": ["id"]}
DATASET = {
    "kind": "table",
    "name": "people",
    "store": "warehouse",
    "table": "people",
    "key": ["id"],
    "identifiers": {"email": ["email"]},
    "children": [{**VISITS, "identifiers": {"email": ["address"]}}],
}
MANY = {**VISITS, "many": True, "when_missing": "empty"}
FIRM = {"table": "firms", "foreign_key": ["firm_id"], "references": ["id"]}
KEPT: dict[str, Any] = {"keep_for": "P6M"}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a day": ({"retention": KEPT}, {"clock": {"column": "ended"}}),
    "a moment, at once": ({"retention": {"at_once": True}, "schedule": "30 1 * * 0,3"}, {"clock": {"column": "seen"}}),
    "within, before its end": (
        {"retention": {"erase_within": "P1Y", "lead_time": "P7D"}, "calendar": "CZ"},
        {"clock": {"column": "seen"}},
    ),
    "the end of its year": ({"retention": {**KEPT, "counted_from": "end_of_year"}}, {"clock": {"column": "ended"}}),
    "a period a country, to working days": (
        {
            "retention": {"keep_for": "P90D", "by_value": {"column": "country", "periods": {"CZ": "P1Y", "AT": "P8M"}}},
            "calendar": "CZ",
        },
        {"clock": {"column": "seen"}},
    ),
    "only some countries": (
        {"retention": {"by_value": {"column": "country", "periods": {"CZ": "P1Y", "AT": "P30D"}}}},
        {"clock": {"column": "ended"}},
    ),
    "a text of elsewhere, twice a week": (
        {"retention": KEPT, "schedule": "0 3 * * 1,4"},
        {"clock": {"column": "wall", "format": "iso8601", "time_zone": "America/New_York"}},
    ),
    "the earliest of several": ({"retention": KEPT}, {"clock": {"earliest_of": ["seen", "ended"]}}),
    "the latest of several": ({"retention": KEPT}, {"clock": {"latest_of": ["seen", "ended"]}}),
    "the latest of many rows": (
        {"retention": KEPT},
        {"clock": {"latest_of": ["seen", "visits.at"]}, "related": {"visits": MANY}},
    ),
    "another table": ({"retention": KEPT}, {"clock": {"column": "firms.closed"}, "related": {"firms": FIRM}}),
    "an event": (
        {"retention": KEPT},
        {"clock": {"event": "contract_closed", "refers_to": ["number"], "when_missing": "running"}},
    ),
    "what conditions keep": (
        {"retention": KEPT},
        {
            "clock": {"column": "ended"},
            "where": [{"column": "seen", "after": date(2025, 6, 1)}],
            "keep_while": [{"column": "country", "in": ["AT"]}],
        },
    ),
}


def a_policy(of: Mapping[str, Any], dataset: Mapping[str, Any]) -> Policy:
    """A policy of the table."""
    said = {
        "category": "people", "title": "People", "owner": "o", "legal_basis": "b", "source": "s",
        "time_zone": "Europe/Prague", "schedule": "15 2 * * *", "limits": {"records": 9, "share": 1.0},
    }  # fmt: skip
    return Policy.model_validate({**said, **of, "datasets": [{**DATASET, **dataset}]})


@pytest.fixture
def people(tmp_path: Path) -> Iterator[Database]:
    """People, their visits and their firms, with clocks from two years before to a year after; some without."""
    with sql_kit.sqlite(tmp_path) as database:
        metadata = sa.MetaData()
        firms = sa.Table(
            "firms",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("closed", sa.Date),
        )
        table = sa.Table(
            "people",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("number", sa.Text),
            sa.Column("email", sa.Text),
            sa.Column("country", sa.Text),
            sa.Column("ended", sa.Date),
            sa.Column("seen", database.moment),
            sa.Column("wall", sa.Text),
            sa.Column("firm_id", sa.ForeignKey(firms.c.id)),
        )
        visits = sa.Table(
            "visits",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("person_id", sa.ForeignKey(table.c.id), index=True),
            sa.Column("at", database.moment),
            sa.Column("address", sa.Text),
        )
        metadata.create_all(database.engine)
        chance = random.Random(137)

        def moment() -> datetime:
            return NOW + timedelta(minutes=chance.randint(-730 * 1440, 365 * 1440))

        database.insert(firms, [{"id": n, "closed": moment().date()} for n in range(12)])
        rows = [
            {
                "id": n,
                "number": f"N{n}",
                "email": f"p{n}@x.org",
                "country": chance.choice(["CZ", "AT", "DE", None]),
                "ended": moment().date() if n % 9 else None,
                "seen": moment() if n % 17 else None,
                "wall": moment().replace(tzinfo=None).isoformat() if n % 11 else "soon",
                "firm_id": n % 12,
            }
            for n in range(PEOPLE)
        ]
        database.insert(table, rows)
        database.insert(
            visits,
            [{"id": n, "person_id": n % 15, "at": moment(), "address": f"v{n % 40}@x.org"} for n in range(2 * PEOPLE)],
        )
        yield database


def held() -> HoldRules:
    """Two people at any clock, one of them by a visit, and another at some clocks only; and events of every other."""
    some = hold(ClockRange(first=date(2025, 9, 1), last=date(2026, 4, 1)), email=["p5@x.org", "p6@x.org"])
    days: dict[str | Reference, date] = {
        f"N{n}": NOW.date() + timedelta(days=40 * n - 500) for n in range(0, PEOPLE, 2)
    }
    return replace(holding(hold(email="p3@x.org"), hold(email="v7@x.org"), some), events=in_force(days))


def erased(database: Database, policy: Policy, moment: datetime, rules: HoldRules) -> Going:
    """A run, to its end."""
    job, store = work(policy, f"run-{moment:%Y-%m-%d}", moment, "people"), database.store
    candidates = store.discover(job, rules)
    done = store.erase(job, candidates, range(candidates.batches), Gate(rules))
    return Going(records=done.erased, rows_along=done.rows_with)


@pytest.mark.parametrize("case", CASES)
def test_what_is_simulated_is_what_each_run_erases(
    case: str, people: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none is said to erase anything, the last of these runs is looked at: none of them has anything, then."""
    monkeypatch.setattr(simulating, "_MOST_CUTOFFS", 150)
    policy, rules = a_policy(*CASES[case]), held()
    moments = list(run_moments(policy, NOW, UNTIL))
    job = work(policy, "simulation", NOW, "people")
    simulated = simulate(people.store, job, rules, [policy.expiry(moment) for moment in moments])
    goes = [n for n, one in enumerate(simulated) if one != Going()]
    assert len(goes) > 1, "all of it on a day would say nothing"
    for last, n in zip([-1, *goes], [*goes, len(moments)], strict=True):
        if n > last + 1:
            assert not people.store.survey(work(policy, "survey", moments[n - 1], "people"), rules).due
        if n < len(moments):
            assert simulated[n] == erased(people, policy, moments[n], rules)


def test_runs_are_simulated_when_the_schedule_says_to_the_end_of_the_last_day() -> None:
    policy = a_policy(CASES["a day"][0] | {"schedule": "0 */6 * * *"}, CASES["a day"][1])
    moments = list(run_moments(policy, NOW, NOW.date() + timedelta(days=1)))
    assert [f"{one:%d %H:%M}" for one in moments] == ["10 18:00", "11 00:00", "11 06:00", "11 12:00", "11 18:00"]


def test_rows_in_files_are_not_guessed() -> None:
    policy = a_policy(*CASES["a day"])
    files: Any = object()
    with pytest.raises(StoreError, match=r"people: rows in files cannot be simulated: .* `lethe survey` counts"):
        simulate(files, work(policy, "simulation", NOW, "people"), NO_HOLDS, [policy.expiry(NOW)])
