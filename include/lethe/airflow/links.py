"""Links from tasks to what Lethe knows of their run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey

URL_PREFIX = "/lethe"
"""Where the API server serves Lethe's pages, below its own base path."""


def page_path(path: str) -> str:
    """The address of one of Lethe's pages on the API server, with the base path of `[api] base_url`."""
    base = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
    return f"{base}{URL_PREFIX}{path}"


class RecordLink(BaseOperatorLink):  # type: ignore[misc]
    """From a task to the record of its DAG run."""

    @property
    def name(self) -> str:
        """The button's text."""
        return "Retention record"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:  # noqa: ANN401 - an operator of Airflow
        """The record of the DAG run; found by what started it, so that it also works before `plan` is done."""
        del operator
        return page_path(f"/dag-runs/{quote(ti_key.dag_id, safe='')}/{quote(ti_key.run_id, safe='')}")
