"""Runs suites with Great Expectations. The only module that imports it, and only when something is to be checked.

Great Expectations reads the rows in their own database: each query becomes a temporary table of one connection, which
is gone with it, and every expectation is a count over that table. Nothing but counts is fetched. Without the temporary
table, it would fetch all rows of a query just to learn its columns' names (1.24).

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
from lethe.checks.results import ExpectationResult
from lethe.errors import StoreError, StoreUnavailable
from lethe.stores.sources import Query, SqlSource

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult

_COUNTS_ONLY = {"result_format": "BASIC", "partial_unexpected_count": 0}
_TEXT_PASSES = 2
"""How often a query goes through SQLAlchemy's `text` before it is run, each time losing one level of escapes."""


@dataclass(frozen=True, slots=True)
class Check:
    """A suite, the rows that it is about, and the values of its parameters."""

    suite: Json
    query: Query
    parameters: Mapping[str, object]


def evaluate(dataset: str, source: SqlSource, checks: Sequence[Check]) -> tuple[ExpectationResult, ...]:
    """Evaluate suites in the database of `source`, one after the other on one connection.

    Raises:
        StoreUnavailable: if the database cannot be reached, or broke off.
        StoreError: if the rows cannot be read.
    """
    results: list[ExpectationResult] = []
    with _silence(), _opened(dataset, source) as (datasource, connection):
        for check in checks:
            try:
                outcome = _validate(datasource, connection.engine, check)
            except Exception as error:  # noqa: BLE001 - Great Expectations raises and wraps anything
                connection.refuse_if_broken(dataset)
                raise StoreError(
                    f"{dataset}: the rows that {check.suite['name']} is about cannot be read "
                    f"({type(_cause(error)).__name__}); nothing is erased"
                ) from None
            connection.refuse_if_broken(dataset)
            results.extend(_results(check.suite, outcome))
    return tuple(results)


class _Connection:
    """The connection on which rows are read; remembers whether it broke, which Great Expectations does not tell."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self._broken = False
        sa.event.listen(engine, "handle_error", self._note)

    def _note(self, context: sa.ExceptionContext) -> None:
        self._broken = self._broken or context.is_disconnect

    def refuse_if_broken(self, dataset: str) -> None:
        if self._broken:
            raise StoreUnavailable(
                f"{dataset}: the database broke off while it was checked; nothing is erased, try again"
            )


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


@contextmanager
def _opened(dataset: str, source: SqlSource) -> Iterator[tuple[Any, _Connection]]:
    try:
        datasource = _datasource(source.url)
    except Exception as error:  # noqa: BLE001 - Great Expectations raises and wraps anything
        raise StoreUnavailable(
            f"{dataset}: the database cannot be reached for checking it ({type(_cause(error)).__name__}); "
            "nothing is erased, try again"
        ) from None
    connection = _Connection(datasource.get_execution_engine().engine)
    if source.prepare is not None:
        source.prepare(connection.engine)
    try:
        yield datasource, connection
    finally:
        for engine in (connection.engine, datasource.get_engine()):  # it has a second one, for looking at assets
            engine.dispose()


def _datasource(url: sa.URL) -> Any:  # noqa: ANN401 - one of GX's classes
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
    # Not `add_postgres`: its URLs need a host, and a Unix socket has none.
    return context.data_sources.add_sql(
        "store",
        connection_string=url.render_as_string(hide_password=False),
        create_temp_table=True,
        kwargs=_single_connection(url),
    )


def _single_connection(url: sa.URL) -> dict[str, Any]:
    """Temporary tables are seen by their own connection only; for SQLite, Great Expectations sees to it itself."""
    return {} if url.get_backend_name() == "sqlite" else {"poolclass": sa.StaticPool}


def _validate(datasource: Any, engine: sa.Engine, check: Check) -> ExpectationSuiteValidationResult:  # noqa: ANN401
    from great_expectations.core import ExpectationSuite

    name = check.suite["name"]
    asset = datasource.add_query_asset(name, query=_text(check.query, engine))
    batch = asset.add_batch_definition_whole_table(name).get_batch()
    return batch.validate(
        ExpectationSuite(name=name, expectations=check.suite["expectations"]),
        result_format=_COUNTS_ONLY,
        expectation_parameters=dict(check.parameters),
    )


def _text(query: Query, engine: sa.Engine) -> str:
    """The query as text, with what SQLAlchemy's `text` would take for parameters escaped."""
    dialect_class: Any = type(engine.dialect)
    dialect: sa.Dialect = dialect_class(paramstyle="named")
    text = str(query.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    if "%" in text:
        raise ValueError("a query with a percent sign")
    return text.replace(":", "\\" * _TEXT_PASSES + ":")


def _results(suite: Json, outcome: ExpectationSuiteValidationResult) -> Iterator[ExpectationResult]:
    by_id = {one.expectation_config.id: one for one in outcome.results}
    for expectation in suite["expectations"]:
        yield _result(expectation, by_id.get(expectation["id"]))


def _result(expectation: Json, outcome: Any) -> ExpectationResult:  # noqa: ANN401 - one of GX's classes
    evaluated = outcome is not None and not _raised(outcome.exception_info)
    count = outcome.result.get("unexpected_count") if evaluated else None
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
