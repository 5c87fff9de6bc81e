"""Logistics of event guests: the retention DAG of `include/policies/logistics.yaml`, run by Airflow."""

from __future__ import annotations

from lethe.airflow import retention_dag

dag = retention_dag("logistics")
