"""A policy's conditions on columns of files, and of their keys: what `lethe.judging.conditions` means.

Each says of some rows which surely meet it, and which cannot be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lethe.judging.conditions import (
    Precision,
    as_expression,
    edge,
    is_before,
    is_beyond,
    is_like,
    read_number,
)
from lethe.judging.dates import Zones, read
from lethe.policy import ColumnClock, Condition
from lethe.stores.files.clocks import Bits, WrongSchema, is_text, plain, reader, text_of
from lethe.stores.files.literals import among

_ALL_DIGITS = Context(prec=200)


@dataclass(frozen=True, slots=True)
class Answer:
    """Of each row: whether it surely meets a condition, and whether its value cannot be compared."""

    met: Bits
    unclear: Bits

    @property
    def perhaps_met(self) -> Bits:
        """Where it is met, or nobody can say that it is not."""
        return self.met | self.unclear


def unfit(condition: Condition, kind: pa.DataType, *, typed: bool = True) -> str | None:
    """Why a column of a type cannot be tested so, in words; None where it can. `typed`: see `Format.typed`."""
    stored = plain(kind)
    match condition.test:
        case "before" | "after":
            try:
                reader(stored, _clock(condition), ZoneInfo("UTC"))
            except WrongSchema:
                return condition.unfit(str(kind))
            temporal = pa.types.is_date(stored) or pa.types.is_timestamp(stored)
            fits = not temporal or condition.format is None
        case "below" | "above":
            number = pa.types.is_integer(stored) or pa.types.is_floating(stored) or pa.types.is_decimal(stored)
            fits = number or not typed
        case "like":
            fits = is_text(stored)
        case _:
            fits = True
    return None if fits else condition.unfit(str(kind))


def answer(condition: Condition, array: pa.Array, zones: Zones, *, typed: bool = True) -> Answer:
    """What a condition says of the values of a column, which fits it.

    Raises:
        Unfit: if the column can never have a value that the condition names.
    """
    null = _nulls(array)
    if condition.is_null is not None:
        return _surely(null if condition.is_null else ~null)
    if condition.in_ is not None or condition.not_in is not None:
        found = among(array, condition.values, typed=typed)
        return _surely(found if condition.not_in is None else ~found)
    if condition.day is not None:
        return _days(condition, condition.day, array, zones)
    if condition.number is not None and not typed:
        return _written_numbers(condition, array, zones)
    if condition.number is not None:
        return _numbers(condition, condition.number, array, null)
    pattern = rf"\A(?s:{as_expression(condition.like or '', _character)})\z"
    return _surely(np.asarray(text_of(array).str.contains(pattern).fill_null(value=False).to_numpy(), dtype=np.bool_))


def answer_of_text(condition: Condition, text: str | None, rows: int, zones: Zones) -> Answer:
    """What a comparison says of text in a key, for all rows alike."""
    found = None if text is None else _compared(condition, text, zones)
    return Answer(*(np.full(rows, fill, dtype=np.bool_) for fill in (bool(found), text is not None and found is None)))


def _compared(condition: Condition, text: str, zones: Zones) -> bool | None:
    if condition.like is not None:
        return is_like(text, condition.like)
    if condition.number is not None:
        number = read_number(text)
        below = condition.below is not None
        return None if number is None else is_beyond(number, condition.number, Precision.EXACT, below=below)
    assert condition.day is not None  # noqa: S101 - no other comparison is left
    assert condition.format is not None  # noqa: S101 - columns of keys have one
    moment = read(text, condition.format)
    if moment is None:
        return None
    bound = edge(condition.day, zones.policy, after=condition.after is not None)
    return is_before(moment, bound, zones.clock) == (condition.before is not None)


def _clock(condition: Condition) -> ColumnClock:
    return ColumnClock(column=condition.column, format=condition.format)


def _surely(met: Bits) -> Answer:
    return Answer(met, np.zeros(len(met), dtype=np.bool_))


def _nulls(array: pa.Array) -> Bits:
    return np.asarray(pc.is_null(array).to_numpy(zero_copy_only=False), dtype=np.bool_)


def _days(condition: Condition, day: date, array: pa.Array, zones: Zones) -> Answer:
    values = reader(array.type, _clock(condition), zones.clock)(array)
    unclear = values.unparsable
    earlier = values.before(edge(day, zones.policy, after=condition.after is not None))
    return Answer(earlier if condition.before is not None else ~earlier & ~values.missing & ~unclear, unclear)


def _numbers(condition: Condition, number: Decimal, array: pa.Array, null: Bits) -> Answer:
    below = condition.below is not None
    if pa.types.is_floating(array.type):
        values = array.to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):
            bound = values.dtype.type(float(number))
        met = values < bound if below else values > bound
        return Answer(np.asarray(met, dtype=np.bool_) & ~null, np.isnan(values) & ~null)
    step = Decimal(1) if pa.types.is_integer(array.type) else Decimal(1).scaleb(-array.type.scale)
    exact = number.quantize(step, ROUND_CEILING if below else ROUND_FLOOR, _ALL_DIGITS)
    try:
        scalar = pa.scalar(int(exact) if pa.types.is_integer(array.type) else exact, type=array.type)
    except (pa.ArrowException, OverflowError):
        return _surely(~null if (number > 0) == below else np.zeros(len(array), dtype=np.bool_))
    compared = (pc.less if below else pc.greater)(array, scalar)
    return _surely(np.asarray(pc.fill_null(compared, fill_value=False).to_numpy(zero_copy_only=False), dtype=np.bool_))


def _written_numbers(condition: Condition, array: pa.Array, zones: Zones) -> Answer:
    """Numbers as text, of a format that has no types."""
    each = array.dictionary_encode()
    found = [None if text is None else _compared(condition, text, zones) for text in each.dictionary.to_pylist()]
    known = pa.array(found, pa.bool_()).take(each.indices)
    met = np.asarray(pc.fill_null(known, fill_value=False).to_numpy(zero_copy_only=False), dtype=np.bool_)
    return Answer(met, _nulls(known) & ~_nulls(array))


def _character(one: str) -> str:
    return one if one.isascii() and one.isalnum() else rf"\x{{{ord(one):x}}}"
