"""Recurring jobs: schedules in a table, turned into jobs when their time comes."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, select, update

from utils.training.database import (
    Page,
    conflict_insert,
    decode_cursor,
    encode_cursor,
    open_database,
    reading,
)
from utils.training.job_queue.clock import Clock, DatabaseClock
from utils.training.job_queue.errors import InvalidScheduleError, UnknownScheduleError
from utils.training.job_queue.occurrence import decide
from utils.training.job_queue.queries import page
from utils.training.job_queue.schedule import Occurrence, Schedule, due_times, times
from utils.training.job_queue.submission import Submission, digest, is_integer, is_name
from utils.training.job_queue.tables import (
    MISFIRES,
    NAME_LENGTH,
    OVERLAPS,
    schedule,
    schedule_occurrence,
)

_logger = logging.getLogger(__name__)

_SHOWN = tuple(column.name for column in schedule.c if column.name != "id")
# What makes a schedule the same as another one of its name.
_DEFINITION = tuple(
    name
    for name in _SHOWN
    if name not in {"enabled", "next_run_at", "last_run_at", "num_missed", "created_at"}
)


class TrainingScheduler:
    """Submits jobs by cron expressions, each time of each schedule exactly once.

    Somebody calls :meth:`tick` every few seconds; any number of processes may. A job and the
    record of its time are written in one transaction, so that a crash neither loses nor repeats it.
    """

    def __init__(self, location: str | Path | Engine, *, clock: Clock | None = None) -> None:
        """Open the schedules of a database; arguments as for JobManager."""
        self._engine = open_database(location)
        self._clock = DatabaseClock(self._engine, clock)

    def create_schedule(
        self,
        name: str,
        job_type: str,
        config: dict[str, Any],
        schedule_expr: str,
        priority: int = 0,
        *,
        timezone: str = "UTC",
        misfire: str = "skip",
        max_catch_up: int = 10,
        misfire_grace_seconds: float = 300.0,
        overlap: str = "forbid",
        enabled: bool = True,
        max_attempts: int = 3,
        model_name: str | None = None,
        resources: dict[str, Any] | None = None,
    ) -> int:
        """Create a schedule and return its id; the same one again is the one that is there.

        Args:
            name: its unique name.
            job_type: of the jobs, as are config, priority, max_attempts, model_name and resources.
            config: what the worker needs, as JSON.
            schedule_expr: five cron fields, or ``@hourly``, ``@daily``, ``@weekly``, ``@monthly``,
                ``@yearly``.
            priority: a higher one runs first.
            timezone: the IANA zone whose clock the expression means. A fixed time runs once on
                every local day, through changes of the clock too.
            misfire: what happens to times that passed while nothing ran: ``skip`` drops them,
                ``once`` runs one job for all of them, ``all`` runs each.
            max_catch_up: the most missed times that ``all`` runs, the newest ones.
            misfire_grace_seconds: how late a time may be without counting as missed.
            overlap: what happens when an earlier job of the schedule is not finished: ``forbid``
                drops the new time, ``queue`` runs it afterwards, ``replace`` cancels the earlier
                job and runs the new one when it has stopped.
            enabled: False creates it paused.
            max_attempts: how often a job is tried.
            model_name: the model that the jobs are about.
            resources: what the worker must have, as JSON.

        Raises:
            InvalidCronError: the expression is not understood (the message names the field), or
                never fires.
            InvalidScheduleError: another argument is not what it must be, or the name belongs to a
                different schedule.
            InvalidJobError: its jobs could not be submitted.
        """
        values = {
            "name": name,
            "job_type": job_type,
            "config": config,
            "schedule_expr": schedule_expr,
            "timezone": timezone,
            "priority": priority,
            "max_attempts": max_attempts,
            "model_name": model_name,
            "resources": resources,
            "misfire": misfire,
            "max_catch_up": max_catch_up,
            "misfire_grace_seconds": float(misfire_grace_seconds),
            "overlap": overlap,
        }
        _check(values)
        with self._engine.begin() as connection:
            now = self._clock.read(connection)
            values |= {
                "enabled": enabled,
                "next_run_at": next(times(schedule_expr, timezone, now)),
                "num_missed": 0,
                "created_at": now,
            }
            return _insert(connection, values)

    def get_schedule(self, schedule_id: int) -> Schedule | None:
        """Read a schedule; None where there is none with that id."""
        with reading(self._engine) as connection:
            row = _find(connection, schedule_id)
        return None if row is None else _to_schedule(row)

    def list_schedules(
        self,
        *,
        name: str | None = None,
        enabled: bool | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Schedule]:
        """A page of schedules in the order of their creation; a name is that of one at most."""
        query = select(schedule).order_by(schedule.c.id)
        if name is not None:
            query = query.where(schedule.c.name == name)
        if enabled is not None:
            query = query.where(schedule.c.enabled == enabled)
        if cursor is not None:
            query = query.where(schedule.c.id > decode_cursor(cursor, int)[0])
        with reading(self._engine) as connection:
            rows, more = page(connection, query, limit)
        return Page(tuple(map(_to_schedule, rows)), encode_cursor(rows[-1].id) if more else None)

    def pause(self, schedule_id: int) -> None:
        """Let no time of the schedule run until it is resumed."""
        with self._engine.begin() as connection:
            self._existing(connection, schedule_id)
            connection.execute(
                update(schedule).where(schedule.c.id == schedule_id).values(enabled=False)
            )

    def resume(self, schedule_id: int) -> None:
        """Go on from now; the times within the pause were left out on purpose, not missed."""
        with self._engine.begin() as connection:
            row = self._existing(connection, schedule_id)
            if row.enabled:
                return
            following = times(row.schedule_expr, row.timezone, self._clock.read(connection))
            connection.execute(
                update(schedule)
                .where(schedule.c.id == schedule_id)
                .values(enabled=True, next_run_at=next(following))
            )

    def delete(self, schedule_id: int) -> None:
        """Delete a schedule and its record; its jobs stay."""
        with self._engine.begin() as connection:
            self._existing(connection, schedule_id)
            connection.execute(delete(schedule).where(schedule.c.id == schedule_id))

    def preview(
        self,
        schedule: str | int,
        n: int = 5,
        timezone: str | None = None,
        start: datetime | None = None,
    ) -> list[datetime]:
        """The next ``n`` times (UTC) of an expression or of a schedule's id, after ``start``.

        Args:
            schedule: a cron expression, or the id of a schedule.
            n: how many times.
            timezone: an IANA zone; the schedule's own, or UTC for an expression.
            start: now by default; a naive time is UTC.
        """
        with reading(self._engine) as connection:
            if isinstance(schedule, int):
                row = self._existing(connection, schedule, lock=False)
                expression, zone = row.schedule_expr, timezone or row.timezone
            else:
                expression, zone = schedule, timezone or "UTC"
            start = self._clock.read(connection) if start is None else as_utc(start)
        return list(islice(times(expression, zone, start), n))

    def history(self, schedule_id: int, limit: int = 50) -> tuple[Occurrence, ...]:
        """What was made of a schedule's times, newest first."""
        query = (
            select(schedule_occurrence)
            .where(schedule_occurrence.c.schedule_id == schedule_id)
            .order_by(schedule_occurrence.c.occurrence.desc())
            .limit(limit)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(Occurrence(**row) for row in rows)

    def tick(self, now: datetime | None = None) -> tuple[int, ...]:
        """Submit the jobs whose time has come, and return their ids.

        Safe in any number of processes at once, and after a crash at any line. A schedule that
        can't be kept is logged, and the others go on.
        """
        with reading(self._engine) as connection:
            moment = self._clock.read(connection) if now is None else as_utc(now)
            due = connection.execute(
                select(schedule.c.id).where(*_is_due(moment)).order_by(schedule.c.next_run_at)
            )
            schedule_ids = list(due.scalars())
        submitted: list[int] = []
        for schedule_id in schedule_ids:
            try:
                submitted += self._run(schedule_id, moment)
            except Exception:
                # One schedule that can't be read any more must not keep all others from running.
                _logger.exception("Schedule %d could not run; it is tried again.", schedule_id)
        return tuple(submitted)

    def _run(self, schedule_id: int, moment: datetime) -> list[int]:
        """Decide all times of one schedule that are due, in one transaction."""
        with self._engine.begin() as connection:
            row = connection.execute(
                select(schedule)
                .where(schedule.c.id == schedule_id, *_is_due(moment))
                .with_for_update(skip_locked=True)  # another scheduler is at it
            ).one_or_none()
            if row is None:
                return []
            due = due_times(
                row.next_run_at,
                times(row.schedule_expr, row.timezone, row.next_run_at),
                moment,
                misfire=row.misfire,
                grace=timedelta(seconds=row.misfire_grace_seconds),
                max_catch_up=row.max_catch_up,
            )
            decided = [decide(connection, self._clock, row, time) for time in due.to_run]
            self._advance(connection, row, moment, due.to_run[-1:], due.num_missed)
        return [job_id for job_id in decided if job_id is not None]

    def _advance(
        self,
        connection: Connection,
        row: Row[Any],
        moment: datetime,
        last: tuple[datetime, ...],
        num_missed: int,
    ) -> None:
        if num_missed:
            _logger.warning(
                "Schedule '%s' missed %d of its times; its rule for them is '%s'.",
                row.name,
                num_missed,
                row.misfire,
            )
        connection.execute(
            update(schedule)
            .where(schedule.c.id == row.id)
            .values(
                next_run_at=next(times(row.schedule_expr, row.timezone, moment)),
                last_run_at=last[0] if last else row.last_run_at,
                num_missed=row.num_missed + num_missed,
            )
        )

    @staticmethod
    def _existing(connection: Connection, schedule_id: int, *, lock: bool = True) -> Row[Any]:
        row = _find(connection, schedule_id, lock=lock)
        if row is None:
            raise UnknownScheduleError(
                f"There is no schedule {schedule_id}; the list of schedules has those there are."
            )
        return row


def as_utc(time: datetime) -> datetime:
    """The time in UTC; a naive one is taken as UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _is_due(moment: datetime) -> list[Any]:
    return [schedule.c.enabled, schedule.c.next_run_at <= moment]


def _find(connection: Connection, schedule_id: int, *, lock: bool = False) -> Row[Any] | None:
    query = select(schedule).where(schedule.c.id == schedule_id)
    return connection.execute(query.with_for_update() if lock else query).one_or_none()


def _insert(connection: Connection, values: dict[str, Any]) -> int:
    statement = (
        conflict_insert(connection.engine, schedule)
        .values(values)
        .on_conflict_do_nothing(index_elements=[schedule.c.name])
        .returning(schedule.c.id)
    )
    schedule_id: int | None = connection.execute(statement).scalar()
    if schedule_id is not None:
        return schedule_id
    found = connection.execute(select(schedule).where(schedule.c.name == values["name"])).one()
    there = found._mapping  # noqa: SLF001 - the public name of it
    if digest([there[name] for name in _DEFINITION]) != digest([values[n] for n in _DEFINITION]):
        raise InvalidScheduleError(
            f"A different schedule is named '{values['name']}' (id {found.id}); delete it first, "
            "or choose another name."
        )
    return int(found.id)


def _check(values: dict[str, Any]) -> None:
    """Find the faults of a new schedule before its first run does."""
    faults = []
    if not is_name(values["name"]):
        faults.append(
            f"name is {values['name']!r}, a string of 1 to {NAME_LENGTH} printable characters is "
            "allowed"
        )
    for name, allowed in (("misfire", MISFIRES), ("overlap", OVERLAPS)):
        if values[name] not in allowed:
            faults.append(f"{name} is {values[name]!r}, allowed is {' or '.join(allowed)}")
    if not is_integer(values["max_catch_up"], 1):
        faults.append(f"max_catch_up is {values['max_catch_up']!r}, at least 1 is allowed")
    if not values["misfire_grace_seconds"] >= 0:
        faults.append(
            f"misfire_grace_seconds is {values['misfire_grace_seconds']!r}, at least 0 is allowed"
        )
    if faults:
        raise InvalidScheduleError(f"A schedule can't be like this: {'; '.join(faults)}.")
    Submission(
        **{
            name: values[name]
            for name in (
                "job_type",
                "config",
                "priority",
                "max_attempts",
                "model_name",
                "resources",
            )
        }
    )


def _to_schedule(row: Row[Any]) -> Schedule:
    columns = row._mapping  # noqa: SLF001 - the public name of it
    return Schedule(schedule_id=row.id, **{name: columns[name] for name in _SHOWN})
