"""Great Expectations on candidates before erasing, and on a dataset after.

The suites are JSON files in `Settings.expectations`, a folder a category: ``candidates.json`` (every candidate),
``count.json`` (how many there are) and ``left.json`` (what is left afterwards). `lethe.checks.generate` makes those of
a new category. Suites of a SQL store are checked in its database, on what is staged there. Results are counts and
verdicts; no value of a record leaves this package, and what Great Expectations reports of its own is not passed on.

This module does not import Great Expectations; `lethe.checks.gx` does, when something is to be checked.
"""

from __future__ import annotations

import json
import math
import tempfile
from datetime import date
from fractions import Fraction
from pathlib import Path
from uuid import UUID

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lethe.checks import generate
from lethe.checks.generate import CANDIDATES, LEFT, Json
from lethe.checks.results import Validation
from lethe.counts import Found
from lethe.errors import PolicyError, StoreError
from lethe.messages import problems_of
from lethe.policy import Limits, Policy
from lethe.settings import Settings
from lethe.stores.base import Candidates, Store, Work
from lethe.stores.sources import GivesCandidates, Query, RowSource, SqlSource


def check_candidates(
    settings: Settings, store: Store, work: Work, candidates: Candidates, limits: Limits
) -> Validation:
    """Check the staged candidates of a dataset, and their number.

    An expectation that could not be evaluated counts as failed.

    Raises:
        PolicyError: if the category's suites are missing or cannot be used.
        StoreError, StoreUnavailable: if what is staged cannot be read.
    """
    from lethe.checks import gx, pages, spool

    if not isinstance(store, GivesCandidates):
        raise StoreError(
            f"{_name(work)}: its store gives no candidates to check; nothing is erased: name another kind of dataset"
        )
    rows, count, _ = (load(settings, work.category, name, by_value=_by_value(work)) for name in generate.SUITES)
    with tempfile.TemporaryDirectory(prefix="lethe-") as folder:
        given = store.candidates_source(work, candidates)
        source = spool.as_table(given, Path(folder)) if isinstance(given, RowSource) else given
        results = gx.evaluate(
            _name(work),
            source,
            [
                gx.Check(rows, source.query, _row_parameters(work, rows), counts=True),
                gx.Check(count, _number_of(source.query), _count_parameters(candidates, limits)),
            ],
        )
    validation = Validation(suite=rows["name"], results=results)
    pages.write(settings, work, pages.BEFORE, validation)
    return validation


def check_left(settings: Settings, work: Work, left: Found) -> Validation:
    """Check that nothing is left in a dataset that should have gone, by what the store's survey found.

    Raises:
        PolicyError: if the category's suites are missing or cannot be used.
    """
    from lethe.checks import gx, pages

    suite = load(settings, work.category, LEFT, by_value=_by_value(work))
    source = _surveyed(left)
    results = gx.evaluate(_name(work), source, [gx.Check(suite, source.query, {"held": left.held})])
    validation = Validation(suite=suite["name"], results=results)
    pages.write(settings, work, pages.AFTER, validation)
    return validation


def _name(work: Work) -> str:
    return f"{work.category}.{work.dataset.name}"


def _by_value(work: Work) -> bool:
    return work.expiry.column is not None


def _number_of(query: Query) -> Query:
    records = query.subquery().c.records
    return sa.select(sa.func.coalesce(sa.func.sum(records), 0).label("records"))


def _surveyed(left: Found) -> SqlSource:
    """What a survey says, as the single row of a table of its own."""
    row = {"expired": left.expired - left.kept_on, "unjudgeable": left.unjudged}
    engine = sa.create_engine("sqlite://", poolclass=sa.NullPool)
    return SqlSource(engine.connect, sa.select(*(sa.literal(count).label(name) for name, count in row.items())))


def _row_parameters(work: Work, suite: Json) -> dict[str, object]:
    cutoffs = [cutoff for cutoff in (work.expiry.default, *work.expiry.by_value.values()) if cutoff is not None]
    return {
        "cutoff": max(cutoff.day for cutoff in cutoffs),
        "earliest": date.fromisoformat(suite["meta"]["lethe"]["earliest"]),
    }


def _count_parameters(candidates: Candidates, limits: Limits) -> dict[str, object]:
    # As a fraction of what the policy says in decimal, so that 57 of 100 records are within a share of 0.57.
    share = Fraction(str(limits.share)) * candidates.total
    return {"due": candidates.due, "records": limits.records, "share": math.floor(share)}


# --- suite files --------------------------------------------------------------------------------------------------


class _Loose(BaseModel):
    """Base of what is read of suite files; Great Expectations knows the rest."""

    model_config = ConfigDict(extra="allow", frozen=True)


class _Lethe(_Loose):
    promise: int = Field(ge=1, le=10)
    asks: bool = False


class _ExpectationMeta(_Loose):
    lethe: _Lethe


class _Expectation(_Loose):
    id: UUID
    type: str
    meta: _ExpectationMeta


class _SuiteLethe(_Loose):
    earliest: date


class _SuiteMeta(_Loose):
    lethe: _SuiteLethe | None = None


class _Suite(_Loose):
    name: str
    id: UUID
    expectations: list[_Expectation] = Field(min_length=1)
    meta: _SuiteMeta


def load(settings: Settings, category: str, name: str, *, by_value: bool = False) -> Json:
    """A suite of a category, with all that it has to have.

    Raises:
        PolicyError: if the file is missing, is not a suite, or lacks an expectation that a category has to have.
    """
    path = settings.expectations / category / f"{name}.json"
    again = f"`python -m lethe.checks.generate {category}`"
    try:
        text = path.read_text(encoding="utf-8")
        suite = _Suite.model_validate_json(text)
    except FileNotFoundError:
        raise PolicyError(f"{category}: there is no suite {path}: make it with {again}") from None
    except ValidationError as error:
        found = "; ".join(problems_of(error.errors(include_url=False), {}))
        raise PolicyError(f"{path}: not a suite: {found}; mend it, or make it anew with {again}") from None
    except (OSError, ValueError) as error:
        raise PolicyError(
            f"{path}: cannot be read ({type(error).__name__}); mend it, or make it anew with {again}"
        ) from None
    content: Json = json.loads(text)
    if (problem := _problem(suite, content, category, name, by_value)) is not None:
        raise PolicyError(f"{path}: {problem}: make it anew with {again}, or mend it")
    return content


def _problem(suite: _Suite, content: Json, category: str, name: str, by_value: bool) -> str | None:
    there = {one["id"]: one for one in content["expectations"]}
    needed = generate.suite(category, name, by_value=by_value)
    changed = [one["meta"]["lethe"]["name"] for one in needed["expectations"] if there.get(one["id"]) != one]
    if suite.name != needed["name"]:
        return f"its name must be {needed['name']}"
    if len(there) < len(suite.expectations):
        return "two expectations have the same id"
    if name == CANDIDATES and suite.meta.lethe is None:
        return "meta.lethe.earliest is missing"
    return f"{', '.join(changed)} is missing or was changed" if changed else None


def problems(settings: Settings, policy: Policy) -> list[str]:
    """What keeps a category's suites from being used: one message each, none if all is well."""
    found = []
    for name in generate.SUITES:
        try:
            load(settings, policy.category, name, by_value=policy.retention.by_value is not None)
        except PolicyError as error:
            found.append(str(error))
    return found
