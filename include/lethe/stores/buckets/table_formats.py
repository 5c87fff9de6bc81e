"""Prefixes that are a table of a table format, or a set of files that a summary describes.

Such a table has a log, or a summary, that says which files it consists of, how long they are and where their row groups
lie. Whoever removes or rewrites a file beside that log leaves a table that cannot be read. Some formats also reach
older states of the table by files that no listing of the table shows. So nothing is erased there in place.

- Delta Lake: ``_delta_log/`` (https://github.com/delta-io/delta/blob/master/PROTOCOL.md#delta-log-entries)
- Iceberg: ``metadata/*.metadata.json``, also compressed, ``version-hint.text`` and snapshots
  (https://iceberg.apache.org/spec/#table-metadata-and-snapshots)
- Hudi: ``.hoodie/``, and ``.hoodie_partition_metadata`` in each partition
  (https://hudi.apache.org/tech-specs/#storage-layout)
- Spark's streaming sink: ``_spark_metadata/``, a log with every file's size
- ``_metadata``: the row groups of all files of a data set, as Dask and older Sparks write it
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from lethe.errors import StoreError
from lethe.policy import BucketDataset, ObjectDataset
from lethe.stores.buckets.errors import Operation, named
from lethe.stores.buckets.listing import Record

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ADVICE = "erasing files beside its log would leave a table that cannot be read: name a prefix that has none"

_FOLDERS = {
    "_delta_log": "a Delta Lake table",
    ".hoodie": "a Hudi table",
    "_spark_metadata": "the output of a Spark stream",
}
_ICEBERG = "an Iceberg table"
_SUMMARY = "a data set with a summary of its files' row groups"
_MARK = re.compile(
    r"(?:^|/)(?:(?P<folder>_delta_log|\.hoodie|_spark_metadata)/"
    r"|(?P<iceberg>metadata/(?:[^/]+\.metadata\.json(?:\.gz)?|version-hint\.text|snap-[^/]+\.avro))$"
    r"|(?P<hudi>\.hoodie_partition_metadata(?:\.[^/]+)?)$|(?P<summary>_metadata)$)"
)
_OF_FILES = {
    b"iceberg.schema": _ICEBERG,
    b"hoodie_min_record_key": _FOLDERS[".hoodie"],
    b"org.apache.hudi.bloomfilter": _FOLDERS[".hoodie"],
}


def mark_in(key: str, *, summaries: bool) -> str | None:
    """What a key shows its folder to be, in words with the name that shows it; None for an ordinary key.

    `summaries` says whether ``_metadata`` counts: for rows in files it does, among whole objects it is a name like any.
    """
    found = _MARK.search(key)
    if found is None or (found["summary"] and not summaries):
        return None
    if folder := found["folder"]:
        return f"{_FOLDERS[folder]} (it has {folder}/)"
    if found["hudi"]:
        return f"{_FOLDERS['.hoodie']} (it has .hoodie_partition_metadata)"
    return f"{_ICEBERG} (it has metadata of one)" if found["iceberg"] else f"{_SUMMARY} (_metadata)"


def mark_in_file(names: Iterable[bytes]) -> str | None:
    """What the names in a Parquet file's own metadata show it to be a part of; None for an ordinary file."""
    return next((f"{_OF_FILES[name]} (its files say so)" for name in names if name in _OF_FILES), None)


def refusing_tables(records: Iterable[Record], dataset: BucketDataset) -> Iterator[Record]:
    """The records of a dataset as they come, up to one that shows a part of it to be a table.

    Raises:
        StoreError: at that record. Its key is not repeated.
    """
    summaries = _has_rows(dataset)
    for record in records:
        mark = None if record.versions[0].marker else mark_in(record.key, summaries=summaries)
        if mark is not None:
            raise StoreError(f"dataset {dataset.name}: under {dataset.location} there is {mark}; {ADVICE}")
        yield record


def tables_around(client: S3Client, dataset: BucketDataset, place: Operation) -> Iterator[str]:
    """What a dataset's prefix, or a folder that it is in, is shown to be by what lies directly in these folders.

    Raises:
        StoreUnavailable, StoreError: if the bucket cannot be listed.
    """
    parts = dataset.prefix.split("/")[:-1]
    names = [f"{mark}/" for mark in _FOLDERS] + ["metadata/"] + ["_metadata"] * _has_rows(dataset)
    for folder in ("".join(f"{part}/" for part in parts[:depth]) for depth in range(len(parts) + 1)):
        for name in names:
            with named(place):
                pages = client.get_paginator("list_objects_v2").paginate(
                    Bucket=dataset.bucket, Prefix=folder + name, Delimiter="/" if name == "metadata/" else ""
                )
                keys = (entry["Key"].removeprefix(folder) for page in pages for entry in page.get("Contents", ()))
                found = next((mark for key in keys if (mark := mark_in(key, summaries=True))), None)
            if found is not None:
                yield f"s3://{dataset.bucket}/{folder} is {found}; {ADVICE}"


def _has_rows(dataset: BucketDataset) -> bool:
    return not isinstance(dataset, ObjectDataset)
