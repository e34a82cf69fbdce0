"""How a worker gets a job, holds it, and proves that it does."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any, NoReturn

from sqlalchemy import (
    ColumnElement,
    Connection,
    String,
    TextClause,
    bindparam,
    select,
    union_all,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from utils.training.database import Guard
from utils.training.database.prepared import Prepared
from utils.training.job_queue.clock import DatabaseClock
from utils.training.job_queue.errors import (
    IllegalTransitionError,
    StaleClaimError,
    UnknownJobError,
)
from utils.training.job_queue.job import HELD, Job, JobStatus
from utils.training.job_queue.queries import job_of
from utils.training.job_queue.tables import CLAIMABLE, CLAIMABLE_OF_TYPE, WHOLE_JOB, job


class Claims:
    """The claim in its three forms: any job, one of a type, one by its id."""

    def __init__(self, clock: DatabaseClock) -> None:
        self._clock = clock
        self._any = Prepared(_statement(clock, CLAIMABLE))
        self._of_type = Prepared(
            _statement(clock, CLAIMABLE_OF_TYPE, job.c.job_type == bindparam("wanted_type"))
        )
        self._of_id = Prepared(
            _statement(clock, CLAIMABLE, job.c.id == bindparam("wanted_id"), skip_locked=False)
        )

    def claim(
        self,
        connection: Connection,
        worker_id: str,
        lease: timedelta,
        *,
        job_types: Collection[str] | None,
        job_id: int | None,
    ) -> Job | None:
        """Give the worker the first claimable job of these types, or the job of this id."""
        values = {"worker": worker_id, **self._clock.values(now=timedelta(0), lease_end=lease)}
        if job_id is not None:
            return _only(self._of_id.rows(connection, values | {"wanted_id": job_id}))
        if job_types is None:
            return _only(self._any.rows(connection, values))
        types = sorted(set(job_types))
        if len(types) > 1:
            types = _types_by_first_job(connection, self._clock, types)
        for job_type in types:
            claimed = _only(self._of_type.rows(connection, values | {"wanted_type": job_type}))
            if claimed is not None:
                return claimed
        return None


def _only(rows: list[dict[str, Any]]) -> Job | None:
    return job_of(rows[0]) if rows else None


def _statement(
    clock: DatabaseClock,
    claimable: TextClause,
    *conditions: ColumnElement[bool],
    skip_locked: bool = True,
) -> ReturningUpdate[Any]:
    """Claim in one statement, the same on both databases.

    Claimers never wait for each other: they skip what another transaction has in its hands. Who
    wants one job and no other does wait, for its nudge is on the way while it is marked as sent.
    """
    now, worker = clock.parameter("now"), bindparam("worker", type_=String())
    first = (
        select(job.c.id)
        .where(claimable, job.c.run_after <= now, *conditions)
        .order_by(job.c.priority.desc(), job.c.id)
        .limit(1)
        .with_for_update(skip_locked=skip_locked)
    )
    return (
        update(job)
        .where(job.c.id == first.scalar_subquery(), claimable)
        .values(
            status=JobStatus.CLAIMED,
            status_since=now,
            status_reason=None,
            status_actor=worker,
            worker_id=worker,
            fencing_token=job.c.fencing_token + 1,
            lease_expires_at=clock.parameter("lease_end"),
            heartbeat_at=now,
            started_at=None,
        )
        .returning(*WHOLE_JOB)
    )


def _types_by_first_job(
    connection: Connection, clock: DatabaseClock, job_types: Sequence[str]
) -> list[str]:
    """The types that have a claimable job, in the order in which these would be claimed.

    The look decides nothing but the order of the claims to try. It reads one row a type off the
    index, however many jobs of other types are in the queue.
    """
    heads = [
        select(job.c.job_type, job.c.priority, job.c.id)
        .where(CLAIMABLE_OF_TYPE, job.c.job_type == job_type, job.c.run_after <= clock.after())
        .order_by(job.c.priority.desc(), job.c.id)
        .limit(1)
        .subquery()
        for job_type in job_types
    ]
    found = connection.execute(union_all(*(select(head) for head in heads))).all()
    return [row.job_type for row in sorted(found, key=lambda row: (-row.priority, row.id))]


def held_by(job_id: int, fencing_token: int | None) -> list[ColumnElement[bool]]:
    """The condition under which a worker may write: it holds the job, under this token."""
    conditions = [job.c.id == job_id, job.c.status.in_(HELD)]
    return (
        conditions if fencing_token is None else [*conditions, job.c.fencing_token == fencing_token]
    )


def fence(job_id: int, fencing_token: int) -> Guard:
    """A guard for writes of other stores in the same database on behalf of a job.

    It keeps the claim from being taken away until the write's transaction has ended, and raises
    UnknownJobError or StaleClaimError where the claim is gone already.
    """

    def check(connection: Connection) -> None:
        current = select(job.c.id).where(*held_by(job_id, fencing_token))
        if connection.execute(current.with_for_update(read=True)).one_or_none() is None:
            refuse(connection, job_id, fencing_token, "written for")

    return check


def refuse(connection: Connection, job_id: int, fencing_token: int | None, what: str) -> NoReturn:
    """Say why a job could not be changed."""
    found = connection.execute(
        select(job.c.status, job.c.fencing_token, job.c.worker_id).where(job.c.id == job_id)
    ).one_or_none()
    if found is None:
        raise UnknownJobError(f"There is no job {job_id}; the list of jobs has those there are.")
    is_current = found.status in HELD and found.fencing_token == fencing_token
    if fencing_token is not None and not is_current:
        raise StaleClaimError(
            f"Job {job_id} can't be {what} with fencing token {fencing_token}: it is "
            f"{found.status}, and its last claim has token {found.fencing_token}; "
            "stop working on it."
        )
    raise IllegalTransitionError(f"Job {job_id} can't be {what}: it is {found.status}.")
