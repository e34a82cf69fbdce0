"""One claimed job: its process is started, watched, told to stop, and its end reported."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from pathlib import Path

from services.trainer.attempt_folder import AttemptFolder
from services.trainer.lifeline import Lifeline
from services.trainer.order import CANCELLED, ORDER, Order, Outcome, read_outcome, write_file
from services.trainer.process import RunProcess
from services.trainer.ranks import command, num_ranks
from services.trainer.settings import TrainerSettings
from utils.service.clients.scheduler import SchedulerClient
from utils.training.errors import InvalidConfigError
from utils.training.job_queue import Job

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.05
_LAST_PATIENCE_SECONDS = 3.0  # for the last word of a worker that must go
_INTERRUPTED = (128 + signal.SIGTERM, -signal.SIGTERM)  # it saved its state, or was not there yet


class Supervisor:
    """Does claimed jobs, one at a time.

    Args:
        settings: the trainer's.
        scheduler: for what must arrive: starts and ends.
        should_stop: true once this worker is to shut down.
    """

    def __init__(
        self,
        settings: TrainerSettings,
        scheduler: SchedulerClient,
        should_stop: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._scheduler = scheduler
        self._should_stop = should_stop

    def do(self, job: Job) -> None:
        """Do the job to its end, or to where another worker goes on.

        Raises:
            RemoteError: the scheduler refused what it was told, as it does after a lost lease.
            UnreachableError: a ConnectionError; the job's end could not be told. Its lease will
                run out, and what is registered already is not registered twice.
        """
        log.info("Job %d, attempt %d: %s.", job.job_id, job.attempt, job.job_type)
        started = self._scheduler.start(job.job_id, job.fencing_token)
        if started.cancel_requested:
            self._scheduler.finish(job.job_id, job.fencing_token, "cancelled")
            return
        try:
            ranks = num_ranks(job.resources) if job.job_type == "training" else 1
        except InvalidConfigError as error:
            self._scheduler.finish(
                job.job_id, job.fencing_token, "failed", error=str(error), retryable=False
            )
            return
        with AttemptFolder(self._settings.work_folder, job) as folder:
            write_file(folder, ORDER, self._order(job))
            process = RunProcess(folder, command(ranks))
            with Lifeline(self._settings, job, folder) as line, process:
                self._watch(process, line, folder)
            self._report(job, process.exit_code, line, read_outcome(folder))

    def _watch(self, process: RunProcess, line: Lifeline, folder: Path) -> None:
        """Wait for the process's end, and bring it about where the job is not to go on."""
        while process.is_running:
            if line.is_lost:
                log.warning("The claim is over; the run is killed.")
                return
            if line.is_cancelled or self._should_stop():
                if line.is_cancelled:
                    (folder / CANCELLED).touch()
                process.stop(self._settings.grace_seconds)
                return
            time.sleep(_LOOK_SECONDS)

    def _report(self, job: Job, exit_code: int, line: Lifeline, outcome: Outcome | None) -> None:
        job_id, token = job.job_id, job.fencing_token
        if line.is_lost:
            return
        if self._should_stop():
            # A scheduler that goes too hears nothing; the lease runs out, and says the same.
            self._scheduler.patience_seconds = _LAST_PATIENCE_SECONDS
        if exit_code == 0 and outcome is not None and outcome.outcome == "completed":
            self._scheduler.finish(job_id, token, "completed", result=outcome.result)
        elif line.is_cancelled:
            self._scheduler.finish(job_id, token, "cancelled", error="Stopped as asked.")
        elif exit_code == 0 and outcome is not None:
            self._scheduler.finish(
                job_id, token, "failed", error=outcome.error, retryable=outcome.retryable
            )
        elif exit_code in _INTERRUPTED or self._should_stop():
            self._scheduler.release(job_id, token, "The trainer shuts down.")
        else:
            self._scheduler.finish(job_id, token, "failed", error=_how_it_died(exit_code))
        log.info("Job %d has ended here, exit code %d.", job_id, exit_code)

    def _order(self, job: Job) -> Order:
        settings = self._settings
        return Order(
            job_id=job.job_id,
            fencing_token=job.fencing_token,
            attempt=job.attempt,
            job_type=job.job_type,
            config=job.config,
            trace_id=job.trace_id,
            registry_url=settings.registry_url,
            token_file=settings.token_file.absolute(),
            data_folder=settings.data_folder.absolute(),
            cache_folder=(settings.work_folder / "artifacts").absolute(),
            entry_points=settings.entry_points,
            max_artifact_bytes=settings.max_artifact_bytes,
            threads=settings.threads,
        )


def _how_it_died(exit_code: int) -> str:
    if exit_code >= 0:
        return f"The training process ended with exit code {exit_code}; its log tells more."
    name = signal.Signals(-exit_code).name
    hint = ", as the kernel does when memory runs out" if name == "SIGKILL" else ""
    return f"The training process was ended by {name}{hint}; its log tells more."
