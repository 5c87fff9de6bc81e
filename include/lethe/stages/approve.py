"""Approve: whether a run goes on by itself, and who decided it otherwise."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import rfc8785

from lethe.environment import Environment
from lethe.errors import (
    RunError,
)
from lethe.evidence.events import (
    Decided,
)
from lethe.evidence.records import BY_LIMITS, Decision, RunRecord
from lethe.judging.mentions import Kind
from lethe.people import is_a_name, same_person
from lethe.policy import Policy, newly_erasing
from lethe.stages.base import Plan, failures, found_in, honoured, unchanged_policy
from lethe.stores.base import Candidates


def limits_passed(policy: Policy, candidates: Mapping[str, Candidates]) -> list[str]:
    """Why a person has to decide: one sentence a limit that is passed, none if the run is within all."""
    reasons = []
    for name, found in sorted(candidates.items()):
        if found.due + found.rows_along > policy.limits.records:
            along = f" with {found.rows_along:,} rows that go along" if found.rows_along else ""
            reasons.append(f"{name}: {found.due:,} records are to go{along}, the limit is {policy.limits.records:,}")
        if found.total and found.due / found.total > policy.limits.share:
            share, limit = found.due / found.total, policy.limits.share
            reasons.append(f"{name}: {share:.1%} of the dataset is to go, the limit is {limit:.1%}")
    return reasons


def reasons_to_ask(env: Environment, plan: Plan, candidates: Mapping[str, Candidates]) -> list[str]:
    """Why a person has to decide: limits that are passed, and what nobody has seen of the policy, or agreed to, yet."""
    policy = env.policy(plan.category)
    reasons = limits_passed(policy, candidates) + _newly_erasing(env, plan, policy, candidates)
    if plan.on_request:
        reasons += [
            f"{name}: {found.due:,} records are to go on request, before their period has ended"
            for name, found in sorted(candidates.items())
            if found.due
        ]
    if policy.always_asks:
        reasons += [_asked_always(name, found) for name, found in sorted(candidates.items()) if found.due]
    if env.settings.ask_unseen:
        seen = env.runs.seen(plan.category, plan.policy_digest, plan.as_of)
        reasons += [
            f"{name}: nobody has seen a dry run of this policy as it is now; {found.due:,} records are to go"
            for name, found in sorted(candidates.items())
            if found.due and name not in seen
        ]
    return reasons


def _asked_always(name: str, found: Candidates) -> str:
    """What there is to do where a person decides on it however little it is: counts, and never a text."""
    if not found.mentions:
        return f"{name}: {found.due:,} records are to go, and the policy has a person decide on each run"
    kinds = ", ".join(f"{Kind(kind).words}: {count:,}" for kind, count in found.mentions.items())
    return f"{name}: personal data in the text of {found.due:,} records is to be redacted ({kinds})"


def _newly_erasing(env: Environment, plan: Plan, policy: Policy, candidates: Mapping[str, Candidates]) -> list[str]:
    """What the policy may erase that the one by which records went last kept: one sentence a dataset."""
    run, reasons = env.runs.get(plan.run), []
    for name, found in sorted(candidates.items()):
        last = env.runs.last_erased_with(plan.category, name, before=run) if found.due else None
        if last is not None and (what := newly_erasing(last, policy, name)):
            reasons.append(
                f"{name}: the policy was changed so that more may go, or earlier ({'; '.join(what)}); "
                f"{found.due:,} records are to go: see `lethe policy diff {plan.category}`"
            )
    return reasons


def run_digest(plan: Plan, candidates: Mapping[str, Candidates]) -> str:
    """What a decision is bound to: SHA-256 of the policy's digest, the cutoff and each candidate set's digest."""
    content: dict[str, Any] = {
        "category": plan.category,
        "policy": plan.policy_digest,
        "cutoff": plan.cutoff,
        "candidates": {name: found.digest for name, found in candidates.items()},
    }
    return hashlib.sha256(rfc8785.dumps(content)).hexdigest()


def decide(
    env: Environment, plan: Plan, *, by: str | None = None, approved: bool = False, said_by: str | None = None
) -> Decision:
    """Record whether the candidates may be erased: by themselves within the limits, else as a person (`by`) decided.

    A digest that the run was told to expect is compared here too. `said_by` is who gave the person's name, where nobody
    signed in.

    Raises:
        RunError: if a person has to decide and none did, or the very person who asked for the run did; if the person
            did not approve; if another digest was expected; or if the policy, and its limits, were changed since the
            run was planned. Nothing is erased.
    """
    unchanged_policy(env, plan)
    record = env.runs.get(plan.run)
    records = env.runs.datasets(plan.run)
    candidates = found_in(records)
    digest = run_digest(plan, candidates)
    reasons = reasons_to_ask(env, plan, candidates)
    if record.expected_digest is not None and record.expected_digest != digest:
        without = "".join(f" {name} failed, and is not in it." for name in failures(env, plan))
        raise RunError(
            f"{plan.category}: the candidates' digest is {digest}, not the expected one; nothing is erased.{without} "
            f"Look at it, `{_command(env, plan)} --dry-run`, and give the digest that this prints"
        )
    if by is not None and (by == BY_LIMITS or not is_a_name(by)):
        raise RunError(f"{plan.category}: {by!r} names nobody; nothing is erased. Say who decides: `--approve-as NAME`")
    if reasons and by is None:
        raise RunError(
            f"{plan.category}: a person must approve: {'; '.join(reasons)}. Look at a dry run, "
            f"`lethe run {plan.category} --dry-run`, then have somebody else approve just this set: "
            f"`{_command(env, plan)} --expect {digest} --approve-as NAME`"
        )
    if reasons and approved and by and asked_for(record, by):
        raise RunError(
            f"{plan.category}: {by} asked for this run and cannot approve it; ask somebody else, in Airflow or by "
            f"`{_command(env, plan)} --expect {digest} --approve-as NAME`"
        )
    if reasons and approved and by and (request := _recorded_by(env, plan, by)):
        raise RunError(
            f"{plan.category}: {by} recorded request {request}, by which records would go, and cannot approve; ask "
            f"somebody else, by `{_command(env, plan)} --expect {digest} --approve-as NAME`"
        )
    decision = Decision(
        approved=approved if reasons or by is not None else True,
        by=_decider(by, said_by) if by is not None and (reasons or not approved) else BY_LIMITS,
        reasons=tuple(reasons),
        digest=digest,
        at=datetime.now(UTC),
    )
    for each in records:
        if each.dataset in candidates:
            env.runs.record(plan.run, each.dataset, Decided(decision, each))
    if not decision.approved:
        raise RunError(
            f"{plan.category}: {decision.by} did not approve; nothing is erased: ask them why, then start a new run"
        )
    return decision


def _command(env: Environment, plan: Plan) -> str:
    """The command line of a run for the very same thing."""
    left_out = len(plan.datasets) < len(env.policy(plan.category).datasets)
    chosen = "".join(f" --dataset {name}" for name in plan.datasets) if left_out else ""
    on_request = " --on-request" if plan.on_request else ""
    return f"lethe run {plan.category}{on_request} --as-of {plan.as_of.isoformat()}{chosen}"


def _recorded_by(env: Environment, plan: Plan, by: str) -> str | None:
    """A request that the records of a run go by and that a person has recorded."""
    asked = env.subjects.binding(honoured(env.policy(plan.category), plan)) if plan.on_request else []
    return next((one.id for one in asked if same_person(one.recorded_by, by)), None)


def _decider(name: str, said_by: str | None) -> str:
    return name if said_by is None else f"{name}, as {said_by} says at the command line"


def asked_for(record: RunRecord, *names: str) -> bool:
    """Whether the person with these names may be the one that asked for the run. Nobody is, where a schedule did."""
    return record.requested_by is not None and any(same_person(record.requested_by, name) for name in names)
