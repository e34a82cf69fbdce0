"""Early stopping: end when the monitored metric has stopped to improve."""

from __future__ import annotations

import math
from typing import Any, Literal


class EarlyStopping:
    """Counts epochs without an improvement of more than ``min_delta``.

    Args:
        patience: epochs without improvement that end the training; None never does.
        min_delta: the least change that counts, in the metric's own unit.
        mode: ``min`` where less is better, ``max`` where more is.
    """

    def __init__(
        self,
        patience: int | None = None,
        min_delta: float = 0.0,
        mode: Literal["min", "max"] = "min",
    ) -> None:
        self.patience = math.inf if patience is None else patience
        self.min_delta = min_delta
        self.mode = mode
        self.best = math.inf if mode == "min" else -math.inf
        self.epochs_without_improvement = 0

    @property
    def should_stop(self) -> bool:
        """True once patience has run out."""
        return self.epochs_without_improvement >= self.patience

    def update(self, value: float) -> None:
        """Take in one epoch's value; NaN is never an improvement."""
        gain = self.best - value if self.mode == "min" else value - self.best
        if gain > self.min_delta:
            self.best = value
            self.epochs_without_improvement = 0
        else:
            self.epochs_without_improvement += 1

    def state_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"best": self.best, "epochs_without_improvement": self.epochs_without_improvement}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`'s values."""
        self.best = state["best"]
        self.epochs_without_improvement = state["epochs_without_improvement"]
