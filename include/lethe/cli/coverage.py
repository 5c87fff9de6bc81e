"""`lethe coverage`: what looks like personal data and no policy has."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from lethe.cli.shell import complain, environment, say


def coverage(
    sample: Annotated[int, typer.Option(min=1, max=100_000, help="Rows of each table that are looked at.")] = 200,
) -> None:
    """Look through the databases and buckets that policies name for personal data that no policy has.

    By names, types and a sample. Values never leave the process: what is printed are names of tables, folders and
    columns. What is known to need no policy is in coverage.yaml, beside the folder of policies: store, table, columns,
    reason, and look_again, a date.
    """
    from lethe.stages.coverage import coverage as look

    with environment() as env:
        found = list(look(env, datetime.now(UTC).date(), sample))
    for finding in found:
        complain(str(finding))
    if found:
        raise typer.Exit(1)
    say("All that looks like personal data is in a policy, or declared.")
