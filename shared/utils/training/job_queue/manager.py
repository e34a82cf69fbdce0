"""The job queue: a table that any number of processes work on at once."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, delete, select, update

from utils.training.database import Page, open_database, reading
from utils.training.database.checks import check_ids
from utils.training.errors import InvalidArgumentError, UnknownNameError
from utils.training.job_queue import claims, outbox, queries, reaper, transitions
from utils.training.job_queue.backoff import Backoff
from utils.training.job_queue.clock import Clock, DatabaseClock
from utils.training.job_queue.job import Heartbeat, Job, JobEvent, JobStatus, QueueStatistics
from utils.training.job_queue.queries import to_job
from utils.training.job_queue.submission import Submission, is_name, submit
from utils.training.job_queue.tables import NAME_LENGTH, WHOLE_JOB, job

_logger = logging.getLogger(__name__)


class JobManager:
    """Jobs with priorities, leases, retries, dependencies and a history.

    A claim is a lease: a worker renews it by :meth:`heartbeat`, and loses the job when it falls
    silent and :meth:`reap_expired` finds out. Each claim has a new fencing token, and a write with
    an older one is refused, so that a job ends once. Times come from the database's clock.

    Calls that take a ``fencing_token`` take None for "whoever holds it now"; that is for a process
    that is alone with its database. They raise UnknownJobError, StaleClaimError (the token's claim
    is over: stop working) or IllegalTransitionError (the job's status does not allow it).
    """

    def __init__(
        self,
        location: str | Path | Engine,
        *,
        clock: Clock | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        """Open the queue.

        Args:
            location: a path (SQLite), a ``postgresql://`` URL, or an engine of ``open_database``.
            clock: stands in for the database's clock in tests.
            backoff: the waits between attempts.
        """
        self._engine = open_database(location)
        self._clock = DatabaseClock(self._engine, clock)
        self._backoff = backoff or Backoff()
        self._claims = claims.Claims(self._clock)

    def submit_job(
        self,
        job_type: str,
        config: dict[str, Any],
        priority: int = 0,
        *,
        idempotency_key: str | None = None,
        after: Iterable[int] = (),
        max_attempts: int = 3,
        run_after: datetime | None = None,
        model_name: str | None = None,
        trace_id: str | None = None,
        reason: str | None = None,
        resources: dict[str, Any] | None = None,
        actor: str | None = None,
    ) -> int:
        """Put a job into the queue and return its id.

        Args:
            job_type: what kind of work it is, such as ``training`` or ``evaluation``.
            config: what the worker needs, as JSON.
            priority: a higher one runs first; equal ones run in the order of submission.
            idempotency_key: a second call with the same key returns the first call's job.
            after: ids of jobs that must complete first; when one of them fails or is cancelled,
                this job is cancelled.
            max_attempts: how often it is tried before it has failed.
            run_after: not before this time (a naive one is UTC).
            model_name: the model that it is about.
            trace_id: follows the work through the platform; made up when not given.
            reason: why it is submitted.
            resources: what the worker must have, as JSON.
            actor: who submits it.

        Raises:
            InvalidJobError: an argument is not what it must be; the message names all faults.
            IdempotencyConflictError: the key belongs to a different job.
        """
        _refuse_no_time("run_after", run_after)
        wanted = Submission(
            job_type=job_type,
            config=config,
            priority=priority,
            idempotency_key=idempotency_key,
            after=tuple(check_ids("after", after)),
            max_attempts=max_attempts,
            run_after=run_after,
            model_name=model_name,
            trace_id=trace_id,
            reason=reason,
            resources=resources,
            actor=actor,
        )
        with self._engine.begin() as connection:
            return submit(connection, self._clock, wanted)

    def claim_job(
        self,
        worker_id: str,
        job_types: str | Collection[str] | None = None,
        lease_seconds: float = 60.0,
        *,
        job_id: int | None = None,
    ) -> Job | None:
        """Take the next job of these types; None where there is none to take.

        A job that another transaction works on at that moment is passed over. With ``job_id``, as a
        nudge names it, that job and no other is taken, whatever its type, and such a transaction is
        waited for. The lease holds for ``lease_seconds`` from now and from each heartbeat.
        """
        if not is_name(worker_id):
            raise InvalidArgumentError(
                f"worker_id is {worker_id!r}, a string of 1 to {NAME_LENGTH} printable characters "
                "is allowed."
            )
        types = [job_types] if isinstance(job_types, str) else job_types
        if types is not None and not all(map(is_name, types)):
            raise InvalidArgumentError(f"job_types is {types!r}, names of types are allowed.")
        lease = _lease(lease_seconds)
        with self._one_statement() as connection:
            return self._claims.claim(connection, worker_id, lease, job_types=types, job_id=job_id)

    def heartbeat(
        self,
        job_id: int,
        fencing_token: int,
        progress: dict[str, Any] | None = None,
        lease_seconds: float = 60.0,
    ) -> Heartbeat:
        """Renew the lease, report progress, and learn whether the job is to be cancelled.

        A lease that ran out is renewed all the same while nobody has taken the job back.
        """
        values = {} if progress is None else {"progress": progress}
        statement = (
            update(job)
            .where(*claims.held_by(job_id, fencing_token))
            .values(
                lease_expires_at=self._clock.after(_lease(lease_seconds)),
                heartbeat_at=self._clock.after(),
                **values,
            )
            .returning(job.c.status, job.c.lease_expires_at)
        )
        with self._one_statement() as connection:
            row = connection.execute(statement).one_or_none()
            if row is None:
                claims.refuse(connection, job_id, fencing_token, "kept")
        return Heartbeat(row.status == JobStatus.CANCELLING, row.lease_expires_at)

    def mark_running(self, job_id: int, fencing_token: int | None = None) -> Job:
        """Say that the work has begun; after a cancel, the answer shows ``cancel_requested``."""
        with self._engine.begin() as connection:
            return to_job(transitions.start(connection, self._clock, job_id, fencing_token))

    def mark_completed(
        self,
        job_id: int,
        fencing_token: int | None = None,
        result: dict[str, Any] | None = None,
    ) -> Job:
        """Say that the work is done; jobs that waited for it become claimable.

        Without a token it completes whatever claim is the current one. The holder may say it twice,
        as after a lost reply.
        """
        return self._finish(job_id, fencing_token, JobStatus.COMPLETED, result=result, error=None)

    def mark_failed(
        self,
        job_id: int,
        error: str,
        fencing_token: int | None = None,
        retryable: bool = True,
    ) -> Job:
        """Say that the attempt failed, and with what.

        The job goes back to pending, for its next attempt after a back-off, or has failed where the
        attempts are used up or ``retryable`` is False; a job that was to be cancelled is.
        """
        with self._engine.begin() as connection:
            held = connection.execute(
                select(*WHOLE_JOB).where(*claims.held_by(job_id, fencing_token)).with_for_update()
            ).one_or_none()
            if held is None:
                claims.refuse(connection, job_id, fencing_token, "marked as failed")
            row = transitions.give_up_attempt(
                connection, self._clock, self._backoff, held, error, is_retryable=retryable
            )
        return to_job(row)

    def mark_cancelled(
        self, job_id: int, fencing_token: int | None = None, reason: str | None = None
    ) -> Job:
        """Say that the work has stopped, as a cancel asked for."""
        return self._finish(
            job_id,
            fencing_token,
            JobStatus.CANCELLED,
            allowed=[JobStatus.CANCELLING],
            reason=reason,
        )

    def release(
        self, job_id: int, fencing_token: int | None = None, reason: str = "The worker must go."
    ) -> Job:
        """Give the job back without costing it an attempt, as a worker does that must shut down."""
        with self._engine.begin() as connection:
            return to_job(
                transitions.release(connection, self._clock, job_id, fencing_token, reason)
            )

    def cancel(self, job_id: int, reason: str | None = None, *, actor: str | None = None) -> Job:
        """Cancel a pending job; ask the worker of a held one to save its work and stop.

        A second call, and one for a job that is cancelled already, changes nothing.

        Raises:
            IllegalTransitionError: the job has completed or failed.
        """
        with self._engine.begin() as connection:
            row = transitions.request_cancel(connection, self._clock, job_id, reason, actor)
            if row is None:
                row = connection.execute(select(*WHOLE_JOB).where(job.c.id == job_id)).one_or_none()
            if row is None or row.status in {JobStatus.COMPLETED, JobStatus.FAILED}:
                claims.refuse(connection, job_id, None, "cancelled")
        return to_job(row)

    def check_fence(self, job_id: int, fencing_token: int) -> None:
        """See that a claim is still the current one, before a write on its behalf elsewhere.

        A store in the same database does better: it takes :func:`fence` as the guard of its write.
        """
        with self._engine.begin() as connection:
            claims.fence(job_id, fencing_token)(connection)

    def reap_expired(
        self, now: datetime | None = None, grace_seconds: float = 0.0, limit: int = 1000
    ) -> tuple[Job, ...]:
        """Take back the jobs whose lease ran out, and return them as they now are.

        A reaper that was down itself, and so kept workers from renewing, gives them one lease time
        of grace: it passes that as ``grace_seconds`` until it has been up for as long.
        """
        grace = timedelta(seconds=grace_seconds)
        reaped = reaper.reap_expired(self._engine, self._clock, self._backoff, now, grace, limit)
        for found in reaped:
            _logger.warning("Job %d is %s: %s", found.job_id, found.status, found.status_reason)
        return reaped

    def pending_nudges(self, limit: int = 100) -> tuple[outbox.Nudge, ...]:
        """The claimable jobs that workers are to be told of now, since they have not been."""
        with reading(self._engine) as connection:
            return outbox.pending_nudges(connection, self._clock, limit)

    def mark_nudged(self, nudges: Iterable[outbox.Nudge]) -> None:
        """Say that these nudges were sent."""
        with self._engine.begin() as connection:
            outbox.mark_nudged(connection, nudges)

    def reminders(
        self, job_type: str, waited_seconds: float, limit: int
    ) -> tuple[outbox.Nudge, ...]:
        """The first claimable jobs of a type that have waited for so long.

        Workers are told of them again, in case that nudges were lost. A few are enough, however
        many wait: a worker that is awake claims one job after another.
        """
        waited = timedelta(seconds=waited_seconds)
        with reading(self._engine) as connection:
            return outbox.reminders(connection, self._clock, job_type, waited, limit)

    def get_job(self, job_id: int) -> Job | None:
        """Read a job; None where there is none with that id."""
        with reading(self._engine) as connection:
            row = connection.execute(select(*WHOLE_JOB).where(job.c.id == job_id)).one_or_none()
        return None if row is None else to_job(row)

    def list_jobs(
        self,
        status: str | Collection[str] | None = None,
        *,
        job_type: str | None = None,
        model_name: str | None = None,
        schedule_id: int | None = None,
        trace_id: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Job]:
        """A page of jobs, newest first; ``status`` is one or several.

        Raises:
            ValueError: no such status, a limit outside 1 to 1000, or a foreign cursor.
        """
        statuses = [status] if isinstance(status, str) else status
        equal_to = {
            "job_type": job_type,
            "model_name": model_name,
            "schedule_id": schedule_id,
            "trace_id": trace_id,
        }
        wanted = None if statuses is None else [_status(name) for name in statuses]
        with reading(self._engine) as connection:
            return queries.list_jobs(connection, wanted, equal_to, cursor, limit)

    def events(
        self, job_id: int, after: int | None = None, limit: int = 1000
    ) -> tuple[JobEvent, ...]:
        """A job's history, oldest first, from behind the event of id ``after``."""
        with reading(self._engine) as connection:
            return queries.events_of(connection, job_id, after, limit)

    def changes(self, cursor: str | None = None, limit: int = 100) -> Page[JobEvent]:
        """All jobs' events from behind a cursor, none left out however the writers interleave.

        ``next_cursor`` is where to go on, also when there is nothing new.
        """
        with reading(self._engine) as connection:
            return queries.changes(connection, cursor, limit)

    def statistics(self, job_type: str | None = None) -> QueueStatistics:
        """Counts by status, queue depth, the age of the oldest ready job, silent workers."""
        with reading(self._engine) as connection:
            return queries.statistics(connection, self._clock, job_type)

    def delete_finished(self, finished_before: datetime, limit: int = 1000) -> int:
        """Delete old finished jobs with their history, oldest first, and return how many."""
        _refuse_no_time("finished_before", finished_before)
        old = (
            select(job.c.id)
            .where(job.c.finished_at < finished_before)
            .order_by(job.c.finished_at)
            .limit(limit)
            .with_for_update(skip_locked=True)  # waits for nobody, so nobody waits in a circle
        )
        with self._engine.begin() as connection:
            return connection.execute(delete(job).where(job.c.id.in_(old))).rowcount

    def _finish(
        self, job_id: int, fencing_token: int | None, status: JobStatus, **values: Any
    ) -> Job:
        with self._engine.begin() as connection:
            row = transitions.finish(
                connection, self._clock, job_id, fencing_token, status, **values
            )
        return to_job(row)

    def _one_statement(self) -> AbstractContextManager[Connection]:
        # Postgres commits a single statement by itself, which spares two round trips.
        if self._engine.dialect.name == "postgresql":
            return reading(self._engine)
        return self._engine.begin()


def _lease(seconds: float) -> timedelta:
    if not isinstance(seconds, int | float) or not seconds > 0:
        raise InvalidArgumentError(f"lease_seconds is {seconds!r}, more than 0 is allowed.")
    return timedelta(seconds=seconds)


def _refuse_no_time(name: str, time: Any) -> None:
    if time is not None and not isinstance(time, datetime):
        raise InvalidArgumentError(
            f"{name} is {time!r}, a datetime is allowed; make one by datetime.fromisoformat."
        )


def _status(name: str) -> JobStatus:
    if name not in set(JobStatus):
        raise UnknownNameError("job status", name, JobStatus)
    return JobStatus(name)
