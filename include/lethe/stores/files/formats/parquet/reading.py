"""Parquet files as files of rows: row groups are the chunks, and bounds come from the footer.

Only what is needed is read. Statistics are taken from the footer itself: Arrow ends the process when it is asked for
damaged ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo

import pyarrow as pa
import pyarrow.parquet as pq

from lethe.judging.identifiers import IdentifierType
from lethe.judging.keys import Single, to_the_nanosecond
from lethe.policy import FilesDataset
from lethe.stores.files.clocks import UNIT_NS, flat, is_temporal, is_text, plain
from lethe.stores.files.formats.base import As, Bounds, Sink, Source, Unreadable
from lethe.stores.files.formats.parquet import footer as ft
from lethe.stores.files.formats.parquet.footer import ChunkMeta, FileMetaData
from lethe.stores.files.formats.parquet.rewrite import Rewriter, check_rewritable
from lethe.stores.files.formats.parquet.thrift import Field, Struct
from lethe.stores.files.holds import Values, values_of
from lethe.stores.files.marks import Marks

READ_AHEAD = 4 << 20
"""Bytes of a column that are read at a time where reading costs requests."""
JUDGED_INT96 = "us"
"""The unit that INT96 is judged in: nanoseconds wrap around outside of the years 1678 to 2261; 9999 becomes 1816."""

_GREATEST_OLD, _LEAST_OLD, _NULLS, _GREATEST, _LEAST = 1, 2, 3, 5, 6
"""Field ids of statistics."""
_INSTEAD = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}


@dataclass(frozen=True)
class ParquetChunk:
    """A row group.

    Attributes:
        parquet: the file.
        index: which one.
        described: what the footer says of it; None: nothing that is to be trusted.
    """

    parquet: pq.ParquetFile
    index: int
    described: Struct | None

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return int(self.parquet.metadata.row_group(self.index).num_rows)

    def read(self, columns: Mapping[str, As] | None, at_once: int) -> Iterator[pa.RecordBatch]:
        """Rows, in types that Arrow can choose rows of: not views of text or bytes."""
        wanted = None if columns is None else list(columns)
        for batch in self.parquet.iter_batches(at_once, row_groups=[self.index], columns=wanted, use_threads=False):
            kinds = [_INSTEAD.get(kind, kind) for kind in batch.schema.types]
            if kinds == batch.schema.types:
                yield batch
            else:
                fields = [field.with_type(kind) for field, kind in zip(batch.schema, kinds, strict=True)]
                yield batch.cast(pa.schema(fields))

    def bounds(self, column: str) -> Bounds | None:
        """What statistics tell of a column of days or times."""
        meta = ft.column_meta(self.described, column) if self.described is not None else None
        statistics = ft.substruct(meta, ChunkMeta.STATISTICS) if meta else None
        if meta is None or statistics is None or _NULLS not in statistics:
            return None
        kind = plain(self.parquet.schema_arrow.field(column).type)
        if not is_temporal(kind):
            return None
        least = _extreme(kind, statistics.get(_LEAST, statistics.get(_LEAST_OLD)), meta)
        greatest = _extreme(kind, statistics.get(_GREATEST, statistics.get(_GREATEST_OLD)), meta)
        return Bounds(ft.number(statistics, _NULLS), least, greatest)


def _extreme(kind: pa.DataType, bound: Field | None, meta: Struct) -> pa.Array | None:
    """The least or greatest value of a column's statistics."""
    width = {ft.INT32: 4, ft.INT64: 8}.get(ft.number(meta, ChunkMeta.TYPE))
    if bound is None or width is None or not isinstance(bound.value, bytes) or len(bound.value) != width:
        return None
    number = pa.array([int.from_bytes(bound.value, "little", signed=True)], pa.int64())
    stored = pa.date32() if pa.types.is_date(kind) else kind
    try:
        return number.cast(pa.int32()).cast(stored) if width == 4 else number.cast(stored)
    except pa.ArrowInvalid:
        return None


class ParquetRows:
    """An opened Parquet file."""

    def __init__(self, source: Source, *, exact: bool = False) -> None:
        """Open it: nothing is read ahead.

        Args:
            source: the file.
            exact: for comparing values, not for judging them: no two of INT96 become one, but they wrap around.

        Raises:
            Unreadable: if it is no Parquet file, or is damaged, encrypted, or a summary of other files.
        """
        # First, because Arrow ends the process when it is asked about a column that is encrypted.
        self.footer = read_footer(source)
        self._source = source
        try:
            self.parquet = pq.ParquetFile(
                source.arrow(),
                pre_buffer=False,
                buffer_size=READ_AHEAD if source.remote else 0,
                page_checksum_verification=True,
                coerce_int96_timestamp_unit=None if exact else JUDGED_INT96,
            )
        except (pa.ArrowException, OSError, ValueError) as error:
            raise Unreadable(f"its footer cannot be read ({type(error).__name__})") from None

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return int(self.parquet.metadata.num_rows)

    @property
    def owners(self) -> Iterable[bytes]:
        """Names of its key-value metadata."""
        return ft.key_value_names(self.footer)

    def schema(self, names: Sequence[str]) -> pa.Schema:
        """All of its columns."""
        return self.parquet.schema_arrow

    seen = schema

    def chunks(self) -> Iterator[ParquetChunk]:
        """Its row groups."""
        described = ft.structs(self.footer, FileMetaData.ROW_GROUPS)
        for index in range(self.parquet.num_row_groups):
            yield ParquetChunk(self.parquet, index, described[index] if described else None)

    def exact(self) -> ParquetRows:
        """The same with INT96 as it is stored."""
        leaves = ft.leaves(ft.structs(self.footer, FileMetaData.SCHEMA))
        return ParquetRows(self._source, exact=True) if any(leaf.type == ft.INT96 for leaf in leaves) else self

    def check_rewritable(self) -> None:
        """See `rewrite`."""
        check_rewritable(self.footer)

    def write(self, going: Marks, sink: Sink, executor: Executor) -> None:
        """See `rewrite`."""
        Rewriter(self._source.arrow(), self.footer, self._source.size).write(going, sink, executor)


def read_footer(source: Source) -> Struct:
    """The footer as it is on disk. Raises `Unreadable`."""

    def end(length: int) -> bytes:
        length = min(length, source.size)
        return bytes(memoryview(source.read_at(length, source.size - length)))

    return ft.read(end(ft.length(end(ft.TAIL), source.size) + ft.TAIL), source.size)


class Parquet:
    """The format."""

    title = "Parquet"
    typed = True

    def open(self, source: Source, dataset: FilesDataset) -> ParquetRows:
        """Open a file. Raises `Unreadable`."""
        return ParquetRows(source)

    def identifiers(self, column: pa.Array, kind: IdentifierType) -> Values:
        """A column's identifiers."""
        return values_of(column, kind)

    def key_values(self, column: pa.Array) -> list[object]:
        """The values of a key column, so that no two of them become one."""
        array = flat(column)
        kind = array.type
        if is_text(kind):
            return [None if value is None else _text(value) for value in array.cast(pa.large_binary()).to_pylist()]
        if pa.types.is_timestamp(kind):
            numbers = array.cast(pa.int64()).to_pylist()
            unit, zone = UNIT_NS[kind.unit], UTC if kind.tz else None
            return [None if number is None else _moment(number * unit, zone) for number in numbers]
        if pa.types.is_time(kind):
            stored = array.view(pa.int32() if pa.types.is_time32(kind) else pa.int64())
            return [None if number is None else _time(number * UNIT_NS[kind.unit]) for number in stored.to_pylist()]
        if pa.types.is_date32(kind):
            return [None if number is None else _day(number) for number in array.view(pa.int32()).to_pylist()]
        if pa.types.is_float32(kind):
            return [None if value is None else Single(value) for value in array.to_pylist()]
        found: list[object] = array.to_pylist()
        return found


def _text(value: bytes) -> str | bytes:
    """Text, which some writers do not call so; bytes that are none stay bytes."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _moment(nanoseconds: int, zone: tzinfo | None) -> object:
    micro, finer = divmod(nanoseconds, 1000)
    try:
        return to_the_nanosecond(datetime(1970, 1, 1, tzinfo=zone) + timedelta(microseconds=micro), finer)
    except OverflowError:
        return nanoseconds


def _time(nanoseconds: int) -> object:
    since, finer = divmod(nanoseconds, 1000)
    moment = datetime.min + timedelta(microseconds=since)  # noqa: DTZ901 - a time of day
    return to_the_nanosecond(moment.time(), finer) if moment.date() == date.min else nanoseconds


def _day(number: int) -> object:
    """A day; those outside of the calendar by their number."""
    ordinal = number + date(1970, 1, 1).toordinal()
    return date.fromordinal(ordinal) if 1 <= ordinal <= date.max.toordinal() else number
