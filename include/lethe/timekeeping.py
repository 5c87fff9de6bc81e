"""What the time is, by every clock that a run talks to anyway: no single wrong one can make it judge early.

A run judges by its as-of moment. That must have come by **all** of these: this machine's clock, the governance
database's, each store's (PostgreSQL's `clock_timestamp()`, the `Date` of S3's answers; SQLite has this machine's).
Clocks that are further apart than the tolerance are refused by name, and so are clocks that are behind the ledger: one
that wrote an entry was ahead, or these are behind now. Where this machine's clock is the only one, nothing is erased
by it before a person has said that it is right, and the ledger says how long ago it was last believed. The way out is
a person with a watch (`confirm`), which is an entry in the ledger.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from lethe.environment import Environment
from lethe.errors import ConnectionMissing, ParameterError, StoreError
from lethe.evidence.ledger import CLOCKS, CLOCKS_CONFIRMED
from lethe.governance import CONNECTION_ID
from lethe.policy import Dataset

THIS_MACHINE = "this machine"
ALONE_WITHIN = timedelta(days=7)
"""How long after the ledger's latest entry this machine's clock is believed where there is no other to ask."""

_SOON = timedelta(seconds=5)
"""An as-of moment that comes so soon is waited for: readings are whole seconds old, and so is "now" when it is used."""


class NotYet(ParameterError):
    """An as-of moment has not come by every clock, but will within the tolerance. Waiting helps."""

    transient = True


@dataclass(frozen=True, slots=True)
class Reading:
    """What a clock showed.

    Attributes:
        clock: its name: this machine, or a connection's id.
        at: what it showed, or a little less (UTC).
        ahead: seconds that it is ahead of this machine's clock, about; negative where it is behind.
    """

    clock: str
    at: datetime
    ahead: float = 0.0

    @property
    def name(self) -> str:
        """Whose clock it is, in words."""
        return self.clock if self.clock == THIS_MACHINE else f"connection {self.clock}"


@dataclass(frozen=True, slots=True)
class Clocks:
    """All clocks that were read, this machine's among them, and what the ledger says of the time.

    Attributes:
        readings: what they showed.
        ledger: the latest moment in the ledger; None where it is empty.
        confirmed: whether a person has ever said there what the time is.
        judges: whether a store is judged by this machine's clock: one that answered, and has none of its own.
    """

    readings: tuple[Reading, ...]
    ledger: datetime | None
    confirmed: bool
    judges: bool

    @property
    def earliest(self) -> Reading:
        """The clock that is furthest behind."""
        return min(self.readings, key=lambda one: one.at)

    @property
    def ahead(self) -> dict[str, int]:
        """Milliseconds that each clock is ahead of this machine's, about, by its name: for the record."""
        return {one.clock: round(one.ahead * 1000) for one in self.readings}

    def require_agreement(self, tolerance: timedelta) -> None:
        """Refuse clocks that contradict each other.

        Raises:
            ParameterError: naming them, and how far they are apart.
        """
        ordered = sorted(self.readings, key=lambda one: one.ahead)
        if ordered[-1].ahead - ordered[0].ahead > tolerance.total_seconds():
            shown = "; ".join(f"{one.name} {_words(one)}" for one in self.readings)
            raise ParameterError(
                f"clocks are more than {tolerance.total_seconds():.0f} seconds apart, so that one is wrong: {shown}. "
                "Nothing was touched. Set it right (NTP), then run again"
            )

    def require_after_ledger(self, tolerance: timedelta) -> None:
        """Refuse clocks that are behind the ledger, or for which nothing but this machine vouches.

        Raises:
            ParameterError: saying what to do.
        """
        if self.ledger is None:
            return
        now = self.earliest
        if self.ledger > now.at + tolerance:
            raise ParameterError(
                f"the ledger has an entry of {_shown(self.ledger)}, which is in the future by {now.name} "
                f"({_shown(now.at)}): that clock is behind, or one that was ahead wrote it. Nothing was touched. "
                "Find out which, and what ran at that time (`lethe report`). If the clocks are right now, wait until "
                f"then, or {_CONFIRM}"
            )
        if len(self.readings) == 1 and now.at > self.ledger + ALONE_WITHIN:
            days = (now.at - self.ledger).days
            raise ParameterError(
                f"this machine's clock ({_shown(now.at)}) is the only one here, and {days:,} days after the latest "
                f"entry of the ledger ({_shown(self.ledger)}): nothing says that it is right. Nothing was touched. If "
                f"it is, {_CONFIRM}"
            )

    def require_witness(self) -> None:
        """Refuse a clock that stands alone and has done so from the beginning: it would have vouched for itself.

        Raises:
            ParameterError: saying what to do.
        """
        if len(self.readings) == 1 and not self.confirmed:
            raise ParameterError(
                f"this machine's clock ({_shown(self.earliest.at)}) is the only one here, and nobody has said yet that "
                f"it is right. Nothing was touched. If it is, {_CONFIRM}"
            )


_CONFIRM = "say what the time is by your watch: `lethe clocks confirm 2026-11-21T02:15:00+01:00 --by NAME`"


def read(env: Environment, datasets: Iterable[Dataset]) -> Clocks:
    """Look at all clocks. That of a store that cannot be asked is left out: it is looked at when its dataset is found.

    Raises:
        StoreUnavailable, StoreError: if the governance database does not answer.
    """
    readings = [Reading(THIS_MACHINE, datetime.now(UTC))]
    with env.governance.read() as connection:
        if env.governance.has_clock:
            reading = _reading(CONNECTION_ID, partial(env.governance.now, connection))
            readings += [reading] if reading else []
        latest = env.ledger.latest(connection)
        confirmed = env.ledger.clocks_confirmed(connection)
    judges = False
    for dataset in {one.store: one for one in datasets}.values():
        with suppress(StoreError, ConnectionMissing):
            reading = _reading(dataset.store, partial(env.store(dataset).clock, dataset))
            readings += [reading] if reading else []
            judges = judges or reading is None
    return Clocks(tuple(readings), latest, confirmed, judges)


def agreed(env: Environment, datasets: Iterable[Dataset]) -> Clocks:
    """All clocks, of which none contradicts another or the ledger.

    Raises:
        ParameterError: if one does.
        StoreUnavailable, StoreError: if the governance database does not answer.
    """
    clocks = read(env, datasets)
    clocks.require_agreement(env.settings.clock_tolerance)
    clocks.require_after_ledger(env.settings.clock_tolerance)
    return clocks


def _reading(clock: str, look: Callable[[], datetime | None]) -> Reading | None:
    before = datetime.now(UTC)
    shown = look()
    if shown is None:
        return None
    middle = before + (datetime.now(UTC) - before) / 2
    return Reading(clock, shown.astimezone(UTC), (shown - middle).total_seconds())


def moment_of_run(
    env: Environment, category: str, datasets: Sequence[Dataset], as_of: datetime | None, *, erases: bool = True
) -> tuple[datetime, Clocks]:
    """The moment that a run judges by, which has come by every clock; and these. Nothing is changed.

    Args:
        env: the governance database and the stores.
        category: for messages.
        datasets: whose stores' clocks are compared.
        as_of: timezone-aware; where left out it is now, by the clock that is furthest behind.
        erases: whether the run is no dry run.

    Raises:
        ParameterError: if the clocks disagree, or the moment is in the future by one of them.
        NotYet: if it will have come within the tolerance.
        StoreUnavailable, StoreError: if the governance database does not answer.
    """
    tolerance = env.settings.clock_tolerance
    clocks = agreed(env, datasets)
    if erases and clocks.judges:  # a store that does not answer now is asked for its own clock when it is back
        clocks.require_witness()
    earliest = clocks.earliest
    if as_of is None:
        return earliest.at.replace(microsecond=0), clocks
    if as_of <= earliest.at:
        return as_of, clocks
    if as_of - earliest.at <= _SOON:
        time.sleep((as_of - earliest.at).total_seconds())
        return moment_of_run(env, category, datasets, as_of, erases=erases)
    refusal = NotYet if as_of - earliest.at <= tolerance else ParameterError
    raise refusal(
        f"{category}: the as-of moment {as_of.isoformat()} is in the future; nothing is erased early. The clock of "
        f"{earliest.name} shows {_shown(earliest.at)}; give an earlier one, or leave it out"
    )


def require_come(env: Environment, dataset: Dataset, as_of: datetime, *, vouched: bool) -> None:
    """Refuse a dataset by whose store's clock the as-of moment has not come.

    The store may have been down when all clocks were compared.

    Args:
        env: the governance database and the stores.
        dataset: whose store is asked.
        as_of: the moment that the run judges by.
        vouched: whether several clocks were compared then, or nothing is erased.

    Raises:
        ParameterError: naming the clock; or if the store has none, and no other vouches for this machine's.
        StoreUnavailable, StoreError: if the store does not answer.
    """
    shown = env.store(dataset).clock(dataset)
    if shown is not None and timedelta() < as_of - shown <= _SOON:
        time.sleep((as_of - shown).total_seconds())
        shown = env.store(dataset).clock(dataset)
    if shown is None and not vouched:
        read(env, [dataset]).require_witness()
    if shown is not None and shown < as_of:
        raise ParameterError(
            f"{dataset.name}: the as-of moment {as_of.isoformat()} is in the future by the clock of connection "
            f"{dataset.store}, which shows {_shown(shown)}; nothing of it is erased early: start a new run"
        )


def confirm(env: Environment, datasets: Iterable[Dataset], stated: datetime, by: str) -> Clocks:
    """Enter in the ledger that a person says what the time is, and that every clock shows it.

    From then on the ledger's earlier entries do not keep runs from starting, whatever moments they tell.

    Args:
        env: the governance database and the stores.
        datasets: whose stores' clocks are compared.
        stated: what the person's own watch shows (timezone-aware).
        by: who.

    Raises:
        ParameterError: if a clock shows another time; nothing is entered.
        StoreUnavailable, StoreError: if the governance database does not answer.
    """
    tolerance = env.settings.clock_tolerance
    clocks = read(env, datasets)
    clocks.require_agreement(tolerance)
    for one in clocks.readings:
        if abs(one.at - stated) > tolerance:
            raise ParameterError(
                f"the clock of {one.name} shows {_shown(one.at)}, more than {tolerance.total_seconds():.0f} seconds "
                f"from {stated.isoformat()}. Nothing was confirmed: look again, or set that clock right (NTP)"
            )
    body: dict[str, object] = {
        "by": by,
        "stated": stated.isoformat(),
        "ledger": clocks.ledger.isoformat() if clocks.ledger else None,
        "clocks": clocks.ahead,
    }
    with env.governance.write() as connection:
        env.ledger.append(connection, CLOCKS_CONFIRMED, CLOCKS, body)
    return clocks


def _shown(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(sep=" ", timespec="seconds")


def _words(one: Reading) -> str:
    shown = f"shows {_shown(one.at)}"
    if one.clock == THIS_MACHINE:
        return shown
    return f"{shown}, {timedelta(seconds=round(abs(one.ahead)))} {'ahead' if one.ahead > 0 else 'behind'}"
