"""Purchasing: suppliers, agreements with them, and whom one talks to there.

When the relationship with a supplier has ended is in no table: buyers know it, and record the event, each day seen by
two people. The row of a supplier has its number and its name alone, and stays, because all else leads to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from functools import cached_property

from lethe_demo.people import as_dialled, as_typed
from lethe_demo.records import HELD_PEOPLE, Family, Row, System, Table, children_of

EVENT = "relationship_ended"
_CATEGORIES = ("supplier_contacts", "suppliers", "supplier_agreements")
_DAYS = 13 * 365


class Purchasing(System):
    """Suppliers, their details, agreements and contacts."""

    database = "operations"
    schemas = ("purchasing",)
    tables_sql = """
CREATE SCHEMA purchasing;

CREATE TABLE purchasing.suppliers (
    supplier_id integer PRIMARY KEY,
    supplier_no text NOT NULL UNIQUE,
    company text NOT NULL
);
CREATE TABLE purchasing.supplier_details (
    detail_id integer PRIMARY KEY,
    supplier_id integer REFERENCES purchasing.suppliers,
    contact_email text NOT NULL,
    contact_phone text,
    bank_account text NOT NULL
);
CREATE TABLE purchasing.agreements (
    agreement_no text PRIMARY KEY,
    supplier_id integer REFERENCES purchasing.suppliers,
    signed_on date NOT NULL,
    signatory text NOT NULL,
    signatory_email text NOT NULL
);
CREATE TABLE purchasing.orders (
    id bigint PRIMARY KEY,
    agreement_no text NOT NULL REFERENCES purchasing.agreements,
    what text NOT NULL
);
CREATE TABLE purchasing.contacts (
    contact_id integer PRIMARY KEY,
    supplier_id integer REFERENCES purchasing.suppliers,
    full_name text NOT NULL,
    email text NOT NULL,
    phone text
);
"""
    indexes_sql = """
CREATE INDEX ON purchasing.supplier_details (supplier_id);
CREATE INDEX ON purchasing.agreements (supplier_id);
CREATE INDEX ON purchasing.orders (agreement_no);
CREATE INDEX ON purchasing.contacts (supplier_id);
"""

    @cached_property
    def ends(self) -> list[date | None]:
        """When the relationship with each supplier ended: around each cutoff, on leap days, at any time, not yet."""
        rng = self.maker.rng("ends of relationships")
        edges = [day for category in _CATEGORIES for day in self.maker.edge_days(category)]
        past = [self.maker.day(rng, _DAYS, 1) for _ in range(12)]
        return [*edges, *self.maker.leap_days(12), *past, *[None] * 12]

    @cached_property
    def suppliers(self) -> Table:
        """Number and name."""
        rng = self.maker.rng("suppliers")
        firms = [self.maker.people[self.maker.whom(rng, held=0.0)].company for _ in self.ends]
        rows: list[Row] = [(n, f"SUP-{n:04d}", firm) for n, firm in enumerate(firms, start=1)]
        columns = ("supplier_id", "supplier_no", "company")
        return Table("purchasing.suppliers", columns, rows, [HELD_PEOPLE] * len(rows))

    @property
    def events(self) -> list[tuple[str, date]]:
        """The events that somebody has to have recorded: of which supplier, and on which day."""
        return [(str(row[1]), day) for row, day in zip(self.suppliers.rows, self.ends, strict=True) if day is not None]

    def ended(self, supplier: object) -> date | None:
        """When the relationship ended, by the supplier's id."""
        return self.ends[int(str(supplier)) - 1]

    @cached_property
    def _people(self) -> list[tuple[int, int | None]]:
        """Whom there is something of, and of which supplier: a stranger each, and somebody of whom nobody knows.

        Of the one that ended first, a party to the lawsuit, too.
        """
        first = min((day, supplier) for supplier, day in enumerate(self.ends, start=1) if day is not None)[1]
        strangers = [(HELD_PEOPLE + supplier, supplier) for supplier in range(1, len(self.ends) + 1)]
        return [*strangers, (5, first), (HELD_PEOPLE + 70, None)]

    @cached_property
    def details(self) -> Table:
        """How they are reached, and paid."""
        rows: list[Row] = [
            (n, supplier, *self._reached(whom, n), f"CZ-{n:08d}")
            for n, (whom, supplier) in enumerate(self._people, start=1)
        ]
        columns = ("detail_id", "supplier_id", "contact_email", "contact_phone", "bank_account")
        return Table("purchasing.supplier_details", columns, rows, [whom for whom, _ in self._people])

    def _reached(self, whom: int, n: int) -> tuple[str, str]:
        person = self.maker.people[whom]
        return as_typed(person.email, n), as_dialled(person.phone, n)

    @cached_property
    def agreements(self) -> Table:
        """What was signed, by whom: one or two of each."""
        rng = self.maker.rng("supplier agreements")
        signed = [one for one in self._people for _ in range(rng.choice((1, 1, 2)))]
        rows: list[Row] = []
        for n, (whom, supplier) in enumerate(signed, start=1):
            person, day = self.maker.people[whom], self.maker.day(rng, _DAYS + 900, _DAYS)
            rows.append((f"PUR-{n:05d}", supplier, day, person.name, as_typed(person.email, n)))
        columns = ("agreement_no", "supplier_id", "signed_on", "signatory", "signatory_email")
        return Table("purchasing.agreements", columns, rows, [whom for whom, _ in signed])

    @cached_property
    def orders(self) -> Table:
        """What was ordered by agreements."""
        rng = self.maker.rng("orders")

        def ordered(_parent: Row) -> Iterator[Row]:
            yield from ((rng.choice(("servers", "licences", "chairs", "catering")),) for _ in range(rng.randrange(3)))

        return children_of("purchasing.orders", self.agreements, ("what",), ordered)

    @cached_property
    def contacts(self) -> Table:
        """Personnel who were contact points."""
        rows: list[Row] = [
            (n, supplier, self.maker.people[whom].name, *self._reached(whom, n))
            for n, (whom, supplier) in enumerate(self._people, start=1)
        ]
        columns = ("contact_id", "supplier_id", "full_name", "email", "phone")
        return Table("purchasing.contacts", columns, rows, [whom for whom, _ in self._people])

    @property
    def families(self) -> Sequence[Family]:
        """Details, agreements with their orders, contacts."""
        return (
            Family(self.database, ("suppliers.details",), self.details),
            Family(self.database, ("supplier_agreements.agreements",), self.agreements, (self.orders,)),
            Family(self.database, ("supplier_contacts.contacts",), self.contacts),
        )

    @property
    def judged_by(self) -> Sequence[Table]:
        """The suppliers."""
        return (self.suppliers,)
