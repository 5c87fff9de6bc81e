"""What the demo shows: phases with their times, the progress of runs, and the tables at the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table

from lethe_demo.account import Done
from lethe_demo.airflow_server import AirflowApi, AirflowError
from lethe_demo.oracle import Verdict
from lethe_demo.processes import Services

_FINAL = ("success", "failed")
_WAITING = "awaiting_input"
_MARKS = {
    "success": "[green]●[/]",
    "failed": "[red]●[/]",
    "upstream_failed": "[red]○[/]",
    "running": "[yellow]◐[/]",
    _WAITING: "[magenta]◐[/]",
    "queued": "[dim]◌[/]",
    "scheduled": "[dim]◌[/]",
    "skipped": "[dim]○[/]",
    "up_for_retry": "[yellow]↻[/]",
}
_POLL_SECONDS = 3.0


class Phases:
    """Says what goes on, and how long it took."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._began = time.monotonic()

    @contextmanager
    def phase(self, title: str) -> Iterator[None]:
        """A phase; its time is shown when it is over."""
        began = time.monotonic()
        self.console.print(f"[bold]{title}[/] …")
        yield
        self.console.print(f"  [dim]{title}: {time.monotonic() - began:.1f} s[/]")

    def say(self, line: str) -> None:
        """A line within a phase."""
        self.console.print(f"  {line}", highlight=False)

    def total(self) -> str:
        """The time since the beginning, as minutes and seconds."""
        minutes, seconds = divmod(time.monotonic() - self._began, 60)
        return f"{minutes:.0f} min {seconds:.0f} s"


def follow(
    console: Console, api: AirflowApi, approver: AirflowApi, services: Services, runs: Mapping[str, str]
) -> dict[str, str]:
    """Show runs (DAG → run id) until all have ended, with `approver` for those that ask; give their states.

    Raises:
        RuntimeError: if an Airflow service ends.
    """
    states: dict[str, str] = {}
    began = time.monotonic()
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while len(states) < len(runs):
            if services.ended():
                raise RuntimeError(f"{', '.join(services.ended())} ended; see {services.folder}")
            try:
                live.update(_progress(console, api, runs, states, began))
                _answer(console, api, approver, {dag: run for dag, run in runs.items() if dag not in states})
            except AirflowError as error:
                if not error.passing:
                    raise
            time.sleep(_POLL_SECONDS)
    return states


def _progress(
    console: Console, api: AirflowApi, runs: Mapping[str, str], states: dict[str, str], began: float
) -> Table:
    """Where the runs are that have not ended. Those that have since the last time are said, and noted in `states`."""
    table = Table(box=None, pad_edge=False)
    for name in ("category", "state", "tasks", "now"):
        table.add_column(name)
    for dag, run in ((dag, run) for dag, run in runs.items() if dag not in states):
        state, tasks = api.state(dag, run), api.tasks(dag, run)
        table.add_row(dag, state, _marks(tasks), _now(tasks))
        if state in _FINAL:
            states[dag] = state
            console.print(f"  {dag}: {state} after {time.monotonic() - began:.0f} s{_failures(tasks)}")
    return table


def _answer(console: Console, api: AirflowApi, approver: AirflowApi, runs: Mapping[str, str]) -> None:
    """Approve as the second person what waits for one: nothing of the demo's company may have to wait for a visitor."""
    for dag, run in runs.items():
        if any(task["state"] == _WAITING for task in api.tasks(dag, run)):
            approver.approve(dag, run)
            console.print(f"  {dag}: approved by a second person")


def _marks(tasks: Sequence[Mapping[str, object]]) -> str:
    return "".join(_MARKS.get(str(task["state"]), "[dim]·[/]") for task in tasks)


def _now(tasks: Sequence[Mapping[str, object]]) -> str:
    waiting = [task["task_id"] for task in tasks if task["state"] == _WAITING]
    if waiting:
        return "waits for a person: Browse, Required Actions"
    running = Counter(str(task["task_id"]) for task in tasks if task["state"] == "running")
    return ", ".join(name if count == 1 else f"{name} ×{count}" for name, count in running.items())


def _failures(tasks: Sequence[Mapping[str, object]]) -> str:
    failed = [str(task["task_id"]) for task in tasks if task["state"] == "failed"]
    return f" (failed: {', '.join(failed)})" if failed else ""


def results(done: Sequence[Done]) -> Table:
    """What the runs did, by category and dataset."""
    table = Table(title="What the runs did, in records", title_justify="left")
    table.add_column("category")
    table.add_column("dataset", no_wrap=True)
    for name in ("expired", "erased", "held", "unjudgeable", "left"):
        table.add_column(name, justify="right")
    category = ""
    for one in done:
        own, _, dataset = one.dataset.partition(".")
        numbers = (one.expired, one.erased, one.held, one.unjudgeable, one.left)
        table.add_row(own if own != category else "", dataset, *(f"{number:,}" for number in numbers))
        category = own
    return table


def verdicts(found: Sequence[Verdict]) -> Table:
    """The promises, and for each on how many datasets it holds; details where it does not."""
    table = Table(title="Every promise, looked at in the stores", title_justify="left")
    table.add_column("promise")
    table.add_column("looked at", justify="right")
    table.add_column("holds")
    for promise in dict.fromkeys(verdict.promise for verdict in found):
        these = [verdict for verdict in found if verdict.promise == promise]
        broken = [f"{verdict.dataset}: {verdict.detail}" for verdict in these if not verdict.holds]
        table.add_row(promise, str(len(these)), "[red]NO[/] " + "\n".join(broken) if broken else "[green]yes[/]")
    return table
