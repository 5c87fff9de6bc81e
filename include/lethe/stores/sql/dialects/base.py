"""What differs between databases: one subclass of `Dialect` each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex, CreateTable

from lethe.connections import Connection
from lethe.judging.conditions import Precision, limit, spelt_pattern
from lethe.judging.dates import (
    FIRST_SECOND,
    PER_SECOND,
    SECOND_AFTER_LAST,
    Moment,
    TimestampFormat,
    Walls,
    Zones,
    day_of,
    from_epoch,
)
from lethe.judging.identifiers import IdentifierType
from lethe.judging.keys import KeyKind
from lethe.stores.abilities import Abilities, Ability, Binding
from lethe.stores.base import Remainder
from lethe.stores.sql.catalogue import Change, ForeignKey, Need, Relation, Trigger
from lethe.stores.sql.settings import SqlSettings


class AsWritten(sa.types.UserDefinedType[Any]):
    """The type of a value that the database reads as what it is compared with, or assigned to."""

    cache_ok = True

    def literal_processor(self, dialect: sa.Dialect) -> Callable[[Any], str]:
        """As text in quotes, or a number."""
        text = sa.String().literal_processor(dialect)  # type: ignore[no-untyped-call]
        assert text is not None  # noqa: S101 - text can be written in every dialect
        return lambda value: text(value) if isinstance(value, str) else str(value)


ESCAPE = "!"
"""What escapes in patterns: all databases write it as it is, which they do not do with a backslash."""

Predicate = sa.ColumnElement[bool]
AnyColumn = sa.ColumnElement[Any]


class ClockKind(StrEnum):
    """How a clock column is written."""

    DATE = "date"
    NAIVE = "naive"
    """A timestamp without a zone: local time in the clock's zone."""
    AWARE = "aware"
    TEXT = "text"
    """ISO 8601 text: a date, or a timestamp with or without an offset, row by row."""
    EPOCH_SECONDS = "epoch_seconds"
    """Seconds since 1970-01-01 00:00 UTC, as a number or text."""
    EPOCH_MILLISECONDS = "epoch_milliseconds"
    EPOCH_MICROSECONDS = "epoch_microseconds"
    YEAR = "year"
    """A calendar year: its 31 December."""

    @property
    def per_second(self) -> int:
        """How many units of a number since 1970 are a second; 0 where the clock is no such number."""
        return _PER_SECOND.get(self.value, 0)


_PER_SECOND: Mapping[str, int] = {form.value: number for form, number in PER_SECOND.items()}


@dataclass(frozen=True, slots=True)
class Bound:
    """One boundary in time, for every way in which a clock is written.

    Attributes:
        day: for clocks that are days, in the policy's zone.
        instant: for clocks that are moments (timezone-aware, UTC).
        walls: for clocks that are local times without a zone: the ranges (see `walls_before`) that are before it.
    """

    day: date
    instant: datetime
    walls: Walls


class Fault(StrEnum):
    """What a failed statement means."""

    AGAIN = "again"
    """Another transaction was in the way (deadlock, serialisation failure, lock time-out): the same again may do."""
    UNAVAILABLE = "unavailable"
    """The connection broke, or the server is down, busy or too slow."""
    FULL = "full"
    DENIED = "denied"
    REFERRED = "referred"
    """Rows of another table refer to the rows."""
    NOT_REPLICATED = "not replicated"
    """A publication replicates such changes, and the table has nothing to tell its rows apart by."""
    UNHOLDABLE = "unholdable"
    """A value that was read is none that Python can hold."""
    RAISED = "raised"
    """Code of the database's own users, a trigger mostly, raised an error."""
    VANISHED = "vanished"
    """A table or a column is not there."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Slice:
    """One batch: a range of what is staged.

    Attributes:
        first: position of the first staged row, as the dialect writes it.
        last: position of the last one, included.
        low: where in the table the first of their records lies; None where the dialect does not use it.
        high: where the last of them lies, included.
        size: staged rows.
        unheld: staged rows that no hold covered at discovery.
        writer: the transaction that staged them, where the dialect can tell.
    """

    first: str
    last: str
    low: str | None
    high: str | None
    size: int
    unheld: int
    writer: str | None = None


class UnreadableClock(Exception):
    """The database's clock does not tell the time."""


class Dialect(ABC):
    """One kind of database.

    `optimistic` says whether rows have marks (`marks`) by which it shows that they are the very rows that were
    discovered, so that erasing need not judge each of them again. `judges_locked_rows` says whether a statement that
    deletes or updates rows locks each before it looks whether it is one of them. `restricts_each_row` says whether a
    foreign key with ON DELETE RESTRICT is looked at after each row that a statement deletes, not after the last;
    `restricts_itself`, whether a row may then not even refer to itself. `writes_alone` says whether nobody else writes
    to the database while a batch is under way; `groups_as_it_compares`, whether two values that a column of another
    table equals are one value where rows are grouped by it; `days_are_text`, whether a column of days takes any text,
    also what is no day. `system_schemas` are those of the database itself that SQLAlchemy lists.
    """

    name: str
    optimistic: bool = False
    judges_locked_rows: bool = False
    restricts_each_row: bool = False
    restricts_itself: bool = False
    writes_alone: bool = False
    days_are_text: bool = False
    groups_as_it_compares: bool = True
    system_schemas: frozenset[str] = frozenset({"information_schema"})
    abilities: Abilities = Abilities(binding=Binding.FENCED, declares=frozenset({Ability.REQUESTS}))

    # --- connections and transactions ---

    @abstractmethod
    def url(self, connection: Connection) -> sa.URL:
        """Where a connection leads, with the driver.

        Raises:
            ConnectionMissing: if it lacks what is needed.
        """

    @abstractmethod
    def engine(self, url: sa.URL, settings: SqlSettings) -> sa.Engine:
        """An engine without a pool."""

    @abstractmethod
    def snapshot(
        self, engine: sa.Engine, settings: SqlSettings, *, writes: bool
    ) -> AbstractContextManager[sa.Connection]:
        """A transaction whose statements all see one state of the database, for discovering and surveying."""

    # --- how holds bind what is under way: the methods of its binding ---

    def begin_batch(self, connection: sa.Connection, settings: SqlSettings) -> sa.RootTransaction:
        """Begin a transaction that holds the gate lock shared and has time limits.

        The lock is why `fence` can wait for batches; see docs/hold-gate.md. Where the binding is a fence.
        """
        raise NotImplementedError

    def pause(self, *, holds_changed: bool) -> None:
        """Between two batches, let somebody in who waits at the fence, where the database's locks are not fair."""
        return

    def fence(self, engine: sa.Engine, timeout: float) -> None:
        """Wait until every transaction that `begin_batch` began has ended; time-outs are the driver's errors.

        Where the binding is a fence.
        """
        raise NotImplementedError

    def together(self, connection: sa.Connection, statements: Sequence[sa.Executable], seconds: float) -> None:
        """Send statements as one request, which the server carries out and commits by itself: all of them, or none.

        One after the other, each seeing what those before it did; the server gives up after `seconds`. No transaction
        is under way on the connection. Two requests that change one row do not both succeed unseen: one waits for the
        other and sees what it did, or fails with `Fault.AGAIN`. Where the binding is a lease.
        """
        raise NotImplementedError

    def now(self) -> AnyColumn:
        """The server's own clock, with a zone, read whenever this is evaluated: it goes on within a transaction.

        Where the binding is a lease.
        """
        raise NotImplementedError

    def demand(self, condition: Predicate) -> sa.Executable:
        """A statement that fails with `Fault.AGAIN` where a condition is not true. Where the binding is a lease."""
        raise NotImplementedError

    # --- errors, and what the server says of itself ---

    @abstractmethod
    def fault(self, error: sa.exc.DBAPIError) -> Fault:
        """What an error means."""

    @abstractmethod
    def code(self, error: sa.exc.DBAPIError) -> str:
        """The database's own name or number of an error."""

    def culprit(self, error: sa.exc.DBAPIError) -> str:
        """The table or constraint that an error names, if it does; never a value."""
        return ""

    def unreachable(self, error: sa.exc.DBAPIError) -> str:
        """Why a connection could not be made, in words, where that is known; never a value."""
        return ""

    def problems(self, connection: sa.Connection) -> Iterator[str]:
        """What keeps Lethe from working in this database at all."""
        yield from ()

    def clock(self, connection: sa.Connection) -> datetime | None:
        """The time by the database's own clock; None where that is this machine's."""
        if self.abilities.binding is Binding.LEASED:
            return moment(connection.scalar(sa.select(self.now())))
        return None

    # --- the catalogue ---

    @abstractmethod
    def database_id(self, connection: sa.Connection) -> str:
        """The same for every connection that leads to this very database."""

    @abstractmethod
    def relation(self, connection: sa.Connection, name: Sequence[str]) -> Relation | None:
        """What a name leads to: its parts, from the table's own name back to schema and database."""

    @abstractmethod
    def parts(self, connection: sa.Connection, relation: Relation) -> tuple[str, ...]:
        """The ids of a table and of all whose rows are its rows too: partitions, inheriting tables."""

    @abstractmethod
    def referring(self, connection: sa.Connection, relation: Relation) -> list[ForeignKey]:
        """The foreign keys by which rows of any table refer to rows of this one, or of a part of it."""

    def unique_keys(self, connection: sa.Connection, relation: Relation) -> list[tuple[str, ...]]:
        """Sets of columns of which the database sees to it, now and for every row, that no two rows have the same."""
        inspector = sa.inspect(connection)
        name, schema = relation.name, relation.schema
        keys = [inspector.get_pk_constraint(name, schema)["constrained_columns"]]
        keys += [constraint["column_names"] for constraint in inspector.get_unique_constraints(name, schema)]
        for index in inspector.get_indexes(name, schema):
            options = index.get("dialect_options") or {}
            partial = any(option.endswith("_where") and value is not None for option, value in options.items())
            columns = [column for column in index["column_names"] if column is not None]
            if index["unique"] and not partial and len(columns) == len(index["column_names"]):
                keys.append(columns)
        return [tuple(key) for key in keys if key]

    def distinguished(self, connection: sa.Connection, relation: Relation, column: str, *, by_null: bool) -> bool:
        """Whether no two rows may have one constant (or NULL) in a column, be it for some rows or in a form of it."""
        if by_null:
            return False
        inspector = sa.inspect(connection)
        constraints = inspector.get_unique_constraints(relation.name, relation.schema)
        indexes = inspector.get_indexes(relation.name, relation.schema)
        return any(column in constraint["column_names"] for constraint in constraints) or any(
            index["unique"] and column in index["column_names"] for index in indexes
        )

    def not_replicated(self, connection: sa.Connection, relation: Relation, *, deleting: bool) -> str | None:
        """The publication for which the database refuses to delete (or update) rows of a table, if there is one."""
        return None

    def emptied_by_a_crash(self, connection: sa.Connection, relation: Relation) -> tuple[str, str] | None:
        """Of a table whose committed rows a crash of the server removes: what it is called, and what ends that."""
        return None

    # --- values that policies name ---

    @abstractmethod
    def literal(self, column: AnyColumn, value: str | int | bool) -> AnyColumn:
        """A policy's value, as one of the column's type: the database reads it, and compares as it does itself."""

    @abstractmethod
    def unfit(
        self, connection: sa.Connection, relation: Relation, column: sa.Column[Any], value: str | int | bool
    ) -> str | None:
        """Why the column can never have a value, or be compared with it, in words; None where it can."""

    def named(self, column: AnyColumn) -> AnyColumn | None:
        """A column as the text by which people name its values, compared by its characters; None where they cannot.

        Each value has one text, which no other value of the column has: whole numbers without leading zeros or signs
        that they do not need, text as it is, UUIDs in lower case with hyphens.
        """
        return None

    @abstractmethod
    def triggers(self, connection: sa.Connection, relation: Relation, change: Change) -> list[Trigger]:
        """What runs when rows of a table (or of a part of it) are deleted, or updated."""

    def missing_rights(self, connection: sa.Connection, needs: Sequence[Need]) -> Iterator[tuple[str, str]]:
        """What the login may not do, or not see, with tables: (what, and what grants it)."""
        yield from ()

    def missing_for_staging(self, connection: sa.Connection, settings: SqlSettings) -> Iterator[tuple[str, str]]:
        """The same for staging candidates beside the data."""
        yield from ()

    # --- tables ---

    def system_columns(self) -> Sequence[sa.Column[Any]]:
        """Columns that every table has without declaring them."""
        return ()

    @abstractmethod
    def table_id(self, connection: sa.Connection, table: sa.Table) -> str:
        """Changes when the table, or a column of it, is replaced by another of the same name."""

    def rows_about(self, connection: sa.Connection, table: sa.Table) -> int:
        """About how many rows a table has."""
        return int(connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)

    @abstractmethod
    def lineage_name(self, connection: sa.Connection, url: sa.URL, schema: str | None, table: str) -> tuple[str, str]:
        """Namespace and name of a table, as https://openlineage.io/docs/spec/naming says."""

    @abstractmethod
    def remainders(self) -> tuple[Remainder, ...]:
        """What is left of deleted rows for a while."""

    # --- conditions ---

    code_points = "C"
    """The collation that compares text by its characters alone."""
    singles: tuple[type[sa.types.TypeEngine[Any]], ...] = (sa.REAL,)
    """The types of floats of four bytes."""

    def plain_type(self, kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
        """What a type is made of, where it is one of a user's own."""
        return kind

    def is_text(self, kind: sa.types.TypeEngine[Any]) -> bool:
        """Whether a column of a type has text of any kind."""
        kind = self.plain_type(kind)
        return isinstance(kind, sa.String) and not isinstance(kind, sa.Enum)

    def precision(self, kind: sa.types.TypeEngine[Any]) -> Precision | None:
        """How exact the numbers of a column of a type are; None where they are no numbers."""
        kind = self.plain_type(kind)
        if isinstance(kind, sa.Float):
            return Precision.SINGLE if isinstance(kind, self.singles) else Precision.DOUBLE
        if isinstance(kind, sa.Integer):
            return Precision.WHOLE
        return Precision.EXACT if isinstance(kind, sa.Numeric) else None

    def comparable(self, column: AnyColumn) -> Predicate:
        """Whether a value that is not NULL, in a column of numbers or text, can be compared: NaN cannot."""
        return sa.true()

    def beyond(self, column: AnyColumn, number: Decimal, precision: Precision, *, below: bool) -> Predicate:
        """Whether a number is below, or above, one of a policy."""
        bound = limit(number, precision, below=below)
        literal: AnyColumn
        if isinstance(bound, float):
            literal = sa.literal(bound, sa.Double())
        elif bound == int(bound) and abs(bound) < 2**63:
            literal = sa.literal(int(bound), sa.BigInteger())
        else:
            literal = sa.literal(bound, sa.Numeric())
        return column < literal if below else column > literal

    def like(self, column: AnyColumn, pattern: str) -> Predicate:
        """Whether text is like a pattern, capitals and all (see `lethe.judging.conditions`)."""
        exact = sa.collate(sa.cast(column, sa.Text()), self.code_points)
        return exact.like(spelt_pattern(pattern, ESCAPE), escape=ESCAPE)

    # --- clocks ---

    @abstractmethod
    def clock_kind(self, kind: sa.types.TypeEngine[Any], written: TimestampFormat | None) -> ClockKind | str:
        """How a clock column of a type is read, or a message why it cannot be."""

    @abstractmethod
    def readable(self, column: AnyColumn, kind: ClockKind) -> Predicate:
        """Whether a clock that is not NULL says a moment between the years 1 and 9999."""

    @abstractmethod
    def before(self, column: AnyColumn, kind: ClockKind, bound: Bound) -> Predicate:
        """Whether a clock that is readable is before a bound."""

    @abstractmethod
    def clock_value(
        self, clocks: Sequence[tuple[AnyColumn, ClockKind]], zones: Zones, *, latest: bool
    ) -> tuple[AnyColumn, ClockKind]:
        """One value that says the clock of a candidate, and how it is written."""

    @abstractmethod
    def local_day(self, column: AnyColumn, kind: ClockKind, zones: Zones) -> tuple[AnyColumn, ClockKind]:
        """The local day of a clock that is readable, of which the greatest is the latest, and how it is written."""

    def clock_day(self, value: object, kind: ClockKind, zones: Zones) -> date:
        """The local day of a `clock_value` that was read."""
        return local_day(value, kind, zones)

    @abstractmethod
    def checked_day(self, clock: AnyColumn, kind: ClockKind, zones: Zones) -> AnyColumn:
        """The local day of a `clock_value` that is staged, or of ISO 8601 text, as the database's own dates.

        Candidates are checked by it, so it shares nothing with `before`, by which they are found.
        """

    # --- identifiers ---

    @abstractmethod
    def carries(self, kind: sa.types.TypeEngine[Any]) -> bool:
        """Whether a column of a type can be read as an identifier."""

    @abstractmethod
    def held_type(self) -> sa.types.TypeEngine[str]:
        """The type of the column that held identifiers are staged in, comparing by bytes."""

    @abstractmethod
    def identifier(self, column: AnyColumn, kind: IdentifierType, region: str | None) -> AnyColumn:
        """What of a value that is exactly one identifier is compared with `held_keys`; of others, anything."""

    @abstractmethod
    def held_keys(self, kind: IdentifierType, normalised: Iterable[str]) -> Iterable[str]:
        """What held identifiers are staged as."""

    @abstractmethod
    def odd(self, column: AnyColumn, kind: IdentifierType, region: str | None) -> Predicate | None:
        """Whether a value may be anything else than exactly one identifier, so that it is searched; None: never."""

    @abstractmethod
    def spelt(self, column: AnyColumn) -> AnyColumn:
        """A value as text, in which `identifiers.keys` searches."""

    @abstractmethod
    def digested(self, column: AnyColumn) -> AnyColumn:
        """SHA-256 of a text in UTF-8, in hexadecimal; NULL of NULL."""

    @abstractmethod
    def load(self, connection: sa.Connection, table: sa.Table, rows: Iterable[tuple[str, int]]) -> None:
        """Fill a table of held identifiers (text, number), fast."""

    # --- temporary tables ---

    def make_temporary(self, connection: sa.Connection, made: sa.Table | sa.CreateTableAs) -> None:
        """Create a temporary table with its indexes, without ending the transaction."""
        table = made.table if isinstance(made, sa.CreateTableAs) else made
        connection.execute(made if isinstance(made, sa.CreateTableAs) else CreateTable(table))
        for index in table.indexes:
            connection.execute(CreateIndex(index, if_not_exists=True))

    def drop_temporary(self, connection: sa.Connection, table: sa.Table) -> None:
        """Drop it where it is there, without ending the transaction."""
        table.drop(connection, checkfirst=True)

    # --- staging ---

    def scratch_name(self, settings: SqlSettings, name: str) -> tuple[str | None, str]:
        """Schema and name of a scratch table: beside the data, where it is not in a schema of its own."""
        return None, f"{settings.scratch_schema}_{name}"

    def make_scratch(self, connection: sa.Connection, settings: SqlSettings, table: sa.Table) -> None:
        """Create a scratch table, and its schema, where they are not there; safe against others doing so."""
        connection.execute(CreateTable(table, if_not_exists=True))

    def alone(self, connection: sa.Connection, settings: SqlSettings, name: str) -> bool:
        """Wait until nobody else discovers what is called so; whether that was so before the time limit.

        Where making a table ends no transaction, the first row that is written is lock enough.
        """
        return True

    def make_keys(self, connection: sa.Connection, keys: sa.Table, shape: sa.Select[Any]) -> None:
        """Create the table of candidates, with the columns of `shape`, and what `mark_columns` has besides."""
        connection.execute(sa.CreateTableAs(shape, keys.name, schema=keys.schema))

    def marks(self, table: sa.FromClause) -> Sequence[sa.Label[Any]]:
        """Further columns to stage with a candidate: what tells whether it is changed, and where it lies."""
        return ()

    def mark_columns(self) -> Sequence[sa.Column[Any]]:
        """The columns of `marks` in the staging table; and its own row number, counted in the order of staging."""
        return (sa.Column("rowid", sa.Integer(), system=True),)

    def position_type(self) -> sa.types.TypeEngine[Any]:
        """The type of `position`."""
        return sa.Integer()

    def prepare_staging(self, connection: sa.Connection, held: int) -> None:
        """Settings for staging in storage order while `held` identifiers are compared."""
        return

    def storage_order(self, table: sa.FromClause, held: int) -> Sequence[AnyColumn]:
        """What to order by for the order of storage; nothing where rows come in it by themselves."""
        return ()

    def slices(
        self, connection: sa.Connection, staged: sa.Table, count: int, batch_size: int
    ) -> Iterator[tuple[Slice, object]]:
        """Cut the `count` staged rows into ranges of at most `batch_size`; with the earliest clock of the unheld."""
        for first in range(1, count + 1, batch_size):
            part = Slice(str(first), str(first + batch_size - 1), None, None, 0, 0)
            size, unheld, oldest = connection.execute(
                sa.select(
                    sa.func.count(),
                    sa.func.count().filter(sa.not_(staged.c.held)),
                    sa.func.min(staged.c.clock).filter(sa.not_(staged.c.held)),
                ).where(self.in_slice(staged, part))
            ).one()
            yield Slice(part.first, part.last, None, None, size, unheld), oldest

    def position(self, staged: sa.FromClause) -> AnyColumn:
        """The position of a staged row, as text or a number that sorts in no particular way."""
        return staged.c.rowid

    def in_slice(self, staged: sa.FromClause, part: Slice) -> Predicate:
        """Whether a staged row is in a batch."""
        return staged.c.rowid.between(int(part.first), int(part.last))

    def in_range(self, table: sa.FromClause, part: Slice) -> Predicate:
        """Whether a row lies where a batch's records do."""
        return sa.true()

    def unchanged(self, table: sa.FromClause, staged: sa.FromClause) -> Predicate:
        """Whether a row is the very version that was staged. Only where `optimistic`."""
        raise NotImplementedError

    # --- statements ---

    def address(self, table: sa.FromClause, key: Sequence[AnyColumn]) -> Sequence[AnyColumn]:
        """The columns by which a row is found fastest within one transaction: the key where there is nothing better."""
        return key

    @abstractmethod
    def lock_rows(self, connection: sa.Connection, rows: sa.Select[Any], table: sa.FromClause) -> None:
        """Lock the rows of `table` in `rows` until the end of the transaction, where the database locks rows."""

    def keep_rows(self, connection: sa.Connection, rows: sa.Select[Any], table: sa.FromClause) -> int:
        """See to it that the rows of `table` in `rows` stay as they are until the end of the transaction; how many do.

        Others may do the same with them, and read them. A row that vanished while it was waited for is not among them.
        Where the binding is a fence.
        """
        raise NotImplementedError

    def lets_in(self, connection: sa.Connection, key: ForeignKey) -> str | None:
        """Why a row may come to refer by a foreign key to a row that `lock_rows` has locked, in words; None: it waits.

        Whoever inserts a row that refers, or has one refer to another row, waits until the lock is released, or fails.
        Not asked where the database `writes_alone`.
        """
        return None

    def identical(self, one: AnyColumn, other: AnyColumn) -> Predicate:
        """Whether two columns of one kind have the same value, so that a unique one has it in one row at most."""
        return one == other

    def delete(
        self, table: sa.Table, other: sa.FromClause, on: Sequence[tuple[AnyColumn, AnyColumn]], chosen: Predicate
    ) -> sa.Delete:
        """Delete the rows of a table that join with the chosen rows of another: DELETE … USING."""
        return sa.delete(table).where(*(mine == theirs for mine, theirs in on), chosen)

    def update(
        self, table: sa.Table, other: sa.FromClause, on: Sequence[tuple[AnyColumn, AnyColumn]], chosen: Predicate
    ) -> sa.Update:
        """Update the rows of a table that join with the chosen rows of another: UPDATE … FROM."""
        return sa.update(table).where(*(mine == theirs for mine, theirs in on), chosen)

    # --- masks ---

    def place_of(self, column: AnyColumn, text: AnyColumn) -> AnyColumn:
        """Where a text begins in another, counted from 1; 0 where it is not in it."""
        return sa.func.instr(column, text)

    def matches(self, column: AnyColumn, pattern: AnyColumn) -> Predicate:
        """Whether a regular expression is found in a value; false or unknown of what is no text."""
        return column.regexp_match(pattern)

    def first_day(self, column: AnyColumn, of: Literal["month", "year"]) -> AnyColumn:
        """Of a day, or a moment, the first day of its month or year: of the column's type, moments in UTC.

        Where the type does not reach back to that day, the first that it has. Where masks can be put.
        """
        raise NotImplementedError

    def lowest(self, kind: sa.types.TypeEngine[Any]) -> int:
        """The lowest whole number that a column of a type of whole numbers can have."""
        bits = 16 if isinstance(kind, sa.SmallInteger) else 64 if isinstance(kind, sa.BigInteger) else 32
        return -(1 << bits - 1)

    def first_of_range(self, column: AnyColumn, width: int) -> AnyColumn:
        """Of a whole number the largest multiple of `width` that is no larger: of the column's type.

        Where the type does not reach down to that, the lowest number that it has.
        """
        wide = sa.literal_column(str(width), sa.Integer())
        lowest = sa.literal_column(str(self.lowest(column.type)), column.type)
        rest = ((column % wide) + wide) % wide
        return sa.case((column < lowest + rest, lowest), else_=column - rest)

    def insert_missing(self, table: sa.Table, column: str, rows: sa.Select[Any]) -> sa.Insert:
        """Insert rows with one column, which is unique; those that are there already stay as they are.

        Where values can go onto suppression lists.
        """
        raise NotImplementedError

    def look_at_constraints(self, connection: sa.Connection) -> None:
        """Have the database look at constraints now that it would look at when the transaction ends."""
        return

    # --- keys and their digest ---

    def key_kind(self, kind: sa.types.TypeEngine[Any]) -> KeyKind | None:
        """The type of a key column's values; None where they may be of several."""
        return None

    def key_read(self, column: AnyColumn) -> AnyColumn:
        """A key column as it is read, so that no two of its values become one."""
        return column

    def key_value(self, kind: sa.types.TypeEngine[Any]) -> Callable[[Any], object] | None:
        """What makes of a value that was read of a key column one that `judging.keys.form` takes; None: it is one."""
        return None

    def written_keys(
        self, connection: sa.Connection, rows: sa.Select[Any], key: Sequence[AnyColumn]
    ) -> list[bytes] | None:
        """The canonical keys (`judging.keys`) of rows, in any order, where the database can write them; else None."""
        return None

    def key_text(self, column: AnyColumn) -> AnyColumn | None:
        """A key column as text that tells all of its values apart; None where only Python can."""
        return None

    @abstractmethod
    def key_order(self, column: AnyColumn) -> AnyColumn:
        """A key column in an order that does not depend on settings of the database: text by its bytes."""

    def joined(self, connection: sa.Connection, lines: sa.Select[Any], count: int) -> Iterator[bytes]:
        """The only column of the `count` rows of `lines` (already ordered) as bytes, each ended by a newline."""
        for part in connection.execute(lines, execution_options={"yield_per": 20_000}).partitions():
            yield "".join(f"{line}\n" for (line,) in part).encode()


def moment(shown: object) -> datetime:
    """What a database's clock shows.

    Raises:
        UnreadableClock: if it is no moment with a time zone.
    """
    if isinstance(shown, datetime) and shown.tzinfo is not None:
        return shown
    raise UnreadableClock("it says no moment with a time zone")


def local_day(value: object, kind: ClockKind, zones: Zones) -> date:
    """The day in the policy's zone of a clock that was read as Python has it, within the calendar."""
    moment: Moment | None
    if isinstance(value, date):
        moment = value
    elif kind is ClockKind.YEAR:
        moment = date(int(str(value)), 12, 31)
    else:
        moment = from_epoch(Decimal(str(value)), kind.per_second)
    assert moment is not None  # noqa: S101 - only clocks that are readable are asked for their day
    return day_of(moment, zones.policy, zones.clock)


def epochs(kind: ClockKind) -> tuple[int, int]:
    """The years 1 to 9999 as numbers since 1970: from (included) and until (excluded)."""
    return FIRST_SECOND * kind.per_second, SECOND_AFTER_LAST * kind.per_second


def typed_clock(kind: sa.types.TypeEngine[Any], written: TimestampFormat | None, name: str) -> ClockKind | str:
    """How a clock column is read where types are what they are called; a message where it cannot be.

    Dates and timestamps by type; text and numbers need a format. `name` is what the message calls the type.
    """
    if isinstance(kind, sa.Date | sa.DateTime):
        if written is not None:
            return f"is a {name}, which needs no format: leave clock.format out"
        if isinstance(kind, sa.Date):
            return ClockKind.DATE
        return ClockKind.AWARE if kind.timezone else ClockKind.NAIVE
    number = (sa.String | sa.Integer | sa.Numeric | sa.Float, "a number or text")
    formats: dict[TimestampFormat, tuple[Any, str]] = {
        TimestampFormat.ISO_8601: (sa.String, "text"),
        TimestampFormat.YEAR: (sa.String | sa.Integer, "a whole number or text"),
        **dict.fromkeys(PER_SECOND, number),
    }
    if written is None:
        hint = " (give clock.format)" if isinstance(kind, sa.String | sa.Integer | sa.Numeric | sa.Float) else ""
        return f"is of type {name}: a clock needs a date or a timestamp{hint}"
    fitting, words = formats[written]
    if isinstance(kind, fitting) and not isinstance(kind, sa.Enum):
        return ClockKind.TEXT if written is TimestampFormat.ISO_8601 else ClockKind(written.value)
    return f"is of type {name}: a clock of format {written} needs {words}"
