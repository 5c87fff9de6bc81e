r"""The canonical form of a record's key: what its evidence commits to, and what a person who names it means by it.

Each value of a key has one form by its type: a letter for the type, then the value in the one spelling that the type
has. So two records whose keys a store tells apart never share a form, and one record has the same form in every run,
whatever session, file or spelling it came by:

====  ===========================  ================================================================================
t     text                         as it is; a backslash and a unit separator (``\x1f``) escaped
c     text of a fixed length       the same, without the blanks that it is padded with
n     exact numbers                in decimal, without an exponent and without trailing zeros
f     floating-point numbers       the shortest decimal that means the same number, written as ``n``
s     those of single precision    the same
o     truth values                 ``true``, ``false``
u     UUIDs                        in lower case with hyphens
d     days                         ISO 8601
w     local times without a zone   ISO 8601, to the minute at least, without trailing zeros
i     moments                      the same, in UTC, ending in ``Z``
x     times of day                 the same, with their offset where they have one
b     bytes                        in hexadecimal
j     JSON                         fields sorted, no white space, numbers as ``n``
a     addresses and networks       as Python's ipaddress writes them, of a single address without its length
0     NULL
====  ===========================  ================================================================================

The forms of a key's values are joined by unit separators. `vectors/keys.yaml` has examples that both sides are tested
with.
"""

from __future__ import annotations

import json
import re
import struct
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from ipaddress import ip_interface
from itertools import product
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

SEPARATOR = "\x1f"
"""Between the values of a key."""

MOST_DIGITS = 200_000
"""Of a number that is written out: more than any database has."""

MOST_READINGS = 4096
"""Keys that one naming of a record may mean; more is no naming."""


class KeyKind(StrEnum):
    """The type of a value of a key, as its form says it."""

    TEXT = "t"
    PADDED = "c"
    NUMBER = "n"
    DOUBLE = "f"
    SINGLE = "s"
    BOOLEAN = "o"
    UUID = "u"
    DAY = "d"
    WALL = "w"
    INSTANT = "i"
    TIME = "x"
    BYTES = "b"
    JSON = "j"
    ADDRESS = "a"


class KeyColumn(BaseModel):
    """A column of a dataset's key.

    Attributes:
        name: as users write it.
        kind: the type of its values; None where they may be of several, or that is not known before they are read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: KeyKind | None = Field(default=None)


class Single(float):
    """A floating-point number of single precision."""


class Padded(str):
    """Text of a fixed length."""

    __slots__ = ()


class Json(str):
    """JSON, as it is written."""

    __slots__ = ()


class Address(str):
    """An IP address or network, as it is written."""

    __slots__ = ()


class Precise(str):
    """A time of day, a local time or a moment to the nanosecond, in the form that it has."""

    __slots__ = ()


# --- from values ------------------------------------------------------------------------------------------------------


def record_key(values: Sequence[object]) -> bytes:
    """The canonical form of the key that has these values, in UTF-8."""
    return SEPARATOR.join([form(value) for value in values]).encode("utf-8", "surrogatepass")


def record_keys(columns: Sequence[Sequence[object]]) -> list[bytes]:
    """The canonical keys of records whose values are given column by column: quicker for many than one by one."""
    forms = [_forms(values) for values in columns]
    joined = forms[0] if len(forms) == 1 else map(SEPARATOR.join, zip(*forms, strict=True))
    return [text.encode("utf-8", "surrogatepass") for text in joined]


def _forms(values: Sequence[object]) -> Iterable[str]:
    kinds = set(map(type, values))
    write = _WRITERS.get(kinds.pop()) if len(kinds) == 1 else None
    return map(write or form, values)


def form(value: object) -> str:
    """The canonical form of one value, by its Python type. Values of other types are written by `str`, as text."""
    write = _WRITERS.get(type(value)) or next((w for kind, w in _WRITERS.items() if isinstance(value, kind)), None)
    return write(value) if write is not None else _text(str(value))


def _text(value: str) -> str:
    if "\\" in value or SEPARATOR in value:
        value = value.replace("\\", "\\\\").replace(SEPARATOR, "\\-")
    return "t" + value


def _decimal(number: Decimal) -> str:
    """A number without an exponent and trailing zeros."""
    if not number.is_finite():
        return str(number).lower().lstrip("s")
    if number == 0:
        return "0"
    if abs(number.adjusted()) > MOST_DIGITS:
        raise InvalidOperation("a number of too many digits")
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _double(value: float) -> str:
    return "f" + _decimal(Decimal(repr(float(value))))


def _single(value: float) -> str:
    return "s" + _decimal(Decimal(_shortest(float(value))))


def _shortest(value: float) -> str:
    """The shortest decimal that is this number in single precision."""
    packed = _packed(value)
    texts = (f"{value:.{digits}g}" for digits in range(1, 10)) if packed else ()
    return next((text for text in texts if _packed(float(text)) == packed), repr(value))


def _packed(value: float) -> bytes | None:
    """A number in single precision; None where it is too large, as the largest one is when rounded up."""
    try:
        return struct.pack("<f", value)
    except OverflowError:
        return None


def _clock_time(value: time | datetime) -> str:
    text = value.replace(tzinfo=None).isoformat()
    return text.rstrip("0") if "." in text else text


def _moment(value: datetime) -> str:
    if value.tzinfo is None:
        return "w" + _clock_time(value)
    return f"i{_clock_time(value.astimezone(UTC))}Z"


def _time(value: time) -> str:
    offset = f"{datetime(2000, 1, 1, tzinfo=value.tzinfo):%z}" if value.tzinfo is not None else ""
    return "x" + _clock_time(value) + offset


def to_the_nanosecond(moment: datetime | time, nanoseconds: int) -> object:
    """A value for a time of some kind with what is finer than a microsecond, from 0 to 999 nanoseconds."""
    if not nanoseconds:
        return moment
    end = len(form(moment.replace(microsecond=0, tzinfo=None)))
    text = form(moment.replace(microsecond=0))
    finer = f".{moment.microsecond:06d}{nanoseconds:03d}".rstrip("0")
    return Precise(text[:end] + finer + text[end:])


def _json(text: str) -> str:
    return "j" + _dumped(json.loads(text, parse_float=Decimal, parse_int=Decimal))


def _dumped(content: Any) -> str:  # noqa: ANN401 - JSON
    if isinstance(content, dict):
        return "{" + ",".join(f"{_dumped(name)}:{_dumped(content[name])}" for name in sorted(content)) + "}"
    if isinstance(content, list):
        return "[" + ",".join(map(_dumped, content)) + "]"
    return _decimal(content) if isinstance(content, Decimal) else json.dumps(content, ensure_ascii=False)


def _address(text: str) -> str:
    address = ip_interface(text.strip())
    single = address.network.prefixlen == address.max_prefixlen
    return f"a{address.ip if single else address}"


_WRITERS: dict[type, Callable[[Any], str]] = {
    str: _text,
    int: lambda value: f"n{value}",
    bool: lambda value: "otrue" if value else "ofalse",
    Decimal: lambda value: "n" + _decimal(value),
    Single: _single,
    float: _double,
    uuid.UUID: lambda value: f"u{value}",
    datetime: _moment,
    date: lambda value: f"d{value.isoformat()}",
    time: _time,
    Padded: lambda value: "c" + _text(value.rstrip(" "))[1:],
    Json: _json,
    Address: _address,
    Precise: str,
    bytes: lambda value: "b" + value.hex(),
    bytearray: lambda value: "b" + value.hex(),
    memoryview: lambda value: "b" + value.hex(),
    type(None): lambda _: "0",
}
"""Subclasses stand before what they are subclasses of, where the form is not the same."""


# --- from what people write -------------------------------------------------------------------------------------------

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?")
_TRUTH = {
    "true": True,
    "t": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "f": False,
    "no": False,
    "off": False,
    "0": False,
}
_HEXADECIMAL = re.compile(r"(?:\\x|0x|[xX]')?((?:[0-9a-fA-F]{2})*)'?")
_FINER = re.compile(r"^(.*\d\d:\d\d:\d\d\.\d{6})(\d{1,3})(.*)$")


def readings(texts: Sequence[str], columns: Sequence[KeyColumn] = ()) -> list[bytes]:
    """The keys that a person may mean who names a record by these texts, one for each value.

    Where the types of the columns are known, it is one key.

    Raises:
        ValueError: if a text can be no value of its column's type, or they may mean too many keys.
    """
    kinds = [column.kind for column in columns] or [None] * len(texts)
    forms = [list(dict.fromkeys(_readings_of(text, kind))) for text, kind in zip(texts, kinds, strict=True)]
    for number, found in enumerate(forms):
        if not found:
            name = columns[number].name if columns else str(number + 1)
            raise ValueError(f"what is named for {name} can be no value of it")
    return _joined(forms)


def readings_before(texts: Sequence[str]) -> list[bytes]:
    """The keys that a person may mean, as runs wrote them that recorded no types of key columns: without their letters.

    Raises:
        ValueError: if they may mean too many keys.
    """
    forms = [list(dict.fromkeys([text, *(one[1:] for one in _readings_of(text, None))])) for text in texts]
    return _joined(forms)


def _joined(forms: Sequence[Sequence[str]]) -> list[bytes]:
    every = product(*forms)
    some = (one for _, one in zip(range(MOST_READINGS), every, strict=False))
    keys = [SEPARATOR.join(one).encode("utf-8", "surrogatepass") for one in some]
    if next(every, None) is not None:
        raise ValueError("they may mean too many keys")
    return keys


def _readings_of(text: str, kind: KeyKind | None) -> Iterator[str]:
    for each, read in _READERS.items():
        if kind in (None, each):
            try:
                for value in read(text):
                    yield form(value)
            except (ValueError, InvalidOperation, OverflowError, RecursionError):
                continue


def _read_number(text: str) -> Iterator[Decimal]:
    text = text.strip()
    if _NUMBER.fullmatch(text) or text.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        yield Decimal(text)


def _read_float(text: str) -> Iterator[float]:
    for number in _read_number(text):
        yield float(number)


def _read_uuid(text: str) -> Iterator[uuid.UUID]:
    text = text.strip()
    if len(text.strip("{}").replace("-", "").removeprefix("urn:uuid:")) == 32:
        yield uuid.UUID(text)


def _read_bytes(text: str) -> Iterator[bytes]:
    text = text.strip()
    match = _HEXADECIMAL.fullmatch(text)
    if match:
        yield bytes.fromhex(match[1])
    for value in _read_uuid(text) if "-" in text else ():
        yield value.bytes


def _read_day(text: str) -> Iterator[date]:
    moment = datetime.fromisoformat(text.strip())
    if len(text.strip()) <= len("2024-W01-1") or moment.time() == time.min:
        yield moment.date()


def _read_moment(text: str, *, aware: bool) -> Iterator[object]:
    text, nanoseconds = _without_nanoseconds(text)
    moment = datetime.fromisoformat(text)
    if (moment.tzinfo is not None) == aware:
        yield to_the_nanosecond(moment, nanoseconds)


def _read_time(text: str) -> Iterator[object]:
    text, nanoseconds = _without_nanoseconds(text)
    yield to_the_nanosecond(time.fromisoformat(text), nanoseconds)


def _without_nanoseconds(text: str) -> tuple[str, int]:
    """Text to the microsecond, and what is finer in it."""
    finer = _FINER.match(text.strip())
    return (finer[1] + finer[3], int(finer[2].ljust(3, "0"))) if finer else (text.strip(), 0)


_READERS: dict[KeyKind, Callable[[str], Iterator[object]]] = {
    KeyKind.TEXT: lambda text: iter([text]),
    KeyKind.PADDED: lambda text: iter([Padded(text)]),
    KeyKind.NUMBER: _read_number,
    KeyKind.DOUBLE: _read_float,
    KeyKind.SINGLE: lambda text: (Single(number) for number in _read_float(text)),
    KeyKind.BOOLEAN: lambda text: iter([_TRUTH[text.strip().lower()]] if text.strip().lower() in _TRUTH else []),
    KeyKind.UUID: _read_uuid,
    KeyKind.DAY: _read_day,
    KeyKind.WALL: lambda text: _read_moment(text, aware=False),
    KeyKind.INSTANT: lambda text: _read_moment(text, aware=True),
    KeyKind.TIME: _read_time,
    KeyKind.BYTES: _read_bytes,
    KeyKind.JSON: lambda text: iter([Json(text)]),
    KeyKind.ADDRESS: lambda text: iter([Address(text)]),
}
