"""What a database's catalogue says of a table: who it is, what belongs to it, and what refers to it.

A table is looked up by its name once. From then on it is its identity that counts: names depend on search paths, and a
partition or an inheriting table has the same rows under another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class RelationKind(StrEnum):
    """What a relation is, as messages call it."""

    TABLE = "table"
    VIEW = "view"
    MATERIALIZED_VIEW = "materialized view"
    FOREIGN_TABLE = "foreign table"
    UNTRANSACTED = "table without transactions"
    VERSIONED = "system-versioned table"
    OTHER = "relation that is not a table"

    @property
    def hindrance(self) -> str:
        """Why rows of it cannot be erased, and what to do, in words."""
        return _HINDRANCES.get(
            self,
            "its rows have no identity of their own to erase them by; name the table that they come from, with `where` "
            "for a part of its rows",
        )


_HINDRANCES = {
    RelationKind.UNTRANSACTED: "rows could go without the evidence that they went, and evidence be written of rows "
    "that stay; give the table an engine with transactions (ALTER TABLE … ENGINE=InnoDB)",
    RelationKind.VERSIONED: "the database keeps every row that is deleted from it; take the versions off (ALTER TABLE "
    "… DROP SYSTEM VERSIONING)",
}


class Action(StrEnum):
    """What a foreign key has the database do when a row that is referred to goes, or changes its key."""

    NO_ACTION = "NO ACTION"
    RESTRICT = "RESTRICT"
    CASCADE = "CASCADE"
    SET_NULL = "SET NULL"
    SET_DEFAULT = "SET DEFAULT"

    @property
    def refuses(self) -> bool:
        """Whether the row that is referred to has to stay, and nothing else happens."""
        return self in (Action.NO_ACTION, Action.RESTRICT)


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, or what was taken for one.

    Attributes:
        id: the same for every name that leads to it, and for nothing else in its database.
        schema: None where the database has no schemas.
        name: as the catalogue spells it.
        kind: what it is.
    """

    id: str
    schema: str | None
    name: str
    kind: RelationKind = RelationKind.TABLE

    def __str__(self) -> str:
        """Its name, with its schema."""
        return f"{self.schema}.{self.name}" if self.schema else self.name


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key: rows of `child` refer to rows of `parent` by `columns`, which hold the values of `referred`.

    `validated` says that the database has seen to it for all rows, not only for those that came since it was made.
    """

    name: str
    child: Relation
    columns: tuple[str, ...]
    parent: Relation
    referred: tuple[str, ...]
    on_delete: Action
    on_update: Action
    deferrable: bool = False
    validated: bool = True

    @property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """Which column refers to which, whatever the order."""
        return frozenset(zip(self.columns, self.referred, strict=True))


@dataclass(frozen=True, slots=True)
class Trigger:
    """What runs when rows of a table are deleted, updated or inserted.

    `replaces` says that it runs instead of that: a rule of PostgreSQL (DO INSTEAD).
    """

    name: str
    table: str
    is_rule: bool = False
    replaces: bool = False


class Change(StrEnum):
    """What is done with rows of a table."""

    DELETE = "DELETE"
    UPDATE = "UPDATE"
    INSERT = "INSERT"


@dataclass(frozen=True, slots=True)
class Need:
    """What has to be allowed with one table.

    Attributes:
        relation: the table.
        columns: which are read; None where also the server's own columns are, which needs the right to all.
        delete: whether rows are deleted.
        update: columns that are changed.
        insert: columns of rows that are inserted.
        lock: a column by whose right to be changed rows may be locked; None where none are locked.
    """

    relation: Relation
    columns: tuple[str, ...] | None
    delete: bool = False
    update: tuple[str, ...] = ()
    insert: tuple[str, ...] = ()
    lock: str | None = None
