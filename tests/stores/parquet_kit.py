"""What the tests of files on S3 share: a lake with a bucket, a dataset, and a gate."""

# ruff: noqa: ANN401 - fields of policies and options of libraries are of any type
from __future__ import annotations

import io
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
from tests.stores.lease_kit import Gate, hold, rules

from lethe.counts import Became, Outcome
from lethe.holds.rules import NO_HOLDS, HoldRules
from lethe.periods import Cutoff, start_of_day
from lethe.policy import Expiry, JsonLinesDataset, ParquetDataset
from lethe.stores.base import Candidates, Work
from lethe.stores.files.store import FileStore
from lethe_demo.servers import EmbeddedS3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PRAGUE = ZoneInfo("Europe/Prague")
AS_OF = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = date(2025, 1, 1)
CUTOFF = Cutoff(DAY, start_of_day(DAY, PRAGUE))
OLD = datetime(2024, 6, 1, tzinfo=UTC)
NEW = datetime(2025, 6, 1, tzinfo=UTC)


def expiry(**more: Any) -> Expiry:
    """A cutoff of 1 January 2025 in Prague."""
    return Expiry(**{"zone": PRAGUE, "default": CUTOFF, **more})


def people(expired: Sequence[int] = (), kept: Sequence[int] = (), nulls: Sequence[int] = ()) -> pa.Table:
    """Rows of people by number, with a clock before the cutoff, after it, or none; in the order of their numbers."""
    rows = sorted([*((n, OLD) for n in expired), *((n, NEW) for n in kept), *((n, None) for n in nulls)])
    return pa.table(
        {
            "id": pa.array([n for n, _ in rows], pa.int64()),
            "at": pa.array([at for _, at in rows], pa.timestamp("us", tz="UTC")),
            "email": pa.array([f"Person{n}@Example.org" for n, _ in rows], pa.string()),
            "phone": pa.array([f"+420 777 {n:06d}" for n, _ in rows], pa.string()),
            "state": pa.array(["open" if n % 10 == 7 else "closed" for n, _ in rows], pa.string()),
        }
    )


def encoded(table: pa.Table, **options: Any) -> bytes:
    """A table as a file."""
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


@dataclass
class Body:
    """A file in memory, as formats read one."""

    body: bytes
    remote: bool = False

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.body)

    def read_at(self, length: int, offset: int) -> bytes:
        """Bytes from `offset` on."""
        return self.body[offset : offset + length]

    def arrow(self) -> pa.NativeFile:
        """The same for Arrow."""
        return pa.BufferReader(self.body)


@dataclass
class Lake:
    """A bucket of its own on the server, with a store for it."""

    server: EmbeddedS3
    bucket: str
    store: FileStore
    fields: dict[str, Any] = field(default_factory=dict)
    run: str = "run-1"
    client: S3Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.server.client()

    @classmethod
    def make(cls, server: EmbeddedS3, *, versioned: bool = True, lock: bool = False, **extra: Any) -> Lake:
        """A new bucket."""
        bucket = f"lake-{secrets.token_hex(6)}"
        client = server.client()
        options: dict[str, Any] = {"ObjectLockEnabledForBucket": True} if lock else {}
        client.create_bucket(Bucket=bucket, **options)
        if versioned:
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        return cls(server, bucket, cls.open(server, bucket, **extra))

    @staticmethod
    def open(server: EmbeddedS3, bucket: str, **extra: Any) -> FileStore:
        """A store whose staging is in the bucket."""
        return FileStore(server.connection("lake", lethe_scratch_bucket=bucket, **extra))

    def put(self, key: str, content: pa.Table | bytes, **options: Any) -> str:
        """Write a file; its version id."""
        body = content if isinstance(content, bytes) else encoded(content)
        return self.client.put_object(Bucket=self.bucket, Key=key, Body=body, **options).get("VersionId", "null")

    def read(self, key: str, version: str | None = None) -> pa.Table:
        """A file's rows."""
        return pq.read_table(io.BytesIO(self.body(key, version)))

    def body(self, key: str, version: str | None = None) -> bytes:
        """A file's bytes."""
        options = {"VersionId": version} if version else {}
        return self.client.get_object(Bucket=self.bucket, Key=key, **options)["Body"].read()  # type: ignore[arg-type]

    def ids(self, key: str) -> list[int]:
        """The numbers of the people in a file."""
        found: list[int] = self.read(key)["id"].to_pylist()
        return found

    def everything(self) -> dict[str, list[tuple[str, bool]]]:
        """All versions and delete markers in the bucket, newest first: by key, (version id, whether a marker)."""
        found: dict[str, list[tuple[str, bool]]] = {}
        for page in self.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket):
            entries = [(entry, False) for entry in page.get("Versions", ())]
            markers = [(entry, True) for entry in page.get("DeleteMarkers", ())]
            for entry, marker in sorted([*entries, *markers], key=lambda one: not one[0]["IsLatest"]):
                found.setdefault(entry["Key"], []).append((entry["VersionId"], marker))
        return found

    @property
    def dataset(self) -> ParquetDataset:
        """The dataset: everything under ``data/``."""
        return ParquetDataset.model_validate(
            {
                "kind": "parquet",
                "name": "views",
                "store": "lake",
                "bucket": self.bucket,
                "prefix": "data/",
                "clock": {"column": "at"},
                "identifiers": {"email": ["email"], "phone": ["phone"]},
                "key": ["id"],
                **self.fields,
            }
        )

    @property
    def work(self) -> Work:
        """The dataset as work of the run."""
        return Work(self.run, "analytics", self.dataset, expiry(), AS_OF)

    def discover(self, held: HoldRules = NO_HOLDS, work: Work | None = None) -> Candidates:
        """Discover."""
        return self.store.discover(work or self.work, held)

    def erase(self, candidates: Candidates, gate: Gate | None = None, batches: range | None = None) -> Became:
        """Erase all batches."""
        return self.store.erase(self.work, candidates, batches or range(candidates.batches), gate or Gate())

    def both(self, held: HoldRules = NO_HOLDS) -> Became:
        """Discover and erase."""
        return self.erase(self.discover(held), Gate(held))

    def outcomes(self, candidates: Candidates) -> Mapping[bytes, Outcome]:
        """The outcomes by record key."""
        found = list(self.store.outcomes(self.work, candidates))
        assert len(found) == len(dict(found)), "a record has two outcomes"
        return dict(found)


class LinesLake(Lake):
    """The same with files of JSON lines."""

    def put(self, key: str, content: pa.Table | bytes, **options: Any) -> str:
        """Write a file; its version id."""
        if not isinstance(content, bytes):
            content = b"".join(
                json.dumps(row, default=datetime.isoformat).encode() + b"\n" for row in content.to_pylist()
            )
        return super().put(key, content, **options)

    def read(self, key: str, version: str | None = None) -> pa.Table:
        """A file's rows."""
        return pa.Table.from_pylist([json.loads(line) for line in self.body(key, version).splitlines()])

    @property
    def dataset(self) -> JsonLinesDataset:  # type: ignore[override]
        """The dataset: everything under ``data/``."""
        fields = super().dataset.model_dump(exclude_unset=True)
        return JsonLinesDataset.model_validate(
            {**fields, "kind": "jsonlines", "clock": {"column": "at", "format": "iso8601"}}
        )


__all__ = [
    "AS_OF",
    "CUTOFF",
    "DAY",
    "NEW",
    "OLD",
    "PRAGUE",
    "Gate",
    "Lake",
    "LinesLake",
    "encoded",
    "hold",
    "people",
    "replace",
    "rules",
    "timedelta",
]
