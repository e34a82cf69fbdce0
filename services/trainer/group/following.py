"""The followers' side: ask the leader, and run this node's ranks of what it says, no longer."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from contextlib import closing

from services.trainer.alive import beat_file
from services.trainer.attempt_folder import AttemptFolder, remove_leftovers
from services.trainer.group.leading import command_of
from services.trainer.group.words import PATH, Assignment, Report, Word
from services.trainer.log_shipping import LogShipper
from services.trainer.order import ORDER, Order, read_outcome, write_file
from services.trainer.process import RunProcess
from services.trainer.settings import TrainerSettings
from utils.service.http import RemoteError, ServiceClient, UnreachableError
from utils.service.logs import tracing

log = logging.getLogger(__name__)

_ASK_SECONDS = 0.5
_ANSWER_SECONDS = 5.0


def follow(settings: TrainerSettings) -> int:
    """Take part in the leader's jobs until SIGTERM. Return the exit code."""
    settings.work_folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(settings.work_folder)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    log.info("This node, %s, follows %s.", settings.address, settings.group[0])
    with closing(Follower(settings, stopping.is_set)) as follower:
        follower.serve()
    return 0


class Follower:
    """Asks the leader what to do, twice a second, also while it does it.

    Args:
        settings: the trainer's.
        should_stop: true once this node is to shut down.
    """

    def __init__(self, settings: TrainerSettings, should_stop: Callable[[], bool]) -> None:
        self._settings = settings
        self._should_stop = should_stop
        self._leader = ServiceClient(
            f"http://{settings.group[0]}:{settings.group_port}",
            settings.token_file,
            timeout_seconds=_ANSWER_SECONDS,
            patience_seconds=0,
        )
        self._beat = beat_file(settings.work_folder)
        self._wanted: Assignment | None = None
        self._heard = time.monotonic()

    def serve(self) -> None:
        """Take part in one attempt after another."""
        while not self._should_stop():
            self._ask(Report(address=self._settings.address))
            if self._wanted is None:
                time.sleep(_ASK_SECONDS)
                continue
            with tracing(self._wanted.trace_id):
                self._take_part(self._wanted)

    def close(self) -> None:
        """Close the connection."""
        self._leader.close()

    def _take_part(self, assignment: Assignment) -> None:
        """Run the ranks of this node until the leader wants them no more."""
        log.info("Job %d, attempt %d, is led here.", assignment.job_id, assignment.attempt)
        settings = self._settings
        job_id, token = assignment.job_id, assignment.fencing_token
        with AttemptFolder(settings.work_folder, job_id, token) as folder:
            write_file(folder, ORDER, Order.of(settings, assignment, assignment.num_nodes))
            shipper = LogShipper(settings, job_id, token, assignment.trace_id, folder)
            process = RunProcess(folder, command_of(assignment, settings))
            with shipper, process:
                told_to_stop: float | None = None
                while self._wanted == assignment and not shipper.is_lost:
                    time.sleep(_ASK_SECONDS)
                    if self._should_stop():
                        told_to_stop = told_to_stop or time.monotonic()
                        if time.monotonic() - told_to_stop > settings.grace_seconds:
                            break
                    self._ask(
                        Report(
                            address=settings.address,
                            attempt=assignment.name,
                            exit_code=process.exit_code,
                            outcome=read_outcome(folder),
                            is_leaving=told_to_stop is not None,
                        )
                    )
        log.info("Job %d has ended here.", job_id)

    def _ask(self, report: Report) -> None:
        """Hear the word; one that was not heard stays what it was, but not for ever."""
        self._beat.touch()
        try:
            answer = self._leader.call("POST", PATH, body=report.model_dump(mode="json"))
        except UnreachableError:  # it leads nothing now, or is gone
            if time.monotonic() - self._heard > self._settings.lease_seconds:
                self._wanted = None
        except RemoteError as error:
            log.warning("The leader refused: %s", error)
            self._wanted = None
        else:
            self._wanted = Word.model_validate_json(answer.content).assignment
            self._heard = time.monotonic()
