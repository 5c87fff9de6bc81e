"""Comparing a dataset with what the database has, and the tables as statements need them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lethe.errors import StoreError
from lethe.policy import ChildTable, TableDataset
from lethe.stores.base import Problem
from lethe.stores.sql.dialects.base import ClockKind, Dialect

Columns = Mapping[str, Mapping[str, Any]]


def split(table: str) -> tuple[str | None, str]:
    """Schema (None: the connection's own) and name of a table as policies write it."""
    schema, _, name = table.rpartition(".")
    return schema or None, name


_CASCADES = frozenset({"CASCADE", "SET NULL", "SET DEFAULT"})
"""What a foreign key may have the database do with rows that refer to deleted ones."""


@dataclass(frozen=True)
class Found:
    """A table in the database."""

    schema: str | None
    name: str
    columns: Columns

    @classmethod
    def look(cls, inspector: sa.Inspector, table: str) -> Found | None:
        """The table of that name, if it is there."""
        schema, name = split(table)
        if schema is not None and schema not in inspector.get_schema_names():
            return None
        try:
            columns = inspector.get_columns(name, schema=schema)
        except sa.exc.NoSuchTableError:
            return None
        return cls(schema, name, {column["name"]: column for column in columns})

    def table(self, dialect: Dialect, names: Sequence[str]) -> sa.Table:
        """The table with some of its columns, quoted as they are written in the database."""
        return sa.Table(
            sa.sql.quoted_name(self.name, quote=True),
            sa.MetaData(),
            *(
                sa.Column(sa.sql.quoted_name(name, quote=True), self.columns[name]["type"])
                for name in dict.fromkeys(names)
            ),
            *dialect.system_columns(),
            schema=sa.sql.quoted_name(self.schema, quote=True) if self.schema else None,
        )


def named_columns(dataset: TableDataset) -> Iterator[tuple[str, str]]:
    """Every column of the table that a dataset names: (field, column)."""
    yield from (("key", column) for column in dataset.key)
    yield from (("clock", column) for column in dataset.clock.columns)
    for kind, columns in dataset.identifiers.items():
        yield from ((f"identifiers.{kind}", column) for column in columns)
    yield from (("where", condition.column) for condition in dataset.where)
    yield from (("keep_while", condition.column) for condition in dataset.keep_while)
    yield from (("masks", mask.column) for mask in dataset.masks)
    for child in dataset.children:
        yield from ((f"children.{child.table}.references", column) for column in child.references or ())


def check(connection: sa.Connection, dataset: TableDataset, dialect: Dialect) -> Iterator[Problem]:
    """What of a dataset does not fit the database."""
    inspector = sa.inspect(connection)
    found = Found.look(inspector, dataset.table)
    if found is None:
        yield Problem(field="table", message=f"there is no table {dataset.table}, or it cannot be seen")
        return
    missing = set()
    for field, column in named_columns(dataset):
        if column not in found.columns and (field, column) not in missing:
            missing.add((field, column))
            yield Problem(field=field, message=f"table {dataset.table} has no column {column}")
    if not missing:
        yield from _check_key(inspector, found, dataset)
        yield from _check_clock(inspector, found, dataset, dialect)
        yield from _check_identifiers(found, dataset, dialect)
        yield from _check_masks(found, dataset)
        for child in dataset.children:
            yield from _check_child(inspector, child, found, dataset.key, f"children.{child.table}")
        if not dataset.masks:
            yield from _check_cascades(inspector, dataset)


def _check_key(inspector: sa.Inspector, found: Found, dataset: TableDataset) -> Iterator[Problem]:
    key = set(dataset.key)
    for column in dataset.key:
        if found.columns[column]["nullable"] and column not in _primary(inspector, found):
            yield Problem(field="key", message=f"column {column} of {dataset.table} may be NULL: a key may not")
    if not any(set(unique) <= key for unique in _uniques(inspector, found)):
        yield Problem(
            field="key",
            message=f"nothing makes ({', '.join(dataset.key)}) of {dataset.table} unique: it needs a primary key, or "
            "a unique constraint or index on just these columns",
        )


def _primary(inspector: sa.Inspector, found: Found) -> list[str]:
    return list(inspector.get_pk_constraint(found.name, schema=found.schema)["constrained_columns"])


def _uniques(inspector: sa.Inspector, found: Found) -> Iterator[list[str]]:
    primary = _primary(inspector, found)
    if primary:
        yield primary
    for constraint in inspector.get_unique_constraints(found.name, schema=found.schema):
        yield constraint["column_names"]
    for index in inspector.get_indexes(found.name, schema=found.schema):
        names = [name for name in index["column_names"] if name is not None]
        options = index.get("dialect_options") or {}
        partial = any(name.endswith("_where") and value is not None for name, value in options.items())
        if index["unique"] and not partial and names and len(names) == len(index["column_names"]):
            yield names


def clock_kinds(found: Found, dataset: TableDataset, dialect: Dialect) -> dict[str, ClockKind | str]:
    """How each clock column is read, or a message why it cannot be."""
    return {
        name: dialect.clock_kind(found.columns[name]["type"], dataset.clock.format) for name in dataset.clock.columns
    }


def _check_clock(inspector: sa.Inspector, found: Found, dataset: TableDataset, dialect: Dialect) -> Iterator[Problem]:
    for name, kind in clock_kinds(found, dataset, dialect).items():
        if not isinstance(kind, ClockKind):
            yield Problem(field="clock", message=f"column {name} of {dataset.table} {kind}")
    firsts = {names[0] for names in _uniques(inspector, found)} | {
        index["column_names"][0] for index in inspector.get_indexes(found.name, schema=found.schema)
    }
    if not firsts & set(dataset.clock.columns):
        yield Problem(
            field="clock",
            message=f"table {dataset.table} has no index that starts with {' or '.join(dataset.clock.columns)}",
        )


def _check_identifiers(found: Found, dataset: TableDataset, dialect: Dialect) -> Iterator[Problem]:
    for kind, columns in dataset.identifiers.items():
        for column in columns:
            if not dialect.carries(found.columns[column]["type"]):
                yield Problem(
                    field=f"identifiers.{kind}",
                    message=f"column {column} of {dataset.table} is of a type that cannot be compared with held "
                    "identifiers: it must be text, a number, a UUID or an IP address",
                )


def _check_masks(found: Found, dataset: TableDataset) -> Iterator[Problem]:
    for mask in dataset.masks:
        column = found.columns[mask.column]
        if mask.value is None and not column["nullable"]:
            yield Problem(
                field="masks",
                message=f"column {mask.column} of {dataset.table} cannot be NULL: mask it with a constant",
            )
        if mask.column in dataset.key:
            yield Problem(field="masks", message=f"column {mask.column} is part of the key, which must stay")
    if dataset.masks and dataset.children:
        yield Problem(
            field="children",
            message="anonymising does not reach child tables: make them datasets of their own",
        )


def _check_child(
    inspector: sa.Inspector, child: ChildTable, parent: Found, key: Sequence[str], field: str
) -> Iterator[Problem]:
    found = Found.look(inspector, child.table)
    if found is None:
        yield Problem(field=field, message=f"there is no table {child.table}, or it cannot be seen")
        return
    references = tuple(child.references or key)
    wanted = [(child.table, found, name) for name in child.foreign_key]
    wanted += [(f"{parent.name}", parent, name) for name in references]
    absent = [(table, name) for table, where, name in wanted if name not in where.columns]
    for table, name in absent:
        yield Problem(field=field, message=f"table {table} has no column {name}")
    if absent:
        return
    if len(references) != len(child.foreign_key):
        yield Problem(
            field=field, message="foreign_key and the key that it refers to differ in their number of columns"
        )
    elif not _refers(inspector, found, child.foreign_key, parent, references):
        yield Problem(
            field=field,
            message=f"no foreign key of {child.table} leads from ({', '.join(child.foreign_key)}) to {parent.name} "
            f"({', '.join(references)})",
        )
    for grandchild in child.children:
        yield from _check_child(inspector, grandchild, found, (), f"{field}.children.{grandchild.table}")


def _check_cascades(inspector: sa.Inspector, dataset: TableDataset) -> Iterator[Problem]:
    """Foreign keys by which the database would delete or change rows that nobody counts or compares with holds."""
    default = inspector.default_schema_name

    def place(schema: str | None, name: str) -> tuple[str | None, str]:
        return (schema or default, name)

    named = {(place(*split(child)), place(*split(parent))) for child, parent in _relations(dataset)}
    ours = {parent for _, parent in named} | {child for child, _ in named} | {place(*split(dataset.table))}
    for schema in inspector.get_schema_names():
        for (_, name), constraints in inspector.get_multi_foreign_keys(schema=schema).items():
            for constraint in constraints:
                child = place(schema, name)
                parent = place(constraint["referred_schema"] or schema, constraint["referred_table"])
                action = str((constraint.get("options") or {}).get("ondelete") or "").upper()
                if parent in ours and (child, parent) not in named and action in _CASCADES:
                    yield Problem(
                        field="children",
                        message=f"rows of table {'.'.join(filter(None, child))} would follow those of "
                        f"{parent[1]} (ON DELETE {action}) without being counted or compared with holds: name the "
                        "table in children, or take the action off its foreign key",
                    )


def _relations(parent: TableDataset | ChildTable) -> Iterator[tuple[str, str]]:
    """(child table, parent table) of all that is named."""
    for child in parent.children:
        yield child.table, parent.table
        yield from _relations(child)


def _refers(
    inspector: sa.Inspector, child: Found, foreign_key: Sequence[str], parent: Found, references: Sequence[str]
) -> bool:
    wanted = set(zip(foreign_key, references, strict=True))
    default = inspector.default_schema_name
    return any(
        constraint["referred_table"] == parent.name
        and (constraint["referred_schema"] or default) == (parent.schema or default)
        and set(zip(constraint["constrained_columns"], constraint["referred_columns"], strict=False)) == wanted
        for constraint in inspector.get_foreign_keys(child.name, schema=child.schema)
    )


@dataclass(frozen=True)
class Child:
    """A child table as statements need it."""

    table: sa.Table
    foreign_key: tuple[str, ...]
    references: tuple[str, ...]
    children: tuple[Child, ...]


@dataclass(frozen=True)
class Target:
    """A dataset's table as statements need it."""

    table: sa.Table
    kinds: Mapping[str, ClockKind]
    children: tuple[Child, ...]

    @classmethod
    def find(cls, connection: sa.Connection, dataset: TableDataset, by_value: str | None, dialect: Dialect) -> Target:
        """The table of a dataset, with every column that its policy names.

        Raises:
            StoreError: if it is not what the policy says.
        """
        inspector = sa.inspect(connection)
        found = Found.look(inspector, dataset.table)
        if found is None:
            raise StoreError(f"{dataset.name}: there is no table {dataset.table}, or it cannot be seen")
        names = [name for _, name in named_columns(dataset)] + ([by_value] if by_value else [])
        absent = [name for name in dict.fromkeys(names) if name not in found.columns]
        if absent:
            raise StoreError(f"{dataset.name}: table {dataset.table} has no column {', '.join(absent)}")
        kinds = clock_kinds(found, dataset, dialect)
        wrong = [f"column {name} {kind}" for name, kind in kinds.items() if not isinstance(kind, ClockKind)]
        if wrong:
            raise StoreError(f"{dataset.name}: clock: {'; '.join(wrong)}")
        children = tuple(_child(inspector, child, dataset.key, dataset.name, dialect) for child in dataset.children)
        if dataset.masks and children:
            raise StoreError(
                f"{dataset.name}: anonymising does not reach child tables: make them datasets of their own"
            )
        sound = {name: kind for name, kind in kinds.items() if isinstance(kind, ClockKind)}
        return cls(found.table(dialect, names), sound, children)


def _child(inspector: sa.Inspector, child: ChildTable, key: Sequence[str], dataset: str, dialect: Dialect) -> Child:
    found = Found.look(inspector, child.table)
    below = [name for grandchild in child.children for name in grandchild.references or ()]
    absent = [name for name in (*child.foreign_key, *below) if found is None or name not in found.columns]
    if found is None or absent:
        raise StoreError(f"{dataset}: children: there is no table {child.table} with {', '.join(child.foreign_key)}")
    return Child(
        table=found.table(dialect, [*child.foreign_key, *below]),
        foreign_key=child.foreign_key,
        references=tuple(child.references or key),
        children=tuple(_child(inspector, grandchild, (), dataset, dialect) for grandchild in child.children),
    )
