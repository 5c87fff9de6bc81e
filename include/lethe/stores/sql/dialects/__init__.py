"""Kinds of databases. A further one is a module here, and a line in `REGISTRY` for each type of connection to it."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from lethe.connections import Connection, unknown_type
from lethe.stores.sql.dialects.base import Dialect

REGISTRY: dict[str, str] = {
    "mariadb": "lethe.stores.sql.dialects.mariadb:MariaDB",
    "mysql": "lethe.stores.sql.dialects.mariadb:MariaDB",
    "postgres": "lethe.stores.sql.dialects.postgresql:PostgreSQL",
    "postgresql": "lethe.stores.sql.dialects.postgresql:PostgreSQL",
    "sqlite": "lethe.stores.sql.dialects.sqlite:SQLite",
}
"""Airflow's type of a connection → ``module:class``. Modules are imported when a connection of the type is used."""


def kind_of(connection: Connection) -> str:
    """What connections to one kind of database have in common; no module of it is imported.

    Raises:
        ConnectionMissing: if there is no dialect for its type.
    """
    named = REGISTRY.get(connection.conn_type)
    if named is None:
        raise unknown_type(connection, REGISTRY)
    return named


def dialect_of(connection: Connection) -> Dialect:
    """The dialect of the database that a connection leads to.

    Raises:
        ConnectionMissing: if there is no dialect for its type.
        ModuleNotFoundError: if its driver is not installed.
    """
    module, _, name = kind_of(connection).partition(":")
    return cast("Dialect", getattr(import_module(module), name)())
