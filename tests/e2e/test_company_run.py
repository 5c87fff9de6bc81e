"""All categories on the demo company, on a real PostgreSQL and S3: every promise, looked at in the stores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lethe import stages
from lethe.connections import Connection
from lethe.environment import Environment
from lethe.keys import new_connection
from lethe.settings import Settings
from lethe_demo import account, traces
from lethe_demo.company import BADGES, LAKE
from lethe_demo.fates import Fates
from lethe_demo.oracle import Oracle, Verdict
from lethe_demo.seed import CRM_ID, LAKE_ID, OPERATIONS_ID, Seeding, bucket_client, seed
from lethe_demo.servers import EmbeddedPostgres, EmbeddedS3

SCALE = 0.05


@dataclass
class World:
    """The seeded stores and what stages need to work on them."""

    env: Environment
    seeding: Seeding
    connections: dict[str, Connection]

    def run_all(self) -> None:
        """Run every category, as of the seeding."""
        for category in account.CATEGORIES:
            plan = stages.plan(self.env, category, self.seeding.as_of, trigger="test")
            stages.run(self.env, plan, approver=stages.Approver("legal", approves=True))

    def look(self) -> list[Verdict]:
        """What the oracle sees."""
        oracle = Oracle(self.seeding.company, account.judged_by(self.env))
        return [*oracle.look(self.connections.__getitem__), *account.look_at_record(self.env, oracle)]


@pytest.fixture(scope="module")
def world(
    postgres: EmbeddedPostgres, s3: EmbeddedS3, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    home = tmp_path_factory.mktemp("home")
    postgres.create_database("company_governance")
    connections = {
        CRM_ID: postgres.connection(CRM_ID, "company_crm"),
        OPERATIONS_ID: postgres.connection(OPERATIONS_ID, "company_operations"),
        LAKE_ID: s3.connection(LAKE_ID),
        "lethe_governance": postgres.connection("lethe_governance", "company_governance"),
        "lethe_keys": Connection.parse("lethe_keys", new_connection()),
    }
    settings = Settings(policies=root / "include" / "policies", expectations=root / "expectations", home=home)
    seeding = seed(connections.__getitem__, datetime.now(UTC) - timedelta(minutes=5), SCALE)
    with Environment(connections.__getitem__, settings) as env:
        account.place_matters(env, seeding.company)
        account.record_events(env, seeding.company)
        world = World(env, seeding, connections)
        world.run_all()
        yield world
    client = bucket_client(connections[LAKE_ID])
    for bucket in (LAKE, BADGES):  # other tests of this process may look at all buckets
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
            for entry in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                key, version = entry["Key"], entry["VersionId"]
                if bucket == BADGES:
                    client.put_object_legal_hold(Bucket=bucket, Key=key, VersionId=version, LegalHold={"Status": "OFF"})
                client.delete_object(Bucket=bucket, Key=key, VersionId=version)
        client.delete_bucket(Bucket=bucket)
    for name in ("company_crm", "company_operations", "company_governance"):
        postgres.drop_database(name)


def broken(verdicts: list[Verdict]) -> list[Verdict]:
    return [verdict for verdict in verdicts if not verdict.holds]


def test_every_promise_holds_on_the_stores(world: World) -> None:
    verdicts = world.look()
    assert len(verdicts) > 60
    assert broken(verdicts) == []


def test_running_again_finds_nothing_left(world: World) -> None:
    before = {run.id for runs in account.finished_runs(world.env).values() for run in runs}
    world.run_all()
    again = [
        done
        for runs in account.finished_runs(world.env).values()
        for run in runs
        if run.id not in before
        for done in account.done_by(world.env, run)
    ]
    assert {done.dataset: done.erased for done in again} == {done.dataset: 0 for done in again}
    assert {done.dataset for done in again} == set(Fates(world.seeding.company).datasets)
    assert broken(world.look()) == []


def test_nobody_is_named_outside_the_stores(world: World) -> None:
    where = world.connections["lethe_governance"]
    verdicts = list(
        traces.look(
            world.seeding.company,
            {"what Lethe wrote on this machine": world.env.settings.home},
            {"governance database": (where, str(where.schema))},
        )
    )
    assert broken(verdicts) == []
