"""`with: "null"`: no value at all."""

from __future__ import annotations

import sqlalchemy as sa

from lethe.stores.sql.dialects.base import AnyColumn, Dialect, Predicate
from lethe.stores.sql.masks.base import Strategy


class Masking(Strategy):
    """NULL, in a column of any type: JSON, too, which has no equality to compare with."""

    puts_null = True
    leaves = "NULL"

    def put(self, column: AnyColumn, value: str | int | None, dialect: Dialect) -> AnyColumn:
        """NULL."""
        return sa.null()

    def done(self, column: AnyColumn, value: str | int | None, dialect: Dialect) -> Predicate:
        """Whether it is NULL."""
        return column.is_(None)
