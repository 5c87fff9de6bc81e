"""Knows what must be in the stores, and looks whether it is: promise by promise, record by record.

It makes the company up again from what the seeding was told (so nothing about people is kept outside the stores),
judges every record as `fates` does, and reads the stores with drivers of its own. It uses neither the stores nor the
periods, policies or holds of `lethe`.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

from lethe.connections import Resolver
from lethe_demo.company import BADGES, LAKE, VIEWS_PREFIX, ViewFile
from lethe_demo.fates import Fate, Fates
from lethe_demo.records import Table, as_json
from lethe_demo.seed import CRM_ID, LAKE_ID, OPERATIONS_ID, bucket_client, database

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DATABASES = {"crm": CRM_ID, "operations": OPERATIONS_ID}
SCRATCH_SCHEMA, SCRATCH_PREFIX = "lethe_scratch", "_lethe/"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a promise holds for a dataset. `detail` has counts, never a record."""

    promise: str
    dataset: str
    holds: bool
    detail: str


class Oracle(Fates):
    """Looks whether what must have become of the records of a company is what is in its stores."""

    # --- looking ---------------------------------------------------------------------------------------------------

    def look(self, resolve: Resolver) -> Iterator[Verdict]:
        """Everything that can be seen in the stores, after all categories have run."""
        yield from self.look_at_tables(resolve)
        client = bucket_client(resolve(LAKE_ID))
        yield from self.look_at_objects(client)
        yield from self.look_at_views(client)
        yield from look_for_staging(resolve, client)

    def look_at_tables(self, resolve: Resolver) -> Iterator[Verdict]:
        """Every row of every table, children included."""
        for database_name, conn_id in DATABASES.items():
            for table in self.company.judged_by(database_name):
                untouched = ((row, Fate.OUTSIDE) for row in table.rows)
                there = _read(resolve, conn_id, table)
                yield from _compare(f"{table.name}, which others are judged by", untouched, there)
        for family in self.company.families:
            conn_id, fates, names = DATABASES[family.database], self.family_fates(family), " and ".join(family.datasets)
            added = {row for dataset in family.datasets for row in self.added(dataset)}
            there = _read(resolve, conn_id, family.table)
            if added:
                missing = len(added - there)
                yield Verdict(
                    "what has to be in place of what went is there",
                    names,
                    not missing,
                    f"{missing} of {len(added):,} are not",
                )
            records = zip(family.table.rows, fates, strict=True)
            yield from _compare(names, records, there - added)
            for child in family.children:
                inherited = zip(child.rows, (fates[index] for index in child.parents), strict=True)
                name = f"{names} ({child.name.partition('.')[2]})"
                yield from _compare(name, inherited, _read(resolve, conn_id, child))

    def look_at_objects(self, client: S3Client) -> Iterator[Verdict]:
        """Every version and delete marker of every object."""
        for dataset, bucket, stored in (
            ("leads.chats", LAKE, self.company.chats),
            ("events.badge_scans", BADGES, self.company.scans),
        ):
            there = _versions(client, bucket)
            expected: list[tuple[tuple[object, ...], Fate]] = [
                ((bucket, one.key, tuple(_etag(body) for body in one.versions)), fate)
                for one, fate in zip(stored, self.fates(dataset), strict=True)
            ]
            keys = {one.key for one in stored}
            found: set[tuple[object, ...]] = {(bucket, key, versions) for key, versions in there.items() if key in keys}
            yield from _compare(dataset, expected, found)

    def look_at_views(self, client: S3Client) -> Iterator[Verdict]:
        """Every row of every Parquet file, and that what stays is as it was: schema, metadata, codecs, order."""
        dataset = "analytics.page_views"
        there = {key: found for key, found in _versions(client, LAKE).items() if key.startswith(VIEWS_PREFIX)}
        wrong: Counter[str] = Counter()
        files = 0
        for file in self.company.view_files():
            files += 1
            expired, known, held = self._view_masks(file)
            stays = ~(known & expired & ~held)
            wrong.update(self._look_at_file(client, file, stays, there.pop(file.key, ())))
        for problem, promise in (
            ("missing", "never early, never held: what must stay is there"),
            ("left", "never silently late: what has expired is gone"),
            ("versions", "really gone: no old version is left"),
            ("touched", "a file whose rows all stay is not touched"),
            ("changed", "what stays is identical: rows, order, schema, metadata, codec"),
        ):
            yield Verdict(promise, dataset, not wrong[problem], f"{wrong[problem]} of {files} files wrong")
        yield Verdict("nothing else is there", dataset, not there, f"{len(there)} unknown files")

    def _look_at_file(
        self, client: S3Client, file: ViewFile, stays: np.ndarray, versions: tuple[str | None, ...]
    ) -> Iterator[str]:
        if not stays.any():
            if versions:
                yield "left"
            return
        if not versions or versions[-1] is None:
            yield "missing"
            return
        if len(versions) > 1:
            yield "versions"
        original = file.as_bytes()
        if stays.all():
            if versions[-1] != _etag(original):
                yield "touched"
            return
        body = client.get_object(Bucket=LAKE, Key=file.key)["Body"].read()
        expected = pq.read_table(io.BytesIO(original)).filter(pa.array(stays))
        found = pq.read_table(io.BytesIO(body))
        rest = set(found["view_id"].to_pylist())
        if not set(expected["view_id"].to_pylist()) <= rest:
            yield "missing"
        if rest & set(file.table.filter(pa.array(~stays))["view_id"].to_pylist()):
            yield "left"
        if not _same(found, expected) or _format(body) != _format(original):
            yield "changed"


def _read(resolve: Resolver, conn_id: str, table: Table) -> set[tuple[object, ...]]:
    query = sql.SQL("SELECT {} FROM {}").format(
        sql.SQL(", ").join(map(sql.Identifier, table.columns)),
        sql.SQL(".").join(sql.Identifier(part) for part in table.name.split(".")),
    )
    with database(resolve(conn_id)) as connection:
        return {
            tuple(as_json(value) if isinstance(value, dict) else value for value in row)
            for row in connection.execute(query)
        }


def _compare(
    dataset: str, expected: Iterable[tuple[tuple[object, ...], Fate]], found: set[tuple[object, ...]]
) -> Iterator[Verdict]:
    """Hold what is there against what must have become of every record, values included."""
    missing: Counter[Fate] = Counter()
    left = survivors = gone = 0
    known = set()
    for record, fate in expected:
        known.add(record)
        if fate is Fate.ERASED:
            gone += 1
            left += record in found
        else:
            survivors += 1
            missing[fate] += record not in found
    unexpired = missing[Fate.KEPT] + missing[Fate.OUTSIDE]
    yield Verdict("never early", dataset, not unexpired, f"{unexpired} of {survivors:,} survivors wrongly gone")
    yield Verdict("never held", dataset, not missing[Fate.HELD], f"{missing[Fate.HELD]} held records gone or changed")
    unclear = missing[Fate.UNJUDGEABLE]
    yield Verdict("what cannot be judged stays", dataset, not unclear, f"{unclear} unjudgeable records gone or changed")
    yield Verdict("never silently late", dataset, not left, f"{left} of {gone:,} expired records left")
    strange = len(found - known)
    yield Verdict("nothing else is there", dataset, not strange, f"{strange} unknown or changed records")


def _etag(body: bytes | None) -> str | None:
    """What S3 calls the content of a version; None for a delete marker."""
    return None if body is None else hashlib.md5(body, usedforsecurity=False).hexdigest()


def _versions(client: S3Client, bucket: str) -> dict[str, tuple[str | None, ...]]:
    """By key the ETags of all versions, None for delete markers, the current one last."""
    found: dict[str, list[tuple[bool, datetime, str | None]]] = {}
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for version in page.get("Versions", ()):
            entry = (version["IsLatest"], version["LastModified"], version["ETag"].strip('"'))
            found.setdefault(version["Key"], []).insert(0, entry)
        for marker in page.get("DeleteMarkers", ()):
            found.setdefault(marker["Key"], []).insert(0, (marker["IsLatest"], marker["LastModified"], None))
    return {
        key: tuple(etag for _, _, etag in sorted(entries, key=lambda entry: entry[:2]))
        for key, entries in found.items()
        if not key.startswith(SCRATCH_PREFIX)
    }


def _same(found: pa.Table, expected: pa.Table) -> bool:
    """Whether two tables have the same schema, metadata and values in the same order."""
    return found.schema.equals(expected.schema, check_metadata=True) and all(
        _decoded(one) == _decoded(two) for one, two in zip(found.columns, expected.columns, strict=True)
    )


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Without dictionaries: those may differ in what no row refers to."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _format(body: bytes) -> tuple[object, ...]:
    """How a Parquet file is written, beyond its rows: schema, key-value metadata, and the codec of every column."""
    file = pq.ParquetFile(io.BytesIO(body))
    group = file.metadata.row_group(0)
    codecs = tuple(group.column(index).compression for index in range(group.num_columns))
    return (
        str(file.schema).partition("\n")[2],  # the first line has an address in memory
        file.schema_arrow.to_string(),
        tuple(sorted((file.metadata.metadata or {}).items())),
        codecs,
    )


def _count(connection: psycopg.Connection, schema: str, table: str) -> int:
    query = sql.SQL("SELECT count(*) FROM {}.{}").format(sql.Identifier(schema), sql.Identifier(table))
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def look_for_staging(resolve: Resolver, client: S3Client) -> Iterator[Verdict]:
    """Whether anything that runs staged is still there."""
    for conn_id in (CRM_ID, OPERATIONS_ID):
        with database(resolve(conn_id)) as connection:
            query = "SELECT tablename FROM pg_tables WHERE schemaname = %s"
            tables = [str(name) for (name,) in connection.execute(query, [SCRATCH_SCHEMA])]
            rows = sum(_count(connection, SCRATCH_SCHEMA, table) for table in tables)
        yield Verdict(
            "really gone: no staging is left", conn_id, not rows, f"{rows} rows in {len(tables)} scratch tables"
        )
    for bucket in (LAKE, BADGES):
        page = client.list_object_versions(Bucket=bucket, Prefix=SCRATCH_PREFIX)
        left = len(page.get("Versions", ())) + len(page.get("DeleteMarkers", ()))
        yield Verdict("really gone: no staging is left", f"s3://{bucket}", not left, f"{left} staged versions")
