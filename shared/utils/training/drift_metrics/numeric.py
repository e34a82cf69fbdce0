"""Counts of a numeric feature: a sketch that merges exactly, or the frozen bins of a reference.

The sketch keys a value by its place in the order of all doubles (its *ordinal*), with the lowest
``level`` bits cut off: buckets are linear within a power of two and logarithmic across them. The
level is the smallest at which the data fill at most :data:`MAX_BUCKETS` buckets. That number
depends on the set of values alone, so shards merge to the same sketch in any order, and up to
:data:`MAX_BUCKETS` distinct values are counted exactly. The idea of one uniform, repeated collapse
is from Epicoco et al., "UDDSketch: accurate tracking of quantiles in data streams" (2020).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BUCKETS = 1024
FINE_CELLS = 40  # quantile cells of the reference: four to each bin of the JS divergence

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_LOW_BITS = np.int64(0x7FFF_FFFF_FFFF_FFFF)
_LARGEST = np.finfo(np.float64).max
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


_LAST_ORDINAL = int(to_ordinals(np.array([_LARGEST]))[0])


def quantile_groups(counts: Ints, parts: int) -> Ints:
    """Number of the quantile group of each ordered bucket, by the middle of its mass.

    A bucket that holds a part's share or more is (nearly) alone in its group.
    """
    middles = 2 * np.cumsum(counts) - counts
    return middles * parts // max(2 * int(counts.sum()), 1)


@dataclass(frozen=True)
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

    def quantile_edges(self) -> Ints:
        """Ordinals that cut the values into up to :data:`FINE_CELLS` cells and two overflows."""
        if not self.keys.size:
            return self.keys
        groups = quantile_groups(self.counts, FINE_CELLS)
        starts = self.keys[np.flatnonzero(np.diff(groups, prepend=-1))]
        ends = [*starts.tolist(), int(self.keys[-1]) + 1]
        bounded = {min(max(key << self.level, -_LAST_ORDINAL), _LAST_ORDINAL) for key in ends}
        return np.array(sorted(bounded), dtype=np.int64)

    def counts_between(self, edges: Ints) -> Ints:
        """Counts below the first edge, between neighbours, and from the last one up."""
        cells = np.searchsorted(edges, self.keys << self.level, side="right")
        return _bincount(cells, len(edges) + 1, self.counts)

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


@dataclass(frozen=True)
class NumericFeature:
    """A numeric feature's values: a sketch, or counts in the bins of a reference.

    ``edges`` are ordinals, ``cells`` the counts between them where the bins are frozen.
    """

    sketch: NumericSketch
    missing: int = 0
    edges: Ints | None = None
    cells: Ints | None = None

    kind = "numeric"

    @classmethod
    def empty(cls) -> NumericFeature:
        """No values yet; the bins will follow from what is counted."""
        return cls(NumericSketch.empty())

    def window(self) -> NumericFeature:
        """An empty feature that counts in this one's bins."""
        edges = self.bin_edges()
        return NumericFeature(
            NumericSketch.empty(), 0, edges, np.zeros(len(edges) + 1, dtype=np.int64)
        )

    def absent(self, rows: int) -> NumericFeature:
        """So many missing values, to be merged with this feature."""
        return replace(
            self if self.edges is None else self.window(),
            sketch=NumericSketch.empty(),
            missing=rows,
        )

    @property
    def rows(self) -> int:
        """How many values were counted, missing ones included."""
        counts = self.sketch.counts if self.cells is None else self.cells
        return int(counts.sum()) + self.missing

    def bin_edges(self) -> Ints:
        """The ordinals that cut the values into cells."""
        return self.sketch.quantile_edges() if self.edges is None else self.edges

    def add(self, values: Any) -> NumericFeature:
        """Count values [rows]; NaN is missing, an infinity counts as the largest double."""
        numbers = np.ascontiguousarray(values, dtype=np.float64)
        if not numbers.size:
            return self
        low, high = numbers.min(), numbers.max()
        missing = 0
        if np.isnan(low):
            present = numbers[~np.isnan(numbers)]
            missing = numbers.size - present.size
            numbers = present
        if not np.isfinite(low) or not np.isfinite(high):
            numbers = np.clip(numbers, -_LARGEST, _LARGEST)
        return self._count(to_ordinals(numbers), missing)

    def _count(self, ordinals: Ints, missing: int) -> NumericFeature:
        missing += self.missing
        if self.edges is None or self.cells is None:
            return replace(self, sketch=self.sketch.add(ordinals), missing=missing)
        places = np.searchsorted(self.edges, ordinals, side="right")
        cells = self.cells + np.bincount(places, minlength=len(self.edges) + 1)
        return replace(self, cells=cells, missing=missing)

    def merge(self, other: NumericFeature) -> NumericFeature:
        """Add another's counts, exactly.

        Raises:
            ValueError: the bins of the two are not the same.
        """
        missing = self.missing + other.missing
        if self.cells is None and other.cells is None:
            return replace(self, sketch=self.sketch.merge(other.sketch), missing=missing)
        if self.cells is None or other.cells is None or not _same(self.edges, other.edges):
            raise ValueError(
                "The two profiles count in different bins; merge profiles that were all made "
                "with the same `reference`, or all without one."
            )
        return replace(self, cells=self.cells + other.cells, missing=missing)

    def paired_cells(self, current: NumericFeature) -> tuple[Ints, Ints]:
        """Counts of this reference and of the current data in the same cells, [cells] each.

        Both are exact: where the current sketch is the coarser one, the reference's bins move to
        edges that both can tell.

        Raises:
            ValueError: the current data were counted in the bins of another reference.
        """
        edges = self._edges_for(current)
        if current.cells is not None:
            if not _same(edges, current.edges):
                raise ValueError(
                    "The current profile counts in the bins of another reference; compare it "
                    "with the reference that it was made with."
                )
            return self._counts(edges), current.cells
        return self._counts(edges), current.sketch.counts_between(edges)

    def _edges_for(self, current: NumericFeature) -> Ints:
        edges = self.bin_edges()
        level = 0 if current.cells is not None else current.sketch.level
        if self.cells is None and level > self.sketch.level:
            return self.sketch.coarsened(level).quantile_edges()
        return edges if self.cells is None else edges[(edges >> level) << level == edges]

    def _counts(self, edges: Ints) -> Ints:
        if self.cells is None or self.edges is None:
            return self.sketch.counts_between(edges)
        starts = np.concatenate([[-_LAST_ORDINAL - 1], self.edges])
        places = np.searchsorted(edges, starts, side="right")
        return _bincount(places, len(edges) + 1, self.cells)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; the edges are values of the feature."""
        values: dict[str, Any] = {
            "kind": self.kind,
            "missing": self.missing,
            "edges": from_ordinals(self.bin_edges()).tolist(),
        }
        if self.cells is None:
            return {**values, "sketch": self.sketch.to_dict()}
        return {**values, "cells": self.cells.tolist()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NumericFeature:
        """Read :meth:`to_dict`'s form."""
        if "sketch" in values:
            return cls(NumericSketch.from_dict(values["sketch"]), values["missing"])
        edges = to_ordinals(np.array(values["edges"], dtype=np.float64))
        cells = np.array(values["cells"], dtype=np.int64)
        return cls(NumericSketch.empty(), values["missing"], edges, cells)


def _same(left: Ints | None, right: Ints | None) -> bool:
    return left is not None and right is not None and np.array_equal(left, right)


def _bincount(places: Ints, cells: int, counts: Ints) -> Ints:
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
