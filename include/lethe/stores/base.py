"""What every store can do, and the plain values that go in and come out.

A store finds, erases and counts records. It is given cutoffs and hold rules and knows nothing of how a policy words
them, of DAGs or of evidence. All that it returns is free of personal data: counts, digests, dates and references.
Values that travel between tasks are pydantic models, so that they pass through JSON unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from lethe.counts import Became, Found, Outcome, Unjudgeable
from lethe.errors import StoreError
from lethe.holds.rules import HoldRule, HoldRules
from lethe.judging.identifiers import IdentifierType
from lethe.judging.keys import KeyColumn
from lethe.judging.recognising import ColumnSeen
from lethe.periods import EVER
from lethe.policy import ChildTable, Dataset, Disposition, Expiry, Identifiers, PeriodsByValue, RowDataset
from lethe.stores.abilities import Abilities, Ability


class Value(BaseModel):
    """Base of the values that travel between tasks."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Problem(Value):
    """Something that keeps a dataset from being worked on, found by `Store.check`; or a remark, which does not."""

    field: str = Field(description="The field of the dataset, such as `clock.column`.")
    message: str
    remark: bool = Field(default=False, description="Worth knowing (a cost, a trigger); nothing is refused for it.")


class Place(Value):
    """Where records really are, whatever connection and name lead there: two datasets can be compared by it.

    Names below a root have a hierarchy like paths, so that one rule serves all stores: two places have records in
    common if they are below one root and a name in one begins with a name in the other. Names that have nothing below
    them end in a slash.
    """

    root: str = Field(description="What is the same for whoever leads there: a server's database, a bucket.")
    records: tuple[str, ...] = Field(description="What has the dataset's records: tables by identity, a prefix.")
    along: tuple[str, ...] = Field(default=(), description="What has rows that go along with them: child tables.")

    def meets(self, other: Place) -> bool:
        """Whether records of both are in one place."""
        return self._common(other, self.records, other.records)

    def goes_along(self, other: Place) -> bool:
        """Whether rows that go along with the records of one are records of the other, or go along there too."""
        return self._common(other, self.along, (*other.records, *other.along)) or self._common(
            other, self.records, other.along
        )

    def _common(self, other: Place, mine: tuple[str, ...], theirs: tuple[str, ...]) -> bool:
        return self.root == other.root and any(
            one.startswith(two) or two.startswith(one) for one in mine for two in theirs
        )


class FieldSchema(Value):
    """A column, for lineage."""

    name: str
    type: str


class Description(Value):
    """A dataset as lineage names it (https://openlineage.io/docs/spec/naming)."""

    namespace: str
    name: str
    fields: tuple[FieldSchema, ...] = ()
    judged_by: Mapping[str, Description] = Field(
        default_factory=dict, description="What else its records are judged by: the related rows' tables, by name."
    )
    suppression: Description | None = Field(
        default=None, description="The suppression list that values of its records go onto when these are erased."
    )


class Candidates(Found):
    """The expired records of a dataset as one run found them, and the reference to those of them that it staged.

    `digest` stands for the very set: SHA-256 over what is to be erased, in an order that does not depend on how it is
    stored. `batches` ranges of at most `batch_size` records each are what `Store.erase` is called with.
    """

    reference: str = Field(description="Where the candidates are staged; for the store only.")
    batches: int = Field(ge=0)
    batch_size: int = Field(gt=0)
    digest: str
    holds_version: int = Field(description="The version of the hold registry that `held` was judged by.")
    in_order: bool = Field(
        default=False, description="Records refer to others of them: batches go one after the other, not beside it."
    )
    key: tuple[KeyColumn, ...] = Field(default=(), description="The columns of a record's key, for naming one.")


class Remainder(Value):
    """What is not yet physically gone after erasing (snapshots, dead tuples, backups), and until when at the latest."""

    what: str
    gone_by: date | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """One dataset in one run: all that a store needs to know.

    Attributes:
        run: the run's id; lower-case letters, digits and hyphens.
        category: for names of what is staged.
        dataset: tables or prefixes, key, clock, identifiers.
        expiry: the cutoffs.
        as_of: the moment that the cutoffs were worked out for, timezone-aware.
        disposition: erase or anonymise.
    """

    run: str
    category: str
    dataset: Dataset
    expiry: Expiry
    as_of: datetime
    disposition: Disposition = Disposition.ERASE


class Gate(Protocol):
    """How a store learns, for every batch, which holds are in force; see docs/hold-gate.md for the argument."""

    def current(self) -> HoldRules:
        """The rules in force for the dataset, read from the registry now.

        A store whose batches are transactions calls this inside the transaction, after taking the store's own gate
        lock (shared), and keeps that lock until commit or rollback. Cheap where nothing changed: one read.

        Raises:
            RunError: if the run was superseded, and must not erase anything more.
        """
        ...

    def lease(self) -> AbstractContextManager[HoldRules]:
        """For stores without transactions: a bounded time in which requests may be sent, judged by the given rules.

        Placing a hold waits until every lease taken before is given back or has run out, so no request may outlive the
        lease: requests within it need time-outs that sum up to less than `lease_seconds`.
        """
        ...

    lease_seconds: float


Progress = Callable[[int], None]
"""Told how many more records have been dealt with."""


def no_progress(_records: int) -> None:
    """Progress that nobody watches."""


class Store(Protocol):
    """A warehouse or bucket that holds datasets, bound to one connection. Safe to use from one thread."""

    @property
    def abilities(self) -> Abilities:
        """What it can do beyond what every store can, and why it cannot do the rest."""
        ...

    def check(self, dataset: Dataset, by_value: PeriodsByValue | None = None) -> list[Problem]:
        """Whether the dataset is what its policy says: tables, columns, types, keys, rights; and remarks.

        `by_value` is what the policy's retention says of a column, which then has to be there.
        """
        ...

    def place(self, dataset: Dataset) -> Place:
        """Where the dataset's records really are, for finding others that are in the same place."""
        ...

    def unsearched(self, dataset: Dataset, kinds: Set[IdentifierType]) -> tuple[str, ...]:
        """Where identifiers of some types seem to be that nothing declares, so that no hold finds a record by them.

        Names of tables and columns, in words.
        """
        ...

    def clock(self, dataset: Dataset) -> datetime | None:
        """What the clock of the store shows (timezone-aware), or a little less; None: it has none but this machine's.

        Raises:
            StoreUnavailable, StoreError: if it does not answer.
        """
        ...

    def describe(self, dataset: Dataset) -> Description:
        """The dataset's name and schema for lineage."""
        ...

    def survey(self, work: Work, holds: HoldRules) -> Found:
        """Count what is expired, held and unjudgeable now, without staging anything. Used by `due` and `verify`."""
        ...

    def discover(self, work: Work, holds: HoldRules, progress: Progress = no_progress) -> Candidates:
        """Find and stage the candidates. Again for the same run: replaces what was staged, unless erasing began."""
        ...

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        """Erase (or anonymise) the batches `batches.start` to `batches.stop - 1`, each exactly once.

        Every batch re-checks clock and holds in the statement or request that erases, and commits its outcome with
        it. A batch that has an outcome already is not done again; its outcome is returned.

        Raises:
            DatasetChanged: if what is staged is not what `candidates.digest` stands for.
            StoreUnavailable, StoreError, RunError.
        """
        ...

    def outcomes(self, work: Work, candidates: Candidates) -> Iterator[tuple[bytes, Outcome]]:
        """The record-level outcomes of all batches that have one: (key of the record, outcome).

        The key is `judging.keys.record_key` of its values: the same for a record in every run. It is personal data, is
        only ever digested, and never leaves the process in clear.
        """
        ...

    def tally(self, work: Work, candidates: Candidates) -> Became:
        """The sum of the committed outcomes of all batches, read from the store.

        Raises:
            DatasetChanged: if what was staged is gone or cannot be read: that is never zero.
        """
        ...

    def remainders(self, work: Work) -> tuple[Remainder, ...]:
        """What the store keeps of erased records for a while."""
        ...

    def staged_runs(self, dataset: Dataset) -> list[tuple[str, str]]:
        """(run, dataset name) of everything that is staged where a dataset's runs stage: also what others staged there.

        For cleaning up after crashes. Only that place is looked at, which the dataset and its connection name.
        """
        ...

    def clean(self, run: str, dataset: Dataset) -> None:
        """Remove what was staged for a dataset of a run. Harmless where there is nothing."""
        ...

    def settle(self, datasets: Sequence[Dataset], timeout: float) -> None:
        """Leave nothing in doubt of what was begun before in these datasets of the store (part of placing a hold).

        Where a batch is a transaction, every one that is under way has ended. Stores that work under leases are asked
        when those are over: what may be carried out still, also by a process that was killed, is ended, or found done.

        Raises:
            StoreUnavailable: if that takes longer than `timeout` seconds, or the store does not answer.
            StoreError: if the store refuses.
        """
        ...

    def close(self) -> None:
        """Give back connections."""
        ...


class TableProposal(Value):
    """What a dataset of a table could say, by what the database says of the table."""

    key: tuple[str, ...]
    clocks: tuple[str, ...] = Field(description="Columns that hold moments or days.")
    identifiers: Identifiers
    children: tuple[ChildTable, ...]
    remarks: tuple[str, ...] = Field(default=(), description="What somebody has to decide.")


@runtime_checkable
class ProposesDatasets(Protocol):
    """A store whose catalogue says enough of a table to begin a policy with."""

    def propose(self, table: str) -> TableProposal:
        """What a dataset of a table could say.

        Raises:
            StoreError: if there is no such table, or it cannot be a dataset.
            StoreUnavailable: if the store does not answer.
        """
        ...


class TableSeen(Value):
    """A table of a store, whether a policy has it or not; `root` and `id` are as in `Place`."""

    root: str
    id: str
    name: str
    columns: tuple[ColumnSeen, ...]
    sampled: bool = Field(default=True, description="Whether its rows could be read; else its names and types say all.")


@runtime_checkable
class ListsTables(Protocol):
    """A store whose catalogue says what else there is."""

    def overview(self, sample: int) -> tuple[TableSeen, ...]:
        """All tables, with what a sample of so many rows of each looks like. No value leaves the store.

        Raises:
            StoreError, StoreUnavailable: if a table cannot be read.
        """
        ...


@runtime_checkable
class ListsPrefixes(Protocol):
    """A store that can look through a bucket."""

    def look_through(self, bucket: str, datasets: Sequence[str], sample: int) -> tuple[TableSeen, ...]:
        """What lies below none of the prefixes, a table for each folder. No value leaves the store.

        Raises:
            StoreError, StoreUnavailable: if the bucket cannot be looked through.
        """
        ...


@runtime_checkable
class Forecasts(Protocol):
    """A store that judges by several cutoffs while it reads a dataset once."""

    def forecast(self, work: Work, holds: HoldRules, others: Sequence[Expiry]) -> tuple[Found, tuple[int, ...]]:
        """`survey`, and what is due by other cutoffs of the same policy, of which the last is the latest of all."""
        ...


def forecast(store: Store, work: Work, holds: HoldRules, others: Sequence[Expiry]) -> tuple[Found, tuple[int, ...]]:
    """What a dataset has now, and how many unheld records of it are due by other cutoffs of the same policy.

    Args:
        store: that of the dataset.
        work: the dataset, with the cutoffs of now.
        holds: those in force now.
        others: earlier or later ones; none is later than the last.

    Raises:
        StoreUnavailable, StoreError: as `Store.survey`.
    """
    if isinstance(store, Forecasts):
        return store.forecast(work, holds, others)
    due = tuple(store.survey(replace(work, expiry=expiry), holds).due for expiry in others)
    return store.survey(work, holds), due


class Going(Value):
    """What goes with one of several runs, on a store that nothing else changes."""

    records: int = Field(default=0, ge=0)
    rows_along: int = Field(default=0, ge=0, description="Rows of child tables that go along with these.")


@runtime_checkable
class Simulates(Protocol):
    """A store of which the runs to come can be known exactly, if nothing else changes it."""

    def simulate(self, work: Work, holds: HoldRules, steps: Sequence[Expiry]) -> tuple[Going, ...]:
        """What expires by each of some cutoffs, and by none before, of what no hold covers now; see `simulate`."""
        ...


def simulate(store: Store, work: Work, holds: HoldRules, steps: Sequence[Expiry]) -> tuple[Going, ...]:
    """What each of several runs to come will find due, if each erases what it finds and nothing else changes.

    Args:
        store: that of the dataset.
        work: the dataset.
        holds: those in force now; none is placed or released meanwhile.
        steps: the cutoffs of the runs, in their order: none is earlier than those before it.

    Raises:
        StoreUnavailable, StoreError: as `Store.survey`; also where the kind of store cannot be simulated exactly.
    """
    if not isinstance(store, Simulates):
        raise StoreError(
            f"{work.dataset.name}: rows in files cannot be simulated: which earlier versions of a file go, and when, "
            "depends on how each run finds them. `lethe survey` counts what is due within 1, 7, 30 and 90 days"
        )
    further = [n for n, step in enumerate(steps) if n == 0 or step != steps[n - 1]]
    found = store.simulate(work, holds, [steps[n] for n in further]) if steps else ()
    by_step = dict(zip(further, found, strict=True))
    return tuple(by_step.get(n, Going()) for n in range(len(steps)))


class ClocksFound(Value):
    """The clocks of those of a person's records that have one period."""

    named: str | None = Field(default=None, description="Which of the policy's by_value periods; None: that of others.")
    first: date = Field(description="The earliest local day.")
    last: date


class PersonFound(Value):
    """What a dataset has of one person, expired or not, in records. But for days of clocks, nothing of its values."""

    records: int = Field(ge=0)
    undated: int = Field(default=0, ge=0, description="Of these: without a clock that can be read, or not yet.")
    expired: int = Field(default=0, ge=0, description="Of these: expired, those held or kept on included.")
    kept_on: int = Field(default=0, ge=0, description="Of the expired: those that a keep_while condition keeps.")
    held: int = Field(default=0, ge=0, description="Of these: those that a hold covers, expired or not.")
    clocks: tuple[ClocksFound, ...] = Field(default=(), description="Of those with a clock, where the store says them.")
    unsearched: int = Field(default=0, ge=0, description="Further records that could not be looked at.")


@runtime_checkable
class FindsPeople(Protocol):
    """A store that finds all records of a person, also those without a clock, and says what their clocks are."""

    def find_person(self, work: Work, person: HoldRules, holds: HoldRules) -> PersonFound:
        """All records that a hold on the person would find; see `find_person`."""
        ...


def find_person(store: Store, work: Work, person: HoldRules, holds: HoldRules) -> PersonFound:
    """What a dataset has of one person. Errs towards finding, as a hold does.

    Args:
        store: that of the dataset.
        work: the dataset, with the cutoffs of now.
        person: what a hold on the person's identifiers, and no other condition, would be.
        holds: those in force, with the events that the dataset is judged by.

    Raises:
        StoreUnavailable, StoreError: as `Store.survey`.
    """
    if isinstance(store, FindsPeople):
        return store.find_person(work, person, holds)
    return _PersonCounted(store, work, replace(holds, rules=()), person.rules, holds.rules).found


@dataclass(frozen=True)
class _PersonCounted:
    """A person's records in a store that only surveys: what is held by some rules is counted, and compared."""

    store: Store
    work: Work
    none: HoldRules
    person: tuple[HoldRule, ...]
    holds: tuple[HoldRule, ...]

    @property
    def found(self) -> PersonFound:
        ever = replace(self.work, dataset=_not_kept_on(self.work.dataset), expiry=_ever(self.work.expiry))
        by_store = self.store.survey(ever, self.none)
        either = self._held(ever, self.person)
        records = either - by_store.held
        unsearched = by_store.total - by_store.expired  # without a clock that can be read, or not yet
        if not records:
            return PersonFound(records=0, unsearched=unsearched)
        expired = self._of_person(replace(ever, expiry=self.work.expiry))
        both = either + self._held(ever, self.holds) - self._held(ever, (*self.person, *self.holds))
        return PersonFound(
            records=records,
            expired=expired,
            kept_on=expired - self._of_person(self.work),
            held=both,  # what the store itself keeps is among these
            unsearched=unsearched,
        )

    def _of_person(self, work: Work) -> int:
        return self._held(work, self.person) - self._held(work, ())

    def _held(self, work: Work, rules: tuple[HoldRule, ...]) -> int:
        return self.store.survey(work, replace(self.none, rules=rules)).held


def _ever(expiry: Expiry) -> Expiry:
    return replace(expiry, default=EVER, column=None, by_value={})


def _not_kept_on(dataset: Dataset) -> Dataset:
    return dataset.model_copy(update={"keep_while": ()}) if isinstance(dataset, RowDataset) else dataset


class RecordFound(Value):
    """What one record is by a run's judgement. But for the day of its clock, nothing of its values is in it."""

    in_scope: bool = Field(default=True, description="Whether it is of the dataset, or perhaps is.")
    anonymised: bool = Field(default=False, description="Whether it has every mask's value already.")
    unjudgeable: tuple[Unjudgeable, ...] = Field(default=(), description="Why it cannot be judged.")
    day: date | None = Field(default=None, description="The local day of its clock, where that can be read.")
    expired: bool = False
    kept_on: tuple[str, ...] = Field(default=(), description="Columns of the keep_while conditions that keep it.")
    held: tuple[str, ...] = Field(default=(), description="The ids of the holds that cover it.")
    kept_by_store: bool = Field(default=False, description="Whether the store itself keeps it (Object Lock).")
    named: str | None = Field(default=None, description="Which of the policy's by_value periods it has; None: others.")


@runtime_checkable
class ExplainsRecords(Protocol):
    """A store that finds a record by its key without reading the others."""

    def explain(self, work: Work, holds: HoldRules, key: Sequence[str]) -> RecordFound | None:
        """One record by the values of its key, as somebody writes them; None where it is not there.

        Judged by what a run judges by, but one record; also the holds of one that has not expired.

        Raises:
            StoreUnavailable, StoreError: also if the key has other columns, or a value can be none of its column. No
                message has a value.
        """
        ...


def covering(holds: HoldRules, covers: Callable[[HoldRules], bool]) -> tuple[str, ...]:
    """The ids of the holds that cover a record, asked for by halves: most cover none.

    Args:
        holds: all of them.
        covers: whether any of some covers the record.
    """
    rules = holds.rules
    if not rules or not covers(holds):
        return ()
    if len(rules) == 1:
        return (rules[0].hold,)
    middle = len(rules) // 2
    halves = (replace(holds, rules=rules[:middle]), replace(holds, rules=rules[middle:]))
    return tuple(dict.fromkeys(hold for half in halves for hold in covering(half, covers)))


@runtime_checkable
class NamesKeepers(Protocol):
    """A store that can say what keeps records which are blocked."""

    def kept_by(self, work: Work, candidates: Candidates) -> tuple[str, ...]:
        """What keeps them, in words: constraints, triggers. Names, never values."""
        ...


def require_able(work: Work, abilities: Abilities) -> None:
    """Refuse work that a store declares it cannot do.

    Raises:
        StoreError: saying what, and why.
    """
    asked = {
        Ability.ANONYMISE: work.disposition is Disposition.ANONYMISE,
        Ability.PERIODS_BY_VALUE: work.expiry.column is not None,
        Ability.REQUESTS: work.expiry.on_request,
    }
    for ability, is_asked in asked.items():
        if is_asked and (lack := abilities.lack(ability)) is not None:
            raise StoreError(f"{work.dataset.name}: {lack.says}: {lack.reason}")
