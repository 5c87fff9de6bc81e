"""PostgreSQL, from 16 on, through psycopg 3.

What is particular here: candidates are staged with the physical address (`ctid`) and the inserting transaction
(`xmin`) of their row. A row that still has both, and its key, is the very version that was discovered: any update
makes a new version with another `xmin`, and a rewritten table (VACUUM FULL, CLUSTER) moves rows, but two versions of
one key never have the same `xmin` and both become visible. So its clock and its identifiers are what they were, and a
batch need not look at them again. Batches are ranges of the staging table's own pages, whose records lie in a range of
the table's pages, because rows are staged in the order in which they are stored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from math import ceil
from typing import Any, Literal

import psycopg
import sqlalchemy as sa
from psycopg import sql as psycopg_sql
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.schema import CreateSchema

from lethe.connections import Connection, commit_durably, no_session, postgresql_url
from lethe.judging.conditions import Precision
from lethe.judging.dates import (
    BLANKS,
    FIRST_WALL,
    ISO_8601,
    LAST_WALL,
    NUMBER,
    YEAR,
    TimestampFormat,
    Walls,
    Zones,
    epoch_number,
)
from lethe.judging.identifiers import (
    ANY,
    AS_NUMBER,
    EXACT_FLOATS,
    PHONE_SUFFIX,
    UNREADABLE,
    IdentifierType,
    exactly_one,
    mistaken_pairs,
    tails,
    whole_names,
)
from lethe.judging.keys import SEPARATOR, Address, Json, KeyKind, Padded, Single
from lethe.stores.base import Remainder
from lethe.stores.sources import unlogged_rows
from lethe.stores.sql.catalogue import Action, Change, ForeignKey, Need, Relation, RelationKind, Trigger
from lethe.stores.sql.dialects.base import (
    AnyColumn,
    AsWritten,
    Bound,
    ClockKind,
    Dialect,
    Fault,
    Predicate,
    Slice,
    epochs,
    moment,
    typed_clock,
)
from lethe.stores.sql.settings import SqlSettings

GATE_LOCK = 0x4C65746865476174
"""Key of the advisory lock that batches hold shared and placers of holds take exclusively ("LetheGat")."""

_SESSION = (
    "-c TimeZone=UTC -c DateStyle=ISO,YMD -c jit=off -c application_name=lethe -c row_security=off "
    "-c extra_float_digits=1"
)
"""Settings of every session, after those of the connection's own `options`. A statement from which row-level security
would hide rows is refused; floats are written exactly, else two records could share one key."""

_NOTICES = "sqlalchemy.dialects.postgresql"
"""SQLAlchemy's logger of what the server remarks."""

_STAGING_LOCK = 0x4C65746865537467
"""Key of the advisory lock under which scratch tables are made ("LetheStg")."""

_OLDEST_SERVER = 16
"""The first with `pg_input_is_valid`."""

_LETTERS = (
    "\u00c0-\u00d6\u00d8-\u00de\u00e0-\u00f6\u00f8-\u0131\u0134-\u013e\u0141-\u0148\u014a-\u017e\u01a0\u01a1\u01af\u01b0"
    "\u0218-\u021b\u0300-\u0306\u0308-\u033f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03ce\u0400-\u0481\u048a-\u052f"
    "\u05d0-\u05ea\u0621-\u063a\u0641-\u064a\u1ea0-\u1ef9"
)
"""Latin, Greek, Cyrillic, Hebrew and Arabic letters that are folded here just as `identifiers.fold` does."""
_UNLIKE, _LIKE = "\u03c2\u0131\u0307", "\u03c3i"
"""What lower case leaves different: final sigma, dotless i, and the dot above, which vanishes."""
_HEXADECIMAL = "^ *[0-9A-Fa-f]*:[0-9A-Fa-f:]* *$"
_MAPPED = "^::ffff:(.*[.].*)$"
"""IPv4 in IPv6, as PostgreSQL writes it."""
_DECIMALS = "[.,]0+ *$"
_COPY_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})

_PAGE_ROWS = 291
"""Rows that a page of 8 KiB can hold at most (MaxHeapTuplesPerPage)."""

_FAULTS = {
    **dict.fromkeys(("40001", "40P01", "55P03"), Fault.AGAIN),
    **dict.fromkeys(("25P03", "25P04"), Fault.UNAVAILABLE),
    **dict.fromkeys(("42501", "25006"), Fault.DENIED),
    **dict.fromkeys(("23503", "23001"), Fault.REFERRED),
    **dict.fromkeys(("P0001", "27000"), Fault.RAISED),
    "55000": Fault.NOT_REPLICATED,
    **dict.fromkeys(("53100", "53200"), Fault.FULL),
    **dict.fromkeys(("42P01", "42703", "3F000"), Fault.VANISHED),
}
"""What SQLSTATEs mean (https://www.postgresql.org/docs/current/errcodes-appendix.html)."""

_FAULTS_BY_CLASS = dict.fromkeys(("08", "57", "53", "58", "28", "3D"), Fault.UNAVAILABLE)
"""The same of other states in a class: connections, the operator, resources, the system, who may connect."""


def _catalogue(name: str, *columns: str | sa.ColumnClause[Any]) -> sa.TableClause:
    return sa.table(name, *(sa.column(c) if isinstance(c, str) else c for c in columns), schema="pg_catalog")


def _flag(name: str) -> sa.ColumnClause[bool]:
    return sa.column(name, sa.Boolean())


def _oid(name: str) -> sa.ColumnClause[Any]:
    return sa.column(name, pg.OID())


_CLASS = _catalogue(
    "pg_class",
    *(_oid("oid"), "relname", _oid("relnamespace"), "relkind", "reltuples", "relreplident", "relpersistence"),
)
_NAMESPACE = _catalogue("pg_namespace", _oid("oid"), "nspname")
_DATABASE = _catalogue("pg_database", _oid("oid"), "datname")
_INHERITS = _catalogue("pg_inherits", _oid("inhrelid"), _oid("inhparent"))
_ATTRIBUTE = _catalogue("pg_attribute", _oid("attrelid"), "attname", sa.column("attnum", sa.SmallInteger()))
_CONSTRAINT = _catalogue(
    "pg_constraint",
    *(_oid(name) for name in ("oid", "conrelid", "confrelid", "conparentid")),
    *("conname", "contype", "conkey", "confkey", "confdeltype", "confupdtype"),
    sa.column("condeferrable", sa.Boolean()),
    sa.column("convalidated", sa.Boolean()),
)
_INDEX = _catalogue(
    "pg_index",
    *(_oid("indexrelid"), _oid("indrelid"), "indkey", sa.column("indnkeyatts", sa.SmallInteger())),
    *(_flag(name) for name in ("indisunique", "indisprimary", "indisvalid", "indimmediate")),
    *("indpred", "indexprs", _flag("indisexclusion"), _flag("indnullsnotdistinct")),
)
_TRIGGER = _catalogue(
    "pg_trigger",
    *("tgname", _oid("tgrelid"), sa.column("tgisinternal", sa.Boolean()), "tgenabled"),
    sa.column("tgtype", sa.SmallInteger()),
)
_RULE = _catalogue(
    "pg_rewrite", "rulename", _oid("ev_class"), "ev_type", "ev_enabled", sa.column("is_instead", sa.Boolean())
)

_KINDS = {
    "r": RelationKind.TABLE,
    "p": RelationKind.TABLE,
    "v": RelationKind.VIEW,
    "m": RelationKind.MATERIALIZED_VIEW,
    "f": RelationKind.FOREIGN_TABLE,
}
_RELATIONS = (*_KINDS, "i", "S", "c")
_ACTIONS = {
    "a": Action.NO_ACTION,
    "r": Action.RESTRICT,
    "c": Action.CASCADE,
    "n": Action.SET_NULL,
    "d": Action.SET_DEFAULT,
}
_TRIGGER_ON = {Change.INSERT: 4, Change.DELETE: 8, Change.UPDATE: 16}
"""Bits of `tgtype` (src/include/catalog/pg_trigger.h)."""
_RULE_ON = {Change.UPDATE: "2", Change.INSERT: "3", Change.DELETE: "4"}
"""`ev_type` (src/include/nodes/nodes.h, CmdType)."""


def _relations() -> sa.Select[Any]:
    columns = (_CLASS.c.oid, _NAMESPACE.c.nspname, _CLASS.c.relname, _CLASS.c.relkind)
    return sa.select(*columns).join(_NAMESPACE, _NAMESPACE.c.oid == _CLASS.c.relnamespace)


def _relation(row: sa.Row[Any]) -> Relation:
    return Relation(str(row.oid), row.nspname, row.relname, _KINDS.get(_char(row.relkind), RelationKind.OTHER))


def _parts(relation: Relation) -> sa.CTE:
    """The oids of a table and of all below it."""
    top = sa.select(sa.cast(int(relation.id), pg.OID()).label("oid")).cte("parts", recursive=True)
    return top.union(sa.select(_INHERITS.c.inhrelid).where(_INHERITS.c.inhparent == top.c.oid))


def _char(value: str | bytes) -> str:
    """A value of the one-byte type "char", which the driver may hand over as bytes."""
    return value.decode() if isinstance(value, bytes) else value


_FLOATING = (sa.Float, sa.Double, sa.REAL)
_NUMERIC = (sa.Integer, sa.Numeric, *_FLOATING)
_CARRYING = (sa.String, *_NUMERIC, sa.Uuid, sa.LargeBinary, sa.JSON, sa.ARRAY, pg.INET, pg.CIDR, pg.CITEXT, pg.MACADDR)

_ONE_AGGREGATE = 1_000_000
"""Keys that are joined into one text for digesting; more are joined in parts."""


class _Named(sa.types.UserDefinedType[Any]):
    """A type by the name that the catalogue writes, with its length or precision."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:  # noqa: ANN401 - as SQLAlchemy declares it
        """The type's name."""
        return self.name


class Tid(sa.types.UserDefinedType[str]):
    """The physical address of a row version: (page, item)."""

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_: Any) -> str:  # noqa: ANN401 - as SQLAlchemy declares it
        """The type's name."""
        return "tid"


class Xid(sa.types.UserDefinedType[str]):
    """A transaction id."""

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_: Any) -> str:  # noqa: ANN401 - as SQLAlchemy declares it
        """The type's name."""
        return "xid"


_PASSING = re.compile(r"\b(?:now|today|tomorrow|yesterday)\b", re.IGNORECASE)
"""What PostgreSQL reads as a moment of the day on which it reads it."""
_CALENDAR_BEGINS = {
    "month": ("4714-11-24 00:00:00+00 BC", "4714-12-01 00:00:00+00 BC"),
    "year": ("4714-11-24 00:00:00+00 BC", "4713-01-01 00:00:00+00 BC"),
}
"""The first day that there is, and the first that begins a month, or a year.

https://www.postgresql.org/docs/current/datatype-datetime.html
"""


class PostgreSQL(Dialect):
    """PostgreSQL."""

    name = "postgresql"
    optimistic = True

    def __init__(self) -> None:
        self._fold = "pg_c_utf8"

    # --- connections and transactions ---

    def url(self, connection: Connection) -> sa.URL:
        """As the governance database's is."""
        return postgresql_url(connection)

    def engine(self, url: sa.URL, settings: SqlSettings) -> sa.Engine:
        """An engine without a pool; sessions write dates in ISO form and calculate in UTC, and commits are durable."""
        engine = sa.create_engine(
            url,
            poolclass=sa.NullPool,
            isolation_level="READ COMMITTED",
            **unlogged_rows(_NOTICES),
            enable_from_linting=False,
            connect_args={
                "connect_timeout": max(2, round(settings.connect_timeout)),
                "options": f"{url.query.get('options', '')} {_SESSION}".strip(),
                "prepare_threshold": None,  # plans depend on the ranges of pages: no generic ones
            },
        )
        commit_durably(engine)
        return engine

    @contextmanager
    def snapshot(self, engine: sa.Engine, settings: SqlSettings, *, writes: bool) -> Iterator[sa.Connection]:
        """A repeatable-read transaction."""
        repeatable = engine.execution_options(isolation_level="REPEATABLE READ")
        with repeatable.connect() as connection, connection.begin():
            _limit(connection, statement=settings.discover_timeout, lock=settings.lock_timeout)
            self._look(connection)
            yield connection

    def begin_batch(self, connection: sa.Connection, settings: SqlSettings) -> sa.RootTransaction:
        """Begin, limit, and take the gate's advisory lock shared: its queue is fair, so nobody waits for ever."""
        transaction = connection.begin()
        try:
            _limit(
                connection,
                statement=settings.statement_timeout,
                lock=settings.lock_timeout,
                idle=settings.idle_timeout,
            )
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock_shared(GATE_LOCK)))
        except BaseException:
            transaction.close()
            raise
        return transaction

    def fence(self, engine: sa.Engine, timeout: float) -> None:
        """Take the gate's lock exclusively, and give it back."""
        with engine.connect() as connection, connection.begin() as transaction:
            _limit(connection, statement=timeout + 1, lock=timeout)
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(GATE_LOCK)))
            transaction.rollback()

    def fault(self, error: sa.exc.DBAPIError) -> Fault:
        """By SQLSTATE."""
        state = getattr(error.orig, "sqlstate", None)
        if state is None:  # the driver's own: the connection could not be made, or broke
            broken = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
            if isinstance(error, sa.exc.DataError):
                return Fault.UNHOLDABLE
            if "No space left on device" in str(error.orig):  # a session needs a little room to begin with
                return Fault.FULL
            broken = broken or error.connection_invalidated or no_session(error) is not None
            return Fault.UNAVAILABLE if broken else Fault.OTHER
        return _FAULTS.get(state) or _FAULTS_BY_CLASS.get(state[:2], Fault.OTHER)

    def code(self, error: sa.exc.DBAPIError) -> str:
        """SQLSTATE, or the driver's class of error."""
        return getattr(error.orig, "sqlstate", None) or type(error.orig).__name__

    def culprit(self, error: sa.exc.DBAPIError) -> str:
        """The table and the constraint in the server's diagnosis."""
        diagnosis = getattr(error.orig, "diag", None)
        names = [getattr(diagnosis, name, None) for name in ("schema_name", "table_name", "constraint_name")]
        return ".".join(name for name in names if name)

    def clock(self, connection: sa.Connection) -> datetime | None:
        """When this statement runs, not when its transaction began."""
        return moment(connection.scalar(sa.select(self.now())))

    def now(self) -> AnyColumn:
        """The same, in a statement."""
        return sa.func.clock_timestamp(type_=sa.DateTime(timezone=True))

    def unreachable(self, error: sa.exc.DBAPIError) -> str:
        """Why there is no session."""
        refusal = no_session(error)
        return refusal.words if refusal else ""

    def problems(self, connection: sa.Connection) -> Iterator[str]:
        """Old servers, other encodings, and missing collations."""
        version = self._look(connection)
        if int(version[0]) < _OLDEST_SERVER:
            yield f"the server is PostgreSQL {'.'.join(map(str, version))}; Lethe needs {_OLDEST_SERVER} or newer"
        encoding = connection.scalar(sa.select(sa.func.current_setting("server_encoding")))
        if encoding != "UTF8":
            yield f"the database is encoded in {encoding}; identifiers can only be compared in UTF8"
        if not self._fold:
            yield "it has neither the collation pg_c_utf8 nor und-x-icu, by which identifiers are put in lower case"

    def _look(self, connection: sa.Connection) -> tuple[int | str, ...]:
        """Find out what this server can do."""
        collations = sa.table("pg_collation", sa.column("collname"), schema="pg_catalog")
        known = set(
            connection.scalars(
                sa.select(collations.c.collname).where(collations.c.collname.in_(["pg_c_utf8", "und-x-icu"]))
            )
        )
        self._fold = "pg_c_utf8" if "pg_c_utf8" in known else "und-x-icu" if known else ""
        return connection.dialect.server_version_info or (0,)

    # --- the catalogue ---

    def database_id(self, connection: sa.Connection) -> str:
        """The server, by the microsecond in which it started (which anybody may ask), and the database's oid."""
        started = sa.cast(sa.extract("epoch", sa.func.pg_postmaster_start_time()), sa.Text())
        database = sa.select(_DATABASE.c.oid).where(_DATABASE.c.datname == sa.func.current_database())
        return "postgresql:{}:{}".format(*connection.execute(sa.select(started, database.scalar_subquery())).one())

    def relation(self, connection: sa.Connection, name: Sequence[str]) -> Relation | None:
        """By oid; the search path decides where no schema is given."""
        table, *outer = name
        schema, *database = (*outer,) or (None,)
        if database and database[0] != connection.scalar(sa.select(sa.func.current_database())):
            return None
        if schema is not None:  # whether or not the login may use the schema
            named = _relations().where(_NAMESPACE.c.nspname == schema, _CLASS.c.relname == table)
            row = connection.execute(named.where(_CLASS.c.relkind.in_(_RELATIONS))).one_or_none()
            return None if row is None else _relation(row)
        quoted = '"{}"'.format(table.replace('"', '""'))
        oid = sa.cast(sa.func.to_regclass(sa.cast(sa.literal(quoted), sa.Text())), pg.OID())
        row = connection.execute(_relations().where(_CLASS.c.oid == oid)).one_or_none()
        return None if row is None else _relation(row)

    def parts(self, connection: sa.Connection, relation: Relation) -> tuple[str, ...]:
        """By `pg_inherits`, which has partitions and inheriting tables."""
        return tuple(str(oid) for oid in connection.scalars(sa.select(_parts(relation).c.oid)))

    def referring(self, connection: sa.Connection, relation: Relation) -> list[ForeignKey]:
        """By `pg_constraint`: those that were declared, not their copies for each partition."""
        copies = (
            sa.select(_CONSTRAINT.c.oid, _CONSTRAINT.c.conparentid)
            .where(_CONSTRAINT.c.contype == "f", _CONSTRAINT.c.confrelid.in_(sa.select(_parts(relation).c.oid)))
            .cte("copies", recursive=True)
        )
        above = sa.select(_CONSTRAINT.c.oid, _CONSTRAINT.c.conparentid)
        copies = copies.union(above.where(_CONSTRAINT.c.oid == copies.c.conparentid))
        declared = sa.select(copies.c.oid).where(copies.c.conparentid == 0)
        rows = connection.execute(
            sa.select(_CONSTRAINT).where(_CONSTRAINT.c.oid.in_(declared)).order_by(_CONSTRAINT.c.conname)
        ).all()
        ends = {oid for row in rows for oid in (row.conrelid, row.confrelid)}
        relations = {row.oid: _relation(row) for row in connection.execute(_relations().where(_CLASS.c.oid.in_(ends)))}
        columns = {
            (row.attrelid, row.attnum): row.attname
            for row in connection.execute(sa.select(_ATTRIBUTE).where(_ATTRIBUTE.c.attrelid.in_(ends)))
        }
        return [
            ForeignKey(
                name=row.conname,
                child=relations[row.conrelid],
                columns=tuple(columns[row.conrelid, number] for number in row.conkey),
                parent=relations[row.confrelid],
                referred=tuple(columns[row.confrelid, number] for number in row.confkey),
                on_delete=_ACTIONS[_char(row.confdeltype)],
                on_update=_ACTIONS[_char(row.confupdtype)],
                deferrable=row.condeferrable,
                validated=row.convalidated,
            )
            for row in rows
        ]

    def unique_keys(self, connection: sa.Connection, relation: Relation) -> list[tuple[str, ...]]:
        """By `pg_index`: valid ones, of columns alone, without a condition, and looked at in each statement.

        An index of a table that others inherit from knows nothing of their rows, which are its rows, too.
        """
        kind = connection.scalar(sa.select(_CLASS.c.relkind).where(_CLASS.c.oid == _oid_of(relation)))
        if kind is not None and _char(kind) != "p" and len(self.parts(connection, relation)) > 1:
            return []
        columns = sa.func.unnest(sa.cast(_INDEX.c.indkey, pg.ARRAY(sa.SmallInteger()))).table_valued(
            sa.column("number", sa.SmallInteger()), with_ordinality="place"
        )
        columns = columns.render_derived("parts")
        rows = connection.execute(
            sa.select(_INDEX.c.indexrelid, _ATTRIBUTE.c.attname)
            .select_from(_INDEX)
            .join(columns, sa.true())
            .join(
                _ATTRIBUTE,
                sa.and_(_ATTRIBUTE.c.attrelid == _INDEX.c.indrelid, _ATTRIBUTE.c.attnum == columns.c.number),
            )
            .where(
                _INDEX.c.indrelid == _oid_of(relation),
                *(_INDEX.c[name] for name in ("indisunique", "indisvalid", "indimmediate")),
                *(_INDEX.c[name].is_(None) for name in ("indpred", "indexprs")),
                columns.c.place <= _INDEX.c.indnkeyatts,
            )
            .order_by(_INDEX.c.indexrelid, columns.c.place)
        )
        keys: dict[int, list[str]] = {}
        for row in rows:
            keys.setdefault(row.indexrelid, []).append(row.attname)
        return [tuple(key) for key in keys.values()]

    def distinguished(self, connection: sa.Connection, relation: Relation, column: str, *, by_null: bool) -> bool:
        """By `pg_index`, whatever the index; of one of expressions by the columns that it depends upon."""
        depend = _catalogue("pg_depend", _oid("objid"), _oid("refobjid"), "refobjsubid")
        mine = _ATTRIBUTE.c.attrelid == _INDEX.c.indrelid, _ATTRIBUTE.c.attname == column
        indexed = _ATTRIBUTE.c.attnum == sa.func.any(sa.cast(_INDEX.c.indkey, pg.ARRAY(sa.SmallInteger())))
        within = sa.exists().where(
            depend.c.objid == _INDEX.c.indexrelid,
            depend.c.refobjid == _INDEX.c.indrelid,
            depend.c.refobjsubid == _ATTRIBUTE.c.attnum,
        )
        whole = sa.or_(_INDEX.c.indisunique, _INDEX.c.indisexclusion)
        if by_null:
            whole = sa.and_(_INDEX.c.indisunique, _INDEX.c.indnullsnotdistinct, _INDEX.c.indpred.is_(None))
        found = sa.select(sa.literal(1)).select_from(_INDEX.join(_ATTRIBUTE, sa.and_(*mine)))
        found = found.where(
            _INDEX.c.indrelid == _oid_of(relation),
            whole,
            sa.or_(indexed, sa.and_(_INDEX.c.indexprs.is_not(None), within)),
        )
        return connection.execute(found.limit(1)).first() is not None

    def not_replicated(self, connection: sa.Connection, relation: Relation, *, deleting: bool) -> str | None:
        """Publications of its changes, where the replica identity is nothing or a primary key that is not there."""
        published = _catalogue("pg_publication_tables", "pubname", "schemaname", "tablename")
        publication = _catalogue("pg_publication", "pubname", *(_flag(name) for name in ("pubdelete", "pubupdate")))
        primary = sa.exists().where(_INDEX.c.indrelid == _CLASS.c.oid, _INDEX.c.indisprimary)
        lacking = sa.or_(_CLASS.c.relreplident == "n", sa.and_(_CLASS.c.relreplident == "d", sa.not_(primary)))
        name: str | None = connection.scalar(
            sa.select(sa.func.min(sa.cast(publication.c.pubname, sa.Text())))
            .select_from(publication)
            .join(published, published.c.pubname == publication.c.pubname)
            .join(_CLASS, _CLASS.c.oid == _oid_of(relation))
            .where(
                published.c.schemaname == relation.schema,
                published.c.tablename == relation.name,
                publication.c.pubdelete if deleting else publication.c.pubupdate,
                lacking,
            )
        )
        return name

    # --- values that policies name ---

    def literal(self, column: AnyColumn, value: str | int | bool) -> AnyColumn:
        """A parameter without a type: PostgreSQL gives it that of the column."""
        return sa.literal(_written(value), AsWritten())

    def unfit(
        self, connection: sa.Connection, relation: Relation, column: sa.Column[Any], value: str | int | bool
    ) -> str | None:
        """By `pg_input_is_valid`, by a comparison that reads no row, and by what the type makes of it."""
        attribute = _catalogue("pg_attribute", _oid("attrelid"), "attname", _oid("atttypid"), "atttypmod")
        kind = connection.scalar(
            sa.select(sa.func.format_type(attribute.c.atttypid, attribute.c.atttypmod)).where(
                attribute.c.attrelid == _oid_of(relation), attribute.c.attname == str(column.name)
            )
        )
        literal = self.literal(column, value)
        text = sa.cast(sa.literal(_written(value)), sa.Text())
        if not connection.scalar(sa.select(sa.func.pg_input_is_valid(text, sa.cast(sa.literal(kind), sa.Text())))):
            return f"{value!r} is no {kind}"
        if isinstance(_plain(column.type), (sa.Date, sa.DateTime)) and _PASSING.search(_written(value)):
            return f"{value!r} is another {kind} each time that it is read"
        savepoint = connection.begin_nested()
        try:
            connection.execute(sa.select(sa.literal(1)).where(column == literal).limit(0))
            if not connection.scalar(sa.select(sa.cast(literal, _Named(str(kind))) == literal)):
                return f"no {kind} is exactly {value!r}"
        except sa.exc.ProgrammingError as error:
            if self.code(error) == "42883":
                return f"a {kind} cannot be compared"
            if self.fault(error) is not Fault.DENIED:
                raise
        finally:
            savepoint.rollback()
        return None

    # --- conditions ---

    def named(self, column: AnyColumn) -> AnyColumn | None:
        """Whole numbers, text and UUIDs."""
        return None if self.key_text(column) is None else _raw_text(column)

    def plain_type(self, kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
        """What a domain is of."""
        return _base(kind)

    def comparable(self, column: AnyColumn) -> Predicate:
        """PostgreSQL takes NaN for more than all other numbers."""
        if self.precision(column.type) in (None, Precision.WHOLE):
            return sa.true()
        return column != self.literal(column, "NaN")

    def triggers(self, connection: sa.Connection, relation: Relation, change: Change) -> list[Trigger]:
        """Triggers that are not the server's own and are not switched off, and rewrite rules."""
        parts = sa.select(_parts(relation).c.oid)
        triggers = (
            sa.select(_TRIGGER.c.tgname, _CLASS.c.relname)
            .join(_CLASS, _CLASS.c.oid == _TRIGGER.c.tgrelid)
            .where(
                _TRIGGER.c.tgrelid.in_(parts),
                sa.not_(_TRIGGER.c.tgisinternal),
                _TRIGGER.c.tgenabled != "D",
                _TRIGGER.c.tgtype.bitwise_and(_TRIGGER_ON[change]) != 0,
            )
            .order_by(_TRIGGER.c.tgname, _CLASS.c.relname)
        )
        rules = (
            sa.select(_RULE.c.rulename, _CLASS.c.relname, _RULE.c.is_instead)
            .join(_CLASS, _CLASS.c.oid == _RULE.c.ev_class)
            .where(
                _RULE.c.ev_class == sa.cast(int(relation.id), pg.OID()),
                _RULE.c.ev_enabled != "D",
                _RULE.c.ev_type == _RULE_ON[change],
            )
            .order_by(_RULE.c.rulename)
        )
        found = {row.tgname: Trigger(row.tgname, row.relname) for row in connection.execute(triggers)}
        return [
            *found.values(),
            *(
                Trigger(row.rulename, row.relname, is_rule=True, replaces=row.is_instead)
                for row in connection.execute(rules)
            ),
        ]

    def emptied_by_a_crash(self, connection: sa.Connection, relation: Relation) -> tuple[str, str] | None:
        """UNLOGGED tables are, also partitions of others, which then are the ones to change."""
        unlogged = (
            sa.select(_CLASS.c.relname, _NAMESPACE.c.nspname)
            .join(_NAMESPACE, _NAMESPACE.c.oid == _CLASS.c.relnamespace)
            .where(_CLASS.c.oid.in_(sa.select(_parts(relation).c.oid)), _CLASS.c.relpersistence != "p")
        )
        found = connection.execute(unlogged.order_by(_CLASS.c.relname).limit(1)).first()
        if found is None:
            return None
        table = _qualified(connection, sa.table(found.relname, schema=found.nspname))
        return "UNLOGGED", f"ALTER TABLE {table} SET LOGGED"

    # --- rights ---

    def missing_rights(self, connection: sa.Connection, needs: Sequence[Need]) -> Iterator[tuple[str, str]]:
        """By `has_…_privilege`, and `row_security_active`."""
        login = _login(connection)
        for need in needs:
            table = _qualified(connection, sa.table(need.relation.name, schema=need.relation.schema))
            absent = self._absent(connection, need)
            if absent:
                rights = ", ".join(absent)
                yield f"{login} may not {rights} table {need.relation}", f"GRANT {rights} ON {table} TO {login}"
            for sequence in self._sequences_not_used(connection, need):
                yield (
                    f"{login} may not use sequence {sequence}, which numbers rows of table {need.relation}",
                    f"GRANT USAGE ON SEQUENCE {sequence} TO {login}",
                )
            for function in self._functions_not_run(connection, need):
                yield (
                    f"{login} may not execute {function}, which writing rows of table {need.relation} calls",
                    f"GRANT EXECUTE ON FUNCTION {function} TO {login}",
                )
            if need.relation.schema and not _may(connection, "schema", need.relation.schema, "USAGE"):
                schema = _quoted(connection, need.relation.schema)
                yield f"{login} may not use schema {schema}", f"GRANT USAGE ON SCHEMA {schema} TO {login}"
            if connection.scalar(sa.select(sa.func.row_security_active(_oid_of(need.relation)))):
                yield (
                    f"row-level security hides rows of table {need.relation} from {login}: they could not be judged",
                    f"ALTER ROLE {login} BYPASSRLS",
                )

    def _absent(self, connection: sa.Connection, need: Need) -> list[str]:
        """The rights that are missing, as GRANT writes them."""
        table = _oid_of(need.relation)

        def may(right: str, columns: Sequence[str] = ()) -> bool:
            asked = [sa.func.has_column_privilege(table, column, right) for column in columns]
            whole = sa.func.has_table_privilege(table, right)
            return bool(connection.scalar(sa.select(sa.or_(whole, sa.and_(*asked)) if asked else whole)))

        absent = [] if may("SELECT", need.columns or ()) else ["SELECT"]
        if need.delete and not may("DELETE"):
            absent.append("DELETE")
        if need.insert and not may("INSERT", need.insert):
            absent.append(f"INSERT ({', '.join(_quoted(connection, column) for column in need.insert)})")
        changed = [column for column in need.update if not may("UPDATE", [column])]
        locks = need.lock and not need.update
        if locks and not connection.scalar(sa.select(sa.func.has_any_column_privilege(table, "UPDATE"))):
            changed = [str(need.lock)]
        return absent + (
            [f"UPDATE ({', '.join(_quoted(connection, column) for column in changed)})"] if changed else []
        )

    def _sequences_not_used(self, connection: sa.Connection, need: Need) -> list[str]:
        """Those of which defaults of inserted rows take a number; that of an identity column needs no right."""
        if not need.insert:
            return []
        may = "USAGE, UPDATE"  # either
        default = _catalogue("pg_attrdef", _oid("oid"), _oid("adrelid"), "adnum")
        depend = _catalogue("pg_depend", _oid("classid"), _oid("objid"), _oid("refobjid"))
        rows = connection.execute(
            sa.select(_CLASS.c.relname, _NAMESPACE.c.nspname)
            .select_from(default)
            .join(depend, depend.c.objid == default.c.oid)
            .join(_CLASS, _CLASS.c.oid == depend.c.refobjid)
            .join(_NAMESPACE, _NAMESPACE.c.oid == _CLASS.c.relnamespace)
            .where(
                default.c.adrelid == _oid_of(need.relation),
                depend.c.classid == sa.cast(sa.literal("pg_catalog.pg_attrdef"), pg.REGCLASS()),
                # in this order: of what is no sequence it may not be asked
                sa.case((_CLASS.c.relkind == "S", sa.not_(sa.func.has_sequence_privilege(_CLASS.c.oid, may)))),
            )
            .order_by(_NAMESPACE.c.nspname, _CLASS.c.relname)
        )
        return [_qualified(connection, sa.table(row.relname, schema=row.nspname)) for row in rows]

    def _functions_not_run(self, connection: sa.Connection, need: Need) -> list[str]:
        """Those that defaults, constraints, generated columns, indexes and partition keys call for written rows."""
        if not (need.insert or need.update):
            return []
        depend = _catalogue("pg_depend", _oid("classid"), _oid("objid"), _oid("refclassid"), _oid("refobjid"))
        function = _catalogue("pg_proc", _oid("oid"))
        called = [
            sa.and_(depend.c.classid == _catalogue_id(catalogue), depend.c.objid.in_(objects))
            for catalogue, objects in _calling(need).items()
        ]
        rows = (
            sa.select(sa.cast(sa.cast(function.c.oid, _Named("regprocedure")), sa.Text()).label("name"))
            .join(depend, depend.c.refobjid == function.c.oid)
            .where(depend.c.refclassid == _catalogue_id("pg_proc"), sa.or_(*called))
            .where(sa.not_(sa.func.has_function_privilege(function.c.oid, "EXECUTE")))
            .distinct()
        )
        return sorted(connection.scalars(rows))

    def missing_for_staging(self, connection: sa.Connection, settings: SqlSettings) -> Iterator[tuple[str, str]]:
        """A schema to make tables in, temporary tables, and a server that takes changes."""
        login, schema = _login(connection), settings.scratch_schema
        database = str(connection.scalar(sa.select(sa.func.current_database())))
        if connection.scalar(sa.select(sa.func.current_setting("transaction_read_only"))) == "on":
            yield "the server or the database takes no changes (it is read-only)", "connect to the primary"
        if sa.inspect(connection).has_schema(schema):
            if not (_may(connection, "schema", schema, "USAGE") and _may(connection, "schema", schema, "CREATE")):
                grant = f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {login}"
                yield f"{login} may not make tables in schema {schema}, where candidates are staged", grant
            yield from self._missing_on_staged(connection, settings)
        elif not _may(connection, "database", database, "CREATE"):
            grant = f"CREATE SCHEMA {schema} AUTHORIZATION {login}"
            yield f"there is no schema {schema} to stage candidates in, and {login} may not make it", grant
        if not _may(connection, "database", database, "TEMPORARY"):
            grant = f"GRANT TEMPORARY ON DATABASE {_quoted(connection, database)} TO {login}"
            yield f"{login} may not make temporary tables, in which held identifiers are compared", grant

    def _missing_on_staged(self, connection: sa.Connection, settings: SqlSettings) -> Iterator[tuple[str, str]]:
        """What another login has made, and keeps the list of what is staged in."""
        schema, name = self.scratch_name(settings, "staged")
        staged = self.relation(connection, [name, str(schema)])
        if staged is None:
            return
        rights = ("SELECT", "INSERT", "UPDATE", "DELETE")
        asked = [
            right
            for right in rights
            if not connection.scalar(sa.select(sa.func.has_table_privilege(_oid_of(staged), right)))
        ]
        if asked:
            login, table = _login(connection), _qualified(connection, sa.table(name, schema=schema))
            lacking = ", ".join(asked)
            grant = f"GRANT {lacking} ON {table} TO {login}, or give the connection a `lethe_scratch_schema` of its own"
            yield f"{login} may not {lacking} table {table}, which another login has made", grant

    # --- tables ---

    def system_columns(self) -> Sequence[sa.Column[Any]]:
        """Physical address, inserting transaction and table of a row."""
        return (
            sa.Column("ctid", Tid(), system=True),
            sa.Column("xmin", Xid(), system=True),
            sa.Column("tableoid", pg.OID(), system=True),
        )

    def table_id(self, connection: sa.Connection, table: sa.Table) -> str:
        """The oid of the table and the numbers and types of its columns."""
        attribute = sa.table(
            "pg_attribute",
            *(sa.column(name) for name in ("attrelid", "attname", "attnum", "atttypid")),
            schema="pg_catalog",
        )
        name = _qualified(connection, table)
        relation = sa.cast(sa.cast(sa.literal(name), sa.Text()), pg.REGCLASS())
        rows = connection.execute(
            sa.select(
                sa.cast(sa.cast(attribute.c.attrelid, pg.OID()), sa.BigInteger()),
                attribute.c.attname,
                attribute.c.attnum,
                sa.cast(sa.cast(attribute.c.atttypid, pg.OID()), sa.BigInteger()),
            )
            .where(attribute.c.attrelid == relation, attribute.c.attname.in_([column.name for column in table.c]))
            .order_by(attribute.c.attnum)
        ).all()
        return repr([tuple(row) for row in rows])

    def rows_about(self, connection: sa.Connection, table: sa.Table) -> int:
        """The planner's estimate, where there is one."""
        relation = sa.table("pg_class", sa.column("oid"), sa.column("reltuples"), schema="pg_catalog")
        name = sa.cast(sa.literal(_qualified(connection, table)), pg.REGCLASS())
        rows = connection.scalar(sa.select(relation.c.reltuples).where(relation.c.oid == name))
        return int(rows) if rows is not None and rows > 0 else super().rows_about(connection, table)

    def lineage_name(self, connection: sa.Connection, url: sa.URL, schema: str | None, table: str) -> tuple[str, str]:
        """postgres://host:port and database.schema.table."""
        host = url.host or url.query.get("host") or "localhost"
        host = "localhost" if str(host).startswith("/") else host  # a Unix socket: do not tell the folder
        database, current = connection.execute(sa.select(sa.func.current_database(), sa.func.current_schema())).one()
        return f"postgres://{host}:{url.port or 5432}", f"{database}.{schema or current}.{table}"

    def remainders(self) -> tuple[Remainder, ...]:
        """Dead row versions until VACUUM, the write-ahead log, and backups: how long is not known here."""
        return (
            Remainder(what="dead row versions, until VACUUM has passed over the table"),
            Remainder(what="write-ahead log and backups of the database, as its operators keep them"),
        )

    # --- clocks ---

    def clock_kind(self, kind: sa.types.TypeEngine[Any], written: TimestampFormat | None) -> ClockKind | str:
        """By type, of a domain by what it is of; text and numbers need a format."""
        kind = _base(kind)
        return typed_clock(kind, written, _type_name(kind))

    def readable(self, column: AnyColumn, kind: ClockKind) -> Predicate:
        """Years 1 to 9999. Years before Christ, infinity and -infinity are no dates."""
        column = _of_base(column)
        match kind:
            case ClockKind.DATE:
                return column.between(_typed(date.min, sa.Date()), _typed(date.max, sa.Date()))
            case ClockKind.NAIVE:
                return _in_calendar(column)
            case ClockKind.AWARE:
                first, last = (
                    _typed(end.replace(tzinfo=UTC), sa.DateTime(timezone=True)) for end in (FIRST_WALL, LAST_WALL)
                )
                return column.between(first, last)
            case ClockKind.YEAR:
                return sa.func.coalesce(_number(column, kind).between(date.min.year, date.max.year), sa.false())
            case ClockKind.TEXT:
                return _of_iso(column, sa.Boolean(), lambda text: sa.func.coalesce(text.readable, sa.false()))
            case _:
                number = _number(column, kind)
                first, end = (_typed(bound, sa.BigInteger()) for bound in epochs(kind))
                return sa.func.coalesce(sa.and_(number >= first, number < end), sa.false())

    def before(self, column: AnyColumn, kind: ClockKind, bound: Bound) -> Predicate:
        """A comparison that an index serves, except for text."""
        column = _of_base(column)
        match kind:
            case ClockKind.DATE:
                return column < _typed(bound.day, sa.Date())
            case ClockKind.NAIVE:
                return _in_walls(column, bound.walls)
            case ClockKind.AWARE:
                return column < _typed(bound.instant, sa.DateTime(timezone=True))
            case ClockKind.YEAR:
                return sa.func.coalesce(_number(column, kind) < _typed(bound.day.year, sa.Integer()), sa.false())
            case ClockKind.TEXT:
                return _of_iso(column, sa.Boolean(), lambda text: sa.func.coalesce(text.before(bound), sa.false()))
            case _:
                number = _number(column, kind)
                return sa.func.coalesce(number < _bound_number(number, kind, bound.instant), sa.false())

    def clock_value(
        self, clocks: Sequence[tuple[AnyColumn, ClockKind]], zones: Zones, *, latest: bool
    ) -> tuple[AnyColumn, ClockKind]:
        """The column itself, or the greatest or least of several; as days where they are written differently."""
        clocks = [(_of_base(column), kind) for column, kind in clocks]
        kinds = {kind for _, kind in clocks}
        if len(kinds) > 1 or any(isinstance(column.type, sa.String) for column, _ in clocks):
            days = [self.local_day(column, kind, zones)[0] for column, kind in clocks]
            return _extreme(days, latest=latest), ClockKind.DATE
        return _extreme([column for column, _ in clocks], latest=latest), kinds.pop()

    def local_day(self, column: AnyColumn, kind: ClockKind, zones: Zones) -> tuple[AnyColumn, ClockKind]:
        """As a date."""
        return self._day(_of_base(column), kind, zones), ClockKind.DATE

    def _day(self, column: AnyColumn, kind: ClockKind, zones: Zones) -> AnyColumn:
        def local(moment: AnyColumn) -> AnyColumn:
            day = sa.cast(sa.func.timezone(zones.policy.key, moment), sa.Date())
            return _within(day, _typed(date.min, sa.Date()), _typed(date.max, sa.Date()))

        def on_wall(time: AnyColumn) -> AnyColumn:
            same = zones.clock.key == zones.policy.key
            return sa.cast(time, sa.Date()) if same else local(sa.func.timezone(zones.clock.key, time))

        match kind:
            case ClockKind.DATE:
                return column
            case ClockKind.NAIVE:
                return on_wall(column)
            case ClockKind.AWARE:
                return local(column)
            case ClockKind.TEXT:
                return _of_iso(column, sa.Date(), lambda text: text.local_day(local, on_wall))
            case ClockKind.YEAR:
                return _year_end(_number(column, kind))
            case _:
                return local(_moment_of(_number(column, kind), kind))

    def checked_day(self, clock: AnyColumn, kind: ClockKind, zones: Zones) -> AnyColumn:
        """By the server's own time zones."""
        moment = clock
        match kind:
            case ClockKind.YEAR:
                return _year_end(clock)
            case ClockKind.DATE | ClockKind.TEXT:
                return sa.cast(clock, sa.Date())
            case ClockKind.NAIVE if zones.clock.key == zones.policy.key:
                return sa.cast(clock, sa.Date())
            case ClockKind.NAIVE:
                moment = sa.func.timezone(zones.clock.key, clock)
            case ClockKind.AWARE:
                pass
            case _:
                moment = _moment_of(clock, kind)
        return sa.cast(sa.func.timezone(zones.policy.key, moment), sa.Date())

    # --- identifiers ---

    def carries(self, kind: sa.types.TypeEngine[Any]) -> bool:
        """What has a text that people write: not dates, truth values or ranges."""
        return isinstance(_base(kind), _CARRYING)

    def held_type(self) -> sa.types.TypeEngine[str]:
        """Text in the collation C."""
        return sa.Text(collation="C")

    def identifier(self, column: AnyColumn, kind: IdentifierType, region: str | None) -> AnyColumn:
        """Trimmed, decomposed and in lower case; of telephone numbers the last digits.

        Plain ASCII, which nearly everything is, takes the fast way: there `lower` in the collation C is exact.
        """
        base = _base(column.type)
        if isinstance(base, pg.INET | pg.CIDR):
            return _host(column)
        if isinstance(base, sa.LargeBinary):
            return _typed(None, sa.Text())
        numeric = isinstance(base, _NUMERIC)
        text = _figures(column, base) if numeric else sa.func.btrim(_raw_text(column), " ")
        if kind.is_telephone:
            return _c(sa.literal(ANY) + sa.func.right(text if numeric else _only_digits(text), PHONE_SUFFIX))
        if kind.is_device:
            return _c(sa.func.left(text, 14)) if kind is IdentifierType.IMEI else _c(text)
        if kind is IdentifierType.IP:
            return _address(text)
        return _c(sa.literal(AS_NUMBER) + text) if numeric else self._lowered(text)

    def _lowered(self, text: AnyColumn) -> AnyColumn:
        plain = sa.func.octet_length(text) == sa.func.char_length(text)
        return sa.case((plain, _c(sa.func.lower(text))), else_=_c(self._folded(text)))

    def _folded(self, text: AnyColumn) -> AnyColumn:
        """As `identifiers.fold` does in Python, for text of `_LETTERS`."""
        decomposed = sa.func.pg_catalog.normalize(text, "NFD")
        lowered = sa.func.lower(sa.collate(decomposed, self._fold or "pg_c_utf8"))
        return sa.func.translate(lowered, _UNLIKE, _LIKE)

    def held_keys(self, kind: IdentifierType, normalised: Iterable[str]) -> Iterable[str]:
        """The keys of values that are exactly one of the identifiers; telephone numbers' last digits."""
        keys_of = tails if kind.is_telephone else partial(whole_names, kind)
        return (key for held in normalised for key in keys_of(held))

    def odd(self, column: AnyColumn, kind: IdentifierType, region: str | None) -> Predicate | None:
        """By the regular expression of what is exactly one; numbers that are not whole or not exact."""
        base = _base(column.type)
        if isinstance(base, sa.LargeBinary) or (kind is IdentifierType.IP and isinstance(base, _NUMERIC)):
            return column.is_not(None)
        if isinstance(base, sa.Integer | pg.INET | pg.CIDR):
            return None
        if isinstance(base, _NUMERIC):
            return sa.or_(column != sa.func.trunc(column), *_inexact(column, base))
        text = _raw_text(column)
        garbled = sa.and_(sa.func.octet_length(text) != sa.func.char_length(text), text.regexp_match(mistaken_pairs()))
        other = sa.or_(sa.not_(text.regexp_match(exactly_one(kind, _LETTERS))), garbled)
        if kind is IdentifierType.IP:
            valid = sa.func.pg_input_is_valid(sa.func.btrim(text, " "), sa.literal("inet"))
            return sa.and_(other, sa.not_(sa.and_(text.regexp_match(_HEXADECIMAL), valid)))
        return sa.or_(other, text.regexp_match(_DECIMALS)) if kind is IdentifierType.COOKIE else other

    def digested(self, column: AnyColumn) -> AnyColumn:
        """By functions of its own, since version 11."""
        content = sa.func.sha256(sa.func.convert_to(_raw_text(column), sa.literal_column("'UTF8'")))
        return _c(sa.func.encode(content, sa.literal_column("'hex'")))

    def spelt(self, column: AnyColumn) -> AnyColumn:
        """As PostgreSQL writes it; bytes in hexadecimal, whatever the session writes."""
        base = _base(column.type)
        if isinstance(base, sa.LargeBinary):
            return _c(sa.literal(r"\x") + sa.func.encode(column, "hex"))
        if isinstance(base, _NUMERIC):
            unreadable = [(one, _c(sa.literal(UNREADABLE))) for one in _inexact(column, base)]
            return sa.case(*unreadable, else_=_raw_text(column)) if unreadable else _raw_text(column)
        return _raw_text(column)

    def load(self, connection: sa.Connection, table: sa.Table, rows: Iterable[tuple[str, int]]) -> None:
        """COPY."""
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)  # noqa: S101 - the engine is psycopg's
        names = [psycopg_sql.Identifier(part) for part in (table.schema, table.name) if part]
        statement = psycopg_sql.SQL("COPY {} (value, class) FROM STDIN").format(psycopg_sql.SQL(".").join(names))
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            block: list[str] = []
            for value, number in rows:
                block.append(f"{value.translate(_COPY_ESCAPES)}\t{number}\n")
                if len(block) == 10_000:
                    copy.write("".join(block))
                    block.clear()
            copy.write("".join(block))

    # --- staging ---

    def scratch_name(self, settings: SqlSettings, name: str) -> tuple[str | None, str]:
        """In a schema of its own."""
        return settings.scratch_schema, name

    def make_scratch(self, connection: sa.Connection, settings: SqlSettings, table: sa.Table) -> None:
        """One process at a time; the schema may have been made by an administrator."""
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_STAGING_LOCK)))
        if not sa.inspect(connection).has_schema(settings.scratch_schema):
            connection.execute(CreateSchema(settings.scratch_schema))
        table.create(connection, checkfirst=True)

    def marks(self, table: sa.FromClause) -> Sequence[sa.Label[Any]]:
        """Table, inserting transaction and address: in order of width, so that rows pack well."""
        return [
            table.c.tableoid.label("row_table"),
            table.c.xmin.label("row_xmin"),
            table.c.ctid.label("row_ctid"),
        ]

    def mark_columns(self) -> Sequence[sa.Column[Any]]:
        """The same, and the staging table's own address."""
        return (
            sa.Column("row_table", pg.OID()),
            sa.Column("row_xmin", Xid()),
            sa.Column("row_ctid", Tid()),
            sa.Column("ctid", Tid(), system=True),
            sa.Column("xmin", Xid(), system=True),
        )

    def position_type(self) -> sa.types.TypeEngine[Any]:
        """An address."""
        return Tid()

    def prepare_staging(self, connection: sa.Connection, held: int) -> None:
        """Plans that read the table as it is stored, and hash what is held (in bounded memory)."""
        megabytes = min(max(64, held * 120 // 2**20), 512)
        names = ("enable_mergejoin", "enable_indexscan", "enable_indexonlyscan", "synchronize_seqscans")
        _configure(connection, {**dict.fromkeys(names, "off"), "work_mem": f"{megabytes}MB"})

    def storage_order(self, table: sa.FromClause, held: int) -> Sequence[AnyColumn]:
        """By address where a join with many held identifiers may put rows out of order."""
        return [table.c.tableoid, table.c.ctid] if held > 100_000 else []

    def slices(
        self, connection: sa.Connection, staged: sa.Table, count: int, batch_size: int
    ) -> Iterator[tuple[Slice, object]]:
        """Ranges of whole pages of the staging table, or of items of one page where batches are smaller."""

        def measure(first: tuple[int, int], last: tuple[int, int]) -> tuple[Slice, object]:
            ends = (f"({first[0]},{first[1]})", f"({last[0]},{last[1]})")
            part = Slice(*ends, low=None, high=None, size=0, unheld=0, writer=writer)
            size, unheld, low, high, oldest = connection.execute(
                sa.select(
                    sa.func.count(),
                    sa.func.count().filter(sa.not_(staged.c.held)),
                    sa.func.min(staged.c.row_ctid),
                    sa.func.max(staged.c.row_ctid),
                    sa.func.min(staged.c.clock).filter(sa.not_(staged.c.held)),
                ).where(self.in_slice(staged, part))
            ).one()
            return replace(part, low=low, high=high, size=size, unheld=unheld), oldest

        writer = connection.scalar(sa.select(sa.cast(sa.cast(sa.func.pg_current_xact_id(), Xid()), sa.Text())))
        pages = _pages(connection, staged)
        page, width = 0, max(1, batch_size * pages // max(count, 1))
        while page < pages:
            part = measure((page, 1), (page + width - 1, _PAGE_ROWS))
            size = part[0].size
            if size > batch_size and width > 1:
                width = min(width - 1, max(1, width * batch_size // size))
                continue
            if size > batch_size:
                for item in range(1, _PAGE_ROWS + 1, batch_size):
                    part = measure((page, item), (page, min(item + batch_size - 1, _PAGE_ROWS)))
                    if part[0].size:
                        yield part
            elif size:
                yield part
            page += width

    def position(self, staged: sa.FromClause) -> AnyColumn:
        """The staged row's own address."""
        return staged.c.ctid

    def in_slice(self, staged: sa.FromClause, part: Slice) -> Predicate:
        """By the staged row's own address; and nobody but the discovering transaction may have written it."""
        return sa.and_(
            staged.c.ctid >= _typed(part.first, Tid()),
            staged.c.ctid <= _typed(part.last, Tid()),
            staged.c.xmin == _typed(part.writer, Xid()),
        )

    def in_range(self, table: sa.FromClause, part: Slice) -> Predicate:
        """By address, so that only the pages of the batch's records are read."""
        return sa.and_(table.c.ctid >= _typed(part.low, Tid()), table.c.ctid <= _typed(part.high, Tid()))

    def unchanged(self, table: sa.FromClause, staged: sa.FromClause) -> Predicate:
        """The same address and inserting transaction (see the module)."""
        return sa.and_(
            table.c.ctid == staged.c.row_ctid,
            table.c.xmin == staged.c.row_xmin,
            table.c.tableoid == staged.c.row_table,
        )

    # --- statements ---

    def address(self, table: sa.FromClause, key: Sequence[AnyColumn]) -> Sequence[AnyColumn]:
        """Address and table; they stay the same while the row is locked."""
        return [table.c.ctid, table.c.tableoid]

    def lock_rows(self, connection: sa.Connection, rows: sa.Select[Any], table: sa.FromClause) -> None:
        """SELECT FOR UPDATE, of which only the count comes here."""
        locked = rows.with_for_update(of=table).subquery()
        connection.execute(sa.select(sa.func.count()).select_from(locked))

    def lets_in(self, connection: sa.Connection, key: ForeignKey) -> str | None:
        """A foreign key's own triggers take the row FOR KEY SHARE, unless they are off, or it is not inherited."""
        child = sa.select(_CLASS.c.relkind).where(_CLASS.c.oid == _oid_of(key.child))
        if _char(connection.scalar(child) or "p") != "p" and len(self.parts(connection, key.child)) > 1:
            return (
                "tables inherit from that table, whose rows are its rows, too, and refer by no foreign key of theirs; "
                "make them partitions"
            )
        off = sa.select(_TRIGGER.c.tgname).where(
            _TRIGGER.c.tgrelid.in_(sa.select(_parts(key.child).c.oid)),
            _TRIGGER.c.tgisinternal,
            _TRIGGER.c.tgenabled.in_(["D", "R"]),
        )
        if connection.execute(off.limit(1)).first() is not None:
            return f"its triggers are switched off; ALTER TABLE {key.child} ENABLE TRIGGER ALL"
        return None

    def keep_rows(self, connection: sa.Connection, rows: sa.Select[Any], table: sa.FromClause) -> int:
        """SELECT FOR SHARE, of which only the count comes here."""
        locked = rows.with_for_update(read=True, of=table).subquery()
        return int(connection.scalar(sa.select(sa.func.count()).select_from(locked)) or 0)

    def look_at_constraints(self, connection: sa.Connection) -> None:
        """SET CONSTRAINTS, which SQLAlchemy has no words for."""
        connection.execute(sa.text("SET CONSTRAINTS ALL IMMEDIATE"))

    def place_of(self, column: AnyColumn, text: AnyColumn) -> AnyColumn:
        """By `strpos`."""
        return sa.func.strpos(column, text)

    def first_day(self, column: AnyColumn, of: Literal["month", "year"]) -> AnyColumn:
        """By `date_trunc`, and days by their number: they go on for longer than timestamps do.

        `infinity` stays, and the month and the year with which PostgreSQL's calendar begins have no first day.
        """
        lowest, second = (sa.cast(sa.literal_column(f"'{day}'"), column.type) for day in _CALENDAR_BEGINS[of])
        unit, utc = (sa.literal_column(f"'{text}'", sa.Text()) for text in (of, "UTC"))
        if isinstance(column.type, sa.Date):
            day = sa.extract("day" if of == "month" else "doy", column)
            first: AnyColumn = column - sa.cast(day, sa.Integer()) + sa.literal_column("1", sa.Integer())
        elif getattr(column.type, "timezone", False):
            first = sa.func.date_trunc(unit, column, utc)
        else:
            first = sa.func.date_trunc(unit, column)
        finite = sa.func.isfinite(column, type_=sa.Boolean())
        return sa.case((sa.not_(finite), column), (column < second, lowest), else_=sa.type_coerce(first, column.type))

    def insert_missing(self, table: sa.Table, column: str, rows: sa.Select[Any]) -> sa.Insert:
        """INSERT … ON CONFLICT (column) DO NOTHING."""
        return pg.insert(table).from_select([column], rows).on_conflict_do_nothing(index_elements=[column])

    # --- keys and their digest ---

    def key_kind(self, kind: sa.types.TypeEngine[Any]) -> KeyKind | None:
        """By type; what Python has no value for is read as text."""
        plain = _plain(kind)
        if isinstance(plain, sa.DateTime):
            return KeyKind.INSTANT if plain.timezone else KeyKind.WALL
        return next((found for each, found in _KEY_KINDS.items() if isinstance(plain, each)), KeyKind.TEXT)

    def key_read(self, column: AnyColumn) -> AnyColumn:
        """JSON, and what Python has no value for, as text."""
        known = isinstance(_plain(column.type), (*_KEY_KINDS, sa.DateTime)) and self.key_kind(column.type) not in (
            KeyKind.JSON,
            KeyKind.ADDRESS,
        )
        return column if known else sa.cast(column, sa.Text())

    def key_value(self, kind: sa.types.TypeEngine[Any]) -> Callable[[Any], object] | None:
        """Marks the type that Python does not tell."""
        marks: dict[KeyKind | None, Callable[[Any], object]] = {
            KeyKind.PADDED: Padded,
            KeyKind.JSON: Json,
            KeyKind.SINGLE: Single,
            KeyKind.ADDRESS: Address,
        }
        return marks.get(self.key_kind(kind))

    def written_keys(
        self, connection: sa.Connection, rows: sa.Select[Any], key: Sequence[AnyColumn]
    ) -> list[bytes] | None:
        """Whole numbers, text and UUIDs; between keys a zero byte, which no text can have."""
        forms = [self._written(column) for column in key]
        written = [form for form in forms if form is not None]
        if len(written) < len(forms):
            return None
        whole = written[0]
        for form in written[1:]:
            whole = whole.concat(sa.literal(SEPARATOR)).concat(form)
        encoded = sa.func.convert_to(whole, sa.literal("UTF8"))
        packed = connection.scalar(rows.with_only_columns(sa.func.string_agg(encoded, sa.literal(b"\0"))))
        return [] if packed is None else bytes(packed).split(b"\0")

    def _written(self, column: AnyColumn) -> AnyColumn | None:
        """The canonical form of a key column; None where only Python can write it."""
        kind = self.key_kind(column.type)
        if self.key_text(column) is None or kind is None:
            return None
        text = _raw_text(column)
        if kind is KeyKind.TEXT:
            text = sa.func.replace(sa.func.replace(text, "\\", "\\\\"), SEPARATOR, "\\-")
        return sa.literal(kind.value, sa.Text()).concat(text)

    def key_text(self, column: AnyColumn) -> AnyColumn | None:
        """Whole numbers, text and UUIDs are written as Python writes them."""
        if isinstance(column.type, sa.Integer | sa.Uuid):
            return sa.cast(column, sa.Text())
        if isinstance(column.type, sa.String) and not isinstance(column.type, sa.Enum | sa.CHAR):
            return sa.type_coerce(column, sa.Text())
        return None

    def key_order(self, column: AnyColumn) -> AnyColumn:
        """Text by its bytes."""
        return _raw_text(column) if isinstance(column.type, sa.String | pg.DOMAIN) else column

    def joined(self, connection: sa.Connection, lines: sa.Select[Any], count: int) -> Iterator[bytes]:
        """Joined by the server, so that not every line is a row on its way here."""
        if count <= _ONE_AGGREGATE:
            rows = lines.subquery()
            (line,) = rows.c
            text = connection.scalar(sa.select(sa.func.string_agg(line, "\n")))
            yield text.encode() + b"\n" if text is not None else b""
            return
        yield from super().joined(connection, lines, count)


_KEY_KINDS: dict[type[sa.types.TypeEngine[Any]], KeyKind] = {
    sa.CHAR: KeyKind.PADDED,
    sa.String: KeyKind.TEXT,
    sa.Boolean: KeyKind.BOOLEAN,
    sa.Integer: KeyKind.NUMBER,
    sa.REAL: KeyKind.SINGLE,
    sa.Float: KeyKind.DOUBLE,
    sa.Numeric: KeyKind.NUMBER,
    sa.Uuid: KeyKind.UUID,
    sa.Date: KeyKind.DAY,
    sa.Time: KeyKind.TIME,
    sa.LargeBinary: KeyKind.BYTES,
    sa.JSON: KeyKind.JSON,
    pg.INET: KeyKind.ADDRESS,
    pg.CIDR: KeyKind.ADDRESS,
}
"""Subclasses before what they are subclasses of."""


def _plain(kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    """A type without its domain."""
    return _plain(kind.data_type) if isinstance(kind, pg.DOMAIN) else kind


@dataclass(frozen=True)
class _IsoText:
    """Text of format ISO 8601, in parts: what a match of `dates.ISO_8601` captured.

    Nothing here can fail, in whatever order the server evaluates it: what is cast is digits or NULL, and what is made
    of them is in range. Everything is NULL where the text did not match.
    """

    match: AnyColumn

    def _whole(self, text: AnyColumn) -> AnyColumn:
        return sa.cast(sa.func.nullif(text, ""), sa.Integer())

    def _date_part(self, start: int, length: int) -> AnyColumn:
        return self._whole(sa.func.substr(sa.func.replace(self.match[1], "-", ""), start, length))

    @property
    def day(self) -> AnyColumn:
        """The day, or another one where there is no such day."""
        year, month = sa.func.greatest(self._date_part(1, 4), 1), self._date_part(5, 2)
        first = sa.func.make_date(year, sa.func.least(sa.func.greatest(month, 1), 12), 1, type_=sa.Date())
        return sa.type_coerce(first + (self._date_part(7, 2) - 1), sa.Date())

    @property
    def _since_midnight(self) -> AnyColumn:
        fraction = sa.func.coalesce(self.match[5], "0", type_=sa.Text())
        seconds: AnyColumn = sa.cast(
            sa.func.coalesce(self.match[4], "0", type_=sa.Text()) + "." + fraction, sa.Double()
        )
        return sa.func.make_interval(
            0, 0, 0, 0, self._whole(self.match[2]), self._whole(self.match[3]), seconds, type_=sa.Interval()
        )

    @property
    def _offset(self) -> AnyColumn:
        digits = sa.func.replace(self.match[6], ":", "", type_=sa.Text())
        hours, minutes = (sa.func.coalesce(self._whole(sa.func.substr(digits, at, 2)), 0) for at in (2, 4))
        sign = sa.case((sa.func.left(digits, 1) == "-", -1), else_=1)
        return sa.func.make_interval(0, 0, 0, 0, sign * hours, sign * minutes, type_=sa.Interval())

    @property
    def local(self) -> AnyColumn:
        """Day and time as written."""
        return sa.cast(self.day, sa.DateTime()) + self._since_midnight

    @property
    def utc(self) -> AnyColumn:
        """The moment of a time with an offset, in UTC."""
        return self.local - self._offset

    @property
    def readable(self) -> Predicate:
        """Whether there is such a moment in the calendar."""
        month = sa.cast(sa.func.date_part("month", self.day), sa.Integer())
        time = sa.and_(
            self._since_midnight <= sa.literal(timedelta(days=1), sa.Interval()),
            _in_calendar(sa.case((self.match[6].is_(None), self.local), else_=self.utc)),
        )
        return sa.and_(
            self._date_part(1, 4) >= 1,
            month == self._date_part(5, 2),
            sa.or_(self.match[2].is_(None), time),
        )

    def before(self, bound: Bound) -> Predicate:
        """Whether it is before a bound, where it is readable."""
        instant = _typed(bound.instant.replace(tzinfo=None), sa.DateTime())
        return sa.case(
            (self.match[2].is_(None), self.day < _typed(bound.day, sa.Date())),
            (self.match[6].is_not(None), self.utc < instant),
            else_=_in_walls(self.local, bound.walls),
        )

    def local_day(
        self, of_moment: Callable[[AnyColumn], AnyColumn], on_wall: Callable[[AnyColumn], AnyColumn]
    ) -> AnyColumn:
        """Its local day; NULL where it is not readable."""
        return sa.case(
            (sa.not_(self.readable), sa.null()),
            (self.match[2].is_(None), self.day),
            (self.match[6].is_not(None), of_moment(sa.func.timezone("UTC", self.utc))),
            else_=on_wall(self.local),
        )


def _of_iso(
    column: AnyColumn, kind: sa.types.TypeEngine[Any], of: Callable[[_IsoText], AnyColumn]
) -> sa.ColumnElement[Any]:
    """Something of a column of ISO 8601 text, which is matched once."""
    matched = sa.func.regexp_match(sa.func.btrim(_raw_text(column), BLANKS), ISO_8601, type_=pg.ARRAY(sa.Text()))
    match = matched.column_valued("iso")
    return sa.type_coerce(sa.select(of(_IsoText(match))).scalar_subquery(), kind)


def _in_calendar(local: AnyColumn) -> Predicate:
    first, last = (_typed(end, sa.DateTime()) for end in (FIRST_WALL, LAST_WALL))
    return local.between(first, last)


def _in_walls(local: AnyColumn, walls: Walls) -> Predicate:
    """Whether a local time lies in one of the ranges."""
    ends = [(_typed(start, sa.DateTime()), _typed(end, sa.DateTime())) for start, end in walls]
    return sa.or_(local < ends[0][1], *(sa.and_(local >= start, local < end) for start, end in ends[1:]))


def _number(column: AnyColumn, kind: ClockKind) -> AnyColumn:
    """A column as a number: text is NULL where it is none."""
    if not isinstance(column.type, sa.String):
        return column
    pattern, number = (YEAR, sa.Integer()) if kind is ClockKind.YEAR else (NUMBER, sa.Numeric())
    return sa.cast(sa.func.substring(sa.func.btrim(_raw_text(column), BLANKS), pattern), number)


def _bound_number(number: AnyColumn, kind: ClockKind, instant: datetime) -> AnyColumn:
    """A moment as a number since 1970 of the column's type, so that an index serves the comparison."""
    exact = epoch_number(instant, kind.per_second)
    if isinstance(number.type, sa.Integer):
        return _typed(ceil(exact), sa.BigInteger())
    return _typed(float(exact), sa.Double()) if isinstance(number.type, sa.Float) else _typed(exact, sa.Numeric())


def _moment_of(number: AnyColumn, kind: ClockKind) -> AnyColumn:
    """The moment of a number since 1970; of one that is not readable, another moment."""
    first, end = (_typed(float(bound), sa.Double()) for bound in epochs(kind))
    within = _within(sa.cast(number, sa.Double()), first, end - 1.0)
    return sa.func.to_timestamp(within / _typed(float(kind.per_second), sa.Double()))


def _year_end(year: AnyColumn) -> AnyColumn:
    """The last day of a year; of one that is not readable, of another."""
    first, last = (_typed(day.year, sa.Integer()) for day in (date.min, date.max))
    return sa.func.make_date(sa.cast(_within(year, first, last), sa.Integer()), 12, 31)


def _within(value: AnyColumn, first: AnyColumn, last: AnyColumn) -> AnyColumn:
    """A value, or the end of a range that it is beyond; NULL stays NULL."""
    return sa.case((value < first, first), (value > last, last), else_=value)


def _extreme(values: Sequence[AnyColumn], *, latest: bool) -> AnyColumn:
    """The greatest or the least of some values that is not NULL."""
    if len(values) == 1:
        return values[0]
    return (sa.func.greatest if latest else sa.func.least)(*values)


def _written(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _catalogue_id(name: str) -> AnyColumn:
    return sa.cast(sa.literal(f"pg_catalog.{name}"), pg.REGCLASS())


def _calling(need: Need) -> dict[str, sa.Select[Any] | sa.CompoundSelect[Any]]:
    """What of a table is worked out when rows of it are written, by the catalogue that it is in."""
    default = _catalogue("pg_attrdef", _oid("oid"), _oid("adrelid"), "adnum")
    attribute = _catalogue("pg_attribute", _oid("attrelid"), "attnum", _oid("atttypid"), "attgenerated")
    index = _catalogue("pg_index", _oid("indexrelid"), _oid("indrelid"))
    constraint = _catalogue("pg_constraint", _oid("oid"), _oid("conrelid"), _oid("contypid"))
    parts = sa.select(_parts(need.relation).c.oid)
    types = sa.select(attribute.c.atttypid).where(attribute.c.attrelid.in_(parts))
    mine = sa.and_(attribute.c.attrelid == default.c.adrelid, attribute.c.attnum == default.c.adnum)
    defaults = sa.select(default.c.oid).join(attribute, mine).where(default.c.adrelid.in_(parts))
    return {
        "pg_attrdef": defaults if need.insert else defaults.where(attribute.c.attgenerated != ""),
        "pg_constraint": sa.select(constraint.c.oid).where(
            sa.or_(constraint.c.conrelid.in_(parts), constraint.c.contypid.in_(types))
        ),
        "pg_class": sa.union(sa.select(index.c.indexrelid).where(index.c.indrelid.in_(parts)), parts),
        **({"pg_type": types} if need.insert else {}),
    }


def _oid_of(relation: Relation) -> AnyColumn:
    return sa.cast(int(relation.id), pg.OID())


def _login(connection: sa.Connection) -> str:
    login = str(connection.scalar(sa.select(sa.func.current_user())))
    return _quoted(connection, login)


def _quoted(connection: sa.Connection, name: str) -> str:
    """A name as it is written in a statement; the preparer writes it as a parameterised one has it, `%` twice."""
    return connection.dialect.identifier_preparer.quote(name).replace("%%", "%")


def _may(connection: sa.Connection, kind: str, name: str, right: str) -> bool:
    asked = getattr(sa.func, f"has_{kind}_privilege")(sa.cast(sa.literal(name), sa.Text()), right)
    return bool(connection.scalar(sa.select(asked)))


def _limit(connection: sa.Connection, **seconds: float) -> None:
    """Time limits of this transaction: statement, lock, idle."""
    names = {"statement": "statement_timeout", "lock": "lock_timeout", "idle": "idle_in_transaction_session_timeout"}
    _configure(connection, {names[name]: f"{max(1, round(value * 1000))}ms" for name, value in seconds.items()})


def _configure(connection: sa.Connection, settings: dict[str, str]) -> None:
    """Settings of this transaction."""
    connection.execute(sa.select(*(sa.func.set_config(name, value, True) for name, value in settings.items())))


def _typed(value: object, kind: sa.types.TypeEngine[Any]) -> AnyColumn:
    return sa.literal(value, kind)


def _c(text: AnyColumn) -> AnyColumn:
    return sa.collate(text, "C")


def _raw_text(column: AnyColumn) -> AnyColumn:
    """A column as text that is compared by its bytes."""
    text = column if type(column.type) in (sa.Text, sa.VARCHAR, sa.TEXT) else sa.cast(column, sa.Text())
    return _c(sa.type_coerce(text, sa.Text()))


def _only_digits(text: AnyColumn) -> AnyColumn:
    return sa.func.regexp_replace(text, "[^0-9]", "", "g")


def _base(kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    """What a domain is of."""
    return _base(kind.data_type) if isinstance(kind, pg.DOMAIN) else kind


def _of_base(column: AnyColumn) -> AnyColumn:
    """A column of a domain as one of what that is of."""
    return sa.type_coerce(column, _base(column.type)) if isinstance(column.type, pg.DOMAIN) else column


def _figures(column: AnyColumn, base: sa.types.TypeEngine[Any]) -> AnyColumn:
    """A number's digits, without the decimals of a whole one."""
    if isinstance(base, sa.Integer):
        return _raw_text(column)
    return _c(sa.cast(sa.func.trim_scale(sa.cast(sa.cast(column, sa.Text()), sa.Numeric())), sa.Text()))


def _inexact(column: AnyColumn, base: sa.types.TypeEngine[Any]) -> list[Predicate]:
    """Whether a number is rounded: one beyond what its floating-point type has digits for."""
    if not isinstance(base, _FLOATING):
        return []
    limit = EXACT_FLOATS[4 if isinstance(base, sa.REAL) else 8]
    return [sa.func.abs(column) >= sa.cast(limit, sa.Double())]


def _address(text: AnyColumn) -> AnyColumn:
    """IPv4 as it is, IPv6 as the server writes it."""
    valid = sa.func.pg_input_is_valid(text, sa.literal("inet"))
    address = sa.case((valid, sa.cast(text, pg.INET())), else_=sa.null())
    return sa.case((text.regexp_match(_HEXADECIMAL), _host(address)), else_=_c(text))


def _host(address: AnyColumn) -> AnyColumn:
    """An IP address, IPv4 also where it is mapped into IPv6."""
    return _c(sa.func.regexp_replace(sa.func.host(address), _MAPPED, r"\1"))


def _qualified(connection: sa.Connection, table: sa.TableClause) -> str:
    """The same for a table, with its schema."""
    return connection.dialect.identifier_preparer.format_table(table).replace("%%", "%")


def _pages(connection: sa.Connection, table: sa.Table) -> int:
    name = sa.literal(_qualified(connection, table))
    size, page = connection.execute(
        sa.select(
            sa.func.pg_relation_size(sa.cast(name, pg.REGCLASS())),
            sa.cast(sa.func.current_setting("block_size"), sa.Integer()),
        )
    ).one()
    return int(size) // int(page)


def _type_name(kind: sa.types.TypeEngine[Any]) -> str:
    try:
        return str(kind.compile(pg.dialect())).lower()  # type: ignore[no-untyped-call]
    except sa.exc.CompileError:
        return type(kind).__name__.lower()
