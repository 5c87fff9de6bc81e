"""Compose files are read as Compose reads them, and what is not understood is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from lethe_demo.compose.deployment import FILES
from lethe_demo.compose.file import ComposeError, read
from lethe_demo.compose.filled_in import filled_in

FILE = """
x-patience: &patience {interval: 1m30s, timeout: 5s, retries: 3, start_period: 1m, start_interval: 2s}
services:
  one:
    image: redis:7
    command: serve --name "a b" ${PORT:-1}
    environment: {SECRET: "${SECRET:?give one}", SHELL: "$${HOSTNAME}", COUNT: 3}
    healthcheck:
      <<: *patience
      test: ["CMD-SHELL", 'ask "$${HOSTNAME}"']
  two:
    image: redis:7
    volumes: ["./here:/there:ro", "data:/data"]
    depends_on: {one: {condition: service_healthy}}
"""


def written(folder: Path, text: str, name: str = "one.yaml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_a_file_is_read_with_its_variables(tmp_path: Path) -> None:
    services = read([written(tmp_path, FILE)], {"SECRET": "x$y"})
    one, two = services["one"], services["two"]
    assert one.command == ("serve", "--name", "a b", "1")
    assert one.environment == {"SECRET": "x$y", "SHELL": "${HOSTNAME}", "COUNT": "3"}
    assert one.health is not None
    assert one.health.command == ("/bin/sh", "-c", 'ask "${HOSTNAME}"')
    assert (one.health.interval, one.health.start_interval) == (90.0, 2.0)
    assert two.needs == {"one": "service_healthy"}
    assert [(v.source, v.target, v.read_only, v.named) for v in two.volumes] == [
        ("./here", "/there", True, False),
        ("data", "/data", False, True),
    ]


def test_a_later_file_adds_to_an_earlier_one(tmp_path: Path) -> None:
    later = written(tmp_path, "services: {two: {environment: {MORE: x}, command: other}}", "two.yaml")
    services = read([written(tmp_path, FILE), later], {"SECRET": "x"})
    assert services["two"].environment == {"MORE": "x"}
    assert services["two"].command == ("other",)
    assert services["two"].needs == {"one": "service_healthy"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FILE, "SECRET is not set: give one"),
        ("services: {one: {image: redis:7, tmpfs: /run}}", "service one has tmpfs, which is not understood"),
        ("services: {one: {image: redis:7, stop_grace_period: 1h}}", "'1h' is no duration"),
        ("services: {one: {image: redis:7, healthcheck: {test: [NONE]}}}", "a health check by NONE"),
    ],
)
def test_what_is_missing_or_not_understood_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ComposeError, match=message):
        read([written(tmp_path, text)], {})


def test_the_projects_files_are_understood_with_secrets_as_the_example_says(root: Path) -> None:
    files = [root / name for name in FILES]
    variables = filled_in(files)
    services = read(files, variables)
    assert {"airflow-worker", "airflow-scheduler", "postgres", "redis", "governance", "warehouse", "s3"} <= set(
        services
    )
    assert len(variables["AIRFLOW_JWT_SECRET"]) >= 64
    assert all(service.health is not None for service in services.values())
