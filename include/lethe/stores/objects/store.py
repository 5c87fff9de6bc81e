"""Whole objects in S3 buckets: records are keys, each with all of its versions and delete markers.

What counts as expired is in `objects.judging`, how a batch is erased in `objects.erasing`, what is staged in
`objects.manifest`. Here they are put together as a `Store`.

The connection's user needs s3:ListBucket and s3:ListBucketVersions, s3:GetBucketVersioning,
s3:GetBucketObjectLockConfiguration, s3:DeleteObject, s3:DeleteObjectVersion and, without versioning, s3:GetObject
(deletes are conditional); where the dataset uses tags or metadata s3:GetObjectVersionTagging and
s3:GetObjectVersion; where the bucket has Object Lock s3:GetObjectVersion,
s3:GetObjectRetention and s3:GetObjectLegalHold; and for staging s3:GetObject and s3:PutObject under the scratch prefix.
It should not have s3:BypassGovernanceRetention, which is never used.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar, TypeVar

from lethe.connections import Connection
from lethe.counts import Became, Found, Outcome
from lethe.errors import StoreError, StoreUnavailable
from lethe.holds.rules import NO_HOLDS, HoldRules
from lethe.judging.keys import record_key
from lethe.periods import EVER
from lethe.policy import Dataset, Expiry, ObjectAttribute, ObjectClock, ObjectDataset, PeriodsByValue
from lethe.stores.abilities import Abilities, Ability, Binding, ClockForm, Lack, When
from lethe.stores.base import (
    Candidates,
    ClocksFound,
    Description,
    Gate,
    Going,
    PersonFound,
    Problem,
    Progress,
    RecordFound,
    Work,
    no_progress,
    require_able,
)
from lethe.stores.buckets import checks as bucket_checks
from lethe.stores.buckets.listing import Listing, chunks
from lethe.stores.buckets.staging import BucketStaging
from lethe.stores.buckets.store import BucketStore
from lethe.stores.buckets.table_formats import refusing_tables
from lethe.stores.objects.batches import BatchStates, Done
from lethe.stores.objects.erasing import ObjectEraser
from lethe.stores.objects.judging import Census, Judged, ObjectJudge, RecordState, VersionReader
from lethe.stores.objects.manifest import BATCH_SIZE, Candidate, Manifest, ManifestWriter, staged
from lethe.stores.objects.matching import ObjectMatcher
from lethe.stores.objects.validation import frames, staged_keys
from lethe.stores.sources import FrameSource, RowSource

READERS = 16
"""Requests beside each other while listing and reading."""
_CHUNK = 1000
_T = TypeVar("_T")
_R = TypeVar("_R")


class S3ObjectStore(BucketStore):
    """The buckets behind one connection, as a `lethe.stores.base.Store` of whole objects."""

    abilities: ClassVar[Abilities] = Abilities(
        binding=Binding.LEASED,
        clocks=frozenset({ClockForm.TEXT, ClockForm.EPOCH, ClockForm.YEAR}),
        lacks={
            Ability.ANONYMISE: Lack(When.NEVER, "what is in an object is not known", "objects cannot be anonymised"),
            Ability.REDACTION: Lack(When.NEVER, "what is in an object is not known", "objects cannot be anonymised"),
            Ability.CHILDREN: Lack(When.NEVER, "objects do not refer to each other", "children"),
            Ability.RELATED_ROWS: Lack(When.NEVER, "objects do not refer to each other", "related"),
            Ability.SUPPRESSION: Lack(When.NEVER, "S3 changes one object at a time", "suppression"),
            Ability.EVENT_CLOCKS: Lack(When.NEVER, "objects have no columns that refer to something", "event"),
            Ability.REQUESTS: Lack(
                When.NOT_YET, "objects are judged by their clock alone so far", "objects do not go on request"
            ),
            Ability.CONDITIONS: Lack(When.NEVER, "objects have no columns", "where"),
            Ability.PERIODS_BY_VALUE: Lack(When.NEVER, "objects have no columns", "by_value needs rows with columns"),
        },
    )

    def __init__(self, connection: Connection) -> None:
        """Keep the connection; nothing is sent unless it assumes a role.

        Args:
            connection: of type ``aws``. Its extra `lethe_batch_size` says how many keys a batch has at most; more than
                1,000 is never done.

        Raises:
            ConnectionMissing: if it is not of type ``aws``, or its batch size is not a number.
        """
        super().__init__(connection)
        self._batch_size = min(self._access.batch_size(BATCH_SIZE), BATCH_SIZE)

    # --- what it is -----------------------------------------------------------------------------------------------

    def check(self, dataset: Dataset, by_value: PeriodsByValue | None = None) -> list[Problem]:
        """Whether bucket, versions, tags and metadata can be read, and staging goes where it can be removed from."""
        objects = _objects(dataset)
        problems = bucket_checks.problems(self._access, self._listing(objects), objects)
        try:
            self._check_attributes(objects)
        except StoreUnavailable:
            raise
        except StoreError as error:
            if not problems:
                problems.append(Problem(field="clock", message=str(error)))
        return problems

    def _check_attributes(self, dataset: ObjectDataset) -> None:
        """Read the attributes of one object, which shows whether the connection may."""
        reader = VersionReader(self._access, dataset.bucket)
        page = self._listing(dataset).page(dataset.prefix)
        version = next((one for one in page.versions if not one.marker and not one.key.endswith("/")), None)
        attributes: list[ObjectAttribute | ObjectClock] = [dataset.clock, *dataset.identifiers.values()]
        for attribute in attributes:
            if version is not None:
                reader.probe(attribute, version)

    def describe(self, dataset: Dataset) -> Description:
        """The bucket and the prefix, as OpenLineage names them."""
        objects = _objects(dataset)
        return Description(namespace=f"s3://{objects.bucket}", name=objects.prefix or "/")

    # --- finding --------------------------------------------------------------------------------------------------

    def survey(self, work: Work, holds: HoldRules) -> Found:
        """Count what is expired, held and unjudgeable now.

        Raises:
            StoreUnavailable, StoreError: if the bucket cannot be read to its end.
        """
        found, _ = self.forecast(work, holds, ())
        return found

    def forecast(self, work: Work, holds: HoldRules, others: Sequence[Expiry]) -> tuple[Found, tuple[int, ...]]:
        """The same, and what is due by other cutoffs, of which the last is the latest.

        Raises:
            StoreUnavailable, StoreError: if the bucket cannot be read to its end.
        """
        census, due = Census(), [0] * len(others)
        widest = replace(work, expiry=others[-1]) if others else work
        with self._judged(widest, holds) as records:
            for judged in records:
                census.add(judged.by(work.expiry))
                for n, expiry in enumerate(others):
                    due[n] += judged.by(expiry).state is RecordState.EXPIRED
        return census.result(), tuple(due)

    def simulate(self, work: Work, holds: HoldRules, steps: Sequence[Expiry]) -> tuple[Going, ...]:
        """What goes by each of the steps, and by none before; what Object Lock keeps now stays.

        Raises:
            StoreUnavailable, StoreError: if the bucket cannot be read to its end.
        """
        due = [0] * len(steps)
        with self._judged(replace(work, expiry=steps[-1]), holds) as records:
            for judged in records:
                if judged.state is RecordState.EXPIRED:
                    due[bisect_left(steps, True, key=judged.expired_by)] += 1
        return tuple(Going(records=records) for records in due)

    def explain(self, work: Work, holds: HoldRules, key: Sequence[str]) -> RecordFound | None:
        """The object of a key with all its versions, judged as a run judges it; None where there is nothing of it."""
        dataset = _objects(work.dataset)
        if len(key) != 1:
            raise StoreError(f"{dataset.name}: a record is an object: give its whole key, and nothing else")
        if not key[0].startswith(dataset.prefix) or key[0].startswith(self._access.scratch_prefix):
            return None
        record = self._listing(dataset).one(key[0])
        return self._judge(work).explain(record, holds) if record else None

    def find_person(self, work: Work, person: HoldRules, holds: HoldRules) -> PersonFound:
        """All objects of a person. Those whose clock cannot be read are not looked at.

        Raises:
            StoreUnavailable, StoreError: if the bucket cannot be read to its end.
        """
        ever = replace(work, expiry=replace(work.expiry, default=EVER))
        judge, days, unsearched, expired, held = self._judge(work), [], 0, 0, 0
        for rules in (person, holds):
            judge.matcher.prepare(rules)
        with self._judged(ever, NO_HOLDS) as records:
            for judged in records:
                if judged.day is None:
                    unsearched += 1
                elif judge.holds(person, judged.record, judged.day, judged.identifiers):
                    days.append(judged.day)
                    expired += judged.expired_by(work.expiry)
                    kept = judged.state is RecordState.HELD  # by Object Lock: no rule was given
                    held += kept or judge.holds(holds, judged.record, judged.day, judged.identifiers)
        clocks = (ClocksFound(first=min(days), last=max(days)),) if days else ()
        return PersonFound(records=len(days), expired=expired, held=held, clocks=clocks, unsearched=unsearched)

    def _stage(self, work: Work, holds: HoldRules, area: BucketStaging, progress: Progress) -> Candidates:
        census = Census()
        with ThreadPoolExecutor(2, thread_name_prefix="lethe-stage") as pool, self._judged(work, holds) as records:
            writer = ManifestWriter(area, pool, self._batch_size)
            for number, judged in enumerate(records, start=1):
                census.add(judged)
                expired = judged.state is RecordState.EXPIRED
                writer.see(judged, Candidate(judged.record, judged.day, judged.identifiers) if expired else None)
                if number % _CHUNK == 0:
                    progress(_CHUNK)
            progress(census.total % _CHUNK)
            return writer.finish(census.result(), holds.version)

    def _candidates_in(self, area: BucketStaging) -> Candidates | None:
        return staged(area)

    @contextmanager
    def _judged(self, work: Work, holds: HoldRules) -> Iterator[Iterator[Judged]]:
        """All records of the dataset, judged, in the order of their keys, streamed."""
        dataset = _objects(work.dataset)
        judge = self._judge(work)
        judge.matcher.prepare(holds)
        pages, readers = (ThreadPoolExecutor(READERS, thread_name_prefix=f"lethe-{name}") for name in ("list", "read"))
        try:
            walk = self._listing(dataset).walk(dataset.prefix, pages, without=self._access.scratch_prefix)
            records = refusing_tables(walk, dataset)
            yield _in_order(records, lambda record: judge.judge(record, holds), readers if judge.asks else None)
        finally:
            for pool in (pages, readers):
                pool.shutdown(cancel_futures=True)

    # --- erasing --------------------------------------------------------------------------------------------------

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        """Erase batches, each exactly once, with all versions and delete markers of their keys.

        A batch that another process has begun, or a crash has left, is waited for as long as a lease of it may last.

        Raises:
            DatasetChanged: if what is staged is not what `candidates` stands for.
            RunError: from the gate.
            StoreUnavailable, StoreError: what was erased is recorded, or is found out when erasing again.
        """
        judge = self._judge(work)
        manifest = Manifest.open(self._staged(work, candidates), candidates)
        self._areas(work).begin(candidates.reference)
        eraser = ObjectEraser(self._access, _objects(work.dataset).bucket, judge, manifest, candidates, gate)
        return eraser.run(batches, progress)

    def tally(self, work: Work, candidates: Candidates) -> Became:
        """The sum of the outcomes of all batches that have one.

        Raises:
            DatasetChanged: if what was staged is not there any more, so that nothing can be told.
        """
        Manifest.open(self._staged(work, candidates), candidates)
        total = Became()
        for _, done in self._done(work, candidates):
            total += done.tally
        return total

    def outcomes(self, work: Work, candidates: Candidates) -> Iterator[tuple[bytes, Outcome]]:
        """What became of each key, of all batches that have an outcome."""
        manifest = Manifest.open(self._staged(work, candidates), candidates)
        for number, done in self._done(work, candidates):
            part = manifest.part(number)
            for candidate, outcome in zip(part.candidates, done.outcomes(len(part.candidates)), strict=True):
                yield record_key((candidate.record.key,)), outcome

    def _done(self, work: Work, candidates: Candidates) -> Iterator[tuple[int, Done]]:
        states = BatchStates(self._staged(work, candidates))
        with ThreadPoolExecutor(READERS, thread_name_prefix="lethe-read") as pool:
            numbers = range(candidates.batches)
            for number, progressed in _in_order(numbers, lambda number: (number, states.read(number)), pool):
                if progressed is not None and isinstance(progressed.state, Done):
                    yield number, progressed.state

    # --- checking -------------------------------------------------------------------------------------------------

    def candidates_source(self, work: Work, candidates: Candidates) -> RowSource:
        """The staged keys with the days of their clocks.

        Raises:
            DatasetChanged: if what is staged is not what `candidates` stands for; also while the rows are read.
            StoreUnavailable, StoreError.
        """
        return RowSource(staged_keys(Manifest.open(self._staged(work, candidates), candidates), work))

    def records_source(self, work: Work, candidates: Candidates, columns: Sequence[str]) -> FrameSource:
        """What is known of the objects that are to go, one row for each version: key, size, last_modified."""
        return FrameSource(frames(Manifest.open(self._staged(work, candidates), candidates), columns))

    # --- staging --------------------------------------------------------------------------------------------------

    def settle(self, datasets: Sequence[Dataset], timeout: float) -> None:
        """Nothing to do: S3 refuses what comes after its lease, and carries out a request that deletes at once."""

    def close(self) -> None:
        """Give back connections."""
        self._access.close()

    # --- parts ----------------------------------------------------------------------------------------------------

    def _in_bucket(self, dataset: Dataset) -> ObjectDataset:
        return _objects(dataset)

    def _listing(self, dataset: ObjectDataset) -> Listing:
        place = self._access.place(dataset.bucket, "list the versions of objects (s3:ListBucketVersions)")
        return Listing(self._access.lister, dataset.bucket, place)

    def _judge(self, work: Work) -> ObjectJudge:
        require_able(work, self.abilities)
        dataset = _objects(work.dataset)
        locks = bucket_checks.lock_configuration(self._access, dataset.bucket) is not None
        return ObjectJudge(work, dataset, VersionReader(self._access, dataset.bucket), ObjectMatcher(), locks)


def _objects(dataset: Dataset) -> ObjectDataset:
    if not isinstance(dataset, ObjectDataset):
        raise StoreError(f"dataset {dataset.name} is of kind {dataset.kind}, not objects")
    return dataset


def _in_order(items: Iterable[_T], act: Callable[[_T], _R], pool: ThreadPoolExecutor | None) -> Iterator[_R]:
    """What `act` gives for every item, in order; in a pool, a bounded number of them beside each other."""
    for chunk in chunks(items, _CHUNK):
        yield from (map(act, chunk) if pool is None else pool.map(act, chunk))
