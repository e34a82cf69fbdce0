"""Counts of a categorical feature, merged exactly and bounded whatever the number of categories.

A category is keyed by a 64-bit hash of its name. While there are at most :data:`MAX_BUCKETS`
categories, each is counted under its own name. Beyond, the lowest ``level`` bits of the hashes are
cut off, as few as bring the buckets within the limit; the level depends on the set of names alone,
so shards merge to the same counts in any order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.training.drift_metrics.column import is_missing

MAX_BUCKETS = 512
_MAX_NAME_LENGTH = 80  # characters; longer names end in their hash

Ints = NDArray[np.int64]
Buckets = Mapping[int, tuple[str | None, int]]  # key -> (the one name or None, count)


@dataclass(frozen=True)
class CategoricalFeature:
    """A categorical feature's counts by hashed name."""

    level: int = 0
    buckets: Buckets = field(default_factory=dict)
    missing: int = 0

    kind = "categorical"

    @classmethod
    def empty(cls) -> CategoricalFeature:
        """No values yet."""
        return cls()

    def window(self) -> CategoricalFeature:
        """An empty feature whose categories can be told apart as far as this one's."""
        return CategoricalFeature(level=self.level)

    def absent(self, rows: int) -> CategoricalFeature:
        """So many missing values, to be merged with this feature."""
        return CategoricalFeature(level=self.level, missing=rows)

    @property
    def rows(self) -> int:
        """How many values were counted, missing ones included."""
        return sum(count for _, count in self.buckets.values()) + self.missing

    def add(self, values: Iterable[Any]) -> CategoricalFeature:
        """Count values [rows]; None and NaN are missing, every other one is its text."""
        names: Counter[str] = Counter()
        missing = 0
        for value, count in _distinct(values):
            if is_missing(value):
                missing += count
            else:
                names[_name(value)] += count
        found = {_hash(name): (name, count) for name, count in names.items()}
        return self.merge(_fit(0, found, missing))

    def merge(self, other: CategoricalFeature) -> CategoricalFeature:
        """Add another's counts: exact, and the same in any order."""
        level = max(self.level, other.level)
        buckets = dict(self.coarsened(level).buckets)
        for key, bucket in other.coarsened(level).buckets.items():
            buckets[key] = _join(buckets.get(key), bucket)
        return _fit(level, buckets, self.missing + other.missing)

    def coarsened(self, level: int) -> CategoricalFeature:
        """The same counts at a higher level."""
        if level == self.level:
            return self
        buckets: dict[int, tuple[str | None, int]] = {}
        for key, bucket in self.buckets.items():
            short = key >> (level - self.level)
            buckets[short] = _join(buckets.get(short), bucket)
        return replace(self, level=level, buckets=buckets)

    def paired_cells(self, current: CategoricalFeature) -> tuple[Ints, Ints]:
        """Counts of this reference and of the current data, a cell for each category of either."""
        level = max(self.level, current.level)
        left, right = self.coarsened(level).buckets, current.coarsened(level).buckets
        keys = sorted({*left, *right})
        return _counts(left, keys), _counts(right, keys)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; a bucket of several categories has no name, and its key instead."""
        ordered = sorted(self.buckets.items())
        values = {
            "kind": self.kind,
            "missing": self.missing,
            "level": self.level,
            "names": [name for _, (name, _) in ordered],
            "counts": [count for _, (_, count) in ordered],
        }
        return values if self.level == 0 else {**values, "keys": [key for key, _ in ordered]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CategoricalFeature:
        """Read :meth:`to_dict`'s form."""
        names, counts = values["names"], values["counts"]
        keys = values.get("keys") or [_hash(name) for name in names]
        buckets = dict(zip(keys, zip(names, counts, strict=True), strict=True))
        return cls(values["level"], buckets, values["missing"])


def _fit(level: int, buckets: Buckets, missing: int) -> CategoricalFeature:
    feature = CategoricalFeature(level, buckets, missing)
    while len(feature.buckets) > MAX_BUCKETS:
        feature = feature.coarsened(feature.level + 1)
    return feature


def _join(
    left: tuple[str | None, int] | None, right: tuple[str | None, int]
) -> tuple[str | None, int]:
    if left is None:
        return right
    return left[0] if left[0] == right[0] else None, left[1] + right[1]


def _counts(buckets: Buckets, keys: list[int]) -> Ints:
    return np.array([buckets.get(key, (None, 0))[1] for key in keys], dtype=np.int64)


def _distinct(values: Iterable[Any]) -> Iterable[tuple[Any, int]]:
    items = list(values)
    try:
        return Counter(items).items()
    except TypeError:  # lists or mappings
        return Counter(str(item) for item in items).items()


def _name(value: Any) -> str:
    """A value's text; numbers that are equal have one, whatever their type."""
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    text = str(value)
    if len(text) <= _MAX_NAME_LENGTH:
        return text
    return f"{text[:_MAX_NAME_LENGTH]}…{_hash(text):016x}"


def _hash(name: str) -> int:
    data = name.encode("utf-8", errors="surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
