"""Values that a policy names, as values of a file's column: compared natively, so that none can never be met.

A value that the column's type cannot hold is refused: a `keep_while` that nothing can meet would keep nothing, and say
nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from lethe.stores.files.clocks import Bits, is_text, plain, text_of

Literal = str | int | bool
_TRUTH = {"true": True, "false": False, "1": True, "0": False}


class Unfit(ValueError):
    """A column's type cannot hold a value. The message says which, and of what type the column is."""


def fitting(kind: pa.DataType, value: Literal) -> pa.Scalar:
    """A value of a policy as one of a column's type.

    Raises:
        Unfit: if a column of that type can never have it.
    """
    stored = _stored(kind)
    try:
        return pa.scalar(_converted(stored, value), type=stored)
    except (pa.ArrowException, ValueError, TypeError, InvalidOperation, OverflowError):
        raise Unfit(f"{value!r} can never be the value of a column of type {kind}") from None


def _stored(kind: pa.DataType) -> pa.DataType:
    """The type that values are compared as: that of the storage, and text for all kinds of text and plain bytes."""
    found = plain(kind)
    found = found.storage_type if isinstance(found, pa.BaseExtensionType) else found
    return pa.large_string() if is_text(found) else found


def _converted(kind: pa.DataType, value: Literal) -> object:  # noqa: PLR0911 - one return a type
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if is_text(kind):
        if isinstance(value, bool):
            raise ValueError(text)
        return text
    if pa.types.is_boolean(kind):
        return _truth(text)
    if isinstance(value, bool):
        raise TypeError(text)
    if pa.types.is_integer(kind):
        return _whole(text)
    if pa.types.is_decimal(kind):
        return Decimal(text)
    if pa.types.is_floating(kind):
        return float(text)
    if pa.types.is_fixed_size_binary(kind):
        return uuid.UUID(text).bytes if kind.byte_width == len(uuid.UUID(int=0).bytes) else text.encode()
    return pa.scalar(text).cast(kind).as_py()


def _truth(text: str) -> bool:
    if text.lower() not in _TRUTH:
        raise ValueError(text)
    return _TRUTH[text.lower()]


def _whole(text: str) -> int:
    number = Decimal(text)
    if number != number.to_integral_value():
        raise ValueError(text)
    return int(number)


def among(array: pa.Array, values: Iterable[Literal], *, typed: bool = True) -> Bits:
    """Which values of a column are one of some values of a policy; NULL is none.

    Args:
        array: the column.
        values: of the policy.
        typed: whether text is no truth value; see `formats.base.Format`.

    Raises:
        Unfit: see `fitting`.
    """
    stored = _stored(array.type)
    wanted = [
        fitting(stored, value if typed or not isinstance(value, bool) else str(value).lower()) for value in values
    ]
    if is_text(stored):  # may have bytes that are no text
        texts = pl.Series([scalar.as_py() for scalar in wanted], dtype=pl.String)
        return np.asarray(text_of(array).is_in(texts.implode()).fill_null(value=False).to_numpy(), dtype=np.bool_)
    values_of = array.storage if isinstance(array, pa.ExtensionArray) else array
    found = pc.is_in(values_of, value_set=pa.array(wanted, type=stored), skip_nulls=True)
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.bool_)
