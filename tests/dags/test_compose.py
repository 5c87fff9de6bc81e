"""The compose files and the image against what the project needs. Docker itself is not needed for these tests.

docker-compose.yaml is the product, and docker-compose.demo.yaml adds the demo. But where a test says otherwise they are
looked at together, as `docker compose --file … --file …` reads them.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet

from lethe import governance, keys
from lethe.airflow.builder import _RUN_WITHIN, _TIMEOUTS
from lethe.airflow.faults import retrying
from lethe.connections import Connection
from lethe.policy import load_all
from lethe.settings import Settings
from lethe_demo.compose.file import merged

AIRFLOW = "3.3.2"
OF_AIRFLOW = {
    "airflow-apiserver",
    "airflow-scheduler",
    "airflow-dag-processor",
    "airflow-triggerer",
    "airflow-worker",
    "airflow-init",
}
PREPARING = {"airflow-init", "seed"}
"""They do something once, and stay."""
_VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(:?[?-])?([^}]*)\}")

Service = dict[str, Any]

_CLASS_PATH = re.compile(r"\b(?:airflow|lethe|celery)(?:\.[a-z_]\w*)+\.\w+\b")
"""A module and what is in it: `airflow.providers.….FabAuthManager`, `airflow.….celery_executor.app`."""

_LOAD = """
import importlib, sys
from airflow.configuration import conf
from airflow.executors.executor_loader import ExecutorLoader
for path in sys.argv[1:]:
    module, _, name = path.rpartition(".")
    assert getattr(importlib.import_module(module), name) is not None, path
ExecutorLoader.import_default_executor_cls()
conf.getimport("core", "auth_manager")
importlib.import_module("lethe.airflow")
"""

_START = """
import json, os, runpy, sys, tempfile
from importlib.metadata import entry_points
import airflow.__main__, airflow.cli.cli_parser

def start(command):
    if command[:2] == ["python", "-m"]:
        sys.argv = [*command[2:], "--help"]
        return runpy.run_module(command[2], run_name="__main__", alter_sys=True) and 0
    sys.argv = [*command, "--help"]
    (script,) = entry_points(group="console_scripts", name=command[0])
    return script.load()()

def said_by(command):
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if not child:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            sys.exit(start(command))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        return [command, code, said.read().decode()]

json.dump([said_by(command) for command in json.loads(sys.argv[1])], sys.stdout)
"""
"""Starts each command as its script does, in a process of its own that need not import Airflow first: that takes
seconds for each."""


@pytest.fixture(scope="module")
def product(root: Path) -> str:
    return (root / "docker-compose.yaml").read_text()


@pytest.fixture(scope="module")
def demo(root: Path) -> str:
    return (root / "docker-compose.demo.yaml").read_text()


@pytest.fixture(scope="module")
def text(product: str, demo: str) -> str:
    return product + demo


@pytest.fixture(scope="module")
def compose(product: str, demo: str) -> dict[str, Any]:
    return merged(yaml.safe_load(product), yaml.safe_load(demo))


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Service]:
    services: dict[str, Service] = compose["services"]
    return services


@pytest.fixture(scope="module")
def airflow(services: dict[str, Service]) -> dict[str, Service]:
    """The services that run Airflow's image."""
    return {name: services[name] for name in [*OF_AIRFLOW, "seed"]}


def fill(value: str) -> str:
    """A value with its variables filled in, by their defaults where they have one."""
    return _VARIABLE.sub(lambda match: match[3] if match[2] == ":-" else "secret", value)


def parts(value: object) -> list[str]:
    """All texts of a part of the file."""
    if isinstance(value, dict):
        return [text for each in value.values() for text in parts(each)]
    if isinstance(value, list):
        return [text for each in value for text in parts(each)]
    return [str(value)]


@pytest.fixture(scope="module")
def container(airflow: dict[str, Service], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of the worker as the file gives it, with an Airflow home of its own; nothing answers in it."""
    home = tmp_path_factory.mktemp("airflow")
    named = {name: fill(str(value)) for name, value in airflow["airflow-worker"]["environment"].items()}
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "LETHE_", "_AIRFLOW"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    fernet = {"AIRFLOW__CORE__FERNET_KEY": Fernet.generate_key().decode()}
    return {**own, **named, **fernet, "AIRFLOW_HOME": str(home), "LETHE_HOME": str(home / "lethe"), "PATH": path}


def commands_of(service: Service) -> list[list[str]]:
    """Every Airflow, Celery and Python command of a service: what it runs, and how its health is checked."""
    entrypoint, command = service.get("entrypoint"), service.get("command")
    lines: list[str] = []
    if entrypoint is None and isinstance(command, str):
        lines.append(f"airflow {command}")  # the image's entry point adds that word
    elif isinstance(entrypoint, str) and command is None:
        lines.append(entrypoint)
    elif isinstance(command, list):
        lines += re.sub(r"^ *#.*", "", command[-1].replace("\\\n", " "), flags=re.MULTILINE).splitlines()
    check = service.get("healthcheck", {}).get("test", [])
    lines += [check[1]] if check[:1] == ["CMD-SHELL"] else []
    words = [shlex.split(fill(line.replace("$$", "$"))) for line in lines]
    return [each[1:] if each[:1] == ["/entrypoint"] else each for each in words if each]


@pytest.mark.slow
def test_every_class_that_the_files_name_is_there(text: str, container: dict[str, str], root: Path) -> None:
    """With celery 5.7 the executor did not import: scheduler and workers ended at once."""
    files = [text, (root / "Dockerfile").read_text(), (root / ".env.example").read_text()]
    named = sorted({match[0] for file in files for match in _CLASS_PATH.finditer(file)})
    assert "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager" in named
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, *named], env=container, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_every_command_that_the_file_names_starts(services: dict[str, Service], container: dict[str, str]) -> None:
    """With the file's own environment. The commands of other images (PostgreSQL, Redis, S3) are theirs."""
    named = {
        tuple(command)
        for name in [*OF_AIRFLOW, "seed"]
        for command in commands_of(services[name])
        if Path(command[0]).name in ("airflow", "celery", "python")
    }
    starts = {" ".join(command[:3]) for command in named}
    assert {"airflow celery worker", "airflow scheduler", "airflow api-server", "airflow triggerer"} <= starts
    assert {
        "airflow dag-processor",
        "airflow pools import",
        "airflow users create",
        "python -m lethe_demo.seed",
    } <= starts

    done = subprocess.run(
        [sys.executable, "-c", _START, json.dumps(sorted(named))],
        env=container,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    started = json.loads(done.stdout)
    assert len(started) == len(named)
    for command, code, said in started:
        assert code == 0, f"{command}\n{said[-3000:]}"
        assert "usage" in said.lower(), f"{command}\n{said[-3000:]}"
        assert "Traceback" not in said, f"{command}\n{said[-3000:]}"


def test_all_services_are_there(services: dict[str, Service]) -> None:
    stores = {"warehouse", "s3", "governance", "seed"}
    assert set(services) == OF_AIRFLOW | {"postgres", "redis"} | stores


def test_the_product_has_nothing_of_the_demo(product: str) -> None:
    """It starts without the demo's stores, connections and variables."""
    content = yaml.safe_load(product)
    services: dict[str, Service] = content["services"]
    assert set(services) == OF_AIRFLOW | {"postgres", "redis", "governance"}
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
    connections = {name for name in services["airflow-worker"]["environment"] if name.startswith("AIRFLOW_CONN_")}
    assert connections == {f"AIRFLOW_CONN_{name.upper()}" for name in (governance.CONNECTION_ID, keys.CONNECTION_ID)}
    assert "lethe_demo" not in product
    used = {match[1] for match in _VARIABLE.finditer(product)}
    assert not {name for name in used if name.startswith(("WAREHOUSE", "S3"))}
    named = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    assert {name for name in named if not name.startswith(".")} == set(content["volumes"])


def test_the_demo_has_no_image_and_no_version_of_its_own(product: str, demo: str) -> None:
    of_product, of_demo = yaml.safe_load(product), yaml.safe_load(demo)
    for part in ("x-postgres", "x-patience"):
        assert of_demo[part] == of_product[part]
    assert set(of_demo["services"]) == OF_AIRFLOW | {"warehouse", "s3", "seed"}


def test_every_service_stays_and_has_a_health_check(services: dict[str, Service]) -> None:
    """`docker compose up --wait` ends with 1 where a service ends, be it well."""
    for name, service in services.items():
        check = service["healthcheck"]
        assert check["test"][0] in ("CMD", "CMD-SHELL"), name
        assert {"interval", "timeout", "retries", "start_period", "start_interval"} <= set(check), name
        assert service["restart"] == "unless-stopped", name
        if name in PREPARING:
            assert service["command"][-1].splitlines()[-2:] == ["touch /tmp/done", "exec sleep infinity"], name
            assert check["test"] == ["CMD", "test", "-e", "/tmp/done"], name  # noqa: S108 - a container's own


def test_no_health_check_imports_airflow(services: dict[str, Service]) -> None:
    """Every `airflow …` takes seconds of a core, and each check is made all day long."""
    for name, service in services.items():
        text = " ".join(service["healthcheck"]["test"])
        assert not re.search(r"\bairflow (?!-)|--app\b|python", text), name


def test_services_wait_for_what_they_need(services: dict[str, Service]) -> None:
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            assert how["condition"] == "service_healthy", f"{name} waits for {needed}"
    for name in OF_AIRFLOW - {"airflow-init"}:
        assert {"postgres", "redis", "governance", "airflow-init"} <= set(services[name]["depends_on"])
    assert {"airflow-apiserver", "warehouse", "s3"} <= set(services["airflow-worker"]["depends_on"])
    assert set(services["seed"]["depends_on"]) == {"warehouse", "s3"}


def test_a_killed_worker_costs_two_minutes_at_most(airflow: dict[str, Service]) -> None:
    """Noticed, looked for and tried again; by then no claim or lease of what was killed is in the way.

    And what it had not begun is given to another worker, however often: it waits where all are busy, too.
    """
    environment = airflow["airflow-scheduler"]["environment"]
    queued = int(environment["AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT"])
    assert queued + int(environment["AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL"]) < 120
    waits = int(environment["AIRFLOW__SCHEDULER__NUM_STUCK_IN_QUEUED_RETRIES"]) * queued
    assert waits > _TIMEOUTS["erase"].total_seconds()
    noticed = int(environment["AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT"])
    looked = int(environment["AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL"])
    delay = retrying()["retry_delay"].total_seconds()
    assert noticed + looked + 2 * delay < 120  # the first pause is up to twice the delay
    assert noticed >= 6 * 5  # a task gives a sign of life every 5 s, of which some may be late
    assert noticed + delay >= max(Settings().claim_seconds, Settings().lease_seconds)


def test_redis_gives_nothing_away_that_may_still_be_at_work(airflow: dict[str, Service]) -> None:
    environment = airflow["airflow-worker"]["environment"]
    longest = max(*_TIMEOUTS.values(), _RUN_WITHIN).total_seconds()
    assert int(environment["AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT"]) > longest


@pytest.mark.parametrize(("secret", "code"), [("x" * 63, 1), ("x" * 64, 0)])
def test_a_short_secret_of_jwt_is_refused(services: dict[str, Service], secret: str, code: int) -> None:
    """RFC 7518, section 3.2: a key of HMAC is as long as the hash; of SHA-512, 64 bytes."""
    refusing, rest = services["airflow-init"]["command"][-1].replace("$$", "$").split("\nfi\n")
    assert rest
    environment = {"AIRFLOW__API_AUTH__JWT_SECRET": secret}
    done = subprocess.run(
        ["bash", "-ec", refusing + "\nfi"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert ("AIRFLOW_JWT_SECRET is too short" in done.stderr) == bool(code)


def test_images_are_pinned(services: dict[str, Service], root: Path) -> None:
    for name, service in services.items():
        _, _, tag = service["image"].partition(":")
        assert re.fullmatch(r"\d+\.\d+[\w.-]*", tag), f"{name}: {service['image']}"
    base = re.search(r"^FROM apache/airflow:(\S+)-python3\.\d+$", (root / "Dockerfile").read_text(), re.MULTILINE)
    assert base is not None
    assert base[1] == AIRFLOW


def test_the_image_installs_the_lock_that_everybody_installs(root: Path) -> None:
    dockerfile = (root / "Dockerfile").read_text()
    assert "--require-hashes --requirement /opt/airflow/requirements.txt" in dockerfile
    assert f"apache-airflow=={AIRFLOW} " in (root / "requirements.txt").read_text()
    ignored = (root / ".dockerignore").read_text().split()
    for source in re.findall(r"^COPY --chown=\S+ (.+) \S+$", dockerfile, re.MULTILINE):
        for path in source.split():
            assert (root / path).exists(), path
            assert f"!{path}" in ignored


def test_all_of_airflow_has_the_same_image_mounts_and_environment(airflow: dict[str, Service]) -> None:
    first = airflow["airflow-apiserver"]
    for name, service in airflow.items():
        assert service["image"] == first["image"], name
        assert service["build"] == ".", name
        assert service["user"] == first["user"] or name == "airflow-init", name
        if name == "seed":  # fills the stores, and has no part in Airflow
            assert set(service["volumes"]) <= set(first["volumes"])
            assert service["environment"].items() - first["environment"].items() == {
                ("LETHE_DEMO_SCALE", "${LETHE_DEMO_SCALE:-1}")
            }
            continue
        assert service["volumes"] == first["volumes"], name
        assert first["environment"].items() <= service["environment"].items(), name


def test_mounts_are_where_airflow_and_lethe_look(
    airflow: dict[str, Service], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = dict(volume.split(":")[:2] for volume in airflow["airflow-worker"]["volumes"])
    for folder in ("dags", "config", "include", "expectations"):
        assert mounts[f"./{folder}"] == f"/opt/airflow/{folder}"
        assert (root / folder).is_dir()
    home = airflow["airflow-worker"]["environment"]["LETHE_HOME"]
    assert home in mounts.values(), "Data Docs are written there"
    for name in ("LETHE_PROJECT", "LETHE_POLICIES", "LETHE_EXPECTATIONS", "AIRFLOW__CORE__DAGS_FOLDER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AIRFLOW_HOME", str(root))
    found = Settings()
    for place in (found.policies.parent, found.expectations, found.dags):
        assert str(Path("/opt/airflow") / place.relative_to(root)) in mounts.values()


def test_airflow_is_set_up_for_celery(airflow: dict[str, Service], compose: dict[str, Any]) -> None:
    environment = airflow["airflow-scheduler"]["environment"]
    assert environment["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
    assert environment["AIRFLOW__CORE__AUTH_MANAGER"].endswith("FabAuthManager")
    assert environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://airflow-apiserver:8080/execution/"
    assert environment["AIRFLOW__CORE__LOAD_EXAMPLES"] == "false"
    assert environment["AIRFLOW__OPENLINEAGE__EXECUTE_IN_THREAD"] == "true"
    for name in ("AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API__SECRET_KEY"):
        assert environment[name].startswith("${"), name
    commands = {name: str(service.get("command")) for name, service in airflow.items()}
    assert commands["airflow-worker"] == "celery worker"
    assert airflow["airflow-worker"]["environment"]["DUMB_INIT_SETSID"] == "0"
    assert "airflow pools import /opt/airflow/config/pools.json" in commands["airflow-init"]
    assert 'airflow users create --role=User --username="$${APPROVER_USER}"' in commands["airflow-init"], "four eyes"
    passwords = re.findall(r"--password.[^ ]*", commands["airflow-init"])
    assert passwords == ['--password="$${ADMIN_PASSWORD}"', '--password="$${APPROVER_PASSWORD}"'], "may begin with -"
    assert "python -m lethe_demo.seed\n" in compose["services"]["seed"]["command"][-1]


def test_every_connection_is_defined_and_leads_to_a_service(
    airflow: dict[str, Service], services: dict[str, Service], root: Path
) -> None:
    policies = load_all(root / "include" / "policies")
    needed = {dataset.store for policy in policies.values() for dataset in policy.datasets}
    environment = airflow["airflow-worker"]["environment"]
    for conn_id in needed | {governance.CONNECTION_ID}:
        connection = Connection.parse(conn_id, fill(environment[f"AIRFLOW_CONN_{conn_id.upper()}"]))
        if connection.conn_type == "aws":
            host = str(connection.extra["endpoint_url"]).removeprefix("http://").partition(":")[0]
        else:
            assert connection.conn_type == "postgres"
            host = connection.host or ""
        assert host in services, conn_id
        assert connection.password == "secret"
    assert environment[f"AIRFLOW_CONN_{keys.CONNECTION_ID.upper()}"].startswith("${LETHE_KEYS:?")


def test_the_governance_database_is_not_airflows(airflow: dict[str, Service]) -> None:
    environment = airflow["airflow-worker"]["environment"]
    connection = Connection.parse("lethe_governance", fill(environment["AIRFLOW_CONN_LETHE_GOVERNANCE"]))
    metadata = environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    assert f"@{connection.host}/" not in metadata


def test_databases_are_those_that_the_connections_name(
    airflow: dict[str, Service], services: dict[str, Service]
) -> None:
    environment = airflow["airflow-worker"]["environment"]
    connection = Connection.parse("lethe_governance", fill(environment["AIRFLOW_CONN_LETHE_GOVERNANCE"]))
    server = services[str(connection.host)]["environment"]
    assert (server["POSTGRES_DB"], server["POSTGRES_USER"]) == (connection.schema, connection.login)
    for conn_id in ("CRM", "OPERATIONS"):
        warehouse = Connection.parse(conn_id, fill(environment[f"AIRFLOW_CONN_LETHE_{conn_id}"]))
        assert services["warehouse"]["environment"]["POSTGRES_USER"] == warehouse.login


def test_s3_knows_the_keys_that_the_connection_has(compose: dict[str, Any], airflow: dict[str, Service]) -> None:
    identities = compose["configs"]["s3-identities"]["content"]
    json.loads(fill(identities))
    connection = airflow["airflow-worker"]["environment"]["AIRFLOW_CONN_LETHE_LAKE"]
    for variable in ("S3_ACCESS_KEY", "S3_SECRET_KEY"):
        assert f"${{{variable}:?" in identities
        assert f"${{{variable}:?" in connection


def test_no_secret_is_in_the_file_and_all_are_asked_for(text: str, root: Path) -> None:
    lines = (root / ".env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    used = {match[1]: match[2] for match in _VARIABLE.finditer(text)}
    asked_for = {variable for variable, how in used.items() if how == ":?"}
    assert asked_for | {"AIRFLOW_UID"} == set(example)
    for variable in asked_for:
        assert example[variable] == "", f"{variable} has no default"
    mentioned = {line.removeprefix("#").strip().partition("=")[0] for line in lines}
    assert used.keys() <= mentioned, "what may be said is named"
    assert not {name for name in used.keys() - asked_for if re.search("PASSWORD|SECRET|KEY", name)}
    for line in text.splitlines():
        if re.search(r"password|secret|_key\b", line, re.IGNORECASE) and not line.lstrip().startswith(("#", "echo ")):
            assert "${" in line or "signing_key" in line, line


def test_nothing_is_open_to_the_network(services: dict[str, Service]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:8080:8080"]


def test_what_was_filled_in_is_not_committed(root: Path) -> None:
    assert ".env" in (root / ".gitignore").read_text().splitlines()
