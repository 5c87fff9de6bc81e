"""Stores in which every identifier and value carries a token, and a search for tokens in all that is outside of them.

A token is random and of one kind of value, so that what is found says where it came from. The search knows a token in
upper and lower case, percent-encoded, in base64 and in hexadecimal, at any offset, and in what zlib or gzip has packed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import re
import secrets
import sqlite3
import urllib.parse
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from lethe.connections import Connection
from lethe.keys import new_connection
from lethe_demo.servers import EmbeddedPostgres, EmbeddedS3

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

AS_OF = datetime(2026, 6, 15, 3, 0, tzinfo=UTC)
OLD, NEW = date(2020, 1, 15), date(2026, 5, 1)
PEOPLE = 40
HELD = 4
"""One of the people. Even numbers have expired."""

KINDS = (
    "email", "phone", "account", "name", "note", "key", "child", "object", "tag", "metadata", "body",
    "row", "cell", "file", "clock",
)  # fmt: skip


# --- the search -------------------------------------------------------------------------------------------------------


class Tokens:
    """One token for each kind of value."""

    def __init__(self) -> None:
        self.of = {kind: f"kq{secrets.token_hex(7)}z" for kind in KINDS}
        self.of["phone"] = f"{secrets.randbelow(10**9):09d}"  # numbers are matched by their digits
        self._plain = {kind: token.encode() for kind, token in self.of.items()}
        self._packed = [(kind, form) for kind, token in self.of.items() for form in _base64_forms(token)]

    def __getitem__(self, kind: str) -> str:
        """The token of a kind."""
        return self.of[kind]

    def seen_in(self, content: bytes, depth: int = 3) -> set[str]:
        """The kinds of value that a content shows in any form."""
        small = content.lower()
        texts = [small, urllib.parse.unquote_to_bytes(small).lower()] if b"%" in small else [small]
        if b"\\u" in small:
            texts.append(re.sub(rb"\\u00([0-7][0-9a-f])", lambda m: bytes.fromhex(m[1].decode()), small).lower())
        found = {kind for kind, token in self._plain.items() for text in texts if token in text}
        found |= {kind for kind, token in self._plain.items() if token.hex().encode() in small}
        found |= {kind for kind, token in self._plain.items() if token.upper().hex().encode() in small}
        found |= {kind for kind, form in self._packed if form in content}
        if depth:
            for unpacked in _unpacked(content):
                found |= self.seen_in(unpacked, depth - 1)
        return found


def _base64_forms(token: str) -> set[bytes]:
    """What of a token's base64 does not depend on what is around it, at each of the three offsets."""
    forms = set()
    for text in (token, token.upper()):
        for offset in range(3):
            coded = base64.b64encode(b"\0" * offset + text.encode())
            forms.add(coded[-(-offset * 8 // 6) : (offset + len(text)) * 8 // 6])
    return forms | {form.replace(b"+", b"-").replace(b"/", b"_") for form in forms}


_MAGIC = re.compile(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]")
_LONG_BASE64 = re.compile(rb"[A-Za-z0-9+/]{40,}={0,2}")


def _unpacked(content: bytes) -> Iterator[bytes]:
    """What is packed anywhere in a content: by gzip or zlib, also within base64."""
    for match in _MAGIC.finditer(content):
        unpacker = zlib.decompressobj(47)
        try:
            unpacked = unpacker.decompress(content[match.start() :], 50_000_000)
        except zlib.error:
            continue
        if unpacked:
            yield unpacked
    for match in _LONG_BASE64.finditer(content):
        if match[0].startswith((b"H4sI", b"eJ", b"eN", b"eA")):  # gzip and zlib, in base64
            try:
                yield base64.b64decode(match[0] + b"=" * (-len(match[0]) % 4))
            except binascii.Error:
                continue


# --- the stores -------------------------------------------------------------------------------------------------------

_POLICY = """\
category: canaries
title: Records that carry tokens
owner: tests
legal_basis: none
source: none
retention: {{keep_for: P1Y}}
time_zone: Europe/Prague
schedule: null
limits: {{records: {records}, share: 1.0}}
datasets:
  - name: people
    kind: table
    store: crm
    table: crm.people
    key: [id]
    clock: {{column: ended, format: iso8601}}
    identifiers: {{email: [email], phone: [phone], account: [account]}}
    phone_region: DE
    children: [{{table: crm.notes, foreign_key: [person_id]}}]
  - name: files
    kind: objects
    store: lake
    bucket: {bucket}
    prefix: files/
    clock: {{key: "/date=(?P<value>[^/]+)/"}}
    identifiers: {{account: {{key: "/account=(?P<value>[^/]+)/"}}, person: {{tag: person}}, email: {{metadata: mail}}}}
  - name: rows
    kind: parquet
    store: lake
    bucket: {bucket}
    prefix: rows/
    key: [id]
    clock: {{column: ended, format: iso8601}}
    identifiers: {{email: [email], phone: [phone]}}
    phone_region: DE
"""

_TABLES = (
    "DROP SCHEMA IF EXISTS crm CASCADE",
    "CREATE SCHEMA crm",
    "CREATE TABLE crm.people (id text PRIMARY KEY, email text, phone text, account text, name text, ended text)",
    "CREATE INDEX ON crm.people (ended)",
    "CREATE TABLE crm.notes (id text PRIMARY KEY, note text, person_id text NOT NULL REFERENCES crm.people)",
    "CREATE INDEX ON crm.notes (person_id)",
)


@dataclass
class Stores:
    """A table with a child table, objects and Parquet files, their policy, and where all else may write.

    Attributes:
        outside: everything in it is searched: what Lethe writes, logs, output, temporary files.
        inside: what tests hand to Lethe, which may hold tokens.
    """

    postgres: EmbeddedPostgres
    s3: EmbeddedS3
    outside: Path
    inside: Path
    registry: str = "sqlite"
    tokens: Tokens = field(default_factory=Tokens)
    name: str = field(default_factory=lambda: f"canary_{secrets.token_hex(4)}")

    def __post_init__(self) -> None:
        self._searched: set[bytes] = set()
        self.bucket = self.name.replace("_", "-")
        self.postgres.create_database(self.name)
        url = self.postgres.engine(self.name).url
        self.engine = sa.create_engine(url, poolclass=sa.NullPool, hide_parameters=True)  # it logs beside Lethe's
        self.client = self.s3.client()
        self.client.create_bucket(Bucket=self.bucket)
        self.client.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        self.home = self.outside / "home"
        for folder in (self.home, self.outside / "tmp", self.inside):
            folder.mkdir(parents=True, exist_ok=True)
        crm = self.postgres.connection("crm", self.name)
        small = {"lethe_batch_size": 4}
        self.connections = {
            "crm": Connection("crm", "postgres", crm.host, crm.port, crm.schema, crm.login, crm.password, small),
            "lake": self.s3.connection("lake"),
            "lethe_governance": self._governance(),
            "lethe_keys": Connection.parse("lethe_keys", new_connection()),
        }
        self.write_policy()
        (self.inside / "expectations").mkdir()
        self.fill()

    def _governance(self) -> Connection:
        if self.registry == "sqlite":
            return Connection("lethe_governance", "sqlite", host=str(self.home / "governance.db"))
        self.postgres.create_database(f"{self.name}_governance")
        return self.postgres.connection("lethe_governance", f"{self.name}_governance")

    def drop(self) -> None:
        """Remove the databases."""
        self.engine.dispose()
        for name in (self.name, f"{self.name}_governance"):
            self.postgres.drop_database(name)

    def write_policy(self, *, records: int = 100_000) -> None:
        """Write the policy, with a limit."""
        folder = self.inside / "policies"
        folder.mkdir(exist_ok=True)
        (folder / "canaries.yaml").write_text(_POLICY.format(records=records, bucket=self.bucket))

    def environment(self) -> dict[str, str]:
        """Environment variables by which Lethe finds all of it."""
        variables = {
            "LETHE_HOME": str(self.home),
            "LETHE_POLICIES": str(self.inside / "policies"),
            "LETHE_EXPECTATIONS": str(self.inside / "expectations"),
            "TMPDIR": str(self.outside / "tmp"),
        }
        for conn_id, found in self.connections.items():
            names = ("conn_type", "host", "port", "schema", "login", "password")
            fields = {name: getattr(found, name) for name in names if getattr(found, name) is not None}
            text = json.dumps({**fields, "extra": dict(found.extra)})
            variables[f"AIRFLOW_CONN_{conn_id.upper()}"] = text
        return variables

    # --- values -------------------------------------------------------------------------------------------------

    def email(self, n: int) -> str:
        """The e-mail address of a person, as systems store it."""
        text = f"{self.tokens['email']}.{n}@example.org"
        return text.upper() if n % 3 else text

    def phone(self, n: int) -> str:
        """The telephone number of a person."""
        return f"+4930{self.tokens['phone']}{n:02d}"

    def account(self, n: int) -> str:
        """The account of a person."""
        return f"{self.tokens['account']}-{n}"

    def key(self, n: int) -> str:
        """The key of a person's row."""
        return f"{self.tokens['key']}-{n}"

    def object_key(self, n: int, day: str | None = None) -> str:
        """The key of a person's object."""
        return f"files/date={day or self.day(n)}/account={self.account(n)}/{self.tokens['object']}-{n} ř.json"

    def row_key(self, n: int) -> str:
        """The key of a person's row in a Parquet file."""
        return f"{self.tokens['row']}-{n}"

    def day(self, n: int) -> str:
        """The clock of a person's records."""
        return (NEW if n % 2 else OLD).isoformat()

    # --- filling ------------------------------------------------------------------------------------------------

    def fill(self) -> None:
        """Put all records into the stores, in place of what is there."""
        tokens = self.tokens
        people = [
            {
                "id": self.key(n),
                "email": self.email(n),
                "phone": self.phone(n),
                "account": self.account(n),
                "name": f"{tokens['name']} {n}",
                "ended": self.day(n),
            }
            for n in range(PEOPLE)
        ]
        notes = [
            {"id": f"{tokens['child']}-{n}", "note": f"{tokens['note']} says {n}", "person_id": self.key(n)}
            for n in range(PEOPLE)
        ]
        with self.engine.begin() as connection:
            for statement in _TABLES:
                connection.execute(sa.text(statement))
            columns = "(id, email, phone, account, name, ended)"
            values = "(:id, :email, :phone, :account, :name, :ended)"
            connection.execute(sa.text(f"INSERT INTO crm.people {columns} VALUES {values}"), people)  # noqa: S608
            connection.execute(sa.text("INSERT INTO crm.notes VALUES (:id, :note, :person_id)"), notes)
        self._empty("files/", "rows/")
        versions = [n for n in range(PEOPLE // 2) for _ in range(1 + n % 2 + n % 4 // 2)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self.put_object, versions))
        for file in range(3):
            self.put_file(file)

    def put_object(self, n: int, day: str | None = None) -> None:
        """Put a version of a person's object."""
        self.client.put_object(
            Bucket=self.bucket,
            Key=self.object_key(n, day),
            Body=f"{self.tokens['body']} {n}".encode(),
            Metadata={"mail": f"{self.tokens['metadata']}.{n}@example.org"},
            Tagging=urllib.parse.urlencode({"person": f"{self.tokens['tag']}-{n}"}),
        )

    def put_file(self, file: int, ended: str | None = None) -> None:
        """Put a Parquet file: 0 is mixed, 1 is all expired, 2 not at all."""
        numbers = [n for n in range(PEOPLE) if file == 0 or (n % 2 == file - 1 and n != HELD)]
        clocks = [ended or self.day(n) for n in numbers]
        table = pa.table(
            {
                "id": [self.row_key(100 * file + n) for n in numbers],
                "email": [self.email(n) for n in numbers],
                "phone": [self.phone(n) for n in numbers],
                "remark": [f"{self.tokens['cell']} {n}" for n in numbers],
                "ended": clocks,
            }
        )
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        self.client.put_object(Bucket=self.bucket, Key=self.file_key(file), Body=buffer.getvalue())

    def file_key(self, file: int) -> str:
        """The key of a Parquet file."""
        return f"rows/{self.tokens['file']}-{file}.parquet"

    def _empty(self, *prefixes: str) -> None:
        found: list[ObjectIdentifierTypeDef] = [
            {"Key": one["Key"], "VersionId": one["VersionId"]} for one in self._versions()
        ]
        gone = [one for one in found if one["Key"].startswith(prefixes)]
        if gone:
            self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": gone, "Quiet": True})

    # --- what is there ------------------------------------------------------------------------------------------

    def _versions(self) -> list[Any]:
        pages = self.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket)
        return [item for page in pages for item in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))]

    def left(self) -> dict[str, int]:
        """How many records (of objects and files: versions) each dataset has."""
        return {name: self.count(name) for name in ("people", "files", "rows")}

    def count(self, dataset: str) -> int:
        """How many records, or versions, a dataset has."""
        if dataset == "people":
            with self.engine.connect() as connection:
                return int(connection.scalar(sa.text("SELECT count(*) FROM crm.people")) or 0)
        return sum(item["Key"].startswith(f"{dataset}/") for item in self._versions())

    # --- searching ----------------------------------------------------------------------------------------------

    def traces(self, *, staging: bool = True) -> dict[str, set[str]]:
        """Every place outside of the records' own that shows a token, with the kinds of value that it shows."""
        found: dict[str, set[str]] = {}
        for place, content in self._places(staging=staging):
            digest = hashlib.sha256(content).digest()
            if digest in self._searched:  # nothing was found in it before
                continue
            if kinds := self.tokens.seen_in(content):
                found.setdefault(place, set()).update(kinds)
            else:
                self._searched.add(digest)
        return found

    def _places(self, *, staging: bool) -> Iterator[tuple[str, bytes]]:
        yield from in_folder(self.outside)
        if self.registry == "postgresql":
            yield from _in_database(self.postgres.engine(f"{self.name}_governance"), "governance")
        if staging:
            yield from _in_database(self.engine, "staging", beside="crm")
            yield from self._in_bucket()

    def _in_bucket(self) -> Iterator[tuple[str, bytes]]:
        for item in self._versions():
            if not item["Key"].startswith(("files/", "rows/")):
                yield f"bucket: {item['Key']}", item["Key"].encode()
                if "Size" in item:
                    where = {"Bucket": self.bucket, "Key": item["Key"], "VersionId": item["VersionId"]}
                    answer = self.client.get_object(**where)
                    yield f"bucket: {item['Key']}", answer["Body"].read() + str(answer["Metadata"]).encode()


def in_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The names and bytes of all files, and the rows of those that are SQLite databases."""
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        yield name, name.encode()
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            yield name, content
            if content.startswith(b"SQLite format 3\0"):  # a text may lie on several pages
                yield from _in_sqlite(path, name)


def _in_sqlite(path: Path, name: str) -> Iterator[tuple[str, bytes]]:
    with sqlite3.connect(f"file:{urllib.parse.quote(str(path))}?mode=ro", uri=True) as connection:
        connection.text_factory = bytes
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            rows = connection.execute(f'SELECT * FROM "{table.decode()}"')  # noqa: S608
            yield f"{name}: {table.decode()}", b"\n".join(_as_bytes(value) for row in rows for value in row)
    connection.close()


def _in_database(engine: sa.Engine, title: str, *, beside: str = "") -> Iterator[tuple[str, bytes]]:
    with engine.connect() as connection:
        tables = connection.execute(
            sa.text(
                "SELECT table_schema, table_name FROM information_schema.tables "
                "WHERE table_schema NOT IN ('pg_catalog', 'information_schema', :beside)"
            ),
            {"beside": beside},
        ).all()
        for schema, table in tables:
            rows = connection.execute(sa.text(f'SELECT * FROM "{schema}"."{table}"'))  # noqa: S608
            name = f"{title}: {schema}.{table}"
            yield name, name.encode() + b"\n" + b"\n".join(_as_bytes(value) for row in rows for value in row)


def _as_bytes(value: object) -> bytes:
    return bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
