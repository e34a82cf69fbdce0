"""Nudges for claimable jobs: from the table to the queue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from celery import Celery
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from services.scheduler.metrics import Counters
from utils.service.queue import send_nudge
from utils.training.job_queue import JobManager, Nudge

_BATCH = 100
_LOCK = 0x7075_626C_6973_68  # of Postgres' advisory locks
_TURN = "SET LOCAL lock_timeout = '2s'"


class Publisher:
    """Sends the nudges that are due.

    A nudge is marked after it was sent, so that a crash between the two sends it twice, which does
    no harm; and one that Redis refuses stays due, so that a Redis that is away delays it only.
    """

    def __init__(
        self, engine: Engine, manager: JobManager, queue: Celery, counters: Counters
    ) -> None:
        self._engine = engine
        self._manager = manager
        self._queue = queue
        self._counters = counters

    def publish(self) -> int:
        """Send what is due, and return how many nudges were sent.

        Raises:
            kombu.exceptions.OperationalError: the queue is away.
        """
        count = 0
        if not self._manager.pending_nudges(1):
            return count  # as nearly always; a look needs no turn
        with turn(self._engine):
            while nudges := self._manager.pending_nudges(_BATCH):
                self._send(nudges)
                count += len(nudges)
                if len(nudges) < _BATCH:
                    break
        return count

    def _send(self, nudges: tuple[Nudge, ...]) -> None:
        sent: list[Nudge] = []
        try:
            for nudge in nudges:
                send_nudge(self._queue, nudge.job_id, nudge.job_type, nudge.priority)
                sent.append(nudge)
        finally:
            self._manager.mark_nudged(sent)
            self._counters.nudges.inc(len(sent))


@contextmanager
def turn(engine: Engine) -> Iterator[None]:
    """One replica at a time, so that a nudge is sent once.

    A replica that hangs in its turn is not waited for: what is sent twice does no harm.
    """
    if engine.dialect.name != "postgresql":
        yield
        return
    with engine.connect() as connection:
        try:
            connection.execute(text(_TURN))
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        except OperationalError:
            connection.rollback()
        yield
