"""Files on S3: one version of an object, of which only what is needed is read.

What is read is pinned: by version id, and, for objects without one, by the ETag of the first answer (the ETag that a
listing gives is not always that of the object). An object that changes meanwhile ends in `Changed`.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, cast

import pyarrow as pa
from botocore.exceptions import ClientError

from lethe.stores.buckets.client import S3Access
from lethe.stores.buckets.errors import ABSENT, PRECONDITION, code_of, named
from lethe.stores.buckets.listing import UNVERSIONED

TAIL_BYTES = 64 << 10
"""What is read of a file first: its end. The whole, if it is not longer than `SMALL_BYTES`."""
SMALL_BYTES = 512 << 10
BLOCK = 256 << 10
CACHE_BYTES = 16 << 20
"""Blocks of a file that are kept while it is judged."""
IN_MEMORY = 32 << 20
"""Files larger than this are kept on disk while they are rewritten."""
CHUNK = 8 << 20


class Changed(Exception):
    """The object is no longer what it was when it was listed."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One version of an object, and nothing else."""

    bucket: str
    key: str
    version: str
    etag: str | None

    @property
    def request(self) -> dict[str, Any]:
        """The parameters of a request for it."""
        found: dict[str, Any] = {"Bucket": self.bucket, "Key": self.key, "VersionId": self.version}
        if self.etag is not None and self.version == UNVERSIONED:
            found["IfMatch"] = self.etag
        return found


@dataclass(frozen=True, slots=True)
class ObjectHead:
    """What S3 says of a version.

    Attributes:
        etag: with quotes, as S3 writes it.
        size: bytes.
        locked: whether Object Lock or an S3 legal hold keeps it from being removed now.
    """

    etag: str
    size: int
    locked: bool

    @classmethod
    def of(cls, answer: Any, size: int) -> ObjectHead:  # noqa: ANN401 - boto3's answers to GET and HEAD
        """Read it from the answer to a GET or HEAD."""
        until: datetime | None = answer.get("ObjectLockRetainUntilDate")
        retained = until is not None and until > datetime.now(UTC)
        return cls(answer["ETag"], size, retained or answer.get("ObjectLockLegalHoldStatus") == "ON")


class S3File(io.RawIOBase):
    """A pinned version as a file that is read by ranges, a few blocks of which are kept."""

    remote = True

    def __init__(self, access: S3Access, pin: Pin, size: int) -> None:
        """Read its end, or all of it where it is small; `size` is what the listing said.

        Raises:
            Changed: if there is no such version.
            StoreUnavailable, StoreError.
        """
        self._access = access
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._position = 0
        self.pin = pin
        answer, body = self._get(f"bytes=-{size if 0 < size <= SMALL_BYTES else TAIL_BYTES}")
        self.answer = answer
        content_range = str(answer.get("ContentRange") or f"bytes 0-{len(body) - 1}/{len(body)}")
        self.size = int(content_range.rpartition("/")[2])
        self.head = ObjectHead.of(answer, self.size)
        self.pin = Pin(pin.bucket, pin.key, pin.version, self.head.etag)
        self._tail = body

    def _get(self, span: str) -> tuple[Any, bytes]:
        with named(self._access.place(self.pin.bucket, "read a file")):
            try:
                answer = self._access.client.get_object(**self.pin.request, Range=span)
                return answer, answer["Body"].read()
            except ClientError as error:
                code = code_of(error)
                if code in PRECONDITION | ABSENT or code == "MethodNotAllowed":
                    raise Changed from None
                if code in ("InvalidRange", "416"):
                    return self._empty(), b""
                raise

    def _empty(self) -> Any:  # noqa: ANN401
        """The answer for an object without content, of which S3 gives no range."""
        answer = self._access.client.head_object(**self.pin.request)
        if answer["ContentLength"]:
            raise Changed
        return answer

    def read_at(self, length: int, offset: int) -> bytes:
        """Bytes from `offset` on."""
        end = min(offset + length, self.size)
        if offset >= self.size - len(self._tail):
            base = self.size - len(self._tail)
            return self._tail[offset - base : end - base]
        first, last = offset // BLOCK, (end - 1) // BLOCK
        missing = [block for block in range(first, last + 1) if block not in self._blocks]
        found: dict[int, bytes] = {}
        if missing:
            start, stop = missing[0] * BLOCK, min((missing[-1] + 1) * BLOCK, self.size)
            _, body = self._get(f"bytes={start}-{stop - 1}")
            if len(body) != stop - start:
                raise Changed
            found = {block: body[block * BLOCK - start : (block + 1) * BLOCK - start] for block in missing}
        joined = b"".join(found.get(block) or self._blocks[block] for block in range(first, last + 1))
        for block in range(first, last + 1):
            self._blocks[block] = found.get(block) or self._blocks[block]
            self._blocks.move_to_end(block)
        while len(self._blocks) > max(CACHE_BYTES // BLOCK, 1):
            self._blocks.popitem(last=False)
        return joined[offset - first * BLOCK : end - first * BLOCK]

    def arrow(self) -> pa.NativeFile:
        """The same for Arrow."""
        return pa.PythonFile(self, mode="r")

    # What Python's and Arrow's files have.

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Bytes from the position on."""
        length = self.size - self._position if size is None or size < 0 else size
        found = self.read_at(length, self._position) if length > 0 and self._position < self.size else b""
        self._position += len(found)
        return found


class LocalFile:
    """A copy of a pinned version, in memory or on disk."""

    remote = False

    def __init__(self, access: S3Access, pin: Pin, size: int) -> None:
        """Fetch it.

        Raises:
            Changed: if it is no longer there.
            StoreUnavailable, StoreError.
        """
        self.size = size
        self._disk: IO[bytes] | None = None
        with named(access.place(pin.bucket, "read a file")):
            try:
                answer = access.client.get_object(**pin.request)
            except ClientError as error:
                if code_of(error) in PRECONDITION | ABSENT:
                    raise Changed from None
                raise
            self.answer: Any = answer
            self.head = ObjectHead.of(answer, int(answer["ContentLength"]))
            if self.head.size != size or (pin.etag is not None and self.head.etag != pin.etag):
                answer["Body"].close()
                raise Changed
            if size <= IN_MEMORY:
                self.source: pa.NativeFile = pa.BufferReader(answer["Body"].read())
            else:
                self._disk = tempfile.TemporaryFile(prefix="lethe-")  # noqa: SIM115 - closed by close
                for chunk in answer["Body"].iter_chunks(1 << 20):
                    self._disk.write(chunk)
                self._disk.flush()
                self.source = pa.PythonFile(cast("Any", os.fdopen(os.dup(self._disk.fileno()), "rb")), mode="r")
        if self.source.size() != size:
            raise Changed

    def read_at(self, length: int, offset: int) -> pa.Buffer:
        """Bytes from `offset` on."""
        return self.source.read_at(length, offset)

    def arrow(self) -> pa.NativeFile:
        """The same for Arrow."""
        return self.source

    def close(self) -> None:
        """Remove the copy."""
        with suppress(OSError):
            self.source.close()
        if self._disk is not None:
            self._disk.close()
