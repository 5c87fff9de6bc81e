"""Tables by identity: who they are, what goes with their rows, what keeps them, and what else has the same records."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.stores.sql_kit import Database, dataset, refused, remarks, work

from lethe.connections import Connection
from lethe.errors import StoreError
from lethe.holds.rules import NO_HOLDS
from lethe.stores.sql import SqlStore

OLD = datetime(2024, 3, 1, 12, tzinfo=UTC)
NEW = datetime(2026, 3, 1, 12, tzinfo=UTC)

LEADS_IN_PARTS = (
    "CREATE TABLE leads (id int, email text, last_contact timestamptz, part int, PRIMARY KEY (id, part)) "
    "PARTITION BY LIST (part)",
    "CREATE INDEX ON leads (last_contact)",
    *(f"CREATE TABLE leads_{part} PARTITION OF leads FOR VALUES IN ({part})" for part in range(2)),
)


def told(database: Database, **changes: Any) -> str:  # noqa: ANN401
    """What checking a dataset refuses."""
    return "; ".join(f"{one.field}: {one.message}" for one in refused(database, dataset(**changes)))


# --- rows that would go unjudged ----------------------------------------------------------------------------------


def thread(database: Database, action: str = "NO ACTION") -> sa.Table:
    """Leads that refer to leads, as messages do to those that they answer."""
    return database.create(
        "leads",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("email", sa.Text()),
        sa.Column("last_contact", database.moment, index=True),
        sa.Column("answers", sa.ForeignKey("leads.id", ondelete=action), index=True),
    )


@pytest.mark.parametrize("qualified", [False, True])
def test_a_table_that_is_its_own_child_is_refused_whatever_it_is_called(database: Database, qualified: bool) -> None:
    name = ("public.leads" if database.is_postgres else "MAIN.LEADS") if qualified else "leads"
    table = thread(database)
    database.insert(table, [{"id": 1, "last_contact": OLD, "answers": None}])
    database.insert(table, [{"id": 2, "last_contact": NEW, "answers": 1}])
    of = dataset(children=[{"table": name, "foreign_key": ["answers"]}])
    assert "is among its own descendants" in told(database, children=[{"table": name, "foreign_key": ["answers"]}])
    with pytest.raises(StoreError, match=r"leads: children: table .*leads is among its own descendants"):
        database.store.discover(work(of), NO_HOLDS)
    assert database.ids(table) == [1, 2]


def test_a_table_that_is_its_own_grandchild_is_refused(database: Database) -> None:
    leads = thread(database)
    database.create(
        "notes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("lead", sa.ForeignKey(leads.c.id)),
        sa.Column("follows", sa.Integer, sa.ForeignKey("notes.id")),
    )
    again = {"table": "notes", "foreign_key": ["follows"], "references": ["id"]}
    children = [{"table": "notes", "foreign_key": ["lead"], "children": [again]}]
    assert "table " in told(database, children=children)
    assert "notes is among its own descendants" in told(database, children=children)


def test_a_partition_is_no_child_of_its_own_table(warehouse: Database) -> None:
    warehouse.run_text(*LEADS_IN_PARTS)
    children = [{"table": "leads_0", "foreign_key": ["id", "part"]}]
    assert "leads_0 is among its own descendants" in told(warehouse, key=["id", "part"], children=children)


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL"])
def test_of_two_foreign_keys_between_two_tables_each_has_to_be_named(database: Database, action: str) -> None:
    leads = database.leads()
    notes = database.create(
        "notes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("lead", sa.ForeignKey(leads.c.id)),
        sa.Column("copied_from", sa.ForeignKey(leads.c.id, ondelete=action)),
    )
    of = dataset(children=[{"table": "notes", "foreign_key": ["lead"]}])
    assert f"rows of table {'public.' * database.is_postgres}notes would follow" in told(database, children=of.children)
    database.insert(leads, [{"id": n, "last_contact": OLD} for n in (1, 2)])
    database.insert(notes, [{"id": 1, "lead": 1, "copied_from": 2}])
    with pytest.raises(StoreError, match=f"ON DELETE {action}"):
        database.store.discover(work(of), NO_HOLDS)
    both = [{"table": "notes", "foreign_key": [column]} for column in ("lead", "copied_from")]
    assert "would follow" not in told(database, children=both)


def test_cascades_by_a_key_to_one_partition_or_to_an_inheriting_table_are_seen(warehouse: Database) -> None:
    warehouse.run_text(
        *LEADS_IN_PARTS,
        "CREATE TABLE notes (lead int, part int, "
        "FOREIGN KEY (lead, part) REFERENCES leads_1 (id, part) ON DELETE CASCADE)",
        "CREATE TABLE people (id int PRIMARY KEY, email text, last_contact timestamptz)",
        "CREATE INDEX ON people (last_contact)",
        "CREATE TABLE customers (PRIMARY KEY (id)) INHERITS (people)",
        "CREATE TABLE orders (customer int REFERENCES customers ON DELETE CASCADE)",
    )
    assert "rows of table public.notes would follow" in told(warehouse, key=["id", "part"])
    assert "rows of table public.orders would follow" in told(warehouse, table="people")


def test_cascades_to_a_partition_that_is_a_dataset_are_seen(warehouse: Database) -> None:
    warehouse.run_text(
        *LEADS_IN_PARTS,
        "CREATE TABLE notes (lead int, part int, FOREIGN KEY (lead, part) REFERENCES leads ON DELETE CASCADE)",
    )
    assert told(warehouse, table="leads_0", key=["id", "part"]).count("public.notes would follow") == 1


def test_the_search_path_decides_once_which_table_is_meant(warehouse: Database) -> None:
    login = warehouse.connection.login
    for schema in (f'"{login}"', "later"):
        warehouse.run_text(
            f"CREATE SCHEMA {schema}",
            f"CREATE TABLE {schema}.leads (id int PRIMARY KEY, email text, last_contact timestamptz)",
            f"CREATE INDEX ON {schema}.leads (last_contact)",
        )
    warehouse.run_text(f'CREATE TABLE later.notes (lead int REFERENCES "{login}".leads ON DELETE CASCADE)')
    for path, seen in (('"$user",later', True), ('later,"$user"', False)):
        store = warehouse.another(options=f"-c search_path={path}")
        problems = [one.message for one in store.check(dataset()) if not one.remark]
        assert any("later.notes would follow" in message for message in problems) is seen
        store.close()


def test_a_masked_column_that_others_are_updated_with_is_refused(database: Database) -> None:
    leads = database.create(
        "leads",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("email", sa.Text(), unique=True),
        sa.Column("last_contact", database.moment, index=True),
    )
    masks = [{"column": "email"}]
    assert told(database, masks=masks) == ""
    database.create("notes", sa.Column("email", sa.ForeignKey(leads.c.email, onupdate="CASCADE")))
    assert "ON UPDATE CASCADE" in told(database, masks=masks)


def test_tables_that_keep_records_are_remarked(database: Database) -> None:
    leads = database.leads()
    database.create("orders", sa.Column("lead", sa.ForeignKey(leads.c.id)))
    assert told(database) == ""
    assert any("orders refer to leads (foreign key " in message for message in remarks(database, dataset()))


def test_triggers_and_rules_on_delete_are_named(warehouse: Database) -> None:
    warehouse.leads()
    warehouse.run_text(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER keep_leads BEFORE DELETE ON leads FOR EACH ROW EXECUTE FUNCTION keep()",
        "CREATE TRIGGER not_this BEFORE INSERT ON leads FOR EACH ROW EXECUTE FUNCTION keep()",
    )
    (remark,) = remarks(warehouse, dataset())
    assert "trigger keep_leads of leads runs when rows are erased" in remark
    warehouse.run_text("CREATE RULE softly AS ON DELETE TO leads DO INSTEAD NOTHING")
    assert "rule softly of leads runs instead of the statement" in told(warehouse)


def test_triggers_of_sqlite_are_named(file: Database) -> None:
    file.leads()
    file.run_text(
        "CREATE TABLE graves (id)",
        "CREATE TRIGGER bury AFTER DELETE ON leads BEGIN INSERT INTO graves VALUES (old.id); END",
        "CREATE TRIGGER other AFTER UPDATE ON leads BEGIN DELETE FROM graves; END",
    )
    (remark,) = remarks(file, dataset())
    assert "trigger bury of leads runs when rows are erased" in remark


def test_views_are_refused_with_what_to_do(database: Database) -> None:
    database.leads()
    database.run_text("CREATE VIEW old_leads AS SELECT * FROM leads")
    assert "old_leads is a view: " in told(database, table="old_leads")
    assert "name the table that they come from" in told(database, table="old_leads")


# --- names --------------------------------------------------------------------------------------------------------


def test_names_with_blanks_dots_quotes_and_capitals(warehouse: Database) -> None:
    warehouse.run_text(
        'CREATE SCHEMA "Sales Dept"',
        'CREATE TABLE "Sales Dept"."Orders ""2024"".v1" (id int PRIMARY KEY, email text, last_contact timestamptz)',
        'CREATE INDEX ON "Sales Dept"."Orders ""2024"".v1" (last_contact)',
    )
    name = '"Sales Dept"."Orders ""2024"".v1"'
    database = warehouse.connection.schema
    for table in (name, f"{database}.{name}"):
        assert told(warehouse, table=table) == ""
        assert warehouse.store.discover(work(dataset(table=table)), NO_HOLDS).due == 0
    assert "there is no table other." in told(warehouse, table=f"other.{name}")


# --- places -------------------------------------------------------------------------------------------------------


def test_one_table_has_one_place_whatever_leads_there(database: Database) -> None:
    database.leads()
    place = database.store.place(dataset())
    other = SqlStore(Connection(**{**_fields(database.connection), "conn_id": "another"}))
    assert other.place(dataset()).meets(place)
    other.close()
    named = "public.leads" if database.is_postgres else "main.LEADS"
    assert database.store.place(dataset(table=named)).meets(place)
    database.create("notes", sa.Column("id", sa.Integer, primary_key=True))
    assert not database.store.place(dataset(table="notes")).meets(place)


def test_a_file_behind_a_link_is_the_same_place(file: Database, tmp_path: Path) -> None:
    file.leads()
    link = tmp_path / "link.db"
    link.symlink_to(str(file.connection.host))
    other = SqlStore(Connection("another", "sqlite", str(link)))
    assert other.place(dataset()).meets(file.store.place(dataset()))
    other.close()


def test_partitions_are_in_the_place_of_their_table_and_not_in_each_others(warehouse: Database) -> None:
    warehouse.run_text(*LEADS_IN_PARTS)
    whole, first, second = (warehouse.store.place(dataset(table=name)) for name in ("leads", "leads_0", "leads_1"))
    assert whole.meets(first)
    assert second.meets(whole)
    assert not first.meets(second)


def test_children_are_in_the_place_of_a_dataset_of_their_own(database: Database) -> None:
    leads = database.leads()
    database.create(
        "notes", sa.Column("id", sa.Integer, primary_key=True), sa.Column("lead", sa.ForeignKey(leads.c.id))
    )
    family = database.store.place(dataset(children=[{"table": "notes", "foreign_key": ["lead"]}]))
    notes = database.store.place(dataset(table="notes"))
    assert not family.meets(notes)
    assert family.goes_along(notes)
    assert notes.goes_along(family)


def _fields(connection: Connection) -> dict[str, Any]:
    return {name: getattr(connection, name) for name in Connection.__dataclass_fields__}
