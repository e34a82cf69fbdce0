"""The statistics of two samples in closed form: divergence, its chance level, and p-values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_MIN_EXPECTED = 10.0  # rows of a cell, in the smaller sample, for the quadratic form of JS
_TERMS = 48


def js_divergence(p: Any, q: Any) -> float:
    """Jensen-Shannon divergence of two distributions, in bits: 0 for equal, 1 for disjoint ones.

    JS = H((p + q) / 2) - (H(p) + H(q)) / 2 (Lin, 1991); SciPy's ``jensenshannon(p, q, 2)`` is its
    square root.

    Args:
        p: counts or probabilities [cells]; brought to a sum of 1.
        q: likewise, for the same cells.

    Raises:
        ValueError: other shapes, a negative or not finite value, or a sum of 0.
    """
    left, right = _distribution(p), _distribution(q)
    if left.shape != right.shape:
        raise ValueError(
            f"The distributions have {left.size} and {right.size} cells; give the same cells."
        )
    return float(min(max(_js_terms(left, right).sum(), 0.0), 1.0))


def expected_js(reference: Ints, current: Ints) -> float:
    """The JS divergence, in bits, that two samples of one distribution show by chance.

    Given its pooled count t of N, a cell's count in the smaller sample is nearly binomial: sparse
    cells take the binomial mean, the others the quadratic form (1/n + 1/m) / (8 ln 2), both times
    1 - t/N for drawing without replacement.

    Args:
        reference: counts [cells].
        current: counts [cells].
    """
    n, m = sorted((int(reference.sum()), int(current.sum())))
    if n == 0:
        return 0.0
    pooled, repeats = np.unique(reference + current, return_counts=True)
    share = n / (n + m)
    sparse = pooled * share < _MIN_EXPECTED
    means = np.full(len(pooled), (1 / n + 1 / m) / (8 * math.log(2)))
    means[sparse] = _binomial_means(pooled[sparse], n, m)
    return float(means * (1 - pooled / (n + m)) @ repeats)


def _binomial_means(pooled: Ints, n: int, m: int) -> Floats:
    """The mean term of cells that hold ``pooled`` rows, over their counts in the n of n + m."""
    counts = np.arange(_TERMS)
    rest = np.maximum(pooled[:, None] - counts, 0)
    ratios = rest[:, :-1] / counts[1:] * (n / m)
    first = np.exp(pooled * math.log1p(-n / (n + m)))[:, None]
    probabilities = first * np.cumprod(np.hstack([np.ones_like(first), ratios]), axis=1)
    terms = _js_terms(np.minimum(counts / n, 1.0), rest / m)
    return np.asarray((probabilities * terms).sum(axis=1))


def location_p(reference: Ints, current: Ints) -> float:
    """Two-sided p-value of a shift between ordered cells: van der Waerden's normal scores.

    The variance is the permutation variance, so ties (all values of a cell) are accounted for.

    Args:
        reference: counts [cells], in ascending order of values.
        current: counts [cells].
    """
    pooled = reference + current
    n, m, total = int(current.sum()), int(reference.sum()), int(pooled.sum())
    if min(n, m) == 0:
        return 1.0
    ranks = (np.cumsum(pooled) - pooled / 2) / total
    normal = NormalDist()
    scores = np.array([normal.inv_cdf(min(max(rank, 1e-12), 1 - 1e-12)) for rank in ranks.tolist()])
    mean = scores @ pooled / total
    variance = n * m / (total * (total - 1)) * (pooled @ (scores - mean) ** 2)
    if variance <= 0:
        return 1.0
    z = (current @ scores - n * mean) / math.sqrt(variance)
    return math.erfc(abs(z) / math.sqrt(2))


def chi_square_p(reference: Ints, current: Ints) -> float:
    """P-value of Pearson's two-sample chi-square test over cells that hold enough rows."""
    n, m = int(current.sum()), int(reference.sum())
    keep = reference + current > 0
    left, right = reference[keep].astype(float), current[keep].astype(float)
    if len(left) < 2 or min(n, m) == 0:  # noqa: PLR2004 - one cell can't differ
        return 1.0
    statistic = ((right * math.sqrt(m / n) - left * math.sqrt(n / m)) ** 2 / (left + right)).sum()
    return chi_square_tail(float(statistic), len(left) - 1)


def chi_square_tail(statistic: float, degrees: int) -> float:
    """P(chi-square >= statistic) for whole degrees of freedom, by its finite sum."""
    half = statistic / 2
    if half <= 0:
        return 1.0
    odd = degrees % 2
    shape = 0.5 if odd else 1.0
    tail = math.erfc(math.sqrt(half)) if odd else math.exp(-half)
    while shape < degrees / 2:
        tail += math.exp(shape * math.log(half) - half - math.lgamma(shape + 1))
        shape += 1
    return min(tail, 1.0)


def hypergeometric_p(successes: int, pooled: int, n: int, m: int) -> float:
    """Two-sided exact p-value of ``successes`` of ``pooled`` rows falling into the n of n + m."""
    upper = _hypergeometric_tail(successes, pooled, n, m)
    lower = _hypergeometric_tail(pooled - successes, pooled, m, n)
    return min(1.0, 2 * min(upper, lower))


def _hypergeometric_tail(successes: int, pooled: int, n: int, m: int) -> float:
    if successes <= max(0, pooled - m):
        return 1.0
    term = math.exp(
        _log_choose(pooled, successes)
        + _log_choose(n + m - pooled, n - successes)
        - _log_choose(n + m, n)
    )
    total = 0.0
    for count in range(successes, min(pooled, n) + 1):
        total += term
        term *= (pooled - count) * (n - count) / ((count + 1) * (m - pooled + count + 1))
        if term < total * 1e-12:
            break
    return min(total, 1.0)


def exceedance_p(successes: int, n: int, m: int) -> float:
    """P(``successes`` or more of n new values lie beyond the last of m old ones)."""
    if successes <= 0 or m == 0:
        return 1.0
    return math.exp(_log_choose(n, successes) - _log_choose(n + m, successes))


def weighted_p(tests: Sequence[tuple[float, float]]) -> float:
    """One p-value of several (weight, p) by the weighted Bonferroni rule.

    It holds however the tests depend on each other. Weights may follow from pooled counts; they
    are brought to a sum of 1.
    """
    total = sum(weight for weight, _ in tests)
    return min([1.0, *(p * total / weight for weight, p in tests)])


def adjusted_p(p_values: Sequence[float]) -> list[float]:
    """Benjamini-Hochberg's adjusted p-values, in the order given."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)[::-1]
    ranks = np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum.accumulate(np.minimum(p[order] * len(p) / ranks, 1.0))
    return [float(value) for value in adjusted]


def _log_choose(total: int, chosen: int) -> float:
    if not 0 <= chosen <= total:
        return -math.inf
    return math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)


def _distribution(values: Any) -> Floats:
    weights = np.asarray(values, dtype=float).ravel()
    total = weights.sum()
    if not np.isfinite(total) or total <= 0 or (weights < 0).any():
        raise ValueError(
            f"The distribution of {weights.size} cells sums to {total:g}; give counts or "
            "probabilities from 0 up, at least one above 0."
        )
    return weights / total


def _js_terms(p: Floats, q: Floats) -> Floats:
    middle = (p + q) / 2
    return (_entropy_terms(middle) * 2 - _entropy_terms(p) - _entropy_terms(q)) / 2


def _entropy_terms(p: Floats) -> Floats:
    return -p * np.log2(p, out=np.zeros_like(p), where=p > 0)
