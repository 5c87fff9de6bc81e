"""The checks that every category has, made in memory, and what people added in `expectations/`, refused where wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from lethe.checks import added, generate
from lethe.policy import Policy, load_all
from lethe.settings import Settings

OF = ("webinars", "registrations")


@pytest.fixture
def policies(root: Path) -> dict[str, Policy]:
    return load_all(root / "include/policies")


@pytest.fixture
def settings(root: Path) -> Settings:
    return Settings(policies=root / "include/policies", expectations=root / "expectations")


# --- what every category is checked for ------------------------------------------------------------------------------


def test_every_expectation_says_which_promise_it_keeps() -> None:
    kept: set[int] = set()
    for name in generate.SUITES:
        for one in generate.suite("webinars", name, by_value=True)["expectations"]:
            assert one["description"].endswith(".")
            kept.add(one["meta"]["lethe"]["promise"])
    assert kept == {1, 2, 3, 4, 9}


def test_ids_are_unique_over_all_suites_and_the_same_in_every_run(settings: Settings) -> None:
    def ids() -> list[str]:
        names = [(category, name) for category in ("webinars", "leads") for name in generate.SUITES]
        made = [generate.suite(*name, by_value=True) for name in names]
        files = [json.loads(path.read_text()) for path in settings.expectations.rglob("*.json")]
        return [one["id"] for suite in made + files for one in suite["expectations"]]

    found = ids()
    assert len(set(found)) == len(found)
    assert all(str(uuid.UUID(one)) == one for one in found)
    assert found == ids()


def test_a_category_by_value_is_checked_by_the_period_of_every_record() -> None:
    def names(*, by_value: bool) -> set[str]:
        made = generate.suite("letters", "candidates", by_value=by_value)
        return {one["meta"]["lethe"]["name"] for one in made["expectations"]}

    assert names(by_value=True) - names(by_value=False) == {"clock-before-own-cutoff", "own-cutoff-not-null"}


def test_great_expectations_takes_them_for_its_own(settings: Settings) -> None:
    from great_expectations.core import ExpectationSuite

    made = [generate.suite("webinars", name, by_value=True) for name in generate.SUITES]
    for content in made + [json.loads(path.read_text()) for path in settings.expectations.rglob("*.json")]:
        suite = ExpectationSuite(**content)
        assert [one.id for one in suite.expectations] == [one["id"] for one in content["expectations"]]


# --- what people added -----------------------------------------------------------------------------------------------


def test_every_category_of_the_project_has_checks_of_its_own(
    policies: dict[str, Policy], settings: Settings, root: Path
) -> None:
    assert {path.name for path in (root / "expectations").iterdir()} == set(policies)
    for policy in policies.values():
        assert added.problems(settings, policy) == []
        assert any(added.load(settings, policy.category, dataset.name).columns for dataset in policy.datasets)


def test_nothing_has_to_be_added(settings: Settings, tmp_path: Path) -> None:
    nothing = added.load(replace(settings, expectations=tmp_path), *OF)
    assert (nothing.columns, nothing.earliest) == ((), date(1990, 1, 1))


def test_the_earliest_plausible_day_of_a_dataset_can_be_moved(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "webinars").mkdir()
    content = {"name": "webinars.registrations", "expectations": [], "meta": {"lethe": {"earliest": "2010-01-01"}}}
    (tmp_path / "webinars/registrations.json").write_text(json.dumps(content))
    assert added.load(replace(settings, expectations=tmp_path), *OF).earliest == date(2010, 1, 1)


def first(content: dict[str, Any]) -> dict[str, Any]:
    return content["expectations"][0]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["expectations"].append(first(content)), "two expectations have the same id"),
        (lambda content: content.update(name="webinars.candidates"), "name: write webinars.registrations"),
        (lambda content: first(content).pop("id"), "expectations.0.id: is missing: write it"),
        (lambda content: first(content).update(id="x"), "expectations.0.id: is not an id: write a UUID"),
        (lambda content: first(content).pop("description"), "expectations.0.description: is missing: write it"),
        (lambda content: first(content).update(severity="bad"), "expectations.0.severity: 'bad' is not possible"),
        (lambda content: first(content).pop("kwargs"), "expectations.0.kwargs: write the arguments"),
        (lambda content: first(content)["kwargs"].pop("column"), "expectations.0.kwargs.column: write the name of a"),
        (
            lambda content: first(content)["kwargs"].update(mostly=0),
            "kwargs.mostly: write a number above 0, up to 1",
        ),
        (
            lambda content: first(content)["kwargs"].update(max_value={"$PARAMETER": "cutof"}),
            'expectations.0.kwargs.max_value: there is no such parameter: write {"$PARAMETER": "as_of"}',
        ),
        (
            lambda content: first(content)["kwargs"].update(row_condition="role = 'x'"),
            "expectations.0.kwargs.row_condition: would read columns that are not named: leave it out",
        ),
        (
            lambda content: first(content).update(type="expect_table_row_count_to_equal"),
            "expectations.0.type: 'expect_table_row_count_to_equal' does not judge every record by itself: write one",
        ),
        (
            lambda content: first(content).update(
                type="expect_column_values_to_match_regex", kwargs={"column": "a", "regex": "("}
            ),
            "expectations.0.kwargs.regex: is not a regular expression: write one",
        ),
        (
            lambda content: content.update(meta={"lethe": {"earliest": "long ago"}}),
            "meta.lethe.earliest: is no day: write one",
        ),
        (lambda content: content.clear(), "name: is missing: write it"),
        (lambda content: content.update(expectations="x"), "expectations: is not a list: write one"),
    ],
)
def test_what_was_added_and_cannot_be_used_is_refused(
    settings: Settings,
    policies: dict[str, Policy],
    tmp_path: Path,
    change: Callable[[dict[str, Any]], object],
    message: str,
) -> None:
    path = tmp_path / "webinars/registrations.json"
    path.parent.mkdir()
    content = json.loads((settings.expectations / "webinars/registrations.json").read_text())
    change(content)
    path.write_text(json.dumps(content))
    (found,) = added.problems(replace(settings, expectations=tmp_path), policies["webinars"])
    assert found.startswith(f"{path}: ")
    assert message in found


@pytest.mark.parametrize(("text", "message"), [(b"{", "is not JSON: correct it"), (b"\xff", "cannot be read as UTF-8")])
def test_files_that_are_no_suites_are_refused(
    settings: Settings, policies: dict[str, Policy], tmp_path: Path, text: bytes, message: str
) -> None:
    path = tmp_path / "webinars/registrations.json"
    path.parent.mkdir()
    path.write_bytes(text)
    (found,) = added.problems(replace(settings, expectations=tmp_path), policies["webinars"])
    assert message in found


@pytest.mark.parametrize("name", ["registration.json", "candidates.json", "registrations.yaml"])
def test_a_file_that_no_dataset_would_be_checked_by_is_refused(
    settings: Settings, policies: dict[str, Policy], tmp_path: Path, name: str
) -> None:
    (tmp_path / "webinars").mkdir()
    (tmp_path / "webinars" / name).write_text("{}")
    (found,) = added.problems(replace(settings, expectations=tmp_path), policies["webinars"])
    assert f"there is no dataset {name.rpartition('.')[0]} in webinars.yaml: name the file after one" in found


def test_a_folder_that_is_not_there_is_no_folder_without_additions(
    settings: Settings, policies: dict[str, Policy], tmp_path: Path
) -> None:
    (found,) = added.problems(replace(settings, expectations=tmp_path / "nowhere"), policies["webinars"])
    assert "set LETHE_EXPECTATIONS to it, or make an empty one" in found


def test_checks_import_great_expectations_only_when_they_are_made() -> None:
    script = (
        "import lethe.checks.suites, lethe.checks.added, lethe.checks.pages, lethe.checks.results, sys; "
        "print([n for n in ('great_expectations', 'pandas', 'boto3', 'pyarrow', 'jinja2') if n in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_great_expectations_is_imported_without_what_it_needs_for_distributions() -> None:
    script = (
        "from lethe.checks.lazy import loading_later\n"
        "with loading_later():\n"
        "    from great_expectations.core import ExpectationSuite\n"
        "import sys\n"
        "before = [name for name in ('scipy.stats._stats_py', 'altair.vegalite') if name in sys.modules]\n"
        "from scipy import stats\n"
        "import altair\n"
        "print(before, round(stats.norm.cdf(0), 3), altair.Chart.__name__)\n"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "[] 0.5 Chart\n"
