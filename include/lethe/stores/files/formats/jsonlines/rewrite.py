"""Rewriting a file of JSON lines without some of its rows: all other bytes are what they were.

A row goes with the end of its line; blank lines and a byte order mark stay. Frames of a compressed file in which
nothing goes are copied as they are, those of which all goes are left out, and all others are compressed again. So a
compressed file is read twice: to know what goes of each frame, and to write it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lethe.stores.files.formats.base import Sink, Source, Unreadable
from lethe.stores.files.formats.jsonlines.compression import Compression, Frame, copy, read
from lethe.stores.files.formats.jsonlines.lines import Block, Offsets, blocks
from lethe.stores.files.marks import Marks


@dataclass(frozen=True)
class RemovedSpans:
    """What goes of some content: from where to where, in order."""

    starts: Offsets
    ends: Offsets

    @classmethod
    def of(cls, block: Block, rows: Any) -> RemovedSpans:  # noqa: ANN401 - an array of truth values
        """The lines of some rows of a block, by their place in the whole content."""
        starts, ends = (span[rows] + block.offset for span in block.spans)
        if not len(starts):
            return cls(starts, ends)
        apart = starts[1:] != ends[:-1]
        return cls(starts[np.append(True, apart)], ends[np.append(apart, True)])

    def within(self, first: int, last: int) -> RemovedSpans:
        """The same of a part of the content."""
        some = slice(np.searchsorted(self.ends, first, "right"), np.searchsorted(self.starts, last, "left"))
        return RemovedSpans(np.maximum(self.starts[some], first), np.minimum(self.ends[some], last))

    @property
    def size(self) -> int:
        """Bytes."""
        return int((self.ends - self.starts).sum())


def write(source: Source, compression: Compression | None, going: Marks, sink: Sink) -> None:
    """Write a file without the marked rows.

    Args:
        source: the file.
        compression: how it is compressed.
        going: which rows go.
        sink: where it is written to.

    Raises:
        Unreadable: if it is not what was marked, or damaged.
        NotRewritable: if a frame cannot be written as it was.
    """
    if compression is None:
        for block, gone in _gone(blocks(read(source, 0, source.size)), going):
            _write_rest(block.data, block.offset, gone, sink.write)
        return
    frames: list[Frame] = []
    parts = [gone for _, gone in _gone(blocks(compression.content(source, frames)), going)]
    gone = RemovedSpans(np.concatenate([part.starts for part in parts]), np.concatenate([part.ends for part in parts]))
    for frame in frames:
        _write_frame(source, compression, frame, gone.within(frame.first, frame.last), sink)


def _gone(found: Iterator[Block], going: Marks) -> Iterator[tuple[Block, RemovedSpans]]:
    """The blocks of a file with what goes of each."""
    count = 0
    for count, block in enumerate(found, start=1):
        if count > len(going.sizes) or going.sizes[count - 1] != block.rows:
            raise Unreadable("it has other lines than when it was judged")
        yield block, RemovedSpans.of(block, going.rows(count - 1))
    if count != len(going.sizes):
        raise Unreadable("it has other lines than when it was judged")


def _write_frame(source: Source, compression: Compression, frame: Frame, gone: RemovedSpans, sink: Sink) -> None:
    if not gone.size:
        copy(source, frame.start, frame.end, sink)
    elif gone.size < frame.last - frame.first:
        encoder = compression.encoder(source, frame, sink)
        offset = frame.first
        for data in compression.frame(source, frame):
            _write_rest(data, offset, gone.within(offset, offset + len(data)), encoder.write)
            offset += len(data)
        encoder.end()


def _write_rest(data: bytes, offset: int, gone: RemovedSpans, write: Callable[[Any], object]) -> None:
    """Write what stays of some content that begins at an offset."""
    view, stays, at = memoryview(data), [], 0
    for start, end in zip((gone.starts - offset).tolist(), (gone.ends - offset).tolist(), strict=True):
        stays.append(view[at:start])
        at = end
    stays.append(view[at:])
    write(b"".join(stays))
