"""What stages tell OpenLineage: complete, valid, and without personal data."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import jsonschema
import pytest

from lethe import lineage
from lethe.checks.results import ExpectationResult, Validation
from lethe.counts import Became, Found, Unjudgeable
from lethe.lineage import Seen, Stage
from lethe.stages import Plan
from lethe.stores.base import Candidates, Description, FieldSchema

PLAN = Plan(
    run="webinars-20261121t021500-0a1b2c",
    category="webinars",
    as_of=datetime(2026, 11, 21, 2, 15, tzinfo=UTC),
    policy_digest="a" * 64,
    cutoff="2025-05-21",
    datasets=("registrations",),
)
DESCRIPTION = Description(
    namespace="postgres://warehouse:5432",
    name="crm.marketing.webinar_registrations",
    fields=(FieldSchema(name="registration_id", type="integer"), FieldSchema(name="webinar_date", type="date")),
)
CANDIDATES = Candidates(
    total=1000,
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
VALIDATION = Validation(
    suite="webinars.candidates",
    results=(
        ExpectationResult(
            id="1", type="expect_column_values_to_be_unique", column="record", success=True, unexpected=0
        ),
        ExpectationResult(
            id="2", type="expect_column_values_to_not_be_null", column="webinar_date", success=False, unexpected=2
        ),
        ExpectationResult(id="3", type="expect_table_row_count_to_be_between", success=False, asks=True),
    ),
)
TALLY = Became(erased=30, held=1, renewed=3, gone=1, rows_with=60, bytes=0)
LEFT = Found(total=970, expired=6, held=4, kept_on=2, unjudgeable={Unjudgeable.NO_CLOCK: 4})
SEEN = Seen("registrations", DESCRIPTION, CANDIDATES, VALIDATION, TALLY, LEFT)


def event(told: lineage.StageLineage) -> dict[str, Any]:
    """The event that Airflow would send, as JSON."""
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.serde import Serde

    taken: Any = OperatorLineage(told.inputs, told.outputs, told.run_facets, told.job_facets)
    sent = RunEvent(
        eventType=RunState.COMPLETE,
        eventTime="2026-11-21T02:15:00+00:00",
        run=Run("01941e30-0000-7000-8000-000000000000", taken.run_facets),
        job=Job("airflow", "webinars.registrations.erase", taken.job_facets),
        inputs=taken.inputs,
        outputs=taken.outputs,
    )
    return dict(json.loads(Serde.to_json(sent)))


def facets(told: lineage.StageLineage) -> dict[str, Any]:
    """The facets of the only input."""
    (one,) = event(told)["inputs"]
    return {**one["facets"], **one.get("inputFacets", {})}


@pytest.mark.parametrize("stage", list(Stage))
def test_every_stage_reads_its_dataset_and_only_erasing_changes_it(stage: Stage) -> None:
    sent = event(lineage.for_stage(stage, PLAN, [SEEN]))
    names = [(one["namespace"], one["name"]) for one in sent["inputs"]]
    assert names == [("postgres://warehouse:5432", "crm.marketing.webinar_registrations")]
    assert [(one["namespace"], one["name"]) for one in sent["outputs"]] == (names if stage is Stage.ERASE else [])


@pytest.mark.parametrize("stage", list(Stage))
def test_our_facets_are_as_their_schema_says(stage: Stage) -> None:
    schema = json.loads(lineage.SCHEMA.read_text())
    sent = event(lineage.for_stage(stage, PLAN, [SEEN]))
    datasets = [one["facets"]["lethe_retention"] for one in (*sent["inputs"], *sent["outputs"])]
    for facet in (sent["run"]["facets"]["lethe_retention"], *datasets):
        identity, _, pointer = facet["_schemaURL"].partition("#")
        assert identity == schema["$id"]
        checker = jsonschema.Draft202012Validator(
            {**schema, "$ref": f"#{pointer}"}, format_checker=jsonschema.FormatChecker()
        )
        checker.validate(facet)


def test_the_schema_knows_every_reason_for_which_a_record_cannot_be_judged() -> None:
    described = json.loads(lineage.SCHEMA.read_text())["$defs"]
    named = [
        set(fields["propertyNames"]["enum"])
        for definition in described.values()
        for fields in definition.get("properties", {}).values()
        if "propertyNames" in fields
    ]
    assert named == [{reason.value for reason in Unjudgeable}] * 2


def test_what_records_are_judged_by_is_read_by_the_stages_that_look_at_records() -> None:
    accounts = Description(namespace="postgres://warehouse:5432", name="crm.customers.accounts")
    seen = replace(SEEN, description=DESCRIPTION.model_copy(update={"judged_by": {"account": accounts}}))
    for stage in Stage:
        names = [one["name"] for one in event(lineage.for_stage(stage, PLAN, [seen, seen]))["inputs"]]
        looks = stage in (Stage.DISCOVER, Stage.VALIDATE, Stage.ERASE, Stage.VERIFY)
        assert names.count(accounts.name) == looks, stage


def test_a_suppression_list_is_written_by_the_stage_that_erases() -> None:
    listed = Description(namespace="postgres://warehouse:5432", name="crm.newsletter.suppression_list")
    seen = replace(SEEN, description=DESCRIPTION.model_copy(update={"suppression": listed}))
    for stage in Stage:
        names = [one["name"] for one in event(lineage.for_stage(stage, PLAN, [seen, seen]))["outputs"]]
        assert names.count(listed.name) == (stage is Stage.ERASE), stage


def test_a_dataset_says_what_was_found_and_what_became_of_it() -> None:
    facet = facets(lineage.for_stage(Stage.CERTIFY, PLAN, [SEEN]))["lethe_retention"]
    counts = {name: value for name, value in facet.items() if not name.startswith("_")}
    assert counts == {
        "run": PLAN.run,
        "stage": "certify",
        "category": "webinars",
        "dataset": "registrations",
        "cutoff": "2025-05-21",
        "policyDigest": "a" * 64,
        "candidates": 35,
        "candidatesDigest": "b" * 64,
        "total": 1000,
        "expired": 40,
        "held": 3,
        "keptOn": 2,
        "unjudgeable": {"no_clock": 4, "unparsable_clock": 1},
        "erased": 30,
        "anonymised": 0,
        "heldSince": 1,
        "renewed": 3,
        "gone": 1,
        "blocked": 0,
        "rowsAlong": 0,
        "rowsWith": 60,
        "bytesFreed": 0,
        "left": 0,
        "heldAfter": 4,
        "unjudgeableAfter": {"no_clock": 4},
    }


def test_what_is_not_known_is_left_out() -> None:
    told = lineage.for_stage("discover", PLAN, [Seen("registrations", DESCRIPTION)])
    found = facets(told)
    assert set(found) == {"schema", "lethe_retention"}
    assert {"candidates", "erased", "left"}.isdisjoint(found["lethe_retention"])


def test_the_run_says_by_which_policy_and_cutoff_it_judges() -> None:
    facet = event(lineage.for_stage(Stage.PLAN, PLAN, []))["run"]["facets"]["lethe_retention"]
    assert (facet["policyDigest"], facet["cutoff"], facet["dryRun"]) == ("a" * 64, "2025-05-21", False)
    assert facet["asOf"] == "2026-11-21T02:15:00+00:00"


def test_a_plan_that_failed_still_names_its_datasets() -> None:
    sent = event(lineage.for_stage(Stage.PLAN, None, [Seen("registrations", DESCRIPTION)]))
    assert sent["run"]["facets"] == {}
    assert set(sent["inputs"][0]["facets"]) == {"schema"}


def test_the_schema_is_told_in_order() -> None:
    fields = facets(lineage.for_stage(Stage.DISCOVER, PLAN, [SEEN]))["schema"]["fields"]
    assert [(one["name"], one["type"], one["ordinal_position"]) for one in fields] == [
        ("registration_id", "integer", 1),
        ("webinar_date", "date", 2),
    ]


def test_expectations_are_assertions_and_those_that_ask_only_warn() -> None:
    found = facets(lineage.for_stage(Stage.VALIDATE, PLAN, [SEEN]))["dataQualityAssertions"]
    assertions = found["assertions"]
    assert [(one["name"], one["success"], one["severity"]) for one in assertions] == [
        ("webinars.candidates.1", True, "error"),
        ("webinars.candidates.2", False, "error"),
        ("webinars.candidates.3", False, "warn"),
    ]
    assert assertions[1]["actual"] == "2"
    assert [one.get("column") for one in assertions] == [None, "webinar_date", None], "only the dataset's own columns"
    assert found["_schemaURL"].startswith("https://openlineage.io/spec/facets/")


def test_stages_over_all_datasets_tell_each_of_them() -> None:
    other = replace(SEEN, dataset="attendance", description=Description(namespace="s3://lake", name="attendance/"))
    sent = event(lineage.for_stage(Stage.APPROVE, PLAN, [SEEN, other]))
    assert [one["name"] for one in sent["inputs"]] == ["crm.marketing.webinar_registrations", "attendance/"]
    assert "schema" not in sent["inputs"][1]["facets"]


def test_neither_where_candidates_are_staged_nor_what_is_unreadable_is_told() -> None:
    text = json.dumps(event(lineage.for_stage(Stage.CERTIFY, PLAN, [SEEN])))
    assert CANDIDATES.reference not in text
    assert "f" * 64 not in text
    assert "2024-01-01" not in text


def test_what_is_told_survives_being_sent_to_another_process() -> None:
    told = lineage.for_stage(Stage.ERASE, PLAN, [SEEN])
    assert event(pickle.loads(pickle.dumps(told))) == event(told)  # noqa: S301 - our own


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(ValueError, match="is not a valid Stage"):
        lineage.for_stage("delete", PLAN, [SEEN])


def test_importing_it_imports_neither_openlineage_nor_airflow() -> None:
    heavy = ("openlineage", "airflow", "great_expectations")
    script = f"import lethe.lineage, sys; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
