"""What of staged keys is checked before they are erased."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lethe.errors import StoreError
from lethe.judging.keys import record_key
from lethe.stores.base import Work
from lethe.stores.objects.manifest import Manifest
from lethe.stores.sources import Staged

if TYPE_CHECKING:
    import pandas as pd

FACTS = ("key", "size", "last_modified")
"""What can be checked of objects."""


def frames(manifest: Manifest, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Facts of the objects that are to go, one row for each version with content, a frame a batch.

    Raises:
        StoreError: if there is no such fact.
        DatasetChanged, StoreUnavailable: while what is staged is read.
    """
    import pandas as pd

    if unknown := [name for name in columns if name not in FACTS]:
        raise StoreError(f"objects have no column {', '.join(unknown)}: name {', '.join(FACTS)}")
    for _, part in manifest.parts():
        versions = [version for candidate in part.candidates for version in candidate.record.content]
        facts = [(version.key, version.size, version.modified_at) for version in versions]
        yield pd.DataFrame(facts, columns=list(FACTS))[list(columns)]


def staged_keys(manifest: Manifest, work: Work) -> Iterator[Staged]:
    """Every staged key, with the local day of its clock as it was when it was discovered.

    Held keys are not staged; that one is not among them is seen by its number, and by erasing, which judges again.

    Raises:
        DatasetChanged, StoreUnavailable, StoreError: while it is read.
    """
    cutoff = work.expiry.default
    for _, part in manifest.parts():
        for candidate in part.candidates:
            yield Staged(record_key((candidate.record.key,)), candidate.day, cutoff.day if cutoff else None, held=False)
