"""Content as blocks of lines: of so many bytes, and ending with a line, so that it has the same blocks every time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lethe.stores.files.formats.base import Unreadable

BLOCK_BYTES = 8 << 20
"""Bytes of a block, but for the rest of its last line."""
MOST_BYTES = 64 << 20
"""Of a line; a file with a longer one cannot be read."""
BOM = b"\xef\xbb\xbf"
"""What some write in front of UTF-8."""
BLANKS = b" \t\r\n"
"""White space of JSON."""

Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """Some lines.

    Attributes:
        data: the lines, the last of which may have no end.
        offset: of the first of them in the content.
    """

    data: bytes
    offset: int

    @cached_property
    def spans(self) -> tuple[Offsets, Offsets]:
        """From where to where each line goes, with its end; without those that are blank."""
        content = np.frombuffer(self.data, dtype=np.uint8)
        ends = np.flatnonzero(content == ord("\n")) + 1
        if not len(ends) or ends[-1] != len(content):
            ends = np.append(ends, len(content))
        starts = np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1]])
        if not self.offset and self.data.startswith(BOM):
            starts[0] = len(BOM)
        first = content[np.minimum(starts, len(content) - 1)]
        maybe = np.flatnonzero((first <= ord(" ")) | (starts == ends)).tolist()
        blank = [n for n in maybe if not self.data[starts[n] : ends[n]].strip(BLANKS)]
        return np.delete(starts, blank), np.delete(ends, blank)

    @property
    def rows(self) -> int:
        """How many of the lines are not blank."""
        return len(self.spans[0])

    @cached_property
    def lines(self) -> list[bytes]:
        """Those lines; some with their ends."""
        if self.offset or not self.data.startswith(BOM):
            lines = self.data.split(b"\n")
            if len(lines) == self.rows + (not lines[-1]):  # none is blank
                return lines[: self.rows]
        starts, ends = self.spans
        return [self.data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    @property
    def are_braced(self) -> bool:
        """Whether each of those lines begins and ends with a brace.

        Then each is one or more objects, or the whole is no JSON: where an object goes on in the next line, what is
        between a closing and an opening brace is a comma or a bracket.
        """
        starts, ends = self.spans
        content = np.frombuffer(self.data, dtype=np.uint8)
        last = ends - 1
        last = last - (content[last] == ord("\n"))
        last = last - (content[last] == ord("\r"))
        return bool((content[starts] == ord("{")).all() and (content[last] == ord("}")).all())

    def part(self, start: int, stop: int) -> Block:
        """Some of those lines."""
        starts, ends = self.spans
        if start == 0 and stop >= len(starts):
            return self
        first, end = int(starts[start]), int(ends[min(stop, len(ends)) - 1])
        return Block(self.data[first:end], self.offset + first)


def blocks(content: Iterable[bytes]) -> Iterator[Block]:
    """The blocks of content that comes in pieces of any size.

    Raises:
        Unreadable: if a line is too long.
    """
    waiting: list[bytes] = []
    size = offset = 0
    searched = BLOCK_BYTES - 1
    for piece in content:
        waiting.append(piece)
        size += len(piece)
        while size > searched:
            data = b"".join(waiting)
            end = data.find(b"\n", searched) + 1
            if not end:
                if size > BLOCK_BYTES + MOST_BYTES:
                    raise Unreadable(f"it has a line of more than {MOST_BYTES >> 20} MB")
                waiting, searched = [data], size
                break
            yield Block(data[:end], offset)
            waiting, size, offset, searched = [data[end:]], size - end, offset + end, BLOCK_BYTES - 1
    if size:
        yield Block(b"".join(waiting), offset)
