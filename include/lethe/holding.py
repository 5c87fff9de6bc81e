"""Placing holds: record it, settle every store, and only then say that it is in force.

The order is the argument (docs/hold-gate.md): the hold is committed to the registry first, so every batch that begins
from then on sees it; then all that began before is waited for or settled, in every store that the hold covers.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from lethe.environment import Environment
from lethe.errors import HoldNotInForce, LetheError, StoreUnavailable
from lethe.holds.gate import wait_for_leases
from lethe.holds.registry import Coverage, Hold, HoldRequest, coverage
from lethe.judging.identifiers import IdentifierType
from lethe.periods import EVER
from lethe.policy import Dataset, Disposition, Policy, RowDataset
from lethe.stores.base import Work
from lethe.surveys import HoldSurvey

SETTLE_SECONDS = 120.0
"""How long a store's running batches are waited for, and what they left in doubt is settled."""


def place_hold(env: Environment, request: HoldRequest, by: str) -> tuple[Hold, Coverage]:
    """Place a hold; when this returns, the hold is in force.

    Raises:
        HoldError: if it is not well formed or would cover nothing. Nothing was recorded.
        HoldNotInForce: if it was recorded, and binds what starts from now on, but what had started before could not be
            waited for; `enforce_hold` tries again.
    """
    hold = env.registry.place(request, by=by, policies=env.policies)
    return enforce_hold(env, hold.id), covers(env, request)


def covers(env: Environment, request: HoldRequest) -> Coverage:
    """Where a hold finds records, and where not: what policies say, and what the stores show them to leave out.

    Raises:
        HoldError: if it is not well formed or would cover nothing.
    """
    found = coverage(request, env.policies)
    partly = {}
    for policy in env.policies.values():
        for dataset in policy.datasets:
            name = f"{policy.category}.{dataset.name}"
            if (
                request.identifiers
                and name in found.covered
                and (unlooked := not_looked_at(env, dataset, set(request.identifiers)))
            ):
                partly[name] = unlooked
    return replace(found, partly=partly)


def not_looked_at(env: Environment, dataset: Dataset, kinds: Set[IdentifierType]) -> str:
    """What of a dataset nobody finds by identifiers of some types, in words; nothing if all is looked at."""
    try:
        places = env.store(dataset).unsearched(dataset, kinds)
    except LetheError as error:
        return f"its store could not be asked whether all is looked at: {error}"
    return f"not found in {' and '.join(places)}: nothing declares its identifiers" if places else ""


@dataclass(frozen=True)
class Matching:
    """What a hold finds in a dataset today, expired or not.

    Attributes:
        dataset: written ``category.dataset``.
        records: how many; None: they could not be counted.
        unknown: records whose clock is missing or cannot be read, or that cannot be read: they are held if they match,
            but were not looked at.
        why: why they could not be counted.
    """

    dataset: str
    records: int | None
    unknown: int = 0
    why: str = ""


def matching(env: Environment, hold: Hold) -> Iterator[Matching]:
    """How many records of each dataset that it covers a hold finds today. It may take as long as a survey of each."""
    for policy in env.policies.values():
        for dataset in policy.datasets:
            looked_for = not hold.identifier_counts or dataset.carried & set(hold.identifier_counts)
            if hold.concerns(policy.category, dataset.name) and looked_for:
                yield _matching(env, hold, policy, dataset)


def count_holds(env: Environment, within: timedelta) -> int:
    """Count what the holds that bind find, and keep it: those that were counted longest ago first.

    Args:
        env: whose holds and stores.
        within: no further hold is begun when so much time has passed; the next call goes on with the others.

    Returns:
        How many were counted.
    """
    begun, known = time.monotonic(), env.surveys.of_holds()
    never = datetime.min.replace(tzinfo=UTC)
    holds = sorted(
        env.registry.holds(), key=lambda hold: min((one.at for one in known.get(hold.id, ())), default=never)
    )
    for number, hold in enumerate(holds):
        if time.monotonic() - begun > within.total_seconds():
            return number
        now = datetime.now(UTC)
        taken = [
            HoldSurvey(hold_id=hold.id, dataset=one.dataset, at=now, records=one.records, problem=one.why or None)
            for one in matching(env, hold)
        ]
        env.surveys.keep_of_hold(hold.id, taken)
    return len(holds)


def _matching(env: Environment, hold: Hold, policy: Policy, dataset: Dataset) -> Matching:
    name = f"{policy.category}.{dataset.name}"
    every = env.registry.rules(policy.category, dataset)
    mine = replace(every, rules=tuple(rule for rule in every.rules if rule.hold == hold.id))
    none = replace(every, rules=())
    now = datetime.now(UTC)
    expiry = replace(policy.expiry(now), default=EVER, column=None, by_value={})
    if isinstance(dataset, RowDataset):
        dataset = dataset.model_copy(update={"keep_while": ()})
    work = Work(hold.id, policy.category, dataset, expiry, now, Disposition.ERASE)
    try:
        found = env.store(dataset).survey(work, mine)
        otherwise = env.store(dataset).survey(work, none).held if found.held else 0  # what a store itself keeps
    except LetheError as error:
        return Matching(name, None, why=str(error))
    return Matching(name, found.held - otherwise, sum(found.unjudgeable.values()))


def enforce_hold(env: Environment, hold_id: str) -> Hold:
    """Wait until nothing is under way that started before the hold was recorded, and record that it is in force.

    Raises:
        HoldError: if there is no such hold.
        HoldNotInForce: naming every connection whose batches could not be waited for.
    """
    hold = env.registry.get(hold_id)
    if hold.in_force_at is not None:
        return hold
    problems = []
    try:
        wait_for_leases(env.governance)  # first: what its lease bounds is not in doubt any more
    except StoreUnavailable as error:
        problems.append(str(error))
    problems += settle_stores(env, _concerned(env, hold))
    if problems:
        raise HoldNotInForce(
            f"hold {hold.id} is recorded, and batches that start from now on keep to it, but it is NOT IN FORCE yet: "
            f"running ones could not be waited for ({'; '.join(problems)}). Repeat `lethe hold enforce {hold.id}`"
        )
    return env.registry.mark_in_force(hold.id)


def _concerned(env: Environment, hold: Hold) -> Iterator[Dataset]:
    """Its datasets, also where those of runs under way are: a policy may have been changed since they began."""
    for policy in (*env.policies.values(), *env.runs.policies_under_way()):
        for dataset in policy.datasets:
            if hold.concerns(policy.category, dataset.name):
                yield dataset


def settle_stores(env: Environment, datasets: Iterable[Dataset]) -> Iterator[str]:
    """Leave nothing in doubt in any store; a message for each where that failed."""
    stores: dict[tuple[str, str], list[Dataset]] = {}
    for dataset in datasets:
        stores.setdefault((dataset.kind, dataset.store), []).append(dataset)
    for (_, connection), concerned in sorted(stores.items(), key=lambda store: store[0]):
        try:
            env.store(concerned[0]).settle(concerned, SETTLE_SECONDS)
        except LetheError as error:
            yield str(error) if connection in str(error) else f"connection {connection}: {error}"


def without_effect(env: Environment) -> list[str]:
    """A message for every binding hold that names a category or dataset which no policy has any more."""
    datasets = {f"{policy.category}.{dataset.name}" for policy in env.policies.values() for dataset in policy.datasets}
    messages = []
    for hold in env.registry.holds():
        lost = [name for name in hold.categories if name not in env.policies]
        lost += [name for name in hold.datasets if name not in datasets]
        if lost:
            messages.append(f"hold {hold.id} ({hold.matter}) names {', '.join(lost)}, which no policy has any more")
    return messages
