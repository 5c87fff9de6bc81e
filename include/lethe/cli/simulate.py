"""`lethe simulate`: what each run until a day will erase, by all that is known now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from lethe.cli.frames import As, Form, Output, check_output, write
from lethe.cli.runs import policies_of
from lethe.cli.shell import complain, console, environment

if TYPE_CHECKING:
    from lethe.stages import Simulation

_CAPTION = (
    "By the records, policies, holds, events and Object Locks of now; as if nothing else changed them, every run were "
    "approved, and none were kept from erasing."
)


def simulate(
    until: Annotated[
        datetime,
        typer.Option("--until", formats=["%Y-%m-%d"], metavar="DATE", help="The last day, in each policy's time zone."),
    ],
    categories: Annotated[
        list[str] | None, typer.Option("--category", help="Only this one; may be repeated. All where left out.")
    ] = None,
    form: As = Form.TABLE,
    output: Output = None,
) -> None:
    """Show what each run that the schedule says, from now until a day, will erase. Nothing is changed.

    The numbers are what these runs would find, exactly, if nothing but they changed the dataset. It is read once (again
    for every 400 further cutoffs), and its child tables once.
    Rows in files are not simulated, nor categories without a schedule: that is said, and is no zero.
    """
    from lethe import stages
    from lethe.cli.figures import SIMULATED, simulated_figures

    check_output(form, output)
    now = datetime.now(UTC).replace(microsecond=0)
    last = until.date()
    stages.require_ahead(last, now)
    with environment() as env:
        found = [
            stages.simulate(env, policy, dataset, now, last)
            for policy in policies_of(env, categories or ())
            for dataset in policy.datasets
        ]
    if form is Form.TABLE:
        console().print(_table(found, last))
    else:
        write([row for one in found for row in simulated_figures(one)], SIMULATED, form, output)
    for one in found:
        if one.problem:
            complain(f"{one.category}.{one.dataset}: {one.problem}")
    if any(one.problem for one in found):
        raise typer.Exit(1)


def _table(found: Sequence[Simulation], until: date) -> Table:
    """The runs that erase anything, in their order; then what goes of each dataset in all."""
    table = Table("Run", "Dataset", caption=_CAPTION)
    for title in ("Records", "Rows along"):
        table.add_column(title, justify="right")
    names = {(one.category, one.dataset): f"{one.category}.{one.dataset}" for one in found}
    runs = [(run, names[one.category, one.dataset]) for one in found for run in one.runs if run.going.records]
    for run, name in sorted(runs, key=lambda each: each[0].at):
        table.add_row(f"{run.at:%Y-%m-%d %H:%M %Z}", name, f"{run.going.records:,}", f"{run.going.rows_along:,}")
    table.add_section()
    for one in found:
        numbers = ("[red]?", "") if one.problem else (f"{one.total.records:,}", f"{one.total.rows_along:,}")
        table.add_row(f"until {until}", names[one.category, one.dataset], *numbers)
    return table
