"""Evidence has a retention period of its own: certificates and record-level outcomes go when it has ended.

The ledger stays whole, with the hashes of what went and an entry that says what was deleted. The period is ten years
after a certificate was issued, unless ``LETHE_EVIDENCE_PERIOD`` says else (ISO 8601, such as P12Y): as long as the
longest claims that the evidence defends against, and no longer than it takes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from lethe.errors import ParameterError
from lethe.evidence.certificate import EXPIRED
from lethe.evidence.ledger import Ledger
from lethe.governance import Governance, schema
from lethe.periods import Period, cutoff_for

DEFAULT_PERIOD = "P10Y"
VARIABLE = "LETHE_EVIDENCE_PERIOD"

_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class ExpiredEvidence:
    """What `expire` deleted: evidence of runs that ended before a moment."""

    before: datetime
    certificates: int
    trees: int


def evidence_period() -> Period:
    """How long evidence is kept.

    Raises:
        ParameterError: if the environment variable is not a period.
    """
    text = os.environ.get(VARIABLE) or DEFAULT_PERIOD
    try:
        return Period.parse(text)
    except ValueError as error:
        raise ParameterError(f"{VARIABLE}: {error}") from None


def expire(
    governance: Governance, *, period: Period, as_of: datetime, before: datetime | None = None
) -> ExpiredEvidence:
    """Delete the evidence whose period has ended, and say so in the ledger. Again: deletes what has expired since.

    Args:
        governance: the database.
        period: how long evidence is kept, counted from the day (UTC) on which its certificate was issued.
        as_of: the moment to judge by (timezone-aware), which has come by every clock.
        before: only what is older than this (timezone-aware).

    Raises:
        ParameterError: if `before` is later than the period allows; nothing is deleted.
    """
    ended = cutoff_for(as_of, ZoneInfo("UTC"), period).instant
    if before is not None and before > ended:
        raise ParameterError(
            f"evidence from {ended.date().isoformat()} on is kept for {period} ({VARIABLE}); choose an earlier moment"
        )
    limit = (before or ended).astimezone(UTC)
    certificate, tree = schema.certificate, schema.proof_tree
    old_runs = sa.select(certificate.c.run_id).where(certificate.c.issued_at < limit)
    with governance.write() as connection:
        trees = connection.execute(sa.delete(tree).where(tree.c.run_id.in_(old_runs))).rowcount
        certificates = connection.execute(sa.delete(certificate).where(certificate.c.issued_at < limit)).rowcount
        if certificates:
            body = {"before": limit.isoformat(), "period": str(period), "certificates": certificates, "trees": trees}
            Ledger(governance).append(connection, EXPIRED, "evidence", body)
    _delete_orphans(governance, limit)
    return ExpiredEvidence(before=limit, certificates=certificates, trees=trees)


def _delete_orphans(governance: Governance, limit: datetime) -> None:
    """Delete the leaves of trees that are gone, some megabytes a transaction. A crash leaves them to the next time."""
    leaves, run = schema.proof_leaves, schema.run
    kept = sa.select(schema.proof_tree.c.run_id).where(schema.proof_tree.c.run_id == leaves.c.run_id)
    query = (
        sa.select(leaves.c.run_id, leaves.c.dataset, leaves.c.n)
        .join(run, run.c.id == leaves.c.run_id)
        .where(run.c.finished_at < limit, ~sa.exists(kept))
        .limit(_AT_ONCE)
    )
    while True:
        with governance.write() as connection:
            found = connection.execute(query).all()
            for row in found:
                mine = (leaves.c.run_id == row.run_id, leaves.c.dataset == row.dataset, leaves.c.n == row.n)
                connection.execute(sa.delete(leaves).where(*mine))
        if len(found) < _AT_ONCE:
            return
