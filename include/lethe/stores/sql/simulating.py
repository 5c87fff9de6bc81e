"""When rows will go: by which of several cutoffs, one after the other, each of them expires first.

One statement asks all cutoffs of each row, by halves, as the judgement of a run asks one of them; the rows are grouped
by the answer. So the day is never computed from a clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import sqlalchemy as sa

from lethe.policy import Expiry
from lethe.stores.base import Going
from lethe.stores.sql.dialects.base import AnyColumn, Predicate
from lethe.stores.sql.expiry import Judgement
from lethe.stores.sql.holds import HeldTables
from lethe.stores.sql.kin import HeldKin, with_rows_along
from lethe.stores.sql.schema import Target

_MOST_CUTOFFS = 400
"""Cutoffs that one statement has at most. Databases limit the columns and parameters of one."""


def going(
    connection: sa.Connection,
    judgement: Judgement,
    target: Target,
    held: tuple[HeldTables, HeldKin],
    steps: Sequence[Expiry],
) -> Iterator[Going]:
    """How many unheld rows expire by each of the steps and by none before.

    Args:
        connection: in whose session the held identifiers were looked for.
        judgement: by the last of the steps.
        target: its table, and those whose rows go along.
        held: what is held of all that expires.
        steps: cutoffs of one policy, none earlier than those before it; at least one.
    """
    size = max(1, _MOST_CUTOFFS // (1 + len(steps[0].by_value)))
    for start in range(0, len(steps), size):
        before = steps[start - 1 : start] if start else ()
        part = [*before, *steps[start : start + size]]
        yield from _of_part(connection, judgement, target, held, part)[len(before) :]


def _of_part(
    connection: sa.Connection,
    judgement: Judgement,
    target: Target,
    held: tuple[HeldTables, HeldKin],
    steps: Sequence[Expiry],
) -> list[Going]:
    beside = replace(judgement, expiry=steps[-1]).over_all(*steps)
    by = [replace(beside, expiry=expiry) for expiry in steps]
    last, (tables, kin) = by[-1], held
    source, is_held = tables.join(last, last.source)
    goes = sa.and_(last.candidate, sa.not_(sa.or_(is_held, kin.held(last, tables)) if kin else is_held))
    step = _first(by, 0, len(by))
    records = _by_step(connection, source, goes, step)
    along: Counter[int] = Counter()
    for joined in with_rows_along(target, source) if records else ():
        along += _by_step(connection, joined, goes, step)
    return [Going(records=records[n], rows_along=along[n]) for n in range(len(steps))]


def _first(by: Sequence[Judgement], low: int, high: int) -> AnyColumn:
    """The number of the first by which a row has expired, which is one from `low` to before `high`: by halves."""
    if high - low == 1:
        return sa.literal_column(str(low), sa.Integer())
    middle = (low + high) // 2
    earlier, later = _first(by, low, middle), _first(by, middle, high)
    return sa.case((by[middle - 1].past_cutoff, earlier), else_=later)


def _by_step(connection: sa.Connection, source: sa.FromClause, goes: Predicate, step: AnyColumn) -> Counter[int]:
    rows = sa.select(step.label("step")).select_from(source).where(goes).subquery()
    counted = sa.select(rows.c.step, sa.func.count()).group_by(rows.c.step)
    return Counter(dict(connection.execute(counted).all()))
