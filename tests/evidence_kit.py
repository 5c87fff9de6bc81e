"""Ended runs with record-level outcomes in a governance database, for testing the evidence of them."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from lethe.counts import Became, Found, Outcome
from lethe.evidence.outcomes import record_outcomes
from lethe.governance import Governance, schema
from lethe.keys import Keys
from lethe.policy import Policy, parse
from lethe.stores.base import Candidates

KEYS = Keys(b"m" * 32, b"s" * 32)
PUBLIC = [KEYS.signing_key().public_key()]
CLAIM = "c1a1" * 8
"""By which the records of these runs are completed."""
AS_OF = datetime(2026, 3, 1, 2, 15, tzinfo=UTC)
POLICY = parse(
    """
category: webinars
title: Webinar <registrations> & attendance
owner: marketing-data
legal_basis: Consent
source: "§ 5.5"
retention: {keep_for: P18M}
time_zone: Europe/Prague
schedule: null
limits: {records: 1000, share: 0.5}
datasets:
  - name: registrations
    kind: table
    store: lethe_crm
    table: marketing.webinar_registrations
    key: [registration_id]
    clock: {column: webinar_date}
    identifiers: {email: [email]}
""",
    where="webinars.yaml",
)


def ended_run(
    governance: Governance,
    run_id: str,
    became: dict[bytes, Outcome] | None = None,
    *,
    keys: Keys = KEYS,
    policy: Policy = POLICY,
    state: str = "succeeded",
    finished_at: datetime | None = AS_OF,
    **columns: Any,  # noqa: ANN401
) -> None:
    """A run that has ended, with the record-level outcomes of its one dataset."""
    became = became or {}
    survey = Found(total=10 + len(became), expired=len(became), held=0)
    candidates = Candidates(
        **survey.model_dump(),
        reference="lethe_scratch.x",
        batches=1,
        batch_size=50_000,
        digest="c" * 64,
        holds_version=0,
    )
    tally = Became(**Counter(outcome.value for outcome in became.values()))
    values: dict[str, Any] = {
        "run_id": run_id,
        "dataset": "registrations",
        "candidates": candidates.model_dump(mode="json"),
        "validation": {
            "before": {
                "suite": "webinars.registrations.candidates",
                "results": [{"id": "1", "type": "expect_column_values_to_be_unique", "success": True}],
            }
        },
        "approval": {"approved": True, "by": "limits", "reasons": [], "digest": "d" * 64, "at": AS_OF.isoformat()},
        "tally": tally.model_dump(mode="json"),
        "left": Found(total=10, expired=0, held=0).model_dump(mode="json"),
        "remainders": [{"what": "dead tuples until the next vacuum", "gone_by": "2026-03-02"}],
        **columns,
    }
    with governance.write() as connection:
        connection.execute(
            sa.insert(schema.run).values(
                id=run_id,
                category=policy.category,
                as_of=AS_OF,
                policy_digest=policy.digest,
                policy=policy.model_dump(mode="json", by_alias=True),
                cutoff="2024-09-01",
                state="open",
                dry_run=False,
                trigger="test",
                started_at=AS_OF,
                active_at=AS_OF,
                settling_by=CLAIM,
                clocks={"this machine": 0, "lethe_governance": 400, "lethe_crm": -1200},
                software="lethe 0",
            )
        )
        connection.execute(sa.insert(schema.run_dataset).values(**values))
    record_outcomes(governance, keys, run_id, "registrations", iter(became.items()), claim=CLAIM)
    with governance.write() as connection:
        connection.execute(
            sa.update(schema.run).where(schema.run.c.id == run_id).values(state=state, finished_at=finished_at)
        )
