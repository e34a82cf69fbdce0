"""The newest checkpoints of a job: what another trainer goes on from."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response
from flask_openapi3 import APIBlueprint
from pydantic import BaseModel, Field

from services.registry.stores import Stores, guard_of
from utils.service.answers import answer, no_content, schema_of
from utils.service.contracts.models import CheckpointUpload
from utils.service.problems import ProblemError
from utils.service.web import BEARER, role
from utils.training.job_queue import JobCheckpoint


class JobPath(BaseModel):
    """A job by its id."""

    job_id: int = Field(ge=1)


def routes(stores: Stores, keep: int) -> APIBlueprint:
    """The routes of jobs' checkpoints, of which so many are kept."""
    api = APIBlueprint("checkpoints", __name__, url_prefix="/v1/jobs")

    @api.put("/<int:job_id>/checkpoint", security=BEARER)
    @role("trainer")
    def save(path: JobPath, body: CheckpointUpload) -> Response:
        """Note a job's newest checkpoint, which is in the store already."""
        if body.fence.job_id != path.job_id:
            raise ProblemError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"The fence is of job {body.fence.job_id}, the checkpoint of {path.job_id}.",
            )
        stores.checkpoints.guarded_by(guard_of(body.fence)).save(
            path.job_id,
            body.digest,
            body.file_name,
            body.step,
            keep=keep,
            check=lambda: stores.require_artifact(body.digest),
        )
        return no_content()

    @api.get("/<int:job_id>/checkpoint", security=BEARER, responses={200: schema_of(JobCheckpoint)})
    @role("reader")
    def newest(path: JobPath) -> Response:
        """Read where a job's newest checkpoint is."""
        found = stores.checkpoints.newest(path.job_id)
        if found is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, f"Job {path.job_id} has no checkpoint.")
        return answer(JobCheckpoint, found)

    @api.get(
        "/<int:job_id>/checkpoints",
        security=BEARER,
        responses={200: schema_of(list[JobCheckpoint])},
    )
    @role("reader")
    def listing(path: JobPath) -> Response:
        """Read which checkpoints of a job are kept, the newest first."""
        return answer(list[JobCheckpoint], list(stores.checkpoints.of_job(path.job_id)))

    return api
