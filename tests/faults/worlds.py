"""Small worlds on real stores, one for each kind, whose every record is known: the oracle of the fault tests.

A world is plain values, so that it can be handed to other processes. Records are numbered; half of them have expired,
and each belongs to one of `PEOPLE` people, who are named by their e-mail address (rows) or account (objects, and rows
of a table's child table).
"""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from tests.stores.sql_kit import plain_engine

from lethe import stages
from lethe.connections import Connection
from lethe.environment import Environment
from lethe.errors import ConnectionMissing
from lethe.holds.registry import HoldRequest
from lethe.judging.identifiers import IdentifierType
from lethe.settings import Settings
from lethe.stages import Plan

AS_OF = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
LONG_AGO, RECENT = date(2020, 1, 15), date(2026, 10, 1)
PEOPLE = 50
LEASE_SECONDS = 3.0
"""Short, because whatever follows a killed erasure waits for its leases."""
DATASET = "records"

_POLICY = """
category: faults
title: Records of the fault tests
owner: tests
legal_basis: none
source: none
retention: {{keep_for: P1Y}}
time_zone: Europe/Prague
schedule: null
limits: {{records: 10000000, share: 1.0}}
datasets:
  - name: records
    store: world
{dataset}
"""

_DATASETS = {
    "table": """
    kind: table
    table: records
    key: [id]
    clock: {column: happened}
    identifiers: {email: [email]}
    children:
      - {table: details, foreign_key: [record_id], identifiers: {account: [account]}}
""",
    "objects": """
    kind: objects
    bucket: world
    prefix: data/
    clock: {key: "/date=(?P<value>[^/]+)/"}
    identifiers: {account: {key: "/account=(?P<value>[^/]+)/"}}
""",
    "parquet": """
    kind: parquet
    bucket: world
    prefix: data/
    key: [id]
    clock: {column: happened}
    identifiers: {email: [email]}
""",
    "jsonlines": """
    kind: jsonlines
    bucket: world
    prefix: data/
    key: [id]
    clock: {column: happened, format: iso8601}
    identifiers: {email: ["contact.emails[]"]}
""",
}


@dataclass(frozen=True)
class World:
    """A store of one kind with numbered records in it.

    Attributes:
        kind: table, objects, parquet or jsonlines.
        connections: by id.
        folder: policies, expectations and what Lethe writes.
        size: number of records.
    """

    kind: str
    connections: dict[str, Connection]
    folder: Path
    size: int
    bucket: str = "world"
    held: frozenset[int] = field(default=frozenset())

    def resolve(self, conn_id: str) -> Connection:
        """The connection of that id."""
        try:
            return self.connections[conn_id]
        except KeyError:
            raise ConnectionMissing(f"connection {conn_id} is not defined") from None

    def environment(self) -> Environment:
        """A new environment; close it."""
        settings = Settings(
            policies=self.folder / "policies",
            expectations=self.folder / "expectations",
            home=self.folder / "home",
            lease_seconds=LEASE_SECONDS,
        )
        return Environment(self.resolve, settings)

    def write_policy(self) -> None:
        """Write the world's one policy."""
        (self.folder / "policies").mkdir(parents=True, exist_ok=True)
        (self.folder / "expectations").mkdir(exist_ok=True)
        text = _POLICY.format(
            dataset=_DATASETS[self.kind].strip("\n").replace("bucket: world", f"bucket: {self.bucket}")
        )
        (self.folder / "policies" / "faults.yaml").write_text(text)

    # --- the records -----------------------------------------------------------------------------------------------

    def person(self, record: int) -> int:
        """Whose record it is."""
        return record % PEOPLE

    def expired(self, record: int) -> bool:
        """Whether the record has expired."""
        return record // PEOPLE % 2 == 0

    def day(self, record: int) -> date:
        """The record's clock."""
        return LONG_AGO if self.expired(record) else RECENT

    def request(self, *people: int, matter: str = "matter") -> HoldRequest:
        """A hold on people; in a table every other one is named by what only the child table carries."""
        by_account = {number for number in people if self.kind == "objects" or (self.kind == "table" and number % 2)}
        accounts = [f"P{number}" for number in by_account]
        emails = [f"P{number}@Example.com" for number in people if number not in by_account]
        named = {IdentifierType.ACCOUNT: accounts, IdentifierType.EMAIL: emails}
        return HoldRequest(matter, "test", identifiers={kind: texts for kind, texts in named.items() if texts})

    def records_of(self, *people: int) -> set[int]:
        """The records of people."""
        return {record for record in range(self.size) if self.person(record) in people}

    def to_go(self, *held_people: int) -> set[int]:
        """The records that must go while these people are held."""
        return {r for r in range(self.size) if self.expired(r) and self.person(r) not in held_people}

    def fill(self) -> None:
        """Put all records into the store, in place of what is there."""
        {"table": self._fill_table, "objects": self._fill_objects}.get(self.kind, self._fill_files)()

    def alive(self, people: frozenset[int] | None = None) -> set[int]:
        """The records that are in the store now; of some people only, where given."""
        if self.kind == "objects":
            return self._object_keys(people)
        found = self._table_rows() if self.kind == "table" else self._file_rows()
        return {record for record in found if people is None or self.person(record) in people}

    # --- a table and its child table -------------------------------------------------------------------------------

    def engine(self) -> sa.Engine:
        """An engine of the world's database."""
        return plain_engine(self.connections["world"])

    def _fill_table(self) -> None:
        metadata = sa.MetaData()
        records = sa.Table(
            "records",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("email", sa.Text),
            sa.Column("happened", sa.Date, index=True),
        )
        details = sa.Table(
            "details",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("record_id", sa.ForeignKey(records.c.id), index=True),
            sa.Column("account", sa.Text),
        )
        numbers = range(self.size)
        rows = [{"id": n, "email": f"p{self.person(n)}@example.com ", "happened": self.day(n)} for n in numbers]
        with self.engine().begin() as connection:
            metadata.drop_all(connection)
            metadata.create_all(connection)
            connection.execute(sa.insert(records), rows)
            connection.execute(
                sa.insert(details), [{"id": n, "record_id": n, "account": f"p{self.person(n)}"} for n in numbers]
            )

    def _table_rows(self) -> set[int]:
        engine = self.engine()
        if engine.dialect.name != "sqlite":  # both tables as of one moment
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        with engine.connect() as connection:
            rows = set(connection.scalars(sa.text("SELECT id FROM records")))
            details = set(connection.scalars(sa.text("SELECT record_id FROM details")))
        assert rows == details, "children went with their parents, and only with them"
        return rows

    # --- objects, each in two versions -----------------------------------------------------------------------------

    def client(self) -> Any:  # noqa: ANN401 - an S3 client
        """A boto3 client of the world's bucket."""
        connection = self.connections["world"]
        endpoint = connection.extra.get("real_endpoint_url", connection.extra["endpoint_url"])
        return _client(str(endpoint), connection.login, connection.password)

    def _empty_bucket(self) -> None:
        client = self.client()
        for page in client.get_paginator("list_object_versions").paginate(Bucket=self.bucket):
            marked = [
                {"Key": item["Key"], "VersionId": item["VersionId"]}
                for item in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
            ]
            if marked:
                client.delete_objects(Bucket=self.bucket, Delete={"Objects": marked, "Quiet": True})

    def _fill_objects(self) -> None:
        self._empty_bucket()
        client = self.client()

        def put(record: int) -> None:
            key = f"data/date={self.day(record)}/account=p{self.person(record)}/{record}.json"
            for version in range(1 + record % 2):
                client.put_object(Bucket=self.bucket, Key=key, Body=str(version).encode())

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(put, range(self.size)))

    def versions(self, prefix: str = "data/") -> Iterator[str]:
        """The keys of all versions and delete markers under a prefix."""
        for page in self.client().get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix):
            for item in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                yield item["Key"]

    def _object_keys(self, people: frozenset[int] | None) -> set[int]:
        prefixes = ["data/"]
        if people is not None:
            prefixes = [f"data/date={day}/account=p{person}/" for person in people for day in (LONG_AGO, RECENT)]
        return {_record(key) for prefix in prefixes for key in self.versions(prefix)}

    def whole_objects(self) -> bool:
        """Whether every object that is there has all the versions that it was given."""
        counts = Counter(_record(key) for key in self.versions())
        return all(count == 1 + record % 2 for record, count in counts.items())

    # --- rows in files ---------------------------------------------------------------------------------------------

    def _fill_files(self) -> None:
        self._empty_bucket()
        client = self.client()
        numbers = sorted(
            range(self.size), key=lambda n: (n % 10 == 0, n % 10 == 0 and self.expired(n), n * 7919 % 10_007)
        )
        per_file = max(1, self.size // 24)  # the last files stay or go as a whole, the others are mixed
        for file, at in enumerate(range(0, self.size, per_file)):
            body = (self._parquet if self.kind == "parquet" else self._json_lines)(numbers[at : at + per_file])
            client.put_object(Bucket=self.bucket, Key=f"data/part-{file:03}", Body=body)

    def _parquet(self, records: list[int]) -> bytes:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table(
            {
                "id": pa.array(records, pa.int64()),
                "email": [f"p{self.person(n)}@example.com" for n in records],
                "happened": pa.array([self.day(n) for n in records], pa.date32()),
            }
        )
        buffer = io.BytesIO()
        pq.write_table(table, buffer, row_group_size=50)
        return buffer.getvalue()

    def _json_lines(self, records: list[int]) -> bytes:
        """In gzip members of 50 rows."""
        rows = [
            {"id": n, "contact": {"emails": [f"p{self.person(n)}@example.com"]}, "happened": str(self.day(n))}
            for n in records
        ]
        lines = [json.dumps(row).encode() + b"\n" for row in rows]
        return b"".join(gzip.compress(b"".join(lines[at : at + 50])) for at in range(0, len(lines), 50))

    def _numbers(self, body: bytes) -> set[int]:
        """The records of a file."""
        import pyarrow.parquet as pq

        if self.kind == "parquet":
            return set(pq.read_table(io.BytesIO(body), columns=["id"]).column("id").to_pylist())
        return {json.loads(line)["id"] for line in gzip.decompress(body).splitlines()}

    def _file_rows(self) -> set[int]:
        """The rows of all versions of all files: an old version that is left is a record that is left."""
        client = self.client()
        found: set[int] = set()
        for page in client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix="data/"):
            assert not page.get("DeleteMarkers"), "delete markers are no erasure"
            for item in page.get("Versions", ()):
                try:
                    answer = client.get_object(Bucket=self.bucket, Key=item["Key"], VersionId=item["VersionId"])
                except client.exceptions.ClientError:
                    return self._file_rows()  # it has just been replaced
                found |= self._numbers(answer["Body"].read())
        return found

    # --- runs ------------------------------------------------------------------------------------------------------

    def prepare(self, env: Environment, *, trigger: str) -> Plan:
        """Plan, discover, validate and decide: all that comes before erasing."""
        plan = stages.plan(env, "faults", AS_OF, trigger=trigger)
        candidates = stages.discover(env, plan, DATASET)
        stages.validate(env, plan, DATASET, candidates)
        stages.decide(env, plan)
        return plan


@cache
def _client(endpoint: str, key: str | None, secret: str | None) -> Any:  # noqa: ANN401 - an S3 client
    import boto3

    return boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1"
    )


def _record(key: str) -> int:
    return int(key.rsplit("/", 1)[1].removesuffix(".json"))
