"""Rows in files of JSON lines on a real S3: what the contract does not say, because only such files have it."""

from __future__ import annotations

import gzip
import json

import pytest
from tests.stores.parquet_kit import Gate, Lake, hold, rules

from lethe.counts import Outcome, Unjudgeable
from lethe.holds.rules import NO_HOLDS
from lethe.policy import Dataset, JsonLinesDataset
from lethe.stores.files.examine import name_digest
from lethe_demo.servers import EmbeddedS3

OLD, NEW = "2024-06-01T00:00:00Z", "2025-06-01T00:00:00Z"


class Lines(Lake):
    """A bucket with JSON lines."""

    @property
    def dataset(self) -> JsonLinesDataset:  # type: ignore[override]
        """Everything under ``data/``."""
        return JsonLinesDataset.model_validate(
            {
                "kind": "jsonlines",
                "name": "events",
                "store": "lake",
                "bucket": self.bucket,
                "prefix": "data/",
                "clock": {"column": "at", "format": "iso8601"},
                "identifiers": {"email": ["user.email"]},
                **self.fields,
            }
        )


@pytest.fixture(params=["versioned", "unversioned"])
def any_lake(s3: EmbeddedS3, request: pytest.FixtureRequest) -> Lines:
    made = Lines.make(s3, versioned=request.param == "versioned")
    assert isinstance(made, Lines)
    return made


@pytest.fixture
def lake(s3: EmbeddedS3) -> Lines:
    made = Lines.make(s3)
    assert isinstance(made, Lines)
    return made


def line(number: int, at: str | None, **more: object) -> bytes:
    return json.dumps({"id": number, "at": at, "user": {"email": f"p{number}@x.cz"}, **more}).encode() + b"\n"


def messages(lake: Lines, dataset: Dataset | None = None) -> list[str]:
    return [f"{one.field}: {one.message}" for one in lake.store.check(dataset or lake.dataset)]


def test_a_line_that_cannot_be_read_is_counted_named_and_stays(any_lake: Lines) -> None:
    broken = b"broken {\n" + b'{"at": "2020-01-01", "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"
    any_lake.put("data/a.jsonl", line(1, OLD) + broken + line(2, NEW) + line(3, None))
    any_lake.put("data/b.jsonl", line(4, NEW))
    assert messages(any_lake) == []
    survey = any_lake.store.survey(any_lake.work, NO_HOLDS)
    assert (survey.total, survey.due) == (6, 1)
    assert survey.unjudgeable == {Unjudgeable.UNREADABLE: 2, Unjudgeable.NO_CLOCK: 1}
    assert survey.unreadable == (name_digest("data/a.jsonl"),)
    assert any_lake.both().erased == 1
    assert any_lake.body("data/a.jsonl") == broken + line(2, NEW) + line(3, None)


def test_a_file_that_loses_its_last_row_goes_with_its_blank_lines(any_lake: Lines) -> None:
    any_lake.put("data/a.jsonl", b"\n" + line(1, OLD) + b"\n \n" + line(2, OLD))
    any_lake.put("data/empty.jsonl", b"")
    any_lake.put("data/blank.jsonl", b"\n\n")
    assert any_lake.both().erased == 2
    assert set(any_lake.everything()) & {"data/a.jsonl", "data/empty.jsonl", "data/blank.jsonl"} == {
        "data/empty.jsonl",
        "data/blank.jsonl",
    }


def test_a_row_of_a_superseded_version_is_known_again_by_its_line(lake: Lines) -> None:
    """Without a key: the same bytes are the same record; held ones are only elsewhere where they are these bytes."""
    lake.put("data/a.jsonl", line(1, OLD) + line(2, OLD) + line(3, NEW))
    lake.put("data/a.jsonl", line(2, OLD) + line(3, NEW))
    survey = lake.store.survey(lake.work, NO_HOLDS)
    assert (survey.total, survey.due) == (3, 2)
    held = rules(hold(email="p1@x.cz"))
    assert lake.store.survey(lake.work, held).held == 1
    assert lake.both().erased == 2
    assert lake.body("data/a.jsonl") == line(3, NEW)


def test_members_that_cannot_be_written_again_block_their_rows(any_lake: Lines) -> None:
    body = gzip.compress(line(1, OLD) + line(2, NEW))
    blocked = body[:3] + b"\x04" + body[4:10] + b"\x06\0BC\x02\0\x1b\0" + body[10:]
    any_lake.put("data/a.jsonl.gz", blocked)
    any_lake.put("data/b.jsonl.gz", gzip.compress(line(3, OLD) + line(4, NEW)))
    candidates = any_lake.discover()
    became = any_lake.erase(candidates, Gate(NO_HOLDS))
    assert (became.erased, became.blocked) == (1, 1)
    assert sorted(any_lake.outcomes(candidates).values()) == [Outcome.BLOCKED, Outcome.ERASED]
    assert "BGZF" in any_lake.store.kept_by(any_lake.work, candidates)[0]
    assert any_lake.body("data/a.jsonl.gz") == blocked


def test_checking_says_what_the_files_do_not_have(lake: Lines) -> None:
    lake.put("data/a.jsonl.gz", gzip.compress(line(1, OLD, aliases=["a"], tags=[{"by": "b"}]) * 3))
    assert messages(lake) == []
    lake.fields = {"identifiers": {"email": ["mail"], "account": ["aliases"], "person": ["user"]}, "key": ["tags"]}
    assert messages(lake) == [
        f"identifiers.email: there is no column 'mail' in the files of s3://{lake.bucket}/data/",
        f"identifiers.account: column 'aliases' is a list in files of s3://{lake.bucket}/data/: identifiers in one are "
        "named aliases[], or aliases[].name where it has objects",
        "identifiers.person: column 'user' is nested; name a column of single values",
        f"key: column 'tags' is a list in files of s3://{lake.bucket}/data/: identifiers in one are named tags[], or "
        "tags[].name where it has objects",
    ]
    lake.fields = {"identifiers": {"account": ["aliases[]", "tags[].by"]}}
    assert messages(lake) == []


def test_checking_refuses_files_of_another_format(lake: Lines) -> None:
    lake.put("data/a.json", json.dumps([{"at": OLD}], indent=1).encode())
    assert messages(lake) == [f"prefix: no file under s3://{lake.bucket}/data/ can be read as JSON lines"]
