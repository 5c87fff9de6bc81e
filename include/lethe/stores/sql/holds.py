"""What is held, said in SQL.

Held identifiers are loaded into temporary tables, one for each type: they vanish with the session, whatever happens.
A table has each identifier once, with a class that says in which clock ranges it is held; class 0 is always.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from lethe.holds.rules import ClockRange, HoldRule, HoldRules
from lethe.judging.identifiers import IdentifierType
from lethe.policy import Identifiers
from lethe.stores.sql.dialects.base import AnyColumn, Dialect, Predicate
from lethe.stores.sql.expiry import Judgement

_OPEN = ClockRange()

_CHEAP_TO_EMPTY = 10_000
"""Up to so many identifiers, emptying a table is cheaper than dropping it and making another."""


@dataclass
class HeldIdentifiers:
    """The identifiers of some rules as they are staged: by type, each with its class.

    Attributes:
        classes: the clock ranges that each class stands for; a record in any of them is held.
        keys: class by identifier, by type. Personal data.
        ranges: the clock ranges in which everything is held.
    """

    classes: list[frozenset[ClockRange]] = field(default_factory=lambda: [frozenset({_OPEN})])
    keys: dict[IdentifierType, dict[str, int]] = field(default_factory=dict)
    ranges: list[ClockRange] = field(default_factory=list)

    @classmethod
    def of(cls, rules: HoldRules, dialect: Dialect) -> HeldIdentifiers:
        """Read the identifiers of rules."""
        held = cls()
        held.ranges = sorted({rule.clock for rule in rules.rules if rule.everything}, key=repr)
        for rule, kind, values in rules.identifiers():
            keys = held.keys.setdefault(kind, {})
            number = held._class(frozenset({rule.clock}))
            if number == 0:
                keys.update(dict.fromkeys(dialect.held_keys(kind, values), 0))
                continue
            for key in dialect.held_keys(kind, values):
                before = keys.setdefault(key, number)
                if before not in (number, 0):
                    keys[key] = held._class(held.classes[before] | {rule.clock})
        return held

    def _class(self, ranges: frozenset[ClockRange]) -> int:
        if _OPEN in ranges:
            return 0
        if ranges not in self.classes:
            self.classes.append(ranges)
        return self.classes.index(ranges)

    @property
    def count(self) -> int:
        """Identifiers in all."""
        return sum(len(keys) for keys in self.keys.values())


@dataclass(frozen=True)
class Carrier:
    """A table with columns in which identifiers are, as the dialect reads them."""

    table: sa.FromClause
    identifiers: Identifiers
    phone_region: str | None

    @classmethod
    def of(cls, judgement: Judgement) -> Carrier:
        """The table of the records."""
        return cls(judgement.table, judgement.dataset.identifiers, judgement.dataset.phone_region)


class HeldTables:
    """The temporary tables of one session for some rules, and the predicate that reads them."""

    def __init__(self, dialect: Dialect, name: str, *, indexed: bool = False) -> None:
        self._dialect = dialect
        self._name = name
        self._indexed = indexed
        self._rules: tuple[HoldRule, ...] | None = None
        self._held = HeldIdentifiers()
        self._made: dict[IdentifierType, sa.Table] = {}
        self._tables: Mapping[IdentifierType, sa.Table] = {}
        self._count = 0

    @property
    def count(self) -> int:
        """Identifiers in all."""
        return self._count

    def __bool__(self) -> bool:
        """Whether anything may be held."""
        return bool(self._tables or self._held.ranges)

    def has(self, rules: HoldRules) -> bool:
        """Whether the tables have the identifiers of just these rules."""
        return self._rules == rules.rules or not (rules.rules or self)

    def load(self, connection: sa.Connection, rules: HoldRules) -> None:
        """Replace what the tables have by the identifiers of `rules`, within the connection's transaction."""
        before, self._rules = self._rules, None
        if before is None or self._count > _CHEAP_TO_EMPTY:
            self._drop(connection)
        self._held = HeldIdentifiers.of(rules, self._dialect)
        for table in self._made.values():
            connection.execute(sa.delete(table))
        for kind, keys in self._held.keys.items():
            if kind not in self._made:
                table = self._table(kind)
                table.create(connection, checkfirst=False)
                self._made[kind] = table
            self._dialect.load(connection, self._made[kind], keys.items())
        self._tables = {kind: self._made[kind] for kind, keys in self._held.keys.items() if keys}
        self._count = self._held.count
        self._held.keys.clear()  # they may be many, and are personal data
        self._rules = rules.rules

    def forget(self) -> None:
        """Take nothing for loaded, because a transaction that may have loaded something was rolled back."""
        self._rules, self._tables, self._count = None, {}, 0

    def _drop(self, connection: sa.Connection) -> None:
        for table in self._made.values():
            table.drop(connection, checkfirst=True)
        self._made.clear()

    def _table(self, kind: IdentifierType) -> sa.Table:
        return sa.Table(
            f"lethe_{self._name}_{kind}",
            sa.MetaData(),
            sa.Column("value", self._dialect.held_type(), nullable=False, index=self._indexed or kind.is_telephone),
            sa.Column("class", sa.Integer(), key="number", nullable=False),
            prefixes=["TEMPORARY"],
        )

    def join(self, judgement: Judgement, source: sa.FromClause) -> tuple[sa.FromClause, Predicate]:
        """`source`, which has the judged table, joined so that the predicate says of each of its rows if it is held."""
        conditions: list[Predicate] = [judgement.within(clock) for clock in self._held.ranges]
        carrier = Carrier.of(judgement)
        for kind, column, table in self._columns(carrier):
            held = table.alias(f"held_{kind}_{column.name}")
            key = self._dialect.identifier(column, kind, carrier.phone_region)
            source = source.outerjoin(held, held.c.value == key)
            conditions.append(sa.and_(held.c.value.is_not(None), self.in_force(judgement, held)))
            conditions += self._further(carrier, column, kind, table)
        return source, sa.or_(sa.false(), *conditions)

    def matches(self, carrier: Carrier, source: sa.FromClause) -> Iterator[tuple[sa.FromClause, Predicate, AnyColumn]]:
        """The rows of `source`, which has the carrier's table, that have a held identifier: (source, where, class).

        A row may come several times. Matches that no join finds are of class 0: they err towards holding.
        """
        for kind, column, table in self._columns(carrier):
            held = table.alias(f"held_{kind}_{column.name}")
            key = self._dialect.identifier(column, kind, carrier.phone_region)
            yield source.join(held, held.c.value == key), sa.true(), held.c.number
            for further in self._further(carrier, column, kind, table):
                yield source, further, sa.literal(0)

    def absent(self, judgement: Judgement) -> list[Predicate]:
        """Predicates that all are true of a row that is not held; for statements that nothing can be joined to."""
        predicates = [sa.not_(judgement.within(clock)) for clock in self._held.ranges]
        carrier = Carrier.of(judgement)
        for kind, column, table in self._columns(carrier):
            held = table.alias(f"held_{kind}_{column.name}")
            key = self._dialect.identifier(column, kind, carrier.phone_region)
            found = sa.select(sa.literal(1)).select_from(held)
            found = found.where(held.c.value == key, self.in_force(judgement, held))
            predicates.append(sa.not_(sa.exists(found.correlate_except(held))))
            predicates += [sa.not_(further) for further in self._further(carrier, column, kind, table)]
        return predicates

    def _columns(self, carrier: Carrier) -> Iterator[tuple[IdentifierType, AnyColumn, sa.Table]]:
        """The columns in which something may be held, with the tables that they are compared with."""
        for kind, columns in carrier.identifiers.items():
            table = self._tables.get(kind)
            if table is not None:
                yield from ((kind, carrier.table.c[column], table) for column in columns)

    def in_force(self, judgement: Judgement, held: sa.FromClause) -> Predicate:
        """Whether an identifier is held at a record's clock; `held` has its class as `number`."""
        if len(self._held.classes) == 1:
            return sa.true()
        limited = [
            sa.and_(held.c.number == number, sa.or_(*(judgement.within(clock) for clock in sorted(ranges, key=repr))))
            for number, ranges in enumerate(self._held.classes)
            if number
        ]
        return sa.or_(held.c.number == 0, *limited)

    def _further(self, carrier: Carrier, column: AnyColumn, kind: IdentifierType, table: sa.Table) -> list[Predicate]:
        """Matches that no join finds; they err towards holding, whatever the clock."""
        other = table.alias(f"other_{kind}_{column.name}")
        further = self._dialect.further_match(column, kind, carrier.phone_region, other)
        return [] if further is None else [sa.func.coalesce(further, sa.false(), type_=sa.Boolean()) == sa.true()]
