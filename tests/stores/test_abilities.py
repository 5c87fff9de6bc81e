"""Refuse first: work that a store declares it cannot do ends in one message, before anything is read or touched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from tests.stores.lease_kit import Gate
from tests.stores.parquet_kit import CUTOFF, Lake, expiry, people

from lethe.errors import StoreError
from lethe.holds.rules import NO_HOLDS
from lethe.policy import Disposition, ObjectDataset
from lethe.stores.base import Candidates, Store, Work, require_able
from lethe.stores.objects import S3ObjectStore
from lethe_demo.servers import EmbeddedS3

CANDIDATES = Candidates(total=1, expired=1, held=0, reference="r", batches=1, batch_size=1, digest="d", holds_version=0)
ACTS: dict[str, Callable[[Store, Work], Any]] = {
    "survey": lambda store, work: store.survey(work, NO_HOLDS),
    "discover": lambda store, work: store.discover(work, NO_HOLDS),
    "erase": lambda store, work: store.erase(work, CANDIDATES, range(1), Gate()),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("kind", ["objects", "parquet"])
def test_work_that_a_store_cannot_do_is_refused_and_nothing_is_staged(s3: EmbeddedS3, kind: str, act: str) -> None:
    lake = Lake.make(s3)
    lake.put("data/date=2024-01-01/a.parquet", people(range(3)))
    before = lake.everything()
    store: Store = lake.store
    work, asked = lake.work, {"rows cannot be anonymised": replace(lake.work, disposition=Disposition.ANONYMISE)}
    if kind == "objects":
        store = S3ObjectStore(s3.connection("lake"))
        clock = {"key": "date=(?P<value>[^/]+)/"}
        dataset = ObjectDataset.model_validate(
            {"kind": "objects", "name": "o", "store": "lake", "bucket": lake.bucket, "prefix": "data/", "clock": clock}
        )
        work = replace(lake.work, dataset=dataset)
        asked = {
            "objects cannot be anonymised": replace(work, disposition=Disposition.ANONYMISE),
            "by_value needs rows with columns": replace(work, expiry=expiry(column="c", by_value={"CZ": CUTOFF})),
        }
    for says, impossible in asked.items():
        with pytest.raises(StoreError, match=f"^{work.dataset.name}: {says}: "):
            ACTS[act](store, impossible)
    assert lake.everything() == before
    require_able(work, store.abilities)
    assert store.survey(work, NO_HOLDS).oldest is not None
    assert store.survey(work, NO_HOLDS).oldest < date(2025, 1, 1)  # type: ignore[operator]
