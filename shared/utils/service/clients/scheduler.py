"""The scheduler, spoken to by trainers, the monitor and the command line."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from http import HTTPStatus
from typing import Any

from utils.service.contracts.document import PageOf, from_json
from utils.service.contracts.jobs import JobType, Progress
from utils.service.http import ServiceClient
from utils.training.database import Page
from utils.training.job_queue import Heartbeat, Job


class SchedulerClient(ServiceClient):
    """The scheduler's API, call by call.

    Every call raises RemoteError (the scheduler refused; ``status`` is its HTTP status, 409 a stale
    claim) or UnreachableError (no answer came in time).
    """

    def submit(
        self,
        job_type: JobType,
        config: dict[str, Any],
        *,
        priority: int = 0,
        after: Iterable[int] = (),
        max_attempts: int = 3,
        run_after: datetime | None = None,
        reason: str | None = None,
        resources: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Put a job into the queue; the same key again answers with the same job."""
        body = {
            "job_type": job_type,
            "config": config,
            "priority": priority,
            "after": list(after),
            "max_attempts": max_attempts,
            "run_after": None if run_after is None else run_after.isoformat(),
            "reason": reason,
            "resources": resources,
        }
        return self._read(Job, "POST", "/v1/jobs", body=body, idempotency_key=idempotency_key)

    def list_jobs(
        self,
        *,
        status: str | None = None,
        job_type: JobType | None = None,
        model_name: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Job]:
        """A page of jobs, newest first."""
        wanted = {
            "status": status,
            "job_type": job_type,
            "model_name": model_name,
            "cursor": cursor,
            "limit": limit,
        }
        return self._page(Job, "/v1/jobs", wanted)

    def get_job(self, job_id: int) -> Job:
        """One job."""
        return self._read(Job, "GET", f"/v1/jobs/{job_id}")

    def cancel(self, job_id: int, reason: str | None = None) -> Job:
        """Cancel a waiting job; ask a running one's trainer to save its work and stop."""
        return self._read(Job, "POST", f"/v1/jobs/{job_id}/cancel", body={"reason": reason})

    def claim(
        self,
        worker_id: str,
        *,
        job_types: Iterable[JobType] = ("training", "evaluation", "export"),
        job_id: int | None = None,
        lease_seconds: float = 60,
    ) -> Job | None:
        """Take the nudged job, or the next of these types; None where there is none to take.

        Args:
            worker_id: of one worker that does one job at a time, and of no other.
            job_types: which types, where no job is named.
            job_id: this job and no other.
            lease_seconds: how long the claim holds from now on.
        """
        body = {
            "worker_id": worker_id,
            "job_types": list(job_types),
            "job_id": job_id,
            "lease_seconds": lease_seconds,
        }
        answer = self.call("POST", "/v1/claims", body=body)
        if answer.status_code == HTTPStatus.NO_CONTENT:
            return None
        job: Job = from_json(Job, answer.content)
        return job

    def start(self, job_id: int, fencing_token: int) -> Job:
        """Say that the work has begun."""
        return self._claimed(Job, job_id, "start", fencing_token)

    def heartbeat(
        self,
        job_id: int,
        fencing_token: int,
        progress: Progress | None = None,
        lease_seconds: float = 60,
    ) -> Heartbeat:
        """Renew the lease, report progress, and learn whether to stop."""
        shown = None if progress is None else progress.model_dump(mode="json")
        return self._claimed(
            Heartbeat,
            job_id,
            "heartbeat",
            fencing_token,
            progress=shown,
            lease_seconds=lease_seconds,
        )

    def finish(
        self,
        job_id: int,
        fencing_token: int,
        outcome: str,
        *,
        result: dict[str, Any] | None = None,
        error: str | None = None,
        retryable: bool = True,
    ) -> Job:
        """Say how the work ended.

        Args:
            job_id: the job.
            fencing_token: of the claim.
            outcome: ``completed``, ``failed`` or ``cancelled``.
            result: what a completed job made.
            error: what a failed attempt ended with, or why the work was cancelled.
            retryable: False where another attempt would fail as well.
        """
        return self._claimed(
            Job,
            job_id,
            "finish",
            fencing_token,
            outcome=outcome,
            result=result,
            error=error,
            retryable=retryable,
        )

    def release(self, job_id: int, fencing_token: int, reason: str) -> Job:
        """Give the job back, unharmed."""
        return self._claimed(Job, job_id, "release", fencing_token, reason=reason)

    def _claimed(
        self, kind: type[Any], job_id: int, what: str, fencing_token: int, **body: Any
    ) -> Any:
        path = f"/v1/claims/{job_id}/{what}"
        return self._read(kind, "POST", path, body={"fencing_token": fencing_token, **body})

    def _read(self, kind: Any, method: str, path: str, **request: Any) -> Any:
        return from_json(kind, self.call(method, path, **request).content)

    def _page(self, kind: Any, path: str, wanted: dict[str, Any]) -> Page[Any]:
        params = {name: value for name, value in wanted.items() if value is not None}
        answer = self.call("GET", path, params=params)
        page = from_json(PageOf[kind], answer.content)
        return Page(tuple(page.items), page.next_cursor)
