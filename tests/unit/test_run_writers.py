"""A closed run is closed: every write to a run is conditional on its state, and on the claim to complete its record.

All writers are tried on a run in every state. Where a transition must not happen, not one value of the run changes.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.unit.conftest import KEYS, Office, policy

from lethe.checks.results import Validation
from lethe.connections import Connection
from lethe.counts import Became, Found, Outcome
from lethe.errors import EvidenceError, LetheError, RunError
from lethe.evidence import certificate
from lethe.evidence.events import (
    ClosingEvent,
    DatasetValidated,
    DatasetVerified,
    Decided,
    Discovered,
    Erased,
    Failed,
    Settled,
    StageEvent,
)
from lethe.evidence.outcomes import record_outcomes
from lethe.evidence.records import DatasetRecord, Decision, RunRecord
from lethe.evidence.runs import RecordChanged
from lethe.governance import schema
from lethe.keys import Keys
from lethe.stores.base import Candidates
from lethe_demo.servers import EmbeddedPostgres

NAME = "registrations"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
SIGNING = Keys(b"k" * 32, b"s" * 32)
CANDIDATES = Candidates(
    total=9, expired=5, held=0, reference="r", batches=1, batch_size=9, digest="d" * 64, holds_version=0
)
DECISION = Decision(approved=True, by="ann", digest="d" * 64, at=LONG_AGO)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def office(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """One governance database of each kind for all transitions: each has a category of its own."""
    if request.param == "sqlite":
        place: Path = tmp_path_factory.mktemp("governance") / "governance.db"
        office = Office.at(Connection("lethe_governance", "sqlite", host=str(place)))
        yield office
        office.governance.close()
        return
    server: EmbeddedPostgres = request.getfixturevalue("postgres")
    name = f"writers_{secrets.token_hex(4)}"
    server.create_database(name)
    office = Office.at(server.connection("lethe_governance", name))
    yield office
    office.governance.close()
    server.drop_database(name)


@dataclass(frozen=True)
class Case:
    """A run in some state, and the claim by which a process would complete its record."""

    office: Office
    run: RunRecord
    claim: str = "none"

    def start(self, trigger: str, *, take_over: bool = False) -> RunRecord:
        return start(self.office, self.run.category, trigger, take_over=take_over)

    @property
    def since(self) -> DatasetRecord:
        return self.office.runs.dataset(self.run.id, NAME)

    def record(self, event: StageEvent) -> None:
        self.office.runs.record(self.run.id, NAME, event)

    def complete(self, event: ClosingEvent) -> None:
        self.office.runs.complete(self.run.id, NAME, event, claim=self.claim)

    def outcomes(self) -> None:
        outcomes = iter([(secrets.token_bytes(4), Outcome.ERASED)])
        record_outcomes(self.office.governance, KEYS, self.run.id, NAME, outcomes, claim=self.claim)

    def dump(self) -> list[object]:
        """All that is kept of the run."""
        kept = [schema.run, schema.run_dataset, schema.proof_tree, schema.proof_leaves, schema.certificate]
        with self.office.governance.read() as connection:
            rows: list[object] = []
            for table in kept:
                mine = table.c.id if table is schema.run else table.c.run_id
                rows += [tuple(row) for row in connection.execute(sa.select(table).where(mine == self.run.id))]
            about = sa.select(schema.ledger.c.kind).where(schema.ledger.c.subject == self.run.id)
            return [*rows, *connection.scalars(about.order_by(schema.ledger.c.seq))]


def start(office: Office, category: str, trigger: str, *, take_over: bool = False) -> RunRecord:
    asked = policy(category, {"name": NAME})
    return office.runs.start(
        asked, LONG_AGO, datasets=[NAME], dry_run=False, expected_digest=None, trigger=trigger, take_over=take_over
    )


# --- the states of a run ----------------------------------------------------------------------------------------------


def _open(case: Case) -> Case:
    return case


def _waiting(case: Case) -> Case:
    case.office.runs.wait_for_person(case.run.id, datetime.now(UTC) + timedelta(hours=1))
    return case


def _closing(case: Case) -> Case:
    case.office.runs.close(case.run.id)
    return case


def _superseded(case: Case) -> Case:
    case.start("another", take_over=True)
    return case


def _claimed(case: Case) -> Case:
    return Case(case.office, case.run, case.office.runs.claim_settling(case.run.id) or "")


def _lapsed(case: Case) -> Case:
    case = _claimed(case)
    with case.office.governance.write() as connection:
        mine = sa.update(schema.run).where(schema.run.c.id == case.run.id)
        connection.execute(mine.values(settling_until=LONG_AGO))
    return case


def _taken(case: Case) -> Case:
    lapsed = _lapsed(case)
    _claimed(lapsed)
    return lapsed


def _finished(case: Case) -> Case:
    claimed = _claimed(case)
    case.office.runs.finish(case.run.id, claimed.claim, "succeeded", {})
    return claimed


def _certified(case: Case) -> Case:
    finished = _finished(case)
    certificate.issue(case.office.governance, SIGNING, case.run.id, [])
    return finished


STATES: dict[str, tuple[Callable[[Case], Case], ...]] = {
    "open": (_open,),
    "waiting": (_waiting,),
    "closing": (_closing,),
    "claimed": (_closing, _claimed),
    "lapsed": (_closing, _lapsed),
    "taken": (_closing, _taken),
    "superseded": (_superseded,),
    "superseded, claimed": (_superseded, _claimed),
    "superseded, taken": (_superseded, _taken),
    "finished": (_closing, _finished),
    "certified": (_closing, _certified),
}
AT_WORK = {"open", "waiting"}
UNCLAIMED = {"closing", "lapsed", "superseded"}
MINE = {"claimed", "lapsed", "superseded, claimed"}

# --- who writes to one ------------------------------------------------------------------------------------------------

WRITERS: dict[str, tuple[Callable[[Case], object], set[str]]] = {
    "start again": (lambda case: case.start("one"), AT_WORK),
    "take over": (lambda case: case.start("a third", take_over=True), AT_WORK),
    "touch": (lambda case: case.office.runs.touch(case.run.id), AT_WORK),
    "wait": (lambda case: case.office.runs.wait_for_person(case.run.id, LONG_AGO), AT_WORK),
    "discovered": (lambda case: case.record(Discovered(CANDIDATES, case.since)), AT_WORK),
    "validated": (
        lambda case: case.record(DatasetValidated("before", Validation(suite="s"), None, case.since)),
        AT_WORK,
    ),
    "decided": (lambda case: case.record(Decided(DECISION, case.since)), AT_WORK),
    "erased": (lambda case: case.record(Erased(range(1), Became(erased=1))), AT_WORK),
    "verified": (lambda case: case.record(DatasetVerified(Found(total=1, expired=0, held=0), (), case.since)), AT_WORK),
    "failed": (lambda case: case.record(Failed("p")), AT_WORK),
    "close": (lambda case: case.office.runs.close(case.run.id), AT_WORK),
    "claim": (lambda case: case.office.runs.claim_settling(case.run.id), UNCLAIMED),
    "renew": (lambda case: case.office.runs.renew_settling(case.run.id, case.claim), MINE),
    "give up": (lambda case: case.office.runs.give_up_settling(case.run.id, case.claim), MINE),
    "record outcomes": (lambda case: case.outcomes(), MINE),
    "settled": (lambda case: case.complete(Settled(Became(erased=1))), MINE),
    "failed at the end": (lambda case: case.complete(Failed("p")), MINE),
    "finish": (lambda case: case.office.runs.finish(case.run.id, case.claim, "failed", {}), MINE),
    "certify": (lambda case: certificate.issue(case.office.governance, SIGNING, case.run.id, []), {"finished"}),
}
"""What writes, and in which states it may."""


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("writer", WRITERS)
def test_a_run_is_written_to_in_its_state_only(office: Office, writer: str, state: str) -> None:
    case = Case(office, start(office, f"c{secrets.token_hex(4)}", "one"))
    for step in STATES[state]:
        case = step(case)
    write, allowed = WRITERS[writer]
    before = case.dump()
    with contextlib.nullcontext() if state in allowed else contextlib.suppress(LetheError):
        write(case)
    assert (case.dump() != before) == (state in allowed)


def test_the_record_of_an_open_run_is_not_completed(office: Office) -> None:
    run = start(office, f"c{secrets.token_hex(4)}", "one")
    with pytest.raises(RunError, match=f"{run.id} is open"):
        office.runs.claim_settling(run.id)


def test_nothing_is_recorded_of_a_dataset_that_the_run_does_not_have(office: Office) -> None:
    run = start(office, f"c{secrets.token_hex(4)}", "one")
    case = Case(office, run)
    before = case.dump()
    with pytest.raises(RunError, match="has no dataset another"):
        office.runs.record(run.id, "another", Failed("p"))
    assert case.dump() == before


ANOTHER = Candidates(**{**CANDIDATES.model_dump(), "digest": "e" * 64})
LATE: dict[str, Callable[[DatasetRecord], StageEvent]] = {
    "discovered": lambda since: Discovered(CANDIDATES, since),
    "validated": lambda since: DatasetValidated("before", Validation(suite="s"), None, since),
    "decided": lambda since: Decided(DECISION, since),
    "verified": lambda since: DatasetVerified(Found(total=1, expired=0, held=0), (), since),
}


@pytest.mark.parametrize("event", LATE)
@pytest.mark.parametrize("meanwhile", ["found", "failed"])
def test_what_a_stage_says_late_changes_nothing_that_was_recorded_since(
    office: Office, event: str, meanwhile: str
) -> None:
    """A process that was stopped in an open run, while the next try went on, found or failed."""
    case = Case(office, start(office, f"c{secrets.token_hex(4)}", "one"))
    since = case.since
    case.record(Discovered(ANOTHER, since) if meanwhile == "found" else Failed("what is left"))
    before = case.dump()
    with pytest.raises(RecordChanged, match="that stands") as refused:
        case.record(LATE[event](since))
    assert refused.value.transient
    assert case.dump() == before


def test_a_record_that_was_changed_beyond_recognition_is_an_error_and_never_zeros(office: Office) -> None:
    case = Case(office, start(office, f"c{secrets.token_hex(4)}", "one"))
    with office.governance.write() as connection:
        mine = sa.update(schema.run_dataset).where(schema.run_dataset.c.run_id == case.run.id)
        connection.execute(mine.values(tally={"erased": "many"}))
    with pytest.raises(EvidenceError, match=r"its record \(tally\) is not as Lethe writes it"):
        office.runs.datasets(case.run.id)
