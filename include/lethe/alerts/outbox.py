"""The outbox: what was to be told, and whom it has not reached yet. One row a cause, so that nobody is told twice."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from lethe.alerts.alert import Alert, Kind
from lethe.governance import Governance, schema

_A_TRY = timedelta(minutes=2)
"""How long a process that is sending keeps others from it: longer than sending takes."""

KEPT = timedelta(days=400)
"""How long a cause is remembered."""

_SEEN = "seen:"
"""What causes begin with that are none, but say since when something is known."""

_TABLE = schema.alert.c


@dataclass(frozen=True, slots=True)
class Letter:
    """An alert on its way.

    Attributes:
        alert: what is told.
        unsent: the connections that it has not reached.
    """

    alert: Alert
    unsent: tuple[str, ...]


class Outbox:
    """The alerts in the governance database."""

    def __init__(self, governance: Governance) -> None:
        self._governance = governance

    def note(self, alert: Alert, connections: Sequence[str]) -> bool:
        """Note what is to be told, by which connections. False where its cause is known, and nothing changes."""
        values = {"cause": alert.cause, "alert": alert.model_dump(mode="json"), "unsent": list(connections)}
        try:
            with self._governance.write() as connection:
                now = self._governance.now(connection)
                connection.execute(sa.insert(schema.alert).values(noted_at=now, **values))
        except sa.exc.IntegrityError:
            return False
        return True

    def knows(self, cause: str) -> bool:
        """Whether a cause was noted, also of a DAG run that was cleared since (`#1` and so on)."""
        again = _TABLE.cause.startswith(f"{cause}#", autoescape=True)
        with self._governance.read() as connection:
            noted = sa.select(sa.literal(1)).where(sa.or_(_TABLE.cause == cause, again)).limit(1)
            return connection.scalar(noted) is not None

    def claim(self, cause: str) -> Letter | None:
        """Take what a cause is to be told by, unless nothing is left to be sent or another process is at it."""
        with self._governance.write() as connection:
            now = self._governance.now(connection)
            free = sa.or_(_TABLE.tried_at.is_(None), _TABLE.tried_at < now - _A_TRY)
            mine = sa.update(schema.alert).where(_TABLE.cause == cause, free).values(tried_at=now)
            if not connection.execute(mine).rowcount:
                return None
            row = connection.execute(sa.select(_TABLE.alert, _TABLE.unsent).where(_TABLE.cause == cause)).one()
        return Letter(Alert.model_validate(row.alert), tuple(row.unsent)) if row.unsent else None

    def settle(self, cause: str, unsent: Collection[str]) -> None:
        """Note which connections an alert still has not reached."""
        with self._governance.write() as connection:
            now = self._governance.now(connection)
            tried = sa.update(schema.alert).where(_TABLE.cause == cause)
            connection.execute(tried.values(unsent=list(unsent), tried_at=now))

    def known_since(self, what: str) -> datetime:
        """When this was first asked of something that nothing else tells the age of."""
        cause = f"{_SEEN}{what}"
        known = sa.select(_TABLE.noted_at).where(_TABLE.cause == cause)
        with self._governance.write() as connection:
            at: datetime | None = connection.scalar(known)
            if at is None:
                at = self._governance.now(connection)
                connection.execute(sa.insert(schema.alert).values(cause=cause, noted_at=at, alert={}, unsent=[]))
        return at

    def waiting(self) -> dict[str, tuple[str, ...]]:
        """The connections that each cause has not reached, of those that have not reached all; oldest first."""
        with self._governance.read() as connection:
            found = connection.execute(sa.select(_TABLE.cause, _TABLE.unsent).order_by(_TABLE.noted_at)).all()
        return {row.cause: tuple(row.unsent) for row in found if row.unsent}

    def over(self, kinds: Collection[Kind], still: Collection[str]) -> None:
        """Forget causes of these kinds that are no longer: should they come again, that is told."""
        begin = tuple(f"{kind}:" for kind in kinds)
        with self._governance.write() as connection:
            known = connection.scalars(sa.select(_TABLE.cause)).all()
            gone = [cause for cause in known if cause.startswith(begin) and cause not in still]
            if gone:
                connection.execute(sa.delete(schema.alert).where(_TABLE.cause.in_(gone)))

    def forget(self) -> None:
        """Remove what was noted `KEPT` ago."""
        with self._governance.write() as connection:
            old = _TABLE.noted_at < self._governance.now(connection) - KEPT
            connection.execute(sa.delete(schema.alert).where(old, ~_TABLE.cause.startswith(_SEEN)))
