"""Fixtures for unit tests: a governance database of each kind, and policies that holds can cover."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.unit.cli_kit import Command

from lethe.connections import Connection, sqlalchemy_url
from lethe.evidence.ledger import Ledger
from lethe.evidence.runs import Runs
from lethe.governance import Governance
from lethe.holds.registry import HoldRegistry
from lethe.keys import Keys
from lethe.policy import Policy
from lethe_demo.servers import EmbeddedPostgres

KEYS = Keys(b"k" * 32)


@dataclass(frozen=True)
class Office:
    """A governance database with what is built on it."""

    governance: Governance
    registry: HoldRegistry
    runs: Runs

    @classmethod
    def at(cls, connection: Connection) -> Office:
        governance = Governance(sqlalchemy_url(connection))
        governance.create_schema()
        ledger = Ledger(governance)
        return cls(governance, HoldRegistry(governance, KEYS, ledger.append), Runs(governance, ledger))


@pytest.fixture(params=["sqlite", "postgresql"])
def office_connection(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    """A connection to an empty governance database; the test runs once on each kind."""
    if request.param == "sqlite":
        yield Connection("lethe_governance", "sqlite", host=str(tmp_path / "governance.db"))
        return
    server: EmbeddedPostgres = request.getfixturevalue("postgres")
    name = f"unit_{secrets.token_hex(4)}"
    server.create_database(name)
    yield server.connection("lethe_governance", name)
    server.drop_database(name)


@pytest.fixture
def office(office_connection: Connection) -> Iterator[Office]:
    """A governance database, with its registry and record of runs."""
    office = Office.at(office_connection)
    yield office
    office.governance.close()


def policy(category: str, *datasets: dict[str, object], **fields: object) -> Policy:
    """A policy of tables, briefly said: (name, identifiers)."""
    return Policy.model_validate(
        {
            "category": category,
            "title": category,
            "owner": "tests",
            "legal_basis": "none",
            "source": "none",
            "retention": {"keep_for": "P1Y"},
            "time_zone": "Europe/Prague",
            "schedule": None,
            "limits": {"records": 100, "share": 1},
            "datasets": [
                {"kind": "table", "store": "crm", "table": f"{category}_{n}", "key": ["id"], "clock": {"column": "at"}}
                | dataset
                for n, dataset in enumerate(datasets)
            ],
            **fields,
        }
    )


@pytest.fixture
def policies() -> dict[str, Policy]:
    """Two categories: webinars with e-mail addresses and telephone numbers, analytics with cookies only."""
    return {
        "webinars": policy(
            "webinars", {"name": "registrations", "identifiers": {"email": ["email"], "phone": ["phone"]}}
        ),
        "analytics": policy(
            "analytics",
            {"name": "views", "identifiers": {"cookie": ["cookie"]}},
            {"name": "totals"},
        ),
    }


@pytest.fixture
def lethe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)
