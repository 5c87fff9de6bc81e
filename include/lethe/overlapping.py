"""Datasets that have records in common, found by where these really are.

Policies alone do not show it where one table is behind two connections, a partition is a dataset beside its parent, or
a search path leads two names to one table. A record would go by the shorter of two policies.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator
from itertools import combinations

from lethe.environment import Environment
from lethe.errors import ConnectionMissing, StoreError, StoreUnavailable
from lethe.policy import ChildTable, Dataset, Policy, TableDataset, exclude_each_other, load_each, may_overlap, undercut
from lethe.stores import family
from lethe.stores.base import Place


class Places:
    """Where datasets really are. Each is asked for once, and a store that is down no more than once."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._found: dict[str, Place | StoreError | ConnectionMissing] = {}
        self._down: dict[tuple[str, str], StoreUnavailable] = {}

    def of(self, dataset: Dataset) -> Place:
        """Where a dataset is.

        Raises:
            ConnectionMissing, StoreError: if its store cannot be asked, or does not have it.
        """
        definition = dataset.model_dump_json()
        if definition not in self._found:
            self._found[definition] = self._ask(dataset)
        found = self._found[definition]
        if isinstance(found, Place):
            return found
        raise found.with_traceback(None)

    def _ask(self, dataset: Dataset) -> Place | StoreError | ConnectionMissing:
        key = (dataset.kind, dataset.store)
        if key in self._down:
            return self._down[key]
        try:
            return self._env.store(dataset).place(dataset)
        except StoreUnavailable as error:
            self._down[key] = error
            return error
        except (StoreError, ConnectionMissing) as error:
            return error

    def comparable(self, one: Dataset, other: Dataset) -> bool:
        """Whether two connections may lead to one place: those to different kinds of stores do not."""
        mine, theirs = self._family(one), self._family(other)
        if None in (mine, theirs):
            return (one.kind == "table") == (other.kind == "table")
        return mine == theirs

    def _family(self, dataset: Dataset) -> str | None:
        with contextlib.suppress(ConnectionMissing):
            return family(dataset.kind, self._env.connection(dataset.store))
        return None

    def shared(self, one: Dataset, other: Dataset) -> bool:
        """Whether two datasets have records in common.

        Raises:
            ConnectionMissing, StoreError: if a store cannot be asked, or does not have its dataset.
        """
        if not self.comparable(one, other):
            return False
        place, other_place = self.of(one), self.of(other)
        if isinstance(one, TableDataset) and isinstance(other, TableDataset) and exclude_each_other(one, other):
            return self._along_in_common(one, other) if place.meets(other_place) else place.goes_along(other_place)
        return place.meets(other_place) or place.goes_along(other_place)

    def _along_in_common(self, one: TableDataset, other: TableDataset) -> bool:
        """Whether rows go along with records of two parts of one table.

        A child table that both declare alike is no such: each of its rows refers to one record, which is in one part.
        """
        alike = [child for child in one.children if child in other.children] if one.key == other.key else []
        rest, other_rest = (_without_children(dataset, alike) for dataset in (one, other))
        return self.of(one).goes_along(self.of(other_rest)) or self.of(rest).goes_along(self.of(other))

    def could_share(self, one: Dataset, other: Dataset) -> bool:
        """Whether two datasets would have records in common if the other's connection led to where the one's does.

        For another whose own store cannot be asked: what it names is looked for in the store of the one.

        Raises:
            ConnectionMissing, StoreUnavailable: if the store of the one cannot be asked.
        """
        there = other.model_copy(update={"store": one.store})
        try:
            return self.shared(one, there)
        except StoreUnavailable:
            raise
        except StoreError:
            self.of(one)  # it is not that one that is not there
            return False


def overlaps(env: Environment, policies: Iterable[Policy]) -> Iterator[tuple[str, bool]]:
    """A message for every pair of datasets with records in common that `lethe.policy.overlaps` does not see.

    And whether it is a mere remark: that a store could not be asked. What is wrong with that one, its own check says.
    """
    places = Places(env)
    everything = [(policy, dataset) for policy in policies for dataset in policy.datasets]
    unasked = dict[str, None]()
    for (policy, one), (other_policy, other) in combinations(everything, 2):
        if may_overlap(one, other):
            continue  # said without asking a store
        try:
            if places.shared(one, other):
                yield _message(policy, one, other_policy, other), False
        except (ConnectionMissing, StoreError):
            unasked |= dict.fromkeys(_silent(places, (policy, one), (other_policy, other)))
    for name in unasked:
        yield f"{name}: its store could not be asked where it is, so whether others have the same records", True


def _silent(places: Places, *datasets: tuple[Policy, Dataset]) -> Iterator[str]:
    for policy, dataset in datasets:
        try:
            places.of(dataset)
        except (ConnectionMissing, StoreError):
            yield _name(policy, dataset)


def problems(places: Places, policy: Policy, dataset: Dataset, others: Iterable[Policy]) -> Iterator[str]:
    """A message for every dataset of other policies that has records in common with one that is to be erased.

    Raises:
        ConnectionMissing, StoreError: if its own store cannot be asked; or if another's cannot, which may have the
            same records: they could go by the shorter of two policies.
    """
    for other_policy in others:
        for other in other_policy.datasets:
            if (text := undercut(dataset, other)) is not None:
                yield f"{_name(policy, dataset)}: {text} {_name(other_policy, other)} erases"
            if may_overlap(dataset, other) or _shared(places, policy, dataset, other_policy, other):
                yield _message(policy, dataset, other_policy, other)


def _shared(places: Places, policy: Policy, dataset: Dataset, other_policy: Policy, other: Dataset) -> bool:
    places.of(dataset)
    try:
        return places.shared(dataset, other)
    except (ConnectionMissing, StoreError) as error:
        if not places.could_share(dataset, other):
            return False
        kind = StoreUnavailable if error.transient else StoreError
        raise kind(
            f"{_name(policy, dataset)}: its connection has what {_name(other_policy, other)} names, too, and whether "
            f"these are the same records, connection {other.store} cannot be asked ({error}). Nothing of "
            f"{dataset.name} is erased until it answers: see `lethe policy check`"
        ) from None


def _message(policy: Policy, one: Dataset, other_policy: Policy, other: Dataset) -> str:
    return (
        f"{_name(policy, one)} and {_name(other_policy, other)} overlap: {one.location} (connection {one.store}) and "
        f"{other.location} (connection {other.store}) have records in common, which would go by the shorter of two "
        "periods: leave one of them out, or part them by `where`"
    )


def _name(policy: Policy, dataset: Dataset) -> str:
    return f"{policy.category}.yaml datasets.{dataset.name}"


def readable(env: Environment) -> list[Policy]:
    """The policies whose files can be read; what is wrong with the others, `lethe policy check` says."""
    return [policy for policy in load_each(env.settings.policies).values() if isinstance(policy, Policy)]


def _without_children(dataset: TableDataset, children: Collection[ChildTable]) -> TableDataset:
    return dataset.model_copy(update={"children": tuple(one for one in dataset.children if one not in children)})
