"""Comparing a dataset with what the database has, and the tables as statements need them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as of_dataclass

import sqlalchemy as sa

from lethe.errors import StoreError
from lethe.judging.identifiers import IdentifierType
from lethe.policy import ChildTable, Identifiers, MaskKind, PeriodsByValue, TableDataset, split_column
from lethe.stores.abilities import Ability
from lethe.stores.base import Problem
from lethe.stores.sql import events, many, related, suppressing, texts
from lethe.stores.sql.catalogue import RelationKind
from lethe.stores.sql.conditions import unfit
from lethe.stores.sql.dialects.base import ClockKind, Dialect
from lethe.stores.sql.events import EventRows
from lethe.stores.sql.family import Family
from lethe.stores.sql.many import ManyTable, ManyTables
from lethe.stores.sql.masks import strategy_of
from lethe.stores.sql.related import LedTo, RelatedTables
from lethe.stores.sql.suppressing import SuppressionList
from lethe.stores.sql.tables import FoundTable, Tables, absent, no_table


def named_columns(dataset: TableDataset) -> Iterator[tuple[str, str]]:
    """Every column of the table, or of related rows, that a dataset names: (field, column)."""
    yield from (("key", column) for column in dataset.key)
    yield from (("clock", column) for column in dataset.clock.columns)
    for kind, columns in dataset.identifiers.items():
        yield from ((f"identifiers.{kind}", column) for column in columns)
    yield from ((field, condition.column) for field, condition in dataset.conditions)
    yield from (("masks", mask.column) for mask in dataset.masks)
    if dataset.suppression is not None:
        yield "suppression.from", dataset.suppression.from_
    for child in dataset.children:
        yield from ((f"children.{child.table}.references", column) for column in child.references or ())


def check(
    connection: sa.Connection, dataset: TableDataset, by_value: PeriodsByValue | None, dialect: Dialect
) -> Iterator[Problem]:
    """What of a dataset does not fit the database."""
    found = FoundTable.look(connection, dataset.table, dialect)
    if found is None:
        yield Problem(field="table", message=absent(dataset.table))
        return
    if found.relation.kind is not RelationKind.TABLE:
        yield Problem(field="table", message=no_table(found.relation))
        return
    named = [*named_columns(dataset), *([("by_value", by_value.column)] if by_value else [])]
    own = dict.fromkeys((field, column) for field, column in named if not dataset.is_related(column))
    missing = [(field, column) for field, column in own if column not in found.columns]
    for field, column in missing:
        yield Problem(field=field, message=f"table {dataset.table} has no column {column}")
    tables = Tables.beside(connection, dataset, found, dialect)
    unrelated = list(_check_related(connection, tables, [column for _, column in named], dialect))
    yield from unrelated
    if not missing and all(problem.remark for problem in unrelated):
        yield from _check_key(connection, found, dataset, dialect)
        yield from _check_clock(connection, tables, dialect)
        yield from events.check(tables, dialect)
        yield from _check_conditions(tables, dialect)
        yield from _check_values(connection, tables, by_value, dialect)
        yield from _check_own_identifiers(tables, dialect)
        yield from _check_masks(connection, found, dataset, dialect)
        yield from texts.check(dataset, dialect)
        yield from suppressing.check(connection, dataset, found, dialect)
        yield from _check_replication(connection, found, dataset, dialect)
        for child in dataset.children:
            yield from _check_child(connection, child, found, dataset.key, f"children.{child.table}", dialect)
        yield from Family.of(connection, dataset, dialect).problems()


def _check_related(
    connection: sa.Connection, tables: Tables, named: Sequence[str], dialect: Dialect
) -> Iterator[Problem]:
    """Rows of other tables that records lead to, or that refer to them; `named` are all columns that a policy names."""
    dataset = tables.dataset
    lack = dialect.abilities.lack(Ability.RELATED_ROWS)
    if dataset.related and lack is not None:
        yield Problem(field="related", message=f"{lack.says}: {lack.reason}")
        return
    for name, one in dataset.related.items():
        found = tables.related.get(name)
        if found is None:
            yield Problem(field=f"related.{name}", message=absent(one.table))
        elif found.relation.kind is not RelationKind.TABLE:
            yield Problem(field=f"related.{name}", message=no_table(found.relation))
        elif one.many:
            yield from many.check(connection, name, tables, named, dialect)
    yield from related.check(connection, tables, named, dialect)


def _check_key(
    connection: sa.Connection, found: FoundTable, dataset: TableDataset, dialect: Dialect
) -> Iterator[Problem]:
    key = set(dataset.key)
    inspector = sa.inspect(connection)
    primary = inspector.get_pk_constraint(found.relation.name, schema=found.relation.schema)["constrained_columns"]
    for column in dataset.key:
        if found.columns[column]["nullable"] and column not in primary:
            yield Problem(field="key", message=f"column {column} of {dataset.table} may be NULL: a key may not")
    uniques = dialect.unique_keys(connection, found.relation)
    if not any(set(unique) <= key for unique in uniques):
        others = " or ".join(f"[{', '.join(unique)}]" for unique in uniques)
        advice = f"give {others} as key" if others else "give it a primary key, or a unique index"
        yield Problem(
            field="key",
            message=f"nothing makes ({', '.join(dataset.key)}) of {dataset.table} unique for every row and in every "
            f"statement (an index may be partial, invalid, deferrable or of expressions): {advice}",
        )


def clock_kinds(tables: Tables, dialect: Dialect) -> dict[str, ClockKind | str]:
    """How each clock column is read, or a message why it cannot be."""
    clock = tables.dataset.clock
    if clock.event is not None:
        return {}  # they say whose the event is, which has a day
    return {name: dialect.clock_kind(tables.type_of(name), clock.format) for name in clock.columns}


def _check_clock(connection: sa.Connection, tables: Tables, dialect: Dialect) -> Iterator[Problem]:
    dataset, found = tables.dataset, tables.own
    for name, kind in clock_kinds(tables, dialect).items():
        if not isinstance(kind, ClockKind):
            yield Problem(field="clock", message=f"column {name} of {dataset.table} {kind}")
    own = {name for name in clock_kinds(tables, dialect) if not dataset.is_related(name)}
    indexes = sa.inspect(connection).get_indexes(found.relation.name, schema=found.relation.schema)
    firsts = {key[0] for key in dialect.unique_keys(connection, found.relation)}
    firsts |= {index["column_names"][0] for index in indexes if index["column_names"][0] is not None}
    if own and not firsts & own:
        yield Problem(
            field="clock",
            message=f"table {dataset.table} has no index that starts with {' or '.join(sorted(own))}: each "
            "look at what has expired reads the whole table, which takes longer the larger it is",
            remark=True,
        )


def _check_conditions(tables: Tables, dialect: Dialect) -> Iterator[Problem]:
    """Conditions that a column's type cannot meet or fail."""
    for field, condition in tables.dataset.conditions:
        reason = unfit(dialect, condition, tables.type_of(condition.column))
        if reason is not None:
            yield Problem(field=field, message=f"{tables.dataset.table}: {reason}")


def _check_values(
    connection: sa.Connection, tables: Tables, by_value: PeriodsByValue | None, dialect: Dialect
) -> Iterator[Problem]:
    """Values that the database cannot read as one of their column's type: no row would ever have them."""
    dataset = tables.dataset
    named: list[tuple[str, str, str | int | bool]] = [
        (field, condition.column, value) for field, condition in dataset.conditions for value in condition.values
    ]
    constants = (mask for mask in dataset.masks if mask.with_ is MaskKind.CONSTANT)
    named += [("masks", mask.column, mask.value) for mask in constants if mask.value is not None]
    if by_value is not None:
        named += [("by_value", by_value.column, value) for value in by_value.periods]
    for field, column, value in named:
        found, name = tables.at(column)
        reason = dialect.unfit(connection, found.relation, found.table(dialect, [name]).c[name], value)
        if reason is not None:
            yield Problem(
                field=field, message=f"column {column} of {dataset.table}: {reason}, so no record has that value"
            )


def _check_own_identifiers(tables: Tables, dialect: Dialect) -> Iterator[Problem]:
    """Those of the records, and of the rows that they lead to."""
    for kind, columns in tables.dataset.identifiers.items():
        for column in columns:
            found, name = tables.at(column)
            table = tables.dataset.table if found is tables.own else str(found.relation)
            yield from _check_identifiers(found, table, {kind: (name,)}, "", dialect)


def _check_identifiers(
    found: FoundTable, table: str, identifiers: Identifiers, field: str, dialect: Dialect
) -> Iterator[Problem]:
    for kind, columns in identifiers.items():
        for column in columns:
            if not dialect.carries(found.columns[column]["type"]):
                yield Problem(
                    field=f"{field}identifiers.{kind}",
                    message=f"column {column} of {table} is of a type that cannot be compared with held "
                    "identifiers: it must be of a type whose text is what people write, not a date or a truth value",
                )


def _check_masks(
    connection: sa.Connection, found: FoundTable, dataset: TableDataset, dialect: Dialect
) -> Iterator[Problem]:
    for mask in dataset.masks:
        column = found.columns[mask.column]
        where = f"column {mask.column} of {dataset.table}"
        strategy = strategy_of(mask.with_)
        if strategy.may_put_null(dialect) and not column["nullable"]:
            yield Problem(field="masks", message=f"{where} cannot be NULL: mask it with a constant")
        if mask.column in dataset.key:
            yield Problem(field="masks", message=f"column {mask.column} is part of the key, which must stay")
        elif dialect.distinguished(connection, found.relation, mask.column, by_null=strategy.puts_null):
            advice = "let the index take NULLS DISTINCT" if strategy.puts_null else "mask with null"
            yield Problem(field="masks", message=f"{where} is unique: no two rows can have {strategy.leaves}; {advice}")
        if column.get("computed") or (column.get("identity") or {}).get("always"):
            yield Problem(field="masks", message=f"{where} is filled by the database itself and cannot be masked")
        if reason := strategy.unfit(column["type"], dialect):
            yield Problem(field="masks", message=f"{where} {reason}")
    if dataset.masks and dataset.children:
        yield Problem(
            field="children",
            message="anonymising does not reach child tables: make them datasets of their own",
        )


def _check_replication(
    connection: sa.Connection, found: FoundTable, dataset: TableDataset, dialect: Dialect
) -> Iterator[Problem]:
    publication = dialect.not_replicated(connection, found.relation, deleting=not dataset.masks)
    if publication is not None:
        yield Problem(
            field="table",
            message=f"publication {publication} replicates changes of {dataset.table}, which has no replica identity, "
            "so the database refuses them: give it a primary key, or ALTER TABLE … REPLICA IDENTITY",
        )


def _check_child(
    connection: sa.Connection, child: ChildTable, parent: FoundTable, key: Sequence[str], field: str, dialect: Dialect
) -> Iterator[Problem]:
    found = FoundTable.look(connection, child.table, dialect)
    if found is None:
        yield Problem(field=field, message=absent(child.table))
        return
    if found.relation.kind is not RelationKind.TABLE:
        yield Problem(field=field, message=no_table(found.relation))
        return
    references = tuple(child.references or key)
    wanted = [(child.table, found, name) for name in child.foreign_key]
    wanted += [(parent.relation.name, parent, name) for name in references]
    wanted += [(child.table, found, name) for columns in child.identifiers.values() for name in columns]
    lacking = [(table, name) for table, where, name in wanted if name not in where.columns]
    for table, name in lacking:
        yield Problem(field=field, message=f"table {table} has no column {name}")
    if lacking:
        return
    yield from _check_identifiers(found, child.table, child.identifiers, f"{field}.", dialect)
    if len(references) != len(child.foreign_key):
        yield Problem(
            field=field, message="foreign_key and the key that it refers to differ in their number of columns"
        )
    elif not any(
        key.child.id == found.relation.id and key.pairs == frozenset(zip(child.foreign_key, references, strict=True))
        for key in dialect.referring(connection, parent.relation)
    ):
        yield Problem(
            field=field,
            message=f"no foreign key of {child.table} leads from ({', '.join(child.foreign_key)}) to "
            f"{parent.relation.name} ({', '.join(references)})",
        )
    for grandchild in child.children:
        yield from _check_child(connection, grandchild, found, (), f"{field}.children.{grandchild.table}", dialect)


def reference(column: str) -> str:
    """What a column that is referred to is called where rows are noted; names of columns may be too long for that."""
    return f"ref_{hashlib.sha256(column.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class Child:
    """A child table as statements need it."""

    table: sa.Table
    foreign_key: tuple[str, ...]
    references: tuple[str, ...]
    identifiers: Mapping[IdentifierType, tuple[str, ...]]
    phone_region: str | None
    children: tuple[Child, ...]

    @property
    def carried(self) -> frozenset[IdentifierType]:
        """The types of identifiers by which a hold is looked for in this table and those below it."""
        return frozenset(self.identifiers).union(*(child.carried for child in self.children))


@dataclass(frozen=True)
class Target:
    """A dataset's table as statements need it."""

    table: sa.Table
    kinds: Mapping[str, ClockKind]
    children: tuple[Child, ...]
    related: RelatedTables
    suppression: SuppressionList | None
    many: ManyTables = of_dataclass(default_factory=dict)
    carried_by_many: tuple[Child, ...] = ()
    """Those of them in which a hold finds the record that they refer to."""
    event: EventRows | None = None

    @property
    def leading(self) -> tuple[LedTo, ...]:
        """All rows of which a record is led to one."""
        return (*self.related.values(), *([self.event] if self.event else []))

    @property
    def judged_apart(self) -> bool:
        """Whether anything that records are judged by is in other tables, or an event."""
        return bool(self.leading or self.many)

    @property
    def carriers(self) -> tuple[Child, ...]:
        """All tables whose rows refer to records, and by which a hold may find these."""
        return (*self.children, *self.carried_by_many)

    def at(self, path: Sequence[int]) -> Child:
        """The child table that a path leads to: which child of which, counted from 0."""
        child, children = None, self.children
        for number in path:
            child = children[number]
            children = child.children
        assert child is not None  # noqa: S101 - callers ask for child tables
        return child

    def down(self, path: Sequence[int]) -> tuple[Child, ...]:
        """All child tables on a path."""
        return tuple(self.at(path[: number + 1]) for number in range(len(path)))

    @classmethod
    def find(
        cls,
        connection: sa.Connection,
        dataset: TableDataset,
        by_value: str | None,
        dialect: Dialect,
        further: Mapping[tuple[int, ...], Sequence[str]] | None = None,
    ) -> Target:
        """The table of a dataset, with every column that its policy names, and `further` ones by the tables' paths.

        Raises:
            StoreError: if it is not what the policy says.
        """
        tables = Tables.look(connection, dataset, dialect)
        found = tables.own
        further = further or {}
        named = [name for _, name in named_columns(dataset)] + ([by_value] if by_value else [])
        named += further.get((), ())
        for problem in _check_related(connection, tables, named, dialect):
            if not problem.remark:
                raise StoreError(f"{dataset.name}: {problem.field}: {problem.message}")
        leading, referring = related.find(tables, named, dialect), many.find(tables, named, dialect)
        names = [name for name in named if not dataset.is_related(name)]
        names += [name for one in leading.values() if one.through is None for name in one.foreign_key]
        names += [name for one in referring.values() for name in one.references]
        lacking = [name for name in dict.fromkeys(names) if name not in found.columns]
        if lacking:
            raise StoreError(f"{dataset.name}: table {dataset.table} has no column {', '.join(lacking)}")
        kinds = clock_kinds(tables, dialect)
        wrong = [f"column {name} {kind}" for name, kind in kinds.items() if not isinstance(kind, ClockKind)]
        if wrong:
            raise StoreError(f"{dataset.name}: clock: {'; '.join(wrong)}")
        for problem in _check_conditions(tables, dialect):
            raise StoreError(f"{dataset.name}: {problem.field}: {problem.message}")
        region = dataset.phone_region
        children = tuple(
            _child(connection, child, dataset.key, region, dataset.name, dialect, (number,), further)
            for number, child in enumerate(dataset.children)
        )
        for problem in texts.check(dataset, dialect):
            raise StoreError(f"{dataset.name}: {problem.field}: {problem.message}")
        if dataset.masks and children:
            raise StoreError(
                f"{dataset.name}: anonymising does not reach child tables: make them datasets of their own"
            )
        sound = {name: kind for name, kind in kinds.items() if isinstance(kind, ClockKind)}
        carrying = tuple(_carrying(name, one, dataset) for name, one in referring.items())
        listed = suppressing.find(connection, dataset, found, dialect)
        by_holds = tuple(one for one in carrying if one)
        event = events.find(dataset, leading, dialect)
        return cls(found.table(dialect, names), sound, children, leading, listed, referring, by_holds, event)


def _carrying(name: str, rows: ManyTable, dataset: TableDataset) -> Child | None:
    """Many related rows as a hold looks for records by them; None where nothing says that it should."""
    splits = {
        kind: tuple(own for owner, own in (split_column(one, dataset.related) for one in columns) if owner == name)
        for kind, columns in dataset.identifiers.items()
    }
    identifiers = {kind: columns for kind, columns in splits.items() if columns}
    if not identifiers:
        return None
    return Child(rows.own, rows.foreign_key, rows.references, identifiers, dataset.phone_region, ())


def _child(
    connection: sa.Connection,
    child: ChildTable,
    key: Sequence[str],
    region: str | None,
    dataset: str,
    dialect: Dialect,
    path: tuple[int, ...],
    further: Mapping[tuple[int, ...], Sequence[str]],
) -> Child:
    found = FoundTable.look(connection, child.table, dialect)
    below = [name for grandchild in child.children for name in grandchild.references or ()]
    carrying = [name for columns in child.identifiers.values() for name in columns]
    names = [*child.foreign_key, *below, *carrying, *further.get(path, ())]
    lacking = [name for name in names if found is None or name not in found.columns]
    if found is None or lacking:
        raise StoreError(f"{dataset}: children: there is no table {child.table} with {', '.join(lacking)}")
    region = child.phone_region or region
    return Child(
        table=found.table(dialect, names),
        foreign_key=child.foreign_key,
        references=tuple(child.references or key),
        identifiers=child.identifiers,
        phone_region=region,
        children=tuple(
            _child(connection, grandchild, (), region, dataset, dialect, (*path, number), further)
            for number, grandchild in enumerate(child.children)
        ),
    )
