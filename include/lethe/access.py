"""What there is of one person, in every dataset of every policy: what a request of access is answered by (Article 15).

Datasets in which the person cannot be looked for are named as such, and so is what could not be counted: nothing is
left out silently. But for days of clocks, no value of a record is in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from lethe.environment import Environment
from lethe.errors import LetheError
from lethe.holding import not_looked_at
from lethe.holds.rules import Asked, HoldRule, HoldRules
from lethe.judging.identifiers import IdentifierType
from lethe.policy import Dataset, Policy, RowDataset
from lethe.stages import expires_on, work
from lethe.stores.abilities import Ability
from lethe.stores.base import ClocksFound, PersonFound, find_person
from lethe.subjects.registry import SubjectRequest


@dataclass(frozen=True)
class Holding:
    """What a dataset has of a person.

    Attributes:
        policy: of its category.
        dataset: which one.
        found: what there is; None where that is not known.
        why_not: why it is not known: nothing to look by, or a store that could not be asked.
        searchable: whether the dataset carries identifiers of a type that the request names.
        partly: what of it is not looked at, in words; empty where all is.
        first: the first local day on which the one that expires first has expired, from today on.
        goes: how many of them a run on request lets go, if it comes now; 0 where the policy honours no such request.
        stays_because: why others, or all, do not, in words.
        last: the same of the one that expires last. Where the store says no clocks, of one whose clock is of today.
    """

    policy: Policy
    dataset: Dataset
    found: PersonFound | None = None
    why_not: str = ""
    searchable: bool = True
    partly: str = ""
    first: date | None = None
    last: date | None = None
    goes: int | None = None
    stays_because: str = ""

    @property
    def name(self) -> str:
        """Written ``category.dataset``."""
        return f"{self.policy.category}.{self.dataset.name}"

    @property
    def kept_on_by(self) -> tuple[str, ...]:
        """The columns of the conditions that keep expired records on."""
        return tuple(one.column for one in self.dataset.keep_while) if isinstance(self.dataset, RowDataset) else ()


def holdings(env: Environment, request: SubjectRequest, at: datetime | None = None) -> Iterator[Holding]:
    """What there is of the person who asks, dataset by dataset, all of them. It may take as long as surveys of each.

    Args:
        env: whose stores, holds and registry.
        request: whose identifiers are looked for.
        at: the moment to judge by; None: now.
    """
    moment = at or datetime.now(UTC)
    for policy in env.policies.values():
        for dataset in policy.datasets:
            yield _holding(env, request, policy, dataset, moment)


def _holding(env: Environment, request: SubjectRequest, policy: Policy, dataset: Dataset, at: datetime) -> Holding:
    named = frozenset(request.identifier_counts)
    types = named & dataset.carried
    if not types:
        carries = ", ".join(sorted(dataset.carried)) or "no identifiers"
        return Holding(
            policy, dataset, why_not=f"it carries {carries}, not {', '.join(sorted(named))}", searchable=False
        )
    try:
        holds = env.registry.rules(policy.category, dataset)
        person = replace(holds, rules=(_as_rule(env, request, types),))
        found = find_person(env.store(dataset), work(policy, "access", at, dataset.name), person, holds)
        goes = _going(env, request, policy, dataset, holds, at) if found.records and request.kind.erases else None
    except LetheError as error:
        return Holding(policy, dataset, why_not=str(error))
    first, last = _until(policy, found, at)
    partly = not_looked_at(env, dataset, named)
    because = _stays_because(env, request, policy, dataset, found, goes)
    return Holding(policy, dataset, found, "", True, partly, first, last, goes, because)


def _going(
    env: Environment, request: SubjectRequest, policy: Policy, dataset: Dataset, holds: HoldRules, at: datetime
) -> int:
    """How many records go by the request alone, by the judgement of a run on request."""
    if not _is_honoured(env, request, policy, dataset):
        return 0
    asked = Asked(request.id, lambda: env.subjects.identifiers_of(request.id))
    job = work(policy, "access", at, dataset.name, on_request=True)
    return env.store(dataset).survey(job, replace(holds, asked=(asked,))).due


def _is_honoured(env: Environment, request: SubjectRequest, policy: Policy, dataset: Dataset) -> bool:
    honoured = policy.on_request is not None and request.kind in policy.on_request.erase
    return honoured and env.store(dataset).abilities.has(Ability.REQUESTS)


def _stays_because(
    env: Environment, request: SubjectRequest, policy: Policy, dataset: Dataset, found: PersonFound, goes: int | None
) -> str:
    """Why records stay that a request is about, in words; nothing where none does, or none is asked to go."""
    if goes is None or goes == found.records:
        return ""
    if policy.on_request is None or request.kind not in policy.on_request.erase:
        return f"no request of {request.kind} shortens the period; legal basis: {policy.legal_basis} ({policy.source})"
    lack = env.store(dataset).abilities.lack(Ability.REQUESTS)
    if lack is not None:
        return f"{lack.says} ({lack.reason}): erase them by hand"
    return (
        "a hold covers them, a condition keeps them on, or they are not surely, or not only, this person's: another "
        "identifier is in them, or it is written so that it could be another's; decide by hand"
    )


def _as_rule(env: Environment, request: SubjectRequest, types: frozenset[IdentifierType]) -> HoldRule:
    return HoldRule(
        hold=request.id,
        matter=request.reference,
        version=0,
        everything=False,
        types=types,
        load=lambda: env.subjects.identifiers_of(request.id),
    )


def _until(policy: Policy, found: PersonFound, at: datetime) -> tuple[date | None, date | None]:
    """When the records expire: the first, where clocks are known, and the last."""
    today = at.astimezone(ZoneInfo(policy.time_zone)).date()
    if not found.records:
        return None, None
    if found.clocks:
        firsts = [expires_on(policy, one.first, one.named, today) for one in found.clocks]
        lasts = [expires_on(policy, one.last, one.named, today) for one in found.clocks]
        return min(filter(None, firsts), default=None), max(filter(None, lasts), default=None)
    if found.records == found.undated:
        return None, None
    periods = [None, *policy.expiry(at).by_value]
    bounds = [expires_on(policy, one.last, one.named, today) for one in _as_of_today(periods, today)]
    return None, max(filter(None, bounds), default=None)


def _as_of_today(periods: list[str | None], today: date) -> Iterator[ClocksFound]:
    """The latest that clocks can be, with each period that a record may have."""
    return (ClocksFound(named=named, first=today, last=today) for named in periods)
