"""Kill an erasure at a random instruction, again and again, then let it finish.

Promises 2, 3, 5 and 7: no held record is lost, nothing expired is left, and the outcomes are those of an oracle that
knows what was in the store. Prints what it tried.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess

import pytest
from tests.faults.conftest import LONG, MakeWorld, tries
from tests.faults.worlds import DATASET, World
from tests.processes import processes

from lethe import stages
from lethe.counts import Outcome
from lethe.holding import place_hold
from lethe.stages import Plan

HELD = (3, 17, 31)


def _erase(world: World, plan: Plan, batches: int, ready: Pipe) -> None:
    with world.environment() as env:
        env.store(env.policy("faults").dataset(DATASET))  # opened before the clock runs
        ready.send_bytes(b"1")
        stages.erase(env, plan, DATASET, range(batches))


def _start(world: World, plan: Plan, batches: int) -> BaseProcess:
    here, there = processes.Pipe(duplex=False)
    process = processes.Process(target=_erase, args=(world, plan, batches, there))
    process.start()
    there.close()
    here.recv_bytes()
    here.close()
    return process


def _kill_until_done(world: World, plan: Plan, batches: int, chance: random.Random, within: float, most: int) -> int:
    """Start and kill erasures, `most` at most, until one ends by itself; gives the number of kills."""
    kills = 0
    while True:
        process = _start(world, plan, batches)
        if kills < most:
            time.sleep(chance.uniform(0, within))
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        if process.exitcode == 0:
            return kills
        assert process.exitcode == -signal.SIGKILL, "the erasure failed by itself"
        kills += 1
        if kills % 40 == 0:
            within *= 2  # every kill costs some work; let it get somewhere


def _assert_exact(world: World, plan: Plan) -> None:
    """The store and the record both say what the oracle says."""
    gone = world.to_go(*HELD)
    with world.environment() as env:
        job = stages.work(env.policy("faults"), plan.run, plan.as_of, DATASET)
        candidates = stages.discovered(env, plan)[DATASET]
        outcomes = list(env.store(job.dataset).outcomes(job, candidates))
        stages.verify(env, plan, DATASET)
        report = stages.certify(env, plan)
        tally = report.datasets[0].tally
        assert not env.store(job.dataset).staged_runs(job.dataset), "nothing stays staged"
    assert world.alive() == set(range(world.size)) - gone
    assert tally is not None
    assert (tally.erased, tally.held, tally.renewed, tally.gone) == (len(gone), 0, 0, 0)
    assert report.state == "succeeded"
    erased = [key for key, outcome in outcomes if outcome is Outcome.ERASED]
    assert len(erased) == len(set(erased)) == len(gone), "every record has one outcome"
    if world.kind != "objects":
        assert {int(key.removeprefix(b"n")) for key in erased} == gone, "numbers in their canonical form"


@pytest.mark.slow
@pytest.mark.repeated
@pytest.mark.timeout(5400 if LONG else 900)
@pytest.mark.parametrize(
    ("kind", "size", "extra", "wanted"),
    [
        ("table", 3000, {"lethe_batch_size": 25}, tries("KILLS", 150, 1000)),
        ("leased", 1000, {"lethe_batch_size": 25}, tries("KILLS", 150, 1000)),
        ("sqlite", 2000, {"lethe_batch_size": 25}, tries("KILLS", 150, 1000)),
        ("mariadb", 1000, {"lethe_batch_size": 25}, tries("KILLS", 150, 1000)),
        ("objects", 600, {}, tries("KILLS", 150, 1000)),
        ("parquet", 4800, {}, tries("KILLS", 150, 1000)),
        ("jsonlines", 4800, {}, tries("KILLS", 150, 1000)),
    ],
)
def test_killed_erasures_end_exactly(
    kind: str, size: int, extra: dict[str, object], wanted: int, make_world: MakeWorld
) -> None:
    world = make_world(kind, size=size, **extra)
    with world.environment() as env:
        place_hold(env, world.request(*HELD), by="counsel")
    chance, kills, runs, within = random.Random(1), 0, 0, 0.3
    while kills < wanted:
        if runs:
            world.fill()
        with world.environment() as env:
            plan = world.prepare(env, trigger=f"kill {runs}")
            batches = stages.discovered(env, plan)[DATASET].batches
        if runs == 0:
            began = time.monotonic()
            process = _start(world, plan, batches)
            began = time.monotonic()
            process.join()
            assert process.exitcode == 0
            within = min(0.3, (time.monotonic() - began) * 0.6)
        else:
            kills += _kill_until_done(world, plan, batches, chance, within, wanted - kills)
        _assert_exact(world, plan)
        runs += 1
    print(f"{kind}: {kills} kills within {within:.2f} s of the start, {runs} runs, every outcome exact")
