"""Stores by kind of dataset. A new kind is a new module and a line in `REGISTRY`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import cast

from lethe.connections import Connection
from lethe.stores.base import Store

REGISTRY: dict[str, str] = {
    "table": "lethe.stores.sql:SqlStore",
    "objects": "lethe.stores.s3_objects:S3ObjectStore",
    "parquet": "lethe.stores.parquet:ParquetStore",
}
"""Kind of dataset → ``module:class``. Modules are imported when first needed, so that DAG files parse fast."""


def open_store(kind: str, connection: Connection) -> Store:
    """The store for datasets of `kind` behind a connection.

    Raises:
        ConnectionMissing: if the connection is not of a type that the store understands.
    """
    module, _, name = REGISTRY[kind].partition(":")
    factory = cast("Callable[[Connection], Store]", getattr(import_module(module), name))
    return factory(connection)
