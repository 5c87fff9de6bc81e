"""Those who are told: a mail server, and a web server that takes what is posted to it, each on this machine."""

from __future__ import annotations

import email.policy
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from lethe_demo.servers import free_ports

ON_CALL = "on-call@example.org"


@dataclass
class Mailbox:
    """A mail server. `mails` are what it has taken."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802, ANN401
        """Take a mail (aiosmtpd)."""
        message = email.message_from_bytes(envelope.content, _class=EmailMessage, policy=email.policy.default)
        self.mails.append(message)
        self.recipients += envelope.rcpt_tos
        return "250 OK"

    def connect(self, monkeypatch: pytest.MonkeyPatch, conn_id: str = "lethe_mail") -> str:
        """Make it known to Airflow."""
        extra = {"disable_tls": True, "disable_ssl": True, "from_email": "lethe@example.org", "retry_limit": 0}
        monkeypatch.setenv("LETHE_ALERTS_TO", ON_CALL)
        return _connect(monkeypatch, conn_id, "smtp", "127.0.0.1", self.port, extra=extra)

    @property
    def subjects(self) -> list[str]:
        """Of all mails."""
        return [str(mail["subject"]) for mail in self.mails]

    def text(self, n: int = -1) -> str:
        """What a mail says, as it is read: without its markup."""
        body = self.mails[n].get_body(("html",))
        assert body is not None
        return re.sub("<[^>]+>", "", body.get_content())


@dataclass
class Webhook:
    """A web server. `posts` are what it was sent, `paths` where to."""

    port: int = 0
    posts: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    status: int = 200
    stuck: threading.Event | None = None

    def connect(self, monkeypatch: pytest.MonkeyPatch, conn_id: str = "lethe_hook") -> str:
        """Make it known to Airflow."""
        return _connect(monkeypatch, conn_id, "http", f"http://127.0.0.1:{self.port}/alerts")

    def connect_slack(self, monkeypatch: pytest.MonkeyPatch, conn_id: str = "lethe_slack") -> str:
        """Make it known to Airflow as Slack."""
        host = f"http://127.0.0.1:{self.port}/services"
        return _connect(monkeypatch, conn_id, "slackwebhook", host, password="T0/B0/x")


def _connect(
    monkeypatch: pytest.MonkeyPatch,
    conn_id: str,
    conn_type: str,
    host: str,
    port: int | None = None,
    *,
    password: str | None = None,
    extra: dict[str, Any] | None = None,
) -> str:
    fields = {"conn_type": conn_type, "host": host, "port": port, "password": password, "extra": extra or {}}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
    return conn_id


@contextmanager
def a_mailbox() -> Iterator[Mailbox]:
    """A mail server that is up."""
    mailbox = Mailbox(free_ports(1)[0])
    controller = Controller(mailbox, hostname="127.0.0.1", port=mailbox.port)
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()


@contextmanager
def a_webhook() -> Iterator[Webhook]:
    """A web server that is up."""
    webhook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if webhook.stuck:
                webhook.stuck.wait()
            webhook.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            webhook.paths.append(self.path)
            self.send_response(webhook.status)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    webhook.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield webhook
    finally:
        if webhook.stuck:
            webhook.stuck.set()
        server.shutdown()
        thread.join()
        server.server_close()
