"""What the key of a file says: columns that the file itself does not have, and a date that its rows are not before.

Values are taken from the key as Hive and Spark write them there: percent-encoded, and with a name of its own for NULL.
They are text. Values of conditions and of `by_value` are compared with them as numbers where both are whole numbers,
because engines that read ``month=01`` take it for 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from urllib.parse import unquote
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from lethe.judging.dates import TimestampFormat, Zones
from lethe.judging.spans import Span, span_of
from lethe.policy import Condition, FilesDataset
from lethe.stores.files.clocks import Bits, ClockValues, WrongSchema, constant
from lethe.stores.files.conditions import Answer, answer_of_text
from lethe.stores.files.literals import Literal

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
"""How Hive writes NULL in a path (hive.exec.default.partition.name)."""

TEXT = pa.large_string()


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _parts(pattern: str, key: str) -> dict[str, str] | None:
    match = _compiled(pattern).search(key)
    return {name: unquote(text) for name, text in match.groupdict().items() if text is not None} if match else None


def first_day_in_key(pattern: str, key: str) -> date | None:
    """The first day that a date in a key may mean, in the date's own zone; None where it says none."""
    span = span_of(_parts(pattern, key) or {"value": ""}, TimestampFormat.ISO_8601)
    return date(span.first.year, span.first.month, span.first.day) if span else None


@dataclass(frozen=True)
class Path:
    """What a key says of all rows of its file.

    Attributes:
        values: the text of each column; None: NULL.
        parts: what its pattern captured.
    """

    values: Mapping[str, str | None] = field(default_factory=dict)
    parts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, dataset: FilesDataset, key: str) -> Path:
        """Read it.

        Raises:
            WrongSchema: if the key does not say one of the columns: nothing could be found by it.
        """
        values: dict[str, str | None] = {}
        found: dict[str, Mapping[str, str]] = {}
        for name, pattern in dataset.path_columns.items():
            parts = _parts(pattern, key)
            if parts is None:
                raise WrongSchema("its key does not say a column of path_columns")
            null = HIVE_NULL in parts.values()
            values[name] = None if null else parts.get("value")
            found[name] = {} if null else parts
        return cls(values, found)

    def physical(self, names: Iterable[str]) -> list[str]:
        """Those of some columns that the file itself has."""
        return [name for name in dict.fromkeys(names) if name not in self.values]

    def completed(self, batch: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
        """Rows of the file with those columns that their key says."""
        for name in names:
            if name in self.values:
                value = pa.scalar(self.values[name], TEXT)
                batch = batch.append_column(pa.field(name, TEXT), pa.repeat(value, batch.num_rows))
        return batch

    def clock(
        self, name: str, rows: int, form: TimestampFormat | None, clock_zone: ZoneInfo, zone: ZoneInfo
    ) -> ClockValues:
        """The date in the key as the clock of some rows: the last moment that it may mean."""
        parts = self.parts[name]
        span = span_of(parts, form or TimestampFormat.ISO_8601) if parts else None
        placed: Span | None = span.placed(clock_zone, zone) if span else None
        return constant(placed, rows, zone, missing=not parts)

    def among(self, name: str, rows: int, values: Iterable[Literal]) -> Bits:
        """Whether the value of a column is one of some values of a policy: for all rows alike. NULL is none."""
        value = self.values[name]
        found = value is not None and _comparable(value) in {_comparable(one) for one in values}
        return np.full(rows, found, dtype=np.bool_)

    def answer(self, condition: Condition, rows: int, zones: Zones) -> Answer:
        """What a condition says of a column that their key says."""
        name = condition.column
        if condition.compares:
            return answer_of_text(condition, self.values[name], rows, zones)
        if condition.is_null is not None:
            met = np.full(rows, (self.values[name] is None) == condition.is_null, dtype=np.bool_)
        else:
            found = self.among(name, rows, condition.values)
            met = found if condition.not_in is None else ~found
        return Answer(met, np.zeros(rows, dtype=np.bool_))


def _comparable(value: Literal) -> int | str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else text
