"""Categories and datasets as Airflow assets, so that the asset graph shows which DAG looks after what.

Their addresses use schemes that begin with ``x-``, which Airflow reserves for users: for others it would import every
provider's address handlers (boto3 among them) while it parses DAG files.
"""

from __future__ import annotations

from airflow.sdk import Asset

from lethe.policy import Dataset, Policy

GROUP = "lethe"
"""The group of all of Lethe's assets."""


def dataset_asset(policy: Policy, dataset: Dataset) -> Asset:
    """A dataset of a policy: the connection id and the table or prefix, such as `x-lethe-table://lethe_crm/crm.leads`."""
    path = dataset.location.removeprefix("s3://")
    return Asset(
        name=f"lethe/{policy.category}/{dataset.name}",
        uri=f"x-lethe-{dataset.kind}://{dataset.store}/{path}",
        group=GROUP,
        extra={"category": policy.category, "dataset": dataset.name, "kind": dataset.kind},
    )


def category_asset(policy: Policy) -> Asset:
    """A category: updated whenever a run of it has succeeded."""
    return Asset(
        name=f"lethe/{policy.category}",
        uri=f"x-lethe-category://{policy.category}",
        group=GROUP,
        extra={"category": policy.category, "source": policy.source},
    )
