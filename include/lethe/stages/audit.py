"""An audit of the evidence: every entry of the ledger, every certificate, and anchors that are kept elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lethe.environment import Environment
from lethe.evidence.anchors import vouched_heads
from lethe.evidence.certificate import audit
from lethe.evidence.ledger import Head


@dataclass(frozen=True, slots=True)
class EvidenceAudit:
    """What an audit found.

    Attributes:
        entries: of the ledger.
        certificates: that are stored.
        anchors: from elsewhere that were compared.
        head: the ledger's last entry.
        findings: what is wrong, a sentence each. Empty: the evidence holds.
        unguarded: triggers that the governance database lacks, so that it does not refuse changes of the ledger.
    """

    entries: int
    certificates: int
    anchors: int
    head: Head
    findings: tuple[str, ...]
    unguarded: tuple[str, ...]


def audit_evidence(
    env: Environment,
    trusted: Sequence[Ed25519PublicKey],
    *,
    anchors: Sequence[str] = (),
    conn_id: str | None = None,
    leaves: bool = False,
) -> EvidenceAudit:
    """Check all evidence that there is.

    Args:
        env: whose governance database.
        trusted: the public keys that may have signed.
        anchors: files or ``s3://bucket/prefix`` with anchors, or certificates, kept elsewhere.
        conn_id: the connection of those buckets.
        leaves: also work out the tree of every certificate anew from its outcomes.

    Raises:
        EvidenceError: if an anchor does not hold, or there is none at a place.
        ParameterError, StoreError, StoreUnavailable: if a place cannot be read.
    """
    outside = [head for place in anchors for head in vouched_heads(place, env.connection, trusted, conn_id=conn_id)]
    certificates = audit(env.governance, trusted, leaves=leaves)
    chain = env.ledger.verify([*outside, *certificates.heads])
    return EvidenceAudit(
        entries=chain.entries,
        certificates=certificates.certificates,
        anchors=len(outside),
        head=chain.head,
        findings=(
            *(f"{finding.message}." for finding in chain.findings),
            *(f"{text}." for text in certificates.findings),
        ),
        unguarded=env.ledger.unguarded(),
    )
