"""The applicant-tracking system: candidates who consented, and such as have only been approached.

As in most of them, both are rows of one table, told apart by whether there is a consent. The e-mail that asks for it
goes to many people at once, so that its day is known of the mailing alone; and of people whom a sourcing tool found,
address and number may be nowhere but in the profile that it copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from functools import cached_property

from lethe_demo.people import Person, as_dialled, as_typed
from lethe_demo.records import HELD_PEOPLE, Family, Row, System, Table, as_json, children_of

_CONSENTED_DAYS = {"CZ": 365, "DE": 180, "AT": 210, "PL": 365, "SE": 730}
"""For how long people are asked to consent, by the country in which they would work."""
_NAMED_A_PARTY = HELD_PEOPLE + 40
"""Whoever has a party to the lawsuit for a referee."""
_POSITIONS = ("Software Engineer", "Account Manager", "Support Agent", "Data Analyst", "Site Reliability Engineer")


class Hiring(System):
    """Mailings, candidates, and what belongs to them."""

    database = "operations"
    schemas = ("hiring",)
    tables_sql = """
CREATE SCHEMA hiring;

CREATE TABLE hiring.mailings (
    mailing_id integer PRIMARY KEY,
    template text NOT NULL,
    sent_at timestamptz
);
CREATE TABLE hiring.candidates (
    candidate_id bigint PRIMARY KEY,
    source text NOT NULL CHECK (source IN ('applied', 'referred', 'sourced')),
    country text NOT NULL,
    full_name text NOT NULL,
    email text,
    phone text,
    profile jsonb,
    mailing_id integer REFERENCES hiring.mailings,
    consented_at timestamptz,
    consent_until date,
    withdrawn_at timestamptz
);
CREATE TABLE hiring.notes (
    id bigint PRIMARY KEY,
    candidate_id bigint NOT NULL REFERENCES hiring.candidates,
    written_at timestamptz NOT NULL,
    note text NOT NULL
);
CREATE TABLE hiring.consents (
    id bigint PRIMARY KEY,
    candidate_id bigint NOT NULL REFERENCES hiring.candidates,
    given_on date NOT NULL,
    until date NOT NULL
);
CREATE TABLE hiring.referees (
    id bigint PRIMARY KEY,
    candidate_id bigint NOT NULL REFERENCES hiring.candidates,
    full_name text NOT NULL,
    email text NOT NULL,
    phone text NOT NULL
);
CREATE TABLE hiring.applications (
    id bigint PRIMARY KEY,
    candidate_id bigint NOT NULL REFERENCES hiring.candidates,
    position text NOT NULL,
    stage text NOT NULL
);
CREATE TABLE hiring.interviews (
    id bigint PRIMARY KEY,
    application_id bigint NOT NULL REFERENCES hiring.applications,
    round integer NOT NULL,
    assessment text NOT NULL
);
"""
    indexes_sql = """
CREATE INDEX ON hiring.mailings (sent_at);
CREATE INDEX ON hiring.candidates (mailing_id);
CREATE INDEX ON hiring.candidates (consent_until);
CREATE INDEX ON hiring.candidates (withdrawn_at);
CREATE INDEX ON hiring.notes (candidate_id);
CREATE INDEX ON hiring.consents (candidate_id);
CREATE INDEX ON hiring.referees (candidate_id);
CREATE INDEX ON hiring.applications (candidate_id);
CREATE INDEX ON hiring.interviews (application_id);
"""

    @cached_property
    def mailings(self) -> Table:
        """E-mails that ask for consent, the last of them not sent yet."""
        rng = self.maker.rng("mailings")
        sent = [*self.maker.edge_moments("recruitment_prospects")]
        sent += [self.maker.moment(rng, 60) for _ in range(20)]
        rows: list[Row] = [(n, f"consent-{n % 3 + 1}", at) for n, at in enumerate(sent, start=1)]
        rows.append((len(rows) + 1, "consent-4", None))
        return Table("hiring.mailings", ("mailing_id", "template", "sent_at"), rows, [HELD_PEOPLE] * len(rows))

    @cached_property
    def candidates(self) -> Table:
        """Those who have not consented first."""
        rows: list[Row] = []
        about = []
        for whom, values in (*self._approached(), *self._consenting()):
            rows.append((len(rows) + 1, *values))
            about.append(whom)
        columns = (
            "candidate_id", "source", "country", "full_name", "email", "phone", "profile", "mailing_id",
            "consented_at", "consent_until", "withdrawn_at",
        )  # fmt: skip
        return Table("hiring.candidates", columns, rows, about)

    def _approached(self) -> Iterator[tuple[int, Row]]:
        """One of each mailing, a party to the lawsuit whose time is over, one to whom nobody has written, and many."""
        rng = self.maker.rng("prospects")
        mailings = [int(str(row[0])) for row in self.mailings.rows]
        planted: list[tuple[int, int | None]] = [(HELD_PEOPLE + n, mailing) for n, mailing in enumerate(mailings)]
        planted += [(1, 1), (HELD_PEOPLE, None)]
        for n in range(max(40, self.maker.count(2_500))):
            whom = self.maker.whom(rng)
            mailing: int | None = None if n % 401 == 60 else rng.choice(mailings)
            if n < len(planted):
                whom, mailing = planted[n]
            yield (
                whom,
                ("sourced", rng.choice(list(_CONSENTED_DAYS)), *self._contact(whom, n), mailing, None, None, None),
            )

    def _consenting(self) -> Iterator[tuple[int, Row]]:
        rng = self.maker.rng("candidates")
        planted = self._planted()
        for n in range(max(40, self.maker.count(3_500))):
            country = rng.choice(list(_CONSENTED_DAYS))
            given = self.maker.moment(rng, 900)
            until: date | None = given.date() + timedelta(days=_CONSENTED_DAYS[country])
            withdrawn = given + timedelta(days=rng.randrange(1, 90)) if rng.random() < 0.08 else None
            withdrawn = None if withdrawn is None or withdrawn > self.maker.as_of else withdrawn
            whom = self.maker.whom(rng)
            if n < len(planted):
                whom, until, withdrawn = planted[n]
            source = rng.choice(("applied", "applied", "referred", "sourced"))
            mailing = rng.randrange(1, 20) if source == "sourced" else None
            yield whom, (source, country, *self._contact(whom, n), mailing, given, until, withdrawn)

    def _planted(self) -> list[tuple[int, date | None, datetime | None]]:
        """Ends of consents around today, withdrawals around midnight, a leap day, nothing at all, and somebody held."""
        later, over = self.maker.today + timedelta(days=90), self.maker.today - timedelta(days=30)
        found: list[tuple[date | None, datetime | None]] = [(day, None) for day in self.maker.edge_days("recruitment")]
        found += [(later, moment) for moment in self.maker.edge_moments("recruitment")]
        found += [(None, moment) for moment in self.maker.edge_moments("recruitment")]
        found += [(day, None) for day in self.maker.leap_days(4)]
        found += [(None, None)]
        strangers = [(HELD_PEOPLE + n, *clocks) for n, clocks in enumerate(found)]
        return [*strangers, (2, over, None), (_NAMED_A_PARTY, over, None)]

    def _contact(self, whom: int, n: int) -> Row:
        """Name, address, number and profile: of every fifth the profile alone has address and number."""
        person: Person = self.maker.people[whom]
        profile = {"headline": person.role, "company": person.company}
        if n % 5 == 4:
            found = profile | {"contact": {"email": person.email, "phone": person.phone}}
            return (person.name, None, None, as_json(found))
        return (person.name, as_typed(person.email, n), as_dialled(person.phone, n), as_json(profile))

    @cached_property
    def notes(self) -> Table:
        """What recruiters noted."""
        rng = self.maker.rng("hiring notes")

        def noted(parent: Row) -> Iterator[Row]:
            for _ in range(rng.choice((0, 1, 1, 2))):
                yield (self.maker.moment(rng, 60), f"{parent[3]} seems to be a good fit")

        return children_of("hiring.notes", self.candidates, ("written_at", "note"), noted)

    @cached_property
    def consents(self) -> Table:
        """Each consent that was given, of which the candidate has the last."""

        def given(parent: Row) -> Iterator[Row]:
            at, until = parent[8], parent[9]
            if isinstance(at, datetime) and isinstance(until, date):
                yield (at.date(), until)

        return children_of("hiring.consents", self.candidates, ("given_on", "until"), given)

    @cached_property
    def referees(self) -> Table:
        """Whom candidates named."""
        rng = self.maker.rng("referees")
        rows: list[Row] = []
        about, parents = [], []
        for index, row in enumerate(self.candidates.rows):
            candidate = self.candidates.about[index]
            many = 1 if candidate == _NAMED_A_PARTY else rng.choice((0, 0, 1, 2))
            for _ in range(many if row[8] is not None else 0):
                whom = 3 if candidate == _NAMED_A_PARTY else self.maker.whom(rng, held=0.0)
                person, n = self.maker.people[whom], len(rows) + 1
                rows.append((n, row[0], person.name, as_typed(person.email, n), as_dialled(person.phone, n)))
                about.append(whom)
                parents.append(index)
        return Table("hiring.referees", ("id", "candidate_id", "full_name", "email", "phone"), rows, about, parents)

    @cached_property
    def applications(self) -> Table:
        """What candidates applied for."""
        rng = self.maker.rng("applications")

        def applied(parent: Row) -> Iterator[Row]:
            for _ in range(rng.choice((1, 1, 1, 2)) if parent[8] is not None else 0):
                yield (rng.choice(_POSITIONS), rng.choice(("new", "interview", "offer", "rejected")))

        return children_of("hiring.applications", self.candidates, ("position", "stage"), applied)

    @cached_property
    def interviews(self) -> Table:
        """How interviews went, application by application."""
        rng = self.maker.rng("interviews")

        def held(parent: Row) -> Iterator[Row]:
            yield from ((one, "knows the field") for one in range(1, 1 if parent[3] == "new" else rng.randrange(1, 4)))

        columns = ("round", "assessment")
        return children_of("hiring.interviews", self.applications, columns, held, foreign_key=("application_id",))

    @property
    def families(self) -> Sequence[Family]:
        """Candidates, by whether they have consented."""
        datasets = ("recruitment_prospects.prospects", "recruitment.candidates")
        children = (self.notes, self.consents, self.referees, self.applications, self.interviews)
        return (Family(self.database, datasets, self.candidates, children),)

    @property
    def judged_by(self) -> Sequence[Table]:
        """The mailings."""
        return (self.mailings,)
