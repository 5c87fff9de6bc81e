"""Whether S3 itself compares what it deletes with what was discovered, so that no look is needed before.

Where there are no version ids, a delete carries the ETag that was listed. AWS compares it with what is there in the
instant of deleting, refuses another content (``PreconditionFailed``), and says if nothing is there (``NoSuchKey``; see
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html). Other servers may ignore the ETag and
delete whatever is there, so each erasure asks first, on objects of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from lethe.stores.buckets.client import S3Access
from lethe.stores.buckets.errors import ABSENT, PRECONDITION, named
from lethe.stores.buckets.listing import UNVERSIONED
from lethe.stores.buckets.staging import BucketStaging

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_FOLDER = "condition/"
_OTHER = '"00000000000000000000000000000000"'
"""An ETag that nothing has."""


def are_kept(access: S3Access, bucket: str, staging: BucketStaging) -> bool:
    """Whether deletes from `bucket`, which never had versioning, are compared with what is there.

    Raises:
        StoreUnavailable, StoreError: if it cannot be asked.
    """
    with named(access.place(bucket, "read the bucket's versioning (s3:GetBucketVersioning)")):
        versioning: Mapping[str, object] = access.client.get_bucket_versioning(Bucket=bucket)
    if "Status" in versioning:
        return False
    staging.put(_FOLDER + "there", b"another content")
    return _refuses(access.client, staging)


def _refuses(client: S3Client, staging: BucketStaging) -> bool:
    there, missing = (staging.prefix + _FOLDER + name for name in ("there", "missing"))
    objects: Any = [{"Key": key, "VersionId": UNVERSIONED, "ETag": _OTHER} for key in (there, missing)]
    try:
        answer = client.delete_objects(Bucket=staging.bucket, Delete={"Objects": objects, "Quiet": True})
    except (ClientError, BotoCoreError):
        return False  # it does not say so; why it refuses is said when it is asked to delete what has expired
    codes = {error.get("Key"): error.get("Code") for error in answer.get("Errors", ())}
    return codes.get(there) in PRECONDITION and codes.get(missing) in ABSENT
