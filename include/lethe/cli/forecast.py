"""`lethe survey` and `lethe forecast`: what every dataset has due, and will have, and the latest that is known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from lethe.cli.frames import As, Form, Output, check_output, write
from lethe.cli.runs import policies_of
from lethe.cli.shell import complain, console, environment

if TYPE_CHECKING:
    from pathlib import Path

    from lethe.surveys import Survey

Categories = Annotated[list[str] | None, typer.Argument(metavar="[CATEGORY]...", help="All where left out.")]


def survey(
    categories: Categories = None,
    holds: Annotated[
        bool, typer.Option("--holds", help="Count, too, what each hold finds in its datasets, expired or not.")
    ] = False,
    form: As = Form.TABLE,
    output: Output = None,
) -> None:
    """Count what is due now, overdue, and due within 1, 7, 30 and 90 days; and keep that for `lethe forecast`.

    By the holds of now, and as if nothing went before. Each dataset is read once (of rows in files, once for each of
    these). As the DAG lethe_survey does every night, for the Retention page.
    """
    from lethe import stages
    from lethe.holding import count_holds

    check_output(form, output)
    now = datetime.now(UTC).replace(microsecond=0)
    with environment() as env:
        found = [
            stages.survey(env, policy, dataset, now)
            for policy in policies_of(env, categories or ())
            for dataset in policy.datasets
        ]
        env.surveys.keep(found)
        if holds:
            count_holds(env, timedelta(days=1))
    _show(found, form, output)


def forecast(categories: Categories = None, form: As = Form.TABLE, output: Output = None) -> None:
    """Show what the latest survey says: due by then, overdue, and due within 1, 7, 30 and 90 days.

    No store is asked. Of a dataset without a survey in the last 30 days that is said: nothing is known of it.
    """
    from lethe.surveys import Survey

    check_output(form, output)
    now = datetime.now(UTC)
    with environment() as env:
        policies = policies_of(env, categories or ())
        known = env.surveys.newest(now)
    found = []
    for policy in policies:
        for dataset in policy.datasets:
            nothing = Survey(
                category=policy.category, dataset=dataset.name, at=now, policy_digest=policy.digest,
                problem="not known: no survey was taken in the last 30 days; see `lethe survey`",
            )  # fmt: skip
            found.append(known.get((policy.category, dataset.name), nothing))
    _show(found, form, output)


def _show(found: Sequence[Survey], form: Form, output: Path | None) -> None:
    """Print what is known, and complain of what is not.

    Raises:
        Exit: 1, if anything is not.
    """
    from lethe.cli.figures import FORECAST, forecast_figures

    if form is Form.TABLE:
        console().print(_table(found))
    else:
        write([forecast_figures(one) for one in found], FORECAST, form, output)
    for one in found:
        if one.problem:
            complain(f"{one.category}.{one.dataset}: {one.problem}")
    if any(one.problem for one in found):
        raise typer.Exit(1)


def _table(found: Sequence[Survey]) -> Table:
    from lethe.surveys import HORIZONS

    table = Table("Dataset", "As of", caption="In records; by the holds of then, and as if nothing went before.")
    for title in ("Due", "Overdue", *(f"In {days} day{'s' * (days > 1)}" for days in HORIZONS), "Held", "Unjudgeable"):
        table.add_column(title, justify="right")
    for one in found:
        table.add_row(f"{one.category}.{one.dataset}", *_cells(one, HORIZONS))
    return table


def _cells(one: Survey, horizons: Sequence[int]) -> list[str]:
    if one.found is None:
        return ["", "[red]?"]
    late = f", {one.overdue_days:,} days" if one.overdue and one.overdue_days else ""
    overdue = f"[red]{one.overdue:,}{late}" if one.overdue else "0"
    ahead = [f"{one.ahead[days]:,}" for days in horizons]
    moment = f"{one.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return [moment, f"{one.found.due:,}", overdue, *ahead, f"{one.found.held:,}", f"{one.found.unjudged:,}"]
