"""Inviting lists of off-line events: the retention DAG of `include/policies/events.yaml`, run by Airflow."""

from __future__ import annotations

from lethe.airflow import retention_dag

dag = retention_dag("events")
