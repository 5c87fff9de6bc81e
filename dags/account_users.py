"""Users of customers' accounts: the retention DAG of `include/policies/account_users.yaml`, run by Airflow."""

from __future__ import annotations

from lethe.airflow import retention_dag

dag = retention_dag("account_users")
