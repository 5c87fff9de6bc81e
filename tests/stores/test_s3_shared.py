"""What bucket stores share: reading listings and clocks, matching holds, staging, clients and messages."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from urllib.parse import quote_plus
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError
from botocore.parsers import ResponseParserError
from hypothesis import given
from hypothesis import strategies as st

from lethe.connections import Connection
from lethe.errors import ConnectionMissing, StoreError, StoreUnavailable
from lethe.holds.rules import ClockRange, HoldRule, HoldRules
from lethe.judging.dates import TimestampFormat
from lethe.judging.identifiers import IdentifierType, normalise
from lethe.judging.spans import span_of
from lethe.stores.buckets.client import S3Access
from lethe.stores.buckets.errors import Operation, fate_unknown, translate
from lethe.stores.buckets.listing import Listing, Record, Version, parse_page
from lethe.stores.buckets.staging import BucketStaging, pack, unpack
from lethe.stores.objects.matching import ObjectMatcher
from lethe_demo.servers import EmbeddedS3

PLACE = Operation("s3", "bucket", "do it")
PRAGUE = ZoneInfo("Europe/Prague")


# --- clocks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "form", "clock"),
    [
        ("2026-02-28", TimestampFormat.ISO_8601, date(2026, 2, 28)),
        (" 2026-02-28 ", TimestampFormat.ISO_8601, date(2026, 2, 28)),
        ("2026-02-28T10:00:00+02:00", TimestampFormat.ISO_8601, datetime(2026, 2, 28, 8, tzinfo=UTC)),
        ("2026-07-01T00:00:00", TimestampFormat.ISO_8601, datetime(2026, 6, 30, 22, tzinfo=UTC)),
        # 02:30 happens twice when summer time ends: the later one counts, and never the earlier.
        ("2026-10-25T02:30:00", TimestampFormat.ISO_8601, datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
        # 02:30 does not happen when it starts.
        ("2026-03-29T02:30:00", TimestampFormat.ISO_8601, datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
        ("1700000000", TimestampFormat.EPOCH_SECONDS, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        ("2024", TimestampFormat.YEAR, date(2024, 12, 31)),
    ],
)
def test_a_clock_is_read(text: str, form: TimestampFormat, clock: date | datetime) -> None:
    span = span_of({"value": text}, form)
    assert span is not None
    assert span.placed(PRAGUE, PRAGUE).last == clock


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("2026-02-30", TimestampFormat.ISO_8601),
        ("28.2.2026", TimestampFormat.ISO_8601),
        ("9999-12-31T23:59:59-12:00", TimestampFormat.ISO_8601),
        ("nan", TimestampFormat.EPOCH_SECONDS),
        ("1e300", TimestampFormat.EPOCH_SECONDS),
        ("٢٠٢٤", TimestampFormat.YEAR),
        ("0000", TimestampFormat.YEAR),
    ],
)
def test_a_clock_that_cannot_be_read_is_none(text: str, form: TimestampFormat) -> None:
    assert span_of({"value": text}, form) is None


def test_last_modification_is_the_end_of_its_second() -> None:
    whole = Version("k", "v", "", "2026-01-01T00:00:00Z", 0, False)
    assert whole.modified_at == datetime(2026, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC)
    assert whole._replace(modified="2026-01-01T00:00:00.250Z").modified_at.microsecond == 250_000


# --- matching -----------------------------------------------------------------------------------------------------


def _rules(kind: IdentifierType, *names: str, clock: ClockRange | None = None) -> HoldRules:
    normalised = {kind: tuple(normalise(kind, name, region="CZ") for name in names)}
    rule = HoldRule("h", "M", 1, False, frozenset({kind}), clock or ClockRange(), lambda: normalised)
    return HoldRules(1, (rule,))


def _holds(rules: HoldRules, kind: IdentifierType, text: str, day: date | None = None) -> bool:
    matcher = ObjectMatcher()
    matcher.prepare(rules)
    return matcher.holds(rules, day, day, {kind: [text]})


EMAIL, PHONE, COMPANY = IdentifierType.EMAIL, IdentifierType.PHONE, IdentifierType.COMPANY


@pytest.mark.parametrize(
    ("kind", "named", "carried", "held"),
    [
        (EMAIL, "ann@example.org", " ANN@Example.ORG ", True),
        (EMAIL, "ann@example.org", "ann%40example.org", True),
        (EMAIL, "ann+news@example.org", "ann+news@example.org", True),
        (EMAIL, "news@example.org", "ann+news@example.org", False),
        (EMAIL, "ann@example.org", "Ann <ann@example.org>", True),
        (EMAIL, "ann@example.org", "joann@example.org", False),
        (EMAIL, "jösef@example.org", "=?UTF-8?Q?j=C3=B6sef=40example=2Eorg?=", True),
        (EMAIL, "ann@example.org", "unknown", False),
        (PHONE, "+420 777 123 456", "00420777123456", True),
        (PHONE, "+420 777 123 456", "777 123 456", True),
        (PHONE, "+420 777 123 456", "777123457", False),
        (COMPANY, "Acme & Co", "acme+%26+co", True),
        (COMPANY, "Acme", "ACME", True),
    ],
)
def test_identifiers_are_compared_in_one_form(kind: IdentifierType, named: str, carried: str, held: bool) -> None:
    assert _holds(_rules(kind, named), kind, carried) is held


def test_a_record_of_unknown_clock_is_in_every_range() -> None:
    rules = _rules(EMAIL, "ann@example.org", clock=ClockRange(date(2026, 1, 1), date(2026, 1, 31)))
    assert _holds(rules, EMAIL, "ann@example.org", date(2026, 1, 31))
    assert not _holds(rules, EMAIL, "ann@example.org", date(2026, 2, 1))
    assert _holds(rules, EMAIL, "ann@example.org", None)


def test_identifiers_are_loaded_once_and_before_they_are_compared() -> None:
    loads: list[int] = []

    def load() -> dict[IdentifierType, tuple[str, ...]]:
        loads.append(1)
        return {EMAIL: ("ann@example.org",)}

    rules = HoldRules(1, (HoldRule("h", "M", 1, False, frozenset({EMAIL}), load=load),))
    matcher = ObjectMatcher()
    assert not matcher.ready(rules)
    matcher.prepare(rules)
    matcher.prepare(rules)
    assert matcher.ready(rules)
    assert loads == [1]


# --- listings -----------------------------------------------------------------------------------------------------


def _answer(*entries: str, encoded: bool = False, more: str = "") -> bytes:
    encoding = "<EncodingType>url</EncodingType>" if encoded else ""
    truncated = f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{more}"
    return f"<R xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>{encoding}{truncated}{''.join(entries)}</R>".encode()


def _entry(key: str, version: str = "v1") -> str:
    return (
        f"<Version><Key>{escape(key)}</Key><VersionId>{version}</VersionId><ETag>&quot;e&quot;</ETag><Size>3</Size>"
        "<LastModified>2026-01-01T00:00:00Z</LastModified><IsLatest>true</IsLatest></Version>"
    )


def test_keys_that_s3_encodes_come_back_as_they_are() -> None:
    key = "a b+c%41/\x01\x02é"
    page = parse_page(_answer(_entry(quote_plus(key)), encoded=True))
    assert page is not None
    assert page.versions == (Version(key, "v1", '"e"', "2026-01-01T00:00:00Z", 3, False),)
    assert Record(key, page.versions).readable


@pytest.mark.parametrize("body", [b"", b"<R>", b"{}", b"<Error><Code>InternalError</Code></Error>"])
def test_an_answer_that_is_cut_off_is_left_to_botocore_to_try_again(body: bytes) -> None:
    assert parse_page(body) is None


@pytest.mark.parametrize("body", [b"<R/>", _answer("<Version/>"), _answer(more=" ")])
def test_an_answer_that_is_not_a_listing_is_refused(body: bytes) -> None:
    with pytest.raises(ResponseParserError):
        parse_page(body)


@pytest.fixture
def access(s3: EmbeddedS3) -> S3Access:
    return S3Access.open(s3.connection("s3"))


@pytest.fixture
def bucket(access: S3Access) -> str:
    name = f"t-{secrets.token_hex(6)}"
    access.client.create_bucket(Bucket=name)
    return name


@pytest.mark.parametrize("by_folder", [True, False])
def test_a_walk_gives_every_key_once_and_in_order(
    access: S3Access, bucket: str, by_folder: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also as on servers that need no walking by folders: these keys have no name that SeaweedFS mixes up."""
    keys = [*sorted(f"p/{folder}/{sub}/{n}" for folder in "abc" for sub in ("x", "y z") for n in range(200)), "p/zz"]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: access.client.put_object(Bucket=bucket, Key=key, Body=b"1"), keys))
    listing = Listing(access.lister, bucket, PLACE)
    real = Listing.page

    def page(self: Listing, prefix: str, **options: object) -> object:
        return real(self, prefix, **options)._replace(by_folder=by_folder)  # type: ignore[arg-type]

    monkeypatch.setattr(Listing, "page", page)
    with ThreadPoolExecutor(4) as pool:
        assert [record.key for record in listing.walk("p/", pool, without="_lethe/")] == keys
        assert [record.key for record in listing.walk("p/b/", pool, without="p/b/x/")] == keys[600:800]
        found = listing.between(keys[100], keys[250], keys[99], 3)
        assert [record.key for record in found][:151] == keys[100:251]
    assert listing.one("p/zz") is not None
    assert listing.one("p/z") is None


# --- staging ------------------------------------------------------------------------------------------------------


def test_of_two_conditional_changes_one_is_made(access: S3Access, bucket: str) -> None:
    staging = BucketStaging(access, bucket, "run-1", "d")
    with ThreadPoolExecutor(8) as pool:
        tags = list(pool.map(lambda n: staging.create("x", b"%d" % n), range(8)))
    assert sum(tag is not None for tag in tags) == 1
    etag = next(tag for tag in tags if tag is not None)
    with ThreadPoolExecutor(8) as pool:
        changed = list(pool.map(lambda n: staging.replace("x", b"new %d" % n, etag), range(8)))
    assert sum(tag is not None for tag in changed) == 1
    assert staging.replace("missing", b"x", etag) is None


def test_writing_the_same_again_counts_as_written(access: S3Access, bucket: str) -> None:
    """The answer to a write can get lost, and the client writes again."""
    staging = BucketStaging(access, bucket, "run-1", "d")
    assert staging.create("x", b"mine") == staging.create("x", b"mine") is not None
    assert staging.create("x", b"theirs") is None
    assert staging.get("x") == b"mine"
    assert staging.get("y") is None
    assert list(staging.names()) == ["x"]
    staging.clear()
    assert list(staging.names()) == []


@given(st.lists(st.dictionaries(st.text(), st.integers() | st.text())))
def test_rows_are_packed_and_unpacked_unchanged(rows: list[object]) -> None:
    assert unpack(pack(rows)) == rows
    assert pack(rows) == pack(rows)


def test_something_else_is_not_unpacked() -> None:
    with pytest.raises(ValueError, match="not gzip"):
        unpack(b"something else")


# --- clients and messages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("connection", "message"),
    [
        (Connection("c", "postgres"), "type 'postgres'"),
        (Connection("c", "aws", extra={"lethe_scratch_prefix": "/"}), "lethe_scratch_prefix"),
        (Connection("c", "aws", extra={"profile_name": "no-such-profile"}), "ProfileNotFound"),
    ],
)
def test_a_connection_that_cannot_be_used_is_refused(connection: Connection, message: str) -> None:
    with pytest.raises(ConnectionMissing, match=message):
        S3Access.open(connection)


def test_keys_may_be_in_the_extra_and_requests_are_bounded(s3: EmbeddedS3) -> None:
    access_key, secret = s3.keys
    extra = {
        "aws_access_key_id": access_key,
        "aws_secret_access_key": secret,
        "region_name": "us-east-1",
        "service_config": {"s3": {"endpoint_url": s3.endpoint}},
        "config_kwargs": {"read_timeout": 9999, "retries": {"total_max_attempts": 99}},
    }
    access = S3Access.open(Connection("c", "aws", extra=extra))
    assert access.client.list_buckets()["ResponseMetadata"]["HTTPStatusCode"] == 200
    leased = access.leased(30.0)
    config = leased.meta.config
    assert config.connect_timeout + config.read_timeout < 30.0  # type: ignore[attr-defined]
    assert config.retries["total_max_attempts"] == 1  # type: ignore[attr-defined]
    leased.close()
    access.close()


def _client_error(code: str, status: int = 400) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": "secret-key"}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "DeleteObjects",
    )


@pytest.mark.parametrize(
    ("error", "passing", "message"),
    [
        (_client_error("NoSuchBucket", 404), False, "there is no such bucket"),
        (_client_error("SignatureDoesNotMatch", 403), False, "credentials"),
        (_client_error("AccessDenied", 403), False, "may not do it"),
        (_client_error("SlowDown", 503), True, "now"),
        (_client_error("WhateverElse", 500), True, "now"),
        (_client_error("MalformedXML"), False, "refused"),
        (ConnectTimeoutError(endpoint_url="http://secret-key"), True, "cannot be reached"),
        (EndpointConnectionError(endpoint_url="http://secret-key"), True, "cannot be reached"),
        (ReadTimeoutError(endpoint_url="http://secret-key"), True, "in time"),
        (ConnectionResetError("secret-key"), True, "broke off"),
    ],
)
def test_messages_name_connection_and_bucket_and_no_key(error: Exception, passing: bool, message: str) -> None:
    translated = translate(error, PLACE)
    assert isinstance(translated, StoreError)
    assert isinstance(translated, StoreUnavailable) is passing
    assert str(translated).startswith("connection s3, bucket bucket: ")
    assert message in str(translated)
    assert "secret" not in str(translated)


def test_a_request_without_an_answer_may_still_be_carried_out() -> None:
    assert fate_unknown(ReadTimeoutError(endpoint_url="x"))
    assert fate_unknown(ConnectionResetError())
    assert fate_unknown(_client_error("GatewayTimeout", 504))
    assert not fate_unknown(_client_error("SlowDown", 503))
    assert not fate_unknown(EndpointConnectionError(endpoint_url="x"))
