"""An epoch's running sums: on the device, read once in a while, part of every checkpoint."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from utils.training.engine.loss import LossTerms
from utils.training.engine.outputs import EpochResult


class IntervalMeans(NamedTuple):
    """Means over the steps between two logs; accuracy is NaN for a task that has none."""

    loss: float
    accuracy: float
    items_per_second: float


class EpochSums:
    """Adds up what an epoch's averages are made of, every token (or sample) weighing alike.

    A window's batches count once :meth:`commit` says that they were trained on;
    :meth:`discard` drops those of a step left out for NaN or Inf. These are the sums that ranks
    would add together.

    Args:
        device: where the batches' terms are.
    """

    def __init__(self, device: torch.device) -> None:
        # MPS has no float64; elsewhere it keeps millions of batches exact.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self._totals = [torch.zeros((), dtype=dtype, device=device) for _ in range(4)]
        self._pending: list[list[Tensor]] = []
        self._marked = [0.0] * 5
        self.batch_count = 0
        self.sample_count = 0
        self.skipped_steps = 0
        self.max_gradient_norm = 0.0
        self.seconds = 0.0  # of wall time, over all sittings of the epoch

    def add(self, terms: LossTerms, num_samples: int) -> None:
        """Take in one micro-batch; nothing is read from the device."""
        items = terms.num_items
        self._pending.append(
            [terms.loss.detach() * items, items, terms.num_correct, terms.num_predictions]
        )
        self.batch_count += 1
        self.sample_count += num_samples

    def commit(self) -> None:
        """Count the batches added since the last commit."""
        for terms in self._pending:
            torch._foreach_add_(self._totals, terms)
        self._pending.clear()

    def discard(self) -> None:
        """Drop the batches added since the last commit: their step was skipped."""
        self._pending.clear()
        self.skipped_steps += 1

    def interval(self) -> IntervalMeans:
        """Return the means since the last call; one read of the device."""
        now = [*self._read(), self.seconds]
        loss, items, correct, predictions, seconds = (
            after - before for before, after in zip(self._marked, now, strict=True)
        )
        self._marked = now
        return IntervalMeans(
            _ratio(loss, items), _ratio(correct, predictions), items / max(seconds, 1e-9)
        )

    def result(self, epoch: int, learning_rate: float = 0.0) -> EpochResult:
        """Return the epoch in numbers; one read of the device."""
        loss, items, correct, predictions = self._read()
        return EpochResult(
            epoch=epoch,
            avg_loss=_ratio(loss, items),
            avg_accuracy=_ratio(correct, predictions),
            batch_count=self.batch_count,
            sample_count=self.sample_count,
            duration=self.seconds,
            learning_rate=learning_rate,
            max_gradient_norm=self.max_gradient_norm,
            item_count=round(items),
            skipped_steps=self.skipped_steps,
        )

    def _read(self) -> list[float]:
        return torch.stack(self._totals).tolist()

    def state_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint; call it between windows only."""
        assert not self._pending, "the sums are saved between accumulation windows"
        return {
            "totals": self._read(),
            "marked": self._marked,
            "batch_count": self.batch_count,
            "sample_count": self.sample_count,
            "skipped_steps": self.skipped_steps,
            "max_gradient_norm": self.max_gradient_norm,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`'s values."""
        values = dict(state)
        for total, value in zip(self._totals, values.pop("totals"), strict=True):
            total.fill_(value)
        self._marked = list(values.pop("marked"))
        for name, value in values.items():
            setattr(self, name, value)


def _ratio(total: float, count: float) -> float:
    return total / count if count else math.nan
