"""Thrift's compact protocol, as far as the footers of Parquet files need it.

Structs are read without knowing their definition, so that fields of newer versions of the format pass through
unchanged. Source: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT, UUID = range(1, 14)

_DEEPEST = 64


class Field(NamedTuple):
    """A field of a struct: its type on the wire and its value. Truth values always have the type `TRUE`."""

    type: int
    value: Any


class Items(NamedTuple):
    """The elements of a list or set, all of one type."""

    type: int
    values: list[Any]


Struct = dict[int, Field]
"""A struct by field id."""


class ThriftError(ValueError):
    """The bytes are no struct in the compact protocol."""


class ThriftReader:
    """Reads values from bytes; `position` is that of the next one."""

    def __init__(self, data: bytes | memoryview, position: int = 0) -> None:
        self.data = bytes(data)
        self.position = position

    def struct(self, depth: int = 0) -> Struct:
        """The struct at the position.

        Raises:
            ThriftError: if there is none, or it is cut off.
        """
        if depth > _DEEPEST:
            raise ThriftError("structs are nested too deep")
        fields: Struct = {}
        identity = 0
        try:
            while (head := self._byte()) != 0:
                delta, kind = head >> 4, head & 0x0F
                identity = identity + delta if delta else self._signed()
                if kind in (TRUE, FALSE):
                    fields[identity] = Field(TRUE, kind == TRUE)
                else:
                    fields[identity] = Field(kind, self._value(kind, depth))
        except (IndexError, struct.error):
            raise ThriftError("a struct is cut off") from None
        return fields

    def _byte(self) -> int:
        self.position += 1
        return self.data[self.position - 1]

    def _unsigned(self) -> int:
        result = shift = 0
        while True:
            byte = self._byte()
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                return result
            shift += 7
            if shift > 63:
                raise ThriftError("a number is too long")

    def _signed(self) -> int:
        number = self._unsigned()
        return (number >> 1) ^ -(number & 1)

    def _take(self, length: int) -> bytes:
        start, self.position = self.position, self.position + length
        if self.position > len(self.data):
            raise ThriftError("a struct is cut off")
        return self.data[start : self.position]

    def _value(self, kind: int, depth: int) -> Any:  # noqa: ANN401, PLR0911 - one return for each type
        if kind in (I16, I32, I64):
            return self._signed()
        if kind == BINARY:
            return self._take(self._unsigned())
        if kind == STRUCT:
            return self.struct(depth + 1)
        if kind in (LIST, SET):
            return self._items(depth)
        if kind in (TRUE, FALSE):
            return self._byte() == TRUE
        if kind == BYTE:
            return self._byte()
        if kind in (DOUBLE, UUID):
            return self._take(8 if kind == DOUBLE else 16)
        raise ThriftError("a field is of a type that footers do not have")

    def _items(self, depth: int) -> Items:
        head = self._byte()
        size, kind = head >> 4, head & 0x0F
        if size == 0x0F:
            size = self._unsigned()
        if size > len(self.data):
            raise ThriftError("a list is longer than the footer")
        return Items(kind, [self._value(kind, depth) for _ in range(size)])


def dumps(fields: Struct) -> bytes:
    """A struct as bytes."""
    out = bytearray()
    _write_struct(out, fields)
    return bytes(out)


def _write_struct(out: bytearray, fields: Struct) -> None:
    last = 0
    for identity in sorted(fields):
        kind, value = fields[identity]
        mark = (TRUE if value else FALSE) if kind == TRUE else kind
        if 0 < identity - last <= 0x0F:
            out.append((identity - last) << 4 | mark)
        else:
            out.append(mark)
            _write_signed(out, identity)
        last = identity
        if kind != TRUE:
            _write_value(out, kind, value)
    out.append(0)


def _write_value(out: bytearray, kind: int, value: Any) -> None:  # noqa: ANN401
    if kind in (I16, I32, I64):
        _write_signed(out, value)
    elif kind == BINARY:
        _write_unsigned(out, len(value))
        out += value
    elif kind == STRUCT:
        _write_struct(out, value)
    elif kind in (LIST, SET):
        _write_items(out, value)
    elif kind in (TRUE, FALSE):
        out.append(TRUE if value else FALSE)
    elif kind == BYTE:
        out.append(value)
    else:
        out += value


def _write_items(out: bytearray, items: Items) -> None:
    size = len(items.values)
    if size < 0x0F:
        out.append(size << 4 | items.type)
    else:
        out.append(0xF0 | items.type)
        _write_unsigned(out, size)
    for value in items.values:
        _write_value(out, items.type, value)


def _write_unsigned(out: bytearray, number: int) -> None:
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _write_signed(out: bytearray, number: int) -> None:
    _write_unsigned(out, (number << 1) ^ (number >> 63))
