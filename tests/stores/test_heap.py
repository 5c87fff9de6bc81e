"""The garbage collector while many small objects are made."""

from __future__ import annotations

import gc

from lethe.stores.heap import quick_collections


def test_what_was_there_before_is_passed_over_and_then_collected_again() -> None:
    gc.unfreeze()  # what the process of tests has frozen
    with quick_collections():
        assert gc.get_freeze_count() > 1000
        assert len(gc.get_objects()) < 1000
    assert gc.get_freeze_count() == 0


def test_what_somebody_else_froze_stays_frozen() -> None:
    gc.freeze()
    try:
        with quick_collections():
            assert gc.get_freeze_count()
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()
