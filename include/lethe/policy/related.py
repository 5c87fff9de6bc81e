"""Facts that live in another table: a row that a record leads to, by columns that refer to it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from pydantic import Field, model_validator

from lethe.policy.fields import Columns, Model, Name, TableName

_DEEPEST = 8


class MissingRelated(StrEnum):
    """What it means that a record has no such row."""

    UNJUDGEABLE = "unjudgeable"
    """Something is wrong with the record: it is counted and reported."""
    EMPTY = "empty"
    """All columns of the row are taken for empty (NULL)."""


class Related(Model):
    """The one row of another table that a record leads to; its columns are written `name.column`."""

    table: TableName
    foreign_key: Columns = Field(
        description="Columns of the record's table (or of `through`) that refer to the row, in the order of references."
    )
    references: Columns = Field(description="Columns of this table that they refer to: unique in it.")
    through: Name | None = Field(
        default=None, description="The related row that foreign_key is of; the record's own where left out."
    )
    when_missing: MissingRelated = MissingRelated.UNJUDGEABLE

    @model_validator(mode="after")
    def _matching_columns(self) -> Related:
        if len(self.references) != len(self.foreign_key):
            raise ValueError("foreign_key and references need the same number of columns: name as many in both")
        return self


RelatedRows = Mapping[Name, Related]


def split_column(column: str, related: RelatedRows) -> tuple[str | None, str]:
    """Which related row a policy's column is of (None: of the record itself), and its name there."""
    name, dot, own = column.partition(".")
    return (name, own) if dot and own and name in related else (None, column)


def way_to_related(name: str, related: RelatedRows) -> tuple[str, ...]:
    """The related rows that lead to one, the first that the record itself refers to first, and the one itself.

    Raises:
        ValueError: if it leads nowhere, in a circle, or too far.
    """
    path = [name]
    while (through := related[path[0]].through) is not None:
        if through not in related:
            raise ValueError(f"{path[0]}: through names {through}, which is none of related: name one that is")
        if through in path:
            raise ValueError(f"{' leads through '.join([*reversed(path), through])}: a circle; begin at the record")
        path.insert(0, through)
        if len(path) > _DEEPEST:
            raise ValueError(f"{name} leads through more than {_DEEPEST} rows: leave out the deepest")
    return tuple(path)
