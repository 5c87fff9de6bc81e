"""Never held where a database has no locks: what comes late is refused by a deadline and by its attempt, each alone."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.stores import leased_postgresql
from tests.stores.contract import worlds
from tests.stores.contract.registry import Gate, Held
from tests.stores.contract.world import World

from lethe.counts import Became
from lethe.errors import StoreError, StoreUnavailable
from lethe.stores.base import Candidates
from lethe.stores.sql import store
from lethe.stores.sql.leased import LeasedEraser
from lethe_demo.servers import EmbeddedPostgres

LEASE_SECONDS = 0.6
NO_DEADLINE = 3600.0


@pytest.fixture
def world(tmp_path: Path, postgres: EmbeddedPostgres) -> Iterator[World]:
    with worlds.tables(leased_postgresql.NAME, tmp_path, postgres) as made:
        made.fill()
        yield made


def _before_sending(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Do something once, right before a request that erases is sent."""
    whole = LeasedEraser._send
    acts = iter([act])

    def sends(self: LeasedEraser, lease: object, statements: object, **options: bool) -> None:
        next(acts, lambda: None)()
        whole(self, lease, statements, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(LeasedEraser, "_send", sends)


def _erase(world: World, candidates: Candidates, lease_seconds: float = LEASE_SECONDS) -> Became:
    gate = Gate(world.registry, lease_seconds, binding=world.abilities.binding)
    with closing(world.store()) as eraser:
        return eraser.erase(world.work(), candidates, range(candidates.batches), gate)


def _candidates(world: World) -> Candidates:
    with closing(world.store()) as other:
        return other.discover(world.work(), world.registry.rules())


@pytest.mark.parametrize("defence", ["deadline", "attempt", "neither"])
def test_a_process_that_stops_right_before_it_sends_erases_nothing_held(
    world: World, monkeypatch: pytest.MonkeyPatch, defence: str
) -> None:
    """It goes on when a hold on everything is acknowledged. Without any defence it erases: the test can fail."""
    candidates = _candidates(world)
    if defence != "attempt":
        monkeypatch.setattr(store, "revoke", lambda *_: None)
    if defence != "deadline":
        monkeypatch.setattr("lethe.stores.leasing.Lease.deadline", property(lambda _: time.time() + NO_DEADLINE))
    monkeypatch.setattr("lethe.stores.leasing.Lease.sent_by", property(lambda _: time.monotonic() + NO_DEADLINE))

    def stop() -> None:
        child = os.fork()
        if not child:  # who places the hold has no part in what this process knows
            try:
                with closing(world.store()) as other:
                    world.registry.place(other, Held())
            finally:
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)

    _before_sending(monkeypatch, stop)
    done = _erase(world, candidates)
    if defence == "neither":
        assert done.erased
    else:
        assert (done.erased, done.held) == (0, candidates.due)
        assert world.left() == world.everybody() == world.intact()


def test_what_was_sent_and_is_not_over_keeps_a_hold_from_being_acknowledged(world: World) -> None:
    """Its request has the batch's row, and has not been committed: as where a commit takes long."""
    candidates = _candidates(world)
    batches = world.store()._scratch.named(world.run, "people").batches  # type: ignore[attr-defined]
    with closing(world.store()) as other, other._engine.connect() as connection:  # type: ignore[attr-defined]
        with connection.begin() as transaction:
            connection.execute(sa.update(batches).where(batches.c.batch == 0).values(attempt="mine"))
            transaction.commit()
        with connection.begin() as transaction:
            connection.execute(sa.update(batches).where(batches.c.attempt == "mine").values(done=False))
            with closing(world.store()) as placing, pytest.raises(StoreUnavailable):
                world.registry.place(placing, Held(), timeout=0.3)
            transaction.rollback()
        world.registry.acknowledge(other)
        assert connection.scalar(sa.select(sa.func.count(batches.c.attempt))) == 0
    assert _erase(world, candidates).held == candidates.due


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE people SET email = 'canary.p5@example.org ; x' WHERE id = 0",
        "UPDATE people SET at = '2019-01-01T00:00:00+00:00' WHERE id = 0",
        "UPDATE notes SET contact = 'canary.p5@example.org ; x' WHERE person = 0",
        "INSERT INTO notes VALUES (900, 0, 'canary.p5@example.org ; x')",
    ],
)
def test_what_changes_after_it_was_judged_is_judged_again(
    world: World, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Nothing is locked between judging and erasing; the hold has been there all the time."""
    world.registry.commit(Held(email=["canary.p5@example.org"], first=None, last=None))
    candidates = _candidates(world)

    def changes() -> None:
        with world.engine.begin() as connection:  # type: ignore[attr-defined]
            connection.execute(sa.text(change))

    _before_sending(monkeypatch, changes)
    done = _erase(world, candidates, 30.0)
    moved = "SET at" in change
    assert (done.erased, done.held) == ((candidates.due, 0) if moved else (candidates.due - 1, 1))
    assert (0 in world.left()) == (not moved)


def test_a_record_that_was_renewed_after_it_was_judged_is_not_counted_as_masked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.stores.contract.suite import RECENT, _asking

    from lethe.stores.abilities import Ability

    work = _asking(world, Ability.ANONYMISE)
    with closing(world.store()) as other:
        candidates = other.discover(work, world.registry.rules())
        _before_sending(monkeypatch, lambda: world.change(5, RECENT))
        gate = Gate(world.registry, binding=world.abilities.binding)
        done = other.erase(work, candidates, range(candidates.batches), gate)
    assert (done.anonymised, done.renewed) == (candidates.due - 1, 1)
    assert 5 in world.intact()


def test_a_request_that_was_not_answered_is_done_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was carried out and the connection broke: the outcome is read from the batch."""
    candidates = _candidates(world)
    whole = leased_postgresql.LeasedPostgreSQL.together
    sent: list[float] = []

    def breaks(self: object, connection: sa.Connection, statements: list[object], seconds: float) -> None:
        whole(self, connection, statements, seconds)  # type: ignore[arg-type]
        if len(statements) > 1 and not sent:
            sent.append(seconds)
            raise sa.exc.OperationalError("", {}, Exception("the connection broke"))

    monkeypatch.setattr(leased_postgresql.LeasedPostgreSQL, "together", breaks)
    started = time.monotonic()
    with pytest.raises(StoreUnavailable):
        _erase(world, candidates)
    assert time.monotonic() - started >= LEASE_SECONDS, "the lease was kept"
    assert _erase(world, candidates).erased == candidates.due == len(world.everybody()) - len(world.left())


def test_tables_with_triggers_are_refused(world: World) -> None:
    candidates = _candidates(world)
    with world.engine.begin() as connection:  # type: ignore[attr-defined]
        for text in (
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
            "CREATE TRIGGER t BEFORE DELETE ON people FOR EACH ROW EXECUTE FUNCTION f()",
        ):
            connection.execute(sa.text(text))
    with closing(world.store()) as checking:
        refused = [one.message for one in checking.check(world.dataset()) if not one.remark]
        assert len(refused) == 1
        assert "trigger t of people" in refused[0]
        with pytest.raises(StoreError, match="trigger t of people"):
            checking.discover(world.work(), world.registry.rules())
    with pytest.raises(StoreError, match="trigger t of people"):
        _erase(world, candidates)
    assert world.left() == world.everybody()


@pytest.mark.parametrize(
    ("clock", "says"),
    [
        (sa.func.no_clock(), "its clock cannot be read \\(42883\\)"),
        (sa.func.localtimestamp(), "its clock cannot be read: it says no moment with a time zone"),
        (sa.cast(sa.null(), sa.DateTime(timezone=True)), "its clock cannot be read: it says no moment with a time"),
    ],
    ids=["refused", "without a zone", "nothing"],
)
def test_a_store_whose_clock_cannot_be_read_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, clock: sa.ColumnElement[object], says: str
) -> None:
    """Deadlines are moments of that clock, so that there are none without it."""
    candidates = _candidates(world)
    monkeypatch.setattr(leased_postgresql.LeasedPostgreSQL, "now", lambda _: clock)
    with closing(world.store()) as store:
        refused = [one.message for one in store.check(world.dataset()) if not one.remark]
        assert len(refused) == 1
        assert re.search(f"connection world: {says}", refused[0])
        with pytest.raises(StoreError, match=says):
            store.clock(world.dataset())
        with pytest.raises(StoreError, match=says):
            _erase(world, candidates)
    assert world.left() == world.everybody()
