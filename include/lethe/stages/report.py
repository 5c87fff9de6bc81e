"""What a run found and did, read from its record."""

from __future__ import annotations

from datetime import datetime

from lethe.checks.results import Validation
from lethe.counts import Became, Found
from lethe.environment import Environment
from lethe.evidence.records import WHEN, DatasetRecord
from lethe.stages.approve import run_digest
from lethe.stages.base import Plan, discovered
from lethe.stores.base import Candidates, Value


class DatasetReport(Value):
    """One dataset in the report of a run."""

    dataset: str
    candidates: Candidates | None = None
    validation: tuple[Validation, ...] = ()
    tally: Became | None = None
    left: Found | None = None
    problem: str | None = None


class Report(Value):
    """What a run did."""

    run: str
    category: str
    state: str
    as_of: datetime
    cutoff: str
    digest: str
    datasets: tuple[DatasetReport, ...]


def report_of(env: Environment, run_id: str) -> Report:
    """What a run did, from the governance database."""
    record = env.runs.get(run_id)
    datasets = env.runs.datasets(run_id)
    planned = Plan(
        run=run_id,
        category=record.category,
        as_of=record.as_of,
        policy_digest=record.policy_digest,
        cutoff=record.cutoff,
        datasets=tuple(dataset.dataset for dataset in datasets),
        dry_run=record.dry_run,
    )
    return Report(
        run=run_id,
        category=record.category,
        state=record.state,
        as_of=record.as_of,
        cutoff=record.cutoff,
        digest=run_digest(planned, discovered(env, planned)),
        datasets=tuple(_dataset_report(dataset) for dataset in datasets),
    )


def _dataset_report(record: DatasetRecord) -> DatasetReport:
    return DatasetReport(
        dataset=record.dataset,
        candidates=record.candidates,
        validation=tuple(record.validation[when] for when in WHEN if when in record.validation),
        tally=record.tally,
        left=record.left,
        problem=record.problem,
    )
