"""A tracker whose calls may be slow, fed from a thread of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import numpy as np

from utils.training.background import BackgroundWorker
from utils.training.engine.trackers.protocol import NullTracker, Tracker, Values

logger = logging.getLogger(__name__)


class BackgroundTracker:
    """Opens and feeds another tracker from a thread: never blocks, never raises.

    The other tracker is made with the first value. When making or feeding it fails, one warning is
    logged and nothing more is sent.

    Args:
        name: the tracking system, for log lines.
        make_tracker: opens the tracker; runs in the thread.
        close_timeout_seconds: how long :meth:`close` waits for values that are not yet sent.
    """

    def __init__(
        self, name: str, make_tracker: Callable[[], Tracker], close_timeout_seconds: float = 30.0
    ) -> None:
        self._name = name
        self._make_tracker = make_tracker
        self._close_timeout_seconds = close_timeout_seconds
        self._tracker: Tracker | None = None
        self._worker = BackgroundWorker(name)

    def log(
        self, metrics: Mapping[str, float], step: int | None = None, epoch: int | None = None
    ) -> None:
        """Hand the values to the thread."""
        values = dict(metrics)
        self._send(lambda tracker: tracker.log(values, step=step, epoch=epoch))

    def log_histogram(self, name: str, values: Values, step: int | None = None) -> None:
        """Hand a copy of the values to the thread."""
        copied = np.array(values)
        self._send(lambda tracker: tracker.log_histogram(name, copied, step=step))

    def close(self) -> None:
        """Wait for what is on its way, for a limited time."""
        if self._worker.is_started:
            self._send(lambda tracker: tracker.close())
        if not self._worker.close(self._close_timeout_seconds):
            logger.warning(
                "%s did not take everything within %.0f seconds; what is missing there is in the "
                "metrics summary.",
                self._name,
                self._close_timeout_seconds,
            )

    def _send(self, call: Callable[[Tracker], None]) -> None:
        self._worker.submit(lambda: self._call(call))

    def _call(self, call: Callable[[Tracker], None]) -> None:
        try:
            if self._tracker is None:
                self._tracker = self._make_tracker()
            call(self._tracker)
        except BaseException as error:  # noqa: BLE001 - libraries exit and interrupt for want of a key
            self._tracker = NullTracker()
            logger.warning(
                "%s is switched off, training goes on without it: %s",
                self._name,
                str(error) or type(error).__name__,
            )
