"""The scheduler's metrics: what it did, the queue and the running trainings when it is asked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import DBAPIError

from utils.service.contracts.jobs import Progress
from utils.service.queue import QUEUES
from utils.training.job_queue import Job, JobManager, JobStatus

log = logging.getLogger(__name__)

_MOST_TRAININGS = 100  # shown at once: each model is a label's value
_BYTES_IN_MB = 1024**2

# Name, meaning, and how it is read from a training's last heartbeat.
_PROGRESS: tuple[tuple[str, str, Callable[[Progress], float | None]], ...] = (
    ("training_job_steps", "Batches done.", lambda seen: seen.step),
    (
        "training_job_progress_ratio",
        "Part of the batches that are done.",
        lambda seen: seen.step / seen.total_steps if seen.total_steps else None,
    ),
    ("training_job_loss", "Loss of the last batch.", lambda seen: seen.loss),
    (
        "training_job_samples_per_second",
        "Samples trained on in a second.",
        lambda seen: seen.samples_per_second,
    ),
    (
        "training_job_gradient_norm",
        "L2 norm of all gradients, before clipping.",
        lambda seen: seen.gradient_norm,
    ),
    ("training_job_learning_rate", "Learning rate.", lambda seen: seen.learning_rate),
    (
        "training_job_remaining_seconds",
        "Time to the last batch, at the pace so far.",
        lambda seen: seen.seconds_left,
    ),
)


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
            ["model_name", "decision"],
            registry=registry,
        )
        self.fired = Counter(
            "training_triggers_fired_total",
            "Trainings that a trigger submitted.",
            ["model_name"],
            registry=registry,
        )
        self.streams = Gauge(
            "training_event_streams", "Readers that follow a job's events.", registry=registry
        )


class JobsCollector(Collector):
    """The jobs as the table has them at the scrape; every replica shows the same."""

    def __init__(self, manager: JobManager) -> None:
        self._manager = manager

    def collect(self) -> Iterator[Metric]:
        """Read the table; where it can't be read, say so and show nothing old."""
        up = GaugeMetricFamily("training_database_up", "1 where the jobs table can be read.")
        try:
            families = [*self._queue(), *self._trainings()]
        except DBAPIError as error:
            log.warning("The jobs' metrics are missing: %s", error)
            families = []
        up.add_metric([], float(bool(families)))
        yield up
        yield from families

    def describe(self) -> Iterator[Metric]:
        """Nothing, so that registering reads no table."""
        return iter(())

    def _queue(self) -> list[Metric]:
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

    def _trainings(self) -> Iterator[Metric]:
        """What the newest running training of each model told last."""
        running = self._manager.list_jobs(
            JobStatus.RUNNING, job_type="training", limit=_MOST_TRAININGS
        )
        seen = {job.model_name: _progress_of(job) for job in reversed(running.items)}
        for name, text, read in _PROGRESS:
            family = GaugeMetricFamily(name, text, labels=["model_name"])
            for model_name, progress in seen.items():
                _add(family, [model_name or ""], read(progress))
            yield family
        yield from _resources(seen.items())


def _resources(trainings: Iterable[tuple[str | None, Progress]]) -> Iterator[Metric]:
    labels = ["model_name", "device"]
    memory = GaugeMetricFamily(
        "training_job_memory_bytes", "The most memory held so far.", labels=labels
    )
    utilization = GaugeMetricFamily(
        "training_job_utilization_ratio",
        "Part of the GPU's time, or number of CPU cores, in use.",
        labels=labels,
    )
    for model_name, seen in trainings:
        for device, megabytes, used in (
            ("cpu", seen.memory_mb, seen.cpu_utilization),
            ("gpu", seen.gpu_memory_mb, seen.gpu_utilization),
        ):
            held = None if megabytes is None else megabytes * _BYTES_IN_MB
            _add(memory, [model_name or "", device], held)
            _add(utilization, [model_name or "", device], used)
    yield memory
    yield utilization


def _progress_of(job: Job) -> Progress:
    return Progress.model_validate(job.progress or {})


def _add(family: GaugeMetricFamily, labels: list[str], value: float | None) -> None:
    if value is not None:
        family.add_metric(labels, value)
