"""Validate: Great Expectations checks what is staged."""

from __future__ import annotations

from lethe.checks.results import Validation
from lethe.environment import Environment
from lethe.errors import (
    ValidationFailed,
)
from lethe.evidence.events import (
    DatasetValidated,
)
from lethe.evidence.records import DatasetRecord, When
from lethe.stages.base import Plan, Unwatched, Watcher, planned_work
from lethe.stores.base import Candidates


def validate(
    env: Environment, plan: Plan, dataset: str, candidates: Candidates, watcher: Watcher | None = None
) -> Validation:
    """Have Great Expectations check the candidates, until it has been decided on them.

    After that the validation that was decided on stands, also in a run that is cleared: records that have been erased
    since cannot be checked any more, and need not be.

    Raises:
        ValidationFailed: naming the expectations that do not hold. Nothing of the dataset is erased.
    """
    from lethe.checks import suites

    (watcher or Unwatched()).stage("validate", dataset, None)
    job = planned_work(env, plan, dataset)
    record = env.runs.dataset(plan.run, dataset)
    found, before = record.candidates, record.before
    decided_on = record.approval is not None and found is not None and found.digest == candidates.digest
    if before is not None and before.success and decided_on:
        return before
    limits = env.policy(plan.category).limits
    with env.runs.working(plan.run):
        validation = suites.check_candidates(env.settings, env.store(job.dataset), job, candidates, limits)
    record_validation(env, plan, record, validation, "before")
    return validation


def record_validation(
    env: Environment,
    plan: Plan,
    since: DatasetRecord,
    validation: Validation,
    when: When,
    *,
    because: str | None = None,
) -> None:
    """Note what the checks found before or after erasing, `since` being the record of the dataset before.

    Raises:
        ValidationFailed: if they failed, with what keeps records where that is known.
    """
    failed = validation.failed
    problem = f"{when} erasing, expectations of {validation.suite} do not hold: {failed}" if failed else None
    problem = "; ".join(reason for reason in (because, problem) if reason) or None
    env.runs.record(plan.run, since.dataset, DatasetValidated(when, validation, problem, since))
    if problem:
        raise ValidationFailed(
            f"{plan.category}.{since.dataset}: {problem}. See its page in Data Docs, mend the data or the policy, "
            "and run again"
        )
