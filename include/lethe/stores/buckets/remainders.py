"""What erasing in a bucket does not reach: replicas, and uploads that were never completed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from lethe.policy import Expiry
from lethe.stores.base import Remainder
from lethe.stores.buckets.client import S3Access
from lethe.stores.buckets.errors import NOT_ALLOWED, code_of, named

_NO_REPLICATION = frozenset({"ReplicationConfigurationNotFoundError", "NotImplemented", "501"})
_NO_UPLOADS = frozenset({"NotImplemented", "501"})


def remainders(access: S3Access, bucket: str, prefix: str, expiry: Expiry) -> tuple[Remainder, ...]:
    """What of a dataset may physically remain in S3. What the connection may not read is said to be unknown.

    Raises:
        StoreUnavailable, StoreError: if S3 cannot be asked.
    """
    return (*_replicas(access, bucket), *_uploads(access, bucket, prefix, expiry))


def _replicas(access: S3Access, bucket: str) -> Iterator[Remainder]:
    """Buckets that S3 copies objects to, but not the deletion of their versions.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/replication-what-is-isnot-replicated.html
    """
    with named(access.place(bucket, "read its replication (s3:GetReplicationConfiguration)")):
        try:
            answer: Any = access.client.get_bucket_replication(Bucket=bucket)
        except ClientError as error:
            if code_of(error) in NOT_ALLOWED:
                yield Remainder(
                    what="replicas, if the bucket is replicated: the connection's user may not read that "
                    "(s3:GetReplicationConfiguration)"
                )
            elif code_of(error) not in _NO_REPLICATION:
                raise
            return
    rules = answer.get("ReplicationConfiguration", {}).get("Rules", ())
    for target in sorted({rule["Destination"]["Bucket"] for rule in rules if rule.get("Status") == "Enabled"}):
        yield Remainder(what=f"replicas in {target}: S3 does not replicate the deletion of versions")


def _uploads(access: S3Access, bucket: str, prefix: str, expiry: Expiry) -> Iterator[Remainder]:
    """Parts of uploads that were begun and never completed. No listing of objects shows them."""
    before = _oldest_cutoff(expiry)
    if before is None:
        return
    number = 0
    with named(access.place(bucket, "list unfinished uploads (s3:ListBucketMultipartUploads)")):
        try:
            for page in access.client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
                number += sum(upload["Initiated"] < before for upload in page.get("Uploads", ()))
        except ClientError as error:
            if code_of(error) in NOT_ALLOWED:
                yield Remainder(
                    what="parts of uploads that were never completed, if there are any: the connection's user may "
                    "not list them (s3:ListBucketMultipartUploads)"
                )
            elif code_of(error) not in _NO_UPLOADS:
                raise
    if number:
        yield Remainder(
            what=f"parts of {number} uploads that were begun before the cutoff and never completed: abort them, and "
            "give the bucket a lifecycle rule that does (AbortIncompleteMultipartUpload)"
        )


def _oldest_cutoff(expiry: Expiry) -> datetime | None:
    cutoffs = [expiry.default, *expiry.by_value.values()]
    return min((cutoff.instant for cutoff in cutoffs if cutoff is not None), default=None)
