"""What has expired, said in SQL.

The clock of a record is never computed: every clock column is compared with a bound of its own kind, and the answers
are combined ("the latest of several is before the cutoff" means that each of them is). So a plain clock stays a plain
comparison that an index serves, and columns of different types mix without conversions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from functools import partial
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
from lethe.stores.sql.events import EventRows
from lethe.stores.sql.many import ManyTables, Summary
from lethe.stores.sql.masks import strategy_of
from lethe.stores.sql.related import LedTo, RelatedTable, RelatedTables, joined_to
from lethe.stores.sql.schema import Target

Spelling = tuple[str | None, ...]
"""What a record has in the columns that say whose it is (`Judgement.asked_columns`), as text. Personal data."""

EVENT_DAY = ""
"""Stands for the day of an event among the columns of a clock: no column is called so."""


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
    many: ManyTables = field(default_factory=dict)
    event: EventRows | None = None
    """The event that the period starts on, where no column says it."""
    asked: tuple[Spelling, ...] = ()
    """What the records that go on request are spelt as, in a run on request."""
    joined: bool = False
    """Whether statements have the related rows beside the table (see `source`); else they are looked up."""
    summaries: Mapping[str, Summary] = field(default_factory=dict)
    """What is asked of many related rows, beside the table in the same way; what is not, is looked up."""

    @classmethod
    def of(cls, work: Work, target: Target, dialect: Dialect) -> Judgement:
        """The predicates of a run's work on its table, right in any statement that has it."""
        assert isinstance(work.dataset, TableDataset)  # noqa: S101 - the registry gives no other kind to this store
        return cls(
            target.table,
            work.dataset,
            work.expiry,
            work.disposition,
            target.kinds if target.event is None else {**target.kinds, EVENT_DAY: target.event.kind},
            dialect,
            target.related,
            target.many,
            target.event,
        )

    @property
    def beside(self) -> Judgement:
        """The same for statements whose rows are those of `source`, or of something that `join` was asked for."""
        return replace(self, joined=True)

    def over_all(self, *others: Expiry) -> Judgement:
        """The same for statements that read all records: what is asked of many related rows is beside each, too.

        Also what is asked by other cutoffs.
        """
        if not self.dialect.groups_as_it_compares:
            return self.beside
        expiries = (self.expiry, *others)
        summaries = {
            name: Summary.of(many, number, *self._asked(name, expiries))
            for number, (name, many) in enumerate(self.many.items())
        }
        return replace(self.beside, summaries=summaries)

    @property
    def apart(self) -> Judgement:
        """The same, with related rows looked up."""
        return replace(self, joined=False, summaries={})

    @property
    def without_event(self) -> Judgement:
        """The same for sessions that have no events: it cannot say what a record's clock is."""
        return replace(self, event=None)

    @property
    def source(self) -> sa.FromClause:
        """The table, with the related rows of each record beside it where they are joined."""
        return self.join(self.table)

    def join(self, source: sa.FromClause) -> sa.FromClause:
        """A source that has the table, with the related rows beside it where they are joined."""
        rows = [*self.related.values(), *([self.event] if self.event else [])]
        source = joined_to(source, self.table, rows) if self.joined else source
        for summary in self.summaries.values():
            source = summary.beside(source, self.table)
        return source

    def column(self, name: str) -> AnyColumn:
        """A column as a policy names it: of the record, or of the one row that it leads to."""
        if name == EVENT_DAY and self.event is not None:
            return self._found(self.event, self.event.day)
        owner, column = split_column(name, self.dataset.related)
        if owner is None:
            return self.table.c[column]
        related = self.related[owner]
        return self._found(related, related.table.c[column])

    def _found(self, row: LedTo, column: AnyColumn) -> AnyColumn:
        """A column of a row that the record leads to."""
        return column if self.joined else row.found_from(self.table, column).scalar_subquery()

    @property
    def zones(self) -> Zones:
        """The policy's zone, and that of timestamps without one."""
        name = self.dataset.clock.time_zone
        return Zones(policy=self.expiry.zone, clock=ZoneInfo(name) if name else self.expiry.zone)

    @property
    def clock_columns(self) -> tuple[str, ...]:
        """What the clock is read from: columns as the policy names them, or the day of its event."""
        return self.dataset.clock.columns if self.dataset.clock.event is None else (EVENT_DAY,)

    @property
    def clocks(self) -> list[tuple[AnyColumn, ClockKind]]:
        """The clock's columns with their kinds; of many rows, the local day of the latest, or of the earliest."""
        return [
            self._extreme_day(name) if self.dataset.is_of_many(name) else (self.column(name), self.kinds[name])
            for name in self.clock_columns
        ]

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
        missing = () if owner is None else self._absent(self.related[owner].path)
        return sa.or_(met, *missing) if missing else met

    @property
    def unrelated(self) -> Predicate:
        """Whether a related row is not there that has to be."""
        return sa.or_(sa.false(), *self._absent(self.related.values()), *self._none_refers())

    @property
    def _not_unrelated(self) -> tuple[Predicate, ...]:
        """That none is missing; nothing where a record leads nowhere, so that no statement mentions it."""
        return (sa.not_(self.unrelated),) if self._judged_apart else ()

    @property
    def _judged_apart(self) -> bool:
        return bool(self.related or self.many)

    def _absent(self, related: Iterable[RelatedTable]) -> tuple[Predicate, ...]:
        """Of each that has to be there, whether it is not."""
        return tuple(sa.not_(self._is_there(one)) for one in related if one.must_be_there)

    def _is_there(self, related: RelatedTable) -> Predicate:
        return related.is_there if self.joined else sa.exists(related.found_from(self.table, sa.literal(1)))

    def _none_refers(self) -> Iterator[Predicate]:
        """Of many rows of which some have to be there, whether none is."""
        for name, many in self.many.items():
            if many.must_be_there:
                summary = self.summaries.get(name)
                yield sa.not_(summary.is_there if summary else many.any(self.table))

    @property
    def kept_on(self) -> Predicate:
        """Whether a keep_while condition keeps a row: one that is met, or of which nobody can say that it is not.

        Of many rows, by any of them.
        """
        return sa.or_(sa.false(), *(keeps for _, keeps in self.kept_on_by))

    def _keeps(self, condition: Condition, column: AnyColumn) -> Predicate:
        return Tested(condition, column, self.dialect, self.zones).perhaps_met

    @property
    def kept_on_by(self) -> list[tuple[str, Predicate]]:
        """Each keep_while condition by itself: its column, and whether it keeps a row."""
        return [
            (condition.column, self._any_is(condition.column, _kept(number), partial(self._keeps, condition)))
            for number, condition in enumerate(self.dataset.keep_while)
        ]

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

    # --- many related rows ---

    @property
    def days_tell(self) -> bool:
        """Whether the day of a clock in many rows says all that a range of days asks of it.

        Times without a zone, in another zone than the policy's, are rounded to the hour that they may be in.
        """
        unclear = {self.kinds[name] for name in self.clock_columns if self.dataset.is_of_many(name)}
        return self.zones.policy.key == self.zones.clock.key or not unclear & {ClockKind.NAIVE, ClockKind.TEXT}

    def _any_is(self, name: str, label: str, test: Callable[[AnyColumn], Predicate]) -> Predicate:
        """Whether a column passes a test, or, of many rows, that of any; `label` says which test it is."""
        owner, column = split_column(name, self.dataset.related)
        if owner is None or owner not in self.many:
            return test(self.column(name))
        summary = self.summaries.get(owner)
        if summary is not None and summary.has(label):
            return summary.any(label)
        many = self.many[owner]
        return many.any(self.table, test(many.table.c[column]))

    def _extreme_day(self, name: str) -> tuple[AnyColumn, ClockKind]:
        """The local day of the latest of many rows, or of the earliest, and how it is written."""
        owner, _ = split_column(name, self.dataset.related)
        assert owner is not None  # noqa: S101 - asked of columns of many rows
        summary, label = self.summaries.get(owner), _day(self._number(name))
        extreme, kind = self._extreme_of(name)
        return (summary.value(label) if summary else self.many[owner].value(self.table, extreme)), kind

    def _extreme_of(self, name: str) -> tuple[AnyColumn, ClockKind]:
        """The same as an aggregate of the rows."""
        owner, column = split_column(name, self.dataset.related)
        assert owner is not None  # noqa: S101 - asked of columns of many rows
        day, kind = self.dialect.local_day(self.many[owner].table.c[column], self.kinds[name], self.zones)
        extreme = sa.func.min if self.dataset.clock.earliest_of is not None else sa.func.max
        return extreme(day), kind

    def _number(self, name: str) -> int:
        return self.clock_columns.index(name)

    def _asked(self, owner: str, expiries: Sequence[Expiry]) -> tuple[dict[str, Predicate], dict[str, AnyColumn]]:
        """What is asked of all rows of a table: tests, which any of a record's rows may pass, and values."""
        tests: dict[str, Predicate] = {}
        values: dict[str, AnyColumn] = {}
        table = self.many[owner].table
        for number, name in enumerate(self.clock_columns):
            of, column = split_column(name, self.dataset.related)
            if of != owner:
                continue
            values[_day(number)], _ = self._extreme_of(name)
            tests[_some(number)] = table.c[column].is_not(None)
            tests[_wrong(number)] = self._wrong(name, table.c[column])
            for bound in self._bounds(expiries):
                tests[_decides(number, bound)] = self._decides(name, bound, table.c[column])
        for number, condition in enumerate(self.dataset.keep_while):
            of, column = split_column(condition.column, self.dataset.related)
            if of == owner:
                tests[_kept(number)] = self._keeps(condition, table.c[column])
        return tests, values

    def _bounds(self, expiries: Sequence[Expiry]) -> Sequence[Bound]:
        """The cutoffs of a policy."""
        cutoffs = [cutoff for one in expiries for cutoff in (one.default, *(other for other, _ in one.longest_first))]
        return [bound_of(one, self.zones) for one in dict.fromkeys(cutoffs) if one is not None and not one.none_expired]

    # --- what its clock says ---

    @property
    def missing(self) -> Predicate:
        """Whether a row has no clock at all."""
        return sa.and_(*(self._is_empty(name) for name in self.clock_columns))

    def _is_empty(self, name: str) -> Predicate:
        """Whether a clock column has no value; of many rows, in none of them."""
        if not self.dataset.is_of_many(name):
            return self.column(name).is_(None)
        return sa.not_(self._any_is(name, _some(self._number(name)), lambda column: column.is_not(None)))

    @property
    def unreadable(self) -> Predicate:
        """Whether a clock column of a row has a value that is no date; of many rows, in any of them."""
        return sa.or_(
            *(
                self._any_is(name, _wrong(number), partial(self._wrong, name))
                for number, name in enumerate(self.clock_columns)
            )
        )

    def _wrong(self, name: str, column: AnyColumn) -> Predicate:
        return sa.and_(column.is_not(None), sa.not_(self.dialect.readable(column, self.kinds[name])))

    def before(self, bound: Bound) -> Predicate:
        """Whether a row's clock is before the bound; false where it is missing, and only right where it is readable."""
        clock = self.dataset.clock
        answers = [
            self._any_is(name, _decides(number, bound), partial(self._decides, name, bound))
            for number, name in enumerate(self.clock_columns)
        ]
        if clock.latest_of is None:
            return sa.or_(*answers)
        return sa.and_(*(sa.not_(answer) for answer in answers), sa.not_(self.missing))

    def _decides(self, name: str, bound: Bound, column: AnyColumn) -> Predicate:
        """Whether a value alone decides if the clock is before a bound: it is; or, of the latest, it is not."""
        before = self.dialect.before(column, self.kinds[name], bound)
        return sa.and_(column.is_not(None), before if self.dataset.clock.latest_of is None else sa.not_(before))

    def _before_cutoff(self, cutoff: Cutoff | None) -> Predicate:
        if cutoff is None or cutoff.none_expired:
            return sa.false()
        return self.before(bound_of(cutoff, self.zones))

    @property
    def expired(self) -> Predicate:
        """Whether a row in scope has expired (held, kept on and all)."""
        if self.expiry.on_request:
            return sa.and_(self._open, self.asked_for)
        only, *others = self.clock_columns
        plain = not others and not self.dataset.is_of_many(only)
        readable = self.dialect.readable(self.column(only), self.kinds[only]) if plain else sa.not_(self.unreadable)
        return sa.and_(self._open, self.past_cutoff, readable)

    @property
    def asked_columns(self) -> tuple[str, ...]:
        """The columns that say whose a record is: its own, or those of the one row that it leads to."""
        columns = (name for names in self.dataset.identifiers.values() for name in names)
        return tuple(dict.fromkeys(name for name in columns if not self.dataset.is_of_many(name)))

    @property
    def asked_for(self) -> Predicate:
        """Whether a row is one of those that go on request: it is spelt as one of them."""
        columns = [self.column(name) for name in self.asked_columns]
        return sa.or_(sa.false(), *(sa.and_(*map(self._is_spelt, columns, one)) for one in self.asked))

    def _is_spelt(self, column: AnyColumn, text: str | None) -> Predicate:
        if text is None:
            return column.is_(None)
        return sa.and_(column.is_not(None), self.dialect.spelt(column) == sa.literal(text, sa.Text()))

    @property
    def past_cutoff(self) -> Predicate:
        """Whether a row's clock is before the cutoff that applies to it: all that the as-of moment decides of it."""
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
        if self._judged_apart:
            scope = sa.or_(scope, sa.and_(self.perhaps_in_scope, self.unrelated))
        return sa.and_(scope, sa.not_(self.done_before), self._keyless)

    @property
    def no_related_row(self) -> Predicate:
        """Rows, perhaps in scope, without a related row that has to be there."""
        if not self._judged_apart:
            return sa.false()
        return sa.and_(self.perhaps_in_scope, sa.not_(self.done_before), sa.not_(self._keyless), self.unrelated)

    @property
    def unparsable_clock(self) -> Predicate:
        """Rows in scope whose clock is no date."""
        if self.expiry.on_request:
            return sa.false()
        return sa.and_(self._open, self.unreadable)

    @property
    def no_clock(self) -> Predicate:
        """Rows in scope without a clock, where that is not to be expected."""
        if self.expiry.on_request or self.dataset.clock.when_missing is MissingClock.RUNNING:
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
        """One value that says a candidate's clock, and how it is written (see `Dialect.clock_value`).

        Nothing, of its type, where the clock decides nothing: it may be no date at all.
        """
        latest = self.dataset.clock.latest_of is not None
        clock, kind = self.dialect.clock_value(self.clocks, self.zones, latest=latest)
        return (sa.case((sa.false(), clock)) if self.expiry.on_request else clock), kind

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


def _some(number: int) -> str:
    """That a clock column, by its number, has a value."""
    return f"some_{number}"


def _wrong(number: int) -> str:
    """That it has one that is no date."""
    return f"wrong_{number}"


def _decides(number: int, bound: Bound) -> str:
    """That it has one that decides about a bound."""
    return f"decides_{number}_{bound.day.isoformat()}_{bound.instant.timestamp():.6f}"


def _day(number: int) -> str:
    """The day that it says."""
    return f"day_{number}"


def _kept(number: int) -> str:
    """That a condition of keep_while, by its number, keeps a record."""
    return f"kept_{number}"
