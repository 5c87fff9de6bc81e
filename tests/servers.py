"""Servers as tests have them: databases that were dropped are used again, and nothing outlives the machine."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from functools import cached_property

import sqlalchemy as sa

from lethe_demo.servers import EmbeddedPostgres

_WITHOUT_FSYNC = {"fsync": "off", "full_page_writes": "off"}
"""Tests kill processes, never the machine: what a killed process wrote, the kernel still has."""
_FIRST_OID = 16_384
"""Of what was made after `initdb` (`FirstNormalObjectId`)."""
_MOST_RELATIONS = 500
"""Each is locked as its schema is dropped, and a transaction has a limit of locks."""
_BESIDE_SCHEMAS = (
    "pg_cast", "pg_default_acl", "pg_event_trigger", "pg_extension", "pg_foreign_data_wrapper", "pg_language",
    "pg_largeobject_metadata", "pg_publication", "pg_transform",
)  # fmt: skip
"""Catalogues of what is in a database and in none of its schemas."""


def _catalogue(name: str, *columns: str) -> sa.TableClause:
    return sa.table(name, *map(sa.column, columns))


@dataclass
class ReusingPostgres(EmbeddedPostgres):
    """A server whose dropped databases are emptied and renamed: making one takes a fifth of a CPU second.

    One of which more than its schemas was changed, or with a table space of its own, is dropped in earnest.
    """

    settings: dict[str, str] = field(default_factory=lambda: dict(_WITHOUT_FSYNC))
    _spare: list[str] = field(default_factory=list)

    def create_database(self, name: str) -> None:
        """Create a database, unless it is there."""
        if not self._spare or self._is_there(name):
            super().create_database(name)
            return
        self._rename(self._spare.pop(), name)

    def drop_database(self, name: str) -> None:
        """Empty a database for the next one, or drop it where that is not enough."""
        if not self._is_as_made(name) or not self._emptied(name):
            super().drop_database(name)
            return
        spare = f"spare_{secrets.token_hex(4)}"
        self._rename(name, spare)
        self._spare.append(spare)

    @cached_property
    def _administration(self) -> sa.Engine:
        return self.engine("postgres").execution_options(isolation_level="AUTOCOMMIT")

    def _administer(self) -> sa.Connection:
        """From one engine, which asks the server once what it is."""
        return self._administration.connect()

    def _is_there(self, name: str) -> bool:
        databases = _catalogue("pg_database", "datname")
        with self._administer() as connection:
            return bool(connection.scalar(sa.select(sa.exists(databases.select().where(databases.c.datname == name)))))

    def _is_as_made(self, name: str) -> bool:
        """Whether the database is there, and as `CREATE DATABASE` made it; ends sessions with it."""
        alike = ("datallowconn", "datconnlimit", "dattablespace", "datdba")
        databases = _catalogue("pg_database", "oid", "datname", "datacl", *alike)
        this, made = databases.alias("this"), databases.alias("made")
        kept = _catalogue("pg_db_role_setting", "setdatabase")
        sessions = _catalogue("pg_stat_activity", "pid", "datname")
        changed = sa.exists().select_from(kept).where(kept.c.setdatabase == this.c.oid)
        query = (
            sa.select(this.c.oid)
            .join(made, sa.and_(*(this.c[column] == made.c[column] for column in alike)))
            .where(this.c.datname == name, made.c.datname == "postgres", this.c.datacl.is_(None), ~changed)
        )
        ended = sa.func.pg_terminate_backend(sessions.c.pid, 10_000)
        with self._administer() as connection:
            connection.execute(sa.select(ended).where(sessions.c.datname == name)).all()
            return connection.scalar(query) is not None

    def _emptied(self, name: str) -> bool:
        """Whether its schemas were all there was, which have gone; `public` is there again."""
        beside = [_catalogue(catalogue, "oid") for catalogue in _BESIDE_SCHEMAS]
        more = [sa.exists(one.select().where(one.c.oid >= _FIRST_OID)) for one in beside]
        relations = _catalogue("pg_class", "oid")
        many = sa.select(sa.func.count()).select_from(relations).where(relations.c.oid >= _FIRST_OID).scalar_subquery()
        schemas = _catalogue("pg_namespace", "nspname")
        own = sa.select(schemas.c.nspname).where(~schemas.c.nspname.regexp_match("^pg_|^information_schema$"))
        with self.engine(name).begin() as connection:
            if connection.scalar(sa.select(sa.or_(many > _MOST_RELATIONS, *more))):
                return False
            for schema in connection.scalars(own).all():
                connection.execute(sa.schema.DropSchema(schema, cascade=True))
            connection.execute(sa.text("CREATE SCHEMA public AUTHORIZATION pg_database_owner"))
            connection.execute(sa.text("GRANT USAGE ON SCHEMA public TO PUBLIC"))
        return True

    def _rename(self, old: str, new: str) -> None:
        with self._administer() as connection:
            quoted = [connection.dialect.identifier_preparer.quote(name) for name in (old, new)]
            connection.execute(sa.text("ALTER DATABASE {} RENAME TO {}".format(*quoted)))
