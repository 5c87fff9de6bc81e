"""`make demo`: runs the demo until Ctrl-C, or with `--once` until all is done. Every process ends with it."""

from __future__ import annotations

import argparse
import fcntl
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console

from lethe.errors import LetheError
from lethe_demo import celery_demo, demo, show
from lethe_demo.airflow_server import AirflowError
from lethe_demo.compose.file import ComposeError
from lethe_demo.processes import Services, adopt_orphans, end_descendants

_WIDTH = 110
"""Columns where the output is no terminal."""
_STAYS = {
    "local": "Stays up until Ctrl-C. The schedules are off here: start runs in the UI.",
    "celery": "Stays up until Ctrl-C. The schedules of what was started are on.",
}
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Run the demo. 0 if all runs succeeded and every promise holds."""
    parser = argparse.ArgumentParser(prog="python -m lethe_demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end when all is done, instead of staying up")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the company; 1 is the usual one")
    parser.add_argument(
        "--executor",
        choices=("local", "celery"),
        default="local",
        help="celery: what the compose files have, on machines of their own; begins anew every time",
    )
    parser.add_argument("--folder", type=Path, default=demo.CHECKOUT / ".lethe" / "demo", help="where all data goes")
    arguments = parser.parse_args()
    if not (demo.CHECKOUT / "dags").is_dir():
        parser.error("the demo is run from a checkout, which has its DAG files and policies: make demo")
    folder = arguments.folder.resolve()
    for name in _SIGNALS:
        signal.signal(name, _interrupt)
    warnings.filterwarnings("ignore", module="platformdirs")
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    adopt_orphans()
    try:
        with _alone(folder), ExitStack() as stack:
            phases = show.Phases(console)
            services: Services
            if arguments.executor == "celery":
                good, services = celery_demo.run(stack, folder / "celery", phases, arguments.scale)
            else:
                up = demo.bring_up(stack, folder, phases)
                good, services = demo.run(up, arguments.scale), up.children
            if not arguments.once:
                console.print(_STAYS[arguments.executor])
                demo.stay(phases, services)
    except KeyboardInterrupt:
        console.print("Ended.")
        return 130
    except (LetheError, AirflowError, ComposeError, RuntimeError) as error:
        console.print(f"[red]{error}[/]", highlight=False)
        return 1
    finally:
        left = end_descendants()
        if left:
            console.print(f"[red]{left} processes had to be ended separately.[/]")
    return 0 if good else 1


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """End, once: nothing that comes while processes are being ended may keep that from being done."""
    for name in _SIGNALS:
        signal.signal(name, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Only one demo at a time in a folder.

    Raises:
        AirflowError: if there is one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AirflowError(f"a demo is running in {folder} already; end it with Ctrl-C there") from None
        yield


if __name__ == "__main__":
    sys.exit(main())
