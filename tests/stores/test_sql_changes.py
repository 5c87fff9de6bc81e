"""What happens between discovering and erasing, between batches, and in the middle of one: outcomes stay exact."""

from __future__ import annotations

import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import sqlalchemy as sa
from tests.stores.sql_kit import Database, Gate, dataset, hold, holding, outcomes, work

from lethe.counts import Became, Outcome
from lethe.errors import DatasetChanged, LetheError, RunError, StoreUnavailable
from lethe.holds.rules import NO_HOLDS

OLD = datetime(2024, 3, 1, 12, tzinfo=UTC)
NEW = datetime(2026, 3, 1, 12, tzinfo=UTC)
COUNT = 45


@pytest.fixture
def table(database: Database) -> sa.Table:
    """45 expired leads: at least five batches of ten."""
    return database.leads(
        [
            {"id": number, "email": f"p{number}@x.cz", "last_contact": OLD + timedelta(hours=number)}
            for number in range(1, COUNT + 1)
        ]
    )


def change(table: sa.Table, ids: list[int], **values: object) -> sa.Update:
    return sa.update(table).where(table.c.id.in_(ids)).values(**values)


def test_what_changed_since_discovery_is_judged_anew(database: Database, table: sa.Table) -> None:
    rules = holding(hold(email=["held@x.cz", "p7@x.cz"]))
    candidates = database.store.discover(work(), rules)
    database.do(
        change(table, [1, 12], last_contact=NEW),
        change(table, [2], last_contact=OLD + timedelta(days=1)),
        change(table, [3, 33], email="HELD@x.cz"),
        change(table, [7], email="free@x.cz"),
        change(table, [8], last_contact=None),
        sa.delete(table).where(table.c.id.in_([4, 14])),
        sa.insert(table).values(id=100, email="late@x.cz", last_contact=OLD),
    )
    tally = database.store.erase(work(), candidates, range(candidates.batches), Gate(rules))

    assert tally == Became(erased=COUNT - 8, held=2, renewed=3, gone=2)
    assert database.ids(table) == [1, 3, 7, 8, 12, 33, 100]
    found = outcomes(database, work(), candidates)
    assert {key: outcome for key, outcome in found.items() if outcome is not Outcome.ERASED} == {
        "1": Outcome.RENEWED,
        "12": Outcome.RENEWED,
        "8": Outcome.RENEWED,
        "3": Outcome.HELD,
        "33": Outcome.HELD,
        "4": Outcome.GONE,
        "14": Outcome.GONE,
    }
    assert len(found) == COUNT - 1, "all but the one that was held at discovery"


def test_what_left_the_scope_is_renewed(database: Database) -> None:
    table = database.leads(state=sa.Text())
    database.insert(table, [{"id": n, "email": "a@x.cz", "last_contact": OLD, "state": "open"} for n in (1, 2, 3)])
    of = dataset(where=[{"column": "state", "in": ["open"]}], keep_while=[{"column": "email", "is_null": True}])
    candidates = database.store.discover(work(of), NO_HOLDS)
    database.do(change(table, [1], state="closed"), change(table, [2], email=None))
    assert database.store.erase(work(of), candidates, range(1), Gate()) == Became(erased=1, renewed=2)
    assert database.ids(table) == [1, 2]


def test_a_hold_placed_after_discovery_binds(database: Database, table: sa.Table) -> None:
    candidates = database.store.discover(work(), NO_HOLDS)
    gate = Gate()
    gate.place(hold(email="P5@x.cz"), hold(email=["p15@x.cz", "p44@x.cz"]))
    tally = database.store.erase(work(), candidates, range(candidates.batches), gate)
    assert tally == Became(erased=COUNT - 3, held=3)
    assert database.ids(table) == [5, 15, 44]


def test_a_hold_on_everything_stops_every_later_batch(database: Database, table: sa.Table) -> None:
    candidates = database.store.discover(work(), NO_HOLDS)
    gate = Gate()
    gate.before = lambda number: gate.place(hold()) if number == 2 else None
    tally = database.store.erase(work(), candidates, range(candidates.batches), gate)
    assert tally.erased + tally.held == COUNT
    assert 0 < tally.erased <= 20
    assert len(database.ids(table)) == tally.held


def test_a_hold_placed_between_two_batches_binds_from_the_next(database: Database, table: sa.Table) -> None:
    candidates = database.store.discover(work(), NO_HOLDS)
    gate = Gate()
    every = hold(email=[f"p{number}@x.cz" for number in range(1, COUNT + 1, 2)])
    gate.before = lambda number: gate.place(every) if number == 1 else None
    database.store.erase(work(), candidates, range(candidates.batches), gate)
    odd = set(range(1, COUNT + 1, 2))
    assert set(database.ids(table)) <= odd
    assert len(odd - set(database.ids(table))) <= 10


def test_a_hold_released_after_discovery_waits_for_the_next_run(database: Database, table: sa.Table) -> None:
    rules = holding(hold(email="p5@x.cz"))
    candidates = database.store.discover(work(), rules)
    gate = Gate(rules)
    gate.release()
    tally = database.store.erase(work(), candidates, range(candidates.batches), gate)
    assert tally == Became(erased=COUNT - 1)
    assert database.ids(table) == [5]
    again = work(run="run-2")
    candidates = database.store.discover(again, gate.rules)
    assert database.store.erase(again, candidates, range(1), gate) == Became(erased=1)
    assert database.ids(table) == []


def test_holds_placed_before_every_single_batch_do_not_stop_the_run(database: Database, table: sa.Table) -> None:
    candidates = database.store.discover(work(), NO_HOLDS)
    gate = Gate()
    gate.before = lambda number: gate.place(hold(email=f"stranger{number}@x.cz"))
    assert database.store.erase(work(), candidates, range(candidates.batches), gate) == Became(erased=COUNT)
    assert database.ids(table) == []


def test_a_batch_that_fails_is_undone_and_done_by_the_next_call(database: Database, table: sa.Table) -> None:
    candidates = database.store.discover(work(), NO_HOLDS)
    gate = Gate()

    def superseded(number: int) -> None:
        if number == 2:
            raise RunError("superseded")

    gate.before = superseded
    with pytest.raises(RunError, match="superseded"):
        database.store.erase(work(), candidates, range(candidates.batches), gate)
    first = database.store.tally(work(), candidates)
    assert first.erased == COUNT - len(database.ids(table))
    assert 0 < first.erased < COUNT
    assert Counter(outcomes(database, work(), candidates).values()) == {Outcome.ERASED: first.erased}

    tally = database.store.erase(work(), candidates, range(candidates.batches), Gate())
    assert tally == Became(erased=COUNT) == database.store.tally(work(), candidates)
    assert database.ids(table) == []


def test_two_workers_on_the_same_batches_erase_each_once(database: Database, table: sa.Table) -> None:
    candidates = database.store.discover(work(), NO_HOLDS)
    tallies: list[Became] = []

    def erase() -> None:
        store = database.another()
        gate = Gate(before=lambda _number: time.sleep(0.01))
        tallies.append(store.erase(work(), candidates, range(candidates.batches), gate))
        store.close()

    workers = [threading.Thread(target=erase) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert tallies == [Became(erased=COUNT)] * 3
    assert database.store.tally(work(), candidates) == Became(erased=COUNT)
    assert len(outcomes(database, work(), candidates)) == COUNT
    assert database.ids(table) == []


def test_staging_that_somebody_changed_erases_nothing_more(database: Database, table: sa.Table) -> None:
    candidates = database.store.discover(work(), NO_HOLDS)
    (name,) = [name for name in database.tables() if ".k_" in name or "_k_" in name]
    schema, _, bare = name.rpartition(".")
    staged = sa.table(bare, sa.column("key_0"), schema=schema)
    database.do(sa.delete(staged).where(staged.c.key_0 == 15))
    with pytest.raises(DatasetChanged, match="has been changed"):
        database.store.erase(work(), candidates, range(candidates.batches), Gate())
    assert 15 in database.ids(table)


def test_the_fence_waits_for_the_batch_that_is_under_way(database: Database, table: sa.Table) -> None:
    candidates = database.store.discover(work(), NO_HOLDS)
    inside, go_on = threading.Event(), threading.Event()

    def wait(_number: int) -> None:
        inside.set()
        go_on.wait(20)

    worker = threading.Thread(target=partial(database.another().erase, work(), candidates, range(1), Gate(before=wait)))
    worker.start()
    assert inside.wait(20)
    with pytest.raises(StoreUnavailable, match=r"warehouse.*did not end within 0.2 seconds"):
        database.store.settle([], 0.2)
    assert len(database.ids(table)) == COUNT
    threading.Timer(0.3, go_on.set).start()
    database.store.settle([], 20)
    assert len(database.ids(table)) == COUNT - candidates.batch_size
    worker.join()


def test_no_acknowledged_hold_is_outrun_at_full_speed(database: Database) -> None:
    table = database.leads([{"id": n, "email": f"p{n}@x.cz", "last_contact": OLD} for n in range(1, 1501)])
    candidates = database.store.discover(work(), NO_HOLDS)
    gate = Gate()
    violated: list[LetheError] = []

    def erase() -> None:
        try:
            database.another().erase(work(), candidates, range(candidates.batches), gate)
        except LetheError as error:
            violated.append(error)

    worker = threading.Thread(target=erase)
    worker.start()
    kept: set[int] = set()
    slowest = 0.0
    for number in range(1500, 1450, -1):
        began = time.monotonic()
        gate.place(hold(email=f"p{number}@x.cz"))
        database.store.settle([], 20)
        slowest = max(slowest, time.monotonic() - began)
        if number in database.ids(table):
            kept.add(number)
        if not worker.is_alive():
            break
    worker.join()
    assert not violated
    assert kept
    assert kept <= set(database.ids(table))
    assert slowest < 2


def vacuum(database: Database) -> None:
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM leads")


@pytest.mark.parametrize("how", ["moved into the place of another", "put back in its own place"])
def test_a_row_with_the_same_key_in_the_same_place_need_not_be_the_same(warehouse: Database, how: str) -> None:
    """The e-mail address of a candidate becomes a held person's, and nothing else of the batch is different."""
    clocks = {2: NEW, 3: NEW}
    table = warehouse.leads(
        [{"id": n, "email": f"p{n}@x.cz", "last_contact": clocks.get(n, OLD)} for n in range(1, COUNT + 1)]
    )
    store = warehouse.another(lethe_batch_size=1000)
    rules = holding(hold(email="held@x.cz"))
    candidates = store.discover(work(), rules)
    assert candidates.batches == 1
    address = sa.select(sa.literal_column("ctid::text", sa.Text())).select_from(table).where(table.c.id == 30)
    if how.startswith("moved"):
        warehouse.do(sa.delete(table).where(table.c.id.in_([2, 3])))
        vacuum(warehouse)
        warehouse.do(change(table, [30], email="held@x.cz"))
        expected = "(0,2)"
    else:
        warehouse.do(sa.delete(table).where(table.c.id == 30))
        vacuum(warehouse)
        warehouse.do(sa.insert(table).values(id=30, email="held@x.cz", last_contact=OLD))
        expected = "(0,30)"
    with warehouse.engine.connect() as connection:
        assert connection.scalar(address) == expected
    assert store.erase(work(), candidates, range(1), Gate(rules)) == Became(erased=COUNT - 3, held=1)
    assert 30 in warehouse.ids(table)
    store.close()
