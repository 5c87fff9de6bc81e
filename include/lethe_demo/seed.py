"""Puts the demo company into its stores: two PostgreSQL databases and two buckets.

`python -m lethe_demo.seed` takes the connections `lethe_crm`, `lethe_operations` and `lethe_lake` from the environment
(`AIRFLOW_CONN_<ID>`), creates the databases and buckets where they are missing, and does nothing where the company is
there already. It refuses databases that have other people's tables where its own would go.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import boto3
import psycopg
from botocore.config import Config
from botocore.exceptions import ClientError
from psycopg import sql

from lethe.connections import Connection, Resolver, from_environment
from lethe.errors import LetheError
from lethe_demo import schema
from lethe_demo.company import BADGES, LAKE, Company, StoredObject
from lethe_demo.records import Table

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CRM_ID, OPERATIONS_ID, LAKE_ID = "lethe_crm", "lethe_operations", "lethe_lake"
_THREADS = 12
_READ_ROWS = 5_000


class SeedError(LetheError):
    """The stores cannot take the company."""


@dataclass(frozen=True, slots=True)
class Seeding:
    """What the stores were seeded with, and whether that was done now (`fresh`) or before."""

    as_of: datetime
    scale: float
    seed: int
    fresh: bool = False

    @property
    def company(self) -> Company:
        """The company, made up again."""
        return Company(self.as_of, self.scale, self.seed)


Say = Callable[[str], None]
"""Takes a line about what goes on."""


def say_nothing(_line: str) -> None:
    """For those who do not want to know."""


@contextmanager
def database(connection: Connection, name: str | None = None) -> Iterator[psycopg.Connection]:
    """A transaction in the PostgreSQL database of a connection, or in another (`name`) of the same server."""
    with psycopg.connect(
        host=connection.host,
        port=connection.port,
        user=connection.login,
        password=connection.password,
        dbname=name or connection.schema,
        options="-c timezone=UTC",
        autocommit=name is not None,
    ) as opened:
        yield opened


def bucket_client(connection: Connection) -> S3Client:
    """A client of its own, so that neither seeding nor oracle depends on the stores that are judged."""
    return boto3.client(
        "s3",
        endpoint_url=connection.extra.get("endpoint_url"),
        region_name=connection.extra.get("region_name", "us-east-1"),
        aws_access_key_id=connection.login,
        aws_secret_access_key=connection.password,
        config=Config(max_pool_connections=2 * _THREADS, retries={"total_max_attempts": 5}),
    )


def seeding(resolve: Resolver) -> Seeding | None:
    """What the stores were seeded with, or None."""
    with database(resolve(OPERATIONS_ID)) as connection:
        if connection.execute("SELECT to_regclass('lethe_demo.seed')").fetchone() == (None,):
            return None
        row = connection.execute("SELECT as_of, scale, seed FROM lethe_demo.seed WHERE complete").fetchone()
        return Seeding(row[0].astimezone(UTC), row[1], row[2]) if row else None


def seed(resolve: Resolver, as_of: datetime, scale: float = 1.0, say: Say = say_nothing) -> Seeding:
    """Put the company into the stores, unless it is there. What a broken-off seeding left is taken away first.

    Raises:
        SeedError: if a database has schemas of the same names that no seeding made.
    """
    crm, operations = resolve(CRM_ID), resolve(OPERATIONS_ID)
    for connection in (crm, operations):
        _create_database(connection)
    before = seeding(resolve)
    if before is not None:
        say(f"The company is there already, as of {before.as_of:%Y-%m-%d %H:%M} UTC.")
        return before
    company = Company(as_of, scale)
    _begin(resolve, company)
    with ThreadPoolExecutor(1) as beside:  # weed and PostgreSQL work at the same time
        lake = beside.submit(_timed, say, "buckets", lambda: _fill_lake(resolve(LAKE_ID), company))
        _timed(say, "CRM", lambda: fill(crm, company, "crm"))
        _timed(say, "operations", lambda: fill(operations, company, "operations"))
        lake.result()
    with database(operations) as opened:
        opened.execute("UPDATE lethe_demo.seed SET complete = true")
    return Seeding(as_of, scale, company.seed, fresh=True)


def _timed(say: Say, what: str, do: Callable[[], str]) -> None:
    began = time.monotonic()
    text = do()
    say(f"{what}: {text} in {time.monotonic() - began:.1f} s")


# --- databases ----------------------------------------------------------------------------------------------------


def _create_database(connection: Connection) -> None:
    with database(connection, "postgres") as server:
        found = server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [connection.schema]).fetchone()
        if found is None:
            server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(connection.schema or "")))


def _begin(resolve: Resolver, company: Company) -> None:
    """Take away what a seeding that broke off left, and remember what is going to be written.

    Raises:
        SeedError: if there is anything where the company would go, and no seeding was begun before.
    """
    with database(resolve(OPERATIONS_ID)) as operations, database(resolve(CRM_ID)) as crm:
        begun = operations.execute("SELECT to_regclass('lethe_demo.seed')").fetchone() != (None,)
        for name, opened in (("crm", crm), ("operations", operations)):
            names = list(schema.schemas(name))
            there = opened.execute("SELECT 1 FROM pg_namespace WHERE nspname = ANY(%s)", [names]).fetchone()
            if there and not begun:
                raise SeedError(
                    f"the database for {name} has schemas of the names {', '.join(names)} that no seeding made: "
                    "give the demo databases of its own"
                )
            opened.execute(schema.drop(name).encode())
        if not begun:
            _refuse_others(bucket_client(resolve(LAKE_ID)))
        operations.execute(schema.MARK.encode())
        operations.execute("DELETE FROM lethe_demo.seed")
        operations.execute(
            "INSERT INTO lethe_demo.seed (as_of, scale, seed, complete) VALUES (%s, %s, %s, false)",
            [company.as_of, company.scale, company.seed],
        )


def fill(target: Connection, company: Company, name: str) -> str:
    """Create the tables of a database, copy their rows in, then index them; says how many there are."""
    contents = company.tables(name)
    with database(target) as connection:
        connection.execute(schema.tables(name).encode())
        for table in contents:
            _copy(connection, table)
        connection.execute(schema.indexes(name).encode())
    return f"{sum(len(table.rows) for table in contents):,} rows in {len(contents)} tables"


def _copy(connection: psycopg.Connection, table: Table) -> None:
    target = sql.SQL(".").join(sql.Identifier(part) for part in table.name.split("."))
    columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(target, columns)) as copy,
    ):
        for row in table.rows:
            copy.write_row(row)


# --- buckets ------------------------------------------------------------------------------------------------------


def _fill_lake(connection: Connection, company: Company) -> str:
    client = bucket_client(connection)
    for bucket in (LAKE, BADGES):
        _prepare_bucket(client, bucket)
    written = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        files = pool.map(
            lambda file: client.put_object(Bucket=LAKE, Key=file.key, Body=file.as_bytes()), company.view_files()
        )
        objects = pool.map(lambda stored: _put(client, stored), company.objects)
        written += sum(1 for _ in files) + sum(objects)
    return f"{written:,} object versions"


def _refuse_others(client: S3Client) -> None:
    """Raise `SeedError` if one of the buckets has anything in it."""
    there = {bucket["Name"] for bucket in client.list_buckets().get("Buckets", ())}
    for bucket in sorted({LAKE, BADGES} & there):
        page = client.list_object_versions(Bucket=bucket, MaxKeys=1)
        if page.get("Versions") or page.get("DeleteMarkers"):
            raise SeedError(f"bucket {bucket} has objects that no seeding made: give the demo an S3 of its own")


def _prepare_bucket(client: S3Client, bucket: str) -> None:
    """Create a versioned bucket; what a seeding that broke off left in it is taken away."""
    try:
        client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=bucket == BADGES)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for version in page.get("Versions", ()):
            key, version_id = version["Key"], version["VersionId"]
            if bucket == BADGES:
                client.put_object_legal_hold(Bucket=bucket, Key=key, VersionId=version_id, LegalHold={"Status": "OFF"})
            client.delete_object(Bucket=bucket, Key=key, VersionId=version_id)
        for marker in page.get("DeleteMarkers", ()):
            client.delete_object(Bucket=bucket, Key=marker["Key"], VersionId=marker["VersionId"])


def _put(client: S3Client, stored: StoredObject) -> int:
    for body in stored.versions:
        if body is None:
            client.delete_object(Bucket=stored.bucket, Key=stored.key)
        else:
            client.put_object(Bucket=stored.bucket, Key=stored.key, Body=body)
    if stored.locked:
        client.put_object_legal_hold(Bucket=stored.bucket, Key=stored.key, LegalHold={"Status": "ON"})
    return len(stored.versions)


# --- command ------------------------------------------------------------------------------------------------------


def main() -> int:
    """Seed the stores behind the connections of the environment."""
    parser = argparse.ArgumentParser(prog="python -m lethe_demo.seed", description=__doc__)
    parser.add_argument("--scale", type=float, default=float(os.environ.get("LETHE_DEMO_SCALE", "1")))
    arguments = parser.parse_args()
    try:
        done = seed(from_environment, datetime.now(UTC), arguments.scale, say=print)
    except LetheError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command
        return 1
    if done.fresh:
        print(f"The company is there, as of {done.as_of:%Y-%m-%d %H:%M} UTC.")  # noqa: T201 - a command
    return 0


if __name__ == "__main__":
    sys.exit(main())
