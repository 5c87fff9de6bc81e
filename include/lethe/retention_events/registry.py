"""The registry of events: what happened to whom, and on which day, as people recorded it.

Rows are added; what was wrong is withdrawn and recorded anew, so that what was believed when stays on record.
References are kept encrypted, with keyed digests to find them by. Every change counts the registry's version up in the
same transaction, and enters the ledger: which events were in force at a version is a function of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Any

import sqlalchemy as sa

from lethe.errors import EventError
from lethe.governance import Governance, schema
from lethe.keys import Keys
from lethe.people import is_a_name, same_person
from lethe.registry_state import next_version, require_secret_in_use
from lethe.retention_events.rules import EventsInForce, Reference

LONGEST = 200
"""Characters of a reference's part at most: more is no number of anything."""

_DIGEST_BYTES = 16
_REFERENCES = "event-references"
_SEPARATOR = "\n"  # references have no control characters
_AT_A_TIME = 1_000

Journal = Callable[[sa.Connection, str, str, Mapping[str, Any]], object]
"""Appends an entry to the ledger in a given transaction: (connection, kind, subject, body)."""

_EVENT = schema.retention_event.c


@dataclass(frozen=True, slots=True)
class RetentionEvent:
    """An event as the registry knows it, without its reference."""

    id: str
    name: str
    day: date
    recorded_by: str
    recorded_at: datetime
    confirmed_by: str | None
    confirmed_at: datetime | None
    withdrawn_by: str | None
    withdrawn_at: datetime | None
    withdrawal_binds_at: datetime | None

    @property
    def state(self) -> str:
        """In words: recorded, confirmed, withdrawn."""
        if self.withdrawn_at:
            return "withdrawn" if self.withdrawal_binds_at else "withdrawn, not yet binding"
        return "confirmed" if self.confirmed_at else "recorded"


class EventRegistry:
    """The registry in the governance database."""

    def __init__(self, governance: Governance, keys: Keys, journal: Journal) -> None:
        self.governance = governance
        self._keys = keys
        self._journal = journal

    # --- recording -----------------------------------------------------------------------------------------------

    def record(self, name: str, reference: Sequence[str], day: date, *, by: str) -> RetentionEvent:
        """Record that something happened on a day; what is judged from now on is judged by it.

        Raises:
            EventError: if the reference is none, or has such an event on record already.
        """
        whose, person = normalised(reference), _person(by)
        event_id = f"event-{secrets.token_hex(8)}"
        digest, cipher = self._digest(name, whose), self._sealed(event_id, whose)
        with self.governance.write() as connection:
            version = next_version(connection)  # first: nobody else records the same meanwhile
            require_secret_in_use(connection, self._keys)
            known = self._known(connection, name, digest)
            if known is not None:
                raise EventError(
                    f"{name} is on record for it already, of {known.day} ({known.id}): to correct it, "
                    f"`lethe event withdraw {known.id}`, and record it anew"
                )
            row = {
                "id": event_id,
                "name": name,
                "digest": digest,
                "day": day,
                "recorded_by": person,
                "recorded_at": self.governance.now(connection),
                "recorded_version": version,
            }
            connection.execute(sa.insert(schema.retention_event).values(**row, reference=cipher))
            body = {"event": name, "day": day.isoformat(), "reference": digest.hex(), "by": person, "version": version}
            self._journal(connection, "event.recorded", event_id, body)
        return self.get(event_id)

    def confirm(self, name: str, reference: Sequence[str], day: date, *, by: str) -> RetentionEvent:
        """Confirm, as a second person, what somebody else recorded: policies may ask for that.

        Who confirms names the event anew, so that a slip of the first person's shows.

        Raises:
            EventError: if no such event is on record, it has another day, was confirmed, or by who recorded it.
        """
        person, digest = _person(by), self._digest(name, normalised(reference))
        with self.governance.write() as connection:
            version = next_version(connection)
            row = self._known(connection, name, digest)
            if row is None:
                raise EventError(f"no event {name} is on record for it; `lethe event list` shows those that are")
            event_id = row.id
            if row.day != day:
                raise EventError(
                    f"event {event_id} is on record as of {row.day}, not of {day}: one of you is wrong; if the record "
                    f"is, `lethe event withdraw {event_id}`, and record it anew"
                )
            if row.confirmed_at is not None:
                raise EventError(f"event {event_id} was confirmed already, by {row.confirmed_by}: nothing is to do")
            if same_person(row.recorded_by, person):
                raise EventError(
                    f"event {event_id}: who recorded it cannot confirm it; ask somebody else to: "
                    f"`lethe event confirm {name}`, with its reference and day"
                )
            now = self.governance.now(connection)
            self._change(connection, event_id, confirmed_by=person, confirmed_at=now, confirmed_version=version)
            body = {"by": person, "recorded_by": row.recorded_by, "version": version}
            self._journal(connection, "event.confirmed", event_id, body)
        return self.get(event_id)

    def withdraw(self, event_id: str, *, by: str) -> RetentionEvent:
        """Take back an event; every batch that starts from now on keeps what it would have let go.

        `mark_withdrawal_binding` follows once the fences say that nothing that started before is under way any more.

        Raises:
            EventError: if there is no such event, or it was withdrawn.
        """
        person = _person(by)
        with self.governance.write() as connection:
            version = next_version(connection)
            row = self._require_in_force(connection, event_id)
            now = self.governance.now(connection)
            self._change(connection, event_id, withdrawn_by=person, withdrawn_at=now, withdrawn_version=version)
            body = {"event": row.name, "day": row.day.isoformat(), "by": person, "version": version}
            self._journal(connection, "event.withdrawn", event_id, body)
        return self.get(event_id)

    def mark_withdrawal_binding(self, event_id: str) -> RetentionEvent:
        """Record that a withdrawal binds: every fence has been passed. This is the acknowledgement."""
        with self.governance.write() as connection:
            now = self.governance.now(connection)
            changed = connection.execute(
                sa.update(schema.retention_event)
                .where(_EVENT.id == event_id, _EVENT.withdrawn_at.is_not(None), _EVENT.withdrawal_binds_at.is_(None))
                .values(withdrawal_binds_at=now)
            )
            if changed.rowcount:
                self._journal(connection, "event.withdrawal_binds", event_id, {"at": now.isoformat()})
        return self.get(event_id)

    @staticmethod
    def _known(connection: sa.Connection, name: str, digest: bytes) -> sa.Row[Any] | None:
        """The event of a name and a reference that is in force."""
        same = (_EVENT.name == name, _EVENT.digest == digest, _EVENT.withdrawn_at.is_(None))
        return connection.execute(sa.select(schema.retention_event).where(*same)).one_or_none()

    def _require_in_force(self, connection: sa.Connection, event_id: str) -> sa.Row[Any]:
        row = connection.execute(sa.select(schema.retention_event).where(_EVENT.id == event_id)).one_or_none()
        if row is None:
            raise _unknown(event_id)
        if row.withdrawn_at is not None:
            raise EventError(f"event {event_id} was withdrawn already; to record it anew, see `lethe event record`")
        return row

    def _change(self, connection: sa.Connection, event_id: str, **values: object) -> None:
        connection.execute(sa.update(schema.retention_event).where(_EVENT.id == event_id).values(**values))

    # --- references ----------------------------------------------------------------------------------------------

    def _digest(self, name: str, reference: Reference) -> bytes:
        return self._keys.digest(f"event-digest/{name}", _SEPARATOR.join(reference).encode())[:_DIGEST_BYTES]

    def _sealed(self, event_id: str, reference: Reference) -> bytes:
        return self._keys.encrypt(_REFERENCES, _SEPARATOR.join(reference).encode(), bound_to=event_id.encode())

    def _opened(self, event_id: str, cipher: bytes) -> Reference:
        plain = self._keys.decrypt(_REFERENCES, cipher, bound_to=event_id.encode())
        return tuple(plain.decode().split(_SEPARATOR))

    def seal_anew(self, connection: sa.Connection, new: Keys) -> None:
        """Encrypt and digest all references under another master secret, in a transaction that replaces that.

        Raises:
            EvidenceError: if the registry's secret does not open what is stored.
        """
        later = EventRegistry(self.governance, new, self._journal)
        for event_id in connection.scalars(sa.select(_EVENT.id).order_by(_EVENT.id)).all():
            row = connection.execute(sa.select(_EVENT.name, _EVENT.reference).where(_EVENT.id == event_id)).one()
            whose = self._opened(event_id, row.reference)
            self._change(
                connection, event_id, digest=later._digest(row.name, whose), reference=later._sealed(event_id, whose)
            )

    # --- reading -------------------------------------------------------------------------------------------------

    def get(self, event_id: str) -> RetentionEvent:
        """One event.

        Raises:
            EventError: if there is none of that id.
        """
        with self.governance.read() as connection:
            row = connection.execute(sa.select(schema.retention_event).where(_EVENT.id == event_id)).one_or_none()
        if row is None:
            raise _unknown(event_id)
        return _event(row)

    def events(
        self, *, name: str | None = None, reference: Sequence[str] | None = None, withdrawn: bool = False
    ) -> list[RetentionEvent]:
        """The events in force, the latest last: all, or those of a name or of a reference; or with those withdrawn."""
        query = sa.select(schema.retention_event).order_by(_EVENT.recorded_version)
        if not withdrawn:
            query = query.where(_EVENT.withdrawn_at.is_(None))
        if name is not None:
            query = query.where(_EVENT.name == name)
        with self.governance.read() as connection:
            rows = connection.execute(query).all()
        whose = None if reference is None else normalised(reference)
        return [_event(row) for row in rows if whose is None or row.digest == self._digest(row.name, whose)]

    def reference_of(self, event_id: str) -> Reference:
        """Whose event it is. It may be personal data.

        Raises:
            EventError: if there is none of that id.
        """
        with self.governance.read() as connection:
            cipher = connection.scalar(sa.select(_EVENT.reference).where(_EVENT.id == event_id))
        if cipher is None:
            raise _unknown(event_id)
        return self._opened(event_id, cipher)

    def in_force(self, name: str, *, two_people: bool, version: int) -> EventsInForce:
        """The events of a name as they were at a version of the registry; with `two_people`, the confirmed ones."""
        changes = (_EVENT.recorded_version, _EVENT.confirmed_version, _EVENT.withdrawn_version)
        latest = [sa.select(sa.func.max(one)).where(_EVENT.name == name, one <= version) for one in changes]
        with self.governance.read() as connection:
            changed = max((connection.scalar(one) or 0) for one in latest)
        since = _EVENT.confirmed_version if two_people else _EVENT.recorded_version
        in_force = sa.and_(
            _EVENT.name == name,
            since <= version,
            sa.or_(_EVENT.withdrawn_version.is_(None), _EVENT.withdrawn_version > version),
        )
        return EventsInForce(name, changed, partial(self._read, in_force))

    def _read(self, chosen: sa.ColumnElement[bool]) -> Iterator[list[tuple[Reference, date]]]:
        """The chosen events, some at a time: nothing here keeps them."""
        after = ""
        page = sa.select(_EVENT.id, _EVENT.reference, _EVENT.day).where(chosen).order_by(_EVENT.id).limit(_AT_A_TIME)
        while True:
            with self.governance.read() as connection:
                rows = connection.execute(page.where(_EVENT.id > after)).all()
            yield [(self._opened(row.id, row.reference), row.day) for row in rows]
            if len(rows) < _AT_A_TIME:
                return
            after = rows[-1].id


def normalised(reference: Sequence[str]) -> Reference:
    """A reference as it is kept: without blanks around its parts, which the values that refer to it do not have.

    Raises:
        EventError: if a part of it cannot be one. The part is not repeated.
    """
    parts = tuple(part.strip() for part in reference)
    for number, part in enumerate(parts, start=1):
        if not part or not part.isprintable():
            raise EventError(
                f"part {number} of the reference is empty, or not plain text on one line: write what rows have"
            )
        if len(part) > LONGEST:
            raise EventError(
                f"part {number} of the reference is longer than {LONGEST} characters: write what rows have"
            )
    if not parts:
        raise EventError("the event has no reference: say whose it is")
    return parts


def _person(name: str) -> str:
    words = name.strip()
    if not words.isprintable() or not is_a_name(words):
        raise EventError("an event needs a name of who does this, in one line: say who you are with --by")
    return words


def _unknown(event_id: str) -> EventError:
    return EventError(f"there is no event {event_id}; `lethe event list --all` shows all")


def _event(row: sa.Row[Any]) -> RetentionEvent:
    return RetentionEvent(**{name: getattr(row, name) for name in RetentionEvent.__dataclass_fields__})
