"""A store from outside keeps the contract, by import alone; and the suite has teeth there, too."""

from __future__ import annotations

import pytest
from tests.stores.contract import suite
from tests.stores.contract.sabotage import SABOTAGES, sabotaged
from tests.stores.contract.world import World

for promise in suite.PROMISES:
    name = f"Test{promise.__name__}"
    globals()[name] = type(name, (promise,), {"__doc__": promise.__doc__, "__module__": __name__})


@pytest.mark.parametrize("name", [name for name, one in SABOTAGES.items() if not one.without])
def test_the_suite_goes_red(name: str, world: World) -> None:
    for test in SABOTAGES[name].breaks:
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            test(None, sabotaged(world, name))


def test_what_wraps_a_store_to_sabotage_it_breaks_nothing_by_itself(world: World) -> None:
    for test in {test for sabotage in SABOTAGES.values() for test in sabotage.breaks}:
        test(None, sabotaged(world, ""))
