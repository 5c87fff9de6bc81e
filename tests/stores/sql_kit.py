"""Real databases with small tables, and a gate whose holds change when a test says so."""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from tests.processes import processes
from tests.stores import leased_postgresql

from lethe.connections import Connection
from lethe.counts import Became, Outcome
from lethe.holds.rules import NO_HOLDS, ClockRange, HoldRule, HoldRules
from lethe.judging.identifiers import IdentifierType, normalise
from lethe.judging.keys import SEPARATOR
from lethe.periods import Period, cutoff_for
from lethe.policy import Disposition, Expiry, PeriodsByValue, TableDataset
from lethe.stores.base import Candidates, Problem, Work
from lethe.stores.sql import SqlStore
from lethe.stores.sql.dialects import dialect_of
from lethe.stores.sql.expiry import Judgement
from lethe.stores.sql.schema import Target
from lethe_demo.servers import EmbeddedMariaDB, EmbeddedPostgres

PRAGUE = ZoneInfo("Europe/Prague")
AS_OF = datetime(2026, 11, 21, 2, 15, tzinfo=UTC)
EXPIRY = Expiry(zone=PRAGUE, default=cutoff_for(AS_OF, PRAGUE, Period.parse("P18M")))
CUTOFF = date(2025, 5, 21)
"""Local days before it have expired by `EXPIRY`."""

LEADS = {
    "kind": "table",
    "name": "leads",
    "store": "warehouse",
    "table": "leads",
    "key": ["id"],
    "clock": {"column": "last_contact"},
    "identifiers": {"email": ["email"]},
}


@dataclass
class Database:
    """One database, and the store of a connection to it."""

    connection: Connection
    store: SqlStore
    engine: sa.Engine

    @property
    def name(self) -> str:
        """Which kind of database it is."""
        return self.engine.dialect.name

    @property
    def is_postgres(self) -> bool:
        """Whether it is PostgreSQL."""
        return self.name == "postgresql"

    def create(self, name: str, *columns: Any, schema: str | None = None, **options: Any) -> sa.Table:  # noqa: ANN401
        """Create a table."""
        table = sa.Table(name, sa.MetaData(), *columns, schema=schema, **options)
        with self.engine.begin() as connection:
            table.create(connection)
        return table

    def leads(self, rows: Sequence[Mapping[str, Any]] = (), *, clock: Any = None, **extra: Any) -> sa.Table:  # noqa: ANN401
        """The table of `LEADS`, with a timestamp with time zone as its clock where nothing else is said."""
        columns = [sa.Column(name, kind) for name, kind in extra.items()]
        clock = clock or self.moment
        table = self.create(
            "leads",
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("email", sa.Text),
            sa.Column("last_contact", clock),
            sa.Index("leads_at", "last_contact", mariadb_length=100 if isinstance(clock, sa.Text) else None),
            *columns,
        )
        self.insert(table, rows)
        return table

    @property
    def moment(self) -> Any:  # noqa: ANN401
        """The type of timestamps with a time zone."""
        return kind_of(self.connection).moment

    def insert(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows."""
        if rows:
            with self.engine.begin() as connection:
                connection.execute(sa.insert(table), [dict(row) for row in rows])

    def do(self, *statements: sa.Executable) -> None:
        """Run statements in one transaction."""
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(statement)

    def run_text(self, *statements: str) -> None:
        """Run statements that Core has no words for."""
        with self.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def ids(self, table: sa.Table, column: str = "id") -> list[Any]:
        """The survivors."""
        with self.engine.connect() as connection:
            return list(connection.scalars(sa.select(table.c[column]).order_by(table.c[column])))

    def rows(self, table: sa.Table) -> list[tuple[Any, ...]]:
        """All rows of a table, in the order of its columns."""
        with self.engine.connect() as connection:
            return sorted(tuple(row) for row in connection.execute(sa.select(table)))

    def judgement(self, connection: sa.Connection, job: Work) -> Judgement:
        """What the store judges the rows of a dataset by."""
        assert isinstance(job.dataset, TableDataset)
        target = Target.find(connection, job.dataset, None, self.store._dialect)
        return Judgement.of(job, target, self.store._dialect)

    def judged(self, job: Work, *predicates: str) -> list[set[Any]]:
        """The ids of the rows of which predicates of the judgement are true, of each."""
        with self.engine.connect() as connection:
            judgement = self.judgement(connection, job)
            rows = [sa.select(judgement.table.columns["id"]).where(getattr(judgement, name)) for name in predicates]
            return [set(connection.scalars(query)) for query in rows]

    def tables(self) -> set[str]:
        """All tables with staging in their name or schema, temporary ones of other sessions included."""
        inspector = sa.inspect(self.engine)
        schemas = [name for name in inspector.get_schema_names() if name != "information_schema"]
        every = {f"{schema}.{table}" for schema in schemas for table in inspector.get_table_names(schema=schema)}
        return {name for name in every if "lethe" in name}

    def another(self, **extra: Any) -> SqlStore:  # noqa: ANN401
        """Another store for the same database, with other settings."""
        return SqlStore(replace(self.connection, extra={**self.connection.extra, **extra}))


class Moment(sa.types.UserDefinedType[datetime]):
    """A timestamp with its offset, as ISO 8601 text in a column declared as a timestamp."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:  # noqa: ANN401
        """The declared type."""
        return "TIMESTAMP"

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[Any], Any]:
        """As text."""
        return lambda value: value.isoformat() if isinstance(value, datetime) else value


@dataclass(frozen=True)
class Kind:
    """A kind of database that tests are run on.

    Attributes:
        make: makes an empty database in a folder, or on its server.
        drop: drops it again.
        server: the fixture of its server; empty where it has none.
        moment: the type of timestamps with a time zone, or what stands for it where there is none.
        wall: the same without one.
        indexed: the type of text that can be indexed as a whole.
    """

    make: Callable[..., Connection]
    drop: Callable[..., None]
    server: str = ""
    moment: Any = field(default_factory=lambda: sa.DateTime(timezone=True))
    wall: Any = field(default_factory=sa.DateTime)
    indexed: Any = field(default_factory=sa.Text)


def _on_postgresql(_: Path, server: EmbeddedPostgres) -> Connection:
    name = f"sql_{secrets.token_hex(4)}"
    server.create_database(name)
    return server.connection("warehouse", name)


def _off_postgresql(made: Connection, server: EmbeddedPostgres) -> None:
    server.drop_database(str(made.schema))


def _in_sqlite(folder: Path) -> Connection:
    file = folder / f"{secrets.token_hex(4)} warehouse.db"
    file.touch()
    return Connection(conn_id="warehouse", conn_type="sqlite", host=str(file))


def _out_of_sqlite(made: Connection) -> None:
    Path(str(made.host)).unlink(missing_ok=True)


KINDS = {
    "postgresql": Kind(_on_postgresql, _off_postgresql, "postgres"),
    "sqlite": Kind(_in_sqlite, _out_of_sqlite, moment=Moment(), wall=Moment()),
}
"""By name of the dialect. Tests of what databases have in common are run on each."""


KEYED_TEXT = sa.Text().with_variant(sa.String(100), "mariadb")
"""Text that can be a key."""
WALL = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mariadb")
"""Local times to the microsecond."""
SINGLE: Any = sa.REAL().with_variant(mysql.FLOAT(), "mariadb")
"""Floats of four bytes."""


def _on_mariadb(_: Path, server: EmbeddedMariaDB) -> Connection:
    name = f"sql_{secrets.token_hex(4)}"
    server.create_database(name)
    return server.connection("warehouse", name)


def _off_mariadb(made: Connection, server: EmbeddedMariaDB) -> None:
    server.drop_database(str(made.schema))


_MARIADB = Kind(
    _on_mariadb,
    _off_mariadb,
    "mariadb",
    moment=mysql.TIMESTAMP(fsp=6),
    wall=mysql.DATETIME(fsp=6),
    indexed=sa.String(200),
)


def _on_leased_postgresql(folder: Path, server: EmbeddedPostgres) -> Connection:
    return replace(_on_postgresql(folder, server), conn_type=leased_postgresql.NAME)


FENCED_KINDS = {**KINDS, "mariadb": _MARIADB}
"""Those with transactions. The contract is run on each, also with facts in related rows; and the vectors."""

ALL_KINDS = {
    **FENCED_KINDS,
    leased_postgresql.NAME: Kind(_on_leased_postgresql, _off_postgresql, "postgres"),
}
"""With what is no database of its own. The contract is run on each."""


def kind_of(connection: Connection) -> Kind:
    """The kind of database that a connection leads to."""
    return ALL_KINDS[dialect_of(connection).name]


def plain_engine(connection: Connection) -> sa.Engine:
    """An engine as anybody would make it."""
    return sa.create_engine(dialect_of(connection).url(connection), poolclass=sa.NullPool)


@contextmanager
def database(kind: str, folder: Path, *server: Any, **extra: Any) -> Iterator[Database]:  # noqa: ANN401
    """An empty database of a kind, in a folder and of a server."""
    connection = ALL_KINDS[kind].make(folder, *server)
    try:
        yield from _database(replace(connection, extra={**connection.extra, **extra}))
    finally:
        ALL_KINDS[kind].drop(connection, *server)


def sqlite(folder: Path, **extra: Any) -> AbstractContextManager[Database]:  # noqa: ANN401
    """An empty SQLite database in a folder."""
    return database("sqlite", folder, **extra)


def postgresql(server: EmbeddedPostgres, **extra: Any) -> AbstractContextManager[Database]:  # noqa: ANN401
    """An empty database of a server."""
    return database("postgresql", Path(), server, **extra)


def _database(connection: Connection) -> Iterator[Database]:
    engine = plain_engine(connection)
    store = SqlStore(connection)
    yield Database(connection, store, engine)
    store.close()
    engine.dispose()


def dataset(base: Mapping[str, Any] = LEADS, **changes: Any) -> TableDataset:  # noqa: ANN401
    """A dataset, `LEADS` with changes where nothing else is said."""
    return TableDataset.model_validate({**base, **changes})


def work(of: TableDataset | None = None, *, run: str = "run-1", expiry: Expiry = EXPIRY, **options: Any) -> Work:  # noqa: ANN401
    """The work of a run."""
    return Work(run=run, category="leads", dataset=of or dataset(), expiry=expiry, as_of=AS_OF, **options)


def anonymise(of: TableDataset, **options: Any) -> Work:  # noqa: ANN401
    """The work of a run that anonymises."""
    return work(of, disposition=Disposition.ANONYMISE, **options)


@dataclass
class Gate:
    """A gate whose holds a test changes; `before` is called with the number of each batch that asks."""

    rules: HoldRules = NO_HOLDS
    before: Callable[[int], None] | None = None
    lease_seconds: float = 30.0
    asked: int = 0

    def current(self) -> HoldRules:
        """The rules in force."""
        number, self.asked = self.asked, self.asked + 1
        if self.before is not None:
            self.before(number)
        return self.rules

    def lease(self) -> AbstractContextManager[HoldRules]:
        """Not used by stores with transactions."""
        return nullcontext(self.rules)

    def place(self, *rules: HoldRule) -> None:
        """Place holds, each as a further version of the registry."""
        for rule in rules:
            version = self.rules.version + 1
            self.rules = HoldRules(version, (*self.rules.rules, replace(rule, version=version)))

    def release(self) -> None:
        """Release all holds."""
        self.rules = HoldRules(self.rules.version + 1)


def hold(clock: ClockRange | None = None, **identifiers: str | Sequence[str]) -> HoldRule:
    """A hold on identifiers by type, as people write them, or on everything."""
    named = {
        IdentifierType(kind): [
            normalise(IdentifierType(kind), text) for text in ([texts] if isinstance(texts, str) else texts)
        ]
        for kind, texts in identifiers.items()
    }
    return HoldRule(
        hold=secrets.token_hex(4),
        matter="matter 1",
        version=1,
        everything=not named,
        types=frozenset(named),
        clock=clock or ClockRange(),
        load=lambda: named,
    )


def holding(*rules: HoldRule) -> HoldRules:
    """The rules of a registry with these holds."""
    gate = Gate()
    gate.place(*rules)
    return gate.rules


def run_through(database: Database, job: Work, rules: HoldRules = NO_HOLDS, gate: Gate | None = None) -> Became:
    """Discover and erase all."""
    candidates = database.store.discover(job, rules)
    return database.store.erase(job, candidates, range(candidates.batches), gate or Gate(rules))


def kill_while(
    erase: Callable[[Connection, Candidates, Pipe], None], database: Database, candidates: Candidates, delay: float
) -> bool:
    """Erase in another process and kill it a while after it says so; whether it was killed before it had ended."""
    here, there = processes.Pipe(duplex=False)
    process = processes.Process(target=erase, args=(database.connection, candidates, there))
    process.start()
    there.close()
    with here:
        here.recv_bytes()
    time.sleep(delay)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def refused(database: Database, of: TableDataset, by_value: PeriodsByValue | None = None) -> list[Problem]:
    """What checking a dataset refuses it for."""
    return [one for one in database.store.check(of, by_value) if not one.remark]


def remarks(database: Database, of: TableDataset) -> list[str]:
    """What checking a dataset remarks."""
    return [one.message for one in database.store.check(of) if one.remark]


def outcomes(database: Database, job: Work, candidates: Candidates) -> dict[str, Outcome]:
    """What became of each candidate, by its key; no candidate may be there twice."""
    pairs = list(database.store.outcomes(job, candidates))
    found = {SEPARATOR.join(form[1:] for form in key.decode().split(SEPARATOR)): outcome for key, outcome in pairs}
    assert len(found) == len(pairs)
    return found


@dataclass
class Progressed:
    """Counts what progress is told."""

    total: int = field(default=0)

    def __call__(self, records: int) -> None:
        """So many more."""
        self.total += records
