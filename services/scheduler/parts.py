"""What the scheduler is made of, put together once."""

from __future__ import annotations

import threading

import redis
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from services.scheduler.events import EventStreams
from services.scheduler.log_files import LogFiles
from services.scheduler.loops.publisher import Publisher
from services.scheduler.loops.reaper import Reaper
from services.scheduler.loops.reminder import Reminder
from services.scheduler.loops.retention import INTERVAL_SECONDS, Retention
from services.scheduler.metrics import Counters, JobsCollector
from services.scheduler.retraining import Retraining
from services.scheduler.settings import SchedulerSettings
from utils.service.disk import DiskCollector
from utils.service.loops import Loop
from utils.service.queue import create_queue
from utils.training.database import open_database, reading
from utils.training.job_queue import JobManager, TrainingScheduler

_REDIS_SECONDS = 2.0


class Parts:
    """The stores, the queue and the loops of one replica; no loop runs before :meth:`start`."""

    def __init__(self, settings: SchedulerSettings) -> None:
        self.settings = settings
        self.engine = open_database(settings.database_url, migrate=False)
        self.manager = JobManager(self.engine)
        self.schedules = TrainingScheduler(self.engine)
        self.metrics = CollectorRegistry()
        self.counters = Counters(self.metrics)
        self.metrics.register(JobsCollector(self.manager))
        self.metrics.register(DiskCollector({"logs": settings.log_folder}))
        self.stopping = threading.Event()
        self._redis = redis.Redis.from_url(
            settings.redis_url,
            socket_timeout=_REDIS_SECONDS,
            socket_connect_timeout=_REDIS_SECONDS,
        )
        self._queue = create_queue(settings.redis_url)
        self.publisher = Publisher(self.engine, self.manager, self._queue, self.counters)
        self.reminder = Reminder(
            self.engine,
            self.manager,
            self._queue,
            settings.nudge_again_seconds,
            self.counters,
        )
        reaper = Reaper(
            self.manager,
            self.check_database,
            settings.lease_seconds,
            settings.reap_interval_seconds,
            self.counters,
        )
        self._publishing = Loop(
            "publisher", self.publisher.publish, settings.publish_interval_seconds
        )
        self.retraining = Retraining(self.engine, self.manager, self.counters, self.nudge)
        self.logs = LogFiles(settings.log_folder, settings.max_log_bytes)
        retention = Retention(self.manager, self.logs, settings.keep_finished_days)
        self.streams = EventStreams(
            self.manager,
            self.counters,
            self.stopping,
            interval_seconds=settings.event_interval_seconds,
            longest_seconds=settings.stream_seconds,
            most=max(1, settings.threads // 2),
        )
        self._loops = [
            self._publishing,
            Loop("reminder", self.reminder.remind, settings.nudge_again_seconds),
            Loop("reaper", reaper.reap, settings.reap_interval_seconds),
            Loop("cron", self._tick, settings.cron_interval_seconds),
            Loop("triggers", self.retraining.evaluate_ages, settings.trigger_interval_seconds),
            Loop("retention", retention.sweep, INTERVAL_SECONDS),
        ]

    def start(self) -> None:
        """Start the loops."""
        for loop in self._loops:
            loop.start()

    def stop(self) -> None:
        """Let the calls under way end, and start no others."""
        self.stopping.set()
        for loop in self._loops:
            loop.stop()

    def close(self) -> None:
        """Close the connections."""
        self._queue.close()
        self._redis.close()
        self.engine.dispose()

    def nudge(self) -> None:
        """Let new jobs be published at once, in the publisher's own thread."""
        self._publishing.wake()

    def check_database(self) -> None:
        """Raise where the database does not answer."""
        with reading(self.engine) as connection:
            connection.execute(text("SELECT 1"))

    def check_redis(self) -> None:
        """Raise where Redis does not answer."""
        self._redis.ping()

    def _tick(self) -> None:
        submitted = self.schedules.tick()
        self.counters.scheduled.inc(len(submitted))
        if submitted:
            self.nudge()
