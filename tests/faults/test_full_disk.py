"""A disk that fills up while candidates are staged or erased. Promises 5, 7 and 10, on PostgreSQL.

The world's database is put on a small file system of its own, which needs the right to mount one; SQLite is made to
fail by the process's own limit for the size of files.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import secrets
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import sqlalchemy as sa
from tests.faults.conftest import MakeWorld
from tests.faults.worlds import AS_OF, DATASET, World
from tests.processes import processes

from lethe import stages
from lethe.connections import sqlalchemy_url
from lethe.environment import Environment
from lethe.errors import StoreError
from lethe.stages import Plan
from lethe_demo.servers import EmbeddedPostgres


@dataclass(frozen=True)
class SmallDisk:
    """A file system of 160 MB with a tablespace of the server on it."""

    folder: Path
    space: str
    postgres: EmbeddedPostgres

    def administer(self, statement: str) -> None:
        """Run a statement that commits by itself."""
        with self.postgres.engine("postgres").execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(sa.text(statement))

    def fill(self) -> Path:
        """Take all the room that is left; gives the file to remove."""
        filler = self.folder / "filler"
        with filler.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass
        return filler


@pytest.fixture
def small_disk(postgres: EmbeddedPostgres) -> Iterator[SmallDisk]:
    """A small disk, unmounted afterwards."""
    with TemporaryDirectory(prefix="lethe-small-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        mount = ["mount", "-t", "tmpfs", "-o", "size=160m,mode=0777", "tmpfs", name]
        try:
            subprocess.run(mount, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("may not mount a small file system")
        disk = SmallDisk(folder, f"small_{secrets.token_hex(4)}", postgres)
        try:
            (folder / "space").mkdir()
            owner = postgres.folder.stat()
            os.chown(folder / "space", owner.st_uid, owner.st_gid)
            disk.administer(f"CREATE TABLESPACE {disk.space} LOCATION '{folder / 'space'}'")
            yield disk
            disk.administer(f"DROP TABLESPACE {disk.space}")
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


def _begin(world: World, when: str, env: Environment) -> Plan:
    return (
        stages.plan(env, "faults", AS_OF, trigger="full") if when == "discover" else world.prepare(env, trigger="full")
    )


def _go_on(env: Environment, when: str, plan: Plan) -> None:
    if when == "discover":
        stages.discover(env, plan, DATASET)
    else:
        stages.erase(env, plan, DATASET, range(stages.discovered(env, plan)[DATASET].batches))


@pytest.mark.parametrize("when", ["discover", "erase"])
def test_a_full_disk_ends_in_one_message_and_the_next_try_finishes(
    when: str, make_world: MakeWorld, small_disk: SmallDisk
) -> None:
    # The world has a child table: its rows are noted in a temporary table, so that erasing needs room too.
    world = make_world("table", size=60_000)
    database = world.connections["world"].schema
    small_disk.administer(f'ALTER DATABASE "{database}" SET TABLESPACE {small_disk.space}')
    with world.environment() as env:
        plan = _begin(world, when, env)
        filler = small_disk.fill()
        with pytest.raises(StoreError, match=r"connection world.*full"):
            _go_on(env, when, plan)
    filler.unlink()
    assert world.alive() == set(range(world.size)), "what had begun was undone"
    with world.environment() as env:
        plan = world.prepare(env, trigger="full")
        _go_on(env, "erase", plan)
        stages.verify(env, plan, DATASET)
        report = stages.certify(env, plan)
    tally = report.datasets[0].tally
    assert tally is not None
    assert tally.erased == len(world.to_go())
    assert world.alive() == set(range(world.size)) - world.to_go()
    small_disk.administer(f'ALTER DATABASE "{database}" SET TABLESPACE pg_default')


def _discover_with_little_room(world: World, answers: multiprocessing.SimpleQueue[str]) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with world.environment() as env:
        plan = stages.plan(env, "faults", AS_OF, trigger="full")
        size = Path(sqlalchemy_url(world.connections["world"]).database or "").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4096, resource.RLIM_INFINITY))
        try:
            stages.discover(env, plan, DATASET)
        except StoreError as error:
            answers.put(str(error))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def test_a_sqlite_file_that_cannot_grow_ends_in_one_message(make_world: MakeWorld) -> None:
    world = make_world("sqlite", size=20_000)
    answers = processes.SimpleQueue()
    process = processes.Process(target=_discover_with_little_room, args=(world, answers))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert not answers.empty(), "it was not refused"
    assert "connection world" in answers.get()
    assert world.alive() == set(range(world.size))
