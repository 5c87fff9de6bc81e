"""A store that cannot be opened fails its dataset alone, and is never a reason to leave a check out."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing

import pytest
from tests.unit.cli_kit import AS_OF, POLICY, Command, cells

from lethe.evidence.runs import Runs

DOWN = {"conn_type": "postgres", "host": "127.0.0.1", "port": 1, "schema": "crm", "extra": {"lethe_connect_timeout": 2}}
"""Nobody listens there."""

GUESTS = """\
  - name: guests
    kind: table
    store: crm_b
    table: guests
    key: [id]
    clock: {column: webinar_date}
"""


RECORDINGS = """\
  - name: recordings
    kind: objects
    store: lake
    bucket: recordings
    prefix: webinars/
    clock: {key: "/date=(?P<value>[^/]+)/"}
"""


def connect(lethe: Command, patch: pytest.MonkeyPatch, conn_id: str, **fields: object) -> None:
    patch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))


def two_datasets(lethe: Command) -> None:
    lethe.policy.write_text(POLICY + GUESTS)


def another(lethe: Command, category: str, store: str, table: str = "registrations") -> None:
    text = POLICY.replace("category: webinars", f"category: {category}").replace("store: crm", f"store: {store}")
    path = lethe.policy.with_name(f"{category}.yaml")
    path.write_text(text.replace("table: registrations", f"table: {table}").replace("P18M", "P10Y"))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (None, "connection crm_b is not defined"),
        (DOWN, "connection crm_b"),
        ({"conn_type": "sqlite", "host": "/nowhere/crm.db"}, "connection crm_b"),
        ({"conn_type": "mongo", "host": "x"}, "connection crm_b is of type 'mongo'"),
    ],
    ids=["not defined", "down", "no file", "wrong type"],
)
def test_a_store_that_cannot_be_opened_fails_its_dataset_alone(
    lethe: Command, monkeypatch: pytest.MonkeyPatch, fields: dict[str, object] | None, says: str
) -> None:
    two_datasets(lethe)
    if fields is not None:
        connect(lethe, monkeypatch, "crm_b", **fields)
    text = lethe("run", "webinars", "--as-of", AS_OF, exit_code=1)
    assert lethe.rows() == set(range(50, 101)), "the other dataset goes"
    assert cells(text, "Erased")[1:] == ["", "50"]
    assert says in " ".join(text.split())
    run = text.split("Run ", 1)[1].split(":", 1)[0]
    certificate = json.loads(lethe("certificate", "show", run))["certificate"]
    problems = {dataset["name"]: dataset["problem"] for dataset in certificate["datasets"]}
    assert certificate["state"] == "failed"
    assert problems["registrations"] is None
    assert says in problems["guests"]


@pytest.mark.parametrize(
    "extra",
    [
        {"endpoint_url": 9000},
        {"endpoint_url": "ftp://127.0.0.1"},
        {"region_name": ["eu-central-1"]},
        {"config_kwargs": {"no_such_option": 1}},
        {"config_kwargs": {"s3": "path"}},
    ],
    ids=str,
)
def test_an_extra_that_leads_to_no_s3_fails_its_dataset_alone(
    lethe: Command, monkeypatch: pytest.MonkeyPatch, extra: dict[str, object]
) -> None:
    lethe.policy.write_text(POLICY + RECORDINGS)
    there = {"endpoint_url": "http://127.0.0.1:1", "region_name": "eu-central-1"}
    connect(lethe, monkeypatch, "lake", conn_type="aws", login="a", password="b", extra={**there, **extra})
    text = " ".join(lethe("run", "webinars", "--as-of", AS_OF, exit_code=1).split())
    assert lethe.rows() == set(range(50, 101)), "the other dataset goes"
    assert "check endpoint_url, region_name" in text
    assert "defect" not in text


def test_a_driver_that_is_not_installed_is_named(lethe: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    two_datasets(lethe)
    connect(lethe, monkeypatch, "crm_b", **DOWN)
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    monkeypatch.delitem(__import__("sys").modules, "lethe.stores.sql.dialects.postgresql", raising=False)
    text = " ".join(lethe("run", "webinars", "--as-of", AS_OF, exit_code=1).split())
    assert "the package psycopg is not installed here" in text
    assert lethe.rows() == set(range(50, 101))


def test_what_a_plan_could_not_check_is_checked_before_it_is_discovered(
    lethe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store comes back between plan and discover, and with it a dataset of a longer period."""
    from datetime import datetime

    from lethe import stages
    from lethe.connections import from_environment
    from lethe.environment import Environment
    from lethe.errors import ParameterError, StoreUnavailable

    another(lethe, "archive", "crm_b")
    here = {"conn_type": "sqlite", "host": str(lethe.warehouse)}
    connect(lethe, monkeypatch, "crm_b", **here)
    away = lethe.warehouse.with_name("away.db")
    lethe.warehouse.rename(away)
    with Environment(from_environment) as env:
        planned = stages.plan(env, "webinars", datetime.fromisoformat(AS_OF), trigger="test")
        assert planned.unchecked == ("registrations",)
        with pytest.raises(StoreUnavailable):
            stages.discover(env, planned, "registrations")
        away.rename(lethe.warehouse)
        with pytest.raises(ParameterError, match="have records in common"):
            stages.discover(env, planned, "registrations")


def test_a_neighbour_that_cannot_be_asked_stops_what_may_be_the_same(
    lethe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 1: what its connection leads to is not known, and here there is a table of that name."""
    another(lethe, "archive", "crm_b")
    text = " ".join(lethe("run", "webinars", "--as-of", AS_OF, exit_code=1).split())
    assert "webinars.yaml datasets.registrations: its connection has what archive.yaml datasets.registrations" in text
    assert "connection crm_b is not defined" in text
    assert len(lethe.rows()) == 101
    connect(lethe, monkeypatch, "crm_b", conn_type="sqlite", host=str(lethe.folder / "away.db"))
    assert "crm_b cannot be asked" in " ".join(lethe("run", "webinars", "--as-of", AS_OF, exit_code=1).split())
    assert len(lethe.rows()) == 101
    shutil.copy(lethe.warehouse, lethe.folder / "away.db")
    lethe("run", "webinars", "--as-of", AS_OF)
    assert len(lethe.rows()) == 51


def test_a_neighbour_that_cannot_be_the_same_stops_nothing(lethe: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    another(lethe, "archive", "crm_b", table="elsewhere")
    text = lethe("policy", "check", exit_code=1)
    assert "Remark: archive.yaml datasets.registrations: its store could not be asked where it is" in text
    lethe("run", "webinars", "--as-of", AS_OF)
    assert len(lethe.rows()) == 51


def test_a_neighbour_of_another_kind_is_not_even_asked(lethe: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the time-out of a server that a policy shares nothing with."""
    another(lethe, "archive", "crm_b")
    connect(lethe, monkeypatch, "crm_b", **DOWN)
    asked = []
    monkeypatch.setattr("lethe.stores.sql.dialects.postgresql.PostgreSQL.engine", lambda *_: asked.append(1))
    lethe("run", "webinars", "--as-of", AS_OF)
    assert asked == []
    assert len(lethe.rows()) == 51


def test_policies_that_overlap_by_name_do_not_run(lethe: Command) -> None:
    another(lethe, "archive", "crm")
    text = " ".join(lethe("run", "webinars", "--as-of", AS_OF, exit_code=1).split())
    assert "have records in common" in text
    assert len(lethe.rows()) == 101


def test_the_record_of_a_run_whose_store_went_away_waits_and_its_neighbours_do_not(
    lethe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_datasets(lethe)
    other = lethe.folder / "b.db"
    shutil.copy(lethe.warehouse, other)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("ALTER TABLE registrations RENAME TO guests")
        connection.commit()
    connect(lethe, monkeypatch, "crm_b", conn_type="sqlite", host=str(other))
    original = Runs.close

    def taken_away(self: Runs, run_id: str) -> None:
        original(self, run_id)
        if other.exists():
            other.rename(other.with_suffix(".away"))

    with monkeypatch.context() as patch:
        patch.setattr(Runs, "close", taken_away)
        text = lethe("run", "webinars", "--as-of", AS_OF, exit_code=1)
    assert "its record is completed by trying again, or by the next run" in " ".join(text.split())
    first = text.split("Run ", 1)[1].split(":", 1)[0]
    assert "closing" in lethe("report", first)
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        connection.execute("UPDATE registrations SET webinar_date = '2020-02-02' WHERE id = 60")
        connection.commit()
    text = lethe("run", "webinars", "--as-of", AS_OF, exit_code=1)
    assert cells(text, "Erased")[1:] == ["", "1"], "the other dataset goes on"
    other.with_suffix(".away").rename(other)
    lethe("run", "webinars", "--as-of", AS_OF)
    assert "succeeded" in lethe("report", first)
    assert cells(lethe("report", first), "Erased")[1:] == ["50", "50"]
