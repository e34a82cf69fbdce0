"""Embeddings: a bounded sample of vectors, and whether two samples are of one distribution.

The sample holds the rows of the smallest hashes of their own bytes (bottom-k sampling; Cohen and
Kaplan, 2007): a uniform sample of the rows that is the same for any order and cut of the data, so
that it merges exactly. Wide vectors are projected to :data:`MAX_WIDTH` random directions, which
keep distances up to a few per cent (Johnson and Lindenstrauss).

Two tests, both with a p-value: the maximum mean discrepancy under permutation (Gretton et al., "A
kernel two-sample test", 2012), which sees any difference, and a linear classifier that is fitted on
one half and judged on the other (Lopez-Paz and Oquab, "Revisiting classifier two-sample tests",
2017), which sees small shifts in many directions. Random numbers are seeded with constants.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]

MAX_VECTORS = 500
MAX_WIDTH = 64
PERMUTATIONS = 999
_SEED = 20_240_601
_GREATEST = 1e30  # whose projections single precision still holds


@dataclass(frozen=True, eq=False)
class EmbeddingFeature:
    """A sample of embeddings: ``vectors`` [sample, width] in ascending order of ``hashes``."""

    width: int  # of the original vectors; 0 where there are none yet
    hashes: Hashes
    vectors: NDArray[np.float32]
    rows: int = 0

    kind = "embedding"

    @classmethod
    def empty(cls) -> EmbeddingFeature:
        """No vectors yet."""
        return cls(0, np.zeros(0, dtype=np.uint64), np.zeros((0, 0), dtype=np.float32))

    def window(self) -> EmbeddingFeature:
        """An empty feature: samples are drawn alike for all."""
        return self.empty()

    def absent(self, rows: int) -> EmbeddingFeature:  # noqa: ARG002 - as the other features
        """No vectors: rows without one are not counted."""
        return self.empty()

    def add(self, vectors: Floats) -> EmbeddingFeature:
        """Sample from more vectors [rows, width]; those with NaN or beyond 1e30 are left out.

        Raises:
            ValueError: the width is not that of the vectors before.
        """
        vectors = vectors[(np.abs(vectors) <= _GREATEST).all(axis=1)] + 0.0
        if not len(vectors):
            return self
        hashes = _hash_rows(vectors)
        chosen = np.argsort(hashes, kind="stable")[:MAX_VECTORS]
        sample = _project(vectors[chosen])
        return self.merge(EmbeddingFeature(vectors.shape[1], hashes[chosen], sample, len(vectors)))

    def merge(self, other: EmbeddingFeature) -> EmbeddingFeature:
        """The sample of both, exactly that of all rows at once.

        Raises:
            ValueError: the widths differ.
        """
        if not other.rows or not self.rows:
            return other if other.rows else self
        self.check_width(other)
        hashes = np.concatenate([self.hashes, other.hashes])
        chosen = np.argsort(hashes, kind="stable")[:MAX_VECTORS]
        vectors = np.concatenate([self.vectors, other.vectors])[chosen]
        return EmbeddingFeature(self.width, hashes[chosen], vectors, self.rows + other.rows)

    def check_width(self, other: EmbeddingFeature) -> None:
        """Refuse vectors of another model.

        Raises:
            ValueError: the widths differ.
        """
        if self.rows and other.rows and other.width != self.width:
            raise ValueError(
                f"The embeddings have {self.width} values in one profile and {other.width} in the "
                "other; give embeddings of one model."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: hashes and float32 vectors in base64, little-endian."""
        return {
            "kind": self.kind,
            "rows": self.rows,
            "width": self.width,
            "hashes": _encode(self.hashes.astype("<u8")),
            "vectors": _encode(self.vectors.astype("<f4")),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EmbeddingFeature:
        """Read :meth:`to_dict`'s form."""
        hashes = np.frombuffer(base64.b64decode(values["hashes"]), dtype="<u8")
        vectors = np.frombuffer(base64.b64decode(values["vectors"]), dtype="<f4")
        sample = vectors.reshape(len(hashes), min(values["width"], MAX_WIDTH))
        return cls(
            values["width"], hashes.astype(np.uint64), sample.astype(np.float32), values["rows"]
        )


def maximum_mean_discrepancy(reference: Floats, current: Floats) -> tuple[float, float]:
    """The squared MMD of two samples [rows, width], and its p-value under permutation.

    The kernel is Gaussian with the median distance as its width; the estimate is the biased one,
    which is 0 or more.
    """
    both = np.concatenate([reference, current])
    m, n = len(reference), len(current)
    kernel = _gaussian_kernel(both)
    labels = np.where(np.arange(m + n) < m, 1 / m, -1 / n)
    generator = np.random.default_rng(_SEED)
    shuffled = generator.permuted(np.tile(labels, (PERMUTATIONS, 1)), axis=1)
    signs = np.concatenate([labels[None], shuffled])
    values = ((signs @ kernel) * signs).sum(axis=1)
    tolerance = 1e-12 * abs(values[0])
    p = (1 + np.count_nonzero(values[1:] >= values[0] - tolerance)) / (PERMUTATIONS + 1)
    return float(max(values[0], 0.0)), float(p)


def cross_fitted_scores(reference: Floats, current: Floats) -> tuple[Floats, Floats, float]:
    """Scores of a linear classifier for vectors that it was not fitted on, and their p-value.

    Each half of the rows is scored by a ridge discriminant of the other half, in standard
    deviations of the half's scores. The p-value is one-sided, of the mean of both halves' rank-sum
    statistics: each is standard normal without drift, and they agree so nearly (the same two
    mean differences make both) that their mean is taken for one of them, never for two.

    Returns:
        The scores of the reference [rows] and of the current vectors [rows], higher for current.
    """
    both = np.concatenate([reference, current])
    is_current = np.arange(len(both)) >= len(reference)
    half = np.concatenate([np.arange(len(part)) % 2 for part in (reference, current)])
    scores = np.zeros(len(both))
    z = 0.0
    for fold in (0, 1):
        train, test = half != fold, half == fold
        direction = _discriminant(both[train & ~is_current], both[train & is_current])
        raw = both[test] @ direction
        scores[test] = (raw - raw.mean()) / (raw.std() or 1.0)
        z += _rank_sum_z(raw, is_current[test]) / 2
    return scores[~is_current], scores[is_current], math.erfc(z / math.sqrt(2)) / 2


def _discriminant(left: Floats, right: Floats) -> Floats:
    """The direction that tells two samples apart best, with a shrunken covariance."""
    centred = np.concatenate([left - left.mean(axis=0), right - right.mean(axis=0)])
    covariance = centred.T @ centred / max(len(centred) - 2, 1)
    width = len(covariance)
    ridge = (width / len(centred)) * np.trace(covariance) / width + 1e-12
    shift = right.mean(axis=0) - left.mean(axis=0)
    return np.asarray(np.linalg.solve(covariance + ridge * np.eye(width), shift))


def _rank_sum_z(scores: Floats, is_current: NDArray[np.bool_]) -> float:
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    total, n = len(scores), int(is_current.sum())
    variance = n * (total - n) / total * float(ranks.var(ddof=1))
    if variance <= 0:
        return 0.0
    return (float(ranks[is_current].sum()) - n * (total + 1) / 2) / math.sqrt(variance)


def _gaussian_kernel(vectors: Floats) -> Floats:
    norms = (vectors * vectors).sum(axis=1)
    squares = np.maximum(norms[:, None] + norms - 2 * vectors @ vectors.T, 0.0)
    median = float(np.median(squares[np.triu_indices(len(vectors), 1)]))
    return np.asarray(np.exp(-squares / (median or 1.0)))


def _project(vectors: Floats) -> NDArray[np.float32]:
    """At most :data:`MAX_WIDTH` directions; row by row, so that a row's result is its own."""
    width = vectors.shape[1]
    if width <= MAX_WIDTH:
        return vectors.astype(np.float32)
    directions = np.random.default_rng(_SEED).standard_normal((width, MAX_WIDTH))
    directions /= math.sqrt(MAX_WIDTH)
    return np.stack([vector @ directions for vector in vectors]).astype(np.float32)


def _hash_rows(vectors: Floats) -> Hashes:
    """64 mixed bits of each row (the finaliser of MurmurHash3 after each value)."""
    mixed = np.zeros(len(vectors), dtype=np.uint64)
    for column in np.ascontiguousarray(vectors.T).view(np.uint64):
        mixed = (mixed ^ column) * np.uint64(0xFF51AFD7ED558CCD)
        mixed ^= mixed >> np.uint64(33)
        mixed *= np.uint64(0xC4CEB9FE1A85EC53)
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _encode(values: NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")
