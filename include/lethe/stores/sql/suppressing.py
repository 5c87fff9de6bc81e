"""Suppression lists: a value of a record goes onto one in the transaction that erases the record.

The rows are noted and locked when that happens, so that what goes onto the list is of just the records that go. What is
on the list already stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lethe.errors import StoreError
from lethe.policy import Condition, Suppression, TableDataset
from lethe.stores.abilities import Ability
from lethe.stores.base import Problem
from lethe.stores.sql.catalogue import Change, Relation, RelationKind, Trigger
from lethe.stores.sql.dialects.base import Dialect, Fault
from lethe.stores.sql.related import of_one_kind
from lethe.stores.sql.tables import FoundTable, absent, no_table, relation_of, share_rows


@dataclass(frozen=True)
class SuppressionList:
    """A list as statements need it.

    Attributes:
        relation: which table it is.
        table: the table, with its column.
        column: the column with what is on it.
        source: the records' column whose value goes onto it.
        when: what records whose value goes onto it meet.
    """

    relation: Relation
    table: sa.Table
    column: str
    source: str
    when: tuple[Condition, ...]

    def put(self, connection: sa.Connection, rows: sa.Select[Any], dialect: Dialect) -> None:
        """Put the values that `rows` selects onto the list.

        Raises:
            StoreError: if one is not on it then, because a trigger or another unique column has kept it out.
        """
        wanted = rows.subquery("lethe_listed")
        value = wanted.c[0]
        listed = self.table.c[self.column]
        there = sa.exists(sa.select(listed).where(listed == value))  # not of all columns: they may not be read
        missing = sa.select(value).where(value.is_not(None), sa.not_(there))
        connection.execute(dialect.insert_missing(self.table, self.column, missing))
        if connection.execute(missing.limit(1)).first() is not None:
            raise StoreError(
                f"{self.relation} does not take what goes onto the list ({self.column}), without an error: nothing was "
                "erased; look for a trigger, or for another column that has to be unique"
            )


def find(connection: sa.Connection, dataset: TableDataset, own: FoundTable, dialect: Dialect) -> SuppressionList | None:
    """The list of a dataset, if it has one.

    Raises:
        StoreError: if it is not what the policy says.
    """
    asked = dataset.suppression
    if asked is None:
        return None
    found = FoundTable.look(connection, asked.table, dialect)
    for problem in _problems(connection, dataset, asked, own, found, dialect):
        raise StoreError(f"{dataset.name}: {problem.field}: {problem.message}")
    assert found is not None  # noqa: S101 - that is among the problems
    return SuppressionList(found.relation, found.table(dialect, [asked.column]), asked.column, asked.from_, asked.when)


def check(connection: sa.Connection, dataset: TableDataset, own: FoundTable, dialect: Dialect) -> Iterator[Problem]:
    """What of a dataset's list does not fit the database, which is tried by a statement that writes nothing."""
    asked = dataset.suppression
    if asked is None:
        return
    found = FoundTable.look(connection, asked.table, dialect)
    problems = list(_problems(connection, dataset, asked, own, found, dialect))
    yield from problems
    if found is not None and not problems:
        yield from _that_takes_no_such_value(connection, dataset, asked, own, found, dialect)
        triggers = dialect.triggers(connection, found.relation, Change.INSERT)
        yield from (_triggered(trigger, found) for trigger in triggers)


def _problems(
    connection: sa.Connection,
    dataset: TableDataset,
    asked: Suppression,
    own: FoundTable,
    found: FoundTable | None,
    dialect: Dialect,
) -> Iterator[Problem]:
    """What the catalogue says against a list."""
    lack = dialect.abilities.lack(Ability.SUPPRESSION)
    if lack is not None:
        yield Problem(field="suppression", message=f"{lack.says}: {lack.reason}")
    elif found is None:
        yield Problem(field="suppression", message=absent(asked.table))
    elif found.relation.kind is not RelationKind.TABLE:
        yield Problem(field="suppression", message=no_table(found.relation))
    elif asked.column not in found.columns:
        yield Problem(field="suppression", message=f"table {asked.table} has no column {asked.column}")
    else:
        yield from _that_goes(connection, dataset, own, found, dialect)
        yield from _that_is_not_unique(connection, asked, found, dialect)
        yield from _that_needs_more(asked, found)
        yield from _that_keeps_another_value(dataset, asked, own, found, dialect)
        yield from _that_a_crash_empties(connection, found, dialect)


def _that_goes(
    connection: sa.Connection, dataset: TableDataset, own: FoundTable, found: FoundTable, dialect: Dialect
) -> Iterator[Problem]:
    """That the list would be erased with the records."""
    names = [table for child in dataset.children for table in child.tables]
    along = [relation_of(connection, name, dialect) for name in names]
    going = [own.relation, *(relation for relation in along if relation is not None)]
    if any(share_rows(connection, table, found.relation, dialect) for table in going):
        yield Problem(
            field="suppression",
            message=f"{found.relation} is a table whose rows are erased: name a table that has the list alone",
        )


def _that_is_not_unique(
    connection: sa.Connection, asked: Suppression, found: FoundTable, dialect: Dialect
) -> Iterator[Problem]:
    if (asked.column,) not in dialect.unique_keys(connection, found.relation):
        yield Problem(
            field="suppression",
            message=f"nothing makes ({asked.column}) of {asked.table} unique, so that a value could be on the list "
            "several times: make it the primary key, or give it a unique index",
        )


def _that_needs_more(asked: Suppression, found: FoundTable) -> Iterator[Problem]:
    """Columns that want a value, while nothing but the one is put on the list."""
    for name, column in found.columns.items():
        if name != asked.column and not _fills_itself(column):
            yield Problem(
                field="suppression",
                message=f"column {name} of {asked.table} needs a value, and nothing but {asked.column} is put on the "
                "list: give it a default, or leave it out of the list",
            )


def _that_a_crash_empties(connection: sa.Connection, found: FoundTable, dialect: Dialect) -> Iterator[Problem]:
    emptied = dialect.emptied_by_a_crash(connection, found.relation)
    if emptied is not None:
        called, statement = emptied
        yield Problem(
            field="suppression",
            message=f"{found.relation} is emptied when the server crashes ({called}), while the records are gone: "
            f"{statement}",
        )


def _that_keeps_another_value(
    dataset: TableDataset, asked: Suppression, own: FoundTable, found: FoundTable, dialect: Dialect
) -> Iterator[Problem]:
    """Types between which values are converted without an error: of text that is put where numbers are, 0601 is 601."""
    if not of_one_kind(own.columns[asked.from_]["type"], found.columns[asked.column]["type"], dialect):
        yield _of_different_types(dataset, asked)


def _triggered(trigger: Trigger, found: FoundTable) -> Problem:
    what = "rule" if trigger.is_rule else "trigger"
    if trigger.replaces:
        return Problem(
            field="suppression",
            message=f"{what} {trigger.name} of {trigger.table} runs instead of the statement that puts values on "
            f"{found.relation}: no record whose value is to go onto the list can be erased while it is there",
        )
    return Problem(
        field="suppression",
        message=f"{what} {trigger.name} of {trigger.table} runs when values are put on the list: where it keeps one "
        "out, or may not do what it does, the batch is not erased; what it copies elsewhere is neither counted nor "
        "erased",
        remark=True,
    )


def _of_different_types(dataset: TableDataset, asked: Suppression) -> Problem:
    return Problem(
        field="suppression",
        message=f"the database cannot put {asked.from_} of {dataset.table} into {asked.column} of {asked.table} as it "
        "is: they are of different types",
    )


def _fills_itself(column: Mapping[str, Any]) -> bool:
    given = ("nullable", "default", "computed", "identity")
    counts = column.get("autoincrement") is True or (
        column.get("primary_key") and isinstance(column["type"], sa.Integer)
    )
    return bool(counts) or any(column.get(name) for name in given)


def _that_takes_no_such_value(
    connection: sa.Connection,
    dataset: TableDataset,
    asked: Suppression,
    own: FoundTable,
    found: FoundTable,
    dialect: Dialect,
) -> Iterator[Problem]:
    """Tried with no row: what the database converts it knows alone. What may not be done is said with the rights."""
    source = own.table(dialect, [asked.from_]).c[asked.from_]
    target = found.table(dialect, [asked.column])
    attempt = connection.begin_nested()
    try:
        same = sa.select(sa.literal(1)).where(target.c[asked.column] == source)
        connection.execute(same.limit(0))
        connection.execute(dialect.insert_missing(target, asked.column, sa.select(source).where(sa.false())))
    except sa.exc.DBAPIError as error:
        attempt.rollback()
        if dialect.fault(error) is not Fault.DENIED:
            yield _of_different_types(dataset, asked)
        return
    attempt.commit()
