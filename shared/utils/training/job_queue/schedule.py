"""What callers see of a schedule, and what a schedule makes of the times that are due."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from utils.training.job_queue.cron_expression import CronExpression
from utils.training.job_queue.cron_times import occurrences
from utils.training.job_queue.errors import InvalidScheduleError


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A recurring job. Times are UTC; ``num_missed`` counts the runs that ``misfire`` dropped."""

    schedule_id: int
    name: str
    job_type: str
    config: dict[str, Any]
    schedule_expr: str
    timezone: str
    priority: int
    max_attempts: int
    model_name: str | None
    resources: dict[str, Any] | None
    misfire: str
    max_catch_up: int
    misfire_grace_seconds: float
    overlap: str
    enabled: bool
    next_run_at: datetime
    last_run_at: datetime | None
    num_missed: int
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Occurrence:
    """One time of a schedule and what was made of it: a job, or a note that says why none."""

    schedule_id: int
    occurrence: datetime
    job_id: int | None
    note: str | None
    decided_at: datetime


@dataclass(frozen=True)
class Due:
    """The times that are due: those to run now, oldest first, and how many are dropped."""

    to_run: tuple[datetime, ...]
    num_missed: int


def times(schedule_expr: str, timezone: str, after: datetime) -> Iterator[datetime]:
    """Yield a schedule's times after ``after``, in UTC and without end.

    Raises:
        InvalidCronError: the expression is not understood, or never fires.
        InvalidScheduleError: there is no such time zone.
    """
    return occurrences(CronExpression.parse(schedule_expr), zone_of(timezone), after)


def due_times(
    first: datetime,
    following: Iterable[datetime],
    now: datetime,
    *,
    misfire: str,
    grace: timedelta,
    max_catch_up: int,
) -> Due:
    """Choose which of a schedule's times up to ``now`` run.

    A time is missed when it is more than ``grace`` past. ``skip`` drops what was missed, ``once``
    runs the newest of the times that are due and drops the others, and ``all`` runs them all, or
    the newest ``max_catch_up`` of those missed.
    """
    count = 0
    on_time: list[datetime] = []
    missed: deque[datetime] = deque(maxlen=max_catch_up)
    for time in takewhile(lambda time: time <= now, _chain(first, following)):
        count += 1
        if now - time > grace:
            missed.append(time)
        else:
            on_time.append(time)
    kept = {
        "skip": on_time,
        "once": [*missed, *on_time][-1:],
        "all": [*missed, *on_time],
    }[misfire]
    return Due(tuple(kept), count - len(kept))


def zone_of(timezone: str) -> ZoneInfo:
    """The time zone of an IANA name.

    Raises:
        InvalidScheduleError: there is none of that name; the message offers the nearest one.
    """
    try:
        return ZoneInfo(timezone)
    except (OSError, TypeError, ValueError, ZoneInfoNotFoundError) as error:
        near = get_close_matches(str(timezone), available_timezones(), n=1)
        hint = f" Did you mean: {near[0]}?" if near else ""
        raise InvalidScheduleError(
            f"The time zone can't be '{timezone}': give an IANA name such as 'UTC' or "
            f"'Europe/Berlin'.{hint}"
        ) from error


def _chain(first: datetime, following: Iterable[datetime]) -> Iterator[datetime]:
    yield first
    yield from following
