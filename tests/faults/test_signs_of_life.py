"""Every stage keeps its run alive for as long as it takes, so that no other run of the category supersedes it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from tests.faults.conftest import MakeWorld
from tests.faults.worlds import AS_OF, DATASET, World

from lethe import stages
from lethe.checks import suites
from lethe.environment import Environment
from lethe.evidence.runs import RunBusy
from lethe.governance import schema
from lethe.stages import Plan
from lethe.stores.sql.store import SqlStore

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def _environment(world: World) -> Environment:
    """One whose signs of life come often."""
    made = world.environment()
    return Environment(world.resolve, replace(made.settings, dead_after_seconds=3.0, claim_seconds=1.0))


def _waits_for_beat(env: Environment, column: str) -> None:
    """Return when the sign of life of a run, which was set to long ago, is renewed."""
    table = schema.run
    with env.governance.write() as connection:
        connection.execute(sa.update(table).values({column: LONG_AGO}))
    for _ in range(3_000):
        with env.governance.read() as connection:
            if connection.scalar(sa.select(table.c[column])) != LONG_AGO:
                return
        time.sleep(0.01)
    raise AssertionError(f"no sign of life in {column}")


def _discover(env: Environment, plan: Plan) -> None:
    stages.discover(env, plan, DATASET)


def _validate(env: Environment, plan: Plan) -> None:
    stages.validate(env, plan, DATASET, stages.discover(env, plan, DATASET))


def _erase(env: Environment, plan: Plan) -> None:
    _validate(env, plan)
    stages.decide(env, plan)
    stages.erase(env, plan, DATASET, range(stages.discovered(env, plan)[DATASET].batches))


def _verify(env: Environment, plan: Plan) -> None:
    _erase(env, plan)
    stages.verify(env, plan, DATASET)


@pytest.mark.parametrize("registry", ["sqlite", "postgresql"])
@pytest.mark.parametrize(
    ("stage", "owner", "name"),
    [
        (_discover, SqlStore, "discover"),
        (_validate, suites, "check_candidates"),
        (_erase, SqlStore, "erase"),
        (_verify, SqlStore, "survey"),
        (_verify, suites, "check_left"),
    ],
)
def test_a_stage_that_takes_long_keeps_its_run(
    stage: Callable[[Environment, Plan], None],
    owner: Any,  # noqa: ANN401
    name: str,
    registry: str,
    make_world: MakeWorld,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = make_world("sqlite", size=100, registry=registry)
    whole = getattr(owner, name)
    waited: list[str] = []

    def takes_long(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        _waits_for_beat(env, "active_at")
        with pytest.raises(RunBusy):
            stages.plan(env, "faults", AS_OF, trigger="a backfill")
        waited.append(name)
        return whole(*args, **kwargs)

    with _environment(world) as env:
        plan = stages.plan(env, "faults", AS_OF, trigger="test")
        monkeypatch.setattr(owner, name, takes_long)
        stage(env, plan)
    assert waited


@pytest.mark.parametrize("registry", ["sqlite", "postgresql"])
def test_a_run_is_kept_while_a_person_thinks_at_the_prompt(make_world: MakeWorld, registry: str) -> None:
    world = make_world("sqlite", size=100, registry=registry)
    text = (world.folder / "policies" / "faults.yaml").read_text().replace("records: 10000000", "records: 1")
    (world.folder / "policies" / "faults.yaml").write_text(text)

    def think(reasons: object) -> stages.Approver:
        assert reasons
        _waits_for_beat(env, "active_at")
        return stages.Approver("eva", approves=True)

    with _environment(world) as env:
        plan = stages.plan(env, "faults", AS_OF, trigger="test", requested_by="jan")
        assert stages.run(env, plan, approver=think).state == stages.SUCCEEDED


@pytest.mark.parametrize("registry", ["sqlite", "postgresql"])
def test_a_claim_is_renewed_while_one_dataset_is_settled(
    make_world: MakeWorld, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world("sqlite", size=100, registry=registry)
    whole = SqlStore.tally

    def takes_long(*args: Any) -> Any:  # noqa: ANN401
        _waits_for_beat(env, "settling_until")
        return whole(*args)

    with _environment(world) as env:
        plan = stages.plan(env, "faults", AS_OF, trigger="test")
        _verify(env, plan)
        monkeypatch.setattr(SqlStore, "tally", takes_long)
        assert stages.certify(env, plan).state == stages.SUCCEEDED


def test_who_lost_the_claim_waits_for_who_has_it(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process was stopped for longer than its claim: another completes the record, and it says so."""
    world = make_world("sqlite", size=100, registry="sqlite")
    whole = SqlStore.tally

    def loses_the_claim(*args: Any) -> Any:  # noqa: ANN401
        with env.governance.write() as connection:
            connection.execute(sa.update(schema.run).values(settling_by="another's"))
        return whole(*args)

    with world.environment() as env:
        plan = stages.plan(env, "faults", AS_OF, trigger="test")
        _verify(env, plan)
        monkeypatch.setattr(SqlStore, "tally", loses_the_claim)
        with pytest.raises(RunBusy, match="another process has taken over completing the record"):
            stages.certify(env, plan)
        assert env.runs.get(plan.run).settling_by == "another's"
