"""Where anchors of the ledger are kept: a file, or a bucket, best one under Object Lock.

An anchor is worth what keeps it: a place that those who can write to the governance database cannot write to.
Certificates name the ledger's head too, and are read in the same way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypedDict

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lethe.connections import Connection
from lethe.errors import EvidenceError, ParameterError
from lethe.evidence import certificate as certificates
from lethe.evidence.ledger import Anchor, Head, read_anchors
from lethe.evidence.signed import MOST_BYTES, read_file, read_json

if TYPE_CHECKING:
    from lethe.stores.buckets.client import S3Access

Connect = Callable[[str], Connection]


@dataclass(frozen=True, slots=True)
class Bucket:
    """A place in a bucket, written ``s3://bucket/prefix``."""

    name: str
    prefix: str

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read such a place; None if it is not written as one."""
        scheme, found, rest = text.partition("://")
        if not found:
            return None
        name, _, prefix = rest.partition("/")
        if scheme != "s3" or not name:
            raise ParameterError(
                f"{text!r} is neither a file nor a place in a bucket: write one such as s3://bucket/prefix"
            )
        return cls(name, prefix.rstrip("/") + "/" if prefix.rstrip("/") else "")


def keep(
    anchor: Anchor, place: str, connect: Connect, *, conn_id: str | None = None, locked_until: datetime | None = None
) -> str:
    """Keep an anchor at a place; say where it is. The same head again is kept once in a bucket.

    Args:
        anchor: from `Ledger.anchor`.
        place: a file, to which a line is added, or ``s3://bucket/prefix``.
        connect: finds connections.
        conn_id: the connection of the bucket.
        locked_until: until when the object shall be immutable (Object Lock, compliance mode); else as the bucket says.

    Raises:
        ParameterError: if the place needs a connection, or cannot lock.
        EvidenceError: if the file cannot be written.
        StoreError, StoreUnavailable: if the bucket cannot be.
    """
    bucket = Bucket.parse(place)
    if bucket is not None:
        return _put(_access(bucket, connect, conn_id), bucket, anchor, locked_until)
    if locked_until is not None:
        raise ParameterError("only an object in a bucket can be locked; give s3://bucket/prefix")
    try:
        with Path(place).open("ab") as file:
            file.write(anchor.line())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise EvidenceError(f"{place}: cannot be written ({error.strerror}): name another file") from None
    return place


def vouched_heads(
    place: str, connect: Connect, trusted: Sequence[Ed25519PublicKey], *, conn_id: str | None = None
) -> list[Head]:
    """The heads of the ledger that the anchors or the certificate at a place vouch for.

    Raises:
        EvidenceError: if there is none, or one was changed or is signed by another key.
        ParameterError: if the place needs a connection.
        StoreError, StoreUnavailable: if the bucket cannot be read.
    """
    bucket = Bucket.parse(place)
    if bucket is None:
        return read_heads(read_file(Path(place)), trusted, what=place)
    access = _access(bucket, connect, conn_id)
    heads = [head for what, data in _objects(access, bucket) for head in read_heads(data, trusted, what=what)]
    if not heads:
        raise EvidenceError(f"{place}: there is no anchor: make one with `lethe ledger anchor {place}`")
    return heads


def read_heads(data: bytes, trusted: Sequence[Ed25519PublicKey], *, what: str) -> list[Head]:
    """The heads in a certificate, or in a file of one anchor a line.

    Raises:
        EvidenceError: if it is neither, or a signature does not hold.
    """
    if _is_certificate(data):
        return [certificates.verify(data, trusted, what=what).certificate.ledger]
    anchors = read_anchors(data, what=what)
    for anchor in anchors:
        anchor.signature.require(anchor.content(), trusted, what=f"{what}, anchor of entry {anchor.seq}")
    return [anchor.head for anchor in anchors]


def _is_certificate(data: bytes) -> bool:
    try:
        return "certificate" in read_json(data, what="")
    except EvidenceError:
        return False


def _access(bucket: Bucket, connect: Connect, conn_id: str | None) -> S3Access:
    from lethe.stores.buckets.client import S3Access

    if conn_id is None:
        raise ParameterError(f"bucket {bucket.name} needs a connection: name it with --connection, such as lethe_lake")
    return S3Access.open(connect(conn_id))


class _Lock(TypedDict, total=False):
    ObjectLockMode: Literal["COMPLIANCE"]
    ObjectLockRetainUntilDate: datetime


def _put(access: S3Access, bucket: Bucket, anchor: Anchor, locked_until: datetime | None) -> str:
    from botocore.exceptions import ClientError

    from lethe.stores.buckets.errors import PRECONDITION, code_of, named

    key = f"{bucket.prefix}lethe-anchor-{anchor.seq:012d}-{anchor.hash[:16]}.json"
    lock: _Lock = {}
    if locked_until is not None:
        lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": locked_until}
    with named(access.place(bucket.name, "keep an anchor")):
        try:
            access.client.put_object(Bucket=bucket.name, Key=key, Body=anchor.line(), IfNoneMatch="*", **lock)
        except ClientError as error:
            if code_of(error) not in PRECONDITION:  # else the head is anchored already
                raise
    access.close()
    return f"s3://{bucket.name}/{key}"


def _objects(access: S3Access, bucket: Bucket) -> Iterator[tuple[str, bytes]]:
    from lethe.stores.buckets.errors import named

    with named(access.place(bucket.name, "read anchors")):
        pages = access.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name, Prefix=bucket.prefix)
        for page in pages:
            for item in page.get("Contents", []):
                if item["Key"].endswith(".json"):
                    answer = access.client.get_object(Bucket=bucket.name, Key=item["Key"])
                    yield f"s3://{bucket.name}/{item['Key']}", answer["Body"].read(MOST_BYTES + 1)
    access.close()
