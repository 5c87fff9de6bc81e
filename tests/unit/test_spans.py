"""Never early: a date in a key counts from the last moment that it may mean, and holds find it by all of its days."""

from __future__ import annotations

from datetime import UTC, date, datetime
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lethe.judging.dates import TimestampFormat
from lethe.judging.spans import PARTS, Span, span_of, wrong_groups

PRAGUE = ZoneInfo("Europe/Prague")
ZONES = st.sampled_from(
    [ZoneInfo(name) for name in ("Europe/Prague", "UTC", "America/Havana", "Pacific/Apia", "Australia/Lord_Howe")]
)
VECTORS = yaml.safe_load((files("lethe.judging") / "vectors" / "spans.yaml").read_text("utf-8"))


def said(vector: dict[str, Any]) -> Span | None:
    if "days" in vector:
        return Span(*vector["days"])
    ends = [datetime.fromisoformat(vector[end]) for end in ("from", "to") if end in vector]
    return Span(*ends) if ends else None


@pytest.mark.parametrize("vector", VECTORS, ids=lambda one: "-".join(str(part) for part in one["parts"].values()))
def test_dates_in_keys_mean_what_the_vectors_say(vector: dict[str, Any]) -> None:
    span = span_of(vector["parts"], TimestampFormat(vector.get("format", "iso8601")))
    assert (span.placed(PRAGUE, PRAGUE) if span else None) == said(vector)


@given(
    st.datetimes(datetime(1971, 1, 2), datetime(2037, 12, 30)),  # noqa: DTZ001
    ZONES,
    ZONES,
    st.sampled_from([("%Y",), ("%Y", "%m"), ("%Y", "%m", "%d"), ("%Y", "%m", "%d", "%H"), ("%G", "%V")]),
)
def test_whatever_happened_lies_between_the_ends_of_its_date(
    moment: datetime, zone: ZoneInfo, written_in: ZoneInfo, precision: tuple[str, ...]
) -> None:
    happened = moment.replace(tzinfo=UTC)
    local = happened.astimezone(written_in)
    names = {"%G": "iso_year", "%V": "week", "%Y": "year", "%m": "month", "%d": "day", "%H": "hour"}
    span = span_of({names[part]: local.strftime(part).zfill(2) for part in precision}, TimestampFormat.ISO_8601)
    assert span is not None
    placed = span.placed(written_in, zone)
    first, last = placed.days(zone)
    assert first <= happened.astimezone(zone).date() <= last
    if isinstance(placed.last, datetime):
        assert placed.first <= happened <= placed.last


def test_a_day_of_another_zone_ends_when_it_ends_there() -> None:
    day = Span(date(2024, 12, 31), date(2024, 12, 31))
    assert day.placed(ZoneInfo("UTC"), PRAGUE).days(PRAGUE) == (date(2024, 12, 31), date(2025, 1, 1))
    assert day.placed(ZoneInfo("Pacific/Apia"), PRAGUE).days(PRAGUE) == (date(2024, 12, 30), date(2024, 12, 31))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"date"}, "needs a group named value"),
        ({"month", "day"}, "needs a group named value"),
        ({"value", "year"}, "captures value and year"),
        ({"year", "day"}, "day needs month"),
        ({"year", "month", "hour"}, "hour needs day"),
        ({"iso_year"}, "iso_year needs week"),
        ({"iso_year", "week", "quarter"}, "quarter needs year"),
        ({"year", "week"}, "a week needs the year that it is counted in, as iso_year"),
        ({"iso_year", "week", "year"}, "a week needs the year"),
        ({"iso_year", "week", "month"}, "month needs year"),
    ],
)
def test_patterns_that_capture_no_date_are_refused(groups: set[str], message: str) -> None:
    assert message in (wrong_groups(frozenset(groups)) or "")


@pytest.mark.parametrize("groups", [{"value"}, {"year"}, {"year", "month", "day", "country"}, {"iso_year", "week"}])
def test_patterns_that_capture_a_date_are_accepted(groups: set[str]) -> None:
    assert wrong_groups(frozenset(groups)) is None
    assert groups & {*PARTS, "value"}
