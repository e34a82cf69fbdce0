"""One time of a schedule becomes a job, at most once."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update

from utils.training.database import conflict_insert
from utils.training.job_queue.clock import DatabaseClock
from utils.training.job_queue.submission import Submission, submit
from utils.training.job_queue.tables import UNFINISHED, job, schedule_occurrence
from utils.training.job_queue.transitions import request_cancel


def decide(
    connection: Connection, clock: DatabaseClock, row: Row[Any], time: datetime
) -> int | None:
    """Submit the job of one time of a schedule, or note why not; None where there is no new job.

    The record's key settles who decides: a second scheduler finds the time decided already.
    """
    record = (
        conflict_insert(connection.engine, schedule_occurrence)
        .values(schedule_id=row.id, occurrence=time, decided_at=clock.after())
        .on_conflict_do_nothing()
        .returning(schedule_occurrence.c.schedule_id)
    )
    if connection.execute(record).one_or_none() is None:
        return None
    earlier = _unfinished(connection, row.id)
    if earlier and row.overlap == "forbid":
        _conclude(connection, row.id, time, note=f"Job {earlier[-1]} was not finished.")
        return None
    if row.overlap == "replace":
        for job_id in earlier:
            reason = f"Schedule '{row.name}' has a newer job."
            request_cancel(connection, clock, job_id, reason, actor=_actor(row))
    job_id = submit(connection, clock, _submission(row, time, behind=earlier))
    _conclude(connection, row.id, time, job_id=job_id)
    return job_id


def _unfinished(connection: Connection, schedule_id: int) -> tuple[int, ...]:
    found = connection.execute(
        select(job.c.id).where(job.c.schedule_id == schedule_id, UNFINISHED).order_by(job.c.id)
    )
    return tuple(found.scalars())


def _submission(row: Row[Any], time: datetime, behind: tuple[int, ...]) -> Submission:
    return Submission(
        job_type=row.job_type,
        config=row.config,
        priority=row.priority,
        behind=behind,
        max_attempts=row.max_attempts,
        model_name=row.model_name,
        reason=f"Schedule '{row.name}' was due at {time:%Y-%m-%dT%H:%M:%SZ}.",
        resources=row.resources,
        schedule_id=row.id,
        actor=_actor(row),
    )


def _actor(row: Row[Any]) -> str:
    return f"schedule {row.id}"


def _conclude(connection: Connection, schedule_id: int, time: datetime, **values: Any) -> None:
    connection.execute(
        update(schedule_occurrence)
        .where(
            schedule_occurrence.c.schedule_id == schedule_id,
            schedule_occurrence.c.occurrence == time,
        )
        .values(**values)
    )
