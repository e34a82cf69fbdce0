"""Which checkpoints are best, newest, and no longer needed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FILE_NAMES = "checkpoint_epoch*.pt"

Mode = Literal["min", "max"]


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint on disk, as far as its metadata tells.

    ``value`` is that of the monitored metric, NaN where it has none; ``is_step`` marks one that was
    taken within an epoch.
    """

    path: Path
    epoch: int
    global_step: int
    is_step: bool
    value: float
    metadata: dict[str, Any]

    @property
    def position(self) -> tuple[int, float, bool]:
        """Where in training it stands; without a step it is the end of its epoch."""
        has_step = self.is_step or self.global_step > 0
        return self.epoch, self.global_step if has_step else math.inf, not self.is_step


def newest_first(checkpoints: Iterable[StoredCheckpoint]) -> list[StoredCheckpoint]:
    """Sort the checkpoints by their place in training, the last first."""
    return sorted(checkpoints, key=lambda c: c.position, reverse=True)


def best_first(checkpoints: Iterable[StoredCheckpoint], mode: Mode) -> list[StoredCheckpoint]:
    """Rank the epoch checkpoints that have a value; of equal ones the later is better."""
    sign = 1 if mode == "max" else -1
    ranked = (c for c in checkpoints if not c.is_step and not math.isnan(c.value))
    return sorted(ranked, key=lambda c: (sign * c.value, c.position), reverse=True)


def surplus(
    checkpoints: Iterable[StoredCheckpoint], keep_best_k: int, keep_last_n: int, mode: Mode
) -> list[StoredCheckpoint]:
    """Choose the checkpoints to delete.

    Kept are the best ``keep_best_k`` and the last ``keep_last_n`` epochs, and a step checkpoint
    while nothing is newer.
    """
    newest = newest_first(checkpoints)
    epochs = [c for c in newest if not c.is_step]
    kept = {c.path for c in (*best_first(epochs, mode)[:keep_best_k], *epochs[:keep_last_n])}
    return [c for c in newest[1:] if c.path not in kept]
