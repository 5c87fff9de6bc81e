"""Erasing batches of objects: each exactly once, under leases, with outcomes that are exact after any crash.

**One object of staging per batch** says how far it is, and every change of it is conditional on the one before
(``If-None-Match: *``, then ``If-Match``), so that of several processes only one goes on:

1. The keys are listed once more, while the wave before is being deleted.
2. Within a lease, with its holds, it is decided what is sent, and the *intent* is written: which candidates' versions
   are going to be deleted. Only then are they.
3. After the lease the *outcome* replaces the intent, while the next wave is being deleted.

A process that finds an intent without an outcome does not know whether its writer lives. All requests of the writer
belong to the lease in which it wrote the intent, so after `lease_seconds` (by the S3 server's clock alone) none of
them is under way any more, and a writer that goes on has to renew its intent first. The finder waits that long,
looks which of the announced versions are gone (those were erased by this run), and takes the intent over; if the
writer was faster after all, its change of the object wins and the finder starts anew.

**What is erased** is the pinned versions of a key whose versions all were pinned at discovery. A key with a version
that was not checked is *renewed*, whatever its clock: nothing of it goes, the survey after erasing still shows it,
and the next run judges it anew. S3 has no way of making a delete of versions conditional on there being no newer
one, so a version that is written between the look and the request stays without its predecessors: it is never
touched itself. Without versioning the requests carry the ETag, so that another content is never deleted.

**A lease** covers one wave: some batches beside each other, fewer where that took long. No request is sent in the
second half of a lease, none takes longer than half a lease, nothing is retried or waited for within it. In a store
that is slow a lease is given back after `LEASE_SECONDS` and the request under way, with a batch half done. If an answer
is missing, the lease is kept until it has run out, because S3 may still be carrying the request out.
"""

from __future__ import annotations

import math
import re
import secrets
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from lethe.errors import StoreError, StoreUnavailable
from lethe.holds.rules import HoldRules
from lethe.stores.base import Candidates, Gate, Outcome, Progress, Tally
from lethe.stores.s3.batches import BatchStates, Done, Intent
from lethe.stores.s3.client import S3Access, write_fast
from lethe.stores.s3.errors import ABSENT, NOT_ALLOWED, PRECONDITION, code_of, fate_unknown, is_passing, named
from lethe.stores.s3.judging import Judge
from lethe.stores.s3.listing import UNVERSIONED, Listing, Record, Version, chunks
from lethe.stores.s3.manifest import Manifest, Part

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

AT_ONCE = 250
"""Versions of one DeleteObjects. It takes 1,000, but several smaller ones beside each other make shorter leases."""
SENDERS = 8
"""Requests that delete beside each other. More are not faster, but every one takes longer, and so do leases."""
ASIDE = 4
"""Batches that are looked at, or whose outcomes are written, while others are deleted."""
NARROW, WIDTH = 2.0, 16
"""Batches beside each other at least, which keeps all senders busy, and at most."""
LOOK_SECONDS = 3.0
"""A look at a batch's keys that is older is taken anew before anything is decided by it."""
WAVE_SECONDS = 0.5
"""What a wave should take, so that a hold that is being placed does not wait long."""
LEASE_SECONDS = 0.8
"""After so long no further request of a wave is sent, however slow the store is: the next lease goes on."""
ATTEMPTS = 6
"""How often a batch is tried before the store counts as unavailable."""

_PAUSE_SECONDS = 0.2
_POLL_SECONDS = 0.5
_UNSPEAKABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot carry: keys with them are deleted by requests of their own."""


@dataclass
class Batch:
    """A batch that this process works on.

    Attributes:
        number: its place in the manifest.
        part: its candidates.
        intent: what is announced in staging, by this process or, if `ready_at` is given, by another one.
        etag: of the state in staging; None: there is none.
        ready_at: when (by `time.monotonic`) no request of the other process can be under way any more.
        known_gone: positions of which nothing was left when that was so, or that S3 said it has deleted since.
        there: its keys that existed at the last look, with their versions.
        running: positions of those of them that are not expired any more.
        looked_at: when the last look was begun (by `time.monotonic`).
        done: its outcome.
        outcomes: what has been decided, by position; complete before `done` is.
        attempts: how often it was tried.
        error: why the last attempt did not complete it.
        failed: how many versions S3 did not delete then.
        unanswered: whether a request of the last attempt may still be carried out.
    """

    number: int
    part: Part
    intent: Intent
    etag: str | None = None
    ready_at: float = 0.0
    known_gone: frozenset[int] = frozenset()
    there: Mapping[str, Record] = field(default_factory=dict)
    running: frozenset[int] = frozenset()
    looked_at: float = -math.inf
    done: Done | None = None
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    attempts: int = 0
    error: StoreError | None = None
    failed: int = 0
    unanswered: bool = False


@dataclass(frozen=True)
class Closer:
    """What a batch's candidates are now, beyond their versions: read right before the lease.

    Attributes:
        kept: positions of candidates that the store keeps, by a legal hold or a retention.
        running: positions of candidates that are not expired any more.
        identifiers: what candidates carry, where that can have changed.
    """

    kept: frozenset[int] = frozenset()
    running: frozenset[int] = frozenset()
    identifiers: Mapping[int, Any] = field(default_factory=dict)


@dataclass
class Turn:
    """One lease, as the requests of a wave see it."""

    rules: HoldRules
    ends: float
    long: float
    stopped: bool = False

    @property
    def over(self) -> bool:
        """Whether no further request may be sent."""
        return self.stopped or time.monotonic() >= self.ends

    @property
    def enough(self) -> bool:
        """Whether the lease should be given back, with what is left for the next one."""
        return self.over or time.monotonic() >= self.long


@dataclass
class Eraser:
    """Erases batches of one dataset in one run; see the module's docstring. Used once, from one thread.

    Attributes:
        access: the connection.
        bucket: the dataset's bucket.
        judge: judges candidates again; its matcher is prepared here.
        manifest: the candidates.
        candidates: the value that stands for them.
        gate: says which holds are in force.
    """

    access: S3Access
    bucket: str
    judge: Judge
    manifest: Manifest
    candidates: Candidates
    gate: Gate

    def __post_init__(self) -> None:
        """Prepare clients whose requests cannot outlive a lease."""
        self._client: S3Client = self.access.leased(self.gate.lease_seconds)
        write_fast(self._client)
        place = self.access.place(self.bucket, "list the versions of objects (s3:ListBucketVersions)")
        self._listing = Listing(self.access.lister, self.bucket, place)
        self._states = BatchStates(self.manifest.staging)
        self._states_in_lease = BatchStates(replace(self.manifest.staging, client=self._client))
        self._width = NARROW

    def run(self, batches: range, progress: Progress) -> Tally:
        """Erase the batches.

        Raises:
            StoreUnavailable: if S3 did not do it after several attempts.
            StoreError: if it refuses. Either way, what was done is recorded, or found out when erasing again.
        """
        with (
            ThreadPoolExecutor(SENDERS, thread_name_prefix="lethe-delete") as self._senders,
            ThreadPoolExecutor(WIDTH, thread_name_prefix="lethe-erase") as pool,
            ThreadPoolExecutor(ASIDE, thread_name_prefix="lethe-aside") as self._aside,
        ):
            self._recording: list[Future[Batch]] = []
            try:
                return self._run(batches, pool, progress)
            finally:
                wait(self._recording)
                for one in (pool, self._aside):
                    one.shutdown(cancel_futures=True)
                self._client.close()

    def _run(self, batches: range, pool: ThreadPoolExecutor, progress: Progress) -> Tally:
        sum_of_all = Tally()
        todo = deque(batches)
        reading: deque[Future[Batch]] = deque()
        waiting: deque[Batch] = deque()
        while todo or reading or waiting or self._recording:
            while todo and len(reading) <= int(self._width):
                reading.append(self._aside.submit(self._open, todo.popleft()))
            wave = self._next_wave(reading, waiting, pool)
            self._wave([batch for batch in wave if batch.done is None], pool)
            recorded = [future.result() for future in self._recording]
            self._recording = [self._aside.submit(self._record, batch) for batch in wave]
            for batch in recorded:
                if batch.done is None:
                    waiting.append(batch)
                else:
                    sum_of_all += batch.done.tally
                    progress(len(batch.part.candidates))
            _give_up(waiting, self.access, self.bucket)
        return sum_of_all

    # --- before a wave --------------------------------------------------------------------------------------------

    def _open(self, number: int) -> Batch:
        batch = Batch(number, self.manifest.part(number), self._intent())
        self._adopt(batch)
        if batch.done is None and not batch.ready_at:
            self._look(batch)
        return batch

    def _intent(self) -> Intent:
        return Intent(owner=secrets.token_hex(8), lease_seconds=self.gate.lease_seconds)

    def _adopt(self, batch: Batch) -> None:
        """Take over what staging says of the batch: its outcome, or the intent of another process."""
        progressed = self._states.read(batch.number)
        if progressed is None:
            batch.etag = None
        elif isinstance(progressed.state, Done):
            batch.done = progressed.state
        elif progressed.etag != batch.etag:
            theirs = progressed.state
            batch.etag, batch.error = progressed.etag, None
            batch.intent = replace(self._intent(), sent=theirs.sent, absent=theirs.absent)
            patience = max(theirs.lease_seconds, self.gate.lease_seconds)
            batch.ready_at = time.monotonic() + max(0.0, patience - progressed.age)

    def _next_wave(self, reading: deque[Future[Batch]], waiting: deque[Batch], pool: ThreadPoolExecutor) -> list[Batch]:
        """The batches to go on with: those that waited and may go on, then new ones; waits if there is nothing else."""
        wave = [batch for batch in waiting if batch.ready_at <= time.monotonic()][: int(self._width)]
        if not wave and not reading and not self._recording:
            time.sleep(min(_POLL_SECONDS, max(0.0, min(batch.ready_at for batch in waiting) - time.monotonic())))
            list(pool.map(self._adopt, waiting))
            wave = [batch for batch in waiting if batch.done is not None]
        for batch in wave:
            waiting.remove(batch)
        list(pool.map(self._settle, wave))
        while reading and len(wave) < int(self._width):
            batch = reading.popleft().result()
            (waiting if batch.done is None and batch.ready_at else wave).append(batch)
        return wave

    def _settle(self, batch: Batch) -> None:
        """Having waited: see again what staging says of it, and what is there now."""
        if batch.done is None and batch.ready_at:
            self._adopt(batch)
        if batch.done is None and batch.ready_at and batch.ready_at <= time.monotonic():
            batch.ready_at, batch.known_gone = 0.0, frozenset()
            self._look(batch)
            keys = enumerate(candidate.record.key for candidate in batch.part.candidates)
            batch.known_gone = frozenset(position for position, key in keys if key not in batch.there)

    def _look(self, batch: Batch) -> None:
        """See which of the batch's keys exist, with which versions, and whether they still are expired."""
        batch.looked_at = time.monotonic()
        candidates = batch.part.candidates
        wanted = [one.record for position, one in enumerate(candidates) if position not in batch.known_gone]
        batch.there = self._listing.again(wanted, batch.part.after, batch.part.span)
        if not self.judge.asks:
            batch.running = frozenset(
                position
                for position, candidate in enumerate(candidates)
                if (now := batch.there.get(candidate.record.key)) and not self.judge.expired(now)
            )

    # --- a wave ---------------------------------------------------------------------------------------------------

    def _wave(self, batches: Sequence[Batch], pool: ThreadPoolExecutor) -> None:
        batches = [batch for batch in batches if not batch.ready_at]
        if not batches:
            return
        stale = [batch for batch in batches if batch.looked_at < time.monotonic() - LOOK_SECONDS]
        list(pool.map(self._look, stale))
        closer = dict(zip((batch.number for batch in batches), self._look_closer(batches, pool), strict=True))
        started = time.monotonic()
        with self.gate.lease() as given:
            rules = given if self.judge.tagged else given.since(self.candidates.holds_version)
            ready = self.judge.matcher.ready(rules)
            if ready:
                turn = Turn(rules, started + self.gate.lease_seconds / 2, time.monotonic() + LEASE_SECONDS)
                futures = [pool.submit(self._attempt, batch, closer[batch.number], turn) for batch in batches]
                try:
                    wait(futures)
                finally:
                    # Also when this thread is interrupted: the lease is not given back while requests are under way.
                    turn.stopped = True
                    wait(futures)
                    if any(batch.unanswered for batch in batches):
                        time.sleep(max(0.0, started + self.gate.lease_seconds - time.monotonic()))
        if not ready:
            self.judge.matcher.prepare(rules)
            self._wave(batches, pool)
            return
        for future in futures:
            future.result()
        self._adapt(time.monotonic() - started, len(batches))

    def _adapt(self, seconds: float, width: int) -> None:
        if seconds > 1.5 * WAVE_SECONDS:
            self._width = max(NARROW, width / 2)
        elif seconds < WAVE_SECONDS:
            self._width = min(float(WIDTH), self._width * 1.5)

    def _look_closer(self, batches: Sequence[Batch], pool: ThreadPoolExecutor) -> list[Closer]:
        """Read tags and locks again, where the dataset has them."""
        if not self.judge.changes:
            return [Closer() for _ in batches]
        found: list[Closer] = []
        for batch in batches:
            records = [candidate.record for candidate in batch.part.candidates]
            judged = list(pool.map(self.judge.again, records))
            found.append(
                Closer(
                    kept=frozenset(position for position, one in enumerate(judged) if one and one.kept),
                    running=frozenset(position for position, one in enumerate(judged) if one and not one.expired),
                    identifiers={position: one.identifiers for position, one in enumerate(judged) if one},
                )
            )
        return found

    def _attempt(self, batch: Batch, closer: Closer, turn: Turn) -> None:
        """Within the lease: decide, announce, delete. Whatever goes wrong is left in the batch."""
        batch.error, batch.failed, batch.unanswered = None, 0, False
        looked_at, batch.looked_at = batch.looked_at, -math.inf
        try:
            batch.attempts += 1
            if turn.over:
                place = self.access.place(self.bucket, "delete object versions")
                raise StoreUnavailable(f"{place}: no lease of the hold gate left time for requests")
            sends = self._decide(batch, closer, turn.rules)
            if sends and self._announce(batch, sends) and self._delete(batch, sends, turn):
                batch.looked_at = looked_at
        except StoreError as error:
            batch.error = error

    def _decide(self, batch: Batch, closer: Closer, rules: HoldRules) -> dict[int, list[Version]]:
        """Set the outcomes that need no request, and give the versions to delete of the other candidates."""
        sends: dict[int, list[Version]] = {}
        batch.outcomes = {}
        running = batch.running | closer.running
        for position, candidate in enumerate(batch.part.candidates):
            now = None if position in batch.known_gone else batch.there.get(candidate.record.key)
            left = _pinned(candidate.record, now) if now else []
            identifiers = closer.identifiers.get(position, candidate.identifiers)
            if not left and (now is None or position in batch.intent.sent):
                gone_by_us = position in batch.intent.sent
                batch.outcomes[position] = Outcome.ERASED if gone_by_us else Outcome.GONE
            elif position in closer.kept or self.judge.matcher.holds(rules, candidate.day, identifiers):
                batch.outcomes[position] = Outcome.HELD
            elif now is None or len(left) < len(now.versions) or position in running:
                batch.outcomes[position] = Outcome.RENEWED
            else:
                sends[position] = left
        return sends

    def _announce(self, batch: Batch, sends: Mapping[int, Sequence[Version]]) -> bool:
        """Write the intent; false where another process changed the state since."""
        absent = {**batch.intent.absent}
        for position in sends.keys() - batch.intent.sent:
            there = {version.identity for version in sends[position]}
            versions = batch.part.candidates[position].record.versions
            missing = [index for index, version in enumerate(versions) if version.identity not in there]
            if missing:
                absent[position] = missing
        intent = replace(batch.intent, owner=secrets.token_hex(8), sent=batch.intent.sent | sends.keys(), absent=absent)
        etag = self._states_in_lease.write(batch.number, intent, batch.etag)
        if etag is None:
            batch.ready_at = time.monotonic()
            return False
        batch.intent, batch.etag = intent, etag
        return True

    # --- deleting -------------------------------------------------------------------------------------------------

    def _delete(self, batch: Batch, sends: Mapping[int, Sequence[Version]], turn: Turn) -> bool:
        """Delete versions, and set the outcomes of the candidates of which all could be.

        True where the look that it went by still holds for the others: no request for them was sent.
        """
        versions = [(position, version) for position, those in sends.items() for version in _conditional(those)]
        left = Counter({position: len(those) for position, those in sends.items()})
        failed: set[int] = set()
        unsent: set[int] = set()
        for position, version, code in self._requests(batch, versions, turn):
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
        self, batch: Batch, versions: Sequence[tuple[int, Version]], turn: Turn
    ) -> list[tuple[int, Version, str]]:
        """Send the requests, some beside each other, and wait for all; what failed, with S3's error code.

        Raises:
            StoreUnavailable, StoreError: if a request as a whole failed.
        """
        speakable = [one for one in versions if not _UNSPEAKABLE.search(one[1].key)]
        others = [[one] for one in versions if _UNSPEAKABLE.search(one[1].key)]
        requests = [*chunks(speakable, AT_ONCE), *others]
        futures = [
            self._senders.submit(self._request, some, turn, may_wait=index > 0) for index, some in enumerate(requests)
        ]
        wait(futures)
        failures = [error for future in futures if (error := future.exception()) is not None]
        batch.unanswered = any(fate_unknown(error) for error in failures)
        if failures:
            with named(self.access.place(self.bucket, "delete object versions")):
                raise failures[0]
        return [one for future in futures for one in future.result()]

    def _request(
        self, some: Sequence[tuple[int, Version]], turn: Turn, *, may_wait: bool
    ) -> list[tuple[int, Version, str]]:
        """One request, unless the lease has lasted long enough; at least one of a batch is sent."""
        if turn.over or (may_wait and turn.enough):
            return [(*one, _TOO_LATE) for one in some]
        if len(some) == 1 and _UNSPEAKABLE.search(some[0][1].key):
            code = self._delete_one(some[0][1])
            return [(*some[0], code)] if code else []
        return self._delete_some(some)

    def _delete_some(self, some: Sequence[tuple[int, Version]]) -> list[tuple[int, Version, str]]:
        objects: Any = [_object(version) for _, version in some]
        answer = self._client.delete_objects(Bucket=self.bucket, Delete={"Objects": objects, "Quiet": True})
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
            self._client.delete_object(Bucket=self.bucket, Key=version.key, VersionId=version.id, **condition)
        except ClientError as error:
            return code_of(error) or "InternalError"
        return ""

    def _failed(self, batch: Batch, position: int, version: Version, code: str) -> None:
        """What one version's error means for its candidate."""
        place = self.access.place(self.bucket, "delete object versions")
        if code in PRECONDITION:
            batch.outcomes[position] = Outcome.RENEWED
        elif code in NOT_ALLOWED and self.judge.reader.locked(version):
            batch.outcomes[position] = Outcome.HELD
        elif code == _TOO_LATE:
            batch.outcomes.pop(position, None)
        elif is_passing(code):
            batch.failed += 1
            batch.error = batch.error or StoreUnavailable(f"{place}: {code}")
        else:
            batch.failed += 1
            batch.error = StoreError(
                f"{place}: S3 refuses to delete object versions ({code}); "
                "the connection's user needs s3:DeleteObject and s3:DeleteObjectVersion"
            )

    # --- after a wave ---------------------------------------------------------------------------------------------

    def _record(self, batch: Batch) -> Batch:
        """Write the outcome of a batch all of whose candidates have one."""
        complete = len(batch.outcomes) == len(batch.part.candidates)
        if batch.done is None and complete and not batch.error and not batch.ready_at:
            done = Done.of(batch.part, batch.outcomes, batch.intent.absent)
            if self._states.write(batch.number, done, batch.etag) is None:
                batch.ready_at = time.monotonic()
            else:
                batch.done = done
        return batch


_TOO_LATE = "lease over"


def _pinned(record: Record, now: Record) -> list[Version]:
    """The versions of a key that were pinned at discovery and are there now."""
    if record.versions == now.versions:
        return list(record.versions)
    pinned = {version.identity for version in record.versions}
    return [version for version in now.versions if version.identity in pinned]


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


def _give_up(waiting: Iterable[Batch], access: S3Access, bucket: str) -> None:
    """Raise where batches cannot be completed; else wait a little before they are tried again."""
    failing = [batch for batch in waiting if batch.error is not None]
    if not failing:
        return
    for batch in failing:
        if batch.error is not None and not batch.error.transient:
            raise batch.error
    worst = max(failing, key=lambda batch: batch.attempts)
    if worst.attempts >= ATTEMPTS and worst.error is not None:
        versions = sum(batch.failed for batch in failing)
        what = f"{versions} object versions" if versions else f"{len(failing)} batches of objects"
        raise StoreUnavailable(
            f"{access.place(bucket, '')}: {what} could not be erased in {ATTEMPTS} attempts; all that was erased is "
            f"recorded, and erasing again goes on from there. The last answer: {worst.error}"
        )
    time.sleep(_PAUSE_SECONDS * 2 ** min(batch.attempts for batch in failing))
