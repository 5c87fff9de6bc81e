"""What respondents of surveys reveal: the retention DAG of `include/policies/market_research.yaml`, run by Airflow."""

from __future__ import annotations

from lethe.airflow import retention_dag

dag = retention_dag("market_research")
