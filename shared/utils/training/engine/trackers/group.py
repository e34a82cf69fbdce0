"""Several trackers behind one, none of which can stop a training run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

from utils.training.engine.trackers.protocol import Tracker, Values

logger = logging.getLogger(__name__)


class TrackerGroup:
    """Sends everything to every tracker; one that raises is warned about once and left out."""

    def __init__(self, trackers: Iterable[Tracker] = ()) -> None:
        self._active = list(trackers)

    @property
    def active(self) -> tuple[Tracker, ...]:
        """The trackers that have not failed."""
        return tuple(self._active)

    def log(
        self, metrics: Mapping[str, float], step: int | None = None, epoch: int | None = None
    ) -> None:
        """Record values of a step or an epoch with every tracker."""
        self._each(lambda tracker: tracker.log(metrics, step=step, epoch=epoch))

    def log_histogram(self, name: str, values: Values, step: int | None = None) -> None:
        """Record a distribution with every tracker."""
        self._each(lambda tracker: tracker.log_histogram(name, values, step=step))

    def close(self) -> None:
        """Close every tracker; whatever is logged later goes nowhere."""
        self._each(lambda tracker: tracker.close())
        self._active = []

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for tracker in tuple(self._active):
            try:
                call(tracker)
            except Exception as error:  # noqa: BLE001 - tracking is a convenience
                self._active.remove(tracker)
                logger.warning(
                    "%s is switched off, training goes on without it: %s",
                    type(tracker).__name__,
                    str(error) or type(error).__name__,
                )
