"""`with: year`: of a day, or a moment, the first day of its year."""

from __future__ import annotations

import sqlalchemy as sa

from lethe.stores.sql.dialects.base import AnyColumn, Dialect
from lethe.stores.sql.masks.base import Strategy


class Masking(Strategy):
    """8 March 1980 is 1 January 1980. Moments with a zone are taken in UTC."""

    leaves = "one year"

    def put(self, column: AnyColumn, value: str | int | None, dialect: Dialect) -> AnyColumn:
        """The year's first day."""
        return dialect.first_day(column, of="year")

    def unfit(self, kind: sa.types.TypeEngine[object], dialect: Dialect) -> str | None:
        """Only days and moments have one."""
        return (
            None if isinstance(kind, sa.Date | sa.DateTime) else "is neither a date nor a timestamp: mask it with null"
        )
