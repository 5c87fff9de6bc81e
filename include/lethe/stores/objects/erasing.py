"""Erasing batches of objects: each exactly once, under leases, with outcomes that are exact after any crash.

**One object of staging per batch** says how far it is, and every change of it is conditional on the one before
(``If-None-Match: *``, then ``If-Match``), so that of several processes only one goes on:

1. The keys are listed once more, while the wave before is being deleted (not where S3 itself compares, see below).
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
touched itself. Without versioning the requests carry the ETag, so that another content is never deleted. Nor has it
one of deleting several versions at once or not at all: where a process dies in the midst of a key, and a hold covers it
before the next try, what is left of it stays, and the record is *held*.

**No look is taken** where the answer to the request says all that a look would: in a bucket that never had
versioning, on a server that keeps conditions (`objects.conditions`), of objects that are judged by their keys
alone, listed less than `LISTED_SECONDS` ago, for which nothing was announced yet. What S3 does not find as it was
listed is *gone* or *renewed*, also when its batch is tried again. Only a process that dies between the intent and the
outcome takes that knowledge with it: what other people deleted or replaced since the listing is then counted as
erased, as is in any case what they did between a look and a request.

**A lease** covers one wave: one batch, or some beside each other where that takes little time. `WORKERS` of them follow
each other at their own pace, so that requests are under way while one lease ends and the next begins. No request is
taken by S3 in the second half of a lease (`buckets.leases`), none takes longer than half a lease, nothing is
retried or waited for within it. In a store that is slow requests become smaller (`objects.deleting.Pace`), and
a lease is given back after `LEASE_SECONDS` and the request under way, with a batch half done; sooner, where the next
request would take long. If an answer is missing, the lease is kept until it has run out, because S3 may still be
carrying the request out.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from queue import SimpleQueue

from lethe.counts import Became
from lethe.stores.base import Candidates, Gate, Progress
from lethe.stores.buckets.client import S3Access, write_fast
from lethe.stores.buckets.listing import Listing
from lethe.stores.heap import quick_collections
from lethe.stores.objects.batches import BatchStates, ObjectBatch
from lethe.stores.objects.conditions import are_kept
from lethe.stores.objects.deleting import Deleter
from lethe.stores.objects.judging import ObjectJudge
from lethe.stores.objects.manifest import Manifest
from lethe.stores.objects.worker import WIDTH, Erasure, Worker

WORKERS = 3
"""Leases beside each other: while one is given back and the next begins, the requests of the other go on."""
SENDERS = 24
"""Requests that delete beside each other, for all workers: enough that S3 never waits for the next one."""
ASIDE = 8
"""Batches that are looked at, or whose outcomes are written, while others are deleted."""


@dataclass(frozen=True)
class ObjectEraser:
    """Erases batches of one dataset in one run; see the module's docstring.

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
    judge: ObjectJudge
    manifest: Manifest
    candidates: Candidates
    gate: Gate

    def run(self, batches: range, progress: Progress) -> Became:
        """Erase the batches.

        Raises:
            StoreUnavailable: if S3 did not do it after several attempts.
            StoreError: if it refuses. Either way, what was done is recorded, or found out when erasing again.
        """
        place = self.access.place(self.bucket, "delete object versions")
        client = self.access.leased(self.gate.lease_seconds)
        write_fast(client)
        states = BatchStates(self.manifest.staging)
        events: SimpleQueue[ObjectBatch | Future[None]] = SimpleQueue()
        with (
            quick_collections(),
            closing(client),
            ThreadPoolExecutor(SENDERS, thread_name_prefix="lethe-delete") as senders,
            ThreadPoolExecutor(WORKERS * WIDTH, thread_name_prefix="lethe-erase") as pool,
            ThreadPoolExecutor(ASIDE, thread_name_prefix="lethe-aside") as aside,
            ThreadPoolExecutor(WORKERS, thread_name_prefix="lethe-worker") as threads,
        ):
            erasure = Erasure(
                judge=self.judge,
                manifest=self.manifest,
                holds_version=self.candidates.holds_version,
                gate=self.gate,
                clock=self.access.clock,
                listing=self._listing(),
                states=states,
                states_in_lease=BatchStates(replace(self.manifest.staging, client=client)),
                begun=states.numbers(),
                compared=self.judge.by_key and are_kept(self.access, self.bucket, self.manifest.staging),
                deleter=Deleter(place, self.bucket, client, senders, self.judge.reader.locked),
                pool=pool,
                aside=aside,
                todo=deque(batches),
                workers=min(WORKERS, len(batches)),
                done=events.put,
            )
            workers = [Worker(erasure) for _ in range(erasure.workers)]
            try:
                for worker in workers:
                    threads.submit(worker.run).add_done_callback(events.put)
                return _sum(events, len(workers), progress)
            finally:
                # Also when this thread is interrupted, or one worker failed: no lease is given back too early.
                for worker in workers:
                    worker.stop()

    def _listing(self) -> Listing:
        place = self.access.place(self.bucket, "list the versions of objects (s3:ListBucketVersions)")
        return Listing(self.access.lister, self.bucket, place)


def _sum(events: SimpleQueue[ObjectBatch | Future[None]], workers: int, progress: Progress) -> Became:
    """The sum of what the workers do, until all have ended. Raises what the first that fails raises."""
    total = Became()
    while workers:
        event = events.get()
        if isinstance(event, Future):
            event.result()
            workers -= 1
        elif event.done is not None:
            total += event.done.tally
            progress(len(event.part.candidates))
    return total
