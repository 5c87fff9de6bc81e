"""Discover: the expired records of a dataset are found, judged and staged."""

from __future__ import annotations

from lethe import overlapping, timekeeping
from lethe.environment import Environment
from lethe.errors import (
    ParameterError,
)
from lethe.evidence.events import (
    Discovered,
)
from lethe.policy import Dataset
from lethe.stages.base import (
    SETTLE_SECONDS,
    Plan,
    Unwatched,
    Watcher,
    able_store,
    dataset_problems,
    planned_work,
    rules_for,
)
from lethe.stores.base import Candidates


def discover(env: Environment, plan: Plan, dataset: str, watcher: Watcher | None = None) -> Candidates:
    """Find and stage the candidates of a dataset."""
    watcher = watcher or Unwatched()
    job = planned_work(env, plan, dataset)
    watcher.stage("discover", dataset, None)
    with env.runs.working(plan.run):
        since = env.runs.dataset(plan.run, dataset)
        if dataset in plan.unchecked:
            _check_late(env, plan, job.dataset)
        vouched = plan.dry_run or len(env.runs.get(plan.run).clocks or ()) > 1
        timekeeping.require_come(env, job.dataset, plan.as_of, vouched=vouched)
        rules = rules_for(env, plan, job.dataset)
        candidates = able_store(env, job).discover(job, rules, watcher.progress)
    env.runs.record(plan.run, dataset, Discovered(candidates, since))
    return candidates


def _check_late(env: Environment, plan: Plan, dataset: Dataset) -> None:
    """Check what could not be checked when the run was planned.

    Raises:
        ParameterError: if the dataset is not what its policy says.
        ConnectionMissing, StoreError: if its store cannot be asked now either.
    """
    problems = list(dataset_problems(env, overlapping.Places(env), env.policy(plan.category), dataset))
    if problems:
        raise ParameterError(f"{'; '.join(problems)}. Mend it, then see `lethe policy check`")
    env.store(dataset).settle([dataset], SETTLE_SECONDS)
