"""Events that start periods, as a database judges by them.

Those in force are loaded into a temporary table of the session, and joined as a related row is: a record leads to one
at most. A value that refers to an event is compared as text that no other value of its column has, by its characters,
with what people named: so `17` names the number 17, `017` does not, and capitals matter whatever the collation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from lethe.errors import StoreError
from lethe.holds.rules import HoldRules
from lethe.judging.keys import SEPARATOR
from lethe.policy import TableDataset, split_column
from lethe.retention_events.rules import EventsInForce, Reference
from lethe.stores.abilities import Ability
from lethe.stores.base import Problem
from lethe.stores.sql.dialects.base import AnyColumn, ClockKind, Dialect, Predicate
from lethe.stores.sql.related import LedTo, RelatedTables
from lethe.stores.sql.tables import Tables

_NAME = "lethe_event_days"


@dataclass(frozen=True)
class EventRows(LedTo):
    """The event of a record: a row of the session's own, which nobody else can change.

    Attributes:
        event: what the policy calls it.
    """

    event: str

    def leads_from(self, records: sa.FromClause) -> Predicate:
        """By what its columns are called, joined by a separator that no reference has within it."""
        before = self.before(records)
        whole, *others = (_named(self.dialect, before.c[name]) for name in self.foreign_key)
        for text in others:
            whole = whole.concat(sa.literal(SEPARATOR)).concat(text)
        return self._value == whole

    @property
    def _value(self) -> AnyColumn:
        return self.table.c.value

    @property
    def day(self) -> AnyColumn:
        """The day on which it happened."""
        return self.table.c.day

    @property
    def kind(self) -> ClockKind:
        """How the day is written."""
        kind = self.dialect.clock_kind(self.day.type, None)
        assert isinstance(kind, ClockKind)  # noqa: S101 - every database has days
        return kind


def find(dataset: TableDataset, related: RelatedTables, dialect: Dialect) -> EventRows | None:
    """The events of a dataset's clock, whose session table is to be loaded; None where its clock is none.

    Raises:
        StoreError: if such a database cannot judge by events.
    """
    clock = dataset.clock
    if clock.event is None:
        return None
    for problem in _unable(dialect):
        raise StoreError(f"{dataset.name}: {problem.field}: {problem.message}")
    columns = [split_column(name, dataset.related) for name in clock.refers_to or ()]
    owner = columns[0][0]
    table = sa.Table(
        _NAME,
        sa.MetaData(),
        sa.Column("value", dialect.held_type(), nullable=False, index=True),
        sa.Column("day", sa.Date(), nullable=False),
        prefixes=["TEMPORARY"],
    )
    return EventRows(
        table=table,
        foreign_key=tuple(name for _, name in columns),
        through=None if owner is None else related[owner],
        dialect=dialect,
        event=clock.event,
    )


def check(tables: Tables, dialect: Dialect) -> Iterator[Problem]:
    """What keeps a dataset's records from being judged by events. Its columns are there."""
    clock = tables.dataset.clock
    if clock.event is None:
        return
    yield from _unable(dialect)
    for name in clock.refers_to or ():
        column: sa.Column[Any] = sa.Column(name, tables.type_of(name))
        if dialect.named(column) is None:
            yield Problem(
                field="clock.refers_to",
                message=f"column {name} of {tables.dataset.table} is of a type whose values cannot be named exactly: "
                "name a column of text, whole numbers or UUIDs",
            )


def _unable(dialect: Dialect) -> Iterator[Problem]:
    lack = dialect.abilities.lack(Ability.EVENT_CLOCKS)
    if lack is not None:
        yield Problem(field="clock", message=f"{lack.says}: {lack.reason}")


def _named(dialect: Dialect, column: AnyColumn) -> AnyColumn:
    text = dialect.named(column)
    if text is None:
        raise StoreError(f"clock.refers_to: values of column {column.name} cannot be named exactly")
    return text


class EventTable:
    """The session table of a dataset's events, and which ones it has."""

    def __init__(self, rows: EventRows) -> None:
        self._rows = rows
        self._events: EventsInForce | None = None

    def has(self, rules: HoldRules) -> bool:
        """Whether it has just these events."""
        return self._events is not None and self._events == rules.events

    def load(self, connection: sa.Connection, rules: HoldRules) -> None:
        """Replace what it has by the events in force, within the connection's transaction.

        Raises:
            StoreError: if nobody said which are in force.
        """
        events, dialect = rules.events, self._rows.dialect
        table = self._rows.table
        assert isinstance(table, sa.Table)  # noqa: S101 - `find` makes one
        if events is None or events.name != self._rows.event:
            raise StoreError(f"nobody said which events {self._rows.event} are in force: nothing is judged without")
        known, self._events = self._events, None
        if known is None:
            dialect.drop_temporary(connection, table)
            dialect.make_temporary(connection, table)
        else:
            connection.execute(sa.delete(table))
        for some in events.load():
            if mine := list(self._fitting(some)):
                connection.execute(sa.insert(table), mine)
        self._events = events

    def _fitting(self, some: Sequence[tuple[Reference, date]]) -> Iterator[dict[str, object]]:
        """Those that can be a row's: with a part for each column."""
        parts = len(self._rows.foreign_key)
        for reference, day in some:
            if len(reference) == parts:
                yield {"value": SEPARATOR.join(reference), "day": day}

    def forget(self) -> None:
        """Take nothing for loaded, because a transaction that may have loaded something was rolled back."""
        self._events = None
