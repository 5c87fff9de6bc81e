"""Seeding can be repeated, takes up what broke off, and touches nobody else's data."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from lethe.connections import Connection
from lethe_demo.company import BADGES, LAKE
from lethe_demo.fates import Fate
from lethe_demo.oracle import Oracle
from lethe_demo.seed import CRM_ID, LAKE_ID, OPERATIONS_ID, SeedError, bucket_client, database, seed, seeding
from lethe_demo.servers import EmbeddedPostgres, EmbeddedS3

AS_OF = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
SCALE = 0.01


@pytest.fixture
def connections(postgres: EmbeddedPostgres, s3: EmbeddedS3) -> Iterator[dict[str, Connection]]:
    """Connections to databases and buckets that do not exist yet."""
    yield {
        CRM_ID: postgres.connection(CRM_ID, "seed_crm"),
        OPERATIONS_ID: postgres.connection(OPERATIONS_ID, "seed_operations"),
        LAKE_ID: s3.connection(LAKE_ID),
    }
    for name in ("seed_crm", "seed_operations"):
        postgres.drop_database(name)
    client = s3.client()
    for bucket in {BADGES, LAKE} & {each["Name"] for each in client.list_buckets()["Buckets"]}:
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
            for entry in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                key, version = entry["Key"], entry["VersionId"]
                if bucket == BADGES:
                    client.put_object_legal_hold(Bucket=bucket, Key=key, VersionId=version, LegalHold={"Status": "OFF"})
                client.delete_object(Bucket=bucket, Key=key, VersionId=version)
        client.delete_bucket(Bucket=bucket)


def test_a_second_time_it_does_nothing_and_says_so(connections: dict[str, Connection]) -> None:
    first = seed(connections.__getitem__, AS_OF, SCALE)
    lines: list[str] = []
    second = seed(connections.__getitem__, AS_OF + timedelta(days=1), SCALE * 2, say=lines.append)
    assert first.fresh
    assert not second.fresh
    assert (second.as_of, second.scale, second.seed) == (AS_OF, SCALE, first.seed)
    assert lines == ["The company is there already, as of 2026-03-29 01:30 UTC."]


def test_what_broke_off_is_seeded_again_from_the_start(connections: dict[str, Connection]) -> None:
    seed(connections.__getitem__, AS_OF, SCALE)
    with database(connections[OPERATIONS_ID]) as operations:
        operations.execute("UPDATE lethe_demo.seed SET complete = false")
    assert seeding(connections.__getitem__) is None
    again = seed(connections.__getitem__, AS_OF, SCALE)
    assert again.fresh
    oracle = Oracle(again.company)
    wrong = {v.promise for v in oracle.look(connections.__getitem__) if not v.holds}
    assert {promise.partition(":")[0] for promise in wrong} <= {
        "never silently late", "what stays is identical", "what has to be in place of what went is there",
    }  # fmt: skip
    assert oracle.counts("webinars.registrations")[Fate.ERASED] > 0


def test_tables_that_no_seeding_made_are_left_alone(
    connections: dict[str, Connection], postgres: EmbeddedPostgres
) -> None:
    postgres.create_database("seed_crm")
    with database(connections[CRM_ID]) as crm:
        crm.execute("CREATE SCHEMA sales")
        crm.execute("CREATE TABLE sales.real AS SELECT 1 AS precious")
    with pytest.raises(SeedError, match="no seeding made"):
        seed(connections.__getitem__, AS_OF, SCALE)
    with database(connections[CRM_ID]) as crm:
        assert crm.execute("SELECT precious FROM sales.real").fetchall() == [(1,)]


def test_buckets_that_no_seeding_filled_are_left_alone(connections: dict[str, Connection]) -> None:
    client = bucket_client(connections[LAKE_ID])
    client.create_bucket(Bucket=LAKE)
    client.put_object(Bucket=LAKE, Key="leads/chats/real.json", Body=b"precious")
    for _ in range(2):  # being refused once is no permission to go on the next time
        with pytest.raises(SeedError, match="no seeding made"):
            seed(connections.__getitem__, AS_OF, SCALE)
    assert client.get_object(Bucket=LAKE, Key="leads/chats/real.json")["Body"].read() == b"precious"
