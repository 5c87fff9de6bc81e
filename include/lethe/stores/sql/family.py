"""A dataset's table with the tables whose rows go along, and all that the database would do to other rows by itself.

Names do not tell: the same table has several, and between two tables there can be several foreign keys. So tables are
compared by their identity (with partitions and inheriting tables), and foreign keys by their columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from lethe.errors import StoreError
from lethe.policy import ChildTable, TableDataset
from lethe.stores.abilities import Binding
from lethe.stores.base import Problem
from lethe.stores.sql.catalogue import Change, ForeignKey, Relation, RelationKind, Trigger
from lethe.stores.sql.dialects.base import Dialect
from lethe.stores.sql.tables import relation_of


@dataclass(frozen=True, eq=False)
class Member:
    """A table of a dataset: its own, or a child's.

    Attributes:
        relation: which table it is.
        parts: its id and those of all whose rows are its rows too.
        path: the way to it from the dataset's own table: which child of which, counted from 0.
        parent: the table that its rows go along with; None for the dataset's own.
        link: by which columns they refer to it: (of the child, of the parent).
        keys: all foreign keys that lead to it.
        triggers: what runs when its rows are erased (or anonymised).
    """

    relation: Relation
    parts: frozenset[str]
    path: tuple[int, ...]
    parent: Member | None
    link: frozenset[tuple[str, str]]
    keys: tuple[ForeignKey, ...] = field(repr=False)
    triggers: tuple[Trigger, ...] = field(repr=False)

    @property
    def ancestors(self) -> Iterator[Member]:
        """The tables above it, the nearest first."""
        member = self.parent
        while member is not None:
            yield member
            member = member.parent


@dataclass(frozen=True)
class Family:
    """The tables of a dataset that are there; the dataset's own first."""

    dataset: TableDataset
    members: tuple[Member, ...]
    binding: Binding

    @classmethod
    def of(cls, connection: sa.Connection, dataset: TableDataset, dialect: Dialect) -> Family:
        """Look them up.

        Raises:
            StoreError: if the dataset's own table is not there.
        """

        def look(
            table: TableDataset | ChildTable,
            path: tuple[int, ...],
            parent: Member | None,
            link: frozenset[tuple[str, str]],
        ) -> None:
            relation = relation_of(connection, table.table, dialect)
            if relation is None or relation.kind is not RelationKind.TABLE:
                return
            member = Member(
                relation=relation,
                parts=frozenset(dialect.parts(connection, relation)),
                path=path,
                parent=parent,
                link=link,
                keys=tuple(dialect.referring(connection, relation)),
                triggers=tuple(dialect.triggers(connection, relation, change)),
            )
            members.append(member)
            for number, child in enumerate(table.children):
                references = child.references or (dataset.key if table is dataset else ())
                look(child, (*path, number), member, frozenset(zip(child.foreign_key, references, strict=False)))

        members: list[Member] = []
        change = Change.UPDATE if dataset.masks else Change.DELETE
        look(dataset, (), None, frozenset())
        if not members:
            raise StoreError(f"{dataset.name}: there is no table {dataset.table}, or it cannot be seen")
        return cls(dataset, tuple(members), dialect.abilities.binding)

    def require_judged(self) -> None:
        """Refuse to erase what would have the database delete or change rows that nobody judges.

        Raises:
            StoreError: naming the tables.
        """
        problems = [f"{one.field}: {one.message}" for one in self.problems() if not one.remark]
        if problems:
            raise StoreError(f"{self.dataset.name}: {'; '.join(problems)}")

    def problems(self) -> Iterator[Problem]:
        """Rows that would go unjudged, and remarks on those that would stay for others' sake."""
        for member in self.members:
            yield from self._own_descendants(member)
            for key in member.keys:
                yield from self._unjudged(member, key)
            for trigger in member.triggers:
                yield self._triggered(member, trigger)

    def _own_descendants(self, member: Member) -> Iterator[Problem]:
        for ancestor in member.ancestors:
            if ancestor.parts & member.parts:
                yield Problem(
                    field="children",
                    message=f"table {member.relation} is among its own descendants: rows that expire on their own, or "
                    "that are held, would go along with others unjudged. Leave it out of children: its rows are "
                    "records of their own, erased in the order of their references",
                )

    def _unjudged(self, member: Member, key: ForeignKey) -> Iterator[Problem]:
        masked = self._masked(key)
        if masked and not key.on_update.refuses:
            yield Problem(
                field="masks",
                message=f"rows of table {key.child} refer to {', '.join(sorted(masked))} of {member.relation.name} "
                f"and would be changed with it (ON UPDATE {key.on_update}) without being counted or compared with "
                f"holds: take the action off foreign key {key.name}",
            )
        elif not self.dataset.masks and not self.is_declared(member, key) and not key.on_delete.refuses:
            yield Problem(
                field="children",
                message=f"rows of table {key.child} would follow those of {member.relation.name} (ON DELETE "
                f"{key.on_delete}) without being counted or compared with holds: name the table in children with the "
                f"columns of foreign key {key.name}, or take the action off it",
            )
        elif key in self.keeping(member):
            yield _blocks(member, key)

    def _masked(self, key: ForeignKey) -> set[str]:
        """The columns that a foreign key refers to and that are masked."""
        return {mask.column for mask in self.dataset.masks} & set(key.referred)

    def keeping(self, member: Member) -> tuple[ForeignKey, ...]:
        """The foreign keys by which rows that stay keep rows of a member: the database refuses to erase these."""
        if self.dataset.masks:
            return tuple(key for key in member.keys if self._masked(key) and key.on_update.refuses)
        return tuple(key for key in member.keys if key.on_delete.refuses and not self.is_declared(member, key))

    @property
    def among_records(self) -> tuple[ForeignKey, ...]:
        """The foreign keys by which records of the dataset keep others."""
        own = self.members[0]
        return () if self.dataset.masks else tuple(key for key in self.keeping(own) if key.child.id in own.parts)

    @property
    def further_columns(self) -> Mapping[tuple[int, ...], tuple[str, ...]]:
        """The columns of each member that foreign keys need which may keep rows of it, by the member's path."""
        found = {
            member.path: [name for key in self.keeping(member) for name in key.referred] for member in self.members
        }
        found[()] += [name for key in self.among_records for name in key.columns]
        return {path: tuple(dict.fromkeys(names)) for path, names in found.items()}

    def member_of(self, relation: Relation) -> Member | None:
        """The member whose rows those of a table are."""
        return next((member for member in self.members if relation.id in member.parts), None)

    def is_declared(self, member: Member, key: ForeignKey) -> bool:
        """Whether the rows that refer by a foreign key are children of the dataset by just this key."""
        return any(
            child.parent is member and child.relation.id == key.child.id and child.link == key.pairs
            for child in self.members
        )

    def _triggered(self, member: Member, trigger: Trigger) -> Problem:
        what = "rule" if trigger.is_rule else "trigger"
        verb = "anonymised" if self.dataset.masks else "erased"
        if trigger.replaces:
            return Problem(
                field="table",
                message=f"{what} {trigger.name} of {trigger.table} runs instead of the statement by which rows of "
                f"{member.relation.name} are {verb}: they cannot be {verb} while it is there",
            )
        if self.binding is Binding.LEASED:
            return Problem(
                field="table",
                message=f"{what} {trigger.name} of {trigger.table} runs when rows are {verb}: in a database without "
                f"locks what it keeps or changes cannot be judged again; records of such tables are not {verb} while "
                "it is there",
            )
        return Problem(
            field="table",
            message=f"{what} {trigger.name} of {trigger.table} runs when rows are {verb}: what it keeps is "
            "counted as blocked, and the run is red; what it erases or copies elsewhere is neither counted nor "
            "compared with holds",
            remark=True,
        )


def _blocks(member: Member, key: ForeignKey) -> Problem:
    return Problem(
        field="children",
        message=f"rows of table {key.child} refer to {member.relation.name} (foreign key {key.name}): a record stays, "
        "is counted as blocked and makes its run red, while a row that stays refers to it; where such rows belong to "
        "the record, name the table in children, else remove them first",
        remark=True,
    )
