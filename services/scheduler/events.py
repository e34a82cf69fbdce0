"""What happens to a job: as a list, or as a stream of server-sent events."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from flask import Response, request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import Field

from services.scheduler.jobs import JobPath, existing
from services.scheduler.metrics import Counters
from utils.service.answers import answer_page, no_content, page_schema_of
from utils.service.contracts.document import MAX_PAGE, Described, Request, to_json
from utils.service.places import Places
from utils.service.problems import ProblemDocument
from utils.service.web import BEARER, REFUSALS, role
from utils.training.job_queue import Job, JobEvent, JobManager

EVENT_STREAM = "text/event-stream"

_TAGS = [Tag(name="events", description="What happens to a job.")]
_KEEP_ALIVE_SECONDS = 15.0


class EventsQuery(Request):
    """From where on, and how many."""

    cursor: int | None = Field(None, ge=0)  # the id of the last event seen
    limit: int = Field(50, ge=1, le=MAX_PAGE)


class ResumeHeader(Described):
    """The id of the last event that a reader of the stream has seen."""

    last_event_id: int | None = Field(None, alias="Last-Event-Id", ge=0)


class EventStreams:
    """Streams of events; each holds a thread of the server, so there are only so many.

    Args:
        manager: the jobs.
        counters: where the readers are counted.
        stopping: set when the service ends; streams end with it.
        interval_seconds: how often a stream looks for news.
        longest_seconds: how long one lasts; its reader comes back for the rest.
        most: how many there may be at once.
    """

    def __init__(
        self,
        manager: JobManager,
        counters: Counters,
        stopping: threading.Event,
        *,
        interval_seconds: float,
        longest_seconds: float,
        most: int,
    ) -> None:
        self._manager = manager
        self._counters = counters
        self._stopping = stopping
        self._interval_seconds = interval_seconds
        self._longest_seconds = longest_seconds
        self._places = Places(
            most,
            "Too many readers follow events here; try again soon, or read the list of events.",
        )

    def open(self, job_id: int, after: int | None) -> Response:
        """An answer that goes on until the job is finished.

        Raises:
            ProblemError: 503, there are too many readers.
        """
        self._places.enter()
        self._counters.streams.inc()
        response = Response(
            self._follow(job_id, after),
            content_type=EVENT_STREAM,
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        response.call_on_close(self._leave)
        return response

    def _leave(self) -> None:
        self._counters.streams.dec()
        self._places.leave()

    def _follow(self, job_id: int, after: int | None) -> Iterator[str]:
        yield "retry: 1000\n\n"
        progress = None
        said_at = started_at = time.monotonic()
        while time.monotonic() - started_at < self._longest_seconds:
            # The job before its events: one that is finished here has all its events there.
            job = self._manager.get_job(job_id)
            news = []
            if job is not None and job.progress not in (None, progress):
                progress = job.progress
                news.append(_message("progress", to_json(dict[str, Any], progress).decode()))
            for event in self._manager.events(job_id, after):
                after = event.event_id
                news.append(_message("status", to_json(JobEvent, event).decode(), after))
            if job is None or job.is_finished:
                yield "".join([*news, _message("end", "{}")])
                return
            if news or time.monotonic() - said_at > _KEEP_ALIVE_SECONDS:
                said_at = time.monotonic()
                yield "".join(news) or ": still here\n\n"
            if self._stopping.wait(self._interval_seconds):
                return


def events_api(manager: JobManager, streams: EventStreams) -> APIBlueprint:
    """The routes of events."""
    api = APIBlueprint(
        "events", __name__, url_prefix="/v1/jobs", abp_tags=_TAGS, abp_responses=REFUSALS
    )

    @api.get("/<int:job_id>/events", security=BEARER, responses=_responses())
    @role("reader")
    def job_events(path: JobPath, header: ResumeHeader, query: EventsQuery) -> Response:
        """A job's events, oldest first, or with ``Accept: text/event-stream`` as they happen.

        The stream has the events ``status`` (a JobEvent, with an id to resume from), ``progress``
        (what the trainer last reported) and, when the job is finished, ``end``.
        """
        job = existing(manager, path.job_id)
        if request.accept_mimetypes.best == EVENT_STREAM:
            after = query.cursor if header.last_event_id is None else header.last_event_id
            if _is_over(manager, job, after):
                return no_content()  # a browser's reader comes back for ever otherwise
            return streams.open(job.job_id, after)
        events = manager.events(job.job_id, query.cursor, query.limit)
        is_last = len(events) < query.limit
        return answer_page(JobEvent, events, None if is_last else str(events[-1].event_id))

    return api


def _is_over(manager: JobManager, job: Job, after: int | None) -> bool:
    return after is not None and job.is_finished and not manager.events(job.job_id, after, 1)


def _message(event: str, data: str, event_id: int | None = None) -> str:
    identity = "" if event_id is None else f"id: {event_id}\n"
    return f"{identity}event: {event}\ndata: {data}\n\n"


def _responses() -> dict[Any, Any]:
    return {
        HTTPStatus.OK: page_schema_of(JobEvent),
        HTTPStatus.NO_CONTENT: None,
        HTTPStatus.NOT_FOUND: ProblemDocument,
        HTTPStatus.SERVICE_UNAVAILABLE: ProblemDocument,
    }
