"""When a cron expression runs in a time zone, through every change of the clock.

The rule is Vixie cron's. A job at a fixed time runs once on every local day: a time that a gap
skips runs right after the gap, a time that occurs twice runs the first time. A job whose minute or
hour begins with ``*`` runs whenever the local clock shows a matching time. Times that fall on the
same instant are one run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from utils.training.job_queue.cron_expression import CronExpression

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
# Longer than any change of a zone's clock, so that the walk knows what the clock has shown before.
_LOOK_BACK = timedelta(days=2)


@dataclass(frozen=True)
class _Stretch:
    """A stretch of real time ``[start, end)`` (naive, UTC) in which a zone's offset is constant."""

    start: datetime
    end: datetime
    offset: timedelta

    @property
    def local_start(self) -> datetime:
        return self.start + self.offset

    @property
    def local_end(self) -> datetime:
        return self.end + self.offset


def occurrences(expression: CronExpression, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Yield the instants (UTC, increasing, without end) at which a job runs after ``after``."""
    latest = after.astimezone(UTC).replace(tzinfo=None)
    for instant in _runs(expression, zone, datetime.combine(latest - _LOOK_BACK, time.min)):
        if instant > latest:
            latest = instant
            yield instant.replace(tzinfo=UTC)


def _runs(expression: CronExpression, zone: ZoneInfo, start: datetime) -> Iterator[datetime]:
    shown_until = start + _offset(zone, start)  # how far the local clock has ever been
    for stretch in _stretches(zone, start):
        begin = stretch.local_start
        if not expression.follows_clock:
            if any(True for _ in _matches(expression, shown_until, begin)):
                yield stretch.start
            begin = max(begin, shown_until)
        for local in _matches(expression, begin, stretch.local_end):
            yield local - stretch.offset
        shown_until = max(shown_until, stretch.local_end)


def _matches(expression: CronExpression, start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the matching times that a local clock shows in ``[start, end)``."""
    midnight = datetime.combine(start, time.min)
    while midnight < end:
        if expression.matches_day(midnight):
            for hour in expression.hours:
                for minute in expression.minutes:
                    local = midnight.replace(hour=hour, minute=minute)
                    if start <= local < end:
                        yield local
        midnight += _DAY


def _stretches(zone: ZoneInfo, start: datetime) -> Iterator[_Stretch]:
    """Cut real time into stretches of at most a day at every change of the zone's offset."""
    while True:
        offset = _offset(zone, start)
        end = start + _DAY
        if _offset(zone, end) != offset:
            end = _change(zone, start, end)
        yield _Stretch(start, end, offset)
        start = end


def _change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The first second with another offset than ``before`` has, by bisection."""
    offset = _offset(zone, before)
    while after - before > _SECOND:
        middle = (before + (after - before) / 2).replace(microsecond=0)
        if _offset(zone, middle) == offset:
            before = middle
        else:
            after = middle
    return after


def _offset(zone: ZoneInfo, instant: datetime) -> timedelta:
    offset = instant.replace(tzinfo=UTC).astimezone(zone).utcoffset()
    assert offset is not None
    return offset
