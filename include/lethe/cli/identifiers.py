"""Options by which commands are told whom something is about, and how identifiers are read from them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from lethe.judging.identifiers import IdentifierType

FROM_STDIN = "-"
"""In the place of an identifier: read from standard input, a line each, so that it is in no shell's history."""

Texts = list[str] | None
Emails = Annotated[Texts, typer.Option("--email", help="An e-mail address; may be repeated.")]
Phones = Annotated[Texts, typer.Option("--phone", help="A telephone number; may be repeated.")]
Identifiers = Annotated[
    Texts,
    typer.Option("--identifier", metavar="TYPE=VALUE", help="Any identifier, such as account=K-1; may be repeated."),
]
IdentifiersFile = Annotated[
    Path | None,
    typer.Option(
        "--file", metavar="FILE", help="CSV or .xlsx: identifiers in columns type,identifier, or a column a type."
    ),
]
Region = Annotated[
    str | None, typer.Option("--region", metavar="COUNTRY", help="Country of national telephone numbers, such as CZ.")
]


def identifiers_named(
    emails: Sequence[str], phones: Sequence[str], pairs: Sequence[str], file: Path | None, region: str | None
) -> dict[IdentifierType, list[str]]:
    """Identifiers by type, as people write them; those given as `-` are read from standard input.

    Raises:
        BadParameter: if one of `pairs` is not TYPE=VALUE, or standard input has too few lines.
        HoldError: if the file cannot be used.
    """
    from lethe.holds.registry import read_identifiers

    found: dict[IdentifierType, list[str]] = read_identifiers(file, region=region) if file is not None else {}
    named = [(IdentifierType.EMAIL, text) for text in emails] + [(IdentifierType.PHONE, text) for text in phones]
    for position, pair in enumerate(pairs, start=1):
        name, equals, text = pair.partition("=")
        if not equals or name.strip().lower() not in set(IdentifierType):
            types = ", ".join(sorted(IdentifierType))
            raise typer.BadParameter(
                f"number {position} is not TYPE=VALUE: write it with a TYPE of {types}", param_hint="--identifier"
            )
        named.append((IdentifierType(name.strip().lower()), text))
    for kind, text in _with_stdin(named):
        found.setdefault(kind, []).append(text)
    return found


def _with_stdin(named: Sequence[tuple[IdentifierType, str]]) -> Iterator[tuple[IdentifierType, str]]:
    for kind, text in named:
        if text != FROM_STDIN:
            yield kind, text
        elif line := sys.stdin.readline():
            yield kind, line
        else:
            raise typer.BadParameter(f"standard input has no line for {kind}: write one a line, in the options' order")
