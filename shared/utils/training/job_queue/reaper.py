"""Taking jobs back from workers that fell silent."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Engine, and_, literal, select

from utils.training.database import UtcDateTime, reading
from utils.training.job_queue.backoff import Backoff
from utils.training.job_queue.clock import DatabaseClock
from utils.training.job_queue.job import Job
from utils.training.job_queue.queries import to_job
from utils.training.job_queue.tables import LEASED, WHOLE_JOB, job
from utils.training.job_queue.transitions import give_up_attempt

_ACTOR = "reaper"


def reap_expired(
    engine: Engine,
    clock: DatabaseClock,
    backoff: Backoff,
    now: datetime | None,
    grace: timedelta,
    limit: int,
) -> tuple[Job, ...]:
    """End the attempts whose lease ran out, each in a transaction of its own."""
    deadline: ColumnElement[datetime] = (
        clock.after(-grace) if now is None else literal(now - grace, UtcDateTime())
    )
    is_expired = and_(LEASED, job.c.lease_expires_at <= deadline)
    with reading(engine) as connection:
        expired = connection.execute(
            select(job.c.id).where(is_expired).order_by(job.c.lease_expires_at).limit(limit)
        )
        job_ids = list(expired.scalars())
    reaped = []
    for job_id in job_ids:
        with engine.begin() as connection:
            # Two reapers share the work: what one has locked, or done, the other leaves alone.
            held = connection.execute(
                select(*WHOLE_JOB)
                .where(job.c.id == job_id, is_expired)
                .with_for_update(skip_locked=True)
            ).one_or_none()
            if held is not None:
                error = f"Worker '{held.worker_id}' did not renew its lease."
                row = give_up_attempt(connection, clock, backoff, held, error, actor=_ACTOR)
                reaped.append(to_job(row))
    return tuple(reaped)
