"""The ways in which an alert leaves: Airflow's own notifiers, each by a connection of its type.

Sending is bounded, and what goes wrong is said and never raised: a server that is down, slow or strange must not fail,
delay or change a run.
"""

from __future__ import annotations

import html
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow.sdk.configuration import conf

from lethe.airflow.connections import as_it_is
from lethe.airflow.links import page_path
from lethe.alerts import Alert
from lethe.errors import ConnectionMissing, LetheError, ParameterError
from lethe.settings import Settings

SECONDS = 15.0
"""How long sending may take, by all connections at once; then it is given up, and tried again by the next watch."""

_REQUEST_SECONDS = 10
_HEADERS = {"Auto-Submitted": "auto-generated"}
"""No answer is expected from an out-of-office assistant (RFC 3834)."""

_log = logging.getLogger(__name__)


def send(alert: Alert, conn_ids: Sequence[str], settings: Settings) -> list[str]:
    """Send an alert by all these connections, within `SECONDS`.

    A server's or library's own words are not logged: they may repeat what was sent, or a password.

    Returns:
        The connections by which it was not taken.
    """
    sendings = [_Sending(alert, conn_id, settings) for conn_id in conn_ids]
    for sending in sendings:
        sending.start()
    give_up = time.monotonic() + SECONDS
    for sending in sendings:
        sending.join(max(0.0, give_up - time.monotonic()))
    wrong = {sending.conn_id: sending.wrong for sending in sendings}
    for conn_id, why in wrong.items():
        if why is None:
            _log.info("The alert %r was sent by connection %s", alert.headline, conn_id)
        else:
            _log.error("The alert %r could not be sent: connection %s: %s", alert.headline, conn_id, why)
    return [conn_id for conn_id, why in wrong.items() if why is not None]


class _Sending(threading.Thread):
    """Sends an alert by one connection. What takes too long is left to itself, and ends with the process.

    The connection is looked up before: in Airflow's DAG processor that may take longer than sending.

    Attributes:
        wrong: why it is not sent; None once it is.
    """

    def __init__(self, alert: Alert, conn_id: str, settings: Settings) -> None:
        super().__init__(name=f"lethe-alert-{conn_id}", daemon=True)
        self.conn_id = conn_id
        self.wrong: str | None = f"no answer within {SECONDS:.0f} seconds"
        self._notifier: Any = None
        try:
            self._notifier = _notifier(alert, as_it_is(conn_id), settings)
        except Exception as error:  # noqa: BLE001 - as below
            self.wrong = _words(error)

    def run(self) -> None:
        """Send it."""
        if self._notifier is None:
            return
        try:
            self._notifier.notify({})
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the sender's and not the run's
            self.wrong = _words(error)
        else:
            self.wrong = None


def _words(error: BaseException) -> str:
    return str(error) if isinstance(error, LetheError) else type(error).__name__


def _notifier(alert: Alert, connection: Any, settings: Settings) -> Any:  # noqa: ANN401 - Airflow's
    """The notifier of a connection's type, with what it is to say.

    Its texts are not templates: what is said must stay as it is, also where it has braces.

    Raises:
        ConnectionMissing: if its type has no notifier here.
        ParameterError: if an e-mail has nobody to go to.
    """
    kind = connection.conn_type
    make = _NOTIFIERS.get(kind)
    if make is None:
        raise ConnectionMissing(
            f"its type is {kind}, by which no alert can be sent: LETHE_ALERTS takes connections of type "
            f"{', '.join(_NOTIFIERS)}"
        )
    notifier = make(alert, connection.conn_id, settings)
    notifier.hook.get_connection = lambda _conn_id: connection
    return notifier


def _mail(alert: Alert, conn_id: str, settings: Settings) -> Any:  # noqa: ANN401
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier

    if not settings.alerts_to:
        raise ParameterError("LETHE_ALERTS_TO names nobody that e-mails could go to")
    return SmtpNotifier(
        smtp_conn_id=conn_id,
        to=list(settings.alerts_to),
        subject=f"[Lethe] {_one_line(alert.headline)}",
        html_content=_as_html(alert),
        custom_headers=_HEADERS,
    )


def _webhook(alert: Alert, conn_id: str, settings: Settings) -> Any:  # noqa: ANN401
    from airflow.providers.http.notifications.http import HttpNotifier

    del settings
    return HttpNotifier(http_conn_id=conn_id, json=as_json(alert), extra_options={"timeout": _REQUEST_SECONDS})


def _slack(alert: Alert, conn_id: str, settings: Settings) -> Any:  # noqa: ANN401
    from airflow.providers.slack.notifications.slack_webhook import SlackWebhookNotifier

    del settings
    text = html.escape(as_text(alert), quote=False)  # https://docs.slack.dev/messaging/formatting-message-text
    return SlackWebhookNotifier(
        slack_webhook_conn_id=conn_id, text=text, timeout=_REQUEST_SECONDS, retry_handlers=[], unfurl_links=False
    )


_NOTIFIERS: Mapping[str, Callable[[Alert, str, Settings], Any]] = {
    "smtp": _mail,
    "slackwebhook": _slack,
    "http": _webhook,
}
"""By type of connection."""


# --- the same alert in the forms that these take ------------------------------------------------------------------


def address(path: str) -> str:
    """A whole address of Airflow's server, by `[api] base_url`; a path alone where that is not set."""
    base = (conf.get("api", "base_url", fallback="") or "").rstrip("/")
    prefix = page_path("").removesuffix("/lethe")
    return base.removesuffix(prefix) + path if base else path


def runbook_address(alert: Alert) -> str:
    """The alert's entry in the runbook."""
    return address(page_path(f"/runbook#{alert.kind.anchor}"))


def as_json(alert: Alert) -> dict[str, Any]:
    """For machines: each fact by its name, and `text` for services that show a text as it is."""
    return {
        "text": as_text(alert),
        "alert": alert.kind.value,
        "headline": alert.headline,
        "cause": alert.cause,
        "subject": alert.subject,
        "datasets": list(alert.datasets),
        "run": alert.run,
        "since": alert.since.isoformat(),
        "what": list(alert.told),
        "do": alert.kind.advice,
        "page": address(alert.page) if alert.page else None,
        "runbook": runbook_address(alert),
    }


def as_text(alert: Alert) -> str:
    """For people."""
    return "\n".join(
        [
            f"{alert.kind.heading}: {alert.where}.",
            f"Since {_moment(alert)}.",
            *(f"- {_one_line(one)}" for one in alert.told),
            f"What to do: {alert.kind.advice}",
            *([f"See {address(alert.page)}"] if alert.page else []),
            f"Runbook: {runbook_address(alert)}",
        ]
    )


def _as_html(alert: Alert) -> str:
    told = "".join(f"<li>{html.escape(one)}</li>" for one in alert.told)
    links = [("What it is about", address(alert.page))] if alert.page else []
    links.append(("Runbook", runbook_address(alert)))
    return "\n".join(
        [
            f"<p><strong>{html.escape(alert.kind.heading)}</strong>: {html.escape(alert.where)}.</p>",
            f"<p>Since {_moment(alert)}.</p>",
            f"<ul>{told}</ul>" if told else "",
            f"<p><strong>What to do:</strong> {html.escape(alert.kind.advice)}</p>",
            *(f'<p>{name}: <a href="{html.escape(to)}">{html.escape(to)}</a></p>' for name, to in links),
        ]
    )


def _moment(alert: Alert) -> str:
    return f"{alert.since:%Y-%m-%d %H:%M} UTC"


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)
