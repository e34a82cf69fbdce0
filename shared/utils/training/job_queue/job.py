"""What callers see of a job: frozen values, never rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class JobStatus(StrEnum):
    """Where a job stands; :data:`FINISHED` ones stand there for good."""

    PENDING = "pending"
    CLAIMED = "claimed"
    RUNNING = "running"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


HELD = (JobStatus.CLAIMED, JobStatus.RUNNING, JobStatus.CANCELLING)
"""The statuses in which a worker has a lease on the job."""

FINISHED = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as it was when it was read.

    ``attempt`` counts from 1 and is, for a pending job, the attempt that comes next. ``reason`` is
    why the job was submitted, ``status_reason`` why it is in its status, ``error`` what its last
    failed attempt ended with. Times are UTC.
    """

    job_id: int
    job_type: str
    config: dict[str, Any]
    priority: int
    status: JobStatus
    status_since: datetime
    status_reason: str | None
    attempt: int
    max_attempts: int
    fencing_token: int
    worker_id: str | None
    lease_expires_at: datetime | None
    heartbeat_at: datetime | None
    progress: dict[str, Any] | None
    result: dict[str, Any] | None
    error: str | None
    run_after: datetime
    unmet_dependencies: int
    model_name: str | None
    trace_id: str
    reason: str | None
    resources: dict[str, Any] | None
    idempotency_key: str | None
    schedule_id: int | None
    submitted_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def is_finished(self) -> bool:
        """True where nothing will change any more."""
        return self.status in FINISHED

    @property
    def cancel_requested(self) -> bool:
        """True where the worker is asked to save its work and stop."""
        return self.status is JobStatus.CANCELLING


@dataclass(frozen=True, kw_only=True)
class JobEvent:
    """One change of a job's status; ``event_id`` grows with time within the job."""

    event_id: int
    job_id: int
    at: datetime
    from_status: JobStatus | None
    to_status: JobStatus
    attempt: int
    reason: str | None
    actor: str | None


@dataclass(frozen=True)
class Heartbeat:
    """The answer to a heartbeat: whether to stop, and until when the lease holds."""

    cancel_requested: bool
    lease_expires_at: datetime


@dataclass(frozen=True)
class QueueStatistics:
    """The queue at one moment.

    ``ready`` counts the pending jobs that a worker could claim now, ``oldest_ready_seconds`` is how
    long the first of them has been waiting (0 where there is none), and ``expired_leases`` counts
    the claims whose worker has fallen silent.
    """

    counts: dict[JobStatus, int]
    ready: int
    oldest_ready_seconds: float
    expired_leases: int


@dataclass(frozen=True)
class JobCheckpoint:
    """A checkpoint in the artifact store, by its digest."""

    job_id: int
    digest: str
    file_name: str
    step: int
    saved_at: datetime
