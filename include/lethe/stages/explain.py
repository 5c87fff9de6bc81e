"""Explain: why one record is still there, or by which run it went: asked of its store by its key, and of evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import partial
from zoneinfo import ZoneInfo

from lethe.counts import Outcome
from lethe.environment import Environment
from lethe.errors import PolicyError
from lethe.evidence import proofs
from lethe.evidence.proofs import History, NoSuchDataset
from lethe.evidence.signing_keys import trusted_keys
from lethe.holds.rules import HoldRules
from lethe.judging.keys import readings_before
from lethe.policy import Dataset, Policy
from lethe.stages.base import work
from lethe.stages.standing import due_after
from lethe.stores.base import ExplainsRecords, RecordFound

_EXPLAIN = "explain"
"""What stands for a run where nothing is staged."""

_MOST_DAYS = 1 << 17
"""How far ahead the end of a period is looked for: 358 years."""


class Fate(StrEnum):
    """What a record is, in a few words."""

    NOT_THERE = "not there"
    ERASED = "erased"
    UNKNOWN = "not known"
    ELSEWHERE = "not of this dataset"
    ANONYMISED = "anonymised"
    UNJUDGEABLE = "cannot be judged"
    KEPT = "not expired"
    KEPT_ON = "kept on"
    HELD = "held"
    BLOCKED = "blocked"
    DUE = "due"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a record is there, or is not. No value of it is in here but the day of its clock.

    Attributes:
        fate: in a few words.
        sentences: the same for people.
        matters: of the holds that cover it, for those who may see them; they are in no sentence.
        day: the local day of its clock.
        expires: the first local day on which it has expired, where it has not.
        erased_by: the run that erased it.
    """

    fate: Fate
    sentences: tuple[str, ...]
    matters: tuple[str, ...] = ()
    day: date | None = None
    expires: date | None = None
    erased_by: str | None = None


def explain(
    env: Environment,
    policy: Policy,
    dataset: Dataset,
    key: Sequence[str],
    at: datetime,
    following: datetime | None = None,
) -> Explanation:
    """Why a record is still there, or by which run it went.

    Args:
        env: whose stores, holds and evidence.
        policy: of its category.
        dataset: that it is, or was, of.
        key: the values of its key, as somebody writes them; of an object, its key.
        at: the moment to judge by.
        following: when a scheduler starts the next run; None: as the policy's schedule says.

    Raises:
        StoreUnavailable, StoreError: if the store cannot be asked, or the key can be none of the dataset.
        EvidenceError: if the evidence cannot be read.
    """
    store = env.store(dataset)
    history = partial(_history, env, f"{policy.category}.{dataset.name}", key)
    if not isinstance(store, ExplainsRecords):
        return _not_asked(history())
    holds = env.registry.rules(policy.category, dataset)
    found = store.explain(work(policy, _EXPLAIN, at, dataset.name), holds, key)
    return _gone(history()) if found is None else _there(policy, found, holds, at, history, following)


def _there(
    policy: Policy,
    found: RecordFound,
    holds: HoldRules,
    at: datetime,
    history: Callable[[], History],
    following: datetime | None,
) -> Explanation:
    matters = tuple(sorted({rule.matter for rule in holds.rules if rule.hold in found.held}))
    if not found.in_scope:
        text = "It does not meet the conditions of the dataset (where): this policy does not say when it goes."
        return Explanation(Fate.ELSEWHERE, (text,), matters, found.day)
    if found.anonymised:
        text = "It is anonymised: every masked column has its mask's value."
        return Explanation(Fate.ANONYMISED, (text,), matters, found.day)
    if found.unjudgeable:
        why = ", ".join(one.words for one in found.unjudgeable)
        text = f"It cannot be judged ({why}), and so it is not erased. Each run counts it; mend the record."
        return Explanation(Fate.UNJUDGEABLE, (text, *_of_holds(found)), matters, found.day)
    if not found.expired:
        today = at.astimezone(ZoneInfo(policy.time_zone)).date()
        expires = expires_on(policy, found.day, found.named, today) if found.day else None
        return Explanation(Fate.KEPT, (*_of_period(found, expires), *_of_holds(found)), matters, found.day, expires)
    return _expired(policy, found, matters, history, following or due_after(policy, at))


def _history(env: Environment, dataset: str, key: Sequence[str]) -> History:
    named = proofs.meant(env.governance, dataset, key)
    trusted = trusted_keys(env.governance, env.keys)
    try:
        return proofs.find(env.governance, env.keys, dataset, named, trusted, partial(readings_before, key))
    except NoSuchDataset:  # before its first run
        return History(sightings=(), searched=0, without_evidence=0)


def _not_asked(history: History) -> Explanation:
    why = (
        "Whether it is there is not known: rows in files are not found by their key without reading every file. What "
        "runs did with it, the evidence says."
    )
    gone = _gone(history)
    if gone.fate is Fate.ERASED:
        return Explanation(Fate.ERASED, (why, *gone.sentences[1:]), erased_by=gone.erased_by)
    return Explanation(Fate.UNKNOWN, (why, *gone.sentences[1:]))


def _gone(history: History) -> Explanation:
    there = "There is no such record."
    seen = history.erased_by
    if seen is None:
        evidence = (
            f"{history.searched:,} runs were searched; {history.without_evidence:,} have no record-level evidence"
        )
        return Explanation(Fate.NOT_THERE, (there, f"No run is known to have erased it: {evidence} (any more)."))
    what = " and ".join(one.value for one in seen.outcomes if one.colour == "good")
    ended = f", which ended on {_moment(seen.finished_at)}" if seen.finished_at else ""
    proven = "under its signed certificate" if seen.certified else "not certified yet"
    text = f"Run {seen.run}, as of {_moment(seen.as_of)}{ended}, has {what} it: {proven}."
    return Explanation(Fate.ERASED, (there, text), erased_by=seen.run)


def _expired(
    policy: Policy,
    found: RecordFound,
    matters: tuple[str, ...],
    history: Callable[[], History],
    following: datetime | None,
) -> Explanation:
    since = f"Its period, which began on {_day(found.day)}, is over." if found.day else "Its period is over."
    if found.kept_on:
        while_ = f"It is kept on while the condition on {', '.join(found.kept_on)} is met, or cannot be compared."
        return Explanation(Fate.KEPT_ON, (since, while_, *_of_holds(found)), matters, found.day)
    if found.held or found.kept_by_store:
        return Explanation(Fate.HELD, (since, *_of_holds(found)), matters, found.day)
    seen = history().sightings
    if seen and Outcome.BLOCKED in seen[-1].outcomes:
        blocked = f"Run {seen[-1].run} could not erase it: {Outcome.BLOCKED.words}. Its record says what keeps it."
        return Explanation(Fate.BLOCKED, (since, blocked, _next(policy, following)), matters, found.day)
    return Explanation(Fate.DUE, (since, _next(policy, following)), matters, found.day)


def _next(policy: Policy, following: datetime | None) -> str:
    if following is None:
        return "It is due, and goes with the next run, which a person starts."
    local = following.astimezone(ZoneInfo(policy.time_zone))
    return f"It is due, and goes with the next run, on {_day(local.date())} at {local:%H:%M} ({policy.time_zone})."


def _of_period(found: RecordFound, expires: date | None) -> Iterator[str]:
    if found.day is None:
        yield "It has no date yet, so that its period has not begun."
    elif expires is None:
        yield f"It has not expired: its period began on {_day(found.day)}; when that ends cannot be worked out."
    else:
        yield f"It has not expired: its period began on {_day(found.day)}, and it expires on {_day(expires)}."


def _of_holds(found: RecordFound) -> Iterator[str]:
    if found.held:
        number = "a hold covers" if len(found.held) == 1 else f"{len(found.held)} holds cover"
        yield f"It is held: {number} it."
    if found.kept_by_store:
        yield "The store itself keeps it (a legal hold or a retention of its own: Object Lock)."


def expires_on(policy: Policy, day: date, named: str | None, today: date) -> date | None:
    """The first local day, from today on, on which a record has expired; None: it cannot be worked out.

    Args:
        policy: of its category.
        day: the local day of its clock.
        named: which of the policy's by_value periods it has; None: that of others.
        today: the local day to look from.
    """
    zone = ZoneInfo(policy.time_zone)

    def is_over(days: int) -> bool:
        noon = datetime.combine(today + timedelta(days=days), time(12), tzinfo=zone)
        expiry = policy.expiry(noon)
        cutoff = expiry.default if named is None else expiry.by_value[named]
        return cutoff is not None and day < cutoff.day

    low, high = 0, 1
    try:
        if is_over(0):
            return today
        while not is_over(high):
            low, high = high, 2 * high
            if high > _MOST_DAYS:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if is_over(middle) else (middle, high)
    except (PolicyError, OverflowError):
        return None
    return today + timedelta(days=high)


def _day(day: date | None) -> str:
    return f"{day.day} {day:%B %Y}" if day else "an unknown day"


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
