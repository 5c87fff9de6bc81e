"""Clocks in Arrow columns, as numbers that can be compared with cutoffs without counting anything.

A clock is a local day, a moment, or a time on the wall of some zone; each becomes whole numbers, and a cutoff becomes
the first number of that kind that has not expired. Where a time on the wall occurred twice the later moment counts, and
one that a change of clocks skipped is taken for the moment after it: no record is ever early.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from lethe.judging.dates import (
    BLANKS,
    FIRST_SECOND,
    ISO_8601,
    NUMBER,
    PER_SECOND,
    SECOND_AFTER_LAST,
    YEAR,
    TimestampFormat,
    from_epoch,
    read,
    walls_before,
)
from lethe.judging.spans import Span
from lethe.periods import Cutoff
from lethe.policy import ColumnClock

Bits = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]

_ISO_8601 = re.compile(ISO_8601.encode())
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY_US = 86_400_000_000
UNIT_NS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_LEAST, _GREATEST = -(2**63), 2**63 - 1
_FIRST_DAY, _LAST_DAY = date.min.toordinal() - _EPOCH_DAY, date.max.toordinal() - _EPOCH_DAY


class WrongSchema(ValueError):
    """A file lacks a column that is needed, or has it with a type that cannot be used."""


def microseconds(moment: datetime) -> int:
    """Since 1970 in UTC; a time without a zone counts as if it were UTC."""
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - _EPOCH) // _MICROSECOND


def _ceiling(value: int, divisor: int) -> int:
    return max(_LEAST, min(_GREATEST, -(-value // divisor)))


@dataclass(frozen=True)
class Numbers64:
    """Values of one kind.

    Attributes:
        kind: ``day`` (since 1970), ``instant`` or ``wall`` (both since 1970 in units of `unit` nanoseconds).
        values: the numbers; anything where `valid` is false.
        valid: where there is a value of this kind.
        unit: nanoseconds.
        zone: of times on the wall.
    """

    kind: str
    values: Numbers
    valid: Bits
    unit: int = 1
    zone: ZoneInfo | None = None

    def before(self, cutoff: Cutoff) -> Bits:
        """Where the clock is before a cutoff."""
        if cutoff.none_expired:
            return np.zeros(len(self.values), dtype=np.bool_)
        if self.kind != "wall":
            found: Bits = (self.values < self.limit(cutoff)) & self.valid
            return found
        assert self.zone is not None  # noqa: S101 - times on a wall have one
        ends = [(self._number(start), self._number(end)) for start, end in walls_before(cutoff.instant, self.zone)]
        found = self.values < ends[0][1]
        for start, end in ends[1:]:
            found |= (self.values >= start) & (self.values < end)
        return found & self.valid

    def limit(self, cutoff: Cutoff) -> int:
        """The first number of a day or a moment that has not expired."""
        if self.kind == "day":
            return cutoff.day.toordinal() - _EPOCH_DAY
        return self._number(cutoff.instant)

    def _number(self, moment: datetime) -> int:
        """The first number that is not before a moment."""
        return _ceiling(microseconds(moment) * 1000, self.unit)

    def day_of(self, number: int, zone: ZoneInfo) -> date:
        """The local day in `zone` of one number, within the calendar."""
        if self.kind == "day":
            return date.fromordinal(max(_FIRST_DAY, min(_LAST_DAY, number)) + _EPOCH_DAY)
        try:
            moment = _EPOCH + timedelta(microseconds=number * self.unit // 1000)
            if self.zone is not None:
                moment = moment.replace(tzinfo=self.zone)
            return moment.astimezone(zone).date()
        except (OverflowError, ValueError):
            return date.min if number < 0 else date.max

    def days(self, zone: ZoneInfo) -> tuple[Numbers, Numbers]:
        """The earliest and the latest local day in `zone` that each value may be on; see `valid`."""
        if self.kind == "day":
            return self.values, self.values
        micro = self.values * (self.unit // 1000) if self.unit >= 1000 else self.values // 1000
        if self.zone is not None and self.zone.key == zone.key:
            found = np.floor_divide(micro, _DAY_US)
            return found, found
        if self.zone is None:
            found = _local_days(pl.Series(micro).cast(pl.Datetime("us", "UTC")), zone)
            return found, found
        # Another zone's wall: half a day each way covers what a change of clocks can do, and errs towards holding.
        times = pl.Series(micro).cast(pl.Datetime("us"))
        earliest = times.dt.replace_time_zone(self.zone.key, ambiguous="earliest", non_existent="null")
        latest = times.dt.replace_time_zone(self.zone.key, ambiguous="latest", non_existent="null")
        rough = np.floor_divide(micro, _DAY_US)
        return _local_days(earliest, zone, rough - 1), _local_days(latest, zone, rough + 1)


def _local_days(times: pl.Series, zone: ZoneInfo, otherwise: Numbers | None = None) -> Numbers:
    days = times.dt.convert_time_zone(zone.key).dt.date().to_physical().cast(pl.Int64)
    found = days.fill_null(0).to_numpy()
    if otherwise is not None and days.null_count():
        found = np.where(days.is_null().to_numpy(), otherwise, found)
    return np.asarray(found, dtype=np.int64)


@dataclass(frozen=True)
class ClockValues:
    """A clock column of some rows.

    Attributes:
        parts: its values by kind; a row is valid in at most one.
        missing: where there is none.
        since: the earliest local day that all of them may mean, where that is not known more exactly (days since 1970).
    """

    parts: tuple[Numbers64, ...]
    missing: Bits
    since: int | None = None

    @property
    def unparsable(self) -> Bits:
        """Where there is something that is no clock."""
        found = ~self.missing
        for part in self.parts:
            found &= ~part.valid
        return found

    def before(self, cutoff: Cutoff) -> Bits:
        """Where the clock is before a cutoff."""
        found = self.parts[0].before(cutoff)
        for part in self.parts[1:]:
            found |= part.before(cutoff)
        return found

    def oldest(self, rows: Bits, zone: ZoneInfo) -> date | None:
        """The earliest local day of some of the rows."""
        days = [
            part.day_of(int(part.values[chosen].min()), zone)
            for part in self.parts
            if (chosen := part.valid & rows).any()
        ]
        return min(days, default=None)

    def days(self, zone: ZoneInfo) -> tuple[Numbers, Numbers]:
        """The earliest and the latest local day that each row's clock may mean; of no meaning where it has none."""
        first = np.zeros(len(self.missing), dtype=np.int64)
        last = np.zeros(len(self.missing), dtype=np.int64)
        for part in self.parts:
            if part.valid.any():
                low, high = part.days(zone)
                first[part.valid] = low[part.valid]
                last[part.valid] = high[part.valid]
        return first if self.since is None else np.minimum(first, self.since), last

    def day_judged(self, zone: ZoneInfo) -> Numbers:
        """The local day that each row is judged by."""
        first, last = self.days(zone)
        return first if self.since is None else last


def constant(span: Span | None, rows: int, zone: ZoneInfo, *, missing: bool) -> ClockValues:
    """The clock of rows that all have one, from a date placed in `zone`; None: it is missing, or cannot be judged."""
    valid = np.full(rows, span is not None, dtype=np.bool_)
    gone = np.full(rows, missing, dtype=np.bool_)
    if span is None:
        return ClockValues((Numbers64("day", np.zeros(rows, dtype=np.int64), valid),), gone)
    timed = isinstance(span.last, datetime)
    number = microseconds(span.last) if isinstance(span.last, datetime) else span.last.toordinal() - _EPOCH_DAY
    values = np.full(rows, number, dtype=np.int64)
    part = Numbers64("instant", values, valid, UNIT_NS["us"]) if timed else Numbers64("day", values, valid)
    return ClockValues((part,), gone, span.days(zone)[0].toordinal() - _EPOCH_DAY)


Reader = Callable[[pa.Array], ClockValues]


def plain(kind: pa.DataType) -> pa.DataType:
    """A type without its dictionary or run-length encoding."""
    while pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        kind = kind.value_type
    return kind


def flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column as one array, without dictionary or run-length encoding."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], type=array.type)
    while pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if pa.types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    return array


def is_temporal(kind: pa.DataType) -> bool:
    """Whether a column of this type holds days or times with a day."""
    kind = plain(kind)
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text, or bytes that may be text."""
    checks = (
        pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view,
        pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view,
    )  # fmt: skip
    return any(check(kind) for check in checks)


def reader(kind: pa.DataType, clock: ColumnClock, zone: ZoneInfo) -> Reader:
    """How to read a clock column of a type.

    Args:
        kind: the column's type.
        clock: the dataset's clock.
        zone: of times that state none.

    Raises:
        WrongSchema: if a column of this type is no clock (of the format that the policy states).
    """
    kind = plain(kind)
    if pa.types.is_date(kind):
        return _dates
    if pa.types.is_timestamp(kind):
        unit = UNIT_NS[kind.unit]
        return lambda array: _timestamps(array, unit, None if kind.tz else zone)
    form, text, whole = clock.format, is_text(kind), pa.types.is_integer(kind)
    if form is TimestampFormat.YEAR and (whole or text):
        return lambda array: _years(_integers(array, YEAR))
    if form in PER_SECOND and (whole or text or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        per_second = PER_SECOND[form]
        return lambda array: _epoch(array, form, per_second)
    if form is TimestampFormat.ISO_8601 and text:
        return lambda array: _iso(array, zone)
    raise WrongSchema("a clock column has a type that is no clock")


def _missing(array: pa.Array) -> Bits:
    return np.asarray(pc.is_null(array).to_numpy(zero_copy_only=False), dtype=np.bool_)


def _int64(array: pa.Array) -> Numbers:
    numbers = pc.fill_null(array.cast(pa.int64()), 0) if array.null_count else array.cast(pa.int64())
    return np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.int64)


def _dates(array: pa.Array) -> ClockValues:
    """Days; those outside of the calendar cannot be judged."""
    missing = _missing(array)
    values = _int64(array.cast(pa.int32()) if pa.types.is_date32(array.type) else array)
    if pa.types.is_date64(array.type):
        values = np.floor_divide(values, 86_400_000)
    valid = ~missing & (values >= _FIRST_DAY) & (values <= _LAST_DAY)
    return ClockValues((Numbers64("day", values, valid),), missing)


def _timestamps(array: pa.Array, unit: int, zone: ZoneInfo | None) -> ClockValues:
    """Moments, or times on the wall; those outside of the calendar cannot be judged."""
    missing, values = _missing(array), _int64(array)
    per_second = UNIT_NS["s"] // unit
    first, end = FIRST_SECOND * per_second, SECOND_AFTER_LAST * per_second
    valid = ~missing & (values >= max(first, _LEAST)) & (values < min(end, _GREATEST))
    part = Numbers64("instant" if zone is None else "wall", values, valid, unit, zone)
    return ClockValues((part,), missing)


def text_of(array: pa.Array) -> pl.Series:
    """Any column of single values as text; bytes that are no UTF-8 with replacement characters."""
    kind = array.type
    if is_text(kind):
        # Columns of text may have bytes that are none: Arrow does not look when it reads them, and Polars trusts it.
        raw = array.cast(pa.large_binary())
        try:
            array = raw.cast(pa.large_string())
        except pa.ArrowInvalid:
            decoded = [None if value is None else value.decode("utf-8", "replace") for value in raw.to_pylist()]
            array = pa.array(decoded, pa.large_string())
    elif pa.types.is_fixed_size_binary(kind):
        array = pa.array([None if value is None else value.hex() for value in array.to_pylist()], pa.large_string())
    elif pa.types.is_floating(kind):
        return _numbers_as_text(pl.Series(array.cast(pa.float64()).to_numpy(zero_copy_only=False)), _missing(array))
    elif pa.types.is_decimal(kind):
        array = pa.array(
            [None if v is None else format(v.normalize(), "f") for v in array.to_pylist()], pa.large_string()
        )
    else:
        array = array.cast(pa.large_string())
    return pl.Series(pl.from_arrow(array)).cast(pl.String)


def _numbers_as_text(numbers: pl.Series, missing: Bits) -> pl.Series:
    """Whole numbers without decimals: identifiers that went through a column of floats."""
    whole = (numbers == numbers.floor()) & (numbers.abs() < 2**53)
    text = numbers.cast(pl.String)
    whole_text = numbers.fill_nan(0).cast(pl.Int64, strict=False).cast(pl.String)
    found = text.to_frame("text").with_columns(whole_text.alias("whole"), whole.alias("is"), pl.Series("no", missing))
    return found.select(
        pl.when("no").then(None).when("is").then(pl.col("whole")).otherwise(pl.col("text")).alias("text")
    )["text"]


def _integers(array: pa.Array, pattern: str) -> tuple[Numbers, Bits, Bits]:
    """Whole numbers: (values, valid, missing)."""
    missing = _missing(array)
    if pa.types.is_integer(array.type):
        if pa.types.is_uint64(array.type):
            series = pl.Series(pl.from_arrow(array)).cast(pl.Int64, strict=False)
            return _filled(series), series.is_not_null().to_numpy(), missing
        return _int64(array), ~missing, missing
    text = text_of(array).str.strip_chars(BLANKS)
    series = text.cast(pl.Int64, strict=False)
    valid = series.is_not_null() & text.str.contains(pattern).fill_null(value=False)
    return _filled(series), valid.to_numpy(), missing


def _filled(series: pl.Series) -> Numbers:
    return np.asarray(series.fill_null(0).to_numpy(), dtype=np.int64)


def _years(found: tuple[Numbers, Bits, Bits]) -> ClockValues:
    years, valid, missing = found
    valid = valid & (years >= 1) & (years <= 9999)
    following = np.where(valid, years + 1, 1971).astype("int64") - 1970
    days = following.astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64) - 1
    return ClockValues((Numbers64("day", days, valid),), missing)


def _epoch(array: pa.Array, form: TimestampFormat, per_second: int) -> ClockValues:
    """Numbers since 1970, as microseconds: those that are not whole are rounded to the microsecond before them."""
    missing = _missing(array)
    first, end = FIRST_SECOND * per_second, SECOND_AFTER_LAST * per_second
    if pa.types.is_integer(array.type):
        numbers, valid, _ = _integers(array, NUMBER)
        valid = valid & (numbers >= first) & (numbers < end)
        micro = np.where(valid, numbers, 0) * (1_000_000 // per_second)
    elif pa.types.is_floating(array.type):
        floats = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
        valid = ~missing & (floats >= first) & (floats < end)
        micro = np.rint(np.where(valid, floats, 0) * (1_000_000 // per_second)).astype(np.int64)
    else:
        found = [None if one is None else _read_number(one, form, per_second) for one in _singles(array)]
        valid = np.array([one is not None for one in found], dtype=np.bool_)
        micro = np.array([0 if one is None else microseconds(one) for one in found], dtype=np.int64)
    return ClockValues((Numbers64("instant", micro, valid, UNIT_NS["us"]),), missing)


def _singles(array: pa.Array) -> list[str | Decimal | None]:
    found: list[str | Decimal | None] = text_of(array).to_list() if is_text(array.type) else array.to_pylist()
    return found


def _read_number(value: str | Decimal, form: TimestampFormat, per_second: int) -> datetime | None:
    moment = read(value, form) if isinstance(value, str) else from_epoch(value, per_second)
    return moment if isinstance(moment, datetime) else None


def _iso(array: pa.Array, zone: ZoneInfo) -> ClockValues:
    """Text, as `lethe.judging.dates` reads it, a column at a time."""
    missing = _missing(array)
    parts = _parts_alike(array) or _parts(text_of(array).str.strip_chars(BLANKS))
    valid = parts.valid & (parts.day >= _FIRST_DAY) & (parts.day <= _LAST_DAY)
    if parts.timed is None:
        return ClockValues((Numbers64("day", parts.day, valid),), missing)
    micro = parts.day * _DAY_US + parts.since - parts.east
    sound = valid & parts.timed & (parts.since <= _DAY_US)
    sound &= (micro >= _FIRST_DAY * _DAY_US) & (micro < (_LAST_DAY + 1) * _DAY_US)
    return ClockValues(
        (
            Numbers64("day", parts.day, valid & ~parts.timed),
            Numbers64("instant", micro, sound & parts.zoned, UNIT_NS["us"]),
            Numbers64("wall", micro, sound & ~parts.zoned, UNIT_NS["us"], zone),
        ),
        missing,
    )


@dataclass(frozen=True)
class _Parts:
    """What dates in text say.

    Attributes:
        valid: where there is a day of the calendar, in text that is as it has to be.
        day: since 1970.
        timed: where there is a time; None: nowhere.
        since: microseconds since the start of the day.
        zoned: where there is an offset.
        east: the offset, in microseconds.
    """

    valid: Bits
    day: Numbers
    timed: Bits | None
    since: Numbers
    zoned: Bits
    east: Numbers


def _parts(text: pl.Series) -> _Parts:
    """Those of any texts."""
    parts = text.str.extract_groups(ISO_8601).struct.unnest()
    day, hour, minute, second, fraction, offset = (parts[name] for name in parts.columns)
    days = day.str.replace_all("-", "", literal=True).str.to_date("%Y%m%d", strict=False)
    numbers, valid = _filled(days.to_physical().cast(pl.Int64)), days.is_not_null().to_numpy()
    if hour.null_count() == len(hour):
        return _Parts(valid, numbers, None, numbers, valid, numbers)
    since = ((_whole(hour) * 60 + _whole(minute)) * 60 + _whole(second)) * 1_000_000
    since += _whole(fraction.fill_null("").str.pad_end(6, "0"))
    digits = offset.str.replace(":", "", literal=True)
    east = (_whole(digits.str.slice(1, 2)) * 60 + _whole(digits.str.slice(3, 2))) * 60_000_000
    east = np.where(digits.str.starts_with("-").fill_null(value=False).to_numpy(), -east, east)
    return _Parts(valid, numbers, hour.is_not_null().to_numpy(), since, offset.is_not_null().to_numpy(), east)


_LONGEST_ALIKE = 40


def _parts_alike(array: pa.Array) -> _Parts | None:
    """The same of texts that differ in their digits alone, which is faster; None where they are others."""
    if not pa.types.is_large_string(array.type) or array.null_count or not len(array):
        return None
    offsets = np.frombuffer(array.buffers()[1], dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    length = int(offsets[1] - offsets[0])
    if not 0 < length <= _LONGEST_ALIKE or not (np.diff(offsets) == length).all():
        return None
    content = np.frombuffer(array.buffers()[2], dtype=np.uint8)[offsets[0] : offsets[-1]].reshape(-1, length)
    first = content[0].tobytes()
    match = _ISO_8601.match(first)
    if match is None:
        return None
    is_digit = np.isin(content[0], np.frombuffer(b"0123456789", dtype=np.uint8))
    digits = content - np.uint8(ord("0"))
    if not (digits[:, is_digit] <= 9).all() or not (content[:, ~is_digit] == content[0, ~is_digit]).all():
        return None

    def number(start: int, end: int) -> Numbers:
        found = np.zeros(len(digits), dtype=np.int64)
        for place in range(start, end):
            if is_digit[place]:
                found = found * 10 + digits[:, place]
        return found

    day = number(*match.span(1))
    month_of = (day // 10_000 - 1970) * 12 + day // 100 % 100 - 1
    start, end = ((month_of + n).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) for n in (0, 1))
    days = start + day % 100 - 1
    valid = (day // 100 % 100 >= 1) & (day // 100 % 100 <= 12) & (days >= start) & (days < end)
    if match[2] is None:
        return _Parts(valid, days, None, days, valid, days)
    hour, minute, second = (number(*match.span(n)) if match[n] else np.zeros_like(day) for n in (2, 3, 4))
    fraction = number(*match.span(5)) * 10 ** (6 - len(match[5])) if match[5] else 0
    valid &= (hour <= 24) & (minute < 60) & (second < 60)
    east = np.zeros_like(day)
    if match[6] and match[6] not in b"Zz":
        offset = number(*match.span(6)) * (1 if len(match[6]) > 3 else 100)
        valid &= (offset // 100 <= 15) & (offset % 100 < 60)
        east = (offset // 100 * 60 + offset % 100) * (60_000_000 if match[6][:1] == b"+" else -60_000_000)
    everywhere = np.ones(len(day), dtype=np.bool_)
    since = ((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction
    return _Parts(valid, days, everywhere, since, everywhere if match[6] else ~everywhere, east)


def _whole(digits: pl.Series) -> Numbers:
    """Digits as numbers; 0 where there are none."""
    return _filled(digits.cast(pl.Int64, strict=False))
