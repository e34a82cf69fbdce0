"""The micro-batches between two optimizer steps, each weighed by what counts in it."""

from __future__ import annotations

import torch
from torch import Tensor

ItemCount = int | float | Tensor


class AccumulationWindow:
    """Weighs micro-batches so that their summed gradient becomes that of one big batch.

    A mean loss is weighed by its items over the first one's, so that gradients keep the magnitude
    of a mean (fp16 has little room); a summed loss needs no weight. :meth:`divisor` makes the sum
    of gradients a mean over all items. Counts on the device stay there.
    """

    def __init__(self) -> None:
        self._first: ItemCount | None = None
        self._items: list[ItemCount] = []

    def weight_of(self, num_items: ItemCount) -> ItemCount:
        """Return the weight of a mean over so many items, before :meth:`add`."""
        if self._first is None:
            self._first = _one_where_empty(num_items)
        return num_items / self._first

    def add(self, num_items: ItemCount) -> None:
        """Take in a micro-batch whose gradient is there."""
        self._items.append(num_items)

    def divisor(self) -> ItemCount:
        """Return what the summed gradient is to be divided by; 0 for a window without items."""
        total = self._total()
        return total if self._first is None else total / self._first

    def _total(self) -> ItemCount:
        if all(isinstance(items, Tensor) for items in self._items) and self._items:
            return torch.stack(self._items).sum()  # type: ignore[arg-type]
        return sum(self._items)

    def clear(self) -> None:
        """Start over."""
        self._first = None
        self._items.clear()

    def state(self) -> list[float]:
        """Return the first micro-batch's and all items as plain numbers; waits for the device."""
        return [float(self._first or 0), float(self._total())]

    def restore(self, state: list[float]) -> None:
        """Continue from :meth:`state`'s numbers."""
        first, total = state
        self._first = first or None
        self._items = [total]


def _one_where_empty(num_items: ItemCount) -> ItemCount:
    if isinstance(num_items, Tensor):
        return torch.where(num_items > 0, num_items, 1)
    return num_items or 1
