"""Every store that Lethe comes with keeps the contract."""

from __future__ import annotations

from tests.stores.contract import suite


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
