"""Bringing a governance database of an older version of Lethe to this one's schema (`lethe governance upgrade`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from lethe.governance import Governance, schema
from lethe.governance.database import refuse_newer


def scripts() -> ScriptDirectory:
    """The migrations."""
    return ScriptDirectory(Path(__file__).with_name("migrations"))


def upgrade(governance: Governance) -> tuple[str, str]:
    """Migrate in one transaction, which waits for any other; say from which version to which.

    An empty database gets the whole schema.

    Raises:
        StoreError: if the database is of a newer version, or the role may not change it.
        StoreUnavailable: if it does not answer.
    """
    with governance.changing_schema() as connection:
        before = schema.version_of(connection)
        if before is None:
            schema.create(connection)
            return schema.HEAD, schema.HEAD
        refuse_newer(before)
        if not sa.inspect(connection).has_table(schema.schema_version.name):
            schema.schema_version.create(connection)
            connection.execute(sa.insert(schema.schema_version).values(version_num=before))
        _run(connection)
    return before, schema.HEAD


def _run(connection: sa.Connection) -> None:
    script = scripts()

    def steps(revision: Any, _context: Any) -> Any:  # noqa: ANN401 - Alembic's
        return script._upgrade_revs(schema.HEAD, revision)

    with EnvironmentContext(Config(), script, fn=steps, destination_rev=schema.HEAD) as environment:
        environment.configure(connection=connection, version_table=schema.schema_version.name)
        environment.run_migrations()
