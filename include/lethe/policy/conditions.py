"""What a row has to be for a rule to concern it, or to be kept on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from pydantic import (
    Field,
    model_validator,
)

from lethe.policy.fields import Column, Model, WholeNumber


class Condition(Model):
    """A test of one column, for rows that a dataset consists of or that are kept on."""

    column: Column
    in_: tuple[str | WholeNumber | bool, ...] | None = Field(
        default=None, alias="in", min_length=1, description="The value is one of these."
    )
    not_in: tuple[str | WholeNumber | bool, ...] | None = Field(
        default=None, min_length=1, description="The value is none of these, or there is none (NULL)."
    )
    is_null: bool | None = Field(default=None, description="Whether there is no value (NULL).")

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if sum(value is not None for value in (self.in_, self.not_in, self.is_null)) != 1:
            raise ValueError("give exactly one of in, not_in and is_null")
        return self

    def excludes(self, other: Condition) -> bool:
        """Whether no row can meet both conditions, as far as can be told from the conditions alone."""
        if self.column != other.column:
            return False
        if self.in_ is not None and other.in_ is not None:
            return not _as_text(self.in_) & _as_text(other.in_)
        for one, two in ((self, other), (other, self)):
            if one.in_ is not None and two.not_in is not None and set(one.in_) <= set(two.not_in):
                return True
            if one.is_null is True and (two.in_ is not None or two.is_null is False):
                return True
        return False


def _as_text(values: Iterable[str | int | bool]) -> set[str]:
    """Values as a database may compare them: 1, "1" and true can be the same."""
    texts = {str(value).strip().casefold() for value in values}
    return {{"true": "1", "false": "0"}.get(text, text) for text in texts}
