"""A worker thread that takes slow or unreliable work off the training thread."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)

Job = Callable[[], None]


class BackgroundWorker:
    """Runs jobs one after another in a daemon thread; never blocks and never raises.

    The thread starts with the first job. A job that finds ``max_pending`` others waiting is
    dropped, with one warning. A job that raises is logged, and the next one runs.

    Args:
        name: what the jobs belong to, for the thread's name and for log lines.
        max_pending: jobs that may wait.
    """

    def __init__(self, name: str, max_pending: int = 10_000) -> None:
        self._name = name
        self._jobs: queue.Queue[Job | None] = queue.Queue(maxsize=max_pending)
        self._thread: threading.Thread | None = None
        self._has_dropped = False
        self._is_closed = False

    @property
    def is_started(self) -> bool:
        """True from the first job on."""
        return self._thread is not None

    def submit(self, job: Job) -> None:
        """Queue a job; nothing happens after :meth:`close`."""
        if self._is_closed:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            self._warn_of_drop()

    def _warn_of_drop(self) -> None:
        if not self._has_dropped:
            self._has_dropped = True
            logger.warning(
                "%s can't keep up: %d messages wait, newer ones are dropped.",
                self._name,
                self._jobs.maxsize,
            )

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:  # one job's failure must not lose those behind it
                logger.warning("%s: a background job failed.", self._name, exc_info=True)

    def close(self, timeout_seconds: float = 30.0) -> bool:
        """Let the waiting jobs finish, for at most ``timeout_seconds``; True where they did."""
        if self._is_closed or self._thread is None:
            self._is_closed = True
            return True
        self._is_closed = True
        try:
            self._jobs.put(None, timeout=timeout_seconds)
        except queue.Full:
            return False
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()
