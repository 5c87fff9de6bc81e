"""`lethe event`: recording, confirming and withdrawing events that start periods."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from lethe.cli.identifiers import FROM_STDIN
from lethe.cli.shell import console, environment, named, registry_name, say

if TYPE_CHECKING:
    from lethe.recording import Referring
    from lethe.retention_events.registry import RetentionEvent

event_app = typer.Typer(
    help="Record what no table says, such as the end of a contract: it starts the period of what refers to it.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The event, as policies call it.")]
Reference = Annotated[
    list[str],
    typer.Argument(
        metavar="REFERENCE…",
        help="Whose event it is, as rows have it. It is not shown. - reads it from standard input: one line, its parts "
        "separated by commas, as in a CSV; what has a comma or quotes of its own in double quotes.",
    ),
]
Day = Annotated[
    datetime,
    typer.Option("--date", formats=["%Y-%m-%d"], metavar="DATE", help="The local day on which it happened."),
]
EventId = Annotated[str, typer.Argument(metavar="EVENT", help="The event's id, as `lethe event list` shows it.")]
By = Annotated[str | None, typer.Option(metavar="NAME", help="Who does this; the user's name if left out.")]


@event_app.command()
def record(name: Name, reference: Reference, day: Day, by: By = None) -> None:
    """Record that something happened on a day. What refers to it goes when its period has ended."""
    from lethe.recording import record_event, referring

    with environment() as env:
        whose = _reference(reference)
        event = record_event(env, name, whose, day.date(), named(by))
        say(f"Event {event.id}: {event.name} on {event.day} is recorded in {registry_name(env)}.")
        found = list(referring(env, name, whose, event.day))
    _show_referring(found)
    if any(one.two_people for one in found):
        say(
            f"Where it says so, it counts once somebody else than {event.recorded_by} runs `lethe event confirm {name}`"
        )
        say("with the same reference and day.")


@event_app.command()
def confirm(name: Name, reference: Reference, day: Day, by: By = None) -> None:
    """Confirm an event, as a second person who names it anew: whoever recorded it cannot."""
    from lethe.recording import confirm_event

    with environment() as env:
        event = confirm_event(env, name, _reference(reference), day.date(), named(by))
    say(f"Event {event.id}: {event.name} on {event.day}, recorded by {event.recorded_by}, is confirmed by")
    say(f"{event.confirmed_by}.")


@event_app.command()
def withdraw(event_id: EventId, by: By = None) -> None:
    """Take back an event: when the command returns, nothing goes by it any more."""
    from lethe.recording import withdraw_event

    with environment() as env:
        event = withdraw_event(env, event_id, named(by))
    say(f"Event {event.id}: {event.name} on {event.day} is withdrawn: nothing goes by it any more.")


@event_app.command("list")
def list_(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Only this event, as policies call it.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that were withdrawn.")] = False,
) -> None:
    """Show the events in force, without their references."""
    with environment() as env:
        console().print(_table(env.events.events(name=name, withdrawn=everything)))


@event_app.command()
def find(reference: Reference) -> None:
    """Show the events on record for a reference, also those withdrawn. It is not repeated in what is shown."""
    with environment() as env:
        events = env.events.events(reference=_reference(reference), withdrawn=True)
    if events:
        console().print(_table(events))
    else:
        say("No event is on record for it.")


def _reference(parts: Sequence[str]) -> list[str]:
    """The parts of a reference, or those of the only row of CSV in standard input where `-` stands for them.

    Raises:
        BadParameter: if there is no row, more than one, or none that is CSV.
    """
    if list(parts) != [FROM_STDIN]:
        return list(parts)
    lines = io.StringIO(sys.stdin.read().removeprefix("\ufeff"), newline="")
    try:
        rows = [row for row in csv.reader(lines, strict=True, skipinitialspace=True) if row]
    except csv.Error:
        rows = []
    if len(rows) != 1:
        raise typer.BadParameter(
            "standard input has not just one line of CSV: give one reference, its parts separated by commas, and in "
            "double quotes what has a comma or quotes of its own",
            param_hint="REFERENCE",
        )
    return rows[0]


def _show_referring(found: Sequence[Referring]) -> None:
    table = Table("Dataset", "Records that refer to it today", "Expired by it", "Second person")
    for one in found:
        counted = f"[yellow]not counted: {one.why}" if one.records is None else f"{one.records:,}"
        table.add_row(
            one.dataset, counted, f"{one.expired:,}" if one.records else "", "yes" if one.two_people else "no"
        )
    console().print(table)
    if all(one.records == 0 for one in found):
        say("No record refers to it today: see that the reference is spelt as in the data.")


def _table(events: Sequence[RetentionEvent]) -> Table:
    table = Table("Event", "Name", "Day", "State", "Recorded", "By", "Confirmed by", "Withdrawn by")
    for one in events:
        table.add_row(
            one.id, one.name, one.day.isoformat(), one.state, f"{one.recorded_at:%Y-%m-%d %H:%M}", one.recorded_by,
            one.confirmed_by or "", one.withdrawn_by or "",
        )  # fmt: skip
    return table
