"""The pipeline as plain functions: plan, discover, validate, approve, erase, verify, certify.

It runs without a scheduler (`run`, which the command line uses) and is what Airflow's operators call, one stage a task.
Between stages travel small values without personal data; all else is in the stores and in the governance database.
"""

from __future__ import annotations

from lethe.evidence.runs import FAILED, SUCCEEDED
from lethe.stages.approve import asked_for, decide, limits_passed, reasons_to_ask, run_digest
from lethe.stages.base import Plan, Unwatched, Watcher, discovered, failures, note_failure, work
from lethe.stages.certify import certify
from lethe.stages.discover import discover
from lethe.stages.erase import batch_ranges, erase
from lethe.stages.explain import expires_on
from lethe.stages.history import Effect, effects, in_force
from lethe.stages.plan import plan
from lethe.stages.report import DatasetReport, Report, report_of
from lethe.stages.run import Approver, Ask, run
from lethe.stages.simulate import Simulation, require_ahead, simulate
from lethe.stages.survey import overdue_days, survey
from lethe.stages.validate import validate
from lethe.stages.verify import verify

__all__ = [
    "FAILED",
    "SUCCEEDED",
    "Approver",
    "Ask",
    "DatasetReport",
    "Effect",
    "Plan",
    "Report",
    "Simulation",
    "Unwatched",
    "Watcher",
    "asked_for",
    "batch_ranges",
    "certify",
    "decide",
    "discover",
    "discovered",
    "effects",
    "erase",
    "expires_on",
    "failures",
    "in_force",
    "limits_passed",
    "note_failure",
    "overdue_days",
    "plan",
    "reasons_to_ask",
    "report_of",
    "require_ahead",
    "run",
    "run_digest",
    "simulate",
    "survey",
    "validate",
    "verify",
    "work",
]
