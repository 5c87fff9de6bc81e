"""Lethe's pages in Airflow's UI: a web application that the API server mounts, behind Airflow's own sign-in.

Airflow does not authenticate the applications of plugins. Every page here depends on Airflow's user, and shows only
categories whose DAG that user may read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache
from tempfile import TemporaryFile
from typing import Annotated, Any, BinaryIO
from urllib.parse import parse_qs, quote, urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import Depends, FastAPI, HTTPException, Query, Request, status
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from jinja2 import Environment as Templates
from jinja2 import PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException as AnyHTTPException

from lethe.airflow import pages, runbook
from lethe.airflow.connections import serve
from lethe.airflow.links import airflow_path, page_path
from lethe.airflow.scheduled import newest_over, scheduled
from lethe.airflow.watching import EVIDENCE_DAG
from lethe.errors import LetheError, ParameterError, RunError
from lethe.evidence import certificate
from lethe.evidence.archive import Days
from lethe.surveys import HORIZONS

_MOST_TYPED = 16_384
"""Bytes of a form that asks for a record: keys of objects have at most 1,024 characters."""

_CHUNK = 64 * 1024
"""Bytes of a file that are sent at once."""

_CODES = {RunError: status.HTTP_404_NOT_FOUND, ParameterError: status.HTTP_422_UNPROCESSABLE_CONTENT}
"""What an error says of a request. Others say that something does not work."""
_UNAVAILABLE = status.HTTP_503_SERVICE_UNAVAILABLE

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who has signed in to Airflow.

    Whether a category is theirs to see, Airflow's auth manager says by the category's name, which is its DAG's: also
    of a category that has no policy and no DAG any more, whose records stay with those who may read every DAG.
    """

    user: BaseUser

    def may_read(self, category: str) -> bool:
        """Whether they may read the DAG runs of a category."""
        runs = DagAccessEntity.RUN
        return bool(
            get_auth_manager().is_authorized_dag(
                method="GET", access_entity=runs, details=DagDetails(id=category), user=self.user
            )
        )

    def may_ask(self, category: str) -> bool:
        """Whether they may see holds, and ask for single records, of a category: who may start its runs."""
        runs = DagAccessEntity.RUN
        return self.may_read(category) and bool(
            get_auth_manager().is_authorized_dag(
                method="POST", access_entity=runs, details=DagDetails(id=category), user=self.user
            )
        )

    def require(self, category: str) -> None:
        """Refuse to show anything of a category.

        Raises:
            HTTPException: 403, if they may not read its DAG runs.
        """
        if not self.may_read(category):
            raise HTTPException(status.HTTP_403_FORBIDDEN, "You may not read the DAG runs of this category")


def reader(user: GetUserDep, request: Request) -> Reader:
    """Who asks, and for something that there can be.

    Raises:
        HTTPException: 401 without a user; 404 for an id with characters that no id has, which some databases refuse.
    """
    asked = (*request.path_params.values(), *request.query_params.values())
    if not all(str(text).isprintable() for text in asked):
        raise HTTPException(status.HTTP_404_NOT_FOUND, "There is nothing of this name: it has characters of control")
    return Reader(user)


Reading = Annotated[Reader, Depends(reader)]


@dataclass(frozen=True, slots=True)
class Asked:
    """A record that was typed into the form, and is in no address, so that no log has it."""

    dataset: str
    key: str = field(repr=False)


async def asked(request: Request) -> Asked:
    """What was typed.

    Raises:
        HTTPException: 403, if the form was not on a page of this server; 413, if it is longer than a key can be.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    host = urlsplit(origin).netloc if origin else request.headers.get("host")
    if site not in (None, "same-origin") or host != request.headers.get("host"):
        raise HTTPException(status.HTTP_403_FORBIDDEN, "Ask on Lethe's own page")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_TYPED:
            raise HTTPException(status.HTTP_413_CONTENT_TOO_LARGE, "No key of a record is that long")
    fields = parse_qs(body.decode("utf-8", "replace"))
    typed = {name: values[0] for name, values in fields.items()}
    return Asked(typed.get("dataset", ""), typed.get("key", "").replace("\r\n", "\n").rstrip("\n"))


def create_app() -> FastAPI:
    """The application. Every route asks for `Reading`, and so for a user."""
    app = FastAPI(title="Lethe", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route("/", show_overview, response_class=HTMLResponse)
    app.add_api_route("/runbook", show_runbook, response_class=HTMLResponse)
    app.add_api_route("/categories/{category}", show_category, response_class=HTMLResponse)
    app.add_api_route("/holds", show_holds, response_class=HTMLResponse)
    app.add_api_route("/records", show_record, response_class=HTMLResponse)
    app.add_api_route("/records", explain_record, methods=["POST"], response_class=HTMLResponse)
    app.add_api_route("/evidence", show_evidence, response_class=HTMLResponse)
    app.add_api_route("/evidence/certificates.zip", download_archive)
    app.add_api_route("/runs/{run_id}", show_run, response_class=HTMLResponse)
    app.add_api_route("/runs/{run_id}/certificate.json", download_certificate)
    app.add_api_route("/runs/{run_id}/certificate.html", show_certificate, response_class=HTMLResponse)
    app.add_api_route("/runs/{run_id}/datasets/{dataset}/data-docs", show_data_docs, response_class=HTMLResponse)
    app.add_api_route("/dag-runs/{dag_id}/{dag_run_id:path}", go_to_run)
    app.add_exception_handler(LetheError, show_error)
    app.add_exception_handler(RequestValidationError, show_error)
    app.add_exception_handler(AnyHTTPException, show_error)
    return app


def show_overview(who: Reading) -> HTMLResponse:
    """All categories, their latest runs, and the holds in force by matter."""
    with serve() as env:
        return _render("overview.html.j2", page=pages.overview(env, who.may_read, scheduled, datetime.now(UTC)))


def show_runbook(who: Reading) -> HTMLResponse:
    """What each alert and message means, and what to do."""
    del who
    return _render("runbook.html.j2", page=runbook.page())


def show_category(category: str, who: Reading, before: str | None = None, state: str | None = None) -> HTMLResponse:
    """One category, with its runs, newest first; with those that started before a run, or are in a state."""
    who.require(category)
    with serve() as env:
        page = pages.category_page(env, category, scheduled, datetime.now(UTC), before=before, state=state)
        return _render("category.html.j2", page=page)


def show_holds(who: Reading) -> HTMLResponse:
    """The holds in force, for who may start runs of a category that they concern."""
    with serve() as env:
        return _render("holds.html.j2", page=pages.holds_page(env, who.may_ask, datetime.now(UTC)))


def show_record(who: Reading) -> HTMLResponse:
    """A form that asks for a record."""
    with serve() as env:
        return _render("record.html.j2", page=pages.record_page(env, who.may_ask, "", "", datetime.now(UTC)))


def explain_record(who: Reading, typed: Annotated[Asked, Depends(asked)]) -> HTMLResponse:
    """Why a record is still there, or which run erased it."""
    with serve() as env:
        page = pages.record_page(env, who.may_ask, typed.dataset, typed.key, datetime.now(UTC))
    return _render(
        "record.html.j2", status.HTTP_200_OK if page.found else status.HTTP_422_UNPROCESSABLE_CONTENT, page=page
    )


def show_evidence(who: Reading) -> HTMLResponse:
    """Where the ledger ends, whether the evidence held when it was last checked, and a form for an archive."""
    with serve() as env:
        page = pages.evidence_page(env, who.may_read, datetime.now(UTC))
    return _render("evidence.html.j2", page=page, checked=newest_over(EVIDENCE_DAG), dag_id=EVIDENCE_DAG)


def download_archive(
    who: Reading,
    first: Annotated[date, Query(alias="from")],
    last: Annotated[date, Query(alias="to")],
    category: str = "",
) -> StreamingResponse:
    """The certificates of some days in one archive: of a category, or of all that the user may read."""
    if category:
        who.require(category)
    days = Days(first, last)
    with ExitStack() as stack:
        file = stack.enter_context(TemporaryFile())
        with serve() as env:
            pages.archived(env, who.may_read, category or None, days, file)
        stack.pop_all()  # it is closed when it was sent
    name = "-".join(filter(None, ["certificates", category, str(first), str(last)]))
    disposition = {"Content-Disposition": f'attachment; filename="{quote(name, safe="")}.zip"'}
    return StreamingResponse(_content(file), media_type="application/zip", headers=_HEADERS | disposition)


def _content(file: BinaryIO) -> Iterator[bytes]:
    """All of a file, which is closed then."""
    with file:
        file.seek(0)
        while chunk := file.read(_CHUNK):
            yield chunk


def show_run(run_id: str, who: Reading) -> HTMLResponse:
    """The record of one run."""
    with serve() as env:
        page = pages.run_page(env, run_id)
        who.require(page.record.category)
        return _render("run.html.j2", page=page)


def download_certificate(run_id: str, who: Reading) -> Response:
    """The signed certificate of a run."""
    with serve() as env:
        who.require(env.runs.get(run_id).category)
        document = pages.certificate(env, run_id)
    if document is None:
        raise RunError(f"run {run_id} has no certificate yet")
    disposition = {"Content-Disposition": f'attachment; filename="{quote(run_id, safe="")}.json"'}
    return Response(document, media_type="application/json", headers=_HEADERS | disposition)


def show_certificate(run_id: str, who: Reading) -> HTMLResponse:
    """The certificate of a run as a page that prints well."""
    with serve() as env:
        who.require(env.runs.get(run_id).category)
        return HTMLResponse(certificate.page(certificate.get(env.governance, run_id)), headers=_HEADERS)


def show_data_docs(run_id: str, dataset: str, who: Reading) -> HTMLResponse:
    """What Great Expectations found in a dataset of a run."""
    with serve() as env:
        record = env.runs.get(run_id)
        who.require(record.category)
        return HTMLResponse(pages.data_docs(env, record, dataset), headers=_HEADERS)


def go_to_run(dag_id: str, dag_run_id: str, who: Reading) -> Response:
    """From a DAG run to the record of the run that it started."""
    who.require(dag_id)
    with serve() as env:
        run_id = pages.run_of(env, dag_id, dag_run_id)
    return RedirectResponse(page_path(f"/runs/{quote(run_id, safe='')}"), headers=_HEADERS)


async def show_error(request: Request, error: Exception) -> HTMLResponse:
    """The one message of an error or a refusal, with a way on."""
    del request
    if isinstance(error, AnyHTTPException):
        code, message = error.status_code, error.detail
    elif isinstance(error, RequestValidationError):
        fields = sorted({str(detail["loc"][-1]) for detail in error.errors()})
        code, message = (
            status.HTTP_422_UNPROCESSABLE_CONTENT,
            f"Write a day such as 2026-01-31 for {' and '.join(fields)}",
        )
    else:
        code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), _UNAVAILABLE)
        message = str(error)
    return _render("error.html.j2", code, message=message, signed_in=code != status.HTTP_401_UNAUTHORIZED)


@cache
def _templates() -> Templates:
    templates = Templates(
        loader=PackageLoader("lethe.airflow"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"count": _count, "moment": _moment}
    templates.globals |= {"page_path": page_path, "airflow_path": airflow_path, "dag_run_of": pages.dag_run_of}
    return templates


def _count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


def _moment(at: datetime | None) -> str:
    return "–" if at is None else f"{at:%Y-%m-%d %H:%M} UTC"


def _render(template: str, code: int = status.HTTP_200_OK, **values: Any) -> HTMLResponse:  # noqa: ANN401
    headings = {
        "headings": pages.HEADINGS,
        "brief_headings": pages.BRIEF_HEADINGS,
        "bad_headings": pages.BAD_HEADINGS,
        "horizons": HORIZONS,
    }
    return HTMLResponse(_templates().get_template(template).render(values | headings), code, headers=_HEADERS)
