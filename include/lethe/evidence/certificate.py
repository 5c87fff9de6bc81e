"""Certificates of destruction: what a run did, one signed JSON document without personal data.

`issue` writes one when a run has ended, whatever way it ended; `verify` checks one with nothing but the public key;
`audit` checks all that the database keeps against the ledger. The document names the head of the ledger at its time, so
that each certificate that is kept elsewhere also is an anchor of the ledger.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field

from lethe.checks.results import Validation
from lethe.counts import FOUND_HEADINGS, Became, Found, Outcomes
from lethe.errors import EvidenceError
from lethe.evidence import merkle
from lethe.evidence.ledger import Head, Ledger
from lethe.evidence.outcomes import OutcomeDigest, chunk_roots, chunks, leaf_hashes, recorded_outcomes
from lethe.evidence.records import WHEN, DatasetRecord, When
from lethe.evidence.signed import Document, Grown, Signature, canonical, read_document, read_json
from lethe.evidence.signing_keys import require_in_use
from lethe.governance import Governance, schema
from lethe.holds.registry import Hold
from lethe.keys import Keys
from lethe.policy import ON_REQUEST, Policy
from lethe.stores.base import Remainder

if TYPE_CHECKING:
    import jinja2

_GONE_BY_REQUEST = "no period is counted: records went on request of the persons whom they are of"

ISSUED = "certificate.issued"
"""The ledger's entry of a certificate: its SHA-256, and when it was issued."""
EXPIRED = "evidence.expired"
"""The ledger's entry of evidence that was deleted at the end of its own period, up to a moment."""


class CertifiedFound(Grown):
    """What a dataset held when the run looked, in records."""

    total: int
    expired: int
    due: int = Field(description="Expired, not held, not kept on: what had to go.")
    held: int
    kept_on: int
    unjudgeable: Mapping[str, int] = Field(description="Records that could not be judged, by why. They were kept.")
    unreadable: tuple[str, ...] = Field(description="Digests of the names of files that could not be read.")
    digest: str | None = Field(description="Stands for the very set of candidates; none for what was left.")
    holds_version: int | None = Field(description="Version of the hold registry that this was judged by.")
    rows_along: int = Field(default=0, description="Rows of child tables that go along with what is due.")
    mentions: Mapping[str, int] = Field(
        default_factory=dict, description="Personal data that was recognised in the texts of what is due, by kind."
    )

    @property
    def unjudged(self) -> int:
        """Records that could not be judged, whatever the reason."""
        return sum(self.unjudgeable.values())


class CertifiedBecame(Grown, Outcomes):
    """What the candidates have become, in records, by outcome."""

    went_along: int = Field(description="Rows of child tables, or older versions of objects, that went along.")
    bytes: int


class Expectation(Document):
    """One expectation and whether it held."""

    id: str
    type: str
    column: str | None
    success: bool
    asks: bool
    unexpected: int | None


class Validated(Document):
    """What a suite of expectations said, before or after erasing."""

    when: str
    suite: str
    success: bool
    expectations: tuple[Expectation, ...]


class Approval(Document):
    """Who decided that the candidates may go: a person, or the limits of the policy that they were within."""

    approved: bool
    by: str
    reasons: tuple[str, ...] = Field(description="The limits that were passed.")
    digest: str = Field(description="Stands for policy, cutoff and candidates: what was decided on.")
    at: datetime


class Remains(Document):
    """What is not yet physically gone, and until when at the latest."""

    what: str
    gone_by: date | None


class CertifiedDataset(Document):
    """One dataset of the run."""

    name: str
    title: str
    kind: str
    store: str
    location: str
    found: CertifiedFound | None
    became: CertifiedBecame | None
    records: OutcomeDigest | None = Field(description="Stands for what became of each single record.")
    left: CertifiedFound | None
    validations: tuple[Validated, ...]
    approval: Approval | None
    remains: tuple[Remains, ...]
    problem: str | None = Field(description="What is missing or failed.")


class HeldMatter(Document):
    """A matter whose holds were in force for the category; whom it names is not said."""

    matter: str
    kinds: tuple[str, ...]
    holds: int
    identifiers: Mapping[str, int] = Field(description="How many identifiers it names, by type.")
    since: datetime
    release_proposed: bool


class Certificate(Grown):
    """All that a certificate says, and what is signed."""

    format: Literal["lethe-certificate/1"] = "lethe-certificate/1"
    run: str
    state: str = Field(description="succeeded, failed, dry or superseded.")
    dry_run: bool = Field(default=False, description="Whether it was not to erase anything, however it ended.")
    complete: bool = Field(description="Whether all that had to go is accounted for.")
    category: str
    title: str
    owner: str
    legal_basis: str
    source: str
    retention: str
    counting: str = Field(default="", description="What of the law of periods was applied.")
    time_zone: str
    disposition: str
    policy_digest: str
    as_of: datetime
    clocks: Mapping[str, int] = Field(
        default_factory=dict,
        description="The clocks by all of which the as-of moment had come, by connection, and about how many "
        "milliseconds each was ahead of that of the machine that planned.",
    )
    cutoff: str
    trigger: str
    started_at: datetime
    finished_at: datetime | None
    superseded_by: str | None
    software: str
    datasets: tuple[CertifiedDataset, ...]
    holds: tuple[HeldMatter, ...]
    ledger: Head
    issued_at: datetime

    @property
    def sha256(self) -> str:
        """SHA-256 of the canonical JSON."""
        return hashlib.sha256(canonical(self.model_dump(mode="json"))).hexdigest()

    def dataset(self, name: str) -> CertifiedDataset | None:
        """The dataset of that name, if the run had it."""
        return next((dataset for dataset in self.datasets if dataset.name == name), None)


class SignedCertificate(Document):
    """A certificate with its signature: what is stored, and handed out."""

    certificate: Certificate
    signature: Signature

    def text(self) -> str:
        """The document as JSON, easy to read."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


# --- issuing ----------------------------------------------------------------------------------------------------------


def issue(governance: Governance, keys: Keys, run_id: str, holds: Sequence[Hold]) -> SignedCertificate:
    """The certificate of a run that has ended: signed and stored at the first call, the same one ever after.

    Call it when the run is closed and its outcomes are recorded, and before what it staged is removed. Two processes
    that do so at once get the same certificate: it, its entry in the ledger and the ledger's head that it names are one
    transaction.

    Args:
        governance: where the run is recorded.
        keys: with the signing key.
        run_id: a run whose record is complete (`Runs.finish`).
        holds: the holds that bind now (`HoldRegistry.holds`).

    Raises:
        EvidenceError: if there is no such run, it is not finished, its certificate has expired, there is no
            signing key, or it was replaced.
    """
    ledger = Ledger(governance)
    with governance.write() as connection:
        ledger.lock(connection)
        stored = _stored(connection, run_id)
        if stored is not None:
            return stored
        require_in_use(connection, keys)
        issued_at = governance.now(connection).astimezone(UTC)
        certificate = _certificate(connection, run_id, holds, ledger.head(connection), issued_at)
        content = certificate.model_dump(mode="json")
        signed = SignedCertificate(certificate=certificate, signature=Signature.of(keys, content))
        connection.execute(
            sa.insert(schema.certificate).values(
                run_id=run_id,
                document=canonical(signed.model_dump(mode="json")).decode(),
                issued_at=issued_at,
            )
        )
        body = {"sha256": certificate.sha256, "key_id": signed.signature.key_id, "issued_at": issued_at.isoformat()}
        ledger.append(connection, ISSUED, run_id, body)
        return signed


def get(governance: Governance, run_id: str) -> SignedCertificate:
    """The stored certificate of a run. Its signature is not checked here.

    Raises:
        EvidenceError: if the run has none (yet, or any more).
    """
    with governance.read() as connection:
        stored = _stored(connection, run_id)
    if stored is None:
        raise EvidenceError(
            f"run {run_id} has no certificate: it has not ended yet, there is no such run, or its evidence has "
            "expired; `lethe report` lists the runs"
        )
    return stored


def uncertified(governance: Governance, category: str) -> list[str]:
    """The runs of a category that finished and never got a certificate: their process died in between."""
    table = schema.run.c
    query = (
        sa.select(table.id)
        .outerjoin(schema.certificate, schema.certificate.c.run_id == table.id)
        .where(schema.certificate.c.run_id.is_(None), table.category == category, table.finished_at.is_not(None))
        .where(~sa.exists(_entries_of(table.id)))
        .order_by(table.started_at)
    )
    with governance.read() as connection:
        return list(connection.scalars(query))


def _entries_of(run_id: str | sa.ColumnElement[str]) -> sa.Select[tuple[int]]:
    """The ledger's entries of a run's certificate, of which there is at most one."""
    entry = schema.ledger.c
    return sa.select(entry.seq).where(entry.kind == ISSUED, entry.subject == run_id)


def _stored(connection: sa.Connection, run_id: str) -> SignedCertificate | None:
    table = schema.certificate.c
    text = connection.scalar(sa.select(table.document).where(table.run_id == run_id))
    if text is None:
        return None
    what = f"the stored certificate of run {run_id}"
    return read_document(SignedCertificate, read_json(text.encode(), what=what), what=what)


def _certificate(
    connection: sa.Connection, run_id: str, holds: Sequence[Hold], head: Head, issued_at: datetime
) -> Certificate:
    run = connection.execute(sa.select(schema.run).where(schema.run.c.id == run_id)).one_or_none()
    if run is None:
        raise EvidenceError(f"there is no run {run_id}; `lethe report` lists the latest")
    if run.finished_at is None:
        raise EvidenceError(
            f"run {run_id} is still {run.state}; its certificate is issued when its record is complete: wait, and see "
            f"`lethe report {run_id}`"
        )
    if connection.scalar(_entries_of(run_id)) is not None:
        raise EvidenceError(
            f"run {run_id} had its certificate, which has expired or was removed; it gets no other: look for a "
            "copy that was given out (`lethe certificate verify FILE`)"
        )
    policy = Policy.model_validate(run.policy)
    table = schema.run_dataset
    rows = connection.execute(sa.select(table).where(table.c.run_id == run_id).order_by(table.c.dataset)).mappings()
    recorded = recorded_outcomes(connection, run_id)
    datasets = tuple(_dataset(policy, DatasetRecord.of(row), recorded.get(row["dataset"])) for row in rows)
    return Certificate(
        format="lethe-certificate/1",
        run=run_id,
        state=run.state,
        dry_run=run.dry_run,
        complete=run.state == "succeeded" and not any(dataset.problem for dataset in datasets),
        category=run.category,
        title=policy.title,
        owner=policy.owner,
        legal_basis=policy.legal_basis,
        source=policy.source,
        retention=policy.rule,
        counting=_GONE_BY_REQUEST if run.cutoff == ON_REQUEST else policy.counting,
        time_zone=policy.time_zone,
        disposition=policy.disposition.value,
        policy_digest=run.policy_digest,
        as_of=run.as_of,
        clocks=run.clocks or {},
        cutoff=run.cutoff,
        trigger=run.trigger,
        started_at=run.started_at,
        finished_at=run.finished_at,
        superseded_by=run.superseded_by,
        software=run.software,
        datasets=datasets,
        holds=tuple(_matters(run.category, [dataset.name for dataset in datasets], holds)),
        ledger=head,
        issued_at=issued_at,
    )


def _dataset(policy: Policy, record: DatasetRecord, records: OutcomeDigest | None) -> CertifiedDataset:
    dataset, found, became, left = policy.dataset(record.dataset), record.candidates, record.tally, record.left
    return CertifiedDataset(
        name=dataset.name,
        title=dataset.title,
        kind=dataset.kind,
        store=dataset.store,
        location=dataset.location,
        found=_found(found, found.digest, found.holds_version) if found else None,
        became=_became(became) if became else None,
        records=records,
        left=_found(left) if left else None,
        validations=tuple(_validation(when, record.validation[when]) for when in WHEN if when in record.validation),
        approval=Approval(**record.approval.model_dump()) if record.approval else None,
        remains=tuple(_remains(remainder) for remainder in record.remainders),
        problem=record.problem or _disagreement(became, records),
    )


def _found(survey: Found, digest: str | None = None, holds_version: int | None = None) -> CertifiedFound:
    return CertifiedFound(
        total=survey.total,
        expired=survey.expired,
        due=survey.due,
        held=survey.held,
        kept_on=survey.kept_on,
        unjudgeable={why.value: count for why, count in survey.unjudgeable.items()},
        unreadable=survey.unreadable,
        digest=digest,
        holds_version=holds_version,
        rows_along=survey.rows_along,
        **({"mentions": survey.mentions} if survey.mentions else {}),
    )


def _became(tally: Became) -> CertifiedBecame:
    by_outcome = {outcome.value: count for outcome, count in tally.outcomes.items()}
    return CertifiedBecame(**by_outcome, went_along=tally.rows_with, bytes=tally.bytes)


def _validation(when: When, validation: Validation) -> Validated:
    return Validated(
        when=when,
        suite=validation.suite,
        success=validation.success,
        expectations=tuple(Expectation(**result.model_dump(exclude={"description"})) for result in validation.results),
    )


def _remains(remainder: Remainder) -> Remains:
    return Remains(what=remainder.what, gone_by=remainder.gone_by)


def disagreement(tally: Became, records: OutcomeDigest) -> str | None:
    """How record-level outcomes and the sum of the batches differ, in words; None where they agree."""
    counted = {outcome.value: count for outcome, count in tally.outcomes.items() if count}
    if counted == {name: count for name, count in records.outcomes.items() if count}:
        return None
    return f"{records.count:,} records have an outcome of their own, the batches say {tally.total:,}, or other ones"


def _disagreement(tally: Became | None, records: OutcomeDigest | None) -> str | None:
    return disagreement(tally, records) if tally is not None and records is not None else None


def _matters(category: str, datasets: Sequence[str], holds: Sequence[Hold]) -> Iterator[HeldMatter]:
    """The matters whose holds concern any of the datasets, in the order of their references."""
    by_matter: dict[str, list[Hold]] = {}
    for hold in holds:
        if hold.released_at is None and any(hold.concerns(category, dataset) for dataset in datasets):
            by_matter.setdefault(hold.matter, []).append(hold)
    for matter, placed in sorted(by_matter.items()):
        identifiers: Counter[str] = Counter()
        for hold in placed:
            identifiers.update({kind.value: count for kind, count in hold.identifier_counts.items()})
        yield HeldMatter(
            matter=matter,
            kinds=tuple(sorted({hold.kind.value for hold in placed})),
            holds=len(placed),
            identifiers=dict(sorted(identifiers.items())),
            since=min(hold.placed_at for hold in placed),
            release_proposed=any(hold.release_proposed_at is not None for hold in placed),
        )


# --- verifying --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VerifiedCertificate:
    """A certificate that holds.

    Attributes:
        document: the certificate with its signature.
        trusted: whether it is signed by a key that was given; if not, only that it is unchanged since it was signed by
            the key it names.
    """

    document: SignedCertificate
    trusted: bool

    @property
    def certificate(self) -> Certificate:
        """What it says."""
        return self.document.certificate


def verify(
    data: bytes, trusted: Sequence[Ed25519PublicKey] = (), *, what: str = "the certificate"
) -> VerifiedCertificate:
    """Check a certificate: needs no database and no secret.

    Args:
        data: the JSON document.
        trusted: public keys that it may be signed by; none: only self-consistency is checked.
        what: names it in messages, such as its file.

    Raises:
        EvidenceError: if it is not a certificate, was changed, or is signed by another key.
    """
    return verify_content(read_json(data, what=what), trusted, what=what)


def verify_content(content: object, trusted: Sequence[Ed25519PublicKey], *, what: str) -> VerifiedCertificate:
    """`verify`, for a document that was read already."""
    document = read_document(SignedCertificate, content, what=what)
    signed = document.certificate.model_dump(mode="json")  # what was read, or it would not have been
    return VerifiedCertificate(document, document.signature.require(signed, trusted, what=what))


@dataclass(frozen=True, slots=True)
class Audit:
    """What `audit` found.

    Attributes:
        certificates: how many there are.
        heads: the ledger's heads that they vouch for; give them to `Ledger.verify`.
        findings: what is wrong, in words.
    """

    certificates: int
    heads: tuple[Head, ...]
    findings: tuple[str, ...]


def audit(governance: Governance, trusted: Sequence[Ed25519PublicKey] = (), *, leaves: bool = False) -> Audit:
    """Check all stored certificates: signatures, that the ledger knows them, that none is missing, and their trees.

    Args:
        governance: the database.
        trusted: the public keys that certificates may be signed by.
        leaves: also work out every tree anew from its leaves (some seconds for a million records).
    """
    heads: list[Head] = []
    findings: list[str] = []
    with governance.read() as connection:
        issued = _issued(connection)
        run_ids = list(connection.scalars(sa.select(schema.certificate.c.run_id).order_by(schema.certificate.c.run_id)))
    for run_id in run_ids:
        with governance.read() as connection:
            try:
                certificate = audited(connection, run_id, trusted, issued.pop(run_id, None)).certificate
                findings += _tree_findings(connection, certificate, leaves=leaves)
            except EvidenceError as error:
                findings.append(str(error))
                continue
        heads.append(certificate.ledger)
    with governance.read() as connection:
        expired = _expired_before(connection)
    findings += [
        f"the certificate of run {run_id} is missing"
        for run_id, body in issued.items()
        if expired is None or _moment(body.get("issued_at")) >= expired
    ]
    return Audit(certificates=len(run_ids), heads=tuple(heads), findings=tuple(findings))


def audited(
    connection: sa.Connection, run_id: str, trusted: Sequence[Ed25519PublicKey], entry: Mapping[str, object] | None
) -> SignedCertificate:
    """A stored certificate that holds, is of its run, and is the one that the ledger knows.

    Args:
        connection: to the governance database.
        run_id: whose certificate.
        trusted: the public keys that it may be signed by.
        entry: the body of the ledger's entry of it; None: there is none.

    Raises:
        EvidenceError: if it is not.
    """
    what = f"the certificate of run {run_id}"
    text = connection.scalar(sa.select(schema.certificate.c.document).where(schema.certificate.c.run_id == run_id))
    if not isinstance(text, str):
        raise EvidenceError(f"{what} was changed beyond recognition")
    signed = verify(text.encode(errors="replace"), trusted, what=what).document
    certificate = signed.certificate
    if certificate.run != run_id:
        raise EvidenceError(f"{what}: it is that of run {certificate.run}")
    if entry is None:
        raise EvidenceError(f"{what}: the ledger has no entry of it")
    if entry.get("sha256") != certificate.sha256:
        raise EvidenceError(f"{what}: the ledger's entry is of another document")
    return signed


def _issued(connection: sa.Connection) -> dict[str, Mapping[str, object]]:
    """The ledger's entries of certificates, by run."""
    table = schema.ledger.c
    query = sa.select(table.subject, table.body).where(table.kind == ISSUED).order_by(table.seq)
    return {subject: _body(body) for subject, body in connection.execute(query)}


def _expired_before(connection: sa.Connection) -> datetime | None:
    """The moment before which evidence was deleted, as the ledger says."""
    query = sa.select(schema.ledger.c.body).where(schema.ledger.c.kind == EXPIRED)
    return max((_moment(_body(body).get("before")) for body in connection.scalars(query)), default=None)


def _body(text: object) -> Mapping[str, object]:
    """The body of an entry, or nothing where it was changed beyond recognition (which the chain shows)."""
    try:
        content = json.loads(str(text))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _moment(text: object) -> datetime:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _tree_findings(connection: sa.Connection, certificate: Certificate, *, leaves: bool) -> Iterator[str]:
    """What is wrong with the stored outcomes of a run, compared with its certificate."""
    recorded = recorded_outcomes(connection, certificate.run)
    for dataset in certificate.datasets:
        where = f"run {certificate.run}, {dataset.name}"
        if recorded.pop(dataset.name, None) != dataset.records:
            yield f"{where}: the record of its outcomes is not that of the certificate"
        elif dataset.records is not None:
            roots = chunk_roots(connection, certificate.run, dataset.name)
            if merkle.root_of(roots).hex() != dataset.records.root:
                yield f"{where}: record-level outcomes were changed, or are missing"
            elif leaves:
                for n, chunk in enumerate(chunks(connection, certificate.run, dataset.name)):
                    if merkle.root_of(leaf_hashes(chunk.packed, dataset.records.leaf)) != roots[
                        n
                    ] or not chunk.in_place(n):
                        yield f"{where}: record-level outcomes were changed, in chunk {n}"
    for name in recorded:
        yield f"run {certificate.run}, {name}: there are outcomes that the certificate does not know"


# --- as a page --------------------------------------------------------------------------------------------------------


def page(signed: SignedCertificate) -> str:
    """The certificate as an HTML page that prints on A4: everything in one file, nothing loaded from elsewhere."""
    return template("certificate.html.j2").render(
        certificate=signed.certificate,
        signature=signed.signature,
        sha256=signed.certificate.sha256,
        found_headings=FOUND_HEADINGS,
    )


@cache
def template(name: str) -> jinja2.Template:
    """A template of evidence that is read in a browser, and loads nothing from elsewhere."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = lambda number: f"{number:,}".replace(",", "\u202f")
    environment.filters["moment"] = lambda at: at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if at else "never"
    return environment.get_template(name)
