"""How long Lethe's pages take after three years, against an empty governance database: ``python -m bench.pages``.

A governance database on PostgreSQL with 25 categories that ran every day for three years (27,000 runs, each with its
record of datasets, its certificate and a survey), and one in which nothing ever ran, side by side behind the same
application with Airflow's own sign-in. Prints the median of each page's server time on both, and ends with exit code 1
where a page takes more than 60 ms and more than 1.5 times its time on the empty one.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from lethe.connections import Connection
from lethe.counts import Became, Found
from lethe.evidence.ledger import GENESIS, Head, entry_hash
from lethe.governance import Governance, open_governance, schema
from lethe.keys import new_connection
from lethe.policy import Policy, load_each
from lethe.stores.base import Candidates
from lethe.surveys import HORIZONS
from lethe_demo.servers import EmbeddedPostgres

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

DAYS, CATEGORIES = 3 * 365, 25
LIMIT_MS, LIMIT_RATIO = 60.0, 1.5
_REPEATED = 15
_POLICIES = Path(__file__).parents[1] / "include" / "policies"
_NOW = datetime.now(UTC).replace(hour=2, minute=15, second=0, microsecond=0)


def main() -> int:
    """Print the time of every page; 0 if all are within a limit."""
    console = Console()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        server = stack.enter_context(EmbeddedPostgres(folder / "data"))
        _surround(folder)
        policies = _policies(folder / "policies")
        connections = {name: _created(server, name) for name in ("empty", "full")}
        began = time.monotonic()
        with closing(open_governance(lambda _: connections["full"])) as governance:
            _fill(governance, policies)
        console.print(f"{CATEGORIES * DAYS:,} runs were put on record in {time.monotonic() - began:.0f} s")
        browser = stack.enter_context(_browser())
        seconds: dict[str, dict[str, float]] = {}
        for each in ("empty", "full", "empty", "full"):
            os.environ["AIRFLOW_CONN_LETHE_GOVERNANCE"] = _as_json(connections[each])
            for page, taken in _measured(browser, _pages(policies)).items():
                best = seconds.setdefault(page, {})
                best[each] = min(taken, best.get(each, taken))
    return _print(console, seconds)


def _surround(folder: Path) -> None:
    """An Airflow of its own, before it is imported."""
    os.environ |= {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'airflow.db'}",
        "AIRFLOW__API_AUTH__JWT_SECRET": "x" * 64,
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "AIRFLOW_CONN_LETHE_KEYS": new_connection(),
        "LETHE_POLICIES": str(folder / "policies"),
    }


def _created(server: EmbeddedPostgres, name: str) -> Connection:
    """A governance database in which nothing ran."""
    server.create_database(name)
    connection = server.connection("lethe_governance", name)
    open_governance(lambda _: connection).close()
    return connection


def _as_json(connection: Connection) -> str:
    """A connection as Airflow reads it from the environment."""
    fields = ("conn_type", "host", "port", "schema", "login")
    return json.dumps({name: getattr(connection, name) for name in fields})


def _policies(folder: Path) -> list[Policy]:
    """As many as there are, and further ones under other names."""
    folder.mkdir()
    texts = {file.stem: file.read_text() for file in sorted(_POLICIES.glob("*.yaml"))}
    for n in range(CATEGORIES - len(texts)):
        texts[f"more_{n}"] = re.sub("^category: .*$", f"category: more_{n}", texts["leads"], flags=re.MULTILINE)
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return [policy for policy in load_each(folder).values() if isinstance(policy, Policy)]


def _fill(governance: Governance, policies: list[Policy]) -> None:
    """Three years of nightly runs with a certificate each, and surveys of the last 400 days."""
    nights = [_NOW - timedelta(days=DAYS - 1 - day) for day in range(DAYS)]
    head = Head(seq=0, hash=GENESIS)
    with governance.write() as connection:
        for policy in policies:
            ids = {_run_id(policy, night): night for night in nights}
            written = policy.model_dump(mode="json", by_alias=True)
            connection.execute(sa.insert(schema.run), [_run(policy, written, *each) for each in ids.items()])
            datasets = [_dataset(run_id, one.name) for run_id in ids for one in policy.datasets]
            connection.execute(sa.insert(schema.run_dataset), datasets)
            certificates = [{"run_id": name, "document": "{}" * 2_000, "issued_at": at} for name, at in ids.items()]
            connection.execute(sa.insert(schema.certificate), certificates)
            entries = list(_entries(ids, head))
            connection.execute(sa.insert(schema.ledger), entries)
            head = Head(seq=entries[-1]["seq"], hash=entries[-1]["hash"])
            surveys = [_survey(policy, one.name, night) for one in policy.datasets for night in nights[-400:]]
            connection.execute(sa.insert(schema.survey), surveys)
    with governance.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))


def _run_id(policy: Policy, night: datetime) -> str:
    return f"{policy.category.replace('_', '-')}-{night:%Y%m%d}"


def _run(policy: Policy, written: object, run_id: str, night: datetime) -> dict[str, Any]:
    return {
        "id": run_id,
        "category": policy.category,
        "as_of": night,
        "policy_digest": policy.digest,
        "policy": written,
        "cutoff": f"{night:%Y-%m-%d}",
        "state": "succeeded",
        "dry_run": False,
        "trigger": f"airflow:{policy.category}/scheduled__{night.isoformat()}",
        "started_at": night,
        "active_at": night,
        "finished_at": night + timedelta(minutes=1),
        "clocks": {},
        "software": "lethe",
    }


_FOUND = Found(total=90_000, expired=120, held=20)


def _dataset(run_id: str, name: str) -> dict[str, Any]:
    candidates = Candidates(
        **_FOUND.model_dump(),
        reference="lethe_scratch.x",
        batches=1,
        batch_size=50_000,
        digest="c" * 64,
        holds_version=0,
    )
    return {
        "run_id": run_id,
        "dataset": name,
        "candidates": candidates.model_dump(mode="json"),
        "tally": Became(erased=100).model_dump(mode="json"),
        "left": Found(total=89_900, expired=20, held=20).model_dump(mode="json"),
    }


def _entries(runs: Mapping[str, datetime], head: Head) -> Iterator[dict[str, Any]]:
    """Two entries of each run, chained."""
    seq, previous = head.seq, head.hash
    for run_id, night in runs.items():
        at = night.isoformat(timespec="microseconds")
        for kind in ("run.planned", "certificate.issued"):
            seq += 1
            digest = entry_hash(seq, at, kind, run_id, "{}", previous)
            entry = {"seq": seq, "at": at, "kind": kind, "subject": run_id, "body": "{}", "previous": previous}
            yield entry | {"hash": digest}
            previous = digest


def _survey(policy: Policy, dataset: str, night: datetime) -> dict[str, Any]:
    return {
        "category": policy.category,
        "dataset": dataset,
        "at": night + timedelta(hours=2),
        "policy_digest": policy.digest,
        "found": _FOUND.model_dump(mode="json", exclude={"unreadable"}),
        "overdue": 0,
        "overdue_days": 0,
        "ahead": {str(days): days for days in HORIZONS},
    }


# --- asking for pages -------------------------------------------------------------------------------------------------


@contextmanager
def _browser() -> Iterator[TestClient]:
    """Somebody who has signed in to an Airflow with Lethe's pages."""
    from airflow.api_fastapi.app import create_app, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.utils.db import initdb
    from fastapi.testclient import TestClient

    initdb()
    with TestClient(create_app(apps="core")) as browser:
        user = SimpleAuthManagerUser(username="eva", role="admin")
        browser.cookies.set("_token", get_auth_manager().generate_jwt(user))
        yield browser


def _pages(policies: Sequence[Policy]) -> Mapping[str, str]:
    """The pages by what they are called; a run's are there where something ran."""
    last, earlier = (_run_id(policies[0], _NOW - timedelta(days=days)) for days in (0, 500))
    category = f"/lethe/categories/{policies[0].category}"
    return {
        "overview": "/lethe/",
        "category": category,
        "its failed runs": f"{category}?state=failed",
        "its older runs": f"{category}?before={earlier}",
        "holds": "/lethe/holds",
        "record": "/lethe/records",
        "evidence": "/lethe/evidence",
        "run": f"/lethe/runs/{last}",
    }


def _measured(browser: TestClient, pages: Mapping[str, str]) -> dict[str, float]:
    """Milliseconds that each page takes at the median, of those that are there."""
    found: dict[str, float] = {}
    for page, address in pages.items():
        if browser.get(address).status_code == 200:
            found[page] = statistics.median(_milliseconds(browser, address) for _ in range(_REPEATED))
    return found


def _milliseconds(browser: TestClient, address: str) -> float:
    began = time.perf_counter()
    browser.get(address)
    return (time.perf_counter() - began) * 1000


def _print(console: Console, taken: Mapping[str, Mapping[str, float]]) -> int:
    table = Table("Page", "Empty, ms", "Three years, ms", "Times")
    missed = False
    for page, by in taken.items():
        full, empty = by["full"], by.get("empty")
        ratio = full / empty if empty else None
        over = full > LIMIT_MS and (ratio is None or ratio > LIMIT_RATIO)
        missed = missed or over
        table.add_row(
            page,
            f"{empty:.0f}" if empty else "–",
            f"{full:.0f}",
            f"{ratio:.2f}{' !' if over else ''}" if ratio else "–",
        )
    console.print(table)
    console.print(f"At most {LIMIT_MS:.0f} ms, or {LIMIT_RATIO} times that of an empty database.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
