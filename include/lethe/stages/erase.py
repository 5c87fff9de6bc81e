"""Erase: batch by batch, what was decided on and nothing else."""

from __future__ import annotations

import itertools

from lethe.counts import Became
from lethe.environment import Environment
from lethe.errors import (
    RunError,
)
from lethe.evidence.events import (
    Erased,
)
from lethe.holds.gate import RunGate
from lethe.stages.approve import run_digest
from lethe.stages.base import Plan, Unwatched, Watcher, able_store, discovered, honoured, planned_work
from lethe.stores.base import Candidates


def batch_ranges(candidates: Candidates, parts: int) -> list[range]:
    """The batches of a dataset in at most `parts` consecutive ranges of nearly equal size; one where order matters."""
    count = min(1 if candidates.in_order else parts, candidates.batches)
    bounds = [round(candidates.batches * part / count) for part in range(count + 1)] if count else []
    return [range(low, high) for low, high in itertools.pairwise(bounds)]


def erase(env: Environment, plan: Plan, dataset: str, batches: range, watcher: Watcher | None = None) -> Became:
    """Erase a range of batches of what was decided on, and nothing else.

    Raises:
        RunError: if it was not approved, or for another set, cutoff or policy; if the run is closed.
        DatasetChanged, StoreError, StoreUnavailable: what has been done by then stands, and is recorded.
    """
    watcher = watcher or Unwatched()
    job = planned_work(env, plan, dataset)
    candidates = _decided(env, plan, dataset)
    watcher.stage("erase", dataset, candidates.due)
    asked = honoured(env.policy(plan.category), plan)
    gate = RunGate(env.registry, plan.run, plan.category, job.dataset, env.settings.lease_seconds, asked)
    with env.runs.working(plan.run):
        tally = able_store(env, job).erase(job, candidates, batches, gate, watcher.progress)
    env.runs.record(plan.run, dataset, Erased(batches, tally))
    return tally


def _decided(env: Environment, plan: Plan, dataset: str) -> Candidates:
    """The candidates that the recorded decision is about."""
    if plan.dry_run:
        raise RunError(f"run {plan.run} is a dry run and erases nothing: to erase, start a run that is none")
    record = env.runs.dataset(plan.run, dataset)
    if record.approval is None or not record.approval.approved:
        raise RunError(f"{plan.category}.{dataset}: run {plan.run} has no approval; nothing is erased: start a new run")
    candidates = discovered(env, plan)
    if record.approval.digest != run_digest(plan, candidates) or dataset not in candidates:
        raise RunError(
            f"{plan.category}.{dataset}: what was approved is another set of candidates; nothing is erased: "
            "start a new run"
        )
    return candidates[dataset]
