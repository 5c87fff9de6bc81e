"""PostgreSQL run as if it had no locks: the binding for databases without, on a real server that every test has.

Nothing that erases takes a lock or leaves a transaction open: rows have no marks that show that they are unchanged,
and a batch is one message of the simple query protocol, whose statements PostgreSQL carries out and commits as one
(https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-MULTI-STATEMENT).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
import sqlalchemy as sa

from lethe.stores.abilities import Abilities, Ability, Binding, Lack, When
from lethe.stores.sql.dialects import REGISTRY
from lethe.stores.sql.dialects.base import AnyColumn, Fault, Predicate
from lethe.stores.sql.dialects.postgresql import PostgreSQL
from lethe.stores.sql.settings import SqlSettings

NAME = "postgresql-leased"


class LeasedPostgreSQL(PostgreSQL):
    """PostgreSQL without its locks."""

    name = NAME
    optimistic = False
    abilities = Abilities(
        binding=Binding.LEASED,
        declares=frozenset({Ability.REQUESTS}),
        lacks={
            Ability.RELATED_ROWS: Lack(When.NOT_YET, "without a lock they may change meanwhile", "related rows"),
            Ability.SUPPRESSION: Lack(When.NOT_YET, "without a lock records may change", "suppression"),
            Ability.REDACTION: Lack(When.NOT_YET, "without a lock texts may change meanwhile", "text is redacted"),
            Ability.EVENT_CLOCKS: Lack(When.NOT_YET, "without a lock they may be withdrawn meanwhile", "events start"),
        },
    )

    def begin_batch(self, connection: sa.Connection, settings: SqlSettings) -> sa.RootTransaction:
        raise AssertionError("it has no lock")

    def fence(self, engine: sa.Engine, timeout: float) -> None:
        raise AssertionError("it has no lock")

    def lock_rows(self, connection: sa.Connection, rows: sa.Select[Any], table: sa.FromClause) -> None:
        return

    def address(self, table: sa.FromClause, key: Sequence[AnyColumn]) -> Sequence[AnyColumn]:
        return key

    def together(self, connection: sa.Connection, statements: Sequence[sa.Executable], seconds: float) -> None:
        limit = sa.select(sa.func.set_config("statement_timeout", f"{max(1, round(seconds * 1000))}ms", True))
        message = "; ".join(_written(connection, statement) for statement in (limit, *statements))
        connection.rollback()
        connection.execution_options(isolation_level="AUTOCOMMIT")
        try:
            with connection.begin():  # of SQLAlchemy: nothing is sent for it
                connection.exec_driver_sql(message, execution_options={"no_parameters": True})
        finally:
            if not connection.invalidated:
                connection.execution_options(isolation_level="READ COMMITTED")

    def demand(self, condition: Predicate) -> sa.Executable:
        return sa.select(sa.literal(1) / sa.case((condition, 1), else_=0))

    def fault(self, error: sa.exc.DBAPIError) -> Fault:
        divided = getattr(error.orig, "sqlstate", None) == "22012"
        return Fault.AGAIN if divided else super().fault(error)


def _written(connection: sa.Connection, statement: sa.Executable) -> str:
    """A statement with its values in it."""
    assert isinstance(statement, sa.ClauseElement)
    compiled = statement.compile(connection, compile_kwargs={"render_postcompile": True})
    processors = compiled._bind_processors  # type: ignore[attr-defined]
    values = {name: processors[name](value) if name in processors else value for name, value in compiled.params.items()}
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return psycopg.ClientCursor(driver).mogrify(str(compiled), values)


REGISTRY[NAME] = f"{__name__}:LeasedPostgreSQL"
