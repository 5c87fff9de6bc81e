"""The command in a small world: a SQLite warehouse, a governance database, one policy."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime
from functools import cache
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from tests.processes import processes
from typer import testing
from typer.testing import CliRunner, Result

from lethe import timekeeping
from lethe.cli import app, shell
from lethe.connections import Connection, from_environment
from lethe.environment import Environment
from lethe.keys import new_connection

TOKEN = "kanarek"  # in every value of the store that must not be shown
AS_OF = "2026-11-20T12:00:00+01:00"
POLICY = """
category: webinars
title: Webinars
owner: marketing
legal_basis: Consent
source: "§ 5.5"
retention: {keep_for: P18M}
time_zone: Europe/Prague
schedule: null
limits: {records: 60, share: 0.9}
datasets:
  - name: registrations
    kind: table
    store: crm
    table: registrations
    key: [id]
    clock: {column: webinar_date}
    identifiers: {email: [email], phone: [phone]}
"""


testing._get_command = cache(typer.main.get_command)  # type: ignore[attr-defined] # private
"""As in a process, where a command is built once: `CliRunner` does it anew for every call, which took 50 ms each."""


class Command:
    """The command, in a world with one SQLite warehouse: 50 expired rows, 50 recent ones, one without a date."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.warehouse = folder / "crm.db"
        self.policy = folder / "policies" / "webinars.yaml"
        self.policy.parent.mkdir()
        self.policy.write_text(POLICY)
        (folder / "expectations").mkdir()
        patch.setenv("LETHE_POLICIES", str(self.policy.parent))
        patch.setenv("LETHE_EXPECTATIONS", str(folder / "expectations"))
        patch.setenv("LETHE_HOME", str(folder / "home"))
        patch.setenv("AIRFLOW_HOME", str(folder / "no-airflow"))
        patch.setenv("AIRFLOW_CONN_CRM", f'{{"conn_type": "sqlite", "host": "{self.warehouse}"}}')
        patch.setenv("AIRFLOW_CONN_LETHE_KEYS", new_connection())
        registry = {"conn_type": "sqlite", "host": str(folder / "home" / "governance.db")}
        patch.setenv("AIRFLOW_CONN_LETHE_GOVERNANCE", json.dumps(registry))
        patch.setattr(shell, "_airflow_is_set_up", lambda: False)
        patch.setattr("getpass.getuser", lambda: "eva")
        with closing(sqlite3.connect(self.warehouse)) as connection:
            connection.execute(
                "CREATE TABLE registrations (id INTEGER PRIMARY KEY, email TEXT, phone TEXT, webinar_date DATE)"
            )
            connection.execute("CREATE INDEX by_date ON registrations (webinar_date)")
            rows = [
                (n, self.email(n), f"+42077712{n:04d}", "2020-01-15" if n < 50 else "2026-10-01") for n in range(100)
            ]
            rows.append((100, self.email(100), "", None))  # type: ignore[arg-type]
            connection.executemany("INSERT INTO registrations VALUES (?, ?, ?, ?)", rows)
            connection.commit()
        confirm_clocks()

    @staticmethod
    def email(number: int) -> str:
        return f"{TOKEN}{number}@example.com"

    def rows(self) -> set[int]:
        with closing(sqlite3.connect(self.warehouse)) as connection:
            return {number for (number,) in connection.execute("SELECT id FROM registrations")}

    def __call__(self, *arguments: str, exit_code: int = 0, stdin: str | None = None) -> str:
        """Run it; give what it printed, output and errors together."""
        result: Result = CliRunner().invoke(app, arguments, input=stdin)
        text = result.output
        assert result.exit_code == exit_code, text
        assert result.exception is None or isinstance(result.exception, SystemExit), "no traceback"
        assert TOKEN not in text, "personal data was printed"
        if exit_code == 1:
            assert "error: " in text
        return text

    def place(self, *arguments: str) -> str:
        """Place a hold and give its id."""
        text = self("hold", "place", "--matter", "M-1", "--reason", "lawsuit", *arguments)
        found = re.search(r"hold-[0-9a-f]{16}", text)
        assert found
        return found[0]


def confirm_clocks() -> None:
    """Say that the clocks are right: with SQLite alone there is one, which needs a witness before it erases."""
    with Environment(from_environment) as env:
        timekeeping.confirm(env, (), datetime.now(UTC), "eva")


def cells(text: str, first: str) -> list[str]:
    """The cells of the table row that begins with a text."""
    for line in text.splitlines():
        row = [cell.strip() for cell in line.strip("│┃ ").split("│")]
        if row and row[0] == first:
            return row
    raise AssertionError(f"no row of {first} in:\n{text}")


def digest_of(text: str) -> str:
    found = re.search(r"Digest: ([0-9a-f]{64})", text)
    assert found
    return found[1]


def as_json(connection: Connection) -> str:
    """A connection without secrets in Airflow's JSON format."""
    names = ("conn_type", "host", "port", "schema", "login")
    return json.dumps({name: getattr(connection, name) for name in names})


def _rotate_and_die(surroundings: dict[str, str], which: str, place: str, name: str, after: bool, out: str) -> None:
    from lethe.cli import evidence, main
    from lethe.evidence import rotation
    from lethe.evidence.ledger import Ledger
    from lethe.holds import registry

    os.environ.clear()
    os.environ.update(surroundings)
    places = SimpleNamespace(evidence=evidence, rotation=rotation, Ledger=Ledger, registry=registry)
    of = attrgetter(place)(places)
    step = getattr(of, name)

    def dies(*arguments: object, **named: object) -> None:
        if after:
            step(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(of, name, dies)
    sys.argv = ["lethe", "keys", "rotate", which, "--out", out]
    main()


def kill_at(lethe: Command, which: str, place: str, name: str, *, after: bool) -> Path:
    """Rotate in a process that is killed at a call, before or after it; give the file that the command was to write."""
    out = lethe.folder / "killed.json"
    process = processes.Process(target=_rotate_and_die, args=(dict(os.environ), which, place, name, after, str(out)))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "it never came there"
    return out


def rotate(lethe: Command, which: str, name: str = "new.json") -> str:
    """Replace a secret (`--signing` or `--master`); gives the connection with the new one."""
    out = lethe.folder / name
    lethe("keys", "rotate", which, "--out", str(out))
    return out.read_text()


def words(text: str) -> str:
    """What was printed, however its lines were broken."""
    return " ".join(text.split())
