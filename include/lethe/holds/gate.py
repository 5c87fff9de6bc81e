"""The hold gate: how a hold binds from the moment it is acknowledged, whatever is in flight.

A batch takes a lock first and reads the registry second; placing a hold commits to the registry first and waits for
the locks second. So each batch either is waited for, or sees the hold. In SQL stores the lock is the batch's own
transaction (`Store.settle`); for stores without transactions it is a lease, a row in the governance database.
docs/hold-gate.md has the protocol with its argument.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Set
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from lethe.errors import RunError, StoreUnavailable
from lethe.governance import Governance, schema
from lethe.holds.registry import HoldRegistry
from lethe.holds.rules import HoldRules
from lethe.policy import Dataset
from lethe.policy.on_request import RequestKind

_WAIT_SECONDS = 90.0
"""Longer than any lease that `Settings.lease_seconds` allows."""
_POLL_SECONDS = 0.01


class RunGate:
    """The gate for one dataset of one run (see `stores.base.Gate`). Safe to share between threads.

    A lease lasts for `lease_seconds` at most: requests sent under it must have ended, one way or the other, before.
    """

    def __init__(
        self,
        registry: HoldRegistry,
        run_id: str,
        category: str,
        dataset: Dataset,
        lease_seconds: float,
        honoured: Set[RequestKind] = frozenset(),
    ) -> None:
        self.lease_seconds = lease_seconds
        self._registry = registry
        self._governance = registry.governance
        self._run_id = run_id
        self._category = category
        self._dataset = dataset
        self._honoured = honoured
        self._rules: HoldRules | None = None

    def current(self) -> HoldRules:
        """The rules in force now. One read; the rules themselves only where the version changed.

        Raises:
            RunError: if the run is not open any more: nothing more may be erased for it.
        """
        query = sa.select(
            schema.registry_state.c.version,
            sa.select(schema.run.c.state).where(schema.run.c.id == self._run_id).scalar_subquery(),
        )
        with self._governance.read() as connection:
            version, state = connection.execute(query).one()
        if state != "open":
            raise RunError(
                f"run {self._run_id} is {state or 'not known'} and may not erase any more; start a new run of "
                f"{self._category}"
            )
        rules = self._rules
        if rules is None or rules.version != version:
            rules = self._rules = self._registry.rules(self._category, self._dataset, self._honoured)
        return rules  # never read back from the attribute: a slower thread may put older rules there meanwhile

    @contextmanager
    def lease(self) -> Iterator[HoldRules]:
        """A bounded time in which requests may be sent, judged by the rules it gives.

        Whoever is interrupted in it (from the keyboard, by a task's time-out) keeps it until it has run out: nobody
        waited for the requests that were under way.
        """
        lease_id = secrets.token_hex(16)
        with self._governance.write() as connection:
            expires = self._governance.now(connection) + timedelta(seconds=self.lease_seconds)
            connection.execute(sa.insert(schema.lease).values(id=lease_id, run_id=self._run_id, expires_at=expires))
        try:
            yield self.current()
        except Exception:
            self._give_back(lease_id)
            raise
        self._give_back(lease_id)

    def _give_back(self, lease_id: str) -> None:
        with self._governance.write() as connection:
            connection.execute(sa.delete(schema.lease).where(schema.lease.c.id == lease_id))


def wait_for_leases(governance: Governance, timeout: float = _WAIT_SECONDS) -> None:
    """Wait until every lease that is out now has been given back or is over, and remove those that are over.

    A lease is over when it has run out both by the database's clock and by this machine's, so that neither ends one by
    leaping; and whatever they show, when it was waited for longer than any lasts.

    Raises:
        StoreUnavailable: if that takes longer than `timeout` seconds, and these are fewer.
    """
    with governance.read() as connection:
        out = set(connection.scalars(sa.select(schema.lease.c.id)))
    deadline = time.monotonic() + timeout
    over: set[str] = set()
    while out:
        late = time.monotonic() > deadline
        with governance.read() as connection:
            there = {row.id: row.expires_at for row in connection.execute(sa.select(schema.lease)) if row.id in out}
            now = min(governance.now(connection), datetime.now(UTC))
        ended = {lease for lease, expires in there.items() if expires <= now or (late and timeout >= _WAIT_SECONDS)}
        over |= ended
        out = there.keys() - ended
        if out and late:
            raise StoreUnavailable(
                f"{len(out)} leases of running erasures were not given back in {timeout:.0f} seconds: try again"
            )
        if out:
            time.sleep(_POLL_SECONDS)
    if over:  # those of killed processes, which give nothing back
        with governance.write() as connection:
            connection.execute(sa.delete(schema.lease).where(schema.lease.c.id.in_(over)))
