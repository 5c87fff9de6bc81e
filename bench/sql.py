"""SQL erasing against one hand-written DELETE with the same anti-join: ``python -m bench.sql``.

Prints seconds side by side and as ratios, and ends with exit code 1 where a target is missed. PostgreSQL, 2,000,000
rows with an index on the clock, about 896,000 of them expired and spread over all pages, 5,000 people held:

- erasing in batches of at most 50,000 records, with their outcomes: at most 2.0 times one DELETE in one transaction;
- discovering, with staging and digest: at most 1.5 times that DELETE;
- erasing with 1,000,000 held identifiers: at most 1.25 times erasing with 5,000;
- ten times the rows: at most eleven times the time (discovering and erasing).

Every repetition measures each of them once, on identical copies of the table, so that a machine that is busy for a
while is so for all. The least of the repetitions count.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from lethe.connections import Connection
from lethe.holds.rules import HoldRule, HoldRules
from lethe.judging.identifiers import IdentifierType
from lethe.periods import Cutoff
from lethe.policy import Expiry, TableDataset
from lethe.stores.base import Work
from lethe.stores.sql import SqlStore
from lethe_demo.servers import EmbeddedMariaDB, EmbeddedPostgres

ROWS = 2_000_000
HELD = 5_000
MANY_HELD = 1_000_000
REPETITIONS = 3
ERASE_TARGET, DISCOVER_TARGET, MANY_HELD_TARGET, GROWTH_TARGET = 2.0, 1.5, 1.25, 11.0

ZONE = ZoneInfo("UTC")
CUTOFF = datetime(2025, 3, 24, tzinfo=UTC)
AS_OF = CUTOFF + timedelta(days=183)
DATABASE = "bench"
DATASET: dict[str, Any] = {
    "kind": "table",
    "name": "leads",
    "store": "bench",
    "table": "leads",
    "key": ["id"],
    "clock": {"column": "last_contact"},
    "identifiers": {"email": ["email"]},
}
POLICY: dict[str, Any] = {
    "category": "leads",
    "title": "Leads",
    "owner": "bench",
    "legal_basis": "none",
    "source": "none",
    "retention": {"keep_for": "P1Y"},
    "time_zone": "Europe/Prague",
    "schedule": None,
    "limits": {"records": 10_000_000, "share": 1.0},
    "datasets": [DATASET],
}


@dataclass(frozen=True)
class Texts:
    """The statements of one kind of database.

    Attributes:
        source: make the records of all copies, and those that are held.
        copy: make a copy.
        settle: after that, before something is measured.
        delete: erase what has expired and is not held, as it is written by hand.
    """

    source: tuple[str, ...]
    copy: tuple[str, ...]
    settle: tuple[str, ...]
    delete: str


POSTGRESQL = Texts(
    source=(
        """
SELECT setseed(0.5);
CREATE TABLE source AS SELECT g::bigint AS id, 'Person ' || g AS name,
  ' P' || mod(g::bigint * 7919, 1500000) || '@Example' || mod(g::bigint * 7919, 500) || '.com' AS email,
  '+420 ' || 600000000 + mod(g::bigint * 31, 199999999) AS phone, 'Company ' || mod(g, 90000) AS company,
  timestamptz '2024-01-01 00:00+00' + random() * interval '1000 days' AS last_contact, repeat('x', 60) AS note
FROM generate_series(1, {rows}) g;
CREATE TABLE held AS SELECT DISTINCT lower(btrim(email)) AS email FROM
  (SELECT email FROM source WHERE id <= 1500000 AND mod(id, {people} / {held}) = 0) people;
""",
        "VACUUM ANALYZE source",
        "VACUUM ANALYZE held",
    ),
    copy=(
        """
CREATE TABLE {name} AS SELECT * FROM source WHERE id <= {rows};
ALTER TABLE {name} ADD PRIMARY KEY (id);
CREATE INDEX ON {name} (last_contact);
""",
    ),
    settle=("VACUUM ANALYZE {name}", "CHECKPOINT"),
    delete="""
DELETE FROM {name} t WHERE last_contact < timestamptz '{cutoff}'
AND NOT EXISTS (SELECT FROM held h WHERE h.email = lower(btrim(t.email)))
""",
)


@dataclass
class Bench:
    """The server, the data and the measurements."""

    server: EmbeddedPostgres | EmbeddedMariaDB
    rows: int
    texts: Texts = POSTGRESQL
    seconds: dict[str, list[float]] = field(default_factory=dict)
    counts: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.server.create_database(DATABASE)
        self.engine = self.server.engine(DATABASE).execution_options(isolation_level="AUTOCOMMIT")
        self.connection: Connection = self.server.connection("bench", DATABASE)
        for text in self.texts.source:
            self.do(text.format(rows=self.rows, people=min(1_500_000, self.rows), held=min(HELD, self.rows)))
        with self.engine.connect() as connection:
            self.few = list(connection.exec_driver_sql("SELECT email FROM held").scalars())
        self.many = self.few + [f"nobody{number}@example.org" for number in range(MANY_HELD - len(self.few))]

    def do(self, text: str) -> int:
        """Run statements, each of which commits by itself."""
        with self.engine.connect() as connection:
            return connection.exec_driver_sql(text).rowcount

    def fresh(self, name: str, rows: int) -> None:
        """A copy of the data."""
        self.do(f"DROP TABLE IF EXISTS {name}")
        for text in (*self.texts.copy, *self.texts.settle):
            self.do(text.format(name=name, rows=rows))

    def time(self, what: str, action: Callable[[], object]) -> None:
        """Measure something once more."""
        began = time.perf_counter()
        action()
        self.seconds.setdefault(what, []).append(time.perf_counter() - began)

    def least(self, what: str) -> float:
        """The least seconds of something."""
        return min(self.seconds[what])

    def one_delete(self, cutoff: datetime = CUTOFF) -> None:
        """One statement, one transaction."""
        self.fresh("by_hand", self.rows)
        statement = self.texts.delete.format(name="by_hand", cutoff=cutoff.isoformat())
        self.time("one DELETE", lambda: self.counts.add(self.do(statement)))
        self.do("DROP TABLE by_hand")

    def run(self, label: str, rows: int, held: list[str]) -> None:
        """A run of the store."""
        self.fresh("leads", rows)
        store = SqlStore(self.connection)
        work, rules = _work(f"run-{label}"), _rules(held)
        found = []
        self.time(f"discover, {label}", lambda: found.append(store.discover(work, rules)))
        (candidates,) = found
        batches = range(candidates.batches)
        erased = []
        self.time(f"erase, {label}", lambda: erased.append(store.erase(work, candidates, batches, _Gate(rules)).erased))
        if rows == self.rows:
            self.counts.add(erased[0])
        store.clean(work.run, work.dataset)
        store.close()


class _Gate:
    """The same rules all the time."""

    lease_seconds = 30.0

    def __init__(self, rules: HoldRules) -> None:
        self._rules = rules

    def current(self) -> HoldRules:
        """The rules."""
        return self._rules

    def lease(self) -> AbstractContextManager[HoldRules]:
        """Not used by a SQL store."""
        return nullcontext(self._rules)


def _work(run: str) -> Work:
    dataset = TableDataset.model_validate(DATASET)
    expiry = Expiry(zone=ZONE, default=Cutoff(day=CUTOFF.date(), instant=CUTOFF))
    return Work(run=run, category="leads", dataset=dataset, expiry=expiry, as_of=AS_OF)


def _rules(held: list[str]) -> HoldRules:
    types = frozenset({IdentifierType.EMAIL})
    rule = HoldRule("hold", "matter", 1, everything=False, types=types, load=lambda: {IdentifierType.EMAIL: held})
    return HoldRules(1, (rule,))


def run(rows: int = ROWS, repetitions: int = REPETITIONS) -> bool:
    """Measure, print, and say whether all targets were met."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        with EmbeddedPostgres(Path(folder) / "postgres") as server:
            bench = Bench(server, rows)
            for _ in range(repetitions):
                bench.one_delete()
                bench.run("5,000 held", rows, bench.few)
                bench.run("1,000,000 held", rows, bench.many)
                bench.run("a tenth of the rows", rows // 10, bench.few)
            return _report(bench)


def _report(bench: Bench) -> bool:
    if len(bench.counts) != 1:
        print(f"the ways to erase erased different numbers of rows: {sorted(bench.counts)}")
        return False
    print(f"{bench.rows:,} rows, {bench.counts.pop():,} erased, {len(bench.few):,} held subjects\n")
    print(f"{'':36}{'least':>9}{'median':>9}  seconds of {len(bench.seconds['one DELETE'])}")
    for what, seconds in bench.seconds.items():
        print(f"{what:36}{min(seconds):9.2f}{median(seconds):9.2f}")
    by_hand = bench.least("one DELETE")
    few = bench.least("erase, 5,000 held")
    whole = bench.least("discover, 5,000 held") + few
    tenth = bench.least("discover, a tenth of the rows") + bench.least("erase, a tenth of the rows")
    ratios = [
        ("erase / one DELETE", few / by_hand, ERASE_TARGET),
        ("discover / one DELETE", bench.least("discover, 5,000 held") / by_hand, DISCOVER_TARGET),
        ("erase, 1,000,000 / 5,000 held", bench.least("erase, 1,000,000 held") / few, MANY_HELD_TARGET),
        ("discover + erase, ten times the rows", whole / tenth, GROWTH_TARGET),
    ]
    print(f"\n{'':36}{'ratio':>9}{'limit':>9}")
    for what, ratio, limit in ratios:
        print(f"{what:36}{ratio:9.2f}{limit:9.2f}  {'ok' if ratio <= limit else 'MISSED'}")
    return all(ratio <= limit for _, ratio, limit in ratios)


def command(measure: Callable[[int, int], bool], about: str) -> int:
    """Measure with the rows and repetitions that the command line says; the exit code."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    arguments = parser.parse_args()
    return 0 if measure(arguments.rows, arguments.repetitions) else 1


if __name__ == "__main__":
    sys.exit(command(run, __doc__ or ""))
