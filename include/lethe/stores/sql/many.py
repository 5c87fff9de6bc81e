"""Rows of other tables that refer to records, many to one, by all of which records are judged.

Something of them is asked in two ways. *Apart*, a subquery finds the rows of each record: right in every statement that
has the records' table, and fast where these are few, by the index of the foreign key. *Summed up*, the answers for all
records are one of the statement's own sources, of one pass over the other table: for statements that read all records.
They never multiply the rows of a statement.

While a record is locked no further row comes to refer to it: who inserts one, or has one refer to it, needs the record
(`Dialect.keeps_out`). So all that refer to a record are locked after it, and what is then judged stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from lethe.policy import MissingRelated, Related, TableDataset, split_column
from lethe.stores.base import Problem
from lethe.stores.sql.catalogue import Relation
from lethe.stores.sql.dialects.base import AnyColumn, Dialect, Predicate
from lethe.stores.sql.related import compared_exactly
from lethe.stores.sql.tables import FoundTable, Tables, relation_of, share_rows

_THERE = "there"
"""What it is called in a summary that there are rows."""


@dataclass(frozen=True)
class ManyTable:
    """Related rows of records as statements need them.

    Attributes:
        relation: which table they are of.
        table: the table, under an alias of its own.
        own: the table, as it is called.
        foreign_key: the columns that refer to the records.
        references: the columns of the records that they refer to.
        columns: those that are read.
        must_be_there: whether a record without any cannot be judged.
    """

    relation: Relation
    table: sa.FromClause
    own: sa.Table
    foreign_key: tuple[str, ...]
    references: tuple[str, ...]
    columns: tuple[str, ...]
    must_be_there: bool

    def of(self, records: sa.FromClause) -> Predicate:
        """Whether a row refers to a record, as the foreign key compares them: by what the record's column is."""
        pairs = zip(self.foreign_key, self.references, strict=True)
        return sa.and_(*(records.c[theirs] == self.table.c[mine] for mine, theirs in pairs))

    def any(self, records: sa.FromClause, *test: Predicate) -> Predicate:
        """Whether any of a record's rows passes a test; for statements that have `records`."""
        return sa.exists(self._found(records, sa.literal(1)).where(*test))

    def value(self, records: sa.FromClause, what: AnyColumn) -> AnyColumn:
        """An aggregate of a record's rows; the same."""
        return self._found(records, what).scalar_subquery()

    def _found(self, records: sa.FromClause, what: AnyColumn) -> sa.Select[tuple[object]]:
        rows = sa.select(what).select_from(self.table).where(self.of(records))
        return rows.correlate_except(self.table)


ManyTables = Mapping[str, ManyTable]


@dataclass(frozen=True)
class Summary:
    """What is asked of all rows of a table, by the record that they refer to.

    Attributes:
        many: the rows.
        found: an aggregate a label, one row for each record that has rows.
    """

    many: ManyTable
    found: sa.Subquery

    @classmethod
    def of(
        cls, many: ManyTable, number: int, tests: Mapping[str, Predicate], values: Mapping[str, AnyColumn]
    ) -> Summary:
        """Of tests, whether any row passes them; of values, themselves."""
        key = [many.table.c[name] for name in many.foreign_key]
        one, none = sa.literal_column("1", sa.Integer()), sa.literal_column("0", sa.Integer())
        passed = {label: sa.func.max(sa.case((test, one), else_=none)) for label, test in tests.items()}
        columns = {**{f"key_{n}": column for n, column in enumerate(key)}, _THERE: sa.func.max(one), **passed, **values}
        rows = sa.select(*(column.label(label) for label, column in columns.items())).select_from(many.table)
        rows = rows.where(*(column.is_not(None) for column in key)).group_by(*key)
        return cls(many, rows.subquery(f"lethe_summary_{number}"))

    def beside(self, source: sa.FromClause, records: sa.FromClause) -> sa.FromClause:
        """`source`, which has the records' table, with what is asked beside each."""
        pairs = enumerate(self.many.references)
        return source.outerjoin(
            self.found, sa.and_(*(records.c[name] == self.found.c[f"key_{n}"] for n, name in pairs))
        )

    def has(self, label: str) -> bool:
        """Whether it is asked."""
        return label in self.found.c

    def any(self, label: str) -> Predicate:
        """Whether any of a record's rows passes a test that is asked."""
        return sa.func.coalesce(self.found.c[label], sa.literal_column("0", sa.Integer())) == sa.literal_column("1")

    @property
    def is_there(self) -> Predicate:
        """Whether a record has any rows."""
        return self.found.c[_THERE].is_not(None)

    def value(self, label: str) -> AnyColumn:
        """A value that is asked; NULL where there is no row."""
        return self.found.c[label]


def find(tables: Tables, named: Sequence[str], dialect: Dialect) -> dict[str, ManyTable]:
    """The tables of many related rows, where they are what the policy says; `named` are all columns that it names."""
    made: dict[str, ManyTable] = {}
    for name, many in of_many(tables.dataset).items():
        found = tables.related[name]
        columns = tuple(dict.fromkeys([*many.foreign_key, *columns_of(name, tables.dataset, named)]))
        own = found.table(dialect, columns)
        made[name] = ManyTable(
            relation=found.relation,
            table=own.alias(f"lethe_many_{len(made)}"),
            own=own,
            foreign_key=many.foreign_key,
            references=many.references,
            columns=columns,
            must_be_there=many.when_missing is MissingRelated.UNJUDGEABLE,
        )
    return made


def of_many(dataset: TableDataset) -> dict[str, Related]:
    """Those of a dataset's related rows that are many."""
    return {name: related for name, related in dataset.related.items() if related.many}


def columns_of(name: str, dataset: TableDataset, named: Sequence[str]) -> list[str]:
    """The columns of related rows that a policy names."""
    splits = (split_column(column, dataset.related) for column in named)
    return [column for owner, column in splits if owner == name]


def check(
    connection: sa.Connection, name: str, tables: Tables, named: Sequence[str], dialect: Dialect
) -> Iterator[Problem]:
    """What of many related rows does not fit the database."""
    many, found = tables.dataset.related[name], tables.related[name]
    field = f"related.{name}"
    lacking = [
        (many.table, one)
        for one in [*many.foreign_key, *columns_of(name, tables.dataset, named)]
        if one not in found.columns
    ]
    lacking += [(tables.dataset.table, one) for one in many.references if one not in tables.own.columns]
    for table, column in dict.fromkeys(lacking):
        yield Problem(field=field, message=f"table {table} has no column {column}")
    if not lacking:
        yield from _that_go(connection, field, many, tables, dialect)
        yield from _that_are_of_several(connection, field, many, tables, dialect)
        yield from _that_may_come(connection, field, many, tables, found, dialect)
        yield from _that_are_looked_for(connection, field, many, found)


def _that_go(
    connection: sa.Connection, field: str, many: Related, tables: Tables, dialect: Dialect
) -> Iterator[Problem]:
    """That rows of a table would go by which other records are judged: not those that go with the record itself."""
    relation = tables.related[field.removeprefix("related.")].relation
    if share_rows(connection, relation, tables.own.relation, dialect):
        yield Problem(
            field=field,
            message=f"{many.table} is the table of the records themselves: rows that others are judged by would go; "
            "name a table whose rows stay, or go with their record",
        )
    for child in tables.dataset.children:
        mine = frozenset(zip(child.foreign_key, child.references or tables.dataset.key, strict=False)) == many.pairs
        for table in child.tables[1:] if mine else child.tables:
            goes = relation_of(connection, table, dialect)
            if goes is not None and share_rows(connection, relation, goes, dialect):
                yield Problem(
                    field=field,
                    message=f"{many.table} is among the children by other columns than "
                    f"({', '.join(many.foreign_key)}): its rows would go with one record, while another is judged by "
                    "them; leave it out of one of the two",
                )


def _that_are_of_several(
    connection: sa.Connection, field: str, many: Related, tables: Tables, dialect: Dialect
) -> Iterator[Problem]:
    """That a row may refer to several records, or to another than it seems."""
    columns, referred = ", ".join(many.foreign_key), ", ".join(many.references)
    unique = dialect.unique_keys(connection, tables.own.relation)
    found = tables.related[field.removeprefix("related.")]
    if not any(set(one) <= set(many.references) for one in unique):
        yield Problem(
            field=field,
            message=f"nothing makes ({referred}) of {tables.dataset.table} unique: a row of {many.table} may refer to "
            "several records; name columns that are unique in every row",
        )
    elif not all(
        compared_exactly(found.columns[mine], tables.own.columns[theirs], dialect) for mine, theirs in many.pairs
    ):
        yield Problem(
            field=field,
            message=f"({columns}) of {many.table} and ({referred}) of {tables.dataset.table} are of different types or "
            "collations: two values that are not equal may both be equal to what refers to them; make them alike",
        )


def _that_may_come(
    connection: sa.Connection, field: str, many: Related, tables: Tables, found: FoundTable, dialect: Dialect
) -> Iterator[Problem]:
    """That a further row may refer to a record while it is judged, because nothing keeps it out."""
    if dialect.writes_alone:
        return
    own = tables.own.relation
    keys = [
        key
        for key in dialect.referring(connection, own)
        if (key.child.id, key.parent.id) == (found.relation.id, own.id) and key.pairs == many.pairs and key.validated
    ]
    columns, referred = ", ".join(many.foreign_key), ", ".join(many.references)
    if not keys:
        yield Problem(
            field=field,
            message=f"no foreign key leads from ({columns}) of {many.table} to ({referred}) of {tables.dataset.table}, "
            "or it is not validated: a row could come to refer to a record while that is judged and erased; ALTER "
            f"TABLE {many.table} ADD FOREIGN KEY ({columns}) REFERENCES {tables.dataset.table} ({referred})",
        )
        return
    hindrances = [dialect.lets_in(connection, key) for key in keys]
    if all(hindrances):
        yield Problem(field=field, message=f"foreign key {keys[0].name} of {many.table}: {hindrances[0]}")


def _that_are_looked_for(connection: sa.Connection, field: str, many: Related, found: FoundTable) -> Iterator[Problem]:
    """That the rows of each record are looked for in all of the table."""
    inspector, relation = sa.inspect(connection), found.relation
    indexes = inspector.get_indexes(relation.name, relation.schema)
    firsts = {names[0] for one in indexes if (names := one["column_names"])}
    firsts |= set(inspector.get_pk_constraint(relation.name, relation.schema)["constrained_columns"][:1])
    if not firsts & set(many.foreign_key):
        columns = ", ".join(many.foreign_key)
        yield Problem(
            field=field,
            message=f"table {many.table} has no index that starts with {columns}: each batch reads the whole table, "
            f"which takes longer the larger it is; CREATE INDEX ON {many.table} ({columns})",
            remark=True,
        )
