"""Every mask that policies can name, on every database."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import ValidationError
from tests.stores.sql_kit import KEYED_TEXT, Database, anonymise, dataset, refused, run_through

from lethe.holds.rules import NO_HOLDS
from lethe.judging.identifiers import IdentifierType
from lethe.judging.mentions import Kind, redact
from lethe.policy import Mask, MaskKind
from lethe.stores.sql.dialects import dialect_of
from lethe.stores.sql.dialects.base import Dialect
from lethe.stores.sql.masks import strategy_of
from lethe.stores.sql.masks.redact import redactions

TEXTS = ("ann@example.com", "Jiří", "", "x", None)
OLD = datetime(2024, 3, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Masked:
    """A mask on a column of a type: what is there before and after; None where only that is asked that all masks keep.

    The first value is one that it changes.
    """

    before: Sequence[Any] = TEXTS
    after: Sequence[Any] | None = None
    value: str | int | None = None
    kind: Callable[[Database], Any] = lambda _: KEYED_TEXT


DAYS = (date(1980, 3, 8), date(2024, 2, 29), date(1980, 1, 1), None)
NETWORKS = (
    ("192.0.2.77", "192.0.2.0"),
    ("1.1.1.1", "1.1.1.0"),
    ("255.255.255.255", "255.255.255.0"),
    ("10.0.0.0", "10.0.0.0"),
    ("2001:db8:7:1:2:3:4:5", "2001:db8:7::"),
    ("2001:db8:7:1::5", "2001:db8:7::"),
    ("2001:db8:7:1:2:3:4::", "2001:db8:7::"),
    ("2001:db8:7::2:3:4:5", "2001:db8:7::"),
    ("2001:db8:7::", "2001:db8:7::"),
    ("2001:db8::1", "2001:db8::"),
    ("2001:db8::1:2:3:4:5", "2001:db8::"),
    ("fe80::1:2:3:4:5", "fe80::"),
    ("fe80::", "fe80::"),
    *(
        (other, None)
        for other in (
            "fe80::1:2:3:4:5:6", "::1", "::ffff:192.0.2.77", "fe80::1%eth0", "2001:db8::1::2", "2001:db8:7:1",
            "2001:db8:7:1:2:3:4:5:6", "00:1a:2b:3c:4d:5e", "192.0.2.256", "192.0.2.077", "192.0.2", "192.0.2.77.1",
            "192.0.2.77/32", "192.0.2.77, 10.0.0.1", "192.0.2.77:443", "192.0.2.77\n", "2001:db8::1\n", " 10.0.0.1",
            "١.1.1.1", "Ann", "", None,
        )
    ),
)  # fmt: skip
"""Addresses and what is left of them: of anything that is not plainly one address, nothing."""
MASKED = {
    MaskKind.NULL: Masked(after=[None] * len(TEXTS)),
    MaskKind.CONSTANT: Masked(value="masked", after=["masked"] * len(TEXTS)),
    MaskKind.PREFIX: Masked(before=("110 00", "Žižkov", "1", "", None), value=2, after=("11", "Ži", "1", "", None)),
    MaskKind.DOMAIN: Masked(
        before=(
            "ann@example.com",
            "Ann <ann@example.org>",
            '"a@b"@x.org',
            "ann@x.org, 601 234 567",
            "@x.org",
            "ann@",
            "@",
            "Ann",
            "",
            None,
        ),
        after=("@example.com", None, None, None, "@x.org", None, None, None, None, None),
    ),
    MaskKind.MONTH: Masked(
        before=DAYS,
        after=(date(1980, 3, 1), date(2024, 2, 1), date(1980, 1, 1), None),
        kind=lambda _: sa.Date(),
    ),
    MaskKind.YEAR: Masked(
        before=DAYS,
        after=(date(1980, 1, 1), date(2024, 1, 1), date(1980, 1, 1), None),
        kind=lambda _: sa.Date(),
    ),
    MaskKind.RANGE: Masked(
        before=(37, 40, 0, -3, -40, None), value=10, after=(30, 40, 0, -10, -40, None), kind=lambda _: sa.Integer()
    ),
    MaskKind.REDACT: Masked(
        before=("call 601 234 567 †", "nothing", "", None), after=("call [phone] †", "nothing", "", None)
    ),
    MaskKind.NETWORK: Masked(before=tuple(before for before, _ in NETWORKS), after=[after for _, after in NETWORKS]),
}


def recognise(connection: sa.Connection, dialect: Dialect, text: str) -> None:
    """Have a session judge by what is recognised in a text."""
    table, found = redactions(dialect), redact(text, "CZ")
    counts = {kind.value: found.counts[kind] for kind in Kind}
    row = {"value": hashlib.sha256(text.encode()).hexdigest(), "redacted": found.text, **counts}
    dialect.make_temporary(connection, table)
    connection.execute(sa.insert(table), [row])


@pytest.mark.parametrize("kind", list(MaskKind))
def test_a_mask_leaves_what_it_knows_again_and_changes_nothing_twice(any_database: Database, kind: MaskKind) -> None:
    """A record is known as anonymised by its masks: one that is not idempotent would be anonymised for ever."""
    masked = MASKED.get(kind, Masked())
    column = sa.Column("masked", masked.kind(any_database))
    rows = [{"id": n, "masked": one} for n, one in enumerate(masked.before)]
    table = any_database.create("people", sa.Column("id", sa.Integer, primary_key=True, autoincrement=False), column)
    any_database.insert(table, rows)
    strategy, dialect = strategy_of(kind), dialect_of(any_database.connection)
    value = masked.value
    Mask.model_validate({"column": "masked", "with": kind.value, **({} if value is None else {"value": value})})
    assert strategy.unfit(column.type, dialect) is None
    done = strategy.done(table.c.masked, value, dialect)
    kept = sa.select(table.c.masked).order_by(table.c.id)
    with any_database.engine.begin() as connection:
        if kind is MaskKind.REDACT:
            recognise(connection, dialect, str(masked.before[0]))
        assert connection.scalar(sa.select(done).where(table.c.id == 0)) in (False, 0)
        after = []
        for _ in range(2):
            connection.execute(table.update().values(masked=strategy.put(table.c.masked, value, dialect)))
            assert set(connection.scalars(sa.select(done))) == {True}, "never unknown, NULL included"
            after.append(connection.scalars(kept).all())
    assert after[0] == after[1]
    assert after[0] != list(masked.before)
    assert (set(after[0]) == {None}) == strategy.puts_null
    if masked.after is not None:
        assert after[0] == list(masked.after)


def test_moments_are_moved_to_the_first_of_their_month_in_utc(any_database: Database) -> None:
    """Whatever the zone of the session is, so that a record that was anonymised is known again."""
    late = datetime(1980, 3, 31, 23, 59, tzinfo=UTC)
    born = sa.Column("born", any_database.moment)
    table = any_database.create("people", sa.Column("id", sa.Integer, primary_key=True), born)
    any_database.insert(table, [{"id": 1, "born": late}])
    strategy, dialect = strategy_of(MaskKind.MONTH), dialect_of(any_database.connection)
    any_database.do(table.update().values(born=strategy.put(table.c.born, None, dialect)))
    with any_database.engine.connect() as connection:
        assert str(connection.scalar(sa.select(table.c.born)))[:10] == "1980-03-01"
        assert connection.scalar(sa.select(strategy.done(table.c.born, None, dialect)))


BY_TENS, BY_BILLIONS, MONTH, YEAR = (
    {"with": "range", "value": 10},
    {"with": "range", "value": 10**9},
    {"with": "month"},
    {"with": "year"},
)
LOWEST = "-9223372036854775808"
LIMITS: dict[str, list[tuple[str, str, dict[str, Any], str | None]]] = {
    "postgresql": [
        ("bigint", LOWEST, BY_TENS, LOWEST),
        ("int", "-2147483648", BY_TENS, "-2147483648"),
        ("smallint", "-5", BY_BILLIONS, "-32768"),
        ("bigint", "9223372036854775807", BY_TENS, "9223372036854775800"),
        ("date", "'4714-11-24 BC'", MONTH, "4714-11-24 BC"),
        ("date", "'0044-03-15 BC'", MONTH, "0044-03-01 BC"),
        ("date", "'5874897-12-31'", YEAR, "5874897-01-01"),
        ("date", "'-infinity'", MONTH, "-infinity"),
        ("timestamp", "'4714-11-24 00:00 BC'", YEAR, "4714-11-24 00:00:00 BC"),
        ("timestamptz", "'4714-11-24 00:00Z BC'", MONTH, "4714-11-24 00:00:00+00 BC"),
        ("timestamptz", "'infinity'", YEAR, "infinity"),
        ("text", "repeat('a', 1000000) || '@x.org'", {"with": "domain"}, "@x.org"),
    ],
    "mariadb": [
        ("bigint", LOWEST, BY_TENS, LOWEST),
        ("bigint unsigned", "18446744073709551615", BY_TENS, "18446744073709551610"),
        ("int", "-2147483648", BY_TENS, "-2147483648"),
        ("int unsigned", "5", BY_BILLIONS, "0"),
        ("mediumint", "-1", BY_BILLIONS, "-8388608"),
        ("tinyint", "-128", BY_TENS, "-128"),
        ("timestamp null", "'1970-01-01 00:00:01'", YEAR, "1970-01-01 00:00:01"),
        ("datetime", "'9999-12-31 23:59:59'", MONTH, "9999-12-01 00:00:00"),
        ("date", "'0000-00-00'", MONTH, "0000-00-00"),
        ("date", "'0000-05-06'", YEAR, "0000-01-01"),
        ("date", "'2024-00-10'", MONTH, "2024-00-01"),
        ("longtext", "concat(repeat('a', 1000000), '@x.org')", {"with": "domain"}, "@x.org"),
    ],
    "sqlite": [
        ("INTEGER", LOWEST, BY_TENS, LOWEST),
        ("SMALLINT", "9223372036854775807", BY_TENS, "9223372036854775800"),
        ("INTEGER", "-3.7", BY_TENS, "-10"),
        ("INTEGER", "1e300", BY_TENS, "9223372036854775800"),
        ("INTEGER", "'37 or so'", BY_TENS, "30"),
        ("DATE", "'9999-12-31'", MONTH, "9999-12-01"),
        ("DATE", "5.5", YEAR, None),
        ("DATE", "'now'", YEAR, None),
        ("TEXT", "CAST(x'ff4061' AS TEXT)", {"with": "domain"}, None),
        ("TEXT", "x'614062'", {"with": "domain"}, None),
        ("TEXT", "'a' || char(0) || '@x.org'", {"with": "domain"}, None),
        ("TEXT", "x'312e312e312e31'", {"with": "network"}, None),
        ("TEXT", "printf('%.*c', 1000000, 'a') || '@x.org'", {"with": "domain"}, "@x.org"),
    ],
}
"""What a column of a type can have at its ends, or against its type, its mask, and what is left, as text."""


def test_values_at_the_limits_of_their_types_are_masked_and_fail_no_neighbour(any_database: Database) -> None:
    """What a range, a month or a year begins with may be out of the type's reach: then its first value is left."""
    limits = LIMITS[any_database.name]
    table = any_database.leads([{"id": n, "email": "ann@x.org", "last_contact": OLD} for n in (1, 2)])
    names = [f"masked_{number}" for number in range(len(limits))]
    for name, (kind, value, _, _) in zip(names, limits, strict=True):
        any_database.run_text(
            f"ALTER TABLE leads ADD COLUMN {name} {kind}",
            f"UPDATE leads SET {name} = {value} WHERE id = 1",  # noqa: S608 - values are those of this file
        )
    masks = [{"column": name, **mask} for name, (_, _, mask, _) in zip(names, limits, strict=True)]
    of = dataset(masks=[{"column": "email"}, *masks])
    assert refused(any_database, of) == []
    assert run_through(any_database, anonymise(of)).anonymised == 2
    assert any_database.store.survey(anonymise(of, run="run-2"), NO_HOLDS).due == 0
    text = sa.CHAR() if any_database.name == "mariadb" else sa.Text()
    shown = sa.select(*(sa.cast(sa.column(name), text).label(name) for name in names)).select_from(table)
    with any_database.engine.connect() as connection:
        left = connection.execute(shown.where(table.c.id == 1)).one()
    assert list(left) == [after for _, _, _, after in limits]


MASKS = [
    {"column": "email", "with": "domain"},
    {"column": "phone", "with": "prefix", "value": 6},
    {"column": "postcode", "with": "prefix", "value": 3},
    {"column": "born", "with": "year"},
    {"column": "visits", "with": "range", "value": 5},
    {"column": "name"},
]


def test_a_run_anonymises_what_has_expired_once_and_its_statistics_still_come_out(any_database: Database) -> None:
    """Visits by domain and year of birth are those of before, rounded; whoever was anonymised is no candidate again."""
    columns = {
        "name": KEYED_TEXT, "phone": KEYED_TEXT, "postcode": KEYED_TEXT, "born": sa.Date(), "visits": sa.Integer(),
    }  # fmt: skip
    rows = [
        {
            "id": n, "email": f"p{n}@{'x' if n % 2 else 'y'}.org", "last_contact": OLD, "name": f"P {n}",
            "phone": f"+420601234{n:03d}", "postcode": f"110 {n:02d}", "born": date(1980 + n % 3, 5, 1 + n),
            "visits": n,
        }
        for n in range(1, 25)
    ]  # fmt: skip
    table = any_database.leads(rows, **columns)
    of = dataset(identifiers={"email": ["email"], "phone": ["phone"]}, masks=MASKS)
    assert refused(any_database, of) == []
    assert run_through(any_database, anonymise(of)).anonymised == 24
    with any_database.engine.connect() as connection:
        after = connection.execute(sa.select(table)).mappings().all()
    assert {row["email"] for row in after} == {"@x.org", "@y.org"}
    assert {row["phone"] for row in after} == {"+42060"}
    assert {row["postcode"] for row in after} == {"110"}
    assert {row["name"] for row in after} == {None}
    assert {row["born"] for row in after} == {date(1980 + n, 1, 1) for n in range(3)}

    def visits(rows: Sequence[Any]) -> dict[tuple[str, int], int]:
        summed: dict[tuple[str, int], int] = {}
        for row in rows:
            group = (row["email"].rpartition("@")[2], row["born"].year)
            summed[group] = summed.get(group, 0) + row["visits"] // 5
        return summed

    assert visits(after) == visits(rows)
    assert any_database.store.survey(anonymise(of, run="run-2"), NO_HOLDS).due == 0


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"column": "born", "with": "prefix", "value": 3}, "column born of leads is no text: mask it with null"),
        ({"column": "born", "with": "domain"}, "column born of leads is no text: mask it with null"),
        ({"column": "name", "with": "year"}, "column name of leads is neither a date nor a timestamp"),
        ({"column": "name", "with": "range", "value": 5}, "column name of leads has no whole numbers"),
        ({"column": "born", "with": "network"}, "column born of leads is no text: mask it with null"),
        ({"column": "code", "with": "domain"}, "column code of leads cannot be NULL"),
        ({"column": "code", "with": "network"}, "column code of leads cannot be NULL"),
        ({"column": "unique", "with": "prefix", "value": 1}, "no two rows can have one beginning"),
    ],
)
def test_masks_that_a_column_cannot_have_are_refused(
    any_database: Database, mask: dict[str, Any], message: str
) -> None:
    any_database.create(
        "leads",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("email", sa.Text),
        sa.Column("last_contact", any_database.moment, index=True),
        sa.Column("born", sa.Date),
        sa.Column("name", sa.Text),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("unique", KEYED_TEXT, unique=True),
    )
    told = "; ".join(one.message for one in refused(any_database, dataset(masks=[{"column": "email"}, mask])))
    assert message in told


@pytest.mark.parametrize("kind", ["month", "year"])
def test_a_day_that_may_be_any_text_needs_a_column_that_may_be_null(any_database: Database, kind: str) -> None:
    """SQLite keeps text that is no day, of which nothing is left: refused at once, not when records are anonymised."""
    any_database.create(
        "people",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("last_contact", any_database.moment, index=True),
        sa.Column("born", sa.Date, nullable=False),
    )
    of = dataset(table="people", identifiers={}, masks=[{"column": "born", "with": kind}])
    told = [one.message for one in refused(any_database, of)]
    nothing_left = ["column born of people cannot be NULL: mask it with a constant"]
    assert told == (nothing_left if any_database.name == "sqlite" else [])


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"with": "prefix"}, "give a value where a column is masked with constant, prefix or range"),
        ({"with": "year", "value": 3}, "give a value where a column is masked with constant, prefix or range"),
        ({"with": "range", "value": 0}, "the value of range is the width: write a whole number from 1 to"),
        ({"with": "prefix", "value": "two"}, "the value of prefix is the characters: write a whole number from 1 to"),
        ({"with": "network", "value": 24}, "give a value where a column is masked with constant, prefix or range"),
        ({"with": "prefix", "value": 3}, "prefix may leave of email what leads to a person"),
    ],
)
def test_masks_that_say_nonsense_or_leave_a_person_are_refused(mask: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        dataset(masks=[{"column": "email", **mask}])


def test_of_a_telephone_number_six_characters_may_be_left_and_no_seventh() -> None:
    """Numbers are compared by their last seven digits."""
    phone = {"identifiers": {"phone": ["phone"]}}
    dataset(**phone, masks=[{"column": "phone", "with": "prefix", "value": 6}])
    with pytest.raises(ValidationError, match="may leave of phone what leads to a person"):
        dataset(**phone, masks=[{"column": "phone", "with": "prefix", "value": 7}])


def test_of_a_column_of_names_no_redaction_leaves_nobody() -> None:
    """Of text by which holds find somebody, nothing is left but what was not recognised: names mostly are not."""
    said = [{"column": "said", "with": "redact"}]
    assert dataset(identifiers={"email": ["said"]}, masks=said).searched[IdentifierType.PHONE] == ("said",)
    with pytest.raises(ValidationError, match=r"redact may leave of said what leads to a person \(person\)"):
        dataset(identifiers={"person": ["said"]}, masks=said)


def test_no_network_is_left_of_an_address_that_leads_to_a_person() -> None:
    """Providers give 48 bits of version 6 to one household."""
    with pytest.raises(ValidationError, match=r"network may leave of address what leads to a person \(ip\)"):
        dataset(identifiers={"ip": ["address"]}, masks=[{"column": "address", "with": "network"}])
