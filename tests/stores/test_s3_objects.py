"""Whole objects in S3: what is found, what goes, what stays, on a real server, with faults in between.

Survivors are asserted exactly: every version and delete marker that is left in the bucket.
"""

# ruff: noqa: ANN401 - options of boto3 and answers of faults are of any type
from __future__ import annotations

import json
import re
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection as Pipe
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest
from tests.dates_kit import vectors
from tests.processes import processes
from tests.stores.lease_kit import Gate, meanwhile, rules
from tests.stores.lease_kit import hold as rule

from lethe.connections import Connection
from lethe.counts import Became, Outcome, Unjudgeable
from lethe.errors import ConnectionMissing, DatasetChanged, RunError, StoreError, StoreUnavailable
from lethe.holds.rules import NO_HOLDS, ClockRange
from lethe.judging.dates import TimestampFormat
from lethe.judging.identifiers import IdentifierType
from lethe.judging.keys import record_key
from lethe.periods import Cutoff, start_of_day
from lethe.policy import Expiry, ObjectAttribute, ObjectClock, ObjectDataset
from lethe.stores import open_store
from lethe.stores.base import Candidates, Work
from lethe.stores.buckets.client import delete_body
from lethe.stores.objects import S3ObjectStore, deleting, erasing, worker
from lethe_demo.servers import EmbeddedS3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PRAGUE = ZoneInfo("Europe/Prague")
AS_OF = datetime(2026, 3, 1, 12, tzinfo=UTC)
CUTOFF = date(2025, 1, 1)
KEY_DATE = ObjectClock(key=r"(?:^|/)date=(?P<value>[^/]*)/")
OLD, NEW = "date=2024-12-31", "date=2025-01-01"


# --- a bucket, a run, a gate --------------------------------------------------------------------------------------


@dataclass
class Bucket:
    """A bucket of one test."""

    server: EmbeddedS3
    client: S3Client
    name: str

    def put(self, key: str, body: bytes = b"x", **options: Any) -> str:
        return self.client.put_object(Bucket=self.name, Key=key, Body=body, **options).get("VersionId", "null")

    def put_all(self, *keys: str, body: bytes = b"x") -> None:
        """Write objects beside each other; the same key again makes another version."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: self.put(key, body), keys))

    def mark(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)

    def left(self, prefix: str = "") -> Counter[str]:
        """How many versions and delete markers there are, by key."""
        found: Counter[str] = Counter()
        for page in self.client.get_paginator("list_object_versions").paginate(Bucket=self.name, Prefix=prefix):
            for entry in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
                found[entry["Key"]] += 1
        return found

    def dataset(
        self, clock: ObjectClock = KEY_DATE, prefix: str = "p/", **identifiers: ObjectAttribute
    ) -> ObjectDataset:
        kinds = {IdentifierType(kind): attribute for kind, attribute in identifiers.items()}
        return ObjectDataset(
            kind="objects", name="objects", store="s3", bucket=self.name, prefix=prefix, clock=clock, identifiers=kinds
        )

    def store(self, batch_size: int = 1000, **extra: Any) -> S3ObjectStore:
        return S3ObjectStore(self.server.connection("s3", lethe_batch_size=batch_size, **extra))


def work(dataset: ObjectDataset, cutoff: date = CUTOFF, run: str = "run-1", instant: datetime | None = None) -> Work:
    moment = instant or start_of_day(cutoff, PRAGUE)
    return Work(run, "category", dataset, Expiry(PRAGUE, Cutoff(cutoff, moment)), AS_OF)


def far_future(dataset: ObjectDataset) -> Work:
    """A run in which everything written now has expired."""
    return work(dataset, date(2100, 1, 1))


def run(store: S3ObjectStore, job: Work, gate: Gate | None = None) -> tuple[Candidates, Became]:
    gate = gate or Gate()
    candidates = store.discover(job, gate.rules)
    return candidates, store.erase(job, candidates, range(candidates.batches), gate)


def outcomes(store: S3ObjectStore, job: Work, candidates: Candidates) -> dict[str, Outcome]:
    return {key.decode()[1:]: outcome for key, outcome in store.outcomes(job, candidates)}


def _bucket(s3: EmbeddedS3, **options: Any) -> Bucket:
    client = s3.client()
    name = f"t-{secrets.token_hex(6)}"
    client.create_bucket(Bucket=name, **options)
    return Bucket(s3, client, name)


@pytest.fixture
def plain(s3: EmbeddedS3) -> Bucket:
    """A bucket without versioning."""
    return _bucket(s3)


@pytest.fixture
def versioned(s3: EmbeddedS3) -> Bucket:
    bucket = _bucket(s3)
    bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
    return bucket


@pytest.fixture
def locking(s3: EmbeddedS3) -> Bucket:
    """A bucket with Object Lock."""
    return _bucket(s3, ObjectLockEnabledForBucket=True)


# --- promise 8: really gone ---------------------------------------------------------------------------------------


def test_all_versions_and_delete_markers_of_expired_keys_go_and_nothing_else(versioned: Bucket) -> None:
    for _ in range(3):
        versioned.put(f"p/{OLD}/a")
    versioned.put(f"p/{OLD}/marked")
    versioned.mark(f"p/{OLD}/marked")
    versioned.mark(f"p/{OLD}/only-marker")
    versioned.put(f"p/{NEW}/kept")
    versioned.put(f"p/{NEW}/kept")
    versioned.mark(f"p/{NEW}/kept")
    versioned.put(f"elsewhere/{OLD}/a")
    store, job = versioned.store(), work(versioned.dataset())

    candidates, tally = run(store, job)

    assert (candidates.total, candidates.expired, candidates.due) == (4, 3, 3)
    assert candidates.oldest == date(2024, 12, 31)
    assert tally == Became(erased=3, rows_with=3, bytes=4)
    assert versioned.left("p/") == {f"p/{NEW}/kept": 3}
    assert versioned.left("elsewhere/") == {f"elsewhere/{OLD}/a": 1}
    assert store.survey(job, NO_HOLDS).due == 0


def test_more_than_a_thousand_versions_of_one_key_go(versioned: Bucket) -> None:
    versioned.put_all(*[f"p/{OLD}/many"] * 1005, body=b"")
    versioned.put_all(f"p/{OLD}/before", f"p/{OLD}/next", f"p/{NEW}/kept")
    store, job = versioned.store(), work(versioned.dataset())

    candidates, tally = run(store, job)

    assert tally == Became(erased=3, rows_with=1004, bytes=2)
    assert candidates.batches > 1
    assert versioned.left("p/") == {f"p/{NEW}/kept": 1}


def test_unversioned_objects_go(plain: Bucket) -> None:
    plain.put_all(f"p/{OLD}/a", f"p/{OLD}/b", f"p/{NEW}/c", f"pp/{OLD}/d")
    _, tally = run(plain.store(), work(plain.dataset()))
    assert tally == Became(erased=2, bytes=2)
    assert plain.left("p") == {f"p/{NEW}/c": 1, f"pp/{OLD}/d": 1}


def test_null_versions_from_before_versioning_go_with_the_others(plain: Bucket) -> None:
    plain.put_all(f"p/{OLD}/a", f"p/{OLD}/b", f"p/{NEW}/c")
    plain.client.put_bucket_versioning(Bucket=plain.name, VersioningConfiguration={"Status": "Enabled"})
    plain.put_all(f"p/{OLD}/a", f"p/{NEW}/c")
    _, tally = run(plain.store(), work(plain.dataset()))
    assert tally == Became(erased=2, rows_with=1, bytes=3)
    assert plain.left("p/") == {f"p/{NEW}/c": 2}


def test_null_versions_of_a_suspended_bucket_go_with_the_others(versioned: Bucket) -> None:
    versioned.put(f"p/{OLD}/a")
    versioned.client.put_bucket_versioning(Bucket=versioned.name, VersioningConfiguration={"Status": "Suspended"})
    versioned.put_all(f"p/{OLD}/a", f"p/{OLD}/b", f"p/{NEW}/c")
    _, tally = run(versioned.store(), work(versioned.dataset()))
    assert tally == Became(erased=2, rows_with=1, bytes=3)
    assert versioned.left("p/") == {f"p/{NEW}/c": 1}


AWKWARD = [
    "a b", "a+b", "100%41", "'quoted' \"twice\"", "<&>;", "new\nline", "cr\r\nlf", "tab\t", "\N{SNOWMAN}é",
    "e\N{COMBINING ACUTE ACCENT}", "\N{GRINNING FACE}", "\x85next", "?x=1&y=#", "[*]{}", "~`^|", "x" * 240,
]  # fmt: skip


@pytest.mark.parametrize("kind", ["plain", "versioned"])
def test_keys_of_any_characters_go(kind: str, request: pytest.FixtureRequest) -> None:
    bucket: Bucket = request.getfixturevalue(kind)
    long = f"p/{OLD}/" + "/".join(["y" * 200] * 4)
    bucket.put(f"p/{OLD}/", b"")  # as consoles make folders
    bucket.put_all(*(f"p/{OLD}/{name}" for name in AWKWARD), long, *(f"p/{NEW}/{name}" for name in AWKWARD))
    store, job = bucket.store(batch_size=5), work(bucket.dataset())

    candidates, tally = run(store, job)

    assert tally.erased == len(AWKWARD) + 2
    assert bucket.left("p/") == {f"p/{NEW}/{name}": 1 for name in AWKWARD}
    assert set(outcomes(store, job, candidates)) == {f"p/{OLD}/{name}" for name in AWKWARD} | {long, f"p/{OLD}/"}


def test_a_key_that_the_listing_cannot_transport_is_reported_and_not_guessed(plain: Bucket) -> None:
    plain.put_all(f"p/{OLD}/control\x01character", f"p/{OLD}/fine")
    store, job = plain.store(), work(plain.dataset())
    candidates, tally = run(store, job)
    assert candidates.unjudgeable == {Unjudgeable.UNREADABLE: 1}
    assert re.fullmatch("[0-9a-f]{64}", candidates.unreadable[0])
    assert tally == Became(erased=1, bytes=1)


def test_names_that_sort_between_a_folder_and_its_slash_are_found(plain: Bucket) -> None:
    """`a.txt` sorts before `a/`, but SeaweedFS walks the folder first and loses the file across pages."""
    plain.put_all(*(f"p/{OLD}/a/{number:04}" for number in range(1100)), body=b"")
    plain.put_all(f"p/{OLD}/a.txt", f"p/{OLD}/a-b", f"p/{OLD}/a!", f"p/{OLD}/a", f"p/{NEW}/a.txt")
    _, tally = run(plain.store(), work(plain.dataset()))
    assert tally.erased == 1104
    assert plain.left("p/") == {f"p/{NEW}/a.txt": 1}


def test_an_empty_dataset_and_an_empty_prefix(versioned: Bucket) -> None:
    store = versioned.store()
    candidates, tally = run(store, work(versioned.dataset()))
    assert (candidates.total, candidates.batches, tally) == (0, 0, Became())
    versioned.put_all(f"{OLD}/a", f"{NEW}/b")
    everything = work(versioned.dataset(prefix=""), run="run-2")
    candidates, tally = run(store, everything)
    assert (candidates.total, tally.erased) == (2, 1), "what is staged in the same bucket does not count"
    store.clean("run-1", everything.dataset)
    store.clean("run-2", everything.dataset)
    assert versioned.left() == {f"{NEW}/b": 1}


# --- promise 1 and 3: clocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("2024-12-31", "expired"),
        ("2025-01-01", "kept"),
        ("2024-12-31T22:59:59Z", "expired"),
        ("2024-12-31T23:00:00Z", "kept"),  # midnight in Prague
        ("2024-12-31T23:59:59", "expired"),
        ("20241231", "expired"),
        ("2024-13-01", "unparsable"),
        ("soon", "unparsable"),
        ("", "unparsable"),
        ("9999-12-31", "kept"),
        ("2024-W01", "unparsable"),
        ("2024-W01-1", "unparsable"),
        ("2024-12-31T10", "unparsable"),
        ("2024-001", "unparsable"),
    ],
)
def test_clocks_are_read_in_the_zone_of_the_policy(plain: Bucket, text: str, state: str) -> None:
    plain.put(f"p/date={text}/a")
    found = plain.store().survey(work(plain.dataset()), NO_HOLDS)
    assert found.total == 1
    assert found.due == (state == "expired")
    assert found.unjudgeable == ({Unjudgeable.UNPARSABLE_CLOCK: 1} if state == "unparsable" else {})


BY_PARTS = {
    "day": ObjectClock(key=r"/(?P<year>\d{4})/(?P<month>\d{2})/(?P<day>\d{2})/"),
    "hive": ObjectClock(
        key=r"/year=(?P<year>\d+)/(?:month=(?P<month>\d+)/(?:day=(?P<day>\d+)/(?:hour=(?P<hour>\d+)/)?)?)?"
    ),
    "week": ObjectClock(key=r"/week=(?P<iso_year>\d{4})-?W(?P<week>\d{2})/"),
}


@pytest.mark.parametrize(
    ("clock", "key", "state"),
    [
        ("day", "2024/12/31/", "expired"),
        ("day", "2025/01/01/", "kept"),
        ("day", "2024/13/01/", "unparsable"),
        ("hive", "year=2024/", "expired"),
        ("hive", "year=2025/", "kept"),
        ("hive", "year=2024/month=12/", "expired"),
        ("hive", "year=2025/month=1/", "kept"),
        ("hive", "year=2024/month=12/day=31/", "expired"),
        ("hive", "year=2024/month=12/day=31/hour=23/", "expired"),
        ("hive", "year=2025/month=1/day=1/hour=0/", "kept"),
        ("week", "week=2024-W52/", "expired"),
        ("week", "week=2024W52/", "expired"),
        ("week", "week=2025-W01/", "kept"),  # begins on 30 December 2024, ends in 2025
    ],
)
def test_a_date_of_less_than_a_day_counts_from_its_end(plain: Bucket, clock: str, key: str, state: str) -> None:
    plain.put(f"p/{key}a")
    found = plain.store().survey(work(plain.dataset(BY_PARTS[clock])), NO_HOLDS)
    assert found.due == (state == "expired")
    assert found.unjudged == (state == "unparsable")


def test_days_of_another_zone_end_when_they_end_there(plain: Bucket) -> None:
    plain.put_all("p/2024/12/30/a", "p/2024/12/31/a")
    in_utc = BY_PARTS["day"].model_copy(update={"time_zone": "UTC"})  # its 31 December lasts until 1 January in Prague
    assert plain.store().survey(work(plain.dataset(BY_PARTS["day"])), NO_HOLDS).due == 2
    candidates, tally = run(plain.store(), work(plain.dataset(in_utc)))
    assert (candidates.due, tally.erased) == (1, 1)
    assert plain.left("p/") == {"p/2024/12/31/a": 1}


@pytest.mark.parametrize("when", ["before", "after discovery"])
def test_a_hold_on_some_days_holds_whatever_may_be_of_them(plain: Bucket, when: str) -> None:
    plain.put_all("p/year=2024/month=2/a", "p/year=2024/month=3/a", "p/year=2024/month=4/a")
    march = rules(rule(clock=ClockRange(date(2024, 3, 5), date(2024, 3, 6))))
    job, store = work(plain.dataset(BY_PARTS["hive"])), plain.store()
    candidates = store.discover(job, march if when == "before" else NO_HOLDS)
    assert candidates.held == (when == "before")
    store.erase(job, candidates, range(candidates.batches), Gate(march))
    assert plain.left("p/") == {"p/year=2024/month=3/a": 1}


def test_clocks_in_keys_tags_and_metadata_are_judged_as_the_vectors_say(plain: Bucket) -> None:
    said = [
        one for one in vectors(TimestampFormat.ISO_8601) if re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z:.,+ -]*", one.text)
    ]
    cutoff = Cutoff(CUTOFF, start_of_day(CUTOFF, PRAGUE))
    expired = sum(one.expired(cutoff) for one in said)
    unjudgeable = sum(one.moment is None for one in said)
    assert expired > 5 < unjudgeable
    with ThreadPoolExecutor(8) as pool:
        for number, one in enumerate(said):
            pool.submit(plain.put, f"k/{number}/{one.text}")
            pool.submit(plain.put, f"t/{number}", Tagging=urlencode({"at": one.text}))
            pool.submit(plain.put, f"m/{number}", Metadata={"at": one.text})
    clocks = {"k": {"key": "[0-9]+/(?P<value>.*)"}, "t": {"tag": "at"}, "m": {"metadata": "at"}}
    for prefix, clock in clocks.items():
        found = plain.store().survey(work(plain.dataset(ObjectClock(**clock), prefix=f"{prefix}/")), NO_HOLDS)
        counts = (found.total, found.expired, found.unjudgeable[Unjudgeable.UNPARSABLE_CLOCK])
        assert counts == (len(said), expired, unjudgeable), prefix


def test_what_cannot_be_judged_is_counted_and_stays(plain: Bucket) -> None:
    plain.put_all("p/undated", "p/date=never/x", f"p/{OLD}/x")
    candidates, tally = run(plain.store(), work(plain.dataset()))
    assert candidates.unjudgeable == {Unjudgeable.NO_CLOCK: 1, Unjudgeable.UNPARSABLE_CLOCK: 1}
    assert tally.erased == 1
    assert plain.left("p/") == {"p/undated": 1, "p/date=never/x": 1}


def test_last_modified_is_that_of_the_newest_version_with_content(versioned: Bucket) -> None:
    versioned.put_all("p/rewritten", "p/deleted", "p/old")
    versioned.mark("p/only-marker")
    time.sleep(2.1)
    boundary = datetime.now(UTC).replace(microsecond=0)
    versioned.put("p/rewritten")
    versioned.mark("p/deleted")
    versioned.put("p/new")
    versioned.mark("p/new-marker")
    job = work(versioned.dataset(ObjectClock(last_modified=True)), boundary.date(), instant=boundary)

    _, tally = run(versioned.store(), job)

    assert tally == Became(erased=3, rows_with=1, bytes=2)
    assert versioned.left("p/") == {"p/rewritten": 2, "p/new": 1, "p/new-marker": 1}


@pytest.mark.parametrize("where", ["tag", "metadata"])
def test_clocks_in_tags_and_metadata_are_those_of_the_newest_content(versioned: Bucket, where: str) -> None:
    def put(key: str, value: str | None) -> None:
        given: dict[str, Any] = {"Tagging": f"ends={value}"} if where == "tag" else {"Metadata": {"Ends": str(value)}}
        versioned.put(key, **(given if value is not None else {}))

    put("p/old", "2024-06-01")
    put("p/renewed", "2024-06-01")
    put("p/renewed", "2026-06-01")
    put("p/shortened", "2026-06-01")
    put("p/shortened", "2024-06-01")
    put("p/marked", "2024-06-01")
    versioned.mark("p/marked")
    put("p/undated", None)
    put("p/garbled", "yesterday")
    job = work(versioned.dataset(ObjectClock(**{where: "ends"})))

    candidates, tally = run(versioned.store(), job)

    assert candidates.unjudgeable == {Unjudgeable.NO_CLOCK: 1, Unjudgeable.UNPARSABLE_CLOCK: 1}
    assert tally == Became(erased=3, rows_with=2, bytes=4)
    assert versioned.left("p/") == {"p/renewed": 2, "p/undated": 1, "p/garbled": 1}


def test_a_period_longer_than_the_calendar_expires_nothing(plain: Bucket) -> None:
    plain.put_all("p/date=0001-01-01/a")
    never = work(plain.dataset(), date.min, instant=datetime.min.replace(tzinfo=UTC))
    assert plain.store().survey(never, NO_HOLDS).expired == 0


# --- promise 4: only what was checked -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "versioned"])
def test_an_object_that_changed_since_discovery_is_renewed_and_wholly_stays(
    kind: str, request: pytest.FixtureRequest
) -> None:
    bucket: Bucket = request.getfixturevalue(kind)
    bucket.put_all(f"p/{OLD}/a", f"p/{OLD}/b", f"p/{OLD}/c")
    store, job = bucket.store(), work(bucket.dataset())
    candidates = store.discover(job, NO_HOLDS)
    bucket.put(f"p/{OLD}/b", b"other")
    bucket.put(f"p/{OLD}/later")

    tally = store.erase(job, candidates, range(candidates.batches), Gate())

    assert (tally.erased, tally.renewed) == (2, 1)
    assert outcomes(store, job, candidates)[f"p/{OLD}/b"] is Outcome.RENEWED
    assert bucket.left("p/") == {f"p/{OLD}/b": 2 if kind == "versioned" else 1, f"p/{OLD}/later": 1}
    assert store.survey(job, NO_HOLDS).due == 2, "the next run takes them, and this one is not silent"
    _, tally = run(store, replace(job, run="run-2"))
    assert tally.erased == 2
    assert bucket.left("p/") == {}


def test_an_object_that_was_deleted_by_somebody_since_discovery_is_gone_or_renewed(versioned: Bucket) -> None:
    kept = versioned.put(f"p/{OLD}/wholly")
    versioned.put_all(f"p/{OLD}/marked", f"p/{OLD}/a")
    store, job = versioned.store(), work(versioned.dataset())
    candidates = store.discover(job, NO_HOLDS)
    versioned.client.delete_object(Bucket=versioned.name, Key=f"p/{OLD}/wholly", VersionId=kept)
    versioned.mark(f"p/{OLD}/marked")

    tally = store.erase(job, candidates, range(candidates.batches), Gate())

    assert tally == Became(erased=1, gone=1, renewed=1, bytes=1)
    assert versioned.left("p/") == {f"p/{OLD}/marked": 2}


def test_a_tag_that_was_moved_on_since_discovery_renews(versioned: Bucket) -> None:
    versioned.put("p/a", Tagging="ends=2024-06-01")
    versioned.put("p/b", Tagging="ends=2024-06-01")
    store, job = versioned.store(), work(versioned.dataset(ObjectClock(tag="ends")))
    candidates = store.discover(job, NO_HOLDS)
    later = {"TagSet": [{"Key": "ends", "Value": "2030-01-01"}]}
    versioned.client.put_object_tagging(Bucket=versioned.name, Key="p/a", Tagging=later)  # type: ignore[arg-type]
    tally = store.erase(job, candidates, range(candidates.batches), Gate())
    assert (tally.erased, tally.renewed) == (1, 1)
    assert versioned.left("p/") == {"p/a": 1}


def test_what_is_staged_must_be_what_was_discovered(plain: Bucket) -> None:
    plain.put_all(*(f"p/{OLD}/{n}" for n in range(4)))
    store, job = plain.store(batch_size=2), work(plain.dataset())
    candidates = store.discover(job, NO_HOLDS)
    everything = range(candidates.batches)

    for wrong in (
        candidates.model_copy(update={"digest": "0" * 64}),
        candidates.model_copy(update={"reference": candidates.reference[:-1] + "x"}),
    ):
        with pytest.raises(DatasetChanged, match="discover again"):
            store.erase(job, wrong, everything, Gate())
    area = candidates.reference.partition(f"{plain.name}/")[2].partition("#")[0]
    first, second = (f"{area}parts/0000000{n}" for n in (0, 1))
    swapped = plain.client.get_object(Bucket=plain.name, Key=first)["Body"].read()
    plain.put(second, swapped)
    with pytest.raises(DatasetChanged, match="discover again"):
        store.erase(job, candidates, range(1, 2), Gate())
    with pytest.raises(DatasetChanged):
        store.erase(replace(job, run="another"), candidates, everything, Gate())
    assert sum(plain.left("p/").values()) == 4


def test_discovering_again_finds_the_same_and_after_erasing_began_keeps_it(plain: Bucket) -> None:
    plain.put_all(*(f"p/{OLD}/{n}" for n in range(4)))
    store, job = plain.store(batch_size=2), work(plain.dataset())
    before = store.discover(job, NO_HOLDS)
    first = store.discover(job, NO_HOLDS)
    assert first == before.model_copy(update={"reference": first.reference})
    with pytest.raises(DatasetChanged, match="discover again"):
        store.erase(job, before, range(1), Gate())  # it was stopped before it began, and another has discovered anew
    assert store.discover(replace(job, run="run-2"), NO_HOLDS).digest == first.digest
    store.erase(job, first, range(1), Gate())
    plain.put(f"p/{OLD}/later")
    assert store.discover(job, NO_HOLDS) == first
    assert store.discover(replace(job, run="run-3"), NO_HOLDS).digest != first.digest
    assert store.erase(job, first, range(first.batches), Gate()).erased == 4
    assert plain.left("p/") == {f"p/{OLD}/later": 1}


def test_a_discovery_that_another_try_has_overtaken_takes_nothing_of_it_away(plain: Bucket) -> None:
    """Promise 5: its process was stopped while the next try discovered and erased, and wakes."""
    plain.put_all(*(f"p/{OLD}/by=x{n}@example.org/{n}" for n in range(6)))
    job, faster = work(plain.dataset(email=EMAIL_IN_KEY)), plain.store(batch_size=2)
    found: list[Candidates] = []

    def overtake() -> None:
        found.append(faster.discover(job, NO_HOLDS))
        faster.erase(job, found[0], range(found[0].batches), Gate())

    with pytest.raises(StoreUnavailable, match="another process has discovered dataset objects meanwhile"):
        plain.store(batch_size=2).discover(job, meanwhile(overtake))
    assert faster.tally(job, found[0]).erased == len(list(faster.outcomes(job, found[0]))) == 6


def test_the_digest_does_not_depend_on_what_stays(plain: Bucket) -> None:
    plain.put_all(f"p/{OLD}/a", f"p/{OLD}/c")
    store, job = plain.store(), work(plain.dataset())
    before = store.discover(job, NO_HOLDS)
    plain.put_all(f"p/{NEW}/a", "p/undated", f"p/{NEW}/z")
    again = store.discover(replace(job, run="run-2"), NO_HOLDS)
    assert (before.digest, before.expired) == (again.digest, again.expired)


# --- promise 2: never held ----------------------------------------------------------------------------------------

EMAIL_IN_KEY = ObjectAttribute(key=r"/by=(?P<value>[^/]+)/")


@pytest.mark.parametrize("when", ["before", "between", "in flight"])
def test_a_hold_keeps_what_it_names_whenever_it_was_placed(versioned: Bucket, when: str) -> None:
    names = ["Ann%40Example.org", "bob@example.org", "carl@example.org", "ann@example.org.uk"]
    versioned.put_all(*(f"p/{OLD}/by={name}/{n}" for name in names for n in range(3)))
    store, job = versioned.store(batch_size=4), work(versioned.dataset(email=EMAIL_IN_KEY))
    hold = rules(rule(email="ann@example.org"))
    gate = Gate(rules=hold if when == "before" else NO_HOLDS)
    candidates = store.discover(job, gate.rules)
    assert candidates.held == (3 if when == "before" else 0)
    if when == "between":
        gate.rules = hold
    if when == "in flight":
        narrow = store.erase(job, candidates, range(1, candidates.batches), gate)
        assert narrow.held == 0
        gate.rules = hold

    tally = store.erase(job, candidates, range(candidates.batches), gate)

    assert tally.held == (0 if when == "before" else 3)
    assert tally.erased == 9
    assert versioned.left("p/") == {f"p/{OLD}/by=Ann%40Example.org/{n}": 1 for n in range(3)}
    assert store.survey(job, hold).due == 0


def test_a_hold_that_is_placed_between_waves_keeps_all_that_has_not_gone(plain: Bucket) -> None:
    plain.put_all(*(f"p/{OLD}/{n:02}" for n in range(40)))
    store, job = plain.store(batch_size=1), work(plain.dataset())
    candidates = store.discover(job, NO_HOLDS)
    seen: list[Counter[str]] = []
    gate = Gate()

    def place(lease: int) -> None:
        if lease == 2:
            gate.place(rules(rule()))
            seen.append(plain.left("p/"))

    gate.before = place
    tally = store.erase(job, candidates, range(candidates.batches), gate)

    assert 0 < tally.erased < 40
    assert (tally.erased + tally.held, tally.total) == (40, 40)
    assert plain.left("p/") == seen[0], "nothing went after the hold was placed"
    assert len(seen[0]) == tally.held


@pytest.mark.parametrize("where", ["tag", "metadata"])
def test_holds_find_identifiers_in_tags_and_metadata_of_any_version(versioned: Bucket, where: str) -> None:
    def put(key: str, value: str) -> None:
        given: dict[str, Any] = {"Tagging": f"phone={value}"} if where == "tag" else {"Metadata": {"phone": value}}
        versioned.put(key, **given)

    put(f"p/{OLD}/now", "00420777123456")
    put(f"p/{OLD}/before", "777 123 456".replace(" ", "-") if where == "metadata" else "777123456")
    put(f"p/{OLD}/before", "00420600000000")
    put(f"p/{OLD}/other", "00420600000000")
    job = work(versioned.dataset(phone=ObjectAttribute(**{where: "phone"})))
    store = versioned.store()
    hold = rules(rule(phone="+420777123456"))
    assert store.survey(job, hold).held == 2
    candidates = store.discover(job, NO_HOLDS)

    tally = store.erase(job, candidates, range(candidates.batches), Gate(rules=hold))

    assert (tally.erased, tally.held) == (1, 2)
    assert versioned.left("p/") == {f"p/{OLD}/now": 1, f"p/{OLD}/before": 2}


def test_a_tag_that_came_to_name_a_held_person_holds(versioned: Bucket) -> None:
    versioned.put(f"p/{OLD}/a", Tagging="email=bob@example.org")
    hold = rules(rule(email="ann@example.org"))
    store, job = versioned.store(), work(versioned.dataset(email=ObjectAttribute(tag="email")))
    candidates = store.discover(job, hold)
    tags = {"TagSet": [{"Key": "email", "Value": "ann@example.org"}]}
    versioned.client.put_object_tagging(Bucket=versioned.name, Key=f"p/{OLD}/a", Tagging=tags)  # type: ignore[arg-type]
    assert store.erase(job, candidates, range(1), Gate(rules=hold)).held == 1
    assert versioned.left("p/") == {f"p/{OLD}/a": 1}


def test_a_hold_on_a_clock_range_covers_its_days_only(plain: Bucket) -> None:
    plain.put_all(*(f"p/date=2024-06-{day:02}/a" for day in range(1, 6)))
    hold = rules(rule(clock=ClockRange(date(2024, 6, 2), date(2024, 6, 3))))
    store, job = plain.store(), work(plain.dataset())
    candidates = store.discover(job, NO_HOLDS)
    tally = store.erase(job, candidates, range(1), Gate(rules=hold))
    assert (tally.erased, tally.held) == (3, 2)
    assert plain.left("p/") == {"p/date=2024-06-02/a": 1, "p/date=2024-06-03/a": 1}


def test_nothing_is_sent_for_a_run_that_was_superseded(plain: Bucket) -> None:
    plain.put_all(f"p/{OLD}/a")
    store, job = plain.store(), work(plain.dataset())
    candidates = store.discover(job, NO_HOLDS)

    def refuse(_lease: int) -> None:
        raise RunError("superseded")

    with pytest.raises(RunError):
        store.erase(job, candidates, range(1), Gate(before=refuse))
    assert plain.left("p/") == {f"p/{OLD}/a": 1}


# --- what the store itself keeps ----------------------------------------------------------------------------------


def _until(seconds: float) -> dict[str, Any]:
    return {"ObjectLockRetainUntilDate": datetime.now(UTC) + timedelta(seconds=seconds)}


def test_object_lock_and_legal_holds_are_reported_as_held(locking: Bucket) -> None:
    locking.put(f"p/{OLD}/governance", ObjectLockMode="GOVERNANCE", **_until(60))
    locking.put(f"p/{OLD}/compliance", ObjectLockMode="COMPLIANCE", **_until(60))
    locking.put(f"p/{OLD}/hold", ObjectLockLegalHoldStatus="ON")
    locking.put(f"p/{OLD}/older-version", ObjectLockLegalHoldStatus="ON")
    locking.put(f"p/{OLD}/older-version")
    locking.put(f"p/{OLD}/free")
    store, job = locking.store(), work(locking.dataset())

    candidates, tally = run(store, job)

    assert (candidates.expired, candidates.held, candidates.due) == (5, 4, 1)
    assert tally == Became(erased=1, bytes=1)
    kept = {"governance": 1, "compliance": 1, "hold": 1, "older-version": 2}
    assert locking.left("p/") == {f"p/{OLD}/{name}": count for name, count in kept.items()}
    assert store.survey(job, NO_HOLDS).due == 0


def test_a_lock_that_came_after_discovery_holds_the_whole_key(locking: Bucket) -> None:
    locked = locking.put(f"p/{OLD}/locked")
    locking.put(f"p/{OLD}/locked")
    locking.put(f"p/{OLD}/free")
    store, job = locking.store(), work(locking.dataset())
    candidates = store.discover(job, NO_HOLDS)
    locking.client.put_object_legal_hold(
        Bucket=locking.name, Key=f"p/{OLD}/locked", VersionId=locked, LegalHold={"Status": "ON"}
    )
    tally = store.erase(job, candidates, range(1), Gate())
    assert (tally.erased, tally.held) == (1, 1)
    assert locking.left("p/") == {f"p/{OLD}/locked": 2}


def test_a_lock_that_only_the_refusal_shows_is_held_too(locking: Bucket) -> None:
    """A lock that comes after the last look: S3 refuses the version, and is asked why."""
    version = locking.put(f"p/{OLD}/locked")
    locking.put(f"p/{OLD}/free")
    store, job = locking.store(), work(locking.dataset())
    candidates = store.discover(job, NO_HOLDS)

    def lock(_lease: int) -> None:
        locking.client.put_object_legal_hold(
            Bucket=locking.name, Key=f"p/{OLD}/locked", VersionId=version, LegalHold={"Status": "ON"}
        )

    tally = store.erase(job, candidates, range(1), Gate(before=lock))
    assert (tally.erased, tally.held) == (1, 1)
    assert locking.left("p/") == {f"p/{OLD}/locked": 1}


def test_a_retention_that_has_ended_holds_nothing(locking: Bucket) -> None:
    locking.put(f"p/{OLD}/a", ObjectLockMode="GOVERNANCE", **_until(1.5))
    time.sleep(2)
    _, tally = run(locking.store(), work(locking.dataset()))
    assert tally.erased == 1
    assert locking.left("p/") == {}


# --- promise 5 and 7: exact, and again is harmless ----------------------------------------------------------------


def test_erasing_again_does_nothing_and_says_the_same(versioned: Bucket) -> None:
    versioned.put_all(*(f"p/{OLD}/{n}" for n in range(7)))
    store, job = versioned.store(batch_size=3), work(versioned.dataset())
    candidates, tally = run(store, job)
    gate = Gate()
    progress: list[int] = []
    again = versioned.store().erase(job, candidates, range(candidates.batches), gate, progress.append)
    assert (again, gate.leases, sum(progress)) == (tally, 0, 7)
    assert store.tally(job, candidates) == tally
    assert {record_key((f"p/{OLD}/{n}",)) for n in range(7)} == {key for key, _ in store.outcomes(job, candidates)}


def test_ranges_of_batches_can_be_erased_by_different_workers(plain: Bucket) -> None:
    plain.put_all(*(f"p/{OLD}/{n}" for n in range(7)))
    store, job = plain.store(batch_size=2), work(plain.dataset())
    candidates = store.discover(job, NO_HOLDS)
    first = store.erase(job, candidates, range(2), Gate())
    assert (first.erased, store.tally(job, candidates).erased, len(plain.left("p/"))) == (4, 4, 3)
    second = plain.store().erase(job, candidates, range(2, 4), Gate())
    assert store.tally(job, candidates) == first + second == Became(erased=7, bytes=7)


def test_two_processes_on_the_same_batches_count_everything_once(plain: Bucket) -> None:
    plain.put_all(*(f"p/{OLD}/{n:02}" for n in range(60)))
    job = work(plain.dataset())
    candidates = plain.store(batch_size=5).discover(job, NO_HOLDS)
    tallies: list[Became] = []
    gates = [Gate(lease_seconds=4.0) for _ in range(3)]

    def erase(gate: Gate) -> None:
        tallies.append(plain.store().erase(job, candidates, range(candidates.batches), gate))

    threads = [threading.Thread(target=erase, args=(gate,)) for gate in gates]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert tallies == [Became(erased=60, bytes=60)] * 3
    assert plain.store().tally(job, candidates) == Became(erased=60, bytes=60)
    assert plain.left("p/") == {}


def _begin(bucket: Bucket, store: S3ObjectStore, job: Work, sent: list[int], absent: Mapping[str, list[int]]) -> None:
    """Leave batch 0 as a process does that dies after it announced what it deletes."""
    intent = {"owner": "dead", "lease_seconds": 1.0, "sent": sent, "absent": absent}
    areas = store._areas(job)
    in_use = areas.in_use()
    assert in_use is not None
    areas.begin(in_use.area.reference(""))
    in_use.area.create("batches/00000000", json.dumps(intent).encode())


def test_what_a_dead_process_announced_and_deleted_was_erased_by_the_run(versioned: Bucket) -> None:
    ids = {name: versioned.put(f"p/{OLD}/{name}") for name in "abcdefg"}
    extra = versioned.put(f"p/{OLD}/b")
    store, job = versioned.store(), work(versioned.dataset(email=ObjectAttribute(key="/(?P<value>[a-z])$")))
    candidates = store.discover(job, NO_HOLDS)
    _begin(versioned, store, job, sent=[0, 1, 2, 3], absent={"0": [0]})

    def delete(name: str, version: str) -> None:
        versioned.client.delete_object(Bucket=versioned.name, Key=f"p/{OLD}/{name}", VersionId=version)

    delete("a", ids["a"])  # announced and gone: erased by the run
    delete("b", extra)  # announced and half gone: finished
    # c: announced, not deleted yet; d: announced, and written anew before it was deleted
    versioned.put(f"p/{OLD}/d")
    delete("e", ids["e"])  # not announced: gone without the run
    # f: not announced, erased now; g: not announced, written anew
    versioned.put(f"p/{OLD}/g")

    started = time.monotonic()
    tally = store.erase(job, candidates, range(1), Gate(lease_seconds=2.0))

    assert time.monotonic() - started > 1.0, "the requests of the dead process may still be under way"
    assert tally == Became(erased=4, gone=1, renewed=2, rows_with=1, bytes=4)
    assert outcomes(store, job, candidates) == {
        f"p/{OLD}/{name}": outcome
        for name, outcome in zip(
            "abcdefg",
            [Outcome.ERASED] * 3 + [Outcome.RENEWED, Outcome.GONE, Outcome.ERASED, Outcome.RENEWED],
            strict=True,
        )
    }
    assert versioned.left("p/") == {f"p/{OLD}/d": 2, f"p/{OLD}/g": 2}


def test_what_a_dead_process_announced_but_a_hold_covers_now_stays(plain: Bucket) -> None:
    plain.put_all(f"p/{OLD}/a", f"p/{OLD}/b")
    store, job = plain.store(), work(plain.dataset())
    candidates = store.discover(job, NO_HOLDS)
    _begin(plain, store, job, sent=[0, 1], absent={})
    plain.client.delete_object(Bucket=plain.name, Key=f"p/{OLD}/a")
    tally = store.erase(job, candidates, range(1), Gate(rules(rule()), lease_seconds=1.0))
    assert tally == Became(erased=1, held=1, bytes=1)
    assert plain.left("p/") == {f"p/{OLD}/b": 1}


def _erase(connection: Connection, job: Work, candidates: Candidates, ready: Pipe) -> None:
    store = S3ObjectStore(connection)
    ready.send_bytes(b"1")
    store.erase(job, candidates, range(candidates.batches), Gate(lease_seconds=1.0))


def test_a_process_that_is_killed_anywhere_leaves_exact_outcomes_behind(versioned: Bucket) -> None:
    keys = [f"p/{OLD}/{n:03}" for n in range(300)]
    versioned.put_all(*keys, *keys[::10])
    kept = f"p/{NEW}/kept"
    versioned.put(kept)
    store, job = versioned.store(batch_size=4), work(versioned.dataset())
    candidates = store.discover(job, NO_HOLDS)
    for delay in (0.05, 0.2, 0.35):
        here, there = processes.Pipe(duplex=False)
        process = processes.Process(target=_erase, args=(versioned.server.connection("s3"), job, candidates, there))
        process.start()
        there.close()
        with here:
            here.recv_bytes()
        time.sleep(delay)
        process.kill()
        process.join()

    tally = store.erase(job, candidates, range(candidates.batches), Gate(lease_seconds=1.0))

    assert tally == Became(erased=300, rows_with=30, bytes=330)
    assert versioned.left("p/") == {kept: 1}
    assert set(outcomes(store, job, candidates).values()) == {Outcome.ERASED}


# --- faults of the server and of the network ----------------------------------------------------------------------


@dataclass
class Proxy:
    """A server in front of S3 whose `fault` may answer, alter or cut off requests.

    `fault` gets (method, path with query, body) and gives None to pass the request on, "cut" to break the connection,
    "cut after" to pass it on but not answer, a number of seconds to wait before it is passed on, or an answer
    (status, XML).
    """

    target: str
    fault: Callable[[str, str, bytes], Any] = lambda _method, _path, _body: None
    requests: list[str] = field(default_factory=list)

    def __enter__(self) -> Proxy:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def _serve(self) -> None:
                proxy.serve(self)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = self._body(handler)
        self.requests.append(f"{handler.command} {handler.path}")
        fault = self.fault(handler.command, handler.path, body)
        if fault == "cut":
            self._cut(handler)
            return
        if isinstance(fault, int | float):
            time.sleep(fault)
        if isinstance(fault, tuple):
            self._answer(handler, fault[0], {"Content-Type": "application/xml"}, fault[1].encode())
            return
        status, headers, answer = self._pass_on(handler, body)
        if fault == "cut after":
            self._cut(handler)
        else:
            self._answer(handler, status, headers, answer)

    @staticmethod
    def _body(handler: BaseHTTPRequestHandler) -> bytes:
        if handler.headers.get("Expect") == "100-continue" and handler.request_version == "HTTP/1.1":
            pass  # BaseHTTPRequestHandler has answered that
        if "chunked" in handler.headers.get("Transfer-Encoding", ""):
            parts = b""
            while size := int(handler.rfile.readline().split(b";")[0], 16):
                parts += handler.rfile.read(size)
                handler.rfile.readline()
            handler.rfile.readline()
            return parts
        return handler.rfile.read(int(handler.headers.get("Content-Length", 0)))

    def _pass_on(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        target = urlsplit(self.target)
        connection = HTTPConnection(target.hostname or "", target.port, timeout=60)
        skipped = ("connection", "expect", "transfer-encoding", "content-length")
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in skipped}
        connection.request(handler.command, handler.path, body, {**headers, "Content-Length": str(len(body))})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), content

    @staticmethod
    def _cut(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _answer(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
        try:
            handler.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                    handler.send_header(name, value)
            handler.send_header("Content-Length", headers.get("Content-Length", str(len(body))))
            handler.end_headers()
            if handler.command != "HEAD":
                handler.wfile.write(body)
        except OSError:
            handler.close_connection = True


@pytest.fixture
def proxy(s3: EmbeddedS3) -> Iterator[Proxy]:
    with Proxy(s3.endpoint) as server:
        yield server


def _proxied(bucket: Bucket, proxy: Proxy, batch_size: int = 1000) -> S3ObjectStore:
    # S3's signature covers the host, so the server is asked under the proxy's name; SeaweedFS takes it from the header.
    return bucket.store(batch_size, endpoint_url=proxy.endpoint)


def _times(count: int, wanted: Callable[[str, str, bytes], bool], fault: Any) -> Callable[[str, str, bytes], Any]:
    """`fault` for the first `count` requests that are wanted."""
    left = [count]

    def decide(method: str, path: str, body: bytes) -> Any:
        if not wanted(method, path, body) or left[0] <= 0:
            return None
        left[0] -= 1
        return fault

    return decide


def _is_delete(method: str, path: str, body: bytes, *, staged: bool = False) -> bool:
    """Whether records are deleted; or else objects of staging."""
    return method == "POST" and "delete" in path and (b"_lethe/" in body) == staged


def _is_listing(_method: str, path: str, _body: bytes) -> bool:
    return "versions" in path


SLOW_DOWN = (503, "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>")


@pytest.mark.parametrize("fault", [SLOW_DOWN, "cut", "cut after"], ids=["503", "cut", "cut after"])
@pytest.mark.parametrize("kind", ["plain", "versioned"])
def test_a_passing_fault_while_deleting_is_survived_with_exact_outcomes(
    fault: Any, kind: str, proxy: Proxy, request: pytest.FixtureRequest
) -> None:
    bucket: Bucket = request.getfixturevalue(kind)
    bucket.put_all(*(f"p/{OLD}/{n}" for n in range(9)), f"p/{NEW}/kept")
    store, job = _proxied(bucket, proxy, batch_size=3), work(bucket.dataset())
    candidates = store.discover(job, NO_HOLDS)
    proxy.fault = _times(2, _is_delete, fault)
    gate = Gate(lease_seconds=1.5)
    tally = store.erase(job, candidates, range(candidates.batches), gate)
    assert tally == Became(erased=9, bytes=9)
    assert bucket.left("p/") == {f"p/{NEW}/kept": 1}
    if fault != SLOW_DOWN:
        assert gate.longest >= 1.4, "an unanswered request may still be carried out: the lease is kept till its end"


def test_a_server_that_does_not_answer_in_time_is_given_up_within_the_lease(plain: Bucket, proxy: Proxy) -> None:
    plain.put_all(f"p/{OLD}/a", f"p/{OLD}/b")
    store, job = _proxied(plain, proxy), work(plain.dataset())
    candidates = store.discover(job, NO_HOLDS)
    proxy.fault = _times(1, _is_delete, 1.2)
    gate = Gate(lease_seconds=2.0)
    assert store.erase(job, candidates, range(1), gate) == Became(erased=2, bytes=2)
    assert gate.longest < 2.5


def test_a_fault_that_does_not_pass_names_connection_and_bucket_and_the_next_try_finishes(
    plain: Bucket, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_PAUSE_SECONDS", 0.01)
    plain.put_all(*(f"p/{OLD}/secret-{n}" for n in range(6)))
    store, job = _proxied(plain, proxy, batch_size=2), work(plain.dataset())
    candidates = store.discover(job, NO_HOLDS)
    proxy.fault = lambda method, path, body: (
        SLOW_DOWN if _is_delete(method, path, body) and b"secret-5" in body else None
    )

    with pytest.raises(StoreUnavailable) as caught:
        store.erase(job, candidates, range(candidates.batches), Gate(lease_seconds=1.0))

    assert caught.value.transient
    assert "connection s3" in str(caught.value)
    assert plain.name in str(caught.value)
    assert "secret" not in str(caught.value)
    assert store.tally(job, candidates) == Became(erased=4, bytes=4)
    proxy.fault = lambda *_: None
    assert store.erase(job, candidates, range(candidates.batches), Gate(lease_seconds=1.0)) == Became(erased=6, bytes=6)
    assert plain.left("p/") == {}


def _refusing(code: str, *names: str, staged: bool = False) -> Callable[[str, str, bytes], Any]:
    """Answers a multi-delete with errors for the objects whose keys contain a name (and does not delete any)."""

    def decide(method: str, path: str, body: bytes) -> Any:
        if not _is_delete(method, path, body, staged=staged):
            return None
        objects = re.findall(r"<Object>(.*?)</Object>", body.decode(), re.DOTALL)
        errors = [o for o in objects if any(name in o for name in names)]
        if not errors:
            return None
        each = "".join(
            f"<Error>{re.sub('<ETag>.*?</ETag>', '', o)}<Code>{code}</Code><Message>m</Message></Error>" for o in errors
        )
        return 200, f"<DeleteResult>{each}</DeleteResult>"

    return decide


@pytest.mark.parametrize("code", ["InternalError", "SlowDown"])
def test_errors_of_single_keys_are_retried(plain: Bucket, proxy: Proxy, code: str) -> None:
    plain.put_all(*(f"p/{OLD}/{n}" for n in range(5)))
    store, job = _proxied(plain, proxy), work(plain.dataset())
    candidates = store.discover(job, NO_HOLDS)
    refuse = _refusing(code, "/0", "/1", "/2", "/3", "/4")
    left = [2]

    def twice(method: str, path: str, body: bytes) -> Any:
        if _is_delete(method, path, body) and left[0]:
            left[0] -= 1
            return refuse(method, path, body)
        return None

    proxy.fault = twice
    assert store.erase(job, candidates, range(1), Gate()) == Became(erased=5, bytes=5)
    assert plain.left("p/") == {}


def test_a_missing_permission_is_an_error_that_names_the_action(plain: Bucket, proxy: Proxy) -> None:
    plain.put_all(f"p/{OLD}/secret")
    store, job = _proxied(plain, proxy), work(plain.dataset())
    candidates = store.discover(job, NO_HOLDS)
    proxy.fault = _refusing("AccessDenied", "secret")
    with pytest.raises(StoreError, match=f"connection s3, bucket {plain.name}.*s3:DeleteObjectVersion") as caught:
        store.erase(job, candidates, range(1), Gate(lease_seconds=1.0))
    assert not caught.value.transient
    assert "secret" not in str(caught.value)
    proxy.fault = lambda *_: None
    assert store.erase(job, candidates, range(1), Gate(lease_seconds=1.0)) == Became(erased=1, bytes=1)


def test_an_overwrite_between_the_look_and_the_request_is_not_erased(plain: Bucket, proxy: Proxy) -> None:
    plain.put_all(f"p/{OLD}/a", f"p/{OLD}/b")
    store, job = _proxied(plain, proxy), work(plain.dataset())
    candidates = store.discover(job, NO_HOLDS)

    def overwrite(method: str, path: str, body: bytes) -> Any:
        if _is_delete(method, path, body):
            plain.put(f"p/{OLD}/a", b"other")

    proxy.fault = overwrite
    tally = store.erase(job, candidates, range(1), Gate())
    assert (tally.erased, tally.renewed) == (1, 1)
    assert plain.left("p/") == {f"p/{OLD}/a": 1}


def _looks(proxy: Proxy) -> tuple[int, int]:
    """How many listings of the newest versions of the dataset were asked for, and how many of all versions."""
    newest = [request for request in proxy.requests if "list-type=2" in request and "prefix=p" in request]
    return len(newest), len([request for request in proxy.requests if "?versions" in request])


def _change_two(bucket: Bucket) -> dict[str, Outcome]:
    """Have somebody else replace and delete an object, and say what has to become of all of `p/OLD/0` to `9`."""
    bucket.put(f"p/{OLD}/3", b"other")
    bucket.client.delete_object(Bucket=bucket.name, Key=f"p/{OLD}/5")
    erased = {f"p/{OLD}/{n}": Outcome.ERASED for n in range(10)}
    return {**erased, f"p/{OLD}/3": Outcome.RENEWED, f"p/{OLD}/5": Outcome.GONE}


def test_what_s3_itself_compares_is_not_looked_at_before(plain: Bucket, proxy: Proxy) -> None:
    plain.put_all(*(f"p/{OLD}/{n}" for n in range(10)), f"p/{NEW}/x")
    store, job = _proxied(plain, proxy, batch_size=4), work(plain.dataset())
    candidates = store.discover(job, NO_HOLDS)
    expected = _change_two(plain)
    proxy.requests.clear()
    tally = store.erase(job, candidates, range(candidates.batches), Gate())
    assert _looks(proxy) == (0, 0)
    assert tally == Became(erased=8, renewed=1, gone=1, bytes=8)
    assert outcomes(store, job, candidates) == expected
    assert plain.left("p/") == {f"p/{OLD}/3": 1, f"p/{NEW}/x": 1}


def _forgets_etags(proxy: Proxy, _bucket: Bucket, _monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes conditions and does not keep them: it says that what it was asked about is deleted."""
    proxy.fault = lambda *asked: (200, "<DeleteResult/>") if _is_delete(*asked, staged=True) else None


def _says_nothing_of_absent_keys(proxy: Proxy, _bucket: Bucket, _monkeypatch: pytest.MonkeyPatch) -> None:
    proxy.fault = _refusing("PreconditionFailed", "there", staged=True)


def _refuses_conditions(proxy: Proxy, _bucket: Bucket, _monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = 501, "<Error><Code>NotImplemented</Code><Message>m</Message></Error>"
    proxy.fault = lambda *asked: refusal if _is_delete(*asked, staged=True) else None


def _listed_long_ago(_proxy: Proxy, _bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LISTED_SECONDS", 0.5)


def _has_versioning(_proxy: Proxy, bucket: Bucket, _monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Suspended"})


@pytest.mark.parametrize(
    "why", [_forgets_etags, _says_nothing_of_absent_keys, _refuses_conditions, _listed_long_ago, _has_versioning]
)
def test_what_s3_does_not_compare_is_looked_at_by_the_cheapest_listing(
    why: Callable[[Proxy, Bucket, pytest.MonkeyPatch], None],
    plain: Bucket,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain.put_all(*(f"p/{OLD}/{n}" for n in range(10)), f"p/{NEW}/x")
    store, job = _proxied(plain, proxy, batch_size=4), work(plain.dataset())
    candidates = store.discover(job, NO_HOLDS)
    expected = _change_two(plain)
    why(proxy, plain, monkeypatch)
    proxy.requests.clear()
    store.erase(job, candidates, range(candidates.batches), Gate())
    assert _looks(proxy) == (candidates.batches, 2), "where something is not as it was: again, by all versions"
    assert outcomes(store, job, candidates) == expected


def test_what_is_not_judged_by_its_key_alone_is_looked_at(plain: Bucket, proxy: Proxy) -> None:
    plain.put_all(*(f"p/{n}" for n in range(6)))
    store = _proxied(plain, proxy, batch_size=3)
    job = far_future(plain.dataset(ObjectClock(last_modified=True)))
    candidates = store.discover(job, NO_HOLDS)
    proxy.requests.clear()
    assert store.erase(job, candidates, range(candidates.batches), Gate()).erased == 6
    assert _looks(proxy) == (candidates.batches, 0)


def test_what_somebody_else_replaced_or_deleted_is_not_counted_as_erased_though_its_batch_is_tried_again(
    plain: Bucket, proxy: Proxy
) -> None:
    """Its key is among those that were announced, but S3 said that it did not find what was meant."""
    plain.put_all(*(f"p/{OLD}/{n}" for n in range(10)))
    store, job = _proxied(plain, proxy), work(plain.dataset())
    candidates = store.discover(job, NO_HOLDS)
    expected = _change_two(plain)
    unlucky, left = f"p/{OLD}/9", [2]

    def throttle(method: str, path: str, body: bytes) -> Any:
        """Deletes all but one key, of which it says that it was asked too often."""
        if not _is_delete(method, path, body) or unlucky.encode() not in body or not left[0]:
            return None
        left[0] -= 1
        objects: Any = [
            {child.tag.rpartition("}")[2]: child.text or "" for child in one}
            for one in ElementTree.fromstring(body)  # noqa: S314 - written here
            if one.tag.endswith("Object")
        ]
        mine = [one for one in objects if one["Key"] != unlucky]
        answer: Any = plain.client.delete_objects(Bucket=plain.name, Delete={"Objects": mine}) if mine else {}
        errors = [(one["Key"], one["Code"]) for one in answer.get("Errors", ())]
        each = "".join(
            f"<Error><Key>{key}</Key><VersionId>null</VersionId><Code>{code}</Code></Error>"
            for key, code in [*errors, (unlucky, "SlowDown")]
        )
        return 200, f"<DeleteResult>{each}</DeleteResult>"

    proxy.fault = throttle
    assert store.erase(job, candidates, range(1), Gate()) == Became(erased=8, renewed=1, gone=1, bytes=8)
    assert left == [0]
    assert outcomes(store, job, candidates) == expected


def test_requests_are_as_large_as_the_store_is_quick() -> None:
    pace = deleting.Pace()
    for _ in range(9):
        pace.took(pace.size, 0.01)
    assert pace.size == deleting.MOST == 1000, "S3 takes no more"
    pace.took(100, 9.0)
    assert pace.size == 1000, "a request that was not as large as it may be tells nothing"
    pace.took(1000, (deleting.QUICK_SECONDS + deleting.SLOW_SECONDS) / 2)
    assert pace.size == 1000
    for _ in range(3):
        pace.took(1000, 9.0)
    assert pace.size == 500, "those that were begun before count once"
    for _ in range(9):
        pace.took(pace.size, 9.0)
    assert pace.size == deleting.LEAST


def test_no_request_is_begun_that_would_make_a_lease_long(
    plain: Bucket, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two that take 1.5 s each the second waits for the next lease, though this one has lasted less than 2 s."""
    monkeypatch.setattr(erasing, "SENDERS", 1)
    monkeypatch.setattr(worker, "LEASE_SECONDS", 2.0)
    monkeypatch.setattr(deleting, "SLOW_SECONDS", 0.5)
    plain.put_all(*(f"p/{OLD}/{n:03}" for n in range(2 * deleting.FIRST)))
    store, job = _proxied(plain, proxy), work(plain.dataset())
    candidates = store.discover(job, NO_HOLDS)
    proxy.fault = _times(2, _is_delete, 1.5)
    gate = Gate()
    assert store.erase(job, candidates, range(1), gate).erased == 2 * deleting.FIRST
    assert gate.leases >= 2
    assert gate.longest < 2.7


def test_a_key_that_came_to_lie_under_a_marker_is_renewed_and_not_gone(plain: Bucket) -> None:
    """A listing of newest versions does not show it, but its content is there."""
    plain.put_all(f"p/{OLD}/a", f"p/{OLD}/b")
    store, job = plain.store(), work(plain.dataset())
    candidates = store.discover(job, NO_HOLDS)
    plain.client.put_bucket_versioning(Bucket=plain.name, VersioningConfiguration={"Status": "Enabled"})
    plain.mark(f"p/{OLD}/a")
    tally = store.erase(job, candidates, range(1), Gate())
    assert (tally.erased, tally.renewed, tally.gone) == (1, 1, 0)
    assert plain.left("p/") == {f"p/{OLD}/a": 2}


def test_a_batch_that_a_lease_was_too_short_for_goes_on_in_the_next(
    plain: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain.put_all(*(f"p/{OLD}/{n:02}" for n in range(40)))
    store, job = plain.store(), work(plain.dataset())
    candidates = store.discover(job, NO_HOLDS)
    monkeypatch.setattr(worker, "LEASE_SECONDS", 0.0)
    monkeypatch.setattr(deleting, "FIRST", 10)
    monkeypatch.setattr(deleting, "MOST", 10)
    gate = Gate()
    assert store.erase(job, candidates, range(1), gate) == Became(erased=40, bytes=40)
    assert gate.leases == 4, "one request a lease, the first"
    assert plain.left("p/") == {}


_REPLICATION = """<ReplicationConfiguration><Role>r</Role>
<Rule><ID>1</ID><Status>Enabled</Status><Destination><Bucket>arn:aws:s3:::copy</Bucket></Destination></Rule>
<Rule><ID>2</ID><Status>Disabled</Status><Destination><Bucket>arn:aws:s3:::old</Bucket></Destination></Rule>
</ReplicationConfiguration>"""
_DENIED = 403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>"


def test_what_erasing_in_a_bucket_does_not_reach_is_named(plain: Bucket, proxy: Proxy) -> None:
    for key in ("p/a", "p/b", "q/c"):
        upload = plain.client.create_multipart_upload(Bucket=plain.name, Key=key)["UploadId"]
        plain.client.upload_part(Bucket=plain.name, Key=key, UploadId=upload, PartNumber=1, Body=b"x")
    store = _proxied(plain, proxy)
    proxy.fault = lambda _method, path, _body: (200, _REPLICATION) if "replication" in path else None
    remain = [remainder.what for remainder in store.remainders(far_future(plain.dataset()))]
    assert remain == [
        "replicas in arn:aws:s3:::copy: S3 does not replicate the deletion of versions",
        "parts of 2 uploads that were begun before the cutoff and never completed: abort them, and give the bucket a "
        "lifecycle rule that does (AbortIncompleteMultipartUpload)",
    ]
    assert len(store.remainders(work(plain.dataset()))) == 1, "uploads that are younger than the cutoff may go on"


def test_what_the_connection_may_not_see_of_remainders_is_said(plain: Bucket, proxy: Proxy) -> None:
    store = _proxied(plain, proxy)
    proxy.fault = lambda _method, path, _body: _DENIED if "replication" in path or "uploads" in path else None
    remain = [remainder.what for remainder in store.remainders(work(plain.dataset()))]
    assert [re.findall("s3:[A-Za-z]+", what) for what in remain] == [
        ["s3:GetReplicationConfiguration"],
        ["s3:ListBucketMultipartUploads"],
    ]
    proxy.fault = lambda _method, path, _body: SLOW_DOWN if "uploads" in path else None
    with pytest.raises(StoreUnavailable, match="list unfinished uploads"):
        store.remainders(work(plain.dataset()))


def test_the_body_of_a_deletion_keeps_every_character() -> None:
    given = [{"Key": f"p/{name}", "VersionId": "null", "ETag": '"x"'} for name in AWKWARD]
    root = ElementTree.fromstring(delete_body(given, quiet=True))  # noqa: S314 - written here
    spaced = "{http://s3.amazonaws.com/doc/2006-03-01/}"
    assert root.findtext(f"{spaced}Quiet") == "true"
    assert [
        {field.tag.removeprefix(spaced): field.text for field in one} for one in root.findall(f"{spaced}Object")
    ] == given


@pytest.mark.parametrize("fault", [SLOW_DOWN, "cut", (200, "<ListVersionsResult><Version>")])
def test_a_listing_that_breaks_off_is_an_error_and_stages_nothing(
    plain: Bucket, proxy: Proxy, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lethe.stores.buckets.client.ATTEMPTS", 2)
    plain.put_all(f"p/{OLD}/a")
    store, job = _proxied(plain, proxy), work(plain.dataset())
    proxy.fault = _times(10_000, lambda *asked: _is_listing(*asked) and "prefix=p" in asked[1], fault)
    with pytest.raises(StoreUnavailable, match=f"connection s3, bucket {plain.name}"):
        store.discover(job, NO_HOLDS)
    proxy.fault = lambda *_: None
    assert plain.left("_lethe/") == {}


# --- refuse first, and leave nothing ------------------------------------------------------------------------------


def test_clean_removes_every_version_of_what_was_staged_and_nothing_else(versioned: Bucket) -> None:
    versioned.put_all(f"p/{OLD}/a", f"p/{NEW}/b")
    store, job = versioned.store(lethe_scratch_bucket=versioned.name), work(versioned.dataset())
    other = replace(job, run="run-10")
    store.discover(job, NO_HOLDS)
    store.discover(other, NO_HOLDS)
    run(store, job)
    assert {("run-1", "objects"), ("run-10", "objects")} <= set(store.staged_runs(job.dataset))
    store.clean("run-1", job.dataset)
    store.clean("run-1", job.dataset)
    assert ("run-1", "objects") not in store.staged_runs(job.dataset)
    assert set(versioned.left()) == {f"p/{NEW}/b", *versioned.left("_lethe/run-10/objects/")}
    store.clean("run-10", job.dataset)
    assert versioned.left() == {f"p/{NEW}/b": 1}


def test_staging_can_go_to_a_bucket_and_prefix_of_its_own(plain: Bucket, versioned: Bucket) -> None:
    plain.put_all(f"p/{OLD}/a")
    store = plain.store(lethe_scratch_bucket=versioned.name, lethe_scratch_prefix="tmp/lethe")
    job = work(plain.dataset())
    run(store, job)
    assert plain.left() == {}
    assert all(key.startswith("tmp/lethe/run-1/objects/") for key in versioned.left())
    assert store.staged_runs(job.dataset) == [("run-1", "objects")]
    store.clean("run-1", job.dataset)
    assert versioned.left() == {}


def test_check_finds_what_keeps_a_dataset_from_being_worked_on(plain: Bucket, locking: Bucket) -> None:
    plain.put("p/a", Tagging="a=b")
    store = plain.store()
    assert store.check(plain.dataset()) == []
    assert store.check(plain.dataset(ObjectClock(tag="a"), phone=ObjectAttribute(metadata="m"))) == []
    assert [problem.field for problem in store.check(plain.dataset(prefix="p"))] == ["prefix"]
    assert [problem.field for problem in store.check(plain.dataset(prefix="_lethe/x/"))] == ["prefix"]
    missing = plain.dataset().model_copy(update={"bucket": "no-such-bucket"})
    assert "there is no such bucket" in store.check(missing)[0].message
    retention: Any = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
    locking.client.put_object_lock_configuration(Bucket=locking.name, ObjectLockConfiguration=retention)
    assert "lethe_scratch_bucket" in locking.store().check(locking.dataset())[0].message


@pytest.mark.parametrize(
    ("refused", "named"),
    [
        (lambda m, path, _: m == "PUT" and "/_lethe/" in path, "write staging"),
        (lambda m, path, _: m == "DELETE" and "versionId=null" in path, "s3:DeleteObjectVersion"),
    ],
    ids=["staging", "deleting"],
)
def test_check_tries_the_rights_and_leaves_nothing_behind(
    versioned: Bucket, proxy: Proxy, refused: Callable[[str, str, bytes], bool], named: str
) -> None:
    """Promise 10: a missing right is said before anything is touched."""
    versioned.put("p/a")
    store = _proxied(versioned, proxy)
    assert store.check(versioned.dataset()) == []
    assert versioned.left() == {"p/a": 1}
    proxy.fault = lambda *request: (403, "<Error><Code>AccessDenied</Code></Error>") if refused(*request) else None
    (problem,) = store.check(versioned.dataset())
    assert f"bucket {versioned.name}" in problem.message
    assert named in problem.message


def test_objects_of_a_table_of_a_table_format_are_not_erased_one_by_one(versioned: Bucket) -> None:
    versioned.put(f"p/{OLD}/part-0.parquet")
    versioned.put("p/_delta_log/00000000000000000000.json")
    (problem,) = versioned.store().check(versioned.dataset())
    assert "Delta Lake" in problem.message
    with pytest.raises(StoreError, match="Delta Lake"):
        versioned.store().discover(work(versioned.dataset()), NO_HOLDS)
    versioned.client.delete_object(Bucket=versioned.name, Key="p/_delta_log/00000000000000000000.json")
    versioned.put("p/_metadata")
    assert versioned.store().check(versioned.dataset()) == []


def test_a_bucket_that_is_missing_keys_that_are_wrong_and_a_server_that_is_down(plain: Bucket) -> None:
    job = work(plain.dataset())
    gone = work(plain.dataset().model_copy(update={"bucket": "no-such-bucket"}))
    with pytest.raises(StoreError, match="connection s3, bucket no-such-bucket: there is no such bucket"):
        plain.store().discover(gone, NO_HOLDS)
    wrong = replace(plain.server.connection("s3"), password="wrong")
    with pytest.raises(StoreError, match="does not accept the connection's credentials") as caught:
        S3ObjectStore(wrong).discover(job, NO_HOLDS)
    assert not caught.value.transient
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        down = plain.store(endpoint_url=f"http://127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
            down.discover(job, NO_HOLDS)
    assert caught.value.transient
    with pytest.raises(ConnectionMissing, match="type 'postgres'"):
        S3ObjectStore(Connection("s3", "postgres"))


def test_a_bucket_is_one_place_whatever_connection_leads_there(plain: Bucket, versioned: Bucket) -> None:
    """Promise 1: two policies on the same keys would be found, and no others."""
    store, other = plain.store(), S3ObjectStore(plain.server.connection("another"))
    place = store.place(plain.dataset(prefix="p/"))
    assert place.meets(other.place(plain.dataset(prefix="p/q/")))
    assert place.meets(other.place(plain.dataset(prefix="")))
    assert not place.meets(other.place(plain.dataset(prefix="pq/")))
    assert not place.meets(other.place(versioned.dataset(prefix="p/")))


def test_the_store_is_registered_and_describes_its_datasets(plain: Bucket) -> None:
    store = open_store("objects", plain.server.connection("s3"))
    described = store.describe(plain.dataset())
    assert (described.namespace, described.name) == (f"s3://{plain.name}", "p/")
    store.settle([], 0.1)
    assert store.remainders(work(plain.dataset())) == ()
    store.close()
    store.close()


def test_progress_tells_of_every_record(plain: Bucket) -> None:
    plain.put_all(*(f"p/{OLD}/{n}" for n in range(5)), f"p/{NEW}/x")
    store, job = plain.store(batch_size=2), work(plain.dataset())
    seen: list[int] = []
    candidates = store.discover(job, NO_HOLDS, seen.append)
    assert sum(seen) == 6
    seen.clear()
    store.erase(job, candidates, range(candidates.batches), Gate(), seen.append)
    assert sum(seen) == 5
