"""Never early: what clocks in text and local times mean, as the vectors say."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.dates_kit import NEAR, read_clocks, vectors

from lethe.judging.dates import BLANKS, TimestampFormat, day_of, later, read, walls_before
from lethe.periods import start_of_day

ZONES = st.sampled_from(
    [
        ZoneInfo(name)
        for name in (
            "Europe/Prague",
            "UTC",
            "America/Sao_Paulo",
            "America/Havana",
            "America/New_York",
            "Pacific/Apia",
            "Australia/Lord_Howe",
            "Asia/Kathmandu",
        )
    ]
)
CHANGES = st.sampled_from(
    [datetime(2024, 3, 31, 1), datetime(2024, 10, 27, 1), datetime(2024, 11, 3, 6), datetime(2024, 4, 6, 15)]  # noqa: DTZ001
)
MOMENTS = st.datetimes(datetime(2005, 1, 1), datetime(2027, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("form", TimestampFormat)
def test_clocks_in_text_are_read_as_the_vectors_say(form: TimestampFormat) -> None:
    said = vectors(form)
    assert [one.moment for one in read_clocks([one.text for one in said], form)] == [one.moment for one in said]


def test_there_are_many_vectors_of_dates_and_none_is_there_twice() -> None:
    said = [one.text for one in vectors(TimestampFormat.ISO_8601)]
    assert len(set(said)) == len(said) >= 100


def test_blanks_are_what_python_strips() -> None:
    assert set(BLANKS) == {chr(code) for code in range(0x110000) if chr(code).isspace()}


@given(NEAR)
def test_no_text_is_read_as_earlier_than_python_reads_it(text: str) -> None:
    """Whatever both can read is the same moment."""
    (mine,) = read_clocks([text])
    try:
        theirs = datetime.fromisoformat(text.strip())
    except ValueError:
        return
    if not isinstance(mine.moment, datetime):
        assert mine.moment in (None, theirs.date())
    elif theirs.tzinfo is not None:
        assert mine.moment == theirs
    else:
        assert mine.moment == later(theirs, ZoneInfo("Europe/Prague"))


@given(st.text(max_size=30), st.sampled_from(TimestampFormat))
def test_any_text_is_a_clock_or_nothing(text: str, form: TimestampFormat) -> None:
    moment = read(text, form)
    assert moment is None or re.search("[0-9]", text)


@given(MOMENTS | CHANGES, st.integers(-48 * 60, 48 * 60), st.integers(-7200, 7200), ZONES)
def test_a_local_time_is_before_a_moment_exactly_if_its_later_reading_is(
    moment: datetime, minutes: int, seconds: int, zone: ZoneInfo
) -> None:
    instant = moment.replace(tzinfo=UTC) + timedelta(seconds=seconds)
    wall = (instant + timedelta(minutes=minutes)).astimezone(zone).replace(tzinfo=None)
    before = any(start <= wall < end for start, end in walls_before(instant, zone))
    assert before == (later(wall, zone) < instant)
    assert later(wall, zone) == max(wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))


@given(st.dates(date(2005, 1, 1), date(2027, 1, 1)), ZONES)
def test_the_start_of_a_day_is_midnight_on_the_wall(day: date, zone: ZoneInfo) -> None:
    if (day, zone.key) == (date(2011, 12, 30), "Pacific/Apia"):
        return  # a day that did not happen
    midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001
    ranges = walls_before(start_of_day(day, zone), zone)
    assert ranges[0][1] == midnight
    assert all(start > midnight for start, _ in ranges[1:])


@pytest.mark.parametrize("text", ["0001-01-01T00:00", "9999-12-31T23:59:59.999999"])
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/New_York", "UTC"])
def test_local_times_at_the_ends_of_the_calendar_have_a_moment_and_a_day(text: str, zone: str) -> None:
    wall = read(text, TimestampFormat.ISO_8601)
    assert isinstance(wall, datetime)
    assert later(wall, ZoneInfo(zone)).year == wall.year
    assert day_of(wall, ZoneInfo("Asia/Tokyo"), ZoneInfo(zone)).year == wall.year
