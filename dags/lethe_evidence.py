"""The ledger, certificates and anchors: checked every night, run by Airflow."""

from __future__ import annotations

from lethe.airflow import evidence_dag

dag = evidence_dag()
