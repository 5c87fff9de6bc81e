"""What the company's records are made of, and made with: tables, people, and random numbers that can be repeated."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import ClassVar

from lethe_demo.calendar_days import ZONE, first_kept_day, midnight
from lethe_demo.people import Person, invent

Row = tuple[object, ...]

HELD_PEOPLE = 30
"""The first so many people are parties to a lawsuit."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows for one table.

    Attributes:
        name: schema and table.
        columns: their names, in the order of the rows' values.
        rows: the values, timestamps in UTC (others have moments that equal none in another zone, PEP 495).
        about: for every row the index of the person it is about.
        parents: for every row the index of the record that it goes with: a row of the parent table, or of its parent;
            empty where there is none.
    """

    name: str
    columns: tuple[str, ...]
    rows: list[Row] = field(repr=False)
    about: list[int] = field(repr=False)
    parents: list[int] = field(default_factory=list, repr=False)

    def pairs(self, one: str, other: str) -> list[tuple[object, object]]:
        """The values of two columns, row by row."""
        first, second = self.columns.index(one), self.columns.index(other)
        return [(row[first], row[second]) for row in self.rows]


@dataclass(frozen=True, slots=True)
class Family:
    """The records of a table and the rows that go with them.

    Attributes:
        database: which of the company's two: crm or operations.
        datasets: ``category.dataset`` of each dataset that the table's records are in; no record is in two.
        children: parents before their children.
        key: how many of the first columns name a record.
    """

    database: str
    datasets: tuple[str, ...]
    table: Table
    children: tuple[Table, ...] = ()
    key: int = 1


class Maker:
    """What everything is made from: the moment that all lies relative to, the size, and the seed."""

    def __init__(self, as_of: datetime, scale: float, seed: int) -> None:
        if as_of.tzinfo is None:
            raise ValueError("the as-of moment needs a time zone")
        self.as_of = as_of.astimezone(UTC)
        self.scale = scale
        self.seed = seed
        self.today = as_of.astimezone(ZONE).date()

    @cached_property
    def people(self) -> list[Person]:
        """Everybody."""
        return invent(max(200, self.count(45_000)), self.rng("people"))

    @cached_property
    def events(self) -> list[tuple[str, date]]:
        """Off-line events of the last five years, oldest first."""
        rng = self.rng("events")
        boundary = first_kept_day("events", self.as_of)
        days = {boundary, boundary - timedelta(days=1), first_kept_day("logistics", self.as_of)}
        days.add(first_kept_day("logistics", self.as_of) - timedelta(days=1))
        days |= {self.today - timedelta(days=rng.randrange(1, 150)) for _ in range(24)}
        days |= {self.today - timedelta(days=rng.randrange(150, 1825)) for _ in range(80)}
        return [(f"EVT-{day:%Y%m}-{n:03d}", day) for n, day in enumerate(sorted(days), start=1)]

    @cached_property
    def held_event(self) -> str:
        """The event under investigation: the second one of those that have expired last."""
        expired = [code for code, day in self.events if day < first_kept_day("events", self.as_of)]
        return expired[-2]

    def count(self, usual: int) -> int:
        """How many there are of what usually there are so many of."""
        return max(1, round(usual * self.scale))

    def rng(self, what: str) -> random.Random:
        """Random numbers of its own for every part, so that one can be made up without the others."""
        return random.Random(f"{self.seed}/{what}")

    def whom(self, rng: random.Random, held: float = 0.004) -> int:
        """Somebody; held people turn up more often than chance would have it."""
        return rng.randrange(HELD_PEOPLE) if rng.random() < held else rng.randrange(HELD_PEOPLE, len(self.people))

    def moment(self, rng: random.Random, first: int, last: int = 0) -> datetime:
        """Some moment from so many days ago until so many days ago."""
        return self.as_of - timedelta(seconds=rng.randrange(last * 86_400, first * 86_400))

    def day(self, rng: random.Random, first: int, last: int = 0) -> date:
        """Some day from so many days ago until so many days ago."""
        return self.today - timedelta(days=rng.randrange(last, first))

    def edge_days(self, category: str, value: str | None = None) -> list[date]:
        """Clocks around the cutoff: the last two days that have expired, and the first two that have not."""
        boundary = first_kept_day(category, self.as_of, value)
        return [boundary + timedelta(days=days) for days in (-2, -1, 0, 1)]

    def edge_moments(self, category: str, value: str | None = None) -> list[datetime]:
        """The last microsecond that has expired, and the first that has not, both in UTC."""
        boundary = midnight(first_kept_day(category, self.as_of, value)).astimezone(UTC)
        return [boundary - timedelta(microseconds=1), boundary]

    def leap_days(self, years: int) -> list[date]:
        """The 29ths of February of the last so many years."""
        every = range(self.today.year - years, self.today.year + 1)
        leap = [date(year, 2, 29) for year in every if year % 4 == 0 and (year % 100 or year % 400 == 0)]
        return [day for day in leap if day <= self.today]


def as_json(value: object) -> str:
    """A value of a JSON column in the one spelling by which two of them are compared."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def children_of(
    name: str,
    parent: Table,
    columns: tuple[str, ...],
    make: Callable[[Row], Iterable[Row]],
    key: int = 1,
    foreign_key: tuple[str, ...] = (),
) -> Table:
    """A child table: an id, the first `key` columns of the parent, and what `make` gives for each parent row.

    They are named as in the parent, unless `foreign_key` says otherwise.
    """
    rows: list[Row] = []
    about, parents = [], []
    for index, row in enumerate(parent.rows):
        for values in make(row):
            rows.append((len(rows) + 1, *row[:key], *values))
            about.append(parent.about[index])
            parents.append(parent.parents[index] if parent.parents else index)
    return Table(name, ("id", *(foreign_key or parent.columns[:key]), *columns), rows, about, parents)


class System:
    """One of the company's systems, with tables of its own.

    Attributes:
        database: which of the company's two databases has them: crm or operations.
        schemas: those that nobody else has tables in.
        tables_sql: creates the tables.
        indexes_sql: creates their indexes, once they are filled.
    """

    database: ClassVar[str]
    schemas: ClassVar[tuple[str, ...]] = ()
    tables_sql: ClassVar[str]
    indexes_sql: ClassVar[str]

    def __init__(self, maker: Maker) -> None:
        self.maker = maker

    @property
    def families(self) -> Sequence[Family]:
        """Its records."""
        raise NotImplementedError

    @property
    def judged_by(self) -> Sequence[Table]:
        """Tables that records are judged by, and that nothing is erased from."""
        return ()

    @property
    def tables(self) -> Sequence[Table]:
        """All its tables, each after those that it refers to."""
        own = [table for family in self.families for table in (family.table, *family.children)]
        return (*self.judged_by, *own)
