"""Who is who: whether two names may be one person's, where a second person has to decide."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

UNNAMED = "somebody who is not named"
"""A person asked, and nobody says which: may be anybody."""


def same_person(one: str, other: str) -> bool:
    r"""Whether two names may be one person's.

    Errs towards yes: then a third person is asked. Capitals, accents, blanks and punctuation make no difference, nor
    do a domain before or after (`CORP\eva`, `eva@example.org`) and what follows a plus sign.
    """
    return UNNAMED in (one, other) or _plain(one) == _plain(other)


def is_a_name(name: str) -> bool:
    """Whether a text names somebody: it has a letter or a digit."""
    return any(letter.isalnum() for letter in name)


def may_answer(entitled: Sequence[str], *names: str) -> bool:
    """Whether a person with these names (an id may be one) is entitled; everybody is, where nobody is named.

    Airflow itself would compare ids only, and FAB's are numbers: it would let nobody answer who is entitled by name.
    """
    allowed = {name.casefold() for name in entitled}
    return not allowed or any(name.casefold() in allowed for name in names)


def _plain(name: str) -> str:
    account = name.replace("/", "\\").rpartition("\\")[2].strip().partition("@")[0].partition("+")[0]
    text = unicodedata.normalize("NFKD", account or name).casefold()
    return "".join(letter for letter in unicodedata.normalize("NFKD", text) if letter.isalnum()) or text.strip()
