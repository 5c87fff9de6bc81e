"""All that stages need from their surroundings, opened when first used and closed at the end."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from types import TracebackType
from typing import Self

from lethe.connections import Connection, Resolver
from lethe.errors import ConnectionMissing
from lethe.evidence.ledger import Ledger
from lethe.evidence.runs import Runs, RunTimeouts
from lethe.governance import CONNECTION_ID, Governance, open_governance
from lethe.holds.registry import HoldRegistry, require_own_secret
from lethe.keys import Keys, load_keys
from lethe.policy import Dataset, Policy, load, load_all
from lethe.retention_events.registry import EventRegistry
from lethe.settings import Settings
from lethe.stores import open_store
from lethe.stores.base import Store
from lethe.subjects.registry import SubjectRegistry
from lethe.surveys import Surveys


class Environment:
    """Connections, governance database, keys, policies and stores. A context manager; for one thread."""

    def __init__(self, resolve: Resolver, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._resolve = resolve
        self._stores: dict[tuple[str, str], Store] = {}

    def __enter__(self) -> Self:
        """Open nothing yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what was opened."""
        for store in self._stores.values():
            store.close()
        if "governance" in self.__dict__:
            self._end_governance()

    def _end_governance(self) -> None:
        self.governance.close()

    def connection(self, conn_id: str) -> Connection:
        """A connection by id.

        Raises:
            ConnectionMissing: if it is not defined. The governance database has no default: one that does not have
                the holds would let held records be erased.
        """
        try:
            return self._resolve(conn_id)
        except ConnectionMissing as error:
            if conn_id != CONNECTION_ID:
                raise
            raise ConnectionMissing(
                f"{error}. It says which holds are in force; nothing is done without it: see `lethe policy check`"
            ) from None

    @cached_property
    def governance(self) -> Governance:
        """The governance database."""
        return open_governance(self.connection)

    @cached_property
    def keys(self) -> Keys:
        """The keys.

        Raises:
            EvidenceError: if the master secret is not the one that the governance database was begun with. Digests made
                with it would find nothing, and say that nothing is held and nothing was erased.
        """
        keys = load_keys(self.connection)
        require_own_secret(self.governance, keys)
        return keys

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger."""
        return Ledger(self.governance)

    @cached_property
    def runs(self) -> Runs:
        """The record of runs."""
        limits = RunTimeouts(
            timedelta(seconds=self.settings.dead_after_seconds), timedelta(seconds=self.settings.claim_seconds)
        )
        return Runs(self.governance, self.ledger, limits)

    @cached_property
    def registry(self) -> HoldRegistry:
        """The hold registry, whose changes enter the ledger."""
        return HoldRegistry(self.governance, self.keys, self.ledger.append)

    @cached_property
    def surveys(self) -> Surveys:
        """What datasets had due, and will have."""
        return Surveys(self.governance)

    @cached_property
    def events(self) -> EventRegistry:
        """The registry of events that start periods, whose changes enter the ledger."""
        return EventRegistry(self.governance, self.keys, self.ledger.append)

    @cached_property
    def subjects(self) -> SubjectRegistry:
        """The registry of data subjects' requests, whose changes enter the ledger."""
        return SubjectRegistry(self.governance, self.keys, self.ledger.append)

    @cached_property
    def policies(self) -> dict[str, Policy]:
        """All policies, by category."""
        return load_all(self.settings.policies)

    def policy(self, category: str) -> Policy:
        """One policy, read from its file alone."""
        return load(self.settings.policies / f"{category}.yaml")

    def store(self, dataset: Dataset) -> Store:
        """The store of a dataset; one a connection and kind."""
        return self.open(dataset.kind, dataset.store)

    def open(self, kind: str, conn_id: str) -> Store:
        """The store for datasets of a kind behind a connection; always the same one."""
        key = (kind, conn_id)
        if key not in self._stores:
            self._stores[key] = open_store(kind, self.connection(conn_id))
        return self._stores[key]
