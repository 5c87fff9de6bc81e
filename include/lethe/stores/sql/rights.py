"""Which rights a dataset needs in its database. What is missing is found by asking, not by a run that fails."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from lethe.policy import TableDataset
from lethe.stores.base import Problem
from lethe.stores.sql.catalogue import Need
from lethe.stores.sql.dialects.base import Dialect
from lethe.stores.sql.family import Family
from lethe.stores.sql.schema import Target
from lethe.stores.sql.settings import SqlSettings


def missing(
    connection: sa.Connection,
    dataset: TableDataset,
    family: Family,
    target: Target,
    dialect: Dialect,
    settings: SqlSettings,
) -> Iterator[Problem]:
    """What the login may not do or see, each with the statement that grants it."""
    lacks = [
        *dialect.missing_rights(connection, list(needs(dataset, family, target))),
        *dialect.missing_for_staging(connection, settings),
    ]
    for what, grant in lacks:
        yield Problem(field="store", message=f"connection {settings.conn_id}: {what}; {grant}")


def needs(dataset: TableDataset, family: Family, target: Target) -> Iterator[Need]:
    """What a run needs of each table."""
    erases = not dataset.masks
    own = family.members[0]
    masked = tuple(mask.column for mask in dataset.masks)
    yield Need(own.relation, None, delete=erases, update=masked, lock=dataset.key[0])
    for member in family.members[1:]:
        child = target.at(member.path)
        lock = child.foreign_key[0] if child.children or child.carried else None
        columns = tuple(str(column.name) for column in child.table.c if not column.system)
        yield Need(member.relation, columns, delete=True, lock=lock)
    for related in target.related.values():
        yield Need(related.relation, related.columns, lock=related.references[0])
    for many in target.many.values():
        yield Need(many.relation, many.columns, lock=many.foreign_key[0])
    if target.suppression is not None:
        listed = (target.suppression.column,)
        yield Need(target.suppression.relation, listed, insert=listed)
    known = {member.relation.id for member in family.members}
    for member in family.members:
        for key in family.keeping(member):
            if key.child.id not in known:
                yield Need(key.child, key.columns)
