"""Never held: the gate's argument, step by step and under any interleaving of batches and placings.

A batch takes its lock or lease first and reads the registry second; placing commits to the registry first and waits for
locks and leases second. So a batch either sees the hold, or is waited for before the hold is acknowledged.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from tests.processes import processes
from tests.unit.conftest import Office, policy

from lethe.connections import Connection
from lethe.errors import RunError, StoreUnavailable
from lethe.governance import schema
from lethe.holds.gate import RunGate, wait_for_leases
from lethe.holds.registry import HoldRequest
from lethe.holds.rules import HoldRules
from lethe.judging.identifiers import IdentifierType
from lethe.policy import Policy

AS_OF = datetime(2026, 11, 20, tzinfo=UTC)
REQUEST = HoldRequest("M-1", "a lawsuit", identifiers={IdentifierType.EMAIL: ["jana@example.com"]})
WEBINARS = policy("webinars", {"name": "registrations", "identifiers": {"email": ["email"]}})
POLICIES = {"webinars": WEBINARS}


def start_run(office: Office, *, trigger: str = "test", policy: Policy = WEBINARS) -> str:
    started = office.runs.start(
        policy,
        AS_OF,
        datasets=[dataset.name for dataset in policy.datasets],
        dry_run=False,
        expected_digest=None,
        trigger=trigger,
    )
    return started.id


def new_gate(office: Office, run: str, lease_seconds: float = 30.0) -> RunGate:
    return RunGate(office.registry, run, "webinars", WEBINARS.datasets[0], lease_seconds)


@pytest.fixture
def run(office: Office) -> str:
    return start_run(office)


def leases(office: Office) -> int:
    with office.governance.read() as connection:
        return int(connection.scalar(sa.select(sa.func.count()).select_from(schema.lease)) or 0)


# --- what a batch sees ---------------------------------------------------------------------------------------


def test_a_batch_sees_a_hold_from_the_moment_it_is_recorded(office: Office, run: str) -> None:
    gate = new_gate(office, run)
    assert not gate.current()
    hold = office.registry.place(REQUEST, by="Eva", policies=POLICIES)
    rules = gate.current()
    assert [found.hold for found in rules.rules] == [hold.id]
    assert gate.current() is rules, "what has not changed is not read again"
    office.registry.propose_release(hold.id, by="Eva")
    office.registry.confirm_release(hold.id, by="Jan")
    assert not gate.current()


def test_a_gate_keeps_no_identifiers_for_the_next_batch(office: Office, run: str) -> None:
    """Promise 6: an erasure may take hours; plain identifiers stay with the batch that compares by them."""
    office.registry.place(REQUEST, by="Eva", policies=POLICIES)
    gate = new_gate(office, run)
    named = [list(values) for _, _, values in gate.current().identifiers()]
    assert named == [["jana@example.com"]]
    del named
    assert not _reachable(gate.current(), "jana@example.com")
    assert not _reachable(office.registry, "jana@example.com")


def _reachable(start: object, wanted: str) -> bool:
    """Whether a text can be reached from an object, by attributes, closures and whatever else refers."""
    seen: dict[int, object] = {}
    left = [start]
    while left:
        found = left.pop()
        if isinstance(found, str) and found == wanted:
            return True
        if id(found) not in seen and not isinstance(found, type | ModuleType):
            seen[id(found)] = found
            names = found.__globals__ if isinstance(found, FunctionType) else None
            left += [one for one in gc.get_referents(found) if one is not names]
    return False


def test_a_lease_gives_the_rules_and_is_given_back(office: Office, run: str) -> None:
    hold = office.registry.place(REQUEST, by="Eva", policies=POLICIES)
    gate = new_gate(office, run)
    with gate.lease() as rules:
        assert [found.hold for found in rules.rules] == [hold.id]
        assert leases(office) == 1
    assert leases(office) == 0
    with pytest.raises(KeyError), gate.lease():
        raise KeyError
    assert leases(office) == 0, "a failing batch gives its lease back too"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, BaseException])
def test_who_is_interrupted_keeps_the_lease_until_it_has_run_out(
    office: Office, run: str, interruption: type[BaseException]
) -> None:
    """Requests may be under way that nobody waits for any more: Ctrl-C twice, or the time-out of an Airflow task."""
    with pytest.raises(interruption), new_gate(office, run, 0.5).lease():
        raise interruption
    assert leases(office) == 1
    wait_for_leases(office.governance, timeout=10)
    assert leases(office) == 0


def test_a_lease_is_taken_before_the_registry_is_read(office: Office, run: str) -> None:
    """Were it the other way round, a hold placed in between would neither be seen nor wait for the batch."""

    class Watched(RunGate):
        def current(self) -> HoldRules:
            assert leases(office) == 1, "the lease is committed by now"
            office.registry.place(REQUEST, by="Eva", policies=POLICIES)
            return super().current()

    with Watched(office.registry, run, "webinars", WEBINARS.datasets[0], 30.0).lease() as rules:
        assert rules


def test_a_run_that_was_superseded_or_closed_erases_nothing_more(office: Office) -> None:
    first = start_run(office, trigger="one")
    gate = new_gate(office, first)
    gate.current()
    with office.governance.write() as connection:
        connection.execute(sa.update(schema.run).values(active_at=AS_OF))
    second = start_run(office, trigger="two")
    with pytest.raises(RunError, match=f"run {first} is superseded and may not erase any more; start a new run"):
        gate.current()
    with pytest.raises(RunError, match="superseded"), gate.lease():
        pytest.fail("a lease was given to a superseded run")
    assert leases(office) == 0
    office.runs.close(second)
    with pytest.raises(RunError, match="is closing and may not erase"):
        new_gate(office, second).current()
    with pytest.raises(RunError, match="is not known and may not erase"):
        new_gate(office, "webinars-none").current()


def test_a_slow_thread_does_not_hand_its_older_rules_to_another(office: Office, run: str) -> None:
    """Threads share a gate: one that is still reading rules of before a hold must not overwrite what others read."""
    reading, go_on = threading.Event(), threading.Event()

    class Shared(RunGate):
        """Lets the slow thread put its rules down right after the other has put down newer ones."""

        @property
        def _rules(self) -> HoldRules | None:
            return self.__dict__.get("rules")

        @_rules.setter
        def _rules(self, rules: HoldRules | None) -> None:
            if rules is not None and not rules and not reading.is_set():
                reading.set()
                go_on.wait(10)
            self.__dict__["rules"] = rules
            if rules and not go_on.is_set():
                go_on.set()
                slow.join(10)

    gate = Shared(office.registry, run, "webinars", WEBINARS.datasets[0], 30.0)
    slow = threading.Thread(target=gate.current)
    slow.start()
    assert reading.wait(10)
    hold = office.registry.place(REQUEST, by="Eva", policies=POLICIES)
    assert [found.hold for found in gate.current().rules] == [hold.id]
    assert [found.hold for found in gate.current().rules] == [hold.id]


# --- what placing waits for ----------------------------------------------------------------------------------


def test_placing_waits_for_a_lease_that_was_taken_before(office: Office, run: str) -> None:
    gate = new_gate(office, run)
    with ThreadPoolExecutor(1) as pool:
        with gate.lease() as rules:
            assert not rules
            office.registry.place(REQUEST, by="Eva", policies=POLICIES)
            waiting = pool.submit(wait_for_leases, office.governance)
            time.sleep(0.3)
            assert not waiting.done(), "the batch under the lease has not seen the hold, and is not over"
        waiting.result(timeout=5)


def test_placing_does_not_wait_for_leases_that_were_taken_after(office: Office, run: str) -> None:
    """Else leases that are taken all the time would keep a hold from ever being acknowledged."""
    office.registry.place(REQUEST, by="Eva", policies=POLICIES)
    gate = new_gate(office, run)
    stop = threading.Event()

    def erase_without_end() -> None:
        while not stop.is_set():
            with gate.lease() as rules:
                assert rules, "it was taken after the hold was recorded"

    with ThreadPoolExecutor(3) as pool:
        erasing = [pool.submit(erase_without_end) for _ in range(3)]
        time.sleep(0.2)
        try:
            for _ in range(3):
                wait_for_leases(office.governance, timeout=10)
        finally:
            stop.set()
        for thread in erasing:
            thread.result(timeout=10)


def test_a_lease_that_is_not_given_back_in_time_is_said(office: Office, run: str) -> None:
    with new_gate(office, run).lease(), pytest.raises(StoreUnavailable, match="1 leases of running erasures were not"):
        wait_for_leases(office.governance, timeout=0.1)


def _hold_a_lease_for_ever(connection: Connection, run: str, taken: Any) -> None:  # noqa: ANN401 - an event
    with new_gate(Office.at(connection), run, lease_seconds=1.0).lease():
        taken.set()
        time.sleep(600)


def test_a_lease_of_a_killed_process_runs_out(office: Office, office_connection: Connection, run: str) -> None:
    taken = processes.Event()
    process = processes.Process(target=_hold_a_lease_for_ever, args=(office_connection, run, taken))
    process.start()
    assert taken.wait(60)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert leases(office) == 1, "a dead process gives nothing back"
    wait_for_leases(office.governance, timeout=10)
    assert leases(office) == 0, "and so whoever waited for it removes it"


# --- all of it at once: holds are placed while batches run ---------------------------------------------------


def test_no_batch_that_missed_a_hold_is_under_way_after_its_acknowledgement(office: Office, run: str) -> None:
    """Threads erase under leases at full speed while holds are placed; nothing acknowledged is overlooked."""
    stop = threading.Event()
    lock = threading.Lock()
    acknowledged: list[str] = []
    batches = missed = 0

    def erase() -> None:
        nonlocal batches, missed
        gate = new_gate(office, run)
        while not stop.is_set():
            with gate.lease() as rules:
                seen = {found.hold for found in rules.rules}
                time.sleep(0.002)  # requests are under way
                with lock:  # the last of them arrives now
                    batches += 1
                    missed += not set(acknowledged) <= seen

    with ThreadPoolExecutor(3) as pool:
        erasing = [pool.submit(erase) for _ in range(3)]
        for number in range(15):
            request = HoldRequest(f"M-{number}", "r", identifiers={IdentifierType.EMAIL: [f"p{number}@example.com"]})
            hold = office.registry.place(request, by="Eva", policies=POLICIES)
            wait_for_leases(office.governance)
            with lock:
                acknowledged.append(hold.id)
        stop.set()
        for thread in erasing:
            thread.result(timeout=30)
    assert batches > 15
    assert missed == 0


class Interleavings(RuleBasedStateMachine):
    """Any order of steps of batches and placings; every step is one of the real code, on a real SQLite file.

    The promise: when a placing has passed its wait, every batch that can still send something knows the hold.
    """

    batches: Bundle[Any] = Bundle("batches")
    placings: Bundle[Any] = Bundle("placings")

    def __init__(self) -> None:
        super().__init__()
        folder = Path(os.environ.get("TMPDIR", "/tmp"))  # noqa: S108 - removed in teardown
        self.file = folder / f"lethe-interleavings-{os.getpid()}-{id(self)}.db"
        self.office = Office.at(Connection("lethe_governance", "sqlite", host=str(self.file)))
        self.run = start_run(self.office)
        self.open: dict[int, tuple[Any, frozenset[str]]] = {}
        self.acknowledged: set[str] = set()
        self.count = 0
        self.pool = ThreadPoolExecutor(30)

    def out(self) -> frozenset[str]:
        """The leases that are out."""
        with self.office.governance.read() as connection:
            return frozenset(connection.scalars(sa.select(schema.lease.c.id)))

    @rule(target=batches)
    def begin_batch(self) -> Any:  # noqa: ANN401
        lease = new_gate(self.office, self.run).lease()
        rules = lease.__enter__()
        self.count += 1
        self.open[self.count] = (lease, frozenset(found.hold for found in rules.rules))
        return self.count

    @rule(batch=batches)
    def end_batch(self, batch: int) -> None:
        lease, _ = self.open.pop(batch, (None, None))
        if lease is not None:
            lease.__exit__(None, None, None)

    @rule(target=placings)
    def place(self) -> Any:  # noqa: ANN401
        hold = self.office.registry.place(REQUEST, by="Eva", policies=POLICIES)
        before = self.out()
        return (hold.id, before, self.pool.submit(wait_for_leases, self.office.governance, 60))

    @rule(placing=placings)
    def acknowledge(self, placing: tuple[str, frozenset[str], Future[None]]) -> None:
        hold, before, waiting = placing
        out = self.out()
        if not out:
            waiting.result(timeout=10)
        if waiting.done():
            assert not before & out, "it did not wait for a batch that may not know the hold"
            self.acknowledged.add(hold)

    @invariant()
    def whoever_can_still_erase_knows_every_acknowledged_hold(self) -> None:
        for _, seen in self.open.values():
            assert self.acknowledged <= seen

    def teardown(self) -> None:
        for batch in list(self.open):
            self.end_batch(batch)
        self.pool.shutdown()
        self.office.governance.close()
        for path in self.file.parent.glob(f"{self.file.name}*"):
            path.unlink()


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=12, stateful_step_count=20, deadline=None)
