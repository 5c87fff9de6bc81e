"""One record: what a run would find it to be, by the same predicates, asked of the row of one key alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from lethe.errors import StoreError
from lethe.holds.rules import HoldRules
from lethe.policy import TableDataset
from lethe.stores.base import RecordFound, covering
from lethe.stores.sql import texts
from lethe.stores.sql.catalogue import Relation
from lethe.stores.sql.dialects.base import Dialect, Predicate
from lethe.stores.sql.expiry import Judgement
from lethe.stores.sql.holds import Carrier, HeldTables
from lethe.stores.sql.kin import HeldKin
from lethe.stores.sql.notes import Notes
from lethe.stores.sql.schema import Target, reference


@dataclass(frozen=True)
class Explainer:
    """Looks at one row, in a transaction that only reads.

    Attributes:
        connection: of that transaction.
        dialect: of the database.
        judgement: with related rows beside the table.
        target: the table.
        relation: the same, as the catalogue has it.
    """

    connection: sa.Connection
    dialect: Dialect
    judgement: Judgement
    target: Target
    relation: Relation

    def explain(self, holds: HoldRules, key: Sequence[str]) -> RecordFound | None:
        """What the row of a key is; None where there is none.

        Raises:
            StoreError: if the key has other columns, or a value can be none of its column.
        """
        mine = self._is(key)
        texts.look_through(self.connection, self.judgement, mine)
        found = self._judged(mine)
        if found is None:
            return None
        tables, notes = HeldTables(self.dialect, "found"), Notes(self.dialect)
        held = covering(holds, lambda rules: self._is_held(rules, mine, tables, notes))
        return found.model_copy(update={"held": held})

    def _is(self, key: Sequence[str]) -> Predicate:
        dataset = self.judgement.dataset
        if len(key) != len(dataset.key):
            raise StoreError(
                f"{dataset.name}: the key of a record is ({', '.join(dataset.key)}): give a value for each, in that "
                f"order; the number of those given is {len(key)}"
            )
        return sa.and_(*self._equal(dataset, key))

    def _equal(self, dataset: TableDataset, key: Sequence[str]) -> Iterator[Predicate]:
        for name, text in zip(dataset.key, key, strict=True):
            column = self.target.table.c[name]
            if not _is_unicode(text) or self.dialect.unfit(self.connection, self.relation, column, text) is not None:
                raise StoreError(f"{dataset.name}: what is given for {name} can be no value of that column")
            yield column == self.dialect.literal(column, text)

    def _judged(self, mine: Predicate) -> RecordFound | None:
        judgement = self.judgement
        reasons = judgement.unjudgeable
        kept_on = judgement.kept_on_by
        named = judgement.named
        asked = {
            "in_scope": judgement.perhaps_in_scope,
            "anonymised": judgement.done_before,
            "expired": judgement.expired,
            "dated": sa.and_(sa.not_(judgement.missing), sa.not_(judgement.unreadable)),
            **{f"why_{n}": one for n, one in enumerate(reasons.values())},
            **{f"keeps_{n}": one for n, (_, one) in enumerate(kept_on)},
            **{f"named_{n}": one for n, (_, one) in enumerate(named)},
        }
        columns = [sa.case((one, 1), else_=0).label(name) for name, one in asked.items()]
        rows = sa.select(*columns).select_from(judgement.source).where(mine).limit(1)
        row = self.connection.execute(rows).mappings().one_or_none()
        if row is None:
            return None
        clock, kind = judgement.clock_value
        day = None
        if row["dated"]:
            value = self.connection.scalar(sa.select(clock).select_from(judgement.source).where(mine).limit(1))
            day = None if value is None else self.dialect.clock_day(value, kind, judgement.zones)
        return RecordFound(
            in_scope=bool(row["in_scope"]),
            anonymised=bool(row["anonymised"]),
            unjudgeable=tuple(why for n, why in enumerate(reasons) if row[f"why_{n}"]),
            day=day,
            expired=bool(row["expired"]),
            kept_on=tuple(dict.fromkeys(name for n, (name, _) in enumerate(kept_on) if row[f"keeps_{n}"])),
            named=next((text for n, (text, _) in enumerate(named) if row[f"named_{n}"]), None),
        )

    def _is_held(self, rules: HoldRules, mine: Predicate, tables: HeldTables, notes: Notes) -> bool:
        judgement, connection = self.judgement, self.connection
        tables.load(connection, rules)
        tables.search(connection, Carrier.of(judgement), judgement.source, mine)
        self.dialect.prepare_staging(connection, tables.count)
        referred = dict.fromkeys(name for child in self.target.carriers for name in child.references)
        parents = None
        if referred:
            columns = [judgement.table.c[name].label(reference(name)) for name in referred]
            parents = sa.select(*columns).select_from(judgement.source).where(mine).subquery()
        kin = HeldKin(self.dialect, notes, "found", self.target.carriers)
        kin.look(connection, tables, parents)
        source, held = tables.join(judgement, judgement.source)
        held = sa.or_(held, kin.held(judgement, tables)) if kin else held
        return connection.scalar(sa.select(sa.literal(1)).select_from(source).where(mine, held).limit(1)) is not None


def _is_unicode(text: str) -> bool:
    """Whether it has no lone surrogate, which no driver sends: bytes of a command line that are no UTF-8 are such."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
