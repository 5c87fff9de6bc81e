"""All of one person is found, and nothing of others: expired or not, held or not, dated or not, on every store."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import date

from tests.stores.contract.registry import Held
from tests.stores.contract.suite import _day, rules
from tests.stores.contract.world import Record, World, hold_of, population

from lethe.holds.rules import NO_HOLDS, HoldRules
from lethe.stores.abilities import Ability
from lethe.stores.base import FindsPeople, PersonFound, find_person

LAST = date(2022, 12, 31)


def found(world: World, whose: Held) -> PersonFound:
    person = replace(rules(world), rules=(replace(whose.rule(0), hold="request-1"),))
    with closing(world.store()) as store:
        return find_person(store, world.work(), person, rules(world))


def test_all_of_a_person_is_found_and_which_of_it_is_held(world: World) -> None:
    """Promise 3, for people: what cannot be looked at is counted."""
    world.fill([*population(), Record(43, None)])
    world.registry.commit(Held(last=LAST))
    world.registry.commit(hold_of(5))
    everything = world.records.values()
    undated = [one for one in everything if one.clock is None]
    nobody = found(world, Held(account=["nobody"]))
    assert (nobody.records, nobody.expired, nobody.held, nobody.clocks) == (0, 0, 0, ())
    for whose, person in ((hold_of(3), 3), (hold_of(5), 5), (Held(account=[" canary-a3 "]), 3)):
        dated = [one for one in everything if one.person == person and one.clock is not None]
        held = [one for one in dated if person == 5 or _day(one) <= LAST]
        seen = found(world, whose)
        mine = [one for one in undated if one.person == person]
        assert (seen.undated, seen.unsearched) in ((len(mine), 0), (0, len(undated)))
        assert seen.records == len(dated) + seen.undated
        assert seen.expired == sum(one.expired for one in dated)
        assert seen.held == len(held) + seen.undated, "what is held by its day is held, too, where it has none"
        with closing(world.store()) as store:
            if isinstance(store, FindsPeople):
                (clocks,) = seen.clocks
                assert (clocks.first, clocks.last) == (min(map(_day, dated)), max(map(_day, dated)))


def test_what_is_kept_on_is_said(world: World) -> None:
    if not world.abilities.has(Ability.CONDITIONS):
        return  # refused, as the suite tries
    world.fill([replace(one, state="open" if one.number < 10 else "closed") for one in population()])
    dataset = world.dataset(keep_while=[{"column": "state", "in": ["open"]}])
    person = HoldRules(0, (replace(hold_of(3).rule(0), hold="request-1"),), rules(world).events)
    with closing(world.store()) as store:
        seen = find_person(store, world.work(dataset), person, replace(NO_HOLDS, events=rules(world).events))
    assert (seen.expired, seen.kept_on, seen.held) == (2, 1, 0)
