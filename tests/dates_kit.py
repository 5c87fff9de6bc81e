"""The vectors of clocks, and what every engine has to make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from zoneinfo import ZoneInfo

import yaml
from hypothesis import strategies as st

from lethe.judging.dates import TimestampFormat, day_of, later, read
from lethe.periods import Cutoff, start_of_day

PRAGUE = ZoneInfo("Europe/Prague")
A_MICROSECOND = timedelta(microseconds=1)
_LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Clock:
    """A clock in text, and what it says: a local day, a moment in UTC, or nothing that can be judged."""

    text: str
    moment: date | None
    exact: bool = False

    def expired(self, cutoff: Cutoff) -> bool:
        """Whether it is before a cutoff."""
        if isinstance(self.moment, datetime):
            return self.moment < cutoff.instant
        return self.moment is not None and self.moment < cutoff.day


def vectors(form: TimestampFormat) -> list[Clock]:
    """The vectors of a format."""
    content = yaml.safe_load((files("lethe.judging") / "vectors" / "dates.yaml").read_text("utf-8"))
    return [_clock(one) for one in content[form.value]]


def _clock(one: dict[str, str | date | bool | None]) -> Clock:
    instant = one.get("instant")
    moment = datetime.fromisoformat(str(instant)).astimezone(UTC) if instant else one.get("day")
    assert moment is None or isinstance(moment, date)
    return Clock(str(one["text"]), moment, bool(one.get("exact")))


def read_clocks(texts: Sequence[str], form: TimestampFormat = TimestampFormat.ISO_8601) -> list[Clock]:
    """Any texts, as `lethe.judging` reads them with times of Prague."""
    return [Clock(text, _moment(text, form)) for text in texts]


def _moment(text: str, form: TimestampFormat) -> date | None:
    moment = read(text, form)
    return later(moment, PRAGUE) if isinstance(moment, datetime) and moment.tzinfo is None else moment


def cutoffs(clocks: Sequence[Clock]) -> list[Cutoff]:
    """Cutoffs at which each of the clocks has just not expired, and just has."""
    found = set()
    for clock in clocks:
        match clock.moment:
            case datetime() if 1 < clock.moment.year < 9999:  # no period ends in the years at the ends
                day = day_of(clock.moment, PRAGUE, PRAGUE)
                ends = (
                    clock.moment,
                    min(clock.moment, datetime.max.replace(tzinfo=UTC) - A_MICROSECOND) + A_MICROSECOND,
                )
                found |= {Cutoff(day, instant) for instant in ends}
            case date() if 1 < clock.moment.year < 9999:
                days = (clock.moment, clock.moment + timedelta(days=1))
                found |= {Cutoff(day, start_of_day(day, PRAGUE)) for day in days}
    return sorted((one for one in found if not one.none_expired), key=lambda one: (one.instant, one.day))


_DIGITS = st.sampled_from("0123456789")
_PIECES = st.sampled_from(
    ["2025-05-20", "20250520", "0001-01-01", "9999-12-31", "2024-02-29", "2023-02-29", "2025-10-26", "2025-03-30",
     "2025-W20-1", "T", "t", " ", "10:00", "02:30", "24:00", "23:59:59", ":", "60", ".", ",", "5", "000001", "9999999",
     "Z", "z", "+", "-", "02", "0200", "02:00", "15:59", "16:00", "\t", "\u00a0", "\u200b", "\u2212", "２", "BC"]
)  # fmt: skip
NEAR = st.one_of(
    st.lists(_PIECES, max_size=7).map("".join),
    st.builds(
        "{}{}{}{}{}{}".format,
        st.sampled_from(["2025-05-20", "20251026", "2025-03-30", "0001-01-01", "9999-12-31", "2024-02-30"]),
        st.sampled_from(["T", " ", "t", ""]),
        st.sampled_from(["00:00", "02:30:00", "24:00", "23:59:59", "24:00:01", "10", ""]),
        st.sampled_from(["", ".5", ",123456", ".9999999", "."]),
        st.sampled_from(["", " ", "  "]),
        st.sampled_from(["", "Z", "z", "+02", "-0330", "+15:59", "-12:00", "+16", "+14:00"]),
    ),
    st.text(alphabet="0123456789-:TtZz+., \t", max_size=28),
)
"""Texts near the grammar of dates."""
