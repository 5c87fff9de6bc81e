"""The governance database: its schema's versions, and what it does not leave to the server's defaults (promise 10)."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from lethe.connections import Connection, sqlalchemy_url
from lethe.errors import StoreError
from lethe.evidence.ledger import Ledger
from lethe.governance import Governance, schema
from lethe.governance.migrating import scripts, upgrade

OLD = Path(__file__).parent / "governance_0"


@pytest.fixture
def old(office_connection: Connection) -> Governance:
    """A database as the version before migrations made it, with an entry in its ledger."""
    governance = Governance(sqlalchemy_url(office_connection))
    statements = (OLD / f"{governance.engine.dialect.name}.sql").read_text().split("\n\n")[1:]
    with governance.write() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        Ledger(governance).append(connection, "policy.changed", "webinars", {"to": "x"})
    return governance


def test_an_old_database_is_refused_until_it_is_upgraded_and_then_is_as_a_new_one(old: Governance) -> None:
    with pytest.raises(StoreError, match="lethe governance upgrade"):
        old.create_schema()
    assert upgrade(old) == ("0001", schema.HEAD)
    old.create_schema()
    assert upgrade(old) == (schema.HEAD, schema.HEAD)
    with old.read() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), schema.metadata)
    told = [one for one in differences if isinstance(one, tuple) and "lethe_" in str(one) and "comment" not in one[0]]
    assert told == []
    with old.write() as connection, pytest.raises(sa.exc.DatabaseError, match="append-only"):
        connection.execute(sa.delete(schema.ledger))
    old.close()


def test_upgrades_at_once_are_safe(old: Governance) -> None:
    found: list[tuple[str, str]] = []
    threads = [threading.Thread(target=lambda: found.append(upgrade(old))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [("0001", schema.HEAD)] + [(schema.HEAD, schema.HEAD)] * 3
    old.close()


def test_the_latest_migration_is_the_version_that_is_made_anew() -> None:
    assert [step.revision for step in scripts().walk_revisions()] == list(reversed(schema.VERSIONS))


def test_a_newer_database_and_one_with_a_column_less_are_refused(office_connection: Connection) -> None:
    governance = Governance(sqlalchemy_url(office_connection))
    governance.create_schema()
    with governance.write() as connection:
        connection.exec_driver_sql("ALTER TABLE lethe_lease DROP COLUMN expires_at")
    with pytest.raises(StoreError, match=r"lacks lethe_lease\.expires_at"):
        governance.create_schema()
    with governance.write() as connection:
        connection.execute(sa.update(schema.schema_version).values(version_num="9999"))
    for refused in (governance.create_schema, lambda: upgrade(governance)):
        with pytest.raises(StoreError, match="newer version"):
            refused()
    governance.close()


def test_appends_at_once_succeed_whatever_isolation_is_the_default(office_connection: Connection) -> None:
    governance = Governance(sqlalchemy_url(office_connection))
    governance.create_schema()
    if governance.engine.dialect.name == "postgresql":
        with governance.write() as connection:
            name = connection.scalar(sa.select(sa.func.current_database()))
            connection.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
        governance.engine.dispose()
    faults: list[BaseException] = []

    def append() -> None:
        try:
            for _ in range(10):
                with governance.write() as connection:
                    Ledger(governance).append(connection, "policy.changed", "webinars", {})
        except BaseException as error:
            faults.append(error)
            raise

    threads = [threading.Thread(target=append) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    governance.close()
