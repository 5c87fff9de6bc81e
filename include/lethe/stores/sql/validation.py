"""What of a table is checked by others: the candidates as they are staged, by a query that the database runs itself.

Clocks are turned into local days by `Dialect.checked_day`, not by the
comparison that found the candidates (`lethe.stores.sql.expiry`), so that a mistake in one of them shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from lethe.periods import Cutoff
from lethe.stores.sources import Query
from lethe.stores.sql.dialects.base import AnyColumn, ClockKind
from lethe.stores.sql.expiry import Judgement
from lethe.stores.sql.staging import TableStaging


def staged_candidates(judgement: Judgement, staging: TableStaging) -> Query:
    """The staged candidates, but for those that a hold covered when they were discovered: they are not erased."""
    staged = staging.keys.alias("staged")
    _, kind = judgement.clock_value
    judgement = judgement.without_event
    source: sa.FromClause = staged
    if judgement.expiry.column is not None:
        source = judgement.join(staged.outerjoin(judgement.table, staging.same_key(judgement.table, staged)))
    return (
        sa.select(
            _record(staging.key_columns(staged)).label("record"),
            judgement.dialect.checked_day(staged.c.clock, kind, judgement.zones).label("clock"),
            _cutoff(judgement).label("cutoff"),
            staged.c.held.label("held"),
            sa.literal(1).label("records"),
        )
        .select_from(source)
        .where(staged.c.held.is_not(sa.true()))
    )


def records_of(judgement: Judgement, staging: TableStaging, columns: Sequence[str]) -> Query:
    """Some columns of the rows that are to be erased, as they are in the table now."""
    staged, judgement = staging.keys.alias("staged"), judgement.without_event
    return (
        sa.select(*(judgement.column(name).label(name) for name in columns))
        .select_from(judgement.join(staged.join(judgement.table, staging.same_key(judgement.table, staged))))
        .where(staged.c.held.is_not(sa.true()))
    )


def _record(key: list[AnyColumn]) -> AnyColumn:
    """The key as one value: itself, or the texts of its columns, each with its length, so that no two are alike."""
    if len(key) == 1:
        return key[0]
    whole: sa.ColumnElement[Any] = sa.literal("")
    for column in key:
        text = sa.cast(column, sa.Text())
        whole = whole.concat(sa.cast(sa.func.length(text), sa.Text())).concat(sa.literal(" ")).concat(text)
    return whole


def _cutoff(judgement: Judgement) -> AnyColumn:
    """The day before which a record's clock has to be, by its period."""
    expiry = judgement.expiry

    def day(cutoff: Cutoff | None) -> AnyColumn:
        text = sa.literal(cutoff.day.isoformat() if cutoff else None, sa.Text())
        return judgement.dialect.checked_day(text, ClockKind.DATE, judgement.zones)

    if expiry.column is None:
        return day(expiry.default)
    column = judgement.column(expiry.column)
    literal = judgement.dialect.literal
    named = [(column == literal(column, text), day(cutoff)) for cutoff, texts in expiry.longest_first for text in texts]
    return sa.case(*named, else_=day(expiry.default))
