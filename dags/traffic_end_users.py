"""End users' traffic: the retention DAG of `include/policies/traffic_end_users.yaml`, run by Airflow."""

from __future__ import annotations

from lethe.airflow import retention_dag

dag = retention_dag("traffic_end_users")
