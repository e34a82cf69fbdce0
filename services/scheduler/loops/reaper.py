"""Jobs of workers that fell silent go back into the queue."""

from __future__ import annotations

import time
from collections.abc import Callable

from services.scheduler.metrics import Counters
from utils.training.job_queue import JobManager


class Reaper:
    """Takes expired leases back, but none that expired because the scheduler itself was away.

    After a start, and after a time in which it could not look (the database was away, the machine
    slept), workers get one lease time to renew what they hold.
    """

    def __init__(
        self,
        manager: JobManager,
        check_database: Callable[[], object],
        lease_seconds: float,
        interval_seconds: float,
        counters: Counters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._manager = manager
        self._check_database = check_database
        self._lease_seconds = lease_seconds
        self._longest_gap_seconds = max(3 * interval_seconds, lease_seconds / 2)
        self._counters = counters
        self._clock = clock
        self._up_since = self._seen_at = clock()

    def reap(self) -> int:
        """Take back what is due, and return how many jobs that were."""
        self._check_database()
        now = self._clock()
        if now - self._seen_at > self._longest_gap_seconds:
            self._up_since = now
        self._seen_at = now
        if now - self._up_since < self._lease_seconds:
            return 0
        reaped = self._manager.reap_expired()
        self._counters.reaped.inc(len(reaped))
        return len(reaped)
