"""A store from outside keeps the contract, by import alone; and the suite has teeth there, too."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.stores.contract import suite
from tests.stores.contract.registry import Gate, Held
from tests.stores.contract.sabotage import SABOTAGES, sabotaged
from tests.stores.contract.world import CANARY, ZONE, World
from tests.stores.stranger import folder

from lethe.errors import StoreError
from lethe.policy import Expiry
from lethe.stores.abilities import Ability
from lethe.stores.base import require_able

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


def test_to_a_store_that_knows_nothing_of_requests_nothing_goes_by_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 1: one that was written before there were requests neither declares that it cannot, nor refuses."""
    lacks = dict(world.abilities.lacks)
    del lacks[Ability.REQUESTS]
    unaware = replace(world.abilities, lacks=lacks)
    assert not unaware.has(Ability.REQUESTS)
    world.fill()
    work = world.work(expiry=Expiry.of_requests(ZONE))
    with pytest.raises(StoreError, match="records do not go on request: its store does not declare that it can"):
        require_able(work, unaware)
    monkeypatch.setattr(folder, "require_able", lambda _work, _abilities: None)
    world.registry.ask(Held(email=[f"{CANARY}.p3@example.org"]))
    rules = world.registry.rules()
    store = world.store()
    candidates = store.discover(work, rules)
    assert (store.survey(work, rules).due, candidates.due, candidates.batches) == (0, 0, 0)
    store.erase(work, candidates, range(candidates.batches), Gate(world.registry))
    assert world.left() == world.everybody()
