"""Records that are held by rows that refer to them.

A hold on an identifier in a row of a child table, however deep, finds the record that the row goes with; so does one in
any of the many rows that a record is judged by. Such rows are looked for from the held identifiers upwards, into
temporary tables of what they refer to, once for each table that carries identifiers; a record is held if it is referred
to there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import sqlalchemy as sa

from lethe.stores.sql.dialects.base import Dialect, Predicate
from lethe.stores.sql.expiry import Judgement
from lethe.stores.sql.holds import Carrier, HeldTables
from lethe.stores.sql.notes import Notes
from lethe.stores.sql.schema import Child, Target, reference

_Path = tuple[Child, ...]


class HeldKin:
    """What records some held identifiers in rows of child tables refer to."""

    def __init__(self, dialect: Dialect, notes: Notes, name: str, children: Sequence[Child]) -> None:
        self._dialect = dialect
        self._notes = notes
        self._name = name
        self._children = children
        self._found: list[tuple[Child, sa.Table]] = []

    def __bool__(self) -> bool:
        """Whether any record is held by its rows of child tables, at whatever clock."""
        return bool(self._found)

    def look(self, connection: sa.Connection, held: HeldTables, parents: sa.FromClause | None = None) -> None:
        """Look for rows with the identifiers that `held` has; only those of `parents`, where given.

        `parents` has the columns of the records' table that the child tables refer to, named as `reference` says.
        """
        for number, path in enumerate(carrying(self._children)):
            carrier = Carrier.below(path[-1])
            refers = [path[0].table.c[column].label(f"at_{n}") for n, column in enumerate(path[0].foreign_key)]
            joined = chain(path, parents)
            held.search(connection, carrier, joined)
            rows = [
                sa.select(*refers, held_class.label("number")).select_from(source).where(where)
                for source, where, held_class in held.matches(carrier, joined)
            ]
            if not rows:
                continue
            name, shape = f"lethe_{self._name}_kin_{number}", [*refers, sa.literal(0).label("number")]
            table, count = self._notes.take(connection, name, shape, *rows, indexed=[refer.name for refer in refers])
            if count:
                self._found.append((path[0], table))

    def held(self, judgement: Judgement, held: HeldTables) -> Predicate:
        """Whether a record of the judged table is held by what was found."""
        return sa.or_(sa.false(), *(self._refers(judgement, held, child, table) for child, table in self._found))

    def _refers(self, judgement: Judgement, held: HeldTables, child: Child, table: sa.Table) -> Predicate:
        same = [judgement.table.c[name] == table.c[f"at_{n}"] for n, name in enumerate(child.references)]
        found = sa.select(sa.literal(1)).select_from(table).where(*same, held.in_force(judgement, table))
        return sa.exists(found.correlate_except(table))

    def lock(self, connection: sa.Connection, parents: sa.FromClause) -> None:
        """Lock the rows of child tables that a hold may be found by, of locked parents, table by table downwards.

        While a parent is locked no further row can refer to it, so what is locked is all that there is.
        """
        for child in self._children:
            self._lock(connection, child, parents.join(child.table, refers_to(child, parents)))

    def _lock(self, connection: sa.Connection, child: Child, source: sa.Join) -> None:
        if not child.carried:
            return
        rows = sa.select(sa.literal(1).label("one")).select_from(source)
        self._dialect.lock_rows(connection, rows, child.table)
        for below in child.children:
            self._lock(connection, below, source.join(below.table, _joins(child, below)))


def carrying(children: Sequence[Child], above: _Path = ()) -> Iterator[_Path]:
    """Every child table that carries identifiers, with the tables that lead to it."""
    for child in children:
        path = (*above, child)
        if child.identifiers:
            yield path
        yield from carrying(child.children, path)


def rows_along(connection: sa.Connection, target: Target, source: sa.FromClause, due: Predicate) -> int:
    """Rows of child tables, at any depth, that go with those rows of `source` (it has the target's table) in `due`."""
    counted = sa.select(sa.func.count()).where(due)
    return sum(connection.scalar(counted.select_from(joined)) or 0 for joined in with_rows_along(target, source))


def with_rows_along(target: Target, source: sa.FromClause) -> Iterator[sa.Join]:
    """`source` (it has the target's table) joined with the rows of each child table, at any depth, that go along."""
    for child in target.children:
        yield from _joined_below(target.table, child, source)


def _joined_below(parent: sa.Table, child: Child, source: sa.FromClause) -> Iterator[sa.Join]:
    pairs = zip(child.foreign_key, child.references, strict=True)
    joined = source.join(child.table, sa.and_(*(child.table.c[mine] == parent.c[theirs] for mine, theirs in pairs)))
    yield joined
    for below in child.children:
        yield from _joined_below(child.table, below, joined)


def chain(path: _Path, parents: sa.FromClause | None) -> sa.FromClause:
    """The tables of a path, joined; with the noted parents, where given."""
    source: sa.FromClause = path[0].table
    if parents is not None:
        source = parents.join(source, refers_to(path[0], parents))
    for upper, lower in pairwise(path):
        source = source.join(lower.table, _joins(upper, lower))
    return source


def refers_to(child: Child, parents: sa.FromClause) -> Predicate:
    """Whether a row of a child table goes with one of the noted `parents`."""
    pairs = zip(child.foreign_key, child.references, strict=True)
    return sa.and_(*(child.table.c[mine] == parents.c[reference(theirs)] for mine, theirs in pairs))


def _joins(upper: Child, lower: Child) -> Predicate:
    pairs = zip(lower.foreign_key, lower.references, strict=True)
    return sa.and_(*(lower.table.c[mine] == upper.table.c[theirs] for mine, theirs in pairs))
