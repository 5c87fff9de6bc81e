"""What every store promises, as tests of a `World`: subclass these beside a fixture `world`, as `test_contract` does.

Each class is one promise of docs/architecture.md. The tests use the store through its protocol alone, and look at what
became of the records without it. A store that declares that it cannot do something has to refuse it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import ClassVar

import pytest
from tests.stores.contract import processes
from tests.stores.contract.registry import Gate, Held
from tests.stores.contract.world import AS_OF, CANARY, CUTOFF, ZONE, Record, World, hold_of

from lethe.counts import Became, Outcome
from lethe.errors import StoreUnavailable
from lethe.holds.rules import HoldRules
from lethe.periods import Period, cutoff_for
from lethe.policy import Expiry
from lethe.stores.abilities import Binding, ClockForm
from lethe.stores.base import Candidates, Store, Work

RECENT = datetime(2026, 10, 1, 12, tzinfo=UTC)
LONG_AGO = datetime(2018, 5, 5, 12, tzinfo=UTC)
LEASE_SECONDS = 1.0
"""Of erasures that die: whatever follows them waits for their leases."""


# --- how the tests speak ------------------------------------------------------------------------------------------


def rules(world: World) -> HoldRules:
    """The holds in force."""
    return world.registry.rules()


def discover(world: World, store: Store, work: Work | None = None) -> Candidates:
    """Discover with the holds in force."""
    return store.discover(work or world.work(), rules(world))


def erase(
    world: World, store: Store, candidates: Candidates, batches: range | None = None, gate: Gate | None = None
) -> Became:
    """Erase batches, all where none are named."""
    chosen = range(candidates.batches) if batches is None else batches
    return store.erase(world.work(), candidates, chosen, gate or Gate(world.registry))


def run_through(world: World) -> Candidates:
    """Discover and erase all."""
    with closing(world.store()) as store:
        candidates = discover(world, store)
        erase(world, store, candidates)
        return candidates


def became(world: World, store: Store, candidates: Candidates) -> dict[int, Outcome]:
    """The outcome of each record that has one; none may have two."""
    pairs = [(world.number(key), outcome) for key, outcome in store.outcomes(world.work(), candidates)]
    assert len(dict(pairs)) == len(pairs), "a record has two outcomes"
    return dict(pairs)


def assert_left(world: World, numbers: set[int]) -> None:
    """Just these records are left, each as it was written, and of the others nothing."""
    left = world.left()
    assert left == numbers, f"gone that had to stay: {sorted(numbers - left)}; left: {sorted(left - numbers)}"
    assert world.intact() == numbers, "what stays is as it was"


def assert_exact(world: World, candidates: Candidates, expected: dict[int, Outcome]) -> None:
    """Outcomes and tally, as another process reads them, are the truth."""
    with closing(world.store()) as store:
        assert became(world, store, candidates) == expected
        tally = store.tally(world.work(), candidates)
    counts = {outcome: list(expected.values()).count(outcome) for outcome in Outcome}
    assert {outcome: getattr(tally, outcome.value) for outcome in Outcome} == counts


def erased(numbers: set[int]) -> dict[int, Outcome]:
    """The outcomes where all of these went."""
    return dict.fromkeys(numbers, Outcome.ERASED)


@contextmanager
def nothing_touched(world: World) -> Iterator[None]:
    """Nothing of the records, and nothing staged."""
    staged = world.staged()
    yield
    assert_left(world, world.everybody())
    assert world.staged() == staged


class Promise:
    """What the tests of all promises share."""

    slow: ClassVar[frozenset[str]] = frozenset()
    """Tests that start processes."""

    @classmethod
    def checks(cls, *, quick: bool = True) -> dict[str, Callable[[World], None]]:
        """Its tests by name; only those that start no process where `quick`."""
        names = [name for name in dir(cls) if name.startswith("test_") and not (quick and name in cls.slow)]
        return {name: getattr(cls(), name) for name in names}


# --- 1 ------------------------------------------------------------------------------------------------------------


class NeverEarly(Promise):
    """No record goes before its period has ended, in local days."""

    def test_what_goes_has_expired_by_the_local_day(self, world: World) -> None:
        world.fill()
        due = world.due()
        candidates = run_through(world)
        assert candidates.due == len(due)
        assert_left(world, world.everybody() - due)

    def test_every_form_of_clock_says_the_same(self, world: World) -> None:
        for form in sorted(world.abilities.clocks):
            world.fill(_edges(form), form)
            due = world.due()
            with closing(world.store()) as store:
                assert store.survey(world.work(), rules(world)).due == len(due), form
            run_through(world)
            assert_left(world, world.everybody() - due)

    def test_what_was_written_again_stays(self, world: World) -> None:
        world.fill()
        with closing(world.store()) as store:
            candidates = discover(world, store)
            world.change(5, RECENT)
            erase(world, store, candidates)
        assert 5 in world.left()
        assert 5 in world.intact()

    def test_another_as_of_moment_has_another_cutoff(self, world: World) -> None:
        world.fill()
        early = Expiry(zone=ZONE, default=cutoff_for(AS_OF, ZONE, Period.parse("P5Y")))
        assert early.default is not None
        due = {n for n, one in world.records.items() if one.judgeable and one.clock < early.default.instant}  # type: ignore[operator]
        assert 0 < len(due) < len(world.due())
        with closing(world.store()) as store:
            work = world.work(expiry=early)
            candidates = store.discover(work, rules(world))
            store.erase(work, candidates, range(candidates.batches), Gate(world.registry))
        assert_left(world, world.everybody() - due)


def _edges(form: ClockForm) -> list[Record]:
    """Records around the boundary as a form can tell them apart."""
    if form is ClockForm.YEAR:
        moments = [datetime(year, 12, 31, 12, tzinfo=ZONE) for year in (2023, 2024, 2025)]
    elif form is ClockForm.DAY:
        moments = [CUTOFF + timedelta(days=days) for days in (-400, -2, -1, 0, 1, 400)]
    else:
        moments = [CUTOFF + timedelta(seconds=s) for s in (-(9**7), -86_400, -7200, -1, 0, 1, 1800, 7199, 7200, 9**7)]
    return [Record(number, moment) for number, moment in enumerate(moments)]


# --- 2 ------------------------------------------------------------------------------------------------------------


class NeverHeld(Promise):
    """What an acknowledged hold covers stays."""

    slow: ClassVar[frozenset[str]] = frozenset({"test_a_process_that_is_stopped_in_a_batch_cannot_outrun_a_hold"})

    def test_held_before(self, world: World) -> None:
        world.fill()
        world.registry.commit(hold_of(3), Held(account=[f" {CANARY.upper()}-a4 "]), hold_of(5, 6))
        candidates = run_through(world)
        due = world.due(3, 4, 5, 6)
        assert (candidates.held, candidates.due) == (len(world.due() - due), len(due))
        assert_left(world, world.everybody() - due)
        with closing(world.store()) as store:
            survey = store.survey(world.work(), rules(world))
        assert (survey.held, survey.due) == (candidates.held, 0)

    def test_held_between_discovering_and_erasing(self, world: World) -> None:
        world.fill()
        world.registry.commit(hold_of(3))
        with closing(world.store()) as store:
            candidates = discover(world, store)
            world.registry.place(store, hold_of(7), hold_of(8))
            erase(world, store, candidates)
        due = world.due(3, 7, 8)
        assert_left(world, world.everybody() - due)
        assert_exact(world, candidates, {n: _held_or_erased(n, due) for n in world.due(3)})

    def test_held_between_batches(self, world: World) -> None:
        world.fill()
        with closing(world.store()) as store:
            candidates = discover(world, store)
            erase(world, store, candidates, range(1))
            still = world.left()
            world.registry.place(store, hold_of(1))
            erase(world, store, candidates, range(1, 2))
            world.registry.place(store, hold_of(2))
            between = world.left()
            erase(world, store, candidates, range(2, candidates.batches))
        _assert_kept(world, {1}, still)
        _assert_kept(world, {2}, between)

    def test_a_hold_is_not_acknowledged_while_a_batch_goes_on_without_it(self, world: World) -> None:
        """A batch has read the holds, and takes its time; meanwhile a hold on everything is placed."""
        world.fill()
        asked, go = threading.Event(), threading.Event()

        def linger(_number: int) -> None:
            asked.set()
            go.wait(0.25)

        with closing(world.store()) as store, closing(world.store()) as other:
            candidates = discover(world, store)
            gate = Gate(world.registry, after=linger)
            eraser = threading.Thread(target=lambda: erase(world, store, candidates, gate=gate))
            eraser.start()
            try:
                assert asked.wait(20)
                world.registry.place(other, Held())
                acknowledged = world.left()
            finally:
                go.set()
                eraser.join()
        assert world.left() == acknowledged, "a record went after the hold on it was acknowledged"

    def test_holds_placed_at_full_speed(self, world: World) -> None:
        world.fill()
        acknowledged: dict[int, set[int]] = {}
        with closing(world.store()) as store, closing(world.store()) as other:
            candidates = discover(world, store)
            eraser = threading.Thread(target=lambda: erase(world, store, candidates))
            eraser.start()
            for person in range(4):
                world.registry.place(other, hold_of(person))
                acknowledged[person] = world.left()
            eraser.join()
        for person, left in acknowledged.items():
            _assert_kept(world, {person}, left)

    def test_days_and_people_and_days(self, world: World) -> None:
        world.fill()
        first, last = date(2019, 3, 1), date(2020, 3, 1)
        of_days = {n for n, r in world.records.items() if r.expired and first <= _day(r) <= last}
        of_person = {n for n, r in world.records.items() if r.expired and r.person == 9 and _day(r) >= last}
        assert of_days
        assert of_person
        world.registry.commit(Held(first=first, last=last), hold_of(9, first=last))
        with closing(world.store()) as store:
            assert store.survey(world.work(), rules(world)).held == len(of_days | of_person)
        run_through(world)
        assert_left(world, world.everybody() - (world.due() - of_days - of_person))

    def test_days_since_discovery(self, world: World) -> None:
        world.fill()
        first = date(2020, 3, 1)
        kept = {n for n, r in world.records.items() if r.expired and _day(r) >= first}
        with closing(world.store()) as store:
            candidates = discover(world, store)
            world.registry.place(store, Held(first=first))
            erase(world, store, candidates)
        due = world.due() - kept
        assert_left(world, world.everybody() - due)
        assert_exact(world, candidates, {n: _held_or_erased(n, due) for n in world.due()})

    def test_everything(self, world: World) -> None:
        world.fill()
        world.registry.commit(Held())
        candidates = run_through(world)
        assert (candidates.held, candidates.due) == (len(world.due()), 0)
        assert_left(world, world.everybody())

    def test_a_hold_of_before_binds_what_was_written_again(self, world: World) -> None:
        world.fill()
        world.registry.commit(hold_of(4))
        with closing(world.store()) as store:
            candidates = discover(world, store)
            world.change(4, LONG_AGO)
            world.change(5, LONG_AGO)
            erase(world, store, candidates)
        _assert_kept(world, {4}, world.everybody())

    def test_released_it_goes_with_the_next_run(self, world: World) -> None:
        world.fill()
        world.registry.commit(hold_of(3))
        run_through(world)
        world.registry.release()
        world.run += "-next"
        run_through(world)
        assert_left(world, world.everybody() - world.due())

    @pytest.mark.timeout(120)
    def test_a_process_that_is_stopped_in_a_batch_cannot_outrun_a_hold(self, world: World) -> None:
        world.fill()
        with closing(world.store()) as store:
            candidates = discover(world, store)
            stop = processes.Signal("answered", 1, signal.SIGSTOP)
            with processes.erasing(world, candidates, stop, LEASE_SECONDS) as eraser:
                processes.wait_until_stopped(eraser)
                patience = 0.5 if world.abilities.binding is Binding.FENCED else 4 * LEASE_SECONDS
                try:
                    world.registry.place(store, Held(), timeout=patience)
                except StoreUnavailable:
                    assert world.abilities.binding is Binding.FENCED, "leases run out by themselves"
                    processes.go_on(eraser)  # it has the lock: nothing is acknowledged before it goes on
                    world.registry.acknowledge(store)
                acknowledged = world.left()
            assert eraser.exitcode == 0
            assert world.left() == acknowledged, "a record went after the hold on it was acknowledged"


def _held_or_erased(number: int, due: set[int]) -> Outcome:
    return Outcome.ERASED if number in due else Outcome.HELD


def _day(record: Record) -> date:
    assert isinstance(record.clock, datetime)
    return record.clock.astimezone(ZONE).date()


def _assert_kept(world: World, people: set[int], still: set[int]) -> None:
    """All records of people that still were there are there."""
    of_people = {n for n, record in world.records.items() if record.person in people}
    assert of_people & still <= world.left(), "a record went after the hold on it was acknowledged"
