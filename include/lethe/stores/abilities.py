"""What a store can do beyond what all can, as data: the contract suite reads it, and tests what is lacking, too.

A store that cannot do something says why, and refuses: an inability that does not refuse is a defect, and so is one
that is declared and not true any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Binding(StrEnum):
    """How a batch that is under way and a hold that is being placed meet; see docs/hold-gate.md."""

    FENCED = "fenced"
    """The transaction that erases has a lock, which who places a hold waits for."""
    LEASED = "leased"
    """Requests carry a deadline, after which the engine refuses them; who places a hold waits for the leases."""


class Ability(StrEnum):
    """What some stores can do, and others cannot."""

    ANONYMISE = "anonymise"
    """Mask columns in place of erasing the record."""
    CHILDREN = "children"
    """Rows of other tables go with their record."""
    CONDITIONS = "conditions"
    """A dataset can be a part of its place (`where`), and keep records on (`keep_while`)."""
    RELATED_ROWS = "related_rows"
    """A record's clock, conditions and identifiers can be in rows of other tables that it leads to."""
    SUPPRESSION = "suppression"
    """A value of a record goes onto a list when the record is erased, in the same transaction."""
    EVENT_CLOCKS = "event_clocks"
    """A record's period can start on an event that people record."""
    REDACTION = "redaction"
    """Personal data is found in free text, and taken out of it."""
    PERIODS_BY_VALUE = "periods_by_value"
    """Each record's period can depend on a value of it."""
    REQUESTS = "requests"
    """Records can go by a request of the person whom they are of, before their period has ended."""
    RECORD_BATCHES = "record_batches"
    """A batch has exactly as many records as the connection says, and not some more because they lie together."""


TO_BE_DECLARED = frozenset({Ability.REQUESTS})
"""What a store can do only if it says so, because it would erase too early by knowing nothing of it."""


class When(StrEnum):
    """For how long an inability lasts."""

    NEVER = "never"
    """What the store holds has no such thing."""
    NOT_YET = "not yet"
    """It could be built."""


@dataclass(frozen=True, slots=True)
class Lack:
    """Something that a store cannot do.

    Attributes:
        when: whether it ever will.
        reason: why not, for people.
        says: what the refusal says, a part of its message; empty where there is nothing to refuse.
    """

    when: When
    reason: str
    says: str


class ClockForm(StrEnum):
    """In which forms a store reads the clock of a record."""

    DAY = "day"
    """A type for days."""
    MOMENT = "moment"
    """A type for moments, with a zone."""
    WALL = "wall"
    """A type for times without a zone, which are local."""
    TEXT = "text"
    """ISO 8601 text."""
    EPOCH = "epoch"
    """Seconds since 1970."""
    YEAR = "year"
    """A calendar year, which ends on 31 December."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a store can do.

    Attributes:
        binding: how holds bind what is under way.
        clocks: the forms of clocks that it reads.
        lacks: what it cannot do; all else it can, but for what is `TO_BE_DECLARED`.
        declares: what of that it can do.
    """

    binding: Binding
    clocks: frozenset[ClockForm] = frozenset(ClockForm)
    lacks: Mapping[Ability, Lack] = field(default_factory=dict)
    declares: frozenset[Ability] = frozenset()

    def has(self, ability: Ability) -> bool:
        """Whether the store can do it."""
        return self.lack(ability) is None

    def lack(self, ability: Ability) -> Lack | None:
        """Why it cannot do it; None where it can."""
        if ability in TO_BE_DECLARED - self.declares:
            return self.lacks.get(ability, _NOT_DECLARED)
        return self.lacks.get(ability)


_NOT_DECLARED = Lack(When.NOT_YET, "its store does not declare that it can", "records do not go on request")
