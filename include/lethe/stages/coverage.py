"""Coverage: what looks like personal data in the stores that policies name, and no policy has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pydantic import Field

from lethe.environment import Environment
from lethe.errors import ParameterError, StoreError
from lethe.judging.recognising import Personal, personal
from lethe.policy import BucketDataset, ChildTable, Model, TableDataset, load_beside, name_parts
from lethe.stores.base import ListsPrefixes, ListsTables, Place, TableSeen

FILE = "coverage.yaml"
"""Beside the folder of policies: what is known, and need not be reported until somebody looks again."""

SAMPLE = 200
"""Rows of each table that are looked at where nothing else is said."""

_IDENTIFIES = {Personal.EMAIL, Personal.PHONE}
"""What finds a record for a hold wherever it stands, and so has to be declared also where the whole row goes."""


class KnownException(Model):
    """A table, or columns of it, that need no policy: why, and when somebody looks at it again."""

    store: str
    table: str = Field(description="As coverage prints it.")
    columns: tuple[str, ...] = Field(default=(), description="All where left out.")
    reason: str = Field(min_length=1)
    look_again: date


class _Known(Model):
    exceptions: tuple[KnownException, ...] = ()


@dataclass(frozen=True, slots=True)
class CoverageFinding:
    """Something that somebody has to look at, in words; `columns` with what they look like. No value is in it."""

    store: str
    what: str
    where: str
    columns: Mapping[str, Personal]

    def __str__(self) -> str:
        """In one sentence."""
        looks = ", ".join(f"{name} ({kind})" for name, kind in self.columns.items())
        return f"{self.store}: {self.where}: {self.what}{f': {looks}' if looks else ''}"


def known_exceptions(policies: Path) -> tuple[KnownException, ...]:
    """What is declared beside a folder of policies.

    Raises:
        ParameterError: if that cannot be read.
    """
    known = load_beside(policies, FILE, _Known, first="exceptions", refusal=ParameterError)
    return known.exceptions if known else ()


def coverage(env: Environment, today: date, sample: int = SAMPLE) -> Iterator[CoverageFinding]:
    """What no policy covers, by the catalogues and a sample of each table; and what policies have that is gone.

    Raises:
        ParameterError: if the declared exceptions cannot be read.
        ConnectionMissing, StoreUnavailable: if a store cannot be asked.
    """
    known = known_exceptions(env.settings.policies)
    for one in known:
        if one.look_again < today:
            what = f"an exception was to be looked at again by {one.look_again} ({one.reason})"
            yield CoverageFinding(one.store, what, one.table, {})
    tables = [(policy, one) for policy in env.policies.values() for one in policy.datasets
              if isinstance(one, TableDataset)]  # fmt: skip
    places: list[tuple[TableDataset, Place]] = []
    for policy, dataset in tables:
        try:
            places.append((dataset, env.store(dataset).place(dataset)))
        except StoreError as error:
            yield CoverageFinding(
                dataset.store, f"the dataset is gone: {error}", f"{policy.category}.{dataset.name}", {}
            )
    current = [one for one in known if one.look_again >= today]
    seen: set[str] = set()
    for store in dict.fromkeys(dataset.store for _, dataset in tables):
        for table in _overview(env, store, sample):
            if table.root + table.id not in seen:
                seen.add(table.root + table.id)
                yield from _findings(store, table, places, current)
    yield from _in_buckets(env, sample, current)


def _in_buckets(env: Environment, sample: int, known: Sequence[KnownException]) -> Iterator[CoverageFinding]:
    """What lies in the buckets of policies below no dataset's prefix."""
    prefixes: dict[str, list[str]] = defaultdict(list)
    opened: dict[str, tuple[object, str, str]] = {}
    for policy in env.policies.values():
        for dataset in policy.datasets:
            if isinstance(dataset, BucketDataset):
                root = env.store(dataset).place(dataset).root
                prefixes[root].append(dataset.prefix)
                opened.setdefault(root, (env.store(dataset), dataset.store, dataset.bucket))
    for root, (store, conn_id, bucket) in opened.items():
        if isinstance(store, ListsPrefixes):
            for folder in store.look_through(bucket, prefixes[root], sample):
                yield from _findings(conn_id, folder, (), known)


def _overview(env: Environment, store: str, sample: int) -> Sequence[TableSeen]:
    opened = env.open("table", store)
    return opened.overview(sample) if isinstance(opened, ListsTables) else ()


def _findings(
    store: str, table: TableSeen, places: Sequence[tuple[TableDataset, Place]], known: Sequence[KnownException]
) -> Iterator[CoverageFinding]:
    excused = [one for one in known if (one.store, one.table) == (store, table.name)]
    if any(not one.columns for one in excused):
        return
    found = {name: kind for name, kind in personal(table.columns).items()
             if not any(name in one.columns for one in excused)}  # fmt: skip
    having = [dataset for dataset, place in places
              if place.root == table.root and table.id in (*place.records, *place.along)]  # fmt: skip
    unread = "" if table.sampled else " (its rows may not be read: by its names alone)"
    if not having and found:
        yield CoverageFinding(store, f"looks like personal data, and no policy has it{unread}", table.name, found)
    elif having:
        undeclared = _undeclared(table, found, having)
        if undeclared:
            what = "is in a policy, but no identifier or mask names what looks like personal data"
            yield CoverageFinding(store, what, table.name, undeclared)


def _undeclared(table: TableSeen, found: Mapping[str, Personal], having: Sequence[TableDataset]) -> dict[str, Personal]:
    """What no dataset names that has the table: identifiers where the row goes, all where it is only masked."""
    own = name_parts(table.name)[-1]
    named: dict[str, set[str]] = defaultdict(set)
    for dataset in having:
        named[name_parts(dataset.table)[-1]] |= {*dataset.key, *(mask.column for mask in dataset.masks)}
        for one in _with_children(dataset):
            named[name_parts(one.table)[-1]] |= {name for names in one.identifiers.values() for name in names}
    masked = any(dataset.masks for dataset in having)
    return {name: kind for name, kind in found.items()
            if name not in named[own] and (masked or kind in _IDENTIFIES)}  # fmt: skip


def _with_children(table: TableDataset | ChildTable) -> Iterator[TableDataset | ChildTable]:
    yield table
    for child in table.children:
        yield from _with_children(child)
