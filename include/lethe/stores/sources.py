"""What a store gives to be checked: candidates as they are staged, and what is left after erasing.

A store that is a database gives a query, and is checked where the data is. All others give rows, one by one, which are
checked in a file that holds nothing but digests. Either way these are the columns:

=========  =============================================================================================
column     of the staged candidates
=========  =============================================================================================
record     what tells a candidate from all others; personal data
clock      the local day of its clock, in the policy's zone, worked out from the record itself
cutoff     the cutoff that it is judged by
held       whether a hold covered it when it was discovered
records    how many records the row stands for, usually one
=========  =============================================================================================

=============  =========================================================================================
column         of what is left, always a single row
=============  =========================================================================================
expired        expired records that no condition of the policy keeps, held ones included
unjudgeable    records that cannot be judged
=============  =========================================================================================
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import sqlalchemy as sa

from lethe.stores.base import Candidates, Work

if TYPE_CHECKING:
    import pandas as pd

Query = sa.Select[*tuple[Any, ...]]

_LOGGED_AS = "lethe"


def _no_rows(message: logging.LogRecord) -> bool:
    return message.levelno >= logging.INFO


def _no_notices(message: logging.LogRecord) -> bool:
    return message.levelno > logging.INFO


def unlogged_rows(*noticing: str) -> dict[str, Any]:
    """Options of `sa.create_engine` for engines of stores, by which no value enters a log or an error's text.

    SQLAlchemy logs parameters at INFO, which `hide_parameters` prevents, and fetched rows at DEBUG, which it does not
    (2.1). So these engines have a logger of their own, whose DEBUG messages are dropped, whoever asks for them. Some
    databases' notices, in which a trigger may quote a row, are logged by loggers that all engines share: those that are
    `noticing`.
    """
    logging.getLogger(f"sqlalchemy.engine.Engine.{_LOGGED_AS}").addFilter(_no_rows)  # again is harmless
    for name in noticing:
        logging.getLogger(name).addFilter(_no_notices)
    return {"hide_parameters": True, "logging_name": _LOGGED_AS}


class Staged(NamedTuple):
    """A row of staged candidates."""

    record: bytes
    clock: date | None
    cutoff: date | None
    held: bool
    records: int = 1


@dataclass(frozen=True, slots=True)
class SqlSource:
    """Rows in a database.

    Attributes:
        connect: opens a connection that can read the rows and make temporary tables. Its errors, and those of
            statements run while it is open, are the store's own.
        query: the rows, with the columns that this module names.
    """

    connect: Callable[[], AbstractContextManager[sa.Connection]] = field(repr=False)
    query: Query


@dataclass(frozen=True, slots=True)
class RowSource:
    """Rows that are no table, read once."""

    rows: Iterable[Staged] = field(repr=False)


@runtime_checkable
class GivesCandidates(Protocol):
    """A store whose staged candidates can be checked."""

    def candidates_source(self, work: Work, candidates: Candidates) -> SqlSource | RowSource:
        """The staged candidates that are to be erased.

        Raises:
            StoreError, StoreUnavailable: if what was staged cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class FrameSource:
    """Records that are no table, read once and some at a time."""

    frames: Iterable[pd.DataFrame] = field(repr=False)


@runtime_checkable
class GivesRecords(Protocol):
    """A store whose candidates can be checked by further columns, as they are now in the dataset itself."""

    def records_source(self, work: Work, candidates: Candidates, columns: Sequence[str]) -> SqlSource | FrameSource:
        """Some columns of the records that are to be erased. Days and moments in frames are moments with a time zone.

        Raises:
            StoreError, StoreUnavailable: if there is no such column, or they cannot be read.
        """
        ...
