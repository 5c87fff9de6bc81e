"""Fixtures for all tests: embedded real servers, one of each per test process. And an end of tests that hang."""

from __future__ import annotations

import faulthandler
import gc
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis
import pytest
from tests.servers import ReusingPostgres
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from lethe_demo.servers import EmbeddedMariaDB, EmbeddedS3

_OUTPUT = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the real standard error, which pytest and pytest-xdist put others in place of.

    And let policies erase that nobody has seen: tests of that take the setting away. No example of Hypothesis has a
    limit of its own, nor has making it: on a busy machine that would fail what is right.
    """
    hypothesis.settings.register_profile(
        "lethe", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("lethe")
    os.environ["LETHE_ASK_UNSEEN"] = "no"
    file = sys.__stderr__
    config.stash[_OUTPUT] = os.dup(2 if file is None else file.fileno())


def pytest_unconfigure(config: pytest.Config) -> None:
    """Give it back."""
    os.close(config.stash[_OUTPUT])


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while modules are imported, which is a fifth of the time, and later not in what they made."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


class Scheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Hands out tests one by one, but those of a file in `e2e/` together, and those of `dags/`.

    Each file in `e2e/` starts a demo of its own once; each process with tests of `dags/` has an Airflow of its own.

    The marks by which pytest-xdist 3.8 groups tests have no effect under pytest 9.2 (it writes `Item._nodeid`, which
    nothing reads any more), and each process had a demo.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith("tests/dags/"):
            return "tests/dags"
        return nodeid.partition("::")[0] if nodeid.startswith("tests/e2e/") else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Take ours."""
    return Scheduling(config, log)


def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:  # noqa: ANN401 - pytest-timeout's
    """End the process where a test takes too long, with what each of its threads does.

    By a thread of C, as neither a signal nor a thread of Python does it for certain: Airflow takes the timer of signals
    for tasks and DAG files, and what a signal raises does not end a test that then waits for threads of its own.
    """
    faulthandler.dump_traceback_later(settings.timeout, exit=True, file=item.config.stash[_OUTPUT])
    return True


def pytest_timeout_cancel_timer() -> bool:
    """The test has ended."""
    faulthandler.cancel_dump_traceback_later()
    return True


@pytest.fixture(scope="session")
def postgres() -> Iterator[ReusingPostgres]:
    """A real PostgreSQL server. Not under pytest's folder, which the server's user may not enter when root runs it."""
    with TemporaryDirectory(prefix="lethe-postgres-") as folder, ReusingPostgres(Path(folder) / "data") as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[EmbeddedMariaDB]:
    """A real MariaDB server, from the machine: there is none in wheels."""
    if not EmbeddedMariaDB.installed():
        pytest.skip("MariaDB is not tried: there is no mariadbd (Debian's mariadb-server-core)")
    with TemporaryDirectory(prefix="lethe-mariadb-") as folder, EmbeddedMariaDB(Path(folder)) as server:
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
