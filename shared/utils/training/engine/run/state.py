"""Where a run is, in the values that a checkpoint holds besides weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass
class TrainerState:
    """A run's position and what it has found so far, in plain values and tensors."""

    epoch: int = 0  # the epoch under way
    batch: int = 0  # its micro-batches trained on, whole accumulation windows only
    is_epoch_trained: bool = False  # only its validation is still to come
    best_epoch: int | None = None
    best_value: float = math.nan  # of the monitored metric
    final_loss: float = math.nan  # mean training loss of the last whole epoch
    elapsed_seconds: float = 0.0  # in train(), over every sitting
    epoch_start: dict[str, Any] = field(default_factory=dict)  # generators when the epoch began

    def begin_next_epoch(self) -> None:
        """Move the position to the start of the next epoch."""
        self.epoch += 1
        self.batch = 0
        self.is_epoch_trained = False
        self.epoch_start = {}

    def take_if_best(self, value: float, mode: str) -> bool:
        """Note the present epoch if its value is the best; NaN never is, and a tie goes to it."""
        if math.isnan(value):
            return False
        better = value <= self.best_value if mode == "min" else value >= self.best_value
        if better or math.isnan(self.best_value):
            self.best_epoch, self.best_value = self.epoch, value
            return True
        return False

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for a checkpoint."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainerState:
        """Build a state from :meth:`to_dict`'s form; fields of a newer version are ignored."""
        known = {f.name for f in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})
