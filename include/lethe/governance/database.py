"""The connection to the governance database: how it is opened, read, written and refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from lethe.connections import Connection, Resolver, commit_durably, no_session, sqlalchemy_url
from lethe.errors import NotAdmitted, StoreError, StoreUnavailable
from lethe.governance import schema

CONNECTION_ID = "lethe_governance"


def refuse_newer(version: str) -> None:
    """Refuse a version that this software does not know.

    Raises:
        StoreError: if it is one.
    """
    if version not in schema.VERSIONS:
        raise StoreError(
            f"connection {CONNECTION_ID}: the governance database is of a newer version of Lethe (schema {version}, "
            f"this one knows {schema.HEAD}); install that version"
        )


def _refuse_other_version(version: str) -> None:
    refuse_newer(version)
    if version != schema.HEAD:
        raise StoreError(
            f"connection {CONNECTION_ID}: the governance database is of an older version of Lethe (schema {version}, "
            f"this one needs {schema.HEAD}); when no run is under way, run `lethe governance upgrade`"
        )


def _refuse_other(connection: sa.Connection, version: str) -> None:
    _refuse_other_version(version)
    inspector = sa.inspect(connection)
    there = inspector.get_multi_columns(filter_names=list(schema.metadata.tables))
    names = {table: {column["name"] for column in columns} for (_, table), columns in there.items()}
    missing = [
        f"{table.name}.{column.name}"
        for table in schema.metadata.sorted_tables
        for column in table.columns
        if column.name not in names.get(table.name, set())
    ]
    if missing:
        raise StoreError(
            f"connection {CONNECTION_ID}: the governance database lacks {', '.join(missing)}; somebody changed its "
            "schema: restore it from a backup, or have its owner add what is missing"
        )


_OTHER_SCHEMA = ("42P01", "42703", "3F000")
"""PostgreSQL's codes of a table, a column and a schema that is not there
(https://www.postgresql.org/docs/current/errcodes-appendix.html)."""


class Governance:
    """Access to the governance database. Safe to share between threads; connections are made when needed."""

    def __init__(self, url: sa.URL) -> None:
        self.url = url
        self.engine = _sqlite_engine(url) if url.get_backend_name() == "sqlite" else _server_engine(url)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection for reading, each statement of which sees all that was committed before it."""
        with (
            self._answering(),
            self.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection,
        ):
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction, committed at the end. On SQLite it holds the write lock from its beginning."""
        with self._answering(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def changing_schema(self) -> Iterator[sa.Connection]:
        """A transaction that changes the schema, one at a time and however long it takes."""
        if self.url.get_backend_name() == "sqlite" and self.url.database:
            _make_folder(Path(self.url.database).parent)
        with self.write() as connection:
            if connection.dialect.name == "postgresql":  # two processes may start at once
                connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(0x4C455448)))
            yield connection

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.ProgrammingError) as error:
            if (refusal := no_session(error)) is not None:
                kind, then = (
                    (StoreUnavailable, "see whether it is up, and try again")
                    if refusal.passes
                    else (NotAdmitted, "mend the connection")
                )
                raise kind(
                    f"connection {CONNECTION_ID}: the governance database cannot be reached: {refusal.words}; {then}"
                ) from None
            if getattr(error.orig, "sqlstate", None) == "42501":
                raise StoreError(
                    f"connection {CONNECTION_ID}: its role lacks a right in the governance database. It needs SELECT, "
                    "INSERT, UPDATE and DELETE on the tables lethe_*; who makes or upgrades them needs to own them and "
                    f"`GRANT CREATE ON SCHEMA public TO {self.url.username or 'the role'}`"
                ) from None
            if isinstance(error, sa.exc.ProgrammingError):
                if getattr(error.orig, "sqlstate", None) not in _OTHER_SCHEMA:
                    raise  # the ledger's guard among others, whose refusal is for whoever tries to change it
                raise StoreError(
                    f"connection {CONNECTION_ID}: the governance database is not as this version of Lethe made it "
                    f"({type(error.orig).__name__}); see `lethe governance upgrade`"
                ) from None
            raise StoreUnavailable(
                f"connection {CONNECTION_ID}: the governance database does not answer as it should "
                f"({type(error.orig).__name__}); see whether it is up, and try again"
            ) from None
        except sa.exc.DatabaseError as error:
            state = getattr(error.orig, "sqlstate", None)
            if state == "25P03":
                raise StoreUnavailable(
                    f"connection {CONNECTION_ID}: this process stood still in a transaction for so long that the "
                    "governance database has ended it; try again"
                ) from None
            if state == "25006":
                raise StoreError(
                    f"connection {CONNECTION_ID}: the governance database is read-only, as a standby is: give the "
                    "connection the primary"
                ) from None
            if type(error) is not sa.exc.DatabaseError:
                raise
            raise StoreError(
                f"connection {CONNECTION_ID}: what it leads to is no database, or a damaged one; give it the path "
                "of the governance database, or restore that from a backup"
            ) from None

    def create_schema(self) -> None:
        """Create the schema in an empty database; one of another version is refused.

        Raises:
            StoreError: if it is of another version, lacks a column, or must not be written to.
        """
        version = None
        if self.url.get_backend_name() != "sqlite" or Path(self.url.database or "").exists():
            with self.read() as connection:
                version = schema.version_of(connection)
        if version is None:
            with self.changing_schema() as connection:
                version = schema.version_of(connection)
                if version is None:
                    schema.create(connection)
        with self.read() as connection:
            _refuse_other(connection, version or schema.HEAD)

    def require_version(self) -> None:
        """See that the schema is still of the version that this software knows.

        Raises:
            StoreError: if it is not.
        """
        with self.read() as connection:
            _refuse_other_version(str(connection.scalar(sa.select(schema.schema_version.c.version_num))))

    @property
    def has_clock(self) -> bool:
        """Whether the database has a clock of its own; SQLite has this machine's."""
        return self.url.get_backend_name() != "sqlite"

    def now(self, connection: sa.Connection) -> datetime:
        """The time by the database's clock (on SQLite, this machine's): one clock for all hosts."""
        if not self.has_clock:
            return datetime.now(UTC)
        at: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        return at

    def close(self) -> None:
        """Give back connections."""
        self.engine.dispose()


def open_governance(resolve: Resolver) -> Governance:
    """The governance database behind `lethe_governance`, with its schema in place.

    Raises:
        ConnectionMissing: if the connection is not defined or not of a SQL type.
        StoreUnavailable: if the database does not answer.
    """
    connection: Connection = resolve(CONNECTION_ID)
    governance = Governance(sqlalchemy_url(connection))
    governance.create_schema()
    return governance


class KeptOpen:
    """The governance database of a process that answers many requests: opened once, and asked at each what it is.

    Safe to share between threads. Where the connection has changed, another one is opened in its place.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: Governance | None = None

    def governance(self, resolve: Resolver) -> Governance:
        """The database behind `lethe_governance`. Do not close it.

        Raises:
            ConnectionMissing, StoreUnavailable, StoreError: as `open_governance`, also where another process has
                upgraded it since.
        """
        connection = resolve(CONNECTION_ID)
        url = sqlalchemy_url(connection)
        with self._lock:
            if self._open is not None and self._open.url == url:
                self._open.require_version()
                return self._open
            opened = open_governance(lambda _: connection)
            if self._open is not None:
                self._open.close()
            self._open = opened
            return opened


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"connection {CONNECTION_ID}: the folder of its SQLite file, {folder}, cannot be made ({error.strerror}); "
            "give the connection the path of a file that can be written"
        ) from None


_SERVER_OPTIONS = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "tcp_user_timeout": 60_000,
}
"""A server that does not answer ends in minutes. A connection's own options take these ones' place."""
_SESSION = " ".join(
    f"-c {setting}"
    for setting in (
        "statement_timeout=300s",
        "idle_in_transaction_session_timeout=300s",
        r"default_transaction_isolation=read\ committed",  # of single statements: they see what was committed before
        "DateStyle=ISO",  # the only one that psycopg reads
    )
)
"""So does a statement that waits, and a process that was stopped in a transaction."""


def _server_engine(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(
        url,
        pool_size=4,
        max_overflow=8,
        pool_pre_ping=True,
        hide_parameters=True,
        isolation_level="READ COMMITTED",  # whatever the database's default: appends wait for each other
        connect_args={
            **{name: value for name, value in _SERVER_OPTIONS.items() if name not in url.query},
            "options": f"{_SESSION} {url.query.get('options', '')}".strip(),  # of two, the later one counts
        },
    )
    commit_durably(engine)
    return engine


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args={"timeout": 30})

    @sa.event.listens_for(engine, "connect")
    def _prepare(dbapi_connection: Any, _record: object) -> None:  # noqa: ANN401 - sqlite3.Connection
        dbapi_connection.isolation_level = None  # transactions begin where `_begin` says, not where sqlite3 guesses
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            dbapi_connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
