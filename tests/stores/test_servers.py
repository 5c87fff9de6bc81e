"""The embedded servers: none is left behind, however the process ends that started them."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest
import sqlalchemy as sa
from tests.servers import ReusingPostgres

from lethe_demo.servers import EmbeddedPostgres

_STARTS_BOTH = """
import os, sys, time
from pathlib import Path
from lethe_demo.servers import EmbeddedPostgres, EmbeddedS3
folder = Path(sys.argv[1])
with EmbeddedPostgres(folder / "postgres"), EmbeddedS3(folder / "s3"):
    if "fork" in sys.argv and os.fork() == 0:
        time.sleep(300)
        os._exit(0)
    print("started", flush=True)
    sys.stdin.read()
"""


@contextmanager
def owner(folder: str, *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[psutil.Process, str]]]:
    """A process that has started both servers, with all processes that came of it and their names."""
    process = subprocess.Popen(
        [sys.executable, "-c", _STARTS_BOTH, folder, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        assert process.stdout.readline() == "started\n"
        began = psutil.Process(process.pid).create_time()
        started: dict[psutil.Process, str] = {}
        for one in psutil.process_iter():
            with suppress(psutil.Error):  # it is short-lived, or not this user's
                if one.pid != process.pid and one.create_time() >= began and _belongs(one, process.pid, folder):
                    started[one] = one.name().split(":")[0]
        yield process, started
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()


def _belongs(process: psutil.Process, owner: int, folder: str) -> bool:
    """Whether a process, or one that it comes of, was started by the owner or names the folder."""
    if process.ppid() == owner or folder in " ".join(process.cmdline()):
        return True
    return any(parent.pid == owner or folder in " ".join(parent.cmdline()) for parent in process.parents())


@pytest.mark.parametrize("end", [None, signal.SIGKILL, signal.SIGTERM], ids=["at the end", "killed", "terminated"])
def test_no_server_is_left_behind(end: signal.Signals | None) -> None:
    with TemporaryDirectory(prefix="lethe-servers-") as folder:
        with owner(folder) as (process, started):
            assert {"postgres", "weed", "sh"} <= set(started.values())
            if end is not None:
                process.send_signal(end)
        _gone, alive = psutil.wait_procs(list(started), timeout=20)
        assert not alive
        assert not list(Path(folder).glob("postgres/postmaster.pid"))


def test_a_fork_that_lives_on_keeps_no_server() -> None:
    with TemporaryDirectory(prefix="lethe-servers-") as folder:
        with owner(folder, "fork") as (process, started):
            forks = [one for one, name in started.items() if name.startswith("python")]
            process.send_signal(signal.SIGKILL)
        try:
            _gone, alive = psutil.wait_procs(started.keys() - set(forks), timeout=20)
            assert not alive
            assert [fork.is_running() for fork in forks] == [True]
        finally:
            for fork in forks:
                fork.kill()


_STARTS_POSTGRES = """
import sys
from pathlib import Path
import sqlalchemy as sa
from lethe_demo.servers import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1])) as server, server.engine("postgres").connect() as connection:
    print("answers", connection.scalar(sa.text("SELECT 1")))
"""


def test_a_server_that_is_still_ending_is_waited_for() -> None:
    """As after a demo that was killed, and is started again at once."""
    with TemporaryDirectory(prefix="lethe-servers-") as folder:
        data = Path(folder) / "data"
        with EmbeddedPostgres(data) as first:
            with first.engine("postgres").connect() as connection:
                connection.execute(sa.text("SELECT 1"))
                os.kill(first.pid, signal.SIGTERM)  # it ends when nobody is connected any more
                while not (data / "postmaster.pid").read_text().rstrip().endswith("stopping"):
                    time.sleep(0.01)
                next_one = subprocess.Popen(
                    [sys.executable, "-c", _STARTS_POSTGRES, str(data)], stdout=subprocess.PIPE, text=True
                )
                time.sleep(2)
                assert next_one.poll() is None, "it waits"
            output, _ = next_one.communicate(timeout=60)
    assert (next_one.returncode, output) == (0, "answers 1\n")


@pytest.mark.parametrize(
    "beside",
    [
        "SELECT 1",
        "ALTER DATABASE {name} SET work_mem = '5MB'",
        "GRANT CREATE ON DATABASE {name} TO pg_monitor",
        "CREATE PUBLICATION everything FOR ALL TABLES",
    ],
)
def test_a_database_that_is_used_again_is_as_a_new_one(postgres: ReusingPostgres, beside: str) -> None:
    """Whoever used it before, in its schemas or in what lies beside them."""
    name = f"again_{secrets.token_hex(4)}"
    postgres.create_database(name)
    new = _all_that_is_in(postgres, name)
    with postgres.engine(name).begin() as connection:
        for statement in ("CREATE TABLE t (id serial PRIMARY KEY)", "CREATE SCHEMA s", "CREATE TYPE s.e AS ENUM ('a')"):
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql(beside.format(name=name))
    assert _all_that_is_in(postgres, name) != new
    postgres.drop_database(name)
    postgres.create_database(name)
    assert _all_that_is_in(postgres, name) == new
    postgres.drop_database(name)


def _all_that_is_in(server: ReusingPostgres, name: str) -> list[sa.Row[Any]]:
    query = """
        SELECT 'relation', relname::text, relacl::text FROM pg_class WHERE relnamespace::regnamespace::text !~ '^pg_'
        UNION ALL SELECT 'type', typname, typacl::text FROM pg_type WHERE typnamespace::regnamespace::text !~ '^pg_'
        UNION ALL SELECT 'schema', nspname, nspacl::text || nspowner FROM pg_namespace WHERE nspname !~ '^pg_'
        UNION ALL SELECT 'publication', pubname, NULL FROM pg_publication
        UNION ALL SELECT 'database', datname, datacl::text FROM pg_database WHERE datname = current_database()
        UNION ALL SELECT 'setting', name, setting FROM pg_settings WHERE name = 'work_mem'
        ORDER BY 1, 2
    """
    with server.engine(name).connect() as connection:
        return list(connection.execute(sa.text(query)).all())
