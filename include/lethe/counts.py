"""What is counted, and what it is called: what a dataset holds by state, and what became of its candidates by outcome.

Stores count in these words, and all that is shown elsewhere (certificates, lineage, ledger, pages, the command line,
questions to a person) is a projection of them. A further outcome is a member of `Outcome` and a field of
`Outcomes`; the tests of both say where else it has to be described.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

Colour = Literal["good", "plain", "bad"]


class Outcome(StrEnum):
    """What became of one candidate.

    Attributes:
        code: the byte that stands for it in a leaf of the tree of record-level outcomes; never changed.
        heading: heads a column.
        colour: how its numbers are shown: good (gone, as it had to be), plain, or bad.
        words: what it means, as part of a sentence about records.
        red: whether a run that has such records has not succeeded.
    """

    code: bytes
    heading: str
    colour: Colour
    words: str
    red: bool

    def __new__(
        cls,
        value: str,
        code: bytes = b"",
        heading: str = "",
        colour: Colour = "plain",
        words: str = "",
        red: bool = False,
    ) -> Self:
        """A member; see the attributes."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.code, member.heading, member.colour, member.words, member.red = code, heading, colour, words, red
        return member

    ERASED = "erased", b"e", "Erased", "good", "erased"
    ANONYMISED = "anonymised", b"a", "Anonymised", "good", "anonymised"
    HELD = "held", b"h", "Held", "plain", "kept, because a hold covers them or the store itself keeps them"
    """A hold covers it, or the store itself keeps it (Object Lock, an S3 legal hold)."""
    RENEWED = "renewed", b"r", "Renewed", "plain", "kept, because they are no longer expired or no longer in scope"
    """It is no longer expired, or no longer in the dataset's scope: its clock or its state has changed since."""
    GONE = "gone", b"g", "Gone before", "plain", "not there any more, and not by this run's doing"
    """It was not there any more when its turn came, and not by this run's doing."""
    BLOCKED = (
        *("blocked", b"b", "Blocked", "bad"),
        "kept, because rows that stay refer to them, a trigger keeps them, or their file cannot be rewritten",
        True,
    )
    """The store itself refuses: rows that stay refer to it or to rows that go with it, a trigger keeps it, or the file
    that it is in cannot be rewritten."""


class Unjudgeable(StrEnum):
    """Why a record could not be judged. Such records are never erased and always reported."""

    NO_KEY = "no_key"
    """A part of its key is NULL, so that it cannot be told from others."""
    NO_CLOCK = "no_clock"
    UNPARSABLE_CLOCK = "unparsable_clock"
    NO_RELATED_ROW = "no_related_row"
    """The row of another table that its clock, conditions or identifiers are in is not there."""
    NO_PERIOD = "no_period"
    UNCLEAR_CONDITION = "unclear_condition"
    """A condition of `where` cannot be compared with what it has (NaN, text that is no date)."""
    UNREADABLE = "unreadable"
    NOT_REWRITABLE = "not_rewritable"

    @property
    def words(self) -> str:
        """As people read it."""
        return self.value.replace("_", " ")


class _Counts(BaseModel):
    """Base of both: immutable, through JSON unchanged."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Found(_Counts):
    """What a dataset holds at one as-of moment, in records by state."""

    total: int = Field(ge=0, description="Records in the dataset's scope, or perhaps in it.")
    expired: int = Field(ge=0, description="Expired records, held and kept on ones included.")
    held: int = Field(ge=0, description="Expired records that a hold covers.")
    kept_on: int = Field(default=0, ge=0, description="Expired records that a keep_while condition keeps.")
    unjudgeable: Mapping[Unjudgeable, int] = Field(default_factory=dict)
    oldest: date | None = Field(default=None, description="Earliest clock day of the expired, unheld records.")
    unreadable: tuple[str, ...] = Field(
        default=(), description="Digests of the names of what could not be read or rewritten, for finding it again."
    )
    rows_along: int = Field(default=0, ge=0, description="Rows of child tables that go along with what is due.")
    mentions: Mapping[str, int] = Field(
        default_factory=dict, description="Personal data that was recognised in the texts of what is due, by kind."
    )

    @property
    def due(self) -> int:
        """Records that may and must go."""
        return self.expired - self.held - self.kept_on

    @property
    def unjudged(self) -> int:
        """Records that could not be judged, whatever the reason."""
        return sum(self.unjudgeable.values())

    @property
    def counted(self) -> dict[str, object]:
        """The counts alone, as the ledger has them."""
        fields = {"total", "expired", "held", "kept_on", "unjudgeable", "rows_along"}
        fields |= {"mentions"} if self.mentions else set()
        return {**self.model_dump(mode="json", include=fields), "due": self.due}


FOUND_HEADINGS = {
    "total": "Records",
    "expired": "Expired",
    "held": "Held",
    "kept_on": "Kept on",
    "unjudged": "Unjudgeable",
    "due": "Due",
    "rows_along": "Rows along",
}
"""What heads the numbers of a `Found`, by their names, in their order."""


class Outcomes(_Counts):
    """Candidates by outcome: a field for each member of `Outcome`."""

    erased: int = 0
    anonymised: int = 0
    held: int = 0
    renewed: int = 0
    gone: int = 0
    blocked: int = 0

    @property
    def outcomes(self) -> dict[Outcome, int]:
        """Candidates by outcome, all of them, in their order."""
        return {outcome: getattr(self, outcome.value) for outcome in Outcome}

    @property
    def total(self) -> int:
        """Candidates that have an outcome."""
        return sum(self.outcomes.values())

    @property
    def disposed(self) -> int:
        """Candidates that were erased or anonymised."""
        return sum(count for outcome, count in self.outcomes.items() if outcome.colour == "good")

    @property
    def problem(self) -> str | None:
        """Why a run with these has not succeeded, in words; None where nothing speaks against it."""
        reasons = [f"{count:,} {outcome.words}" for outcome, count in self.outcomes.items() if count and outcome.red]
        return "; ".join(reasons) or None


class Became(Outcomes):
    """What became of the candidates that were due at discovery: `total` is `Candidates.due` once all are done.

    Those that were held already are counted by `Candidates.held`; `held` here are those that a hold has covered since.
    Additive, so that batches can be summed in any order.
    """

    rows_with: int = Field(
        default=0, description="Rows of child tables, or versions beyond the current one, that went along."
    )
    bytes: int = Field(default=0, description="Bytes freed, where the store knows.")

    @classmethod
    def of(cls, outcomes: Mapping[Outcome, int], *, rows_with: int = 0, bytes: int = 0) -> Self:
        """Counts by outcome."""
        return cls(**{outcome.value: count for outcome, count in outcomes.items()}, rows_with=rows_with, bytes=bytes)

    def __add__(self, other: Became) -> Became:
        """The sum, field by field."""
        return Became(**{name: getattr(self, name) + getattr(other, name) for name in Became.model_fields})

    def __str__(self) -> str:
        """For logs: what there is of each outcome, and the rows that went along."""
        said = [f"{count:,} {outcome.heading.lower()}" for outcome, count in self.outcomes.items() if count]
        if self.rows_with:
            said.append(f"{self.rows_with:,} rows went along")
        return ", ".join(said) or "nothing erased"
