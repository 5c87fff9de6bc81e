"""The hold registry: matters, what they cover, and the two people that a release takes.

Identifiers are kept encrypted, with keyed digests to find them by. Every change counts the registry's version up in the
same transaction, and enters the ledger.
"""

from __future__ import annotations

import csv
import hmac
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from lethe.errors import HoldError
from lethe.governance import Governance, schema
from lethe.holds.rules import Asked, ClockRange, HoldKind, HoldRule, HoldRules
from lethe.holds.workbook import NoWorkbook, is_workbook
from lethe.holds.workbook import rows as rows_of_workbook
from lethe.judging.identifiers import IdentifierType, keys, names, normalise, require_region
from lethe.keys import Keys
from lethe.people import is_a_name, same_person
from lethe.policy import ColumnClock, Dataset, Policy
from lethe.policy.on_request import RequestKind
from lethe.registry_state import next_version, require_same_secret, require_secret_in_use, version_of
from lethe.retention_events.registry import EventRegistry
from lethe.retention_events.rules import EventsInForce
from lethe.subjects.registry import SubjectRegistry

_CHUNK = 10_000
_DIGEST_BYTES = 16
_IDENTIFIERS = "hold-identifiers"
_SEPARATOR = "\n"  # identifiers never contain control characters

Journal = Callable[[sa.Connection, str, str, Mapping[str, Any]], object]
"""Appends an entry to the ledger in a given transaction: (connection, kind, subject, body)."""


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """What somebody asks to be held. Conditions combine: a record is held that meets all that are given.

    Attributes:
        identifiers: by type, as people write them; empty: all records in the other conditions.
        categories: empty: all.
        datasets: written ``category.dataset``; empty: all.
        region: country of national telephone numbers (ISO 3166).
    """

    matter: str
    reason: str
    kind: HoldKind = HoldKind.LEGAL_HOLD
    identifiers: Mapping[IdentifierType, Sequence[str]] = field(default_factory=dict, repr=False)
    categories: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    clock: ClockRange = field(default_factory=ClockRange)
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold as the registry knows it, without its identifiers."""

    id: str
    kind: HoldKind
    matter: str
    reason: str
    placed_by: str
    placed_at: datetime
    version: int
    categories: tuple[str, ...]
    datasets: tuple[str, ...]
    clock: ClockRange
    identifier_counts: Mapping[IdentifierType, int]
    in_force_at: datetime | None
    release_proposed_by: str | None
    release_proposed_at: datetime | None
    released_by: str | None
    released_at: datetime | None

    @property
    def state(self) -> str:
        """In words: in force, release proposed, released, or not yet in force."""
        if self.released_at:
            return "released"
        if self.release_proposed_at:
            return "release proposed"
        return "in force" if self.in_force_at else "not yet in force"

    def concerns(self, category: str, dataset: str) -> bool:
        """Whether its categories and datasets include a dataset."""
        return (not self.categories or category in self.categories) and (
            not self.datasets or f"{category}.{dataset}" in self.datasets
        )


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a hold covers, and what it cannot cover, said before it is placed.

    Attributes:
        covered: datasets (``category.dataset``) in which it can find records.
        uncovered: dataset → why none of its identifiers can be found there.
        partly: covered datasets of which a part is not looked at → which, and why.
    """

    covered: tuple[str, ...]
    uncovered: Mapping[str, str]
    partly: Mapping[str, str] = field(default_factory=dict)


class HoldRegistry:
    """The registry in the governance database."""

    def __init__(self, governance: Governance, keys: Keys, journal: Journal) -> None:
        self.governance = governance
        self._keys = keys
        self._journal = journal

    # --- placing -----------------------------------------------------------------------------------------------

    def place(self, request: HoldRequest, *, by: str, policies: Mapping[str, Policy]) -> Hold:
        """Record a hold; every batch that starts from now on sees it.

        `mark_in_force` follows once the fences say that nothing that started before is under way any more.

        Raises:
            HoldError: if it is not well formed, names a category or dataset that does not exist, or covers nothing.
        """
        coverage(request, policies)
        matter, reason = _words("matter (its reference)", request.matter), _words("reason", request.reason)
        person = _person(by)
        identifiers = normalised(request)
        hold_id = f"hold-{secrets.token_hex(8)}"
        sealed = list(self._sealed(hold_id, identifiers))  # before the transaction, which others wait for
        with self.governance.write() as connection:
            version = next_version(connection)
            require_secret_in_use(connection, self._keys)  # whose replacement waits for the version, and it for that
            row: dict[str, Any] = {
                "id": hold_id,
                "kind": request.kind.value,
                "matter": matter,
                "reason": reason,
                "placed_by": person,
                "placed_at": self.governance.now(connection),
                "version": version,
                "categories": list(request.categories),
                "datasets": list(request.datasets),
                "clock_first": request.clock.first,
                "clock_last": request.clock.last,
                "identifier_counts": {kind.value: len(values) for kind, values in identifiers.items()},
            }
            connection.execute(sa.insert(schema.hold).values(**row))
            for chunk, digests in sealed:
                connection.execute(sa.insert(schema.hold_identifiers).values(**chunk))
                _insert_digests(connection, hold_id, chunk["type"], digests)
            self._journal(connection, "hold.placed", hold_id, _public(row))
        return self.get(hold_id)

    def mark_in_force(self, hold_id: str) -> Hold:
        """Record that a hold binds: every fence has been passed. This is the acknowledgement."""
        with self.governance.write() as connection:
            now = self.governance.now(connection)
            changed = connection.execute(
                sa.update(schema.hold)
                .where(schema.hold.c.id == hold_id, schema.hold.c.in_force_at.is_(None))
                .values(in_force_at=now)
            )
            if changed.rowcount:
                self._journal(connection, "hold.in_force", hold_id, {"at": now.isoformat()})
        return self.get(hold_id)

    def _sealed(
        self, hold_id: str, identifiers: Mapping[IdentifierType, Sequence[str]]
    ) -> Iterator[tuple[dict[str, Any], list[bytes]]]:
        """Rows of `hold_identifiers`, each with the digests of its identifiers, in the order of the digests.

        Sorted, they are inserted fast, and do not say in which order the identifiers were given.
        """
        chunks = [(kind, chunk) for kind, values in identifiers.items() for chunk in _chunks(values)]
        for n, (kind, chunk) in enumerate(chunks):
            context = _context(hold_id, n, kind.value)
            cipher = self._keys.encrypt(_IDENTIFIERS, _SEPARATOR.join(chunk).encode(), bound_to=context)
            row = {"hold_id": hold_id, "n": n, "type": kind.value, "count": len(chunk), "ciphertext": cipher}
            yield row, sorted(self._digests(kind, chunk))

    def _digests(self, kind: IdentifierType, values: Iterable[str]) -> Iterator[bytes]:
        key = self._keys.derive(f"hold-digest/{kind.value}")
        for value in values:
            yield hmac.digest(key, value.encode(), "sha256")[:_DIGEST_BYTES]

    # --- under another secret ------------------------------------------------------------------------------------

    def seal_anew(self, connection: sa.Connection, new: Keys) -> None:
        """Encrypt and digest the identifiers of all holds under another master secret, which is in use from then on.

        All in the given transaction: whoever reads has them all under one secret. Nothing is placed or released until
        that ends. Memory: 10,000 identifiers.

        Raises:
            EvidenceError: if the registry's secret is not the one in use, or does not open what is stored.
        """
        next_version(connection)
        require_secret_in_use(connection, self._keys)
        table = schema.hold_identifiers
        later = HoldRegistry(self.governance, new, self._journal)
        connection.execute(sa.delete(schema.hold_digest))
        places = sa.select(table.c.hold_id, table.c.n).order_by(table.c.hold_id, table.c.n)
        for place in connection.execute(places).all():
            mine = (table.c.hold_id == place.hold_id, table.c.n == place.n)
            row = connection.execute(sa.select(table.c.type, table.c.ciphertext).where(*mine)).one()
            context = _context(place.hold_id, place.n, row.type)
            plain = self._keys.decrypt(_IDENTIFIERS, row.ciphertext, bound_to=context)
            cipher = new.encrypt(_IDENTIFIERS, plain, bound_to=context)
            connection.execute(sa.update(table).where(*mine).values(ciphertext=cipher))
            values = plain.decode().split(_SEPARATOR)
            digests = sorted(later._digests(IdentifierType(row.type), values))
            _insert_digests(connection, place.hold_id, row.type, digests)
        connection.execute(sa.update(schema.registry_state).values(secret_check=new.check))

    # --- releasing: one proposes, another confirms ---------------------------------------------------------------

    def propose_release(self, hold_id: str, *, by: str) -> Hold:
        """Propose to release a hold. It stays in force until somebody else confirms.

        Raises:
            HoldError: if there is no such hold in force.
        """
        with self.governance.write() as connection:
            self._require_in_force(connection, hold_id)
            values = {
                "release_proposed_by": _person(by),
                "release_proposed_at": self.governance.now(connection),
            }
            connection.execute(sa.update(schema.hold).where(schema.hold.c.id == hold_id).values(**values))
            self._journal(connection, "hold.release_proposed", hold_id, {"by": _person(by)})
        return self.get(hold_id)

    def confirm_release(self, hold_id: str, *, by: str) -> Hold:
        """Release a hold that somebody else proposed to release. The next run takes what it held.

        Raises:
            HoldError: if no release was proposed, or by the same person (no conflict of interest).
        """
        with self.governance.write() as connection:
            version = next_version(connection)  # first: who seals anew has it, and then refers to the holds
            row = self._require_in_force(connection, hold_id)
            if row.release_proposed_by is None:
                raise HoldError(
                    f"hold {hold_id}: nobody has proposed its release: `lethe hold propose-release {hold_id}`"
                )
            if same_person(row.release_proposed_by, _person(by)):
                raise HoldError(
                    f"hold {hold_id}: who proposed its release cannot confirm it; ask somebody else to: "
                    f"`lethe hold release {hold_id}`"
                )
            values = {
                "released_by": _person(by),
                "released_at": self.governance.now(connection),
                "release_version": version,
            }
            connection.execute(sa.update(schema.hold).where(schema.hold.c.id == hold_id).values(**values))
            body = {"by": _person(by), "proposed_by": row.release_proposed_by, "matter": row.matter}
            self._journal(connection, "hold.released", hold_id, body)
        return self.get(hold_id)

    def _require_in_force(self, connection: sa.Connection, hold_id: str) -> sa.Row[Any]:
        row = connection.execute(
            sa.select(schema.hold).where(schema.hold.c.id == hold_id).with_for_update()
        ).one_or_none()
        if row is None:
            raise HoldError(f"there is no hold {hold_id}; `lethe hold list` shows all")
        if row.released_at is not None:
            raise HoldError(
                f"hold {hold_id} was released already; to hold the records again, see `lethe hold place --help`"
            )
        return row

    # --- reading -------------------------------------------------------------------------------------------------

    def get(self, hold_id: str) -> Hold:
        """One hold.

        Raises:
            HoldError: if there is none of that id.
        """
        with self.governance.read() as connection:
            row = connection.execute(sa.select(schema.hold).where(schema.hold.c.id == hold_id)).one_or_none()
        if row is None:
            raise HoldError(f"there is no hold {hold_id}; `lethe hold list` shows all")
        return _hold(row)

    def holds(self, *, released: bool = False) -> list[Hold]:
        """All holds that bind, whether or not their fences have been passed; with `released`, all there ever were."""
        query = sa.select(schema.hold).order_by(schema.hold.c.version)
        if not released:
            query = query.where(schema.hold.c.released_at.is_(None))
        with self.governance.read() as connection:
            return [_hold(row) for row in connection.execute(query)]

    def find(self, kind: IdentifierType, text: str, *, region: str | None = None) -> list[Hold]:
        """The holds that bind and would hold a record with an identifier.

        Most are found by digest. In all others the identifiers themselves are compared, as stores compare them:
        versions before 0.2 kept another form, and one number may have been given with its country and without.

        Raises:
            HoldError: if the text cannot be such an identifier.
        """
        normal = _normalise(kind, text, region)
        query = sa.select(schema.hold_digest.c.hold_id).where(
            schema.hold_digest.c.digest.in_(list(self._digests(kind, [normal]))),
            schema.hold_digest.c.type == kind.value,
        )
        with self.governance.read() as connection:
            found = set(connection.scalars(query))
        sought = frozenset(keys(kind, normal, region))
        return [
            hold
            for hold in self.holds()
            if kind in hold.identifier_counts and (hold.id in found or self._has(hold, kind, sought))
        ]

    def _has(self, hold: Hold, kind: IdentifierType, sought: Set[str]) -> bool:
        values = self._identifiers(hold.id, frozenset({kind}))[kind]
        return any(not sought.isdisjoint(names(kind, value)) for value in values)

    def rules(self, category: str, dataset: Dataset, honoured: Set[RequestKind] = frozenset()) -> HoldRules:
        """The rules that bind for a dataset, with the events that it is judged by, as of a version of the registry.

        Args:
            category: of the dataset.
            dataset: which one.
            honoured: the kinds of requests that records may go by: of a run on request, those that its policy names.
        """
        # The version is read first: should a hold come in between, the rules are newer than their version says, and
        # are read again.
        with self.governance.read() as connection:
            version = version_of(connection)
        rules = [self._rule(hold, dataset.carried) for hold in self.holds() if hold.concerns(category, dataset.name)]
        events = self._events_of(dataset, version)
        asked = tuple(self._asked(dataset, honoured, version)) if honoured else ()
        return HoldRules(version, tuple(rule for rule in rules if rule.everything or rule.types), events, asked)

    def _asked(self, dataset: Dataset, honoured: Set[RequestKind], version: int) -> Iterator[Asked]:
        """The requests by which its records may go."""
        subjects = SubjectRegistry(self.governance, self._keys, self._journal)
        for request in subjects.binding(honoured, version):
            if dataset.carried & set(request.identifier_counts):
                yield Asked(request.id, partial(subjects.identifiers_of, request.id))

    def _events_of(self, dataset: Dataset, version: int) -> EventsInForce | None:
        """The events that start the periods of its records; None where a column does."""
        clock = dataset.clock
        if not isinstance(clock, ColumnClock) or clock.event is None:
            return None
        events = EventRegistry(self.governance, self._keys, self._journal)
        return events.in_force(clock.event, two_people=bool(clock.two_people), version=version)

    def _rule(self, hold: Hold, carried: frozenset[IdentifierType]) -> HoldRule:
        types = frozenset(hold.identifier_counts) & carried
        return HoldRule(
            hold=hold.id,
            matter=hold.matter,
            version=hold.version,
            everything=not hold.identifier_counts,
            types=types,
            clock=hold.clock,
            load=lambda: self._identifiers(hold.id, types),  # anew each time: nothing here keeps them
        )

    def _identifiers(self, hold_id: str, types: frozenset[IdentifierType]) -> dict[IdentifierType, list[str]]:
        table = schema.hold_identifiers.c
        query = sa.select(table.n, table.type, table.ciphertext).where(
            table.hold_id == hold_id, table.type.in_([kind.value for kind in types])
        )
        found: dict[IdentifierType, list[str]] = {kind: [] for kind in types}
        with self.governance.read() as connection:
            for n, kind, cipher in connection.execute(query.order_by(table.n)):
                plain = self._keys.decrypt(_IDENTIFIERS, cipher, bound_to=_context(hold_id, n, kind))
                found[IdentifierType(kind)].extend(plain.decode().split(_SEPARATOR))
        return found


def require_own_secret(governance: Governance, keys: Keys) -> None:
    """See that the master secret is the one that the governance database was begun with; the first use begins it.

    Raises:
        EvidenceError: if it is another one.
    """
    state = schema.registry_state
    with governance.read() as connection:
        known = connection.scalar(sa.select(state.c.secret_check))
        sealed = (
            connection.execute(sa.select(schema.hold_identifiers).limit(1)).one_or_none() if known is None else None
        )
    if known is None:
        if sealed is not None:  # of a version without the check: what is there has to open
            context = _context(sealed.hold_id, sealed.n, sealed.type)
            keys.decrypt(_IDENTIFIERS, sealed.ciphertext, bound_to=context)
        with governance.write() as connection:
            connection.execute(sa.update(state).where(state.c.secret_check.is_(None)).values(secret_check=keys.check))
            known = connection.scalar(sa.select(state.c.secret_check))
    require_same_secret(known, keys)


def _context(hold_id: str, n: int, kind: str) -> bytes:
    """What the ciphertext of some identifiers is bound to, so that it counts for no other hold, place or type."""
    return f"{hold_id}/{n}/{kind}".encode()


def coverage(request: HoldRequest, policies: Mapping[str, Policy]) -> Coverage:
    """Where a hold would find records, and where not.

    Raises:
        HoldError: if it names a category or dataset that does not exist, or could not find a record anywhere.
    """
    unknown = [name for name in request.categories if name not in policies]
    names = {f"{policy.category}.{dataset.name}" for policy in policies.values() for dataset in policy.datasets}
    unknown += [name for name in request.datasets if name not in names]
    if unknown:
        raise HoldError(f"no such category or dataset: {', '.join(unknown)}; write categories, or category.dataset")
    first, last = request.clock.first, request.clock.last
    if first and last and first > last:
        raise HoldError("the clock range ends before it starts: give an earlier --clock-from, or a later --clock-to")
    covered, uncovered = [], {}
    for policy in policies.values():
        for dataset in policy.datasets:
            name = f"{policy.category}.{dataset.name}"
            if request.categories and policy.category not in request.categories:
                continue
            if request.datasets and name not in request.datasets:
                continue
            if not request.identifiers or set(request.identifiers) & dataset.carried:
                covered.append(name)
            else:
                carries = ", ".join(sorted(dataset.carried)) or "no identifiers"
                uncovered[name] = f"it carries {carries}, not {', '.join(sorted(request.identifiers))}"
    if not covered:
        reasons = "; ".join(f"{name}: {why}" for name, why in uncovered.items())
        raise HoldError(
            f"the hold would cover nothing{': ' + reasons if reasons else ''}; name other categories or datasets, or "
            "identifiers that they carry"
        )
    if not (request.identifiers or request.categories or request.datasets or first or last):
        raise HoldError("the hold names nothing: give identifiers, categories, datasets or a clock range")
    return Coverage(tuple(covered), uncovered)


def normalised(request: HoldRequest) -> dict[IdentifierType, list[str]]:
    """The identifiers of a request, normalised, each once.

    Raises:
        HoldError: if one cannot be such an identifier; says which by its position, never its text.
    """
    _known(request.region)
    result: dict[IdentifierType, list[str]] = {}
    for kind, texts in request.identifiers.items():
        values: dict[str, None] = {}
        for position, text in enumerate(texts, start=1):
            try:
                values[normalise(kind, text, region=request.region)] = None
            except ValueError as error:
                raise HoldError(f"{kind} number {position}: {error}; correct it, nothing was placed") from None
        if not values:
            raise HoldError(
                f"the hold names {kind} as a type of identifier, but none of them: give one, or leave the type out"
            )
        result[kind] = list(values)
    return result


def read_identifiers(path: Path, *, region: str | None = None) -> dict[IdentifierType, list[str]]:
    """Read identifiers from CSV or Excel (.xlsx) with a header: columns `type` and `identifier`, or one a type.

    National telephone numbers are those of `region` (ISO 3166).

    Raises:
        HoldError: naming the file and every line (up to ten) that cannot be used; nothing is taken from such a file.
    """
    _known(region)
    problems: list[str] = []
    try:
        if is_workbook(path):
            return _read_rows(rows_of_workbook(path, problems), path.name, region, problems)
        # Bytes that are no UTF-8 come out as surrogates, which no identifier may have: so their line can be named.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            return _read_rows(_lines(file, problems), path.name, region, problems)
    except FileNotFoundError:
        raise HoldError(f"{path}: there is no such file; name another with --file") from None
    except OSError as error:
        raise HoldError(f"{path}: cannot be read ({error.strerror}); name another with --file") from None
    except NoWorkbook as error:
        raise HoldError(f"{path.name}: {error}") from None
    except ValueError as error:
        raise HoldError(
            f"{path.name}: cannot be read as CSV in UTF-8 ({type(error).__name__}): save it as such"
        ) from None


def _lines(file: TextIO, problems: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file with the number of the line that each ends on; stops at what is no CSV."""
    reader = csv.reader(file, strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        problems.append(f"line {reader.line_num}: not CSV: {error}")


def _read_rows(
    rows: Iterator[tuple[int, list[str]]], name: str, region: str | None, problems: list[str]
) -> dict[IdentifierType, list[str]]:
    """The identifiers of numbered rows, whose reader may have found problems of its own."""
    header = [cell.strip().lower() for cell in next(rows, (1, []))[1]]
    known = {kind.value for kind in IdentifierType}
    pairs = header == ["type", "identifier"]
    if not pairs and not (header and set(header) <= known and len(set(header)) == len(header)):
        raise HoldError(
            f"{name}: the first line must be `type,identifier`, or types such as `email,phone`; types are "
            + ", ".join(sorted(known))
        )
    found: dict[IdentifierType, list[str]] = {}
    for line, row in rows:
        if not any(cell.strip() for cell in row):
            continue
        cells = [(row[0].strip().lower(), row[1])] if pairs and len(row) == 2 else list(zip(header, row, strict=False))
        if (pairs and len(row) != 2) or len(row) > len(header) or any(kind not in known for kind, _ in cells):
            problems.append(f"line {line}: not {'a type and an identifier' if pairs else 'as the header says'}")
            continue
        for kind, text in cells:
            if not text.strip():
                continue
            try:
                found.setdefault(IdentifierType(kind), []).append(normalise(IdentifierType(kind), text, region=region))
            except ValueError as error:
                problems.append(f"line {line}: {error}")
    if problems:
        more = f" and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise HoldError(
            f"{name}: {'; '.join(problems[:10])}{more}. Nothing was placed or recorded: correct the file, and try again"
        )
    if not found:
        raise HoldError(f"{name}: it has no identifiers: write one a line, below the header")
    return found


def _known(region: str | None) -> None:
    try:
        if region is not None:
            require_region(region)
    except ValueError as error:
        raise HoldError(str(error)) from None


def _normalise(kind: IdentifierType, text: str, region: str | None) -> str:
    _known(region)
    try:
        return normalise(kind, text, region=region)
    except ValueError as error:
        raise HoldError(str(error)) from None


def _insert_digests(connection: sa.Connection, hold_id: str, kind: str, digests: list[bytes]) -> None:
    table = schema.hold_digest
    if connection.dialect.name == "postgresql":  # one statement with an array takes half as long as a row a statement
        array = sa.literal(digests, ARRAY(sa.LargeBinary))
        rows = sa.select(sa.literal(hold_id), sa.literal(kind), sa.func.unnest(array))
        connection.execute(sa.insert(table).from_select(["hold_id", "type", "digest"], rows))
    else:
        connection.execute(
            sa.insert(table), [{"hold_id": hold_id, "type": kind, "digest": digest} for digest in digests]
        )


def _chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    return (values[at : at + _CHUNK] for at in range(0, len(values), _CHUNK))


def _person(name: str) -> str:
    words = _words("name of who does this", name)
    if not is_a_name(words):
        raise HoldError("a hold needs a name of who does this: say who you are with --by")
    return words


def _words(what: str, text: str) -> str:
    """Text as people and databases can read it."""
    words = text.strip()
    if not words or not words.isprintable():
        raise HoldError(f"a hold needs a {what}, in one line of plain text: give one")
    return words


def _hold(row: sa.Row[Any]) -> Hold:
    fields = row._mapping
    counts = {IdentifierType(kind): count for kind, count in fields["identifier_counts"].items()}
    return Hold(
        id=row.id,
        kind=HoldKind(row.kind),
        matter=row.matter,
        reason=row.reason,
        placed_by=row.placed_by,
        placed_at=row.placed_at,
        version=row.version,
        categories=tuple(row.categories),
        datasets=tuple(row.datasets),
        clock=ClockRange(row.clock_first, row.clock_last),
        identifier_counts=counts,
        in_force_at=row.in_force_at,
        release_proposed_by=row.release_proposed_by,
        release_proposed_at=row.release_proposed_at,
        released_by=row.released_by,
        released_at=row.released_at,
    )


def _public(row: Mapping[str, Any]) -> dict[str, Any]:
    """A hold's row as the ledger keeps it: dates as text, and never an identifier."""
    return {
        name: value.isoformat() if isinstance(value, date | datetime) else value
        for name, value in row.items()
        if value is not None
    }
