"""What is counted is shown wherever outcomes are, because all of that is a projection of `lethe.counts`."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.evidence_kit import KEYS, PUBLIC, ended_run
from tests.unit.test_golden import BECAME, FOUND, LEFT, PLAN, SEEN

from lethe import counts, lineage
from lethe.checks.results import ExpectationResult, Validation
from lethe.counts import Became, Found, Outcome
from lethe.evidence import certificate
from lethe.governance import Governance
from lethe.stages import DatasetReport, Report

GOLDEN = Path(__file__).parent / "golden"
NUMBERS = {outcome: 7_001 + number for number, outcome in enumerate(Outcome)}
ALL = Became.of(NUMBERS, rows_with=8_008, bytes=9)
"""A number of its own for each outcome."""


def signed(folder: Path, **columns: Any) -> certificate.SignedCertificate:  # noqa: ANN401
    """The certificate of a run that ended."""
    governance = Governance(sa.URL.create("sqlite", database=str(folder / "governance.db")))
    governance.create_schema()
    try:
        ended_run(governance, "webinars-1", **columns)
        return certificate.issue(governance, KEYS, "webinars-1", [])
    finally:
        governance.close()


def projections(folder: Path) -> dict[str, str]:
    """All that shows outcomes, as text."""
    from rich.console import Console

    from lethe.airflow import pages
    from lethe.cli import evidence, runs

    document = signed(folder, tally=ALL.model_dump(mode="json"))
    (dataset,) = lineage.for_stage("certify", PLAN, [lineage.Seen("registrations", SEEN.description, tally=ALL)]).inputs
    report = DatasetReport(dataset="registrations", candidates=FOUND, tally=ALL)
    found = Report(
        run="r", category="c", state="failed", as_of=datetime.now(UTC), cutoff="", digest="", datasets=(report,)
    )
    console = Console(file=io.StringIO(), width=400)
    console.print(runs._report_table(found))
    verified = Console(file=io.StringIO(), width=400)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evidence, "console", lambda: verified)
        patch.setattr(evidence, "say", lambda _text: None)
        evidence._say_certificate(document.certificate)
    return {
        "certificate": document.text(),
        "page of the certificate": certificate.page(document).replace("\u202f", ","),
        "lineage": str(dataset.facets[lineage.FACET]),
        "pages": str({heading: f"{number:,}" for heading, number in pages.figures([report]).items() if number}),
        "lethe report": console.file.getvalue(),  # type: ignore[attr-defined]
        "lethe certificate verify": verified.file.getvalue(),  # type: ignore[attr-defined]
        "logs": str(ALL),
        "ledger": json.dumps(ALL.model_dump(mode="json")),
    }


_OTHERWISE = {("pages", Outcome.HELD)}
"""Held is what is held at the end, there."""


def test_each_outcome_and_the_rows_that_went_along_show_everywhere(tmp_path: Path) -> None:
    shown = projections(tmp_path)
    for where, text in shown.items():
        for outcome, number in NUMBERS.items():
            if (where, outcome) not in _OTHERWISE:
                assert f"{number:,}" in text or str(number) in text, (where, outcome)
        assert "8,008" in text or "8008" in text, where


def test_what_goes_along_shows_before_it_goes(tmp_path: Path) -> None:
    found = FOUND.model_copy(update={"rows_along": 7_777})
    document = signed(tmp_path, candidates=found.model_dump(mode="json"))
    assert '"rows_along": 7777' in document.text()
    assert "7\u202f777" in certificate.page(document)
    (dataset,) = lineage.for_stage("discover", PLAN, [lineage.Seen("registrations", SEEN.description, found)]).inputs
    assert dataset.facets[lineage.FACET].rowsAlong == 7_777
    assert found.counted["rows_along"] == 7_777


def test_the_schema_of_the_facet_describes_each_outcome() -> None:
    from lethe.lineage.facets import OUTCOMES

    schema = json.loads((Path(lineage.__file__).parent / "schema.json").read_text())
    described = schema["$defs"]["LetheRetentionDatasetFacet"]["properties"]
    assert set(OUTCOMES) == set(Outcome)
    assert set(OUTCOMES.values()) <= set(described), "describe the further outcome in lineage/schema.json"


def test_an_outcome_says_what_it_is() -> None:
    assert set(Became.model_fields) == {outcome.value for outcome in Outcome} | {"rows_with", "bytes"}
    assert len({outcome.code for outcome in Outcome}) == len({outcome.heading for outcome in Outcome}) == len(Outcome)
    assert all(len(outcome.code) == 1 and outcome.words for outcome in Outcome)
    assert [outcome for outcome in Outcome if outcome.red] == [o for o in Outcome if o.colour == "bad"]


_MADE_UP = """
import pathlib, sys, types
source = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")
member = '    MISLAID = "mislaid", b"m", "Mislaid", "bad", "mislaid in the archive", True\\n'
source = source.replace("    BLOCKED = (", member + "    BLOCKED = (", 1)
source = source.replace("    blocked: int = 0\\n", "    blocked: int = 0\\n    mislaid: int = 0\\n", 1)
module = sys.modules["lethe.counts"] = types.ModuleType("lethe.counts")
exec(compile(source, sys.argv[1], "exec"), module.__dict__)
import tests.unit.test_outcomes_everywhere
tests.unit.test_outcomes_everywhere.made_up()
"""


def test_a_further_outcome_is_one_edit_and_shows_everywhere() -> None:
    """Made up in another process, whose `lethe.counts` has one member and one field more."""
    ended = subprocess.run(
        [sys.executable, "-c", _MADE_UP, str(counts.__file__)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def made_up() -> None:
    """In that other process: the tests of this file, with the further outcome."""
    from tempfile import TemporaryDirectory

    assert "mislaid" in set(Outcome)
    with TemporaryDirectory() as folder:
        test_each_outcome_and_the_rows_that_went_along_show_everywhere(Path(folder))
    with TemporaryDirectory() as folder:
        shown = projections(Path(folder))
    assert [where for where, text in shown.items() if "islaid" not in text] == []
    assert Became(mislaid=3).problem == "3 mislaid in the archive"  # type: ignore[call-arg]


# --- what was written before ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("since", "unknown"), [("blocked", '"blocked"'), ("leaves", '"leaf"')])
def test_a_certificate_of_before_there_was_more_in_it_still_holds_and_stays_as_it_was(since: str, unknown: str) -> None:
    text = (GOLDEN / f"certificate-before-{since}.json").read_text(encoding="utf-8")
    assert unknown not in text
    document = certificate.verify(text.encode(), PUBLIC).document
    assert json.loads(document.text()) == json.loads(text)
    assert document.certificate.sha256 in certificate.page(document)
    became = document.certificate.datasets[0].became
    assert became is not None
    assert became.blocked == 0


# --- a certificate says what happened, and nothing else ---------------------------------------------------------------


def _page(folder: Path, **columns: Any) -> str:  # noqa: ANN401
    return certificate.page(signed(folder, **columns))


def test_an_expectation_that_warns_does_not_say_that_somebody_was_asked(tmp_path: Path) -> None:
    warns = ExpectationResult(id="1", type="expect_x", success=False, asks=True, unexpected=3)
    validation = Validation(suite="webinars.candidates", results=(warns,))
    page = _page(tmp_path, validation={"before": validation.model_dump(mode="json")})
    assert "expect_x (3 records) (a warning, which stops nothing by itself)" in page
    assert "a person was asked" not in page
    assert "Within the limits of the policy, so nobody was asked" in page


@pytest.mark.parametrize(
    ("approved", "by", "says"),
    [
        (True, "eva", "Approved by eva, "),
        (False, "eva", "Refused by eva, "),
        (False, "nobody in time", "Not approved: nobody answered in time, "),
    ],
)
def test_who_decided_is_said_as_it_was(tmp_path: Path, approved: bool, by: str, says: str) -> None:
    approval = {"approved": approved, "by": by, "reasons": ["x: 9"], "digest": "d" * 64, "at": "2026-03-01T02:15:00Z"}
    assert says in _page(tmp_path, approval=approval)


def test_a_dry_run_that_failed_is_no_certificate_of_destruction(tmp_path: Path) -> None:
    governance = Governance(sa.URL.create("sqlite", database=str(tmp_path / "governance.db")))
    governance.create_schema()
    ended_run(governance, "webinars-1", state="failed", approval=None, tally=None, left=None, problem="no such table")
    with governance.write() as connection:
        connection.execute(sa.text("UPDATE lethe_run SET dry_run = 1"))
    page = certificate.page(certificate.issue(governance, KEYS, "webinars-1", []))
    governance.close()
    assert "Report of a dry run" in page
    assert "Nothing was erased. What is missing is said at each dataset." in page
    assert "Nothing to decide in a dry run." in page
    assert "Certificate of destruction" not in page


def test_counts_are_summed_and_said() -> None:
    total = sum([BECAME, BECAME], Became())
    assert total == Became(erased=60, held=2, renewed=6, gone=2, rows_with=120, bytes=8_192)
    assert str(BECAME) == "30 erased, 1 held, 3 renewed, 1 gone before, 60 rows went along"
    assert str(Became()) == "nothing erased"
    assert LEFT.due == 0
    assert Found(total=1, expired=1, held=0).counted["due"] == 1
