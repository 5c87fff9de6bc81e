"""One lease after the other, each with a wave of batches; see `lethe.stores.objects.erasing`."""

from __future__ import annotations

import math
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field, replace
from typing import Any

from lethe.counts import Outcome
from lethe.errors import StoreError, StoreUnavailable
from lethe.holds.rules import HoldRules
from lethe.stores.base import Gate
from lethe.stores.buckets.errors import Operation
from lethe.stores.buckets.leases import S3Lease, ServerClock, take
from lethe.stores.buckets.listing import UNVERSIONED, Listing, Record, Version
from lethe.stores.objects.batches import BatchStates, Done, Intent, ObjectBatch
from lethe.stores.objects.deleting import Deleter, Term
from lethe.stores.objects.judging import ObjectJudge
from lethe.stores.objects.manifest import Manifest

WIDTH = 8
"""Batches beside each other at most."""
LISTED_SECONDS = 300.0
"""Where S3 compares what it deletes, a listing of discovery that is older is not gone by any more."""
LOOK_SECONDS = 3.0
"""A look at a batch's keys that is older is taken anew before anything is decided by it."""
WAVE_SECONDS = 0.5
"""What a wave should take, so that a hold that is being placed does not wait long."""
AHEAD_SECONDS = 0.1
"""After so long what the next wave takes is opened, when this wave's requests are under way."""
LEASE_SECONDS = 0.8
"""After so long no further request of a wave is sent, however slow the store is: the next lease goes on."""
ATTEMPTS = 6
"""How often a batch is tried before the store counts as unavailable."""

_NOT_FOUND = (Outcome.GONE, Outcome.RENEWED)
_PAUSE_SECONDS = 0.2
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Recheck:
    """What a batch's candidates are now, beyond their versions: read right before the lease.

    Attributes:
        kept: positions of candidates that the store keeps, by a legal hold or a retention.
        running: positions of candidates that are not expired any more.
        identifiers: what candidates carry, where that can have changed.
    """

    kept: frozenset[int] = frozenset()
    running: frozenset[int] = frozenset()
    identifiers: Mapping[int, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Erasure:
    """What the workers of one erasure share. Safe to use from several threads.

    Attributes:
        judge: judges candidates again; its matcher is prepared here.
        manifest: the candidates.
        holds_version: of the registry that the candidates were discovered with.
        gate: says which holds are in force.
        clock: the S3 server's.
        listing: shows what is there now.
        states: the batches' states in staging, for use outside of leases.
        states_in_lease: the same by requests that cannot outlive a lease.
        begun: the numbers of the batches that had a state when erasing began.
        compared: whether S3 says of every key that it is not what was discovered (`objects.conditions`), and
            what was discovered is judged by its key alone.
        deleter: sends the requests that delete.
        pool: for what the batches of a wave do beside each other.
        aside: for looking at batches, and writing their outcomes, while others are deleted.
        todo: the numbers of the batches that no worker has taken yet.
        workers: how many workers take them.
        done: called with each batch that has an outcome.
    """

    judge: ObjectJudge
    manifest: Manifest
    holds_version: int
    gate: Gate
    clock: ServerClock
    listing: Listing
    states: BatchStates
    states_in_lease: BatchStates
    begun: frozenset[int]
    compared: bool
    deleter: Deleter
    pool: Executor
    aside: Executor
    todo: deque[int]
    workers: int
    done: Callable[[ObjectBatch], None]


@dataclass
class Worker:
    """Erases batches, wave after wave, until none is left to take. Used from one thread, once."""

    erasure: Erasure
    _stopped: bool = False
    _term: Term | None = None
    _width: float = 2.0
    _reading: deque[Future[ObjectBatch]] = field(default_factory=deque)
    _waiting: deque[ObjectBatch] = field(default_factory=deque)
    _recording: list[Future[ObjectBatch]] = field(default_factory=list)

    def stop(self) -> None:
        """From any thread: begin nothing more; what is under way is waited for."""
        self._stopped = True
        if self._term is not None:
            self._term.stopped = True

    def run(self) -> None:
        """Erase until no batch is left.

        Raises:
            StoreUnavailable: if S3 did not do it after several attempts.
            StoreError: if it refuses.
        """
        try:
            while not self._stopped and self._more():
                self._next()
        finally:
            for reading in self._reading:
                reading.cancel()
            wait(self._recording)

    def _more(self) -> bool:
        self._read(self._width)
        return bool(self._reading or self._waiting or self._recording)

    def _read(self, width: float) -> None:
        """Begin to open what a wave of that width takes, but of the last batches no more than its share."""
        todo, workers = self.erasure.todo, self.erasure.workers
        while len(self._reading) < int(width) and len(self._reading) * workers <= len(todo):
            try:
                number = todo.popleft()
            except IndexError:
                break
            self._reading.append(self.erasure.aside.submit(self._open, number))

    def _next(self) -> None:
        wave = self._next_wave()
        self._wave([batch for batch in wave if batch.done is None])
        recorded = [future.result() for future in self._recording]
        self._recording = [self.erasure.aside.submit(self._record, batch) for batch in wave]
        for batch in recorded:
            if batch.done is None:
                self._waiting.append(batch)
            else:
                self.erasure.done(batch)
        _give_up(self._waiting, self.erasure.deleter.place)

    # --- before a wave --------------------------------------------------------------------------------------------

    def _open(self, number: int) -> ObjectBatch:
        part = self.erasure.manifest.part(number)
        batch = ObjectBatch(number, part, self._intent(), listed_at=time.monotonic() - part.age)
        if number in self.erasure.begun:
            self._adopt(batch)
        if batch.done is None and not batch.ready_at:
            self._look(batch)
        return batch

    def _intent(self) -> Intent:
        return Intent(owner=secrets.token_hex(8), lease_seconds=self.erasure.gate.lease_seconds)

    def _adopt(self, batch: ObjectBatch) -> None:
        """Take over what staging says of the batch: its outcome, or the intent of another process."""
        progressed = self.erasure.states.read(batch.number)
        if progressed is None:
            batch.etag = None
        elif isinstance(progressed.state, Done):
            batch.done = progressed.state
        elif progressed.etag != batch.etag:
            theirs = progressed.state
            batch.etag, batch.error = progressed.etag, None
            batch.intent = replace(self._intent(), sent=theirs.sent, absent=theirs.absent)
            patience = max(theirs.lease_seconds, self.erasure.gate.lease_seconds)
            batch.ready_at = time.monotonic() + max(0.0, patience - progressed.age)

    def _next_wave(self) -> list[ObjectBatch]:
        """The batches to go on with: those that waited and may go on, then new ones; waits if there is nothing else."""
        wave = [batch for batch in self._waiting if batch.ready_at <= time.monotonic()][: int(self._width)]
        if not wave and not self._reading and not self._recording:
            time.sleep(min(_POLL_SECONDS, max(0.0, min(batch.ready_at for batch in self._waiting) - time.monotonic())))
            list(self.erasure.pool.map(self._adopt, self._waiting))
            wave = [batch for batch in self._waiting if batch.done is not None]
        for batch in wave:
            self._waiting.remove(batch)
        list(self.erasure.pool.map(self._settle, wave))
        while self._reading and len(wave) < int(self._width):
            batch = self._reading.popleft().result()
            (self._waiting if batch.done is None and batch.ready_at else wave).append(batch)
        return wave

    def _settle(self, batch: ObjectBatch) -> None:
        """Having waited: see again what staging says of it, and what is there now."""
        if batch.done is None and batch.ready_at:
            self._adopt(batch)
        if batch.done is None and batch.ready_at and batch.ready_at <= time.monotonic():
            batch.ready_at, batch.known_gone = 0.0, frozenset()
            self._look(batch)
            keys = enumerate(candidate.record.key for candidate in batch.part.candidates)
            batch.known_gone = frozenset(position for position, key in keys if key not in batch.there)

    def _look(self, batch: ObjectBatch) -> None:
        """See which of the batch's keys exist, with which versions, and whether they still are expired."""
        batch.looked_at = time.monotonic()
        candidates = batch.part.candidates
        if self._may_trust(batch):
            batch.there = {candidate.record.key: candidate.record for candidate in candidates}
            return
        wanted = [one.record for position, one in enumerate(candidates) if position not in batch.known_gone]
        batch.there = self.erasure.listing.again(
            wanted, batch.part.after, batch.part.span, self.erasure.judge.work.as_of
        )
        if not self.erasure.judge.asks:
            batch.running = frozenset(
                position
                for position, candidate in enumerate(candidates)
                if (now := batch.there.get(candidate.record.key))
                and now is not candidate.record  # which has expired, or it were no candidate
                and not self.erasure.judge.expired(now)
            )

    def _may_trust(self, batch: ObjectBatch) -> bool:
        """Whether what discovery listed does for a look: S3 compares it, and nothing was sent yet that changed it."""
        return (
            self.erasure.compared
            and batch.etag is None
            and batch.looked_at - batch.listed_at < LISTED_SECONDS
            and all(_is_compared(candidate.record) for candidate in batch.part.candidates)
        )

    # --- a wave ---------------------------------------------------------------------------------------------------

    def _wave(self, batches: Sequence[ObjectBatch]) -> None:
        batches = [batch for batch in batches if not batch.ready_at]
        if not batches:
            return
        stale = [batch for batch in batches if batch.looked_at < time.monotonic() - LOOK_SECONDS]
        list(self.erasure.pool.map(self._look, stale))
        rechecked = dict(zip((batch.number for batch in batches), self._recheck(batches), strict=True))
        with take(self.erasure.gate, self.erasure.clock, self.erasure.deleter.place) as lease:
            rules = lease.rules if self.erasure.judge.tagged else lease.rules.since(self.erasure.holds_version)
            ready = self.erasure.judge.matcher.ready(rules)
            if ready:
                term = self._begin(lease, rules)
                pool = self.erasure.pool
                futures = [pool.submit(self._attempt, batch, rechecked[batch.number], term) for batch in batches]
                try:
                    wait(futures, timeout=AHEAD_SECONDS)
                    self._read(_wider(self._width))
                    wait(futures)
                finally:
                    # Also when this thread is interrupted: the lease is not given back while requests are under way.
                    term.stopped = True
                    wait(futures)
        if not ready:
            self.erasure.judge.matcher.prepare(rules)
            self._wave(batches)
            return
        for future in futures:
            future.result()
        self._adapt(time.monotonic() - lease.started, len(batches))

    def _begin(self, lease: S3Lease, rules: HoldRules) -> Term:
        term = Term(lease, rules, time.monotonic() + LEASE_SECONDS, last=not self.erasure.todo and not self._reading)
        self._term = term  # before looking at _stopped, which `stop` sets before it looks for a term
        term.stopped = self._stopped
        return term

    def _adapt(self, seconds: float, width: int) -> None:
        if seconds > 1.5 * WAVE_SECONDS:
            self._width = max(1.0, width / 2)
        elif seconds < WAVE_SECONDS:
            self._width = _wider(self._width)

    def _recheck(self, batches: Sequence[ObjectBatch]) -> list[Recheck]:
        """Read tags and locks again, where the dataset has them."""
        if not self.erasure.judge.changes:
            return [Recheck() for _ in batches]
        found: list[Recheck] = []
        for batch in batches:
            records = [candidate.record for candidate in batch.part.candidates]
            judged = list(self.erasure.pool.map(self.erasure.judge.again, records))
            found.append(
                Recheck(
                    kept=frozenset(position for position, one in enumerate(judged) if one and one.kept),
                    running=frozenset(position for position, one in enumerate(judged) if one and not one.expired),
                    identifiers={position: one.identifiers for position, one in enumerate(judged) if one},
                )
            )
        return found

    def _attempt(self, batch: ObjectBatch, rechecked: Recheck, term: Term) -> None:
        """Within the lease: decide, announce, delete. Whatever goes wrong is left in the batch."""
        batch.error, batch.failed = None, 0
        looked_at, batch.looked_at = batch.looked_at, -math.inf
        try:
            batch.attempts += 1
            if term.over:
                raise StoreUnavailable(
                    f"{self.erasure.deleter.place}: no lease of the hold gate left time for requests"
                )
            sends = self._decide(batch, rechecked, term.rules)
            announced = batch.intent.sent
            with term.lease.sending():
                if sends and self._announce(batch, sends) and self.erasure.deleter.delete(batch, sends, term):
                    batch.looked_at = looked_at
            # What S3 did not find when asked for the first time this run has not erased, though it is announced.
            missing = {one for one in sends.keys() - announced if batch.outcomes.get(one) in _NOT_FOUND}
            batch.intent = replace(batch.intent, sent=batch.intent.sent - missing)
        except StoreError as error:
            batch.error = error

    def _decide(self, batch: ObjectBatch, rechecked: Recheck, rules: HoldRules) -> dict[int, Sequence[Version]]:
        """Set the outcomes that need no request, and give the versions to delete of the other candidates."""
        sends: dict[int, Sequence[Version]] = {}
        batch.outcomes = {}
        running = batch.running | rechecked.running
        for position, candidate in enumerate(batch.part.candidates):
            now = None if position in batch.known_gone else batch.there.get(candidate.record.key)
            left = _pinned(candidate.record, now) if now else ()
            identifiers = rechecked.identifiers.get(position, candidate.identifiers)
            if not left and (now is None or position in batch.intent.sent):
                gone_by_us = position in batch.intent.sent
                batch.outcomes[position] = Outcome.ERASED if gone_by_us else Outcome.GONE
            elif position in rechecked.kept or self.erasure.judge.holds(
                rules, candidate.record, candidate.day, identifiers
            ):
                batch.outcomes[position] = Outcome.HELD
            elif now is None or len(left) < len(now.versions) or position in running:
                batch.outcomes[position] = Outcome.RENEWED
            else:
                sends[position] = left
        return sends

    def _announce(self, batch: ObjectBatch, sends: Mapping[int, Sequence[Version]]) -> bool:
        """Write the intent; false where another process changed the state since."""
        absent = {**batch.intent.absent}
        for position in sends.keys() - batch.intent.sent:
            versions = batch.part.candidates[position].record.versions
            if len(sends[position]) < len(versions):
                there = {version.identity for version in sends[position]}
                absent[position] = [index for index, version in enumerate(versions) if version.identity not in there]
        intent = replace(batch.intent, owner=secrets.token_hex(8), sent=batch.intent.sent | sends.keys(), absent=absent)
        etag = self.erasure.states_in_lease.write(batch.number, intent, batch.etag)
        if etag is None:
            batch.ready_at = time.monotonic()
            return False
        batch.intent, batch.etag = intent, etag
        return True

    # --- after a wave ---------------------------------------------------------------------------------------------

    def _record(self, batch: ObjectBatch) -> ObjectBatch:
        """Write the outcome of a batch all of whose candidates have one."""
        complete = len(batch.outcomes) == len(batch.part.candidates)
        if batch.done is None and complete and not batch.error and not batch.ready_at:
            done = Done.of(batch.part, batch.outcomes, batch.intent.absent)
            if self.erasure.states.write(batch.number, done, batch.etag) is None:
                batch.ready_at = time.monotonic()
            else:
                batch.done = done
        return batch


def _wider(width: float) -> float:
    return min(float(WIDTH), width * 1.5)


def _is_compared(record: Record) -> bool:
    """Whether a request that deletes the record carries its ETag, and nothing else of it is left then."""
    version = record.versions[0]
    return len(record.versions) == 1 and version.id == UNVERSIONED and bool(version.etag)


def _pinned(record: Record, now: Record) -> Sequence[Version]:
    """The versions of a key that were pinned at discovery and are there now."""
    if record.versions == now.versions:
        return record.versions
    pinned = {version.identity for version in record.versions}
    return [version for version in now.versions if version.identity in pinned]


def _give_up(waiting: Iterable[ObjectBatch], place: Operation) -> None:
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
            f"{place}: {what} could not be erased in {ATTEMPTS} attempts; all that was erased is "
            f"recorded, and erasing again goes on from there. The last answer: {worst.error}"
        )
    time.sleep(_PAUSE_SECONDS * 2 ** min(batch.attempts for batch in failing))
