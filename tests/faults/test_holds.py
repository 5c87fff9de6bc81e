"""Place holds while erasing at full speed. Promise 2: what an acknowledged hold covers stays.

What of the held person's records is there at the moment of acknowledgement must be there at the end. Prints how many
holds it placed and how long placing took.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import statistics
import time
from dataclasses import dataclass
from itertools import count
from multiprocessing.synchronize import Event, Semaphore
from typing import TYPE_CHECKING

import psutil
import pytest
import sqlalchemy as sa
from tests.faults.conftest import LONG, MakeWorld, tries
from tests.faults.worlds import DATASET, PEOPLE, World
from tests.processes import processes

from lethe import stages
from lethe.errors import LetheError
from lethe.holding import place_hold
from lethe.stages import Plan
from lethe.stores.buckets.client import S3Access

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def _erase(world: World, plan: Plan, batches: range, ready: Semaphore, go: Event) -> None:
    with world.environment() as env:
        env.store(env.policy("faults").dataset(DATASET))  # opened before holds are placed
        ready.release()
        go.wait()
        stages.erase(env, plan, DATASET, batches)


@dataclass
class Placing:
    """What happened while holds were placed during one run."""

    seconds: list[float]
    lost: set[int]
    spared: int
    erased: int


def _place_while_erasing(world: World, number: int, chance: random.Random, pause: float) -> Placing:
    with world.environment() as env:
        plan = world.prepare(env, trigger=f"run {number}")
        batches = stages.discovered(env, plan)[DATASET].batches
        go, ready = processes.Event(), processes.Semaphore(0)
        halves = [range(0, batches // 2), range(batches // 2, batches)]
        workers = [processes.Process(target=_erase, args=(world, plan, part, ready, go)) for part in halves if part]
        for worker in workers:
            worker.start()
        for _ in workers:
            assert ready.acquire(timeout=60)
        people = chance.sample(range(PEOPLE), PEOPLE)
        acknowledged: set[int] = set()
        seconds: list[float] = []
        held: list[int] = []
        go.set()
        while people and any(worker.is_alive() for worker in workers):
            person = people.pop()
            time.sleep(chance.uniform(0, pause))
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
    spared = len({record for record in acknowledged if world.expired(record)})
    return Placing(seconds, acknowledged - left, spared, world.size - len(left))


@pytest.mark.slow
@pytest.mark.repeated
@pytest.mark.timeout(5400 if LONG else 900)
@pytest.mark.parametrize(
    ("kind", "size", "extra", "pause", "wanted"),
    [
        ("table", 10_000, {"lethe_batch_size": 50}, 0.05, tries("HOLDS", 40, 2000)),
        ("leased", 4_000, {"lethe_batch_size": 50}, 0.01, tries("HOLDS", 40, 2000)),
        ("mariadb", 4_000, {"lethe_batch_size": 50}, 0.01, tries("HOLDS", 40, 2000)),
        ("objects", 1_500, {"lethe_batch_size": 15}, 0.01, tries("HOLDS", 40, 2000)),
        ("parquet", 6_000, {}, 0.02, tries("HOLDS", 40, 2000)),
        ("jsonlines", 6_000, {}, 0.02, tries("HOLDS", 40, 2000)),
    ],
)
def test_acknowledged_holds_bind(
    kind: str,
    size: int,
    extra: dict[str, object],
    pause: float,
    wanted: int,
    make_world: MakeWorld,
) -> None:
    world = make_world(kind, size=size, **extra)
    seconds: list[float] = []
    chance, spared, erased, number = random.Random(7), 0, 0, 0
    while len(seconds) < wanted or (number < 5 and not (spared and erased)):  # few holds may all come late
        if number:
            world.fill()
        placing = _place_while_erasing(world, number, chance, pause)
        assert not placing.lost, f"{len(placing.lost)} records went after the hold on them was acknowledged"
        seconds += placing.seconds
        spared += placing.spared
        erased += placing.erased
        number += 1
    slow = statistics.quantiles(seconds, n=100)[98]
    print(
        f"{kind}: {len(seconds)} holds during {number} runs, {erased} records erased, {spared} kept by them; "
        f"placing took {statistics.median(seconds):.3f} s (median), {slow:.3f} s (99th percentile)"
    )
    assert spared, "no hold came in time to keep anything: the test shows nothing"
    assert erased, "nothing was erased: the test shows nothing"


def _erase_and_stop(world: World, plan: Plan, batches: range, number: int) -> None:
    """Erase, and stop this process the moment before it sends the `number`-th request that changes records."""
    leased, requests = S3Access.leased, count(1)

    def count_down() -> None:
        if next(requests) == number:
            os.kill(os.getpid(), signal.SIGSTOP)

    def stop_sql(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "DELETE FROM" in statement and '"records"' in statement:
            count_down()

    def stop(request: object, **_: object) -> None:
        url = str(getattr(request, "url", ""))
        if "/data/" in url or "delete=" in url:
            count_down()

    def stopping(self: S3Access, lease_seconds: float) -> S3Client:
        client = leased(self, lease_seconds)
        client.meta.events.register("before-send.s3", stop)
        return client

    S3Access.leased = stopping  # type: ignore[method-assign]
    sa.event.listen(sa.Engine, "before_cursor_execute", stop_sql)
    with world.environment() as env:
        stages.erase(env, plan, DATASET, batches)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [1, 4])
@pytest.mark.parametrize(("kind", "size"), [("objects", 1_500), ("parquet", 3_000)])
def test_holds_bind_a_process_that_is_stopped_right_before_it_sends(
    kind: str, size: int, number: int, make_world: MakeWorld
) -> None:
    """Its lease runs out, the holds are acknowledged, it goes on and sends: the server refuses the request."""
    world = make_world(kind, size=size, lethe_batch_size=100)
    with world.environment() as env:
        plan = world.prepare(env, trigger="run")
        batches = range(stages.discovered(env, plan)[DATASET].batches)
        worker = processes.Process(target=_erase_and_stop, args=(world, plan, batches, number))
        worker.start()
        try:
            stopped = psutil.Process(worker.pid)
            while stopped.status() != psutil.STATUS_STOPPED:
                time.sleep(0.01)  # it is gone, which raises, where it did not send so many requests
            for person in range(PEOPLE):
                place_hold(env, world.request(person, matter=str(person)), by="counsel")
            acknowledged = world.alive()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid or 0, signal.SIGCONT)
            worker.join()
        assert worker.exitcode == 0
        stages.verify(env, plan, DATASET)
        assert stages.certify(env, plan).state == "succeeded"
    assert any(world.expired(record) for record in acknowledged), "nothing was left to erase: the test shows nothing"
    assert world.alive() == acknowledged
