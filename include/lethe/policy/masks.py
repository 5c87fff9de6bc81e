"""What is put in place of a column's value where records are anonymised."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import (
    Field,
    model_validator,
)

from lethe.judging.identifiers import IdentifierType
from lethe.judging.mentions import HELD_IN_TEXT
from lethe.policy.fields import Column, Model, WholeNumber


class MaskKind(StrEnum):
    """How a column is anonymised: each is a module of `lethe.stores.sql.masks`, of the same name."""

    NULL = "null"
    CONSTANT = "constant"
    PREFIX = "prefix"
    """The first characters of a text, as many as `value`."""
    DOMAIN = "domain"
    """What follows the name in an e-mail address."""
    MONTH = "month"
    """The first day of a day's month."""
    YEAR = "year"
    """The first day of a day's year."""
    RANGE = "range"
    """The first of a whole number's range, which is `value` wide."""
    NETWORK = "network"
    """The first address of an IP address's network, of 24 bits or, in version 6, of 48."""
    REDACT = "redact"
    """Free text without the personal data that is recognised in it, and nothing else of the record."""


_LARGEST = 10**9
_COUNTED = {MaskKind.PREFIX: "characters", MaskKind.RANGE: "width"}
"""Those whose value is a number of something."""
_DIGITS_OF_NOBODY = 6
"""Telephone numbers are compared by their last seven digits: fewer are no number."""
_LEFT_OF_IDENTIFIERS = {
    MaskKind.DOMAIN: frozenset({IdentifierType.EMAIL}),
    MaskKind.PREFIX: frozenset({IdentifierType.PHONE, IdentifierType.MSISDN}),
    MaskKind.REDACT: HELD_IN_TEXT - {IdentifierType.PERSON},
}
"""Of which identifiers of a person something may be left, and no person with it."""


class Mask(Model):
    """What an anonymised column holds afterwards."""

    column: Column
    with_: MaskKind = Field(default=MaskKind.NULL, alias="with")
    value: str | WholeNumber | None = Field(
        default=None, description="The constant; how many characters of a prefix; how wide a range is."
    )

    @model_validator(mode="after")
    def _value_where_it_says_something(self) -> Self:
        if (self.with_ in (MaskKind.CONSTANT, *_COUNTED)) != (self.value is not None):
            raise ValueError("give a value where a column is masked with constant, prefix or range, and nowhere else")
        if self.with_ in _COUNTED and not (isinstance(self.value, int) and 1 <= self.value <= _LARGEST):
            raise ValueError(
                f"the value of {self.with_} is the {_COUNTED[self.with_]}: write a whole number from 1 to {_LARGEST:,}"
            )
        return self

    def leaves_a_person(self, kind: IdentifierType) -> bool:
        """Whether what it leaves of an identifier may still lead to a person, as far as the mask alone tells."""
        if self.with_ in (MaskKind.NULL, MaskKind.CONSTANT) or not kind.is_of_a_person:
            return False
        short = self.with_ is not MaskKind.PREFIX or int(self.value or 0) <= _DIGITS_OF_NOBODY
        return not (kind in _LEFT_OF_IDENTIFIERS.get(self.with_, ()) and short)
