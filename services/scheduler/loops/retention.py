"""Finished jobs and their logs are kept for a time, not for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from services.scheduler.log_files import LogFiles
from utils.training.job_queue import JobManager

INTERVAL_SECONDS = 3600.0
_BATCH = 1000


class Retention:
    """Deletes finished jobs with their history, and logs that nobody writes any more."""

    def __init__(self, manager: JobManager, logs: LogFiles, keep_days: float) -> None:
        self._manager = manager
        self._logs = logs
        self._keep = timedelta(days=keep_days)

    def sweep(self) -> int:
        """Delete what is too old, and return how many jobs that were."""
        before = datetime.now(UTC) - self._keep
        num_deleted = 0
        while batch := self._manager.delete_finished(before, _BATCH):
            num_deleted += batch
        self._logs.delete_unchanged_since(before)
        return num_deleted
