"""The suites on what real stores stage: green when they keep their promises, red when staging or dataset break one."""

from __future__ import annotations

import io
import secrets
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

from lethe.checks import suites
from lethe.checks.results import Validation
from lethe.errors import DatasetChanged
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
    return Settings(policies=root / "include/policies", expectations=root / "expectations", home=tmp_path / "home")


def red(settings: Settings, validation: Validation) -> dict[str, int | None]:
    """The expectations that do not hold, by name, with how many rows break them."""
    category = validation.suite.partition(".")[0]
    names = {
        one["id"]: one["meta"]["lethe"]["name"]
        for name in ("candidates", "count", "left")
        for one in suites.load(settings, category, name, by_value=False)["expectations"]
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


def test_periods_by_value_are_checked_row_by_row(
    settings: Settings, database: sql_kit.Database, tmp_path: Path
) -> None:
    from lethe.checks import generate

    folder = tmp_path / "suites"
    for name in generate.SUITES:
        path = folder / "leads" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(generate.render(generate.suite("leads", name, by_value=True)))
    settings = replace(settings, expectations=folder)
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
