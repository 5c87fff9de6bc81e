"""`lethe subject`: recording, confirming, answering and cancelling requests of data subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from lethe.cli.frames import As, Form, Output, check_output, write
from lethe.cli.identifiers import Emails, Identifiers, IdentifiersFile, Phones, Region, identifiers_named
from lethe.cli.shell import complain, console, environment, named, registry_name, say
from lethe.policy import RequestKind

if TYPE_CHECKING:
    from lethe.access import Holding
    from lethe.environment import Environment
    from lethe.judging.identifiers import IdentifierType
    from lethe.stores.base import PersonFound
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


@subject_app.command()
def report(
    request_id: RequestId,
    form: As = Form.TABLE,
    output: Output = None,
) -> None:
    """Say what there is of the person in every dataset: how much, for how long, and why. Nothing of its values.

    It takes as long as a survey of each dataset. What is in it is for who answers the person, and to be looked through
    before: that something is held may have to stay unsaid.
    """
    from lethe.access import holdings
    from lethe.answering import local_day
    from lethe.cli.figures import ACCESS, access_figures
    from lethe.cli.register import rule_of
    from lethe.policy.schedule import load_schedule

    check_output(form, output)
    with environment() as env:
        one, today = env.subjects.get(request_id), local_day(env)
        rows = load_schedule(env.settings.policies)
        found = list(holdings(env, one))
        kept = {each.name: rule_of(each.policy, rows.get(each.policy.category)) for each in found}
    if form is Form.TABLE:
        _letter(one, today, found, kept)
        for row in rows.values():
            if row.no_policy is not None:
                say(f"Not searched, because no policy says where it is: {row.category} ({row.no_policy})")
    else:
        write([access_figures(one.id, each, kept[each.name]) for each in found], ACCESS, form, output)
    for each in found:
        if each.found is None and each.searchable:
            complain(f"{each.name}: {each.why_not}")
    if any(each.found is None and each.searchable for each in found):
        raise typer.Exit(1)


def _letter(one: SubjectRequest, today: date, found: Sequence[Holding], kept: Mapping[str, str]) -> None:
    """What there is, as text that a letter can be written from."""
    say(f"Request {one.id} of {one.kind} ({one.reference}), received on {one.received}: {one.state(today)},")
    say(f"to be answered by {one.due}. Looked for by {_counts(one)}.")
    for each in found:
        if each.found is not None and (each.found.records or each.found.unsearched or each.partly):
            say("")
            _paragraph(each, each.found, kept[each.name])
    say("")
    none = [each.name for each in found if each.found is not None and not each.found.records]
    say(f"Nothing was found in: {', '.join(none) or 'no other dataset'}.")
    for each in found:
        if each.found is None:
            say(f"{'NOT KNOWN' if each.searchable else 'Not searched'}: {each.name}: {each.why_not}.")


def _paragraph(each: Holding, found: PersonFound, kept: str) -> None:
    say(f"{each.name} ({each.policy.title}): {found.records:,} record{'' if found.records == 1 else 's'}")
    say(f"  kept: {kept}; legal basis: {each.policy.legal_basis} ({each.policy.source})")
    if found.expired:
        say(f"  {found.expired:,} of them expired: erased by the next run, but for what is held or kept on")
    if each.last is not None and found.records - found.undated > found.expired:
        first = f"from {each.first} " if each.first and not found.expired else ""
        say(f"  until: {first}{'to' if first else 'at the latest'} {each.last}")
    if found.undated:
        say(f"  {found.undated:,} of them without a date yet, from which the period would be counted")
    if found.kept_on:
        say(f"  {found.kept_on:,} of them kept on by the condition on {', '.join(each.kept_on_by)}")
    if found.held:
        say(f"  {found.held:,} of them held, by a legal hold, a restriction, or the store itself")
    if each.goes is not None:
        say(
            f"  {each.goes:,} of them go with the next run on request (`lethe run {each.policy.category} --on-request`)"
        )
    if each.stays_because:
        say(f"  {found.records - (each.goes or 0):,} stay: {each.stays_because}")
    if found.unsearched:
        say(f"  {found.unsearched:,} further records could not be looked at: their date is missing or cannot be read")
    if each.partly:
        say(f"  {each.partly}")


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
