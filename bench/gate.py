"""What the hold gate costs an erasure: `python -m bench.gate`.

The time that batches spend in the gate (asking the registry, in a PostgreSQL database of its own, for the rules in
force) as a share of all the time that erasing takes, with 5,000 people held: at most 5 %. Measured within one run, so
that the noise of the machine is in both.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path

from bench.sql import AS_OF, POLICY, REPETITIONS, ROWS, Bench, command
from lethe.connections import sqlalchemy_url
from lethe.evidence.ledger import Ledger
from lethe.evidence.runs import Runs
from lethe.governance import Governance
from lethe.holds.gate import RunGate
from lethe.holds.registry import HoldRegistry, HoldRequest
from lethe.holds.rules import HoldRules
from lethe.judging.identifiers import IdentifierType
from lethe.keys import Keys
from lethe.policy import Policy
from lethe.settings import Settings
from lethe.stores.base import Work
from lethe.stores.sql import SqlStore
from lethe_demo.servers import EmbeddedPostgres

TARGET = 0.05


class _Timed:
    """A gate that measures how long batches are in it."""

    def __init__(self, gate: RunGate) -> None:
        self.gate = gate
        self.lease_seconds = gate.lease_seconds
        self.seconds, self.calls = 0.0, 0

    def current(self) -> HoldRules:
        """The rules in force."""
        began = time.perf_counter()
        try:
            return self.gate.current()
        finally:
            self.seconds += time.perf_counter() - began
            self.calls += 1

    def lease(self) -> AbstractContextManager[HoldRules]:
        """Not used by a SQL store."""
        return self.gate.lease()


def run(rows: int = ROWS, repetitions: int = REPETITIONS) -> bool:
    """Measure, print, and say whether the target was met."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        with EmbeddedPostgres(Path(folder) / "postgres") as server:
            bench = Bench(server, rows)
            server.create_database("governance")
            governance = Governance(sqlalchemy_url(server.connection("lethe_governance", "governance")))
            governance.create_schema()
            shares = [_measure(bench, governance, number) for number in range(repetitions)]
            governance.close()
    share = min(shares)
    print(f"the hold gate's share of erasing: {share:.2%}, limit {TARGET:.0%}  {'ok' if share <= TARGET else 'MISSED'}")
    return share <= TARGET


def _measure(bench: Bench, governance: Governance, number: int) -> float:
    policy = Policy.model_validate(POLICY)
    ledger = Ledger(governance)
    registry = HoldRegistry(governance, Keys(b"bench" * 7), ledger.append)
    runs = Runs(governance, ledger)
    if number == 0:
        request = HoldRequest("bench", "bench", identifiers={IdentifierType.EMAIL: bench.few})
        registry.place(request, by="bench", policies={"leads": policy})
    record = runs.start(
        policy,
        AS_OF,
        datasets=["leads"],
        dry_run=False,
        expected_digest=None,
        trigger=f"bench {number}",
        take_over=True,
    )
    bench.fresh("leads", bench.rows)
    store = SqlStore(bench.connection)
    dataset = policy.dataset("leads")
    work = Work(record.id, "leads", dataset, policy.expiry(AS_OF), AS_OF)
    candidates = store.discover(work, registry.rules("leads", dataset))
    gate = _Timed(RunGate(registry, record.id, "leads", dataset, Settings().lease_seconds))
    began = time.perf_counter()
    tally = store.erase(work, candidates, range(candidates.batches), gate)
    seconds = time.perf_counter() - began
    store.clean(record.id, dataset)
    store.close()
    print(
        f"{tally.erased:,} rows erased in {seconds:.2f} s, of which {gate.seconds * 1000:.1f} ms in the gate "
        f"({gate.calls} batches, {gate.seconds / gate.calls * 1000:.2f} ms each)"
    )
    return gate.seconds / seconds


if __name__ == "__main__":
    sys.exit(command(run, __doc__ or ""))
