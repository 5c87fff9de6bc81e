"""Never held: every spelling of a held identifier in a record holds it, whatever the database's collation."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.stores.sql_kit import Database, Gate, dataset, hold, holding, postgresql, run_through, sqlite, work

from lethe.counts import Became
from lethe.holds.rules import ClockRange, HoldRules
from lethe.judging.identifiers import IdentifierType, exact, keys, matches, normalise
from lethe.stores.sql import holds
from lethe.stores.sql.dialects.base import Dialect
from lethe.stores.sql.dialects.postgresql import PostgreSQL
from lethe_demo.servers import EmbeddedPostgres

OLD = datetime(2024, 3, 1, 12, tzinfo=UTC)


def survivors(
    database: Database,
    values: list[Any],
    rules: HoldRules,
    *,
    kind: str = "email",
    column: Any = None,  # noqa: ANN401
    **changes: Any,  # noqa: ANN401
) -> list[Any]:
    """The values that are left after a run over expired rows with these values of an identifier."""
    table = database.leads(value=column or sa.Text())
    database.insert(table, [{"id": n, "last_contact": OLD, "value": value} for n, value in enumerate(values)])
    run_through(database, work(dataset(identifiers={kind: ["value"]}, **changes)), rules)
    return [values[number] for number in database.ids(table)]


def test_spellings_of_an_address(database: Database) -> None:
    held = [
        "Jan.Novak@Example.com",
        " JAN.NOVAK@EXAMPLE.COM\t",
        "jan.novak@example.com\u00a0",
        "\u3000jan.novak@example.com",
    ]
    others = ["jan.novak@example.org", "xjan.novak@example.com", "", None, "jan novak@example.com"]
    assert survivors(database, held + others, holding(hold(email="jan.novak@example.com"))) == held


def test_letters_beyond_ascii(database: Database) -> None:
    composed, decomposed = "JOSÉ@X.CZ", unicodedata.normalize("NFD", "José@x.cz")
    kelvin = "\u212aarel@x.cz"
    greek = "ΟΔΥΣΣΕΥΣ@x.gr"
    held = [composed, decomposed, "jOSÉ@x.cz ", kelvin, "Karel@X.cz", greek, "İ@x.tr", "ИВАН@x.рф"]
    rules = holding(hold(email=["josé@x.cz", "karel@x.cz", "οδυσσευς@x.gr", "İ@x.tr", "иван@x.рф"]))
    assert survivors(database, [*held, "jose@x.cz", "петр@x.рф"], rules) == held


def test_other_types_and_columns(database: Database) -> None:
    table = database.leads(account=sa.BigInteger(), second=sa.Text())
    rows = [(1, None), (42, None), (3, " b@X.cz"), (4, "c@x.cz")]
    database.insert(
        table,
        [
            {"id": n, "email": "a@x.cz", "last_contact": OLD, "account": account, "second": second}
            for n, (account, second) in enumerate(rows)
        ],
    )
    of = dataset(identifiers={"email": ["email", "second"], "account": ["account"]})
    run_through(database, work(of), holding(hold(account="42", email="b@x.cz", cookie="a@x.cz")))
    assert database.ids(table) == [1, 2]


def test_uuids_and_ip_addresses(warehouse: Database) -> None:
    text = "6F9619FF-8B86-D011-B42D-00C04FC964FF"
    rules = holding(hold(person=text, ip=["2001:DB8:0:0::1", "10.0.0.1"]))
    assert survivors(warehouse, [text], rules, kind="person", column=sa.Uuid()) == [text]


@pytest.mark.parametrize("native", [False, True])
def test_ways_to_write_an_ip_address(database: Database, native: bool) -> None:
    if native and not database.is_postgres:
        pytest.skip("SQLite has no type for addresses")
    column = sa.dialects.postgresql.INET() if native else sa.Text()
    held = ["2001:db8::1", "2001:0db8:0000:0000:0000:0000:0000:0001", "10.0.0.1"]
    rules = holding(hold(ip=["2001:DB8:0:0::1", "10.0.0.1"]))
    assert survivors(database, [*held, "10.0.0.2", "2001:db8::2"], rules, kind="ip", column=column) == held


NUMBER = "+420601234567"
SPELLINGS = [
    "+420 601 234 567", "601234567", "601-234-567", "00420601234567", "(601) 234567", "+420601234567 ext. 12",
    "tel. 601 234 567", "601 234 567 / 777 000 111", "６０１２３４５６７", "٦٠١٢٣٤٥٦٧", "601 234 567;ext=9",
]  # fmt: skip


@pytest.mark.parametrize("kind", ["phone", "msisdn"])
def test_spellings_of_a_telephone_number_err_towards_holding(warehouse: Database, kind: str) -> None:
    others = ["+420 777 000 111", "12", "", None, "602 234 568"]
    named: dict[str, Any] = {kind: NUMBER}
    assert survivors(warehouse, SPELLINGS + others, holding(hold(**named)), kind=kind) == SPELLINGS


def test_telephone_numbers_are_compared_exactly_where_python_can_help(file: Database) -> None:
    held = ["+420 601 234 567", "601234567", "+420601234567 ext. 12", "601\t234 567", "\u202a601234567\u202c"]
    others = ["+421 601 234 567", "+420 777 000 111", "12", None]
    assert survivors(file, held + others, holding(hold(phone=NUMBER)), kind="phone", phone_region="CZ") == held


def test_a_number_that_cannot_be_read_exactly_holds_by_its_last_digits(database: Database) -> None:
    held = ["601234567", "+420 601 234 567"]
    assert survivors(database, [*held, "777 000 111"], holding(hold(phone="0601234567")), kind="phone") == held


def test_letters_for_digits_hold(warehouse: Database) -> None:
    assert survivors(warehouse, ["1-800-FLOWERS"], holding(hold(phone="+18003569377")), kind="phone")


def test_numbers_as_numbers(database: Database) -> None:
    rules = holding(hold(msisdn=NUMBER))
    found = survivors(database, [420601234567, 420777000111], rules, kind="msisdn", column=sa.BigInteger())
    assert found == [420601234567]


def put_days(database: Database) -> sa.Table:
    """Rows on days around the turn of February in Prague, by two people."""
    table = database.leads()
    moments = [datetime(2024, 1, 31, 22, 59, tzinfo=UTC), datetime(2024, 1, 31, 23, tzinfo=UTC)]
    moments += [datetime(2024, 2, 29, 22, 59, tzinfo=UTC), datetime(2024, 2, 29, 23, tzinfo=UTC)]
    database.insert(
        table,
        [
            {"id": n, "email": f"{'ab'[n % 2]}@x.cz", "last_contact": moment}
            for n, moment in enumerate([m for m in moments for _ in range(2)])
        ],
    )
    return table


FEBRUARY = ClockRange(date(2024, 2, 1), date(2024, 2, 29))


def test_a_hold_on_a_range_of_days_holds_everything_in_it(database: Database) -> None:
    table = put_days(database)
    assert run_through(database, work(), holding(hold(clock=FEBRUARY))) == Became(erased=4)
    assert database.ids(table) == [2, 3, 4, 5]


def test_a_hold_on_people_and_days_needs_both(database: Database) -> None:
    table = put_days(database)
    run_through(database, work(), holding(hold(clock=FEBRUARY, email="a@x.cz")))
    assert database.ids(table) == [2, 4]


def test_several_holds_on_one_person_add_up(database: Database) -> None:
    table = put_days(database)
    rules = holding(
        hold(clock=FEBRUARY, email=["a@x.cz", "b@x.cz"]),
        hold(clock=ClockRange(last=date(2024, 1, 31)), email="a@x.cz"),
        hold(clock=ClockRange(first=date(2024, 3, 1)), email="b@x.cz"),
    )
    run_through(database, work(), rules)
    assert database.ids(table) == [0, 2, 3, 4, 5, 7]


def test_a_hold_on_everything_holds_everything(database: Database) -> None:
    table = put_days(database)
    assert run_through(database, work(), holding(hold())) == Became()
    assert len(database.ids(table)) == 8


def test_a_hold_that_names_only_what_the_dataset_does_not_carry_holds_nothing(database: Database) -> None:
    table = put_days(database)
    run_through(database, work(), holding(hold(cookie="a@x.cz")))
    assert database.ids(table) == []


def test_clocks_without_a_zone_are_held_by_their_local_day(database: Database) -> None:
    table = database.leads(clock=sa.DateTime())
    days = [datetime(2024, 1, 31, 23, 59), datetime(2024, 2, 1), datetime(2024, 2, 29, 23, 59), datetime(2024, 3, 1)]  # noqa: DTZ001
    database.insert(table, [{"id": n, "email": "a@x.cz", "last_contact": day} for n, day in enumerate(days)])
    run_through(database, work(), holding(hold(clock=FEBRUARY)))
    assert database.ids(table) == [1, 2]


def test_held_identifiers_are_nowhere_in_the_database_afterwards(database: Database) -> None:
    database.leads([{"id": 1, "email": "a@x.cz", "last_contact": OLD}])
    canary = "canary-1f6e@x.cz"
    run_through(database, work(), holding(hold(email=canary, phone="+420600000001")))
    assert all("held" not in name for name in database.tables())
    database.store.clean("run-1", dataset())
    if not database.is_postgres:
        assert canary.encode() not in Path(database.connection.host or "").read_bytes()


@pytest.mark.parametrize("collation", ["C", "pg_c_utf8", "ucs_basic"])
def test_the_columns_own_collation_does_not_matter(warehouse: Database, collation: str) -> None:
    held = ["INFO@X.CZ", "Šťastný@X.CZ"]
    rules = holding(hold(email=["info@x.cz", "šťastný@x.cz"]))
    assert survivors(warehouse, [*held, "other@x.cz"], rules, column=sa.Text(collation=collation)) == held


def test_what_the_database_folds_is_folded_as_in_python(warehouse: Database) -> None:
    """For every character of most scripts: its text is searched in Python, or its key is that of Python."""
    dialect = PostgreSQL()
    every = [
        chr(code) for code in (*range(1, 0x3000), 0xAC00, *range(0xF900, 0x10600), 0x1F4E7, 0x20000, sys.maxunicode)
    ]
    for kind, pattern in ((IdentifierType.EMAIL, "a{0}b{0}@x{0}.cz"), (IdentifierType.PERSON, " {0}\u0308{0} ab{0}")):
        spelt = [pattern.format(character) for character in every]
        with warehouse.engine.connect() as connection:
            list(dialect.problems(connection))
            rows = sa.select(sa.func.unnest(sa.literal(spelt, sa.ARRAY(sa.Text()))).label("text")).subquery()
            key = dialect.identifier(rows.c.text, kind, None)
            odd = dialect.odd(rows.c.text, kind, None)
            assert odd is not None
            compared = connection.execute(sa.select(rows.c.text, key).where(sa.not_(odd))).all()
        assert len(compared) > 800
        assert [text for text, found in compared if found != exact(kind, text)] == []


ADDRESS = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(
    lambda text: "@" not in text and not any(map(str.isspace, text))
)


@pytest.fixture(scope="module")
def folding(postgres: EmbeddedPostgres) -> Any:  # noqa: ANN401
    with postgresql(postgres) as database, database.engine.connect() as connection:
        yield connection


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(
    local=ADDRESS, host=ADDRESS, form=st.sampled_from(["NFC", "NFD"]), blank=st.sampled_from(["", " ", "\u00a0", "\t"])
)
def test_any_address_is_found_in_any_spelling(
    folding: sa.Connection, local: str, host: str, form: Literal["NFC", "NFD"], blank: str
) -> None:
    address = f"{local}@{host}"
    try:
        normal = normalise(IdentifierType.EMAIL, address)
    except ValueError:
        normal = ""  # no hold can name it; what the database makes of it has to be what Python does all the same
    dialect = PostgreSQL()
    list(dialect.problems(folding))
    for spelt in {address, normal, normal.upper(), address.swapcase()} - {""}:
        text = blank + unicodedata.normalize(form, spelt) + blank
        column = sa.literal(text, sa.Text())
        odd = dialect.odd(column, IdentifierType.EMAIL, None)
        assert odd is not None
        found, is_odd = folding.execute(sa.select(dialect.identifier(column, IdentifierType.EMAIL, None), odd)).one()
        if normal:
            assert matches(IdentifierType.EMAIL, normal, text)
        assert is_odd or found in set(keys(IdentifierType.EMAIL, text))


ODD = "Ann <Ann@x.cz>; bob@x.cz"


def test_a_value_that_is_searched_holds_when_the_hold_comes_after_discovery(database: Database) -> None:
    rows = [{"id": n, "email": text, "last_contact": OLD} for n, text in enumerate([ODD, "ann@x.cz", "eve@x.cz", ODD])]
    table = database.leads(rows)
    candidates = database.store.discover(work(), holding())
    assert candidates.held == 0
    gate = Gate()
    gate.place(hold(ClockRange(date(2024, 2, 1), date(2024, 4, 1)), email="ann@x.cz"), hold(email="none@x.cz"))
    tally = database.store.erase(work(), candidates, range(candidates.batches), gate)
    assert tally == Became(erased=1, held=3)
    assert database.ids(table) == [0, 1, 3]


def test_a_record_that_somebody_changed_since_discovery_is_searched_as_it_is_now(database: Database) -> None:
    table = database.leads([{"id": n, "email": f"p{n}@x.cz", "last_contact": OLD} for n in range(4)])
    rules = holding(hold(email="ann@x.cz"))
    candidates = database.store.discover(work(), rules)
    database.do(sa.update(table).where(table.c.id == 2).values(email=ODD))
    tally = database.store.erase(work(), candidates, range(candidates.batches), Gate(rules))
    assert tally == Became(erased=3, held=1)
    assert database.ids(table) == [2]


def test_a_hold_on_days_finds_what_is_searched_only_on_them(database: Database) -> None:
    table = put_days(database)
    database.do(sa.update(table).values(email=sa.case((table.c.email == "a@x.cz", "A <a@x.cz>"), else_=table.c.email)))
    run_through(database, work(), holding(hold(clock=FEBRUARY, email="a@x.cz")))
    assert database.ids(table) == [2, 4]


@pytest.mark.parametrize("most", [1, 3, 100])
def test_however_many_searched_values_are_held_few_are_in_memory_at_once(
    database: Database, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 9: one held address in a note of each of many records. Text may be held on some days, by two holds."""
    monkeypatch.setattr(holds, "_FOUND_AT_ONCE", most)
    loaded: list[int] = []
    load = type(database.store._dialect).load

    def counted(self: Dialect, connection: sa.Connection, table: sa.Table, rows: Iterable[tuple[str, int]]) -> None:
        rows = list(rows)
        loaded.append(len(rows))
        load(self, connection, table, rows)

    monkeypatch.setattr(type(database.store._dialect), "load", counted)
    held = [f"{number}: Ann <ann@x.cz>; bob@x.cz" for number in range(10)]
    others = [f"{number}: Eve <eve@x.cz>" for number in range(10)]
    spring = ClockRange(date(2024, 2, 1), date(2024, 4, 1))
    rules = holding(hold(spring, email="ann@x.cz"), hold(ClockRange(date(2024, 2, 2), None), email="bob@x.cz"))
    assert survivors(database, [*held, *others, *held], rules) == held + held
    assert max(loaded) <= max(most + 1, 2)
    assert sum(loaded) >= 20


def test_a_million_held_identifiers_take_seconds(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    many = [f"p{number}@x.cz" for number in range(200_000)]
    for made in (postgresql(postgres), sqlite(tmp_path)):
        with made as database:
            table = database.leads()
            rows = [
                {"id": n, "email": f"P{n}@x.cz", "last_contact": OLD + timedelta(minutes=n)}
                for n in range(199_990, 200_010)
            ]
            database.insert(table, rows)
            run_through(database, work(), holding(hold(email=many)))
            assert database.ids(table) == list(range(199_990, 200_000))
