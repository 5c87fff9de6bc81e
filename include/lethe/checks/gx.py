"""Runs suites with Great Expectations. The only module that imports it, and only when something is to be checked.

Great Expectations works in the database, on a connection of the store: the rows become a temporary table of it, which
is gone with it, every expectation is a count over that table, and nothing but counts is fetched. Were it given a
query instead, it would fetch all its rows just to learn the names of their columns (1.24); were it given a URL, it
would know the password.

It knows no files and sends nothing anywhere: an ephemeral context, without analytics and progress bars. What it logs
or raises may quote statements and values, so it is kept silent, and only its verdicts and counts are passed on.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from lethe.checks.generate import Json
from lethe.checks.lazy import loading_later
from lethe.checks.results import ExpectationResult
from lethe.errors import StoreError, StoreUnavailable
from lethe.stores.sources import Query, SqlSource, unlogged_rows

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult

_COUNTS_ONLY = {"result_format": "BASIC", "partial_unexpected_count": 0}
_POOLED_BY_GX = frozenset({"sqlite", "mssql"})
"""Databases for which Great Expectations sets this pool itself (1.24, `_dialect_requires_persisted_connection`)."""
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
            raise lent.refusal(dataset) or StoreError(
                f"{dataset}: Great Expectations cannot check {check.suite['name']} ({type(_cause(error)).__name__}); "
                "nothing is erased"
            ) from None
        refusal = lent.refusal(dataset)
    if refusal is not None:
        raise refusal
    return list(_results(check, outcome))


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
    with loading_later():
        from great_expectations.core import ExpectationSuite

    name = check.suite["name"]
    with _datasource(lent) as datasource:
        asset = datasource.add_table_asset(name, table_name=_ROWS)
        return (
            asset.add_batch_definition_whole_table(name)
            .get_batch()
            .validate(
                ExpectationSuite(name=name, expectations=check.suite["expectations"]),
                result_format=_COUNTS_ONLY,
                expectation_parameters=dict(check.parameters),
            )
        )


@contextmanager
def _datasource(lent: _Lent) -> Iterator[Any]:
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    context = gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(),
            analytics_enabled=False,
            progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
        ),
    )
    pool = {} if lent.backend in _POOLED_BY_GX else {"poolclass": sa.StaticPool}  # it makes two engines
    datasource = context.data_sources.add_sql(
        "store", connection_string=lent.url, kwargs={"creator": lent.open, **unlogged_rows(), **pool}
    )
    reading = datasource.get_execution_engine()
    lent.watch(reading.engine)
    try:
        yield datasource
    finally:
        reading.close()
        datasource.get_engine().dispose()


def _results(check: Check, outcome: ExpectationSuiteValidationResult) -> Iterator[ExpectationResult]:
    by_id = {one.expectation_config.id: one for one in outcome.results}
    for expectation in check.suite["expectations"]:
        yield _result(expectation, by_id.get(expectation["id"]), counts=check.counts)


def _result(expectation: Json, outcome: Any, *, counts: bool) -> ExpectationResult:  # noqa: ANN401 - one of GX's classes
    evaluated = outcome is not None and not _raised(outcome.exception_info)
    count = outcome.result.get("unexpected_count") if evaluated and counts else None
    description = expectation.get("description") or ""
    return ExpectationResult(
        id=expectation["id"],
        type=expectation["type"],
        column=expectation.get("kwargs", {}).get("column"),
        success=bool(evaluated and outcome.success),
        asks=bool(expectation["meta"]["lethe"].get("asks")),
        unexpected=int(count) if count is not None else None,
        description=description if evaluated else f"{description} It could not be evaluated.".strip(),
    )


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
