"""What keeps Lethe from connecting is told apart: host, port, login, database, right, version."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.stores.sql_kit import Database, dataset, refused

from lethe.errors import StoreUnavailable
from lethe.stores.sql import SqlStore
from lethe.stores.sql.dialects import postgresql
from lethe_demo.servers import EmbeddedPostgres


@pytest.fixture
def login(postgres: EmbeddedPostgres, warehouse: Database) -> Iterator[str]:
    """A login that needs the password "right"."""
    name = f"login_{secrets.token_hex(4)}"
    rules = Path(postgres.folder) / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"local all {name} scram-sha-256\nhost all {name} all scram-sha-256\n{before}")
    warehouse.run_text(f"CREATE ROLE {name} LOGIN PASSWORD 'right'", "SELECT pg_reload_conf()")
    yield name
    rules.write_text(before)
    warehouse.run_text(f"DROP ROLE {name}", "SELECT pg_reload_conf()")


def told(warehouse: Database, **changes: Any) -> str:  # noqa: ANN401
    """What a store says whose connection is another in some way."""
    store = SqlStore(replace(warehouse.connection, **changes))
    with pytest.raises(StoreUnavailable) as caught:
        store.check(dataset())
    store.close()
    message = str(caught.value)
    assert message.startswith("leads: connection warehouse cannot be reached: ")
    return message


def test_what_is_wrong_with_a_connection_is_told_apart(warehouse: Database, login: str) -> None:
    warehouse.leads()
    right = replace(warehouse.connection, login=login, password="right")
    store = SqlStore(right)
    assert "may not SELECT" in "; ".join(one.message for one in store.check(dataset()))
    store.close()
    assert "does not let its login in" in told(warehouse, login=login, password="wrong")
    assert "does not let its login in" in told(warehouse, login=login, password=None)
    assert "does not let its login in" in told(warehouse, login="nobody_at_all")
    assert "there is no such database" in told(warehouse, schema="no_such_database")
    assert "its host is not known" in told(warehouse, host="nowhere.invalid")
    assert "nothing listens at its host and port" in told(warehouse, host="127.0.0.1", port=1)
    assert "nothing listens at its host and port" in told(warehouse, port=1)
    warehouse.run_text(f"REVOKE CONNECT ON DATABASE {warehouse.connection.schema} FROM PUBLIC")
    assert "may not connect to the database" in told(warehouse, login=login, password="right")
    assert "right" not in told(warehouse, login=login, password="wrong").split("login")[0]


def test_a_file_that_is_not_there_is_named(file: Database) -> None:
    assert "there is no such file" in told(file, host=f"{file.connection.host}.not")


def test_an_older_server_is_named_with_its_version(warehouse: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse.leads()
    monkeypatch.setattr(postgresql, "_OLDEST_SERVER", 1000)
    (problem,) = refused(warehouse, dataset())
    with warehouse.engine.connect() as connection:
        version = connection.exec_driver_sql("SHOW server_version").scalar()
    assert problem.message == f"the server is PostgreSQL {version}; Lethe needs 1000 or newer"
