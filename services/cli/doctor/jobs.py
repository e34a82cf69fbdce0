"""Jobs that are stuck."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from services.cli.connection import Connection
from services.cli.doctor.finding import Finding
from services.cli.output import duration
from utils.service.clients.scheduler import SchedulerClient
from utils.training.job_queue import Job

_HELD = ("claimed", "running", "cancelling")
_LONG = timedelta(minutes=2)  # that a job which could run waits while nothing else runs
_PAGE = 200


def examine(connection: Connection) -> list[Finding]:
    """Leases that ran out, and jobs that nobody takes."""
    with connection.scheduler("reader") as scheduler:
        held = [job for status in _HELD for job in _jobs(scheduler, status)]
        pending = _jobs(scheduler, "pending")
    now = datetime.now(UTC)
    return [*_stuck(held, now), *_untaken(pending, held, now)]


def _jobs(scheduler: SchedulerClient, status: str) -> Sequence[Job]:
    return scheduler.list_jobs(status=status, limit=_PAGE).items


def _stuck(held: Sequence[Job], now: datetime) -> Iterator[Finding]:
    for job in held:
        expired = job.lease_expires_at
        if expired is not None and expired < now:
            yield Finding(
                "error",
                f"job {job.job_id}",
                f"{job.worker_id} holds it, and its lease ran out "
                f"{duration((now - expired).total_seconds())} ago.",
                "The worker is dead or cut off, and the job stands still.",
                "The scheduler gives it to another trainer within seconds; if it does not, "
                "restart the scheduler.",
            )


def _untaken(pending: Sequence[Job], held: Sequence[Job], now: datetime) -> Iterator[Finding]:
    """Jobs that could run; behind another of their type they rightly wait."""
    busy = {job.job_type for job in held}
    for job in pending:
        since = max(job.run_after, job.status_since)
        if job.unmet_dependencies or job.job_type in busy or now - since < _LONG:
            continue
        yield Finding(
            "error",
            f"job {job.job_id}",
            f"It has been waiting for {duration((now - since).total_seconds())}, and no trainer "
            f"does any job of the type {job.job_type}.",
            "No trainer is there that takes this type, or none is free of something else.",
            "Start a trainer whose queues have this type, and see that it reaches scheduler and "
            "Redis.",
        )
