"""The hold gate as a model, searched through all its interleavings. Promise 2; docs/hold-gate.md has the argument.

A process erases a record while a hold on it is placed. Anything may happen at any time: the process is stopped or
killed, a request is lost, late or arrives twice, an answer does not come, time passes. The search visits every state
that can be reached, and looks for one in which the record goes after the hold was acknowledged. Two processes share
nothing but the registry, so that one shows all. Completing the record of a run is the same protocol: for "the hold is
committed" read "the run is closed", for "acknowledged" read "the outcomes are counted".

Time passes in ticks, and all times are kept as what has passed or is left, so that there is no horizon. A change of the
protocol is made here first; each part of it is left out once, and the search has to find what goes wrong then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import pytest

S = TypeVar("S")


def search(start: S, steps: Callable[[S], Iterator[tuple[str, S]]], bad: Callable[[S], bool]) -> tuple[set[S], str]:
    """All states that can be reached, and the shortest way to a bad one, in words; nothing where there is none."""
    came: dict[S, tuple[S, str] | None] = {start: None}
    waiting = deque([start])
    while waiting:
        state = waiting.popleft()
        if bad(state):
            way = []
            before = came[state]
            while before is not None:
                way.append(before[1])
                before = came[before[0]]
            return set(came), ", ".join(reversed(way))
        for name, after in steps(state):
            if after not in came:
                came[after] = state, name
                waiting.append(after)
    return set(came), ""


# --- leases -----------------------------------------------------------------------------------------------------------

LEASE, HALF = 4, 2
"""Ticks that a lease lasts, and after which S3 refuses what was signed for it."""


@dataclass(frozen=True)
class Leased:
    """The protocol with leases, and what is assumed of S3; all of it but `upload` can be spoiled.

    Attributes:
        upload: the record goes by completing an upload, not by a request that deletes.
        late: ticks that S3 takes a signature's end for later than it is meant: it counts whole seconds.
        carries_out: ticks in which S3 carries out what it took, but for completing an upload.
        signed: S3 refuses what reaches it after its signature's end.
        lasts: ticks after which a lease counts as run out in the registry.
        lease_first: a process takes its lease before it reads the registry.
        keeps_unanswered: it keeps the lease to its end where an answer did not come.
        intends_first: it stages the intent before it asks for completing.
        ends_first: it ends an upload before it removes its note.
        commits_first: placing commits the hold before it looks for leases.
        waits: placing waits for leases.
        keeps_the_dead: leases of processes that were killed stay until they have run out.
        settles: placing ends uploads that are in doubt.
        waits_first: it does so when the leases are over.
    """

    upload: bool = False
    late: int = 1
    carries_out: int = 1
    signed: bool = True
    lasts: int = LEASE
    lease_first: bool = True
    keeps_unanswered: bool = True
    intends_first: bool = True
    ends_first: bool = True
    commits_first: bool = True
    waits: bool = True
    keeps_the_dead: bool = True
    settles: bool = True
    waits_first: bool = True


class Request(NamedTuple):
    """A request that changes something.

    Attributes:
        copies: how often it may still arrive.
        taken: ticks in which S3 carries it out, for each time that it took it.
        answered: whether S3 has said what became of it.
    """

    copies: int = 0
    taken: tuple[int, ...] = ()
    answered: bool = False


SENT = Request(copies=2)


class Leasing(NamedTuple):
    """Everything: the process, the registry, S3 and who places the hold.

    Attributes:
        at: what the process did last.
        age: ticks since it asked for its lease, `LEASE` at most.
        lease: ticks that the registry's row has left; None: there is no row.
        read_before: what it read of the registry before it had the lease.
        intent: the request that stages the intent.
        request: the one that deletes, or completes the upload.
        upload: "", open, completing, done or aborted.
        noted: whether the upload is noted.
        intended: whether the intent is staged.
        placing: what placing did last.
        committed: whether the hold is in the registry.
        looked_for: whether placing has to wait for the lease.
        gone: whether the record is.
        late: whether it went after the acknowledgement.
    """

    at: str = "idle"
    age: int = LEASE
    lease: int | None = None
    read_before: bool = False
    intent: Request = Request()
    request: Request = Request()
    upload: str = ""
    noted: bool = False
    intended: bool = False
    placing: str = "begins"
    committed: bool = False
    looked_for: bool = False
    gone: bool = False
    late: bool = False

    def having(self, name: str, request: Request) -> Leasing:
        """With another state of the intent or the request."""
        return self._replace(intent=request) if name == "intent" else self._replace(request=request)

    def without_record(self) -> Leasing:
        """The record goes, if it is there."""
        return self._replace(gone=True, late=self.late or (not self.gone and self.placing == "acknowledged"))

    def aborted(self) -> Leasing:
        """The upload is ended: one that was finalised is done."""
        return self._replace(upload="aborted") if self.upload in ("open", "completing") else self


Step = tuple[str, Leasing]


def leasing(protocol: Leased) -> Callable[[Leasing], Iterator[Step]]:
    """What can happen next."""

    def steps(now: Leasing) -> Iterator[Step]:
        yield from _erases(protocol, now)
        yield from _arrives(protocol, now)
        yield from _is_carried_out(now)
        yield from _places(protocol, now)
        yield from _time_passes(now)

    return steps


def _erases(protocol: Leased, now: Leasing) -> Iterator[Step]:
    """What the process does. No look at a clock stands before what it sends: it can be stopped after any look."""
    at = now.at
    if at not in ("idle", "dead", "over"):
        yield "it is killed", now._replace(at="dead")
    if at == "idle":
        begun = now._replace(upload="open", noted=True) if protocol.upload else now
        yield "it asks for a lease", begun._replace(at="asks", age=0, read_before=now.committed)
    elif at == "asks":
        yield "it has a lease", now._replace(at="leased", lease=protocol.lasts)
    elif at == "leased":
        held = now.committed if protocol.lease_first else now.read_before
        yield "it reads the registry", now._replace(at="gives back" if held else "may erase")
    elif at == "may erase" and protocol.upload and protocol.intends_first:
        yield "it sends the intent", now._replace(at="intends", intent=SENT)
    elif at == "may erase" or (at == "intends" and now.intended and now.intent.answered):
        yield "it sends", now._replace(at="sent", request=SENT)
    elif at == "sent" and now.request.answered:
        yield "it is answered", now._replace(at="gives back")
    if at in ("intends", "sent"):
        waits = "unanswered" if protocol.keeps_unanswered else "gives back"
        yield "it waits no longer", now._replace(at=waits)
    if at == "gives back" or (at == "unanswered" and now.age >= LEASE):
        yield "it gives its lease back", now._replace(at="ends", lease=None)
    if at == "ends":
        ended = now.aborted() if protocol.ends_first else now
        yield "it removes its note", ended._replace(at="over", noted=False)


def _arrives(protocol: Leased, now: Leasing) -> Iterator[Step]:
    """What reaches S3: once, twice, late, or never, where no step here is taken.

    Assumed: what S3 refuses in time it has not taken a moment before, and it does not come again.
    """
    in_time = now.age < HALF + protocol.late or not protocol.signed
    for name, request in (("intent", now.intent), ("request", now.request)):
        if not request.copies:
            continue
        left = request._replace(copies=request.copies - 1)
        if not request.taken:
            yield f"the {name} is refused", now.having(name, request._replace(copies=0, answered=True))
        if in_time and name == "request" and now.upload:
            if now.upload == "open":
                yield "completing is begun", now._replace(request=left, upload="completing")
        elif in_time:
            taken = left._replace(taken=(*request.taken, protocol.carries_out))
            yield f"the {name} is taken", now.having(name, taken)


def _is_carried_out(now: Leasing) -> Iterator[Step]:
    """What S3 does with what it took."""
    if now.intent.taken:
        done = now.intent._replace(taken=now.intent.taken[1:], answered=True)
        yield "the intent is staged", now._replace(intent=done, intended=True)
    if now.request.taken:
        done = now.request._replace(taken=now.request.taken[1:], answered=True)
        yield "the record is deleted", now._replace(request=done).without_record()
    if now.upload == "completing":  # whenever S3 pleases
        done = now.request._replace(answered=True)
        yield "the upload is finalised", now._replace(request=done, upload="done").without_record()


def _places(protocol: Leased, now: Leasing) -> Iterator[Step]:
    """What placing the hold does."""
    at = now.placing
    if at == "begins" and protocol.commits_first:
        yield "the hold is committed", now._replace(placing="committed", committed=True)
    elif at in ("begins", "committed"):
        then = "waits" if protocol.waits_first else "settles"
        yield "placing looks for leases", now._replace(placing=then, looked_for=now.lease is not None)
    elif at == "waits":
        over = not now.lease or (now.at == "dead" and not protocol.keeps_the_dead)
        if over or not now.looked_for or not protocol.waits:
            yield "leases are over", now._replace(placing="settles" if protocol.waits_first else "settled")
    elif at == "settles":
        doubt = protocol.settles and now.noted and now.intended
        settled = now.aborted()._replace(noted=False) if doubt else now
        yield "uploads are settled", settled._replace(placing="settled" if protocol.waits_first else "waits")
    elif at == "settled":
        yield "the hold is acknowledged", now._replace(placing="acknowledged", committed=True)


def _time_passes(now: Leasing) -> Iterator[Step]:
    """A tick, unless S3 has to carry something out before."""
    if 0 in now.intent.taken + now.request.taken:
        return
    older = [one._replace(taken=tuple(left - 1 for left in one.taken)) for one in (now.intent, now.request)]
    lease = None if now.lease is None else max(0, now.lease - 1)
    yield "time passes", now._replace(age=min(LEASE, now.age + 1), lease=lease, intent=older[0], request=older[1])


@pytest.mark.parametrize("upload", [False, True], ids=["deletes", "uploads"])
def test_no_record_goes_after_the_acknowledgement_where_a_process_erases_under_leases(*, upload: bool) -> None:
    states, way = search(Leasing(), leasing(Leased(upload=upload)), lambda now: now.late)
    assert not way
    ends = {(now.gone, now.at, now.placing) for now in states}
    assert {(gone, at, "acknowledged") for gone in (True, False) for at in ("dead", "over", "unanswered")} <= ends
    assert any(now.request.copies and now.placing == "acknowledged" for now in states), "nothing comes late: no test"


def _difference(spoiled: Leased | Fenced) -> str:
    right = Leased(upload=spoiled.upload) if isinstance(spoiled, Leased) else Fenced()
    (one,) = [name for name, value in vars(spoiled).items() if value != getattr(right, name)]
    return f"{one}={getattr(spoiled, one)}"


SPOILED = [
    Leased(signed=False),
    Leased(late=2),
    Leased(carries_out=2),
    Leased(lasts=LEASE - 1),
    Leased(lease_first=False),
    Leased(keeps_unanswered=False),
    Leased(commits_first=False),
    Leased(waits=False),
    Leased(keeps_the_dead=False),
    Leased(upload=True, settles=False),
    Leased(upload=True, waits_first=False),
    Leased(upload=True, intends_first=False),
    Leased(upload=True, ends_first=False),
]


@pytest.mark.parametrize("spoiled", SPOILED, ids=_difference)
def test_each_part_of_the_protocol_with_leases_is_needed(spoiled: Leased) -> None:
    _, way = search(Leasing(), leasing(spoiled), lambda now: now.late)
    assert way, "the search finds nothing wrong without it"


# --- the lock of a transaction ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fenced:
    """The protocol with a lock, and what is assumed of the databases; all of it can be spoiled.

    Attributes:
        lock_first: a batch takes the lock before it reads the registry.
        to_the_end: the lock is there until the commit is over, also when the client is gone.
        commits_first: placing commits the hold before it asks for the lock.
        waits: placing waits for the lock.
        primary: the registry is read from the server that the hold was committed to.
    """

    lock_first: bool = True
    to_the_end: bool = True
    commits_first: bool = True
    waits: bool = True
    primary: bool = True


class Fencing(NamedTuple):
    """Everything.

    Attributes:
        at: what the batch did last.
        alive: whether its client is.
        commit: whether the server has the request to commit.
        locked: whether it has the lock.
        read_before: what it read of the registry before it had the lock.
        placing: what placing did last.
        committed: whether the hold is in the registry.
        copied: whether a replica of the registry shows it.
        gone: whether the record is.
        late: whether it went after the acknowledgement.
    """

    at: str = "idle"
    alive: bool = True
    commit: bool = False
    locked: bool = False
    read_before: bool = False
    placing: str = "begins"
    committed: bool = False
    copied: bool = False
    gone: bool = False
    late: bool = False


def fencing(protocol: Fenced) -> Callable[[Fencing], Iterator[tuple[str, Fencing]]]:
    """What can happen next."""

    def steps(now: Fencing) -> Iterator[tuple[str, Fencing]]:
        read = now.committed if protocol.primary else now.copied
        if now.alive:
            yield "it is killed", now._replace(alive=False)
            if now.at == "idle":
                yield "it begins", now._replace(at="begun", read_before=read)
            elif now.at == "begun":
                yield "it has the lock", now._replace(at="locked", locked=True)
            elif now.at == "locked":
                held = read if protocol.lock_first else now.read_before
                yield "it reads the registry", now._replace(at="over" if held else "erases", locked=not held)
            elif now.at == "erases":
                yield "it sends the commit", now._replace(at="commits", commit=True, locked=protocol.to_the_end)
        if now.commit:
            late = now.late or now.placing == "acknowledged"
            yield "the server commits", now._replace(at="over", commit=False, locked=False, gone=True, late=late)
        if not now.alive and now.at != "over" and not now.commit:
            yield "the server rolls back", now._replace(at="over", locked=False)
        if now.committed and not now.copied:
            yield "the replica follows", now._replace(copied=True)
        if now.placing == "begins" and protocol.commits_first:
            yield "the hold is committed", now._replace(placing="committed", committed=True)
        elif now.placing in ("begins", "committed") and not (now.locked and protocol.waits):
            yield "placing has the lock", now._replace(placing="passed")
        elif now.placing == "passed":
            yield "the hold is acknowledged", now._replace(placing="acknowledged", committed=True)

    return steps


def test_no_record_goes_after_the_acknowledgement_where_a_batch_is_a_transaction() -> None:
    states, way = search(Fencing(), fencing(Fenced()), lambda now: now.late)
    assert not way
    assert {(now.gone, now.alive) for now in states if now.placing == "acknowledged"} == {
        (gone, alive) for gone in (True, False) for alive in (True, False)
    }


@pytest.mark.parametrize(
    "spoiled",
    [
        Fenced(lock_first=False),
        Fenced(to_the_end=False),
        Fenced(commits_first=False),
        Fenced(waits=False),
        Fenced(primary=False),
    ],
    ids=_difference,
)
def test_each_part_of_the_protocol_with_a_lock_is_needed(spoiled: Fenced) -> None:
    _, way = search(Fencing(), fencing(spoiled), lambda now: now.late)
    assert way, "the search finds nothing wrong without it"


# --- requests of a database without locks -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Requested:
    """The protocol where one request erases and commits, and what is assumed of the database; all can be spoiled.

    There are two defences against what is late, the deadline and the attempt; the search shows that either would do.

    Attributes:
        deadline: the database refuses what is carried out after the middle of the lease.
        late: ticks that its clock has leaped back by meanwhile.
        commits: ticks that committing takes at most; None: as long as it pleases.
        attempts: placing takes attempts back, and the database refuses what has lost its own.
        conflicts: of two requests that change a batch's row one waits for the other.
        noted_first: the attempt is noted before the registry is read.
        lease_first: the lease is asked for before the registry is read.
        keeps_unanswered: the lease is kept to its end where an answer did not come.
        commits_first: placing commits the hold before it looks at anything.
        waits: placing waits for leases.
    """

    deadline: bool = True
    late: int = 1
    commits: int | None = 1
    attempts: bool = True
    conflicts: bool = True
    noted_first: bool = True
    lease_first: bool = True
    keeps_unanswered: bool = True
    commits_first: bool = True
    waits: bool = True


class Requesting(NamedTuple):
    """Everything.

    Attributes:
        at: what the process did last.
        age: ticks since it asked for its lease, `LEASE` at most.
        lease: ticks that the registry's row has left; None: there is no row.
        read_before: what it read of the registry before it had noted its attempt, or had the lease.
        noted: whether its attempt stands.
        sent: whether the request may still arrive.
        running: ticks that the database has left to commit it; None: it is not at it; -1: as long as it pleases.
        placing: what placing did last.
        committed: whether the hold is in the registry.
        looked_for: whether placing has to wait for the lease.
        gone: whether the record is.
        late: whether it went after the acknowledgement.
    """

    at: str = "idle"
    age: int = LEASE
    lease: int | None = None
    read_before: bool = False
    noted: bool = False
    sent: bool = False
    running: int | None = None
    placing: str = "begins"
    committed: bool = False
    looked_for: bool = False
    gone: bool = False
    late: bool = False


def requesting(protocol: Requested) -> Callable[[Requesting], Iterator[tuple[str, Requesting]]]:
    """What can happen next."""

    def steps(now: Requesting) -> Iterator[tuple[str, Requesting]]:
        yield from _requests(protocol, now)
        yield from _answers(protocol, now)
        yield from _places_over_requests(protocol, now)
        if now.running != 0:
            running = now.running - 1 if now.running is not None and now.running > 0 else now.running
            lease = None if now.lease is None else max(0, now.lease - 1)
            yield "time passes", now._replace(age=min(LEASE, now.age + 1), lease=lease, running=running)

    return steps


def _requests(protocol: Requested, now: Requesting) -> Iterator[tuple[str, Requesting]]:
    """What the process does; between any two steps it may be stopped for as long as it takes."""
    at = now.at
    if at not in ("idle", "dead", "over"):
        yield "it is killed", now._replace(at="dead")
    if at == "idle":
        noted = now._replace(noted=True) if protocol.noted_first else now
        yield "it notes its attempt", noted._replace(at="noted", read_before=now.committed)
    elif at == "noted":
        yield "it asks for a lease", now._replace(at="asks", age=0)
    elif at == "asks":
        yield "it has a lease", now._replace(at="leased", lease=LEASE)
    elif at == "leased":
        held = now.committed if protocol.lease_first else now.read_before
        yield "it reads the registry", now._replace(at="gives back" if held else "may erase")
    elif at == "may erase":
        noted = now if protocol.noted_first else now._replace(noted=True)
        yield "it sends", noted._replace(at="sent", sent=True)
    elif at == "sent":
        if not now.sent and now.running is None:
            yield "it is answered", now._replace(at="gives back")
        yield "it waits no longer", now._replace(at="unanswered" if protocol.keeps_unanswered else "gives back")
    if at == "gives back" or (at == "unanswered" and now.age >= LEASE):
        yield "it gives its lease back", now._replace(at="over", lease=None)


def _answers(protocol: Requested, now: Requesting) -> Iterator[tuple[str, Requesting]]:
    """What the database does with the request."""
    if now.sent:
        in_time = now.age < HALF + protocol.late or not protocol.deadline
        if in_time and (now.noted or not protocol.attempts):
            takes = -1 if protocol.commits is None else protocol.commits
            yield "it is carried out", now._replace(sent=False, running=takes)
        else:
            yield "it is refused", now._replace(sent=False)
    if now.running is not None:
        late = now.late or now.placing == "acknowledged"
        yield "it is committed", now._replace(running=None, gone=True, late=late)


def _places_over_requests(protocol: Requested, now: Requesting) -> Iterator[tuple[str, Requesting]]:
    """What placing the hold does."""
    at = now.placing
    if at == "begins" and protocol.commits_first:
        yield "the hold is committed", now._replace(placing="committed", committed=True)
    elif at in ("begins", "committed"):
        yield "placing looks for leases", now._replace(placing="waits", looked_for=now.lease is not None)
    elif at == "waits" and (not now.lease or not now.looked_for or not protocol.waits):
        yield "leases are over", now._replace(placing="settles")
    elif at == "settles" and not (protocol.attempts and protocol.conflicts and now.running is not None):
        taken = now._replace(noted=False) if protocol.attempts else now
        yield "attempts are taken back", taken._replace(placing="settled")
    elif at == "settled":
        yield "the hold is acknowledged", now._replace(placing="acknowledged", committed=True)


DEADLINE_ALONE = Requested(attempts=False)
ATTEMPTS_ALONE = Requested(deadline=False, commits=None, waits=False, keeps_unanswered=False)


@pytest.mark.parametrize(
    "protocol",
    [Requested(), Requested(commits=None), DEADLINE_ALONE, ATTEMPTS_ALONE],
    ids=["both", "slow commits", "deadline", "attempts"],
)
def test_no_record_goes_after_the_acknowledgement_where_a_request_erases_and_commits(protocol: Requested) -> None:
    states, way = search(Requesting(), requesting(protocol), lambda now: now.late)
    assert not way
    ends = {(now.gone, now.at) for now in states if now.placing == "acknowledged"}
    assert {(gone, at) for gone in (True, False) for at in ("dead", "over")} <= ends
    assert any(now.sent and now.placing == "acknowledged" for now in states), "nothing comes late: no test"


@pytest.mark.parametrize(
    ("whole", "without"),
    [
        (Requested(), {"commits_first": False}),
        (Requested(), {"lease_first": False, "noted_first": False}),
        *[
            (DEADLINE_ALONE, {name: value})
            for name, value in {
                "deadline": False, "late": 3, "commits": None, "lease_first": False, "keeps_unanswered": False,
                "commits_first": False, "waits": False,
            }.items()
        ],
        *[
            (ATTEMPTS_ALONE, {name: value})
            for name, value in {
                "attempts": False, "conflicts": False, "noted_first": False, "commits_first": False,
            }.items()
        ],
    ],
    ids=str,
)  # fmt: skip
def test_each_part_of_the_protocol_with_requests_is_needed(whole: Requested, without: dict[str, object]) -> None:
    _, way = search(Requesting(), requesting(replace(whole, **without)), lambda now: now.late)  # type: ignore[arg-type]
    assert way, "the search finds nothing wrong without it"
