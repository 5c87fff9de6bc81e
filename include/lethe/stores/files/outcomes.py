"""The outcomes of batches of rows, as they are staged and as they are read back."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import repeat
from typing import Any

from lethe.counts import Became, Outcome
from lethe.errors import DatasetChanged
from lethe.judging.keys import record_keys
from lethe.policy import FilesDataset
from lethe.stores.base import Candidates, Progress
from lethe.stores.buckets.staging import BucketStaging, unpack
from lethe.stores.files.formats import format_of
from lethe.stores.files.marks import Marks
from lethe.stores.files.plan import PlannedBatch, PlannedVersion, RewritePlan, Unit, staged_keys

MOST_KEEPERS = 20
"""Files that are named as what keeps rows; all are counted."""


def held_marks(version: PlannedVersion, outcome: Mapping[str, Any]) -> Marks | None:
    """The rows of a version that stayed because they are held; None: there are none."""
    held = outcome["held"]
    return None if held is None else Marks.loads(base64.b64decode(held), version.groups)


def tally_of_unit(batch: PlannedBatch, unit: Unit, outcome: Mapping[str, Any]) -> Became:
    """The sums of what became of the records of one file, all its versions together."""
    counts: Counter[Outcome] = Counter()
    for version, became in zip(unit.versions, outcome["versions"], strict=True):
        held, renewed = held_marks(version, became), batch.renewed(version)
        kept = held.both(batch.records(version)).count if held else 0
        counts[Outcome.HELD] += kept
        what = Outcome(became["outcome"])
        stays = (renewed.without(held) if held else renewed).count if renewed and what is Outcome.ERASED else 0
        counts[Outcome.RENEWED] += stays
        counts[what] += version.records - kept - stays
    return Became.of(counts, rows_with=outcome["with"], bytes=outcome["bytes"])


def tally_of(body: bytes, progress: Progress) -> Became:
    """The sums of a batch's staged outcome; `progress` is told how many rows it is about."""
    tally = Became(**unpack(body)[0])
    progress(tally.total)
    return tally


def sum_of_outcomes(staging: BucketStaging, candidates: Candidates) -> Became:
    """The sum of the outcomes of all batches that have one."""
    total = Became()
    for number in range(candidates.batches):
        body = staging.get(f"outcome/{number}")
        if body is None:
            continue
        try:
            total += tally_of(body, lambda _rows: None)
        except (ValueError, IndexError, TypeError) as error:
            raise DatasetChanged(
                f"{staging.dataset}: the staged outcome of a batch is not readable ({type(error).__name__}); what it "
                "erased cannot be told"
            ) from None
    return total


def keepers(staging: BucketStaging, candidates: Candidates) -> tuple[str, ...]:
    """What keeps the rows that are blocked: files, by the digests of their names, with why they cannot be rewritten."""
    bodies = (staging.get(f"outcome/{number}") for number in range(candidates.batches))
    outcomes = (outcome for body in bodies if body is not None for outcome in unpack(body)[1:])
    found = [str(outcome["kept_by"]) for outcome in outcomes if "kept_by" in outcome]
    more = [f"and {len(found) - MOST_KEEPERS:,} more files"] if len(found) > MOST_KEEPERS else []
    return (*found[:MOST_KEEPERS], *more)


def record_outcomes(
    staging: BucketStaging, plan: RewritePlan, candidates: Candidates, dataset: FilesDataset
) -> Iterator[tuple[bytes, Outcome]]:
    """The outcome of every candidate of the batches that have one."""
    for number in range(candidates.batches):
        body = staging.get(f"outcome/{number}")
        if body is None:
            continue
        batch = plan.batch(number)
        for unit, outcome in zip(batch.units, unpack(body)[1:], strict=True):
            for version, became in zip(unit.versions, outcome["versions"], strict=True):
                keys = _keys(staging, batch, unit, version, dataset)
                records, what = batch.records(version), Outcome(became["outcome"])
                held = held_marks(version, became)
                stays = batch.renewed(version) if what is Outcome.ERASED else None
                if held is None and stays is None:
                    yield from zip(keys, repeat(what, records.count), strict=True)
                    continue
                for key, is_held, is_there in zip(keys, _among(records, held), _among(records, stays), strict=True):
                    yield key, Outcome.HELD if is_held else Outcome.RENEWED if is_there else what


def _keys(
    staging: BucketStaging, batch: PlannedBatch, unit: Unit, version: PlannedVersion, dataset: FilesDataset
) -> Iterator[bytes]:
    if dataset.key:
        yield from staged_keys(staging, format_of(dataset.kind), dataset.key, version.keys)
        return
    for positions in batch.records(version).positions():
        rows = positions.tolist() if version.current else [f"{position}@{version.id}" for position in positions]
        yield from record_keys([[unit.key] * len(rows), rows])


def _among(records: Marks, some: Marks | None) -> Iterator[bool]:
    """Of each record whether it is one of some."""
    for index in range(len(records.sizes)):
        rows = records.rows(index)
        yield from (some.rows(index)[rows].tolist() if some is not None else [False] * records.counts[index])
