"""Whose records go on request, as a database judges by it.

Erasing before a period has ended errs the other way round than holding does. A record is a person's only if each
identifier that it carries, of the types that the request names, is exactly one of the request's; what is written in
another way, or has another identifier beside it, stays. `judging.identifiers.is_surely` says so, and nothing else: the
records that a hold on the person might find are read, and what the person's own have in their columns, as it is spelt,
is what statements compare records with. So a record that was changed since is another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa

from lethe.errors import StoreError
from lethe.holds.rules import Asked, HoldRule, HoldRules
from lethe.judging.identifiers import IdentifierType, is_surely
from lethe.stores.sql.expiry import Judgement, Spelling
from lethe.stores.sql.holds import Carrier, HeldTables

_MOST = 500
"""Different spellings of the records of all who ask, at most: statements name them."""
_AT_A_TIME = 5_000

_Named = Mapping[IdentifierType, Sequence[str]]


class AskedRecords:
    """What the records of the persons who ask are spelt as, as it was found in one session. Personal data."""

    def __init__(self, judgement: Judgement) -> None:
        self._judgement = judgement
        self._tables = HeldTables(judgement.dialect, "asked")
        self._asked: tuple[Asked, ...] | None = None
        self.spellings: tuple[Spelling, ...] = ()

    def has(self, rules: HoldRules) -> bool:
        """Whether it was found for just these requests."""
        return self._asked == rules.asked

    def forget(self) -> None:
        """Take nothing for found, because a transaction that may have found something was rolled back."""
        self._asked, self.spellings = None, ()
        self._tables.forget()

    def load(self, connection: sa.Connection, rules: HoldRules) -> None:
        """Find it, within the connection's transaction.

        Raises:
            StoreError: if there is more than statements can name.
        """
        self.forget()
        persons = [one.load() for one in rules.asked]
        found: dict[Spelling, None] = {}
        for spelling in self._perhaps(connection, rules) if persons else ():
            if any(self._is_of(person, spelling) for person in persons):
                found[spelling] = None
            if len(found) > _MOST:
                raise StoreError(
                    f"{self._judgement.dataset.name}: the open requests find records of more than {_MOST} spellings: "
                    "answer some of them, and run again"
                )
        self._asked, self.spellings = rules.asked, tuple(found)

    def _perhaps(self, connection: sa.Connection, rules: HoldRules) -> Iterator[Spelling]:
        """What the records are spelt as that holds on these persons would find."""
        judgement, tables = self._judgement.beside, self._tables
        tables.load(connection, HoldRules(rules.version, tuple(map(_as_hold, rules.asked))))
        tables.search(connection, Carrier.of(judgement), judgement.source, judgement.in_scope)
        source, perhaps = tables.join(judgement, judgement.source)
        columns = [judgement.dialect.spelt(judgement.column(name)) for name in judgement.asked_columns]
        labelled = [column.label(f"spelt_{n}") for n, column in enumerate(columns)]
        rows = sa.select(*labelled).select_from(source).where(judgement.in_scope, perhaps).distinct()
        with connection.execute(rows.execution_options(yield_per=_AT_A_TIME)) as found:
            yield from (tuple(row) for row in found)

    def _is_of(self, person: _Named, spelling: Spelling) -> bool:
        """Whether a record that is spelt so is surely a person's, and nobody else's."""
        dataset = self._judgement.dataset
        named_in = [name for kind in person for name in dataset.identifiers.get(kind, ())]
        if any(map(dataset.is_of_many, named_in)):
            return False  # it is of all whom its rows name
        texts = dict(zip(self._judgement.asked_columns, spelling, strict=True))
        carried = [
            any(is_surely(kind, one, text, dataset.phone_region) for one in named)
            for kind, named in person.items()
            for name in dataset.identifiers.get(kind, ())
            if name in texts and (text := texts[name]) is not None and text.strip()
        ]
        return bool(carried) and all(carried)


def _as_hold(asked: Asked) -> HoldRule:
    types = frozenset(IdentifierType)
    return HoldRule(hold=asked.request, matter="", version=0, everything=False, types=types, load=asked.load)
