"""Metrics into an ExperimentDB, some at a time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from utils.training.engine.trackers.protocol import Values

_FLUSH_SECONDS = 5.0
_FLUSH_POINTS = 200


class ExperimentDBTracker:
    """Writes to a run of an ExperimentDB with its own names, such as ``train/loss``.

    Values wait for at most 5 seconds of logging or 200 of them, and for no longer than their epoch,
    so that a live run can be read.

    Args:
        experiment_db: has ``log_metrics(run_id, points)``.
        run_id: what ``log_run`` returned.
    """

    def __init__(self, experiment_db: Any, run_id: int) -> None:
        self._experiment_db = experiment_db
        self._run_id = run_id
        self._points: list[dict[str, Any]] = []
        self._last_flush = time.monotonic()

    def log(
        self, metrics: Mapping[str, float], step: int | None = None, epoch: int | None = None
    ) -> None:
        """Keep the values, and write them all when it is time."""
        self._points += [
            {"name": name, "value": value, "epoch": epoch, "step": step}
            for name, value in metrics.items()
        ]
        is_late = time.monotonic() - self._last_flush > _FLUSH_SECONDS
        if epoch is not None or is_late or len(self._points) >= _FLUSH_POINTS:
            self._flush()

    def log_histogram(self, name: str, values: Values, step: int | None = None) -> None:
        """Do nothing: the database holds numbers over time."""

    def close(self) -> None:
        """Write what is left; the database stays open, it is its owner's."""
        self._flush()

    def _flush(self) -> None:
        points, self._points = self._points, []
        self._last_flush = time.monotonic()
        if points:
            self._experiment_db.log_metrics(self._run_id, points)
