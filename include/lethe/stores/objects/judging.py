"""What one object is at an as-of moment: kept, expired, held, or not to be judged.

A record is a key with all its versions and delete markers; they expire together, by one clock:

- A date in the **key** is the clock whatever the versions are. Of a month, a week or an hour it is the last moment.
- **Last modification** is that of the newest version that is not a delete marker. A marker was written later, when
  somebody deleted the key, and has no content whose period could start then.
- A **tag** or **metadata** is that of the newest version that is not a delete marker, too.
- A key of which **only markers** are left has the clock of its key; for all other clocks the marker's own last
  modification is what there is, and no content is left that could have a later one.

A clock that is missing or cannot be read makes the record unjudgeable: counted, reported, never erased. So does a
key that the listing could not transport: erasing would be aimed at another key.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from botocore.exceptions import ClientError

from lethe.counts import Found, Unjudgeable
from lethe.holds.rules import NO_HOLDS, HoldRules
from lethe.judging.dates import TimestampFormat, day_of
from lethe.judging.identifiers import IdentifierType
from lethe.judging.spans import Span, span_of
from lethe.periods import Cutoff
from lethe.policy import Expiry, ObjectAttribute, ObjectClock, ObjectDataset
from lethe.stores.base import RecordFound, Work, covering
from lethe.stores.buckets.client import S3Access
from lethe.stores.buckets.errors import ABSENT, code_of, named
from lethe.stores.buckets.listing import Record, Version
from lethe.stores.objects.matching import Identifiers, ObjectMatcher

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_NAMED_AT_MOST = 1000
"""Unreadable objects whose digests a survey lists."""


class RecordState(Enum):
    """What a record is."""

    KEPT = "kept"
    HELD = "held"
    EXPIRED = "expired"
    """Expired and not held: it may and must go."""


class Judged(NamedTuple):
    """A record with what it was found to be, and its clock's local day; if it has expired, clock and identifiers."""

    record: Record
    state: RecordState | Unjudgeable
    day: date | None = None
    identifiers: Identifiers = {}  # noqa: RUF012 - never changed
    clock: date | datetime | None = None

    def by(self, expiry: Expiry) -> Judged:
        """The same by other cutoffs, which are not later than those that it was judged by."""
        if self.clock is None or self.state is RecordState.KEPT or self.expired_by(expiry):
            return self
        return self._replace(state=RecordState.KEPT)

    def expired_by(self, expiry: Expiry) -> bool:
        """Whether one that has expired had done so by other cutoffs."""
        return self.clock is not None and is_before(self.clock, expiry.default)


def is_before(clock: date | datetime, cutoff: Cutoff | None) -> bool:
    """Whether a clock is before a cutoff."""
    if cutoff is None:
        return False
    return clock < cutoff.instant if isinstance(clock, datetime) else clock < cutoff.day


class Again(NamedTuple):
    """A second look at a candidate: whether it still has expired, what it carries, and whether the store keeps it."""

    expired: bool
    identifiers: Identifiers
    kept: bool


class _Gone(Exception):
    """A version is not there any more."""


@lru_cache(maxsize=4096)
def _placed(
    parts: tuple[tuple[str, str | None], ...], form: TimestampFormat, clock_zone: ZoneInfo, zone: ZoneInfo
) -> Span | None:
    """Read once for the many records with one date."""
    span = span_of(dict(parts), form)
    return span.placed(clock_zone, zone) if span else None


@dataclass(frozen=True)
class ObjectJudge:
    """Judges the records of one dataset in one run. Safe to use from several threads.

    Attributes:
        work: the dataset, its cutoffs and the as-of moment.
        dataset: `work.dataset`.
        reader: reads tags, metadata and locks of versions.
        matcher: prepared for the rules that are given.
        locks: whether the bucket has Object Lock, so that versions may be locked.
    """

    work: Work
    dataset: ObjectDataset
    reader: VersionReader
    matcher: ObjectMatcher
    locks: bool

    @property
    def asks(self) -> bool:
        """Whether judging a record may need requests of its own."""
        return self.changes or any(one.metadata is not None for one in self._attributes)

    @property
    def changes(self) -> bool:
        """Whether what was judged may change while the versions stay the same: tags and locks can."""
        return self.locks or self.tagged

    @property
    def by_key(self) -> bool:
        """Whether all that a record is judged by is its key: written again under it, it would be judged the same."""
        return not self.locks and all(one.key is not None for one in self._attributes)

    @property
    def tagged(self) -> bool:
        """Whether the clock or an identifier is a tag."""
        return any(one.tag is not None for one in self._attributes)

    @property
    def _attributes(self) -> list[ObjectAttribute | ObjectClock]:
        return [self.dataset.clock, *self.dataset.identifiers.values()]

    def judge(self, record: Record, rules: HoldRules) -> Judged:
        """What a record is, now, under the rules."""
        try:
            return self._judge(record, rules)
        except _Gone:
            # Somebody removed a version after it was listed; without it nothing can be said of the others.
            return Judged(record, Unjudgeable.UNREADABLE)

    def _judge(self, record: Record, rules: HoldRules) -> Judged:
        if not record.readable:
            return Judged(record, Unjudgeable.UNREADABLE)
        clock = self.clock(record)
        if isinstance(clock, Unjudgeable):
            return Judged(record, clock)
        cutoff = self.work.expiry.default
        if cutoff is None:
            return Judged(record, Unjudgeable.NO_PERIOD)
        day = day_of(clock, self.work.expiry.zone, self.work.expiry.zone)
        if not is_before(clock, cutoff):
            return Judged(record, RecordState.KEPT, day)
        identifiers = self.identifiers(record)
        held = self.holds(rules, record, day, identifiers) or (self.locks and self.locked(record))
        return Judged(record, RecordState.HELD if held else RecordState.EXPIRED, day, identifiers, clock)

    def explain(self, record: Record, rules: HoldRules) -> RecordFound:
        """What a record is, and which of the rules cover it."""
        found = self.judge(record, NO_HOLDS)
        if isinstance(found.state, Unjudgeable):
            return RecordFound(unjudgeable=(found.state,))
        try:
            identifiers, kept = self.identifiers(record), self.locks and self.locked(record)
        except _Gone:
            return RecordFound(unjudgeable=(Unjudgeable.UNREADABLE,))
        self.matcher.prepare(rules)
        held = covering(rules, lambda some: self.holds(some, record, found.day, identifiers))
        expired = found.state is not RecordState.KEPT
        return RecordFound(day=found.day, expired=expired, held=held, kept_by_store=kept)

    def holds(self, rules: HoldRules, record: Record, day: date | None, identifiers: Identifiers) -> bool:
        """Whether rules cover a record with this day of its clock; with any of its days, where its key says several."""
        span = self._span_in_key(record) if rules and self.dataset.clock.key is not None else None
        first, last = span.days(self.work.expiry.zone) if span else (day, day)
        return self.matcher.holds(rules, first, last, identifiers)

    def again(self, record: Record) -> Again | None:
        """What may have changed of a candidate while its versions stayed; None where one of them is gone."""
        try:
            return Again(self.expired(record), self.identifiers(record), self.locks and self.locked(record))
        except _Gone:
            return None

    def expired(self, record: Record) -> bool:
        """Whether a record (still) has expired, by its clock alone."""
        clock = self.clock(record)
        return not isinstance(clock, Unjudgeable) and is_before(clock, self.work.expiry.default)

    def clock(self, record: Record) -> date | datetime | Unjudgeable:
        """The record's clock; see the module's docstring for which of its versions it is of."""
        clock = self.dataset.clock
        if clock.key is None and not record.content:
            return max(version.modified_at for version in record.versions)
        if clock.last_modified:
            return max(version.modified_at for version in record.content)
        parts = self._parts(record)
        if parts is None:
            return Unjudgeable.NO_CLOCK
        span = self._placed(parts)
        return Unjudgeable.UNPARSABLE_CLOCK if span is None else span.last

    def _parts(self, record: Record) -> Mapping[str, str | None] | None:
        """The text of the clock, or the parts of a date in its key; None where there is none."""
        clock = self.dataset.clock
        if clock.key is not None:
            match = re.search(clock.key, record.key)
            parts = match.groupdict() if match else {}
            return {name: unquote(text) for name, text in parts.items() if text is not None} or None
        text = self.reader.text(clock, record.content[0] if record.content else record.versions[0])
        return None if text is None else {"value": text}

    def _placed(self, parts: Mapping[str, str | None]) -> Span | None:
        clock, zone = self.dataset.clock, self.work.expiry.zone
        return _placed(tuple(parts.items()), clock.format, ZoneInfo(clock.time_zone) if clock.time_zone else zone, zone)

    def _span_in_key(self, record: Record) -> Span | None:
        parts = self._parts(record)
        return self._placed(parts) if parts else None

    def identifiers(self, record: Record) -> dict[IdentifierType, list[str]]:
        """What the record carries by which a hold may find it, of all its versions: older ones may name others."""
        found: dict[IdentifierType, list[str]] = {}
        for kind, attribute in self.dataset.identifiers.items():
            versions = record.versions[:1] if attribute.key is not None else record.content
            texts = {self.reader.text(attribute, version) for version in versions}
            present = sorted(text for text in texts if text)
            if present:
                found[kind] = present
        return found

    def locked(self, record: Record) -> bool:
        """Whether the store keeps any of the record's versions, by a legal hold or a retention that has not ended."""
        return any(self.reader.locked(version) for version in record.content)


class VersionReader:
    """Reads what a listing does not tell of a version. Safe to use from several threads.

    Raises:
        StoreUnavailable, StoreError: if the store cannot be asked, or does not let the connection read.
    """

    def __init__(self, access: S3Access, bucket: str, client: S3Client | None = None) -> None:
        self._access = access
        self._bucket = bucket
        self._client = client or access.client

    def text(self, attribute: ObjectAttribute | ObjectClock, version: Version) -> str | None:
        """The text of an attribute of a version; None where it has none."""
        if attribute.key is not None:
            match = re.search(attribute.key, version.key)
            return match["value"] if match else None
        if attribute.tag is not None:
            return self._tags(version).get(attribute.tag)
        return self._metadata(version).get((attribute.metadata or "").lower())

    def probe(self, attribute: ObjectAttribute | ObjectClock, version: Version) -> None:
        """Read an attribute of a version that may have it or not, to see whether the connection may."""
        with suppress(_Gone):
            self.text(attribute, version)

    def locked(self, version: Version) -> bool:
        """Whether S3 keeps the version: a legal hold, or a retention (of either mode) that has not ended."""
        head = self._head(version)
        until = head.get("ObjectLockRetainUntilDate")
        return head.get("ObjectLockLegalHoldStatus") == "ON" or (until is not None and until > datetime.now(UTC))

    def _tags(self, version: Version) -> Mapping[str, str]:
        with named(self._access.place(self._bucket, "read the tags of objects (s3:GetObjectVersionTagging)")):
            try:
                answer = self._client.get_object_tagging(**self._address(version))
            except ClientError as error:
                raise _gone(error) from None
        return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}

    def _metadata(self, version: Version) -> Mapping[str, str]:
        return {name.lower(): value for name, value in self._head(version).get("Metadata", {}).items()}

    def _head(self, version: Version) -> Mapping[str, Any]:
        with named(self._access.place(self._bucket, "read the metadata of objects (s3:GetObjectVersion)")):
            try:
                return self._client.head_object(**self._address(version))
            except ClientError as error:
                raise _gone(error) from None

    def _address(self, version: Version) -> Any:  # noqa: ANN401 - boto3's options
        return {"Bucket": self._bucket, "Key": version.key, "VersionId": version.id}


def _gone(error: ClientError) -> Exception:
    """`_Gone` for a version that is not there, or that this server will not show at all; else the error itself."""
    return _Gone() if code_of(error) in ABSENT | {"400", "InvalidRequest", "MethodNotAllowed", "405"} else error


@dataclass
class Census:
    """Counts judged records for a survey."""

    total: int = 0
    expired: int = 0
    held: int = 0
    unjudgeable: Counter[Unjudgeable] = field(default_factory=Counter)
    oldest: date | None = None
    unreadable: list[str] = field(default_factory=list)

    def add(self, judged: Judged) -> None:
        """Count one record."""
        self.total += 1
        if isinstance(judged.state, Unjudgeable):
            self.unjudgeable[judged.state] += 1
            if judged.state is Unjudgeable.UNREADABLE and len(self.unreadable) < _NAMED_AT_MOST:
                key = judged.record.key.encode("utf-8", "surrogatepass")
                self.unreadable.append(hashlib.sha256(key).hexdigest())
        elif judged.state is not RecordState.KEPT:
            self.expired += 1
            self.held += judged.state is RecordState.HELD
            if judged.state is RecordState.EXPIRED and judged.day and (self.oldest is None or judged.day < self.oldest):
                self.oldest = judged.day

    def result(self) -> Found:
        """The counts so far."""
        return Found(
            total=self.total,
            expired=self.expired,
            held=self.held,
            unjudgeable=dict(self.unjudgeable),
            oldest=self.oldest,
            unreadable=tuple(self.unreadable),
        )


def count(judged: Iterable[Judged]) -> Found:
    """The survey of records."""
    census = Census()
    for one in judged:
        census.add(one)
    return census.result()
