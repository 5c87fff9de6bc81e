"""Compressed files as the frames that they consist of: members of gzip (RFC 1952), frames of zstd (RFC 8878).

Files often have several: whoever appends to a compressed file, or compresses in parallel, writes one after another.
What a frame has in it need not end at the end of a line. Memory is bounded, however large a frame is.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import RawIOBase
from typing import Any, Protocol

import pyarrow as pa

from lethe.stores.files.formats.base import NotRewritable, Sink, Source, Unreadable

READ_BYTES = 1 << 20
"""Bytes that are read, and given, at a time."""
REMOTE_BYTES = 8 << 20
"""Bytes that are read at a time where every read is a request."""
_FED = 1 << 16
"""Bytes that are decompressed at a time: what is left over at the end of a small member is copied."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame: from where to where it goes in the file, and from where to where its content in the whole content."""

    start: int
    end: int
    first: int
    last: int


class Encoder(Protocol):
    """Writes one frame."""

    def write(self, data: memoryview) -> None:
        """Append content."""
        ...

    def end(self) -> None:
        """End the frame."""
        ...


class Compression(Protocol):
    """How a file is compressed."""

    def content(self, source: Source, frames: list[Frame] | None = None) -> Iterator[bytes]:
        """The content of a file, some bytes at a time.

        Args:
            source: the file.
            frames: comes to have its frames, in their order.

        Raises:
            Unreadable: if it is damaged, or cut off.
        """
        ...

    def frame(self, source: Source, frame: Frame) -> Iterator[bytes]:
        """The content of one frame."""
        ...

    def encoder(self, source: Source, frame: Frame, sink: Sink) -> Encoder:
        """What writes a frame in place of one.

        Raises:
            NotRewritable: if it cannot be one like it.
        """
        ...


def read(source: Source, start: int, end: int) -> Iterator[bytes]:
    """The bytes of a part of a file, some at a time."""
    length = REMOTE_BYTES if source.remote else READ_BYTES
    for offset in range(start, end, length):
        yield bytes(memoryview(source.read_at(min(length, end - offset), offset)))


def copy(source: Source, start: int, end: int, sink: Sink) -> None:
    """Write a part of a file as it is."""
    for data in read(source, start, end):
        sink.write(data)


def compression_of(source: Source) -> Compression | None:
    """How a file is compressed, by its first bytes; None: not at all.

    Raises:
        Unreadable: if it is compressed, or encoded, in another way.
    """
    start = bytes(memoryview(source.read_at(min(4, source.size), 0))) if source.size else b""
    if start.startswith(Gzip.MAGIC):
        return Gzip()
    if len(start) == 4 and Zstd.is_frame(int.from_bytes(start, "little")):
        return Zstd()
    for magic, what in _OTHERS.items():
        if start.startswith(magic):
            raise Unreadable(f"it is {what}, which is not read here: JSON lines are UTF-8, plain or by gzip or zstd")
    return None


_OTHERS = {
    b"BZh": "compressed by bzip2",
    b"\xfd7zX": "compressed by xz",
    b"\x04\x22\x4d\x18": "compressed by lz4",
    b"\xff\x06\0\0": "compressed by snappy",
    b"PK\x03\x04": "a zip archive",
    b"\xff\xfe": "in UTF-16",
    b"\xfe\xff": "in UTF-16",
    b"\0\0\xfe\xff": "in UTF-32",
}


class Gzip:
    """Members of gzip."""

    MAGIC = b"\x1f\x8b"
    _WINDOW = 31
    _EXTRA, _NAME, _COMMENT, _CHECKED = 4, 8, 16, 2
    _FASTEST = 4

    def content(self, source: Source, frames: list[Frame] | None = None) -> Iterator[bytes]:
        """See `Compression`. Zeros behind the last member are padding, as tapes have it."""
        start = first = 0
        while start < source.size:
            if not any(memoryview(source.read_at(min(2, source.size - start), start))):
                self._require_padding(source, start)
                if frames is not None:
                    frames.append(Frame(start, source.size, first, first))
                return
            last = first
            member = _Member(source, start)
            for data in member:
                last += len(data)
                yield data
            if frames is not None:
                frames.append(Frame(start, member.end, first, last))
            start, first = member.end, last

    @staticmethod
    def _require_padding(source: Source, start: int) -> None:
        if any(any(data) for data in read(source, start, source.size)):
            raise Unreadable("there is something else behind its gzip members")

    def frame(self, source: Source, frame: Frame) -> Iterator[bytes]:
        """See `Compression`."""
        return iter(_Member(source, frame.start))

    def encoder(self, source: Source, frame: Frame, sink: Sink) -> Encoder:
        """See `Compression`. Its header is that of the member, with name, time and comment."""
        header = self._header(source, frame)
        return _GzipEncoder(header, 1 if header[8] == self._FASTEST else 9 if header[8] == 2 else 6, sink)

    def _header(self, source: Source, frame: Frame) -> bytes:
        head = bytes(memoryview(source.read_at(min(READ_BYTES, frame.end - frame.start), frame.start)))
        flags, end = head[3], 10
        if flags & self._EXTRA:
            raise NotRewritable("its gzip members have fields of their own, such as the sizes of blocks (BGZF)")
        for flag in (self._NAME, self._COMMENT):
            if flags & flag:
                end = head.index(b"\0", end) + 1
        return head[: end + 2 * bool(flags & self._CHECKED)]


class _Member:
    """The content of the member that starts at a place, and where it ends once that has been read."""

    def __init__(self, source: Source, start: int) -> None:
        self._source = source
        self._start = start
        self.end = start

    def __iter__(self) -> Iterator[bytes]:
        decoder = zlib.decompressobj(Gzip._WINDOW)
        position = self._start
        try:
            for data in read(self._source, self._start, self._source.size):
                view = memoryview(data)
                for offset in range(0, len(data), _FED):
                    fed = view[offset : offset + _FED]
                    position += len(fed)
                    rest: Any = fed
                    while rest:
                        found = decoder.decompress(rest, READ_BYTES)
                        rest = decoder.unconsumed_tail
                        if found:
                            yield found
                    if decoder.eof:
                        self.end = position - len(decoder.unused_data)
                        return
            found = decoder.flush()
        except zlib.error:
            raise Unreadable("a gzip member is damaged") from None
        if found:
            yield found
        if not decoder.eof:
            raise Unreadable("its last gzip member is cut off")
        self.end = position - len(decoder.unused_data)


class _GzipEncoder:
    def __init__(self, header: bytes, level: int, sink: Sink) -> None:
        self._sink = sink
        self._deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._sum = self._size = 0
        sink.write(header)

    def write(self, data: memoryview) -> None:
        self._sum = zlib.crc32(data, self._sum)
        self._size += len(data)
        self._sink.write(self._deflate.compress(data))

    def end(self) -> None:
        self._sink.write(self._deflate.flush())
        self._sink.write(struct.pack("<II", self._sum, self._size & 0xFFFFFFFF))


class Zstd:
    """Frames of zstd, and frames to be skipped, which have no content."""

    _MAGIC, _SKIPPED = 0xFD2FB528, 0x184D2A50

    @classmethod
    def is_frame(cls, magic: int) -> bool:
        """Whether a frame begins with these four bytes."""
        return magic == cls._MAGIC or magic & ~0xF == cls._SKIPPED

    def content(self, source: Source, frames: list[Frame] | None = None) -> Iterator[bytes]:
        """See `Compression`."""
        if frames is None:
            yield from self.frame(source, Frame(0, source.size, 0, 0))
            return
        start = first = 0
        while start < source.size:
            frame = Frame(start, self._end(source, start), first, first)
            last = first
            for data in self.frame(source, frame):
                last += len(data)
                yield data
            frames.append(Frame(start, frame.end, first, last))
            start, first = frame.end, last

    def frame(self, source: Source, frame: Frame) -> Iterator[bytes]:
        """See `Compression`. It may as well be several frames."""
        try:
            part = pa.PythonFile(_Part(source, frame.start, frame.end), mode="r")
            with pa.CompressedInputStream(part, "zstd") as stream:
                while data := stream.read(READ_BYTES):
                    yield data
        except (pa.ArrowException, OSError):
            raise Unreadable("a zstd frame is damaged, or needs more memory than readers give it") from None

    def encoder(self, source: Source, frame: Frame, sink: Sink) -> Encoder:
        """See `Compression`."""
        return _ZstdEncoder(sink)

    def _magic(self, source: Source, start: int) -> int:
        return _number(source, start, 4)

    def _end(self, source: Source, start: int) -> int:
        """Where the frame that starts at a place ends: RFC 8878, 3.1."""
        magic = self._magic(source, start)
        if not self.is_frame(magic):
            raise Unreadable("there is something else between, or behind, its zstd frames")
        if magic != self._MAGIC:
            return self._within(source, start + 8 + _number(source, start + 4, 4))
        descriptor = _number(source, start + 4, 1)
        single, checked = descriptor >> 5 & 1, descriptor >> 2 & 1
        dictionary, size = (0, 1, 2, 4)[descriptor & 3], (single, 2, 4, 8)[descriptor >> 6]
        at = start + 5 + (1 - single)
        if dictionary and _number(source, at, dictionary):
            raise Unreadable("its zstd frames need a dictionary")
        at += dictionary + size
        last = False
        while not last:
            header = _number(source, at, 3)
            last, kind, length = bool(header & 1), header >> 1 & 3, header >> 3
            at = self._within(source, at + 3 + (1 if kind == 1 else length))
        return self._within(source, at + 4 * checked)

    @staticmethod
    def _within(source: Source, end: int) -> int:
        if end > source.size:
            raise Unreadable("its last zstd frame is cut off")
        return end


def _number(source: Source, offset: int, length: int) -> int:
    if offset + length > source.size:
        raise Unreadable("its last zstd frame is cut off")
    return int.from_bytes(memoryview(source.read_at(length, offset)), "little")


class _Part(RawIOBase):
    """A part of a file, read from its start."""

    def __init__(self, source: Source, start: int, end: int) -> None:
        self._source, self._position, self._end = source, start, end

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        left = self._end - self._position
        length = left if size is None or size < 0 else min(size, left)
        data = bytes(memoryview(self._source.read_at(length, self._position))) if length else b""
        self._position += len(data)
        return data


class _ZstdEncoder:
    def __init__(self, sink: Sink) -> None:
        self._stream = pa.CompressedOutputStream(pa.PythonFile(_Open(sink), mode="w"), "zstd")

    def write(self, data: memoryview) -> None:
        self._stream.write(data)

    def end(self) -> None:
        self._stream.close()


class _Open(RawIOBase):
    """A sink that what is written through it does not close."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401 - the buffer protocol
        self._sink.write(bytes(data))
        return len(data)
