"""The billing system: invoices with their lines and what was paid for them, and scanned invoices of others.

An invoice has buyer and account number as they are printed on it, so that it needs no account that is still there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal
from functools import cached_property

from lethe_demo.people import as_dialled, as_typed
from lethe_demo.records import HELD_PEOPLE, Family, Row, System, Table, children_of

_PAID_BY_A_PARTY = HELD_PEOPLE + 42
"""Whoever has invoices that a party to the lawsuit paid."""
_DAYS = 13 * 365
_SERVICES = ("Messages", "Voice minutes", "Monthly fee", "Numbers", "Support plan")
_UNREADABLE = {7: "", 8: "20 1 4-03-05", 9: "05.03.2014"}
"""What scanning made of days."""


class Billing(System):
    """Invoices issued and received."""

    database = "operations"
    tables_sql = """
CREATE TABLE billing.invoices (
    series text NOT NULL,
    number integer NOT NULL,
    reference text NOT NULL UNIQUE,
    state text NOT NULL CHECK (state IN ('draft', 'sent', 'paid')),
    account_no text,
    buyer text NOT NULL,
    email text NOT NULL,
    phone text,
    issued_on date,
    PRIMARY KEY (series, number)
);
CREATE TABLE billing.invoice_lines (
    id bigint PRIMARY KEY,
    series text NOT NULL,
    number integer NOT NULL,
    service text NOT NULL,
    amount numeric(12, 2) NOT NULL,
    FOREIGN KEY (series, number) REFERENCES billing.invoices
);
CREATE TABLE billing.payments (
    id bigint PRIMARY KEY,
    series text NOT NULL,
    number integer NOT NULL,
    paid_on date NOT NULL,
    payer_email text,
    FOREIGN KEY (series, number) REFERENCES billing.invoices
);
CREATE TABLE billing.received_invoices (
    scan_id bigint PRIMARY KEY,
    reference text NOT NULL,
    supplier text NOT NULL,
    contact_email text,
    invoiced_on text
);
"""
    indexes_sql = """
CREATE INDEX ON billing.invoices (issued_on);
CREATE INDEX ON billing.invoice_lines (series, number);
CREATE INDEX ON billing.payments (series, number);
CREATE INDEX ON billing.received_invoices (invoiced_on);
"""

    @cached_property
    def invoices(self) -> Table:
        """Invoices of thirteen years; some are drafts, and a few that were migrated have no day."""
        rng = self.maker.rng("invoices")
        planted = [(HELD_PEOPLE + n, day) for n, day in enumerate(self._planted_days())]
        old = self.maker.edge_days("invoices")[0]
        planted += [(HELD_PEOPLE, None), (6, old), (_PAID_BY_A_PARTY, old)]
        rows: list[Row] = []
        about = []
        for n in range(1, max(60, self.maker.count(5_000)) + 1):
            whom, day = self.maker.whom(rng, held=0.01), self.maker.day(rng, _DAYS)
            state = rng.choice(("draft", "sent", "paid", "paid", "paid", "paid"))
            issued: date | None = None if state == "draft" or n % 911 == 100 else day
            if n <= len(planted):
                state = "paid"
                whom, issued = planted[n - 1]
            person, series = self.maker.people[whom], f"FV{(issued or day):%y}"
            contact = (person.account, person.company, as_typed(person.email, n), as_dialled(person.phone, n))
            rows.append((series, n, f"{series}-{n:06d}", state, *contact, issued))
            about.append(whom)
        columns = ("series", "number", "reference", "state", "account_no", "buyer", "email", "phone", "issued_on")
        return Table("billing.invoices", columns, rows, about)

    def _planted_days(self) -> list[date | None]:
        """Around the turn of the year with which the period of the oldest starts, and the leap days."""
        return [*self.maker.edge_days("invoices"), *self.maker.leap_days(13)]

    @cached_property
    def lines(self) -> Table:
        """What was invoiced."""
        rng = self.maker.rng("invoice lines")

        def invoiced(_parent: Row) -> Iterator[Row]:
            for service in _SERVICES[: rng.randrange(1, 4)]:
                yield (service, Decimal(rng.randrange(100, 900_000)) / 100)

        return children_of("billing.invoice_lines", self.invoices, ("service", "amount"), invoiced, key=2)

    @cached_property
    def payments(self) -> Table:
        """What was paid, now and then by somebody else."""
        rows: list[Row] = []
        about, parents = [], []
        for index, invoice in enumerate(self.invoices.rows):
            issued, buyer = invoice[8], self.invoices.about[index]
            if invoice[3] != "paid" or not isinstance(issued, date):
                continue
            payer = 7 if buyer == _PAID_BY_A_PARTY else buyer
            named = index % 3 > 0 or payer != buyer
            email = self.maker.people[payer].email if named else None
            rows.append((len(rows) + 1, *invoice[:2], issued + timedelta(days=9), email))
            about.append(payer)
            parents.append(index)
        columns = ("id", "series", "number", "paid_on", "payer_email")
        return Table("billing.payments", columns, rows, about, parents)

    @cached_property
    def received(self) -> Table:
        """Invoices of others; their day is text, as it was scanned, and some of it is none."""
        rng = self.maker.rng("received invoices")
        planted = self._planted_days()
        rows: list[Row] = []
        about = []
        for n in range(1, max(60, self.maker.count(2_000)) + 1):
            whom, day = self.maker.whom(rng, held=0.02), self.maker.day(rng, _DAYS)
            if n > 60 - len(planted) and n <= 60:
                day, whom = planted[60 - n] or day, HELD_PEOPLE + n
            elif n == 10:
                day, whom = self.maker.edge_days("invoices")[0], 8
            person = self.maker.people[whom]
            text = _UNREADABLE.get(n, day.isoformat())
            rows.append((n, f"{rng.randrange(10**7):07d}", person.company, as_typed(person.email, n), text))
            about.append(whom)
        columns = ("scan_id", "reference", "supplier", "contact_email", "invoiced_on")
        return Table("billing.received_invoices", columns, rows, about)

    @property
    def families(self) -> Sequence[Family]:
        """Invoices issued, and received."""
        issued = Family(self.database, ("invoices.issued",), self.invoices, (self.lines, self.payments), key=2)
        return (issued, Family(self.database, ("invoices.received",), self.received))
