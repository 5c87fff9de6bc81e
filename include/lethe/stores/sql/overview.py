"""All tables of a database with what their columns look like, for finding personal data that no policy covers."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.engine.reflection import ObjectKind

from lethe.judging.recognising import ColumnSeen, forms_of
from lethe.stores.base import TableSeen
from lethe.stores.sql.catalogue import Relation
from lethe.stores.sql.dialects.base import Dialect, Fault
from lethe.stores.sql.settings import SqlSettings

_OF_THE_SERVER = frozenset({Fault.AGAIN, Fault.UNAVAILABLE, Fault.FULL})
"""Errors that are about no table. For any other, a table is judged by what the catalogue says: its names and types."""


def overview(connection: sa.Connection, dialect: Dialect, settings: SqlSettings, sample: int) -> Iterator[TableSeen]:
    """Each table but the database's own and Lethe's; a partition belongs to its table. Reads `sample` rows of each."""
    inspector, root = sa.inspect(connection), dialect.database_id(connection)
    found: list[tuple[Relation, list[ReflectedColumn]]] = []
    for schema in inspector.get_schema_names():
        if schema in dialect.system_schemas or schema.startswith(settings.scratch_schema):
            continue
        kinds = ObjectKind.TABLE | ObjectKind.MATERIALIZED_VIEW
        for (_, name), columns in inspector.get_multi_columns(schema=schema, kind=kinds).items():
            relation = dialect.relation(connection, (name, schema))
            if relation is not None and not name.startswith(settings.scratch_schema):
                found.append((relation, columns))
    parts = {relation.id: frozenset(dialect.parts(connection, relation)) - {relation.id} for relation, _ in found}
    below = frozenset().union(*parts.values())
    for relation, columns in found:
        if relation.id not in below:
            try:
                with connection.begin_nested():
                    seen, sampled = tuple(_columns(connection, relation, columns, sample)), True
            except sa.exc.DBAPIError as error:
                if dialect.fault(error) in _OF_THE_SERVER:
                    raise
                seen, sampled = tuple(_columns(connection, relation, columns, None)), False
            yield TableSeen(root=root, id=f"{relation.id}/", name=str(relation), columns=seen, sampled=sampled)


def _columns(
    connection: sa.Connection, relation: Relation, columns: list[ReflectedColumn], sample: int | None
) -> Iterator[ColumnSeen]:
    """The columns of a table, with the forms that sampled values have: the values stay here."""
    quoted = [sa.column(sa.sql.quoted_name(column["name"], quote=True), column["type"]) for column in columns]
    schema = sa.sql.quoted_name(relation.schema, quote=True) if relation.schema else None
    table = sa.table(sa.sql.quoted_name(relation.name, quote=True), *quoted, schema=schema)
    rows = connection.execute(sa.select(*table.c).limit(sample)).all() if sample is not None and columns else []
    for number, column in enumerate(columns):
        values, distinct, forms = forms_of(row[number] for row in rows)
        kind = str(column["type"].compile(dialect=connection.dialect))
        yield ColumnSeen(name=column["name"], type=kind, values=values, distinct=distinct, forms=forms)
