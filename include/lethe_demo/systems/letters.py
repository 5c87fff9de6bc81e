"""Letters for visas: invitations to events, and letters of support and guarantee, handed in at consulates.

How long one is kept depends on the law of the country whose consulate it went to.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import cached_property

from lethe_demo.calendar_days import BY_VALUE
from lethe_demo.people import as_dialled, as_typed
from lethe_demo.records import HELD_PEOPLE, Family, Row, System, Table

_WITH_A_PARTY = HELD_PEOPLE + 45
"""Whoever travels with a party to the lawsuit."""
_CONSULATES = (
    ("Prague", "CZ"), ("Brno", "CZ"), ("Berlin", "DE"), ("Munich", "DE"), ("Vienna", "AT"), ("Oslo", "NO"),
    ("Brasília", "BR"),
)  # fmt: skip
"""Of Brazil's nobody has said yet how long."""


class Letters(System):
    """Letters, and who travels along."""

    database = "operations"
    schemas = ("visas",)
    tables_sql = """
CREATE SCHEMA visas;

CREATE TABLE visas.consulates (
    consulate_id integer PRIMARY KEY,
    city text NOT NULL,
    country text NOT NULL
);
CREATE TABLE visas.letters (
    letter_no text PRIMARY KEY,
    consulate_id integer REFERENCES visas.consulates,
    kind text NOT NULL CHECK (kind IN ('invitation', 'support', 'guarantee')),
    event_code text,
    full_name text NOT NULL,
    email text NOT NULL,
    phone text,
    passport_no text NOT NULL,
    issued_on date
);
CREATE TABLE visas.companions (
    id bigint PRIMARY KEY,
    letter_no text NOT NULL REFERENCES visas.letters,
    full_name text NOT NULL,
    email text NOT NULL
);
"""
    indexes_sql = """
CREATE INDEX ON visas.letters (issued_on);
CREATE INDEX ON visas.letters (consulate_id);
CREATE INDEX ON visas.companions (letter_no);
"""

    @cached_property
    def consulates(self) -> Table:
        """Where letters are handed in."""
        rows: list[Row] = [(n, *one) for n, one in enumerate(_CONSULATES, start=1)]
        return Table("visas.consulates", ("consulate_id", "city", "country"), rows, [HELD_PEOPLE] * len(rows))

    @cached_property
    def letters(self) -> Table:
        """Letters of twelve years."""
        rng = self.maker.rng("letters")
        planted = self._planted()
        rows: list[Row] = []
        about = []
        for n in range(1, max(80, self.maker.count(1_500)) + 1):
            whom, consulate = self.maker.whom(rng, held=0.01), rng.randrange(1, len(_CONSULATES) + 1)
            issued: date | None = self.maker.day(rng, 12 * 365)
            event = f"EVT-{issued:%Y%m}-000"
            if n <= len(planted):
                whom, consulate, issued, event = planted[n - 1]
            person, kind = self.maker.people[whom], rng.choice(("invitation", "invitation", "support", "guarantee"))
            contact = (person.name, as_typed(person.email, n), as_dialled(person.phone, n))
            rows.append((f"VL-{n:06d}", consulate, kind, event, *contact, f"X{rng.randrange(10**7):07d}", issued))
            about.append(whom)
        columns = (
            "letter_no", "consulate_id", "kind", "event_code", "full_name", "email", "phone", "passport_no",
            "issued_on",
        )  # fmt: skip
        return Table("visas.letters", columns, rows, about)

    def _planted(self) -> list[tuple[int, int, date | None, str]]:
        """Around each country's cutoff, leap days, no day; of a party, with a party, and for the event investigated."""
        countries = {country: n for n, (_, country) in enumerate(_CONSULATES, start=1)}
        edges = [(countries[one], day) for one in BY_VALUE["letters"] for day in self.maker.edge_days("letters", one)]
        dated: list[tuple[int, date | None]] = [*edges, *((1, day) for day in self.maker.leap_days(12)), (1, None)]
        long_ago = self.maker.edge_days("letters", "NO")[0]
        others = [(HELD_PEOPLE + n, consulate, day, "EVT-000000-000") for n, (consulate, day) in enumerate(dated)]
        parties = [(whom, countries["NO"], long_ago, "EVT-000000-000") for whom in (12, _WITH_A_PARTY)]
        return [*others, *parties, (HELD_PEOPLE, countries["NO"], long_ago, self.maker.held_event)]

    @cached_property
    def companions(self) -> Table:
        """Who travels along, and whose name is in the letter too."""
        rng = self.maker.rng("companions")
        rows: list[Row] = []
        about, parents = [], []
        for index, (letter, whom) in enumerate(zip(self.letters.rows, self.letters.about, strict=True)):
            if whom == _WITH_A_PARTY or rng.random() < 0.2:
                along = 13 if whom == _WITH_A_PARTY else self.maker.whom(rng, held=0.0)
                rows.append((len(rows) + 1, letter[0], self.maker.people[along].name, self.maker.people[along].email))
                about.append(along)
                parents.append(index)
        return Table("visas.companions", ("id", "letter_no", "full_name", "email"), rows, about, parents)

    @property
    def families(self) -> Sequence[Family]:
        """The letters."""
        return (Family(self.database, ("letters.letters",), self.letters, (self.companions,)),)

    @property
    def judged_by(self) -> Sequence[Table]:
        """The consulates."""
        return (self.consulates,)
