"""What has expired, said in SQL.

The clock of a record is never computed: every clock column is compared with a bound of its own kind, and the answers
are combined ("the latest of several is before the cutoff" means that each of them is). So a plain clock stays a plain
comparison that an index serves, and columns of different types mix without conversions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from lethe.counts import Unjudgeable
from lethe.holds.rules import ClockRange
from lethe.judging.dates import FIRST_WALL, Zones, latest_wall, walls_before
from lethe.periods import Cutoff, start_of_day
from lethe.policy import Condition, Disposition, Expiry, MissingClock, TableDataset, split_column
from lethe.stores.base import Work
from lethe.stores.sql.conditions import Tested
from lethe.stores.sql.dialects.base import AnyColumn, Bound, ClockKind, Dialect, Predicate
from lethe.stores.sql.masks import strategy_of
from lethe.stores.sql.related import RelatedTable, RelatedTables, joined_to
from lethe.stores.sql.schema import Target


def bound_of(cutoff: Cutoff, zones: Zones) -> Bound:
    """The bound of clocks that have expired, however they are written."""
    return Bound(day=cutoff.day, instant=cutoff.instant, walls=walls_before(cutoff.instant, zones.clock))


def bound_of_day(day: date, zones: Zones, *, generous: bool) -> Bound:
    """The bound of clocks before a local day of the policy's zone.

    `generous` says to which side clocks without a zone are rounded where they are not surely on one: towards being
    before the day (true), or not (false).
    """
    instant = start_of_day(day, zones.policy)
    walls = walls_before(instant, zones.clock)
    if zones.policy.key == zones.clock.key:
        walls = ((FIRST_WALL, datetime.combine(day, time.min)),)
    elif generous:
        walls = ((FIRST_WALL, latest_wall(instant, zones.clock)),)
    return Bound(day=day, instant=instant, walls=walls)


@dataclass(frozen=True)
class Judgement:
    """The predicates of one dataset in one run, over a table (or an alias of it).

    All of them are true or false, never unknown.
    """

    table: sa.FromClause
    dataset: TableDataset
    expiry: Expiry
    disposition: Disposition
    kinds: Mapping[str, ClockKind]
    dialect: Dialect
    related: RelatedTables
    joined: bool = False
    """Whether statements have the related rows beside the table (see `source`); else they are looked up."""

    @classmethod
    def of(cls, work: Work, target: Target, dialect: Dialect) -> Judgement:
        """The predicates of a run's work on its table, right in any statement that has it."""
        assert isinstance(work.dataset, TableDataset)  # noqa: S101 - the registry gives no other kind to this store
        return cls(target.table, work.dataset, work.expiry, work.disposition, target.kinds, dialect, target.related)

    @property
    def beside(self) -> Judgement:
        """The same for statements whose rows are those of `source`, or of something that `join` was asked for."""
        return replace(self, joined=True)

    @property
    def apart(self) -> Judgement:
        """The same, with related rows looked up."""
        return replace(self, joined=False)

    @property
    def source(self) -> sa.FromClause:
        """The table, with the related rows of each record beside it where they are joined."""
        return self.join(self.table)

    def join(self, source: sa.FromClause) -> sa.FromClause:
        """A source that has the table, with the related rows beside it where they are joined."""
        return joined_to(source, self.table, self.related) if self.joined else source

    def column(self, name: str) -> AnyColumn:
        """A column as a policy names it: of the record, or of a row that it leads to."""
        owner, column = split_column(name, self.dataset.related)
        if owner is None:
            return self.table.c[column]
        related = self.related[owner]
        found = related.table.c[column]
        return found if self.joined else related.found_from(self.table, found).scalar_subquery()

    @property
    def zones(self) -> Zones:
        """The policy's zone, and that of timestamps without one."""
        name = self.dataset.clock.time_zone
        return Zones(policy=self.expiry.zone, clock=ZoneInfo(name) if name else self.expiry.zone)

    @property
    def clocks(self) -> list[tuple[AnyColumn, ClockKind]]:
        """The clock's columns with their kinds."""
        return [(self.column(name), self.kinds[name]) for name in self.dataset.clock.columns]

    @property
    def key(self) -> list[AnyColumn]:
        """The key's columns."""
        return [self.table.c[name] for name in self.dataset.key]

    # --- what a record is ---

    @property
    def in_scope(self) -> Predicate:
        """The rows that the dataset consists of."""
        return sa.and_(sa.true(), *(self._tested(condition).met for condition in self.dataset.where))

    @property
    def perhaps_in_scope(self) -> Predicate:
        """The same, and those of which nobody can say whether they are of them."""
        return sa.and_(sa.true(), *(self.perhaps(condition) for condition in self.dataset.where))

    def perhaps(self, condition: Condition) -> Predicate:
        """Whether a record meets a condition, or nobody can say whether it does."""
        met = self._tested(condition).perhaps_met
        owner, _ = split_column(condition.column, self.dataset.related)
        missing = () if owner is None else self._missing(self.related[owner].path)
        return sa.or_(met, *missing) if missing else met

    @property
    def unrelated(self) -> Predicate:
        """Whether a related row is not there that has to be."""
        return sa.or_(sa.false(), *self._missing(self.related.values()))

    @property
    def _not_unrelated(self) -> tuple[Predicate, ...]:
        """That none is missing; nothing where a record leads nowhere, so that no statement mentions it."""
        return (sa.not_(self.unrelated),) if self.related else ()

    def _missing(self, related: Iterable[RelatedTable]) -> tuple[Predicate, ...]:
        """Of each that has to be there, whether it is not."""
        return tuple(sa.not_(self._is_there(one)) for one in related if one.must_be_there)

    def _is_there(self, related: RelatedTable) -> Predicate:
        return related.is_there if self.joined else sa.exists(related.found_from(self.table, sa.literal(1)))

    @property
    def kept_on(self) -> Predicate:
        """Whether a keep_while condition keeps a row: one that is met, or of which nobody can say that it is not."""
        return sa.or_(sa.false(), *(self._tested(condition).perhaps_met for condition in self.dataset.keep_while))

    @property
    def kept_on_by(self) -> list[tuple[str, Predicate]]:
        """Each keep_while condition by itself: its column, and whether it keeps a row."""
        return [(one.column, self._tested(one).perhaps_met) for one in self.dataset.keep_while]

    @property
    def done_before(self) -> Predicate:
        """Whether a row is anonymised already: it holds every mask's value."""
        if self.disposition is not Disposition.ANONYMISE:
            return sa.false()
        return sa.and_(
            *(
                strategy_of(mask.with_).done(self.table.c[mask.column], mask.value, self.dialect)
                for mask in self.dataset.masks
            )
        )

    @property
    def masked(self) -> Mapping[str, AnyColumn]:
        """What each masked column is given in place of what it has."""
        return {
            mask.column: strategy_of(mask.with_).put(self.table.c[mask.column], mask.value, self.dialect)
            for mask in self.dataset.masks
        }

    def _tested(self, condition: Condition) -> Tested:
        return Tested(condition, self.column(condition.column), self.dialect, self.zones)

    # --- what its clock says ---

    @property
    def missing(self) -> Predicate:
        """Whether a row has no clock at all."""
        return sa.and_(*(column.is_(None) for column, _ in self.clocks))

    @property
    def unreadable(self) -> Predicate:
        """Whether a clock column of a row has a value that is no date."""
        return sa.or_(
            *(
                sa.and_(column.is_not(None), sa.not_(self.dialect.readable(column, kind)))
                for column, kind in self.clocks
            )
        )

    def before(self, bound: Bound) -> Predicate:
        """Whether a row's clock is before the bound; false where it is missing, and only right where it is readable."""
        answers = [
            (column, sa.and_(column.is_not(None), self.dialect.before(column, kind, bound)))
            for column, kind in self.clocks
        ]
        if len(answers) == 1 or self.dataset.clock.earliest_of is not None:
            return sa.or_(*(answer for _, answer in answers))
        each = [sa.or_(column.is_(None), answer) for column, answer in answers]
        return sa.and_(*each, sa.not_(self.missing))

    def _before_cutoff(self, cutoff: Cutoff | None) -> Predicate:
        if cutoff is None or cutoff.none_expired:
            return sa.false()
        return self.before(bound_of(cutoff, self.zones))

    @property
    def expired(self) -> Predicate:
        """Whether a row in scope has expired (held, kept on and all)."""
        readable = self.dialect.readable(*self.clocks[0]) if len(self.clocks) == 1 else sa.not_(self.unreadable)
        return sa.and_(self._open, self._past_cutoff, readable)

    @property
    def _past_cutoff(self) -> Predicate:
        if self.expiry.column is None:
            return self._before_cutoff(self.expiry.default)
        by_value = self.expiry.by_value
        named = [sa.and_(mine, self._before_cutoff(by_value[text])) for text, mine in self.named]
        unnamed = sa.and_(self._unnamed, self._before_cutoff(self.expiry.default))
        return sa.or_(*named, unnamed)

    @property
    def named(self) -> list[tuple[str, Predicate]]:
        """Each of the by_value periods: a value of the policy that has it, and whether it is that of a row."""
        if self.expiry.column is None:
            return []
        column = self.column(self.expiry.column)
        named: list[tuple[str, Predicate]] = []
        kept_longer: list[Predicate] = []
        for _, texts in self.expiry.longest_first:
            mine = [column == self.dialect.literal(column, text) for text in texts]
            others = [sa.not_(sa.or_(*kept_longer))] if kept_longer else []
            named.append((texts[0], sa.and_(column.is_not(None), sa.or_(*mine), *others)))
            kept_longer += mine
        return named

    @property
    def _unnamed(self) -> Predicate:
        assert self.expiry.column is not None  # noqa: S101 - asked by callers
        column = self.column(self.expiry.column)
        named = [self.dialect.literal(column, text) for text in self.expiry.by_value]
        return sa.or_(column.is_(None), column.not_in(named))

    @property
    def candidate(self) -> Predicate:
        """Whether a row has expired and is to go, unless it is held."""
        return sa.and_(self.expired, sa.not_(self.kept_on)) if self.dataset.keep_while else self.expired

    # --- what cannot be judged ---

    @property
    def _open(self) -> Predicate:
        return sa.and_(self.in_scope, sa.not_(self.done_before), sa.not_(self._keyless), *self._not_unrelated)

    @property
    def _keyless(self) -> Predicate:
        """SQLite lets columns of a primary key be NULL."""
        nullable = (self.table.c[name] for name in self.dataset.key)
        return sa.or_(sa.false(), *(column.is_(None) for column in nullable if column.nullable))

    @property
    def no_key(self) -> Predicate:
        """Rows in scope with NULL in their key; perhaps in scope where a related row is not there."""
        scope = self.in_scope
        if self.related:
            scope = sa.or_(scope, sa.and_(self.perhaps_in_scope, self.unrelated))
        return sa.and_(scope, sa.not_(self.done_before), self._keyless)

    @property
    def no_related_row(self) -> Predicate:
        """Rows, perhaps in scope, without a related row that has to be there."""
        if not self.related:
            return sa.false()
        return sa.and_(self.perhaps_in_scope, sa.not_(self.done_before), sa.not_(self._keyless), self.unrelated)

    @property
    def unparsable_clock(self) -> Predicate:
        """Rows in scope whose clock is no date."""
        return sa.and_(self._open, self.unreadable)

    @property
    def no_clock(self) -> Predicate:
        """Rows in scope without a clock, where that is not to be expected."""
        if self.dataset.clock.when_missing is MissingClock.RUNNING:
            return sa.false()
        return sa.and_(self._open, self.missing)

    @property
    def no_period(self) -> Predicate:
        """Rows in scope that no period applies to."""
        if self.expiry.column is None or self.expiry.default is not None:
            return sa.false()
        return sa.and_(self._open, self._unnamed, sa.not_(self.missing), sa.not_(self.unreadable))

    @property
    def unclear(self) -> Predicate:
        """Rows of which nobody can say whether they are in scope."""
        if not any(condition.compares for condition in self.dataset.where):
            return sa.false()
        return sa.and_(self.perhaps_in_scope, sa.not_(self.in_scope), sa.not_(self.done_before), *self._not_unrelated)

    @property
    def unjudgeable(self) -> dict[Unjudgeable, Predicate]:
        """All rows that cannot be judged, each by one reason."""
        return {
            Unjudgeable.NO_KEY: self.no_key,
            Unjudgeable.NO_CLOCK: self.no_clock,
            Unjudgeable.UNPARSABLE_CLOCK: self.unparsable_clock,
            Unjudgeable.NO_RELATED_ROW: self.no_related_row,
            Unjudgeable.NO_PERIOD: self.no_period,
            Unjudgeable.UNCLEAR_CONDITION: self.unclear,
        }

    # --- what its clock is ---

    @property
    def clock_value(self) -> tuple[AnyColumn, ClockKind]:
        """One value that says a candidate's clock, and how it is written (see `Dialect.clock_value`)."""
        return self.dialect.clock_value(self.clocks, self.zones, latest=self.dataset.clock.latest_of is not None)

    def within(self, clock: ClockRange) -> Predicate:
        """Whether a row's clock may lie in a hold's range; true where its clock is not known."""
        limits = []
        if clock.first is not None and clock.first > date.min:
            bound = bound_of_day(clock.first, self.zones, generous=False)
            limits.append(sa.not_(self.before(bound)))
        if clock.last is not None and clock.last < date.max:
            following = clock.last + timedelta(days=1)
            limits.append(self.before(bound_of_day(following, self.zones, generous=True)))
        if not limits:
            return sa.true()
        return sa.or_(sa.and_(*limits), self.missing, self.unreadable)
