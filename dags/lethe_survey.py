"""What every dataset has due, and will have due: counted every night, run by Airflow."""

from __future__ import annotations

from lethe.airflow import survey_dag

dag = survey_dag()
