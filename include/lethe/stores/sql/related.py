"""Rows of other tables that records lead to, with a part of what records are judged by.

A column of theirs is read in two ways. *Apart*, a subquery finds it: right in every statement that has the records'
table, whatever else the statement does. *Joined*, the row is one of the statement's own sources, which databases read
all at once where there are many records. Either way a record leads to one such row at most, because the columns that it
refers to are unique, and what is not there is NULL.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lethe.judging.keys import KeyKind
from lethe.policy import MissingRelated, Related, TableDataset, split_column, way_to_related
from lethe.stores.base import Problem
from lethe.stores.sql.catalogue import Relation
from lethe.stores.sql.dialects.base import AnyColumn, Dialect, Fault, Predicate
from lethe.stores.sql.tables import FoundTable, Tables, relation_of, share_rows


@dataclass(frozen=True)
class LedTo(ABC):
    """The one row that a record leads to, as statements need it.

    Attributes:
        table: the table that it is in, under a name of its own.
        foreign_key: the columns that refer to it, of `through`, or of the records' table where that is None.
        through: the row before it.
        dialect: of the database.
    """

    table: sa.FromClause
    foreign_key: tuple[str, ...]
    through: RelatedTable | None
    dialect: Dialect

    @property
    def path(self) -> tuple[LedTo, ...]:
        """All rows that lead to it, the record's own neighbour first, and itself."""
        return (*(self.through.path if self.through else ()), self)

    def before(self, records: sa.FromClause) -> sa.FromClause:
        """The table of the row that leads to it."""
        return self.through.table if self.through else records

    @abstractmethod
    def leads_from(self, records: sa.FromClause) -> Predicate:
        """Whether a row is the one that a record, or the row before it, leads to."""

    def found_from(self, records: sa.FromClause, what: AnyColumn) -> sa.Select[tuple[object]]:
        """Something of the row that a record leads to; for subqueries of statements that have `records`."""
        first, *others = self.path
        source: sa.FromClause = first.table
        for one in others:
            source = source.join(one.table, one.leads_from(records))
        rows = sa.select(what).select_from(source).where(first.leads_from(records))
        return rows.correlate_except(*(one.table for one in self.path))


@dataclass(frozen=True)
class RelatedTable(LedTo):
    """A row of another table of the database.

    Attributes:
        relation: which table it is.
        references: the columns that `foreign_key` refers to.
        columns: those of it that are read.
        must_be_there: whether a record without it cannot be judged.
    """

    relation: Relation
    references: tuple[str, ...]
    columns: tuple[str, ...]
    must_be_there: bool

    @property
    def path(self) -> tuple[RelatedTable, ...]:
        """All rows that lead to it, the record's own neighbour first, and itself."""
        return (*(self.through.path if self.through else ()), self)

    def leads_from(self, records: sa.FromClause) -> Predicate:
        """By columns that are equal."""
        before = self.before(records)
        pairs = zip(self.foreign_key, self.references, strict=True)
        return sa.and_(*(self.dialect.identical(self.table.c[theirs], before.c[mine]) for mine, theirs in pairs))

    @property
    def is_there(self) -> Predicate:
        """Whether there is one, where it is joined: what is equal to something is not NULL."""
        return self.table.c[self.references[0]].is_not(None)


RelatedTables = Mapping[str, RelatedTable]


def ones(dataset: TableDataset) -> dict[str, Related]:
    """Those of a dataset's related rows of which a record has one at most."""
    return {name: related for name, related in dataset.related.items() if not related.many}


def joined_to(source: sa.FromClause, records: sa.FromClause, rows: Iterable[LedTo]) -> sa.FromClause:
    """`source`, which has the records' table, with the rows that each record leads to beside it."""
    for one in rows:
        source = source.outerjoin(one.table, one.leads_from(records))
    return source


def find(tables: Tables, named: Sequence[str], dialect: Dialect) -> dict[str, RelatedTable]:
    """The tables of rows that records lead to, in an order in which each comes after those that lead to it.

    They are what the policy says. `named` are all columns that it names.
    """
    dataset = tables.dataset
    made: dict[str, RelatedTable] = {}
    in_order = (one for last in ones(dataset) for one in way_to_related(last, dataset.related))
    for name in dict.fromkeys(in_order):
        related, found = dataset.related[name], tables.related[name]
        columns = tuple(dict.fromkeys(_columns(name, dataset, named)))
        made[name] = RelatedTable(
            relation=found.relation,
            table=found.table(dialect, columns).alias(f"lethe_related_{len(made)}"),
            foreign_key=related.foreign_key,
            references=related.references,
            through=made[related.through] if related.through else None,
            columns=columns,
            dialect=dialect,
            must_be_there=related.when_missing is MissingRelated.UNJUDGEABLE,
        )
    return made


def _columns(name: str, dataset: TableDataset, named: Sequence[str]) -> list[str]:
    """The columns of a related row that are needed."""
    onward = [one for other in ones(dataset).values() if other.through == name for one in other.foreign_key]
    splits = (split_column(column, dataset.related) for column in named)
    return [*dataset.related[name].references, *onward, *(column for owner, column in splits if owner == name)]


def check(connection: sa.Connection, tables: Tables, named: Sequence[str], dialect: Dialect) -> Iterator[Problem]:
    """What of the rows that records lead to does not fit; `named` are all columns that the policy names."""
    for name, related in ones(tables.dataset).items():
        found = tables.related.get(name)
        before = tables.own if related.through is None else tables.related.get(related.through)
        if found is not None and before is not None:
            yield from _check_one(connection, name, tables, _Step(before, found), named, dialect)


@dataclass(frozen=True)
class _Step:
    """Two tables, of which rows of the first lead to rows of the second."""

    before: FoundTable
    table: FoundTable


def _check_one(
    connection: sa.Connection, name: str, tables: Tables, found: _Step, named: Sequence[str], dialect: Dialect
) -> Iterator[Problem]:
    dataset = tables.dataset
    related, field = dataset.related[name], f"related.{name}"
    lacking = [(related.table, one) for one in _columns(name, dataset, named) if one not in found.table.columns]
    lacking += [(str(found.before.relation), one) for one in related.foreign_key if one not in found.before.columns]
    for table, column in dict.fromkeys(lacking):
        yield Problem(field=field, message=f"table {table} has no column {column}")
    if not lacking:
        yield from _that_goes(connection, name, tables, found.table.relation, dialect)
        yield from _that_are_several(connection, name, dataset, found, dialect)


def _that_goes(
    connection: sa.Connection, name: str, tables: Tables, relation: Relation, dialect: Dialect
) -> Iterator[Problem]:
    """That rows of a table would go by which others are judged."""
    field, called = f"related.{name}", tables.dataset.related[name].table
    if share_rows(connection, relation, tables.own.relation, dialect):
        yield Problem(
            field=field,
            message=f"{called} is the table of the records themselves: rows that others are judged by would go; "
            "name a table whose rows stay",
        )
    for table in (table for child in tables.dataset.children for table in child.tables):
        goes = relation_of(connection, table, dialect)
        if goes is not None and share_rows(connection, relation, goes, dialect):
            yield Problem(
                field=field,
                message=f"{called} is among the children: its rows go along, while others would "
                "be judged by them; leave it out of one of the two",
            )


def _that_are_several(
    connection: sa.Connection, name: str, dataset: TableDataset, found: _Step, dialect: Dialect
) -> Iterator[Problem]:
    """That a record may lead to several rows, to none that can be told, or to one that comes later."""
    related, field = dataset.related[name], f"related.{name}"
    ends = (found.before.relation.id, found.table.relation.id)
    is_key = any(
        (key.child.id, key.parent.id) == ends and key.pairs == related.pairs and key.validated
        for key in dialect.referring(connection, found.table.relation)
    )
    unique = dialect.unique_keys(connection, found.table.relation)
    columns = ", ".join(related.references)
    if not any(set(one) <= set(related.references) for one in unique):
        yield Problem(
            field=field,
            message=f"nothing makes ({columns}) of {related.table} unique, and no foreign key refers to it: a record "
            "may lead to several rows; name columns that are unique in every row",
        )
    elif not all(
        compared_exactly(found.before.columns[mine], found.table.columns[theirs], dialect)
        for mine, theirs in related.pairs
    ):
        yield Problem(
            field=field,
            message=f"({', '.join(related.foreign_key)}) and ({columns}) of {related.table} are of different types "
            "or collations: two rows that are not equal may both be equal to what refers to them; make them alike",
        )
    elif not _can_be_compared(connection, related, found, dialect):
        yield Problem(
            field=field,
            message=f"the database cannot compare ({', '.join(related.foreign_key)}) with ({columns}) of "
            f"{related.table}: they are of different types",
        )
    elif not is_key and related.when_missing is MissingRelated.EMPTY and not dataset.waits_for(name):
        yield Problem(
            field=field,
            message=f"no foreign key leads from ({', '.join(related.foreign_key)}) to {related.table}, or it is not "
            "validated: a row that is missing now may be there a moment later, so when_missing can only be "
            "unjudgeable; or make a foreign key, or have no clock but columns of it",
        )


_TEXTS = frozenset({KeyKind.TEXT, KeyKind.PADDED})


def compared_exactly(mine: Mapping[str, Any], theirs: Mapping[str, Any], dialect: Dialect) -> bool:
    """Whether a value equals one of a unique column at most.

    SQLite takes text for numbers where it has to, and a float equals several large whole numbers.
    """
    collations = {getattr(one["type"], "collation", None) for one in (mine, theirs)}
    return len(collations) == 1 and of_one_kind(mine["type"], theirs["type"], dialect)


def of_one_kind(mine: sa.types.TypeEngine[Any], theirs: sa.types.TypeEngine[Any], dialect: Dialect) -> bool:
    """Whether two columns have values of one type, as far as comparing and copying them goes."""
    kinds = {dialect.key_kind(one) or _declared(one) for one in (mine, theirs)}
    return len(kinds) == 1 or kinds <= _TEXTS


def _declared(kind: sa.types.TypeEngine[Any]) -> KeyKind | str:
    """What values of a type are compared as, where the database keeps any values in it."""
    if isinstance(kind, sa.Numeric | sa.Integer | sa.Float):
        return KeyKind.NUMBER
    return KeyKind.TEXT if isinstance(kind, sa.String) else type(kind).__name__


def _can_be_compared(connection: sa.Connection, related: Related, found: _Step, dialect: Dialect) -> bool:
    """Whether the database knows how; also where that cannot be tried, because something may not be read."""
    mine = found.before.table(dialect, related.foreign_key).alias("referring")
    theirs = found.table.table(dialect, related.references).alias("referred")
    pairs = zip(related.foreign_key, related.references, strict=True)
    same = sa.and_(*(theirs.c[other] == mine.c[one] for one, other in pairs))
    attempt = connection.begin_nested()
    try:
        connection.execute(sa.select(sa.literal(1)).select_from(mine.join(theirs, same)).limit(0))
    except sa.exc.ProgrammingError as error:
        attempt.rollback()
        return dialect.fault(error) is Fault.DENIED
    attempt.commit()  # rows that are written later in it would be of another transaction than the one around it
    return True
