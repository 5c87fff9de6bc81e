"""JSON lines as files of rows: chunks are of so many bytes of content, and end with a line.

There are no types: values are judged as text, and a name that a row does not have is NULL. Nothing is known of a chunk
before it is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import islice
from math import isfinite
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from lethe.judging.identifiers import IdentifierType
from lethe.policy import FilesDataset
from lethe.stores.files.formats.base import AMBIGUOUS, UNREADABLE, As, Bounds, Sink, Source, Unreadable
from lethe.stores.files.formats.jsonlines.compression import compression_of, read
from lethe.stores.files.formats.jsonlines.lines import Block, blocks
from lethe.stores.files.formats.jsonlines.rewrite import write
from lethe.stores.files.formats.jsonlines.rows import Pairs, Rows, Wanted, is_utf_8, rows_of
from lethe.stores.files.holds import Values, values_of
from lethe.stores.files.marks import Marks

SEEN = 3
"""Chunks in whose rows names are looked for."""

TEXT = pa.large_string()
TAG = "\x00"
"""Before what is no text, in JSON, in columns of identifiers and keys; and before text that begins so."""


@dataclass(frozen=True)
class LinesChunk:
    """Some lines, those that are not blank."""

    block: Block

    @property
    def rows(self) -> int:
        """How many."""
        return self.block.rows

    def bounds(self, column: str) -> Bounds | None:
        """Nothing is known."""
        return None

    def read(self, columns: Mapping[str, As] | None, at_once: int) -> Iterator[pa.RecordBatch]:
        """Rows; all that they are is the lines themselves, without the ends of lines."""
        for start in range(0, self.rows, at_once):
            some = self.block.part(start, start + at_once)
            if columns is None:
                lines = [line.rstrip(b"\r\n") for line in some.lines]
                yield pa.record_batch({"line": pa.array(lines, pa.large_binary())})
            else:
                yield self._batch(self._parsed(some, columns), columns)

    @staticmethod
    def _batch(rows: Rows, columns: Mapping[str, As]) -> pa.RecordBatch:
        made: dict[str, pa.Array] = {UNREADABLE: pa.array(rows.unreadable)}
        for number, (name, purpose) in enumerate(columns.items()):
            made[name] = _COLUMNS[purpose](rows, number)
        return pa.record_batch(made)

    def parsed(self, columns: Mapping[str, As]) -> Rows:
        """Rows as they are read, all of them."""
        return self._parsed(self.block, columns)

    def _parsed(self, block: Block, columns: Mapping[str, As]) -> Rows:
        watched = tuple(name for name, purpose in columns.items() if purpose is not As.KEY)
        return rows_of(block, Wanted.of(tuple(columns), watched), sound=self._is_utf_8)

    @cached_property
    def _is_utf_8(self) -> bool:
        return self.block.data.isascii() or is_utf_8(self.block.data)


# --- columns ------------------------------------------------------------------------------------------------------


def _text(value: Any) -> str | None:  # noqa: ANN401 - any JSON
    """A single value as text; an object or a list is none."""
    match value:
        case str():
            return value if value.isascii() else value.encode("utf-8", "replace").decode()
        case bool():
            return "true" if value else "false"
        case float():
            return format(Decimal(repr(value)).normalize(), "f") if isfinite(value) else repr(value)
        case None:
            return None
        case list():
            return AMBIGUOUS
    return str(value)


def _judged(rows: Rows, number: int) -> pa.Array:
    """A column of text."""
    values = rows.column(number, _one)
    try:
        return pa.array(values, TEXT)
    except (pa.ArrowException, UnicodeError):
        return pa.array([_text(value) for value in values], TEXT)


def _one(found: Sequence[Any]) -> str | None:
    """The one value that a row has."""
    texts = {_text(value) for value in found}
    return AMBIGUOUS if len(texts) > 1 else next(iter(texts), None)


def _tagged(value: Any) -> str | None:  # noqa: ANN401 - any JSON
    """A value as text from which it can be read again; a lone surrogate is what cannot be read."""
    if value is None:
        return None
    if isinstance(value, str) and not value.startswith(TAG):
        return value.encode("utf-8", "replace").decode() if not value.isascii() else value
    return TAG + json.dumps(value)


def _untagged(text: str | None) -> Any:  # noqa: ANN401 - any JSON
    return json.loads(text[1:]) if text is not None and text.startswith(TAG) else text


def _keys(rows: Rows, number: int) -> pa.Array:
    """A column of a key: the last of several values, as most readers have it."""
    values = [found[-1] if found else None for found in rows.values(number, strict=True)]
    return pa.array([_tagged(value) for value in values], TEXT)


def _identifiers(rows: Rows, number: int) -> pa.Array:
    """All values that identifiers may be in, of each row."""
    if not rows.slow and not any(step.lists for step in rows.wanted.paths[number]):
        values = rows.column(number, _one)
        try:
            return pa.array(values, TEXT)
        except (pa.ArrowException, UnicodeError):
            return pa.array([_tagged(value) for value in values], TEXT)
    found = ([_tagged(leaf) for value in each for leaf in _leaves(value)] for each in rows.values(number, strict=False))
    return pa.array(list(found), pa.large_list(TEXT))


def _leaves(value: Any) -> Iterator[Any]:  # noqa: ANN401 - any JSON
    """All single values in one, and the names in objects, which may be identifiers."""
    match value:
        case None | bool():
            return
        case Pairs():
            for name, each in value:
                yield name
                yield from _leaves(each)
        case list():
            for each in value:
                yield from _leaves(each)
        case _:
            yield value


_COLUMNS = {As.VALUE: _judged, As.IDENTIFIERS: _identifiers, As.KEY: _keys}


# --- files --------------------------------------------------------------------------------------------------------


class LinesFile:
    """An opened file of JSON lines."""

    owners: Iterable[bytes] = ()

    def __init__(self, source: Source) -> None:
        """Open it: its first bytes say how it is compressed.

        Raises:
            Unreadable: if in a way that is not known.
        """
        self._source = source
        self.compression = compression_of(source)

    @property
    def rows(self) -> int:
        """At least one, where it is not empty."""
        return 1 if self._source.size else 0

    def schema(self, names: Sequence[str]) -> pa.Schema:
        """All names may be there, and are text."""
        return pa.schema([(name, TEXT) for name in names])

    def seen(self, names: Sequence[str]) -> pa.Schema:
        """The names that are found in its first rows; lists and objects where no single values were.

        Raises:
            Unreadable: if none of its first rows can be read.
        """
        kinds: dict[str, pa.DataType] = {}
        lines = readable = 0
        columns = dict.fromkeys(names, As.IDENTIFIERS)
        for chunk in islice(self.chunks(), SEEN):
            rows = chunk.parsed(columns)
            lines += chunk.rows
            readable += chunk.rows - int(np.count_nonzero(rows.unreadable))
            for number, name in enumerate(columns):
                if name not in kinds:
                    found = _kind(value for values in rows.values(number, strict=True) for value in values)
                    kinds |= {} if found is None else {name: found}
        if lines and not readable:
            raise Unreadable("none of its first lines is a JSON object")
        return pa.schema([(name, kinds[name]) for name in names if name in kinds])

    def chunks(self) -> Iterator[LinesChunk]:
        """Its lines; see `blocks`."""
        whole = read(self._source, 0, self._source.size)
        for block in blocks(whole if self.compression is None else self.compression.content(self._source)):
            yield LinesChunk(block)

    def exact(self) -> LinesFile:
        """The same."""
        return self

    def check_rewritable(self) -> None:
        """Nothing is known before all of it is read."""

    def write(self, going: Marks, sink: Sink, executor: Executor) -> None:
        """See `rewrite`."""
        write(self._source, self.compression, going, sink)


def _kind(values: Iterable[Any]) -> pa.DataType | None:
    """The type of the first value that is not null; NULL where all are; None where there are none."""
    found = None
    for value in values:
        match value:
            case None:
                continue
            case Pairs():
                found = pa.struct([])
            case list():
                return pa.list_(pa.null())
            case _:
                return TEXT
    return found


class JsonLines:
    """The format."""

    title = "JSON lines"
    typed = False

    def open(self, source: Source, dataset: FilesDataset) -> LinesFile:
        """Open a file. Raises `Unreadable`."""
        return LinesFile(source)

    def identifiers(self, column: pa.Array, kind: IdentifierType) -> Values:
        """Text and numbers: each is compared as what it is."""
        texts = pl.Series(pl.from_arrow(column)).cast(pl.String)
        tagged = texts.str.starts_with(TAG).fill_null(value=False)
        if not tagged.any():
            return values_of(column, kind)
        found = values_of(texts.set(tagged, None).to_arrow(), kind)
        rows = np.flatnonzero(tagged.to_numpy())
        stored = [_untagged(text) for text in texts.filter(tagged).to_list()]
        return Values(found.keys, np.concatenate([found.odd, rows]), [*found.stored, *stored])

    def key_values(self, column: pa.Array) -> list[object]:
        """The values of a key column; of lists and objects their JSON."""
        found = [(text, _untagged(text)) for text in column.to_pylist()]
        return [text[1:] if isinstance(value, list | dict) else value for text, value in found]
