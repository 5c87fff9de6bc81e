"""What tasks tell OpenLineage: which datasets they read and changed, with the facets of `lethe.lineage`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lethe import lineage
from lethe.airflow.connections import open_environment
from lethe.errors import LetheError
from lethe.stores.base import Description

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from lethe.environment import Environment
    from lethe.stages import Plan


class OpenLineageMixin:
    """The OpenLineage methods of an operator. `keep_lineage` keeps what a stage has seen until its event is emitted."""

    stage: lineage.Stage
    _seen: tuple[lineage.Seen, ...] = ()

    def lineage_plan(self) -> Plan | None:
        """The run that the task belongs to, once that is known."""
        raise NotImplementedError

    def lineage_datasets(self) -> tuple[str, Sequence[str]]:
        """The category, and the datasets that the task is about; all where none are named."""
        raise NotImplementedError

    def keep_lineage(self, env: Environment, category: str, facts: dict[str, dict[str, Any]]) -> None:
        """Keep, for each dataset by name, fields of `lineage.Seen`."""
        policy = env.policy(category)
        seen = []
        for name, known in facts.items():
            dataset = policy.dataset(name)
            with suppress(LetheError):  # a store that is down now has been told of when the task started
                description: Description = env.store(dataset).describe(dataset)
                seen.append(lineage.Seen(name, description, **known))
        self._seen = tuple(seen)

    def get_openlineage_facets_on_start(self) -> OperatorLineage | None:
        """The datasets, before anything was done."""
        with suppress(LetheError), open_environment() as env:
            category, names = self.lineage_datasets()
            chosen = names or [dataset.name for dataset in env.policy(category).datasets]
            self.keep_lineage(env, category, {name: {} for name in chosen})
        return self._operator_lineage()

    def get_openlineage_facets_on_complete(self, task_instance: object) -> OperatorLineage | None:
        """The datasets, with what the stage found or did."""
        del task_instance
        return self._operator_lineage()

    def get_openlineage_facets_on_failure(self, task_instance: object) -> OperatorLineage | None:
        """The datasets, with what was known when the stage failed."""
        del task_instance
        return self._operator_lineage()

    def _operator_lineage(self) -> OperatorLineage | None:
        from airflow.providers.openlineage.extractors import OperatorLineage

        emitted = lineage.for_stage(self.stage, self.lineage_plan(), self._seen)
        return OperatorLineage(emitted.inputs, emitted.outputs, emitted.run_facets, emitted.job_facets)
