"""What a bucket, and what the connection's user may do there, must be like for its records to be erased.

Asked by `Store.check` of all stores in buckets, before anything is touched. Rights are tried with requests that change
nothing: a deletion of a key that nobody has, an upload that is aborted at once. What is written is one object of
staging, which is removed again.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from lethe.errors import NotAdmitted, StoreError, StoreUnavailable
from lethe.policy import BucketDataset, ObjectDataset
from lethe.stores.base import Problem
from lethe.stores.buckets.client import S3Access
from lethe.stores.buckets.errors import ABSENT, code_of, named
from lethe.stores.buckets.listing import UNVERSIONED, Listing
from lethe.stores.buckets.staging import BucketStaging
from lethe.stores.buckets.table_formats import tables_around

_NO_LOCKS = frozenset({"ObjectLockConfigurationNotFoundError", "NotImplemented", "404", "MethodNotAllowed"})


def problems(access: S3Access, listing: Listing, dataset: BucketDataset) -> list[Problem]:
    """What keeps a dataset's prefix from being worked on. With what cannot be read at all the list ends.

    Raises:
        StoreUnavailable, NotAdmitted: if the store cannot be asked.
    """
    found = [*_scratch(access, dataset)]
    for field, ask in (("bucket", _listing), ("bucket", _bucket), ("prefix", _tables)):
        try:
            found.extend(ask(access, listing, dataset))
        except (StoreUnavailable, NotAdmitted):
            raise
        except StoreError as error:
            return [*found, Problem(field=field, message=str(error))]
    if not found:
        found.extend(_rights(access, dataset))
    return found


def _scratch(access: S3Access, dataset: BucketDataset) -> Iterator[Problem]:
    if dataset.prefix.startswith(access.scratch_prefix):
        yield Problem(
            field="prefix",
            message=f"{dataset.location} is inside {access.scratch_prefix}, where runs are staged: name another "
            f"prefix, or set lethe_scratch_prefix in the extra of connection {access.conn_id}",
        )


def _listing(_access: S3Access, listing: Listing, dataset: BucketDataset) -> Iterator[Problem]:
    prefix = dataset.prefix
    listing.page(prefix)
    if prefix and not prefix.endswith("/") and listing.page(prefix + "/").versions:
        yield Problem(
            field="prefix",
            message=f"{dataset.location} also covers every other key that starts so: end it with a slash",
        )


def _bucket(access: S3Access, _listing: Listing, dataset: BucketDataset) -> Iterator[Problem]:
    with named(access.place(dataset.bucket, "read the bucket's versioning (s3:GetBucketVersioning)")):
        versioning = access.client.get_bucket_versioning(Bucket=dataset.bucket)
    if versioning.get("MFADelete") == "Enabled":
        yield Problem(
            field="bucket",
            message=f"{dataset.bucket} has MFA delete enabled: no machine can delete versions from it",
        )
    lock = lock_configuration(access, dataset.bucket)
    if lock and lock.get("Rule") and access.scratch_bucket is None:
        yield Problem(
            field="bucket",
            message=f"{dataset.bucket} has a default retention, which would keep what is staged: set "
            f"lethe_scratch_bucket in the extra of connection {access.conn_id}",
        )


def _tables(access: S3Access, _listing: Listing, dataset: BucketDataset) -> Iterator[Problem]:
    place = access.place(dataset.bucket, "list objects (s3:ListBucket)")
    for table in tables_around(access.client, dataset, place):
        yield Problem(field="prefix", message=table)


def _rights(access: S3Access, dataset: BucketDataset) -> Iterator[Problem]:
    """The rights to stage, to delete and, for rows in files, to write, as far as they can be tried."""
    tried = f"lethe-check-{secrets.token_hex(8)}"
    attempts = [("store", _stage), ("bucket", _delete)]
    if not isinstance(dataset, ObjectDataset):
        attempts.append(("bucket", _write))
    for field, attempt in attempts:
        try:
            attempt(access, dataset, tried)
        except StoreUnavailable:
            raise
        except StoreError as error:
            yield Problem(field=field, message=str(error))


def _stage(access: S3Access, dataset: BucketDataset, tried: str) -> None:
    """Write, read and remove an object where a run would stage."""
    area = BucketStaging.of(access, dataset.bucket, tried, dataset.name)
    try:
        area.put("check", b"")
        area.get("check")
    finally:
        area.clear()


def _delete(access: S3Access, dataset: BucketDataset, tried: str) -> None:
    """Delete a version that does not exist, of a key that nobody has: S3 looks at the rights first."""
    place = access.place(dataset.bucket, "delete objects and their versions (s3:DeleteObject, s3:DeleteObjectVersion)")
    with named(place):
        try:
            access.client.delete_object(Bucket=dataset.bucket, Key=dataset.prefix + tried, VersionId=UNVERSIONED)
        except ClientError as error:
            if code_of(error) not in ABSENT:
                raise


def _write(access: S3Access, dataset: BucketDataset, tried: str) -> None:
    """Begin an upload and abort it: no object comes of it."""
    with named(access.place(dataset.bucket, "write objects (s3:PutObject, s3:AbortMultipartUpload)")):
        key = dataset.prefix + tried
        upload = access.client.create_multipart_upload(Bucket=dataset.bucket, Key=key)["UploadId"]
        access.client.abort_multipart_upload(Bucket=dataset.bucket, Key=key, UploadId=upload)


def lock_configuration(access: S3Access, bucket: str) -> Any | None:  # noqa: ANN401 - boto3's answer
    """The bucket's Object Lock configuration; None where it has no Object Lock.

    Raises:
        StoreUnavailable, StoreError: if it cannot be read.
    """
    with named(access.place(bucket, "read its Object Lock (s3:GetBucketObjectLockConfiguration)")):
        try:
            answer = access.client.get_object_lock_configuration(Bucket=bucket)
        except ClientError as error:
            if code_of(error) in _NO_LOCKS:
                return None
            raise
    lock = answer.get("ObjectLockConfiguration", {})
    return lock if lock.get("ObjectLockEnabled") == "Enabled" else None
