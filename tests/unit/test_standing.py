"""Never silently late: how a category stands is what its records and its schedule say, and nothing hides a failure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lethe.evidence.records import RunRecord
from lethe.policy import Policy, load
from lethe.stages.standing import GRACE, Records, Scheduled, Standing, is_late, standing

NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)
IDLE = Scheduled(paused=False, following=NOW + timedelta(hours=12), failed_at=None)


@pytest.fixture(scope="module")
def policy(root: Path) -> Policy:
    """Webinars: every night at 2:15 in Prague."""
    return load(root / "include" / "policies" / "webinars.yaml")


def run(state: str, *, ago: timedelta, waiting: timedelta | None = None) -> RunRecord:
    at = NOW - ago
    return RunRecord(
        id=f"webinars-{state}", category="webinars", as_of=at, policy_digest="0", written_policy={}, cutoff="",
        state=state, dry_run=False, expected_digest=None, trigger="t", requested_by=None, started_at=at, active_at=at,
        waiting_until=NOW + waiting if waiting else None, finished_at=at, settling_until=None, settling_by=None,
        superseded_by=None, software="",
    )  # fmt: skip


NIGHT = timedelta(hours=12)
LAST = run("succeeded", ago=NIGHT)


@pytest.mark.parametrize(
    ("records", "scheduled", "expected"),
    [
        (Records(LAST, LAST), IDLE, Standing.ON_TIME),
        (Records(LAST, LAST), None, Standing.ON_TIME),
        (Records(LAST, LAST), replace(IDLE, paused=True), Standing.PAUSED),
        (Records(None, None), IDLE, Standing.NEVER),
        (Records(None, None), replace(IDLE, paused=True), Standing.NEVER),
        (Records(run("failed", ago=timedelta(hours=1)), LAST), IDLE, Standing.FAILED),
        (Records(run("failed", ago=timedelta(days=9)), None), IDLE, Standing.FAILED),
        (Records(LAST, LAST), replace(IDLE, failed_at=NOW - timedelta(hours=1)), Standing.FAILED),
        (Records(None, None), replace(IDLE, failed_at=NOW - timedelta(hours=1)), Standing.FAILED),
        (Records(LAST, LAST), replace(IDLE, failed_at=NOW - timedelta(days=2)), Standing.ON_TIME),
        (Records(run("open", ago=timedelta(hours=1)), LAST), IDLE, Standing.ON_TIME),
        (Records(run("open", ago=timedelta(hours=1), waiting=timedelta(hours=9)), LAST), IDLE, Standing.WAITING),
        (Records(run("open", ago=timedelta(hours=11), waiting=timedelta(hours=-1)), LAST), IDLE, Standing.ON_TIME),
    ],
)
def test_a_category_stands_as_its_records_say(
    policy: Policy, records: Records, scheduled: Scheduled | None, expected: Standing
) -> None:
    assert standing(policy, records, scheduled, NOW) is expected


def test_ten_days_stop_is_late_and_not_on_time_paused_or_never_run(policy: Policy) -> None:
    success = run("succeeded", ago=timedelta(days=10))
    for scheduled in (None, IDLE, replace(IDLE, paused=True)):
        assert standing(policy, Records(success, success), scheduled, NOW) is Standing.LATE


def test_a_policy_that_cannot_be_read_fails_whatever_ran_before() -> None:
    assert standing(None, Records(LAST, LAST), IDLE, NOW) is Standing.FAILED


def test_late_is_a_day_after_the_time_that_the_schedule_says(policy: Policy) -> None:
    """Also over the night in which the clocks change."""
    for night, following in [
        (datetime(2026, 6, 14, 0, 15, tzinfo=UTC), datetime(2026, 6, 15, 0, 15, tzinfo=UTC)),
        (datetime(2026, 10, 24, 0, 15, tzinfo=UTC), datetime(2026, 10, 25, 0, 15, tzinfo=UTC)),
        (datetime(2026, 10, 25, 1, 15, tzinfo=UTC), datetime(2026, 10, 26, 1, 15, tzinfo=UTC)),
    ]:
        assert not is_late(policy, night, following + GRACE - timedelta(hours=1)), night
        assert is_late(policy, night, following + GRACE + timedelta(hours=1, minutes=1)), night
    by_hand = policy.model_copy(update={"schedule": None})
    assert not is_late(by_hand, NOW - timedelta(days=999), NOW)
