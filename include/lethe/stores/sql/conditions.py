"""A policy's conditions, said in SQL: what `lethe.judging.conditions` means, in whatever database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lethe.judging.conditions import edge
from lethe.judging.dates import Zones, walls_before
from lethe.policy import Condition
from lethe.stores.sql.dialects.base import AnyColumn, Bound, ClockKind, Dialect, Predicate


def unfit(dialect: Dialect, condition: Condition, kind: sa.types.TypeEngine[Any]) -> str | None:
    """Why a column of a type cannot be tested so, in words; None where it can."""
    match condition.test:
        case "before" | "after":
            fits = isinstance(dialect.clock_kind(dialect.plain_type(kind), condition.format), ClockKind)
        case "below" | "above":
            fits = dialect.precision(kind) is not None
        case "like":
            fits = dialect.is_text(kind)
        case _:
            fits = True
    return None if fits else condition.unfit(str(kind).lower())


@dataclass(frozen=True)
class Tested:
    """A condition on a column that fits it. Its predicates are true or false, never unknown."""

    condition: Condition
    column: AnyColumn
    dialect: Dialect
    zones: Zones

    @property
    def met(self) -> Predicate:
        """Whether a value surely meets it. NULL is none of any values: it meets `not_in` and `is_null` alone."""
        test, column = self.condition, self.column
        if test.is_null is not None:
            return column.is_(None) if test.is_null else column.is_not(None)
        literals = [self.dialect.literal(column, value) for value in test.values]
        if test.not_in is not None:
            return sa.or_(column.is_(None), column.not_in(literals))
        if test.in_ is not None:
            return sa.and_(column.is_not(None), column.in_(literals))
        return sa.and_(column.is_not(None), self._comparable, self._compared)

    @property
    def perhaps_met(self) -> Predicate:
        """The same, or it cannot be said, because a value cannot be compared."""
        if not self.condition.compares:
            return self.met
        return sa.or_(self.met, sa.and_(self.column.is_not(None), sa.not_(self._comparable)))

    @property
    def _comparable(self) -> Predicate:
        kind = self._clock_kind
        return self.dialect.comparable(self.column) if kind is None else self.dialect.readable(self.column, kind)

    @property
    def _compared(self) -> Predicate:
        test, column = self.condition, self.column
        if test.like is not None:
            return self.dialect.like(column, test.like)
        if test.number is not None:
            precision = self.dialect.precision(column.type)
            assert precision is not None  # noqa: S101 - it fits
            return self.dialect.beyond(column, test.number, precision, below=test.below is not None)
        kind = self._clock_kind
        assert kind is not None  # noqa: S101 - it fits
        earlier = self.dialect.before(column, kind, self._bound)
        return earlier if test.before is not None else sa.not_(earlier)

    @property
    def _clock_kind(self) -> ClockKind | None:
        """How the dates of the column are read, where they are asked for."""
        if self.condition.day is None:
            return None
        kind = self.dialect.clock_kind(self.dialect.plain_type(self.column.type), self.condition.format)
        assert isinstance(kind, ClockKind)  # noqa: S101 - it fits
        return kind

    @property
    def _bound(self) -> Bound:
        day = self.condition.day
        assert day is not None  # noqa: S101 - asked by callers
        ends = edge(day, self.zones.policy, after=self.condition.after is not None)
        return Bound(ends.day, ends.instant, walls_before(ends.instant, self.zones.clock))
