"""Which rows of a file are meant: a bit for each, by row group, packed and compressed."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[np.bool_]
Packed = npt.NDArray[np.uint8]

_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Marks:
    """Marked rows of a file.

    Attributes:
        sizes: rows of each row group.
        counts: how many of them are marked.
        packed: the marks of each row group, eight rows a byte (first row in the highest bit).
    """

    sizes: tuple[int, ...]
    counts: tuple[int, ...]
    packed: tuple[Packed, ...]

    @classmethod
    def of(cls, groups: Iterable[Bits]) -> Marks:
        """Marks from truth values, an array a row group."""
        arrays = list(groups)
        return cls(
            tuple(len(array) for array in arrays),
            tuple(int(np.count_nonzero(array)) for array in arrays),
            tuple(np.packbits(array) for array in arrays),
        )

    @property
    def count(self) -> int:
        """How many rows are marked."""
        return sum(self.counts)

    @property
    def rows_in_all(self) -> int:
        """How many rows the file has."""
        return sum(self.sizes)

    def rows(self, group: int, start: int = 0, stop: int | None = None) -> Bits:
        """The marks of rows `start` to `stop - 1` of a row group."""
        stop = self.sizes[group] if stop is None else stop
        first = start // 8
        bits = np.unpackbits(self.packed[group][first : -(-stop // 8)])
        return bits[start - first * 8 : stop - first * 8].astype(np.bool_)

    def positions(self) -> Iterator[npt.NDArray[np.int64]]:
        """The row numbers of all marked rows, counted from the file's first, in order, some at a time."""
        base = 0
        for group, size in enumerate(self.sizes):
            if self.counts[group]:
                for start in range(0, size, _AT_ONCE):
                    found = np.flatnonzero(self.rows(group, start, min(size, start + _AT_ONCE)))
                    yield found.astype(np.int64) + base + start
            base += size

    def without(self, other: Marks) -> Marks:
        """These marks less the other's."""
        packed = tuple(a & ~b for a, b in zip(self.packed, other.packed, strict=True))
        return Marks(self.sizes, tuple(_count(array) for array in packed), packed)

    def both(self, other: Marks) -> Marks:
        """The rows that both mark."""
        packed = tuple(a & b for a, b in zip(self.packed, other.packed, strict=True))
        return Marks(self.sizes, tuple(_count(array) for array in packed), packed)

    def either(self, other: Marks) -> Marks:
        """The rows that one of both marks."""
        packed = tuple(a | b for a, b in zip(self.packed, other.packed, strict=True))
        return Marks(self.sizes, tuple(_count(array) for array in packed), packed)

    @classmethod
    def all(cls, sizes: Iterable[int]) -> Marks:
        """Marks on all rows."""
        return cls.of(np.ones(size, dtype=np.bool_) for size in sizes)

    @property
    def digest(self) -> str:
        """SHA-256 over sizes and marks, in hexadecimal."""
        found = hashlib.sha256(repr(self.sizes).encode())
        for array in self.packed:
            found.update(array.tobytes())
        return found.hexdigest()

    def dumps(self) -> bytes:
        """The marks, compressed; sizes are not among them."""
        return zlib.compress(b"".join(array.tobytes() for array in self.packed), 1)

    @classmethod
    def loads(cls, data: bytes, sizes: Sequence[int]) -> Marks:
        """What `dumps` wrote, for row groups of these sizes.

        Raises:
            ValueError: if it is not that.
        """
        try:
            raw = np.frombuffer(zlib.decompress(data), dtype=np.uint8)
        except zlib.error:
            raise ValueError("not compressed marks") from None
        ends = np.cumsum([0, *(-(-size // 8) for size in sizes)])
        if len(raw) != ends[-1]:
            raise ValueError("marks of another file")
        packed = tuple(raw[a:b] for a, b in pairwise(ends))
        return cls(tuple(sizes), tuple(_count(array) for array in packed), packed)


def _count(packed: Packed) -> int:
    return int(np.bitwise_count(packed).sum())
