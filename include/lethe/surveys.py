"""Surveys: what each dataset had due at a moment, and will have due; kept, so that pages need not ask a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from pydantic import Field

from lethe.counts import Found
from lethe.governance import Governance, schema
from lethe.stores.base import Value

HORIZONS = (1, 7, 30, 90)
"""Days ahead that a survey looks."""

SAYS_FOR = timedelta(days=30)
"""How long a survey says something of now, where no later one was taken."""

KEPT = timedelta(days=400)
"""How long surveys are kept: a year can be compared with the one before."""

_TABLE = schema.survey.c


class Survey(Value):
    """One dataset at one moment, in records; None where that is not known."""

    category: str
    dataset: str
    at: datetime
    policy_digest: str
    found: Found | None = Field(default=None, description="What there is by then, without names of files.")
    overdue: int | None = Field(default=None, description="Due already when the schedule last gave a run its day.")
    overdue_days: int | None = Field(default=None, description="Days since the oldest of what is due had to go.")
    ahead: Mapping[int, int] = Field(
        default_factory=dict, description="Due in so many days, by the holds of now and if nothing goes before."
    )
    problem: str | None = Field(default=None, description="Why nothing is known, in one message.")

    @property
    def due(self) -> int | None:
        """Records that may and must go."""
        return None if self.found is None else self.found.due


class HoldSurvey(Value):
    """What a hold finds in a dataset, expired or not."""

    hold_id: str
    dataset: str = Field(description="Written category.dataset.")
    at: datetime
    records: int | None = Field(default=None, description="None: they could not be counted.")
    problem: str | None = Field(default=None, description="Why not.")


class Surveys:
    """The surveys in the governance database."""

    def __init__(self, governance: Governance) -> None:
        self._governance = governance

    def keep(self, taken: Sequence[Survey]) -> None:
        """Keep surveys, and remove those that are older than `KEPT`."""
        rows = [one.model_dump(exclude={"found", "ahead"}) | _written(one) for one in taken]
        with self._governance.write() as connection:
            connection.execute(sa.delete(schema.survey).where(_TABLE.at < self._governance.now(connection) - KEPT))
            if rows:
                connection.execute(sa.insert(schema.survey), rows)

    def keep_of_hold(self, hold_id: str, taken: Sequence[HoldSurvey]) -> None:
        """Keep what a hold finds now, in place of what it found before."""
        table = schema.hold_survey
        with self._governance.write() as connection:
            connection.execute(sa.delete(table).where(table.c.hold_id == hold_id))
            if taken:
                connection.execute(sa.insert(table), [one.model_dump() for one in taken])

    def of_holds(self) -> dict[str, list[HoldSurvey]]:
        """What holds that bind found when they were counted last, by their ids, in the order of datasets."""
        table, hold = schema.hold_survey, schema.hold.c
        query = sa.select(table).join(schema.hold).where(hold.released_at.is_(None)).order_by(table.c.dataset)
        found: dict[str, list[HoldSurvey]] = {}
        with self._governance.read() as connection:
            for row in connection.execute(query).mappings():
                found.setdefault(row["hold_id"], []).append(HoldSurvey.model_validate(dict(row)))
        return found

    def newest(self, now: datetime, category: str | None = None) -> dict[tuple[str, str], Survey]:
        """The newest survey of each dataset, by category and dataset, unless it is older than `SAYS_FOR`.

        Args:
            now: the moment.
            category: of its datasets; None: of all.
        """
        recent = [_TABLE.at > now - SAYS_FOR, *([_TABLE.category == category] if category is not None else [])]
        rank = sa.func.row_number().over(partition_by=[_TABLE.category, _TABLE.dataset], order_by=_TABLE.at.desc())
        ranked = sa.select(schema.survey, rank.label("rank")).where(*recent).subquery()
        query = sa.select(ranked).where(ranked.c.rank == 1).order_by(ranked.c.category, ranked.c.dataset)
        with self._governance.read() as connection:
            rows = connection.execute(query).mappings().all()
        found = (Survey.model_validate({name: row[name] for name in Survey.model_fields}) for row in rows)
        return {(one.category, one.dataset): one for one in found}


def _written(one: Survey) -> dict[str, object]:
    found = one.found.model_dump(mode="json", exclude={"unreadable"}) if one.found else None
    return {"found": found, "ahead": {str(days): due for days, due in one.ahead.items()}}
