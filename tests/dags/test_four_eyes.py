"""Who asked for a run does not decide on it, however it was started: through Airflow's own API, by people it knows."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import sqlalchemy as sa
from airflow.sdk import Context
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lethe.airflow.approval import ApproveOperator
from lethe.airflow.operators import requester
from lethe.people import UNNAMED
from lethe_demo.servers import EmbeddedPostgres, EmbeddedS3

from .world import AS_OF, World, metadata_text, states

pytestmark = pytest.mark.slow

ALL, KEPT = set(range(400)), set(range(200, 400))


@pytest.fixture
def world(
    postgres: EmbeddedPostgres, s3: EmbeddedS3, airflow_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    world = World(postgres, s3, tmp_path, airflow_home, monkeypatch)
    world.write_policy(records=10)
    yield world
    world.engine.dispose()


@pytest.fixture(scope="module")
def server(airflow_home: Path) -> Iterator[FastAPI]:
    """Airflow's API server."""
    from airflow.api_fastapi.app import create_app, purge_cached_app

    purge_cached_app()
    server: FastAPI = create_app(apps="core")
    yield server
    purge_cached_app()


class Office:
    """People who use Airflow's API."""

    def __init__(self, server: FastAPI, world: World) -> None:
        self._server = server
        self._world = world

    def as_(self, user: str) -> TestClient:
        """A client that has signed in."""
        from airflow.api_fastapi.app import get_auth_manager
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

        token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=user, role="admin"))
        return TestClient(self._server, headers={"Authorization": f"Bearer {token}"})

    def post(self, user: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What Airflow answers to a request that it grants."""
        self.known()
        answer = self.as_(user).post(f"/api/v2{path}", json=body)
        assert answer.status_code in (200, 201), answer.text
        found: dict[str, Any] = answer.json()
        return found

    def known(self) -> None:
        """Have Airflow know the DAG and its assets, as the DAG processor does."""
        from airflow.dag_processing.bundles.manager import DagBundlesManager
        from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db

        manager = DagBundlesManager()
        manager.sync_bundles_to_db()
        (bundle,) = (each for each in manager.get_all_dag_bundles() if each.name == "dags-folder")
        bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
        sync_bag_to_db(bag, bundle.name, None)

    def trigger(self, user: str, **conf: object) -> str:
        """Trigger the DAG; give the id of its run."""
        run = self.post(
            user, "/dags/webinars/dagRuns", {"logical_date": None, "conf": {**conf, "as_of": AS_OF.isoformat()}}
        )
        return str(run["dag_run_id"])

    def materialise(self, user: str) -> str:
        """Have the asset of the category materialised."""
        self.known()
        assets = self.as_(user).get("/api/v2/assets", params={"limit": 100}).json()["assets"]
        (asset,) = (each for each in assets if each["name"] == "lethe/webinars")
        run = self.post(user, f"/assets/{asset['id']}/materialize", {"conf": {"as_of": AS_OF.isoformat()}})
        return str(run["dag_run_id"])

    def backfill(self, user: str, reprocess: str = "none") -> str:
        """Backfill one day."""
        from airflow.models.backfill import BackfillDagRun
        from airflow.models.dagrun import DagRun
        from airflow.utils.session import create_session

        day = AS_OF - timedelta(days=1)
        body = {"dag_id": "webinars", "from_date": day.isoformat(), "to_date": AS_OF.isoformat(),
                "reprocess_behavior": reprocess, "dag_run_conf": {"as_of": AS_OF.isoformat()}}  # fmt: skip
        backfill = self.post(user, "/backfills", body)["id"]
        with create_session() as session:
            runs = sa.select(DagRun.run_id).join(BackfillDagRun, BackfillDagRun.dag_run_id == DagRun.id)
            (run_id,) = session.scalars(runs.where(BackfillDagRun.backfill_id == backfill))
            return str(run_id)

    def schedule(self) -> str:
        """A run that the schedule started, as the scheduler does it; of the same day as `backfill`."""
        from airflow.models.serialized_dag import SerializedDagModel
        from airflow.utils.session import create_session
        from airflow.utils.state import DagRunState
        from airflow.utils.types import DagRunTriggeredByType, DagRunType

        self.known()
        day = AS_OF.replace(hour=0, minute=15)
        with create_session() as session:
            dag = SerializedDagModel.get_dag("webinars", session=session)
            run = dag.create_dagrun(
                run_id=DagRunType.SCHEDULED.generate_run_id(suffix=day.isoformat()), logical_date=day, run_after=day,
                data_interval=(day, day), run_type=DagRunType.SCHEDULED, state=DagRunState.QUEUED,
                triggered_by=DagRunTriggeredByType.TIMETABLE, session=session,
            )  # fmt: skip
            return str(run.run_id)

    @contextmanager
    def answering(self, run_id: str, answers: Sequence[tuple[str, str]]) -> Iterator[list[int]]:
        """Within, these people answer the run's question, one after the other. Gives the status that each was told."""
        over, told = threading.Event(), list[int]()
        clients = {user: self.as_(user) for user, _ in answers}
        path = f"/api/v2/dags/webinars/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"

        def answer() -> None:
            left = list(answers)
            while not over.wait(0.3):
                if _lost(run_id) or not left or not _asked(run_id):
                    continue
                user, choice = left.pop(0)
                body = {"chosen_options": [choice], "params_input": {}}
                told.append(clients[user].patch(path, json=body).status_code)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield told
        finally:
            over.set()
            thread.join()


def _question(run_id: str, session: Any) -> tuple[Any, Any]:  # noqa: ANN401
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.state import TaskInstanceState

    query = sa.select(TaskInstance).where(
        TaskInstance.run_id == run_id, TaskInstance.state == TaskInstanceState.AWAITING_INPUT
    )
    waiting = session.scalars(query).first()
    return waiting, session.get(HITLDetail, waiting.id) if waiting else None


def _asked(run_id: str) -> bool:
    """Whether the run waits for an answer."""
    from airflow.utils.session import create_session

    with create_session() as session:
        _, detail = _question(run_id, session)
        return detail is not None and detail.responded_at is None


def _lost(run_id: str) -> bool:
    """Whether an answer was lost, as `dag.test()` does it, which sets a task's state once more when it has ended.

    Then it is handed on again, as Airflow does.
    """
    from airflow.models.trigger import handle_event_submit
    from airflow.triggers.base import TriggerEvent
    from airflow.utils.session import create_session

    with create_session() as session:
        waiting, detail = _question(run_id, session)
        if detail is None or detail.responded_at is None:
            return False
        handle_event_submit(TriggerEvent(detail.as_resume_event_payload()), task_instance=waiting, session=session)
        return True


@pytest.fixture
def office(server: FastAPI, world: World) -> Iterator[Office]:
    from airflow.models.backfill import Backfill, BackfillDagRun
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    with create_session() as session:  # runs of other tests have the same dates, and no scheduler ends their backfills
        session.execute(sa.delete(BackfillDagRun))
        session.execute(sa.delete(DagRun).where(DagRun.dag_id == "webinars"))
        session.execute(sa.delete(Backfill))
    with TestClient(server):
        yield Office(server, world)


@pytest.mark.parametrize("start", [Office.trigger, Office.materialise, Office.backfill])
def test_who_started_a_run_cannot_decide_and_the_question_stays_open(world: World, office: Office, start: Any) -> None:  # noqa: ANN401
    """By hand or through the API, by a backfill, by materialising an asset. Its time does not begin anew."""
    until: list[datetime] = []
    waiting: list[datetime | None] = []
    original = ApproveOperator._ask

    def ask(self: ApproveOperator, context: Context, digest: str, end: datetime) -> NoReturn:
        until.append(end)
        waiting.append(world.last_run()[0].waiting_until)
        original(self, context, digest, end)

    world.monkeypatch.setattr(ApproveOperator, "_ask", ask)
    run_id = start(office, "eva")
    with office.answering(run_id, [("eva", "Approve"), ("eva", "Reject"), ("jan", "Approve")]) as told:
        run = world.carry_out(run_id)
    assert told == [200, 200, 200], "the question was open three times"
    assert len(until) == 3
    assert len(set(until)) == 1
    assert waiting == until, "the run is kept while somebody may answer"
    assert run.state == "success"
    assert world.registrations() == KEPT
    record, datasets = world.last_run()
    assert record.requested_by == "eva"
    assert str(datasets["registrations"].approval).count("by='jan'") == 1
    assert "not of eva, who asked for the run" in metadata_text(), "the question says so"


def test_a_scheduled_run_excludes_nobody(world: World, office: Office) -> None:
    run_id = office.schedule()
    with office.answering(run_id, [("eva", "Approve")]):
        run = world.carry_out(run_id)
    assert run.state == "success"
    record, _ = world.last_run()
    assert record.requested_by is None
    assert "so no person is excluded" in metadata_text()


def test_a_backfill_that_reprocesses_a_run_has_no_name_and_is_refused_at_once(world: World, office: Office) -> None:
    """Airflow keeps the name of the run that was, or none, and takes the parameters of the new one."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    scheduled = office.schedule()
    with create_session() as session:
        session.execute(sa.update(DagRun).where(DagRun.run_id == scheduled).values(state="success"))
    run_id = office.backfill("eva", reprocess="completed")
    assert run_id == scheduled
    with office.answering(run_id, [("eva", "Approve")]) as told:
        run = world.carry_out(run_id)
    assert told == [], "nobody was asked"
    assert run.state == "failed"
    assert states(run)["approve"] == "failed"
    assert world.registrations() == ALL


def test_only_those_who_are_named_may_answer(world: World, office: Office) -> None:
    world.monkeypatch.setenv("LETHE_APPROVERS", "Jan,9=Dana")
    run_id = office.trigger("eva")
    with office.answering(run_id, [("pavel", "Reject"), ("jan", "Approve")]) as told:
        run = world.carry_out(run_id)
    assert told == [200, 200]
    assert run.state == "success"
    assert str(world.last_run()[1]["registrations"].approval).count("by='jan'") == 1


def test_where_nobody_could_answer_the_run_ends_at_once(world: World, office: Office) -> None:
    world.monkeypatch.setenv("LETHE_APPROVERS", "eva@example.org")
    run = world.carry_out(office.trigger("EVA"))
    assert states(run)["approve"] == "failed"
    assert world.registrations() == ALL


@pytest.mark.parametrize(
    ("run_type", "name", "who"),
    [
        ("scheduled", None, None),
        ("operator_triggered", None, None),
        ("operator_triggered", "eva", "eva"),
        ("asset_triggered", None, UNNAMED),
        ("manual", None, UNNAMED),
        ("backfill", None, UNNAMED),
        ("backfill", "eva", "eva"),
        ("a type of tomorrow", None, UNNAMED),
    ],
)
def test_who_asked_is_anybody_where_airflow_does_not_say(run_type: str, name: str | None, who: str | None) -> None:
    run = SimpleNamespace(run_type=run_type, run_id=f"{run_type}__x", clear_number=0, triggering_user_name=name)
    assert requester(run) == who
