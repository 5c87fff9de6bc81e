"""What lies in a bucket below no dataset's prefix, and what a sample of it looks like."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from lethe.judging.recognising import ColumnSeen, forms_of, is_header, named_for_somebody
from lethe.stores.base import TableSeen
from lethe.stores.buckets.client import S3Access
from lethe.stores.buckets.errors import translate

_DEEPEST = 4
_PAGES = 100
"""Pages of a thousand keys that are read of one folder at most."""
_BYTES = 4_000_000
"""Of a text file, what is read; a Parquet file of at most so much is read whole."""
_VARIES = re.compile(r"[=@0-9%]")
"""In the name of a folder: one of many alike, and perhaps somebody's."""


def overview(access: S3Access, bucket: str, datasets: Sequence[str], sample: int) -> tuple[TableSeen, ...]:
    """A table for each folder with files below no prefix of `datasets`: what its first file's rows look like.

    Folders whose names vary (dates, numbers, addresses) are looked at by their first one, and have no name here.

    Raises:
        StoreUnavailable, StoreError: if the bucket cannot be listed or read.
    """
    try:
        return tuple(_tables(access, bucket, datasets, sample))
    except (BotoCoreError, ClientError) as error:
        raise translate(error, access.place(bucket, "look through the bucket")) from None


def _tables(access: S3Access, bucket: str, datasets: Sequence[str], sample: int) -> Iterator[TableSeen]:
    skipped = (*datasets, access.scratch_prefix)
    for folder, key in _folders(access, bucket, "", "", skipped, 0):
        columns = _columns(access, bucket, key, sample)
        name = f"s3://{bucket}/{folder}"
        yield TableSeen(
            root=access.root(bucket), id=folder, name=name, columns=columns or (), sampled=columns is not None
        )


def _folders(
    access: S3Access, bucket: str, prefix: str, shown: str, skipped: tuple[str, ...], depth: int
) -> Iterator[tuple[str, str]]:
    """(folder as it may be shown, its first file) of each folder with files, below a prefix."""
    pages = access.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
    first: str | None = None
    below: list[str] = []
    for page in islice(pages, _PAGES):
        keys = (one["Key"] for one in page.get("Contents", ()) if one["Size"])
        first = first or next((key for key in keys if not key.startswith(skipped)), None)
        below += [one["Prefix"] for one in page.get("CommonPrefixes", ())]
    if first is not None:
        yield shown, first
    below = [one for one in below if not one.startswith(skipped)]
    many = [one for one in below if _varies(one[len(prefix) : -1])]
    named = [one for one in below if not _varies(one[len(prefix) : -1])]
    if depth < _DEEPEST:
        for one in named:
            yield from _folders(access, bucket, one, shown + one[len(prefix) :], skipped, depth + 1)
        for one in many[:1]:
            yield from _folders(access, bucket, one, f"{shown}…/", skipped, depth + 1)


def _varies(folder: str) -> bool:
    return _VARIES.search(folder) is not None or named_for_somebody(folder)


def _columns(access: S3Access, bucket: str, key: str, sample: int) -> tuple[ColumnSeen, ...] | None:
    """The columns of a file; None where it cannot be told what it is."""
    answer = access.client.get_object(Bucket=bucket, Key=key)
    if key.endswith(".parquet"):
        rows = _parquet(answer["Body"].read(_BYTES + 1), sample)
    else:
        rows = _text(answer["Body"].read(_BYTES), sample)
    if rows is None:
        return None
    names = dict.fromkeys(name for row in rows for name in row)
    return tuple(_column(name, [row.get(name) for row in rows]) for name in names)


def _column(name: str, found: Sequence[object]) -> ColumnSeen:
    values, distinct, forms = forms_of(found)
    kind = type(next((value for value in found if value is not None), "")).__name__
    return ColumnSeen(name=name, type=kind, values=values, distinct=distinct, forms=forms)


def _parquet(body: bytes, sample: int) -> list[dict[str, Any]] | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if len(body) > _BYTES:
        return None
    try:
        batch = next(pq.ParquetFile(pa.BufferReader(body)).iter_batches(batch_size=sample), None)
    except (pa.ArrowException, OSError):
        return None
    return [dict(_leaves(row)) for row in batch.to_pylist()] if batch is not None else []


def _text(body: bytes, sample: int) -> list[dict[str, Any]] | None:
    """Lines of JSON, comma-separated values, or lines of text; None where it is no text.

    Columns of values without a header have numbers: their first line is a row, and somebody's.
    """
    if body[:2] == b"\x1f\x8b":
        try:
            body = gzip.GzipFile(fileobj=io.BytesIO(body)).read(_BYTES)
        except (OSError, EOFError, zlib.error):
            return None
    if b"\0" in body[:10_000]:
        return None
    lines = [one for one in body.decode("utf-8", "replace").splitlines() if one.strip()][:sample]
    try:
        return [dict(_leaves(json.loads(one))) for one in lines]
    except ValueError:
        header, *rest = csv.reader(lines) if lines else [[]]
    if len(header) > 1 and all(len(one) == len(header) for one in rest):
        if is_header(header):
            return [dict(zip(header, one, strict=True)) for one in rest]
        return [{f"column {n}": cell for n, cell in enumerate(one, 1)} for one in (header, *rest)]
    return [{"line": one} for one in lines]


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, Any]]:
    """The single values of a row, by their path; what is filed under somebody is not named for them."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            own = "…" if named_for_somebody(str(key)) else str(key)
            yield from _leaves(part, f"{name}.{own}" if name else own)
    else:
        yield name or "value", value
