"""Fixtures for tests of stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.stores import sql_kit

from lethe_demo.servers import EmbeddedPostgres


@pytest.fixture(params=list(sql_kit.KINDS))
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sql_kit.Database]:
    """An empty database of each kind that the SQL store knows, with batches of ten records."""
    server = sql_kit.KINDS[request.param].server
    servers = [request.getfixturevalue(server)] if server else []
    with sql_kit.database(request.param, tmp_path, *servers, lethe_batch_size=10) as made:
        yield made


@pytest.fixture(params=list(sql_kit.FENCED_KINDS))
def any_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sql_kit.Database]:
    """The same of each kind that vectors are compared with; test and store share one way to connect.

    So SQLite has its functions, and MariaDB its session.
    """
    server = sql_kit.FENCED_KINDS[request.param].server
    servers = [request.getfixturevalue(server)] if server else []
    with sql_kit.database(request.param, tmp_path, *servers, lethe_batch_size=10) as made:
        made.engine = made.store._engine
        yield made


@pytest.fixture
def warehouse(postgres: EmbeddedPostgres) -> Iterator[sql_kit.Database]:
    """An empty PostgreSQL database, with batches of ten records."""
    with sql_kit.postgresql(postgres, lethe_batch_size=10) as made:
        yield made


@pytest.fixture
def file(tmp_path: Path) -> Iterator[sql_kit.Database]:
    """An empty SQLite database, with batches of ten records."""
    with sql_kit.sqlite(tmp_path, lethe_batch_size=10) as made:
        yield made
