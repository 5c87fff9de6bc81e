"""The demo: a company in real stores, its categories run by a real Airflow, and a look at what that left.

Everything runs on this machine, listens on 127.0.0.1 only, and keeps its data in one folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lethe import stages
from lethe.connections import Connection, Resolver
from lethe.environment import Environment
from lethe.keys import new_connection
from lethe.settings import Settings
from lethe_demo import account, show, traces
from lethe_demo.airflow_server import APPROVER, AirflowApi, AirflowError, AirflowServer
from lethe_demo.oracle import Oracle, Verdict
from lethe_demo.processes import Children, Services
from lethe_demo.seed import CRM_ID, LAKE_ID, OPERATIONS_ID, Seeding, seed
from lethe_demo.servers import EmbeddedPostgres, EmbeddedS3

CHECKOUT = Path(__file__).resolve().parents[2]
"""Where the demo's DAG files, policies and suites are: no package brings them."""
_DATABASES = {CRM_ID: "crm", OPERATIONS_ID: "operations", "lethe_governance": "governance"}
_METADATA = "airflow"


@dataclass(frozen=True)
class Demo:
    """The parts of a demo that is up."""

    folder: Path
    settings: Settings
    connections: dict[str, Connection]
    postgres: EmbeddedPostgres
    airflow: AirflowServer
    children: Children
    phases: show.Phases

    def resolve(self, conn_id: str) -> Connection:
        """A connection by its id."""
        return self.connections[conn_id]


def bring_up(stack: ExitStack, folder: Path, phases: show.Phases) -> Demo:
    """Start the stores; whatever is started ends with `stack`."""
    children = stack.enter_context(Children(folder / "services"))
    with phases.phase("PostgreSQL and S3"), ThreadPoolExecutor(1) as beside:
        starting = beside.submit(stack.enter_context, EmbeddedS3(folder / "s3"))
        postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
        s3 = starting.result()
    for name in (*_DATABASES.values(), _METADATA):
        postgres.create_database(name)
    connections = {conn_id: postgres.connection(conn_id, name) for conn_id, name in _DATABASES.items()}
    connections[LAKE_ID] = s3.connection(LAKE_ID)
    connections["lethe_keys"] = _keys(folder / "keys.json")
    settings = Settings(
        policies=CHECKOUT / "include" / "policies", expectations=CHECKOUT / "expectations", home=folder / "lethe"
    )
    airflow = AirflowServer(
        folder=folder / "airflow",
        checkout=CHECKOUT,
        metadata=postgres.connection("airflow", _METADATA),
        connections=connections,
        lethe_home=settings.home,
        lineage=folder / "lineage" / "events.jsonl",
    )
    return Demo(folder, settings, connections, postgres, airflow, children, phases)


def _keys(file: Path) -> Connection:
    """The demo's keys: made once, readable by their owner only."""
    if not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write(new_connection())
    return Connection.parse("lethe_keys", file.read_text())


def prepare(demo: Demo, env: Environment, scale: float) -> tuple[Seeding, AirflowApi]:
    """Seed the stores, start Airflow, place the holds; all of it unless it was done before.

    Raises:
        AirflowError, RuntimeError: if Airflow does not come up.
    """
    phases = demo.phases
    with phases.phase("The company and Airflow's database"), ThreadPoolExecutor(1) as beside:
        migrating = beside.submit(demo.airflow.migrate, demo.children)
        seeding = seed(demo.resolve, datetime.now(UTC), scale, say=phases.say)
        migrating.result()
        demo.airflow.start(demo.children)
    put_on_record(env, seeding, phases)
    with phases.phase("Airflow, and dry runs beside it"), ThreadPoolExecutor(1) as beside:
        seen = beside.submit(see_dry_runs, demo.resolve, demo.settings, seeding.as_of)
        api = demo.airflow.wait(demo.children, account.CATEGORIES)
        seen.result()
    return seeding, api


def put_on_record(env: Environment, seeding: Seeding, phases: show.Phases) -> None:
    """Place the company's holds and record its events, as people would."""
    with phases.phase("Legal holds, and events that start periods"):
        for matter in account.place_matters(env, seeding.company):
            phases.say(f"{matter} is in force")
        if count := account.record_events(env, seeding.company):
            phases.say(f"{count} relationships with suppliers ended, as two people recorded")


def see_dry_runs(resolve: Resolver, settings: Settings, as_of: datetime) -> None:
    """Run every policy dry: one that nobody has seen asks a person before it erases."""
    with Environment(resolve, settings) as env:
        for category in account.CATEGORIES:
            stages.run(env, stages.plan(env, category, as_of, trigger="the demo", dry_run=True))


def run(demo: Demo, scale: float) -> bool:
    """Run all categories and show what they did; whether all succeeded and every promise holds.

    Raises:
        AirflowError, RuntimeError: if Airflow does not come up, or ends.
    """
    phases = demo.phases
    with Environment(demo.resolve, demo.settings) as env:
        seeding, api = prepare(demo, env, scale)
        _sign_in(demo)
        with phases.phase("All categories"):
            approver = api.as_approver(demo.airflow.passwords[APPROVER])
            conf = {"as_of": seeding.as_of.isoformat()}
            runs = {category: api.start(category, conf) for category in account.CATEGORIES}
            states = show.follow(phases.console, api, approver, demo.children, runs)
        phases.console.print(show.results(account.done_by_airflow(env, runs)))
        with phases.phase("Looking at the stores"):
            seen = list(_look(demo, env, seeding))
    good = judge(phases, seen, states)
    _sign_in(demo)
    return good


def judge(phases: show.Phases, seen: Sequence[Verdict], states: Mapping[str, str]) -> bool:
    """Show what was seen of every promise; whether all hold, and all runs (DAG → state) succeeded."""
    phases.console.print(show.verdicts(seen))
    good = all(verdict.holds for verdict in seen) and set(states.values()) == {"success"}
    phases.console.print("[green]Every promise holds.[/]" if good else "[red]Not every promise holds.[/]")
    phases.console.print(f"Took {phases.total()}.", highlight=False)
    return good


def _look(demo: Demo, env: Environment, seeding: Seeding) -> Iterator[Verdict]:
    oracle = Oracle(seeding.company, account.judged_by(env))
    yield from oracle.look(demo.resolve)
    yield from account.look_at_record(env, oracle)
    folders = {
        "logs of tasks": demo.airflow.folder,
        "logs of services": demo.children.folder,
        "lineage": demo.airflow.lineage.parent,
        "Data Docs": demo.settings.home,
    }
    databases = {
        "Airflow's metadata": (demo.airflow.metadata, _METADATA),
        "governance database": (demo.connections["lethe_governance"], "governance"),
    }
    yield from traces.look(oracle.company, folders, databases)


def _sign_in(demo: Demo) -> None:
    sign_in(demo.phases, demo.airflow.url, demo.airflow.passwords)


def sign_in(phases: show.Phases, url: str, passwords: Mapping[str, str]) -> None:
    """Say where Airflow is, and as whom (user → password) people sign in: who starts runs, and who approves them."""
    users = [f"[bold]{user}[/], password [bold]{password}[/]" for user, password in passwords.items()]
    phases.console.print(f"Airflow: [bold]{url}[/]", highlight=False)
    phases.console.print(f"  user {users[0]}", highlight=False)
    phases.console.print(f"  user {users[1]}: who starts a run cannot approve it", highlight=False)


def stay(phases: show.Phases, services: Services) -> None:
    """Stay up until Ctrl-C; end with a message if a service does."""
    try:
        while not services.ended():
            time.sleep(1)
    except KeyboardInterrupt:
        phases.console.print("Ending everything …")
        return
    raise AirflowError(f"{', '.join(services.ended())} ended; see {services.folder}")
