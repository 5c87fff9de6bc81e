"""Sending the requests that delete a batch's versions, within one lease; see `lethe.stores.objects.erasing`."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from lethe.counts import Outcome
from lethe.errors import StoreError, StoreUnavailable
from lethe.holds.rules import HoldRules
from lethe.stores.buckets.errors import ABSENT, NOT_ALLOWED, PRECONDITION, Operation, code_of, is_passing, named
from lethe.stores.buckets.leases import S3Lease
from lethe.stores.buckets.listing import UNVERSIONED, Version, chunks
from lethe.stores.objects.batches import ObjectBatch

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LEAST, FIRST, MOST = 25, 50, 1000
"""Versions of one DeleteObjects: at least, to begin with, and at most (S3 takes no more)."""
QUICK_SECONDS, SLOW_SECONDS = 0.25, 0.6
"""Where a request takes less, the next are larger; where it takes more, smaller, because the lease waits for it."""

_UNSPEAKABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot carry: keys with them are deleted by requests of their own."""
_TOO_LATE = "lease over"


@dataclass
class Term:
    """One lease, as the requests of a wave see it.

    Attributes:
        lease: what they are sent in.
        rules: those of its holds that candidates are compared with.
        long: when (by `time.monotonic`) it has lasted long enough for holds that wait for it.
        last: whether nothing is left to do after it, so that senders without a request would stay without one.
        stopped: whether no request may be sent any more, whatever the time.
    """

    lease: S3Lease
    rules: HoldRules
    long: float
    last: bool = False
    stopped: bool = False

    @property
    def over(self) -> bool:
        """Whether no further request may be sent."""
        return self.stopped or self.lease.over

    def enough(self, expected: float) -> bool:
        """Whether the lease should be given back, instead of a request that is expected to take so many seconds."""
        now = time.monotonic()
        return self.over or now >= self.long or now + expected >= self.long + SLOW_SECONDS


@dataclass
class Pace:
    """How many versions one request deletes, so that leases are short in a slow store and requests few in a quick one.

    Safe to use from several threads: it is a guess, and where two change it at once, one of them counts.

    Attributes:
        size: versions of a request.
        each: seconds that one of them took in the latest request.
    """

    size: int = field(default_factory=lambda: FIRST)
    each: float = 0.0

    def took(self, size: int, seconds: float) -> None:
        """Learn from a request; one that is smaller than it may be, or was begun at another size, tells nothing."""
        if size != self.size:
            return
        self.each = seconds / size
        if seconds < QUICK_SECONDS:
            self.size = min(MOST, 2 * size)
        elif seconds > SLOW_SECONDS:
            self.size = max(LEAST, size // 2)


@dataclass(frozen=True)
class Deleter:
    """Deletes versions of objects. Safe to use from several threads, each with batches of its own.

    Attributes:
        place: of the requests, for messages.
        bucket: the dataset's bucket.
        client: a client for requests inside a lease, prepared by `write_fast`.
        senders: where requests wait their turn: it bounds how many are under way.
        locked: whether S3 keeps a version, by a legal hold or a retention.
        pace: how large requests are.
    """

    place: Operation
    bucket: str
    client: S3Client
    senders: Executor
    locked: Callable[[Version], bool]
    pace: Pace = field(default_factory=Pace)

    def delete(self, batch: ObjectBatch, sends: Mapping[int, Sequence[Version]], term: Term) -> bool:
        """Delete versions, and set the outcomes of the candidates of which all could be.

        True where the look that it went by still holds for the others: no request for them was sent.
        """
        versions = [(position, version) for position, those in sends.items() for version in _conditional(those)]
        left = Counter({position: len(those) for position, those in sends.items()})
        failed: set[int] = set()
        unsent: set[int] = set()
        for position, version, code in self._requests(batch, versions, term):
            if code in ABSENT:
                left[position] -= 1
            else:
                failed.add(position)
                if code == _TOO_LATE:
                    unsent.add(position)
                self._failed(batch, position, version, code)
        for position in sends.keys() - failed:
            batch.outcomes[position] = Outcome.ERASED if left[position] else Outcome.GONE
        batch.known_gone |= {position for position in sends.keys() - failed if left[position]}
        return batch.error is None and all(len(sends[position]) == 1 for position in unsent)

    def _requests(
        self, batch: ObjectBatch, versions: Sequence[tuple[int, Version]], term: Term
    ) -> list[tuple[int, Version, str]]:
        """Send the requests, some beside each other, and wait for all; what failed, with S3's error code.

        Raises:
            StoreUnavailable, StoreError: if a request as a whole failed.
        """
        alone = {version.key for _, version in versions if _UNSPEAKABLE.search(version.key)}
        together = [one for one in versions if one[1].key not in alone] if alone else versions
        size = min(self.pace.size, FIRST) if term.last else self.pace.size
        requests = [*chunks(together, size), *([one] for one in versions if one[1].key in alone)]
        futures = [
            self.senders.submit(self._request, some, term, may_wait=index > 0) for index, some in enumerate(requests)
        ]
        wait(futures)
        failures = [error for future in futures if (error := future.exception()) is not None]
        if failures:
            with named(self.place):
                raise failures[0]
        return [one for future in futures for one in future.result()]

    def _request(
        self, some: Sequence[tuple[int, Version]], term: Term, *, may_wait: bool
    ) -> list[tuple[int, Version, str]]:
        """One request, unless the lease would last too long; at least one of a batch is sent."""
        if term.over or (may_wait and term.enough(self.pace.each * len(some))):
            return [(*one, _TOO_LATE) for one in some]
        with term.lease.sending():
            if len(some) == 1 and _UNSPEAKABLE.search(some[0][1].key):
                code = self._delete_one(some[0][1])
                return [(*some[0], code)] if code else []
            started = time.monotonic()
            failed = self._delete_some(some)
            self.pace.took(len(some), time.monotonic() - started)
            return failed

    def _delete_some(self, some: Sequence[tuple[int, Version]]) -> list[tuple[int, Version, str]]:
        objects: Any = [_object(version) for _, version in some]
        answer = self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": objects, "Quiet": True})
        errors = answer.get("Errors", ())
        if not errors:
            return []
        by_address = {(version.key, version.id): (position, version) for position, version in some}
        failed = []
        for error in errors:
            one = by_address.get((error.get("Key", ""), error.get("VersionId") or UNVERSIONED))
            if one is None:
                # A key that did not come back as it was sent: which one failed is seen when looking again.
                return [(*each, "InternalError") for each in some]
            failed.append((*one, error.get("Code") or "InternalError"))
        return failed

    def _delete_one(self, version: Version) -> str:
        condition: Any = {"IfMatch": version.etag} if version.etag else {}
        try:
            self.client.delete_object(Bucket=self.bucket, Key=version.key, VersionId=version.id, **condition)
        except ClientError as error:
            return code_of(error) or "InternalError"
        return ""

    def _failed(self, batch: ObjectBatch, position: int, version: Version, code: str) -> None:
        """What one version's error means for its candidate."""
        if code in PRECONDITION:
            batch.outcomes[position] = Outcome.RENEWED
        elif code in NOT_ALLOWED and self.locked(version):
            batch.outcomes[position] = Outcome.HELD
        elif code == _TOO_LATE:
            batch.outcomes.pop(position, None)
        elif is_passing(code):
            batch.failed += 1
            batch.error = batch.error or StoreUnavailable(f"{self.place}: {code}")
        else:
            batch.failed += 1
            batch.error = StoreError(
                f"{self.place}: S3 refuses to delete object versions ({code}); "
                "the connection's user needs s3:DeleteObject and s3:DeleteObjectVersion"
            )


def _conditional(versions: Sequence[Version]) -> Iterator[Version]:
    """The versions of a key, those without an ETag on whose deletion no condition can be put.

    A version id says which content is meant. Where there is none, the ETag does, but S3 compares it with the current
    version only (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html).
    """
    for index, version in enumerate(versions):
        yield version if version.id == UNVERSIONED and index == 0 else version._replace(etag="")


def _object(version: Version) -> dict[str, str]:
    address = {"Key": version.key, "VersionId": version.id}
    return {**address, "ETag": version.etag} if version.etag else address
