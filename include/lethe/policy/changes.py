"""What changed between two versions of a policy, and whether something may go by the newer that the older kept.

Where that cannot be told for certain the answer is that it may: who is asked once too often loses a minute.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lethe.periods import Period
from lethe.policy.datasets import Dataset
from lethe.policy.rules import CountedFrom, Disposition, Policy

_RULE = ("retention", "calendar")
"""What a rule in words says."""
_SAID_APART = frozenset({*_RULE, "time_zone", "disposition", "datasets"})
"""Fields whose changes have words of their own."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two versions of a policy.

    Attributes:
        dataset: the one that it is of; None: it is of all.
        text: what is different, in words.
        erases: whether a record, or a value, may go by it that the older version kept, or go earlier.
    """

    dataset: str | None
    text: str
    erases: bool


@dataclass(frozen=True, slots=True)
class _Term:
    """When records go: a period, and all that moves its end."""

    period: Period | None
    lead: int = 0
    from_end_of_year: bool = False
    calendar: str | None = None

    def may_end_before(self, other: _Term) -> bool:
        """Whether there may be a record that goes earlier by this than by the other."""
        mine, theirs = self.period, other.period
        if theirs is None or mine is None:  # at once: earlier than anything but itself
            return mine is None and theirs is not None
        return (
            mine.months < theirs.months
            or mine.days < theirs.days
            or self.lead > other.lead
            or (other.from_end_of_year and not self.from_end_of_year)
            or (other.calendar is not None and self.calendar != other.calendar)
        )


def changes(old: Policy, new: Policy) -> tuple[Change, ...]:
    """All that is different in the newer version of a policy: of the category first, then of its datasets."""
    return (*_of_category(old, new), *_of_datasets(old, new))


def newly_erasing(old: Policy, new: Policy, dataset: str) -> tuple[str, ...]:
    """What in the newer version may make records of a dataset go that the older kept, in words; none if nothing can."""
    return tuple(one.text for one in changes(old, new) if one.erases and one.dataset in (None, dataset))


def _of_category(old: Policy, new: Policy) -> Iterator[Change]:
    before, after = _said(old), _said(new)
    if any(before.get(name) != after.get(name) for name in _RULE):
        yield Change(None, f"kept {old.rule} → {new.rule}", _may_shorten(old, new))
    if old.time_zone != new.time_zone:
        yield Change(None, f"days are those of {old.time_zone} → {new.time_zone}", erases=True)
    if old.disposition is not new.disposition:
        erases = new.disposition is Disposition.ERASE
        yield Change(None, f"disposition: {old.disposition} → {new.disposition}", erases)
    for name in Policy.model_fields:
        if name not in _SAID_APART and before.get(name) != after.get(name):
            yield Change(None, f"{name}: {_words(before.get(name))} → {_words(after.get(name))}", erases=False)


def _may_shorten(old: Policy, new: Policy) -> bool:
    before, after = old.retention.by_value, new.retention.by_value
    if before is not None and after is not None and before.column != after.column:
        return True
    kept, keeps = _terms(old), _terms(new)
    for value in {*kept, *keeps}:
        mine, theirs = keeps.get(value, keeps[None]), kept.get(value, kept[None])
        if mine is not None and (theirs is None or mine.may_end_before(theirs)):
            return True
    return False


def _terms(policy: Policy) -> dict[str | None, _Term | None]:
    """When records go, by the value of `by_value`; of None: those that it does not name, which may never be judged."""
    rule = policy.retention
    year = rule.counted_from is CountedFrom.END_OF_YEAR
    calendar = policy.calendar if policy.extends else None
    period = rule.keep_for or rule.erase_within
    lead = rule.lead_time.days if rule.lead_time else 0
    others = _Term(period, lead, year, calendar) if period or rule.at_once else None
    by_value = rule.by_value.periods if rule.by_value else {}
    return {None: others, **{value: _Term(one, 0, year, calendar) for value, one in by_value.items()}}


def _of_datasets(old: Policy, new: Policy) -> Iterator[Change]:
    before, after = ({dataset.name: dataset for dataset in policy.datasets} for policy in (old, new))
    for name in before.keys() - after.keys():
        yield Change(name, f"{name} is no dataset any more: nothing of it goes", erases=False)
    for name, dataset in after.items():
        if name in before:
            yield from _of_dataset(before[name], dataset)
        else:
            yield Change(name, f"{name} is a further dataset: {dataset.location}", erases=True)


def _of_dataset(old: Dataset, new: Dataset) -> Iterator[Change]:
    before, after = _said(old), _said(new)
    for field in sorted(before.keys() | after.keys()):
        one, other = before.get(field), after.get(field)
        if one != other:
            text = f"{new.name}.{field}: {_words(one)} → {_words(other)}"
            yield Change(new.name, text, _may_widen(field, one, other))


def _may_widen(field: str, old: Any, new: Any) -> bool:  # noqa: ANN401 - what JSON has
    """Whether another value of a dataset's field may make more go: other records, or records that a hold kept."""
    if field in ("where", "keep_while"):  # a condition more in either: fewer records go
        return any(condition not in (new or []) for condition in old or [])
    if field == "identifiers":
        return any(
            column not in (new or {}).get(kind, []) for kind, columns in (old or {}).items() for column in columns
        )
    if field == "masks":
        return any(mask not in (old or []) for mask in new or [])
    if field == "clock":
        return {**(old or {}), "when_missing": None} != {**(new or {}), "when_missing": None}
    return field != "title"


def _said(model: Policy | Dataset) -> Mapping[str, Any]:
    """What it says, without what is left out."""
    said: Mapping[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return said


def _words(value: object) -> str:
    """A value of a policy's field, as one would write it on a line."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(part)}" for name, part in value.items()) or "nothing"
    if isinstance(value, list):
        return "; ".join(map(_words, value)) or "nothing"
    return str(value).lower() if isinstance(value, bool) else str(value)
