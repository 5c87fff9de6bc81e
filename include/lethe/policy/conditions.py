"""What a row has to be for a rule to concern it, or to be kept on."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from lethe.judging.conditions import NUMBER, pattern_parts, read_day, read_number
from lethe.judging.dates import TimestampFormat
from lethe.policy.fields import Column, Model, WholeNumber


def _day(value: object) -> date:
    if not isinstance(value, str | date):
        raise ValueError("is no day: write one of the years 2 to 9998, such as 2025-01-31")
    return value if isinstance(value, date) else read_day(value)


def _number(value: object) -> Decimal:
    number = None if isinstance(value, bool | None) else read_number(str(value))
    if number is None:
        raise ValueError("is no number: write digits, such as 12 or 0.5, at most 40 before the point and 20 after it")
    return number


def _pattern(value: str) -> str:
    pattern_parts(value)
    return value


Day = Annotated[date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]
Number = Annotated[
    Decimal,
    BeforeValidator(_number),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": f"^{NUMBER}$"}]}),
]
Pattern = Annotated[str, StringConstraints(strip_whitespace=False), AfterValidator(_pattern)]

_TESTS = ("in_", "not_in", "is_null", "before", "after", "below", "above", "like")
_NEEDS = {
    "before": "a date or a timestamp (and no format), or text or a number and its format",
    "below": "a number",
    "like": "text",
}
_NEEDS |= {"after": _NEEDS["before"], "above": _NEEDS["below"]}


class Condition(Model):
    """A test of one column, for rows that a dataset consists of, that are kept on, or that go onto a list."""

    column: Column
    in_: tuple[str | WholeNumber | bool, ...] | None = Field(
        default=None, alias="in", min_length=1, description="The value is one of these."
    )
    not_in: tuple[str | WholeNumber | bool, ...] | None = Field(
        default=None, min_length=1, description="The value is none of these, or there is none (NULL)."
    )
    is_null: bool | None = Field(default=None, description="Whether there is no value (NULL).")
    before: Day | None = Field(default=None, description="Earlier than this day of the policy's time zone.")
    after: Day | None = Field(default=None, description="Later than this day, which is over.")
    format: TimestampFormat | None = Field(
        default=None, description="For before and after, where the type is text or a number."
    )
    below: Number | None = Field(default=None, description="Less than this number.")
    above: Number | None = Field(default=None, description="More than this number.")
    like: Pattern | None = Field(
        default=None,
        description=r"Text like this: % is any text, _ any one character, \% and \_ are themselves; capitals matter.",
    )

    @field_validator("in_", "not_in", mode="before")
    @classmethod
    def _exact(cls, values: object) -> object:
        """Fractions are kept as they are written: the column's type says what they are."""
        if not isinstance(values, list | tuple):
            return values
        return [str(value) if isinstance(value, Decimal) else value for value in values]

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if sum(getattr(self, name) is not None for name in _TESTS) != 1:
            names = ", ".join(name.rstrip("_") for name in _TESTS[:-1])
            raise ValueError(f"give exactly one of {names} and {_TESTS[-1]}")
        if self.format is not None and self.test not in ("before", "after"):
            raise ValueError("format says how the dates of before and after are written: leave it out")
        return self

    @property
    def test(self) -> str:
        """The field that says what is tested."""
        return next(name for name in _TESTS if getattr(self, name) is not None).rstrip("_")

    @property
    def values(self) -> tuple[str | int | bool, ...]:
        """The values that it names of its column."""
        return self.in_ or self.not_in or ()

    @property
    def day(self) -> date | None:
        """The day that dates are compared with."""
        return self.before or self.after

    @property
    def number(self) -> Decimal | None:
        """The number that numbers are compared with."""
        return self.below if self.below is not None else self.above

    @property
    def compares(self) -> bool:
        """Whether there are values of which it can be said neither that they meet it nor that they do not."""
        return self.test in _NEEDS

    def unfit(self, kind: str) -> str:
        """That a column of a type cannot be tested so, in words."""
        return f"column {self.column} is of type {kind}: {self.test} needs {_NEEDS[self.test]}"

    def excludes(self, other: Condition) -> bool:  # noqa: PLR0911 - one return a reason
        """Whether no row can meet both conditions, as far as can be told from the conditions alone."""
        if self.column != other.column:
            return False
        if self.in_ is not None and other.in_ is not None:
            return not _as_text(self.in_) & _as_text(other.in_)
        for one, two in ((self, other), (other, self)):
            if one.in_ is not None and two.not_in is not None and set(one.in_) <= set(two.not_in):
                return True
            if one.is_null is True and two.not_in is None and two.is_null is not True:
                return True
            if one.below is not None and two.above is not None and one.below <= two.above:
                return True
            if one.before is not None and two.after is not None and one.format == two.format:
                return one.before <= two.after - _TWO_DAYS
        return False


_TWO_DAYS = timedelta(days=2)
"""Two policies may count days in different time zones, which are up to 26 hours apart."""


def _as_text(values: Iterable[str | int | bool]) -> set[str]:
    """Values as a database may compare them: 1, "1" and true can be the same."""
    texts = {str(value).strip().casefold() for value in values}
    return {{"true": "1", "false": "0"}.get(text, text) for text in texts}
