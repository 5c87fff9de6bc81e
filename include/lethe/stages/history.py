"""History: which policy was in force when, and what a change of it comes to in the stores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

from lethe.environment import Environment
from lethe.errors import LetheError
from lethe.policy import Dataset, Policy
from lethe.stages.base import work

_SURVEY = "diff"
"""What stands for a run where nothing is staged."""


@dataclass(frozen=True, slots=True)
class Effect:
    """How many records of a dataset are due by two versions of its policy; `problem`: why that cannot be counted."""

    dataset: str
    before: int = 0
    after: int = 0
    problem: str | None = None

    def __str__(self) -> str:
        """In one sentence."""
        if self.problem is not None:
            return f"{self.dataset}: cannot be counted: {self.problem}"
        more = self.after - self.before
        what = f"{more:,} more would be erased" if more > 0 else f"{-more:,} more would be kept"
        return f"{self.dataset}: {self.before:,} records are due by what was in force, {self.after:,} now: {what}"


def in_force(env: Environment, category: str, day: date | None = None) -> Policy | None:
    """The policy that a category last ran with, or had last run with by the end of a day (UTC); None: it had not."""
    versions = env.runs.versions(category)
    begun = [one for one in versions if day is None or one.since.astimezone(UTC).date() <= day]
    return env.runs.get(begun[-1].run).policy if begun else None


def effects(env: Environment, old: Policy, new: Policy, at: datetime) -> Iterator[Effect]:
    """What each dataset of either version has due by both, with the holds of today, as of a moment."""
    names = dict.fromkeys(dataset.name for policy in (old, new) for dataset in policy.datasets)
    for name in names:
        try:
            yield Effect(name, _due(env, old, name, at), _due(env, new, name, at))
        except LetheError as error:
            yield Effect(name, problem=str(error))


def _due(env: Environment, policy: Policy, name: str, at: datetime) -> int:
    """How many records of a dataset are due by a policy: none where it has no such dataset."""
    dataset: Dataset | None = next((one for one in policy.datasets if one.name == name), None)
    if dataset is None:
        return 0
    rules = env.registry.rules(policy.category, dataset)
    return env.store(dataset).survey(work(policy, _SURVEY, at, name), rules).due
