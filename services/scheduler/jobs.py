"""Jobs: submitted, listed, read, cancelled."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from flask import Response
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from utils.service.answers import answer, answer_page, page_schema_of, schema_of
from utils.service.contracts.configs import checked_config
from utils.service.contracts.document import Described
from utils.service.contracts.jobs import Cancellation, JobQuery, JobSubmission
from utils.service.logs import current_trace_id
from utils.service.problems import ProblemDocument
from utils.service.web import BEARER, REFUSALS, caller, role
from utils.training.job_queue import Job, JobManager, UnknownJobError

_TAGS = [Tag(name="jobs", description="Work to be done, and how far it is.")]


class JobPath(BaseModel):
    """Which job."""

    job_id: int = Field(ge=1)


class SubmissionHeaders(Described):
    """A key that makes a repeated request take effect once; it holds for one caller."""

    key: str | None = Field(
        None, alias="Idempotency-Key", min_length=1, max_length=150, pattern=r"^[!-~]+$"
    )


def jobs_api(manager: JobManager, submitted: Callable[[], None]) -> APIBlueprint:
    """The routes of jobs; ``submitted`` is called after each submission."""
    api = APIBlueprint(
        "jobs", __name__, url_prefix="/v1/jobs", abp_tags=_TAGS, abp_responses=REFUSALS
    )

    @api.post(
        "",
        security=BEARER,
        responses={HTTPStatus.CREATED: schema_of(Job), HTTPStatus.CONFLICT: ProblemDocument},
    )
    @role("submitter")
    def submit_job(header: SubmissionHeaders, body: JobSubmission) -> Response:
        """Put a job into the queue."""
        config = checked_config(body.job_type, body.config)
        job_id = manager.submit_job(
            body.job_type,
            config,
            body.priority,
            idempotency_key=header.key and f"{caller().name}:{header.key}",
            after=body.after,
            max_attempts=body.max_attempts,
            run_after=body.run_after,
            model_name=config["model_name"],
            trace_id=current_trace_id(),
            reason=body.reason,
            resources=body.resources,
            actor=caller().name,
        )
        submitted()
        return answer(
            Job,
            existing(manager, job_id),
            HTTPStatus.CREATED,
            {"Location": f"/v1/jobs/{job_id}"},
        )

    @api.get("", security=BEARER, responses={HTTPStatus.OK: page_schema_of(Job)})
    @role("reader")
    def list_jobs(query: JobQuery) -> Response:
        """The newest jobs first."""
        page = manager.list_jobs(**query.model_dump())
        return answer_page(Job, page.items, page.next_cursor)

    @api.get("/<int:job_id>", security=BEARER, responses=_one_job())
    @role("reader")
    def get_job(path: JobPath) -> Response:
        """One job."""
        return answer(Job, existing(manager, path.job_id))

    @api.post(
        "/<int:job_id>/cancel",
        security=BEARER,
        responses=_one_job() | {HTTPStatus.CONFLICT: ProblemDocument},
    )
    @role("submitter")
    def cancel_job(path: JobPath, body: Cancellation) -> Response:
        """Cancel a waiting job; ask a running one to save its work and stop."""
        return answer(Job, manager.cancel(path.job_id, body.reason, actor=caller().name))

    return api


def existing(manager: JobManager, job_id: int) -> Job:
    """The job of this id.

    Raises:
        UnknownJobError: a LookupError; there is none.
    """
    job = manager.get_job(job_id)
    if job is None:
        raise UnknownJobError(f"There is no job {job_id}; the list of jobs has those there are.")
    return job


def _one_job() -> dict[Any, Any]:
    return {HTTPStatus.OK: schema_of(Job), HTTPStatus.NOT_FOUND: ProblemDocument}
