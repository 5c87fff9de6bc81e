"""User research: studies, each of which declares for how long it is kept, and the sessions with those who took part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from functools import cached_property

from lethe_demo.calendar_days import BY_VALUE
from lethe_demo.people import as_dialled, as_typed
from lethe_demo.records import HELD_PEOPLE, Family, Row, System, Table, children_of

_WATCHED_BY_A_PARTY = HELD_PEOPLE + 46
"""Whoever has a party to the lawsuit watch their sessions."""
_ABOUT = ("checkout", "onboarding", "search", "billing pages", "invitations", "mobile")
_UNTIL_FURTHER_NOTICE = "until further notice"


class Research(System):
    """Studies, sessions, recordings, observers."""

    database = "operations"
    schemas = ("research",)
    tables_sql = """
CREATE SCHEMA research;

CREATE TABLE research.studies (
    study text PRIMARY KEY,
    title text NOT NULL,
    started_on date NOT NULL,
    ended_on date,
    keeping text NOT NULL
);
CREATE TABLE research.sessions (
    session_id bigint PRIMARY KEY,
    study text NOT NULL REFERENCES research.studies,
    participant text NOT NULL,
    email text NOT NULL,
    phone text,
    notes text NOT NULL
);
CREATE TABLE research.recordings (
    id bigint PRIMARY KEY,
    session_id bigint NOT NULL REFERENCES research.sessions,
    medium text NOT NULL,
    recording bytea NOT NULL
);
CREATE TABLE research.observers (
    id bigint PRIMARY KEY,
    session_id bigint NOT NULL REFERENCES research.sessions,
    email text NOT NULL
);
"""
    indexes_sql = """
CREATE INDEX ON research.studies (ended_on);
CREATE INDEX ON research.sessions (study);
CREATE INDEX ON research.recordings (session_id);
CREATE INDEX ON research.observers (session_id);
"""

    @cached_property
    def studies(self) -> Table:
        """Studies that ended around their cutoffs, at some time, or have not; one declares no period that there is."""
        rng = self.maker.rng("studies")
        periods = list(BY_VALUE["ux_research"])
        long_ago = self.maker.edge_days("ux_research", periods[-1])[0]
        ends: list[tuple[date | None, str]] = [(long_ago, periods[-1]), (long_ago, _UNTIL_FURTHER_NOTICE)]
        ends += [(day, period) for period in periods for day in self.maker.edge_days("ux_research", period)]
        ends += [(day, periods[-1]) for day in self.maker.leap_days(4)]
        ends += [(None, period) for period in periods]
        ends += [(self.maker.day(rng, 1_100), rng.choice(periods)) for _ in range(20)]
        rows: list[Row] = []
        for n, (ended, period) in enumerate(ends, start=1):
            started = (ended or self.maker.today) - timedelta(days=rng.randrange(10, 90))
            rows.append((f"UX-{n:03d}", f"{rng.choice(_ABOUT)}, round {n}", started, ended, period))
        columns = ("study", "title", "started_on", "ended_on", "keeping")
        return Table("research.studies", columns, rows, [HELD_PEOPLE] * len(rows))

    @cached_property
    def sessions(self) -> Table:
        """One of every study, and many; a party took part in the first, and watched in it."""
        rng = self.maker.rng("sessions")
        studies = [row[0] for row in self.studies.rows]
        planted = [(HELD_PEOPLE + n, study) for n, study in enumerate(studies)]
        planted += [(14, studies[0]), (_WATCHED_BY_A_PARTY, studies[0])]
        rows: list[Row] = []
        about = []
        for n in range(1, max(80, self.maker.count(1_200)) + 1):
            whom, study = planted[n - 1] if n <= len(planted) else (self.maker.whom(rng), rng.choice(studies))
            person = self.maker.people[whom]
            contact = (person.name, as_typed(person.email, n), as_dialled(person.phone, n))
            rows.append((n, study, *contact, f"{person.name} did not find the button"))
            about.append(whom)
        return Table(
            "research.sessions", ("session_id", "study", "participant", "email", "phone", "notes"), rows, about
        )

    @cached_property
    def recordings(self) -> Table:
        """What was recorded of sessions."""
        rng = self.maker.rng("recordings")

        def recorded(_parent: Row) -> Iterator[Row]:
            for medium in ("screen", "voice")[: rng.randrange(1, 3)]:
                yield (medium, rng.randbytes(64))

        return children_of("research.recordings", self.sessions, ("medium", "recording"), recorded)

    @cached_property
    def observers(self) -> Table:
        """Guests who watched."""
        rows: list[Row] = []
        about, parents = [], []
        for index, (session, whom) in enumerate(zip(self.sessions.rows, self.sessions.about, strict=True)):
            if whom == _WATCHED_BY_A_PARTY:
                rows.append((len(rows) + 1, session[0], self.maker.people[15].email))
                about.append(15)
                parents.append(index)
        return Table("research.observers", ("id", "session_id", "email"), rows, about, parents)

    @property
    def families(self) -> Sequence[Family]:
        """The sessions."""
        children = (self.recordings, self.observers)
        return (Family(self.database, ("ux_research.sessions",), self.sessions, children),)

    @property
    def judged_by(self) -> Sequence[Table]:
        """The studies."""
        return (self.studies,)
