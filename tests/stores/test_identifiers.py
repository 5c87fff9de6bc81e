"""Never held: every engine finds a held identifier in what a record stores, as the vectors say.

Each vector's record has a day of its own that its hold is limited to, so that one table has all of a type.
"""

# ruff: noqa: ANN401 - values and types of columns are of any type
from __future__ import annotations

import json
import secrets
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql as pg
from tests.identifiers_kit import VECTORS, Vector, disagreeing
from tests.stores.parquet_kit import Body
from tests.stores.sql_kit import Database, dataset, hold, holding, work

from lethe.holds.rules import ClockRange, HoldRules
from lethe.judging.identifiers import IdentifierType, exact, matches, normalise, whole_names
from lethe.stores.files.clocks import flat
from lethe.stores.files.formats.base import As
from lethe.stores.files.formats.jsonlines.reading import JsonLines, LinesFile
from lethe.stores.files.holds import Loaded
from lethe.stores.files.holds import RowMatcher as FilesMatcher
from lethe.stores.objects.matching import ObjectMatcher
from lethe.stores.sql.holds import Carrier, HeldTables

_FIRST = date(2001, 1, 1)
_EPOCH = date(1970, 1, 1)

Judged = Callable[[IdentifierType, str | None, HoldRules, Sequence[tuple[Any, date]]], list[bool]]
"""Which of some values, each on its day, an engine finds held."""


def day(number: int) -> date:
    """The day of a held identifier."""
    return _FIRST + timedelta(days=number)


def tried(engine: str, judged: Judged, vectors: Sequence[Vector]) -> list[Vector]:
    """The vectors that an engine does not keep to."""
    groups: dict[tuple[IdentifierType, str | None, type], list[Vector]] = defaultdict(list)
    for one in vectors:
        groups[one.kind, one.region, type(one.stored)].append(one)
    wrong: list[Vector] = []
    for (kind, region, _), some in groups.items():
        days = {named: day(number) for number, named in enumerate(dict.fromkeys(one.named for one in some))}
        rules = holding(*(hold(ClockRange(at, at), **{kind: named}) for named, at in days.items()))
        held = judged(kind, region, rules, [(one.stored, days[one.named]) for one in some])
        wrong += disagreeing(engine, some, held)
    return wrong


COLUMNS: dict[type, Any] = {str: sa.Text(), int: sa.BigInteger(), float: sa.Double(), bytes: sa.LargeBinary()}


def in_sql(database: Database, column: Any = None) -> Judged:
    """In a column of a table, as discovering joins and as batches say that nothing is there."""
    dialect, engine = database.store._dialect, database.store._engine

    def judged(
        kind: IdentifierType, region: str | None, rules: HoldRules, values: Sequence[tuple[Any, date]]
    ) -> list[bool]:
        table = database.create(
            f"t{secrets.token_hex(4)}",
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("value", column or COLUMNS[type(values[0][0])]),
            sa.Column("last_contact", database.moment),
        )
        rows = [(value, datetime(at.year, at.month, at.day, 12, tzinfo=UTC)) for value, at in values]
        database.insert(
            table, [{"id": n, "value": value, "last_contact": moment} for n, (value, moment) in enumerate(rows)]
        )
        of = dataset(table=table.name, identifiers={kind: ["value"]}, phone_region=region)
        with engine.connect() as connection, connection.begin():
            list(dialect.problems(connection))
            judgement = database.judgement(connection, work(of))
            tables = HeldTables(dialect, "tried")
            tables.load(connection, rules)
            tables.search(connection, Carrier.of(judgement), judgement.table)
            source, held = tables.join(judgement, judgement.table)
            joined = set(connection.scalars(sa.select(judgement.table.c.id).select_from(source).where(held)))
            absent = set(connection.scalars(sa.select(judgement.table.c.id).where(*tables.absent(judgement))))
        assert joined == set(range(len(values))) - absent
        return [number in joined for number in range(len(values))]

    return judged


def in_parquet(
    kind: IdentifierType, region: str | None, rules: HoldRules, values: Sequence[tuple[Any, date]]
) -> list[bool]:
    """In a column of a file."""
    return in_arrow(pa.array([value for value, _ in values]))(kind, region, rules, values)


def in_arrow(column: pa.Array) -> Judged:
    """In a column that is made already."""

    def judged(
        kind: IdentifierType, region: str | None, rules: HoldRules, values: Sequence[tuple[Any, date]]
    ) -> list[bool]:
        matcher = FilesMatcher(rules, {kind: ["value"]}, Loaded(), region)
        days = pa.array([(at - _EPOCH).days for _, at in values]).to_numpy()
        found = matcher.held({"value": column}, len(values), (days, days))
        return [bool(one) for one in found]

    return judged


def in_json_lines(
    kind: IdentifierType, region: str | None, rules: HoldRules, values: Sequence[tuple[Any, date]]
) -> list[bool]:
    """In a file of JSON lines, as the values of a name and as the elements of lists."""
    days = pa.array([(at - _EPOCH).days for _, at in values]).to_numpy()
    found = []
    for name, lines in (
        ("user.value", [{"user": {"value": value}} for value, _ in values]),
        ("all[].value", [{"all": [None, {"value": value}, {}]} for value, _ in values]),
    ):
        file = LinesFile(Body("\n".join(map(json.dumps, lines)).encode()))
        (batch,) = (batch for chunk in file.chunks() for batch in chunk.read({name: As.IDENTIFIERS}, len(values)))
        matcher = FilesMatcher(rules, {kind: [name]}, Loaded(), region, JsonLines().identifiers)
        found.append(matcher.held({name: batch.column(name)}, len(values), (days, days)).tolist())
    assert found[0] == found[1]
    return [bool(one) for one in found[0]]


def in_objects(
    kind: IdentifierType, region: str | None, rules: HoldRules, values: Sequence[tuple[Any, date]]
) -> list[bool]:
    """In tags and the like, which are text and of no known country."""
    matcher = ObjectMatcher()
    matcher.prepare(rules)
    return [matcher.holds(rules, at, at, {kind: [value]}) for value, at in values]


def test_every_vector_in_a_database(any_database: Database) -> None:
    assert tried(any_database.name, in_sql(any_database), VECTORS) == []


def test_every_vector_in_parquet() -> None:
    assert tried("parquet", in_parquet, VECTORS) == []


def test_every_vector_in_json_lines() -> None:
    assert tried("jsonlines", in_json_lines, [one for one in VECTORS if is_json(one.stored)]) == []


def is_json(stored: object) -> bool:
    """Whether JSON has such a value."""
    return isinstance(stored, str | int) or (isinstance(stored, float) and isfinite(stored))


def test_every_vector_in_objects() -> None:
    assert tried("objects", in_objects, [one for one in VECTORS if isinstance(one.stored, str)]) == []


# --- columns of every type ------------------------------------------------------------------------------------------

PHONE, ACCOUNT, IP, PERSON, EMAIL = (IdentifierType(name) for name in ("phone", "account", "ip", "person", "email"))
NUMBER, UUID = "+420601234567", "6f9619ff-8b86-d011-b42d-00c04fc964ff"
DOMAIN = pg.DOMAIN("amount", sa.Numeric(12, 2))


def holds(
    judged: Judged, kind: IdentifierType, held: str, values: Sequence[Any], region: str | None = None
) -> list[Any]:
    """The values that a hold finds."""
    named: dict[str, Any] = {kind.value: held}
    found = judged(kind, region, holding(hold(**named)), [(value, _FIRST) for value in values])
    return [value for value, one in zip(values, found, strict=True) if one]


@pytest.mark.parametrize(
    ("column", "kind", "held", "stored", "others"),
    [
        (sa.Numeric(14, 2), PHONE, NUMBER, 420601234567, 420777000111),
        (sa.Numeric(14, 2), ACCOUNT, "1001", 1001, 1002),
        (DOMAIN, PHONE, NUMBER, 601234567, 777000111),
        (sa.Double(), PHONE, NUMBER, 420601234567.0, 420777000111.0),
        (sa.Double(), ACCOUNT, "9007199254740995", 9007199254740995.0, 1002.0),
        (sa.REAL(), ACCOUNT, "1001", 1001.0, 1002.0),
        (sa.REAL(), PHONE, NUMBER, 601234567.0, 7654321.0),
        (sa.LargeBinary(), ACCOUNT, "A-12", b"A-12", b"A-13"),
        (sa.LargeBinary(), PERSON, UUID, bytes.fromhex(UUID.replace("-", "")), bytes(16)),
        (sa.LargeBinary(), IP, "10.0.0.1", bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])),
        (sa.Uuid(as_uuid=False), PERSON, UUID.upper(), UUID, UUID.replace("6f", "7f")),
        (sa.ARRAY(sa.Text()), EMAIL, "ann@example.org", ["bob@x.org", "Ann@example.org"], ["bob@x.org"]),
        (pg.JSONB(), EMAIL, "éva@example.org", {"mail": "Éva@example.org"}, {"mail": "bob@x.org"}),
        (sa.JSON(), EMAIL, "éva@example.org", {"mail": "Éva@example.org"}, {"mail": "bob@x.org"}),
        (sa.ARRAY(sa.LargeBinary()), ACCOUNT, "A-12", [b"A-12"], [b"A-13"]),
        (sa.ARRAY(sa.REAL()), PHONE, NUMBER, [420601234567.0], [1002.0]),
        (sa.CHAR(20), ACCOUNT, "A-12", "A-12", "A-13"),
        (pg.INET(), IP, "10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2"),
        (pg.INET(), IP, "10.0.0.1", "10.0.0.1/8", "10.0.0.2/8"),
        (pg.INET(), IP, "::10.0.0.1", "::a00:1", "::a00:2"),
        (sa.BigInteger(), IP, "10.0.0.1", 167772161, 167772162),
        (sa.BigInteger(), ACCOUNT, "0012", 12, 13),
    ],
    ids=str,
)  # fmt: skip
def test_columns_of_postgresql(
    warehouse: Database, column: Any, kind: IdentifierType, held: str, stored: Any, others: Any
) -> None:
    assert warehouse.store._dialect.carries(column)
    assert holds(in_sql(warehouse, column), kind, held, [stored, others], "CZ") == [stored]


@pytest.mark.parametrize("column", [sa.Date(), sa.DateTime(), sa.Boolean(), sa.Interval(), pg.INT4RANGE()], ids=str)
def test_what_has_no_text_that_people_write_carries_nothing(warehouse: Database, column: Any) -> None:
    assert not warehouse.store._dialect.carries(column)


@pytest.mark.parametrize(
    ("column", "kind", "held"),
    [
        (pa.array([b"601234567", b"777000111"], pa.binary(9)), PHONE, NUMBER),
        (pa.array([b"A-12\0\0", b"A-13\0\0"], pa.binary(6)), ACCOUNT, "A-12"),
        (pa.array(["Žák".encode(), "Žík".encode()], pa.binary(5)), PERSON, "Žák"),
        (pa.array(["Žák".encode("cp1250"), "Žek".encode("cp1250")], pa.binary(3)), PERSON, "Žák"),
        (pa.array([bytes.fromhex(UUID.replace("-", "")), bytes(16)], pa.binary(16)), PERSON, UUID),
        (pa.array([bytes.fromhex(UUID.replace("-", "")), bytes(16)], pa.uuid()), PERSON, UUID),
        (pa.array([bytes.fromhex(UUID.replace("-", "")), bytes(16)], pa.binary()), PERSON, UUID),
        (pa.array([bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])], pa.binary(4)), IP, "10.0.0.1"),
        (pa.array([167772161, 167772162], pa.uint32()), IP, "10.0.0.1"),
        (pa.array([b"Ann <ann@x.org>", b"bob@x.org"], pa.large_binary()), EMAIL, "ann@x.org"),
        (pa.array(["Ann <ann@x.org>", "bob@x.org"]).dictionary_encode(), EMAIL, "ann@x.org"),
        (pa.array(["Ann <ann@x.org>", "bob@x.org"], pa.string_view()), EMAIL, "ann@x.org"),
        (pa.array([1001, 1002], pa.float32()), ACCOUNT, "1001"),
        (pa.array([601234567.0, 1002.0], pa.float64()).cast(pa.float32(), safe=False), PHONE, NUMBER),
        (pa.array([12, 13], pa.int16()), ACCOUNT, "0012"),
        (pa.array([Decimal("420601234567.00"), Decimal("1.50")], pa.decimal128(20, 2)), PHONE, NUMBER),
        (pa.array(["a" * 40 + " A-12", None]), ACCOUNT, "A-12"),
    ],
    ids=str,
)
def test_columns_of_parquet(column: pa.Array, kind: IdentifierType, held: str) -> None:
    values = [(None, _FIRST)] * len(column)
    named: dict[str, Any] = {kind.value: held}
    found = in_arrow(flat(column))(kind, "CZ", holding(hold(**named)), values)
    assert found == [True, False]


def test_what_is_no_text_in_a_text_column_is_held_too(any_database: Database) -> None:
    """Lines, tabs, backslashes and quotes reach the table of odd values as they are."""
    odd = [
        "x\tann@x.org\n",
        "ann@x.org\\",
        "\\\\ann@x.org",
        "ann@x.org\r\n",
        "'ann@x.org''",
        "%s ann@x.org",
        ":a ann@x.org",
    ]
    assert holds(in_sql(any_database, sa.Text()), EMAIL, "ann@x.org", [*odd, "bob@x.org\n"]) == odd


# --- whatever decoration -------------------------------------------------------------------------------------------

HELD = {
    EMAIL: ["ann@example.org", "o'neil.b+x@mail.example.co.uk", "éva@příklad.cz", "straße@bücher.de"],
    PHONE: ["+420601234567", "+14155552671", "+493012345678"],
    ACCOUNT: ["1001", "A-12", "CZ6508000000192000145399", UUID],
    PERSON: ["Eva Malá", "ΟΔΥΣΣΕΥΣ", "İlker Işık", "王小明", "O'Brien"],
    IP: ["10.0.0.1", "2001:db8::1"],
}
BEFORE = ["", " ", "<", "\u200b", "id: ", "tel. ", "x; ", "(", '"', "\n", "\ufeff", "→", "bob, ", '{"a":"', "a|", "1) "]
AFTER = ["", " ", ">", "\u00a0", ", x", "; bob", ")", '"', "\t", "\u00ad", " (old)", '"}', " ext 12", "|b", "\u202c"]
SPELT: list[Callable[[str], str]] = [
    str,
    str.upper,
    str.lower,
    str.swapcase,
    lambda text: unicodedata.normalize("NFD", text),
    lambda text: "".join(chr(ord(one) + 0xFEE0) if "!" <= one <= "~" else one for one in text),
    lambda text: text[:2] + "\u00ad" + text[2:],
    lambda text: "".join(one if one.isascii() else f"\\u{ord(one):04x}" for one in text),
]


@st.composite
def decorated(draw: st.DrawFn) -> Vector:
    """A held identifier in a spelling, with something around it."""
    kind = draw(st.sampled_from(list(HELD)))
    held = draw(st.sampled_from(HELD[kind]))
    text = draw(st.sampled_from(SPELT))(held)
    for _ in range(draw(st.integers(1, 3))):
        text = draw(st.sampled_from(BEFORE)) + text + draw(st.sampled_from(AFTER))
    return Vector(kind, held, "CZ", text, holds=True)


@settings(max_examples=500, deadline=None)
@given(one=decorated())
def test_any_decoration_is_held(one: Vector) -> None:
    assert matches(one.kind, one.named, one.stored, one.region)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(some=st.lists(decorated(), min_size=30, max_size=60))
def test_any_decoration_is_held_in_every_engine(any_database: Database, some: list[Vector]) -> None:
    assert tried("sql", in_sql(any_database), some) == []
    assert tried("parquet", in_parquet, some) == []
    assert tried("jsonlines", in_json_lines, some) == []
    assert tried("objects", in_objects, some) == []


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(sorted(IdentifierType)), held=st.text(max_size=12), stored=st.text(max_size=12))
def test_what_is_exactly_one_identifier_is_held_only_as_itself(kind: IdentifierType, held: str, stored: str) -> None:
    try:
        named, normal = normalise(kind, held, region="CZ"), normalise(kind, stored, region="CZ")
    except ValueError:
        return
    if exact(kind, stored, "CZ") is not None and named != normal:
        assert not matches(kind, named, stored, "CZ") or whole_names_meet(kind, named, stored)


def whole_names_meet(kind: IdentifierType, named: str, stored: str) -> bool:
    """Whether they are two spellings of one identifier (a UUID, grouped digits, a domain)."""
    return exact(kind, stored, "CZ") in set(whole_names(kind, named)) or kind.is_telephone
