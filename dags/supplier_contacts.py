"""Contact points of suppliers: the retention DAG of `include/policies/supplier_contacts.yaml`, run by Airflow."""

from __future__ import annotations

from lethe.airflow import retention_dag

dag = retention_dag("supplier_contacts")
