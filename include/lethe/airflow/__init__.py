"""Lethe in Airflow: the DAG of a policy, its operators, and what the UI shows of it.

The only part of Lethe that imports Airflow. Operators are thin: what a stage does is in `lethe.stages`. Nothing here
may import Great Expectations, boto3 or a data-frame library at the top of a module: every DAG file imports this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lethe.airflow.builder import retention_dag
    from lethe.airflow.watching import coverage_dag, evidence_dag, survey_dag, watch_dag

__all__ = ["coverage_dag", "evidence_dag", "retention_dag", "survey_dag", "watch_dag"]


def __getattr__(name: str) -> object:
    """What builds DAGs, once a DAG file asks for it: the plugin and the list of pools do without operators."""
    if name == "retention_dag":
        from lethe.airflow.builder import retention_dag

        return retention_dag
    if name in ("coverage_dag", "evidence_dag", "survey_dag", "watch_dag"):
        from lethe.airflow import watching

        return getattr(watching, name)
    raise AttributeError(name)
