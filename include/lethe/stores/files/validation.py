"""What of staged rows is checked before they are erased.

The clocks of the rows that are to go are read again, from the very versions that were discovered, and counted by their
days. So the check depends neither on the comparison that found the rows nor on the marks being right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lethe.errors import DatasetChanged, StoreError
from lethe.judging.keys import record_key
from lethe.policy import Expiry, FilesDataset
from lethe.stores.base import Candidates, Work
from lethe.stores.buckets.client import S3Access
from lethe.stores.files.clocks import Bits, Numbers, WrongSchema, flat, is_temporal
from lethe.stores.files.files import Changed, Pin, S3File
from lethe.stores.files.formats.base import As, Chunk, Unreadable
from lethe.stores.files.judge import DatasetJudge, FileJudge
from lethe.stores.files.marks import Marks
from lethe.stores.files.plan import RewritePlan
from lethe.stores.sources import Staged

if TYPE_CHECKING:
    import pandas as pd

_EPOCH_DAY = date(1970, 1, 1).toordinal()

Days = Counter[tuple[date | None, date | None]]
"""Rows by the day of their clock and the day that it has to be before."""


def staged_rows(
    access: S3Access, work: Work, dataset: FilesDataset, plan: RewritePlan, candidates: Candidates
) -> Iterator[Staged]:
    """The records that are to go, those of one file, day and cutoff together; of several copies of one, one.

    Rows that a hold covers are not marked; that one is not among them is seen by their number, and by erasing, which
    judges again.

    Raises:
        DatasetChanged: if what is staged, or one of the files, is not what was discovered.
        StoreUnavailable, StoreError: while it is read.
    """
    for pin, size, going in _files(dataset, plan, candidates):
        with _unchanged(access, work, dataset):
            days = _Clocks(dataset, work.expiry).count(access, pin, size, going)
        for (day, cutoff), rows in days.items():
            record = record_key((pin.key, pin.version, day, cutoff))
            yield Staged(record, day, cutoff, held=False, records=rows)


def frames(
    access: S3Access,
    work: Work,
    dataset: FilesDataset,
    plan: RewritePlan,
    candidates: Candidates,
    columns: Sequence[str],
) -> Iterator[pd.DataFrame]:
    """Some columns of the rows that are to go, in frames of rows of one file.

    Raises:
        StoreError: if a file lacks one of the columns.
        DatasetChanged, StoreUnavailable: as above.
    """
    judge = DatasetJudge(dataset, work.expiry)
    for pin, size, going in _files(dataset, plan, candidates):
        with _unchanged(access, work, dataset), S3File(access, pin, size) as file:
            opened = judge.format.open(file, dataset)
            bound = judge.bind(opened.schema(list(dict.fromkeys([*judge.columns.named, *columns]))), pin.key)
            if lacking := [name for name in columns if len(bound.schema.get_all_field_indices(name)) != 1]:
                raise StoreError(f"a file has no column {', '.join(lacking)}, or has it twice: name others")
            for index, chunk in enumerate(opened.chunks()):
                for start, batch in bound.batches(chunk, dict.fromkeys(columns, As.VALUE)):
                    rows = going.rows(index, start, start + batch.num_rows)
                    if rows.any():
                        some = {name: _moments(flat(batch.column(name).filter(pa.array(rows)))) for name in columns}
                        yield pa.table(some).to_pandas(integer_object_nulls=True)


def _moments(column: pa.Array) -> pa.Array:
    """A column of days or of moments as moments in UTC, where moments without a zone are taken to be; others as is."""
    if not is_temporal(column.type):
        return column
    if getattr(column.type, "tz", None) is None:
        column = column.cast(pa.timestamp("us"), safe=False)
    return column.cast(pa.timestamp("us", "UTC"), safe=False)


def _files(dataset: FilesDataset, plan: RewritePlan, candidates: Candidates) -> Iterator[tuple[Pin, int, Marks]]:
    """Every version that is staged, its bytes, and the rows of it that are to go."""
    for number in range(candidates.batches):
        batch = plan.batch(number)
        for unit in batch.units:
            for version in unit.versions:
                yield Pin(dataset.bucket, unit.key, version.id, version.etag), version.size, batch.records(version)


@contextmanager
def _unchanged(access: S3Access, work: Work, dataset: FilesDataset) -> Iterator[None]:
    """Reading a version that must be the one that was discovered."""
    try:
        yield
    except (Changed, Unreadable, WrongSchema, pa.ArrowException, OSError) as error:
        raise DatasetChanged(
            f"{access.place(dataset.bucket, '')}: a file of dataset {dataset.name} is not what it was when "
            f"run {work.run} discovered its rows ({type(error).__name__}); discover again"
        ) from None


class _Clocks:
    """Reads the clocks of marked rows."""

    def __init__(self, dataset: FilesDataset, expiry: Expiry) -> None:
        self._dataset = dataset
        self._expiry = expiry
        self._judge = DatasetJudge(dataset, expiry)
        self._columns = dict.fromkeys([*dataset.clock.columns, *([expiry.column] if expiry.column else [])], As.VALUE)

    def count(self, access: S3Access, pin: Pin, size: int, going: Marks) -> Days:
        """How many of the marked rows of a version, of so many bytes, have which day."""
        with S3File(access, pin, size) as file:
            opened = self._judge.format.open(file, self._dataset)
            bound = self._judge.bind(opened.schema(self._judge.stored), pin.key)
            days: Days = Counter()
            for index, chunk in enumerate(opened.chunks()):
                if going.counts[index]:
                    days.update(self._chunk(chunk, index, going, bound))
            return days

    def _chunk(self, chunk: Chunk, index: int, going: Marks, bound: FileJudge) -> Days:
        found: Days = Counter()
        for start, batch in bound.batches(chunk, self._columns):
            rows = going.rows(index, start, start + batch.num_rows)
            if rows.any():
                days = self._days(batch, bound)[rows]
                for day, cutoff, count in self._by_cutoff(batch, rows, days, bound):
                    found[day, cutoff] += count
        return found

    def _days(self, batch: pa.RecordBatch, bound: FileJudge) -> Numbers:
        """The day of each row's clock, in days since 1970; `_NONE` where it has none."""
        latest = not self._dataset.clock.earliest_of
        pick, neutral = (np.maximum, _NONE) if latest else (np.minimum, -_NONE)
        days = np.full(batch.num_rows, neutral, dtype=np.int64)
        for name, read in bound.readers.items():
            values = read(flat(batch.column(name)))
            day = values.day_judged(self._expiry.zone)
            days = pick(days, np.where(values.missing | values.unparsable, neutral, day))
        return np.where(days == neutral, _NONE, days)

    def _by_cutoff(
        self, batch: pa.RecordBatch, rows: Bits, days: Numbers, bound: FileJudge
    ) -> Iterator[tuple[date | None, date | None, int]]:
        column, rest = self._expiry.column, np.ones(len(days), dtype=np.bool_)
        if column is not None:
            data = {column: flat(batch.column(column))}
            for cutoff, texts in self._expiry.longest_first:
                for value in texts:
                    chosen = bound.among(column, data, batch.num_rows, value)[rows] & rest
                    rest &= ~chosen
                    yield from ((day, cutoff.day, count) for day, count in _counted(days[chosen]))
        default = self._expiry.default.day if self._expiry.default else None
        yield from ((day, default, count) for day, count in _counted(days[rest]))


_NONE = -(2**62)


def _counted(days: Numbers) -> Iterator[tuple[date | None, int]]:
    for day, count in zip(*np.unique(days, return_counts=True), strict=True):
        ordinal = int(day) + _EPOCH_DAY
        known = day != _NONE and 1 <= ordinal <= date.max.toordinal()
        yield (date.fromordinal(ordinal) if known else None), int(count)
