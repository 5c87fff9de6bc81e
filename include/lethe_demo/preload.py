"""Imports what tasks need, once, in the process that they are forked from: seconds less for each of them.

Only for the LocalExecutor of the demo. Nothing of this may start threads when it is imported.
"""

from __future__ import annotations

import lethe.airflow.builder
import lethe.airflow.operators
import lethe.stores.files.store
import lethe.stores.objects
import lethe.stores.sql
from lethe.checks import gx, lazy, suites

with lazy.loading_later():
    import great_expectations
    import great_expectations.core

__all__ = ["great_expectations", "gx", "lethe", "suites"]
