"""The help desk: tickets with their messages and what was attached to these.

A ticket has its requester's name, address and number itself, as help desks that work by e-mail have it: it stays for
years after the account was closed and its users are gone. One that turned out to be about the same as another was
closed by being merged into it, and refers to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from functools import cached_property

from lethe_demo.calendar_days import ZONE, midnight
from lethe_demo.people import as_dialled, as_typed
from lethe_demo.records import HELD_PEOPLE, Family, Row, System, Table, as_json, children_of

_COPIED_TO_A_PARTY = HELD_PEOPLE + 41
"""Whoever has a party to the lawsuit write in their tickets."""
_SUBJECTS = ("Messages do not arrive", "Wrong amount on invoice", "How do I add a user?", "API answers 503", "Password")


class HelpDesk(System):
    """Tickets, messages, attachments."""

    database = "crm"
    schemas = ("helpdesk",)
    tables_sql = """
CREATE SCHEMA helpdesk;

CREATE TABLE helpdesk.tickets (
    ticket_id bigint PRIMARY KEY,
    merged_into bigint REFERENCES helpdesk.tickets,
    subject text NOT NULL,
    status text NOT NULL CHECK (status IN ('new', 'open', 'pending', 'solved', 'merged')),
    requester text NOT NULL,
    email text NOT NULL,
    phone text,
    account_no text,
    fields jsonb NOT NULL,
    opened_at timestamptz NOT NULL,
    closed_at timestamptz
);
CREATE TABLE helpdesk.messages (
    id bigint PRIMARY KEY,
    ticket_id bigint NOT NULL REFERENCES helpdesk.tickets,
    in_reply_to bigint REFERENCES helpdesk.messages,
    sender text NOT NULL,
    sent_at timestamptz NOT NULL,
    body text NOT NULL
);
CREATE TABLE helpdesk.attachments (
    id bigint PRIMARY KEY,
    message_id bigint NOT NULL REFERENCES helpdesk.messages,
    file_name text NOT NULL,
    bytes integer NOT NULL
);
"""
    indexes_sql = """
CREATE INDEX ON helpdesk.tickets (closed_at);
CREATE INDEX ON helpdesk.tickets (merged_into);
CREATE INDEX ON helpdesk.messages (ticket_id);
CREATE INDEX ON helpdesk.messages (in_reply_to);
CREATE INDEX ON helpdesk.attachments (message_id);
"""

    @cached_property
    def tickets(self) -> Table:
        """Tickets of eleven years; some are not closed, or are again open."""
        rng = self.maker.rng("tickets")
        planted = self._planted()
        rows: list[Row] = []
        about: list[int] = []
        before: tuple[int, datetime | None, str] = (HELD_PEOPLE, None, "new")
        for n in range(1, max(60, self.maker.count(6_000)) + 1):
            whom = self.maker.whom(rng, held=0.01)
            closed: datetime | None = self.maker.moment(rng, 4_000)
            status = rng.choice(("solved",) * 8 + ("new", "open", "pending"))
            into = None
            if n <= len(planted):
                whom, closed, status = planted[n - 1]
            elif n % 29 == 0 and before[1] is not None and before[2] == "solved":
                into, whom, closed, status = n - 1, before[0], before[1], "merged"
            elif status == "new":
                closed = None
            before = (whom, closed, status)
            person = self.maker.people[whom]
            opened = (closed or self.maker.moment(rng, 30)) - timedelta(minutes=rng.randrange(20, 20_000))
            fields = as_json({"channel": rng.choice(("e-mail", "form", "chat")), "priority": rng.randrange(1, 5)})
            contact = (person.name, as_typed(person.email, n), as_dialled(person.phone, n), person.account)
            rows.append((n, into, rng.choice(_SUBJECTS), status, *contact, fields, opened, closed))
            about.append(whom)
        columns = (
            "ticket_id", "merged_into", "subject", "status", "requester", "email", "phone", "account_no", "fields",
            "opened_at", "closed_at",
        )  # fmt: skip
        return Table("helpdesk.tickets", columns, rows, about)

    def _planted(self) -> list[tuple[int, datetime | None, str]]:
        """Around the cutoff; on leap days; opened again; without a date; a party's, and one that a party writes in."""
        expired, kept = self.maker.edge_moments("support")
        long_ago = midnight(self.maker.edge_days("support")[0]) - timedelta(days=40)
        closed = [
            *(datetime.combine(day, time(16, 30), tzinfo=ZONE) for day in self.maker.leap_days(11)),
            expired,
            kept,
        ]
        found: list[tuple[datetime | None, str]] = [(moment, "solved") for moment in closed]
        found += [(long_ago, "open"), (None, "solved")]
        strangers = [(HELD_PEOPLE + n, *one) for n, one in enumerate(found)]
        return [
            *((whom, moment and moment.astimezone(UTC), status) for whom, moment, status in strangers),
            (4, expired, "solved"),
            (_COPIED_TO_A_PARTY, expired, "solved"),
        ]

    @cached_property
    def messages(self) -> Table:
        """What was written, each message but the first in reply to the one before."""
        rng = self.maker.rng("help-desk messages")
        rows: list[Row] = []
        about, parents = [], []
        for index, ticket in enumerate(self.tickets.rows):
            whom, before = self.tickets.about[index], None
            writers = [whom, 5, whom] if whom == _COPIED_TO_A_PARTY else [whom] * rng.randrange(1, 4)
            for number, writer in enumerate(writers):
                n, person = len(rows) + 1, self.maker.people[writer]
                sent = _opened(ticket) + timedelta(minutes=number)
                rows.append((n, ticket[0], before, as_typed(person.email, n), sent, f"Hello, I am {person.name}."))
                about.append(writer)
                parents.append(index)
                before = n
        columns = ("id", "ticket_id", "in_reply_to", "sender", "sent_at", "body")
        return Table("helpdesk.messages", columns, rows, about, parents)

    @cached_property
    def attachments(self) -> Table:
        """What was attached to messages."""
        rng = self.maker.rng("attachments")

        def attached(_parent: Row) -> Iterator[Row]:
            if rng.random() < 0.2:
                yield (rng.choice(("screenshot.png", "invoice.pdf", "log.txt")), rng.randrange(2_000, 900_000))

        columns = ("file_name", "bytes")
        return children_of("helpdesk.attachments", self.messages, columns, attached, foreign_key=("message_id",))

    @property
    def families(self) -> Sequence[Family]:
        """Tickets."""
        return (Family(self.database, ("support.tickets",), self.tickets, (self.messages, self.attachments)),)


def _opened(ticket: Row) -> datetime:
    opened = ticket[9]
    assert isinstance(opened, datetime)  # noqa: S101 - the column is never empty
    return opened
