"""Which rows holds cover: hash look-ups of normalised identifiers, for up to millions of them.

Identifiers of holds are kept as sorted 64-bit hashes, those of rows are hashed in the same way, column by column. Two
different identifiers with one hash (once in 10^13 comparisons with a million identifiers) would hold a row that need
not be: errors are towards holding. Both sides are brought to `identifiers.coarse`; see there for telephone numbers.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from lethe.holds.rules import ClockRange, HoldRule, HoldRules
from lethe.judging.identifiers import PHONE_SUFFIX, IdentifierType, coarse
from lethe.stores.parquet.clocks import Bits, Numbers, text_of

Hashes = npt.NDArray[np.uint64]

_SEED = 0x1E7E
_WHITESPACE = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"
_INDEX_BITS = 22
_FEW = 64
_EPOCH_DAY = 719_163


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


def comparable(array: pa.Array, kind: IdentifierType) -> pl.Series:
    """What a column's identifiers are compared by: see `identifiers.normalise` and `identifiers.coarse`."""
    text = text_of(array)
    foreign = (text.str.len_bytes() != text.str.len_chars()).fill_null(value=False)
    if foreign.any():
        composed = [_composed(value) for value in text.filter(foreign)]
        text = text.scatter(foreign.arg_true(), pl.Series(composed, dtype=pl.String))
    if kind.is_telephone:
        return text.str.replace_all(r"[^0-9]", "")
    return text.str.strip_chars(_WHITESPACE).str.to_lowercase()


def _composed(text: str) -> str:
    """Text beyond ASCII, normalised as `identifiers.normalise` does, with all digits as ASCII ones."""
    value = unicodedata.normalize("NFC", text).strip().lower()
    return "".join(
        str(unicodedata.digit(c)) if not c.isascii() and unicodedata.category(c) == "Nd" else c for c in value
    )


Carried = Mapping[IdentifierType, Sequence[str]]
"""The identifier columns of a dataset, by type."""


@dataclass(frozen=True)
class _Cover:
    """Rules with the same clock range."""

    clock: ClockRange
    everything: bool
    identifiers: Mapping[IdentifierType, Mapping[int, Identifiers]]
    """By type and, for telephone numbers, by how many last digits are compared (0: the whole text)."""


class Loaded:
    """Hashes of the identifiers of rules, kept so that each rule is read once."""

    def __init__(self) -> None:
        self._by_hold: dict[tuple[str, int], dict[IdentifierType, dict[int, Hashes]]] = {}

    def of(self, rule: HoldRule) -> dict[IdentifierType, dict[int, Hashes]]:
        """The hashes of a rule's identifiers, by type and length of what is compared."""
        key = (rule.hold, rule.version)
        if key not in self._by_hold:
            self._by_hold[key] = {
                kind: _by_length(kind, values) for kind, values in rule.load().items() if kind in rule.types and values
            }
        return self._by_hold[key]


def _by_length(kind: IdentifierType, values: Sequence[str]) -> dict[int, Hashes]:
    if not kind.is_telephone:
        if all(value.isascii() for value in values):
            return {0: _hashed(pl.Series(values, dtype=pl.String))}
        return {0: _hashed(pl.Series([v if v.isascii() else _composed(v) for v in values], dtype=pl.String))}
    tails: dict[int, list[str]] = {}
    for value in values:
        tail = coarse(kind, value)
        if tail:
            tails.setdefault(min(len(tail), PHONE_SUFFIX), []).append(tail)
    return {length: _hashed(pl.Series(found, dtype=pl.String)) for length, found in tails.items()}


class Matcher:
    """Finds the rows that rules hold."""

    def __init__(self, rules: HoldRules, carried: Carried, loaded: Loaded) -> None:
        """Prepare for `rules`; `carried` are the dataset's identifier columns."""
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
        hashes: dict[tuple[str, IdentifierType, int], tuple[Hashes, Bits]] = {}
        for cover in self._covers:
            matched = self._matched(cover, columns, rows, hashes)
            if cover.clock != ClockRange() and days is not None and matched.any():
                matched &= _within(cover.clock, days)
            found |= matched
        return found

    def _matched(
        self,
        cover: _Cover,
        columns: Mapping[str, pa.Array],
        rows: int,
        hashes: dict[tuple[str, IdentifierType, int], tuple[Hashes, Bits]],
    ) -> Bits:
        if cover.everything:
            return np.ones(rows, dtype=np.bool_)
        found = np.zeros(rows, dtype=np.bool_)
        for kind, by_length in cover.identifiers.items():
            for name in self._carried.get(kind, ()):
                for length, identifiers in by_length.items():
                    key = (name, kind, length)
                    if key not in hashes:
                        hashes[key] = _of_rows(columns[name], kind, length)
                    values, valid = hashes[key]
                    found |= identifiers.contain(values) & valid
        return found


def _of_rows(array: pa.Array, kind: IdentifierType, length: int) -> tuple[Hashes, Bits]:
    texts = comparable(array, kind)
    if length:
        texts = texts.str.tail(length)
    return _hashed(texts), texts.is_not_null().to_numpy()


def _cover(clock: ClockRange, rules: Sequence[HoldRule], loaded: Loaded) -> _Cover:
    if any(rule.everything for rule in rules):
        return _Cover(clock, everything=True, identifiers={})
    merged: dict[IdentifierType, dict[int, list[Hashes]]] = {}
    for rule in rules:
        for kind, by_length in loaded.of(rule).items():
            for length, hashes in by_length.items():
                merged.setdefault(kind, {}).setdefault(length, []).append(hashes)
    return _Cover(
        clock,
        everything=False,
        identifiers={k: {n: Identifiers.of(many) for n, many in by.items()} for k, by in merged.items()},
    )


def _within(clock: ClockRange, days: tuple[Numbers, Numbers]) -> Bits:
    earliest, latest = days
    found = np.ones(len(earliest), dtype=np.bool_)
    if clock.first is not None:
        found &= latest >= clock.first.toordinal() - _EPOCH_DAY
    if clock.last is not None:
        found &= earliest <= clock.last.toordinal() - _EPOCH_DAY
    return found
