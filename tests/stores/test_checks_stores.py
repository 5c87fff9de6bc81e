"""The suites on what real stores stage: green when they keep their promises, red when staging or dataset break one."""

from __future__ import annotations

import io
import json
import secrets
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from tests.stores import sql_kit

from lethe.checks import generate, pages, suites
from lethe.checks.results import Validation
from lethe.errors import DatasetChanged, StoreError
from lethe.holds.rules import NO_HOLDS
from lethe.periods import Period, cutoff_for
from lethe.policy import Expiry, Limits, ObjectDataset, ParquetDataset
from lethe.settings import Settings
from lethe.stores.base import Candidates, Store, Work
from lethe.stores.files.store import FileStore
from lethe.stores.objects import S3ObjectStore
from lethe_demo.servers import EmbeddedS3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LIMITS = Limits(records=1_000_000, share=1)
CANARY = f"canary-{secrets.token_hex(6)}"
STRICTER = Expiry(zone=sql_kit.PRAGUE, default=cutoff_for(sql_kit.AS_OF, sql_kit.PRAGUE, Period.parse("P2Y")))
"""Under it, records between two years and eighteen months old have not expired."""


@pytest.fixture
def settings(tmp_path: Path, root: Path) -> Settings:
    (tmp_path / "expectations").mkdir()
    return Settings(policies=root / "include/policies", expectations=tmp_path / "expectations", home=tmp_path / "home")


def red(settings: Settings, validation: Validation) -> dict[str, int | None]:
    """The expectations that do not hold, by name, with how many rows break them."""
    category = validation.suite.partition(".")[0]
    names = {
        one["id"]: one["meta"]["lethe"]["name"]
        for name in ("candidates", "count", "left")
        for one in generate.suite(category, name, by_value=True)["expectations"]
    }
    return {names[result.id]: result.unexpected for result in validation.results if not result.success}


# --- tables ---------------------------------------------------------------------------------------------------------


def leads(database: sql_kit.Database, **extra: Any) -> sa.Table:  # noqa: ANN401
    """Thirty leads, twenty of which have expired, two of them under a hold of `HOLD`; and three without a date."""
    days = [datetime(2024, 1, 1, 12, tzinfo=UTC) + timedelta(days=n) for n in range(19)]
    days += [datetime(2025, 5, 20, 21, 59, tzinfo=UTC), *[datetime(2025, 5, 20, 22, tzinfo=UTC)] * 10]
    rows = [{"id": n, "email": f"{CANARY}-{n}@example.org", "last_contact": day} for n, day in enumerate(days)]
    rows += [{"id": 100 + n, "email": None, "last_contact": None} for n in range(3)]
    return database.leads(rows, **extra)


HELD = sql_kit.holding(sql_kit.hold(email=[f"{CANARY}-3@example.org", f"{CANARY}-4@example.org"]))


def checked(settings: Settings, store: Store, job: Work, found: Candidates) -> dict[str, int | None]:
    return red(settings, suites.check_candidates(settings, store, job, found, LIMITS))


def test_candidates_of_a_table_pass(settings: Settings, database: sql_kit.Database) -> None:
    leads(database)
    job = sql_kit.work()
    found = database.store.discover(job, HELD)
    assert (found.due, found.held) == (18, 2)
    assert checked(settings, database.store, job, found) == {}


def test_a_table_with_nothing_expired_passes(settings: Settings, database: sql_kit.Database) -> None:
    database.leads()
    job = sql_kit.work()
    assert checked(settings, database.store, job, database.store.discover(job, NO_HOLDS)) == {}
    assert red(settings, suites.check_left(settings, job, database.store.survey(job, NO_HOLDS))) == {}


def test_candidates_that_have_not_expired_are_found_by_their_own_days(
    settings: Settings, database: sql_kit.Database
) -> None:
    """Promise 1: the check counts days, and does not repeat the comparison that found the candidates."""
    leads(database)
    job = sql_kit.work()
    found = database.store.discover(job, NO_HOLDS)
    assert checked(settings, database.store, replace(job, expiry=STRICTER), found) == {"clock-before-cutoff": 1}


def test_records_with_a_constant_in_place_of_a_value_are_known_again(
    settings: Settings, database: sql_kit.Database
) -> None:
    expired = datetime(2024, 1, 1, 12, tzinfo=UTC)
    database.leads([{"id": n, "email": f"{CANARY}-{n}@example.org", "last_contact": expired} for n in range(20)])
    job = sql_kit.anonymise(sql_kit.dataset(masks=[{"column": "email", "with": "constant", "value": "gone"}]))
    assert sql_kit.run_through(database, job).anonymised == 20
    assert red(settings, suites.check_left(settings, job, database.store.survey(job, NO_HOLDS))) == {}


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ("UPDATE {k} SET key_0 = 5 WHERE key_0 = 6", {"key-unique": 2}),
        ("UPDATE {k} SET key_0 = NULL WHERE key_0 = 6", {"key-not-null": 1}),
        ("UPDATE {k} SET clock = NULL WHERE key_0 = 6", {"clock-not-null": 1}),
        ("UPDATE {k} SET clock = '2025-05-21 12:00:00+02' WHERE key_0 = 6", {"clock-before-cutoff": 1}),
        ("UPDATE {k} SET clock = '1970-01-01 00:00:00+00' WHERE key_0 = 6", {"clock-plausible": 1}),
        ("UPDATE {k} SET held = NULL WHERE key_0 = 6", {"held-known": 1}),
        ("UPDATE {k} SET held = false WHERE key_0 = 3", {"as-discovered": None}),
        ("UPDATE {k} SET held = true WHERE key_0 = 6", {"as-discovered": None}),
        ("DELETE FROM {k} WHERE key_0 = 6", {"as-discovered": None}),
    ],
)
def test_staging_that_was_changed_is_found(
    settings: Settings, database: sql_kit.Database, broken: str, expected: dict[str, int | None]
) -> None:
    leads(database)
    job = sql_kit.work()
    found = database.store.discover(job, HELD)
    (keys,) = (name for name in database.tables() if name.split(".")[-1].rpartition("k_")[2] == found.reference)
    if not database.is_postgres:
        broken = broken.replace(" 12:00:00+02", "").replace(" 00:00:00+00", "")
    schema, _, table = keys.partition(".")
    database.run_text(broken.format(k=f'"{schema}"."{table}"'))
    assert checked(settings, database.store, job, found) == expected


def test_a_lead_that_wrote_again_since_discovery_stops_nothing(settings: Settings, database: sql_kit.Database) -> None:
    """Erasing leaves it out; the check is of what was discovered."""
    table = leads(database)
    job = sql_kit.work()
    found = database.store.discover(job, NO_HOLDS)
    database.do(
        sa.update(table).where(table.c.id == 5).values(last_contact=datetime(2026, 11, 1, tzinfo=UTC)),
        sa.delete(table).where(table.c.id == 6),
    )
    assert checked(settings, database.store, job, found) == {}


def test_staging_that_is_gone_has_to_be_discovered_again(settings: Settings, database: sql_kit.Database) -> None:
    leads(database)
    job = sql_kit.work()
    found = database.store.discover(job, NO_HOLDS)
    database.store.clean(job.run, job.dataset)
    with pytest.raises(DatasetChanged):
        suites.check_candidates(settings, database.store, job, found, LIMITS)


CLOCKS = {
    "date": (sa.Date, date(2025, 5, 20), {}),
    "naive": (sa.DateTime, datetime(2025, 5, 20, 23, 59), {}),  # noqa: DTZ001 - local time
    "naive elsewhere": (sa.DateTime, datetime(2025, 5, 21, 6, 59), {"time_zone": "Asia/Tokyo"}),  # noqa: DTZ001
    "text": (sa.Text, "2025-05-20T23:59:59+02:00", {"format": "iso8601"}),
    "text elsewhere": (sa.Text, "2025-05-21T06:59:59", {"format": "iso8601", "time_zone": "Asia/Tokyo"}),
    "text of a day": (sa.Text, "2025-05-20", {"format": "iso8601", "time_zone": "Asia/Tokyo"}),
    "seconds": (sa.BigInteger, 1747778399, {"format": "epoch_seconds"}),
    "year": (sa.Integer, 2024, {"format": "year"}),
}


@pytest.mark.parametrize("written", CLOCKS)
def test_clocks_of_every_kind_are_counted_in_the_policys_days(
    settings: Settings, database: sql_kit.Database, written: str
) -> None:
    """On the last moment that has expired, so that an hour or a day more would turn the suite red."""
    kind, last, clock = CLOCKS[written]
    database.leads([{"id": 1, "email": None, "last_contact": last}], clock=kind())
    of = sql_kit.dataset(clock={"column": "last_contact", **clock})
    job = sql_kit.work(of)
    found = database.store.discover(job, NO_HOLDS)
    assert found.due == 1
    assert checked(settings, database.store, job, found) == {}
    assert checked(settings, database.store, replace(job, expiry=STRICTER), found) == {"clock-before-cutoff": 1}


def test_the_latest_of_several_clocks_is_what_is_checked(settings: Settings, database: sql_kit.Database) -> None:
    rows = [
        {"id": 1, "last_contact": datetime(2020, 1, 1, tzinfo=UTC), "replied": datetime(2025, 5, 1, tzinfo=UTC)},
        {"id": 2, "last_contact": datetime(2020, 1, 1, tzinfo=UTC), "replied": None},
    ]
    database.leads(rows, replied=database.moment)
    job = sql_kit.work(sql_kit.dataset(clock={"latest_of": ["last_contact", "replied"]}))
    found = database.store.discover(job, NO_HOLDS)
    assert found.due == 2
    assert checked(settings, database.store, job, found) == {}
    assert checked(settings, database.store, replace(job, expiry=STRICTER), found) == {"clock-before-cutoff": 1}


def test_keys_of_several_columns_are_told_apart(settings: Settings, database: sql_kit.Database) -> None:
    table = database.create(
        "guests",
        sa.Column("event", sa.Text, primary_key=True),
        sa.Column("guest", sa.Text, primary_key=True),
        sa.Column("day", sa.Date, index=True),
    )
    pairs = [("a", "b c"), ("a b", "c"), ("a 1", "b"), ("a", "1 b")]
    database.insert(table, [{"event": event, "guest": guest, "day": date(2020, 1, 1)} for event, guest in pairs])
    of = sql_kit.dataset(table="guests", key=["event", "guest"], clock={"column": "day"}, identifiers={})
    job = sql_kit.work(of)
    found = database.store.discover(job, NO_HOLDS)
    assert checked(settings, database.store, job, found) == {}


def test_periods_by_value_are_checked_row_by_row(settings: Settings, database: sql_kit.Database) -> None:
    rows = [
        {"id": n, "last_contact": datetime(2024, 1, 1, tzinfo=UTC), "country": country}
        for n, country in enumerate(["CZ", "DE", None, "CZ"])
    ]
    database.leads(rows, country=sa.Text())
    five = cutoff_for(sql_kit.AS_OF, sql_kit.PRAGUE, Period.parse("P1Y"))
    expiry = Expiry(sql_kit.PRAGUE, default=sql_kit.EXPIRY.default, column="country", by_value={"CZ": five})
    job = sql_kit.work(expiry=expiry)
    found = database.store.discover(job, NO_HOLDS)
    assert found.due == 4
    assert suites.check_candidates(settings, database.store, job, found, LIMITS).success
    longer = cutoff_for(sql_kit.AS_OF, sql_kit.PRAGUE, Period.parse("P5Y"))
    wrong = replace(job, expiry=replace(expiry, by_value={"CZ": longer}))
    failures = suites.check_candidates(settings, database.store, wrong, found, LIMITS).failures
    assert [(one.type, one.unexpected) for one in failures] == [("expect_column_pair_values_a_to_be_greater_than_b", 2)]


def test_what_is_left_in_a_table_is_red_by_what_verifying_counted(
    settings: Settings, database: sql_kit.Database
) -> None:
    table = leads(database)
    job = sql_kit.work()
    sql_kit.run_through(database, job, HELD)
    validation = suites.check_left(settings, job, database.store.survey(job, HELD))
    assert red(settings, validation) == {"all-judged": None}
    assert validation.success
    database.insert(table, [{"id": 7, "email": None, "last_contact": datetime(2020, 1, 1, tzinfo=UTC)}])
    validation = suites.check_left(settings, job, database.store.survey(job, HELD))
    assert red(settings, validation) == {"nothing-due-left": None, "all-judged": None}
    assert not validation.success


def test_nothing_of_the_checks_stays_in_the_database(settings: Settings, database: sql_kit.Database) -> None:
    leads(database)
    job = sql_kit.work()
    found = database.store.discover(job, NO_HOLDS)
    before = database.tables()
    checked(settings, database.store, job, found)
    assert database.tables() == before
    database.store.clean(job.run, job.dataset)


# --- buckets --------------------------------------------------------------------------------------------------------


@dataclass
class Bucket:
    """A bucket without versioning, with a client to it."""

    server: EmbeddedS3
    client: S3Client
    name: str

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)


@pytest.fixture
def bucket(s3: EmbeddedS3) -> Iterator[Bucket]:
    client, name = s3.client(), f"checks-{secrets.token_hex(4)}"
    client.create_bucket(Bucket=name)
    yield Bucket(s3, client, name)
    keys = [
        item["Key"]
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=name)
        for item in page.get("Contents", ())
    ]
    for key in keys:
        client.delete_object(Bucket=name, Key=key)
    client.delete_bucket(Bucket=name)


def object_work(bucket: Bucket, expiry: Expiry = sql_kit.EXPIRY) -> Work:
    dataset = ObjectDataset.model_validate(
        {
            "kind": "objects", "name": "chats", "store": "lake", "bucket": bucket.name, "prefix": "chats/",
            "clock": {"key": "/date=(?P<value>[^/]+)/"},
        }
    )  # fmt: skip
    return Work(run="leads-1", category="leads", dataset=dataset, expiry=expiry, as_of=sql_kit.AS_OF)


def test_candidates_of_a_bucket_are_checked(settings: Settings, bucket: Bucket) -> None:
    for number, day in enumerate(["2020-01-01", "2025-05-20", "2025-05-21", "someday"]):
        bucket.put(f"chats/date={day}/{CANARY}-{number}.txt", CANARY.encode())
    store, job = S3ObjectStore(bucket.server.connection("lake")), object_work(bucket)
    found = store.discover(job, NO_HOLDS)
    assert found.due == 2
    assert checked(settings, store, job, found) == {}
    assert checked(settings, store, object_work(bucket, STRICTER), found) == {"clock-before-cutoff": 1}
    assert checked(settings, store, job, found.model_copy(update={"expired": 3})) == {"as-discovered": None}
    left = store.survey(job, NO_HOLDS)
    assert red(settings, suites.check_left(settings, job, left)) == {
        "nothing-due-left": None,
        "all-judged": None,
    }
    store.clean(job.run, job.dataset)
    with pytest.raises(DatasetChanged):
        checked(settings, store, job, found)
    written = "".join(path.read_text() for path in settings.home.rglob("*.*") if path.is_file())
    assert CANARY not in written
    store.close()


def parquet_work(bucket: Bucket, expiry: Expiry = sql_kit.EXPIRY, **clock: Any) -> Work:  # noqa: ANN401
    dataset = ParquetDataset.model_validate(
        {
            "kind": "parquet", "name": "views", "store": "lake", "bucket": bucket.name, "prefix": "views/",
            "key": ["id"], "clock": clock or {"column": "at"},
        }
    )  # fmt: skip
    return Work(run="analytics-1", category="analytics", dataset=dataset, expiry=expiry, as_of=sql_kit.AS_OF)


def views(*moments: datetime | None) -> bytes:
    out = io.BytesIO()
    columns = {
        "id": pa.array(range(len(moments)), pa.int64()),
        "at": pa.array(moments, pa.timestamp("us", "UTC")),
        "page": pa.array([CANARY] * len(moments)),
    }
    pq.write_table(pa.table(columns), out, row_group_size=3)
    return out.getvalue()


LAST = datetime(2025, 5, 20, 21, 59, 59, 999_999, tzinfo=UTC)
"""The last moment of 20 May 2025 in Prague."""


def test_rows_of_parquet_files_are_checked_by_their_clocks_read_anew(settings: Settings, bucket: Bucket) -> None:
    old = datetime(2020, 1, 1, tzinfo=UTC)
    following = LAST + timedelta(microseconds=1)
    bucket.put("views/1.parquet", views(old, old, LAST, following, None, old))
    bucket.put("views/2.parquet", views(*[old] * 7))
    bucket.put("views/3.parquet", views(following))
    store, job = FileStore(bucket.server.connection("lake")), parquet_work(bucket)
    found = store.discover(job, NO_HOLDS)
    assert found.due == 11
    assert checked(settings, store, job, found) == {}
    assert checked(settings, store, parquet_work(bucket, STRICTER), found) == {"clock-before-cutoff": 1}
    assert checked(settings, store, job, found.model_copy(update={"expired": 12})) == {"as-discovered": None}
    bucket.put("views/2.parquet", views(following))
    with pytest.raises(DatasetChanged) as caught:
        checked(settings, store, job, found)
    assert "views/2" not in str(caught.value)
    store.clean(job.run, job.dataset)
    store.close()
    written = "".join(path.read_text() for path in settings.home.rglob("*.*") if path.is_file())
    assert CANARY not in written


# --- what was added, on columns of the dataset ------------------------------------------------------------------------


def add(settings: Settings, job: Work, *expectations: dict[str, Any]) -> None:
    path = settings.expectations / job.category / f"{job.dataset.name}.json"
    path.parent.mkdir(exist_ok=True)
    usual = {"description": "It is so.", "severity": "critical"}
    given = [{**usual, "id": str(uuid.uuid4()), **one} for one in expectations]
    path.write_text(json.dumps({"name": f"{job.category}.{job.dataset.name}", "expectations": given}))


def expect(kind: str, severity: str = "critical", **arguments: object) -> dict[str, Any]:
    return {"type": f"expect_column_{kind}", "kwargs": arguments, "severity": severity}


def own(validation: Validation) -> list[tuple[str | None, bool, int | None]]:
    """What was said of each column by what was added."""
    return [(result.column, result.success, result.unexpected) for result in validation.results[10:]]


def of_leads(database: sql_kit.Database) -> tuple[sa.Table, Work]:
    rows = [
        {
            "id": n,
            "email": f"{CANARY}-{n}@example.org",
            "last_contact": datetime(2024, 1, 1, 12, tzinfo=UTC) if n < 20 else sql_kit.AS_OF,
            "role": ["Founder", "Support Lead"][n % 2] if n != 25 else "Unheard-of",
            "from_day": date(2023, 1, 1),
            "to_day": date(2023, 1, 2),
            "size": n,
        }
        for n in range(30)
    ]
    columns = {"role": sa.Text(), "from_day": sa.Date(), "to_day": sa.Date(), "size": sa.Integer()}
    return database.leads(rows, **columns), sql_kit.work()


ROLES = expect("values_to_be_in_set", column="role", value_set=["Founder", "Support Lead"])
OF_EVERY_TYPE = [
    ROLES,
    expect("values_to_not_be_in_set", column="role", value_set=["Owner"]),
    expect("values_to_be_between", column="from_day", max_value={"$PARAMETER": "as_of"}),
    expect("values_to_be_between", column="last_contact", max_value={"$PARAMETER": "as_of"}),
    expect("values_to_be_between", column="size", min_value=0, max_value=19),
    expect("values_to_not_be_null", column="role"),
    expect("values_to_match_regex", column="role", regex="^[A-Z]"),
    expect("values_to_not_match_regex", column="role", regex="[0-9]"),
    expect("value_lengths_to_be_between", column="role", min_value=3, max_value=20),
    expect("pair_values_a_to_be_greater_than_b", column_A="to_day", column_B="from_day"),
    expect("pair_values_to_be_equal", column_A="id", column_B="size"),
]


def test_what_was_added_is_checked_on_the_columns_of_what_is_to_go(
    settings: Settings, database: sql_kit.Database
) -> None:
    table, job = of_leads(database)
    add(settings, job, *OF_EVERY_TYPE, expect("values_to_be_null", "warning", column="role"))
    found = database.store.discover(job, HELD)
    validation = suites.check_candidates(settings, database.store, job, found, LIMITS)
    assert validation.success
    assert own(validation)[:-1] == [
        *(("role", True, 0),) * 2, ("from_day", True, 0), ("last_contact", True, 0), ("size", True, 0),
        *(("role", True, 0),) * 4, ("to_day, from_day", True, 0), ("id, size", True, 0),
    ]  # fmt: skip
    assert own(validation)[-1] == ("role", False, 18), "reported, and stops nothing: neither held nor unexpired rows"
    page = pages.docs_path(settings, job.category, job.run, job.dataset.name).read_text()
    assert page.count("It is so.") == len(OF_EVERY_TYPE) + 1, "Data Docs say what was added, and what became of it"
    database.do(sa.update(table).where(table.c.id == 7).values(role=f"{CANARY}-Wizard", size=-1))
    validation = suites.check_candidates(settings, database.store, job, found, LIMITS)
    wrong = {result.type: result.unexpected for result in validation.failures}
    assert wrong == {
        "expect_column_values_to_be_in_set": 1,
        "expect_column_values_to_be_between": 1,
        "expect_column_values_to_match_regex": 1,
        "expect_column_values_to_not_match_regex": 1,
        "expect_column_value_lengths_to_be_between": 1,
        "expect_column_pair_values_to_be_equal": 1,
    }
    written = "".join(path.read_text() for path in settings.home.rglob("*.*") if path.is_file())
    assert CANARY not in written + validation.model_dump_json()
    assert "Unheard-of" not in written


def test_most_records_may_be_enough(settings: Settings, database: sql_kit.Database) -> None:
    table, job = of_leads(database)
    database.do(sa.update(table).where(table.c.id == 7).values(role="Wizard"))
    found = database.store.discover(job, NO_HOLDS)
    for mostly, holds in ((0.95, True), (0.951, False)):
        add(settings, job, {**ROLES, "kwargs": {**ROLES["kwargs"], "mostly": mostly}})
        validation = suites.check_candidates(settings, database.store, job, found, LIMITS)
        assert own(validation) == [("role", holds, 1)]


def test_a_column_that_is_not_there_is_named_with_the_file(settings: Settings, database: sql_kit.Database) -> None:
    _, job = of_leads(database)
    add(settings, job, {**ROLES, "kwargs": {"column": "rolle", "value_set": []}})
    found = database.store.discover(job, NO_HOLDS)
    with pytest.raises(StoreError, match=r"leads/leads\.json: leads: table \S+ has no column rolle"):
        suites.check_candidates(settings, database.store, job, found, LIMITS)


def test_the_earliest_plausible_day_is_that_of_the_dataset(settings: Settings, database: sql_kit.Database) -> None:
    _, job = of_leads(database)
    add(settings, job)
    path = settings.expectations / "leads/leads.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "meta": {"lethe": {"earliest": "2024-01-02"}}}))
    found = database.store.discover(job, NO_HOLDS)
    assert checked(settings, database.store, job, found) == {"clock-plausible": 20}


def test_what_was_added_is_checked_of_objects(settings: Settings, bucket: Bucket) -> None:
    for number, day in enumerate(["2020-01-01", "2025-05-20", "2025-05-21"]):
        bucket.put(f"chats/date={day}/{CANARY}-{number}.txt", b"x" * (100 * number))
    store, job = S3ObjectStore(bucket.server.connection("lake")), object_work(bucket)
    add(
        settings, job,
        expect("values_to_be_between", column="size", min_value=1),
        expect("values_to_match_regex", column="key", regex=r"\.txt$"),
        expect("values_to_be_between", column="last_modified", min_value="2020-01-01T00:00:00+00:00"),
    )  # fmt: skip
    found = store.discover(job, NO_HOLDS)
    validation = suites.check_candidates(settings, store, job, found, LIMITS)
    assert own(validation) == [("size", False, 1), ("key", True, 0), ("last_modified", True, 0)]
    add(settings, job, expect("values_to_not_be_null", column="tags"))
    with pytest.raises(StoreError, match="objects have no column tags: name key, size, last_modified"):
        suites.check_candidates(settings, store, job, found, LIMITS)
    store.clean(job.run, job.dataset)
    store.close()


def test_what_was_added_is_checked_of_rows_in_files(
    settings: Settings, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some rows at a time, and as if they were one table."""
    monkeypatch.setattr("lethe.checks.gx._AT_ONCE", 4)
    old = datetime(2020, 1, 1, tzinfo=UTC)
    bucket.put("views/1.parquet", views(old, old, sql_kit.AS_OF, old, None, old))
    bucket.put("views/2.parquet", views(*[old] * 7))
    store, job = FileStore(bucket.server.connection("lake")), parquet_work(bucket)
    add(
        settings, job,
        expect("values_to_be_in_set", column="page", value_set=[CANARY]),
        expect("values_to_be_between", column="at", max_value={"$PARAMETER": "as_of"}),
        expect("values_to_be_between", column="id", max_value=5),
        expect("values_to_be_between", column="id", max_value=5, mostly=0.9),
        expect("values_to_be_between", column="id", max_value=5, mostly=0.8),
    )  # fmt: skip
    found = store.discover(job, NO_HOLDS)
    assert found.due == 11
    validation = suites.check_candidates(settings, store, job, found, LIMITS)
    assert own(validation) == [
        ("page", True, 0), ("at", True, 0), ("id", False, 1), ("id", True, 1), ("id", True, 1),
    ]  # fmt: skip
    add(settings, job, expect("values_to_not_be_null", column="pages"))
    with pytest.raises(StoreError, match=r"analytics/views\.json: a file has no column pages"):
        suites.check_candidates(settings, store, job, found, LIMITS)
    store.clean(job.run, job.dataset)
    store.close()
    written = "".join(path.read_text() for path in settings.home.rglob("*.*") if path.is_file())
    assert CANARY not in written


# --- names ----------------------------------------------------------------------------------------------------------


def test_datasets_are_named_as_openlineage_names_them(database: sql_kit.Database, bucket: Bucket) -> None:
    from openlineage.client.naming import dataset as naming

    leads(database)
    table = database.store.describe(sql_kit.dataset())
    if database.is_postgres:
        name = str(database.connection.schema)
        wanted = naming.Postgres("localhost", str(database.connection.port or 5432), name, "public", "leads")
        assert (table.namespace, table.name) == (wanted.get_namespace(), wanted.get_name())
    assert [field.name for field in table.fields] == ["id", "email", "last_contact"]
    assert CANARY not in table.model_dump_json()
    bucket.put("views/1.parquet", views(LAST))
    for store, job in ((S3ObjectStore, object_work(bucket)), (FileStore, parquet_work(bucket))):
        opened: Store = store(bucket.server.connection("lake"))
        described = opened.describe(job.dataset)
        wanted_object = naming.S3(bucket.name, f"{job.dataset.name}/")
        assert (described.namespace, described.name) == (wanted_object.get_namespace(), wanted_object.get_name())
        opened.close()
