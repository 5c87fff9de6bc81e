"""The demo on Celery: what the compose files have, on machines of their own, with the company in its stores."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from lethe.environment import Environment
from lethe_demo import account, demo, show
from lethe_demo.airflow_server import APPROVER, AirflowError, wait_for_dags
from lethe_demo.compose import images, network
from lethe_demo.compose.deployment import Deployment, deploy
from lethe_demo.compose.stack import Stack


def run(stack: ExitStack, folder: Path, phases: show.Phases, scale: float) -> tuple[bool, Stack]:
    """Start everything, run all categories and show what they did; whether every promise holds, and the services.

    What an earlier demo left in the folder is taken away first; its secrets have gone with it.

    Raises:
        AirflowError, ComposeError, RuntimeError: if that is not possible here, or something does not come up.
    """
    if missing := images.missing_programs():
        raise AirflowError(f"the demo on Celery needs {', '.join(missing)}: install it")
    if reason := network.why_not():
        raise AirflowError(f"the demo on Celery has a machine for each service, and there can be none: {reason}")
    shutil.rmtree(folder, ignore_errors=True)
    with phases.phase("Two workers, and all that docker-compose.yaml has"):
        deployment = deploy(stack, demo.CHECKOUT, folder, scale)
    env = stack.enter_context(Environment(deployment.resolve, deployment.settings))
    demo.put_on_record(env, deployment.seeding, phases)
    with phases.phase("Dry runs"):
        demo.see_dry_runs(deployment.resolve, deployment.settings, deployment.seeding.as_of)
    demo.sign_in(phases, deployment.url, deployment.users)
    with phases.phase("All categories"):
        states = _run_all(deployment, env, phases)
    with phases.phase("Looking at the stores"):
        seen = list(deployment.look(env, account.CATEGORIES))
    good = demo.judge(phases, seen, states)
    demo.sign_in(phases, deployment.url, deployment.users)
    return good, deployment.stack


def _run_all(deployment: Deployment, env: Environment, phases: show.Phases) -> Mapping[str, str]:
    api = deployment.api()
    wait_for_dags(api, deployment.stack, account.CATEGORIES)
    conf = {"as_of": deployment.seeding.as_of.isoformat()}
    runs = {category: api.start(category, conf) for category in account.CATEGORIES}
    states = show.follow(phases.console, api, deployment.api(APPROVER), deployment.stack, runs)
    phases.console.print(show.results(account.done_by_airflow(env, runs)))
    return states
