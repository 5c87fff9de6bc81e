"""What stages share: the values that travel between them, and what each finds out about its run first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from pydantic import Field

from lethe import overlapping
from lethe.checks import added
from lethe.environment import Environment
from lethe.errors import (
    LetheError,
    RunError,
)
from lethe.evidence.events import (
    Failed,
)
from lethe.evidence.records import DatasetRecord
from lethe.evidence.runs import (
    RecordChanged,
    RunClosed,
)
from lethe.holds.rules import HoldRules
from lethe.policy import ON_REQUEST, Dataset, Expiry, Policy, RequestKind
from lethe.stores.base import Candidates, Store, Value, Work, require_able

SETTLE_SECONDS = 120.0


class Plan(Value):
    """What a run is going to do: fixed once, handed to every stage."""

    run: str
    category: str
    as_of: datetime
    policy_digest: str
    cutoff: str
    datasets: tuple[str, ...]
    dry_run: bool = False
    unchecked: tuple[str, ...] = Field(
        default=(), description="Datasets whose store could not be asked: checked when they are discovered."
    )

    @property
    def on_request(self) -> bool:
        """Whether records go by requests of the persons whom they are of, and by no cutoff."""
        return self.cutoff == ON_REQUEST


class Watcher(Protocol):
    """Is told what goes on; for progress bars and logs."""

    def stage(self, name: str, dataset: str, total: int | None) -> None:
        """A stage of a dataset begins; `total` records are to be dealt with, where that is known."""

    def progress(self, records: int) -> None:
        """So many more records have been dealt with."""


class Unwatched:
    """A watcher that does nothing."""

    def stage(self, name: str, dataset: str, total: int | None) -> None:
        """Nothing."""

    def progress(self, records: int) -> None:
        """Nothing."""


def dataset_problems(env: Environment, places: overlapping.Places, policy: Policy, dataset: Dataset) -> Iterator[str]:
    """What is not as the policy says, and what other policies have of the same records."""
    found = env.store(dataset).check(dataset, policy.retention.by_value)
    for one in found:
        if not one.remark:
            yield f"{policy.category}.yaml: datasets.{dataset.name}.{one.field}: {one.message}"
    if all(one.remark for one in found):
        yield from added.unknown_columns(env.settings, policy.category, dataset, env.store(dataset))
        others = [other for other in overlapping.readable(env) if other.category != policy.category]
        yield from overlapping.problems(places, policy, dataset, others)


def work(policy: Policy, run: str, as_of: datetime, dataset: str, *, on_request: bool = False) -> Work:
    """One dataset of a policy as work for its store; of a run on request, by requests in place of cutoffs."""
    return Work(
        run=run,
        category=policy.category,
        dataset=policy.dataset(dataset),
        expiry=expiry_of(policy, as_of, on_request=on_request),
        as_of=as_of,
        disposition=policy.disposition,
    )


def expiry_of(policy: Policy, as_of: datetime, *, on_request: bool) -> Expiry:
    """What a run goes by."""
    return Expiry.of_requests(ZoneInfo(policy.time_zone)) if on_request else policy.expiry(as_of)


def rules_for(env: Environment, plan: Plan, dataset: Dataset) -> HoldRules:
    """The holds in force for a dataset; and, for a run on request, the requests in force that its policy honours."""
    return env.registry.rules(plan.category, dataset, honoured(env.policy(plan.category), plan))


def honoured(policy: Policy, plan: Plan) -> frozenset[RequestKind]:
    """The kinds of requests by which records may go in a run."""
    return frozenset(policy.on_request.erase) if plan.on_request and policy.on_request else frozenset()


def planned_work(env: Environment, plan: Plan, dataset: str) -> Work:
    """The work of a plan, if the policy still is the one that was planned with.

    Raises:
        RunError: if the policy file was changed since, or this machine works out another cutoff.
    """
    job = work(unchanged_policy(env, plan), plan.run, plan.as_of, dataset, on_request=plan.on_request)
    if job.expiry.label != plan.cutoff:
        raise RunError(
            f"{plan.category}: the cutoff is {job.expiry.label} here and was {plan.cutoff} where run {plan.run} was "
            "planned: these machines have other time zones or public holidays; install the same tzdata and holidays"
        )
    return job


def able_store(env: Environment, job: Work) -> Store:
    """The store of a dataset, if it declares that it can do what the work asks: asked here, too, and not only by it.

    Raises:
        StoreError: if it does not.
    """
    store = env.store(job.dataset)
    require_able(job, store.abilities)
    return store


def unchanged_policy(env: Environment, plan: Plan) -> Policy:
    """The policy of a run, as it was planned.

    Raises:
        RunError: if it was changed since, or the plan is not the one that is on record.
    """
    _require_as_recorded(env, plan)
    policy = env.policy(plan.category)
    if policy.digest != plan.policy_digest:
        raise RunError(
            f"{plan.category}.yaml was changed since run {plan.run} was planned; nothing more is erased for it. Start "
            f"a new run: trigger the DAG, or `lethe run {plan.category}`"
        )
    return policy


def _require_as_recorded(env: Environment, plan: Plan) -> None:
    """Refuse a plan that was changed on its way between tasks: who may edit XComs of Airflow could move its moment.

    Raises:
        RunError: if it was.
    """
    record = env.runs.get(plan.run)
    differing = [
        name
        for name in ("category", "as_of", "policy_digest", "cutoff", "dry_run")
        if getattr(plan, name) != getattr(record, name)
    ]
    if differing:
        raise RunError(
            f"{plan.category}: what was handed on between the tasks of run {plan.run} is not what was planned "
            f"({', '.join(differing)}); nothing more is erased for it. Find out who changed it, then start a new run"
        )


def discovered(env: Environment, plan: Plan) -> dict[str, Candidates]:
    """What is, or was, to be decided on: the candidates of every dataset that passed its validation."""
    return found_in(env.runs.datasets(plan.run))


def found_in(records: Sequence[DatasetRecord]) -> dict[str, Candidates]:
    """`discovered`, from what a run has recorded of its datasets."""
    decided = [record for record in records if record.approval is not None]
    return {
        record.dataset: record.candidates
        for record in decided or records
        if record.candidates is not None and record.before is not None and record.before.success
    }


def failures(env: Environment, plan: Plan) -> dict[str, str]:
    """The datasets of a run that failed, which are not decided on, and why."""
    return {record.dataset: record.problem for record in env.runs.datasets(plan.run) if record.problem}


class noting:  # noqa: N801 - used like a function
    """Records a dataset's failure with the run and lets the others go on."""

    def __init__(self, env: Environment, plan: Plan, dataset: str) -> None:
        self._env, self._plan, self._dataset = env, plan, dataset

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, LetheError):
            return False
        note_failure(self._env, self._plan, self._dataset, error)
        return True


def note_failure(env: Environment, plan: Plan, dataset: str, error: LetheError) -> None:
    """Record that a stage of a dataset failed, in the words of its error."""
    if isinstance(error, RecordChanged):
        return  # what another process recorded stands
    with contextlib.suppress(RunClosed):  # whoever closed the run says so; the caller has the error itself
        env.runs.record(plan.run, dataset, Failed(str(error)))
