"""Where the moment is that a record's period runs from, and where an object says what it is about."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    model_validator,
)

from lethe.judging.dates import TimestampFormat
from lethe.judging.spans import PARTS, wrong_groups
from lethe.policy.fields import Column, Columns, Model, Name, TimeZone


class MissingClock(StrEnum):
    """What a record without a clock means."""

    UNJUDGEABLE = "unjudgeable"
    """Something is wrong with the record: it is counted and reported."""
    RUNNING = "running"
    """What starts the period has not happened yet (an account still open): the record is kept."""


class ColumnClock(Model):
    """The period starts from a column, from the latest or earliest of several, or from an event that people record."""

    column: Column | None = None
    latest_of: tuple[Column, ...] | None = Field(
        default=None, min_length=1, description="At least two, or one that many rows have (related)."
    )
    earliest_of: tuple[Column, ...] | None = Field(default=None, min_length=1, description="The same.")
    event: Name | None = Field(
        default=None,
        description="An event that no table has: `lethe event record` says on which day it happened, and to what "
        "refers_to names. Of rows in tables.",
    )
    refers_to: Columns | None = Field(
        default=None, description="The columns that say whose event starts a row's period, as people name it."
    )
    two_people: Literal[True] | None = Field(
        default=None, description="Whether an event counts only once a second person has confirmed it."
    )
    format: TimestampFormat | None = Field(default=None, description="Needed where the type is text or a number.")
    time_zone: TimeZone | None = Field(
        default=None, description="Zone of timestamps without one; the policy's where left out."
    )
    when_missing: MissingClock = MissingClock.UNJUDGEABLE

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if sum(value is not None for value in (self.column, self.latest_of, self.earliest_of, self.event)) != 1:
            raise ValueError("give exactly one of column, latest_of, earliest_of and event")
        if (self.event is None) != (self.refers_to is None):
            raise ValueError("event needs refers_to, the columns that say whose it is; other clocks have none")
        if self.event is None and self.two_people:
            raise ValueError("two_people is of an event: leave it out")
        if self.event is not None and (self.format or self.time_zone):
            raise ValueError("an event has a day, to which format and time_zone would say nothing: leave them out")
        if len(set(self.columns)) != len(self.columns):
            raise ValueError("names a column twice: leave it out once")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read, at least one; of an event, those that refer to it."""
        return (self.column,) if self.column is not None else self.latest_of or self.earliest_of or self.refers_to or ()

    def require_several(self) -> None:
        """Refuse an extreme of one value.

        Raises:
            ValueError: if there is one.
        """
        if self.column is None and self.event is None and len(self.columns) == 1:
            raise ValueError(
                f"clock: {self.columns[0]} alone has no latest and no earliest: write column: {self.columns[0]}, or "
                "name another one beside it"
            )


def groups_of(pattern: str) -> frozenset[str]:
    """The names of the groups of a regular expression: none where it is not one."""
    try:
        return frozenset(re.compile(pattern).groupindex)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}: correct it") from error


def _capturing(pattern: str) -> str:
    if "value" not in groups_of(pattern):
        raise ValueError("the pattern needs a group named value, such as country=(?P<value>[^/]+)/")
    return pattern


def _capturing_date(pattern: str) -> str:
    wrong = wrong_groups(groups_of(pattern))
    if wrong is not None:
        raise ValueError(wrong)
    return pattern


KeyPattern = Annotated[
    str,
    AfterValidator(_capturing),
    Field(description="A regular expression, searched in the object key, with a group named value."),
]
DatePattern = Annotated[
    str,
    AfterValidator(_capturing_date),
    Field(
        description="A regular expression, searched in the object key, with a group named value, or with groups for "
        f"the parts of a date: {', '.join(PARTS)}."
    ),
]


class ObjectAttribute(Model):
    """A part of an object's key, one of its tags, or an entry of its user metadata."""

    key: KeyPattern | None = None
    tag: str | None = Field(default=None, min_length=1, max_length=128)
    metadata: str | None = Field(default=None, min_length=1, max_length=128)

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if sum(value is not None for value in (self.key, self.tag, self.metadata)) != 1:
            raise ValueError("give exactly one of key, tag and metadata")
        return self


class ObjectClock(Model):
    """The period of an object starts from a date in its key, a tag, its metadata, or its last modification."""

    key: DatePattern | None = None
    tag: str | None = Field(default=None, min_length=1, max_length=128)
    metadata: str | None = Field(default=None, min_length=1, max_length=128)
    last_modified: Literal[True] | None = None
    format: TimestampFormat = Field(
        default=TimestampFormat.ISO_8601, description="Of the group value, the tag or the metadata."
    )
    time_zone: TimeZone | None = Field(
        default=None, description="Zone of days, and of times without one; the policy's where left out."
    )

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if sum(v is not None for v in (self.key, self.tag, self.metadata, self.last_modified)) != 1:
            raise ValueError("give exactly one of key, tag, metadata and last_modified")
        if self.last_modified and self.time_zone is not None:
            raise ValueError("last_modified is a moment in UTC, to which time_zone would say nothing: leave it out")
        in_parts = self.key is not None and "value" not in groups_of(self.key)
        if (self.last_modified or in_parts) and self.format is not TimestampFormat.ISO_8601:
            what = "the key has the parts of a date" if in_parts else "last_modified is a moment in UTC"
            raise ValueError(f"{what}, to which format would say nothing: leave it out")
        return self
