"""Never silently late, and no personal data outside: of a record somebody learns why it is there, and nothing else."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from tests.unit.cli_kit import POLICY, TOKEN, Command, words

from lethe.periods import Period, cutoff_for
from lethe.policy import Policy, load
from lethe.stages import expires_on

RECORD = "webinars.registrations"
ZONE = ZoneInfo("Europe/Prague")


def said(lethe: Command, *key: str, exit_code: int = 0) -> str:
    return words(lethe("explain", RECORD, *key, exit_code=exit_code))


def change(lethe: Command, statement: str) -> None:
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        connection.execute(statement)
        connection.commit()


def test_a_record_is_due_not_expired_or_without_a_date(lethe: Command) -> None:
    assert said(lethe, "1") == (
        "webinars.registrations: due Its period, which began on 15 January 2020, is over. "
        "It is due, and goes with the next run, which a person starts."
    )
    assert "it expires on 2 April 2028" in said(lethe, "60"), "18 months after 1 October 2026 are over"
    assert "cannot be judged (no clock)" in said(lethe, "100")
    lethe.policy.write_text(POLICY.replace("{column: webinar_date}", "{column: webinar_date, when_missing: running}"))
    assert "It has no date yet" in said(lethe, "100")
    lethe.policy.write_text(POLICY.replace("schedule: null", "schedule: '15 2 * * *'"))
    assert "at 02:15 (Europe/Prague)" in said(lethe, "1")


def test_a_held_record_names_the_matter_and_only_it_is_held(lethe: Command) -> None:
    lethe.place("--email", lethe.email(1), "--email", lethe.email(60))
    lethe("hold", "place", "--matter", "M-2", "--reason", "x", "--clock-from", "2020-01-01", "--clock-to", "2020-02-01")
    assert "It is held: 2 holds cover it. Matters: M-1, M-2" in said(lethe, "1")
    assert "It is held: a hold covers it. Matters: M-2" in said(lethe, "2")
    assert "it expires on 2 April 2028. It is held: a hold covers it. Matters: M-1" in said(lethe, "60")
    assert "Matters" not in said(lethe, "61")


def test_conditions_say_what_keeps_a_record_and_what_is_none_of_the_dataset(lethe: Command) -> None:
    lethe.policy.write_text(POLICY + f"    keep_while: [{{column: email, in: [{lethe.email(1)}]}}]\n")
    assert "registrations: kept on" in said(lethe, "1")
    assert "kept on while the condition on email is met" in said(lethe, "1")
    assert "registrations: due" in said(lethe, "2")
    lethe.policy.write_text(POLICY + f"    where: [{{column: email, in: [{lethe.email(1)}]}}]\n")
    assert "registrations: due" in said(lethe, "1")
    assert "registrations: not of this dataset" in said(lethe, "2")


def test_what_is_gone_is_told_by_the_run_that_erased_it_and_what_never_was_has_its_own_exit_code(
    lethe: Command,
) -> None:
    lethe("run", "webinars", "--as-of", "2026-11-20T12:00:00+01:00")
    text = said(lethe, "1")
    assert "registrations: erased There is no such record. Run webinars-" in text
    assert "has erased it: under its signed certificate." in text
    assert "registrations: not there" in said(lethe, "4711", exit_code=3)


@pytest.mark.parametrize(
    ("key", "message"),
    [(("x",), "what is given for id can be no value of that column"), (("1", "2"), "the key of a record is (id)")],
)
def test_a_key_that_can_be_none_is_refused_without_its_value(
    lethe: Command, key: tuple[str, ...], message: str
) -> None:
    assert message in said(lethe, *key, exit_code=1)
    assert TOKEN not in lethe("explain", RECORD, TOKEN, exit_code=1)


def test_unknown_datasets_and_missing_keys_are_said(lethe: Command) -> None:
    assert "no dataset 'guests'" in lethe("explain", "webinars.guests", "1", exit_code=1)
    assert "weddings" in lethe("explain", "weddings.guests", "1", exit_code=1)
    lethe("explain", RECORD, exit_code=2)
    lethe("explain", RECORD, "", exit_code=2)


@pytest.mark.parametrize("category", ["webinars", "events", "leads", "analytics", "logistics", "account_users"])
def test_the_day_on_which_a_record_expires_is_the_first_on_which_a_run_takes_it(root: Path, category: str) -> None:
    """By every rule of the demo's policies, with holidays, year ends and lead times."""
    policy = load(root / "include" / "policies" / f"{category}.yaml")
    at = datetime(2026, 11, 20, 12, tzinfo=UTC)
    for back in (0, 1, 17, 40, 111):
        day = at.date() - timedelta(days=back)
        if _taken(policy, at.date(), day):
            assert expires_on(policy, day, None, at.date()) == at.date()
            continue
        expires = expires_on(policy, day, None, at.date())
        if policy.retention.at_once or policy.expiry(at).default is None:
            continue
        assert expires is not None
        assert _taken(policy, expires, day)
        assert not _taken(policy, expires - timedelta(days=1), day)


def _taken(policy: Policy, on: date, clock: date) -> bool:
    cutoff = policy.expiry(datetime(on.year, on.month, on.day, 2, tzinfo=ZONE)).default
    return cutoff is not None and clock < cutoff.day


def test_a_period_that_ends_after_the_calendar_has_no_day(lethe: Command) -> None:
    lethe.policy.write_text(POLICY.replace("P18M", "P9000Y"))
    assert "when that ends cannot be worked out" in said(lethe, "1")
    assert cutoff_for(datetime.now(UTC), ZONE, Period.parse("P9000Y")).none_expired
