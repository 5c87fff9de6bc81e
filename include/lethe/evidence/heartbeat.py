"""Signs of life of a process that works on something in the governance database, for as long as it works."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from lethe.errors import LetheError


class Heartbeat:
    """Calls `beat` at the beginning and end of a context, and every so often in between, in a thread of its own.

    A process that is stopped, or dies, gives no further sign. A beat that fails in a way that may pass is tried again
    the next time; any other failure ends the beats. What was last wrong is raised at the end of the context, unless
    that ends by an error of its own.

    Args:
        beat: one sign of life; called from the thread, so it needs a database connection of its own.
        every: seconds between two of them.
        longest: seconds after which no more signs are given: nothing works for so long, and what hangs is dead.
    """

    def __init__(self, beat: Callable[[], None], *, every: float, longest: float) -> None:
        self._beat = beat
        self._every = every
        self._longest = longest
        self._end = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._go_on, name="lethe-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        """Give the first sign; what is wrong with it is raised here."""
        self._beat()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the beats, the last of which is given now, and raise what was last wrong with them."""
        self._end.set()
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error
        if error is None:
            self._beat()

    def _go_on(self) -> None:
        deadline = time.monotonic() + self._longest
        while not self._end.wait(self._every) and time.monotonic() < deadline:
            try:
                self._beat()
                self._error = None
            except BaseException as error:  # noqa: BLE001 - raised in the thread that waits for this one
                self._error = error
                if not (isinstance(error, LetheError) and error.transient):
                    return
