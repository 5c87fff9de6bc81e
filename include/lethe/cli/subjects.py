"""`lethe subject`: recording, confirming, answering and cancelling requests of data subjects."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from lethe.cli.identifiers import Emails, Identifiers, IdentifiersFile, Phones, Region, identifiers_named
from lethe.cli.shell import console, environment, named, registry_name, say
from lethe.subjects.rules import RequestKind

if TYPE_CHECKING:
    from lethe.environment import Environment
    from lethe.judging.identifiers import IdentifierType
    from lethe.subjects.registry import SubjectRequest

subject_app = typer.Typer(
    help="Requests of data subjects (erasure, restriction, objection, withdrawal, access), and minors that were found.",
    no_args_is_help=True,
)

RequestId = Annotated[
    str, typer.Argument(metavar="REQUEST", help="The request's id, as `lethe subject list` shows it.")
]
By = Annotated[str | None, typer.Option(metavar="NAME", help="Who does this; the user's name if left out.")]
Reason = Annotated[str, typer.Option(help="Why, in a few words. No personal data.")]


@subject_app.command()
def request(
    kind: Annotated[RequestKind, typer.Argument(metavar="KIND", help="What is asked, or minor.")],
    reference: Annotated[str, typer.Option(help="The reference of its file. No personal data.")],
    received: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="The day on which it came in, or was found.")
    ],
    by: By = None,
    email: Emails = None,
    phone: Phones = None,
    identifier: Identifiers = None,
    file: IdentifiersFile = None,
    region: Region = None,
) -> None:
    """Record a request of one person. An identifier given as - is read from standard input; none is shown."""
    from lethe.answering import record_request, restriction_of

    with environment() as env:
        whose = _whose(email, phone, identifier, file, region)
        one = record_request(env, kind, whose, received.date(), reference=reference, by=named(by))
        say(f"Request {one.id} of {one.kind}, received on {one.received}, is recorded in {registry_name(env)}.")
        say(f"It is to be answered by {one.due}: see `lethe subject report {one.id}`.")
        hold = restriction_of(env, one)
        if hold is not None:
            say(f"Hold {hold.id} is in force since {hold.in_force_at:%Y-%m-%d %H:%M:%S} UTC: nothing of it is erased.")
        if one.waits_for_confirmation:
            say(f"Nothing goes by it until somebody else than {one.recorded_by} runs `lethe subject confirm {one.id}`")
            say("with the same identifiers.")


def _whose(
    email: list[str] | None,
    phone: list[str] | None,
    identifier: list[str] | None,
    file: IdentifiersFile,
    region: str | None,
) -> dict[IdentifierType, list[str]]:
    from lethe.subjects.registry import normalised

    return normalised(identifiers_named(email or (), phone or (), identifier or (), file, region), region)


@subject_app.command()
def confirm(
    request_id: RequestId,
    by: By = None,
    email: Emails = None,
    phone: Phones = None,
    identifier: Identifiers = None,
    file: IdentifiersFile = None,
    region: Region = None,
) -> None:
    """Confirm a request by which records may go, as a second person who names the identifiers anew."""
    with environment() as env:
        one = env.subjects.confirm(request_id, _whose(email, phone, identifier, file, region), by=named(by))
    say(f"Request {one.id} of {one.kind}, recorded by {one.recorded_by}, is confirmed by {one.confirmed_by}.")


@subject_app.command()
def enforce(request_id: RequestId) -> None:
    """Have a restriction in force whose recording was interrupted, or that could not wait for what was under way."""
    from lethe.answering import restrict

    with environment() as env:
        hold = restrict(env, env.subjects.get(request_id))
    say(f"Hold {hold.id} is in force since {hold.in_force_at:%Y-%m-%d %H:%M:%S} UTC.")


@subject_app.command()
def extend(request_id: RequestId, reason: Reason, by: By = None) -> None:
    """Extend the time to answer by two months (Article 12(3) GDPR), of which the person is told within the first."""
    from lethe.answering import local_day

    with environment() as env:
        one = env.subjects.extend(request_id, reason, by=named(by), today=local_day(env))
    say(f"Request {one.id} is to be answered by {one.due}. Tell the person so, and why, within a month of")
    say(f"{one.received}.")


@subject_app.command()
def answer(
    request_id: RequestId,
    text: Annotated[str, typer.Option("--answer", help="What the person was told, in a few words. No personal data.")],
    by: By = None,
) -> None:
    """Record that the person was answered: nothing goes by the request any more. A restriction stays in force."""
    with environment() as env:
        one = env.subjects.answer(request_id, text, by=named(by))
    say(f"Request {one.id} of {one.kind} is answered.")


@subject_app.command()
def cancel(request_id: RequestId, reason: Reason, by: By = None) -> None:
    """Take back a request: when the command returns, nothing goes by it any more."""
    from lethe.answering import cancel_request, restriction_of

    with environment() as env:
        one = cancel_request(env, request_id, reason, named(by))
        hold = restriction_of(env, one)
    say(f"Request {one.id} of {one.kind} is cancelled: nothing goes by it any more.")
    if hold is not None:
        say(f"Its restriction stays until somebody else than {hold.release_proposed_by} runs")
        say(f"`lethe hold release {hold.id}`.")


@subject_app.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Also those that were answered or cancelled.")] = False,
) -> None:
    """Show the open requests, without their identifiers, the one that is due first at the top."""
    from lethe.answering import local_day

    with environment() as env:
        console().print(_table(env.subjects.requests(ended=everything), local_day(env)))


@subject_app.command()
def show(request_id: RequestId) -> None:
    """Show all that is recorded of one request, save its identifiers."""
    from lethe.answering import local_day

    with environment() as env:
        one, today = env.subjects.get(request_id), local_day(env)
        restriction = _restriction(env, one)
    facts = {
        "Request": one.id,
        "Kind": one.kind.value,
        "Reference": one.reference,
        "Received": one.received.isoformat(),
        "Due": one.due.isoformat(),
        "State": one.state(today),
        "Identifiers": _counts(one),
        "Recorded": _done(one.recorded_by, one.recorded_at),
        "Confirmed": _done(one.confirmed_by, one.confirmed_at),
        "Extended": _done(one.extended_by, one.extended_at, one.extension),
        "Answered": _done(one.answered_by, one.answered_at, one.answer),
        "Cancelled": _done(one.cancelled_by, one.cancelled_at, one.cancelled_because),
        **({"Restriction": restriction} if restriction else {}),
    }
    for name, fact in facts.items():
        say(f"{name + ':':14}{fact}")


def _restriction(env: Environment, one: SubjectRequest) -> str:
    from lethe.answering import restriction_of

    if one.kind is not RequestKind.RESTRICTION:
        return ""
    hold = restriction_of(env, one)
    if hold is None:
        return "released" if one.ended else f"not in force: `lethe subject enforce {one.id}`"
    return f"hold {hold.id}, {hold.state}"


def _done(by: str | None, at: datetime | None, words: str | None = None) -> str:
    return f"by {by} at {at.isoformat()}{f': {words}' if words else ''}" if by and at else "no"


def _counts(one: SubjectRequest) -> str:
    return ", ".join(f"{count:,} {kind.value}" for kind, count in one.identifier_counts.items())


def _table(requests: Sequence[SubjectRequest], today: date) -> Table:
    table = Table(
        "Request", "Kind", "Reference", "Received", "Due", "State", "Identifiers", "Recorded by", "Confirmed by"
    )
    for one in requests:
        state = one.state(today)
        needs = "" if one.kind.erases else "not needed"
        table.add_row(
            one.id, one.kind.value, one.reference, one.received.isoformat(), one.due.isoformat(),
            f"[red]{state}" if state == "overdue" else state, _counts(one), one.recorded_by, one.confirmed_by or needs,
        )  # fmt: skip
    return table
