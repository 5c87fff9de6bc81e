"""The recipes of CONTRIBUTING.md are carried out, step by step, on a copy of the checkout."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from lethe.keys import new_connection

_STEP = re.compile(r"^ *```(sh|python|diff)\n(.*?)\n *```$", re.MULTILINE | re.DOTALL)
_QUICK = ("-n0", "-q", "-p", "no:cacheprovider")
_POLICY = """
category: people
title: People
owner: office
legal_basis: Consent
source: "§ 1"
retention: {keep_for: P18M}
time_zone: Europe/Prague
disposition: anonymise
schedule: null
limits: {records: 100, share: 1}
datasets:
  - name: people
    kind: table
    store: crm
    table: people
    key: [id]
    clock: {column: seen}
    identifiers: {company: [company]}
    masks: [{column: company, with: initial}]
"""


def recipe(root: Path, title: str) -> str:
    """The text of one recipe."""
    parts = re.split(r"^## (.*)\n", (root / "CONTRIBUTING.md").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[title]


def carry_out(text: str, checkout: Path) -> list[list[str]]:
    """Do what a recipe says: write its modules, change its lines, copy its twins. Gives the other commands."""
    left = []
    for kind, block in _STEP.findall(text):
        lines = [line.removeprefix("   ") for line in block.splitlines()]
        if kind == "python":
            file = checkout / lines[0].removeprefix("# ")
            assert not file.exists(), f"{file} is there already"
            file.write_text("\n".join(lines[1:]) + "\n")
        elif kind == "diff":
            _change(checkout / lines[0].removeprefix("--- "), lines[1:])
        else:
            for line in lines:
                words = shlex.split(line)
                if words[0] == "cp":
                    shutil.copy(checkout / words[1], checkout / words[2])
                else:
                    left.append(words)
    return left


def _change(file: Path, lines: list[str]) -> None:
    before = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
    after = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
    text = file.read_text()
    assert text.count(before) == 1, f"{file.name} has not just once: {before}"
    file.write_text(text.replace(before, after))


@pytest.fixture(scope="module")
def carried_out(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[str]]]:
    """A copy of what the recipes change, after the recipes, and the commands in them that remain to be run."""
    copy = tmp_path_factory.mktemp("recipes") / "checkout"
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for folder in ("include/lethe", "include/lethe_demo", "tests/stores"):
        shutil.copytree(root / folder, copy / folder, ignore=skip)
    for file in (
        "pyproject.toml",
        "tests/conftest.py",
        "tests/dates_kit.py",
        "tests/identifiers_kit.py",
        "tests/preloaded.py",
        "tests/processes.py",
        "tests/servers.py",
    ):
        shutil.copy(root / file, copy / file)
    return copy, carry_out(recipe(root, "A mask"), copy) + carry_out(recipe(root, "A database"), copy)


def run(checkout: Path, *arguments: str, **environment: str) -> str:
    """Run Python on the copy."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "LETHE_"))}
    path = os.pathsep.join([str(checkout / "include"), str(checkout)])
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**own, "PYTHONPATH": path, **environment},
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


_WHOLE_RUN = """
import sys, datetime, lethe.cli, lethe.policy, lethe.timekeeping
assert lethe.__file__.startswith(sys.argv[1])
assert "initial" in str(lethe.policy.json_schema())
with lethe.cli.shell.environment() as env:
    lethe.timekeeping.confirm(env, (), datetime.datetime.now(datetime.UTC), "eva")
sys.argv = ["lethe", "run", "people", "--as-of", "2026-11-20T12:00:00+01:00"]
lethe.cli.main()
"""


def test_a_mask_and_a_database_of_the_recipes_do_a_whole_run(
    carried_out: tuple[Path, list[list[str]]], tmp_path: Path
) -> None:
    """One table of people in a file: who is of Acme has expired, who is of Bolt has not."""
    file = tmp_path / "crm.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, company TEXT, seen DATE)")
        connection.execute("CREATE INDEX seen ON people (seen)")
        rows = [(1, "Acme", "2020-01-15"), (2, "Bolt", "2026-10-01")]
        connection.executemany("INSERT INTO people VALUES (?, ?, ?)", rows)
        connection.commit()
    (tmp_path / "policies").mkdir()
    (tmp_path / "expectations").mkdir()
    (tmp_path / "policies" / "people.yaml").write_text(_POLICY)
    run(
        carried_out[0],
        "-c",
        _WHOLE_RUN,
        str(carried_out[0]),
        LETHE_POLICIES=str(tmp_path / "policies"),
        LETHE_EXPECTATIONS=str(tmp_path / "expectations"),
        LETHE_HOME=str(tmp_path / "home"),
        LETHE_ASK_UNSEEN="no",
        AIRFLOW_HOME=str(tmp_path / "no-airflow"),
        AIRFLOW_CONN_CRM=f'{{"conn_type": "twin", "host": "{file}"}}',
        AIRFLOW_CONN_LETHE_GOVERNANCE=f'{{"conn_type": "sqlite", "host": "{tmp_path / "governance.db"}"}}',
        AIRFLOW_CONN_LETHE_KEYS=new_connection(),
    )
    with closing(sqlite3.connect(file)) as connection:
        companies = [company for (company,) in connection.execute("SELECT company FROM people ORDER BY id")]
    assert companies == ["A", "Bolt"]


def test_the_tests_of_all_masks_and_databases_try_those_of_the_recipes(
    carried_out: tuple[Path, list[list[str]]],
) -> None:
    checkout, (suite,) = carried_out
    assert suite[:3] == [".venv/bin/python", "-m", "pytest"]
    chosen = "initial and sqlite or twin and local_day"
    tried = run(checkout, *suite[1:4], "tests/stores/test_masks.py", "-k", chosen, *_QUICK, EVERY_WORLD="1")
    assert "7 passed" in tried  # the database six times: as it is, with facts in one row or in many, or with events


def test_what_the_recipes_name_is_there(root: Path) -> None:
    text = (root / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"`((?:include|tests|docs|bench)/[\w./-]+|[\w-]+\.(?:toml|md))`", text))
    assert {"include/lethe/stores/sql/masks/constant.py", "tests/stores/contract/worlds.py"} <= named
    for path in named:
        assert (root / path).exists(), f"CONTRIBUTING.md names {path}"
    targets = re.findall(r"^\.PHONY: (\w+)", (root / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"`make (\w+)`", text)) <= set(targets)


def test_before_a_commit_runs_what_make_check_runs(root: Path) -> None:
    hooks = yaml.safe_load((root / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    before = {hook["entry"].removeprefix(".venv/bin/").replace(" --force-exclude", "") for hook in hooks}
    lines = re.search(r"^check:.*\n((?:\t.*\n)+)", (root / "Makefile").read_text(), re.MULTILINE)
    assert lines is not None
    checked = {line.strip().removeprefix("$(BIN)/").removesuffix(" .") for line in lines[1].splitlines()}
    assert before == checked
