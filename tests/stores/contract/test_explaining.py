"""One meaning: what a store says of one record by its key is what it counts, on every kind that can find a record."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import replace

import pytest
from tests.stores.contract.registry import Held
from tests.stores.contract.suite import LONG_AGO, RECENT, rules
from tests.stores.contract.world import Record, World, hold_of
from tests.stores.contract.worlds import Objects, Tables

from lethe.counts import Unjudgeable
from lethe.errors import StoreError
from lethe.holds.rules import HoldRule, HoldRules
from lethe.stores.base import ExplainsRecords, covering


def key_of(world: World, number: int) -> list[str]:
    """The key of a record, as somebody writes it."""
    if isinstance(world, Objects):
        return [world.key_of(number)]
    if isinstance(world, Tables):
        return [str(number)]
    pytest.skip("rows in files are not found by their key without reading every file")


def test_every_record_is_said_to_be_what_it_is_counted_as(world: World) -> None:
    world.fill()
    for held in (hold_of(3), hold_of(3, 5), Held(account=["nobody"])):
        world.registry.commit(held)
    due = world.due(3, 5)
    keys = {number: key_of(world, number) for number in world.records}
    with closing(world.store()) as store:
        assert isinstance(store, ExplainsRecords)
        survey = store.survey(world.work(), rules(world))
        found = {number: store.explain(world.work(), rules(world), key) for number, key in keys.items()}
    there = {number: one for number, one in found.items() if one is not None and one.in_scope}
    assert set(there) == world.everybody()
    unjudgeable = {number for number, one in there.items() if one.unjudgeable}
    assert all(there[number].unjudgeable == (Unjudgeable.NO_CLOCK,) for number in unjudgeable)
    assert len(unjudgeable) == survey.unjudged
    assert {number for number, one in there.items() if one.expired} == world.due()
    assert {number for number, one in there.items() if one.expired and not one.held} == due
    for number, one in there.items():
        person = world.records[number].person
        if number not in unjudgeable:
            assert len(one.held) == {3: 2, 5: 1}.get(person, 0), "each hold by itself, also before it expires"
    assert min(there[number].day for number in due) == survey.oldest  # type: ignore[type-var]


def test_a_record_that_is_not_there_and_a_key_of_another_shape(world: World) -> None:
    world.fill([Record(1, LONG_AGO), Record(2, RECENT)])
    gone, other = key_of(world, 1), key_of(world, 2)
    world.take(1)
    with closing(world.store()) as store:
        assert isinstance(store, ExplainsRecords)
        assert store.explain(world.work(), rules(world), gone) is None
        assert store.explain(world.work(), rules(world), other) is not None
        with pytest.raises(StoreError, match=r"whole key|the key of a record is"):
            store.explain(world.work(), rules(world), [*other, "further"])
        with suppress(StoreError):  # objects may be called so
            assert store.explain(world.work(), rules(world), ["\udcff"] * len(other)) is None


def test_holds_that_cover_are_found_by_halves() -> None:
    """However many others there are: asked for a few times, and none is left out."""
    every = HoldRules(40, tuple(HoldRule(f"hold-{n}", "M", n, everything=False) for n in range(40)))
    asked: list[int] = []

    def covers(some: HoldRules) -> bool:
        asked.append(len(some.rules))
        return not {"hold-7", "hold-31"}.isdisjoint(rule.hold for rule in some.rules)

    assert covering(every, covers) == ("hold-7", "hold-31")
    assert len(asked) < 26
    assert covering(replace(every, rules=()), covers) == ()
