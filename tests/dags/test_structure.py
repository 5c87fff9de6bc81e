"""The DAG folder is the list of categories, and every DAG is what its policy says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lethe.policy import Policy, load_all

if TYPE_CHECKING:
    from airflow.sdk import DAG

CATEGORIES = {
    "webinars", "events", "logistics", "leads", "analytics", "account_users", "traffic_end_users",
    "recruitment_prospects", "recruitment", "support", "invoices", "agreements", "traffic_customers",
    "letters", "ux_research", "accounts",
    "newsletter", "suppression", "suppliers", "supplier_agreements", "supplier_contacts", "market_research",
}  # fmt: skip
WATCHING = {"lethe_coverage", "lethe_evidence", "lethe_survey", "lethe_watch"}
STAGES = {"discover", "validate", "erase", "verify"}


@pytest.fixture(scope="module")
def policies(root: Path) -> dict[str, Policy]:
    return load_all(root / "include" / "policies")


@pytest.fixture(scope="module")
def dags(airflow_home: Path, root: Path) -> dict[str, DAG]:
    """All DAGs of the folder, found as Airflow finds them."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=root / "dags")
    assert bag.import_errors == {}
    return dict(bag.dags)


def test_the_folder_is_the_list_of_categories(dags: dict[str, DAG], root: Path) -> None:
    """And of what looks after them all, which is named for Lethe."""
    assert set(dags) == CATEGORIES | WATCHING
    assert {file.stem for file in (root / "dags").glob("*.py")} == CATEGORIES | WATCHING


def test_a_dag_file_is_a_few_lines_and_is_found_by_airflow(root: Path) -> None:
    for file in (root / "dags").glob("*.py"):
        text = file.read_text()
        assert len(text.splitlines()) < 10
        assert "airflow" in text, "Airflow's safe mode looks for this word"
        assert "dag" in text


@pytest.mark.parametrize("category", sorted(CATEGORIES))
def test_a_dag_says_what_its_policy_says(category: str, dags: dict[str, DAG], policies: dict[str, Policy]) -> None:
    dag, policy = dags[category], policies[category]
    kinds = {dataset.kind for dataset in policy.datasets}
    assert dag.tags == {"lethe", category} | kinds
    assert dag.max_active_runs == 1
    assert dag.catchup is False
    assert dag.dagrun_timeout is not None
    assert dag.timetable.expression == policy.schedule
    assert str(dag.timetable.timezone) == policy.time_zone
    for words in (policy.title, policy.source, policy.legal_basis, policy.retention.rule, "When a run is red"):
        assert words in (dag.doc_md or "")
    for dataset in policy.datasets:
        assert f"`{dataset.location}`" in (dag.doc_md or "")


@pytest.mark.parametrize("category", sorted(CATEGORIES))
def test_a_dag_says_what_is_checked(category: str, dags: dict[str, DAG], root: Path) -> None:
    words = (dags[category].doc_md or "").partition("### What is checked")[2]
    assert "| No hold covers a candidate. | every dataset | before erasing |" in words
    for path in (root / "expectations" / category).glob("*.json"):
        for one in json.loads(path.read_text())["expectations"]:
            assert f"| {one['description']} | {path.stem} | before erasing" in words


@pytest.mark.parametrize("category", sorted(CATEGORIES))
def test_tasks_are_drawn_as_in_the_design(category: str, dags: dict[str, DAG], policies: dict[str, Policy]) -> None:
    dag = dags[category]
    expected = {"plan", "approve", "certify"}
    for dataset in policies[category].datasets:
        name = dataset.name
        expected |= {f"{name}.{stage}" for stage in STAGES}
        assert dag.get_task(f"{name}.discover").upstream_task_ids == {"plan"}
        assert f"{name}.discover" in dag.get_task(f"{name}.validate").upstream_task_ids
        assert f"{name}.validate" in dag.get_task("approve").upstream_task_ids
        assert {"approve", f"{name}.validate"} <= dag.get_task(f"{name}.erase").upstream_task_ids
        assert f"{name}.erase" in dag.get_task(f"{name}.verify").upstream_task_ids
        assert f"{name}.verify" in dag.get_task("certify").upstream_task_ids
    assert set(dag.task_ids) == expected
    assert dag.get_task("certify").downstream_task_ids == set()


@pytest.mark.parametrize("category", sorted(CATEGORIES))
def test_every_task_has_owner_timeout_retries_and_pool(
    category: str, dags: dict[str, DAG], policies: dict[str, Policy]
) -> None:
    from lethe.airflow.pools import pool_of

    pools = {dataset.name: pool_of(dataset) for dataset in policies[category].datasets}
    for task in dags[category].tasks:
        assert task.owner == policies[category].owner
        assert task.execution_timeout is not None
        assert task.retries
        assert task.retry_exponential_backoff == 2.0
        assert task.retry_policy is not None
        dataset = task.task_id.rpartition(".")[0]
        assert task.pool == pools.get(dataset, "default_pool")
        assert task.template_fields


def test_dags_survive_serialization(dags: dict[str, DAG]) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    for dag in dags.values():
        text = json.dumps(DagSerialization.serialize_dag(dag))
        assert set(DagSerialization.deserialize_dag(json.loads(text)).task_ids) == set(dag.task_ids)


def test_assets_show_categories_and_datasets(dags: dict[str, DAG], policies: dict[str, Policy]) -> None:
    for category, policy in policies.items():
        tasks = dags[category].task_dict
        assert {asset.name for asset in tasks["certify"].outlets} == {f"lethe/{category}"}
        for dataset in policy.datasets:
            name = f"lethe/{category}/{dataset.name}"
            assert [asset.name for asset in tasks[f"{dataset.name}.discover"].inlets] == [name]
            assert [asset.name for asset in tasks[f"{dataset.name}.verify"].outlets] == [name]


def test_pools_file_has_the_pool_of_every_store(policies: dict[str, Policy], root: Path) -> None:
    from lethe.airflow.pools import pools

    assert json.loads((root / "config" / "pools.json").read_text()) == pools(policies.values()), (
        "python -m lethe.airflow.pools > config/pools.json"
    )


@pytest.mark.parametrize(
    "params",
    [
        {"as_of": "yesterday"},
        {"dry_run": "perhaps"},
        {"datasets": ["no_such_dataset"]},
        {"datasets": "registrations"},
        {"expect": "abc"},
    ],
)
def test_wrong_parameters_are_refused_when_a_run_is_asked_for(dags: dict[str, DAG], params: dict[str, object]) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    given = dags["webinars"].params.__copy__()
    given.validate()
    with pytest.raises(ParamValidationError):
        given.update(params)


_PARSE = """
import json, sys, time
began = time.process_time()
import airflow.sdk
from airflow.sdk import DAG, Asset, BaseHook, BaseOperator, CronTriggerTimetable, Param, TaskGroup
from airflow.sdk.configuration import conf
import airflow.providers.standard.operators.hitl
from pathlib import Path
before, start = set(sys.modules), time.process_time()
for file in sorted(Path(sys.argv[1]).glob("*.py")):
    namespace = {"__name__": file.stem, "__file__": str(file)}
    exec(compile(file.read_text(), str(file), "exec"), namespace)
    assert namespace["dag"].dag_id == file.stem
share = (time.process_time() - start) / (start - began)
print(json.dumps({"share": share, "modules": sorted(set(sys.modules) - before)}))
"""


@pytest.fixture(scope="module")
def parsing(airflow_home: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What parsing all DAG files takes in a fresh process: its share of importing Airflow in CPU time, and modules.

    The first of them compiles all modules, as installing does; the others find them compiled.
    """
    results: list[dict[str, Any]] = []
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(tmp_path_factory.mktemp("compiled"))
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", _PARSE, str(root / "dags")],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        results.append(json.loads(done.stdout.splitlines()[-1]))
    return min(results, key=lambda result: result["share"])


def test_parsing_imports_nothing_heavy(parsing: dict[str, list[str]]) -> None:
    loaded = {module.partition(".")[0] for module in parsing["modules"]}
    assert "lethe" in loaded
    assert not loaded & {"great_expectations", "boto3", "botocore", "pandas", "polars", "pyarrow", "openlineage"}


def test_parsing_all_dag_files_takes_less_than_half_of_importing_airflow(parsing: dict[str, float]) -> None:
    """CPU time of one process, the best of three: what else the machine does hardly counts. It is about a third."""
    assert parsing["share"] < 0.5


def test_a_policy_that_is_wrong_is_one_clear_import_error(
    airflow_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    text = (root / "include/policies/webinars.yaml").read_text().replace("P18M", "eighteen months")
    (tmp_path / "webinars.yaml").write_text(text)
    monkeypatch.setenv("LETHE_POLICIES", str(tmp_path))
    bag = DagBag(dag_folder=root / "dags" / "webinars.py")
    (message,) = bag.import_errors.values()
    assert "webinars.yaml: retention.keep_for" in message
