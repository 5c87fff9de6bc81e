"""A small company for tests of whole DAG runs: a table with a child table, a bucket, a policy, and its Airflow."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from lethe.airflow.connections import open_environment
from lethe.connections import Connection
from lethe.evidence.records import DatasetRecord, RunRecord
from lethe.holds.registry import HoldRequest
from lethe.judging.identifiers import IdentifierType
from lethe.keys import new_connection
from lethe_demo.servers import EmbeddedPostgres, EmbeddedS3

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.sdk import DAG
    from sqlalchemy.orm import Session

CANARY = "canary7q"
"""In every value of every record, so that it can be looked for where it must not be."""

AS_OF = datetime(2026, 6, 15, 3, 0, tzinfo=UTC)
FIRST_KEPT = date(2024, 12, 15)
"""The first clock that has not expired after eighteen months at `AS_OF`."""

POLICY = """\
category: webinars
title: Webinars of a test
owner: marketing-data
legal_basis: Consent, Article 6(1)(a) GDPR
source: "§ 5.5"
retention: {{keep_for: P18M}}
time_zone: Europe/Prague
schedule: "15 2 * * *"
limits: {{records: {records}, share: {share}}}
datasets:
  - name: registrations
    kind: table
    store: lethe_crm
    table: marketing.registrations
    key: [id]
    clock: {{column: held_on}}
    identifiers: {{email: [email]}}
    children: [{{table: marketing.attendance, foreign_key: [registration_id]}}]
"""
_RECORDINGS = """\
  - name: recordings
    kind: objects
    store: lethe_lake
    bucket: {bucket}
    prefix: recordings/
    clock: {{key: "/date=(?P<value>[^/]+)/"}}
"""

_TABLES = """
CREATE SCHEMA marketing;
CREATE TABLE marketing.registrations (id integer PRIMARY KEY, email text NOT NULL, held_on date);
CREATE INDEX ON marketing.registrations (held_on);
CREATE TABLE marketing.attendance (id integer PRIMARY KEY, name text,
    registration_id integer NOT NULL REFERENCES marketing.registrations);
CREATE INDEX ON marketing.attendance (registration_id);
"""


@dataclass
class World:
    """The company and its Airflow. `home` is where policies and the governance database are."""

    postgres: EmbeddedPostgres
    s3: EmbeddedS3
    home: Path
    airflow_home: Path
    monkeypatch: pytest.MonkeyPatch
    name: str = field(default_factory=lambda: f"w{secrets.token_hex(4)}")

    def __post_init__(self) -> None:
        self.postgres.create_database(self.name)
        self.engine = self.postgres.engine(self.name)
        self.client = self.s3.client()
        self.client.create_bucket(Bucket=self.name)
        self._connect(self.postgres.connection("lethe_crm", self.name))
        self._connect(self.s3.connection("lethe_lake"))
        self._connect(Connection("lethe_governance", "sqlite", host=str(self.home / "governance.db")))
        self.monkeypatch.setenv("AIRFLOW_CONN_LETHE_KEYS", new_connection())
        self.monkeypatch.setenv("LETHE_HOME", str(self.home))
        self.monkeypatch.setenv("LETHE_POLICIES", str(self.home / "policies"))
        (self.home / "expectations").mkdir()
        self.monkeypatch.setenv("LETHE_EXPECTATIONS", str(self.home / "expectations"))
        (self.home / "policies").mkdir()
        self.write_policy()
        dag_file = 'from lethe.airflow import retention_dag\n\ndag = retention_dag("webinars")\n'
        (self.airflow_home / "dags" / "webinars.py").write_text(dag_file)
        self._fill()

    def _connect(self, connection: Connection) -> None:
        names = ("conn_type", "host", "port", "schema", "login", "password")
        fields = {name: getattr(connection, name) for name in names}
        text = json.dumps({**fields, "extra": dict(connection.extra)})
        self.monkeypatch.setenv(f"AIRFLOW_CONN_{connection.conn_id.upper()}", text)

    def write_policy(self, *, records: int = 100_000, share: float = 0.9, recordings: bool = True) -> None:
        """The policy, with limits; of the registrations alone where a test is not about several datasets."""
        text = (POLICY + _RECORDINGS * recordings).format(records=records, share=share, bucket=self.name)
        (self.home / "policies" / "webinars.yaml").write_text(text)

    def _fill(self) -> None:
        """400 registrations, one a day, 200 of them expired; 40 objects, 20 of them expired."""
        days = [FIRST_KEPT + timedelta(days=n) for n in range(-200, 200)]
        with self.engine.begin() as connection:
            for statement in _TABLES.split(";")[:-1]:
                connection.execute(sa.text(statement))
            connection.execute(
                sa.text("INSERT INTO marketing.registrations VALUES (:id, :email, :day)"),
                [{"id": n, "email": f"{CANARY}-{n}@example.org", "day": day} for n, day in enumerate(days)],
            )
            connection.execute(
                sa.text("INSERT INTO marketing.attendance VALUES (:id, :name, :id)"),
                [{"id": n, "name": f"{CANARY} {n}"} for n in range(0, 400, 2)],
            )
        for day in days[180:220]:
            key = f"recordings/date={day.isoformat()}/{CANARY}-{day:%j}.txt"
            self.client.put_object(Bucket=self.name, Key=key, Body=CANARY.encode())

    # --- what is there ------------------------------------------------------------------------------------------

    def registrations(self) -> set[int]:
        """The ids that are left."""
        with self.engine.connect() as connection:
            return set(connection.scalars(sa.text("SELECT id FROM marketing.registrations")))

    def attendance(self) -> set[int]:
        """The ids of child rows that are left."""
        with self.engine.connect() as connection:
            return set(connection.scalars(sa.text("SELECT id FROM marketing.attendance")))

    def recordings(self) -> int:
        """How many objects are left."""
        return len(self.client.list_objects_v2(Bucket=self.name, Prefix="recordings/").get("Contents", []))

    def staged(self) -> list[tuple[str, str]]:
        """What is staged in both stores: run and dataset."""
        with open_environment() as env:
            datasets = env.policy("webinars").datasets
            return [staged for dataset in datasets for staged in env.store(dataset).staged_runs(dataset)]

    def hold(self, *numbers: int) -> None:
        """Place a hold on people."""
        people = {IdentifierType.EMAIL: [f"{CANARY}-{n}@example.org" for n in numbers]}
        with open_environment() as env:
            env.registry.place(HoldRequest("2026/7", "dispute", identifiers=people), by="legal", policies=env.policies)

    def last_run(self) -> tuple[RunRecord, dict[str, DatasetRecord]]:
        """The record of the latest run."""
        with open_environment() as env:
            record = env.runs.latest(1)[0]
            return record, {dataset.dataset: dataset for dataset in env.runs.datasets(record.id)}

    # --- Airflow ------------------------------------------------------------------------------------------------

    def dag(self, dag_id: str = "webinars") -> DAG:
        """The DAG, or another of the folder, as Airflow parses it."""
        from airflow.dag_processing.dagbag import DagBag

        bag = DagBag(dag_folder=self.airflow_home / "dags")
        assert not bag.import_errors, bag.import_errors
        dag: DAG = bag.dags[dag_id]
        return dag

    def carry_out(self, run_id: str) -> DagRun:
        """A DAG run that was started in one of Airflow's own ways, task by task, in this process."""
        from airflow.models.dagrun import DagRun
        from airflow.utils.state import DagRunState

        def started(*, dag: object, session: Session, **_: object) -> DagRun:
            run: DagRun = session.scalars(sa.select(DagRun).where(DagRun.run_id == run_id)).one()
            run.state, run.start_date = DagRunState.RUNNING, run.start_date or datetime.now(UTC)
            session.commit()
            run.dag = dag
            return run

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("airflow.models.dagrun.get_or_create_dagrun", started)
            return self.dag().test(logical_date=datetime(2000, 1, 1, tzinfo=UTC))

    def run(self, conf: Mapping[str, Any] | None = None, *, logical_date: datetime | None = AS_OF) -> DagRun:
        """A whole DAG run, task by task, in this process."""
        return self.dag().test(run_conf=dict(conf or {}), logical_date=logical_date, run_after=logical_date or AS_OF)

    def run_watching(self, call: str, *, logical_date: datetime = AS_OF) -> DagRun:
        """A run of a DAG that looks after all categories, made by this call: `coverage_dag()`, for example."""
        maker = call.partition("(")[0]
        dag_id = f"lethe_{maker.removesuffix('_dag')}"
        file = self.airflow_home / "dags" / f"{dag_id}.py"
        file.write_text(f"from lethe.airflow import {maker}\n\ndag = {call}\n")
        return self.dag(dag_id).test(logical_date=logical_date, run_after=logical_date)


def states(run: DagRun) -> dict[str, str]:
    """The state of every task of a DAG run; mapped ones carry their index."""
    return {
        f"{ti.task_id}[{ti.map_index}]" if ti.map_index >= 0 else ti.task_id: str(ti.state)
        for ti in run.get_task_instances()
    }


_TABLES_OF_AIRFLOW = ("xcom", "rendered_task_instance_fields", "log", "dag_run", "hitl_detail", "task_instance")


def metadata_text() -> str:
    """All that Airflow's metadata database holds in some tables, as text."""
    from airflow.utils.session import create_session

    with create_session() as session:
        queries = [sa.text(f"SELECT * FROM {table}") for table in _TABLES_OF_AIRFLOW]  # noqa: S608 - names from above
        return "\n".join(str(row) for query in queries for row in session.execute(query))
