"""Progress bars of a run: one a stage of a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class ProgressBars:
    """A `stages.Watcher` that draws on standard error, where that is a terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing; the bars stay."""
        if error is None:
            self._finish()
        self._progress.stop()

    def stage(self, name: str, dataset: str, total: int | None) -> None:
        """A stage of a dataset begins: the one before is over."""
        self._finish()
        self._task = self._progress.add_task(f"{dataset}: {name}", total=total)

    def progress(self, records: int) -> None:
        """So many more records have been dealt with."""
        if self._task is not None:
            self._progress.advance(self._task, records)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A time in which somebody is asked something."""
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()

    def _finish(self) -> None:
        if self._task is None:
            return
        done = self._progress.tasks[self._progress.task_ids.index(self._task)].completed
        self._progress.update(self._task, total=done or 1, completed=done or 1)
        self._task = None
