"""A whole Airflow for the demo: its configuration, its four services, and its REST API.

`airflow standalone` leaves its scheduler and workers running when it is ended, so the services are started one by one.
Everything listens on 127.0.0.1 only, and all data is in one folder.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lethe.airflow.pools import pools as policy_pools
from lethe.connections import Connection, sqlalchemy_url
from lethe.policy import load_all
from lethe_demo.processes import Children, Services
from lethe_demo.servers import free_ports

USER, APPROVER = "admin", "approver"
"""Who starts runs, and a second person: who asks for a run cannot approve it."""

_UP_SECONDS = 300
_SERVICES = ("api-server", "scheduler", "dag-processor", "triggerer")


class AirflowError(Exception):
    """Airflow did not come up, or refused a request (with this HTTP status)."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status

    @property
    def passing(self) -> bool:
        """Whether Airflow is only starting, or busy."""
        return self.status is not None and self.status >= HTTPStatus.INTERNAL_SERVER_ERROR


@dataclass(frozen=True)
class AirflowServer:
    """Airflow in a folder.

    Attributes:
        folder: AIRFLOW_HOME, and everything that Airflow writes.
        checkout: the project folder, with dags/, plugins/ and include/policies/.
        metadata: a connection to an empty PostgreSQL database for Airflow's own data.
        connections: what Lethe's DAGs need.
        lethe_home: where Lethe writes.
        lineage: the file that OpenLineage events are appended to.
    """

    folder: Path
    checkout: Path
    metadata: Connection
    connections: Mapping[str, Connection]
    lethe_home: Path
    lineage: Path

    @cached_property
    def port(self) -> int:
        """A port that was free when it was first asked for."""
        return free_ports(1)[0]

    @property
    def url(self) -> str:
        """Where the UI is."""
        return f"http://127.0.0.1:{self.port}"

    @cached_property
    def passwords(self) -> dict[str, str]:
        """The passwords of `USER` and `APPROVER`: made once, kept in the folder."""
        file = self.folder / "passwords.json"
        kept: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
        passwords = {user: kept.get(user) or secrets.token_urlsafe(12) for user in (USER, APPROVER)}
        if passwords != kept:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write_secret(file, json.dumps(passwords))
        return passwords

    @cached_property
    def environment(self) -> dict[str, str]:
        """The environment of every Airflow process, and of those who want to use its command line."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "LETHE_"))}
        return (
            own | self._settings | {f"AIRFLOW_CONN_{c.conn_id.upper()}": _as_json(c) for c in self.connections.values()}
        )

    @property
    def _settings(self) -> dict[str, str]:
        sections: dict[str, dict[str, object]] = {
            "core": {
                "dags_folder": self.checkout / "dags",
                "plugins_folder": self.checkout / "plugins",
                "load_examples": False,
                "executor": "LocalExecutor",
                "parallelism": max(4, os.cpu_count() or 1),
                "execution_api_server_url": f"{self.url}/execution/",
                "simple_auth_manager_users": f"{USER}:admin,{APPROVER}:op",
                "simple_auth_manager_passwords_file": self.folder / "passwords.json",
            },
            "database": {"sql_alchemy_conn": self._metadata_url},
            "api": {
                "host": "127.0.0.1",
                "port": self.port,
                "base_url": self.url,
                "workers": 1,
                "secret_key": secrets.token_hex(16),
            },
            "api_auth": {"jwt_secret": secrets.token_hex(32)},
            "logging": {"base_log_folder": self.folder / "logs"},
            # Only what is started here runs: a scheduled run in the middle of it would be looked at half done.
            "scheduler": {
                "scheduler_idle_sleep_time": 0.5,
                "enable_health_check": False,
                "use_job_schedule": False,
            },
            # Files are read again when they change, and policies after a while: of two cores, reading all of them every
            # half a minute takes a quarter.
            "dag_processor": {"refresh_interval": 5, "min_file_process_interval": 600},
            "openlineage": {
                "transport": json.dumps({"type": "file", "log_file_path": str(self.lineage), "append": True}),
                "namespace": "lethe-demo",
            },
        }
        named = {
            f"AIRFLOW__{section.upper()}__{name.upper()}": str(value)
            for section, values in sections.items()
            for name, value in values.items()
        }
        return named | {
            "AIRFLOW_HOME": str(self.folder),
            "LETHE_HOME": str(self.lethe_home),
            "LETHE_PROJECT": str(self.checkout),
            "PYTHONUNBUFFERED": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    @property
    def _metadata_url(self) -> str:
        url = sqlalchemy_url(self.metadata).set(drivername="postgresql+psycopg2")
        return url.render_as_string(hide_password=False)

    def migrate(self, children: Children) -> None:
        """Write what Airflow reads, and create its tables unless the same version did before.

        Raises:
            RuntimeError: if that fails.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lineage.parent.mkdir(parents=True, exist_ok=True)
        _ = self.passwords
        settings = self.folder / "config" / "airflow_local_settings.py"
        settings.parent.mkdir(exist_ok=True)
        settings.write_text(_LOCAL_SETTINGS)
        done = self.folder / f"migrated-{version('apache-airflow')}"
        if not done.exists():
            children.run("airflow-db", [*_AIRFLOW, "db", "migrate"], self.environment)
            done.touch()

    def start(self, children: Children) -> None:
        """Start the four services."""
        for service in _SERVICES:
            quiet = ["--skip-serve-logs"] if service in ("scheduler", "triggerer") else []
            children.start(service, [*_AIRFLOW, service, *quiet], self.environment)

    def wait(self, children: Children, dags: tuple[str, ...]) -> AirflowApi:
        """Wait until Airflow answers and knows the DAGs, and make the pools that they need.

        Raises:
            AirflowError: if a service ends, a DAG file has an error, or five minutes pass.
        """
        api = AirflowApi(self.url, self.passwords[USER])
        wait_for_dags(api, children, dags)
        api.make_pools(policy_pools(load_all(self.checkout / "include" / "policies").values()))
        return api


def wait_for_dags(api: AirflowApi, services: Services, dags: tuple[str, ...]) -> None:
    """Wait until Airflow answers and shows DAGs.

    Raises:
        AirflowError: if a service ends, a DAG file has an error, or two minutes pass.
    """
    deadline = time.monotonic() + _UP_SECONDS
    while not api.has(dags):
        if ended := services.ended():
            raise AirflowError(f"{', '.join(ended)} ended; see {services.folder}")
        if time.monotonic() > deadline:
            raise AirflowError(f"Airflow did not show all DAGs in {_UP_SECONDS} s; see {services.folder}")
        time.sleep(0.5)


_LOCAL_SETTINGS = """# Airflow imports this in each process. Tasks are forked from the scheduler with all that it has.
import sys

if "scheduler" in sys.argv:
    import lethe_demo.preload  # noqa: F401
"""
_AIRFLOW = (sys.executable, "-m", "airflow")


def _as_json(connection: Connection) -> str:
    fields = {
        "conn_type": connection.conn_type,
        "host": connection.host,
        "port": connection.port,
        "schema": connection.schema,
        "login": connection.login,
        "password": connection.password,
        "extra": dict(connection.extra),
    }
    return json.dumps({name: value for name, value in fields.items() if value})


def _write_secret(file: Path, text: str) -> None:
    """Write a file that only its owner can read, from its first byte on."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(text)


class AirflowApi:
    """The few requests to Airflow's REST API that the demo needs, as one of its users."""

    def __init__(self, url: str, password: str, user: str = USER) -> None:
        self._url = url
        self._user = user
        self._password = password
        self._token: str | None = None

    def has(self, dags: tuple[str, ...]) -> bool:
        """Whether Airflow is up and shows all of these DAGs.

        Raises:
            AirflowError: if a DAG file has an error.
        """
        try:
            errors = self.get("/api/v2/importErrors")["import_errors"]
            found = {dag["dag_id"] for dag in self.get("/api/v2/dags")["dags"]}
        except AirflowError as error:
            if error.passing:
                return False
            raise
        if errors:
            raise AirflowError(f"{errors[0]['filename']}: {errors[0]['stack_trace'].splitlines()[-1]}")
        return found >= set(dags)

    def make_pools(self, pools: Mapping[str, Mapping[str, object]]) -> None:
        """Make pools, unless they are there."""
        there = {pool["name"] for pool in self.get("/api/v2/pools")["pools"]}
        for name in pools.keys() - there:
            self._request("POST", "/api/v2/pools", {"name": name, **pools[name]})

    def start(self, dag: str, conf: Mapping[str, object]) -> str:
        """Start a run of a DAG and unpause it; give the run's id.

        Airflow starts the run that was due last as soon as a DAG is unpaused. So where one is due, this run takes its
        place: it has its date, and is there first.
        """
        due = self.get(f"/api/v2/dags/{dag}")["next_dagrun_logical_date"]
        dates = [due] if due and datetime.fromisoformat(due) < datetime.now(UTC) else []
        for date in (*dates, None):
            try:
                run = self._request("POST", f"/api/v2/dags/{dag}/dagRuns", {"logical_date": date, "conf": dict(conf)})
                break
            except AirflowError as error:  # an earlier demo's run has that date already
                if date is None or error.status != HTTPStatus.CONFLICT:
                    raise
        self._request("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})
        return str(run["dag_run_id"])

    def backfill(self, dag: str, first: datetime, last: datetime) -> list[str]:
        """Have Airflow make the runs that were due from one moment to another; give their ids once they are there."""
        body = {"dag_id": dag, "from_date": first.isoformat(), "to_date": last.isoformat()}
        self._request("POST", "/api/v2/backfills", body)
        self._request("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})
        runs = self.get(f"/api/v2/dags/{dag}/dagRuns?run_type=backfill")["dag_runs"]
        return [str(run["dag_run_id"]) for run in runs]

    def as_approver(self, password: str) -> AirflowApi:
        """The same as the second person."""
        return AirflowApi(self._url, password, APPROVER)

    def state(self, dag: str, run: str) -> str:
        """The state of a run."""
        return str(self.get(f"/api/v2/dags/{dag}/dagRuns/{run}")["state"])

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        """The task instances of a run."""
        found: list[dict[str, Any]] = self.get(f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
        return found

    def approve(self, dag: str, run: str) -> None:
        """Answer the question of a run that waits for a person, unless somebody has."""
        path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/approve/-1/hitlDetails"
        try:
            self._request("PATCH", path, {"chosen_options": ["Approve"], "params_input": {}})
        except AirflowError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """The JSON that a path answers with."""
        return self._request("GET", path)

    def _request(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        if self._token is None:
            self._token = self._sign_in()
        return self._send(method, path, body, {"Authorization": f"Bearer {self._token}"})

    def _sign_in(self) -> str:
        answer = self._send("POST", "/auth/token", {"username": self._user, "password": self._password}, {})
        return str(answer["access_token"])

    def _send(self, method: str, path: str, body: object, headers: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
        request = urllib.request.Request(  # noqa: S310 - always 127.0.0.1
            self._url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **headers},
        )
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AirflowError(f"Airflow refused {method} {path}: {error.code} {error.reason}", error.code) from None
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            raise AirflowError(f"Airflow does not answer {method} {path}", HTTPStatus.SERVICE_UNAVAILABLE) from None
