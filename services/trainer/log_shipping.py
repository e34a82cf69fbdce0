"""A run's log on its way to the scheduler, while the run writes it."""

from __future__ import annotations

import codecs
import logging
import threading
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

from services.trainer.order import LOG
from services.trainer.settings import TrainerSettings
from utils.service.clients.scheduler import SchedulerClient
from utils.service.http import RemoteError, UnreachableError
from utils.service.logs import tracing

log = logging.getLogger(__name__)

OVER = (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND)  # the claim is
PATIENCE_SECONDS = 2.0  # the next piece tries again anyway
_LOG_SECONDS = 1.0
_LOG_BYTES = 100_000  # of one piece


class LogShipper:
    """A thread with its own connection, beside a process that writes its log into a folder.

    Args:
        settings: the trainer's.
        job_id: whose log it is.
        fencing_token: of the claim.
        trace_id: of the job.
        folder: of the attempt.
    """

    def __init__(
        self,
        settings: TrainerSettings,
        job_id: int,
        fencing_token: int,
        trace_id: str,
        folder: Path,
    ) -> None:
        self._job_id = job_id
        self._fencing_token = fencing_token
        self._trace_id = trace_id
        self._path = folder / LOG
        self._client = SchedulerClient(
            settings.scheduler_url, settings.token_file, patience_seconds=PATIENCE_SECONDS
        )
        self._end = threading.Event()
        self._lost = threading.Event()
        self._shipped = 0
        self._decode = codecs.getincrementaldecoder("utf-8")("replace")
        self._thread = threading.Thread(target=self._ship, name="log", daemon=True)

    @property
    def is_lost(self) -> bool:
        """True once the scheduler has said that the claim is over."""
        return self._lost.is_set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Send what is left of the log, and close."""
        self._end.set()
        self._thread.join()
        with tracing(self._trace_id):
            if not self.is_lost:
                self._send()
        self._client.close()

    def _ship(self) -> None:
        with tracing(self._trace_id):
            while not (self._end.wait(_LOG_SECONDS) or self.is_lost):
                self._send()

    def _send(self) -> None:
        while self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._shipped)
                piece = file.read(_LOG_BYTES)
            if not piece:
                return
            before = self._decode.getstate()
            text = self._decode.decode(piece)
            try:
                if text:
                    self._client.append_log(self._job_id, self._fencing_token, text)
            except (RemoteError, UnreachableError) as error:
                self._decode.setstate(before)
                if isinstance(error, RemoteError) and error.status in OVER:
                    self._lost.set()
                log.warning("The log of job %d waits: %s", self._job_id, error)
                return
            self._shipped += len(piece)
