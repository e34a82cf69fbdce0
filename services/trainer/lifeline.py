"""What keeps a claim alive: heartbeats with progress, and the log on its way to the scheduler."""

from __future__ import annotations

import codecs
import logging
import threading
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

from services.trainer.order import LOG, read_progress
from services.trainer.settings import TrainerSettings
from utils.service.clients.scheduler import SchedulerClient
from utils.service.http import RemoteError, UnreachableError
from utils.service.logs import tracing
from utils.training.job_queue import Job

log = logging.getLogger(__name__)

_BEATS_IN_A_LEASE = 4
_LONGEST_BEAT_SECONDS = 1.0  # a cancel is not long on its way
_PATIENCE_SECONDS = 2.0  # the next beat, or the next piece, tries again anyway
_LOG_SECONDS = 1.0
_LOG_BYTES = 100_000  # of one piece
_OVER = (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND)


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
        self._clients = [
            SchedulerClient(
                settings.scheduler_url,
                settings.token_file,
                patience_seconds=min(settings.lease_seconds / _BEATS_IN_A_LEASE, _PATIENCE_SECONDS),
            )
            for _ in range(2)
        ]
        self._end = threading.Event()
        self._cancelled = threading.Event()
        self._lost = threading.Event()
        self._shipped = 0
        self._decode = codecs.getincrementaldecoder("utf-8")("replace")
        self._threads = [
            threading.Thread(target=self._beat, name="heartbeat", daemon=True),
            threading.Thread(target=self._ship, name="log", daemon=True),
        ]

    @property
    def is_cancelled(self) -> bool:
        """True once the scheduler has said that the job is to be cancelled."""
        return self._cancelled.is_set()

    @property
    def is_lost(self) -> bool:
        """True once the scheduler has said that the claim is over."""
        return self._lost.is_set()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Send what is left of the log, and close."""
        self._end.set()
        for thread in self._threads:
            thread.join()
        with tracing(self._job.trace_id):
            if not self.is_lost:
                self._send_progress()
                self._send_log()
        for client in self._clients:
            client.close()

    def _beat(self) -> None:
        with tracing(self._job.trace_id):
            while not (self._end.wait(self._beat_seconds) or self.is_lost):
                self._send_progress()

    def _send_progress(self) -> None:
        job = self._job
        try:
            beat = self._clients[0].heartbeat(
                job.job_id, job.fencing_token, read_progress(self._folder), self._lease_seconds
            )
        except RemoteError as error:
            self._note(error)
        except UnreachableError as error:
            log.warning("The heartbeat of job %d was not heard: %s", job.job_id, error)
        else:
            if beat.cancel_requested:
                self._cancelled.set()

    def _ship(self) -> None:
        with tracing(self._job.trace_id):
            while not (self._end.wait(_LOG_SECONDS) or self.is_lost):
                self._send_log()

    def _send_log(self) -> None:
        path = self._folder / LOG
        while path.exists():
            with path.open("rb") as file:
                file.seek(self._shipped)
                piece = file.read(_LOG_BYTES)
            if not piece:
                return
            before = self._decode.getstate()
            text = self._decode.decode(piece)
            try:
                if text:
                    self._clients[1].append_log(self._job.job_id, self._job.fencing_token, text)
            except (RemoteError, UnreachableError) as error:
                self._decode.setstate(before)
                if isinstance(error, RemoteError):
                    self._note(error)
                log.warning("The log of job %d waits: %s", self._job.job_id, error)
                return
            self._shipped += len(piece)

    def _note(self, error: RemoteError) -> None:
        if error.status in _OVER:
            self._lost.set()
        else:
            log.warning("The scheduler refused: %s", error)
