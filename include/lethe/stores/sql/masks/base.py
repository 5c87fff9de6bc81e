"""What a way of anonymising a column has to say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import sqlalchemy as sa

from lethe.stores.sql.dialects.base import AnyColumn, Dialect, Predicate


class Strategy(ABC):
    """One way to anonymise a column.

    What it puts in place may depend on what stands there, and on nothing else; and putting it once more changes
    nothing: that is how a record is known that was anonymised before.
    """

    puts_null: ClassVar[bool] = False
    """Whether no value is left: then the column must allow NULL, and may be unique where NULLs are distinct."""
    leaves: ClassVar[str] = "one value"
    """What several records have afterwards, which a unique column cannot hold: for a message."""

    @abstractmethod
    def put(self, column: AnyColumn, value: str | int | None, dialect: Dialect) -> AnyColumn:
        """What a column is given; `value` is what the policy says beside it, if anything.

        Great Expectations runs it without parameters: values of the policy are `dialect.literal`, numbers
        `sa.literal_column`.
        """

    def done(self, column: AnyColumn, value: str | int | None, dialect: Dialect) -> Predicate:
        """Whether a column has it already. True or false, never unknown.

        Not `IS NOT DISTINCT FROM`: SQLAlchemy leaves parameters in that of SQLite where it is to write them out.
        """
        put = self.put(column, value, dialect)
        same = sa.and_(column.is_not(None), put.is_not(None), column == put)
        return sa.or_(same, sa.and_(column.is_(None), put.is_(None)))

    def may_put_null(self, dialect: Dialect) -> bool:
        """Whether no value is left of some: then the column must allow NULL."""
        return self.puts_null

    def unfit(self, kind: sa.types.TypeEngine[object], dialect: Dialect) -> str | None:
        """Why a column of a type cannot be masked so, after "column x of y"; None where it can."""
        return None


class FirstDay(Strategy):
    """Of a day, or a moment, the first day of its month or year. Moments with a zone are taken in UTC."""

    of: ClassVar[Literal["month", "year"]]

    def put(self, column: AnyColumn, value: str | int | None, dialect: Dialect) -> AnyColumn:
        """That day."""
        return dialect.first_day(column, of=self.of)

    def may_put_null(self, dialect: Dialect) -> bool:
        """Where a day can be any text."""
        return dialect.days_are_text

    def unfit(self, kind: sa.types.TypeEngine[object], dialect: Dialect) -> str | None:
        """Only days and moments have one."""
        return (
            None if isinstance(kind, sa.Date | sa.DateTime) else "is neither a date nor a timestamp: mask it with null"
        )
