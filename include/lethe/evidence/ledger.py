"""The ledger: every task of a run, and every change of holds and policies, chained by SHA-256.

Each entry's hash covers its own content and the hash of the entry before, so that a change, a gap, a reordering or an
insertion shows, and `verify` says where. What the chain alone cannot show is an end that was cut off or written anew
together with all hashes after it: anchors can, which are signed notes of the chain's head that are kept elsewhere.
Certificates name the head too, and serve as anchors. Bodies are canonical JSON (RFC 8785), free of personal data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

import rfc8785
import sqlalchemy as sa
from pydantic import Field

from lethe.errors import EvidenceError
from lethe.evidence.signed import Document, Hex32, Signature, canonical, read_document, read_json
from lethe.evidence.signing_keys import require_in_use
from lethe.governance import Governance, schema
from lethe.keys import Keys

GENESIS = "0" * 64
"""What the first entry names as the one before."""

CLOCKS = "clocks"
"""The subject of what entries say of clocks."""
CLOCKS_CONFIRMED = "clocks.confirmed"
"""The entry that a person said what the time is, and all clocks agreed."""

ANCHOR_FORMAT = "lethe-anchor/1"

_CHAIN_LOCK = 0x4C454447
_PAGE = 5_000
_MOST_SEARCHES = 20
_BEYOND = 100  # how far after the end a moved entry's own place is looked for: the end may have been cut off
_MOST_FINDINGS = 1_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. `body` is canonical JSON, `at` ISO 8601 in UTC."""

    seq: int
    at: str
    kind: str
    subject: str
    body: str
    previous: str
    hash: str


class Head(Document):
    """Where the chain ends: its last entry. An empty ledger has seq 0 and the hash `GENESIS`."""

    seq: int = Field(ge=0)
    hash: Hex32


class Anchor(Document):
    """The head of the chain at some moment, signed, to be kept where who can write to the database cannot."""

    format: Literal["lethe-anchor/1"] = "lethe-anchor/1"
    seq: int = Field(ge=0)
    hash: Hex32
    at: str = Field(description="When, in UTC, by the database's clock.")
    signature: Signature

    @property
    def head(self) -> Head:
        """What it vouches for."""
        return Head(seq=self.seq, hash=self.hash)

    def content(self) -> dict[str, object]:
        """What is signed: all but the signature."""
        return self.model_dump(mode="json", exclude={"signature"})

    def line(self) -> bytes:
        """The anchor as one line of JSON."""
        return canonical(self.model_dump(mode="json")) + b"\n"


def entry_hash(seq: int, at: str, kind: str, subject: str, body: str, previous: str) -> str:
    """SHA-256, in hexadecimal, of an entry's canonical JSON."""
    content: dict[str, str | int] = {
        "seq": seq,
        "at": at,
        "kind": kind,
        "subject": subject,
        "body": body,
        "previous": previous,
    }
    return hashlib.sha256(rfc8785.dumps(content)).hexdigest()


class Ledger:
    """The ledger in the governance database."""

    def __init__(self, governance: Governance) -> None:
        self._governance = governance

    def lock(self, connection: sa.Connection) -> None:
        """Keep others from appending until the transaction ends."""
        if connection.dialect.name == "postgresql":  # on SQLite, the transaction has the only write lock already
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CHAIN_LOCK)))

    def head(self, connection: sa.Connection) -> Head:
        """The end of the chain, as the given connection sees it.

        Raises:
            EvidenceError: if the last entry has no hash that could be one; nothing can be appended to it.
        """
        table = schema.ledger.c
        last = connection.execute(sa.select(table.seq, table.hash).order_by(table.seq.desc()).limit(1)).one_or_none()
        if last is None:
            return Head(seq=0, hash=GENESIS)
        if not _is_hash(last.hash):
            raise EvidenceError(f"the ledger's last entry, {last.seq}, was changed; look at `lethe ledger verify`")
        return Head(seq=last.seq, hash=last.hash)

    def latest(self, connection: sa.Connection) -> datetime | None:
        """The latest moment that an entry tells, since somebody last confirmed what the time is; None without entries.

        Entries are not in the order of their moments where a clock was wrong.

        Raises:
            EvidenceError: if it is no moment.
        """
        table = schema.ledger.c
        since = self._last_confirmation(connection) or 0
        query = sa.select(table.seq, table.at).where(table.seq >= since).order_by(table.at.desc()).limit(1)
        entry = connection.execute(query).one_or_none()
        if entry is None:
            return None
        try:
            return datetime.fromisoformat(entry.at).astimezone(UTC)
        except ValueError:
            raise EvidenceError(f"the ledger's entry {entry.seq} was changed; look at `lethe ledger verify`") from None

    def clocks_confirmed(self, connection: sa.Connection) -> bool:
        """Whether somebody has ever said what the time is."""
        return self._last_confirmation(connection) is not None

    @staticmethod
    def _last_confirmation(connection: sa.Connection) -> int | None:
        table = schema.ledger.c
        confirmations = sa.select(table.seq).where(table.subject == CLOCKS, table.kind == CLOCKS_CONFIRMED)
        return connection.scalar(confirmations.order_by(table.seq.desc()).limit(1))

    def append(self, connection: sa.Connection, kind: str, subject: str, body: Mapping[str, object]) -> str:
        """Append an entry in the given transaction, so that it is there exactly if what it tells is; give its hash.

        The chain is locked until that transaction ends: append last, and commit soon.
        """
        self.lock(connection)
        head = self.head(connection)
        seq = head.seq + 1
        at = self._governance.now(connection).astimezone(UTC).isoformat(timespec="microseconds")
        text = canonical(dict(body)).decode()
        digest = entry_hash(seq, at, kind, subject, text, head.hash)
        connection.execute(
            sa.insert(schema.ledger).values(
                seq=seq, at=at, kind=kind, subject=subject, body=text, previous=head.hash, hash=digest
            )
        )
        return digest

    def anchor(self, keys: Keys) -> Anchor:
        """The head of the chain now, signed. Keep it elsewhere.

        Raises:
            EvidenceError: if there is no signing key, or it was replaced.
        """
        with self._governance.read() as connection:
            require_in_use(connection, keys)
            head = self.head(connection)
            at = self._governance.now(connection).astimezone(UTC).isoformat(timespec="microseconds")
        content = {"format": ANCHOR_FORMAT, "seq": head.seq, "hash": head.hash, "at": at}
        return Anchor(seq=head.seq, hash=head.hash, at=at, signature=Signature.of(keys, content))

    def entries(self) -> Iterator[Entry]:
        """All entries in the order of their numbers, a page at a time in memory."""
        table = schema.ledger
        after: int | None = None
        while True:
            query = sa.select(table).order_by(table.c.seq).limit(_PAGE)
            if after is not None:
                query = query.where(table.c.seq > after)
            with self._governance.read() as connection:
                page = [Entry(**row._mapping) for row in connection.execute(query)]
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].seq

    def verify(self, heads: Iterable[Head] = ()) -> Verification:
        """Check the whole chain, and that it still contains each head that an anchor or certificate vouches for."""
        with self._governance.read() as connection:
            end = int(connection.scalar(sa.select(sa.func.max(schema.ledger.c.seq))) or 0)
        chain = _Chain(heads, end)
        for entry in self.entries():
            chain.see(entry)
        return chain.verdict()

    def unguarded(self) -> tuple[str, ...]:
        """The triggers that should keep the database from changing the ledger, and are not there or switched off."""
        dialect = self._governance.url.get_backend_name()
        query = {
            "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'lethe_ledger'",
            "postgresql": "SELECT tgname FROM pg_trigger WHERE tgrelid = 'lethe_ledger'::regclass AND tgenabled = 'A'",
        }[dialect]
        with self._governance.read() as connection:
            there = set(connection.scalars(sa.text(query)))
        return tuple(name for name in schema.LEDGER_GUARDS[dialect] if name not in there)


def read_anchors(data: bytes, *, what: str) -> list[Anchor]:
    """The anchors in a file of one a line. Their signatures are not checked yet.

    Raises:
        EvidenceError: naming the line that is not an anchor.
    """
    anchors = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            where = f"{what}, line {number}"
            anchors.append(read_document(Anchor, read_json(line, what=where), what=where))
    if not anchors:
        raise EvidenceError(
            f"{what}: there is no anchor in it: name a file that `lethe ledger anchor` wrote, or a certificate"
        )
    return anchors


# --- verifying ------------------------------------------------------------------------------------------------------


class FindingKind(StrEnum):
    """What is wrong with entries."""

    CHANGED = "changed"
    """Their content is not what their hash was made of."""
    MOVED = "moved"
    """They are whole, but stand at another place in the order."""
    INSERTED = "inserted"
    """They are not part of the chain."""
    MISSING = "missing"
    """They are not there any more."""
    REWRITTEN = "rewritten"
    """They are whole in themselves, but not what the chain, an anchor or a certificate says was there."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with the entries `first` to `last`, in words."""

    kind: FindingKind
    first: int
    last: int
    message: str

    @property
    def seqs(self) -> range:
        """The numbers of the entries."""
        return range(self.first, self.last + 1)


@dataclass(frozen=True, slots=True)
class Verification:
    """What `Ledger.verify` found.

    Attributes:
        entries: how many entries there are.
        head: the last of them.
        anchored: how many vouched-for heads were compared.
        findings: what is wrong, in the order of the entries; at most some thousand.
    """

    entries: int
    head: Head
    anchored: int
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


@dataclass(slots=True)
class _Range:
    """Consecutive entries with the same flaw."""

    kind: FindingKind
    first: int
    last: int
    shift: int = 0


class _Chain:
    """Looks at entries in order, and remembers only the last one, the vouched-for heads and the flaws."""

    def __init__(self, heads: Iterable[Head], end: int) -> None:
        self._heads: dict[int, set[str]] = {}
        for head in heads:
            self._heads.setdefault(head.seq, set()).add(head.hash)
        self._farthest = max([end, *self._heads])
        self._anchored = sum(len(hashes) for hashes in self._heads.values())
        self._last: Entry | None = None
        self._last_flawed = False
        self._count = 0
        self._searches = 0
        self._vouched = 0
        self._flaws: list[_Range] = []
        if self._heads.pop(0, {GENESIS}) != {GENESIS}:
            self._flaw(FindingKind.REWRITTEN, 0, 0)

    def see(self, entry: Entry) -> None:
        """Look at the next entry."""
        self._count += 1
        if entry.seq < 1:
            self._flaw(FindingKind.INSERTED, entry.seq, entry.seq)
            return
        before = self._last.seq if self._last else 0
        flawed = not _whole(entry)
        if entry.seq > before + 1:
            if entry.previous == self._tail() and not flawed:  # chained past the gap: there never was another
                self._flaw(FindingKind.INSERTED, entry.seq, entry.seq)
            self._flaw(FindingKind.MISSING, before + 1, entry.seq - 1)
        if flawed:
            self._name_flaw(entry)
        elif entry.seq == before + 1 and not self._last_flawed and entry.previous != self._tail():
            self._flaw(FindingKind.REWRITTEN, max(before, 1), entry.seq)
        self._compare(entry, flawed=flawed)
        self._last, self._last_flawed = entry, flawed

    def _tail(self) -> str:
        return self._last.hash if self._last else GENESIS

    def _name_flaw(self, entry: Entry) -> None:
        origin = self._origin(entry)
        if origin is None:
            self._flaw(FindingKind.CHANGED, entry.seq, entry.seq)
        else:
            self._flaw(FindingKind.MOVED, entry.seq, entry.seq, entry.seq - origin)

    def _origin(self, entry: Entry) -> int | None:
        """The number that a whole entry had before it was moved, or None if it was changed in some other way."""
        hash_at = _hash_by_seq(entry)
        if hash_at is None:
            return None
        near = self._flaws[-1].shift if self._flaws else 0
        for seq in (entry.seq - near, entry.seq - 1, entry.seq + 1):
            if seq > 0 and hash_at(seq) == entry.hash:
                return seq
        if self._searches >= _MOST_SEARCHES:
            return None
        self._searches += 1
        return next((seq for seq in range(1, self._farthest + _BEYOND) if hash_at(seq) == entry.hash), None)

    def _compare(self, entry: Entry, *, flawed: bool) -> None:
        hashes = self._heads.pop(entry.seq, None)
        if hashes is None:
            return
        if hashes == {entry.hash}:
            self._vouched = entry.seq
        elif not flawed:
            self._flaw(FindingKind.REWRITTEN, self._vouched + 1, entry.seq)

    def _flaw(self, kind: FindingKind, first: int, last: int, shift: int = 0) -> None:
        latest = self._flaws[-1] if self._flaws else None
        if (
            latest is not None
            and latest.kind is kind
            and latest.shift == shift
            and kind in (FindingKind.CHANGED, FindingKind.MOVED)
            and latest.last + 1 == first
        ):
            latest.last = last
        elif len(self._flaws) < _MOST_FINDINGS:
            self._flaws.append(_Range(kind, first, last, shift))

    def verdict(self) -> Verification:
        """What was found, after the last entry."""
        end = self._last.seq if self._last else 0
        self._renumbered(end)
        beyond = [seq for seq in self._heads if seq > end]
        if beyond:
            self._flaw(FindingKind.MISSING, end + 1, max(beyond))
        for seq in sorted(self._heads.keys() - set(beyond)):  # vouched for, and not there: the gap is named already
            if not any(flaw.kind is FindingKind.MISSING and flaw.first <= seq <= flaw.last for flaw in self._flaws):
                self._flaw(FindingKind.MISSING, seq, seq)
        findings = tuple(
            Finding(flaw.kind, flaw.first, flaw.last, _words(flaw, end))
            for flaw in sorted(self._flaws, key=lambda flaw: (flaw.first, flaw.last))
        )
        head = Head(seq=end, hash=self._tail()) if _is_hash(self._tail()) else Head(seq=end, hash=GENESIS)
        return Verification(entries=self._count, head=head, anchored=self._anchored, findings=findings)

    def _renumbered(self, end: int) -> None:
        """Name what is behind a shift of all entries up to the end: others were taken out, or put in, before them."""
        moved = [flaw for flaw in self._flaws if flaw.kind is FindingKind.MOVED]
        if not moved or moved[-1].last != end:
            return
        tail = moved[-1]
        places = {seq for flaw in moved[:-1] for seq in (flaw.first, flaw.last)}
        origins = {seq - flaw.shift for flaw in moved[:-1] for seq in (flaw.first, flaw.last)}
        if tail.shift > 0 and not places & set(range(tail.first - tail.shift, tail.first)):
            self._flaw(FindingKind.INSERTED, tail.first - tail.shift, tail.first - 1)
        elif tail.shift < 0 and not origins & set(range(tail.first, tail.first - tail.shift)):
            self._flaw(FindingKind.MISSING, tail.first, tail.first - tail.shift - 1)


def _words(flaw: _Range, end: int) -> str:
    one = flaw.first == flaw.last
    which = f"entry {flaw.first}" if one else f"entries {flaw.first} to {flaw.last}"
    match flaw.kind:
        case FindingKind.CHANGED:
            return f"{which}: {'was' if one else 'were'} changed; the content is not what its hash was made of"
        case FindingKind.MOVED:
            origin = flaw.first - flaw.shift
            where = f"place {origin}" if one else f"places {origin} to {flaw.last - flaw.shift}"
            return f"{which}: reordered; made for {where}"
        case FindingKind.INSERTED:
            return f"{which}: inserted; no part of the chain"
        case FindingKind.MISSING if flaw.first > end:
            return f"{which}: missing; the ledger was cut off after entry {end}"
        case FindingKind.MISSING:
            return f"{which}: missing"
        case _:
            return (
                f"{which}: rewritten; whole in {'itself' if one else 'themselves'}, but not what the chain vouches for"
            )


def _whole(entry: Entry) -> bool:
    hash_at = _hash_by_seq(entry)
    return hash_at is not None and hash_at(entry.seq) == entry.hash


def _hash_by_seq(entry: Entry) -> Callable[[int], str] | None:
    """The hash that an entry's content would have at a given place; None if the content cannot have one at all."""
    content = {"at": entry.at, "body": entry.body, "kind": entry.kind, "previous": entry.previous}
    try:
        before = rfc8785.dumps(content)[:-1] + b',"seq":'  # canonical JSON sorts its fields
        after = b',"subject":' + rfc8785.dumps(entry.subject) + b"}"
    except (ValueError, TypeError):
        return None
    return lambda seq: hashlib.sha256(before + str(seq).encode() + after).hexdigest()


def _is_hash(text: object) -> bool:
    return isinstance(text, str) and len(text) == len(GENESIS) and set(text) <= set("0123456789abcdef")
