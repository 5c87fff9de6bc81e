"""Fixtures for all tests: embedded real servers, one of each per test process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lethe_demo.servers import EmbeddedPostgres, EmbeddedS3


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A real PostgreSQL server. Not under pytest's folder, which the server's user may not enter when root runs it."""
    with TemporaryDirectory(prefix="lethe-postgres-") as folder, EmbeddedPostgres(Path(folder) / "data") as server:
        yield server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedS3]:
    """A real S3 server."""
    with EmbeddedS3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the checkout."""
    return Path(__file__).parents[1]
