"""Stores by kind of dataset. A new kind is a new module and a line in `REGISTRY`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import cast

from lethe.connections import Connection
from lethe.errors import ConnectionMissing
from lethe.stores.base import Store
from lethe.stores.files import formats

REGISTRY: dict[str, str] = {
    "table": "lethe.stores.sql:SqlStore",
    "objects": "lethe.stores.objects:S3ObjectStore",
    **dict.fromkeys(formats.REGISTRY, "lethe.stores.files.store:FileStore"),
}
"""Kind of dataset → ``module:class``; rows in files of a format are of a kind named for it.
Modules are imported when first needed, so that DAG files parse fast."""


def open_store(kind: str, connection: Connection) -> Store:
    """The store for datasets of `kind` behind a connection.

    Raises:
        ConnectionMissing: if the connection is not of a type that the store understands, or the package that speaks to
            it is not installed.
    """
    module, _, name = REGISTRY[kind].partition(":")
    try:
        factory = cast("Callable[[Connection], Store]", getattr(import_module(module), name))
        return factory(connection)
    except ModuleNotFoundError as error:
        if (error.name or "lethe").partition(".")[0] == "lethe":
            raise
        raise ConnectionMissing(
            f"connection {connection.conn_id}: the package {error.name} is not installed here, without which a store "
            f"of type {connection.conn_type} cannot be opened: install it (requirements.txt has it)"
        ) from None


def family(kind: str, connection: Connection) -> str:
    """What connections have in common that may lead to one place: the kind of database, or `bucket`.

    Raises:
        ConnectionMissing: if the connection is not of a type that the store understands.
    """
    if kind != "table":
        return "bucket"
    from lethe.stores.sql.dialects import kind_of

    return kind_of(connection)
