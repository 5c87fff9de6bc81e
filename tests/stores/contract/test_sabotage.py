"""The suite goes red for every sabotage, on every kind of store: each on SQLite and one other, or all with `LONG=1`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.stores.contract import suite
from tests.stores.contract.conftest import MAKE
from tests.stores.contract.sabotage import SABOTAGES, sabotaged
from tests.stores.contract.world import World

OTHERS = [kind for kind in MAKE if kind != "sqlite" and "-related" not in kind]
"""Related rows are of the same stores: what the suite sees in these, it sees there."""


def _pairs() -> list[tuple[str, str]]:
    """Sabotages with the kinds of world that they are tried on."""
    found = []
    for number, (name, sabotage) in enumerate(SABOTAGES.items()):
        turned = [*OTHERS[number % len(OTHERS) :], *OTHERS[: number % len(OTHERS)]]
        others = [kind for kind in turned if kind not in sabotage.without]
        kinds = ["sqlite"] if "sqlite" not in sabotage.without else []
        found += [(name, kind) for kind in [*kinds, *(others if suite.LONG else others[:1])]]
    return found


def test_there_is_a_sabotage_for_every_promise() -> None:
    assert len(SABOTAGES) >= 25
    tried = {test.__qualname__.partition(".")[0] for sabotage in SABOTAGES.values() for test in sabotage.breaks}
    assert tried == {promise.__name__ for promise in suite.PROMISES}
    assert all(sabotage.__doc__ for sabotage in SABOTAGES.values())
    assert {kind for _, kind in _pairs()} == {"sqlite", *OTHERS}, "every kind sees some"


@pytest.mark.parametrize(("name", "kind"), _pairs())
def test_the_suite_goes_red(name: str, kind: str, make_world: Callable[[str], World]) -> None:
    """By an assertion of the suite, not because the sabotage breaks down."""
    for test in SABOTAGES[name].breaks:
        with pytest.raises((AssertionError, pytest.fail.Exception)) as caught:
            test(None, sabotaged(make_world(kind), name))
        last = [str(entry.path) for entry in caught.traceback if "/tests/stores/contract/" in str(entry.path)][-1]
        assert last.endswith("suite.py"), f"{name} broke down by itself"
