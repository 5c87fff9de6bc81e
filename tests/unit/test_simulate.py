"""What runs to come will erase is said from the command line; what is not known is no zero."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from contextlib import closing
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from tests.unit.cli_kit import POLICY, Command, words

from lethe.periods import Period, cutoff_for

ZONE = ZoneInfo("Europe/Prague")
TODAY = datetime.now(ZONE).date()
SECOND = POLICY[POLICY.index("  - name") :].replace("registrations", "guests")


def in_days(days: int) -> str:
    return (TODAY + timedelta(days=days)).isoformat()


@pytest.fixture
def nightly(lethe: Command) -> Command:
    """Every night: one record has expired of old, one expires in 5 days, one in 20, and one is held."""
    lethe.policy.write_text(POLICY.replace("schedule: null", 'schedule: "15 2 * * *"'))
    at = [cutoff_for(datetime.now(ZONE) + timedelta(days=n), ZONE, Period.parse("P18M")).day for n in (5, 20, 4)]
    days = [date(2020, 1, 15), *(one - timedelta(days=1) for one in at)]
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        connection.execute("DELETE FROM registrations")
        rows = [(n, lethe.email(n), "", day.isoformat()) for n, day in enumerate(days)]
        connection.executemany("INSERT INTO registrations VALUES (?, ?, ?, ?)", rows)
        connection.commit()
    lethe.place("--email", lethe.email(3))
    return lethe


def test_each_run_to_come_is_a_row_with_what_it_erases(nightly: Command) -> None:
    found = json.loads(nightly("simulate", "--until", in_days(40), "--format", "json"))
    erased = {row["day"]: row["records"] for row in found}
    first = min(erased)
    assert len(erased) in (40, 41)
    assert sum(erased.values()) == 3
    assert {day for day, records in erased.items() if records} >= {first, in_days(20)}
    assert datetime.fromisoformat(found[0]["run_at"]).astimezone(ZONE).strftime("%H:%M") == "02:15"
    assert nightly.rows() == {0, 1, 2, 3}, "nothing is touched"
    text = nightly("simulate", "--until", in_days(5), "--category", "webinars")
    assert f"until {in_days(5)}" in text
    assert in_days(20) not in text


def test_what_cannot_be_simulated_is_said_and_no_zero(nightly: Command) -> None:
    nightly.policy.write_text(nightly.policy.read_text() + SECOND)
    path = nightly.folder / "runs.csv"
    said = nightly("simulate", "--until", in_days(3), "--format", "csv", "-o", str(path), exit_code=1)
    assert "no table guests" in said
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert {row["records"] for row in rows if row["dataset"] == "guests"} == {""}
    assert "1" in {row["records"] for row in rows if row["dataset"] == "registrations"}, "one hides no other"
    nightly.policy.write_text(POLICY)
    text = words(nightly("simulate", "--until", in_days(3), exit_code=1))
    assert "webinars: has no schedule, so that nothing goes unless a person starts a run" in text


@pytest.mark.parametrize(("until", "message"), [("2020-01-01", "is over"), ("2999-01-01", "more than ten years ahead")])
def test_a_day_that_nothing_can_be_said_until_is_refused(nightly: Command, until: str, message: str) -> None:
    assert message in nightly("simulate", "--until", until, exit_code=1)
