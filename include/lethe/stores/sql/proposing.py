"""What a policy could say of a table, by what the catalogue says of it: key, clocks, identifiers, children.

By names, types and constraints only: no value is read. It is a proposal, which somebody looks through: a column's name
may mislead, and which of several dates a period runs from is a question of law.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from lethe.errors import StoreError
from lethe.judging.identifiers import IdentifierType
from lethe.policy import ChildTable
from lethe.stores.base import TableProposal
from lethe.stores.sql.catalogue import Action, ForeignKey, Relation, RelationKind
from lethe.stores.sql.dialects.base import ClockKind, Dialect
from lethe.stores.sql.lookalikes import alike
from lethe.stores.sql.tables import FoundTable, absent, no_table


def propose(connection: sa.Connection, table: str, dialect: Dialect) -> TableProposal:
    """What a dataset of a table could say.

    Raises:
        StoreError: if there is no such table, or nothing makes its rows unique.
    """
    found = FoundTable.look(connection, table, dialect)
    if found is None:
        raise StoreError(absent(table))
    if found.relation.kind is not RelationKind.TABLE:
        raise StoreError(no_table(found.relation))
    keys = dialect.unique_keys(connection, found.relation)
    if not keys:
        raise StoreError(f"nothing makes the rows of {table} unique: give it a primary key, or a unique index")
    key = _primary(connection, found.relation) or min(keys, key=len)
    losing: list[str] = []
    return TableProposal(
        key=tuple(key),
        clocks=tuple(_clocks(found, dialect)),
        identifiers=_identifiers(found, (), dialect),
        children=tuple(_children(connection, found.relation, tuple(key), dialect, (found.relation.id,), losing)),
        remarks=tuple(losing),
    )


def _primary(connection: sa.Connection, relation: Relation) -> Sequence[str]:
    constraint = sa.inspect(connection).get_pk_constraint(relation.name, schema=relation.schema)
    return tuple(constraint["constrained_columns"])


def _clocks(found: FoundTable, dialect: Dialect) -> Iterator[str]:
    """Columns whose type says that they hold moments or days."""
    for name, column in found.columns.items():
        if isinstance(dialect.clock_kind(column["type"], None), ClockKind):
            yield name


def _identifiers(found: FoundTable, refer: Sequence[str], dialect: Dialect) -> dict[IdentifierType, tuple[str, ...]]:
    """Each column as the first type that it looks like; those that refer to another table's rows are none."""
    taken: set[str] = set()
    proposed: dict[IdentifierType, tuple[str, ...]] = {}
    for kind, columns in alike(found, refer, dialect).items():
        if new := tuple(name for name in columns if name not in taken):
            proposed[kind] = new
            taken.update(new)
    return proposed


def _children(
    connection: sa.Connection,
    relation: Relation,
    key: tuple[str, ...],
    dialect: Dialect,
    above: tuple[str, ...],
    remarks: list[str],
) -> Iterator[ChildTable]:
    """The tables whose rows go along; `above` are the tables that they are below, by identity."""
    for foreign in sorted(dialect.referring(connection, relation), key=lambda one: (str(one.child), one.columns)):
        if foreign.child.id in above:
            continue
        if foreign.on_delete in (Action.SET_NULL, Action.SET_DEFAULT):
            remarks.append(
                f"rows of {foreign.child} only lose what they refer to (ON DELETE {foreign.on_delete.value} of "
                f"{foreign.name}); as proposed they go along. If they are to stay, take the action off the foreign key"
            )
        yield _child(connection, foreign, key, dialect, (*above, foreign.child.id), remarks)


def _child(
    connection: sa.Connection,
    foreign: ForeignKey,
    key: tuple[str, ...],
    dialect: Dialect,
    above: tuple[str, ...],
    remarks: list[str],
) -> ChildTable:
    own_key = foreign.referred == key
    return ChildTable(
        table=".".join(_name(part) for part in (foreign.child.schema, foreign.child.name) if part),
        foreign_key=foreign.columns,
        references=None if own_key else foreign.referred,
        identifiers=_identifiers(FoundTable.of(connection, foreign.child), foreign.columns, dialect),
        children=tuple(_children(connection, foreign.child, (), dialect, above, remarks)),
    )


def _name(part: str) -> str:
    """A name as policies write it."""
    return '"' + part.replace('"', '""') + '"' if re.search(r'[."\s]', part) else part
