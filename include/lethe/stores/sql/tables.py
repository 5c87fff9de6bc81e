"""Tables as the catalogue has them, by the names that policies give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lethe.errors import StoreError
from lethe.policy import TableDataset, name_parts, split_column
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
        relation = relation_of(connection, table, dialect)
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


@dataclass(frozen=True)
class Tables:
    """The table of a dataset's records and those of the rows that they lead to, as the database has them."""

    dataset: TableDataset
    own: FoundTable
    related: Mapping[str, FoundTable]

    @classmethod
    def look(cls, connection: sa.Connection, dataset: TableDataset, dialect: Dialect) -> Tables:
        """Look them up; related ones that are not there are left out.

        Raises:
            StoreError: if the records' own is not there.
        """
        own = FoundTable.look(connection, dataset.table, dialect)
        if own is None:
            raise StoreError(f"{dataset.name}: {absent(dataset.table)}")
        return cls.beside(connection, dataset, own, dialect)

    @classmethod
    def beside(cls, connection: sa.Connection, dataset: TableDataset, own: FoundTable, dialect: Dialect) -> Tables:
        """The same, where the records' own was looked up."""
        looked = {name: FoundTable.look(connection, one.table, dialect) for name, one in dataset.related.items()}
        return cls(dataset, own, {name: found for name, found in looked.items() if found is not None})

    def at(self, column: str) -> tuple[FoundTable, str]:
        """Where a column is that the policy names, and what it is called there."""
        owner, name = split_column(column, self.dataset.related)
        return (self.own if owner is None else self.related[owner]), name

    def type_of(self, column: str) -> sa.types.TypeEngine[Any]:
        """The type of a column that the policy names."""
        found, name = self.at(column)
        kind: sa.types.TypeEngine[Any] = found.columns[name]["type"]
        return kind


def relation_of(connection: sa.Connection, table: str, dialect: Dialect) -> Relation | None:
    """Which table a name as policies write it leads to, if that can be seen."""
    return dialect.relation(connection, tuple(reversed(name_parts(table))))


def absent(table: str) -> str:
    """That a table is not there, in words."""
    return f"there is no table {table}, or it cannot be seen"


def no_table(relation: Relation) -> str:
    """That a relation is no table, in words, with what to do."""
    return f"{relation} is a {relation.kind}: {relation.kind.hindrance}"


def share_rows(connection: sa.Connection, one: Relation, two: Relation, dialect: Dialect) -> bool:
    """Whether rows of one table are rows of the other: it is the same, or a part of it."""
    return one.id in dialect.parts(connection, two) or two.id in dialect.parts(connection, one)
