"""`with: range`: of a whole number the first of its range, whose width is the policy's `value`: 37 by tens is 30."""

from __future__ import annotations

import sqlalchemy as sa

from lethe.stores.sql.dialects.base import AnyColumn, Dialect
from lethe.stores.sql.masks.base import Strategy


class Masking(Strategy):
    """-3 by tens is -10."""

    leaves = "one range"

    def put(self, column: AnyColumn, value: str | int | None, dialect: Dialect) -> AnyColumn:
        """The largest multiple of the width that is no larger; the lowest number of the type where that is lower."""
        return dialect.first_of_range(column, int(value or 1))

    def unfit(self, kind: sa.types.TypeEngine[object], dialect: Dialect) -> str | None:
        """Fractions are not exact in every database."""
        return None if isinstance(kind, sa.Integer) else "has no whole numbers: mask it with null"
