"""A whole `lethe run`, stage by stage, against one hand-written DELETE: ``python -m bench.run``.

Prints seconds side by side and as ratios, and ends with exit code 1 where a target is missed. PostgreSQL, 2,000,000
rows with an index on the clock, about 892,000 of them expired and spread over all pages, 5,000 people held; records of
runs in a PostgreSQL database of their own. The command is started as a user starts it, so that its imports count:

- a run, without what the same command takes on a table without rows: at most 3.5 times one DELETE in one transaction;
- a run on a table without rows: at most 1.5 times importing Great Expectations and SQLAlchemy, and nothing else.

Where a stage ends is what the ledger says. Every repetition measures each of them once, on identical copies of the
table, so that a machine that is busy for a while is so for all. The least of the repetitions count.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench.sql import POLICY, REPETITIONS, ROWS, Bench, command
from lethe.checks import generate
from lethe.connections import Connection, sqlalchemy_url
from lethe.evidence.ledger import Ledger
from lethe.governance import CONNECTION_ID, Governance, schema
from lethe.holds.registry import HoldRegistry, HoldRequest
from lethe.judging.identifiers import IdentifierType
from lethe.keys import load_keys, new_connection
from lethe.policy import Policy
from lethe_demo.servers import EmbeddedPostgres

RUN_TARGET, EMPTY_TARGET = 3.5, 1.5
AS_OF = datetime(2026, 3, 24, 12, tzinfo=UTC)
IN_UTC: dict[str, Any] = {**POLICY, "time_zone": "UTC"}
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
    """`lethe run` with an environment of its own."""

    folder: Path
    governance: Governance
    connections: list[Connection]
    keys: str = field(default_factory=new_connection)

    def __post_init__(self) -> None:
        self.policy = Policy.model_validate(IN_UTC)
        policies = self.folder / "policies"
        policies.mkdir()
        (policies / "leads.yaml").write_text(json.dumps(IN_UTC))  # YAML has JSON in it
        generate.write(self.policy, self.folder / "expectations")
        self._environment = os.environ | {
            "LETHE_POLICIES": str(policies),
            "LETHE_EXPECTATIONS": str(self.folder / "expectations"),
            "LETHE_HOME": str(self.folder / "home"),
            "LETHE_ASK_UNSEEN": "no",
            "AIRFLOW_CONN_LETHE_KEYS": self.keys,
            **{f"AIRFLOW_CONN_{one.conn_id.upper()}": _written(one) for one in self.connections},
        }

    def hold(self, emails: list[str]) -> None:
        """Place a hold on people."""
        keys = load_keys(lambda conn_id: Connection.parse(conn_id, self.keys))
        registry = HoldRegistry(self.governance, keys, Ledger(self.governance).append)
        request = HoldRequest("bench", "bench", identifiers={IdentifierType.EMAIL: emails})
        registry.place(request, by="bench", policies={"leads": self.policy})

    def run(self) -> tuple[dict[str, float], int]:
        """Run it: seconds by stage, and how many records were erased."""
        began = datetime.now(UTC)
        arguments = [str(Path(sys.executable).with_name("lethe")), "run", "leads", "--as-of", AS_OF.isoformat()]
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
        }
    )


@dataclass
class Measured:
    """The repetitions of all that is compared."""

    by_hand: list[float] = field(default_factory=list)
    imports: list[float] = field(default_factory=list)
    whole: list[dict[str, float]] = field(default_factory=list)
    empty: list[dict[str, float]] = field(default_factory=list)
    counts: set[int] = field(default_factory=set)

    def report(self) -> bool:
        """Print, and say whether all targets were met."""
        if len(self.counts) != 1:
            print(f"the ways to erase erased different numbers of rows: {sorted(self.counts)}")
            return False
        by_hand, imports = min(self.by_hand), min(self.imports)
        whole, empty = (min(runs, key=lambda run: sum(run.values())) for runs in (self.whole, self.empty))
        print(f"{self.counts.pop():,} records erased; one DELETE {by_hand:.2f} s; {IMPORTS}: {imports:.2f} s\n")
        print(f"{'seconds':20}{'a run':>9}{'an empty':>9}{'without':>9}{'/ DELETE':>9}")
        for stage in [*STAGES.values(), LAST]:
            _line(stage, whole[stage], empty[stage], by_hand)
        total, nothing = sum(whole.values()), sum(empty.values())
        _line("whole", total, nothing, by_hand)
        ratios = [
            ("a run without what an empty one takes / one DELETE", (total - nothing) / by_hand, RUN_TARGET),
            ("an empty run / imports", nothing / imports, EMPTY_TARGET),
        ]
        print(f"\n{'':52}{'ratio':>9}{'limit':>9}")
        for what, ratio, limit in ratios:
            print(f"{what:52}{ratio:9.2f}{limit:9.2f}  {'ok' if ratio <= limit else 'MISSED'}")
        return all(ratio <= limit for _, ratio, limit in ratios)


def _line(what: str, whole: float, empty: float, by_hand: float) -> None:
    print(f"{what:20}{whole:9.2f}{empty:9.2f}{whole - empty:9.2f}{(whole - empty) / by_hand:9.2f}")


def run(rows: int = ROWS, repetitions: int = REPETITIONS) -> bool:
    """Measure, print, and say whether all targets were met."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        with EmbeddedPostgres(Path(folder) / "postgres") as server:
            bench, measured = Bench(server, rows), Measured()
            server.create_database("governance")
            records = server.connection(CONNECTION_ID, "governance")
            governance = Governance(sqlalchemy_url(records))
            governance.create_schema()
            lethe = Command(Path(folder), governance, [bench.connection, records])
            lethe.hold(bench.few)
            for _ in range(repetitions):
                _measure(bench, lethe, measured)
            governance.close()
    return measured.report()


def _measure(bench: Bench, lethe: Command, measured: Measured) -> None:
    cutoff = lethe.policy.expiry(AS_OF).default
    assert cutoff is not None  # noqa: S101 - the policy above has one period
    bench.one_delete(cutoff.instant)
    measured.by_hand.append(bench.seconds["one DELETE"][-1])
    bench.fresh("leads", bench.rows)
    seconds, erased = lethe.run()
    measured.whole.append(seconds)
    measured.counts |= bench.counts | {erased}
    bench.fresh("leads", 0)
    seconds, _ = lethe.run()
    measured.empty.append(seconds)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    measured.imports.append(time.perf_counter() - began)


if __name__ == "__main__":
    sys.exit(command(run, __doc__ or ""))
