"""Which rows of a file have expired, are kept on, are held, or cannot be judged.

Only the columns that this needs are read: the clock, and where they are used the columns of `where`, `keep_while` and
`by_value`; identifiers only for chunks with expired rows, and only where a hold names some. A chunk is not read at
all where its bounds show that no clock in it has expired. Bounds decide that way only: a row never goes
on their word.

- Rows outside of `where` are no records. NULL is none of any values: it meets `not_in`, and does not meet `in`.
- A row without a clock, or with one that cannot be parsed, cannot be judged; of several columns one is enough to be
  unparsable.
- A row that cannot be read, or that has several values where one is judged, which formats without types may have,
  cannot be judged, whatever `where` says.
- Columns that only the key of a file says (`path_columns`) are the same for all of its rows.
- Timestamps without a zone, also those in INT96, are times on the wall of the clock's zone, or of the policy's. (Spark
  writes INT96 in UTC: set the clock's `time_zone` to UTC for such files.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from lethe.counts import Unjudgeable
from lethe.judging.dates import Zones
from lethe.periods import Cutoff
from lethe.policy import Condition, Expiry, FilesDataset, MissingClock
from lethe.stores.files.clocks import (
    Bits,
    ClockValues,
    Numbers,
    Reader,
    WrongSchema,
    flat,
    is_temporal,
    plain,
    reader,
)
from lethe.stores.files.conditions import Answer, answer, unfit
from lethe.stores.files.formats import format_of
from lethe.stores.files.formats.base import AMBIGUOUS, UNREADABLE, As, Chunk, Format, RowFile
from lethe.stores.files.holds import RowMatcher
from lethe.stores.files.literals import Literal, Unfit, among, fitting
from lethe.stores.files.marks import Marks
from lethe.stores.files.partition import TEXT, Path

ROWS_AT_ONCE = 1 << 17
"""Rows of the needed columns that are decoded at a time."""


@dataclass
class FileJudgement:
    """What a file holds.

    Attributes:
        rows: all rows.
        total: rows in the dataset's scope.
        expired: expired rows, held and kept on ones included.
        kept_on: expired rows that `keep_while` keeps.
        going: rows that may and must go.
        held: expired rows that a hold covers.
        unjudgeable: rows that cannot be judged, by why.
        oldest: earliest clock day of the rows that go.
        contradicts: whether a clock is before the day that the file's key says no clock is before.
    """

    rows: int
    total: int = 0
    expired: int = 0
    kept_on: int = 0
    unjudgeable: dict[Unjudgeable, int] = field(default_factory=dict)
    oldest: date | None = None
    going: Marks = field(default_factory=lambda: Marks((), (), ()))
    held: Marks = field(default_factory=lambda: Marks((), (), ()))
    contradicts: bool = False

    def note(self, why: Unjudgeable, rows: Bits | int) -> None:
        """Count rows that cannot be judged."""
        count = rows if isinstance(rows, int) else int(np.count_nonzero(rows))
        if count:
            self.unjudgeable[why] = self.unjudgeable.get(why, 0) + count


@dataclass(frozen=True)
class JudgedColumns:
    """The columns of a dataset that judging needs."""

    clocks: tuple[str, ...]
    scope: tuple[str, ...]
    others: tuple[str, ...]
    identifiers: tuple[str, ...]
    key: tuple[str, ...]

    @classmethod
    def of(cls, dataset: FilesDataset, expiry: Expiry) -> JudgedColumns:
        """The columns that a dataset's declaration names."""
        others = [condition.column for condition in dataset.keep_while]
        if expiry.column is not None:
            others.append(expiry.column)
        return cls(
            dataset.clock.columns,
            tuple(dict.fromkeys(condition.column for condition in dataset.where)),
            tuple(dict.fromkeys(others)),
            tuple(dict.fromkeys(name for names in dataset.identifiers.values() for name in names)),
            dataset.key,
        )

    @property
    def judged(self) -> list[str]:
        """Columns that tell whether a row has expired."""
        return list(dict.fromkeys((*self.clocks, *self.scope, *self.others)))

    @property
    def named(self) -> list[str]:
        """All columns that a file must have."""
        return list(dict.fromkeys((*self.judged, *self.identifiers, *self.key)))


@dataclass(frozen=True)
class DatasetJudge:
    """Judges the files of one dataset at one as-of moment."""

    dataset: FilesDataset
    expiry: Expiry

    @property
    def format(self) -> Format:
        """That of the files."""
        return format_of(self.dataset.kind)

    @property
    def columns(self) -> JudgedColumns:
        """What it needs to read."""
        return JudgedColumns.of(self.dataset, self.expiry)

    @property
    def stored(self) -> list[str]:
        """All columns that a file itself must have."""
        return [name for name in self.columns.named if name not in self.dataset.path_columns]

    @property
    def clock_zone(self) -> ZoneInfo:
        """The zone of timestamps that state none."""
        name = self.dataset.clock.time_zone
        return ZoneInfo(name) if name else self.expiry.zone

    @property
    def cutoffs(self) -> list[Cutoff]:
        """All cutoffs that rows may be judged by."""
        return [*([self.expiry.default] if self.expiry.default else []), *self.expiry.by_value.values()]

    def _values(self) -> Iterator[tuple[str, Iterable[Literal]]]:
        """Columns with the values that the policy names of them."""
        for _, condition in self.dataset.conditions:
            yield condition.column, condition.values
        if self.expiry.column is not None:
            yield self.expiry.column, self.expiry.by_value

    def bind(self, schema: pa.Schema, key: str) -> FileJudge:
        """Get ready for a file of a schema, under a key.

        Raises:
            WrongSchema: if it lacks a column, or has it twice, with a type that cannot be used, or with one that cannot
                have a value that the policy names; or if the key does not say what the policy takes from it.
        """
        path = Path.of(self.dataset, key)
        if any(name in path.values for name in schema.names):
            raise WrongSchema("it has a column of its own that path_columns takes from its key")
        for name in path.physical(self.columns.named):
            found = schema.get_all_field_indices(name)
            if len(found) != 1:
                raise WrongSchema("a needed column is missing, or there twice")
            if pa.types.is_nested(plain(schema.field(found[0]).type)):
                raise WrongSchema("a needed column is nested")
        for _, condition in self.dataset.conditions:
            if condition.column in path.values:
                continue
            reason = unfit(condition, schema.field(condition.column).type, typed=self.format.typed)
            if reason is not None:
                raise WrongSchema(reason)
        for name, values in self._values() if self.format.typed else ():
            for value in values if name not in path.values else ():
                try:
                    fitting(schema.field(name).type, value)
                except Unfit as error:
                    raise WrongSchema(f"a column cannot have a value that the policy names ({error})") from None
        readers = {
            name: self._reader_of_path(path, name)
            if name in path.values
            else reader(schema.field(name).type, self.dataset.clock, self.clock_zone)
            for name in self.columns.clocks
        }
        for name in path.values:
            schema = schema.append(pa.field(name, TEXT))
        return FileJudge(self, schema, readers, path)

    def _reader_of_path(self, path: Path, name: str) -> Reader:
        form, zones = self.dataset.clock.format, (self.clock_zone, self.expiry.zone)
        return lambda array: path.clock(name, len(array), form, *zones)


@dataclass(frozen=True)
class FileJudge:
    """Judges a file: by its schema, with the columns that its key says."""

    judge: DatasetJudge
    schema: pa.Schema
    readers: Mapping[str, Reader]
    path: Path

    def judge_file(
        self,
        file: RowFile,
        matcher: RowMatcher,
        *,
        unexpired: bool = False,
        not_before: Cutoff | None = None,
    ) -> FileJudgement:
        """Judge all rows of a file.

        Args:
            file: opened.
            matcher: the holds.
            unexpired: the file's key already shows that none of its clocks has expired.
            not_before: what the key says that none of its clocks is before.
        """
        result = FileJudgement(rows=0)
        going: list[Bits] = []
        held: list[Bits] = []
        for chunk in file.chunks():
            result.rows += chunk.rows
            nothing = np.zeros(chunk.rows, dtype=np.bool_)
            skip = not self.judge.columns.scope if unexpired else self._unexpired(chunk)
            if not_before is not None and self._shown_before(chunk, not_before):
                result.contradicts = True
            if skip or not chunk.rows:
                result.total += chunk.rows
                going.append(nothing)
                held.append(nothing)
                continue
            expired, kept_on, oldest = self._expired(chunk, result, unexpired=unexpired, not_before=not_before)
            candidates = expired & ~kept_on
            covered = nothing
            if matcher and candidates.any():
                covered, oldest = self._held(chunk, candidates, matcher)
            result.expired += int(np.count_nonzero(expired))
            result.kept_on += int(np.count_nonzero(kept_on))
            going.append(candidates & ~covered)
            held.append(covered)
            if oldest is not None:
                result.oldest = min(oldest, result.oldest or oldest)
        result.going, result.held = Marks.of(going), Marks.of(held)
        return result

    def held_rows(self, file: RowFile, candidates: Marks, matcher: RowMatcher) -> Marks:
        """Which of the candidates holds cover. Nothing is read of chunks without candidates."""
        found = []
        for index, chunk in enumerate(file.chunks()):
            marks = candidates.rows(index)
            if matcher and candidates.counts[index]:
                marks, _ = self._held(chunk, marks, matcher)
            else:
                marks = np.zeros(len(marks), dtype=np.bool_)
            found.append(marks)
        return Marks.of(found)

    # --- what bounds tell ----------------------------------------------------------------------------------

    def _unexpired(self, chunk: Chunk) -> bool:
        """Whether bounds show that all rows of a chunk are in scope, judgeable and unexpired."""
        judge = self.judge
        if judge.columns.scope or judge.expiry.default is None:
            return False
        clock = judge.dataset.clock
        shown = [self._column_unexpired(chunk, name) for name in judge.columns.clocks]
        complete = clock.when_missing is MissingClock.RUNNING or any(nulls == 0 for _, nulls in shown)
        enough = all if clock.earliest_of else any
        if clock.latest_of:
            # A column that cannot be parsed would make the row unjudgeable; only text can be that.
            texts = [name for name in judge.columns.clocks if not is_temporal(self.schema.field(name).type)]
            if texts:
                return False
            return any(unexpired and nulls == 0 for unexpired, nulls in shown)
        return complete and enough(unexpired for unexpired, _ in shown)

    def _shown_before(self, chunk: Chunk, cutoff: Cutoff) -> bool:
        """Whether bounds show a row before a cutoff: where there is one clock, and every row is a record."""
        if len(self.judge.columns.clocks) > 1 or self.judge.columns.scope:
            return False
        least, _ = self._least(chunk, self.judge.columns.clocks[0])
        return least is not None and bool(least.before(cutoff).any())

    def _column_unexpired(self, chunk: Chunk, name: str) -> tuple[bool, int]:
        """Whether no value of a clock column is before any cutoff, and how many are NULL (-1: not known)."""
        least, nulls = self._least(chunk, name)
        if least is None:
            return nulls == chunk.rows, nulls
        return not any(least.before(cutoff).any() for cutoff in self.judge.cutoffs), nulls

    def _least(self, chunk: Chunk, name: str) -> tuple[ClockValues | None, int]:
        """The least value of a clock column, and how many are NULL; None and -1 where that is not known."""
        bounds = chunk.bounds(name) if is_temporal(self.schema.field(name).type) else None
        if bounds is None:
            return None, -1
        if bounds.nulls == chunk.rows:
            return None, bounds.nulls
        if bounds.least is None or bounds.greatest is None or self.readers[name](bounds.greatest).unparsable.any():
            return None, -1
        return self.readers[name](bounds.least), bounds.nulls

    # --- what the rows tell ------------------------------------------------------------------------------------

    def batches(self, chunk: Chunk, columns: Mapping[str, As]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Rows of a chunk with the number of the first of them, some at a time.

        Raises:
            OSError: if it has another number of rows than it says.
        """
        start, rows = 0, chunk.rows
        wanted = {name: columns[name] for name in self.path.physical(columns)}
        for batch in chunk.read(wanted, ROWS_AT_ONCE):
            if start + batch.num_rows > rows:
                break
            yield start, self.path.completed(batch, list(columns))
            start += batch.num_rows
        if start != rows:
            raise OSError("a chunk has another number of rows than it says")

    def _expired(
        self, chunk: Chunk, result: FileJudgement, *, unexpired: bool, not_before: Cutoff | None
    ) -> tuple[Bits, Bits, date | None]:
        """Rows of a chunk that have expired, and those of them that are kept on; counts the others."""
        rows = chunk.rows
        expired, kept_on = np.zeros(rows, dtype=np.bool_), np.zeros(rows, dtype=np.bool_)
        oldest: date | None = None
        columns = list(self.judge.columns.scope) if unexpired else self.judge.columns.judged
        for start, batch in self.batches(chunk, dict.fromkeys(columns, As.VALUE)):
            stop = start + batch.num_rows
            data = {name: flat(batch.column(name)) for name in columns}
            scope, undecided = self._scope(data, batch.num_rows)
            if not self.judge.format.typed:
                unclear = self._unclear(batch, data)
                result.note(Unjudgeable.UNREADABLE, unclear)
                result.total += int(np.count_nonzero(unclear))
                scope, undecided = scope & ~unclear, undecided & ~unclear
            result.total += int(np.count_nonzero(scope | undecided))
            result.note(Unjudgeable.UNCLEAR_CONDITION, undecided)
            if unexpired:
                continue
            clocks = {name: self.readers[name](data[name]) for name in self.judge.columns.clocks}
            expired[start:stop] = self._judged(clocks, data, scope, result)
            if not_before is not None:
                result.contradicts |= bool(
                    (expired[start:stop] & self._before(list(clocks.values()), not_before)).any()
                )
            if expired[start:stop].any():
                kept = expired[start:stop] & self._any(self.judge.dataset.keep_while, data, batch.num_rows)
                kept_on[start:stop] = kept
                day = self._oldest(clocks, expired[start:stop] & ~kept)
                oldest = min(day, oldest or day) if day else oldest
        return expired, kept_on, oldest

    @staticmethod
    def _unclear(batch: pa.RecordBatch, data: Mapping[str, pa.Array]) -> Bits:
        """Rows of a format without types that cannot be read, or that say several things where one is judged."""
        unclear = np.array(batch.column(UNREADABLE).to_numpy(zero_copy_only=False), dtype=np.bool_)
        for array in data.values():
            unclear |= among(array, [AMBIGUOUS])
        return unclear

    def _judged(
        self, clocks: Mapping[str, ClockValues], data: Mapping[str, pa.Array], scope: Bits, result: FileJudgement
    ) -> Bits:
        """Which rows have expired."""
        values = list(clocks.values())
        missing = np.logical_and.reduce([one.missing for one in values])
        unparsable = np.logical_or.reduce([one.unparsable for one in values]) & scope
        result.note(Unjudgeable.UNPARSABLE_CLOCK, unparsable)
        if self.judge.dataset.clock.when_missing is MissingClock.UNJUDGEABLE:
            result.note(Unjudgeable.NO_CLOCK, missing & scope)
        judged = scope & ~missing & ~unparsable
        expired = np.zeros(len(scope), dtype=np.bool_)
        expiry = self.judge.expiry
        rest = judged
        if expiry.column is not None:
            for cutoff, texts in expiry.longest_first:
                for value in texts:
                    chosen = rest & self.among(expiry.column, data, len(scope), value)
                    expired |= chosen & self._before(values, cutoff)
                    rest = rest & ~chosen
        if expiry.default is not None:
            expired |= rest & self._before(values, expiry.default)
        else:
            result.note(Unjudgeable.NO_PERIOD, rest)
        return expired

    def _before(self, values: list[ClockValues], cutoff: Cutoff) -> Bits:
        """Rows whose clock is before a cutoff: of the latest of several columns, all that there are."""
        if self.judge.dataset.clock.earliest_of:
            return np.asarray(np.logical_or.reduce([one.before(cutoff) for one in values]), dtype=np.bool_)
        return np.asarray(np.logical_and.reduce([one.before(cutoff) | one.missing for one in values]), dtype=np.bool_)

    def _oldest(self, clocks: Mapping[str, ClockValues], rows: Bits) -> date | None:
        if not rows.any():
            return None
        if len(clocks) == 1:
            return next(iter(clocks.values())).oldest(rows, self.judge.expiry.zone)
        first, _ = self._days(clocks, rows)
        return date.fromordinal(max(1, int(first.min()) + date(1970, 1, 1).toordinal()))

    def _days(self, clocks: Mapping[str, ClockValues], rows: Bits) -> tuple[Numbers, Numbers]:
        """The earliest and the latest local day that each of the chosen rows' clocks may be on."""
        latest = not self.judge.dataset.clock.earliest_of
        neutral = np.iinfo(np.int64).min if latest else np.iinfo(np.int64).max
        pick = np.maximum if latest else np.minimum
        first = np.full(int(np.count_nonzero(rows)), neutral, dtype=np.int64)
        last = first.copy()
        for values in clocks.values():
            low, high = values.days(self.judge.expiry.zone)
            missing = values.missing[rows]
            first = pick(first, np.where(missing, neutral, low[rows]))
            last = pick(last, np.where(missing, neutral, high[rows]))
        return first, last

    def _held(self, chunk: Chunk, candidates: Bits, matcher: RowMatcher) -> tuple[Bits, date | None]:
        """Which candidates of a chunk are held, and the earliest day of those that are not."""
        held = np.zeros(len(candidates), dtype=np.bool_)
        oldest: date | None = None
        columns = dict.fromkeys(matcher.columns, As.IDENTIFIERS) | dict.fromkeys(self.judge.columns.clocks, As.VALUE)
        for start, batch in self.batches(chunk, columns):
            stop = start + batch.num_rows
            chosen = candidates[start:stop]
            if not chosen.any():
                continue
            clocks = {name: self.readers[name](flat(batch.column(name))) for name in self.judge.columns.clocks}
            some = pa.array(chosen)
            data = {name: flat(batch.column(name).filter(some)) for name in matcher.columns}
            days = self._days(clocks, chosen) if matcher.needs_days else None
            positions = np.flatnonzero(chosen)
            held[start + positions[matcher.held(data, len(positions), days)]] = True
            day = self._oldest(clocks, chosen & ~held[start:stop])
            oldest = min(day, oldest or day) if day else oldest
        return held, oldest

    # --- conditions --------------------------------------------------------------------------------------------

    def _scope(self, data: Mapping[str, pa.Array], rows: int) -> tuple[Bits, Bits]:
        """The rows that the dataset consists of, and those of which nobody can say whether they are of them."""
        surely, perhaps = np.ones(rows, dtype=np.bool_), np.ones(rows, dtype=np.bool_)
        for condition in self.judge.dataset.where:
            found = self._answer(condition, data, rows)
            surely &= found.met
            perhaps &= found.perhaps_met
        return surely, perhaps & ~surely

    def _any(self, conditions: tuple[Condition, ...], data: Mapping[str, pa.Array], rows: int) -> Bits:
        found = np.zeros(rows, dtype=np.bool_)
        for condition in conditions:
            found |= self._answer(condition, data, rows).perhaps_met
        return found

    def _answer(self, condition: Condition, data: Mapping[str, pa.Array], rows: int) -> Answer:
        zones = Zones(self.judge.expiry.zone, self.judge.clock_zone)
        if condition.column in self.path.values:
            return self.path.answer(condition, rows, zones)
        return answer(condition, data[condition.column], zones, typed=self.judge.format.typed)

    def among(self, name: str, data: Mapping[str, pa.Array], rows: int, value: Literal) -> Bits:
        """Which rows have a value of a policy in a column; `data` are the columns that were read."""
        if name in self.path.values:
            return self.path.among(name, rows, [value])
        return among(data[name], [value], typed=self.judge.format.typed)
