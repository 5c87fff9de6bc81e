"""The package beside a company's Airflow: the wheel in an environment of its own, as it resolves today; a whole run.

Nothing of the checkout is there, nor of its lock: what others get who install it.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

_UV = str(Path(sys.executable).with_name("uv"))
_NO_NETWORK = ("dns error", "Connect", "connection", "offline", "timed out")
_PEOPLE = """
CREATE TABLE people (id INTEGER PRIMARY KEY, email TEXT, seen DATE);
CREATE INDEX seen ON people (seen);
"""


def _uv(*arguments: str) -> None:
    """Run uv, which has what `make venv` installed in its cache. Without a network, the rest is not there."""
    done = subprocess.run([_UV, *arguments], capture_output=True, text=True, check=False)
    if done.returncode and any(word in done.stderr for word in _NO_NETWORK):
        pytest.skip(f"NOT RUN: the package index cannot be reached: {done.stderr.strip().splitlines()[0]}")
    assert done.returncode == 0, done.stderr[-3000:]


@dataclass(frozen=True)
class Company:
    """An environment with the wheel, and Airflow's home."""

    bin: Path
    home: Path

    def environment(self) -> dict[str, str]:
        """Nothing of what this process has, and three connections."""
        own = {
            name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "LETHE_", "PYTHON"))
        }
        sqlite = {
            name: {"conn_type": "sqlite", "host": str(self.home / f"{name}.db")} for name in ("crm", "governance")
        }
        return own | {
            "PATH": os.pathsep.join([str(self.bin), os.environ["PATH"]]),
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW_CONN_CRM": json.dumps(sqlite["crm"]),
            "AIRFLOW_CONN_LETHE_GOVERNANCE": json.dumps(sqlite["governance"]),
        }

    def run(self, *command: str, **variables: str) -> str:
        """A command, started in a folder where nothing is."""
        done = subprocess.run(
            command,
            cwd=self.home.parent / "elsewhere",
            env=self.environment() | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def company(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Company:
    """What is installed is the wheel alone, with the newest of all that it needs."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("lethe", "lethe_demo"):
        shutil.copytree(root / "include" / name, source / "include" / name, ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, source)
    _uv("build", "--wheel", str(source), "--out-dir", str(folder))
    (wheel,) = folder.glob("*.whl")
    _uv("venv", "--python", sys.executable, str(folder / "venv"))
    python = folder / "venv" / "bin" / "python"
    _uv("pip", "install", "--python", str(python), str(wheel))
    _uv("pip", "check", "--python", str(python))
    for name in ("airflow", "elsewhere"):
        (folder / name).mkdir()
    return Company(python.parent, folder / "airflow")


def _files(site: Path) -> set[Path]:
    return {path for path in site.rglob("*") if path.is_file() and path.suffix != ".pyc"}


def test_a_category_is_made_and_run_beside_an_airflow(company: Company) -> None:
    """With nothing said but where Airflow's home is: policies, suites and DAG files are there."""
    site = next((company.bin.parent / "lib").glob("python3.*")) / "site-packages"
    before = _files(site)
    with closing(sqlite3.connect(company.home / "crm.db")) as connection:
        connection.executescript(_PEOPLE)
        days = [(n, f"p{n}@example.org", "2020-01-15" if n < 20 else "2099-01-01") for n in range(30)]
        connection.executemany("INSERT INTO people VALUES (?, ?, ?)", days)
        connection.commit()
    (line,) = [line for line in company.run("lethe", "keys", "new").splitlines() if line.startswith("{")]
    keys = {"AIRFLOW_CONN_LETHE_KEYS": line}
    said = ("--title", "People", "--owner", "office", "--legal-basis", "Consent", "--source", "§ 1", "--share", "0.9")
    where = ("--store", "crm", "--table", "people", "--keep-for", "P3Y", "--time-zone", "Europe/Prague")
    company.run("lethe", "new", "people", *where, *said, **keys)
    company.run("airflow", "db", "migrate")
    assert "lethe.airflow.plugin:LethePlugin" in company.run("airflow", "plugins", "--output", "json")
    company.run("lethe", "clocks", "confirm", datetime.now(UTC).isoformat(), "--by", "eva", **keys)
    company.run("airflow", "dags", "test", "people", **keys)

    with closing(sqlite3.connect(company.home / "crm.db")) as connection:
        assert connection.execute("SELECT count(*), min(id) FROM people").fetchone() == (10, 20)
    report = company.run("lethe", "report", **keys)
    assert "succeeded" in report
    written = {path.relative_to(company.home).as_posix() for path in company.home.rglob("*people*")}
    assert {"include/policies/people.yaml", "dags/people.py"} <= written
    assert _files(site) == before, "nothing is written where packages are"
