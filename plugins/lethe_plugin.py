"""Registers Lethe's page and links with Airflow, which looks for plugins in this folder."""

from __future__ import annotations

from lethe.airflow.plugin import LethePlugin

__all__ = ["LethePlugin"]
