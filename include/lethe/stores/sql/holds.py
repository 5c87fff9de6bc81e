"""What is held, said in SQL.

Held identifiers are loaded into temporary tables, one for each type: they vanish with the session, whatever happens.
A table has each identifier once, with a class that says in which clock ranges it is held; class 0 is always. Columns
are joined with them by a key that the database computes, which finds values that are exactly one identifier.

All other values, the odd ones, are searched here, by the function that all stores share: the distinct ones of the rows
in question are read in parts, and those in which something held may be are written, as they are spelt, to a table
beside the first, which columns are compared with as well. Where nothing odd is held, no statement mentions it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import sqlalchemy as sa

from lethe.holds.rules import ClockRange, HoldRules
from lethe.judging.identifiers import LOOSE, IdentifierType, keys, names
from lethe.policy import Identifiers
from lethe.stores.sql.dialects.base import AnyColumn, Dialect, Predicate
from lethe.stores.sql.expiry import Judgement
from lethe.stores.sql.schema import Child

_OPEN = ClockRange()

_CHEAP_TO_EMPTY = 10_000
"""Up to so many identifiers, emptying a table is cheaper than dropping it and making another."""

_AT_A_TIME = 5_000
"""Values that are read at once to be searched."""

_FOUND_AT_ONCE = 50_000
"""Held ones of them that are kept in memory at once, before they are written; of more, the values are read again."""

KeysOf = Callable[[IdentifierType, Sequence[str]], Iterable[str]]
"""The keys of held identifiers of a type."""


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
    def of(
        cls, rules: HoldRules, keys_of: KeysOf, classes: list[frozenset[ClockRange]] | None = None
    ) -> HeldIdentifiers:
        """Read the identifiers of rules; `classes` are those of another reading, which are added to."""
        held = cls() if classes is None else cls(classes)
        held.ranges = sorted({rule.clock for rule in rules.rules if rule.everything}, key=repr)
        for rule, kind, values in rules.identifiers():
            found = held.keys.setdefault(kind, {})
            number = held._class(frozenset({rule.clock}))
            if number == 0:
                found.update(dict.fromkeys(keys_of(kind, values), 0))
                continue
            for key in keys_of(kind, values):
                before = found.setdefault(key, number)
                if before not in (number, 0):
                    found[key] = held._class(held.classes[before] | {rule.clock})
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
    """Columns in which identifiers are, by what the policy calls them."""

    identifiers: Identifiers
    column: Callable[[str], AnyColumn]
    phone_region: str | None

    @classmethod
    def of(cls, judgement: Judgement) -> Carrier:
        """Those of the records, and of the rows that they lead to; many rows are looked for apart (`kin`)."""
        dataset = judgement.dataset
        mine = {
            kind: tuple(name for name in names if not dataset.is_of_many(name))
            for kind, names in dataset.searched.items()
        }
        return cls(mine, judgement.column, dataset.phone_region)

    @classmethod
    def below(cls, child: Child) -> Carrier:
        """Those of a child table."""
        return cls(child.identifiers, lambda name: child.table.c[name], child.phone_region)


class HeldTables:
    """The temporary tables of one session for some rules, and the predicate that reads them."""

    def __init__(self, dialect: Dialect, name: str, *, indexed: bool = False) -> None:
        self._dialect = dialect
        self._name = name
        self._indexed = indexed
        self._rules: HoldRules | None = None
        self._held = HeldIdentifiers()
        self._made: dict[IdentifierType, _Tables] = {}
        self._tables: Mapping[IdentifierType, _Tables] = {}
        self._sought: Mapping[IdentifierType, Mapping[str, int]] | None = None
        self._spelt: dict[IdentifierType, set[int]] = {}
        self._loose: set[IdentifierType] = set()
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
        mine = None if self._rules is None else self._rules.rules
        return mine == rules.rules or not (rules.rules or self)

    def load(self, connection: sa.Connection, rules: HoldRules) -> None:
        """Replace what the tables have by the identifiers of `rules`, within the connection's transaction."""
        before, self._rules = self._rules, None
        if before is None or self._count > _CHEAP_TO_EMPTY:
            self._drop(connection)
        self._held = HeldIdentifiers.of(rules, self._dialect.held_keys)
        self._sought, self._spelt = None, {}
        for made in self._made.values():
            for table in made:
                connection.execute(sa.delete(table))
        for kind, held in self._held.keys.items():
            if kind not in self._made:
                self._made[kind] = self._make(connection, kind)
            self._dialect.load(connection, self._made[kind].held, held.items())
        self._tables = {kind: self._made[kind] for kind, held in self._held.keys.items() if held}
        self._loose = {kind for kind, held in self._held.keys.items() if any(map(_is_loose, held))}
        self._count = self._held.count
        self._held.keys.clear()  # they may be many, and are personal data
        self._rules = rules

    def forget(self) -> None:
        """Take nothing for loaded, because a transaction that may have loaded something was rolled back."""
        self._rules, self._tables, self._count = None, {}, 0

    def _drop(self, connection: sa.Connection) -> None:
        for made in self._made.values():
            for table in made:
                self._dialect.drop_temporary(connection, table)
        self._made.clear()

    def _make(self, connection: sa.Connection, kind: IdentifierType) -> _Tables:
        made = _Tables(self._table(f"{kind}", indexed=self._indexed), self._table(f"{kind}_spelt", indexed=False))
        for table in made:
            self._dialect.make_temporary(connection, table)
        return made

    def _table(self, name: str, *, indexed: bool) -> sa.Table:
        return sa.Table(
            f"lethe_{self._name}_{name}",
            sa.MetaData(),
            sa.Column("value", self._dialect.held_type(), nullable=False, index=indexed),
            sa.Column("class", sa.Integer(), key="number", nullable=False),
            prefixes=["TEMPORARY"],
        )

    # --- values that are not exactly one identifier ---

    def search(
        self, connection: sa.Connection, carrier: Carrier, source: sa.FromClause, where: Predicate | None = None
    ) -> None:
        """Search the odd values of those rows of `source`, which has the carrier's table, that `where` chooses.

        Call it before `join`, `matches` or `absent` are asked for; what was found before stays found.
        """
        for kind, _, column, made in self._columns(carrier):
            odd = self._odd(column, kind, carrier.phone_region)
            if odd is None:
                continue
            values = sa.select(self._dialect.spelt(column)).select_from(source).where(odd).distinct()
            values = values if where is None else values.where(where)
            while rows := self._held_among(connection, values, kind, carrier.phone_region):
                self._dialect.load(connection, made.spelt, rows)
                self._spelt.setdefault(kind, set()).update(number for _, number in rows)
                if len(rows) < _FOUND_AT_ONCE:
                    break
                values = values.where(self._dialect.spelt(column).not_in(sa.select(made.spelt.c.value)))

    def _held_among(
        self, connection: sa.Connection, values: sa.Select[str], kind: IdentifierType, region: str | None
    ) -> list[tuple[str, int]]:
        """Those of `values` that are held, with their classes: all, or about `_FOUND_AT_ONCE`.

        They are written when these are read: not every driver does anything else meanwhile.
        """
        rows: list[tuple[str, int]] = []
        with connection.execute(values.execution_options(yield_per=_AT_A_TIME)) as found:
            for text in found.scalars():
                rows.extend(self._in(kind, text, region))
                if len(rows) >= _FOUND_AT_ONCE:
                    break
        return rows

    def _odd(self, column: AnyColumn, kind: IdentifierType, region: str | None) -> Predicate | None:
        """A held number that cannot be read exactly is looked for in all values."""
        return column.is_not(None) if kind in self._loose else self._dialect.odd(column, kind, region)

    def _in(self, kind: IdentifierType, text: str, region: str | None) -> Iterator[tuple[str, int]]:
        """The classes of what may be held in a text."""
        sought = self._names.get(kind, {})
        numbers = {sought[key] for key in keys(kind, text, region) if key in sought}
        yield from ((text, number) for number in ({0} if 0 in numbers else numbers))

    @property
    def _names(self) -> Mapping[IdentifierType, Mapping[str, int]]:
        """What is looked for in odd values; read only when there is one."""
        if self._sought is None:
            assert self._rules is not None  # noqa: S101 - nothing is searched before it is loaded
            self._sought = HeldIdentifiers.of(self._rules, _names_of, self._held.classes).keys
        return self._sought

    # --- what is held ---

    def join(self, judgement: Judgement, source: sa.FromClause) -> tuple[sa.FromClause, Predicate]:
        """`source`, which has the judged table, joined so that the predicate says of each of its rows if it is held."""
        conditions: list[Predicate] = [judgement.within(clock) for clock in self._held.ranges]
        carrier = Carrier.of(judgement)
        for kind, name, column, made in self._columns(carrier):
            held = made.held.alias(_beside("held", kind, name))
            key = self._dialect.identifier(column, kind, carrier.phone_region)
            source = source.outerjoin(held, held.c.value == key)
            conditions.append(sa.and_(held.c.value.is_not(None), self.in_force(judgement, held)))
            conditions += self._held_as_spelt(judgement, column, kind, made)
        return source, sa.or_(sa.false(), *conditions)

    def matches(self, carrier: Carrier, source: sa.FromClause) -> Iterator[tuple[sa.FromClause, Predicate, AnyColumn]]:
        """The rows of `source`, which has the carrier's table, that have a held identifier: (source, where, class).

        A row may come several times.
        """
        for kind, name, column, made in self._columns(carrier):
            held = made.held.alias(_beside("held", kind, name))
            key = self._dialect.identifier(column, kind, carrier.phone_region)
            yield source.join(held, held.c.value == key), sa.true(), held.c.number
            if kind in self._spelt:
                spelt = made.spelt.alias(_beside("spelt", kind, name))
                yield source.join(spelt, spelt.c.value == self._dialect.spelt(column)), sa.true(), spelt.c.number

    def absent(self, judgement: Judgement) -> list[Predicate]:
        """Predicates that all are true of a row that is not held; for statements that nothing can be joined to."""
        predicates = [sa.not_(judgement.within(clock)) for clock in self._held.ranges]
        carrier = Carrier.of(judgement)
        for kind, name, column, made in self._columns(carrier):
            held = made.held.alias(_beside("held", kind, name))
            key = self._dialect.identifier(column, kind, carrier.phone_region)
            found = sa.select(sa.literal(1)).select_from(held)
            found = found.where(held.c.value == key, self.in_force(judgement, held))
            predicates.append(sa.not_(sa.exists(found.correlate_except(held))))
            predicates += [sa.not_(one) for one in self._held_as_spelt(judgement, column, kind, made)]
        return predicates

    def readable(self, judgement: Judgement) -> list[Predicate]:
        """Predicates that all are true of a row in which nothing has to be searched: see `search`."""
        carrier = Carrier.of(judgement)
        odd = ((column, self._odd(column, kind, carrier.phone_region)) for kind, _, column, _ in self._columns(carrier))
        return [sa.or_(column.is_(None), sa.not_(one)) for column, one in odd if one is not None]

    def _columns(self, carrier: Carrier) -> Iterator[tuple[IdentifierType, str, AnyColumn, _Tables]]:
        """The columns in which something may be held, by name, with the tables that they are compared with."""
        for kind, columns in carrier.identifiers.items():
            made = self._tables.get(kind)
            if made is not None:
                yield from ((kind, name, carrier.column(name), made) for name in columns)

    def in_force(self, judgement: Judgement, held: sa.FromClause) -> Predicate:
        """Whether an identifier is held at a record's clock; `held` has its class as `number`."""
        if len(self._held.classes) == 1:
            return sa.true()
        limited = [
            sa.and_(held.c.number == number, self._in_range(judgement, number))
            for number in range(1, len(self._held.classes))
        ]
        return sa.or_(held.c.number == 0, *limited)

    def _in_range(self, judgement: Judgement, number: int) -> Predicate:
        """Whether a record's clock lies in the ranges of a class."""
        return sa.or_(*(judgement.within(clock) for clock in sorted(self._held.classes[number], key=repr)))

    def _held_as_spelt(
        self, judgement: Judgement, column: AnyColumn, kind: IdentifierType, made: _Tables
    ) -> Iterator[Predicate]:
        """Whether an odd value was found to be held, by class."""
        for number in sorted(self._spelt.get(kind, ())):
            found = self._dialect.spelt(column).in_(sa.select(made.spelt.c.value).where(made.spelt.c.number == number))
            yield sa.and_(column.is_not(None), found, self._in_range(judgement, number))


class _Tables(NamedTuple):
    """The temporary tables of one type of identifier.

    Attributes:
        held: the keys of values that are exactly one held identifier.
        spelt: other values in which one may be, as `Dialect.spelt` has them.
    """

    held: sa.Table
    spelt: sa.Table


def _is_loose(key: str) -> bool:
    return key.startswith(LOOSE)


def _names_of(kind: IdentifierType, values: Sequence[str]) -> Iterator[str]:
    return (name for value in values for name in names(kind, value))


def _beside(what: str, kind: IdentifierType, column: str) -> str:
    """The alias of a table that a column is compared with. Names of columns may be too long to be part of it."""
    return f"{what}_{kind}_{hashlib.sha256(column.encode()).hexdigest()[:16]}"
