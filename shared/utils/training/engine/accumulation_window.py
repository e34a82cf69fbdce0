"""The micro-batches between two optimizer steps, each weighed by what counts in it."""

from __future__ import annotations

import torch
from torch import Tensor

ItemCount = int | float | Tensor


class AccumulationWindow:
    """Weighs micro-batches so that their summed gradient becomes that of one big batch.

    Each micro-batch's mean loss is weighed by its items over the first one's, so that gradients
    keep the magnitude of a mean (fp16 has little room), and :meth:`divisor` makes the sum a mean
    over all items. Counts on the device stay there.
    """

    def __init__(self) -> None:
        self._first: ItemCount | None = None
        self._seed: ItemCount | None = None
        self._total: ItemCount = 0

    def weight_of(self, num_items: ItemCount) -> ItemCount:
        """Return the weight of a micro-batch that holds so many items, before :meth:`add`."""
        if self._first is None:
            self._first = _one_where_empty(num_items)
        return num_items / self._first

    def seed_of(self, num_items: ItemCount) -> ItemCount:
        """Return what a *summed* loss's backward pass begins with, before :meth:`add`.

        It is one over the first micro-batch's items, for the whole window, so that a mean's
        division costs no operation of its own.
        """
        if self._seed is None:
            if self._first is None:
                self._first = _one_where_empty(num_items)
            self._seed = 1 / self._first
        return self._seed

    def add(self, num_items: ItemCount) -> None:
        """Take in a micro-batch whose gradient is there."""
        self._total = self._total + num_items

    def divisor(self) -> ItemCount:
        """Return what the summed gradient is to be divided by; 0 for a window without items."""
        return 0.0 if self._first is None else self._total / self._first

    def clear(self) -> None:
        """Start over."""
        self._first, self._seed, self._total = None, None, 0

    def state(self) -> list[float]:
        """Return the first micro-batch's and all items as plain numbers; waits for the device."""
        return [float(self._first or 0), float(self._total)]

    def restore(self, state: list[float]) -> None:
        """Continue from :meth:`state`'s numbers."""
        self.clear()
        first, self._total = state
        self._first = first or None


def _one_where_empty(num_items: ItemCount) -> ItemCount:
    if isinstance(num_items, Tensor):
        return torch.where(num_items > 0, num_items, 1)
    return num_items or 1
