"""The oracle that judges the demo can say no: it sees every kind of broken promise, and nothing where all is well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from lethe.connections import Connection
from lethe_demo import schema
from lethe_demo.company import Company, Table
from lethe_demo.oracle import Fate, Oracle
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
    fill(connections[CRM_ID], schema.CRM, COMPANY.crm, schema.CRM_INDEXES)
    fill(connections[OPERATIONS_ID], schema.OPERATIONS, COMPANY.operations, schema.OPERATIONS_INDEXES)
    with database(connections[CRM_ID]) as crm:
        erase(crm, COMPANY.attendance, "webinars.registrations", COMPANY.registrations)
        erase(crm, COMPANY.registrations, "webinars.registrations")
        erase(crm, COMPANY.invitations, "events.invitations")
        erase(crm, COMPANY.messages, "leads.enquiries", COMPANY.enquiries)
        erase(crm, COMPANY.enquiries, "leads.enquiries")
        erase(crm, COMPANY.preferences, "account_users.users", COMPANY.account_users)
        erase(crm, COMPANY.account_users, "account_users.users")
    with database(connections[OPERATIONS_ID]) as operations:
        for child in (COMPANY.accommodation, COMPANY.dietary, COMPANY.arrivals):
            erase(operations, child, "logistics.guests", COMPANY.guests)
        erase(operations, COMPANY.guests, "logistics.guests")
        erase(operations, COMPANY.end_user_records, "traffic_end_users.records")
    yield connections
    for connection in connections.values():
        postgres.drop_database(str(connection.schema))


def erase(connection: psycopg.Connection, table: Table, dataset: str, parent: Table | None = None) -> None:
    """Delete the rows that must go, key by key."""
    fates = ORACLE.fates(dataset)
    mine = [fates[index] for index in table.parents] if parent else fates
    key = table.columns[:2] if table is COMPANY.guests else table.columns[:1]
    condition = " AND ".join(f"{column} = %s" for column in key)
    doomed = [row[: len(key)] for row, fate in zip(table.rows, mine, strict=True) if fate is Fate.ERASED]
    with connection.cursor() as cursor:
        cursor.executemany(f"DELETE FROM {table.name} WHERE {condition}".encode(), doomed)  # noqa: S608 - names only


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
