"""What stays in a rewritten Parquet file is identical: values, types, metadata, codec, order."""

# ruff: noqa: ANN401, DTZ001 - options of libraries are of any type, and times without a zone are a subject here
from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lethe.stores.files.formats.base import NotRewritable, Unreadable
from lethe.stores.files.formats.parquet import footer as ft
from lethe.stores.files.formats.parquet import rewrite as module
from lethe.stores.files.formats.parquet.footer import ChunkMeta, ColumnChunk, FileMetaData, RowGroup
from lethe.stores.files.formats.parquet.rewrite import Rewriter, check_rewritable
from lethe.stores.files.formats.parquet.thrift import I32, Field, Struct, ThriftReader, dumps
from lethe.stores.files.marks import Marks

# --- helpers -------------------------------------------------------------------------------------------------------


def footer_of(file: bytes) -> Struct:
    return ft.read(file, len(file))


def groups_of(file: bytes) -> list[int]:
    metadata = pq.read_metadata(io.BytesIO(file))
    return [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]


def marks_of(file: bytes, going: Any) -> Marks:
    ends = np.cumsum([0, *groups_of(file)])
    return Marks.of(np.asarray(going, dtype=np.bool_)[a:b] for a, b in pairwise(ends))


def without(file: bytes, going: Any, executor: ThreadPoolExecutor | None = None) -> bytes:
    out = io.BytesIO()
    source = pa.BufferReader(file)
    size = Rewriter(source, footer_of(file), len(file)).write(marks_of(file, going), out, executor)
    assert size == len(out.getvalue())
    return out.getvalue()


def written(table: pa.Table, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def same_rows(one: pa.Table, other: pa.Table) -> bool:
    """Whether values are the same, NaN included; the dictionaries of dictionary columns may differ."""
    return repr(one.to_pylist()) == repr(other.to_pylist())


def assert_faithful(before: bytes, going: Any, after: bytes) -> None:
    original, new = pq.read_table(io.BytesIO(before)), pq.read_table(io.BytesIO(after))
    assert new.schema.equals(original.schema, check_metadata=True)
    assert same_rows(new, original.filter(pa.array(~np.asarray(going, dtype=np.bool_))))
    old_footer, new_footer = footer_of(before), footer_of(after)
    for kept in (
        FileMetaData.VERSION,
        FileMetaData.SCHEMA,
        FileMetaData.KEY_VALUES,
        FileMetaData.CREATED_BY,
        FileMetaData.COLUMN_ORDERS,
    ):
        assert old_footer.get(kept) == new_footer.get(kept)
    codecs = codecs_of(old_footer)
    assert all(codec == codecs[0] for codec in codecs_of(new_footer))
    assert_statistics_true(after)


def codecs_of(footer: Struct) -> list[list[int]]:
    return [
        [
            ft.number(ft.substruct(chunk, ColumnChunk.META) or {}, ChunkMeta.CODEC)
            for chunk in ft.structs(group, RowGroup.COLUMNS)
        ]
        for group in ft.structs(footer, FileMetaData.ROW_GROUPS)
    ]


def assert_statistics_true(file: bytes) -> None:
    """Statistics, where there are some, are those of the rows that stayed."""
    opened = pq.ParquetFile(io.BytesIO(file))
    for index in range(opened.num_row_groups):
        group = opened.metadata.row_group(index)
        table = opened.read_row_group(index)
        for position in range(group.num_columns):
            column = group.column(position)
            if column.statistics is None or "." in column.path_in_schema:
                continue
            values = [v for v in table.column(column.path_in_schema).to_pylist() if v is not None]
            if column.statistics.has_null_count:
                assert column.statistics.null_count == group.num_rows - len(values)
            if column.statistics.has_min_max and values and isinstance(values[0], int | str | bytes | date | bool):
                try:
                    least, most = column.statistics.min, column.statistics.max
                except NotImplementedError:
                    continue
                if type(least) is type(values[0]) and not isinstance(least, datetime):
                    assert least <= min(values)
                    assert most >= max(values)


# --- the property --------------------------------------------------------------------------------------------------

AWARE = datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC)
NAIVE = AWARE.replace(tzinfo=None)

SIMPLE: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.bool_(), st.booleans()),
    (pa.int8(), st.integers(-128, 127)),
    (pa.int16(), st.integers(-(2**15), 2**15 - 1)),
    (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.uint8(), st.integers(0, 255)),
    (pa.uint16(), st.integers(0, 2**16 - 1)),
    (pa.uint32(), st.integers(0, 2**32 - 1)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float16(), st.floats(width=16)),
    (pa.float32(), st.floats(width=32)),
    (pa.float64(), st.floats()),
    (pa.decimal128(7, 2), st.decimals(-9999, 9999, places=2)),
    (pa.decimal128(18, 4), st.decimals(-9999, 9999, places=4)),
    (pa.decimal128(38, 10), st.decimals(-9999, 9999, places=10)),
    (pa.decimal256(50, 3), st.decimals(-9999, 9999, places=3)),
    (pa.date32(), st.dates()),
    (pa.date64(), st.dates(date(1900, 1, 1), date(2100, 1, 1))),
    (pa.time32("ms"), st.times().map(lambda t: t.replace(microsecond=0))),
    (pa.time64("us"), st.times()),
    (pa.time64("ns"), st.times()),
    (pa.timestamp("s"), st.just(NAIVE.replace(microsecond=0))),
    (pa.timestamp("ms", tz="Europe/Prague"), st.just(AWARE.replace(microsecond=5000))),
    (pa.timestamp("us", tz="UTC"), st.just(AWARE)),
    (pa.timestamp("us"), st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))),
    (pa.timestamp("ns", tz="+05:30"), st.just(AWARE)),
    (pa.duration("us"), st.timedeltas(timedelta(0), timedelta(days=99))),
    (pa.string(), st.text(max_size=8)),
    (pa.large_string(), st.text(max_size=8)),
    (pa.binary(), st.binary(max_size=8)),
    (pa.large_binary(), st.binary(max_size=8)),
    (pa.binary(5), st.binary(min_size=5, max_size=5)),
    (pa.dictionary(pa.int8(), pa.string()), st.sampled_from("abc")),
    (pa.dictionary(pa.int32(), pa.large_string()), st.sampled_from(["x", "yy", "zzz"])),
    (pa.dictionary(pa.int16(), pa.int64()), st.sampled_from([1, 2])),
    (pa.null(), st.none()),
]


@st.composite
def types(draw: st.DrawFn, depth: int = 2) -> tuple[pa.DataType, st.SearchStrategy[Any]]:
    kind = draw(st.sampled_from(["simple"] * 4 + (["list", "large_list", "fixed", "struct", "map"] if depth else [])))
    if kind == "simple":
        simple: tuple[pa.DataType, st.SearchStrategy[Any]] = draw(st.sampled_from(SIMPLE))
        return simple
    inner, values = draw(types(depth=depth - 1))
    if pa.types.is_dictionary(inner) or pa.types.is_null(inner):
        inner, values = pa.string(), st.text(max_size=4)
    if kind == "struct":
        fields = [pa.field("a", inner), pa.field("b.c", pa.int32(), nullable=draw(st.booleans()))]
        return pa.struct(fields), st.fixed_dictionaries({"a": st.none() | values, "b.c": st.integers(0, 9)})
    if kind == "map":
        return pa.map_(pa.string(), inner), st.dictionaries(st.text(max_size=3), st.none() | values, max_size=3).map(
            lambda found: list(found.items())
        )
    if kind == "fixed":
        return pa.list_(inner, 2), st.lists(values, min_size=2, max_size=2)
    build = pa.large_list if kind == "large_list" else pa.list_
    return build(pa.field("element", inner)), st.lists(st.none() | values, max_size=3)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(1, 40))
    fields, arrays = [], []
    for index in range(draw(st.integers(1, 4))):
        kind, values = draw(types())
        nullable = draw(st.booleans()) or pa.types.is_null(kind)
        data = draw(st.lists(st.none() | values if nullable else values, min_size=rows, max_size=rows))
        metadata = draw(st.none() | st.just({"unit": "ms", "PARQUET:field_id": str(index + 10)}))
        fields.append(pa.field(draw(st.sampled_from(["x", "y.z", "Å"])) + str(index), kind, nullable, metadata))
        arrays.append(_array(data, kind))
    metadata = draw(st.none() | st.dictionaries(st.sampled_from(["pandas", "owner"]), st.text(max_size=9), max_size=2))
    return pa.table(arrays, schema=pa.schema(fields, metadata=metadata))


def _array(data: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return pa.array(data, kind.value_type).dictionary_encode().cast(kind)
    return pa.array(data, kind)


OPTIONS = st.fixed_dictionaries(
    {
        "compression": st.sampled_from(["none", "snappy", "gzip", "zstd", "lz4", "brotli"]),
        "row_group_size": st.sampled_from([3, 7, 100]),
        "use_dictionary": st.booleans(),
        "data_page_version": st.sampled_from(["1.0", "2.0"]),
        "version": st.sampled_from(["1.0", "2.4", "2.6"]),
        "data_page_size": st.sampled_from([16, 1 << 20]),
        "write_batch_size": st.sampled_from([2, 1024]),
        "write_statistics": st.booleans(),
        "write_page_index": st.booleans(),
        "write_page_checksum": st.booleans(),
        "store_schema": st.booleans(),
        "store_decimal_as_integer": st.booleans(),
        "use_compliant_nested_type": st.booleans(),
        "use_deprecated_int96_timestamps": st.booleans(),
    }
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables(), OPTIONS, st.data())
def test_what_stays_is_identical(table: pa.Table, options: dict[str, Any], data: st.DataObject) -> None:
    try:
        file = written(table, **options)
        if pq.read_table(io.BytesIO(file)).num_rows != table.num_rows:
            return
    except (pa.ArrowException, OSError, ValueError):
        return  # what Arrow itself cannot write or read back is not the subject
    going = data.draw(st.lists(st.booleans(), min_size=table.num_rows, max_size=table.num_rows))
    if all(going):
        going[data.draw(st.integers(0, table.num_rows - 1))] = False
    assert_faithful(file, going, without(file, going))


# --- what the property's generator does not reach ------------------------------------------------------------------


def people(rows: int = 1000) -> pa.Table:
    return pa.table(
        {
            "id": pa.array(range(rows), pa.int64()),
            "email": [f"person{index}@example.org" for index in range(rows)],
            "country": pa.array(["CZ" if index % 3 else "DE" for index in range(rows)]).dictionary_encode(),
            "amount": pa.array([Decimal(index) / 100 for index in range(rows)], pa.decimal128(20, 2)),
        }
    )


def test_nothing_of_a_row_that_went_is_left_in_the_bytes() -> None:
    """Promise 8: dictionaries, statistics and Bloom filters are built anew."""
    table = people().set_column(1, "email", people()["email"].dictionary_encode())
    file = written(table, compression="none", write_page_index=True, row_group_size=250)
    going = [index % 2 == 0 for index in range(1000)]
    after = without(file, going)
    assert b"person501@example.org" in after
    assert all(f"person{index}@".encode() not in after for index in range(0, 1000, 2))


def test_a_group_whose_rows_all_stay_is_copied_as_bytes_and_one_whose_rows_all_go_is_left_out() -> None:
    file = written(people(), row_group_size=250, write_page_index=True)
    going = [index < 250 or index == 600 for index in range(1000)]
    after = without(file, going)
    assert groups_of(after) == [250, 249, 250]
    old, new = footer_of(file), footer_of(after)
    one = ft.substruct(ft.structs(ft.structs(old, 4)[1], 1)[0], ColumnChunk.META) or {}
    two = ft.substruct(ft.structs(ft.structs(new, 4)[0], 1)[0], ColumnChunk.META) or {}
    (a, b), (c, d) = ft.chunk_range(one), ft.chunk_range(two)
    assert file[a:b] == after[c:d]
    assert_faithful(file, going, after)


@pytest.mark.parametrize("all_stay", [True, False])
def test_page_indexes_point_at_their_pages(all_stay: bool) -> None:
    file = written(people(), row_group_size=500, write_page_index=True, data_page_size=512, write_batch_size=16)
    going = [index < 500 and index % 2 == 0 for index in range(1000)]
    if not all_stay:
        going[700] = True
    after = without(file, going)
    for group in ft.structs(footer_of(after), FileMetaData.ROW_GROUPS):
        for chunk in ft.structs(group, RowGroup.COLUMNS):
            start = ft.number(chunk, ColumnChunk.OFFSET_INDEX)
            index = ThriftReader(after[start : start + ft.number(chunk, ColumnChunk.OFFSET_INDEX_LENGTH)]).struct()
            meta = ft.substruct(chunk, ColumnChunk.META) or {}
            pages = ft.structs(index, 1)
            assert ft.number(pages[0], 1) == ft.number(meta, ChunkMeta.DATA_PAGE)
            for page in pages:
                assert ft.number(ThriftReader(after, ft.number(page, 1)).struct(), 1) in (0, 3)
            if ColumnChunk.COLUMN_INDEX in chunk:
                at = ft.number(chunk, ColumnChunk.COLUMN_INDEX)
                nulls = (
                    ThriftReader(after[at : at + ft.number(chunk, ColumnChunk.COLUMN_INDEX_LENGTH)]).struct()[1].value
                )
                assert len(nulls.values) == len(pages)


def test_bloom_filters_are_built_anew() -> None:
    file = written(people(), row_group_size=500, bloom_filter_options={"email": {"ndv": 500, "fpp": 0.05}})
    going = [index < 500 and index % 2 == 0 for index in range(1000)]
    after = without(file, going)
    assert_faithful(file, going, after)

    def blooms(content: bytes) -> list[bytes]:
        found = []
        for chunk in ft.chunks(footer_of(content)):
            meta = ft.substruct(chunk, ColumnChunk.META) or {}
            if ChunkMeta.BLOOM in meta:
                at = ft.number(meta, ChunkMeta.BLOOM)
                reader = ThriftReader(content[at:])
                size = ft.number(reader.struct(), 1)
                found.append(content[at + reader.position : at + reader.position + size])
        return found

    (old_first, old_second), (new_first, new_second) = blooms(file), blooms(after)
    assert old_second == new_second
    assert 0 < len(new_first) <= len(old_first)
    assert new_first != old_first[: len(new_first)]


def test_encodings_pages_and_checksums_are_as_before() -> None:
    table = pa.table({"a": pa.array(range(5000)), "b": pa.array(range(5000), pa.float64()), "c": ["x", "y"] * 2500})
    file = written(
        table,
        use_dictionary=["c"],
        column_encoding={"a": "DELTA_BINARY_PACKED", "b": "BYTE_STREAM_SPLIT"},
        data_page_version="2.0",
        write_page_checksum=True,
        compression={"a": "snappy", "b": "gzip", "c": "none"},
    )
    going = [index % 5 == 0 for index in range(5000)]
    after = without(file, going)
    assert_faithful(file, going, after)
    old, new = (pq.read_metadata(io.BytesIO(content)).row_group(0) for content in (file, after))
    for position in range(3):
        assert set(old.column(position).encodings) == set(new.column(position).encodings)
        assert old.column(position).compression == new.column(position).compression
    assert pq.ParquetFile(io.BytesIO(after), page_checksum_verification=True).read().num_rows == 4000
    page = ThriftReader(after, new.column(0).data_page_offset).struct()
    assert ft.number(page, 1) == 3
    assert 4 in page


def test_sorting_columns_stay() -> None:
    file = written(people(), sorting_columns=[pq.SortingColumn(0)])
    going = [index % 2 == 0 for index in range(1000)]
    assert pq.read_metadata(io.BytesIO(without(file, going))).row_group(0).sorting_columns == (pq.SortingColumn(0),)


def test_int96_of_any_time_stays_the_same_bytes() -> None:
    """Beyond what nanoseconds can hold, and with nanoseconds."""
    table = pa.table({"at": pa.array([2**62, 0, -(2**62), 123456789], pa.timestamp("ns")), "n": [1, 2, 3, 4]})
    file = written(table, use_deprecated_int96_timestamps=True)
    after = without(file, [False, True, False, False])
    assert pq.ParquetFile(io.BytesIO(after)).schema.column(0).physical_type == "INT96"
    assert_faithful(file, [False, True, False, False], after)


def test_a_large_group_becomes_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP_BYTES", 20_000)
    monkeypatch.setattr(module, "BATCH_BYTES", 4_000)
    file = written(people(5000))
    going = [index % 2 == 0 for index in range(5000)]
    after = without(file, going)
    assert len(groups_of(after)) > 3
    assert_faithful(file, going, after)


def test_groups_encoded_in_parallel_stay_in_order() -> None:
    file = written(people(5000), row_group_size=100)
    going = [index % 3 == 0 for index in range(5000)]
    with ThreadPoolExecutor(3) as pool:
        assert without(file, going, pool) == without(file, going)
    assert_faithful(file, going, without(file, going))


def test_files_that_polars_wrote() -> None:
    frame = pl.DataFrame(
        {
            "at": [datetime(2024, 1, 1) + timedelta(hours=hour) for hour in range(3000)],
            "tags": [["a", "b"][: hour % 3] for hour in range(3000)],
            "who": pl.Series([f"p{hour % 50}" for hour in range(3000)], dtype=pl.Categorical),
            "when": [time(hour % 24) for hour in range(3000)],
        }
    )
    out = io.BytesIO()
    frame.write_parquet(out, row_group_size=1000)
    going = [hour < 1000 or hour % 2 == 0 for hour in range(3000)]
    after = without(out.getvalue(), going)
    assert_faithful(out.getvalue(), going, after)
    keep = pl.Series([not one for one in going])
    assert pl.read_parquet(io.BytesIO(after)).equals(frame.filter(keep))


def relabelled(file: bytes, change: Any) -> bytes:
    """A file with another footer."""
    footer = footer_of(file)
    change(footer)
    length = int.from_bytes(file[-8:-4], "little")
    return file[: -8 - length] + ft.dump(footer)


def test_lists_of_two_levels_stay_lists_of_two_levels() -> None:
    """As parquet-avro writes them: a repeated field in a group, without a group between."""
    table = pa.table({"tags": pa.array([[1, 2], [], [3]], pa.list_(pa.field("element", pa.int32(), nullable=False)))})

    def two_levels(footer: Struct) -> None:
        root, group, repeated, element = ft.structs(footer, FileMetaData.SCHEMA)
        leaf = {**element, 3: Field(I32, 2), 4: ft.text("array")}
        del repeated
        footer[FileMetaData.SCHEMA].value.values[:] = [root, group, leaf]

    file = relabelled(written(table, store_schema=False), two_levels)
    assert pq.read_table(io.BytesIO(file))["tags"].to_pylist() == [[1, 2], [], [3]]
    after = without(file, [False, True, False])
    assert pq.read_table(io.BytesIO(after))["tags"].to_pylist() == [[1, 2], [3]]
    assert_faithful(file, [False, True, False], after)


def test_a_codec_that_cannot_be_written_is_refused() -> None:
    def lzo(footer: Struct) -> None:
        for chunk in ft.chunks(footer):
            chunk[ColumnChunk.META].value[ChunkMeta.CODEC] = Field(I32, 3)

    file = relabelled(written(people(10)), lzo)
    with pytest.raises(NotRewritable):
        check_rewritable(footer_of(file))
    with pytest.raises(NotRewritable):
        without(file, [True] * 5 + [False] * 5)


def test_damaged_files_are_refused_with_one_kind_of_error() -> None:
    file = written(people(2000), compression="snappy", row_group_size=500)
    random = np.random.default_rng(7)
    going = [index % 2 == 0 for index in range(2000)]
    for _ in range(150):
        damaged = bytearray(file)
        at = int(random.integers(0, len(file)))
        damaged[at : at + 8] = random.bytes(min(8, len(file) - at))
        cut = bytes(damaged[: int(random.integers(1, len(file) + 1))]) if random.random() < 0.3 else bytes(damaged)
        try:
            footer = ft.read(cut, len(cut))
            Rewriter(pa.BufferReader(cut), footer, len(cut)).write(marks_of(file, going), io.BytesIO())
        except (Unreadable, NotRewritable):
            continue


def test_footers_are_written_as_they_were_read() -> None:
    for options in ({}, {"write_page_index": True}, {"version": "1.0"}):
        file = written(people(100), **options)
        length = int.from_bytes(file[-8:-4], "little")
        assert dumps(ThriftReader(file[-8 - length : -8]).struct()) == file[-8 - length : -8]


def test_statistics_that_need_the_meaning_of_bytes_are_left_out() -> None:
    """Signed decimals and half floats in bytes order otherwise than their bytes do; unsigned numbers than signed."""
    table = pa.table(
        {
            "decimal": pa.array([Decimal(-5), Decimal(3), Decimal(7)], pa.decimal128(30, 2)),
            "half": pa.array(np.array([-1, 2, 3], np.float16)),
            "unsigned": pa.array([2**32 - 1, 5, 6], pa.uint32()),
            "small": pa.array([Decimal(-5), Decimal(3), Decimal(7)], pa.decimal128(7, 2)),
        }
    )
    file = written(table, store_decimal_as_integer=True, write_page_index=True)
    after = without(file, [False, True, False])
    group = pq.read_metadata(io.BytesIO(after)).row_group(0)
    shown = [group.column(position).statistics.has_min_max for position in range(4)]
    assert shown == [False, False, True, True]
    assert [group.column(position).has_column_index for position in range(4)] == shown
    assert (group.column(2).statistics.min, group.column(2).statistics.max) == (6, 2**32 - 1)
    assert group.column(3).statistics.min_raw == -500
    assert_faithful(file, [False, True, False], after)
