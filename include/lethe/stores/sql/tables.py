"""Tables as the catalogue has them, by the names that policies give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lethe.policy import name_parts
from lethe.stores.sql.catalogue import Relation
from lethe.stores.sql.dialects.base import Dialect

Columns = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class FoundTable:
    """A table in the database."""

    relation: Relation
    columns: Columns

    @classmethod
    def look(cls, connection: sa.Connection, table: str, dialect: Dialect) -> FoundTable | None:
        """What a name as policies write it leads to, if that can be seen."""
        relation = dialect.relation(connection, tuple(reversed(name_parts(table))))
        return None if relation is None else cls.of(connection, relation)

    @classmethod
    def of(cls, connection: sa.Connection, relation: Relation) -> FoundTable:
        """A table of the catalogue."""
        columns = sa.inspect(connection).get_columns(relation.name, schema=relation.schema)
        return cls(relation, {column["name"]: column for column in columns})

    def table(self, dialect: Dialect, names: Sequence[str]) -> sa.Table:
        """The table with some of its columns, quoted as they are written in the database."""
        return sa.Table(
            sa.sql.quoted_name(self.relation.name, quote=True),
            sa.MetaData(),
            *(
                sa.Column(
                    sa.sql.quoted_name(name, quote=True),
                    self.columns[name]["type"],
                    nullable=self.columns[name]["nullable"],
                )
                for name in dict.fromkeys(names)
            ),
            *dialect.system_columns(),
            schema=sa.sql.quoted_name(self.relation.schema, quote=True) if self.relation.schema else None,
        )


def absent(table: str) -> str:
    """That a table is not there, in words."""
    return f"there is no table {table}, or it cannot be seen"


def no_table(relation: Relation) -> str:
    """That a relation is no table, in words, with what to do."""
    return (
        f"{relation} is a {relation.kind}: its rows have no identity of their own to erase them by; name the table "
        "that they come from, with `where` for a part of its rows"
    )
