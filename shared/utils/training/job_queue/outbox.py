"""The nudges that tell workers of claimable jobs.

A nudge carries nothing that the table does not: one that is lost is sent again, one that comes
twice finds nothing to claim.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, select, update

from utils.training.job_queue.clock import DatabaseClock
from utils.training.job_queue.tables import TO_BE_NUDGED, job

_MOST_DOUBLINGS = 6


@dataclass(frozen=True)
class Nudge:
    """A claimable job that nobody was told of, or not lately; enough to route a message."""

    job_id: int
    job_type: str
    priority: int
    due_at: datetime
    times_sent: int


def pending_nudges(connection: Connection, clock: DatabaseClock, limit: int) -> tuple[Nudge, ...]:
    """The nudges that are due, longest due first."""
    rows = connection.execute(
        select(job.c.id, job.c.job_type, job.c.priority, job.c.nudge_after, job.c.num_nudges)
        .where(TO_BE_NUDGED, job.c.nudge_after <= clock.after())
        .order_by(job.c.nudge_after)
        .limit(limit)
    )
    return tuple(Nudge(*row) for row in rows)


def mark_nudged(
    connection: Connection, clock: DatabaseClock, nudges: Iterable[Nudge], again_in: timedelta
) -> None:
    """Let sent nudges be due again later, and ever later while the job stays unclaimed.

    A job that went back to pending after its nudge was read has a new due time, which stays.
    """
    for nudge in sorted(nudges, key=lambda nudge: nudge.job_id):
        pause = again_in * 2 ** min(nudge.times_sent, _MOST_DOUBLINGS)
        connection.execute(
            update(job)
            .where(job.c.id == nudge.job_id, job.c.nudge_after == nudge.due_at)
            .values(nudge_after=clock.after(pause), num_nudges=nudge.times_sent + 1)
        )
