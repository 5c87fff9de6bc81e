"""An alert: what is wrong, where, since when, and what to do next. Counts and names, nothing of any record."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from lethe.stores.base import Value

_MOST = 20
"""Sentences of what is wrong that an alert has at most."""

_LONGEST = 1000
"""Characters of each: more is on the run's page."""


class Kind(StrEnum):
    """What there are alerts of. Each has an entry in `docs/runbook.md`, under its heading."""

    FAILED = "failed"
    REFUSED = "refused"
    WAITING = "waiting"
    OVERDUE = "overdue"
    SILENT = "silent"
    POLICY = "policy"
    EVIDENCE = "evidence"
    COVERAGE = "coverage"
    UNSENT = "unsent"

    @property
    def heading(self) -> str:
        """What has happened, in words."""
        return _WORDS[self][0]

    @property
    def advice(self) -> str:
        """What to do next, in a sentence or two."""
        return _WORDS[self][1]

    @property
    def anchor(self) -> str:
        """The entry in the runbook: its heading as an anchor."""
        return anchor_of(self.heading)


_WORDS = {
    Kind.FAILED: (
        "A run failed",
        "What was not erased is still there; nothing went that should not. Mend what is said above, then trigger a new "
        "run.",
    ),
    Kind.REFUSED: (
        "A run was refused",
        "Nothing was touched. Mend what is said above (`lethe policy check` says whether it is), then trigger a new "
        "run.",
    ),
    Kind.WAITING: (
        "A run waits for a decision",
        "Read the reasons, then answer in Airflow (Required actions): Approve erases exactly this set, Reject or no "
        "answer erases nothing.",
    ),
    Kind.OVERDUE: (
        "What is due has not been erased",
        "See why no run has succeeded yet, and trigger one before what is due is late.",
    ),
    Kind.SILENT: (
        "No run succeeds",
        "Records are kept for longer than they may be. See whether the DAG is paused and what its latest runs say, "
        "then trigger a run.",
    ),
    Kind.POLICY: (
        "A policy cannot be used",
        "Its DAG cannot be read either, so that no run of it starts. Mend the file until `lethe policy check` has "
        "nothing to say.",
    ),
    Kind.EVIDENCE: (
        "The evidence does not hold",
        "Treat it as a break-in: let nobody write to the governance database, and compare it with a backup.",
    ),
    Kind.COVERAGE: (
        "Personal data is in no policy",
        "Add each place to a policy, or declare in `coverage.yaml` why it needs none.",
    ),
    Kind.UNSENT: (
        "Alerts cannot be sent",
        "Mend the connection; what was not sent is sent by the next watch.",
    ),
}


def anchor_of(heading: str) -> str:
    """The anchor that a heading in Markdown has: in small letters, hyphens for spaces, without other signs."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


class Alert(Value):
    """One thing that somebody should know.

    It leaves the machine, so that all of it are names that people gave to policies, datasets and connections, counts,
    dates and Lethe's own messages, which hold no value of a record.
    """

    kind: Kind
    cause: str = Field(description="What it is about: of one cause, people are told once.")
    subject: str = Field(description="The category, or the DAG.")
    datasets: tuple[str, ...] = ()
    run: str | None = Field(default=None, description="The run of Lethe; where there is none, of Airflow.")
    since: datetime
    what: tuple[str, ...] = Field(default=(), description="What is wrong, a sentence each.")
    page: str | None = Field(default=None, description="The address on Airflow's server of what shows it.")

    @property
    def headline(self) -> str:
        """One line."""
        return f"{self.subject}: {self.kind.heading[0].lower()}{self.kind.heading[1:]}"

    @property
    def where(self) -> str:
        """Category, datasets and run."""
        named = [f"{'datasets' if len(self.datasets) > 1 else 'dataset'} {', '.join(self.datasets)}"]
        run = [f"run {self.run}"] if self.run else []
        return ", ".join([self.subject, *(named if self.datasets else []), *run])

    @property
    def told(self) -> tuple[str, ...]:
        """What is wrong, no longer than somebody reads."""
        short = [f"{one[:_LONGEST]} …" if len(one) > _LONGEST else one for one in self.what[:_MOST]]
        more = len(self.what) - _MOST
        return (*short, f"{more} more are on its page.") if more > 0 else tuple(short)
