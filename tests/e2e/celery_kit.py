"""What tests of the compose files do to a stack that is up: runs, and workers that are killed at an instruction."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import psycopg
from psycopg import sql

from lethe.connections import Connection
from lethe.environment import Environment
from lethe.evidence.signing_keys import trusted_keys
from lethe.stages.audit import audit_evidence
from lethe_demo import account
from lethe_demo.airflow_server import AirflowApi, AirflowError
from lethe_demo.compose.deployment import Deployment
from lethe_demo.compose.filled_in import APPROVER
from lethe_demo.seed import database

_LOOK_SECONDS = 0.1
_POLL_SECONDS = 3.0
"""Airflow takes a tenth of a second of a core to answer."""
_PATIENCE_SECONDS = 600.0
"""Of tests, which only fail where nothing happens any more."""

Runs = dict[str, str]
"""The id of an Airflow run by its DAG."""


def place(deployment: Deployment, env: Environment) -> None:
    """Put holds and events on record, as people would."""
    account.place_matters(env, deployment.seeding.company)
    account.record_events(env, deployment.seeding.company)


def start(deployment: Deployment, categories: Sequence[str]) -> Runs:
    """Start a run of each category, as of the seeding."""
    api, conf = deployment.api(), {"as_of": deployment.seeding.as_of.isoformat()}
    until(lambda: api.has(tuple(categories)))
    return {category: api.start(category, conf) for category in categories}


def until(true: Callable[[], bool], every: float = _POLL_SECONDS) -> None:
    """Wait until something is so, while an Airflow that does not answer is asked again."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            if true():
                return
        except AirflowError as error:
            if not error.passing:
                raise
        assert time.monotonic() < deadline, f"it has not come to be in {_PATIENCE_SECONDS:.0f} s"
        time.sleep(every)


def follow(deployment: Deployment, runs: Mapping[str, str]) -> dict[str, str]:
    """Wait until runs have ended, and give their states. A second user approves what asks."""
    api, approver = deployment.api(), deployment.api(APPROVER)
    states: dict[str, str] = {}

    def all_over() -> bool:
        for dag in runs.keys() - states.keys():
            if task_states(api, dag, runs[dag]).get("approve") == {"awaiting_input"}:
                approver.approve(dag, runs[dag])
            if (state := api.state(dag, runs[dag])) in ("success", "failed"):
                states[dag] = state
        return states.keys() == runs.keys()

    until(all_over)
    return states


def task_states(api: AirflowApi, dag: str, run: str) -> dict[str, set[str]]:
    """The states of a run's tasks; those that are mapped have several."""
    states: dict[str, set[str]] = {}
    for task in api.tasks(dag, run):
        states.setdefault(str(task["task_id"]), set()).add(str(task["state"]))
    return states


def tries(api: AirflowApi, dag: str, run: str) -> dict[str, int]:
    """How often the tasks of a run were tried; of those that are mapped, the most."""
    most: dict[str, int] = {}
    for task in api.tasks(dag, run):
        most[str(task["task_id"])] = max(most.get(str(task["task_id"]), 0), int(task["try_number"]))
    return most


@contextmanager
def locked(connection: Connection, table: str, mode: str) -> Iterator[None]:
    """Within, nobody gets a lock on a table that this mode conflicts with: whoever wants one waits there."""
    with database(connection) as opened:
        name = sql.SQL(".").join(sql.Identifier(part) for part in table.split("."))
        opened.execute(sql.SQL("LOCK TABLE {} IN {} MODE").format(name, sql.SQL(mode)))
        yield


def waiting_machine(deployment: Deployment, connection: Connection, table: str) -> str:
    """The machine of a worker's process that waits for a lock on a table, once one does."""
    workers = {each.address: each.name for each in deployment.stack.of("airflow-worker")}
    found: list[str] = []
    with database(connection, connection.schema) as opened:  # each look is a transaction of its own

        def somebody_waits() -> bool:
            found.extend(workers[address] for address in _waiting(opened, table) if address in workers)
            return bool(found)

        until(somebody_waits, every=_LOOK_SECONDS)
    return found[0]


def _waiting(opened: psycopg.Connection, table: str) -> list[str]:
    rows = opened.execute(
        "SELECT host(client_addr) FROM pg_stat_activity JOIN pg_locks USING (pid) "
        "WHERE relation = %s::regclass AND NOT granted",
        [table],
    )
    return [str(address) for (address,) in rows]


def kill_whoever_waits(deployment: Deployment, connection: Connection, table: str, mode: str) -> str:
    """Kill the machine of the worker that comes to want a lock on a table, and start it again; gives its name."""
    with locked(connection, table, mode):
        name = waiting_machine(deployment, connection, table)
        deployment.stack.kill_and_start(name)
    return name


def broken(deployment: Deployment, env: Environment, categories: Sequence[str]) -> list[str]:
    """What is not as it must be: in the stores, on record, where nobody may be named, and in the evidence."""
    seen = list(deployment.look(env, categories))
    assert len(seen) > 5 * len(categories), "the oracle has looked"
    found = [f"{verdict.promise}: {verdict.dataset}: {verdict.detail}" for verdict in seen if not verdict.holds]
    audit = audit_evidence(env, trusted_keys(env.governance, env.keys), leaves=True)
    assert audit.certificates >= len(categories)
    return [*found, *audit.findings]
