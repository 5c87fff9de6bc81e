"""The schedule as a whole: every row has a policy that says the same, or a reason, and others can read it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.cli_kit import Command

from lethe.cli.register import FORMATS, against, as_csv, as_dbt, as_markdown, as_odcs
from lethe.errors import PolicyError
from lethe.policy import Policy, load_all
from lethe.policy.schedule import ScheduleRow, departures, load_schedule, unlisted
from lethe.stages.coverage import known_exceptions

ROW: dict[str, Any] = {
    "category": "webinars",
    "records": "registrations",
    "starts_on": "the day of the webinar",
    "keep_for": "P18M",
    "source": "§ 5.5",
}
SCHEDULE = yaml.safe_dump({"rows": [ROW]})


@pytest.fixture
def policies(root: Path) -> dict[str, Policy]:
    return load_all(root / "include" / "policies")


@pytest.fixture
def rows(root: Path) -> dict[str, ScheduleRow]:
    return load_schedule(root / "include" / "policies")


def test_policies_keep_to_the_schedule(rows: dict[str, ScheduleRow], policies: dict[str, Policy]) -> None:
    assert len(rows) == 23
    assert list(departures(rows, policies)) == []
    assert unlisted(rows, policies) == []


def test_the_policies_of_all_rows_say_what_the_rows_say(rows: dict[str, ScheduleRow]) -> None:
    """They are examples of how each row can be said, and no policy has been left out."""
    policies = load_all(Path(__file__).parent / "schedule")
    declared = {name: row.model_copy(update={"no_policy": None}) for name, row in rows.items()}
    assert list(departures(declared, policies)) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep_for": "P17M"}, "retention.keep_for: is P18M, the schedule says P17M"),
        ({"keep_for": None, "erase_within": "P18M"}, "retention.erase_within: is left out, the schedule says P18M"),
        ({"keep_for": None, "at_once": True}, "the schedule says at once on the day of the webinar"),
        ({"keep_for": None, "stated_per": "country"}, "states a period per country: give by_value"),
        ({"counted_from": "end_of_year"}, "retention.counted_from: is clock, the schedule says end_of_year"),
        ({"dispositions": ["anonymise"]}, "disposition: is erase, the schedule says anonymise"),
        ({"kept_while": "the bill is unsettled"}, "none has keep_while, and the schedule keeps records on"),
        ({"source": "§ 5.1"}, "source: is § 5.5, the schedule says § 5.1"),
        ({"no_policy": "not yet"}, r"there is no policy \(not yet\): take no_policy out"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_policy_that_contradicts_its_row_fails_the_check(
    change: dict[str, Any], message: str, policies: dict[str, Policy]
) -> None:
    row = ScheduleRow.model_validate(ROW | change)
    told = list(departures({"webinars": row}, {"webinars": policies["webinars"]}))
    assert any(re.search(message, one) for one in told), told
    assert all(one.startswith("webinars.yaml: ") for one in told)


def test_a_country_may_lengthen_a_period_and_not_shorten_it(policies: dict[str, Policy]) -> None:
    row = ScheduleRow.model_validate(ROW)
    for period, many in (("P2Y", 0), ("P1Y", 1)):
        retention = {"keep_for": "P18M", "by_value": {"column": "country", "periods": {"DE": period}}}
        policy = Policy.model_validate(policies["webinars"].model_dump(by_alias=True) | {"retention": retention})
        assert len(list(departures({"webinars": row}, {"webinars": policy}))) == many


def test_a_row_without_a_policy_needs_a_reason(policies: dict[str, Policy]) -> None:
    assert list(departures({"webinars": ScheduleRow.model_validate(ROW)}, {})) == [
        "schedule.yaml: webinars has no policy: write one, or say with no_policy why there is none yet"
    ]
    assert list(departures({"webinars": ScheduleRow.model_validate(ROW | {"no_policy": "not yet"})}, {})) == []


def test_the_check_compares_with_the_schedule_that_lies_beside_the_policies(lethe: Command) -> None:
    schedule = lethe.folder / "schedule.yaml"
    schedule.write_text(SCHEDULE)
    lethe("policy", "check")
    schedule.write_text(SCHEDULE.replace("P18M", "P6M"))
    assert "webinars.yaml: retention.keep_for: is P18M, the schedule says P6M" in lethe("policy", "check", exit_code=1)
    schedule.write_text(SCHEDULE.replace("webinars", "events"))
    text = lethe("policy", "check", exit_code=1)
    assert "schedule.yaml: events has no policy" in text
    assert "Remark: schedule.yaml has no row of the category webinars" in text
    for wrong, message in (("rows: 1", "rows"), ("- 1", "is a mapping"), ("a: [", "cannot be read as YAML")):
        schedule.write_text(wrong)
        assert message in lethe("policy", "check", exit_code=1)


def test_what_lies_beside_the_policies_is_read_as_they_are(tmp_path: Path) -> None:
    """A field that is there twice is refused, words are words, and anchors stand for nothing."""
    schedule = tmp_path / "schedule.yaml"
    schedule.write_text(SCHEDULE)
    assert list(load_schedule(tmp_path / "policies")) == ["webinars"]
    for wrong in (f"{SCHEDULE}\n{SCHEDULE}", SCHEDULE.replace("rows:", "rows: &a"), ""):
        schedule.write_text(wrong)
        with pytest.raises(PolicyError, match=r"^schedule\.yaml: "):
            load_schedule(tmp_path / "policies")
    assert known_exceptions(tmp_path / "policies") == ()
    coverage = tmp_path / "coverage.yaml"
    coverage.write_text("# nothing is known\n")
    assert known_exceptions(tmp_path / "policies") == ()
    coverage.write_text("exceptions:\n- {store: no, table: t, reason: on, look_again: 2026-11-21}\n")
    [known] = known_exceptions(tmp_path / "policies")
    assert (known.store, known.reason, known.look_again) == ("no", "on", date(2026, 11, 21))


# --- the register -----------------------------------------------------------------------------------------------------


def test_the_page_of_the_schedule_is_up_to_date(
    root: Path, rows: dict[str, ScheduleRow], policies: dict[str, Policy]
) -> None:
    page = (root / "docs" / "schedule.md").read_text()
    assert page == as_markdown(rows, policies), "run `lethe policy register > docs/schedule.md`"
    assert "| webinars | 18 months after the day of the webinar; to the end of a working day (CZ) |" in page


def test_the_record_of_processing_has_a_line_a_category(
    rows: dict[str, ScheduleRow], policies: dict[str, Policy]
) -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv(rows, policies))))
    assert [line["Category"] for line in lines] == list(rows)
    limits = {line["Category"]: line["Envisaged time limits for erasure (Article 30(1)(f))"] for line in lines}
    assert limits["leads"] == "within 6 months after the last communication"
    assert limits["invoices"] == "10 years after the end of the year of the invoicing; to the end of a working day (CZ)"


@pytest.mark.parametrize("form", [as_odcs, as_dbt])
def test_what_is_declared_elsewhere_is_what_was_exported_and_another_period_is_found(
    form: Callable[..., str],
    rows: dict[str, ScheduleRow],
    policies: dict[str, Policy],
    tmp_path: Path,
) -> None:
    path = tmp_path / "declared.yaml"
    path.write_text(form(rows, policies))
    assert "retention" in path.read_text()
    assert list(against(path, policies)) == []
    shorter = policies | {
        "webinars": policies["webinars"].model_copy(update={"retention": policies["events"].retention})
    }
    assert len(list(against(path, shorter))) == 1
    assert any("and no policy has it" in one for one in against(path, {"events": policies["events"]}))


def test_dbt_sources_and_the_older_place_of_meta_are_read(policies: dict[str, Policy], tmp_path: Path) -> None:
    path = tmp_path / "schema.yml"
    path.write_text(
        "version: 2\nsources: [{name: crm, tables: [{name: webinar_registrations, "
        "meta: {retention: {period: P2Y}}}]}]\n"
    )
    [told] = against(path, policies)
    assert told.startswith("schema.yml: webinar_registrations is kept for P2Y; webinars.yaml says for 18 months")


@pytest.mark.parametrize(
    "text", ["a: [", "a: 1", "kind: DataContract\nslaProperties: [{property: retention, unit: w}]"]
)
def test_a_file_that_declares_nothing_is_refused(text: str, policies: dict[str, Policy], tmp_path: Path) -> None:
    path = tmp_path / "declared.yaml"
    path.write_text(text)
    with pytest.raises(PolicyError, match=r"^declared\.yaml: "):
        list(against(path, policies))


def test_the_command_prints_every_format_and_compares(lethe: Command) -> None:
    for form in FORMATS:
        assert "webinars" in lethe("policy", "register", "--format", form)
    declared = lethe.folder / "contract.yaml"
    declared.write_text(lethe("policy", "register", "--format", "odcs"))
    assert "declares what the policies say" in lethe("policy", "register", "--against", str(declared))
    declared.write_text(declared.read_text().replace("value: 18", "value: 6"))
    assert "is kept for P6M" in lethe("policy", "register", "--against", str(declared), exit_code=1)
