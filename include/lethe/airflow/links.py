"""Addresses of Lethe's pages and of Airflow's, and the link from a task to the record of its run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey

URL_PREFIX = "/lethe"
"""Where the API server mounts Lethe's pages."""

URL_ROUTE = "retention"
"""Where Airflow's UI shows them in a frame: below `/plugin/`."""


def airflow_path(path: str) -> str:
    """An address on the API server, with the base path of `[api] base_url`."""
    return urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/") + path


def page_path(path: str) -> str:
    """The address of one of Lethe's pages."""
    return airflow_path(URL_PREFIX + path)


def record_path(dag_id: str, run_id: str) -> str:
    """The address of the record of a DAG run, inside Airflow's UI: also before `plan` is done."""
    page = page_path(f"/dag-runs/{quote(dag_id, safe='')}/{quote(run_id, safe='')}")
    return airflow_path(f"/plugin/{URL_ROUTE}{page}")


def category_path(category: str) -> str:
    """The address of the runs of a category, inside Airflow's UI."""
    page = page_path(f"/categories/{quote(category, safe='')}")
    return airflow_path(f"/plugin/{URL_ROUTE}{page}")


def dag_run_path(dag_id: str, run_id: str) -> str:
    """The address of a DAG run in Airflow's UI."""
    return airflow_path(f"/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}")


class RecordLink(BaseOperatorLink):  # type: ignore[misc]
    """From a task to the record of its run, inside Airflow's UI."""

    @property
    def name(self) -> str:
        """The button's text."""
        return "Retention record"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:  # noqa: ANN401 - an operator of Airflow
        """The record of its DAG run."""
        del operator
        return record_path(ti_key.dag_id, ti_key.run_id)
