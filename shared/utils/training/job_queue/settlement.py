"""What the end of a job means for the jobs that wait for it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import Connection, select, update

from utils.training.job_queue.clock import DatabaseClock
from utils.training.job_queue.job import FINISHED, JobStatus
from utils.training.job_queue.tables import job, job_dependency


class _Waiting(NamedTuple):
    """A job that waits for another, which has ended; compared by the waiting job's id."""

    job_id: int
    cause: int
    ended_as: JobStatus
    must_complete: bool

    @property
    def is_met(self) -> bool:
        return self.ended_as is JobStatus.COMPLETED or not self.must_complete


def settle(
    connection: Connection,
    clock: DatabaseClock,
    job_id: int,
    status: JobStatus,
    *,
    only: int | None = None,
) -> None:
    """Tell the jobs that wait for this one that it has ended in this status.

    Who waits for completion is cancelled when it ended otherwise, and so on down the line. A job is
    older than those that wait for it, so taking the smallest id first locks all rows in the order
    of their ids: two lines that meet never block each other. ``only`` limits it to one of the
    waiting, and a job that has not ended settles nothing.
    """
    queue = list(_waiting_for(connection, job_id, status, only))
    heapq.heapify(queue)
    while queue:
        waiting = heapq.heappop(queue)
        if waiting.is_met:
            _release(connection, waiting)
        elif _cancel(connection, clock, waiting):
            for further in _waiting_for(connection, waiting.job_id, JobStatus.CANCELLED):
                heapq.heappush(queue, further)


def _waiting_for(
    connection: Connection, job_id: int, status: JobStatus, only: int | None = None
) -> Iterator[_Waiting]:
    if status not in FINISHED:
        return
    edges = select(job_dependency.c.job_id, job_dependency.c.must_complete).where(
        job_dependency.c.depends_on == job_id
    )
    if only is not None:
        edges = edges.where(job_dependency.c.job_id == only)
    for edge in connection.execute(edges):
        yield _Waiting(edge.job_id, job_id, status, edge.must_complete)


def _release(connection: Connection, waiting: _Waiting) -> None:
    connection.execute(
        update(job)
        .where(job.c.id == waiting.job_id, job.c.status == JobStatus.PENDING)
        .values(unmet_dependencies=job.c.unmet_dependencies - 1)
    )


def _cancel(connection: Connection, clock: DatabaseClock, waiting: _Waiting) -> bool:
    cancelled = connection.execute(
        update(job)
        .where(job.c.id == waiting.job_id, job.c.status == JobStatus.PENDING)
        .values(
            status=JobStatus.CANCELLED,
            status_since=clock.after(),
            status_reason=f"Job {waiting.cause}, which it waited for, is {waiting.ended_as}.",
            status_actor=None,
            finished_at=clock.after(),
        )
    )
    return cancelled.rowcount == 1
