"""Customers' traffic: the retention DAG of `include/policies/traffic_customers.yaml`, run by Airflow."""

from __future__ import annotations

from lethe.airflow import retention_dag

dag = retention_dag("traffic_customers")
