"""What people added to the checks of a category: a suite of Great Expectations for a dataset, on columns of its own.

``expectations/<category>/<dataset>.json`` says what has to be true of every expired, unheld record, as Great
Expectations writes suites to JSON. What every category is checked for (`lethe.checks.generate`) is not in it, and
`meta.lethe.earliest` moves the day before which no clock of the dataset is plausible.

Where a critical expectation does not hold, nothing of the dataset is erased; one whose `severity` is ``warning`` or
``info`` is reported. Every record is judged by itself, so that the records of a store that is no database can be read
some at a time: hence only the types of `EXPECTATIONS`. They are read from the dataset, and staged nowhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lethe.checks.generate import EARLIEST, Json
from lethe.errors import PolicyError
from lethe.messages import problems_of
from lethe.policy import Dataset, Policy, TableDataset
from lethe.settings import Settings

if TYPE_CHECKING:
    from lethe.stores.base import Store

_EARLIEST = date.fromisoformat(EARLIEST)
_COLUMN, _PAIR = ("column",), ("column_A", "column_B")
EXPECTATIONS: Mapping[str, tuple[str, ...]] = {
    "expect_column_values_to_be_in_set": _COLUMN,
    "expect_column_values_to_not_be_in_set": _COLUMN,
    "expect_column_values_to_be_between": _COLUMN,
    "expect_column_values_to_be_null": _COLUMN,
    "expect_column_values_to_not_be_null": _COLUMN,
    "expect_column_values_to_match_regex": _COLUMN,
    "expect_column_values_to_not_match_regex": _COLUMN,
    "expect_column_value_lengths_to_be_between": _COLUMN,
    "expect_column_pair_values_to_be_equal": _PAIR,
    "expect_column_pair_values_a_to_be_greater_than_b": _PAIR,
}
"""The types of expectations that can be added, with the arguments that name columns."""
AS_OF = "as_of"
"""The parameter that stands for the run's as-of moment: ``{"$PARAMETER": "as_of"}``."""


class _Loose(BaseModel):
    """Base of what is read of the files; Great Expectations knows the rest."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Expectation(_Loose):
    id: UUID
    type: str
    description: str = Field(min_length=1)
    severity: Literal["critical", "warning", "info"]


class _Lethe(_Loose):
    earliest: date | None = None


class _Meta(_Loose):
    lethe: _Lethe = _Lethe()


class _Suite(_Loose):
    name: str
    expectations: list[_Expectation]
    meta: _Meta = _Meta()


@dataclass(frozen=True, slots=True)
class Added:
    """What was added for a dataset.

    Attributes:
        file: where it says so; None: nowhere.
        suite: the suite, as Great Expectations takes it.
        earliest: no clock of the dataset is plausible before it.
    """

    file: Path | None
    suite: Json
    earliest: date = _EARLIEST

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the dataset that it is about."""
        named = (one["kwargs"][name] for one in self.suite["expectations"] for name in EXPECTATIONS[one["type"]])
        return tuple(dict.fromkeys(named))


def load(settings: Settings, category: str, dataset: str) -> Added:
    """What was added for a dataset.

    Raises:
        PolicyError: if there is no folder of expectations, or the file cannot be used.
    """
    if not settings.expectations.is_dir():
        raise PolicyError(
            f"there is no folder {settings.expectations}, which has what was added to the checks: set "
            "LETHE_EXPECTATIONS to it, or make an empty one"
        )
    path = settings.expectations / category / f"{dataset}.json"
    try:
        text = path.read_text(encoding="utf-8")
        suite = _Suite.model_validate_json(text)
    except FileNotFoundError:
        return Added(None, {"name": f"{category}.{dataset}", "expectations": []})
    except ValidationError as error:
        wrong = "; ".join(problems_of(error.errors(include_url=False), {}))
        raise PolicyError(f"{path}: not a suite: {wrong}") from None
    except (OSError, ValueError) as error:
        raise PolicyError(f"{path}: cannot be read as UTF-8 text ({type(error).__name__}): mend it") from None
    content: Json = json.loads(text)
    if wrong := "; ".join(_problems(suite, content, f"{category}.{dataset}")):
        raise PolicyError(f"{path}: {wrong}")
    return Added(path, content, suite.meta.lethe.earliest or _EARLIEST)


def _problems(suite: _Suite, content: Json, name: str) -> Iterator[str]:
    if suite.name != name:
        yield f"name: write {name}"
    if len({one.id for one in suite.expectations}) < len(suite.expectations):
        yield "two expectations have the same id: give each one of its own"
    for number, one in enumerate(content["expectations"]):
        for problem in _wrong(one):
            yield f"expectations.{number}.{problem}"


def _wrong(expectation: Json) -> Iterator[str]:
    kind, arguments = expectation["type"], expectation.get("kwargs")
    if kind not in EXPECTATIONS:
        yield f"type: {kind!r} does not judge every record by itself: write one of {', '.join(EXPECTATIONS)}"
        return
    if not isinstance(arguments, dict):
        yield "kwargs: write the arguments, the column among them"
        return
    mostly = arguments.get("mostly", 1)
    if isinstance(mostly, bool) or not isinstance(mostly, int | float) or not 0 < mostly <= 1:
        yield "kwargs.mostly: write a number above 0, up to 1"
    for name in EXPECTATIONS[kind]:
        if not isinstance(arguments.get(name), str) or not arguments[name]:
            yield f"kwargs.{name}: write the name of a column"
    if "row_condition" in arguments:
        yield "kwargs.row_condition: would read columns that are not named: leave it out"
    for name, value in arguments.items():
        if isinstance(value, dict) and value != {"$PARAMETER": AS_OF}:
            yield f'kwargs.{name}: there is no such parameter: write {{"$PARAMETER": "{AS_OF}"}}, or a value'
    if kind.endswith("match_regex"):
        try:
            re.compile(str(arguments.get("regex", "(")))
        except re.error:
            yield "kwargs.regex: is not a regular expression: write one"


def problems(settings: Settings, policy: Policy) -> list[str]:
    """What keeps the added checks of a category from being used: one message each, none if all is well."""
    folder = settings.expectations / policy.category
    named = {f"{dataset.name}.json" for dataset in policy.datasets}
    found = [
        f"{path}: there is no dataset {path.stem} in {policy.category}.yaml: name the file after one, or remove it"
        for path in (sorted(folder.glob("*")) if folder.is_dir() else [])
        if path.name not in named
    ]
    for dataset in policy.datasets:
        try:
            load(settings, policy.category, dataset.name)
        except PolicyError as error:
            found.append(str(error))
    return list(dict.fromkeys(found))


def refused(settings: Settings, policy: Policy) -> list[str]:
    """A message for each added expectation that Great Expectations does not take. Imports it, where some were added."""
    found = []
    for dataset in policy.datasets:
        try:
            own = load(settings, policy.category, dataset.name)
        except PolicyError:
            continue  # `problems` says so
        if own.columns:
            from lethe.checks import gx

            found += [
                f"{own.file}: expectations.{number}.kwargs: Great Expectations does not take them: write what its "
                f"documentation of {own.suite['expectations'][number]['type']} says"
                for number in gx.refused(own.suite)
            ]
    return found


def unknown_columns(settings: Settings, category: str, dataset: Dataset, store: Store) -> list[str]:
    """A message where what was added is about columns that the dataset's table does not have.

    Columns of files are told when they are read, because each file has its own.

    Raises:
        StoreError, StoreUnavailable: if the table cannot be looked at.
    """
    try:
        own = load(settings, category, dataset.name)
    except PolicyError:
        return []  # `problems` says so
    if not own.columns or not isinstance(dataset, TableDataset):
        return []
    several = ", ".join(name for name in own.columns if dataset.is_of_many(name))
    if several:
        return [f"{own.file}: {several} is of many rows, and a check is of one value of a record: leave it out"]
    described = store.describe(dataset)
    there = {field.name for field in described.fields}
    there |= {f"{name}.{field.name}" for name, row in described.judged_by.items() for field in row.fields}
    lacking = ", ".join(name for name in own.columns if name not in there)
    return [f"{own.file}: table {dataset.table} has no column {lacking}: correct it"] if lacking else []
