"""Which objects hold rules cover: identifiers compared exactly, and where that cannot be, towards holding."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from threading import Lock
from urllib.parse import unquote, unquote_plus

from lethe.holds.rules import HoldRule, HoldRules
from lethe.judging.identifiers import IdentifierType, coarse, normalise

Identifiers = Mapping[IdentifierType, Sequence[str]]
"""The identifiers of one record as it carries them: texts by type. Personal data."""

_APART = re.compile(r"[\s<>,;:\"'()\[\]|]+")


def compared(kind: IdentifierType, text: str) -> set[str]:
    """All forms of a text from a key, tag or metadata under which a hold may name it.

    Keys often carry identifiers URL-encoded, metadata RFC 2047-encoded (as S3 requires beyond ASCII), so both are
    undone. Telephone numbers are compared by their last digits, because nothing says of which country they are.
    A text that is no such identifier is taken apart, in case it contains one ("Ann <ann@example.org>").
    """
    found: set[str] = set()
    plus = text if kind is IdentifierType.EMAIL else unquote_plus(text)  # ann+news@example.org is an address
    for spelling in {text, unquote(text), plus, _decoded(text)}:
        for part in (spelling, *_APART.split(spelling)):
            try:
                found.add(coarse(kind, normalise(kind, part)))
            except ValueError:
                continue
            if part == spelling:
                break
    return found or {unicodedata.normalize("NFC", text).strip().lower()}


def _decoded(text: str) -> str:
    try:
        return str(make_header(decode_header(text)))
    except (HeaderParseError, LookupError, ValueError):
        return text


class Matcher:
    """Hold rules with their identifiers loaded, for comparing records with them. Safe to use from several threads."""

    def __init__(self) -> None:
        self._loading = Lock()
        self._loaded: dict[tuple[str, int], Mapping[IdentifierType, frozenset[str]]] = {}

    def ready(self, rules: HoldRules) -> bool:
        """Whether `prepare` has been called for all of the rules: then `holds` takes no time worth mentioning."""
        return all(rule.everything or (rule.hold, rule.version) in self._loaded for rule in rules.rules)

    def prepare(self, rules: HoldRules) -> None:
        """Load the rules' identifiers (possibly a million; takes seconds then)."""
        with self._loading:
            for rule in rules.rules:
                if not rule.everything and (rule.hold, rule.version) not in self._loaded:
                    self._loaded[rule.hold, rule.version] = _loaded(rule)

    def holds(self, rules: HoldRules, first: date | None, last: date | None, identifiers: Identifiers) -> bool:
        """Whether any rule covers a record with these identifiers, whose clock is on one of these days.

        None: the days are unknown, and in every range.
        """
        if not rules:
            return False
        forms = {kind: set().union(*(compared(kind, text) for text in texts)) for kind, texts in identifiers.items()}
        return any(
            (first is None or last is None or rule.clock.meets(first, last))
            and (rule.everything or self._names(rule, forms))
            for rule in rules.rules
        )

    def _names(self, rule: HoldRule, forms: Mapping[IdentifierType, set[str]]) -> bool:
        named = self._loaded[(rule.hold, rule.version)]
        return any(not named.get(kind, frozenset()).isdisjoint(texts) for kind, texts in forms.items())


def _loaded(rule: HoldRule) -> Mapping[IdentifierType, frozenset[str]]:
    return {kind: frozenset(_stored(kind, values)) for kind, values in rule.load().items() if kind in rule.types}


def _stored(kind: IdentifierType, values: Sequence[str]) -> Iterator[str]:
    """A hold's identifiers in the form that `compared` gives. They are normalised already; again is harmless."""
    for value in values:
        try:
            yield coarse(kind, normalise(kind, value))
        except ValueError:
            yield coarse(kind, value)
