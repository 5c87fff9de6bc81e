"""What a store brings to the contract suite: a `World`, which makes records and sees them without the store.

A further store needs one subclass of `World`. Records are neutral values; the world writes them as its engine has
them, tells which are left by looking for itself, and never asks the store under test.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tests.stores.contract.registry import Held, Registry

from lethe.periods import Period, cutoff_for
from lethe.policy import Dataset, Expiry
from lethe.stores.abilities import Abilities, ClockForm
from lethe.stores.base import Store, Work

ZONE = ZoneInfo("Europe/Prague")
AS_OF = datetime(2026, 11, 21, 2, 15, tzinfo=UTC)
EXPIRY = Expiry(zone=ZONE, default=cutoff_for(AS_OF, ZONE, Period.parse("P18M")))
CUTOFF = datetime(2025, 5, 21, tzinfo=ZONE)
"""The first moment that has not expired by `EXPIRY`: 2025-05-20 22:00 in UTC."""
PEOPLE = 10
BATCH = 10
"""Records of a batch, as the connection says."""
CANARY = "canary"
"""In every identifier of every record, and nowhere else."""


@dataclass(frozen=True)
class Record:
    """One record, as no engine has it.

    Attributes:
        number: which one.
        clock: a moment; text that is no moment; or nothing.
        state: for conditions.
        person: whose it is; by its number where left out.
        email_as: its address as somebody wrote it, in place of a plain one.
        account_as: the same of its account.
    """

    number: int
    clock: datetime | str | None
    state: str = "closed"
    person: int = -1
    email_as: str = ""
    account_as: str = ""

    def __post_init__(self) -> None:
        if self.person < 0:
            object.__setattr__(self, "person", self.number % PEOPLE)

    @property
    def email(self) -> str:
        """The address that it carries, not always written as holds are."""
        text = f"{CANARY}.p{self.person}@example.org"
        return self.email_as or (text.upper() if self.number % 3 == 0 else text)

    @property
    def account(self) -> str:
        """The account that it carries."""
        return self.account_as or f"{CANARY}-A{self.person}"

    @property
    def contact(self) -> str:
        """An address that only what goes along with the record carries, where a store has such rows."""
        return f"{CANARY}.n{self.number}@Example.org"

    @property
    def expired(self) -> bool:
        """Whether its period has ended at `AS_OF`."""
        return isinstance(self.clock, datetime) and self.clock < CUTOFF

    @property
    def judgeable(self) -> bool:
        """Whether it has a clock."""
        return isinstance(self.clock, datetime)


def hold_of(*people: int, first: date | None = None, last: date | None = None) -> Held:
    """A hold on people by their addresses, in a spelling of its own."""
    return Held(email=[f" {CANARY.title()}.P{person}@Example.ORG" for person in people], first=first, last=last)


def population() -> list[Record]:
    """Some of everything: long and just expired, recent, just not expired, also by the day of UTC, and without a clock.

    Every person has records that have expired and some that have not.
    """
    old = [Record(n, datetime(2019, 1, 1, 12, tzinfo=UTC) + timedelta(days=37 * n)) for n in range(20)]
    new = [Record(n, datetime(2025, 6, 1, 12, tzinfo=UTC) + timedelta(days=11 * n)) for n in range(20, 30)]
    second = timedelta(seconds=1)
    edge = [
        Record(30, CUTOFF - second),
        Record(31, CUTOFF),
        Record(32, CUTOFF + timedelta(minutes=30)),  # still the day before in UTC
        Record(33, CUTOFF + timedelta(hours=2) - second),
        Record(34, CUTOFF + timedelta(hours=23)),
    ]
    return [*old, *new, *edge, Record(35, None), Record(36, None)]


@dataclass
class World(ABC):
    """A place with records, and a store for it.

    Attributes:
        name: of the kind of world, for tests.
        abilities: those that the store declares.
        folder: for the registry.
        form: the form of clocks that the engine has by itself.
        clock_changes: whether a record can come to have another clock; if not, it is only written anew.
        filling: another name for each filling.
        run: the run's id; another for each filling.
        records: the truth, by number.
    """

    name: str
    folder: Path
    form: ClockForm = ClockForm.MOMENT
    clock_changes: bool = True
    filling: str = ""
    run: str = "run"
    records: dict[int, Record] = field(default_factory=dict)

    # --- what a world has to say ---

    @property
    @abstractmethod
    def abilities(self) -> Abilities:
        """What the store says that it can do."""

    @abstractmethod
    def store(self) -> Store:
        """Another store for the place, with batches of `BATCH` records. Whoever takes it closes it."""

    @abstractmethod
    def write(self, records: Iterable[Record], form: ClockForm) -> None:
        """Make the place anew, with these records."""

    @abstractmethod
    def dataset(self, **changes: Any) -> Dataset:  # noqa: ANN401 - fields of a policy
        """The dataset of what was written, with changes.

        Raises:
            ValidationError: if the language of policies does not know such a dataset.
        """

    @abstractmethod
    def left(self) -> set[int]:
        """The numbers of the records of which anything is left: a row, a version, a marker, a row of a child."""

    @abstractmethod
    def intact(self) -> set[int]:
        """The numbers of the records that are wholly as they were written last."""

    @abstractmethod
    def number(self, key: bytes) -> int:
        """The record of a key that `Store.outcomes` gave."""

    @abstractmethod
    def rewrite(self, record: Record) -> None:
        """Replace the record of that number."""

    @abstractmethod
    def add(self, record: Record) -> None:
        """Write a further record."""

    @abstractmethod
    def take(self, number: int) -> None:
        """Remove a record, and those that are stored together with it, as somebody else would."""

    @abstractmethod
    def staged(self) -> set[str]:
        """Names of what is in the place beside the records."""

    @abstractmethod
    def spoil(self, number: int) -> None:
        """Change what a record says, behind the world's back, as only a store does that meddles."""

    @abstractmethod
    def tamper(self, number: int) -> None:
        """Change what is staged for the run so that a record would go that was not: this one, where that can be."""

    @abstractmethod
    def wrong(self) -> Mapping[str, Dataset]:
        """Datasets that are not as they are declared, by what is wrong with them."""

    def together(self, number: int) -> set[int]:
        """The records that are stored together with one, so that a change of it is one of all."""
        return {number}

    # --- what every world does ---

    def fill(self, records: Iterable[Record] | None = None, form: ClockForm | None = None) -> None:
        """Put records in place of what is there, release all holds, and begin another run."""
        self.records = {record.number: record for record in (population() if records is None else records)}
        self.filling = secrets.token_hex(4)
        self.run = f"run-{self.filling}"
        self.write(list(self.records.values()), form or self.form)
        self.registry = Registry(self.folder / self.filling, self.dataset())

    def change(self, number: int, clock: datetime) -> None:
        """Give a record another clock, or write it anew where its clock is its name."""
        old = self.records[number]
        record = replace(old, clock=clock) if self.clock_changes else old
        self.rewrite(record)
        self.records[number] = record

    def insert(self, record: Record) -> None:
        """Add a record."""
        self.add(record)
        self.records[record.number] = record

    def remove(self, number: int) -> set[int]:
        """Remove a record, and those that are stored together with it; gives their numbers."""
        gone = self.together(number)
        self.take(number)
        for each in gone:
            del self.records[each]
        return gone

    def work(self, dataset: Dataset | None = None, *, run: str = "", expiry: Expiry = EXPIRY, **options: Any) -> Work:  # noqa: ANN401
        """The work of the run."""
        return Work(
            run or self.run, "contract", dataset or self.dataset(), expiry, options.pop("as_of", AS_OF), **options
        )

    def due(self, *held: int) -> set[int]:
        """What has to go while these people are held."""
        return {n for n, record in self.records.items() if record.expired and record.person not in held}

    def everybody(self) -> set[int]:
        """All records."""
        return set(self.records)
