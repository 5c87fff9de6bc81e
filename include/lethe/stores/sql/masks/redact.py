"""`with: redact`: of free text all but the personal data that is recognised in it (`lethe.judging.mentions`).

A database cannot recognise it. What was found in which texts is in a table of the session, which
`lethe.stores.sql.texts` fills: texts by their digest, and each as it is when it is redacted.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from lethe.judging.mentions import Kind, why_not_installed
from lethe.stores.sql.dialects.base import AnyColumn, Dialect, Predicate
from lethe.stores.sql.masks.base import Strategy

_NAME = "lethe_redactions"


def redaction_columns(dialect: Dialect) -> list[sa.Column[Any]]:
    """What is kept of a text in which something was found: its digest, it without that, and how much of each kind."""
    return [
        sa.Column("value", dialect.held_type(), nullable=False),
        sa.Column("redacted", dialect.held_type(), nullable=False),
        *(sa.Column(kind.value, sa.Integer(), nullable=False) for kind in Kind),
    ]


def redactions(dialect: Dialect) -> sa.Table:
    """The session's table of them."""
    table = sa.Table(_NAME, sa.MetaData(), *redaction_columns(dialect), prefixes=["TEMPORARY"])
    sa.Index(f"{_NAME}_at", table.c.value)
    return table


class Masking(Strategy):
    """Call me on 601 234 567 is Call me on [phone]."""

    leaves = "one text"

    def put(self, column: AnyColumn, value: str | int | None, dialect: Dialect) -> AnyColumn:
        """The text without what was found in it; a text in which nothing was, stays."""
        found = redactions(dialect)
        redacted = sa.select(found.c.redacted).where(found.c.value == dialect.digested(column)).correlate_except(found)
        return sa.func.coalesce(redacted.scalar_subquery(), column)

    def done(self, column: AnyColumn, value: str | int | None, dialect: Dialect) -> Predicate:
        """Whether nothing was found in it."""
        found = redactions(dialect)
        mine = sa.select(sa.literal(1)).where(found.c.value == dialect.digested(column))
        return sa.or_(column.is_(None), sa.not_(sa.exists(mine.correlate_except(found))))

    def unfit(self, kind: sa.types.TypeEngine[object], dialect: Dialect) -> str | None:
        """Only text is read, and only where the recogniser is installed."""
        if not dialect.is_text(kind):
            return "is no text: mask it with null"
        missing = why_not_installed()
        return None if missing is None else f"cannot be redacted: {missing}"
