"""Requests that S3 itself refuses after their lease: the hold gate where there are no transactions.

A process looks at its lease and then sends, and it can be stopped in between: by the kernel, by the hypervisor, by a
debugger. When it goes on, the lease may long have run out, and a hold been acknowledged. So the lease is not only
looked at. Every request inside it is **signed in its query** (``X-Amz-Date``, ``X-Amz-Expires``), and S3 answers what
reaches it after that moment by ``AccessDenied: Request has expired``, whatever its sender believes
(https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html).

The moment is the middle of the lease, by the clock of the S3 server alone: `ServerClock` learns from every answer's
``Date`` how late it is there at least. Signatures count whole seconds, so that it may be a second later. No request
takes longer than the other half; where one was not answered, S3 may still be carrying it out, and the lease is kept.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPResponse
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from botocore import auth
from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)

from lethe.errors import StoreUnavailable
from lethe.stores import leasing
from lethe.stores.base import Gate
from lethe.stores.buckets.errors import GATEWAY_GAVE_UP, Operation, fate_unknown

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SIGNATURE = "lethe-leased"
_LEARNED_SECONDS = 60.0
"""After so long what was learned of the server's clock is replaced: both clocks drift."""


class ServerClock:
    """What the clock of an S3 server shows at least. Safe to use from several threads."""

    def __init__(self) -> None:
        self._learned: tuple[float, float] | None = None
        """Seconds that the server's time is ahead of `time.monotonic`, at least; and when that was learned."""

    def watch(self, client: S3Client) -> None:
        """Learn from all answers that a client gets."""
        client.meta.events.register("after-call.s3", self._answered)

    def _answered(self, http_response: Any, **_: object) -> None:  # noqa: ANN401 - botocore's AWSResponse
        now, told = time.monotonic(), _told(http_response)
        if told is None:
            return
        ahead, learned = told - now, self._learned
        if learned is None or ahead > learned[0] or now - learned[1] > _LEARNED_SECONDS:
            self._learned = ahead, now

    def at(self, moment: float, place: Operation) -> float:
        """How late it was at least, in seconds since 1970, when `time.monotonic` was `moment`.

        Raises:
            StoreUnavailable: if the server has not told the time yet.
        """
        if self._learned is None:
            raise StoreUnavailable(f"{place}: the S3 server's answers have no Date, so that no lease can be kept")
        return self._learned[0] + moment


def _told(http_response: Any) -> float | None:  # noqa: ANN401 - botocore's AWSResponse
    """What an answer says that the time is, cut to seconds."""
    try:
        return parsedate_to_datetime(http_response.headers["Date"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return None


@dataclass
class S3Lease(leasing.Lease):
    """A lease whose requests S3 refuses after its deadline.

    Attributes:
        place: of the requests, for messages.
    """

    place: Operation

    @property
    def signed_at(self) -> str:
        """``X-Amz-Date`` of its requests."""
        return datetime.fromtimestamp(math.floor(self.server_time), UTC).strftime(auth.SIGV4_TIMESTAMP)

    @property
    def valid_seconds(self) -> int:
        """``X-Amz-Expires`` of its requests."""
        return max(1, math.ceil(self.deadline) - math.floor(self.server_time))

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Within, on this thread, requests of clients that `refuse_late` prepared are signed for this lease."""
        token = _LEASE.set(self)
        try:
            yield
        finally:
            _LEASE.reset(token)

    def ended(self, server_time: float) -> bool:
        """Whether S3 refuses its requests when it is so late by the server's clock (seconds since 1970)."""
        return server_time >= math.floor(self.server_time) + self.valid_seconds


_LEASE: ContextVar[S3Lease] = ContextVar("lethe_lease")


@contextmanager
def take(gate: Gate, clock: ServerClock, place: Operation) -> Iterator[S3Lease]:
    """A lease of the gate; kept to its end where a request was not answered.

    Raises:
        RunError: if the run may not erase any more.
        StoreUnavailable: if the server has not told the time yet.
    """
    started = time.monotonic()
    with gate.lease() as rules:
        lease = S3Lease(rules, started, gate.lease_seconds, clock.at(started, place), place)
        try:
            yield lease
        finally:
            lease.wait_for_unanswered()


def refuse_late(client: S3Client) -> None:
    """Have S3 refuse all requests of a client that reach it after the lease they are sent in (`S3Lease.sending`).

    The client's calls raise `StoreUnavailable` then, and note in the lease where a request may still be carried out.
    """
    auth.AUTH_TYPE_MAPS[_SIGNATURE] = _LeasedAuth
    _connect_by(client, _WholePool, _WholeTlsPool)
    events = client.meta.events
    choose: Any = _choose_signer
    events.register("choose-signer.s3", choose)
    events.register("before-call.s3.PutObject", _digest)
    events.register("after-call.s3", _answered)
    events.register("after-call-error.s3", _not_answered)


def bound_answers(client: S3Client) -> None:
    """Have a client's read time-out count for a whole answer, not for each part of it that comes."""
    _connect_by(client, _InTimePool, _InTimeTlsPool)


def _connect_by(client: S3Client, http: type[Any], https: type[Any]) -> None:
    # botocore has no other way to choose how its requests are sent; tests see whether it has come to nothing.
    session: Any = client._endpoint.http_session  # type: ignore[attr-defined]
    session._pool_classes_by_scheme.update(http=http, https=https)


def _choose_signer(**_: object) -> str:
    return _SIGNATURE


def _digest(params: dict[str, Any], **_: object) -> None:
    """What is signed in the query says nothing of the body, so that S3 is told what the body is."""
    body = params["body"]  # botocore has made a file of the bytes that it was given
    digest = hashlib.file_digest(body, lambda: hashlib.md5(usedforsecurity=False)).digest()
    body.seek(0)
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()


def _answered(http_response: Any, **_: object) -> None:  # noqa: ANN401 - botocore's AWSResponse
    lease = _LEASE.get()
    if http_response.status_code in GATEWAY_GAVE_UP:
        lease.unanswered = True
    told = _told(http_response)
    if http_response.status_code == 403 and told is not None and lease.ended(told):
        raise StoreUnavailable(f"{lease.place}: a request reached S3 after its lease, and was refused")


def _not_answered(exception: BaseException, **_: object) -> None:
    if fate_unknown(exception):
        _LEASE.get().unanswered = True


class _LeasedAuth(auth.S3SigV4QueryAuth):
    """botocore's signature in the query, for as long as the lease of this thread, also of requests with a body."""

    def __init__(self, credentials: Any, service_name: str, region_name: str) -> None:  # noqa: ANN401 - botocore's
        lease = _LEASE.get()
        super().__init__(credentials, service_name, region_name, expires=lease.valid_seconds)
        self._signed_at = lease.signed_at

    def _modify_request_before_signing(self, request: Any) -> None:  # noqa: ANN401 - botocore's AWSRequest
        # botocore has set the time to now, and would make parameters of the body, which a URL that is handed on lacks.
        request.context["timestamp"] = self._signed_at
        body, request.data = request.data, b""
        super()._modify_request_before_signing(request)  # type: ignore[misc]
        del request.headers["Expect"]  # which would have the body wait for an answer; see `_Whole`
        request.data = body.read() if hasattr(body, "read") else body


SEND_BYTES = 1 << 20
"""What the kernel is asked to take at once. Linux takes as much as its `net.core.wmem_max` says."""
_TLS_RECORD = 1 << 14
"""What TLS sends at once."""
_RESET, _FINISH = struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)
"""Of SO_LINGER: what the kernel has not sent yet is thrown away when a connection is closed, or sent all the same."""


def _left(seconds: float | None) -> float | None:
    """Of a time-out: what is left of it before the requests of this thread's lease, if it has one, have to be over.

    Raises:
        TimeoutError: if nothing is left.
    """
    lease = _LEASE.get(None)
    if lease is None:
        return seconds
    left = min(math.inf if seconds is None else seconds, lease.sent_by - time.monotonic())
    if left <= 0:
        raise TimeoutError("the lease is over")
    return left


def _until(deadline: float) -> float | None:
    """The time-out of what has to be over at a deadline.

    Raises:
        TimeoutError: if that has come.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("it took too long")
    return None if math.isinf(left) else left


class _Receiver(io.RawIOBase):
    """What a socket receives within the time-out that it has now, all of it together."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._deadline = time.monotonic() + (_left(sock.gettimeout()) or math.inf)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - the buffer protocol
        self._sock.settimeout(_until(self._deadline))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Received(HTTPResponse):
    """An answer that has to come as a whole within the read time-out: white space that drips in is no sign of life."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - http.client's
        files = SimpleNamespace(makefile=lambda _mode: io.BufferedReader(_Receiver(sock)))
        super().__init__(files, *args, **kwargs)  # type: ignore[arg-type]


class _InTime:
    """In front of a connection class of botocore: the read time-out counts for the whole answer."""

    response_class = _Received


class _Whole(_InTime):
    """In front of a connection class of botocore: the kernel gets each request in one piece, headers and body.

    S3 looks at the time when it has the headers, and takes the body whenever it comes. A process that is stopped
    between the two would go on with the body after its lease, and S3 would carry the request out. For the same reason
    sending ends with the lease, and what the kernel has not sent by then, or by a kill, it never sends.
    """

    sock: Any
    timeout: float | None
    _piece: int | None = None
    """What sending does within one time-out; None: all of it."""
    _held: bytearray | None = None

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)

    def request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - urllib3's
        self._held = bytearray()
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]
            whole = bytes(self._held)
        finally:
            self._held = None
        if self.sock is None:
            self.connect()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        deadline = time.monotonic() + (_left(self.timeout) or math.inf)
        for start in range(0, len(whole), self._piece or len(whole)):
            self.sock.settimeout(_until(deadline))
            self.send(whole[start : start + (self._piece or len(whole))])

    def send(self, data: bytes) -> None:
        if self._held is None:
            super().send(data)  # type: ignore[misc]
        else:
            self._held += data

    def getresponse(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - urllib3's
        response = super().getresponse(*args, **kwargs)  # type: ignore[misc]
        if self.sock is not None:  # else it is closed when the answer has been read
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _FINISH)
        return response


class _WholeHttp(_Whole, AWSHTTPConnection):  # type: ignore[misc]
    """Without TLS."""


class _WholeTls(_Whole, AWSHTTPSConnection):  # type: ignore[misc]
    """With TLS."""

    _piece = _TLS_RECORD


class _InTimeHttp(_InTime, AWSHTTPConnection):  # type: ignore[misc]
    """Without TLS."""


class _InTimeTls(_InTime, AWSHTTPSConnection):  # type: ignore[misc]
    """With TLS."""


class _InTimePool(AWSHTTPConnectionPool):
    ConnectionCls = _InTimeHttp


class _InTimeTlsPool(AWSHTTPSConnectionPool):
    ConnectionCls = _InTimeTls


class _WholePool(AWSHTTPConnectionPool):
    ConnectionCls = _WholeHttp


class _WholeTlsPool(AWSHTTPSConnectionPool):
    ConnectionCls = _WholeTls
