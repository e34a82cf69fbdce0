"""Gradient accumulation over ranks: one big batch's step, whatever each rank's share of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from utils.training.engine.accumulation_checks import AccumulationError, item_count, loss_fault
from utils.training.engine.accumulation_window import ItemCount
from utils.training.engine.distributed.norms import measure_shards
from utils.training.engine.gradient_accumulator import GradientAccumulator
from utils.training.engine.gradient_norms import GradientNorms, measure_gradients
from utils.training.engine.interrupt import StopSwitch


class RankAccumulator(GradientAccumulator):
    """Weighs every item of a window alike over all ranks, with one small message a window.

    The ranks' gradients are averaged, and what they are to be divided by is the items of all
    ranks. That number travels while the backward pass runs, together with whether some rank was
    asked to stop, and both are read with the norms.

    Args:
        stop: hears of another rank's wish to stop.
        is_sharded: each rank holds a part of each gradient.
        world_size: how many ranks there are.
        settings: those of :class:`GradientAccumulator`.
    """

    def __init__(
        self, *, stop: StopSwitch, is_sharded: bool, world_size: int, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self._stop = stop
        self._measure_gradients = measure_shards if is_sharded else measure_gradients
        self._world_size = world_size
        self._is_closing = False
        self._items: list[Tensor] = []
        self._facts = torch.zeros(2)  # items of all ranks, ranks that were asked to stop
        self._work: Any = None
        self._has_little_room = self.scaler is not None or self._parameters.include_fp16()
        self._scale: Tensor | None = None  # of each loss in the window, where room is little

    def announce(self, *, is_final_batch: bool) -> bool:
        """Say before a micro-batch's forward pass whether its backward pass closes the window."""
        self._is_closing = is_final_batch or self._position + 1 == self.accumulation_steps
        return self._is_closing

    def _backward(self, loss: Tensor, num_items: ItemCount | None, *, is_total: bool) -> None:
        if not (isinstance(loss, Tensor) and loss.requires_grad and loss.numel() == 1):
            raise AccumulationError(loss_fault(loss))
        items = item_count(1 if num_items is None else num_items, loss)
        if not isinstance(items, Tensor):
            items = torch.tensor(float(items), device=loss.device)
        total = loss if is_total else loss * items
        self._items.append(items)
        if self._is_closing:
            self._send()
        if self._has_little_room:
            total = total * self._small(items)
        (total if self.scaler is None else self.scaler.scale(total)).backward()

    def _send(self) -> None:
        items = self._items[0] if len(self._items) == 1 else torch.stack(self._items).sum()
        is_stopping = torch.full_like(items, float(self._stop.is_requested))
        self._facts = torch.stack([items, is_stopping])
        self._work = dist.all_reduce(self._facts, async_op=True)
        self._items.clear()

    def _small(self, items: Tensor) -> Tensor:
        """Return what keeps a sum in fp16's range, the same on all ranks through the window."""
        if self._scale is None:
            mean_items = items.clone()
            dist.all_reduce(mean_items)
            self._scale = 1 / (mean_items / self._world_size).clamp(min=1)
        return self._scale

    def _gradients(self, model: nn.Module) -> tuple[Sequence[str], list[Tensor]]:
        names, gradients = super()._gradients(model)
        return names, [g.to_local() if isinstance(g, DTensor) else g for g in gradients]

    def _measure(
        self, names: Sequence[str], gradients: list[Tensor]
    ) -> tuple[GradientNorms, float]:
        """Measure the mean gradient of all ranks' items; the factor makes it of the average."""
        self._work.wait()
        divisor, is_stopping = self._facts
        if self._scale is not None:
            divisor = divisor * self._scale
        norms = self._measure_gradients(names, gradients, extras=(divisor, is_stopping))
        if norms.extras[1]:
            self._stop.agree("another rank was asked to")
        scale = self._world_size / norms.extras[0] if norms.extras[0] else 1.0
        return norms.scaled(scale), scale

    def _start_window(self) -> None:
        super()._start_window()
        self._items = []
        self._scale = None
