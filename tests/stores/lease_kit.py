"""Holds and a gate that a test changes at will, for the stores that work under leases."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from lethe.holds.rules import NO_HOLDS, ClockRange, HoldRule, HoldRules
from lethe.judging.identifiers import IdentifierType


def hold(version: int = 1, clock: ClockRange | None = None, **identifiers: Sequence[str]) -> HoldRule:
    """A hold on identifiers by type, or on everything (in a clock range)."""
    named = {
        IdentifierType(kind): [values] if isinstance(values, str) else list(values)
        for kind, values in identifiers.items()
    }
    return HoldRule(
        hold=f"h{version}",
        matter="M",
        version=version,
        everything=not named,
        types=frozenset(named),
        clock=clock or ClockRange(),
        load=lambda: named,
    )


def meanwhile(happens: Callable[[], None]) -> HoldRules:
    """Rules that hold nobody; `happens` is called when it is first read whom they hold."""
    left = [happens]

    def load() -> dict[IdentifierType, list[str]]:
        if left:
            left.pop()()
        return {IdentifierType.EMAIL: ["nobody@example.org"]}

    nobody = HoldRule("h1", "M", 1, everything=False, types=frozenset({IdentifierType.EMAIL}), load=load)
    return HoldRules(1, (nobody,))


def rules(*held: HoldRule) -> HoldRules:
    """The rules of holds, at the version of the latest."""
    return HoldRules(max((rule.version for rule in held), default=0), held)


@dataclass
class Gate:
    """A gate whose rules a test changes at will, and which keeps account of its leases."""

    rules: HoldRules = NO_HOLDS
    lease_seconds: float = 30.0
    before: Callable[[int], None] = lambda _lease: None
    leases: int = 0
    longest: float = 0.0
    out: set[int] = field(default_factory=set)
    _change: threading.Lock = field(default_factory=threading.Lock)

    def current(self) -> HoldRules:
        return self.rules

    @contextmanager
    def lease(self) -> Iterator[HoldRules]:
        with self._change:
            number = self.leases
            self.leases += 1
        self.before(number)
        with self._change:
            self.out.add(number)
        started = time.monotonic()
        try:
            yield self.rules
        finally:
            with self._change:
                self.out.remove(number)
                self.longest = max(self.longest, time.monotonic() - started)

    def place(self, hold: HoldRules) -> None:
        """Put a hold in force as the registry does: leases that may not have seen it are waited for."""
        self.rules = hold
        with self._change:
            before = set(self.out)
        while before & self.out:
            time.sleep(0.001)
