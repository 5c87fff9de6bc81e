"""Personal data that is found in free text: the cell is redacted, and only what was found, on every database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

import pytest
import sqlalchemy as sa
from tests.stores.sql_kit import (
    AS_OF,
    PRAGUE,
    Database,
    Gate,
    anonymise,
    dataset,
    hold,
    holding,
    outcomes,
    refused,
    run_through,
)

from lethe.counts import Outcome
from lethe.errors import DatasetChanged, StoreError
from lethe.holds.rules import NO_HOLDS
from lethe.judging.identifiers import IdentifierType
from lethe.judging.mentions import mentions
from lethe.periods import cutoff_at_once
from lethe.policy import Expiry, TableDataset
from lethe.stores.base import Work
from lethe.stores.sql.staging import Scratch, token_of

AT_ONCE = Expiry(zone=PRAGUE, default=cutoff_at_once(AS_OF, PRAGUE))
ANSWERED = datetime(2026, 11, 1, 12, tzinfo=UTC)
ANSWERS = {
    1: ("Write to ann@example.com, or call +420 601 234 567", None),
    2: ("Nothing to add", "9/10"),
    3: ("Ask Bob Brown: bob@example.com", "bob@example.com again"),
    4: (None, "IBAN CZ65 0800 0000 1920 0014 5399"),
    5: ("[e-mail] was here", ""),
    6: ("Write to ann@example.com, or call +420 601 234 567", "the same once more"),
}
FOUND = {1, 3, 4, 6}
REDACT = [{"column": "liked", "with": "redact"}, {"column": "missing", "with": "redact"}]


def answers_of(database: Database) -> sa.Table:
    """The answers to a survey."""
    table = database.create(
        "answers",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("answered_at", database.moment, index=True),
        sa.Column("liked", sa.Text),
        sa.Column("missing", sa.String(80)),
    )
    rows = [{"id": n, "answered_at": ANSWERED, "liked": one, "missing": two} for n, (one, two) in ANSWERS.items()]
    database.insert(table, rows)
    return table


def survey(**changes: Any) -> TableDataset:  # noqa: ANN401
    return dataset(
        **{
            "name": "answers", "table": "answers", "clock": {"column": "answered_at"}, "identifiers": {},
            "masks": REDACT, "phone_region": "CZ", **changes,
        }
    )  # fmt: skip


def job(run: str = "run-1", **changes: Any) -> Work:  # noqa: ANN401
    return anonymise(survey(**changes), run=run, expiry=AT_ONCE)


def staging_token(of: Work) -> str:
    return token_of(of.run, of.dataset.name)


def texts(database: Database, table: sa.Table) -> Mapping[int, tuple[str | None, str | None]]:
    with database.engine.connect() as connection:
        rows = connection.execute(sa.select(table.c.id, table.c.liked, table.c.missing)).all()
    return {number: (liked, missing) for number, liked, missing in rows}


def test_what_is_found_is_redacted_once_and_the_rows_stay(any_database: Database) -> None:
    """Counts and kinds come out, and no text; again is harmless; nothing that is staged is left."""
    table = answers_of(any_database)
    assert refused(any_database, survey()) == []
    candidates = any_database.store.discover(job(), NO_HOLDS)
    kinds = {"email": 4, "bank_account": 1, "phone": 2, "name": 1}
    assert (candidates.total, candidates.due, candidates.mentions) == (6, 4, kinds)
    assert any_database.store.survey(job(), NO_HOLDS).mentions == kinds
    assert "example.com" not in candidates.model_dump_json()
    done = any_database.store.erase(job(), candidates, range(candidates.batches), Gate())
    assert (done.anonymised, done.total) == (4, 4)
    after = texts(any_database, table)
    assert after[1] == (after[6][0], None) == ("Write to [e-mail], or call [phone]", None)
    assert after[3] == ("[name]: [e-mail]", "[e-mail] again")
    assert after[4] == (None, "IBAN [account]")
    assert {n: after[n] for n in (2, 5)} == {n: ANSWERS[n] for n in (2, 5)}
    assert not [one for pair in after.values() for one in pair if one and mentions(one, "CZ")]
    left = any_database.store.survey(job("run-2"), NO_HOLDS)
    assert (left.total, left.due, left.mentions) == (6, 0, {})
    assert [name for name in any_database.tables() if staging_token(job()) in name]
    any_database.store.clean("run-1", survey())
    assert not [name for name in any_database.tables() if staging_token(job()) in name]


def test_a_text_that_was_changed_since_it_was_found_stays(any_database: Database) -> None:
    """Only what was checked: also where it has become another text that was found, or has somebody else in it."""
    table = answers_of(any_database)
    candidates = any_database.store.discover(job(), NO_HOLDS)
    now = {1: "Nothing", 3: ANSWERS[1][0], 6: "Call +420 777 000 111"}
    any_database.do(*(table.update().where(table.c.id == n).values(liked=text) for n, text in now.items()))
    done = any_database.store.erase(job(), candidates, range(candidates.batches), Gate())
    assert (done.anonymised, done.renewed) == (1, 3)
    after = texts(any_database, table)
    assert {n: after[n][0] for n in now} == now
    assert after[4][1] == "IBAN [account]"
    assert any_database.store.survey(job("run-2"), NO_HOLDS).due == 2, "the next run finds these"


@pytest.mark.parametrize(
    ("kind", "value", "held"),
    [
        (IdentifierType.EMAIL, "ann@example.com", {1, 6}),
        (IdentifierType.PHONE, "+420601234567", {1, 6}),
        (IdentifierType.MSISDN, "+420601234567", {1, 6}),
        (IdentifierType.PERSON, "bob brown", {3}),
    ],
)
def test_whom_a_hold_names_in_a_text_keeps_it(
    any_database: Database, kind: IdentifierType, value: str, held: set[int]
) -> None:
    """Never held: before it is found, and after; nothing has to be declared for it."""
    table = answers_of(any_database)
    rules = holding(hold(None, **{kind.value: value}))
    assert kind in survey().carried
    assert any_database.store.discover(job("run-0"), rules).held == len(held)
    candidates = any_database.store.discover(job(), NO_HOLDS)
    done = any_database.store.erase(job(), candidates, range(candidates.batches), Gate(rules))
    assert (done.held, done.anonymised) == (len(held), 4 - len(held))
    after = texts(any_database, table)
    assert {n for n in FOUND if after[n] == ANSWERS[n]} == held
    assert set(outcomes(any_database, job(), candidates).values()) == {Outcome.HELD, Outcome.ANONYMISED}


def test_what_is_staged_of_texts_is_what_was_approved(any_database: Database) -> None:
    """Who writes other words into the staging has nothing redacted; and none of it has a text that was found."""
    table = answers_of(any_database)
    candidates = any_database.store.discover(job(), NO_HOLDS)
    store = any_database.store
    staging = Scratch(store._dialect, store._settings).of(job())
    with any_database.engine.connect() as connection:
        staged = connection.execute(sa.select(staging.redactions)).all()
    assert len(staged) == 4
    assert not [value for row in staged for value in row if "example.com" in str(value) or "601 234" in str(value)]
    any_database.do(staging.redactions.update().values(redacted="other words"))
    with pytest.raises(DatasetChanged, match="has been changed; discover again"):
        store.erase(job(), candidates, range(candidates.batches), Gate())
    assert texts(any_database, table) == ANSWERS


def test_many_texts_are_read_in_parts(any_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded: what was found is written, and reading goes on where it ended."""
    from lethe.stores.sql import texts as reading

    monkeypatch.setattr(reading, "_AT_A_TIME", 3)
    monkeypatch.setattr(reading, "_FOUND_AT_ONCE", 7)
    table = answers_of(any_database)
    more = [
        {"id": n, "answered_at": ANSWERED, "liked": f"p{n}@example.com" if n % 2 else f"fine {n}", "missing": None}
        for n in range(100, 160)
    ]
    any_database.insert(table, more)
    assert run_through(any_database, job()).anonymised == 4 + 30
    assert any_database.store.survey(job("run-2"), NO_HOLDS).due == 0


def test_why_a_record_is_there_is_said_of_a_text(any_database: Database) -> None:
    answers_of(any_database)
    found = {n: any_database.store.explain(job(), NO_HOLDS, [str(n)]) for n in (1, 2)}
    assert [(one.expired, one.anonymised) for one in found.values() if one] == [(True, False), (False, True)]


def test_who_asks_for_access_is_told_of_the_texts_that_have_them(any_database: Database) -> None:
    """By what stands in them, and only where it is not redacted yet."""
    answers_of(any_database)
    ann = holding(hold(email="ann@example.com"))
    assert any_database.store.find_person(job(), ann, NO_HOLDS).records == 2
    run_through(any_database, job())
    assert any_database.store.find_person(job("run-2"), ann, NO_HOLDS).records == 0


@contextmanager
def without_recogniser(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if the extra were not installed."""
    with monkeypatch.context() as patch:
        patch.setattr("lethe.judging.mentions.find_spec", lambda name: None if name == "stdnum" else find_spec(name))
        yield


def test_without_a_recogniser_a_policy_is_refused_and_no_run_finds_nothing(
    any_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers_of(any_database)
    with without_recogniser(monkeypatch):
        told = [one.message for one in refused(any_database, survey())]
        assert told[0] == (
            "column liked of answers cannot be redacted: the recogniser of personal data in text is not installed: "
            "pip install 'lethe-retention[texts]'"
        )
        for ask in (any_database.store.discover, any_database.store.survey):
            with pytest.raises(StoreError, match="not installed: pip install"):
                ask(job(), NO_HOLDS)
