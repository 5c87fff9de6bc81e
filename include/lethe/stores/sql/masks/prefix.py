"""`with: prefix`: the first characters of a text, as many as the policy's `value`: of a postcode, of a number."""

from __future__ import annotations

import sqlalchemy as sa

from lethe.stores.sql.dialects.base import AnyColumn, Dialect
from lethe.stores.sql.masks.base import Strategy


class Masking(Strategy):
    """110 00 is 110."""

    leaves = "one beginning"

    def put(self, column: AnyColumn, value: str | int | None, dialect: Dialect) -> AnyColumn:
        """Its beginning; of a text that is no longer, the text."""
        return sa.func.substr(column, sa.literal_column("1"), sa.literal_column(str(value)))

    def unfit(self, kind: sa.types.TypeEngine[object], dialect: Dialect) -> str | None:
        """Only text has a beginning."""
        return None if dialect.is_text(kind) else "is no text: mask it with null"
