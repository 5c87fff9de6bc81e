"""Requests inside leases: S3 refuses them afterwards. Promise 2: also of a process that was stopped before it sent."""

# ruff: noqa: ANN401 - boto3's options are of any type
from __future__ import annotations

import multiprocessing
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError, HTTPClientError, ReadTimeoutError
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from tests.stores.lease_kit import Gate

from lethe.connections import Connection
from lethe.errors import ConnectionMissing, StoreUnavailable
from lethe.holds.rules import NO_HOLDS
from lethe.stores.buckets.client import S3Access, write_fast
from lethe.stores.buckets.errors import Operation
from lethe.stores.buckets.leases import S3Lease, ServerClock, take
from lethe_demo.servers import EmbeddedS3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PLACE = Operation("s3", "bucket", "erase")


@dataclass
class Bench:
    """A bucket, a client for leases, and one for looking at what is there."""

    access: S3Access
    leased: S3Client
    bucket: str

    def lease(self, seconds: float = 30.0, ago: float = 0.0) -> S3Lease:
        """A lease that began `ago` seconds before now."""
        self.names()
        started = time.monotonic() - ago
        return S3Lease(NO_HOLDS, started, seconds, self.access.clock.at(started, PLACE), PLACE)

    def names(self) -> list[str]:
        listed = self.access.client.list_objects_v2(Bucket=self.bucket)
        return [entry["Key"] for entry in listed.get("Contents", ())]

    def body(self, key: str) -> bytes:
        return self.access.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()


@pytest.fixture
def bench(s3: EmbeddedS3) -> Iterator[Bench]:
    access = S3Access.open(s3.connection("s3"))
    bucket = f"leases-{secrets.token_hex(6)}"
    access.client.create_bucket(Bucket=bucket)
    leased = access.leased(30.0)
    write_fast(leased)
    yield Bench(access, leased, bucket)
    leased.close()
    access.close()


KEYS = ["a", "b c/d+e=f&g%20ü", "z"]


def _delete_many(bench: Bench) -> None:
    objects: Any = [{"Key": key, "VersionId": "null"} for key in KEYS]
    answer = bench.leased.delete_objects(Bucket=bench.bucket, Delete={"Objects": objects, "Quiet": True})
    assert not answer.get("Errors")


def _delete_each(bench: Bench) -> None:
    for key in KEYS:
        etag = bench.access.client.head_object(Bucket=bench.bucket, Key=key)["ETag"]
        bench.leased.delete_object(Bucket=bench.bucket, Key=key, VersionId="null", IfMatch=etag)


def _put(bench: Bench) -> None:
    for key in KEYS:
        bench.leased.put_object(
            Bucket=bench.bucket, Key=key, Body=b"new" * 1000, ContentType="text/plain", Metadata={"a": "b  c"}
        )


def _complete(bench: Bench) -> None:
    for key in KEYS:
        client = bench.access.client
        upload = client.create_multipart_upload(Bucket=bench.bucket, Key=key)["UploadId"]
        part = client.upload_part(Bucket=bench.bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"new" * 1000)
        bench.leased.complete_multipart_upload(
            Bucket=bench.bucket,
            Key=key,
            UploadId=upload,
            MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
        )


REQUESTS = [_delete_many, _delete_each, _put, _complete]


@pytest.mark.parametrize("request_", REQUESTS)
def test_bodies_are_sent_in_one_piece_with_their_headers(
    bench: Bench, request_: Callable[[Bench], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 takes the body of a request whose headers came in time whenever it comes: there is no moment in between."""
    for key in KEYS:
        bench.access.client.put_object(Bucket=bench.bucket, Key=key, Body=b"old")
    requests: list[Any] = []
    bench.leased.meta.events.register("before-send.s3", lambda request, **_: requests.append(request))
    handed: list[bytes] = []
    sendall = socket.socket.sendall

    def hand_over(self: socket.socket, data: bytes, *flags: int) -> None:
        handed.append(bytes(data))
        sendall(self, data, *flags)

    monkeypatch.setattr(socket.socket, "sendall", hand_over)
    with bench.lease().sending():
        request_(bench)
    mine = [data for data in handed if b"X-Amz-Expires" in data]
    assert len(mine) == len(requests) > 0
    for data, request in zip(mine, requests, strict=True):
        headers, _, body = data.partition(b"\r\n\r\n")
        assert body == (request.body or b"")
        assert b"expect:" not in headers.lower()


@pytest.mark.parametrize("request_", REQUESTS)
def test_requests_within_the_lease_are_carried_out(bench: Bench, request_: Callable[[Bench], None]) -> None:
    for key in KEYS:
        bench.access.client.put_object(Bucket=bench.bucket, Key=key, Body=b"old")
    lease = bench.lease()
    with lease.sending():
        request_(bench)
    assert not lease.unanswered
    if request_ in (_put, _complete):
        assert {key: bench.body(key) for key in bench.names()} == dict.fromkeys(KEYS, b"new" * 1000)
    else:
        assert bench.names() == []


@pytest.mark.parametrize("request_", REQUESTS)
def test_requests_that_reach_s3_after_the_lease_are_refused(bench: Bench, request_: Callable[[Bench], None]) -> None:
    for key in KEYS:
        bench.access.client.put_object(Bucket=bench.bucket, Key=key, Body=b"old")
    with bench.lease(ago=17.0).sending(), pytest.raises(StoreUnavailable, match="after its lease") as caught:
        request_(bench)
    assert caught.value.transient, "it is tried again, in another lease and with the holds of then"
    assert "b c" not in str(caught.value)
    assert {key: bench.body(key) for key in bench.names()} == dict.fromkeys(KEYS, b"old")


def test_a_request_may_be_signed_in_time_and_come_too_late(bench: Bench) -> None:
    """As when the process is stopped right before it sends."""
    bench.access.client.put_object(Bucket=bench.bucket, Key="a", Body=b"old")
    bench.leased.meta.events.register("before-send.s3.DeleteObject", lambda **_: time.sleep(3.2))
    lease = bench.lease(seconds=4.0)
    with lease.sending(), pytest.raises(StoreUnavailable, match="after its lease"):
        bench.leased.delete_object(Bucket=bench.bucket, Key="a")
    assert bench.names() == ["a"]


def test_after_a_suspension_of_the_machine_lateness_is_not_taken_for_a_missing_permission(bench: Bench) -> None:
    """`time.monotonic` stood still meanwhile, so that what was learned of the server's clock is far behind."""
    bench.access.client.put_object(Bucket=bench.bucket, Key="a", Body=b"old")
    lease = bench.lease()
    lease.server_time -= 3600
    with lease.sending(), pytest.raises(StoreUnavailable, match="after its lease"):
        bench.leased.delete_object(Bucket=bench.bucket, Key="a")
    assert bench.names() == ["a"]


def test_outside_of_a_lease_nothing_is_sent(bench: Bench) -> None:
    bench.access.client.put_object(Bucket=bench.bucket, Key="a", Body=b"old")
    with pytest.raises(LookupError):
        bench.leased.delete_object(Bucket=bench.bucket, Key="a")
    assert bench.names() == ["a"]


def test_a_missing_permission_is_not_taken_for_lateness(bench: Bench) -> None:
    wrong = S3Access.open(
        Connection("c", "aws", login="nobody", password="wrong", extra=dict(bench.access.connection.extra))
    ).leased(30.0)
    with bench.lease().sending(), pytest.raises(ClientError):
        wrong.delete_object(Bucket=bench.bucket, Key="a")
    wrong.close()


def test_a_body_that_changed_on_the_way_is_refused(bench: Bench) -> None:
    """The signature says nothing of the body, so its digest does."""

    def change(request: Any, **_: object) -> None:
        request.body = b"other"
        request.headers["Content-Length"] = "5"

    bench.leased.meta.events.register("before-send.s3.PutObject", change)
    with bench.lease().sending(), pytest.raises(ClientError):
        bench.leased.put_object(Bucket=bench.bucket, Key="a", Body=b"mine!")
    assert bench.names() == []


@pytest.mark.parametrize("fault", ["no answer", "gateway"])
def test_a_lease_is_kept_to_its_end_where_a_request_was_not_answered(bench: Bench, fault: str) -> None:
    def fail(**_: object) -> Any:
        if fault == "no answer":
            raise ReadTimeoutError(endpoint_url="x")
        return SimpleNamespace(status_code=504, headers={}, content=b"", text="", raw=None)

    before: Any = fail
    bench.leased.meta.events.register("before-send.s3.DeleteObject", before)
    bench.names()
    gate = Gate(lease_seconds=1.0)
    with (
        pytest.raises((ClientError, ReadTimeoutError)),
        take(gate, bench.access.clock, PLACE) as lease,
        lease.sending(),
    ):
        bench.leased.delete_object(Bucket=bench.bucket, Key="a")
    assert gate.longest >= 0.9


def test_a_lease_is_given_back_at_once_where_every_request_was_answered(bench: Bench) -> None:
    bench.names()
    gate = Gate()
    with take(gate, bench.access.clock, PLACE) as lease, lease.sending():
        bench.leased.delete_object(Bucket=bench.bucket, Key="a")
    assert gate.longest < 5


# --- networks that drip ---------------------------------------------------------------------------------------------

MANY: Any = [{"Key": "a"}, *({"Key": f"{number:0>600}"} for number in range(999))]


@contextmanager
def dripping(server: tuple[str, int], drops: int, context: ssl.SSLContext | None = None) -> Iterator[Drip]:
    """A proxy that passes on, in small drops, what it gets, until it is told to pass on all that still comes."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        drip = Drip(listener.getsockname()[1])
        thread = threading.Thread(target=_drip, args=(listener, server, drip, drops, context))
        thread.start()
        yield drip
        drip.open.set()
        thread.join()


@dataclass
class Drip:
    """Where a dripping proxy listens, when it shall pass on all, and how much it has."""

    port: int
    open: threading.Event = field(default_factory=threading.Event)
    passed: int = 0
    ended: threading.Event = field(default_factory=threading.Event)


def _drip(
    listener: socket.socket, server: tuple[str, int], drip: Drip, drops: int, context: ssl.SSLContext | None
) -> None:
    client = listener.accept()[0]
    client = context.wrap_socket(client, server_side=True) if context else client
    with client, socket.create_connection(server) as onwards, suppress(OSError):
        while data := client.recv(drops):
            onwards.sendall(data)
            drip.passed += len(data)
            drip.open.wait(0.1)
        onwards.settimeout(2)
        onwards.recv(1 << 16)
    drip.ended.set()


def _behind(bench: Bench, endpoint: str) -> S3Access:
    connection = bench.access.connection
    return S3Access.open(replace(connection, extra={**connection.extra, "endpoint_url": endpoint, "verify": False}))


def _server(bench: Bench) -> tuple[str, int]:
    url = urlsplit(str(bench.access.connection.extra["endpoint_url"]))
    return str(url.hostname), int(url.port or 0)


@pytest.mark.parametrize("killed", [False, True], ids=["given up", "killed"])
def test_what_was_not_sent_when_a_request_was_given_up_is_never_sent(bench: Bench, *, killed: bool) -> None:
    """The kernel goes on sending what it has taken, and S3, which has the headers, carries out what comes late."""
    bench.access.client.put_object(Bucket=bench.bucket, Key="a", Body=b"held")
    objects = MANY[:150]
    with dripping(_server(bench), 512) as drip:
        leased = _behind(bench, f"http://127.0.0.1:{drip.port}").leased(2.0 if not killed else 60.0)
        write_fast(leased)
        lease = bench.lease(2.0 if not killed else 60.0)

        def send() -> None:
            with lease.sending(), suppress(HTTPClientError):
                leased.delete_objects(Bucket=bench.bucket, Delete={"Objects": objects[::-1], "Quiet": True})

        if killed:
            process = multiprocessing.get_context("fork").Process(target=send)
            process.start()
            while drip.passed < 4096:
                time.sleep(0.01)
            process.kill()
            process.join()
        else:
            send()
        drip.open.set()
        assert drip.ended.wait(30)
    assert drip.passed > 1024, "headers have reached S3 in time: else the test shows nothing"
    assert bench.names() == ["a"]


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    """A server's, with a certificate that nobody knows."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = tmp_path / "server.pem"
    path.write_bytes(pem + built.sign(key, SHA256()).public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_sending_in_records_of_tls_ends_with_the_lease(bench: Bench, tls: ssl.SSLContext) -> None:
    """A time-out that counts anew for each record would have a slow network stretch one request over minutes."""
    bench.access.client.put_object(Bucket=bench.bucket, Key="a", Body=b"held")
    with dripping(_server(bench), 1 << 14, tls) as drip:
        leased = _behind(bench, f"https://127.0.0.1:{drip.port}").leased(2.0)
        write_fast(leased)
        with bench.lease(2.0).sending(), pytest.raises(HTTPClientError):
            leased.delete_objects(Bucket=bench.bucket, Delete={"Objects": MANY[::-1], "Quiet": True})
        drip.open.set()
        assert drip.ended.wait(30)
    assert drip.passed < len(str(MANY)) / 2
    assert bench.names() == ["a"]


# --- the server's clock --------------------------------------------------------------------------------------------


def _tell(clock: ServerClock, date: str | None) -> None:
    clock._answered(SimpleNamespace(headers={} if date is None else {"Date": date}))


def test_the_time_of_the_server_is_never_taken_for_later_than_it_is(bench: Bench) -> None:
    """The embedded server has this machine's clock."""
    for _ in range(5):
        bench.names()
        behind = time.time() - bench.access.clock.at(time.monotonic(), PLACE)
        assert 0 <= behind < 5


def test_the_clock_of_the_server_counts_and_not_that_of_this_machine() -> None:
    clock = ServerClock()
    _tell(clock, "Tue, 01 Jan 2030 00:00:10 GMT")
    assert clock.at(time.monotonic(), PLACE) == pytest.approx(1893456010, abs=1)
    _tell(clock, "Tue, 01 Jan 2030 00:00:00 GMT")
    assert clock.at(time.monotonic(), PLACE) == pytest.approx(1893456010, abs=1), "an older answer says nothing new"


@pytest.mark.parametrize("date", [None, "soon"])
def test_a_server_that_does_not_tell_the_time_gets_no_lease(date: str | None) -> None:
    clock, gate = ServerClock(), Gate()
    _tell(clock, date)
    with pytest.raises(StoreUnavailable, match=r"connection s3, bucket bucket: .* no Date"), take(gate, clock, PLACE):
        raise AssertionError("a lease without a clock")
    assert not gate.out


@pytest.mark.parametrize("seconds", [4.0, 5.5, 30.0, 60.0])
@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.5, 0.999])
def test_a_signature_ends_in_the_middle_of_the_lease_or_less_than_a_second_later(
    seconds: float, fraction: float
) -> None:
    lease = S3Lease(NO_HOLDS, 0.0, seconds, 1893456000 + fraction, PLACE)
    assert lease.signed_at == "20300101T000000Z"
    assert 0 <= lease.valid_seconds - (fraction + seconds / 2) < 1


def test_a_signature_that_cannot_end_is_refused() -> None:
    extra = {"config_kwargs": {"signature_version": "s3"}, "region_name": "us-east-1"}
    access = S3Access.open(Connection("c", "aws", login="a", password="b", extra=extra))
    with pytest.raises(ConnectionMissing, match=r"connection c: signature_version .* must be s3v4"):
        _ = access.client
