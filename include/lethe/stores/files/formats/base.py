"""What a format of rows in files has to say: open, schema, chunks, bounds, read columns, write without these rows.

A file is a sequence of chunks, which are read one after another: the row groups of Parquet, say. Rows are numbered by
chunk, from the first. Opened again, a file has the same chunks with the same rows, because what is to go is noted by
their numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

if TYPE_CHECKING:
    from lethe.judging.identifiers import IdentifierType
    from lethe.policy import FilesDataset
    from lethe.stores.files.holds import Values
    from lethe.stores.files.marks import Marks


class Unreadable(ValueError):
    """The bytes are no file of the format that can be read: cut off, damaged, encrypted, or something else."""

    def __init__(self, why: str, rows: int = 1) -> None:
        """Say why, and how many rows the file has as far as it tells."""
        super().__init__(why)
        self.rows = max(1, rows)


class NotRewritable(ValueError):
    """The file is readable, but rows cannot be taken out of it without changing what stays."""


class Source(Protocol):
    """Where a file is read from: a version in a bucket, or a copy of it."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    @property
    def remote(self) -> bool:
        """Whether every read costs a request."""
        ...

    def read_at(self, length: int, offset: int, /) -> Any:  # noqa: ANN401 - anything with the buffer protocol
        """Bytes from `offset` on, so many that are not beyond the end."""
        ...

    def arrow(self) -> pa.NativeFile:
        """The same for Arrow."""
        ...


class Sink(Protocol):
    """Where the new file goes, from its first byte to its last."""

    def write(self, data: Any, /) -> Any:  # noqa: ANN401 - anything with the buffer protocol
        """Append bytes."""
        ...


class As(Enum):
    """What a column is read for, which matters where a format has no types of its own.

    A format that has a schema gives columns as they are stored, whatever for.
    """

    VALUE = auto()
    """To be judged: one value a row. Of a format without types as text, which may be `AMBIGUOUS`."""
    IDENTIFIERS = auto()
    """To be searched for held identifiers: a value a row, or a list of them. `Format.identifiers` reads it."""
    KEY = auto()
    """To name the row. `Format.key_values` reads it."""


UNREADABLE = "\x00unreadable"
"""A further column that a format without types gives with any: whether the row cannot be read."""
AMBIGUOUS = "\x00ambiguous"
"""The text of a value of which a row has several that differ, or which is no single value."""


@dataclass(frozen=True)
class Bounds:
    """What is known of a column's values in a chunk without reading it.

    Attributes:
        nulls: rows without a value.
        least: the least value, as a column of one; None: not known.
        greatest: the greatest one.
    """

    nulls: int
    least: pa.Array | None
    greatest: pa.Array | None


class Chunk(Protocol):
    """Some rows of a file. What it gives is of use until the next chunk is asked for."""

    @property
    def rows(self) -> int:
        """How many."""
        ...

    def bounds(self, column: str) -> Bounds | None:
        """What is known of a column of days or times without reading it; None: nothing."""
        ...

    def read(self, columns: Mapping[str, As] | None, at_once: int) -> Iterator[pa.RecordBatch]:
        """Its rows in their order, some at a time: some columns, or all that they are (None).

        Raises:
            Unreadable, pyarrow.ArrowException, OSError: if it cannot be read.
        """
        ...


class RowFile(Protocol):
    """An opened file."""

    @property
    def rows(self) -> int:
        """How many rows it has, as far as it tells: at least 1 where that is not known."""
        ...

    @property
    def owners(self) -> Iterable[bytes]:
        """Names of metadata by which a table format may say that the file is its own."""
        ...

    def schema(self, names: Sequence[str]) -> pa.Schema:
        """Its columns. Of a format that has no schema: these."""
        ...

    def seen(self, names: Sequence[str]) -> pa.Schema:
        """Its columns. Of a format that has no schema: those of these that are found in its first rows."""
        ...

    def chunks(self) -> Iterator[Chunk]:
        """Its rows, from the first on.

        Raises:
            Unreadable, OSError.
        """
        ...

    def exact(self) -> RowFile:
        """The same for comparing values, not for judging them: no two of them become one."""
        ...

    def check_rewritable(self) -> None:
        """Whether rows can be taken out of it, as far as can be told before.

        Raises:
            NotRewritable: naming the reason.
        """
        ...

    def write(self, going: Marks, sink: Sink, executor: Executor) -> None:
        """Write it without the marked rows, which are neither none nor all.

        Raises:
            NotRewritable, Unreadable.
        """
        ...


class Format(Protocol):
    """A format of files.

    Attributes:
        title: what people call it.
        typed: whether columns have types. Without, what is read has the column `UNREADABLE`, and a policy's values are
            compared as text.
    """

    title: str
    typed: bool

    def open(self, source: Source, dataset: FilesDataset) -> RowFile:
        """Open a file; as little as possible is read.

        Raises:
            Unreadable: if it is none of this format.
        """
        ...

    def identifiers(self, column: pa.Array, kind: IdentifierType) -> Values:
        """A column that was read as `As.IDENTIFIERS` (the values, where it had lists of them)."""
        ...

    def key_values(self, column: pa.Array) -> list[object]:
        """A column that was read as `As.KEY`: values of which no two become one."""
        ...
