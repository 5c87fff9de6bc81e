"""`lethe hold`: placing, finding and releasing legal holds and restrictions."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from lethe.cli.identifiers import Emails, Identifiers, IdentifiersFile, Phones, Region, Texts, identifiers_named
from lethe.cli.shell import console, environment, registry_name, say, user
from lethe.errors import HoldNotInForce
from lethe.holds.rules import ClockRange, HoldKind
from lethe.judging.identifiers import IdentifierType

if TYPE_CHECKING:
    from lethe.holding import Matching
    from lethe.holds.registry import Coverage, Hold

hold_app = typer.Typer(help="Keep records that the law requires: holds win over every period.", no_args_is_help=True)

HoldId = Annotated[str, typer.Argument(metavar="HOLD", help="The hold's id, as `lethe hold list` shows it.")]
By = Annotated[str | None, typer.Option(metavar="NAME", help="Who does this; the user's name if left out.")]


def _day(help_text: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help=help_text)
    return option


@hold_app.command()
def place(
    matter: Annotated[str, typer.Option(help="The reference of the matter, such as a file number. No personal data.")],
    reason: Annotated[str, typer.Option(help="Why records must stay. No personal data.")],
    by: By = None,
    kind: Annotated[HoldKind, typer.Option(help="A legal hold, or a restriction that a data subject asked for.")] = (
        HoldKind.LEGAL_HOLD
    ),
    email: Emails = None,
    phone: Phones = None,
    identifier: Identifiers = None,
    file: IdentifiersFile = None,
    category: Annotated[Texts, typer.Option(help="Only this category; may be repeated.")] = None,
    dataset: Annotated[
        Texts, typer.Option(metavar="CATEGORY.DATASET", help="Only this dataset; may be repeated.")
    ] = None,
    clock_from: Annotated[datetime | None, _day("Only records whose clock is on or after this day.")] = None,
    clock_to: Annotated[datetime | None, _day("Only records whose clock is on or before this day.")] = None,
    region: Region = None,
) -> None:
    """Place a hold, and wait until it is in force. Conditions combine: records are held that meet all of them."""
    from lethe.holding import covers, matching, place_hold
    from lethe.holds.registry import HoldRequest

    clock = ClockRange(_date(clock_from), _date(clock_to))
    with environment() as env:
        request = HoldRequest(
            matter=matter,
            reason=reason,
            kind=kind,
            identifiers=identifiers_named(email or (), phone or (), identifier or (), file, region),
            categories=tuple(category or ()),
            datasets=tuple(dataset or ()),
            clock=clock,
            region=region,
        )
        try:
            hold, coverage = place_hold(env, request, by or user())
        except HoldNotInForce:
            _show_coverage(covers(env, request))
            raise
        say(f"Hold {hold.id} is in force since {hold.in_force_at:%Y-%m-%d %H:%M:%S} UTC.")
        say(f"It is recorded in {registry_name(env)}.")
        _show_coverage(coverage, list(matching(env, hold)))


def _date(at: datetime | None) -> date | None:
    return at.date() if at is not None else None


def _show_coverage(coverage: Coverage, found: Sequence[Matching] = ()) -> None:
    table = Table("Dataset", "Is it covered?", "Records that it finds today")
    today = {one.dataset: _today(one) for one in found}
    for name in coverage.covered:
        part = coverage.partly.get(name)
        table.add_row(name, f"[yellow]partly: {part}" if part else "[green]yes", today.get(name, "not counted"))
    for name, why in coverage.uncovered.items():
        table.add_row(name, f"[yellow]no: {why}", "")
    console().print(table)
    if found and all(one.records == 0 for one in found):
        say("It finds no record in any dataset today: see that its identifiers are spelt as they should be.")


def _today(found: Matching) -> str:
    if found.records is None:
        return f"[yellow]not counted: {found.why}"
    unknown = f", and {found.unknown:,} without a readable clock were not looked at" if found.unknown else ""
    return f"{'' if found.records else '[yellow]'}{found.records:,}{unknown}"


@hold_app.command()
def enforce(hold_id: HoldId) -> None:
    """Wait again for what was under way when a hold was placed, so that it comes in force."""
    from lethe.holding import enforce_hold

    with environment() as env:
        hold = enforce_hold(env, hold_id)
    say(f"Hold {hold.id} is in force since {hold.in_force_at:%Y-%m-%d %H:%M:%S} UTC.")


@hold_app.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Also those that were released.")] = False,
) -> None:
    """Show the holds that bind."""
    with environment() as env:
        holds = env.registry.holds(released=everything)
    console().print(_holds_table(holds))


@hold_app.command()
def find(
    kind: Annotated[IdentifierType, typer.Argument(metavar="TYPE", help="email, phone, account, …")],
    value: Annotated[str, typer.Argument(help="The identifier; - reads it from standard input.")],
    region: Region = None,
) -> None:
    """Show the binding holds that name an identifier. It is not repeated in what is shown."""
    text = sys.stdin.readline() if value == "-" else value
    with environment() as env:
        holds = env.registry.find(kind, text, region=region)
    if holds:
        console().print(_holds_table(holds))
    else:
        say("No binding hold names it.")


def _holds_table(holds: Sequence[Hold]) -> Table:
    table = Table("Hold", "Kind", "Matter", "State", "Identifiers", "Scope", "Placed", "By")
    for hold in holds:
        table.add_row(
            hold.id, hold.kind.value, hold.matter, hold.state, _named(hold), _scope(hold),
            f"{hold.placed_at:%Y-%m-%d %H:%M}", hold.placed_by,
        )  # fmt: skip
    return table


def _named(hold: Hold) -> str:
    return (
        ", ".join(f"{count:,} {kind.value}" for kind, count in hold.identifier_counts.items()) or "everything in scope"
    )


def _scope(hold: Hold) -> str:
    parts = [", ".join((*hold.categories, *hold.datasets)) or "all categories"]
    if hold.clock.first or hold.clock.last:
        parts.append(f"clock {hold.clock.first or '…'} to {hold.clock.last or '…'}")
    return "; ".join(parts)


@hold_app.command()
def show(hold_id: HoldId) -> None:
    """Show all that is recorded of one hold, save its identifiers."""
    with environment() as env:
        hold = env.registry.get(hold_id)
    facts = {
        "Hold": hold.id,
        "Kind": hold.kind.value,
        "Matter": hold.matter,
        "Reason": hold.reason,
        "State": hold.state,
        "Identifiers": _named(hold),
        "Scope": _scope(hold),
        "Placed": _done(hold.placed_by, hold.placed_at),
        "In force": hold.in_force_at.isoformat() if hold.in_force_at else "not yet: see `lethe hold enforce`",
        "Release proposed": _done(hold.release_proposed_by, hold.release_proposed_at),
        "Released": _done(hold.released_by, hold.released_at),
    }
    for name, fact in facts.items():
        say(f"{name + ':':18}{fact}")


def _done(by: str | None, at: datetime | None) -> str:
    return f"by {by} at {at.isoformat()}" if by and at else "no"


@hold_app.command("propose-release")
def propose_release(hold_id: HoldId, by: By = None) -> None:
    """Propose to release a hold. It stays in force until somebody else releases it."""
    with environment() as env:
        hold = env.registry.propose_release(hold_id, by=by or user())
    say(f"Hold {hold.id} ({hold.matter}) stays in force until somebody else than {hold.release_proposed_by} runs")
    say(f"`lethe hold release {hold.id}`.")


@hold_app.command()
def release(hold_id: HoldId, by: By = None) -> None:
    """Release a hold, as a second person: whoever proposed it cannot. The next runs take what it held."""
    with environment() as env:
        hold = env.registry.confirm_release(hold_id, by=by or user())
    say(f"Hold {hold.id} ({hold.matter}) is released: proposed by {hold.release_proposed_by}, ")
    say(f"confirmed by {hold.released_by}.")
