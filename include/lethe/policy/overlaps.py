"""Datasets that may have records in common, by the names that policies give them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lethe.policy.datasets import BucketDataset, Dataset, TableDataset
from lethe.policy.fields import name_parts
from lethe.policy.related import Related, split_column, way_to_related
from lethe.policy.rules import Policy


def overlaps(policies: Iterable[Policy]) -> Iterator[str]:
    """A message for every pair of datasets, of one or several policies, that may have records in common."""
    everything = [(policy, dataset) for policy in policies for dataset in policy.datasets]
    for index, (policy, dataset) in enumerate(everything):
        for other_policy, other in everything[index + 1 :]:
            if may_overlap(dataset, other):
                yield (
                    f"{policy.category}.yaml datasets.{dataset.name} and {other_policy.category}.yaml "
                    f"datasets.{other.name} overlap: both have records of {dataset.location}"
                )
            for (judging, judged), (erasing, going) in (
                ((policy, dataset), (other_policy, other)),
                ((other_policy, other), (policy, dataset)),
            ):
                if text := undercut(judged, going):
                    yield (
                        f"{judging.category}.yaml datasets.{judged.name}: {text} "
                        f"{erasing.category}.yaml datasets.{going.name} erases"
                    )


def may_overlap(one: Dataset, two: Dataset) -> bool:
    """Whether two datasets may have records in common, as far as their connections and names show it."""
    return one.store == two.store and _overlap(one, two)


def undercut(judged: Dataset, going: Dataset) -> str | None:
    """That one dataset erases rows by whose latest date another's records are kept: these would go early; in words."""
    if not isinstance(judged, TableDataset) or not isinstance(going, TableDataset) or judged.store != going.store:
        return None
    for name in dict.fromkeys(split_column(column, judged.related)[0] for column in judged.clock.latest_of or ()):
        many = None if name is None else judged.related[name]
        if many is not None and many.many and any(_same_table(many.table, one) for one in _going(going, judged, many)):
            return (
                f"related.{name}: its clock is the latest of the rows of {many.table} that are left, so that records "
                "would go early: name them in children alone, or take another clock; they are among what"
            )
    return None


def _going(dataset: TableDataset, judged: TableDataset, many: Related) -> Iterator[str]:
    """The tables that a dataset erases rows of, but for those that go with their record, where it has such records."""
    yield dataset.table
    for child in dataset.children:
        pairs = frozenset(zip(child.foreign_key, child.references or dataset.key, strict=False))
        alike = _same_table(dataset.table, judged.table) and pairs == many.pairs
        yield from child.tables[1:] if alike else child.tables


def exclude_each_other(one: TableDataset, two: TableDataset) -> bool:
    """Whether no row can be in both, by what their `where` says."""
    return any(a.excludes(b) for a in one.where for b in two.where if _same_column(one, two, a.column))


def _same_column(one: TableDataset, two: TableDataset, column: str) -> bool:
    """Whether a column of a related row is one of the same row: two policies may have one name for two."""
    way, other = (_leading(dataset, column) for dataset in (one, two))
    return way == other and (not way or one.store == two.store)


def _leading(dataset: TableDataset, column: str) -> list[Related]:
    """What leads from a record to the row that has a column; nothing to the record's own."""
    name, _ = split_column(column, dataset.related)
    return [] if name is None else [dataset.related[each] for each in way_to_related(name, dataset.related)]


def _overlap(one: Dataset, two: Dataset) -> bool:
    if isinstance(one, TableDataset) and isinstance(two, TableDataset):
        if any(_same_table(two.table, child) for child in _child_tables(one)):
            return True  # rows of the child table would go by two periods
        if any(_same_table(one.table, child) for child in _child_tables(two)):
            return True
        return _same_table(one.table, two.table) and not exclude_each_other(one, two)
    if isinstance(one, BucketDataset) and isinstance(two, BucketDataset) and one.bucket == two.bucket:
        return one.prefix.startswith(two.prefix) or two.prefix.startswith(one.prefix)
    return False


def _child_tables(dataset: TableDataset) -> tuple[str, ...]:
    return tuple(table for child in dataset.children for table in child.tables)


def _same_table(one: str, two: str) -> bool:
    """Whether two names may mean one table: a name without a schema may be in any."""
    parts, others = name_parts(one.casefold()), name_parts(two.casefold())
    shared = min(len(parts), len(others))
    return parts[-shared:] == others[-shared:]
