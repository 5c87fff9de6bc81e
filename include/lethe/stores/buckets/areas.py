"""Each discovery of a run's dataset stages in an area of its own, and one of the areas is in use.

``<run>/<dataset>/in-use`` says which, and whether erasing what is staged there has begun. Every change of it is
conditional on what it was before (``If-None-Match: *``, then ``If-Match``). So a discovery whose process was stopped,
while the next try went on, takes nothing away of what is in use, and of an area that another has taken the place of
nothing is erased.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, replace

from lethe.errors import DatasetChanged, StoreUnavailable
from lethe.stores.buckets.staging import BucketStaging

_IN_USE = "in-use"
_TRIES = 8


@dataclass(frozen=True)
class InUse:
    """The area that is in use.

    Attributes:
        area: where its candidates are staged.
        begun: who has begun to erase them; empty where nobody has.
        etag: of what says so.
    """

    area: BucketStaging
    begun: str
    etag: str


@dataclass(frozen=True)
class Areas:
    """What a run has staged for a dataset. All methods raise `StoreUnavailable` or `StoreError`.

    Attributes:
        root: the staging that all areas are below.
    """

    root: BucketStaging

    def in_use(self) -> InUse | None:
        """The area that is in use; None: nothing was discovered yet."""
        stored = self.root.read(_IN_USE)
        if stored is None:
            return None
        said = json.loads(stored.body)
        return InUse(replace(self.root, area=said["area"]), said["begun"], stored.etag)

    def new(self) -> BucketStaging:
        """An area to stage in."""
        return replace(self.root, area=secrets.token_hex(8))

    def use(self, area: BucketStaging, before: InUse | None) -> None:
        """Have an area in use in place of the one before, in which nothing was erased; what was staged there goes.

        Raises:
            StoreUnavailable: if another process has discovered meanwhile, or has begun to erase. That stands.
        """
        if self._write(area, "", before) is None:
            area.clear()
            raise StoreUnavailable(
                f"{self.root.access.place(self.root.bucket, '')}: another process has discovered dataset "
                f"{self.root.dataset} meanwhile; try again"
            )
        if before is not None:
            before.area.clear()

    def begin(self, reference: str) -> bool:
        """Note that erasing what `reference` names begins; give whether it had not begun before.

        Raises:
            DatasetChanged: if another area is in use by now.
        """
        for _ in range(_TRIES):
            now = self.in_use()
            if now is None or now.area.area != self.of(reference).area:
                raise changed(self.root)
            if now.begun:
                return False
            if self._write(now.area, secrets.token_hex(8), now) is not None:
                return True
        raise StoreUnavailable(f"{self.root.access.place(self.root.bucket, '')}: staging changes all the time")

    def of(self, reference: str) -> BucketStaging:
        """The area that `BucketStaging.reference` named.

        Raises:
            DatasetChanged: if it is none of this run and dataset.
        """
        start = self.root.reference("").removesuffix("#")
        area = reference.removeprefix(start).partition("/")[0]
        if not reference.startswith(start) or not area:
            raise changed(self.root)
        return replace(self.root, area=area)

    def _write(self, area: BucketStaging, begun: str, before: InUse | None) -> str | None:
        body = json.dumps({"area": area.area, "begun": begun}).encode()
        if before is None:
            return self.root.create(_IN_USE, body)
        return self.root.replace(_IN_USE, body, before.etag)


def changed(staging: BucketStaging) -> DatasetChanged:
    """The refusal of candidates that are not what was discovered."""
    return DatasetChanged(
        f"{staging.access.place(staging.bucket, '')}: what is staged of dataset {staging.dataset} for run "
        f"{staging.run} is not what was discovered, validated and approved; discover again"
    )
