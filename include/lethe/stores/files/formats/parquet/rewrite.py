"""Rewriting a Parquet file without some of its rows, so that all that stays is what it was.

Reading values and writing them again through a data-frame library loses things: time zones, units, widths of decimals,
field ids, a dictionary's index type, INT96, metadata. So values never take on a meaning here. A copy of the footer
without annotations is given to pyarrow, which then sees only physical types (numbers, bytes, lists and structs of
them); it filters rows and encodes pages again; and the pages are put under the file's own footer, whose schema,
metadata and creator are kept as they were, field by field.

- A row group whose rows all stay is copied as bytes. One whose rows all go is left out.
- One that is rewritten keeps, column by column, codec, page version, dictionary encoding, checksums, page indexes and
  Bloom filters where the original has them. Dictionaries, statistics, indexes and filters are built anew: those of the
  original would still tell of what is gone. Statistics that need the meaning of bytes (decimals in bytes, half floats,
  INT96) are left out, which readers take for unknown.
- A group whose values need more than `GROUP_BYTES` of memory becomes several.
- Levels of compression are not recorded in Parquet files: the codec's default is used.

What cannot be kept is refused with `NotRewritable`, before anything is written: a codec that pyarrow cannot write (LZO,
the LZ4 of Hadoop), a column kept in another file, or a type that would be laid out otherwise.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from math import log
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from lethe.stores.files.formats.base import NotRewritable, Sink, Unreadable
from lethe.stores.files.formats.parquet import footer as ft
from lethe.stores.files.formats.parquet.footer import ChunkMeta, ColumnChunk, Element, FileMetaData, RowGroup
from lethe.stores.files.formats.parquet.thrift import (
    I32,
    LIST,
    STRUCT,
    Field,
    Items,
    Struct,
    ThriftError,
    ThriftReader,
    dumps,
)
from lethe.stores.files.marks import Marks

GROUP_BYTES = 64 << 20
"""Values in memory before a row group is written; beyond it a group becomes several."""
BATCH_BYTES = 16 << 20
"""About how many bytes of values are decoded at a time."""
MOST_ROWS = 1 << 16
"""Rows that are decoded at a time at most."""
COPY_BYTES = 8 << 20
"""Bytes that are copied at a time."""

_CODECS = {0: "NONE", 1: "SNAPPY", 2: "GZIP", 4: "BROTLI", 6: "ZSTD", 7: "LZ4"}
_ENCODINGS = {
    5: "DELTA_BINARY_PACKED",
    6: "DELTA_LENGTH_BYTE_ARRAY",
    7: "DELTA_BYTE_ARRAY",
    9: "BYTE_STREAM_SPLIT",
}
_DICTIONARY_ENCODINGS = (2, 8)
_PLAIN_DICTIONARY = 2
_DATA_PAGES = (0, 3)
_WIDTHS = {0: 1, 1: 4, 2: 8, 3: 12, 4: 4, 5: 8}
_DEFAULT_DICTIONARY_BYTES = 1 << 20

_CONVERTED_MAP, _CONVERTED_MAP_KEY_VALUE, _CONVERTED_LIST = 1, 2, 3
_CONVERTED_DECIMAL, _CONVERTED_INTERVAL = 5, 21
_CONVERTED_UNSIGNED = (11, 12, 13, 14)
_LOGICAL_MAP, _LOGICAL_LIST, _LOGICAL_DECIMAL, _LOGICAL_INTEGER, _LOGICAL_FLOAT16 = 2, 3, 5, 10, 15
_LOGICAL_GEOMETRY, _LOGICAL_GEOGRAPHY = 17, 18


@dataclass(frozen=True)
class Physical:
    """How pyarrow is to see a file: the same pages under a footer without meaning.

    Attributes:
        metadata: the footer to read with.
        schema: the physical columns.
        paths: the columns' dotted paths when written, in order.
        columns: the columns as they are stored.
    """

    metadata: pq.FileMetaData
    schema: pa.Schema
    paths: tuple[str, ...]
    columns: tuple[ft.Leaf, ...]

    @classmethod
    def of(cls, footer: Struct) -> Physical:
        """Work it out, and check that pages would be laid out the same when written.

        Raises:
            NotRewritable: if they would not, or pyarrow cannot read such a schema.
        """
        stripped = dict(footer)
        elements = ft.structs(footer, FileMetaData.SCHEMA)
        stripped[FileMetaData.SCHEMA] = _list([_stripped(i, element) for i, element in enumerate(elements)])
        stripped[FileMetaData.ROW_GROUPS] = _list(
            [_stripped_group(group) for group in ft.structs(footer, FileMetaData.ROW_GROUPS)]
        )
        for identity in (FileMetaData.KEY_VALUES, FileMetaData.COLUMN_ORDERS):
            stripped.pop(identity, None)
        try:
            metadata = pq.read_metadata(io.BytesIO(ft.MAGIC + ft.dump(stripped)))
            schema = metadata.schema.to_arrow_schema()
            out = pa.BufferOutputStream()
            pq.write_table(schema.empty_table(), out, store_schema=False)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise NotRewritable(f"its schema cannot be written again ({type(error).__name__})") from None
        written = _footer_of(out.getvalue())
        columns = tuple(ft.leaves(elements))
        again = ft.leaves(ft.structs(written, FileMetaData.SCHEMA))
        if len(columns) != len(again) or not all(a.same_pages(b) for a, b in zip(columns, again, strict=True)):
            raise NotRewritable("a column would be laid out otherwise")
        shape = pq.read_metadata(pa.BufferReader(out.getvalue())).schema
        paths = tuple(shape.column(index).path for index in range(len(columns)))
        return cls(metadata, schema, paths, columns)


def _list(values: list[Struct]) -> Field:
    return Field(LIST, Items(STRUCT, values))


def _stripped(index: int, element: Struct) -> Struct:
    """An element of the schema without its meaning, under a plain name."""
    keep = (Element.TYPE, Element.LENGTH, Element.REPETITION, Element.CHILDREN)
    found = {identity: element[identity] for identity in keep if identity in element}
    found[Element.NAME] = ft.text(f"c{index}")
    if Element.TYPE not in element:
        if _annotated(element, (_LOGICAL_LIST, _LOGICAL_MAP)) or ft.number(element, Element.CONVERTED, -1) in (
            _CONVERTED_LIST,
            _CONVERTED_MAP,
            _CONVERTED_MAP_KEY_VALUE,
        ):
            found[Element.CONVERTED] = Field(I32, _CONVERTED_LIST)
    elif ft.number(element, Element.TYPE) == ft.INT96:
        found[Element.TYPE] = Field(I32, ft.FIXED)
        found[Element.LENGTH] = Field(I32, 12)
    elif _is_unsigned(element):
        for identity in (Element.CONVERTED, Element.LOGICAL):
            if identity in element:
                found[identity] = element[identity]
    return found


def _annotated(element: Struct, logical: Sequence[int]) -> bool:
    annotation = ft.substruct(element, Element.LOGICAL)
    return annotation is not None and any(identity in annotation for identity in logical)


def _is_unsigned(element: Struct) -> bool:
    """Whether it is a number without a sign, which statistics order otherwise."""
    if ft.number(element, Element.CONVERTED, -1) in _CONVERTED_UNSIGNED:
        return True
    annotation = ft.substruct(element, Element.LOGICAL) or {}
    integer = ft.substruct(annotation, _LOGICAL_INTEGER)
    return integer is not None and 2 in integer and not integer[2].value


def _has_statistics(element: Struct) -> bool:
    """Whether the order of a column's physical values is that of their meaning."""
    kind = ft.number(element, Element.TYPE)
    if kind == ft.INT96:
        return False
    if kind not in (ft.BYTE_ARRAY, ft.FIXED):
        return True
    if ft.number(element, Element.CONVERTED, -1) in (_CONVERTED_DECIMAL, _CONVERTED_INTERVAL):
        return False
    return not _annotated(element, (_LOGICAL_DECIMAL, _LOGICAL_FLOAT16, _LOGICAL_GEOMETRY, _LOGICAL_GEOGRAPHY))


def _stripped_group(group: Struct) -> Struct:
    found = {k: v for k, v in group.items() if k != RowGroup.SORTING}
    found[RowGroup.COLUMNS] = _list([_stripped_chunk(chunk) for chunk in ft.structs(group, RowGroup.COLUMNS)])
    return found


def _stripped_chunk(chunk: Struct) -> Struct:
    meta = dict(_meta(chunk))
    if ft.number(meta, ChunkMeta.TYPE) == ft.INT96:
        meta[ChunkMeta.TYPE] = Field(I32, ft.FIXED)
    for identity in (ChunkMeta.STATISTICS, ChunkMeta.KEY_VALUES, ChunkMeta.SIZE_STATISTICS, ChunkMeta.GEOSPATIAL):
        meta.pop(identity, None)
    return {ColumnChunk.FILE_OFFSET: ft.long(0), ColumnChunk.META: Field(STRUCT, meta)}


def _meta(chunk: Struct) -> Struct:
    meta = ft.substruct(chunk, ColumnChunk.META)
    if meta is None:
        raise Unreadable("a column has no metadata")
    return meta


def _footer_of(file: pa.Buffer) -> Struct:
    tail = memoryview(file)
    length = ft.length(bytes(tail[-ft.TAIL :]), len(tail))
    return ft.read(bytes(tail[-length - ft.TAIL :]), len(tail))


def check_rewritable(footer: Struct) -> None:
    """Whether rows can be taken out of every row group of a file, as far as its footer tells.

    Raises:
        NotRewritable: naming the reason.
    """
    for chunk in ft.chunks(footer):
        _codec(chunk)
    Physical.of({**footer, FileMetaData.ROW_GROUPS: _list([]), FileMetaData.ROWS: ft.long(0)})


def _codec(chunk: Struct) -> str:
    if ColumnChunk.FILE_PATH in chunk:
        raise NotRewritable("a column is kept in another file")
    codec = _CODECS.get(ft.number(_meta(chunk), ChunkMeta.CODEC))
    if codec is None or (codec != "NONE" and not pa.Codec.is_available(codec.lower().replace("lz4", "lz4_raw"))):
        raise NotRewritable("a column is compressed in a way that cannot be written")
    return codec


@dataclass(frozen=True, slots=True)
class PageHeader:
    """What the header of a page tells."""

    kind: int
    bytes: int
    values: int
    checksum: bool


def _page(source: ft.ByteSource, offset: int, size: int) -> PageHeader:
    for length in (512, 1 << 16, 1 << 20):
        try:
            header = ThriftReader(memoryview(source.read_at(min(length, size - offset), offset))).struct()
            break
        except ThriftError:
            continue
    else:
        raise Unreadable("a page has no readable header")
    dictionary = ft.substruct(header, 7) or {}
    return PageHeader(ft.number(header, 1), ft.number(header, 2), ft.number(dictionary, 1), 4 in header)


class Rewriter:
    """Takes rows out of one file."""

    def __init__(self, source: pa.NativeFile, footer: Struct, size: int) -> None:
        """Prepare for a file of `size` bytes with that footer.

        Raises:
            NotRewritable: see `check_rewritable`.
        """
        for chunk in ft.chunks(footer):
            _codec(chunk)
        self._source = source
        self._footer = footer
        self._size = size
        self._physical = Physical.of(footer)
        self._elements = ft.structs(footer, FileMetaData.SCHEMA)
        self._groups = ft.structs(footer, FileMetaData.ROW_GROUPS)

    def write(self, going: Marks, sink: Sink, executor: Executor | None = None) -> int:
        """Write the file without the marked rows, which must neither be none nor all.

        Args:
            going: which rows go, by row group.
            sink: where the new file goes.
            executor: encodes row groups in parallel, two ahead of the one that is written; None: one after the other.

        Returns:
            The number of bytes written.

        Raises:
            NotRewritable: if it turns out that what stays would change. The sink then has part of a file.
            Unreadable: if a page cannot be read.
        """
        try:
            return self._write(going, _Output(sink), executor)
        except (pa.ArrowException, OSError, SystemError, ThriftError) as error:
            raise Unreadable(f"a page cannot be read ({type(error).__name__})") from None

    def _write(self, going: Marks, out: _Output, executor: Executor | None) -> int:
        out.write(ft.MAGIC)
        groups: list[Struct] = []
        for copied, pieces in self._pieces(going, executor):
            if copied is not None:
                groups.append(self._copied(copied, out))
            for piece, original in pieces:
                groups.append(self._spliced(piece, original, out))
        out.write_indexes()
        rows = sum(ft.number(group, RowGroup.ROWS) for group in groups)
        if rows != ft.number(self._footer, FileMetaData.ROWS) - going.count or not rows:
            raise NotRewritable("another number of rows would stay than should")
        for ordinal, group in enumerate(groups):
            if RowGroup.ORDINAL in group:
                group[RowGroup.ORDINAL] = Field(group[RowGroup.ORDINAL].type, min(ordinal, 0x7FFF))
        out.write(
            ft.dump(
                {
                    **self._footer,
                    FileMetaData.ROWS: ft.long(rows),
                    FileMetaData.ROW_GROUPS: _list(groups),
                }
            )
        )
        return out.position

    def _pieces(
        self, going: Marks, executor: Executor | None
    ) -> Iterator[tuple[Struct | None, Iterator[tuple[pa.Buffer, Struct]]]]:
        """For every row group that stays: itself to be copied, or the small files that it becomes."""
        waiting: list[tuple[Struct | None, Future[list[tuple[pa.Buffer, Struct]]] | int | None]] = []
        for index, group in enumerate(self._groups):
            marked = going.counts[index]
            if marked == ft.number(group, RowGroup.ROWS):
                continue
            if not marked:
                waiting.append((group, None))
            elif executor is not None and self._width(group) * ft.number(group, RowGroup.ROWS) <= GROUP_BYTES:
                waiting.append((None, executor.submit(self._encoded_now, index, going)))
            else:
                waiting.append((None, index))
            if len(waiting) > 2:
                yield self._waited(waiting.pop(0), going)
        for one in waiting:
            yield self._waited(one, going)

    def _waited(
        self, one: tuple[Struct | None, Future[list[tuple[pa.Buffer, Struct]]] | int | None], going: Marks
    ) -> tuple[Struct | None, Iterator[tuple[pa.Buffer, Struct]]]:
        copied, work = one
        if work is None:
            return copied, iter(())
        return None, self._encoded(work, going) if isinstance(work, int) else iter(work.result())

    def _encoded_now(self, index: int, going: Marks) -> list[tuple[pa.Buffer, Struct]]:
        return list(self._encoded(index, going))

    # --- a row group of which some rows go ---------------------------------------------------------------------

    def _encoded(self, index: int, going: Marks) -> Iterator[tuple[pa.Buffer, Struct]]:
        """The rows of a row group that stay, as small Parquet files, with the group that they come from."""
        group = self._groups[index]
        options = self._options(group)
        batches: list[pa.RecordBatch] = []
        pending = 0
        for batch in self._staying(index, group, going):
            batches.append(batch)
            pending += batch.nbytes
            if pending >= GROUP_BYTES:
                yield self._small_file(batches, options), group
                batches, pending = [], 0
        if batches:
            yield self._small_file(batches, options), group

    def _staying(self, index: int, group: Struct, going: Marks) -> Iterator[pa.RecordBatch]:
        file = pq.ParquetFile(
            self._source,
            metadata=self._physical.metadata,
            pre_buffer=False,
            buffer_size=1 << 20 if self._large(group) else 0,
            page_checksum_verification=True,  # what is written again gets a checksum that is right
        )
        rows = max(64, min(MOST_ROWS, BATCH_BYTES // self._width(group)))
        start = 0
        for batch in file.iter_batches(batch_size=rows, row_groups=[index], use_threads=False):
            stays = ~going.rows(index, start, start + batch.num_rows)
            start += batch.num_rows
            kept = batch if stays.all() else batch.filter(pa.array(stays))
            if kept.num_rows:
                yield kept
        if start != ft.number(group, RowGroup.ROWS):
            raise NotRewritable("a row group is read with another number of rows than it says")

    def _large(self, group: Struct) -> bool:
        return max(
            (ft.number(_meta(chunk), ChunkMeta.COMPRESSED) for chunk in ft.structs(group, RowGroup.COLUMNS)), default=0
        ) > (16 << 20)

    def _width(self, group: Struct) -> int:
        """About how many bytes a row takes in memory."""
        rows = max(1, ft.number(group, RowGroup.ROWS))
        total = 0
        for leaf, chunk in zip(self._physical.columns, ft.structs(group, RowGroup.COLUMNS), strict=True):
            meta = _meta(chunk)
            values = ft.number(meta, ChunkMeta.VALUES)
            if leaf.type == ft.BYTE_ARRAY:
                total += 5 * values + self._text_bytes(meta)
            else:
                total += (1 + (leaf.length if leaf.type == ft.FIXED else _WIDTHS.get(leaf.type, 8))) * values
        return max(1, total // rows)

    def _text_bytes(self, meta: Struct) -> int:
        """About how many bytes the values of a chunk of byte arrays take when decoded."""
        sizes = ft.substruct(meta, ChunkMeta.SIZE_STATISTICS) or {}
        if 1 in sizes:
            return ft.number(sizes, 1)
        encoded = ft.number(meta, ChunkMeta.UNCOMPRESSED)
        offset = ft.number(meta, ChunkMeta.DICTIONARY_PAGE)
        if not offset:
            return encoded
        page = _page(self._source, offset, self._size)
        return max(encoded, 2 * page.bytes * ft.number(meta, ChunkMeta.VALUES) // max(1, page.values))

    def _options(self, group: Struct) -> dict[str, Any]:
        """How to write a row group, so that it is encoded as the original is."""
        chunks = ft.structs(group, RowGroup.COLUMNS)
        metas = dict(zip(self._physical.paths, map(_meta, chunks), strict=True))
        dictionary = [path for path, meta in metas.items() if _is_dictionary(meta)]
        encodings = {path: name for path, meta in metas.items() if path not in dictionary and (name := _encoding(meta))}
        first = next(iter(metas.values()))
        page = _page(self._source, ft.number(first, ChunkMeta.DATA_PAGE), self._size)
        sizes = [
            _page(self._source, ft.number(meta, ChunkMeta.DICTIONARY_PAGE), self._size).bytes
            for path, meta in metas.items()
            if path in dictionary
        ]
        blooms = {path: self._bloom(meta) for path, meta in metas.items() if ChunkMeta.BLOOM in meta}
        return {
            "compression": {path: _codec(chunk) for path, chunk in zip(metas, chunks, strict=True)},
            "use_dictionary": dictionary or False,
            "column_encoding": encodings or None,
            "data_page_version": "2.0" if page.kind == 3 else "1.0",
            "write_page_checksum": page.checksum,
            "write_statistics": [path for path, meta in metas.items() if ChunkMeta.STATISTICS in meta] or False,
            "write_page_index": any(ColumnChunk.OFFSET_INDEX in chunk for chunk in chunks),
            "dictionary_pagesize_limit": max([_DEFAULT_DICTIONARY_BYTES, *sizes]),
            "store_schema": False,
            **({"bloom_filter_options": blooms} if blooms else {}),
        }

    def _bloom(self, meta: Struct) -> dict[str, float]:
        """Options that make a Bloom filter of at most the same size; pyarrow fits it to the values that there are."""
        raw = self._source.read_at(
            min(64, self._size - ft.number(meta, ChunkMeta.BLOOM)), ft.number(meta, ChunkMeta.BLOOM)
        )
        bits = 8 * ft.number(ThriftReader(memoryview(raw)).struct(), 1)
        share = 0.05
        return {"ndv": max(1, int(-bits / 8 * log(1 - share ** (1 / 8)) * 0.9)), "fpp": share}

    def _small_file(self, batches: list[pa.RecordBatch], options: dict[str, Any]) -> pa.Buffer:
        table = pa.Table.from_batches(batches, self._physical.schema)
        out = pa.BufferOutputStream()
        with pq.ParquetWriter(out, self._physical.schema, **options) as writer:
            writer.write_table(table, row_group_size=table.num_rows)
        written = out.getvalue()
        # Arrow does not read a page of version 2 in which all lists of truth values are empty.
        doubtful = options["data_page_version"] == "2.0" and self._has_nested_truth_values()
        if doubtful and pq.read_table(pa.BufferReader(written)).num_rows != table.num_rows:
            raise NotRewritable("pages of empty lists of truth values cannot be read again")
        return written

    def _has_nested_truth_values(self) -> bool:
        return any(leaf.type == 0 and Element.REPEATED in leaf.levels for leaf in self._physical.columns)

    def _spliced(self, file: pa.Buffer, original: Struct, out: _Output) -> Struct:
        """Append the pages of a small file; the row group that describes them."""
        footer = _footer_of(file)
        columns = ft.leaves(ft.structs(footer, FileMetaData.SCHEMA))
        if not all(a.same_pages(b) for a, b in zip(self._physical.columns, columns, strict=True)):
            raise NotRewritable("a column would be laid out otherwise")
        (group,) = ft.structs(footer, FileMetaData.ROW_GROUPS)
        chunks = ft.structs(group, RowGroup.COLUMNS)
        view = memoryview(file)
        end = _first_index(chunks, len(view) - ft.TAIL - ft.length(bytes(view[-ft.TAIL :]), len(view)))
        shift = out.position - len(ft.MAGIC)
        out.write(view[len(ft.MAGIC) : end])
        merged = []
        for position, (chunk, before) in enumerate(zip(chunks, ft.structs(original, RowGroup.COLUMNS), strict=True)):
            element = self._elements[self._physical.columns[position].index]
            described = _described(chunk, before, element)
            merged.append(out.placed(described, shift, lambda offset, length: view[offset : offset + length]))
        return _group(group, original, merged)

    # --- a row group whose rows all stay -----------------------------------------------------------------------

    def _copied(self, group: Struct, out: _Output) -> Struct:
        """Append the pages of a row group as they are; the row group that describes them."""
        copied = []
        for chunk in ft.structs(group, RowGroup.COLUMNS):
            meta = _meta(chunk)
            start, end = ft.chunk_range(meta)
            shift = out.position - start
            for offset in range(start, end, COPY_BYTES):
                out.write(memoryview(self._source.read_at(min(COPY_BYTES, end - offset), offset)))
            moved = dict(meta)
            if ChunkMeta.BLOOM in meta:
                moved[ChunkMeta.BLOOM] = ft.long(self._copied_bloom(meta, out) - shift)
            placed = {**chunk, ColumnChunk.META: Field(STRUCT, moved)}
            copied.append(out.placed(placed, shift, lambda at, length: self._source.read_at(length, at)))
        return _group(group, group, copied)

    def _copied_bloom(self, meta: Struct, out: _Output) -> int:
        offset = ft.number(meta, ChunkMeta.BLOOM)
        length = ft.number(meta, ChunkMeta.BLOOM_LENGTH)
        if not length:
            reader = ThriftReader(memoryview(self._source.read_at(min(64, self._size - offset), offset)))
            length = ft.number(reader.struct(), 1) + reader.position
        here = out.position
        out.write(memoryview(self._source.read_at(length, offset)))
        return here


class _Output:
    """The new file as it grows, and the page indexes that go to its end."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.position = 0
        self._indexes: list[tuple[Struct, int, bytes]] = []

    def write(self, data: bytes | memoryview) -> None:
        self._sink.write(data)
        self.position += len(data)

    def placed(self, chunk: Struct, shift: int, read: Any) -> Struct:  # noqa: ANN401
        """A column chunk whose pages are `shift` bytes further on; its page index is kept for the end."""
        meta = dict(_meta(chunk))
        for identity in (ChunkMeta.DATA_PAGE, ChunkMeta.INDEX_PAGE, ChunkMeta.DICTIONARY_PAGE, ChunkMeta.BLOOM):
            # Some writers say 0 for a dictionary page that is not there.
            if ft.number(meta, identity):
                meta[identity] = ft.long(ft.number(meta, identity) + shift)
        placed = {**chunk, ColumnChunk.META: Field(STRUCT, meta)}
        if ft.number(chunk, ColumnChunk.FILE_OFFSET):
            placed[ColumnChunk.FILE_OFFSET] = ft.long(ft.chunk_range(meta)[0])
        for identity, length in (
            (ColumnChunk.COLUMN_INDEX, ColumnChunk.COLUMN_INDEX_LENGTH),
            (ColumnChunk.OFFSET_INDEX, ColumnChunk.OFFSET_INDEX_LENGTH),
        ):
            if identity in chunk:
                body = bytes(memoryview(read(ft.number(chunk, identity), ft.number(chunk, length))))
                self._indexes.append(
                    (placed, identity, body if identity == ColumnChunk.COLUMN_INDEX else _moved(body, shift))
                )
        return placed

    def write_indexes(self) -> None:
        """Append the page indexes: all column indexes, then all offset indexes."""
        for wanted in (ColumnChunk.COLUMN_INDEX, ColumnChunk.OFFSET_INDEX):
            for chunk, identity, body in self._indexes:
                if identity == wanted:
                    chunk[identity] = ft.long(self.position)
                    chunk[identity + 1] = Field(I32, len(body))
                    self.write(body)


def _moved(offset_index: bytes, shift: int) -> bytes:
    """An offset index whose pages are `shift` bytes further on."""
    index = ThriftReader(offset_index).struct()
    pages = [{**page, 1: ft.long(ft.number(page, 1) + shift)} for page in ft.structs(index, 1)]
    return dumps({**index, 1: _list(pages)})


def _first_index(chunks: list[Struct], end: int) -> int:
    """Where pages and Bloom filters end and page indexes begin."""
    for chunk in chunks:
        for identity in (ColumnChunk.COLUMN_INDEX, ColumnChunk.OFFSET_INDEX):
            if identity in chunk:
                end = min(end, ft.number(chunk, identity))
    if any(ft.number(_meta(chunk), ChunkMeta.BLOOM) >= end for chunk in chunks):
        raise NotRewritable("its Bloom filters cannot be placed")
    return end


def _described(chunk: Struct, original: Struct, element: Struct) -> Struct:
    """A rewritten column chunk as the original describes itself."""
    before, meta = _meta(original), dict(_meta(chunk))
    if ft.number(meta, ChunkMeta.CODEC) != ft.number(before, ChunkMeta.CODEC):
        raise NotRewritable("a column would be compressed otherwise")
    for identity in (ChunkMeta.TYPE, ChunkMeta.PATH, ChunkMeta.KEY_VALUES):
        if identity in before:
            meta[identity] = before[identity]
    found = dict(chunk)
    if not _has_statistics(element):
        statistics = ft.substruct(meta, ChunkMeta.STATISTICS) or {}
        meta[ChunkMeta.STATISTICS] = Field(STRUCT, {k: v for k, v in statistics.items() if k == 3})
        found.pop(ColumnChunk.COLUMN_INDEX, None)
        found.pop(ColumnChunk.COLUMN_INDEX_LENGTH, None)
    if ChunkMeta.STATISTICS not in before:
        meta.pop(ChunkMeta.STATISTICS, None)
    found[ColumnChunk.FILE_OFFSET] = ft.long(1 if ft.number(original, ColumnChunk.FILE_OFFSET) else 0)
    found[ColumnChunk.META] = Field(STRUCT, meta)
    return found


def _group(group: Struct, original: Struct, chunks: list[Struct]) -> Struct:
    """A row group with these chunks, and otherwise with what the original states."""
    metas = [_meta(chunk) for chunk in chunks]
    found = {k: v for k, v in original.items() if k not in (RowGroup.COLUMNS, RowGroup.FILE_OFFSET)}
    found[RowGroup.COLUMNS] = _list(chunks)
    found[RowGroup.ROWS] = group[RowGroup.ROWS]
    found[RowGroup.BYTES] = group[RowGroup.BYTES]
    if RowGroup.COMPRESSED in original:
        found[RowGroup.COMPRESSED] = ft.long(sum(ft.number(meta, ChunkMeta.COMPRESSED) for meta in metas))
    if RowGroup.FILE_OFFSET in original:
        found[RowGroup.FILE_OFFSET] = ft.long(min((ft.chunk_range(meta)[0] for meta in metas), default=0))
    return found


def _is_dictionary(meta: Struct) -> bool:
    """Whether most data pages of a chunk refer to a dictionary."""
    if not ft.number(meta, ChunkMeta.DICTIONARY_PAGE):
        return False
    pages = [
        (ft.number(entry, 2), ft.number(entry, 3))
        for entry in ft.structs(meta, ChunkMeta.ENCODING_STATS)
        if ft.number(entry, 1) in _DATA_PAGES
    ]
    if pages:
        referring = sum(many for encoding, many in pages if encoding in _DICTIONARY_ENCODINGS)
        return 2 * referring >= sum(many for _, many in pages)
    encodings = _encodings(meta)
    return _PLAIN_DICTIONARY not in encodings or 0 not in encodings


def _encodings(meta: Struct) -> list[int]:
    field = meta.get(ChunkMeta.ENCODINGS)
    return [] if field is None else cast("list[int]", field.value.values)


def _encoding(meta: Struct) -> str | None:
    """The encoding of a chunk without a dictionary, where it is not plain."""
    return next((name for number, name in _ENCODINGS.items() if number in _encodings(meta)), None)
