"""How long a run takes that finds nothing to erase, in a whole Airflow on this machine: at most 30 seconds.

`python -m bench.nothing` starts the demo in a folder of its own with a small company, runs all five categories, and
then each of them again, one after the other.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from lethe.environment import Environment
from lethe_demo import account, demo, show
from lethe_demo.airflow_server import APPROVER, AirflowApi

LIMIT_SECONDS = 30.0
_SCALE = 0.02


def main() -> int:
    """Print the time of every category; 0 if all are within the limit."""
    warnings.filterwarnings("ignore", module="platformdirs")
    console = Console()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        up = demo.bring_up(stack, Path(folder), show.Phases(console))
        with Environment(up.resolve, up.settings) as env:
            seeding, api = demo.prepare(up, env, _SCALE)
            conf = {"as_of": seeding.as_of.isoformat()}
            runs = {category: api.start(category, conf) for category in account.CATEGORIES}
            approver = api.as_approver(up.airflow.passwords[APPROVER])
            show.follow(console, api, approver, up.children, runs)
            seconds = {category: measure(api, category, conf) for category in account.CATEGORIES}
            again = account.finished_runs(env)
    for category, taken in seconds.items():
        note = "" if len(again[category]) == 2 else ", and did not succeed"
        console.print(f"nothing to erase, {category}: {taken:.1f} s of at most {LIMIT_SECONDS:.0f} s{note}")
    return 0 if max(seconds.values()) <= LIMIT_SECONDS and all(len(runs) == 2 for runs in again.values()) else 1


def measure(api: AirflowApi, category: str, conf: dict[str, str]) -> float:
    """Seconds from asking Airflow for a run until it is over."""
    began = time.monotonic()
    run = api.start(category, conf)
    while api.state(category, run) not in ("success", "failed"):
        time.sleep(0.2)
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
