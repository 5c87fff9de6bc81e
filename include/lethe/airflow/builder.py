"""The DAG of a retention policy.

::

    plan ─┬─ <dataset a>: discover → validate ─┐            ┌─ <dataset a>: erase[batch ranges] → verify ─┐
          └─ <dataset b>: discover → validate ─┴─ approve ──┴─ <dataset b>: erase[batch ranges] → verify ─┴─ certify

A dataset that fails does not stop the others; `certify` then turns the run red.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, Param, TaskGroup, TriggerRule

from lethe.airflow.alerting import run_failed
from lethe.airflow.approval import ApproveOperator
from lethe.airflow.assets import category_asset, dataset_asset
from lethe.airflow.docs import dag_docs
from lethe.airflow.faults import BUSY_TRIES, retrying
from lethe.airflow.operators import (
    CertifyOperator,
    DiscoverOperator,
    EraseOperator,
    PlanOperator,
    ValidateOperator,
    VerifyOperator,
)
from lethe.airflow.pools import pool_of
from lethe.policy import Dataset, Policy, load
from lethe.settings import Settings

PARTS = 4
"""In how many parts, at most, the batches of a dataset are erased side by side."""

_START = datetime(2026, 1, 1, tzinfo=UTC)
"""Earliest date of a run. Backfills reach back to it; a run judges by its own date, so no earlier one is of use."""

_ANSWER_WITHIN = timedelta(hours=10)
_RUN_WITHIN = timedelta(hours=23)
"""Less than a day, so that a run that is stuck does not keep the next one from starting."""

_TIMEOUTS = {
    "plan": timedelta(minutes=15),
    "discover": timedelta(hours=2),
    "validate": timedelta(hours=2),
    "approve": timedelta(minutes=15),
    "erase": timedelta(hours=8),
    "verify": timedelta(hours=2),
    "certify": timedelta(hours=2),
}
"""How long a try of a stage may take. Waiting for a person does not count."""


def retention_dag(category: str, settings: Settings | None = None) -> DAG:
    """The DAG that carries out the policy of a category.

    Args:
        category: the name of its policy file, without `.yaml`.
        settings: where the policies are.

    Raises:
        PolicyError: if the policy cannot be used; Airflow shows it as an import error.
    """
    settings = settings or Settings()
    policy = load(settings.policies / f"{category}.yaml")
    with DAG(
        dag_id=policy.category,
        description=f"{policy.title}: {policy.rule} ({policy.source})",
        schedule=CronTriggerTimetable(policy.schedule, timezone=policy.time_zone) if policy.schedule else None,
        start_date=_START,
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=_RUN_WITHIN,
        tags=tags(policy),
        owner_links={},
        params=_params(policy),
        doc_md=dag_docs(policy, settings),
        default_args={"owner": policy.owner, **retrying()},
        on_failure_callback=run_failed,
    ) as dag:
        _tasks(policy)
    return dag


def tags(policy: Policy) -> list[str]:
    """`lethe`, the category, and the kinds of its datasets: no others, so that filters in the UI stay short."""
    return ["lethe", policy.category, *sorted({dataset.kind for dataset in policy.datasets})]


def _params(policy: Policy) -> dict[str, Param]:
    names = [dataset.name for dataset in policy.datasets]
    return {
        "dry_run": Param(
            False, type="boolean", title="Dry run", description="Stop after validating. Nothing is erased."
        ),
        "as_of": Param(
            None,
            type=["null", "string"],
            format="date-time",
            pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}",
            title="As of",
            description="The moment to judge by, not in the future. Left out: the date of the run.",
        ),
        "datasets": Param(
            [],
            type="array",
            items={"type": "string", "enum": names},
            uniqueItems=True,
            examples=names,
            title="Datasets",
            description="Only these. Left out: all.",
        ),
        "expect": Param(
            None,
            type=["null", "string"],
            pattern="^[0-9a-f]{64}$",
            title="Expected digest",
            description="Erase exactly what a dry run printed this digest of, or nothing.",
        ),
    }


def _tasks(policy: Policy) -> None:
    plan = PlanOperator(
        task_id="plan",
        category=policy.category,
        retries=BUSY_TRIES,
        execution_timeout=_TIMEOUTS["plan"],
        doc_md="Fixes what the run does, and refuses what is wrong before anything is touched.",
    )
    approve = ApproveOperator(
        task_id="approve",
        plan=plan.output,
        response_timeout=_ANSWER_WITHIN,
        execution_timeout=_TIMEOUTS["approve"],
        trigger_rule=TriggerRule.ALL_DONE,
        doc_md="Passes by itself within the policy's limits, and asks a person above them. No answer erases nothing.",
    )
    certify = CertifyOperator(
        task_id="certify",
        plan=plan.output,
        retries=BUSY_TRIES,
        execution_timeout=_TIMEOUTS["certify"],
        trigger_rule=TriggerRule.ALL_DONE,
        inlets=[dataset_asset(policy, dataset) for dataset in policy.datasets],
        outlets=[category_asset(policy)],
        doc_md="Records the exact outcomes, issues the certificate and removes what was staged, whatever happened.",
    )
    for dataset in policy.datasets:
        verify = _dataset_tasks(policy, dataset, plan, approve)
        verify >> certify
    approve >> certify


def _dataset_tasks(policy: Policy, dataset: Dataset, plan: PlanOperator, approve: ApproveOperator) -> VerifyOperator:
    """The tasks of one dataset, in a group with its name. Returns the last."""
    asset = dataset_asset(policy, dataset)
    common: dict[str, Any] = {"pool": pool_of(dataset)}
    with TaskGroup(dataset.name, tooltip=dataset.title or dataset.location):
        discover = DiscoverOperator(
            task_id="discover",
            plan=plan.output,
            dataset=dataset.name,
            execution_timeout=_TIMEOUTS["discover"],
            inlets=[asset],
            doc_md="Finds the expired records and stages them beside the data.",
            **common,
        )
        validate = ValidateOperator(
            task_id="validate",
            plan=plan.output,
            dataset=dataset.name,
            candidates=discover.output,
            parts=PARTS,
            execution_timeout=_TIMEOUTS["validate"],
            inlets=[asset],
            doc_md="Has Great Expectations check what was discovered. What fails is not erased.",
            **common,
        )
        erase = EraseOperator.partial(
            task_id="erase",
            plan=plan.output,
            dataset=dataset.name,
            execution_timeout=_TIMEOUTS["erase"],
            max_active_tis_per_dagrun=PARTS,
            map_index_template="batches {{ task.batches[0] }}-{{ task.batches[1] - 1 }}",
            doc_md="Erases a range of batches of what was decided on. Holds are read again for every batch.",
            **common,
        ).expand(batches=validate.output)
        verify = VerifyOperator(
            task_id="verify",
            plan=plan.output,
            dataset=dataset.name,
            execution_timeout=_TIMEOUTS["verify"],
            trigger_rule=TriggerRule.NONE_FAILED,
            outlets=[asset],
            doc_md="Checks that nothing expired and unheld is left.",
            **common,
        )
    validate >> approve >> erase >> verify
    return verify
