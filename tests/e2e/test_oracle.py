"""The oracle that judges the demo can say no: it sees every kind of broken promise, and nothing where all is well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from lethe.connections import Connection
from lethe_demo.company import Company
from lethe_demo.fates import Fate
from lethe_demo.oracle import DATABASES, Oracle
from lethe_demo.records import Family, Table
from lethe_demo.seed import CRM_ID, OPERATIONS_ID, database, fill
from lethe_demo.servers import EmbeddedPostgres

COMPANY = Company(datetime(2026, 3, 29, 1, 30, tzinfo=UTC), scale=0.02)
ORACLE = Oracle(COMPANY)


@pytest.fixture
def stores(postgres: EmbeddedPostgres) -> Iterator[dict[str, Connection]]:
    """The company's databases, from which exactly what has expired was erased by hand."""
    connections = {
        CRM_ID: postgres.connection(CRM_ID, "oracle_crm"),
        OPERATIONS_ID: postgres.connection(OPERATIONS_ID, "oracle_operations"),
    }
    for connection in connections.values():
        postgres.create_database(str(connection.schema))
    for name, conn_id in DATABASES.items():
        fill(connections[conn_id], COMPANY, name)
    for family in COMPANY.families:
        with database(connections[DATABASES[family.database]]) as opened:
            erase(opened, family)
            for row in (row for dataset in family.datasets for row in ORACLE.added(dataset)):
                values = ", ".join(["%s"] * len(row))
                opened.execute(f"INSERT INTO {family.table.name} VALUES ({values})".encode(), row)  # noqa: S608 - a name
    yield connections
    for connection in connections.values():
        postgres.drop_database(str(connection.schema))


def erase(connection: psycopg.Connection, family: Family) -> None:
    """Delete the rows that must go, key by key; records last, those that refer to others of them first."""
    fates = ORACLE.family_fates(family)
    for child in reversed(family.children):
        delete(connection, child, [fates[index] for index in child.parents], 1)
    delete(connection, family.table, fates, family.key)


def delete(connection: psycopg.Connection, table: Table, fates: list[Fate], key: int) -> None:
    condition = " AND ".join(f"{column} = %s" for column in table.columns[:key])
    doomed = [row[:key] for row, fate in zip(table.rows, fates, strict=True) if fate is Fate.ERASED]
    with connection.cursor() as cursor:
        cursor.executemany(f"DELETE FROM {table.name} WHERE {condition}".encode(), doomed[::-1])  # noqa: S608 - names only


def broken(stores: dict[str, Connection]) -> set[tuple[str, str]]:
    return {(v.promise, v.dataset) for v in ORACLE.look_at_tables(stores.__getitem__) if not v.holds}


def test_where_exactly_the_expired_is_gone_all_promises_hold(stores: dict[str, Connection]) -> None:
    assert broken(stores) == set()


def first(dataset: str, fate: Fate) -> int:
    return ORACLE.fates(dataset).index(fate)


def one_too_many(crm: psycopg.Connection) -> None:
    row = COMPANY.invitations.rows[first("events.invitations", Fate.KEPT)]
    crm.execute("DELETE FROM marketing.event_invitations WHERE invitation_id = %s", row[:1])


def one_held(crm: psycopg.Connection) -> None:
    row = COMPANY.invitations.rows[first("events.invitations", Fate.HELD)]
    crm.execute("DELETE FROM marketing.event_invitations WHERE invitation_id = %s", row[:1])


def one_undated(crm: psycopg.Connection) -> None:
    row = COMPANY.invitations.rows[first("events.invitations", Fate.UNJUDGEABLE)]
    crm.execute("DELETE FROM marketing.event_invitations WHERE invitation_id = %s", row[:1])


def one_left(crm: psycopg.Connection) -> None:
    row = COMPANY.invitations.rows[first("events.invitations", Fate.ERASED)]
    marks = ", ".join(["%s"] * len(row))
    crm.execute(f"INSERT INTO marketing.event_invitations VALUES ({marks})".encode(), row)  # noqa: S608 - marks only


def one_changed(crm: psycopg.Connection) -> None:
    row = COMPANY.invitations.rows[first("events.invitations", Fate.KEPT)]
    crm.execute("UPDATE marketing.event_invitations SET role = 'x' WHERE invitation_id = %s", row[:1])


@pytest.mark.parametrize(
    ("breaks", "promise"),
    [
        (one_too_many, "never early"),
        (one_held, "never held"),
        (one_undated, "what cannot be judged stays"),
        (one_left, "never silently late"),
        (one_changed, "nothing else is there"),
    ],
)
def test_a_single_record_that_is_wrong_shows(
    stores: dict[str, Connection], breaks: Callable[[psycopg.Connection], None], promise: str
) -> None:
    with database(stores[CRM_ID]) as crm:
        breaks(crm)
    assert (promise, "events.invitations") in broken(stores)
