"""The registry of data subjects' requests: who asked for what, when it is due, and what became of it.

Rows are added and end: answered, or cancelled. Identifiers are kept encrypted. Every change counts the registry's
version up in the same transaction, and enters the ledger, which has no identifier.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from lethe.errors import SubjectRequestError
from lethe.governance import Governance, schema
from lethe.judging.identifiers import IdentifierType, normalise, require_region
from lethe.keys import Keys
from lethe.people import is_a_name, same_person
from lethe.policy.on_request import RequestKind
from lethe.registry_state import next_version, require_secret_in_use
from lethe.subjects.rules import due_on

MOST = 200
"""Identifiers of one request at most: it is of one person."""

LATEST = 2**62
"""A version of the registry that is later than all."""

Named = Mapping[IdentifierType, Sequence[str]]
"""Identifiers by type. They are personal data."""
Journal = Callable[[sa.Connection, str, str, Mapping[str, Any]], object]
"""Appends an entry to the ledger in a given transaction: (connection, kind, subject, body)."""

_SEALED_FOR = "subject-identifiers"
_SEPARATOR = "\n"  # identifiers have no control characters
_REQUEST = schema.subject_request.c


@dataclass(frozen=True, slots=True)
class SubjectRequest:
    """A request as the registry knows it, without its identifiers."""

    id: str
    kind: RequestKind
    reference: str
    received: date
    identifier_counts: Mapping[IdentifierType, int]
    recorded_by: str
    recorded_at: datetime
    confirmed_by: str | None
    confirmed_at: datetime | None
    extension: str | None
    extended_by: str | None
    extended_at: datetime | None
    answer: str | None
    answered_by: str | None
    answered_at: datetime | None
    cancelled_because: str | None
    cancelled_by: str | None
    cancelled_at: datetime | None
    cancellation_binds_at: datetime | None

    @property
    def due(self) -> date:
        """The last day on which it is answered in time."""
        return due_on(self.kind, self.received, extended=self.extended_at is not None)

    @property
    def ended(self) -> bool:
        """Whether it was answered or cancelled."""
        return self.answered_at is not None or self.cancelled_at is not None

    @property
    def waits_for_confirmation(self) -> bool:
        """Whether a second person has to confirm it before anything may go by it."""
        return self.kind.erases and self.confirmed_at is None and not self.ended

    def state(self, today: date) -> str:
        """In words: open, overdue, answered, cancelled."""
        if self.cancelled_at is not None:
            return "cancelled" if self.cancellation_binds_at else "cancelled, not yet binding"
        if self.answered_at is not None:
            return "answered"
        return "overdue" if today > self.due else "open"


class SubjectRegistry:
    """The registry in the governance database."""

    def __init__(self, governance: Governance, keys: Keys, journal: Journal) -> None:
        self.governance = governance
        self._keys = keys
        self._journal = journal

    # --- what becomes of a request -------------------------------------------------------------------------------

    def record(self, kind: RequestKind, named: Named, received: date, *, reference: str, by: str) -> SubjectRequest:
        """Record a request.

        Args:
            kind: what is asked.
            named: the person's identifiers, as `normalised` gives them.
            received: the local day on which it came in.
            reference: of its file. No personal data.
            by: who records it.

        Raises:
            SubjectRequestError: if it names nobody, or more than one person can have, or has no reference.
        """
        words, person = _line("reference of its file", reference), _person(by)
        counts = {kind_.value: len(values) for kind_, values in named.items() if values}
        if not counts or sum(counts.values()) > MOST:
            raise SubjectRequestError(
                f"a request is of one person, with 1 to {MOST} identifiers, not {sum(counts.values())}: give those "
                "by which the person's records are found"
            )
        request_id = f"request-{secrets.token_hex(8)}"
        sealed = self._sealed(request_id, named)
        row: dict[str, Any] = {"id": request_id, "kind": kind.value, "reference": words, "received": received}
        row |= {"identifier_counts": counts, "recorded_by": person}
        with self.governance.write() as connection:
            version = next_version(connection)
            require_secret_in_use(connection, self._keys)
            mine = {"recorded_at": self.governance.now(connection), "recorded_version": version, "identifiers": sealed}
            connection.execute(sa.insert(schema.subject_request).values(**row, **mine))
            due = due_on(kind, received).isoformat()
            body = {**row, "received": received.isoformat(), "due": due, "version": version}
            self._journal(connection, "request.recorded", request_id, body)
        return self.get(request_id)

    def confirm(self, request_id: str, named: Named, *, by: str) -> SubjectRequest:
        """Confirm, as a second person who names the person anew, a request by which records may go.

        Raises:
            SubjectRequestError: if there is nothing to confirm, other identifiers are on record, or the same person
                recorded it.
        """
        person = _person(by)
        with self.governance.write() as connection:
            version = next_version(connection)
            request, sealed = self._open(connection, request_id)
            if not request.waits_for_confirmation:
                why = (
                    "was confirmed already"
                    if request.kind.erases
                    else f"is one of {request.kind}, by which nothing goes"
                )
                raise SubjectRequestError(f"request {request_id} {why}: nothing is to do")
            if same_person(request.recorded_by, person):
                raise SubjectRequestError(
                    f"request {request_id}: who recorded it cannot confirm it; ask somebody else to: "
                    f"`lethe subject confirm {request_id}`, with the person's identifiers"
                )
            if _as_sets(named) != _as_sets(self._opened(request_id, sealed)):
                raise SubjectRequestError(
                    f"request {request_id} is on record with other identifiers: one of you is wrong; if the record is, "
                    f"`lethe subject cancel {request_id}`, and record it anew"
                )
            now = self.governance.now(connection)
            self._change(connection, request_id, confirmed_by=person, confirmed_at=now, confirmed_version=version)
            body = {"by": person, "recorded_by": request.recorded_by, "version": version}
            self._journal(connection, "request.confirmed", request_id, body)
        return self.get(request_id)

    def extend(self, request_id: str, reason: str, *, by: str, today: date) -> SubjectRequest:
        """Extend the period by two further months, which the person is told with the reason (Article 12(3)).

        Raises:
            SubjectRequestError: if it has ended, was extended, or the first month is over.
        """
        words, person = _line("reason", reason), _person(by)
        with self.governance.write() as connection:
            version = next_version(connection)
            request, _ = self._open(connection, request_id)
            if not request.kind.extends or request.extended_at is not None:
                why = "was extended already" if request.kind.extends else "is to be done at once"
                raise SubjectRequestError(f"request {request_id} {why}: answer it by {request.due}")
            if today > request.due:
                raise SubjectRequestError(
                    f"request {request_id} was due on {request.due}, and can be extended only until then (Article "
                    "12(3) GDPR): answer it now"
                )
            now = self.governance.now(connection)
            self._change(connection, request_id, extension=words, extended_by=person, extended_at=now)
            due = due_on(request.kind, request.received, extended=True).isoformat()
            body = {"by": person, "reason": words, "due": due, "version": version}
            self._journal(connection, "request.extended", request_id, body)
        return self.get(request_id)

    def answer(self, request_id: str, words: str, *, by: str) -> SubjectRequest:
        """Record that the person was answered: nothing goes by the request from then on.

        Raises:
            SubjectRequestError: if there is no such request, or it has ended.
        """
        said, person = _line("answer in a few words", words), _person(by)
        with self.governance.write() as connection:
            version = next_version(connection)
            self._open(connection, request_id)
            now = self.governance.now(connection)
            values = {"answer": said, "answered_by": person, "answered_at": now, "ended_version": version}
            self._change(connection, request_id, **values)
            self._journal(
                connection, "request.answered", request_id, {"by": person, "answer": said, "version": version}
            )
        return self.get(request_id)

    def cancel(self, request_id: str, reason: str, *, by: str) -> SubjectRequest:
        """Take back a request that was wrong, or that the person withdrew; what starts from now on keeps to it.

        `mark_cancellation_binding` follows once nothing that started before is under way any more.

        Raises:
            SubjectRequestError: if there is no such request, or it has ended.
        """
        words, person = _line("reason", reason), _person(by)
        with self.governance.write() as connection:
            version = next_version(connection)
            self._open(connection, request_id)
            now = self.governance.now(connection)
            values = {"cancelled_because": words, "cancelled_by": person, "cancelled_at": now, "ended_version": version}
            self._change(connection, request_id, **values)
            body = {"by": person, "reason": words, "version": version}
            self._journal(connection, "request.cancelled", request_id, body)
        return self.get(request_id)

    def mark_cancellation_binding(self, request_id: str) -> SubjectRequest:
        """Record that a cancellation binds: every fence has been passed. This is the acknowledgement."""
        with self.governance.write() as connection:
            now = self.governance.now(connection)
            changed = connection.execute(
                sa.update(schema.subject_request)
                .where(
                    _REQUEST.id == request_id,
                    _REQUEST.cancelled_at.is_not(None),
                    _REQUEST.cancellation_binds_at.is_(None),
                )
                .values(cancellation_binds_at=now)
            )
            if changed.rowcount:
                self._journal(connection, "request.cancellation_binds", request_id, {"at": now.isoformat()})
        return self.get(request_id)

    def _open(self, connection: sa.Connection, request_id: str) -> tuple[SubjectRequest, bytes]:
        """A request that has not ended, with its identifiers as they are sealed."""
        row = connection.execute(_of(request_id)).one_or_none()
        if row is None:
            raise _unknown(request_id)
        request = _request(row)
        if request.ended:
            what = "cancelled" if request.cancelled_at else "answered"
            raise SubjectRequestError(
                f"request {request_id} was {what} already; for another one, see `lethe subject request`"
            )
        return request, row.identifiers

    def _change(self, connection: sa.Connection, request_id: str, **values: object) -> None:
        connection.execute(sa.update(schema.subject_request).where(_REQUEST.id == request_id).values(**values))

    # --- identifiers ---------------------------------------------------------------------------------------------

    def _sealed(self, request_id: str, named: Named) -> bytes:
        lines = [f"{kind.value} {value}" for kind, values in named.items() for value in values]
        return self._keys.encrypt(_SEALED_FOR, _SEPARATOR.join(lines).encode(), bound_to=request_id.encode())

    def _opened(self, request_id: str, sealed: bytes) -> dict[IdentifierType, list[str]]:
        plain = self._keys.decrypt(_SEALED_FOR, sealed, bound_to=request_id.encode()).decode()
        found: dict[IdentifierType, list[str]] = {}
        for line in plain.split(_SEPARATOR):
            kind, _, value = line.partition(" ")
            found.setdefault(IdentifierType(kind), []).append(value)
        return found

    def identifiers_of(self, request_id: str) -> dict[IdentifierType, list[str]]:
        """Whose request it is. Personal data.

        Raises:
            SubjectRequestError: if there is none of that id.
        """
        with self.governance.read() as connection:
            row = connection.execute(_of(request_id)).one_or_none()
        if row is None:
            raise _unknown(request_id)
        return self._opened(request_id, row.identifiers)

    def seal_anew(self, connection: sa.Connection, new: Keys) -> None:
        """Encrypt all identifiers under another master secret, in a transaction that replaces that.

        Raises:
            EvidenceError: if the registry's secret does not open what is stored.
        """
        later = SubjectRegistry(self.governance, new, self._journal)
        for request_id in connection.scalars(sa.select(_REQUEST.id).order_by(_REQUEST.id)).all():
            sealed = connection.scalar(sa.select(_REQUEST.identifiers).where(_REQUEST.id == request_id))
            assert sealed is not None  # noqa: S101 - nothing removes rows
            self._change(
                connection, request_id, identifiers=later._sealed(request_id, self._opened(request_id, sealed))
            )

    # --- reading -------------------------------------------------------------------------------------------------

    def get(self, request_id: str) -> SubjectRequest:
        """One request.

        Raises:
            SubjectRequestError: if there is none of that id.
        """
        with self.governance.read() as connection:
            row = connection.execute(_of(request_id)).one_or_none()
        if row is None:
            raise _unknown(request_id)
        return _request(row)

    def requests(self, *, ended: bool = False) -> list[SubjectRequest]:
        """The open requests, the one that is due first at the top; with `ended`, all there ever were."""
        query = sa.select(schema.subject_request).order_by(_REQUEST.recorded_version)
        if not ended:
            query = query.where(_REQUEST.ended_version.is_(None))
        with self.governance.read() as connection:
            found = [_request(row) for row in connection.execute(query)]
        return sorted(found, key=lambda one: one.due)

    def binding(self, kinds: Set[RequestKind], version: int = LATEST) -> list[SubjectRequest]:
        """The requests of some kinds that were confirmed and open at a version of the registry: records go by them."""
        query = sa.select(schema.subject_request).where(
            _REQUEST.kind.in_([kind.value for kind in kinds]),
            _REQUEST.confirmed_version <= version,
            sa.or_(_REQUEST.ended_version.is_(None), _REQUEST.ended_version > version),
        )
        with self.governance.read() as connection:
            return [_request(row) for row in connection.execute(query.order_by(_REQUEST.confirmed_version))]


def normalised(named: Named, region: str | None) -> dict[IdentifierType, list[str]]:
    """Identifiers in their normal form, each once.

    Raises:
        SubjectRequestError: if one cannot be such an identifier; says which by its position, never its text.
    """
    result: dict[IdentifierType, list[str]] = {}
    for kind, texts in named.items():
        for position, text in enumerate(texts, start=1):
            try:
                if region is not None:
                    require_region(region)
                value = normalise(kind, text, region=region)
            except ValueError as error:
                raise SubjectRequestError(
                    f"{kind} number {position}: {error}; correct it, nothing was recorded"
                ) from None
            if value not in result.setdefault(kind, []):
                result[kind].append(value)
    return result


def _as_sets(named: Named) -> dict[IdentifierType, set[str]]:
    return {kind: set(values) for kind, values in named.items() if values}


def _of(request_id: str) -> sa.Select[Any]:
    return sa.select(schema.subject_request).where(_REQUEST.id == request_id)


def _line(what: str, text: str) -> str:
    words = text.strip()
    if not words or not words.isprintable():
        raise SubjectRequestError(f"a request needs a {what}, in one line of plain text: give one")
    return words


def _person(name: str) -> str:
    words = _line("name of who does this", name)
    if not is_a_name(words):
        raise SubjectRequestError("a request needs a name of who does this: say who you are with --by")
    return words


def _unknown(request_id: str) -> SubjectRequestError:
    return SubjectRequestError(f"there is no request {request_id}; `lethe subject list --all` shows all")


def _request(row: sa.Row[Any]) -> SubjectRequest:
    fields = {name: getattr(row, name) for name in SubjectRequest.__dataclass_fields__}
    counts = {IdentifierType(kind): count for kind, count in row.identifier_counts.items()}
    return SubjectRequest(**{**fields, "kind": RequestKind(row.kind), "identifier_counts": counts})
