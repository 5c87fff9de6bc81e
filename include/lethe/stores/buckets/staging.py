"""What a run stages in a bucket: small objects under ``<scratch prefix><run>/<dataset>/``.

Object names below that are the store's own business (manifests, intents, outcomes). They may hold personal data,
as the bucket does anyway, and `BucketStaging.clear` removes every version of every one of them.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from lethe.errors import StoreError, StoreUnavailable
from lethe.stores.buckets.client import S3Access
from lethe.stores.buckets.errors import ABSENT, NO_BUCKET, PRECONDITION, code_of, named

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

UPLOADS = "uploads/"
"""Below the scratch prefix: the uploads that all runs have noted (`buckets.uploads`); no run has that name."""
_CONFLICT_SECONDS = 0.05
_DELETE_AT_ONCE = 1000
_SWEEPS = 4
"""How often what is to be removed is listed; the last time, nothing should be left."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A staged object as read: content, ETag for a conditional change, and times by the server's clock.

    Attributes:
        body: the content.
        etag: as S3 wrote it, with quotes.
        written: when it was written (the server's clock, whole seconds).
        read: when it was read (the server's clock, whole seconds).
    """

    body: bytes
    etag: str
    written: datetime
    read: datetime


@dataclass(frozen=True)
class BucketStaging:
    """What one run staged for one dataset. Object names are relative, such as ``manifest/0``.

    All methods raise `StoreUnavailable` or `StoreError`.
    """

    access: S3Access
    bucket: str
    run: str
    dataset: str
    client: S3Client | None = None
    """What requests are sent by; the connection's own client where left out."""
    area: str = ""
    """Which of the run's areas (`buckets.areas`); all of them where left out."""

    @classmethod
    def of(cls, access: S3Access, bucket: str, run: str, dataset: str) -> BucketStaging:
        """Staging for a dataset in `bucket`: in it, or in the connection's `lethe_scratch_bucket`."""
        return cls(access, access.scratch_bucket or bucket, run, dataset)

    @property
    def prefix(self) -> str:
        """The key prefix of everything staged here."""
        return f"{self.access.scratch_prefix}{self.run}/{self.dataset}/{self.area and f'{self.area}/'}"

    def reference(self, digest: str) -> str:
        """What names it, and what is staged there, in `Candidates.reference`."""
        return f"s3://{self.bucket}/{self.prefix}#{digest}"

    @property
    def _client(self) -> S3Client:
        return self.client or self.access.client

    def put(self, name: str, body: bytes) -> None:
        """Write an object, replacing one that is there."""
        with named(self.access.place(self.bucket, "write staging")):
            self._client.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=body)

    def create(self, name: str, body: bytes) -> str | None:
        """Write an object unless it is there (``If-None-Match: *``): its ETag, or None where it is there.

        The very same content counts as written: it may be by a request of this process whose answer got lost.
        """
        return self._conditional(name, body, {"IfNoneMatch": "*"})

    def replace(self, name: str, body: bytes, etag: str) -> str | None:
        """Replace an object that still is what its ETag says (``If-Match``): the new one, or None where it is not.

        As for `create`, the very same content counts as written.
        """
        return self._conditional(name, body, {"IfMatch": etag})

    def _conditional(self, name: str, body: bytes, condition: Any) -> str | None:  # noqa: ANN401 - boto3's options
        for attempt in range(8):
            with named(self.access.place(self.bucket, "write staging")):
                try:
                    return self._client.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=body, **condition)[
                        "ETag"
                    ]
                except ClientError as error:
                    # Two conditional writes at a time: S3 answers 409 to one of them, which has to ask again.
                    if code_of(error) in PRECONDITION | ABSENT:
                        break
                    if code_of(error) != "ConditionalRequestConflict":
                        raise
            time.sleep(_CONFLICT_SECONDS * 2**attempt)
        else:
            raise StoreUnavailable(f"{self.access.place(self.bucket, '')}: conflicting writes of staging do not end")
        stored = self.read(name)
        return stored.etag if stored is not None and stored.body == body else None

    def get(self, name: str) -> bytes | None:
        """The content of an object, or None where there is none."""
        stored = self.read(name)
        return None if stored is None else stored.body

    def read(self, name: str) -> Stored | None:
        """An object with what is needed to change it conditionally, or None where there is none."""
        with named(self.access.place(self.bucket, "read staging")):
            try:
                answer = self._client.get_object(Bucket=self.bucket, Key=self.prefix + name)
                headers = answer["ResponseMetadata"]["HTTPHeaders"]
                return Stored(answer["Body"].read(), answer["ETag"], answer["LastModified"], _date(headers, answer))
            except ClientError as error:
                if code_of(error) in ABSENT:
                    return None
                raise

    def names(self, folder: str = "") -> Iterator[str]:
        """Names of the objects in a folder (ending with a slash), relative to the staging."""
        with named(self.access.place(self.bucket, "list staging")):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + folder
            )
            for page in pages:
                for entry in page.get("Contents", ()):
                    yield entry["Key"].removeprefix(self.prefix)

    def remove(self, name: str) -> None:
        """Remove an object; where the bucket has versions, old ones stay until `clear`. Again is harmless."""
        with named(self.access.place(self.bucket, "remove staging")):
            self._client.delete_object(Bucket=self.bucket, Key=self.prefix + name)

    def clear(self) -> None:
        """Remove everything staged here, all versions and delete markers. Again is harmless."""
        remove_all(self.access, self.bucket, self.prefix)


def _date(headers: dict[str, str], answer: Any) -> datetime:  # noqa: ANN401 - boto3's GetObjectOutput
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError):
        modified: datetime = answer["LastModified"]
        return modified


def pack(rows: Iterable[object]) -> bytes:
    """Rows as gzip-compressed JSON lines, the same bytes for the same rows."""
    text = "\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":"), sort_keys=True) for row in rows)
    return gzip.compress(text.encode("utf-8", "surrogatepass"), compresslevel=1, mtime=0)


def unpack(body: bytes) -> list[Any]:
    """What `pack` packed.

    Raises:
        ValueError: if it is not that.
    """
    try:
        text = gzip.decompress(body).decode("utf-8", "surrogatepass")
        return json.loads(f"[{text.replace(chr(10), ',')}]") if text else []
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"not gzip-compressed JSON lines ({type(error).__name__})") from None


def staged_runs(access: S3Access, bucket: str) -> list[tuple[str, str]]:
    """(run, dataset name) of everything that is staged for datasets in `bucket`, by whichever kind of store.

    Raises:
        StoreUnavailable, StoreError: if the bucket that staging goes to cannot be listed.
    """
    bucket = access.scratch_bucket or bucket
    found: set[tuple[str, str]] = set()
    for run in _folders(access, bucket, access.scratch_prefix):
        if f"{run}/" == UPLOADS:
            continue
        for name in _folders(access, bucket, f"{access.scratch_prefix}{run}/"):
            # SeaweedFS also lists folders of which nothing is left.
            if next(_entries(access, bucket, f"{access.scratch_prefix}{run}/{name}/"), None) is not None:
                found.add((run, name))
    return sorted(found)


def _folders(access: S3Access, bucket: str, prefix: str) -> list[str]:
    """Names one level below a prefix, also those of which only old versions are left."""
    pages = access.client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
    with named(access.place(bucket, "list staging")):
        found = [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", ())]
    return [folder.removeprefix(prefix).rstrip("/") for folder in found]


class BucketGone(StoreError):
    """A bucket is not there (any more)."""


def names_in(access: S3Access, bucket: str, folder: str) -> Iterator[str]:
    """Names of what all runs have staged in a folder, relative to it.

    Raises:
        Gone: if the bucket is not there.
        StoreUnavailable, StoreError.
    """
    prefix = access.scratch_prefix + folder
    pages = access.bounded.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    with named(access.place(bucket, "list staging")):
        try:
            for page in pages:
                for entry in page.get("Contents", ()):
                    yield entry["Key"].removeprefix(prefix)
        except ClientError as error:
            if not access.scratch_bucket and code_of(error) in NO_BUCKET:
                raise BucketGone(f"{access.place(bucket, '')}: there is no such bucket") from None
            raise


def remove_all(access: S3Access, bucket: str, prefix: str) -> None:
    """Delete all versions and delete markers under a prefix. For staging and tests, never for records.

    Raises:
        StoreUnavailable, StoreError: if anything could not be removed; what could be is.
    """
    place = access.place(bucket, "remove staging")

    def delete(objects: list[dict[str, str]]) -> int:
        with named(place):
            answer = access.client.delete_objects(
                Bucket=bucket,
                Delete={"Objects": objects, "Quiet": True},  # type: ignore[typeddict-item]
            )
        return len(answer.get("Errors", ()))

    with ThreadPoolExecutor(4, thread_name_prefix="lethe-clear") as pool:
        for _ in range(_SWEEPS):
            entries = _entries(access, bucket, prefix)
            failed = removed = 0
            while waves := [list(wave) for _ in range(4) if (wave := list(islice(entries, _DELETE_AT_ONCE)))]:
                failed += sum(pool.map(delete, waves))
                removed += sum(map(len, waves))
            if not removed:
                return
    if failed:
        raise StoreError(
            f"{place}: {failed} staged object versions could not be removed: "
            "if the bucket has a default retention, set lethe_scratch_bucket in the connection's extra"
        )


def _entries(access: S3Access, bucket: str, prefix: str) -> Iterator[dict[str, str]]:
    pages = access.client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix)
    with named(access.place(bucket, "list staging")):
        for page in pages:
            for kind in ("Versions", "DeleteMarkers"):
                for entry in page.get(kind, ()):  # type: ignore[attr-defined]
                    yield {"Key": entry["Key"], "VersionId": entry["VersionId"]}
