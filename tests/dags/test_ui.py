"""The page in Airflow's UI: nobody sees it without signing in, and nobody sees more than counts."""

from __future__ import annotations

import io
import json
import re
import shutil
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from airflow import plugins_manager
from axe_playwright_python.sync_playwright import Axe
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, sync_playwright
from tests.unit.cli_kit import POLICY

from lethe.airflow.connections import open_environment
from lethe.airflow.links import RecordLink
from lethe.airflow.plugin import LethePlugin
from lethe.alerts import Kind
from lethe.checks.results import ExpectationResult, Validation
from lethe.counts import Became, Found, Unjudgeable
from lethe.evidence import archive, certificate
from lethe.evidence.events import DatasetValidated, DatasetVerified, Discovered, Settled
from lethe.governance import schema
from lethe.holds.registry import HoldRequest
from lethe.judging.identifiers import IdentifierType
from lethe.keys import new_connection
from lethe.stores.base import Candidates
from lethe.surveys import Survey

AS_OF = datetime(2026, 11, 20, 1, 15, tzinfo=UTC)
VALIDATION = Validation(
    suite="webinars.registrations.before",
    results=(
        ExpectationResult(
            id="key-unique",
            type="expect_column_values_to_be_unique",
            success=False,
            unexpected=3,
            description="Every key is there once",
        ),
    ),
)
OTHERS = len(list((Path(__file__).parents[2] / "include" / "policies").glob("*.yaml"))) - 1
"""Categories beside webinars."""
DAYS = {"from": "2020-01-01", "to": "2099-12-31"}
TRIGGER = "airflow:webinars/manual__2026-11-20T01:15:00+00:00"


@pytest.fixture
def run_id(airflow_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A governance database with a run of webinars that has ended, a certificate and a hold."""
    monkeypatch.setenv("LETHE_HOME", str(tmp_path))
    database = {"conn_type": "sqlite", "host": str(tmp_path / "governance.db")}
    monkeypatch.setenv("AIRFLOW_CONN_LETHE_GOVERNANCE", json.dumps(database))
    monkeypatch.setenv("AIRFLOW_CONN_LETHE_KEYS", new_connection())
    counts: dict[str, Any] = {"total": 5000, "expired": 1250, "held": 30, "unjudgeable": {Unjudgeable.NO_CLOCK: 7}}
    found = Candidates(**counts, reference="r", batches=1, batch_size=50000, digest="d" * 64, holds_version=1)
    left = Found(total=3780, expired=30, held=30, unjudgeable={Unjudgeable.NO_CLOCK: 7})
    with open_environment() as env:
        policy = env.policy("webinars")
        people = {IdentifierType.EMAIL: ["jana@example.org"]}
        request = HoldRequest(matter="2026/117", reason="dispute", identifiers=people)
        env.registry.place(request, by="legal", policies=env.policies)
        record = env.runs.start(
            policy, AS_OF, datasets=["registrations"], dry_run=False, expected_digest=None, trigger=TRIGGER,
            requested_by="eva",
        )  # fmt: skip
        name, since = "registrations", env.runs.dataset(record.id, "registrations")
        since = env.runs.record(record.id, name, Discovered(found, since))
        since = env.runs.record(record.id, name, DatasetValidated("before", VALIDATION, None, since))
        env.runs.record(record.id, name, DatasetVerified(left, (), since))
        env.runs.close(record.id)
        claim = env.runs.claim_settling(record.id) or ""
        env.runs.complete(record.id, name, Settled(Became(erased=1220)), claim=claim)
        env.runs.finish(record.id, claim, "succeeded", {})
        certificate.issue(env.governance, env.keys, record.id, env.registry.holds())
    return record.id


@pytest.fixture(scope="module")
def server(airflow_home: Path) -> Iterator[FastAPI]:
    """Airflow's API server, with the plugin that the package brings."""
    from airflow.api_fastapi.app import create_app, purge_cached_app

    purge_cached_app()
    server: FastAPI = create_app(apps="core")
    yield server
    purge_cached_app()


@pytest.fixture
def anyone(server: FastAPI, run_id: str) -> Iterator[TestClient]:
    """A browser in which nobody has signed in."""
    with TestClient(server, base_url="http://testserver") as client:
        yield client


@pytest.fixture
def viewer(anyone: TestClient) -> TestClient:
    """A browser in which somebody has signed in who may read DAGs."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="eva", role="viewer"))
    anyone.cookies.set("_token", token)
    return anyone


def test_the_page_is_registered_with_airflow() -> None:
    entries = {entry.name: entry.load() for entry in entry_points(group="airflow.plugins") if entry.name == "lethe"}
    assert entries == {"lethe": LethePlugin}, "an environment from before there was the entry point: make venv"
    assert LethePlugin.fastapi_apps[0]["url_prefix"] == "/lethe"
    assert LethePlugin.external_views[0]["href"] == "/lethe/"


def test_airflow_registers_the_plugin_once_and_shows_no_error() -> None:
    plugins_manager.ensure_plugins_loaded()
    plugins, _ = plugins_manager._get_plugins()
    assert [plugin.name for plugin in plugins].count("lethe") == 1
    assert plugins_manager.get_import_errors() == {}


def test_nobody_sees_a_page_without_signing_in(anyone: TestClient, run_id: str) -> None:
    for path in (
        "/lethe/",
        "/lethe/runbook",
        "/lethe/categories/webinars",
        "/lethe/records",
        "/lethe/holds",
        "/lethe/evidence",
        "/lethe/evidence/certificates.zip",
        f"/lethe/runs/{run_id}",
        f"/lethe/runs/{run_id}/certificate.json",
        f"/lethe/runs/{run_id}/datasets/registrations/data-docs",
        "/lethe/dag-runs/a/b",
    ):
        answer = anyone.get(path, follow_redirects=False)
        assert answer.status_code == 401, path
        assert "Sign in to Airflow" in answer.text


def test_no_route_is_without_a_sign_in(anyone: TestClient) -> None:
    """From the application's own list, so that none is forgotten."""
    from lethe.airflow.ui import create_app

    routes = [(method, one) for one in create_app().routes if isinstance(one, APIRoute) for method in one.methods]
    assert len(routes) >= 10
    for method, route in routes:
        address = "/lethe" + re.sub(r"{[^}]+}", "x", route.path)
        answer = anyone.request(method, address, data={"dataset": "x.y", "key": "1"} if method == "POST" else None)
        assert answer.status_code == 401, (method, route.path)
    assert anyone.get("/lethe/docs").status_code == 404
    assert anyone.get("/lethe/openapi.json").status_code == 404


def test_the_runbook_is_a_page_with_the_entry_of_every_alert(viewer: TestClient) -> None:
    answer = viewer.get("/lethe/runbook")
    assert answer.status_code == 200
    for kind in Kind:
        assert f'<h3 id="{kind.anchor}">{kind.heading}</h3>' in answer.text
    assert '<a href="/lethe/runbook">runbook</a>' in viewer.get("/lethe/").text


def test_the_overview_has_every_category_with_its_last_run(viewer: TestClient, run_id: str) -> None:
    page = viewer.get("/lethe/")
    assert page.status_code == 200
    for words in ("webinars", "events", "logistics", "leads", "analytics", "for 18 months", run_id, "succeeded"):
        assert words in page.text
    for count in ("1,250", "1,220", ">30<", ">7<", ">0<"):
        assert count in page.text
    assert "2026/117" in page.text


def standings(viewer: TestClient) -> str:
    """The line on top of the overview."""
    line = re.search(r'<p id="standings">(.*?)</p>', viewer.get("/lethe/").text, re.DOTALL)
    assert line
    return re.sub("<[^>]+>", "", line[1])


@pytest.fixture
def unscheduled(airflow_home: Path) -> Iterator[None]:
    """Airflow's scheduler knows no DAG: those of other tests are gone from its folder."""
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    def forget() -> None:
        with create_session() as session:
            session.execute(sa.update(DagModel).values(is_stale=True))

    forget()
    yield
    forget()


def now_as_of(run_id: str, **changed: object) -> None:
    """Have a run be of this moment."""
    moment = datetime.now(UTC)
    with open_environment() as env, env.governance.write() as connection:
        values = {"as_of": moment, "started_at": moment, **changed}
        connection.execute(sa.update(schema.run).where(schema.run.c.id == run_id).values(values))


@pytest.mark.usefixtures("unscheduled")
def test_one_line_says_how_all_categories_stand(viewer: TestClient, run_id: str) -> None:
    now_as_of(run_id)
    assert standings(viewer) == f"1 on time, {OTHERS} never run"
    (dry,) = many(run_id, 1, dry_run=True, state="failed")
    page = viewer.get("/lethe/").text
    assert standings(viewer) == f"1 on time, {OTHERS} never run", "a dry run takes no place of the real one"
    assert dry not in page.partition("Latest runs")[0]
    many(run_id, 1, id="one-of-two", state="failed", started_at=datetime.now(UTC) + timedelta(minutes=5))
    assert standings(viewer) == f"{OTHERS} never run, 1 failed"
    assert "succeeded<br>" in viewer.get("/lethe/").text, "when it last went well"
    waiting = {"state": "open", "waiting_until": datetime.now(UTC) + timedelta(hours=9)}
    many(run_id, 1, id="asks", started_at=datetime.now(UTC) + timedelta(minutes=9), **waiting)
    assert standings(viewer) == f"{OTHERS} never run, 1 waits for a decision"


@pytest.mark.usefixtures("unscheduled")
def test_a_run_of_some_datasets_is_no_success_of_all(viewer: TestClient, run_id: str) -> None:
    now_as_of(run_id)
    with open_environment() as env, env.governance.write() as connection:
        connection.execute(sa.delete(schema.run_dataset).where(schema.run_dataset.c.run_id == run_id))
    assert standings(viewer) == f"{OTHERS + 1} never run"


@contextmanager
def airflow_run(
    dag_id: str, *, state: str, conf: dict[str, object] | None = None, later: timedelta = timedelta(minutes=1)
) -> Iterator[None]:
    """A DAG run that only Airflow knows, of a DAG that is in its folder."""
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    at, run_id = datetime.now(UTC) + later, f"{state}_in_airflow"
    with create_session() as session:
        session.merge(DagBundleModel(name="pages"))
        session.flush()
        dag = session.get(DagModel, dag_id) or DagModel(dag_id=dag_id, bundle_name="pages")
        dag.is_stale = False
        session.add(dag)
        session.flush()
        run = DagRun(
            dag_id=dag_id, run_id=run_id, run_type=DagRunType.MANUAL, conf=conf or {}, run_after=at,
            start_date=at, state=DagRunState(state), triggered_by=DagRunTriggeredByType.TEST,
        )  # fmt: skip
        session.add(run)
    try:
        yield
    finally:
        with create_session() as session:
            session.execute(sa.delete(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))


@pytest.mark.usefixtures("unscheduled")
@pytest.mark.parametrize(("conf", "said"), [({}, "1 failed"), ({"dry_run": True}, "1 on time")])
def test_a_run_that_failed_before_anything_was_planned_is_seen(
    viewer: TestClient, run_id: str, conf: dict[str, object], said: str
) -> None:
    """In Airflow alone; with when the next one starts, and whether the DAG is paused."""
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    now_as_of(run_id)
    with airflow_run("webinars", state="failed", conf=conf):
        with create_session() as session:
            dag = session.get(DagModel, "webinars")
            dag.is_paused, dag.next_dagrun_create_after = False, datetime(2027, 1, 2, 3, 4, tzinfo=UTC)
        assert said in standings(viewer)
        assert "2027-01-02 03:04" in viewer.get("/lethe/").text
        with create_session() as session:
            session.get(DagModel, "webinars").is_paused = True
        assert ("1 paused" if "on time" in said else said) in standings(viewer)
        assert "2027-01-02 03:04" not in viewer.get("/lethe/").text


def surveyed(category: str, dataset: str, **numbers: Any) -> Survey:  # noqa: ANN401 - fields of a survey
    """A survey of a dataset; `due` of 9,000 records, and twice as many within 90 days."""
    due = numbers.pop("due", 40)
    with open_environment() as env:
        digest = env.policy(category).digest
    values: dict[str, Any] = {
        "policy_digest": digest, "at": datetime.now(UTC),
        "found": Found(total=9000, expired=due + 2, held=2), "overdue": 0, "overdue_days": 0,
        "ahead": {1: due, 7: due, 30: due, 90: 2 * due},
    }  # fmt: skip
    return Survey(category=category, dataset=dataset, **values | numbers)


def due_rows(viewer: TestClient) -> dict[str, list[str]]:
    """What the overview says is due: the words of each row's cells, by category, in order."""
    table = re.search(r'<table id="due">.*?<tbody>(.*?)</tbody>', viewer.get("/lethe/").text, re.DOTALL)
    assert table
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in table[1].split("</tr>")[:-1]]
    texts = [[" ".join(re.sub("<[^>]+>", " ", cell).split()) for cell in row] for row in rows]
    return {category: cells for category, *cells in texts}


def test_what_is_due_overdue_and_to_come_is_shown_the_worst_first_and_unknown_is_no_zero(
    viewer: TestClient, run_id: str
) -> None:
    unknown = dict(due_rows(viewer))
    assert len(unknown) == OTHERS + 1
    assert {cell for cells in unknown.values() for cell in cells[:7]} == {"not known"}
    with open_environment() as env:
        env.surveys.keep([
            surveyed("webinars", "registrations"),
            surveyed("events", "invitations", due=7, overdue=6, overdue_days=3),
            surveyed("leads", "chats", found=None, overdue=None, overdue_days=None, ahead={}, problem="no table chats"),
        ])  # fmt: skip
    rows = due_rows(viewer)
    assert next(iter(rows)) == "events", "the worst first"
    assert rows["events"][1] == "at least 6 since 3 days", "of its other dataset nothing is known"
    assert rows["leads"][:2] == ["not known", "not known"]
    assert "chats: no table chats" in rows["leads"][7]
    assert rows["webinars"][:7] == ["40", "0", "2", "40", "40", "40", "80"]
    with open_environment() as env:
        env.surveys.keep([surveyed("webinars", "registrations", policy_digest="0" * 64)])
    assert "by an earlier policy" in due_rows(viewer)["webinars"][7]


def said_of(viewer: TestClient, run_id: str) -> str:
    """The sentence on a run's page."""
    line = re.search(r'<p id="summary">(.*?)</p>', viewer.get(f"/lethe/runs/{run_id}").text)
    assert line
    return line[1]


def test_a_run_says_in_a_sentence_what_it_did_and_a_dry_run_what_it_would_do(viewer: TestClient, run_id: str) -> None:
    assert said_of(viewer, run_id) == "In records: 1,220 erased."
    with open_environment() as env, env.governance.write() as connection:
        table = schema.run.c
        of_it = sa.update(schema.run).where(table.id == run_id)
        connection.execute(of_it.values(dry_run=True, state="dry"))
    assert said_of(viewer, run_id) == "Would erase 1,220 records."
    with open_environment() as env, env.governance.write() as connection:
        connection.execute(of_it.values(dry_run=False, state="open", finished_at=None))
    assert said_of(viewer, run_id) == "It is not over; what it did is certain at its end."
    with open_environment() as env, env.governance.write() as connection:
        connection.execute(of_it.values(state="failed", finished_at=AS_OF))
        mine = sa.update(schema.run_dataset).where(schema.run_dataset.c.run_id == run_id)
        connection.execute(mine.values(tally=None))
    assert said_of(viewer, run_id) == "What it did is not known of any dataset."


def test_a_run_says_what_it_did_and_leads_to_dag_run_and_certificate(viewer: TestClient, run_id: str) -> None:
    page = viewer.get(f"/lethe/runs/{run_id}")
    assert page.status_code == 200
    assert "/dags/webinars/runs/manual__2026-11-20T01%3A15%3A00%2B00%3A00" in page.text
    assert "<dt>Asked for by</dt><dd>eva</dd>" in page.text
    document = viewer.get(f"/lethe/runs/{run_id}/certificate.json")
    assert run_id in document.text
    assert "signature" in document.json()
    printed = viewer.get(f"/lethe/runs/{run_id}/certificate.html")
    assert printed.status_code == 200
    assert run_id in printed.text


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The machine's own, without a window."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.browser
def test_tables_are_whole_on_a_small_screen(chromium: Browser, viewer: TestClient, run_id: str) -> None:
    """No column is cut off beside Airflow's menu, with millions in each, and no moment is in two lines."""
    tab = chromium.new_page(viewport={"width": 1280 - 80, "height": 900})
    for path in ("/lethe/", "/lethe/categories/webinars", f"/lethe/runs/{run_id}"):
        tab.set_content(viewer.get(path).text)
        tab.evaluate("""document.querySelectorAll("td.n").forEach(cell => cell.textContent = "1,234,567")""")
        tables = tab.evaluate(
            """[...document.querySelectorAll(".wide")].map(one => one.scrollWidth - one.clientWidth)"""
        )
        assert tables, path
        assert set(tables) == {0}, path
        lines = """[...document.querySelectorAll(".when")].map(one => {
            const text = document.createRange(); text.selectNodeContents(one);
            return new Set([...text.getClientRects()].map(line => line.top)).size })"""
        assert set(tab.evaluate(lines)) <= {1}, path
    tab.close()


@pytest.fixture
def addresses(run_id: str) -> list[str]:
    """Of every page that the application has, from its own list, and one that is not there."""
    from lethe.airflow.ui import create_app

    filled = {"category": "webinars", "run_id": run_id, "dataset": "registrations"}
    routes = [one for one in create_app().routes if isinstance(one, APIRoute) and "GET" in one.methods]
    pages = [one.path for one in routes if one.response_class is HTMLResponse]
    assert len(pages) >= 9
    return ["/lethe" + path.format(**filled) for path in pages] + ["/lethe/runs/none"]


@pytest.mark.browser
@pytest.mark.parametrize(("width", "theme"), [(1200, "light"), (400, "dark")])
def test_axe_finds_nothing_on_any_page(
    chromium: Browser, starter: TestClient, addresses: list[str], width: int, theme: Literal["light", "dark"]
) -> None:
    """In either theme, on a desk and on a telephone (axe-core: WCAG 2.2 A and AA, and its best practices)."""
    tab = chromium.new_page(viewport={"width": width, "height": 800}, color_scheme=theme)
    found: dict[str, str] = {}
    pages = {address: starter.get(address).text for address in addresses}
    with zipfile.ZipFile(io.BytesIO(starter.get("/lethe/evidence/certificates.zip", params=DAYS).content)) as files:
        pages["the archive's page"] = files.read("index.html").decode()
    for address, text in pages.items():
        tab.set_content(text)
        results = Axe().run(tab)
        if results.violations_count:
            found[address] = results.generate_report()
        if tab.evaluate("document.documentElement.scrollWidth - innerWidth") > 0:
            found[f"{address} in width"] = "it is wider than the window"
    tab.close()
    assert not found, "\n".join(f"{address}: {what}" for address, what in found.items())


def test_the_certificates_of_some_days_are_an_archive_that_holds(
    viewer: TestClient, run_id: str, tmp_path: Path
) -> None:
    """As an auditor gets it, who has the public key and nothing else."""
    page = viewer.get("/lethe/evidence").text
    assert 'action="/lethe/evidence/certificates.zip"' in page
    assert "<option>webinars</option>" in page
    assert 'href="/lethe/evidence"' in viewer.get("/lethe/").text
    with open_environment() as env:
        public = env.keys.signing_key().public_key()
    for asked in (DAYS, DAYS | {"category": "webinars"}):
        answer = viewer.get("/lethe/evidence/certificates.zip", params=asked)
        assert answer.status_code == 200
        assert answer.headers["content-disposition"].startswith('attachment; filename="certificates-')
        path = tmp_path / "archive.zip"
        path.write_bytes(answer.content)
        found = archive.verify(path, [public])
        assert (found.findings, [one.run for one in found.index.certificates]) == ((), [run_id])
        assert found.index.categories == (("webinars",) if "category" in asked else None)


@pytest.mark.usefixtures("run_id")
@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"from": "2026-02-30", "to": "2026-03-01"}, "Write a day such as 2026-01-31 for from"),
        ({}, "Write a day such as 2026-01-31 for from and to"),
        ({"from": "2026-02-02", "to": "2026-02-01"}, "the last is before the first"),
    ],
)
def test_days_that_are_none_are_refused_in_words(viewer: TestClient, asked: dict[str, str], why: str) -> None:
    answer = viewer.get("/lethe/evidence/certificates.zip", params=asked)
    assert (answer.status_code, why in answer.text) == (422, True)


def test_an_archive_has_nothing_of_a_category_that_a_user_may_not_read(
    viewer: TestClient, run_id: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    def only_events(_manager: object, *, details: DagDetails, **_rest: object) -> bool:
        return bool(details.id == "events")

    monkeypatch.setattr(SimpleAuthManager, "is_authorized_dag", only_events)
    assert "webinars" not in viewer.get("/lethe/evidence").text
    asked = DAYS | {"category": "webinars"}
    assert viewer.get("/lethe/evidence/certificates.zip", params=asked).status_code == 403
    path = tmp_path / "archive.zip"
    path.write_bytes(viewer.get("/lethe/evidence/certificates.zip", params=DAYS).content)
    index = archive.verify(path).index
    assert (index.certificates, index.categories) == ((), ())
    assert run_id.encode() not in path.read_bytes()


def said_of_check(viewer: TestClient) -> str:
    line = viewer.get("/lethe/evidence").text.partition('id="checked">')[2].partition("</p>")[0]
    return re.sub("<[^>]+>", "", line)


@pytest.mark.usefixtures("run_id")
def test_it_is_said_whether_the_evidence_held_when_it_was_last_checked(viewer: TestClient) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    with create_session() as session:  # those of other tests
        session.execute(sa.delete(DagRun).where(DagRun.dag_id == "lethe_evidence"))
    assert said_of_check(viewer) == "never checked"
    with airflow_run("lethe_evidence", state="success"):
        assert said_of_check(viewer).startswith("held when it was last checked")
        with airflow_run("lethe_evidence", state="failed", later=timedelta(hours=1)):
            assert said_of_check(viewer).startswith("failed when it was last checked")
            assert "/lethe/runbook#the-evidence-does-not-hold" in viewer.get("/lethe/evidence").text
        with airflow_run("lethe_evidence", state="running", later=timedelta(hours=1)):
            assert said_of_check(viewer).startswith("held when it was last checked")


def test_data_docs_are_at_hand_where_the_run_is(viewer: TestClient, run_id: str) -> None:
    """From the governance database: the file is on the worker that wrote it."""
    address = f"/lethe/runs/{run_id}/datasets/registrations/data-docs"
    assert f'href="{address}"' in viewer.get(f"/lethe/runs/{run_id}").text
    page = viewer.get(address)
    assert page.status_code == 200
    for words in (
        "webinars.registrations",
        "The candidates, before erasing",
        "Every key is there once",
        "1 failed",
        ">3<",
    ):
        assert words in page.text
    assert "jana" not in page.text
    for missing in (f"/lethe/runs/{run_id}/datasets/nothing/data-docs", "/lethe/runs/nothing/datasets/x/data-docs"):
        answer = viewer.get(missing)
        assert answer.status_code == 404
        assert "nothing" in answer.text


def test_a_task_leads_to_the_record_of_its_run(viewer: TestClient, run_id: str) -> None:
    class Key:
        dag_id, run_id = "webinars", "manual__2026-11-20T01:15:00+00:00"

    link = RecordLink().get_link(None, ti_key=Key())
    assert link.startswith("/plugin/retention/lethe/dag-runs/")
    page = viewer.get(link.removeprefix("/plugin/retention"), follow_redirects=True)
    assert page.status_code == 200
    assert run_id in page.text


def many(run_id: str, count: int, **changed: object) -> list[str]:
    """As many copies of a run, each a minute later than the one before; oldest first."""
    with open_environment() as env, env.governance.write() as connection:
        row = dict(connection.execute(sa.select(schema.run).where(schema.run.c.id == run_id)).one()._mapping)
        copies = [
            row | {"id": f"copy-{n:03d}", "started_at": row["started_at"] + timedelta(minutes=n + 1)} | changed
            for n in range(count)
        ]
        connection.execute(sa.insert(schema.run), copies)
    return [str(copy["id"]) for copy in copies]


def test_a_run_is_found_however_many_have_run_since(viewer: TestClient, run_id: str) -> None:
    """Its category in the overview, its record from its DAG run, its certificate."""
    many(run_id, 500, category="events", trigger="airflow:events/x")
    page = viewer.get("/lethe/")
    assert page.status_code == 200
    assert page.text.count(f'/lethe/runs/{run_id}"') == 1, "the last run of its category"
    assert "copy-499" in page.text
    found = viewer.get("/lethe/dag-runs/webinars/manual__2026-11-20T01:15:00+00:00", follow_redirects=True)
    assert found.status_code == 200
    assert run_id in found.text
    assert viewer.get(f"/lethe/runs/{run_id}/certificate.json").status_code == 200


@pytest.mark.parametrize("address", ["/lethe/", "/lethe/categories/webinars", "/lethe/holds", "/lethe/evidence"])
def test_a_page_asks_the_governance_database_no_more_often_where_more_has_run(
    viewer: TestClient, run_id: str, address: str
) -> None:
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "lethe_" in statement:
            asked.append(statement)

    viewer.get(address)  # opens the database
    counts = []
    for year in (2024, 2025):
        for n in range(15):
            many(run_id, 1, id=f"copy-{year}-{n}", started_at=datetime(year, 1, 1 + n, tzinfo=UTC))
        asked.clear()
        sa.event.listen(sa.engine.Engine, "before_cursor_execute", note)
        try:
            assert viewer.get(address).status_code == 200
        finally:
            sa.event.remove(sa.engine.Engine, "before_cursor_execute", note)
        counts.append(len(asked))
    assert counts[0] == counts[1] > 0, asked


def test_a_category_says_its_rule_what_is_due_its_versions_and_its_runs(viewer: TestClient, run_id: str) -> None:
    with open_environment() as env:
        env.surveys.keep([surveyed("webinars", "registrations", due=40, overdue=12, overdue_days=9)])
        written = env.runs.get(run_id).written_policy
    shorter = {**written, "retention": {**written["retention"], "keep_for": "P1Y"}}  # type: ignore[dict-item]
    (later,) = many(run_id, 1, id="a-later-one", policy=shorter, policy_digest="1" * 64, state="failed")
    page = viewer.get("/lethe/categories/webinars")
    assert page.status_code == 200
    for words in (
        "for 18 months",
        "for 1 year",
        "keep_for: P18M",
        "keep_for: P1Y",
        "more may go:",
        "since 9 days",
        later,
    ):
        assert words in page.text, words
    assert page.text.index("keep_for: P1Y") < page.text.index("keep_for: P18M"), "the latest version first"
    assert 'href="/dags/webinars"' in page.text
    failed = viewer.get("/lethe/categories/webinars?state=failed").text
    assert later in failed.partition("Its runs")[2]
    assert run_id not in failed.partition("Its runs")[2]
    assert viewer.get("/lethe/categories/webinars?state=odd").status_code == 404


def test_a_retired_category_and_one_whose_policy_is_broken_have_their_page(
    viewer: TestClient, run_id: str, folder: Path
) -> None:
    text = (folder / "webinars.yaml").read_text()
    (folder / "webinars.yaml").write_text(text.replace("keep_for", "kept_for"))
    assert "Nothing runs: webinars.yaml" in viewer.get("/lethe/categories/webinars").text
    (folder / "webinars.yaml").unlink()
    page = viewer.get("/lethe/categories/webinars").text
    assert "retired: it has no policy any more" in page
    assert "keep_for: P18M" in page
    assert run_id in page
    assert "/dags/webinars" not in page


@pytest.fixture
def registrations(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A warehouse with a table of registrations, and a policy of it alone."""
    warehouse = tmp_path / "crm.db"
    monkeypatch.setenv("AIRFLOW_CONN_CRM", json.dumps({"conn_type": "sqlite", "host": str(warehouse)}))
    for file in folder.glob("*.yaml"):
        file.unlink()
    (folder / "webinars.yaml").write_text(POLICY)
    with closing(sqlite3.connect(warehouse)) as connection:
        connection.execute(
            "CREATE TABLE registrations (id INTEGER PRIMARY KEY, email TEXT, phone TEXT, webinar_date DATE)"
        )
        rows = [(1, "jana@example.org", "", "2020-01-15"), (2, "karel@example.org", "", "2099-01-01")]
        connection.executemany("INSERT INTO registrations VALUES (?, ?, ?, ?)", rows)
        connection.commit()
    return warehouse


@pytest.fixture
def starter(viewer: TestClient) -> TestClient:
    """A browser in which somebody has signed in who may start DAGs."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    viewer.cookies.set("_token", get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="op", role="user")))
    return viewer


def ask(client: TestClient, key: str, dataset: str = "webinars.registrations", **headers: str) -> tuple[int, str]:
    answer = client.post("/lethe/records", data={"dataset": dataset, "key": key}, headers=headers)
    return answer.status_code, " ".join(re.sub("<[^>]+>", " ", answer.text).split())


@pytest.mark.usefixtures("run_id", "registrations")
def test_who_may_start_runs_learns_of_a_record_why_it_is_there(
    starter: TestClient, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "<option>webinars.registrations</option>" in starter.get("/lethe/records").text
    status, text = ask(starter, "1")
    assert status == 200
    assert "webinars.registrations: held" in text
    assert "Matters: 2026/117" in text
    assert "it expires on 2 July 2100" in ask(starter, "2")[1]
    assert "There is no such record" in ask(starter, "4711")[1]
    assert "jana" not in text
    status, text = ask(starter, "nobody@example.org")
    assert (status, "can be no value of that column" in text) == (422, True)
    assert ask(starter, "")[0] == 422
    assert ask(starter, "1", "events.invitations")[0] == 422
    assert ask(starter, "x" * 20_000)[0] == 413
    assert "nobody@example" not in caplog.text + "".join(capfd.readouterr())


@pytest.mark.usefixtures("run_id", "registrations")
def test_who_may_only_read_and_who_asks_from_elsewhere_learns_nothing_of_a_record(viewer: TestClient) -> None:
    status, text = ask(viewer, "1")
    assert (status, "held" in text) == (422, False)
    assert "You may ask for no record" in viewer.get("/lethe/records").text


@pytest.mark.usefixtures("run_id", "registrations")
@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}]
)
def test_a_form_on_another_site_asks_for_nothing(starter: TestClient, headers: dict[str, str]) -> None:
    status, text = ask(starter, "1", **headers)
    assert (status, "held" in text) == (403, False)


@pytest.mark.usefixtures("run_id", "registrations")
def test_holds_are_shown_with_what_they_find_to_those_who_may_start_runs(
    starter: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lethe.holding import count_holds

    assert "not counted yet" in starter.get("/lethe/holds").text
    with open_environment() as env:
        people = {IdentifierType.EMAIL: ["nobody@example.org"]}
        lost = HoldRequest(matter="2026/118", reason="dispute", identifiers=people, categories=("webinars",))
        env.registry.place(lost, by="legal", policies=env.policies)
        assert count_holds(env, timedelta(hours=1)) == 2
    page = starter.get("/lethe/holds").text
    text = " ".join(re.sub("<[^>]+>", " ", page).split())
    for words in ("2026/117", "1 × email", "by legal", "webinars.registrations: 1", "in webinars"):
        assert words in text, words
    assert text.count("No record in any dataset: an identifier may be misspelt.") == 1
    assert "webinars.registrations: 0" in text
    assert "jana" not in page


@pytest.mark.usefixtures("run_id", "registrations")
def test_holds_are_not_shown_to_those_who_may_only_read(viewer: TestClient) -> None:
    page = viewer.get("/lethe/holds")
    assert page.status_code == 200
    assert "2026/117" not in page.text


@pytest.mark.browser
@pytest.mark.parametrize(("theme", "back"), [("dark", "rgb(18, 22, 28)"), ("light", "rgb(255, 255, 255)")])
@pytest.mark.parametrize("system", ["light", "dark"])
def test_in_airflows_frame_its_own_switch_says_light_or_dark(
    chromium: Browser, viewer: TestClient, theme: str, back: str, system: Literal["light", "dark"]
) -> None:
    """Also when it is switched while the page is open."""
    tab = chromium.new_page(color_scheme=system)
    other = "light" if theme == "dark" else "dark"
    tab.set_content(f'<html class="{other}"><iframe srcdoc=""></iframe>')
    tab.evaluate("text => { document.querySelector('iframe').srcdoc = text }", viewer.get("/lethe/runbook").text)
    frame = tab.frames[1]
    frame.wait_for_selector(f':root[data-theme="{other}"]', state="attached")
    tab.evaluate("theme => { document.documentElement.className = theme }", theme)
    frame.wait_for_selector(f':root[data-theme="{theme}"]', state="attached")
    assert frame.evaluate("getComputedStyle(document.body).backgroundColor") == back
    tab.close()


def test_all_runs_of_a_category_are_listed_page_by_page(viewer: TestClient, run_id: str) -> None:
    ids = many(run_id, 500)
    assert "copy-" not in viewer.get("/lethe/categories/events").text
    address, seen = "/lethe/categories/webinars", list[str]()
    while address:
        page = viewer.get(address)
        assert page.status_code == 200
        seen += re.findall(r'href="/lethe/runs/([^"/]+)"', page.text.partition("Its runs")[2])
        older = re.search(r'rel="next" href="([^"]+)"', page.text)
        address = older[1] if older else ""
    assert seen == [*reversed(ids), run_id]
    assert viewer.get("/lethe/categories/webinars?before=nothing").status_code == 404
    assert viewer.get("/lethe/categories/weddings").status_code == 404


@pytest.fixture
def folder(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The policies, to be spoilt."""
    copied = tmp_path / "policies"
    shutil.copytree(root / "include" / "policies", copied)
    monkeypatch.setenv("LETHE_POLICIES", str(copied))
    return copied


def records(run_id: str) -> list[str]:
    """All that there is to see of a run."""
    run = f"/lethe/runs/{run_id}"
    pages = ["", "/certificate.json", "/certificate.html", "/datasets/registrations/data-docs"]
    return [*(run + page for page in pages), "/lethe/categories/webinars", f"/lethe/dag-runs/{TRIGGER[8:]}"]


@pytest.mark.parametrize("spoilt", ["events", "webinars"])
def test_a_policy_that_cannot_be_read_hides_nothing(viewer: TestClient, run_id: str, folder: Path, spoilt: str) -> None:
    text = (folder / f"{spoilt}.yaml").read_text()
    (folder / f"{spoilt}.yaml").write_text(text.replace("keep_for", "kept_for"))
    page = viewer.get("/lethe/")
    assert page.status_code == 200
    for words in ("webinars", "events", "logistics", "leads", "analytics", f"Nothing runs: {spoilt}.yaml", run_id):
        assert words in page.text
    assert page.text.count("Nothing runs") == 1
    for address in records(run_id):
        assert viewer.get(address).status_code == 200, address


def test_the_records_of_a_retired_category_stay_for_those_who_may_read_its_dag(
    viewer: TestClient, run_id: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    (folder / "webinars.yaml").unlink()
    page = viewer.get("/lethe/").text
    assert page.count("retired: it has no policy any more") == 1
    assert run_id in page
    for address in records(run_id):
        assert viewer.get(address).status_code == 200, address

    def all_but_webinars(_manager: object, *, details: DagDetails, **_rest: object) -> bool:
        return bool(details.id != "webinars")

    monkeypatch.setattr(SimpleAuthManager, "is_authorized_dag", all_but_webinars)
    assert "webinars" not in viewer.get("/lethe/").text
    for address in records(run_id):
        assert viewer.get(address).status_code == 403, address


def test_without_any_policy_the_records_are_there_and_the_page_says_what_is_missing(
    viewer: TestClient, run_id: str, folder: Path
) -> None:
    for file in folder.glob("*.yaml"):
        file.unlink()
    page = viewer.get("/lethe/")
    assert page.status_code == 200
    assert "there are no policies" in page.text
    assert run_id in page.text
    assert "retired" not in page.text


@pytest.mark.parametrize(
    "odd", ["%00", "a%00b", "%1f", "%7f", "%e2%80%ae", "..%2f..%2fetc", "%ff", "x" * 3000, "'%22<b>"]
)
def test_ids_that_nothing_can_have_are_not_found(viewer: TestClient, run_id: str, odd: str) -> None:
    for address in (
        f"/lethe/categories/{odd}",
        f"/lethe/categories/webinars?before={odd}",
        f"/lethe/runs/{odd}",
        f"/lethe/runs/{odd}/certificate.json",
        f"/lethe/runs/{odd}/certificate.html",
        f"/lethe/runs/{run_id}/datasets/{odd}/data-docs",
        f"/lethe/dag-runs/webinars/{odd}",
        f"/lethe/dag-runs/{odd}/a",
    ):
        answer = viewer.get(address)
        assert answer.status_code == 404, address
        assert "text/html" in answer.headers["content-type"]
        assert "Retention</a>" in answer.text
        assert "<b>" not in answer.text


def test_pages_carry_no_personal_data(viewer: TestClient, run_id: str) -> None:
    for path in ("/lethe/", f"/lethe/runs/{run_id}"):
        assert "jana" not in viewer.get(path).text


def test_what_does_not_exist_is_said_in_words(viewer: TestClient) -> None:
    page = viewer.get("/lethe/runs/no-such-run")
    assert page.status_code == 404
    assert "there is no run no-such-run" in page.text


def test_categories_of_dags_that_a_user_may_not_read_are_hidden(
    viewer: TestClient, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    def only_events(_manager: object, *, details: DagDetails, **_rest: object) -> bool:
        return bool(details.id == "events")

    monkeypatch.setattr(SimpleAuthManager, "is_authorized_dag", only_events)
    assert "events" in viewer.get("/lethe/").text
    assert "webinars" not in viewer.get("/lethe/").text
    assert viewer.get(f"/lethe/runs/{run_id}").status_code == 403
    assert viewer.get(f"/lethe/runs/{run_id}/certificate.json").status_code == 403
    assert viewer.get(f"/lethe/runs/{run_id}/datasets/registrations/data-docs").status_code == 403


def test_a_governance_database_that_is_not_defined_is_said_in_words(
    viewer: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_LETHE_GOVERNANCE")
    monkeypatch.setenv("LETHE_HOME", str(tmp_path / "elsewhere"))
    page = viewer.get("/lethe/")
    assert page.status_code == 503
    assert "connection lethe_governance is not defined" in page.text
    assert not (tmp_path / "elsewhere").exists(), "no new database without holds"
