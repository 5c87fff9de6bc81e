"""What keeps Lethe from connecting is told apart: host, port, login, database, right, version."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tests.stores.sql_kit import Database, dataset, refused

from lethe.errors import NotAdmitted, StoreError, StoreUnavailable
from lethe.governance import open_governance
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


def test_what_is_wrong_with_the_connection_to_the_governance_database_is_told_apart(
    warehouse: Database, login: str
) -> None:
    """What waiting does not mend is final: Airflow would try it again for a quarter of an hour."""
    right = replace(warehouse.connection, conn_id="lethe_governance", login=login, password="right")

    def said(kind: type[StoreError], **changes: Any) -> str:  # noqa: ANN401
        with pytest.raises(kind) as caught:
            open_governance(lambda _: replace(right, **changes))
        assert str(caught.value).startswith("connection lethe_governance: ")
        assert caught.value.transient is (kind is StoreUnavailable)
        return str(caught.value)

    assert "does not let its login in" in said(NotAdmitted, password="wrong")
    assert "does not let its login in" in said(NotAdmitted, login="nobody_at_all")
    assert "there is no such database" in said(NotAdmitted, schema="no_such_database")
    assert "its host is not known" in said(StoreUnavailable, host="nowhere.invalid")
    assert "nothing listens at its host and port" in said(StoreUnavailable, host="127.0.0.1", port=1)
    assert "has an option that there is not" in said(NotAdmitted, extra={"no_such_option": "1"})
    warehouse.run_text(f"ALTER ROLE {login} NOLOGIN")
    assert "may not log in" in said(NotAdmitted)


def test_what_keeps_a_login_from_a_session_is_named(
    warehouse: Database, login: str, postgres: EmbeddedPostgres
) -> None:
    secret: dict[str, Any] = {"login": login, "password": "right"}
    warehouse.run_text(f"ALTER ROLE {login} NOLOGIN")
    assert "is a role that may not log in" in told(warehouse, **secret)
    closed = f"closed_{secrets.token_hex(4)}"
    postgres.create_database(closed)
    warehouse.run_text(f"ALTER ROLE {login} LOGIN", f"ALTER DATABASE {closed} ALLOW_CONNECTIONS false")
    assert "lets nobody in" in told(warehouse, schema=closed, **secret)
    postgres.drop_database(closed)
    for wrong in ({"sslmode": "sometimes"}, {"no_such_option": "1"}, {"options": "-c no_such_setting=1"}):
        assert "has an option that there is not" in told(warehouse, extra=wrong, **secret)
    assert "of the kind that its target_session_attrs" in told(
        warehouse, extra={"target_session_attrs": "standby"}, **secret
    )
    rules = Path(postgres.folder) / "pg_hba.conf"
    rules.write_text(f"local all {login} reject\n{rules.read_text()}")
    warehouse.run_text("SELECT pg_reload_conf()")
    assert "does not let its login in" in told(warehouse, **secret)


@pytest.mark.parametrize(
    ("answer", "sslmode", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "disable", "what listens at its host and port is no PostgreSQL"),
        (b"N", "require", "do not agree on how to be sure of each other (TLS)"),  # how a server says that it has no TLS
    ],
)
def test_what_answers_in_another_way_is_named(warehouse: Database, answer: bytes, sslmode: str, why: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        Thread(target=_answers, args=(server, answer), daemon=True).start()
        port = server.getsockname()[1]
        assert why in told(warehouse, host="127.0.0.1", port=port, extra={"sslmode": sslmode})


def _answers(server: socket.socket, answer: bytes) -> None:
    with contextlib.suppress(OSError):  # until it is closed
        while True:
            there, _ = server.accept()
            with there:
                there.recv(1024)
                there.sendall(answer)


def test_a_file_that_is_not_there_is_named(file: Database) -> None:
    assert "there is no such file" in told(file, host=f"{file.connection.host}.not")


def test_an_older_server_is_named_with_its_version(warehouse: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse.leads()
    monkeypatch.setattr(postgresql, "_OLDEST_SERVER", 1000)
    (problem,) = refused(warehouse, dataset())
    with warehouse.engine.connect() as connection:
        version = connection.exec_driver_sql("SHOW server_version").scalar()
    assert problem.message == f"the server is PostgreSQL {version}; Lethe needs 1000 or newer"
