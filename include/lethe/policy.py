"""What a retention policy can say: one YAML file per category of the schedule.

These models are the policy language. They are strict (unknown fields are refused), immutable and free of I/O except
for `load` and `load_all`, which read files. `python -m lethe.policy` prints the JSON Schema that editors use.
What a store needs to know of a policy at run time is resolved here too: `Policy.expiry` turns the retention rule and an
as-of moment into cutoffs, so that stores compare and never count.
"""

from __future__ import annotations

import hashlib
import json
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import rfc8785
import yaml
from croniter import CroniterError, croniter
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from lethe.errors import PolicyError
from lethe.judging.dates import TimestampFormat
from lethe.judging.identifiers import IdentifierType, require_region
from lethe.judging.spans import PARTS, wrong_groups
from lethe.messages import problems_of
from lethe.periods import Cutoff, Period, cutoff_at_once, cutoff_for, end_of_year, same_day
from lethe.working_days import OutOfCalendar, is_working_day, known_calendar

NAME = r"^[a-z][a-z0-9_]{0,62}$"
_NO_CIVIL_TIME = ("right/", "posix/", "localtime", "posixrules", "Factory")
"""Files among the time zones that count leap seconds, or mean what a machine is set to."""
_MOST_BYTES = 1_000_000
_MOST_PROBLEMS = 20
_DEEPEST = 8
_EXACT = 2**53 - 1
"""The largest whole number that JSON carries exactly (RFC 8785)."""

Name = Annotated[str, Field(pattern=NAME, description="Lower-case letters, digits and underscores, a letter first.")]
Column = Annotated[str, Field(min_length=1, max_length=128)]
Columns = Annotated[tuple[Column, ...], Field(min_length=1)]
WholeNumber = Annotated[int, Field(ge=-_EXACT, le=_EXACT)]
Identifiers = Mapping[IdentifierType, Columns]
Region = Annotated[str, AfterValidator(require_region)]


def _parse_period(value: object) -> Period:
    return value if isinstance(value, Period) else Period.parse(str(value))


def _known_zone(name: str) -> str:
    try:
        if name.startswith(_NO_CIVIL_TIME):
            raise ValueError(name)
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is not a time zone: write an IANA name such as Europe/Prague") from error
    return name


def _cron(expression: str) -> str:
    if re.search(r"(?<![A-Za-z])[Rr](?![A-Za-z])", expression):
        raise ValueError(f"{expression!r} is drawn anew every time (R): write the time itself, such as '15 2 * * *'")
    if not croniter.is_valid(expression) or len(expression.split()) != 5:
        raise ValueError(f"{expression!r} is not a schedule: write five cron fields such as '15 2 * * *'")
    try:
        croniter(expression, datetime(2000, 1, 1, tzinfo=UTC)).get_next()
    except CroniterError as error:
        raise ValueError(f"{expression!r} is a schedule that never comes") from error
    return expression


_NAME_PART = r'(?:[^."\s]+|"(?:[^"]|"")+")'
_TABLE_NAME = rf"{_NAME_PART}(?:\.{_NAME_PART}){{0,2}}"


def _table_name(name: str) -> str:
    if not re.fullmatch(_TABLE_NAME, name):
        raise ValueError(
            f"{name!r} is not the name of a table: write table, schema.table or database.schema.table, with names that "
            'have blanks or dots in double quotes, such as "Sales Dept"."orders.2024"'
        )
    return name


def name_parts(table: str) -> tuple[str, ...]:
    """The names that the name of a table consists of: database and schema where it says them, and the table's own.

    They are spelt as in the database, capitals too; quotes only hold together what has blanks or dots.
    """
    parts = re.findall(_NAME_PART, table)
    return tuple(part[1:-1].replace('""', '"') if part.startswith('"') else part for part in parts)


TableName = Annotated[str, AfterValidator(_table_name), Field(json_schema_extra={"pattern": f"^{_TABLE_NAME}$"})]
PeriodField = Annotated[
    Period,
    BeforeValidator(_parse_period),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "format": "duration", "examples": ["P18M", "P60D", "P3Y"]}),
]
TimeZone = Annotated[str, AfterValidator(_known_zone), Field(examples=["Europe/Prague"])]
Calendar = Annotated[str, AfterValidator(known_calendar), Field(examples=["CZ", "DE-BY"])]
Cron = Annotated[str, AfterValidator(_cron), Field(examples=["15 2 * * *"])]


class Model(BaseModel):
    """Base of all policy models: immutable, and nothing that is not declared is accepted."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, str_strip_whitespace=True)


# --- what a record is, and since when its period runs -------------------------------------------------------------


class MissingClock(StrEnum):
    """What a record without a clock means."""

    UNJUDGEABLE = "unjudgeable"
    """Something is wrong with the record: it is counted and reported."""
    RUNNING = "running"
    """What starts the period has not happened yet (an account still open): the record is kept."""


class ColumnClock(Model):
    """The period starts from a column, or from the latest or earliest of several."""

    column: Column | None = None
    latest_of: tuple[Column, ...] | None = Field(default=None, min_length=2)
    earliest_of: tuple[Column, ...] | None = Field(default=None, min_length=2)
    format: TimestampFormat | None = Field(default=None, description="Needed where the type is text or a number.")
    time_zone: TimeZone | None = Field(
        default=None, description="Zone of timestamps without one; the policy's where left out."
    )
    when_missing: MissingClock = MissingClock.UNJUDGEABLE

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if sum(value is not None for value in (self.column, self.latest_of, self.earliest_of)) != 1:
            raise ValueError("give exactly one of column, latest_of and earliest_of")
        if len(set(self.columns)) != len(self.columns):
            raise ValueError("names a column twice")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read, at least one."""
        return (self.column,) if self.column is not None else self.latest_of or self.earliest_of or ()


def _groups(pattern: str) -> frozenset[str]:
    try:
        return frozenset(re.compile(pattern).groupindex)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error


def _capturing(pattern: str) -> str:
    if "value" not in _groups(pattern):
        raise ValueError("the pattern needs a group named value, such as country=(?P<value>[^/]+)/")
    return pattern


def _capturing_date(pattern: str) -> str:
    wrong = wrong_groups(_groups(pattern))
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
        return self


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


class ChildTable(Model):
    """Rows that go with a record: those whose foreign key refers to it. Children go first, in one transaction."""

    table: TableName
    foreign_key: tuple[Column, ...] = Field(
        min_length=1, description="Columns of this table, in the order of references."
    )
    references: tuple[Column, ...] | None = Field(
        default=None, description="Columns of the parent table; the parent's key where left out."
    )
    identifiers: Identifiers = Field(
        default_factory=dict,
        description="Columns of this table by which a hold finds the record that its rows go with; {} says that there "
        "are none.",
    )
    phone_region: Region | None = Field(
        default=None, description="Country of national telephone numbers; that of the parent where left out."
    )
    children: tuple[ChildTable, ...] = ()

    @model_validator(mode="after")
    def _matching_columns(self) -> Self:
        if self.references is not None and len(self.references) != len(self.foreign_key):
            raise ValueError("foreign_key and references need the same number of columns")
        if self.children and any(child.references is None for child in self.children):
            raise ValueError("children of a child table need references: a child table has no key of its own here")
        if self.depth > _DEEPEST:
            raise ValueError(f"children nest more than {_DEEPEST} deep")
        return self

    @property
    def depth(self) -> int:
        """How many tables deep the children nest; 1 without any."""
        return 1 + max((child.depth for child in self.children), default=0)

    @property
    def carried(self) -> frozenset[IdentifierType]:
        """The types of identifiers in this table and those of all its children."""
        return frozenset(self.identifiers).union(*(child.carried for child in self.children))

    @property
    def tables(self) -> tuple[str, ...]:
        """This table and those of all its children."""
        return (self.table, *(table for child in self.children for table in child.tables))


class MaskKind(StrEnum):
    """How a column is anonymised."""

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
            raise ValueError("give a value exactly where a column is masked with a constant")
        return self


class DatasetBase(Model):
    """What every dataset states."""

    name: Name
    store: str = Field(min_length=1, description="An Airflow connection id.")
    title: str = ""

    @property
    @abstractmethod
    def carried(self) -> frozenset[IdentifierType]:
        """The types of the identifiers by which a hold finds its records."""


class RowDataset(DatasetBase):
    """What datasets of rows state, in a table or in files."""

    clock: ColumnClock
    identifiers: Identifiers = Field(
        default_factory=dict, description="Columns by which a hold finds the records, by type of identifier."
    )
    phone_region: Region | None = Field(default=None, description="Country of national telephone numbers, such as CZ.")
    where: tuple[Condition, ...] = Field(
        default=(), description="The rows that the dataset consists of: all must hold."
    )
    keep_while: tuple[Condition, ...] = Field(
        default=(), description="Expired rows that are kept on while any of these holds."
    )

    @property
    def carried(self) -> frozenset[IdentifierType]:
        """The types of the identifiers in its columns."""
        return frozenset(self.identifiers)


class TableDataset(RowDataset):
    """Rows of a table in a SQL warehouse."""

    kind: Literal["table"]
    table: TableName = Field(
        description="Table, with its schema where it has one; names with blanks or dots in double quotes."
    )
    key: tuple[Column, ...] = Field(min_length=1, description="The columns that name a record: unique, never null.")
    children: tuple[ChildTable, ...] = ()
    masks: tuple[Mask, ...] = Field(default=(), description="For anonymising: every column with personal data.")

    @model_validator(mode="after")
    def _masks_fit(self) -> Self:
        if len(set(self.key)) != len(self.key):
            raise ValueError("key names a column twice")
        masked = [mask.column for mask in self.masks]
        if len(set(masked)) != len(masked):
            raise ValueError("masks name a column twice")
        needed = sorted({*self.key, *self.clock.columns} & set(masked))
        if needed:
            raise ValueError(f"masks: {', '.join(needed)} is needed to find and judge the record; it cannot be masked")
        return self

    @property
    def carried(self) -> frozenset[IdentifierType]:
        """The types of the identifiers in its columns, and in those of the rows that go with its records."""
        return frozenset(self.identifiers).union(*(child.carried for child in self.children))

    @property
    def unmasked(self) -> tuple[str, ...]:
        """Columns with identifiers of a person that no mask covers."""
        masked = {mask.column for mask in self.masks}
        personal = (columns for kind, columns in self.identifiers.items() if kind.is_of_a_person)
        return tuple(sorted({column for columns in personal for column in columns} - masked))

    @property
    def location(self) -> str:
        """The table, as users write it."""
        return self.table


class BucketDataset(DatasetBase):
    """What datasets in a bucket state."""

    bucket: str = Field(min_length=3, max_length=63)
    prefix: str = Field(default="", pattern=r"^([^/].*)?$", description="Keys start with it; end it with a slash.")

    @property
    def location(self) -> str:
        """The prefix as a URL."""
        return f"s3://{self.bucket}/{self.prefix}"


class ObjectDataset(BucketDataset):
    """Whole objects under a prefix, with all their versions."""

    kind: Literal["objects"]
    clock: ObjectClock
    identifiers: Mapping[IdentifierType, ObjectAttribute] = Field(default_factory=dict)

    @property
    def carried(self) -> frozenset[IdentifierType]:
        """The types of the identifiers that are read from its objects."""
        return frozenset(self.identifiers)


class ParquetDataset(BucketDataset, RowDataset):
    """Rows inside Parquet files under a prefix."""

    kind: Literal["parquet"]
    key: tuple[Column, ...] = Field(
        default=(), description="Columns that name a row, for proofs; the file and row number where left out."
    )
    path_columns: Mapping[Column, DatePattern] = Field(
        default_factory=dict,
        description="Columns that the files do not have, because their keys say them (country=CZ/): by name, the "
        "pattern that finds the value, or the parts of a date, in the key.",
    )
    partition_clock: DatePattern | None = Field(
        default=None,
        description="A date in the object key that no clock of the file's rows is before; files that it shows to be "
        "unexpired are not opened. A file whose rows or statistics contradict it stops the dataset.",
    )

    @model_validator(mode="after")
    def _dates_are_clocks(self) -> Self:
        dates = {name for name, pattern in self.path_columns.items() if "value" not in _groups(pattern)}
        named = {
            "identifiers": {column for columns in self.identifiers.values() for column in columns},
            "where": {condition.column for condition in self.where},
            "keep_while": {condition.column for condition in self.keep_while},
            "key": set(self.key),
        }
        for field_name, columns in named.items():
            for column in sorted(columns & dates):
                raise ValueError(
                    f"{field_name}: {column} is made of the parts of a date in the key, which only a clock can be; add "
                    "a column to path_columns whose pattern has a group named value"
                )
        return self


Dataset = Annotated[TableDataset | ObjectDataset | ParquetDataset, Field(discriminator="kind")]


# --- how long records are kept ------------------------------------------------------------------------------------


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
            raise ValueError("at_once goes with neither by_value nor counted_from")
        return self

    @property
    def rule(self) -> str:
        """The rule in words, as the schedule says it."""
        parts = []
        if self.at_once:
            parts.append("at once")
        elif self.keep_for:
            parts.append(f"for {self.keep_for}")
        elif self.erase_within:
            parts.append(f"within {self.erase_within}, starting {self.lead_time} before")
        if self.by_value:
            parts.append(
                f"by {self.by_value.column}: " + ", ".join(f"{k} {v}" for k, v in self.by_value.periods.items())
            )
        if self.counted_from is CountedFrom.END_OF_YEAR:
            parts.append("counted from the end of the year")
        return "; ".join(parts)


class Limits(Model):
    """What one run may erase from one dataset by itself. Above either, a person decides."""

    records: int = Field(
        gt=0,
        le=_EXACT,
        strict=True,
        description="Records (rows, or objects), with the rows of child tables that go along.",
    )
    share: float = Field(gt=0, le=1, description="Share of the dataset, from above 0 to 1.")


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
    schedule: Cron | None = Field(description="Five cron fields in the time zone; null where only people start it.")
    limits: Limits
    datasets: tuple[Dataset, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _datasets_fit(self) -> Self:
        names = [dataset.name for dataset in self.datasets]
        duplicates = {name for name in names if names.count(name) > 1}
        if duplicates:
            raise ValueError(f"datasets: {', '.join(sorted(duplicates))} is there twice")
        for dataset in self.datasets:
            if self.disposition is Disposition.ANONYMISE and not _masks(dataset):
                raise ValueError(f"datasets.{dataset.name}: anonymising needs a table with masks")
            if isinstance(dataset, TableDataset) and dataset.masks and dataset.unmasked:
                raise ValueError(
                    f"datasets.{dataset.name}: masks leave {', '.join(dataset.unmasked)}, which identifies a person"
                )
            if self.disposition is Disposition.ERASE and _masks(dataset):
                raise ValueError(f"datasets.{dataset.name}: masks are for the disposition anonymise")
            by_value = self.retention.by_value
            if by_value is not None and isinstance(dataset, ParquetDataset):
                pattern = dataset.path_columns.get(by_value.column)
                if pattern is not None and "value" not in _groups(pattern):
                    raise ValueError(
                        f"datasets.{dataset.name}: by_value.column {by_value.column} is made of the parts of a date in "
                        "the key, which only a clock can be"
                    )
            if by_value is not None and isinstance(dataset, ObjectDataset):
                raise ValueError(f"datasets.{dataset.name}: by_value needs rows with columns, not objects")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the policy's canonical JSON (RFC 8785), in hexadecimal."""
        return hashlib.sha256(rfc8785.dumps(self.model_dump(mode="json", by_alias=True))).hexdigest()

    def dataset(self, name: str) -> TableDataset | ObjectDataset | ParquetDataset:
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


@dataclass(frozen=True, slots=True)
class Expiry:
    """The cutoffs of one policy at one as-of moment.

    Attributes:
        zone: the zone whose calendar days were counted; also that of clocks without a zone, unless a dataset says else.
        default: the cutoff of records that `by_value` does not name; None: those cannot be judged.
        column: the column that `by_value` refers to.
        by_value: cutoffs by the value of `column`, compared as text.
    """

    zone: ZoneInfo
    default: Cutoff | None
    column: str | None = None
    by_value: Mapping[str, Cutoff] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The cutoff days in words, for people and for evidence."""
        parts = [f"{value}: {cutoff.day.isoformat()}" for value, cutoff in sorted(self.by_value.items())]
        if self.default is not None:
            parts.insert(0, self.default.day.isoformat())
        return ", ".join(parts)


# --- reading policies ---------------------------------------------------------------------------------------------


class _StrictLoader(yaml.SafeLoader):
    """YAML that means what it looks like.

    Duplicate keys are refused, which PyYAML would take the last of. Words are words, also NO, on and 2026-11-21, and
    numbers are decimal, as in the core schema of YAML 1.2. Anchors, aliases and tags are refused: a small file could
    stand for a huge one.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise yaml.composer.ComposerError(
                None, None, "anchors, aliases and tags are not used in policies: write it out", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None):
                raise yaml.constructor.ConstructorError(None, None, "a key must be text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the field {key!r} is there twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_StrictLoader.yaml_implicit_resolvers = {}
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"-?(0|[1-9][0-9]*)$"), list("-0123456789"))
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+$"), list("-0123456789")
)


def load(path: Path) -> Policy:
    """Read one policy file.

    Raises:
        PolicyError: naming the file and the field, in one message for everything that is wrong with it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        there = ", ".join(sorted(other.stem for other in path.parent.glob("*.yaml"))) or "none"
        raise PolicyError(
            f"{path}: there is no such policy file; choose from the categories there are: {there}"
        ) from None
    except (OSError, ValueError) as error:
        raise PolicyError(f"{path}: cannot be read as UTF-8 text ({type(error).__name__}): save it as such") from None
    policy = parse(text, where=path.name)
    if policy.category != path.stem:
        raise PolicyError(f"{path.name}: category is {policy.category!r}; name the file {policy.category}.yaml")
    return policy


def parse(text: str, *, where: str) -> Policy:
    """Read a policy from YAML. `where` names its origin in messages.

    Raises:
        PolicyError: if it is not YAML or not a policy.
    """
    if len(text) > _MOST_BYTES:
        raise PolicyError(f"{where}: longer than {_MOST_BYTES:,} characters; write a policy of a page or two")
    try:
        content = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise PolicyError(
            f"{where}{line}: not YAML: {getattr(error, 'problem', None) or ' '.join(str(error).split())}"
        ) from None
    if not isinstance(content, dict):
        raise PolicyError(f"{where}: a policy is a mapping of fields; begin it with its `category`")
    try:
        return Policy.model_validate(content)
    except ValidationError as error:
        told = list(dict.fromkeys(problems_of(error.errors(include_url=False), content)))
        problems = told[:_MOST_PROBLEMS]
        more = [f"and {len(told) - _MOST_PROBLEMS} more"] if len(told) > _MOST_PROBLEMS else []
        message = f"{where}: {'; '.join(problems + more)}"  # names may have half a character, which cannot be printed
        raise PolicyError(message.encode("utf-8", "backslashreplace").decode()) from None


def load_all(folder: Path) -> dict[str, Policy]:
    """Read all policies of a folder, by category, and check that no two datasets overlap.

    Raises:
        PolicyError: naming the file and the field.
    """
    policies = {path.stem: load(path) for path in policy_files(folder)}
    problems = list(overlaps(policies.values()))
    if problems:
        raise PolicyError("; ".join(problems))
    return policies


def policy_files(folder: Path) -> list[Path]:
    """The policy files of a folder, sorted by name.

    Raises:
        PolicyError: if there are none, or one has an ending that would be overlooked.
    """
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".yaml", ".yml"))
    if not files:
        raise PolicyError(f"{folder}: there are no policies (*.yaml) in this folder: set LETHE_POLICIES to theirs")
    for path in files:
        if path.suffix != ".yaml":
            raise PolicyError(f"{path.name}: name it {path.stem}.yaml; policies end in .yaml")
    return files


def overlaps(policies: Iterable[Policy]) -> Iterator[str]:
    """A message for every pair of datasets, of one or several policies, that may have records in common."""
    everything = [(policy, dataset) for policy in policies for dataset in policy.datasets]
    for index, (policy, dataset) in enumerate(everything):
        for other_policy, other in everything[index + 1 :]:
            if may_overlap(dataset, other):
                yield (
                    f"{policy.category}.yaml datasets.{dataset.name} and {other_policy.category}.yaml "
                    f"datasets.{other.name} overlap: both have records of {dataset.location}"
                )


def may_overlap(one: Dataset, two: Dataset) -> bool:
    """Whether two datasets may have records in common, as far as their connections and names show it."""
    return one.store == two.store and _overlap(one, two)


def exclude_each_other(one: TableDataset, two: TableDataset) -> bool:
    """Whether no row can be in both, by what their `where` says."""
    return any(a.excludes(b) for a in one.where for b in two.where)


def _overlap(one: Dataset, two: Dataset) -> bool:
    if isinstance(one, TableDataset) and isinstance(two, TableDataset):
        if any(_same_table(two.table, child) for child in _child_tables(one)):
            return True  # rows of the child table would go by two periods
        if any(_same_table(one.table, child) for child in _child_tables(two)):
            return True
        return _same_table(one.table, two.table) and not exclude_each_other(one, two)
    if isinstance(one, BucketDataset) and isinstance(two, BucketDataset) and one.bucket == two.bucket:
        return one.prefix.startswith(two.prefix) or two.prefix.startswith(one.prefix)
    return False


def _child_tables(dataset: TableDataset) -> tuple[str, ...]:
    return tuple(table for child in dataset.children for table in child.tables)


def _same_table(one: str, two: str) -> bool:
    """Whether two names may mean one table: a name without a schema may be in any."""
    parts, others = name_parts(one.casefold()), name_parts(two.casefold())
    shared = min(len(parts), len(others))
    return parts[-shared:] == others[-shared:]


def json_schema() -> dict[str, Any]:
    """The JSON Schema of policy files, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Policy.model_json_schema(by_alias=True),
    }


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))  # noqa: T201 - the output of the command
