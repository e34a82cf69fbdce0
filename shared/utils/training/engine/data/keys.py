"""Random numbers that belong to a sample: its key, and the generators that the key sets.

A key is 64 bits from the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable
pseudorandom number generators", OOPSLA 2014), chained over its parts. Each link is a bijection, so
two indices of one epoch never share a key, and neighbouring indices share no bits.
"""

from __future__ import annotations

import random
from typing import Self

import numpy as np
import torch
from numpy.random import mtrand

ORDER, SAMPLE, BATCH = range(3)  # what a key is for, so that no two uses share a stream

_MASK = 2**64 - 1
_GOLDEN_GAMMA = 0x9E3779B97F4A7C15


def mix(key: int, part: int) -> int:
    """Link one more part to a key; both and the result are 64 bits."""
    z = ((key ^ part) + _GOLDEN_GAMMA) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def epoch_key(seed: int, epoch: int, use: int) -> int:
    """Give the key of one use (:data:`ORDER`, :data:`SAMPLE`, :data:`BATCH`) in one epoch."""
    return mix(mix(mix(0, seed & _MASK), epoch), use)


def seed_generators(key: int) -> None:
    """Set Python's, NumPy's legacy and PyTorch's CPU generator to a key.

    PyTorch seeds from the lower 32 bits and NumPy from the upper ones, so that a collision in one
    is none in the other; Python takes all 64.
    """
    random.seed(key)
    np.random.seed(key >> 32)  # noqa: NPY002 - users' datasets draw from the legacy generator
    torch.default_generator.manual_seed(key)


class UntouchedGenerators:
    """A context that leaves this process's three generators as it found them.

    NumPy's global generator is exchanged for a private one and back, which costs a fiftieth of
    copying its state; a spare normal that it may hold (the second of a pair) is dropped.
    """

    def __init__(self) -> None:
        self._spare = np.random.MT19937(0)

    def __enter__(self) -> Self:
        self._python = random.getstate()
        self._torch = torch.default_generator.get_state()
        self._numpy = mtrand.get_bit_generator()
        mtrand.set_bit_generator(self._spare)
        return self

    def __exit__(self, *_: object) -> None:
        mtrand.set_bit_generator(self._numpy)
        torch.default_generator.set_state(self._torch)
        random.setstate(self._python)
