"""Categories and datasets as Airflow assets, so that the asset graph shows which DAG looks after what.

An asset's address is its name again: where a dataset is stored may change, and an asset whose name is known under
another address is inactive, which fails every task that has it, until the scheduler has tidied up. The place is in
`extra`. Their scheme begins with ``x-``, which Airflow reserves for users: for others it would import every
provider's address handlers (boto3 among them) while it parses DAG files.
"""

from __future__ import annotations

from airflow.sdk import Asset

from lethe.policy import Dataset, Policy

GROUP = "lethe"
"""The group of all of Lethe's assets."""


def dataset_asset(policy: Policy, dataset: Dataset) -> Asset:
    """A dataset of a policy: updated whenever a run has verified that nothing is left to erase."""
    return Asset(
        name=f"lethe/{policy.category}/{dataset.name}",
        uri=f"x-lethe://{policy.category}/{dataset.name}",
        group=GROUP,
        extra={"kind": dataset.kind, "connection": dataset.store, "location": dataset.location},
    )


def category_asset(policy: Policy) -> Asset:
    """A category: updated whenever a run of it has succeeded."""
    return Asset(
        name=f"lethe/{policy.category}",
        uri=f"x-lethe://{policy.category}",
        group=GROUP,
        extra={"source": policy.source, "rule": policy.rule},
    )
