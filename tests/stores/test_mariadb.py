"""What is particular to MariaDB, on a real server: its gate, its transactions, its catalogue, its types."""

from __future__ import annotations

import re
import secrets
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import mysql
from tests.stores.sql_kit import (
    Database,
    Gate,
    anonymise,
    database,
    dataset,
    hold,
    holding,
    outcomes,
    refused,
    remarks,
    work,
)

from lethe.counts import Outcome, Unjudgeable
from lethe.errors import StoreError, StoreUnavailable
from lethe.holds.rules import NO_HOLDS
from lethe.judging.dates import Zones, day_of
from lethe.stores.sql import SqlStore
from lethe.stores.sql.catalogue import Action
from lethe.stores.sql.dialects.base import ClockKind
from lethe.stores.sql.dialects.mariadb import MariaDB
from lethe.stores.sql.dialects.mariadb_clocks import ticks
from lethe.stores.sql.settings import SqlSettings
from lethe_demo.servers import EmbeddedMariaDB

OLD = datetime(2024, 3, 1, 12, tzinfo=UTC)
SETTINGS = SqlSettings("warehouse", lock_timeout=5)


@pytest.fixture(scope="module")
def server(mariadb: EmbeddedMariaDB) -> EmbeddedMariaDB:
    mariadb.create_database("crm")
    return mariadb


@pytest.fixture
def dialect() -> MariaDB:
    return MariaDB()


@pytest.fixture
def engine(server: EmbeddedMariaDB, dialect: MariaDB) -> sa.Engine:
    return dialect.engine(dialect.url(server.connection("warehouse", "crm")), SETTINGS)


def test_who_places_a_hold_waits_until_a_batch_has_ended(dialect: MariaDB, engine: sa.Engine) -> None:
    schema, name = dialect.scratch_name(SETTINGS, "staged")
    staged = sa.Table(name, sa.MetaData(), sa.Column("token", sa.String(24), primary_key=True), schema=schema)
    with engine.begin() as connection:
        dialect.make_scratch(connection, SETTINGS, staged)
    passed = threading.Event()

    def place() -> None:
        dialect.fence(engine, 60)
        passed.set()

    with engine.connect() as connection:
        batch = dialect.begin_batch(connection, SETTINGS)
        placer = threading.Thread(target=place)
        placer.start()
        assert not passed.wait(1)
        batch.commit()
        placer.join()
        assert passed.is_set()


def test_a_temporary_table_ends_no_transaction(dialect: MariaDB, engine: sa.Engine) -> None:
    people = sa.Table("people", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True, autoincrement=False))
    people.create(engine)
    rows = sa.select(sa.cast(sa.literal("go"), sa.Text()).label("outcome"), people.c.id.label("at_0"))
    made = sa.CreateTableAs(rows.where(sa.false()), "noted", temporary=True, if_not_exists=True)
    sa.Index("noted_at", made.table.c.at_0)
    with engine.connect() as connection:
        with connection.begin() as transaction:
            connection.execute(sa.insert(people).values(id=1))
            dialect.make_temporary(connection, made)
            connection.execute(sa.insert(made.table).values(outcome="blocked", at_0=1))
            dialect.drop_temporary(connection, made.table)
            transaction.rollback()
        assert connection.scalar(sa.select(sa.func.count()).select_from(people)) == 0


def test_foreign_keys_of_other_databases_are_found_whatever_they_are_called(
    server: EmbeddedMariaDB, dialect: MariaDB, engine: sa.Engine
) -> None:
    server.create_database("účty-2")
    metadata = sa.MetaData()
    firms = sa.Table("firms", metadata, sa.Column("id", sa.Integer, primary_key=True), schema="crm")
    refers = sa.ForeignKey(firms.c.id, ondelete="CASCADE")
    sa.Table('t$ "q"', metadata, sa.Column("firm", sa.Integer, refers), schema="účty-2")
    metadata.create_all(engine)
    with engine.connect() as connection:
        relation = dialect.relation(connection, ["firms"])
        assert relation is not None
        (key,) = dialect.referring(connection, relation)
    assert (str(key.child), key.columns, key.on_delete) == ('účty-2.t$ "q"', ("firm",), Action.CASCADE)


# --- the store ----------------------------------------------------------------------------------------------------


@pytest.fixture
def crm(mariadb: EmbeddedMariaDB, tmp_path: Path) -> Iterator[Database]:
    """An empty database, with batches of ten records."""
    with database("mariadb", tmp_path, mariadb, lethe_batch_size=10) as made:
        yield made


KEYS: dict[str, list[str]] = {
    "BIGINT UNSIGNED": ["18446744073709551615", "18446744073709551614", "0"],
    "DECIMAL(20,4)": ["1.5000", "1.5001", "-2"],
    "DOUBLE": ["1e-12", "2e-12", "1e300"],
    "FLOAT": ["0.1000001", "0.1000002", "16777216"],
    "VARCHAR(20)": ["'A'", "'b'", "'c '"],
    "VARCHAR(20) CHARACTER SET latin1": ["'\u00e9'", "'f'", "''"],
    "VARCHAR(20) COLLATE utf8mb4_bin": ["'a'", "'A'", "'\U0001f4a9'"],
    "CHAR(5)": ["'ab'", "'abc'", "''"],
    "BINARY(4)": ["X'00'", "X'00FF'", "'abc'"],
    "UUID": ["UUID()", "UUID()", "UUID()"],
    "INET6": ["'::1'", "'::ffff:10.0.0.1'", "'2001:db8::1'"],
    "ENUM('new','old','lost')": ["'new'", "'old'", "'lost'"],
    "YEAR": ["1970", "2024", "2155"],
    "DATE": ["'0001-01-01'", "'2024-02-29'", "'9999-12-31'"],
    "DATETIME(6)": ["'2025-03-30 02:30:00.000001'", "'2025-03-30 02:30:00.000002'", "'0001-01-01'"],
    "TIMESTAMP(6)": ["'2024-10-27 00:30:00.000001'", "'2024-10-27 01:30:00.000001'", "'2038-01-19'"],
    "TIME(6)": ["'10:00'", "'34:00'", "'-10:00'"],
    "BIT(8)": ["5", "6", "255"],
}


@pytest.mark.parametrize("kind", KEYS)
def test_records_are_told_apart_by_keys_of_every_type(crm: Database, kind: str) -> None:
    first, second, young = KEYS[kind]
    crm.run_text(
        f"CREATE TABLE leads (id {kind} NOT NULL PRIMARY KEY, email TEXT, last_contact DATE)",
        f"INSERT INTO leads VALUES ({first}, 'a@x.org', '2020-01-01'), ({second}, 'b@x.org', '2020-01-01'), "  # noqa: S608
        f"({young}, 'c@x.org', '2026-11-01')",
    )
    assert refused(crm, dataset()) == []
    job = work()
    candidates = crm.store.discover(job, NO_HOLDS)
    done = crm.store.erase(job, candidates, range(candidates.batches), Gate(holding(hold(email="b@x.org"))))
    assert (done.erased, done.held) == (1, 1)
    found = outcomes(crm, job, candidates)
    assert sorted(found.values()) == [Outcome.ERASED, Outcome.HELD]
    with crm.engine.connect() as connection:
        assert sorted(connection.scalars(sa.text("SELECT email FROM leads"))) == ["b@x.org", "c@x.org"]


@pytest.mark.parametrize("kind", ["DATE", "DATETIME", "TIMESTAMP NULL"])
def test_days_that_there_are_not_cannot_be_judged_and_fail_nobody(crm: Database, kind: str) -> None:
    wrong = ["0000-00-00", *(["2025-02-31", "2025-00-10", "0000-01-01"] if kind != "TIMESTAMP NULL" else [])]
    rows = ", ".join(f"({number}, 'a@x.org', '{day}')" for number, day in enumerate([*wrong, "2024-02-29"]))
    crm.run_text(
        f"CREATE TABLE leads (id INT PRIMARY KEY, email TEXT, last_contact {kind})",
        "SET SESSION sql_mode = 'ALLOW_INVALID_DATES'",
        f"INSERT INTO leads VALUES {rows}",  # noqa: S608
    )
    candidates = crm.store.discover(work(), NO_HOLDS)
    assert (candidates.due, candidates.unjudgeable) == (1, {Unjudgeable.UNPARSABLE_CLOCK: len(wrong)})
    assert crm.store.erase(work(), candidates, range(candidates.batches), Gate()).erased == 1
    assert crm.store.survey(work(), NO_HOLDS).unjudged == len(wrong)


MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2037, 12, 30))  # noqa: DTZ001 - local times and moments
ZONES = [ZoneInfo(name) for name in ("Europe/Prague", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moments=st.lists(MOMENTS, min_size=20, max_size=40), policy=st.sampled_from(ZONES), clock=st.sampled_from(ZONES))
def test_days_are_those_that_python_says(
    crm: Database, moments: list[datetime], policy: ZoneInfo, clock: ZoneInfo
) -> None:
    """The server has no time zones of its own."""
    zones, dialect = Zones(policy, clock), crm.store._dialect
    table = sa.Table("t", sa.MetaData(), sa.Column("n", sa.Integer), sa.Column("at", mysql.DATETIME(fsp=6)))
    changes = [at.replace(tzinfo=None) for at in near_changes(clock)]
    moments = [*moments, *changes]
    with crm.store._engine.connect() as connection, connection.begin():
        dialect.make_temporary(connection, table)
        connection.execute(sa.insert(table), [{"n": n, "at": at} for n, at in enumerate(moments)])
        number = ticks(table.c.at) / 1_000_000
        text = sa.type_coerce(sa.cast(table.c.at, sa.Text()), sa.Text())
        columns = [
            dialect.checked_day(table.c.at, ClockKind.NAIVE, zones),
            dialect.checked_day(table.c.at, ClockKind.AWARE, zones),
            dialect.checked_day(number, ClockKind.EPOCH_SECONDS, zones),
            dialect.clock_value([(text, ClockKind.TEXT)], zones, latest=True)[0],
        ]
        rows = connection.execute(sa.select(table.c.n, *columns)).all()
        dialect.drop_temporary(connection, table)
    for n, wall, aware, counted, written in rows:
        local, moment = (day_of(at, policy, clock) for at in (moments[n], moments[n].replace(tzinfo=UTC)))
        assert (wall, aware, counted, written) == (local, moment, moment, local), moments[n]


def near_changes(zone: ZoneInfo) -> Iterator[datetime]:
    """Local times around changes of a zone's offset."""
    for year in (1987, 2025):
        at = datetime(year, 1, 1, tzinfo=UTC)
        while at.year == year:
            following = at + timedelta(minutes=30)
            if at.astimezone(zone).utcoffset() != following.astimezone(zone).utcoffset():
                yield from (following.astimezone(zone) + timedelta(minutes=15 * n) for n in range(-10, 10))
            at = following


_HOSTILE = {
    "sql_mode": "ANSI,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,NO_ZERO_DATE,TRADITIONAL",
    "time_zone": "-11:00",
    "tx_isolation": "SERIALIZABLE",
    "tx_read_only": 1,
    "autocommit": 0,
    "foreign_key_checks": 0,
    "lock_wait_timeout": 1,
    "sql_safe_updates": 1,
    "sql_select_limit": 3,
    "sql_big_selects": 0,
    "max_join_size": 5,
    "sql_auto_is_null": 1,
    "completion_type": "CHAIN",
    "old_mode": "ZERO_DATE_TIME_CAST",
    "max_sort_length": 64,
}
"""Global variables of a server, as somebody may have set them for programs of their own."""


def test_settings_of_the_server_change_nothing(crm: Database) -> None:
    with crm.engine.connect() as connection:
        variables: list[sa.ColumnElement[Any]] = [sa.literal_column(f"@@GLOBAL.{name}") for name in _HOSTILE]
        before: Any = connection.execute(sa.select(*variables)).one()
    crm.leads([{"id": n, "email": f"O'Neil{n}@x.org", "last_contact": OLD} for n in range(30)])
    crm.run_text(*(f"SET GLOBAL {name} = {value!r}" for name, value in _HOSTILE.items()))
    try:
        store = SqlStore(crm.connection)
        assert not [one for one in store.check(dataset()) if not one.remark]
        rules = holding(hold(email="O'Neil7@x.org"))
        candidates = store.discover(work(), rules)
        done = store.erase(work(), candidates, range(candidates.batches), Gate(rules))
        assert (candidates.due, candidates.held, done.erased) == (29, 1, 29)
        store.close()
    finally:
        crm.run_text(*(f"SET GLOBAL {name} = {value!r}" for name, value in zip(_HOSTILE, before, strict=True)))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("ENGINE=MyISAM", "table without transactions.*ENGINE=InnoDB"),
        ("ENGINE=Aria", "table without transactions.*ENGINE=InnoDB"),
        ("WITH SYSTEM VERSIONING", "system-versioned table.*DROP SYSTEM VERSIONING"),
    ],
)
def test_tables_whose_rows_do_not_go_with_their_evidence_are_refused(crm: Database, options: str, says: str) -> None:
    crm.run_text(f"CREATE TABLE leads (id INT PRIMARY KEY, email TEXT, last_contact DATE) {options}")
    (problem,) = refused(crm, dataset())
    assert re.search(says, problem.message)
    with pytest.raises(StoreError):
        crm.store.discover(work(), NO_HOLDS)


def test_rows_of_a_partitioned_table_with_generated_columns_go(crm: Database) -> None:
    crm.run_text(
        "CREATE TABLE leads (id INT, raw TEXT, day DATE, email VARCHAR(99) AS (json_value(raw, '$.email')) PERSISTENT, "
        "last_contact DATETIME AS (timestamp(day, '10:00')) VIRTUAL, PRIMARY KEY (id, day)) "
        "PARTITION BY RANGE COLUMNS (day) (PARTITION old VALUES LESS THAN ('2022-01-01'), "
        "PARTITION new VALUES LESS THAN (MAXVALUE))",
    )
    for n in range(40):
        crm.run_text(
            f"INSERT INTO leads (id, raw, day) VALUES ({n}, '{{\"email\": \"{n}@x.org\"}}', '{2019 + n % 8}-06-01')"  # noqa: S608
        )
    of = dataset(key=["id", "day"])
    assert refused(crm, of) == []
    rules = holding(hold(email=["0@x.org", "1@x.org"]))
    candidates = crm.store.discover(work(of), rules)
    assert crm.store.erase(work(of), candidates, range(candidates.batches), Gate(rules)).erased == 28
    with crm.engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM leads")) == 12


def test_a_clock_that_changes_with_its_row_is_staged_as_it_was(crm: Database) -> None:
    crm.run_text(
        "CREATE TABLE leads (id INT PRIMARY KEY, email TEXT, last_contact TIMESTAMP NOT NULL DEFAULT "
        "current_timestamp() ON UPDATE current_timestamp())",
        "INSERT INTO leads VALUES (1, 'a@x.org', '2020-01-01 10:00'), (2, 'b@x.org', '2020-01-01 10:00')",
    )
    candidates = crm.store.discover(work(), NO_HOLDS)
    crm.run_text("UPDATE leads SET email = 'c@x.org' WHERE id = 2")
    done = crm.store.erase(work(), candidates, range(candidates.batches), Gate())
    assert (done.erased, done.renewed) == (1, 1)


# --- what refers to records ---------------------------------------------------------------------------------------


def thread(crm: Database, answers: dict[int, int | None]) -> None:
    """Messages, each with the one that it answers."""
    crm.run_text(
        "CREATE TABLE leads (id INT PRIMARY KEY, email TEXT, last_contact DATE, answers INT, "
        "CONSTRAINT answered FOREIGN KEY (answers) REFERENCES leads (id))",
        *(f"INSERT INTO leads VALUES ({n}, 'a@x.org', '2020-01-01', NULL)" for n in answers),  # noqa: S608
        *(f"UPDATE leads SET answers = {to} WHERE id = {n}" for n, to in answers.items() if to),  # noqa: S608
    )


def test_a_chain_of_records_goes_row_by_row_and_a_circle_stays(crm: Database) -> None:
    thread(crm, {1: None, 2: 1, 3: 2, 4: 3, 5: 5, 6: 7, 7: 6})
    candidates = crm.store.discover(work(), NO_HOLDS)
    done = crm.store.erase(work(), candidates, range(candidates.batches), Gate())
    assert (done.erased, done.blocked) == (4, 3)
    assert "answered" in "".join(crm.store.kept_by(work(), candidates))


def test_what_others_refer_to_stays_and_what_would_follow_is_refused(crm: Database) -> None:
    crm.leads([{"id": n, "email": "a@x.org", "last_contact": OLD} for n in range(5)])
    crm.run_text(
        "CREATE TABLE orders (id INT PRIMARY KEY, lead INT, "
        "CONSTRAINT ordered FOREIGN KEY (lead) REFERENCES leads (id))",
        "INSERT INTO orders VALUES (1, 3)",
    )
    candidates = crm.store.discover(work(), NO_HOLDS)
    done = crm.store.erase(work(), candidates, range(candidates.batches), Gate())
    assert (done.erased, done.blocked) == (4, 1)
    for action in ("CASCADE", "SET NULL"):
        crm.run_text(
            f"CREATE TABLE notes (lead INT, FOREIGN KEY (lead) REFERENCES leads (id) ON DELETE {action})",
        )
        assert f"ON DELETE {action}" in refused(crm, dataset())[0].message
        crm.run_text("DROP TABLE notes")


def test_a_trigger_that_raises_an_error_is_told(crm: Database) -> None:
    crm.leads([{"id": 1, "email": "a@x.org", "last_contact": OLD}])
    crm.run_text("CREATE TRIGGER keep BEFORE DELETE ON leads FOR EACH ROW SIGNAL SQLSTATE '45000'")
    assert any("keep" in remark for remark in remarks(crm, dataset()))
    candidates = crm.store.discover(work(), NO_HOLDS)
    with pytest.raises(StoreError, match="a trigger or a function of the database raised an error"):
        crm.store.erase(work(), candidates, range(candidates.batches), Gate())


def test_columns_are_masked(crm: Database) -> None:
    table = crm.leads([{"id": n, "email": f"{n}@x.org", "last_contact": OLD} for n in range(25)])
    masked = dataset(masks=[{"column": "email", "with": "constant", "value": "gone"}])
    job = anonymise(masked)
    candidates = crm.store.discover(job, NO_HOLDS)
    assert crm.store.erase(job, candidates, range(candidates.batches), Gate()).anonymised == 25
    assert {row[1] for row in crm.rows(table)} == {"gone"}
    assert crm.store.survey(job, NO_HOLDS).expired == 0


NEVER_EXACTLY = {
    "DECIMAL(5, 2)": "1.005", "FLOAT": "0.1", "DATETIME": "2024-01-01 10:00:00.7", "SET('a', 'b')": "b,a",
    "BINARY(3)": "x", "VARCHAR(3)": "erased", "TINYINT UNSIGNED": 256, "BIT(3)": 0,
}  # fmt: skip
EXACTLY = {
    "DECIMAL(5, 2)": "1.05", "FLOAT": "0.5", "DATETIME(3)": "2024-01-01 10:00:00.7", "SET('a', 'b')": "a,b",
    "VARBINARY(3)": "x", "VARCHAR(6)": "erased", "TINYINT UNSIGNED": 255, "ENUM('a', 'b')": "b", "JSON": "{}",
}  # fmt: skip


@pytest.mark.parametrize("field", ["masks", "keep_while"])
def test_values_that_a_column_has_otherwise_than_they_are_written_are_refused(crm: Database, field: str) -> None:
    """No record would ever have them: none would be kept, and every one would be anonymised again by each run."""

    def told(values: dict[str, Any]) -> list[str]:
        crm.run_text("DROP TABLE IF EXISTS leads")
        columns = ", ".join(f"c{number} {kind}" for number, kind in enumerate(values))
        crm.run_text(
            f"CREATE TABLE leads (id int PRIMARY KEY, last_contact timestamp NULL, {columns}, INDEX (last_contact))"
        )
        named = {f"c{number}": value for number, value in enumerate(values.values())}
        masks = [{"column": name, "with": "constant", "value": value} for name, value in named.items()]
        kept = [{"column": name, "in": [value]} for name, value in named.items()]
        changes: dict[str, Any] = {field: masks if field == "masks" else kept}
        found = refused(crm, dataset(identifiers={}, **changes))
        assert {one.field for one in found} <= {field}
        return [one.message for one in found]

    assert told(EXACTLY) == []
    messages = told(NEVER_EXACTLY)
    for number, (message, value) in enumerate(zip(messages, NEVER_EXACTLY.values(), strict=True)):
        assert message.startswith(f"column c{number} of leads: no ")
        assert message.endswith(f" is exactly {value!r}, so no record has that value")


# --- discovering without transactions around tables ---------------------------------------------------------------


def test_discovering_that_dies_leaves_nothing_that_is_in_the_way(crm: Database) -> None:
    crm.leads([{"id": n, "email": "a@x.org", "last_contact": OLD} for n in range(25)])
    store = crm.another()

    def die(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO lethe_scratch") and "SELECT" in statement:
            raise RuntimeError("killed")

    sa.event.listen(store._engine, "before_cursor_execute", die)
    with pytest.raises(RuntimeError):
        store.discover(work(), NO_HOLDS)
    store.close()
    assert crm.store.staged_runs(dataset()) == [("run-1", "leads")]
    candidates = crm.store.discover(work(), NO_HOLDS)
    assert crm.store.erase(work(), candidates, range(candidates.batches), Gate()).erased == 25


def test_two_that_discover_the_same_at_once_stage_it_once(crm: Database) -> None:
    crm.leads([{"id": n, "email": "a@x.org", "last_contact": OLD} for n in range(25)])
    stores = [crm.another() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda store: store.discover(work(), NO_HOLDS), stores))
    assert len({one.digest for one in found}) == 1
    assert crm.store.erase(work(), found[0], range(found[0].batches), Gate()).erased == 25
    for store in stores:
        store.close()


def test_what_is_staged_is_no_table_of_the_company(crm: Database) -> None:
    crm.leads([{"id": n, "email": "a@x.org", "last_contact": OLD} for n in range(3)])
    crm.store.discover(work(), NO_HOLDS)
    mine = [one.name for one in crm.store.overview(5) if str(crm.connection.schema) in one.name]
    assert mine == [f"{crm.connection.schema}.leads"]


# --- servers ------------------------------------------------------------------------------------------------------

GALERA = Path("/usr/lib/galera/libgalera_smm.so")


@pytest.mark.skipif(not GALERA.exists(), reason="Galera is not tried: there is no libgalera_smm.so (Debian's galera-4)")
def test_a_cluster_whose_servers_do_not_see_each_others_locks_is_refused(mariadb: object, tmp_path: Path) -> None:
    del mariadb  # it says where there is none
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = (
        "--wsrep-on=ON",
        f"--wsrep-provider={GALERA}",
        "--wsrep-cluster-address=gcomm://",
        f"--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:{port}",
        "--wsrep-node-address=127.0.0.1",
        "--binlog-format=ROW",
        "--innodb-autoinc-lock-mode=2",
    )
    with EmbeddedMariaDB(tmp_path, options) as server:
        server.create_database("crm")
        store = SqlStore(server.connection("warehouse", "crm"))
        (problem,) = store.check(dataset())
        store.close()
    assert "Galera" in problem.message


# --- rights -------------------------------------------------------------------------------------------------------


def test_missing_rights_are_named_with_what_grants_them(crm: Database) -> None:
    crm.leads([{"id": n, "email": "a@x.org", "last_contact": OLD} for n in range(3)])
    name, login = str(crm.connection.schema), f"login_{secrets.token_hex(4)}"
    login_at = f"'{login}'@'localhost'"
    crm.run_text(f"CREATE USER {login_at} IDENTIFIED BY 'right'", f"GRANT INSERT ON {name}.leads TO {login_at}")
    store = SqlStore(replace(crm.connection, login=login, password="right"))
    try:
        for _ in range(9):
            problems = [one for one in store.check(dataset()) if not one.remark]
            if not problems:
                break
            grants = [grant for one in problems for grant in re.findall(r"GRANT [^;]*? TO \S+", one.message)]
            assert grants, problems
            crm.run_text(*grants)
        assert problems == []
        crm.run_text("CREATE TABLE others (id INT PRIMARY KEY)", f"GRANT SELECT (id) ON {name}.others TO {login_at}")
        with pytest.raises(StoreError, match=r"permission denied \(.* table .*others"):
            store.check(dataset(table="others"))
        candidates = store.discover(work(), NO_HOLDS)
        assert store.erase(work(), candidates, range(candidates.batches), Gate()).erased == 3
    finally:
        store.close()
        crm.run_text(f"DROP USER {login_at}")


def test_a_sequence_that_a_list_is_numbered_by_has_to_be_allowed_by_itself(crm: Database) -> None:
    """The server denies what the list's default does, not what is done with the list."""
    crm.leads([{"id": 1, "email": "a@x.org", "last_contact": OLD}])
    name, login = str(crm.connection.schema), f"login_{secrets.token_hex(4)}"
    login_at = f"'{login}'@'localhost'"
    crm.run_text(
        "CREATE SEQUENCE numbers",
        "CREATE TABLE objectors (email VARCHAR(50) PRIMARY KEY, number INT DEFAULT nextval(numbers))",
        f"CREATE USER {login_at}",
        f"GRANT PROCESS ON *.* TO {login_at}",
        *(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.{table} TO {login_at}" for table in ("leads", "objectors")),
    )
    store = SqlStore(replace(crm.connection, login=login, password=None))
    of = dataset(suppression={"table": "objectors", "column": "email", "from": "email"})
    try:
        told = "; ".join(one.message for one in store.check(of))
        assert f"may not INSERT `{name}`.`numbers`, which defaults of table {name}.objectors use" in told
        assert f"table {name}.objectors;" not in told
        for _ in range(3):
            crm.run_text(*re.findall(r"GRANT [^;]*? TO \S+", told))
            told = "; ".join(one.message for one in store.check(of) if not one.remark)
        assert told == ""
        candidates = store.discover(work(of), NO_HOLDS)
        assert store.erase(work(of), candidates, range(candidates.batches), Gate()).erased == 1
    finally:
        store.close()
        crm.run_text(f"DROP USER {login_at}", "DROP TABLE objectors", "DROP SEQUENCE numbers")


def test_what_is_wrong_with_a_connection_is_told_apart(crm: Database) -> None:
    crm.leads()

    def told(**changes: object) -> str:
        store = SqlStore(replace(crm.connection, **changes))  # type: ignore[arg-type]
        with pytest.raises(StoreUnavailable) as caught:
            store.check(dataset())
        store.close()
        return str(caught.value)

    assert "another user or password" in told(login="nobody_at_all", password="wrong")
    assert "there is no such database" in told(schema="no_such_database")
    assert "nothing listens" in told(host="127.0.0.1", port=1, extra={})
