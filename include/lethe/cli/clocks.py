"""`lethe clocks`: what the time is by every clock that runs compare, and what a person says that it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from lethe.cli.shell import console, environment, moment, named, say

if TYPE_CHECKING:
    from lethe.environment import Environment
    from lethe.policy import Dataset

clocks_app = typer.Typer(help="The clocks that every run compares before it judges.", no_args_is_help=True)


@clocks_app.command()
def show() -> None:
    """Show what every clock shows now, and the latest moment in the ledger. Wrong ones make the command fail."""
    from lethe import timekeeping

    with environment() as env:
        clocks = timekeeping.read(env, _datasets(env))
        table = Table("Clock", "Shows", "Seconds ahead of this machine's")
        for one in clocks.readings:
            table.add_row(one.clock, one.at.isoformat(timespec="seconds"), f"{one.ahead:+,.1f}")
        if clocks.ledger is not None:
            table.add_row("the ledger's latest entry", clocks.ledger.isoformat(timespec="seconds"), "")
        console().print(table)
        clocks.require_agreement(env.settings.clock_tolerance)
        clocks.require_after_ledger(env.settings.clock_tolerance)


@clocks_app.command()
def confirm(
    time: Annotated[str, typer.Argument(metavar="TIME", help="By your own watch: ISO 8601 with a time zone.")],
    by: Annotated[str | None, typer.Option(metavar="NAME", help="Who says so; the user's name if left out.")] = None,
) -> None:
    """Say what the time is, where the ledger contradicts the clocks, or nothing vouches for this machine's.

    Enters it in the ledger, if all clocks show that time; from then on runs start again. Before that, find out which
    clock was wrong, and what ran meanwhile.
    """
    from lethe import timekeeping

    with environment() as env:
        clocks = timekeeping.confirm(env, _datasets(env), moment(time, "TIME"), named(by))
    say(f"Confirmed: {len(clocks.readings)} clocks show that time, and the ledger says that you do.")


def _datasets(env: Environment) -> list[Dataset]:
    return [dataset for policy in env.policies.values() for dataset in policy.datasets]
