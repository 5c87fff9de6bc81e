"""Fixtures for tests of stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.stores import sql_kit

from lethe_demo.servers import EmbeddedPostgres


@pytest.fixture(params=["postgresql", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sql_kit.Database]:
    """An empty database of each kind that the SQL store knows, with batches of ten records."""
    if request.param == "sqlite":
        with sql_kit.sqlite(tmp_path, lethe_batch_size=10) as made:
            yield made
    else:
        server: EmbeddedPostgres = request.getfixturevalue("postgres")
        with sql_kit.postgresql(server, lethe_batch_size=10) as made:
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
