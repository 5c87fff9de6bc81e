"""Erasing rows of JSON lines against Polars and DuckDB reading, filtering and writing the same files.

``python -m bench.jsonlines`` prints seconds side by side and as ratios, and ends with exit code 1 where a target is
missed:

- a prefix of files of which 45 % of the rows go: discovering (which reads every row) and erasing (which writes the
  files anew) together take at most 1.3 times what the faster of Polars and DuckDB takes to read, filter and write them
  on the same S3; DuckDB is only compared where it is installed (`uv pip install duckdb`);
- the same of files that are compressed by gzip, against Polars with its own gzip;
- peak memory under 1 GB for one file of 1 GB, plain and in a single member of gzip.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Literal, cast

import polars as pl

from bench.parquet import (
    AS_OF,
    BUCKET,
    CUTOFF,
    FILES,
    MOMENT,
    MOST_BYTES,
    TARGET,
    ZONE,
    Lake,
    erase_once,
    events,
    held_subjects,
    lethe,
    new_run,
    peak_of_another,
    polars_options,
)
from lethe.holds.rules import NO_HOLDS
from lethe.periods import Cutoff
from lethe.policy import Expiry, JsonLinesDataset
from lethe.stores.base import Work
from lethe_demo.servers import EmbeddedS3

LARGE = 1_000_000_000
PARTS = {"uncompressed": ".jsonl", "gzip": ".jsonl.gz"}
Compression = Literal["uncompressed", "gzip"]


def lines(rows: int, seed: int) -> bytes:
    """Page views as JSON lines, of which 45 % have expired."""
    table = pl.DataFrame(events(rows, seed, going=0.45)).with_columns(
        pl.col("activity_time").dt.strftime("%Y-%m-%dT%H:%M:%S.%6fZ")
    )
    nested = table.select(
        "view_id", "activity_time", pl.struct("account", "ip", "cookie_id").alias("user"), "page", "seconds"
    )
    return nested.write_ndjson().encode()


def work(run: str) -> Work:
    """The dataset as a run's work."""
    dataset = JsonLinesDataset.model_validate(
        {
            "kind": "jsonlines",
            "name": "views",
            "store": "lake",
            "bucket": BUCKET,
            "prefix": "data/",
            "clock": {"column": "activity_time", "format": "iso8601"},
            "identifiers": {"account": ["user.account"]},
        }
    )
    return Work(run, "analytics", dataset, Expiry(zone=ZONE, default=Cutoff(CUTOFF, MOMENT)), AS_OF)


def polars(server: EmbeddedS3, compression: Compression) -> float:
    """Seconds for reading, filtering and writing back the files with Polars."""
    options = polars_options(server)
    started = time.perf_counter()
    for number in range(FILES):
        name = f"part-{number}{PARTS[compression]}"
        pl.scan_ndjson(f"s3://{BUCKET}/data/{name}", storage_options=options).filter(
            pl.col("activity_time") >= MOMENT.isoformat()
        ).sink_ndjson(f"s3://{BUCKET}/polars/{name}", compression=compression, storage_options=options)
    return time.perf_counter() - started


def duckdb(server: EmbeddedS3, folder: Path, compression: Compression) -> float:
    """The same with DuckDB, which is given the files and whose files are put back; endless where there is none."""
    if importlib.util.find_spec("duckdb") is None:
        return float("inf")
    import duckdb as engine  # type: ignore[import-not-found]

    client = server.client()
    started = time.perf_counter()
    for number in range(FILES):
        name = f"part-{number}{PARTS[compression]}"
        client.download_file(BUCKET, f"data/{name}", str(folder / name))
        engine.sql(
            f"COPY (SELECT * FROM read_ndjson('{folder / name}') WHERE activity_time >= '{MOMENT.isoformat()}') "  # noqa: S608
            f"TO '{folder / ('new-' + name)}' (FORMAT json, COMPRESSION {compression})"
        )
        client.upload_file(str(folder / f"new-{name}"), BUCKET, f"duckdb/{name}")
    return time.perf_counter() - started


def measure(server: EmbeddedS3, folder: Path, name: str, bodies: Sequence[bytes], rounds: int, held: int = 0) -> bool:
    """Measure one mix of files, all by turns; whether the target was met."""
    compression: Compression = "gzip" if bodies[0].startswith(b"\x1f\x8b") else "uncompressed"
    rules = held_subjects(held) if held else NO_HOLDS
    lake = Lake(server, bodies, PARTS[compression])
    ours: list[tuple[float, float]] = []
    theirs: list[float] = []
    others: list[float] = []
    for _ in range(rounds):
        lake.fill()
        theirs.append(polars(server, compression))
        others.append(duckdb(server, folder, compression))
        discover, erase, went = lethe(server.connection("lake"), work(new_run()), rules)
        assert went, "nothing was due"  # noqa: S101
        ours.append((discover, erase))
    discover, erase = min(ours, key=sum)
    best = min(*theirs, *others)
    ratio = (discover + erase) / best
    print(
        f"{name:34} discover {discover:5.2f} s  erase {erase:5.2f} s  Polars {min(theirs):5.2f} s  "
        f"DuckDB {min(others):5.2f} s  ratio {ratio:5.2f} (erasing alone {erase / best:5.2f})",
        flush=True,
    )
    return ratio <= TARGET


def peak(server: EmbeddedS3, body: Path) -> int:
    """Peak memory in bytes of a process that discovers and erases one file."""
    Lake(server, []).fill()
    server.client().upload_file(str(body), BUCKET, f"data/{body.name}")
    return peak_of_another("bench.jsonlines", server)


def _plain(path: Path) -> IO[bytes]:
    return path.open("wb")


def _packed(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "wb", 1))


def large(folder: Path, opened: Callable[[Path], IO[bytes]], name: str) -> Path:
    """A file of 1 GB of lines, written by what opens it."""
    path = folder / name
    part = lines(400_000, 99)
    with opened(path) as out:
        for _ in range(LARGE // len(part) + 1):
            out.write(part)
    return path


def main() -> int:
    """Measure and report; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_600_000, help="rows over all files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="the first line only")
    parser.add_argument("--erase-once", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.erase_once:
        erase_once(options.erase_once, work(new_run()))
        return 0
    met = True
    with tempfile.TemporaryDirectory() as name, EmbeddedS3(Path(name) / "s3") as server:
        folder = Path(name)
        server.client().create_bucket(Bucket=BUCKET)
        bodies = [lines(options.rows // FILES, seed) for seed in range(FILES)]
        print(f"{FILES} files, {options.rows:,} rows, {sum(map(len, bodies)) / 1e6:.0f} MB, {os.cpu_count()} cores")
        met &= measure(server, folder, "45 % of each file go", bodies, options.rounds)
        if not options.quick:
            measure(server, folder, "the same, 5,000 held subjects", bodies, options.rounds, held=5000)
            packed = [gzip.compress(body, 6) for body in bodies]
            met &= measure(server, folder, "the same, by gzip", packed, options.rounds)
            for opened, suffix in ((_plain, ".jsonl"), (_packed, ".jsonl.gz")):
                used = peak(server, large(folder, opened, f"large{suffix}"))
                print(f"peak memory, 1 GB of lines in one {suffix}: {used / 1e6:.0f} MB", flush=True)
                met &= used <= MOST_BYTES
    print(f"targets met: ratio at most {TARGET}, memory under 1 GB" if met else "a target was missed")
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
