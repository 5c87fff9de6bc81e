"""Personal data that no policy has: looked for every week, run by Airflow."""

from __future__ import annotations

from lethe.airflow import coverage_dag

dag = coverage_dag()
