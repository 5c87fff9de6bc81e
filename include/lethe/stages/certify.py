"""Certify: the record of a run is completed, its certificate signed, its staging removed."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from lethe.environment import Environment
from lethe.errors import (
    ConnectionMissing,
    DatasetChanged,
    LetheError,
    RunError,
    StoreError,
    StoreUnavailable,
)
from lethe.evidence import certificate
from lethe.evidence.events import (
    Failed,
    Settled,
)
from lethe.evidence.outcomes import record_outcomes
from lethe.evidence.records import DatasetRecord, RunRecord
from lethe.evidence.runs import (
    DRY,
    FAILED,
    SUCCEEDED,
    RecordBusy,
    RunClosed,
)
from lethe.holds.gate import wait_for_leases
from lethe.policy import Dataset, Policy
from lethe.stages.base import SETTLE_SECONDS, Plan, work
from lethe.stages.report import Report, report_of
from lethe.stages.verify import blocked_problem
from lethe.stores.base import Candidates, Work


def certify(env: Environment, plan: Plan) -> Report:
    """Close the run: record the exact outcomes, issue the certificate, remove what was staged.

    Raises:
        RunError: if anything is missing or failed; the run is recorded as failed, and its certificate says what is
            missing.
        StoreError, ConnectionMissing: if a store in which batches were erased cannot be asked what became of them. The
            record waits for the next run.
    """
    try:
        settle(env, env.runs.get(plan.run))
    except (StoreError, ConnectionMissing) as error:
        raise type(error)(
            f"{error}. Run {plan.run} erases nothing more; its record is completed by trying again, or by the next run "
            f"(`lethe run {plan.category}`), once the store answers"
        ) from None
    report = report_of(env, plan.run)
    if report.state not in (SUCCEEDED, DRY):
        reasons = "; ".join(f"{dataset.dataset}: {dataset.problem}" for dataset in report.datasets if dataset.problem)
        raise RunError(
            f"{plan.category}: run {plan.run} is {report.state}: {reasons or 'it erases nothing more'}. "
            f"See `lethe report {plan.run}`; when that is mended, start a new run"
        )
    return report


def settle(env: Environment, record: RunRecord) -> None:
    """Bring the record of a run to what the stores say, close it, and remove what it staged. Again is harmless."""
    policy = record.policy
    env.runs.close(record.id)
    claim = env.runs.claim_settling(record.id)
    if claim is not None:
        try:
            with env.runs.settling(record.id, claim):
                _complete_record(env, record, policy, claim)
            _finish(env, record, claim)
        except RunClosed:
            raise RecordBusy(f"another process has taken over completing the record of run {record.id}") from None
        except BaseException:
            env.runs.give_up_settling(record.id, claim)
            raise
    certificate.issue(env.governance, env.keys, record.id, env.registry.holds())
    for dataset in env.runs.datasets(record.id):
        staged = policy.dataset(dataset.dataset)
        try:
            env.store(staged).clean(record.id, staged)
        except (StoreError, ConnectionMissing) as error:  # the next run sweeps
            if not (error.transient or dataset.problem):
                raise


def _complete_record(env: Environment, record: RunRecord, policy: Policy, claim: str) -> None:
    """Count what batches did, dataset by dataset."""
    datasets = env.runs.datasets(record.id)
    jobs = [work(policy, record.id, record.as_of, dataset.dataset) for dataset in datasets]
    _wait_for_batches(env, [job for job, dataset in zip(jobs, datasets, strict=True) if dataset.approval])
    for job, dataset in zip(jobs, datasets, strict=True):
        _settle_dataset(env, record, job, dataset, claim)


def _finish(env: Environment, record: RunRecord, claim: str) -> None:
    """Note that the run is over, and how it ended."""
    problems = {d.dataset: d.problem for d in env.runs.datasets(record.id) if d.problem}
    state = FAILED if problems else DRY if record.dry_run else SUCCEEDED
    env.runs.finish(record.id, claim, state, {"problems": problems})


def sweep(env: Environment, datasets: Sequence[Dataset]) -> None:
    """Remove what runs that are over have left staged beside the datasets, because a store was down when they ended.

    Each by the dataset as its run knew it: that says of which kind the staging is.
    """
    for dataset in datasets:
        with contextlib.suppress(StoreUnavailable, ConnectionMissing):  # that store's own stages will say so
            for run_id, name in env.store(dataset).staged_runs(dataset):
                if env.runs.is_over(run_id):
                    staged = env.runs.get(run_id).policy.dataset(name)
                    env.store(staged).clean(run_id, staged)


def _wait_for_batches(env: Environment, jobs: Sequence[Work]) -> None:
    """Leave no batch of a killed task under way or in doubt in a store: the run is closed, so none can begin.

    Raises:
        StoreError, ConnectionMissing: of the first store that cannot be asked, when all others were settled.
    """
    wait_for_leases(env.governance)
    failed: LetheError | None = None
    for job in jobs:
        try:
            env.store(job.dataset).settle([job.dataset], SETTLE_SECONDS)
        except (StoreError, ConnectionMissing) as error:
            failed = failed or error
    if failed is not None:
        raise failed


def _settle_dataset(env: Environment, record: RunRecord, job: Work, dataset: DatasetRecord, claim: str) -> None:
    missing = _missing(record, dataset)
    if dataset.candidates is not None and not record.dry_run:
        try:
            wrong = _count_outcomes(env, record, job, dataset.candidates, claim, approved=dataset.approval is not None)
            missing = missing or wrong
        except (StoreError, ConnectionMissing) as error:
            if dataset.approval is not None:  # else nothing was approved, so nothing was erased
                if not isinstance(error, DatasetChanged):
                    raise
                missing = f"what became of its candidates cannot be told, now or later: {error}"
    if missing and not dataset.problem:
        env.runs.complete(record.id, job.dataset.name, Failed(missing), claim=claim)


def _count_outcomes(
    env: Environment, record: RunRecord, job: Work, candidates: Candidates, claim: str, *, approved: bool
) -> str | None:
    """Record what became of each candidate, as the store says; give what is missing or wrong, in words."""
    store = env.store(job.dataset)
    tally = store.tally(job, candidates)
    outcomes = store.outcomes(job, candidates)
    records = record_outcomes(env.governance, env.keys, record.id, job.dataset.name, outcomes, claim=claim)
    env.runs.complete(record.id, job.dataset.name, Settled(tally), claim=claim)
    if tally.total < candidates.due and approved:
        return f"{candidates.due - tally.total:,} candidates have no outcome"
    return certificate.disagreement(tally, records) or blocked_problem(store, job, candidates)


def _missing(record: RunRecord, dataset: DatasetRecord) -> str | None:
    """The first stage that has no result, in words."""
    steps: list[tuple[str, object]] = [("discovered", dataset.candidates), ("validated", dataset.before)]
    if not record.dry_run:
        steps += [("approved", dataset.approval), ("verified", dataset.left)]
    return next((f"it was not {name}" for name, result in steps if result is None), None)
