"""Again is harmless: one run of a category at a time, resumed by whoever started it, taken over when it is dead."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from tests.unit.conftest import Office, policy

from lethe.counts import Became
from lethe.errors import RunError
from lethe.evidence.events import Erased, Failed, Settled
from lethe.evidence.records import RunRecord
from lethe.evidence.runs import CLOSING, OPEN, SUPERSEDED, RunBusy, RunClosed, RunTimeouts
from lethe.governance import schema

DEAD_AFTER, CLAIM_FOR = RunTimeouts().dead_after, RunTimeouts().claim_for
AS_OF = datetime(2026, 11, 20, 1, 2, 3, 456789, tzinfo=UTC)
WEBINARS = policy("webinars", {"name": "registrations"}, {"name": "attendance"})
OTHER_WEBINARS = policy("webinars", {"name": "registrations"}, {"name": "attendance"}, title="another")
EVENTS = policy("events", {"name": "invitations"})
BOTH = ("registrations", "attendance")


def start(office: Office, trigger: str = "dag run 1", **fields: Any) -> RunRecord:  # noqa: ANN401
    asked: dict[str, Any] = {
        "policy": WEBINARS,
        "as_of": AS_OF,
        "datasets": BOTH,
        "dry_run": False,
        "expected_digest": None,
        "trigger": trigger,
        **fields,
    }
    return office.runs.start(asked.pop("policy"), asked.pop("as_of"), **asked)


def silent_for(office: Office, run: RunRecord, time: timedelta) -> None:
    with office.governance.write() as connection:
        long_ago = office.governance.now(connection) - time
        connection.execute(sa.update(schema.run).where(schema.run.c.id == run.id).values(active_at=long_ago))


def kinds(office: Office) -> list[str]:
    with office.governance.read() as connection:
        return list(connection.scalars(sa.select(schema.ledger.c.kind).order_by(schema.ledger.c.seq)))


def test_a_run_is_recorded_as_it_was_asked_for(office: Office) -> None:
    run = start(office, requested_by="Eva", expected_digest="ab" * 32)
    assert run == office.runs.get(run.id)
    assert (run.category, run.as_of, run.state, run.dry_run) == ("webinars", AS_OF, OPEN, False)
    assert (run.policy_digest, run.requested_by, run.expected_digest) == (WEBINARS.digest, "Eva", "ab" * 32)
    assert run.policy == WEBINARS
    assert [record.dataset for record in office.runs.datasets(run.id)] == sorted(BOTH)
    assert kinds(office) == ["policy.changed", "run.planned"]


def test_who_has_an_open_run_carried_out_again_has_asked_for_it(office: Office) -> None:
    run = start(office, requested_by="Eva")
    office.runs.repeated(run.id, "Jan")
    office.runs.repeated(run.id, "Jan")
    assert office.runs.get(run.id).requested_by == "Jan"
    assert kinds(office)[-2:] == ["run.planned", "run.repeated"]
    office.runs.close(run.id)
    office.runs.repeated(run.id, "Pavel")
    assert office.runs.get(run.id).requested_by == "Jan"
    scheduled = start(office, "dag run 2")
    office.runs.repeated(scheduled.id, "Jan")
    assert office.runs.get(scheduled.id).requested_by == "Jan"


def test_the_same_trigger_comes_back_to_its_run(office: Office) -> None:
    """A task of a DAG run that is tried again is the same run: nothing is counted twice."""
    first = start(office)
    assert start(office).id == first.id
    assert start(office, datasets=tuple(reversed(BOTH))).id == first.id
    assert kinds(office).count("run.planned") == 1


@pytest.mark.parametrize(
    "change",
    [
        {"as_of": AS_OF + timedelta(seconds=1)},
        {"policy": OTHER_WEBINARS},
        {"datasets": ("registrations",)},
        {"dry_run": True},
        {"expected_digest": "cd" * 32},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_same_trigger_for_something_else_starts_anew(office: Office, change: dict[str, Any]) -> None:
    first = start(office)
    second = start(office, **change)
    assert second.id != first.id
    assert office.runs.get(first.id).state == SUPERSEDED
    assert office.runs.get(first.id).superseded_by == second.id
    assert [run.id for run in office.runs.unsettled("webinars")] == [first.id]


def test_two_runs_of_a_category_never_overlap(office: Office) -> None:
    first = start(office)
    with pytest.raises(
        RunBusy, match=rf"webinars is being run by {first.id} \(started by dag run 1\); wait until"
    ) as e:
        start(office, "dag run 2")
    assert e.value.transient, "waiting helps"
    assert start(office, "dag run 2", policy=EVENTS, datasets=("invitations",)).category == "events"
    office.runs.close(first.id)
    assert start(office, "dag run 2").state == OPEN


def test_of_many_that_start_at_once_one_runs(office: Office) -> None:
    gun = threading.Barrier(6)

    def race(number: int) -> str | None:
        gun.wait(30)
        try:
            return start(office, f"dag run {number}").id
        except RunBusy:
            return None

    with ThreadPoolExecutor(6) as pool:
        won = [run for run in pool.map(race, range(6)) if run]
    assert len(won) == 1
    assert kinds(office).count("run.planned") == 1


def test_a_dead_run_is_taken_over(office: Office) -> None:
    first = start(office)
    silent_for(office, first, DEAD_AFTER - timedelta(minutes=1))
    with pytest.raises(RunBusy):
        start(office, "dag run 2")
    silent_for(office, first, DEAD_AFTER + timedelta(minutes=1))
    second = start(office, "dag run 2")
    assert office.runs.get(first.id).state == SUPERSEDED
    assert second.state == OPEN
    assert kinds(office)[-2:] == ["run.superseded", "run.planned"]


def test_a_run_that_waits_for_a_person_is_not_dead(office: Office) -> None:
    first = start(office)
    hour = datetime.now(UTC) + timedelta(hours=1)
    office.runs.wait_for_person(first.id, hour)
    silent_for(office, first, 2 * DEAD_AFTER)
    with pytest.raises(RunBusy, match="it waits for a person until 20"):
        start(office, "dag run 2")
    office.runs.wait_for_person(first.id, datetime.now(UTC) - timedelta(seconds=1))
    silent_for(office, first, 2 * DEAD_AFTER)
    assert start(office, "dag run 2").state == OPEN, "nobody answered in time"
    with pytest.raises(RunClosed):
        office.runs.wait_for_person(first.id, hour)


def test_what_is_recorded_ends_the_waiting(office: Office) -> None:
    first = start(office)
    office.runs.wait_for_person(first.id, datetime.now(UTC) + timedelta(hours=1))
    office.runs.record(first.id, "registrations", Failed("p"))
    silent_for(office, first, 2 * DEAD_AFTER)
    assert start(office, "dag run 2").state == OPEN


@pytest.mark.parametrize("running", [True, False, None])
def test_who_started_a_run_knows_whether_it_is_dead(office: Office, running: bool | None) -> None:
    first = start(office)
    if running is not False:
        silent_for(office, first, 2 * DEAD_AFTER)
    asked: list[str] = []

    def is_running(trigger: str) -> bool | None:
        asked.append(trigger)
        return running

    if running:
        with pytest.raises(RunBusy):
            start(office, "dag run 2", is_running=is_running)
    else:
        assert start(office, "dag run 2", is_running=is_running).state == OPEN
        assert office.runs.get(first.id).state == SUPERSEDED
    assert asked == ["dag run 1"]


def test_a_run_that_is_certified_while_it_is_being_superseded_stays_certified(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process looked dead, and completes the record between the look and the write."""
    first = start(office)

    def complete() -> None:
        office.runs.close(first.id)
        office.runs.finish(first.id, office.runs.claim_settling(first.id) or "", "succeeded", {})

    thread = threading.Thread(target=complete)

    def looks_dead(*_: object) -> None:
        thread.start()
        thread.join(2)  # with SQLite it has to wait for its turn, and finds the run superseded

    monkeypatch.setattr(office.runs, "_require_dead", looks_dead)
    start(office, "dag run 2")
    thread.join()
    superseded = "run.superseded" in kinds(office)
    assert office.runs.get(first.id).state == (SUPERSEDED if superseded else "succeeded")
    assert kinds(office).index("run.finished") > (kinds(office).index("run.superseded") if superseded else 0)


def test_a_claim_is_short() -> None:
    assert timedelta(minutes=1) >= CLAIM_FOR


def test_a_closed_run_is_not_touched(office: Office) -> None:
    run = start(office)
    office.runs.close(run.id)
    before = office.runs.get(run.id).active_at
    with pytest.raises(RunClosed):
        office.runs.touch(run.id)
    with pytest.raises(RunClosed), office.runs.working(run.id):
        raise AssertionError("no work begins")
    assert office.runs.get(run.id).active_at == before


def test_a_run_that_does_something_is_not_dead(office: Office) -> None:
    first = start(office)
    signs: tuple[Callable[[], object], ...] = (
        lambda: office.runs.touch(first.id),
        lambda: office.runs.record(first.id, "registrations", Erased(range(1), Became(erased=1))),
    )
    for alive in signs:
        silent_for(office, first, 2 * DEAD_AFTER)
        alive()
        with pytest.raises(RunBusy):
            start(office, "dag run 2")


def test_a_person_can_take_over_at_once(office: Office) -> None:
    first = start(office)
    second = start(office, "by hand", take_over=True)
    assert office.runs.get(first.id).superseded_by == second.id


def test_what_a_dataset_came_to_is_recorded_with_the_ledger(office: Office) -> None:
    run = start(office)
    office.runs.close(run.id)
    claim = office.runs.claim_settling(run.id) or ""
    office.runs.complete(run.id, "attendance", Settled(Became(erased=3)), claim=claim)
    record = office.runs.complete(run.id, "attendance", Failed("p"), claim=claim)
    assert record == office.runs.dataset(run.id, "attendance")
    assert (record.problem, record.tally, record.candidates) == ("p", Became(erased=3), None)
    assert office.runs.dataset(run.id, "registrations").problem is None
    assert kinds(office)[-1] == "dataset.failed"
    with pytest.raises(RunError, match=f"run {run.id} has no dataset nothing"):
        office.runs.dataset(run.id, "nothing")


def test_a_record_is_completed_once_and_by_one(office: Office) -> None:
    run = start(office)
    office.runs.close(run.id)
    assert office.runs.get(run.id).state == CLOSING
    claim = office.runs.claim_settling(run.id)
    assert claim
    with pytest.raises(RunBusy, match="is being completed by another process"):
        office.runs.claim_settling(run.id)
    office.runs.finish(run.id, claim, "succeeded", {})
    with pytest.raises(RunClosed):
        office.runs.finish(run.id, claim, "failed", {})
    with pytest.raises(RunClosed):
        office.runs.record(run.id, "attendance", Failed("p"))
    assert office.runs.get(run.id).state == "succeeded"
    assert kinds(office).count("run.finished") == 1
    assert not office.runs.claim_settling(run.id), "it is done"
    assert office.runs.unsettled("webinars") == []


def test_whoever_died_while_completing_a_record_is_replaced(office: Office) -> None:
    run = start(office)
    office.runs.close(run.id)
    office.runs.claim_settling(run.id)
    with office.governance.write() as connection:
        past = office.governance.now(connection) - CLAIM_FOR
        connection.execute(sa.update(schema.run).values(settling_until=past))
    assert [record.id for record in office.runs.unsettled("webinars")] == [run.id]
    assert office.runs.claim_settling(run.id)


def test_a_superseded_run_stays_so_when_its_record_is_complete(office: Office) -> None:
    first = start(office)
    start(office, "by hand", take_over=True)
    office.runs.close(first.id)
    office.runs.finish(first.id, office.runs.claim_settling(first.id) or "", "succeeded", {})
    assert office.runs.get(first.id).state == SUPERSEDED
    assert office.runs.is_over(first.id)


def test_a_change_of_a_policy_enters_the_ledger_once(office: Office) -> None:
    for number, current in enumerate([WEBINARS, WEBINARS, OTHER_WEBINARS]):
        run = start(office, f"dag run {number}", policy=current)
        office.runs.close(run.id)
    assert kinds(office).count("policy.changed") == 2


def test_the_latest_runs_come_first(office: Office) -> None:
    runs = []
    for number in range(3):
        run = start(office, f"dag run {number}")
        office.runs.close(run.id)
        runs.append(run.id)
    assert [run.id for run in office.runs.latest(2)] == [runs[2], runs[1]]
    assert office.runs.latest(2, category="events") == []


def test_the_last_success_is_of_all_datasets_and_as_of_the_latest_moment(office: Office) -> None:
    def over(state: str, *, days: int, **fields: Any) -> str:  # noqa: ANN401
        run = start(office, f"{state} {days} {fields}", as_of=AS_OF - timedelta(days=days), **fields)
        office.runs.close(run.id)
        office.runs.finish(run.id, office.runs.claim_settling(run.id) or "", state, {})
        return run.id

    assert office.runs.last_successes({"webinars": BOTH}).get("webinars") is None
    success = over("succeeded", days=2)
    over("succeeded", days=1, datasets=BOTH[:1])
    over("failed", days=1)
    over("dry", days=1, dry_run=True)
    backfilled = over("succeeded", days=9)
    found = office.runs.last_successes({"webinars": BOTH}).get("webinars")
    assert found is not None
    assert found.id == success != backfilled
    assert office.runs.last_successes({"events": BOTH}).get("events") is None


def test_a_run_that_is_not_there_is_said_to_be(office: Office) -> None:
    with pytest.raises(RunError, match="there is no run webinars-x; `lethe report` lists the latest"):
        office.runs.get("webinars-x")
    assert not office.runs.is_over("webinars-x"), "another governance database may be in charge of it"


def test_who_failed_to_settle_a_run_does_not_keep_others_from_it(office: Office) -> None:
    run = start(office)
    office.runs.close(run.id)
    claim = office.runs.claim_settling(run.id)
    assert claim
    office.runs.give_up_settling(run.id, "another's")
    with pytest.raises(RunBusy):
        office.runs.claim_settling(run.id)
    office.runs.give_up_settling(run.id, claim)
    assert office.runs.claim_settling(run.id)
