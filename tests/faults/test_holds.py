"""Place holds while erasing at full speed. Promise 2: what an acknowledged hold covers stays.

What of the held person's records is there at the moment of acknowledgement must be there at the end. Prints how many
holds it placed and how long placing took.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import statistics
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Event

import pytest
from tests.faults.conftest import LONG, MakeWorld, tries
from tests.faults.worlds import DATASET, PEOPLE, World

from lethe import stages
from lethe.errors import LetheError
from lethe.holding import place_hold
from lethe.stages import Plan

_processes = multiprocessing.get_context("forkserver")


def _erase(world: World, plan: Plan, batches: range, go: Event) -> None:
    with world.environment() as env:
        go.wait()
        stages.erase(env, plan, DATASET, batches)


@dataclass
class Placing:
    """What happened while holds were placed during one run."""

    seconds: list[float]
    lost: set[int]
    placed: int
    spared: int


def _place_while_erasing(world: World, number: int, chance: random.Random) -> Placing:
    with world.environment() as env:
        plan = world.prepare(env, trigger=f"run {number}")
        batches = stages.discovered(env, plan)[DATASET].batches
        go = _processes.Event()
        halves = [range(0, batches // 2), range(batches // 2, batches)]
        workers = [_processes.Process(target=_erase, args=(world, plan, part, go)) for part in halves if part]
        for worker in workers:
            worker.start()
        people = chance.sample(range(PEOPLE), PEOPLE)
        acknowledged: set[int] = set()
        seconds: list[float] = []
        held: list[int] = []
        go.set()
        while people and any(worker.is_alive() for worker in workers):
            person = people.pop()
            began = time.monotonic()
            place_hold(env, world.request(person, matter=f"{number}/{person}"), by="counsel")
            seconds.append(time.monotonic() - began)
            acknowledged |= world.alive(frozenset({person}))
            held.append(person)
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
        left = world.alive()
        for hold in env.registry.holds():
            env.registry.propose_release(hold.id, by="counsel")
            env.registry.confirm_release(hold.id, by="second counsel")
        with contextlib.suppress(LetheError):  # the holds are released, so what they kept is due: rightly red
            stages.verify(env, plan, DATASET)
        with contextlib.suppress(LetheError):
            stages.certify(env, plan)
    expected = set(range(world.size)) - world.to_go(*held)
    assert expected <= left | (world.records_of(*held) - acknowledged), "something that was not due is gone"
    spared = len({r for r in acknowledged if world.expired(r)})
    return Placing(seconds, acknowledged - left, len(held), spared)


@pytest.mark.slow
@pytest.mark.timeout(5400 if LONG else 900)
@pytest.mark.parametrize(
    ("kind", "size", "extra", "wanted"),
    [
        ("table", 20_000, {"lethe_batch_size": 50}, tries("HOLDS", 150, 1000)),
        ("objects", 1_500, {"lethe_batch_size": 15}, tries("HOLDS", 60, 500)),
        ("parquet", 6_000, {}, tries("HOLDS", 45, 500)),
    ],
)
def test_acknowledged_holds_bind(
    kind: str,
    size: int,
    extra: dict[str, object],
    wanted: int,
    make_world: MakeWorld,
    capsys: pytest.CaptureFixture[str],
) -> None:
    world = make_world(kind, size=size, **extra)
    chance, seconds, spared, number = random.Random(7), [], 0, 0
    while len(seconds) < wanted:
        if number:
            world.fill()
        placing = _place_while_erasing(world, number, chance)
        assert not placing.lost, f"{len(placing.lost)} records went after the hold on them was acknowledged"
        seconds += placing.seconds
        spared += placing.spared
        number += 1
    slow = statistics.quantiles(seconds, n=100)[98]
    with capsys.disabled():
        print(
            f"\n{kind}: {len(seconds)} holds during {number} runs, {spared} expired records kept by them; "
            f"placing took {statistics.median(seconds):.3f} s (median), {slow:.3f} s (99th percentile)"
        )
    assert spared, "no hold came in time to keep anything: the test shows nothing"
    assert slow < 2
