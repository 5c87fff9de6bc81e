"""What became of every single record of a run: a Merkle tree of keyed digests, one a dataset, without personal data.

A record is committed to by SHA-256(0x02 ‖ dataset ‖ key ‖ salt), whose salt is HMAC-SHA256 of the key under a secret
of the run and the dataset. Without the secret a digest says nothing; with one record's salt, which a proof reveals,
anybody can work out that record's digest and no other. An outcome is the digest and one byte for what became of the
record; outcomes are sorted, so that absence shows too. A leaf of the tree is several of them, one after the other,
which spares nearly all of the hashes that a tree over single ones takes. The tree's root enters the ledger and the
certificate.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from tempfile import TemporaryFile
from typing import IO, NamedTuple, Self

import sqlalchemy as sa
from pydantic import Field

from lethe.counts import Outcome
from lethe.errors import EvidenceError, StoreUnavailable
from lethe.evidence import merkle
from lethe.evidence.ledger import Ledger
from lethe.evidence.runs import require_claim
from lethe.evidence.signed import Grown, Hex32, canonical
from lethe.governance import Governance, schema
from lethe.keys import Keys
from lethe.registry_state import require_secret_in_use

DIGEST_BYTES = 32
OUTCOME_BYTES = DIGEST_BYTES + 1

LEAF = 32
"""Outcomes in a leaf of the trees that are made now, the last one excepted; divides `merkle.CHUNK`."""

OUTCOMES: Mapping[bytes, Outcome] = {outcome.code: outcome for outcome in Outcome}
"""Outcomes by the byte that stands for them after a digest."""

_SORTED_AT_ONCE = 250_000
"""Outcomes sorted in memory (some 25 MB); more are sorted in parts, in a temporary file, and merged."""
_COMMITTED_AT_ONCE = 20_000
_CHUNKS_AT_ONCE = 32
"""Chunks written in one transaction (some 4 MB)."""
_FIRST_BYTES = 256
_RECORDED = "dataset.outcomes"
_PROOFS_LOCK = 0x4C455052


class OutcomeDigest(Grown):
    """What stands for all record-level outcomes of a dataset in one run."""

    count: int = Field(ge=0, description="Records that have an outcome.")
    outcomes: Mapping[str, int] = Field(description="Records by outcome.")
    root: Hex32 = Field(description="Root of the Merkle tree of the outcomes.")
    leaf: int = Field(default=1, ge=1, le=merkle.CHUNK, description="Outcomes in a leaf of the tree.")

    @property
    def leaves(self) -> int:
        """How many leaves the tree has."""
        return -(-self.count // self.leaf)


class RecordDigest(NamedTuple):
    """The commitment to one record in one run."""

    digest: bytes
    salt: bytes


def commitment(dataset: str, key: bytes, salt: bytes) -> bytes:
    """The digest that commits to a record: dataset written ``category.dataset``, key as `judging.keys.record_key`."""
    return hashlib.sha256(b"".join((_framed(dataset), _length(key), key, salt))).digest()


def _framed(dataset: str) -> bytes:
    """What all commitments to records of a dataset begin with."""
    name = dataset.encode()
    return b"\x02" + _length(name) + name


def _length(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big")


class Committing:
    """What commits to records of a dataset (``category.dataset``) in a run, by their keys.

    A record's salt is the HMAC-SHA256 of its key (RFC 2104), of which the two blocks that depend on the secret alone
    are hashed once; the standard library's own takes twice as long for short keys.
    """

    def __init__(self, keys: Keys, run_id: str, dataset: str) -> None:
        secret = keys.derive(f"record-salt/{run_id}/{dataset}").ljust(hashlib.sha256().block_size, b"\x00")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in secret))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in secret))
        self._framed = hashlib.sha256(_framed(dataset))

    def __call__(self, key: bytes) -> RecordDigest:
        """Commit to one record."""
        inner, outer, commit = self._inner.copy(), self._outer.copy(), self._framed.copy()
        inner.update(key)
        outer.update(inner.digest())
        salt = outer.digest()
        commit.update(_length(key) + key + salt)
        return RecordDigest(commit.digest(), salt)

    def outcomes(self, keys: Iterable[bytes], outcome: Outcome) -> bytes:
        """What became of records, one after the other, as they stand in leaves: their digests, each with a letter."""
        inner_of, outer_of, commit_of = self._inner.copy, self._outer.copy, self._framed.copy
        digests = []
        for key in keys:  # as above, without a call for each
            inner, outer, commit = inner_of(), outer_of(), commit_of()
            inner.update(key)
            outer.update(inner.digest())
            commit.update(len(key).to_bytes(4, "big") + key + outer.digest())
            digests.append(commit.digest())
        return outcome.code.join([*digests, b""])


def record_outcomes(
    governance: Governance,
    keys: Keys,
    run_id: str,
    dataset: str,
    outcomes: Iterable[tuple[bytes, Outcome]],
    *,
    claim: str,
) -> OutcomeDigest:
    """Keep the record-level outcomes of a dataset of a run as a tree, and enter its root in the ledger.

    Again with the same outcomes: nothing changes. Again with others, before the run has its certificate: the new ones
    take the old ones' place, and the ledger has both roots. After the certificate nothing changes any more: what was
    recorded is given back, and `outcomes` is not even read (staging is gone by then).

    Memory: some 40 MB and 32 bytes for every 4,096 outcomes; beyond a quarter of a million outcomes, a temporary file
    of 66 bytes for each. Transactions write 4 MB at most.

    Args:
        governance: where the tree is kept.
        keys: the secrets of the digests.
        run_id: the run.
        dataset: the dataset's name in its policy.
        outcomes: what `Store.outcomes` gives. The keys are digested at once and go nowhere.
        claim: the claim by which this process completes the run's record.

    Raises:
        EvidenceError: if there is no such run, it was certified without outcomes of the dataset, or the master secret
            was replaced since it was read.
        RunClosed: if the claim is no longer the one in force.
        StoreUnavailable: if the database does not answer, or another process recorded at the same time.
    """
    category, certified, recorded = _state(governance, run_id, dataset)
    if certified:
        if recorded is None:
            raise EvidenceError(f"run {run_id} has its certificate already, without outcomes of {dataset}")
        return recorded
    commit = Committing(keys, run_id, f"{category}.{dataset}")
    counts: Counter[Outcome] = Counter()
    with TemporaryFile() as scratch, TemporaryFile() as spool:
        roots, firsts = _spooled(_in_order(_committed(commit, outcomes, counts), scratch), spool)
        digest = OutcomeDigest(
            count=counts.total(),
            outcomes={outcome.value: count for outcome, count in sorted(counts.items())},
            root=merkle.root_of(roots).hex(),
            leaf=LEAF,
        )
        if digest != recorded:
            place = _Place(governance, keys, run_id, dataset, claim)
            place.write(spool, roots, firsts)
            place.finish(digest, roots)
    return digest


def recorded_outcomes(connection: sa.Connection, run_id: str) -> dict[str, OutcomeDigest]:
    """What was recorded of a run, by the datasets' names.

    Raises:
        EvidenceError: if it was changed beyond recognition.
    """
    table = schema.proof_tree
    rows = connection.execute(sa.select(table).where(table.c.run_id == run_id))
    return {row.dataset: _digest(row) for row in rows}


def recorded_at(connection: sa.Connection, run_id: str, dataset: str) -> int:
    """The number of the ledger's entry of the outcomes of a dataset of a run; 0 if there is none."""
    table = schema.ledger.c
    query = sa.select(table.seq, table.body).where(table.subject == run_id, table.kind == _RECORDED)
    entries = connection.execute(query.order_by(table.seq.desc()))
    return next((seq for seq, body in entries if json.loads(body).get("dataset") == dataset), 0)


def chunk_roots(connection: sa.Connection, run_id: str, dataset: str) -> list[bytes]:
    """The roots of a tree's chunks, in order."""
    table = schema.proof_leaves.c
    query = sa.select(table.root).where(table.run_id == run_id, table.dataset == dataset).order_by(table.n)
    return [_bytes(root) for root in connection.scalars(query)]


@dataclass(frozen=True, slots=True)
class TreePart:
    """A part of a tree as it is stored: its number, what it is found by, and its outcomes in order."""

    n: int
    first: bytes
    packed: bytes

    @property
    def outcomes(self) -> list[bytes]:
        """The outcomes, one by one."""
        return [self.packed[at : at + OUTCOME_BYTES] for at in range(0, len(self.packed), OUTCOME_BYTES)]

    def in_place(self, n: int) -> bool:
        """Whether it can be the n-th chunk, and is found by its smallest digest."""
        return self.n == n and bool(self.packed) and self.first == self.packed[:DIGEST_BYTES]


def chunks(connection: sa.Connection, run_id: str, dataset: str, wanted: Sequence[int] = ()) -> Iterator[TreePart]:
    """The chunks of a tree in order (some numbers, or all), one at a time in memory."""
    table = schema.proof_leaves.c
    mine = (table.run_id == run_id, table.dataset == dataset)
    for n in wanted or list(connection.scalars(sa.select(table.n).where(*mine).order_by(table.n))):
        row = connection.execute(sa.select(table.first, table.leaves).where(*mine, table.n == n)).one_or_none()
        if row is not None:
            yield TreePart(n, _bytes(row.first), _bytes(row.leaves))


def chunk_of(connection: sa.Connection, run_id: str, dataset: str, digest: bytes) -> int:
    """The number of the last chunk that does not start after a digest; 0 if there is none."""
    table = schema.proof_leaves.c
    query = sa.select(sa.func.max(table.n)).where(
        table.run_id == run_id, table.dataset == dataset, table.first <= digest
    )
    return int(connection.scalar(query) or 0)


def _bytes(value: object) -> bytes:
    """What should be bytes; nothing where somebody put something else there (SQLite does not mind types)."""
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else b""


def leaf_hashes(packed: bytes, leaf: int) -> list[bytes]:
    """The hashes of leaves with so many outcomes each."""
    size = leaf * OUTCOME_BYTES
    return [merkle.leaf_hash(packed[at : at + size]) for at in range(0, len(packed), size)]


def _digest(row: sa.Row[tuple[object, ...]]) -> OutcomeDigest:
    try:
        leaf = {} if row.leaf == 1 else {"leaf": row.leaf}  # earlier certificates do not say it
        return OutcomeDigest(count=row.records, outcomes=json.loads(row.outcomes), root=row.root, **leaf)
    except (ValueError, TypeError):
        raise EvidenceError(
            f"run {row.run_id}: the record of its outcomes of {row.dataset} was changed beyond recognition: "
            "compare it with a backup"
        ) from None


def _state(governance: Governance, run_id: str, dataset: str) -> tuple[str, bool, OutcomeDigest | None]:
    """The category of a run, whether it has its certificate, and what was recorded of the dataset."""
    with governance.read() as connection:
        category = connection.scalar(sa.select(schema.run.c.category).where(schema.run.c.id == run_id))
        issued = sa.select(schema.certificate.c.run_id).where(schema.certificate.c.run_id == run_id)
        certified = connection.scalar(issued) is not None
        recorded = recorded_outcomes(connection, run_id).get(dataset)
    if category is None:
        raise EvidenceError(f"there is no run {run_id}; `lethe report` lists the latest")
    return str(category), certified, recorded


# --- sorting and chunking, in bounded memory --------------------------------------------------------------------------


def _committed(
    commit: Committing, outcomes: Iterable[tuple[bytes, Outcome]], counts: Counter[Outcome]
) -> Iterator[bytes]:
    """The outcomes as they stand in leaves, some at a time, in no order; counts them."""
    for outcome, group in itertools.groupby(outcomes, itemgetter(1)):
        while keys := [key for key, _ in itertools.islice(group, _COMMITTED_AT_ONCE)]:
            counts[outcome] += len(keys)
            yield commit.outcomes(keys, outcome)


def _in_order(packed: Iterator[bytes], file: IO[bytes]) -> Iterator[bytes]:
    """The outcomes sorted, many at a time: in memory as far as possible, else in parts that a temporary file keeps."""
    parts: list[_Part] = []
    gathered, size = [], 0
    for some in packed:
        gathered.append(some)
        size += len(some)
        if size >= _SORTED_AT_ONCE * OUTCOME_BYTES:
            parts.append(_Part.written(_sorted(gathered), file))
            gathered, size = [], 0
    last = _sorted(gathered)
    if not parts:
        yield last
        return
    parts.append(_Part.written(last, file))
    sizes = [sum(part.bounds[first + 1] - part.bounds[first] for part in parts) for first in range(_FIRST_BYTES)]
    low = 0
    while low < _FIRST_BYTES:  # digests are spread evenly: each stretch of them is about as long
        high, together = low + 1, sizes[low]
        while high < _FIRST_BYTES and together + sizes[high] <= _SORTED_AT_ONCE:
            together += sizes[high]
            high += 1
        yield _sorted([part.between(low, high, file) for part in parts])
        low = high


def _sorted(packed: Sequence[bytes]) -> bytes:
    """Outcomes in the order of their bytes, of which the last is a letter: NumPy ignores zeros at the end."""
    import numpy as np

    return np.sort(np.frombuffer(b"".join(packed), dtype=f"S{OUTCOME_BYTES}")).tobytes()


@dataclass(frozen=True, slots=True)
class _Part:
    """Sorted outcomes in a file: where they begin, and how many are before those of each first byte."""

    start: int
    bounds: list[int]

    @classmethod
    def written(cls, packed: bytes, file: IO[bytes]) -> Self:
        """Write sorted outcomes to the end of a file."""
        start = file.seek(0, os.SEEK_END)
        file.write(packed)
        counts = Counter(packed[::OUTCOME_BYTES])
        return cls(start, [0, *itertools.accumulate(counts[first] for first in range(_FIRST_BYTES))])

    def between(self, low: int, high: int, file: IO[bytes]) -> bytes:
        """The outcomes whose first byte is from `low` (included) to `high` (excluded)."""
        file.seek(self.start + self.bounds[low] * OUTCOME_BYTES)
        return file.read((self.bounds[high] - self.bounds[low]) * OUTCOME_BYTES)


def _spooled(blocks: Iterator[bytes], spool: IO[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Write the sorted outcomes to a file; give the root and the first digest of every chunk."""
    for block in blocks:
        spool.write(block)
    spool.seek(0)
    roots, firsts = [], []
    while chunk := spool.read(merkle.CHUNK * OUTCOME_BYTES):
        roots.append(merkle.root_of(leaf_hashes(chunk, LEAF)))
        firsts.append(chunk[:DIGEST_BYTES])
    spool.seek(0)
    return roots, firsts


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the tree of a dataset of a run is kept, for as long as a claim is in force."""

    governance: Governance
    keys: Keys
    run_id: str
    dataset: str
    claim: str

    def write(self, spool: IO[bytes], roots: list[bytes], firsts: list[bytes]) -> None:
        """Put the chunks in the database, in place of what is there, in bounded transactions."""
        table = schema.proof_leaves
        for start in range(0, len(roots), _CHUNKS_AT_ONCE):
            rows = [
                {
                    "run_id": self.run_id,
                    "dataset": self.dataset,
                    "n": n,
                    "first": firsts[n],
                    "root": roots[n],
                    "leaves": spool.read(merkle.CHUNK * OUTCOME_BYTES),
                }
                for n in range(start, min(start + _CHUNKS_AT_ONCE, len(roots)))
            ]
            with self._locked() as connection:
                connection.execute(self._chunks().where(table.c.n.between(start, start + len(rows) - 1)))
                connection.execute(sa.insert(table), rows)

    def finish(self, digest: OutcomeDigest, roots: list[bytes]) -> None:
        """Record the tree, if the chunks that are there are its own."""
        table = schema.proof_tree
        with self._locked() as connection:
            connection.execute(self._chunks().where(schema.proof_leaves.c.n >= len(roots)))
            if chunk_roots(connection, self.run_id, self.dataset) != roots:
                raise StoreUnavailable(
                    f"run {self.run_id}: another process is recording the outcomes of {self.dataset}; try again"
                )
            mine = (table.c.run_id == self.run_id, table.c.dataset == self.dataset)
            connection.execute(sa.delete(table).where(*mine))
            content = digest.model_dump(mode="json")
            connection.execute(
                sa.insert(table).values(
                    run_id=self.run_id,
                    dataset=self.dataset,
                    records=digest.count,
                    outcomes=canonical(content["outcomes"]).decode(),
                    root=digest.root,
                    leaf=digest.leaf,
                )
            )
            require_secret_in_use(connection, self.keys)  # so that the ledger says under which one they are
            body = {"dataset": self.dataset, **content}
            Ledger(self.governance).append(connection, _RECORDED, self.run_id, body)

    def _chunks(self) -> sa.Delete:
        table = schema.proof_leaves
        return sa.delete(table).where(table.c.run_id == self.run_id, table.c.dataset == self.dataset)

    @contextmanager
    def _locked(self) -> Iterator[sa.Connection]:
        """A transaction in which the claim cannot be lost, and nobody else records outcomes."""
        with self.governance.write() as connection:
            if connection.dialect.name == "postgresql":  # on SQLite, it has the only write lock already
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_PROOFS_LOCK)))
            require_claim(connection, self.run_id, self.claim)
            yield connection
