"""The scheduler's metrics: what it did, and what the queue looks like when it is asked."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import DBAPIError

from utils.service.queue import QUEUES
from utils.training.job_queue import JobManager

log = logging.getLogger(__name__)


class Counters:
    """What this replica did since its start."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.nudges = Counter("training_nudges_total", "Nudges sent.", registry=registry)
        self.reaped = Counter(
            "training_leases_reaped_total",
            "Jobs taken back from silent trainers.",
            registry=registry,
        )
        self.scheduled = Counter(
            "training_scheduled_jobs_total", "Jobs that schedules submitted.", registry=registry
        )
        self.decisions = Counter(
            "training_trigger_decisions_total",
            "Windows decided: fired, calm, or the brake that held a training back.",
            ["model", "decision"],
            registry=registry,
        )
        self.fired = Counter(
            "training_triggers_fired_total",
            "Trainings that a trigger submitted.",
            ["model"],
            registry=registry,
        )
        self.streams = Gauge(
            "training_event_streams", "Readers that follow a job's events.", registry=registry
        )


class QueueCollector(Collector):
    """The queue as the table has it at the scrape; every replica shows the same."""

    def __init__(self, manager: JobManager) -> None:
        self._manager = manager

    def collect(self) -> Iterator[Metric]:
        """Read the table; where it can't be read, say so and show nothing old."""
        up = GaugeMetricFamily("training_database_up", "1 where the jobs table can be read.")
        try:
            families = self._read()
        except DBAPIError as error:
            log.warning("The queue's metrics are missing: %s", error)
            families = []
        up.add_metric([], float(bool(families)))
        yield up
        yield from families

    def describe(self) -> Iterator[Metric]:
        """Nothing, so that registering reads no table."""
        return iter(())

    def _read(self) -> list[Metric]:
        jobs = GaugeMetricFamily("training_jobs", "Jobs.", labels=["status", "job_type"])
        ready = GaugeMetricFamily(
            "training_queue_ready", "Jobs that a trainer could claim now.", labels=["job_type"]
        )
        oldest = GaugeMetricFamily(
            "training_queue_oldest_seconds",
            "How long the oldest ready job has been waiting.",
            labels=["job_type"],
        )
        expired = GaugeMetricFamily(
            "training_leases_expired",
            "Claims whose trainer has fallen silent.",
            labels=["job_type"],
        )
        for job_type in QUEUES:
            statistics = self._manager.statistics(job_type)
            for status, count in statistics.counts.items():
                jobs.add_metric([status, job_type], count)
            ready.add_metric([job_type], statistics.ready)
            oldest.add_metric([job_type], statistics.oldest_ready_seconds)
            expired.add_metric([job_type], statistics.expired_leases)
        return [jobs, ready, oldest, expired]
