"""A store that Lethe does not come with: records in one JSON file, replaced as a whole. As small as may be.

Replacing the file is its transaction: a batch's outcomes are in the same file as the records that are left. A lock on
another file is held from reading the holds until then, and who places a hold waits for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from tests.stores.contract.world import BATCH, Record, World

from lethe.counts import Became, Found, Outcome, Unjudgeable
from lethe.errors import DatasetChanged, StoreError, StoreUnavailable
from lethe.holds.rules import HoldRules
from lethe.judging.dates import TimestampFormat, day_of, read
from lethe.judging.identifiers import IdentifierType, keys, names
from lethe.policy import Dataset, PeriodsByValue, TableDataset
from lethe.stores.abilities import Abilities, Ability, Binding, ClockForm, Lack, When
from lethe.stores.base import (
    Candidates,
    Description,
    Gate,
    Place,
    Problem,
    Progress,
    Remainder,
    Work,
    no_progress,
    require_able,
)

_POLL_SECONDS = 0.002
_LOCK_SECONDS = 20.0


class Judged(NamedTuple):
    """A record as it is judged: its number, the day of its clock or why there is none, and what is to become of it."""

    key: str
    day: date | None
    reason: Unjudgeable | None
    expired: bool
    held: bool


class FolderStore:
    """The file of records in a folder."""

    abilities: ClassVar[Abilities] = Abilities(
        binding=Binding.FENCED,
        clocks=frozenset({ClockForm.TEXT}),
        lacks={
            Ability.ANONYMISE: Lack(When.NOT_YET, "nobody asked for it", "records cannot be anonymised"),
            Ability.REDACTION: Lack(When.NOT_YET, "nobody asked for it", "records cannot be anonymised"),
            Ability.CHILDREN: Lack(When.NEVER, "records do not refer to each other", "no children"),
            Ability.RELATED_ROWS: Lack(When.NEVER, "there is one file", "no related rows"),
            Ability.SUPPRESSION: Lack(When.NOT_YET, "nobody asked for it", "no suppression list"),
            Ability.EVENT_CLOCKS: Lack(When.NOT_YET, "nobody asked for it", "no events"),
            Ability.CONDITIONS: Lack(When.NOT_YET, "nobody asked for it", "no conditions"),
            Ability.PERIODS_BY_VALUE: Lack(When.NOT_YET, "nobody asked for it", "no periods by value"),
            Ability.REQUESTS: Lack(When.NOT_YET, "nobody asked for it", "records cannot go on request"),
        },
    )

    def __init__(self, folder: Path) -> None:
        self._file, self._lock = folder / "records.json", folder / "lock"

    # --- what is there ---

    def check(self, dataset: Dataset, by_value: PeriodsByValue | None = None) -> list[Problem]:
        """Whether the records have the fields that are named."""
        table = _table(dataset)
        named = {
            "key": table.key,
            "clock": table.clock.columns,
            **{f"identifiers.{kind}": columns for kind, columns in table.identifiers.items()},
        }
        known = {name for row in self._read()["records"].values() for name in row}
        found = [Problem(field="table", message=f"no {table.table} here")] if table.table != "people" else []
        return found + [
            Problem(field=field, message=f"no record has {name!r}")
            for field, names in named.items()
            for name in names
            if name not in known
        ]

    def place(self, dataset: Dataset) -> Place:
        """The file."""
        return Place(root=f"file:{self._file}", records=(f"{_table(dataset).table}/",))

    def unsearched(self, dataset: Dataset, kinds: Set[IdentifierType]) -> tuple[str, ...]:
        """Nothing goes along."""
        return ()

    def clock(self, dataset: Dataset) -> datetime | None:
        """None but this machine's."""
        return None

    def describe(self, dataset: Dataset) -> Description:
        """The file's name."""
        return Description(namespace="file", name=_table(dataset).table)

    def remainders(self, work: Work) -> tuple[Remainder, ...]:
        """Nothing is kept."""
        return ()

    def survey(self, work: Work, holds: HoldRules) -> Found:
        """Count."""
        return _found(self._judged(work, holds, self._read()["records"]))

    def _judged(self, work: Work, holds: HoldRules, records: Mapping[str, Any]) -> list[Judged]:
        dataset = _table(work.dataset)
        require_able(work, self.abilities)
        asked: dict[Ability, object] = {
            Ability.CHILDREN: dataset.children,
            Ability.RELATED_ROWS: dataset.related,
            Ability.CONDITIONS: dataset.where or dataset.keep_while,
            Ability.SUPPRESSION: dataset.suppression,
            Ability.EVENT_CLOCKS: dataset.clock.event,
        }
        for ability, value in asked.items():
            if value:
                raise StoreError(f"{dataset.name}: {self.abilities.lacks[ability].says}")
        return [_judge(work, dataset, holds, key, row) for key, row in records.items()]

    # --- a run ---

    def discover(self, work: Work, holds: HoldRules, progress: Progress = no_progress) -> Candidates:
        """Stage the numbers of what is due."""
        with self._locked():
            state = self._read()
            judged = self._judged(work, holds, state["records"])
            staged = state["staged"].get(_name(work.run, work.dataset))
            if staged and staged["done"]:
                return Candidates.model_validate(staged["candidates"])
            due = [one.key for one in judged if one.expired and not one.held]
            candidates = Candidates(
                **_found(judged).model_dump(),
                reference=work.run,
                batches=-(-len(due) // BATCH),
                batch_size=BATCH,
                digest=_digest(due),
                holds_version=holds.version,
            )
            state["staged"][_name(work.run, work.dataset)] = {
                "candidates": candidates.model_dump(mode="json"),
                "due": due,
                "done": {},
            }
            self._write(state)
        progress(len(judged))
        return candidates

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        """Erase batches, each by replacing the file."""
        total = Became()
        for number in batches:
            done = self._batch(work, candidates, number, gate)
            progress(done.total)
            total += done
            time.sleep(5 * _POLL_SECONDS)  # whoever places a hold gets the lock
        return total

    def _batch(self, work: Work, candidates: Candidates, number: int, gate: Gate) -> Became:
        with self._locked():
            state = self._read()
            staged = self._staged(state, work, candidates)
            if str(number) not in staged["done"]:
                part = staged["due"][number * BATCH : (number + 1) * BATCH]
                rows = {key: state["records"][key] for key in part if key in state["records"]}
                judged = self._judged(work, gate.current(), rows)
                became = dict.fromkeys(part, Outcome.GONE) | {one.key: _outcome(one) for one in judged}
                for key, outcome in became.items():
                    if outcome is Outcome.ERASED:
                        del state["records"][key]
                staged["done"][str(number)] = became
                self._write(state)
            return Became.of(Counter(Outcome(one) for one in staged["done"][str(number)].values()))

    def _staged(self, state: dict[str, Any], work: Work, candidates: Candidates) -> dict[str, Any]:
        staged: dict[str, Any] | None = state["staged"].get(_name(work.run, work.dataset))
        if (
            staged is None
            or Candidates.model_validate(staged["candidates"]) != candidates
            or _digest(staged["due"]) != candidates.digest
        ):
            raise DatasetChanged(f"{work.dataset.name}: what is staged is not what was discovered; discover again")
        return staged

    def outcomes(self, work: Work, candidates: Candidates) -> Iterator[tuple[bytes, Outcome]]:
        """What became of each record."""
        for became in self._staged(self._read(), work, candidates)["done"].values():
            yield from ((key.encode(), Outcome(outcome)) for key, outcome in became.items())

    def tally(self, work: Work, candidates: Candidates) -> Became:
        """The sum of it."""
        return Became.of(Counter(outcome for _, outcome in self.outcomes(work, candidates)))

    # --- staging, holds ---

    def staged_runs(self, dataset: Dataset) -> list[tuple[str, str]]:
        """What is in the file beside the records."""
        names = (name.split(" ") for name in self._read()["staged"])
        return [(run, name) for run, name in names]

    def clean(self, run: str, dataset: Dataset) -> None:
        """Remove it."""
        with self._locked():
            state = self._read()
            state["staged"].pop(_name(run, dataset), None)
            self._write(state)

    def settle(self, datasets: Sequence[Dataset], timeout: float) -> None:
        """Wait for the lock."""
        del datasets
        with self._locked(timeout):
            pass

    def close(self) -> None:
        """Nothing is open."""

    # --- the file ---

    @contextmanager
    def _locked(self, timeout: float = _LOCK_SECONDS) -> Iterator[None]:
        deadline = time.monotonic() + timeout
        with self._lock.open("a") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StoreUnavailable("another process has the file; try again") from None
                time.sleep(_POLL_SECONDS)
            yield

    def _read(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self._file.read_text())
        return state

    def _write(self, state: dict[str, Any]) -> None:
        draft = self._file.with_suffix(".draft")
        draft.write_text(json.dumps(state))
        draft.replace(self._file)


def _judge(work: Work, dataset: TableDataset, holds: HoldRules, key: str, row: Mapping[str, Any]) -> Judged:
    text, zone, cutoff = row.get(dataset.clock.columns[0]), work.expiry.zone, work.expiry.default
    if text is None or cutoff is None:
        return Judged(key, None, Unjudgeable.NO_CLOCK, expired=False, held=False)
    moment = read(text, TimestampFormat.ISO_8601)
    if moment is None:
        return Judged(key, None, Unjudgeable.UNPARSABLE_CLOCK, expired=False, held=False)
    day = day_of(moment, zone, zone)
    exact = isinstance(moment, datetime) and moment.tzinfo is not None
    expired = moment < cutoff.instant if exact else day < cutoff.day
    return Judged(key, day, None, expired, _is_held(dataset, holds, row, day))


def _is_held(dataset: TableDataset, holds: HoldRules, row: Mapping[str, Any], day: date) -> bool:
    for rule in holds.rules:
        columns = [(kind, name) for kind, given in dataset.identifiers.items() for name in given]
        carried = {(kind, key) for kind, name in columns for key in keys(kind, row[name])}
        named = {(kind, name) for kind, texts in rule.load().items() for text in texts for name in names(kind, text)}
        if rule.clock.contains(day) and (rule.everything or carried & named):
            return True
    return False


def _outcome(judged: Judged) -> Outcome:
    if not judged.expired:
        return Outcome.RENEWED
    return Outcome.HELD if judged.held else Outcome.ERASED


def _found(judged: Iterable[Judged]) -> Found:
    every = list(judged)
    expired = [one for one in every if one.expired]
    due = [one.day for one in expired if not one.held and one.day]
    return Found(
        total=len(every),
        expired=len(expired),
        held=sum(one.held for one in expired),
        unjudgeable=Counter(one.reason for one in every if one.reason),
        oldest=min(due, default=None),
    )


def _digest(keys: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()


def _name(run: str, dataset: Dataset) -> str:
    return f"{run} {dataset.name}"


def _table(dataset: Dataset) -> TableDataset:
    if not isinstance(dataset, TableDataset):
        raise StoreError(f"{dataset.name}: only tables are here")
    return dataset


# --- its world ----------------------------------------------------------------------------------------------------


@dataclass
class Folder(World):
    """The file as the contract suite sees it."""

    form: ClockForm = ClockForm.TEXT

    @property
    def abilities(self) -> Abilities:
        return FolderStore.abilities

    def store(self) -> FolderStore:
        return FolderStore(self.folder)

    @property
    def file(self) -> Path:
        """Where the records are."""
        return self.folder / "records.json"

    def state(self) -> dict[str, Any]:
        """What is in the file."""
        state: dict[str, Any] = json.loads(self.file.read_text())
        return state

    def write(self, records: Iterable[Record], form: ClockForm) -> None:
        rows = {str(record.number): self.row(record) for record in records}
        self.file.write_text(json.dumps({"records": rows, "staged": {}}))

    def row(self, record: Record) -> dict[str, Any]:
        """A record as it is in the file."""
        clock = record.clock.astimezone(UTC).isoformat() if isinstance(record.clock, datetime) else record.clock
        fields = {"id": record.number, "email": record.email, "account": record.account, "state": record.state}
        return {**fields, "at": clock}

    def dataset(self, **changes: Any) -> TableDataset:  # noqa: ANN401 - fields of a policy
        return TableDataset.model_validate(
            {
                "kind": "table", "name": "people", "store": "world", "table": "people", "key": ["id"],
                "clock": {"column": "at", "format": "iso8601"},
                "identifiers": {"email": ["email"], "account": ["account"]},
                **changes,
            }
        )  # fmt: skip

    def left(self) -> set[int]:
        return {int(key) for key in self.state()["records"]}

    def intact(self) -> set[int]:
        rows = self.state()["records"]
        return {n for n, record in self.records.items() if rows.get(str(n)) == self.row(record)}

    def number(self, key: bytes) -> int:
        return int(key)

    def put(self, number: int, row: dict[str, Any] | None) -> None:
        """Write a row, or remove it."""
        state = self.state()
        state["records"][str(number)] = row
        state["records"] = {key: row for key, row in state["records"].items() if row is not None}
        self.file.write_text(json.dumps(state))

    def rewrite(self, record: Record) -> None:
        self.put(record.number, self.row(record))

    def add(self, record: Record) -> None:
        self.put(record.number, self.row(record))

    def spoil(self, number: int) -> None:
        self.put(number, {**self.row(self.records[number]), "state": "spoiled"})

    def take(self, number: int) -> None:
        self.put(number, None)

    def staged(self) -> set[str]:
        return set(self.state()["staged"])

    def tamper(self, number: int) -> None:
        state = self.state()
        for staged in state["staged"].values():
            staged["due"][0] = str(number)
        self.file.write_text(json.dumps(state))

    def wrong(self) -> Mapping[str, Dataset]:
        return {
            "no such table": self.dataset(table="nobody"),
            "no such key": self.dataset(key=["nothing"]),
            "no such clock": self.dataset(clock={"column": "never"}),
            "no such identifier": self.dataset(identifiers={"email": ["mail"]}),
        }
