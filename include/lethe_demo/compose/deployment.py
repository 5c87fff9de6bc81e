"""The demo company in the compose files' Airflow: stores filled, users at hand, and a look at what runs left."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lethe.connections import Connection
from lethe.environment import Environment
from lethe.settings import Settings
from lethe_demo import account, traces
from lethe_demo.airflow_server import AirflowApi
from lethe_demo.compose.file import ComposeError, Variables
from lethe_demo.compose.filled_in import ADMINISTRATOR, APPROVER, filled_in
from lethe_demo.compose.stack import Stack
from lethe_demo.oracle import Oracle, Verdict
from lethe_demo.seed import Seeding, seeding

FILES = ("docker-compose.yaml", "docker-compose.demo.yaml")
WORKERS = {"airflow-worker": 2}
"""Two, on machines of their own: nothing is shared but the databases."""


@dataclass(frozen=True)
class Deployment:
    """Everything that the compose files have, up, with the company in its stores.

    Attributes:
        stack: the services.
        variables: what `.env` would say.
        connections: the workers' own, as they are reached from here.
        settings: for what is done from here: holds, events, dry runs, a look at the record.
    """

    stack: Stack
    variables: Variables
    connections: dict[str, Connection]
    settings: Settings

    def resolve(self, conn_id: str) -> Connection:
        """A connection by its id."""
        return self.connections[conn_id]

    @property
    def seeding(self) -> Seeding:
        """What the service `seed` has put into the stores.

        Raises:
            ComposeError: if it has not.
        """
        if found := seeding(self.resolve):
            return found
        raise ComposeError("the stores are empty: see the output of seed")

    @property
    def url(self) -> str:
        """Where Airflow's pages are."""
        return f"http://{self.stack.address('airflow-apiserver')}:8080"

    @property
    def users(self) -> dict[str, str]:
        """The passwords of both users: who starts runs, and who approves them."""
        return {
            ADMINISTRATOR: self.variables["AIRFLOW_ADMIN_PASSWORD"],
            APPROVER: self.variables["AIRFLOW_APPROVER_PASSWORD"],
        }

    def api(self, user: str = ADMINISTRATOR) -> AirflowApi:
        """Airflow's REST API as a user."""
        return AirflowApi(self.url, self.users[user], user)

    def look(self, env: Environment, categories: Sequence[str]) -> Iterator[Verdict]:
        """Every promise, looked at in the stores and on record, of these categories, and where nobody may be named."""
        oracle = Oracle(self.seeding.company, account.judged_by(env))
        for verdict in (*oracle.look(self.resolve), *account.look_at_record(env, oracle)):
            if _categories_of(verdict) <= set(categories):
                yield verdict
        yield from self._look_for_people(oracle)

    def _look_for_people(self, oracle: Oracle) -> Iterator[Verdict]:
        folders = {
            f"what {name} wrote": container.folder
            for name, container in self.stack.containers.items()
            if container.service.name.startswith("airflow-")
        }
        postgres, governance = self.metadata, self.resolve("lethe_governance")
        databases = {
            "Airflow's metadata": (postgres, str(postgres.schema)),
            "governance database": (governance, str(governance.schema)),
        }
        yield from traces.look(oracle.company, folders, databases)

    @property
    def metadata(self) -> Connection:
        """Airflow's metadata database."""
        said = self.stack.services["postgres"].environment
        return Connection(
            "metadata", "postgres", self.stack.address("postgres"), 5432,
            said["POSTGRES_DB"], said["POSTGRES_USER"], said["POSTGRES_PASSWORD"],
        )  # fmt: skip


def _categories_of(verdict: Verdict) -> set[str]:
    """The categories that a verdict names, by their names or those of their datasets."""
    return {name for name in account.CATEGORIES if re.search(rf"(?<![\w.]){name}(\.\w|$)", verdict.dataset)}


def deploy(stack: ExitStack, project: Path, folder: Path, scale: float) -> Deployment:
    """Bring up what the compose files of a checkout say; it ends with `stack`.

    Raises:
        ComposeError: if a service does not come up.
    """
    files = [project / name for name in FILES]
    variables = {**filled_in(files), "LETHE_DEMO_SCALE": str(scale)}
    services = stack.enter_context(Stack(files, project, folder / "machines", variables, WORKERS))
    settings = Settings(
        policies=project / "include" / "policies", expectations=project / "expectations", home=folder / "lethe"
    )
    return Deployment(services, variables, services.connections("airflow-worker"), settings)
