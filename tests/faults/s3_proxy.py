"""A server in front of S3 that delays, drips, repeats, reorders and loses single requests, as networks and S3 do.

What it passes on **unchanged** bears the signature of its sender, so that S3 judges for itself whether it came in time.
What it **carries out** it signs itself: S3 has taken the request in time, and does it when it pleases. Amazon documents
that for CompleteMultipartUpload alone
(https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html).
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lethe.connections import Connection

DRIP_SECONDS = 0.05


@dataclass(frozen=True)
class Taken:
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def operation(self) -> str:
        """What it asks for, where it changes records; else an empty text."""
        path, _, query = self.target.partition("?")
        names = dict(parse_qsl(query, keep_blank_values=True))
        if self.method == "POST" and "delete" in names:
            return "DeleteObjects" if b"<Key>data/" in self.body else ""
        if "/data/" not in path:
            return ""
        if self.method == "POST":
            return "CompleteMultipartUpload" if "uploadId" in names else ""
        if "uploadId" in names:
            return ""
        return {"PUT": "PutObject", "DELETE": "DeleteObject"}.get(self.method, "")


@dataclass(frozen=True)
class Answer:
    """What S3 answered."""

    status: int
    headers: dict[str, str]
    body: bytes


Fault = Callable[["S3Proxy", BaseHTTPRequestHandler, Taken], None]


@dataclass
class S3Proxy:
    """See the module.

    Attributes:
        server: the connection to the real server.
        operation: which requests are tampered with.
        faults: one for each of the first such requests; the others are passed on.
        met: set when all the faults have met a request.
        finish: what waits goes on; set by the test.
        late: what the real server answered to what came late, by operation.
    """

    server: Connection
    operation: str = ""
    faults: Sequence[Fault] = ()
    met: threading.Event = field(default_factory=threading.Event)
    finish: threading.Event = field(default_factory=threading.Event)
    late: list[Answer] = field(default_factory=list)
    _count: int = 0
    _change: threading.Lock = field(default_factory=threading.Lock)
    _at_work: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> S3Proxy:
        """Serve."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def _serve(self) -> None:
                proxy._serve(self)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; what waits goes on."""
        self.finish.set()
        self.join()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def join(self) -> None:
        """Wait until all that went on after `finish` has been answered."""
        for thread in self._at_work:
            thread.join()

    def afterwards(self, act: Callable[[], Answer]) -> threading.Thread:
        """Do something once `finish` is set, and keep the answer in `late`."""

        def wait() -> None:
            self.finish.wait()
            self.late.append(act())

        thread = threading.Thread(target=wait)
        self._at_work.append(thread)
        thread.start()
        return thread

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        taken = Taken(handler.command, handler.path, dict(handler.headers.items()), _body(handler))
        fault: Fault | None = None
        if self.operation and taken.operation == self.operation:
            with self._change:
                fault = self.faults[self._count] if self._count < len(self.faults) else None
                self._count += 1
        if fault is not None and self._count >= len(self.faults):
            self.met.set()
        with suppress(OSError):  # the client has closed the connection
            if fault is None:
                answer(handler, self.pass_on(taken))
            else:
                fault(self, handler, taken)

    def pass_on(self, taken: Taken) -> Answer:
        """Send a request as it is."""
        skipped = ("connection", "expect", "transfer-encoding", "content-length")
        headers = {name: value for name, value in taken.headers.items() if name.lower() not in skipped}
        return self._ask(taken.method, taken.target, taken.body, headers)

    def carry_out(self, taken: Taken) -> Answer:
        """Do what a request asks for, whatever the time."""
        path, _, query = taken.target.partition("?")
        kept = [(n, v) for n, v in parse_qsl(query, keep_blank_values=True) if not n.lower().startswith("x-amz-")]
        target = path + ("?" + urlencode(kept) if kept else "")
        wanted = ("content-type", "content-md5", "if-match", "if-none-match", "cache-control")
        headers = {name: value for name, value in taken.headers.items() if name.lower() in wanted}
        url = f"{self.server.extra['endpoint_url']}{target}"
        request = AWSRequest(taken.method, url, headers, taken.body)
        S3SigV4Auth(Credentials(str(self.server.login), str(self.server.password)), "s3", "us-east-1").add_auth(request)
        return self._ask(taken.method, target, taken.body, dict(request.headers.items()))

    def _ask(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> Answer:
        server = urlsplit(str(self.server.extra["endpoint_url"]))
        connection = HTTPConnection(server.hostname or "", server.port, timeout=60)
        connection.request(method, target, body, {**headers, "Content-Length": str(len(body))})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return Answer(response.status, dict(response.getheaders()), content)


# --- what happens to a request ----------------------------------------------------------------------------------------


def lost_answer(proxy: S3Proxy, handler: BaseHTTPRequestHandler, taken: Taken) -> None:
    """It is carried out, but nobody is told."""
    proxy.pass_on(taken)
    cut(handler)


def duplicated(proxy: S3Proxy, handler: BaseHTTPRequestHandler, taken: Taken) -> None:
    """It is carried out and answered, and arrives once more much later."""
    proxy.afterwards(lambda: proxy.pass_on(taken))
    answer(handler, proxy.pass_on(taken))


def reordered(proxy: S3Proxy, handler: BaseHTTPRequestHandler, taken: Taken) -> None:
    """It is on its way when the connection breaks, and arrives after all that its sender does instead."""
    proxy.afterwards(lambda: proxy.pass_on(taken))
    cut(handler)


def delayed(proxy: S3Proxy, handler: BaseHTTPRequestHandler, taken: Taken) -> None:
    """It arrives much later, on a connection that stays open."""
    late = proxy.afterwards(lambda: proxy.pass_on(taken))
    late.join()
    cut(handler)


def dripped(proxy: S3Proxy, handler: BaseHTTPRequestHandler, taken: Taken) -> None:
    """It is carried out at once; its answer does not end."""
    proxy.pass_on(taken)
    _drip(proxy, handler)
    cut(handler)


def finalised_late(proxy: S3Proxy, handler: BaseHTTPRequestHandler, taken: Taken) -> None:
    """S3 answers 200 at once and sends white space; it is done, or fails, much later: the body says which."""
    late = proxy.afterwards(lambda: proxy.carry_out(taken))
    _drip(proxy, handler)
    late.join()
    _chunk(handler, proxy.late[-1].body)
    _chunk(handler, b"")


def failed_in_its_body(proxy: S3Proxy, handler: BaseHTTPRequestHandler, taken: Taken) -> None:
    """S3 answers 200 at once, and then says that it failed."""
    del proxy, taken
    body = b"   <Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"
    answer(handler, Answer(200, {"Content-Type": "application/xml"}, body))


def _drip(proxy: S3Proxy, handler: BaseHTTPRequestHandler) -> None:
    handler.send_response_only(200)
    handler.send_header("Content-Type", "application/xml")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    with suppress(OSError):
        while not proxy.finish.wait(DRIP_SECONDS):
            _chunk(handler, b" ")


def _chunk(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    handler.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
    handler.wfile.flush()


def cut(handler: BaseHTTPRequestHandler) -> None:
    """Break the connection."""
    handler.close_connection = True
    with suppress(OSError):
        handler.connection.shutdown(socket.SHUT_RDWR)


def answer(handler: BaseHTTPRequestHandler, given: Answer) -> None:
    """Answer a request."""
    handler.send_response_only(given.status)
    for name, value in given.headers.items():
        if name.lower() not in ("transfer-encoding", "content-length", "connection"):
            handler.send_header(name, value)
    handler.send_header("Content-Length", given.headers.get("Content-Length", str(len(given.body))))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(given.body)


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if "chunked" not in handler.headers.get("Transfer-Encoding", ""):
        return handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
    parts = b""
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        parts += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return parts
