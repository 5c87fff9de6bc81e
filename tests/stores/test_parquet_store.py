"""Rows inside Parquet files on a real S3: what goes, what stays, under holds, versions, crashes and changes."""

# ruff: noqa: ANN401 - fields of policies are of any type
from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest
from tests.processes import processes
from tests.stores.lease_kit import meanwhile
from tests.stores.parquet_kit import NEW, OLD, PRAGUE, Gate, Lake, LinesLake, encoded, expiry, hold, people, rules

from lethe.connections import Connection
from lethe.counts import Became, Outcome, Unjudgeable
from lethe.errors import DatasetChanged, RunError, StoreError, StoreUnavailable
from lethe.holds.rules import NO_HOLDS, ClockRange, HoldRules
from lethe.judging.keys import record_key
from lethe.periods import Cutoff, start_of_day
from lethe.stores.base import Candidates, Work
from lethe.stores.buckets import uploads
from lethe.stores.buckets.client import S3Access
from lethe.stores.files import attempts, copies, files
from lethe.stores.files import erase as erasing
from lethe.stores.files.examine import name_digest
from lethe.stores.files.formats.base import NotRewritable
from lethe.stores.files.formats.parquet import reading
from lethe.stores.files.formats.parquet.rewrite import check_rewritable
from lethe.stores.files.store import FileStore
from lethe_demo.servers import EmbeddedS3


@pytest.fixture
def lake(s3: EmbeddedS3) -> Lake:
    return Lake.make(s3)


@pytest.fixture(params=["versioned", "unversioned"])
def any_lake(s3: EmbeddedS3, request: pytest.FixtureRequest) -> Lake:
    return Lake.make(s3, versioned=request.param == "versioned")


@pytest.fixture(params=[(Lake, True), (Lake, False), (LinesLake, True)], ids=["versioned", "unversioned", "lines"])
def any_files(s3: EmbeddedS3, request: pytest.FixtureRequest) -> Lake:
    """Of each format, as what has the evidence is shared."""
    kind, versioned = request.param
    found: Lake = kind.make(s3, versioned=versioned)
    return found


def due(lake: Lake) -> int:
    return lake.store.survey(lake.work, NO_HOLDS).due


# --- what goes and what stays --------------------------------------------------------------------------------------


def test_expired_rows_go_and_everything_else_stays_as_it_was(any_lake: Lake) -> None:
    lake = any_lake
    lake.put("data/mixed.parquet", people(range(50), range(50, 90), nulls=[95]))
    lake.put("data/old.parquet", people(range(100, 130)))
    lake.put("data/new.parquet", people(kept=range(200, 230)))
    lake.put("data/_SUCCESS", b"")
    lake.put("elsewhere/old.parquet", people(range(5)))
    before = lake.everything()
    touched = lake.client.head_object(Bucket=lake.bucket, Key="data/new.parquet")

    found = lake.discover()
    assert (found.total, found.expired, found.held, found.due) == (151, 80, 0, 80)
    assert found.unjudgeable == {Unjudgeable.NO_CLOCK: 1}
    assert found.oldest == date(2024, 6, 1)
    assert lake.store.tally(lake.work, found) == Became()
    tally = lake.erase(found)

    assert (tally.erased, tally.held, tally.total) == (80, 0, 80)
    assert tally.bytes > 0
    assert lake.store.tally(lake.work, found) == tally
    assert lake.outcomes(found) == {record_key((n,)): Outcome.ERASED for n in [*range(50), *range(100, 130)]}
    assert lake.ids("data/mixed.parquet") == [*range(50, 90), 95]
    assert lake.read("data/mixed.parquet").schema == people([1]).schema
    assert due(lake) == 0
    lake.store.clean(lake.run, lake.dataset)
    assert lake.store.staged_runs(lake.dataset) == []
    after = lake.everything()
    assert "data/old.parquet" not in after
    assert all(len(versions) == 1 for versions in after.values())
    for key in ("data/new.parquet", "data/_SUCCESS", "elsewhere/old.parquet"):
        assert after[key] == before[key]
    untouched = lake.client.head_object(Bucket=lake.bucket, Key="data/new.parquet")
    assert (untouched["ETag"], untouched["LastModified"]) == (touched["ETag"], touched["LastModified"])


def test_again_is_harmless(lake: Lake) -> None:
    """Promise 7: the same batches, another discovery of the run, and another run erase nothing more."""
    lake.put("data/a.parquet", people(range(20), range(20, 30)))
    found = lake.discover()
    tally = lake.erase(found)
    state = lake.everything()["data/a.parquet"]
    assert lake.erase(found) == tally
    assert lake.discover() == found
    lake.run = "run-2"
    assert lake.both() == Became()
    assert lake.everything()["data/a.parquet"] == state


def test_attributes_of_an_object_stay(lake: Lake) -> None:
    options: dict[str, Any] = {
        "Metadata": {"owner": "web", "batch": "17"},
        "ContentType": "application/vnd.apache.parquet",
        "CacheControl": "no-cache",
        "Tagging": "team=web&class=a%20b",
        "StorageClass": "STANDARD_IA",
    }
    lake.put("data/a.parquet", people(range(5), range(5, 9)), **options)
    assert lake.both().erased == 5
    head = lake.client.head_object(Bucket=lake.bucket, Key="data/a.parquet")
    for name in ("Metadata", "ContentType", "CacheControl", "StorageClass"):
        assert head[name] == options[name]
    tags = lake.client.get_object_tagging(Bucket=lake.bucket, Key="data/a.parquet")["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "web", "class": "a b"}


def test_a_large_file_is_uploaded_in_parts_before_the_lease(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasing, "PUT_BYTES", 1000)
    monkeypatch.setattr(files, "IN_MEMORY", 1000)
    monkeypatch.setattr(attempts, "SPOOL_BYTES", 1000)
    lake.put("data/a.parquet", people(range(500), range(500, 900)), Metadata={"a": "b"})
    assert lake.both().erased == 500
    assert lake.ids("data/a.parquet") == list(range(500, 900))
    head = lake.client.head_object(Bucket=lake.bucket, Key="data/a.parquet")
    assert head["ETag"].endswith('-1"')
    assert head["Metadata"] == {"a": "b"}
    assert len(lake.everything()["data/a.parquet"]) == 1


def test_batches_are_groups_of_files_and_can_be_erased_in_any_order(s3: EmbeddedS3) -> None:
    lake = Lake.make(s3, lethe_batch_size=25)
    for number in range(7):
        lake.put(f"data/{number}.parquet", people(range(10 * number, 10 * number + 10)))
    found = lake.discover()
    assert (found.batches, found.batch_size) == (3, 30)
    tallies = [lake.erase(found, batches=range(number, number + 1)) for number in (2, 0, 1)]
    assert sum(tally.erased for tally in tallies) == 70
    assert not [key for key in lake.everything() if key.startswith("data/")]


def test_without_a_key_a_record_is_its_file_and_row(lake: Lake) -> None:
    lake.fields = {"key": []}
    lake.put("data/a.parquet", people([1, 3], [0, 2]))
    found = lake.discover()
    lake.erase(found)
    assert lake.outcomes(found) == {
        record_key(("data/a.parquet", 1)): Outcome.ERASED,
        record_key(("data/a.parquet", 3)): Outcome.ERASED,
    }


def test_the_digest_stands_for_the_very_rows(lake: Lake) -> None:
    lake.put("data/a.parquet", people(range(5), range(5, 9)))
    first = lake.discover()
    lake.run = "run-2"
    assert lake.discover().digest == first.digest
    lake.run = "run-3"
    held = rules(hold(email=["person1@example.org"]))
    assert lake.discover(held).digest != first.digest


def test_only_what_was_discovered_is_erased(lake: Lake) -> None:
    """Promise 4: staging that is not what was approved is refused."""
    lake.put("data/a.parquet", people(range(5), range(5, 9)))
    found = lake.discover()
    with pytest.raises(DatasetChanged):
        lake.erase(found.model_copy(update={"digest": "0" * 64}))
    name = f"{found.reference.partition(f'{lake.bucket}/')[2].partition('#')[0]}batch/0"
    body = lake.body(name)
    lake.client.put_object(Bucket=lake.bucket, Key=name, Body=body[:-1] + b"x")
    with pytest.raises(DatasetChanged):
        lake.erase(found)
    assert len(lake.ids("data/a.parquet")) == 9


def test_where_and_keep_while(lake: Lake) -> None:
    lake.fields = {
        "where": [{"column": "id", "not_in": [1, 2]}],
        "keep_while": [{"column": "state", "in": ["open"]}],
    }
    lake.put("data/a.parquet", people(range(10), range(20, 23)))
    found = lake.discover()
    assert (found.total, found.expired, found.kept_on, found.due) == (11, 8, 1, 7)
    assert lake.erase(found).erased == 7
    assert lake.ids("data/a.parquet") == [1, 2, 7, 20, 21, 22]


def test_rows_inserted_after_discovery_are_not_touched_but_seen(lake: Lake) -> None:
    lake.put("data/a.parquet", people(range(5), range(5, 9)))
    found = lake.discover()
    lake.put("data/b.parquet", people([50]))
    assert lake.erase(found).erased == 5
    assert lake.ids("data/b.parquet") == [50]
    assert due(lake) == 1


# --- what cannot be judged or rewritten ----------------------------------------------------------------------------


def encrypted(footer: bool) -> bytes:
    """A file with encrypted columns, and with an encrypted footer or not."""
    schema = people().schema

    class Kms(pe.KmsClient):  # type: ignore[misc]
        def wrap_key(self, key: bytes, _: str) -> bytes:
            return key.hex().encode()

        def unwrap_key(self, key: bytes, _: str) -> bytes:
            return bytes.fromhex(key.decode())

    config = pe.EncryptionConfiguration(
        footer_key="f",
        column_keys={"c": [name for name in schema.names if name != "state"]},
        plaintext_footer=not footer,
    )
    out = io.BytesIO()
    factory = pe.CryptoFactory(lambda _: Kms())
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), config)
    with pq.ParquetWriter(out, schema, encryption_properties=properties) as writer:
        writer.write_table(people(range(7)))
    return out.getvalue()


def test_what_cannot_be_read_is_counted_named_and_left(lake: Lake) -> None:
    """Promise 3: never skipped, and named by a digest only."""
    good = encoded(people(range(30), range(30, 50)), compression="none")
    lake.put("data/good.parquet", good)
    unreadable = {
        "data/text.csv": (b"a,b\n1,2\n", 1),
        "data/empty.parquet": (b"", 1),
        "data/cut.parquet": (good[: len(good) // 2], 1),
        "data/zeros.parquet": (good[:-100] + bytes(100), 1),
        "data/damaged.parquet": (good[:4] + bytes(900) + good[904:], 50),
        "data/sealed.parquet": (encrypted(footer=True), 1),
        "data/half-sealed.parquet": (encrypted(footer=False), 7),
        "data/other.parquet": (encoded(pa.table({"x": [1, 2, 3]})), 3),
        "data/type.parquet": (encoded(people(range(4)).set_column(1, "at", pa.array([1, 2, 3, 4]))), 4),
        "data/nested.parquet": (encoded(people([1]).set_column(2, "email", pa.array([["a@b.c"]]))), 1),
    }
    for key, (body, _) in unreadable.items():
        lake.put(key, body)
    before = lake.everything()
    found = lake.discover()
    assert found.unjudgeable == {Unjudgeable.UNREADABLE: sum(rows for _, rows in unreadable.values())}
    assert set(found.unreadable) == {name_digest(key) for key in unreadable}
    assert found.due == 30
    assert lake.erase(found).erased == 30
    after = lake.everything()
    assert all(after[key] == before[key] for key in unreadable)


def harmed(column: str) -> bytes:
    """A file with page checksums, of whose column one byte was harmed on the way: all of it still decodes."""
    body = encoded(
        people(range(10), range(10, 20)),
        compression="none",
        use_dictionary=False,
        write_page_checksum=True,
        data_page_size=1 << 20,
    )
    chunk = pq.read_metadata(io.BytesIO(body)).row_group(0)
    index = next(number for number in range(chunk.num_columns) if chunk.column(number).path_in_schema == column)
    start = chunk.column(index).data_page_offset
    value = {"email": b"Person3@", "state": b"closed"}[column]
    place = body.rindex(value, start, start + chunk.column(index).total_compressed_size)  # not in the page's header
    return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]


def test_a_page_whose_checksum_is_wrong_is_not_trusted(lake: Lake) -> None:
    """Promise 2: the harmed address is that of a held person. Promise 3: it is counted and named."""
    lake.put("data/harmed.parquet", harmed("email"))
    lake.put("data/good.parquet", people(range(30, 34), range(34, 40)))
    before = lake.everything()["data/harmed.parquet"]
    held = rules(hold(email=["person3@example.org"]))
    found = lake.discover(held)
    assert found.unjudgeable == {Unjudgeable.UNREADABLE: 20}
    assert found.unreadable == (name_digest("data/harmed.parquet"),)
    assert lake.erase(found, Gate(held)).erased == 4
    assert lake.everything()["data/harmed.parquet"] == before


def test_int96_of_any_year_is_judged_by_it(lake: Lake) -> None:
    """Never early: in nanoseconds, as which Arrow reads them, the last day of 9999 is one of 1816."""
    years = [9999, 2500, 2262, 1816, 1, 2024]
    at = pa.array([datetime(year, 12, 1) for year in years], pa.timestamp("us"))  # noqa: DTZ001 - a local time
    table = people(expired=range(6)).set_column(1, "at", at)
    lake.put("data/a.parquet", encoded(table, use_deprecated_int96_timestamps=True))
    found = lake.discover(rules(hold(1, ClockRange(date(1, 1, 1), date(1, 12, 31)))))
    assert (found.due, found.held, found.oldest) == (2, 1, date(1816, 12, 1))
    assert lake.erase(found).erased == 2
    assert lake.ids("data/a.parquet") == [0, 1, 2, 4]


def test_views_of_text_are_text(lake: Lake) -> None:
    """As DataFusion and others write them."""
    table = people(expired=range(3), kept=[3])
    for name in ("email", "phone", "state"):
        number = table.schema.get_field_index(name)
        table = table.set_column(number, name, table[name].cast(pa.string_view()))
    lake.put("data/a.parquet", table)
    lake.fields = {"key": ["email"], "keep_while": [{"column": "state", "in": ["open"]}]}
    held = rules(hold(email=["person1@example.org"]))
    found = lake.discover(held)
    assert (found.due, found.held) == (2, 1)
    assert lake.erase(found, Gate(held)).erased == 2
    assert lake.ids("data/a.parquet") == [1, 3]
    assert list(lake.outcomes(found)) == [b"tPerson0@Example.org", b"tPerson2@Example.org"]


@pytest.mark.parametrize("key", [["id"], []])
def test_values_that_python_does_not_have_keep_rows_of_versions_comparable(lake: Lake, key: list[str]) -> None:
    far = pa.array([2**62, 2**61, -(2**62)], pa.timestamp("us"))
    table = people(expired=range(3)).append_column("valid_until", far)
    lake.fields = {"key": key}
    lake.put("data/a.parquet", table)
    lake.put("data/a.parquet", encoded(table, compression="gzip"))
    held = rules(hold(email=["person1@example.org"]))
    found = lake.discover(held)
    assert (found.total, found.due, found.held) == (3, 2, 1)
    assert lake.erase(found, Gate(held)).erased == 2
    assert [len(versions) for name, versions in lake.everything().items() if name.startswith("data/")] == [1]


def test_a_file_that_turns_out_not_to_be_rewritable_blocks_its_rows_and_no_others(lake: Lake) -> None:
    """Promise 3: a page that no clock is in is harmed, which shows when the file is rewritten."""
    lake.put("data/harmed@example.org.parquet", harmed("state"))
    lake.put("data/good.parquet", people(range(30, 34), range(34, 40)))
    lake.put("data/whole.parquet", people(range(40, 44)))
    before = lake.everything()["data/harmed@example.org.parquet"]
    found = lake.discover()
    assert found.due == 18
    tally = lake.erase(found)
    assert (tally.erased, tally.blocked, tally.total) == (8, 10, 18)
    assert "10 kept" in (tally.problem or "")
    assert lake.everything()["data/harmed@example.org.parquet"] == before
    assert "data/whole.parquet" not in lake.everything()
    assert lake.store.tally(lake.work, found) == tally == lake.erase(found)
    blocked = {record_key((n,)) for n in range(10)}
    assert {key for key, outcome in lake.outcomes(found).items() if outcome is Outcome.BLOCKED} == blocked
    (kept_by,) = lake.store.kept_by(lake.work, found)
    assert name_digest("data/harmed@example.org.parquet") in kept_by
    assert "a page cannot be read" in kept_by
    assert "harmed@" not in kept_by
    assert lake.store.survey(lake.work, NO_HOLDS).due == 10


def test_a_file_that_cannot_be_rewritten_faithfully_is_refused_and_reported(lake: Lake) -> None:
    lake.put("data/granted.parquet", people(range(4), range(4, 9)))
    lake.put("data/fine.parquet", people(range(10, 14), range(14, 19)))
    refused: list[Any] = []

    def refuse(footer: Any) -> None:
        check_rewritable(footer)
        columns = {column[4].value for column in footer[2].value.values}
        if b"state" in columns and footer[3].value == 9 and not refused:
            refused.append(footer)
            raise NotRewritable("for the test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "check_rewritable", refuse)
        found = lake.discover()
    assert found.unjudgeable == {Unjudgeable.NOT_REWRITABLE: 4}
    assert len(found.unreadable) == 1
    assert found.due == 4
    assert lake.erase(found).erased == 4


def test_an_lzo_file_is_not_rewritten_but_goes_as_a_whole(lake: Lake) -> None:
    """Where nothing stays there is nothing to rewrite."""
    import lethe.stores.files.formats.parquet.footer as ft
    from lethe.stores.files.formats.parquet.thrift import I32, Field

    def lzo(body: bytes) -> bytes:
        footer = ft.read(body, len(body))
        for group in ft.structs(footer, 4):
            for chunk in ft.structs(group, 1):
                meta = chunk[3].value
                if ft.name_of(ft.structs(footer, 2)[1 + ft.structs(group, 1).index(chunk)]) not in ("at", "id"):
                    meta[4] = Field(I32, 3)
        return body[: -8 - int.from_bytes(body[-8:-4], "little")] + ft.dump(footer)

    lake.put("data/mixed.parquet", lzo(encoded(people(range(5), range(5, 9)), compression="none")))
    lake.put("data/old.parquet", lzo(encoded(people(range(10, 15)), compression="none")))
    found = lake.discover()
    assert found.unjudgeable == {Unjudgeable.NOT_REWRITABLE: 5}
    assert found.unreadable == (name_digest("data/mixed.parquet"),)
    assert found.due == 5
    assert lake.erase(found).erased == 5
    assert "data/old.parquet" not in lake.everything()


# --- holds ---------------------------------------------------------------------------------------------------------


def test_held_rows_stay_and_are_counted(any_lake: Lake) -> None:
    """Promise 2, with identifiers as people write them."""
    lake = any_lake
    lake.put("data/a.parquet", people(range(10), range(10, 15)))
    held = rules(hold(1, email=["person3@example.org", "person12@example.org"]), hold(2, phone=["+420777000004"]))
    found = lake.discover(held)
    assert (found.expired, found.held, found.due) == (10, 2, 8)
    assert lake.erase(found, Gate(held)).erased == 8
    assert lake.ids("data/a.parquet") == [3, 4, *range(10, 15)]
    # Once released, the next run takes them.
    lake.run = "run-2"
    assert lake.both().erased == 2
    assert lake.ids("data/a.parquet") == list(range(10, 15))


def test_a_hold_on_a_clock_range_covers_its_local_days(lake: Lake) -> None:
    times = [datetime(2024, 5, 31, 21, 59, tzinfo=UTC), datetime(2024, 5, 31, 22, 0, tzinfo=UTC), OLD, NEW]
    lake.put("data/a.parquet", people(range(4)).set_column(1, "at", pa.array(times, pa.timestamp("us", tz="UTC"))))
    first_of_june = rules(hold(1, ClockRange(date(2024, 6, 1), date(2024, 6, 1))))
    found = lake.discover(first_of_june)
    assert (found.expired, found.held) == (3, 2)
    lake.erase(found, Gate(first_of_june))
    assert lake.ids("data/a.parquet") == [1, 2, 3]


def test_a_hold_placed_between_discovery_and_erasing_binds(any_lake: Lake) -> None:
    lake = any_lake
    lake.put("data/mixed.parquet", people(range(10), range(10, 15)))
    lake.put("data/old.parquet", people(range(20, 30)))
    lake.put("data/all-held.parquet", people([41, 42], [43]))
    found = lake.discover()
    held = rules(hold(1, email=[f"person{n}@example.org" for n in (3, 25, 41, 42)]))
    tally = lake.erase(found, Gate(held))
    assert (tally.erased, tally.held) == (18, 4)
    assert lake.ids("data/mixed.parquet") == [3, *range(10, 15)]
    assert lake.ids("data/old.parquet") == [25]
    assert lake.ids("data/all-held.parquet") == [41, 42, 43]
    outcomes = lake.outcomes(found)
    assert {key for key, outcome in outcomes.items() if outcome is Outcome.HELD} == {
        record_key((n,)) for n in (3, 25, 41, 42)
    }
    assert all(len(versions) == 1 for key, versions in lake.everything().items() if key.startswith("data/"))


def test_a_hold_placed_after_preparing_abandons_the_rewriting(any_lake: Lake) -> None:
    """Nothing is sent for a row that a hold in force covers: the attempt is abandoned, and prepared anew."""
    lake = any_lake
    lake.put("data/a.parquet", people(range(10), range(10, 15)))
    found = lake.discover()
    gate = Gate()

    def place(leases: int) -> None:
        if leases == 0:
            gate.rules = rules(hold(1, email=["person3@example.org"]))
        if leases == 1:
            gate.rules = rules(hold(1, email=["person3@example.org"]), hold(2, email=["someone@else.org"]))

    gate.before = place
    tally = lake.erase(found, gate)
    assert (tally.erased, tally.held) == (9, 1)
    assert lake.ids("data/a.parquet") == [3, *range(10, 15)]
    assert gate.leases >= 3
    assert not gate.out


def test_a_hold_placed_after_preparing_abandons_the_deletion(lake: Lake) -> None:
    lake.put("data/a.parquet", people(range(10)))
    found = lake.discover()
    gate = Gate()
    gate.before = lambda _: setattr(gate, "rules", rules(hold(1, email=["person3@example.org"])))
    tally = lake.erase(found, gate)
    assert (tally.erased, tally.held) == (9, 1)
    assert lake.ids("data/a.parquet") == [3]


def test_a_run_that_was_superseded_sends_nothing(lake: Lake) -> None:
    lake.put("data/a.parquet", people(range(10), range(10, 15)))
    found = lake.discover()
    before = lake.everything()["data/a.parquet"]
    gate = Gate()

    def superseded(_: int) -> None:
        raise RunError("run-1 was superseded")

    gate.before = superseded
    with pytest.raises(RunError):
        lake.erase(found, gate)
    assert lake.everything()["data/a.parquet"] == before


# --- what the store itself keeps -----------------------------------------------------------------------------------


def test_object_lock_and_legal_holds_of_s3_keep_a_file(s3: EmbeddedS3) -> None:
    lake = Lake.make(s3, lock=True)
    lake.put("data/free.parquet", people(range(5), range(5, 9)))
    lake.put("data/held.parquet", people(range(10, 15), range(15, 19)), ObjectLockLegalHoldStatus="ON")
    until = datetime.now(UTC) + timedelta(minutes=5)
    lake.put("data/locked.parquet", people(range(20, 25)), ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until)
    before = lake.everything()
    found = lake.discover()
    assert (found.expired, found.held, found.due) == (15, 10, 5)
    assert lake.erase(found).erased == 5
    after = lake.everything()
    assert after["data/held.parquet"] == before["data/held.parquet"]
    assert after["data/locked.parquet"] == before["data/locked.parquet"]


def test_a_legal_hold_of_s3_that_was_set_after_discovery_keeps_the_file(s3: EmbeddedS3) -> None:
    lake = Lake.make(s3, lock=True)
    keys = ["data/mixed.parquet", "data/old.parquet"]
    lake.put(keys[0], people(range(5), range(5, 9)))
    lake.put(keys[1], people(range(10, 15)))
    found = lake.discover()
    for key in keys:
        lake.client.put_object_legal_hold(Bucket=lake.bucket, Key=key, LegalHold={"Status": "ON"})
    before = lake.everything()
    tally = lake.erase(found)
    assert (tally.erased, tally.held) == (0, 10)
    assert {key: lake.everything()[key] for key in keys} == {key: before[key] for key in keys}
    assert set(lake.outcomes(found).values()) == {Outcome.HELD}


# --- versions ------------------------------------------------------------------------------------------------------


def test_old_versions_with_expired_rows_go(lake: Lake) -> None:
    """Promise 8: of rewritten, kept and deleted files, and with the markers of those that are gone altogether."""
    for key in ("data/rewritten.parquet", "data/kept.parquet", "data/deleted.parquet", "data/young.parquet"):
        lake.put(key, people([] if "young" in key else range(5), range(5, 9)))
    lake.put("data/rewritten.parquet", people(range(3), range(5, 9)))
    lake.put("data/kept.parquet", people(kept=range(5, 9)))
    young = lake.put("data/young.parquet", people(kept=range(5, 8)))
    lake.client.delete_object(Bucket=lake.bucket, Key="data/deleted.parquet")
    lake.fields = {"key": []}
    found = lake.discover()
    assert (found.total, found.due) == (3 + 4 + 4 + 3 + 12, 15)  # three rows of an old version are copies
    tally = lake.erase(found)
    assert (tally.erased, tally.rows_with) == (15, 4)  # three old versions and one marker
    assert len(lake.outcomes(found)) == 15
    after = lake.everything()
    assert "data/deleted.parquet" not in after
    assert [len(after[key]) for key in ("data/rewritten.parquet", "data/kept.parquet")] == [1, 1]
    assert len(after["data/young.parquet"]) == 2
    assert after["data/young.parquet"][0][0] == young
    assert lake.ids("data/rewritten.parquet") == list(range(5, 9))
    assert due(lake) == 0


@pytest.mark.parametrize("key", [["id"], []])
@pytest.mark.parametrize("at_once", [copies.AT_ONCE, 3])
def test_a_record_in_several_versions_counts_once_and_has_one_outcome(
    lake: Lake, key: list[str], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 5. All of the versions go all the same."""
    monkeypatch.setattr(copies, "AT_ONCE", at_once)
    lake.fields = {"key": key}
    for _ in range(2):
        lake.put("data/a.parquet", people(range(7), range(7, 9)))
    lake.put("data/a.parquet", people(range(5), range(7, 9)))
    found = lake.discover()
    assert (found.total, found.expired, found.due) == (5 + 2 + 2, 7, 7)
    assert lake.store.survey(lake.work, NO_HOLDS).due == 7
    source = lake.store.candidates_source(lake.work, found)
    assert sum(row.records for row in source.rows) == 7
    tally = lake.erase(found)
    assert (tally.erased, tally.total, tally.rows_with) == (7, 7, 2)
    assert len(lake.outcomes(found)) == 7
    assert len(lake.everything()["data/a.parquet"]) == 1
    if key:
        assert set(lake.outcomes(found)) == {record_key((n,)) for n in range(7)}


def test_the_old_copy_of_a_record_that_was_renewed_goes_and_its_outcome_is_that(lake: Lake) -> None:
    """Promise 5: to say that it was erased would be false. Promise 8: that nothing is due would be, too."""
    lake.put("data/a.parquet", people(range(5)))
    lake.put("data/a.parquet", people(range(3), range(3, 5)))
    found = lake.discover()
    assert (found.total, found.expired, found.due) == (5, 5, 5)
    tally = lake.erase(found)
    assert (tally.erased, tally.renewed, tally.total) == (3, 2, 5)
    renewed = {key for key, outcome in lake.outcomes(found).items() if outcome is Outcome.RENEWED}
    assert renewed == {record_key((3,)), record_key((4,))}
    assert lake.ids("data/a.parquet") == [3, 4]
    assert len(lake.everything()["data/a.parquet"]) == 1
    assert due(lake) == 0


def test_a_copy_is_no_second_record_where_a_hold_comes_between(lake: Lake) -> None:
    for _ in range(2):
        lake.put("data/a.parquet", people(range(5)))
    found = lake.discover()
    assert found.due == 5
    tally = lake.erase(found, Gate(rules(hold(2, email=["person3@example.org"]))))
    assert (tally.erased, tally.held, tally.total) == (4, 1, 5)
    assert lake.outcomes(found)[record_key((3,))] is Outcome.HELD
    assert lake.ids("data/a.parquet") == [3]


def test_a_held_row_that_only_an_old_version_has_keeps_that_version(lake: Lake) -> None:
    lake.put("data/a.parquet", people(range(5), range(5, 9)))
    lake.put("data/a.parquet", people(kept=range(5, 9)))
    held = rules(hold(1, email=["person3@example.org"]))
    before = lake.everything()["data/a.parquet"]
    found = lake.discover(held)
    assert (found.expired, found.held, found.due, found.batches) == (5, 5, 0, 0)
    assert lake.erase(found, Gate(held)) == Became()
    assert lake.everything()["data/a.parquet"] == before
    # Placed only after discovery: the same.
    lake.run = "run-2"
    free = lake.discover()
    assert free.due == 5
    tally = lake.erase(free, Gate(held))
    assert (tally.erased, tally.held) == (0, 5)
    assert lake.everything()["data/a.parquet"] == before


def test_a_held_row_that_the_current_version_has_too_does_not_keep_the_old_one(lake: Lake) -> None:
    """What a rewriting leaves that died before it removed the old version is finished by any later run."""
    held = rules(hold(1, email=["person3@example.org"]))
    lake.put("data/a.parquet", people(range(5), range(5, 9)))
    lake.put("data/a.parquet", people([3], range(5, 9)))
    found = lake.discover(held)
    assert (found.held, found.due) == (1, 4)
    assert lake.erase(found, Gate(held)).erased == 4
    assert len(lake.everything()["data/a.parquet"]) == 1
    assert lake.ids("data/a.parquet") == [3, *range(5, 9)]


def test_an_old_version_that_stays_does_not_become_current_again(lake: Lake) -> None:
    lake.put("data/a.parquet", people(kept=range(5, 9)))
    lake.put("data/a.parquet", people(range(5)))
    assert lake.both().erased == 5
    versions = lake.everything()["data/a.parquet"]
    assert [marker for _, marker in versions] == [True, False]
    assert pq.read_table(io.BytesIO(lake.body("data/a.parquet", versions[1][0])))["id"].to_pylist() == [5, 6, 7, 8]


def test_a_version_from_before_versioning_goes_too(s3: EmbeddedS3) -> None:
    lake = Lake.make(s3, versioned=False)
    lake.put("data/a.parquet", people(range(5), range(5, 9)))
    lake.put("data/old.parquet", people(range(10, 15)))
    lake.client.put_bucket_versioning(Bucket=lake.bucket, VersioningConfiguration={"Status": "Enabled"})
    assert lake.both().erased == 10
    after = lake.everything()
    assert len(after["data/a.parquet"]) == 1
    assert "data/old.parquet" not in after
    assert lake.ids("data/a.parquet") == list(range(5, 9))


def test_a_bucket_whose_versioning_was_suspended(s3: EmbeddedS3) -> None:
    lake = Lake.make(s3)
    lake.put("data/a.parquet", people(range(5)))
    lake.client.put_bucket_versioning(Bucket=lake.bucket, VersioningConfiguration={"Status": "Suspended"})
    lake.put("data/b.parquet", people(range(10, 15), range(15, 19)))
    lake.put("data/c.parquet", people(range(20, 25)))
    assert lake.both().erased == 15
    after = lake.everything()
    assert [key for key in after if key.startswith("data/")] == ["data/b.parquet"]
    assert len(after["data/b.parquet"]) == 1
    assert lake.ids("data/b.parquet") == list(range(15, 19))


# --- changes underneath --------------------------------------------------------------------------------------------


def test_a_file_that_changed_is_left_alone(any_lake: Lake) -> None:
    """Promise 4: its candidates are renewed, and what is due in it is seen afterwards."""
    lake = any_lake
    lake.put("data/a.parquet", people(range(5), range(5, 9)))
    lake.put("data/b.parquet", people(range(10, 15), range(15, 19)))
    found = lake.discover()
    lake.put("data/a.parquet", people(range(6), range(6, 9)))
    tally = lake.erase(found)
    assert (tally.erased, tally.renewed) == (5, 5)
    assert lake.ids("data/a.parquet") == list(range(9))
    assert due(lake) >= 6
    lake.run = "run-2"
    lake.fields = {"key": []}
    lake.both()
    assert due(lake) == 0
    assert lake.ids("data/a.parquet") == [6, 7, 8]


def test_a_file_that_changes_after_it_was_prepared_is_left_alone(any_lake: Lake) -> None:
    lake = any_lake
    lake.put("data/a.parquet", people(range(5), range(5, 9)))
    found = lake.discover()

    def change(leases: int) -> None:
        if not leases:
            lake.put("data/a.parquet", people(range(7)))

    gate = Gate()
    gate.before = change
    tally = lake.erase(found, gate)
    assert (tally.erased, tally.renewed) == (0, 5)
    assert lake.ids("data/a.parquet") == list(range(7))


def test_a_file_that_somebody_else_removed_is_gone(lake: Lake) -> None:
    version = lake.put("data/a.parquet", people(range(5), range(5, 9)))
    found = lake.discover()
    lake.client.delete_object(Bucket=lake.bucket, Key="data/a.parquet", VersionId=version)
    tally = lake.erase(found)
    assert (tally.erased, tally.gone) == (0, 5)
    assert set(lake.outcomes(found).values()) == {Outcome.GONE}


# --- crashes -------------------------------------------------------------------------------------------------------


def _erase_and_die(
    connection: Connection, work: Work, candidates: Candidates, after: int, before: bool, put_bytes: int
) -> None:
    """Erase, and die before or after the n-th request that is sent to S3."""
    erasing.PUT_BYTES = put_bytes
    left = after

    def sent(**_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0 and before:
            os.kill(os.getpid(), signal.SIGKILL)

    def answered(**_: object) -> None:
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def dying(*arguments: Any, **options: Any) -> Any:
        client = make(*arguments, **options)
        client.meta.events.register("before-send.s3.*", sent)
        client.meta.events.register("after-call.s3.*", answered)
        return client

    make = S3Access._client
    S3Access._client = dying  # type: ignore[method-assign]
    FileStore(connection).erase(work, candidates, range(candidates.batches), Gate(lease_seconds=4.0))


def crash(lake: Lake, candidates: Candidates, after: int, *, before: bool, put_bytes: int) -> bool:
    """Erase in a process that is killed at its n-th request; whether it was."""
    connection = lake.server.connection("lake", lethe_scratch_bucket=lake.bucket)
    process = processes.Process(
        target=_erase_and_die, args=(connection, lake.work, candidates, after, before, put_bytes)
    )
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


@pytest.mark.parametrize("kind", ["versioned", "unversioned", "parts"])
@pytest.mark.slow
def test_a_kill_at_any_request_leaves_exact_outcomes(s3: EmbeddedS3, kind: str) -> None:
    """Promise 5: whatever was done before the kill is done once, told once, and finished by the next try."""
    died = 0
    for round_ in range(3):
        lake = Lake.make(s3, versioned=kind != "unversioned")
        lake.put("data/a.parquet", people(range(30), range(30, 50)))
        lake.put("data/b.parquet", people(range(100, 130)))
        lake.put("data/c.parquet", people(range(200, 230), range(230, 240)))
        found = lake.discover()
        put_bytes = 0 if kind == "parts" else 1 << 20
        for attempt in range(2):
            after = 6 + round_ * 6 + attempt * 3
            died += crash(lake, found, after, before=(round_ + attempt) % 2 == 0, put_bytes=put_bytes)
        tally = lake.erase(found)
        assert (tally.erased, tally.total) == (90, 90)
        assert lake.store.tally(lake.work, found) == tally
        assert lake.outcomes(found) == {
            record_key((n,)): Outcome.ERASED for n in [*range(30), *range(100, 130), *range(200, 230)]
        }
        assert lake.ids("data/a.parquet") == list(range(30, 50))
        assert lake.ids("data/c.parquet") == list(range(230, 240))
        lake.store.clean(lake.run, lake.dataset)
        after_all = lake.everything()
        assert {key: len(versions) for key, versions in after_all.items()} == {"data/a.parquet": 1, "data/c.parquet": 1}
        # An upload that nobody came to note has no parts, and so nothing of any record.
        for upload in lake.client.list_multipart_uploads(Bucket=lake.bucket).get("Uploads", ()):
            parts = lake.client.list_parts(Bucket=lake.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
            assert not parts.get("Parts")
    assert died > 3


def died_after_writing(lake: Lake, found: Any, gate: Gate) -> None:
    """Erase, but die after the new content was written and before the old version was removed."""

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(erasing.FileEraser, "_remove", dies)
        with pytest.raises(KeyboardInterrupt):
            lake.erase(found, gate)


def test_an_old_version_that_a_crash_left_is_removed_by_the_same_run(lake: Lake) -> None:
    lake.put("data/a.parquet", people(range(10), range(10, 15)))
    found = lake.discover()
    died_after_writing(lake, found, Gate())
    assert len(lake.everything()["data/a.parquet"]) == 2
    assert lake.erase(found).erased == 10
    assert len(lake.everything()["data/a.parquet"]) == 1


def test_an_old_version_that_a_crash_left_is_found_by_another_run(lake: Lake) -> None:
    lake.put("data/a.parquet", people(range(10), range(10, 15)))
    held = rules(hold(1, email=["person3@example.org"]))
    died_after_writing(lake, lake.discover(held), Gate(held))
    lake.store.clean(lake.run, lake.dataset)
    lake.run = "run-2"
    found = lake.discover(held)
    assert found.due == 9
    assert lake.erase(found, Gate(held)).erased == 9
    assert len(lake.everything()["data/a.parquet"]) == 1
    assert lake.ids("data/a.parquet") == [3, *range(10, 15)]


def test_a_hold_placed_after_a_crash_keeps_the_old_version(lake: Lake) -> None:
    """The row is gone from the new version, so the old one, which has it, must stay."""
    lake.put("data/a.parquet", people(range(10), range(10, 15)))
    found = lake.discover()
    died_after_writing(lake, found, Gate(lease_seconds=1.0))
    held = rules(hold(1, email=["person3@example.org"]))
    tally = lake.erase(found, Gate(held))
    assert (tally.erased, tally.held) == (0, 10)
    versions = lake.everything()["data/a.parquet"]
    assert len(versions) == 2
    assert 3 in lake.read("data/a.parquet", versions[1][0])["id"].to_pylist()


def test_uploads_that_a_crash_left_are_aborted_by_clean(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasing, "PUT_BYTES", 0)
    lake.put("data/a.parquet", people(range(10), range(10, 15)))
    found = lake.discover()

    def dies(*_: Any) -> bool:
        raise KeyboardInterrupt

    # Twice before an intent, so that both tries are the first attempt, and once after it.
    places: list[tuple[type, str]] = [*[(attempts.Attempt, "dumps")] * 2, (erasing.FileEraser, "_send")]
    for place, name in places:
        with monkeypatch.context() as patch:
            patch.setattr(uploads.Upload, "end", lambda *_: None)
            patch.setattr(place, name, dies)
            with pytest.raises(KeyboardInterrupt):
                lake.erase(found)
    assert len(lake.client.list_multipart_uploads(Bucket=lake.bucket).get("Uploads", ())) == 3
    other = lake.client.create_multipart_upload(Bucket=lake.bucket, Key="data/a.parquet")["UploadId"]
    lake.store.clean(lake.run, lake.dataset)
    left = lake.client.list_multipart_uploads(Bucket=lake.bucket).get("Uploads", ())
    assert [upload["UploadId"] for upload in left] == [other]
    assert list(lake.everything()) == ["data/a.parquet"]


def test_settling_takes_one_request_where_no_upload_is_noted(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each hold that is placed settles: it must not cost more with every run that has staged something."""
    lake.put("data/a.parquet", people(range(10), range(10, 15)))
    for lake.run in ("run-1", "run-2", "run-3"):
        lake.discover()
    sent: list[str] = []
    bounded = lake.store._access.bounded
    for client in (bounded, lake.store._access.client):
        client.meta.events.register("before-send.s3", lambda request, **_: sent.append(request.url))
    lake.store.settle([lake.dataset], 10)
    assert len(sent) == 1


# --- memory, time, checks ------------------------------------------------------------------------------------------


def test_statistics_spare_reading_files_that_stay(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.put("data/a.parquet", encoded(people(kept=range(60_000)), row_group_size=10_000))
    read: list[int] = []
    real = pq.ParquetFile.iter_batches

    def watched(self: Any, *args: Any, **options: Any) -> Iterator[Any]:
        read.append(1)
        return real(self, *args, **options)  # type: ignore[no-any-return]

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    assert lake.discover().total == 60_000
    assert not read


def test_files_whose_key_shows_that_they_are_unexpired_are_not_opened_further(lake: Lake) -> None:
    lake.fields = {"partition_clock": r"/date=(?P<value>[0-9-]{10})/"}
    # Without statistics nothing shows that the rows contradict the key, which shows that they are not read.
    lake.put("data/date=2025-01-02/a.parquet", encoded(people(range(5)), write_statistics=False))
    lake.put("data/date=2024-06-01/a.parquet", people(range(5)))
    lake.put("data/date=rubbish/a.parquet", people(range(5)))
    found = lake.discover()
    assert (found.total, found.due) == (15, 10)


PARTITIONS = {
    "country": "/country=(?P<value>[^/]+)/",
    "month": "/year=(?P<year>[0-9]+)/month=(?P<month>[0-9]+)/",
}


def test_rows_go_by_columns_that_only_the_keys_of_their_files_say(lake: Lake) -> None:
    lake.fields = {
        "path_columns": PARTITIONS,
        "clock": {"column": "month"},
        "where": [{"column": "country", "in": ["CZ"]}],
        "key": ["country", "id"],
    }
    rows = people(range(3)).drop_columns(["at", "state"])
    for key in ("country=CZ/year=2024/month=12", "country=CZ/year=2025/month=1", "country=DE/year=2024/month=12"):
        lake.put(f"data/{key}/a.parquet", rows)
    lake.put("data/country=CZ/lost.parquet", rows)
    assert {problem.field for problem in lake.store.check(lake.dataset)} == {"path_columns"}
    held = rules(hold(email=["person1@example.org"]))
    found = lake.discover(held)
    assert (found.total, found.due, found.held, found.oldest) == (9, 2, 1, date(2024, 12, 31))
    assert found.unjudgeable == {Unjudgeable.UNREADABLE: 3}
    source = lake.store.candidates_source(lake.work, found)
    assert [(row.clock, row.cutoff, row.records) for row in source.rows] == [(date(2024, 12, 31), date(2025, 1, 1), 2)]
    assert lake.erase(found, Gate(rules(*held.rules, hold(2, email=["person2@example.org"])))).erased == 1
    assert lake.ids("data/country=CZ/year=2024/month=12/a.parquet") == [1, 2]
    assert lake.ids("data/country=CZ/year=2025/month=1/a.parquet") == [0, 1, 2]
    assert lake.outcomes(found) == {record_key(("CZ", 0)): Outcome.ERASED, record_key(("CZ", 2)): Outcome.HELD}


def test_what_is_wrong_with_columns_of_the_path_is_said_before(lake: Lake) -> None:
    lake.put("data/country=CZ/at=2024-01-01/a.parquet", people(range(3)).drop_columns(["at"]))
    lake.fields = {"where": [{"column": "country", "in": ["CZ"]}]}
    told = {problem.field: problem.message for problem in lake.store.check(lake.dataset)}
    assert "but in their keys: write path_columns: {country: '/country=(?P<value>[^/]+)/'}" in told["where"]
    assert "path_columns: {at:" in told["clock.column"]
    at, lost = "/at=(?P<value>[^/]+)/", "/of=(?P<value>[^/]+)/"
    for wrong, field in (
        ({"path_columns": {"at": at}}, "clock.format"),
        ({"path_columns": {"at": at, "id": lost}, "clock": {"column": "at", "format": "iso8601"}}, "path_columns.id"),
        ({"path_columns": {"at": at, "of": lost}, "clock": {"column": "at", "format": "iso8601"}}, "path_columns"),
    ):
        lake.fields = wrong
        assert field in {problem.field for problem in lake.store.check(lake.dataset)}
    lake.fields = {"path_columns": {"at": at}, "clock": {"column": "at", "format": "iso8601"}}
    assert lake.store.check(lake.dataset) == []


def test_a_date_of_less_than_a_day_that_spares_files_counts_from_its_first_day(lake: Lake) -> None:
    """A file that it spares is not looked at: what may have expired has to be opened."""
    lake.fields = {"partition_clock": "/(?P<year>[0-9]{4})-(?P<month>[0-9]{2})/"}
    body = encoded(people(range(2)), write_statistics=False)
    for month in ("2024-12", "2025-01", "2025-02"):
        lake.put(f"data/{month}/a.parquet", people() if month == "2024-12" else body)
    with pytest.raises(StoreError, match="correct partition_clock"):  # 2024-12-31 is not spared, and shows the error
        lake.discover()


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("day", ["2025-01-02", "2024-06-03"])
def test_a_date_in_a_key_that_a_file_proves_wrong_ends_in_one_message(lake: Lake, day: str, statistics: bool) -> None:
    """Promise 3: where the dates in keys are wrong, files that are left out may have expired rows."""
    lake.fields = {"partition_clock": r"/date=(?P<value>[0-9-]{10})/"}
    lake.put(f"data/date={day}/secret.parquet", encoded(people(range(5)), write_statistics=statistics))
    if day == "2025-01-02" and not statistics:
        assert lake.discover().due == 0  # such a file is not read, and its footer says nothing
        return
    with pytest.raises(StoreError, match=r"before the date in its key.*correct partition_clock") as caught:
        lake.discover()
    assert "secret" not in str(caught.value)


def test_only_needed_columns_are_read_for_judging(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.fields = {"key": []}
    lake.put("data/a.parquet", people(range(5), range(5, 9)))
    columns: list[list[str]] = []
    real = pq.ParquetFile.iter_batches

    def watched(self: Any, *args: Any, **options: Any) -> Iterator[Any]:
        columns.append(options["columns"])
        return real(self, *args, **options)  # type: ignore[no-any-return]

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    lake.discover()
    assert columns == [["at"]]


TABLES = {
    "Delta Lake": "_delta_log/00000000000000000000.json",
    "Hudi": ".hoodie/hoodie.properties",
    "Iceberg": "metadata/v3.metadata.json",
    "Spark": "_spark_metadata/0",
    "summary": "_metadata",
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("where", ["", "data/", "data/lake/secret/"])
def test_a_table_of_a_table_format_is_not_rewritten_in_place(lake: Lake, kind: str, where: str) -> None:
    """Promise 10: its log knows its files by name and size, so that the table would be corrupt."""
    lake.put(f"data/lake/secret/{'data/' if kind == 'Iceberg' else ''}a.parquet", people(range(5)))
    lake.put(where + TABLES[kind], b"{}")
    problems = [problem for problem in lake.store.check(lake.dataset) if kind in problem.message]
    if where != "data/lake/secret/":
        assert [problem.field for problem in problems] == ["prefix"]
    if where:
        before = lake.everything()
        with pytest.raises(StoreError, match=rf"{kind}.*name a prefix that has none") as caught:
            lake.discover()
        assert "secret" not in str(caught.value)
        assert {key for key in lake.everything() if not key.startswith("_lethe/")} == before.keys()


def test_a_table_that_is_no_more_is_no_table(lake: Lake) -> None:
    lake.put("data/a.parquet", people(range(5)))
    lake.put("data/_delta_log/00000000000000000000.json", b"{}")
    lake.client.delete_object(Bucket=lake.bucket, Key="data/_delta_log/00000000000000000000.json")
    assert lake.store.check(lake.dataset) == []
    assert lake.discover().due == 5


def test_a_file_that_says_it_is_of_a_table_is_refused(lake: Lake) -> None:
    schema = people(range(5)).replace_schema_metadata({"iceberg.schema": "{}"})
    lake.put("data/a.parquet", schema)
    with pytest.raises(StoreError, match="belongs to an Iceberg table"):
        lake.discover()


def test_check_names_what_is_wrong(lake: Lake) -> None:
    assert lake.store.check(lake.dataset) == []
    lake.put("data/a.parquet", people(range(5)))
    assert lake.store.check(lake.dataset) == []
    lake.fields = {
        "clock": {"latest_of": ["email", "at", "none"]},
        "identifiers": {"email": ["mail"]},
        "key": ["nr"],
        "where": [{"column": "country", "in": ["CZ"]}],
    }
    problems = {problem.field: problem.message for problem in lake.store.check(lake.dataset)}
    assert set(problems) == {"clock.latest_of", "identifiers.email", "key", "where"}
    lake.put("data/a.parquet", b"rubbish")
    assert [problem.field for problem in lake.store.check(lake.dataset)] == ["prefix"]


def test_a_bucket_that_keeps_what_is_staged_or_that_no_machine_deletes_from_is_refused(
    s3: EmbeddedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake.make(s3, lock=True)
    retention: Any = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
    lake.client.put_object_lock_configuration(Bucket=lake.bucket, ObjectLockConfiguration=retention)
    store = FileStore(s3.connection("lake"))
    (problem,) = store.check(lake.dataset)
    assert "default retention" in problem.message
    assert "lethe_scratch_bucket" in problem.message
    mfa = {"Status": "Enabled", "MFADelete": "Enabled"}  # which only a root user can turn on
    monkeypatch.setattr(store._access.client, "get_bucket_versioning", lambda **_: mfa)
    assert any("MFA delete" in one.message for one in store.check(lake.dataset))


def test_a_bucket_that_is_not_there_ends_in_one_message(lake: Lake) -> None:
    lake.fields = {"bucket": "no-such-bucket-anywhere"}
    with pytest.raises(StoreError, match="no such bucket"):
        lake.store.survey(lake.work, NO_HOLDS)


def test_describe(lake: Lake) -> None:
    lake.put("data/a.parquet", people(range(5)))
    described = lake.store.describe(lake.dataset)
    assert (described.namespace, described.name) == (f"s3://{lake.bucket}", "data/")
    assert described.fields[1].type == "timestamp[us, tz=UTC]"


def test_by_value(lake: Lake) -> None:
    from lethe.periods import Cutoff

    lake.put("data/a.parquet", people(range(10), range(10, 12)))
    work = replace(
        lake.work,
        expiry=expiry(
            default=None, column="state", by_value={"open": Cutoff(date(2020, 1, 1), OLD - timedelta(days=999))}
        ),
    )
    found = lake.discover(work=work)
    assert found.due == 0
    assert found.unjudgeable == {Unjudgeable.NO_PERIOD: 11}


def test_nothing_is_read_and_little_is_sent_within_a_lease_however_large_the_file_is(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Holds that are being placed wait for leases: a file is fetched, rewritten and uploaded before one is taken."""
    lake.put("data/a.parquet", people(range(0, 200_000, 2), range(1, 200_000, 2)))
    assert len(lake.body("data/a.parquet")) > 4 * erasing.PUT_BYTES
    gate = Gate()
    sent: list[tuple[str, int]] = []
    make = type(lake.store._access)._client

    def watched(*args: Any, **options: Any) -> Any:
        client = make(*args, **options)
        client.meta.events.register("before-send.s3", note)
        return client

    def note(request: Any, **_: Any) -> None:
        if gate.out:
            sent.append((request.method, int(request.headers.get("Content-Length", 0))))

    monkeypatch.setattr(type(lake.store._access), "_client", watched)
    lake.store = Lake.open(lake.server, lake.bucket)
    assert lake.erase(lake.discover(), gate).erased == 100_000
    assert [method for method, _ in sent] == ["PUT", "POST", "POST"], "intent, completing, old version"
    assert sum(size for _, size in sent) < 10_000


def test_nothing_of_a_row_is_in_errors(lake: Lake) -> None:
    """Promise 6: neither keys of objects nor values."""
    lake.put("data/person3@example.org.parquet", people(range(5), range(5, 9)))
    found = lake.discover()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(erasing.FileEraser, "_rewrite", lambda *_: (_ for _ in ()).throw(NotRewritable("for the test")))
        assert lake.erase(found).blocked == 5
    (kept_by,) = lake.store.kept_by(lake.work, found)
    assert "person3" not in kept_by
    assert name_digest("data/person3@example.org.parquet") in kept_by
    assert os.environ.get("LETHE_NEVER") is None
    assert pc.sum(lake.read("data/person3@example.org.parquet")["id"]).as_py() == 36


MEASURED = """
import json, sys
from pathlib import Path
from lethe.connections import Connection
from lethe.policy import ParquetDataset
from lethe.stores.base import Work
from lethe.stores.files.store import FileStore
from lethe.holds.rules import NO_HOLDS
from tests.stores.parquet_kit import AS_OF, Gate, expiry

given = json.loads(sys.argv[1])
store = FileStore(Connection(**given["connection"]))
work = Work("run-1", "analytics", ParquetDataset.model_validate(given["dataset"]), expiry(), AS_OF)
found = store.discover(work, NO_HOLDS)
tally = store.erase(work, found, range(found.batches), Gate())
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(tally.erased, int(peak.split()[1]) * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_bounded_whatever_the_size_of_a_row_group(lake: Lake) -> None:
    """Promise 9: a million rows, a gigabyte as values, in one row group."""
    rows = 1_000_000
    numbers = pa.array(range(rows), pa.int64())
    text = numbers.cast(pa.string())
    table = pa.table(
        {
            "id": numbers,
            "at": pa.array([OLD, NEW] * (rows // 2), pa.timestamp("us", tz="UTC")),
            "email": pc.binary_join_element_wise("person", text, "@example.org", ""),
            "text": pc.utf8_lpad(text.cast(pa.large_string()), 1000),
        }
    )
    body = encoded(table, compression="zstd", use_dictionary=False, row_group_size=rows)
    del table, text, numbers
    lake.fields = {"identifiers": {"email": ["email"]}}
    lake.put("data/large.parquet", body)
    connection = lake.server.connection("lake", lethe_scratch_bucket=lake.bucket)
    names = ("conn_id", "conn_type", "login", "password", "extra")
    given = {
        "connection": {name: getattr(connection, name) for name in names},
        "dataset": lake.dataset.model_dump(mode="json", by_alias=True, exclude_none=True),
    }
    command = [sys.executable, "-c", MEASURED, json.dumps(given)]
    erased, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert int(erased) == rows // 2
    assert int(peak) < 1_000_000_000


def test_two_processes_at_the_same_batch_do_it_once(any_lake: Lake) -> None:
    """Promise 7: a cleared task whose process still runs, and its second try."""
    from concurrent.futures import ThreadPoolExecutor

    lake = any_lake
    for number in range(6):
        first = number * 100
        lake.put(f"data/{number}.parquet", people(range(first, first + 20), range(first + 20, first + 20 + number % 3)))
    found = lake.discover()

    def erase(_: int) -> Became:
        store = Lake.open(lake.server, lake.bucket)
        return store.erase(lake.work, found, range(found.batches), Gate())

    with ThreadPoolExecutor(3) as pool:
        tallies = list(pool.map(erase, range(3)))
    assert all(tally == tallies[0] for tally in tallies)
    assert (tallies[0].erased, tallies[0].total) == (120, 120)
    assert lake.store.tally(lake.work, found) == tallies[0]
    assert due(lake) == 0


@pytest.mark.parametrize("stays", [0, 5], ids=["deleted", "rewritten"])
def test_what_another_process_erases_between_two_looks_was_not_gone_before(
    any_lake: Lake, stays: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 7: a process counts what another one erased under its eyes, and did not come to record."""
    lake = any_lake
    lake.put("data/a.parquet", people(range(20), range(20, 20 + stays)))
    found = lake.discover()
    look, end = erasing.FileEraser._look, erasing.FileEraser._end

    def overtaken(self: erasing.FileEraser, *arguments: Any) -> Any:
        def die(faster: erasing.FileEraser, *given: Any) -> Became:
            if faster is self:
                return end(faster, *given)
            raise RunError("killed")

        monkeypatch.setattr(erasing.FileEraser, "_look", look)
        monkeypatch.setattr(erasing.FileEraser, "_end", die)
        with pytest.raises(RunError, match="killed"):
            Lake.open(lake.server, lake.bucket).erase(lake.work, found, range(found.batches), Gate())
        return look(self, *arguments)

    monkeypatch.setattr(erasing.FileEraser, "_look", overtaken)
    assert lake.erase(found) == lake.store.tally(lake.work, found)
    assert (lake.store.tally(lake.work, found).erased, lake.store.tally(lake.work, found).total) == (20, 20)


HELD = rules(hold(email="person3@example.org"))
RELEASED = HoldRules(2, ())


def require_recorded_as_it_is(lake: Lake, found: Candidates) -> None:
    """What is recorded as erased is gone, and what is recorded as held is there."""
    there = set(lake.ids("data/a.parquet")) if "data/a.parquet" in lake.everything() else set()
    recorded = lake.outcomes(found)
    assert len(recorded) == found.due
    for number in {*there, *range(3, 23)}:
        outcome = recorded.get(record_key((number,)))
        assert outcome is None or (number in there) == (outcome is Outcome.HELD), (number, outcome)
    tally = lake.store.tally(lake.work, found)
    assert tally.outcomes == {outcome: list(recorded.values()).count(outcome) for outcome in Outcome}


@pytest.mark.parametrize("stays", [0, 5], ids=["deleted", "rewritten"])
@pytest.mark.parametrize("rows", [20, 1], ids=["some held", "all held"])
def test_a_release_between_two_processes_at_a_batch_is_recorded_as_it_came_out(
    any_files: Lake, stays: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 5: one has found rows held and not said so yet, the other erases them and dies before it says so."""
    lake = any_files
    lake.put("data/a.parquet", people(range(3, 3 + rows), range(100, 100 + stays)))
    found = lake.discover()
    end = erasing.FileEraser._end

    def overtaken(self: erasing.FileEraser, *arguments: Any) -> Became:
        def die(_: erasing.FileEraser, __: Any, futures: Any, *___: Any) -> Became:
            for future in futures:
                future.result()
            raise RunError("killed")

        monkeypatch.setattr(erasing.FileEraser, "_end", die)
        with pytest.raises(RunError, match="killed"):
            Lake.open(lake.server, lake.bucket).erase(lake.work, found, range(found.batches), Gate(RELEASED))
        monkeypatch.setattr(erasing.FileEraser, "_end", end)
        return end(self, *arguments)

    monkeypatch.setattr(erasing.FileEraser, "_end", overtaken)
    lake.erase(found, Gate(HELD))
    require_recorded_as_it_is(lake, found)


@pytest.mark.parametrize("stays", [0, 5], ids=["deleted", "rewritten"])
@pytest.mark.parametrize("rows", [20, 1], ids=["some held", "all held"])
def test_who_was_stopped_before_it_sends_sends_nothing_once_rows_are_recorded_as_held(
    any_files: Lake, stays: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 5: it judged after the release; the other judged before, and has recorded the batch meanwhile."""
    lake = any_files
    lake.put("data/a.parquet", people(range(3, 3 + rows), range(100, 100 + stays)))
    found = lake.discover()
    send = erasing.FileEraser._send_under_lease

    def overtaken(self: erasing.FileEraser, *arguments: Any) -> Any:
        monkeypatch.setattr(erasing.FileEraser, "_send_under_lease", send)
        Lake.open(lake.server, lake.bucket).erase(lake.work, found, range(found.batches), Gate(HELD))
        return send(self, *arguments)

    monkeypatch.setattr(erasing.FileEraser, "_send_under_lease", overtaken)
    lake.erase(found, Gate(RELEASED))
    require_recorded_as_it_is(lake, found)


def test_a_discovery_that_another_try_has_overtaken_takes_nothing_of_it_away(any_files: Lake) -> None:
    """Promise 5: its process was stopped while the next try discovered and erased, and wakes."""
    lake = any_files
    lake.put("data/a.parquet", people(range(20), range(20, 25)))
    faster = Lake.open(lake.server, lake.bucket)
    found: list[Candidates] = []

    def overtake() -> None:
        found.append(faster.discover(lake.work, NO_HOLDS))
        faster.erase(lake.work, found[0], range(found[0].batches), Gate())

    with pytest.raises(StoreUnavailable, match="another process has discovered dataset views meanwhile"):
        lake.discover(meanwhile(overtake))
    assert lake.store.tally(lake.work, found[0]) == Became(erased=20, bytes=faster.tally(lake.work, found[0]).bytes)
    assert lake.discover() == found[0], "what was begun is what there is"
    assert len(lake.outcomes(found[0])) == 20


def test_who_was_stopped_before_erasing_erases_nothing_once_another_has_discovered_anew(lake: Lake) -> None:
    lake.put("data/a.parquet", people(range(20)))
    late = lake.discover()
    now = lake.discover()
    assert (late.digest, late.due) == (now.digest, now.due)
    with pytest.raises(DatasetChanged, match="discover again"):
        lake.erase(late)
    assert lake.erase(now).erased == 20


def test_parts_of_uploads_that_others_never_completed_are_named(lake: Lake) -> None:
    lake.client.create_multipart_upload(Bucket=lake.bucket, Key="data/a.parquet")
    assert lake.store.remainders(lake.work) == (), "it is younger than the cutoff, and may go on"
    later = Cutoff(date(2100, 1, 1), start_of_day(date(2100, 1, 1), PRAGUE))
    (remainder,) = lake.store.remainders(replace(lake.work, expiry=expiry(default=later)))
    assert remainder.what.startswith("parts of 1 uploads")
