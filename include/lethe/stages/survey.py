"""Survey: what a dataset has due now, what of it is overdue, and what it will have due in the days that come."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from lethe.counts import Found
from lethe.environment import Environment
from lethe.errors import LetheError
from lethe.policy import Dataset, Expiry, Policy
from lethe.stages.base import work
from lethe.stages.standing import overdue_from
from lethe.stores.base import forecast
from lethe.surveys import HORIZONS, Survey

_SURVEY = "survey"
"""What stands for a run where nothing is staged."""


def survey(env: Environment, policy: Policy, dataset: Dataset, at: datetime) -> Survey:
    """A dataset as of a moment, with the holds of now. Nothing is staged, and nothing is kept.

    What cannot be found out is a problem in words, and no number: a store that does not answer, for example.
    """
    taken = Survey(category=policy.category, dataset=dataset.name, at=at, policy_digest=policy.digest)
    try:
        job = work(policy, _SURVEY, at, dataset.name)
        zone = ZoneInfo(policy.time_zone)
        moments = [overdue_from(policy, at), *(at.astimezone(zone) + timedelta(days=days) for days in HORIZONS)]
        rules = env.registry.rules(policy.category, dataset)
        found, (overdue, *due) = forecast(env.store(dataset), job, rules, [policy.expiry(one) for one in moments])
    except LetheError as error:
        return taken.model_copy(update={"problem": str(error)})
    return taken.model_copy(
        update={
            "found": found,
            "overdue": overdue,
            "overdue_days": overdue_days(job.expiry, found),
            "ahead": dict(zip(HORIZONS, due, strict=True)),
        }
    )


def overdue_days(expiry: Expiry, found: Found) -> int | None:
    """Days since the oldest record that is due should have gone; None where none is due."""
    cutoffs = [cutoff.day for cutoff in (expiry.default, *expiry.by_value.values()) if cutoff]
    if found.oldest is None or not found.due or not cutoffs:
        return None
    return max((max(cutoffs) - found.oldest).days - 1, 0)
