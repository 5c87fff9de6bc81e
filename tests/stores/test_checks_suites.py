"""The suites of Great Expectations on real databases and rows: each expectation is red when its promise is broken."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lethe.checks import generate, pages, suites
from lethe.checks.results import Validation
from lethe.connections import sqlalchemy_url
from lethe.counts import Found, Unjudgeable
from lethe.errors import RunError, StoreError, StoreUnavailable
from lethe.policy import Limits, Policy, parse
from lethe.settings import Settings
from lethe.stores.base import Candidates, Work
from lethe.stores.sources import Query, RowSource, SqlSource, Staged
from lethe_demo.servers import EmbeddedPostgres

AS_OF = datetime(2026, 11, 21, 2, 15, tzinfo=UTC)
CUTOFF = date(2025, 5, 21)
CANARY = f"canary-{secrets.token_hex(8)}"
LIMITS = Limits(records=100, share=0.5)

WEBINARS = """
category: webinars
title: Webinars
owner: marketing
legal_basis: consent
source: "§ 5.5"
retention: {keep_for: P18M}
time_zone: Europe/Prague
schedule: null
limits: {records: 100, share: 0.5}
datasets:
  - {name: registrations, kind: table, store: crm, table: registrations, key: [id], clock: {column: day}}
"""


def policy(retention: str = "{keep_for: P18M}") -> Policy:
    return parse(WEBINARS.replace("{keep_for: P18M}", retention), where="webinars.yaml")


def work(retention: str = "{keep_for: P18M}") -> Work:
    found = policy(retention)
    return Work(
        run="webinars-1",
        category="webinars",
        dataset=found.dataset("registrations"),
        expiry=found.expiry(AS_OF),
        as_of=AS_OF,
    )


def candidates(count: int, total: int = 100) -> Candidates:
    return Candidates(
        total=total,
        expired=count,
        held=0,
        reference="staged",
        batches=1,
        batch_size=1000,
        digest="0" * 64,
        holds_version=1,
    )


METADATA = sa.MetaData()
STAGED = sa.Table(
    "staged",
    METADATA,
    sa.Column("record", sa.Text),
    sa.Column("clock", sa.Date),
    sa.Column("cutoff", sa.Date),
    sa.Column("held", sa.Boolean),
    sa.Column("records", sa.Integer),
)


@dataclass
class Database:
    """A database with staged candidates, as a store that gives them to be checked."""

    url: sa.URL
    query: Query = field(default_factory=lambda: sa.select(*STAGED.c))

    def __post_init__(self) -> None:
        self.engine = sa.create_engine(self.url, poolclass=sa.NullPool)

    def stage(self, count: int = 20) -> None:
        with self.engine.begin() as connection:
            METADATA.drop_all(connection)
            METADATA.create_all(connection)
            connection.execute(sa.insert(STAGED), [self.row(number) for number in range(count)])

    @staticmethod
    def row(number: int) -> dict[str, Any]:
        return {
            "record": f"{CANARY}-{number}",
            "clock": date(2025, 1, 1 + number % 28),
            "cutoff": CUTOFF,
            "held": False,
            "records": 1,
        }

    def change(self, **columns: object) -> None:
        """Break something in a single row."""
        with self.engine.begin() as connection:
            connection.execute(sa.update(STAGED).where(STAGED.c.record == f"{CANARY}-7").values(columns))

    def candidates_source(self, _work: Work, _candidates: Candidates) -> SqlSource | RowSource:
        return SqlSource(self.connect, self.query)

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """As stores do: no error of the driver gets out."""
        try:
            with self.engine.connect() as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            if error.connection_invalidated or "connection is bad" in str(error):
                raise StoreUnavailable("cannot be reached") from None
            raise StoreError("cannot be read") from None


class Rows(Database):
    """The same rows, from a store that is no database."""

    def candidates_source(self, _work: Work, _candidates: Candidates) -> SqlSource | RowSource:
        with self.engine.connect() as connection:
            found = connection.execute(sa.select(STAGED)).all()
        return RowSource(
            Staged((row.record or "").encode(), row.clock, row.cutoff, row.held, row.records) for row in found
        )


@pytest.fixture(scope="module")
def database_url(postgres: EmbeddedPostgres) -> Iterator[sa.URL]:
    name = f"checks_{secrets.token_hex(4)}"
    postgres.create_database(name)
    yield sqlalchemy_url(postgres.connection("crm", name))
    postgres.drop_database(name)


@pytest.fixture(params=["postgresql", "sqlite", "rows"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "postgresql":
        made = Database(request.getfixturevalue("database_url"))
    else:
        url = sa.URL.create("sqlite", database=str(tmp_path / "data.db"))
        made = Database(url) if request.param == "sqlite" else Rows(url)
    made.stage()
    return made


@pytest.fixture
def settings(tmp_path: Path, root: Path) -> Settings:
    (tmp_path / "expectations").mkdir()
    return Settings(policies=root / "include/policies", expectations=tmp_path / "expectations", home=tmp_path / "home")


def check(settings: Settings, database: Database, found: Candidates | None = None, **of: Any) -> Validation:  # noqa: ANN401
    job = of.get("job", work())
    return suites.check_candidates(settings, database, job, found or candidates(20), of.get("limits", LIMITS))  # type: ignore[arg-type]


def red(settings: Settings, validation: Validation) -> set[str]:
    """The names of the expectations that do not hold."""
    named = {
        expectation["id"]: expectation["meta"]["lethe"]["name"]
        for name in ("candidates", "count", "left")
        for expectation in generate.suite("webinars", name)["expectations"]
    }
    return {named[result.id] for result in validation.results if not result.success}


def test_candidates_that_keep_every_promise_pass(settings: Settings, database: Database) -> None:
    validation = check(settings, database)
    assert validation.success
    assert red(settings, validation) == set()
    assert validation.suite == "webinars.candidates"
    assert len(validation.results) == 10
    assert [result.unexpected for result in validation.results] == [0] * 7 + [None] * 3


@pytest.mark.parametrize(
    ("broken", "expectation"),
    [
        ({"record": None}, "key-not-null"),
        ({"record": f"{CANARY}-8"}, "key-unique"),
        ({"clock": None}, "clock-not-null"),
        ({"clock": CUTOFF}, "clock-before-cutoff"),
        ({"clock": date(1970, 1, 1)}, "clock-plausible"),
        ({"held": True}, "none-held"),
        ({"held": None}, "held-known"),
        ({"records": 2}, "as-discovered"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_expectation_is_red_when_its_promise_is_broken(
    settings: Settings, database: Database, broken: dict[str, object], expectation: str
) -> None:
    if expectation == "key-not-null" and isinstance(database, Rows):
        pytest.skip("rows always have a key")
    database.change(**broken)
    validation = check(settings, database)
    assert red(settings, validation) == {expectation}
    assert not validation.success
    (failure,) = validation.failures
    assert failure.unexpected == {"key-unique": 2, "as-discovered": None}.get(expectation, 1)


def test_a_clock_on_the_day_before_the_cutoff_has_expired(settings: Settings, database: Database) -> None:
    database.change(clock=date(2025, 5, 20))
    assert check(settings, database).success


def test_a_candidate_that_came_or_went_since_discovery_is_noticed(settings: Settings, database: Database) -> None:
    assert red(settings, check(settings, database, candidates(19))) == {"as-discovered"}
    assert red(settings, check(settings, database, candidates(21))) == {"as-discovered"}


def test_no_candidates_at_all_is_fine(settings: Settings, database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(sa.delete(STAGED))
    assert red(settings, check(settings, database, candidates(0))) == set()
    assert red(settings, check(settings, database, candidates(1))) == {"as-discovered"}


@pytest.mark.parametrize(
    ("limits", "total", "expectation"),
    [
        (Limits(records=19, share=1), 20, {"within-records"}),
        (Limits(records=20, share=1), 20, set()),
        (Limits(records=100, share=0.19), 100, {"within-share"}),
        (Limits(records=100, share=0.2), 100, set()),
        (Limits(records=1, share=0.1), 100, {"within-records", "within-share"}),
    ],
)
def test_limits_that_are_passed_ask_and_do_not_stop(
    settings: Settings, database: Database, limits: Limits, total: int, expectation: set[str]
) -> None:
    validation = check(settings, database, candidates(20, total), limits=limits)
    assert red(settings, validation) == expectation
    assert validation.success
    assert all(result.asks for result in validation.results if not result.success)


def test_a_share_is_compared_exactly(settings: Settings, tmp_path: Path) -> None:
    database = Database(sa.URL.create("sqlite", database=str(tmp_path / "data.db")))
    database.stage(57)
    validation = check(settings, database, candidates(57), limits=Limits(records=100, share=0.57))
    assert red(settings, validation) == set(), "0.57 * 100 is 56.99999999999999 in binary"


def test_records_with_periods_of_their_own_are_judged_by_them(settings: Settings, database: Database) -> None:
    retention = "{keep_for: P18M, by_value: {column: country, periods: {CZ: P5Y}}}"
    names = {
        one["id"]: one["meta"]["lethe"]["name"]
        for one in generate.suite("webinars", "candidates", by_value=True)["expectations"]
    }
    assert check(settings, database, job=work(retention)).success
    database.change(cutoff=date(2021, 11, 21))
    failures = check(settings, database, job=work(retention)).failures
    assert [names[failure.id] for failure in failures] == ["clock-before-own-cutoff"]
    database.change(cutoff=None)
    failures = check(settings, database, job=work(retention)).failures
    assert [names[failure.id] for failure in failures] == ["own-cutoff-not-null"]


# --- in the database ----------------------------------------------------------------------------------------------


@pytest.fixture
def statements() -> Iterator[list[tuple[str, int]]]:
    """All that is run in any database, with how many rows came of it."""
    found: list[tuple[str, int]] = []

    def note(_connection: object, cursor: Any, statement: str, *_: object) -> None:  # noqa: ANN401
        found.append((statement, cursor.rowcount))

    sa.event.listen(sa.Engine, "after_cursor_execute", note)
    yield found
    sa.event.remove(sa.Engine, "after_cursor_execute", note)


def test_candidates_are_counted_in_the_database_and_never_fetched(
    settings: Settings, database_url: sa.URL, statements: list[tuple[str, int]]
) -> None:
    database = Database(database_url)
    database.stage(500)
    statements.clear()
    check(settings, database, candidates(500))
    reads = [(statement, rows) for statement, rows in statements if statement.lstrip().startswith("SELECT")]
    assert any("count(*)" in statement for statement, _ in reads)
    assert all(rows <= len(STAGED.c) for _, rows in reads), "rows of the database were fetched"


def test_nothing_stays_behind_in_the_database(settings: Settings, database_url: sa.URL) -> None:
    database = Database(database_url)
    database.stage()
    before = sa.inspect(database.engine).get_table_names()
    check(settings, database)
    with database.engine.connect() as connection:
        temporary = sa.text("SELECT count(*) FROM pg_class WHERE relname LIKE 'gx_temp%'")
        others = sa.text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        assert connection.scalar(temporary) == 0
        assert connection.scalar(others) == 1
    assert sa.inspect(database.engine).get_table_names() == before


def test_names_with_colons_and_quotes_are_read(settings: Settings, database_url: sa.URL, tmp_path: Path) -> None:
    for url in (database_url, sa.URL.create("sqlite", database=str(tmp_path / "data.db"))):
        database = Database(url)
        odd = sa.Table(
            'odd:name "quoted" \\:x 100% %(y)s', sa.MetaData(), sa.Column("the:key", sa.Text), sa.Column("day", sa.Date)
        )
        with database.engine.begin() as connection:
            odd.drop(connection, checkfirst=True)
            odd.create(connection)
            connection.execute(sa.insert(odd), {"the:key": "it's :this 100% %(z)s", "day": date(2020, 1, 1)})
        database.query = sa.select(
            odd.c["the:key"].label("record"),
            odd.c.day.label("clock"),
            odd.c.day.label("cutoff"),
            (odd.c["the:key"] != "it's :this 100% %(z)s").label("held"),
            sa.literal(1).label("records"),
        )
        assert check(settings, database, candidates(1)).success


# --- what goes wrong ----------------------------------------------------------------------------------------------


def test_an_expectation_that_cannot_be_evaluated_has_failed(settings: Settings, database: Database) -> None:
    if isinstance(database, Rows):
        pytest.skip("rows have the right types")
    columns = [column for column in STAGED.c if column.name != "held"]
    database.query = sa.select(*columns)
    validation = check(settings, database)
    assert red(settings, validation) == {"none-held", "held-known"}
    assert {failure.description[-27:] for failure in validation.failures} == {" It could not be evaluated."}


def test_staging_that_is_not_there_stops_the_dataset(settings: Settings, database: Database) -> None:
    if isinstance(database, Rows):
        pytest.skip("the store itself says so")
    database.query = sa.select(*sa.Table(CANARY, sa.MetaData(), *(sa.Column(c.name) for c in STAGED.c)).c)
    with pytest.raises(StoreError) as caught:
        check(settings, database)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert not caught.value.transient


def test_a_database_that_is_down_may_be_tried_again(settings: Settings, tmp_path: Path) -> None:
    database = Database(sa.make_url(f"postgresql+psycopg://x:{CANARY}@/nothing?host={tmp_path}"))
    with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
        check(settings, database)
    assert CANARY not in str(caught.value)


def test_a_database_that_breaks_off_may_be_tried_again(
    settings: Settings, database_url: sa.URL, request: pytest.FixtureRequest
) -> None:
    database = Database(database_url)
    database.stage()

    def cut(connection: sa.Connection, _cursor: object, statement: str, *_: object) -> None:
        if "unexpected_count" in statement:
            others = sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid != pg_backend_pid()"
            )
            with database.engine.connect() as other:
                other.execute(others)

    sa.event.listen(sa.Engine, "before_cursor_execute", cut)
    request.addfinalizer(lambda: sa.event.remove(sa.Engine, "before_cursor_execute", cut))
    with pytest.raises(StoreUnavailable, match="broke off") as caught:
        check(settings, database)
    assert caught.value.transient


def test_a_store_that_gives_nothing_to_check_erases_nothing(settings: Settings) -> None:
    with pytest.raises(StoreError, match="gives no candidates to check"):
        suites.check_candidates(settings, object(), work(), candidates(1), LIMITS)  # type: ignore[arg-type]


# --- after erasing ------------------------------------------------------------------------------------------------


def survey(expired: int, held: int, kept_on: int = 0, unjudgeable: int = 0) -> Found:
    reasons = {Unjudgeable.NO_CLOCK: unjudgeable} if unjudgeable else {}
    return Found(total=100, expired=expired, held=held, kept_on=kept_on, unjudgeable=reasons)


def test_a_dataset_with_nothing_but_held_records_left_passes(settings: Settings) -> None:
    for left in (survey(0, 0), survey(3, 3), survey(5, 2, kept_on=3)):
        validation = suites.check_left(settings, work(), left)
        assert validation.suite == "webinars.left"
        assert red(settings, validation) == set()


def test_a_single_record_left_turns_the_dataset_red(settings: Settings) -> None:
    for left in (survey(1, 0), survey(4, 3), survey(6, 2, kept_on=3)):
        validation = suites.check_left(settings, work(), left)
        assert red(settings, validation) == {"nothing-due-left"}
        assert not validation.success


def test_what_cannot_be_judged_is_reported_and_stops_nothing(settings: Settings) -> None:
    validation = suites.check_left(settings, work(), survey(0, 0, unjudgeable=4))
    assert red(settings, validation) == {"all-judged"}
    assert validation.success


# --- no personal data ---------------------------------------------------------------------------------------------


def test_no_value_of_a_record_leaves_the_store(
    settings: Settings,
    database: Database,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Promise 6, with everything broken at once, and everything logged that can be."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="great_expectations")
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    secret_day = date(1912, 3, 4)
    database.change(clock=secret_day, held=True, records=3)
    validations = [check(settings, database)]
    database.query = sa.select(*STAGED.c, (sa.cast(STAGED.c.record, sa.Integer) / 0).label("broken"))
    if not isinstance(database, Rows) and database.engine.dialect.name == "postgresql":
        with pytest.raises(StoreError) as caught:
            check(settings, database)
        assert CANARY not in f"{caught.value!r} {caught.value.__context__ and ''}"
    written = [path.read_text() for path in settings.home.rglob("*") if path.is_file()]
    assert len(written) == 3, "a page, what it is made from, and the index"
    captured = capfd.readouterr()
    everything = [
        *written,
        *(validation.model_dump_json() for validation in validations),
        *(record.getMessage() for record in caplog.records),
        *(str(record.exc_info) for record in caplog.records),
        captured.out,
        captured.err,
    ]
    leaks = [text[:200] for text in everything if CANARY in text or secret_day.isoformat() in text]
    assert leaks == []


def test_a_spooled_file_says_nothing_of_anybody(tmp_path: Path) -> None:
    from lethe.checks import spool

    rows = [Staged(f"{CANARY}-{n}".encode(), date(2020, 1, 1), CUTOFF, held=False) for n in range(50_000)]
    source = spool.as_table(RowSource(iter(rows)), tmp_path)
    (file,) = tmp_path.iterdir()
    assert CANARY.encode() not in file.read_bytes()
    with source.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(source.query.subquery())) == 50_000


def test_a_disk_that_is_full_is_said_without_any_value(tmp_path: Path) -> None:
    from lethe.checks import spool

    (tmp_path / "candidates.db").mkdir()
    with pytest.raises(RunError, match="cannot be written to") as caught:
        spool.as_table(RowSource([Staged(CANARY.encode(), None, None, held=False)]), tmp_path)
    assert CANARY not in repr(caught.value)


def test_a_page_that_cannot_be_written_is_not_passed_over(settings: Settings, database: Database) -> None:
    settings.home.parent.mkdir(parents=True, exist_ok=True)
    settings.home.write_text("a file where a folder should be")
    with pytest.raises(RunError, match="set LETHE_HOME"):
        check(settings, database)


def test_great_expectations_prints_and_logs_nothing(
    settings: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    database = Database(sa.URL.create("sqlite", database=str(tmp_path / "data.db")))
    database.stage()
    capfd.readouterr()
    with caplog.at_level(logging.INFO):
        check(settings, database)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert [record.name for record in caplog.records if record.name.startswith("great_expectations")] == []


# --- pages --------------------------------------------------------------------------------------------------------


def test_a_page_shows_both_checks_and_needs_no_network(settings: Settings, database: Database) -> None:
    database.change(held=True)
    check(settings, database)
    suites.check_left(settings, work(), survey(1, 0))
    page = pages.docs_path(settings, "webinars", "webinars-1", "registrations")
    assert page == settings.data_docs / "webinars/webinars-1/registrations.html"
    text = page.read_text()
    assert "No hold covers a candidate." in text
    assert "Nothing expired is left but what a hold covers." in text
    assert text.count("✗ failed") == 2
    assert "//" not in text.replace("<!doctype html>", "")
    index = (settings.data_docs / "webinars/index.html").read_text()
    assert 'href="webinars-1/registrations.html"' in index
    assert [path.name for path in settings.data_docs.rglob(".*")] == [], "no drafts are left"


def test_a_page_can_be_made_from_the_record_of_a_run(settings: Settings, database: Database) -> None:
    validation = check(settings, database)
    again = Validation.model_validate_json(validation.model_dump_json())
    page = pages.docs_path(settings, "webinars", "webinars-1", "registrations").read_text()
    assert pages.render("webinars", "webinars-1", "registrations", {pages.BEFORE: again}) == page


def test_connections_are_given_back(settings: Settings, tmp_path: Path) -> None:
    database = Database(sa.URL.create("sqlite", database=str(tmp_path / "data.db")))
    database.stage()
    check(settings, database)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        check(settings, database)
    assert len(os.listdir("/proc/self/fd")) <= before + 1
