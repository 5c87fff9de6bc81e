"""Market research: answers to anonymous surveys, in which some say who they are all the same.

What they say is written down here with what has to be left of it: by hand, and not by what recognises it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property

from lethe_demo.people import Person
from lethe_demo.records import HELD_PEOPLE, Family, Row, System, Table

NOBODY = HELD_PEOPLE
"""Whom answers that name nobody are about: nobody whom a hold names."""
_SURVEYS = ("NPS-2025", "NPS-2026", "PRICING-2026", "ONBOARDING-2026")
_PLAIN = (
    "The onboarding was slow and I did not find the button for two weeks.",
    "Skvělá podpora, příště bych ocenil rychlejší odpověď.",
    "We sent 12 000 000 messages in 2025 and lost none",
    "Order 2024/123456 came on 24. 12. 2026 at 18:30, which was late",
    "Version 10.2.3.4 crashed, the one before did not",
    "support@example.com answered within the hour",
    "I'm Happy with it. Thanks, it was fast",
    "Pan European coverage is missing",
    "The code CZ65 0800 0000 1920 0014 5398 on the invoice is wrong",
    "číslo smlouvy 7360285164",
    "12:30:45 to 13:00:00 nothing worked",
    "[e-mail] was in the answer before",
)
"""Answers in which nobody is, and much that looks like it."""
_DIALLED = ("+42072", "+42077")
"""Numbers of networks that there are: with others somebody's may be none."""


def _spaced(phone: str) -> str:
    return f"{phone[:4]} {phone[4:7]} {phone[7:10]} {phone[10:]}"


def _national(phone: str) -> str:
    return f"{phone[4:7]} {phone[7:10]} {phone[10:]}"


_REVEALING: tuple[tuple[str, Callable[[Person], Mapping[str, str]]], ...] = (
    ("Write to {email}, I have more ideas", lambda who: {"email": who.email}),
    ("{email}", lambda who: {"email": who.email.upper()}),
    ("Zavolejte mi na {phone}, díky", lambda who: {"phone": _spaced(who.phone)}),
    ("tel. {phone} (after five)", lambda who: {"phone": _national(who.phone)}),
    ("my mail is {email}", lambda who: {"email": who.email.replace("@", " (at) ")}),
    ("{email} or {phone}", lambda who: {"email": who.email, "phone": who.phone}),
    ("{name}, {phone}", lambda who: {"name": who.name, "phone": who.phone}),
)
"""Answers by which a hold finds who gave them, and what of them is personal."""
_FOUND_BY_NO_HOLD: tuple[tuple[str, Callable[[Person], Mapping[str, str]]], ...] = (
    ("My name is {name} and I like it", lambda who: {"name": who.name}),
    ("Great product!\n\nBest regards,\n{name}", lambda who: {"name": who.name}),
    ("refund to {account} please", lambda _: {"account": "CZ65 0800 0000 1920 0014 5399"}),
    ("card {card} was charged twice", lambda _: {"card": "4111 1111 1111 1111"}),
    ("moje rodné číslo je {id}, proč ho chcete?", lambda _: {"id": "736028/5163"}),
    ("I was blocked from {IP} all day", lambda _: {"IP": "81.2.69.142"}),
)
"""Those of people whom no hold names."""
_TOKENS = {"email": "[e-mail]", "phone": "[phone]"}


class Surveys(System):
    """Answers to anonymous surveys."""

    database = "operations"
    schemas = ("surveys",)
    tables_sql = """
CREATE SCHEMA surveys;

CREATE TABLE surveys.answers (
    answer_id bigint PRIMARY KEY,
    survey text NOT NULL,
    answered_at timestamptz,
    score smallint NOT NULL CHECK (score BETWEEN 0 AND 10),
    liked text,
    missing text
);
"""
    indexes_sql = """
CREATE INDEX ON surveys.answers (answered_at);
"""

    @cached_property
    def _made(self) -> tuple[Table, dict[int, Row]]:
        """The answers, and by their index what is to be left of those that reveal somebody."""
        rng = self.maker.rng("surveys")
        held, others = self._revealing(0, HELD_PEOPLE), self._revealing(HELD_PEOPLE, len(self.maker.people))
        said = [(whom, text) for whom in held[:3] for text in _REVEALING]
        said += [(whom, text) for whom in others[:4] for text in (*_REVEALING, *_FOUND_BY_NO_HOLD)]
        count = max(200, self.maker.count(20_000))
        rows: list[Row] = []
        about: list[int] = []
        left: dict[int, Row] = {}
        for n in range(1, count + 1):
            named = said[n - 1] if n <= len(said) else None
            if named is None and rng.random() < 0.03:
                named = (rng.choice(others), rng.choice((*_REVEALING, *_FOUND_BY_NO_HOLD)))
            texts, redacted = self._texts(n, named)
            row = (n, _SURVEYS[n % len(_SURVEYS)], self._answered(n, len(said)), rng.randrange(11))
            rows.append((*row, *texts))
            about.append(named[0] if named else NOBODY)
            if named:
                left[n - 1] = (*row, *redacted)
        columns = ("answer_id", "survey", "answered_at", "score", "liked", "missing")
        return Table("surveys.answers", columns, rows, about), left

    def _revealing(self, first: int, last: int) -> list[int]:
        """People from one index to another whose telephone numbers are of a network that there is."""
        people = self.maker.people
        return [whom for whom in range(first, last) if people[whom].phone.startswith(_DIALLED)]

    def _texts(
        self, n: int, named: tuple[int, tuple[str, Callable[[Person], Mapping[str, str]]]] | None
    ) -> tuple[tuple[str | None, str | None], tuple[str | None, str | None]]:
        """Both answers of a row, as they are given and as they have to be left."""
        plain = _PLAIN[n % len(_PLAIN)]
        if named is None:
            return (plain, None if n % 3 else _PLAIN[n % 7]), (None, None)
        whom, (text, say) = named
        said = say(self.maker.people[whom])
        tokens = {kind: _TOKENS.get(kind, f"[{kind}]") for kind in said}
        given = text.format(**said)
        rest = text.format(**{kind: _in_place(tokens[kind], said[kind]) for kind in said})
        return ((plain, given), (plain, rest)) if n % 2 else ((given, None), (rest, None))

    def _answered(self, n: int, planted: int) -> datetime | None:
        """Before; of a few of the planted ones and others not yet, by a clock that is ahead, or nobody knows when."""
        if n in (planted, planted - 1):
            return None
        if n in (planted - 2, planted - 3):
            return self.maker.as_of + timedelta(days=2)
        return self.maker.moment(self.maker.rng(f"surveys/{n}"), 600, 1)

    @property
    def answers(self) -> Table:
        """All answers."""
        return self._made[0]

    def left_of(self, index: int) -> Row | None:
        """What has to be left of an answer that reveals somebody; None of one that does not."""
        return self._made[1].get(index)

    @property
    def families(self) -> Sequence[Family]:
        """The answers."""
        return (Family(self.database, ("market_research.answers",), self.answers),)


def _in_place(token: str, said: str) -> str:
    """A token has room where the text was, else asterisks have."""
    return token if len(token) <= len(said) else "*" * len(said)
