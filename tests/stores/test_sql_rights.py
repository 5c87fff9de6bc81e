"""What the login may do and see: a check before anything is touched, with the statement that grants what is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.stores.sql_kit import AS_OF, Database, Gate, dataset, hold, refused, work

from lethe.errors import StoreError
from lethe.holds.rules import NO_HOLDS
from lethe.policy import TableDataset
from lethe.stores.sql import SqlStore

OLD = datetime(2024, 3, 1, 12, tzinfo=UTC)
NOTES = [{"table": "sales.notes", "foreign_key": ["lead"], "identifiers": {"email": ["email"]}}]
ACCOUNT = {"table": "sales.accounts", "foreign_key": ["account"], "references": ["id"], "when_missing": "empty"}
DISPUTED = {"column": "account.state", "in": ["disputed"]}
LEADS = dataset(table="sales.leads", children=NOTES, related={"account": ACCOUNT}, keep_while=[DISPUTED])
assert OLD < AS_OF


@dataclass
class Restricted:
    """A database with some tables, and a store whose login has no right but those that were granted."""

    owner: Database
    store: SqlStore
    login: str
    database: str

    def grant(self, *statements: str) -> None:
        """As an administrator; in the words of the docs, whose names of login and database are others."""
        named = [re.sub(r"\bDATABASE crm\b", f"DATABASE {self.database}", one) for one in statements]
        self.owner.run_text(*(re.sub(r"\blethe\b", self.login, one) for one in named))

    def told(self, of: TableDataset = LEADS) -> str:
        """What checking refuses."""
        return "; ".join(one.message for one in self.store.check(of) if not one.remark)


@pytest.fixture
def restricted(warehouse: Database) -> Iterator[Restricted]:
    """Nothing is granted, not even what PUBLIC has by default."""
    database = str(warehouse.connection.schema)
    login = f"login_{database}"
    warehouse.run_text(
        "CREATE SCHEMA sales",
        "CREATE TABLE sales.accounts (id int PRIMARY KEY, state text)",
        "CREATE TABLE sales.leads (id int PRIMARY KEY, email text, last_contact timestamptz,"
        " account int REFERENCES sales.accounts)",
        "CREATE INDEX ON sales.leads (last_contact)",
        "CREATE TABLE sales.notes (id int PRIMARY KEY, lead int REFERENCES sales.leads, email text)",
        "CREATE TABLE sales.orders (id int PRIMARY KEY, lead int CONSTRAINT of_lead REFERENCES sales.leads)",
        "INSERT INTO sales.leads SELECT n, n || '@x.org', '2024-03-01 12:00Z' FROM generate_series(1, 40) n",
        "INSERT INTO sales.notes SELECT n, n, 'note' || n || '@x.org' FROM generate_series(1, 40) n",
        "INSERT INTO sales.orders VALUES (1, 7)",
        f"CREATE ROLE {login} LOGIN",
        f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
    )
    store = SqlStore(replace(warehouse.connection, login=login))
    try:
        yield Restricted(warehouse, store, login, database)
    finally:
        store.close()
        warehouse.run_text(f"DROP OWNED BY {login} CASCADE", f"DROP ROLE {login}")


def documented(root: Path) -> list[str]:
    """The statements of docs/setting-up.md, but for the one that makes the role."""
    text = (root / "docs" / "setting-up.md").read_text()
    block = text.split("\\connect crm\n", 1)[1].split("```", 1)[0]
    return [statement.strip() for statement in block.split(";") if statement.strip() and "CREATE ROLE" not in statement]


def test_the_documented_grants_are_enough_for_all_that_a_run_does(restricted: Restricted, root: Path) -> None:
    restricted.grant(*documented(root))
    assert restricted.told() == ""
    job, store = work(LEADS), restricted.store
    candidates = store.discover(job, NO_HOLDS)
    gate = Gate()
    gate.place(hold(email=["3@x.org", "note4@x.org"]))
    became = store.erase(job, candidates, range(candidates.batches), gate)
    assert (became.erased, became.held, became.blocked) == (37, 2, 1)
    assert store.survey(job, gate.rules).due == 1
    assert len(list(store.outcomes(job, candidates))) == 40
    store.clean(job.run, job.dataset)


def test_each_documented_grant_is_needed_and_named_where_it_is_missing(restricted: Restricted, root: Path) -> None:
    statements = documented(root)
    restricted.grant(*statements, "REVOKE TEMPORARY ON DATABASE crm FROM lethe")
    assert restricted.told() == (
        f"connection warehouse: {restricted.login} may not make temporary tables, in which held identifiers are "
        f"compared; GRANT TEMPORARY ON DATABASE {restricted.database} TO {restricted.login}"
    )
    restricted.grant(statements[0])
    for statement in statements[2:]:
        revoked = statement.replace("GRANT", "REVOKE").replace(" TO ", " FROM ")
        restricted.grant(revoked)
        told = restricted.told()
        assert told
        for grant in re.findall(r"GRANT [^;]+", told):
            restricted.grant(grant)
        assert restricted.told() == "", statement


def test_without_any_right_all_are_named(restricted: Restricted) -> None:
    restricted.grant("GRANT CONNECT ON DATABASE crm TO lethe")
    told = restricted.told()
    assert "may not SELECT, DELETE, UPDATE (id) table sales.leads; GRANT SELECT, DELETE, UPDATE (id) ON" in told
    assert "may not SELECT, DELETE, UPDATE (lead) table sales.notes" in told
    assert "may not SELECT table sales.orders" in told
    assert "may not use schema sales" in told
    assert "CREATE SCHEMA lethe_scratch AUTHORIZATION" in told
    assert "GRANT TEMPORARY" in told


def test_the_right_to_single_columns_is_too_little_for_the_table_of_a_dataset(
    restricted: Restricted, root: Path
) -> None:
    restricted.grant(*documented(root))
    restricted.grant("REVOKE SELECT ON sales.leads FROM lethe", "GRANT SELECT (id, email) ON sales.leads TO lethe")
    assert "may not SELECT table sales.leads" in restricted.told()


def test_anonymising_needs_the_masked_columns_and_not_to_delete(restricted: Restricted, root: Path) -> None:
    of = dataset(table="sales.leads", masks=[{"column": "email"}])
    restricted.grant(*documented(root)[:4], "GRANT SELECT ON sales.leads TO lethe")
    assert "may not UPDATE (email) table sales.leads" in restricted.told(of)
    restricted.grant("GRANT UPDATE (email) ON sales.leads TO lethe")
    assert restricted.told(of) == ""


def test_a_suppression_list_needs_its_column_to_be_read_and_inserted(restricted: Restricted, root: Path) -> None:
    restricted.owner.run_text(
        "CREATE TABLE sales.objectors (email text PRIMARY KEY, number serial, added_at timestamptz DEFAULT now())"
    )
    of = dataset(table="sales.leads", suppression={"table": "sales.objectors", "column": "email", "from": "email"})
    restricted.grant(*documented(root))
    told = restricted.told(of)
    assert "may not SELECT, INSERT (email) table sales.objectors; GRANT SELECT, INSERT (email) ON" in told
    restricted.grant("GRANT SELECT (email), INSERT (email) ON sales.objectors TO lethe")
    (grant,) = re.findall(r"GRANT USAGE ON SEQUENCE \S+ TO \S+", restricted.told(of))
    assert "sales.objectors_number_seq" in grant.replace('"', "")
    restricted.owner.run_text(grant)
    assert restricted.told(of) == ""
    candidates = restricted.store.discover(work(of), NO_HOLDS)
    restricted.store.erase(work(of), candidates, range(candidates.batches), Gate())
    restricted.store.clean("run-1", of)


def test_functions_that_written_rows_call_have_to_be_allowed(restricted: Restricted, root: Path) -> None:
    """Of a list that rows are put on, and of a table whose columns are masked; not of one that rows go from."""
    names = ("by_default", "checked", "generated", "indexed", "of_domain")
    restricted.owner.run_text(
        *(f"CREATE FUNCTION sales.{name}(text) RETURNS text IMMUTABLE LANGUAGE sql RETURN $1" for name in names),
        *(f"REVOKE EXECUTE ON FUNCTION sales.{name} FROM PUBLIC" for name in names),
        "CREATE DOMAIN sales.word AS text CHECK (sales.of_domain(VALUE) IS NOT NULL)",
        "CREATE TABLE sales.objectors (email text PRIMARY KEY CHECK (sales.checked(email) <> ''),"
        " by text DEFAULT sales.by_default('x'), word sales.word DEFAULT 'w',"
        " low text GENERATED ALWAYS AS (sales.generated(email)) STORED)",
        "CREATE INDEX ON sales.objectors (sales.indexed(email))",
        "ALTER TABLE sales.leads ADD CHECK (sales.checked(email) <> ''), ADD by text DEFAULT sales.by_default('x')",
    )
    restricted.grant(*documented(root), "GRANT SELECT, INSERT ON sales.objectors TO lethe")
    assert restricted.told() == "", "nothing is called when rows go"
    of = dataset(table="sales.leads", suppression={"table": "sales.objectors", "column": "email", "from": "email"})
    told = restricted.told(of)
    assert re.findall(
        r"may not execute sales\.(\w+)\(text\), which writing rows of table sales.objectors calls", told
    ) == [*names]
    restricted.grant(*re.findall(r"GRANT [^;]+", told))
    assert restricted.told(of) == ""
    candidates = restricted.store.discover(work(of), NO_HOLDS)
    restricted.store.erase(work(of), candidates, range(candidates.batches), Gate())
    restricted.store.clean("run-1", of)
    restricted.grant("REVOKE EXECUTE ON FUNCTION sales.checked, sales.by_default FROM lethe")
    restricted.grant("GRANT UPDATE (email) ON sales.leads TO lethe")
    told = restricted.told(dataset(table="sales.leads", masks=[{"column": "email"}]))
    assert re.findall(r"may not execute (\S+),", told) == ["sales.checked(text)"]


def test_row_level_security_is_refused_instead_of_hiding_rows(restricted: Restricted, root: Path) -> None:
    restricted.grant(*documented(root))
    job = work(LEADS)
    assert restricted.store.survey(job, NO_HOLDS).due == 40
    restricted.owner.run_text(
        "ALTER TABLE sales.leads ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY few ON sales.leads USING (id <= 3)",
    )
    told = restricted.told()
    assert "row-level security hides rows of table sales.leads" in told
    assert f"ALTER ROLE {restricted.login} BYPASSRLS" in told
    with pytest.raises(StoreError, match="row-level security would hide rows"):
        restricted.store.survey(job, NO_HOLDS)
    with pytest.raises(StoreError, match="row-level security would hide rows"):
        restricted.store.discover(job, NO_HOLDS)
    restricted.grant("ALTER ROLE lethe BYPASSRLS")
    assert restricted.told() == ""
    assert restricted.store.survey(job, NO_HOLDS).due == 40


def test_a_server_that_takes_no_changes_is_named(warehouse: Database) -> None:
    warehouse.leads()
    warehouse.run_text(f"ALTER DATABASE {warehouse.connection.schema} SET default_transaction_read_only = on")
    (problem,) = refused(warehouse, dataset())
    assert "read-only" in problem.message
    warehouse.engine.dispose()


def test_a_file_that_may_not_be_written_to_is_named(file: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    file.leads()
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name.endswith("warehouse.db"))
    (problem,) = refused(file, dataset())
    assert "may not be written to" in problem.message
