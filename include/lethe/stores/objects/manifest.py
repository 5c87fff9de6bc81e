"""What discovering stages: the candidates in parts, one a batch, and an index that binds them together.

The index is written last, so that what is staged is either whole or not there. `Candidates.reference` carries its
SHA-256, the index carries those of the parts and the digest of the candidates: nothing can be exchanged unnoticed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple

from lethe.counts import Found
from lethe.judging.identifiers import IdentifierType
from lethe.judging.keys import KeyColumn, KeyKind
from lethe.stores.base import Candidates
from lethe.stores.buckets.areas import changed
from lethe.stores.buckets.listing import Record, Version
from lethe.stores.buckets.staging import BucketStaging, pack, unpack
from lethe.stores.objects.judging import Judged
from lethe.stores.objects.matching import Identifiers

BATCH_SIZE = 1000
"""Keys of a batch at most: as many as one DeleteObjects takes."""
SPAN = 4000
"""Listed versions between the first and the last key of a batch at most, so that another look at it is quick."""

_INDEX = "index"
_WRITES_AT_ONCE = 4
_KEY = KeyColumn(name="the object's key", kind=KeyKind.TEXT)


class Candidate(NamedTuple):
    """An expired, unheld record as it was discovered: with the very versions that may go."""

    record: Record
    day: date | None
    identifiers: Identifiers


@dataclass(frozen=True)
class Part:
    """The candidates of one batch.

    Attributes:
        candidates: in the order of their keys.
        after: the key that the listing had before the first of them; empty: none.
        span: how many versions the listing had from the first of them to the last.
        age: seconds since it was staged, right after it was listed; by the server's clock, at most a second too many.
    """

    candidates: list[Candidate]
    after: str
    span: int
    age: float = math.inf

    def pack(self) -> bytes:
        """As it is staged."""
        return pack([[self.after, self.span], *(_row(candidate) for candidate in self.candidates)])

    @classmethod
    def unpack(cls, body: bytes) -> Part:
        """What `pack` packed. Raises ValueError."""
        head, *rows = unpack(body)
        return cls([_candidate(row) for row in rows], str(head[0]), int(head[1]))


def _row(candidate: Candidate) -> list[Any]:
    versions = [version[1:] for version in candidate.record.versions]
    day = candidate.day.isoformat() if candidate.day else None
    return [candidate.record.key, day, candidate.identifiers, versions]


def _candidate(row: list[Any]) -> Candidate:
    key, day, identifiers, versions = row
    return Candidate(
        Record(key, tuple([Version(key, *version) for version in versions])),
        _date(day) if day else None,
        {IdentifierType(kind): texts for kind, texts in identifiers.items()} if identifiers else {},
    )


_date = lru_cache(maxsize=4096)(date.fromisoformat)
"""Read once for the many candidates of a day."""


@dataclass
class ManifestWriter:
    """Cuts candidates into batches and stages them, with bounded memory.

    A batch ends after `batch_size` keys, after as many versions as one DeleteObjects takes, or where the listing has
    come `SPAN` versions further.
    """

    staging: BucketStaging
    pool: Executor
    batch_size: int = BATCH_SIZE
    _part: list[Candidate] = field(default_factory=list)
    _versions: int = 0
    _after: str = ""
    _span: int = 0
    _since: int = 0
    _previous: str = ""
    _hashes: list[str] = field(default_factory=list)
    _writing: list[Future[None]] = field(default_factory=list)
    _digest: Any = field(default_factory=hashlib.sha256)

    def see(self, judged: Judged, candidate: Candidate | None) -> None:
        """Take the next record of the listing, with the candidate that it is, if it is one."""
        size = len(judged.record.versions)
        if candidate is not None:
            if self._part and (self._full(size) or self._since + size > SPAN):
                self._cut()
            if not self._part:
                self._after, self._since = self._previous, 0
            self._add(candidate)
        self._since += size
        if candidate is not None:
            self._span = self._since
        self._previous = judged.record.key

    def _full(self, more: int) -> bool:
        return len(self._part) >= self.batch_size or self._versions + more > BATCH_SIZE

    def _add(self, candidate: Candidate) -> None:
        record = candidate.record
        self._part.append(candidate)
        self._versions += len(record.versions)
        pinned = sorted((version.id, version.etag) for version in record.versions)
        self._digest.update(json.dumps([record.key, pinned], separators=(",", ":")).encode() + b"\n")

    def _cut(self) -> None:
        body = Part(self._part, self._after, self._span).pack()
        if len(self._writing) >= _WRITES_AT_ONCE:
            self._writing.pop(0).result()
        self._writing.append(self.pool.submit(self.staging.put, _part_name(len(self._hashes)), body))
        self._hashes.append(hashlib.sha256(body).hexdigest())
        self._part, self._versions = [], 0

    def finish(self, survey: Found, holds_version: int) -> Candidates:
        """Stage what is left and the index."""
        if self._part:
            self._cut()
        for writing in self._writing:
            writing.result()
        facts = {
            **survey.model_dump(mode="json"),
            "batches": len(self._hashes),
            "batch_size": self.batch_size,
            "digest": self._digest.hexdigest(),
            "holds_version": holds_version,
            "key": [_KEY.model_dump(mode="json")],
        }
        body = pack([facts, *self._hashes])
        self.staging.put(_INDEX, body)
        return _candidates(self.staging, body, facts)


def _part_name(number: int) -> str:
    return f"parts/{number:08}"


def staged(staging: BucketStaging) -> Candidates | None:
    """What is staged already; None where nothing is, or not all of it."""
    index = staging.get(_INDEX)
    return None if index is None else _read(staging, index)


def _read(staging: BucketStaging, index: bytes) -> Candidates | None:
    try:
        return _candidates(staging, index, unpack(index)[0])
    except (ValueError, IndexError, TypeError):
        return None


def _candidates(staging: BucketStaging, index: bytes, facts: dict[str, Any]) -> Candidates:
    return Candidates.model_validate({**facts, "reference": staging.reference(hashlib.sha256(index).hexdigest())})


@dataclass(frozen=True)
class Manifest:
    """Staged candidates, as checked against the value that stands for them."""

    staging: BucketStaging
    hashes: tuple[str, ...]

    @classmethod
    def open(cls, staging: BucketStaging, candidates: Candidates) -> Manifest:
        """Read the index.

        Raises:
            DatasetChanged: if what is staged is not what `candidates` stands for.
            StoreUnavailable, StoreError.
        """
        index = staging.get(_INDEX)
        found = None if index is None else _read(staging, index)
        if index is None or found is None or _bound(found) != _bound(candidates):
            raise changed(staging)
        return cls(staging, tuple(unpack(index)[1:]))

    def part(self, number: int) -> Part:
        """The candidates of a batch. Raises `DatasetChanged` as `open` does."""
        stored = self.staging.read(_part_name(number))
        if (
            stored is None
            or not 0 <= number < len(self.hashes)
            or hashlib.sha256(stored.body).hexdigest() != self.hashes[number]
        ):
            raise changed(self.staging)
        return replace(Part.unpack(stored.body), age=(stored.read - stored.written).total_seconds() + 1)

    def parts(self) -> Iterator[tuple[int, Part]]:
        """All batches in order."""
        for number in range(len(self.hashes)):
            yield number, self.part(number)


def _bound(candidates: Candidates) -> tuple[object, ...]:
    """What must not differ: the rest of the value follows from it."""
    return candidates.reference, candidates.digest, candidates.batches, candidates.holds_version
