"""Child processes in groups of their own, all of which are gone when the demo ends, however it ends."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import psutil

_PATIENCE_SECONDS = 5.0
"""How long processes may take to end by themselves. Airflow's API server would wait for others to close connections."""
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parents end (on Linux), so that `end_descendants` finds them."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants() -> int:
    """End every process that this one or a descendant of it started and that still runs; how many there were."""
    left = [process for process in psutil.Process().children(recursive=True) if _runs(process)]
    _end(left)
    return len(left)


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


class Services(Protocol):
    """What Airflow consists of: something that sees whether a part of it has ended."""

    folder: Path
    """Where their output is."""

    def ended(self) -> list[str]:
        """Names of those that ended by themselves, which none should."""


@dataclass
class Children:
    """Processes that are started together and ended together. A context manager.

    Attributes:
        folder: where their output goes, a file each, and `processes.json`, by which a later demo finds what one that
            was killed left behind.
    """

    folder: Path
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        """End what a demo that was killed left running."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _end(_remembered(self._memory))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything that was started, and whatever that started."""
        self.stop()

    @property
    def _memory(self) -> Path:
        return self.folder / "processes.json"

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Start a process whose output goes to ``<name>.log``."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command, env=dict(env), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._remember(self.alive())

    def run(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Run a command to its end.

        Raises:
            RuntimeError: if it fails; its output is in ``<name>.log``.
        """
        self.start(name, command, env)
        code = self._running.pop(name).wait()
        if code:
            raise RuntimeError(f"{name} failed with exit code {code}; see {self.folder / f'{name}.log'}")

    def ended(self) -> list[str]:
        """Names of the processes that ended by themselves, which none should."""
        return [name for name, process in self._running.items() if process.poll() is not None]

    def alive(self) -> list[psutil.Process]:
        """All processes that were started and still run, with all that they started."""
        found: dict[int, psutil.Process] = {}
        for process in self._running.values():
            with suppress(psutil.NoSuchProcess):
                one = psutil.Process(process.pid)
                found |= {each.pid: each for each in (one, *one.children(recursive=True))}
        return list(found.values())

    def stop(self) -> None:
        """Ask all to end, wait, and kill those that do not."""
        family = self.alive()
        self._remember(family)
        for process in self._running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        _end(family)
        for process in self._running.values():
            process.wait()
        self._running.clear()
        self._memory.unlink(missing_ok=True)

    def _remember(self, processes: Sequence[psutil.Process]) -> None:
        """Note process ids, with the times of their starts: an id alone may be somebody else's later."""
        entries = []
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                entries.append([process.pid, process.create_time()])
        self._memory.write_text(json.dumps(entries))


def _remembered(memory: Path) -> list[psutil.Process]:
    """The processes of an earlier demo that still run, with all that they started."""
    found: dict[int, psutil.Process] = {}
    with suppress(FileNotFoundError, ValueError):
        for pid, created in json.loads(memory.read_text()):
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if process.create_time() == created:
                    found |= {each.pid: each for each in (process, *process.children(recursive=True))}
    return list(found.values())


def _end(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, stubborn = psutil.wait_procs(processes, timeout=_PATIENCE_SECONDS)
    for process in stubborn:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn, timeout=_PATIENCE_SECONDS)
