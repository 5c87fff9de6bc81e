"""What a run keeps beside the data: its candidates, its batches with what became of them, and the exceptions.

One row of `staged` stands for a dataset of a run; its three tables are named by a token. They are written in one
transaction by discovering, so that after a crash there is all or nothing, and dropped by cleaning.

All of it is logged and durable, also where a database has faster tables that a crash of the server empties: what a
batch did (its row, and the keys of its slice of the candidates) must survive together with the deletion that it is
evidence of, and the candidates of the batches to come must still be those that the digest stands for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from lethe.counts import Became
from lethe.policy import TableDataset
from lethe.stores.abilities import Binding
from lethe.stores.base import Work
from lethe.stores.sql.dialects.base import Dialect, Slice
from lethe.stores.sql.masks.redact import redaction_columns
from lethe.stores.sql.settings import SqlSettings


def token_of(run: str, dataset: str) -> str:
    """Names the staging of a dataset of a run; short, because names of tables are."""
    return hashlib.sha256(f"{run}\n{dataset}".encode()).hexdigest()[:24]


def fingerprint_of(work: Work) -> str:
    """SHA-256 of all that the candidates follow from: dataset, cutoffs, as-of moment, disposition."""
    assert isinstance(work.dataset, TableDataset)  # noqa: S101 - the registry gives no other kind to this store
    cutoffs = sorted((value, cutoff.instant.isoformat()) for value, cutoff in work.expiry.by_value.items())
    default = work.expiry.default.instant.isoformat() if work.expiry.default else None
    parts = (
        work.dataset.model_dump_json(by_alias=True),
        work.expiry.zone.key,
        work.expiry.column,
        default,
        cutoffs,
        work.as_of.isoformat(),
        work.disposition,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Scratch:
    """The scratch tables of one connection."""

    dialect: Dialect
    settings: SqlSettings

    @property
    def leased(self) -> bool:
        """Whether batches are erased under leases (see `lethe.stores.sql.leased`)."""
        return self.dialect.abilities.binding is Binding.LEASED

    @property
    def staged(self) -> sa.Table:
        """One row for each dataset of a run that has something staged."""
        schema, name = self.dialect.scratch_name(self.settings, "staged")
        return sa.Table(
            name,
            sa.MetaData(),
            sa.Column("token", sa.String(24), primary_key=True),
            sa.Column("run", sa.Text(), nullable=False),
            sa.Column("dataset", sa.Text(), nullable=False),
            sa.Column("fingerprint", sa.String(64), nullable=False),
            sa.Column("table_id", sa.Text(), nullable=False),
            sa.Column("candidates", sa.Text(), comment="JSON; null while they are being discovered."),
            schema=schema,
        )

    def of(self, work: Work, key: Sequence[sa.Column[Any]] = ()) -> TableStaging:
        """The staging of a dataset of a run; `key` are the key's columns in the table."""
        texts = work.dataset.texts if isinstance(work.dataset, TableDataset) else ()
        return TableStaging(self, token_of(work.run, work.dataset.name), tuple(key), texts)

    def named(self, run: str, dataset: str) -> TableStaging:
        """The staging of a dataset of a run, by their names, for dropping it."""
        return TableStaging(self, token_of(run, dataset))


@dataclass(frozen=True)
class TableStaging:
    """The staging tables of one dataset of one run; always the same objects, so that statements are compiled once."""

    scratch: Scratch
    token: str
    key: tuple[sa.Column[Any], ...] = ()
    texts: tuple[str, ...] = ()
    """The columns of text that are redacted."""

    def _table(self, letter: str, *columns: sa.Column[Any]) -> sa.Table:
        schema, name = self.scratch.dialect.scratch_name(self.scratch.settings, f"{letter}_{self.token}")
        return sa.Table(name, sa.MetaData(), *columns, schema=schema)

    @cached_property
    def keys(self) -> sa.Table:
        """The candidates: key, clock, whether held at discovery, and the dialect's marks; never updated."""
        return self._table(
            "k",
            *(sa.Column(f"key_{number}", column.type) for number, column in enumerate(self.key)),
            sa.Column("clock", sa.types.NullType()),
            sa.Column("held", sa.Boolean()),
            *(sa.Column(f"text_{number}", sa.Text()) for number in range(len(self.texts))),
            *self.scratch.dialect.mark_columns(),
        )

    @cached_property
    def batches(self) -> sa.Table:
        """Where each batch begins and ends, and, once it is done, what became of it."""
        counts = [sa.Column(name, sa.BigInteger()) for name in Became.model_fields]
        attempt = sa.Column("attempt", sa.Text(), comment="Which request may erase it.")
        return self._table(
            "b",
            sa.Column("batch", sa.Integer(), primary_key=True, autoincrement=False),
            *(sa.Column(name, sa.Text()) for name in ("first", "last", "low", "high", "writer")),
            sa.Column("size", sa.BigInteger(), nullable=False),
            sa.Column("unheld", sa.BigInteger(), nullable=False),
            sa.Column("done", sa.Boolean(), nullable=False),
            *([attempt] if self.scratch.leased else []),
            *counts,
        )

    @cached_property
    def exceptions(self) -> sa.Table:
        """Candidates that no hold covered at discovery and that were not erased all the same, with their outcome."""
        return self._table(
            "x",
            sa.Column("position", self.scratch.dialect.position_type(), primary_key=True, autoincrement=False),
            sa.Column("outcome", sa.String(16), nullable=False),
            sa.Column("reason", sa.Text(), nullable=False, comment="What keeps a blocked one, in words."),
        )

    @cached_property
    def redactions(self) -> sa.Table:
        """What was found in the texts of candidates that are not held; only where there are texts."""
        return self._table("t", *redaction_columns(self.scratch.dialect))

    def text_columns(self, staged: sa.FromClause) -> list[sa.ColumnElement[Any]]:
        """The digests of a candidate's texts in `keys` or an alias of it."""
        return [staged.c[f"text_{number}"] for number in range(len(self.texts))]

    def key_columns(self, staged: sa.FromClause) -> list[sa.ColumnElement[Any]]:
        """The key's columns in `keys` or an alias of it."""
        return [staged.c[f"key_{number}"] for number in range(len(self.key))]

    def same_key(self, table: sa.FromClause, staged: sa.FromClause) -> sa.ColumnElement[bool]:
        """Whether a row of the dataset's table has the key of a staged one."""
        pairs = zip(self.key, self.key_columns(staged), strict=True)
        return sa.and_(*(table.c[column.name] == key for column, key in pairs))

    def drop(self, connection: sa.Connection) -> None:
        """Drop the tables where they are there."""
        for table in (self.keys, self.batches, self.exceptions, self.redactions):
            table.drop(connection, checkfirst=True)


def slice_of(row: sa.Row[Any]) -> Slice:
    """The range of a row of `batches`."""
    return Slice(row.first, row.last, row.low, row.high, row.size, row.unheld, row.writer)


def tally_of(row: sa.Row[Any]) -> Became:
    """What a row of `batches` that is done says."""
    return Became(**{name: getattr(row, name) for name in Became.model_fields})
