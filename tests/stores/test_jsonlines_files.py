"""JSON lines as files of rows: what is judged, what cannot be, and that what stays is byte for byte what it was."""

# ruff: noqa: ANN401 - any JSON, and fields of policies
from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.stores.lease_kit import hold, rules
from tests.stores.parquet_kit import Body, expiry

from lethe.counts import Unjudgeable
from lethe.holds.rules import NO_HOLDS, HoldRules
from lethe.policy import JsonLinesDataset
from lethe.stores.files.formats.base import As, NotRewritable, Unreadable
from lethe.stores.files.formats.jsonlines import lines as blocks_of_lines
from lethe.stores.files.formats.jsonlines import rows
from lethe.stores.files.formats.jsonlines.lines import Block
from lethe.stores.files.formats.jsonlines.reading import TAG, JsonLines, LinesChunk, LinesFile
from lethe.stores.files.holds import Loaded, RowMatcher
from lethe.stores.files.judge import DatasetJudge, FileJudgement
from lethe.stores.files.marks import Marks

OLD, NEW = "2020-01-01", "2025-06-01"


def dataset(**changes: Any) -> JsonLinesDataset:
    """A dataset whose clock is `at`."""
    fields = {
        "kind": "jsonlines",
        "name": "events",
        "store": "lake",
        "bucket": "lake",
        "clock": {"column": "at", "format": "iso8601"},
        **changes,
    }
    return JsonLinesDataset.model_validate(fields)


def judged(body: bytes, key: str = "data/a.jsonl", held: HoldRules = NO_HOLDS, **changes: Any) -> FileJudgement:
    """What a file holds."""
    of = dataset(**changes)
    judge, form = DatasetJudge(of, expiry()), JsonLines()
    file = form.open(Body(body), of)
    matcher = RowMatcher(held, of.identifiers, Loaded(), of.phone_region, form.identifiers)
    return judge.bind(file.schema(judge.stored), key).judge_file(file, matcher)


def going(body: bytes, held: HoldRules = NO_HOLDS, **changes: Any) -> list[int]:
    """The numbers of the rows that go."""
    return numbers(judged(body, held=held, **changes).going)


def numbers(marks: Marks) -> list[int]:
    """Marked rows."""
    return [int(row) for rows in marks.positions() for row in rows]


def without(body: bytes, rows: Sequence[int]) -> bytes:
    """A file without some of its rows."""
    file = LinesFile(Body(body))
    sizes = [chunk.rows for chunk in file.chunks()]
    marked = np.isin(np.arange(sum(sizes)), list(rows))
    out = io.BytesIO()
    with ThreadPoolExecutor(1) as pool:
        file.write(Marks.of(np.split(marked, np.cumsum(sizes)[:-1])), out, pool)
    return out.getvalue()


def content(body: bytes) -> bytes:
    """What a file says, however it is compressed."""
    return b"".join(chunk.block.data for chunk in LinesFile(Body(body)).chunks())


def zstd(data: bytes) -> bytes:
    """One frame."""
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(data)
    return bytes(out.getvalue())


def line(**fields: Any) -> bytes:
    """One line."""
    return json.dumps(fields).encode() + b"\n"


SKIPPED = b"\x50\x2a\x4d\x18\x03\0\0\0abc"
"""A frame of zstd that readers skip."""

# --- what goes ------------------------------------------------------------------------------------------------------


def test_rows_go_by_a_clock_in_an_object() -> None:
    body = line(meta={"at": OLD}) + line(meta={"at": NEW}) + line(meta=None) + line()
    found = judged(body, clock={"column": "meta.at", "format": "iso8601"})
    assert numbers(found.going) == [0]
    assert (found.total, found.unjudgeable) == (4, {Unjudgeable.NO_CLOCK: 2})


def test_a_name_with_dots_is_written_in_quotes() -> None:
    body = line(**{"meta.at": OLD, "meta": {"at": NEW}})
    assert going(body, clock={"column": '"meta.at"', "format": "iso8601"}) == [0]
    assert going(body, clock={"column": "meta.at", "format": "iso8601"}) == []


@pytest.mark.parametrize(
    "bad",
    [
        b"no json\n", b'{"at": "2020-01-01"\n', b"[1]\n", b'"text"\n', b"null\n", b'{"at": "2020-01-01"} {}\n',
        b'{"at": "2020-01-01", "x": NaN}\n', b'{"at": "2020-01-01", "x": "\xff"}\n', b'{"at": "2020-01-01",}\n',
        b"{'at': '2020-01-01'}\n", b'{"at": "2020-01-01", "x": 01}\n', b"\x00\n", b"[" * 100_000 + b"\n",
        b'\xef\xbb\xbf{"at": "2020-01-01"}\n',
    ],
)  # fmt: skip
def test_a_line_that_is_no_json_object_is_counted_and_stays(bad: bytes) -> None:
    body = line(at=OLD) + bad + line(at=OLD)
    for where in ([], [{"column": "state", "is_null": True}]):
        found = judged(body, where=where)
        assert (found.total, found.unjudgeable) == (3, {Unjudgeable.UNREADABLE: 1}), bad
        assert numbers(found.going) == [0, 2]


def test_a_line_that_cannot_be_read_stays_though_the_key_says_its_clock() -> None:
    body = line(id=1) + b"no json\n"
    found = judged(body, "2019/a.jsonl", clock={"column": "day"}, path_columns={"day": "(?P<year>[0-9]+)/"})
    assert (found.total, numbers(found.going)) == (2, [0])
    assert found.unjudgeable == {Unjudgeable.UNREADABLE: 1}


@pytest.mark.parametrize(
    "twice",
    [
        b'{"at": "2020-01-01", "at": "2025-06-01"}', b'{"at": "2025-06-01", "at": "2020-01-01"}',
        b'{"at": "2020-01-01", "\\u0061t": "2025-06-01"}', b'{"at": "2020-01-01", "at": null}',
        b'{"x": "at", "at": "2020-01-01", "at": {}}', b'{"at": ["2020-01-01"]}', b'{"at": {"at": "2020-01-01"}}',
    ],
)  # fmt: skip
def test_a_row_of_several_clocks_cannot_be_judged(twice: bytes) -> None:
    found = judged(line(at=OLD) + twice)
    assert numbers(found.going) == [0]
    assert found.unjudgeable == {Unjudgeable.UNREADABLE: 1}


def test_a_row_that_says_one_thing_twice_is_judged() -> None:
    assert going(b'{"at": "2020-01-01", "at": "2020-01-01", "x": {"at": "2025-01-01"}, "y": "at"}') == [0]
    assert going(b'{"\\u0061t": "2020-01-01"}') == [0]


def test_a_doubled_object_on_the_way_to_a_clock_cannot_be_judged() -> None:
    one = b'{"a": {"at": "2020-01-01"}, "a": '
    for twice in (one + b"{}}", one + b"1}", b'{"a": "2020-01-01"}'):
        found = judged(twice, clock={"column": "a.at", "format": "iso8601"})
        assert found.unjudgeable == {Unjudgeable.UNREADABLE: 1}


def test_conditions_compare_values_as_text() -> None:
    values = ["open", True, "true", 5, 5.0, "5", 1.5, None, ["open"], {"x": 1}]
    body = b"".join(line(at=OLD, state=value) for value in values)
    assert going(body, where=[{"column": "state", "in": ["open", True]}]) == [0, 1, 2]
    assert going(body, where=[{"column": "state", "in": [5, "1.5"]}]) == [3, 4, 5, 6]
    assert going(body, keep_while=[{"column": "state", "not_in": [5]}]) == [3, 4, 5]
    assert going(body, where=[{"column": "state", "is_null": True}]) == [7]
    assert judged(body, where=[{"column": "state", "in": ["x"]}]).unjudgeable == {Unjudgeable.UNREADABLE: 2}


# --- who is held ----------------------------------------------------------------------------------------------------

EMAILS = {"email": ["user.email", "events[].email", "aliases[]"]}


@pytest.mark.parametrize(
    "carried",
    [
        {"user": {"email": "A@x.cz"}},
        {"events": [{"email": "b@x.cz"}, None, {}, {"email": "a@x.cz"}]},
        {"aliases": ["b@x.cz", "a@x.cz"]},
        {"aliases": "a@x.cz"},
        {"aliases": [["a@x.cz"]]},
        {"user": {"email": ["a@x.cz"]}},
        {"user": {"email": {"work": {"main": "a@x.cz"}}}},
        {"user": {"email": {"a@x.cz": True}}},
        {"user": '{"email": "a@x.cz"}'},
        {"user": [{"email": "a@x.cz"}]},
        {"events": {"email": "Jan <a@x.cz>"}},
    ],
)
def test_identifiers_are_found_wherever_a_name_leads(carried: dict[str, Any]) -> None:
    body = line(at=OLD, user={"email": "c@x.cz"}, events=[], aliases=[]) + line(at=OLD, **carried) + line(at=OLD)
    assert going(body, rules(hold(email="a@x.cz")), identifiers=EMAILS) == [0, 2]


@pytest.mark.parametrize(
    "twice",
    [
        b'{"at": "2020-01-01", "user": {"email": "a@x.cz", "email": "b@x.cz"}}',
        b'{"at": "2020-01-01", "user": {"email": "b@x.cz", "email": "a@x.cz"}}',
        b'{"at": "2020-01-01", "user": {"email": "a@x.cz"}, "user": {"email": "b@x.cz"}}',
        b'{"at": "2020-01-01", "user": {"email": "a@x.cz"}, "user": null}',
        b'{"at": "2020-01-01", "events": [{"email": "a@x.cz", "email": null}, {"email": "b@x.cz"}]}',
        b'{"at": "2020-01-01", "user": {"e\\u006dail": "a@x.cz", "email": "b@x.cz"}}',
    ],
)
def test_of_names_that_are_there_twice_all_are_searched(twice: bytes) -> None:
    body = twice + b"\n" + line(at=OLD, user={"email": "b@x.cz"})
    for address in ("a@x.cz", "b@x.cz") if b'"b@' in twice else ("a@x.cz",):
        assert 0 not in going(body, rules(hold(email=address)), identifiers=EMAILS)


def test_numbers_are_compared_as_numbers() -> None:
    body = b"".join(line(at=OLD, user={"id": value}) for value in (1001, "1001", 1001.0, "01001", 10010, True, 2**70))
    of = {"account": ["user.id"]}
    assert going(body, rules(hold(account="1001")), identifiers=of) == [3, 4, 5, 6]
    assert going(body, rules(hold(account=str(2**70))), identifiers=of) == [0, 1, 2, 3, 4, 5]


def test_a_name_that_is_value_and_object_is_read_as_both() -> None:
    body = line(at=OLD, user="a@x.cz") + line(at=OLD, user={"email": "a@x.cz"}) + line(at=OLD, user={"email": "b@x.cz"})
    assert going(body, rules(hold(email="a@x.cz")), identifiers={"email": ["user", "user.email"]}) == [2]


PIECES = [
    b'{"at":"2020-01-01"}', b'{"at":1,"at":2}', b'{"y":{}', b"{}", b'{"x":[{}', b"{}]}", b'{"x":"}', b'{"}', b"}", b"{",
    b",", b"\n", b"\n", b"\r\n", b" ", b"\n ", b'"at":3', b"null", b"[]",
]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=12).map(b"".join))
@example(b'{"x":{}\n}\n{} {}\n')
@example(b'{"x":[{}\n{}]}\n{}{}\n')
def test_lines_together_are_read_as_each_of_them_alone(data: bytes) -> None:
    chunk = LinesChunk(Block(data, 0))
    columns = {"at": As.VALUE}
    together = [row for batch in chunk.read(columns, 1 << 17) for row in batch.to_pylist()]
    assert together == [row for batch in chunk.read(columns, 1) for row in batch.to_pylist()]


# --- what stays -----------------------------------------------------------------------------------------------------

STRANGE = [
    b'{"at":"2020-01-01"}\r\n', b'  {"at" : "2025-06-01" , "z":1, "a":2,"a":3}\t\n', b"\n", b" \t\r\n", b"no json\n",
    b'{"at":"2020-02-02","x":"\\u00e1\xc3\xa1"}\n', b'{"at":"2025-06-01","n":1.0e5,"m":-0}\n', b'{"at":"2020-03-03"}',
]  # fmt: skip


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_what_stays_is_byte_for_byte_what_it_was(bom: bytes) -> None:
    assert going(bom + b"".join(STRANGE)) == [0, 3, 5]
    stays = [one for n, one in enumerate(STRANGE) if n not in (0, 5, 7)]
    assert without(bom + b"".join(STRANGE), [0, 3, 5]) == bom + b"".join(stays)


@settings(max_examples=150, deadline=None)
@given(
    data=st.lists(st.sampled_from([*STRANGE[:-1], b'{"at":"2020-01-01"}', b"\xff\n", b"\r\r\n", b"\v\n"]), max_size=30),
    block=st.integers(1, 60),
    cut=st.lists(st.integers(0, 900), max_size=6),
    pack=st.sampled_from([None, gzip.compress, zstd]),
    chosen=st.data(),
)
def test_any_rows_of_any_file(data: list[bytes], block: int, cut: list[int], pack: Any, chosen: st.DataObject) -> None:
    """By what Python's own split of lines says, whatever the frames, and however long a block is."""
    whole = b"".join(data)
    split = [one + b"\n" for one in whole.split(b"\n")]
    split[-1] = split[-1][:-1]
    kept_blank = [n for n, one in enumerate(split) if not one.strip(b" \t\r\n")]
    real = [n for n in range(len(split)) if n not in kept_blank]
    gone = chosen.draw(st.sets(st.sampled_from(range(len(real))))) if real else set()
    if not 0 < len(gone) < len(real):
        return
    ends = [0, *sorted(min(one, len(whole)) for one in cut), len(whole)]
    parts = [whole[a:b] for a, b in pairwise(ends)]
    body = whole if pack is None else b"".join(map(pack, parts))
    wanted = b"".join(one for n, one in enumerate(split) if n not in {real[row] for row in gone})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks_of_lines, "BLOCK_BYTES", block)
        assert sum(chunk.rows for chunk in LinesFile(Body(body)).chunks()) == len(real)
        new = without(body, sorted(gone))
    assert content(new) == wanted


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_frames_in_which_nothing_goes_are_copied(pack: Any) -> None:
    first, second, third, fourth = (pack(line(at=at, n=n) * 3) for n, at in enumerate((NEW, OLD, OLD, NEW)))
    mixed = pack(line(at=OLD) + line(at=NEW))
    new = without(first + second + mixed + third + fourth, [3, 4, 5, 6, 8, 9, 10])
    assert new.startswith(first)
    assert new.endswith(fourth)
    assert content(new[len(first) : -len(fourth)]) == line(at=NEW)
    assert second not in new


def test_a_member_that_is_written_again_keeps_its_name_and_time() -> None:
    out = io.BytesIO()
    with gzip.GzipFile("events.jsonl", "wb", 9, out, mtime=1_700_000_000) as file:
        file.write(line(at=OLD) + line(at=NEW))
    new = without(out.getvalue(), [0])
    end = out.getvalue().index(b"events.jsonl\0") + len(b"events.jsonl\0")
    assert new[:end] == out.getvalue()[:end]
    assert gzip.decompress(new) == line(at=NEW)


def test_padding_and_frames_to_be_skipped_stay() -> None:
    body = line(at=OLD) + line(at=NEW)
    assert without(gzip.compress(body) + b"\0" * 100, [0]).endswith(b"\0" * 100)
    new = without(SKIPPED + zstd(body) + SKIPPED, [0])
    assert new.startswith(SKIPPED)
    assert new.endswith(SKIPPED)
    assert content(new) == line(at=NEW)


def test_members_with_fields_of_their_own_are_not_rewritten() -> None:
    body = gzip.compress(line(at=OLD) + line(at=NEW))
    blocked = body[:3] + b"\x04" + body[4:10] + b"\x06\0BC\x02\0\x1b\0" + body[10:]
    assert going(blocked) == [0]
    with pytest.raises(NotRewritable, match="BGZF"):
        without(blocked, [0])


# --- what cannot be read --------------------------------------------------------------------------------------------

ROWS = line(at=OLD) * 500


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(ROWS)[:-4], gzip.compress(ROWS)[:-9], gzip.compress(ROWS) + b"tail", gzip.compress(ROWS)[:12],
        gzip.compress(ROWS)[:30] + b"\xff\xff" + gzip.compress(ROWS)[32:], zstd(ROWS)[:-3], zstd(ROWS) + b"tail",
        b"BZh91AY&SY", b"\xfd7zXZ\0", b"PK\x03\x04", ROWS.decode().encode("utf-16"), b"\xff\x06\0\0sNaPpY",
        b"\x28\xb5\x2f\xfd\x03\x01", b"\x1f\x8b",
    ],
    ids=[
        "gzip without its size", "gzip without its end", "behind gzip", "begun gzip",
        "damaged gzip", "zstd without its end", "behind zstd",
        "bzip2", "xz", "zip", "utf-16", "snappy",
        "begun zstd", "magic of gzip",
    ],
)  # fmt: skip
def test_a_damaged_file_or_one_that_is_encoded_otherwise_cannot_be_read(body: bytes) -> None:
    with pytest.raises(Unreadable):
        judged(body)


def test_a_line_beyond_all_bounds_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_of_lines, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(blocks_of_lines, "MOST_BYTES", 5000)
    assert going(line(at=OLD, x="x" * 5000) + line(at=NEW)) == [0]
    with pytest.raises(Unreadable, match="line of more than"):
        judged(line(at=OLD) + line(at=OLD, x="x" * 2_000_000))


def test_it_is_seen_what_names_there_are() -> None:
    body = line(at=OLD, user={"email": "a@x.cz"}, aliases=["a"], rare=None) * 3
    names = ["at", "user", "user.email", "aliases", "aliases[]", "rare", "never", "user.never"]
    found = LinesFile(Body(body)).seen(names)
    kinds = {name: str(found.field(name).type) for name in found.names}
    assert list(kinds) == ["at", "user", "user.email", "aliases", "aliases[]"]
    assert kinds["at"] == kinds["user.email"] == kinds["aliases[]"] == "large_string"
    with pytest.raises(Unreadable, match="none of its first lines"):
        LinesFile(Body(b"[\n1,\n2\n]\n")).seen(["at"])


# --- both ways to read ----------------------------------------------------------------------------------------------


class Twice(dict[str, Any]):
    """An object with names that are there twice, which `json` writes as they come."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs

    def items(self) -> Any:
        return self.pairs


_NAMES = st.sampled_from(["at", "user", "email", "id", "a.b", "é", 'q"'])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(_NAMES, inner), max_size=4).map(Twice),
    max_leaves=12,
)
_OBJECT = st.lists(st.tuples(_NAMES, _JSON), max_size=6).map(Twice)
COLUMNS = {
    "at": As.VALUE, "user.at": As.VALUE, '"a.b".é': As.VALUE, "user.email": As.IDENTIFIERS,
    "id[].email": As.IDENTIFIERS, "email[]": As.IDENTIFIERS, '"q\\""': As.KEY, "id": As.KEY,
}  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(objects=st.lists(_OBJECT, min_size=1, max_size=5), ascii_only=st.booleans())
def test_msgspec_and_python_read_the_same(objects: list[Any], ascii_only: bool) -> None:
    dumped = [json.dumps(one, ensure_ascii=ascii_only) for one in objects]
    lines = [one.encode("utf-8", "surrogatepass") for one in dumped]
    lines = [one for one in lines if rows.is_utf_8(one)]
    for name, purpose in COLUMNS.items():
        if not lines:
            return
        (chunk,) = LinesFile(Body(b"\n".join(lines))).chunks()
        (fast,) = chunk.read({name: purpose}, 1000)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rows, "_read", lambda block, _: ([None] * block.rows, list(range(block.rows))))
            (slow,) = chunk.read({name: purpose}, 1000)
        assert listed(fast.column(name)) == listed(slow.column(name)), name


def test_lines_are_passed_over_once_however_many_are_refused() -> None:
    class Lines(list[bytes]):
        passes = 0

        def __iter__(self) -> Iterator[bytes]:
            self.passes += 1
            return super().__iter__()

    lines = Lines([b"{", b"{}", b"[]"] * 100)
    read, refused = rows._each(lines, msgspec.json.Decoder(dict[str, int]).decode)
    assert refused == [n for n in range(300) if n % 3 != 1]
    assert [read[n] for n in range(1, 300, 3)] == [{}] * 100
    assert lines.passes == 1


def listed(column: pa.Array) -> list[Any]:
    """Lists of values, also where each row has one; true and false are no identifiers."""
    read: list[Any] = column.to_pylist()
    values = [None if one in (f"{TAG}true", f"{TAG}false") else one for one in read]
    if pa.types.is_large_list(column.type):
        return [[one for one in row or () if one is not None] for row in values]
    return [[] if one is None else [one] for one in values]
