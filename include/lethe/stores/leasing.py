"""What every lease of the hold gate is, whatever the engine that refuses what comes after it; see docs/hold-gate.md."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from lethe.holds.rules import HoldRules


@dataclass
class Lease:
    """A lease of the hold gate with its holds, and a moment after which a server refuses its requests.

    Attributes:
        rules: the holds.
        started: by `time.monotonic`, before it was asked for.
        seconds: how long it lasts at most.
        server_time: seconds since 1970 at `started` by the server's clock, or a little less.
        unanswered: whether a request may still be carried out.
    """

    rules: HoldRules
    started: float
    seconds: float
    server_time: float
    unanswered: bool = field(default=False, init=False)

    @property
    def over(self) -> bool:
        """Whether it is too late for another request: the second half has begun."""
        return time.monotonic() >= self.started + self.seconds / 2

    @property
    def deadline(self) -> float:
        """When the server begins to refuse its requests, in seconds since 1970 by the server's clock."""
        return self.server_time + self.seconds / 2

    @property
    def sent_by(self) -> float:
        """When its requests have to be over, answered or not, by `time.monotonic`: a little before it runs out."""
        return self.started + self.seconds * 15 / 16

    def wait_for_unanswered(self) -> None:
        """Where a request may still be carried out: wait until the lease has run out."""
        if self.unanswered:
            time.sleep(max(0.0, self.started + self.seconds - time.monotonic()))
