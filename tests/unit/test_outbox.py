"""Never silently late: of one cause people are told once, whatever dies, and of what comes again, again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from tests.unit.conftest import Office

from lethe.alerts import Alert, Kind, Outbox
from lethe.alerts.outbox import KEPT
from lethe.governance import schema

AT = datetime(2026, 6, 15, 3, 0, tzinfo=UTC)
ALERT = Alert(kind=Kind.FAILED, cause="run:webinars/1", subject="webinars", since=AT)


@pytest.fixture
def outbox(office: Office) -> Outbox:
    return Outbox(office.governance)


def aged(office: Office, column: str, by: timedelta) -> None:
    """Make what is noted older."""
    with office.governance.write() as connection:
        for cause, at in connection.execute(sa.select(schema.alert.c.cause, schema.alert.c[column])).all():
            mine = sa.update(schema.alert).where(schema.alert.c.cause == cause)
            connection.execute(mine.values({column: at - by}))


def test_a_cause_is_noted_once_and_sent_by_one_process_at_a_time(office: Office, outbox: Outbox) -> None:
    assert outbox.note(ALERT, ["mail", "hook"])
    assert not outbox.note(ALERT.model_copy(update={"kind": Kind.REFUSED}), ["mail"])
    letter = outbox.claim(ALERT.cause)
    assert letter is not None
    assert (letter.alert, letter.unsent) == (ALERT, ("mail", "hook"))
    assert outbox.claim(ALERT.cause) is None, "another process is at it"
    aged(office, "tried_at", timedelta(minutes=3))
    assert outbox.claim(ALERT.cause) == letter, "that process died"
    outbox.settle(ALERT.cause, ["hook"])
    assert outbox.waiting() == {ALERT.cause: ("hook",)}
    outbox.settle(ALERT.cause, [])
    assert outbox.waiting() == {}
    aged(office, "tried_at", timedelta(minutes=3))
    assert outbox.claim(ALERT.cause) is None
    assert not outbox.note(ALERT, ["mail"])


def test_what_is_over_is_told_should_it_come_again_and_nothing_else(office: Office, outbox: Outbox) -> None:
    late, other = (
        ALERT.model_copy(update={"kind": Kind.SILENT, "cause": f"silent:{category}:1"}) for category in ("a", "b")
    )
    for alert in (ALERT, late, other):
        outbox.note(alert, ["mail"])
    outbox.over([Kind.SILENT, Kind.OVERDUE], {other.cause})
    assert list(outbox.waiting()) == [ALERT.cause, other.cause]
    first = outbox.known_since("a")
    assert outbox.known_since("a") == first
    aged(office, "noted_at", KEPT + timedelta(days=1))
    outbox.forget()
    assert outbox.waiting() == {}
    assert outbox.known_since("a") < first


def test_an_alert_is_no_longer_than_somebody_reads() -> None:
    told = ALERT.model_copy(update={"what": tuple("x" * 5000 for _ in range(100))}).told
    assert len(told) == 21
    assert len(told[0]) < 1010
    assert told[-1] == "80 more are on its page."
