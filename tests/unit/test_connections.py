"""Refuse first: connections are read as Airflow reads them, and errors name the id but no secret."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.connections import Connection, from_environment, sqlalchemy_url
from lethe.errors import ConnectionMissing

SECRET = "s3cret-pässword"


def test_uri_format() -> None:
    found = Connection.parse("crm", "postgres://user%40x:p%2Fw@db.example:5433/crm?sslmode=require")
    assert (found.conn_type, found.login, found.password) == ("postgres", "user@x", "p/w")
    assert (found.host, found.port, found.schema) == ("db.example", 5433, "crm")
    assert found.extra == {"sslmode": "require"}


def test_uri_with_a_socket_and_nested_extra() -> None:
    extra = {"lethe_scratch_schema": "scratch"}
    found = Connection.parse("crm", f"postgres://u@%2Fvar%2Frun/crm?__extra__={json.dumps(extra)}")
    assert found.host == "/var/run"
    assert found.extra == extra


def test_json_format_and_extra_as_text() -> None:
    fields = {"conn_type": "aws", "login": "key", "password": SECRET, "extra": json.dumps({"region_name": "eu"})}
    found = Connection.parse("lake", json.dumps(fields))
    assert (found.conn_type, found.password, found.extra) == ("aws", SECRET, {"region_name": "eu"})


@given(text=st.text() | st.from_regex(r"[a-z]+://[^/]*/?.*|\{.*\}"))
def test_any_other_text_is_refused_with_a_message(text: str) -> None:
    try:
        Connection.parse("crm", text)
    except ConnectionMissing as error:
        assert str(error).startswith("connection crm: neither")


def test_secrets_are_not_in_the_text_of_a_connection() -> None:
    found = Connection("crm", "postgres", login="somebody", password=SECRET, extra={"token": SECRET})
    assert SECRET not in repr(found)
    assert "somebody" not in repr(found)


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_LETHE_CRM", raising=False)
    with pytest.raises(ConnectionMissing, match=r"connection lethe_crm is not defined: .* set AIRFLOW_CONN_LETHE_CRM"):
        from_environment("lethe_crm")
    monkeypatch.setenv("AIRFLOW_CONN_LETHE_CRM", "sqlite:///crm.db")
    assert from_environment("lethe_crm").conn_type == "sqlite"


def test_urls_for_sqlalchemy() -> None:
    tcp = Connection("c", "postgres", host="db", port=5432, schema="crm", login="u", password=SECRET)
    assert sqlalchemy_url(tcp).drivername == "postgresql+psycopg"
    assert (sqlalchemy_url(tcp).host, sqlalchemy_url(tcp).database) == ("db", "crm")
    socket = Connection("c", "postgres", host="/run/pg", schema="crm", extra={"lethe_scratch_schema": "x"})
    assert dict(sqlalchemy_url(socket).query) == {"host": "/run/pg"}
    assert sqlalchemy_url(socket).host is None
    assert sqlalchemy_url(Connection("c", "sqlite", host="/tmp/x.db")).database == "/tmp/x.db"  # noqa: S108


@pytest.mark.parametrize(
    ("connection", "message"),
    [
        (Connection("crm", "mysql", host="db"), "connection crm is of type 'mysql'; a SQL store needs one of"),
        (Connection("crm", "aws"), "connection crm is of type 'aws'"),
        (Connection("crm", "sqlite"), "connection crm: SQLite needs the file's path as its host"),
    ],
)
def test_connections_of_another_type_are_refused(connection: Connection, message: str) -> None:
    with pytest.raises(ConnectionMissing, match=message):
        sqlalchemy_url(connection)
