"""Never early, never silently late: cutoffs are those of Regulation 1182/71, in local days."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lethe.periods import Cutoff, Period, cutoff_at_once, cutoff_for, end_of_year, same_day, start_of_day
from lethe.working_days import OutOfCalendar, is_working_day, parts_with_more

PRAGUE = ZoneInfo("Europe/Prague")
ONE_DAY = timedelta(days=1)

# Zones whose clocks change at midnight, skip a day, or are far from Greenwich, with years in which they did.
ODD_ZONES = {
    "Europe/Prague": (2019, 2027),
    "UTC": (1999, 2026),
    "America/Sao_Paulo": (2016, 2019),
    "Asia/Beirut": (2019, 2026),
    "Africa/Cairo": (2008, 2025),
    "Pacific/Apia": (2010, 2013),
    "America/St_Johns": (1990, 1999),
    "Pacific/Kiritimati": (1993, 1996),
    "Asia/Kathmandu": (1985, 1987),
    "America/Havana": (2010, 2020),
    "Atlantic/Azores": (2015, 2026),
}


# --- an oracle that counts day by day, written from the Regulation and not from the code -----------------------------


def naive_add_month(year: int, month: int) -> tuple[int, int]:
    return (year + 1, 1) if month == 12 else (year, month + 1)


def oracle_last_day(start: date, period: Period) -> date:
    """Article 3(2)(c): the last day of a period that an event on `start` began, one day or month at a time."""
    year, month = start.year, start.month
    for _ in range(period.months):
        year, month = naive_add_month(year, month)
    day = start.day
    while day > calendar.monthrange(year, month)[1]:
        day -= 1
    last = date(year, month, day)
    for _ in range(period.days):
        last += ONE_DAY
    return last


def oracle_expired(clock: date, today: date, period: Period, lead: int, *, from_end_of_year: bool) -> bool:
    start = date(clock.year, 12, 31) if from_end_of_year else clock
    last = oracle_last_day(start, period)
    for _ in range(lead):
        last -= ONE_DAY
    return today > last  # the last hour of the last day is over


periods = st.one_of(
    st.builds(Period, months=st.integers(0, 130)),
    st.builds(Period, days=st.integers(0, 1200)),
)


@st.composite
def moments(draw: st.DrawFn) -> tuple[ZoneInfo, datetime]:
    """An as-of moment in an odd zone; often within hours of a change of its clocks."""
    name = draw(st.sampled_from(sorted(ODD_ZONES)))
    first, last = ODD_ZONES[name]
    zone = ZoneInfo(name)
    from_day, to_day = datetime(first, 1, 1), datetime(last, 12, 31)  # noqa: DTZ001 - Hypothesis wants bounds without a zone
    at = draw(st.datetimes(from_day, to_day, timezones=st.just(UTC)))
    if draw(st.booleans()):
        changes = [
            at + timedelta(hours=hour)
            for hour in range(0, 24 * 200, 3)
            if (at + timedelta(hours=hour)).astimezone(zone).utcoffset()
            != (at + timedelta(hours=hour + 3)).astimezone(zone).utcoffset()
        ]
        if changes:
            at = changes[0] + timedelta(minutes=draw(st.integers(-600, 600)))
    return zone, at


@settings(max_examples=400, deadline=None)
@given(moment=moments(), period=periods, end_of_year_first=st.booleans(), lead=st.integers(0, 40))
def test_the_cutoff_is_exact_to_the_day(
    moment: tuple[ZoneInfo, datetime], period: Period, end_of_year_first: bool, lead: int
) -> None:
    zone, as_of = moment
    if lead >= period.days + 28 * period.months:
        lead = 0
    cutoff = cutoff_for(
        as_of, zone, period, lead=timedelta(days=lead), anchor=end_of_year if end_of_year_first else same_day
    )
    today = as_of.astimezone(zone).date()
    around = [cutoff.day + timedelta(days=step) for step in (*range(-40, 41), -366, -365, 365, 366)]
    for clock in around:
        expected = oracle_expired(clock, today, period, lead, from_end_of_year=end_of_year_first)
        assert (clock < cutoff.day) == expected, f"a clock on {clock} with {period} seen on {today}"


@settings(max_examples=400, deadline=None)
@given(moment=moments(), period=periods, seconds=st.integers(-90_000, 90_000))
def test_no_moment_is_early(moment: tuple[ZoneInfo, datetime], period: Period, seconds: int) -> None:
    zone, as_of = moment
    cutoff = cutoff_for(as_of, zone, period)
    clock = cutoff.instant + timedelta(seconds=seconds)
    local_day = clock.astimezone(zone).date()
    if clock < cutoff.instant:
        assert local_day < cutoff.day
    elif local_day < cutoff.day:
        # Only where clocks fall back over midnight does a local day return after the next one has begun.
        assert (clock - cutoff.instant) < timedelta(hours=2)


@settings(max_examples=300, deadline=None)
@given(moment=moments(), period=periods, hours=st.integers(3, 24 * 400))
def test_time_only_lets_more_expire(moment: tuple[ZoneInfo, datetime], period: Period, hours: int) -> None:
    zone, as_of = moment
    now, later = (cutoff_for(at, zone, period) for at in (as_of, as_of + timedelta(hours=hours)))
    assert now.day <= later.day
    assert now.instant <= later.instant


@given(start=st.dates(date(1990, 1, 1), date(2060, 12, 31)), months=st.integers(0, 400))
def test_later_events_never_expire_sooner(start: date, months: int) -> None:
    period = Period(months=months)
    assert period.last_day(start) <= period.last_day(start + ONE_DAY)


@given(start=st.dates(date(1900, 1, 1), date(2100, 12, 31)), period=periods)
def test_the_last_day_is_that_of_the_regulation(start: date, period: Period) -> None:
    assert period.last_day(start) == oracle_last_day(start, period)


# --- Article 3(4): periods that end on a Saturday, a Sunday or a public holiday ----------------------------------

HOLIDAYS = {
    "CZ": {(1, 1), (5, 1), (5, 8), (7, 5), (7, 6), (9, 28), (10, 28), (11, 17), (12, 24), (12, 25), (12, 26)},
    "DE-BY": {(1, 1), (1, 6), (5, 1), (8, 15), (10, 3), (11, 1), (12, 25), (12, 26)},
}
EASTER = {
    2016: (3, 27), 2017: (4, 16), 2018: (4, 1), 2019: (4, 21), 2020: (4, 12), 2021: (4, 4), 2022: (4, 17),
    2023: (4, 9), 2024: (3, 31), 2025: (4, 20), 2026: (4, 5), 2027: (3, 28), 2028: (4, 16), 2029: (4, 1), 2030: (4, 21),
}  # fmt: skip
AFTER_EASTER = {"CZ": (-2, 1), "DE-BY": (-2, 1, 39, 50, 60)}
ONCE = {"CZ": set(), "DE-BY": {date(2017, 10, 31)}}


def oracle_works(calendar_of: str, day: date) -> bool:
    """Whether a day is a working day, by lists of holidays that were written down for this test."""
    easter = date(day.year, *EASTER[day.year])
    movable = {easter + timedelta(days=after) for after in AFTER_EASTER[calendar_of]}
    return not (
        day.weekday() >= 5
        or (day.month, day.day) in HOLIDAYS[calendar_of]
        or day in movable
        or day in ONCE[calendar_of]
    )


def oracle_extended(last: date, calendar_of: str) -> date:
    """Article 3(4): the last hour of the following working day, found one day at a time."""
    while not oracle_works(calendar_of, last):
        last += ONE_DAY
    return last


@settings(max_examples=400)
@given(
    at=st.datetimes(datetime(2018, 1, 1), datetime(2030, 6, 30), timezones=st.just(UTC)),  # noqa: DTZ001
    period=periods,
    country=st.sampled_from(sorted(HOLIDAYS)),
    end_of_year_first=st.booleans(),
)
def test_a_period_ends_with_a_working_day_exactly_to_the_day(
    at: datetime, period: Period, country: str, end_of_year_first: bool
) -> None:
    works = partial(is_working_day, country)
    cutoff = cutoff_for(at, PRAGUE, period, anchor=end_of_year if end_of_year_first else same_day, is_working_day=works)
    today = at.astimezone(PRAGUE).date()
    for clock in [cutoff.day + timedelta(days=step) for step in (*range(-40, 41), -366, -365, 365, 366)]:
        start = date(clock.year, 12, 31) if end_of_year_first else clock
        last = oracle_last_day(start, period)
        expired = last < today and oracle_extended(max(last, date(2016, 1, 1)), country) < today
        assert (clock < cutoff.day) == expired, f"a clock on {clock} with {period} seen on {today}"


@settings(max_examples=200)
@given(moment=moments(), period=periods, hours=st.integers(3, 24 * 60), country=st.sampled_from(["CZ", "JP", "IL"]))
def test_with_a_calendar_time_only_lets_more_expire_and_never_sooner(
    moment: tuple[ZoneInfo, datetime], period: Period, hours: int, country: str
) -> None:
    zone, as_of = moment
    works = partial(is_working_day, country)
    now, later = (cutoff_for(at, zone, period, is_working_day=works) for at in (as_of, as_of + timedelta(hours=hours)))
    assert now.day <= later.day
    assert now.day <= cutoff_for(as_of, zone, period).day


@pytest.mark.parametrize(
    ("clock", "period", "last"),
    [
        (date(2026, 11, 14), "P7D", date(2026, 11, 23)),  # a Saturday: Monday
        (date(2026, 11, 15), "P7D", date(2026, 11, 23)),  # a Sunday: Monday
        (date(2026, 11, 13), "P7D", date(2026, 11, 20)),  # a Friday
        (date(2026, 11, 10), "P7D", date(2026, 11, 18)),  # 17 November, a Tuesday: Wednesday
        (date(2024, 12, 24), "P2Y", date(2026, 12, 28)),  # Thursday to Saturday are holidays, then a Sunday
        (date(2025, 4, 3), "P1Y", date(2026, 4, 7)),  # Good Friday to Easter Monday
    ],
)
def test_a_period_is_extended_to_the_end_of_the_following_working_day(clock: date, period: str, last: date) -> None:
    over = datetime.combine(last + ONE_DAY, datetime.min.time(), tzinfo=PRAGUE)
    works = partial(is_working_day, "CZ")
    assert clock < cutoff_for(over, PRAGUE, Period.parse(period), is_working_day=works).day
    before = over - timedelta(microseconds=1)
    assert not clock < cutoff_for(before, PRAGUE, Period.parse(period), is_working_day=works).day


def test_holidays_of_years_that_are_not_known_are_refused_and_not_taken_for_none() -> None:
    with pytest.raises(OutOfCalendar, match="CZ are not known after 2100"):
        is_working_day("CZ", date(2101, 6, 1))
    assert is_working_day("CZ", date(1900, 1, 1)), "a Monday, long before what the package knows"
    assert not is_working_day("CZ", date(1900, 1, 6)), "but a Saturday is known"


# --- examples --------------------------------------------------------------------------------------------------------


def test_the_example_of_the_schedule_to_the_second() -> None:
    """31 August 2024 plus 18 months ends with 28 February 2026: free from 00:00 on 1 March, Prague time."""
    clock = date(2024, 8, 31)
    midnight = datetime(2026, 3, 1, tzinfo=PRAGUE)
    assert clock < cutoff_for(midnight, PRAGUE, Period.parse("P18M")).day
    assert not clock < cutoff_for(midnight - timedelta(microseconds=1), PRAGUE, Period.parse("P18M")).day
    assert midnight.astimezone(UTC) == datetime(2026, 2, 28, 23, tzinfo=UTC), "not at midnight in UTC"


@pytest.mark.parametrize(
    ("clock", "period", "last"),
    [
        (date(2024, 1, 31), "P1M", date(2024, 2, 29)),
        (date(2023, 1, 31), "P1M", date(2023, 2, 28)),
        (date(2024, 2, 29), "P1Y", date(2025, 2, 28)),
        (date(2024, 2, 29), "P4Y", date(2028, 2, 29)),
        (date(2024, 12, 31), "P2M", date(2025, 2, 28)),
        (date(2024, 8, 31), "P18M", date(2026, 2, 28)),
        (date(2024, 3, 30), "P60D", date(2024, 5, 29)),
        (date(2024, 1, 1), "P2W", date(2024, 1, 15)),
        (date(2024, 1, 1), "P0D", date(2024, 1, 1)),
    ],
)
def test_last_days(clock: date, period: str, last: date) -> None:
    assert Period.parse(period).last_day(clock) == last


def test_months_are_not_thirty_days() -> None:
    """Six months from 31 August are not 180 days: the average-month error would erase up to four days early."""
    as_of = datetime(2025, 2, 27, 12, tzinfo=PRAGUE)
    assert cutoff_for(as_of, PRAGUE, Period.parse("P6M")).day == date(2024, 8, 27)
    assert cutoff_for(as_of, PRAGUE, Period.parse("P180D")).day == date(2024, 8, 31)


def test_from_the_end_of_the_year() -> None:
    period = Period.parse("P10Y")
    before = cutoff_for(datetime(2025, 12, 31, 23, 59, 59, tzinfo=PRAGUE), PRAGUE, period, anchor=end_of_year)
    after = cutoff_for(datetime(2026, 1, 1, tzinfo=PRAGUE), PRAGUE, period, anchor=end_of_year)
    assert before.day == date(2015, 1, 1)
    assert after.day == date(2016, 1, 1), "all of 2015 goes with the first second of 2026"


def test_a_lead_starts_so_many_days_before_the_deadline() -> None:
    as_of = datetime(2026, 6, 1, 2, tzinfo=PRAGUE)
    without, with_lead = (cutoff_for(as_of, PRAGUE, Period.parse("P60D"), lead=timedelta(days=days)) for days in (0, 5))
    assert with_lead.day - without.day == timedelta(days=5)


def test_at_once_takes_all_that_has_happened_and_nothing_that_has_not() -> None:
    as_of = datetime(2026, 11, 21, 14, 30, tzinfo=PRAGUE)
    cutoff = cutoff_at_once(as_of, PRAGUE)
    assert as_of < cutoff.instant <= as_of + timedelta(microseconds=1)
    assert cutoff.day == date(2026, 11, 22)


def test_a_period_longer_than_the_calendar_never_ends() -> None:
    cutoff = cutoff_for(datetime(2026, 1, 1, tzinfo=UTC), PRAGUE, Period.parse("P9999Y"))
    assert cutoff.none_expired
    assert cutoff == Cutoff(date.min, datetime.min.replace(tzinfo=UTC))


def test_a_naive_moment_is_refused() -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - that is the point
    with pytest.raises(ValueError, match="needs a time zone"):
        cutoff_for(naive, PRAGUE, Period(days=1))
    with pytest.raises(ValueError, match="needs a time zone"):
        cutoff_at_once(naive, PRAGUE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P",
        "18M",
        "P18",
        "PT5H",
        "P1DT5H",
        "P-1M",
        "-P1M",
        "P1.5M",
        "P1M1M",
        "p18m",
        "P1M\n",
        " P1M",
        "P1D1M",
        "P１M",
    ],
)
def test_what_is_no_period_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a period"):
        Period.parse(text)


@pytest.mark.parametrize("text", ["P1M10D", "P1Y2W", "P1M1W"])
def test_mixed_periods_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="mixes months with days"):
        Period.parse(text)


@given(period=periods)
def test_periods_survive_being_written_down(period: Period) -> None:
    assert Period.parse(str(period)) == period


@pytest.mark.parametrize(
    ("zone", "day", "begins"),
    [
        ("America/Sao_Paulo", date(2018, 11, 4), datetime(2018, 11, 4, 3, tzinfo=UTC)),  # 00:00 does not exist
        ("Pacific/Apia", date(2011, 12, 30), datetime(2011, 12, 30, 10, tzinfo=UTC)),  # the day does not exist
        ("America/Havana", date(2015, 11, 1), datetime(2015, 11, 1, 4, tzinfo=UTC)),  # 00:00 is there twice
        ("Europe/Prague", date(2026, 3, 29), datetime(2026, 3, 28, 23, tzinfo=UTC)),
    ],
)
def test_where_a_day_begins(zone: str, day: date, begins: datetime) -> None:
    assert start_of_day(day, ZoneInfo(zone)) == begins


@settings(max_examples=300)
@given(zone=st.sampled_from(sorted(ODD_ZONES)), day=st.dates(date(1985, 1, 1), date(2027, 1, 1)))
def test_just_before_a_day_begins_it_is_an_earlier_one(zone: str, day: date) -> None:
    begins = start_of_day(day, ZoneInfo(zone))
    assert (begins - timedelta(microseconds=1)).astimezone(ZoneInfo(zone)).date() < day
    assert begins.astimezone(ZoneInfo(zone)).date() >= day


def test_a_country_whose_parts_have_holidays_of_their_own_is_told_from_one_that_has_none() -> None:
    assert {"GB-ENG", "GB-SCT"} <= set(parts_with_more("GB"))
    assert "DE-BY" in parts_with_more("DE")
    assert parts_with_more("CZ") == parts_with_more("DE-BY") == parts_with_more("GB-ENG") == ()
    monday = date(2026, 4, 6)
    assert is_working_day("GB", monday)
    assert not is_working_day("GB-ENG", monday)
