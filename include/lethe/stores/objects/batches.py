"""How far each batch is, in one staged object per batch: nothing, an intent, or an outcome.

Every change is conditional on the state before it, so that of several processes at most one makes it. See
`lethe.stores.objects.erasing` for how these states make outcomes exact.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lethe.counts import Became, Outcome
from lethe.errors import DatasetChanged, StoreError
from lethe.stores.buckets.listing import Record, Version
from lethe.stores.buckets.staging import BucketStaging
from lethe.stores.objects.manifest import Part

FOLDER = "batches/"


@dataclass(frozen=True)
class Intent:
    """What is going to be deleted, or was.

    Attributes:
        owner: a random token of the process that writes it, so that no two intents are the same.
        lease_seconds: for how long after it was written its owner may have requests under way.
        sent: positions of the candidates whose pinned versions are deleted under this intent or one before it.
        absent: of those, the indices of pinned versions that had been gone before, by position.
    """

    owner: str
    lease_seconds: float
    sent: frozenset[int] = frozenset()
    absent: Mapping[int, Sequence[int]] = field(default_factory=dict)

    def pack(self) -> bytes:
        """As it is staged."""
        return _json(
            {
                "owner": self.owner,
                "lease_seconds": self.lease_seconds,
                "sent": sorted(self.sent),
                "absent": {str(position): list(indices) for position, indices in sorted(self.absent.items())},
            }
        )

    @classmethod
    def unpack(cls, value: Any) -> Intent:  # noqa: ANN401 - JSON
        """What `pack` packed."""
        absent = {int(position): tuple(indices) for position, indices in value["absent"].items()}
        return cls(value["owner"], float(value["lease_seconds"]), frozenset(value["sent"]), absent)


@dataclass(frozen=True)
class Done:
    """The outcome of a batch: every candidate was erased but those that are named.

    Attributes:
        tally: the sums.
        others: positions of the candidates that were not erased, by outcome.
    """

    tally: Became
    others: Mapping[Outcome, Sequence[int]]

    @classmethod
    def of(cls, part: Part, outcomes: Mapping[int, Outcome], absent: Mapping[int, Sequence[int]]) -> Done:
        """The outcome of a batch from those of all its positions."""
        counts = dict.fromkeys(Outcome, 0)
        others: dict[Outcome, list[int]] = {}
        versions = freed = 0
        for position, candidate in enumerate(part.candidates):
            outcome = outcomes[position]
            counts[outcome] += 1
            if outcome is not Outcome.ERASED:
                others.setdefault(outcome, []).append(position)
                continue
            went: Sequence[Version] = candidate.record.versions
            if position in absent:
                went = [version for index, version in enumerate(went) if index not in absent[position]]
            versions += max(len(went) - 1, 0)
            freed += sum([version.size for version in went])
        tally = Became(**{outcome.value: number for outcome, number in counts.items()}, rows_with=versions, bytes=freed)
        return cls(tally, others)

    def outcomes(self, size: int) -> Iterator[Outcome]:
        """The outcome of each candidate, in order."""
        by_position = {position: outcome for outcome, positions in self.others.items() for position in positions}
        for position in range(size):
            yield by_position.get(position, Outcome.ERASED)

    def pack(self) -> bytes:
        """As it is staged."""
        others = {outcome.value: list(positions) for outcome, positions in sorted(self.others.items())}
        return _json({"tally": self.tally.model_dump(), "others": others})

    @classmethod
    def unpack(cls, value: Any) -> Done:  # noqa: ANN401 - JSON
        """What `pack` packed."""
        others = {Outcome(name): tuple(positions) for name, positions in value["others"].items()}
        return cls(Became.model_validate(value["tally"]), others)


@dataclass(frozen=True)
class Progressed:
    """The state of a batch as it was read: an intent or an outcome.

    Attributes:
        state: what is there.
        etag: for changing it.
        age: seconds since it was written, by the server's clock; up to a second less than really.
    """

    state: Intent | Done
    etag: str
    age: float


@dataclass
class ObjectBatch:
    """A batch that this process works on; never from two threads at the same time.

    Attributes:
        number: its place in the manifest.
        part: its candidates.
        intent: what is announced in staging, by this process or, if `ready_at` is given, by another one.
        etag: of the state in staging; None: there is none.
        ready_at: when (by `time.monotonic`) no request of the other process can be under way any more.
        known_gone: positions of which nothing was left when that was so, or that S3 said it has deleted since.
        there: its keys that existed at the last look, with their versions.
        running: positions of those of them that are not expired any more.
        listed_at: when discovery listed them (by `time.monotonic`), or somewhat before.
        looked_at: when the last look was begun (by `time.monotonic`).
        done: its outcome.
        outcomes: what has been decided, by position; complete before `done` is.
        attempts: how often it was tried.
        error: why the last attempt did not complete it.
        failed: how many versions S3 did not delete then.
    """

    number: int
    part: Part
    intent: Intent
    etag: str | None = None
    ready_at: float = 0.0
    known_gone: frozenset[int] = frozenset()
    there: Mapping[str, Record] = field(default_factory=dict)
    running: frozenset[int] = frozenset()
    listed_at: float = -math.inf
    looked_at: float = -math.inf
    done: Done | None = None
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    attempts: int = 0
    error: StoreError | None = None
    failed: int = 0


@dataclass(frozen=True)
class BatchStates:
    """Reads and changes the states of a run's batches. All methods raise `StoreUnavailable` or `StoreError`."""

    staging: BucketStaging

    def read(self, number: int) -> Progressed | None:
        """The state of a batch; None: nothing was begun."""
        stored = self.staging.read(_name(number))
        if stored is None:
            return None
        try:
            value = json.loads(stored.body)
            state = Done.unpack(value) if "tally" in value else Intent.unpack(value)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            place = self.staging.access.place(self.staging.bucket, "")
            raise DatasetChanged(
                f"{place}: the state of a batch of dataset {self.staging.dataset} is not readable "
                f"({type(error).__name__}); what it erased cannot be told"
            ) from None
        return Progressed(state, stored.etag, (stored.read - stored.written).total_seconds() - 1)

    def write(self, number: int, state: Intent | Done, etag: str | None) -> str | None:
        """Change a state from that with `etag` (None: from nothing). Its ETag, or None where it was changed since."""
        if etag is None:
            return self.staging.create(_name(number), state.pack())
        return self.staging.replace(_name(number), state.pack(), etag)

    def numbers(self) -> frozenset[int]:
        """The numbers of the batches that have a state."""
        return frozenset(
            int(number) for name in self.staging.names(FOLDER) if (number := name.removeprefix(FOLDER)).isdecimal()
        )


def _name(number: int) -> str:
    return f"{FOLDER}{number:08}"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
