"""The leader's side: who is there, what they are told, and what has become of them."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from services.trainer.group.server import GroupServer
from services.trainer.group.words import Assignment, Report, Word
from services.trainer.order import Outcome
from services.trainer.ranks import Rendezvous, Size, command
from services.trainer.settings import TrainerSettings
from utils.service.embedded.child import free_port
from utils.training.job_queue import Job

_LOOK_SECONDS = 0.05
_HERE_SECONDS = 5.0  # since a follower's last word, which comes every half second
_DISMISSAL_SECONDS = 3.0  # for the followers to hear that it is over
_OUTCOME_SECONDS = 5.0  # for a follower's rank to say what it failed of
_LAST_SECONDS = 60.0  # for the ranks here to save and end, once one elsewhere has failed


class Leader:
    """Gives the attempt to the followers that ask for it, while its context lasts.

    Args:
        settings: the trainer's; its group has at least as many nodes as the job asks for.
        job: claimed.
        size: what the job asks for.
    """

    def __init__(self, settings: TrainerSettings, job: Job, size: Size) -> None:
        self._settings = settings
        self._followers = settings.group[1 : size.nodes]
        self._assignment = Assignment(
            job_id=job.job_id,
            fencing_token=job.fencing_token,
            attempt=job.attempt,
            job_type=job.job_type,
            config=job.config,
            trace_id=job.trace_id,
            num_nodes=size.nodes,
            num_ranks=size.ranks,
            endpoint=f"{settings.address}:{free_port(settings.address)}",
        )
        self._server: GroupServer | None = None
        self._lock = threading.Lock()
        self._reports: dict[str, Report] = {}
        self._heard: dict[str, float] = {}
        self._began = time.monotonic()
        self._is_complete = False
        self._is_over = False
        self._fault: str | None = None
        self._failed_at: float | None = None  # when a follower first told of a failed rank
        self._started_anew: str | None = None  # a follower that had taken the attempt already
        self._dismissed: set[str] = set()

    @property
    def command(self) -> Sequence[str]:
        """How this node's ranks are started."""
        return command_of(self._assignment, self._settings)

    @property
    def is_complete(self) -> bool:
        """True once all nodes have come."""
        return self._is_complete

    @property
    def is_leaving(self) -> bool:
        """True once another node was told to shut down."""
        with self._lock:
            return any(report.is_leaving for report in self._reports.values())

    @property
    def fault(self) -> str | None:
        """Why the attempt can't go on, if it can't; the first reason stays."""
        with self._lock:
            if self._fault is None:
                self._fault = self._loss() if self._is_complete else self._absence()
            return self._fault

    def await_outcome(self) -> Outcome | None:
        """Return how a rank on another node says that the work ended, if one does soon."""
        deadline = time.monotonic() + (0 if self._fault else _OUTCOME_SECONDS)
        while True:
            with self._lock:
                said = [report.outcome for report in self._reports.values() if report.outcome]
            if said or time.monotonic() > deadline:
                return said[0] if said else None
            time.sleep(_LOOK_SECONDS)

    def __enter__(self) -> Self:
        """Hear the followers from now on.

        Raises:
            OSError: the group's port can't be listened at.
        """
        self._server = GroupServer(
            self._settings.address,
            self._settings.group_port,
            self._settings.token_file,
            self._hear,
        )
        self._server.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the attempt on the followers as well, as far as they are there."""
        deadline = time.monotonic() + _DISMISSAL_SECONDS
        with self._lock:
            self._is_over = True
        while not self._dismissed.issuperset(self._heard) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        if self._server is not None:
            self._server.__exit__(kind, error, traceback)

    def _hear(self, report: Report) -> Word:
        if report.address not in self._followers:
            return Word()
        with self._lock:
            before = self._reports.get(report.address, report)
            if before.attempt == self._assignment.name and report.attempt is None:
                self._started_anew = report.address
            self._reports[report.address] = report
            self._heard[report.address] = time.monotonic()
            if report.outcome is not None and self._failed_at is None:
                self._failed_at = time.monotonic()
            if self._is_over:
                self._dismissed.add(report.address)
            if self._is_over or self._started_anew:
                return Word()
            self._is_complete = self._is_complete or not self._missing()
            return Word(assignment=self._assignment if self._is_complete else None)

    def _missing(self) -> list[str]:
        """The followers that are not here, or not free yet."""
        here_since = time.monotonic() - _HERE_SECONDS
        return [
            address
            for address in self._followers
            if self._heard.get(address, -math.inf) < here_since or not self._is_free(address)
        ]

    def _is_free(self, address: str) -> bool:
        report = self._reports[address]
        return not report.is_leaving and report.attempt in (None, self._assignment.name)

    def _absence(self) -> str | None:
        if time.monotonic() - self._began < self._settings.group_seconds:
            return None
        return (
            f"Of the {self._assignment.num_nodes} nodes of this trainer, "
            f"{', '.join(self._missing())} did not come within {self._settings.group_seconds:g} s; "
            "see whether their trainers run."
        )

    def _loss(self) -> str | None:
        if self._failed_at is not None and time.monotonic() - self._failed_at > _LAST_SECONDS:
            return "A rank failed before it met the others, who wait for it."
        if self._started_anew:
            return f"The node {self._started_anew} was lost, and has started anew."
        silent_since = time.monotonic() - self._settings.lease_seconds
        for address, report in self._reports.items():
            if self._heard[address] < silent_since:
                return (
                    f"The node {address} has been silent for {self._settings.lease_seconds:g} s; "
                    "the job goes on from its newest checkpoint once that node is back."
                )
            if report.exit_code:
                return (
                    f"The ranks on {address} ended with exit code {report.exit_code}; the log "
                    "tells more."
                )
        return None


def command_of(assignment: Assignment, settings: TrainerSettings) -> Sequence[str]:
    """How a node starts its ranks of an attempt."""
    rendezvous = Rendezvous(
        endpoint=assignment.endpoint,
        name=assignment.name,
        address=settings.address,
        is_host=not settings.follows,
        seconds=settings.group_seconds,
    )
    return command(Size(assignment.num_ranks, assignment.num_nodes), rendezvous)
