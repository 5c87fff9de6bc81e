"""The newsletter tool: subscriptions, what was sent to them, and those who must not be written to again.

It came from elsewhere and keeps every moment as text. One subscription has one address, and whoever subscribes again
after it was erased is a new one. The suppression list has addresses, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import cached_property

from lethe_demo.records import HELD_PEOPLE, Family, Row, System, Table, children_of

_ENDS = ("withdrawn_at", "unsubscribed_at", "objected_at", "business_ended_at")
_AGAIN_EVERY = 41
"""Of so many subscribers one had objected before and subscribed again."""
_UNKNOWN = HELD_PEOPLE + 52
"""Of whom, and of every 997th after, an import left no moment."""


class Newsletter(System):
    """Subscriptions, deliveries, and the suppression list."""

    database = "crm"
    schemas = ("newsletter",)
    tables_sql = """
CREATE SCHEMA newsletter;

CREATE TABLE newsletter.subscriptions (
    subscription_id bigint PRIMARY KEY,
    email text NOT NULL UNIQUE,
    full_name text,
    basis text NOT NULL CHECK (basis IN ('consent', 'legitimate interest')),
    subscribed_at text NOT NULL,
    withdrawn_at text,
    unsubscribed_at text,
    objected_at text,
    business_ended_at text
);
CREATE TABLE newsletter.deliveries (
    id bigint PRIMARY KEY,
    subscription_id bigint NOT NULL REFERENCES newsletter.subscriptions,
    issue text NOT NULL,
    opened boolean NOT NULL
);
CREATE TABLE newsletter.suppression_list (
    email text PRIMARY KEY
);
"""
    indexes_sql = """
CREATE INDEX ON newsletter.subscriptions (subscribed_at);
CREATE INDEX ON newsletter.subscriptions (withdrawn_at);
CREATE INDEX ON newsletter.subscriptions (unsubscribed_at);
CREATE INDEX ON newsletter.subscriptions (objected_at);
CREATE INDEX ON newsletter.subscriptions (business_ended_at);
CREATE INDEX ON newsletter.deliveries (subscription_id);
"""

    @property
    def _size(self) -> int:
        """How many people have a subscription; all others may be on the list."""
        return min(max(100, self.maker.count(12_000)), len(self.maker.people) - 60)

    @cached_property
    def _again(self) -> frozenset[int]:
        """Who had objected, and subscribed again: a party to the lawsuit, one whose moment is unknown, and others."""
        others = (whom for whom in range(HELD_PEOPLE + 60, self._size) if whom % _AGAIN_EVERY == 0)
        return frozenset({4, HELD_PEOPLE + 10, _UNKNOWN, *others})

    @cached_property
    def subscriptions(self) -> Table:
        """One a person: most go on, some ended, some will in two days, and of a few an import left no moment."""
        rng = self.maker.rng("subscriptions")
        planted = self._planted()
        rows: list[Row] = []
        for whom in range(self._size):
            person = self.maker.people[whom]
            ends: dict[str, str | None] = {}
            if whom in planted:
                ends = planted[whom]
            elif whom not in self._again and rng.random() < 0.3:
                ends = {rng.choice(_ENDS): self.maker.moment(rng, 30, 1).isoformat()}
            basis = "legitimate interest" if "business_ended_at" in ends or rng.random() < 0.2 else "consent"
            began = self.maker.moment(rng, 1_500, 60).isoformat() if whom % 997 != _UNKNOWN else "imported"
            moments = (ends.get(name) for name in _ENDS)
            rows.append((whom + 1, person.email, person.name, basis, began, *moments))
        columns = ("subscription_id", "email", "full_name", "basis", "subscribed_at", *_ENDS)
        return Table("newsletter.subscriptions", columns, rows, list(range(self._size)))

    def _planted(self) -> dict[int, dict[str, str | None]]:
        """By the person: each way to end it, of strangers and of parties to the lawsuit, and what cannot be read."""
        over, soon = self.maker.as_of - timedelta(days=3), self.maker.as_of + timedelta(days=2)
        found: dict[int, dict[str, str | None]] = {
            HELD_PEOPLE + n: {name: over.isoformat()} for n, name in enumerate(_ENDS)
        }
        found |= {n: {name: over.isoformat()} for n, name in enumerate(_ENDS)}
        found |= {HELD_PEOPLE + 4 + n: {name: soon.isoformat()} for n, name in enumerate(_ENDS)}
        found[HELD_PEOPLE + 8] = {"unsubscribed_at": "yes"}
        found[HELD_PEOPLE + 9] = {"objected_at": over.isoformat(), "business_ended_at": soon.isoformat()}
        return found

    @cached_property
    def deliveries(self) -> Table:
        """Which issues were sent."""
        rng = self.maker.rng("deliveries")

        def sent(_parent: Row) -> Iterator[Row]:
            yield from ((f"2026-{issue:02d}", rng.random() < 0.4) for issue in range(1, rng.randrange(1, 4)))

        columns = ("issue", "opened")
        return children_of("newsletter.deliveries", self.subscriptions, columns, sent)

    @cached_property
    def suppression_list(self) -> Table:
        """Those who objected before: some of them have subscribed again."""
        size, people = self._size, self.maker.people
        gone = range(size, min(len(people), size + max(50, self.maker.count(2_000))))
        about = [*sorted(self._again), *gone]
        rows: list[Row] = [(people[whom].email,) for whom in about]
        return Table("newsletter.suppression_list", ("email",), rows, about)

    def objected(self, row: Row) -> bool:
        """Whether whoever has a subscription objected to it."""
        return row[5 + _ENDS.index("objected_at")] is not None

    def ended(self, row: Row) -> datetime | str | None:
        """The first moment by which a subscription has ended; text that is none; None while it goes on."""
        texts = [str(text) for text in row[5 : 5 + len(_ENDS)] if text is not None]
        moments = [_moment(text) for text in texts]
        unread = next((one for one in moments if isinstance(one, str)), None)
        return unread or min((one for one in moments if isinstance(one, datetime)), default=None)

    def subscribed(self, row: Row) -> datetime | str:
        """When a subscription began; text that is no moment."""
        return _moment(str(row[4]))

    @property
    def families(self) -> Sequence[Family]:
        """Subscriptions, and the list."""
        return (
            Family(self.database, ("newsletter.subscriptions",), self.subscriptions, (self.deliveries,)),
            Family(self.database, ("suppression.addresses",), self.suppression_list),
        )


def _moment(text: str) -> datetime | str:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text
