"""Every mask that policies can name, on every database."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from tests.stores.sql_kit import Database

from lethe.policy import Mask, MaskKind
from lethe.stores.sql.dialects import dialect_of
from lethe.stores.sql.masks import strategy_of


@pytest.mark.parametrize("kind", list(MaskKind))
def test_a_mask_leaves_what_it_knows_again_and_changes_nothing_twice(database: Database, kind: MaskKind) -> None:
    """A record is known as anonymised by its masks: one that is not idempotent would be anonymised for ever."""
    texts = ["ann@example.com", "Jiří", "", "x", None]
    table = database.leads([{"id": n, "email": text} for n, text in enumerate(texts)])
    strategy, dialect = strategy_of(kind), dialect_of(database.connection)
    value = "masked" if kind is MaskKind.CONSTANT else None
    Mask.model_validate({"column": "email", "with": kind.value, **({} if value is None else {"value": value})})
    assert strategy.unfit(table.c.email.type) is None
    done = strategy.done(table.c.email, value, dialect)
    kept = sa.select(table.c.email).order_by(table.c.id)
    with database.engine.begin() as connection:
        assert connection.scalar(sa.select(done).where(table.c.id == 0)) in (False, 0)
        after = []
        for _ in range(2):
            connection.execute(table.update().values(email=strategy.put(table.c.email, value, dialect)))
            assert set(connection.scalars(sa.select(done))) == {True}, "never unknown, NULL included"
            after.append(connection.scalars(kept).all())
    assert after[0] == after[1]
    assert after[0] != texts
    assert (set(after[0]) == {None}) == strategy.puts_null
