"""Every change of a job's status after its claim, each one statement under the job's fence."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, case, select, update

from utils.training.job_queue.backoff import Backoff
from utils.training.job_queue.claims import held_by, refuse
from utils.training.job_queue.clock import DatabaseClock
from utils.training.job_queue.job import HELD, JobStatus
from utils.training.job_queue.settlement import settle
from utils.training.job_queue.tables import WHOLE_JOB, job

_ACTIVE = (JobStatus.PENDING, JobStatus.CLAIMED, JobStatus.RUNNING)


def start(connection: Connection, clock: DatabaseClock, job_id: int, token: int | None) -> Row[Any]:
    """From claimed to running; a repeated call, or one after a cancel, changes nothing."""
    row = _move(
        connection,
        clock,
        job_id,
        token,
        [JobStatus.CLAIMED],
        JobStatus.RUNNING,
        started_at=clock.after(),
    )
    if row is None:
        row = connection.execute(select(*WHOLE_JOB).where(*held_by(job_id, token))).one_or_none()
    return row or refuse(connection, job_id, token, "started")


def finish(
    connection: Connection,
    clock: DatabaseClock,
    job_id: int,
    token: int | None,
    status: JobStatus,
    *,
    allowed: Sequence[JobStatus] = HELD,
    reason: str | None = None,
    **values: Any,
) -> Row[Any]:
    """To one of the statuses that are for good; the same holder may say it twice."""
    row = _move(
        connection,
        clock,
        job_id,
        token,
        allowed,
        status,
        reason=reason,
        finished_at=clock.after(),
        lease_expires_at=None,
        **values,
    )
    if row is not None:
        settle(connection, clock, job_id, status)
        return row
    if token is not None:
        row = connection.execute(
            select(*WHOLE_JOB).where(
                job.c.id == job_id, job.c.status == status, job.c.fencing_token == token
            )
        ).one_or_none()
    return row or refuse(connection, job_id, token, f"marked as {status}")


def give_up_attempt(
    connection: Connection,
    clock: DatabaseClock,
    backoff: Backoff,
    held: Row[Any],
    error: str,
    *,
    is_retryable: bool = True,
    actor: str | None = None,
) -> Row[Any]:
    """End a held job's attempt: it waits for the next one, or has failed, or is cancelled.

    ``held`` is the job's row as this transaction has read and locked it.
    """
    if held.status == JobStatus.CANCELLING or not is_retryable or held.attempt >= held.max_attempts:
        is_cancelled = held.status == JobStatus.CANCELLING
        end = JobStatus.CANCELLED if is_cancelled else JobStatus.FAILED
        reason = held.status_reason if is_cancelled else error
        return finish(
            connection,
            clock,
            held.job_id,
            held.fencing_token,
            end,
            reason=reason,
            actor=actor,
            error=error,
        )
    delay = backoff.delay(held.attempt)
    row = _move(
        connection,
        clock,
        held.job_id,
        held.fencing_token,
        [JobStatus(held.status)],
        JobStatus.PENDING,
        reason=error,
        actor=actor,
        error=error,
        attempt=held.attempt + 1,
        **_pending_again(clock, delay),
    )
    return row or refuse(connection, held.job_id, held.fencing_token, "returned")


def release(
    connection: Connection, clock: DatabaseClock, job_id: int, token: int | None, reason: str
) -> Row[Any]:
    """Back to pending without costing an attempt; to cancelled where that was wanted anyway."""
    row = _move(
        connection,
        clock,
        job_id,
        token,
        [JobStatus.CLAIMED, JobStatus.RUNNING],
        JobStatus.PENDING,
        reason=reason,
        **_pending_again(clock, timedelta(0)),
    )
    if row is not None:
        return row
    return finish(
        connection,
        clock,
        job_id,
        token,
        JobStatus.CANCELLED,
        allowed=[JobStatus.CANCELLING],
        reason=reason,
    )


def request_cancel(
    connection: Connection, clock: DatabaseClock, job_id: int, reason: str | None, actor: str | None
) -> Row[Any] | None:
    """Cancel a pending job, ask a held one's worker to stop; None where there is nothing to do."""
    is_pending = job.c.status == JobStatus.PENDING
    row = connection.execute(
        update(job)
        .where(job.c.id == job_id, job.c.status.in_(_ACTIVE))
        .values(
            status=case((is_pending, JobStatus.CANCELLED), else_=JobStatus.CANCELLING),
            status_since=clock.after(),
            status_reason=reason,
            status_actor=actor,
            finished_at=case((is_pending, clock.after())),
        )
        .returning(*WHOLE_JOB)
    ).one_or_none()
    if row is not None:
        settle(connection, clock, job_id, JobStatus(row.status))
    return row


def _pending_again(clock: DatabaseClock, delay: timedelta) -> dict[str, Any]:
    due = clock.after(delay)
    return {
        "run_after": due,
        "nudge_after": due,
        "num_nudges": 0,
        "worker_id": None,
        "lease_expires_at": None,
    }


def _move(
    connection: Connection,
    clock: DatabaseClock,
    job_id: int,
    token: int | None,
    allowed: Sequence[JobStatus],
    status: JobStatus,
    *,
    reason: str | None = None,
    actor: str | None = None,
    **values: Any,
) -> Row[Any] | None:
    """Change the status where the job is in an allowed one and the token is the claim's."""
    return connection.execute(
        update(job)
        .where(*held_by(job_id, token), job.c.status.in_(allowed))
        .values(
            status=status,
            status_since=clock.after(),
            status_reason=reason,
            status_actor=actor or job.c.worker_id,
            **values,
        )
        .returning(*WHOLE_JOB)
    ).one_or_none()
