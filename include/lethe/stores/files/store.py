"""Rows inside files on S3, whatever their format: what `stores.base.Store` asks for.

What counts, and what becomes of old versions, is said in `examine`; which rows stay in `judge`; what a format says in
`formats`; how erasing stays exact and under holds in `erase`. A batch is a group of files: it ends after about
`plan.BATCH_ROWS` rows, but a file is never split, so that `Candidates.batch_size` is that of the largest batch.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from itertools import islice
from typing import Any, ClassVar

import pyarrow as pa

from lethe.connections import Connection
from lethe.counts import Became, Found, Outcome
from lethe.errors import StoreError, StoreUnavailable
from lethe.holds.rules import HoldRules
from lethe.policy import Dataset, FilesDataset, PeriodsByValue
from lethe.stores.abilities import Abilities, Ability, Binding, Lack, When
from lethe.stores.base import (
    Candidates,
    Description,
    FieldSchema,
    Gate,
    Problem,
    Progress,
    Work,
    no_progress,
    require_able,
)
from lethe.stores.buckets import checks as bucket_checks
from lethe.stores.buckets import uploads
from lethe.stores.buckets.listing import Listing, Record, read_fast
from lethe.stores.buckets.staging import BucketStaging
from lethe.stores.buckets.store import BucketStore
from lethe.stores.buckets.table_formats import refusing_tables
from lethe.stores.files.clocks import WrongSchema, is_text, plain, reader
from lethe.stores.files.conditions import unfit
from lethe.stores.files.erase import FileEraser
from lethe.stores.files.examine import Examiner, Totals, Verdict, is_mark
from lethe.stores.files.files import Changed, Pin, S3File
from lethe.stores.files.formats import format_of
from lethe.stores.files.formats.base import RowFile, Unreadable
from lethe.stores.files.holds import Loaded, RowMatcher
from lethe.stores.files.judge import DatasetJudge
from lethe.stores.files.literals import Unfit, fitting
from lethe.stores.files.outcomes import keepers, record_outcomes, sum_of_outcomes
from lethe.stores.files.partition import Path
from lethe.stores.files.plan import BATCH_ROWS, Planner, RewritePlan, stage_keys
from lethe.stores.files.validation import frames, staged_rows
from lethe.stores.sources import FrameSource, RowSource

THREADS = 4
"""Files that are examined, or rewritten, at a time."""
TRIES = 5
"""How often a file that changes while it is examined is looked at again."""
SAMPLE = 3
"""Files whose schema is looked at to check a dataset."""


class FileStore(BucketStore):
    """Datasets of rows in files behind one connection of type ``aws``."""

    abilities: ClassVar[Abilities] = Abilities(
        binding=Binding.LEASED,
        lacks={
            Ability.ANONYMISE: Lack(When.NOT_YET, "rewriting leaves rows out only", "rows cannot be anonymised"),
            Ability.REDACTION: Lack(When.NOT_YET, "rewriting leaves rows out only", "rows cannot be anonymised"),
            Ability.CHILDREN: Lack(When.NEVER, "files do not refer to each other", "children"),
            Ability.RELATED_ROWS: Lack(When.NOT_YET, "files do not refer to each other", "related"),
            Ability.SUPPRESSION: Lack(When.NEVER, "S3 changes one object at a time", "suppression"),
            Ability.EVENT_CLOCKS: Lack(When.NOT_YET, "events are staged in databases only", "events start"),
            Ability.REQUESTS: Lack(
                When.NOT_YET,
                "rows in files are judged by their clock alone so far",
                "rows in files do not go on request",
            ),
            Ability.RECORD_BATCHES: Lack(When.NEVER, "a file is rewritten once, and never split", ""),
        },
    )

    def __init__(self, connection: Connection) -> None:
        """Bind to a connection. No request is sent.

        Raises:
            ConnectionMissing: if it is not of type ``aws``, or cannot be used.
        """
        super().__init__(connection)
        # Listing changes how a client's answers are read, so it has a client of its own.
        self._lister = replace(self._access)
        self._loaded = Loaded()

    def _in_bucket(self, dataset: Dataset) -> FilesDataset:
        return _files(dataset)

    @property
    def _batch_rows(self) -> int:
        """Rows after which a batch ends (extra `lethe_batch_size` of the connection)."""
        return self._access.batch_size(BATCH_ROWS)

    @cached_property
    def _listing_client(self) -> Any:  # noqa: ANN401 - S3Client
        read_fast(self._lister.client)
        return self._lister.client

    def _listing(self, dataset: FilesDataset) -> Listing:
        place = self._access.place(dataset.bucket, "list versions")
        return Listing(self._listing_client, dataset.bucket, place)

    def _records(self, dataset: FilesDataset, pool: Executor) -> Iterator[Record]:
        walk = self._listing(dataset).walk(dataset.prefix, pool, without=self._access.scratch_prefix)
        return refusing_tables(walk, dataset)

    # --- what a dataset is ---------------------------------------------------------------------------------------

    def check(self, dataset: Dataset, by_value: PeriodsByValue | None = None) -> list[Problem]:
        """Whether bucket and rights are what erasing needs, and the first files have the columns that the policy names.

        A prefix without files is no problem: everything under it may have been erased.
        """
        files = _files(dataset)
        problems = bucket_checks.problems(self._access, self._listing(files), files)
        if problems:
            return problems
        readable = unreadable = 0
        for name, kind in ((f"identifiers.{k}", k) for k in files.identifiers):
            if not files.identifiers[kind]:
                problems.append(Problem(field=name, message="names no column"))
        try:
            sample = self._sample(files)
        except StoreUnavailable:
            raise
        except StoreError as error:
            return [Problem(field="prefix", message=str(error))]
        for record in sample:
            try:
                schema = self._open(files, record).seen([name for _, name in _named_columns(files)])
            except (Unreadable, Changed):
                unreadable += 1
                continue
            readable += 1
            found = (*_problems(files, schema, record.key), *_path_problems(files, schema, record.key))
            problems.extend(problem for problem in found if problem not in problems)
        if unreadable and not readable:
            title = format_of(files.kind).title
            problems.append(
                Problem(
                    field="prefix",
                    message=f"no file under {files.location} can be read as {title}",
                )
            )
        return problems

    def _sample(self, dataset: FilesDataset) -> list[Record]:
        with ThreadPoolExecutor(1, thread_name_prefix="lethe-list") as pool:
            files = (
                record
                for record in self._records(dataset, pool)
                if not record.versions[0].marker and not is_mark(record.versions[0])
            )
            return list(islice(files, SAMPLE))

    def _open(self, dataset: FilesDataset, record: Record) -> RowFile:
        version = record.versions[0]
        file = S3File(self._access, Pin(dataset.bucket, record.key, version.id, None), version.size)
        return format_of(dataset.kind).open(file, dataset)

    def describe(self, dataset: Dataset) -> Description:
        """Bucket, prefix and the columns of the first readable file."""
        files = _files(dataset)
        fields: tuple[FieldSchema, ...] = ()
        for record in self._sample(files):
            try:
                schema = self._open(files, record).seen([name for _, name in _named_columns(files)])
            except (Unreadable, Changed):
                continue
            fields = tuple(FieldSchema(name=field.name, type=str(field.type)) for field in schema)
            break
        return Description(namespace=f"s3://{files.bucket}", name=files.prefix or "/", fields=fields)

    # --- what it holds -------------------------------------------------------------------------------------------

    def survey(self, work: Work, holds: HoldRules) -> Found:
        """Count what is expired, held and unjudgeable now."""
        totals = Totals()
        for verdict in self._verdicts(work, holds, None, no_progress):
            totals.add(verdict.totals)
        return Found(**_counts(totals))

    def _stage(self, work: Work, holds: HoldRules, area: BucketStaging, progress: Progress) -> Candidates:
        totals = Totals()
        planner = Planner(area, _files(work.dataset).key, self._batch_rows)
        for verdict in self._verdicts(work, holds, area, progress):
            totals.add(verdict.totals)
            if verdict.found:
                planner.add(verdict.key, verdict.found)
        return planner.finish(Found(**_counts(totals)).model_dump(mode="json"), holds.version)

    def _candidates_in(self, area: BucketStaging) -> Candidates | None:
        return RewritePlan.candidates(area)

    def _verdicts(
        self, work: Work, holds: HoldRules, staging: BucketStaging | None, progress: Progress
    ) -> Iterator[Verdict]:
        """What every key holds, in the order of keys; some are examined at a time."""
        require_able(work, self.abilities)
        dataset = _files(work.dataset)
        judge = DatasetJudge(dataset, work.expiry)
        region, read = dataset.phone_region, judge.format.identifiers
        matcher = RowMatcher(holds, dataset.identifiers, self._loaded, region, read)
        examiner = Examiner(self._access, dataset, judge, matcher)
        listing = self._listing(dataset)

        def examine(record: Record) -> Verdict:
            now: Record | None = record
            for _ in range(TRIES):
                if now is None:
                    return Verdict(record.key, Totals(), ())
                try:
                    verdict = examiner.examine(now)
                    if staging is not None and dataset.key:
                        for found in verdict.found:
                            stage_keys(staging, dataset.key, Path.of(dataset, record.key), record.key, found)
                except Changed:
                    now = listing.one(record.key)
                else:
                    return verdict
            raise StoreUnavailable(
                f"{self._access.place(dataset.bucket, '')}: a file of dataset {dataset.name} changes all the time; "
                "discover when it is at rest"
            )

        with ThreadPoolExecutor(1, thread_name_prefix="lethe-list") as lister, _pool("examine") as pool:
            for verdict in _in_order(pool, examine, self._records(dataset, lister)):
                progress(verdict.totals.total)
                yield verdict

    # --- erasing -------------------------------------------------------------------------------------------------

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        """Erase batches; see `erase`."""
        require_able(work, self.abilities)
        dataset = _files(work.dataset)
        staging = self._staged(work, candidates)
        plan = RewritePlan(staging, candidates)
        fresh = self._areas(work).begin(candidates.reference)
        eraser = FileEraser(
            self._access, self._listing(dataset), staging, work, dataset, candidates.holds_version, gate, self._loaded
        )
        return eraser.run(plan, batches, progress, fresh=fresh)

    def outcomes(self, work: Work, candidates: Candidates) -> Iterator[tuple[bytes, Outcome]]:
        """The outcome of every candidate; without `dataset.key`, a record's key is (object key, number of the row)."""
        staging = self._staged(work, candidates)
        return record_outcomes(staging, RewritePlan(staging, candidates), candidates, _files(work.dataset))

    def tally(self, work: Work, candidates: Candidates) -> Became:
        """The sum of the outcomes of all batches that have one.

        Raises:
            DatasetChanged: if what was staged is not there any more, so that nothing can be told.
        """
        staging = self._staged(work, candidates)
        RewritePlan(staging, candidates)
        return sum_of_outcomes(staging, candidates)

    def kept_by(self, work: Work, candidates: Candidates) -> tuple[str, ...]:
        """Which files could not be rewritten, and why."""
        return keepers(self._staged(work, candidates), candidates)

    # --- checking ------------------------------------------------------------------------------------------------

    def candidates_source(self, work: Work, candidates: Candidates) -> RowSource:
        """The rows that are to go, counted by their days; see `validation`."""
        dataset = _files(work.dataset)
        plan = RewritePlan(self._staged(work, candidates), candidates)
        return RowSource(staged_rows(self._access, work, dataset, plan, candidates))

    def records_source(self, work: Work, candidates: Candidates, columns: Sequence[str]) -> FrameSource:
        """Some columns of the rows that are to go."""
        dataset = _files(work.dataset)
        plan = RewritePlan(self._staged(work, candidates), candidates)
        return FrameSource(frames(self._access, work, dataset, plan, candidates, columns))

    # --- staging -------------------------------------------------------------------------------------------------

    def settle(self, datasets: Sequence[Dataset], timeout: float) -> None:
        """End the uploads that may be completed still: all else is sent under leases, and carried out at once."""
        buckets = {self._staging_of("", one).bucket for one in datasets}
        uploads.settle_all(self._access, buckets, timeout)

    def close(self) -> None:
        """Give back connections."""
        self._access.close()
        self._lister.close()


def _files(dataset: Dataset) -> FilesDataset:
    if not isinstance(dataset, FilesDataset):
        raise StoreError(f"dataset {dataset.name}: of kind {dataset.kind}, which is no format of files")
    return dataset


def _counts(totals: Totals) -> dict[str, Any]:
    return {
        "total": totals.total,
        "expired": totals.expired,
        "held": totals.held,
        "kept_on": totals.kept_on,
        "unjudgeable": dict(totals.unjudgeable),
        "oldest": totals.oldest,
        "unreadable": tuple(totals.unreadable),
    }


def _pool(name: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(THREADS, os.cpu_count() or 1), thread_name_prefix=f"lethe-{name}")


def _in_order(pool: ThreadPoolExecutor, work: Any, items: Iterable[Any]) -> Iterator[Any]:  # noqa: ANN401
    """The results in the order of the items, a few of which are worked on ahead."""
    ahead: deque[Future[Any]] = deque()
    try:
        for item in items:
            ahead.append(pool.submit(work, item))
            if len(ahead) > 2 * THREADS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for future in ahead:
            future.cancel()


def _path_problems(dataset: FilesDataset, schema: pa.Schema, key: str) -> Iterator[Problem]:
    """What is wrong with the columns that keys say."""
    for name in sorted(dataset.path_columns):
        if name in schema.names:
            yield Problem(
                field=f"path_columns.{name}",
                message=f"files of {dataset.location} have that column themselves: take it out",
            )
    try:
        path = Path.of(dataset, key)
    except WrongSchema as error:
        yield Problem(
            field="path_columns", message=f"a file of {dataset.location}: {error}; correct the pattern, or the prefix"
        )
        return
    clock = dataset.clock
    for name in (name for name in clock.columns if name in path.values):
        if clock.format is None and "value" in path.parts[name]:
            yield Problem(
                field="clock.format",
                message=f"column {name!r} is text in the keys of files: say its format (clock.format)",
            )


def _problems(dataset: FilesDataset, schema: pa.Schema, key: str) -> Iterator[Problem]:
    """What a file's schema lacks."""
    for field, column in _named_columns(dataset):
        if column in dataset.path_columns:
            continue
        found = schema.get_all_field_indices(column)
        if not found and f"/{column}=" in f"/{key}":
            yield Problem(
                field=field,
                message=f"there is no column {column!r} in the files of {dataset.location}, but in their keys: write "
                f"path_columns: {{{column}: '/{column}=(?P<value>[^/]+)/'}}",
            )
        elif not found:
            yield Problem(field=field, message=f"there is no column {column!r} in the files of {dataset.location}")
        elif len(found) > 1:
            yield Problem(field=field, message=f"column {column!r} is there twice in files of {dataset.location}")
        elif pa.types.is_list(schema.field(column).type) and not format_of(dataset.kind).typed:
            yield Problem(
                field=field,
                message=f"column {column!r} is a list in files of {dataset.location}: identifiers in one are named "
                f"{column}[], or {column}[].name where it has objects",
            )
        elif pa.types.is_nested(plain(schema.field(column).type)):
            yield Problem(field=field, message=f"column {column!r} is nested; name a column of single values")
        elif field.startswith("clock."):
            yield from _clock_problems(dataset, field, schema.field(column))
    yield from _value_problems(dataset, schema)


def _value_problems(dataset: FilesDataset, schema: pa.Schema) -> Iterator[Problem]:
    """Conditions that a column's type cannot be tested by, and values of them that no row can ever have."""
    typed = format_of(dataset.kind).typed
    for field, condition in dataset.conditions:
        if condition.column in dataset.path_columns or len(schema.get_all_field_indices(condition.column)) != 1:
            continue
        kind = schema.field(condition.column).type
        if (reason := unfit(condition, kind, typed=typed)) is not None:
            yield Problem(field=field, message=reason)
        for value in condition.values if typed else ():
            try:
                fitting(kind, value)
            except Unfit as error:
                yield Problem(field=field, message=f"column {condition.column!r}: {error}; write one that it can")


def _clock_problems(dataset: FilesDataset, field: str, column: pa.Field) -> Iterator[Problem]:
    from zoneinfo import ZoneInfo

    try:
        reader(column.type, dataset.clock, ZoneInfo("UTC"))
    except WrongSchema:
        if dataset.clock.format is None and (is_text(plain(column.type)) or pa.types.is_integer(plain(column.type))):
            message = f"column {column.name!r} is of type {column.type}: say its format (clock.format)"
        else:
            message = f"column {column.name!r} is of type {column.type}, which is no clock (of that format)"
        yield Problem(field=field, message=message)


def _named_columns(dataset: FilesDataset) -> Iterator[tuple[str, str]]:
    """Fields of the dataset with the columns that they name."""
    clock = "column" if dataset.clock.column else "latest_of" if dataset.clock.latest_of else "earliest_of"
    for column in dataset.clock.columns:
        yield f"clock.{clock}", column
    for kind, columns in dataset.identifiers.items():
        for column in columns:
            yield f"identifiers.{kind}", column
    for column in dataset.key:
        yield "key", column
    for name, condition in dataset.conditions:
        yield name, condition.column
