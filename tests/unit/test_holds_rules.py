"""Never held: what a rule covers, and that it errs towards holding."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from lethe.holds.rules import NO_HOLDS, ClockRange, HoldRule, HoldRules
from lethe.judging.identifiers import IdentifierType

PRAGUE = ZoneInfo("Europe/Prague")


def rule(version: int, *, emails: tuple[str, ...] = ()) -> HoldRule:
    types = frozenset({IdentifierType.EMAIL}) if emails else frozenset()
    return HoldRule(
        hold=f"hold-{version}",
        matter=f"M-{version}",
        version=version,
        everything=not emails,
        types=types,
        load=lambda: {IdentifierType.EMAIL: emails, IdentifierType.PHONE: ("+420777123456",)},
    )


@given(
    first=st.none() | st.dates(),
    last=st.none() | st.dates(),
    zone=st.sampled_from(["Europe/Prague", "America/St_Johns", "Pacific/Kiritimati", "Pacific/Apia"]),
)
def test_a_clock_range_is_the_same_in_days_and_in_moments(first: date | None, last: date | None, zone: str) -> None:
    begins, ends = ClockRange(first, last).instants(ZoneInfo(zone))
    assert (begins is None) == (first is None or first == date.min)
    assert (ends is None) == (last is None or last == date.max)
    for moment in (begins, ends):
        assert moment is None or moment.utcoffset() == UTC.utcoffset(None)


def test_both_days_of_a_clock_range_are_held() -> None:
    begins, ends = ClockRange(date(2026, 3, 29), date(2026, 3, 29)).instants(PRAGUE)
    assert begins == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert ends == datetime(2026, 3, 29, 22, tzinfo=UTC), "that day has 23 hours"
    held = ClockRange(date(2026, 3, 29), date(2026, 3, 30))
    assert [held.contains(date(2026, 3, day)) for day in (28, 29, 30, 31)] == [False, True, True, False]


def test_an_open_range_holds_every_day() -> None:
    assert ClockRange().contains(date.min)
    assert ClockRange().contains(date.max)
    assert ClockRange().instants(PRAGUE) == (None, None)


def test_only_rules_placed_since() -> None:
    rules = HoldRules(7, (rule(3), rule(5), rule(7)))
    assert [later.version for later in rules.since(4).rules] == [5, 7]
    assert rules.since(4).version == 7
    assert not rules.since(7)
    assert not NO_HOLDS


def test_identifiers_are_only_those_of_types_that_the_dataset_carries() -> None:
    rules = HoldRules(2, (rule(1), rule(2, emails=("a@b.cz",))))
    found = [(of.hold, kind, list(values)) for of, kind, values in rules.identifiers()]
    assert found == [("hold-2", IdentifierType.EMAIL, ["a@b.cz"])]


def test_identifiers_do_not_show_in_a_rules_text() -> None:
    assert "a@b.cz" not in repr(HoldRules(1, (rule(1, emails=("a@b.cz",)),)))
