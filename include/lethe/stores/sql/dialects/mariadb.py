"""MariaDB, from 10.11 on, through PyMySQL.

What is particular here: statements that make or drop tables commit what is under way, so who discovers has a lock of
the session, and what is staged counts once its candidates are written down; each statement sees one state of its own;
the gate lock is a row, which batches lock shared and who places a hold exclusively; there is no mark by which a row
shows that it is unchanged, so every candidate is judged again; and foreign keys are looked at row by row. Tables that
a statement of ours makes have their indexes within it: to index one later would commit.
"""

# ruff: noqa: SIM300 - the catalogue's columns are in capitals, but no constants
from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from itertools import islice
from math import ceil, isfinite, isinf
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateSchema, CreateTable

from lethe.connections import Connection
from lethe.errors import ConnectionMissing, StoreError
from lethe.judging.conditions import Precision, limit, spelt_pattern
from lethe.judging.dates import TimestampFormat, Zones, epoch_number
from lethe.judging.identifiers import (
    ANY,
    AS_NUMBER,
    EXACT_FLOATS,
    PHONE_SUFFIX,
    UNREADABLE,
    IdentifierType,
    exactly_one,
    tails,
    whole_names,
)
from lethe.judging.keys import KeyKind, Padded, Single
from lethe.stores.base import Remainder
from lethe.stores.sources import unlogged_rows
from lethe.stores.sql.catalogue import Action, Change, ForeignKey, Need, Relation, RelationKind, Trigger
from lethe.stores.sql.dialects.base import (
    ESCAPE,
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
from lethe.stores.sql.dialects.mariadb_clocks import (
    EXACT,
    IsoText,
    day,
    exact_text,
    extreme,
    is_like,
    local_in,
    moment_of,
    number,
    shown_day,
    there_is,
    ticks,
    ticks_of,
    year_end,
)
from lethe.stores.sql.settings import SqlSettings

_OLDEST = (10, 11)
_BYTES = (sa.LargeBinary, sa.BINARY, sa.VARBINARY)
_INDEXED = 191
"""Characters of long text that an index has."""
_LONGEST_MATCHED = 1_000
"""Characters of a text that a regular expression is tried on; longer ones are searched here."""
_SESSION = (
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ALLOW_INVALID_DATES,NO_UNSIGNED_SUBTRACTION', "
    "time_zone = '+00:00', default_storage_engine = 'InnoDB', collation_server = 'utf8mb4_bin', "
    "auto_increment_increment = 1, auto_increment_offset = 1, foreign_key_checks = 1, unique_checks = 1, "
    "tx_read_only = 0, completion_type = 'NO_CHAIN', sql_safe_updates = 0, sql_select_limit = 18446744073709551615, "
    "sql_big_selects = 1, sql_auto_is_null = 0, old_mode = '', max_sort_length = 4096"
)
"""Whatever the server's defaults are. Days that are none must be staged as they are, not be refused; keys, of up to
3,072 bytes, are sorted whole."""

_FAULTS = {
    **dict.fromkeys((1205, 1213, 1020, 1412), Fault.AGAIN),
    **dict.fromkeys((1021, 1114, 1026, 1037, 1041), Fault.FULL),
    **dict.fromkeys((1142, 1143, 1227, 1290, 1370, 1792), Fault.DENIED),
    **dict.fromkeys((1217, 1451), Fault.REFERRED),
    **dict.fromkeys((1051, 1054, 1146, 1932), Fault.VANISHED),
    1644: Fault.RAISED,
    **dict.fromkeys((1040, 1044, 1045, 1047, 1049, 1053, 1129, 1130, 1158, 1159, 1160, 1161), Fault.UNAVAILABLE),
    **dict.fromkeys((1203, 1226, 1317, 1698, 1927, 1969, 4151), Fault.UNAVAILABLE),
}
"""What numbers of errors mean (https://mariadb.com/kb/en/mariadb-error-code-reference/)."""

_UNSTORABLE = frozenset({"1264", "1265", "1292", "1366", "1406", "4025"})
"""A value that is out of range, cut off, of another type, too long, or against the column's own CHECK."""

_CULPRIT = re.compile(
    r"(?P<right>[A-Z ]+) command denied to user .* for (?P<what>(?:table|column) .*?)['\"]\)?$"
    r"|foreign key constraint fails \((?P<child>`.*?`), (?P<key>CONSTRAINT `.*?`) FOREIGN KEY"
)
"""What messages of errors 1142, 1143, 1451 and 1452 name, which is no value."""

_REFUSALS = {
    1044: "its login may not use the database (GRANT … ON database.*)",
    1045: "the server does not let its login in: another user or password",
    1049: "there is no such database on the server",
    1130: "the server does not let its login in from this host",
    1698: "the server does not let its login in: another user or password",
    1040: "the server has no connection left",
    2003: "nothing listens at its host and port, or its host is not known",
    2002: "nothing listens at its socket",
}


def _schema_table(name: str, *columns: str) -> sa.TableClause:
    return sa.table(name, *map(sa.column, columns), schema="information_schema")


_TABLES = _schema_table("TABLES", "TABLE_SCHEMA", "TABLE_NAME", "TABLE_TYPE", "ENGINE")
_COLUMNS = _schema_table("COLUMNS", "TABLE_SCHEMA", "TABLE_NAME", "COLUMN_NAME", "ORDINAL_POSITION", "COLUMN_TYPE")
_TRIGGERS = _schema_table("TRIGGERS", "TRIGGER_NAME", "EVENT_MANIPULATION", "EVENT_OBJECT_SCHEMA", "EVENT_OBJECT_TABLE")
_FOREIGN = _schema_table("INNODB_SYS_FOREIGN", "ID", "FOR_NAME", "REF_NAME", "TYPE")
_FOREIGN_COLUMNS = _schema_table("INNODB_SYS_FOREIGN_COLS", "ID", "FOR_COL_NAME", "REF_COL_NAME", "POS")
_SYS_TABLES = _schema_table("INNODB_SYS_TABLES", "TABLE_ID", "NAME")
"""All foreign keys there are, also those of tables that the login may not see: InnoDB cascades whoever may see what."""

_VARIABLES = _schema_table("SESSION_VARIABLES", "VARIABLE_NAME", "VARIABLE_VALUE")
"""The server's variables, also those that not every server has."""

_KINDS = {
    "BASE TABLE": RelationKind.TABLE,
    "SYSTEM VERSIONED": RelationKind.VERSIONED,
    "VIEW": RelationKind.VIEW,
    "SYSTEM VIEW": RelationKind.VIEW,
}


@compiles(sa.sql.elements.FunctionFilter, "mariadb")
def _filtered(element: Any, compiler: Any, **options: Any) -> str:  # noqa: ANN401 - as SQLAlchemy declares it
    """An aggregate of some rows: of a CASE that is NULL for the others."""
    function = element.func
    (argument,) = list(function.clauses) or [sa.literal_column("1")]
    argument = sa.literal_column("1") if str(argument) == "*" else argument
    chosen = getattr(sa.func, function.name)(sa.case((element.criterion, argument)))
    return str(compiler.process(chosen, **options))


class _Made(sa.schema.ExecutableDDLElement):
    """CREATE [TEMPORARY] TABLE with some columns and keys of its own, AS SELECT."""

    def __init__(self, table: sa.Table, rows: sa.SelectBase) -> None:
        self.table = table
        self.rows = rows


@compiles(_Made, "mariadb")
def _made(element: _Made, compiler: Any, **options: Any) -> str:  # noqa: ANN401 - as SQLAlchemy declares it
    head = compiler.process(CreateTable(element.table, if_not_exists=True), **options).replace("(\n)", "").rstrip()
    return f"{head} AS {compiler.sql_compiler.process(element.rows, literal_binds=True)}"


class _DropTemporary(sa.schema.ExecutableDDLElement):
    """DROP TEMPORARY TABLE, which ends no transaction."""

    def __init__(self, table: sa.Table) -> None:
        self.table = table


@compiles(_DropTemporary, "mariadb")
def _dropped(element: _DropTemporary, compiler: Any, **_: Any) -> str:  # noqa: ANN401 - as SQLAlchemy declares it
    return f"DROP TEMPORARY TABLE IF EXISTS {compiler.preparer.format_table(element.table)}"


class _Key(sa.schema.Constraint):
    """An index within CREATE TABLE; of text, of its first characters."""

    def __init__(self, columns: Sequence[AnyColumn]) -> None:
        super().__init__()
        self.columns_of_key = columns


@compiles(_Key, "mariadb")
def _keyed(element: _Key, compiler: Any, **_: Any) -> str:  # noqa: ANN401 - as SQLAlchemy declares it
    def part(column: AnyColumn) -> str:
        longest = getattr(column.type, "length", None)
        text = isinstance(column.type, (sa.String, *_BYTES)) and not isinstance(column.type, sa.Enum)
        short = f"({_INDEXED})" if text and (longest is None or longest > _INDEXED) else ""
        return f"{compiler.preparer.quote(column.name)}{short}"

    return f"KEY ({', '.join(map(part, element.columns_of_key))})"


_FIRST_TIMESTAMP = "'1970-01-01 00:00:01'"
"""In UTC: https://mariadb.com/kb/en/timestamp/"""


class MariaDB(Dialect):
    """MariaDB."""

    name = "mariadb"
    judges_locked_rows = True
    restricts_each_row = True
    restricts_itself = True
    system_schemas = frozenset({"information_schema", "mysql", "performance_schema", "sys"})
    code_points = EXACT
    singles = (mysql.FLOAT,)

    def __init__(self) -> None:
        self._database = ""

    # --- connections and transactions ---

    def url(self, connection: Connection) -> sa.URL:
        """Host and port, or the socket in the extra; and the database."""
        if not connection.schema:
            raise ConnectionMissing(
                f"connection {connection.conn_id}: MariaDB needs the database as its schema: give it that"
            )
        self._database = connection.schema
        extra = {k: v for k, v in connection.extra.items() if not k.startswith("lethe_")}
        encrypted = extra.pop("ssl", {})
        encrypted = encrypted if isinstance(encrypted, dict) else {}
        options = {**extra, **{f"ssl_{name}": value for name, value in encrypted.items()}, "charset": "utf8mb4"}
        if "unix_socket" in options and not any(name.startswith("ssl") for name in options):
            options["ssl_disabled"] = "1"  # nobody is between; else the driver reads all certificates, 20 ms a session
        return sa.URL.create(
            "mariadb+pymysql",
            username=connection.login,
            password=connection.password,
            host=connection.host,
            port=connection.port,
            database=connection.schema,
            query={name: str(value) for name, value in options.items()},
        )

    def engine(self, url: sa.URL, settings: SqlSettings) -> sa.Engine:
        """An engine without a pool, whose sessions do not depend on the server's defaults."""
        engine = sa.create_engine(
            url,
            poolclass=sa.NullPool,
            isolation_level="READ COMMITTED",
            **unlogged_rows(),
            enable_from_linting=False,
            connect_args={
                "connect_timeout": max(1, round(settings.connect_timeout)),
                "init_command": f"{_SESSION}, lock_wait_timeout = {max(1, round(settings.lock_timeout))}",
            },
        )
        sa.event.listen(engine, "connect", _require_server, insert=True)
        return engine

    @contextmanager
    def snapshot(self, engine: sa.Engine, settings: SqlSettings, *, writes: bool) -> Iterator[sa.Connection]:
        """A transaction of which each statement sees one state of its own.

        At REPEATABLE READ, INSERT … SELECT would lock all that it reads until discovering has ended. What changes
        between two statements is judged again when it is erased, as everything is.
        """
        with engine.connect() as connection, connection.begin():
            _limit(connection, statement=settings.discover_timeout, lock=settings.lock_timeout)
            yield connection

    def begin_batch(self, connection: sa.Connection, settings: SqlSettings) -> sa.RootTransaction:
        """Begin, limit, and lock the gate's row shared: InnoDB's queue is fair, so nobody waits for ever."""
        transaction = connection.begin()
        try:
            _limit(
                connection,
                statement=settings.statement_timeout,
                lock=settings.lock_timeout,
                idle=settings.idle_timeout,
            )
            connection.execute(sa.select(self._gate.c.id).with_for_update(read=True)).one()
        except BaseException:
            transaction.close()
            raise
        return transaction

    def fence(self, engine: sa.Engine, timeout: float) -> None:
        """Lock the gate's row exclusively, and give it back. Where there is none, no batch can have begun."""
        with engine.connect() as connection, connection.begin() as transaction:
            _limit(connection, statement=timeout + 1, lock=timeout)
            try:
                connection.execute(sa.select(self._gate.c.id).with_for_update()).all()
            except sa.exc.DBAPIError as error:
                if self.fault(error) is not Fault.VANISHED:
                    raise
            transaction.rollback()

    @property
    def _gate(self) -> sa.Table:
        """In one place for all connections to a database, whatever their scratch schema is."""
        schema = _scratch_schema("lethe_scratch", self._database)
        return sa.Table("gate", sa.MetaData(), sa.Column("id", sa.Integer(), primary_key=True), schema=schema)

    def fault(self, error: sa.exc.DBAPIError) -> Fault:
        """By number."""
        number = _number(error)
        if isinstance(error, sa.exc.InterfaceError) or number == 0 or 2000 <= number < 3000:
            return Fault.UNAVAILABLE
        return _FAULTS.get(number, Fault.OTHER)

    def code(self, error: sa.exc.DBAPIError) -> str:
        """The number, or the driver's class of error."""
        return str(_number(error) or type(error.orig).__name__)

    def culprit(self, error: sa.exc.DBAPIError) -> str:
        """The right and the table, or the table and its foreign key, that the server's message names."""
        found = _CULPRIT.search(str(error.orig))
        return "" if found is None else " ".join(part for part in found.groups() if part)

    def unreachable(self, error: sa.exc.DBAPIError) -> str:
        """By number, where no statement was sent."""
        return _REFUSALS.get(_number(error), "") if error.statement is None else ""

    def problems(self, connection: sa.Connection) -> Iterator[str]:
        """Settings of the server with which nothing can be erased exactly, or not seen what would go along."""
        names = ("read_only", "innodb_flush_log_at_trx_commit", "log_bin", "binlog_format")
        asked: Any = connection.execute(
            sa.select(*(sa.literal_column(f"@@{name}").label(name) for name in names))
        ).one()
        cluster = sa.select(_VARIABLES.c.VARIABLE_VALUE).where(_VARIABLES.c.VARIABLE_NAME == "WSREP_ON")
        if connection.scalar(cluster) == "ON":
            yield (
                "the server is of a Galera cluster, whose servers do not see each other's locks of rows: a hold could "
                "be acknowledged while a batch goes on at another one"
            )
        if asked.read_only:
            yield "the server takes no changes (it is read-only): connect to the primary"
        if int(asked.innodb_flush_log_at_trx_commit) != 1:
            yield (
                "the server does not write what it commits (innodb_flush_log_at_trx_commit is not 1), so that a crash "
                "could bring back what a certificate says was erased: set it to 1"
            )
        if asked.log_bin and asked.binlog_format == "STATEMENT":
            yield "the server's binlog_format is STATEMENT, which refuses erasing in READ COMMITTED: set it to MIXED"
        try:
            connection.execute(sa.select(_FOREIGN.c.ID).limit(1)).all()
        except sa.exc.DBAPIError as error:
            if self.fault(error) is not Fault.DENIED:
                raise
            login = _login(connection)
            yield (
                f"{login} may not see which foreign keys there are, and rows of tables that it cannot see could go "
                f"along unjudged: GRANT PROCESS ON *.* TO {login}"
            )

    # --- the catalogue ---

    def database_id(self, connection: sa.Connection) -> str:
        """The server: its databases are schemas of it."""
        parts: Any = connection.execute(sa.select(*map(sa.literal_column, ("@@hostname", "@@port", "@@datadir")))).one()
        return "mariadb:" + hashlib.sha256(repr(tuple(parts)).encode()).hexdigest()[:24]

    def relation(self, connection: sa.Connection, name: Sequence[str]) -> Relation | None:
        """By schema and name."""
        table, *outer = name
        if len(outer) > 1:
            return None
        schema = outer[0] if outer else self._database
        row = connection.execute(
            sa.select(_TABLES).where(_TABLES.c.TABLE_SCHEMA == schema, _TABLES.c.TABLE_NAME == table)
        ).one_or_none()
        if row is None:
            return None
        kind = _KINDS.get(row.TABLE_TYPE, RelationKind.OTHER)
        transacted = kind is not RelationKind.TABLE or str(row.ENGINE).lower() == "innodb"
        return _relation(row.TABLE_SCHEMA, row.TABLE_NAME, kind if transacted else RelationKind.UNTRANSACTED)

    def parts(self, connection: sa.Connection, relation: Relation) -> tuple[str, ...]:
        """The table alone: partitions have no names that statements know."""
        return (relation.id,)

    def referring(self, connection: sa.Connection, relation: Relation) -> list[ForeignKey]:
        """By InnoDB's own list, whose names are those of files. NO ACTION is looked at row by row, as RESTRICT is."""
        mine = sa.func.concat(_as_file(relation.schema or ""), "/", _as_file(relation.name))
        child = _FOREIGN.c.FOR_NAME
        rows = connection.execute(
            sa.select(
                _FOREIGN.c.ID,
                _of_file(sa.func.substring_index(child, "/", 1)).label("schema"),
                _of_file(sa.func.substring_index(child, "/", -1)).label("table"),
                _FOREIGN.c.TYPE,
                _FOREIGN_COLUMNS.c.FOR_COL_NAME,
                _FOREIGN_COLUMNS.c.REF_COL_NAME,
            )
            .join(_FOREIGN_COLUMNS, _FOREIGN_COLUMNS.c.ID == _FOREIGN.c.ID)
            .where(_FOREIGN.c.REF_NAME == mine)
            .order_by(_FOREIGN.c.ID, _FOREIGN_COLUMNS.c.POS)
        ).all()
        found: dict[str, list[Any]] = {}
        for row in rows:
            found.setdefault(row.ID, []).append(row)
        return [
            ForeignKey(
                name=key.partition("/")[2],
                child=_relation(columns[0].schema, columns[0].table, RelationKind.TABLE),
                columns=tuple(row.FOR_COL_NAME for row in columns),
                parent=relation,
                referred=tuple(row.REF_COL_NAME for row in columns),
                on_delete=_action(int(columns[0].TYPE), cascade=1, null=2),
                on_update=_action(int(columns[0].TYPE), cascade=4, null=8),
            )
            for key, columns in found.items()
        ]

    def triggers(self, connection: sa.Connection, relation: Relation, change: Change) -> list[Trigger]:
        """By the catalogue, which shows them to who has the right TRIGGER alone."""
        names = connection.scalars(
            sa.select(_TRIGGERS.c.TRIGGER_NAME)
            .where(
                _TRIGGERS.c.EVENT_OBJECT_SCHEMA == relation.schema,
                _TRIGGERS.c.EVENT_OBJECT_TABLE == relation.name,
                _TRIGGERS.c.EVENT_MANIPULATION == change.value,
            )
            .order_by(_TRIGGERS.c.TRIGGER_NAME)
        )
        return [Trigger(name, relation.name) for name in names]

    def table_id(self, connection: sa.Connection, table: sa.Table) -> str:
        """InnoDB's number of the table (of its partitions), and its columns."""
        schema = str(table.schema or self._database)
        file = sa.func.concat(_as_file(schema), "/", _as_file(str(table.name)))
        numbers = sa.select(_SYS_TABLES.c.TABLE_ID).where(sa.func.substring_index(_SYS_TABLES.c.NAME, "#P#", 1) == file)
        columns = sa.select(_COLUMNS.c.COLUMN_NAME, _COLUMNS.c.ORDINAL_POSITION, _COLUMNS.c.COLUMN_TYPE).where(
            _COLUMNS.c.TABLE_SCHEMA == schema, _COLUMNS.c.TABLE_NAME == str(table.name)
        )
        whole = (sorted(connection.scalars(numbers)), sorted(map(tuple, connection.execute(columns))))
        return hashlib.sha256(repr(whole).encode()).hexdigest()

    def lineage_name(self, connection: sa.Connection, url: sa.URL, schema: str | None, table: str) -> tuple[str, str]:
        """mysql://host:port and database.table."""
        return f"mysql://{url.host or 'localhost'}:{url.port or 3306}", f"{schema or url.database}.{table}"

    def remainders(self) -> tuple[Remainder, ...]:
        """Erased rows until the purge, logs and backups: how long is not known here."""
        return (
            Remainder(what="deleted row versions, until InnoDB has purged them and written over their pages"),
            Remainder(what="redo and binary logs and backups of the server, as its operators keep them"),
        )

    # --- rights ---

    def missing_rights(self, connection: sa.Connection, needs: Sequence[Need]) -> Iterator[tuple[str, str]]:
        """By statements that do the same with no row: which rights come from roles and patterns, the server knows."""
        login = _login(connection)
        for need in needs:
            quoted = connection.dialect.identifier_preparer.format_table(_table_of(need))
            absent = []
            for right, tried in _tries(need):
                denied = self._denied(connection, tried)
                if denied is None:
                    continue
                other, what = denied
                if what.replace("`", "") in (quoted.replace("`", ""), ""):
                    absent.append(right)
                else:
                    yield (
                        f"{login} may not {other} {what}, which defaults of table {need.relation} use",
                        f"GRANT {other} ON {what} TO {login}",
                    )
            if absent:
                rights = ", ".join(absent)
                yield f"{login} may not {rights} table {need.relation}", f"GRANT {rights} ON {quoted} TO {login}"

    def _denied(self, connection: sa.Connection, tried: sa.Executable) -> tuple[str, str] | None:
        """The right that a statement lacks, and the table or sequence, where the server names one; None: it may."""
        try:
            connection.execute(tried)
        except sa.exc.DBAPIError as error:
            if self.fault(error) is not Fault.DENIED:
                raise
            found = _CULPRIT.search(str(error.orig))
            if found is None or not (found["what"] or "").startswith("table "):
                return "", ""
            return found["right"].strip(), found["what"].removeprefix("table ")
        return None

    def missing_for_staging(self, connection: sa.Connection, settings: SqlSettings) -> Iterator[tuple[str, str]]:
        """By what SHOW GRANTS says, that of roles in force included: nothing can be tried without being done."""
        login = _login(connection)
        lines = list(connection.scalars(sa.text("SHOW GRANTS")))  # which SQLAlchemy has no words for
        staging = _scratch_schema(settings.scratch_schema, self._database)
        wanted = {staging: _ON_STAGING, str(self._gate.schema): _ON_STAGING, self._database: _ON_DATA}
        for schema, needed in wanted.items():
            lacking = [right for right in needed if right not in _granted(lines, schema)]
            if lacking:
                rights = ", ".join(lacking)
                quoted = connection.dialect.identifier_preparer.quote(schema)
                yield f"{login} may not {rights} in database {schema}", f"GRANT {rights} ON {quoted}.* TO {login}"

    # --- values that policies name ---

    def literal(self, column: AnyColumn, value: str | int | bool) -> AnyColumn:
        """Read here as one of the column's type: the server would compare a number with text as floats."""
        read = _read_as(self._shaped(column.type), value)
        return sa.literal(str(value) if read is None else read, AsWritten())

    def unfit(
        self, connection: sa.Connection, relation: Relation, column: sa.Column[Any], value: str | int | bool
    ) -> str | None:
        """By type, and by what a column of just this type makes of it."""
        kind = str(column.type).lower()
        if _read_as(self._shaped(column.type), value) is None:
            return f"{value!r} is no {kind}"
        return None if self._keeps(connection, column, value) else f"no {kind} is exactly {value!r}"

    def _keeps(self, connection: sa.Connection, column: sa.Column[Any], value: str | int | bool) -> bool:
        """Whether a temporary column of its type takes a value, and then is equal to it; true where none can be made.

        Rounded numbers and times, padded bytes and sets in another order are not.
        """
        made = sa.Table("lethe_kept", sa.MetaData(), prefixes=["TEMPORARY"])
        kept = sa.table(made.name, sa.column("value", column.type))
        literal = self.literal(column, value)
        try:
            connection.execute(_Made(made, _nullable(sa.select(column.label("value")))))
            connection.execute(sa.insert(kept).values(value=literal))
            return bool(connection.scalar(sa.select(kept.c.value == literal)))
        except sa.exc.DBAPIError as error:
            if self.fault(error) is Fault.DENIED:  # said with the rights that are missing
                return True
            if self.code(error) not in _UNSTORABLE:
                raise
            return False
        finally:
            self.drop_temporary(connection, made)

    # --- conditions ---

    def named(self, column: AnyColumn) -> AnyColumn | None:
        """Whole numbers and text."""
        text = self.key_text(column)
        return sa.collate(text, EXACT) if text is not None and isinstance(column.type, sa.Integer) else text

    def plain_type(self, kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
        """A timestamp is a moment, and a year a whole number."""
        return self._shaped(kind)

    def _shaped(self, kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
        if isinstance(kind, mysql.TIMESTAMP):
            return sa.DateTime(timezone=True)
        return sa.Integer() if isinstance(kind, mysql.YEAR) else kind

    def beyond(self, column: AnyColumn, number: Decimal, precision: Precision, *, below: bool) -> Predicate:
        """The server has finite numbers alone."""
        bound = limit(number, precision, below=below)
        if isinstance(bound, float) and isinf(bound):
            return sa.true() if (bound > 0) is below else sa.false()
        return super().beyond(column, number, precision, below=below)

    def like(self, column: AnyColumn, pattern: str) -> Predicate:
        """Capitals and all, whatever the column's character set is."""
        return exact_text(column).like(spelt_pattern(pattern, ESCAPE), escape=ESCAPE)

    # --- clocks ---

    def clock(self, connection: sa.Connection) -> datetime | None:
        """The server's, in UTC as all sessions are."""
        return moment(shown_day(connection.scalar(sa.select(sa.func.utc_timestamp(sa.literal_column("6"))))))

    def clock_kind(self, kind: sa.types.TypeEngine[Any], written: TimestampFormat | None) -> ClockKind | str:
        """By type; text and numbers need a format."""
        return typed_clock(self._shaped(kind), written, str(kind).lower())

    def readable(self, column: AnyColumn, kind: ClockKind) -> Predicate:
        """Years 1 to 9999. Zero dates and days that no month has are none."""
        match kind:
            case ClockKind.DATE | ClockKind.NAIVE | ClockKind.AWARE:
                return there_is(column)
            case ClockKind.YEAR:
                return _true(number(column, kind).between(date.min.year, date.max.year))
            case ClockKind.TEXT:
                return _true(IsoText.of(column).readable)
            case _:
                first, end = (sa.literal(bound, sa.BigInteger()) for bound in epochs(kind))
                count = number(column, kind)
                return _true(sa.and_(count >= first, count < end))

    def before(self, column: AnyColumn, kind: ClockKind, bound: Bound) -> Predicate:
        """A comparison that an index serves, except for text."""
        match kind:
            case ClockKind.DATE:
                return column < sa.literal(bound.day, sa.Date())
            case ClockKind.NAIVE:
                ends = [tuple(sa.literal(end, sa.DateTime()) for end in wall) for wall in bound.walls]
                first, *others = ends
                return sa.or_(column < first[1], *(sa.and_(column >= start, column < end) for start, end in others))
            case ClockKind.AWARE:
                return column < sa.literal(bound.instant.replace(tzinfo=None), sa.DateTime())
            case ClockKind.YEAR:
                return _true(number(column, kind) < sa.literal(bound.day.year, sa.Integer()))
            case ClockKind.TEXT:
                return _true(IsoText.of(column).before(bound))
            case _:
                count = number(column, kind)
                return _true(count < _bound_number(count, kind, bound.instant))

    def clock_value(
        self, clocks: Sequence[tuple[AnyColumn, ClockKind]], zones: Zones, *, latest: bool
    ) -> tuple[AnyColumn, ClockKind]:
        """The column itself, or the greatest or least of several; as days where they are written differently."""
        kinds = {kind for _, kind in clocks}
        if len(kinds) > 1 or any(isinstance(column.type, sa.String) for column, _ in clocks):
            days = [self.local_day(column, kind, zones)[0] for column, kind in clocks]
            return extreme(days, latest=latest), ClockKind.DATE
        return extreme([column for column, _ in clocks], latest=latest), kinds.pop()

    def local_day(self, column: AnyColumn, kind: ClockKind, zones: Zones) -> tuple[AnyColumn, ClockKind]:
        """As a date."""
        return sa.cast(_day_of(column, kind, zones), sa.Date()), ClockKind.DATE

    def clock_day(self, value: object, kind: ClockKind, zones: Zones) -> date:
        """Moments are read without a zone; sessions are in UTC."""
        return super().clock_day(shown_day(value) if kind is ClockKind.AWARE else value, kind, zones)

    def checked_day(self, clock: AnyColumn, kind: ClockKind, zones: Zones) -> AnyColumn:
        """By whole numbers, as no comparison that finds candidates is."""
        if kind in (ClockKind.DATE, ClockKind.TEXT):
            return sa.cast(clock, sa.Date())
        return _day_of(clock, kind, zones)

    # --- identifiers ---

    def carries(self, kind: sa.types.TypeEngine[Any]) -> bool:
        """What has a text that people write: not dates, durations or bits."""
        return not isinstance(kind, sa.Date | sa.DateTime | sa.Time | mysql.BIT | mysql.YEAR)

    def held_type(self) -> sa.types.TypeEngine[str]:
        """Text of any length that is compared by its characters."""
        return mysql.LONGTEXT(charset="utf8mb4", collation=EXACT)

    def identifier(self, column: AnyColumn, kind: IdentifierType, region: str | None) -> AnyColumn:
        """In lower case, which is exact for ASCII; of telephone numbers the last digits. All else is odd."""
        if isinstance(column.type, (*_BYTES, sa.Float)):
            return sa.cast(sa.null(), sa.Text())
        numeric = isinstance(column.type, sa.Integer | sa.Numeric)
        whole = sa.func.truncate(column, 0) if isinstance(column.type, sa.Numeric) else column
        text = exact_text(sa.cast(whole, sa.Text())) if numeric else sa.func.trim(exact_text(column), type_=sa.Text())
        if kind.is_telephone:
            digits = text if numeric else sa.func.regexp_replace(text, "[^0-9]", "", type_=sa.Text())
            return _compared(sa.func.concat(sa.literal(ANY), sa.func.right(digits, PHONE_SUFFIX)))
        if kind is IdentifierType.IMEI:
            return _compared(sa.func.left(text, 14))
        if kind.is_device or kind is IdentifierType.IP:
            return _compared(text)
        return _compared(sa.func.concat(sa.literal(AS_NUMBER), text) if numeric else sa.func.lower(text))

    def held_keys(self, kind: IdentifierType, normalised: Iterable[str]) -> Iterable[str]:
        """The keys of values that are exactly one of the identifiers; telephone numbers' last digits."""
        keys_of = tails if kind.is_telephone else partial(whole_names, kind)
        return (key for held in normalised for key in keys_of(held))

    def odd(self, column: AnyColumn, kind: IdentifierType, region: str | None) -> Predicate | None:
        """All text that is not plain ASCII and exactly one; floats; decimals that are not whole."""
        base = column.type
        if isinstance(base, (*_BYTES, sa.Float)):
            return column.is_not(None)
        if isinstance(base, sa.Integer | sa.Numeric):
            if kind is IdentifierType.IP:
                return column.is_not(None)
            return None if isinstance(base, sa.Integer) else column != sa.func.truncate(column, 0)
        text = exact_text(column)
        other = sa.not_(is_like(text, exactly_one(kind)))
        if kind is IdentifierType.COOKIE:
            other = sa.or_(other, is_like(text, "^.*[.,]0+ *$"))
        return sa.and_(column.is_not(None), sa.or_(sa.func.char_length(text) > _LONGEST_MATCHED, other))

    def digested(self, column: AnyColumn) -> AnyColumn:
        """Whatever the column's character set is."""
        return _compared(
            sa.func.sha2(sa.func.convert(column.op("USING")(sa.literal_column("utf8mb4"))), sa.literal_column("256"))
        )

    def spelt(self, column: AnyColumn) -> AnyColumn:
        """As the server writes it; bytes in hexadecimal, and floats that are not exact not at all."""
        base = column.type
        if isinstance(base, _BYTES):
            return _compared(sa.func.concat(sa.literal(r"\x"), sa.func.lower(sa.func.hex(column))))
        if isinstance(base, sa.Float):
            exact = column + sa.literal_column("0e0")
            most: AnyColumn = sa.literal_column(repr(EXACT_FLOATS[4 if isinstance(base, self.singles) else 8]))
            whole = sa.cast(sa.cast(exact, sa.Numeric(40, 0)), sa.Text())
            written = sa.case((exact == sa.func.truncate(exact, 0), whole), else_=sa.cast(exact, sa.Text()))
            return _compared(sa.case((sa.func.abs(exact) >= most, sa.literal(UNREADABLE)), else_=written))
        return exact_text(column) if isinstance(base, sa.String) else _compared(sa.cast(column, sa.Text()))

    def load(self, connection: sa.Connection, table: sa.Table, rows: Iterable[tuple[str, int]]) -> None:
        """Inserted, many in a statement."""
        iterator = iter(rows)
        while block := list(islice(iterator, 20_000)):
            connection.execute(sa.insert(table), [{"value": value, "number": number} for value, number in block])

    # --- temporary tables and staging ---

    def make_temporary(self, connection: sa.Connection, made: sa.Table | sa.CreateTableAs) -> None:
        """With its indexes within the statement; text of ours is text, however short its first value is."""
        if isinstance(made, sa.Table):
            held = [_Key([column]) for column in made.c if isinstance(column.type, mysql.LONGTEXT)]
            columns = [sa.Column(column.name, column.type, nullable=column.nullable) for column in made.c]
            table = sa.Table(made.name, sa.MetaData(), *columns, *held, prefixes=["TEMPORARY"])
            connection.execute(CreateTable(table, if_not_exists=True))
            return
        shape = made.table
        own = [sa.Column(c.name, c.type) for c in shape.c if type(c.type) is sa.Text]
        keys = [_Key(list(index.columns)) for index in shape.indexes]
        table = sa.Table(shape.name, sa.MetaData(), *own, *keys, prefixes=["TEMPORARY"])
        connection.execute(_Made(table, _nullable(made.selectable)))

    def drop_temporary(self, connection: sa.Connection, table: sa.Table) -> None:
        """DROP TEMPORARY TABLE."""
        connection.execute(_DropTemporary(table))

    def scratch_name(self, settings: SqlSettings, name: str) -> tuple[str | None, str]:
        """In a database beside the data's own, so that no right to make or drop tables is needed there."""
        return _scratch_schema(settings.scratch_schema, self._database), name

    def make_scratch(self, connection: sa.Connection, settings: SqlSettings, table: sa.Table) -> None:
        """Each statement commits by itself, and does nothing where another process has been faster."""
        for made in (table, self._gate):
            connection.execute(CreateSchema(str(made.schema), if_not_exists=True))
            connection.execute(CreateTable(made, if_not_exists=True))
        connection.execute(sa.insert(self._gate).prefix_with("IGNORE").values(id=1))

    def alone(self, connection: sa.Connection, settings: SqlSettings, name: str) -> bool:
        """A lock of the session, because making tables commits all others."""
        lock = hashlib.sha256(f"{self._gate.schema}\n{name}".encode()).hexdigest()
        return connection.scalar(sa.select(sa.func.get_lock(f"lethe {lock}"[:64], settings.lock_timeout))) == 1

    def make_keys(self, connection: sa.Connection, keys: sa.Table, shape: sa.Select[Any]) -> None:
        """With the numbers by which batches are cut."""
        number = sa.Column("position", sa.BigInteger(), primary_key=True, autoincrement=True)
        connection.execute(_Made(sa.Table(keys.name, sa.MetaData(), number, schema=keys.schema), shape))

    def mark_columns(self) -> Sequence[sa.Column[Any]]:
        """The staging table's own numbers, counted in the order of staging."""
        return (sa.Column("position", sa.BigInteger(), system=True),)

    def position_type(self) -> sa.types.TypeEngine[Any]:
        """A number."""
        return sa.BigInteger()

    def position(self, staged: sa.FromClause) -> AnyColumn:
        """The staged row's number."""
        return staged.c.position

    def in_slice(self, staged: sa.FromClause, part: Slice) -> Predicate:
        """By number."""
        return staged.c.position.between(int(part.first), int(part.last))

    # --- statements ---

    def lock_rows(self, connection: sa.Connection, rows: sa.Select[Any], table: sa.FromClause) -> None:
        """SELECT STRAIGHT_JOIN … FOR UPDATE: from the staged rows, so that no other rows are locked."""
        counted = rows.with_only_columns(sa.func.count(), maintain_column_froms=True).prefix_with("STRAIGHT_JOIN")
        connection.execute(counted.with_for_update())

    def keep_rows(self, connection: sa.Connection, rows: sa.Select[Any], table: sa.FromClause) -> int:
        """The same with LOCK IN SHARE MODE."""
        counted = rows.with_only_columns(sa.func.count(), maintain_column_froms=True).prefix_with("STRAIGHT_JOIN")
        return int(connection.scalar(counted.with_for_update(read=True)) or 0)

    def lets_in(self, connection: sa.Connection, key: ForeignKey) -> str | None:
        """A row is looked for in the index that is referred to, and locked there: that has to be the row itself."""
        own = sa.inspect(connection).get_pk_constraint(key.parent.name, key.parent.schema)["constrained_columns"]
        if key.referred == tuple(own):
            return None
        return (
            f"it refers to ({', '.join(key.referred)}), which is not the primary key of {key.parent}: in MariaDB a row "
            "may come to refer to a record whose row is locked; have it refer to the primary key"
        )

    def identical(self, one: AnyColumn, other: AnyColumn) -> Predicate:
        """By the column's own collation, for the index, and then by their characters."""
        if not isinstance(one.type, sa.String):
            return one == other
        return sa.and_(one == other, exact_text(one) == exact_text(other))

    def first_day(self, column: AnyColumn, of: Literal["month", "year"]) -> AnyColumn:
        """By its text: the zero date has no month, and stays one; timestamps begin a second after a month does."""
        kept, rest = ("8", "'01'") if of == "month" else ("5", "'01-01'")
        text = sa.func.concat(
            sa.func.left(sa.cast(column, sa.CHAR()), sa.literal_column(kept)), sa.literal_column(rest)
        )
        first: AnyColumn = sa.cast(text, column.type if isinstance(column.type, sa.Date) else mysql.DATETIME())
        if isinstance(column.type, mysql.TIMESTAMP):
            first = sa.func.greatest(first, sa.cast(sa.literal_column(_FIRST_TIMESTAMP), mysql.DATETIME()))
        return sa.case((column == sa.literal_column("0"), column), else_=first)

    def lowest(self, kind: sa.types.TypeEngine[Any]) -> int:
        """There are types of one and of three bytes, too."""
        if _is_unsigned(kind):
            return 0
        bits = 8 if isinstance(kind, mysql.TINYINT) else 24 if isinstance(kind, mysql.MEDIUMINT) else None
        return -(1 << bits - 1) if bits else super().lowest(kind)

    def first_of_range(self, column: AnyColumn, width: int) -> AnyColumn:
        """Of numbers without a sign by division: sessions subtract with a sign, which has half of their numbers."""
        if not _is_unsigned(column.type):
            return super().first_of_range(column, width)
        wide = sa.literal_column(str(width), sa.Integer())
        return column.op("DIV", return_type=column.type)(wide) * wide

    def insert_missing(self, table: sa.Table, column: str, rows: sa.Select[Any]) -> sa.Insert:
        """INSERT … ON DUPLICATE KEY UPDATE what is there; INSERT IGNORE would ignore much else."""
        inserted = mysql.insert(table).from_select([column], rows)
        return inserted.on_duplicate_key_update({column: table.c[column]})

    # --- keys ---

    def key_kind(self, kind: sa.types.TypeEngine[Any]) -> KeyKind | None:
        """By type."""
        if isinstance(kind, mysql.TIMESTAMP):
            return KeyKind.INSTANT
        return next((found for each, found in _KEY_KINDS if isinstance(kind, each)), KeyKind.TEXT)

    def key_value(self, kind: sa.types.TypeEngine[Any]) -> Callable[[Any], object] | None:
        """Timestamps are moments, which the driver reads without a zone; marks the types that Python does not tell."""
        if isinstance(kind, mysql.TIMESTAMP):
            return shown_day
        marks: dict[KeyKind | None, Callable[[Any], object]] = {
            KeyKind.PADDED: Padded,
            KeyKind.SINGLE: Single,
            KeyKind.DOUBLE: float,
        }
        return marks.get(self.key_kind(kind))

    def key_read(self, column: AnyColumn) -> AnyColumn:
        """Floats as they are: the server writes six digits of short ones; durations, which are no times, as text."""
        if isinstance(column.type, sa.Time):
            return sa.cast(column, sa.Text())
        if isinstance(column.type, sa.Float):
            return sa.type_coerce(column + sa.literal_column("0e0"), mysql.DOUBLE(asdecimal=False))
        return column

    def key_text(self, column: AnyColumn) -> AnyColumn | None:
        """Whole numbers and text are written as Python writes them."""
        if isinstance(column.type, sa.Integer):
            return sa.cast(column, sa.Text())
        if isinstance(column.type, sa.String) and not isinstance(column.type, sa.Enum | sa.CHAR):
            return exact_text(column)
        return None

    def key_order(self, column: AnyColumn) -> AnyColumn:
        """Text by its characters."""
        return exact_text(column) if isinstance(column.type, sa.String) else column


_KEY_KINDS: tuple[tuple[type[sa.types.TypeEngine[Any]], KeyKind], ...] = (
    (mysql.FLOAT, KeyKind.SINGLE),
    (sa.CHAR, KeyKind.PADDED),
    (sa.String, KeyKind.TEXT),
    (mysql.YEAR, KeyKind.NUMBER),
    (sa.Integer, KeyKind.NUMBER),
    (sa.Float, KeyKind.DOUBLE),
    (sa.Numeric, KeyKind.NUMBER),
    (sa.Uuid, KeyKind.UUID),
    (sa.DateTime, KeyKind.WALL),
    (sa.Date, KeyKind.DAY),
    *((kind, KeyKind.BYTES) for kind in _BYTES),
)
"""Subclasses before what they are subclasses of."""


def _require_server(driver: Any, _record: object) -> None:  # noqa: ANN401 - PyMySQL's connection
    """Refuse another server, or an old one, before anything is asked of it; and have it closed once."""
    said = str(driver.get_server_info()).removeprefix("5.5.5-")
    version = tuple(int(part) for part in said.split("-")[0].split(".")[:2])
    if "mariadb" not in said.lower():
        raise StoreError(f"the server is no MariaDB but says {said}: MySQL has not been tried, and is refused")
    if version < _OLDEST:
        raise StoreError(f"the server is MariaDB {said}; Lethe needs {'.'.join(map(str, _OLDEST))} or newer")
    driver.close = partial(_close_once, driver)


def _close_once(driver: Any) -> None:  # noqa: ANN401 - PyMySQL's connection
    """Whom it was lent to may have closed it, and PyMySQL takes a second time for a mistake."""
    if driver.open:
        type(driver).close(driver)


def _number(error: sa.exc.DBAPIError) -> int:
    arguments = getattr(error.orig, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else 0


def _limit(connection: sa.Connection, *, statement: float, lock: float, idle: float = 0.0) -> None:
    """Time limits of the session: statement, lock (also of a table's definition), idle."""
    whole = max(1, round(lock))
    connection.exec_driver_sql(
        "SET SESSION max_statement_time = %s, innodb_lock_wait_timeout = %s, lock_wait_timeout = %s, "
        "idle_transaction_timeout = %s",
        (statement, whole, whole, round(idle)),
    )


def _login(connection: sa.Connection) -> str:
    """As GRANT writes it."""
    user, _, host = str(connection.scalar(sa.select(sa.func.current_user()))).rpartition("@")
    return f"'{user}'@'{host}'"


def _scratch_schema(prefix: str, database: str) -> str:
    """A database of its own for each that has data; names are of at most 64 characters."""
    name = f"{prefix}_{database}"
    return name if len(name) <= 64 else f"{prefix}_{hashlib.sha256(database.encode()).hexdigest()[:16]}"


def _relation(schema: str, name: str, kind: RelationKind) -> Relation:
    return Relation(f"{schema}/{name}", schema, name, kind)


def _as_file(name: str) -> AnyColumn:
    """A name as InnoDB's lists spell it: as that of a file."""
    encoded = sa.func.convert(sa.literal(name).op("USING")(sa.literal_column("filename")))
    return sa.func.convert(sa.cast(encoded, sa.LargeBinary()).op("USING")(sa.literal_column("utf8mb4")))


def _of_file(name: AnyColumn) -> AnyColumn:
    """The name that InnoDB's lists spell so."""
    read = sa.func.convert(sa.cast(name, sa.LargeBinary()).op("USING")(sa.literal_column("filename")))
    return sa.func.convert(read.op("USING")(sa.literal_column("utf8mb4")))


def _action(flags: int, *, cascade: int, null: int) -> Action:
    """By the bits of InnoDB (storage/innobase/include/dict0mem.h)."""
    return Action.CASCADE if flags & cascade else Action.SET_NULL if flags & null else Action.RESTRICT


def _nullable(rows: sa.SelectBase) -> sa.Select[Any]:
    """The same columns, with NULL allowed in each: CREATE … AS SELECT takes over that a column has none."""
    noted, one = rows.subquery("noted"), sa.select(sa.literal_column("1")).subquery("one")
    return sa.select(*noted.c).select_from(one.outerjoin(noted, sa.false())).where(sa.false())


def _true(predicate: AnyColumn) -> Predicate:
    """A predicate that is false where it would be unknown."""
    return sa.func.coalesce(predicate, sa.false(), type_=sa.Boolean()) == sa.true()


def _compared(text: AnyColumn) -> AnyColumn:
    """Text of ours as the tables of held identifiers compare it."""
    return sa.collate(sa.type_coerce(text, sa.Text()), EXACT)


def _bound_number(count: AnyColumn, kind: ClockKind, instant: datetime) -> AnyColumn:
    """A moment as a number since 1970 of the column's type, so that an index serves the comparison."""
    exact = epoch_number(instant, kind.per_second)
    if isinstance(count.type, sa.Integer):
        return sa.literal(ceil(exact), sa.BigInteger())
    if isinstance(count.type, sa.Float):
        return sa.literal(float(exact), sa.Double())
    return sa.literal(exact, sa.Numeric(40, 20))


def _day_of(column: AnyColumn, kind: ClockKind, zones: Zones) -> AnyColumn:
    """The local day of a clock."""
    if kind is ClockKind.DATE:
        return column
    if kind is ClockKind.TEXT:
        return IsoText.of(column).local_day(zones.policy, zones.clock)
    if kind is ClockKind.YEAR:
        return year_end(number(column, kind))
    if kind is ClockKind.NAIVE and zones.policy.key == zones.clock.key:
        return sa.cast(column, sa.Date())
    if kind is ClockKind.NAIVE:
        at = moment_of(zones.clock, ticks(column))
    else:
        at = ticks(column) if kind is ClockKind.AWARE else ticks_of(number(column, kind), kind.per_second)
    return day(local_in(zones.policy, at))


def _read_as(kind: sa.types.TypeEngine[Any], value: str | int | bool) -> str | int | float | Decimal | None:
    """A policy's value as one of a column's type, as it is written in a statement; None where it is none."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(kind, sa.Enum):
        return text if text in kind.enums else None
    if isinstance(kind, sa.Integer) and isinstance(value, bool):
        return int(value)
    if isinstance(kind, sa.DateTime):
        return _time(text, aware=bool(kind.timezone))
    reader = next((read for each, read in _READERS if isinstance(kind, each)), str)
    try:
        return reader(text)
    except (ValueError, ArithmeticError):
        return None


def _finite(text: str) -> float | None:
    return float(text) if isfinite(float(text)) else None


def _decimal(text: str) -> Decimal | None:
    return Decimal(text) if Decimal(text).is_finite() else None


def _time(text: str, *, aware: bool) -> str | None:
    """A time, in UTC where it has an offset, which local ones have not."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    if read.tzinfo is not None:
        read = read.astimezone(UTC).replace(tzinfo=None)
        return read.isoformat(" ") if aware else None
    return read.isoformat(" ")


_READERS: tuple[tuple[type[sa.types.TypeEngine[Any]], Callable[[str], str | int | float | Decimal | None]], ...] = (
    (sa.String, str),
    (sa.Integer, int),
    (sa.Float, _finite),
    (sa.Numeric, _decimal),
    (sa.Date, lambda text: date.fromisoformat(text).isoformat()),
)


def _table_of(need: Need) -> sa.TableClause:
    names = dict.fromkeys((*(need.columns or ()), *need.update, *need.insert, *([need.lock] if need.lock else ())))
    return sa.table(need.relation.name, *map(sa.column, names), schema=need.relation.schema)


def _tries(need: Need) -> Iterator[tuple[str, sa.Executable]]:
    """Each right, as GRANT writes it, with a statement that needs it and does nothing."""
    table = _table_of(need)
    columns = [table.c[name] for name in need.columns] if need.columns else [sa.literal_column("*")]
    yield "SELECT", sa.select(*columns).select_from(table).limit(0)
    if need.delete:
        yield "DELETE", sa.delete(table).where(sa.false())
    if need.insert:
        inserted = [table.c[name] for name in need.insert]
        rows = sa.select(*inserted).select_from(table).where(sa.false())
        yield f"INSERT ({', '.join(need.insert)})", sa.insert(table).from_select(list(need.insert), rows)
    for name in dict.fromkeys((*need.update, *need.insert)):  # ON DUPLICATE KEY UPDATE
        yield f"UPDATE ({name})", sa.update(table).where(sa.false()).values({name: sa.null()})


def _granted(lines: Iterable[str], schema: str) -> set[str]:
    """The rights on all tables of a database, by the lines of SHOW GRANTS."""
    found: set[str] = set()
    for line in lines:
        grant = _GRANT.match(line)
        if grant is None or not _covers(grant["on"], schema):
            continue
        rights = {right.strip() for right in grant["rights"].split(",")}
        found |= {*_ON_STAGING, *_ON_DATA} if "ALL PRIVILEGES" in rights else rights
    return found


_GRANT = re.compile(r"GRANT (?P<rights>[A-Z ,]+) ON (?P<on>`(?:[^`]|``)*`|\*)\.\* TO ")


def _covers(pattern: str, schema: str) -> bool:
    """Whether the database of a GRANT is one, or a pattern of LIKE for it."""
    if pattern == "*":
        return True
    parts = re.split(r"(\\.|[_%])", pattern[1:-1].replace("``", "`"))
    wild = {"_": ".", "%": ".*"}
    expression = "".join(wild.get(part) or re.escape(part.removeprefix("\\")) for part in parts)
    return re.fullmatch(expression, schema) is not None


_ON_STAGING = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP")
_ON_DATA = ("CREATE TEMPORARY TABLES",)


def _is_unsigned(kind: sa.types.TypeEngine[Any]) -> bool:
    return bool(getattr(kind, "unsigned", False) or getattr(kind, "zerofill", False))
