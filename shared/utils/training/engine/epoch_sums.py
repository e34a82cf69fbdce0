"""An epoch's running sums: read from the device once in a while, part of every checkpoint."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from utils.training.engine.loss import LossTerms
from utils.training.engine.loss.accuracy import count_correct, count_targets
from utils.training.engine.outputs import EpochResult

MAX_WAITING = 64  # micro-batches whose terms stay on the device
MAX_WAITING_VALUES = 1 << 14  # logits of a batch that may wait for their accuracy: 64 KiB


class IntervalMeans(NamedTuple):
    """Means over the steps between two logs; accuracy is NaN for a task that has none."""

    loss: float
    accuracy: float
    items_per_second: float


class EpochSums:
    """Adds up what an epoch's averages are made of, every token (or sample) weighing alike.

    A window's batches count once :meth:`commit` says that they were trained on;
    :meth:`discard` drops those of a step left out for NaN or Inf. Terms wait on the device until
    :data:`MAX_WAITING` of them are read at once, and are added one by one, in double precision: so
    the sums are the same however often somebody looks, or resumes. Small batches on the CPU wait
    for their accuracy too, since there an operation costs more than its arithmetic.
    """

    def __init__(self) -> None:
        self._totals = [0.0, 0.0, 0.0, 0.0]  # summed loss, items, correct, predictions
        self._marked = [0.0, 0.0, 0.0, 0.0, 0.0]  # the same and the seconds at the last interval
        self._waiting: list[_Waiting] = []
        self._num_committed = 0
        self.batch_count = 0
        self.sample_count = 0
        self.skipped_steps = 0
        self.max_gradient_norm = 0.0
        self.seconds = 0.0  # of wall time, over all sittings of the epoch

    def add(self, terms: LossTerms, num_samples: int) -> None:
        """Take in one micro-batch."""
        self._waiting.append(_waiting(terms))
        self.batch_count += 1
        self.sample_count += num_samples

    def commit(self) -> None:
        """Count the batches added since the last commit."""
        self._num_committed = len(self._waiting)
        if self._num_committed >= MAX_WAITING:
            self._read()

    def discard(self) -> None:
        """Drop the batches added since the last commit: their step was skipped."""
        del self._waiting[self._num_committed :]
        self.skipped_steps += 1

    def _read(self) -> list[float]:
        """Bring the sums up to date, with one transfer from the device for each kind of term."""
        if self._num_committed:
            committed = self._waiting[: self._num_committed]
            del self._waiting[: self._num_committed]
            self._num_committed = 0
            for place, column in enumerate(_columns(committed)):
                for value in column:
                    self._totals[place] += value
        return self._totals

    def interval(self) -> IntervalMeans:
        """Return the means since the last call."""
        now = [*self._read(), self.seconds]
        loss, items, correct, predictions, seconds = (
            after - before for before, after in zip(self._marked, now, strict=True)
        )
        self._marked = now
        return IntervalMeans(
            _ratio(loss, items), _ratio(correct, predictions), items / max(seconds, 1e-9)
        )

    def result(self, epoch: int, learning_rate: float = 0.0) -> EpochResult:
        """Return the epoch in numbers."""
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

    def state_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint; call it between windows only."""
        totals = list(self._read())
        assert not self._waiting, "the sums are saved between accumulation windows"
        return {
            "totals": totals,
            "marked": list(self._marked),
            "batch_count": self.batch_count,
            "sample_count": self.sample_count,
            "skipped_steps": self.skipped_steps,
            "max_gradient_norm": self.max_gradient_norm,
            "seconds": self.seconds,
        }

    @classmethod
    def added_up(cls, states: Sequence[dict[str, Any]]) -> EpochSums:
        """Return the sums of several ranks together, from their :meth:`state_dict`.

        Steps and seconds are those of the rank that has most: they went on at the same time.
        """
        whole = cls()
        for name in ("_totals", "_marked"):
            columns = zip(*(state[name.removeprefix("_")] for state in states), strict=True)
            setattr(whole, name, [math.fsum(column) for column in columns])
        whole.sample_count = sum(state["sample_count"] for state in states)
        for name in ("batch_count", "skipped_steps", "max_gradient_norm", "seconds"):
            setattr(whole, name, max(state[name] for state in states))
        return whole

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`'s values."""
        values = dict(state)
        self._totals = list(values.pop("totals"))
        self._marked = list(values.pop("marked"))
        for name, value in values.items():
            setattr(self, name, value)


class _Waiting(NamedTuple):
    """One batch's terms on the device, its predictions counted or yet to be."""

    total: Tensor
    num_items: Tensor
    counts: tuple[Tensor, Tensor] | None  # right predictions, and all
    logits: Tensor | None
    targets: Tensor | None


def _waiting(terms: LossTerms) -> _Waiting:
    logits = terms.logits
    if logits is not None and logits.ndim == 2 and _is_small(logits):  # noqa: PLR2004 - [n, classes]
        return _Waiting(terms.total.detach(), terms.num_items, None, logits, terms.targets)
    counts = (terms.num_correct, terms.num_predictions)
    return _Waiting(terms.total.detach(), terms.num_items, counts, None, None)


def _is_small(logits: Tensor) -> bool:
    # On a GPU counting doesn't hold up the host, and a CUDA graph may write over its outputs.
    return logits.numel() <= MAX_WAITING_VALUES and logits.device.type == "cpu"


def _columns(waiting: list[_Waiting]) -> tuple[list[float], ...]:
    """Read the summed losses, the items, the right predictions and all predictions."""
    totals = torch.stack([batch.total for batch in waiting]).tolist()
    items = torch.stack([batch.num_items for batch in waiting]).tolist()
    counted = [batch.counts for batch in waiting if batch.counts is not None]
    correct = torch.stack([right for right, _ in counted]).tolist() if counted else []
    predictions = torch.stack([every for _, every in counted]).tolist() if counted else []
    for group in _by_number_of_classes(waiting):
        logits = torch.cat([logits for logits, _ in group])
        targets = torch.cat([targets for _, targets in group])
        correct.append(count_correct(logits, targets).item())
        predictions.append(count_targets(targets).item())
    return totals, items, correct, predictions


def _by_number_of_classes(waiting: list[_Waiting]) -> Iterable[list[tuple[Tensor, Tensor]]]:
    """Group the batches that are yet to be counted; almost always there is one group."""
    groups: dict[int, list[tuple[Tensor, Tensor]]] = {}
    for batch in waiting:
        if batch.logits is not None and batch.targets is not None:
            group = groups.setdefault(batch.logits.shape[1], [])
            group.append((batch.logits, batch.targets))
    return groups.values()


def _ratio(total: float, count: float) -> float:
    return total / count if count else math.nan
