"""Airflow as docker-compose.yaml has it, on machines of their own: every promise holds, also where workers are killed.

Promises 2, 3, 5 and 7. What the compose files say is read from them: services, commands, environment, health checks.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest
from tests.e2e import celery_kit

from lethe.environment import Environment
from lethe_demo.compose import images, network
from lethe_demo.compose.deployment import Deployment, deploy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

SCALE = 0.1
CATEGORIES = ("webinars", "invoices", "events", "leads", "analytics")
"""Tables with children, objects, objects under a lock, and rows in files."""
STRUCK = {"webinars": "registrations.erase", "invoices": "issued.discover"}
"""In which task of a category its worker is killed; and one in certifying, whichever comes first."""


@dataclass
class World:
    """A deployment in which five categories have run while workers were killed."""

    deployment: Deployment
    env: Environment
    runs: celery_kit.Runs
    states: dict[str, str]
    killed: list[str]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Not under pytest's folder, which the servers' users may not enter when root runs it."""
    with TemporaryDirectory(prefix="lethe-celery-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def world(folder: Path, root: Path) -> Iterator[World]:
    """Everything up; a worker killed in the middle of discovering, of erasing and of certifying."""
    if missing := images.missing_programs():
        pytest.skip(f"Celery is not tried: there is no {', '.join(missing)}")
    if reason := network.why_not():
        pytest.skip(f"Celery is not tried: {reason}")
    with ExitStack() as stack:
        deployment = deploy(stack, root, folder, SCALE)
        env = stack.enter_context(Environment(deployment.resolve, deployment.settings))
        celery_kit.place(deployment, env)
        with ThreadPoolExecutor() as pool:
            erasing = pool.submit(strike, deployment, "lethe_crm", "marketing.webinar_registrations", "SHARE")
            certifying = pool.submit(strike, deployment, "lethe_governance", "lethe_proof_leaves", "SHARE")
            runs = celery_kit.start(deployment, CATEGORIES)
            discovering = pool.submit(strike_discovering, deployment)
            states = celery_kit.follow(deployment, runs)
            killed = [each.result() for each in (discovering, erasing, certifying)]
        yield World(deployment, env, runs, states, killed)


def strike(deployment: Deployment, conn_id: str, table: str, mode: str) -> str:
    return celery_kit.kill_whoever_waits(deployment, deployment.resolve(conn_id), table, mode)


def strike_discovering(deployment: Deployment) -> str:
    """Not before planning, which looks at the table, too, has ended: with the record of the run."""
    with Environment(deployment.resolve, deployment.settings) as env:
        celery_kit.until(lambda: bool(env.runs.latest(1, category="invoices")), every=0.2)
    return strike(deployment, "lethe_operations", "billing.invoices", "ACCESS EXCLUSIVE")


def test_all_runs_end_well_though_workers_are_killed(world: World) -> None:
    assert world.states == dict.fromkeys(CATEGORIES, "success")
    workers = {each.name for each in world.deployment.stack.of("airflow-worker")}
    assert len(workers) == 2
    assert set(world.killed) <= workers
    assert len(world.killed) == 3


def test_what_a_killed_worker_was_at_is_tried_again(world: World) -> None:
    api = world.deployment.api()
    tries = {category: celery_kit.tries(api, category, run) for category, run in world.runs.items()}
    for category, task in STRUCK.items():
        assert tries[category][task] >= 2, (category, tries[category])
    assert max(each["certify"] for each in tries.values()) >= 2


def test_every_promise_holds_on_the_stores_and_on_record(world: World) -> None:
    assert celery_kit.broken(world.deployment, world.env, CATEGORIES) == []


def test_whoever_made_machines_may_be_killed_and_nothing_is_left(tmp_path: Path) -> None:
    """The kernel ends all that runs on them, with networks and mounts; nothing of this is done by a process."""
    if reason := network.why_not():
        pytest.skip(f"machines are not tried: {reason}")
    with subprocess.Popen(
        [sys.executable, "-c", _MAKES_A_MACHINE, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as maker:
        assert maker.stdout is not None
        address = maker.stdout.readline().strip()
        assert address in links()
        assert running(tmp_path)
        maker.kill()
    celery_kit.until(lambda: address not in links() and not running(tmp_path), every=0.1)
    assert str(tmp_path) not in Path("/proc/mounts").read_text()


_MAKES_A_MACHINE = """
import sys, time
from pathlib import Path
from lethe_demo.compose.containers import Container
from lethe_demo.compose.file import Service
from lethe_demo.compose.network import Network
with Network(["one-1"]) as machines:
    service = Service("one", "redis:7", command=("/bin/sh", "-c", f"sleep 1000 & sleep 1000; : {sys.argv[1]}"))
    container = Container("one-1", service, Path(sys.argv[1]), Path.cwd(), machines)
    container.start()
    print(container.address.rpartition(".")[0], flush=True)
    time.sleep(1000)
"""


def links() -> set[str]:
    """The networks that this machine has an address in."""
    return {entry.address.rpartition(".")[0] for entries in psutil.net_if_addrs().values() for entry in entries}


def running(folder: Path) -> list[int]:
    """Processes of a container whose folder this is, which is in the arguments of those that began it."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if str(folder) in " ".join(process.cmdline()) and not process.name().startswith("python"):
                found.append(process.pid)
    return found
