"""What a queue holds now: for whoever scales trainers, in numbers to be taken as they are."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from flask import Response
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel

from utils.service.answers import answer, answer_page, page_schema_of, schema_of
from utils.service.contracts.drift import QueueWatch
from utils.service.contracts.jobs import JobType
from utils.service.queue import QUEUES
from utils.service.web import BEARER, REFUSALS, role
from utils.training.job_queue import JobManager
from utils.training.job_queue.job import HELD

_TAGS = [Tag(name="queues", description="What waits and what is at work, by type of job.")]


@dataclass(frozen=True)
class QueueDemand:
    """One queue: ``demand`` is how many trainers it could use, working ones included."""

    queue: str
    ready: int
    running: int
    demand: int


class QueuePath(BaseModel):
    """Which queue."""

    queue: JobType


def queues_api(manager: JobManager) -> APIBlueprint:
    """The routes of queues."""
    api = APIBlueprint(
        "queues", __name__, url_prefix="/v1/queues", abp_tags=_TAGS, abp_responses=REFUSALS
    )

    @api.get("", security=BEARER, responses={HTTPStatus.OK: page_schema_of(QueueWatch)})
    @role("reader")
    def list_queues() -> Response:
        """Every queue: what waits and for how long, what runs, and whose trainer fell silent."""
        return answer_page(QueueWatch, [_watch(manager, queue) for queue in QUEUES])

    @api.get("/<queue>", security=BEARER, responses={HTTPStatus.OK: schema_of(QueueDemand)})
    @role("reader")
    def get_queue(path: QueuePath) -> Response:
        """One queue's ready and running jobs, and their sum."""
        statistics = manager.statistics(path.queue)
        running = sum(statistics.counts[status] for status in HELD)
        demand = QueueDemand(path.queue, statistics.ready, running, statistics.ready + running)
        return answer(QueueDemand, demand)

    return api


def _watch(manager: JobManager, queue: str) -> QueueWatch:
    statistics = manager.statistics(queue)
    return QueueWatch(
        queue=queue,
        ready=statistics.ready,
        running=sum(statistics.counts[status] for status in HELD),
        oldest_seconds=statistics.oldest_ready_seconds or 0.0,
        expired_leases=statistics.expired_leases,
    )
