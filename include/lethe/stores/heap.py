"""Python's garbage collector, where many small objects are made beside many that stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_collections() -> Iterator[None]:
    """Within, the garbage collector passes over the objects that the process has already, such as loaded modules.

    A full collection visits every object of the process while all threads wait, and whoever makes many objects causes
    several: of a process that has Airflow or boto3 loaded each takes about a tenth of a second. See
    https://docs.python.org/3/library/gc.html#gc.freeze.
    """
    if gc.get_freeze_count():
        yield  # whoever did it keeps them so, or gives them free
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
