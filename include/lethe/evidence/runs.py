"""The record of runs in the governance database: who may run, what was found, decided and done.

Each function is one transaction that also appends to the ledger, so that the record and its proof agree.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from lethe import __version__
from lethe import governance as schema
from lethe.errors import RunError
from lethe.evidence.ledger import Ledger
from lethe.governance import Governance
from lethe.policy import Policy

DEAD_AFTER = timedelta(minutes=15)
"""A run that has done nothing for so long no longer keeps others of its category from starting."""


class RunBusy(RunError):
    """Another run of the category is under way. Waiting helps."""

    transient = True


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as the governance database knows it."""

    id: str
    category: str
    as_of: datetime
    policy_digest: str
    policy: Mapping[str, Any]
    cutoff: str
    state: str
    dry_run: bool
    expected_digest: str | None
    trigger: str
    started_at: datetime
    active_at: datetime
    finished_at: datetime | None
    superseded_by: str | None
    software: str


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """What a run recorded of one dataset; the fields hold the JSON of the models that their names say."""

    dataset: str
    candidates: Mapping[str, Any] | None = None
    validation: Mapping[str, Any] | None = None
    approval: Mapping[str, Any] | None = None
    tally: Mapping[str, Any] | None = None
    left: Mapping[str, Any] | None = None
    remainders: Sequence[Mapping[str, Any]] | None = None
    problem: str | None = None


class Runs:
    """The runs in the governance database."""

    def __init__(self, governance: Governance, ledger: Ledger) -> None:
        self._governance = governance
        self._ledger = ledger

    def start(
        self,
        policy: Policy,
        as_of: datetime,
        *,
        datasets: Sequence[str],
        dry_run: bool,
        expected_digest: str | None,
        trigger: str,
    ) -> tuple[RunRecord, RunRecord | None]:
        """Start a run, or come back to the open one that the same trigger started for the same moment and policy.

        Gives the run, and the open run of the category that it supersedes because nothing has happened in it for
        `DEAD_AFTER` (or because the same trigger has started it for another moment or policy).

        Raises:
            RunBusy: if another run of the category is under way.
        """
        table = schema.run.c
        with self._governance.write() as connection:
            if connection.dialect.name == "postgresql":  # one start at a time; on SQLite there is one writer anyway
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(0x4C455254)))
            now = self._governance.now(connection)
            open_run = connection.execute(
                sa.select(schema.run).where(table.category == policy.category, table.state == "open")
            ).one_or_none()
            if open_run is not None:
                same = open_run.trigger == trigger
                if same and open_run.as_of == as_of and open_run.policy_digest == policy.digest:
                    return _run(open_run), None
                if not same and now - open_run.active_at < DEAD_AFTER:
                    raise RunBusy(
                        f"{policy.category} is being run by {open_run.id} (started by {open_run.trigger}); wait until it "
                        f"has ended, or for {DEAD_AFTER.total_seconds() / 60:.0f} minutes after it last did anything"
                    )
            run_id = f"{policy.category.replace('_', '-')}-{as_of:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}".lower()
            if open_run is not None:
                connection.execute(
                    sa.update(schema.run)
                    .where(table.id == open_run.id)
                    .values(state="superseded", superseded_by=run_id, finished_at=now)
                )
                self._ledger.append(connection, "run.superseded", open_run.id, {"by": run_id})
            values = {
                "id": run_id,
                "category": policy.category,
                "as_of": as_of,
                "policy_digest": policy.digest,
                "policy": policy.model_dump(mode="json", by_alias=True),
                "cutoff": policy.expiry(as_of).label,
                "state": "open",
                "dry_run": dry_run,
                "expected_digest": expected_digest,
                "trigger": trigger,
                "started_at": now,
                "active_at": now,
                "software": f"lethe {__version__}",
            }
            connection.execute(sa.insert(schema.run).values(**values))
            connection.execute(
                sa.insert(schema.run_dataset), [{"run_id": run_id, "dataset": name} for name in datasets]
            )
            body = {name: values[name] for name in ("category", "policy_digest", "cutoff", "dry_run", "trigger")}
            self._ledger.append(
                connection,
                "run.planned",
                run_id,
                {**body, "as_of": as_of.isoformat(), "datasets": list(datasets)},
            )
        return self.get(run_id), _run(open_run) if open_run is not None else None

    def record(self, run_id: str, dataset: str, kind: str, body: Mapping[str, Any], **columns: Any) -> None:  # noqa: ANN401
        """Record something of a dataset (columns of `lethe_run_dataset`) and append `body` to the ledger."""
        row = schema.run_dataset.c
        with self._governance.write() as connection:
            if columns:
                connection.execute(
                    sa.update(schema.run_dataset).where(row.run_id == run_id, row.dataset == dataset).values(**columns)
                )
            self._touch(connection, run_id)
            self._ledger.append(connection, kind, run_id, {"dataset": dataset, **body})

    def touch(self, run_id: str) -> None:
        """Note that the run is alive."""
        with self._governance.write() as connection:
            self._touch(connection, run_id)

    def _touch(self, connection: sa.Connection, run_id: str) -> None:
        now = self._governance.now(connection)
        connection.execute(sa.update(schema.run).where(schema.run.c.id == run_id).values(active_at=now))

    def finish(self, run_id: str, state: str, body: Mapping[str, Any]) -> None:
        """Close an open run. Harmless if it is closed already."""
        table = schema.run.c
        with self._governance.write() as connection:
            now = self._governance.now(connection)
            closed = connection.execute(
                sa.update(schema.run)
                .where(table.id == run_id, table.state == "open")
                .values(state=state, finished_at=now, active_at=now)
            )
            if closed.rowcount:
                self._ledger.append(connection, "run.finished", run_id, {"state": state, **body})

    def get(self, run_id: str) -> RunRecord:
        """One run.

        Raises:
            RunError: if there is none of that id.
        """
        with self._governance.read() as connection:
            row = connection.execute(sa.select(schema.run).where(schema.run.c.id == run_id)).one_or_none()
        if row is None:
            raise RunError(f"there is no run {run_id}; `lethe report` lists the latest")
        return _run(row)

    def latest(self, count: int, *, category: str | None = None) -> list[RunRecord]:
        """The latest runs, newest first."""
        query = sa.select(schema.run).order_by(schema.run.c.started_at.desc()).limit(count)
        if category is not None:
            query = query.where(schema.run.c.category == category)
        with self._governance.read() as connection:
            return [_run(row) for row in connection.execute(query)]

    def datasets(self, run_id: str) -> list[DatasetRecord]:
        """What the run recorded, by dataset."""
        table = schema.run_dataset
        query = sa.select(*(c for c in table.c if c.name != "run_id")).where(table.c.run_id == run_id)
        with self._governance.read() as connection:
            return [DatasetRecord(**row._mapping) for row in connection.execute(query.order_by(table.c.dataset))]

    def dataset(self, run_id: str, dataset: str) -> DatasetRecord:
        """What the run recorded of one dataset.

        Raises:
            RunError: if the run does not have it.
        """
        for record in self.datasets(run_id):
            if record.dataset == dataset:
                return record
        raise RunError(f"run {run_id} has no dataset {dataset}")


def _run(row: sa.Row[Any]) -> RunRecord:
    return RunRecord(**row._mapping)
