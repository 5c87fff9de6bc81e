"""The as-of moment comes from the DAG run, whatever started it, and never from the clock on the wall."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from lethe.airflow.as_of import as_of_moment
from lethe.errors import ParameterError

DUE = datetime(2026, 11, 21, 2, 15, tzinfo=UTC)
LOGICAL = datetime(2026, 3, 1, 1, 15, tzinfo=UTC)
PARTITION = datetime(2026, 2, 1, tzinfo=UTC)


@dataclass
class Run:
    """The dates of a DAG run."""

    logical_date: datetime | None = None
    partition_date: datetime | None = None
    data_interval_end: datetime | None = None
    run_after: datetime = DUE


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        pytest.param(Run(logical_date=LOGICAL, data_interval_end=LOGICAL), LOGICAL, id="scheduled, or backfill"),
        pytest.param(Run(), DUE, id="by hand, without a logical date"),
        pytest.param(Run(data_interval_end=LOGICAL), LOGICAL, id="only an interval"),
        pytest.param(Run(partition_date=PARTITION), PARTITION, id="partitioned"),
        pytest.param(Run(partition_date=PARTITION, logical_date=LOGICAL), PARTITION, id="partition first"),
    ],
)
def test_every_kind_of_run_has_a_moment(run: Run, expected: datetime) -> None:
    assert as_of_moment(None, run) == expected


def test_what_was_asked_for_comes_first() -> None:
    asked = datetime(2026, 1, 31, 23, 59, tzinfo=UTC)
    assert as_of_moment("2026-02-01T00:59:00+01:00", Run(logical_date=LOGICAL)) == asked
    assert as_of_moment("2026-01-31T23:59:00Z", Run()) == asked


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-31", "2026-01-31T23:59:00", 5, "0000-01-01T00:00:00Z"])
def test_a_moment_that_is_not_one_is_refused_in_words(text: object) -> None:
    with pytest.raises(ParameterError, match="as_of: write a moment with its time zone"):
        as_of_moment(text, Run())
