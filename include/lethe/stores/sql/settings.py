"""What a connection's extra says of how Lethe is to work in the database."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from lethe.connections import Connection
from lethe.errors import ConnectionMissing

MOST_ROWS = 50_000
"""Records that one transaction erases at most."""

_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,40}")


@dataclass(frozen=True, slots=True)
class SqlSettings:
    """Settings of one connection, each from the extra of the same name with `lethe_` before it.

    Attributes:
        conn_id: the connection, for messages.
        batch_size: records that one transaction erases at most; up to 50,000.
        scratch_schema: where staging goes; a schema, or a prefix of table names where a database has no schemas.
        connect_timeout: seconds to wait for a connection.
        statement_timeout: seconds that one statement of a batch may take.
        lock_timeout: seconds that a batch waits for a lock before it is rolled back and tried again.
        idle_timeout: seconds that a batch's transaction may stand idle before the server ends it.
        discover_timeout: seconds that one statement of discovering or surveying may take.
    """

    conn_id: str
    batch_size: int = MOST_ROWS
    scratch_schema: str = "lethe_scratch"
    connect_timeout: float = 10.0
    statement_timeout: float = 300.0
    lock_timeout: float = 10.0
    idle_timeout: float = 60.0
    discover_timeout: float = 6 * 3600.0

    @classmethod
    def of(cls, connection: Connection) -> Self:
        """The settings of a connection.

        Raises:
            ConnectionMissing: if one of them cannot be used.
        """
        given = {
            name: connection.extra[f"lethe_{name}"]
            for name in cls.__dataclass_fields__
            if f"lethe_{name}" in connection.extra
        }
        try:
            values = {name: type(getattr(cls(""), name))(value) for name, value in given.items()}
        except (TypeError, ValueError):
            raise ConnectionMissing(
                f"connection {connection.conn_id}: one of {', '.join(f'lethe_{name}' for name in given)} in its extra "
                "is not a number"
            ) from None
        settings = cls(connection.conn_id, **values)
        settings._require_sound()
        return settings

    def _require_sound(self) -> None:
        if not 1 <= self.batch_size <= MOST_ROWS:
            raise ConnectionMissing(
                f"connection {self.conn_id}: lethe_batch_size must be from 1 to {MOST_ROWS} (records a transaction)"
            )
        if not _SCHEMA_NAME.fullmatch(self.scratch_schema):
            raise ConnectionMissing(
                f"connection {self.conn_id}: lethe_scratch_schema must be lower-case letters, digits and underscores"
            )
        for name in ("connect_timeout", "statement_timeout", "lock_timeout", "idle_timeout", "discover_timeout"):
            if not 0 < getattr(self, name) <= 7 * 86400:
                raise ConnectionMissing(
                    f"connection {self.conn_id}: lethe_{name} must be a number of seconds above 0, at most a week"
                )
