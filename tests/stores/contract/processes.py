"""Erasing in another process, which ends or stops at a chosen point."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from threading import Timer
from typing import Literal

import psutil
from tests.processes import processes
from tests.stores.contract.registry import Gate, nothing
from tests.stores.contract.world import World

from lethe.stores.base import Candidates

Point = Literal["asks", "answered", "progress"]
"""Before the holds are read; when they are read, and erasing by them begins; when records have been dealt with."""


@dataclass(frozen=True)
class Signal:
    """A signal that a process sends itself.

    Attributes:
        at: the point.
        number: which time it comes there, counted from 0.
        what: the signal.
        after: seconds after the point; 0: right there.
    """

    at: Point
    number: int
    what: int = signal.SIGKILL
    after: float = 0.0

    def hook(self, point: Point) -> Callable[[int], None]:
        """What is to be called at a point."""
        return self if self.at == point else nothing

    def __call__(self, number: int) -> None:
        """The process has come there."""
        if number != self.number:
            return
        if self.after:
            Timer(self.after, os.kill, (os.getpid(), self.what)).start()
        else:
            os.kill(os.getpid(), self.what)


def _erase(world: World, candidates: Candidates, batches: range, signal: Signal, lease_seconds: float) -> None:
    asks, answered = signal.hook("asks"), signal.hook("answered")
    gate = Gate(world.registry, lease_seconds, asks, answered, world.abilities.binding)
    dealt = signal.hook("progress")
    done = iter(range(candidates.due + 1))
    with closing(world.store()) as store:
        store.erase(world.work(), candidates, batches, gate, lambda _records: dealt(next(done)))


@contextmanager
def erasing(
    world: World, candidates: Candidates, signal: Signal, lease_seconds: float, batches: range | None = None
) -> Iterator[BaseProcess]:
    """A process that erases batches, all where none are named; it has ended when the context has."""
    chosen = range(candidates.batches) if batches is None else batches
    process = processes.Process(target=_erase, args=(world, candidates, chosen, signal, lease_seconds))
    process.start()
    try:
        yield process
    except BaseException:
        process.kill()
        raise
    finally:
        go_on(process)
        process.join()


def go_on(process: BaseProcess) -> None:
    """Have a stopped process go on."""
    with suppress(psutil.NoSuchProcess):
        psutil.Process(process.pid).resume()


def wait_until_stopped(process: BaseProcess) -> None:
    """Wait until a process has stopped; fails where it ended instead."""
    watched = psutil.Process(process.pid)
    while watched.status() != psutil.STATUS_STOPPED:
        assert watched.status() != psutil.STATUS_ZOMBIE, "it ended before it came to the point"
        time.sleep(0.01)
