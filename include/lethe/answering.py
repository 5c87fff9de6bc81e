"""Recording requests of data subjects, having them bind, and taking them back.

A restriction is a hold (`lethe.holding`), whose matter is the request. A cancellation is acknowledged as a hold is
(docs/hold-gate.md): it is committed to the registry first, so every batch that begins from then on keeps to it; then
all that began before is waited for, in every store that carries such identifiers.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from lethe.environment import Environment
from lethe.errors import CancellationNotBinding, StoreUnavailable, SubjectRequestError
from lethe.holding import enforce_hold, place_hold, settle_stores
from lethe.holds.gate import wait_for_leases
from lethe.holds.registry import Hold, HoldRequest, coverage
from lethe.holds.rules import HoldKind
from lethe.policy import Dataset, RequestKind
from lethe.subjects.registry import Named, SubjectRequest


def record_request(
    env: Environment, kind: RequestKind, named: Named, received: date, *, reference: str, by: str
) -> SubjectRequest:
    """Record a request; one of restriction is in force when this returns.

    Args:
        env: whose registry and policies.
        kind: what is asked.
        named: the person's identifiers, normalised.
        received: the local day on which it came in.
        reference: of its file. No personal data.
        by: who records it.

    Raises:
        SubjectRequestError: if it is not of a past day, or cannot be recorded. Nothing was.
        HoldError: if it asks for a restriction that would cover nothing. Nothing was recorded.
        HoldNotInForce: if it asks for one that is recorded, but not in force yet; `restrict` tries again.
    """
    today = local_day(env)
    if received > today:
        raise SubjectRequestError(f"{received} is in the future (today is {today}): give the day on which it came in")
    if kind is RequestKind.RESTRICTION:
        coverage(HoldRequest("", "", HoldKind.RESTRICTION, named), env.policies)
    request = env.subjects.record(kind, named, received, reference=reference, by=by)
    if kind is RequestKind.RESTRICTION:
        restrict(env, request)
    return request


def restrict(env: Environment, request: SubjectRequest) -> Hold:
    """Have a request of restriction in force: place its hold, unless that was begun, and wait for what is under way.

    Raises:
        SubjectRequestError: if it asks for something else, or was cancelled.
        HoldNotInForce: if its hold is recorded, but what had started before could not be waited for.
    """
    if request.kind is not RequestKind.RESTRICTION or request.cancelled_at is not None:
        raise SubjectRequestError(
            f"request {request.id} asks for {request.kind}, or was cancelled: see `lethe subject show {request.id}`"
        )
    hold = restriction_of(env, request)
    if hold is not None:
        return enforce_hold(env, hold.id)
    asked = HoldRequest(
        matter=request.id,
        reason=f"restriction of processing (Article 18 GDPR), file {request.reference}",
        kind=HoldKind.RESTRICTION,
        identifiers=env.subjects.identifiers_of(request.id),
    )
    placed, _ = place_hold(env, asked, request.recorded_by)
    return placed


def restriction_of(env: Environment, request: SubjectRequest) -> Hold | None:
    """The hold that a request of restriction is, while it binds."""
    restrictions = (hold for hold in env.registry.holds() if hold.kind is HoldKind.RESTRICTION)
    return next((hold for hold in restrictions if hold.matter == request.id), None)


def cancel_request(env: Environment, request_id: str, reason: str, by: str) -> SubjectRequest:
    """Take back a request; when this returns, nothing goes by it any more. What has gone is gone.

    The hold of a restriction stays until somebody else than `by` releases it, as any hold does.

    Raises:
        SubjectRequestError: if there is no such request, or it has ended.
        CancellationNotBinding: if it is cancelled, and binds what starts from now on, but what had started before could
            not be waited for; the same again tries again.
    """
    request = env.subjects.get(request_id)
    if request.cancelled_at is None or request.cancellation_binds_at is not None:
        request = env.subjects.cancel(request_id, reason, by=by)
    hold = restriction_of(env, request)
    if hold is not None and hold.release_proposed_by is None:
        env.registry.propose_release(hold.id, by=by)
    if request.kind.erases and (problems := _unsettled(env, request)):
        raise CancellationNotBinding(
            f"request {request.id} is cancelled, and batches that start from now on keep to it, but running ones could "
            f"not be waited for ({'; '.join(problems)}). Repeat `lethe subject cancel {request.id}`"
        )
    return env.subjects.mark_cancellation_binding(request.id)


def _unsettled(env: Environment, request: SubjectRequest) -> list[str]:
    """Wait for what may go by a request; a message for each place where that failed."""
    try:
        wait_for_leases(env.governance)
    except StoreUnavailable as error:
        return [str(error)]
    return list(settle_stores(env, _carrying(env, request)))


def _carrying(env: Environment, request: SubjectRequest) -> Iterator[Dataset]:
    """The datasets that carry such identifiers, also where those of runs under way are."""
    for policy in (*env.policies.values(), *env.runs.policies_under_way()):
        yield from (dataset for dataset in policy.datasets if dataset.carried & set(request.identifier_counts))


def local_day(env: Environment) -> date:
    """Today, where it is latest of the policies' time zones, by the earlier of two clocks."""
    with env.governance.read() as connection:
        now = min(datetime.now(UTC), env.governance.now(connection))
    zones = {policy.time_zone for policy in env.policies.values()} or {"UTC"}
    return max(now.astimezone(ZoneInfo(zone)).date() for zone in zones)
