"""SQLite, through Python's sqlite3.

SQLite has no types for dates and no exact text functions, but it calls Python: clocks are parsed and identifiers
normalised by the very functions that the rest of Lethe uses. It has one writer at a time, so a batch that has begun
(BEGIN IMMEDIATE) sees rows that nobody changes, and the write lock is the gate lock.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime
from datetime import time as clock_time
from decimal import Decimal
from functools import lru_cache, partial
from itertools import islice
from math import ceil, copysign, floor, inf, isfinite
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from lethe.connections import Connection, file_url
from lethe.errors import StoreError
from lethe.judging.conditions import Precision, is_like, limit
from lethe.judging.dates import (
    PER_SECOND,
    Moment,
    TimestampFormat,
    Walls,
    Zones,
    day_of,
    epoch_number,
    from_epoch,
    read,
)
from lethe.judging.identifiers import IdentifierType, as_text, exact, whole_names
from lethe.stores.base import Remainder
from lethe.stores.sources import unlogged_rows
from lethe.stores.sql.catalogue import Action, Change, ForeignKey, Relation, RelationKind, Trigger
from lethe.stores.sql.dialects.base import (
    AnyColumn,
    AsWritten,
    Bound,
    ClockKind,
    Dialect,
    Fault,
    Predicate,
    epochs,
)
from lethe.stores.sql.settings import SqlSettings

_QUOTED = re.compile(r"""--[^\n]*|/\*.*?\*/|"(?:[^"]|"")*"|'(?:[^']|'')*'|`(?:[^`]|``)*`|\[[^]]*\]""", re.DOTALL)
"""What in a statement may have any word in it: comments, and what is in quotes."""
_EVENT = re.compile(r"\b(?:DELETE|INSERT|UPDATE)\b", re.IGNORECASE)
_MASTER = sa.table("sqlite_master", *(sa.column(name) for name in ("type", "name", "tbl_name", "sql")))

_LETTER = sa.cast(sa.literal_column("'a'"), sa.LargeBinary())
_ENCODINGS = {"a".encode(encoding): encoding for encoding in ("utf-8", "utf-16-le", "utf-16-be")}
"""What a file's text is encoded in, by a letter of it."""

_BEGIN = "lethe_begin"
_POLL_SECONDS = 0.002
_PAUSE_SECONDS = 0.01
_PAUSE_FOR_PLACER_SECONDS = 0.05


class SQLite(Dialect):
    """SQLite."""

    name = "sqlite"
    restricts_each_row = True
    writes_alone = True
    days_are_text = True
    groups_as_it_compares = False

    # --- connections and transactions ---

    def url(self, connection: Connection) -> sa.URL:
        """The file."""
        return file_url(connection)

    def engine(self, url: sa.URL, settings: SqlSettings) -> sa.Engine:
        """An engine without a pool, for a file that must be there."""
        file = url.database or ""
        if file != ":memory:":
            url = url.set(database=f"file:{quote(file)}", query={"mode": "rw", "uri": "true"})
        engine = sa.create_engine(
            url,
            poolclass=sa.NullPool,
            **unlogged_rows(),
            enable_from_linting=False,
            connect_args={"timeout": settings.lock_timeout},
        )
        sa.event.listen(engine, "connect", _prepare)
        sa.event.listen(engine, "begin", _begin)
        return engine

    @contextmanager
    def snapshot(self, engine: sa.Engine, settings: SqlSettings, *, writes: bool) -> Iterator[sa.Connection]:
        """A transaction: all of them are snapshots."""
        begin = engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE" if writes else "BEGIN"})
        with begin.connect() as connection, connection.begin():
            yield connection

    def begin_batch(self, connection: sa.Connection, settings: SqlSettings) -> sa.RootTransaction:
        """Begin with the write lock."""
        connection.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
        try:
            return connection.begin()
        finally:
            connection.execution_options(**{_BEGIN: "BEGIN"})

    def pause(self, *, holds_changed: bool) -> None:
        """SQLite's lock goes to whoever asks first: give a placer of holds the time to ask."""
        time.sleep(_PAUSE_FOR_PLACER_SECONDS if holds_changed else _PAUSE_SECONDS)

    def fence(self, engine: sa.Engine, timeout: float) -> None:
        """Take the write lock, and give it back. SQLite's own waiting sleeps too long between its tries."""
        deadline = time.monotonic() + timeout
        with engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"}).connect() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - the engine is sqlite3's
            driver.execute("PRAGMA busy_timeout = 0")
            while True:
                try:
                    with connection.begin() as transaction:
                        transaction.rollback()
                    return
                except sa.exc.OperationalError as error:
                    if self.fault(error) is not Fault.AGAIN or time.monotonic() > deadline:
                        raise
                time.sleep(_POLL_SECONDS)

    def fault(self, error: sa.exc.DBAPIError) -> Fault:
        """By result code (https://www.sqlite.org/rescode.html)."""
        code = getattr(error.orig, "sqlite_errorcode", None)
        if code is None:  # sqlite3 itself raised it
            return Fault.UNHOLDABLE if str(error.orig).startswith("Could not decode") else Fault.OTHER
        if code == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
            return Fault.REFERRED
        if code == sqlite3.SQLITE_CONSTRAINT_TRIGGER:
            return Fault.RAISED
        if code == sqlite3.SQLITE_ERROR and str(error.orig).startswith("no such"):
            return Fault.VANISHED
        return {
            sqlite3.SQLITE_BUSY: Fault.AGAIN,
            sqlite3.SQLITE_LOCKED: Fault.AGAIN,
            sqlite3.SQLITE_FULL: Fault.FULL,
            sqlite3.SQLITE_READONLY: Fault.DENIED,
            sqlite3.SQLITE_PERM: Fault.DENIED,
            sqlite3.SQLITE_AUTH: Fault.DENIED,
            sqlite3.SQLITE_CANTOPEN: Fault.UNAVAILABLE,
            sqlite3.SQLITE_IOERR: Fault.UNAVAILABLE,
        }.get(code & 0xFF, Fault.OTHER)

    def unreachable(self, error: sa.exc.DBAPIError) -> str:
        """The file."""
        return "there is no such file, or it cannot be opened" if error.statement is None else ""

    def code(self, error: sa.exc.DBAPIError) -> str:
        """SQLite's name of the error."""
        return getattr(error.orig, "sqlite_errorname", None) or type(error.orig).__name__

    # --- the catalogue ---

    def database_id(self, connection: sa.Connection) -> str:
        """The file's device and number, which all links to it share."""
        file = _file(connection)
        if file is None:
            return f"sqlite:memory:{id(connection.engine)}"
        status = file.stat()
        return f"sqlite:{status.st_dev}:{status.st_ino}"

    def relation(self, connection: sa.Connection, name: Sequence[str]) -> Relation | None:
        """By name in lower case: SQLite's names have no other identity, and do not tell capitals apart."""
        table, *outer = name
        if [part.lower() for part in outer] not in ([], ["main"]):
            return None
        row = connection.execute(
            sa.select(_MASTER.c.name, _MASTER.c.type).where(
                sa.func.lower(_MASTER.c.name) == sa.func.lower(table), _MASTER.c.type.in_(["table", "view"])
            )
        ).one_or_none()
        return None if row is None else Relation(_id(row.name), None, row.name, RelationKind(row.type))

    def parts(self, connection: sa.Connection, relation: Relation) -> tuple[str, ...]:
        """The table alone."""
        return (relation.id,)

    def referring(self, connection: sa.Connection, relation: Relation) -> list[ForeignKey]:
        """By `PRAGMA foreign_key_list` of every table."""
        names = ("id", "seq", "table", "from", "to", "on_update", "on_delete")
        key = sa.func.pragma_foreign_key_list(_MASTER.c.name).table_valued(*names, name="key")
        rows = connection.execute(
            sa.select(_MASTER.c.name.label("child"), *(key.c[name] for name in names))
            .select_from(_MASTER.join(key, sa.true()))
            .where(_MASTER.c.type == "table", sa.func.lower(key.c.table) == relation.id)
            .order_by(_MASTER.c.name, key.c.id, key.c.seq)
        ).all()
        found: dict[tuple[str, int], list[sa.Row[Any]]] = {}
        for row in rows:
            found.setdefault((row.child, row.id), []).append(row)
        if not found:
            return []
        primary = sa.inspect(connection).get_pk_constraint(relation.name)["constrained_columns"]
        written = {_id(column["name"]): column["name"] for column in sa.inspect(connection).get_columns(relation.name)}

        def referred(row: sa.Row[Any]) -> str:
            name = row.to or (primary[row.seq] if row.seq < len(primary) else "")
            if _id(name) not in written:
                raise StoreError(
                    f"table {row.child} refers to {relation.name} by a foreign key for which that has no columns (a "
                    "primary key that it does not have, or a column that is gone), so that SQLite refuses to erase "
                    f"its rows: correct the foreign key of {row.child}"
                )
            return written[_id(name)]

        return [
            ForeignKey(
                name=f"foreign key of {child} ({', '.join(row._mapping['from'] for row in columns)})",
                child=Relation(_id(child), None, child),
                columns=tuple(row._mapping["from"] for row in columns),
                parent=relation,
                referred=tuple(referred(row) for row in columns),
                on_delete=Action(columns[0].on_delete),
                on_update=Action(columns[0].on_update),
            )
            for (child, _), columns in found.items()
        ]

    def triggers(self, connection: sa.Connection, relation: Relation, change: Change) -> list[Trigger]:
        """By the statements that made them."""
        rows = connection.execute(
            sa.select(_MASTER.c.name, _MASTER.c.sql)
            .where(_MASTER.c.type == "trigger", sa.func.lower(_MASTER.c.tbl_name) == relation.id)
            .order_by(_MASTER.c.name)
        )
        found = ((row.name, _EVENT.search(_QUOTED.sub("x", row.sql))) for row in rows)
        return [Trigger(name, relation.name) for name, first in found if first and first[0].upper() == change]

    def missing_for_staging(self, connection: sa.Connection, settings: SqlSettings) -> Iterator[tuple[str, str]]:
        """The file, and its folder, where SQLite keeps its journal."""
        file = _file(connection)
        if file is not None and not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)):
            yield "the file, or its folder, may not be written to by this process", "change its owner or its mode"

    # --- values that policies name ---

    def literal(self, column: AnyColumn, value: str | int | bool) -> AnyColumn:
        """A parameter, which SQLite compares by the column's affinity; true is 1 but where a column is text."""
        if isinstance(value, bool):
            return sa.literal(str(value).lower() if isinstance(column.type, sa.String) else int(value), AsWritten())
        return sa.literal(value, AsWritten())

    def unfit(
        self, connection: sa.Connection, relation: Relation, column: sa.Column[Any], value: str | int | bool
    ) -> str | None:
        """By the declared type: columns of numbers and truth values are taken at their word."""
        kind = str(column.type).lower()
        if isinstance(column.type, sa.Boolean) and value not in (0, 1):
            return f"{value!r} is no {kind}"
        if isinstance(column.type, sa.Integer | sa.Numeric | sa.Float) and not _is_number(value):
            return f"{value!r} is no {kind}"
        return None

    def named(self, column: AnyColumn) -> AnyColumn | None:
        """Whole numbers and text, each in columns that are declared as such: '1' and 1 are two values."""
        stored = sa.type_coerce(column, sa.types.NullType())
        if isinstance(column.type, sa.Integer):
            return _of_type(stored, "integer", sa.cast(stored, sa.Text()))
        if isinstance(column.type, sa.String) and not isinstance(column.type, sa.Enum):
            return _of_type(stored, "text", sa.type_coerce(stored, sa.Text()))
        return None

    # --- conditions ---

    def precision(self, kind: sa.types.TypeEngine[Any]) -> Precision | None:
        """Numbers are whole ones or doubles, whatever their column is declared as."""
        return None if super().precision(kind) is None else Precision.DOUBLE

    def comparable(self, column: AnyColumn) -> Predicate:
        """A column may have values of any type, and text that is no Unicode."""
        if self.is_text(column.type):
            return sa.func.lethe_like(*_as_stored(column), "%").is_not(None)
        return sa.func.typeof(sa.type_coerce(column, sa.types.NullType())).in_(["integer", "real"])

    def beyond(self, column: AnyColumn, number: Decimal, precision: Precision, *, below: bool) -> Predicate:
        """Whole numbers exactly, also those that no double is."""
        raw = sa.type_coerce(column, sa.types.NullType())
        whole = ceil(number) if below else floor(number)
        ends = [
            sa.literal(whole if -(2**63) <= whole < 2**63 else copysign(inf, whole)),
            sa.literal(float(limit(number, precision, below=below))),
        ]
        answers = [raw < end if below else raw > end for end in ends]
        return sa.case((sa.func.typeof(raw) == "integer", answers[0]), else_=answers[1])

    def like(self, column: AnyColumn, pattern: str) -> Predicate:
        """By the pattern's one meaning: SQLite's own LIKE takes no notice of capitals in ASCII."""
        return sa.func.lethe_like(*_as_stored(column), pattern, type_=sa.Boolean()) == sa.true()

    # --- tables ---

    def table_id(self, connection: sa.Connection, table: sa.Table) -> str:
        """SHA-256 of the statement that made the table."""
        made = connection.scalar(
            sa.select(_MASTER.c.sql).where(_MASTER.c.type == "table", _MASTER.c.name == str(table.name))
        )
        return hashlib.sha256(str(made).encode()).hexdigest()

    def lineage_name(self, connection: sa.Connection, url: sa.URL, schema: str | None, table: str) -> tuple[str, str]:
        """The file's name without its folder, and the table."""
        return f"sqlite:///{Path(url.database or '').name}", f"{schema}.{table}" if schema else table

    def remainders(self) -> tuple[Remainder, ...]:
        """Erased rows are overwritten (`secure_delete`); copies of the file are not known here."""
        return (
            Remainder(what="write-ahead log or rollback journal of the file, until the next checkpoint"),
            Remainder(what="backups of the file, as its operators keep them"),
        )

    # --- clocks ---

    def clock_kind(self, kind: sa.types.TypeEngine[Any], written: TimestampFormat | None) -> ClockKind | str:
        """Dates and timestamps are ISO 8601 text in SQLite; other columns need a format."""
        dated = isinstance(kind, sa.Date | sa.DateTime)
        number = isinstance(kind, sa.Integer | sa.Numeric | sa.Float)
        name = str(kind).lower()
        text = isinstance(kind, sa.String)
        match written:
            case None | TimestampFormat.ISO_8601 if dated or (written and text):
                return ClockKind.TEXT
            case TimestampFormat.YEAR if isinstance(kind, sa.Integer) or text:
                return ClockKind.YEAR
            case form if form in PER_SECOND and (dated or number or text):
                return ClockKind(form.value)
            case None:
                hint = " (give clock.format)" if number or text else ""
                return f"is of type {name}: a clock needs a date or a timestamp{hint}"
            case _:
                needed = "text" if written is TimestampFormat.ISO_8601 else "a number or text"
                return f"is of type {name}: a clock of format {written} needs {needed}"

    def readable(self, column: AnyColumn, kind: ClockKind) -> Predicate:
        """By parsing; numbers must be numbers, which a column's type does not guarantee in SQLite."""
        raw = sa.type_coerce(column, sa.types.NullType())
        if kind is ClockKind.TEXT or isinstance(column.type, sa.String):
            return sa.func.lethe_readable(*_as_stored(column), kind.value, type_=sa.Boolean()) == sa.true()
        if kind is ClockKind.YEAR:
            return sa.and_(
                sa.func.typeof(raw) == "integer", raw >= sa.literal(date.min.year), raw <= sa.literal(date.max.year)
            )
        first, end = epochs(kind)
        numeric = sa.func.typeof(raw).in_(["integer", "real"])
        return sa.and_(numeric, raw >= sa.literal(first), raw < sa.literal(end))

    def before(self, column: AnyColumn, kind: ClockKind, bound: Bound) -> Predicate:
        """By parsing, except for numbers."""
        raw = sa.type_coerce(column, sa.types.NullType())
        if kind is ClockKind.TEXT or isinstance(column.type, sa.String):
            walls = ";".join(f"{start.isoformat()}/{end.isoformat()}" for start, end in bound.walls)
            ends = (bound.day.isoformat(), bound.instant.isoformat(), walls)
            return sa.func.lethe_before(*_as_stored(column), kind.value, *ends, type_=sa.Boolean()) == sa.true()
        if kind is ClockKind.YEAR:
            return raw < sa.literal(bound.day.year)
        exact = epoch_number(bound.instant, kind.per_second)
        return raw < sa.literal(ceil(exact) if exact == ceil(exact) else float(exact))

    def clock_value(
        self, clocks: Sequence[tuple[AnyColumn, ClockKind]], zones: Zones, *, latest: bool
    ) -> tuple[AnyColumn, ClockKind]:
        """The local day, as ISO 8601 text."""
        parts = [part for column, kind in clocks for part in (*_as_stored(column), kind.value)]
        day = sa.func.lethe_day(zones.policy.key, zones.clock.key, int(latest), *parts, type_=sa.Text())
        return day, ClockKind.DATE

    def local_day(self, column: AnyColumn, kind: ClockKind, zones: Zones) -> tuple[AnyColumn, ClockKind]:
        """As ISO 8601 text."""
        return self.clock_value([(column, kind)], zones, latest=True)[0], ClockKind.TEXT

    def clock_day(self, value: object, kind: ClockKind, zones: Zones) -> date:
        """The local day."""
        return date.fromisoformat(str(value))

    def checked_day(self, clock: AnyColumn, kind: ClockKind, zones: Zones) -> AnyColumn:
        """Days are staged as ISO 8601 text already."""
        return sa.type_coerce(clock, sa.Text())

    # --- identifiers ---

    def carries(self, kind: sa.types.TypeEngine[Any]) -> bool:
        """Whatever there is: any column may have text in it."""
        return True

    def held_type(self) -> sa.types.TypeEngine[str]:
        """Text, which SQLite compares by its bytes."""
        return sa.Text()

    def identifier(self, column: AnyColumn, kind: IdentifierType, region: str | None) -> AnyColumn:
        """As `lethe.judging.identifiers.exact` has it."""
        return sa.func.lethe_identifier(*_as_stored(column), kind.value, region)

    def held_keys(self, kind: IdentifierType, normalised: Iterable[str]) -> Iterable[str]:
        """The keys of values that are exactly one of the identifiers."""
        return (name for held in normalised for name in whole_names(kind, held))

    def odd(self, column: AnyColumn, kind: IdentifierType, region: str | None) -> Predicate:
        """Where `identifier` has nothing to say."""
        return sa.and_(column.is_not(None), self.identifier(column, kind, region).is_(None))

    def digested(self, column: AnyColumn) -> AnyColumn:
        """By a function of ours."""
        return sa.func.lethe_digested(*_as_stored(column), type_=sa.Text())

    def spelt(self, column: AnyColumn) -> AnyColumn:
        """Numbers and bytes as text; SQLite's columns have values of any type."""
        return sa.func.lethe_spelt(*_as_stored(column))

    def load(self, connection: sa.Connection, table: sa.Table, rows: Iterable[tuple[str, int]]) -> None:
        """Inserted in one transaction."""
        iterator = iter(rows)
        while block := list(islice(iterator, 20_000)):
            connection.execute(sa.insert(table), [{"value": value, "number": number} for value, number in block])

    # --- statements ---

    def lock_rows(self, connection: sa.Connection, rows: sa.Select[Any], table: sa.FromClause) -> None:
        """Nothing: the transaction has the write lock."""

    def keep_rows(self, connection: sa.Connection, rows: sa.Select[Any], table: sa.FromClause) -> int:
        """The same; they are counted."""
        return int(connection.scalar(sa.select(sa.func.count()).select_from(rows.subquery())) or 0)

    def identical(self, one: AnyColumn, other: AnyColumn) -> Predicate:
        """Byte by byte and of one type: a unique index may have a collation of its own, and '1' be equal to 1."""
        first, second = (sa.type_coerce(column, sa.types.NullType()) for column in (one, other))
        return sa.and_(
            sa.type_coerce(sa.collate(first, "BINARY"), sa.types.NullType()) == second,
            sa.func.typeof(first) == sa.func.typeof(second),
        )

    def delete(
        self, table: sa.Table, other: sa.FromClause, on: Sequence[tuple[AnyColumn, AnyColumn]], chosen: Predicate
    ) -> sa.Delete:
        """DELETE … WHERE key IN …."""
        return sa.delete(table).where(_among(on, chosen))

    def update(
        self, table: sa.Table, other: sa.FromClause, on: Sequence[tuple[AnyColumn, AnyColumn]], chosen: Predicate
    ) -> sa.Update:
        """UPDATE … WHERE key IN …."""
        return sa.update(table).where(_among(on, chosen))

    def first_day(self, column: AnyColumn, of: Literal["month", "year"]) -> AnyColumn:
        """By its text, as dates and moments are kept; NULL where it is no date of four digits: not of 'now', either."""
        shape: AnyColumn = sa.literal_column("'%Y-%m-01'" if of == "month" else "'%Y-01-01'")
        raw = sa.type_coerce(column, sa.types.NullType())
        day = sa.case((raw.op("GLOB")(sa.literal_column("'[0-9]*'")), sa.func.strftime(shape, raw)))
        return sa.type_coerce(sa.func.strftime(shape, day), sa.types.NullType())

    def matches(self, column: AnyColumn, pattern: AnyColumn) -> Predicate:
        """By Python; a column may have values of any type, and text that is no Unicode."""
        return sa.func.lethe_matches(*_as_stored(column), pattern, type_=sa.Boolean())

    def lowest(self, kind: sa.types.TypeEngine[Any]) -> int:
        """Whatever its type is called, a column has whole numbers of 64 bits."""
        return -(2**63)

    def first_of_range(self, column: AnyColumn, width: int) -> AnyColumn:
        """A column of whole numbers may have any others, and text: what SQLite makes a whole number of."""
        return super().first_of_range(sa.cast(column, sa.Integer()), width)

    def insert_missing(self, table: sa.Table, column: str, rows: sa.Select[Any]) -> sa.Insert:
        """INSERT … ON CONFLICT (column) DO NOTHING."""
        return sqlite.insert(table).from_select([column], rows).on_conflict_do_nothing(index_elements=[column])

    # --- keys and their digest ---

    def key_read(self, column: AnyColumn) -> AnyColumn:
        """As it is stored: a column may have values of several types, and SQLAlchemy rounds decimals."""
        return sa.type_coerce(column, sa.types.NullType())

    def key_value(self, kind: sa.types.TypeEngine[Any]) -> Callable[[Any], object] | None:
        """Truth values, dates and UUIDs as SQLAlchemy writes them, and in no other spelling, are such."""
        return partial(_key_value, kind)

    def key_order(self, column: AnyColumn) -> AnyColumn:
        """Text by its bytes."""
        return sa.collate(column, "BINARY") if isinstance(column.type, sa.String) else column


def _of_type(stored: AnyColumn, kind: str, text: AnyColumn) -> AnyColumn:
    """A text of a value that is stored as one of a type, compared by its bytes; NULL of any other."""
    return sa.collate(sa.case((sa.func.typeof(stored) == kind, text)), "BINARY")


def _file(connection: sa.Connection) -> Path | None:
    """The file of the database; None for one in memory."""
    databases = sa.func.pragma_database_list().table_valued("name", "file", name="databases")
    file = connection.scalar(sa.select(databases.c.file).where(databases.c.name == "main"))
    return Path(str(file)) if file else None


_HEX_UUID = re.compile("[0-9a-f]{32}")
_WRITTEN: tuple[tuple[type[sa.types.TypeEngine[Any]], re.Pattern[str], Callable[[str], object]], ...] = (
    (sa.DateTime, re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", re.ASCII), datetime.fromisoformat),
    (sa.Date, re.compile(r"\d{4}-\d\d-\d\d", re.ASCII), date.fromisoformat),
    (sa.Time, re.compile(r"\d\d:\d\d:\d\d\.\d{6}", re.ASCII), clock_time.fromisoformat),
)


def _key_value(kind: sa.types.TypeEngine[Any], value: object) -> object:
    if isinstance(kind, sa.Boolean) and value in (0, 1) and isinstance(value, int):
        return bool(value)
    if not isinstance(value, str):
        return value
    if isinstance(kind, sa.CHAR) and _HEX_UUID.fullmatch(value):
        return uuid.UUID(value)
    for each, pattern, made in _WRITTEN:
        if isinstance(kind, each) and pattern.fullmatch(value):
            with suppress(ValueError):
                return made(value)
    return value


def _id(name: str) -> str:
    """A name as SQLite compares it: it knows capitals of ASCII alone."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


def _is_number(value: str | int | bool) -> bool:
    try:
        return isfinite(float(value))
    except ValueError:
        return False


def _among(on: Sequence[tuple[AnyColumn, AnyColumn]], chosen: Predicate) -> Predicate:
    mine, theirs = [pair[0] for pair in on], [pair[1] for pair in on]
    rows = sa.select(*theirs).where(chosen)
    return mine[0].in_(rows) if len(mine) == 1 else sa.tuple_(*mine).in_(rows)


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))


def _prepare(driver: sqlite3.Connection, _record: object) -> None:
    """Settings and functions of a new connection."""
    driver.isolation_level = None  # transactions begin where `_begin` says, not by sqlite3's guess
    driver.execute("PRAGMA foreign_keys = ON")
    driver.execute("PRAGMA secure_delete = ON")
    driver.execute("PRAGMA temp_store = MEMORY")
    functions: dict[str, tuple[int, Callable[..., str | int | None]]] = {
        "readable": (3, _readable),
        "before": (6, _before),
        "day": (-1, _day),
        "identifier": (4, _identifier),
        "spelt": (2, _spelt),
        "digested": (2, _digested),
        "like": (3, _like),
        "matches": (3, _matches),
    }
    for name, (arguments, function) in functions.items():
        driver.create_function(f"lethe_{name}", arguments, function, deterministic=True)


def _as_stored(column: AnyColumn) -> tuple[AnyColumn, AnyColumn]:
    """A value for a function, and of text how it is encoded: text that is no Unicode can be handed over as bytes alone.

    SQLite keeps any bytes as text, and never looks whether they are.
    """
    raw = sa.type_coerce(column, sa.types.NullType())
    is_text = sa.func.typeof(raw) == sa.literal_column("'text'")
    return sa.case((is_text, sa.cast(raw, sa.LargeBinary())), else_=raw), sa.case((is_text, _LETTER))


def _stored(value: object, letter: object) -> object:
    """What was handed over by `_as_stored`. Text that is no Unicode is bytes, in which a hold may find something."""
    if not isinstance(value, bytes) or not isinstance(letter, bytes):
        return value
    with suppress(UnicodeDecodeError):
        return value.decode(_ENCODINGS[letter])
    return value


@lru_cache(maxsize=10_000)
def _parsed(text: str, kind: str) -> Moment | None:
    return read(text, TimestampFormat.ISO_8601 if kind == ClockKind.TEXT else TimestampFormat(kind))


def _read(value: object, kind: str) -> Moment | None:
    """What a value of a clock says: text, or a number where the column's kind is one."""
    if isinstance(value, str):
        return _parsed(value, kind)
    if isinstance(value, int | float) and isfinite(value):
        if kind == ClockKind.YEAR:
            return date(int(value), 12, 31) if value == int(value) and date.min.year <= value <= date.max.year else None
        per_second = ClockKind(kind).per_second
        return from_epoch(Decimal(str(value)), per_second) if per_second else None
    return None


def _readable(value: object, letter: object, kind: str) -> int | None:
    return None if value is None else int(_read(_stored(value, letter), kind) is not None)


def _before(value: object, letter: object, kind: str, day: str, instant: str, walls: str) -> int | None:
    if value is None:
        return None
    moment = _read(_stored(value, letter), kind)
    if moment is None:
        return 0
    if not isinstance(moment, datetime):
        return int(moment < _bound(day, date))
    if moment.tzinfo is None:
        return int(any(start <= moment < end for start, end in _walls(walls)))
    return int(moment < _bound(instant, datetime))


@lru_cache(maxsize=1_000)
def _bound(text: str, kind: type[date]) -> Any:  # noqa: ANN401 - of the kind that is asked for
    return kind.fromisoformat(text)


@lru_cache(maxsize=1_000)
def _walls(text: str) -> Walls:
    ends = (part.split("/") for part in text.split(";"))
    return tuple((datetime.fromisoformat(start), datetime.fromisoformat(end)) for start, end in ends)


@lru_cache(maxsize=100)
def _zones(policy: str, clock: str) -> Zones:
    return Zones(ZoneInfo(policy), ZoneInfo(clock))


def _day(policy: str, clock: str, latest: int, *clocks: object) -> str | None:
    zones = _zones(policy, clock)
    each = zip(clocks[::3], clocks[1::3], clocks[2::3], strict=True)
    moments = [_read(_stored(value, letter), str(kind)) for value, letter, kind in each]
    known = [day_of(moment, zones.policy, zones.clock).isoformat() for moment in moments if moment is not None]
    return (max if latest else min)(known) if known else None


def _identifier(value: object, letter: object, kind: str, region: str | None) -> str | None:
    return exact(IdentifierType(kind), _stored(value, letter), region)


def _spelt(value: object, letter: object) -> str | None:
    return None if value is None else as_text(_stored(value, letter))


def _digested(value: object, letter: object) -> str | None:
    text = _spelt(value, letter)
    return None if text is None else hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _like(value: object, letter: object, pattern: str) -> int | None:
    stored = _stored(value, letter)
    return int(is_like(stored, pattern)) if isinstance(stored, str) else None


def _matches(value: object, letter: object, pattern: str) -> int:
    """Not text with a NUL, at which SQLite's own functions take text for ended."""
    stored = _stored(value, letter)
    return int(isinstance(stored, str) and "\0" not in stored and re.search(pattern, stored) is not None)
