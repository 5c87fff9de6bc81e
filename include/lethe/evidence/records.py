"""What the governance database knows of a run, and of each dataset in it, as values: read from its rows and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeVar

import sqlalchemy as sa
from pydantic import Field, TypeAdapter, ValidationError

from lethe.checks.results import Validation
from lethe.counts import Became, Found
from lethe.errors import EvidenceError
from lethe.policy import Policy
from lethe.stores.base import Candidates, Remainder, Value

When = Literal["before", "after"]
"""Of erasing."""
WHEN: tuple[When, ...] = ("before", "after")

BY_LIMITS = "limits"
"""Who decided where no person had to."""

_T = TypeVar("_T")


class Decision(Value):
    """Whether candidates may be erased, bound to the very set, policy and cutoff that it was made for."""

    approved: bool
    by: str = Field(description="A person, or 'limits' where the candidates are within them.")
    reasons: tuple[str, ...] = Field(default=(), description="The limits that were passed.")
    digest: str = Field(description="`run_digest` of what was decided on.")
    at: datetime

    @property
    def approved_by_a_person(self) -> bool:
        """Whether somebody has looked at the candidates and approved them."""
        return self.approved and self.by != BY_LIMITS


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as the governance database knows it."""

    id: str
    category: str
    as_of: datetime
    policy_digest: str
    written_policy: Mapping[str, object] = field(repr=False)
    cutoff: str
    state: str
    dry_run: bool
    expected_digest: str | None
    trigger: str
    requested_by: str | None
    started_at: datetime
    active_at: datetime
    waiting_until: datetime | None
    finished_at: datetime | None
    settling_until: datetime | None
    settling_by: str | None
    superseded_by: str | None
    software: str
    clocks: Mapping[str, int] | None = None

    @classmethod
    def of(cls, row: sa.RowMapping) -> RunRecord:
        """What a row of `lethe_run` says.

        Raises:
            EvidenceError: if it says nothing that Lethe writes.
        """
        return _read(_RUNS, {**row, "written_policy": row["policy"]}, f"run {row['id']}")

    @property
    def policy(self) -> Policy:
        """The policy as it was."""
        return Policy.model_validate(self.written_policy)


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """What a run recorded of one dataset; None, or nothing, where it did not get so far."""

    dataset: str
    candidates: Candidates | None = None
    validation: Mapping[When, Validation] = field(default_factory=dict)
    approval: Decision | None = None
    tally: Became | None = None
    left: Found | None = None
    remainders: tuple[Remainder, ...] = ()
    problem: str | None = None

    @classmethod
    def of(cls, row: sa.RowMapping) -> DatasetRecord:
        """What a row of `lethe_run_dataset` says, as far as it was selected.

        Raises:
            EvidenceError: if it says nothing that Lethe writes.
        """
        written = {name: value for name, value in row.items() if value is not None}
        return _read(_DATASETS, written, f"dataset {row['dataset']} of a run")

    @property
    def before(self) -> Validation | None:
        """What was said before erasing."""
        return self.validation.get("before")


_RUNS = TypeAdapter(RunRecord)
_DATASETS = TypeAdapter(DatasetRecord)
"""Built once: it takes as long as reading hundreds of rows."""


def _read(adapter: TypeAdapter[_T], written: Mapping[str, object], what: str) -> _T:
    try:
        return adapter.validate_python(written)
    except ValidationError as error:
        fields = ", ".join(sorted({str(detail["loc"][0]) for detail in error.errors() if detail["loc"]}))
        raise EvidenceError(
            f"{what}: its record ({fields}) is not as Lethe writes it: compare it with a backup"
        ) from None
