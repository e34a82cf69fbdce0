"""The scheduler, spoken to by trainers, the monitor and the command line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from utils.service.clients.event_stream import follow
from utils.service.contracts.document import MAX_PAGE, PageOf, from_json, to_json
from utils.service.contracts.drift import QueueWatch
from utils.service.contracts.jobs import JobType, Progress, ScheduleRequest, Signal, TriggerRule
from utils.service.contracts.triggers import SignalDecision, Trigger, TriggerExplanation
from utils.service.http import ServiceClient
from utils.training.job_queue import Heartbeat, Job, JobEvent, Occurrence, Schedule
from utils.training.page import Page


@dataclass(frozen=True)
class LogPiece:
    """Some bytes of a log, in UTF-8, and the offset behind them."""

    content: bytes
    next_offset: int


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
        return self._claimed(
            Heartbeat,
            job_id,
            "heartbeat",
            fencing_token,
            progress=_plain(progress),
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
            result=_plain(result),
            error=error,
            retryable=retryable,
        )

    def release(self, job_id: int, fencing_token: int, reason: str) -> Job:
        """Give the job back, unharmed."""
        return self._claimed(Job, job_id, "release", fencing_token, reason=reason)

    def events(self, job_id: int, after: int | None = None) -> Iterator[JobEvent | Progress]:
        """Follow a job until it is finished, over every break of the connection.

        Args:
            job_id: the job.
            after: the id of the last event seen; None begins with the first one.

        Yields:
            Each change of its status once, and what its trainer reports in between.
        """
        return follow(self.stream, f"/v1/jobs/{job_id}/events", after, self.patience_seconds)

    def history(self, job_id: int, after: int | None = None) -> tuple[JobEvent, ...]:
        """What has happened to a job so far, oldest first (at most 200 events)."""
        wanted = {"cursor": after, "limit": MAX_PAGE}
        return self._page(JobEvent, f"/v1/jobs/{job_id}/events", wanted).items

    def read_log(self, job_id: int, offset: int = 0) -> LogPiece:
        """A piece of a job's log from a byte offset on; a negative one counts from the end."""
        answer = self.call("GET", f"/v1/jobs/{job_id}/log", params={"offset": offset})
        return LogPiece(answer.content, int(answer.headers["X-Next-Offset"]))

    def append_log(self, job_id: int, fencing_token: int, text: str) -> None:
        """Add lines to the log of the job that is held under this token."""
        body = {"fencing_token": fencing_token, "text": text}
        self.call("POST", f"/v1/jobs/{job_id}/log", body=body)

    def create_schedule(self, schedule: ScheduleRequest) -> Schedule:
        """Create a schedule; the same one again is the one that is there."""
        return self._read(Schedule, "POST", "/v1/schedules", body=schedule.model_dump(mode="json"))

    def list_schedules(
        self, *, name: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[Schedule]:
        """A page of schedules, oldest first; a name is that of one at most."""
        wanted = {"name": name, "cursor": cursor, "limit": limit}
        return self._page(Schedule, "/v1/schedules", wanted)

    def get_schedule(self, schedule_id: int) -> Schedule:
        """One schedule."""
        return self._read(Schedule, "GET", f"/v1/schedules/{schedule_id}")

    def pause_schedule(self, schedule_id: int) -> Schedule:
        """Let nothing run until it is resumed."""
        return self._read(Schedule, "POST", f"/v1/schedules/{schedule_id}/pause")

    def resume_schedule(self, schedule_id: int) -> Schedule:
        """Go on from now."""
        return self._read(Schedule, "POST", f"/v1/schedules/{schedule_id}/resume")

    def delete_schedule(self, schedule_id: int) -> None:
        """Delete a schedule; its jobs stay."""
        self.call("DELETE", f"/v1/schedules/{schedule_id}")

    def preview_schedule(self, schedule_id: int, count: int = 5) -> tuple[datetime, ...]:
        """The next times at which it submits a job."""
        return self._page(datetime, f"/v1/schedules/{schedule_id}/preview", {"count": count}).items

    def schedule_history(self, schedule_id: int, limit: int = 50) -> tuple[Occurrence, ...]:
        """What became of its last times, newest first."""
        return self._page(
            Occurrence, f"/v1/schedules/{schedule_id}/history", {"limit": limit}
        ).items

    def put_trigger(self, model_name: str, rule: TriggerRule) -> Trigger:
        """Set the rule by which a model is trained again."""
        body = rule.model_dump(mode="json")
        return self._read(Trigger, "PUT", f"/v1/triggers/{model_name}", body=body)

    def get_trigger(self, model_name: str) -> Trigger:
        """A model's rule."""
        return self._read(Trigger, "GET", f"/v1/triggers/{model_name}")

    def list_triggers(self, *, cursor: str | None = None, limit: int = 50) -> Page[Trigger]:
        """A page of rules, by their models' names."""
        return self._page(Trigger, "/v1/triggers", {"cursor": cursor, "limit": limit})

    def delete_trigger(self, model_name: str) -> None:
        """Drop a model's rule."""
        self.call("DELETE", f"/v1/triggers/{model_name}")

    def explain_trigger(self, model_name: str) -> TriggerExplanation:
        """What would fire now, what would not, and why."""
        return self._read(TriggerExplanation, "GET", f"/v1/triggers/{model_name}/explain")

    def signal(
        self, model_name: str, signal: Signal, *, idempotency_key: str | None = None
    ) -> SignalDecision:
        """Tell what was seen of a model in one window, and learn what that leads to.

        A window is known by its end and the version seen, or by the key where it has no end.
        """
        return self._read(
            SignalDecision,
            "POST",
            f"/v1/triggers/{model_name}/signals",
            body=signal.model_dump(mode="json"),
            idempotency_key=idempotency_key,
        )

    def queues(self) -> tuple[QueueWatch, ...]:
        """Every queue, as it is now."""
        return self._page(QueueWatch, "/v1/queues", {}).items

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


def _plain(value: Any) -> Any:
    """A value as JSON has it: a loss that is no number any more becomes null."""
    return json.loads(to_json(Any, value))
