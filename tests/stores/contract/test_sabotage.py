"""The suite goes red for every sabotage, on every kind of store.

Each is tried on SQLite and one other, a third of them with related rows or events too; with `LONG=1` all on all.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.stores.contract import suite
from tests.stores.contract.conftest import MAKE
from tests.stores.contract.sabotage import SABOTAGES, sabotaged
from tests.stores.contract.world import World

RELATED = [kind for kind in MAKE if any(what in kind for what in ("-related", "-many", "-events"))]
OTHERS = [kind for kind in MAKE if kind not in ("sqlite", *RELATED)]


def _pairs() -> list[tuple[str, str]]:
    """Sabotages with the kinds of world that they are tried on."""
    found = []
    for number, (name, sabotage) in enumerate(SABOTAGES.items()):
        turned = [*OTHERS[number % len(OTHERS) :], *OTHERS[: number % len(OTHERS)]]
        others = [kind for kind in turned if kind not in sabotage.without]
        kinds = ["sqlite"] if "sqlite" not in sabotage.without else []
        found += [(name, kind) for kind in [*kinds, *(others if suite.LONG else others[:1])]]
        related = RELATED if suite.LONG else [RELATED[number // 3 % len(RELATED)]] if number % 3 == 0 else []
        found += [(name, kind) for kind in related if kind not in sabotage.without]
    return found


def test_there_is_a_sabotage_for_every_promise() -> None:
    assert len(SABOTAGES) >= 25
    tried = {test.__qualname__.partition(".")[0] for sabotage in SABOTAGES.values() for test in sabotage.breaks}
    assert tried == {promise.__name__ for promise in suite.PROMISES}
    assert all(sabotage.__doc__ for sabotage in SABOTAGES.values())
    assert {kind for _, kind in _pairs()} == set(MAKE), "every kind sees some"


@pytest.mark.parametrize(("name", "kind"), _pairs())
def test_the_suite_goes_red(name: str, kind: str, make_world: Callable[[str], World]) -> None:
    """By an assertion of the suite, not because the sabotage breaks down."""
    for test in SABOTAGES[name].breaks:
        with pytest.raises((AssertionError, pytest.fail.Exception)) as caught:
            test(None, sabotaged(make_world(kind), name))
        last = [str(entry.path) for entry in caught.traceback if "/tests/stores/contract/" in str(entry.path)][-1]
        assert last.endswith("suite.py"), f"{name} broke down by itself"
