"""A record's clock, conditions and identifiers in rows of other tables: the same promises, and what is refused."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.stores.sql_kit import (
    EXPIRY,
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
    sqlite,
    work,
)

from lethe.checks.added import unknown_columns
from lethe.counts import Became, Outcome, Unjudgeable
from lethe.errors import StoreError
from lethe.holds.rules import NO_HOLDS, ClockRange
from lethe.judging.keys import KeyColumn
from lethe.periods import Period, cutoff_for
from lethe.policy import Expiry, PeriodsByValue, TableDataset
from lethe.settings import Settings

OLD = datetime(2024, 3, 1, 12, tzinfo=UTC)
NEW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ACCOUNT = {"table": "accounts", "foreign_key": ["account_id"], "references": ["id"]}
USERS = {
    "kind": "table",
    "name": "users",
    "store": "warehouse",
    "table": "users",
    "key": ["id"],
    "related": {"account": ACCOUNT},
    "clock": {"column": "account.closed_at", "when_missing": "running"},
    "identifiers": {"email": ["email", "account.email"]},
}


class Accounts:
    """Accounts with users: a user goes a while after the account was closed."""

    def __init__(self, database: Database) -> None:
        self.database = database
        metadata = sa.MetaData()
        self.accounts = sa.Table(
            "accounts",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("code", sa.Text(), unique=True),
            sa.Column("email", sa.Text()),
            sa.Column("country", sa.Text()),
            sa.Column("state", sa.Text()),
            sa.Column("closed_at", database.moment),
        )
        self.users = sa.Table(
            "users",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("account_id", sa.ForeignKey(self.accounts.c.id), index=True),
            sa.Column("account_code", sa.Text()),
            sa.Column("email", sa.Text()),
        )
        metadata.create_all(database.engine)

    def account(self, number: int, closed_at: datetime | None, **values: Any) -> None:  # noqa: ANN401 - of any type
        """An account; user `number` is its."""
        row = {"id": number, "code": f"A{number}", "email": f"account{number}@x.org", "closed_at": closed_at, **values}
        self.database.insert(self.accounts, [row])
        self.user(number, account_id=number)

    def user(self, number: int, **values: Any) -> None:  # noqa: ANN401 - of any type
        """A user, of no account where none is named."""
        self.database.insert(self.users, [{"id": number, "email": f"user{number}@x.org", **values}])

    def change(self, number: int, **values: Any) -> None:  # noqa: ANN401 - of any type
        """Change an account."""
        self.database.do(sa.update(self.accounts).where(self.accounts.c.id == number).values(**values))

    @property
    def left(self) -> list[int]:
        """Users that are there."""
        return self.database.ids(self.users)


@pytest.fixture
def crm(database: Database) -> Accounts:
    """Accounts 1 and 2 were closed long ago, 3 lately, and 4 is open."""
    accounts = Accounts(database)
    for number, closed_at in enumerate([OLD, OLD, NEW, None], start=1):
        accounts.account(number, closed_at)
    return accounts


def users(related: Mapping[str, Any] | None = None, **changes: Any) -> TableDataset:  # noqa: ANN401 - as in a policy
    return dataset({**USERS, "related": {"account": {**ACCOUNT, **(related or {})}}}, **changes)


def said(database: Database, of: TableDataset, by_value: PeriodsByValue | None = None) -> str:
    """What checking refuses."""
    return "; ".join(f"{one.field}: {one.message}" for one in refused(database, of, by_value))


OF_ITS_OWN = {"column": "id", "format": "epoch_seconds"}
"""A clock with which a record may go though its related row is missing."""


# --- judged where the fact is -------------------------------------------------------------------------------------


def test_a_record_goes_by_the_clock_of_its_related_row(crm: Accounts) -> None:
    assert said(crm.database, users()) == ""
    found = crm.database.store.survey(work(users()), NO_HOLDS)
    assert (found.total, found.due, found.unjudgeable) == (4, 2, {})
    assert run_through(crm.database, work(users())).erased == 2
    assert crm.left == [3, 4]
    assert crm.database.ids(crm.accounts) == [1, 2, 3, 4]


OWN = {"email": ["email"]}
BOTH = {"email": ["email", "account.email"]}
found_by = pytest.mark.parametrize("identifiers", [pytest.param(OWN, id="own"), pytest.param(BOTH, id="both")])


@found_by
def test_a_record_whose_related_row_changed_since_discovery_stays(crm: Accounts, identifiers: dict[str, Any]) -> None:
    """The account was opened again, and nothing of the user's own row changed."""
    job = work(users(identifiers=identifiers))
    candidates = crm.database.store.discover(job, NO_HOLDS)
    crm.change(2, closed_at=None)
    done = crm.database.store.erase(job, candidates, range(candidates.batches), Gate())
    assert done == Became(erased=1, renewed=1)
    assert outcomes(crm.database, job, candidates) == {"1": Outcome.ERASED, "2": Outcome.RENEWED}
    assert crm.left == [2, 3, 4]


def test_a_hold_of_before_binds_an_identifier_that_the_related_row_got_since(crm: Accounts) -> None:
    job, rules = work(users()), holding(hold(email="ann@x.org"))
    candidates = crm.database.store.discover(job, rules)
    assert candidates.held == 0
    crm.change(2, email="Ann@X.org")
    done = crm.database.store.erase(job, candidates, range(candidates.batches), Gate(rules))
    assert done == Became(erased=1, held=1)
    assert crm.left == [2, 3, 4]


@found_by
def test_a_hold_on_some_days_binds_a_record_whose_related_clock_moved_into_them(
    crm: Accounts, identifiers: dict[str, Any]
) -> None:
    january = ClockRange(first=date(2024, 1, 1), last=date(2024, 1, 31))
    job, rules = work(users(identifiers=identifiers)), holding(hold(january, email="user2@x.org"))
    candidates = crm.database.store.discover(job, rules)
    assert candidates.held == 0
    crm.change(2, closed_at=datetime(2024, 1, 15, tzinfo=UTC))
    done = crm.database.store.erase(job, candidates, range(candidates.batches), Gate(rules))
    assert done == Became(erased=1, held=1)
    assert crm.left == [2, 3, 4]


@found_by
def test_a_hold_since_discovery_binds(crm: Accounts, identifiers: dict[str, Any]) -> None:
    job = work(users(identifiers=identifiers))
    candidates = crm.database.store.discover(job, NO_HOLDS)
    gate = Gate()
    gate.place(hold(email="user2@x.org"))
    done = crm.database.store.erase(job, candidates, range(candidates.batches), gate)
    assert done == Became(erased=1, held=1)


def test_a_hold_since_discovery_binds_a_record_that_was_no_candidate_when_it_was_placed(warehouse: Database) -> None:
    """Its address is searched for as text, once for all batches: also where its account was open just then."""
    crm = Accounts(warehouse)
    for number in (1, 2):
        crm.account(number, OLD)
    warehouse.do(sa.update(crm.users).where(crm.users.c.id == 2).values(email="Ann <user2@x.org>"))
    job, store = work(users(identifiers=OWN)), warehouse.another(lethe_batch_size=1)
    candidates = store.discover(job, NO_HOLDS)
    gate = Gate()

    def before(asked: int) -> None:
        if asked == 0:  # the first batch asks, and asks again when it has loaded what is held
            gate.place(hold(email="user2@x.org"))
            crm.change(2, closed_at=None)
        if asked == 2:
            crm.change(2, closed_at=OLD)

    gate.before = before
    done = store.erase(job, candidates, range(candidates.batches), gate)
    store.close()
    assert done == Became(erased=1, held=1)


@found_by
def test_rows_that_go_along_go_by_the_related_clock(crm: Accounts, identifiers: dict[str, Any]) -> None:
    crm.database.run_text(
        "CREATE TABLE logins (id int PRIMARY KEY, of_user int REFERENCES users, ip text)",
        "INSERT INTO logins VALUES (10, 1, '10.0.0.1'), (11, 1, NULL), (30, 3, NULL)",
    )
    logins = {"table": "logins", "foreign_key": ["of_user"], "identifiers": {"ip": ["ip"]}}
    job = work(users(identifiers=identifiers, children=[logins]))
    candidates = crm.database.store.discover(job, NO_HOLDS)
    assert candidates.rows_along == 2
    done = crm.database.store.erase(job, candidates, range(candidates.batches), Gate())
    assert done == Became(erased=2, rows_with=2)


def test_own_and_related_identifiers_are_told_apart_though_they_have_one_name(crm: Accounts) -> None:
    rules = holding(hold(email=["user1@x.org", "account2@x.org"]))
    assert crm.database.store.survey(work(users()), rules).held == 2
    assert crm.database.store.survey(work(users(identifiers={"email": ["email"]})), rules).held == 1
    assert crm.database.store.survey(work(users(identifiers={"email": ["account.email"]})), rules).held == 1
    run_through(crm.database, work(users()), rules)
    assert crm.left == [1, 2, 3, 4]


def test_what_keeps_a_record_on_may_be_in_its_related_row(crm: Accounts) -> None:
    crm.change(1, state="challenged")
    job = work(users(keep_while=[{"column": "account.state", "in": ["challenged", "in court"]}]))
    found = crm.database.store.survey(job, NO_HOLDS)
    assert (found.expired, found.kept_on, found.due) == (2, 1, 1)
    candidates = crm.database.store.discover(job, NO_HOLDS)
    crm.change(2, state="in court")
    done = crm.database.store.erase(job, candidates, range(candidates.batches), Gate())
    assert done == Became(renewed=1)
    assert crm.left == [1, 2, 3, 4]


def test_periods_may_go_by_a_value_of_the_related_row(crm: Accounts) -> None:
    crm.change(1, country="CZ")
    crm.change(2, country="DE")
    cutoffs = {
        country: cutoff_for(work().as_of, PRAGUE, Period.parse(text))
        for country, text in {"CZ": "P9Y", "DE": "P1Y"}.items()
    }
    expiry = Expiry(zone=PRAGUE, default=EXPIRY.default, column="account.country", by_value=cutoffs)
    assert run_through(crm.database, work(users(), expiry=expiry)).erased == 1
    assert crm.left == [1, 3, 4]


def test_masks_are_put_on_the_record_by_the_clock_of_its_related_row(crm: Accounts) -> None:
    of = users(identifiers={"email": ["email"]}, masks=[{"column": "email"}])
    assert said(crm.database, of) == ""
    assert run_through(crm.database, anonymise(of)).anonymised == 2
    assert [row[3] for row in crm.database.rows(crm.users)] == [None, None, "user3@x.org", "user4@x.org"]
    assert run_through(crm.database, anonymise(of, run="again")).total == 0


def test_a_related_row_may_be_reached_by_way_of_others(database: Database) -> None:
    database.run_text(
        "CREATE TABLE customers (id int PRIMARY KEY, left_on date)",
        "CREATE TABLE accounts (id int PRIMARY KEY, customer int REFERENCES customers)",
        "CREATE TABLE users (id int PRIMARY KEY, account_id int REFERENCES accounts, email text)",
        "INSERT INTO customers VALUES (1, '2024-01-01'), (2, '2026-01-01')",
        "INSERT INTO accounts VALUES (10, 1), (20, 2), (30, NULL)",
        "INSERT INTO users VALUES (1, 10, NULL), (2, 20, NULL), (3, 30, NULL), (4, NULL, NULL)",
    )
    customer = {"table": "customers", "through": "account", "foreign_key": ["customer"], "references": ["id"]}
    of = dataset(
        USERS, related={"customer": customer, "account": ACCOUNT}, clock={"column": "customer.left_on"}, identifiers={}
    )
    assert said(database, of) == ""
    found = database.store.survey(work(of), NO_HOLDS)
    assert (found.total, found.due, found.unjudgeable) == (4, 1, {Unjudgeable.NO_RELATED_ROW: 2})
    assert run_through(database, work(of)).erased == 1


# --- nothing may change between judging and erasing -----------------------------------------------------------------


@found_by
def test_a_related_row_stays_as_it_is_while_its_records_are_erased(
    warehouse: Database, identifiers: dict[str, Any]
) -> None:
    """Never early: who opens an account again waits for the batch, or the batch for them; not both go on."""
    crm = Accounts(warehouse)
    crm.account(1, OLD)
    tried: list[str] = []

    def reopen(connection: sa.Connection, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("DELETE FROM") and "users" in statement and not tried:
            with warehouse.engine.connect() as another, another.begin():
                another.exec_driver_sql("SET LOCAL lock_timeout = '200ms'")
                try:
                    another.execute(sa.update(crm.accounts).values(closed_at=None))
                    tried.append("opened again")
                except sa.exc.OperationalError as error:
                    tried.append(type(error.orig).__name__)

    job = work(users(identifiers=identifiers))
    store = warehouse.another()
    candidates = store.discover(job, NO_HOLDS)
    sa.event.listen(store._engine, "before_cursor_execute", reopen)
    done = store.erase(job, candidates, range(candidates.batches), Gate())
    store.close()
    assert tried == ["LockNotAvailable"]
    assert done.erased == 1


# --- what is not there ----------------------------------------------------------------------------------------------


def test_a_record_without_its_related_row_is_counted_and_stays(crm: Accounts) -> None:
    crm.user(5)
    found = crm.database.store.survey(work(users()), NO_HOLDS)
    assert (found.total, found.due, found.unjudgeable) == (5, 2, {Unjudgeable.NO_RELATED_ROW: 1})
    run_through(crm.database, work(users()))
    assert crm.left == [3, 4, 5]


def test_a_record_that_has_expired_by_its_own_clock_stays_without_the_row_that_may_keep_it(database: Database) -> None:
    """Nobody knows whether the bill is settled: the call is counted once, and stays."""
    database.run_text(
        "CREATE TABLE bills (id int PRIMARY KEY, state text)",
        "CREATE TABLE calls (id int PRIMARY KEY, bill int REFERENCES bills, made_on date)",
        "INSERT INTO bills VALUES (1, 'settled'), (2, 'challenged')",
        "INSERT INTO calls VALUES (1, 1, '2024-01-01'), (2, 2, '2024-01-01'), (3, NULL, '2024-01-01')",
    )
    bill = {"table": "bills", "foreign_key": ["bill"], "references": ["id"]}
    job = work(
        dataset(
            USERS,
            table="calls",
            related={"bill": bill},
            clock={"column": "made_on"},
            keep_while=[{"column": "bill.state", "in": ["challenged"]}],
            identifiers={},
        )
    )
    found = database.store.survey(job, NO_HOLDS)
    assert (found.total, found.due, found.kept_on) == (3, 1, 1)
    assert found.unjudgeable == {Unjudgeable.NO_RELATED_ROW: 1}
    assert run_through(database, job).erased == 1
    with database.engine.connect() as connection:
        assert connection.scalars(sa.text("SELECT id FROM calls ORDER BY id")).all() == [2, 3]


def test_a_missing_related_row_does_not_hide_a_record_from_a_condition(crm: Accounts) -> None:
    """Whether it is of the dataset cannot be said: it is counted, not passed over."""
    crm.user(5)
    crm.change(1, state="reseller")
    job = work(users(where=[{"column": "account.state", "in": ["reseller"]}]))
    found = crm.database.store.survey(job, NO_HOLDS)
    assert (found.total, found.due, found.unjudgeable) == (2, 1, {Unjudgeable.NO_RELATED_ROW: 1})


def test_a_missing_related_row_may_be_declared_to_be_empty(crm: Accounts) -> None:
    crm.user(5)
    job = work(users({"when_missing": "empty"}, keep_while=[{"column": "account.state", "in": ["open"]}]))
    found = crm.database.store.survey(job, NO_HOLDS)
    assert (found.total, found.due, found.unjudgeable) == (5, 2, {})
    strict = work(users({"when_missing": "empty"}, clock={"column": "account.closed_at"}))
    found = crm.database.store.survey(strict, NO_HOLDS)
    assert found.unjudgeable == {Unjudgeable.NO_CLOCK: 2}


def test_columns_that_no_foreign_key_holds_to_a_row_may_lead_to_it(crm: Accounts) -> None:
    crm.user(5, account_code="A1")
    crm.user(6, account_code="nobody's")
    by_code = {"foreign_key": ["account_code"], "references": ["code"]}
    assert said(crm.database, users(by_code)) == ""
    found = crm.database.store.survey(work(users(by_code)), NO_HOLDS)
    assert (found.due, found.unjudgeable) == (1, {Unjudgeable.NO_RELATED_ROW: 5})
    assert run_through(crm.database, work(users(by_code))).erased == 1
    assert crm.left == [1, 2, 3, 4, 6]
    empty = {**by_code, "when_missing": "empty"}
    assert said(crm.database, users(empty)) == ""  # without the row there is no clock
    assert "when_missing can only be unjudgeable" in said(crm.database, users(empty, clock=OF_ITS_OWN))


# --- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table": "nobody"}, "related.account: there is no table nobody"),
        ({"foreign_key": ["nothing"]}, "related.account: table (public.|main.)?users has no column nothing"),
        ({"references": ["nothing"]}, "related.account: table accounts has no column nothing"),
        ({"references": ["country"], "foreign_key": ["email"]}, "nothing makes .country. of accounts unique"),
        ({"table": "users", "foreign_key": ["id"]}, "users is the table of the records themselves"),
    ],
)
def test_what_leads_to_no_single_row_is_refused(crm: Accounts, changes: dict[str, Any], message: str) -> None:
    column = "account.id" if "table" in changes else "account.closed_at"
    of = users(changes, identifiers={}, clock={"column": column})
    assert re.search(message, said(crm.database, of))
    with pytest.raises(StoreError, match=message):
        crm.database.store.discover(work(of), NO_HOLDS)


def test_a_related_column_that_is_not_there_is_refused(crm: Accounts) -> None:
    assert "related.account: table accounts has no column never" in said(
        crm.database, users(clock={"column": "account.never"})
    )
    by_value = PeriodsByValue.model_validate({"column": "account.never", "periods": {"CZ": "P1Y"}})
    assert "table accounts has no column never" in said(crm.database, users(), by_value)


def test_a_related_column_of_a_type_that_does_not_fit_is_refused(crm: Accounts) -> None:
    assert "clock: column account.state" in said(crm.database, users(clock={"column": "account.state"}))
    of = users(keep_while=[{"column": "account.closed_at", "like": "x%"}])
    assert "keep_while: users: column account.closed_at is of type" in said(crm.database, of)


def test_a_view_is_no_related_row(crm: Accounts) -> None:
    crm.database.run_text("CREATE VIEW closed AS SELECT * FROM accounts WHERE closed_at IS NOT NULL")
    assert "is a view" in said(crm.database, users({"table": "closed"}))


def test_columns_of_different_types_are_refused(tmp_path: Path) -> None:
    """To a number, SQLite has '1' and '01' equal: a record would lead to two rows, of which one may have expired."""
    with sqlite(tmp_path) as database:
        crm = Accounts(database)
        of = users({"foreign_key": ["account_id"], "references": ["code"]})
        assert "account_id) and (code) of accounts are of different types or collations" in said(crm.database, of)


def test_a_partition_and_the_whole_of_it_are_one_table(warehouse: Database) -> None:
    warehouse.run_text(
        "CREATE TABLE users (id int, of_user int, email text, at date, PRIMARY KEY (id)) PARTITION BY RANGE (id)",
        "CREATE TABLE users_1 PARTITION OF users FOR VALUES FROM (1) TO (100)",
    )
    leading = {"of_user": {"table": "users", "foreign_key": ["of_user"], "references": ["id"]}}
    of = dataset(USERS, table="users_1", related=leading, clock={"column": "of_user.at"}, identifiers={})
    assert "users is the table of the records themselves" in said(warehouse, of)


def test_a_float_does_not_lead_to_a_whole_number(warehouse: Database) -> None:
    crm = Accounts(warehouse)
    warehouse.run_text("ALTER TABLE users ADD rough double precision")
    of = users({"foreign_key": ["rough"], "references": ["id"]})
    assert "(rough) and (id) of accounts are of different types or collations" in said(crm.database, of)


def test_a_key_of_a_table_that_others_inherit_from_is_not_unique(warehouse: Database) -> None:
    Accounts(warehouse)
    warehouse.run_text("CREATE TABLE resellers (PRIMARY KEY (id)) INHERITS (accounts)")
    assert "nothing makes (id) of accounts unique" in said(warehouse, users())


def test_columns_that_cannot_be_compared_are_refused(warehouse: Database) -> None:
    crm = Accounts(warehouse)
    warehouse.run_text("CREATE TYPE letter AS ENUM ('a')", "ALTER TABLE accounts ADD letter letter UNIQUE")
    of = users({"foreign_key": ["account_code"], "references": ["letter"]})
    assert "cannot compare (account_code) with (letter) of accounts" in said(crm.database, of)


def test_a_foreign_key_that_is_not_validated_or_leads_to_more_lets_nothing_be_taken_for_empty(
    warehouse: Database,
) -> None:
    warehouse.run_text(
        "CREATE TABLE accounts (id int PRIMARY KEY, closed_at date) PARTITION BY RANGE (id)",
        "CREATE TABLE accounts_1 PARTITION OF accounts FOR VALUES FROM (1) TO (100)",
        "CREATE TABLE bills (id int PRIMARY KEY, closed_at date)",
        "CREATE TABLE users (id int PRIMARY KEY, account_id int REFERENCES accounts, bill int, bill_2 int)",
        "ALTER TABLE users ADD FOREIGN KEY (bill) REFERENCES bills NOT VALID",
        "ALTER TABLE users ADD FOREIGN KEY (bill_2) REFERENCES bills NOT ENFORCED",
    )
    of_bills: list[dict[str, Any]] = [{"table": "bills", "foreign_key": [name]} for name in ("bill", "bill_2")]
    for changes in ({"table": "accounts_1"}, *of_bills):
        of = users({**changes, "when_missing": "empty"}, identifiers={}, clock=OF_ITS_OWN)
        assert "when_missing can only be unjudgeable" in said(warehouse, of)
    assert said(warehouse, users({"when_missing": "empty"}, identifiers={})) == ""


def test_columns_of_different_collations_are_refused_though_a_foreign_key_leads_there(warehouse: Database) -> None:
    crm = Accounts(warehouse)
    warehouse.run_text('ALTER TABLE users ADD in_c text COLLATE "POSIX" REFERENCES accounts (code)')
    warehouse.run_text('ALTER TABLE accounts ALTER code TYPE text COLLATE "C"')
    of = users({"foreign_key": ["in_c"], "references": ["code"]})
    assert "of different types or collations" in said(crm.database, of)


@pytest.mark.parametrize("leading", [{}, {"foreign_key": ["account_code"], "references": ["code"]}])
def test_a_right_that_is_missing_for_a_related_table_is_named(warehouse: Database, leading: dict[str, Any]) -> None:
    Accounts(warehouse)
    name = str(warehouse.connection.schema)
    login = f"login_{name}"
    warehouse.run_text(
        f"CREATE ROLE {login} LOGIN",
        f"GRANT CREATE, TEMPORARY ON DATABASE {name} TO {login}",
        f"GRANT SELECT, DELETE, UPDATE (id) ON users TO {login}",
    )
    limited = warehouse.another()
    limited._engine = sa.create_engine(limited._url.set(username=login), poolclass=sa.NullPool)
    told = "; ".join(one.message for one in limited.check(users()) if not one.remark)
    limited.close()
    assert (
        f"may not SELECT, UPDATE (id) table public.accounts; GRANT SELECT, UPDATE (id) ON public.accounts TO {login}"
        in told
    )


def test_lineage_knows_what_records_are_judged_by(crm: Accounts) -> None:
    described = crm.database.store.describe(users())
    ((name, accounts),) = described.judged_by.items()
    assert name == "account"
    assert described.name.endswith("users")
    assert accounts.name == described.name.removesuffix("users") + "accounts"
    assert "closed_at" in {field.name for field in accounts.fields}


def test_keys_name_the_record_alone(crm: Accounts) -> None:
    candidates = crm.database.store.discover(work(users()), NO_HOLDS)
    assert [KeyColumn.model_dump(one)["name"] for one in candidates.key] == ["id"]


def test_checks_that_were_added_may_be_about_related_columns(crm: Accounts, tmp_path: Path) -> None:
    store = crm.database.store
    folder = tmp_path / "leads"
    folder.mkdir()
    settings = Settings(policies=tmp_path, expectations=tmp_path, home=tmp_path)
    for column, said in (("account.state", []), ("account.never", ["has no column account.never: correct it"])):
        suite = json.loads((Path(__file__).parents[2] / "expectations/account_users/users.json").read_text())
        suite["name"] = "leads.users"
        suite["expectations"][0]["kwargs"] = {"column": column}
        suite["expectations"] = suite["expectations"][:1]
        (folder / "users.json").write_text(json.dumps(suite))
        messages = unknown_columns(settings, "leads", users(), store)
        assert [message.partition("table users ")[2] for message in messages] == said


# --- however else a record may lead to another row than it was judged by ---------------------------------------------


@found_by
@pytest.mark.parametrize("children", [True, False])
def test_a_row_that_is_put_in_the_place_of_another_meanwhile_is_kept_too(
    warehouse: Database, identifiers: dict[str, Any], *, children: bool
) -> None:
    """Deleted and written anew while the batch waits for it, and opened again right before the record goes."""
    crm = Accounts(warehouse)
    crm.account(1, OLD)
    warehouse.run_text(
        "ALTER TABLE users DROP CONSTRAINT users_account_id_fkey",
        "CREATE TABLE logins (id int PRIMARY KEY, of_user int REFERENCES users)",
    )
    along = [{"table": "logins", "foreign_key": ["of_user"]}] if children else []
    job, store = work(users(identifiers=identifiers, children=along)), warehouse.another()
    candidates = store.discover(job, NO_HOLDS)
    done: list[str] = []

    def meanwhile(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FOR SHARE" in statement and not done:
            done.append("replaced")
            threading.Timer(0.7, replacing.commit).start()
        if statement.startswith('DELETE FROM "public"."users"') and done == ["replaced"]:
            with warehouse.engine.connect() as another, another.begin():
                another.exec_driver_sql("SET LOCAL lock_timeout = '300ms'")
                try:
                    another.execute(sa.update(crm.accounts).values(closed_at=None))
                    done.append("opened again")
                except sa.exc.OperationalError:
                    done.append("could not be opened")

    with warehouse.engine.connect() as replacing:
        replacing.execute(sa.delete(crm.accounts))
        replacing.execute(sa.insert(crm.accounts), {"id": 1, "closed_at": OLD})
        sa.event.listen(store._engine, "before_cursor_execute", meanwhile)
        became = store.erase(job, candidates, range(candidates.batches), Gate())
    store.close()
    assert (done[-1], became.erased) in (("could not be opened", 1), ("opened again", 0))


@pytest.mark.parametrize(
    ("tables", "leads_to"),
    [
        (
            [
                "CREATE TABLE accounts (code TEXT COLLATE NOCASE, closed_at TIMESTAMP)",
                "CREATE UNIQUE INDEX u ON accounts (code COLLATE BINARY)",
                "CREATE TABLE users (id INTEGER PRIMARY KEY, account_code TEXT, email TEXT)",
                "INSERT INTO accounts VALUES ('A1', '2024-01-01'), ('a1', '2026-10-01')",
                "INSERT INTO users VALUES (1, 'a1', NULL), (2, 'A1', NULL)",
            ],
            {"foreign_key": ["account_code"], "references": ["code"]},
        ),
        (
            [
                "CREATE TABLE accounts (id ANY UNIQUE, closed_at TEXT) STRICT",
                "CREATE TABLE users (id INTEGER PRIMARY KEY, account_id INTEGER, email TEXT)",
                "INSERT INTO accounts VALUES ('01', '2024-01-01'), (1, '2026-10-01')",
                "INSERT INTO users VALUES (1, 1, NULL), (2, 2, NULL)",
            ],
            {},
        ),
    ],
)
def test_a_record_leads_to_one_row_at_most_whatever_sqlite_takes_for_equal(
    tmp_path: Path, tables: list[str], leads_to: dict[str, Any]
) -> None:
    with sqlite(tmp_path) as database:
        database.run_text(*tables)
        of = users(leads_to, identifiers=OWN, clock={"column": "account.closed_at", "format": "iso8601"})
        found = database.store.survey(work(of), NO_HOLDS)
        assert found.total == 2
        assert found.expired <= 1
        run_through(database, work(of))
        assert 1 in database.ids(sa.table("users", sa.column("id")))  # type: ignore[arg-type]


def test_a_record_without_key_and_related_row_is_counted_once(tmp_path: Path) -> None:
    with sqlite(tmp_path) as database:
        database.run_text(
            "CREATE TABLE accounts (id INTEGER PRIMARY KEY, state TEXT, closed_at TIMESTAMP)",
            "CREATE TABLE users (id TEXT PRIMARY KEY, account_id INTEGER, email TEXT)",
            "INSERT INTO users VALUES (NULL, 7, NULL)",
        )
        of = users(where=[{"column": "account.state", "in": ["x"]}], identifiers=OWN)
        found = database.store.survey(work(of), NO_HOLDS)
        assert (found.total, found.unjudgeable) == (1, {Unjudgeable.NO_KEY: 1})


def test_a_child_table_is_no_related_row(database: Database) -> None:
    database.run_text(
        "CREATE TABLE users (id int PRIMARY KEY, account_id int, email text)",
        "CREATE TABLE accounts (id int PRIMARY KEY, of_user int REFERENCES users, closed_at date)",
    )
    children = [{"table": "accounts", "foreign_key": ["of_user"]}]
    assert "accounts is among the children" in said(database, users(identifiers=OWN, children=children))


def test_a_table_may_be_called_like_anything(database: Database) -> None:
    database.run_text(
        "CREATE TABLE accounts (id int PRIMARY KEY, closed_at date)",
        "CREATE TABLE related_0 (id int PRIMARY KEY, account_id int REFERENCES accounts, email text)",
        "INSERT INTO accounts VALUES (1, '2024-01-01')",
        "INSERT INTO related_0 VALUES (1, 1, NULL)",
    )
    assert run_through(database, work(users(table="related_0", identifiers=OWN))).erased == 1
