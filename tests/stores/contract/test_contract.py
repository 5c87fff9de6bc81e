"""Every store that Lethe comes with keeps the contract."""

from __future__ import annotations

from tests.stores.contract import suite


class TestNeverEarly(suite.NeverEarly):
    """On every world."""


class TestNeverHeld(suite.NeverHeld):
    """On every world."""
