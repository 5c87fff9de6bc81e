"""The retention schedule as data: what the privacy notice says, row by row, and whether policies keep to it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from lethe.periods import Period
from lethe.policy.datasets import RowDataset
from lethe.policy.fields import Model, Name, PeriodField
from lethe.policy.loading import load_beside
from lethe.policy.rules import CountedFrom, Disposition, Policy

FILE = "schedule.yaml"
"""Beside the folder of policies. A company that has none has nothing that its policies are compared with."""

_PERIODS = ("keep_for", "erase_within")


class ScheduleRow(Model):
    """One row of the schedule."""

    category: Name
    records: str = Field(min_length=1)
    starts_on: str = Field(min_length=1, description="What the period is counted from, in words.")
    source: str = Field(min_length=1, description="The sections of the privacy notice, such as § 5.1, 5.2.")
    keep_for: PeriodField | None = None
    erase_within: PeriodField | None = None
    at_once: bool = False
    stated_per: str | None = Field(default=None, description="What each has a period of its own, such as country.")
    counted_from: CountedFrom = CountedFrom.CLOCK
    kept_while: str | None = Field(default=None, description="What keeps a record on after its period, in words.")
    dispositions: tuple[Disposition, ...] = (Disposition.ERASE,)
    no_policy: str | None = Field(default=None, min_length=1, description="Why it has none yet.")

    @model_validator(mode="after")
    def _one_period(self) -> Self:
        if sum((self.keep_for is not None, self.erase_within is not None, self.at_once, bool(self.stated_per))) != 1:
            raise ValueError("give exactly one of keep_for, erase_within, at_once and stated_per")
        return self

    @property
    def rule(self) -> str:
        """The rule in words, such as `18 months after the day of the webinar`."""
        event = f"{'the end of the year of ' if self.counted_from is CountedFrom.END_OF_YEAR else ''}{self.starts_on}"
        if self.keep_for is not None:
            text = f"{self.keep_for.words} after {event}"
        elif self.erase_within is not None:
            text = f"within {self.erase_within.words} after {event}"
        else:
            text = f"at once on {event}" if self.at_once else f"as stated per {self.stated_per}, from {event}"
        return f"{text}; kept on while {self.kept_while}" if self.kept_while else text


class _Schedule(Model):
    rows: tuple[ScheduleRow, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _once(self) -> Self:
        names = [row.category for row in self.rows]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"rows: {', '.join(twice)} is there twice: leave it out once")
        return self


def load_schedule(policies: Path) -> dict[str, ScheduleRow]:
    """The schedule that a folder of policies keeps to, by category; empty where there is none.

    Raises:
        PolicyError: naming the file and the field.
    """
    schedule = load_beside(policies, FILE, _Schedule, first="rows")
    return {row.category: row for row in schedule.rows} if schedule else {}


def departures(rows: Mapping[str, ScheduleRow], policies: Mapping[str, Policy]) -> Iterator[str]:
    """Where policies and the schedule do not agree, one sentence each; none without a schedule."""
    if not rows:
        return
    for category, row in rows.items():
        if category in policies:
            yield from (f"{category}.yaml: {what}" for what in _contradictions(row, policies[category]))
        elif row.no_policy is None:
            yield f"{FILE}: {category} has no policy: write one, or say with no_policy why there is none yet"


def unlisted(rows: Mapping[str, ScheduleRow], policies: Mapping[str, Policy]) -> list[str]:
    """The policies that carry out no row, in words; none without a schedule."""
    none = sorted(policies.keys() - rows.keys()) if rows else []
    return [f"{FILE} has no row of the category {category}: add what the notice says of it" for category in none]


def _contradictions(row: ScheduleRow, policy: Policy) -> Iterator[str]:
    rule = policy.retention
    if row.no_policy is not None:
        yield f"{FILE} says that there is no policy ({row.no_policy}): take no_policy out of its row"
    for name in _PERIODS:
        mine, theirs = getattr(rule, name), getattr(row, name)
        if mine != theirs and not (row.at_once and mine == Period()):
            yield f"retention.{name}: is {mine or 'left out'}, the schedule says {theirs or 'none'} ({row.rule})"
    if row.at_once and not (rule.at_once or rule.keep_for == Period()):
        yield f"retention: the schedule says {row.rule}: write at_once: true"
    if rule.at_once and not row.at_once:
        yield f"retention.at_once: the schedule says {row.rule}"
    yield from _by_value(row, policy)
    if rule.counted_from is not row.counted_from:
        yield f"retention.counted_from: is {rule.counted_from}, the schedule says {row.counted_from} ({row.rule})"
    if policy.disposition not in row.dispositions:
        yield f"disposition: is {policy.disposition}, the schedule says {' or '.join(row.dispositions)}"
    if row.kept_while and not any(isinstance(one, RowDataset) and one.keep_while for one in policy.datasets):
        yield f"datasets: none has keep_while, and the schedule keeps records on while {row.kept_while}"
    if not _sections(policy.source) or not _sections(policy.source) <= _sections(row.source):
        yield f"source: is {policy.source}, the schedule says {row.source}"


def _by_value(row: ScheduleRow, policy: Policy) -> Iterator[str]:
    """National law may lengthen a period and not shorten it; where each has its own, there is no other."""
    by_value = policy.retention.by_value
    if row.stated_per and by_value is None:
        yield f"retention: the schedule states a period per {row.stated_per}: give by_value"
    period = row.keep_for or row.erase_within
    for value, other in by_value.periods.items() if by_value else ():
        if period is not None and (other.months < period.months or other.days < period.days):
            yield f"retention.by_value.periods.{value}: {other} may be shorter than the schedule's {period}"


def _sections(source: str) -> set[str]:
    return set(re.findall(r"\d+(?:\.\d+)*", source))
