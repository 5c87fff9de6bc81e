"""Which objects hold rules cover: identifiers as `judging.identifiers` compares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from threading import Lock
from urllib.parse import unquote_plus

from lethe.holds.rules import HoldRule, HoldRules
from lethe.judging.identifiers import IdentifierType, keys, names

Identifiers = Mapping[IdentifierType, Sequence[str]]
"""The identifiers of one record as it carries them: texts by type. Personal data."""


def compared(kind: IdentifierType, text: str) -> set[str]:
    """The keys of a text from a key, tag or metadata.

    Keys often carry identifiers as forms write them, with a plus for a blank; in addresses a plus is a plus.
    """
    plus = {text} if kind is IdentifierType.EMAIL else {text, unquote_plus(text)}
    return {key for spelling in plus for key in keys(kind, spelling)}


class ObjectMatcher:
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
    return {
        kind: frozenset(name for held in values for name in names(kind, held))
        for kind, values in rule.load().items()
        if kind in rule.types
    }
