"""Rows of stores that are no databases, as a table that can be checked: an SQLite file that lives as long as the check.

What tells a record from others is kept as a digest under a key that is forgotten with this process, so that the file
says nothing of anybody, also if it is left behind.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lethe.errors import RunError
from lethe.stores.sources import RowSource, SqlSource, Staged

_AT_ONCE = 20_000

_table = sa.Table(
    "candidates",
    sa.MetaData(),
    sa.Column("record", sa.LargeBinary),
    sa.Column("clock", sa.Date),
    sa.Column("cutoff", sa.Date),
    sa.Column("held", sa.Boolean),
    sa.Column("records", sa.Integer),
)


def as_table(source: RowSource, folder: Path) -> SqlSource:
    """Write the rows to a file in `folder`. Memory does not depend on how many there are.

    Raises:
        RunError: if the file cannot be written.
    """
    try:
        return _as_table(source, folder)
    except sa.exc.DBAPIError as error:
        raise RunError(
            f"candidates cannot be written to {folder} for checking them ({type(error.orig).__name__}); "
            "free some 100 bytes of disk for each, or set TMPDIR to another folder"
        ) from None


def _as_table(source: RowSource, folder: Path) -> SqlSource:
    url = sa.URL.create("sqlite", database=str(folder / "candidates.db"))
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    key = secrets.token_bytes(32)
    with engine.connect() as connection:
        # A crash loses nothing but this check, so nothing has to be on disk.
        for setting in ("synchronous = off", "journal_mode = off"):
            connection.exec_driver_sql(f"PRAGMA {setting}")
        _table.create(connection)
        insert = str(sa.insert(_table).compile(dialect=engine.dialect))
        for rows in _chunks(source.rows):
            connection.exec_driver_sql(insert, [_values(row, key) for row in rows])  # three times faster than Core
        connection.commit()
    return SqlSource(engine.connect, sa.select(*_table.c))


def _chunks(rows: Iterable[Staged]) -> Iterator[list[Staged]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, _AT_ONCE)):
        yield chunk


def _values(row: Staged, key: bytes) -> tuple[Any, ...]:
    """In the order of the table's columns, as SQLite stores them."""
    digest = hashlib.blake2b(row.record, digest_size=16, key=key).digest()
    clock, cutoff = (day and day.isoformat() for day in (row.clock, row.cutoff))
    return digest, clock, cutoff, row.held, row.records
