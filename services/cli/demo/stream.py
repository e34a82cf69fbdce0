"""What the client sends: held-out digits without end, some of them from the new scanner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.service.digits import Scans


@dataclass(frozen=True)
class Batch:
    """Images [count, 8, 8] with their labels [count], and which are from the new scanner."""

    images: NDArray[np.float64]
    labels: NDArray[np.int64]
    is_new: NDArray[np.bool_]


class DigitStream:
    """Deals digits like cards: all of them once, then all of them again in another order.

    ``share_new`` of them come from the new scanner; it may be set while the stream is read.
    """

    def __init__(self, old: Scans, new: Scans, batch_size: int, seed: int = 0) -> None:
        self.share_new = 0.0
        self._old = old
        self._new = new
        self._batch_size = batch_size
        self._random = np.random.default_rng(seed)
        self._deck = np.empty(0, dtype=np.int64)

    def next_batch(self) -> Batch:
        """The next ``batch_size`` digits."""
        while len(self._deck) < self._batch_size:
            order = self._random.permutation(len(self._old.labels))
            self._deck = np.concatenate([self._deck, order])
        dealt, self._deck = np.split(self._deck, [self._batch_size])
        is_new = self._random.random(len(dealt)) < self.share_new
        images = np.where(is_new[:, None, None], self._new.images[dealt], self._old.images[dealt])
        return Batch(images, self._old.labels[dealt], is_new)


def whole(scans: Scans, size: int) -> Iterator[Batch]:
    """All scans once, in batches of ``size``, the last one smaller where they don't divide."""
    for start in range(0, len(scans.labels), size):
        images = scans.images[start : start + size]
        labels = scans.labels[start : start + size]
        yield Batch(images, labels, np.zeros(len(labels), dtype=np.bool_))
