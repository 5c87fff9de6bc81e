"""Help-desk requests and their exchanges: the retention DAG of `include/policies/support.yaml`, run by Airflow."""

from __future__ import annotations

from lethe.airflow import retention_dag

dag = retention_dag("support")
