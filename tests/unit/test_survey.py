"""Never silently late: what is due, overdue and to come is counted and kept, and what is not known is no zero."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from tests.unit.cli_kit import POLICY, Command

from lethe.connections import from_environment
from lethe.environment import Environment
from lethe.holding import count_holds
from lethe.periods import Period, cutoff_for
from lethe.policy import Policy, load
from lethe.stages.standing import overdue_from
from lethe.surveys import KEPT, SAYS_FOR, Survey

ZONE = ZoneInfo("Europe/Prague")
SECOND = POLICY[POLICY.index("  - name") :].replace("registrations", "guests")


def first_kept(days: int) -> date:
    """The first day that is kept so many days from now."""
    return cutoff_for(datetime.now(ZONE) + timedelta(days=days), ZONE, Period.parse("P18M")).day


@pytest.fixture
def dated(lethe: Command) -> Command:
    """Ten records that have expired of old, and one each that will in 1, 5, 20 and 80 days, and one much later."""
    last = timedelta(days=1)
    days = [date(2020, 1, 15)] * 10 + [first_kept(n) - last for n in (0, 1, 5, 20, 80, 200)]
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        connection.execute("DELETE FROM registrations")
        rows = [(n, lethe.email(n), "", day.isoformat()) for n, day in enumerate(days)]
        connection.executemany("INSERT INTO registrations VALUES (?, ?, ?, ?)", [*rows, (99, "", "", None)])
        connection.commit()
    return lethe


def only(text: str) -> dict[str, object]:
    (row,) = json.loads(text)
    assert isinstance(row, dict)
    return row


def test_what_is_due_overdue_and_to_come_is_counted_by_todays_holds_and_kept(dated: Command) -> None:
    dated.place("--email", dated.email(12))
    row = only(dated("survey", "--format", "json"))
    due = {name: value for name, value in row.items() if name.startswith(("due", "overdue", "held"))}
    assert due == {
        "due": 11, "held": 0, "overdue": 10, "overdue_days": (first_kept(0) - date(2020, 1, 15)).days - 1,
        "due_in_1_days": 12, "due_in_7_days": 12, "due_in_30_days": 13, "due_in_90_days": 14,
    }  # fmt: skip
    assert (row["unjudged"], row["oldest"]) == (1, "2020-01-15")
    dated.warehouse.unlink()
    assert only(dated("forecast", "--format", "json")) == row, "no store is asked"
    assert "11" in dated("forecast", "webinars")


def test_what_is_not_known_is_said_and_no_zero(dated: Command) -> None:
    unknown = only(dated("forecast", "--format", "json", "-o", str(dated.folder / "f.json"), exit_code=1) and
                   (dated.folder / "f.json").read_text())  # fmt: skip
    assert (unknown["due"], unknown["overdue"], unknown["due_in_1_days"]) == (None, None, None)
    assert "no survey was taken" in str(unknown["problem"])
    dated.policy.write_text(POLICY + SECOND)
    text = dated("survey", exit_code=1)
    assert "no table guests" in text, "one that cannot be counted hides no other"
    assert "11" in text
    known = {name: one for (_, name), one in surveys().items()}
    assert (known["registrations"].due, known["guests"].due, known["guests"].overdue) == (11, None, None)


def surveys(at: datetime | None = None) -> dict[tuple[str, str], Survey]:
    with Environment(from_environment) as env:
        return env.surveys.newest(at or datetime.now(UTC))


def test_the_newest_survey_says_something_for_a_month_and_is_kept_for_a_year(dated: Command) -> None:
    dated("survey")
    (taken,) = surveys().values()
    with Environment(from_environment) as env:
        for days in (3, 1, 2):
            env.surveys.keep([taken.model_copy(update={"at": taken.at - timedelta(days=days), "overdue": days})])
        assert surveys() == {("webinars", "registrations"): taken}
        assert env.surveys.newest(taken.at, "events") == {}
        assert surveys(taken.at + SAYS_FOR + timedelta(hours=1)) == {}
        env.surveys.keep([taken.model_copy(update={"at": taken.at - KEPT - timedelta(days=1)})])
        env.surveys.keep([])
        with env.governance.read() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM lethe_survey").scalar() == 4


def test_what_each_hold_finds_is_counted_those_that_waited_longest_first(dated: Command) -> None:
    """Never held: a hold that finds nobody is seen, however many others there are."""
    first, lost = dated.place("--email", dated.email(3)), dated.place("--email", "nobody@example.com")
    dated("survey", "--holds")

    def found() -> dict[str, int | None]:
        with Environment(from_environment) as env:
            return {hold: one.records for hold, counted in env.surveys.of_holds().items() for one in counted}

    assert found() == {first: 1, lost: 0}
    later = dated.place("--email", dated.email(4), "--email", dated.email(15))
    with Environment(from_environment) as env:
        assert count_holds(env, timedelta(seconds=-1)) == 0, "none is begun after the time is over"
        assert later not in found()
        assert count_holds(env, timedelta(hours=1)) == 3
    assert found() == {first: 1, lost: 0, later: 2}, "also those that have not expired"
    dated.warehouse.unlink()
    with Environment(from_environment) as env:
        count_holds(env, timedelta(hours=1))
        assert {one.records for one in env.surveys.of_holds()[first]} == {None}
    dated("hold", "propose-release", first, "--by", "counsel")
    dated("hold", "release", first, "--by", "another")
    assert set(found()) == {lost, later}


def test_what_a_run_and_a_day_were_given_to_is_overdue(lethe: Command) -> None:
    by_hand = load(lethe.policy)
    weekly = Policy.model_validate(by_hand.model_dump(by_alias=True) | {"schedule": "0 3 * * 1"})
    monday = datetime(2026, 6, 15, 3, 0, tzinfo=ZONE)
    for now, since in [
        (monday + timedelta(hours=23), monday - timedelta(days=7)),
        (monday + timedelta(hours=25), monday),
        (monday + timedelta(days=6), monday),
    ]:
        assert overdue_from(weekly, now) == since
    assert overdue_from(by_hand, monday) == monday - timedelta(days=1)
