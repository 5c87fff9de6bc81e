"""Runs suites with Great Expectations. The only module that imports it, and only when something is to be checked.

In a database it works on a connection of the store: the rows become a temporary table of it, which is gone with it,
every expectation is a count over that table, and nothing but counts is fetched. Were it given a
query instead, it would fetch all its rows just to learn the names of their columns (1.24); were it given a URL, it
would know the password.

Records of stores that are no databases are checked in memory, some at a time.

It knows no files and sends nothing anywhere: an ephemeral context, without analytics and progress bars. What it logs
or raises may quote statements and values, so it is kept silent, and only its verdicts and counts are passed on.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from lethe.checks.generate import Json
from lethe.checks.lazy import loading_later
from lethe.checks.results import ExpectationResult
from lethe.errors import StoreError, StoreUnavailable
from lethe.stores.sources import Query, SqlSource, unlogged_rows

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core import ExpectationSuiteValidationResult

_COUNTS_ONLY = {"result_format": "BASIC", "partial_unexpected_count": 0}
_POOLED_BY_GX = frozenset({"sqlite", "mssql"})
"""Databases for which Great Expectations sets this pool itself (1.24, `_dialect_requires_persisted_connection`)."""
_AT_ONCE = 100_000
"""Records of a store that is no database that are checked at a time."""
_ROWS = "lethe_rows"
"""The temporary table. Nobody else sees it."""


@dataclass(frozen=True, slots=True)
class Check:
    """A suite and what it is about.

    Attributes:
        suite: the suite.
        query: the rows that it is about.
        parameters: the values of its parameters.
        counts: whether the rows are records, so that how many break an expectation says something.
    """

    suite: Json
    query: Query
    parameters: Mapping[str, object]
    counts: bool = False


def refused(suite: Json) -> list[int]:
    """The expectations that Great Expectations does not take, by their number: wrong arguments, or such as it lacks."""
    found = []
    with _silence():
        for number, one in enumerate(suite["expectations"]):
            try:
                _suite(suite["name"], [one])
            except Exception:  # noqa: BLE001 - Great Expectations raises and wraps anything
                found.append(number)
    return found


def evaluate_frames(
    dataset: str, frames: Iterable[pd.DataFrame], suite: Json, parameters: Mapping[str, object]
) -> tuple[ExpectationResult, ...]:
    """Evaluate a suite whose expectations judge every record by itself, on some records after the other.

    Raises:
        StoreUnavailable, StoreError: as they are read, or if Great Expectations cannot check them.
    """
    outcomes: list[_ById] = []
    with _silence():
        for frame in _larger(frames):
            try:
                outcomes.append(_by_id(_validate_frame(frame, suite, parameters)))
            except Exception as error:  # noqa: BLE001 - Great Expectations raises and wraps anything
                raise _unchecked(dataset, suite, error) from None
    return tuple(_results(suite, outcomes, counts=True))


def evaluate(dataset: str, source: SqlSource, checks: Sequence[Check]) -> tuple[ExpectationResult, ...]:
    """Evaluate suites in the database of `source`, one after the other.

    Raises:
        StoreUnavailable, StoreError: if the database cannot be reached, breaks off, or does not let the rows be read.
    """
    return tuple(result for check in checks for result in _evaluate(dataset, source, check))


def _evaluate(dataset: str, source: SqlSource, check: Check) -> list[ExpectationResult]:
    with source.connect() as connection, _temporary(connection, check.query), _silence():
        lent = _Lent(connection)
        try:
            outcome = _validate(lent, check)
        except Exception as error:  # noqa: BLE001 - Great Expectations raises and wraps anything
            raise lent.refusal(dataset) or _unchecked(dataset, check.suite, error) from None
        refusal = lent.refusal(dataset)
    if refusal is not None:
        raise refusal
    return list(_results(check.suite, [_by_id(outcome)], counts=check.counts))


def _unchecked(dataset: str, suite: Json, error: Exception) -> StoreError:
    return StoreError(
        f"{dataset}: Great Expectations cannot check {suite['name']} ({type(_cause(error)).__name__}); "
        "nothing is erased"
    )


@contextmanager
def _temporary(connection: sa.Connection, query: Query) -> Iterator[None]:
    """The rows as a temporary table, gone with the connection at the latest."""
    connection.execute(sa.CreateTableAs(query, _ROWS, temporary=True))
    connection.commit()
    try:
        yield
    finally:
        connection.invalidate()


class _Lent:
    """A connection lent to Great Expectations; remembers whether it broke, which Great Expectations does not tell."""

    def __init__(self, connection: sa.Connection) -> None:
        self.backend = connection.dialect.name
        self.url = f"{connection.dialect.name}+{connection.dialect.driver}://"
        self._driver_connection = connection.connection.driver_connection
        self._broken = False

    def open(self) -> object:
        """For engines, as their `creator`."""
        return self._driver_connection

    def watch(self, engine: sa.Engine) -> None:
        """Note what happens to an engine of it."""
        sa.event.listen(engine, "handle_error", self._note)

    def _note(self, context: sa.ExceptionContext) -> None:
        self._broken = self._broken or context.is_disconnect

    def refusal(self, dataset: str) -> StoreUnavailable | None:
        """Why nothing can be said, if it broke."""
        if not self._broken:
            return None
        return StoreUnavailable(f"{dataset}: the database broke off while it was checked; nothing is erased, try again")


@contextmanager
def _silence() -> Iterator[None]:
    logger = logging.getLogger("great_expectations")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _validate(lent: _Lent, check: Check) -> ExpectationSuiteValidationResult:
    name = check.suite["name"]
    with _datasource(lent) as datasource:
        asset = datasource.add_table_asset(name, table_name=_ROWS)
        return _validated(asset.add_batch_definition_whole_table(name).get_batch(), check.suite, check.parameters)


def _validate_frame(
    frame: pd.DataFrame, suite: Json, parameters: Mapping[str, object]
) -> ExpectationSuiteValidationResult:
    name = suite["name"]
    asset = _context().data_sources.add_pandas("records").add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe(name).get_batch({"dataframe": frame})
    return _validated(batch, suite, parameters)


def _validated(
    batch: Any,  # noqa: ANN401 - one of GX's classes
    suite: Json,
    parameters: Mapping[str, object],
) -> ExpectationSuiteValidationResult:
    return batch.validate(
        _suite(suite["name"], suite["expectations"]),
        result_format=_COUNTS_ONLY,
        expectation_parameters=dict(parameters),
    )


def _suite(name: str, expectations: list[Json]) -> Any:  # noqa: ANN401 - one of GX's classes
    with loading_later():
        from great_expectations.core import ExpectationSuite

    return ExpectationSuite(name=name, expectations=expectations)


def _larger(frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Frames of some size, for each has its price."""
    import pandas as pd

    held: list[pd.DataFrame] = []
    for frame in frames:
        held.append(frame)
        if sum(map(len, held)) >= _AT_ONCE:
            yield pd.concat(held, ignore_index=True)
            held = []
    if held:
        yield pd.concat(held, ignore_index=True)


def _context() -> Any:  # noqa: ANN401 - one of GX's classes
    with loading_later():
        import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    return gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(),
            analytics_enabled=False,
            progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
        ),
    )


@contextmanager
def _datasource(lent: _Lent) -> Iterator[Any]:
    pool = {} if lent.backend in _POOLED_BY_GX else {"poolclass": sa.StaticPool}  # it makes two engines
    datasource = _context().data_sources.add_sql(
        "store", connection_string=lent.url, kwargs={"creator": lent.open, **unlogged_rows(), **pool}
    )
    reading = datasource.get_execution_engine()
    lent.watch(reading.engine)
    try:
        yield datasource
    finally:
        reading.close()
        datasource.get_engine().dispose()


_ById = dict[str | None, Any]


def _by_id(outcome: ExpectationSuiteValidationResult) -> _ById:
    return {one.expectation_config.id: one for one in outcome.results}


def _results(suite: Json, outcomes: Sequence[_ById], *, counts: bool) -> Iterator[ExpectationResult]:
    for expectation in suite["expectations"]:
        yield _result(expectation, [by_id.get(expectation["id"]) for by_id in outcomes], counts=counts)


def _result(expectation: Json, outcomes: Sequence[Any], *, counts: bool) -> ExpectationResult:
    """What an expectation said of all records, of which each outcome is about some."""
    evaluated = all(outcome is not None and not _raised(outcome.exception_info) for outcome in outcomes)
    numbers = [outcome.result.get("unexpected_count") for outcome in outcomes if evaluated and counts]
    description = expectation.get("description") or ""
    return ExpectationResult(
        id=expectation["id"],
        type=expectation["type"],
        column=_column(expectation.get("kwargs", {})),
        success=evaluated and _holds(expectation, outcomes),
        asks=expectation["severity"] != "critical",
        unexpected=None if None in numbers or not (evaluated and counts) else sum(map(int, numbers)),
        description=description if evaluated else f"{description} It could not be evaluated.".strip(),
    )


def _column(arguments: Json) -> str | None:
    """The column, or both of a pair."""
    pair = [arguments[name] for name in ("column_A", "column_B") if name in arguments]
    return arguments.get("column") or ", ".join(pair) or None


def _holds(expectation: Json, outcomes: Sequence[Any]) -> bool:
    """Whether it holds for all, or for as many as its `mostly` says."""
    mostly = expectation.get("kwargs", {}).get("mostly")
    if mostly is None:
        return all(outcome.success for outcome in outcomes)
    judged = sum(one.result["element_count"] - (one.result.get("missing_count") or 0) for one in outcomes)
    broken = sum(one.result["unexpected_count"] for one in outcomes)
    return bool(broken <= judged * (1 - Fraction(str(mostly))))


def _raised(exception_info: Mapping[str, Any] | None) -> bool:
    """Whether an expectation raised; Great Expectations says so once, or once for every metric."""
    if not exception_info:
        return False
    if "raised_exception" in exception_info:
        return bool(exception_info["raised_exception"])
    return any(bool(one.get("raised_exception")) for one in exception_info.values())


def _cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
