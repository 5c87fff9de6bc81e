"""Refuse first, and no personal data outside the stores: what the command says, and with which exit code it ends."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime

import pytest
from tests.unit.cli_kit import AS_OF, POLICY, TOKEN, Command, cells, digest_of

from lethe import holding, stages
from lethe.connections import from_environment
from lethe.environment import Environment
from lethe.errors import RunError
from lethe.evidence import certificate
from lethe.keys import new_connection
from lethe.stores.base import Store

# --- the command itself --------------------------------------------------------------------------------------


def test_another_master_secret_is_refused_and_answers_nothing(lethe: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promises 2 and 5: it would find no hold and no record, and say that there is none."""
    lethe.place("--email", lethe.email(1))
    monkeypatch.setenv("AIRFLOW_CONN_LETHE_KEYS", new_connection())
    for arguments in (
        ("hold", "find", "email", lethe.email(1)),
        ("hold", "place", "--matter", "M-2", "--reason", "lawsuit", "--email", lethe.email(2)),
        ("prove", "webinars.registrations", "1"),
        ("run", "webinars", "--dry-run", "--as-of", AS_OF),
    ):
        assert "is not the one that the governance database was begun with" in " ".join(
            lethe(*arguments, exit_code=1).split()
        )


def test_one_table_behind_two_connections_is_found_where_it_really_is(
    lethe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 1: its records would go by the shorter of two policies."""
    link = lethe.folder / "archive.db"
    link.symlink_to(lethe.warehouse)
    monkeypatch.setenv("AIRFLOW_CONN_ARCHIVE", json.dumps({"conn_type": "sqlite", "host": str(link)}))
    second = POLICY.replace("category: webinars", "category: archive").replace("store: crm", "store: archive")
    (lethe.policy.parent / "archive.yaml").write_text(second.replace("P18M", "P1M"))
    for arguments in (("policy", "check"), ("run", "webinars", "--dry-run", "--as-of", AS_OF)):
        text = " ".join(lethe(*arguments, exit_code=1).split())
        assert "webinars.yaml datasets.registrations" in text
        assert "archive.yaml datasets.registrations" in text
        assert "have records in common" in text
    parted = {"webinars": "true", "archive": "false"}
    for category, absent in parted.items():
        path = lethe.policy.parent / f"{category}.yaml"
        path.write_text(path.read_text() + f"    where: [{{column: phone, is_null: {absent}}}]\n")
    lethe("policy", "check")


def test_two_parts_of_one_table_may_have_the_same_child_table(lethe: Command) -> None:
    """Each of its rows goes along with one record, unless one of the two reaches them in another way (promise 1)."""
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        connection.executescript(
            "CREATE TABLE notes (id integer PRIMARY KEY, registration integer REFERENCES registrations, "
            "about integer REFERENCES registrations); CREATE INDEX one ON notes (registration); "
            "CREATE INDEX two ON notes (about)"
        )

    def write(category: str, absent: str, column: str) -> None:
        text = POLICY.replace("category: webinars", f"category: {category}")
        text += f"    where: [{{column: phone, is_null: {absent}}}]\n"
        text += f"    children: [{{table: notes, foreign_key: [{column}]}}]\n"
        (lethe.policy.parent / f"{category}.yaml").write_text(text)

    write("webinars", "true", "registration")
    write("archive", "false", "registration")
    lethe("policy", "check")
    write("archive", "false", "about")
    assert "have records in common" in " ".join(lethe("policy", "check", exit_code=1).split())


def test_a_column_that_a_check_is_about_and_that_is_not_there_is_refused_first(lethe: Command) -> None:
    """Promise 10: by `policy check`, and before a run discovers anything."""
    path = lethe.folder / "expectations/webinars/registrations.json"
    path.parent.mkdir()
    check = {
        "type": "expect_column_values_to_not_be_null", "kwargs": {"column": "rolle"}, "severity": "critical",
        "description": "Everybody has a role.", "id": "0b8f6d4e-6d0e-5c39-8a6f-1f6f1c2f7f10",
    }  # fmt: skip
    path.write_text(json.dumps({"name": "webinars.registrations", "expectations": [check]}))
    for arguments in (("policy", "check"), ("run", "webinars", "--dry-run", "--as-of", AS_OF)):
        text = " ".join(lethe(*arguments, exit_code=1).split())
        assert "registrations.json: table registrations has no column rolle: correct it" in text
    check["kwargs"] = {"column": "phone"}
    path.write_text(json.dumps({"name": "webinars.registrations", "expectations": [check]}))
    lethe("policy", "check")
    lethe("run", "webinars", "--dry-run", "--as-of", AS_OF)


def test_the_command_imports_nothing_heavy_for_its_help() -> None:
    code = (
        "import sys, lethe.cli\n"
        "heavy = {'great_expectations', 'boto3', 'pandas', 'polars', 'pyarrow', 'airflow', 'sqlalchemy'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "sys.argv = ['lethe', '--help']\n"
        "lethe.cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("policy", "due", "run", "hold", "report", "ledger", "certificate", "prove", "keys"):
        assert re.search(rf"^\W+{name}\s", done.stdout, re.MULTILINE), name


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing",),
        ("run",),
        ("run", "webinars", "--as-of", "yesterday"),
        ("run", "webinars", "--as-of", "2026-11-20T12:00:00"),
        ("run", "webinars", "--expect", "abc"),
        ("due", "--as-of", "2026-11-20"),
        ("report", "--count", "0"),
        ("hold", "place", "--matter", "M"),
        ("hold", "place", "--matter", "M", "--reason", "r", "--kind", "whim"),
        ("hold", "place", "--matter", "M", "--reason", "r", "--clock-from", "1.1.2026"),
        ("hold", "place", "--matter", "M", "--reason", "r", "--identifier", TOKEN),
        ("hold", "place", "--matter", "M", "--reason", "r", "--identifier", f"passport={TOKEN}"),
        ("hold", "find", "passport", TOKEN),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(lethe: Command, arguments: tuple[str, ...]) -> None:
    lethe(*arguments, exit_code=2)
    assert len(lethe.rows()) == 101


def test_a_defect_is_told_without_what_it_was_told(lethe: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Store:
        raise ZeroDivisionError(f"DETAIL: Key (email)=({TOKEN}@example.com)")

    monkeypatch.setattr("lethe.environment.open_store", broken)
    text = lethe("due", exit_code=1)
    assert "Lethe has a defect: ZeroDivisionError in test_cli.py, line" in text
    traced = lethe("--debug", "due", exit_code=1)
    assert "open_store(" in traced
    assert "Lethe has a defect: ZeroDivisionError" in traced


# --- policy --------------------------------------------------------------------------------------------------


def test_policies_that_are_right_are_said_to_be(lethe: Command) -> None:
    text = lethe("policy", "check")
    assert cells(text, "webinars") == ["webinars", "registrations", "crm", "registrations", "for 18 months", "yes"]
    assert "1 policy is fine." in text
    lethe("policy", "check", "webinars")


def test_every_problem_of_a_policy_is_one_message(lethe: Command) -> None:
    (lethe.policy.parent / "broken.yaml").write_text("category: broken\nretenton: P1M\n")
    lethe.policy.write_text(POLICY.replace("key: [id]", "key: [no]").replace("webinar_date", "held_on"))
    text = lethe("policy", "check", exit_code=1)
    messages = [line for line in text.splitlines() if line.startswith("error: ")]
    assert any(line.startswith("error: broken.yaml: ") and "retenton: unknown field" in line for line in messages)
    assert any("webinars.yaml datasets.registrations.key" in line for line in messages)
    assert any("webinars.yaml datasets.registrations.clock" in line for line in messages)


def test_all_that_is_checked_of_a_category_is_listed(lethe: Command) -> None:
    folder = lethe.folder / "expectations" / "webinars"
    folder.mkdir()
    one = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "email"}, "severity": "warning"}
    rest = {"id": "0b8f6d4e-6d0e-5c39-8a6f-1f6f1c2f7f10", "description": "All [have] an address."}
    suite = {"name": "webinars.registrations", "expectations": [one | rest]}
    (folder / "registrations.json").write_text(json.dumps(suite))
    text = " ".join(lethe("policy", "checks", "webinars").split())
    for words in ("every dataset │ No hold covers a candidate. │ before erasing", "a person decides", "after"):
        assert words in text
    assert "registrations │ All [have] an address. │ before erasing; reported, and stops nothing" in text
    one["kwargs"] = {"column": "email", "mostly_": 1}
    (folder / "registrations.json").write_text(json.dumps(suite | {"expectations": [one | rest]}))
    assert "expectations.0.kwargs: Great Expectations does not take" in lethe("policy", "check", exit_code=1)
    (folder / "registrations.json").write_text("{")
    assert "registrations.json: not a suite: is not JSON" in lethe("policy", "checks", exit_code=1)
    assert "there is no policy of the category weddings" in lethe("policy", "checks", "weddings", exit_code=1)


def test_files_can_be_checked_without_connections(lethe: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_CRM")
    assert "connection crm is not defined" in lethe("policy", "check", exit_code=1)
    assert cells(lethe("policy", "check", "--files-only"), "webinars")[-1] == "not tried"


def test_overlapping_datasets_and_unknown_categories_are_named(lethe: Command) -> None:
    (lethe.policy.parent / "seminars.yaml").write_text(POLICY.replace("category: webinars", "category: seminars"))
    text = lethe("policy", "check", "weddings", exit_code=1)
    assert "seminars.yaml datasets.registrations and webinars.yaml datasets.registrations overlap" in text
    assert "error: there is no policy of the category weddings" in text


def test_missing_secrets_are_named(lethe: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LETHE_KEYS", '{"conn_type": "generic", "password": "too short"}')
    assert "error: connection lethe_keys: password must be 32 bytes in base64" in lethe("policy", "check", exit_code=1)


def test_a_hold_on_what_no_policy_has_any_more_is_named(lethe: Command) -> None:
    hold = lethe.place("--email", lethe.email(1), "--category", "webinars")
    lethe.policy.rename(lethe.policy.with_name("seminars.yaml"))
    seminars = POLICY.replace("category: webinars", "category: seminars")
    lethe.policy.with_name("seminars.yaml").write_text(seminars)
    text = lethe("policy", "check", exit_code=1)
    assert f"error: hold {hold} (M-1) names webinars, which no policy has any more" in text


def test_the_schema_is_printed(lethe: Command) -> None:
    assert '"$schema": "https://json-schema.org/draft/2020-12/schema"' in lethe("policy", "schema")


# --- due, run, report ----------------------------------------------------------------------------------------


def test_due_shows_what_is_overdue(lethe: Command) -> None:
    row = cells(lethe("due", "--as-of", AS_OF), "webinars.registrations")
    assert row[1:7] == ["101", "50", "0", "0", "1 no_clock", "50"]
    assert row[7:] == ["2020-01-15", "1,951 days"]  # free from 16 July 2021 on, in days of the clock
    lethe.place("--email", lethe.email(3))
    row = cells(lethe("due", "webinars", "--as-of", AS_OF), "webinars.registrations")
    assert row[1:7] == ["101", "50", "1", "0", "1 no_clock", "49"]


def test_what_is_not_known_to_be_settled_is_kept_on(lethe: Command) -> None:
    """NULL meets `not_in`: a bill whose state nobody knows keeps its records."""
    lethe.policy.write_text(POLICY + '    keep_while: [{column: phone, not_in: ["+420777120001"]}]\n')
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        connection.execute("UPDATE registrations SET phone = NULL WHERE id = 2")
        connection.commit()
    assert cells(lethe("due", "--as-of", AS_OF), "webinars.registrations")[2:7] == ["50", "0", "49", "1 no_clock", "1"]


def test_due_goes_on_where_one_store_does_not_answer(lethe: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    events = POLICY.replace("category: webinars", "category: events").replace("store: crm", "store: gone")
    (lethe.policy.parent / "events.yaml").write_text(events)
    text = lethe("due", "--as-of", AS_OF, exit_code=1)
    assert "error: events.registrations: connection gone is not defined" in text
    assert cells(text, "webinars.registrations")[2] == "50"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("weddings",), "weddings.yaml: there is no such policy file"),
        (("webinars", "--as-of", "2999-01-01T00:00:00+00:00"), "is in the future; nothing is erased early"),
        (("webinars", "--as-of", "0001-01-01T00:00:00+00:00"), "is before 1900"),
        (("webinars", "--dataset", "guests"), "webinars: no dataset 'guests'; choose from registrations"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_run_that_cannot_be_is_refused_before_anything_is_touched(
    lethe: Command, arguments: tuple[str, ...], message: str
) -> None:
    assert message in lethe("run", *arguments, exit_code=1)
    assert len(lethe.rows()) == 101


def test_a_run_erases_what_has_expired_and_is_not_held(lethe: Command) -> None:
    lethe.place("--email", lethe.email(3).upper())
    text = lethe("run", "webinars", "--as-of", AS_OF)
    expected = {
        "Records": "101",
        "Expired": "50",
        "Held": "1",
        "Due": "49",
        "Erased": "49",
        "Left": "0",
        "Checks": "pass",
    }
    assert {name: cells(text, name)[1] for name in expected} == expected
    assert lethe.rows() == {3} | set(range(50, 101))
    again = lethe("run", "webinars", "--as-of", AS_OF)
    assert cells(again, "Due")[1] == "0"
    assert lethe.rows() == {3} | set(range(50, 101))
    runs = re.findall(r"webinars-20261120t110000-[0-9a-f]{6}", lethe("report"))
    assert len(runs) == 2
    detail = lethe("report", runs[1])
    assert "webinars, succeeded" in detail
    assert "Started by eva (lethe run on " in detail
    assert "registrations: approved by limits" in detail
    assert "there is no run x" in lethe("report", "x", exit_code=1)


def test_a_dry_run_erases_nothing_and_its_digest_binds_the_real_one(lethe: Command) -> None:
    """Only what was checked: with --expect, just that set is erased, or nothing."""
    digest = digest_of(lethe("run", "webinars", "--as-of", AS_OF, "--dry-run"))
    assert len(lethe.rows()) == 101
    assert digest_of(lethe("run", "webinars", "--as-of", AS_OF, "--dry-run")) == digest
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        connection.execute("UPDATE registrations SET webinar_date = '2020-02-02' WHERE id = 60")
        connection.commit()
    text = lethe("run", "webinars", "--as-of", AS_OF, "--expect", digest, exit_code=1)
    assert "not the expected one; nothing is erased" in text
    assert len(lethe.rows()) == 101
    digest = digest_of(lethe("run", "webinars", "--as-of", AS_OF, "--dry-run"))
    lethe("run", "webinars", "--as-of", AS_OF, "--expect", digest)
    assert lethe.rows() == set(range(50, 101)) - {60}


def test_above_the_limits_somebody_else_has_to_approve(lethe: Command) -> None:
    lethe.policy.write_text(POLICY.replace("records: 60", "records: 10"))
    text = lethe("run", "webinars", "--as-of", AS_OF, exit_code=1)
    assert "a person must approve: registrations: 50 records are to go, the limit is 10" in text
    assert "--approve-as NAME" in text
    assert len(lethe.rows()) == 101
    text = lethe("run", "webinars", "--as-of", AS_OF, "--approve-as", "EVA", exit_code=1)
    assert "EVA asked for this run and cannot approve it; ask somebody else" in text
    assert len(lethe.rows()) == 101
    text = lethe("run", "webinars", "--as-of", AS_OF, "--by", "jan", "--approve-as", "eva@example.org", exit_code=1)
    assert "eva@example.org runs this command, on behalf of jan, and cannot approve" in text
    assert len(lethe.rows()) == 101
    lethe("run", "webinars", "--as-of", AS_OF, "--approve-as", "jan")
    assert len(lethe.rows()) == 51


REDACTS = POLICY.replace("retention: {keep_for: P18M}", "retention: {at_once: true}\ndisposition: anonymise").replace(
    "{email: [email], phone: [phone]}",
    "{}\n    masks: [{column: email, with: redact}, {column: phone, with: redact}]",
)


def test_a_person_decides_what_is_redacted_by_its_kinds_however_little_it_is(lethe: Command) -> None:
    """What is recognised may be mistaken. The question and the certificate have counts, and no text."""
    lethe.policy.write_text(REDACTS)
    lethe("policy", "check")
    asked = lethe("run", "webinars", "--as-of", AS_OF, exit_code=1)
    kinds = "(e-mail addresses: 100, telephone numbers: 100)"
    assert f"registrations: personal data in the text of 100 records is to be redacted {kinds}" in asked
    done = lethe("run", "webinars", "--as-of", AS_OF, "--approve-as", "jan")
    assert cells(done, "Anonymised")[1] == "100"
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        texts = connection.execute("SELECT DISTINCT email, phone FROM registrations WHERE id < 100").fetchall()
    assert texts == [("[e-mail]", "[phone]")]
    with Environment(from_environment) as env:
        (run,) = [one for one in env.runs.latest(9) if one.state == "succeeded"]
        document = certificate.issue(env.governance, env.keys, run.id, []).certificate
    (certified,) = document.datasets
    assert certified.found is not None and certified.left is not None
    assert (certified.found.mentions, certified.left.mentions) == ({"email": 100, "phone": 100}, {})
    lethe("run", "webinars", "--as-of", AS_OF)  # nothing is left that anybody would have to decide on
    lethe.policy.write_text(REDACTS.replace("limits: {", "limits: {always_ask: false, "))
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        connection.execute("UPDATE registrations SET email = 'kanarek@example.com' WHERE id = 7")
        connection.commit()
    lethe("run", "webinars", "--as-of", AS_OF)
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        assert connection.execute("SELECT email FROM registrations WHERE id = 7").fetchone() == ("[e-mail]",)


def test_a_policy_that_nobody_has_seen_asks_a_person(lethe: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its limits; and again when the policy has changed."""
    monkeypatch.delenv("LETHE_ASK_UNSEEN")
    text = lethe("run", "webinars", "--as-of", AS_OF, exit_code=1)
    assert "registrations: nobody has seen a dry run of this policy as it is now; 50 records are to go" in text
    assert "`lethe run webinars --dry-run`" in text
    assert len(lethe.rows()) == 101
    lethe("run", "webinars", "--as-of", AS_OF, "--dry-run")
    lethe.policy.write_text(POLICY.replace("records: 60", "records: 70"))
    assert "nobody has seen" in lethe("run", "webinars", "--as-of", AS_OF, exit_code=1)
    lethe("run", "webinars", "--as-of", AS_OF, "--dry-run")
    lethe("run", "webinars", "--as-of", AS_OF)
    assert len(lethe.rows()) == 51


def test_a_person_who_approved_has_seen_the_policy(lethe: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LETHE_ASK_UNSEEN")
    lethe("run", "webinars", "--as-of", AS_OF, "--approve-as", "jan")
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        connection.execute("UPDATE registrations SET webinar_date = '2020-02-02' WHERE id = 60")
        connection.commit()
    lethe("run", "webinars", "--as-of", AS_OF)
    assert 60 not in lethe.rows()


def test_a_reader_that_has_seen_enough_is_no_defect(lethe: Command) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", "from lethe.cli import main; main()", "policy", "schema"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize(("answers", "left"), [("jan\ny\n", 51), ("jan\nn\n", 101), ("eva\ny\n", 101)])
def test_at_a_terminal_somebody_is_asked(
    lethe: Command, monkeypatch: pytest.MonkeyPatch, answers: str, left: int
) -> None:
    lethe.policy.write_text(POLICY.replace("records: 60", "records: 10"))
    monkeypatch.setattr("lethe.cli.runs._at_a_terminal", lambda: True)
    text = lethe("run", "webinars", "--as-of", AS_OF, stdin=answers, exit_code=0 if left == 51 else 1)
    assert "Who decides" in text
    assert "50 records are to go, the limit is 10" in text
    assert len(lethe.rows()) == left


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "webinars", "--as-of", AS_OF),
        ("due",),
        ("hold", "place", "--matter", "M-1", "--reason", "lawsuit", "--category", "webinars"),
        ("report",),
    ],
    ids=lambda arguments: arguments[0],
)
def test_without_the_governance_database_nothing_is_done(
    lethe: Command, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """A registry that somebody else does not know would let held records be erased."""
    monkeypatch.delenv("AIRFLOW_CONN_LETHE_GOVERNANCE")
    text = lethe(*arguments, exit_code=1)
    assert "connection lethe_governance is not defined" in text
    assert "AIRFLOW_CONN_LETHE_GOVERNANCE" in text
    assert "It says which holds are in force; nothing is done without it" in text
    assert len(lethe.rows()) == 101


def test_rows_that_go_along_count_for_the_limits(lethe: Command) -> None:
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        connection.execute("CREATE TABLE visits (registration REFERENCES registrations, at TEXT)")
        connection.executemany("INSERT INTO visits (registration) VALUES (?)", [(n % 50,) for n in range(120)])
        connection.commit()
    children = "    children: [{table: visits, foreign_key: [registration]}]\n"
    policy = re.sub(r"records: *[0-9]+", "records: 169", POLICY) + children
    lethe.policy.write_text(policy)
    text = lethe("due")
    assert "50 (+120)" in text
    text = lethe("run", "webinars", exit_code=1)
    assert "50 records are to go with 120 rows that go along, the limit is 169" in " ".join(text.split())
    assert len(lethe.rows()) == 101
    lethe.policy.write_text(policy.replace("records: 169", "records: 170"))
    assert "50 (+120)" in lethe("run", "webinars")
    assert len(lethe.rows()) == 51


# --- hold ----------------------------------------------------------------------------------------------------


def test_a_hold_is_in_force_when_the_command_returns(lethe: Command) -> None:
    text = lethe("hold", "place", "--matter", "M-1", "--reason", "lawsuit", "--email", lethe.email(1), "--by", "Jan")
    assert re.search(r"Hold hold-[0-9a-f]{16} is in force since", text)
    assert f"It is recorded in sqlite:///{lethe.folder}/home/governance.db." in text
    assert cells(text, "webinars.registrations")[1] == "yes"
    listed = lethe("hold", "list")
    assert "M-1" in listed
    assert "in force" in listed
    assert "1 email" in listed


def test_what_a_hold_does_not_cover_is_shown(lethe: Command) -> None:
    more = POLICY.replace("category: webinars", "category: events").replace("table: registrations", "table: guests")
    (lethe.policy.parent / "events.yaml").write_text(more.replace("email: [email], phone: [phone]", "event: [code]"))
    text = lethe("hold", "place", "--matter", "M", "--reason", "r", "--email", lethe.email(1))
    assert cells(text, "events.registrations")[1] == "no: it carries event, not email"


def test_placing_says_how_many_records_the_hold_finds_today(lethe: Command) -> None:
    place = ("hold", "place", "--matter", "M", "--reason", "r")
    expired_and_recent = lethe(*place, "--email", lethe.email(1), "--phone", "+420777120077")
    assert cells(expired_and_recent, "webinars.registrations")[2].startswith("2, and 1 without")
    nobody = lethe(*place, "--email", "nobody@example.org")
    assert cells(nobody, "webinars.registrations")[2].startswith("0, and 1 without")
    assert "It finds no record in any dataset today" in " ".join(nobody.split())
    assert "finds no record" not in expired_and_recent


def test_a_dataset_that_cannot_be_counted_is_named_and_the_hold_is_in_force(
    lethe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        connection.execute("DROP INDEX by_date")
        connection.execute("ALTER TABLE registrations RENAME COLUMN phone TO mobile")
    text = lethe("hold", "place", "--matter", "M", "--reason", "r", "--email", lethe.email(1))
    assert "is in force since" in text
    assert "not counted:" in text
    assert "finds no record" not in text


def test_a_child_table_that_a_hold_does_not_look_at_is_said(lethe: Command) -> None:
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        connection.execute("CREATE TABLE guests (registration REFERENCES registrations, guest_email TEXT)")
    children = "    children: [{table: guests, foreign_key: [registration]}]\n"
    lethe.policy.write_text(POLICY + children)
    text = lethe("hold", "place", "--matter", "M", "--reason", "r", "--email", lethe.email(1))
    assert "partly: not found in guests (guest_email): nothing declares its identifiers" in " ".join(text.split())
    assert "guests (guest_email) looks like email" in " ".join(lethe("policy", "check").split())
    lethe.policy.write_text(POLICY + children.replace("]}", "], identifiers: {email: [guest_email]}}"))
    text = lethe("hold", "place", "--matter", "M", "--reason", "r", "--email", lethe.email(1))
    assert cells(text, "webinars.registrations")[1] == "yes"


def test_holds_take_identifiers_of_all_kinds_and_files(lethe: Command) -> None:
    file = lethe.folder / "matter.csv"
    file.write_text(f"email,phone\n{lethe.email(1)},777 120 002\n")
    hold = lethe.place(
        "--file", str(file), "--email", lethe.email(3), "--phone", "00420 777 120 004", "--identifier",
        f"email={lethe.email(5)}", "--region", "CZ", "--kind", "restriction",
        "--clock-from", "2020-01-01", "--clock-to", "2020-12-31", "--dataset", "webinars.registrations",
    )  # fmt: skip
    shown = lethe("hold", "show", hold)
    assert "3 email, 2 phone" in shown
    assert "restriction" in shown
    assert "clock 2020-01-01 to 2020-12-31" in shown
    assert cells(lethe("due", "--as-of", AS_OF), "webinars.registrations")[3] == "5"
    assert hold in lethe("hold", "find", "email", lethe.email(5).upper())
    assert hold in lethe("hold", "find", "phone", "-", "--region", "CZ", stdin="777120002\n")
    assert "No binding hold names it." in lethe("hold", "find", "email", lethe.email(6))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the hold names nothing"),
        (("--email", f"{TOKEN} at example"), "email number 1: not an e-mail address"),
        (("--category", "weddings"), "no such category or dataset: weddings"),
        (("--identifier", f"cookie={TOKEN}"), "the hold would cover nothing: webinars.registrations: it carries email"),
        (("--file", "none.csv"), "none.csv: there is no such file"),
        (("--phone", "777120001", "--region", "Czechia"), "'Czechia' is not a country"),
        (("--phone", "112", "--region", "CZ"), "phone number 1: not a telephone number"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_hold_that_is_wrong_is_refused(lethe: Command, arguments: tuple[str, ...], message: str) -> None:
    assert message in lethe("hold", "place", "--matter", "M", "--reason", "r", *arguments, exit_code=1)
    assert "hold-" not in lethe("hold", "list", "--all")


def test_a_file_with_garbage_places_nothing(lethe: Command) -> None:
    file = lethe.folder / "matter.csv"
    file.write_text(f"email\n{lethe.email(1)}\n{TOKEN}\n")
    text = lethe("hold", "place", "--matter", "M", "--reason", "r", "--file", str(file), exit_code=1)
    assert "matter.csv: line 3: not an e-mail address" in text
    assert "hold-" not in lethe("hold", "list", "--all")


def test_a_hold_that_cannot_be_fenced_is_recorded_but_not_acknowledged(
    lethe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches that start later keep to it all the same."""
    with monkeypatch.context() as patch:
        patch.delenv("AIRFLOW_CONN_CRM")
        arguments = ("hold", "place", "--matter", "M", "--reason", "r", "--email", lethe.email(1))
        text = lethe(*arguments, exit_code=1)
        assert "is NOT IN FORCE yet" in text
        assert "connection crm is not defined" in text
        found = re.search(r"hold-[0-9a-f]{16}", text)
        assert found
        hold = found[0]
        assert "not yet in force" in lethe("hold", "list")
        assert "is NOT IN FORCE yet" in lethe("hold", "enforce", hold, exit_code=1)
    assert cells(lethe("due", "--as-of", AS_OF), "webinars.registrations")[3] == "1", "it binds"
    assert f"Hold {hold} is in force since" in lethe("hold", "enforce", hold)
    assert f"Hold {hold} is in force since" in lethe("hold", "enforce", hold)
    assert "there is no hold hold-0" in lethe("hold", "enforce", "hold-0", exit_code=1)


def test_a_hold_waits_for_a_run_whose_dataset_its_policy_has_elsewhere_by_now(
    lethe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Environment(from_environment) as env:
        run = env.runs.start(
            env.policy("webinars"),
            datetime.fromisoformat(AS_OF),
            datasets=["registrations"],
            dry_run=False,
            expected_digest=None,
            trigger="test",
        ).id
        shutil.copy(lethe.warehouse, lethe.folder / "moved.db")
        monkeypatch.setenv("AIRFLOW_CONN_MOVED", f'{{"conn_type": "sqlite", "host": "{lethe.folder / "moved.db"}"}}')
        lethe.policy.write_text(POLICY.replace("store: crm", "store: moved"))
        monkeypatch.setattr(holding, "SETTLE_SECONDS", 0.3)
        arguments = ("hold", "place", "--matter", "M", "--reason", "r", "--email", lethe.email(1))
        with closing(sqlite3.connect(lethe.warehouse)) as batch:
            batch.execute("BEGIN IMMEDIATE")
            text = lethe(*arguments, exit_code=1)
        assert "is NOT IN FORCE yet" in text
        assert "connection crm: a batch that was under way did not end" in text
        found = re.search(r"hold-[0-9a-f]{16}", text)
        assert found
        assert f"Hold {found[0]} is in force since" in lethe("hold", "enforce", found[0])
        env.runs.close(run)
        env.runs.finish(run, env.runs.claim_settling(run) or "", "failed", {})
    with closing(sqlite3.connect(lethe.warehouse)) as other:
        other.execute("BEGIN IMMEDIATE")
        lethe(*arguments)


def test_a_release_takes_two_people(lethe: Command) -> None:
    hold = lethe.place("--email", lethe.email(1))
    assert "nobody has proposed its release" in lethe("hold", "release", hold, exit_code=1)
    assert "stays in force until somebody else than eva" in lethe("hold", "propose-release", hold)
    assert "who proposed its release cannot confirm it" in lethe("hold", "release", hold, exit_code=1)
    assert "release proposed" in lethe("hold", "list")
    text = lethe("hold", "release", hold, "--by", "jan")
    assert "proposed by eva" in text
    assert hold not in lethe("hold", "list")
    assert "released" in lethe("hold", "list", "--all")
    assert cells(lethe("due", "--as-of", AS_OF), "webinars.registrations")[3] == "0"


# --- who decides ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", " ", "—", "limits"])
def test_an_approval_by_nobody_is_none(lethe: Command, name: str) -> None:
    lethe.policy.write_text(POLICY.replace("records: 60", "records: 10"))
    text = lethe("run", "webinars", "--as-of", AS_OF, "--approve-as", name, exit_code=1)
    assert "names nobody; nothing is erased" in text
    assert len(lethe.rows()) == 101


def test_a_name_at_the_command_line_is_recorded_as_claimed(lethe: Command) -> None:
    lethe.policy.write_text(POLICY.replace("records: 60", "records: 10"))
    text = lethe("run", "webinars", "--as-of", AS_OF, "--approve-as", "jan")
    run = text.split("Run ", 1)[1].split(":", 1)[0]
    assert "approved by jan, as eva says at the command line" in " ".join(lethe("report", run).split())


def test_whose_answers_count_is_kept_to_at_the_command_line_too(
    lethe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LETHE_APPROVERS", "Dana,jan")
    lethe.policy.write_text(POLICY.replace("records: 60", "records: 10"))
    text = lethe("run", "webinars", "--as-of", AS_OF, "--approve-as", "pavel", exit_code=1)
    assert "pavel is none of Dana, jan (LETHE_APPROVERS)" in text
    assert len(lethe.rows()) == 101
    lethe("run", "webinars", "--as-of", AS_OF, "--approve-as", "dana")
    assert len(lethe.rows()) == 51


def test_limits_that_are_raised_while_a_run_is_open_approve_nothing(lethe: Command) -> None:
    lethe.policy.write_text(POLICY.replace("records: 60", "records: 10"))
    with Environment(from_environment) as env:
        planned = stages.plan(env, "webinars", datetime.fromisoformat(AS_OF), trigger="test", requested_by="eva")
        stages.validate(env, planned, "registrations", stages.discover(env, planned, "registrations"))
        lethe.policy.write_text(POLICY)
        for answer in ({}, {"by": "jan", "approved": True}):
            with pytest.raises(RunError, match=r"webinars\.yaml was changed since run .* `lethe run webinars`"):
                stages.decide(env, planned, **answer)  # type: ignore[arg-type]
    assert len(lethe.rows()) == 101


def test_a_plan_that_was_changed_between_tasks_erases_nothing(lethe: Command) -> None:
    """Who may edit what tasks of Airflow hand on cannot move the moment of a run, nor have a dry run erase."""
    with Environment(from_environment) as env:
        policy = env.policy("webinars")
        for change in ({"as_of": datetime(2090, 1, 1, tzinfo=UTC)}, {"dry_run": False}, {"cutoff": "2090-01-01"}):
            planned = stages.plan(
                env, "webinars", datetime.fromisoformat(AS_OF), trigger=f"test {change}", dry_run="dry_run" in change
            )
            later = policy.expiry(datetime(2090, 1, 1, tzinfo=UTC)).label
            changed = planned.model_copy(update={**change, **({"cutoff": later} if "as_of" in change else {})})
            for stage in (
                lambda plan: stages.discover(env, plan, "registrations"),
                lambda plan: stages.decide(env, plan),
                lambda plan: stages.erase(env, plan, "registrations", range(1)),
            ):
                with pytest.raises(RunError, match=r"is not what was planned \(.*\); nothing more is erased"):
                    stage(changed)
            with contextlib.suppress(RunError):  # the run has done nothing, and says so
                stages.certify(env, planned)
    assert len(lethe.rows()) == 101


@pytest.mark.parametrize("name", ["", " ", "—"])
def test_a_hold_is_not_released_by_nobody(lethe: Command, name: str) -> None:
    hold = lethe.place("--email", lethe.email(1))
    lethe("hold", "propose-release", hold)
    lethe("hold", "release", hold, "--by", name, exit_code=1)
    assert "release proposed" in lethe("hold", "list")


def test_a_calendar_that_leaves_out_holidays_of_parts_is_a_remark(lethe: Command) -> None:
    for calendar, remark in (("GB", True), ("GB-ENG", False), ("CZ", False)):
        lethe.policy.write_text(POLICY + f"calendar: {calendar}\n")
        said = " ".join(lethe("policy", "check").split())
        assert (
            "Remark: webinars.yaml: calendar: GB has the public holidays of the whole country alone" in said
        ) == remark
    lethe.policy.write_text(POLICY.replace("keep_for: P18M", "erase_within: P60D, lead_time: P5D") + "calendar: GB\n")
    assert "Remark" not in lethe("policy", "check"), "what must be gone within a period is not extended"


# --- what nobody has seen ------------------------------------------------------------------------------------


def test_a_dry_run_of_long_ago_shows_nobody_what_goes_today(lethe: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LETHE_ASK_UNSEEN")
    lethe("run", "webinars", "--as-of", "2021-01-01T12:00:00+01:00", "--dry-run")
    assert "nobody has seen" in lethe("run", "webinars", "--as-of", AS_OF, exit_code=1)
    lethe("run", "webinars", "--as-of", "2021-01-01T12:00:00+01:00", "--approve-as", "jan")
    assert "nobody has seen" in lethe("run", "webinars", "--as-of", AS_OF, exit_code=1)
    assert len(lethe.rows()) == 101
    lethe("run", "webinars", "--as-of", "2026-10-21T12:00:00+02:00", "--dry-run")
    lethe("run", "webinars", "--as-of", AS_OF)
    assert len(lethe.rows()) == 51


def test_what_a_policy_has_erased_once_is_seen_for_good(lethe: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """However seldom it runs."""
    monkeypatch.delenv("LETHE_ASK_UNSEEN")
    lethe("run", "webinars", "--as-of", "2022-01-01T12:00:00+01:00", "--dry-run")
    lethe("run", "webinars", "--as-of", "2022-01-01T12:00:00+01:00")
    assert len(lethe.rows()) == 51
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        connection.execute("UPDATE registrations SET webinar_date = '2020-02-02' WHERE id = 60")
        connection.commit()
    lethe("run", "webinars", "--as-of", AS_OF)
    assert len(lethe.rows()) == 50


def test_a_dry_run_that_failed_has_shown_nothing_and_keeps_nobody_waiting(
    lethe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LETHE_ASK_UNSEEN")
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        connection.execute("UPDATE registrations SET webinar_date = '1066-10-14' WHERE id = 60")
        connection.commit()
    lethe("run", "webinars", "--as-of", AS_OF, "--dry-run", exit_code=1)
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        connection.execute("UPDATE registrations SET webinar_date = '2020-02-02' WHERE id = 60")
        connection.commit()
    assert "nobody has seen" in lethe("run", "webinars", "--as-of", AS_OF, exit_code=1)
    assert len(lethe.rows()) == 101


def test_a_dry_run_of_some_datasets_has_shown_those(lethe: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LETHE_ASK_UNSEEN")
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        connection.execute("CREATE TABLE guests (id INTEGER PRIMARY KEY, email TEXT, phone TEXT, webinar_date DATE)")
        connection.execute("CREATE INDEX guests_by_date ON guests (webinar_date)")
        connection.execute("INSERT INTO guests SELECT * FROM registrations")
        connection.commit()
    guests = POLICY[POLICY.index("  - name") :].replace("registrations", "guests")
    lethe.policy.write_text(POLICY + guests)
    lethe("run", "webinars", "--as-of", AS_OF, "--dry-run", "--dataset", "guests")
    text = lethe("run", "webinars", "--as-of", AS_OF, exit_code=1)
    assert "registrations: nobody has seen" in text
    assert "guests: nobody has seen" not in text
    assert len(lethe.rows()) == 101


# --- proving -------------------------------------------------------------------------------------------------


def test_a_record_is_proven_by_any_spelling_of_its_key_and_what_is_not_known_has_its_own_exit_code(
    lethe: Command,
) -> None:
    lethe("run", "webinars", "--as-of", AS_OF)
    dataset = "webinars.registrations"
    for spelling in ("7", "07", "7.0"):
        assert "The record was erased by run" in lethe("prove", dataset, spelling)
    proof = lethe.folder / "proof.json"
    lethe("prove", dataset, "7.00", "--out", str(proof))
    assert "the named record of webinars.registrations was erased" in " ".join(
        lethe("proof", "verify", str(proof), "007").split()
    )
    lethe("proof", "verify", str(proof), "8", exit_code=1)
    for unknown in ("99", "seven"):
        assert "No run has erased the record: it is not known" in " ".join(
            lethe("prove", dataset, unknown, exit_code=3).split()
        )
    text = " ".join(lethe("prove", dataset, TOKEN, "2", exit_code=1).split())
    assert "the key of webinars.registrations is (id): give a value for each, in that order" in text
    assert "the number of those given is 2" in text
    assert TOKEN not in text


def test_a_key_of_many_columns_that_may_mean_too_much_is_refused_in_words(lethe: Command) -> None:
    proof = lethe.folder / "proof.json"
    proof.write_text("{}")
    text = lethe("proof", "verify", str(proof), *["1.0"] * 12, exit_code=2)
    assert "too many keys" in " ".join(text.replace("│", " ").split())
