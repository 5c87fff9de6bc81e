"""What of staged keys is checked before they are erased."""

from __future__ import annotations

from collections.abc import Iterator

from lethe.judging.keys import record_key
from lethe.stores.base import Work
from lethe.stores.objects.manifest import Manifest
from lethe.stores.sources import Staged


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
