"""Schedules: recurring jobs, paused, resumed and looked ahead at."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Any

from flask import Response
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from utils.service.answers import answer, answer_page, no_content, page_schema_of, schema_of
from utils.service.contracts.configs import checked_config
from utils.service.contracts.document import MAX_PAGE, Request
from utils.service.contracts.jobs import SchedulePreviewQuery, ScheduleQuery, ScheduleRequest
from utils.service.problems import ProblemDocument
from utils.service.web import BEARER, REFUSALS, role
from utils.training.job_queue import (
    Occurrence,
    Schedule,
    TrainingScheduler,
    UnknownScheduleError,
)

_TAGS = [Tag(name="schedules", description="Jobs that recur by the clock.")]


class SchedulePath(BaseModel):
    """Which schedule."""

    schedule_id: int = Field(ge=1)


class HistoryQuery(Request):
    """How many of a schedule's last times to show."""

    limit: int = Field(50, ge=1, le=MAX_PAGE)


def schedules_api(schedules: TrainingScheduler) -> APIBlueprint:
    """The routes of schedules."""
    api = APIBlueprint(
        "schedules", __name__, url_prefix="/v1/schedules", abp_tags=_TAGS, abp_responses=REFUSALS
    )

    @api.post("", security=BEARER, responses={HTTPStatus.CREATED: schema_of(Schedule)})
    @role("submitter")
    def create_schedule(body: ScheduleRequest) -> Response:
        """Create a schedule; the same one again is the one that is there."""
        values = body.model_dump()
        values["config"] = checked_config(body.job_type, body.config)
        values["model_name"] = values["config"]["model_name"]
        schedule_id = schedules.create_schedule(**values)
        headers = {"Location": f"/v1/schedules/{schedule_id}"}
        return answer(Schedule, _existing(schedules, schedule_id), HTTPStatus.CREATED, headers)

    @api.get("", security=BEARER, responses={HTTPStatus.OK: page_schema_of(Schedule)})
    @role("reader")
    def list_schedules(query: ScheduleQuery) -> Response:
        """All schedules, oldest first, or the one of a name."""
        page = schedules.list_schedules(**query.model_dump())
        return answer_page(Schedule, page.items, page.next_cursor)

    @api.get("/<int:schedule_id>", security=BEARER, responses=_one())
    @role("reader")
    def get_schedule(path: SchedulePath) -> Response:
        """One schedule."""
        return answer(Schedule, _existing(schedules, path.schedule_id))

    @api.post("/<int:schedule_id>/pause", security=BEARER, responses=_one())
    @role("submitter")
    def pause_schedule(path: SchedulePath) -> Response:
        """Let nothing run until it is resumed."""
        schedules.pause(path.schedule_id)
        return answer(Schedule, _existing(schedules, path.schedule_id))

    @api.post("/<int:schedule_id>/resume", security=BEARER, responses=_one())
    @role("submitter")
    def resume_schedule(path: SchedulePath) -> Response:
        """Go on from now."""
        schedules.resume(path.schedule_id)
        return answer(Schedule, _existing(schedules, path.schedule_id))

    @api.delete(
        "/<int:schedule_id>",
        security=BEARER,
        responses={HTTPStatus.NO_CONTENT: None, HTTPStatus.NOT_FOUND: ProblemDocument},
    )
    @role("submitter")
    def delete_schedule(path: SchedulePath) -> Response:
        """Delete a schedule; its jobs stay."""
        schedules.delete(path.schedule_id)
        return no_content()

    @api.get(
        "/<int:schedule_id>/preview",
        security=BEARER,
        responses={
            HTTPStatus.OK: page_schema_of(datetime),
            HTTPStatus.NOT_FOUND: ProblemDocument,
        },
    )
    @role("reader")
    def preview_schedule(path: SchedulePath, query: SchedulePreviewQuery) -> Response:
        """The next times at which it submits a job."""
        return answer_page(datetime, schedules.preview(path.schedule_id, query.count))

    @api.get(
        "/<int:schedule_id>/history",
        security=BEARER,
        responses={
            HTTPStatus.OK: page_schema_of(Occurrence),
            HTTPStatus.NOT_FOUND: ProblemDocument,
        },
    )
    @role("reader")
    def schedule_history(path: SchedulePath, query: HistoryQuery) -> Response:
        """What became of its last times: a job, or the reason why none."""
        _existing(schedules, path.schedule_id)
        return answer_page(Occurrence, schedules.history(path.schedule_id, query.limit))

    return api


def _existing(schedules: TrainingScheduler, schedule_id: int) -> Schedule:
    schedule = schedules.get_schedule(schedule_id)
    if schedule is None:
        raise UnknownScheduleError(
            f"There is no schedule {schedule_id}; the list of schedules has those there are."
        )
    return schedule


def _one() -> dict[Any, Any]:
    return {HTTPStatus.OK: schema_of(Schedule), HTTPStatus.NOT_FOUND: ProblemDocument}
