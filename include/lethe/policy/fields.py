"""What fields of policies are made of: names, columns, periods, zones, schedules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterError, croniter
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

from lethe.judging.identifiers import IdentifierType, require_region
from lethe.periods import Period
from lethe.working_days import known_calendar

NAME = r"^[a-z][a-z0-9_]{0,62}$"
_NO_CIVIL_TIME = ("right/", "posix/", "localtime", "posixrules", "Factory")
"""Files among the time zones that count leap seconds, or mean what a machine is set to."""
EXACT = 2**53 - 1
"""The largest whole number that JSON carries exactly (RFC 8785)."""

Name = Annotated[str, Field(pattern=NAME, description="Lower-case letters, digits and underscores, a letter first.")]
Column = Annotated[str, Field(min_length=1, max_length=128)]
Columns = Annotated[tuple[Column, ...], Field(min_length=1)]
WholeNumber = Annotated[int, Field(ge=-EXACT, le=EXACT)]
Identifiers = Mapping[IdentifierType, Columns]
Region = Annotated[str, AfterValidator(require_region)]


def _parse_period(value: object) -> Period:
    if not isinstance(value, str | Period):
        raise ValueError("is not a period: write an ISO 8601 duration such as P18M, P60D or P3Y")
    return value if isinstance(value, Period) else Period.parse(value)


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
        raise ValueError(f"{expression!r} is a schedule that never comes: write a day that there is") from error
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
