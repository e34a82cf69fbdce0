"""What keeps a claim alive: heartbeats with progress, and the log on its way to the scheduler."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from services.trainer.log_shipping import OVER, PATIENCE_SECONDS, LogShipper
from services.trainer.order import read_progress
from services.trainer.settings import TrainerSettings
from utils.service.clients.scheduler import SchedulerClient
from utils.service.http import RemoteError, UnreachableError
from utils.service.logs import tracing
from utils.training.job_queue import Job

log = logging.getLogger(__name__)

_BEATS_IN_A_LEASE = 4
_LONGEST_BEAT_SECONDS = 1.0  # a cancel is not long on its way


class Lifeline:
    """Two threads beside a running job, each with its own connection.

    A scheduler that is away is asked again and again: the claim holds while nobody else has taken
    the job, and every write of the run is refused once somebody has.
    """

    def __init__(self, settings: TrainerSettings, job: Job, folder: Path) -> None:
        self._lease_seconds = settings.lease_seconds
        self._beat_seconds = min(settings.lease_seconds / _BEATS_IN_A_LEASE, _LONGEST_BEAT_SECONDS)
        self._job = job
        self._folder = folder
        self._client = SchedulerClient(
            settings.scheduler_url,
            settings.token_file,
            patience_seconds=min(settings.lease_seconds / _BEATS_IN_A_LEASE, PATIENCE_SECONDS),
        )
        self._log = LogShipper(settings, job.job_id, job.fencing_token, job.trace_id, folder)
        self._end = threading.Event()
        self._cancelled = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    @property
    def is_cancelled(self) -> bool:
        """True once the scheduler has said that the job is to be cancelled."""
        return self._cancelled.is_set()

    @property
    def is_lost(self) -> bool:
        """True once the scheduler has said that the claim is over."""
        return self._lost.is_set() or self._log.is_lost

    def __enter__(self) -> Self:
        self._log.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Send what is left to be told, and close."""
        self._end.set()
        self._thread.join()
        with tracing(self._job.trace_id):
            if not self.is_lost:
                self._send_progress()
        self._log.__exit__(kind, error, traceback)
        self._client.close()

    def _beat(self) -> None:
        with tracing(self._job.trace_id):
            while not (self._end.wait(self._beat_seconds) or self.is_lost):
                self._send_progress()

    def _send_progress(self) -> None:
        job = self._job
        try:
            beat = self._client.heartbeat(
                job.job_id, job.fencing_token, read_progress(self._folder), self._lease_seconds
            )
        except RemoteError as error:
            if error.status in OVER:
                self._lost.set()
            else:
                log.warning("The scheduler refused: %s", error)
        except UnreachableError as error:
            log.warning("The heartbeat of job %d was not heard: %s", job.job_id, error)
        else:
            if beat.cancel_requested:
                self._cancelled.set()
