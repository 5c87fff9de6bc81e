"""How long the records of a category are kept: the policy, and the cutoffs that it comes to.

What a store needs to know of a policy at run time is resolved here too: `Policy.expiry` turns the retention rule and an
as-of moment into cutoffs, so that stores compare and never count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Literal, Self
from zoneinfo import ZoneInfo

import rfc8785
from pydantic import (
    Field,
    model_validator,
)

from lethe.errors import PolicyError
from lethe.periods import Cutoff, cutoff_at_once, cutoff_for, end_of_year, same_day
from lethe.policy.clocks import groups_of
from lethe.policy.datasets import Dataset, FilesDataset, JsonLinesDataset, ObjectDataset, TableDataset
from lethe.policy.fields import EXACT, Calendar, Column, Cron, Model, Name, PeriodField, TimeZone
from lethe.policy.masks import Mask
from lethe.policy.on_request import OnRequest
from lethe.working_days import OutOfCalendar, is_working_day


class PeriodsByValue(Model):
    """Other periods for some records, by the value of a column: national law by country, studies by their plan."""

    column: Column
    periods: Mapping[str, PeriodField] = Field(min_length=1)


class CountedFrom(StrEnum):
    """The day that counting starts from."""

    CLOCK = "clock"
    END_OF_YEAR = "end_of_year"


class Retention(Model):
    """How long records are kept: `keep_for`, `erase_within` (with a lead time) or `at_once`."""

    keep_for: PeriodField | None = None
    erase_within: PeriodField | None = None
    lead_time: PeriodField | None = Field(
        default=None, description="Days before the end of an erase_within period at which erasing starts."
    )
    at_once: Literal[True] | None = None
    counted_from: CountedFrom = CountedFrom.CLOCK
    by_value: PeriodsByValue | None = Field(
        default=None,
        description="Records kept for other periods, by the value of a column; a lead_time does not shorten them. "
        "Without a period for the others, those cannot be judged.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = [name for name in ("keep_for", "erase_within", "at_once") if getattr(self, name) is not None]
        if len(given) > 1 or not (given or self.by_value):
            raise ValueError("give exactly one of keep_for, erase_within and at_once (or only by_value)")
        if (self.erase_within is None) != (self.lead_time is None):
            raise ValueError("erase_within needs a lead_time (days in which a run surely is over), keep_for has none")
        if self.lead_time is not None and self.erase_within is not None:
            if self.lead_time.months or not self.lead_time.days:
                raise ValueError("lead_time must be days, at least P1D")
            shortest = self.erase_within.days + 28 * self.erase_within.months
            if self.lead_time.days >= shortest:
                raise ValueError("lead_time must be shorter than the period")
        if self.at_once and (self.by_value or self.counted_from is not CountedFrom.CLOCK):
            raise ValueError("at_once goes with neither by_value nor counted_from: leave these out")
        return self

    @property
    def rule(self) -> str:
        """The rule in words, as the schedule says it."""
        parts = []
        if self.at_once:
            parts.append("at once")
        elif self.keep_for:
            parts.append(f"for {self.keep_for.words}")
        elif self.erase_within and self.lead_time:
            parts.append(f"within {self.erase_within.words}, starting {self.lead_time.words} before")
        if self.by_value:
            parts.append(
                f"by {self.by_value.column}: " + ", ".join(f"{k} {v.words}" for k, v in self.by_value.periods.items())
            )
        if self.counted_from is CountedFrom.END_OF_YEAR:
            parts.append("counted from the end of the year")
        return "; ".join(parts)


class Limits(Model):
    """What one run may erase from one dataset by itself. Above either, a person decides."""

    records: int = Field(
        gt=0,
        le=EXACT,
        strict=True,
        description="Records (rows, or objects), with the rows of child tables that go along.",
    )
    share: float = Field(gt=0, le=1, description="Share of the dataset, from above 0 to 1.")
    always_ask: bool | None = Field(
        default=None,
        description="Whether a person decides also within the limits; if left out, where text is redacted.",
    )


class Disposition(StrEnum):
    """What becomes of expired records."""

    ERASE = "erase"
    ANONYMISE = "anonymise"


def _masks(dataset: Dataset) -> tuple[Mask, ...]:
    return dataset.masks if isinstance(dataset, TableDataset) else ()


class Policy(Model):
    """One category of the retention schedule."""

    category: Name
    title: str = Field(min_length=1)
    description: str = ""
    owner: str = Field(min_length=1, description="Who answers for the category.")
    legal_basis: str = Field(min_length=1)
    source: str = Field(min_length=1, description="The section of the privacy notice, such as § 5.5.")
    retention: Retention
    time_zone: TimeZone
    calendar: Calendar | None = Field(
        default=None,
        description="Country (or part of one, such as DE-BY) whose public holidays, with Saturdays and Sundays, extend "
        "what is kept *for* a period to the next working day. What must be gone *within* one is never extended.",
    )
    disposition: Disposition = Disposition.ERASE
    on_request: OnRequest | None = Field(
        default=None,
        description="Which requests of a person shorten the period for the person's records; none where left out.",
    )
    schedule: Cron | None = Field(description="Five cron fields in the time zone; null where only people start it.")
    limits: Limits
    datasets: tuple[Dataset, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _datasets_fit(self) -> Self:
        names = [dataset.name for dataset in self.datasets]
        duplicates = {name for name in names if names.count(name) > 1}
        if duplicates:
            raise ValueError(f"datasets: {', '.join(sorted(duplicates))} is there twice: give each a name of its own")
        for dataset in self.datasets:
            if self.disposition is Disposition.ANONYMISE and not _masks(dataset):
                raise ValueError(f"datasets.{dataset.name}: anonymising needs a table with masks: give its masks")
            if self.on_request is not None and isinstance(dataset, TableDataset) and dataset.texts:
                raise ValueError(
                    f"datasets.{dataset.name}: masks redact texts, which stay, and so do not go on request: leave "
                    "on_request out"
                )
            if isinstance(dataset, TableDataset) and dataset.masks and dataset.unmasked:
                raise ValueError(
                    f"datasets.{dataset.name}: masks leave {', '.join(dataset.unmasked)}, which identifies a person: "
                    "mask it too"
                )
            if self.disposition is Disposition.ERASE and _masks(dataset):
                raise ValueError(f"datasets.{dataset.name}: masks are for the disposition anonymise: leave them out")
            by_value = self.retention.by_value
            if by_value is not None and isinstance(dataset, FilesDataset):
                pattern = dataset.path_columns.get(by_value.column)
                if pattern is not None and "value" not in groups_of(pattern):
                    raise ValueError(
                        f"datasets.{dataset.name}: by_value.column {by_value.column} is made of the parts of a date in "
                        "the key, which only a clock can be: name another column"
                    )
            if by_value is not None and isinstance(dataset, JsonLinesDataset):
                dataset.require_single(f"datasets.{dataset.name}: by_value.column", by_value.column)
            if by_value is not None and isinstance(dataset, TableDataset):
                dataset.require_one(f"datasets.{dataset.name}: by_value.column", by_value.column)
            if by_value is not None and isinstance(dataset, ObjectDataset):
                raise ValueError(
                    f"datasets.{dataset.name}: by_value needs rows with columns, not objects: leave it out"
                )
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the policy's canonical JSON (RFC 8785), in hexadecimal."""
        return hashlib.sha256(rfc8785.dumps(self.model_dump(mode="json", by_alias=True))).hexdigest()

    def dataset(self, name: str) -> Dataset:
        """The dataset of that name.

        Raises:
            PolicyError: if there is none.
        """
        for dataset in self.datasets:
            if dataset.name == name:
                return dataset
        raise PolicyError(
            f"{self.category}: no dataset {name!r}; choose from {', '.join(dataset.name for dataset in self.datasets)}"
        )

    @property
    def always_asks(self) -> bool:
        """Whether a person decides on whatever there is to do: what is recognised in text may be mistaken."""
        if self.limits.always_ask is not None:
            return self.limits.always_ask
        return any(isinstance(dataset, TableDataset) and dataset.texts for dataset in self.datasets)

    @property
    def extends(self) -> bool:
        """Whether its periods are extended to working days: those for which records are kept, with a calendar."""
        return self.calendar is not None and not (self.retention.at_once or self.retention.erase_within)

    @property
    def rule(self) -> str:
        """How long records are kept, in words, as the schedule says it."""
        return (
            f"{self.retention.rule}; to the end of a working day ({self.calendar})"
            if self.extends
            else (self.retention.rule)
        )

    @property
    def counting(self) -> str:
        """What of the law of periods was applied, in words."""
        if self.retention.at_once:
            return "no period is counted"
        applied = "Regulation (EEC, Euratom) No 1182/71, Article 3(1), (2) and (3)"
        if self.extends:
            return f"{applied}, and (4) with the public holidays of {self.calendar}"
        why = "what must be gone within a period is not extended" if self.retention.erase_within else "no calendar"
        return f"{applied}; not (4), so that a period may end on a Saturday, a Sunday or a public holiday ({why})"

    def expiry(self, as_of: datetime) -> Expiry:
        """What has expired at `as_of` (timezone-aware): the cutoffs that stores compare clocks with.

        Raises:
            PolicyError: if the policy's calendar does not know the year of `as_of`.
        """
        zone = ZoneInfo(self.time_zone)
        rule = self.retention
        if rule.at_once:
            return Expiry(zone=zone, default=cutoff_at_once(as_of, zone))
        anchor = end_of_year if rule.counted_from is CountedFrom.END_OF_YEAR else same_day
        lead = timedelta(days=rule.lead_time.days if rule.lead_time else 0)
        period = rule.keep_for or rule.erase_within
        by_value = rule.by_value.periods if rule.by_value else {}
        works = partial(is_working_day, self.calendar) if self.calendar is not None and self.extends else None
        count = partial(cutoff_for, as_of, zone, anchor=anchor, is_working_day=works)
        try:
            return Expiry(
                zone=zone,
                default=count(period, lead=lead) if period else None,
                column=rule.by_value.column if rule.by_value else None,
                by_value={value: count(other) for value, other in by_value.items()},
            )
        except OutOfCalendar as error:
            raise PolicyError(f"{self.category}.yaml: calendar: {error}") from None


ON_REQUEST = "on request"
"""In the place of cutoffs: what a run on request goes by."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """The cutoffs of one policy at one as-of moment.

    Attributes:
        zone: the zone whose calendar days were counted; also that of clocks without a zone, unless a dataset says else.
        default: the cutoff of records that `by_value` does not name; None: those cannot be judged.
        column: the column that `by_value` refers to.
        by_value: cutoffs by the value of `column`, compared as text.
        on_request: records go by requests of the persons whom they are of, and by no cutoff.
    """

    zone: ZoneInfo
    default: Cutoff | None
    column: str | None = None
    by_value: Mapping[str, Cutoff] = field(default_factory=dict)
    on_request: bool = False

    @classmethod
    def of_requests(cls, zone: ZoneInfo) -> Self:
        """What goes by requests, whenever its period ends: to a store that knows nothing of them, nothing does."""
        return cls(zone=zone, default=None, on_request=True)

    @property
    def longest_first(self) -> list[tuple[Cutoff, tuple[str, ...]]]:
        """The cutoffs by value, with the values that each is of, the longest period first.

        To a store two texts may be one value (1 and 1.0 of a number, a UUID in capitals): what is kept for the longer
        period must not go after the shorter.
        """
        cutoffs = sorted(set(self.by_value.values()), key=lambda cutoff: cutoff.instant)
        return [(one, tuple(text for text, other in self.by_value.items() if other == one)) for one in cutoffs]

    @property
    def label(self) -> str:
        """The cutoff days in words, for people and for evidence."""
        if self.on_request:
            return ON_REQUEST
        parts = [f"{value}: {cutoff.day.isoformat()}" for value, cutoff in sorted(self.by_value.items())]
        if self.default is not None:
            parts.insert(0, self.default.day.isoformat())
        return ", ".join(parts)
