"""All services of compose files: up in the order that they say, watched, stopped, killed and started again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from lethe.connections import Connection
from lethe_demo.compose.containers import Container
from lethe_demo.compose.file import ComposeError, Service, Variables, read
from lethe_demo.compose.network import Network

_UP_SECONDS = 300.0
_LOOK_SECONDS = 0.5
_LAST_LINES = 40
_STARTS = 3
"""How often a container that should stay may end, before it is no longer waited for."""


class Stack:
    """The services of compose files on machines of their own. A context manager: whatever runs ends with it.

    Args:
        files: compose files, of which later ones add to earlier ones.
        project: the folder that their relative paths are in.
        folder: where volumes and output go.
        variables: what the files ask for.
        scale: of how many containers a service consists, where that is not one (`docker compose up --scale`). Each has
            volumes of its own, as on machines of their own.
    """

    def __init__(
        self, files: Sequence[Path], project: Path, folder: Path, variables: Variables, scale: Mapping[str, int]
    ) -> None:
        self.services = read(files, variables)
        names = {
            f"{name}-{number}" if name in scale else name: service
            for name, service in self.services.items()
            for number in range(1, scale.get(name, 1) + 1)
        }
        self.folder = folder
        self._network = Network(list(names))
        self.containers = {
            name: Container(name, service, folder / name, project, self._network) for name, service in names.items()
        }
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._start_again, name="compose-restart", daemon=True)
        self._healthy: set[str] = set()
        self._first_fault: BaseException | None = None

    # --- up and down ---------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Start everything, each service once those that it needs are ready, and wait until all are well.

        Raises:
            ComposeError: with the end of its output, if a service ends or is not well in five minutes.
        """
        self._network.__enter__()
        self._watch.start()
        try:
            self._bring_up()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything, at once where it is of no use any more to wait."""
        self._over.set()
        self._watch.join()
        self._network.__exit__(None, None, None)

    def _bring_up(self) -> None:
        deadline = time.monotonic() + _UP_SECONDS
        with ThreadPoolExecutor(len(self.containers)) as pool:
            starting = [pool.submit(self._start_when_ready, each, deadline) for each in self.containers.values()]
        for error in filter(None, (self._first_fault, *(each.exception() for each in starting))):
            raise error

    def _start_when_ready(self, container: Container, deadline: float) -> None:
        try:
            while not self._ready(container.service):
                self._go_on(container.name, deadline)
            container.start()
            self.wait_until_well(container.name, deadline)
        except BaseException as error:
            self._first_fault = self._first_fault or error
            self._over.set()  # nobody waits for what will not come
            raise

    def _ready(self, service: Service) -> bool:
        """Whether all that a service needs is as its conditions say."""
        return all(
            self._meets(container, condition)
            for needed, condition in service.needs.items()
            for container in self.of(needed)
        )

    def _meets(self, container: Container, condition: str) -> bool:
        if condition == "service_healthy":
            return container.name in self._healthy
        if condition == "service_completed_successfully":
            return container.wanted and not container.up and container.code == 0
        raise ComposeError(f"the condition {condition} is not understood here")

    def _go_on(self, name: str, deadline: float) -> None:
        if self._over.wait(_LOOK_SECONDS):
            raise ComposeError(f"{name} was not waited for any longer")
        if time.monotonic() > deadline:
            raise ComposeError(f"{name} is not well after {_UP_SECONDS:.0f} s:\n{self._last_lines(name)}")

    def wait_until_well(self, name: str, deadline: float | None = None) -> None:
        """Wait until a container's own health check is content, or, where it has none, until it has ended well.

        Raises:
            ComposeError: if it ends otherwise, or the time is over.
        """
        container, check = self.containers[name], self.containers[name].service.health
        until = deadline or time.monotonic() + _UP_SECONDS
        while True:
            if not container.up and (not container.service.stays or container.starts > _STARTS):
                if container.code == 0 and check is None:
                    return
                raise ComposeError(f"{name} ended with {container.code}:\n{self._last_lines(name)}")
            if container.up and check and container.run(check.command, check.timeout).returncode == 0:
                self._healthy.add(name)
                return
            self._go_on(name, until)

    def _start_again(self) -> None:
        """Start what has ended by itself and is to stay, as Docker does by its restart policy."""
        while not self._over.wait(_LOOK_SECONDS):
            for container in self.containers.values():
                if container.wanted and container.service.stays and not container.up:
                    container.start()

    def _last_lines(self, name: str) -> str:
        log = self.containers[name].log
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return "\n".join(lines[-_LAST_LINES:])

    def kill_and_start(self, name: str) -> None:
        """Kill a container with all its processes at once, and have it started again, as Docker does."""
        self.containers[name].kill()
        self.containers[name].start()

    def ended(self) -> list[str]:
        """Names of containers that ended by themselves, and stay so."""
        return [
            name
            for name, container in self.containers.items()
            if container.wanted and not container.service.stays and not container.up and container.code
        ]

    # --- what it consists of -------------------------------------------------------------------------------------

    def of(self, service: str) -> list[Container]:
        """The containers of a service."""
        return [each for each in self.containers.values() if each.service.name == service]

    def address(self, service: str) -> str:
        """Where a service's first container is reached from here."""
        return self.of(service)[0].address

    def connections(self, service: str) -> dict[str, Connection]:
        """The Airflow connections of a service's environment by their ids, with addresses that lead there from here."""
        environment = self.services[service].environment
        return {connection.conn_id: self._reached(connection) for connection in _connections(environment)}

    def _reached(self, connection: Connection) -> Connection:
        if connection.host in self.services:
            return replace(connection, host=self.address(connection.host))
        endpoint = urlsplit(str(connection.extra.get("endpoint_url", "")))
        if endpoint.hostname in self.services:
            url = f"{endpoint.scheme}://{self.address(str(endpoint.hostname))}:{endpoint.port}"
            return replace(connection, extra={**connection.extra, "endpoint_url": url})
        return connection


def _connections(environment: Variables) -> Iterator[Connection]:
    for name, text in environment.items():
        if name.startswith("AIRFLOW_CONN_"):
            yield Connection.parse(name.removeprefix("AIRFLOW_CONN_").lower(), text)
