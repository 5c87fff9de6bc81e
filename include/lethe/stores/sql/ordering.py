"""The order in which records that refer to records can be erased: those that nothing refers to first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from lethe.stores.sql.catalogue import ForeignKey
from lethe.stores.sql.dialects.base import Predicate
from lethe.stores.sql.expiry import Judgement
from lethe.stores.sql.notes import Notes

_DEEPEST = 1_000
"""How far references are followed. What is deeper, or refers to itself in a circle, comes last, in no order."""


def levels(connection: sa.Connection, judgement: Judgement, keys: Sequence[ForeignKey]) -> sa.Table | None:
    """A temporary table of the candidates that candidates refer to: key, and how many are in line before them.

    None where no candidate refers to another.
    """
    notes = Notes(judgement.dialect)
    judgement = judgement.apart  # two records of each row
    lower = replace(judgement, table=judgement.table.alias("lower_records"))
    ups = [column.label(f"key_{number}") for number, column in enumerate(judgement.key)]
    lows = [column.label(f"low_{number}") for number, column in enumerate(lower.key)]
    rows = [
        sa.select(*ups, *lows).where(
            *(
                lower.table.c[mine] == judgement.table.c[theirs]
                for mine, theirs in zip(key.columns, key.referred, strict=True)
            ),
            sa.not_(sa.and_(*(low == up for low, up in zip(lower.key, judgement.key, strict=True)))),
            judgement.candidate,
            lower.candidate,
        )
        for key in keys
    ]
    edges, count = notes.take(connection, "lethe_edges", [*ups, *lows], *rows, indexed=[low.name for low in lows])
    if not count:
        return None
    size = len(ups)
    shape = [*ups, sa.cast(sa.literal(0), sa.Integer()).label("depth")]
    found, _ = notes.take(connection, "lethe_levels", shape, _depths(edges, size), indexed=[up.name for up in ups])
    return found


def _depths(edges: sa.Table, size: int) -> sa.Select[Any]:
    ups = [edges.c[f"key_{number}"] for number in range(size)]
    lows = [edges.c[f"low_{number}"] for number in range(size)]

    def among(columns: Sequence[sa.ColumnElement[Any]], other: sa.FromClause) -> Predicate:
        return sa.and_(*(column == other.c[f"key_{number}"] for number, column in enumerate(columns)))

    further = edges.alias("further")
    ends = sa.not_(
        sa.exists(sa.select(sa.literal(1)).select_from(further).where(among(lows, further)).correlate(edges))
    )
    one = sa.cast(sa.literal(1), sa.Integer())
    line = sa.select(*ups, one.label("depth")).where(ends).cte("line", recursive=True)
    line = line.union(
        sa.select(*ups, line.c.depth + one)
        .select_from(edges.join(line, among(lows, line)))
        .where(line.c.depth < _DEEPEST)
    )
    depth = sa.func.coalesce(sa.func.max(line.c.depth), _DEEPEST + 1)
    return sa.select(*ups, depth).select_from(edges.outerjoin(line, among(ups, line))).group_by(*ups)
