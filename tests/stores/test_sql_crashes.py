"""Exact evidence: whatever dies, locks or breaks off, the outcomes are those of what really happened."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from multiprocessing.connection import Connection as Pipe

import pytest
import sqlalchemy as sa
from tests.stores.sql_kit import Database, Gate, hold, holding, kill_while, outcomes, work

from lethe.connections import Connection
from lethe.counts import Became, Outcome
from lethe.errors import StoreUnavailable
from lethe.holds.rules import NO_HOLDS
from lethe.stores.base import Candidates
from lethe.stores.sql import SqlStore

OLD = datetime(2024, 3, 1, 12, tzinfo=UTC)
COUNT = 1500
KILLS = 6


def _erase(connection: Connection, candidates: Candidates, ready: Pipe) -> None:
    store = SqlStore(connection)
    rules = holding(hold(email=[f"p{n}@x.cz" for n in range(0, COUNT, 100)]))
    ready.send_bytes(b"1")
    store.erase(work(), candidates, range(candidates.batches), Gate(rules))


def people(database: Database, count: int = COUNT) -> sa.Table:
    return database.leads([{"id": n, "email": f"p{n}@x.cz", "last_contact": OLD} for n in range(count)])


def test_outcomes_are_exact_after_kills_at_any_moment(database: Database) -> None:
    table = people(database)
    rules = holding(hold(email=[f"p{n}@x.cz" for n in range(0, COUNT, 100)]))
    candidates = database.store.discover(work(), rules)
    everybody = set(range(COUNT))
    randomly = random.Random(4)
    killed = 0
    for _ in range(KILLS):
        killed += kill_while(_erase, database, candidates, randomly.uniform(0.01, 0.3))
        database.store.settle([], 20)  # the server may be committing the last batch still
        found = outcomes(database, work(), candidates)
        gone = everybody - set(database.ids(table))
        assert {int(key) for key, outcome in found.items() if outcome is Outcome.ERASED} == gone
        assert database.store.tally(work(), candidates).total == len(found)
    assert killed
    tally = database.store.erase(work(), candidates, range(candidates.batches), Gate(rules))
    assert tally == Became(erased=COUNT - 15)
    assert database.ids(table) == list(range(0, COUNT, 100))
    assert Counter(outcomes(database, work(), candidates).values()) == {Outcome.ERASED: COUNT - 15}


def test_discovering_that_dies_leaves_nothing_behind(database: Database) -> None:
    people(database, 50)

    class Dies(Exception):
        pass

    class Broken:
        def __init__(self) -> None:
            self.version = 1
            self.rules = holding(hold(email="a@x.cz")).rules

        def identifiers(self) -> object:
            raise Dies

    with pytest.raises(Dies):
        database.store.discover(work(), Broken())  # type: ignore[arg-type]
    assert database.store.staged_runs(work().dataset) == []
    assert [name for name in database.tables() if not name.endswith("staged")] == []


def test_a_row_that_somebody_else_has_locked_is_waited_for(warehouse: Database) -> None:
    table = people(warehouse, 30)
    candidates = warehouse.store.discover(work(), NO_HOLDS)
    store = warehouse.another(lethe_lock_timeout=0.2)
    with warehouse.engine.connect() as other:
        transaction = other.begin()
        other.execute(sa.update(table).where(table.c.id == 5).values(last_contact=datetime(2026, 3, 1, tzinfo=UTC)))
        threading.Timer(0.6, transaction.commit).start()
        tally = store.erase(work(), candidates, range(candidates.batches), Gate())
    assert tally == Became(erased=29, renewed=1)
    assert warehouse.ids(table) == [5]
    store.close()


def test_a_lock_that_is_never_given_back_ends_in_a_message(database: Database) -> None:
    table = people(database, 30)
    candidates = database.store.discover(work(), NO_HOLDS)
    store = database.another(lethe_lock_timeout=0.05)
    with database.engine.connect() as other:
        other.exec_driver_sql("BEGIN" if database.is_postgres else "BEGIN IMMEDIATE")
        other.execute(sa.update(table).values(email="b@x.cz"))
        with pytest.raises(
            StoreUnavailable, match="other transactions on connection warehouse were in the way"
        ) as caught:
            store.erase(work(), candidates, range(candidates.batches), Gate())
        assert caught.value.transient
        other.rollback()
    assert store.erase(work(), candidates, range(candidates.batches), Gate()) == Became(erased=30)
    store.close()


def test_a_deadlock_is_tried_again(warehouse: Database) -> None:
    table = people(warehouse, 10)
    candidates = warehouse.store.discover(work(), NO_HOLDS)
    other = warehouse.engine.connect()
    first, second = (sa.update(table).where(table.c.id == n).values(email="b@x.cz") for n in (9, 0))

    def cross_back() -> None:
        other.execute(second)
        other.commit()

    def cross(number: int) -> None:
        if number == 0:
            other.execute(first)  # the batch has nothing locked yet, but is going to take 0 before 9
            threading.Timer(0.3, cross_back).start()

    with warehouse.engine.begin() as admin:
        admin.exec_driver_sql("SELECT 1")
    tally = warehouse.store.erase(work(), candidates, range(candidates.batches), Gate(before=cross))
    assert tally.erased == 10
    assert warehouse.ids(table) == []
    other.close()


@pytest.mark.parametrize("number", [0, 2])
def test_a_connection_that_breaks_off_is_finished_by_the_next_call(warehouse: Database, number: int) -> None:
    table = people(warehouse, 60)
    candidates = warehouse.store.discover(work(), NO_HOLDS)

    def cut(batch: int) -> None:
        if batch == number:
            warehouse.run_text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    with pytest.raises(StoreUnavailable, match="leads: connection warehouse cannot be reached, broke off"):
        warehouse.store.erase(work(), candidates, range(candidates.batches), Gate(before=cut))
    done = warehouse.store.tally(work(), candidates)
    assert done.erased == 60 - len(warehouse.ids(table))
    assert warehouse.store.erase(work(), candidates, range(candidates.batches), Gate()) == Became(erased=60)


def test_a_statement_that_takes_too_long_is_undone(warehouse: Database) -> None:
    table = people(warehouse, 10)
    candidates = warehouse.store.discover(work(), NO_HOLDS)
    store = warehouse.another(lethe_statement_timeout=0.3, lethe_lock_timeout=30)
    with warehouse.engine.connect() as other:
        other.execute(sa.update(table).values(email="b@x.cz"))
        with pytest.raises(StoreUnavailable, match="timed out"):
            store.erase(work(), candidates, range(1), Gate())
        other.rollback()
    assert len(warehouse.ids(table)) == 10
    store.close()


def test_who_stands_idle_in_a_batch_loses_the_gate(warehouse: Database) -> None:
    people(warehouse, 10)
    candidates = warehouse.store.discover(work(), NO_HOLDS)
    store = warehouse.another(lethe_idle_timeout=0.3)
    with pytest.raises(StoreUnavailable):
        store.erase(work(), candidates, range(1), Gate(before=lambda _: time.sleep(1)))
    warehouse.store.settle([], 5)
    store.close()


def test_nothing_of_a_row_is_in_an_error(database: Database) -> None:
    canary = "canary-77a1"
    table = database.leads([{"id": 1, "email": canary, "last_contact": OLD}])
    database.do(sa.insert(table).values(id=2, email="b@x.cz", last_contact=OLD))
    candidates = database.store.discover(work(), NO_HOLDS)
    if database.is_postgres:
        database.run_text(
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no: %%', OLD.email; END $$",
            "CREATE TRIGGER no BEFORE DELETE ON leads FOR EACH ROW EXECUTE FUNCTION no()",
        )
    else:
        database.run_text("CREATE TRIGGER no BEFORE DELETE ON leads BEGIN SELECT raise(ABORT, 'canary-77a1'); END")
    with pytest.raises(Exception, match="leads: connection warehouse: a trigger or a function") as caught:
        database.store.erase(work(), candidates, range(1), Gate())
    error: BaseException | None = caught.value
    assert canary not in str(error)
    assert error is not None
    assert error.__cause__ is None
    assert error.__suppress_context__
    assert database.ids(table) == [1, 2]


def test_discovering_twice_at_the_same_time_gives_one_set(database: Database) -> None:
    people(database, 300)
    found: list[Candidates] = []

    def discover() -> None:
        store = database.another()
        found.append(store.discover(work(), NO_HOLDS))
        store.close()

    threads = [threading.Thread(target=discover) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert found[0] == found[1] == found[2]
    tally = database.store.erase(work(), found[0], range(found[0].batches), Gate())
    assert tally == Became(erased=300)
