"""Stores that break one promise in one way, to see that the contract suite goes red: what survives is its defect.

A sabotage is a wrapper around any store. It has what it needs of the world: a saboteur may well know the records.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, cast
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from tests.stores.contract import suite
from tests.stores.contract.world import AS_OF, EXPIRY, Record, World
from tests.stores.contract.worlds import Lake, Objects, Tables

from lethe.counts import Became, Found, Outcome
from lethe.errors import DatasetChanged, LetheError, StoreError
from lethe.holds.rules import Asked, ClockRange, HoldRule, HoldRules
from lethe.judging.identifiers import IdentifierType
from lethe.periods import Cutoff, Period, cutoff_for
from lethe.policy import Dataset, Disposition, Expiry, PeriodsByValue
from lethe.stores.base import Candidates, Gate, Problem, Progress, Store, Work, no_progress

_FENCED = [
    f"{name}{what}"
    for name in ("postgresql", "sqlite", "mariadb")
    for what in ("", "-related", "-related-clock", "-many", "-many-clock", "-events")
]
_TABLES = [*_FENCED, "postgresql-leased"]
_PLAIN = ["objects", "objects-by-key", "parquet", "jsonlines"]
_VERSIONED = ["objects-versioned", "objects-versioned-by-key", "parquet-versioned", "jsonlines-gzip-versioned"]

NO_VERSIONS = {
    **dict.fromkeys(_TABLES, "a table has no versions that a store could leave"),
    **dict.fromkeys(_PLAIN, "the bucket keeps no versions"),
}
NO_CHILDREN = dict.fromkeys([*_PLAIN, *_VERSIONED], "nothing goes along with a record")
NO_ORPHANS = NO_CHILDREN | dict.fromkeys(
    [one for one in _TABLES if "sqlite" not in one], "the foreign key forbids rows without their parent"
)
NO_MASKS = dict.fromkeys(NO_CHILDREN, "it cannot mask, and says so")
NO_REQUESTS = dict.fromkeys(NO_CHILDREN, "nothing goes on request, and it says so")
NO_COLUMNS = {kind: "objects have no columns" for kind in NO_CHILDREN if kind.startswith("objects")}
MASKS = dict.fromkeys(_TABLES, "it can mask")
DAYS = {
    kind: "its clocks are days, which are the same in every zone and have no moments"
    for kind in _FENCED
    if "events" in kind
}
FENCED = dict.fromkeys(_FENCED, "it has a lock in place of a lease")


# --- wrappers -----------------------------------------------------------------------------------------------------


@dataclass(repr=False)
class Saboteur:
    """A store that does what another does. What a sabotage overrides is how it breaks its promise.

    Attributes:
        store: the store that keeps its promises.
        world: where it works.
    """

    breaks: ClassVar[tuple[Callable[..., None], ...]] = ()
    """The tests that must go red, each by itself."""
    without: ClassVar[Mapping[str, str]] = {}
    """Kinds of world on which it makes no sense, with the reason."""

    store: Any
    world: World

    def __post_init__(self) -> None:
        self.opened()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the store has
        if name in ("store", "world"):
            raise AttributeError(name)
        return getattr(self.store, name)

    def opened(self) -> None:
        """The store has just been opened."""

    # --- what sabotages use ---

    def note(self, what: str) -> Path:
        """A file by which a sabotage remembers something of this run, also in another process."""
        self.world.registry.folder.mkdir(parents=True, exist_ok=True)
        return self.world.registry.folder / f"{self.world.run}.{what}"

    def first(self, wanted: Callable[[Record], bool]) -> int:
        """A record that is there still."""
        return min(n for n in self.world.left() if n in self.world.records and wanted(self.world.records[n]))

    # --- the protocol, as far as sabotages change it ---

    def check(self, dataset: Dataset, by_value: PeriodsByValue | None = None) -> list[Problem]:
        return cast("list[Problem]", self.store.check(dataset, by_value))

    def survey(self, work: Work, holds: HoldRules) -> Found:
        return cast("Found", self.store.survey(work, holds))

    def discover(self, work: Work, holds: HoldRules, progress: Progress = no_progress) -> Candidates:
        return cast("Candidates", self.store.discover(work, holds, progress))

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        return cast("Became", self.store.erase(work, candidates, batches, gate, progress))

    def outcomes(self, work: Work, candidates: Candidates) -> Iterator[tuple[bytes, Outcome]]:
        return cast("Iterator[tuple[bytes, Outcome]]", self.store.outcomes(work, candidates))

    def tally(self, work: Work, candidates: Candidates) -> Became:
        return cast("Became", self.store.tally(work, candidates))

    def close(self) -> None:
        self.store.close()

    def __repr__(self) -> str:
        return repr(self.store)


@dataclass
class Watching:
    """A gate with something done to it.

    Attributes:
        gate: the gate.
        seen: what is done to the rules that it gives.
        lease_seconds: how long it says that a lease lasts.
    """

    gate: Gate
    seen: Callable[[HoldRules], HoldRules] = lambda rules: rules
    lease_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.lease_seconds = self.lease_seconds or self.gate.lease_seconds

    def current(self) -> HoldRules:
        return self.seen(self.gate.current())

    @contextmanager
    def lease(self) -> Iterator[HoldRules]:
        with self.gate.lease() as rules:
            yield self.seen(rules)


class Early(Watching):
    """A gate that nobody waits at: what it lets through goes on when a hold has long been acknowledged."""

    seconds = 1.0

    def current(self) -> HoldRules:
        rules = super().current()
        time.sleep(self.seconds)
        return rules

    @contextmanager
    def lease(self) -> Iterator[HoldRules]:
        with super().lease() as rules:
            pass
        time.sleep(self.seconds)
        yield rules


class Rules(Saboteur):
    """Sees other holds than there are."""

    def seen(self, rules: HoldRules) -> HoldRules:
        raise NotImplementedError

    def survey(self, work: Work, holds: HoldRules) -> Found:
        return super().survey(work, self.seen(holds))

    def discover(self, work: Work, holds: HoldRules, progress: Progress = no_progress) -> Candidates:
        return super().discover(work, self.seen(holds), progress)

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        return super().erase(work, candidates, batches, Watching(gate, self.seen), progress)


class Works(Saboteur):
    """Works by another expiry than the policy's."""

    def other(self, work: Work) -> Work:
        raise NotImplementedError

    def survey(self, work: Work, holds: HoldRules) -> Found:
        return super().survey(self.other(work), holds)

    def discover(self, work: Work, holds: HoldRules, progress: Progress = no_progress) -> Candidates:
        return super().discover(self.other(work), holds, progress)

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        return super().erase(self.other(work), candidates, batches, gate, progress)


class After(Saboteur):
    """Does something once it has erased."""

    def after(self, work: Work, candidates: Candidates) -> None:
        raise NotImplementedError

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        done = super().erase(work, candidates, batches, gate, progress)
        self.after(work, candidates)
        return done


SABOTAGES: dict[str, type[Saboteur]] = {}


def sabotage(
    *breaks: Callable[..., None], without: Mapping[str, str] | None = None
) -> Callable[[type[Saboteur]], type[Saboteur]]:
    """Register a sabotage: the tests that must go red, and where it makes no sense."""

    def register(kind: type[Saboteur]) -> type[Saboteur]:
        kind.breaks, kind.without = breaks, without or {}
        SABOTAGES[kind.__name__] = kind
        return kind

    return register


# --- 1: early -----------------------------------------------------------------------------------------------------


def _moved(work: Work, by: timedelta) -> Work:
    default = cast("Cutoff", work.expiry.default)
    moved = Cutoff((default.instant + by).astimezone(work.expiry.zone).date(), default.instant + by)
    return replace(work, expiry=replace(work.expiry, default=moved))


_EARLY, _NEVER_LATE = suite.NeverEarly, suite.NeverSilentlyLate


@sabotage(_EARLY.test_what_goes_has_expired_by_the_local_day, without=DAYS)
class JudgesInUtc(Works):
    """Counts days as UTC has them."""

    def other(self, work: Work) -> Work:
        cutoff = cutoff_for(AS_OF, ZoneInfo("UTC"), Period.parse("P18M"))
        return replace(work, expiry=replace(work.expiry, default=cutoff))


@sabotage(_EARLY.test_what_goes_has_expired_by_the_local_day, without=DAYS)
class TakesTheCutoffItself(Works):
    """Erases records whose clock is the cutoff: one moment early."""

    def other(self, work: Work) -> Work:
        return _moved(work, timedelta(seconds=1))


@sabotage(_EARLY.test_its_clock_shows_the_time)
class SaysALaterTime(Saboteur):
    """Tells another time than it is."""

    def clock(self, _dataset: Dataset) -> datetime:
        return datetime.now(UTC) + timedelta(hours=12)


@sabotage(_EARLY.test_every_form_of_clock_says_the_same)
class ADayEarly(Works):
    """Is off by one day."""

    def other(self, work: Work) -> Work:
        return _moved(work, timedelta(days=1))


@sabotage(_EARLY.test_another_as_of_moment_has_another_cutoff)
class KnowsOneCutoff(Works):
    """Judges by the cutoff of today, whatever the run says."""

    def other(self, work: Work) -> Work:
        return replace(work, expiry=EXPIRY)


@sabotage(suite.OnlyWhatWasChecked.test_what_changed_since_discovery)
class IgnoresRenewal(After):
    """Erases what has been written again since."""

    def after(self, work: Work, candidates: Candidates) -> None:
        for key, outcome in list(self.store.outcomes(work, candidates)):
            if outcome is Outcome.RENEWED and self.world.number(key) in self.world.left():
                self.world.take(self.world.number(key))


@sabotage(_EARLY.test_what_goes_has_expired_by_the_local_day)
class OneMore(After):
    """Erases one record more."""

    def after(self, work: Work, candidates: Candidates) -> None:
        self.world.take(self.first(lambda record: record.judgeable and not record.expired))


@sabotage(_EARLY.test_what_goes_has_expired_by_the_local_day)
class MeddlesWithWhatStays(After):
    """Changes what a record says that stays."""

    def after(self, work: Work, candidates: Candidates) -> None:
        self.world.spoil(self.first(lambda record: not record.expired))


@sabotage(suite.NeverSilentlyLate.test_what_cannot_be_judged_is_counted_and_stays)
class ErasesWhatHasNoClock(After):
    """Takes no clock for the oldest of all."""

    def after(self, work: Work, candidates: Candidates) -> None:
        for number in self.world.left():
            if not self.world.records[number].judgeable:
                self.world.take(number)
                return


# --- 2: held ------------------------------------------------------------------------------------------------------


@sabotage(suite.NeverHeld.test_held_before)
class ForgetsTheLastHold(Rules):
    """Reads one hold too few."""

    def seen(self, rules: HoldRules) -> HoldRules:
        return replace(rules, rules=rules.rules[:-1])


@sabotage(suite.NeverHeld.test_days_since_discovery)
class HoldsOfDiscovery(Saboteur):
    """Erases by the holds that there were when it discovered."""

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        def seen(rules: HoldRules) -> HoldRules:
            return replace(rules, rules=tuple(r for r in rules.rules if r.version <= candidates.holds_version))

        return super().erase(work, candidates, batches, Watching(gate, seen), progress)


@sabotage(suite.NeverHeld.test_held_between_batches)
class ReadsTheHoldsOnce(Saboteur):
    """Asks the gate for the first batch, and believes that for all."""

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        memory: list[HoldRules] = self.__dict__.setdefault("_memory", [])

        def seen(rules: HoldRules) -> HoldRules:
            memory.append(rules)
            return memory[0]

        return super().erase(work, candidates, batches, Watching(gate, seen), progress)


@sabotage(suite.NeverHeld.test_held_between_discovering_and_erasing)
class KnowsNoNewHold(Rules):
    """Sees only the holds that were there when the store was opened: another process placed the rest."""

    def opened(self) -> None:
        self._version = self.world.registry.rules().version

    def seen(self, rules: HoldRules) -> HoldRules:
        return replace(rules, rules=tuple(rule for rule in rules.rules if rule.version <= self._version))


@sabotage(suite.NeverHeld.test_released_it_goes_with_the_next_run)
class KnowsNoRelease(Rules):
    """Keeps to a hold for ever."""

    def seen(self, rules: HoldRules) -> HoldRules:
        memory = self.world.registry.folder / "ever"
        memory.mkdir(parents=True, exist_ok=True)
        if rules:
            (memory / "held").touch()
        if not (memory / "held").exists():
            return rules
        return replace(rules, rules=(HoldRule("h", "m", rules.version, everything=True),))


@sabotage(suite.NeverHeld.test_a_hold_is_not_acknowledged_while_a_batch_goes_on_without_it)
class CommitsAfterItWasSettled(Saboteur):
    """Lets holds be acknowledged while a batch that has read the holds before goes on."""

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        return super().erase(work, candidates, batches, Early(gate), progress)

    def settle(self, datasets: Sequence[Dataset], timeout: float) -> None:
        """Wait for nothing."""


@sabotage(
    suite.NeverHeld.test_a_process_that_is_stopped_in_a_batch_cannot_outrun_a_hold,
    without=FENCED
    | {"postgresql-leased": "a batch's row names the attempt that may erase it, which is another by then"},
)
class OutrunsItsLease(Saboteur):
    """Sends requests that S3 takes long after the lease has run out."""

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        return super().erase(work, candidates, batches, Watching(gate, lease_seconds=600.0), progress)


class _Respelled(Rules):
    def keeps(self, text: str) -> bool:
        raise NotImplementedError

    def seen(self, rules: HoldRules) -> HoldRules:
        return replace(rules, rules=tuple(self._respelled(rule) for rule in rules.rules))

    def _respelled(self, rule: HoldRule) -> HoldRule:
        def load() -> Mapping[IdentifierType, list[str]]:
            return {kind: [text for text in texts if self.keeps(text)] for kind, texts in rule.load().items()}

        return replace(rule, load=load)


@sabotage(suite.NeverHeld.test_held_before)
class KnowsNoAccounts(Rules):
    """Looks for addresses only."""

    def seen(self, rules: HoldRules) -> HoldRules:
        return rules.naming(frozenset({IdentifierType.EMAIL}))


@sabotage(suite.Declared.test_holds_on_what_goes_along, without=NO_CHILDREN)
class ForgetsWhoGoesAlong(_Respelled):
    """Does not look at identifiers that only rows of children carry."""

    def keeps(self, text: str) -> bool:
        return ".n" not in text


@sabotage(suite.NeverHeld.test_held_before)
class CaseSensitiveHolds(After):
    """Holds what is spelled as the hold is, and lets go what is in capitals."""

    def after(self, work: Work, candidates: Candidates) -> None:
        held = {
            n
            for n in self.world.left()
            if n in self.world.records and self.world.records[n].expired and self.world.records[n].email.isupper()
        }
        for number in sorted(held):
            if number in self.world.left():
                self.world.take(number)


@sabotage(suite.NeverHeld.test_however_somebody_wrote_it)
class KnowsOneSpelling(After):
    """Holds what is written as holds are, and lets go what is written otherwise."""

    def after(self, work: Work, candidates: Candidates) -> None:
        number = self.first(lambda record: record.expired and bool(record.email_as or record.account_as))
        self.world.take(number)


@sabotage(suite.NeverHeld.test_days_and_people_and_days)
class KnowsNoDays(Rules):
    """Passes over holds on days."""

    def seen(self, rules: HoldRules) -> HoldRules:
        return replace(rules, rules=tuple(rule for rule in rules.rules if rule.clock == ClockRange()))


@sabotage(suite.NeverHeld.test_days_and_people_and_days)
class TooFewDays(Rules):
    """Leaves out the first and the last days of a hold."""

    def seen(self, rules: HoldRules) -> HoldRules:
        return replace(rules, rules=tuple(replace(rule, clock=_narrower(rule.clock)) for rule in rules.rules))


def _narrower(clock: ClockRange) -> ClockRange:
    month = timedelta(days=40)
    return ClockRange(clock.first and clock.first + month, clock.last and clock.last - month)


@sabotage(suite.NeverHeld.test_everything)
class KnowsNoHoldOnEverything(Rules):
    """Passes over holds that name nobody."""

    def seen(self, rules: HoldRules) -> HoldRules:
        return replace(rules, rules=tuple(rule for rule in rules.rules if not rule.everything))


@sabotage(suite.NeverHeld.test_held_before, without=NO_CHILDREN)
class ErasesChildrenOfHeld(After):
    """Erases rows that go along with a record that is held."""

    def after(self, work: Work, candidates: Candidates) -> None:
        world = cast("Tables", self.world)
        _, notes = world.tables()
        held = [n for n in world.left() if world.records[n].expired]
        with world.engine.begin() as connection:
            connection.execute(sa.delete(notes).where(notes.c.person.in_(held)))


# --- 3: late ------------------------------------------------------------------------------------------------------


@sabotage(_NEVER_LATE.test_every_candidate_has_an_outcome)
class StopsEarly(Saboteur):
    """Leaves out the last batch, and says nothing."""

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        return super().erase(work, candidates, range(batches.start, batches.stop - 1), gate, progress)


@sabotage(_NEVER_LATE.test_what_is_found_is_what_is_there)
class ADayLate(Works):
    """Lets the last day of a period go by."""

    def other(self, work: Work) -> Work:
        return _moved(work, timedelta(days=-1))


class _Counts(Saboteur):
    def counted(self, found: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def survey(self, work: Work, holds: HoldRules) -> Found:
        return Found.model_validate(self.counted(super().survey(work, holds).model_dump()))


@sabotage(_NEVER_LATE.test_what_is_forecast_is_what_a_later_survey_counts)
class ForecastsWhatIsHeld(Saboteur):
    """Counts what holds keep among what will be due."""

    def forecast(self, work: Work, holds: HoldRules, others: Sequence[Expiry]) -> tuple[Found, tuple[int, ...]]:
        later = (self.store.survey(replace(work, expiry=expiry), holds) for expiry in others)
        return self.survey(work, holds), tuple(found.due + found.held for found in later)


@sabotage(_NEVER_LATE.test_what_cannot_be_judged_is_counted_and_stays)
class SkipsWhatItCannotJudge(_Counts):
    """Passes over clocks that it cannot read, silently."""

    def counted(self, found: dict[str, Any]) -> dict[str, Any]:
        return {**found, "unjudgeable": {}}


@sabotage(_NEVER_LATE.test_what_is_left_of_a_run_is_seen)
class SaysThatNothingIsDue(_Counts):
    """Says after every run that all is well."""

    def counted(self, found: dict[str, Any]) -> dict[str, Any]:
        return {**found, "expired": found["held"] + found["kept_on"]}


@sabotage(_NEVER_LATE.test_what_is_found_is_what_is_there)
class CountsNoHeld(_Counts):
    """Does not count what is held."""

    def counted(self, found: dict[str, Any]) -> dict[str, Any]:
        return {**found, "held": 0, "expired": found["expired"] - found["held"]}


@sabotage(_NEVER_LATE.test_what_is_found_is_what_is_there)
class HoldsEverybody(Rules):
    """Takes a hold on somebody for a hold on all."""

    def seen(self, rules: HoldRules) -> HoldRules:
        return replace(rules, rules=tuple(replace(rule, everything=True) for rule in rules.rules))


# --- 4: what was checked ------------------------------------------------------------------------------------------


_CHECKED = suite.OnlyWhatWasChecked


def _another_run(store: Saboteur, work: Work, gate: Gate, suffix: str = "-s") -> None:
    """Discover and erase as another run, and leave no staging of it."""
    other = replace(work, run=f"{work.run}{suffix}")
    found = store.store.discover(other, store.world.registry.rules())
    store.store.erase(other, found, range(found.batches), gate)
    store.store.clean(other.run, other.dataset)


@sabotage(_CHECKED.test_what_changed_since_discovery)
class ErasesWhatCameLater(Saboteur):
    """Erases what has expired, also what came after it was checked."""

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        done = super().erase(work, candidates, batches, gate, progress)
        _another_run(self, work, gate)
        return done


@sabotage(_CHECKED.test_staging_that_was_tampered_with_is_refused)
class TrustsStaging(Saboteur):
    """Does not look whether what is staged is what was discovered: it goes on with what there is."""

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        try:
            return super().erase(work, candidates, batches, gate, progress)
        except DatasetChanged:
            _another_run(self, work, gate)
            return Became(erased=candidates.due)


@sabotage(_CHECKED.test_other_candidates_than_were_staged_are_refused)
class TrustsItsCaller(Saboteur):
    """Erases what is staged, whatever was approved."""

    def discover(self, work: Work, holds: HoldRules, progress: Progress = no_progress) -> Candidates:
        found = super().discover(work, holds, progress)
        self.note("staged").write_text(found.model_dump_json())
        return found

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        staged = Candidates.model_validate_json(self.note("staged").read_text())
        return super().erase(work, staged, batches, gate, progress)


@sabotage(_CHECKED.test_what_changed_since_discovery)
class CountsGoneAsErased(Saboteur):
    """Says that it erased what others had removed."""

    def outcomes(self, work: Work, candidates: Candidates) -> Iterator[tuple[bytes, Outcome]]:
        for key, outcome in super().outcomes(work, candidates):
            yield key, Outcome.ERASED if outcome is Outcome.GONE else outcome


@sabotage(_CHECKED.test_what_is_held_since_and_renewed_since_is_told_apart)
class SaysRenewedOfHeld(Saboteur):
    """Has one word for all that stays."""

    def outcomes(self, work: Work, candidates: Candidates) -> Iterator[tuple[bytes, Outcome]]:
        for key, outcome in super().outcomes(work, candidates):
            yield key, Outcome.RENEWED if outcome is Outcome.HELD else outcome


# --- 5: exact -----------------------------------------------------------------------------------------------------


_EXACT = suite.ExactEvidence


@sabotage(_EXACT.test_a_process_that_is_killed_leaves_the_truth_behind)
class CountsTwiceAfterAKill(Saboteur):
    """Adds up again what was counted before a process of its died, in every later one."""

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        began, died = self.note("began"), self.note("died")
        if began.exists():
            died.touch()
        began.touch()
        done = super().erase(work, candidates, batches, gate, progress)
        began.unlink()
        return done + done if died.exists() else done


@sabotage(_EXACT.test_a_run_that_is_stopped_between_batches_says_what_it_did)
class SaysSoBeforehand(Saboteur):
    """Writes down that all was erased, and then begins."""

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        self.note("said").touch()
        return super().erase(work, candidates, batches, gate, progress)

    def tally(self, work: Work, candidates: Candidates) -> Became:
        done = super().tally(work, candidates)
        return Became(erased=candidates.due) if self.note("said").exists() else done


@sabotage(_NEVER_LATE.test_every_candidate_has_an_outcome)
class CountsFromMemory(Saboteur):
    """Adds up in the process what the store should say."""

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        done = super().erase(work, candidates, batches, gate, progress)
        self._sum = self.__dict__.get("_sum", Became()) + done
        return done

    def tally(self, work: Work, candidates: Candidates) -> Became:
        return cast("Became", self.__dict__.get("_sum", Became()))


@sabotage(_EXACT.test_what_cannot_be_read_any_more_is_an_error_and_never_zero)
class ZeroWhereNothingIsStaged(Saboteur):
    """Takes staging that is gone for nothing done."""

    def tally(self, work: Work, candidates: Candidates) -> Became:
        try:
            return super().tally(work, candidates)
        except StoreError:
            return Became()


@sabotage(_EXACT.test_what_cannot_be_read_any_more_is_an_error_and_never_zero)
class NoOutcomesWhereNothingIsStaged(Saboteur):
    """Has no outcomes where they cannot be read."""

    def outcomes(self, work: Work, candidates: Candidates) -> Iterator[tuple[bytes, Outcome]]:
        try:
            yield from super().outcomes(work, candidates)
        except StoreError:
            return


@sabotage(_EXACT.test_a_run_that_is_stopped_between_batches_says_what_it_did)
class SwallowsErrors(Saboteur):
    """Ends well, whatever went wrong."""

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        try:
            return super().erase(work, candidates, batches, gate, progress)
        except LetheError:
            return self.tally(work, candidates)


@sabotage(_EXACT.test_two_workers_at_the_same_batches_count_each_record_once)
class SaysNothingOfOthersWork(Saboteur):
    """Gives back nothing for what another process has done."""

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        mine = self.note("worker")
        try:
            mine.touch(exist_ok=False)
            first = True
        except FileExistsError:
            first = False
        done = super().erase(work, candidates, batches, gate, progress)
        return done if first else Became()


@sabotage(_NEVER_LATE.test_every_candidate_has_an_outcome)
class LosesAnOutcome(Saboteur):
    """Has no word of the last record."""

    def outcomes(self, work: Work, candidates: Candidates) -> Iterator[tuple[bytes, Outcome]]:
        yield from list(super().outcomes(work, candidates))[:-1]


@sabotage(_NEVER_LATE.test_every_candidate_has_an_outcome)
class SaysItTwice(Saboteur):
    """Has two outcomes of the first record."""

    def outcomes(self, work: Work, candidates: Candidates) -> Iterator[tuple[bytes, Outcome]]:
        found = list(super().outcomes(work, candidates))
        yield from [*found[:1], *found]


# --- 7: again -----------------------------------------------------------------------------------------------------


_AGAIN = suite.AgainIsHarmless


@sabotage(_AGAIN.test_erasing_again_says_the_same_and_erases_nothing_more)
class ErasesMoreTheSecondTime(Saboteur):
    """Looks anew for what has expired when it erases again."""

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        again = self.store.tally(work, candidates).total == candidates.due
        done = super().erase(work, candidates, batches, gate, progress)
        if again:
            _another_run(self, work, gate)
        return done


@sabotage(_AGAIN.test_erasing_again_says_the_same_and_erases_nothing_more)
class CountsAgain(Saboteur):
    """Counts what was done before as done again."""

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        before: Became = self.store.tally(work, candidates)
        return before + super().erase(work, candidates, batches, gate, progress)


@sabotage(_AGAIN.test_erasing_again_says_the_same_and_erases_nothing_more)
class DiscoversAnew(Saboteur):
    """Stages anew although erasing has begun."""

    def discover(self, work: Work, holds: HoldRules, progress: Progress = no_progress) -> Candidates:
        self.store.clean(work.run, work.dataset)
        return super().discover(work, holds, progress)


@sabotage(_AGAIN.test_discovering_again_finds_the_same)
class AnotherDigestEachTime(Saboteur):
    """Has a digest that depends on more than the set."""

    def discover(self, work: Work, holds: HoldRules, progress: Progress = no_progress) -> Candidates:
        found = super().discover(work, holds, progress)
        count = len(list(self.world.registry.folder.glob("*.discovered")))
        self.note(f"{work.run}-{count}.discovered").write_text(found.digest)
        return found.model_copy(update={"digest": f"{count:064}"})


@sabotage(_AGAIN.test_another_run_finds_nothing_more_and_harms_nothing)
class ResurrectsRecords(Saboteur):
    """Brings a record back when the next run discovers."""

    def discover(self, work: Work, holds: HoldRules, progress: Progress = no_progress) -> Candidates:
        gone = sorted(n for n in self.world.due() - self.world.left() if n < 1000)
        if gone:
            self.world.add(self.world.records[gone[0]])
        return super().discover(work, holds, progress)


# --- 8: gone ------------------------------------------------------------------------------------------------------


_GONE = suite.ReallyGone


@sabotage(_GONE.test_staging_is_cleaned)
class LeavesStaging(Saboteur):
    """Does not remove what it staged."""

    def clean(self, run: str, dataset: Dataset) -> None:
        """Nothing."""


@sabotage(_GONE.test_staging_is_cleaned)
class CleansForOthers(Saboteur):
    """Removes what all runs staged."""

    def clean(self, run: str, dataset: Dataset) -> None:
        for each, name in self.store.staged_runs(dataset):
            if name == dataset.name:
                self.store.clean(each, dataset)


@sabotage(_GONE.test_staging_is_cleaned)
class HidesStaging(Saboteur):
    """Does not say what is staged."""

    def staged_runs(self, dataset: Dataset) -> list[tuple[str, str]]:
        return []


@sabotage(_GONE.test_nothing_of_a_record_is_left, without=NO_VERSIONS)
class LeavesAnOldVersion(After):
    """Hides a record under a delete marker, and calls that erased."""

    def after(self, work: Work, candidates: Candidates) -> None:
        world = cast("Objects | Lake", self.world)
        number = min(world.due() - world.left())
        world.add(world.records[number])
        world.client.delete_object(Bucket=world.bucket, Key=world.key_of(number))


@sabotage(_GONE.test_nothing_of_a_record_is_left, without=NO_VERSIONS)
class LeavesAMarker(After):
    """Leaves a delete marker, which has the name of the record."""

    def after(self, work: Work, candidates: Candidates) -> None:
        world = cast("Objects | Lake", self.world)
        gone = min(world.due() - world.left())
        world.client.delete_object(Bucket=world.bucket, Key=world.key_of(gone))


@sabotage(_GONE.test_nothing_of_a_record_is_left, without=NO_ORPHANS)
class LeavesAChild(After):
    """Leaves a row of a child table behind."""

    def after(self, work: Work, candidates: Candidates) -> None:
        world = cast("Tables", self.world)
        _, notes = world.tables()
        gone = min(world.due() - world.left())
        with world.engine.begin() as connection:
            connection.execute(sa.insert(notes), {"id": gone, "person": gone})


# --- 9: bounded ---------------------------------------------------------------------------------------------------


@sabotage(suite.Bounded.test_batches_are_no_larger_than_the_limit)
class BatchesWithoutALimit(Saboteur):
    """Does all that is left in the first batch."""

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        return super().erase(work, candidates, range(batches.start, candidates.batches), gate, progress)


@sabotage(suite.Bounded.test_batches_are_no_larger_than_the_limit)
class OneBatchForAll(Saboteur):
    """Cuts nothing into batches."""

    def discover(self, work: Work, holds: HoldRules, progress: Progress = no_progress) -> Candidates:
        found = super().discover(work, holds, progress)
        return found.model_copy(update={"batches": 1})


@sabotage(suite.Bounded.test_the_holds_are_asked_for_again_for_every_batch)
class AsksOnce(Saboteur):
    """Asks for the holds of the first batch only."""

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        rules = self.__dict__.setdefault("_rules", None)
        if rules is None:
            rules = self._rules = gate.current()
            return super().erase(work, candidates, batches, gate, progress)
        return super().erase(work, candidates, batches, _Deaf(rules, gate.lease_seconds), progress)


@dataclass
class _Deaf:
    """A gate that asks nobody."""

    rules: HoldRules
    lease_seconds: float

    def current(self) -> HoldRules:
        return self.rules

    @contextmanager
    def lease(self) -> Iterator[HoldRules]:
        yield self.rules


# --- 10: refuse ---------------------------------------------------------------------------------------------------


@sabotage(suite.RefuseFirst.test_a_dataset_that_is_wrong_is_refused)
class SaysThatAllIsWell(Saboteur):
    """Finds no problem."""

    def check(self, dataset: Dataset, by_value: PeriodsByValue | None = None) -> list[Problem]:
        return []


@sabotage(suite.RefuseFirst.test_a_dataset_that_is_wrong_is_refused)
class TouchesFirst(Saboteur):
    """Tries its rights on a record."""

    def check(self, dataset: Dataset, by_value: PeriodsByValue | None = None) -> list[Problem]:
        self.world.take(self.first(lambda _: True))
        return super().check(dataset, by_value)


@sabotage(suite.RefuseFirst.test_a_dataset_that_is_of_another_kind_is_refused)
class TakesAnyKind(Saboteur):
    """Takes a dataset of another kind for an empty one."""

    def survey(self, work: Work, holds: HoldRules) -> Found:
        try:
            return super().survey(work, holds)
        except StoreError:
            return Found(total=0, expired=0, held=0)


@sabotage(suite.Declared.test_what_is_lacking_has_a_reason_and_is_refused, without=MASKS)
class ErasesInPlaceOfMasking(Works):
    """Does what it can where it is asked for what it cannot."""

    def other(self, work: Work) -> Work:
        return replace(work, disposition=Disposition.ERASE)


@sabotage(suite.Declared.test_masked_records_stay, without=NO_MASKS)
class MasksByErasing(Works):
    """Erases what is to be masked."""

    def other(self, work: Work) -> Work:
        return replace(work, disposition=Disposition.ERASE, dataset=self.world.dataset())


@sabotage(suite.Declared.test_conditions, without=NO_COLUMNS)
class KeepsNothingOn(Works):
    """Passes over keep_while."""

    def other(self, work: Work) -> Work:
        return replace(work, dataset=work.dataset.model_copy(update={"keep_while": ()}))


@sabotage(suite.Declared.test_a_request_that_is_cancelled_lets_nothing_more_go, without=NO_REQUESTS)
class HonoursACancelledRequest(Saboteur):
    """Goes by the requests of when it discovered."""

    def discover(self, work: Work, holds: HoldRules, progress: Progress = no_progress) -> Candidates:
        self.__dict__["asked"] = holds.asked
        return super().discover(work, holds, progress)

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        return super().erase(
            work, candidates, batches, _Stubborn(gate, self.__dict__["asked"], gate.lease_seconds), progress
        )


@dataclass
class _Stubborn:
    """A gate whose requests are those of before."""

    gate: Gate
    asked: tuple[Asked, ...]
    lease_seconds: float

    def current(self) -> HoldRules:
        return replace(self.gate.current(), asked=self.asked)

    @contextmanager
    def lease(self) -> Iterator[HoldRules]:
        with self.gate.lease() as rules:
            yield replace(rules, asked=self.asked)


@sabotage(suite.Declared.test_on_request, without=NO_REQUESTS)
class ErasesAnothersRecord(Saboteur):
    """Takes somebody for the person who asks."""

    def survey(self, work: Work, holds: HoldRules) -> Found:
        return super().survey(work, self._with_another(holds))

    def discover(self, work: Work, holds: HoldRules, progress: Progress = no_progress) -> Candidates:
        return super().discover(work, self._with_another(holds), progress)

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        asked = self._with_another(gate.current()).asked
        return super().erase(work, candidates, batches, _Stubborn(gate, asked, gate.lease_seconds), progress)

    def _with_another(self, holds: HoldRules) -> HoldRules:
        named = {IdentifierType.ACCOUNT: ["canary-a7"]}
        return replace(holds, asked=(*holds.asked, Asked("another", lambda: named))) if holds.asked else holds


# --- 6: personal data ---------------------------------------------------------------------------------------------


_SILENT = suite.NoPersonalData


@sabotage(_SILENT.test_nothing_of_a_record_leaves_the_store)
class LogsAnIdentifier(After):
    """Logs whose record it was."""

    def after(self, work: Work, candidates: Candidates) -> None:
        logging.getLogger("lethe").debug("erased %s", self.world.records[0].email)


@sabotage(_SILENT.test_nothing_of_a_record_leaves_the_store)
class QuotesInErrors(Saboteur):
    """Quotes a row in an error."""

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        try:
            return super().erase(work, candidates, batches, gate, progress)
        except StoreError as error:
            raise type(error)(f"{error}: {self.world.records[0].account}") from None


@sabotage(_SILENT.test_nothing_of_a_record_leaves_the_store)
class ShowsItselfWithRecords(Saboteur):
    """Has records in how it is shown."""

    def __repr__(self) -> str:
        return f"a store of {[record.email for record in self.world.records.values()]}"


# --- worlds -------------------------------------------------------------------------------------------------------


class Sabotaged:
    """A world whose stores break a promise. All else is the world's."""

    def __init__(self, world: World, sabotage: str) -> None:
        self.__dict__.update(world=world, sabotage=sabotage)

    def store(self) -> Store:
        """A store that breaks a promise; none where there is no name."""
        wrap = SABOTAGES[self.sabotage] if self.sabotage else Saboteur
        return cast("Store", wrap(self.world.store(), self.world))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the world has
        if name.startswith("__") or name == "world":
            raise AttributeError(name)
        return getattr(self.world, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.world, name, value)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def sabotaged(world: World, sabotage: str) -> World:
    """The world with stores that break a promise."""
    return cast("World", Sabotaged(world, sabotage))
