"""Never silently late, and exact evidence: what looks after all categories turns red where something is wrong."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from lethe.airflow.connections import open_environment
from lethe.evidence.anchors import keep

from .world import CANARY, World, metadata_text, states

pytestmark = pytest.mark.slow


def test_personal_data_that_no_policy_has_turns_the_week_red(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    (world.home / "coverage.yaml").write_text(
        "exceptions: [{store: lethe_crm, table: marketing.attendance, reason: a child, look_again: 2999-01-01}]\n"
    )
    assert states(world.run_watching("coverage_dag()")) == {"look": "success"}
    with world.engine.begin() as connection:
        connection.execute(
            sa.text("CREATE TABLE marketing.copied AS SELECT id AS n, email AS c4 FROM marketing.registrations")
        )
    body = "".join(f"{CANARY} Kanarek,{CANARY}-{n}@example.org\n" for n in range(9))
    world.client.put_object(Bucket=world.name, Key="exports/list.csv", Body=body.encode())
    capfd.readouterr()
    assert states(world.run_watching("coverage_dag()")) == {"look": "failed"}
    told = "".join(capfd.readouterr())
    assert "2 findings" in told
    assert "marketing.copied: looks like personal data, and no policy has it: c4 (e-mail address)" in told
    assert "exports/" in told
    assert CANARY not in told + metadata_text()


def test_evidence_that_was_changed_turns_the_night_red(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    world.run()
    anchors = f"evidence_dag(anchor='s3://{world.name}-anchors/{secrets.token_hex(4)}', conn_id='lethe_lake')"
    assert states(world.run_watching("evidence_dag()")) == {"audit": "success"}
    world.client.create_bucket(Bucket=f"{world.name}-anchors")
    capfd.readouterr()
    assert states(world.run_watching(anchors)) == {"audit": "failed"}, "nobody has made the first one"
    assert "make one with `lethe ledger anchor" in "".join(capfd.readouterr())
    place = anchors.partition("'")[2].partition("'")[0]
    with open_environment() as env:
        keep(env.ledger.anchor(env.keys), place, env.connection, conn_id="lethe_lake")
    world.hold(1)
    assert states(world.run_watching(anchors)) == {"audit": "success"}
    with open_environment() as env, env.governance.write() as connection:  # the last entry is cut off
        for trigger in connection.scalars(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
            connection.execute(sa.text(f"DROP TRIGGER {trigger}"))
        connection.execute(sa.text("DELETE FROM lethe_ledger WHERE seq = (SELECT max(seq) FROM lethe_ledger)"))
    assert states(world.run_watching("evidence_dag()")) == {"audit": "success"}, "nothing else knows of it"
    capfd.readouterr()
    assert states(world.run_watching(anchors)) == {"audit": "failed"}
    assert "the evidence does not hold" in "".join(capfd.readouterr())


def test_what_every_dataset_has_due_is_counted_at_night(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    world.hold(1)
    assert states(world.run_watching("survey_dag()")) == {"survey": "success"}
    with open_environment() as env:
        taken = env.surveys.newest(datetime.now(UTC))
    found = {name: (one.due, one.found.held) for (_, name), one in taken.items() if one.found}
    assert found["registrations"][1] == 1
    assert all(one.ahead[90] >= one.ahead[1] >= (one.due or 0) > 0 for one in taken.values())
    assert set(found) == {"registrations", "recordings"}
    with world.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE marketing.registrations RENAME TO gone"))
    capfd.readouterr()
    assert states(world.run_watching("survey_dag()")) == {"survey": "failed"}
    told = "".join(capfd.readouterr())
    assert "webinars.registrations:" in told, "the other one is counted"
    assert CANARY not in told + metadata_text()
    with open_environment() as env:
        known = {name: one.due for (_, name), one in env.surveys.newest(datetime.now(UTC)).items()}
    assert known == {"registrations": None, "recordings": found["recordings"][0]}
