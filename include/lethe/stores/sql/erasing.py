"""Erasing batches, each exactly once, judged again in the transaction that erases.

A batch is one transaction: take the gate lock, claim the batch's row, ask the gate for the rules in force, erase, write
down what became of every candidate, commit. So an outcome exists if and only if the deletion does.

Where the database can show that rows are the very versions that were discovered (`Dialect.optimistic`), their clock and
their hold verdict of discovery still stand, and only holds placed since have to be looked at. A batch then erases all
such rows in one statement. If that is all of its candidates, nothing else can have happened. If it is fewer, the
statement is undone (a savepoint), and every candidate is judged by itself, with its rows locked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from lethe.counts import Became, Outcome
from lethe.errors import DatasetChanged
from lethe.holds.rules import HoldRules
from lethe.judging.identifiers import IdentifierType
from lethe.policy import Disposition
from lethe.stores.base import Candidates, Gate, Work
from lethe.stores.sql import texts
from lethe.stores.sql.asked import AskedRecords
from lethe.stores.sql.blocking import GO, Blockers
from lethe.stores.sql.dialects.base import AnyColumn, Dialect, Fault, Predicate, Slice
from lethe.stores.sql.events import EventTable
from lethe.stores.sql.expiry import Judgement
from lethe.stores.sql.holds import Carrier, HeldTables
from lethe.stores.sql.kin import HeldKin, refers_to
from lethe.stores.sql.notes import Notes
from lethe.stores.sql.schema import Child, Target, reference
from lethe.stores.sql.settings import SqlSettings
from lethe.stores.sql.staging import TableStaging, slice_of, tally_of

_AT_A_TIME = 10_000
"""Positions that are named in one statement."""
_TRIES = 5
"""How often a batch is tried again without the rows that the database has kept."""
_OUTSIDE_LOADS = 4
"""How often a batch gives way for what takes long (to load holds, to check the staging), before it does it itself."""


Loaded = HeldTables | EventTable | AskedRecords
"""What a session has of rules that batches are judged by."""


class Unloaded(Exception):
    """A batch needs held identifiers, or events, that this session has not loaded yet."""

    def __init__(self, tables: Loaded, rules: HoldRules) -> None:
        super().__init__("something is to be loaded")
        self.tables = tables
        self.rules = rules


class Unchecked(Exception):
    """A batch has to be judged row by row, and this session has not seen yet that the staging is what was checked."""


class Moved(Exception):
    """Rows changed although they were locked, which is not possible unless something meddles: try again."""


@dataclass(frozen=True)
class Along:
    """The rows of a child table that go with noted rows."""

    child: Child
    parents: sa.Table

    @property
    def chosen(self) -> Predicate:
        """Whether a noted row goes."""
        return self.parents.c.outcome == GO

    def delete(self, dialect: Dialect) -> sa.Delete:
        """Delete them."""
        pairs = zip(self.child.foreign_key, self.child.references, strict=True)
        on = [(self.child.table.c[mine], self.parents.c[reference(theirs)]) for mine, theirs in pairs]
        return dialect.delete(self.child.table, self.parents, on, self.chosen)

    def rows(self, what: AnyColumn) -> sa.Select[Any]:
        """Something of them."""
        above = (
            sa.select(sa.literal(1)).select_from(self.parents).where(refers_to(self.child, self.parents), self.chosen)
        )
        return sa.select(what).select_from(self.child.table).where(sa.exists(above.correlate(self.child.table)))


@dataclass
class TableEraser:
    """Erases batches of one dataset of one run in one session."""

    dialect: Dialect
    settings: SqlSettings
    connection: sa.Connection
    target: Target
    work: Work
    staging: TableStaging
    candidates: Candidates
    gate: Gate
    blockers: Blockers
    digest: Callable[[sa.Connection], str]
    """Works out the digest of what is staged now."""

    def __post_init__(self) -> None:
        self._checked = False
        self._new = HeldTables(self.dialect, "new")
        self._all = HeldTables(self.dialect, "all")
        self._below = HeldTables(self.dialect, "below", indexed=True)
        self._events = EventTable(self.target.event) if self.target.event else None
        self._asked: AskedRecords | None = None
        self._notes = Notes(self.dialect)
        self._carried_below = frozenset[IdentifierType]().union(*(child.carried for child in self.target.carriers))
        self._version = self.candidates.holds_version
        self._judgement = Judgement.of(self.work, self.target, self.dialect)
        if self.work.expiry.on_request:
            self._asked = AskedRecords(self._judgement)
        self._all_went = True

    @property
    def _optimistic(self) -> bool:
        """Whether an unchanged row has the identifiers that it was judged by: what it leads to may have others.

        And whether the day of its clock, where that is in many rows, says by which holds on some days it may be held.
        """
        judgement = self._judgement
        of_rows = Carrier.of(judgement).identifiers.values()
        told = judgement.days_tell
        return (
            self.dialect.optimistic
            and told
            and not self.staging.texts  # what is to become of these is checked, too
            and not any(judgement.dataset.is_related(name) for names in of_rows for name in names)
        )

    def batch(self, number: int) -> Became:
        """Do one batch, or read what became of it."""
        if not (self._checked or self._optimistic):
            with self.connection.begin():
                self._check()
        for turn in range(_OUTSIDE_LOADS + 1):
            patient = turn < _OUTSIDE_LOADS
            try:
                return self._transaction(number, patient=patient)
            except Unloaded as signal:
                self._notes.forget()
                self._load(signal.tables, signal.rules)
            except Unchecked:
                self._notes.forget()
                with self.connection.begin():
                    self._check()
            except BaseException:
                self._notes.forget()
                if not patient:  # what it loaded is rolled back
                    self._forget_loaded()
                raise
        raise AssertionError("the last turn loads holds itself")

    def _forget_loaded(self) -> None:
        if self._events is not None:
            self._events.forget()
        if self._asked is not None:
            self._asked.forget()
        for tables in (self._new, self._all, self._below):
            tables.forget()

    def _load(self, tables: Loaded, rules: HoldRules) -> None:
        """Load held identifiers, or events, outside of any batch, so that nobody waits for it."""
        try:
            with self.connection.begin():
                self._fill(tables, rules)
        except BaseException:
            tables.forget()
            raise

    def _check(self) -> None:
        """Compare what is staged with what was discovered, validated and approved.

        Not where rows are erased by their marks: those show that they are the very ones that were discovered.
        """
        if self.digest(self.connection) != self.candidates.digest:
            raise self._tampered()
        self._checked = True

    def _tampered(self) -> DatasetChanged:
        return DatasetChanged(
            f"{self.work.dataset.name}: what is staged for run {self.work.run} has been changed; discover again"
        )

    def _transaction(self, number: int, *, patient: bool) -> Became:
        with self.dialect.begin_batch(self.connection, self.settings):
            row = self._claim(number)
            if row.done:
                return tally_of(row)
            rules = self.gate.current()
            tally = self._dispose(slice_of(row), rules, patient=patient)
            self._record(number, tally)
        self.dialect.pause(holds_changed=rules.version != self._version)
        self._version = rules.version
        return tally

    def _claim(self, number: int) -> sa.Row[Any]:
        """The batch's row, locked, if the staging still is what the digest stands for."""
        locked = self._row(number).with_for_update()
        return self._sound(self.connection.execute(locked).one_or_none())

    def _row(self, number: int, *further: AnyColumn) -> sa.Select[Any]:
        """A batch's row, with what its staging says of the candidates."""
        batches, staged = self.staging.batches, self.staging.scratch.staged
        candidates = sa.select(staged.c.candidates).where(staged.c.token == self.staging.token).scalar_subquery()
        return sa.select(batches, candidates.label("candidates"), *further).where(batches.c.batch == number)

    def _sound(self, row: sa.Row[Any] | None) -> sa.Row[Any]:
        if row is None or row.candidates is None or Candidates.model_validate_json(row.candidates) != self.candidates:
            raise DatasetChanged(
                f"{self.work.dataset.name}: what is staged for run {self.work.run} is not what was approved; "
                "discover again"
            )
        return row

    def _record(self, number: int, tally: Became) -> None:
        batches = self.staging.batches
        self.connection.execute(
            sa.update(batches).where(batches.c.batch == number).values(done=True, **tally.model_dump())
        )

    # --- how a batch is erased ---

    def _dispose(self, part: Slice, rules: HoldRules, *, patient: bool) -> Became:
        if self._events is not None:  # one that was withdrawn since, or moved, lets nothing go
            self._require(self._events, rules, patient=patient)
        self._go_by_requests(rules, patient=patient)
        since = rules.since(self.candidates.holds_version)
        self._require(self._new, since, patient=patient)
        # A marked row shows that its record did not change, but not that the rows which go with it did not.
        self._require(self._below, rules.naming(self._carried_below), patient=patient)
        if self._optimistic:
            tally = self._all_at_once(part)
            if tally is not None:
                return tally
        elif self._judges_at_once:
            tally = self._all_as_they_are(part, rules, patient=patient)
            if tally is not None:
                return tally
        return self._one_by_one(part, rules, patient=patient)

    def _go_by_requests(self, rules: HoldRules, *, patient: bool) -> None:
        """In a run on request, let go what the requests in force are about: one that was cancelled since is none."""
        if self._asked is not None:
            self._require(self._asked, rules, patient=patient)
            self._judgement = replace(self._judgement, asked=self._asked.spellings)

    def _require(self, tables: Loaded, rules: HoldRules, *, patient: bool) -> None:
        """See to it that a session table has the identifiers, or the events, of just these rules."""
        if tables.has(rules):
            return
        if patient:
            raise Unloaded(tables, rules)
        self._fill(tables, rules)

    def _fill(self, tables: Loaded, rules: HoldRules) -> None:
        tables.load(self.connection, rules)
        if tables is self._new and self._optimistic:  # rows that stay unchanged are searched once
            self._new.search(self.connection, Carrier.of(self._judgement), *self._may_go())

    def _may_go(self) -> tuple[sa.FromClause, Predicate]:
        """Rows that may be erased as they are now: (where from, which).

        By what they lead to, rows that are no candidates now may be some again when their batch comes.
        """
        table = self.target.table
        if not self.target.judged_apart:
            return table, self._judgement.candidate
        staged = self.staging.keys.alias("staged")
        return staged.join(table, self.staging.same_key(table, staged)), sa.not_(staged.c.held)

    @property
    def _judges_at_once(self) -> bool:
        """Whether one statement may judge all candidates of a batch; not once it has found one that has to stay."""
        beside = self.target.children or self.target.judged_apart or self.target.suppression
        alone = not (beside or self._may_undo)
        return self.dialect.judges_locked_rows and alone and self._all_went

    def _all_as_they_are(self, part: Slice, rules: HoldRules, *, patient: bool) -> Became | None:
        """Erase the candidates by a statement that judges them with all holds, if all go; else undo, and say None."""
        self._require(self._all, rules, patient=patient)
        staged, judgement = self.staging.keys.alias("staged"), self._judgement
        chosen = sa.and_(self.dialect.in_slice(staged, part), sa.not_(staged.c.held))
        same_key = self.staging.same_key(self.target.table, staged)
        where = [
            same_key,
            *self._same_texts(staged),
            judgement.candidate,
            *self._all.absent(judgement),
            *self._all.readable(judgement),
        ]
        savepoint = self.connection.begin_nested()
        try:
            count = self._execute(self._statement(staged, [], chosen, *where))
            self._look_at_constraints()
        except sa.exc.IntegrityError as error:
            if self.dialect.fault(error) is not Fault.REFERRED:
                raise
            count = -1
        self._all_went = count == part.unheld
        if not self._all_went:
            self._undo(savepoint)
            return None
        savepoint.commit()
        return self._tally(count, 0)

    def _all_at_once(self, part: Slice) -> Became | None:
        """Erase the candidates if they all are unchanged and none has been held since; else undo, and say None."""
        staged = self.staging.keys.alias("staged")
        table = self.target.table
        same = [
            self.dialect.in_slice(staged, part),
            self.dialect.in_range(table, part),
            sa.not_(staged.c.held),
            self.dialect.unchanged(table, staged),
            self.staging.same_key(table, staged),
        ]
        judgement = self._judgement
        if self.target.leading:
            kept = self._keep_related(staged.join(table, sa.true()), sa.and_(*same))
            if any(count != part.unheld for count in kept):  # missing, or replaced while it was waited for
                return None
            judgement = judgement.beside
        if self.target.many:
            self._lock_many(staged.join(table, sa.true()), sa.and_(*same))
        same += [one.leads_from(table) for one in self.target.leading]
        if self.target.judged_apart:
            same.append(staged.c.clock == judgement.clock_value[0])  # holds may be of some clocks only
        same += [judgement.candidate, *self._new.absent(judgement)]
        noted = bool(self.target.carriers or self.target.suppression)
        verdict = self._note_unchanged(staged, same, part.unheld) if noted else None
        if noted and verdict is None:
            return None
        savepoint = self.connection.begin_nested()
        try:
            if verdict is not None:
                count, rows_with = self._erase(verdict)
            else:
                count, rows_with = self._execute(self._statement(staged, [], sa.true(), *same)), 0
            self._look_at_constraints()
        except sa.exc.IntegrityError as error:
            if self.dialect.fault(error) is not Fault.REFERRED:
                raise
            count, rows_with = -1, 0
        if count != part.unheld or (self._may_undo and self._left_in(part)):
            self._undo(savepoint)
            return None
        savepoint.commit()
        return self._tally(count, rows_with)

    def _undo(self, savepoint: sa.NestedTransaction) -> None:
        savepoint.rollback()
        self._notes.forget()

    def _look_at_constraints(self) -> None:
        if self.blockers.deferrable:
            self.dialect.look_at_constraints(self.connection)

    def _note_unchanged(self, staged: sa.FromClause, same: Sequence[Predicate], expected: int) -> sa.Table | None:
        """Lock and note the unchanged rows, if they are all candidates and no row that goes with one is held."""
        rows = sa.select(*self._shape()).select_from(staged.join(self.target.table, sa.true())).where(*same)
        self.dialect.lock_rows(self.connection, rows, self.target.table)
        verdict, count = self._note("verdict", self._shape(), rows)
        return None if count != expected or self._look_below(verdict) else verdict

    def _one_by_one(self, part: Slice, rules: HoldRules, *, patient: bool) -> Became:
        """Judge every candidate of the batch as it is now, with its row locked, and erase those that may go."""
        verdict = self._judge(part, rules, patient=patient)
        erased, rows_with = self._erase_unblocked(verdict)
        counts = self._outcomes(verdict)
        counts.pop(GO, None)
        self.connection.execute(self._excepting(verdict))
        return self._tally(erased, rows_with, **counts)

    def _judge(self, part: Slice, rules: HoldRules, *, patient: bool) -> sa.Table:
        """Note of every candidate of the batch what is to become of it as it is now, with its row locked."""
        staged = self.staging.keys.alias("staged")
        table = self.target.table
        self._require_whole(staged, part)
        if not self._checked:
            if patient:
                raise Unchecked
            self._check()
        mine = sa.and_(self.dialect.in_slice(staged, part), sa.not_(staged.c.held))
        joined = staged.join(table, self.staging.same_key(table, staged))
        self.dialect.lock_rows(
            self.connection, sa.select(staged.c.held, *self._judgement.key).select_from(joined).where(mine), table
        )
        kept = self._keep_related(joined, mine)
        self._lock_referring(joined, mine)
        tables = self._new
        if not self._optimistic or self.target.judged_apart or self._any_changed(joined, mine, staged):
            self._require(self._all, rules, patient=patient)
            tables = self._all
        self._before_judging(joined, mine)
        beside = self._judgement.beside
        tables.search(self.connection, Carrier.of(beside), beside.join(joined), mine)
        kin = self._look_below_each(joined, mine)
        shape = [*self._shape(), self.dialect.position(staged).label("position"), _text("").label("reason")]
        shape += self._there(joined=False)
        verdict, _ = self._note("verdict_each", shape, self._verdicts(staged, mine, tables, kin))
        there = [sa.func.coalesce(sa.func.sum(verdict.c[column.name]), 0) for column in self._there(joined=False)]
        if there and [int(count) for count in self.connection.execute(sa.select(*there)).one()] != kept:
            raise Moved  # judged by a row that is not kept
        return verdict

    def _there(self, *, joined: bool) -> list[sa.Label[int]]:
        """For each related row, by what a record is judged, whether it is there."""
        rows = enumerate(self.target.related.values())
        one, none = sa.literal(1, sa.Integer()), sa.literal(0, sa.Integer())
        return [(sa.case((row.is_there, one), else_=none) if joined else one).label(f"there_{n}") for n, row in rows]

    def _keep_related(self, joined: sa.FromClause, mine: Predicate) -> list[int]:
        """Keep the rows that records lead to as they are, one step after the other; how many records have each.

        A row that was put in the place of another while that was waited for is not kept: whoever judges by it sees that
        there are more rows than are kept, as of these none goes away.
        """
        return [self.dialect.keep_rows(self.connection, rows, table) for table, rows in self._leading(joined, mine)]

    def _lock_many(self, joined: sa.FromClause, mine: Predicate) -> None:
        """Lock the records of `joined`, and then all rows that refer to them: from then on no other row comes to."""
        rows = sa.select(*self._judgement.key).select_from(joined).where(mine)
        self.dialect.lock_rows(self.connection, rows, self.target.table)
        self._lock_referring(joined, mine)

    def _lock_referring(self, joined: sa.FromClause, mine: Predicate) -> None:
        """Lock all rows that locked records are judged by and that refer to them."""
        for many in self.target.many.values():
            source = joined.join(many.table, many.of(self.target.table))
            rows = sa.select(sa.literal(1).label("one")).select_from(source).where(mine)
            self.dialect.lock_rows(self.connection, rows, many.table)

    def _leading(self, joined: sa.FromClause, mine: Predicate) -> Iterator[tuple[sa.FromClause, sa.Select[Any]]]:
        """Each related table, with its rows that the records of `joined` lead to."""
        for related in self.target.related.values():
            source = joined
            for one in related.path:
                source = source.join(one.table, one.leads_from(self.target.table))
            yield related.table, sa.select(sa.literal(1).label("one")).select_from(source).where(mine)

    def _before_judging(self, joined: sa.FromClause, mine: Predicate) -> None:
        """For who cannot lock: a batch's rows are about to be judged."""

    def _erase_unblocked(self, verdict: sa.Table) -> tuple[int, int]:
        """Erase what is to go but for what is blocked, which is marked: (rows, rows of children)."""
        for _ in range(_TRIES):
            self.blockers.mark(self.connection, verdict)
            savepoint = self.connection.begin_nested()
            try:
                erased, rows_with = self._erase(verdict)
            except sa.exc.IntegrityError as error:
                self._undo(savepoint)
                kept = self._with_kept_children(verdict) if self.dialect.fault(error) is Fault.REFERRED else []
                if not kept:
                    raise
                self._mark_kept(verdict, kept)
                continue
            whole = erased == self._outcomes(verdict).get(GO, 0)
            kept = [] if whole and not self._may_undo else self._still_there(verdict)
            if not kept and whole:
                self._look_at_constraints()
                savepoint.commit()
                return erased, rows_with
            self._undo(savepoint)
            if not kept:
                break
            self._mark_kept(verdict, kept)
        raise Moved

    @property
    def _may_undo(self) -> bool:
        """Whether a row that counts as changed may be as it was: a trigger can write back what was masked."""
        return self.work.disposition is not Disposition.ERASE and bool(self.blockers.triggers)

    @property
    def _undone(self) -> list[Predicate]:
        """What is true of a row that is there, by its key, after it should have gone, or have been masked."""
        return [] if self.work.disposition is Disposition.ERASE else [self._judgement.candidate]

    def _left_in(self, part: Slice) -> bool:
        """Whether any record of a batch is still there that was to go; a trigger may have changed it meanwhile."""
        staged, table = self.staging.keys.alias("staged"), self.target.table
        joined = staged.join(table, self.staging.same_key(table, staged))
        found = sa.select(sa.literal(1)).select_from(joined).where(self.dialect.in_slice(staged, part), *self._undone)
        return self.connection.execute(found.where(sa.not_(staged.c.held)).limit(1)).first() is not None

    def _still_there(self, verdict: sa.Table) -> Sequence[Any]:
        """The positions of noted rows that were to go and that the database has kept, if changed by a trigger."""
        staged, table = self.staging.keys.alias("staged"), self.target.table
        noted = verdict.join(staged, self.dialect.position(staged) == verdict.c.position)
        joined = noted.join(table, self.staging.same_key(table, staged))
        rows = sa.select(verdict.c.position).select_from(joined)
        return self.connection.scalars(rows.where(verdict.c.outcome == GO, *self._undone)).all()

    def _with_kept_children(self, verdict: sa.Table) -> Sequence[Any]:
        """The positions of noted rows of which a trigger keeps rows of child tables, found by trying."""
        if not self.blockers.triggers:
            return []
        savepoint = self.connection.begin_nested()
        for along in self._along(verdict):
            self._execute(along.delete(self.dialect))
        left = [
            sa.exists(sa.select(sa.literal(1)).where(refers_to(child, verdict)).correlate(verdict))
            for child in self.target.children
        ]
        rows = sa.select(verdict.c.position).where(verdict.c.outcome == GO, sa.or_(sa.false(), *left))
        kept = self.connection.scalars(rows).all()
        self._undo(savepoint)
        return kept

    def _mark_kept(self, verdict: sa.Table, positions: Sequence[Any]) -> None:
        """Mark rows as blocked by what keeps rows without an error."""
        reason = "; ".join(self.blockers.keepers)
        if not reason:
            raise Moved
        for first in range(0, len(positions), _AT_A_TIME):
            some = positions[first : first + _AT_A_TIME]
            self.connection.execute(
                sa.update(verdict)
                .where(verdict.c.position.in_(some))
                .values(outcome=Outcome.BLOCKED.value, reason=reason)
            )

    def _require_whole(self, staged: sa.FromClause, part: Slice) -> None:
        size, unheld = self.connection.execute(
            sa.select(sa.func.count(), sa.func.count().filter(sa.not_(staged.c.held))).where(
                self.dialect.in_slice(staged, part)
            ),
        ).one()
        if (size, unheld) != (part.size, part.unheld):
            raise self._tampered()

    def _any_changed(self, joined: sa.FromClause, mine: Predicate, staged: sa.FromClause) -> bool:
        """Whether a candidate of the batch was changed since discovery and has still expired."""
        changed = sa.not_(self.dialect.unchanged(self.target.table, staged))
        found = sa.select(sa.literal(1)).select_from(joined).where(mine, changed, self._judgement.candidate).limit(1)
        return self.connection.execute(found).first() is not None

    def _look_below(self, parents: sa.FromClause) -> HeldKin:
        """Which of the locked `parents` are held by rows that refer to them, as those are now; locks these too."""
        kin = HeldKin(self.dialect, self._notes, "batch", self.target.carriers)
        if self._below:
            kin.lock(self.connection, parents)
            kin.look(self.connection, self._below, parents)
        return kin

    def _look_below_each(self, joined: sa.FromClause, mine: Predicate) -> HeldKin:
        """The same for records that are not noted yet."""
        shape = self._references()
        if not (self._below and self.target.carriers):
            return HeldKin(self.dialect, self._notes, "batch", ())
        parents, _ = self._note("parents", shape, sa.select(*shape).select_from(joined).where(mine))
        return self._look_below(parents)

    def _verdicts(self, staged: sa.FromClause, mine: Predicate, tables: HeldTables, kin: HeldKin) -> sa.Select[Any]:
        table = self.target.table
        judgement = self._judgement.beside
        source = judgement.join(staged.outerjoin(table, self.staging.same_key(table, staged)))
        source, held = tables.join(judgement, source)
        if kin:
            held = sa.or_(held, kin.held(judgement, self._below))
        outcome = sa.case(
            (judgement.key[0].is_(None), Outcome.GONE.value),
            (sa.not_(sa.and_(judgement.candidate, *self._same_texts(staged))), Outcome.RENEWED.value),
            (held, Outcome.HELD.value),
            else_=GO,
        )
        columns = [
            outcome.label("outcome"),
            *self._way(),
            self.dialect.position(staged).label("position"),
            _text("").label("reason"),
            *self._there(joined=True),
        ]
        return sa.select(*columns).select_from(source).where(mine)

    def _same_texts(self, staged: sa.FromClause) -> list[Predicate]:
        return texts.unchanged(self.target.table, staged, self.staging, self.dialect)

    # --- the rows that a batch erases ---

    def _way(self) -> list[sa.Label[Any]]:
        """How the rows to be erased, and their children, are found: labelled columns of the table."""
        table = self.target.table
        address = self.dialect.address(table, self._judgement.key)
        return [*(column.label(f"at_{number}") for number, column in enumerate(address)), *self._references()]

    def _references(self) -> list[sa.Label[Any]]:
        """The columns that other tables refer to."""
        references = {name for child in self.target.carriers for name in child.references}
        references |= self.blockers.referred
        return [self.target.table.c[name].label(reference(name)) for name in sorted(references)]

    def _shape(self) -> list[sa.Label[Any]]:
        """Rows that are to be erased."""
        return [_as_outcome(GO), *self._way()]

    def _note(self, name: str, shape: Sequence[sa.Label[Any]], rows: sa.Select[Any]) -> tuple[sa.Table, int]:
        return self._notes.take(self.connection, f"lethe_{name}", shape, rows)

    def _outcomes(self, verdict: sa.FromClause) -> dict[str, int]:
        rows = self.connection.execute(sa.select(verdict.c.outcome, sa.func.count()).group_by(verdict.c.outcome)).all()
        return {str(outcome): int(count) for outcome, count in rows}

    def _excepting(self, verdict: sa.FromClause) -> sa.Insert:
        """Write down the candidates that are not erased, with the reason."""
        return sa.insert(self.staging.exceptions).from_select(
            ["position", "outcome", "reason"],
            sa.select(verdict.c.position, verdict.c.outcome, verdict.c.reason).where(verdict.c.outcome != GO),
        )

    def _erase(self, verdict: sa.Table) -> tuple[int, int]:
        """Erase the noted rows, children first: (rows, rows of children)."""
        self._put_on_list(verdict)
        rows_with = sum(self._execute(along.delete(self.dialect)) for along in self._along(verdict))
        on = self._same_rows(verdict)
        chosen = verdict.c.outcome == GO
        if not self.blockers.row_by_row:
            return self._execute(self._statement(verdict, on, chosen, *self._again)), rows_with
        return sum(iter(lambda: self._erase_unreferred(verdict), 0)), rows_with

    def _put_on_list(self, verdict: sa.Table) -> None:
        """Put what the noted rows that go have for the suppression list onto it."""
        listed = self.target.suppression
        if listed is None:
            return
        table = self.target.table
        same = sa.and_(*(mine == theirs for mine, theirs in self._same_rows(verdict)))
        rows = sa.select(table.c[listed.source]).select_from(verdict.join(table, same))
        listing = [self._judgement.perhaps(condition) for condition in listed.when]
        listed.put(self.connection, rows.where(verdict.c.outcome == GO, *self._again, *listing), self.dialect)

    def _erase_unreferred(self, verdict: sa.Table) -> int:
        """Erase those of the noted rows that no row refers to; not every database reads a table that it erases from."""
        unreferred = sa.and_(verdict.c.outcome == GO, self.blockers.unreferred(verdict))
        shape = self._shape()
        rows = sa.select(*(verdict.c[column.name] for column in shape)).where(unreferred)
        noted, _ = self._note("unreferred", shape, rows)
        return self._execute(self._statement(noted, self._same_rows(noted), noted.c.outcome == GO, *self._again))

    @property
    def _again(self) -> list[Predicate]:
        """What is looked at once more when noted rows are erased: themselves, not what they lead to, which is kept."""
        return [] if self.target.judged_apart else [self._judgement.candidate]

    def _same_rows(self, verdict: sa.FromClause) -> list[tuple[AnyColumn, AnyColumn]]:
        """What is equal of a noted row and its row in the table."""
        address = self.dialect.address(self.target.table, self._judgement.key)
        return [(column, verdict.c[f"at_{number}"]) for number, column in enumerate(address)]

    def _along(self, verdict: sa.Table) -> Iterator[Along]:
        """What goes with the noted rows, in the order in which it has to go; each is to go before the next is asked."""
        for number, child in enumerate(self.target.children):
            yield from self._along_child(verdict, child, f"children_{number}")

    def _along_child(self, parents: sa.Table, child: Child, name: str) -> Iterator[Along]:
        along = Along(child, parents)
        if child.children:
            names = sorted({name for grandchild in child.children for name in grandchild.references})
            shape = [_as_outcome(GO), *(child.table.c[name].label(reference(name)) for name in names)]
            joined = child.table.join(parents, refers_to(child, parents))
            rows = sa.select(*shape).select_from(joined).where(along.chosen)
            self.dialect.lock_rows(self.connection, rows, child.table)
            noted, _ = self._note(name, shape, rows)
            for number, grandchild in enumerate(child.children):
                yield from self._along_child(noted, grandchild, f"{name}_{number}")
        yield along

    def _statement(
        self, other: sa.FromClause, on: Sequence[tuple[AnyColumn, AnyColumn]], chosen: Predicate, *where: Predicate
    ) -> sa.Delete | sa.Update:
        """Erase, or anonymise, the rows of the table that join with the chosen rows of another."""
        table = self.target.table
        if self.work.disposition is Disposition.ERASE:
            return self.dialect.delete(table, other, on, chosen).where(*where)
        return self.dialect.update(table, other, on, chosen).where(*where).values(self._judgement.masked)

    def _execute(self, statement: sa.Delete | sa.Update) -> int:
        return self.connection.execute(statement).rowcount

    def _tally(self, done: int, rows_with: int, **others: int) -> Became:
        erased = self.work.disposition is Disposition.ERASE
        return Became(
            erased=done if erased else 0,
            anonymised=0 if erased else done,
            rows_with=rows_with,
            **others,
        )


def _as_outcome(value: str) -> sa.Label[str]:
    return _text(value).label("outcome")


def _text(value: str) -> sa.Cast[str]:
    return sa.cast(sa.literal(value), sa.Text())
