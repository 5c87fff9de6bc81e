"""A whole `lethe run`, stage by stage, against the least that erases the same: ``python -m bench.run``.

Prints seconds side by side and as ratios, and ends with exit code 1 where a target is missed. The command is started as
a user starts it, so that its imports count; records of runs are in a PostgreSQL database of their own. What the same
command takes where there is nothing to erase is taken off, and what is left is compared:

- rows in PostgreSQL, 2,000,000 with an index on the clock, of which about 892,000 have expired, spread over all pages,
  5,000 people held: at most 3.5 times one DELETE in one transaction;
- rows in Parquet files, 4,000,000 in 8 files of which 45 % go: at most 4 times what Polars takes to read, filter and
  write back the same files;
- 20,000 objects in a bucket without versioning: at most 3 times ``s5cmd rm``;
- a run on a table without rows: at most 1.5 times importing Great Expectations and SQLAlchemy, and nothing else.

Why so many times: decision 0094. Where a stage ends is what the ledger says. Every repetition measures each of
them once, on identical copies, so that a machine that is busy for a while is so for all. The least of the repetitions
count.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench import parquet as files
from bench import s3 as objects
from bench import sql
from lethe.connections import Connection, sqlalchemy_url
from lethe.evidence.ledger import Ledger
from lethe.governance import CONNECTION_ID, Governance, schema
from lethe.holds.registry import HoldRegistry, HoldRequest
from lethe.judging.identifiers import IdentifierType
from lethe.keys import load_keys, new_connection
from lethe.policy import Policy
from lethe_demo.servers import EmbeddedPostgres, EmbeddedS3

TABLE_TARGET, FILES_TARGET, OBJECTS_TARGET, EMPTY_TARGET = 3.5, 4.0, 3.0, 1.5
AS_OF = datetime(2026, 3, 24, 12, tzinfo=UTC)
KEYS = new_connection()
IMPORTS = "import great_expectations, sqlalchemy"
STAGES = {
    "run.planned": "start, plan",
    "dataset.discovered": "discover",
    "dataset.validated": "validate",
    "dataset.decided": "approve",
    "dataset.erased": "erase",
    "dataset.verified": "verify, survey",
    "dataset.validated again": "verify, checks",
    "certificate.issued": "certify",
}
"""What the ledger's entries are the ends of, in the order in which a run makes them."""
LAST = "clean, end"


@dataclass
class Command:
    """`lethe run` of one policy with an environment of its own."""

    folder: Path
    governance: Governance
    connections: list[Connection]
    content: dict[str, Any]

    def __post_init__(self) -> None:
        self.policy = Policy.model_validate(self.content)
        policies = self.folder / "policies"
        policies.mkdir(parents=True)
        (policies / f"{self.policy.category}.yaml").write_text(json.dumps(self.content))  # YAML has JSON in it
        (self.folder / "expectations").mkdir()
        self._environment = os.environ | {
            "LETHE_POLICIES": str(policies),
            "LETHE_EXPECTATIONS": str(self.folder / "expectations"),
            "LETHE_HOME": str(self.folder / "home"),
            "LETHE_ASK_UNSEEN": "no",
            "AIRFLOW_CONN_LETHE_KEYS": KEYS,
            **{f"AIRFLOW_CONN_{one.conn_id.upper()}": _written(one) for one in self.connections},
        }

    @property
    def cutoff(self) -> datetime:
        """Before which a clock has expired."""
        cutoff = self.policy.expiry(AS_OF).default
        assert cutoff is not None  # noqa: S101 - the policies below have one period
        return cutoff.instant

    def hold(self, emails: list[str]) -> None:
        """Place a hold on people."""
        keys = load_keys(lambda conn_id: Connection.parse(conn_id, KEYS))
        registry = HoldRegistry(self.governance, keys, Ledger(self.governance).append)
        request = HoldRequest("bench", "bench", identifiers={IdentifierType.EMAIL: emails})
        registry.place(request, by="bench", policies={self.policy.category: self.policy})

    def run(self) -> tuple[dict[str, float], int]:
        """Run it: seconds by stage, and how many records were erased."""
        began = datetime.now(UTC)
        arguments = [
            str(Path(sys.executable).with_name("lethe")),
            "run",
            self.policy.category,
            "--as-of",
            AS_OF.isoformat(),
        ]
        subprocess.run(arguments, env=self._environment, check=True, stdout=subprocess.DEVNULL)
        ended = datetime.now(UTC)
        entry = schema.ledger.c
        latest = sa.select(schema.run.c.id).order_by(schema.run.c.started_at.desc()).limit(1).scalar_subquery()
        with self.governance.read() as connection:
            entries = connection.execute(
                sa.select(entry.kind, entry.at).where(entry.subject == latest).order_by(entry.seq)
            ).all()
            tally = connection.scalar(
                sa.select(schema.run_dataset.c.tally).where(schema.run_dataset.c.run_id == latest)
            )
        seconds, last = {}, began
        for kind, at in entries:
            name = f"{kind} again" if STAGES.get(kind) in seconds else kind
            if name in STAGES:
                moment = datetime.fromisoformat(at)
                seconds[STAGES[name]] = (moment - last).total_seconds()
                last = moment
        seconds[LAST] = (ended - last).total_seconds()
        return seconds, (tally or {}).get("erased", 0)


def _written(connection: Connection) -> str:
    return json.dumps(
        {
            "conn_type": connection.conn_type,
            "host": connection.host,
            "port": connection.port,
            "schema": connection.schema,
            "login": connection.login,
            "password": connection.password,
            "extra": dict(connection.extra),
        }
    )


@dataclass
class Subject:
    """Something to erase, and the least that erases it.

    Attributes:
        name: what it is compared with.
        target: how many times that a run may take at most.
        command: the run.
        by_hand: erases a copy by the least means, and gives the seconds and, where it knows, how many records went.
        fill: puts everything (true) or nothing (false) there for the run.
    """

    name: str
    target: float
    command: Command
    by_hand: Callable[[], tuple[float, int | None]]
    fill: Callable[[bool], None]
    seconds: list[float] = field(default_factory=list)
    whole: list[dict[str, float]] = field(default_factory=list)
    empty: list[dict[str, float]] = field(default_factory=list)
    counts: set[int] = field(default_factory=set)

    def measure(self) -> None:
        """Measure everything once more."""
        seconds, count = self.by_hand()
        self.seconds.append(seconds)
        self.fill(True)
        stages, erased = self.command.run()
        self.whole.append(stages)
        self.counts |= {erased} if count is None else {erased, count}
        self.fill(False)
        stages, _ = self.command.run()
        self.empty.append(stages)

    def report(self) -> bool:
        """Print, and say whether the target was met."""
        if len(self.counts) != 1:
            print(f"the ways to erase erased different numbers of records: {sorted(self.counts)}")
            return False
        by_hand = min(self.seconds)
        whole, empty = (min(runs, key=lambda run: sum(run.values())) for runs in (self.whole, self.empty))
        print(f"\n{self.counts.pop():,} records erased; {self.name} {by_hand:.2f} s")
        print(f"{'seconds':20}{'a run':>9}{'an empty':>9}{'without':>9}{'/ ' + self.name:>14}")
        for stage in [*STAGES.values(), LAST]:
            _line(stage, whole[stage], empty[stage], by_hand)
        total, nothing = sum(whole.values()), sum(empty.values())
        _line("whole", total, nothing, by_hand)
        return met(f"a run without an empty one / {self.name}", (total - nothing) / by_hand, self.target)


def _line(what: str, whole: float, empty: float, by_hand: float) -> None:
    print(f"{what:20}{whole:9.2f}{empty:9.2f}{whole - empty:9.2f}{(whole - empty) / by_hand:14.2f}")


def met(what: str, ratio: float, limit: float) -> bool:
    """Print a ratio beside its limit, and say whether it is within."""
    print(f"{what:52}{ratio:9.2f}   at most {limit:.2f}   {'ok' if ratio <= limit else 'MISSED'}", flush=True)
    return ratio <= limit


# --- what there is to erase -------------------------------------------------------------------------------------------


def _table(folder: Path, governance: Governance, records: Connection, bench: sql.Bench) -> Subject:
    content = {**sql.POLICY, "time_zone": "UTC"}
    command = Command(folder / "table", governance, [bench.connection, records], content)
    command.hold(bench.few)

    def by_hand() -> tuple[float, int]:
        before = set(bench.counts)
        bench.one_delete(command.cutoff)
        (count,) = bench.counts - before or before
        return bench.seconds["one DELETE"][-1], count

    def fill(full: bool) -> None:
        bench.fresh("leads", bench.rows if full else 0)

    return Subject("one DELETE", TABLE_TARGET, command, by_hand, fill)


def _policy(category: str, keep_for: str, dataset: dict[str, Any]) -> dict[str, Any]:
    shared = {name: value for name, value in sql.POLICY.items() if name not in ("category", "retention", "datasets")}
    return shared | {
        "category": category,
        "time_zone": "UTC",
        "retention": {"keep_for": keep_for},
        "datasets": [{"store": "bucket", **dataset}],
    }


def _files(folder: Path, governance: Governance, records: Connection, server: EmbeddedS3, rows: int) -> Subject:
    server.client().create_bucket(Bucket=files.BUCKET)
    dataset = {
        "kind": "parquet",
        "name": "views",
        "bucket": files.BUCKET,
        "prefix": "data/",
        "clock": {"column": "activity_time"},
        "identifiers": {"account": ["account"]},
        "key": ["view_id"],
    }
    keep_for = f"P{(AS_OF.date() - files.CUTOFF).days}D"
    command = Command(
        folder / "files", governance, [server.connection("bucket"), records], _policy("views", keep_for, dataset)
    )
    assert command.cutoff == files.MOMENT, "Polars has to be asked for the same rows"  # noqa: S101
    made = [files.events(rows // files.FILES, seed, going=0.45) for seed in range(files.FILES)]
    full, none = files.Lake(server, files.encoded(made)), files.Lake(server, [])

    def by_hand() -> tuple[float, None]:
        full.fill()
        return files.polars_on_s3(server), None

    return Subject("Polars", FILES_TARGET, command, by_hand, lambda all_: (full if all_ else none).fill())


def _objects(folder: Path, governance: Governance, records: Connection, server: EmbeddedS3, count: int) -> Subject:
    bench = objects.Bench(server, "objects", versioned=False, files=folder / "objects" / "files")
    dataset = {
        "kind": "objects",
        "name": "objects",
        "bucket": bench.bucket,
        "prefix": "ours/",
        "clock": {"key": "date=(?P<value>[0-9-]{10})/"},
    }
    command = Command(
        folder / "objects", governance, [server.connection("bucket"), records], _policy("objects", "P1Y", dataset)
    )

    def by_hand() -> tuple[float, int]:
        bench.seed("theirs", count)
        objects.settle()
        return bench.remove("theirs"), count

    def fill(full: bool) -> None:
        if full:
            bench.seed("ours", count)
        objects.settle()

    return Subject("s5cmd rm", OBJECTS_TARGET, command, by_hand, fill)


@contextmanager
def recorded() -> Iterator[tuple[Path, EmbeddedPostgres, Governance, Connection]]:
    """A folder and a server, with a database of its own for the records of runs, and the connection to that."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        server = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
        server.create_database("governance")
        records = server.connection(CONNECTION_ID, "governance")
        governance = Governance(sqlalchemy_url(records))
        governance.create_schema()
        stack.callback(governance.close)
        yield folder, server, governance, records


def run(rows: int = sql.ROWS, repetitions: int = sql.REPETITIONS) -> bool:
    """Measure, print, and say whether all targets were met. Files have twice as many rows, objects a hundredth."""
    imports = []
    with ExitStack() as stack:
        folder, server, governance, records = stack.enter_context(recorded())
        bucket = stack.enter_context(EmbeddedS3(folder / "s3"))
        subjects = [
            _table(folder, governance, records, sql.Bench(server, rows)),
            _files(folder, governance, records, bucket, 2 * rows),
            _objects(folder, governance, records, bucket, rows // 100),
        ]
        for _ in range(repetitions):
            for subject in subjects:
                subject.measure()
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", IMPORTS], check=True)
            imports.append(time.perf_counter() - began)
    within = [subject.report() for subject in subjects]
    nothing = min(sum(run.values()) for run in subjects[0].empty)
    print(f"\nan empty run {nothing:.2f} s; {IMPORTS}: {min(imports):.2f} s")
    within.append(met("an empty run / imports", nothing / min(imports), EMPTY_TARGET))
    return all(within)


if __name__ == "__main__":
    sys.exit(sql.command(run, __doc__ or ""))
