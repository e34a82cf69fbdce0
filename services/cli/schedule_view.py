"""Schedules, found by what was typed, and told."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from utils.service.clients.scheduler import SchedulerClient
from utils.training.errors import TrainingError
from utils.training.job_queue import Schedule

_WHEN = "%a %Y-%m-%d %H:%M"


class UnknownScheduleNameError(TrainingError, LookupError):
    """No schedule has this name."""


def find_schedule(scheduler: SchedulerClient, typed: str) -> Schedule:
    """The schedule of this name; digits alone are always its number.

    Raises:
        UnknownScheduleNameError: a LookupError; there is none of this name.
        RemoteError: there is none of this number.
    """
    if typed.isdecimal():
        return scheduler.get_schedule(int(typed))
    found = scheduler.list_schedules(name=typed, limit=1).items
    if not found:
        raise UnknownScheduleNameError(
            f"There is no schedule {typed!r}; `trainctl schedules` lists those there are."
        )
    return found[0]


def next_sentence(schedule: Schedule) -> str:
    """When it submits a job."""
    when = in_both_zones(schedule.next_run_at, schedule.timezone)
    return f"Schedule {schedule.schedule_id} ({schedule.name}) submits its next job on {when}."


def in_both_zones(when: datetime, timezone: str) -> str:
    """A time in UTC, and as the clocks of its schedule show it."""
    if timezone == "UTC":
        return f"{when:{_WHEN}} UTC"
    return f"{when.astimezone(ZoneInfo(timezone)):{_WHEN}} {timezone} ({when:%H:%M} UTC)"
