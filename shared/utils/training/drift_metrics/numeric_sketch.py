"""Counts of numbers in a sketch that merges exactly and is bounded whatever the data.

It keys a value by its place in the order of all doubles (its *ordinal*), with the lowest
``level`` bits cut off: buckets are linear within a power of two and logarithmic across them. The
level is the smallest at which the data fill at most :data:`MAX_BUCKETS` buckets. That number
depends on the set of values alone, so shards merge to the same sketch in any order, and up to
:data:`MAX_BUCKETS` distinct values are counted exactly. The idea of one uniform, repeated collapse
is from Epicoco et al., "UDDSketch: accurate tracking of quantiles in data streams" (2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BUCKETS = 1024
FINE_CELLS = 40  # quantile cells of the reference: four to each bin of the JS divergence

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_LOW_BITS = np.int64(0x7FFF_FFFF_FFFF_FFFF)
_MAX = np.finfo(np.float64).max
LARGEST = np.nextafter(_MAX, 0.0)  # of what is counted: an edge above it is still a double
_DENSE_RANGE = 1 << 18  # keys that are counted in one array rather than sorted


def to_ordinals(values: Floats) -> Ints:
    """Number the doubles in their order; equal values, and both zeros, have one number."""
    bits = (values + 0.0).view(np.int64)  # the sum turns -0.0 into 0.0
    bits ^= (bits >> 63) & _LOW_BITS
    return bits


def from_ordinals(ordinals: Ints) -> Floats:
    """Give the doubles back, the inverse of :func:`to_ordinals`."""
    bits = ordinals ^ ((ordinals >> 63) & _LOW_BITS)
    return bits.view(np.float64)


LAST_ORDINAL = int(to_ordinals(np.array([_MAX]))[0])


def quantile_groups(counts: Ints, parts: int) -> Ints:
    """Number of the quantile group of each ordered bucket, by the middle of its mass.

    A bucket that holds a part's share or more is (nearly) alone in its group.
    """
    middles = 2 * np.cumsum(counts) - counts
    return middles * parts // max(2 * int(counts.sum()), 1)


@dataclass(frozen=True, eq=False)
class NumericSketch:
    """Counts of ordinals above their ``level`` lowest bits, in ascending order of keys."""

    level: int
    keys: Ints
    counts: Ints

    @classmethod
    def empty(cls) -> NumericSketch:
        """No values yet."""
        nothing = np.zeros(0, dtype=np.int64)
        return cls(0, nothing, nothing)

    def add(self, ordinals: Ints) -> NumericSketch:
        """Count more values."""
        if not ordinals.size:
            return self
        return self.merge(_fit(self.level, *_count(ordinals >> self.level)))

    def merge(self, other: NumericSketch) -> NumericSketch:
        """Add another sketch's counts: exact, and the same in any order."""
        level = max(self.level, other.level)
        left, right = self.coarsened(level), other.coarsened(level)
        keys = np.concatenate([left.keys, right.keys])
        return _fit(level, *_sum_by_key(keys, np.concatenate([left.counts, right.counts])))

    def coarsened(self, level: int) -> NumericSketch:
        """The same counts at a higher level."""
        if level == self.level:
            return self
        return NumericSketch(level, *_sum_by_key(self.keys >> (level - self.level), self.counts))

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    def quantile_edges(self) -> Ints:
        """Ordinals that cut the values into up to :data:`FINE_CELLS` cells and two overflows."""
        if not self.keys.size:
            return self.keys
        groups = quantile_groups(self.counts, FINE_CELLS)
        starts = self.keys[np.flatnonzero(np.diff(groups, prepend=-1))]
        ends = [*starts.tolist(), int(self.keys[-1]) + 1]
        edges = [key << self.level for key in ends]  # whole numbers of Python don't overflow
        edges[0], edges[-1] = max(edges[0], -LAST_ORDINAL), min(edges[-1], LAST_ORDINAL)
        return np.array(edges, dtype=np.int64)

    def counts_between(self, edges: Ints) -> Ints:
        """Counts below the first edge, between neighbours, and from the last one up."""
        starts = np.maximum(self.keys << self.level, -LAST_ORDINAL)
        cells = np.searchsorted(edges, starts, side="right")
        return sum_into(cells, len(edges) + 1, self.counts)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: the first key, the steps to the following ones, and the counts."""
        first = int(self.keys[0]) if self.keys.size else 0
        steps = np.diff(self.keys).tolist()
        return {
            "level": self.level,
            "first": first,
            "steps": steps,
            "counts": self.counts.tolist(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NumericSketch:
        """Read :meth:`to_dict`'s form."""
        counts = np.array(values["counts"], dtype=np.int64)
        keys = np.cumsum(np.array([values["first"], *values["steps"]], dtype=np.int64))
        return cls(values["level"], keys[: counts.size], counts)


def sum_into(places: Ints, cells: int, counts: Ints) -> Ints:
    """Add up counts by place: [cells]."""
    total = np.zeros(cells, dtype=np.int64)
    np.add.at(total, places, counts)
    return total


def _count(keys: Ints) -> tuple[Ints, Ints]:
    low = int(keys.min())
    if int(keys.max()) - low < _DENSE_RANGE:
        dense = np.bincount(keys - low)
        filled = np.flatnonzero(dense)
        return filled + low, dense[filled]
    unique, counts = np.unique(keys, return_counts=True)
    return unique, counts.astype(np.int64)


def _sum_by_key(keys: Ints, counts: Ints) -> tuple[Ints, Ints]:
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    starts = np.flatnonzero(np.diff(keys, prepend=keys[:1] - 1))
    return keys[starts], np.add.reduceat(counts, starts) if starts.size else counts


def _fit(level: int, keys: Ints, counts: Ints) -> NumericSketch:
    """Cut off as few bits as bring the buckets within their limit; the keys are ascending."""
    if keys.size <= MAX_BUCKETS:
        return NumericSketch(level, keys, counts)
    low, high = 0, 63 - level  # too fine, and coarse enough
    while high - low > 1:
        middle = (low + high) // 2
        buckets = 1 + np.count_nonzero(np.diff(keys >> middle))
        low, high = (low, middle) if buckets <= MAX_BUCKETS else (middle, high)
    return NumericSketch(level, keys, counts).coarsened(level + high)
