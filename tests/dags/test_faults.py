"""Passing faults are retried, final ones fail at once, and nothing unforeseen says more than its type."""

from __future__ import annotations

import logging
import traceback

import pytest
from airflow.sdk.definitions.retry_policy import RetryAction
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, AirflowTaskTimeout

from lethe.airflow.faults import BUSY_TRIES, TRIES, Patience, UnexpectedFault, is_last_try, told_apart
from lethe.errors import LetheError, ParameterError, StoreUnavailable
from lethe.evidence.runs import RunBusy

FINAL = ParameterError("webinars: the as-of moment is in the future")
PASSING = StoreUnavailable("connection lethe_crm: does not answer")
BUSY = RunBusy("webinars is being run by another run")


def fail(error: BaseException, *, try_number: int = 1) -> tuple[BaseException, list[str]]:
    """What a task raises for an error, and what was noted with the run."""
    noted: list[str] = []
    with (
        pytest.raises(BaseException) as raised,  # noqa: PT011 - any
        told_apart(lambda failure: noted.append(str(failure)), try_number=try_number, max_tries=TRIES - 1),
    ):
        raise error
    return raised.value, noted


def test_a_final_error_fails_at_once_with_its_message() -> None:
    raised, noted = fail(FINAL)
    assert isinstance(raised, AirflowFailException)
    assert str(raised) == str(FINAL)
    assert noted == [str(FINAL)]


def test_a_passing_fault_is_noted_only_when_airflow_gives_up() -> None:
    assert fail(PASSING) == (PASSING, [])
    assert fail(PASSING, try_number=TRIES) == (PASSING, [str(PASSING)])


def test_a_timeout_is_noted_and_left_to_airflow() -> None:
    raised, noted = fail(AirflowTaskTimeout("Timeout"))
    assert isinstance(raised, AirflowTaskTimeout)
    assert noted == ["it took longer than its execution_timeout"]


def test_a_skip_stays_a_skip() -> None:
    raised, noted = fail(AirflowSkipException("not chosen"))
    assert isinstance(raised, AirflowSkipException)
    assert noted == []


def test_an_unforeseen_error_keeps_its_text_to_itself() -> None:
    secret = "Key (email)=(jana@example.org) already exists"
    raised, noted = fail(KeyError(secret), try_number=TRIES)
    assert isinstance(raised, UnexpectedFault)
    assert noted == ["unexpected KeyError outside of Lethe; this is a bug in Lethe"]
    shown = "".join(traceback.format_exception(raised))
    assert "jana" not in shown
    assert "test_faults.py" in shown, "where it came from is shown"


def test_a_governance_database_that_is_down_does_not_hide_the_error() -> None:
    def note(_error: LetheError) -> None:
        raise StoreUnavailable("connection lethe_governance: does not answer")

    with pytest.raises(AirflowFailException, match="in the future"), told_apart(note, try_number=1, max_tries=5):
        raise FINAL


def test_retries_wait_long_for_another_run_and_less_long_for_a_store() -> None:
    patience = Patience()
    assert patience.evaluate(PASSING, 1, BUSY_TRIES).action is RetryAction.DEFAULT
    assert patience.evaluate(PASSING, TRIES, BUSY_TRIES).action is RetryAction.FAIL
    busy = patience.evaluate(BUSY, TRIES + 5, BUSY_TRIES)
    assert busy.action is RetryAction.RETRY
    assert busy.retry_delay is not None
    assert is_last_try(PASSING, TRIES, BUSY_TRIES)
    assert not is_last_try(BUSY, TRIES, BUSY_TRIES)
    assert is_last_try(BUSY, BUSY_TRIES + 1, BUSY_TRIES)


def test_nothing_is_logged_by_telling_errors_apart(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        fail(RuntimeError("jana@example.org"))
    assert "jana" not in caplog.text
