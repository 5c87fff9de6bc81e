"""All records of one person, whether or not they have a clock, by the predicates that a run judges by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from lethe.holds.rules import HoldRules
from lethe.stores.base import ClocksFound, PersonFound
from lethe.stores.sql import texts
from lethe.stores.sql.dialects.base import AnyColumn, Dialect, Predicate
from lethe.stores.sql.expiry import Judgement
from lethe.stores.sql.holds import Carrier, HeldTables
from lethe.stores.sql.kin import HeldKin
from lethe.stores.sql.notes import Notes
from lethe.stores.sql.schema import Target

_OTHERS = -1
"""In the place of the number of a by_value period: it has none of them."""


@dataclass(frozen=True)
class PersonFinder:
    """Looks for a person's records, in a transaction that only reads.

    Attributes:
        connection: of that transaction.
        dialect: of the database.
        judgement: with related rows beside the table.
        target: the table.
    """

    connection: sa.Connection
    dialect: Dialect
    judgement: Judgement
    target: Target

    def find(self, person: HoldRules, holds: HoldRules) -> PersonFound:
        """What there is of the person, and which of it the holds cover."""
        judgement = self.judgement
        texts.look_through(self.connection, judgement)
        here = sa.and_(judgement.perhaps_in_scope, sa.not_(judgement.done_before))
        sought, kin = self._look(person, "sought", here)
        source, is_theirs = sought.join(judgement, judgement.source)
        theirs = sa.and_(here, sa.or_(is_theirs, kin.held(judgement, sought)) if kin else is_theirs)
        held = self._held(holds, theirs, source)
        counted = {"undated": sa.not_(self._dated), "expired": judgement.expired, "held": held}
        counted["kept_on"] = sa.and_(judgement.expired, judgement.kept_on)
        marks = [sa.case((one, 1), else_=0).label(name) for name, one in counted.items()]
        rows = sa.select(*marks).select_from(source).where(theirs).subquery()
        sums = [sa.func.coalesce(sa.func.sum(rows.c[name]), 0).label(name) for name in counted]
        found = self.connection.execute(sa.select(sa.func.count().label("records"), *sums).select_from(rows)).one()
        clocks = tuple(self._clocks(source, theirs)) if found.records > found.undated else ()
        return PersonFound(**{name: int(count) for name, count in found._mapping.items()}, clocks=clocks)

    @property
    def _dated(self) -> Predicate:
        return sa.and_(sa.not_(self.judgement.missing), sa.not_(self.judgement.unreadable))

    def _look(self, rules: HoldRules, name: str, where: Predicate) -> tuple[HeldTables, HeldKin]:
        """What some rules name, in tables of the session."""
        tables = HeldTables(self.dialect, name)
        tables.load(self.connection, rules)
        tables.search(self.connection, Carrier.of(self.judgement), self.judgement.source, where)
        self.dialect.prepare_staging(self.connection, tables.count)
        kin = HeldKin(self.dialect, Notes(self.dialect), name, self.target.carriers)
        kin.look(self.connection, tables)
        return tables, kin

    def _held(self, holds: HoldRules, theirs: Predicate, source: sa.FromClause) -> Predicate:
        tables = HeldTables(self.dialect, "found")
        tables.load(self.connection, holds)
        tables.search(self.connection, Carrier.of(self.judgement), source, theirs)
        kin = HeldKin(self.dialect, Notes(self.dialect), "found", self.target.carriers)
        kin.look(self.connection, tables)
        covered = [sa.not_(one) for one in tables.absent(self.judgement)]
        return sa.or_(sa.false(), *covered, *([kin.held(self.judgement, tables)] if kin else []))

    def _clocks(self, source: sa.FromClause, theirs: Predicate) -> Iterator[ClocksFound]:
        """The earliest and the latest clock, for each period that some of the records have."""
        named = self.judgement.named
        number: AnyColumn = sa.literal(_OTHERS, sa.Integer())
        if named:
            number = sa.case(*((mine, n) for n, (_, mine) in enumerate(named)), else_=_OTHERS)
        clock, kind = self.judgement.clock_value
        dated = sa.select(number.label("number"), clock.label("clock")).select_from(source).where(theirs, self._dated)
        rows = dated.subquery()
        extremes = sa.select(rows.c.number, sa.func.min(rows.c.clock), sa.func.max(rows.c.clock))
        for n, first, last in self.connection.execute(extremes.group_by(rows.c.number).order_by(rows.c.number)):
            first_day, last_day = (self.dialect.clock_day(one, kind, self.judgement.zones) for one in (first, last))
            yield ClocksFound(named=None if n == _OTHERS else named[n][0], first=first_day, last=last_day)
