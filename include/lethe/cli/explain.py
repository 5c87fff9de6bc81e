"""`lethe explain`: why a record is still there, or by which run it went."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from lethe.cli.evidence import NOT_KNOWN, RecordKey, key_texts
from lethe.cli.shell import environment, say


def explain(
    dataset: Annotated[str, typer.Argument(metavar="CATEGORY.DATASET")],
    key: RecordKey,
) -> None:
    """Say why a record is still there: not expired, held, kept on, blocked, due …; or which run erased it.

    It is judged as a run judges it, but asked for by its key alone, which is not repeated, stored or logged; of its
    values only the day of its clock is shown. Rows in files are not found by their key: of these the evidence alone is
    asked.

    Ends with 3 where there is no such record, or that is not known, and no run is known to have erased it.
    """
    from lethe.stages.explain import Fate
    from lethe.stages.explain import explain as look

    texts = key_texts(key)
    category, _, name = dataset.partition(".")
    with environment() as env:
        policy = env.policy(category)
        found = look(env, policy, policy.dataset(name), texts, datetime.now(UTC))
    say(f"{dataset}: {found.fate}")
    for sentence in found.sentences:
        say(sentence)
    if found.matters:
        say(f"Matters: {', '.join(found.matters)}")
    if found.fate in (Fate.NOT_THERE, Fate.UNKNOWN):
        raise typer.Exit(NOT_KNOWN)
