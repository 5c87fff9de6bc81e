"""What a key holds, with all of its versions, and what has to be done about it.

**The current version** of a file counts in full: its rows are the dataset's records.

**Versions that are not current** (replaced by a newer one, or under a delete marker) are superseded copies, which their
owner replaced or deleted. Nothing in them counts as a record but expired rows, because these have to be gone, wherever
they are. Such a row is a record of its own only if no newer version has its record, by `dataset.key` or else by all
values: one that is a copy of an expired record counts with that record, once, and has no outcome of its own; one whose
record is in the current version and stays (it has another clock or state now) is due, because it has to go, but adds
nothing to the records, and its outcome is that the record was renewed.

A version cannot be changed in its place, so one with an expired row that no hold covers goes as a whole, with what else
it has, but for one case: rows that a hold covers may exist in no other version. A version with such rows goes only if
each of them is in the current version too, value for value; if not, it stays as it is until the hold is released, and
all of its expired rows are reported as held. (This also finishes what a rewriting that died between writing the new
version and removing the old one left behind, whichever run finds it.)

**A file that the store itself keeps** (Object Lock, an S3 legal hold) stays, and its expired rows are reported as held.

**What cannot be read** (another format, damaged, encrypted, archived, another schema) is counted by the rows that it
says it has, else as one record, and named by the digest of its key. So is what cannot be rewritten faithfully. Empty
objects whose name begins with ``_`` or ``.`` or ends with a slash are marks that Spark, Hadoop and consoles leave, and
no records.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property

import pyarrow as pa
from botocore.exceptions import ClientError
from polars.exceptions import PanicException

from lethe.counts import Unjudgeable
from lethe.errors import StoreError
from lethe.periods import Cutoff, start_of_day
from lethe.policy import FilesDataset
from lethe.stores.buckets.client import S3Access
from lethe.stores.buckets.errors import code_of, named, status_of
from lethe.stores.buckets.listing import Record, Version
from lethe.stores.buckets.table_formats import ADVICE, mark_in_file
from lethe.stores.files import copies
from lethe.stores.files.clocks import WrongSchema
from lethe.stores.files.copies import Comparison, SupersededRows
from lethe.stores.files.files import Changed, Pin, S3File
from lethe.stores.files.formats.base import NotRewritable, RowFile, Unreadable
from lethe.stores.files.holds import RowMatcher
from lethe.stores.files.judge import DatasetJudge, FileJudgement
from lethe.stores.files.marks import Marks
from lethe.stores.files.partition import Path, first_day_in_key

MOST_COMPARED = 200_000
"""Held rows of a superseded version that are looked for in the current one; with more it stays."""

OWNER_ONLY = 1


def name_digest(key: str) -> str:
    """How a file is named outside of its store."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def is_mark(version: Version) -> bool:
    """Whether an object is one of the empty marks that other software leaves between data files."""
    name = version.key.rpartition("/")[2]
    return version.size == 0 and (not name or name[0] in "_.")


@dataclass
class Totals:
    """Counts over some keys; see `counts.Found`."""

    total: int = 0
    expired: int = 0
    held: int = 0
    kept_on: int = 0
    unjudgeable: Counter[Unjudgeable] = field(default_factory=Counter)
    oldest: date | None = None
    unreadable: list[str] = field(default_factory=list)

    def add(self, other: Totals) -> None:
        """Add other counts; of names as many as a report can show."""
        self.total += other.total
        self.expired += other.expired
        self.held += other.held
        self.kept_on += other.kept_on
        self.unjudgeable.update(other.unjudgeable)
        if other.oldest is not None:
            self.oldest = min(other.oldest, self.oldest or other.oldest)
        self.unreadable.extend(other.unreadable[: max(0, MOST_NAMED - len(self.unreadable))])


MOST_NAMED = 1000
"""Files that a survey names; all are counted."""


@dataclass(frozen=True)
class FoundVersion:
    """A version with rows that go.

    Attributes:
        id: its version id.
        etag: with quotes.
        size: bytes.
        current: whether it is the current version.
        going: the rows that go.
        held: rows that a hold covers.
        records: those of the rows that go that are due, each of another record; the others are copies of them.
        renewed: those of them whose record stays, in the current version.
        file: for reading more of it.
        rows: the same, opened for comparing values.
    """

    id: str
    etag: str
    size: int
    current: bool
    going: Marks
    held: Marks
    records: Marks
    renewed: Marks | None
    file: S3File = field(repr=False)
    rows: RowFile = field(repr=False)

    @property
    def whole(self) -> bool:
        """Whether the version goes as a whole."""
        return not self.current or self.going.count == self.going.rows_in_all


@dataclass(frozen=True)
class Verdict:
    """What a key holds, and which of its versions have rows that go."""

    key: str
    totals: Totals
    found: tuple[FoundVersion, ...]


@dataclass(frozen=True)
class Examiner:
    """Examines the keys of one dataset. Safe to use from several threads."""

    access: S3Access
    dataset: FilesDataset
    judge: DatasetJudge
    matcher: RowMatcher

    @cached_property
    def _has_grants(self) -> bool:
        return has_grants(self.access, self.dataset.bucket)

    def examine(self, record: Record) -> Verdict:
        """Judge all versions of a key.

        Raises:
            Changed: if it changed meanwhile.
            StoreUnavailable, StoreError.
        """
        totals = Totals()
        found: list[FoundVersion] = []
        if not record.readable and record.content:
            self._unreadable(totals, record.key, 1)
            return Verdict(record.key, totals, ())
        current: tuple[FileJudgement, RowFile] | None = None
        for version in record.content:
            if is_mark(version):
                continue
            is_current = version is record.versions[0]
            try:
                file, opened, judged = self._judged(version)
            except Unreadable as error:
                self._unreadable(totals, record.key, error.rows)
                continue
            if is_current:
                current = judged, opened
                self._count(totals, record.key, judged)
                if judged.going.count and self._goes(totals, file, opened, judged):
                    found.append(self._found(version, file, opened, judged, judged.going, None))
            elif judged.going.count or judged.held.count:
                told = self._told(record.key, judged, opened, current, found)
                stays = file.head.locked or not self._held_elsewhere(judged, opened, current)
                if not stays and judged.going.count:
                    own, renewed = judged.going.both(told.own), judged.going.both(told.kept)
                    totals.add(Totals(total=own.count, expired=own.count + renewed.count, oldest=judged.oldest))
                    found.append(self._found(version, file, opened, judged, own.either(renewed), renewed))
                elif stays:
                    totals.add(Totals(total=told.own.count, expired=told.own.count, held=told.own.count))
        return Verdict(record.key, totals, tuple(found))

    def _judged(self, version: Version) -> tuple[S3File, RowFile, FileJudgement]:
        file = S3File(self.access, Pin(self.dataset.bucket, version.key, version.id, None), version.size)
        opened = self.judge.format.open(file, self.dataset)
        table = mark_in_file(opened.owners)
        if table is not None:
            raise self._refused(version, f"belongs to {table}; {ADVICE}")
        rows = opened.rows
        try:
            bound = self.judge.bind(opened.schema(self.judge.stored), version.key) if rows else None
            judged = (
                bound.judge_file(
                    opened,
                    self.matcher,
                    unexpired=self._shown_unexpired(version.key),
                    not_before=self._not_before(version.key),
                )
                if bound
                else FileJudgement(rows=0)
            )
        except WrongSchema as error:
            raise Unreadable(str(error), rows) from None
        except (pa.ArrowException, OSError, UnicodeDecodeError, PanicException) as error:
            raise Unreadable(f"a page cannot be read ({type(error).__name__})", rows) from None
        if judged.contradicts:
            raise self._refused(
                version,
                "has a clock before the date in its key, so that partition_clock would leave out files with expired "
                "rows: correct partition_clock in the policy, or leave it out",
            )
        return file, opened.exact(), judged

    def _refused(self, version: Version, why: str) -> StoreError:
        name = name_digest(version.key)
        return StoreError(f"dataset {self.dataset.name}: file {name} under {self.dataset.location} {why}")

    def _not_before(self, key: str) -> Cutoff | None:
        """What the date in a key says that no clock of the file is before; None where it has none.

        A day is taken off, because a partition's day may be that of another time zone.
        """
        day = first_day_in_key(self.dataset.partition_clock, key) if self.dataset.partition_clock else None
        if day is None or day == date.min:
            return None
        before = day - timedelta(days=1)
        return Cutoff(before, start_of_day(before, self.judge.expiry.zone))

    def _shown_unexpired(self, key: str) -> bool:
        """Whether the date in a key shows that no row of the file has expired."""
        shown = self._not_before(key)
        if shown is None or self.judge.expiry.default is None:
            return False
        return all(shown.day >= cutoff.day for cutoff in self.judge.cutoffs)

    @staticmethod
    def _count(totals: Totals, key: str, judged: FileJudgement) -> None:
        totals.total += judged.total
        totals.expired += judged.expired
        totals.kept_on += judged.kept_on
        totals.held += judged.held.count
        totals.unjudgeable.update(judged.unjudgeable)
        if Unjudgeable.UNREADABLE in judged.unjudgeable:
            totals.unreadable.append(name_digest(key))

    def _told(
        self,
        key: str,
        judged: FileJudgement,
        opened: RowFile,
        current: tuple[FileJudgement, RowFile] | None,
        found: Sequence[FoundVersion],
    ) -> SupersededRows:
        """What the expired rows of a superseded version are: records of their own, or copies."""
        compared = Comparison(Path.of(self.dataset, key), self.dataset.key)
        newest = copies.JudgedVersion(current[1], current[0].going.either(current[0].held)) if current else None
        between = [copies.JudgedVersion(one.rows, one.records) for one in found if not one.current]
        try:
            return compared.tell(judged.going.either(judged.held), opened, newest, between)
        except (pa.ArrowException, OSError, ValueError, OverflowError, PanicException):
            expired = judged.going.either(judged.held)  # what cannot be compared counts
            return SupersededRows(expired, expired.without(expired))

    @staticmethod
    def _found(
        version: Version, file: S3File, opened: RowFile, judged: FileJudgement, records: Marks, renewed: Marks | None
    ) -> FoundVersion:
        is_current = renewed is None
        return FoundVersion(
            version.id, file.head.etag, file.size, is_current, judged.going, judged.held, records, renewed, file, opened
        )

    def _goes(self, totals: Totals, file: S3File, opened: RowFile, judged: FileJudgement) -> bool:
        """Whether the rows of the current version that should go can; counts them."""
        going = judged.going.count
        if file.head.locked:
            totals.held += going
            return False
        if going < judged.rows:
            try:
                opened.check_rewritable()
                check_attributes(file)
                if self._has_grants:
                    check_grants(self.access, file.pin)
            except (NotRewritable, Unreadable):
                totals.expired -= going
                totals.unjudgeable[Unjudgeable.NOT_REWRITABLE] += going
                totals.unreadable.append(name_digest(file.pin.key))
                return False
        if judged.oldest is not None:
            totals.oldest = min(judged.oldest, totals.oldest or judged.oldest)
        return True

    @staticmethod
    def _held_elsewhere(judged: FileJudgement, opened: RowFile, current: tuple[FileJudgement, RowFile] | None) -> bool:
        """Whether every held row of a superseded version is in the current one too."""
        if not judged.held.count:
            return True
        return current is not None and contained(opened, judged.held, current[1], current[0].held)

    def _unreadable(self, totals: Totals, key: str, rows: int) -> None:
        totals.total += rows
        totals.unjudgeable[Unjudgeable.UNREADABLE] += rows
        totals.unreadable.append(name_digest(key))


def contained(one: RowFile, rows: Marks, other: RowFile, among: Marks) -> bool:
    """Whether each of some rows of one file is, value for value and as often, among some rows of another."""
    if rows.count > MOST_COMPARED or not one.schema(()).equals(other.schema(())):
        return False
    try:
        wanted = Counter(_row_digests(one, rows))
        for digest in _row_digests(other, among):
            if digest in wanted:
                wanted[digest] -= 1
                if not wanted[digest]:
                    del wanted[digest]
    except (pa.ArrowException, ValueError, OverflowError):  # values that Python does not have, deep inside of others
        return False
    return not wanted


def _row_digests(file: RowFile, rows: Marks) -> Iterator[bytes]:
    for index, chunk in enumerate(file.chunks()):
        start = 0
        for batch in chunk.read(None, 8192) if rows.counts[index] else ():
            yield from copies.row_digests(batch.filter(pa.array(rows.rows(index, start, start + batch.num_rows))))
            start += batch.num_rows


def check_attributes(file: S3File) -> None:
    """Whether an object's own attributes can be given to the object that replaces it.

    Raises:
        NotRewritable: if it has metadata that S3 does not give back.
    """
    answer = file.answer
    texts = [text for pair in answer.get("Metadata", {}).items() for text in pair]
    if answer.get("MissingMeta") or not all(text.isascii() for text in texts):
        raise NotRewritable("its metadata cannot be written again")
    if answer.get("SSECustomerAlgorithm") or answer.get("WebsiteRedirectLocation"):
        raise NotRewritable("it is encrypted with a key of its own, or redirects")


def has_grants(access: S3Access, bucket: str) -> bool:
    """Whether objects of a bucket may have grants of their own: not where the bucket's owner owns all of them.

    See https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html
    """
    with named(access.place(bucket, "ask for its object ownership")):
        try:
            answer = access.client.get_bucket_ownership_controls(Bucket=bucket)
        except ClientError as error:
            if status_of(error) >= 500:
                raise
            return True
    rules = answer["OwnershipControls"]["Rules"]
    return any(rule["ObjectOwnership"] != "BucketOwnerEnforced" for rule in rules)


def check_grants(access: S3Access, pin: Pin) -> None:
    """Whether nobody but its owner has been granted anything on an object.

    Raises:
        NotRewritable: if somebody has.
    """
    unknown = ("AccessDenied", "NotImplemented", "AccessControlListNotSupported", "MethodNotAllowed")
    with named(access.place(pin.bucket, "read a file's grants")):
        try:
            grants = access.client.get_object_acl(Bucket=pin.bucket, Key=pin.key, VersionId=pin.version)
        except ClientError as error:
            if code_of(error) in unknown:
                return
            raise
    if len(grants.get("Grants", ())) > OWNER_ONLY:
        raise NotRewritable("others have been granted access to it")


__all__ = ["Changed", "Examiner", "FoundVersion", "Totals", "Verdict", "contained", "is_mark", "name_digest"]
