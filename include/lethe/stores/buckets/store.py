"""What stores in buckets have in common, whatever a record is: where datasets and their staging are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence, Set
from datetime import datetime

from lethe.connections import Connection
from lethe.holds.rules import HoldRules
from lethe.judging.identifiers import IdentifierType
from lethe.policy import BucketDataset, Dataset
from lethe.stores.base import Candidates, Place, Progress, Remainder, TableSeen, Work, no_progress
from lethe.stores.buckets import staging, uploads
from lethe.stores.buckets.areas import Areas, changed
from lethe.stores.buckets.client import S3Access
from lethe.stores.buckets.overview import overview
from lethe.stores.buckets.remainders import remainders
from lethe.stores.buckets.staging import BucketStaging


class BucketStore(ABC):
    """Datasets behind one connection of type ``aws``: the part of `lethe.stores.base.Store` that is the same of all."""

    def __init__(self, connection: Connection) -> None:
        """Keep the connection; nothing is sent unless it assumes a role.

        Raises:
            ConnectionMissing: if it is not of type ``aws``, or cannot be used.
        """
        self._access = S3Access.open(connection)

    @abstractmethod
    def _in_bucket(self, dataset: Dataset) -> BucketDataset:
        """The dataset.

        Raises:
            StoreError: if it is of a kind that is not this store's.
        """

    @abstractmethod
    def _stage(self, work: Work, holds: HoldRules, area: BucketStaging, progress: Progress) -> Candidates:
        """Find the candidates, and stage them in an area."""

    @abstractmethod
    def _candidates_in(self, area: BucketStaging) -> Candidates | None:
        """What was staged in an area; None: it is not whole."""

    def place(self, dataset: Dataset) -> Place:
        """The bucket at its endpoint, and the prefix in it."""
        found = self._in_bucket(dataset)
        return Place(root=self._access.root(found.bucket), records=(found.prefix,))

    def look_through(self, bucket: str, datasets: Sequence[str], sample: int) -> tuple[TableSeen, ...]:
        """What lies in a bucket below none of the prefixes."""
        return overview(self._access, bucket, datasets, sample)

    def unsearched(self, dataset: Dataset, kinds: Set[IdentifierType]) -> tuple[str, ...]:
        """Nothing: no records elsewhere go with those in a bucket."""
        return ()

    def clock(self, dataset: Dataset) -> datetime:
        """The time by the clock of the S3 server."""
        return self._access.now(self._in_bucket(dataset).bucket)

    def remainders(self, work: Work) -> tuple[Remainder, ...]:
        """Replicas, and parts of uploads that were never completed. Old versions go with the batch."""
        found = self._in_bucket(work.dataset)
        return remainders(self._access, found.bucket, found.prefix, work.expiry)

    def discover(self, work: Work, holds: HoldRules, progress: Progress = no_progress) -> Candidates:
        """Find the expired, unheld records and stage them, with all versions that they are in.

        Once erasing began for the run, what was staged stays, and is what is returned.

        Raises:
            DatasetChanged: if erasing began, and what was staged is not there any more.
            StoreUnavailable, StoreError: if the bucket cannot be read to its end, or staging cannot be written.
        """
        areas = self._areas(work)
        before = areas.in_use()
        if before is not None and before.begun:
            begun = self._candidates_in(before.area)
            if begun is None:
                raise changed(before.area)
            return begun
        area = areas.new()
        candidates = self._stage(work, holds, area, progress)
        areas.use(area, before)
        return candidates

    def staged_runs(self, dataset: Dataset) -> list[tuple[str, str]]:
        """What is staged where the dataset's runs stage."""
        return staging.staged_runs(self._access, self._in_bucket(dataset).bucket)

    def clean(self, run: str, dataset: Dataset) -> None:
        """Remove what was staged, with all its versions, after ending the uploads that its notes name."""
        uploads.clean(self._staging_of(run, dataset))

    def _areas(self, work: Work) -> Areas:
        return Areas(self._staging_of(work.run, work.dataset))

    def _staged(self, work: Work, candidates: Candidates) -> BucketStaging:
        """Where candidates were staged. Raises `DatasetChanged` if they are none of this run and dataset."""
        return self._areas(work).of(candidates.reference)

    def _staging_of(self, run: str, dataset: Dataset) -> BucketStaging:
        found = self._in_bucket(dataset)
        return BucketStaging.of(self._access, found.bucket, run, found.name)
