"""Events as stores are given them: plain values. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date

Reference = tuple[str, ...]
"""Whose event it is, a text for each column that refers to it. It may name a person or a company."""


def _none() -> Iterator[Sequence[tuple[Reference, date]]]:
    return iter(())


@dataclass(frozen=True, slots=True)
class EventsInForce:
    """The events of one name by which the records of a dataset are judged, as of one version of the registry.

    No two of them have one reference.

    Attributes:
        name: what the policy calls the event.
        changed: the version of the registry at which they became as they are; of one name, it tells them apart.
        load: reads them, some at a time: (reference, the local day on which it happened). They may be personal data.
    """

    name: str
    changed: int
    load: Callable[[], Iterator[Sequence[tuple[Reference, date]]]] = field(default=_none, repr=False, compare=False)
