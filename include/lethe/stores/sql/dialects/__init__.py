"""Kinds of databases. A further one is a module here and a line in `REGISTRY`."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from lethe.stores.sql.dialects.base import Dialect

REGISTRY: dict[str, str] = {
    "postgresql": "lethe.stores.sql.dialects.postgresql:PostgreSQL",
    "sqlite": "lethe.stores.sql.dialects.sqlite:SQLite",
}
"""SQLAlchemy's name of a kind of database → ``module:class``."""


def dialect_for(backend: str) -> Dialect:
    """The dialect of a SQLAlchemy backend name; `connections.sqlalchemy_url` gives only those that are here."""
    module, _, name = REGISTRY[backend].partition(":")
    return cast("Dialect", getattr(import_module(module), name)())
