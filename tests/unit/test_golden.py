"""What leaves Lethe keeps its form: certificates and lineage facets are, letter by letter, what the golden files say.

Others read them: auditors, catalogues, scripts. `LETHE_GOLDEN=write` writes the files anew; the change then shows in
the review.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.evidence_kit import AS_OF, KEYS, ended_run

from lethe import lineage
from lethe.checks.results import ExpectationResult, Validation
from lethe.counts import Became, Found, Outcome, Unjudgeable
from lethe.evidence import certificate
from lethe.evidence.signed import Signature
from lethe.governance import Governance
from lethe.lineage import Seen, Stage
from lethe.stages import Plan
from lethe.stores.base import Candidates, Description, FieldSchema

GOLDEN = Path(__file__).parent / "golden"
FOUND = Candidates(
    total=1_000,
    expired=40,
    held=3,
    kept_on=2,
    unjudgeable={Unjudgeable.UNPARSABLE_CLOCK: 1, Unjudgeable.NO_CLOCK: 4},
    oldest=date(2024, 1, 1),
    unreadable=("f" * 64,),
    reference="lethe_scratch.k_0a1b2c",
    batches=1,
    batch_size=50,
    digest="b" * 64,
    holds_version=7,
)
BECAME = Became(erased=30, held=1, renewed=3, gone=1, rows_with=60, bytes=4_096)
LEFT = Found(total=970, expired=6, held=4, kept_on=2, unjudgeable={Unjudgeable.NO_CLOCK: 4})
OUTCOMES = {Outcome.ERASED: 30, Outcome.HELD: 1, Outcome.RENEWED: 3, Outcome.GONE: 1}
VALIDATION = Validation(
    suite="webinars.candidates",
    results=(
        ExpectationResult(id="1", type="expect_column_values_to_be_unique", column="record", success=True),
        ExpectationResult(
            id="2", type="expect_column_values_to_not_be_null", column="webinar_date", success=False, unexpected=2
        ),
    ),
)
SEEN = Seen(
    "registrations",
    Description(
        namespace="postgres://warehouse:5432",
        name="crm.marketing.webinar_registrations",
        fields=(FieldSchema(name="registration_id", type="integer"),),
    ),
    FOUND,
    VALIDATION,
    BECAME,
    LEFT,
)
PLAN = Plan(
    run="webinars-20261121t021500-0a1b2c",
    category="webinars",
    as_of=datetime(2026, 11, 21, 2, 15, tzinfo=UTC),
    policy_digest="a" * 64,
    cutoff="2025-05-21",
    datasets=("registrations",),
)


@pytest.fixture
def governance(tmp_path: Path) -> Iterator[Governance]:
    database = Governance(sa.URL.create("sqlite", database=str(tmp_path / "governance.db")))
    database.create_schema()
    yield database
    database.close()


def golden(name: str, text: str) -> None:
    """Compare a text with its golden file, or write that."""
    file = GOLDEN / name
    if os.environ.get("LETHE_GOLDEN") == "write":
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def issued(governance: Governance) -> certificate.SignedCertificate:
    """A certificate, without what is another one's each time: the moment, the ledger's head and the signature."""
    became = {f"{outcome}-{n}".encode(): outcome for outcome, count in OUTCOMES.items() for n in range(count)}
    ended_run(
        governance,
        "webinars-1",
        became,
        candidates=FOUND.model_dump(mode="json"),
        tally=BECAME.model_dump(mode="json"),
        left=LEFT.model_dump(mode="json"),
        validation={"before": VALIDATION.model_dump(mode="json")},
    )
    signed = certificate.issue(governance, KEYS, "webinars-1", [])
    content = signed.certificate.model_copy(
        update={"issued_at": AS_OF, "ledger": signed.certificate.ledger.model_copy(update={"hash": "0" * 64})}
    )
    dumped = content.model_dump(mode="json")
    return certificate.SignedCertificate(certificate=content, signature=Signature.of(KEYS, dumped))


def test_a_certificate_is_as_its_golden_file(governance: Governance) -> None:
    signed = issued(governance)
    golden("certificate.json", signed.text())
    golden("certificate.html", certificate.page(signed))


@pytest.mark.parametrize("stage", [Stage.DISCOVER, Stage.ERASE, Stage.CERTIFY])
def test_a_lineage_facet_is_as_its_golden_file(stage: Stage) -> None:
    from openlineage.client.serde import Serde

    told = lineage.for_stage(stage, PLAN, [SEEN])
    (dataset,) = told.inputs
    facets: dict[str, Any] = json.loads(Serde.to_json(dataset.facets[lineage.FACET]))
    golden(f"facet-{stage}.json", json.dumps(facets, indent=2) + "\n")
