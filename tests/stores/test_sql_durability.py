"""Promises 2 and 5 after a crash: a commit that was answered is on disk, whatever the database is set to."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from tests.stores.sql_kit import Database, Gate, work

from lethe.connections import sqlalchemy_url
from lethe.governance import Governance
from lethe.holds.rules import NO_HOLDS

OLD = datetime(2024, 3, 1, 12, tzinfo=UTC)
DEFAULTS = {"off": "on", "local": "on", "remote_write": "on", "on": "on", "remote_apply": "remote_apply"}
"""`synchronous_commit` of a database, and what Lethe commits with."""


@pytest.fixture(params=DEFAULTS)
def default(request: pytest.FixtureRequest, warehouse: Database) -> str:
    """A default of the warehouse's database."""
    preparer = warehouse.engine.dialect.identifier_preparer
    name = preparer.quote(warehouse.connection.schema or "")
    warehouse.do(sa.text(f"ALTER DATABASE {name} SET synchronous_commit = {request.param}"))
    return str(request.param)


def _watched(engine: sa.Engine) -> list[str]:
    """Fills with the setting that each commit of an engine is made with."""
    settings: list[str] = []

    def look(connection: sa.Connection) -> None:
        settings.append(str(connection.exec_driver_sql("SHOW synchronous_commit").scalar()))

    sa.event.listen(engine, "commit", look)
    return settings


def test_batches_are_on_disk_when_they_are_committed(warehouse: Database, default: str) -> None:
    table = warehouse.leads([{"id": number, "last_contact": OLD} for number in range(30)])
    candidates = warehouse.store.discover(work(), NO_HOLDS)
    settings = _watched(warehouse.store._engine)
    warehouse.store.erase(work(), candidates, range(candidates.batches), Gate())
    assert warehouse.ids(table) == []
    assert set(settings) == {DEFAULTS[default]}


def test_holds_and_certificates_are_on_disk_when_they_are_acknowledged(warehouse: Database, default: str) -> None:
    governance = Governance(sqlalchemy_url(warehouse.connection))
    settings = _watched(governance.engine)
    governance.create_schema()
    with governance.write():
        pass
    governance.close()
    assert len(settings) == 2
    assert set(settings) == {DEFAULTS[default]}
