"""Rows that a session notes for itself for a moment, in temporary tables.

A table is made when it is first needed and emptied for each further use: making one costs more than a small batch does,
in the database's catalogue, and in statements that have to be compiled anew for another table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from lethe.stores.sql.dialects.base import Dialect

_WORN = 100_000
"""Rows after which a table is made anew: those that were deleted from it still take place."""

_COUNTED = {"preserve_rowcount": True}


class Notes:
    """The temporary tables of one session."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._tables: dict[str, sa.CreateTableAs] = {}
        self._rows: dict[str, int] = {}

    def take(
        self,
        connection: sa.Connection,
        name: str,
        shape: Sequence[sa.Label[Any]],
        *rows: sa.Select[Any],
        indexed: Sequence[str] = (),
    ) -> tuple[sa.Table, int]:
        """Put rows into the table of that name, in place of what it had: (the table, how many rows).

        A name is taken with the same shape each time.
        """
        if name not in self._tables:
            empty = sa.select(*shape).where(sa.false())
            self._tables[name] = sa.CreateTableAs(empty, name, temporary=True, if_not_exists=True)
            if indexed:
                sa.Index(f"{name}_at", *(self._tables[name].table.c[column] for column in indexed))
        table = self._emptied(connection, name)
        columns = [column.name for column in table.c]
        noting = [sa.insert(table).from_select(columns, some) for some in rows]
        count = sum(connection.execute(one, execution_options=_COUNTED).rowcount for one in noting)
        self._rows[name] += count
        return table, count

    def _emptied(self, connection: sa.Connection, name: str) -> sa.Table:
        made = self._tables[name]
        if self._rows.get(name, 0) > _WORN:
            self._dialect.drop_temporary(connection, made.table)
            del self._rows[name]
        if name not in self._rows:
            self._dialect.make_temporary(connection, made)
            self._rows[name] = 0
        connection.execute(sa.delete(made.table))
        return made.table

    def forget(self) -> None:
        """Take no table for made, because a transaction that may have made one was rolled back."""
        self._rows.clear()
