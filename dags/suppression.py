"""The suppression list: the retention DAG of `include/policies/suppression.yaml`, run by Airflow."""

from __future__ import annotations

from lethe.airflow import retention_dag

dag = retention_dag("suppression")
