"""The governance database: its schema's versions, and what it does not leave to the server's defaults (promise 10)."""

from __future__ import annotations

import secrets
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from tests.unit.cli_kit import AS_OF, Command, digest_of
from typer.testing import CliRunner

from lethe.cli import app
from lethe.connections import Connection, sqlalchemy_url
from lethe.errors import StoreError, StoreUnavailable
from lethe.evidence.ledger import Ledger
from lethe.governance import Governance, KeptOpen, schema
from lethe.governance.migrating import scripts, upgrade
from lethe_demo.servers import EmbeddedPostgres

OLD = Path(__file__).parent / "governance_0"


@pytest.fixture
def old(office_connection: Connection) -> Governance:
    """A database as the version before migrations made it, with an entry in its ledger."""
    governance = Governance(sqlalchemy_url(office_connection))
    statements = (OLD / f"{governance.engine.dialect.name}.sql").read_text().split("\n\n")[1:]
    with governance.write() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        Ledger(governance).append(connection, "policy.changed", "webinars", {"to": "x"})
    return governance


def test_an_old_database_is_refused_until_it_is_upgraded_and_then_is_as_a_new_one(old: Governance) -> None:
    with pytest.raises(StoreError, match="lethe governance upgrade"):
        old.create_schema()
    assert upgrade(old) == ("0001", schema.HEAD)
    old.create_schema()
    assert upgrade(old) == (schema.HEAD, schema.HEAD)
    with old.read() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), schema.metadata)
    told = [one for one in differences if isinstance(one, tuple) and "lethe_" in str(one) and "comment" not in one[0]]
    assert told == []
    with old.write() as connection, pytest.raises(sa.exc.DatabaseError, match="append-only"):
        connection.execute(sa.delete(schema.ledger))
    old.close()


def test_upgrades_at_once_are_safe(old: Governance) -> None:
    found: list[tuple[str, str]] = []
    threads = [threading.Thread(target=lambda: found.append(upgrade(old))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [("0001", schema.HEAD)] + [(schema.HEAD, schema.HEAD)] * 3
    old.close()


def test_the_latest_migration_is_the_version_that_is_made_anew() -> None:
    assert [step.revision for step in scripts().walk_revisions()] == list(reversed(schema.VERSIONS))


def test_a_newer_database_and_one_with_a_column_less_are_refused(office_connection: Connection) -> None:
    governance = Governance(sqlalchemy_url(office_connection))
    governance.create_schema()
    with governance.write() as connection:
        connection.exec_driver_sql("ALTER TABLE lethe_lease DROP COLUMN expires_at")
    with pytest.raises(StoreError, match=r"lacks lethe_lease\.expires_at"):
        governance.create_schema()
    with governance.write() as connection:
        connection.execute(sa.update(schema.schema_version).values(version_num="9999"))
    for refused in (governance.create_schema, lambda: upgrade(governance)):
        with pytest.raises(StoreError, match="newer version"):
            refused()
    governance.close()


def test_appends_at_once_succeed_whatever_isolation_is_the_default(office_connection: Connection) -> None:
    governance = Governance(sqlalchemy_url(office_connection))
    governance.create_schema()
    if governance.engine.dialect.name == "postgresql":
        with governance.write() as connection:
            name = connection.scalar(sa.select(sa.func.current_database()))
            connection.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
        governance.engine.dispose()
    faults: list[BaseException] = []

    def append() -> None:
        try:
            for _ in range(10):
                with governance.write() as connection:
                    Ledger(governance).append(connection, "policy.changed", "webinars", {})
        except BaseException as error:
            faults.append(error)
            raise

    threads = [threading.Thread(target=append) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    governance.close()


# --- what is not left to the server's defaults ------------------------------------------------------------------------


@pytest.fixture
def server(postgres: EmbeddedPostgres) -> Iterator[Connection]:
    """A connection to an empty database on a server."""
    name = f"governance_{secrets.token_hex(4)}"
    postgres.create_database(name)
    yield postgres.connection("lethe_governance", name)
    postgres.drop_database(name)


def opened(connection: Connection, **extra: str) -> closing[Governance]:
    governance = Governance(sqlalchemy_url(replace(connection, extra={**connection.extra, **extra})))
    governance.create_schema()
    return closing(governance)


def setting(connection: sa.Connection, name: str) -> object:
    return connection.scalar(sa.select(sa.func.current_setting(name)))


def test_a_server_that_accepts_and_never_answers_is_given_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        there = Connection("lethe_governance", "postgres", host="127.0.0.1", port=port, extra={"connect_timeout": 2})
        with pytest.raises(
            StoreUnavailable,
            match="lethe_governance: the governance database cannot be reached: its host does not answer in time",
        ):
            Governance(sqlalchemy_url(there)).create_schema()


def look_at_runs(governance: Governance) -> None:
    with governance.write() as connection:
        connection.execute(sa.select(schema.run.c.id))


def lock_runs(connection: sa.Connection) -> None:
    connection.exec_driver_sql("LOCK TABLE lethe_run IN ACCESS EXCLUSIVE MODE")


def test_a_statement_that_waits_for_a_lock_is_given_up_and_the_next_one_runs(server: Connection) -> None:
    with opened(server) as other, opened(server, options="-c statement_timeout=300ms") as governance:
        with other.write() as holder:
            lock_runs(holder)
            with pytest.raises(StoreUnavailable, match=r"does not answer as it should \(QueryCanceled\)"):
                look_at_runs(governance)
        look_at_runs(governance)


def test_who_stops_in_a_transaction_loses_it_and_keeps_nobody_waiting(server: Connection) -> None:
    with opened(server, options="-c idle_in_transaction_session_timeout=200ms") as stopped, opened(server) as other:

        def stop() -> None:
            with stopped.write() as connection:
                lock_runs(connection)
                look_at_runs(other)  # waits until the server has ended the other transaction
                connection.execute(sa.select(schema.run.c.id))

        with pytest.raises(StoreUnavailable, match="stood still in a transaction"):
            stop()


@pytest.mark.parametrize("extra", [{}, {"options": "-c application_name=ours"}])
def test_limits_and_isolation_are_set_whatever_the_defaults_are(
    postgres: EmbeddedPostgres, server: Connection, extra: dict[str, str]
) -> None:
    with opened(server) as governance, governance.write() as connection:
        for default in (
            "default_transaction_isolation = 'serializable'", "statement_timeout = 0", "synchronous_commit = off",
            "idle_in_transaction_session_timeout = 0", "DateStyle = 'SQL, DMY'", "TimeZone = 'Asia/Kathmandu'",
            "IntervalStyle = 'iso_8601'", "bytea_output = 'escape'",
        ):  # fmt: skip
            connection.exec_driver_sql(f"ALTER DATABASE {server.schema} SET {default}")
    with opened(server, **extra) as governance:
        for access in (governance.write, governance.read):
            with access() as connection:
                assert setting(connection, "transaction_isolation") == "read committed"
                assert setting(connection, "statement_timeout") == "5min"
                assert setting(connection, "idle_in_transaction_session_timeout") == "5min"
                assert setting(connection, "synchronous_commit") == "on"
                driver = connection.connection.driver_connection
                assert driver.info.get_parameters()["connect_timeout"] == "10"  # type: ignore[union-attr]
                assert abs(governance.now(connection) - datetime.now(UTC)).days == 0
        moment = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
        with governance.write() as connection:
            connection.execute(sa.insert(schema.lease).values(id="1", run_id="r", expires_at=moment))
        with governance.read() as connection:
            assert connection.scalar(sa.select(schema.lease.c.expires_at)) == moment


def test_each_reading_sees_what_others_have_committed_since(server: Connection) -> None:
    with opened(server) as governance, governance.write() as first:
        query = sa.select(sa.func.count()).select_from(schema.lease)
        assert first.scalar(query) == 0
        with governance.write() as second:
            second.execute(sa.insert(schema.lease).values(id="1", run_id="r", expires_at=datetime.now(UTC)))
        assert first.scalar(query) == 1


def test_a_database_that_must_not_be_written_to_is_said_to_be_none(server: Connection) -> None:
    with opened(server) as governance, governance.write() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {server.schema} SET default_transaction_read_only = on")
    with (
        opened(server) as governance,
        pytest.raises(StoreError, match=r"read-only.*the primary"),
        governance.write() as connection,
    ):
        connection.execute(sa.update(schema.registry_state).values(version=9))


def test_an_older_copy_has_not_the_holds_since_and_an_anchor_says_that_entries_are_missing(lethe: Command) -> None:
    """As docs/setting-up.md says of restoring one: nothing else tells, and a hold that is placed again binds again."""
    database, copy = lethe.folder / "home" / "governance.db", lethe.folder / "copy.db"
    anchors = lethe.folder / "anchors.jsonl"
    first = lethe.place("--email", lethe.email(1))
    shutil.copy(database, copy)
    second = lethe.place("--email", lethe.email(2))
    lethe("ledger", "anchor", str(anchors))
    for name in ("governance.db-wal", "governance.db-shm"):
        (database.parent / name).unlink(missing_ok=True)
    shutil.copy(copy, database)
    listed = lethe("hold", "list")
    assert first in listed
    assert second not in listed
    assert "The evidence holds." in lethe("ledger", "verify")
    found = CliRunner().invoke(app, ["ledger", "verify", "--anchor", str(anchors)])
    assert found.exit_code == 1
    assert "missing" in found.output
    lethe.place("--email", lethe.email(2))
    digest = digest_of(lethe("run", "webinars", "--dry-run", "--as-of", AS_OF))
    lethe("run", "webinars", "--as-of", AS_OF, "--expect", digest)
    assert lethe.rows() & set(range(50)) == {1, 2}


def test_a_database_that_is_kept_open_is_asked_each_time_what_it_is(office_connection: Connection) -> None:
    kept, connection = KeptOpen(), replace(office_connection, conn_id="lethe_governance")
    governance = kept.governance(lambda _: connection)
    assert kept.governance(lambda _: connection) is governance
    with governance.write() as session:
        session.execute(sa.update(schema.schema_version).values(version_num="9999"))
    with pytest.raises(StoreError, match="of a newer version of Lethe"):
        kept.governance(lambda _: connection)
    with governance.write() as session:
        session.execute(sa.update(schema.schema_version).values(version_num=schema.HEAD))
    assert kept.governance(lambda _: connection) is governance
    governance.close()


def test_where_the_connection_has_changed_another_database_is_opened(tmp_path: Path) -> None:
    kept = KeptOpen()
    first, second = (Connection("lethe_governance", "sqlite", host=str(tmp_path / f"{n}.db")) for n in range(2))
    opened = [kept.governance(lambda _, one=one: one) for one in (first, second, second)]  # type: ignore[misc]
    assert [Path(str(one.url.database)).name for one in opened] == ["0.db", "1.db", "1.db"]
    assert opened[1] is opened[2]
