"""Holds for the contract suite: a registry in a folder, for threads and processes alike, and a gate that reads it.

It does what docs/hold-gate.md asks for, and no more, so that a store can be tried without a governance database.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from lethe.errors import StoreUnavailable
from lethe.holds.rules import Asked, ClockRange, HoldRule, HoldRules
from lethe.judging.identifiers import IdentifierType, normalise
from lethe.policy import ColumnClock, Dataset
from lethe.retention_events.rules import EventsInForce
from lethe.stores.abilities import Binding
from lethe.stores.base import Store

_POLL_SECONDS = 0.002


@dataclass(frozen=True)
class Held:
    """A hold as people place it: on identifiers, on days, on both, or on everything.

    Attributes:
        email: addresses, in any spelling.
        account: accounts, in any spelling.
        first: the first local day, open where left out.
        last: the last one, included.
    """

    email: Sequence[str] = ()
    account: Sequence[str] = ()
    first: date | None = None
    last: date | None = None

    def rule(self, version: int) -> HoldRule:
        """The rule that it means at a version of the registry."""
        given = {IdentifierType.EMAIL: self.email, IdentifierType.ACCOUNT: self.account}
        named = {kind: [normalise(kind, text) for text in texts] for kind, texts in given.items() if texts}
        return HoldRule(
            hold=f"h{version}",
            matter="matter",
            version=version,
            everything=not named,
            types=frozenset(named),
            clock=ClockRange(self.first, self.last),
            load=lambda: named,
        )


@dataclass(frozen=True)
class Registry:
    """Holds and leases in a folder."""

    folder: Path
    dataset: Dataset

    @property
    def _file(self) -> Path:
        return self.folder / "holds.json"

    @property
    def _leases(self) -> Path:
        return self.folder / "leases"

    def rules(self) -> HoldRules:
        """What is in force."""
        state = self._read()
        held = tuple(_held(one).rule(one["version"]) for one in state["holds"])
        return HoldRules(state["version"], held, self._events(state), tuple(map(_asked, state.get("asked", []))))

    def _events(self, state: dict[str, Any]) -> EventsInForce | None:
        """The events that the dataset is judged by, where its clock is one."""
        clock = self.dataset.clock
        if not isinstance(clock, ColumnClock) or clock.event is None:
            return None
        days = [((whose,), date.fromisoformat(day)) for whose, day in state.get("events", {}).items()]
        return EventsInForce(clock.event, state.get("changed", 0), lambda: iter([days]))

    def happened(self, days: Mapping[str, date | None]) -> None:
        """Record events by reference, in place of those that there are; None withdraws one."""
        state = self._read()
        state["version"] = state["changed"] = state["version"] + 1
        events = {**state.get("events", {}), **{whose: day and day.isoformat() for whose, day in days.items()}}
        state["events"] = {whose: day for whose, day in events.items() if day}
        self._write(state)

    def ask(self, *persons: Held) -> None:
        """Record, and confirm, requests of persons by which records go."""
        state = self._read()
        for person in persons:
            state["version"] += 1
            state["asked"] = [*state.get("asked", []), {**asdict(person), "version": state["version"]}]
        self._write(state)

    def cancel(self, number: int) -> None:
        """Take back one of the requests, by its position."""
        state = self._read()
        asked = [one for n, one in enumerate(state["asked"]) if n != number]
        self._write({**state, "version": state["version"] + 1, "asked": asked})

    def _read(self) -> dict[str, Any]:
        if not self._file.exists():
            return {"version": 0, "holds": []}
        state: dict[str, Any] = json.loads(self._file.read_text())
        return state

    def commit(self, *holds: Held) -> None:
        """Record holds, each as a further version: whoever reads from now on sees them."""
        state = self._read()
        for hold in holds:
            state["version"] += 1
            state["holds"].append({**asdict(hold), "version": state["version"]})
        self._write(state)

    def release(self) -> None:
        """Release all holds."""
        state = self._read()
        self._write({**state, "version": state["version"] + 1, "holds": []})

    def _write(self, state: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_name(f"{secrets.token_hex(4)}.draft")
        draft.write_text(json.dumps(state, default=date.isoformat))
        draft.replace(self._file)

    def place(self, store: Store, *holds: Held, timeout: float = 20.0) -> None:
        """Place holds: when this returns, they are acknowledged.

        Raises:
            StoreUnavailable: if they could not be acknowledged within `timeout` seconds.
        """
        self.commit(*holds)
        self.acknowledge(store, timeout)

    def acknowledge(self, store: Store, timeout: float = 20.0) -> None:
        """Wait for all that was under way before.

        Raises:
            StoreUnavailable: if that takes longer than `timeout` seconds.
        """
        out = set(self._leases.glob("*"))
        deadline = time.monotonic() + timeout
        while out := {lease for lease in out if lease.exists() and float(lease.name.split("-")[0]) > time.time()}:
            if time.monotonic() > deadline:
                raise StoreUnavailable("leases were not given back")
            time.sleep(_POLL_SECONDS)
        store.settle([self.dataset], timeout)

    @contextmanager
    def lease(self, seconds: float) -> Iterator[None]:
        """A lease, which runs out by itself where its process is killed or stopped."""
        self._leases.mkdir(parents=True, exist_ok=True)
        lease = self._leases / f"{time.time() + seconds:.3f}-{secrets.token_hex(6)}"
        lease.touch()
        try:
            yield
        finally:
            lease.unlink()


def _held(entry: dict[str, Any]) -> Held:
    first, last = (date.fromisoformat(entry[name]) if entry[name] else None for name in ("first", "last"))
    return Held(tuple(entry["email"]), tuple(entry["account"]), first, last)


def _asked(entry: dict[str, Any]) -> Asked:
    return Asked(f"r{entry['version']}", _held(entry).rule(entry["version"]).load)


def nothing(_number: int) -> None:
    """A hook that does nothing."""


@dataclass
class Gate:
    """What a store asks for the holds in force. It counts who asks, and tells hooks of it.

    Attributes:
        registry: the holds.
        lease_seconds: how long a lease lasts.
        before: called with the number of the question, before the holds are read.
        after: called, counted by itself, when they are read, and what erases by them is about to begin.
        binding: of the store: one that works under leases only prepares itself by what `current` says.
    """

    registry: Registry
    lease_seconds: float = 30.0
    before: Callable[[int], None] = nothing
    after: Callable[[int], None] = nothing
    binding: Binding = Binding.FENCED
    asked: int = 0
    begun: int = 0
    _count: threading.Lock = field(default_factory=threading.Lock)

    def current(self) -> HoldRules:
        """The rules in force."""
        rules = self._read()
        if self.binding is Binding.FENCED:
            self._begin()
        return rules

    @contextmanager
    def lease(self) -> Iterator[HoldRules]:
        """The rules in force, for as long as a lease lasts."""
        with self.registry.lease(self.lease_seconds):
            rules = self._read()
            self._begin()
            yield rules

    def _read(self) -> HoldRules:
        with self._count:
            number, self.asked = self.asked, self.asked + 1
        self.before(number)
        return self.registry.rules()

    def _begin(self) -> None:
        with self._count:
            number, self.begun = self.begun, self.begun + 1
        self.after(number)
