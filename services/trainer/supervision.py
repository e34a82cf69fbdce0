"""One claimed job: its process is started, watched, told to stop, and its end reported."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from pathlib import Path

from services.trainer.attempt_folder import AttemptFolder
from services.trainer.group.leading import Leader
from services.trainer.group.nodes import Alone, Group
from services.trainer.lifeline import Lifeline
from services.trainer.order import CANCELLED, ORDER, Order, Outcome, read_outcome, write_file
from services.trainer.process import RunProcess
from services.trainer.ranks import Size, size_of
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
            size = Size()
            if job.job_type == "training":
                size = size_of(job.resources, self._settings)
        except InvalidConfigError as error:
            self._scheduler.finish(
                job.job_id, job.fencing_token, "failed", error=str(error), retryable=False
            )
            return
        with AttemptFolder(self._settings.work_folder, job.job_id, job.fencing_token) as folder:
            write_file(folder, ORDER, Order.of(self._settings, job, size.nodes))
            group: Group = Alone(size) if size.nodes == 1 else Leader(self._settings, job, size)
            with Lifeline(self._settings, job, folder) as line, group:
                exit_code = self._run(group, line, folder)
                outcome = read_outcome(folder)
                if outcome is None and (exit_code == 0 or group.fault):
                    outcome = group.await_outcome()
            self._report(job, exit_code, line, group, outcome)

    def _run(self, group: Group, line: Lifeline, folder: Path) -> int | None:
        """Run the job to its end here, and return the exit code; None where it did not begin."""
        while not group.is_complete:
            if self._must_stop(line, group) or group.fault:
                return None
            time.sleep(_LOOK_SECONDS)
        with RunProcess(folder, group.command) as process:
            self._watch(process, line, group, folder)
        return process.exit_code

    def _watch(self, process: RunProcess, line: Lifeline, group: Group, folder: Path) -> None:
        """Wait for the process's end, and bring it about where the job is not to go on."""
        while process.is_running:
            if self._must_stop(line, group):
                if line.is_cancelled:
                    (folder / CANCELLED).touch()
                if line.is_lost:
                    log.warning("The claim is over; the run is killed.")
                else:
                    process.stop(self._settings.grace_seconds)
                return
            if group.fault:
                log.warning("The run is killed. %s", group.fault)
                return
            time.sleep(_LOOK_SECONDS)

    def _must_stop(self, line: Lifeline, group: Group) -> bool:
        return line.is_lost or line.is_cancelled or self._should_stop() or group.is_leaving

    def _report(
        self,
        job: Job,
        exit_code: int | None,
        line: Lifeline,
        group: Group,
        outcome: Outcome | None,
    ) -> None:
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
        elif outcome is not None and (exit_code == 0 or group.fault):
            self._scheduler.finish(
                job_id, token, "failed", error=outcome.error, retryable=outcome.retryable
            )
        elif exit_code in _INTERRUPTED or self._should_stop() or group.is_leaving:
            self._scheduler.release(job_id, token, "The trainer shuts down.")
        else:
            error = group.fault or _how_it_died(exit_code)
            self._scheduler.finish(job_id, token, "failed", error=error)
        log.info("Job %d has ended here, exit code %s.", job_id, exit_code)


def _how_it_died(exit_code: int | None) -> str:
    if exit_code is None:
        return "The training process was not started; the trainer's log tells more."
    if exit_code >= 0:
        return f"The training process ended with exit code {exit_code}; its log tells more."
    name = signal.Signals(-exit_code).name
    hint = ", as the kernel does when memory runs out" if name == "SIGKILL" else ""
    return f"The training process was ended by {name}{hint}; its log tells more."
