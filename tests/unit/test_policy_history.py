"""Only what was checked, when the policy changes: what may go that did not is asked about; versions are kept."""

from __future__ import annotations

import copy
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.cli_kit import AS_OF, POLICY, Command
from tests.unit.conftest import policy

from lethe import stages
from lethe.connections import from_environment
from lethe.environment import Environment
from lethe.policy import Policy, changes, load, newly_erasing

TABLE: dict[str, Any] = {
    "name": "rows",
    "clock": {"column": "at"},
    "identifiers": {"email": ["email", "email_2"]},
    "where": [{"column": "kind", "in": ["a"]}],
    "keep_while": [{"column": "paid", "in": ["no"]}],
}


def version(dataset: dict[str, Any] | None = None, **fields: object) -> Policy:
    return policy("things", {**copy.deepcopy(TABLE), **(dataset or {})}, **{"retention": {"keep_for": "P1Y"}, **fields})


WITHIN: dict[str, Any] = {"retention": {"erase_within": "P60D", "lead_time": "P5D"}}
BY_COUNTRY = {"keep_for": "P1Y", "by_value": {"column": "country", "periods": {"DE": "P2Y"}}}
MORE: dict[str, tuple[Policy, Policy]] = {
    "a shorter period": (version(), version(retention={"keep_for": "P11M"})),
    "months that may be shorter than days": (version(), version(retention={"keep_for": "P366D"})),
    "at once": (version(), version(retention={"at_once": True})),
    "a longer lead": (version(**WITHIN), version(retention={"erase_within": "P60D", "lead_time": "P6D"})),
    "from the clock, not the end of the year": (
        version(retention={"keep_for": "P1Y", "counted_from": "end_of_year"}),
        version(),
    ),
    "no calendar any more": (version(calendar="CZ"), version()),
    "within what was for": (version(calendar="CZ"), version(calendar="CZ", **WITHIN)),
    "another time zone": (version(), version(time_zone="Asia/Tokyo")),
    "a country's own period goes": (version(retention=BY_COUNTRY), version()),
    "a shorter one for a country": (version(), version(retention=BY_COUNTRY | {"keep_for": "P9M"})),
    "those that could not be judged": (
        version(retention={"by_value": BY_COUNTRY["by_value"]}),
        version(retention=BY_COUNTRY),
    ),
    "erased, not anonymised": (
        version({"masks": [{"column": "email"}, {"column": "email_2"}]}, disposition="anonymise"),
        version(),
    ),
    "another clock": (version(), version({"clock": {"earliest_of": ["at", "sent"]}})),
    "a condition less": (version(), version({"where": []})),
    "another condition": (version(), version({"where": [{"column": "kind", "in": ["a", "b"]}]})),
    "kept on no longer": (version(), version({"keep_while": []})),
    "an identifier less": (version(), version({"identifiers": {"email": ["email"]}})),
    "another table": (version(), version({"table": "other"})),
    "a child table": (version(), version({"children": [{"table": "notes", "foreign_key": ["id"]}]})),
    "another dataset": (version(), policy("things", TABLE, TABLE | {"name": "more"})),
}
LESS: dict[str, tuple[Policy, Policy]] = {
    "a longer period": (version(), version(retention={"keep_for": "P13M"})),
    "a calendar": (version(), version(calendar="CZ")),
    "from the end of the year": (version(), version(retention={"keep_for": "P1Y", "counted_from": "end_of_year"})),
    "a shorter lead": (version(**WITHIN), version(retention={"erase_within": "P60D", "lead_time": "P1D"})),
    "kept where it went at once": (version(retention={"at_once": True}), version()),
    "longer for a country": (version(), version(retention=BY_COUNTRY)),
    "a condition more": (version(), version({"where": [*TABLE["where"], {"column": "x", "is_null": True}]})),
    "kept on for more": (version(), version({"keep_while": [*TABLE["keep_while"], {"column": "x", "is_null": True}]})),
    "an identifier more": (version(), version({"identifiers": {"email": ["email", "email_2"], "phone": ["phone"]}})),
    "open records are kept": (version(), version({"clock": {"column": "at", "when_missing": "running"}})),
    "a dataset less": (policy("things", TABLE, TABLE | {"name": "more"}), version()),
    "words": (version(), version(title="other", owner="somebody else", limits={"records": 1, "share": 0.1})),
}


@pytest.mark.parametrize("name", MORE)
def test_what_may_erase_more_is_said_to(name: str) -> None:
    old, new = MORE[name]
    assert any(change.erases for change in changes(old, new))
    assert newly_erasing(old, new, new.datasets[-1].name)


@pytest.mark.parametrize("name", LESS)
def test_what_cannot_erase_more_asks_nobody_and_is_said_all_the_same(name: str) -> None:
    old, new = LESS[name]
    assert changes(old, new)
    assert not any(change.erases for change in changes(old, new))


def test_the_same_policy_is_no_change() -> None:
    assert changes(version(), version()) == ()


def test_the_words_of_a_change_name_the_field_and_both_values() -> None:
    texts = [change.text for change in changes(version(), version({"where": []}, retention={"keep_for": "P6M"}))]
    assert texts == ["kept for 1 year → for 6 months", "rows.where: column kind, in a → nothing"]


def test_a_change_of_one_dataset_is_no_reason_for_another() -> None:
    old = policy("things", TABLE, TABLE | {"name": "more"})
    new = policy("things", TABLE, TABLE | {"name": "more", "where": []})
    assert newly_erasing(old, new, "rows") == ()
    assert newly_erasing(old, new, "more")


# --- asking -----------------------------------------------------------------------------------------------------------

EARLIER = "2026-11-19T12:00:00+01:00"


def shorten(lethe: Command) -> None:
    """So that the fifty rows of October 2026 are due, too, which is within no limit's reach of a person's thought."""
    lethe.policy.write_text(POLICY.replace("P18M", "P1M").replace("share: 0.9", "share: 1"))


def date_again(lethe: Command, count: int) -> None:
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        connection.execute(f"UPDATE registrations SET webinar_date = '2020-02-02' WHERE id < {50 + count}")  # noqa: S608
        connection.commit()


def test_the_first_run_after_a_period_was_shortened_asks_a_person_whatever_the_limits(lethe: Command) -> None:
    lethe("run", "webinars", "--as-of", EARLIER)
    assert len(lethe.rows()) == 51
    shorten(lethe)
    lethe("run", "webinars", "--as-of", AS_OF, "--dry-run")  # who looks has not agreed
    for _ in range(2):
        text = " ".join(lethe("run", "webinars", "--as-of", AS_OF, exit_code=1).split())
        assert "a person must approve: registrations: the policy was changed so that more may go, or earlier" in text
        assert "kept for 18 months → for 1 month" in text
        assert len(lethe.rows()) == 51
    assert "cannot approve it" in lethe("run", "webinars", "--as-of", AS_OF, "--approve-as", "eva", exit_code=1)
    lethe("run", "webinars", "--as-of", AS_OF, "--approve-as", "jan")
    assert lethe.rows() == {100}


def test_once_agreed_to_nobody_is_asked_again(lethe: Command) -> None:
    lethe("run", "webinars", "--as-of", EARLIER)
    shorten(lethe)
    lethe("run", "webinars", "--as-of", EARLIER, "--approve-as", "jan")
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        connection.execute("INSERT INTO registrations VALUES (200, '', '', '2026-10-02')")
        connection.commit()
    lethe("run", "webinars", "--as-of", AS_OF)
    assert lethe.rows() == {100}


def test_a_run_with_nothing_due_agrees_to_nothing(lethe: Command) -> None:
    """Else the change would come into force on a quiet day, and nobody would be asked when records go by it."""
    early = ("2026-11-01T12:00:00+01:00", "2026-11-02T12:00:00+01:00")
    lethe("run", "webinars", "--as-of", early[0])
    shorten(lethe)
    lethe("run", "webinars", "--as-of", early[0])
    lethe("run", "webinars", "--as-of", early[1], exit_code=1)
    assert len(lethe.rows()) == 51


def test_a_lengthened_period_asks_nobody(lethe: Command) -> None:
    lethe("run", "webinars", "--as-of", EARLIER)
    date_again(lethe, 10)
    lethe.policy.write_text(POLICY.replace("P18M", "P3Y"))
    lethe("run", "webinars", "--as-of", AS_OF)
    assert len(lethe.rows()) == 41


# --- history and diff -------------------------------------------------------------------------------------------------


def test_every_version_that_ran_is_kept_with_the_day_from_which_it_was_in_force(lethe: Command) -> None:
    lethe("run", "webinars", "--as-of", EARLIER)
    first = load(lethe.policy)
    shorten(lethe)
    lethe("run", "webinars", "--as-of", AS_OF, "--dry-run")
    lethe("run", "webinars", "--as-of", AS_OF, "--approve-as", "jan")
    second = load(lethe.policy)
    with Environment(from_environment) as env:
        versions = env.runs.versions("webinars")
        assert [one.digest for one in versions] == [first.digest, second.digest]
        assert [env.runs.get(one.run).policy for one in versions] == [first, second]
    text = lethe("policy", "history", "webinars")
    for one in (first, second):
        assert one.digest[:12] in text


def test_diff_says_what_changed_and_how_many_records_it_comes_to(lethe: Command) -> None:
    assert "has not run yet" in lethe("policy", "diff", "webinars")
    lethe("run", "webinars", "--as-of", EARLIER)
    assert "nothing changed" in lethe("policy", "diff")
    shorten(lethe)
    text = lethe("policy", "diff", "webinars", "--as-of", AS_OF)
    assert "more may go: kept for 18 months → for 1 month" in text
    assert "nothing more goes: limits: records 60, share 0.9 → records 60, share 1" in text
    assert "registrations: 0 records are due by what was in force, 50 now: 50 more would be erased" in text
    assert len(lethe.rows()) == 51
    assert "due by" not in lethe("policy", "diff", "webinars", "--files-only")


def test_diff_compares_with_what_was_in_force_on_a_day(lethe: Command) -> None:
    lethe("run", "webinars", "--as-of", EARLIER)
    with Environment(from_environment) as env:
        begun = env.runs.versions("webinars")[0].since.date()
        assert stages.in_force(env, "webinars", begun) is not None
    assert "nothing changed since" in lethe("policy", "diff", "--since", begun.isoformat())
    before = begun - timedelta(days=1)
    assert f"has not run by {before}" in lethe("policy", "diff", "--since", before.isoformat())
    lethe("policy", "diff", "--since", "yesterday", exit_code=2)


def test_diff_names_a_dataset_that_cannot_be_counted(lethe: Command) -> None:
    lethe("run", "webinars", "--as-of", EARLIER)
    lethe.policy.write_text(POLICY.replace("table: registrations", "table: elsewhere"))
    text = lethe("policy", "diff", exit_code=1)
    assert "more may go: registrations.table: registrations → elsewhere" in text
    assert "registrations: cannot be counted: " in text
