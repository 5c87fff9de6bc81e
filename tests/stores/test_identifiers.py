"""Never held: every engine finds a held identifier in what a record stores, as the vectors say.

Each vector's record has a day of its own that its hold is limited to, so that one table has all of a type.
"""

# ruff: noqa: ANN401 - values and types of columns are of any type
from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from tests.identifiers_kit import VECTORS, Vector, disagreeing
from tests.stores.sql_kit import Database, dataset, hold, holding, work

from lethe.holds.rules import ClockRange, HoldRules
from lethe.judging.identifiers import IdentifierType
from lethe.stores.parquet.holds import Loaded
from lethe.stores.parquet.holds import Matcher as ParquetMatcher
from lethe.stores.s3.matching import Matcher as ObjectMatcher
from lethe.stores.sql.expiry import Judgement
from lethe.stores.sql.holds import Carrier, HeldTables
from lethe.stores.sql.schema import Target

_FIRST = date(2001, 1, 1)
_EPOCH = date(1970, 1, 1)

Judged = Callable[[IdentifierType, str | None, HoldRules, Sequence[tuple[Any, date]]], list[bool]]
"""Which of some values, each on its day, an engine finds held."""


def day(number: int) -> date:
    """The day of a held identifier."""
    return _FIRST + timedelta(days=number)


def tried(engine: str, judged: Judged, vectors: Sequence[Vector]) -> list[Vector]:
    """The vectors that an engine does not keep to."""
    groups: dict[tuple[IdentifierType, str | None, type], list[Vector]] = defaultdict(list)
    for one in vectors:
        groups[one.kind, one.region, type(one.stored)].append(one)
    wrong: list[Vector] = []
    for (kind, region, _), some in groups.items():
        days = {named: day(number) for number, named in enumerate(dict.fromkeys(one.named for one in some))}
        rules = holding(*(hold(ClockRange(at, at), **{kind: named}) for named, at in days.items()))
        held = judged(kind, region, rules, [(one.stored, days[one.named]) for one in some])
        wrong += disagreeing(engine, some, held)
    return wrong


COLUMNS: dict[type, Any] = {str: sa.Text(), int: sa.BigInteger(), float: sa.Double(), bytes: sa.LargeBinary()}


def in_sql(database: Database, column: Any = None) -> Judged:
    """In a column of a table, as discovering joins and as batches say that nothing is there."""
    dialect, engine = database.store._dialect, database.store._engine

    def judged(
        kind: IdentifierType, region: str | None, rules: HoldRules, values: Sequence[tuple[Any, date]]
    ) -> list[bool]:
        table = database.create(
            f"t{secrets.token_hex(4)}",
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("value", column or COLUMNS[type(values[0][0])]),
            sa.Column("last_contact", database.moment),
        )
        rows = [(value, datetime(at.year, at.month, at.day, 12, tzinfo=UTC)) for value, at in values]
        database.insert(
            table, [{"id": n, "value": value, "last_contact": moment} for n, (value, moment) in enumerate(rows)]
        )
        of = dataset(table=table.name, identifiers={kind: ["value"]}, phone_region=region)
        with engine.connect() as connection, connection.begin():
            list(dialect.problems(connection))
            target = Target.find(connection, of, None, dialect)
            judgement = Judgement.of(work(of), target.table, target.kinds, dialect)
            tables = HeldTables(dialect, "tried")
            tables.load(connection, rules)
            tables.search(connection, Carrier.of(judgement), target.table)
            source, held = tables.join(judgement, target.table)
            joined = set(connection.scalars(sa.select(target.table.c.id).select_from(source).where(held)))
            absent = set(connection.scalars(sa.select(target.table.c.id).where(*tables.absent(judgement))))
        assert joined == set(range(len(values))) - absent
        return [number in joined for number in range(len(values))]

    return judged


def in_parquet(
    kind: IdentifierType, region: str | None, rules: HoldRules, values: Sequence[tuple[Any, date]]
) -> list[bool]:
    """In a column of a file."""
    return in_arrow(pa.array([value for value, _ in values]))(kind, region, rules, values)


def in_arrow(column: pa.Array) -> Judged:
    """In a column that is made already."""

    def judged(
        kind: IdentifierType, region: str | None, rules: HoldRules, values: Sequence[tuple[Any, date]]
    ) -> list[bool]:
        matcher = ParquetMatcher(rules, {kind: ["value"]}, Loaded(), region)
        days = pa.array([(at - _EPOCH).days for _, at in values]).to_numpy()
        found = matcher.held({"value": column}, len(values), (days, days))
        return [bool(one) for one in found]

    return judged


def in_objects(
    kind: IdentifierType, region: str | None, rules: HoldRules, values: Sequence[tuple[Any, date]]
) -> list[bool]:
    """In tags and the like, which are text and of no known country."""
    matcher = ObjectMatcher()
    matcher.prepare(rules)
    return [matcher.holds(rules, at, at, {kind: [value]}) for value, at in values]


def test_every_vector_in_a_database(database: Database) -> None:
    engine = "postgresql" if database.is_postgres else "sqlite"
    assert tried(engine, in_sql(database), VECTORS) == []


def test_every_vector_in_parquet() -> None:
    assert tried("parquet", in_parquet, VECTORS) == []


def test_every_vector_in_objects() -> None:
    assert tried("objects", in_objects, [one for one in VECTORS if isinstance(one.stored, str)]) == []
