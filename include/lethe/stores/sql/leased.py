"""Erasing batches where no lock makes who places a hold wait: under leases, in requests that the server refuses later.

A batch is judged first, and what it was judged by is noted. What erases it is then one request that commits by itself:
it erases the rows that still are as they were judged, and writes down what became of every candidate, or does nothing.
The server refuses it for any of three reasons, of which each alone would do against a hold that was placed meanwhile:

* after its **deadline**, the middle of the lease, by the server's own clock, read when the request is carried out;
* when its **attempt** does not stand any more, a word in the batch's row that is written before the lease is asked for.
  Another attempt replaces it, and placing a hold takes it back (`revoke`): both write the row that the request itself
  writes first, so that one of the two waits for the other, or fails;
* when a row that was to go is there still, because it, or a row that goes with it, was changed since it was judged.

So there is an outcome if and only if the deletion is, whatever becomes of the process and of its requests, and nothing
is in doubt when a hold has been placed.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from lethe.counts import Became
from lethe.policy import Disposition
from lethe.stores.leasing import Lease
from lethe.stores.sql.blocking import GO
from lethe.stores.sql.dialects.base import Dialect, Fault, Predicate, Slice, moment
from lethe.stores.sql.erasing import Along, Moved, TableEraser
from lethe.stores.sql.kin import carrying, chain
from lethe.stores.sql.schema import Child
from lethe.stores.sql.staging import Scratch, slice_of, tally_of

_TRIES = 5
"""How often a batch is judged again in one turn, because something changed before it was erased."""
_ANSWERED = frozenset({Fault.AGAIN, Fault.REFERRED, Fault.DENIED, Fault.RAISED, Fault.NOT_REPLICATED, Fault.VANISHED})
"""Errors by which the server says that it has done nothing."""


def revoke(connection: sa.Connection, scratch: Scratch, datasets: Set[str], dialect: Dialect, timeout: float) -> None:
    """Take back every attempt at a batch of some datasets: what was sent for it is done, or never happens."""
    staged = scratch.staged
    with connection.begin():
        if not sa.inspect(connection).has_table(staged.name, schema=staged.schema):
            return
        named = sa.select(staged.c.run, staged.c.dataset).where(staged.c.dataset.in_(datasets))
        rows = connection.execute(named.where(staged.c.candidates.is_not(None))).all()
    for row in rows:
        batches = scratch.named(row.run, row.dataset).batches
        taken = sa.update(batches).where(sa.not_(batches.c.done), batches.c.attempt.is_not(None)).values(attempt=None)
        try:
            dialect.together(connection, [taken], timeout)
        except sa.exc.DBAPIError as error:
            if dialect.fault(error) is not Fault.VANISHED:  # cleaned meanwhile, which ends every attempt
                raise


@dataclass(frozen=True)
class _Judged:
    """What is to become of a batch's candidates, with what goes along, and how many have each outcome."""

    verdict: sa.Table
    along: tuple[Along, ...]
    counts: dict[str, int]


@dataclass
class LeasedEraser(TableEraser):
    """Erases batches of one dataset of one run in one session, under leases."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._seen: list[tuple[Child | None, Predicate]] = []

    def batch(self, number: int) -> Became:
        """Do one batch, or read what became of it."""
        try:
            for turn in range(_TRIES + 1):
                row, server_ahead = self._read(number)
                if row.done:
                    return tally_of(row)
                if turn < _TRIES:
                    self._attempt(number, slice_of(row), server_ahead, last=turn == _TRIES - 1)
        except BaseException:
            self._notes.forget()
            for tables in (self._all, self._below):
                tables.forget()
            if self._asked is not None:
                self._asked.forget()
            raise
        raise Moved

    def _read(self, number: int) -> tuple[sa.Row[Any], float]:
        """The batch's row, and how many seconds the server's clock is ahead of `time.monotonic`, at least."""
        with self.connection.begin():
            row = self.connection.execute(self._row(number, self.dialect.now().label("server_now"))).one_or_none()
        return self._sound(row), moment(row.server_now).timestamp() - time.monotonic() if row else 0.0

    def _attempt(self, number: int, part: Slice, server_ahead: float, *, last: bool) -> None:
        """Try to erase it. Whether that succeeded is said by the batch's row alone."""
        judged = self._judged(part)
        attempt = secrets.token_hex(8)
        batches = self.staging.batches
        noted = sa.update(batches).where(batches.c.batch == number, sa.not_(batches.c.done)).values(attempt=attempt)
        self.dialect.together(self.connection, [noted], self.gate.lease_seconds)
        with self._lease(server_ahead) as lease:
            if self._all.has(lease.rules) and (self._asked is None or self._asked.has(lease.rules)):
                self._send(lease, self._request(number, attempt, judged, lease.deadline), last=last)

    @contextmanager
    def _lease(self, server_ahead: float) -> Iterator[Lease]:
        """A lease; kept to its end where a request was not answered."""
        started = time.monotonic()
        with self.gate.lease() as rules:
            lease = Lease(rules, started, self.gate.lease_seconds, server_ahead + started)
            try:
                yield lease
            finally:
                lease.wait_for_unanswered()

    def _send(self, lease: Lease, statements: Sequence[sa.Executable], *, last: bool) -> None:
        seconds = lease.sent_by - time.monotonic()
        if seconds <= 0:
            return
        lease.unanswered = True
        try:
            self.dialect.together(self.connection, statements, seconds)
        except sa.exc.DBAPIError as error:
            fault = self.dialect.fault(error)
            lease.unanswered = fault not in _ANSWERED
            if fault is not Fault.AGAIN and (last or fault is not Fault.REFERRED):
                raise
        else:
            lease.unanswered = False

    # --- what a batch is judged by ---

    def _judged(self, part: Slice) -> _Judged:
        rules = self.gate.current()
        with self.connection.begin():
            self._go_by_requests(rules, patient=False)
            self._require(self._below, rules.naming(self._carried_below), patient=False)
            verdict = self._judge(part, rules, patient=False)
            self.blockers.mark(self.connection, verdict)
            return _Judged(verdict, tuple(self._along(verdict)), self._outcomes(verdict))

    def _before_judging(self, joined: sa.FromClause, mine: Predicate) -> None:
        """Note what the rows are judged by, and those that go with them, before any of it is looked at."""
        self._seen.clear()
        dataset = self._judgement.dataset
        columns = {name for names in dataset.identifiers.values() for name in names} | set(dataset.clock.columns)
        self._see(None, self.target.table, dataset.key, sorted(columns), joined, mine)
        if not self._carried_below:
            return
        shape = self._references()
        parents, _ = self._note("seen_parents", shape, sa.select(*shape).select_from(joined).where(mine))
        for path in carrying(self.target.children):
            child = path[-1]
            names = sorted({name for names in child.identifiers.values() for name in names})
            self._see(child, child.table, child.foreign_key, names, chain(path, parents), sa.true())

    def _see(
        self,
        child: Child | None,
        table: sa.Table,
        by: Sequence[str],
        names: Sequence[str],
        source: sa.FromClause,
        where: Predicate,
    ) -> None:
        """Note columns of some rows, to be found again by others."""
        shape = [table.c[name].label(f"by_{number}") for number, name in enumerate(by)]
        shape += [self.dialect.spelt(table.c[name]).label(f"was_{number}") for number, name in enumerate(names)]
        noted, _ = self._note(f"seen_{len(self._seen)}", shape, sa.select(*shape).select_from(source).where(where))
        same = [table.c[name] == noted.c[f"by_{number}"] for number, name in enumerate(by)]
        same += [
            self.dialect.spelt(table.c[name]).is_not_distinct_from(noted.c[f"was_{number}"])
            for number, name in enumerate(names)
        ]
        found = sa.select(sa.literal(1)).select_from(noted).where(*same)
        self._seen.append((child, sa.exists(found.correlate_except(noted))))

    def _as_seen(self, child: Child | None) -> list[Predicate]:
        """Whether a row of a child table, or of the records' own, is as it was judged."""
        return [predicate for seen, predicate in self._seen if seen is child]

    # --- the request ---

    def _request(self, number: int, attempt: str, judged: _Judged, deadline: float) -> list[sa.Executable]:
        """What erases a batch and writes down its outcome, or fails."""
        verdict, batches = judged.verdict, self.staging.batches
        end = sa.literal(datetime.fromtimestamp(deadline, UTC), sa.DateTime(timezone=True))
        in_time = self.dialect.now() < end
        mine = sa.and_(batches.c.batch == number, batches.c.attempt == attempt)
        claim = sa.update(batches).where(mine, sa.not_(batches.c.done)).values(done=True, **self._values(judged))
        claimed = sa.exists(sa.select(sa.literal(1)).select_from(batches).where(mine, batches.c.done))
        goes = [along.delete(self.dialect).where(in_time, *self._as_seen(along.child)) for along in judged.along]
        erase = self._statement(
            verdict, self._same_rows(verdict), verdict.c.outcome == GO, self._judgement.candidate, in_time
        )
        left = [self._left(verdict), *(sa.exists(along.rows(sa.literal(1))) for along in judged.along)]
        return [
            claim,
            self.dialect.demand(sa.and_(claimed, in_time)),  # before what a request of another attempt may have done
            self._excepting(verdict),
            *goes,
            erase.where(*self._as_seen(None)),
            self.dialect.demand(sa.and_(in_time, *(sa.not_(one) for one in left))),
        ]

    def _values(self, judged: _Judged) -> dict[str, Any]:
        """What the row of a batch says of its outcome."""
        counts = {name: count for name, count in judged.counts.items() if name != GO}
        tally: dict[str, Any] = self._tally(judged.counts.get(GO, 0), 0, **counts).model_dump()
        for along in judged.along:
            tally["rows_with"] = tally["rows_with"] + along.rows(sa.func.count()).scalar_subquery()
        return tally

    def _left(self, verdict: sa.Table) -> Predicate:
        """Whether a row that was to go is there, or one that was to be masked is not, or is not masked."""
        on = [mine == noted for mine, noted in self._same_rows(verdict)]
        row = sa.select(sa.literal(1)).select_from(self.target.table).where(*on).correlate(verdict)
        erases = self.work.disposition is Disposition.ERASE
        wrong = sa.exists(row) if erases else sa.not_(sa.exists(row.where(self._judgement.done_before)))
        return sa.exists(sa.select(sa.literal(1)).select_from(verdict).where(verdict.c.outcome == GO, wrong))
