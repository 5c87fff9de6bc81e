"""What erasing finds of a file, announces and prepares for it; see `lethe.stores.files.erase`."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import IO, Any

from lethe.counts import Outcome
from lethe.stores.buckets.listing import Record, Version
from lethe.stores.buckets.staging import Stored
from lethe.stores.buckets.uploads import Upload
from lethe.stores.files.marks import Marks
from lethe.stores.files.plan import PlannedVersion

SPOOL_BYTES = 32 << 20
"""New content beyond this size is kept on disk until it is uploaded."""


class VersionState(StrEnum):
    """What a planned version is found to be."""

    READY = "ready"
    """As it was discovered."""
    SUPERSEDED = "superseded"
    """There, but no longer current."""
    LEFT_OVER = "left over"
    """There, though its new content has been written."""
    ERASED = "erased"
    GONE = "gone"
    CHANGED = "changed"
    """The object without versions is another one."""


@dataclass(frozen=True)
class Attempt:
    """An intent as it was staged, or what ends the intents of a key.

    Attributes:
        number: counted from 1.
        rules: the version of the registry that it was prepared by.
        etag: what the new content will have; empty where there is none.
        size: bytes of the new content.
        sha256: of the new content where the server's ETag is no digest of it, else empty.
        removes: version ids that will be removed.
        held: rows that stay because they are held, as marks, by version id.
        upload: id of the upload that brings the new content; empty where it is put at once, or there is none.
        owner: a random token of the process.
        lease_seconds: of the lease that it was written in, and everything was sent in.
        outcome: what became of the key's versions, where this ends it: nothing is sent for the key any more.
        over_at: when (by `time.monotonic`) that lease is over for certain; known where it was read from staging.
    """

    number: int
    rules: int
    etag: str = ""
    size: int = 0
    sha256: str = ""
    removes: tuple[str, ...] = ()
    held: Mapping[str, str] = field(default_factory=dict)
    upload: str = ""
    owner: str = ""
    lease_seconds: float = 0.0
    outcome: Mapping[str, Any] | None = None
    over_at: float = field(default=-math.inf, compare=False)

    def dumps(self) -> bytes:
        """For staging."""
        fields = {**self.__dict__, "held": dict(self.held)}
        del fields["over_at"]
        return json.dumps(fields, sort_keys=True).encode()

    @classmethod
    def read(cls, stored: Stored) -> Attempt:
        """From staging. Its owner may be at it until the lease is over, which began after it was written at most."""
        fields = json.loads(stored.body)
        age = (stored.read - stored.written).total_seconds() - 1
        over_at = time.monotonic() + max(0.0, fields["lease_seconds"] - age)
        return cls(**{**fields, "removes": tuple(fields["removes"]), "over_at": over_at})


@dataclass
class Observation:
    """What was found of a key at one time."""

    record: Record | None
    states: dict[str, VersionState]
    done: Attempt | None
    attempts: list[Attempt]

    @property
    def present(self) -> dict[str, Version]:
        """Versions with content, by id."""
        return {version.id: version for version in self.record.content} if self.record else {}

    @property
    def newest(self) -> Version | None:
        """The current version or delete marker."""
        return self.record.versions[0] if self.record else None

    @property
    def number(self) -> int:
        """Of the next attempt. Only one process can write it, so only who knows of all before it goes on."""
        return max((attempt.number for attempt in self.attempts), default=0) + 1

    @property
    def outcome(self) -> Mapping[str, Any] | None:
        """What became of the key's versions, where that has been written down as the last word."""
        return next((attempt.outcome for attempt in self.attempts if attempt.outcome is not None), None)

    @property
    def untouched(self) -> bool:
        """Whether every planned version is as it was discovered."""
        return all(state is VersionState.READY for state in self.states.values())

    def after(self, attempt: Attempt, sent: Prepared) -> Observation:
        """What there is when all that was prepared has been carried out, as its answers said."""
        versions = self.record.versions if self.record else ()
        left = tuple(version for version in versions if version.id not in attempt.removes)
        return Observation(
            Record(self.record.key, left) if self.record and left else None,
            {**self.states, **{version.id: VersionState.ERASED for version, _ in sent.going}},
            attempt if sent.content is not None else self.done,
            [*self.attempts, attempt],
        )

    def removed(self, version: str) -> bool:
        """Whether an attempt was to remove a version."""
        return any(version in attempt.removes for attempt in self.attempts)


class Content:
    """New content of a file: in memory, or on disk where it is large."""

    def __init__(self, *, digest: bool) -> None:
        self.file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES, prefix="lethe-")  # noqa: SIM115
        self.size = 0
        self._digest = hashlib.sha256() if digest else None

    def write(self, data: Any) -> int:  # noqa: ANN401 - the buffer protocol
        """Append."""
        self.file.write(data)
        self.size += len(data)
        if self._digest is not None:
            self._digest.update(data)
        return len(data)

    @property
    def sha256(self) -> str:
        """SHA-256, where it was asked for."""
        return self._digest.hexdigest() if self._digest else ""

    def part(self, offset: int, length: int) -> bytes:
        """Some of it."""
        self.file.seek(offset)
        return self.file.read(length)

    def close(self) -> None:
        """Let go of it."""
        self.file.close()


@dataclass
class Prepared:
    """What is to be sent for a key.

    Attributes:
        rules: the version of the registry that it was judged by.
        source: the current version that is replaced or removed.
        content: its new content.
        request: the parameters of the PUT or upload.
        upload: what brings the new content in parts.
        parts: of the upload.
        etag: what the new content will have.
        removes: versions and markers that are removed by id.
        marker: whether a delete marker is put first.
        held: rows that stay because they are held, by version id.
        stays: outcomes of planned versions that nothing is sent for.
        going: rows that would go, by planned version, for checking newer holds.
    """

    rules: int
    source: PlannedVersion | None = None
    content: Content | None = None
    request: dict[str, Any] = field(default_factory=dict)
    upload: Upload | None = None
    parts: list[dict[str, Any]] = field(default_factory=list)
    etag: str = ""
    removes: list[Version] = field(default_factory=list)
    marker: bool = False
    held: dict[str, Marks] = field(default_factory=dict)
    stays: dict[str, Outcome] = field(default_factory=dict)
    going: list[tuple[PlannedVersion, Marks]] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to send."""
        return self.content is None and not self.removes

    def close(self) -> None:
        """Let go of content."""
        if self.content is not None:
            self.content.close()
