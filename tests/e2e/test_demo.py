"""`make demo`, with a smaller company: it keeps every promise, runs again, listens on this machine only, ends whole."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from lethe.policy import load_all
from lethe_demo.account import CATEGORIES
from lethe_demo.servers import Watchdog

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SCALE = "0.05"
_WAIT_SECONDS = 1500


@contextmanager
def demo(folder: Path, root: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The demo as `make demo` starts it, in a folder of its own."""
    command = [sys.executable, "-m", "lethe_demo", "--folder", str(folder), "--scale", SCALE, *options]
    process = subprocess.Popen(
        command,
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    watchdog = Watchdog(process.pid, "TERM", 60)  # for a test that is ended because it takes too long
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)
        watchdog.dismiss()


def processes(folder: Path) -> list[psutil.Process]:
    """Everything on this machine that works in the folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if str(folder) in " ".join([*process.cmdline(), *process.environ().values()]):
                found.append(process)
    return found


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Not under pytest's folder: where root runs it, pytest closes that to the user of PostgreSQL at its next start."""
    with TemporaryDirectory(prefix="lethe-demo-") as folder:
        yield Path(folder) / "with a blank"


@pytest.fixture(scope="module")
def once(folder: Path, root: Path) -> str:
    """What `make demo ONCE=1` printed; it has ended by itself, with exit code 0."""
    with demo(folder, root, "--once") as process:
        output, _ = process.communicate(timeout=_WAIT_SECONDS)
    assert process.returncode == 0, output
    return output


def test_it_keeps_every_promise(once: str) -> None:
    assert "Every promise holds." in once
    for category in CATEGORIES:
        assert f"{category}: success" in once
        assert re.search(rf"│ {category} +│ \w+ +│ +[\d,]+ │ +[1-9][\d,]* │", once), once


def test_it_leaves_no_process_behind(once: str, folder: Path) -> None:
    assert "had to be ended separately" not in once
    assert processes(folder) == []


def test_its_secrets_are_their_owners_only(once: str, folder: Path) -> None:
    del once
    for secret in (folder / "keys.json", folder / "airflow" / "passwords.json"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_again_it_finds_nothing_and_stays_up_on_this_machine_only_until_ctrl_c(
    once: str, folder: Path, root: Path
) -> None:
    del once
    lines: list[str] = []
    with demo(folder, root) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if "Stays up until Ctrl-C" in line:
                break
        output = "".join(lines)
        assert process.poll() is None, output
        assert "The company is there already" in output
        assert "Every promise holds." in output
        rows = re.findall(r"│ \w* +│ (\w+) +│ +[\d,]+ │ +([\d,]+) │", output)
        assert dict(rows) == {dataset: "0" for dataset, _ in rows}
        assert len(rows) == sum(len(policy.datasets) for policy in load_all(root / "include" / "policies").values())
        listening = {
            connection.laddr.ip
            for one in processes(folder)
            for connection in one.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening
        assert listening <= {"127.0.0.1", "::1"}
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(60) == 0, rest
    assert "had to be ended separately" not in rest
    assert processes(folder) == []


def test_a_second_demo_in_the_same_folder_is_refused(once: str, folder: Path, root: Path) -> None:
    del once
    with demo(folder, root) as first:
        assert first.stdout is not None
        assert "PostgreSQL" in first.stdout.readline()  # it has the folder now
        with demo(folder, root, "--once") as second:
            output, _ = second.communicate(timeout=60)
        assert second.returncode == 1
        assert "is running" in output
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=120)
    assert processes(folder) == []
