"""Facts that live in another table: a row that a record leads to, or all those that refer to the record."""

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
    """All columns of the row are taken for empty (NULL); of many rows, there are none."""


class Related(Model):
    """The one row of another table that a record leads to, or the many that refer to it; columns are `name.column`."""

    table: TableName
    many: bool = Field(
        default=False,
        description="All rows of this table that refer to the record. Their columns can be in latest_of and "
        "earliest_of of the clock, in keep_while and in identifiers.",
    )
    foreign_key: Columns = Field(
        description="Columns of the record's table (or of `through`) that refer to the row, in the order of "
        "references; of many, columns of this table that refer to the record."
    )
    references: Columns = Field(
        description="Columns of this table that they refer to: unique in it; of many, columns of the record's table."
    )
    through: Name | None = Field(
        default=None, description="The related row that foreign_key is of; the record's own where left out."
    )
    when_missing: MissingRelated = MissingRelated.UNJUDGEABLE

    @model_validator(mode="after")
    def _matching_columns(self) -> Related:
        if len(self.references) != len(self.foreign_key):
            raise ValueError("foreign_key and references need the same number of columns: name as many in both")
        if self.many and self.through is not None:
            raise ValueError("many rows refer to the record itself, by no other row: leave through out")
        return self

    @property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """Which column refers to which, whatever the order."""
        return frozenset(zip(self.foreign_key, self.references, strict=True))


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
        if related[through].many:
            raise ValueError(f"{path[0]}: through names {through}, which are many rows: name one row that leads there")
        if through in path:
            raise ValueError(f"{' leads through '.join([*reversed(path), through])}: a circle; begin at the record")
        path.insert(0, through)
        if len(path) > _DEEPEST:
            raise ValueError(f"{name} leads through more than {_DEEPEST} rows: leave out the deepest")
    return tuple(path)
