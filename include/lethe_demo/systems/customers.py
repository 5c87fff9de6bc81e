"""The CRM's customers: accounts, who uses them, and the contracts with those whose they are.

The row of an account has its number, the company's name and the days on which it was opened and closed, and nothing of
people. It stays, because all else is judged by it, some of it for more than ten years; details, contacts, users and
agreements refer to it and go by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from functools import cached_property

from lethe_demo.calendar_days import first_kept_day
from lethe_demo.people import as_dialled, as_typed
from lethe_demo.records import HELD_PEOPLE, Family, Row, System, Table, children_of

_ALSO_A_PARTY, _SIGNED_WITH_A_PARTY = HELD_PEOPLE + 43, HELD_PEOPLE + 44
"""A contact who is also reached where a party to the lawsuit is; a customer for whom one has signed."""
_DAYS = 13 * 365
_TITLES = ("Messaging agreement", "Data processing agreement", "Service levels", "Reseller agreement")


class Customers(System):
    """Accounts, users, details, contacts, agreements."""

    database = "crm"
    schemas = ("customers",)
    tables_sql = """
CREATE SCHEMA customers;

CREATE TABLE customers.accounts (
    account_no text PRIMARY KEY,
    company text NOT NULL,
    parent text REFERENCES customers.accounts,
    opened_on date NOT NULL,
    closed_on date
);
CREATE TABLE customers.account_users (
    user_id bigint PRIMARY KEY,
    account_no text REFERENCES customers.accounts,
    full_name text NOT NULL,
    email text NOT NULL,
    phone text,
    role text,
    created_at timestamptz NOT NULL
);
CREATE TABLE customers.user_preferences (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES customers.account_users,
    preference text NOT NULL,
    value text NOT NULL
);
CREATE TABLE customers.account_details (
    detail_id bigint PRIMARY KEY,
    account_no text REFERENCES customers.accounts,
    address text NOT NULL,
    billing_email text NOT NULL,
    billing_phone text
);
CREATE TABLE customers.contacts (
    contact_id bigint PRIMARY KEY,
    account_no text REFERENCES customers.accounts,
    full_name text NOT NULL,
    position text NOT NULL,
    email text NOT NULL,
    phone text
);
CREATE TABLE customers.contact_channels (
    id bigint PRIMARY KEY,
    contact_id bigint NOT NULL REFERENCES customers.contacts,
    kind text NOT NULL CHECK (kind IN ('e-mail', 'telephone')),
    value text NOT NULL
);
CREATE TABLE customers.agreements (
    agreement_no text PRIMARY KEY,
    account_no text REFERENCES customers.accounts,
    title text NOT NULL,
    contact_email text NOT NULL
);
CREATE TABLE customers.signatories (
    id bigint PRIMARY KEY,
    agreement_no text NOT NULL REFERENCES customers.agreements,
    full_name text NOT NULL,
    email text NOT NULL
);
CREATE TABLE customers.annexes (
    id bigint PRIMARY KEY,
    agreement_no text NOT NULL REFERENCES customers.agreements,
    title text NOT NULL
);
"""
    indexes_sql = """
CREATE INDEX ON customers.account_users (account_no);
CREATE INDEX ON customers.user_preferences (user_id);
CREATE INDEX ON customers.account_details (account_no);
CREATE INDEX ON customers.contacts (account_no);
CREATE INDEX ON customers.contact_channels (contact_id);
CREATE INDEX ON customers.agreements (account_no);
CREATE INDEX ON customers.signatories (agreement_no);
CREATE INDEX ON customers.annexes (agreement_no);
"""

    @cached_property
    def accounts(self) -> Table:
        """Customers' accounts, some of them resellers' customers: open, closed lately, or long ago."""
        maker = self.maker
        rng = maker.rng("accounts")
        boundary = first_kept_day("account_users", maker.as_of)
        closed: dict[int, date | None] = {1: boundary - timedelta(days=1), 2: boundary, 3: None}
        rows: list[Row] = []
        for n in range(1, self._lately + 1):
            opened = maker.today - timedelta(days=rng.randrange(900, 4_000))
            gone = maker.today - timedelta(days=rng.randrange(1, 880)) if rng.random() < 0.5 else None
            parent = f"CUST-{rng.randrange(4, n):06d}" if n > 10 and rng.random() < 0.2 else None
            whom = maker.whom(rng, held=0.0)
            rows.append((f"CUST-{n:06d}", maker.people[whom].company, parent, opened, closed.get(n, gone)))
        for n, gone in enumerate(self._long_ago, start=len(rows) + 1):
            company = maker.people[maker.whom(rng, held=0.0)].company
            rows.append((f"CUST-{n:06d}", company, None, gone - timedelta(days=700), gone))
        columns = ("account_no", "company", "parent", "opened_on", "closed_on")
        return Table("customers.accounts", columns, rows, [HELD_PEOPLE] * len(rows))

    @property
    def _lately(self) -> int:
        """How many accounts there are whose users are not all gone yet; they come first."""
        return self.maker.count(6_000) + 2

    @cached_property
    def _long_ago(self) -> list[date]:
        """When the other accounts were closed: around each cutoff, on leap days, and at some time."""
        maker = self.maker
        rng = maker.rng("old accounts")
        planted = [*maker.edge_days("accounts"), *maker.edge_days("agreements"), *maker.leap_days(13)]
        return [*planted, *(maker.day(rng, _DAYS, 880) for _ in range(maker.count(400)))]

    # --- who uses them -------------------------------------------------------------------------------------------

    @cached_property
    def users(self) -> Table:
        """Who uses the accounts. What an import of long ago left has no account."""
        maker = self.maker
        rng = maker.rng("account_users")
        numbers = [str(row[0]) for row in self.accounts.rows[: self._lately]]
        rows: list[Row] = []
        about = []
        for n in range(1, maker.count(20_000) + 4):
            whom = maker.whom(rng) if n > 3 else HELD_PEOPLE + n
            person = maker.people[whom]
            account = None if n % 1_009 == 500 else numbers[n - 1] if n <= 3 else rng.choice(numbers)
            created = maker.as_of - timedelta(seconds=rng.randrange(86_400, 900 * 86_400))
            email, phone = as_typed(person.email, n), as_dialled(person.phone, n)
            rows.append((n, account, person.name, email, phone, person.role, created))
            about.append(whom)
        columns = ("user_id", "account_no", "full_name", "email", "phone", "role", "created_at")
        return Table("customers.account_users", columns, rows, about)

    @cached_property
    def preferences(self) -> Table:
        """What users have chosen."""
        rng = self.maker.rng("preferences")

        def chosen(_parent: Row) -> Iterator[Row]:
            for name in ("language", "time_zone", "theme")[: rng.randrange(3)]:
                yield (name, rng.choice(("cs", "de", "en", "dark", "light")))

        return children_of("customers.user_preferences", self.users, ("preference", "value"), chosen)

    # --- the contracts -------------------------------------------------------------------------------------------

    @cached_property
    def _with_contracts(self) -> list[tuple[str | None, int]]:
        """Accounts and people: of old accounts and some others; what an import left has none; parties have all."""
        maker = self.maker
        rng = maker.rng("contracts")
        numbers = [str(row[0]) for row in self.accounts.rows]
        old, lately = numbers[self._lately :], numbers[: max(20, maker.count(800))]
        over = old[len(maker.edge_days("accounts"))]  # so long ago that nothing of it may be left
        parties = [(over, 9), (over, _ALSO_A_PARTY), (over, _SIGNED_WITH_A_PARTY)]
        return [(None, HELD_PEOPLE), *parties, *((number, maker.whom(rng)) for number in (*old, *lately))]

    @cached_property
    def details(self) -> Table:
        """Where customers are, and where their invoices go."""
        rng = self.maker.rng("account details")
        rows: list[Row] = []
        for n, (number, whom) in enumerate(self._with_contracts, start=1):
            person = self.maker.people[whom]
            address = f"{rng.randrange(1, 200)} {person.company.split()[0]} Street"
            rows.append((n, number, address, as_typed(person.email, n), as_dialled(person.phone, n)))
        columns = ("detail_id", "account_no", "address", "billing_email", "billing_phone")
        return Table("customers.account_details", columns, rows, [whom for _, whom in self._with_contracts])

    @cached_property
    def contacts(self) -> Table:
        """Whom at a customer's one talks to."""
        rows: list[Row] = []
        for n, (number, whom) in enumerate(self._with_contracts, start=1):
            person = self.maker.people[whom]
            rows.append((n, number, person.name, person.role, as_typed(person.email, n), as_dialled(person.phone, n)))
        columns = ("contact_id", "account_no", "full_name", "position", "email", "phone")
        return Table("customers.contacts", columns, rows, [whom for _, whom in self._with_contracts])

    @cached_property
    def channels(self) -> Table:
        """Where else contacts can be reached."""
        rows: list[Row] = []
        about, parents = [], []
        for index, (contact, whom) in enumerate(zip(self.contacts.rows, self.contacts.about, strict=True)):
            reached = 10 if whom == _ALSO_A_PARTY else whom
            person = self.maker.people[reached]
            for kind, value in (("e-mail", person.email), ("telephone", person.phone))[: 2 if index % 3 else 1]:
                rows.append((len(rows) + 1, contact[0], kind, value))
                about.append(reached)
                parents.append(index)
        return Table("customers.contact_channels", ("id", "contact_id", "kind", "value"), rows, about, parents)

    @cached_property
    def agreements(self) -> Table:
        """What was agreed with customers."""
        rng = self.maker.rng("agreements")
        rows: list[Row] = []
        for n, (number, whom) in enumerate(self._with_contracts, start=1):
            email = as_typed(self.maker.people[whom].email, n)
            rows.append((f"AGR-{n:06d}", number, rng.choice(_TITLES), email))
        columns = ("agreement_no", "account_no", "title", "contact_email")
        return Table("customers.agreements", columns, rows, [whom for _, whom in self._with_contracts])

    @cached_property
    def signatories(self) -> Table:
        """Who signed."""
        rows: list[Row] = []
        about, parents = [], []
        for index, (agreement, whom) in enumerate(zip(self.agreements.rows, self.agreements.about, strict=True)):
            signed = 11 if whom == _SIGNED_WITH_A_PARTY else whom
            person = self.maker.people[signed]
            rows.append((index + 1, agreement[0], person.name, person.email))
            about.append(signed)
            parents.append(index)
        return Table("customers.signatories", ("id", "agreement_no", "full_name", "email"), rows, about, parents)

    @cached_property
    def annexes(self) -> Table:
        """What was added to agreements."""
        rng = self.maker.rng("annexes")

        def added(_parent: Row) -> Iterator[Row]:
            yield from ((f"Annex {one}: prices",) for one in range(1, rng.randrange(1, 4)))

        return children_of("customers.annexes", self.agreements, ("title",), added)

    # --- all of it -----------------------------------------------------------------------------------------------

    @property
    def families(self) -> Sequence[Family]:
        """Users, details, contacts, agreements."""
        return (
            Family(self.database, ("account_users.users",), self.users, (self.preferences,)),
            Family(self.database, ("accounts.details",), self.details),
            Family(self.database, ("accounts.contacts",), self.contacts, (self.channels,)),
            Family(self.database, ("agreements.agreements",), self.agreements, (self.signatories, self.annexes)),
        )

    @property
    def judged_by(self) -> Sequence[Table]:
        """The accounts."""
        return (self.accounts,)
