"""Nudges that got lost are made up for: some of the waiting jobs are announced again."""

from __future__ import annotations

from celery import Celery
from sqlalchemy import Engine

from services.scheduler.loops.publisher import turn
from services.scheduler.metrics import Counters
from utils.service.queue import QUEUES, num_nudges, send_nudge
from utils.training.job_queue import JobManager

_MOST = 20  # of a type at once; each wakes a worker, which goes on until nothing waits


class Reminder:
    """Announces jobs that have waited for long, of each type whose queue holds no nudge.

    What lies in the queue is not lost: workers that could take it are busy, or away. So neither the
    work nor the queue grows with the number of jobs that wait.
    """

    def __init__(
        self,
        engine: Engine,
        manager: JobManager,
        queue: Celery,
        after_seconds: float,
        counters: Counters,
    ) -> None:
        self._engine = engine
        self._manager = manager
        self._queue = queue
        self._after_seconds = after_seconds
        self._counters = counters

    def remind(self) -> int:
        """Send what is to be sent again, and return how many nudges that were.

        Raises:
            kombu.exceptions.OperationalError: the queue is away.
        """
        count = 0
        for job_type in QUEUES:
            nudges = self._manager.reminders(job_type, self._after_seconds, _MOST)
            if not nudges:
                continue
            with turn(self._engine):
                if num_nudges(self._queue, job_type):
                    continue
                for nudge in nudges:
                    send_nudge(self._queue, nudge.job_id, nudge.job_type, nudge.priority)
            count += len(nudges)
        self._counters.nudges.inc(count)
        return count
