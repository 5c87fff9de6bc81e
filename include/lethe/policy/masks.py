"""What is put in place of a column's value where records are anonymised."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import (
    Field,
    model_validator,
)

from lethe.policy.fields import Column, Model, WholeNumber


class MaskKind(StrEnum):
    """How a column is anonymised: each is a module of `lethe.stores.sql.masks`, of the same name."""

    NULL = "null"
    CONSTANT = "constant"


class Mask(Model):
    """What an anonymised column holds afterwards."""

    column: Column
    with_: MaskKind = Field(default=MaskKind.NULL, alias="with")
    value: str | WholeNumber | None = None

    @model_validator(mode="after")
    def _value_where_constant(self) -> Self:
        if (self.with_ is MaskKind.CONSTANT) != (self.value is not None):
            raise ValueError("give a value where a column is masked with a constant, and nowhere else")
        return self
