"""Figures for analysts: what `lethe due` and `lethe report` show, as CSV, JSON and Parquet."""

from __future__ import annotations

import io
import json
import re
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from tests.unit.cli_kit import AS_OF, POLICY, Command

from lethe.cli.figures import DUE, REPORT, RUNS
from lethe.cli.frames import Form, write

if TYPE_CHECKING:
    from lethe.cli.frames import Row

SECOND = POLICY[POLICY.index("  - name") :].replace("registrations", "guests")


def read(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text), dtype="string", keep_default_na=False)


def test_what_is_due_can_be_worked_on_with(lethe: Command) -> None:
    (row,) = read(lethe("due", "--as-of", AS_OF, "--format", "csv")).to_dict("records")
    assert list(row) == list(DUE)
    assert {name: row[name] for name in ("category", "dataset", "total", "expired", "held", "due", "unjudged")} == {
        "category": "webinars", "dataset": "registrations", "total": "101", "expired": "50", "held": "0", "due": "50",
        "unjudged": "1",
    }  # fmt: skip
    assert (row["unjudgeable_no_clock"], row["unjudgeable_no_key"]) == ("1", "0")
    assert (row["oldest"], row["problem"]) == ("2020-01-15", "")
    assert int(row["overdue_days"]) == (date(2025, 5, 20) - date(2020, 1, 15)).days - 1
    (again,) = json.loads(lethe("due", "--as-of", AS_OF, "--format", "json"))
    assert (again["due"], again["oldest"], again["problem"]) == (50, "2020-01-15", None)
    assert datetime.fromisoformat(again["as_of"]) == datetime.fromisoformat(AS_OF)


def test_what_cannot_be_said_is_empty_and_not_zero(lethe: Command) -> None:
    lethe.policy.write_text(POLICY + SECOND)
    path = lethe.folder / "due.csv"
    assert "no table guests" in lethe("due", "--as-of", AS_OF, "--format", "csv", "-o", str(path), exit_code=1)
    rows = read(path.read_text()).set_index("dataset")
    assert rows.loc["registrations", "due"] == "50"
    assert (rows.loc["guests", "due"], rows.loc["guests", "held"]) == ("", "")
    assert "no table guests" in str(rows.loc["guests", "problem"])


def test_a_run_is_a_row_for_each_of_its_datasets(lethe: Command) -> None:
    text = lethe("run", "webinars", "--as-of", AS_OF, "--dry-run")
    found = re.search(r"webinars-[0-9a-zTZ-]+", text)
    assert found
    (run,) = json.loads(lethe("report", "--format", "json"))
    assert list(run) == list(RUNS)
    assert (run["category"], run["dry_run"], run["by"]) == ("webinars", True, "eva")
    path = lethe.folder / "run.parquet"
    assert lethe("report", run["run"], "--format", "parquet", "--output", str(path)) == ""
    frame = pd.read_parquet(path)
    assert list(frame.columns) == list(REPORT)
    (row,) = frame.to_dict("records")
    assert (row["dataset"], row["found_due"], row["checks_broken"]) == ("registrations", 50, 0)
    assert row["as_of"] == pd.Timestamp(AS_OF)
    assert pd.isna(row["erased"]), "it was a dry run"


def test_no_runs_are_a_file_with_its_columns(lethe: Command) -> None:
    assert lethe("report", "--format", "csv") == ",".join(RUNS) + "\n"
    assert json.loads(lethe("report", "--format", "json")) == []
    path = lethe.folder / "runs.parquet"
    lethe("report", "--format", "parquet", "-o", str(path))
    frame = pd.read_parquet(path)
    assert (list(frame.columns), len(frame)) == (list(RUNS), 0)
    assert str(frame.dtypes["started_at"]) == "datetime64[us, UTC]"


def test_a_table_goes_to_no_file(lethe: Command) -> None:
    path = lethe.folder / "due.txt"
    assert "add --format csv, json or parquet" in lethe("due", "-o", str(path), exit_code=1)
    assert not path.exists()


def test_numbers_stay_whole_where_some_are_missing_and_text_is_no_formula(tmp_path: Path) -> None:
    rows: list[Row] = [{"number": 2**53 + 1, "text": "=1+1"}, {"number": None, "text": 'é, "x"'}]
    columns = {"number": int, "text": str}
    for form in (Form.CSV, Form.JSON, Form.PARQUET):
        write(rows, columns, form, tmp_path / form)
    assert (tmp_path / "csv").read_text() == 'number,text\n9007199254740993,\'=1+1\n,"é, ""x"""\n'
    assert json.loads((tmp_path / "json").read_text())[0] == {"number": 2**53 + 1, "text": "=1+1"}
    assert pd.read_parquet(tmp_path / "parquet")["number"][0] == 2**53 + 1


def test_without_a_format_nothing_of_pandas_is_loaded() -> None:
    import subprocess
    import sys

    script = "import lethe.cli.runs, sys; print([n for n in ('pandas', 'lethe.cli.figures') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
