"""Real scans that need no download, in the splits that everybody who shows them uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Part = Literal["train", "validation", "test"]

_DARKEST = 16.0  # the scans' grey levels are 0..16


@dataclass(frozen=True)
class Scans:
    """Grey ``images`` [count, 8, 8] in 0..1, and their ``labels`` [count] in 0..9."""

    images: NDArray[np.float64]
    labels: NDArray[np.int64]


def read_digits() -> dict[Part, Scans]:
    """All 1,797 handwritten digits: 70 % to train on, 15 % to validate, 15 % held out."""
    from sklearn import datasets

    scans = datasets.load_digits()
    images, labels = scans.images / _DARKEST, scans.target
    parts = split(len(labels), validation=0.15, test=0.15)
    names: tuple[Part, ...] = ("train", "validation", "test")
    return {
        name: Scans(images[part], labels[part]) for name, part in zip(names, parts, strict=True)
    }


def split(count: int, *, validation: float, test: float) -> tuple[NDArray[np.int64], ...]:
    """Indices of train, validation and test: a fixed shuffle, cut at the given shares."""
    order = np.random.default_rng(0).permutation(count)
    first = int(count * (1 - validation - test))
    second = int(count * (1 - test))
    return order[:first], order[first:second], order[second:]
