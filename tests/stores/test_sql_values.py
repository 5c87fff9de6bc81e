"""Values that policies name: the database reads them as its column's; what it cannot read is refused before a run."""

from __future__ import annotations

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
    refused,
    remarks,
    run_through,
    work,
)

from lethe.errors import StoreError
from lethe.holds.rules import NO_HOLDS
from lethe.periods import Period, cutoff_for
from lethe.policy import Expiry, PeriodsByValue


def leads(warehouse: Database, kind: str, *values: str | None) -> None:
    """Expired leads with a column `special` of some type, as SQL writes its values; numbered from 1."""
    warehouse.run_text(
        "CREATE TYPE tier AS ENUM ('gold', 'free')",
        f"CREATE TABLE leads (id int PRIMARY KEY, email text, last_contact timestamptz, special {kind})",
        "CREATE INDEX ON leads (last_contact)",
        *(
            f"INSERT INTO leads VALUES ({number}, null, '2024-03-01 12:00Z', {value or 'null'})"  # noqa: S608
            for number, value in enumerate(values, 1)
        ),
    )


KEPT: dict[str, tuple[str, str, Any]] = {
    "text for a number": ("numeric(6,2)", "1.00", "1"),
    "a number for a float": ("real", "1", 1),
    "a fraction for a float": ("real", "0.1", "0.1"),
    "a fraction for a double": ("double precision", "1.5", "1.5"),
    "one for a truth value": ("boolean", "true", 1),
    "text for a truth value": ("boolean", "false", "no"),
    "a UUID in capitals": (
        "uuid", "'2f8f9de6-3c0a-4d67-8f7b-0c2f6a3f9a10'", "2F8F9DE6-3C0A-4D67-8F7B-0C2F6A3F9A10",
    ),
    "an enumeration": ("tier", "'gold'", "gold"),
    "padded text": ("char(4)", "'CZ'", "CZ "),
    "another spelling of a date": ("date", "'2024-01-05'", "5 Jan 2024"),
    "a number as text": ("text", "'7'", 7),
    "a whole number as text": ("int", "7", "7"),
}  # fmt: skip


@pytest.mark.parametrize("case", KEPT)
def test_values_are_compared_as_the_database_compares_them(warehouse: Database, case: str) -> None:
    kind, stored, named = KEPT[case]
    leads(warehouse, kind, stored, None)
    of = dataset(keep_while=[{"column": "special", "in": [named]}])
    assert refused(warehouse, of) == []
    candidates = warehouse.store.discover(work(of), NO_HOLDS)
    assert (candidates.kept_on, candidates.due) == (1, 1)
    of = dataset(where=[{"column": "special", "not_in": [named]}])
    assert warehouse.store.survey(work(of), NO_HOLDS).due == 1


NEVER: dict[str, tuple[str, list[Any], str]] = {
    "text among numbers": ("int", [1, "x"], "'x' is no integer"),
    "a fraction": ("bigint", ["1.5"], "'1.5' is no bigint"),
    "a label that is none": ("tier", ["gold", "platinum"], "'platinum' is no tier"),
    "too long": ("varchar(2)", ["CZE"], "'CZE' is no character varying\\(2\\)"),
    "no truth value": ("boolean", [2], "2 is no boolean"),
    "no UUID": ("uuid", ["x"], "'x' is no uuid"),
    "what has no equality": ("json", ["{}"], "a json cannot be compared"),
    "rounded": ("numeric(5,2)", ["1.005"], "no numeric\\(5,2\\) is exactly '1.005'"),
    "rounded to the second": (
        "timestamp(0)",
        ["2024-01-01 10:00:00.7"],
        "no timestamp\\(0\\) without time zone is exactly",
    ),
    "another day each day": ("date", ["2024-01-05", "today"], "'today' is another date each time that it is read"),
    "another moment": ("timestamptz", ["NOW"], "'NOW' is another timestamp with time zone each time"),
}


@pytest.mark.parametrize("case", NEVER)
@pytest.mark.parametrize("field", ["where", "keep_while"])
def test_values_that_no_record_can_have_are_refused(warehouse: Database, case: str, field: str) -> None:
    kind, named, says = NEVER[case]
    leads(warehouse, kind)
    conditions: dict[str, Any] = {field: [{"column": "special", "in": named}]}
    (problem,) = refused(warehouse, dataset(**conditions))
    assert problem.field == field
    with pytest.raises(AssertionError, match=f"column special of leads: {says}"):
        raise AssertionError(problem.message)


def test_values_that_no_record_can_have_are_refused_in_a_file_too(file: Database) -> None:
    file.leads(clock=None, plan=sa.Integer(), paid=sa.Boolean(), price=sa.Float())
    for column, value in (("plan", "x"), ("paid", "perhaps"), ("price", "cheap")):
        (problem,) = refused(file, dataset(where=[{"column": column, "in": [value]}]))
        assert f"column {column} of leads: '{value}' is no " in problem.message
    assert refused(file, dataset(where=[{"column": "plan", "in": ["1"]}, {"column": "paid", "in": [True, 0]}])) == []


def test_periods_by_value_are_checked_and_compared_natively(warehouse: Database) -> None:
    leads(warehouse, "numeric(3,1)", "1.0", "2.0")
    by_value = PeriodsByValue.model_validate({"column": "special", "periods": {"1": "P50Y"}})
    assert refused(warehouse, dataset(), by_value) == []
    default = cutoff_for(AS_OF, PRAGUE, Period.parse("P18M"))
    expiry = Expiry(
        zone=PRAGUE, default=default, column="special", by_value={"1": cutoff_for(AS_OF, PRAGUE, Period.parse("P50Y"))}
    )
    assert warehouse.store.survey(work(expiry=expiry), NO_HOLDS).due == 1
    absent = PeriodsByValue.model_validate({"column": "country", "periods": {"CZ": "P5Y"}})
    assert [one.message for one in refused(warehouse, dataset(), absent)] == ["table leads has no column country"]
    wrong = PeriodsByValue.model_validate({"column": "special", "periods": {"CZ": "P5Y"}})
    (problem,) = refused(warehouse, dataset(), wrong)
    assert problem.field == "by_value"
    assert "'CZ' is no numeric(3,1)" in problem.message


# --- masks --------------------------------------------------------------------------------------------------------


def test_json_is_masked_with_no_value_at_all(warehouse: Database) -> None:
    leads(warehouse, "json", """'{"a": 1}'""", None)
    of = dataset(masks=[{"column": "special"}])
    assert run_through(warehouse, anonymise(of)).anonymised == 1
    with warehouse.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM leads WHERE special IS NULL").scalar() == 2
    assert warehouse.store.survey(anonymise(of), NO_HOLDS).due == 0


MASKED: dict[str, tuple[str, Any]] = {
    "a date": ("date", "1900-01-01"),
    "a truth value": ("boolean", 0),
    "an enumeration": ("tier", "free"),
    "bytes": ("bytea", "\\x00"),
    "an address": ("inet", "192.0.2.0"),
    "a number": ("numeric(4,1)", "0.5"),
}


@pytest.mark.parametrize("case", MASKED)
def test_a_constant_of_any_type_that_the_database_can_read(warehouse: Database, case: str) -> None:
    kind, value = MASKED[case]
    leads(warehouse, kind, None, None)
    job = anonymise(dataset(masks=[{"column": "special", "with": "constant", "value": value}]))
    assert refused(warehouse, job.dataset) == []  # type: ignore[arg-type]
    assert run_through(warehouse, job).anonymised == 2
    assert warehouse.store.survey(job, NO_HOLDS).due == 0


UNFIT: dict[str, tuple[str, dict[str, Any], str]] = {
    "no date": ("date", {"with": "constant", "value": "erased"}, "'erased' is no date"),
    "no truth value": ("boolean", {"with": "constant", "value": "erased"}, "'erased' is no boolean"),
    "no label": ("tier", {"with": "constant", "value": "erased"}, "'erased' is no tier"),
    "too long": ("varchar(3)", {"with": "constant", "value": "erased"}, "'erased' is no character varying"),
    "unique": ("text UNIQUE", {"with": "constant", "value": "erased"}, "no two rows can have one constant"),
    "generated": ("text GENERATED ALWAYS AS (upper(email)) STORED", {}, "is filled by the database itself"),
    "identity": ("int GENERATED ALWAYS AS IDENTITY", {"with": "constant", "value": 0}, "is filled by the database"),
    "json": ("json", {"with": "constant", "value": "{}"}, "a json cannot be compared"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_masks_that_do_not_fit_are_refused(warehouse: Database, case: str) -> None:
    kind, mask, says = UNFIT[case]
    leads(warehouse, kind)
    told = "; ".join(one.message for one in refused(warehouse, dataset(masks=[{"column": "special", **mask}])))
    assert "column special of leads" in told
    assert says in told


# --- keys, names, remarks -----------------------------------------------------------------------------------------


def test_a_clock_without_an_index_is_a_remark_with_what_it_costs(database: Database) -> None:
    database.create(
        "leads",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("email", sa.Text()),
        sa.Column("last_contact", database.moment),
    )
    assert refused(database, dataset()) == []
    (remark,) = remarks(database, dataset())
    assert "no index that starts with last_contact" in remark
    assert "reads the whole table" in remark


@pytest.mark.parametrize(
    "unique",
    [
        "CREATE UNIQUE INDEX ON leads (id) WHERE id > 0",
        "CREATE UNIQUE INDEX ON leads ((id + 0))",
        "ALTER TABLE leads ADD UNIQUE (id) DEFERRABLE",
        "CREATE UNIQUE INDEX broken ON leads (id)",
    ],
    ids=["partial", "of an expression", "deferrable", "invalid"],
)
def test_what_does_not_make_every_row_unique_is_no_key(warehouse: Database, unique: str) -> None:
    warehouse.run_text(
        "CREATE TABLE leads (id int NOT NULL, code int NOT NULL, email text, last_contact timestamptz)",
        "CREATE INDEX ON leads (last_contact)",
        unique,
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass('broken')",
    )
    (problem,) = refused(warehouse, dataset())
    assert "nothing makes (id) of leads unique" in problem.message
    assert problem.message.endswith("give it a primary key, or a unique index")
    warehouse.run_text("CREATE UNIQUE INDEX ON leads (code) INCLUDE (email)")
    (problem,) = refused(warehouse, dataset())
    assert problem.message.endswith("give [code] as key")
    assert refused(warehouse, dataset(key=["code"])) == []


def test_names_as_long_as_names_can_be(warehouse: Database) -> None:
    column = "the_address_by_which_this_person_asked_us_to_write_from_now_on"[:60]
    number = "the_number_under_which_this_record_is_known_in_all_other_systems"[:62]
    warehouse.run_text(
        f"CREATE TABLE leads ({number} int PRIMARY KEY, {column} text, last_contact timestamptz)",
        "CREATE INDEX ON leads (last_contact)",
        f"CREATE TABLE notes (id int PRIMARY KEY, lead int REFERENCES leads, {column} text)",
        "INSERT INTO leads SELECT n, n || '@x.org', '2024-03-01 12:00Z' FROM generate_series(1, 12) n",
        "INSERT INTO notes SELECT n, n, 'n' || n || '@x.org' FROM generate_series(1, 12) n",
    )
    named = {"email": [column], "phone": [column], "account": [column]}
    of = dataset(
        key=[number],
        identifiers=named,
        children=[{"table": "notes", "foreign_key": ["lead"], "identifiers": {"email": [column]}}],
    )
    assert refused(warehouse, of) == []
    gate = Gate()
    gate.place(hold(email=["3@x.org"], account=["5@x.org"]), hold(email=["n4@x.org"]))
    candidates = warehouse.store.discover(work(of), gate.rules)
    assert (candidates.held, candidates.due) == (3, 9)
    gate.place(hold(email=["7@x.org", "n8@x.org"], account=["9@x.org"]))
    became = warehouse.store.erase(work(of), candidates, range(candidates.batches), gate)
    assert (became.erased, became.held) == (6, 3)


def test_a_publication_without_replica_identity_is_named(warehouse: Database) -> None:
    warehouse.run_text(
        "CREATE TABLE leads (id int NOT NULL UNIQUE, email text, last_contact timestamptz)",
        "CREATE INDEX ON leads (last_contact)",
        "INSERT INTO leads VALUES (1, null, '2024-03-01 12:00Z')",
    )
    assert refused(warehouse, dataset()) == []
    candidates = warehouse.store.discover(work(), NO_HOLDS)
    warehouse.run_text("CREATE PUBLICATION feed FOR TABLE leads")
    (problem,) = refused(warehouse, dataset())
    assert "publication feed replicates changes of leads" in problem.message
    with pytest.raises(StoreError, match="no replica identity"):
        warehouse.store.erase(work(), candidates, range(candidates.batches), Gate())


def test_keys_that_cannot_be_read_here_are_named(warehouse: Database) -> None:
    warehouse.run_text(
        "CREATE TABLE leads (id date PRIMARY KEY, email text, last_contact timestamptz)",
        "CREATE INDEX ON leads (last_contact)",
        "INSERT INTO leads VALUES ('infinity', null, '2024-03-01 12:00Z')",
    )
    with pytest.raises(StoreError, match="a key or a clock has a value that cannot be read here"):
        warehouse.store.discover(work(), NO_HOLDS)
