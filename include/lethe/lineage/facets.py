"""Our own OpenLineage facets, as classes of OpenLineage's client. `schema.json` beside this file defines them.

Field names are those of the JSON, in OpenLineage's spelling.
"""

# ruff: noqa: N815
from __future__ import annotations

from typing import ClassVar

import attr
from openlineage.client.facet_v2 import DatasetFacet, RunFacet

from lethe.counts import Outcome

SCHEMA_ID = "https://lethe.example/spec/lineage/1-0-0/retention.json"
"""The id of `schema.json`: a name. `.example` is reserved (RFC 2606), so nobody else can ever answer for it."""

PRODUCER = "https://lethe.example/"
"""Who says so."""


@attr.define
class LetheRetentionRunFacet(RunFacet):  # type: ignore[misc]
    """The run of a retention policy that a task belongs to."""

    run: str
    stage: str
    category: str
    asOf: str
    cutoff: str
    policyDigest: str
    dryRun: bool
    _producer: str = attr.field(default=PRODUCER, kw_only=True)
    _additional_skip_redact: ClassVar[list[str]] = ["run", "stage", "category", "asOf", "cutoff", "policyDigest"]

    @staticmethod
    def _get_schema() -> str:
        return f"{SCHEMA_ID}#/$defs/LetheRetentionRunFacet"


OUTCOMES = {outcome: "heldSince" if outcome is Outcome.HELD else outcome.value for outcome in Outcome}
"""The fields of outcomes."""


@attr.define
class _DatasetFacet(DatasetFacet):  # type: ignore[misc]
    """What one run found and did in a dataset, in records. What a stage does not know is left out."""

    run: str
    stage: str
    category: str
    dataset: str
    cutoff: str
    policyDigest: str
    candidates: int | None = None
    candidatesDigest: str | None = None
    total: int | None = None
    expired: int | None = None
    held: int | None = None
    keptOn: int | None = None
    unjudgeable: dict[str, int] | None = None
    rowsAlong: int | None = None
    rowsWith: int | None = None
    bytesFreed: int | None = None
    left: int | None = None
    heldAfter: int | None = None
    unjudgeableAfter: dict[str, int] | None = None
    _producer: str = attr.field(default=PRODUCER, kw_only=True)
    _additional_skip_redact: ClassVar[list[str]] = [
        "run", "stage", "category", "dataset", "cutoff", "policyDigest", "candidatesDigest",
    ]  # fmt: skip

    @staticmethod
    def _get_schema() -> str:
        return f"{SCHEMA_ID}#/$defs/LetheRetentionDatasetFacet"


LetheRetentionDatasetFacet = attr.make_class(
    "LetheRetentionDatasetFacet",
    {name: attr.field(default=None, kw_only=True) for name in OUTCOMES.values()},
    bases=(_DatasetFacet,),
    slots=True,  # as its base: else what is pickled lacks them
)
LetheRetentionDatasetFacet.__doc__ = _DatasetFacet.__doc__
