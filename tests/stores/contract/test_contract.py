"""Every store that Lethe comes with keeps the contract."""

from __future__ import annotations

import pytest
from tests.stores import sql_kit
from tests.stores.contract import suite
from tests.stores.contract.conftest import MAKE
from tests.stores.contract.turns import EVERY_WORLD, TESTS, TURNS, VARIANTS, worlds_of


class TestNeverEarly(suite.NeverEarly):
    """On every world."""


class TestNeverHeld(suite.NeverHeld):
    """On every world."""


class TestNeverSilentlyLate(suite.NeverSilentlyLate):
    """On every world."""


class TestOnlyWhatWasChecked(suite.OnlyWhatWasChecked):
    """On every world."""


class TestExactEvidence(suite.ExactEvidence):
    """On every world."""


class TestAgainIsHarmless(suite.AgainIsHarmless):
    """On every world."""


class TestReallyGone(suite.ReallyGone):
    """On every world."""


class TestBounded(suite.Bounded):
    """On every world."""


class TestRefuseFirst(suite.RefuseFirst):
    """On every world."""


class TestDeclared(suite.Declared):
    """On every world."""


class TestNoPersonalData(suite.NoPersonalData):
    """On every world."""


def test_no_promise_is_left_out() -> None:
    assert {name for name in globals() if name.startswith("Test")} == {f"Test{one.__name__}" for one in suite.PROMISES}


@pytest.mark.skipif(EVERY_WORLD, reason="nobody takes turns")
def test_every_test_meets_every_engine_and_every_variant_and_these_each_other() -> None:
    met = {test: worlds_of(test, list(MAKE)) for test in TESTS}
    plain = {*sql_kit.ALL_KINDS}
    of_buckets = ({"objects", "parquet", "jsonlines"}, {"versioned"}, {"by-key"})
    for test, worlds in met.items():
        assert plain <= worlds, test
        for variant in VARIANTS:
            assert any(f"{engine}-{variant}" in worlds for engine in sql_kit.FENCED_KINDS), (test, variant)
        for what in of_buckets:
            assert all(any(one in world for world in worlds) for one in what), (test, what)
            assert any(not any(one in world for one in what) for world in worlds - plain), (test, what)
    fair = len(TESTS) // (len(sql_kit.FENCED_KINDS) + 1)
    for world in MAKE:
        assert len([test for test in TESTS if world in met[test]]) >= fair, world
    assert {world for turn in TURNS for worlds in turn for world in worlds} | plain == set(MAKE), "none waits for ever"
