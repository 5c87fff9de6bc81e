"""Worlds for the fault tests, on the servers that all tests share."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.faults.worlds import World
from tests.stores import leased_postgresql

from lethe import timekeeping
from lethe.connections import Connection
from lethe.keys import new_connection
from lethe_demo.servers import EmbeddedMariaDB, EmbeddedPostgres, EmbeddedS3

LONG = bool(os.environ.get("LONG"))
"""Whether to try for long (`LONG=1 make faults`)."""


def tries(name: str, full: int, long: int) -> int:
    """How often to try: `full` in `make faults`, a tenth of it in `make test`, `long` with `LONG=1`.

    Or what the environment variable `name` says.
    """
    usual = full if os.environ.get("FULL") else full // 10
    return int(os.environ.get(name) or (long if LONG else usual))


MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: EmbeddedPostgres, s3: EmbeddedS3
) -> Iterator[MakeWorld]:
    """Makes a filled world: (kind, size=…, registry="sqlite" or "postgresql", **connection extra)."""
    databases: list[str] = []

    def database(purpose: str) -> Connection:
        name = f"faults_{purpose}_{secrets.token_hex(4)}"
        postgres.create_database(name)
        databases.append(name)
        return postgres.connection(purpose, name)

    def make(kind: str, *, size: int, registry: str = "postgresql", **extra: object) -> World:
        bucket = f"faults-{secrets.token_hex(4)}"
        if kind == "sqlite":
            store = Connection("world", "sqlite", host=str(tmp_path / "world.db"))
        elif kind == "table":
            store = database("world")
        elif kind == "mariadb":
            server: EmbeddedMariaDB = request.getfixturevalue("mariadb")
            server.create_database(bucket)
            store = server.connection("world", bucket)
        elif kind == "leased":
            store = replace(database("world"), conn_type=leased_postgresql.NAME)
        else:
            store = s3.connection("world")
            client = s3.client()
            client.create_bucket(Bucket=bucket)
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        store = replace(store, extra={**store.extra, **extra})
        governance = (
            database("governance")
            if registry == "postgresql"
            else Connection("lethe_governance", "sqlite", host=str(tmp_path / "governance.db"))
        )
        connections = {
            "world": store,
            "lethe_governance": governance,
            "lethe_keys": Connection.parse("lethe_keys", new_connection()),
        }
        world = World("table" if kind in ("sqlite", "leased", "mariadb") else kind, connections, tmp_path, size, bucket)
        world.write_policy()
        world.fill()
        if kind == registry == "sqlite":
            with world.environment() as env:
                timekeeping.confirm(env, (), datetime.now(UTC), "tests")
        return world

    yield make
    for name in databases:
        postgres.drop_database(name)
