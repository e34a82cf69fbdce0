"""A numeric feature: counts in a sketch, or in the frozen bins of a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.training.drift_metrics.numeric_sketch import (
    LARGEST,
    LAST_ORDINAL,
    Ints,
    NumericSketch,
    from_ordinals,
    sum_into,
    to_ordinals,
)


@dataclass(frozen=True, eq=False)
class FrozenBins:
    """Counts below the first edge (an ordinal), between neighbours, and from the last one up."""

    edges: Ints
    counts: Ints

    @classmethod
    def empty(cls, edges: Ints) -> FrozenBins:
        """No values yet, in bins that a reference made."""
        return cls(edges, np.zeros(len(edges) + 1, dtype=np.int64))

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    def add(self, ordinals: Ints) -> FrozenBins:
        """Count more values."""
        places = np.searchsorted(self.edges, ordinals, side="right")
        return FrozenBins(self.edges, self.counts + np.bincount(places, minlength=len(self.counts)))

    def counts_between(self, edges: Ints) -> Ints:
        """Counts between some of the edges."""
        starts = np.concatenate([[-LAST_ORDINAL - 1], self.edges])
        places = np.searchsorted(edges, starts, side="right")
        return sum_into(places, len(edges) + 1, self.counts)


@dataclass(frozen=True, eq=False)
class NumericFeature:
    """A numeric feature's values: how they are distributed, and how many are missing."""

    values: NumericSketch | FrozenBins
    missing: int = 0

    kind = "numeric"

    @classmethod
    def empty(cls) -> NumericFeature:
        """No values yet; the bins will follow from what is counted."""
        return cls(NumericSketch.empty())

    def window(self) -> NumericFeature:
        """An empty feature that counts in this one's bins."""
        return NumericFeature(FrozenBins.empty(self._edges()))

    def absent(self, rows: int) -> NumericFeature:
        """So many missing values, to be merged with this feature."""
        frozen = isinstance(self.values, FrozenBins)
        return NumericFeature(self.window().values if frozen else NumericSketch.empty(), rows)

    @property
    def rows(self) -> int:
        """How many values were counted, missing ones included."""
        return self.values.total + self.missing

    def add(self, values: Any) -> NumericFeature:
        """Count values [rows]; NaN is missing, an infinity counts as the largest double."""
        numbers = np.ascontiguousarray(values, dtype=np.float64)
        if not numbers.size:
            return self
        rows, low, high = numbers.size, numbers.min(), numbers.max()
        if np.isnan(low):
            numbers = numbers[~np.isnan(numbers)]
        if not (low >= -LARGEST and high <= LARGEST):
            numbers = np.clip(numbers, -LARGEST, LARGEST)
        missing = self.missing + rows - numbers.size
        return NumericFeature(self.values.add(to_ordinals(numbers)), missing)

    def merge(self, other: NumericFeature) -> NumericFeature:
        """Add another's counts, exactly.

        Raises:
            ValueError: the bins of the two are not the same.
        """
        mine, theirs, missing = self.values, other.values, self.missing + other.missing
        if isinstance(mine, NumericSketch) and isinstance(theirs, NumericSketch):
            return NumericFeature(mine.merge(theirs), missing)
        if (
            isinstance(mine, FrozenBins)
            and isinstance(theirs, FrozenBins)
            and np.array_equal(mine.edges, theirs.edges)
        ):
            return NumericFeature(FrozenBins(mine.edges, mine.counts + theirs.counts), missing)
        raise ValueError(
            "The two profiles count in different bins; merge profiles that were all made with the "
            "same `reference`, or all without one."
        )

    def paired_cells(self, current: NumericFeature) -> tuple[Ints, Ints]:
        """Counts of this reference and of the current data in the same cells, [cells] each.

        Both are exact: where the current sketch is the coarser one, the reference's edges move to
        values that both can tell.

        Raises:
            ValueError: the current data were counted in the bins of another reference.
        """
        if isinstance(current.values, NumericSketch):
            edges = self._edges_at(current.values.level)
            return self.values.counts_between(edges), current.values.counts_between(edges)
        edges = self._edges()
        if not np.array_equal(edges, current.values.edges):
            raise ValueError(
                "The current profile counts in the bins of another reference; compare it with the "
                "reference that it was made with."
            )
        return self.values.counts_between(edges), current.values.counts

    def _edges(self) -> Ints:
        if isinstance(self.values, FrozenBins):
            return self.values.edges
        return self.values.quantile_edges()

    def _edges_at(self, level: int) -> Ints:
        """Edges that a sketch of this level can tell."""
        if isinstance(self.values, FrozenBins):
            edges = self.values.edges
            return edges[(edges >> level) << level == edges]
        return self.values.coarsened(max(level, self.values.level)).quantile_edges()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; the edges are values of the feature."""
        edges = from_ordinals(self._edges()).tolist()
        values: dict[str, Any] = {"kind": self.kind, "missing": self.missing, "edges": edges}
        if isinstance(self.values, FrozenBins):
            return {**values, "cells": self.values.counts.tolist()}
        return {**values, "sketch": self.values.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NumericFeature:
        """Read :meth:`to_dict`'s form."""
        if "sketch" in values:
            return cls(NumericSketch.from_dict(values["sketch"]), values["missing"])
        edges = to_ordinals(np.array(values["edges"], dtype=np.float64))
        bins = FrozenBins(edges, np.array(values["cells"], dtype=np.int64))
        return cls(bins, values["missing"])
