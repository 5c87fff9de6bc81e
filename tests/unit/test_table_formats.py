"""Refuse first: keys that show their folder to be a table of a table format, and keys that do not."""

from __future__ import annotations

import pytest

from lethe.stores.buckets.table_formats import mark_in

SHOWN = {
    "lake/t/_delta_log/00000000000000000000.json": "Delta Lake",
    "_delta_log/_last_checkpoint": "Delta Lake",
    "t/_delta_log/": "Delta Lake",
    "t/.hoodie/hoodie.properties": "Hudi",
    "t/country=CZ/.hoodie_partition_metadata": "Hudi",
    "t/country=CZ/.hoodie_partition_metadata.parquet": "Hudi",
    "t/metadata/v3.metadata.json": "Iceberg",
    "t/metadata/00001-aa.gz.metadata.json": "Iceberg",
    "t/metadata/v3.metadata.json.gz": "Iceberg",
    "t/metadata/version-hint.text": "Iceberg",
    "t/metadata/snap-1-2-aa.avro": "Iceberg",
    "t/_spark_metadata/0": "Spark",
    "t/_metadata": "summary",
}
ORDINARY = (
    "t/a.parquet",
    "t/_common_metadata",
    "t/_SUCCESS",
    "t/metadata/a.parquet",
    "t/my_delta_log/0.json",
    "t/a_metadata",
)


@pytest.mark.parametrize("key", SHOWN)
def test_what_a_key_shows(key: str) -> None:
    assert SHOWN[key] in (mark_in(key, summaries=True) or "")


@pytest.mark.parametrize("key", ORDINARY)
def test_ordinary_keys_show_nothing(key: str) -> None:
    assert mark_in(key, summaries=True) is None


def test_among_whole_objects_a_summary_is_a_name_like_any() -> None:
    assert mark_in("t/_metadata", summaries=False) is None
