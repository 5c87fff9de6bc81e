"""Whatever works on a run keeps it, and whoever died or was stopped does not: with processes that really do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess

import psutil
import pytest
import sqlalchemy as sa
from tests.evidence_kit import KEYS
from tests.processes import processes
from tests.unit.conftest import Office, policy

from lethe.connections import Connection
from lethe.counts import Outcome
from lethe.errors import LetheError, StoreUnavailable
from lethe.evidence.heartbeat import Heartbeat
from lethe.evidence.outcomes import OutcomeDigest, record_outcomes
from lethe.evidence.records import RunRecord
from lethe.evidence.runs import OPEN, SUPERSEDED, RecordBusy, RunBusy, RunClosed, Runs, RunTimeouts
from lethe.governance import schema

WEBINARS = policy("webinars", {"name": "registrations"})
BRISK = RunTimeouts(dead_after=timedelta(seconds=7.5), claim_for=timedelta(seconds=2))
"""A sign of life every half second."""
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def _start(office: Office, trigger: str) -> RunRecord:
    as_of = datetime(2026, 11, 20, tzinfo=UTC)
    return office.runs.start(
        WEBINARS, as_of, datasets=["registrations"], dry_run=False, expected_digest=None, trigger=trigger
    )


def _at_it(connection: Connection, run_id: str, claim: str | None, pipe: Pipe) -> None:
    """Work on a run, or on its record, until told to end; then say what came of it."""
    office = Office.at(connection)
    runs = Runs(office.governance, office.runs._ledger, BRISK)
    try:
        with runs.working(run_id) if claim is None else runs.settling(run_id, claim):
            pipe.send("at it")
            pipe.recv()
        pipe.send("done")
    except LetheError as error:
        pipe.send(type(error).__name__)


@contextmanager
def worker(connection: Connection, run_id: str, claim: str | None = None) -> Iterator[tuple[BaseProcess, Pipe]]:
    """A process that is at it."""
    here, there = processes.Pipe()
    process = processes.Process(target=_at_it, args=(connection, run_id, claim, there))
    process.start()
    there.close()
    try:
        assert here.recv() == "at it"
        yield process, here
    finally:
        process.kill()
        process.join()
        here.close()


def _set(office: Office, **values: datetime) -> None:
    with office.governance.write() as connection:
        connection.execute(sa.update(schema.run).values(**values))


def _beaten(office: Office, column: str) -> None:
    """Wait until a column that was set to long ago is of today."""
    query = sa.select(schema.run.c[column]).order_by(schema.run.c.started_at).limit(1)
    for _ in range(6_000):
        with office.governance.read() as connection:
            if connection.scalar(query) != LONG_AGO:
                return
        time.sleep(0.01)
    raise AssertionError(f"no sign of life in {column}")


def _stop(process: BaseProcess) -> None:
    os.kill(process.pid or 0, signal.SIGSTOP)
    while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
        time.sleep(0.01)


def _kill(process: BaseProcess) -> None:
    process.kill()
    process.join()


@pytest.fixture
def office(office_connection: Connection) -> Iterator[Office]:
    office = Office.at(office_connection)
    yield office
    office.governance.close()


@pytest.mark.parametrize("end", [_stop, _kill])
def test_a_run_is_kept_by_who_works_on_it_and_taken_from_the_dead(
    office: Office, office_connection: Connection, end: Callable[[BaseProcess], None]
) -> None:
    first = _start(office, "one")
    with worker(office_connection, first.id) as (process, pipe):
        _set(office, active_at=LONG_AGO)
        _beaten(office, "active_at")
        with pytest.raises(RunBusy):
            _start(office, "two")
        _set(office, active_at=LONG_AGO)
        _beaten(office, "active_at")
        end(process)  # right after a sign of life: it is in no transaction
        with pytest.raises(RunBusy):
            _start(office, "two")
        _set(office, active_at=LONG_AGO)
        assert _start(office, "two").state == OPEN
        assert office.runs.get(first.id).state == SUPERSEDED
        if end is _stop:
            os.kill(process.pid or 0, signal.SIGCONT)
            pipe.send("end")
            process.join(60)
            assert pipe.recv() == "RunClosed", "it learns that the run is no longer its own"


@pytest.mark.parametrize("end", [_stop, _kill])
def test_a_claim_is_kept_by_who_works_under_it_and_lapses_with_the_dead(
    office: Office, office_connection: Connection, end: Callable[[BaseProcess], None]
) -> None:
    run = _start(office, "one")
    office.runs.close(run.id)
    claim = office.runs.claim_settling(run.id)
    assert claim
    with worker(office_connection, run.id, claim) as (process, pipe):
        _set(office, settling_until=LONG_AGO)
        _beaten(office, "settling_until")
        end(process)
        with pytest.raises(RecordBusy):
            office.runs.claim_settling(run.id)
        _set(office, settling_until=LONG_AGO)
        other = office.runs.claim_settling(run.id)
        assert other
        if end is _stop:
            os.kill(process.pid or 0, signal.SIGCONT)
            pipe.send("end")
            process.join(60)
            assert pipe.recv() == "RunClosed"
            with office.governance.read() as connection:
                assert connection.scalar(sa.select(schema.run.c.settling_by)) == other, "another's claim stands"


def test_outcomes_are_recorded_by_who_has_the_claim_only(office: Office) -> None:
    run = _start(office, "one")
    office.runs.close(run.id)
    late = office.runs.claim_settling(run.id)
    assert late
    _set(office, settling_until=LONG_AGO)
    claim = office.runs.claim_settling(run.id)
    assert claim

    def record(became: Outcome, claim: str) -> OutcomeDigest:
        return record_outcomes(office.governance, KEYS, run.id, "registrations", iter([(b"1", became)]), claim=claim)

    recorded = record(Outcome.ERASED, claim)
    with pytest.raises(RunClosed):
        record(Outcome.HELD, late)
    office.runs.finish(run.id, claim, "succeeded", {})
    with pytest.raises(RunClosed):
        record(Outcome.HELD, claim)
    assert record(Outcome.ERASED, late) == recorded, "again is harmless"


# --- the heartbeat itself ---------------------------------------------------------------------------------------------


class Beats:
    """Fails as it is told, a failure a beat."""

    def __init__(self, *failures: BaseException | None) -> None:
        self.left = list(failures)
        self.count = 0

    def __call__(self) -> None:
        self.count += 1
        failure = self.left.pop(0) if self.left else None
        if failure:
            raise failure

    def work(self, beats: int, error: Exception | None = None) -> None:
        """Work for some beats, and end by an error, if one is given."""
        with Heartbeat(self, every=0.001, longest=60) as heartbeat:
            while self.count < beats and heartbeat._thread.is_alive():
                time.sleep(0.001)
            if error:
                raise error


def test_a_passing_fault_of_a_heartbeat_is_tried_again() -> None:
    beats = Beats(None, StoreUnavailable("away"), None)
    beats.work(4)
    assert not beats.left


@pytest.mark.parametrize("fault", [RunClosed("closed"), KeyError("a defect")])
def test_a_final_fault_of_a_heartbeat_ends_it_and_is_raised(fault: Exception) -> None:
    beats = Beats(None, fault)
    with pytest.raises(type(fault)):
        beats.work(9)
    assert beats.count == 2


@pytest.mark.parametrize("fault", [RunClosed("closed"), StoreUnavailable("away")])
def test_a_fault_of_the_last_beat_is_raised(fault: Exception) -> None:
    with pytest.raises(type(fault)), Heartbeat(Beats(None, fault), every=600, longest=6_000):
        pass


def test_the_error_of_the_work_itself_comes_first() -> None:
    with pytest.raises(ZeroDivisionError):
        Beats(None, RunClosed("closed")).work(2, ZeroDivisionError())


def test_a_heartbeat_ends_with_the_work_and_after_its_longest_time() -> None:
    beats = Beats()
    with Heartbeat(beats, every=0.001, longest=0.0) as heartbeat:
        heartbeat._thread.join(60)
        assert not heartbeat._thread.is_alive(), "what hangs is dead"
    with Heartbeat(beats, every=600, longest=6_000) as heartbeat:
        pass
    assert not heartbeat._thread.is_alive()
