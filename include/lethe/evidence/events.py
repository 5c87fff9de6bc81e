"""What is recorded of a dataset in a run: one type an event, with what the ledger and the record get of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypedDict

from lethe.checks.results import Validation
from lethe.counts import Became, Found
from lethe.evidence.records import DatasetRecord, Decision, When
from lethe.stores.base import Candidates, Remainder

Json = object
"""A value that passes through JSON unchanged."""


class DatasetColumns(TypedDict, total=False):
    """What the record of a dataset gets: columns of `lethe_run_dataset`."""

    candidates: Mapping[str, Json]
    validation: Mapping[str, Json]
    approval: Mapping[str, Json]
    tally: Mapping[str, Json]
    left: Mapping[str, Json]
    remainders: Sequence[Json]
    problem: str | None


class DatasetEvent(Protocol):
    """Something that happened to a dataset in a run."""

    @property
    def kind(self) -> str:
        """The ledger's name for it."""

    @property
    def since(self) -> DatasetRecord | None:
        """The record that it was worked out from, which still has to be the one; None: it holds beside any."""

    @property
    def entry(self) -> Mapping[str, Json]:
        """What the ledger says of it."""

    @property
    def columns(self) -> DatasetColumns:
        """What the record of the dataset gets of it."""


@dataclass(frozen=True, slots=True)
class Discovered:
    """Candidates were found and staged. What was wrong before is so no more."""

    kind: ClassVar[str] = "dataset.discovered"
    candidates: Candidates
    since: DatasetRecord

    @property
    def entry(self) -> Mapping[str, Json]:
        """Counts and digest."""
        found = self.candidates
        return {**found.counted, "digest": found.digest, "holds_version": found.holds_version}

    @property
    def columns(self) -> DatasetColumns:
        """The candidates."""
        return {"candidates": self.candidates.model_dump(mode="json"), "problem": None}


@dataclass(frozen=True, slots=True)
class DatasetValidated:
    """Great Expectations checked the dataset."""

    kind: ClassVar[str] = "dataset.validated"
    when: When
    validation: Validation
    problem: str | None
    since: DatasetRecord

    @property
    def entry(self) -> Mapping[str, Json]:
        """Whether the suite's expectations hold, and which do not."""
        said = self.validation
        return {"suite": said.suite, "when": self.when, "success": said.success, "failed": said.failed}

    @property
    def columns(self) -> DatasetColumns:
        """All that was said in this run."""
        said = {**self.since.validation, self.when: self.validation}
        return {
            "validation": {when: each.model_dump(mode="json") for when, each in said.items()},
            "problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class Decided:
    """It was decided whether the candidates may go."""

    kind: ClassVar[str] = "dataset.decided"
    decision: Decision
    since: DatasetRecord

    @property
    def entry(self) -> Mapping[str, Json]:
        """Who decided what, and why they were asked."""
        return self.decision.model_dump(mode="json", exclude={"at"})

    @property
    def columns(self) -> DatasetColumns:
        """The decision."""
        return {"approval": self.decision.model_dump(mode="json")}


@dataclass(frozen=True, slots=True)
class Erased:
    """A task has dealt with a range of batches. What the run did is `Settled` at its end, as the store says."""

    kind: ClassVar[str] = "dataset.erased"
    since: ClassVar[None] = None
    batches: range
    became: Became

    @property
    def entry(self) -> Mapping[str, Json]:
        """Which batches, and what became of their candidates."""
        return {"batches": [self.batches.start, self.batches.stop], **self.became.model_dump(mode="json")}

    @property
    def columns(self) -> DatasetColumns:
        """Nothing."""
        return {}


@dataclass(frozen=True, slots=True)
class DatasetVerified:
    """The dataset was surveyed after erasing."""

    kind: ClassVar[str] = "dataset.verified"
    left: Found
    remainders: Sequence[Remainder]
    since: DatasetRecord

    @property
    def entry(self) -> Mapping[str, Json]:
        """Counts."""
        return self.left.counted

    @property
    def columns(self) -> DatasetColumns:
        """What is left, and what is not yet physically gone."""
        return {
            "left": self.left.model_dump(mode="json"),
            "remainders": [remainder.model_dump(mode="json") for remainder in self.remainders],
        }


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of the candidates, as the store says when the run is closed."""

    kind: ClassVar[str] = "dataset.settled"
    since: ClassVar[None] = None
    became: Became

    @property
    def entry(self) -> Mapping[str, Json]:
        """The sums."""
        return self.became.model_dump(mode="json")

    @property
    def columns(self) -> DatasetColumns:
        """The sums."""
        return {"tally": self.became.model_dump(mode="json")}


@dataclass(frozen=True, slots=True)
class Failed:
    """Something is missing or wrong, in one message."""

    kind: ClassVar[str] = "dataset.failed"
    since: ClassVar[None] = None
    problem: str

    @property
    def entry(self) -> Mapping[str, Json]:
        """The message."""
        return {"problem": self.problem}

    @property
    def columns(self) -> DatasetColumns:
        """The message."""
        return {"problem": self.problem}


StageEvent = Discovered | DatasetValidated | Decided | Erased | DatasetVerified | Failed
"""What the stages of an open run record."""
ClosingEvent = Settled | Failed
"""What whoever completes the record of a closed run records."""
