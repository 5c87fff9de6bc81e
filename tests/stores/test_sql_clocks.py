"""Never early, never silently late: every kind of clock around its cutoff, and what cannot be judged."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from tests.stores.sql_kit import AS_OF, CUTOFF, PRAGUE, Database, dataset, refused, run_through, work

from lethe.counts import Became, Unjudgeable
from lethe.holds.rules import NO_HOLDS
from lethe.periods import Cutoff, Period, cutoff_at_once, cutoff_for, start_of_day
from lethe.policy import Expiry

MIDNIGHT = start_of_day(CUTOFF, PRAGUE)
"""2025-05-20 22:00 UTC."""


def put(database: Database, clocks: list[Any], kind: Any = None) -> sa.Table:  # noqa: ANN401
    """A row for each clock, with ids from 0."""
    return database.leads(
        [{"id": number, "email": "a@x.cz", "last_contact": clock} for number, clock in enumerate(clocks)], clock=kind
    )


def text(database: Database, values: list[str | None], **clock: Any) -> tuple[sa.Table, Any]:  # noqa: ANN401
    """Clocks as text."""
    table = put(database, values, sa.Text())
    return table, dataset(clock={"column": "last_contact", "format": "iso8601", **clock})


def test_a_moment_is_compared_with_the_start_of_the_local_day(database: Database) -> None:
    table = put(database, [MIDNIGHT - timedelta(microseconds=1), MIDNIGHT, MIDNIGHT + timedelta(hours=1)])
    assert run_through(database, work()) == Became(erased=1)
    assert database.ids(table) == [1, 2]


def test_a_day_is_compared_as_a_day(database: Database) -> None:
    table = put(database, [CUTOFF - timedelta(days=1), CUTOFF], sa.Date())
    assert run_through(database, work()) == Became(erased=1)
    assert database.ids(table) == [1]


@pytest.mark.parametrize(("zone", "expired"), [(None, 2), ("Europe/Prague", 2), ("UTC", 1), ("America/New_York", 0)])
def test_a_timestamp_without_a_zone_is_local_time(database: Database, zone: str | None, expired: int) -> None:
    clocks = [datetime(2025, 5, 20, 21, 59, 59), datetime(2025, 5, 20, 23, 59, 59), datetime(2025, 5, 21)]  # noqa: DTZ001
    table = put(database, clocks, sa.DateTime())
    of = dataset(clock={"column": "last_contact", **({"time_zone": zone} if zone else {})})
    run_through(database, work(of))
    assert database.ids(table) == list(range(expired, 3))


def test_iso_text_is_judged_row_by_row(database: Database) -> None:
    table, of = text(
        database,
        [
            "2025-05-20",
            "2025-05-21",
            "2025-05-20T23:59:59",
            "2025-05-21 00:00:00",
            "2025-05-20T21:59:59.999999Z",
            "2025-05-20T22:00:00Z",
            "2025-05-20T23:30:00+01:00",
            "2025-05-20T23:30:00+0200",
            "2025-05-21T03:59:59+06",
        ],
    )
    run_through(database, work(of))
    assert database.ids(table) == [1, 3, 5, 6]


BAD_TEXT = [
    "", " ", "x", "2024", "2024-1-1", "2024-02-30", "2024-13-01", "0000-01-01", "yesterday", "now",
    "infinity", "-infinity", "epoch", "2024-01-01T25:00:00", "2024-01-01 10:60", "01.02.2024", "2024-01-01T",
    "1/2/2024", "2024-01-01 BC", "2024-01-01T00:00:00 Europe/Prague", "2024-01-01T00:00:00+99:00", "１２３４-01-01",
]  # fmt: skip


def test_text_that_is_no_date_is_counted_and_stays(database: Database) -> None:
    table, of = text(database, [*BAD_TEXT, None, "2024-01-01"])
    candidates = database.store.discover(work(of), NO_HOLDS)
    assert candidates.unjudgeable == {Unjudgeable.UNPARSABLE_CLOCK: len(BAD_TEXT), Unjudgeable.NO_CLOCK: 1}
    assert candidates.oldest == date(2024, 1, 1)
    run_through(database, work(of))
    assert database.ids(table) == list(range(len(BAD_TEXT) + 1))


def test_seconds_since_1970(database: Database) -> None:
    seconds = int(MIDNIGHT.timestamp())
    table = put(database, [seconds - 1, seconds, seconds * 1000, -(10**12), None], sa.BigInteger())
    of = dataset(clock={"column": "last_contact", "format": "epoch_seconds"})
    candidates = database.store.discover(work(of), NO_HOLDS)
    assert candidates.unjudgeable == {Unjudgeable.UNPARSABLE_CLOCK: 2, Unjudgeable.NO_CLOCK: 1}
    assert candidates.oldest == CUTOFF - timedelta(days=1)
    run_through(database, work(of))
    assert database.ids(table) == [1, 2, 3, 4]


def test_a_year_is_its_last_day(database: Database) -> None:
    table = put(database, [2023, 2024, 2025, 2026, 0, 99999, None], sa.Integer())
    of = dataset(clock={"column": "last_contact", "format": "year"})
    candidates = database.store.discover(work(of), NO_HOLDS)
    assert candidates.unjudgeable == {Unjudgeable.UNPARSABLE_CLOCK: 2, Unjudgeable.NO_CLOCK: 1}
    assert candidates.oldest == date(2023, 12, 31)
    run_through(database, work(of))
    assert database.ids(table) == [2, 3, 4, 5, 6]


def test_infinity_is_no_date(warehouse: Database) -> None:
    table = put(warehouse, [], sa.DateTime(timezone=True))
    warehouse.run_text(
        "INSERT INTO leads VALUES (1, 'a@x.cz', 'infinity'), (2, 'a@x.cz', '-infinity'), (3, 'a@x.cz', '0044-03-15 BC')"
    )
    candidates = warehouse.store.discover(work(), NO_HOLDS)
    assert (candidates.expired, candidates.unjudgeable) == (0, {Unjudgeable.UNPARSABLE_CLOCK: 3})
    run_through(warehouse, work())
    with warehouse.engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(table)) == 3


def test_numbers_in_a_column_of_text_are_no_dates(file: Database) -> None:
    table = put(file, [], sa.Date())
    file.run_text("INSERT INTO leads VALUES (1, 'a', 20240101), (2, 'a', 1.5), (3, 'a', x'00'), (4, 'a', '2024-01-01')")
    candidates = file.store.discover(work(), NO_HOLDS)
    assert (candidates.expired, candidates.unjudgeable) == (1, {Unjudgeable.UNPARSABLE_CLOCK: 3})
    run_through(file, work())
    assert file.ids(table) == [1, 2, 3]


def test_a_missing_clock_may_mean_that_the_period_has_not_begun(database: Database) -> None:
    table = put(database, [None, MIDNIGHT - timedelta(days=1)])
    of = dataset(clock={"column": "last_contact", "when_missing": "running"})
    assert database.store.discover(work(of), NO_HOLDS).unjudgeable == {}
    run_through(database, work(of))
    assert database.ids(table) == [0]


@pytest.mark.parametrize(("which", "survivors"), [("latest_of", [2, 3, 5, 6, 7]), ("earliest_of", [5, 6, 7])])
def test_the_latest_and_the_earliest_of_several(database: Database, which: str, survivors: list[int]) -> None:
    old, new = MIDNIGHT - timedelta(days=1), MIDNIGHT + timedelta(days=1)
    old_day, new_day = CUTOFF - timedelta(days=1), CUTOFF
    table = database.leads(answered=sa.Date())
    pairs = [
        (old, old_day), (old, None), (old, new_day), (new, old_day), (None, old_day), (new, new_day), (None, None),
        (new, None),
    ]  # fmt: skip
    database.insert(
        table, [{"id": n, "email": "a", "last_contact": a, "answered": b} for n, (a, b) in enumerate(pairs)]
    )
    of = dataset(clock={which: ["last_contact", "answered"]})
    candidates = database.store.discover(work(of), NO_HOLDS)
    assert candidates.unjudgeable == {Unjudgeable.NO_CLOCK: 1}
    assert candidates.oldest == old_day
    run_through(database, work(of))
    assert database.ids(table) == survivors


def test_one_of_several_clocks_that_is_no_date_makes_the_record_unjudgeable(database: Database) -> None:
    table = database.leads(clock=sa.Text(), answered=sa.Text())
    pairs = [("2024-01-01", "?"), ("2024-01-01", "2024-01-02"), ("2024-01-01", None), ("?", "2026-01-01")]
    database.insert(
        table, [{"id": n, "email": "a", "last_contact": a, "answered": b} for n, (a, b) in enumerate(pairs)]
    )
    of = dataset(clock={"latest_of": ["last_contact", "answered"], "format": "iso8601"})
    assert database.store.discover(work(of), NO_HOLDS).unjudgeable == {Unjudgeable.UNPARSABLE_CLOCK: 2}
    run_through(database, work(of))
    assert database.ids(table) == [0, 3]


def test_periods_by_value_and_none_for_the_others(database: Database) -> None:
    table = database.leads(country=sa.Text())
    clock = MIDNIGHT - timedelta(days=1)
    database.insert(
        table,
        [
            {"id": n, "email": "a", "last_contact": clock, "country": country}
            for n, country in enumerate(["CZ", "DE", "FR", None])
        ],
    )
    cutoffs = {
        "CZ": cutoff_for(AS_OF, PRAGUE, Period.parse("P1Y")),
        "DE": cutoff_for(AS_OF, PRAGUE, Period.parse("P10Y")),
    }
    expiry = Expiry(zone=PRAGUE, default=None, column="country", by_value=cutoffs)
    candidates = database.store.discover(work(expiry=expiry), NO_HOLDS)
    assert (candidates.expired, candidates.unjudgeable) == (1, {Unjudgeable.NO_PERIOD: 2})
    run_through(database, work(expiry=expiry))
    assert database.ids(table) == [1, 2, 3]
    with_default = Expiry(zone=PRAGUE, default=cutoffs["CZ"], column="country", by_value=cutoffs)
    assert run_through(database, work(expiry=with_default, run="run-2")) == Became(erased=2)
    assert database.ids(table) == [1]


@pytest.mark.parametrize(
    ("base", "written", "old", "young"),
    [
        ("timestamptz", None, "2024-03-01Z", "2026-10-01Z"),
        ("timestamp", None, "2024-03-01", "2026-10-01"),
        ("date", None, "2024-03-01", "2026-10-01"),
        ("varchar(40)", "iso8601", "2024-03-01", "2026-10-01"),
        ("int", "year", "2023", "2026"),
        ("numeric", "epoch_seconds", "1600000000", "1790000000"),
    ],
)
def test_a_clock_of_a_domain_is_one_of_what_that_is_of(
    warehouse: Database, base: str, written: str | None, old: str, young: str
) -> None:
    warehouse.run_text(
        f"CREATE DOMAIN day AS {base}",
        "CREATE DOMAIN contact AS day",
        "CREATE TABLE leads (id int PRIMARY KEY, email text, last_contact contact)",
    )
    table = sa.table("leads", sa.column("id"), sa.column("email"), sa.column("last_contact"))
    for number, clock in enumerate((old, young, None), start=1):
        as_text: sa.ColumnElement[str] = sa.literal_column(f"'{clock}'" if clock else "NULL")
        warehouse.do(sa.insert(table).values(id=number, email="a", last_contact=as_text))
    of = dataset(clock={"column": "last_contact"} | ({"format": written} if written else {}))
    assert refused(warehouse, of) == []
    found = warehouse.store.survey(work(of), NO_HOLDS)
    assert (found.expired, found.unjudgeable) == (1, {Unjudgeable.NO_CLOCK: 1})
    assert run_through(warehouse, work(of)) == Became(erased=1)


@pytest.mark.parametrize("kept", ["1", "1.0", "1.00"])
@pytest.mark.parametrize("kind", [sa.Numeric(6, 2), sa.Double()])
def test_of_several_spellings_of_a_value_the_longest_period_counts(
    database: Database, kind: sa.types.TypeEngine[Any], kept: str
) -> None:
    table = database.leads(plan=kind)
    database.insert(table, [{"id": 1, "email": "a", "last_contact": MIDNIGHT - timedelta(days=1), "plan": 1}])
    short, long = (cutoff_for(AS_OF, PRAGUE, Period.parse(text)) for text in ("P1Y", "P10Y"))
    by_value = {text: long if text == kept else short for text in ("1", "1.0", "1.00")}
    job = work(expiry=Expiry(zone=PRAGUE, default=short, column="plan", by_value=by_value))
    candidates = database.store.discover(job, NO_HOLDS)
    assert (candidates.expired, candidates.unjudgeable) == (0, {})


def test_where_and_keep_while(database: Database) -> None:
    table = database.leads(state=sa.Text(), bill=sa.Integer(), paid=sa.Boolean())
    clock = MIDNIGHT - timedelta(days=1)
    rows = [
        ("open", 1, True),
        ("open", 2, True),
        ("open", None, True),
        ("shut", 1, True),
        (None, 1, True),
        ("open", 1, False),
    ]
    database.insert(
        table,
        [
            {"id": n, "email": "a", "last_contact": clock, "state": state, "bill": bill, "paid": paid}
            for n, (state, bill, paid) in enumerate(rows)
        ],
    )
    of = dataset(
        where=[{"column": "state", "in": ["open"]}, {"column": "paid", "in": [True]}],
        keep_while=[{"column": "bill", "in": [2, 3]}, {"column": "bill", "is_null": True}],
    )
    candidates = database.store.discover(work(of), NO_HOLDS)
    assert (candidates.total, candidates.expired, candidates.kept_on, candidates.due) == (3, 3, 2, 1)
    assert run_through(database, work(of)) == Became(erased=1)
    assert database.ids(table) == [1, 2, 3, 4, 5]


def test_at_once_goes_up_to_the_very_moment(database: Database) -> None:
    table = put(database, [AS_OF - timedelta(microseconds=1), AS_OF, AS_OF + timedelta(microseconds=1)])
    run_through(database, work(expiry=Expiry(zone=PRAGUE, default=cutoff_at_once(AS_OF, PRAGUE))))
    assert database.ids(table) == [2]


def test_a_period_longer_than_the_calendar_erases_nothing(database: Database) -> None:
    table = put(database, [datetime(1, 1, 2, tzinfo=UTC), MIDNIGHT])
    never = Cutoff(day=date.min, instant=datetime.min.replace(tzinfo=UTC))
    assert run_through(database, work(expiry=Expiry(zone=PRAGUE, default=never))) == Became()
    assert len(database.ids(table)) == 2
