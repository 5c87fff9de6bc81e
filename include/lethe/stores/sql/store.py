"""The store of rows in SQL databases; see `lethe.stores.base.Store` for what it promises."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from functools import partial
from itertools import repeat
from typing import Any, TypeVar

import sqlalchemy as sa
import tenacity

from lethe.connections import Connection
from lethe.counts import Became, Found, Outcome
from lethe.errors import DatasetChanged, StoreError, StoreUnavailable
from lethe.holds.rules import HoldRules
from lethe.judging.identifiers import IdentifierType
from lethe.judging.keys import SEPARATOR, KeyColumn, record_key
from lethe.policy import Dataset, Disposition, Expiry, PeriodsByValue, TableDataset
from lethe.stores.abilities import Abilities
from lethe.stores.base import (
    Candidates,
    Description,
    FieldSchema,
    Gate,
    Going,
    PersonFound,
    Place,
    Problem,
    Progress,
    RecordFound,
    Remainder,
    TableProposal,
    TableSeen,
    Work,
    no_progress,
)
from lethe.stores.sources import SqlSource
from lethe.stores.sql import lookalikes, rights, schema, texts, validation
from lethe.stores.sql.asked import AskedRecords
from lethe.stores.sql.blocking import Blockers
from lethe.stores.sql.dialects import dialect_of
from lethe.stores.sql.dialects.base import Fault, Predicate, UnreadableClock
from lethe.stores.sql.erasing import Moved, TableEraser
from lethe.stores.sql.events import EventTable
from lethe.stores.sql.expiry import Judgement
from lethe.stores.sql.explaining import Explainer
from lethe.stores.sql.family import Family
from lethe.stores.sql.holds import Carrier, HeldTables
from lethe.stores.sql.kin import HeldKin, rows_along
from lethe.stores.sql.leased import LeasedEraser, revoke
from lethe.stores.sql.notes import Notes
from lethe.stores.sql.ordering import levels
from lethe.stores.sql.overview import overview
from lethe.stores.sql.persons import PersonFinder
from lethe.stores.sql.proposing import propose
from lethe.stores.sql.schema import Child, Target
from lethe.stores.sql.settings import SqlSettings
from lethe.stores.sql.simulating import going
from lethe.stores.sql.staging import Scratch, TableStaging, fingerprint_of, slice_of
from lethe.stores.sql.tables import FoundTable, Tables

_MOST_WITH_CHILDREN = 10_000
"""Records that one transaction erases at most where rows of other tables go with them, or are locked."""

_TURNS = 6
_AT_A_TIME = 10_000
"""Rows that are read into memory at once."""


T = TypeVar("T")


class _InTheWay(Exception):
    """Another transaction was in the way; the same again may do."""


class SqlStore:
    """Tables behind one connection."""

    def __init__(self, connection: Connection) -> None:
        self._conn_id = connection.conn_id
        self._settings = SqlSettings.of(connection)
        self._dialect = dialect_of(connection)
        self._url = self._dialect.url(connection)
        self._engine = self._dialect.engine(self._url, self._settings)
        self._scratch = Scratch(self._dialect, self._settings)

    @property
    def abilities(self) -> Abilities:
        """What the kind of database can do."""
        return self._dialect.abilities

    # --- what is there ---

    def check(self, dataset: Dataset, by_value: PeriodsByValue | None = None) -> list[Problem]:
        """Whether the table is what its policy says."""
        table = _table(dataset)
        with self._reading(table.name) as connection:
            unfit = [Problem(field="store", message=text) for text in self._unfit(connection)]
            if unfit:
                return unfit
            problems = list(schema.check(connection, table, by_value, self._dialect))
            if all(problem.remark for problem in problems):  # else what is to be allowed is not known
                family = Family.of(connection, table, self._dialect)
                target = Target.find(connection, table, by_value.column if by_value else None, self._dialect)
                problems += rights.missing(connection, table, family, target, self._dialect, self._settings)
            return [*problems, *lookalikes.remarks(connection, table.children, self._dialect)]

    def _unfit(self, connection: sa.Connection) -> Iterator[str]:
        """What keeps Lethe from working in this database at all."""
        yield from self._dialect.problems(connection)
        try:
            self._clock(connection)
        except StoreUnavailable:
            raise
        except StoreError as error:
            connection.rollback()
            yield str(error)

    def propose(self, table: str) -> TableProposal:
        """What a dataset of a table could say."""
        with self._reading(table) as connection:
            return propose(connection, table, self._dialect)

    def overview(self, sample: int) -> tuple[TableSeen, ...]:
        """All tables of the database that the login can read."""
        with self._reading("coverage") as connection:
            return tuple(overview(connection, self._dialect, self._settings, sample))

    def unsearched(self, dataset: Dataset, kinds: Set[IdentifierType]) -> tuple[str, ...]:
        """Tables with columns that look like such identifiers, and whose policy does not say what they are."""
        table = _table(dataset)
        with self._reading(table.name) as connection:
            alike = [one for _, one in lookalikes.undeclared(connection, table.children, self._dialect)]
            alike += lookalikes.overlooked(connection, table, self._dialect)
            return tuple(dict.fromkeys(one.where for one in alike if one.kind in kinds))

    def clock(self, dataset: Dataset) -> datetime | None:
        """The time by the database's own clock."""
        with self._reading(dataset.name) as connection:
            return self._clock(connection)

    def _clock(self, connection: sa.Connection) -> datetime | None:
        """The same.

        Raises:
            StoreError: if it cannot be read.
        """
        try:
            return self._dialect.clock(connection)
        except UnreadableClock as error:
            raise StoreError(self._without_clock(f": {error}")) from None
        except sa.exc.DBAPIError as error:
            if self._dialect.fault(error) in (Fault.UNAVAILABLE, Fault.AGAIN):
                raise
            raise StoreError(self._without_clock(f" ({self._dialect.code(error)})")) from None

    def _without_clock(self, why: str) -> str:
        return (
            f"connection {self._conn_id}: its clock cannot be read{why}; what has expired, and until when something "
            "may be erased, is judged by it: let the login ask the server for the time"
        )

    def describe(self, dataset: Dataset) -> Description:
        """The table as OpenLineage names it, with those that its records lead to."""
        table = _table(dataset)
        with self._reading(table.name) as connection:
            tables = Tables.look(connection, table, self._dialect)
            judged_by = {name: self._described(connection, found) for name, found in tables.related.items()}
            listed = tables.dataset.suppression and FoundTable.look(
                connection, tables.dataset.suppression.table, self._dialect
            )
            beside = {"judged_by": judged_by, "suppression": self._described(connection, listed) if listed else None}
            return self._described(connection, tables.own).model_copy(update=beside)

    def _described(self, connection: sa.Connection, found: FoundTable) -> Description:
        namespace, name = self._dialect.lineage_name(connection, self._url, found.relation.schema, found.relation.name)
        columns = found.columns.values()
        fields = (FieldSchema(name=one["name"], type=_type_name(one["type"], connection.dialect)) for one in columns)
        return Description(namespace=namespace, name=name, fields=tuple(fields))

    def place(self, dataset: Dataset) -> Place:
        """The table and its parts by identity; those of its child tables go along."""
        table = _table(dataset)
        with self._reading(table.name) as connection:
            own, *children = Family.of(connection, table, self._dialect).members
            return Place(
                root=self._dialect.database_id(connection),
                records=tuple(f"{part}/" for part in sorted(own.parts)),
                along=tuple(f"{part}/" for part in sorted({part for child in children for part in child.parts})),
            )

    def remainders(self, work: Work) -> tuple[Remainder, ...]:
        """Dead rows and backups, as far as the database knows."""
        return self._dialect.remainders()

    def survey(self, work: Work, holds: HoldRules) -> Found:
        """Count what is expired, held and unjudgeable now."""
        found, _ = self.forecast(work, holds, ())
        return found

    def forecast(self, work: Work, holds: HoldRules, others: Sequence[Expiry]) -> tuple[Found, tuple[int, ...]]:
        """The same, and what is due by other cutoffs, of which the last is the latest: counted beside each other."""

        def counted() -> tuple[Found, tuple[int, ...]]:
            with self._dialect.snapshot(self._engine, self._settings, writes=False) as connection:
                judgement, target = self._judge(connection, work, holds=holds)
                texts.look_through(connection, judgement)
                judgement = judgement.over_all(*others)
                by = [replace(judgement, expiry=expiry) for expiry in others]
                held, due, oldest, beside, further = self._held_and_due(connection, judgement, target, holds, by)
                counts = _counts(connection, judgement)
                expired = counts["kept_on"] + held + due
                return Found(**counts, **beside, expired=expired, held=held, oldest=oldest), further

        return self._again(work, counted)

    def simulate(self, work: Work, holds: HoldRules, steps: Sequence[Expiry]) -> tuple[Going, ...]:
        """What goes by each of the steps, and by none before, in one snapshot."""

        def counted() -> tuple[Going, ...]:
            with self._dialect.snapshot(self._engine, self._settings, writes=False) as connection:
                judgement, target = self._judge(connection, replace(work, expiry=steps[-1]), holds=holds)
                texts.look_through(connection, judgement)
                held = self._look_for_held(connection, judgement, target, holds)
                return tuple(going(connection, judgement, target, held, steps))

        return self._again(work, counted)

    def _judge(
        self,
        connection: sa.Connection,
        work: Work,
        further: Mapping[tuple[int, ...], Sequence[str]] | None = None,
        holds: HoldRules | None = None,
    ) -> tuple[Judgement, Target]:
        """What to judge a run's records by, with related rows beside them: many are read at once.

        Where the clock is an event, clocks can be judged in this session only with `holds`, which say what happened.
        """
        dataset = _table(work.dataset)
        target = Target.find(connection, dataset, work.expiry.column, self._dialect, further)
        if target.event is not None and holds is not None:
            EventTable(target.event).load(connection, holds)
        judgement = Judgement.of(work, target, self._dialect).beside
        if work.expiry.on_request and holds is not None:
            asked = AskedRecords(judgement)
            asked.load(connection, holds)
            judgement = replace(judgement, asked=asked.spellings)
        return judgement, target

    def _held_and_due(
        self,
        connection: sa.Connection,
        judgement: Judgement,
        target: Target,
        holds: HoldRules,
        others: Sequence[Judgement],
    ) -> tuple[int, int, date | None, dict[str, Any], tuple[int, ...]]:
        """Of the candidates: held, due, the oldest of these, what goes along; and what is due by the others."""
        widest = others[-1] if others else judgement
        source, held, _ = self._held(connection, widest, target, holds)
        clock, kind = judgement.clock_value
        by = {f"by_{n}": one.candidate for n, one in enumerate(others)}
        now = {"now": judgement.candidate} if others else {}
        rows = sa.select(
            held.label("held"), clock.label("clock"), *(one.label(name) for name, one in {**now, **by}.items())
        )
        found = rows.select_from(source).where(widest.candidate).subquery()
        mine = [found.c[name] for name in now]
        free = sa.not_(found.c.held)
        held_count, due, oldest, *further = connection.execute(
            sa.select(
                sa.func.count().filter(found.c.held, *mine),
                sa.func.count().filter(free, *mine),
                sa.func.min(found.c.clock).filter(free, *mine),
                *(sa.func.count().filter(free, found.c[name]) for name in by),
            )
        ).one()
        day = None if oldest is None else self._dialect.clock_day(oldest, kind, judgement.zones)
        unheld = sa.and_(judgement.candidate, sa.not_(held))
        beside: dict[str, Any] = {}
        if due:
            beside["rows_along"] = rows_along(connection, target, source, unheld)
            beside["mentions"] = texts.mentioned(connection, judgement, source, unheld)
        return held_count, due, day, beside, tuple(further)

    def explain(self, work: Work, holds: HoldRules, key: Sequence[str]) -> RecordFound | None:
        """The row of one key, judged as a run judges it; None where there is none."""

        def looked() -> RecordFound | None:
            with self._dialect.snapshot(self._engine, self._settings, writes=False) as connection:
                judgement, target = self._judge(connection, work, holds=holds)
                relation = Tables.look(connection, judgement.dataset, self._dialect).own.relation
                return Explainer(connection, self._dialect, judgement, target, relation).explain(holds, key)

        return self._again(work, looked)

    def find_person(self, work: Work, person: HoldRules, holds: HoldRules) -> PersonFound:
        """All rows of a person, in one snapshot."""

        def looked() -> PersonFound:
            with self._dialect.snapshot(self._engine, self._settings, writes=False) as connection:
                judgement, target = self._judge(connection, work, holds=holds)
                return PersonFinder(connection, self._dialect, judgement, target).find(person, holds)

        return self._again(work, looked)

    def _held(
        self, connection: sa.Connection, judgement: Judgement, target: Target, holds: HoldRules
    ) -> tuple[sa.FromClause, Predicate, int]:
        """The table joined so that the predicate says of each row if it is held; how many identifiers are compared."""
        tables, kin = self._look_for_held(connection, judgement, target, holds)
        source, held = tables.join(judgement, judgement.source)
        return source, sa.or_(held, kin.held(judgement, tables)) if kin else held, tables.count

    def _look_for_held(
        self, connection: sa.Connection, judgement: Judgement, target: Target, holds: HoldRules
    ) -> tuple[HeldTables, HeldKin]:
        """What is held of the candidates, in tables of the session: by themselves, and by rows that refer to them."""
        tables = HeldTables(self._dialect, "found")
        tables.load(connection, holds)
        tables.search(connection, Carrier.of(judgement), judgement.source, judgement.candidate)
        self._dialect.prepare_staging(connection, tables.count)
        kin = HeldKin(self._dialect, Notes(self._dialect), "found", target.carriers)
        kin.look(connection, tables)
        return tables, kin

    # --- discovering ---

    def discover(self, work: Work, holds: HoldRules, progress: Progress = no_progress) -> Candidates:
        """Find and stage the candidates, all in one transaction."""
        candidates = self._again(work, lambda: self._discover(work, holds))
        progress(candidates.expired - candidates.kept_on)
        return candidates

    def _discover(self, work: Work, holds: HoldRules) -> Candidates:
        self._make_scratch()
        with self._dialect.snapshot(self._engine, self._settings, writes=True) as connection:
            family = Family.of(connection, _table(work.dataset), self._dialect)
            family.require_judged()
            judgement, target = self._judge(connection, work, family.further_columns, holds)
            staging = self._scratch.of(work, [target.table.c[name] for name in judgement.dataset.key])
            if not self._dialect.alone(connection, self._settings, staging.token):
                raise _InTheWay
            begun = self._begun(connection, work, staging)
            if begun is not None:
                return begun
            self._reserve(connection, work, target, staging)
            self._make_staging(connection, judgement, staging)
            line = levels(connection, judgement, family.among_records) if family.among_records else None
            texts.look_through(connection, judgement)
            judgement = judgement.over_all()
            staged = self._stage(connection, judgement, target, staging, holds, line)
            counts = _counts(connection, judgement)
            texts.keep(connection, staging, self._dialect)
            size = self._batch_size(connection, target)
            batches, unheld, oldest = self._cut(connection, judgement, staging, staged, size)
            candidates = Candidates(
                **counts,
                expired=counts["kept_on"] + staged,
                held=staged - unheld,
                oldest=oldest,
                reference=staging.token,
                batches=batches,
                batch_size=size,
                digest=self._digest(connection, staging, unheld),
                in_order=line is not None,
                holds_version=holds.version,
                rows_along=self._rows_along(connection, target, staging) if unheld else 0,
                mentions=self._mentioned(connection, judgement, staging),
                key=tuple(KeyColumn(name=key.name, kind=self._dialect.key_kind(key.type)) for key in staging.key),
            )
            self._settle(connection, staging, candidates)
            return candidates

    def _make_scratch(self) -> None:
        staged = self._scratch.staged
        with self._engine.connect() as connection:
            there = sa.inspect(connection).has_table(staged.name, schema=staged.schema)
        if not there:
            with self._engine.connect() as connection, connection.begin():
                self._dialect.make_scratch(connection, self._settings, staged)

    def _begun(self, connection: sa.Connection, work: Work, staging: TableStaging) -> Candidates | None:
        """The candidates of the same run, if erasing them has begun; else what was staged is dropped."""
        staged = self._scratch.staged
        row = connection.execute(sa.select(staged).where(staged.c.token == staging.token)).one_or_none()
        if row is None:
            return None
        batches = staging.batches
        done = sa.select(batches.c.batch).where(batches.c.done).limit(1)
        if row.candidates is not None and connection.execute(done).first() is not None:
            if row.fingerprint != fingerprint_of(work):
                raise DatasetChanged(
                    f"{work.dataset.name}: run {work.run} has begun to erase with another policy, as-of moment or "
                    "cutoff; start a new run"
                )
            return Candidates.model_validate_json(row.candidates)
        staging.drop(connection)
        connection.execute(sa.delete(staged).where(staged.c.token == staging.token))
        return None

    def _reserve(self, connection: sa.Connection, work: Work, target: Target, staging: TableStaging) -> None:
        """Claim the staging for this transaction. Another that discovers the same at this moment goes first."""
        row = {
            "token": staging.token,
            "run": work.run,
            "dataset": work.dataset.name,
            "fingerprint": fingerprint_of(work),
            "table_id": self._dialect.table_id(connection, target.table),
        }
        try:
            connection.execute(sa.insert(self._scratch.staged).values(row))
        except sa.exc.IntegrityError:
            raise _InTheWay from None

    def _make_staging(self, connection: sa.Connection, judgement: Judgement, staging: TableStaging) -> None:
        """Make the tables of a run, before anything is noted for staging: not every database can afterwards."""
        columns = [*self._staged_columns(judgement), sa.false().label("held")]
        shape = sa.select(*columns).select_from(judgement.source).where(sa.false())
        self._dialect.make_keys(connection, staging.keys, shape)
        staging.batches.create(connection)
        staging.exceptions.create(connection)
        if staging.texts:
            staging.redactions.create(connection)

    def _staged_columns(self, judgement: Judgement) -> list[sa.Label[Any]]:
        """What is staged of a candidate: key, clock, and the dialect's marks."""
        clock, _ = judgement.clock_value
        keys = [column.label(f"key_{number}") for number, column in enumerate(judgement.key)]
        return [*keys, clock.label("clock"), *texts.digests(judgement), *self._dialect.marks(judgement.table)]

    def _stage(
        self,
        connection: sa.Connection,
        judgement: Judgement,
        target: Target,
        staging: TableStaging,
        holds: HoldRules,
        line: sa.Table | None,
    ) -> int:
        """Write down every candidate, in the order of storage, or first in `line` where there is one; how many."""
        source, held, compared = self._held(connection, judgement, target, holds)
        columns, keys = self._staged_columns(judgement), staging.keys
        order = self._dialect.storage_order(judgement.table, compared if line is None else sys.maxsize)
        if line is not None:
            pairs = enumerate(judgement.key)
            source = source.outerjoin(line, sa.and_(*(column == line.c[f"key_{n}"] for n, column in pairs)))
            order = [sa.func.coalesce(line.c.depth, 0), *order]
        rows = sa.select(*columns, held.label("held")).select_from(source).where(judgement.candidate).order_by(*order)
        names = [column.name for column in rows.selected_columns]
        staging_them = sa.insert(keys).from_select(names, rows).execution_options(preserve_rowcount=True)
        return connection.execute(staging_them).rowcount

    def _rows_along(self, connection: sa.Connection, target: Target, staging: TableStaging) -> int:
        """Rows of child tables that go with what is staged, exactly: the snapshot is that of discovery."""
        staged = staging.keys.alias("staged")
        source = staged.join(target.table, staging.same_key(target.table, staged))
        return rows_along(connection, target, source, sa.not_(staged.c.held))

    def _mentioned(self, connection: sa.Connection, judgement: Judgement, staging: TableStaging) -> Mapping[str, int]:
        """What was found in the texts of what is staged and not held."""
        staged = staging.keys.alias("staged")
        source = staged.join(judgement.table, staging.same_key(judgement.table, staged))
        return texts.mentioned(connection, judgement, source, sa.not_(staged.c.held))

    def _batch_size(self, connection: sa.Connection, target: Target) -> int:
        """Records a transaction: fewer where other rows go with them, or are locked, so that all rows stay bounded."""
        if not (target.children or target.many):
            return self._settings.batch_size
        rows = max(1, self._dialect.rows_about(connection, target.table))
        below = sum(self._rows_below(connection, child) for child in target.children)
        going = {(child.table.schema, child.table.name) for child in target.children}
        locked = (many.own for many in target.many.values() if (many.own.schema, many.own.name) not in going)
        below += sum(self._dialect.rows_about(connection, table) for table in locked)
        return max(
            1, min(self._settings.batch_size, _MOST_WITH_CHILDREN, self._settings.batch_size * rows // (rows + below))
        )

    def _rows_below(self, connection: sa.Connection, child: Child) -> int:
        below = sum(self._rows_below(connection, grandchild) for grandchild in child.children)
        return self._dialect.rows_about(connection, child.table) + below

    def _cut(
        self, connection: sa.Connection, judgement: Judgement, staging: TableStaging, count: int, size: int
    ) -> tuple[int, int, date | None]:
        """Cut what is staged into batches: (batches, candidates that are not held, their earliest clock's day)."""
        _, kind = judgement.clock_value
        rows, days = [], []
        for number, (part, oldest) in enumerate(self._dialect.slices(connection, staging.keys, count, size)):
            place = {name: getattr(part, name) for name in part.__dataclass_fields__}
            rows.append({"batch": number, "done": False, **place})
            if oldest is not None:
                days.append(self._dialect.clock_day(oldest, kind, judgement.zones))
        if sum(row["size"] for row in rows) != count:
            raise StoreError(f"{judgement.dataset.name}: the batches do not add up to what was staged")
        if rows:
            connection.execute(sa.insert(staging.batches), rows)
        return len(rows), sum(row["unheld"] for row in rows), min(days, default=None)

    def _digest(self, connection: sa.Connection, staging: TableStaging, count: int) -> str:
        """SHA-256 over the keys that are to be erased, in hexadecimal.

        The keys are written as text that tells all of them apart (the canonical form, where only Python can), with
        backslashes and newlines escaped by a backslash, a newline after each, in the order of their columns' values
        (text by its bytes). Both are a function of the set alone and tell any two sets apart, so two sets with one
        digest would be a collision of SHA-256. It needs no assumption about sums or products of digests, which are
        cheaper in any order but weaker.
        """
        digest = hashlib.sha256()
        staged = staging.keys
        keys = staging.key_columns(staged)
        order = [self._dialect.key_order(column) for column in keys]
        rows = sa.select(*keys).where(sa.not_(staged.c.held)).order_by(*order)
        as_text = [self._dialect.key_text(column) for column in keys]
        if all(text is not None for text in as_text):
            lines = rows.with_only_columns(_line([text for text in as_text if text is not None]))
            for part in self._dialect.joined(connection, lines, count):
                digest.update(part)
        else:
            key_of = self._recording(staging)
            read = rows.with_only_columns(*map(self._dialect.key_read, keys), maintain_column_froms=True)
            for row in connection.execute(read, execution_options={"yield_per": _AT_A_TIME}):
                digest.update(_escaped(key_of(row)) + b"\n")
        if staging.texts:
            return texts.digest_of(connection, staging, self._dialect, order, digest.hexdigest())
        return digest.hexdigest()

    def _recording(self, staging: TableStaging) -> Callable[[Sequence[Any]], bytes]:
        """What makes the canonical key of values that were read of key columns."""
        made = [self._dialect.key_value(column.type) for column in staging.key]
        if not any(made):
            return record_key
        return lambda values: record_key(
            [value if one is None or value is None else one(value) for one, value in zip(made, values, strict=True)]
        )

    def _settle(self, connection: sa.Connection, staging: TableStaging, candidates: Candidates) -> None:
        staged = self._scratch.staged
        connection.execute(
            sa.update(staged).where(staged.c.token == staging.token).values(candidates=candidates.model_dump_json())
        )

    # --- erasing ---

    def erase(
        self, work: Work, candidates: Candidates, batches: range, gate: Gate, progress: Progress = no_progress
    ) -> Became:
        """Erase (or anonymise) a range of batches, each exactly once."""
        done = Became()
        with self._faults(work.dataset.name), self._engine.connect() as connection:
            eraser = self._eraser(connection, work, candidates, gate)
            for number in batches:
                tally = self._again(work, lambda number=number: eraser.batch(number))  # type: ignore[misc]
                done += tally
                progress(tally.total)
        return done

    def _eraser(self, connection: sa.Connection, work: Work, candidates: Candidates, gate: Gate) -> TableEraser:
        with connection.begin():
            if self._scratch.leased:
                self._clock(connection)
            family = Family.of(connection, _table(work.dataset), self._dialect)
            family.require_judged()
            judgement, target = self._judge(connection, work, family.further_columns)
            staging = self._scratch.of(work, [target.table.c[name] for name in judgement.dataset.key])
            row = self._staged(connection, work, staging)
            if row.fingerprint != fingerprint_of(work) or row.table_id != self._dialect.table_id(
                connection, target.table
            ):
                raise DatasetChanged(
                    f"{work.dataset.name}: the policy, the as-of moment or the table itself is another than when run "
                    f"{work.run} discovered its candidates; discover again"
                )
            blockers = Blockers.of(connection, family, target, self._dialect)
            texts.take(connection, staging, self._dialect)
        kind = LeasedEraser if self._scratch.leased else TableEraser
        return kind(
            dialect=self._dialect,
            settings=self._settings,
            connection=connection,
            target=target,
            work=work,
            staging=staging,
            candidates=candidates,
            gate=gate,
            blockers=blockers,
            digest=partial(self._digest, staging=staging, count=candidates.due),
        )

    def _staged(self, connection: sa.Connection, work: Work, staging: TableStaging) -> sa.Row[Any]:
        staged = self._scratch.staged
        there = sa.inspect(connection).has_table(staged.name, schema=staged.schema)
        row = there and connection.execute(sa.select(staged).where(staged.c.token == staging.token)).one_or_none()
        if not row or row.candidates is None:
            raise DatasetChanged(f"{work.dataset.name}: nothing is staged for run {work.run}; discover again")
        return row

    # --- what became of the candidates ---

    def tally(self, work: Work, candidates: Candidates) -> Became:
        """The sum of the committed outcomes."""

        def summed() -> Became:
            with self._engine.connect() as connection:
                staging = self._scratch.of(work)
                self._staged(connection, work, staging)
                batches = staging.batches
                there = sa.inspect(connection).has_table(batches.name, schema=batches.schema)
                count = sa.select(sa.func.count()).select_from(batches)
                if not there or connection.scalar(count) != candidates.batches:
                    raise DatasetChanged(f"{work.dataset.name}: batches that run {work.run} staged are gone")
                names = list(Became.model_fields)
                sums = [sa.cast(sa.func.coalesce(sa.func.sum(batches.c[name]), 0), sa.BigInteger()) for name in names]
                row = connection.execute(sa.select(*sums).where(batches.c.done)).one()
                return Became(**dict(zip(names, row, strict=True)))

        return self._again(work, summed)

    def kept_by(self, work: Work, candidates: Candidates) -> tuple[str, ...]:
        """What keeps the records that are blocked: foreign keys, triggers."""
        with self._reading(work.dataset.name) as connection:
            excepted = self._scratch.of(work).exceptions
            blocked = excepted.c.outcome == Outcome.BLOCKED.value
            return tuple(connection.scalars(sa.select(excepted.c.reason).where(blocked).distinct().order_by("reason")))

    def outcomes(self, work: Work, candidates: Candidates) -> Iterator[tuple[bytes, Outcome]]:
        """What became of each candidate of the batches that are done, batch by batch."""
        usual = Outcome.ERASED if work.disposition is Disposition.ERASE else Outcome.ANONYMISED
        with self._reading(work.dataset.name) as connection:
            _, target = self._judge(connection, work)
            staging = self._scratch.of(work, [target.table.c[name] for name in _table(work.dataset).key])
            self._staged(connection, work, staging)
            batches = staging.batches
            done = connection.execute(sa.select(batches).where(batches.c.done).order_by(batches.c.batch)).all()
            with ThreadPoolExecutor(1, thread_name_prefix="lethe-read") as pool:
                ahead: Future[Iterable[tuple[bytes, Outcome]]] | None = None
                for batch in done:  # the next one is read while what became of this one is dealt with
                    reading = pool.submit(self._outcomes_of, connection, staging, usual, batch)
                    yield from ahead.result() if ahead else ()
                    ahead = reading
                yield from ahead.result() if ahead else ()

    def _outcomes_of(
        self, connection: sa.Connection, staging: TableStaging, usual: Outcome, batch: sa.Row[Any]
    ) -> Iterable[tuple[bytes, Outcome]]:
        """What became of each candidate of a batch."""
        staged, excepted = staging.keys, staging.exceptions
        keys = staging.key_columns(staged)
        mine = sa.and_(self._dialect.in_slice(staged, slice_of(batch)), sa.not_(staged.c.held))
        if getattr(batch, usual.value) == batch.unheld:  # all went, as nearly always: what they are called is enough
            written = self._dialect.written_keys(connection, sa.select(*keys).where(mine), keys)
            if written is not None:
                return zip(written, repeat(usual))
        joined = staged.outerjoin(excepted, excepted.c.position == self._dialect.position(staged))
        rows = sa.select(*map(self._dialect.key_read, keys), excepted.c.outcome).select_from(joined).where(mine)
        key_of = self._recording(staging)
        return [
            (key_of(key), Outcome(outcome) if outcome else usual)
            for *key, outcome in connection.execute(rows, execution_options={"yield_per": _AT_A_TIME})
        ]

    # --- what is checked ---

    def candidates_source(self, work: Work, candidates: Candidates) -> SqlSource:
        """The staged candidates that are to be erased, for checking them in the database."""
        with self._reading(work.dataset.name) as connection:
            judgement, target = self._judge(connection, work)
            staging = self._scratch.of(work, [target.table.c[name] for name in judgement.dataset.key])
            self._staged(connection, work, staging)
        query = validation.staged_candidates(judgement, staging)
        return SqlSource(partial(self._reading, work.dataset.name), query)

    def records_source(self, work: Work, candidates: Candidates, columns: Sequence[str]) -> SqlSource:
        """Some columns of the rows that are to go, for checking them in the database."""
        with self._reading(work.dataset.name) as connection:
            judgement, target = self._judge(connection, work, {(): columns})
            staging = self._scratch.of(work, [target.table.c[name] for name in judgement.dataset.key])
            self._staged(connection, work, staging)
        query = validation.records_of(judgement, staging, columns)
        return SqlSource(partial(self._reading, work.dataset.name), query)

    @contextmanager
    def _reading(self, what: str) -> Iterator[sa.Connection]:
        """A connection for reading, whose errors are ours."""
        try:
            with self._faults(what), self._engine.connect() as connection:
                yield connection
        except _InTheWay:
            raise StoreUnavailable(
                f"{what}: another transaction on connection {self._conn_id} was in the way; try again"
            ) from None

    # --- cleaning up ---

    def staged_runs(self, dataset: Dataset) -> list[tuple[str, str]]:
        """What is staged here, by run and dataset."""
        staged = self._scratch.staged
        with self._reading("staging") as connection:
            if not sa.inspect(connection).has_table(staged.name, schema=staged.schema):
                return []
            rows = connection.execute(
                sa.select(staged.c.run, staged.c.dataset).order_by(staged.c.run, staged.c.dataset)
            )
            return [(row.run, row.dataset) for row in rows]

    def clean(self, run: str, dataset: Dataset) -> None:
        """Drop what was staged for a dataset of a run."""
        staged = self._scratch.staged
        staging = self._scratch.named(run, dataset.name)
        with self._reading(dataset.name) as connection, connection.begin():
            if sa.inspect(connection).has_table(staged.name, schema=staged.schema):
                staging.drop(connection)
                connection.execute(sa.delete(staged).where(staged.c.token == staging.token))

    def settle(self, datasets: Sequence[Dataset], timeout: float) -> None:
        """Wait until every batch transaction that is under way has ended, or take back what was begun under leases."""
        try:
            with self._faults("fence"):
                if self._scratch.leased:
                    names = {dataset.name for dataset in datasets}
                    with self._engine.connect() as connection:
                        revoke(connection, self._scratch, names, self._dialect, timeout)
                else:
                    self._dialect.fence(self._engine, timeout)
        except _InTheWay:
            raise StoreUnavailable(
                f"connection {self._conn_id}: a batch that was under way did not end within {timeout:g} seconds"
            ) from None

    def close(self) -> None:
        """Give back connections."""
        self._engine.dispose()

    # --- faults ---

    def _again(self, work: Work, action: Callable[[], T]) -> T:
        """Do something again where another transaction was in the way."""

        def guarded() -> T:
            try:
                with self._faults(work.dataset.name):
                    return action()
            except Moved:
                raise _InTheWay from None

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_InTheWay),
            stop=tenacity.stop_after_attempt(_TURNS),
            wait=tenacity.wait_random_exponential(multiplier=0.05, max=2),
            reraise=True,
        )
        try:
            return retrying(guarded)
        except _InTheWay:
            raise StoreUnavailable(
                f"{work.dataset.name}: other transactions on connection {self._conn_id} were in the way {_TURNS} times "
                "(deadlocks, lock time-outs); try again later"
            ) from None

    @contextmanager
    def _faults(self, what: str) -> Iterator[None]:
        """Turn the driver's errors into ours, without the statement, its parameters and the server's details."""
        try:
            yield
        except UnreadableClock as error:
            raise StoreError(self._without_clock(f": {error}")) from None
        except sa.exc.DBAPIError as error:
            raise self._explained(error, what) from None
        except sa.exc.SQLAlchemyError as error:
            raise StoreError(f"{what}: connection {self._conn_id}: {type(error).__name__}") from None

    def _explained(self, error: sa.exc.DBAPIError, what: str) -> Exception:
        where = f"{what}: connection {self._conn_id}"
        culprit = self._dialect.culprit(error)
        of = f" ({culprit})" if culprit else ""
        fault = self._dialect.fault(error)
        if fault is Fault.AGAIN:
            return _InTheWay()
        kind: type[StoreError] = {Fault.UNAVAILABLE: StoreUnavailable, Fault.VANISHED: DatasetChanged}.get(
            fault, StoreError
        )
        code = self._dialect.code(error)
        because = self._dialect.unreachable(error)
        return kind(
            {
                Fault.UNAVAILABLE: f"{where} cannot be reached"
                + (f": {because} ({code})" if because else f", broke off or timed out ({code})"),
                Fault.FULL: f"{where}: the server's disk or memory is full ({code}); what had begun was undone",
                Fault.DENIED: f"{where}: permission denied{of}, or row-level security would hide rows; `lethe policy "
                "check` names the right that is missing, unless a trigger alone needs it",
                Fault.REFERRED: f"{where}: rows of another table refer to the rows{of}; name it in children",
                Fault.NOT_REPLICATED: f"{where}: the database refused ({code}){of}: a publication replicates such "
                "changes and the table has no replica identity; give it a primary key, or one by ALTER TABLE",
                Fault.UNHOLDABLE: f"{where}: a key or a clock has a value that cannot be read here, such as a day "
                "before the year 1, after 9999 or infinity, or text that is no Unicode; correct it, or leave such rows "
                "out by `where`",
                Fault.RAISED: f"{where}: a trigger or a function of the database raised an error ({code}){of}: "
                "it keeps the whole batch; `lethe policy check` names the triggers",
                Fault.VANISHED: f"{where}: a table or a column is not there any more; discover again",
                Fault.OTHER: f"{where}: the database refused ({code}){of}",
            }[fault]
        )


def _table(dataset: Dataset) -> TableDataset:
    if not isinstance(dataset, TableDataset):
        raise StoreError(f"{dataset.name}: a SQL store has tables only")
    return dataset


def _counts(connection: sa.Connection, judgement: Judgement) -> dict[str, Any]:
    """Total, kept on and unjudgeable, in one pass.

    Asked for when plans read the table as it is stored: after erasing, an index has every row that is gone, and the
    planner goes from it to the table's page of each.
    """
    asked: dict[str, Predicate] = {
        "kept_on": sa.and_(judgement.expired, judgement.kept_on) if judgement.dataset.keep_while else sa.false(),
        **{reason.value: predicate for reason, predicate in judgement.unjudgeable.items()},
    }
    counted = [sa.func.count().filter(predicate) for predicate in asked.values()]
    row = connection.execute(
        sa.select(sa.func.count(), *counted).select_from(judgement.source).where(judgement.perhaps_in_scope)
    ).one()
    counts = dict(zip(asked, row[1:], strict=True))
    kept_on = counts.pop("kept_on")
    unjudgeable = {reason: count for reason, count in counts.items() if count}
    return {"total": row[0], "kept_on": kept_on, "unjudgeable": unjudgeable}


def _line(texts: list[sa.ColumnElement[Any]]) -> sa.ColumnElement[str]:
    """A key as one line of what is digested, made by the database; see `SqlStore._digest`."""
    whole = _joined(texts)
    if all(isinstance(text, sa.Cast) for text in texts):  # numbers and UUIDs have nothing to escape
        return whole
    return sa.func.replace(sa.func.replace(whole, "\\", "\\\\"), "\n", "\\n")


def _joined(texts: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[Any]:
    """The parts of a key with a separator between them that none of them has."""
    whole, *others = texts if len(texts) == 1 else map(_without_separators, texts)
    for text in others:
        whole = whole.concat(sa.literal(SEPARATOR)).concat(text)
    return whole


def _without_separators(text: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    if isinstance(text, sa.Cast):
        return text
    return sa.func.replace(sa.func.replace(text, "\\", "\\\\"), SEPARATOR, "\\-")


def _escaped(key: bytes) -> bytes:
    return key.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")


def _type_name(kind: sa.types.TypeEngine[Any], dialect: sa.Dialect) -> str:
    try:
        return kind.compile(dialect).lower()
    except sa.exc.CompileError:
        return type(kind).__name__.lower()
