"""The suites in `expectations/`: all there, as they have to be, and refused in one message where they are not."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lethe.checks import generate, suites
from lethe.errors import PolicyError
from lethe.policy import Policy, load_all, parse
from lethe.settings import Settings

NEW = """
category: letters
title: Visa letters
owner: events
legal_basis: legal obligation
source: "§ 5.5"
retention: {by_value: {column: country, periods: {CZ: P1Y, DE: P3Y}}}
time_zone: Europe/Prague
schedule: null
limits: {records: 100, share: 0.5}
datasets:
  - {name: letters, kind: table, store: crm, table: letters, key: [id], clock: {column: day}}
"""


@pytest.fixture
def policies(root: Path) -> dict[str, Policy]:
    return load_all(root / "include/policies")


@pytest.fixture
def settings(root: Path) -> Settings:
    return Settings(policies=root / "include/policies", expectations=root / "expectations")


def test_every_policy_has_its_suites(policies: dict[str, Policy], settings: Settings) -> None:
    assert {"webinars", "events", "logistics", "leads", "analytics"} <= set(policies)
    for policy in policies.values():
        assert suites.problems(settings, policy) == []


def test_every_suite_belongs_to_a_policy(policies: dict[str, Policy], root: Path) -> None:
    assert {path.name for path in (root / "expectations").iterdir()} == set(policies)


def test_making_the_suites_again_changes_nothing(policies: dict[str, Policy], root: Path, tmp_path: Path) -> None:
    for policy in policies.values():
        generate.write(policy, tmp_path)
        for name in generate.SUITES:
            file = f"{policy.category}/{name}.json"
            assert (tmp_path / file).read_text() == (root / "expectations" / file).read_text(), file
        assert generate.write(policy, tmp_path) == []


def test_ids_are_unique_over_all_suites(root: Path) -> None:
    contents = [json.loads(path.read_text()) for path in (root / "expectations").rglob("*.json")]
    ids = [content["id"] for content in contents]
    ids += [one["id"] for content in contents for one in content["expectations"]]
    assert len(set(ids)) == len(ids)
    assert all(str(uuid.UUID(one)) == one for one in ids)


def test_every_expectation_says_which_promise_it_keeps(root: Path) -> None:
    kept: set[int] = set()
    for path in (root / "expectations").rglob("*.json"):
        for one in json.loads(path.read_text())["expectations"]:
            assert one["description"].endswith(".")
            kept.add(one["meta"]["lethe"]["promise"])
            assert (one["severity"] == "warning") == one["meta"]["lethe"].get("asks", False)
    assert kept == {1, 2, 3, 4, 9}


def test_great_expectations_takes_them_for_its_own(root: Path) -> None:
    from great_expectations.core import ExpectationSuite

    for path in (root / "expectations").rglob("*.json"):
        content = json.loads(path.read_text())
        suite = ExpectationSuite(**content)
        assert [one.id for one in suite.expectations] == [one["id"] for one in content["expectations"]]


def test_a_new_category_gets_suites_by_its_policy(tmp_path: Path) -> None:
    written = generate.write(parse(NEW, where="letters.yaml"), tmp_path)
    assert [path.name for path in written] == ["candidates.json", "count.json", "left.json"]
    settings = Settings(expectations=tmp_path)
    names = [
        one["meta"]["lethe"]["name"]
        for one in suites.load(settings, "letters", "candidates", by_value=True)["expectations"]
    ]
    assert "clock-before-own-cutoff" in names


def test_the_command_makes_suites(root: Path, tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/letters.yaml").write_text(NEW)
    variables = {"LETHE_POLICIES": str(tmp_path / "policies"), "LETHE_EXPECTATIONS": str(tmp_path / "expectations")}
    command = [sys.executable, "-m", "lethe.checks.generate"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *arguments], env=variables, capture_output=True, text=True, check=False)

    assert run("letters").stdout == "letters: wrote candidates.json, count.json, left.json\n"
    assert run("letters").stdout == "letters: has its suites\n"
    refused = run("invoices")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "there is no such policy file" in refused.stderr
    (tmp_path / "expectations/letters/left.json").write_text("{")
    assert run("letters").stderr == (
        "letters: a suite that is there is not JSON; mend it, or remove it to have it made anew\n"
    )


def test_what_people_added_or_moved_stays(tmp_path: Path) -> None:
    policy = parse(NEW, where="letters.yaml")
    generate.write(policy, tmp_path)
    path = tmp_path / "letters/candidates.json"
    content = json.loads(path.read_text())
    own = {**content["expectations"][0], "id": str(uuid.uuid4()), "description": "Ours."}
    content["expectations"] = [own, *content["expectations"][1:]]
    content["meta"]["lethe"]["earliest"] = "2010-01-01"
    path.write_text(json.dumps(content))
    assert generate.write(policy, tmp_path) == [path]
    again = suites.load(Settings(expectations=tmp_path), "letters", "candidates", by_value=True)
    assert again["meta"]["lethe"]["earliest"] == "2010-01-01"
    assert again["expectations"][-1] == own
    assert again["expectations"][0]["meta"]["lethe"]["name"] == "key-not-null", "what was removed is back"


def without_held(content: dict[str, Any]) -> None:
    content["expectations"] = [one for one in content["expectations"] if one["meta"]["lethe"]["name"] != "none-held"]


def softened(content: dict[str, Any]) -> None:
    content["expectations"][0]["meta"]["lethe"]["asks"] = True


def twice(content: dict[str, Any]) -> None:
    content["expectations"].append(content["expectations"][0])


def renamed(content: dict[str, Any]) -> None:
    content["name"] = "events.candidates"


def without_id(content: dict[str, Any]) -> None:
    del content["expectations"][3]["id"]


def without_earliest(content: dict[str, Any]) -> None:
    del content["meta"]["lethe"]


def wrong_earliest(content: dict[str, Any]) -> None:
    content["meta"]["lethe"]["earliest"] = "long ago"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_held, "none-held is missing or was changed"),
        (softened, "key-not-null is missing or was changed"),
        (twice, "two expectations have the same id"),
        (renamed, "its name must be webinars.candidates"),
        (without_id, "not a suite: expectations.3.id: is missing: write it"),
        (without_earliest, "meta.lethe.earliest is missing"),
        (wrong_earliest, "not a suite: meta.lethe.earliest"),
        (lambda content: content.clear(), "not a suite: name: is missing: write it"),
        (lambda content: content.update(expectations=[]), "not a suite: expectations: has too little in it"),
    ],
)
def test_suites_that_cannot_be_used_are_refused(
    settings: Settings, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    content = suites.load(settings, "webinars", "candidates")
    change(content)
    path = tmp_path / "webinars/candidates.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    with pytest.raises(PolicyError) as caught:
        suites.load(replace(settings, expectations=tmp_path), "webinars", "candidates")
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"), [(None, "there is no suite"), (b"{", "not a suite"), (b"\xff", "cannot be")]
)
def test_files_that_are_no_suites_are_refused(
    settings: Settings, policies: dict[str, Policy], tmp_path: Path, text: bytes | None, message: str
) -> None:
    path = tmp_path / "webinars/candidates.json"
    path.parent.mkdir()
    if text is not None:
        path.write_bytes(text)
    found = suites.problems(replace(settings, expectations=tmp_path), policies["webinars"])
    assert len(found) == 3
    assert message in found[0]
    assert "python -m lethe.checks.generate webinars" in found[1]


def test_checks_import_great_expectations_only_when_they_are_made() -> None:
    script = (
        "import lethe.checks.suites, lethe.checks.pages, lethe.checks.results, lethe.stores.sources, sys; "
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
