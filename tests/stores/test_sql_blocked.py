"""Rows that refer to records keep them, and only them: these are counted as blocked, and all others go."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from tests.stores.sql_kit import (
    Database,
    Gate,
    anonymise,
    dataset,
    hold,
    outcomes,
    remarks,
    run_through,
    work,
)

from lethe.counts import Became, Outcome
from lethe.errors import StoreError
from lethe.holds.rules import NO_HOLDS
from lethe.policy import TableDataset

OLD = datetime(2024, 3, 1, 12, tzinfo=UTC)
NEW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def leads(database: Database, count: int = 20) -> sa.Table:
    """Leads that all have expired, numbered from 1."""
    return database.leads([{"id": n, "email": f"{n}@example.com", "last_contact": OLD} for n in range(1, count + 1)])


def referring(database: Database, name: str, to: sa.Column[Any], rows: list[int], **options: Any) -> sa.Table:  # noqa: ANN401
    """A table outside of the policy with rows that refer to some records."""
    table = database.create(
        name,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("refers", sa.ForeignKey(to, name=f"{name}_refers", **options), index=True),
    )
    database.insert(table, [{"id": number, "refers": row} for number, row in enumerate(rows)])
    return table


def thread(database: Database, answers: dict[int, int | None], *, new: set[int] = frozenset(), **key: Any) -> sa.Table:  # type: ignore[assignment] # noqa: ANN401
    """Messages, each with the one that it answers; those in `new` have not expired."""
    table = database.create(
        "leads",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("email", sa.Text()),
        sa.Column("last_contact", database.moment, index=True),
        sa.Column("answers", sa.ForeignKey("leads.id", name="answers_leads", **key), index=True),
    )
    rows = [
        {"id": n, "email": f"{n}@x.org", "last_contact": NEW if n in new else OLD, "answers": None} for n in answers
    ]
    database.insert(table, rows)
    for message, answered in answers.items():
        database.do(sa.update(table).where(table.c.id == message).values(answers=answered))
    return table


def kept(database: Database, of: TableDataset | None = None, **options: Any) -> tuple[Became, str]:  # noqa: ANN401
    """Run through: what became of the candidates, and what the store says keeps those that are blocked."""
    job = work(of, **options)
    candidates = database.store.discover(job, NO_HOLDS)
    became = database.store.erase(job, candidates, range(candidates.batches), Gate())
    assert database.store.tally(job, candidates) == became
    found = list(outcomes(database, job, candidates).values())
    assert {outcome: found.count(outcome) for outcome in Outcome} == became.outcomes
    return became, "; ".join(database.store.kept_by(job, candidates))


@pytest.mark.parametrize(
    "options",
    [{}, {"ondelete": "RESTRICT"}, {"deferrable": True, "initially": "DEFERRED"}],
    ids=["no action", "restrict", "deferred"],
)
def test_the_records_that_others_refer_to_stay_and_the_rest_goes(database: Database, options: dict[str, Any]) -> None:
    table = leads(database)
    referring(database, "orders", table.c.id, [3, 15, 15], **options)
    became, by = kept(database)
    assert (became.erased, became.blocked) == (18, 2)
    assert database.ids(table) == [3, 15]
    assert "table public.orders" in by or "table orders" in by
    assert became.problem is not None
    if database.is_postgres:
        assert by == "foreign key orders_refers of table public.orders"


def test_again_is_harmless_and_what_is_no_longer_referred_to_goes(database: Database) -> None:
    table = leads(database)
    orders = referring(database, "orders", table.c.id, [3, 15])
    kept(database)
    became, _ = kept(database, run="run-2")
    assert (became.erased, became.blocked) == (0, 2)
    database.do(sa.delete(orders).where(orders.c.refers == 3))
    became, _ = kept(database, run="run-3")
    assert (became.erased, became.blocked) == (1, 1)
    assert database.ids(table) == [15]


def test_policy_check_names_what_may_keep_records(database: Database) -> None:
    table = leads(database)
    referring(database, "orders", table.c.id, [])
    (remark,) = remarks(database, dataset())
    assert "orders refer to leads (foreign key " in remark
    assert "counted as blocked" in remark


def test_a_record_whose_children_are_referred_to_stays_whole(database: Database) -> None:
    table = leads(database)
    notes = referring(database, "notes", table.c.id, [*range(1, 21), 7])
    lines = database.create(
        "lines", sa.Column("id", sa.Integer, primary_key=True), sa.Column("note", sa.ForeignKey(notes.c.id))
    )
    database.insert(lines, [{"id": n, "note": n} for n in range(21)])
    referring(database, "audits", lines.c.id, [4, 20])  # notes 4 and 20, of leads 5 and 7
    below = [{"table": "lines", "foreign_key": ["note"], "references": ["id"]}]
    of = dataset(children=[{"table": "notes", "foreign_key": ["refers"], "children": below}])
    became, _ = kept(database, of)
    assert (became.erased, became.blocked, became.rows_with) == (18, 2, 36)
    assert database.ids(table) == [5, 7]
    assert database.ids(notes) == [4, 6, 20]
    assert database.ids(lines) == [4, 6, 20]


def test_children_that_refer_to_another_record_keep_it_only_where_their_own_stays(database: Database) -> None:
    table = leads(database, 6)
    notes = database.create(
        "notes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("lead", sa.ForeignKey(table.c.id), index=True),
        sa.Column("copied_from", sa.ForeignKey(table.c.id, name="copies"), index=True),
    )
    database.insert(notes, [{"id": 1, "lead": 1, "copied_from": 2}, {"id": 2, "lead": 4, "copied_from": 5}])
    referring(database, "orders", table.c.id, [4])
    became, _ = kept(database, dataset(children=[{"table": "notes", "foreign_key": ["lead"]}]))
    assert (became.erased, became.blocked) == (4, 2)
    assert database.ids(table) == [4, 5]


@pytest.mark.parametrize("options", [{}, {"ondelete": "RESTRICT"}], ids=["no action", "restrict"])
@pytest.mark.parametrize("upwards", [True, False])
def test_chains_of_expired_records_go_in_their_own_order(
    database: Database, upwards: bool, options: dict[str, Any]
) -> None:
    answers = {n: n + (1 if upwards else -1) for n in range(1, 46)} | {45 if upwards else 1: None}
    table = thread(database, answers, **options)
    job = work()
    candidates = database.store.discover(job, NO_HOLDS)
    assert candidates.in_order
    assert candidates.batches > 3
    became = database.store.erase(job, candidates, range(candidates.batches), Gate())
    assert (became.erased, became.blocked) == (45, 0)
    assert database.ids(table) == []


def test_without_references_among_candidates_batches_need_no_order(database: Database) -> None:
    thread(database, dict.fromkeys(range(1, 30)))
    candidates = database.store.discover(work(), NO_HOLDS)
    assert not candidates.in_order


@pytest.mark.parametrize("options", [{}, {"ondelete": "RESTRICT"}], ids=["no action", "restrict"])
def test_a_young_record_keeps_what_it_refers_to_and_that_what_it_depends_upon(
    database: Database, options: dict[str, Any]
) -> None:
    answers = {1: None, 2: 1, 3: 2, 4: 3, 5: None, 6: 5, 7: 7}
    table = thread(database, answers, new={3}, **options)
    became, by = kept(database)
    assert database.ids(table) == [1, 2, 3]
    assert (became.erased, became.blocked) == (4, 2)
    assert "leads" in by


def test_a_circle_of_expired_records_goes_at_once(database: Database) -> None:
    table = thread(database, {1: 2, 2: 3, 3: 1, 4: None})
    became, _ = kept(database)
    assert (became.erased, became.blocked) == (4, 0)
    assert database.ids(table) == []


def test_a_circle_that_the_database_cannot_undo_is_blocked(file: Database) -> None:
    table = thread(file, {1: 2, 2: 1, 3: None}, ondelete="RESTRICT")
    became, by = kept(file)
    assert (became.erased, became.blocked) == (1, 2)
    assert file.ids(table) == [1, 2]
    assert "leads" in by


def test_a_held_record_keeps_what_it_refers_to(database: Database) -> None:
    table = thread(database, {1: None, 2: 1, 3: None})
    job = work()
    gate = Gate()
    candidates = database.store.discover(job, NO_HOLDS)
    gate.place(hold(email="2@x.org"))
    became = database.store.erase(job, candidates, range(candidates.batches), gate)
    assert (became.erased, became.held, became.blocked) == (1, 1, 1)
    assert database.ids(table) == [1, 2]


def test_a_trigger_that_keeps_a_row_is_named_and_the_rest_goes(database: Database) -> None:
    table = leads(database)
    notes = referring(database, "notes", table.c.id, list(range(1, 21)))
    if database.is_postgres:
        database.run_text(
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN IF old.id IN (4, 12) THEN RETURN NULL; END IF; RETURN old; END'",
            "CREATE TRIGGER keep_some BEFORE DELETE ON leads FOR EACH ROW EXECUTE FUNCTION keep()",
        )
    else:
        database.run_text(
            "CREATE TRIGGER keep_some BEFORE DELETE ON leads WHEN old.id IN (4, 12) BEGIN SELECT RAISE(IGNORE); END"
        )
    became, by = kept(database, dataset(children=[{"table": "notes", "foreign_key": ["refers"]}]))
    assert (became.erased, became.blocked, became.rows_with) == (18, 2, 18)
    assert database.ids(table) == [4, 12]
    assert database.ids(notes, "refers") == [4, 12]
    assert by == "trigger keep_some of table leads"


def test_a_trigger_that_keeps_rows_of_a_child_table_keeps_their_records_whole(database: Database) -> None:
    table = leads(database)
    notes = referring(database, "notes", table.c.id, [*range(1, 21), 4])
    if database.is_postgres:
        database.run_text(
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN IF old.refers = 12 OR old.id = 20 THEN RETURN NULL; END IF; RETURN old; END'",
            "CREATE TRIGGER keep_some BEFORE DELETE ON notes FOR EACH ROW EXECUTE FUNCTION keep()",
        )
    else:
        database.run_text(
            "CREATE TRIGGER keep_some BEFORE DELETE ON notes WHEN old.refers = 12 OR old.id = 20 "
            "BEGIN SELECT RAISE(IGNORE); END"
        )
    became, by = kept(database, dataset(children=[{"table": "notes", "foreign_key": ["refers"]}]))
    assert (became.erased, became.blocked, became.rows_with) == (18, 2, 18)
    assert database.ids(table) == [4, 12]
    assert database.ids(notes, "refers") == [4, 4, 12]
    assert by == "trigger keep_some of table notes"


def test_a_masked_column_that_others_refer_to_stays(database: Database) -> None:
    table = database.create(
        "leads",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("email", sa.Text(), unique=True),
        sa.Column("last_contact", database.moment, index=True),
    )
    database.insert(table, [{"id": n, "email": f"{n}@x.org", "last_contact": OLD} for n in range(1, 4)])
    orders = database.create("orders", sa.Column("email", sa.ForeignKey(table.c.email, name="by_email")))
    database.insert(orders, [{"email": "2@x.org"}])
    became = run_through(database, anonymise(dataset(masks=[{"column": "email"}])))
    assert (became.anonymised, became.blocked) == (2, 1)
    assert [row[1] for row in database.rows(table)] == [None, "2@x.org", None]


@pytest.mark.parametrize(
    "does",
    ["RAISE EXCEPTION ''no''", "DELETE FROM leads WHERE id = old.id + 1; RETURN old"],
    ids=["raises", "takes another row of the batch"],
)
def test_what_a_trigger_raises_is_an_error_that_says_so(warehouse: Database, does: str) -> None:
    table = leads(warehouse)
    warehouse.run_text(
        f"CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {does}; END'",
        "CREATE TRIGGER never_delete BEFORE DELETE ON leads FOR EACH ROW EXECUTE FUNCTION never()",
    )
    with pytest.raises(StoreError, match="a trigger or a function of the database raised an error"):
        run_through(warehouse, work())
    assert len(warehouse.ids(table)) == 20


def test_a_row_that_begins_to_refer_after_discovery_is_seen(warehouse: Database) -> None:
    table = leads(warehouse)
    orders = referring(warehouse, "orders", table.c.id, [])
    job = work()
    candidates = warehouse.store.discover(job, NO_HOLDS)
    warehouse.insert(orders, [{"id": 1, "refers": 6}])
    became = warehouse.store.erase(job, candidates, range(candidates.batches), Gate())
    assert (became.erased, became.blocked) == (19, 1)
    assert warehouse.ids(table) == [6]
