"""Verify: the dataset is surveyed again, and nothing that had to go is left."""

from __future__ import annotations

from lethe.counts import Found
from lethe.environment import Environment
from lethe.evidence.events import (
    DatasetVerified,
)
from lethe.stages.base import Plan, Unwatched, Watcher, able_store, discovered, planned_work, rules_for
from lethe.stages.validate import record_validation
from lethe.stores.base import Candidates, NamesKeepers, Store, Work


def verify(env: Environment, plan: Plan, dataset: str, watcher: Watcher | None = None) -> Found:
    """Check that nothing expired and unheld is left, and record what each candidate has become.

    Raises:
        ValidationFailed: if something is left.
    """
    from lethe.checks import suites

    (watcher or Unwatched()).stage("verify", dataset, None)
    job = planned_work(env, plan, dataset)
    store = able_store(env, job)
    with env.runs.working(plan.run):
        since = env.runs.dataset(plan.run, dataset)
        left = store.survey(job, rules_for(env, plan, job.dataset))
        since = env.runs.record(plan.run, dataset, DatasetVerified(left, store.remainders(job), since))
        validation = suites.check_left(env.settings, job, left)
        candidates = discovered(env, plan).get(dataset)
    blocked = blocked_problem(store, job, candidates) if candidates else None
    record_validation(env, plan, since, validation, "after", because=blocked)
    return left


def blocked_problem(store: Store, job: Work, candidates: Candidates) -> str | None:
    """Why records that were to go are still there, in words, with what keeps them; None where none are."""
    problem = store.tally(job, candidates).problem
    names = store.kept_by(job, candidates) if problem and isinstance(store, NamesKeepers) else ()
    return f"{problem}: {'; '.join(names)}" if names else problem
