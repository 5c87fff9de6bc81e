"""No personal data outside the stores (promise 6): every value carries a token, and no token may be found elsewhere.

After whole, failing, killed and repeated runs, from the command line and in Airflow, everything that Lethe and the
libraries it uses have written is searched: logs at their most talkative, output, both databases, XCom, rendered fields,
lineage, Data Docs, certificates, proofs, temporary files, and what is left staged beside the records.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import logging
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.parse
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.faults.canary import AS_OF, HELD, KINDS, PEOPLE, Stores, Tokens
from typer.testing import CliRunner

from lethe import stages
from lethe.cli import app
from lethe.connections import Connection
from lethe.environment import Environment
from lethe.errors import LetheError
from lethe.settings import Settings
from lethe_demo.servers import EmbeddedPostgres, EmbeddedS3

_TALKATIVE = (
    "", "sqlalchemy", "sqlalchemy.engine", "sqlalchemy.pool", "sqlalchemy.dialects", "boto3", "botocore",
    "botocore.endpoint", "botocore.parsers", "urllib3", "urllib3.connectionpool", "s3transfer", "great_expectations",
    "psycopg", "asyncio",
)  # fmt: skip
"""Loggers that are set to DEBUG, as somebody does who looks for a fault."""

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def everything_logged(file: Path) -> Iterator[None]:
    """All log messages of this process, of every library and level, into a file."""
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    before = {name: logging.getLogger(name).level for name in _TALKATIVE}
    for name in before:
        logging.getLogger(name).setLevel(logging.DEBUG)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@dataclass
class Desk:
    """Somebody at the command line, whose every output and log is kept where it is searched."""

    stores: Stores
    count: int = 0

    def __call__(self, *arguments: str, status: int | None = 0) -> str:
        """Run a command, with --debug the second time if it fails; gives its output."""
        with everything_logged(self.stores.outside / f"lethe-{self.count:03}.log"):
            result = CliRunner().invoke(app, list(arguments), input="")
        self._keep(result.output)
        if result.exception and not isinstance(result.exception, SystemExit):
            self._keep("".join(traceback.format_exception(result.exception)))
        if status is not None:
            assert result.exit_code == status, result.output
        return result.output

    def fails(self, *arguments: str) -> str:
        """Run a command that fails, without --debug and with it."""
        text = self(*arguments, status=1)
        self("--debug", *arguments, status=1)
        return text

    def _keep(self, text: str) -> None:
        self.count += 1
        (self.stores.outside / f"output-{self.count:03}.txt").write_text(text)


MakeStores = Callable[..., Stores]


@pytest.fixture
def make_stores(
    postgres: EmbeddedPostgres, s3: EmbeddedS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeStores]:
    """Makes filled stores, whose logs, output and temporary files are kept."""
    made: list[Stores] = []

    def make(registry: str = "sqlite") -> Stores:
        stores = Stores(postgres, s3, tmp_path / "outside", tmp_path / "inside", registry)
        made.append(stores)
        for name, value in stores.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(tempfile, "tempdir", None)
        return stores

    yield make
    for stores in made:
        stores.drop()


def hold_from_outside(stores: Stores, desk: Desk) -> None:
    """Place a hold on somebody by every identifier, from arguments and from a file."""
    listed = stores.inside / "people.csv"
    lines = [f"email,{stores.email(HELD)}", f"account,{stores.account(HELD)}", f"person,{stores.tokens['tag']}-{HELD}"]
    listed.write_text("\n".join(["type,identifier", *lines]))
    options = ["--email", stores.email(HELD), "--phone", stores.phone(HELD), "--file", str(listed)]
    desk("hold", "place", "--matter", "M-1", "--reason", "dispute", "--by", "ann", *options)


# --- the search itself ------------------------------------------------------------------------------------------------

_FORMS: dict[str, Callable[[str], bytes]] = {
    "plain": str.encode,
    "upper": lambda text: text.upper().encode(),
    "capital": lambda text: text.capitalize().encode(),
    "quoted": lambda text: urllib.parse.quote(f"ř {text} ü").encode(),
    "every character quoted": lambda text: "".join(f"%{ord(one):02x}" for one in text).encode(),
    "base64": lambda text: base64.b64encode(f"a{text}.".encode()),
    "base64, other offset": lambda text: base64.urlsafe_b64encode(f"abcd ef {text.upper()}??".encode()),
    "hex": lambda text: text.encode().hex().encode(),
    "upper hex": lambda text: text.encode().hex().upper().encode(),
    "gzip": lambda text: gzip.compress(f"before {text} after".encode()),
    "gzip within": lambda text: b"\0\x01head" + gzip.compress(gzip.compress(text.encode())) + b"tail",
    "zlib": lambda text: zlib.compress(text.encode()),
    "gzip in base64": lambda text: base64.b64encode(gzip.compress(f"before {text} after".encode())),
    "JSON escapes": lambda text: "".join(f"\\u{ord(one):04x}" for one in text).encode(),
}


@pytest.mark.parametrize("form", _FORMS)
def test_the_search_knows_a_token_in_every_form(form: str) -> None:
    tokens = Tokens()
    for kind in KINDS:
        if kind == "phone" and form in ("upper", "capital"):
            continue
        written = b"some words; " + _FORMS[form](tokens[kind]) + b" and more"
        assert tokens.seen_in(written) == {kind}, kind
    assert tokens.seen_in(_FORMS[form]("kq0123456789abcdz")) == set()


def test_the_search_looks_into_every_place(make_stores: MakeStores) -> None:
    stores = make_stores("postgresql")
    Desk(stores)("due", "canaries")
    assert stores.traces() == {}
    token, home = stores.tokens["email"], stores.home
    with everything_logged(stores.outside / "lethe.log"):
        logging.getLogger("lethe.canary").debug("%s", token)
    (stores.outside / "tmp" / "spool").write_bytes(token.encode())
    (stores.outside / f"{token}.txt").touch()
    (home / "page.html.gz").write_bytes(gzip.compress(token.encode()))
    with sqlite3.connect(home / "other.db") as other:
        other.execute("PRAGMA journal_mode = wal")
        other.execute("CREATE TABLE t (b)")
        other.execute("INSERT INTO t VALUES (?)", (gzip.compress(token.encode()),))
        other.commit()
        insert = "INSERT INTO lethe_lease VALUES (:token, 'x', now())"
        with stores.postgres.engine(f"{stores.name}_governance").begin() as connection:
            connection.execute(sa.text(insert), {"token": token})
        with stores.engine.begin() as connection:
            connection.execute(sa.text("CREATE SCHEMA lethe_scratch"))
            connection.execute(sa.text("CREATE TABLE lethe_scratch.keys (k bytea)"))
            connection.execute(sa.text("INSERT INTO lethe_scratch.keys VALUES (:k)"), {"k": token.upper().encode()})
        stores.client.put_object(Bucket=stores.bucket, Key="_lethe/x", Body=gzip.compress(token.encode()))
        stores.client.put_object(Bucket=stores.bucket, Key=f"_lethe/{token}", Body=b"")
        stores.client.delete_object(Bucket=stores.bucket, Key=f"_lethe/gone-{token}")
        found = stores.traces()
    other.close()
    assert {
        "lethe.log", "tmp/spool", f"{token}.txt", "home/page.html.gz", "home/other.db: t", "home/other.db-wal",
        "governance: public.lethe_lease", "staging: lethe_scratch.keys", "bucket: _lethe/x", f"bucket: _lethe/{token}",
        f"bucket: _lethe/gone-{token}",
    } <= set(found)  # fmt: skip


# --- whole runs -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("registry", ["sqlite", "postgresql"])
def test_a_whole_run_shows_nobody(make_stores: MakeStores, registry: str) -> None:
    stores = make_stores(registry)
    desk, as_of = Desk(stores), AS_OF.isoformat()
    hold_from_outside(stores, desk)
    for wrong in (["--email", f"{stores.tokens['email']} at example"], ["--identifier", f"ip={stores.tokens['name']}"]):
        desk.fails("hold", "place", "--matter", "M-2", "--reason", "r", *wrong)
    desk("hold", "list")
    assert "M-1" in desk("hold", "find", "email", stores.email(HELD))
    desk("due", "canaries", "--as-of", as_of)
    digest = desk("run", "canaries", "--as-of", as_of, "--dry-run").rsplit("Digest: ")[1].strip()
    text = desk("run", "canaries", "--as-of", as_of, "--expect", digest, "--by", "ann")
    run = text.split("Run ")[1].split(":")[0]
    assert stores.left() == {"people": PEOPLE // 2 + 1, "files": 26, "rows": 2}, "the run did its work"
    desk("report")
    desk("report", run)
    out = stores.outside
    desk("certificate", "show", run, "--html", str(out / "certificate.html"), "--json", str(out / "certificate.json"))
    for n, (dataset, key) in enumerate(
        [
            ("people", stores.key(2)),
            ("people", stores.key(HELD)),
            ("files", stores.object_key(2)),
            ("rows", stores.row_key(2)),
        ]
    ):
        proof = str(out / f"proof-{n}.json")
        said = desk("prove", f"canaries.{dataset}", key, "--run", run, "--out", proof, status=3 if n == 1 else 0)
        assert ("erased by run" in said) == (n != 1), said
        desk("proof", "verify", proof, key)
    desk("prove", "canaries.people", f"{stores.tokens['key']}-nobody", status=3)
    desk.fails("proof", "verify", str(out / "proof-0.json"), stores.key(3))
    desk("ledger", "verify", "--records")
    logged = "".join(file.read_text() for file in out.glob("lethe-*.log"))
    assert "sqlalchemy.engine.Engine.lethe" in logged, "libraries talked"
    assert list(stores.home.rglob("*.html")), "there are Data Docs"
    assert stores.traces() == {}


# --- failing runs -----------------------------------------------------------------------------------------------------


def _guard(stores: Stores, body: str) -> None:
    """Have PostgreSQL do something before it deletes a row."""
    with stores.engine.begin() as connection:
        connection.execute(
            sa.text(f"CREATE FUNCTION crm.g() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN OLD; END $$")
        )
        connection.execute(
            sa.text("CREATE TRIGGER g BEFORE DELETE ON crm.people FOR EACH ROW EXECUTE FUNCTION crm.g()")
        )


def _execute(stores: Stores, *statements: str) -> None:
    with stores.engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def undeclared_child(stores: Stores) -> None:
    """Rows of a table that the policy does not name refer to the rows: PostgreSQL quotes their keys."""
    _execute(stores, "CREATE TABLE crm.orders AS SELECT id AS person_id FROM crm.people",
             "ALTER TABLE crm.orders ADD FOREIGN KEY (person_id) REFERENCES crm.people")  # fmt: skip


def unique_violation(stores: Stores) -> None:
    """A trigger writes what is deleted to a table where it is already."""
    _execute(
        stores, "CREATE TABLE crm.former AS SELECT email FROM crm.people", "CREATE UNIQUE INDEX ON crm.former (email)"
    )
    _guard(stores, "INSERT INTO crm.former VALUES (OLD.email)")


def refusing_trigger(stores: Stores) -> None:
    """A trigger refuses, in words that quote the row."""
    _guard(
        stores,
        "RAISE NOTICE 'about %', OLD; RAISE INFO 'about %', OLD; "
        "RAISE EXCEPTION 'never delete %', OLD.email USING DETAIL = OLD.name",
    )


def failing_cast(stores: Stores) -> None:
    """A trigger fails on a value, which PostgreSQL quotes."""
    _guard(stores, "PERFORM OLD.name::integer")


def broken_off(stores: Stores) -> None:
    """The server ends the session while it deletes."""
    _guard(stores, f"IF OLD.id = '{stores.key(20)}' THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF")


def denied(stores: Stores) -> None:
    """The user may read, but not delete."""
    role = f"{stores.name}_reader"
    _execute(
        stores, f"DROP ROLE IF EXISTS {role}", f"CREATE ROLE {role} LOGIN", f"GRANT USAGE ON SCHEMA crm TO {role}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA crm TO {role}", f"GRANT CREATE ON DATABASE {stores.name} TO {role}",
    )  # fmt: skip
    crm = stores.connections["crm"]
    scratch = {**crm.extra, "lethe_scratch_schema": "reader_scratch"}
    stores.connections["crm"] = Connection("crm", "postgres", crm.host, crm.port, crm.schema, role, None, scratch)


def strange_clocks(stores: Stores) -> None:
    """Clocks that are none, but words."""
    words = f"{stores.tokens['clock']} 2020"
    _execute(stores, f"UPDATE crm.people SET ended = '{words}' WHERE id = '{stores.key(6)}'")  # noqa: S608
    stores.put_object(6, day=words)
    stores.put_file(0, ended=words)


def early_clocks(stores: Stores) -> None:
    """Clocks before the earliest that is plausible: an expectation fails, and Great Expectations quotes values."""
    _execute(stores, "UPDATE crm.people SET ended = '1899-12-31' WHERE ended < '2021'")
    stores.put_object(6, day="1899-12-31")
    stores.put_file(1, ended="1899-12-31")


def over_the_limit(stores: Stores) -> None:
    """More than the policy allows without a person, and nobody is there."""
    stores.write_policy(records=1)


def corrupt_file(stores: Stores) -> None:
    """Files that say they are Parquet, with values where their footer should be."""
    junk = f"PAR1{stores.tokens['cell']} {stores.email(1)}".encode() * 20
    for file, tail in ((0, b"\xff\0\0\0PAR1"), (2, b"")):
        stores.client.put_object(Bucket=stores.bucket, Key=stores.file_key(file), Body=junk + tail)


def wrong_table(stores: Stores) -> None:
    """A column is not there any more."""
    _execute(stores, "ALTER TABLE crm.people DROP COLUMN account")


def wrong_secret(stores: Stores) -> None:
    """S3 does not accept the signature, and answers with what was signed."""
    lake = stores.connections["lake"]
    stores.connections["lake"] = Connection("lake", "aws", login=lake.login, password="wrong", extra=lake.extra)


def no_bucket(stores: Stores) -> None:
    """The records are in another bucket."""
    file = stores.inside / "policies" / "canaries.yaml"
    file.write_text(file.read_text().replace(f"bucket: {stores.bucket}", "bucket: no-such-bucket"))


FAULTS: dict[Callable[[Stores], None], str] = {
    undeclared_child: "people", unique_violation: "people", refusing_trigger: "people", failing_cast: "people",
    broken_off: "people", denied: "people", early_clocks: "", over_the_limit: "people", wrong_table: "",
    wrong_secret: "", no_bucket: "", strange_clocks: "", corrupt_file: "rows",
}  # fmt: skip
"""What goes wrong, and the dataset that shows it; all where empty."""

GREEN = {strange_clocks, corrupt_file}
"""What cannot be judged is counted and reported; the run is not red for it."""


@pytest.mark.slow
def test_failing_runs_show_nobody(make_stores: MakeStores, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = make_stores()
    desk, sound = Desk(stores), dict(stores.connections)
    hold_from_outside(stores, desk)
    for number, (break_it, dataset) in enumerate(FAULTS.items()):
        stores.connections = dict(sound)
        stores.write_policy()
        stores.fill()
        break_it(stores)
        for name, value in stores.environment().items():
            monkeypatch.setenv(name, value)
        command = ["run", "canaries", "--as-of", AS_OF.isoformat(), "--by", "ann"]
        command += ["--dataset", dataset] if dataset else []
        desk(*(["--debug"] if number % 2 else []), *command, status=int(break_it not in GREEN))
        desk("due", "canaries", status=None)
        desk("report", "-n", "1")
        assert stores.traces() == {}, break_it.__name__


class Changing:
    """A watcher that changes what is in the stores just before it is erased."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def stage(self, name: str, dataset: str, total: int | None) -> None:
        stores = self._stores
        if name == "erase" and dataset == "people":
            renewed = sa.text("UPDATE crm.people SET ended = '2026-05-05' WHERE id = :id")
            gone = (
                sa.text("DELETE FROM crm.notes WHERE person_id = :id"),
                sa.text("DELETE FROM crm.people WHERE id = :id"),
            )
            with stores.engine.begin() as connection:
                connection.execute(renewed, {"id": stores.key(2)})
                for statement in gone:
                    connection.execute(statement, {"id": stores.key(6)})
        if name == "erase" and dataset == "files":
            stores.put_object(2)
            stores.client.delete_object(Bucket=stores.bucket, Key=stores.object_key(6))
        if name == "erase" and dataset == "rows":
            stores.put_file(0)
            stores.client.delete_object(Bucket=stores.bucket, Key=stores.file_key(1))

    def progress(self, records: int) -> None: ...


@contextlib.contextmanager
def breaking_off(stores: Stores, at: bytes) -> Iterator[Callable[[], None]]:
    """An S3 server that closes every connection once it was asked for something, after what is given was called."""
    lake = stores.connections["lake"]
    target = urllib.parse.urlsplit(str(lake.extra["endpoint_url"]))
    listener = socket.create_server(("127.0.0.1", 0))
    armed, broken = threading.Event(), threading.Event()

    def forward(source: socket.socket, sink: socket.socket, *, asks: bool) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(65536)) and not (asks and at in data and armed.is_set()) and not broken.is_set():
                sink.sendall(data)
            if data:
                broken.set()
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = listener.accept()
                there = socket.create_connection((target.hostname, target.port))
                threading.Thread(target=forward, args=(here, there), kwargs={"asks": True}, daemon=True).start()
                threading.Thread(target=forward, args=(there, here), kwargs={"asks": False}, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    extra = {**lake.extra, "endpoint_url": f"http://127.0.0.1:{listener.getsockname()[1]}"}
    stores.connections["lake"] = Connection("lake", "aws", login=lake.login, password=lake.password, extra=extra)
    try:
        yield armed.set
    finally:
        stores.connections["lake"] = lake
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.slow
def test_changed_and_broken_stores_show_nobody(make_stores: MakeStores) -> None:
    stores = make_stores()
    settings = replace(Settings(), claim_seconds=1.0)  # the next run need not wait for it

    def run(planned: Callable[[], None] = lambda: None, **options: object) -> None:
        log = stores.outside / f"lethe-{time.monotonic_ns()}.log"
        with everything_logged(log), Environment(lambda conn_id: stores.connections[conn_id], settings) as env:
            try:
                plan = stages.plan(env, "canaries", AS_OF, trigger="test", take_over=True)
                planned()
                stages.run(env, plan, **options)  # type: ignore[arg-type]
            except LetheError as error:
                text = "".join(traceback.format_exception(error))
                (stores.outside / f"error-{time.monotonic_ns()}.txt").write_text(text)

    run(watcher=Changing(stores))
    assert stores.traces() == {}, "changed"
    for asked in (b"?delete", b"PUT "):
        stores.fill()
        with breaking_off(stores, asked) as arm:
            run(arm)
        assert stores.traces(staging=False) == {}, asked
    with breaking_off(stores, b"PUT ") as arm:
        arm()
        run()
    assert stores.traces(staging=False) == {}, "planning"
    assert len(list(stores.outside.glob("error-*"))) >= 3, "runs failed, a plan was refused"
    stores.fill()
    run()
    assert stores.traces() == {}, "settled by the next run"


# --- killed runs ------------------------------------------------------------------------------------------------------

_LOGGED = """
import logging, sys
from tests.faults.test_canary import everything_logged
from pathlib import Path
from lethe.cli import main
with everything_logged(Path(sys.argv.pop(1))):
    main()
"""


Enough = Callable[[], bool]


def _in_a_process(stores: Stores, name: str, arguments: list[str], enough: Enough | None) -> int:
    """Run a program, and kill it once the stores have so little left; gives its status."""
    with (stores.outside / f"{name}.out").open("wb") as output:
        environment = {**os.environ, **stores.environment(), "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, *arguments], stdout=output, stderr=output, env=environment, cwd=stores.outside
        )
        while process.poll() is None:
            if enough is not None and enough():
                process.send_signal(signal.SIGKILL)
            time.sleep(0.05)
    return process.returncode


@pytest.mark.slow
def test_killed_runs_show_nobody(make_stores: MakeStores) -> None:
    stores = make_stores()
    hold_from_outside(stores, Desk(stores))
    _guard(stores, "PERFORM pg_sleep(0.02)")
    full = stores.left()

    def run(name: str, enough: Enough | None = None) -> int:
        log = str(stores.outside / f"{name}.log")
        command = ["run", "canaries", "--as-of", AS_OF.isoformat(), "--take-over"]
        return _in_a_process(stores, name, ["-c", _LOGGED, log, *command], enough)

    for name in ("people", "files"):
        status = run(f"killed-{name}", lambda name=name: stores.count(name) < full[name])  # type: ignore[misc]
        assert status == -signal.SIGKILL
        assert stores.traces(staging=False) == {}, name
    assert run("again") == 0
    assert stores.left() == {"people": PEOPLE // 2 + 1, "files": 26, "rows": 2}
    assert stores.traces() == {}


# --- Airflow ----------------------------------------------------------------------------------------------------------


def airflow_settings(stores: Stores) -> dict[str, str]:
    """An Airflow of its own, all of whose files are searched, at its most talkative."""
    home = stores.outside / "airflow"
    (home / "dags").mkdir(parents=True)
    dag = "from lethe.airflow import retention_dag\n\ndag = retention_dag('canaries')\n"
    (home / "dags" / "canaries.py").write_text(dag)
    transport = {"type": "file", "log_file_path": str(home / "openlineage.jsonl"), "append": True}
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
        "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "sqlalchemy.engine=DEBUG botocore=DEBUG urllib3=DEBUG",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
        "AIRFLOW__OPENLINEAGE__EXECUTE_IN_THREAD": "True",
        "AIRFLOW__OPENLINEAGE__NAMESPACE": "lethe",
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_airflow_shows_nobody(make_stores: MakeStores, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed, whole and failing DAG runs, one of them approved: metadata database, XCom, logs and lineage."""
    stores = make_stores()
    hold_from_outside(stores, Desk(stores))
    for name, value in airflow_settings(stores).items():
        monkeypatch.setenv(name, value)
    full = stores.left()

    def run(*names: str, enough: Enough | None = None) -> str:
        status = _in_a_process(stores, f"dag-{names[0]}", ["-m", "tests.faults.canary_dag", *names], enough)
        assert (status == 0) == (enough is None), names
        assert stores.traces(staging=status == 0) == {}, names
        return (stores.outside / f"dag-{names[0]}.out").read_text(errors="replace")

    _guard(stores, "PERFORM pg_sleep(0.02)")
    run("killed", enough=lambda: stores.count("people") < full["people"])
    assert "whole: success" in run("resumed", "whole")
    assert stores.left() == {"people": PEOPLE // 2 + 1, "files": 26, "rows": 2}
    stores.fill()
    over_the_limit(stores)
    strange_clocks(stores)
    corrupt_file(stores)
    refusing_trigger(stores)
    text = run("approved")
    assert "approved: failed" in text
    assert "'people.erase[0]': 'failed'" in text
    assert {path.name for path in (stores.outside / "airflow").iterdir()} >= {"airflow.db", "openlineage.jsonl"}
