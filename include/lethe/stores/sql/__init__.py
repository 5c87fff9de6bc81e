"""Rows of tables in SQL databases.

`store` is the store itself, `schema` compares datasets with what the database has, `expiry` says in SQL what has
expired, `holds` what is held, `staging` keeps candidates and outcomes beside the data, and `dialects` has one module
for each kind of database.
"""

from __future__ import annotations

from lethe.stores.sql.store import SqlStore

__all__ = ["SqlStore"]
