"""The worlds of the stores that Lethe comes with."""

# ruff: noqa: ANN401 - fields of policies, columns and boto3's options are of any type
from __future__ import annotations

import gzip
import io
import json
import re
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from tests.stores import sql_kit
from tests.stores.contract.world import BATCH, EXPIRY, PEOPLE, ZONE, Record, World

from lethe.connections import Connection
from lethe.policy import Dataset, Expiry, JsonLinesDataset, ObjectDataset, ParquetDataset, TableDataset
from lethe.stores.abilities import Abilities, ClockForm
from lethe.stores.base import Work
from lethe.stores.objects import S3ObjectStore
from lethe.stores.sql import SqlStore
from lethe_demo.servers import EmbeddedS3

if TYPE_CHECKING:
    import pyarrow as pa
    from mypy_boto3_s3 import S3Client

    from lethe.stores.files.store import FileStore


def shaped(clock: datetime | str | None, form: ClockForm) -> Any:
    """A clock as a form has it."""
    if clock is None or isinstance(clock, str):
        return clock
    local = clock.astimezone(ZONE)
    return {
        ClockForm.DAY: local.date(),
        ClockForm.MOMENT: clock.astimezone(UTC),
        ClockForm.WALL: local.replace(tzinfo=None),
        ClockForm.TEXT: clock.astimezone(UTC).isoformat(),
        ClockForm.EPOCH: int(clock.timestamp()),
        ClockForm.YEAR: local.year,
    }[form]


FORMATS = {ClockForm.TEXT: "iso8601", ClockForm.EPOCH: "epoch_seconds", ClockForm.YEAR: "year"}


_LASTING = ("staged", "gate")
"""How tables end that stay for the next run."""


# --- tables -------------------------------------------------------------------------------------------------------


@dataclass
class Tables(World):
    """A table with a child table in a database."""

    connection: Connection = field(default_factory=lambda: Connection("world", "sqlite"))

    @property
    def abilities(self) -> Abilities:
        store = self.store()
        try:
            return store.abilities
        finally:
            store.close()

    def store(self) -> SqlStore:
        return SqlStore(self.connection)

    @cached_property
    def engine(self) -> sa.Engine:
        """An engine of its own."""
        return sql_kit.plain_engine(self.connection)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "engine"}

    def tables(self) -> tuple[sa.Table, sa.Table]:
        """People and their notes."""
        kind = sql_kit.kind_of(self.connection)
        kinds: dict[ClockForm, Any] = {
            ClockForm.DAY: sa.Date(),
            ClockForm.MOMENT: kind.moment,
            ClockForm.WALL: kind.wall,
            ClockForm.TEXT: kind.indexed,
            ClockForm.EPOCH: sa.BigInteger(),
            ClockForm.YEAR: sa.Integer(),
        }
        metadata = sa.MetaData()
        people = sa.Table(
            "people",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("email", sa.Text),
            sa.Column("account", sa.Text),
            sa.Column("state", sa.Text),
            sa.Column("at", kinds[self.written], index=True),
        )
        notes = sa.Table(
            "notes",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("person", sa.ForeignKey(people.c.id), nullable=False, index=True),
            sa.Column("contact", sa.Text),
        )
        return people, notes

    def _note(self, record: Record) -> dict[str, Any]:
        return {"id": record.number, "person": record.number, "contact": record.contact}

    def write(self, records: Iterable[Record], form: ClockForm) -> None:
        self.written = form
        metadata = self.tables()[0].metadata
        with self.engine.begin() as connection:
            for schema, name in self._scratch():
                sa.Table(name, sa.MetaData(), schema=schema).drop(connection)
            metadata.drop_all(connection)
            metadata.create_all(connection)
            self._insert(connection, list(records))

    def _insert(self, connection: sa.Connection, records: Sequence[Record]) -> None:
        people, notes = self.tables()
        if records:
            connection.execute(sa.insert(people), [self._row(record) for record in records])
            connection.execute(sa.insert(notes), [self._note(record) for record in records])

    def _row(self, record: Record) -> dict[str, Any]:
        clock = shaped(record.clock, self.written)
        return {
            "id": record.number, "email": record.email, "account": record.account, "state": record.state, "at": clock
        }  # fmt: skip

    def dataset(self, **changes: Any) -> TableDataset:
        return TableDataset.model_validate(
            {
                "kind": "table",
                "name": "people",
                "store": "world",
                "table": "people",
                "key": ["id"],
                "clock": {"column": "at", "format": FORMATS.get(self.written)},
                "identifiers": {"email": ["email"], "account": ["account"]},
                "children": [{"table": "notes", "foreign_key": ["person"], "identifiers": {"email": ["contact"]}}],
                **changes,
            }
        )

    def left(self) -> set[int]:
        people, notes = self.tables()
        with self.engine.connect() as connection:
            return {*connection.scalars(sa.select(people.c.id)), *connection.scalars(sa.select(notes.c.person))}

    def intact(self) -> set[int]:
        people, notes = self.tables()
        wanted = {n: (record.email, record.account, record.state) for n, record in self.records.items()}
        columns = (people.c.email, people.c.account, people.c.state)
        with self.engine.connect() as connection:
            noted = set(connection.scalars(sa.select(notes.c.person)))
            rows = {row.id: tuple(row[1:]) for row in connection.execute(sa.select(people.c.id, *columns))}
        return {n for n, row in rows.items() if row == wanted[n] and n in noted}

    def number(self, key: bytes) -> int:
        return int(key.removeprefix(b"n"))

    def rewrite(self, record: Record) -> None:
        with self.engine.begin() as connection:
            self._update(connection, record)

    def _update(self, connection: sa.Connection, record: Record) -> None:
        people, _ = self.tables()
        connection.execute(sa.update(people).where(people.c.id == record.number).values(self._row(record)))

    def add(self, record: Record) -> None:
        with self.engine.begin() as connection:
            self._insert(connection, [record])

    def spoil(self, number: int) -> None:
        people, _ = self.tables()
        with self.engine.begin() as connection:
            connection.execute(sa.update(people).where(people.c.id == number).values(state="spoiled"))

    def take(self, number: int) -> None:
        people, notes = self.tables()
        with self.engine.begin() as connection:
            connection.execute(sa.delete(notes).where(notes.c.person == number))
            connection.execute(sa.delete(people).where(people.c.id == number))

    def staged(self) -> set[str]:
        return {f"{schema or ''}.{table}" for schema, table in self._scratch() if not table.endswith(_LASTING)}

    def _scratch(self) -> list[tuple[str | None, str]]:
        with self.engine.connect() as connection:
            inspector = sa.inspect(connection)
            schemas = [name for name in inspector.get_schema_names() if name not in ("information_schema", "public")]
            pairs = [(schema, table) for schema in schemas for table in inspector.get_table_names(schema=schema)]
        return [(schema, table) for schema, table in pairs if "lethe" in f"{schema}.{table}"]

    def tamper(self, number: int) -> None:
        """Stage the record in place of the first that was checked."""
        with self.engine.begin() as connection:
            for schema, name in self._scratch():
                table = sa.Table(name, sa.MetaData(), schema=schema, autoload_with=connection)
                if "key_0" in table.c:
                    first = sa.select(sa.func.min(table.c.key_0)).scalar_subquery()
                    connection.execute(sa.update(table).where(table.c.key_0 == first).values(key_0=number))

    def wrong(self) -> Mapping[str, Dataset]:
        return {
            "no such table": self.dataset(table="nobody"),
            "no such key": self.dataset(key=["nothing"]),
            "a key that is not unique": self.dataset(key=["state"]),
            "no such clock": self.dataset(clock={"column": "never"}),
            "a clock that is none": self.dataset(clock={"column": "state"}),
            "no such identifier": self.dataset(identifiers={"email": ["mail"]}),
            "no such child": self.dataset(children=[{"table": "nobody", "foreign_key": ["person"]}]),
        }


@dataclass
class RelatedTables(Tables):
    """The same, where clock and state are in a row that a person leads to by way of another; so is the address, or not.

    What a person's own row has of these is NULL.
    """

    apart: tuple[str, ...] = ("email", "state", "at")

    def tables(self) -> tuple[sa.Table, sa.Table]:
        people, notes = super().tables()
        number = ("id", sa.Integer)
        sa.Table(
            "contracts",
            people.metadata,
            sa.Column(*number, primary_key=True, autoincrement=False),
            sa.Column("owner", sa.ForeignKey("owners.id"), nullable=False),
        )
        sa.Table(
            "owners",
            people.metadata,
            sa.Column(*number, primary_key=True, autoincrement=False),
            *(sa.Column(name, people.c[name].type) for name in ("email", "state", "at")),
        )
        people.append_column(sa.Column("contract", sa.ForeignKey("contracts.id"), nullable=False))
        return people, notes

    def owners(self) -> tuple[sa.Table, sa.Table, sa.Table, sa.Table]:
        """People and their notes, the contracts that people have, and the owners of these."""
        people, notes = self.tables()
        return people, notes, people.metadata.tables["contracts"], people.metadata.tables["owners"]

    def _owner(self, record: Record) -> dict[str, Any]:
        row = super()._row(record)
        return {"id": 2_000 + record.number, **{name: row[name] for name in ("email", "state", "at")}}

    def _row(self, record: Record) -> dict[str, Any]:
        return {**super()._row(record), **dict.fromkeys(self.apart), "contract": 1_000 + record.number}

    def _insert(self, connection: sa.Connection, records: Sequence[Record]) -> None:
        """With contract and owner, in place of those of a person who was there before."""
        _, _, contracts, owners = self.owners()
        leading = {
            contracts: [{"id": 1_000 + record.number, "owner": 2_000 + record.number} for record in records],
            owners: [self._owner(record) for record in records],
        }
        for table, rows in leading.items():
            connection.execute(sa.delete(table).where(table.c.id.in_([row["id"] for row in rows])))
        for table, rows in reversed(leading.items()):
            if rows:
                connection.execute(sa.insert(table), rows)
        super()._insert(connection, records)

    def _update(self, connection: sa.Connection, record: Record) -> None:
        super()._update(connection, record)
        *_, owners = self.owners()
        owner = self._owner(record)
        connection.execute(sa.update(owners).where(owners.c.id == owner["id"]).values(owner))

    def spoil(self, number: int) -> None:
        *_, owners = self.owners()
        with self.engine.begin() as connection:
            connection.execute(sa.update(owners).where(owners.c.id == 2_000 + number).values(state="spoiled"))

    def intact(self) -> set[int]:
        people, notes, contracts, owners = self.owners()
        wanted = {n: (record.email, record.account, record.state) for n, record in self.records.items()}
        address = owners.c.email if "email" in self.apart else people.c.email
        rows = sa.select(people.c.id, address, people.c.account, owners.c.state)
        rows = rows.join(contracts, contracts.c.id == people.c.contract).join(owners, owners.c.id == contracts.c.owner)
        with self.engine.connect() as connection:
            noted = set(connection.scalars(sa.select(notes.c.person)))
            found = {row.id: tuple(row[1:]) for row in connection.execute(rows)}
        return {n for n, row in found.items() if row == wanted[n] and n in noted}

    def _where(self, column: str) -> str:
        return f"owner.{column}" if column in (*self.apart, "mail", "never") else column

    def dataset(self, **changes: Any) -> TableDataset:
        own = super().dataset(**changes).model_dump(mode="json", by_alias=True, exclude_unset=True)
        clock = own["clock"]
        own["clock"] = {**clock, "column": self._where(clock["column"])}
        for field_name in ("where", "keep_while"):
            own[field_name] = [{**one, "column": self._where(one["column"])} for one in own.get(field_name, ())]
        own["identifiers"] = {kind: list(map(self._where, names)) for kind, names in own["identifiers"].items()}
        contract = {"table": "contracts", "foreign_key": ["contract"], "references": ["id"]}
        owner = {"table": "owners", "through": "contract", "foreign_key": ["owner"], "references": ["id"]}
        return TableDataset.model_validate({"related": {"owner": owner, "contract": contract}, **own})

    def work(self, dataset: Dataset | None = None, *, expiry: Expiry = EXPIRY, **options: Any) -> Work:
        column = None if expiry.column is None else self._where(expiry.column)
        return super().work(dataset, expiry=replace(expiry, column=column), **options)

    def wrong(self) -> Mapping[str, Dataset]:
        contract = {"table": "contracts", "foreign_key": ["contract"], "references": ["id"]}
        lost = {"table": "owners", "through": "contract", "foreign_key": ["owner"], "references": ["state"]}
        return {
            **super().wrong(),
            "no such related table": self.dataset(related={"owner": {**contract, "table": "nobody"}}),
            "a related row that is not one": self.dataset(related={"contract": contract, "owner": lost}),
            "no column that leads there": self.dataset(related={"owner": {**contract, "foreign_key": ["never"]}}),
        }


@dataclass
class ManyTables(Tables):
    """The same, where the clock is the latest of many rows that refer to a person and go along; or the address, too.

    Each has two: one with nothing but an earlier clock, and one with all. What a person's own row has of these is NULL.
    """

    apart: tuple[str, ...] = ("email", "at")

    def tables(self) -> tuple[sa.Table, sa.Table]:
        people, notes = super().tables()
        sa.Table(
            "events",
            people.metadata,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("person", sa.ForeignKey(people.c.id), nullable=False, index=True),
            *(sa.Column(name, people.c[name].type) for name in ("email", "state", "at")),
        )
        return people, notes

    @property
    def events(self) -> sa.Table:
        """What refers to people."""
        return self.tables()[0].metadata.tables["events"]

    def _rows(self, record: Record) -> list[dict[str, Any]]:
        row = super()._row(record)
        before = record.clock - _DAY if isinstance(record.clock, datetime) and record.clock.year > 1 else None
        both = {"person": record.number, "state": row["state"]}
        return [
            {**both, "id": 1_000 + 2 * record.number, "email": None, "at": shaped(before, self.written)},
            {**both, "id": 1_001 + 2 * record.number, "email": row["email"], "at": row["at"]},
        ]

    def _row(self, record: Record) -> dict[str, Any]:
        return {**super()._row(record), **dict.fromkeys(self.apart)}

    def _insert(self, connection: sa.Connection, records: Sequence[Record]) -> None:
        super()._insert(connection, records)
        rows = [row for record in records for row in self._rows(record)]
        if rows:
            connection.execute(sa.insert(self.events), rows)

    def _update(self, connection: sa.Connection, record: Record) -> None:
        super()._update(connection, record)
        events = self.events
        for row in self._rows(record):
            connection.execute(sa.update(events).where(events.c.id == row["id"]).values(row))

    def take(self, number: int) -> None:
        events = self.events
        with self.engine.begin() as connection:
            connection.execute(sa.delete(events).where(events.c.person == number))
        super().take(number)

    def left(self) -> set[int]:
        with self.engine.connect() as connection:
            return super().left() | set(connection.scalars(sa.select(self.events.c.person)))

    def intact(self) -> set[int]:
        people, notes = self.tables()
        events = people.metadata.tables["events"]
        wanted = {n: (record.email, record.account, record.state) for n, record in self.records.items()}
        address = events.c.email if "email" in self.apart else people.c.email
        rows = sa.select(people.c.id, address, people.c.account, people.c.state)
        rows = rows.join(events, events.c.person == people.c.id).where(events.c.email.is_not(None))
        each = sa.select(events.c.person).group_by(events.c.person).having(sa.func.count() == 2)
        with self.engine.connect() as connection:
            noted = set(connection.scalars(sa.select(notes.c.person))) & set(connection.scalars(each))
            found = {row.id: tuple(row[1:]) for row in connection.execute(rows)}
        return {n for n, row in found.items() if row == wanted[n] and n in noted}

    def _where(self, column: str) -> str:
        return f"events.{column}" if column in (*self.apart, "mail", "never") else column

    def dataset(self, **changes: Any) -> TableDataset:
        own = super().dataset(**changes).model_dump(mode="json", by_alias=True, exclude_unset=True)
        clock = own["clock"]
        column = self._where(clock.pop("column"))
        own["clock"] = {**clock, **({"latest_of": [column]} if "." in column else {"column": column})}
        own["keep_while"] = [{**one, "column": f"events.{one['column']}"} for one in own.get("keep_while", ())]
        own["identifiers"] = {kind: list(map(self._where, names)) for kind, names in own["identifiers"].items()}
        if "children" not in changes:
            own["children"] += [{"table": "events", "foreign_key": ["person"], "identifiers": {}}]
        return TableDataset.model_validate({"related": {"events": MANY_EVENTS}, **own})

    def wrong(self) -> Mapping[str, Dataset]:
        return {
            **super().wrong(),
            "no such related table": self.dataset(related={"events": {**MANY_EVENTS, "table": "nobody"}}),
            "rows that do not refer": self.dataset(related={"events": {**MANY_EVENTS, "foreign_key": ["id"]}}),
            "no column that refers": self.dataset(related={"events": {**MANY_EVENTS, "foreign_key": ["never"]}}),
            "several records": self.dataset(related={"events": {**MANY_EVENTS, "references": ["state"]}}),
        }


MANY_EVENTS = {"table": "events", "many": True, "foreign_key": ["person"], "references": ["id"]}
_DAY = timedelta(days=1)


@dataclass
class EventTables(Tables):
    """The same, where a person's period starts on an event of their number, which no table has."""

    form: ClockForm = ClockForm.DAY

    @property
    def abilities(self) -> Abilities:
        return replace(super().abilities, clocks=frozenset({ClockForm.DAY}))

    def fill(self, records: Iterable[Record] | None = None, form: ClockForm | None = None) -> None:
        super().fill(records, form)
        self._happened(*self.records.values())

    def _happened(self, *records: Record) -> None:
        self.registry.happened({str(record.number): shaped(record.clock, ClockForm.DAY) for record in records})

    def _row(self, record: Record) -> dict[str, Any]:
        return {**super()._row(record), "at": None}

    def rewrite(self, record: Record) -> None:
        super().rewrite(record)
        self._happened(record)

    def add(self, record: Record) -> None:
        super().add(record)
        self._happened(record)

    def dataset(self, **changes: Any) -> TableDataset:
        return super().dataset(**{"clock": {"event": "closed", "refers_to": ["id"]}, **changes})

    def wrong(self) -> Mapping[str, Dataset]:
        lost, inexact = ({"event": "closed", "refers_to": [name]} for name in ("never", "at"))
        return {
            **super().wrong(),
            "no column that refers to the event": self.dataset(clock=lost),
            "a column whose values cannot be named": self.dataset(clock=inexact),
        }


# --- objects ------------------------------------------------------------------------------------------------------


@dataclass
class Bucket(World):
    """Something in a bucket of a server, under a prefix of its own for every filling."""

    connection: Connection = field(default_factory=lambda: Connection("world", "aws"))
    bucket: str = ""
    versioned: bool = False

    @cached_property
    def client(self) -> S3Client:
        """boto3's own client."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=str(self.connection.extra["endpoint_url"]),
            aws_access_key_id=self.connection.login,
            aws_secret_access_key=self.connection.password,
            region_name="us-east-1",
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "client"}

    @property
    def prefix(self) -> str:
        """Where the records are."""
        return f"{self.filling}/"

    def put(self, key: str, body: bytes, **options: Any) -> str:
        """Write an object; gives its ETag."""
        return self.client.put_object(Bucket=self.bucket, Key=key, Body=body, **options)["ETag"]

    def etags(self, prefix: str) -> dict[str, str]:
        """What the objects under a prefix are now: ETags by key."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return {one["Key"]: one["ETag"] for page in pages for one in page.get("Contents", ())}

    def listed(self, prefix: str) -> list[tuple[str, str, bool, bool]]:
        """Everything under a prefix: key, version id, whether it is a marker, whether it is the latest."""
        found = []
        for page in self.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix):
            for marker, kind in ((False, "Versions"), (True, "DeleteMarkers")):
                entries: list[Any] = list(page.get(kind, ()))  # type: ignore[call-overload]
                found += [(one["Key"], one["VersionId"], marker, one["IsLatest"]) for one in entries]
        return found

    def purge(self, prefix: str) -> None:
        """Remove everything under a prefix."""
        for key, version, _, _ in self.listed(prefix):
            self.client.delete_object(Bucket=self.bucket, Key=key, VersionId=version)

    def staged(self) -> set[str]:
        return {f"{key} {version}" for key, version, _, _ in self.listed("_lethe/") if self.filling in key}

    def _tampered(self, parts: Iterable[str]) -> None:
        """Replace staged objects by others of the same kind."""
        bodies = {}
        for key in parts:
            bodies[key] = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        keys = sorted(bodies)
        for key, other in zip(keys, [*keys[1:], keys[0]], strict=True):
            self.client.put_object(Bucket=self.bucket, Key=key, Body=bodies[other])

    def staged_keys(self) -> list[str]:
        """Keys of what the run staged."""
        return sorted({key for key, _, marker, _ in self.listed("_lethe/") if self.filling in key and not marker})


@dataclass
class Objects(Bucket):
    """An object a record: its clock is metadata, or in its key; some have a version more, or are under a marker."""

    form: ClockForm = ClockForm.TEXT

    @property
    def abilities(self) -> Abilities:
        return S3ObjectStore.abilities

    def store(self) -> S3ObjectStore:
        return S3ObjectStore(self.connection)

    def write(self, records: Iterable[Record], form: ClockForm) -> None:
        self.written = form
        self.versions: Counter[int] = Counter()
        self.contents: dict[str, str] = {}
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self.add, records))

    def _key(self, record: Record) -> str:
        clock = shaped(record.clock, self.written)
        dated = f"at={clock}/" if not self.clock_changes and clock is not None else ""
        return f"{self.prefix}{dated}email={record.email}/account={record.account}/{record.number}.json"

    def add(self, record: Record) -> None:
        for _ in range(1 + (self.versioned and record.number % 2)):
            self.rewrite(record)
        if self.versioned and record.number % 5 == 4:
            self.client.delete_object(Bucket=self.bucket, Key=self._key(record))
            self.versions[record.number] += 1
            del self.contents[self._key(record)]

    def rewrite(self, record: Record) -> None:
        body = f"{record.number} {secrets.token_hex(4)}".encode()
        self.contents[self._key(record)] = self.put(self._key(record), body, Metadata=self._metadata(record))
        self.versions[record.number] = self.versions[record.number] + 1 if self.versioned else 1

    def _metadata(self, record: Record) -> dict[str, str]:
        clock = shaped(record.clock, self.written)
        return {"at": str(clock)} if self.clock_changes and clock is not None else {}

    def spoil(self, number: int) -> None:
        record = self.records[number]
        self.put(self._key(record), b"spoiled", Metadata=self._metadata(record))

    def dataset(self, **changes: Any) -> ObjectDataset:
        clock = {"metadata": "at"} if self.clock_changes else {"key": "/at=(?P<value>[^/]+)/"}
        parts = {"email": {"key": "/email=(?P<value>[^/]+)/"}, "account": {"key": "/account=(?P<value>[^/]+)/"}}
        return ObjectDataset.model_validate(
            {
                "kind": "objects",
                "name": "people",
                "store": "world",
                "bucket": self.bucket,
                "prefix": self.prefix,
                "clock": {**clock, "format": FORMATS[self.written]},
                "identifiers": parts,
                **changes,
            }
        )

    def key_of(self, number: int) -> str:
        """The key of a record."""
        return self._key(self.records[number])

    def _found(self) -> Counter[int]:
        return Counter(_numbered(key) for key, *_ in self.listed(self.prefix))

    def left(self) -> set[int]:
        return set(self._found())

    def intact(self) -> set[int]:
        now = self.etags(self.prefix)
        spoiled = {_numbered(key) for key in now if now[key] != self.contents.get(key)}
        lost = {_numbered(key) for key in self.contents if key not in now}
        whole = {number for number, count in self._found().items() if count == self.versions[number]}
        return whole - spoiled - lost

    def number(self, key: bytes) -> int:
        return _numbered(key.decode()[1:])

    def take(self, number: int) -> None:
        self.purge(self._key(self.records[number]))

    def tamper(self, number: int) -> None:
        """Swap the batches."""
        self._tampered(key for key in self.staged_keys() if re.search(r"/people/[0-9a-f]+/(part|manifest)", key))

    def wrong(self) -> Mapping[str, Dataset]:
        return {
            "no such bucket": self.dataset(bucket=f"none-{secrets.token_hex(4)}"),
            "where runs are staged": self.dataset(prefix="_lethe/people/"),
            "a prefix of other keys, too": self.dataset(prefix=self.prefix.rstrip("/")),
        }


def _numbered(key: str) -> int:
    return int(key.rsplit("/", 1)[1].removesuffix(".json"))


# --- rows in files --------------------------------------------------------------------------------------------------

_ROWS = 8
"""Rows of a file."""
_WAS = 1000
"""Added to the number of a file: the record that only its superseded version has."""


@dataclass
class Lake(Bucket):
    """Rows in files of eight; with versions, every second file has a superseded one with a row of its own."""

    suffix: str = ".parquet"

    @property
    def abilities(self) -> Abilities:
        from lethe.stores.files.store import FileStore

        return FileStore.abilities

    def store(self) -> FileStore:
        from lethe.stores.files.store import FileStore

        return FileStore(self.connection)

    def write(self, records: Iterable[Record], form: ClockForm) -> None:
        self.written = form
        self.files: dict[int, list[int]] = {}
        for record in records:
            self.files.setdefault(record.number // _ROWS, []).append(record.number)
        for number in self.files:
            if self.versioned and number % 2:
                self._write_superseded(number)
            self._write_file(number)

    def _write_superseded(self, file: int) -> None:
        """A version of the file with the same rows and another one, which is nowhere else, under the current one."""
        was = Record(_WAS + file, datetime(2018, 2, 2, tzinfo=UTC), person=PEOPLE)
        self.records[was.number] = was
        self._put_file(file, [*(self.records[number] for number in self.files[file]), was])

    def _key(self, file: int) -> str:
        return f"{self.prefix}part-{file:03}{self.suffix}"

    def key_of(self, number: int) -> str:
        """The key of the file that a record is in."""
        return self._key(self._file(number))

    def _write_file(self, file: int) -> None:
        self._put_file(file, [self.records[number] for number in self.files[file]])

    def _put_file(self, file: int, records: list[Record]) -> None:
        self.put(self._key(file), self._encoded(records))

    def _encoded(self, records: list[Record]) -> bytes:
        """Records as a file."""
        import pyarrow.parquet as pq

        out = io.BytesIO()
        pq.write_table(self._table(records), out, row_group_size=3)
        return out.getvalue()

    def _decoded(self, body: bytes) -> list[dict[str, Any]]:
        """The rows of a file."""
        import pyarrow.parquet as pq

        rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(body)).to_pylist()
        return rows

    def _table(self, records: list[Record]) -> pa.Table:
        import pyarrow as pa

        kinds = {
            ClockForm.DAY: pa.date32(),
            ClockForm.MOMENT: pa.timestamp("us", tz="UTC"),
            ClockForm.WALL: pa.timestamp("us"),
            ClockForm.TEXT: pa.string(),
            ClockForm.EPOCH: pa.int64(),
            ClockForm.YEAR: pa.int32(),
        }
        return pa.table(
            {
                "id": pa.array([record.number for record in records], pa.int64()),
                "email": [record.email for record in records],
                "account": [record.account for record in records],
                "state": [record.state for record in records],
                "at": pa.array([shaped(record.clock, self.written) for record in records], kinds[self.written]),
            }
        )

    def dataset(self, **changes: Any) -> ParquetDataset | JsonLinesDataset:
        return ParquetDataset.model_validate(
            {
                "kind": "parquet",
                "name": "people",
                "store": "world",
                "bucket": self.bucket,
                "prefix": self.prefix,
                "key": ["id"],
                "clock": {"column": "at", "format": FORMATS.get(self.written)},
                "identifiers": {"email": ["email"], "account": ["account"]},
                **changes,
            }
        )

    def _rows(self, *, latest: bool) -> Iterator[dict[str, Any]]:
        for key, version, marker, newest in self.listed(self.prefix):
            if not marker and (newest or not latest):
                options = {"VersionId": version} if version != "null" else {}
                body = self.client.get_object(Bucket=self.bucket, Key=key, **options)["Body"].read()  # type: ignore[arg-type]
                yield from self._decoded(body)

    def left(self) -> set[int]:
        try:
            return {row["id"] for row in self._rows(latest=False)} | self._marked()
        except self.client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] not in ("NoSuchVersion", "NoSuchKey"):
                raise
            return self.left()  # a file has just been replaced

    def _marked(self) -> set[int]:
        """The records of files of which there is nothing but a marker."""
        listed = self.listed(self.prefix)
        there = {key for key, _, marker, _ in listed if not marker}
        markers = {key for key, _, marker, _ in listed if marker} - there
        return {number for file, numbers in self.files.items() if self._key(file) in markers for number in numbers}

    def intact(self) -> set[int]:
        found = {row["id"]: (row["email"], row["account"], row["state"]) for row in self._rows(latest=True)}
        wanted = {n: (record.email, record.account, record.state) for n, record in self.records.items()}
        superseded = {n for n in self.left() if n >= _WAS}
        return {n for n, row in found.items() if row == wanted[n]} | superseded

    def number(self, key: bytes) -> int:
        return int(key.removeprefix(b"n"))

    def together(self, number: int) -> set[int]:
        file = self._file(number)
        return {*self.files[file], _WAS + file} & set(self.records)

    def _file(self, number: int) -> int:
        return (
            number - _WAS if number >= _WAS else next(file for file, numbers in self.files.items() if number in numbers)
        )

    def rewrite(self, record: Record) -> None:
        self.records[record.number] = record
        self._write_file(self._file(record.number))

    def add(self, record: Record) -> None:
        self.records[record.number] = record
        file = max(self.files) + 1
        self.files[file] = [record.number]
        self._write_file(file)

    def take(self, number: int) -> None:
        self.purge(self._key(self._file(number)))

    def spoil(self, number: int) -> None:
        records = [self.records[each] for each in self.files[self._file(number)]]
        self._put_file(
            self._file(number), [replace(one, state="spoiled") if one.number == number else one for one in records]
        )

    def tamper(self, number: int) -> None:
        """Swap the batches."""
        self._tampered(key for key in self.staged_keys() if re.search(r"/people/[0-9a-f]+/batch", key))

    def wrong(self) -> Mapping[str, Dataset]:
        return {
            "no such bucket": self.dataset(bucket=f"none-{secrets.token_hex(4)}"),
            "no such key": self.dataset(key=["nothing"]),
            "no such clock": self.dataset(clock={"column": "never"}),
            "a clock that is none": self.dataset(clock={"column": "state"}),
            "no such identifier": self.dataset(identifiers={"email": ["mail"]}),
        }


@dataclass
class Lines(Lake):
    """The same in JSON lines, with nested values and blank lines; compressed ones in members of three rows."""

    suffix: str = ".jsonl"

    def _encoded(self, records: list[Record]) -> bytes:
        lines = [self._line(record) for record in records]
        if not self.suffix.endswith(".gz"):
            return b"\n".join(lines)
        return b"".join(gzip.compress(b"".join(lines[at : at + 3])) for at in range(0, len(lines), 3))

    def _line(self, record: Record) -> bytes:
        clock = shaped(record.clock, self.written)
        row = {
            "id": record.number,
            "user": {"email": record.email, "accounts": ["none", record.account]},
            "state": record.state,
            "at": clock.isoformat() if isinstance(clock, date) else clock,
        }
        return json.dumps(row).encode() + b"\r\n \n" * (record.number % 2) + b"\n"

    def _decoded(self, body: bytes) -> list[dict[str, Any]]:
        content = gzip.decompress(body) if self.suffix.endswith(".gz") else body
        rows = [json.loads(line) for line in content.splitlines() if line.strip()]
        return [{**row, "email": row["user"]["email"], "account": row["user"]["accounts"][1]} for row in rows]

    def dataset(self, **changes: Any) -> ParquetDataset | JsonLinesDataset:
        return JsonLinesDataset.model_validate(
            {
                "kind": "jsonlines",
                "name": "people",
                "store": "world",
                "bucket": self.bucket,
                "prefix": self.prefix,
                "key": ["id"],
                "clock": {"column": "at", "format": FORMATS.get(self.written, "iso8601")},
                "identifiers": {"email": ["user.email"], "account": ["user.accounts[]"]},
                **changes,
            }
        )

    def wrong(self) -> Mapping[str, Dataset]:
        return {
            "no such bucket": self.dataset(bucket=f"none-{secrets.token_hex(4)}"),
            "no such key": self.dataset(key=["nothing"]),
            "no such clock": self.dataset(clock={"column": "never", "format": "iso8601"}),
            "a clock that is none": self.dataset(clock={"column": "user", "format": "iso8601"}),
            "no such identifier": self.dataset(identifiers={"email": ["user.mail"]}),
            "a list that is not said to be one": self.dataset(identifiers={"account": ["user.accounts"]}),
        }


# --- all of them --------------------------------------------------------------------------------------------------


@contextmanager
def tables(kind: str, folder: Path, *server: Any) -> Iterator[World]:
    """A database of a kind, which goes with its server or its folder."""
    connection = sql_kit.ALL_KINDS[kind].make(folder, *server)
    yield Tables(kind, folder, connection=_sized(replace(connection, conn_id="world")))


@contextmanager
def related_tables(kind: str, apart: tuple[str, ...], folder: Path, *server: Any) -> Iterator[World]:
    """The same, with some of what records are judged by in other tables."""
    connection = sql_kit.ALL_KINDS[kind].make(folder, *server)
    yield RelatedTables(kind, folder, connection=_sized(replace(connection, conn_id="world")), apart=apart)


@contextmanager
def many_tables(kind: str, apart: tuple[str, ...], folder: Path, *server: Any) -> Iterator[World]:
    """The same, with some of what records are judged by in many rows that refer to them."""
    connection = sql_kit.ALL_KINDS[kind].make(folder, *server)
    yield ManyTables(kind, folder, connection=_sized(replace(connection, conn_id="world")), apart=apart)


@contextmanager
def event_tables(kind: str, folder: Path, *server: Any) -> Iterator[World]:
    """The same, with clocks that are events."""
    connection = sql_kit.ALL_KINDS[kind].make(folder, *server)
    yield EventTables(kind, folder, connection=_sized(replace(connection, conn_id="world")))


@contextmanager
def objects(folder: Path, server: EmbeddedS3, *, versioned: bool, clock_changes: bool) -> Iterator[World]:
    """Objects in a bucket."""
    name = f"objects{'-versioned' if versioned else ''}{'' if clock_changes else '-by-key'}"
    bucket, connection = _bucket(server, versioned=versioned)
    yield Objects(name, folder, clock_changes=clock_changes, connection=connection, bucket=bucket, versioned=versioned)


@contextmanager
def parquet(folder: Path, server: EmbeddedS3, *, versioned: bool) -> Iterator[World]:
    """Files in a bucket."""
    bucket, connection = _bucket(server, versioned=versioned)
    name = "parquet-versioned" if versioned else "parquet"
    yield Lake(name, folder, connection=connection, bucket=bucket, versioned=versioned)


@contextmanager
def lines(folder: Path, server: EmbeddedS3, *, suffix: str, versioned: bool) -> Iterator[World]:
    """Files of JSON lines in a bucket."""
    bucket, connection = _bucket(server, versioned=versioned)
    name = "jsonlines-gzip-versioned" if versioned else "jsonlines"
    yield Lines(name, folder, connection=connection, bucket=bucket, versioned=versioned, suffix=suffix)


def _bucket(server: EmbeddedS3, *, versioned: bool) -> tuple[str, Connection]:
    bucket = f"contract-{secrets.token_hex(4)}"
    client = server.client()
    client.create_bucket(Bucket=bucket)
    if versioned:
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return bucket, _sized(server.connection("world", lethe_scratch_bucket=bucket))


def _sized(connection: Connection) -> Connection:
    return replace(connection, extra={**connection.extra, "lethe_batch_size": BATCH})
