"""Parquet row erasing against Polars scan-filter-sink of the same files: ``python -m bench.parquet``.

Prints seconds side by side and as ratios, and ends with exit code 1 where a target is missed:

- a prefix of files of which most have to be rewritten without about 45 % of their rows: erasing, which reads the files
  and decides on every row anew, takes at most 1.3 times what Polars takes to read, filter and write back the same files
  on the same S3, with the same codec;
- peak memory under 1 GB, also for one file of many rows in a single row group.

Beside it: discovering and erasing together, prefixes of which all rows go, or all stay, files in the order of time (of
which most row groups are copied), a dataset with a key (whose values are staged for proofs), 5,000 held subjects, and
the same on local files.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lethe.connections import Connection
from lethe.holds.rules import NO_HOLDS, HoldRule, HoldRules
from lethe.judging.identifiers import IdentifierType
from lethe.periods import Cutoff, start_of_day
from lethe.policy import Expiry, ParquetDataset
from lethe.stores.base import Work
from lethe.stores.files.formats.parquet import footer as ft
from lethe.stores.files.formats.parquet.rewrite import Rewriter
from lethe.stores.files.marks import Marks
from lethe.stores.files.store import FileStore
from lethe_demo.servers import EmbeddedS3

TARGET = 1.3
MOST_BYTES = 1_000_000_000
FILES = 8
BUCKET = "bench"
ZONE = ZoneInfo("UTC")
AS_OF = datetime(2026, 11, 21, 12, tzinfo=UTC)
CUTOFF = AS_OF.date() - timedelta(days=760)
MOMENT = start_of_day(CUTOFF, ZONE)
CODEC: Final = "zstd"
PEOPLE = 400_000


def events(rows: int, seed: int, *, going: float, ordered: bool = False) -> pa.Table:
    """Page views, of which a share has expired."""
    random = np.random.default_rng(seed)
    cut = np.datetime64(MOMENT.replace(tzinfo=None))
    expired = random.random(rows) < going
    seconds = random.integers(1, 500 * 86400, rows).astype("timedelta64[s]")
    at = np.where(expired, cut - seconds, cut + seconds).astype("datetime64[us]")
    if ordered:
        at = np.sort(at)
    person = random.integers(0, PEOPLE, rows)
    return pa.table(
        {
            "view_id": pa.array(np.arange(rows) + seed * 10_000_000),
            "activity_time": pa.array(at, pa.timestamp("us", tz="UTC")),
            "account": pa.array(np.char.add("account-", person.astype(str))),
            "page": pa.array(np.char.add("/docs/page-", random.integers(0, 5000, rows).astype(str))),
            "seconds": pa.array(random.integers(0, 300, rows).astype(np.float64)),
            "ip": pa.array([f"10.{p % 250}.{p // 250 % 250}.{p % 199}" for p in person.tolist()]),
            "cookie_id": pa.array(person * 7919),
        }
    )


class FreeGate:
    """A gate without holds, or with some that do not change."""

    lease_seconds = 30.0

    def __init__(self, rules: HoldRules = NO_HOLDS) -> None:
        self._rules = rules

    def current(self) -> HoldRules:
        """The rules."""
        return self._rules

    @contextlib.contextmanager
    def lease(self) -> Iterator[HoldRules]:
        """The rules."""
        yield self._rules


def held_subjects(many: int) -> HoldRules:
    """Holds on so many accounts."""
    names = [f"account-{number}" for number in range(many)]
    rule = HoldRule(
        "h", "m", 1, False, frozenset({IdentifierType.ACCOUNT}), load=lambda: {IdentifierType.ACCOUNT: names}
    )
    return HoldRules(1, (rule,))


@dataclass
class Lake:
    """A bucket with the same files again and again."""

    server: EmbeddedS3
    bodies: Sequence[bytes]
    suffix: str = ".parquet"

    def fill(self) -> None:
        """Put the files back as they were."""
        client = self.server.client()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="data/"):
            for entry in page.get("Contents", ()):
                client.delete_object(Bucket=BUCKET, Key=entry["Key"])
        for number, body in enumerate(self.bodies):
            client.put_object(Bucket=BUCKET, Key=f"data/part-{number}{self.suffix}", Body=body)


def new_run() -> str:
    """The name of a run that there was not before."""
    return f"bench-{time.monotonic_ns()}"


def work(run: str, *, key: bool) -> Work:
    """The dataset as a run's work."""
    dataset = ParquetDataset.model_validate(
        {
            "kind": "parquet",
            "name": "views",
            "store": "lake",
            "bucket": BUCKET,
            "prefix": "data/",
            "clock": {"column": "activity_time"},
            "identifiers": {"account": ["account"]},
            "key": ["view_id"] if key else [],
        }
    )
    return Work(run, "analytics", dataset, Expiry(zone=ZONE, default=Cutoff(CUTOFF, MOMENT)), AS_OF)


def lethe(connection: Connection, job: Work, rules: HoldRules = NO_HOLDS) -> tuple[float, float, int]:
    """Seconds of discovering and of erasing, and the rows erased."""
    store = FileStore(connection)
    started = time.perf_counter()
    found = store.discover(job, rules)
    between = time.perf_counter()
    tally = store.erase(job, found, range(found.batches), FreeGate(rules))
    ended = time.perf_counter()
    assert tally.erased == found.due, "not all that was due was erased"  # noqa: S101
    store.clean(job.run, job.dataset)
    store.close()
    return between - started, ended - between, tally.erased


def polars_options(server: EmbeddedS3) -> dict[str, str]:
    """How Polars reaches a server."""
    return {
        "aws_access_key_id": server.keys[0],
        "aws_secret_access_key": server.keys[1],
        "aws_region": "us-east-1",
        "aws_endpoint_url": server.endpoint,
        "aws_allow_http": "true",
    }


def polars_on_s3(server: EmbeddedS3, *, held: Sequence[str] = ()) -> float:
    """Seconds for reading, filtering and writing back the files with Polars."""
    options = polars_options(server)
    started = time.perf_counter()
    for number in range(FILES):
        source = f"s3://{BUCKET}/data/part-{number}.parquet"
        stays = _stays(held)
        target = f"s3://{BUCKET}/polars/part-{number}.parquet"
        pl.scan_parquet(source, storage_options=options).filter(stays).sink_parquet(
            target, compression=CODEC, storage_options=options
        )
    return time.perf_counter() - started


def _stays(held: Sequence[str]) -> pl.Expr:
    stays = pl.col("activity_time") >= MOMENT
    return stays | pl.col("account").is_in(list(held)) if held else stays


def best(many: int, measure: Callable[[], float]) -> float:
    """The least of several measurements."""
    return min(measure() for _ in range(many))


def local(folder: Path, bodies: Sequence[bytes], rounds: int) -> tuple[float, float]:
    """Seconds on local files: rewriting (with deciding which rows go), Polars."""
    from concurrent.futures import ThreadPoolExecutor

    paths = []
    for number, body in enumerate(bodies):
        paths.append(folder / f"part-{number}.parquet")
        paths[-1].write_bytes(body)

    def rewrite(path: Path) -> None:
        body = path.read_bytes()
        file = pq.ParquetFile(pa.BufferReader(body))
        limit = int(MOMENT.timestamp() * 1_000_000)
        going = Marks.of(
            file.read_row_group(group, columns=["activity_time"])["activity_time"].cast(pa.int64()).to_numpy() < limit
            for group in range(file.num_row_groups)
        )
        out = io.BytesIO()
        if 0 < going.count < going.rows_in_all:
            Rewriter(pa.BufferReader(body), ft.read(body, len(body)), len(body)).write(going, out)
            (folder / f"out-{path.name}").write_bytes(out.getbuffer())

    def ours() -> float:
        started = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(rewrite, paths))
        return time.perf_counter() - started

    def polars() -> float:
        started = time.perf_counter()
        for path in paths:
            pl.scan_parquet(path).filter(_stays(())).sink_parquet(folder / f"polars-{path.name}", compression=CODEC)
        return time.perf_counter() - started

    return best(rounds, ours), best(rounds, polars)


@dataclass
class Line:
    """A line of the report."""

    name: str
    rows: int
    discover: float
    erase: float
    polars: float

    @property
    def ratio(self) -> float:
        """The time of erasing to Polars' time."""
        return self.erase / self.polars

    @property
    def both(self) -> float:
        """The time of discovering and erasing to Polars' time."""
        return (self.discover + self.erase) / self.polars

    def __str__(self) -> str:
        return (
            f"{self.name:34} {self.rows:>9,} rows went  discover {self.discover:5.2f} s  erase {self.erase:5.2f} s  "
            f"Polars {self.polars:5.2f} s  ratio {self.ratio:5.2f} "
            f"(with discovering {self.both:5.2f})"
        )


def encoded(tables: Sequence[pa.Table], rows: int = 1 << 20) -> list[bytes]:
    """The tables as files."""
    found = []
    for table in tables:
        out = io.BytesIO()
        pq.write_table(table, out, compression=CODEC, row_group_size=rows)
        found.append(out.getvalue())
    return found


def measure(
    server: EmbeddedS3, name: str, bodies: Sequence[bytes], rounds: int, *, key: bool = False, held: int = 0
) -> Line:
    """Measure one mix of files, Lethe and Polars by turns."""
    lake = Lake(server, bodies)
    rules = held_subjects(held) if held else NO_HOLDS
    names = [f"account-{number}" for number in range(held)]
    ours: list[tuple[float, float, int]] = []
    theirs: list[float] = []
    for _ in range(rounds):
        lake.fill()
        theirs.append(polars_on_s3(server, held=names))
        ours.append(lethe(server.connection("lake"), work(new_run(), key=key), rules))
    discover, erase, rows = min(ours, key=lambda one: one[0] + one[1])
    return Line(name, rows, discover, erase, min(theirs))


def peak(server: EmbeddedS3, body: Path) -> int:
    """Peak memory in bytes of a process that discovers and erases one file."""
    Lake(server, [body.read_bytes()]).fill()
    return peak_of_another("bench.parquet", server)


def peak_of_another(module: str, server: EmbeddedS3) -> int:
    """Peak memory in bytes of a process in which a benchmark erases once what is in the bucket."""
    connection = json.dumps({"endpoint": server.endpoint, "keys": server.keys})
    command = [sys.executable, "-m", module, "--erase-once", connection]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def erase_once(connection: str, job: Work) -> None:
    """What `peak_of_another` runs."""
    given = json.loads(connection)
    made = Connection(
        "lake", "aws", login=given["keys"][0], password=given["keys"][1],
        extra={"endpoint_url": given["endpoint"], "region_name": "us-east-1"},
    )  # fmt: skip
    lethe(made, job)
    print(own_peak())


def own_peak() -> int:
    """Peak memory of this process in bytes; `ru_maxrss` also counts what the parent had when it started it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def large_files(folder: Path, rows: int) -> Iterator[tuple[str, Path]]:
    """Files that are larger than what fits in memory as values: by many groups, and in a single one."""
    for name, group_rows in (("many row groups", 250_000), ("a single row group", 1 << 40)):
        path = folder / "large.parquet"
        table = events(rows, 99, going=0.45)
        pq.write_table(table, path, compression=CODEC, row_group_size=min(group_rows, rows))
        size = table.nbytes
        del table
        yield f"{rows:,} rows in {name}, {path.stat().st_size / 1e6:.0f} MB, {size / 1e6:.0f} MB as values", path


def main() -> int:
    """Measure and report; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000_000, help="rows over all files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="the first line only")
    parser.add_argument("--erase-once", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.erase_once:
        erase_once(options.erase_once, work(new_run(), key=True))
        return 0
    rows = options.rows // FILES
    failed = False
    with tempfile.TemporaryDirectory() as name, EmbeddedS3(Path(name) / "s3") as server:
        server.client().create_bucket(Bucket=BUCKET)
        mixed = encoded([events(rows, seed, going=0.45) for seed in range(FILES)])
        print(f"{FILES} files, {options.rows:,} rows, {sum(map(len, mixed)) / 1e6:.0f} MB, {os.cpu_count()} cores")
        line = measure(server, "45 % of each file go", mixed, options.rounds)
        print(line, flush=True)
        failed |= line.ratio > TARGET
        if options.quick:
            return int(failed)
        for text, bodies, more in mixes(rows, mixed):
            print(measure(server, text, bodies, options.rounds, **more), flush=True)
        ours, theirs = local(Path(name), mixed, options.rounds)
        print(
            f"{'local files, 45 % of each go':34} rewrite {ours:5.2f} s  Polars {theirs:5.2f} s  "
            f"ratio {ours / theirs:4.2f}"
        )
        for text, path in large_files(Path(name), options.rows):
            used = peak(server, path)
            print(f"peak memory, {text}: {used / 1e6:.0f} MB", flush=True)
            failed |= used > MOST_BYTES
    print("a target was missed" if failed else f"targets met: ratio at most {TARGET}, memory under 1 GB")
    return int(failed)


def mixes(rows: int, mixed: list[bytes]) -> Iterator[tuple[str, list[bytes], dict[str, Any]]]:
    """The other mixes of files."""
    yield "the same, keys staged for proofs", mixed, {"key": True}
    yield "the same, 5,000 held subjects", mixed, {"held": 5000}
    ordered = [events(rows, seed, going=0.45, ordered=True) for seed in range(FILES)]
    yield "the same, in the order of time", encoded(ordered, rows // 8), {}
    yield "all rows go", encoded([events(rows, seed, going=1) for seed in range(FILES)]), {}
    yield "all rows stay", encoded([events(rows, seed, going=0) for seed in range(FILES)]), {}


if __name__ == "__main__":
    sys.exit(main())
