"""What every store promises, as tests of a `World`: subclass these beside a fixture `world`, as `test_contract` does.

Each class is one promise of docs/architecture.md. The tests use the store through its protocol alone, and look at what
became of the records without it. A store that declares that it cannot do something has to refuse it.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from pydantic import ValidationError
from tests.stores.contract import processes
from tests.stores.contract.registry import Gate, Held
from tests.stores.contract.world import AS_OF, BATCH, CANARY, CUTOFF, ZONE, Record, World, hold_of, population

from lethe.counts import Became, Outcome, Unjudgeable
from lethe.errors import DatasetChanged, RunError, StoreError, StoreUnavailable
from lethe.holds.rules import HoldRules
from lethe.judging.identifiers import IdentifierType
from lethe.periods import Period, cutoff_for
from lethe.policy import Dataset, Disposition, Expiry, ObjectDataset, TableDataset
from lethe.stores.abilities import Ability, Binding, ClockForm
from lethe.stores.base import Candidates, Simulates, Store, Work, forecast

RECENT = datetime(2026, 10, 1, 12, tzinfo=UTC)
LONG_AGO = datetime(2018, 5, 5, 12, tzinfo=UTC)
LONG = bool(os.environ.get("LONG"))
"""Whether to try for long."""
LEASE_SECONDS = 1.0
"""Of erasures that die: whatever follows them waits for their leases."""
STOPPED_LEASE_SECONDS = 2.5
"""Of erasures that are stopped. S3's signatures end up to a second after the middle of a lease: 2 s are the least."""
KILLS = [
    processes.Signal("answered", 0),
    *[
        processes.Signal("answered", 0, after=milliseconds / 1000)
        for milliseconds in ((10,) if not LONG else range(60))
    ],
    processes.Signal("progress", 0),
]
"""When processes are killed: before anything is sent, while it is under way, and when something is done."""
ODD_ADDRESSES = [
    f"Ann <{CANARY.upper()}.P5@example.org>",
    f"mailto:{CANARY}.p5@example.org",
    f"bob@example.org; {CANARY}.p5@example.org",
    f"\u200b{CANARY}.p5@exam\u00adple.org\u00a0",
    f"{CANARY}．p5＠example．org",
]
"""One address, as people and programs write it."""
ODD_ACCOUNTS = [f"{CANARY}-A５", f"acct: {CANARY}–a5 (old)", f"{CANARY}-a4, {CANARY}-a5", "ΜΑΪ́ΟΥ", "STRASSE"]
"""Accounts of three names."""
OTHER_KINDS: dict[str, Dataset] = {
    "table": TableDataset.model_validate(
        {"kind": "table", "name": "people", "store": "world", "table": "t", "key": ["id"], "clock": {"column": "at"}}
    ),
    "objects": ObjectDataset.model_validate(
        {"kind": "objects", "name": "people", "store": "world", "bucket": "none", "clock": {"last_modified": True}}
    ),
}
"""Datasets that are of another kind than a store's."""


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
    assert world.staged() == staged, "something was staged"


# --- 1 ------------------------------------------------------------------------------------------------------------


class NeverEarly:
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

    def test_its_clock_shows_the_time(self, world: World) -> None:
        world.fill()
        with closing(world.store()) as store:
            shown = store.clock(world.dataset())
        if shown is not None:  # else it has none but this machine's
            assert abs(shown - datetime.now(UTC)) < timedelta(minutes=5)


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


class NeverHeld:
    """What an acknowledged hold covers stays."""

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
        """After a batch, somebody is held of whom a record still waits for a later one; and once more."""
        world.fill()
        people: set[int] = set()
        waiting: set[int] = set()
        with closing(world.store()) as store:
            candidates = discover(world, store)
            for batch in range(candidates.batches):
                erase(world, store, candidates, range(batch, batch + 1))
                left = world.due(*people) & world.left()
                if left and len(people) < 2:
                    person = world.records[min(left)].person
                    people.add(person)
                    waiting |= {number for number in left if world.records[number].person == person}
                    world.registry.place(store, hold_of(person))
        assert waiting, "nobody had a record in a later batch"
        assert waiting <= world.left(), "a record went after the hold on it was acknowledged"

    def test_a_hold_is_not_acknowledged_while_a_batch_goes_on_without_it(self, world: World) -> None:
        """A batch has read the holds, and takes its time; meanwhile a hold on everything is placed.

        It is the second answer by which something goes in any case: the first one may only have had something loaded.
        """
        world.fill()
        asked, go = threading.Event(), threading.Event()

        def linger(number: int) -> None:
            if number:
                asked.set()
                go.wait(0.25)

        with closing(world.store()) as store, closing(world.store()) as other:
            candidates = discover(world, store)
            gate = Gate(world.registry, after=linger, binding=world.abilities.binding)
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

    @pytest.mark.slow
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

    def test_however_somebody_wrote_it(self, world: World) -> None:
        """An identifier beside others, with a name, in another script or with what nobody sees: before and since."""
        odd = [
            *(Record(n, LONG_AGO, person=6, email_as=text) for n, text in enumerate(ODD_ADDRESSES)),
            *(Record(n, LONG_AGO, person=6, account_as=text) for n, text in enumerate(ODD_ACCOUNTS, start=10)),
        ]
        world.fill([*odd, Record(30, LONG_AGO, person=1), Record(31, LONG_AGO, person=2)])
        world.registry.commit(Held(email=[f"{CANARY}.p5@example.org"]))
        due = world.due() - {record.number for record in odd}
        with closing(world.store()) as store:
            candidates = discover(world, store)
            world.registry.place(store, Held(account=[f"{CANARY}-A5", "ΜΑΪ́ΟΥ", "Straße"]))
            erase(world, store, candidates)
        assert candidates.held == len(ODD_ADDRESSES)
        assert_left(world, world.everybody() - due)

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

    @pytest.mark.slow
    @pytest.mark.timeout(120)
    def test_a_process_that_is_stopped_in_a_batch_cannot_outrun_a_hold(self, world: World) -> None:
        world.fill()
        with closing(world.store()) as store:
            candidates = discover(world, store)
            stop = processes.Signal("answered", 1, signal.SIGSTOP)
            with processes.erasing(world, candidates, stop, STOPPED_LEASE_SECONDS) as eraser:
                processes.wait_until_stopped(eraser)
                patience = 0.5 if world.abilities.binding is Binding.FENCED else 20.0
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


# --- 3 ------------------------------------------------------------------------------------------------------------


class NeverSilentlyLate:
    """After a run that succeeded, nothing expired and unheld is left; what cannot be judged is counted and stays."""

    def test_what_is_found_is_what_is_there(self, world: World) -> None:
        world.fill()
        world.registry.commit(hold_of(3))
        due = world.due(3)
        with closing(world.store()) as store:
            survey, candidates = store.survey(world.work(), rules(world)), discover(world, store)
        assert survey.total == len(world.everybody())
        assert (survey.expired, survey.held, survey.due) == (len(world.due()), len(world.due() - due), len(due))
        assert survey.unjudgeable == {Unjudgeable.NO_CLOCK: sum(one.clock is None for one in world.records.values())}
        assert survey.oldest == min(_day(world.records[number]) for number in due)
        same = ("total", "expired", "held", "kept_on", "unjudgeable", "oldest", "unreadable", "due")
        assert [getattr(candidates, name) for name in same] == [getattr(survey, name) for name in same]

    def test_what_is_forecast_is_what_a_later_survey_counts(self, world: World) -> None:
        """By today's holds, also of records that have not expired yet; and what had expired before."""
        world.fill()
        world.registry.commit(hold_of(3))
        work = world.work()
        moments = [AS_OF + timedelta(days=days) for days in (-1800, 1, 250, 300)]
        others = [Expiry(zone=ZONE, default=cutoff_for(at, ZONE, Period.parse("P18M"))) for at in moments]
        with closing(world.store()) as store:
            survey = store.survey(work, rules(world))
            later = [store.survey(replace(work, expiry=expiry), rules(world)).due for expiry in others]
            found, due = forecast(store, work, rules(world), others)
            going = store.simulate(work, rules(world), others) if isinstance(store, Simulates) else None
        assert len({survey.due, *later}) == 5, "each moment has another number"
        assert going is None or [sum(one.records for one in going[: n + 1]) for n in range(len(others))] == later
        assert (found, list(due)) == (survey, later)

    def test_what_cannot_be_judged_is_counted_and_stays(self, world: World) -> None:
        wrong = ["tomorrow", "2018-13-01", "0000-00-00"]
        texts = [Record(number, text) for number, text in enumerate(wrong, start=50)]
        none = [Record(60, None), Record(61, None)]
        expired = [Record(number, LONG_AGO) for number in range(3)]
        text = ClockForm.TEXT in world.abilities.clocks
        world.fill([*expired, *none, *(texts if text else [])], ClockForm.TEXT if text else None)
        expected = {Unjudgeable.NO_CLOCK: 2, **({Unjudgeable.UNPARSABLE_CLOCK: 3} if text else {})}
        due = world.due()
        candidates = run_through(world)
        assert candidates.unjudgeable == expected
        with closing(world.store()) as store:
            survey = store.survey(world.work(), rules(world))
        assert survey.unjudgeable == expected, "they are seen again after the run"
        assert survey.total == len(world.everybody() - due)
        assert_left(world, world.everybody() - due)

    def test_what_is_left_of_a_run_is_seen(self, world: World) -> None:
        """After half of the batches, after a change, and after all: what is due is what is there and due."""
        world.fill()
        world.registry.commit(hold_of(3))
        with closing(world.store()) as store:
            candidates = discover(world, store)
            world.insert(Record(70, LONG_AGO, person=1))
            erase(world, store, candidates, range(1))
            survey = store.survey(world.work(), rules(world))
            assert survey.due == len(world.due(3) & world.left()) > 0
            erase(world, store, candidates)
            survey = store.survey(world.work(), rules(world))
        assert (survey.due, survey.held) == (1, len(world.due() - world.due(3)))
        world.run += "-next"
        run_through(world)
        assert_left(world, world.everybody() - world.due(3))

    def test_every_candidate_has_an_outcome(self, world: World) -> None:
        world.fill()
        told: list[int] = []
        with closing(world.store()) as store:
            candidates = discover(world, store)
            gate = Gate(world.registry)
            done = store.erase(world.work(), candidates, range(candidates.batches), gate, told.append)
        assert done.total == candidates.due == sum(told) == len(world.due())
        assert_exact(world, candidates, erased(world.due()))


# --- 4 ------------------------------------------------------------------------------------------------------------


class OnlyWhatWasChecked:
    """What goes is what was discovered, less what has been held or renewed since."""

    def test_what_changed_since_discovery(self, world: World) -> None:
        """One record was renewed, one is new, one was removed by others."""
        world.fill()
        due = world.due()
        with closing(world.store()) as store:
            candidates = discover(world, store)
            beside = world.together(5) & due
            world.change(5, RECENT)
            world.insert(Record(70, LONG_AGO, person=1))
            removed = world.remove(16) & due
            done = erase(world, store, candidates)
            said = became(world, store, candidates)
        assert_left(world, world.everybody() - (due - beside - removed))
        assert {n for n, outcome in said.items() if outcome is Outcome.ERASED} == due - beside - removed
        assert said[5] is Outcome.RENEWED
        assert {said[number] for number in removed} == {Outcome.GONE}
        assert done.erased == len(due - beside - removed)
        assert_exact(world, candidates, said)

    def test_other_candidates_than_were_staged_are_refused(self, world: World) -> None:
        world.fill()
        with closing(world.store()) as store:
            candidates = discover(world, store)
            others = [candidates.model_copy(update={"digest": "0" * 64}), candidates.model_copy(update={"batches": 1})]
            for other in others:
                with nothing_touched(world), pytest.raises(DatasetChanged):
                    erase(world, store, other)
            with nothing_touched(world), pytest.raises(DatasetChanged):
                store.erase(world.work(run="another"), candidates, range(1), Gate(world.registry))

    def test_staging_that_was_tampered_with_is_refused(self, world: World) -> None:
        """At the latest by the batch in which it was, and nothing goes that was not checked."""
        world.fill()
        with closing(world.store()) as store:
            candidates = discover(world, store)
            world.insert(Record(70, LONG_AGO, person=1))
            world.tamper(70)
            with pytest.raises(DatasetChanged) as caught:
                erase(world, store, candidates)
        _assert_anonymous(str(caught.value))
        assert not world.everybody() - world.due() - world.left()
        assert 70 in world.left()

    def test_what_is_held_since_and_renewed_since_is_told_apart(self, world: World) -> None:
        world.fill()
        with closing(world.store()) as store:
            candidates = discover(world, store)
            renewed = world.together(12) & world.due()
            world.change(12, RECENT)
            world.registry.place(store, hold_of(4))
            erase(world, store, candidates)
            said = became(world, store, candidates)
        held = {number for number in said if world.records[number].person == 4} - renewed
        assert held
        assert {said[number] for number in held} == {Outcome.HELD}
        assert said[12] is Outcome.RENEWED
        assert_exact(world, candidates, said)


# --- 5 ------------------------------------------------------------------------------------------------------------


class ExactEvidence:
    """What the store says was erased is what was erased, whenever its process died."""

    @pytest.mark.slow
    @pytest.mark.timeout(120)
    def test_a_process_that_is_killed_leaves_the_truth_behind(self, world: World) -> None:
        """Again and again, with a hold placed meanwhile."""
        world.fill()
        with closing(world.store()) as store:
            candidates = discover(world, store)
        for kill in KILLS:
            with processes.erasing(world, candidates, kill, LEASE_SECONDS) as eraser:
                pass
            assert eraser.exitcode == -signal.SIGKILL or kill.after, f"{kill} never came"
            with closing(world.store()) as store:
                world.registry.acknowledge(store)
                _assert_true_so_far(world, store, candidates)
        with closing(world.store()) as store:
            world.registry.place(store, hold_of(1))
            here = {number for number in world.due() & world.left() if world.records[number].person == 1}
            whole = world.intact()  # but for records of several parts, where one was killed in the midst of them
            done = erase(world, store, candidates, gate=Gate(world.registry, LEASE_SECONDS))
        assert here <= world.left()
        assert done.erased + done.held == candidates.due
        gone = world.everybody() - world.left()
        assert whole >= world.everybody() - world.due()
        assert world.intact() == whole - gone, "what stays is as it was when it was held"
        assert gone >= world.due(1)
        assert_exact(world, candidates, {n: _held_or_erased(n, gone) for n in world.due()})

    def test_a_run_that_is_stopped_between_batches_says_what_it_did(self, world: World) -> None:
        """The gate refuses: the run was superseded."""
        world.fill()

        def refuse(number: int) -> None:
            if number:
                raise RunError("superseded")

        with closing(world.store()) as store:
            candidates = discover(world, store)
            with pytest.raises(RunError):
                erase(world, store, candidates, gate=Gate(world.registry, LEASE_SECONDS, before=refuse))
            _assert_true_so_far(world, store, candidates)
            erase(world, store, candidates, gate=Gate(world.registry, LEASE_SECONDS))
        assert_left(world, world.everybody() - world.due())
        assert_exact(world, candidates, erased(world.due()))

    def test_two_workers_at_the_same_batches_count_each_record_once(self, world: World) -> None:
        world.fill()
        with closing(world.store()) as store:
            candidates = discover(world, store)

        def work(_worker: int) -> Became:
            with closing(world.store()) as mine:
                return erase(world, mine, candidates, gate=Gate(world.registry, LEASE_SECONDS))

        with ThreadPoolExecutor(2) as pool:
            said = list(pool.map(work, range(2)))
        assert [one.erased for one in said] == [candidates.due] * 2, "who comes second says what was done"
        assert_left(world, world.everybody() - world.due())
        assert_exact(world, candidates, erased(world.due()))

    def test_what_cannot_be_read_any_more_is_an_error_and_never_zero(self, world: World) -> None:
        world.fill()
        candidates = run_through(world)
        with closing(world.store()) as store:
            store.clean(world.run, world.dataset())
            for read in (
                lambda: store.tally(world.work(), candidates),
                lambda: list(store.outcomes(world.work(), candidates)),
                lambda: erase(world, store, candidates),
            ):
                with pytest.raises(DatasetChanged):
                    read()


def _assert_true_so_far(world: World, store: Store, candidates: Candidates) -> None:
    """What is said to have gone has, what a transaction took is said, and the sums are those of the records."""
    said = became(world, store, candidates)
    tally = store.tally(world.work(), candidates)
    gone = world.everybody() - world.left()
    assert {number for number, outcome in said.items() if outcome is Outcome.ERASED} <= gone
    assert gone <= world.due()
    if world.abilities.binding is Binding.FENCED:
        assert gone <= set(said), "it went, and there is no word of it"
    assert tally.total == len(said)
    assert tally.erased == sum(outcome is Outcome.ERASED for outcome in said.values())


# --- 7 ------------------------------------------------------------------------------------------------------------


class AgainIsHarmless:
    """A run again, or after a crash, erases nothing more than once."""

    def test_erasing_again_says_the_same_and_erases_nothing_more(self, world: World) -> None:
        world.fill()
        due = world.due()
        with closing(world.store()) as store:
            candidates = discover(world, store)
            first = erase(world, store, candidates)
            world.insert(Record(70, LONG_AGO, person=1))
            again = erase(world, store, candidates)
            assert again == first
            assert discover(world, store) == candidates, "once erasing began, what was staged stays"
            assert erase(world, store, candidates, range(1)).total <= candidates.batch_size
        with closing(world.store()) as store:
            assert erase(world, store, candidates) == first
            assert store.tally(world.work(), candidates) == first
        assert_left(world, world.everybody() - due)
        assert_exact(world, candidates, erased(due))

    def test_discovering_again_finds_the_same(self, world: World) -> None:
        world.fill()
        world.registry.commit(hold_of(3))
        with closing(world.store()) as store:
            first, again = discover(world, store), discover(world, store)
            other = store.discover(world.work(run=f"{world.run}-b"), rules(world))
            store.clean(f"{world.run}-b", world.dataset())
            assert first.digest == again.digest == other.digest
            assert (first.due, first.batches) == (again.due, again.batches) == (other.due, other.batches)
            erase(world, store, again)
        assert_left(world, world.everybody() - world.due(3))

    def test_another_run_finds_nothing_more_and_harms_nothing(self, world: World) -> None:
        world.fill()
        first = run_through(world)
        run = world.run
        world.run += "-next"
        second = run_through(world)
        assert (second.due, second.batches) == (0, 0)
        assert_left(world, world.everybody() - world.due())
        with closing(world.store()) as store:
            assert store.tally(world.work(run=run), first).erased == first.due

    def test_batches_in_any_order_and_more_than_once(self, world: World) -> None:
        world.fill()
        with closing(world.store()) as store:
            candidates = discover(world, store)
            parts = [range(number, number + 1) for number in reversed(range(candidates.batches))]
            sums = [erase(world, store, candidates, part) for part in parts]
            assert [erase(world, store, candidates, part) for part in parts] == sums
        assert sum(one.erased for one in sums) == candidates.due
        assert_left(world, world.everybody() - world.due())
        assert_exact(world, candidates, erased(world.due()))


# --- 8 ------------------------------------------------------------------------------------------------------------


class ReallyGone:
    """Old versions, delete markers, rows of children and staging copies count as records."""

    def test_staging_is_cleaned(self, world: World) -> None:
        world.fill()
        run_through(world)
        other = f"{world.run}-b"
        with closing(world.store()) as store:
            store.discover(world.work(run=other), rules(world))
            assert {(world.run, "people"), (other, "people")} <= set(store.staged_runs(world.dataset()))
            store.clean(world.run, world.dataset())
            staged = set(store.staged_runs(world.dataset()))
            assert (world.run, "people") not in staged
            assert (other, "people") in staged, "another run's stays"
            store.clean(other, world.dataset())
            assert (other, "people") not in store.staged_runs(world.dataset())
            store.clean(other, world.dataset())
        assert world.staged() == set()

    def test_nothing_of_a_record_is_left(self, world: World) -> None:
        """No version, no marker, no row of a child; and what only has old ones or markers goes, too."""
        world.fill()
        run_through(world)
        assert_left(world, world.everybody() - world.due())
        with closing(world.store()) as store:
            survey = store.survey(world.work(), rules(world))
            store.clean(world.run, world.dataset())
        assert (survey.expired, survey.total) == (0, len(world.left()))


# --- 9 ------------------------------------------------------------------------------------------------------------


class Bounded:
    """A batch has a limit, whatever the size of the data."""

    def test_batches_are_no_larger_than_the_limit(self, world: World) -> None:
        world.fill()
        with closing(world.store()) as store:
            candidates = discover(world, store)
            if world.abilities.has(Ability.RECORD_BATCHES):
                assert candidates.batch_size <= BATCH
            assert candidates.batches * candidates.batch_size >= candidates.due
            assert candidates.batches > 1
            for number in range(candidates.batches):
                before = world.left()
                done = erase(world, store, candidates, range(number, number + 1))
                gone = before - world.left()
                assert len(gone) == done.erased <= candidates.batch_size
        assert_left(world, world.everybody() - world.due())

    def test_the_holds_are_asked_for_again_for_every_batch(self, world: World) -> None:
        world.fill()
        gate = Gate(world.registry)
        with closing(world.store()) as store:
            candidates = discover(world, store)
            for number in range(candidates.batches):
                asked = gate.asked
                erase(world, store, candidates, range(number, number + 1), gate)
                assert gate.asked > asked


# --- 10 -----------------------------------------------------------------------------------------------------------


class RefuseFirst:
    """What is wrong ends in a message, before anything is touched."""

    def test_a_dataset_that_is_wrong_is_refused(self, world: World) -> None:
        world.fill()
        with closing(world.store()) as store:
            assert [problem for problem in store.check(world.dataset()) if not problem.remark] == []
            with nothing_touched(world):
                for what, dataset in world.wrong().items():
                    problems = [problem for problem in store.check(dataset) if not problem.remark]
                    assert problems, what
                    for problem in problems:
                        assert problem.field, what
                        assert problem.message, what
                        _assert_anonymous(problem.message)

    def test_a_dataset_that_is_of_another_kind_is_refused(self, world: World) -> None:
        world.fill()
        other = world.work(next(one for kind, one in OTHER_KINDS.items() if kind != world.dataset().kind))
        with closing(world.store()) as store, nothing_touched(world):
            for refused in (
                lambda: store.check(other.dataset),
                lambda: store.survey(other, rules(world)),
                lambda: store.discover(other, rules(world)),
            ):
                with pytest.raises(StoreError):
                    refused()

    def test_nothing_goes_before_anything_was_discovered(self, world: World) -> None:
        world.fill()
        with closing(world.store()) as store:
            candidates = discover(world, store)
            store.clean(world.run, world.dataset())
            with nothing_touched(world), pytest.raises(DatasetChanged):
                erase(world, store, candidates)


class Declared:
    """What a store declares that it cannot do, it refuses with its message; all else it does."""

    def test_what_is_lacking_has_a_reason_and_is_refused(self, world: World) -> None:
        world.fill()
        for ability, lack in world.abilities.lacks.items():
            assert lack.reason, ability
            if lack.says:
                with closing(world.store()) as store, nothing_touched(world):
                    for action in (store.survey, store.discover):
                        with pytest.raises((StoreError, ValidationError), match=re.escape(lack.says)):
                            action(_asking(world, ability), rules(world))

    def test_masked_records_stay(self, world: World) -> None:
        if not world.abilities.has(Ability.ANONYMISE):
            return
        world.fill()
        world.registry.commit(hold_of(3))
        due = world.due(3)
        with closing(world.store()) as store:
            work = _asking(world, Ability.ANONYMISE)
            candidates = store.discover(work, rules(world))
            done = store.erase(work, candidates, range(candidates.batches), Gate(world.registry))
            said = {world.number(key): outcome for key, outcome in store.outcomes(work, candidates)}
        assert (done.anonymised, done.total) == (len(due), len(due))
        assert said == dict.fromkeys(due, Outcome.ANONYMISED)
        assert world.left() == world.everybody()
        assert world.intact() == world.everybody() - due

    def test_conditions(self, world: World) -> None:
        """Where: only these are looked at. Keep while: these stay although they have expired."""
        if not world.abilities.has(Ability.CONDITIONS):
            return
        states = ["open", "closed", "test"]
        records = [Record(n, LONG_AGO, state=state) for n, state in enumerate(states * 2)]
        world.fill([*records, Record(9, RECENT)])
        dataset = _asking(world, Ability.CONDITIONS).dataset
        looked_at = [record for record in world.records.values() if record.state != "test"]
        kept = [record for record in looked_at if record.expired and record.state == "open"]
        due = {record.number for record in looked_at if record.expired} - {record.number for record in kept}
        with closing(world.store()) as store:
            work = world.work(dataset)
            survey, candidates = store.survey(work, rules(world)), store.discover(work, rules(world))
            assert (survey.total, survey.kept_on, survey.due) == (len(looked_at), len(kept), len(due))
            assert survey.expired == len(kept) + len(due)
            done = store.erase(work, candidates, range(candidates.batches), Gate(world.registry))
        assert done.erased == len(due)
        assert_left(world, world.everybody() - due)

    def test_periods_by_value(self, world: World) -> None:
        if not world.abilities.has(Ability.PERIODS_BY_VALUE):
            return
        clock = AS_OF - timedelta(days=3 * 365)
        world.fill([Record(n, clock, state=state) for n, state in enumerate(["long", "short", "other", "long"])])
        with closing(world.store()) as store:
            work = _asking(world, Ability.PERIODS_BY_VALUE)
            candidates = store.discover(work, rules(world))
            assert candidates.unjudgeable == {Unjudgeable.NO_PERIOD: 1}
            store.erase(work, candidates, range(candidates.batches), Gate(world.registry))
        assert_left(world, {0, 2, 3})

    def test_on_request(self, world: World) -> None:
        """What is surely one person's goes whenever its period ends, unless it is held; and nothing of anybody else."""
        if not world.abilities.has(Ability.REQUESTS):
            return
        doubtful = [
            Record(50, RECENT, person=3, account_as=f"{CANARY}-A7"),
            Record(51, RECENT, person=3, email_as=f"{CANARY}.p3@example.org; {CANARY}.p7@example.org"),
            Record(52, RECENT, person=3, email_as=f"{CANARY}.p7@example.org"),
        ]
        world.fill(
            [*population(), *doubtful, Record(53, None), Record(54, RECENT, email_as=f" {CANARY}.P4@Example.org")]
        )
        person, last = Held(email=[f"{CANARY}.p3@example.org"], account=[f"{CANARY}-a3"]), date(2020, 1, 31)
        world.registry.ask(person, Held(email=[f"{CANARY}.p4@example.org"]), Held(account=[f"{CANARY}-a6"]))
        world.registry.commit(Held(last=last, email=[f"{CANARY}.p3@example.org"]))
        work = _asking(world, Ability.REQUESTS)
        people = (6,) if _is_of_many(work.dataset, IdentifierType.EMAIL) else (3, 4, 6)  # it is of all whom rows name
        asked = {n for n, one in world.records.items() if one.person in people and n not in (50, 51, 52)}
        held = {n for n in asked if world.records[n].person == 3 and not _after(world.records[n], last)}
        with closing(world.store()) as store:
            survey, candidates = store.survey(work, rules(world)), store.discover(work, rules(world))
            assert (survey.expired, survey.held, survey.unjudgeable) == (len(asked), len(held), {})
            done = store.erase(work, candidates, range(candidates.batches), Gate(world.registry))
            assert done.erased == candidates.due == len(asked) - len(held)
            assert {world.number(key) for key, _ in store.outcomes(work, candidates)} == asked - held
            assert store.survey(work, rules(world)).due == 0
        assert_left(world, world.everybody() - (asked - held))

    def test_a_request_that_is_cancelled_lets_nothing_more_go(self, world: World) -> None:
        """Once that is acknowledged; what had begun before was waited for."""
        if not world.abilities.has(Ability.REQUESTS):
            return
        world.fill([Record(n, RECENT, person=3 if n % 2 else 5) for n in range(4 * BATCH)])
        world.registry.ask(*(Held(account=[f"{CANARY}-a{person}"]) for person in (3, 5)))
        work = _asking(world, Ability.REQUESTS)
        with closing(world.store()) as store, closing(world.store()) as other:
            candidates = store.discover(work, rules(world))
            assert candidates.batches > 2
            store.erase(work, candidates, range(1), Gate(world.registry))
            world.registry.cancel(1)
            world.registry.acknowledge(other)
            kept = {n for n in world.left() if world.records[n].person == 5}
            store.erase(work, candidates, range(candidates.batches), Gate(world.registry))
            said = {world.number(key): outcome for key, outcome in store.outcomes(work, candidates)}
        assert kept, "nobody was left whose request was cancelled"
        assert_left(world, kept)
        assert {said[number] for number in kept} == {Outcome.RENEWED}

    def test_holds_on_what_goes_along(self, world: World) -> None:
        """Rows of child tables carry identifiers, too: who holds by them holds the record."""
        if not world.abilities.has(Ability.CHILDREN):
            return
        world.fill()
        before, since = world.records[4].contact, world.records[7].contact
        world.registry.commit(Held(email=[before]))
        with closing(world.store()) as store:
            candidates = discover(world, store)
            world.registry.place(store, Held(email=[since]))
            erase(world, store, candidates)
        assert candidates.held == 1
        assert_left(world, world.everybody() - (world.due() - {4, 7}))


def _is_of_many(dataset: Dataset, kind: IdentifierType) -> bool:
    """Whether identifiers of a type are in many rows that a record is judged by."""
    return isinstance(dataset, TableDataset) and any(map(dataset.is_of_many, dataset.identifiers[kind]))


def _after(record: Record, day: date) -> bool:
    """Whether its clock is surely after a day."""
    return record.clock is not None and _day(record) > day


def _asking(world: World, ability: Ability) -> Work:  # noqa: PLR0911 - one return an ability
    """Work that needs an ability.

    Raises:
        ValidationError: if the language of policies does not know such a dataset.
    """
    if ability is Ability.ANONYMISE:
        masks = [{"column": "email"}, {"column": "account"}]
        dataset = world.dataset(masks=masks, children=[]) if world.abilities.has(ability) else world.dataset()
        return world.work(dataset, disposition=Disposition.ANONYMISE)
    if ability is Ability.REDACTION:
        masks = [{"column": "email", "with": "redact"}, {"column": "account"}]
        able = world.abilities.has(Ability.ANONYMISE)
        dataset = world.dataset(masks=masks, children=[]) if able else world.dataset()
        return world.work(dataset, disposition=Disposition.ANONYMISE)
    if ability is Ability.REQUESTS:
        return world.work(expiry=Expiry.of_requests(ZONE))
    if ability is Ability.CHILDREN:
        return world.work(world.dataset(children=[{"table": "notes", "foreign_key": ["person"]}]))
    if ability is Ability.RELATED_ROWS:
        owner = {"table": "people", "foreign_key": ["id"], "references": ["id"]}
        return world.work(world.dataset(related={"owner": owner}))
    if ability is Ability.SUPPRESSION:
        return world.work(world.dataset(suppression={"table": "objectors", "column": "email", "from": "email"}))
    if ability is Ability.EVENT_CLOCKS:
        return world.work(world.dataset(clock={"event": "closed", "refers_to": ["account"]}))
    if ability is Ability.CONDITIONS:
        where, keep = {"column": "state", "not_in": ["test"]}, {"column": "state", "in": ["open"]}
        return world.work(world.dataset(where=[where], keep_while=[keep]))
    periods = {"short": "P1Y", "long": "P10Y"}
    cutoffs = {value: cutoff_for(AS_OF, ZONE, Period.parse(text)) for value, text in periods.items()}
    return world.work(expiry=Expiry(zone=ZONE, default=None, column="state", by_value=cutoffs))


# --- 6 ------------------------------------------------------------------------------------------------------------


class NoPersonalData:
    """None in logs, values that travel, or messages."""

    def test_nothing_of_a_record_leaves_the_store(self, world: World) -> None:
        world.fill()
        world.registry.commit(hold_of(3))
        with overheard() as heard, closing(world.store()) as store:
            work, dataset = world.work(), world.dataset()
            candidates = discover(world, store)
            said = [
                store.check(dataset), store.describe(dataset), store.survey(work, rules(world)), candidates,
                store.place(dataset), store.unsearched(dataset, frozenset(IdentifierType)),
                erase(world, store, candidates), store.tally(work, candidates), store.remainders(work),
                store.staged_runs(dataset), store,
            ]  # fmt: skip
            store.clean(world.run, dataset)
            with pytest.raises(DatasetChanged) as caught:
                erase(world, store, candidates)
        for value in [*said, *heard, str(caught.value), repr(caught.value)]:
            _assert_anonymous(value if isinstance(value, str) else repr(value))


def _assert_anonymous(text: str) -> None:
    assert CANARY not in text.lower(), "an identifier of a record is in a message or a value that travels"


@contextmanager
def overheard() -> Iterator[list[str]]:
    """All that is logged in it, by every library at every level, as it would be written."""
    heard: list[str] = []
    handler = logging.Handler(logging.DEBUG)
    handler.emit = lambda record: heard.append(f"{record.name}: {handler.format(record)}")  # type: ignore[method-assign]
    loggers = [
        logging.getLogger(name) for name in ("", "lethe", "sqlalchemy", "sqlalchemy.engine", "botocore", "boto3")
    ]
    levels = [logger.level for logger in loggers]
    loggers[0].addHandler(handler)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    try:
        yield heard
    finally:
        loggers[0].removeHandler(handler)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


PROMISES = (
    NeverEarly,
    NeverHeld,
    NeverSilentlyLate,
    OnlyWhatWasChecked,
    ExactEvidence,
    NoPersonalData,
    AgainIsHarmless,
    ReallyGone,
    Bounded,
    RefuseFirst,
    Declared,
)
"""All classes of the suite."""
