"""The pipeline as plain functions: plan, discover, validate, approve, erase, verify, certify.

It runs without a scheduler (`run`, which the command line uses) and is what Airflow's operators call, one stage a task.
Between stages travel small values without personal data; all else is in the stores and in the governance database.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import rfc8785
from pydantic import Field

from lethe import overlapping, timekeeping
from lethe.checks.results import Validation
from lethe.counts import Became, Found
from lethe.environment import Environment
from lethe.errors import (
    ConnectionMissing,
    DatasetChanged,
    LetheError,
    ParameterError,
    RunError,
    StoreError,
    StoreUnavailable,
    ValidationFailed,
)
from lethe.evidence import certificate
from lethe.evidence.events import (
    WHEN,
    Decided,
    Decision,
    Discovered,
    Erased,
    Failed,
    Settled,
    Validated,
    Verified,
    When,
)
from lethe.evidence.outcomes import record_outcomes
from lethe.evidence.runs import (
    BY_LIMITS,
    DRY,
    DatasetRecord,
    IsRunning,
    RecordBusy,
    RunClosed,
    RunRecord,
    not_known,
)
from lethe.holds.gate import RunGate, wait_for_leases
from lethe.people import is_a_name, same_person
from lethe.policy import Dataset, Policy
from lethe.stores.base import Candidates, NamesKeepers, Store, Value, Work

_EARLIEST_YEAR = 1900
_SETTLE_SECONDS = 120.0

SUCCEEDED, FAILED = "succeeded", "failed"


class Plan(Value):
    """What a run is going to do: fixed once, handed to every stage."""

    run: str
    category: str
    as_of: datetime
    policy_digest: str
    cutoff: str
    datasets: tuple[str, ...]
    dry_run: bool = False
    unchecked: tuple[str, ...] = Field(
        default=(), description="Datasets whose store could not be asked: checked when they are discovered."
    )


class DatasetReport(Value):
    """One dataset in the report of a run."""

    dataset: str
    candidates: Candidates | None = None
    validation: tuple[Validation, ...] = ()
    tally: Became | None = None
    left: Found | None = None
    problem: str | None = None


class Report(Value):
    """What a run did."""

    run: str
    category: str
    state: str
    as_of: datetime
    cutoff: str
    digest: str
    datasets: tuple[DatasetReport, ...]


class Watcher(Protocol):
    """Is told what goes on; for progress bars and logs."""

    def stage(self, name: str, dataset: str, total: int | None) -> None:
        """A stage of a dataset begins; `total` records are to be dealt with, where that is known."""

    def progress(self, records: int) -> None:
        """So many more records have been dealt with."""


class Unwatched:
    """A watcher that does nothing."""

    def stage(self, name: str, dataset: str, total: int | None) -> None:
        """Nothing."""

    def progress(self, records: int) -> None:
        """Nothing."""


# --- plan ---------------------------------------------------------------------------------------------------------


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
    at, clocks = timekeeping.moment_of_run(env, category, chosen, as_of)
    unchecked = _require_sound(env, policy, chosen)
    env.keys.signing_key()  # refused now rather than when it is time to certify
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
    )
    with env.runs.working(record.id):
        unchecked |= _settle_earlier(env, category, chosen)
        for run_id in certificate.uncertified(env.governance, category):
            certificate.issue(env.governance, env.keys, run_id, env.registry.holds())
        _sweep(env, [dataset for dataset in chosen if dataset.name not in unchecked])
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


def _require_sound(env: Environment, policy: Policy, datasets: Sequence[Dataset]) -> set[str]:
    """Refuse suites that cannot be used, and datasets that are not what the policy says.

    Returns:
        The datasets whose store cannot be asked: each is to be checked before it is discovered, and fails alone.
    """
    from lethe.checks import suites

    problems = suites.problems(env.settings, policy)
    places, unasked = overlapping.Places(env), set()
    for dataset in datasets:
        try:
            problems += _problems(env, places, policy, dataset)
        except (StoreError, ConnectionMissing):
            unasked.add(dataset.name)
    if problems:
        raise ParameterError(f"{'; '.join(problems)}. Mend it, then see `lethe policy check`")
    return unasked


def _problems(env: Environment, places: overlapping.Places, policy: Policy, dataset: Dataset) -> Iterator[str]:
    """What is not as the policy says, and what other policies have of the same records."""
    found = env.store(dataset).check(dataset, policy.retention.by_value)
    for one in found:
        if not one.remark:
            yield f"{policy.category}.yaml: datasets.{dataset.name}.{one.field}: {one.message}"
    if all(one.remark for one in found):
        others = [other for other in overlapping.readable(env) if other.category != policy.category]
        yield from overlapping.problems(places, policy, dataset, others)


def _settle_earlier(env: Environment, category: str, datasets: Sequence[Dataset]) -> set[str]:
    """Complete the records of earlier runs that were not: superseded, or died.

    Returns:
        The datasets in whose stores a batch of such a run may be under way yet, because they cannot be asked.
    """
    in_doubt = False
    for unsettled in env.runs.unsettled(category):
        try:
            _settle(env, unsettled)
        except (StoreError, ConnectionMissing):  # the next run tries again
            wait_for_leases(env.governance)
            in_doubt = True
    return {dataset.name for dataset in datasets if in_doubt and not _is_quiet(env, dataset)}


def _is_quiet(env: Environment, dataset: Dataset) -> bool:
    try:
        env.store(dataset).settle([dataset], _SETTLE_SECONDS)
    except (StoreError, ConnectionMissing):
        return False
    return True


def work(policy: Policy, run: str, as_of: datetime, dataset: str) -> Work:
    """One dataset of a policy as work for its store."""
    return Work(
        run=run,
        category=policy.category,
        dataset=policy.dataset(dataset),
        expiry=policy.expiry(as_of),
        as_of=as_of,
        disposition=policy.disposition,
    )


def _planned(env: Environment, plan: Plan, dataset: str) -> Work:
    """The work of a plan, if the policy still is the one that was planned with.

    Raises:
        RunError: if the policy file was changed since, or this machine works out another cutoff.
    """
    job = work(_unchanged(env, plan), plan.run, plan.as_of, dataset)
    if job.expiry.label != plan.cutoff:
        raise RunError(
            f"{plan.category}: the cutoff is {job.expiry.label} here and was {plan.cutoff} where run {plan.run} was "
            "planned: these machines have other time zones or public holidays; install the same tzdata and holidays"
        )
    return job


def _unchanged(env: Environment, plan: Plan) -> Policy:
    policy = env.policy(plan.category)
    if policy.digest != plan.policy_digest:
        raise RunError(
            f"{plan.category}.yaml was changed since run {plan.run} was planned; nothing more is erased for it. Start "
            f"a new run: trigger the DAG, or `lethe run {plan.category}`"
        )
    return policy


# --- discover and validate ----------------------------------------------------------------------------------------


def discover(env: Environment, plan: Plan, dataset: str, watcher: Watcher | None = None) -> Candidates:
    """Find and stage the candidates of a dataset."""
    watcher = watcher or Unwatched()
    job = _planned(env, plan, dataset)
    watcher.stage("discover", dataset, None)
    with env.runs.working(plan.run):
        if dataset in plan.unchecked:
            _check_late(env, plan, job.dataset)
        timekeeping.require_come(env, job.dataset, plan.as_of)
        rules = env.registry.rules(plan.category, job.dataset)
        candidates = env.store(job.dataset).discover(job, rules, watcher.progress)
    env.runs.record(plan.run, dataset, Discovered(candidates))
    return candidates


def _check_late(env: Environment, plan: Plan, dataset: Dataset) -> None:
    """Check what could not be checked when the run was planned.

    Raises:
        ParameterError: if the dataset is not what its policy says.
        ConnectionMissing, StoreError: if its store cannot be asked now either.
    """
    problems = list(_problems(env, overlapping.Places(env), env.policy(plan.category), dataset))
    if problems:
        raise ParameterError(f"{'; '.join(problems)}. Mend it, then see `lethe policy check`")
    env.store(dataset).settle([dataset], _SETTLE_SECONDS)


def validate(
    env: Environment, plan: Plan, dataset: str, candidates: Candidates, watcher: Watcher | None = None
) -> Validation:
    """Have Great Expectations check the candidates, until it has been decided on them.

    After that the validation that was decided on stands, also in a run that is cleared: records that have been erased
    since cannot be checked any more, and need not be.

    Raises:
        ValidationFailed: naming the expectations that do not hold. Nothing of the dataset is erased.
    """
    from lethe.checks import suites

    (watcher or Unwatched()).stage("validate", dataset, None)
    job = _planned(env, plan, dataset)
    record = env.runs.dataset(plan.run, dataset)
    found, before = record.candidates, record.before
    decided_on = record.approval is not None and found is not None and found.digest == candidates.digest
    if before is not None and before.success and decided_on:
        return before
    limits = env.policy(plan.category).limits
    with env.runs.working(plan.run):
        validation = suites.check_candidates(env.settings, env.store(job.dataset), job, candidates, limits)
    _record_validation(env, plan, dataset, validation, "before")
    return validation


def _record_validation(
    env: Environment, plan: Plan, dataset: str, validation: Validation, when: When, *, because: str | None = None
) -> None:
    recorded = env.runs.dataset(plan.run, dataset).validation
    failed = validation.failed
    problem = f"{when} erasing, expectations of {validation.suite} do not hold: {failed}" if failed else None
    problem = "; ".join(reason for reason in (because, problem) if reason) or None
    env.runs.record(plan.run, dataset, Validated(when, validation, recorded, problem))
    if problem:
        raise ValidationFailed(
            f"{plan.category}.{dataset}: {problem}. See its page in Data Docs, mend the data or the policy, "
            "and run again"
        )


# --- approve ------------------------------------------------------------------------------------------------------


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
    """Why a person has to decide: the limits that are passed, and what nobody has seen of this policy yet."""
    reasons = limits_passed(env.policy(plan.category), candidates)
    if env.settings.ask_unseen:
        seen = env.runs.seen(plan.category, plan.policy_digest, plan.as_of)
        reasons += [
            f"{name}: nobody has seen a dry run of this policy as it is now; {found.due:,} records are to go"
            for name, found in sorted(candidates.items())
            if found.due and name not in seen
        ]
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
    _unchanged(env, plan)
    record = env.runs.get(plan.run)
    candidates = discovered(env, plan)
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
    decision = Decision(
        approved=approved if reasons or by is not None else True,
        by=_decider(by, said_by) if by is not None and (reasons or not approved) else BY_LIMITS,
        reasons=tuple(reasons),
        digest=digest,
        at=datetime.now(UTC),
    )
    for dataset in candidates:
        env.runs.record(plan.run, dataset, Decided(decision))
    if not decision.approved:
        raise RunError(
            f"{plan.category}: {decision.by} did not approve; nothing is erased: ask them why, then start a new run"
        )
    return decision


def _command(env: Environment, plan: Plan) -> str:
    """The command line of a run for the very same thing."""
    left_out = len(plan.datasets) < len(env.policy(plan.category).datasets)
    chosen = "".join(f" --dataset {name}" for name in plan.datasets) if left_out else ""
    return f"lethe run {plan.category} --as-of {plan.as_of.isoformat()}{chosen}"


def _decider(name: str, said_by: str | None) -> str:
    return name if said_by is None else f"{name}, as {said_by} says at the command line"


def asked_for(record: RunRecord, *names: str) -> bool:
    """Whether the person with these names may be the one that asked for the run. Nobody is, where a schedule did."""
    return record.requested_by is not None and any(same_person(record.requested_by, name) for name in names)


def discovered(env: Environment, plan: Plan) -> dict[str, Candidates]:
    """What is, or was, to be decided on: the candidates of every dataset that passed its validation."""
    records = env.runs.datasets(plan.run)
    decided = [record for record in records if record.approval is not None]
    return {
        record.dataset: record.candidates
        for record in decided or records
        if record.candidates is not None and record.before is not None and record.before.success
    }


def failures(env: Environment, plan: Plan) -> dict[str, str]:
    """The datasets of a run that failed, which are not decided on, and why."""
    return {record.dataset: record.problem for record in env.runs.datasets(plan.run) if record.problem}


# --- erase and verify ---------------------------------------------------------------------------------------------


def batch_ranges(candidates: Candidates, parts: int) -> list[range]:
    """The batches of a dataset in at most `parts` consecutive ranges of nearly equal size; one where order matters."""
    count = min(1 if candidates.in_order else parts, candidates.batches)
    bounds = [round(candidates.batches * part / count) for part in range(count + 1)] if count else []
    return [range(low, high) for low, high in itertools.pairwise(bounds)]


def erase(env: Environment, plan: Plan, dataset: str, batches: range, watcher: Watcher | None = None) -> Became:
    """Erase a range of batches of what was decided on, and nothing else.

    Raises:
        RunError: if it was not approved, or for another set, cutoff or policy; if the run is closed.
        DatasetChanged, StoreError, StoreUnavailable: what has been done by then stands, and is recorded.
    """
    watcher = watcher or Unwatched()
    job = _planned(env, plan, dataset)
    candidates = _decided(env, plan, dataset)
    watcher.stage("erase", dataset, candidates.due)
    gate = RunGate(env.registry, plan.run, plan.category, job.dataset, env.settings.lease_seconds)
    with env.runs.working(plan.run):
        tally = env.store(job.dataset).erase(job, candidates, batches, gate, watcher.progress)
    env.runs.record(plan.run, dataset, Erased(batches, tally))
    return tally


def _decided(env: Environment, plan: Plan, dataset: str) -> Candidates:
    """The candidates that the recorded decision is about."""
    if plan.dry_run:
        raise RunError(f"run {plan.run} is a dry run and erases nothing: to erase, start a run that is none")
    record = env.runs.dataset(plan.run, dataset)
    if record.approval is None or not record.approval.approved:
        raise RunError(f"{plan.category}.{dataset}: run {plan.run} has no approval; nothing is erased: start a new run")
    candidates = discovered(env, plan)
    if record.approval.digest != run_digest(plan, candidates) or dataset not in candidates:
        raise RunError(
            f"{plan.category}.{dataset}: what was approved is another set of candidates; nothing is erased: "
            "start a new run"
        )
    return candidates[dataset]


def verify(env: Environment, plan: Plan, dataset: str, watcher: Watcher | None = None) -> Found:
    """Check that nothing expired and unheld is left, and record what each candidate has become.

    Raises:
        ValidationFailed: if something is left.
    """
    from lethe.checks import suites

    (watcher or Unwatched()).stage("verify", dataset, None)
    job = _planned(env, plan, dataset)
    store = env.store(job.dataset)
    with env.runs.working(plan.run):
        left = store.survey(job, env.registry.rules(plan.category, job.dataset))
        env.runs.record(plan.run, dataset, Verified(left, store.remainders(job)))
        validation = suites.check_left(env.settings, store, job, left)
        candidates = discovered(env, plan).get(dataset)
    blocked = _blocked(store, job, candidates) if candidates else None
    _record_validation(env, plan, dataset, validation, "after", because=blocked)
    return left


def _blocked(store: Store, job: Work, candidates: Candidates) -> str | None:
    """Why records that were to go are still there, in words, with what keeps them; None where none are."""
    problem = store.tally(job, candidates).problem
    names = store.kept_by(job, candidates) if problem and isinstance(store, NamesKeepers) else ()
    return f"{problem}: {'; '.join(names)}" if names else problem


# --- certify ------------------------------------------------------------------------------------------------------


def certify(env: Environment, plan: Plan) -> Report:
    """Close the run: record the exact outcomes, issue the certificate, remove what was staged.

    Raises:
        RunError: if anything is missing or failed; the run is recorded as failed, and its certificate says what is
            missing.
        StoreError, ConnectionMissing: if a store in which batches were erased cannot be asked what became of them. The
            record waits for the next run.
    """
    try:
        _settle(env, env.runs.get(plan.run))
    except (StoreError, ConnectionMissing) as error:
        raise type(error)(
            f"{error}. Run {plan.run} erases nothing more; its record is completed by trying again, or by the next run "
            f"(`lethe run {plan.category}`), once the store answers"
        ) from None
    report = report_of(env, plan.run)
    if report.state not in (SUCCEEDED, DRY):
        reasons = "; ".join(f"{dataset.dataset}: {dataset.problem}" for dataset in report.datasets if dataset.problem)
        raise RunError(
            f"{plan.category}: run {plan.run} is {report.state}: {reasons or 'it erases nothing more'}. "
            f"See `lethe report {plan.run}`; when that is mended, start a new run"
        )
    return report


def _settle(env: Environment, record: RunRecord) -> None:
    """Bring the record of a run to what the stores say, close it, and remove what it staged. Again is harmless."""
    policy = record.policy
    env.runs.close(record.id)
    claim = env.runs.claim_settling(record.id)
    if claim is not None:
        try:
            with env.runs.settling(record.id, claim):
                _complete_record(env, record, policy, claim)
            _finish(env, record, claim)
        except RunClosed:
            raise RecordBusy(f"another process has taken over completing the record of run {record.id}") from None
        except BaseException:
            env.runs.give_up_settling(record.id, claim)
            raise
    certificate.issue(env.governance, env.keys, record.id, env.registry.holds())
    for dataset in env.runs.datasets(record.id):
        staged = policy.dataset(dataset.dataset)
        try:
            env.store(staged).clean(record.id, staged)
        except (StoreError, ConnectionMissing) as error:  # the next run sweeps
            if not (error.transient or dataset.problem):
                raise


def _complete_record(env: Environment, record: RunRecord, policy: Policy, claim: str) -> None:
    """Count what batches did, dataset by dataset."""
    datasets = env.runs.datasets(record.id)
    jobs = [work(policy, record.id, record.as_of, dataset.dataset) for dataset in datasets]
    _wait_for_batches(env, [job for job, dataset in zip(jobs, datasets, strict=True) if dataset.approval])
    for job, dataset in zip(jobs, datasets, strict=True):
        _settle_dataset(env, record, job, dataset, claim)


def _finish(env: Environment, record: RunRecord, claim: str) -> None:
    """Note that the run is over, and how it ended."""
    problems = {d.dataset: d.problem for d in env.runs.datasets(record.id) if d.problem}
    state = FAILED if problems else DRY if record.dry_run else SUCCEEDED
    env.runs.finish(record.id, claim, state, {"problems": problems})


def _sweep(env: Environment, datasets: Sequence[Dataset]) -> None:
    """Remove what runs that are over have left staged beside the datasets, because a store was down when they ended.

    Each by the dataset as its run knew it: that says of which kind the staging is.
    """
    for dataset in datasets:
        with contextlib.suppress(StoreUnavailable, ConnectionMissing):  # that store's own stages will say so
            for run_id, name in env.store(dataset).staged_runs(dataset):
                if env.runs.is_over(run_id):
                    staged = env.runs.get(run_id).policy.dataset(name)
                    env.store(staged).clean(run_id, staged)


def _wait_for_batches(env: Environment, jobs: Sequence[Work]) -> None:
    """Leave no batch of a killed task under way or in doubt in a store: the run is closed, so none can begin.

    Raises:
        StoreError, ConnectionMissing: of the first store that cannot be asked, when all others were settled.
    """
    wait_for_leases(env.governance)
    failed: LetheError | None = None
    for job in jobs:
        try:
            env.store(job.dataset).settle([job.dataset], _SETTLE_SECONDS)
        except (StoreError, ConnectionMissing) as error:
            failed = failed or error
    if failed is not None:
        raise failed


def _settle_dataset(env: Environment, record: RunRecord, job: Work, dataset: DatasetRecord, claim: str) -> None:
    missing = _missing(record, dataset)
    if dataset.candidates is not None and not record.dry_run:
        try:
            wrong = _count_outcomes(env, record, job, dataset.candidates, claim, approved=dataset.approval is not None)
            missing = missing or wrong
        except (StoreError, ConnectionMissing) as error:
            if dataset.approval is not None:  # else nothing was approved, so nothing was erased
                if not isinstance(error, DatasetChanged):
                    raise
                missing = f"what became of its candidates cannot be told, now or later: {error}"
    if missing and not dataset.problem:
        env.runs.record(record.id, job.dataset.name, Failed(missing), claim=claim)


def _count_outcomes(
    env: Environment, record: RunRecord, job: Work, candidates: Candidates, claim: str, *, approved: bool
) -> str | None:
    """Record what became of each candidate, as the store says; give what is missing or wrong, in words."""
    store = env.store(job.dataset)
    tally = store.tally(job, candidates)
    outcomes = store.outcomes(job, candidates)
    records = record_outcomes(env.governance, env.keys, record.id, job.dataset.name, outcomes, claim=claim)
    env.runs.record(record.id, job.dataset.name, Settled(tally), claim=claim)
    if tally.total < candidates.due and approved:
        return f"{candidates.due - tally.total:,} candidates have no outcome"
    return certificate.disagreement(tally, records) or _blocked(store, job, candidates)


def _missing(record: RunRecord, dataset: DatasetRecord) -> str | None:
    """The first stage that has no result, in words."""
    steps: list[tuple[str, object]] = [("discovered", dataset.candidates), ("validated", dataset.before)]
    if not record.dry_run:
        steps += [("approved", dataset.approval), ("verified", dataset.left)]
    return next((f"it was not {name}" for name, result in steps if result is None), None)


def report_of(env: Environment, run_id: str) -> Report:
    """What a run did, from the governance database."""
    record = env.runs.get(run_id)
    datasets = env.runs.datasets(run_id)
    planned = Plan(
        run=run_id,
        category=record.category,
        as_of=record.as_of,
        policy_digest=record.policy_digest,
        cutoff=record.cutoff,
        datasets=tuple(dataset.dataset for dataset in datasets),
        dry_run=record.dry_run,
    )
    return Report(
        run=run_id,
        category=record.category,
        state=record.state,
        as_of=record.as_of,
        cutoff=record.cutoff,
        digest=run_digest(planned, discovered(env, planned)),
        datasets=tuple(_dataset_report(dataset) for dataset in datasets),
    )


def _dataset_report(record: DatasetRecord) -> DatasetReport:
    return DatasetReport(
        dataset=record.dataset,
        candidates=record.candidates,
        validation=tuple(record.validation[when] for when in WHEN if when in record.validation),
        tally=record.tally,
        left=record.left,
        problem=record.problem,
    )


# --- all of it, without a scheduler ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Approver:
    """A person who decides: who, what they answer to the limits that were passed, and who says that it is them."""

    name: str
    approves: bool
    said_by: str | None = None


Ask = Callable[[Sequence[str]], Approver | None]
"""Asks who approves, given the limits that were passed; None where nobody is there to answer."""


def run(
    env: Environment, planned: Plan, *, approver: Approver | Ask | None = None, watcher: Watcher | None = None
) -> Report:
    """All stages of a plan, one after the other. A dataset that fails does not stop the others.

    `approver` is asked only where limits are passed.

    Raises:
        RunError: as `certify` does, after everything that could be done was done.
    """
    for dataset in planned.datasets:
        with _noting(env, planned, dataset):
            validate(env, planned, dataset, discover(env, planned, dataset, watcher), watcher)
    refusal: LetheError | None = None
    if not planned.dry_run:
        try:
            person = _asked(env, planned, approver)
            if person is None:
                decide(env, planned)
            else:
                decide(env, planned, by=person.name, approved=person.approves, said_by=person.said_by)
        except RunError as error:
            refusal = error
        else:
            for dataset, candidates in discovered(env, planned).items():
                with _noting(env, planned, dataset):
                    erase(env, planned, dataset, range(candidates.batches), watcher)
                    verify(env, planned, dataset, watcher)
    try:
        return certify(env, planned)
    except RunError as error:
        raise refusal or error from None


def _asked(env: Environment, planned: Plan, approver: Approver | Ask | None) -> Approver | None:
    if approver is None or isinstance(approver, Approver):
        return approver
    reasons = reasons_to_ask(env, planned, discovered(env, planned))
    if not reasons:
        return None
    with env.runs.working(planned.run):
        return approver(reasons)


class _noting:  # noqa: N801 - used like a function
    """Records a dataset's failure with the run and lets the others go on."""

    def __init__(self, env: Environment, plan: Plan, dataset: str) -> None:
        self._env, self._plan, self._dataset = env, plan, dataset

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, LetheError):
            return False
        note_failure(self._env, self._plan, self._dataset, error)
        return True


def note_failure(env: Environment, plan: Plan, dataset: str, error: LetheError) -> None:
    """Record that a stage of a dataset failed, in the words of its error."""
    with contextlib.suppress(RunClosed):  # whoever closed the run says so; the caller has the error itself
        env.runs.record(plan.run, dataset, Failed(str(error)))
