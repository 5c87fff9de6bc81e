"""Knows what must be in the stores, and looks whether it is: promise by promise, record by record.

It makes the company up again from what the seeding was told (so nothing about people is kept outside the stores),
judges every record by `calendar_days`, and reads the stores with drivers of its own. It uses neither the stores nor the
periods, policies or holds of `lethe`.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

from lethe.connections import Resolver
from lethe_demo.calendar_days import RULES, first_kept_day, local_day, midnight
from lethe_demo.company import (
    BADGES,
    COOKIES_HELD,
    HELD_PEOPLE,
    LAKE,
    VIEWS_PREFIX,
    Company,
    StoredObject,
    Table,
    ViewFile,
)
from lethe_demo.seed import CRM_ID, LAKE_ID, OPERATIONS_ID, bucket_client, database

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SCRATCH_SCHEMA, SCRATCH_PREFIX = "lethe_scratch", "_lethe/"


class Fate(StrEnum):
    """What must become of a record."""

    KEPT = "kept"
    ERASED = "erased"
    HELD = "held"
    UNJUDGEABLE = "unjudgeable"
    OUTSIDE = "outside"
    """Not a record of the category at all: an enquiry that led to an agreement."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a promise holds for a dataset. `detail` has counts, never a record."""

    promise: str
    dataset: str
    holds: bool
    detail: str


class Oracle:
    """Judges the records of a company by an as-of moment per category."""

    def __init__(self, company: Company, as_of: Mapping[str, datetime] | None = None) -> None:
        self.company = company
        moments = as_of or {}
        self._first_kept = {
            category: first_kept_day(category, moments.get(category, company.as_of)) for category in RULES
        }

    # --- what must become of every record ------------------------------------------------------------------------

    def fates(self, dataset: str) -> list[Fate]:
        """The fate of every record of ``category.dataset``, in the order in which the company has them."""
        judge = {
            "webinars.registrations": self._registrations,
            "events.invitations": self._invitations,
            "events.badge_scans": self._scans,
            "logistics.guests": self._guests,
            "leads.enquiries": self._enquiries,
            "leads.chats": self._chats,
            "account_users.users": self._users,
            "traffic_end_users.records": self._traffic,
        }[dataset]
        return list(judge())

    def _registrations(self) -> Iterator[Fate]:
        for day, whom in self._clocks(self.company.registrations, "webinar_date"):
            yield self._fate("webinars", day, whom)

    def _invitations(self) -> Iterator[Fate]:
        events = self._column(self.company.invitations, "event_code")
        clocks = self._clocks(self.company.invitations, "event_day")
        for (day, whom), event in zip(clocks, events, strict=True):
            yield self._fate("events", _day(day), whom, event)

    def _guests(self) -> Iterator[Fate]:
        events = self._column(self.company.guests, "event_code")
        clocks = self._clocks(self.company.guests, "event_day")
        for (day, whom), event in zip(clocks, events, strict=True):
            yield self._fate("logistics", day, whom, event)

    def _chats(self) -> Iterator[Fate]:
        yield from (self._fate("leads", chat.clock, chat.about) for chat in self.company.chats)

    def _scans(self) -> Iterator[Fate]:
        yield from map(self._scan, self.company.scans)

    def _fate(self, category: str, clock: object, whom: int, event: object = None) -> Fate:
        if not isinstance(clock, date):
            return Fate.UNJUDGEABLE
        if clock >= self._first_kept[category]:
            return Fate.KEPT
        return Fate.HELD if whom < HELD_PEOPLE or event == self.company.held_event else Fate.ERASED

    def _scan(self, scan: StoredObject) -> Fate:
        """Badges name nobody whom a hold could name; only their event, and S3's own legal hold, can hold them."""
        fate = self._fate("events", scan.clock, HELD_PEOPLE, scan.event)
        return Fate.HELD if fate is Fate.ERASED and scan.locked else fate

    def _enquiries(self) -> Iterator[Fate]:
        table = self.company.enquiries
        agreement = table.columns.index("agreement_no")
        start = table.columns.index("received_at")
        for row, whom in zip(table.rows, table.about, strict=True):
            moments = [moment for moment in row[start : start + 3] if isinstance(moment, datetime)]
            if row[agreement] is not None:
                yield Fate.OUTSIDE
            else:
                yield self._fate("leads", local_day(max(moments)) if moments else None, whom)

    def _users(self) -> Iterator[Fate]:
        """By the closure of their account: while that is open nobody goes, and who has none cannot be judged."""
        accounts = self.company.accounts
        closed = dict(zip(self._column(accounts, "account_no"), self._column(accounts, "closed_on"), strict=True))
        for account, whom in self._clocks(self.company.account_users, "account_no"):
            is_open = account is not None and closed[account] is None
            day = None if account is None else closed[account]
            yield Fate.KEPT if is_open else self._fate("account_users", day, whom)

    def _traffic(self) -> Iterator[Fate]:
        """By their own day, but for those whose bill is not settled; without a bill nobody knows."""
        bills, records = self.company.bills, self.company.end_user_records
        state = dict(zip(self._column(bills, "bill_no"), self._column(bills, "state"), strict=True))
        for (at, whom), bill in zip(self._clocks(records, "sent_at"), self._column(records, "bill_no"), strict=True):
            day = local_day(at) if bill is not None and isinstance(at, datetime) else None
            fate = self._fate("traffic_end_users", day, whom)
            kept_on = fate in (Fate.ERASED, Fate.HELD) and state[bill] != "settled"
            yield Fate.KEPT if kept_on else fate

    def view_fates(self, file: ViewFile) -> list[Fate]:
        """The fate of every row of a file of page views."""
        expired, known, held = self._view_masks(file)
        fates = np.where(
            ~known, Fate.UNJUDGEABLE, np.where(~expired, Fate.KEPT, np.where(held, Fate.HELD, Fate.ERASED))
        )
        return [Fate(fate) for fate in fates]

    def _view_masks(self, file: ViewFile) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For every row whether it has expired, can be judged, and is of held people.

        A row without a time is unjudgeable only where its file's week can have expired: no row is older than its week.
        """
        boundary = pa.scalar(midnight(self._first_kept["analytics"]), pa.timestamp("us", tz="UTC"))
        clocks = file.table["activity_time"]
        recent = file.first >= self._first_kept["analytics"]
        known = np.asarray(clocks.is_valid()) | recent
        expired = np.asarray(pa.compute.less(clocks, boundary).fill_null(False))
        held = ((file.about < HELD_PEOPLE) & file.signed_in) | (file.about < COOKIES_HELD)
        return expired, known, held

    def counts(self, dataset: str) -> Counter[Fate]:
        """How many records of a dataset have which fate."""
        if dataset != "analytics.page_views":
            return Counter(self.fates(dataset))
        total: Counter[Fate] = Counter()
        for file in self.company.view_files():
            expired, known, held = self._view_masks(file)
            total[Fate.ERASED] += int((known & expired & ~held).sum())
            total[Fate.HELD] += int((known & expired & held).sum())
            total[Fate.UNJUDGEABLE] += int((~known).sum())
            total[Fate.KEPT] += int((known & ~expired).sum())
        return total

    @staticmethod
    def _column(table: Table, name: str) -> Iterator[object]:
        index = table.columns.index(name)
        return (row[index] for row in table.rows)

    def _clocks(self, table: Table, name: str) -> Iterator[tuple[object, int]]:
        return zip(self._column(table, name), table.about, strict=True)

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
        company = self.company
        families = (
            (CRM_ID, "webinars.registrations", company.registrations, (company.attendance,)),
            (CRM_ID, "events.invitations", company.invitations, ()),
            (CRM_ID, "leads.enquiries", company.enquiries, (company.messages,)),
            (
                OPERATIONS_ID,
                "logistics.guests",
                company.guests,
                (company.accommodation, company.dietary, company.arrivals),
            ),
            (CRM_ID, "account_users.users", company.account_users, (company.preferences,)),
            (OPERATIONS_ID, "traffic_end_users.records", company.end_user_records, ()),
        )
        for conn_id, table in ((CRM_ID, company.accounts), (OPERATIONS_ID, company.bills)):
            untouched = ((row, Fate.OUTSIDE) for row in table.rows)
            yield from _compare(f"{table.name}, which others are judged by", untouched, _read(resolve, conn_id, table))
        for conn_id, dataset, parent, children in families:
            fates = self.fates(dataset)
            yield from _compare(dataset, zip(parent.rows, fates, strict=True), _read(resolve, conn_id, parent))
            for child in children:
                inherited = zip(child.rows, (fates[index] for index in child.parents), strict=True)
                name = f"{dataset} ({child.name.partition('.')[2]})"
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


def _day(text: object) -> date | None:
    try:
        return date.fromisoformat(str(text))
    except ValueError:
        return None


def _read(resolve: Resolver, conn_id: str, table: Table) -> set[tuple[object, ...]]:
    query = sql.SQL("SELECT {} FROM {}").format(
        sql.SQL(", ").join(map(sql.Identifier, table.columns)),
        sql.SQL(".").join(sql.Identifier(part) for part in table.name.split(".")),
    )
    with database(resolve(conn_id)) as connection:
        return set(connection.execute(query))


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
