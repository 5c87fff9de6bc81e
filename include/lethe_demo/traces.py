"""Looks for people in places where none may be: logs, lineage, Airflow's metadata, the governance database.

It knows every e-mail address, telephone number, account, cookie, IP address, name and object key of the company, and
counts those that a text shows. Counts and places are all it tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from lethe.connections import Connection
from lethe_demo.company import Company
from lethe_demo.oracle import Verdict
from lethe_demo.seed import database

PROMISE = "no personal data outside the stores"
_ESCAPES = re.compile(r"\\[nrt]")
_WORDS = re.compile(r"[\w.+@-]+")
_ADDRESSES = re.compile(r"2001:db8:[0-9a-f:]+")
_NAMES = re.compile(r"\b([A-ZÀ-Ž][^\W\d_]+) (?=([A-ZÀ-Ž][^\W\d_]+))")
_CHUNK = 8 << 20


@dataclass(frozen=True, slots=True)
class Traces:
    """Everything that the company's people can be known by."""

    tokens: frozenset[str]

    @classmethod
    def of(cls, company: Company) -> Traces:
        """All tokens of a company."""
        tokens: set[str] = set()
        for person in company.people:
            tokens.update((person.email, person.phone, person.account.lower(), person.cookie, person.ip))
            tokens.add(person.name)
        tokens.update(scan.key.rpartition("/")[2] for scan in company.scans)  # a chat's key has the account in it
        return cls(frozenset(tokens))

    def count(self, text: str) -> int:
        """How many different tokens a text shows."""
        text = _ESCAPES.sub(" ", text)
        seen = {word.rstrip(".").lower() for word in _WORDS.findall(text)}
        seen.update(_ADDRESSES.findall(text))
        seen.update(f"{given} {family}" for given, family in _NAMES.findall(text))
        return len(seen & self.tokens)

    def in_folder(self, folder: Path) -> Iterator[tuple[str, int]]:
        """Files under a folder that show somebody: (path, tokens)."""
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                count = self._in_file(path)
                if count:
                    yield str(path.relative_to(folder)), count

    def _in_file(self, path: Path) -> int:
        total, rest = 0, ""
        with path.open(encoding="utf-8", errors="replace") as file:
            while chunk := file.read(_CHUNK):
                text = rest + chunk
                cut = max(text.rfind("\n") + 1, len(text) - 65_536)
                total, rest = total + self.count(text[:cut]), text[cut:]
        return total + self.count(rest)

    def in_database(self, connection: Connection, name: str) -> Iterator[tuple[str, int]]:
        """Tables of a PostgreSQL database that show somebody: (table, tokens)."""
        with database(connection, name) as opened:
            tables = opened.execute(
                "SELECT schemaname, tablename FROM pg_tables "
                "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
            ).fetchall()
            for schema, table in tables:
                count = sum(map(self.count, _rows(opened, schema, table)))
                if count:
                    yield f"{schema}.{table}", count


def _rows(connection: psycopg.Connection, schema: str, table: str) -> Iterator[str]:
    """Every row of a table as text; binary columns decoded as far as they are text."""
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT * FROM {}.{}").format(sql.Identifier(schema), sql.Identifier(table)))
        for row in cursor:
            yield "\n".join(
                bytes(value).decode("utf-8", "replace") if isinstance(value, bytes | memoryview) else str(value)
                for value in row
            )


def look(company: Company, folders: dict[str, Path], databases: dict[str, tuple[Connection, str]]) -> Iterator[Verdict]:
    """A verdict for each folder and database, by its title."""
    traces = Traces.of(company)
    places = {title: list(traces.in_folder(folder)) for title, folder in folders.items() if folder.exists()}
    places |= {title: list(traces.in_database(*where)) for title, where in databases.items()}
    for title, found in places.items():
        names = f": {', '.join(name for name, _ in found[:3])}" if found else ""
        yield Verdict(PROMISE, title, not found, f"{sum(count for _, count in found)} tokens{names}")
