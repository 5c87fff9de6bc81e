"""Great Expectations on candidates before erasing, and on a dataset after.

`lethe.checks.generate` has the suites that all categories are checked with: on every candidate, on how many there are,
and on what is left afterwards. `lethe.checks.added` has what people added for a dataset, on its own columns. Suites of
a SQL store are checked in its database, on what is staged there. Results are counts and verdicts; no value of a record
leaves this package, and what Great Expectations reports of its own is not passed on.

This module does not import Great Expectations; `lethe.checks.gx` does, when something is to be checked.
"""

from __future__ import annotations

import math
import tempfile
from fractions import Fraction
from pathlib import Path

import sqlalchemy as sa

from lethe.checks import added, generate
from lethe.checks.added import Added
from lethe.checks.generate import CANDIDATES, COUNT, LEFT
from lethe.checks.results import ExpectationResult, Validation
from lethe.counts import Found
from lethe.errors import StoreError
from lethe.policy import Limits
from lethe.settings import Settings
from lethe.stores.base import Candidates, Store, Work
from lethe.stores.sources import GivesCandidates, GivesRecords, Query, RowSource, SqlSource


def check_candidates(
    settings: Settings, store: Store, work: Work, candidates: Candidates, limits: Limits
) -> Validation:
    """Check the staged candidates of a dataset, their number, and what was added on columns of the dataset.

    An expectation that could not be evaluated counts as failed.

    Raises:
        PolicyError: if what was added cannot be used.
        StoreError, StoreUnavailable: if what is staged, or what was added is about, cannot be read.
    """
    from lethe.checks import gx, pages, spool

    if not isinstance(store, GivesCandidates):
        raise StoreError(
            f"{_name(work)}: its store gives no candidates to check; nothing is erased: name another kind of dataset"
        )
    own = added.load(settings, work.category, work.dataset.name)
    by_value, on_request = work.expiry.column is not None, work.expiry.on_request
    rows = generate.suite(work.category, CANDIDATES, by_value=by_value, on_request=on_request)
    count = generate.suite(work.category, COUNT)
    with tempfile.TemporaryDirectory(prefix="lethe-") as folder:
        given = store.candidates_source(work, candidates)
        source = spool.as_table(given, Path(folder)) if isinstance(given, RowSource) else given
        results = gx.evaluate(
            _name(work),
            source,
            [
                gx.Check(rows, source.query, _row_parameters(work, own), counts=True),
                gx.Check(count, _number_of(source.query), _count_parameters(candidates, limits)),
            ],
        )
    validation = Validation(suite=rows["name"], results=results + _own(store, work, candidates, own))
    pages.write(settings, work, pages.BEFORE, validation)
    return validation


def check_left(settings: Settings, work: Work, left: Found) -> Validation:
    """Check that nothing is left in a dataset that should have gone, by what the store's survey found.

    Raises:
        StoreError: if it cannot be checked.
    """
    from lethe.checks import gx, pages

    suite = generate.suite(work.category, LEFT)
    source = _surveyed(left)
    results = gx.evaluate(_name(work), source, [gx.Check(suite, source.query, {"held": left.held})])
    validation = Validation(suite=suite["name"], results=results)
    pages.write(settings, work, pages.AFTER, validation)
    return validation


def _name(work: Work) -> str:
    return f"{work.category}.{work.dataset.name}"


def _own(store: Store, work: Work, candidates: Candidates, own: Added) -> tuple[ExpectationResult, ...]:
    """What was added, on the records themselves: in the database where they are in one, else some at a time."""
    if not own.columns:
        return ()
    from lethe.checks import gx

    if not isinstance(store, GivesRecords):
        raise StoreError(f"{_name(work)}: its store gives no records for {own.file}: name another kind of dataset")
    parameters = {added.AS_OF: work.as_of}
    try:
        source = store.records_source(work, candidates, own.columns)
        if isinstance(source, SqlSource):
            return gx.evaluate(_name(work), source, [gx.Check(own.suite, source.query, parameters, counts=True)])
        return gx.evaluate_frames(_name(work), source.frames, own.suite, parameters)
    except StoreError as error:
        raise type(error)(f"{own.file}: {error}") from None


def _number_of(query: Query) -> Query:
    records = query.subquery().c.records
    return sa.select(sa.func.coalesce(sa.func.sum(records), 0).label("records"))


def _surveyed(left: Found) -> SqlSource:
    """What a survey says, as the single row of a table of its own."""
    row = {"expired": left.expired - left.kept_on, "unjudgeable": left.unjudged}
    engine = sa.create_engine("sqlite://", poolclass=sa.NullPool)
    return SqlSource(engine.connect, sa.select(*(sa.literal(count).label(name) for name, count in row.items())))


def _row_parameters(work: Work, own: Added) -> dict[str, object]:
    if work.expiry.on_request:
        return {}  # their clocks decide nothing, and no expectation asks for one
    cutoffs = [cutoff for cutoff in (work.expiry.default, *work.expiry.by_value.values()) if cutoff is not None]
    return {"cutoff": max(cutoff.day for cutoff in cutoffs), "earliest": own.earliest}


def _count_parameters(candidates: Candidates, limits: Limits) -> dict[str, object]:
    # As a fraction of what the policy says in decimal, so that 57 of 100 records are within a share of 0.57.
    share = Fraction(str(limits.share)) * candidates.total
    return {"due": candidates.due, "records": limits.records, "share": math.floor(share)}
