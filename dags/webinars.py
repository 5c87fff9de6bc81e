"""Webinar registrations and attendance: the retention DAG of `include/policies/webinars.yaml`, run by Airflow."""

from __future__ import annotations

from lethe.airflow import retention_dag

dag = retention_dag("webinars")
