"""`lethe new`: a category from a table, by what the database says of it, up to a first dry run."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lethe.cli.policies import check_dataset
from lethe.cli.runs import run
from lethe.cli.shell import environment, say
from lethe.errors import ParameterError, PolicyError

if TYPE_CHECKING:
    from lethe.environment import Environment
    from lethe.policy import ChildTable, Policy
    from lethe.stores.base import TableProposal

_DAG = '''"""{title}: the retention DAG of `{category}.yaml`, run by Airflow."""

from __future__ import annotations

from lethe.airflow import retention_dag

dag = retention_dag("{category}")
'''

_Text = str | None


def new(
    category: Annotated[str, typer.Argument(help="Its name: lower-case letters, digits and underscores.")],
    store: Annotated[_Text, typer.Option(metavar="CONNECTION", help="The connection to the database.")] = None,
    table: Annotated[_Text, typer.Option(help="The table whose rows are the records.")] = None,
    clock: Annotated[_Text, typer.Option(metavar="COLUMN", help="Where a record's period starts.")] = None,
    keep_for: Annotated[_Text, typer.Option(metavar="PERIOD", help="Kept for so long: P18M, P3Y.")] = None,
    erase_within: Annotated[_Text, typer.Option(metavar="PERIOD", help="Gone within: P60D.")] = None,
    lead_time: Annotated[_Text, typer.Option(metavar="PERIOD", help="Of --erase-within: begin so long before.")] = None,
    title: Annotated[_Text, typer.Option(help="What people call it.")] = None,
    owner: Annotated[_Text, typer.Option(help="Who answers for it.")] = None,
    legal_basis: Annotated[_Text, typer.Option(help="Such as: Consent, Article 6(1)(a) GDPR.")] = None,
    source: Annotated[_Text, typer.Option(help="The section of the privacy notice, such as § 5.5.")] = None,
    time_zone: Annotated[_Text, typer.Option(help="In which days are counted, such as Europe/Prague.")] = None,
    phone_region: Annotated[_Text, typer.Option(help="Country of national telephone numbers, such as CZ.")] = None,
    schedule: Annotated[str, typer.Option(help="Five cron fields in the time zone.")] = "15 2 * * *",
    records: Annotated[int, typer.Option(help="Above so many records and rows a person is asked.")] = 1000,
    share: Annotated[float, typer.Option(help="Above this share of the dataset a person is asked.")] = 0.1,
    dags: Annotated[Path | None, typer.Option(help="Where its DAG file goes; Airflow's folder if left out.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run/--no-dry-run", help="End with a dry run.")] = True,
) -> None:
    """Write a category's policy and DAG file by what the database says of a table, and try it in a dry run.

    Columns, keys and foreign keys are read, never a value. What is not given is asked for at a terminal. Look through
    the policy before it is used: names mislead, and when a period starts is a question of law.
    """
    with environment() as env:
        files = (
            env.settings.policies / f"{category}.yaml",
            (dags or env.settings.dags).absolute() / f"{category}.py",
        )
        for file in files:
            if file.exists():
                raise ParameterError(f"{file} is there already: change it, or take another name for the category")
        conn_id = _given("--store", store, "Connection of the database")
        name = _given("--table", table, "Table")
        proposed = _propose(env, conn_id, name)
        for remark in proposed.remarks:
            say(f"Remark: {remark}")
        content = {
            "category": category,
            "title": _given("--title", title, "What people call it"),
            "owner": _given("--owner", owner, "Who answers for it"),
            "legal_basis": _given("--legal-basis", legal_basis, "Legal basis"),
            "source": _given("--source", source, "Section of the privacy notice"),
            "retention": _retention(keep_for, erase_within, lead_time),
            "time_zone": _given("--time-zone", time_zone, "Time zone, such as Europe/Prague"),
            "schedule": schedule,
            "limits": {"records": records, "share": share},
            "datasets": [_dataset(name, conn_id, _clock(name, proposed, clock), proposed, phone_region)],
        }
        _write(env, content, files)
    say(f"Wrote {files[0]} and {files[1]}. Look through them before they are used.")
    if dry_run:
        run(category, dry_run=True)


def _given(option: str, value: str | None, question: str) -> str:
    """What an option says, or somebody at a terminal answers.

    Raises:
        ParameterError: naming the option, where nobody is there to be asked.
    """
    if value is not None:
        return value
    if not sys.stdin.isatty():
        raise ParameterError(f"{option} is missing, and nobody is at a terminal to be asked: say {option} …")
    return str(typer.prompt(question))


def _propose(env: Environment, conn_id: str, table: str) -> TableProposal:
    from lethe.stores.base import ProposesDatasets

    opened = env.open("table", conn_id)
    if not isinstance(opened, ProposesDatasets):
        raise ParameterError(f"connection {conn_id}: its catalogue does not say enough of a table to begin with")
    return opened.propose(table)


def _retention(keep_for: str | None, erase_within: str | None, lead_time: str | None) -> dict[str, str]:
    if erase_within is not None:
        return {
            **({} if keep_for is None else {"keep_for": keep_for}),
            "erase_within": erase_within,
            "lead_time": lead_time or "P1D",
        }
    kept = _given("--keep-for", keep_for, "Kept for (P18M, P3Y, P60D), from the moment that the column says")
    return {"keep_for": kept, **({} if lead_time is None else {"lead_time": lead_time})}


def _clock(table: str, proposed: TableProposal, column: str | None) -> str:
    """The column where a period starts: the given one, or the only one that could be it."""
    if column is None and len(proposed.clocks) == 1:
        return proposed.clocks[0]
    there = ", ".join(proposed.clocks) or "none has a type of dates: give one with text or numbers, and its format"
    return _given("--clock", column, f"Column of {table} where a record's period starts ({there})")


def _dataset(table: str, conn_id: str, clock: str, proposed: TableProposal, phone_region: str | None) -> dict[str, Any]:
    name = "".join(one if one.isalnum() else "_" for one in table.rpartition(".")[2].strip('"').lower())
    return {
        "name": name,
        "kind": "table",
        "store": conn_id,
        "table": table,
        "key": list(proposed.key),
        "clock": {"column": clock},
        "identifiers": {kind.value: list(columns) for kind, columns in proposed.identifiers.items()},
        **({} if phone_region is None else {"phone_region": phone_region}),
        **({"children": list(_children(proposed.children))} if proposed.children else {}),
    }


def _children(children: tuple[ChildTable, ...]) -> Iterator[Mapping[str, Any]]:
    for child in children:
        said: dict[str, Any] = {"table": child.table, "foreign_key": list(child.foreign_key)}
        if child.references is not None:
            said["references"] = list(child.references)
        if child.identifiers:
            said["identifiers"] = {kind.value: list(columns) for kind, columns in child.identifiers.items()}
        if child.children:
            said["children"] = list(_children(child.children))
        yield said


def _write(env: Environment, content: Mapping[str, Any], files: tuple[Path, Path]) -> None:
    """Write policy and DAG file, if the policy is one and the database is what it says.

    Raises:
        PolicyError: naming every field that is wrong. Nothing is written.
    """
    import yaml

    from lethe.policy import parse

    there = {field: value for field, value in content.items() if value not in (None, [], {})}
    text = "# yaml-language-server: $schema=policy.schema.json\n" + yaml.safe_dump(
        there, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120
    )
    policy = parse(text, where=files[0].name)
    _require_sound(env, policy)
    title = policy.title.replace("\\", "/").replace('"', "'")
    for file, body in zip(files, (text, _DAG.format(title=title, category=policy.category)), strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(body, encoding="utf-8")
    env.settings.expectations.mkdir(parents=True, exist_ok=True)


def _require_sound(env: Environment, policy: Policy) -> None:
    (dataset,) = policy.datasets
    problems, remarks = check_dataset(env, policy, dataset)
    for remark in remarks:
        say(f"Remark: {remark}")
    if problems:
        raise PolicyError(f"{'; '.join(problems)}. Nothing was written: mend that, or name another table")
