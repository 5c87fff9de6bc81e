"""The ledger: every task of a run, and every change of holds and policies, chained by SHA-256.

Each entry's hash covers its own content and the hash of the entry before, so that a change, a gap, a reordering or an
insertion shows. Bodies are canonical JSON (RFC 8785) and free of personal data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC
from typing import Any

import rfc8785
import sqlalchemy as sa

from lethe import governance as schema
from lethe.governance import Governance

GENESIS = "0" * 64
"""What the first entry names as the one before."""


def entry_hash(seq: int, at: str, kind: str, subject: str, body: str, previous: str) -> str:
    """SHA-256, in hexadecimal, of an entry's canonical JSON."""
    content: dict[str, Any] = {
        "seq": seq,
        "at": at,
        "kind": kind,
        "subject": subject,
        "body": body,
        "previous": previous,
    }
    return hashlib.sha256(rfc8785.dumps(content)).hexdigest()


class Ledger:
    """The ledger in the governance database."""

    def __init__(self, governance: Governance) -> None:
        self._governance = governance

    def append(self, connection: sa.Connection, kind: str, subject: str, body: Mapping[str, Any]) -> str:
        """Append an entry in the given transaction, so that it is there exactly if what it tells is; give its hash.

        The chain is locked until that transaction ends: append last, and commit soon.
        """
        if connection.dialect.name == "postgresql":  # on SQLite, the transaction has the only write lock already
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(0x4C454447)))
        table = schema.ledger
        last = connection.execute(
            sa.select(table.c.seq, table.c.hash).order_by(table.c.seq.desc()).limit(1)
        ).one_or_none()
        seq, previous = (last.seq + 1, last.hash) if last else (1, GENESIS)
        at = self._governance.now(connection).astimezone(UTC).isoformat(timespec="microseconds")
        text = rfc8785.dumps(dict(body)).decode()
        digest = entry_hash(seq, at, kind, subject, text, previous)
        connection.execute(
            sa.insert(table).values(
                seq=seq, at=at, kind=kind, subject=subject, body=text, previous=previous, hash=digest
            )
        )
        return digest
