"""Datasets that have records in common, found by where these really are.

Policies alone do not show it where one table is behind two connections, a partition is a dataset beside its parent, or
a search path leads two names to one table. A record would go by the shorter of two policies.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from itertools import combinations

from lethe.environment import Environment
from lethe.errors import LetheError, PolicyError
from lethe.policy import Dataset, Policy, TableDataset, exclude_each_other, load, may_overlap, policy_files
from lethe.stores.base import Place

_Placed = tuple[Policy, Dataset, Place]


def overlaps(env: Environment, policies: Iterable[Policy], *, of: str | None = None) -> Iterator[str]:
    """A message for every pair of datasets with records in common that `lethe.policy.overlaps` does not see.

    With `of` only the pairs in which that category has a part. A dataset whose store does not answer, or does not have
    its table, is passed over: its own check says so.
    """
    for (policy, one, place), (other_policy, other, other_place) in combinations(_placed(env, policies), 2):
        if of is not None and of not in (policy.category, other_policy.category):
            continue
        if may_overlap(one, other):
            continue  # said without asking a store
        if (place.meets(other_place) and not _apart(one, other)) or place.goes_along(other_place):
            yield (
                f"{policy.category}.yaml datasets.{one.name} and {other_policy.category}.yaml datasets.{other.name} "
                f"overlap: {one.location} (connection {one.store}) and {other.location} (connection {other.store}) "
                "have records in common, which would go by the shorter of two periods: leave one of them out, or "
                "part them by `where`"
            )


def readable(env: Environment) -> list[Policy]:
    """The policies whose files can be read; what is wrong with the others, `lethe policy check` says."""
    found = []
    for path in policy_files(env.settings.policies):
        with contextlib.suppress(PolicyError):
            found.append(load(path))
    return found


def _placed(env: Environment, policies: Iterable[Policy]) -> list[_Placed]:
    found: list[_Placed] = []
    for policy in policies:
        for dataset in policy.datasets:
            with contextlib.suppress(LetheError):
                found.append((policy, dataset, env.store(dataset).place(dataset)))
    return found


def _apart(one: Dataset, two: Dataset) -> bool:
    return isinstance(one, TableDataset) and isinstance(two, TableDataset) and exclude_each_other(one, two)
