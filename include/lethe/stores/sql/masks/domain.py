"""`with: domain`: of an e-mail address what follows its name: `ann@example.org` is `@example.org`."""

from __future__ import annotations

import sqlalchemy as sa

from lethe.stores.sql.dialects.base import AnyColumn, Dialect
from lethe.stores.sql.masks.base import Strategy

_PLAIN = sa.literal_column("'^[^@]*@[A-Za-z0-9.-]+$'", sa.Text())
"""One @, and after it nothing but a domain: a name could be anywhere else."""


class Masking(Strategy):
    """Where there is anything else than one plain address, no value is left."""

    leaves = "one domain"

    def put(self, column: AnyColumn, value: str | int | None, dialect: Dialect) -> AnyColumn:
        """The domain with its @, by which it is known again; NULL where there is none."""
        at = dialect.place_of(column, sa.literal_column("'@'", sa.Text()))
        return sa.case((dialect.matches(column, _PLAIN), sa.func.substr(column, at)), else_=sa.null())

    def may_put_null(self, dialect: Dialect) -> bool:
        """Of what is no address."""
        return True

    def unfit(self, kind: sa.types.TypeEngine[object], dialect: Dialect) -> str | None:
        """Only text is an address."""
        return None if dialect.is_text(kind) else "is no text: mask it with null"
