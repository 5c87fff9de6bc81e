"""Plan: what is judged, by which moment, and whether it can be at all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from lethe import overlapping, timekeeping
from lethe.environment import Environment
from lethe.errors import (
    ConnectionMissing,
    ParameterError,
    StoreError,
)
from lethe.evidence import certificate
from lethe.evidence.runs import (
    IsRunning,
    not_known,
)
from lethe.evidence.signing_keys import require_in_use
from lethe.holds.gate import wait_for_leases
from lethe.policy import Dataset, Policy
from lethe.stages.base import SETTLE_SECONDS, Plan, dataset_problems
from lethe.stages.certify import settle, sweep
from lethe.stores.abilities import Ability

_EARLIEST_YEAR = 1900


def plan(
    env: Environment,
    category: str,
    as_of: datetime | None,
    *,
    trigger: str,
    requested_by: str | None = None,
    dry_run: bool = False,
    datasets: Sequence[str] = (),
    expect: str | None = None,
    take_over: bool = False,
    is_running: IsRunning = not_known,
    on_request: bool = False,
) -> Plan:
    """Fix what a run does, refuse what is wrong, and settle what a crashed run of the category left.

    Args:
        env: connections, stores and folders.
        category: the policy to carry out.
        as_of: the moment to judge by, timezone-aware, not in the future by any clock; None: now, by all of them.
        trigger: what started the run; the same trigger comes back to its own open run.
        requested_by: the person who asked for it, if one did; cannot approve it.
        dry_run: stop after validating.
        datasets: only these; all where empty.
        expect: erase only if `run_digest` comes out as this.
        take_over: supersede an open run of the category that somebody knows to be dead.
        on_request: erase what the open requests of persons are about that the policy honours, whenever its period ends,
            and nothing else.
        is_running: asked of the trigger of an open run of the category: who started it may know whether it is dead.

    Raises:
        PolicyError, ParameterError: before anything is touched. A dataset whose store cannot be asked fails later.
        RunBusy: if another run of the category is under way.
    """
    policy = env.policy(category)
    if as_of is not None and as_of.tzinfo is None:
        raise ParameterError(
            f"{category}: the as-of moment needs a time zone: write one such as 2026-11-21T02:15:00+01:00"
        )
    if as_of is not None and as_of.year < _EARLIEST_YEAR:
        raise ParameterError(
            f"{category}: the as-of moment {as_of.isoformat()} is before {_EARLIEST_YEAR}: give a later one"
        )
    chosen = [policy.dataset(name) for name in dict.fromkeys(datasets)] or list(policy.datasets)
    if on_request:
        chosen = _require_requests(env, policy, chosen if datasets else None)
    at, clocks = timekeeping.moment_of_run(env, category, chosen, as_of, erases=not dry_run)
    unchecked = _require_sound(env, policy, chosen)
    with env.governance.read() as connection:  # refused now rather than when it is time to certify
        require_in_use(connection, env.keys)
    names = [dataset.name for dataset in chosen]
    record = env.runs.start(
        policy,
        at.astimezone(UTC),
        datasets=names,
        dry_run=dry_run,
        expected_digest=expect,
        trigger=trigger,
        requested_by=requested_by,
        take_over=take_over,
        is_running=is_running,
        clocks=clocks.ahead,
        on_request=on_request,
    )
    with env.runs.working(record.id):
        unchecked |= _settle_earlier(env, category, chosen)
        for run_id in certificate.uncertified(env.governance, category):
            certificate.issue(env.governance, env.keys, run_id, env.registry.holds())
        sweep(env, [dataset for dataset in chosen if dataset.name not in unchecked])
    return Plan(
        run=record.id,
        category=category,
        as_of=record.as_of,
        policy_digest=record.policy_digest,
        cutoff=record.cutoff,
        datasets=tuple(names),
        dry_run=dry_run,
        unchecked=tuple(name for name in names if name in unchecked),
    )


def _require_requests(env: Environment, policy: Policy, named: Sequence[Dataset] | None) -> list[Dataset]:
    """The datasets of which records may go on request: those that were named, else those of which any can be found.

    Raises:
        ParameterError: if the policy honours no requests, none is open, none could find anything, or a store of one
            that was named does not declare that it can.
    """
    if policy.on_request is None:
        raise ParameterError(
            f"{policy.category}: no request lets its records go before their period has ended (legal basis: "
            f"{policy.legal_basis}); see on_request in `lethe policy reference`"
        )
    asked = env.subjects.binding(frozenset(policy.on_request.erase))
    if not asked:
        kinds = ", ".join(policy.on_request.erase)
        raise ParameterError(
            f"{policy.category}: no confirmed request of {kinds} is open, and nothing goes on request: see "
            "`lethe subject list`"
        )
    if named is not None:
        for one in named:
            if (lack := env.store(one).abilities.lack(Ability.REQUESTS)) is not None:
                raise ParameterError(
                    f"{policy.category}.{one.name}: {lack.says} ({lack.reason}): leave it out, and erase by hand what "
                    "`lethe subject report` names"
                )
        return list(named)
    types = {kind for one in asked for kind in one.identifier_counts}
    able = [one for one in policy.datasets if one.carried & types and env.store(one).abilities.has(Ability.REQUESTS)]
    if not able:
        raise ParameterError(
            f"{policy.category}: no dataset of which records can go on request carries {', '.join(sorted(types))}: see "
            "`lethe subject report`"
        )
    return able


def _require_sound(env: Environment, policy: Policy, datasets: Sequence[Dataset]) -> set[str]:
    """Refuse suites that cannot be used, and datasets that are not what the policy says.

    Returns:
        The datasets whose store cannot be asked: each is to be checked before it is discovered, and fails alone.
    """
    from lethe.checks import added

    problems = added.problems(env.settings, policy)
    places, unasked = overlapping.Places(env), set()
    for dataset in datasets:
        try:
            problems += dataset_problems(env, places, policy, dataset)
        except (StoreError, ConnectionMissing):
            unasked.add(dataset.name)
    if problems:
        raise ParameterError(f"{'; '.join(problems)}. Mend it, then see `lethe policy check`")
    return unasked


def _settle_earlier(env: Environment, category: str, datasets: Sequence[Dataset]) -> set[str]:
    """Complete the records of earlier runs that were not: superseded, or died.

    Returns:
        The datasets in whose stores a batch of such a run may be under way yet, because they cannot be asked.
    """
    in_doubt = False
    for unsettled in env.runs.unsettled(category):
        try:
            settle(env, unsettled)
        except (StoreError, ConnectionMissing):  # the next run tries again
            wait_for_leases(env.governance)
            in_doubt = True
    return {dataset.name for dataset in datasets if in_doubt and not _is_quiet(env, dataset)}


def _is_quiet(env: Environment, dataset: Dataset) -> bool:
    try:
        env.store(dataset).settle([dataset], SETTLE_SECONDS)
    except (StoreError, ConnectionMissing):
        return False
    return True
