"""Records that are judged by many rows of another table: the latest message of a lead, whichever it is by then."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.stores.sql_kit import (
    CUTOFF,
    EXPIRY,
    KEYED_TEXT,
    PRAGUE,
    WALL,
    Database,
    Gate,
    anonymise,
    dataset,
    hold,
    holding,
    outcomes,
    refused,
    remarks,
    run_through,
    work,
)

from lethe.checks.added import unknown_columns
from lethe.counts import Became, Outcome, Unjudgeable
from lethe.errors import StoreError
from lethe.holds.rules import NO_HOLDS, ClockRange
from lethe.periods import Period, cutoff_for
from lethe.policy import TableDataset
from lethe.settings import Settings

OLD = datetime(2024, 3, 1, 12, tzinfo=UTC)
NEW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MESSAGES = {"table": "messages", "many": True, "foreign_key": ["lead_id"], "references": ["id"]}
GOING_ALONG = {"table": "messages", "foreign_key": ["lead_id"], "identifiers": {}}
LEADS = {
    "kind": "table",
    "name": "leads",
    "store": "warehouse",
    "table": "leads",
    "key": ["id"],
    "related": {"messages": {**MESSAGES, "when_missing": "empty"}},
    "clock": {"latest_of": ["created_at", "messages.sent_at"]},
    "identifiers": {"email": ["email"]},
    "children": [GOING_ALONG],
}
BOTH = {"email": ["email", "messages.address"]}


class Crm:
    """Leads, and the messages that were exchanged with them."""

    def __init__(self, database: Database, sent_at: Any = None) -> None:  # noqa: ANN401 - any type of column
        self.database = database
        metadata = sa.MetaData()
        self.leads = sa.Table(
            "leads",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("code", KEYED_TEXT, unique=True),
            sa.Column("email", sa.Text()),
            sa.Column("created_at", database.moment, index=True, nullable=True),
        )
        self.messages = sa.Table(
            "messages",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("lead_id", sa.ForeignKey(self.leads.c.id, name="of_lead"), index=True),
            sa.Column("sent_at", database.moment if sent_at is None else sent_at, nullable=True),
            sa.Column("address", sa.Text()),
            sa.Column("state", sa.Text()),
        )
        metadata.create_all(database.engine)
        self.sent = 0

    def lead(self, number: int, *sent: Any, created_at: datetime | None = OLD, **values: Any) -> None:  # noqa: ANN401
        """A lead with messages."""
        row = {"id": number, "code": f"L{number}", "email": f"lead{number}@x.org", "created_at": created_at, **values}
        self.database.insert(self.leads, [row])
        for one in sent:
            self.message(number, one)

    def message(self, lead: int | None, sent_at: Any, **values: Any) -> int:  # noqa: ANN401 - any type of column
        """A further message; gives its number."""
        row = self.row(lead, sent_at, **values)
        self.database.insert(self.messages, [row])
        return int(row["id"])

    def row(self, lead: int | None, sent_at: Any, **values: Any) -> dict[str, Any]:  # noqa: ANN401 - the same
        """A message that is not there yet."""
        self.sent += 1
        return {"id": 100 + self.sent, "lead_id": lead, "sent_at": sent_at, "address": None, "state": None, **values}

    def change(self, message: int, **values: Any) -> None:  # noqa: ANN401 - of any type
        """Change a message."""
        self.database.do(sa.update(self.messages).where(self.messages.c.id == message).values(**values))

    @property
    def left(self) -> list[int]:
        """Leads that are there."""
        return self.database.ids(self.leads)

    @property
    def kept(self) -> list[int]:
        """Whose messages are there."""
        return sorted(set(self.database.ids(self.messages, "lead_id")))


@pytest.fixture
def crm(any_database: Database) -> Crm:
    """Leads 1 and 2 have old messages, 3 a recent one, too, and 4 none."""
    made = Crm(any_database)
    made.lead(1, OLD, OLD)
    made.lead(2, OLD)
    made.lead(3, OLD, NEW)
    made.lead(4)
    return made


def leads(related: Mapping[str, Any] | None = None, **changes: Any) -> TableDataset:  # noqa: ANN401 - as in a policy
    """The dataset, with changes of what is related and of all else."""
    messages = {**LEADS["related"]["messages"], **(related or {})}  # type: ignore[index]
    return dataset({**LEADS, "related": {"messages": messages}}, **changes)


def said(database: Database, of: TableDataset) -> str:
    """What checking refuses."""
    return "; ".join(f"{one.field}: {one.message}" for one in refused(database, of))


# --- judged by all of them ------------------------------------------------------------------------------------------


def test_a_record_goes_by_the_latest_of_all_its_rows_and_they_go_along_once(crm: Crm) -> None:
    store, job = crm.database.store, work(leads())
    assert said(crm.database, leads()) == ""
    found = store.survey(job, NO_HOLDS)
    assert (found.total, found.due, found.unjudgeable, found.rows_along) == (4, 3, {}, 3)
    candidates = store.discover(job, NO_HOLDS)
    assert (candidates.rows_along, candidates.oldest) == (3, OLD.date())
    done = store.erase(job, candidates, range(candidates.batches), Gate())
    assert done == Became(erased=3, rows_with=3)
    assert (crm.left, crm.kept) == ([3], [3])
    assert store.survey(job, NO_HOLDS).due == 0


def test_a_record_goes_by_the_earliest_of_all_its_rows(crm: Crm) -> None:
    job = work(leads(clock={"earliest_of": ["messages.sent_at"], "when_missing": "running"}))
    assert crm.database.store.survey(job, NO_HOLDS).due == 3
    assert run_through(crm.database, job).erased == 3
    assert crm.left == [4]


def test_a_record_without_any_row_is_counted_and_stays_unless_that_is_declared(crm: Crm) -> None:
    strict = work(leads({"when_missing": "unjudgeable"}))
    found = crm.database.store.survey(strict, NO_HOLDS)
    assert (found.total, found.due, found.unjudgeable) == (4, 2, {Unjudgeable.NO_RELATED_ROW: 1})
    alone = work(leads(clock={"latest_of": ["messages.sent_at"]}))
    assert crm.database.store.survey(alone, NO_HOLDS).unjudgeable == {Unjudgeable.NO_CLOCK: 1}
    running = work(leads(clock={"latest_of": ["messages.sent_at"], "when_missing": "running"}))
    assert crm.database.store.survey(running, NO_HOLDS).unjudgeable == {}
    assert run_through(crm.database, strict).erased == 2
    assert crm.left == [3, 4]


def test_rows_without_a_date_say_nothing(crm: Crm) -> None:
    crm.message(1, None)
    crm.lead(5, None, created_at=None)
    found = crm.database.store.survey(work(leads()), NO_HOLDS)
    assert (found.due, found.unjudgeable) == (3, {Unjudgeable.NO_CLOCK: 1})


def test_one_row_that_cannot_be_judged_makes_the_record_so(any_database: Database) -> None:
    crm = Crm(any_database, sent_at=sa.Text())
    crm.lead(1, "2024-03-01", "2024-03-01T10:00:00+01:00")
    crm.lead(2, "2024-03-01", "last spring")
    crm.lead(3, "2024-03-01", "2026-03-01")
    of = leads(clock={"latest_of": ["messages.sent_at"], "format": "iso8601"})
    assert said(any_database, of) == ""
    found = any_database.store.survey(work(of), NO_HOLDS)
    assert (found.due, found.unjudgeable) == (1, {Unjudgeable.UNPARSABLE_CLOCK: 1})
    assert run_through(any_database, work(of)).erased == 1
    assert crm.left == [2, 3]


def test_any_of_its_rows_keeps_a_record_on(crm: Crm) -> None:
    crm.message(1, OLD, state="open")
    job = work(leads(keep_while=[{"column": "messages.state", "in": ["open", "waiting"]}]))
    found = crm.database.store.survey(job, NO_HOLDS)
    assert (found.expired, found.kept_on, found.due) == (3, 1, 2)
    candidates = crm.database.store.discover(job, NO_HOLDS)
    crm.message(2, OLD, state="waiting")
    done = crm.database.store.erase(job, candidates, range(candidates.batches), Gate())
    assert done == Became(erased=1, renewed=1)
    assert crm.left == [1, 2, 3]


def test_a_hold_finds_a_record_by_an_address_that_any_of_its_rows_has(crm: Crm) -> None:
    crm.message(1, OLD, address="Ann@X.org")
    crm.message(2, OLD, address="Bea <bea@x.org>")
    job, rules = work(leads(identifiers=BOTH)), holding(hold(email="ann@x.org"))
    assert said(crm.database, leads(identifiers=BOTH)) == ""
    candidates = crm.database.store.discover(job, rules)
    assert (candidates.held, candidates.due) == (1, 2)
    gate = Gate(rules)
    gate.place(hold(email="bea@x.org"))
    done = crm.database.store.erase(job, candidates, range(candidates.batches), gate)
    assert done == Became(erased=1, held=1, rows_with=0)
    assert crm.left == [1, 2, 3]


def test_a_hold_of_before_binds_an_address_that_came_with_a_message_since(crm: Crm) -> None:
    job, rules = work(leads(identifiers=BOTH)), holding(hold(email="ann@x.org"))
    candidates = crm.database.store.discover(job, rules)
    assert candidates.held == 0
    crm.message(2, OLD, address="ann@x.org")
    done = crm.database.store.erase(job, candidates, range(candidates.batches), Gate(rules))
    assert done == Became(erased=2, held=1, rows_with=2)


@pytest.mark.parametrize("identifiers", [{"email": ["email"]}, BOTH], ids=["own", "both"])
def test_a_hold_on_some_days_binds_a_record_whose_latest_row_moved_into_them(
    crm: Crm, identifiers: dict[str, Any]
) -> None:
    april = ClockRange(first=date(2024, 4, 1), last=date(2024, 4, 30))
    job, rules = work(leads(identifiers=identifiers)), holding(hold(april, email="lead2@x.org"))
    candidates = crm.database.store.discover(job, rules)
    assert candidates.held == 0
    crm.message(2, datetime(2024, 4, 15, tzinfo=UTC))
    done = crm.database.store.erase(job, candidates, range(candidates.batches), Gate(rules))
    assert (done.erased, done.held) == (2, 1)
    assert crm.left == [2, 3]


def test_a_record_is_masked_by_its_latest_row_which_stays(crm: Crm) -> None:
    of = leads(children=[], masks=[{"column": "email"}])
    assert said(crm.database, of) == ""
    job = anonymise(of)
    candidates = crm.database.store.discover(job, NO_HOLDS)
    crm.message(2, NEW)
    done = crm.database.store.erase(job, candidates, range(candidates.batches), Gate())
    assert done == Became(anonymised=2, renewed=1)
    assert [row[2] for row in crm.database.rows(crm.leads)] == [None, "lead2@x.org", "lead3@x.org", None]
    assert crm.kept == [1, 2, 3]
    assert run_through(crm.database, anonymise(of, run="again")).total == 0


def test_checking_says_what_a_column_of_many_rows_cannot_be(crm: Crm) -> None:
    cases = [
        (leads(clock={"latest_of": ["messages.state"]}), "clock: column messages.state"),
        (leads(keep_while=[{"column": "messages.sent_at", "like": "x"}]), "column messages.sent_at is of type"),
        (leads(clock={"latest_of": ["messages.never"]}), "related.messages: table messages has no column never"),
    ]
    for of, message in cases:
        assert message in said(crm.database, of)


def test_what_is_explained_of_a_record_is_by_all_of_its_rows(crm: Crm) -> None:
    crm.message(1, NEW, state="open", address="ann@x.org")
    keeping = leads(keep_while=[{"column": "messages.state", "in": ["open"]}], identifiers=BOTH)
    rules = holding(hold(email="ann@x.org"))
    first = crm.database.store.explain(work(keeping), rules, ["1"])
    second = crm.database.store.explain(work(keeping), rules, ["2"])
    assert first is not None and second is not None
    assert (first.expired, first.kept_on, first.day, bool(first.held)) == (False, ("messages.state",), NEW.date(), True)
    assert (second.expired, second.kept_on, second.day, second.held) == (True, (), OLD.date(), ())


def test_what_is_due_later_is_counted_by_all_rows(crm: Crm) -> None:
    """A survey asks by many cutoffs at once."""
    month = cutoff_for(datetime(2027, 9, 1, tzinfo=UTC), PRAGUE, Period.parse("P18M"))
    later = replace(EXPIRY, default=month)
    latest = replace(EXPIRY, default=cutoff_for(datetime(2027, 9, 3, tzinfo=UTC), PRAGUE, Period.parse("P18M")))
    found, due = crm.database.store.forecast(work(leads()), NO_HOLDS, [later, latest])
    assert (found.due, due) == (3, (3, 4))
    going = crm.database.store.simulate(work(leads()), NO_HOLDS, [EXPIRY, later, latest])
    assert [one.records for one in going] == [3, 0, 1]


def test_a_check_that_was_added_is_of_no_column_of_many_rows(crm: Crm, tmp_path: Path) -> None:
    folder = tmp_path / "leads"
    folder.mkdir()
    suite = json.loads((Path(__file__).parents[2] / "expectations/account_users/users.json").read_text())
    suite["name"] = "leads.leads"
    suite["expectations"] = [{**suite["expectations"][0], "kwargs": {"column": "messages.state"}}]
    (folder / "leads.json").write_text(json.dumps(suite))
    where = Settings(policies=tmp_path, expectations=tmp_path, home=tmp_path)
    (message,) = unknown_columns(where, "leads", leads(), crm.database.store)
    assert "messages.state is of many rows, and a check is of one value of a record" in message


# --- between discovery and erasing ----------------------------------------------------------------------------------

Meanwhile = Callable[[Crm], object]


def _rewritten(crm: Crm) -> None:
    crm.database.do(sa.delete(crm.messages).where(crm.messages.c.lead_id == 2))
    crm.message(2, NEW)


_CHANGES: dict[str, tuple[Meanwhile, Became]] = {
    "a message came": (lambda crm: crm.message(2, NEW), Became(erased=2, renewed=1, rows_with=2)),
    "a message was sent again": (lambda crm: crm.change(103, sent_at=NEW), Became(erased=2, renewed=1, rows_with=2)),
    "a message of another became its": (
        lambda crm: crm.change(105, lead_id=2),
        Became(erased=2, renewed=1, rows_with=2),
    ),
    "its message was replaced": (_rewritten, Became(erased=2, renewed=1, rows_with=2)),
    "its message was deleted": (
        lambda crm: crm.database.do(sa.delete(crm.messages).where(crm.messages.c.id == 103)),
        Became(erased=3, rows_with=2),
    ),
    "a message came that says no more": (lambda crm: crm.message(2, OLD), Became(erased=3, rows_with=4)),
}


@pytest.mark.parametrize("identifiers", [{"email": ["email"]}, BOTH], ids=["own", "both"])
@pytest.mark.parametrize("change", list(_CHANGES))
def test_what_changed_between_discovery_and_erasing_counts(crm: Crm, change: str, identifiers: dict[str, Any]) -> None:
    """Nothing of the record's own row tells."""
    meanwhile, became = _CHANGES[change]
    job = work(leads(identifiers=identifiers))
    candidates = crm.database.store.discover(job, NO_HOLDS)
    meanwhile(crm)
    assert crm.database.store.erase(job, candidates, range(candidates.batches), Gate()) == became
    assert crm.left == ([2, 3] if became.renewed else [3])
    what = Outcome.RENEWED if became.renewed else Outcome.ERASED
    assert outcomes(crm.database, job, candidates)["2"] is what


def test_the_last_row_that_has_to_be_there_was_deleted_since_discovery(crm: Crm) -> None:
    job = work(leads({"when_missing": "unjudgeable"}))
    candidates = crm.database.store.discover(job, NO_HOLDS)
    crm.database.do(sa.delete(crm.messages).where(crm.messages.c.lead_id == 2))
    done = crm.database.store.erase(job, candidates, range(candidates.batches), Gate())
    assert done == Became(erased=1, renewed=1, rows_with=2)
    assert crm.left == [2, 3, 4]


# --- while a batch is under way -------------------------------------------------------------------------------------


@pytest.fixture
def served(any_database: Database) -> Crm:
    """One lead with an old message, in a database with more than one writer."""
    if any_database.store._dialect.writes_alone:
        pytest.skip("nobody else writes to SQLite while a batch is under way")
    crm = Crm(any_database)
    crm.lead(2, OLD)
    crm.lead(3, NEW)
    return crm


@contextmanager
def impatient(crm: Crm) -> Iterator[sa.Connection]:
    """A connection of somebody else who waits for a lock for a moment only."""
    engine = sa.create_engine(crm.database.store._url, poolclass=sa.NullPool)
    with engine.connect() as connection, connection.begin():
        patience = (
            "SET LOCAL lock_timeout = '200ms'" if crm.database.is_postgres else "SET innodb_lock_wait_timeout = 1"
        )
        connection.exec_driver_sql(patience)
        yield connection


def _inserts(crm: Crm) -> sa.Executable:
    return sa.insert(crm.messages).values(crm.row(2, NEW))


def _sends_again(crm: Crm) -> sa.Executable:
    return sa.update(crm.messages).where(crm.messages.c.id == 101).values(sent_at=NEW)


def _moves(crm: Crm) -> sa.Executable:
    return sa.update(crm.messages).where(crm.messages.c.id == 102).values(lead_id=2)


_WRITES = {"inserts": _inserts, "updates": _sends_again, "has one refer to it": _moves}
_PATHS: dict[str, dict[str, Any]] = {
    "erased": {},
    "addresses in many": {"identifiers": BOTH},
    "masked": {"children": [], "masks": [{"column": "email"}]},
}


def _job(path: str) -> Any:  # noqa: ANN401 - work, of either disposition
    return anonymise(leads(**_PATHS[path])) if path == "masked" else work(leads(**_PATHS[path]))


@pytest.mark.parametrize("path", list(_PATHS))
@pytest.mark.parametrize("writes", list(_WRITES))
def test_who_writes_a_row_while_its_record_goes_waits(served: Crm, writes: str, path: str) -> None:
    """Never early: right before the record goes, nobody can have it written again unseen."""
    tried: list[str] = []

    def meanwhile(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        words = statement.split()
        if words[0] in ("DELETE", "UPDATE") and "leads" in statement and not tried:
            with impatient(served) as another:
                try:
                    another.execute(_WRITES[writes](served))
                    tried.append("written")
                except sa.exc.OperationalError:
                    tried.append("waited")

    job, store = _job(path), served.database.another()
    candidates = store.discover(job, NO_HOLDS)
    sa.event.listen(store._engine, "before_cursor_execute", meanwhile)
    done = store.erase(job, candidates, range(candidates.batches), Gate())
    store.close()
    assert tried == ["waited"]
    assert done.erased + done.anonymised == 1


@pytest.mark.parametrize("path", list(_PATHS))
@pytest.mark.parametrize("writes", list(_WRITES))
def test_a_batch_waits_for_who_has_begun_to_write_a_row_and_sees_it(served: Crm, writes: str, path: str) -> None:
    job, store = _job(path), served.database.another()
    candidates = store.discover(job, NO_HOLDS)
    with impatient(served) as another:
        another.execute(_WRITES[writes](served))
        timer = threading.Timer(0.7, another.commit)
        timer.start()
        done = store.erase(job, candidates, range(candidates.batches), Gate())
        timer.join()
    store.close()
    assert done == Became(renewed=1)
    assert served.left == [2, 3]


def test_a_foreign_key_that_is_looked_at_later_keeps_rows_out_too(warehouse: Database) -> None:
    """Who inserts and commits after the batch finds no record any more: either of the two fails."""
    crm = Crm(warehouse)
    crm.lead(2, OLD)
    warehouse.run_text("ALTER TABLE messages ALTER CONSTRAINT of_lead DEFERRABLE INITIALLY DEFERRED")
    job = work(leads())
    candidates = warehouse.store.discover(job, NO_HOLDS)
    with warehouse.engine.connect() as another:
        another.execute(_inserts(crm))
        done = warehouse.store.erase(job, candidates, range(candidates.batches), Gate())
        assert done == Became(erased=1, rows_with=1)
        with pytest.raises(sa.exc.IntegrityError):
            another.commit()
    assert (crm.left, crm.kept) == ([], [])


# --- refused --------------------------------------------------------------------------------------------------------


def test_rows_that_no_foreign_key_keeps_out_are_refused_with_what_adds_it(any_database: Database) -> None:
    crm = Crm(any_database)
    if any_database.store._dialect.writes_alone:
        any_database.run_text("DROP TABLE messages", "CREATE TABLE messages (id INT, lead_id INT, sent_at TIMESTAMP)")
        assert said(any_database, leads(children=[])) == ""
        return
    drop = "CONSTRAINT" if any_database.is_postgres else "FOREIGN KEY"
    any_database.run_text(f"ALTER TABLE messages DROP {drop} of_lead")
    adds = "ALTER TABLE messages ADD FOREIGN KEY (lead_id) REFERENCES leads (id)"
    assert f"a row could come to refer to a record while that is judged and erased; {adds}" in said(
        any_database, leads(children=[])
    )
    with pytest.raises(StoreError, match="no foreign key leads from"):
        any_database.store.discover(work(leads(children=[])), NO_HOLDS)
    any_database.run_text(adds)
    assert said(any_database, leads()) == ""
    assert crm.left == []


def test_a_foreign_key_that_keeps_nobody_out_is_refused(warehouse: Database) -> None:
    Crm(warehouse)
    for name, statements, message in (
        ("not valid", ["ALTER TABLE messages DROP CONSTRAINT of_lead",
                       "ALTER TABLE messages ADD FOREIGN KEY (lead_id) REFERENCES leads NOT VALID"], "not validated"),
        ("off", ["ALTER TABLE messages VALIDATE CONSTRAINT messages_lead_id_fkey",
                 "ALTER TABLE messages DISABLE TRIGGER ALL"], "ALTER TABLE public.messages ENABLE TRIGGER ALL"),
        ("inherited", ["ALTER TABLE messages ENABLE TRIGGER ALL",
                       "CREATE TABLE letters () INHERITS (messages)"], "tables inherit from that table"),
    ):  # fmt: skip
        warehouse.run_text(*statements)
        assert message in said(warehouse, leads(children=[])), name


def test_in_mariadb_rows_refer_to_the_primary_key(any_database: Database) -> None:
    """A row that refers to another key is looked for, and locked, in that key's index alone."""
    Crm(any_database)
    if any_database.name != "mariadb":
        pytest.skip("other databases lock the row itself")
    any_database.run_text(
        "ALTER TABLE messages ADD lead_code varchar(100), ADD CONSTRAINT by_code FOREIGN KEY (lead_code) "
        "REFERENCES leads (code)"
    )
    of = leads({"foreign_key": ["lead_code"], "references": ["code"]}, children=[])
    assert "foreign key by_code of messages: it refers to (code), which is not the primary key" in said(
        any_database, of
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table": "nobody"}, "related.messages: there is no table nobody"),
        ({"foreign_key": ["never"]}, "related.messages: table messages has no column never"),
        ({"references": ["never"]}, "related.messages: table leads has no column never"),
        ({"references": ["email"], "foreign_key": ["address"]}, "nothing makes (email) of leads unique"),
        ({"references": ["code"]}, "(lead_id) of messages and (code) of leads are of different types"),
        ({"table": "leads", "foreign_key": ["id"]}, "leads is the table of the records themselves"),
    ],
)
def test_rows_that_do_not_refer_to_one_record_are_refused(crm: Crm, changes: dict[str, Any], message: str) -> None:
    column = "messages.id" if changes.get("table") == "leads" else "messages.sent_at"
    of = leads(changes, clock={"latest_of": [column], "format": "year" if column == "messages.id" else None})
    assert message in said(crm.database, of)
    with pytest.raises(StoreError):
        crm.database.store.discover(work(of), NO_HOLDS)


def test_rows_that_go_along_with_another_record_are_refused(warehouse: Database) -> None:
    Crm(warehouse)
    warehouse.run_text("ALTER TABLE messages ADD forwarded_to int REFERENCES leads")
    of = leads(children=[{**GOING_ALONG, "foreign_key": ["forwarded_to"]}])
    assert "messages is among the children by other columns than (lead_id)" in said(warehouse, of)


def test_a_foreign_key_without_an_index_is_remarked(warehouse: Database) -> None:
    Crm(warehouse)
    warehouse.run_text("DROP INDEX ix_messages_lead_id")
    assert any("CREATE INDEX ON messages (lead_id)" in one for one in remarks(warehouse, leads()))


def test_the_rights_that_locking_many_rows_needs_are_named(warehouse: Database) -> None:
    Crm(warehouse)
    name = str(warehouse.connection.schema)
    login = f"login_{name}"
    warehouse.run_text(
        f"CREATE ROLE {login} LOGIN",
        f"GRANT CREATE, TEMPORARY ON DATABASE {name} TO {login}",
        f"GRANT SELECT, UPDATE (id, email) ON leads TO {login}",
    )
    limited = warehouse.another()
    limited._engine = sa.create_engine(limited._url.set(username=login), poolclass=sa.NullPool)
    told = "; ".join(one.message for one in limited.check(leads(children=[], masks=[{"column": "email"}])))
    limited.close()
    assert f"GRANT SELECT, UPDATE (lead_id) ON public.messages TO {login}" in told


# --- as Python says -------------------------------------------------------------------------------------------------

_MOMENTS = st.one_of(
    st.none(),
    st.integers(0, 120_000_000).map(lambda seconds: datetime(2023, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)),
    st.integers(-3, 3).map(lambda hours: datetime(2025, 5, 20, 22, tzinfo=UTC) + timedelta(hours=hours)),
)
"""Moments in UTC: any, and those around the cutoff, which is 2025-05-20 22:00 UTC."""
_COLUMNS = {"moment": None, "wall": WALL, "text": sa.Text(), "epoch": sa.BigInteger()}


def _written(moment: datetime | None, how: str, number: int) -> Any:  # noqa: ANN401 - of any type
    if moment is None:
        return None
    local = moment.astimezone(PRAGUE)
    match how:
        case "wall":
            return local.replace(tzinfo=None, fold=0)
        case "text":
            return (local.isoformat(), moment.isoformat(), local.date().isoformat())[number % 3]
        case "epoch":
            return int(moment.timestamp())
        case _:
            return moment


def _expired(created: datetime | None, sent: Sequence[datetime | None], *, latest: bool) -> bool:
    days = [one.astimezone(PRAGUE).date() for one in (created, *sent) if one]
    return bool(days) and (max if latest else min)(days) < CUTOFF


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    how=st.sampled_from(list(_COLUMNS)),
    latest=st.booleans(),
    people=st.lists(st.tuples(_MOMENTS, st.lists(_MOMENTS, max_size=4)), min_size=1, max_size=12),
)
def test_what_expires_is_what_python_says(
    any_database: Database, how: str, people: list[tuple[datetime | None, list[datetime | None]]], *, latest: bool
) -> None:
    any_database.run_text("DROP TABLE IF EXISTS messages", "DROP TABLE IF EXISTS leads")
    crm = Crm(any_database, sent_at=_COLUMNS[how])
    alone = how in ("text", "epoch")  # one format is for all columns of a clock
    expected = set()
    for number, (created, sent) in enumerate(people, start=1):
        crm.lead(number, created_at=None if alone else created)
        rows = [crm.row(number, _written(one, how, n)) for n, one in enumerate(sent)]
        any_database.insert(crm.messages, rows)
        if _expired(None if alone else created, sent, latest=latest):
            expected.add(number)
    formats = {"text": "iso8601", "epoch": "epoch_seconds"}
    columns = ["messages.sent_at"] if alone else ["created_at", "messages.sent_at"]
    clock = {"latest_of" if latest else "earliest_of": columns, "when_missing": "running", "format": formats.get(how)}
    job = work(leads(clock=clock))
    assert any_database.judged(job, "candidate") == [expected]
    candidates = any_database.store.discover(job, NO_HOLDS)
    assert candidates.due == len(expected)
    assert any_database.store.erase(job, candidates, range(candidates.batches), Gate()).erased == len(expected)
    assert set(crm.left) == set(range(1, len(people) + 1)) - expected
    any_database.store.clean(job.run, job.dataset)
