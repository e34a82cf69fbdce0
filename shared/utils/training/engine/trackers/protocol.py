"""What the metrics engine asks of a tracker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating]


class Tracker(Protocol):
    """A place that metrics are sent to.

    A tracker may raise: :class:`~utils.training.engine.trackers.TrackerGroup` warns once and goes
    on without it.
    """

    def log(
        self, metrics: Mapping[str, float], step: int | None = None, epoch: int | None = None
    ) -> None:
        """Record values of one optimizer step, or (``epoch`` given) of a whole epoch."""

    def log_histogram(self, name: str, values: Values, step: int | None = None) -> None:
        """Record how ``values`` [n] are distributed."""

    def close(self) -> None:
        """Write what is left and let go of files and connections."""


class NullTracker:
    """Tracks nothing: what stands where tracking is switched off."""

    def log(
        self, metrics: Mapping[str, float], step: int | None = None, epoch: int | None = None
    ) -> None:
        """Do nothing."""

    def log_histogram(self, name: str, values: Values, step: int | None = None) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def by_epoch(metrics: Mapping[str, float]) -> dict[str, float]:
    """Names of an epoch's values where steps and epochs share one axis: ``epoch/train_loss``.

    The part after the slash is the column of the summary.
    """
    return {f"epoch/{name.replace('/', '_')}": value for name, value in metrics.items()}
