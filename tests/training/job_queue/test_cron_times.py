"""Ten years in four zones, against a walk over every minute of real time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.training.job_queue.cron_expression import CronExpression
from utils.training.job_queue.cron_times import occurrences

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
START = datetime(2024, 12, 30, 21, 7, tzinfo=UTC)
END = datetime(2035, 1, 2, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

FIXED = (
    "0 2 * * *",
    "30 2 * * *",
    "30 1 * * *",
    "15 2 * * *",
    "45 1 * * *",
    "0,30 1-3 * * *",
    "5/20 2 * * *",
    "0 0 * * 0",
    "0 2 * * sun",
    "30 2 29 2 *",
    "0 12 13 * fri",
    "0 3 */7 * *",
    "59 23 31 dec *",
    "0 0 1 jan,jul 1-5",
)
FOLLOWING = (
    "* * * * *",
    "*/15 * * * *",
    "0 */6 * * *",
    "0 * * * *",
    "30 * * * *",
    "*/10 2 * * *",
    "15 */2 * mar,apr,oct,nov sun",
    "* 1-2 1-7 * *",
)


def _values(text: str, low: int, high: int, names: tuple[str, ...] = ()) -> set[int]:
    """A second reading of a field, kept apart from the one under test."""
    found: set[int] = set()
    for item in text.split(","):
        span, _, step = item.partition("/")
        for place, name in enumerate(names):
            span = span.replace(name, str(place + low))
        if span == "*":
            ends = [low, high]
        elif "-" in span:
            ends = [int(end) for end in span.split("-")]
        else:
            ends = [int(span), high if step else int(span)]
        found |= {n for n in range(ends[0], ends[1] + 1) if (n - ends[0]) % int(step or 1) == 0}
    return found


class Oracle:
    """Vixie cron's loop: look at the local clock each minute, and at what it jumped over."""

    def __init__(self, text: str) -> None:
        minute, hour, day, month, weekday = text.split()
        self.minutes = _values(minute, 0, 59)
        self.hours = _values(hour, 0, 23)
        self.days = _values(day, 1, 31)
        self.months = _values(month, 1, 12, MONTHS)
        self.weekdays = {n % 7 for n in _values(weekday, 0, 6 if "*" in weekday else 7, DAYS)}
        self.either = day[0] != "*" and weekday[0] != "*"
        self.is_wild = minute[0] == "*" or hour[0] == "*"

    def fits(self, local: datetime) -> bool:
        if local.minute not in self.minutes or local.hour not in self.hours:
            return False
        if local.month not in self.months:
            return False
        sides = (local.day in self.days, (local.weekday() + 1) % 7 in self.weekdays)
        return any(sides) if self.either else all(sides)

    def runs(self, clock: list[tuple[datetime, datetime]]) -> list[datetime]:
        found = []
        virtual = clock[0][1] - MINUTE  # the furthest minute that the local clock has shown
        for instant, local in clock:
            fires = self.is_wild and self.fits(local)
            while virtual < local:
                virtual += MINUTE
                fires = fires or (not self.is_wild and self.fits(virtual))
            if fires:
                found.append(instant)
        return found


def local_clock(zone: str, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """Every whole minute after ``start``, with what the local clock shows then."""
    place, clock = ZoneInfo(zone), []
    instant = start.replace(second=0, microsecond=0) + MINUTE
    while instant < end:
        clock.append((instant, instant.astimezone(place).replace(tzinfo=None, fold=0)))
        instant += MINUTE
    return clock


@cache
def ten_years(zone: str) -> list[tuple[datetime, datetime]]:
    return local_clock(zone, START, END)


def found(text: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    times = occurrences(CronExpression.parse(text), ZoneInfo(zone), start)
    return list(takewhile(lambda instant: instant < end, times))


@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES)
def test_ten_years_agree_with_a_walk_over_every_minute(zone):
    clock = ten_years(zone)
    for text in FIXED + FOLLOWING:
        assert found(text, zone, START, END) == Oracle(text).runs(clock), text


def changes(zone: str) -> list[datetime]:
    """The minutes within ten years at which the zone's clock is changed."""
    place, instant, at = ZoneInfo(zone), START, []
    while instant < END:
        following = instant + timedelta(minutes=30)
        if instant.astimezone(place).utcoffset() != following.astimezone(place).utcoffset():
            at.append(following.replace(minute=0))
        instant = following
    return at


WINDOWS = [(zone, change) for zone in ZONES for change in changes(zone)]


def windows_of(zone, change):
    start, end = change - timedelta(hours=40, minutes=3), change + timedelta(hours=40)
    return start, end


@cache
def around(zone: str, change: datetime) -> list[tuple[datetime, datetime]]:
    return local_clock(zone, *windows_of(zone, change))


def test_the_zones_change_their_clocks_twice_a_year():
    assert len(WINDOWS) == 3 * 2 * 10


@pytest.mark.slow
def test_every_change_of_the_clock_agrees_with_the_walk():
    for zone, change in WINDOWS:
        for text in FIXED + FOLLOWING:
            expected = Oracle(text).runs(around(zone, change))
            assert found(text, zone, *windows_of(zone, change)) == expected, (text, zone, change)


@st.composite
def fields(draw, low, high, names=()):
    def number():
        value = draw(st.integers(low, high))
        return names[value - low] if names and draw(st.booleans()) else str(value)

    def item():
        kind = draw(st.sampled_from("n*srf"))
        step = draw(st.integers(1, 20))
        first = draw(st.integers(low, high))
        last = draw(st.integers(first, high))
        return {
            "n": number(),
            "*": "*",
            "s": f"*/{step}",
            "r": f"{first}-{last}/{step}",
            "f": f"{first}-{last}",
        }[kind]

    return ",".join(item() for _ in range(draw(st.integers(1, 3))))


expressions = st.builds(
    "{} {} {} {} {}".format,
    fields(0, 59),
    fields(0, 23) | st.sampled_from(["1", "2", "1-3", "0,2", "*", "*/2"]),
    st.just("*") | fields(1, 28),
    st.just("*") | fields(1, 12, MONTHS),
    st.just("*") | fields(0, 6, DAYS),
)


@settings(max_examples=300)
@given(expressions, st.sampled_from(WINDOWS))
def test_any_expression_agrees_with_the_walk_around_any_change(text, window):
    zone, change = window
    start, end = windows_of(zone, change)
    assert found(text, zone, start, end) == Oracle(text).runs(around(zone, change))


@settings(max_examples=60)
@given(expressions, st.timedeltas(timedelta(days=2), timedelta(days=3650)), st.sampled_from(ZONES))
def test_any_expression_agrees_with_the_walk_from_any_start(text, distance, zone):
    start = START + distance
    end = start + timedelta(days=3)
    # The walk begins early, so that it too knows what the clock has shown before.
    clock = local_clock(zone, start - timedelta(days=1), end)
    expected = [instant for instant in Oracle(text).runs(clock) if instant > start]
    assert found(text, zone, start, end) == expected


def local_times(text, zone, start, count):
    place = ZoneInfo(zone)
    times = occurrences(CronExpression.parse(text), place, start)
    return [f"{t.astimezone(place):%m-%d %H:%M%z}" for t in islice(times, count)]


def test_a_skipped_fixed_time_runs_right_after_the_gap():
    start = datetime(2026, 3, 27, 12, tzinfo=UTC)
    assert local_times("30 2 * * *", "Europe/Berlin", start, 3) == [
        "03-28 02:30+0100",
        "03-29 03:00+0200",
        "03-30 02:30+0200",
    ]


def test_a_doubled_fixed_time_runs_the_first_time_only():
    start = datetime(2026, 10, 24, 12, tzinfo=UTC)
    assert local_times("30 2 * * *", "Europe/Berlin", start, 2) == [
        "10-25 02:30+0200",
        "10-26 02:30+0100",
    ]


def test_a_wildcard_hour_follows_real_hours():
    start = datetime(2026, 10, 24, 23, 30, tzinfo=UTC)
    assert local_times("0 * * * *", "Europe/Berlin", start, 3) == [
        "10-25 02:00+0200",
        "10-25 02:00+0100",
        "10-25 03:00+0100",
    ]


def test_half_an_hour_of_summer_time_moves_a_fixed_time_by_what_is_left_of_it():
    start = datetime(2026, 10, 3, 0, tzinfo=UTC)
    assert local_times("15 2 * * *", "Australia/Lord_Howe", start, 2) == [
        "10-04 02:30+1100",
        "10-05 02:15+1100",
    ]


def test_a_day_that_a_zone_skipped_still_has_its_run():
    start = datetime(2011, 12, 29, 20, tzinfo=UTC)
    assert local_times("0 12 * * *", "Pacific/Apia", start, 3) == [
        "12-29 12:00-1000",
        "12-31 00:00+1400",
        "12-31 12:00+1400",
    ]


def test_a_change_at_midnight_does_not_run_the_day_before_again():
    # Havana goes from 01:00 back to 00:00; Asuncion went from 24:00 back to 23:00.
    start = datetime(2023, 3, 25, 12, tzinfo=UTC)
    assert local_times("30 23 * * *", "America/Asuncion", start, 2) == [
        "03-25 23:30-0300",
        "03-26 23:30-0400",
    ]


def test_a_leap_day_is_found_across_a_century():
    start = datetime(2097, 1, 1, tzinfo=UTC)
    assert local_times("0 0 29 2 *", "UTC", start, 1) == ["02-29 00:00+0000"]
    assert next(
        occurrences(CronExpression.parse("0 0 29 2 */6"), ZoneInfo("UTC"), start)
    ) == datetime(2116, 2, 29, tzinfo=UTC)
