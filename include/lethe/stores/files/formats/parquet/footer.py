"""The footer of a Parquet file as it is on disk: parsed, checked, and written again field by field.

What pyarrow makes of a footer loses things (unknown fields, metadata of column chunks, how a type was annotated), so
rewriting works on the Thrift structs themselves. Numbers in `Field` names below are those of
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from lethe.stores.files.formats.base import Unreadable
from lethe.stores.files.formats.parquet.thrift import BINARY, I64, LIST, Field, Struct, ThriftError, ThriftReader, dumps

MAGIC = b"PAR1"
ENCRYPTED_MAGIC = b"PARE"
TAIL = 8
"""Bytes after the footer: its length and the magic."""

INT32, INT64, INT96, BYTE_ARRAY, FIXED = 1, 2, 3, 6, 7
"""Physical types that are treated apart."""


class FileMetaData:
    """Field ids of the footer."""

    VERSION, SCHEMA, ROWS, ROW_GROUPS, KEY_VALUES, CREATED_BY, COLUMN_ORDERS, ENCRYPTION, SIGNING_KEY = range(1, 10)


class Element:
    """Field ids of an element of the schema."""

    TYPE, LENGTH, REPETITION, NAME, CHILDREN, CONVERTED, SCALE, PRECISION, ID, LOGICAL = range(1, 11)
    REQUIRED, OPTIONAL, REPEATED = range(3)


class RowGroup:
    """Field ids of a row group."""

    COLUMNS, BYTES, ROWS, SORTING, FILE_OFFSET, COMPRESSED, ORDINAL = range(1, 8)


class ColumnChunk:
    """Field ids of a column chunk."""

    FILE_PATH, FILE_OFFSET, META, OFFSET_INDEX, OFFSET_INDEX_LENGTH, COLUMN_INDEX, COLUMN_INDEX_LENGTH = range(1, 8)
    CRYPTO, ENCRYPTED_META = 8, 9


class ChunkMeta:
    """Field ids of a column chunk's metadata."""

    TYPE, ENCODINGS, PATH, CODEC, VALUES, UNCOMPRESSED, COMPRESSED, KEY_VALUES = range(1, 9)
    DATA_PAGE, INDEX_PAGE, DICTIONARY_PAGE, STATISTICS, ENCODING_STATS, BLOOM, BLOOM_LENGTH = range(9, 16)
    SIZE_STATISTICS, GEOSPATIAL = 16, 17


def number(fields: Struct, identity: int, default: int = 0) -> int:
    """An integer field."""
    field = fields.get(identity)
    if field is None:
        return default
    if not isinstance(field.value, int):
        raise Unreadable("a field of the footer has the wrong type")
    return field.value


def structs(fields: Struct, identity: int) -> list[Struct]:
    """A field that is a list of structs; empty where it is left out."""
    field = fields.get(identity)
    if field is None:
        return []
    if field.type != LIST or any(not isinstance(value, dict) for value in field.value.values):
        raise Unreadable("a field of the footer has the wrong type")
    found: list[Struct] = field.value.values
    return found


def substruct(fields: Struct, identity: int) -> Struct | None:
    """A field that is a struct."""
    field = fields.get(identity)
    if field is None:
        return None
    if not isinstance(field.value, dict):
        raise Unreadable("a field of the footer has the wrong type")
    return field.value


@dataclass(frozen=True, slots=True)
class Leaf:
    """A column as it is stored: what pages depend on, without names and annotations.

    Attributes:
        type: the physical type.
        length: of a fixed-length type, in bytes.
        levels: the repetitions on the path from the root, without required ones: all that levels depend on.
        index: position of its element in the schema.
    """

    type: int
    length: int
    levels: tuple[int, ...]
    index: int

    def same_pages(self, other: Leaf) -> bool:
        """Whether pages of one are pages of the other; INT96 is laid out as a fixed length of 12."""
        return self._layout == other._layout and self.levels == other.levels

    @property
    def _layout(self) -> tuple[int, int]:
        if self.type == INT96:
            return FIXED, 12
        return self.type, self.length if self.type == FIXED else 0


def leaves(schema: list[Struct]) -> list[Leaf]:
    """The columns of a schema, in order.

    Raises:
        Unreadable: if the elements are no tree.
    """
    found: list[Leaf] = []
    elements = iter(enumerate(schema))

    def walk(levels: tuple[int, ...], root: bool = False) -> None:
        try:
            index, element = next(elements)
        except StopIteration:
            raise Unreadable("the schema of the footer is no tree") from None
        repetition = number(element, Element.REPETITION)
        here = levels if root or repetition == Element.REQUIRED else (*levels, repetition)
        if Element.TYPE in element:
            found.append(Leaf(number(element, Element.TYPE), number(element, Element.LENGTH), here, index))
            return
        if len(here) > 100:
            raise Unreadable("the schema of the footer is nested too deep")
        for _ in range(number(element, Element.CHILDREN)):
            walk(here)

    walk((), root=True)
    if next(elements, None) is not None:
        raise Unreadable("the schema of the footer is no tree")
    return found


class ByteSource(Protocol):
    """Something whose bytes can be read anywhere."""

    def read_at(self, length: int, offset: int) -> Any:  # noqa: ANN401 - bytes or pyarrow.Buffer
        """Bytes from `offset` on, `length` of them."""
        ...


def read(tail: bytes, size: int) -> Struct:
    """The footer at the end of a file.

    Args:
        tail: the last bytes of the file; at least `length(tail)` of them.
        size: the size of the file.

    Raises:
        Unreadable: if it is none, or is encrypted.
    """
    length_ = length(tail, size)
    if len(tail) < length_ + TAIL:
        raise ValueError("the footer is longer than the given tail")
    try:
        found = ThriftReader(tail[len(tail) - TAIL - length_ : len(tail) - TAIL]).struct()
    except ThriftError as error:
        raise Unreadable(str(error)) from None
    if FileMetaData.ENCRYPTION in found or any(_is_encrypted(chunk) for chunk in chunks(found)):
        raise Unreadable("the file is encrypted", number(found, FileMetaData.ROWS))
    if any(ColumnChunk.FILE_PATH in chunk for chunk in chunks(found)):
        raise Unreadable("a summary of other files")
    _check(found, size)
    return found


def key_value_names(footer: Struct) -> list[bytes]:
    """The names in a file's own metadata."""
    names = (pair.get(1) for pair in structs(footer, FileMetaData.KEY_VALUES))
    return [field.value for field in names if field is not None and isinstance(field.value, bytes)]


def length(tail: bytes, size: int) -> int:
    """How long the footer is, from the last 8 bytes of a file.

    Raises:
        Unreadable: if these are not the last bytes of a Parquet file with a readable footer.
    """
    if size < 2 * len(MAGIC) + 4 or tail[-4:] != MAGIC:
        raise Unreadable("the footer is encrypted" if tail[-4:] == ENCRYPTED_MAGIC else "not a Parquet file")
    found = int.from_bytes(tail[-TAIL:-4], "little")
    if found + TAIL + len(MAGIC) > size:
        raise Unreadable("the file is cut off or damaged")
    return found


def _is_encrypted(chunk: Struct) -> bool:
    return ColumnChunk.CRYPTO in chunk or ColumnChunk.ENCRYPTED_META in chunk


def chunks(fields: Struct) -> Iterator[Struct]:
    """All column chunks of a footer."""
    for group in structs(fields, FileMetaData.ROW_GROUPS):
        yield from structs(group, RowGroup.COLUMNS)


def column_meta(group: Struct, name: str) -> Struct | None:
    """The metadata of a top-level column in a row group."""
    for chunk in structs(group, RowGroup.COLUMNS):
        meta = substruct(chunk, ColumnChunk.META)
        path = meta.get(ChunkMeta.PATH) if meta else None
        if path is not None and path.type == LIST and path.value.values == [name.encode()]:
            return meta
    return None


def chunk_range(meta: Struct) -> tuple[int, int]:
    """Where the pages of a column chunk are: from, until."""
    start = number(meta, ChunkMeta.DATA_PAGE)
    dictionary = number(meta, ChunkMeta.DICTIONARY_PAGE)
    if 0 < dictionary < start:
        start = dictionary
    return start, start + number(meta, ChunkMeta.COMPRESSED)


def _check(footer: Struct, size: int) -> None:
    columns = leaves(structs(footer, FileMetaData.SCHEMA))
    rows = 0
    for group in structs(footer, FileMetaData.ROW_GROUPS):
        rows += number(group, RowGroup.ROWS)
        found = structs(group, RowGroup.COLUMNS)
        if len(found) != len(columns):
            raise Unreadable("a row group does not have the columns of the schema")
        for chunk in found:
            meta = substruct(chunk, ColumnChunk.META)
            if meta is None:
                raise Unreadable("a column has no metadata")
            start, end = chunk_range(meta)
            if number(group, RowGroup.ROWS) and not 0 < start <= end <= size:
                raise Unreadable("a column lies outside of the file")
    if rows != number(footer, FileMetaData.ROWS):
        raise Unreadable("the row groups do not have the rows that the footer says")


def dump(footer: Struct) -> bytes:
    """The bytes after the last row group: footer, length, magic."""
    body = dumps(footer)
    return body + len(body).to_bytes(4, "little") + MAGIC


def name_of(element: Struct) -> str:
    """An element's name."""
    value: bytes = element[Element.NAME].value if Element.NAME in element else b""
    return value.decode("utf-8", "replace")


def text(value: str) -> Field:
    """A field of text."""
    return Field(BINARY, value.encode())


def long(value: int) -> Field:
    """A field of 64 bits."""
    return Field(I64, value)
