"""Details of suppliers: the retention DAG of `include/policies/suppliers.yaml`, run by Airflow."""

from __future__ import annotations

from lethe.airflow import retention_dag

dag = retention_dag("suppliers")
