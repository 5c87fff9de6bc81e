"""Connections as Airflow resolves them: its secrets backends, environment variables or metadata database."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from lethe.connections import Connection
from lethe.environment import Environment
from lethe.errors import ConnectionMissing
from lethe.governance import Governance, KeptOpen
from lethe.settings import Settings


def resolve(conn_id: str) -> Connection:
    """A connection by its id, from Airflow.

    Raises:
        ConnectionMissing: if Airflow has none of that id, or its extra is not a JSON object.
    """
    return _resolved(conn_id, BaseHook.get_connection)


def resolve_outside_tasks(conn_id: str) -> Connection:
    """The same for the command line: there, only Airflow's server side reads its metadata database."""
    from airflow.models.connection import Connection as ServerConnection

    return _resolved(conn_id, ServerConnection.get_connection_from_secrets)


def as_it_is(conn_id: str) -> Any:  # noqa: ANN401 - a connection of Airflow
    """The same as Airflow's own value, for its hooks.

    Raises:
        ConnectionMissing: if Airflow has none of that id.
    """
    return _found(conn_id, BaseHook.get_connection)


def _found(conn_id: str, find: Callable[[str], Any]) -> Any:  # noqa: ANN401
    try:
        return find(conn_id)
    except AirflowNotFoundException:
        variable = f"AIRFLOW_CONN_{conn_id.upper()}"
        raise ConnectionMissing(
            f"connection {conn_id} is not defined: add it in Airflow (Admin, Connections) or set {variable}"
        ) from None


def _resolved(conn_id: str, find: Callable[[str], Any]) -> Connection:
    found = _found(conn_id, find)
    try:
        extra = dict(found.extra_dejson)
    except (TypeError, ValueError):
        raise ConnectionMissing(
            f"connection {conn_id}: its extra is not a JSON object: correct it (Admin, Connections)"
        ) from None
    return Connection(
        conn_id=conn_id,
        conn_type=found.conn_type,
        host=found.host or None,
        port=int(found.port) if found.port else None,
        schema=found.schema or None,
        login=found.login or None,
        password=found.password or None,
        extra=extra,
    )


_KEPT = KeptOpen()


class Served(Environment):
    """The same for one of many requests: the governance database stays open for the next."""

    @cached_property
    def governance(self) -> Governance:
        """The governance database."""
        return _KEPT.governance(self.connection)

    def _end_governance(self) -> None:
        """It stays open."""


def serve() -> Served:
    """What a page needs, with Airflow's connections; a context manager."""
    return Served(resolve)


def open_environment(settings: Settings | None = None) -> Environment:
    """What stages need, with Airflow's connections; a context manager."""
    return Environment(resolve, settings)
