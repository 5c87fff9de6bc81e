"""The figures of `lethe due`, `forecast`, `simulate` and `report`: a row for each dataset or run, and its columns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from lethe.counts import FOUND_HEADINGS, Found, Outcome, Unjudgeable
from lethe.surveys import HORIZONS

if TYPE_CHECKING:
    from lethe.access import Holding
    from lethe.cli.frames import Row
    from lethe.evidence.records import RunRecord
    from lethe.stages import DatasetReport, Report, Simulation
    from lethe.surveys import Survey

_FOUND: dict[str, type] = dict.fromkeys([*FOUND_HEADINGS, *(f"unjudgeable_{reason}" for reason in Unjudgeable)], int)
DUE: dict[str, type] = {
    **{"category": str, "dataset": str, "as_of": datetime},
    **_FOUND,
    **{"oldest": date, "overdue_days": int, "problem": str},
}
FORECAST: dict[str, type] = {
    **{"category": str, "dataset": str, "as_of": datetime},
    **_FOUND,
    **{"oldest": date, "overdue": int, "overdue_days": int},
    **{f"due_in_{days}_days": int for days in HORIZONS},
    **{"problem": str},
}
SIMULATED: dict[str, type] = {
    **{"category": str, "dataset": str, "run_at": datetime, "day": date},
    **{"records": int, "rows_along": int, "problem": str},
}
RUNS: dict[str, type] = {
    **{"run": str, "category": str, "state": str, "dry_run": bool, "as_of": datetime, "cutoff": str},
    **{"started_at": datetime, "by": str},
}
REPORT: dict[str, type] = {
    **{"run": str, "category": str, "state": str, "as_of": datetime, "cutoff": str, "dataset": str},
    **{f"found_{name}": kind for name, kind in _FOUND.items()},
    **{outcome.value: int for outcome in Outcome},
    **{"rows_with": int, "bytes": int, "left_due": int, "checks_broken": int, "problem": str},
}

ACCESS: dict[str, type] = {
    **{"request": str, "category": str, "dataset": str, "title": str, "records": int},
    **dict.fromkeys(("undated", "expired", "held", "kept_on", "unsearched"), int),
    **{"kept": str, "legal_basis": str, "source": str, "first_expires": date, "last_expires": date},
    **{"last_is_at_most": bool, "kept_on_by": str, "goes_on_request": int, "stays_because": str},
    **{"not_looked_at": str, "problem": str},
}


@dataclass(frozen=True)
class Due:
    """What is expired in a dataset, or why that cannot be said.

    Attributes:
        at: the moment that it is judged by.
        overdue: days since the oldest that is due should have gone.
    """

    category: str
    dataset: str
    at: datetime
    found: Found | None = None
    overdue: int | None = None
    problem: str | None = None

    @property
    def oldest(self) -> date | None:
        """The earliest day of what is due."""
        return self.found.oldest if self.found and self.found.due else None

    @property
    def figures(self) -> Row:
        """Its row."""
        return {
            "category": self.category,
            "dataset": self.dataset,
            "as_of": self.at,
            **(_found_row(self.found) if self.found else {}),
            "oldest": self.oldest,
            "overdue_days": self.overdue,
            "problem": self.problem,
        }


def forecast_figures(taken: Survey) -> Row:
    """What a dataset had due at a moment, and will have."""
    return {
        **{name: getattr(taken, name) for name in ("category", "dataset", "overdue", "overdue_days", "problem")},
        "as_of": taken.at,
        **(_found_row(taken.found) if taken.found else {}),
        "oldest": taken.found.oldest if taken.found and taken.found.due else None,
        **{f"due_in_{days}_days": due for days, due in taken.ahead.items()},
    }


def simulated_figures(simulated: Simulation) -> list[Row]:
    """A row for each run to come, also one that will erase nothing; or one that says why nothing is known."""
    names = {"category": simulated.category, "dataset": simulated.dataset}
    if simulated.problem:
        return [{**names, "problem": simulated.problem}]
    return [
        {
            **names,
            "run_at": one.at.astimezone(UTC),
            "day": one.at.date(),
            "records": one.going.records,
            "rows_along": one.going.rows_along,
        }
        for one in simulated.runs
    ]


def access_figures(request: str, one: Holding, kept: str) -> Row:
    """What a dataset has of a person, and how long that is kept, in words."""
    found = one.found
    counts = ("records", "undated", "expired", "held", "kept_on", "unsearched")
    return {
        "request": request,
        "category": one.policy.category,
        "dataset": one.dataset.name,
        "title": one.policy.title,
        **({name: getattr(found, name) for name in counts} if found else {}),
        "kept": kept,
        "legal_basis": one.policy.legal_basis,
        "source": one.policy.source,
        "first_expires": one.first,
        "last_expires": one.last,
        "last_is_at_most": bool(found and not found.clocks) if one.last else None,
        "kept_on_by": ", ".join(one.kept_on_by) if found and found.kept_on else None,
        "goes_on_request": one.goes,
        "stays_because": one.stays_because or None,
        "not_looked_at": one.partly or None,
        "problem": one.why_not or None,
    }


def run_figures(record: RunRecord) -> Row:
    """A run."""
    return {
        "run": record.id,
        "category": record.category,
        "state": record.state,
        "dry_run": record.dry_run,
        "as_of": record.as_of,
        "cutoff": record.cutoff,
        "started_at": record.started_at,
        "by": record.requested_by or record.trigger,
    }


def report_figures(found: Report, dataset: DatasetReport) -> Row:
    """What a run found in a dataset, and did."""
    candidates, tally = dataset.candidates, dataset.tally
    return {
        **{name: getattr(found, name) for name in ("run", "category", "state", "as_of", "cutoff")},
        "dataset": dataset.dataset,
        **({f"found_{name}": count for name, count in _found_row(candidates).items()} if candidates else {}),
        **(tally.model_dump() if tally else {}),
        "left_due": dataset.left.due if dataset.left else None,
        "checks_broken": sum(len(one.failures) for one in dataset.validation) if dataset.validation else None,
        "problem": dataset.problem,
    }


def _found_row(found: Found) -> dict[str, int]:
    reasons = {f"unjudgeable_{reason}": found.unjudgeable.get(reason, 0) for reason in Unjudgeable}
    return {name: getattr(found, name) for name in FOUND_HEADINGS} | reasons
