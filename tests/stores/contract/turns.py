"""Which worlds a test of the suite meets: every database and every kind of store, and the variants of these in turn.

A covering array of strength two: every test on every engine and on every variant, and every variant on every engine;
not every test on every variant of every engine. All of them with `EVERY_WORLD=1`, and with `LONG=1`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from tests.stores import sql_kit
from tests.stores.contract import suite

EVERY_WORLD = suite.LONG or bool(os.environ.get("EVERY_WORLD"))
"""Whether each test meets all worlds."""

TESTS = [
    f"{promise.__name__}.{name}" for promise in suite.PROMISES for name in vars(promise) if name.startswith("test_")
]
"""All of the suite; whose turn it is goes by their order."""
VARIANTS = ("related", "related-clock", "many", "many-clock", "events")
"""Where tables have what their records are judged by."""
_EVERYWHERE = ("RefuseFirst.", "Declared.")
"""What says something else of each variant."""

Alternatives = Sequence[frozenset[str]]
"""Worlds of which a test meets one set."""

TURNS: list[Alternatives] = [
    *([frozenset({f"{engine}-{variant}"}) for engine in sql_kit.FENCED_KINDS] for variant in VARIANTS),
    [frozenset({"objects", "objects-versioned-by-key"}), frozenset({"objects-versioned", "objects-by-key"})],
    [frozenset({"parquet", "jsonlines-gzip-versioned"}), frozenset({"parquet-versioned", "jsonlines"})],
]
"""Of the variants of tables, one on one engine; of objects and files, each kind once, with and without versions."""


def worlds_of(test: str, every: Sequence[str]) -> set[str]:
    """The worlds that a test meets, by its qualified name; all of them where it takes no turns.

    The turns of groups are shifted against each other, so that a test has its variants on several engines.
    """
    if EVERY_WORLD or test not in TESTS or test.startswith(_EVERYWHERE):
        return set(every)
    number = TESTS.index(test)
    waiting = {world for alternatives in TURNS for worlds in alternatives for world in worlds}
    turn = [alternatives[(number + shift) % len(alternatives)] for shift, alternatives in enumerate(TURNS)]
    return (set(every) - waiting).union(*turn)
