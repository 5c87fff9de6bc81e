"""What holds cover, as plain values: the part that stores match against. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from lethe.judging.identifiers import IdentifierType
from lethe.periods import start_of_day
from lethe.retention_events.rules import EventsInForce


class HoldKind(StrEnum):
    """Why records must stay. Both kinds have the same force."""

    LEGAL_HOLD = "legal_hold"
    """Litigation, a law-enforcement request, a government investigation."""
    RESTRICTION = "restriction"
    """A data subject's right to restriction of processing, Article 18 GDPR."""


@dataclass(frozen=True, slots=True)
class ClockRange:
    """Records whose clock's local day is in this range. Either end may be open; both days are included."""

    first: date | None = None
    last: date | None = None

    def instants(self, zone: ZoneInfo) -> tuple[datetime | None, datetime | None]:
        """The range as moments in UTC: from (included) and until (excluded)."""
        following = date.fromordinal(self.last.toordinal() + 1) if self.last and self.last != date.max else None
        return (
            start_of_day(self.first, zone) if self.first and self.first != date.min else None,
            start_of_day(following, zone) if following else None,
        )

    def contains(self, day: date) -> bool:
        """Whether a local day lies in the range."""
        return self.meets(day, day)

    def meets(self, first: date, last: date) -> bool:
        """Whether any of some local days lies in the range."""
        return (self.first is None or self.first <= last) and (self.last is None or first <= self.last)


def _no_identifiers() -> Mapping[IdentifierType, Sequence[str]]:
    return {}


@dataclass(frozen=True, slots=True)
class HoldRule:
    """What one hold means for one dataset: records that meet all of its conditions are held.

    Attributes:
        hold: the hold's id in the registry.
        matter: the reference of its matter.
        version: the version of the registry at which it was placed.
        everything: true where the hold names no identifiers: all records in the clock range are held.
        types: the types of the identifiers it names (only those that the dataset carries).
        clock: the clock range; open where the hold has none.
        load: reads the identifiers, normalised, by type. Only called when needed; may be large. They are personal data.
    """

    hold: str
    matter: str
    version: int
    everything: bool
    types: frozenset[IdentifierType] = frozenset()
    clock: ClockRange = field(default_factory=ClockRange)
    load: Callable[[], Mapping[IdentifierType, Sequence[str]]] = field(
        default=_no_identifiers, repr=False, compare=False
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """A request by which a person's records may go before their period has ended.

    Attributes:
        request: its id in the registry.
        load: reads the person's identifiers, normalised, by type. They are personal data.
    """

    request: str
    load: Callable[[], Mapping[IdentifierType, Sequence[str]]] = field(
        default=_no_identifiers, repr=False, compare=False
    )


@dataclass(frozen=True, slots=True)
class HoldRules:
    """The rules in force for one dataset, as of one version of the registry.

    Attributes:
        version: of the registry.
        rules: what is held.
        events: the events by which the dataset's records are judged, where its clock is one.
        asked: the requests that a run on request goes by; none for all others.
    """

    version: int
    rules: tuple[HoldRule, ...] = ()
    events: EventsInForce | None = None
    asked: tuple[Asked, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything at all may be held."""
        return bool(self.rules)

    def since(self, version: int) -> HoldRules:
        """Only the rules that were placed after `version`."""
        return replace(self, rules=tuple(rule for rule in self.rules if rule.version > version))

    def naming(self, types: Set[IdentifierType]) -> HoldRules:
        """Only what the rules say of identifiers of some types."""
        naming = (replace(rule, types=rule.types & types) for rule in self.rules if rule.types & types)
        return replace(self, rules=tuple(naming))

    def identifiers(self) -> Iterable[tuple[HoldRule, IdentifierType, Sequence[str]]]:
        """All identifiers of all rules that name some: (rule, type, normalised identifiers)."""
        for rule in self.rules:
            if not rule.everything:
                for kind, values in rule.load().items():
                    if kind in rule.types:
                        yield rule, kind, values


NO_HOLDS = HoldRules(version=0)
