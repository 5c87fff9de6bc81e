"""Erasing S3 objects against ``s5cmd rm`` of as many: ``python -m bench.s3``.

Prints seconds side by side and as ratios, for a bucket with versioning and one without, and ends with exit code 1
where a target is missed:

- erasing, with its intents, its leases of the hold gate, another look at every key and its outcomes, takes at most as
  long as ``s5cmd rm`` (``--all-versions`` with versioning), which lists and deletes and does nothing else;
- ten times the objects take at most eleven times the time to discover and erase;
- no lease of the hold gate lasts longer than two seconds, so that a hold is placed in time.

Discovering and erasing together are reported beside it, and the same deletes by hand: boto3 lists, and 16 threads send
DeleteObjects of 1,000 keys with their version ids or, without versioning, their ETags. `s5cmd rm` sends no ETags, so
without versioning it can delete an object that it never listed; SeaweedFS looks each object up once more for them.

All erase objects that were seeded side by side in the same SeaweedFS, in turns, each first in every other round, and
each begins when the server has come to rest. The **best of the rounds** are compared, because what disturbs a
measurement only ever makes it longer: the same deletes cost the same SeaweedFS up to 40 % more of its own processor
time in one round than in the next, whoever asks for them. The medians are printed beside it, and the load of the
machine, because what else runs on it takes part in the measurement.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import psutil

from lethe.holds.rules import NO_HOLDS, HoldRules
from lethe.periods import Cutoff, start_of_day
from lethe.policy import Expiry, ObjectClock, ObjectDataset
from lethe.stores.base import Work
from lethe.stores.objects import S3ObjectStore
from lethe_demo.servers import EmbeddedS3

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

RATIO = 1.0
GROWTH = 11.0
LEASE_SECONDS = 2.0
FOLDERS = 20
ZONE = ZoneInfo("Europe/Prague")
CUTOFF = date(2025, 1, 1)


@dataclass
class FreeGate:
    """A gate without holds, which measures its leases."""

    lease_seconds: float = 30.0
    leases: list[float] = field(default_factory=list)

    def current(self) -> HoldRules:
        """No rules."""
        return NO_HOLDS

    @contextlib.contextmanager
    def lease(self) -> Iterator[HoldRules]:
        """No rules."""
        started = time.monotonic()
        yield NO_HOLDS
        self.leases.append(time.monotonic() - started)


@dataclass
class Seconds:
    """What one erasure took."""

    discover: float
    erase: float
    longest_lease: float

    @property
    def both(self) -> float:
        """Discovering and erasing."""
        return self.discover + self.erase


@dataclass
class Bench:
    """One bucket and a folder of files that objects are made from."""

    server: EmbeddedS3
    bucket: str
    versioned: bool
    files: Path

    def __post_init__(self) -> None:
        """Create the bucket."""
        client = self.server.client()
        client.create_bucket(Bucket=self.bucket)
        if self.versioned:
            client.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})

    def s5cmd(self, *arguments: str) -> float:
        """Run s5cmd and give the seconds that it took."""
        access, secret = self.server.keys
        keys = {"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret, "AWS_REGION": "us-east-1"}
        program = Path(sysconfig.get_path("scripts")) / "s5cmd"
        started = time.monotonic()
        subprocess.run(
            [str(program), "--log", "error", "--endpoint-url", self.server.endpoint, *arguments],
            env={**os.environ, **keys},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return time.monotonic() - started

    def seed(self, prefix: str, count: int) -> None:
        """Write `count` small objects below a prefix, in folders by date."""
        for folder in range(FOLDERS):
            source = self.files / str(count) / f"{folder:02}"
            if not source.exists():
                source.mkdir(parents=True)
                for number in range(count // FOLDERS):
                    (source / f"{number:06}").write_bytes(b"x" * 100)
            target = f"s3://{self.bucket}/{prefix}/date=2024-01-{folder + 1:02}/"
            self.s5cmd("cp", f"{source}/", target)

    def remove(self, prefix: str) -> float:
        """What is measured against."""
        options = ["--all-versions"] if self.versioned else []
        return self.s5cmd("rm", *options, f"s3://{self.bucket}/{prefix}/*")

    def by_hand(self, prefix: str) -> float:
        """The least that can be written for deleting only what was listed."""
        client = self.server.client()
        started = time.monotonic()
        pages = client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=f"{prefix}/")

        def delete(page: Mapping[str, Any]) -> None:
            objects: list[ObjectIdentifierTypeDef] = [
                {"Key": one["Key"], "VersionId": one["VersionId"]}
                if self.versioned
                else {"Key": one["Key"], "ETag": one["ETag"]}
                for one in page["Versions"]
            ]
            if client.delete_objects(Bucket=self.bucket, Delete={"Objects": objects, "Quiet": True}).get("Errors"):
                raise RuntimeError("not all objects were deleted")

        with ThreadPoolExecutor(16) as pool:
            for deleted in [pool.submit(delete, page) for page in pages]:
                deleted.result()
        return time.monotonic() - started

    def erase(self, prefix: str, count: int) -> Seconds:
        """What is measured."""
        dataset = ObjectDataset(
            kind="objects",
            name="objects",
            store="s3",
            bucket=self.bucket,
            prefix=f"{prefix}/",
            clock=ObjectClock(key="date=(?P<value>[0-9-]{10})/"),
        )
        work = Work(
            prefix, "bench", dataset, Expiry(ZONE, Cutoff(CUTOFF, start_of_day(CUTOFF, ZONE))), datetime.now(UTC)
        )
        store, gate = S3ObjectStore(self.server.connection("s3")), FreeGate()
        settle()
        started = time.monotonic()
        candidates = store.discover(work, NO_HOLDS)
        found = time.monotonic()
        settle()
        begun = time.monotonic()
        tally = store.erase(work, candidates, range(candidates.batches), gate)
        ended = time.monotonic()
        if tally.erased != count or store.survey(work, NO_HOLDS).total:
            raise RuntimeError(f"{tally.erased} of {count} objects were erased")
        store.clean(prefix, work.dataset)
        store.close()
        return Seconds(found - started, ended - begun, max(gate.leases))


def settle(seconds: float = 30.0) -> None:
    """Wait until the server, which puts things off, has been at rest for half a second; at most so many seconds."""
    servers = [child for child in psutil.Process().children(recursive=True) if child.name() == "weed"]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        before = sum(sum(server.cpu_times()[:2]) for server in servers)
        time.sleep(0.5)
        if sum(sum(server.cpu_times()[:2]) for server in servers) - before < 0.05:
            return


def measure(bench: Bench, count: int, rounds: int) -> bool:
    """Measure and print one bucket; whether all targets are met."""
    theirs: list[float] = []
    by_hand: list[float] = []
    ours: list[Seconds] = []
    few: list[Seconds] = []
    for number in range(rounds):
        bench.seed(f"theirs-{number}", count)
        bench.seed(f"ours-{number}", count)
        bench.seed(f"few-{number}", count // 10)
        bench.seed(f"hand-{number}", count)
        if number % 2:
            ours.append(bench.erase(f"ours-{number}", count))
        settle()
        theirs.append(bench.remove(f"theirs-{number}"))
        if not number % 2:
            ours.append(bench.erase(f"ours-{number}", count))
        settle()
        by_hand.append(bench.by_hand(f"hand-{number}"))
        few.append(bench.erase(f"few-{number}", count // 10))
    rm = min(theirs)
    discover, erase, both = (min(getattr(one, name) for one in ours) for name in ("discover", "erase", "both"))
    medians = statistics.median(one.erase for one in ours) / statistics.median(theirs)
    growth = both / min(one.both for one in few)
    lease = max(one.longest_lease for one in ours)
    kind = "versioned" if bench.versioned else "unversioned"
    print(f"{kind}, {count:,} objects, best of {rounds}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores:")
    print(f"  s5cmd rm {rm:6.2f} s    discover {discover:6.2f} s    erase {erase:6.2f} s")
    results = (
        ("erase ÷ s5cmd rm", erase / rm, RATIO),
        (f"time of {count:,} ÷ time of {count // 10:,}", growth, GROWTH),
        ("longest lease in seconds", lease, LEASE_SECONDS),
    )
    for name, value, limit in results:
        print(f"  {name:<40} {value:6.2f}   at most {limit:.2f}   {'ok' if value <= limit else 'MISSED'}")
    print(f"  {'(erase ÷ s5cmd rm, medians)':<40} {medians:6.2f}")
    print(f"  {'(erase ÷ the same deletes by hand)':<40} {erase / min(by_hand):6.2f}")
    print(f"  {'(discover and erase ÷ s5cmd rm)':<40} {both / rm:6.2f}", flush=True)
    return all(value <= limit for _, value, limit in results)


def main() -> int:
    """Measure both kinds of bucket; 0 if all targets are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=20_000, help="objects of one erasure (default 20,000)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (default 5)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, EmbeddedS3(Path(folder) / "s3") as server:
        met = [
            measure(Bench(server, name, name == "versioned", Path(folder)), options.objects, options.rounds)
            for name in ("unversioned", "versioned")
        ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
