"""Connections by id, in Airflow's own formats, without Airflow.

A store is named by an Airflow connection id. Inside Airflow its secrets backends resolve it (`lethe.airflow`); the
command line reads the same `AIRFLOW_CONN_<ID>` environment variables, as a URI or as JSON
(https://airflow.apache.org/docs/apache-airflow/stable/howto/connection.html).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import sqlalchemy as sa

from lethe.errors import ConnectionMissing


@dataclass(frozen=True, slots=True)
class Connection:
    """What a connection id stands for. `password` and `extra` may hold secrets and are left out of `repr`."""

    conn_id: str
    conn_type: str
    host: str | None = None
    port: int | None = None
    schema: str | None = None
    login: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, conn_id: str, text: str) -> Self:
        """Read a connection from Airflow's JSON or URI format.

        Raises:
            ConnectionMissing: if it is neither.
        """
        try:
            if text.lstrip().startswith("{"):
                return cls._from_fields(conn_id, json.loads(text))
            return cls._from_uri(conn_id, text)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConnectionMissing(
                f"connection {conn_id}: neither Airflow's JSON nor its URI format ({type(error).__name__}): "
                f"write AIRFLOW_CONN_{conn_id.upper()} as JSON with conn_type, host and so on, or as "
                "type://login:password@host/schema"
            ) from None

    @classmethod
    def _from_fields(cls, conn_id: str, fields: Mapping[str, Any]) -> Self:
        extra = fields.get("extra") or {}
        return cls(
            conn_id=conn_id,
            conn_type=str(fields["conn_type"]),
            host=fields.get("host") or None,
            port=int(fields["port"]) if fields.get("port") else None,
            schema=fields.get("schema") or None,
            login=fields.get("login") or None,
            password=fields.get("password") or None,
            extra=json.loads(extra) if isinstance(extra, str) else dict(extra),
        )

    @classmethod
    def _from_uri(cls, conn_id: str, uri: str) -> Self:
        parts = urlsplit(uri)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        extra = json.loads(query["__extra__"]) if "__extra__" in query else query
        host = parts.netloc.rpartition("@")[2].partition(":")[0] if parts.netloc else ""
        return cls(
            conn_id=conn_id,
            conn_type=parts.scheme.replace("-", "_"),
            host=unquote(host) or None,
            port=parts.port,
            schema=unquote(parts.path.removeprefix("/")) or None,
            login=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            extra=extra,
        )


Resolver = Callable[[str], Connection]
"""Finds a connection by its id, or raises `ConnectionMissing`."""


def from_environment(conn_id: str) -> Connection:
    """The connection in the environment variable ``AIRFLOW_CONN_<ID>``.

    Raises:
        ConnectionMissing: if there is none, or it cannot be read.
    """
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    text = os.environ.get(variable)
    if text is None:
        raise ConnectionMissing(
            f"connection {conn_id} is not defined: add it in Airflow (Admin, Connections) or set {variable}"
        )
    return Connection.parse(conn_id, text)


def file_url(connection: Connection) -> sa.URL:
    """The URL of a SQLite file, whose path is the connection's `host` (or `schema`).

    Raises:
        ConnectionMissing: if it has none.
    """
    path = connection.host or connection.schema
    if not path:
        raise ConnectionMissing(
            f"connection {connection.conn_id}: SQLite needs the file's path as its host: give it that"
        )
    return sa.URL.create("sqlite", database=path)


def postgresql_url(connection: Connection) -> sa.URL:
    """The URL of a PostgreSQL database; a host that starts with a slash is the directory of a Unix socket."""
    options = {k: str(v) for k, v in connection.extra.items() if not k.startswith("lethe_")}
    socket = connection.host if connection.host and connection.host.startswith("/") else None
    return sa.URL.create(
        "postgresql+psycopg",
        username=connection.login,
        password=connection.password,
        host=None if socket else connection.host,
        port=connection.port,
        database=connection.schema,
        query={**options, "host": socket} if socket else options,
    )


_URLS = {"postgres": postgresql_url, "postgresql": postgresql_url, "sqlite": file_url}


def sqlalchemy_url(connection: Connection) -> sa.URL:
    """The URL of a database that Lethe may keep its own records in; stores ask their dialect.

    Raises:
        ConnectionMissing: if it is of another type.
    """
    url = _URLS.get(connection.conn_type)
    if url is None:
        raise unknown_type(connection, _URLS)
    return url(connection)


def unknown_type(connection: Connection, known: Iterable[str]) -> ConnectionMissing:
    """What is wrong with a connection that is of none of the known types of databases."""
    return ConnectionMissing(
        f"connection {connection.conn_id} is of type {connection.conn_type!r}; "
        f"a SQL store needs one of {', '.join(sorted(known))}: give it that type"
    )


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no session with a PostgreSQL server: in words, and whether trying again may help."""

    words: str
    passes: bool = False


_REFUSALS = {
    "does not support SSL|certificate": Refusal(
        "its server and its sslmode, sslrootcert and so on do not agree on how to be sure of each other (TLS)"
    ),
    "failed to resolve host|could not translate host name": Refusal("its host is not known", passes=True),
    "Connection refused|No such file or directory": Refusal("nothing listens at its host and port", passes=True),
    "timeout expired|timed out|connection timeout": Refusal("its host does not answer in time", passes=True),
    "Network is unreachable|No route to host": Refusal("there is no way to its host in the network", passes=True),
    "starting up|shutting down|recovery mode": Refusal("the server is starting or stopping", passes=True),
    "too many clients|too many connections|remaining connection slots": Refusal(
        "the server has no connection left", passes=True
    ),
    'database ".*" does not exist': Refusal("there is no such database on the server: give it the name of one"),
    "not currently accepting connections": Refusal(
        "the database lets nobody in (ALTER DATABASE … ALLOW_CONNECTIONS true)"
    ),
    "permission denied for database": Refusal(
        "its login may not connect to the database (GRANT CONNECT ON DATABASE … TO …)"
    ),
    "is not permitted to log in": Refusal("its login is a role that may not log in (ALTER ROLE … LOGIN)"),
    'authentication failed|no password supplied|role ".*" does not exist|pg_hba.conf': Refusal(
        "the server does not let its login in: another user or password, or a line in pg_hba.conf is missing"
    ),
    "is not a standby|in hot standby mode|session is (not )?read-only": Refusal(
        "the server is not of the kind that its target_session_attrs asks for"
    ),
    "invalid (connection option|port number|[a-z_]+ value|value for parameter)|unrecognized configuration": Refusal(
        "its port or its extra has an option that there is not, or with a value that it cannot have"
    ),
    "received invalid response|expected authentication request": Refusal(
        "what listens at its host and port is no PostgreSQL"
    ),
}
"""What is meant by a connection that could not be made, by parts of the messages of libpq, psycopg and the server."""


def no_session(error: sa.exc.DBAPIError) -> Refusal | None:
    """Why a connection to PostgreSQL could not be made; None for other errors, and where the reason is not known.

    By the message: until a session is there, PostgreSQL's library hands on no other sign. It is not passed on.
    """
    if error.statement is not None:
        return None
    said = str(error.orig)
    return next((refusal for pattern, refusal in _REFUSALS.items() if re.search(pattern, said)), None)


def commit_durably(engine: sa.Engine) -> None:
    """Have what a commit of a PostgreSQL engine acknowledges survive a crash, whatever the database's default is.

    `synchronous_commit` becomes at least `on`; `remote_apply`, which promises more, stays.
    """
    sa.event.listen(engine, "connect", _commit_durably)


def _commit_durably(dbapi_connection: Any, _record: object) -> None:  # noqa: ANN401 - psycopg's connection
    dbapi_connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) "
        "WHERE current_setting('synchronous_commit') <> 'remote_apply'"
    )
    dbapi_connection.commit()
