"""Records that cannot go, because rows that stay refer to them or to rows that would go with them.

The foreign keys are those of the catalogue by which the database itself refuses. A row that refers stays, unless it is
a record of the same batch, or goes with one: so a chain of records goes as a whole, and one that is kept keeps all that
it refers to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from lethe.counts import Outcome
from lethe.stores.sql.catalogue import Action, ForeignKey
from lethe.stores.sql.dialects.base import Dialect, Predicate
from lethe.stores.sql.family import Family
from lethe.stores.sql.schema import Child, Target, reference
from lethe.stores.sql.tables import FoundTable

GO = "go"
"""The outcome of rows that are to go, until they are gone."""


@dataclass(frozen=True)
class Blocker:
    """A foreign key by which rows may keep records.

    Attributes:
        key: as the catalogue has it.
        referring: the table whose rows refer.
        below: the tables from the records' own down to the one that is referred to; empty where it is their own.
        along: the tables by which the referring rows go with a record themselves; empty where they are records; None
            where they never go.
    """

    key: ForeignKey
    referring: sa.Table
    below: tuple[Child, ...]
    along: tuple[Child, ...] | None

    @property
    def name(self) -> str:
        """In words."""
        return f"foreign key {self.key.name} of table {self.key.child}"

    @property
    def among_records(self) -> bool:
        """Whether records refer to records."""
        return not self.below and self.along == ()


@dataclass(frozen=True)
class Blockers:
    """All that may keep records of one dataset."""

    dialect: Dialect
    target: Target
    key: tuple[str, ...]
    blockers: tuple[Blocker, ...]
    triggers: tuple[str, ...]

    @classmethod
    def of(cls, connection: sa.Connection, family: Family, target: Target, dialect: Dialect) -> Blockers:
        """Those of the catalogue."""

        def look() -> Iterator[Blocker]:
            for member in family.members:
                for key in family.keeping(member):
                    goes = None if family.dataset.masks else family.member_of(key.child)
                    along = None if goes is None else target.down(goes.path)
                    names = [*key.columns, *(family.dataset.key if along == () else ())]
                    names += along[-1].foreign_key if along else ()
                    referring = FoundTable.of(connection, key.child).table(dialect, names)
                    yield Blocker(key, referring, target.down(member.path), along)

        triggers = tuple(
            f"{'rule' if trigger.is_rule else 'trigger'} {trigger.name} of table {trigger.table}"
            for member in family.members
            for trigger in member.triggers
        )
        return cls(dialect, target, family.dataset.key, tuple(look()), triggers)

    @property
    def deferrable(self) -> bool:
        """Whether the database may look at one of the foreign keys only when a transaction ends."""
        return any(blocker.key.deferrable for blocker in self.blockers)

    @property
    def among_records(self) -> tuple[Blocker, ...]:
        """Foreign keys by which records refer to records."""
        return tuple(blocker for blocker in self.blockers if blocker.among_records)

    @property
    def row_by_row(self) -> tuple[Blocker, ...]:
        """Those by which a statement may not even erase rows that refer to each other."""
        restrict = [one for one in self.among_records if one.key.on_delete is Action.RESTRICT]
        return tuple(restrict) if self.dialect.restricts_each_row else ()

    @property
    def keepers(self) -> tuple[str, ...]:
        """What may keep rows of a statement without an error, in words."""
        return (*self.triggers, *(blocker.name for blocker in self.row_by_row))

    @property
    def referred(self) -> set[str]:
        """The columns of the records that are referred to."""
        return {name for blocker in self.blockers if not blocker.below for name in blocker.key.referred}

    def mark(self, connection: sa.Connection, verdict: sa.Table) -> None:
        """Mark those of the noted rows that are to go as blocked that others keep, and what these refer to."""
        while sum(self._mark(connection, verdict, blocker) for blocker in self.blockers):
            if all(blocker.along is None for blocker in self.blockers):
                return

    def _mark(self, connection: sa.Connection, verdict: sa.Table, blocker: Blocker) -> int:
        kept = sa.exists(self._referring(verdict, blocker).where(*self._stays(verdict, blocker)))
        return connection.execute(
            sa.update(verdict)
            .where(verdict.c.outcome == GO, kept)
            .values(outcome=Outcome.BLOCKED.value, reason=blocker.name)
        ).rowcount

    def _referring(self, verdict: sa.FromClause, blocker: Blocker) -> sa.Select[Any]:
        """The rows that refer to a noted row, or to rows that go with it."""
        source: sa.FromClause = blocker.referring
        pairs = zip(blocker.key.columns, blocker.key.referred, strict=True)
        mine = [(blocker.referring.c[column], referred) for column, referred in pairs]
        where: list[Predicate] = []
        if blocker.below:
            tables = [child.table.alias(f"below_{number}") for number, child in enumerate(blocker.below)]
            source = source.join(tables[-1], sa.and_(*(column == tables[-1].c[name] for column, name in mine)))
            source, where = _joined_up(source, tables, blocker.below, verdict)
        else:
            where = [column == verdict.c[reference(name)] for column, name in mine]
        return sa.select(sa.literal(1)).select_from(source).where(*where).correlate(verdict)

    def _stays(self, verdict: sa.Table, blocker: Blocker) -> list[Predicate]:
        """Whether a referring row stays where it is."""
        if blocker.along is None:
            return []
        goes = verdict.alias("goes")
        source: sa.FromClause = goes
        if blocker.along:
            upper = [child.table.alias(f"along_{number}") for number, child in enumerate(blocker.along[:-1])]
            tables: list[sa.FromClause] = [*upper, blocker.referring]
            where = _to_parent(tables[0], blocker.along[0], goes)
            for (above, table), child in zip(pairwise(tables), blocker.along[1:], strict=True):
                where += _to_table(table, child, above)
            for table in upper:
                source = source.join(table, sa.true())
        else:
            address = self.dialect.address(blocker.referring, [blocker.referring.c[name] for name in self.key])
            where = [column == goes.c[f"at_{number}"] for number, column in enumerate(address)]
        found = sa.select(sa.literal(1)).select_from(source).where(*where, goes.c.outcome == GO)
        return [sa.not_(sa.exists(found.correlate(blocker.referring)))]

    def unreferred(self, verdict: sa.Table) -> Predicate:
        """Whether no other record refers to a noted row by what the database looks at row by row."""
        where: list[Predicate] = []
        if self.dialect.restricts_itself:
            return sa.and_(sa.true(), *(sa.not_(sa.exists(self._referring(verdict, one))) for one in self.row_by_row))
        for blocker in self.row_by_row:
            address = self.dialect.address(blocker.referring, [blocker.referring.c[name] for name in self.key])
            itself = sa.and_(*(column == verdict.c[f"at_{number}"] for number, column in enumerate(address)))
            where.append(sa.not_(sa.exists(self._referring(verdict, blocker).where(sa.not_(itself)))))
        return sa.and_(sa.true(), *where)


def _to_parent(table: sa.FromClause, child: Child, verdict: sa.FromClause) -> list[Predicate]:
    pairs = zip(child.foreign_key, child.references, strict=True)
    return [table.c[mine] == verdict.c[reference(theirs)] for mine, theirs in pairs]


def _to_table(table: sa.FromClause, child: Child, above: sa.FromClause) -> list[Predicate]:
    return [table.c[mine] == above.c[theirs] for mine, theirs in zip(child.foreign_key, child.references, strict=True)]


def _joined_up(
    source: sa.FromClause, tables: Sequence[sa.FromClause], path: Sequence[Child], verdict: sa.FromClause
) -> tuple[sa.FromClause, list[Predicate]]:
    """A source that has the last of some child tables, joined upwards: with the condition that leads to the record."""
    for number in range(len(path) - 1, 0, -1):
        source = source.join(tables[number - 1], sa.and_(*_to_table(tables[number], path[number], tables[number - 1])))
    return source, _to_parent(tables[0], path[0], verdict)
