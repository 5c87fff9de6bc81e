"""Proofs about single records: whether, when and by which run one was erased, for a key that somebody names.

`find` searches all runs. `prove` makes a file that an outsider checks with `verify`, which needs neither database nor
secrets: the file has the record's digest and salt, the path to the root of its run's tree, and the signed certificate
that states the root. It does not have the record's key: who knows the key works out the digest from it and the salt.
Nothing is learned about other records, whose salts stay secret.

That a record is *not* in a run shows by its two neighbours in the sorted tree. Such a proof rests on the salt: an
outsider has to believe that it is the one that the company's secret gives; an auditor with the secret can see to it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field

from lethe.counts import Outcome
from lethe.errors import EvidenceError, LetheError
from lethe.evidence import certificate as certificates
from lethe.evidence import merkle
from lethe.evidence.certificate import Certificate, SignedCertificate, VerifiedCertificate
from lethe.evidence.master_secrets import MasterSecrets
from lethe.evidence.outcomes import (
    DIGEST_BYTES,
    OUTCOME_BYTES,
    OUTCOMES,
    Committing,
    OutcomeDigest,
    RecordDigest,
    chunk_of,
    chunk_roots,
    chunks,
    commitment,
    leaf_hashes,
    recorded_outcomes,
)
from lethe.evidence.signed import Document, Grown, Hex32, canonical, read_document, read_json
from lethe.governance import Governance, schema
from lethe.judging.keys import KeyColumn, readings
from lethe.keys import Keys

FORMAT = "lethe-proof/1"


class NoSuchDataset(EvidenceError):
    """No run on record had a dataset of that name."""


Outcomes = Annotated[str, Field(pattern=r"^([0-9a-f]{66})*$", max_length=2 * merkle.CHUNK * OUTCOME_BYTES)]
"""Outcomes of a tree, one after the other, in hexadecimal."""


class ProvenLeaf(Grown):
    """An outcome, those that share its leaf, and the leaf's path to the root."""

    index: int = Field(ge=0, description="Which of all outcomes it is, counted from 0.")
    digest: Hex32
    outcome: Outcome
    path: tuple[Hex32, ...] = Field(max_length=64)
    before: Outcomes = Field(default="", description="The outcomes before it in its leaf: digests, each with a letter.")
    after: Outcomes = Field(default="", description="Those after it.")

    def leads_to(self, tree: OutcomeDigest) -> bool:
        """Whether it is in its place in a tree."""
        before, after = bytes.fromhex(self.before), bytes.fromhex(self.after)
        content = before + bytes.fromhex(self.digest) + self.outcome.code + after
        leaf, at = divmod(self.index, tree.leaf)
        if len(before) != at * OUTCOME_BYTES:
            return False
        if len(content) != min(tree.leaf, tree.count - leaf * tree.leaf) * OUTCOME_BYTES:
            return False
        path = [bytes.fromhex(node) for node in self.path]
        root = merkle.root_by_path(merkle.leaf_hash(content), leaf, tree.leaves, path)
        return root is not None and root.hex() == tree.root


class Proof(Document):
    """What a proof file says of one record in one run. It does not contain the record's key."""

    format: Literal["lethe-proof/1"] = "lethe-proof/1"
    run: str
    dataset: str = Field(description="Written category.dataset.")
    digest: Hex32 = Field(description="Commits to the record: SHA-256(0x02 ‖ dataset ‖ key ‖ salt).")
    salt: Hex32 = Field(description="The record's own; says nothing about others.")
    leaves: tuple[ProvenLeaf, ...] = Field(
        description="The record's leaves; or where it has none, those before and after its place."
    )
    certificate: SignedCertificate

    def text(self) -> str:
        """The proof as one line of JSON."""
        return canonical(self.model_dump(mode="json")).decode() + "\n"


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one run did with the record.

    Attributes:
        run: the run.
        as_of: the moment that it judged by.
        finished_at: when it ended.
        outcomes: what became of the record; more than one where a key stands for several (versions of an object).
        certified: whether the outcome is under a signed certificate (it is not while the run goes on).
    """

    run: str
    as_of: datetime
    finished_at: datetime | None
    outcomes: tuple[Outcome, ...]
    certified: bool


@dataclass(frozen=True, slots=True)
class History:
    """All that the evidence says of a record.

    Attributes:
        sightings: the runs that had it among their candidates, oldest first.
        searched: how many runs of the dataset have record-level evidence.
        without_evidence: how many runs of the category that may have erased have none (any more) for the dataset.
    """

    sightings: tuple[Sighting, ...]
    searched: int
    without_evidence: int

    @property
    def erased_by(self) -> Sighting | None:
        """The latest run that erased or anonymised it."""
        gone = {outcome for outcome in Outcome if outcome.colour == "good"}
        return next((seen for seen in reversed(self.sightings) if gone & set(seen.outcomes)), None)


Named = bytes | Sequence[bytes]
"""The key of a record (`judging.keys.record_key`), or the keys that somebody may mean who names it."""


def _keys_of(named: Named) -> Sequence[bytes]:
    return [named] if isinstance(named, bytes) else named


def _named_before(dataset: str, before: Callable[[], Named]) -> Named:
    try:
        return before()
    except ValueError as error:
        raise EvidenceError(f"a record of {dataset}, in runs that recorded no types of keys: {error}") from None


def _types_recorded(candidates: Mapping[str, object] | None) -> bool:
    """Whether a run says of what types the columns of a key are; earlier versions wrote keys without types."""
    return candidates is not None and "key" in candidates


# --- searching --------------------------------------------------------------------------------------------------------


def meant(governance: Governance, dataset: str, texts: Sequence[str]) -> list[bytes]:
    """The keys that somebody may mean who names a record by these texts, by the columns that runs had as its key.

    Raises:
        EvidenceError: if that are not as many texts as the key has columns, or one can be no value of its column. The
            message has no value.
    """
    category, _, name = dataset.partition(".")
    run, found = schema.run.c, schema.run_dataset.c
    recorded = (
        sa.select(found.candidates)
        .join(schema.run, run.id == found.run_id)
        .where(run.category == category, found.dataset == name)
        .order_by(run.started_at.desc())
    )
    with governance.read() as connection:
        every = [candidates.get("key", []) for candidates in connection.scalars(recorded) if candidates]
    keys = list(dict.fromkeys(tuple(KeyColumn.model_validate(column) for column in key) for key in every if key))
    fitting = [columns for columns in keys if len(columns) == len(texts)]
    if keys and not fitting:
        names = ", ".join(column.name for column in keys[0])
        raise EvidenceError(
            f"the key of {dataset} is ({names}): give a value for each, in that order; the number of those given is "
            f"{len(texts)}"
        )
    try:
        return list(dict.fromkeys(key for columns in fitting or [()] for key in readings(texts, columns)))
    except ValueError as error:
        raise EvidenceError(f"a record of {dataset}: {error}") from None


def find(
    governance: Governance,
    keys: Keys,
    dataset: str,
    named: Named,
    trusted: Sequence[Ed25519PublicKey] = (),
    before: Callable[[], Named] | None = None,
) -> History:
    """Search all runs of a dataset (``category.dataset``) for a record, and check each answer against its certificate.

    Args:
        governance: the database.
        keys: the secrets of the digests; those before them are in the ledger.
        dataset: written ``category.dataset``.
        named: the record.
        trusted: the public keys that certificates may be signed by.
        before: gives the record as runs named it that recorded no types of keys (`readings_before`).

    Raises:
        NoSuchDataset: if no run had it.
        EvidenceError: if the stored outcomes are not those of the certificates.
    """
    category, _, name = dataset.partition(".")
    run, tree = schema.run.c, schema.proof_tree.c
    has_tree, candidates = tree.run_id.is_not(None).label("has_tree"), schema.run_dataset.c.candidates
    of_dataset = (
        sa.select(run.id, run.as_of, run.finished_at, has_tree, candidates)
        .join(schema.run_dataset, schema.run_dataset.c.run_id == run.id)
        .outerjoin(schema.proof_tree, sa.and_(tree.run_id == run.id, tree.dataset == schema.run_dataset.c.dataset))
        .where(run.category == category, schema.run_dataset.c.dataset == name, run.dry_run.is_(False))
        .order_by(run.started_at, run.id)
    )
    with governance.read() as connection:
        runs = connection.execute(of_dataset).all()
    if not runs:
        raise NoSuchDataset(f"no run has had a dataset {dataset!r}; write category.dataset, as in the policies")
    sightings, secrets = [], MasterSecrets.of(governance, keys)
    for row in runs:
        if row.has_tree:
            commit = Committing(secrets.of_run(row.id, name), row.id, dataset)
            by = named if before is None or _types_recorded(row.candidates) else _named_before(dataset, before)
            places = [_place(governance, row.id, name, commit(key), trusted) for key in _keys_of(by)]
            outcomes = sorted({outcome for place in places for outcome in place.outcomes})
            if outcomes:
                certified = places[0].certificate is not None
                sightings.append(Sighting(row.id, row.as_of, row.finished_at, tuple(outcomes), certified))
    searched = sum(1 for row in runs if row.has_tree)
    return History(tuple(sightings), searched=searched, without_evidence=len(runs) - searched)


def prove(
    governance: Governance,
    keys: Keys,
    dataset: str,
    named: Named,
    run_id: str,
    trusted: Sequence[Ed25519PublicKey] = (),
    before: Callable[[], Named] | None = None,
) -> Proof:
    """What an outsider needs to check what a run did with a record, or that it did nothing with it. See `find`.

    Raises:
        EvidenceError: if the run has no certificate or no outcomes of the dataset, or they were changed.
    """
    name = dataset.partition(".")[2]
    commit = Committing(MasterSecrets.of(governance, keys).of_run(run_id, name), run_id, dataset)
    if before is not None and not _types_recorded(_candidates(governance, run_id, name)):
        named = _named_before(dataset, before)
    records = [commit(key) for key in _keys_of(named)]
    places = [_place(governance, run_id, name, record, trusted) for record in records]
    record, place = next(
        (both for both in zip(records, places, strict=True) if both[1].outcomes), (records[0], places[0])
    )
    if place.certificate is None:
        raise EvidenceError(f"run {run_id} has no certificate yet, which a proof needs: see `lethe report {run_id}`")
    if f"{place.certificate.certificate.category}.{name}" != dataset:
        raise EvidenceError(f"run {run_id} is not of dataset {dataset}: see `lethe report {run_id}`")
    return Proof(
        run=run_id,
        dataset=dataset,
        digest=record.digest.hex(),
        salt=record.salt.hex(),
        leaves=tuple(place.leaves),
        certificate=place.certificate,
    )


def _candidates(governance: Governance, run_id: str, name: str) -> Mapping[str, object] | None:
    found = schema.run_dataset.c
    with governance.read() as connection:
        said: Mapping[str, object] | None = connection.scalar(
            sa.select(found.candidates).where(found.run_id == run_id, found.dataset == name)
        )
    return said


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a digest is in a tree: its leaves, or those beside its place."""

    outcomes: tuple[Outcome, ...]
    leaves: list[ProvenLeaf]
    certificate: SignedCertificate | None


def _place(
    governance: Governance, run_id: str, name: str, record: RecordDigest, trusted: Sequence[Ed25519PublicKey]
) -> _Place:
    """Look a digest up in the tree of a run, and check what is found as an outsider would."""
    with governance.read() as connection:
        tree = recorded_outcomes(connection, run_id).get(name)
        if tree is None:
            raise EvidenceError(f"run {run_id} has no record-level outcomes of {name} (any more): see `lethe report`")
        leaves = list(_leaves(connection, run_id, name, record.digest, tree.leaf))
        signed = _certificate(connection, run_id, name, tree, trusted)
    try:
        outcomes = _checked(leaves, record.digest, tree)
    except EvidenceError:
        raise EvidenceError(
            f"run {run_id}: the stored outcomes of {name} were changed; they are not those under root {tree.root}: "
            "see `lethe ledger verify`"
        ) from None
    return _Place(outcomes, leaves, signed)


def _leaves(connection: sa.Connection, run_id: str, name: str, digest: bytes, leaf: int) -> Iterator[ProvenLeaf]:
    """The leaves of a digest; where there are none, the one before and the one after its place.

    They are looked for in the chunk that the digest belongs to and its two neighbours.
    """
    roots = chunk_roots(connection, run_id, name)
    middle = chunk_of(connection, run_id, name, digest)
    wanted = [n for n in (middle - 1, middle, middle + 1) if 0 <= n < len(roots)]
    around = list(chunks(connection, run_id, name, wanted)) if wanted else []
    leaves = [(chunk, at, outcome) for chunk in around for at, outcome in enumerate(chunk.outcomes)]
    digests = [outcome[:DIGEST_BYTES] for _, _, outcome in leaves]
    first = bisect_left(digests, digest)
    last = first
    while last < len(digests) and digests[last] == digest:
        last += 1
    chosen = leaves[first:last] or leaves[max(first - 1, 0) : first + 1]
    hashes = {chunk.n: leaf_hashes(chunk.packed, leaf) for chunk in around}
    for chunk, at, found in chosen:
        outcome = OUTCOMES.get(found[DIGEST_BYTES:])
        if outcome is None or len(found) != OUTCOME_BYTES:
            raise EvidenceError(f"run {run_id}: the stored outcomes of {name} were changed: see `lethe ledger verify`")
        start = at - at % leaf
        shared = chunk.packed[start * OUTCOME_BYTES : (start + leaf) * OUTCOME_BYTES].hex()
        mine = 2 * (at - start) * OUTCOME_BYTES
        path = merkle.path_of(hashes[chunk.n], at // leaf) + merkle.path_of(roots, chunk.n)
        beside = {"before": shared[:mine], "after": shared[mine + 2 * OUTCOME_BYTES :]} if leaf > 1 else {}
        yield ProvenLeaf(
            index=chunk.n * merkle.CHUNK + at,
            digest=found[:DIGEST_BYTES].hex(),
            outcome=outcome,
            path=tuple(node.hex() for node in path),
            **beside,
        )


def _certificate(
    connection: sa.Connection, run_id: str, name: str, tree: OutcomeDigest, trusted: Sequence[Ed25519PublicKey]
) -> SignedCertificate | None:
    """The certificate that vouches for a tree; None if there is none yet."""
    text = connection.scalar(sa.select(schema.certificate.c.document).where(schema.certificate.c.run_id == run_id))
    if text is None:
        return None
    verified = certificates.verify(str(text).encode(), trusted, what=f"the certificate of run {run_id}")
    certified = verified.certificate.dataset(name)
    if verified.certificate.run != run_id or certified is None or certified.records != tree:
        raise EvidenceError(
            f"run {run_id}: the record of the outcomes of {name} is not that of its certificate: "
            "see `lethe ledger verify`"
        )
    return verified.document


# --- checking ---------------------------------------------------------------------------------------------------------


def _checked(leaves: Sequence[ProvenLeaf], digest: bytes, tree: OutcomeDigest) -> tuple[Outcome, ...]:
    """The outcomes that leaves prove for a digest; none if they prove that it is not in the tree.

    Raises:
        EvidenceError: if they prove neither.
    """
    for leaf in leaves:
        if not leaf.leads_to(tree):
            raise EvidenceError("a leaf does not lead to the root")
    wanted = digest.hex()
    if leaves and all(leaf.digest == wanted for leaf in leaves):
        return tuple(sorted({leaf.outcome for leaf in leaves}))
    before = [leaf for leaf in leaves if leaf.digest < wanted]
    after = [leaf for leaf in leaves if leaf.digest > wanted]
    beside = [leaf.index for leaf in (*before, *after)]
    complete = (
        len(before) <= 1
        and len(after) <= 1
        and len(beside) == len(leaves)
        and (bool(before) or not after or after[0].index == 0)
        and (bool(after) or not before or before[0].index == tree.count - 1)
        and (len(beside) != 2 or beside[0] + 1 == beside[1])
        and (bool(beside) or (tree.count == 0 and tree.root == merkle.EMPTY_ROOT.hex()))
    )
    if not complete:
        raise EvidenceError("the leaves prove neither that the record is in the tree nor that it is not")
    return ()


@dataclass(frozen=True, slots=True)
class Proven:
    """What a proof that holds shows.

    Attributes:
        outcomes: what became of the record; empty: the run had no such record among its candidates, provided that
            the salt is the right one (see the module).
        proof: the proof.
        certificate: the certificate under which it stands.
        named: whether a key was given, and is the one that the proof is about.
        trusted: whether a public key was given, and signed the certificate.
    """

    outcomes: tuple[Outcome, ...]
    proof: Proof
    certificate: Certificate
    named: bool
    trusted: bool


def verify(
    data: bytes,
    named: Named | None = None,
    trusted: Sequence[Ed25519PublicKey] = (),
    *,
    what: str = "the proof",
) -> Proven:
    """Check a proof: needs no database and no secret.

    Args:
        data: the proof file.
        named: the record that it should be about; None: that is not checked.
        trusted: public keys that the certificate may be signed by; none: only self-consistency is checked.
        what: names it in messages, such as its file.

    Raises:
        EvidenceError: if it is not a proof, is about another record, or does not hold.
    """
    content = read_json(data, what=what)
    proof = read_document(Proof, content, what=what)
    verified: VerifiedCertificate = certificates.verify_content(
        content["certificate"], trusted, what=f"{what}, certificate"
    )
    certificate = verified.certificate
    category, _, name = proof.dataset.partition(".")
    dataset = certificate.dataset(name)
    if proof.run != certificate.run or category != certificate.category or dataset is None or dataset.records is None:
        raise EvidenceError(f"{what}: its certificate is not about {proof.dataset} in run {proof.run}")
    digest = bytes.fromhex(proof.digest)
    salt = bytes.fromhex(proof.salt)
    if named is not None and all(commitment(proof.dataset, key, salt) != digest for key in _keys_of(named)):
        raise EvidenceError(
            f"{what}: it is about another record of {proof.dataset} than the one that is named: give that one's key"
        )
    try:
        outcomes = _checked(proof.leaves, digest, dataset.records)
    except LetheError as error:
        raise EvidenceError(f"{what}: {error}; it was changed, or never held") from None
    return Proven(outcomes, proof, certificate, named=named is not None, trusted=verified.trusted)
