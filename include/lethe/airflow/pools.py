"""A pool for each store, so that no store is asked for more at once than it can take.

Airflow does not start tasks of a pool that does not exist. ``python -m lethe.airflow.pools > config/pools.json`` writes
the pools of all policies, and ``airflow pools import config/pools.json`` makes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from lethe.policy import Dataset, Policy, load_all
from lethe.settings import Settings

SLOTS = 8
"""Tasks at once for each store. Change it in Airflow (Admin, Pools) for a store that takes more, or less."""


def pool_of(dataset: Dataset) -> str:
    """The name of the pool of a dataset's store."""
    return f"lethe_{dataset.store.removeprefix('lethe_')}"


def pools(policies: Iterable[Policy]) -> dict[str, dict[str, object]]:
    """All pools that policies need, as `airflow pools import` reads them."""
    stores = {pool_of(dataset): dataset.store for policy in policies for dataset in policy.datasets}
    return {
        pool: {
            "slots": SLOTS,
            "description": f"Retention tasks on the store {store}",
            "include_deferred": False,
        }
        for pool, store in sorted(stores.items())
    }


if __name__ == "__main__":
    print(json.dumps(pools(load_all(Settings().policies).values()), indent=2))  # noqa: T201 - the output
