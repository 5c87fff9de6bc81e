"""Which rows of a superseded version are records of their own, and which are copies of what a newer version has.

A record is known by the columns of `dataset.key`, or, where there are none, by all of its values. Only rows that have
expired are compared. Memory is bounded: so many rows of a superseded version at a time, and the newer versions row by
row, again for each such part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from lethe.stores.files.clocks import Bits, flat, text_of
from lethe.stores.files.formats.base import As, RowFile
from lethe.stores.files.marks import Marks
from lethe.stores.files.partition import Path

AT_ONCE = 2_000_000
"""Rows of a superseded version that are compared at a time: 16 bytes each, and as much again for sorting them."""

_ROWS = 1 << 16
_OWN, _KEPT, _COPY = 0, 1, 2

Digests = npt.NDArray[np.uint64]
"""128 bits a row."""


@dataclass(frozen=True)
class JudgedVersion:
    """A version that was judged.

    Attributes:
        file: opened.
        expired: rows that count as expired records, or would if no newer version had them.
    """

    file: RowFile
    expired: Marks


@dataclass(frozen=True)
class SupersededRows:
    """What the expired rows of a superseded version are.

    Attributes:
        own: records that no newer version has.
        kept: copies of records that are in the current version, and stay there.
    """

    own: Marks
    kept: Marks


@dataclass(frozen=True)
class Comparison:
    """How the rows of one key's versions are compared."""

    path: Path
    key: tuple[str, ...]

    def tell(
        self, rows: Marks, old: RowFile, current: JudgedVersion | None, between: Sequence[JudgedVersion]
    ) -> SupersededRows:
        """What some rows of a superseded version are, given the current one and those between both."""
        states = [np.full(size, _OWN, dtype=np.uint8) for size in rows.sizes]
        places: list[tuple[int, npt.NDArray[np.int64]]] = []
        digests: list[Digests] = []

        def settle() -> None:
            if digests:
                found = self._states(np.concatenate(digests), current, between)
                ends = np.cumsum([len(each) for each in digests])[:-1]
                for (index, positions), part in zip(places, np.split(found, ends), strict=True):
                    states[index][positions] = part
            places.clear()
            digests.clear()

        for index, start, chosen, digest in self._digests(old, rows):
            places.append((index, np.flatnonzero(chosen) + start))
            digests.append(digest)
            if sum(map(len, digests)) >= AT_ONCE:
                settle()
        settle()
        return SupersededRows(
            rows.both(Marks.of(state == _OWN for state in states)),
            rows.both(Marks.of(state == _KEPT for state in states)),
        )

    def _states(
        self, digests: Digests, current: JudgedVersion | None, between: Sequence[JudgedVersion]
    ) -> npt.NDArray[np.uint8]:
        unique, inverse = np.unique(digests, axis=0, return_inverse=True)
        states = np.full(len(unique), _OWN, dtype=np.uint8)
        newer = [(version, version.expired) for version in between]
        if current is not None:
            newer.append((current, Marks.all(current.expired.sizes)))
        for version, rows in newer:
            for index, start, chosen, found in self._digests(version.file, rows):
                expired = version.expired.rows(index, start, start + len(chosen))[chosen]
                at = np.minimum(np.searchsorted(unique[:, 0], found[:, 0]), len(unique) - 1)
                same = (unique[at] == found).all(axis=1)
                states[at[same & ~expired]] = np.maximum(states[at[same & ~expired]], _KEPT)
                states[at[same & expired]] = _COPY
        return states[inverse.reshape(-1)]

    def _digests(self, file: RowFile, rows: Marks) -> Iterator[tuple[int, int, Bits, Digests]]:
        """Of some rows: chunk, number of a part's first row, which of the part, and their digests."""
        wanted = dict.fromkeys(self.path.physical(self.key), As.KEY) if self.key else None
        for index, chunk in enumerate(file.chunks()):
            start = 0
            if not rows.counts[index]:
                continue
            for batch in chunk.read(wanted, _ROWS):
                chosen = rows.rows(index, start, start + batch.num_rows)
                if chosen.any():
                    some = batch.filter(pa.array(chosen))
                    yield index, start, chosen, self._of_keys(some) if self.key else _of_rows(some)
                start += batch.num_rows

    def _of_keys(self, batch: pa.RecordBatch) -> Digests:
        columns = self.path.completed(batch, self.key)
        texts = pl.DataFrame([text_of(flat(columns.column(name))).alias(str(n)) for n, name in enumerate(self.key)])
        return np.stack([texts.hash_rows(seed).to_numpy() for seed in (1, 2)], axis=1)


def _of_rows(batch: pa.RecordBatch) -> Digests:
    return np.frombuffer(b"".join(row_digests(batch)), dtype=np.uint64).reshape(-1, 2)


def row_digests(batch: pa.RecordBatch) -> Iterator[bytes]:
    """A digest (128 bits) of all values of each row."""
    columns = [_as_numbers(column) for column in batch.columns]
    for row in pa.RecordBatch.from_arrays(columns, batch.schema.names).to_pylist():
        yield hashlib.blake2b(repr(row).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _as_numbers(column: pa.Array) -> pa.Array:
    """Days and times as the numbers that they are stored as: Python has not all of them."""
    if not pa.types.is_temporal(column.type) or pa.types.is_interval(column.type):
        return column
    return column.view(pa.int32() if column.type.bit_width == 32 else pa.int64())
