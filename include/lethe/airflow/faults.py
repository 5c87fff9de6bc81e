"""What becomes of an error in a task: passing faults are retried, final ones fail at once with their one message.

Errors that are not Lethe's own are bugs, or a driver's; their text may hold values of records. Only their type and
where they came from is shown.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import RetryPolicy
from airflow.sdk.definitions.retry_policy import RetryDecision
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout

from lethe.errors import LetheError
from lethe.evidence.runs import RecordBusy, RunBusy

TRIES = 6
"""How often a stage is tried while a store does not answer: over a quarter of an hour, with growing pauses."""

BUSY_TRIES = 48
"""How often a stage that waits for another run is tried: for four hours."""

_BUSY_DELAY = timedelta(minutes=5)
_RECORD_DELAY = timedelta(minutes=1)
_LIBRARY = Path(__file__).parents[1]


class UnexpectedFault(LetheError):
    """A bug, or a driver's fault that nobody foresaw. It says its type and place, and keeps its text to itself."""


class Patience(RetryPolicy):  # type: ignore[misc]
    """Waits long for another run to end and less long for a store to answer."""

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: object = None
    ) -> RetryDecision:
        """Whether to try again, and when."""
        del max_tries, context
        if isinstance(exception, RecordBusy):
            return RetryDecision.retry(_RECORD_DELAY, "another process completes the record of a run")
        if isinstance(exception, RunBusy):
            return RetryDecision.retry(_BUSY_DELAY, "another run of the category is under way")
        if try_number >= TRIES:
            return RetryDecision.fail(f"tried {try_number} times")
        return RetryDecision.default()


def retrying() -> dict[str, Any]:
    """The arguments of operators that are tried again as `Patience` says, with growing pauses."""
    return {
        "retries": TRIES - 1,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=10),
        "retry_policy": Patience(),
    }


def is_last_try(error: BaseException, try_number: int, max_tries: int) -> bool:
    """Whether `Patience` and Airflow give up after this try, of at most `max_tries` + 1."""
    return try_number > max_tries or (try_number >= TRIES and not isinstance(error, RunBusy))


@contextmanager
def told_apart(note: Callable[[LetheError], None], *, try_number: int, max_tries: int) -> Iterator[None]:
    """Run a stage; note its failure when it is final, and raise what makes Airflow retry or fail.

    Raises:
        AirflowFailException: for a final error of Lethe, with its message.
        LetheError: for an error that a retry may help against, without the frames of libraries.
    """
    try:
        yield
    except LetheError as error:
        if not error.transient:
            _note(note, error)
            raise AirflowFailException(str(error)) from None
        if is_last_try(error, try_number, max_tries):
            _note(note, error)
        raise error.with_traceback(None) from None
    except AirflowTaskTimeout:
        _note(note, LetheError("it took longer than its execution_timeout"))
        raise
    except AirflowException:
        raise
    except Exception as error:  # noqa: BLE001 - the last line before a log
        fault = UnexpectedFault(f"unexpected {type(error).__name__} {_place(error)}; this is a bug in Lethe")
        if is_last_try(error, try_number, max_tries):
            _note(note, fault)
        raise fault.with_traceback(error.__traceback__) from None


def _note(note: Callable[[LetheError], None], error: LetheError) -> None:
    with suppress(LetheError):  # the governance database may be what does not answer; certify finds what is missing
        note(error)


def _place(error: BaseException) -> str:
    """The innermost line of Lethe that the error passed."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if _LIBRARY in Path(frame.filename).parents and frame.filename != __file__
    ]
    if not frames:
        return "outside of Lethe"
    return f"at {Path(frames[-1].filename).relative_to(_LIBRARY.parent)}:{frames[-1].lineno}"
