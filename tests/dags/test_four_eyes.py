"""Who asked for a run does not decide on it, however it was started: through Airflow's own API, by people it knows."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import pytest
import sqlalchemy as sa
from airflow.sdk import Context
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response

from lethe.airflow.approval import ApproveOperator
from lethe.airflow.operators import carried_out_again, requester
from lethe.people import UNNAMED

from .world import AS_OF, World, metadata_text, states

pytestmark = pytest.mark.slow

ALL, KEPT = set(range(400)), set(range(200, 400))


@pytest.fixture
def world(world: World) -> World:
    """With limits that every run passes. One dataset: there is one question, whatever it is about."""
    world.write_policy(records=10, recordings=False)
    return world


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
        found: dict[str, Any] = self._granted(self.as_(user).post(f"/api/v2{path}", json=body)).json()
        return found

    @staticmethod
    def _granted(answer: Response) -> Response:
        assert answer.status_code in (200, 201, 204), answer.text
        return answer

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

    # --- having a run carried out again --------------------------------------------------------------------------

    def clear(self, user: str, run_id: str) -> None:
        """Clear the run, as the page of a run does."""
        self._granted(self._on(user, "POST", f"/dagRuns/{run_id}/clear", {"dry_run": False}))

    def clear_several(self, user: str, run_id: str) -> None:
        """Clear a list of runs."""
        self._granted(self._on(user, "POST", "/clearDagRuns", {"dry_run": False, "dag_runs": [{"dag_run_id": run_id}]}))

    def clear_tasks(self, user: str, run_id: str, **body: object) -> None:
        """Clear tasks of the run: all of them, unless it says which."""
        body = {"dry_run": False, "only_failed": False, "dag_run_id": run_id, **body}
        self._granted(self._on(user, "POST", "/clearTaskInstances", body))

    def clear_tasks_and_queue(self, user: str, run_id: str) -> None:
        """Clear tasks without the run, which Airflow does not count as clearing it, then have the run queued."""
        self.clear_tasks(user, run_id, reset_dag_runs=False)
        self._granted(self._on(user, "PATCH", f"/dagRuns/{run_id}", {"state": "queued"}))

    def fail_and_clear(self, user: str, run_id: str) -> None:
        """Mark `plan` and the run as failed, then clear what failed, with what comes after it."""
        self._granted(self._on(user, "PATCH", f"/dagRuns/{run_id}/taskInstances/plan", {"new_state": "failed"}))
        self._granted(self._on(user, "PATCH", f"/dagRuns/{run_id}", {"state": "failed"}))
        self.clear_tasks(user, run_id, only_failed=True, include_downstream=True)
        self.clear_tasks(user, run_id, task_ids=["plan"], include_downstream=True)

    def make_tasks_anew(self, user: str, run_id: str) -> None:
        """Delete all tasks of the run, and have it queued."""
        tasks = self._granted(self._on(user, "GET", f"/dagRuns/{run_id}/taskInstances")).json()["task_instances"]
        self.delete_tasks(user, run_id, {task["task_id"]: task["map_index"] for task in tasks})
        self._granted(self._on(user, "PATCH", f"/dagRuns/{run_id}", {"state": "queued"}))

    def delete_tasks(self, user: str, run_id: str, tasks: Mapping[str, int]) -> None:
        """Delete tasks of the run, by name and index: the scheduler makes them anew with the DAG's next version."""
        from airflow.models.dagrun import DagRun
        from airflow.models.serialized_dag import SerializedDagModel
        from airflow.utils.session import create_session

        for task, index in tasks.items():
            self._granted(self._on(user, "DELETE", f"/dagRuns/{run_id}/taskInstances/{task}?map_index={index}"))
        with create_session() as session:
            run = session.scalars(sa.select(DagRun).where(DagRun.run_id == run_id)).one()
            run.dag = SerializedDagModel.get_dag("webinars", session=session)
            run.verify_integrity(session=session, dag_version_id=run.created_dag_version_id)

    def _on(self, user: str, method: str, path: str, body: dict[str, Any] | None = None) -> Response:
        return self.as_(user).request(method, f"/api/v2/dags/webinars{path}", json=body)

    def task(self, run_id: str, task_id: str) -> tuple[str, int]:
        """The state of a task, and how often it was tried."""
        found = self._granted(self._on("eva", "GET", f"/dagRuns/{run_id}/taskInstances/{task_id}")).json()
        return found["state"], found["try_number"]

    def answer(self, user: str, run_id: str, choice: str) -> int:
        """Answer the run's question. Gives the status that this person is told."""
        body = {"chosen_options": [choice], "params_input": {}}
        return self._on(user, "PATCH", f"/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails", body).status_code

    @contextmanager
    def answering(self, run_id: str, answers: Sequence[tuple[str, str]]) -> Iterator[list[int]]:
        """Within, these people answer the run's question, one after the other. Gives the status that each was told."""
        told = list[int]()

        def act(user: str, choice: str) -> None:
            told.append(self.answer(user, run_id, choice))

        with self.acting(run_id, [partial(act, *answer) for answer in answers]):
            yield told

    @contextmanager
    def acting(self, run_id: str, acts: Sequence[Callable[[], object]]) -> Iterator[None]:
        """Within, these things are done one after the other, each when the run waits for an answer."""
        over = threading.Event()

        def act() -> None:
            left = list(acts)
            while not over.wait(0.3):
                if not _lost(run_id) and left and _asked(run_id):
                    left.pop(0)()

        thread = threading.Thread(target=act)
        thread.start()
        try:
            yield
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


def assert_refused_at_once(world: World, office: Office, run_id: str) -> None:
    """Carry a run out: nobody is asked, however willing to answer, and nothing goes."""
    with office.answering(run_id, [("eva", "Approve")]) as told:
        run = world.carry_out(run_id)
    assert told == [], "nobody was asked"
    assert run.state == "failed"
    assert states(run)["approve"] == "failed"
    assert world.registrations() == ALL


def test_a_backfill_that_reprocesses_a_run_has_no_name_and_is_refused_at_once(world: World, office: Office) -> None:
    """Airflow keeps the name of the run that was, or none, and takes the parameters of the new one."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    scheduled = office.schedule()
    with create_session() as session:
        session.execute(sa.update(DagRun).where(DagRun.run_id == scheduled).values(state="success"))
    run_id = office.backfill("eva", reprocess="completed")
    assert run_id == scheduled
    assert_refused_at_once(world, office, run_id)


LONG = bool(os.environ.get("LONG"))
STARTS = (Office.trigger, Office.materialise, Office.backfill, Office.schedule)
AGAIN = (
    Office.clear,
    Office.clear_several,
    Office.clear_tasks,
    Office.clear_tasks_and_queue,
    Office.fail_and_clear,
    Office.make_tasks_anew,
)


@pytest.mark.parametrize(
    ("start", "again"),
    [
        (start, again)
        for start in STARTS
        for again in AGAIN
        if LONG or start is Office.schedule or again is Office.clear
    ],
)
def test_who_has_a_run_carried_out_again_cannot_approve_it(
    world: World,
    office: Office,
    start: Any,  # noqa: ANN401
    again: Any,  # noqa: ANN401
) -> None:
    """Whoever had started it. Airflow does not say who that is: nobody is asked, and no earlier question is open."""
    run_id = start(office) if start is Office.schedule else start(office, "jan")
    with office.answering(run_id, [("pavel", "Reject")]) as told:
        assert world.carry_out(run_id).state == "failed"
    assert told == [200]
    again(office, "eva", run_id)
    office.answer("eva", run_id, "Approve")
    assert_refused_at_once(world, office, run_id)
    assert world.last_run()[0].requested_by == UNNAMED


@pytest.mark.parametrize("tasks", [["approve"], ["registrations.discover"], ["plan"]])
@pytest.mark.parametrize("reset", [True, False])
def test_who_clears_tasks_while_a_question_is_open_cannot_answer_it(
    world: World, office: Office, tasks: list[str], reset: bool
) -> None:
    """Whether or not Airflow counts the run as cleared, and whatever was answered to the earlier question."""
    run_id = office.schedule()

    def clear() -> None:
        office.clear_tasks("eva", run_id, task_ids=tasks, include_downstream=True, reset_dag_runs=reset)
        office.answer("eva", run_id, "Approve")

    with office.acting(run_id, [clear, lambda: office.answer("eva", run_id, "Approve")]):
        run = world.carry_out(run_id)
    assert run.state == "failed"
    assert states(run)["approve"] == "failed"
    assert world.registrations() == ALL


def test_who_has_candidates_found_anew_while_a_question_is_open_ends_it(world: World, office: Office) -> None:
    run_id = office.schedule()

    def find_anew() -> None:
        office.clear_tasks("eva", run_id, task_ids=["registrations.discover"], reset_dag_runs=False)
        while office.task(run_id, "registrations.discover") != ("success", 2):
            time.sleep(0.3)

    with office.acting(run_id, [find_anew, lambda: office.answer("jan", run_id, "Approve")]):
        run = world.carry_out(run_id)
    assert states(run)["approve"] == "failed"
    assert world.registrations() == ALL


def test_who_deletes_a_question_has_it_not_put_again(world: World, office: Office) -> None:
    run_id = office.schedule()
    acts = [
        lambda: office.delete_tasks("eva", run_id, {"approve": -1}),
        lambda: office.answer("eva", run_id, "Approve"),
    ]
    with office.acting(run_id, acts):
        run = world.carry_out(run_id)
    assert states(run)["approve"] == "failed"
    assert world.registrations() == ALL


def test_a_cleared_run_within_the_limits_goes_on_by_itself(world: World, office: Office) -> None:
    run_id = office.schedule()
    with office.answering(run_id, [("pavel", "Reject")]):
        world.carry_out(run_id)
    world.write_policy(recordings=False)
    world.monkeypatch.setenv("LETHE_ASK_UNSEEN", "no")
    office.clear("eva", run_id)
    assert world.carry_out(run_id).state == "success"
    assert world.registrations() == KEPT


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
        ("operator_triggered", None, UNNAMED),
        ("operator_triggered", "eva", UNNAMED),
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
    run.clear_number = 1
    assert requester(run) == UNNAMED


@pytest.mark.parametrize(
    ("cleared", "max_tries", "again"), [(0, 5, False), (1, 5, True), (0, 6, True), (0, 8, True), (0, 0, False)]
)
def test_a_task_that_is_tried_again_by_itself_is_not_one_that_was_cleared(
    cleared: int, max_tries: int, again: bool
) -> None:
    """Clearing adds to the tries that a task has; trying again does not."""
    task = SimpleNamespace(retries=5)
    for tried in range(1, 6):
        context: Any = {
            "dag_run": SimpleNamespace(clear_number=cleared),
            "ti": SimpleNamespace(try_number=tried, max_tries=max_tries),
        }
        assert carried_out_again(cast("Any", task), context) is again
