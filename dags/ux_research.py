"""User research: the retention DAG of `include/policies/ux_research.yaml`, run by Airflow."""

from __future__ import annotations

from lethe.airflow import retention_dag

dag = retention_dag("ux_research")
