"""The routes of the jobs' logs."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Response
from flask_openapi3 import APIBlueprint, Tag
from sqlalchemy import Engine

from services.scheduler.jobs import JobPath, SubmissionHeaders, existing
from services.scheduler.log_files import LogFiles
from utils.service.contracts.document import Request
from utils.service.contracts.jobs import LogChunk
from utils.service.problems import ProblemDocument
from utils.service.web import BEARER, REFUSALS, role
from utils.training.job_queue import JobManager, fence

NEXT_OFFSET = "X-Next-Offset"

_TAGS = [Tag(name="logs", description="What jobs say while they run.")]


class LogQuery(Request):
    """Where to read on, in bytes; a negative offset counts from the end."""

    offset: int = 0


def logs_api(engine: Engine, manager: JobManager, logs: LogFiles) -> APIBlueprint:
    """The routes of logs."""
    api = APIBlueprint(
        "logs", __name__, url_prefix="/v1/jobs", abp_tags=_TAGS, abp_responses=REFUSALS
    )

    @api.get(
        "/<int:job_id>/log",
        security=BEARER,
        responses={
            HTTPStatus.OK: _text("A piece of the log; X-Next-Offset tells where to read on."),
            HTTPStatus.NOT_FOUND: ProblemDocument,
        },
    )
    @role("reader")
    def read_log(path: JobPath, query: LogQuery) -> Response:
        """A piece of a job's log."""
        existing(manager, path.job_id)
        piece, following = logs.read(path.job_id, query.offset)
        return Response(
            piece,
            content_type="text/plain; charset=utf-8",
            headers={NEXT_OFFSET: str(following), "X-Content-Type-Options": "nosniff"},
        )

    @api.post(
        "/<int:job_id>/log",
        security=BEARER,
        responses={
            HTTPStatus.NO_CONTENT: None,
            HTTPStatus.NOT_FOUND: ProblemDocument,
            HTTPStatus.CONFLICT: ProblemDocument,
        },
    )
    @role("trainer")
    def append_log(path: JobPath, header: SubmissionHeaders, body: LogChunk) -> Response:
        """Add some lines; only the job's present trainer may."""
        with engine.begin() as connection:
            fence(path.job_id, body.fencing_token)(connection)
            size = logs.append(path.job_id, body.text, header.key)
        return Response(status=HTTPStatus.NO_CONTENT, headers={NEXT_OFFSET: str(size)})

    return api


def _text(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"text/plain": {"schema": {"type": "string"}}},
        "headers": {NEXT_OFFSET: {"schema": {"type": "integer"}}},
    }
