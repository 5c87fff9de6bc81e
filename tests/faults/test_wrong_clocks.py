"""Never early, whichever clock is wrong: real processes and servers whose clocks Debian's `faketime` shifts."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import sqlalchemy as sa

from lethe import stages, timekeeping
from lethe.connections import Connection, sqlalchemy_url
from lethe.environment import Environment
from lethe.errors import LetheError, ParameterError, StoreUnavailable
from lethe.evidence import certificate
from lethe.holds.gate import RunGate, wait_for_leases
from lethe.keys import new_connection
from lethe.settings import Settings
from lethe_demo.servers import EmbeddedPostgres, EmbeddedS3

SHIFTS = [timedelta(minutes=10), timedelta(days=2), timedelta(days=3652), timedelta(days=-2), timedelta(minutes=-10)]
EXPIRED = [timedelta(days=-400), timedelta(hours=-1)]
RUNNING = [timedelta(minutes=9), timedelta(days=1), timedelta(days=3000)]
"""When the periods of the records end, from now on."""

POLICY = """
category: clocks
title: Records that go at once
owner: tests
legal_basis: none
source: none
retention: {at_once: true}
time_zone: Europe/Prague
schedule: null
limits: {records: 100, share: 1.0}
datasets:
"""
TABLE = """
  - {name: rows, kind: table, store: rows, table: records, key: [id], clock: {column: ends, format: iso8601}}
"""
OBJECTS = """
  - {name: objects, kind: objects, store: lake, bucket: BUCKET, prefix: data/, clock: {key: "ends=(?P<value>[^/]+)/"}}
"""


def faketime() -> str:
    """Debian's faketime.

    Raises:
        Failed: where it is missing: these tests are not passed over.
    """
    found = shutil.which("faketime")
    if found is None:
        pytest.fail("faketime is missing: apt-get install faketime (.ci/run does)")
    return found


def library() -> Path:
    """The library that shifts the clock of a server."""
    faketime()
    return next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


# --- servers whose clocks are wrong ---------------------------------------------------------------------------------


@dataclass
class ShiftedPostgres:
    """A PostgreSQL server, and the file that says how far its clock is off."""

    server: EmbeddedPostgres
    file: Path

    def shift(self, by: timedelta) -> None:
        """Have its clock be off by so much, from now on."""
        self.file.write_text(f"{by.total_seconds():+.0f}\n")


@pytest.fixture(scope="module")
def shifted() -> Iterator[ShiftedPostgres]:
    """The server. Its clock is right until a test shifts it."""
    with TemporaryDirectory(prefix="lethe-shifted-") as folder, pytest.MonkeyPatch.context() as patch:
        Path(folder).chmod(0o755)
        file = Path(folder) / "shift"
        file.write_text("+0\n")
        file.chmod(0o644)
        wrong = {"LD_PRELOAD": str(library()), "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1"}
        for name, value in {**wrong, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}.items():
            patch.setenv(name, value)
        server = EmbeddedPostgres(Path(folder) / "data")
        server.__enter__()
        patch.undo()
        yield ShiftedPostgres(server, file)
        os.kill(server.pid, signal.SIGQUIT)  # at once: what waits for a time does not end in time by such a clock
        server.__exit__(None, None, None)


@dataclass
class LyingS3:
    """In front of an S3 server: changes the `Date` of its answers, and nothing else."""

    port: int
    by: timedelta = timedelta()
    _listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    def __post_init__(self) -> None:
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.port))
                for source, target, change in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pass, args=(source, target, change), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, change: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(re.sub(rb"(?<=\r\nDate: )[^\r]+", self._wrong, data) if change else data)
            target.shutdown(socket.SHUT_WR)

    def _wrong(self, _date: re.Match[bytes]) -> bytes:
        return f"{datetime.now(UTC) + self.by:%a, %d %b %Y %H:%M:%S GMT}".encode()


@pytest.fixture(scope="module")
def lying(s3: EmbeddedS3) -> Iterator[LyingS3]:
    proxy = LyingS3(int(s3.endpoint.rpartition(":")[2]))
    yield proxy
    proxy.close()


# --- a world ----------------------------------------------------------------------------------------------------------


@dataclass
class World:
    """Records whose periods ended or end at known moments, in a table and where asked for in a bucket."""

    folder: Path
    connections: dict[str, Connection]
    bucket: str | None = None
    began: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    def __post_init__(self) -> None:
        self.connections["lethe_keys"] = Connection.parse("lethe_keys", new_connection())
        policy = self.folder / "policies" / "clocks.yaml"
        policy.parent.mkdir()
        policy.write_text(POLICY + TABLE + (OBJECTS.replace("BUCKET", self.bucket) if self.bucket else ""))
        (self.folder / "expectations").mkdir()
        ends = [self.began + after for after in (*EXPIRED, *RUNNING)]
        table = sa.Table(
            "records",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("ends", sa.Text, index=True),
        )
        with self.engine.begin() as connection:
            table.create(connection)
            connection.execute(sa.insert(table), [{"id": n, "ends": at.isoformat()} for n, at in enumerate(ends)])
        for number, at in enumerate(ends if self.bucket else ()):
            client = self._client()
            key = f"data/ends={at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}/{number}"
            client.put_object(Bucket=self.bucket, Key=key, Body=b"1")

    @property
    def engine(self) -> sa.Engine:
        return sa.create_engine(sqlalchemy_url(self.connections["rows"]), poolclass=sa.NullPool)

    def _client(self) -> Any:  # noqa: ANN401 - an S3 client
        import boto3

        lake = self.connections["lake"]
        return boto3.client(
            "s3",
            endpoint_url=lake.extra["endpoint_url"],
            region_name="us-east-1",
            aws_access_key_id=lake.login,
            aws_secret_access_key=lake.password,
        )

    def environment(self) -> Environment:
        settings = Settings(self.folder / "policies", self.folder / "expectations", self.folder / "home")
        return Environment(self.connections.__getitem__, settings)

    def left(self) -> list[set[int]]:
        """The numbers of the records that are there, of each dataset."""
        with self.engine.connect() as connection:
            found = [set(connection.scalars(sa.text("SELECT id FROM records")))]
        if self.bucket:
            keys = [item["Key"] for item in self._client().list_objects_v2(Bucket=self.bucket)["Contents"]]
            found.append({int(key.rpartition("/")[2]) for key in keys if key.startswith("data/")})
        return found

    def untouched(self) -> bool:
        """Whether every record is there, and nothing was planned."""
        with self.environment() as env:
            runs = env.runs.latest(10)
        return all(left == set(range(len(EXPIRED) + len(RUNNING))) for left in self.left()) and not runs

    def late_enough(self) -> bool:
        """Whether all that has expired is gone, and nothing else."""
        return all(left == set(range(len(EXPIRED), len(EXPIRED) + len(RUNNING))) for left in self.left())

    def run(self, as_of: datetime | None = None) -> stages.Report:
        """All of a run, in this process."""
        with self.environment() as env:
            return stages.run(env, stages.plan(env, "clocks", as_of, trigger=f"test {secrets.token_hex(4)}"))

    def confirm(self) -> None:
        """Say that the clocks are right, which they are."""
        with self.environment() as env:
            timekeeping.confirm(env, env.policy("clocks").datasets, datetime.now(UTC), "eva")

    def command(self, *arguments: str, shift: timedelta = timedelta()) -> subprocess.CompletedProcess[str]:
        """`lethe …` in a process whose clock is off by so much."""
        wrong = [faketime(), "-f", f"{shift.total_seconds():+.0f}s"] if shift else []
        command = [*wrong, str(Path(sys.executable).with_name("lethe")), *arguments]
        return subprocess.run(command, env=self._variables(), capture_output=True, text=True, check=False)

    def _variables(self) -> Mapping[str, str]:
        connections = {
            f"AIRFLOW_CONN_{one.conn_id.upper()}": json.dumps(
                {name: value for name, value in asdict(one).items() if name != "conn_id" and value is not None}
            )
            for one in self.connections.values()
        }
        folders = {"POLICIES": "policies", "EXPECTATIONS": "expectations", "HOME": "home"}
        ours = {f"LETHE_{name}": str(self.folder / folder) for name, folder in folders.items()}
        return {**os.environ, **connections, **ours, "AIRFLOW_HOME": str(self.folder / "no-airflow")}


def sqlite(folder: Path, conn_id: str) -> Connection:
    file = folder / f"{conn_id}.db"
    file.touch()
    return Connection(conn_id, "sqlite", host=str(file))


def database(server: EmbeddedPostgres, conn_id: str) -> Connection:
    name = f"clocks_{secrets.token_hex(4)}"
    server.create_database(name)
    return server.connection(conn_id, name)


def databases(server: EmbeddedPostgres, *conn_ids: str) -> dict[str, Connection]:
    return {conn_id: database(server, conn_id) for conn_id in conn_ids}


def lake(s3: EmbeddedS3, proxy: LyingS3) -> tuple[Connection, str]:
    bucket = f"clocks-{secrets.token_hex(4)}"
    s3.client().create_bucket(Bucket=bucket)
    connection = s3.connection("lake")
    return replace(connection, extra={**connection.extra, "endpoint_url": proxy.endpoint}), bucket


def refused(world: World, name: str, shift: timedelta) -> None:
    """No run starts, whatever moment it is to judge by, and nothing is touched: the clocks are named."""
    for as_of in (None, datetime.now(UTC) + max(shift, timedelta()), datetime.now(UTC) - timedelta(days=1)):
        with pytest.raises(LetheError, match=r"clocks are more than 300 seconds apart") as refusal:
            world.run(as_of)
        assert name in str(refusal.value)
        assert "this machine" in str(refusal.value)
    assert world.untouched()


# --- every pair -------------------------------------------------------------------------------------------------------


def test_where_all_clocks_agree_a_run_erases_what_has_expired_and_says_which_clocks_it_compared(
    tmp_path: Path, postgres: EmbeddedPostgres, shifted: ShiftedPostgres, s3: EmbeddedS3, lying: LyingS3
) -> None:
    shifted.shift(timedelta())
    lying.by = timedelta()
    connection, bucket = lake(s3, lying)
    rows, governance = database(shifted.server, "rows"), database(postgres, "lethe_governance")
    world = World(tmp_path, {"rows": rows, "lake": connection, "lethe_governance": governance}, bucket)
    report = world.run()
    assert report.state == "succeeded"
    assert world.late_enough()
    with world.environment() as env:
        issued = certificate.get(env.governance, report.run).certificate
    assert set(issued.clocks) == {"this machine", "rows", "lake", "lethe_governance"}
    assert all(abs(ahead) < 300_000 for ahead in issued.clocks.values())


@pytest.mark.parametrize("shift", SHIFTS, ids=str)
def test_a_machine_whose_clock_is_wrong_erases_nothing_early(
    tmp_path: Path, postgres: EmbeddedPostgres, shift: timedelta
) -> None:
    world = World(tmp_path, databases(postgres, "rows", "lethe_governance"))
    wrong = datetime.now(UTC) + shift
    more = {timedelta(days=2): ["--dry-run"], timedelta(minutes=10): ["--as-of", wrong.isoformat()]}
    ended = world.command("run", "clocks", *more.get(shift, ()), shift=shift)
    assert ended.returncode == 1, ended.stdout
    assert "clocks are more than 300 seconds apart" in ended.stderr
    assert "connection lethe_governance" in ended.stderr
    assert "connection rows" in ended.stderr
    assert world.untouched()


@pytest.mark.parametrize("shift", SHIFTS, ids=str)
def test_a_governance_database_whose_clock_is_wrong_lets_no_run_start(
    tmp_path: Path, postgres: EmbeddedPostgres, shifted: ShiftedPostgres, shift: timedelta
) -> None:
    shifted.shift(shift)
    governance = database(shifted.server, "lethe_governance")
    refused(World(tmp_path, {"rows": database(postgres, "rows"), "lethe_governance": governance}), "governance", shift)


@pytest.mark.parametrize("shift", SHIFTS, ids=str)
def test_a_warehouse_whose_clock_is_wrong_lets_no_run_start(
    tmp_path: Path, shifted: ShiftedPostgres, shift: timedelta
) -> None:
    shifted.shift(shift)
    governance = sqlite(tmp_path, "lethe_governance")
    refused(World(tmp_path, {"rows": database(shifted.server, "rows"), "lethe_governance": governance}), "rows", shift)


@pytest.mark.parametrize("shift", SHIFTS, ids=str)
def test_an_s3_server_whose_clock_is_wrong_lets_no_run_start(
    tmp_path: Path, s3: EmbeddedS3, lying: LyingS3, shift: timedelta
) -> None:
    lying.by = shift
    connection, bucket = lake(s3, lying)
    connections = {"rows": sqlite(tmp_path, "rows"), "lethe_governance": sqlite(tmp_path, "lethe_governance")}
    refused(World(tmp_path, {**connections, "lake": connection}, bucket), "lake", shift)


@pytest.mark.parametrize("shift", [timedelta(minutes=10), timedelta(days=3652)], ids=str)
def test_two_wrong_clocks_that_agree_do_not_outvote_a_third(
    tmp_path: Path, shifted: ShiftedPostgres, s3: EmbeddedS3, lying: LyingS3, shift: timedelta
) -> None:
    shifted.shift(shift)
    lying.by = shift
    connection, bucket = lake(s3, lying)
    connections = databases(shifted.server, "rows", "lethe_governance")
    refused(World(tmp_path, {**connections, "lake": connection}, bucket), "lake", shift)


def test_a_moment_that_has_not_come_by_a_clock_within_the_tolerance_is_in_the_future(
    tmp_path: Path, shifted: ShiftedPostgres
) -> None:
    shifted.shift(timedelta(minutes=-2))
    connections = {"rows": database(shifted.server, "rows"), "lethe_governance": sqlite(tmp_path, "lethe_governance")}
    world = World(tmp_path, connections)
    now = datetime.now(UTC)
    with pytest.raises(
        timekeeping.NotYet, match=r"in the future; nothing is erased early\. The clock of connection rows"
    ):
        world.run(now - timedelta(minutes=1))
    assert timekeeping.NotYet.transient, "waiting helps, and Airflow does"
    with pytest.raises(ParameterError, match="in the future") as refusal:
        world.run(now + timedelta(minutes=10))
    assert not refusal.value.transient
    assert world.untouched()
    report = world.run()
    assert report.as_of < now - timedelta(minutes=1), "now is what the clock says that is furthest behind"
    assert report.state == "succeeded"


def test_a_store_that_was_down_when_the_run_was_planned_is_compared_when_it_is_back(
    tmp_path: Path, shifted: ShiftedPostgres
) -> None:
    shifted.shift(timedelta())
    connections = {"rows": database(shifted.server, "rows"), "lethe_governance": sqlite(tmp_path, "lethe_governance")}
    world = World(tmp_path, connections)
    there, gone = connections["rows"], Connection("rows", "postgres", host="127.0.0.1", port=1, schema="x", login="x")
    world.connections["rows"] = gone
    with world.environment() as env:
        plan = stages.plan(env, "clocks", None, trigger="test")
    world.connections["rows"] = there
    shifted.shift(timedelta(days=-2))
    with (
        world.environment() as env,
        pytest.raises(ParameterError, match="in the future by the clock of connection rows"),
    ):
        stages.discover(env, plan, "rows")


def test_a_file_that_was_away_when_the_run_was_planned_has_no_witness_when_it_is_back(tmp_path: Path) -> None:
    world = World(tmp_path, {name: sqlite(tmp_path, name) for name in ("rows", "lethe_governance")})
    file = Path(str(world.connections["rows"].host))
    away = file.rename(tmp_path / "away.db")
    with world.environment() as env:
        plan = stages.plan(env, "clocks", None, trigger="test")
    away.rename(file)
    with world.environment() as env, pytest.raises(ParameterError, match="nobody has said yet that it is right"):
        stages.discover(env, plan, "rows")
    world.confirm()
    with world.environment() as env:
        assert stages.discover(env, plan, "rows").due == len(EXPIRED)


# --- other workers, and the ledger -----------------------------------------------------------------------------------


def test_what_erases_does_not_look_at_its_own_clock(tmp_path: Path, postgres: EmbeddedPostgres) -> None:
    world = World(tmp_path, databases(postgres, "rows", "lethe_governance"))
    with world.environment() as env:
        plan = stages.plan(env, "clocks", None, trigger="test")
    later = f"""
from lethe import stages
from lethe.cli.shell import environment
plan = stages.Plan.model_validate_json({plan.model_dump_json()!r})
with environment() as env:
    stages.run(env, plan)
"""
    command = [faketime(), "-f", "+3652d", sys.executable, "-c", later]
    subprocess.run(command, env=world._variables(), check=True, capture_output=True)
    assert world.late_enough()


def test_entries_of_the_ledger_from_the_future_stop_runs_until_somebody_says_what_the_time_is(
    tmp_path: Path, shifted: ShiftedPostgres, postgres: EmbeddedPostgres
) -> None:
    shifted.shift(timedelta(days=40))
    connections = {
        "rows": database(postgres, "rows"),
        "lethe_governance": database(shifted.server, "lethe_governance"),
    }
    world = World(tmp_path, connections)
    with world.environment() as env, env.governance.write() as connection:
        env.ledger.append(connection, "test", "test", {})
    shifted.shift(timedelta())
    with world.environment() as env, env.governance.write() as connection:
        env.ledger.append(connection, "test", "test", {})  # an entry that is right is no way around
    with pytest.raises(ParameterError, match=r"the ledger has an entry of .* `lethe clocks confirm"):
        world.run()
    with pytest.raises(ParameterError, match="the ledger has an entry of"):
        world.run(datetime.now(UTC) - timedelta(days=1))
    assert world.untouched()
    now = datetime.now(UTC)
    with world.environment() as env:
        datasets = env.policy("clocks").datasets
        with pytest.raises(ParameterError, match="Nothing was confirmed"):
            timekeeping.confirm(env, datasets, now + timedelta(days=40), "eva")
    right = world.command("clocks", "confirm", now.isoformat(), "--by", "eva")
    assert right.returncode == 0, right.stderr
    assert world.run().state == "succeeded"
    assert world.late_enough()
    with world.environment() as env, env.governance.read() as connection:
        kinds = list(connection.scalars(sa.text("SELECT kind FROM lethe_ledger ORDER BY seq")))
    assert kinds.count("clocks.confirmed") == 1


def test_a_clock_that_leaps_ends_no_lease_before_a_hold_is_in_force(tmp_path: Path, shifted: ShiftedPostgres) -> None:
    """Never held: what is sent under the lease may still be on its way."""
    shifted.shift(timedelta())
    governance = database(shifted.server, "lethe_governance")
    world = World(tmp_path, {"rows": sqlite(tmp_path, "rows"), "lethe_governance": governance})
    with world.environment() as env:
        plan = stages.plan(env, "clocks", None, trigger="test")
        gate = RunGate(env.registry, plan.run, "clocks", env.policy("clocks").datasets[0], 30)
        for leap in (timedelta(minutes=10), timedelta(days=3652)):
            with gate.lease():
                shifted.shift(leap)
                with pytest.raises(StoreUnavailable, match="were not given back"):
                    wait_for_leases(env.governance, timeout=0.2)
            wait_for_leases(env.governance)
            shifted.shift(timedelta())


@pytest.mark.parametrize("server", [True, False], ids=["server", "file"])
def test_evidence_does_not_expire_by_one_wrong_clock(tmp_path: Path, shifted: ShiftedPostgres, server: bool) -> None:
    shifted.shift(timedelta())
    governance = database(shifted.server, "lethe_governance") if server else sqlite(tmp_path, "lethe_governance")
    world = World(tmp_path, {"rows": sqlite(tmp_path, "rows"), "lethe_governance": governance})
    world.confirm()
    report = world.run()
    years = timedelta(days=11 * 366)
    if server:
        shifted.shift(years)
    ended = world.command("evidence", "expire", shift=timedelta() if server else years)
    assert ended.returncode == 1, ended.stdout
    assert ("seconds apart" if server else "is the only one here") in ended.stderr
    with world.environment() as env:
        assert certificate.get(env.governance, report.run)


def test_a_clock_that_was_always_alone_does_not_vouch_for_itself(tmp_path: Path) -> None:
    """What it wrote in the ledger before is no witness: the machine may have been ahead from the beginning."""
    world = World(tmp_path, {name: sqlite(tmp_path, name) for name in ("rows", "lethe_governance")})
    everything, ahead = world.left(), timedelta(days=3652)
    seen = world.command("run", "clocks", "--dry-run", shift=ahead)
    assert seen.returncode == 0, seen.stderr
    for command in (("run", "clocks"), ("evidence", "expire")):
        ended = world.command(*command, shift=ahead)
        assert ended.returncode == 1, ended.stdout
        assert "is the only one here, and nobody has said yet that it is right" in ended.stderr
        assert "lethe clocks confirm" in ended.stderr
    now = datetime.now(UTC).isoformat()
    assert "Nothing was confirmed" in world.command("clocks", "confirm", now, shift=ahead).stderr
    assert world.left() == everything
    right = world.command("clocks", "confirm", now)
    assert right.returncode == 0, right.stderr
    ended = world.command("run", "clocks")
    assert ended.returncode == 0, ended.stderr
    assert world.late_enough()


def test_a_clock_that_is_alone_is_not_believed_long_after_the_ledger(tmp_path: Path) -> None:
    world = World(tmp_path, {name: sqlite(tmp_path, name) for name in ("rows", "lethe_governance")})
    world.confirm()
    with world.environment() as env:
        stages.run(env, stages.plan(env, "clocks", datetime.now(UTC), trigger="test", dry_run=True))
    everything = world.left()
    ended = world.command("run", "clocks", shift=timedelta(days=3652))
    assert ended.returncode == 1, ended.stdout
    assert "is the only one here" in ended.stderr
    assert world.left() == everything
