"""A further database is a module and its lines in the registry: nothing else of stores decides by a database's name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tests.stores.sql_kit import ALL_KINDS

from lethe.connections import Connection
from lethe.errors import ConnectionMissing
from lethe.stores import family
from lethe.stores.sql.dialects import REGISTRY, dialect_of


def test_nothing_else_of_stores_names_a_database(root: Path) -> None:
    names = {*REGISTRY, *(dialect_of(Connection("c", kind)).name for kind in REGISTRY)}
    top = root / "include/lethe"
    folders = [top / name for name in ("stores", "lineage", "stages", "policy")]
    files = [file for folder in folders for file in folder.rglob("*.py") if "dialects" not in file.parts]
    named = {
        f"{file.relative_to(top)}: {node.value}"
        for file in [*files, top / "overlapping.py", top / "environment.py"]
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and node.value in names
    }
    assert len(files) > 50
    assert not named


def test_every_database_is_tried_on_a_real_server() -> None:
    assert {dialect_of(Connection("c", kind)).name for kind in REGISTRY} == set(ALL_KINDS)


def test_two_types_of_connections_to_one_kind_of_database_are_alike() -> None:
    kinds = {kind: family("table", Connection("c", kind)) for kind in ("postgres", "postgresql", "sqlite")}
    assert kinds["postgres"] == kinds["postgresql"] != kinds["sqlite"]


@pytest.mark.parametrize("kind", ["oracle", "mssql"])
def test_an_unknown_type_is_refused_with_those_that_are_known(kind: str) -> None:
    with pytest.raises(ConnectionMissing, match=rf"type '{kind}'; a SQL store needs one of .*postgres.*sqlite"):
        dialect_of(Connection("crm", kind))


@pytest.mark.parametrize(
    ("extra", "plain"),
    [({}, None), ({"unix_socket": "/s"}, "1"), ({"unix_socket": "/s", "ssl": {"ca": "/ca.pem"}}, None)],
)
def test_a_socket_of_mariadb_is_not_encrypted_unless_the_connection_says_so(
    extra: dict[str, object], plain: str | None
) -> None:
    """As MariaDB's own clients have it: the driver would read the machine's certificates for each session."""
    url = dialect_of(Connection("crm", "mysql")).url(Connection("crm", "mysql", schema="crm", extra=extra))
    assert url.query.get("ssl_disabled") == plain
    assert url.query.get("ssl_ca") == ("/ca.pem" if "ssl" in extra else None)
