"""Categories that are late, and alerts that could not be sent: looked for every hour, run by Airflow."""

from __future__ import annotations

from lethe.airflow import watch_dag

dag = watch_dag()
