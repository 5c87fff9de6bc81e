"""`lethe due`, `lethe run` and `lethe report`: what has expired, erasing it, and what was done."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from lethe.cli.frames import As, Form, Output, check_output, write
from lethe.cli.shell import complain, console, environment, moment, named, registry_name, require_known, say, user
from lethe.errors import LetheError, RunError
from lethe.people import may_answer, same_person

if TYPE_CHECKING:
    from datetime import datetime

    from lethe.cli.figures import Due
    from lethe.counts import Became, Found
    from lethe.environment import Environment
    from lethe.evidence.records import RunRecord
    from lethe.policy import Dataset, Policy
    from lethe.stages import Approver, DatasetReport, Report

AsOf = Annotated[
    str | None,
    typer.Option("--as-of", metavar="MOMENT", help="ISO 8601 with a time zone; not in the future. Now if left out."),
]


def due(
    categories: Annotated[list[str] | None, typer.Argument(metavar="[CATEGORY]...", help="All where left out.")] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="MOMENT",
            help="ISO 8601 with a time zone; a later one shows what will be due. Now if left out.",
        ),
    ] = None,
    form: As = Form.TABLE,
    output: Output = None,
) -> None:
    """Show what is expired now: how much of it is held, kept on or due, and for how long it has been overdue."""
    from lethe.cli.figures import DUE

    check_output(form, output)
    at = moment(as_of)
    with environment() as env:
        policies = policies_of(env, categories or ())
        found = [_due(env, policy, dataset, at) for policy in policies for dataset in policy.datasets]
    if form is Form.TABLE:
        console().print(_due_table(found, at))
    else:
        write([one.figures for one in found], DUE, form, output)
    for one in found:
        if one.problem:
            complain(f"{one.category}.{one.dataset}: {one.problem}")
    if any(one.problem for one in found):
        raise typer.Exit(1)


def policies_of(env: Environment, categories: Sequence[str]) -> list[Policy]:
    """Those of the categories; all where none is named."""
    return [env.policy(category) for category in categories] if categories else list(env.policies.values())


def _due(env: Environment, policy: Policy, dataset: Dataset, at: datetime) -> Due:
    from lethe.cli.figures import Due
    from lethe.stages import overdue_days, work

    try:
        job = work(policy, "due", at, dataset.name)
        survey = env.store(dataset).survey(job, env.registry.rules(policy.category, dataset))
    except LetheError as error:
        return Due(policy.category, dataset.name, at, problem=str(error))
    return Due(policy.category, dataset.name, at, survey, overdue_days(job.expiry, survey))


def _due_cells(one: Due) -> list[str]:
    if one.found is None:
        return ["[red]?"]
    overdue = "" if one.overdue is None else f"{one.overdue:,} day{'' if one.overdue == 1 else 's'}"
    return [*_counts(one.found), one.oldest.isoformat() if one.oldest else "", overdue]


def _due_table(found: Sequence[Due], at: datetime) -> Table:
    table = Table("Dataset", caption=f"As of {at.isoformat()}")
    for title in (*_found_headings(), "Oldest", "Overdue"):
        table.add_column(title, justify="right")
    for one in found:
        table.add_row(f"{one.category}.{one.dataset}", *_due_cells(one))
    return table


def _counts(survey: Found) -> list[str]:
    unjudgeable = ", ".join(f"{count:,} {reason.value}" for reason, count in survey.unjudgeable.items() if count)
    numbers = [f"{n:,}" for n in (survey.total, survey.expired, survey.held, survey.kept_on)]
    due = f"{survey.due:,} (+{survey.rows_along:,})" if survey.rows_along else f"{survey.due:,}"
    return [*numbers, unjudgeable or "0", due]


def _digest(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"[0-9a-f]{64}", text):
        raise typer.BadParameter("a digest is 64 hexadecimal digits, as a dry run prints it")
    return text


def run(
    category: Annotated[str, typer.Argument(help="The category of the schedule to carry out.")],
    as_of: AsOf = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Find and validate, print the digest, erase nothing.")
    ] = False,
    datasets: Annotated[list[str] | None, typer.Option("--dataset", help="Only this one; may be repeated.")] = None,
    expect: Annotated[
        str | None,
        typer.Option(
            callback=_digest, metavar="DIGEST", help="Erase just what a dry run with this digest found, or nothing."
        ),
    ] = None,
    approve_as: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Who approves, should limits be passed: somebody else than who runs it."),
    ] = None,
    by: Annotated[str | None, typer.Option(metavar="NAME", help="Who runs it; the user's name if left out.")] = None,
    on_request: Annotated[
        bool,
        typer.Option("--on-request", help="Erase what open requests of persons are about, and nothing else."),
    ] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="An open run of the category is dead: settle it and start a new one.")
    ] = False,
) -> None:
    """Erase what has expired in a category: plan, discover, validate, approve, erase, verify, certify."""
    from lethe import stages
    from lethe.cli.progress import ProgressBars
    from lethe.evidence.runs import RecordBusy, RunBusy

    person = named(by)
    with environment() as env, ProgressBars() as bars:
        try:
            planned = stages.plan(
                env,
                category,
                moment(as_of) if as_of else None,
                trigger=f"lethe run on {socket.gethostname()}, process {os.getpid()}",
                requested_by=person,
                dry_run=dry_run,
                datasets=datasets or (),
                expect=expect,
                take_over=take_over,
                on_request=on_request,
            )
        except RecordBusy:
            raise
        except RunBusy as error:
            raise RunBusy(f"{error}. If you know that it is dead, add --take-over") from None

        def ask(reasons: Sequence[str]) -> Approver | None:
            with bars.paused():
                for dataset, problem in stages.failures(env, planned).items():
                    say(f"{dataset} failed and stays as it is: {problem}")
                approver = _ask(reasons, approve_as)
            _require_entitled(env, category, approver, by)
            return approver

        failure: LetheError | None = None
        try:
            report = stages.run(env, planned, approver=ask, watcher=bars)
        except LetheError as error:
            failure, report = error, stages.report_of(env, planned.run)
        holds = registry_name(env)
    say(f"Run {report.run}: {report.category}, {report.state}. Cutoff {report.cutoff}. Holds are those of {holds}.")
    console().print(_report_table(report))
    if dry_run and failure is None:
        say(f"Digest: {report.digest}")
    if failure is not None:
        raise failure


def _require_entitled(env: Environment, category: str, approver: Approver | None, by: str | None) -> None:
    """Refuse an approval of who runs the command in another's name, or of somebody whose answer does not count.

    Raises:
        RunError: if it is one. Nothing is erased.
    """
    if approver is None or not approver.approves:
        return
    if by is not None and same_person(approver.name, user()):
        raise RunError(
            f"{category}: {approver.name} runs this command, on behalf of {by}, and cannot approve; ask somebody else: "
            "--approve-as NAME"
        )
    if not may_answer(env.settings.approvers, approver.name):
        raise RunError(
            f"{category}: {approver.name} is none of {', '.join(env.settings.approvers)} (LETHE_APPROVERS); ask one of "
            "them: --approve-as NAME"
        )


def _ask(reasons: Sequence[str], approve_as: str | None) -> Approver | None:
    from lethe.stages import Approver

    if approve_as is not None:
        return Approver(approve_as, approves=True, said_by=user())
    if not _at_a_terminal():
        return None
    for reason in reasons:
        say(reason)
    name = typer.prompt("Who decides (somebody else than who runs it)")
    return Approver(name, approves=typer.confirm(f"{name}: erase them?"), said_by=user())


def _at_a_terminal() -> bool:
    return sys.stdin.isatty()


def report(
    run_id: Annotated[str | None, typer.Argument(metavar="[RUN]", help="One run; the latest ones if left out.")] = None,
    category: Annotated[str | None, typer.Option(help="Only runs of this category.")] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=10_000, help="How many runs.")] = 20,
    form: As = Form.TABLE,
    output: Output = None,
) -> None:
    """Show the latest runs, or all about one; as figures, a row for each run, or for each dataset of one."""
    from lethe.cli.figures import REPORT, RUNS, report_figures, run_figures
    from lethe.stages import report_of

    check_output(form, output)
    with environment() as env:
        if run_id is None:
            latest = env.runs.latest(count, category=category)
            if category is not None and not latest:
                require_known(env, category)
            if form is Form.TABLE:
                console().print(_runs_table(latest))
            else:
                write([run_figures(record) for record in latest], RUNS, form, output)
            return
        record, found = env.runs.get(run_id), report_of(env, run_id)
        if form is not Form.TABLE:
            write([report_figures(found, dataset) for dataset in found.datasets], REPORT, form, output)
            return
        approvals = {dataset.dataset: dataset.approval for dataset in env.runs.datasets(run_id)}
    say(f"Run {found.run}: {record.category}, {found.state}")
    say(f"As of {found.as_of.isoformat()}, cutoff {found.cutoff}, policy {record.policy_digest}")
    say(f"Started by {record.requested_by or 'a schedule'} ({record.trigger}) at {record.started_at.isoformat()}")
    console().print(_report_table(found))
    for name, approval in approvals.items():
        if approval is not None:
            verdict = "approved" if approval.approved else "not approved"
            why = "".join(f"; {reason}" for reason in approval.reasons)
            say(f"{name}: {verdict} by {approval.by} at {approval.at.isoformat()}{why}")
    for dataset in found.datasets:
        if dataset.problem:
            say(f"{dataset.dataset}: {dataset.problem}")
    say(f"Digest: {found.digest}")


def _runs_table(latest: Sequence[RunRecord]) -> Table:
    table = Table("Run", "Category", "State", "As of", "Cutoff", "Started", "By")
    for record in latest:
        table.add_row(
            record.id,
            record.category,
            record.state + (" (dry run)" if record.dry_run and record.state != "dry" else ""),
            record.as_of.isoformat(),
            record.cutoff,
            record.started_at.isoformat(timespec="seconds"),
            record.requested_by or record.trigger,
        )
    return table


def _report_table(found: Report) -> Table:
    """A column for every dataset: it fits a terminal, where a row for each would not."""
    table = Table("")
    for dataset in found.datasets:
        table.add_column(dataset.dataset, justify="right")
    for name, values in zip(_measures(), zip(*map(_measured, found.datasets), strict=True), strict=True):
        table.add_row(name, *values)
    return table


def _found_headings() -> list[str]:
    """What heads `_counts`; what goes along stands beside what is due."""
    from lethe.counts import FOUND_HEADINGS

    return [heading for name, heading in FOUND_HEADINGS.items() if name != "rows_along"]


def _measures() -> list[str]:
    """What heads `_measured`."""
    from lethe.counts import Outcome

    found = _found_headings()
    outcomes = [f"{each.heading} since" if each.heading in found else each.heading for each in Outcome]
    return [*found, *outcomes, "Went along", "Left", "Checks"]


def _measured(dataset: DatasetReport) -> list[str]:
    found, tally = dataset.candidates, dataset.tally
    before = _counts(found) if found else [""] * len(_found_headings())
    became = _became(tally) if tally else [""] * (len(_measures()) - len(before) - 2)
    left = f"{dataset.left.due:,}" if dataset.left else ""
    failed = sum(len(validation.failures) for validation in dataset.validation)
    if dataset.problem:
        checks = "[red]failed"
    elif failed:
        checks = f"[red]{failed} broken"
    else:
        checks = "[green]pass" if dataset.validation else ""
    return [*before, *became, left, checks]


def _became(tally: Became) -> list[str]:
    bad = [outcome.colour == "bad" and count for outcome, count in tally.outcomes.items()]
    cells = [
        f"[red]{count:,}" if red else f"{count:,}" for red, count in zip(bad, tally.outcomes.values(), strict=True)
    ]
    return [*cells, f"{tally.rows_with:,}"]
