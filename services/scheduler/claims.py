"""Claims: how a trainer takes a job, holds it, and ends it. Every write is fenced."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from services.scheduler.jobs import JobPath
from utils.service.answers import answer, no_content, schema_of
from utils.service.contracts.jobs import (
    ClaimRequest,
    FencedRequest,
    FinishRequest,
    HeartbeatRequest,
    ReleaseRequest,
)
from utils.service.problems import ProblemDocument
from utils.service.web import BEARER, REFUSALS, role
from utils.training.job_queue import Heartbeat, Job, JobManager, JobStatus

_TAGS = [Tag(name="claims", description="For trainers; a stale fencing token is answered 409.")]


def claims_api(manager: JobManager, ended: Callable[[], None]) -> APIBlueprint:
    """The routes of claims; ``ended`` is called after each end of a claim."""
    api = APIBlueprint(
        "claims", __name__, url_prefix="/v1/claims", abp_tags=_TAGS, abp_responses=REFUSALS
    )

    @api.post(
        "",
        security=BEARER,
        responses={HTTPStatus.OK: schema_of(Job), HTTPStatus.NO_CONTENT: None},
    )
    @role("trainer")
    def claim_job(body: ClaimRequest) -> Response:
        """Take the nudged job, or the next of these types; 204 where there is none to take."""
        job = _claim(manager, body)
        return no_content() if job is None else answer(Job, job)

    @api.post("/<int:job_id>/start", security=BEARER, responses=_fenced(Job))
    @role("trainer")
    def start_job(path: JobPath, body: FencedRequest) -> Response:
        """Say that the work has begun."""
        return answer(Job, manager.mark_running(path.job_id, body.fencing_token))

    @api.post("/<int:job_id>/heartbeat", security=BEARER, responses=_fenced(Heartbeat))
    @role("trainer")
    def heartbeat(path: JobPath, body: HeartbeatRequest) -> Response:
        """Renew the lease, report progress, learn whether to stop."""
        progress = None if body.progress is None else body.progress.model_dump(mode="json")
        beat = manager.heartbeat(path.job_id, body.fencing_token, progress, body.lease_seconds)
        return answer(Heartbeat, beat)

    @api.post("/<int:job_id>/finish", security=BEARER, responses=_fenced(Job))
    @role("trainer")
    def finish_job(path: JobPath, body: FinishRequest) -> Response:
        """Say how the work ended; a failed attempt may be followed by another."""
        job = _finish(manager, path.job_id, body)
        ended()
        return answer(Job, job)

    @api.post("/<int:job_id>/release", security=BEARER, responses=_fenced(Job))
    @role("trainer")
    def release_job(path: JobPath, body: ReleaseRequest) -> Response:
        """Give the job back, unharmed: another trainer goes on from its checkpoint."""
        job = manager.release(path.job_id, body.fencing_token, body.reason)
        ended()
        return answer(Job, job)

    return api


def _claim(manager: JobManager, wanted: ClaimRequest) -> Job | None:
    job = manager.claim_job(
        wanted.worker_id, wanted.job_types, wanted.lease_seconds, job_id=wanted.job_id
    )
    if job is None and wanted.job_id is not None:
        # The answer to this worker's first try may have been lost on the way: it has the job.
        held = manager.get_job(wanted.job_id)
        if held and held.status is JobStatus.CLAIMED and held.worker_id == wanted.worker_id:
            return held
    return job


def _finish(manager: JobManager, job_id: int, end: FinishRequest) -> Job:
    if end.outcome == "completed":
        return manager.mark_completed(job_id, end.fencing_token, end.result)
    if end.outcome == "cancelled":
        return manager.mark_cancelled(job_id, end.fencing_token, end.error)
    error = end.error or "The trainer gave no reason."
    return manager.mark_failed(job_id, error, end.fencing_token, end.retryable)


def _fenced(kind: Any) -> dict[Any, Any]:
    return {
        HTTPStatus.OK: schema_of(kind),
        HTTPStatus.NOT_FOUND: ProblemDocument,
        HTTPStatus.CONFLICT: ProblemDocument,
    }
