"""A run over a table from end to end: what is found, what goes, what stays, what is left behind."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa
from tests.stores.sql_kit import (
    Database,
    Gate,
    Progressed,
    dataset,
    hold,
    holding,
    outcomes,
    run_through,
    work,
)

from lethe.counts import Became, Outcome, Unjudgeable
from lethe.errors import DatasetChanged
from lethe.holds.rules import NO_HOLDS

OLD = datetime(2024, 3, 1, 12, tzinfo=UTC)
NEW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def people(count: int, *, old: int) -> list[dict[str, object]]:
    """Rows with ids from 1; the first `old` have expired."""
    return [
        {
            "id": number,
            "email": f"p{number}@x.cz",
            "last_contact": (OLD if number <= old else NEW) + timedelta(hours=number),
        }
        for number in range(1, count + 1)
    ]


def test_exactly_the_expired_and_unheld_go(database: Database) -> None:
    table = database.leads(people(60, old=35))
    rules = holding(hold(email=[" P3@X.cz", "p30@x.cz", "p50@x.cz", "nobody@x.cz"]))
    candidates = database.store.discover(work(), rules)

    assert (candidates.total, candidates.expired, candidates.held, candidates.due) == (60, 35, 2, 33)
    assert candidates.oldest == date(2024, 3, 1)
    assert candidates.batches >= 4
    assert candidates.holds_version == 1

    progress = Progressed()
    tally = database.store.erase(work(), candidates, range(candidates.batches), Gate(rules), progress)

    assert tally == Became(erased=33) == database.store.tally(work(), candidates)
    assert progress.total == 33
    assert database.ids(table) == [3, 30, *range(36, 61)]
    expected = {str(number): Outcome.ERASED for number in range(1, 36) if number not in (3, 30)}
    assert outcomes(database, work(), candidates) == expected


def test_afterwards_nothing_is_due(database: Database) -> None:
    database.leads(people(30, old=12))
    rules = holding(hold(email="p3@x.cz"))
    run_through(database, work(), rules)
    left = database.store.survey(work(), rules)
    assert (left.total, left.expired, left.held, left.due) == (19, 1, 1, 0)
    assert left.oldest is None


def test_an_empty_table_has_no_batches(database: Database) -> None:
    database.leads()
    candidates = database.store.discover(work(), NO_HOLDS)
    assert (candidates.total, candidates.expired, candidates.batches) == (0, 0, 0)
    assert run_through(database, work()) == Became()


def test_what_cannot_be_judged_is_counted_and_stays(database: Database) -> None:
    table = database.leads([*people(5, old=5), {"id": 6, "email": "p6@x.cz", "last_contact": None}])
    candidates = database.store.discover(work(), NO_HOLDS)
    assert candidates.unjudgeable == {Unjudgeable.NO_CLOCK: 1}
    run_through(database, work())
    assert database.ids(table) == [6]


def test_cleaning_leaves_no_trace(database: Database) -> None:
    database.leads(people(30, old=12))
    run_through(database, work())
    run_through(database, work(run="run-2"))
    assert database.store.staged_runs(dataset()) == [("run-1", "leads"), ("run-2", "leads")]
    database.store.clean("run-1", dataset())
    database.store.clean("run-1", dataset())
    assert database.store.staged_runs(dataset()) == [("run-2", "leads")]
    database.store.clean("run-2", dataset())
    assert [name for name in database.tables() if not name.endswith("staged")] == []


def test_discovering_again_replaces_what_was_staged(database: Database) -> None:
    table = database.leads(people(30, old=12))
    first = database.store.discover(work(), NO_HOLDS)
    assert database.store.discover(work(), NO_HOLDS) == first
    database.do(sa.delete(table).where(table.c.id == 1))
    second = database.store.discover(work(), NO_HOLDS)
    assert second.expired == 11
    assert second.digest != first.digest
    with pytest.raises(DatasetChanged, match="discover again"):
        database.store.erase(work(), first, range(1), Gate())
    assert len(database.ids(table)) == 29


def test_discovering_again_after_erasing_began_gives_the_same_candidates(database: Database) -> None:
    table = database.leads(people(60, old=35))
    first = database.store.discover(work(), NO_HOLDS)
    database.store.erase(work(), first, range(1), Gate())
    assert database.store.discover(work(), NO_HOLDS) == first
    database.store.erase(work(), first, range(first.batches), Gate())
    assert database.ids(table) == list(range(36, 61))
    assert database.store.tally(work(), first).erased == 35


def test_the_digest_is_of_the_keys_alone_not_of_their_order(database: Database) -> None:
    table = database.leads(people(30, old=12))
    before = database.store.discover(work(), NO_HOLDS).digest
    database.do(sa.delete(table))
    database.insert(table, people(30, old=12)[::-1])
    assert database.store.discover(work(run="run-2"), NO_HOLDS).digest == before
    assert database.store.discover(work(), holding(hold(email="p3@x.cz"))).digest != before


def test_another_policy_is_refused(database: Database) -> None:
    table = database.leads(people(30, old=12))
    candidates = database.store.discover(work(), NO_HOLDS)
    wider = work(dataset(where=[{"column": "email", "is_null": False}]))
    with pytest.raises(DatasetChanged, match="discover again"):
        database.store.erase(wider, candidates, range(candidates.batches), Gate())
    with pytest.raises(DatasetChanged, match="discover again"):
        database.store.erase(work(), candidates.model_copy(update={"digest": "0" * 64}), range(1), Gate())
    assert len(database.ids(table)) == 30
