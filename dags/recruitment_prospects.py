"""Candidates without consent: the retention DAG of `include/policies/recruitment_prospects.yaml`, run by Airflow."""

from __future__ import annotations

from lethe.airflow import retention_dag

dag = retention_dag("recruitment_prospects")
