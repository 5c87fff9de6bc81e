"""Erasing the staged rows: exactly those, each once, under the holds in force, whatever dies meanwhile.

**One loop for all.** For each key: read the store's real state and the intents written so far; work out what each
version still needs; prepare it; write an intent; send the requests inside a lease. The outcome is taken from that state
and the answers, and where an answer was not what it should be, from the state read again: a run that goes on after a
crash does just what an undisturbed one does.

- An intent (``intent/<batch>/<key>-<attempt>``, written with ``If-None-Match: *`` inside the lease, before anything
  else is sent in it) names the ETag that the new content will have, the versions that will be removed, and the rows
  that stay because they are held.
  New content that is found under its ETag: the attempt was carried out, and what it did not come to remove is removed
  now. A version that an intent names and that is gone went by our doing; any other that is gone: `Outcome.GONE`.
- What an attempt left in doubt is settled before the state is read: an upload is ended (`buckets.uploads`).
- That something stays, or went by others, is **the last word** on a key: written as its next attempt, under that number
  (``If-None-Match: *``), once the leases of all attempts before are over. So nobody who judged by other holds has
  written an intent that it does not know of, nor can write one afterwards; who comes second takes it over. That all
  is erased needs no such word: nothing is left to send for.
- ``outcome/<batch>`` ends a batch. It is written once (``If-None-Match: *``); whoever comes second takes it over.

**Holds.** The rewritten file is prepared, and its parts uploaded, without a lease. Inside it there are only requests
that complete the upload (or put a small file) if the file still has the ETag that was discovered, and that remove
versions by id. If a hold was placed since the rows were filtered, the lease is given back with nothing sent; if the
hold covers a row that would have gone, the attempt is abandoned and prepared anew. The same rules are applied before an
old version is removed that an attempt did not come to.

**Versions.** The new content is written first, then the version that it replaces and the other planned ones are removed
by id, in the same lease. If older versions stay (nothing in them has expired, or a hold keeps them), a delete marker
keeps them from becoming current again; if none stays, the markers go too. A file that is no longer what was
discovered is left alone, and its candidates are `Outcome.RENEWED`; what is due in it is found by the next discovery.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from lethe.counts import Became, Outcome
from lethe.errors import StoreError, StoreUnavailable
from lethe.holds.rules import HoldRules
from lethe.policy import FilesDataset
from lethe.stores.base import Gate, Progress, Work
from lethe.stores.buckets import uploads
from lethe.stores.buckets.client import S3Access
from lethe.stores.buckets.errors import ABSENT, ENDED, PRECONDITION, code_of, is_passing, named, translate
from lethe.stores.buckets.leases import take
from lethe.stores.buckets.listing import UNVERSIONED, Listing, Version
from lethe.stores.buckets.staging import BucketStaging, pack
from lethe.stores.buckets.uploads import Upload
from lethe.stores.files.attempts import Attempt, Content, Observation, Prepared, VersionState
from lethe.stores.files.clocks import WrongSchema
from lethe.stores.files.examine import contained, name_digest
from lethe.stores.files.files import Changed, LocalFile, ObjectHead, Pin, S3File
from lethe.stores.files.formats.base import NotRewritable, RowFile, Unreadable
from lethe.stores.files.holds import Loaded, RowMatcher
from lethe.stores.files.judge import DatasetJudge
from lethe.stores.files.marks import Marks
from lethe.stores.files.outcomes import tally_of, tally_of_unit
from lethe.stores.files.plan import PlannedBatch, PlannedVersion, RewritePlan, Unit

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

THREADS = 4
"""Keys that are worked on at a time."""
ENCODERS = max(2, os.cpu_count() or 1)
"""Chunks that are encoded at a time."""
REWRITERS = 2
"""Files that are fetched and rewritten at a time; what bounds memory."""
PUT_BYTES = 256 << 10
"""Content up to this size is put inside the lease; larger content, which takes longer to send, is uploaded before."""
PART_BYTES = 16 << 20
MOST_PARTS = 9000
ROUNDS = 20
"""How often a key is looked at anew because something changed, before giving up."""
SETTLE_SECONDS = 60.0
"""How long what another attempt left in doubt is waited for and settled."""
FAULTS = 5
"""Passing faults of the server that are borne per key."""

_ATTRIBUTES = (
    "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "Expires", "Metadata",
    "StorageClass", "ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled",
)  # fmt: skip


class _Again(Exception):
    """Something changed: look again."""


class FileEraser:
    """Erases batches of one dataset of one run."""

    def __init__(
        self,
        access: S3Access,
        listing: Listing,
        staging: BucketStaging,
        work: Work,
        dataset: FilesDataset,
        holds_version: int,
        gate: Gate,
        loaded: Loaded,
    ) -> None:
        self._access = access
        self._listing = listing
        self._staging = staging
        self._dataset = dataset
        self._judge = DatasetJudge(dataset, work.expiry)
        self._holds_version = holds_version
        self._gate = gate
        self._loaded = loaded
        self._client: S3Client = access.leased(gate.lease_seconds)
        self._rewriters = threading.BoundedSemaphore(REWRITERS)
        self._encoders = ThreadPoolExecutor(ENCODERS, thread_name_prefix="lethe-encode")
        self._stop = threading.Event()
        self._owner = secrets.token_hex(8)
        self._staging_in_lease = replace(staging, client=self._client)

    # --- batches -------------------------------------------------------------------------------------------------

    def run(self, plan: RewritePlan, batches: range, progress: Progress, *, fresh: bool) -> Became:
        """Erase batches, several keys at a time, and end each batch with its outcome.

        Args:
            plan: what was staged.
            batches: which of them.
            progress: told the rows dealt with.
            fresh: nothing was erased for this plan before, so that there is no outcome or intent to look for.

        Raises:
            DatasetChanged, StoreUnavailable, StoreError, RunError.
        """
        total = Became()
        waiting: deque[tuple[PlannedBatch, list[Future[Mapping[str, Any]]]]] = deque()
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="lethe-erase")
        try:
            ended = set() if fresh else set(self._staging.names("outcome/"))
            for number in batches:
                outcome = self._staging.get(f"outcome/{number}") if f"outcome/{number}" in ended else None
                if outcome is not None:
                    total += tally_of(outcome, progress)
                    continue
                batch = plan.batch(number)
                attempts = {} if fresh else self._attempts(number)
                futures = [
                    pool.submit(self._key, batch, index, attempts.get(index, [])) for index in range(len(batch.units))
                ]
                waiting.append((batch, futures))
                while sum(len(one) for _, one in waiting) > 2 * THREADS and len(waiting) > 1:
                    total += self._end(*waiting.popleft(), progress)
            while waiting:
                total += self._end(*waiting.popleft(), progress)
        finally:
            self._stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            self._encoders.shutdown(wait=True, cancel_futures=True)
            self._client.close()
        return total

    def _end(self, batch: PlannedBatch, futures: Sequence[Future[Mapping[str, Any]]], progress: Progress) -> Became:
        outcomes = []
        for unit, future in zip(batch.units, futures, strict=True):
            outcomes.append(future.result())
            progress(unit.records)
        tally = Became()
        for unit, outcome in zip(batch.units, outcomes, strict=True):
            tally += tally_of_unit(batch, unit, outcome)
        body = pack([tally.model_dump(), *outcomes])
        if not self._staging.create(f"outcome/{batch.number}", body):
            body = self._staging.get(f"outcome/{batch.number}") or body
        return tally_of(body, lambda _rows: None)

    def _attempts(self, number: int, key: int | None = None) -> dict[int, list[Attempt]]:
        """All intents of a batch, or of one of its keys, by key."""
        found: dict[int, list[Attempt]] = {}
        for name in self._staging.names(f"intent/{number}/{'' if key is None else f'{key}-'}"):
            index = int(name.rpartition("/")[2].partition("-")[0])
            attempt = self._read_attempt(name)
            if attempt is not None:
                found.setdefault(index, []).append(attempt)
        return found

    def _read_attempt(self, name: str) -> Attempt | None:
        stored = self._staging.read(name)
        return None if stored is None else Attempt.read(stored)

    # --- one key -------------------------------------------------------------------------------------------------

    def _key(self, batch: PlannedBatch, index: int, attempts: list[Attempt]) -> Mapping[str, Any]:
        """Do what a key needs, and say what became of its versions."""
        unit = batch.units[index]
        faults = 0
        for _ in range(ROUNDS):
            if self._stop.is_set():
                raise StoreUnavailable(f"dataset {self._dataset.name}: stopped because another file failed")
            look = self._look_at_last(batch, index, attempts)
            if look.outcome is not None:
                return look.outcome
            try:
                look, outcome = self._carried_out(batch, index, look)
                return self._last_word(f"{batch.number}/{index}", look, outcome)
            except (_Again, Changed):
                attempts = self._attempts(batch.number, index).get(index, [])
            except StoreUnavailable:
                faults += 1
                if faults >= FAULTS:
                    raise
                time.sleep(0.1 * 2**faults)
                attempts = self._attempts(batch.number, index).get(index, [])
        raise StoreUnavailable(f"dataset {self._dataset.name}: file {name_digest(unit.key)} changes all the time")

    def _carried_out(self, batch: PlannedBatch, index: int, look: Observation) -> tuple[Observation, dict[str, Any]]:
        """Send what a key needs; give what there is after it, and what became of its versions."""
        unit = batch.units[index]
        prepared: Prepared | None = None
        try:
            prepared = self._prepare(batch, unit, look)
            if not prepared.nothing:
                look = self._intend_and_send(batch, index, look, prepared)
            return look, self._outcome(batch, unit, look, prepared)
        except (Unreadable, NotRewritable, WrongSchema) as error:
            return look, self._blocked(batch, unit, look, f"it cannot be rewritten: {error}")
        finally:
            if prepared is not None:
                prepared.close()

    def _blocked(self, batch: PlannedBatch, unit: Unit, look: Observation, why: str) -> dict[str, Any]:
        """What became of a key of which nothing can be sent: its rows that are there stay, and all others go."""
        there = (VersionState.READY, VersionState.SUPERSEDED, VersionState.LEFT_OVER)
        stays = {version.id: Outcome.BLOCKED for version in unit.versions if look.states[version.id] in there}
        kept_by = f"file {name_digest(unit.key)} under {self._dataset.location}: {why}"
        return {**self._outcome(batch, unit, look, Prepared(0, stays=stays)), "kept_by": kept_by}

    def _look_at_last(self, batch: PlannedBatch, index: int, attempts: list[Attempt]) -> Observation:
        """Read a key's real state, and all the intents that may have led to it.

        An intent is written before anything is sent for it. So where something has happened to the key, the intents
        are read after the state: another process may have written one since, and what it removed was not gone before.
        """
        while True:
            if attempts:
                uploads.settle(self._staging, time.monotonic() + SETTLE_SECONDS, f"{batch.number}/{index}-")
            look = self._look(batch.units[index], attempts)
            if look.untouched:
                return look
            known = self._attempts(batch.number, index).get(index, [])
            if known == attempts:
                return look
            attempts = known

    def _last_word(self, key: str, look: Observation, outcome: dict[str, Any]) -> dict[str, Any]:
        """See that what is said of a key stays true: unless all of it is gone by us, nothing more is sent for it.

        Raises:
            _Again: if an attempt of another process was, or may be, under way.
        """
        if all(version["outcome"] == Outcome.ERASED for version in outcome["versions"]):
            return outcome
        over_at = max((one.over_at for one in look.attempts if one.owner != self._owner), default=-math.inf)
        left = over_at - time.monotonic()
        if left > 0:
            self._stop.wait(left)
            raise _Again
        word = Attempt(look.number, rules=0, owner=self._owner, outcome=outcome)
        if not self._staging.create(f"{uploads.INTENTS}{key}-{word.number}", word.dumps()):
            raise _Again
        return outcome

    def _look(self, unit: Unit, attempts: list[Attempt]) -> Observation:
        """Read a key's real state."""
        look = Observation(self._listing.one(unit.key), {}, None, attempts)
        for attempt in attempts:
            if attempt.etag and any(self._is_content(unit.key, found, attempt) for found in look.present.values()):
                look.done = attempt
        for version in unit.versions:
            look.states[version.id] = self._state(unit, version, look)
        return look

    def _state(self, unit: Unit, version: PlannedVersion, look: Observation) -> VersionState:
        found = look.present.get(version.id)
        if found is None:
            return (
                VersionState.ERASED
                if look.removed(version.id) or (version.current and look.done)
                else VersionState.GONE
            )
        if version.id == UNVERSIONED and not self._has_etag(unit.key, found, version.etag):
            return VersionState.ERASED if version.current and look.done else VersionState.CHANGED
        if version.current and look.done:
            return VersionState.LEFT_OVER
        if version.current and look.newest is not found:
            return VersionState.SUPERSEDED
        return VersionState.READY

    def _is_content(self, key: str, found: Version, attempt: Attempt) -> bool:
        """Whether a version has the content that an attempt was to write."""
        if found.size != attempt.size:
            return False
        if not attempt.sha256:
            return self._has_etag(key, found, attempt.etag)
        file = LocalFile(self._access, Pin(self._dataset.bucket, key, found.id, None), found.size)
        try:
            digest = hashlib.sha256()
            for offset in range(0, found.size, 1 << 20):
                digest.update(file.source.read_at(min(1 << 20, found.size - offset), offset))
            return digest.hexdigest() == attempt.sha256
        finally:
            file.close()

    def _has_etag(self, key: str, found: Version, etag: str) -> bool:
        """Whether a version has an ETag. SeaweedFS lists another one than it gives for an upload in parts."""
        if found.etag.strip('"') == etag.strip('"'):
            return True
        return found.id == UNVERSIONED and self._head(key, found.id).etag.strip('"') == etag.strip('"')

    def _head(self, key: str, version: str) -> ObjectHead:
        with named(self._access.place(self._dataset.bucket, "look at a file")):
            try:
                answer = self._access.client.head_object(Bucket=self._dataset.bucket, Key=key, VersionId=version)
            except ClientError as error:
                if code_of(error) in ABSENT:
                    raise _Again from None
                raise
        return ObjectHead.of(answer, int(answer["ContentLength"]))

    # --- preparing -----------------------------------------------------------------------------------------------

    def _prepare(self, batch: PlannedBatch, unit: Unit, look: Observation) -> Prepared:
        """What is to be sent, judged by the holds in force now."""
        rules = self._gate.current()
        prepared = Prepared(rules.version)
        try:
            for version in unit.versions:
                self._prepare_version(batch, unit, version, look, rules, prepared)
            if prepared.removes:
                self._settle_markers(look, prepared)
        except BaseException:
            prepared.close()
            raise
        return prepared

    def _prepare_version(
        self,
        batch: PlannedBatch,
        unit: Unit,
        version: PlannedVersion,
        look: Observation,
        rules: HoldRules,
        prepared: Prepared,
    ) -> None:
        state = look.states[version.id]
        if state in (VersionState.ERASED, VersionState.GONE, VersionState.CHANGED):
            return
        if state is VersionState.SUPERSEDED:  # whole ones, too: their rows may live on in what is there now
            prepared.stays[version.id] = Outcome.RENEWED
            return
        going = batch.going(version)
        rules_newer = rules.since(self._holds_version)
        if version.current and state is VersionState.READY and (rules_newer or not version.whole):
            self._prepare_rewriting(unit, version, look, going, rules_newer, prepared)
        elif self._head(unit.key, version.id).locked:
            prepared.stays[version.id] = Outcome.HELD
        elif state is VersionState.LEFT_OVER:
            held = look.done.held.get(version.id) if look.done else None
            going = going.without(Marks.loads(base64.b64decode(held), version.groups)) if held else going
            newer = rules.since(look.done.rules if look.done else 0)
            covered = self._covered(unit.key, version, going, newer)
            self._remove_or_keep(unit, version, look, prepared, going, keep=covered.count > 0)
        elif version.current:
            prepared.source = version
            covered = self._covered(unit.key, version, going, rules_newer)
            self._remove_or_keep(unit, version, look, prepared, going, keep=covered.count > 0)
        else:
            keep = not self._held_elsewhere(batch, unit, version, look, rules)
            self._remove_or_keep(unit, version, look, prepared, going, keep=keep)

    def _remove_or_keep(
        self, unit: Unit, version: PlannedVersion, look: Observation, prepared: Prepared, going: Marks, *, keep: bool
    ) -> None:
        if keep:
            prepared.stays[version.id] = Outcome.HELD
            return
        prepared.removes.append(look.present[version.id])
        prepared.going.append((version, going))

    def _prepare_rewriting(
        self, unit: Unit, version: PlannedVersion, look: Observation, going: Marks, newer: HoldRules, prepared: Prepared
    ) -> None:
        with self._rewriters:
            file = LocalFile(self._access, Pin(self._dataset.bucket, unit.key, version.id, version.etag), version.size)
            try:
                if file.head.locked:
                    prepared.stays[version.id] = Outcome.HELD
                    return
                opened = self._judge.format.open(file, self._dataset)
                held = self._covered_in(unit.key, opened, going, newer)
                going = going.without(held)
                if not going.count:
                    prepared.stays[version.id] = Outcome.HELD
                    return
                prepared.source = version
                if held.count:
                    prepared.held[version.id] = held
                if going.count == going.rows_in_all:
                    self._remove_or_keep(unit, version, look, prepared, going, keep=False)
                    return
                prepared.going.append((version, going))
                self._rewrite(file, opened, going, prepared)
                if version.id != UNVERSIONED or self._is_versioned:
                    prepared.removes.append(look.present[version.id])
                prepared.request = self._attributes(unit.key, version, file.answer)
            finally:
                file.close()

    def _rewrite(self, file: LocalFile, opened: RowFile, going: Marks, prepared: Prepared) -> None:
        opaque = str(file.answer.get("ServerSideEncryption") or "").startswith("aws:kms")
        prepared.content = Content(digest=opaque)
        opened.write(going, prepared.content, self._encoders)

    @cached_property
    def _is_versioned(self) -> bool:
        """Whether what is written gets a version id of its own, so that the version ``null`` stays behind."""
        with named(self._access.place(self._dataset.bucket, "ask for its versioning")):
            answer = self._access.client.get_bucket_versioning(Bucket=self._dataset.bucket)
        return answer.get("Status") == "Enabled"

    def _attributes(self, key: str, version: PlannedVersion, answer: Any) -> dict[str, Any]:  # noqa: ANN401
        """The object's own attributes, as parameters of the request that replaces it."""
        found = {name: answer[name] for name in _ATTRIBUTES if answer.get(name)}
        if answer.get("TagCount"):
            with named(self._access.place(self._dataset.bucket, "read a file's tags")):
                tags = self._access.client.get_object_tagging(
                    Bucket=self._dataset.bucket, Key=key, VersionId=version.id
                )["TagSet"]
            from urllib.parse import urlencode

            found["Tagging"] = urlencode([(tag["Key"], tag["Value"]) for tag in tags])
        return found

    def _settle_markers(self, look: Observation, prepared: Prepared) -> None:
        """Remove a key's delete markers with its last version, or keep what stays from becoming current again."""
        if prepared.content is not None or look.record is None:
            return
        going = {version.id for version in prepared.removes}
        stays = [version for version in look.record.content if version.id not in going]
        if not stays:
            prepared.removes.extend(version for version in look.record.versions if version.marker)
        elif look.newest is not None and look.newest.id in going:
            prepared.marker = True

    # --- holds ---------------------------------------------------------------------------------------------------

    def _covered(self, key: str, version: PlannedVersion, rows: Marks, rules: HoldRules) -> Marks:
        """Which of some rows of a version rules cover."""
        if not rules:
            return rows.without(rows)
        return self._covered_in(key, self._open(key, version.id, version.size), rows, rules)

    def _open(self, key: str, version: str, size: int) -> RowFile:
        file = S3File(self._access, Pin(self._dataset.bucket, key, version, None), size)
        return self._judge.format.open(file, self._dataset)

    def _covered_in(self, key: str, file: RowFile, rows: Marks, rules: HoldRules) -> Marks:
        if not rules or not rows.count:
            return rows.without(rows)
        region, read = self._dataset.phone_region, self._judge.format.identifiers
        matcher = RowMatcher(rules, self._dataset.identifiers, self._loaded, region, read)
        try:
            return self._judge.bind(file.schema(self._judge.stored), key).held_rows(file, rows, matcher)
        except (pa.ArrowException, OSError) as error:
            raise Unreadable(f"a page cannot be read ({type(error).__name__})") from None

    def _held_elsewhere(
        self, batch: PlannedBatch, unit: Unit, version: PlannedVersion, look: Observation, rules: HoldRules
    ) -> bool:
        """Whether every row of a superseded version that is held now is in the current version too."""
        going, before = batch.going(version), batch.held(version)
        if before is None and not rules.since(self._holds_version):
            return True
        old = self._open(unit.key, version.id, version.size)
        held = self._covered_in(unit.key, old, going if before is None else going.either(before), rules)
        if not held.count:
            return True
        newest = look.newest
        if newest is None or newest.marker:
            return False
        try:
            current = self._open(unit.key, newest.id, newest.size)
            rows = Marks.all(chunk.rows for chunk in current.chunks())
            among = self._covered_in(unit.key, current, rows, rules)
            return contained(old.exact(), held, current.exact(), among)
        except (Unreadable, WrongSchema):
            return False

    # --- sending -------------------------------------------------------------------------------------------------

    def _intend_and_send(self, batch: PlannedBatch, index: int, look: Observation, prepared: Prepared) -> Observation:
        """Write the intent, send everything inside a lease. Returns what there is after it.

        Raises:
            _Again: if the attempt was abandoned, or another process is at work on the key.
        """
        unit = batch.units[index]
        number = look.number
        name = f"{batch.number}/{index}-{number}"
        try:
            self._upload(unit.key, name, prepared)
            attempt = self._send_under_lease(unit.key, name, number, prepared)
        except BaseException:
            self._abandon(prepared)
            raise
        if prepared.upload is not None:
            prepared.upload.forget()
        return look.after(attempt, prepared)

    def _upload(self, key: str, name: str, prepared: Prepared) -> None:
        """Upload new content in parts where it is large, and work out the ETag that it will have."""
        content = prepared.content
        if content is None:
            return
        if content.size <= PUT_BYTES:
            prepared.etag = f'"{hashlib.md5(content.part(0, content.size), usedforsecurity=False).hexdigest()}"'
            return
        bucket, client = self._dataset.bucket, self._access.client
        with named(self._access.place(bucket, "upload a file")):
            upload = client.create_multipart_upload(Bucket=bucket, Key=key, **prepared.request)["UploadId"]
            # Before any part, so that every upload that has some is found, whatever happens.
            prepared.upload = Upload.noted(self._staging, name, bucket, key, upload)
            length = max(PART_BYTES, -(-content.size // MOST_PARTS))
            digests = b""
            for part, offset in enumerate(range(0, content.size, length), start=1):
                body = content.part(offset, length)
                etag = client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=part, Body=body)["ETag"]
                prepared.parts.append({"PartNumber": part, "ETag": etag})
                with suppress(ValueError):
                    digests += bytes.fromhex(etag.strip('"'))
        prepared.etag = f'"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(prepared.parts)}"'

    def _abandon(self, prepared: Prepared) -> None:
        """End the upload of an attempt that failed. Where S3 does not, its note stays; who comes next settles it."""
        if prepared.upload is not None:
            with suppress(StoreError):
                prepared.upload.end(time.monotonic() + uploads.END_SECONDS)

    def _send_under_lease(self, key: str, name: str, number: int, prepared: Prepared) -> Attempt:
        """Announce and send everything under the rules that it was prepared by.

        Raises:
            _Again: if a newer hold covers a row of it, or another process is at work on the key.
        """
        for _ in range(ROUNDS):
            with take(self._gate, self._access.clock, self._access.place(self._dataset.bucket, "erase")) as lease:
                newer = lease.rules.since(prepared.rules)
                if not newer:
                    with lease.sending():
                        attempt = self._announce(name, number, prepared)
                        self._send(key, prepared)
                    return attempt
            if any(self._covered(key, version, going, newer).count for version, going in prepared.going):
                raise _Again
            prepared.rules = lease.rules.version
        raise StoreUnavailable(f"dataset {self._dataset.name}: holds are placed all the time; try again")

    def _announce(self, name: str, number: int, prepared: Prepared) -> Attempt:
        attempt = Attempt(
            number,
            prepared.rules,
            prepared.etag,
            prepared.content.size if prepared.content else 0,
            prepared.content.sha256 if prepared.content else "",
            tuple(version.id for version in prepared.removes),
            {key: base64.b64encode(marks.dumps()).decode() for key, marks in prepared.held.items()},
            prepared.upload.id if prepared.upload else "",
            self._owner,
            self._gate.lease_seconds,
        )
        if not self._staging_in_lease.create(f"{uploads.INTENTS}{name}", attempt.dumps()):
            raise _Again
        return attempt

    def _send(self, key: str, prepared: Prepared) -> None:
        place = self._access.place(self._dataset.bucket, "replace a file")
        try:
            if prepared.content is not None and prepared.source is not None:
                self._replace(key, prepared, prepared.source)
            if prepared.marker and prepared.source is not None:
                self._client.delete_object(Bucket=self._dataset.bucket, Key=key, IfMatch=prepared.source.etag)
            self._remove(key, prepared)
        except (BotoCoreError, ClientError, HTTPClientError, OSError) as error:
            if code_of(error) in PRECONDITION | ABSENT | ENDED:
                raise _Again from None
            raise translate(error, place) from None

    def _replace(self, key: str, prepared: Prepared, source: PlannedVersion) -> None:
        target: dict[str, Any] = {"Bucket": self._dataset.bucket, "Key": key, "IfMatch": source.etag}
        if prepared.upload is None:
            content = cast("Content", prepared.content)
            self._client.put_object(**target, Body=content.part(0, content.size), **prepared.request)
        else:
            self._client.complete_multipart_upload(
                **target,
                UploadId=prepared.upload.id,
                MultipartUpload={"Parts": prepared.parts},  # type: ignore[typeddict-item]
            )

    def _remove(self, key: str, prepared: Prepared) -> None:
        """Remove versions by id. One without an id only if it still is the same."""
        bucket = self._dataset.bucket
        etags = {version.id: version.etag for version, _ in prepared.going}
        pinned = [version for version in prepared.removes if version.id != UNVERSIONED or version.marker]
        for version in prepared.removes:
            if version not in pinned:
                self._client.delete_object(
                    Bucket=bucket, Key=key, VersionId=version.id, IfMatch=etags.get(version.id, version.etag)
                )
        for start in range(0, len(pinned), 1000):
            answer = self._client.delete_objects(
                Bucket=bucket,
                Delete={
                    "Objects": [{"Key": key, "VersionId": version.id} for version in pinned[start : start + 1000]],
                    "Quiet": True,
                },
            )
            for error in answer.get("Errors", ()):
                self._refused(key, str(error.get("VersionId") or UNVERSIONED), str(error.get("Code") or ""))

    def _refused(self, key: str, version: str, code: str) -> None:
        """A version was not removed: gone before, kept by the store, not now, or not by us."""
        if code in ABSENT:
            return
        if code in PRECONDITION or (code == "AccessDenied" and self._head(key, version).locked):
            raise _Again
        place = self._access.place(self._dataset.bucket, "")
        if is_passing(code):
            raise StoreUnavailable(f"{place}: the S3 server could not remove a version now ({code})")
        raise StoreError(
            f"{place}: the connection's user may not remove versions of files ({code}): grant s3:DeleteObjectVersion"
        )

    # --- what became of it ---------------------------------------------------------------------------------------

    def _outcome(self, batch: PlannedBatch, unit: Unit, look: Observation, prepared: Prepared) -> dict[str, Any]:
        """What became of a key's versions, from the store's real state."""
        versions = []
        freed = 0
        for version in unit.versions:
            state = look.states[version.id]
            held: str | None = None
            if version.id in prepared.stays:
                outcome = prepared.stays[version.id]
            elif state is VersionState.ERASED:
                outcome = Outcome.ERASED
                held = look.done.held.get(version.id) if look.done else None
                freed += version.size - (look.done.size if look.done and version.current else 0)
            else:
                outcome = Outcome.GONE if state is VersionState.GONE else Outcome.RENEWED
            versions.append({"outcome": outcome.value, "held": held})
        current = {version.id for version in unit.versions if version.current}
        there = {version.id for version in look.record.versions} if look.record else set()
        removed = {gone for attempt in look.attempts for gone in attempt.removes} - there - current
        return {"versions": versions, "with": len(removed), "bytes": max(0, freed)}
