"""Reading jobs, their history and the state of the queue."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, func, literal_column, or_, select
from sqlalchemy import true as always

from utils.training.database import Page, decode_cursor, encode_cursor
from utils.training.errors import InvalidArgumentError
from utils.training.job_queue.clock import DatabaseClock
from utils.training.job_queue.job import Job, JobEvent, JobStatus, QueueStatistics
from utils.training.job_queue.tables import CLAIMABLE, LEASED, LISTED, WHOLE_JOB, job, job_event

_LARGEST_PAGE = 1000


def to_job(row: Row[Any]) -> Job:
    """Make a frozen value of a row of WHOLE_JOB."""
    return job_of(row._asdict())


def job_of(columns: dict[str, Any]) -> Job:
    """Make a frozen value of the same columns by their names."""
    return Job(**columns | {"status": JobStatus(columns["status"])})


def list_jobs(
    connection: Connection,
    statuses: Collection[str] | None,
    equal_to: Mapping[str, Any],
    cursor: str | None,
    limit: int,
) -> Page[Job]:
    """A page of jobs, newest first, in any of the statuses and with the given values."""
    query = select(*WHOLE_JOB).order_by(job.c.id.desc())
    if statuses is not None:
        query = query.where(LISTED, job.c.status.in_(list(statuses)))
    for name, value in equal_to.items():
        if value is not None:
            query = query.where(job.c[name] == value)
    if cursor is not None:
        query = query.where(job.c.id < decode_cursor(cursor, int)[0])
    rows, more = page(connection, query, limit)
    return Page(tuple(map(to_job, rows)), encode_cursor(rows[-1].job_id) if more else None)


def events_of(
    connection: Connection, job_id: int, after: int | None, limit: int
) -> tuple[JobEvent, ...]:
    """One job's events after an event id. Its row's lock orders them: none comes in late."""
    query = select(job_event).where(job_event.c.job_id == job_id).order_by(job_event.c.id)
    if after is not None:
        query = query.where(job_event.c.id > after)
    return tuple(map(_to_event, connection.execute(query.limit(limit))))


def changes(connection: Connection, cursor: str | None, limit: int) -> Page[JobEvent]:
    """All jobs' events after a cursor, in an order in which none can come in late.

    Postgres hands out ids before transactions end, so the order is that of transactions, and those
    younger than the oldest open one are left for the next call.
    """
    place = job_event.c.transaction_id, job_event.c.id
    query = select(job_event).order_by(*place)
    if connection.dialect.name == "postgresql":
        horizon = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        query = query.where(job_event.c.transaction_id < literal_column(horizon))
    if cursor is not None:
        transaction_id, event_id = decode_cursor(cursor, int, int)
        same_transaction = and_(place[0] == transaction_id, place[1] > event_id)
        query = query.where(or_(place[0] > transaction_id, same_transaction))
    rows, _ = page(connection, query, limit)
    following = encode_cursor(rows[-1].transaction_id, rows[-1].id) if rows else cursor
    return Page(tuple(map(_to_event, rows)), following)


def statistics(
    connection: Connection, clock: DatabaseClock, job_type: str | None
) -> QueueStatistics:
    """Count the jobs by status, and look at who waits and who has fallen silent."""
    of_type = always() if job_type is None else job.c.job_type == job_type
    per_status = select(job.c.status, func.count()).where(LISTED, of_type).group_by(job.c.status)
    counts = dict.fromkeys(JobStatus, 0)
    for status, count in connection.execute(per_status):
        counts[JobStatus(status)] = count
    now = clock.read(connection)
    ready, oldest = connection.execute(
        select(func.count(), func.min(job.c.run_after)).where(
            CLAIMABLE, job.c.run_after <= now, of_type
        )
    ).one()
    expired = select(func.count()).where(LEASED, job.c.lease_expires_at <= now, of_type)
    return QueueStatistics(
        counts=counts,
        ready=ready,
        oldest_ready_seconds=_seconds(oldest, now),
        expired_leases=connection.execute(expired).scalar_one(),
    )


def _seconds(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())


def page(connection: Connection, query: Select[Any], limit: int) -> tuple[list[Row[Any]], bool]:
    """At most ``limit`` rows, and whether there are more."""
    if not 1 <= limit <= _LARGEST_PAGE:
        raise InvalidArgumentError(
            f"limit is {limit}, 1 to {_LARGEST_PAGE} is allowed; page with cursor."
        )
    rows = list(connection.execute(query.limit(limit + 1)))
    return rows[:limit], len(rows) > limit


def _to_event(row: Row[Any]) -> JobEvent:
    return JobEvent(
        event_id=row.id,
        job_id=row.job_id,
        at=row.at,
        from_status=None if row.from_status is None else JobStatus(row.from_status),
        to_status=JobStatus(row.to_status),
        attempt=row.attempt,
        reason=row.reason,
        actor=row.actor,
    )
