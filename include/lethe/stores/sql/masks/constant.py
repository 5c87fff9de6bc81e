"""`with: constant`: the policy's `value`, read by the database as one of the column's type."""

from __future__ import annotations

import sqlalchemy as sa

from lethe.stores.sql.dialects.base import AnyColumn, Dialect, Predicate
from lethe.stores.sql.masks.base import Strategy


class Masking(Strategy):
    """The same value for all records."""

    leaves = "one constant"

    def put(self, column: AnyColumn, value: str | int | None, dialect: Dialect) -> AnyColumn:
        """The policy's value."""
        assert value is not None  # noqa: S101 - the policy has one exactly where a constant is put
        return dialect.literal(column, value)

    def done(self, column: AnyColumn, value: str | int | None, dialect: Dialect) -> Predicate:
        """Whether it is that value, which is never NULL."""
        return sa.and_(column.is_not(None), column == self.put(column, value, dialect))
