"""What discovering stages: for each batch a manifest of versions, the rows that go, and, where asked for, their keys.

Objects in the staging of a run and dataset:

- ``plan``: counts, digest, and the SHA-256 of every batch; written last. `Candidates.reference` has its own
  SHA-256, so that nothing staged can be exchanged.
- ``batch/<batch>``: key, version id, ETag, size and rows of each version, then the rows that go, as compressed bits.
- ``keys/<name>/<part>``: the columns of `dataset.key` of the rows that go, in their order, as Parquet.
- ``begun``: erasing has begun, and what is staged stays.
- ``intent/…``, ``outcome/…``: see `erase`.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lethe.errors import DatasetChanged
from lethe.judging.keys import record_keys
from lethe.stores.base import Candidates
from lethe.stores.buckets.areas import changed
from lethe.stores.buckets.staging import BucketStaging, pack, unpack
from lethe.stores.files.examine import FoundVersion, name_digest
from lethe.stores.files.formats.base import As, Format
from lethe.stores.files.marks import Marks
from lethe.stores.files.partition import Path

BATCH_ROWS = 1_000_000
"""Rows after which a batch ends. A file is never split, so a batch has more where a file has."""
BATCH_BYTES = 256 << 20
BATCH_FILES = 200
PLACE = ("the object's key", "the row's number")
"""What names a row where no columns do."""
KEYS_AT_ONCE = 250_000
"""Rows of key columns in one staged object."""


@dataclass(frozen=True)
class PlannedVersion:
    """A version with rows that go.

    Attributes:
        id: version id.
        etag: with quotes.
        size: bytes.
        current: whether it was the current version.
        groups: rows of each chunk.
        going: rows that go.
        marks: where they are in the batch's marks: offset, length.
        digest: SHA-256 of them.
        records: how many of them are due, each of another record; the others are copies.
        counted: the marks of these; None: all that go.
        renewed: the marks of those of them whose record stays; None: there are none.
        held: the same of rows that were held, where a superseded version has some; else None.
        keys: name of the staged keys; empty where there are none.
    """

    id: str
    etag: str
    size: int
    current: bool
    groups: tuple[int, ...]
    going: int
    marks: tuple[int, int]
    digest: str
    records: int
    counted: tuple[int, int] | None
    renewed: tuple[int, int] | None
    held: tuple[int, int] | None
    keys: str

    @property
    def whole(self) -> bool:
        """Whether the version goes as a whole."""
        return not self.current or self.going == sum(self.groups)


@dataclass(frozen=True)
class Unit:
    """A key with the versions of it that have rows that go."""

    key: str
    versions: tuple[PlannedVersion, ...]

    @property
    def going(self) -> int:
        """Rows that go, over all versions."""
        return sum(version.going for version in self.versions)

    @property
    def records(self) -> int:
        """Records that are due, over all versions."""
        return sum(version.records for version in self.versions)


@dataclass(frozen=True)
class PlannedBatch:
    """What one batch consists of."""

    number: int
    units: tuple[Unit, ...]
    marks: bytes

    def going(self, version: PlannedVersion) -> Marks:
        """The rows of a version that go."""
        return self._marks(version.marks, version)

    def records(self, version: PlannedVersion) -> Marks:
        """Those of the rows of a version that go that are due; the others are copies of them."""
        return self.going(version) if version.counted is None else self._marks(version.counted, version)

    def renewed(self, version: PlannedVersion) -> Marks | None:
        """Those of them whose record stays, in the current version."""
        return None if version.renewed is None else self._marks(version.renewed, version)

    def held(self, version: PlannedVersion) -> Marks | None:
        """The rows of a superseded version that were held when it was discovered."""
        return None if version.held is None else self._marks(version.held, version)

    def _marks(self, where: tuple[int, int], version: PlannedVersion) -> Marks:
        offset, length = where
        return Marks.loads(self.marks[offset : offset + length], version.groups)


class Planner:
    """Stages candidates as they are found, in the order of their keys."""

    def __init__(self, staging: BucketStaging, key_columns: tuple[str, ...], batch_rows: int) -> None:
        self._staging = staging
        self._key_columns = key_columns
        self._batch_rows = batch_rows
        self._digest = hashlib.sha256()
        self._units: list[Unit] = []
        self._marks = bytearray()
        self._batches: list[str] = []
        self._rows = self._bytes = 0
        self.largest = batch_rows

    def add(self, key: str, found: tuple[FoundVersion, ...]) -> None:
        """Stage a key. To be called in the order of keys."""
        unit = Unit(key, tuple(self._planned(key, version) for version in found))
        for version in unit.versions:
            line = [key, version.id, version.etag, version.going, version.digest]
            self._digest.update(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        self._units.append(unit)
        self._rows += unit.going
        self._bytes += sum(version.size for version in unit.versions)
        if self._rows >= self._batch_rows or self._bytes >= BATCH_BYTES or len(self._units) >= BATCH_FILES:
            self._end_batch()

    def _planned(self, key: str, version: FoundVersion) -> PlannedVersion:
        return PlannedVersion(
            version.id,
            version.etag,
            version.size,
            version.current,
            version.going.sizes,
            version.going.count,
            self._place(version.going),
            version.going.digest,
            version.records.count,
            None if version.records.count == version.going.count else self._place(version.records),
            self._place(version.renewed) if version.renewed and version.renewed.count else None,
            None if version.current or not version.held.count else self._place(version.held),
            keys_name(key, version.id) if self._key_columns else "",
        )

    def _place(self, marks: Marks) -> tuple[int, int]:
        start = len(self._marks)
        self._marks += marks.dumps()
        return start, len(self._marks) - start

    def _end_batch(self) -> None:
        if not self._units:
            return
        number = len(self._batches)
        manifest = pack(asdict(unit) for unit in self._units)
        body = len(manifest).to_bytes(8, "big") + manifest + self._marks
        self._staging.put(f"batch/{number}", body)
        self._batches.append(hashlib.sha256(body).hexdigest())
        self.largest = max(self.largest, self._rows)
        self._units, self._marks, self._rows, self._bytes = [], bytearray(), 0, 0

    def finish(self, counts: dict[str, Any], holds_version: int) -> Candidates:
        """Stage the plan itself."""
        self._end_batch()
        summary = {
            **counts,
            "batches": len(self._batches),
            "batch_size": self.largest,
            "digest": self._digest.hexdigest(),
            "holds_version": holds_version,
            "key": [{"name": name} for name in self._key_columns or PLACE],
        }
        plan = pack([summary, self._batches])
        self._staging.put("plan", plan)
        return Candidates(**summary, reference=_reference(self._staging, plan))


def _reference(staging: BucketStaging, plan: bytes) -> str:
    return staging.reference(hashlib.sha256(plan).hexdigest())


def keys_name(key: str, version: str) -> str:
    """The name of the staged keys of a version's rows."""
    return name_digest(f"{key}\x00{version}")[:32]


def stage_keys(staging: BucketStaging, columns: tuple[str, ...], path: Path, key: str, found: FoundVersion) -> None:
    """Stage the key columns of the rows of a version that are due, some at a time."""
    part = rows = 0
    batches: list[pa.RecordBatch] = []
    prefix = f"keys/{keys_name(key, found.id)}/"

    def write() -> None:
        nonlocal part, rows, batches
        out = io.BytesIO()
        pq.write_table(pa.Table.from_batches(batches), out, compression="zstd", use_dictionary=False)
        staging.put(f"{prefix}{part:08d}", out.getvalue())
        part, rows, batches = part + 1, 0, []

    wanted = dict.fromkeys(path.physical(columns), As.KEY)
    for index, chunk in enumerate(found.rows.chunks()):
        start = 0
        if not found.records.counts[index]:
            continue
        for read in chunk.read(wanted, 1 << 17):
            batch = path.completed(read, columns)
            chosen = batch.filter(pa.array(found.records.rows(index, start, start + batch.num_rows)))
            start += batch.num_rows
            if chosen.num_rows:
                batches.append(chosen)
                rows += chosen.num_rows
            if rows >= KEYS_AT_ONCE:
                write()
    if batches:
        write()


def staged_keys(staging: BucketStaging, form: Format, columns: tuple[str, ...], name: str) -> Iterator[bytes]:
    """The staged keys of a version's rows, in order and in their canonical form."""
    for part in sorted(staging.names(f"keys/{name}/")):
        body = staging.get(part)
        if body is None:
            raise DatasetChanged(f"{staging.dataset}: staged keys are gone; discover again")
        for batch in pq.ParquetFile(pa.BufferReader(body)).iter_batches(1 << 14, columns=list(columns)):
            yield from record_keys([form.key_values(batch.column(column)) for column in columns])


class RewritePlan:
    """What was staged for a run, as erasing reads it."""

    def __init__(self, staging: BucketStaging, candidates: Candidates) -> None:
        """Read it.

        Raises:
            DatasetChanged: if it is not what `candidates` stand for.
        """
        self._staging = staging
        body = staging.get("plan")
        if body is None or _reference(staging, body) != candidates.reference:
            raise changed(staging)
        summary, self._batches = unpack(body)
        if summary["digest"] != candidates.digest or summary["batches"] != candidates.batches:
            raise changed(staging)

    @staticmethod
    def candidates(staging: BucketStaging) -> Candidates | None:
        """What an earlier discovery of the run staged."""
        body = staging.get("plan")
        return None if body is None else Candidates(**unpack(body)[0], reference=_reference(staging, body))

    def batch(self, number: int) -> PlannedBatch:
        """Read a batch.

        Raises:
            DatasetChanged: if it is not what was staged.
        """
        body = self._staging.get(f"batch/{number}")
        if (
            body is None
            or not 0 <= number < len(self._batches)
            or hashlib.sha256(body).hexdigest() != self._batches[number]
        ):
            raise changed(self._staging)
        end = 8 + int.from_bytes(body[:8], "big")
        return PlannedBatch(number, tuple(_unit(row) for row in unpack(body[8:end])), body[end:])


def _unit(row: dict[str, Any]) -> Unit:
    return Unit(
        row["key"],
        tuple(
            PlannedVersion(
                **{
                    **version,
                    "groups": tuple(version["groups"]),
                    "marks": tuple(version["marks"]),
                    **{name: tuple(version[name]) for name in ("counted", "renewed", "held") if version[name]},
                }
            )
            for version in row["versions"]
        ),
    )
