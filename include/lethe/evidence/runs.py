"""The record of runs in the governance database: who may run, what was found, decided and done.

Each function is one transaction that also appends to the ledger, so that the record and its proof agree.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVarTuple

import sqlalchemy as sa

from lethe import __version__, working_days
from lethe.errors import RunError
from lethe.evidence.events import ClosingEvent, DatasetEvent, StageEvent
from lethe.evidence.heartbeat import Heartbeat
from lethe.evidence.ledger import Ledger
from lethe.evidence.records import DatasetRecord, RunRecord
from lethe.governance import Governance, schema
from lethe.policy import ON_REQUEST, Policy
from lethe.settings import CLAIM_SECONDS, DEAD_AFTER_SECONDS

ALIVE_WITHIN = timedelta(days=1)
"""A run that is not over and has done nothing for so long has no batch under way any more."""

SEEN_WITHIN = timedelta(days=31)
"""How much earlier the moment of a dry run may be than that of the run whose policy it has shown."""

OPEN, CLOSING, SUPERSEDED, DRY, SUCCEEDED, FAILED = "open", "closing", "superseded", "dry", "succeeded", "failed"
_OVER = (CLOSING, SUPERSEDED)
"""States in which the record of a run is completed."""
_IS_OPEN = schema.run.c.state == OPEN
_BY_PERIOD = schema.run.c.cutoff != ON_REQUEST
"""By a run on request no category is carried out, and nobody has seen what its periods let go."""

_Columns = TypeVarTuple("_Columns")


class RunBusy(RunError):
    """Another run of the category is under way. Waiting helps."""

    transient = True


class RecordBusy(RunBusy):
    """Another process completes the record of a run. That takes less long than a run."""


class RunClosed(RunError):
    """A run takes no more records: it is closed, superseded, or another process completes it."""


class RecordChanged(RunError):
    """Another process has recorded something of the dataset since this one has read its record. That stands."""

    transient = True


@dataclass(frozen=True, slots=True)
class RunTimeouts:
    """How long the silence of a process is taken for work.

    Attributes:
        dead_after: a run of which nothing was seen for so long, and that waits for nobody, keeps no other waiting.
        claim_for: how long a claim to complete a run's record lasts unless it is renewed.
    """

    dead_after: timedelta = timedelta(seconds=DEAD_AFTER_SECONDS)
    claim_for: timedelta = timedelta(seconds=CLAIM_SECONDS)


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """A version of a category's policy that ran.

    Attributes:
        digest: the policy's.
        since: when the first run was planned with it.
        run: that run, whose record has the policy.
    """

    digest: str
    since: datetime
    run: str


IsRunning = Callable[[str], bool | None]
"""Whether what started a run, by its trigger, still is at it; None where that cannot be known."""


def not_known(_trigger: str) -> None:
    """Nobody can be asked whether a run is still being worked on."""


class Runs:
    """The runs in the governance database."""

    def __init__(self, governance: Governance, ledger: Ledger, limits: RunTimeouts | None = None) -> None:
        self._governance = governance
        self._ledger = ledger
        self._limits = limits or RunTimeouts()

    def start(
        self,
        policy: Policy,
        as_of: datetime,
        *,
        datasets: Sequence[str],
        dry_run: bool,
        expected_digest: str | None,
        trigger: str,
        requested_by: str | None = None,
        take_over: bool = False,
        is_running: IsRunning = not_known,
        clocks: Mapping[str, int] | None = None,
        on_request: bool = False,
    ) -> RunRecord:
        """Start a run, or come back to the open one that the same trigger started for the very same thing.

        An open run of the category is superseded where `is_running` says that it is dead (or, where that does not know,
        no sign of life came for `RunTimeouts.dead_after` and it waits for no person), where the same trigger has
        started it for another moment, policy, person or choice of datasets, where it is a dry run (which erases
        nothing, and may have failed), or with `take_over`: a person says that it is dead. `unsettled` then gives it.
        Should it be alive after all, the gate refuses its next batch.

        Raises:
            RunBusy: if another run of the category is under way.
        """
        table = schema.run.c
        cutoff = ON_REQUEST if on_request else policy.expiry(as_of).label
        running = self._ask_of_open_run(policy.category, is_running)
        with self._governance.write() as connection:
            if connection.dialect.name == "postgresql":  # one start at a time; on SQLite there is one writer anyway
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(0x4C455254)))
            now = self._governance.now(connection)
            open_run = _run(connection, sa.select(schema.run).where(table.category == policy.category, _IS_OPEN))
            if open_run is not None:
                same = open_run.trigger == trigger
                asked = (as_of, policy.digest, dry_run, expected_digest, requested_by, on_request)
                was_asked = (
                    open_run.as_of, open_run.policy_digest, open_run.dry_run, open_run.expected_digest,
                    open_run.requested_by, open_run.cutoff == ON_REQUEST,
                )  # fmt: skip
                if same and asked == was_asked and set(datasets) == self._dataset_names(connection, open_run.id):
                    self._touch(connection, open_run.id)
                    return open_run
                if not (same or take_over or open_run.dry_run):
                    self._require_dead(open_run, running.get(open_run.id), now)
            run_id = f"{policy.category.replace('_', '-')}-{as_of:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}".lower()
            if open_run is not None:
                over = sa.update(schema.run).where(table.id == open_run.id, _IS_OPEN)
                if connection.execute(over.values(state=SUPERSEDED, superseded_by=run_id)).rowcount:
                    self._ledger.append(connection, "run.superseded", open_run.id, {"by": run_id})
            values = {
                "id": run_id,
                "category": policy.category,
                "as_of": as_of,
                "policy_digest": policy.digest,
                "policy": policy.model_dump(mode="json", by_alias=True),
                "cutoff": cutoff,
                "state": OPEN,
                "dry_run": dry_run,
                "expected_digest": expected_digest,
                "trigger": trigger,
                "requested_by": requested_by,
                "started_at": now,
                "active_at": now,
                "software": _software(policy),
                "clocks": dict(clocks or {}),
            }
            self._note_policy(connection, policy)
            connection.execute(sa.insert(schema.run).values(**values))
            connection.execute(
                sa.insert(schema.run_dataset), [{"run_id": run_id, "dataset": name} for name in datasets]
            )
            body = {
                name: values[name]
                for name in ("category", "policy_digest", "cutoff", "dry_run", "trigger", "requested_by", "clocks")
            }
            self._ledger.append(
                connection,
                "run.planned",
                run_id,
                {**body, "as_of": as_of.isoformat(), "datasets": list(datasets)},
            )
        return self.get(run_id)

    def _ask_of_open_run(self, category: str, is_running: IsRunning) -> dict[str, bool | None]:
        """What `is_running` says of the open run, if there is one; asked outside of the transaction."""
        table = schema.run.c
        query = sa.select(table.id, table.trigger).where(table.category == category, _IS_OPEN)
        with self._governance.read() as connection:
            found = connection.execute(query).all()
        return {run.id: is_running(run.trigger) for run in found}

    def _require_dead(self, run: RunRecord, running: bool | None, now: datetime) -> None:
        """Refuse to supersede a run that lives, as far as anybody knows.

        Raises:
            RunBusy: if it does.
        """
        waits = run.waiting_until is not None and run.waiting_until > now
        silent = now - run.active_at >= self._limits.dead_after
        if running is False or (running is None and silent and not waits):
            return
        minutes = self._limits.dead_after.total_seconds() / 60
        until = (
            f"it waits for a person until {run.waiting_until:%Y-%m-%d %H:%M} UTC"
            if waits
            else f"wait until it has ended, or for {minutes:.0f} minutes after its last sign of life"
        )
        raise RunBusy(f"{run.category} is being run by {run.id} (started by {run.trigger}); {until}")

    def _dataset_names(self, connection: sa.Connection, run_id: str) -> set[str]:
        table = schema.run_dataset.c
        return set(connection.scalars(sa.select(table.dataset).where(table.run_id == run_id)))

    def _note_policy(self, connection: sa.Connection, policy: Policy) -> None:
        """Enter in the ledger that a category's policy is not the one that its last run was planned with."""
        table = schema.run.c
        last = sa.select(table.policy_digest).where(table.category == policy.category)
        before = connection.scalar(last.order_by(table.started_at.desc()).limit(1))
        if before != policy.digest:
            body = {"from": before, "to": policy.digest, "source": policy.source, "rule": policy.rule}
            self._ledger.append(connection, "policy.changed", policy.category, body)

    def record(self, run_id: str, dataset: str, event: StageEvent) -> DatasetRecord:
        """Record what a stage has done with a dataset of an open run, and give what is recorded of the dataset then.

        Raises:
            RunClosed: if the run is not open.
            RecordChanged: if another process has recorded something that the event does not know of.
            RunError: if the run does not have the dataset.
        """
        return self._write(run_id, dataset, event, _IS_OPEN)

    def complete(self, run_id: str, dataset: str, event: ClosingEvent, *, claim: str) -> DatasetRecord:
        """Record what completes the record of a closed run, by a claim to do so.

        Raises:
            RunClosed: if the claim is no longer the one in force.
            RunError: if the run does not have the dataset.
        """
        return self._write(run_id, dataset, event, _claimed(claim))

    def _write(self, run_id: str, dataset: str, event: DatasetEvent, allowed: sa.ColumnElement[bool]) -> DatasetRecord:
        row = schema.run_dataset.c
        mine = (row.run_id == run_id, row.dataset == dataset)
        with self._governance.write() as connection:
            now = self._governance.now(connection)
            alive = sa.update(schema.run).where(schema.run.c.id == run_id, allowed)  # others wait for it from here on
            _require(connection.execute(alive.values(active_at=now, waiting_until=None)).rowcount, run_id)
            recorded = _dataset(connection, run_id, dataset)
            if event.since is not None and event.since != recorded:
                raise RecordChanged(
                    f"run {run_id}: another process has recorded something of {dataset} meanwhile, and that stands"
                )
            if event.columns:
                connection.execute(sa.update(schema.run_dataset).where(*mine).values(**event.columns))
            self._ledger.append(connection, event.kind, run_id, {"dataset": dataset, **event.entry})
            return _dataset(connection, run_id, dataset)

    def touch(self, run_id: str) -> None:
        """Note that an open run is alive.

        Raises:
            RunClosed: if it is not open any more.
        """
        with self._governance.write() as connection:
            self._touch(connection, run_id)

    def _touch(self, connection: sa.Connection, run_id: str, **values: datetime) -> None:
        table, now = schema.run.c, self._governance.now(connection)
        alive = sa.update(schema.run).where(table.id == run_id, _IS_OPEN)
        _require(connection.execute(alive.values(active_at=now, **values)).rowcount, run_id)

    def working(self, run_id: str) -> Heartbeat:
        """A context in which an open run gives signs of life: whatever works on it, or waits at a prompt, works in it.

        Raises:
            RunClosed: at its beginning or its end, if the run is not open any more.
        """
        return self._heartbeat(lambda: self.touch(run_id), self._limits.dead_after / 15)

    def wait_for_person(self, run_id: str, until: datetime) -> None:
        """Note that an open run waits for a person's answer, without a process, until then or until it is recorded.

        Raises:
            RunClosed: if it is not open any more.
        """
        with self._governance.write() as connection:
            self._touch(connection, run_id, waiting_until=until)

    def repeated(self, run_id: str, by: str) -> None:
        """Note that an open run is carried out again, and by whom: from then on that is who asked for it.

        Harmless if it is noted already, or the run is not open any more.
        """
        table = schema.run.c
        others = sa.or_(table.requested_by.is_(None), table.requested_by != by)
        with self._governance.write() as connection:
            noted = sa.update(schema.run).where(table.id == run_id, _IS_OPEN, others).values(requested_by=by)
            if connection.execute(noted).rowcount:
                self._ledger.append(connection, "run.repeated", run_id, {"requested_by": by})

    @staticmethod
    def _heartbeat(beat: Callable[[], None], every: timedelta) -> Heartbeat:
        return Heartbeat(beat, every=every.total_seconds(), longest=ALIVE_WITHIN.total_seconds())

    # --- completing the record: nothing is erased for a run any more, and one process at a time settles it --------

    def close(self, run_id: str) -> None:
        """Close an open run: from now on the gate refuses its batches. Harmless if it is closed already."""
        table = schema.run.c
        with self._governance.write() as connection:
            connection.execute(sa.update(schema.run).where(table.id == run_id, _IS_OPEN).values(state=CLOSING))

    def claim_settling(self, run_id: str) -> str | None:
        """The claim by which this process may now complete the record of a closed run; None where that has been done.

        The claim lasts for `RunTimeouts.claim_for`; work under it in `settling`.

        Raises:
            RecordBusy: if another process is at it.
            RunError: if the run is open: `close` it first.
        """
        table = schema.run.c
        with self._governance.write() as connection:
            now = self._governance.now(connection)
            claim = secrets.token_hex(16)
            free = sa.or_(table.settling_until.is_(None), table.settling_until < now)
            claimed = connection.execute(
                sa.update(schema.run)
                .where(table.id == run_id, table.state.in_(_OVER), table.finished_at.is_(None), free)
                .values(settling_until=now + self._limits.claim_for, settling_by=claim)
            )
            if claimed.rowcount:
                return claim
            run = _run(connection, sa.select(schema.run).where(table.id == run_id))
        if run is None:
            raise _unknown(run_id)
        if run.state == OPEN:
            raise RunError(f"run {run_id} is open: its record is completed when it is closed; try again then")
        if run.finished_at is None:
            raise RecordBusy(f"the record of run {run_id} is being completed by another process; try again")
        return None

    def give_up_settling(self, run_id: str, claim: str) -> None:
        """Give back this process's claim, because it failed: another may try at once. Another's claim stands."""
        with self._governance.write() as connection:
            connection.execute(
                sa.update(schema.run)
                .where(schema.run.c.id == run_id, _claimed(claim))
                .values(settling_until=None, settling_by=None)
            )

    def settling(self, run_id: str, claim: str) -> Heartbeat:
        """A context in which this process's claim is renewed again and again.

        Raises:
            RunClosed: at its beginning or its end, if another process has the claim by now.
        """
        return self._heartbeat(lambda: self.renew_settling(run_id, claim), self._limits.claim_for / 4)

    def renew_settling(self, run_id: str, claim: str) -> None:
        """Extend this process's claim.

        Raises:
            RunClosed: if another process has the claim by now.
        """
        with self._governance.write() as connection:
            until = self._governance.now(connection) + self._limits.claim_for
            query = sa.update(schema.run).where(schema.run.c.id == run_id, _claimed(claim))
            _require(connection.execute(query.values(settling_until=until)).rowcount, run_id)

    def finish(self, run_id: str, claim: str, state: str, body: Mapping[str, object]) -> None:
        """Note that the record of a closed run is complete. A superseded run keeps that state.

        Raises:
            RunClosed: if another process has the claim by now.
        """
        table = schema.run.c
        final = sa.case((table.state == SUPERSEDED, SUPERSEDED), else_=state)
        with self._governance.write() as connection:
            now = self._governance.now(connection)
            query = sa.update(schema.run).where(table.id == run_id, _claimed(claim))
            done = query.values(state=final, finished_at=now, active_at=now, settling_until=None, settling_by=None)
            _require(connection.execute(done).rowcount, run_id)
            self._ledger.append(connection, "run.finished", run_id, {"state": state, **body})

    def unsettled(self, category: str) -> list[RunRecord]:
        """Runs of a category that are over but whose record is not complete: superseded, or died while closing."""
        table = schema.run.c
        query = sa.select(schema.run).where(
            table.category == category, table.state.in_(_OVER), table.finished_at.is_(None)
        )
        with self._governance.read() as connection:
            return _runs(connection, query.order_by(table.started_at))

    def policies_under_way(self) -> list[Policy]:
        """The policies, as they were, of all runs that may have a batch under way: their files may say else by now."""
        table = schema.run.c
        with self._governance.read() as connection:
            alive = table.active_at > self._governance.now(connection) - ALIVE_WITHIN
            query = sa.select(table.policy).where(table.finished_at.is_(None), table.dry_run.is_(False), alive)
            return [Policy.model_validate(policy) for policy in connection.scalars(query)]

    def get(self, run_id: str) -> RunRecord:
        """One run.

        Raises:
            RunError: if there is none of that id.
        """
        with self._governance.read() as connection:
            run = _run(connection, sa.select(schema.run).where(schema.run.c.id == run_id))
        if run is None:
            raise _unknown(run_id)
        return run

    def is_over(self, run_id: str) -> bool:
        """Whether the record of a run is complete, so that nothing staged for it is needed any more.

        False for a run that is not known here: another governance database may be in charge of it.
        """
        with self._governance.read() as connection:
            finished = sa.select(schema.run.c.finished_at).where(schema.run.c.id == run_id)
            return connection.scalar(finished) is not None

    def latest(
        self,
        count: int,
        *,
        category: str | None = None,
        before: RunRecord | None = None,
        dry_run: bool | None = None,
        state: str | None = None,
    ) -> list[RunRecord]:
        """The latest runs, newest first; of a category, before a given run, of dry runs or all others, in a state."""
        table = schema.run.c
        query = _newest_first(sa.select(schema.run), count)
        if category is not None:
            query = query.where(table.category == category)
        if dry_run is not None:
            query = query.where(table.dry_run.is_(dry_run))
        if state is not None:
            query = query.where(table.state == state)
        if before is not None:
            same = sa.and_(table.started_at == before.started_at, table.id < before.id)
            query = query.where(sa.or_(table.started_at < before.started_at, same))
        with self._governance.read() as connection:
            return _runs(connection, query)

    def latest_of_any(self, count: int, categories: Iterable[str]) -> list[RunRecord]:
        """The latest runs of some categories together, newest first."""
        run = schema.run.c
        each = [_newest_first(sa.select(run.id), count).where(run.category == category) for category in categories]
        return self._whose_id_is_in(each, count)

    def last_that_counts(self, categories: Iterable[str]) -> dict[str, RunRecord]:
        """The latest run of each category that was no dry run, and carried its periods out, by category."""
        run = schema.run.c
        each = [
            _newest_first(sa.select(run.id), 1).where(run.category == category, run.dry_run.is_(False), _BY_PERIOD)
            for category in categories
        ]
        return {record.category: record for record in self._whose_id_is_in(each)}

    def last_successes(self, datasets: Mapping[str, Collection[str]]) -> dict[str, RunRecord]:
        """Of each category, the run that succeeded for all its datasets, if any did: as of the latest moment.

        A backfill is newer, and as of an earlier one. Dry runs have a state of their own.

        Args:
            datasets: by category.
        """
        run, row = schema.run.c, schema.run_dataset.c
        had = sa.select(sa.func.count()).where(row.run_id == run.id)
        each = [
            sa.select(run.id)
            .where(
                run.category == category,
                run.state == SUCCEEDED,
                _BY_PERIOD,
                had.where(row.dataset.in_(names)).scalar_subquery() == len(names),
            )
            .order_by(run.as_of.desc(), run.started_at.desc())
            .limit(1)
            for category, names in datasets.items()
        ]
        return {record.category: record for record in self._whose_id_is_in(each)}

    def _whose_id_is_in(self, each: Sequence[sa.Select[str]], count: int | None = None) -> list[RunRecord]:
        """The runs whose ids some queries give, newest first: one statement, that walks an index once for each.

        Args:
            each: the queries.
            count: at most so many; None: all.
        """
        if not each:
            return []
        ids = sa.union_all(*(sa.select(one.subquery().c.id) for one in each))
        with self._governance.read() as connection:
            return _runs(connection, _newest_first(sa.select(schema.run).where(schema.run.c.id.in_(ids)), count))

    def categories(self) -> list[str]:
        """The categories that ever had a run, whether or not they still have a policy: from one to the next."""
        name = schema.run.c.category
        first = sa.select(sa.func.min(name).label("name")).cte("categories", recursive=True)
        following = sa.select(sa.func.min(name)).where(name > first.c.name).scalar_subquery()
        every = first.union_all(sa.select(following).where(first.c.name.is_not(None)))
        with self._governance.read() as connection:
            return list(connection.scalars(sa.select(every.c.name).where(every.c.name.is_not(None))))

    def triggered_by(self, trigger: str) -> RunRecord | None:
        """The latest run that a trigger has started, if it has started any."""
        table = schema.run.c
        query = sa.select(schema.run).where(table.trigger == trigger).order_by(table.started_at.desc()).limit(1)
        with self._governance.read() as connection:
            return _run(connection, query)

    def seen(self, category: str, policy_digest: str, as_of: datetime) -> set[str]:
        """The datasets of which somebody has seen what just this policy erases.

        That is in a dry run that succeeded or by approving a run, either of them as of `SEEN_WITHIN` before at most: an
        earlier moment shows less. Or a run has erased of them under it since, of which the same was asked.
        """
        run, row = schema.run.c, schema.run_dataset.c
        query = (
            sa.select(row.dataset, row.approval, row.tally, run.state, run.as_of)
            .join(schema.run, run.id == row.run_id)
            .where(run.category == category, run.policy_digest == policy_digest, _BY_PERIOD)
        )
        with self._governance.read() as connection:
            found = connection.execute(query).mappings().all()
        recent = as_of - SEEN_WITHIN
        return {
            record.dataset
            for row, record in ((row, DatasetRecord.of(row)) for row in found)
            if (row["as_of"] >= recent and (row["state"] == DRY or _approved(record))) or _erased(record)
        }

    def versions(self, category: str) -> list[PolicyVersion]:
        """The policies that a category's runs were planned with, oldest first: a version begins where another ends.

        Dry runs put nothing into force, and are left out.
        """
        table = schema.run.c
        order = (table.started_at, table.id)
        before = sa.func.lag(table.policy_digest).over(order_by=order).label("before")
        planned = (
            sa.select(table.id, table.policy_digest, table.started_at, before)
            .where(table.category == category, table.dry_run.is_(False))
            .subquery()
            .c
        )
        firsts = (
            sa.select(planned.id, planned.policy_digest, planned.started_at)
            .where(planned.before.is_distinct_from(planned.policy_digest))
            .order_by(planned.started_at, planned.id)
        )
        with self._governance.read() as connection:
            return [
                PolicyVersion(row.policy_digest, row.started_at, row.id) for row in connection.execute(firsts).all()
            ]

    def last_erased_with(self, category: str, dataset: str, *, before: RunRecord) -> Policy | None:
        """The policy by which records of a dataset went last, or would have when a person approved that.

        Where there was no such run: that of the category's first. None where it never ran.
        """
        run, row = schema.run.c, schema.run_dataset.c
        earlier = sa.and_(
            run.category == category,
            run.dry_run.is_(False),
            _BY_PERIOD,
            run.id != before.id,
            run.started_at <= before.started_at,
        )
        mine = (
            sa.select(run.id, row.dataset, row.approval, row.tally)
            .join(schema.run_dataset, row.run_id == run.id)
            .where(earlier, row.dataset == dataset)
            .order_by(run.started_at.desc(), run.id.desc())
        )
        with self._governance.read() as connection:
            records = ((found["id"], DatasetRecord.of(found)) for found in connection.execute(mine).mappings())
            last = next((name for name, record in records if _approved(record) or _erased(record)), None)
            by = run.id == last if last is not None else earlier
            policy = connection.execute(
                sa.select(run.policy).where(by).order_by(run.started_at, run.id).limit(1)
            ).scalar_one_or_none()
        return Policy.model_validate(policy) if policy else None

    def datasets(self, run_id: str) -> list[DatasetRecord]:
        """What the run recorded, by dataset."""
        table = schema.run_dataset
        query = sa.select(table).where(table.c.run_id == run_id).order_by(table.c.dataset)
        with self._governance.read() as connection:
            return [DatasetRecord.of(row) for row in connection.execute(query).mappings()]

    def datasets_of(self, run_ids: Collection[str]) -> dict[str, list[DatasetRecord]]:
        """What some runs recorded, by run and dataset, in one statement."""
        table = schema.run_dataset
        query = sa.select(table).where(table.c.run_id.in_(run_ids)).order_by(table.c.dataset)
        found: dict[str, list[DatasetRecord]] = {run_id: [] for run_id in run_ids}
        with self._governance.read() as connection:
            for row in connection.execute(query).mappings():
                found[row["run_id"]].append(DatasetRecord.of(row))
        return found

    def dataset(self, run_id: str, dataset: str) -> DatasetRecord:
        """What the run recorded of one dataset.

        Raises:
            RunError: if the run does not have it.
        """
        with self._governance.read() as connection:
            return _dataset(connection, run_id, dataset)


def require_claim(connection: sa.Connection, run_id: str, claim: str) -> None:
    """See that a claim to complete a run's record is in force, and stays so until the transaction ends.

    Raises:
        RunClosed: if it is not.
    """
    mine = sa.select(schema.run.c.id).where(schema.run.c.id == run_id, _claimed(claim)).with_for_update()
    if connection.execute(mine).one_or_none() is None:
        raise _closed(run_id)


def _claimed(claim: str) -> sa.ColumnElement[bool]:
    return sa.and_(schema.run.c.settling_by == claim, schema.run.c.finished_at.is_(None))


def _require(updated: int, run_id: str) -> None:
    if not updated:
        raise _closed(run_id)


def _newest_first(query: sa.Select[*_Columns], count: int | None) -> sa.Select[*_Columns]:
    return query.order_by(schema.run.c.started_at.desc(), schema.run.c.id.desc()).limit(count)


def _closed(run_id: str) -> RunClosed:
    return RunClosed(
        f"run {run_id} is not open any more, or another process completes its record: it may not erase any more, and "
        "nothing is recorded. Start a new run"
    )


def _unknown(run_id: str) -> RunError:
    return RunError(f"there is no run {run_id}; `lethe report` lists the latest")


def _approved(record: DatasetRecord) -> bool:
    return record.approval is not None and record.approval.approved_by_a_person


def _erased(record: DatasetRecord) -> bool:
    return record.tally is not None and record.tally.disposed > 0


def _software(policy: Policy) -> str:
    """What the cutoffs were worked out by."""
    return ", ".join([f"lethe {__version__}", *([working_days.source()] if policy.extends else [])])


def _runs(connection: sa.Connection, query: sa.Select[*tuple[object, ...]]) -> list[RunRecord]:
    return [RunRecord.of(row) for row in connection.execute(query).mappings()]


def _run(connection: sa.Connection, query: sa.Select[*tuple[object, ...]]) -> RunRecord | None:
    return next(iter(_runs(connection, query)), None)


def _dataset(connection: sa.Connection, run_id: str, dataset: str) -> DatasetRecord:
    table = schema.run_dataset
    query = sa.select(table).where(table.c.run_id == run_id, table.c.dataset == dataset)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise RunError(f"run {run_id} has no dataset {dataset}")
    return DatasetRecord.of(row)
