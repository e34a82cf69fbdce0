"""The nudges that tell workers of claimable jobs.

A nudge carries nothing that the table does not: one that is lost is made up for by a reminder, one
that comes twice finds nothing to claim.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, select, update

from utils.training.database import UtcDateTime
from utils.training.job_queue.clock import DatabaseClock
from utils.training.job_queue.tables import CLAIMABLE_OF_TYPE, TO_BE_NUDGED, job

_SHOWN = (job.c.id, job.c.job_type, job.c.priority, job.c.nudge_after)
_MARK = (
    update(job)
    .where(
        job.c.id == bindparam("job_id"),
        job.c.nudge_after == bindparam("due_at", type_=UtcDateTime()),
    )
    .values(num_nudges=job.c.num_nudges + 1)
)


@dataclass(frozen=True)
class Nudge:
    """A claimable job to tell of; enough to route a message."""

    job_id: int
    job_type: str
    priority: int
    due_at: datetime


def pending_nudges(connection: Connection, clock: DatabaseClock, limit: int) -> tuple[Nudge, ...]:
    """The claimable jobs that nobody was told of, longest due first."""
    rows = connection.execute(
        select(*_SHOWN)
        .where(TO_BE_NUDGED, job.c.nudge_after <= clock.after())
        .order_by(job.c.nudge_after)
        .limit(limit)
    )
    return tuple(Nudge(*row) for row in rows)


def mark_nudged(connection: Connection, nudges: Iterable[Nudge]) -> None:
    """Let sent nudges be due no more.

    A job that went back to pending after its nudge was read has a new due time, and stays due.
    """
    # In the order of ids, as everywhere.
    marks = sorted((nudge.job_id, nudge.due_at) for nudge in nudges)
    if marks:
        connection.execute(_MARK, [{"job_id": job_id, "due_at": due} for job_id, due in marks])


def reminders(
    connection: Connection, clock: DatabaseClock, job_type: str, waited: timedelta, limit: int
) -> tuple[Nudge, ...]:
    """The jobs of a type that are next to be claimed, of those that have waited for so long."""
    rows = connection.execute(
        select(*_SHOWN)
        .where(
            CLAIMABLE_OF_TYPE,
            job.c.job_type == job_type,
            job.c.nudge_after <= clock.after(-waited),
        )
        .order_by(job.c.priority.desc(), job.c.id)
        .limit(limit)
    )
    return tuple(Nudge(*row) for row in rows)
