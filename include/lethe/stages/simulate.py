"""Simulate: what each run that the schedule says, until a day, will find due in a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from pydantic import Field

from lethe.environment import Environment
from lethe.errors import LetheError, ParameterError, PolicyError
from lethe.policy import Dataset, Policy
from lethe.stages.base import work
from lethe.stages.standing import due_after
from lethe.stores.base import Going, Value
from lethe.stores.base import simulate as simulate_store

FURTHEST = timedelta(days=3660)
"""How far ahead runs are simulated: ten years."""

_MOST_RUNS = 10_000
"""Runs of one category that are simulated at most: every night for ten years, or every hour for one."""

_SIMULATION = "simulation"
"""What stands for a run where nothing is staged."""


class SimulatedRun(Value):
    """A run to come, and what it will erase (or anonymise) of a dataset."""

    at: datetime = Field(
        description="When its schedule starts it, in the policy's time zone: also the moment that it judges by."
    )
    going: Going


class Simulation(Value):
    """The runs to come of one dataset, in their order."""

    category: str
    dataset: str
    at: datetime
    runs: tuple[SimulatedRun, ...] = ()
    problem: str | None = Field(default=None, description="Why nothing is known, in one message.")

    @property
    def total(self) -> Going:
        """What goes until the last of them."""
        going = [one.going for one in self.runs]
        return Going(records=sum(one.records for one in going), rows_along=sum(one.rows_along for one in going))


def require_ahead(until: date, at: datetime) -> None:
    """Refuse a day that nothing can be simulated until.

    Raises:
        ParameterError: if it is over, or too far ahead.
    """
    today = at.date()
    if until < today - timedelta(days=1):  # west of here it may still be that day
        raise ParameterError(f"--until {until}: is over: name a day to come (`lethe report` says what runs did)")
    if until > today + FURTHEST:
        raise ParameterError(
            f"--until {until}: is more than ten years ahead: name a day until {today + FURTHEST} (policies, holidays "
            "and records will be others by then)"
        )


def simulate(env: Environment, policy: Policy, dataset: Dataset, at: datetime, until: date) -> Simulation:
    """What each run to come erases of a dataset, if nothing but these runs changes it from now on.

    By the policy, the records, the events and the holds of now, as if every run were approved, and erased all that it
    found due. Nothing is staged, and nothing is kept. What cannot be found out is a problem in words, and no number.

    Args:
        env: the stores, and the registry of holds and events.
        policy: of the dataset.
        dataset: which one.
        at: now (timezone-aware); runs after it are simulated.
        until: the last day, in the policy's time zone.
    """
    simulated = Simulation(category=policy.category, dataset=dataset.name, at=at)
    try:
        moments = list(run_moments(policy, at, until))
        rules = env.registry.rules(policy.category, dataset)
        job = work(policy, _SIMULATION, at, dataset.name)
        found = simulate_store(env.store(dataset), job, rules, [policy.expiry(moment) for moment in moments])
    except LetheError as error:
        return simulated.model_copy(update={"problem": str(error)})
    runs = tuple(SimulatedRun(at=moment, going=going) for moment, going in zip(moments, found, strict=True))
    return simulated.model_copy(update={"runs": runs})


def run_moments(policy: Policy, at: datetime, until: date) -> Iterator[datetime]:
    """When a policy's schedule starts its runs after a moment, until the end of a day, in its time zone.

    Raises:
        PolicyError: if it has no schedule, or one of too many runs.
    """
    if policy.schedule is None:
        raise PolicyError(
            f"{policy.category}: has no schedule, so that nothing goes unless a person starts a run: `lethe due "
            f"{policy.category} --as-of MOMENT` says what one would find"
        )
    zone = ZoneInfo(policy.time_zone)
    moment, number = due_after(policy, at), 0
    while moment is not None and (local := moment.astimezone(zone)).date() <= until:
        number += 1
        if number > _MOST_RUNS:
            raise PolicyError(
                f"{policy.category}: has more than {_MOST_RUNS:,} runs until {until}: name an earlier day by --until"
            )
        yield local
        moment = due_after(policy, moment)
