"""Recording events that start periods, and withdrawing them.

A withdrawal is acknowledged as a hold is (docs/hold-gate.md): it is committed to the registry first, so every batch
that begins from then on keeps to it; then all that began before is waited for, in every store that is judged by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from lethe.environment import Environment
from lethe.errors import EventError, LetheError, WithdrawalNotBinding
from lethe.holding import settle_stores
from lethe.holds.rules import HoldRules
from lethe.periods import EVER
from lethe.policy import Dataset, Disposition, Policy, TableDataset
from lethe.retention_events.registry import RetentionEvent
from lethe.retention_events.rules import EventsInForce
from lethe.stores.base import Work


@dataclass(frozen=True)
class Referring:
    """What refers to an event in a dataset today.

    Attributes:
        dataset: written ``category.dataset``.
        records: how many of its records; None: they could not be counted.
        expired: how many of them have expired by the event, held or not.
        two_people: whether the event counts there only once a second person has confirmed it.
        why: why they could not be counted.
    """

    dataset: str
    records: int | None
    expired: int = 0
    two_people: bool = False
    why: str = ""


def record_event(env: Environment, name: str, reference: Sequence[str], day: date, by: str) -> RetentionEvent:
    """Record that something happened to what a reference names.

    Raises:
        EventError: if no policy names such an event, it is not of a past day, or cannot be recorded. Nothing was.
    """
    _require_sound(env, name, reference, day)
    return env.events.record(name, reference, day, by=by)


def confirm_event(env: Environment, name: str, reference: Sequence[str], day: date, by: str) -> RetentionEvent:
    """Confirm, as a second person, what was recorded.

    Raises:
        EventError: if no policy names such an event, or it cannot be confirmed.
    """
    _require_sound(env, name, reference, day)
    return env.events.confirm(name, reference, day, by=by)


def withdraw_event(env: Environment, event_id: str, by: str) -> RetentionEvent:
    """Withdraw an event; when this returns, nothing goes by it any more. What has gone is gone.

    Raises:
        EventError: if there is no such event, or it was withdrawn.
        WithdrawalNotBinding: if it is withdrawn, and binds what starts from now on, but what had started before could
            not be waited for; the same again tries again.
    """
    event = env.events.get(event_id)
    if event.withdrawn_at is None or event.withdrawal_binds_at is not None:
        event = env.events.withdraw(event_id, by=by)
    if problems := list(settle_stores(env, _judged_by(env, event.name))):
        raise WithdrawalNotBinding(
            f"event {event.id} is withdrawn, and batches that start from now on keep to it, but running ones could not "
            f"be waited for ({'; '.join(problems)}). Repeat `lethe event withdraw {event.id}`"
        )
    return env.events.mark_withdrawal_binding(event.id)


def referring(env: Environment, name: str, reference: Sequence[str], day: date) -> Iterator[Referring]:
    """What refers to an event today, in every dataset that names it. It may take as long as a survey of each."""
    events = EventsInForce(name, 0, lambda: iter([[(tuple(part.strip() for part in reference), day)]]))
    for policy, dataset in named_by(env, name):
        yield _referring(env, policy, dataset, HoldRules(0, (), events))


def named_by(env: Environment, name: str) -> Iterator[tuple[Policy, TableDataset]]:
    """The datasets whose clock is an event of that name."""
    for policy in env.policies.values():
        for dataset in policy.datasets:
            if isinstance(dataset, TableDataset) and dataset.clock.event == name:
                yield policy, dataset


def _referring(env: Environment, policy: Policy, dataset: TableDataset, rules: HoldRules) -> Referring:
    name, two_people = f"{policy.category}.{dataset.name}", bool(dataset.clock.two_people)
    now = datetime.now(UTC)
    counted = dataset.model_copy(update={"keep_while": ()})
    try:
        expiry = policy.expiry(now)
        every = replace(expiry, default=EVER, column=None, by_value={})
        work = Work("referring", policy.category, counted, every, now, Disposition.ERASE)
        records = env.store(dataset).survey(work, rules).expired
        expired = env.store(dataset).survey(replace(work, expiry=expiry), rules).expired if records else 0
    except LetheError as error:
        return Referring(name, None, two_people=two_people, why=str(error))
    return Referring(name, records, expired, two_people)


def _require_sound(env: Environment, name: str, reference: Sequence[str], day: date) -> None:
    """Refuse what can be no event, before anything is recorded.

    Raises:
        EventError: saying what is wrong.
    """
    named = list(named_by(env, name))
    if not named:
        known = sorted(
            {one.clock.event for policy in env.policies.values() for one in _tables(policy) if one.clock.event}
        )
        raise EventError(
            f"no policy names an event {name}; choose from {', '.join(known) or 'none: no clock is an event'}"
        )
    widths = {len(dataset.clock.refers_to or ()) for _, dataset in named}
    if len(reference) not in widths:
        wanted = " or ".join(map(str, sorted(widths)))
        raise EventError(
            f"the reference of {name} has {wanted} parts, as refers_to says, not {len(reference)}: write these"
        )
    with env.governance.read() as connection:
        now = min(datetime.now(UTC), env.governance.now(connection))
    today = min(now.astimezone(ZoneInfo(policy.time_zone)).date() for policy, _ in named)
    if day > today:
        raise EventError(f"{day} is in the future (today is {today}): wait until {name} has happened")


def _tables(policy: Policy) -> Iterator[TableDataset]:
    return (dataset for dataset in policy.datasets if isinstance(dataset, TableDataset))


def _judged_by(env: Environment, name: str) -> Iterator[Dataset]:
    """The datasets that an event starts the periods of, also where those of runs under way are."""
    for policy in (*env.policies.values(), *env.runs.policies_under_way()):
        yield from (dataset for dataset in _tables(policy) if dataset.clock.event == name)
