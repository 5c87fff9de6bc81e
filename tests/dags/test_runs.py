"""Whole DAG runs on a real PostgreSQL and a real S3: what is erased, what survives, and what Airflow gets to know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from airflow.sdk.definitions.retry_policy import RetryAction
from airflow.sdk.exceptions import AirflowFailException
from tests.airflow_kit import answering

from lethe import stages
from lethe.airflow.connections import open_environment
from lethe.airflow.faults import Patience
from lethe.airflow.operators import EraseOperator
from lethe.counts import Became
from lethe.evidence.records import DatasetRecord, Decision
from lethe.evidence.runs import IsRunning, RunBusy

from .world import AS_OF, CANARY, World, metadata_text, states

pytestmark = pytest.mark.slow

ALL, KEPT = set(range(400)), set(range(200, 400))


def events(airflow_home: Path) -> list[dict[str, Any]]:
    """The OpenLineage events so far."""
    file = airflow_home / "openlineage.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_run_erases_what_has_expired_and_nothing_else(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    world.hold(5, 6)
    before = len(events(world.airflow_home))
    run = world.run()
    assert states(run) == {
        "plan": "success",
        "registrations.discover": "success",
        "registrations.validate": "success",
        "recordings.discover": "success",
        "recordings.validate": "success",
        "approve": "success",
        "registrations.erase[0]": "success",
        "registrations.verify": "success",
        "recordings.erase[0]": "success",
        "recordings.verify": "success",
        "certify": "success",
    }
    assert run.state == "success"
    assert world.registrations() == KEPT | {5, 6}
    assert world.attendance() == {n for n in KEPT | {6} if n % 2 == 0}
    assert world.recordings() == 20
    assert world.staged() == []
    record, datasets = world.last_run()
    assert (record.state, record.as_of) == ("succeeded", AS_OF)
    assert record.trigger == f"airflow:webinars/{run.run_id}"
    assert (datasets["registrations"].tally or Became()).erased == 198
    assert (datasets["recordings"].tally or Became()).erased == 20

    output = capfd.readouterr()
    told = events(world.airflow_home)[before:]
    assert CANARY not in output.out + output.err, "no personal data in logs"
    assert CANARY not in metadata_text(), "no personal data in XCom, rendered fields and audit log"
    assert CANARY not in json.dumps(told), "no personal data in lineage"
    _lineage_is_complete(told)


def _lineage_is_complete(told: list[dict[str, Any]]) -> None:
    """Every task says which dataset it is about, when it starts and when it ends."""
    jobs = {event["job"]["name"] for event in told} - {"webinars"}
    assert jobs == {
        "webinars.plan",
        "webinars.approve",
        "webinars.certify",
        *(f"webinars.{name}.{stage}" for name in ("registrations", "recordings") for stage in STAGES),
    }
    for job in jobs:
        kinds = {event["eventType"] for event in told if event["job"]["name"] == job}
        assert kinds == {"START", "COMPLETE"}, job
        for event in (event for event in told if event["job"]["name"] == job):
            names = {dataset["name"] for dataset in event["inputs"]}
            about = job.removeprefix("webinars.").partition(".")[0]
            assert any(name.endswith("marketing.registrations") for name in names) == (about != "recordings"), event
            assert any("recordings" in name for name in names) == (about != "registrations"), event
    erased = _complete(told, "webinars.registrations.erase")
    assert erased["outputs"][0]["facets"]["lethe_retention"]["erased"] == 198
    validated = _complete(told, "webinars.registrations.validate")
    assert validated["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert validated["run"]["facets"]["lethe_retention"]["policyDigest"]


STAGES = ("discover", "validate", "erase", "verify")


def _complete(told: list[dict[str, Any]], job: str) -> dict[str, Any]:
    (event,) = [event for event in told if event["job"]["name"] == job and event["eventType"] == "COMPLETE"]
    return event


def decided(datasets: Mapping[str, DatasetRecord]) -> Decision:
    """What was decided on registrations."""
    decision = datasets["registrations"].approval
    assert decision is not None
    return decision


def test_running_again_finds_nothing(world: World) -> None:
    world.run()
    run = world.run(logical_date=AS_OF + timedelta(hours=1))
    found = states(run)
    assert run.state == "success"
    assert found["registrations.erase"] == "skipped"
    assert found["registrations.verify"] == "success"
    assert world.registrations() == KEPT


def test_clearing_a_run_erases_nothing_twice(world: World) -> None:
    """`dag.test` with a date that it has run for clears that run, as a backfill that reprocesses does."""
    first = world.run()
    erased = world.last_run()[0].id
    with world.engine.begin() as connection:
        late = "INSERT INTO marketing.registrations VALUES (1000, 'late@example.org', '2020-01-01')"
        connection.execute(sa.text(late))
    again = world.run()
    assert (again.run_id, again.state) == (first.run_id, "success")
    record, datasets = world.last_run()
    assert record.id != erased, "a closed run is not opened again"
    assert record.as_of == AS_OF
    assert (datasets["registrations"].tally or Became()).erased == 1
    assert world.registrations() == KEPT


def test_a_dry_run_erases_nothing_and_is_green(world: World) -> None:
    run = world.run({"dry_run": True})
    assert run.state == "success"
    found = states(run)
    assert found["approve"] == found["registrations.erase"] == found["registrations.verify"] == "skipped"
    assert world.registrations() == ALL
    assert world.recordings() == 40
    assert world.last_run()[0].state == "dry"
    assert world.staged() == []


def asset_events() -> list[str]:
    """The assets that Airflow was told of, one for each event so far."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session

    with create_session() as session:
        names = sa.select(AssetModel.name).join(AssetEvent, AssetEvent.asset_id == AssetModel.id)
        return sorted(session.scalars(names))


def test_a_dry_run_updates_no_asset_and_a_real_run_does(world: World) -> None:
    before = asset_events()
    assert world.run({"dry_run": True}).state == "success"
    assert asset_events() == before
    assert world.run(logical_date=AS_OF + timedelta(hours=1)).state == "success"
    new = ["lethe/webinars", "lethe/webinars/recordings", "lethe/webinars/registrations"]
    assert asset_events() == sorted(before + new)


def test_what_nobody_has_seen_is_asked_about_whatever_the_limits(world: World) -> None:
    """Unpausing a DAG erases nothing before a person has seen a dry run, or was asked."""
    world.monkeypatch.delenv("LETHE_ASK_UNSEEN")
    run = answer(world, "Reject")
    assert run.state == "failed"
    assert world.registrations() == ALL
    approval = decided(world.last_run()[1])
    assert approval.by == "Eva"
    unseen = "nobody has seen a dry run of this policy as it is now"
    assert list(approval.reasons) == [
        f"recordings: {unseen}; 20 records are to go",
        f"registrations: {unseen}; 200 records are to go",
    ]
    assert world.run({"dry_run": True}, logical_date=AS_OF + timedelta(hours=1)).state == "success"
    assert world.run(logical_date=AS_OF + timedelta(hours=2)).state == "success"
    assert world.registrations() == KEPT


def test_a_dry_run_that_died_keeps_nobody_waiting(world: World) -> None:
    with open_environment() as env:
        died = stages.plan(env, "webinars", AS_OF, trigger="somebody who was killed", dry_run=True)
        stages.plan(env, "webinars", AS_OF, trigger="the next")
        assert env.runs.get(died.run).state == "superseded"


def test_a_dataset_that_fails_its_validation_is_left_alone(world: World) -> None:
    """A clock that is no plausible date: its dataset is not erased, the other one is, and the run is red."""
    with world.engine.begin() as connection:
        row = "INSERT INTO marketing.registrations VALUES (1003, 'old@example.org', '1900-01-01')"
        connection.execute(sa.text(row))
    run = world.run()
    found = states(run)
    assert run.state == "failed"
    assert found["registrations.validate"] == "failed"
    assert found["registrations.erase"] == "upstream_failed"
    assert world.registrations() == ALL | {1003}
    assert found["recordings.verify"] == "success"
    assert world.recordings() == 20


def test_only_the_datasets_that_were_asked_for(world: World) -> None:
    run = world.run({"datasets": ["recordings"]})
    assert run.state == "success"
    assert states(run)["registrations.discover"] == "skipped"
    assert states(run)["registrations.verify"] == "skipped"
    assert world.registrations() == ALL
    assert world.recordings() == 20


@pytest.mark.parametrize(
    ("conf", "date", "expected"),
    [
        pytest.param({}, None, AS_OF, id="by hand, no logical date"),
        pytest.param({}, AS_OF - timedelta(days=100), AS_OF - timedelta(days=100), id="backfill of an earlier day"),
        pytest.param({"as_of": "2026-03-07T03:00:00Z"}, None, AS_OF - timedelta(days=100), id="asked for"),
    ],
)
def test_a_run_judges_by_its_own_moment(
    world: World, conf: dict[str, str], date: datetime | None, expected: datetime
) -> None:
    run = world.run(conf, logical_date=date)
    assert run.state == "success"
    assert world.last_run()[0].as_of == expected
    late = (AS_OF - expected).days
    assert len(world.registrations()) == 200 + (99 if late else 0), "18 months before 7 March is 7 September"


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"as_of": (datetime.now(UTC) + timedelta(days=2)).isoformat()}, "is in the future; nothing is erased early"),
        ({"as_of": "2026-06-15T03:00:00"}, "write a moment with its time zone"),
        ({"dryrun": True}, "there is no parameter dryrun"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_touched(
    world: World, conf: dict[str, object], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    run = world.run(conf)
    assert run.state == "failed"
    found = states(run)
    assert found.pop("plan") == found.pop("certify") == "failed"
    assert found.pop("approve") == "skipped"
    assert set(found.values()) == {"upstream_failed"}
    assert world.registrations() == ALL
    assert world.recordings() == 40
    output = capfd.readouterr()
    assert message in output.out + output.err


def test_above_the_limits_without_an_answer_nothing_is_erased(world: World) -> None:
    """The expected digest is no approval, and neither is silence."""
    world.write_policy(records=10)
    run = answer(world, None)
    assert run.state == "failed"
    assert states(run)["approve"] == "failed"
    assert states(run)["registrations.erase"] == "upstream_failed"
    assert world.registrations() == ALL
    assert world.recordings() == 40
    record, datasets = world.last_run()
    assert record.state == "failed"
    assert decided(datasets).by == "nobody in time"
    assert world.staged() == []


def test_a_rejection_erases_nothing_and_is_red(world: World) -> None:
    world.write_policy(records=10)
    run = answer(world, "Reject")
    assert run.state == "failed"
    assert world.registrations() == ALL
    approval = decided(world.last_run()[1])
    assert (approval.by, approval.approved) == ("Eva", False)


def test_an_approval_erases_what_was_shown(world: World) -> None:
    world.write_policy(records=10)
    run = answer(world, "Approve")
    assert run.state == "success"
    assert world.registrations() == KEPT
    approval = decided(world.last_run()[1])
    assert (approval.by, approval.approved) == ("Eva", True)
    assert len(approval.reasons) == 2
    text = metadata_text()
    assert CANARY not in text
    assert "200 records are to go with 100 rows that go along, the limit is 10" in text


def answer(world: World, choice: str | None) -> Any:  # noqa: ANN401 - a DagRun
    """A DAG run whose question is answered by Eva, or by its timeout."""
    with answering(choice):
        return world.run()


def test_a_dataset_that_fails_does_not_stop_the_others(world: World) -> None:
    """A row that a foreign key of somebody else's refers to stays, all others go, and the run is red."""
    with world.engine.begin() as connection:
        keeper = "CREATE TABLE marketing.invoices (id integer REFERENCES marketing.registrations)"
        connection.execute(sa.text(keeper))
        connection.execute(sa.text("INSERT INTO marketing.invoices VALUES (3)"))
    run = world.run()
    found = states(run)
    assert run.state == "failed"
    assert found["registrations.erase[0]"] == "success"
    assert found["registrations.verify"] == found["certify"] == "failed"
    assert found["recordings.verify"] == "success"
    assert world.recordings() == 20
    record, datasets = world.last_run()
    assert record.state == "failed"
    assert datasets["recordings"].problem is None
    assert CANARY not in str(datasets["registrations"].problem)
    assert world.staged() == []


def test_a_store_that_cannot_be_opened_fails_its_dataset_alone(world: World) -> None:
    world.monkeypatch.delenv("AIRFLOW_CONN_LETHE_CRM")
    world.write_policy(records=10)
    run = answer(world, "Approve")
    found = states(run)
    assert run.state == "failed"
    assert found["plan"] == found["approve"] == found["recordings.verify"] == "success"
    assert found["registrations.discover"] == found["certify"] == "failed"
    assert world.registrations() == ALL
    assert world.recordings() == 20
    record, datasets = world.last_run()
    assert record.state == "failed"
    assert datasets["recordings"].problem is None
    assert "connection lethe_crm is not defined" in str(datasets["registrations"].problem)
    assert datasets["registrations"].approval is None, "nobody was asked about it"
    assert "whatever is answered; see its tasks" in metadata_text(), "the question says what is left out"


def test_a_late_record_turns_the_run_red(world: World) -> None:
    """What came in after discovery was not checked and stays; it is said, and the next run takes it."""
    dag = world.dag()
    erase = type(dag.get_task("registrations.verify"))
    original = erase.perform

    def late(self: Any, env: Any, planned: Any) -> Any:  # noqa: ANN401 - an operator
        if self.dataset == "registrations":
            with world.engine.begin() as connection:
                row = "INSERT INTO marketing.registrations VALUES (1001, 'late@example.org', '2020-01-01')"
                connection.execute(sa.text(row))
        return original(self, env, planned)

    world.monkeypatch.setattr(erase, "perform", late)
    assert world.run().state == "failed"
    assert world.registrations() == KEPT | {1001}
    world.monkeypatch.setattr(erase, "perform", original)
    assert world.run(logical_date=AS_OF + timedelta(days=1)).state == "success"
    assert 1001 not in world.registrations()


def test_erase_cleared_alone_is_refused_once_the_run_is_closed(world: World) -> None:
    world.run()
    record, _ = world.last_run()
    planned = stages.Plan(
        run=record.id,
        category="webinars",
        as_of=record.as_of,
        policy_digest=record.policy_digest,
        cutoff=record.cutoff,
        datasets=("registrations", "recordings"),
    )
    with world.engine.begin() as connection:
        row = "INSERT INTO marketing.registrations VALUES (1002, 'late@example.org', '2020-01-01')"
        connection.execute(sa.text(row))
    operator = EraseOperator(
        task_id="erase", plan=planned.model_dump(mode="json"), dataset="registrations", batches=[0, 1]
    )
    task_instance = SimpleNamespace(try_number=1, max_tries=5)
    with pytest.raises(AirflowFailException):
        operator.execute({"ti": task_instance})
    assert 1002 in world.registrations()


def test_a_second_run_waits_while_one_is_under_way(world: World) -> None:
    """Two runs of a category never overlap, whatever started them: backfills have a limit of their own."""
    with open_environment() as env:
        stages.plan(env, "webinars", AS_OF, trigger="somebody else")
    operator = world.dag().get_task("plan")
    context = {
        "ti": SimpleNamespace(try_number=1, max_tries=48),
        "params": {},
        "dag_run": SimpleNamespace(
            logical_date=AS_OF,
            partition_date=None,
            run_type="scheduled",
            triggering_user_name=None,
            clear_number=0,
        ),
    }
    with pytest.raises(RunBusy) as raised:
        operator.execute(context)
    assert Patience().evaluate(raised.value, 1, 48).action is RetryAction.RETRY


def dag_run(world: World, state: str) -> str:
    """A DAG run of the category that is in a state; the trigger of its run of Lethe."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunType

    run_id = f"manual__{world.name}-{state}"
    with create_session() as session:
        run = DagRun(dag_id="webinars", run_id=run_id, run_type=DagRunType.MANUAL, state=state, run_after=AS_OF)
        session.add(run)
    return f"airflow:webinars/{run_id}"


def test_airflow_says_which_runs_are_dead(world: World) -> None:
    """Failed, deleted and cleared ones are; what waits for a worker, or for a person, is running all the while."""
    world.run({"dry_run": True})  # Airflow knows the DAG
    triggers = {state: dag_run(world, state) for state in ("running", "queued", "failed", "success")}
    triggers |= {"deleted": "airflow:webinars/deleted", "not of Airflow": "lethe run on a host, process 1"}
    said: dict[str, bool | None] = {}
    plan = stages.plan

    def asking(*args: Any, is_running: IsRunning, **kwargs: Any) -> stages.Plan:  # noqa: ANN401
        said.update({name: is_running(trigger) for name, trigger in triggers.items()})
        return plan(*args, is_running=is_running, **kwargs)

    world.monkeypatch.setattr(stages, "plan", asking)
    assert world.run({"dry_run": True}, logical_date=AS_OF + timedelta(hours=1)).state == "success"
    assert said == {
        "running": True,
        "queued": False,
        "failed": False,
        "success": False,
        "deleted": False,
        "not of Airflow": None,
    }


def test_a_run_that_airflow_knows_to_be_dead_is_settled_at_once(world: World) -> None:
    world.run({"dry_run": True})
    with open_environment() as env:
        died = stages.plan(env, "webinars", AS_OF, trigger=dag_run(world, "failed"))
        candidates = stages.discover(env, died, "registrations")
        stages.validate(env, died, "registrations", candidates)
        assert world.run(logical_date=AS_OF + timedelta(hours=1)).state == "success"
        record = env.runs.get(died.run)
    assert (record.state, record.superseded_by) == ("superseded", world.last_run()[0].id)
    assert record.finished_at is not None
    assert world.registrations() == KEPT
    assert world.staged() == []
