"""`lethe policy`: whether policies are right, and whether the stores are what they say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from lethe.cli.shell import complain, console, environment, moment, require_known, say
from lethe.errors import LetheError, PolicyError

if TYPE_CHECKING:
    from lethe.environment import Environment
    from lethe.policy import Dataset, Policy

Categories = Annotated[list[str] | None, typer.Argument(metavar="[CATEGORY]...", help="All where left out.")]
policy_app = typer.Typer(help="Validate policies and the stores that they name.", no_args_is_help=True)


@policy_app.command()
def check(
    categories: Categories = None,
    files_only: Annotated[bool, typer.Option("--files-only", help="Do not try the connections.")] = False,
) -> None:
    """Validate all policies, and test the stores: tables, columns, types, keys, indexes, buckets."""
    from lethe import overlapping
    from lethe.checks import added
    from lethe.policy.schedule import departures, load_schedule, unlisted

    with environment() as env:
        policies, problems = _read(env.settings.policies)
        remarks: list[str] = []
        try:
            rows = load_schedule(env.settings.policies)
            problems += departures(rows, policies)
            remarks += unlisted(rows, policies)
        except PolicyError as error:
            problems.append(str(error))
        problems += _unknown(categories, policies, problems)
        chosen = _chosen(policies, categories)
        table = Table("Category", "Dataset", "Store", "Records", "Rule", "Is it so?")
        for policy in chosen:
            remarks += _calendar_remarks(policy)
            problems += added.problems(env.settings, policy) + added.refused(env.settings, policy)
            for dataset in policy.datasets:
                found, told = ([], []) if files_only else check_dataset(env, policy, dataset)
                problems += found
                remarks += told
                verdict = "[red]no" if found else "not tried" if files_only else "[green]yes"
                table.add_row(policy.category, dataset.name, dataset.store, dataset.location, policy.rule, verdict)
        if not files_only:
            for text, mere in overlapping.overlaps(env, policies.values()):
                (remarks if mere else problems).append(text)
            problems += _governance(env)
    if chosen:
        console().print(table)
    for remark in remarks:
        say(f"Remark: {remark}")
    _end(problems)
    say(f"{len(chosen)} {'policy is' if len(chosen) == 1 else 'policies are'} fine.")


def _calendar_remarks(policy: Policy) -> Iterator[str]:
    """A country whose parts have holidays of their own: where these are kept, periods would end too early."""
    from lethe.working_days import parts_with_more

    if policy.calendar is not None and policy.extends and (parts := parts_with_more(policy.calendar)):
        shown = ", ".join(parts[:3]) + (f" and {len(parts) - 3} others" if len(parts) > 3 else "")
        yield (
            f"{policy.category}.yaml: calendar: {policy.calendar} has the public holidays of the whole country alone; "
            f"{shown} have more, and a period that ends on one ends too early there: write the part where you are"
        )


def _unknown(categories: list[str] | None, policies: dict[str, Policy], problems: list[str]) -> list[str]:
    """A message for each category that has no policy, not even one that cannot be read."""
    unknown = [name for name in categories or () if name not in policies and not any(name in one for one in problems)]
    there = ", ".join(policies) or "none"
    return [f"there is no policy of the category {name}; choose from {there}" for name in unknown]


def _chosen(policies: dict[str, Policy], categories: list[str] | None) -> list[Policy]:
    return [policy for name, policy in policies.items() if not categories or name in categories]


def _end(problems: list[str]) -> None:
    """Say what is wrong, and end there; go on where nothing is."""
    for problem in problems:
        complain(problem)
    if problems:
        raise typer.Exit(1)


def _read(folder: Path) -> tuple[dict[str, Policy], list[str]]:
    """The policies that can be read, and a message for each that cannot, and for datasets that overlap."""
    from lethe.policy import Policy, load_each, overlaps

    try:
        found = load_each(folder)
    except PolicyError as error:
        return {}, [str(error)]
    policies = {name: policy for name, policy in found.items() if isinstance(policy, Policy)}
    wrong = [str(policy) for policy in found.values() if isinstance(policy, PolicyError)]
    return policies, [*wrong, *overlaps(policies.values())]


def check_dataset(env: Environment, policy: Policy, dataset: Dataset) -> tuple[list[str], list[str]]:
    """Whether a dataset is what its policy says: (problems, remarks), each with the field that it is about."""
    from lethe.checks.added import unknown_columns

    place = f"{policy.category}.yaml datasets.{dataset.name}"
    try:
        store = env.store(dataset)
        found = store.check(dataset, policy.retention.by_value)
        sound = all(one.remark for one in found)
        unknown = unknown_columns(env.settings, policy.category, dataset, store) if sound else []
    except LetheError as error:
        return [f"{place}: {error}"], []
    texts = [(one.remark, f"{place}.{one.field}: {one.message}") for one in found]
    return [text for remark, text in texts if not remark] + unknown, [text for remark, text in texts if remark]


def _governance(env: Environment) -> list[str]:
    """What keeps holds from binding: a registry out of reach, or holds on what no policy has any more."""
    from lethe.holding import without_effect

    try:
        return without_effect(env)
    except PolicyError:
        return []  # said already
    except LetheError as error:
        return [str(error)]


@policy_app.command()
def history(category: Annotated[str, typer.Argument(metavar="CATEGORY")]) -> None:
    """List the versions of a category's policy that ran: since when each was in force, its digest and its rule."""
    table = Table("In force since", "Digest", "Kept", "First run")
    with environment() as env:
        versions = env.runs.versions(category)
        if not versions:
            require_known(env, category)
        for version in versions:
            rule = env.runs.get(version.run).policy.rule
            table.add_row(version.since.isoformat(timespec="seconds"), version.digest[:12], rule, version.run)
    console().print(table)


@policy_app.command()
def diff(
    categories: Categories = None,
    since: Annotated[
        datetime | None,
        typer.Option("--since", formats=["%Y-%m-%d"], metavar="DATE", help="Compare with what was in force then."),
    ] = None,
    as_of: Annotated[str | None, typer.Option("--as-of", metavar="MOMENT", help="Count as of then.")] = None,
    files_only: Annotated[bool, typer.Option("--files-only", help="Do not count in the stores.")] = False,
) -> None:
    """Say what changed in policies since they last ran, and how many records more or fewer are due by it."""
    from lethe import stages
    from lethe.policy import changes

    at, failed = moment(as_of), False
    day = since.date() if since else None
    with environment() as env:
        for category in categories or list(env.policies):
            policy = env.policy(category)
            before = stages.in_force(env, category, day)
            if before is None:
                say(f"{category}: has not run{f' by {day}' if day else ' yet'}; there is nothing to compare with.")
                continue
            found = changes(before, policy)
            say(f"{category}: {'what changed' if found else 'nothing changed'}" + (f" since {day}" if day else ""))
            for change in found:
                say(f"  {'more may go' if change.erases else 'nothing more goes'}: {change.text}")
            for effect in () if files_only or not found else stages.effects(env, before, policy, at):
                if effect.problem is None:
                    say(f"  {effect}")
                else:
                    complain(f"{category}: {effect}")
                    failed = True
    if failed:
        raise typer.Exit(1)


@policy_app.command()
def register(
    form: Annotated[Literal["md", "csv", "odcs", "dbt"], typer.Option("--format", help="What to write.")] = "md",
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="FILE", help="Compare with a data contract, or dbt's properties, instead."),
    ] = None,
) -> None:
    """Print every rule of the schedule with its policy; or compare what teams declared of their tables with it."""
    from lethe.cli import register as registers
    from lethe.policy.schedule import load_schedule

    with environment() as env:
        rows, policies = load_schedule(env.settings.policies), env.policies
    if against is None:
        typer.echo(registers.FORMATS[form](rows, policies), nl=False)
        return
    _end(list(registers.against(against, policies)))
    say(f"{against.name} declares what the policies say.")


@policy_app.command()
def checks(categories: Categories = None) -> None:
    """List what Great Expectations checks of each category, what was added in expectations/ among it."""
    from lethe.checks.listed import listed

    with environment() as env:
        policies, problems = _read(env.settings.policies)
        problems += _unknown(categories, policies, problems)
        table = Table("Category", "Of", "What is checked", "When")
        for policy in _chosen(policies, categories):
            for check in listed(policy, env.settings):
                table.add_row(policy.category, check.of, escape(check.what), check.when)
                problems += [] if check.usable else [check.what]
    console().print(table)
    _end(problems)


@policy_app.command()
def schema() -> None:
    """Print the JSON Schema of policy files, for editors."""
    from lethe.policy import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@policy_app.command()
def reference() -> None:
    """Print the reference of all fields, as docs/writing-a-policy.md has it."""
    from lethe.cli.reference import reference as fields

    typer.echo(fields())
