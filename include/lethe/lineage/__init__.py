"""Lineage: what a stage of a run read, changed and found, as OpenLineage datasets and facets.

Nothing here imports Airflow, and OpenLineage's client (0.4 s) is imported when `for_stage` is first called, so that
DAG files may import this module. An operator keeps what a stage returned and says it in its OpenLineage methods::

    from lethe import lineage

    def get_openlineage_facets_on_complete(self, task_instance):
        from airflow.providers.openlineage.extractors import OperatorLineage

        seen = lineage.Seen("registrations", description=store.describe(dataset), candidates=candidates)
        told = lineage.for_stage(lineage.Stage.DISCOVER, plan, [seen])
        return OperatorLineage(told.inputs, told.outputs, told.run_facets, told.job_facets)

What is not known yet (on start), or never came to be (on failure), is left out of `Seen`; `plan` may be None when
planning itself failed. A stage over all datasets (plan, approve, certify) gives one `Seen` each.

=========  =================  ==================  ============================================================
stage      inputs             outputs             facts that belong to it
=========  =================  ==================  ============================================================
plan       every dataset                          none
discover   the dataset                            `Seen.candidates`
validate   the dataset                            `Seen.candidates`, `Seen.validation`
approve    every dataset                          `Seen.candidates`
erase      the dataset        the same, and its   `Seen.candidates`, `Seen.tally`
                              suppression list
verify     the dataset                            `Seen.candidates`, `Seen.left`, `Seen.validation`
certify    every dataset                          `Seen.candidates`, `Seen.tally`, `Seen.left`
=========  =================  ==================  ============================================================

Datasets are named as `Store.describe` names them (https://openlineage.io/docs/spec/naming). Every dataset carries its
schema and the facet `lethe_retention`; tables that its records are judged by (`Description.judged_by`) are further
inputs, with their schema, of the stages that look at records. Inputs carry the results of expectations as
`dataQualityAssertions`, where severity `warn` marks an expectation that asks a person; the run carries a
`lethe_retention` facet of its own. `schema.json` beside this file defines both of our facets. OpenLineage has no word
for rows deleted: its lifecycle changes are of whole datasets, and its row counts are of rows written, so neither is
used for what was erased.

All that is said is counts, dates, digests and names of tables, columns, prefixes and expectations: no keys, no values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lethe.checks.results import ExpectationResult, Validation
from lethe.counts import Became, Found
from lethe.stores.base import Candidates, Description

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import DatasetFacet, InputDatasetFacet, JobFacet, RunFacet

FACET = "lethe_retention"
"""The name of our facets on runs and on datasets: project prefix and name, as the spec wants custom facets named."""

SCHEMA = Path(__file__).with_name("schema.json")
"""The JSON Schema of our facets."""


class Stage(StrEnum):
    """The stages of a run."""

    PLAN = "plan"
    DISCOVER = "discover"
    VALIDATE = "validate"
    APPROVE = "approve"
    ERASE = "erase"
    VERIFY = "verify"
    CERTIFY = "certify"


_LOOK_AT_RECORDS = frozenset({Stage.DISCOVER, Stage.VALIDATE, Stage.ERASE, Stage.VERIFY})


class PlannedRun(Protocol):
    """What lineage says of a run; `lethe.stages.Plan` is one."""

    @property
    def run(self) -> str:
        """The run's id."""

    @property
    def category(self) -> str:
        """The category of the schedule."""

    @property
    def as_of(self) -> datetime:
        """The moment that the run judges by."""

    @property
    def cutoff(self) -> str:
        """The cutoff days, in words."""

    @property
    def policy_digest(self) -> str:
        """SHA-256 of the policy."""

    @property
    def dry_run(self) -> bool:
        """Whether nothing is erased."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a stage knows of one dataset. All but the first two are what the stage, or one before it, returned.

    Attributes:
        dataset: its name in the policy.
        description: its name and schema, from `Store.describe`.
        candidates: what was discovered.
        validation: what Great Expectations said.
        tally: what became of the candidates.
        left: what was counted after erasing.
    """

    dataset: str
    description: Description
    candidates: Candidates | None = None
    validation: Validation | None = None
    tally: Became | None = None
    left: Found | None = None


@dataclass(frozen=True, slots=True)
class StageLineage:
    """What Airflow's `OperatorLineage` takes, field by field and in its order."""

    inputs: list[InputDataset] = field(default_factory=list)
    outputs: list[OutputDataset] = field(default_factory=list)
    run_facets: dict[str, RunFacet] = field(default_factory=dict)
    job_facets: dict[str, JobFacet] = field(default_factory=dict)


def for_stage(stage: Stage | str, plan: PlannedRun | None, datasets: Iterable[Seen]) -> StageLineage:
    """What a stage read and changed, with what it found.

    Args:
        stage: the stage; its value as text will do.
        plan: the run that it belongs to; None only where planning failed.
        datasets: the datasets that the stage is about.
    """
    from openlineage.client.event_v2 import InputDataset, OutputDataset

    stage = Stage(stage)
    seen = list(datasets)
    return StageLineage(
        inputs=[
            InputDataset(
                namespace=one.description.namespace,
                name=one.description.name,
                facets=_dataset_facets(stage, plan, one),
                inputFacets=_input_facets(one),
            )
            for one in seen
        ]
        + (_judged_by(seen) if stage in _LOOK_AT_RECORDS else []),
        outputs=[
            OutputDataset(
                namespace=one.description.namespace,
                name=one.description.name,
                facets=_dataset_facets(stage, plan, one),
            )
            for one in seen
            if stage is Stage.ERASE
        ]
        + (_suppression_lists(seen) if stage is Stage.ERASE else []),
        run_facets=_run_facets(stage, plan),
    )


def _judged_by(seen: Iterable[Seen]) -> list[InputDataset]:
    """The tables that records are judged by, each once."""
    from openlineage.client.event_v2 import InputDataset

    tables = {(one.namespace, one.name): one for each in seen for one in each.description.judged_by.values()}
    return [
        InputDataset(namespace=namespace, name=name, facets={"schema": _schema(one)} if one.fields else {})
        for (namespace, name), one in tables.items()
    ]


def _suppression_lists(seen: Iterable[Seen]) -> list[OutputDataset]:
    """The lists that values of erased records go onto, each once."""
    from openlineage.client.event_v2 import OutputDataset

    lists = [one.description.suppression for one in seen if one.description.suppression is not None]
    return [
        OutputDataset(namespace=namespace, name=name, facets={"schema": _schema(one)} if one.fields else {})
        for (namespace, name), one in {(one.namespace, one.name): one for one in lists}.items()
    ]


def _run_facets(stage: Stage, plan: PlannedRun | None) -> dict[str, RunFacet]:
    from lethe.lineage.facets import LetheRetentionRunFacet

    if plan is None:
        return {}
    facet = LetheRetentionRunFacet(
        run=plan.run,
        stage=stage.value,
        category=plan.category,
        asOf=plan.as_of.isoformat(),
        cutoff=plan.cutoff,
        policyDigest=plan.policy_digest,
        dryRun=plan.dry_run,
    )
    return {FACET: facet}


def _dataset_facets(stage: Stage, plan: PlannedRun | None, seen: Seen) -> dict[str, DatasetFacet]:
    from lethe.lineage.facets import LetheRetentionDatasetFacet

    facets: dict[str, DatasetFacet] = {}
    if seen.description.fields:
        facets["schema"] = _schema(seen.description)
    if plan is not None:
        facets[FACET] = LetheRetentionDatasetFacet(
            run=plan.run,
            stage=stage.value,
            category=plan.category,
            dataset=seen.dataset,
            cutoff=plan.cutoff,
            policyDigest=plan.policy_digest,
            **_found(seen.candidates),
            **_became(seen.tally),
            **_left(seen.left),
        )
    return facets


def _found(candidates: Candidates | None) -> dict[str, Any]:
    if candidates is None:
        return {}
    return {
        "candidates": candidates.due,
        "candidatesDigest": candidates.digest,
        "total": candidates.total,
        "expired": candidates.expired,
        "held": candidates.held,
        "keptOn": candidates.kept_on,
        "unjudgeable": _reasons(candidates),
        "rowsAlong": candidates.rows_along,
    }


def _became(tally: Became | None) -> dict[str, Any]:
    if tally is None:
        return {}
    from lethe.lineage.facets import OUTCOMES

    return {
        **{OUTCOMES[outcome]: count for outcome, count in tally.outcomes.items()},
        "rowsWith": tally.rows_with,
        "bytesFreed": tally.bytes,
    }


def _left(left: Found | None) -> dict[str, Any]:
    if left is None:
        return {}
    return {"left": left.due, "heldAfter": left.held, "unjudgeableAfter": _reasons(left)}


def _reasons(survey: Found) -> dict[str, int]:
    return {reason.value: count for reason, count in sorted(survey.unjudgeable.items())}


def _schema(description: Description) -> DatasetFacet:
    from openlineage.client.facet_v2 import schema_dataset

    return schema_dataset.SchemaDatasetFacet(
        fields=[
            schema_dataset.SchemaDatasetFacetFields(name=column.name, type=column.type, ordinal_position=position)
            for position, column in enumerate(description.fields, start=1)
        ]
    )


def _input_facets(seen: Seen) -> dict[str, InputDatasetFacet]:
    from openlineage.client.facet_v2 import data_quality_assertions_dataset as quality

    if seen.validation is None:
        return {}
    columns = {column.name for column in seen.description.fields}
    assertions = [_assertion(seen.validation, result, columns) for result in seen.validation.results]
    return {"dataQualityAssertions": quality.DataQualityAssertionsDatasetFacet(assertions=assertions)}


def _assertion(validation: Validation, result: ExpectationResult, columns: set[str]) -> Any:  # noqa: ANN401
    from openlineage.client.facet_v2 import data_quality_assertions_dataset as quality

    return quality.Assertion(
        assertion=result.type,
        success=result.success,
        column=result.column if result.column in columns else None,
        severity="warn" if result.asks else "error",
        name=f"{validation.suite}.{result.id}",
        description=result.description or None,
        actual=None if result.unexpected is None else str(result.unexpected),
    )
