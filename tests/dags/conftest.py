"""An Airflow of its own for each test process: home, metadata database and DAG folder in a temporary directory.

Airflow reads its settings when it is imported, so they are made before any test module is.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lethe_demo.servers import EmbeddedPostgres, EmbeddedS3

    from .world import World

if "airflow" in sys.modules:
    raise RuntimeError("Airflow was imported before tests/dags/conftest.py could give it a home of its own")

HOME = Path(tempfile.mkdtemp(prefix="lethe-airflow-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
(HOME / "dags").mkdir()
EVENTS = HOME / "openlineage.jsonl"

os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(HOME / "dags"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME / 'airflow.db'}",
    "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(HOME / "logs"),
    "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),
    "AIRFLOW__OPENLINEAGE__TRANSPORT": f'{{"type": "file", "log_file_path": "{EVENTS}", "append": true}}',
    "AIRFLOW__OPENLINEAGE__EXECUTE_IN_THREAD": "True",
    "AIRFLOW__OPENLINEAGE__NAMESPACE": "lethe",
}


@pytest.fixture(scope="session")
def airflow_home() -> Path:
    """Airflow's home, with a metadata database in place."""
    from airflow.providers.openlineage.plugins.listener import get_openlineage_listener
    from airflow.utils.db import initdb

    initdb()
    # Else events of DAG runs are sent from forks of this process, which outlive it where it is killed.
    get_openlineage_listener()._executor = ThreadPoolExecutor(1)
    return HOME


@pytest.fixture
def world(
    postgres: EmbeddedPostgres, s3: EmbeddedS3, airflow_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """A small company and its Airflow."""
    from .world import World

    world = World(postgres, s3, tmp_path, airflow_home, monkeypatch)
    yield world
    world.engine.dispose()
    for file in (airflow_home / "dags").glob("lethe_*.py"):
        file.unlink()
