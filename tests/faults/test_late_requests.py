"""Requests that S3 carries out late, twice or without an answer, around a hold. Promises 2 and 5.

What is there when a hold is acknowledged stays, whatever arrives or is finalised afterwards, and the outcomes are those
of the store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest
from tests.faults.conftest import MakeWorld
from tests.faults.s3_proxy import (
    Fault,
    S3Proxy,
    delayed,
    dripped,
    duplicated,
    failed_in_its_body,
    finalised_late,
    lost_answer,
    reordered,
)
from tests.faults.worlds import DATASET, PEOPLE, World

from lethe import stages
from lethe.counts import Became
from lethe.holding import place_hold
from lethe.stages import Plan
from lethe.stores.files import erase as erasing

Behind = Callable[..., "tuple[World, S3Proxy]"]


@pytest.fixture
def behind(make_world: MakeWorld) -> Iterator[Behind]:
    """Makes a filled world whose store is reached by way of a proxy: (kind, size, versioned)."""
    proxies: list[S3Proxy] = []

    def make(kind: str, *, size: int, versioned: bool, **extra: object) -> tuple[World, S3Proxy]:
        world = make_world(kind, size=0, registry="sqlite", **extra)
        world = replace(world, size=size, bucket=f"{world.bucket}-late")
        world.client().create_bucket(Bucket=world.bucket)
        if versioned:
            world.client().put_bucket_versioning(Bucket=world.bucket, VersioningConfiguration={"Status": "Enabled"})
        world.write_policy()
        world.fill()
        store = world.connections["world"]
        proxy = S3Proxy(store).__enter__()
        proxies.append(proxy)
        real = store.extra["endpoint_url"]
        world.connections["world"] = replace(
            store, extra={**store.extra, "endpoint_url": proxy.endpoint, "real_endpoint_url": real}
        )
        return world, proxy

    yield make
    for proxy in proxies:
        proxy.__exit__()


@contextmanager
def erasing_beside(world: World, plan: Plan) -> Iterator[list[Became]]:
    """Erase everything in another thread; at the end, what that gave."""
    given: list[Became] = []

    def erase() -> None:
        with world.environment() as env:
            batches = range(stages.discovered(env, plan)[DATASET].batches)
            given.append(stages.erase(env, plan, DATASET, batches))

    thread = threading.Thread(target=erase)
    thread.start()
    try:
        yield given
    finally:
        thread.join()


def hold_around(world: World, proxy: S3Proxy, operation: str, faults: Sequence[Fault]) -> tuple[set[int], Became]:
    """Erase with faults, hold everybody in the midst, and let go what is late: what the hold found, and the outcome."""
    with world.environment() as env:
        plan = world.prepare(env, trigger="run")
        proxy.operation, proxy.faults = operation, faults
        with erasing_beside(world, plan) as given:
            try:
                assert proxy.met.wait(30), "fewer requests than faults: the test shows nothing"
                place_hold(env, world.request(*range(PEOPLE)), by="counsel")
                acknowledged = world.alive()
            finally:
                proxy.finish.set()
                proxy.join()
        stages.verify(env, plan, DATASET)
        assert stages.certify(env, plan).state == "succeeded"
        (tally,) = given
        return acknowledged, tally


def assert_exact(world: World, acknowledged: set[int], tally: Became) -> None:
    """Nothing went after the acknowledgement, and what is counted is what the store shows."""
    left = world.alive()
    assert left == acknowledged, f"{len(acknowledged - left)} records went after the hold was acknowledged"
    gone = set(range(world.size)) - left
    assert gone <= world.to_go()
    assert (tally.erased, tally.held) == (len(gone), len(world.to_go()) - len(gone))
    assert tally.total == len(world.to_go())


@pytest.mark.timeout(120)
@pytest.mark.parametrize("versioned", [True, False], ids=["versioned", "plain"])
def test_a_completion_that_s3_finalises_after_the_acknowledgement_changes_nothing(
    behind: Behind, monkeypatch: pytest.MonkeyPatch, *, versioned: bool
) -> None:
    """It answers 200 at once, sends white space, and finalises minutes later: placing a hold has ended the upload."""
    monkeypatch.setattr(erasing, "PUT_BYTES", 0)
    world, proxy = behind("parquet", size=240, versioned=versioned)
    acknowledged, tally = hold_around(world, proxy, "CompleteMultipartUpload", [finalised_late] * 2)
    assert_exact(world, acknowledged, tally)
    assert len(proxy.late) == 2
    uploads = world.client().list_multipart_uploads(Bucket=world.bucket).get("Uploads", ())
    assert not [upload for upload in uploads if upload["Key"].startswith("data/")]


FAULTS = [duplicated, lost_answer, reordered, delayed, dripped]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("kind", "versioned", "operation"),
    [
        ("objects", True, "DeleteObjects"),
        ("objects", False, "DeleteObjects"),
        ("parquet", True, "DeleteObjects"),
        ("parquet", False, "PutObject"),
        ("parquet", False, "CompleteMultipartUpload"),
        ("parquet", True, "CompleteMultipartUpload"),
    ],
)
def test_requests_that_come_late_or_twice_or_are_not_answered_change_nothing_that_is_held(
    kind: str, operation: str, behind: Behind, monkeypatch: pytest.MonkeyPatch, *, versioned: bool
) -> None:
    if operation == "CompleteMultipartUpload":
        monkeypatch.setattr(erasing, "PUT_BYTES", 0)
    world, proxy = behind(kind, size=240, versioned=versioned, lethe_batch_size=10)
    faults = FAULTS if operation != "CompleteMultipartUpload" else [*FAULTS, failed_in_its_body]
    acknowledged, tally = hold_around(world, proxy, operation, faults)
    assert_exact(world, acknowledged, tally)
