"""Never silently late: somebody is told what needs them, once a cause, with nothing of any record in it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from tests.airflow_kit import answering

from lethe.airflow import channels
from lethe.airflow.alerting import run_failed
from lethe.airflow.connections import open_environment
from lethe.alerts import Outbox
from lethe.governance import schema

from .alerts_kit import ON_CALL, Mailbox, Webhook, a_mailbox, a_webhook
from .world import AS_OF, CANARY, World, metadata_text, states

pytestmark = pytest.mark.slow

BASE = "https://airflow.example.org/base"


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with a_mailbox() as mailbox:
        yield mailbox


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with a_webhook() as webhook:
        yield webhook


@pytest.fixture
def told(world: World, mailbox: Mailbox, webhook: Webhook) -> World:
    """A company whose on-call people are told by all three ways."""
    patch = world.monkeypatch
    ways = (mailbox.connect(patch), webhook.connect(patch), webhook.connect_slack(patch))
    patch.setenv("LETHE_ALERTS", ",".join(ways))
    patch.setenv("AIRFLOW__API__BASE_URL", BASE)
    return world


def keep_records(world: World) -> None:
    """Rows of somebody else's refer to two records: they stay, and runs are red."""
    with world.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE marketing.invoices (id integer REFERENCES marketing.registrations)"))
        connection.execute(sa.text("INSERT INTO marketing.invoices VALUES (3), (5)"))


def test_a_run_that_failed_is_told_once_by_every_way(told: World, mailbox: Mailbox, webhook: Webhook) -> None:
    """Several tasks of it failed; it is told what is wrong, where, since when and what to do, and where to look."""
    keep_records(told)
    run = told.run()
    assert run.state == "failed"
    assert list(states(run).values()).count("failed") > 1
    record, _ = told.last_run()

    assert mailbox.subjects == ["[Lethe] webinars: a run failed"]
    assert mailbox.recipients == [ON_CALL]
    text = mailbox.text()
    assert f"webinars, dataset registrations, run {record.id}." in text
    assert f"Since {record.started_at:%Y-%m-%d %H:%M} UTC." in text
    assert "registrations: " in text
    assert "What to do:" in text
    page = f"{BASE}/plugin/retention/base/lethe/dag-runs/webinars/"
    assert page in text
    assert f"{BASE}/lethe/runbook#a-run-failed" in text

    assert sorted(webhook.paths) == ["/alerts", "/services/T0/B0/x"]
    (posted,) = (post for post in webhook.posts if "alert" in post)
    assert (posted["alert"], posted["subject"], posted["datasets"]) == ("failed", "webinars", ["registrations"])
    assert posted["page"].startswith(page)
    assert posted["runbook"].endswith("#a-run-failed")
    (slack,) = (post for post in webhook.posts if "alert" not in post)
    assert slack["text"].startswith("A run failed: webinars, dataset registrations")

    assert CANARY not in text + json.dumps(webhook.posts)


def test_a_run_that_was_refused_is_told_in_the_words_of_the_refusal(
    told: World, mailbox: Mailbox, webhook: Webhook
) -> None:
    """What was said must stay as it is, also where it looks like a template or like markup."""
    run = told.run({"{{ 7 * 7 }} <b>": True})
    assert run.state == "failed"
    assert mailbox.subjects == ["[Lethe] webinars: a run was refused"]
    assert "there is no parameter {{ 7 * 7 }} &lt;b&gt;, and nothing was touched" in mailbox.text()
    (posted,) = (post for post in webhook.posts if "alert" in post)
    assert posted["what"][0].startswith("there is no parameter {{ 7 * 7 }} <b>, and nothing was touched")
    assert posted["page"] == f"{BASE}/dags/webinars/runs/{quote(posted['run'], safe='')}"


def test_nobody_is_told_where_no_connection_is_named(world: World, mailbox: Mailbox) -> None:
    mailbox.connect(world.monkeypatch)
    assert world.run({"dryrun": True}).state == "failed"
    assert mailbox.mails == []
    with open_environment() as env:
        assert Outbox(env.governance).waiting() == {}


def test_a_run_that_succeeded_is_not_told(told: World, mailbox: Mailbox, webhook: Webhook) -> None:
    assert told.run().state == "success"
    assert mailbox.mails == []
    assert webhook.posts == []


def test_a_way_that_is_broken_changes_neither_the_run_nor_the_other_ways(
    told: World, mailbox: Mailbox, webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that answers with an error, one that is down, one that never answers, and no connection at all."""
    patch = told.monkeypatch
    with a_webhook() as gone:
        gone.connect(patch, "gone")
    with a_webhook() as stuck:
        stuck.stuck = threading.Event()
        stuck.connect(patch, "stuck")
        webhook.status = 500
        patch.setattr(channels, "SECONDS", 2.0)
        patch.setenv("LETHE_ALERTS", "lethe_hook,gone,stuck,nowhere,lethe_crm,lethe_mail")
        keep_records(told)
        run = told.run()
    assert run.state == "failed"
    assert told.last_run()[0].finished_at is not None
    assert told.registrations() == {3, 5} | set(range(200, 400))
    assert mailbox.subjects == ["[Lethe] webinars: a run failed"]
    said = caplog.text
    for way in ("lethe_hook", "gone", "stuck", "nowhere", "lethe_crm"):
        assert f"could not be sent: connection {way}: " in said
    assert "no answer within 2 seconds" in said
    assert "its type is postgres, by which no alert can be sent" in said
    with open_environment() as env:
        waiting = Outbox(env.governance).waiting()
    broken = ("lethe_hook", "gone", "stuck", "nowhere", "lethe_crm")
    assert waiting == {f"run:webinars/{run.run_id}": broken}, "the next watch tries again"


def test_without_a_governance_database_somebody_is_told_all_the_same(told: World, mailbox: Mailbox) -> None:
    (told.home / "nothing").write_text("no database")
    fields = {"conn_type": "sqlite", "host": str(told.home / "nothing")}
    told.monkeypatch.setenv("AIRFLOW_CONN_LETHE_GOVERNANCE", json.dumps(fields))
    assert told.run().state == "failed"
    assert mailbox.subjects == ["[Lethe] webinars: a run failed"]
    assert "connection lethe_governance" in mailbox.text()


def test_of_one_cause_people_are_told_once(told: World, mailbox: Mailbox) -> None:
    """Airflow may call back twice; a run that was cleared and fails once more is a cause of its own."""
    keep_records(told)
    run = told.run()
    run_failed({"dag": told.dag(), "run_id": run.run_id, "reason": "task_failure"})
    assert len(mailbox.mails) == 1
    assert told.run(logical_date=AS_OF + timedelta(days=1)).state == "failed"
    assert len(mailbox.mails) == 2


def test_a_run_that_waits_is_told_once_with_why_and_until_when(told: World, mailbox: Mailbox, webhook: Webhook) -> None:
    """Whoever may not answer leaves the question open; it is put again, and people know of it."""
    told.write_policy(records=10)
    told.monkeypatch.setenv("LETHE_APPROVERS", "Jan,Eva")
    with answering("Approve"):
        assert told.run().state == "success"
    record, _ = told.last_run()
    assert mailbox.subjects == ["[Lethe] webinars: a run waits for a decision"]
    text = mailbox.text()
    assert f"datasets registrations, recordings, run {record.id}." in text
    assert "Erase 220 records and 100 rows that go along of webinars?" in text
    assert "200 records are to go with 100 rows that go along, the limit is 10" in text
    assert "without an answer nothing is erased" in text
    assert f"{BASE}/lethe/runbook#a-run-waits-for-a-decision" in text
    assert CANARY not in text + json.dumps(webhook.posts)


def test_a_question_is_put_whether_or_not_anybody_can_be_told(told: World, webhook: Webhook) -> None:
    told.monkeypatch.setenv("LETHE_ALERTS", "nowhere,lethe_hook")
    webhook.status = 500
    told.write_policy(records=10)
    with answering("Approve"):
        assert told.run().state == "success"
    assert told.registrations() == set(range(200, 400))


@pytest.fixture
def watch(told: World) -> Callable[[], str]:
    """A run of the watch; its state."""
    runs = count()

    def run() -> str:
        return str(told.run_watching("watch_dag()", logical_date=AS_OF + timedelta(hours=next(runs))).state)

    return run


def test_a_category_that_nothing_runs_for_is_told_once(
    told: World, mailbox: Mailbox, watch: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    """As where its DAG is paused, or no scheduler is up. The watch is red as long as it is so, and then green."""
    told.write_policy(share=1)
    told.run()
    last = told.last_run()[0].id
    assert (watch(), watch()) == ("failed", "failed")
    assert mailbox.subjects == ["[Lethe] webinars: no run succeeds"]
    text = mailbox.text()
    assert f"that succeeded is {last}; by its schedule, the next was due at 2026-06-16 00:15 UTC" in text
    assert "its DAG is paused or cannot be read" in text
    assert f"{BASE}/plugin/retention/base/lethe/categories/webinars" in text
    assert "webinars: no run succeeds" in caplog.text
    assert told.run(logical_date=datetime.now(UTC) - timedelta(minutes=1)).state == "success"
    assert watch() == "success"
    assert len(mailbox.mails) == 1


def test_a_run_whose_callback_was_lost_is_told_by_the_watch(
    told: World, mailbox: Mailbox, watch: Callable[[], str]
) -> None:
    """Airflow's DAG processor was ended before it called back."""
    keep_records(told)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lethe.airflow.builder.run_failed", lambda _context: None)
        assert told.run().state == "failed"
    assert mailbox.mails == []
    with open_environment() as env, env.governance.write() as connection:
        ended = datetime.now(UTC) - timedelta(minutes=16)
        connection.execute(sa.update(schema.run).values(finished_at=ended))
    watch()
    watch()
    assert mailbox.subjects == ["[Lethe] webinars: a run failed"]
    assert f"webinars, dataset registrations, run {told.last_run()[0].id}." in mailbox.text()


def test_what_is_due_is_told_before_it_is_late(told: World, mailbox: Mailbox, watch: Callable[[], str]) -> None:
    """Half a day after it was due, by the time zone of its policy."""
    told.write_policy(share=1)
    now = datetime.now(ZoneInfo("Europe/Prague"))
    due = now.replace(hour=2, minute=15, second=0, microsecond=0) - timedelta(days=0 if now.hour >= 15 else 1)
    assert told.run(logical_date=(due - timedelta(hours=2)).astimezone(UTC)).state == "success"
    assert watch() == "failed"
    assert mailbox.subjects == ["[Lethe] webinars: what is due has not been erased"]
    text = mailbox.text()
    assert f"the next was due at {due.astimezone(UTC):%Y-%m-%d %H:%M} UTC" in text
    assert f"late from {(due + timedelta(days=1)).astimezone(UTC):%Y-%m-%d %H:%M} UTC" in text


def test_a_category_that_never_ran_is_told_in_time_and_not_at_once(
    told: World, mailbox: Mailbox, watch: Callable[[], str]
) -> None:
    assert watch() == "success"
    with open_environment() as env, env.governance.write() as connection:
        longer = datetime.now(UTC) - timedelta(days=9)
        connection.execute(sa.update(schema.alert).values(noted_at=longer))
    assert watch() == "failed"
    assert "No run of all its datasets has ever succeeded" in mailbox.text()


def test_a_policy_that_cannot_be_used_is_told_again_only_where_it_was_mended_between(
    told: World, mailbox: Mailbox, watch: Callable[[], str]
) -> None:
    spoilt = told.home / "policies" / "spoilt.yaml"
    for times in (1, 2):
        spoilt.write_text("category: spoilt\n")
        assert (watch(), watch()) == ("failed", "failed")
        assert mailbox.subjects == ["[Lethe] spoilt: a policy cannot be used"] * times
        assert "spoilt.yaml" in mailbox.text()
        spoilt.unlink()
        assert watch() == "success"


def test_what_could_not_be_sent_is_said_and_sent_by_the_next_watch(
    told: World, mailbox: Mailbox, webhook: Webhook, watch: Callable[[], str]
) -> None:
    told.monkeypatch.setenv("LETHE_ALERTS", "lethe_hook,lethe_mail")
    told.monkeypatch.setattr("lethe.alerts.outbox._A_TRY", timedelta(0))
    webhook.status = 500
    assert told.run({"dryrun": True}).state == "failed"
    assert (watch(), watch()) == ("failed", "failed")
    assert mailbox.subjects == [
        "[Lethe] webinars: a run was refused",
        "[Lethe] connection lethe_hook: alerts cannot be sent",
    ]
    assert "1 alert has not been sent by it" in mailbox.text()
    webhook.status, webhook.posts[:] = 200, []
    assert (watch(), watch()) == ("success", "success")
    assert [post["alert"] for post in webhook.posts] == ["refused"]
    assert len(mailbox.mails) == 2


def test_evidence_that_does_not_hold_is_told(told: World, mailbox: Mailbox) -> None:
    told.run()
    with open_environment() as env, env.governance.write() as connection:
        for trigger in connection.scalars(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
            connection.execute(sa.text(f"DROP TRIGGER {trigger}"))
        connection.execute(sa.text("UPDATE lethe_ledger SET kind = 'run.forged' WHERE seq = 2"))
    assert told.run_watching("evidence_dag()").state == "failed"
    assert mailbox.subjects == ["[Lethe] lethe_evidence: the evidence does not hold"]
    assert "entry 2" in mailbox.text()


def test_personal_data_in_no_policy_is_told_by_where_it_is(told: World, mailbox: Mailbox) -> None:
    with told.engine.begin() as connection:
        connection.execute(
            sa.text("CREATE TABLE marketing.copied AS SELECT id AS n, email AS c4 FROM marketing.registrations")
        )
    assert told.run_watching("coverage_dag()").state == "failed"
    assert mailbox.subjects == ["[Lethe] lethe_coverage: personal data is in no policy"]
    text = mailbox.text()
    assert "marketing.copied: looks like personal data, and no policy has it: c4 (e-mail address)" in text
    assert CANARY not in text + metadata_text()
