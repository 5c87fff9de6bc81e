"""Never silently late: somebody is told what needs them, once a cause, with nothing of any record in it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from lethe.airflow import channels
from lethe.airflow.alerting import run_failed
from lethe.airflow.connections import open_environment
from lethe.alerts import Outbox

from .alerts_kit import ON_CALL, Mailbox, Webhook, a_mailbox, a_webhook
from .world import AS_OF, CANARY, World, states

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
        assert Outbox(env.governance).waiting() == []


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
        letters = Outbox(env.governance).waiting()
    assert letters == [f"run:webinars/{run.run_id}"], "the next watch tries again"


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
