"""What a retention policy can say: one YAML file per category of the schedule.

These models are the policy language. They are strict (unknown fields are refused), immutable and free of I/O, except
for `loading`, which reads files. `python -m lethe.policy` prints the JSON Schema that editors use. `rules` has the
policy itself and its retention rule, `datasets` the kinds of data, `clocks`, `conditions`, `masks` and `related` what
is said of a dataset's records.
"""

from __future__ import annotations

from lethe.policy.changes import Change, changes, newly_erasing
from lethe.policy.clocks import ColumnClock, DatePattern, KeyPattern, MissingClock, ObjectAttribute, ObjectClock
from lethe.policy.conditions import Condition
from lethe.policy.datasets import (
    BucketDataset,
    ChildTable,
    Dataset,
    DatasetBase,
    FilesDataset,
    JsonLinesDataset,
    ObjectDataset,
    ParquetDataset,
    RowDataset,
    TableDataset,
)
from lethe.policy.fields import (
    Calendar,
    Column,
    Columns,
    Cron,
    Identifiers,
    Model,
    Name,
    PeriodField,
    Region,
    TableName,
    TimeZone,
    WholeNumber,
    name_parts,
)
from lethe.policy.loading import json_schema, load, load_all, load_beside, load_each, parse, policy_files, policy_of
from lethe.policy.masks import Mask, MaskKind
from lethe.policy.on_request import OnRequest, RequestKind
from lethe.policy.overlaps import exclude_each_other, may_overlap, overlaps, undercut
from lethe.policy.related import MissingRelated, Related, RelatedRows, split_column, way_to_related
from lethe.policy.rules import (
    ON_REQUEST,
    CountedFrom,
    Disposition,
    Expiry,
    Limits,
    PeriodsByValue,
    Policy,
    Retention,
)
from lethe.policy.suppression import Suppression

__all__ = [
    "ON_REQUEST",
    "BucketDataset",
    "Calendar",
    "Change",
    "ChildTable",
    "Column",
    "ColumnClock",
    "Columns",
    "Condition",
    "CountedFrom",
    "Cron",
    "Dataset",
    "DatasetBase",
    "DatePattern",
    "Disposition",
    "Expiry",
    "FilesDataset",
    "Identifiers",
    "JsonLinesDataset",
    "KeyPattern",
    "Limits",
    "Mask",
    "MaskKind",
    "MissingClock",
    "MissingRelated",
    "Model",
    "Name",
    "ObjectAttribute",
    "ObjectClock",
    "ObjectDataset",
    "OnRequest",
    "ParquetDataset",
    "PeriodField",
    "PeriodsByValue",
    "Policy",
    "Region",
    "Related",
    "RelatedRows",
    "RequestKind",
    "Retention",
    "RowDataset",
    "Suppression",
    "TableDataset",
    "TableName",
    "TimeZone",
    "WholeNumber",
    "changes",
    "exclude_each_other",
    "json_schema",
    "load",
    "load_all",
    "load_beside",
    "load_each",
    "may_overlap",
    "name_parts",
    "newly_erasing",
    "overlaps",
    "parse",
    "policy_files",
    "policy_of",
    "split_column",
    "undercut",
    "way_to_related",
]
