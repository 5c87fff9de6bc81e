"""Which rows holds cover: hash look-ups of the keys of identifiers, for up to millions of them.

The keys of held identifiers (`judging.identifiers`) are kept as sorted 64-bit hashes. Of rows whose value is exactly
one identifier Polars computes the key, column by column; all other values are taken apart in Python, each distinct one
once. Two different keys with one hash (once in 10^13 comparisons with a million identifiers) would hold a row that need
not be: errors are towards holding. Telephone numbers are compared by their last digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import inf

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from lethe.holds.rules import ClockRange, HoldRule, HoldRules
from lethe.judging.identifiers import (
    ANY,
    AS_NUMBER,
    EXACT_FLOATS,
    PHONE_SUFFIX,
    IdentifierType,
    exactly_one,
    keys,
    names,
)
from lethe.stores.files.clocks import Bits, Numbers, is_text, text_of

Hashes = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.int64]

_SEED = 0x1E7E
_INDEX_BITS = 22
_FEW = 64
_PARTS = 100_000
"""Keys of odd values that are hashed at once."""
_EPOCH_DAY = 719_163
_NEVER_IN_TEXT = bytes((*range(1, 9), *range(14, 27), *range(28, 32)))
"""Bytes that no text has, in whatever character set."""


def _hashed(texts: pl.Series) -> Hashes:
    return texts.hash(_SEED).to_numpy()


@dataclass(frozen=True)
class Identifiers:
    """Identifiers of one type, as hashes."""

    hashes: Hashes
    index: Bits = field(repr=False)

    @classmethod
    def of(cls, hashes: Iterable[Hashes]) -> Identifiers:
        """All of several sets of hashes."""
        found = np.unique(np.concatenate([np.empty(0, np.uint64), *hashes]))
        index = np.zeros(1 << _INDEX_BITS, dtype=np.bool_) if len(found) > _FEW else np.empty(0, dtype=np.bool_)
        if len(index):
            index[found >> np.uint64(64 - _INDEX_BITS)] = True
        return cls(found, index)

    def contain(self, hashes: Hashes) -> Bits:
        """For each hash, whether it is one of these."""
        if not len(self.index):
            return np.isin(hashes, self.hashes)
        result: Bits = self.index[hashes >> np.uint64(64 - _INDEX_BITS)]
        maybe = np.flatnonzero(result)
        if len(maybe):
            wanted = hashes[maybe]
            at = np.minimum(np.searchsorted(self.hashes, wanted), len(self.hashes) - 1)
            result[maybe] = self.hashes[at] == wanted
        return result


@dataclass(frozen=True)
class Values:
    """A column's identifiers, each as what it is compared by.

    Attributes:
        keys: of values that are exactly one identifier; null for all others.
        odd: rows of values that are anything else.
        stored: what those store, as Python reads it.
    """

    keys: pl.Series
    odd: Positions
    stored: Sequence[object]


def values_of(array: pa.Array, kind: IdentifierType) -> Values:
    """Tell values that are exactly one identifier, whose keys Polars computes, from those that are to be searched."""
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    if pa.types.is_fixed_size_binary(array.type):
        return _of_bytes(array, kind)
    numeric = pa.types.is_floating(array.type) or pa.types.is_integer(array.type) or pa.types.is_decimal(array.type)
    text = text_of(array)
    if numeric:
        exact = _exact_numbers(array, text) if kind is not IdentifierType.IP else text.is_null() & text.is_not_null()
        found = text if kind.is_telephone or kind.is_device else AS_NUMBER + text
    else:
        exact = text.str.contains(exactly_one(kind))
        if kind is IdentifierType.COOKIE:
            exact &= ~text.str.contains("[.,]0+ *$")
        found = text.str.strip_chars(" ").str.to_lowercase()
    if kind.is_telephone:
        found = ANY + text.str.replace_all("[^0-9]", "").str.tail(PHONE_SUFFIX)
    elif kind is IdentifierType.IMEI:
        found = found.str.head(14)
    odd = np.flatnonzero((text.is_not_null() & ~exact.fill_null(value=False)).to_numpy())
    keys = text.to_frame("text").select(pl.when(exact.alias("exact")).then(found.alias("found")))["found"]
    return Values(keys, odd, _stored(array, text, odd))


def _exact_numbers(array: pa.Array, text: pl.Series) -> pl.Series:
    """Whole numbers that are not rounded."""
    exact = text.str.contains("^-?[0-9]+$")
    if not pa.types.is_floating(array.type):
        return exact
    return exact & (pl.Series(array.cast(pa.float64()).to_numpy(zero_copy_only=False)).abs() < _limit(array.type))


def _limit(kind: pa.DataType) -> float:
    return 2.0**11 if pa.types.is_float16(kind) else EXACT_FLOATS[kind.bit_width // 8]


def _stored(array: pa.Array, text: pl.Series, odd: Positions) -> Sequence[object]:
    """Odd values: bytes as bytes, because they may be meant in several ways; rounded numbers as what cannot be read."""
    if is_text(array.type) and not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        stored: Sequence[object] = array.cast(pa.large_binary()).take(pa.array(odd)).to_pylist()
        return stored
    if pa.types.is_floating(array.type):
        numbers = array.cast(pa.float64()).take(pa.array(odd)).to_pylist()
        return [inf if abs(number) >= _limit(array.type) else number for number in numbers]
    return text.gather(odd).to_list()


def _of_bytes(array: pa.Array, kind: IdentifierType) -> Values:
    """Bytes of fixed length: those that are no text are compared in hexadecimal, as UUIDs are."""
    stored = array.to_pylist()
    plain = [
        value is not None and kind is not IdentifierType.IP and len(value.translate(None, _NEVER_IN_TEXT)) < len(value)
        for value in stored
    ]
    keys = pl.Series(
        [value.hex() if exact else None for value, exact in zip(stored, plain, strict=True)], dtype=pl.String
    )
    odd = np.array([n for n, value in enumerate(stored) if value is not None and not plain[n]], dtype=np.int64)
    return Values(keys, odd, [stored[n] for n in odd])


@dataclass(frozen=True)
class _Hashed:
    """The same as hashes: of exact values one each, of odd ones all keys of each distinct value."""

    exact: Hashes
    valid: Bits
    odd: Positions
    which: Positions
    parts: Hashes
    owners: Positions

    @classmethod
    def of(cls, values: Values, kind: IdentifierType, region: str | None) -> _Hashed:
        """Take odd values apart, each once."""
        numbers: dict[object, int] = {}
        which = np.array([numbers.setdefault(one, len(numbers)) for one in values.stored], dtype=np.int64)
        parts, owners = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        for block in _blocks((key, number) for one, number in numbers.items() for key in keys(kind, one, region)):
            parts.append(_hashed(pl.Series([key for key, _ in block], dtype=pl.String)))
            owners.append(np.array([number for _, number in block], dtype=np.int64))
        exact = values.keys
        return cls(
            _hashed(exact),
            exact.is_not_null().to_numpy(),
            values.odd,
            which,
            np.concatenate(parts),
            np.concatenate(owners),
        )

    def held(self, identifiers: Identifiers) -> Bits:
        """Which rows have one of some identifiers."""
        found: Bits = identifiers.contain(self.exact) & self.valid
        if len(self.odd):
            some = np.zeros(len(self.odd), dtype=np.bool_)
            some[self.owners[identifiers.contain(self.parts)]] = True
            found[self.odd] |= some[self.which]
        return found


def _blocks(pairs: Iterator[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    while block := list(islice(pairs, _PARTS)):
        yield block


Carried = Mapping[IdentifierType, Sequence[str]]
"""The identifier columns of a dataset, by type."""


@dataclass(frozen=True)
class _Cover:
    """What is held in one clock range."""

    clock: ClockRange
    everything: bool
    identifiers: Mapping[IdentifierType, Identifiers]


class Loaded:
    """Hashes of the identifiers of rules, kept so that each rule is read once."""

    def __init__(self) -> None:
        self._by_hold: dict[tuple[str, int], dict[IdentifierType, Hashes]] = {}

    def of(self, rule: HoldRule) -> dict[IdentifierType, Hashes]:
        """The hashes of the keys of a rule's identifiers, by type."""
        key = (rule.hold, rule.version)
        if key not in self._by_hold:
            self._by_hold[key] = {
                kind: _of_names(kind, values) for kind, values in rule.load().items() if kind in rule.types and values
            }
        return self._by_hold[key]


def _of_names(kind: IdentifierType, values: Sequence[str]) -> Hashes:
    return np.unique(_hashed(pl.Series([name for value in values for name in names(kind, value)], dtype=pl.String)))


class RowMatcher:
    """Finds the rows that rules hold."""

    def __init__(
        self,
        rules: HoldRules,
        carried: Carried,
        loaded: Loaded,
        region: str | None = None,
        read: Callable[[pa.Array, IdentifierType], Values] = values_of,
    ) -> None:
        """Prepare for `rules`.

        Args:
            rules: what is held.
            carried: the dataset's identifier columns.
            loaded: rules that were read before.
            region: of telephone numbers.
            read: how a column says identifiers; see `formats.base.Format`.
        """
        self._read = read
        self._region = region
        self.version = rules.version
        ranges: dict[ClockRange, list[HoldRule]] = {}
        for rule in rules.rules:
            ranges.setdefault(rule.clock, []).append(rule)
        self._covers = [_cover(clock, found, loaded) for clock, found in ranges.items()]
        self._carried = carried
        wanted = {kind for cover in self._covers if not cover.everything for kind in cover.identifiers}
        self.columns = tuple(dict.fromkeys(name for kind in carried if kind in wanted for name in carried[kind]))

    def __bool__(self) -> bool:
        """Whether anything may be held."""
        return bool(self._covers)

    @property
    def needs_days(self) -> bool:
        """Whether the clocks' days matter."""
        return any(cover.clock != ClockRange() for cover in self._covers)

    def held(self, columns: Mapping[str, pa.Array], rows: int, days: tuple[Numbers, Numbers] | None) -> Bits:
        """Which of some rows are held.

        Args:
            columns: the rows' identifiers; those named by `self.columns`.
            rows: how many rows there are.
            days: the earliest and latest local day of each row's clock; needed where `needs_days`.
        """
        found = np.zeros(rows, dtype=np.bool_)
        hashed: dict[tuple[str, IdentifierType], _Hashed] = {}
        for cover in self._covers:
            matched = self._matched(cover, columns, rows, hashed)
            if cover.clock != ClockRange() and days is not None and matched.any():
                matched &= _within(cover.clock, days)
            found |= matched
        return found

    def _matched(
        self,
        cover: _Cover,
        columns: Mapping[str, pa.Array],
        rows: int,
        hashed: dict[tuple[str, IdentifierType], _Hashed],
    ) -> Bits:
        if cover.everything:
            return np.ones(rows, dtype=np.bool_)
        found = np.zeros(rows, dtype=np.bool_)
        for kind, identifiers in cover.identifiers.items():
            for name in self._carried.get(kind, ()):
                column = columns[name]
                several = pa.types.is_large_list(column.type)
                if (name, kind) not in hashed:
                    values = self._read(column.flatten() if several else column, kind)
                    hashed[name, kind] = _Hashed.of(values, kind, self._region)
                held = hashed[name, kind].held(identifiers)
                if several:
                    found[pc.list_parent_indices(column).to_numpy()[held]] = True
                else:
                    found |= held
        return found


def _cover(clock: ClockRange, rules: Sequence[HoldRule], loaded: Loaded) -> _Cover:
    if any(rule.everything for rule in rules):
        return _Cover(clock, everything=True, identifiers={})
    merged: dict[IdentifierType, list[Hashes]] = {}
    for rule in rules:
        for kind, hashes in loaded.of(rule).items():
            merged.setdefault(kind, []).append(hashes)
    return _Cover(clock, everything=False, identifiers={kind: Identifiers.of(many) for kind, many in merged.items()})


def _within(clock: ClockRange, days: tuple[Numbers, Numbers]) -> Bits:
    earliest, latest = days
    found = np.ones(len(earliest), dtype=np.bool_)
    if clock.first is not None:
        found &= latest >= clock.first.toordinal() - _EPOCH_DAY
    if clock.last is not None:
        found &= earliest <= clock.last.toordinal() - _EPOCH_DAY
    return found
