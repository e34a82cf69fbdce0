"""The drift of one feature, for each kind of feature."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from utils.training.drift_metrics.categories import CategoricalFeature
from utils.training.drift_metrics.embeddings import (
    EmbeddingFeature,
    cross_fitted_scores,
    maximum_mean_discrepancy,
)
from utils.training.drift_metrics.features import Feature
from utils.training.drift_metrics.numeric import NumericFeature
from utils.training.drift_metrics.numeric_sketch import Ints, quantile_groups
from utils.training.drift_metrics.statistics import (
    chi_square_p,
    exceedance_p,
    expected_js,
    hypergeometric_p,
    js_divergence,
    location_p,
    weighted_p,
)
from utils.training.drift_metrics.tokens import TokenFeature

_BINS = 10  # of the JS divergence: quantiles of the reference
_MIN_VECTORS = 20  # of each sample, to fit and to judge a classifier
_MIN_EXPECTED = 5  # rows of a cell, in the smaller sample, for the chi-square distribution
_LOCATION_WEIGHT, _SHAPE_WEIGHT, _TAIL_WEIGHT = 0.7, 0.25, 0.025


@dataclass(frozen=True)
class FeatureDrift:
    """One feature's drift: JS divergence raw and less its chance level (bits), p-value, rows."""

    js: float
    js_debiased: float
    p: float
    n: int
    n_reference: int
    extras: dict[str, float] = field(default_factory=dict)

    def details(self, name: str, p_adjusted: float) -> dict[str, float]:
        """The numbers under flat keys."""
        values = {
            "js": self.js,
            "js_debiased": self.js_debiased,
            "p": self.p,
            "p_adjusted": p_adjusted,
            "n": float(self.n),
            "n_reference": float(self.n_reference),
            **self.extras,
        }
        return {f"{name}.{key}": value for key, value in values.items()}


def feature_drift(reference: Feature, current: Feature | None, rows: int) -> FeatureDrift:
    """Compare a feature with its current values; None stands for ``rows`` missing ones.

    Raises:
        ValueError: the two are of different kinds.
    """
    if current is None:
        current = reference.absent(rows)
    if isinstance(reference, NumericFeature) and isinstance(current, NumericFeature):
        return _numeric(reference, current)
    if isinstance(reference, CategoricalFeature) and isinstance(current, CategoricalFeature):
        return _categorical(reference, current)
    if isinstance(reference, TokenFeature) and isinstance(current, TokenFeature):
        return _tokens(reference, current)
    if isinstance(reference, EmbeddingFeature) and isinstance(current, EmbeddingFeature):
        return _embeddings(reference, current)
    raise ValueError(
        f"A feature is {reference.kind} in the reference and {current.kind} in the current data; "
        "profile the current data with `reference=`, which reads them as the reference's kinds."
    )


def _numeric(reference: NumericFeature, current: NumericFeature) -> FeatureDrift:
    """Tests of location, shape and both tails, over quantile cells of the reference."""
    left, right = reference.paired_cells(current)
    starts = _bin_starts(left)
    missing = reference.missing, current.missing
    left_bins = np.append(np.add.reduceat(left, starts), missing[0])
    right_bins = np.append(np.add.reduceat(right, starts), missing[1])
    n, m = int(right.sum()), int(left.sum())
    tests = [
        (_LOCATION_WEIGHT, location_p(left, right)),
        (_SHAPE_WEIGHT, _cells_p(_fold_tails(left_bins), _fold_tails(right_bins))),
    ]
    tests += [
        (_TAIL_WEIGHT, exceedance_p(int(right[tail]), n, m))
        for tail in (0, -1)
        if right[tail] and not left[tail]
    ]
    return _drift(left_bins, right_bins, weighted_p(tests))


def _categorical(reference: CategoricalFeature, current: CategoricalFeature) -> FeatureDrift:
    left, right = reference.paired_cells(current)
    left, right = np.append(left, reference.missing), np.append(right, current.missing)
    return _drift(left, right, _cells_p(left, right))


def _tokens(reference: TokenFeature, current: TokenFeature) -> FeatureDrift:
    """The chance level counts tokens as far as they are independent of their document."""
    left, right = reference.paired_cells(current)
    extras = {"unknown_share": reference.unknown_share(current)}
    if min(reference.total, current.total) == 0:
        return FeatureDrift(0.0, 0.0, 1.0, current.rows, reference.rows, extras)
    js = js_divergence(left, right)
    debiased = _debiased_tokens(reference, current, left, right)
    p = reference.p_value(current)
    return FeatureDrift(js, debiased, p, current.rows, reference.rows, extras)


def _debiased_tokens(
    reference: TokenFeature, current: TokenFeature, left: Ints, right: Ints
) -> float:
    """The divergence, less chance: more texts of the same kind hold tokens not seen before."""
    moved = min(reference.unseen_tokens(), int(left[-2]))
    expected = left + np.array([*[0] * (len(left) - 2), -moved, moved])
    effective = [
        np.rint(cells / max(feature.design_effect, 1.0)).astype(np.int64)
        for cells, feature in ((expected, reference), (right, current))
    ]
    return max(0.0, js_divergence(expected, right) - expected_js(*effective))


def _embeddings(reference: EmbeddingFeature, current: EmbeddingFeature) -> FeatureDrift:
    """Two tests; the JS divergence is that of the classifier's scores, a lower bound of the whole.

    Raises:
        ValueError: the embeddings have different widths.
    """
    reference.check_width(current)
    left, right = reference.vectors.astype(float), current.vectors.astype(float)
    if min(len(left), len(right)) < _MIN_VECTORS:
        return FeatureDrift(0.0, 0.0, 1.0, current.rows, reference.rows)
    mmd, mmd_p = maximum_mean_discrepancy(left, right)
    left_scores, right_scores, classifier_p = cross_fitted_scores(left, right)
    scores = _numeric(
        NumericFeature.empty().add(left_scores), NumericFeature.empty().add(right_scores)
    )
    extras = {"mmd": mmd, "mmd_p": mmd_p, "classifier_p": classifier_p}
    p = weighted_p([(1, mmd_p), (1, classifier_p)])
    return FeatureDrift(scores.js, scores.js_debiased, p, current.rows, reference.rows, extras)


def _drift(left: Ints, right: Ints, p: float) -> FeatureDrift:
    n, m = int(right.sum()), int(left.sum())
    if min(n, m) == 0:
        return FeatureDrift(0.0, 0.0, 1.0, n, m)
    js = js_divergence(left, right)
    return FeatureDrift(js, max(0.0, js - expected_js(left, right)), p, n, m)


def _bin_starts(cells: Ints) -> Ints:
    """Where the bins of the JS divergence start: about ten, between the two overflow cells."""
    if len(cells) < 3:  # noqa: PLR2004 - an inner cell and two overflows
        return np.arange(len(cells))
    groups = quantile_groups(cells[1:-1], _BINS)
    inner = 1 + np.flatnonzero(np.diff(groups, prepend=-1))
    return np.concatenate([[0], inner, [len(cells) - 1]])


def _fold_tails(bins: Ints) -> Ints:
    """Count the overflow bins with their neighbours: they hold nothing of the reference."""
    if len(bins) < 4:  # noqa: PLR2004 - an inner bin, two overflows and the missing rows
        return bins
    folded = bins[1:-2].copy()
    folded[0] += bins[0]
    folded[-1] += bins[-2]
    return np.append(folded, bins[-1])


def _cells_p(left: Ints, right: Ints) -> float:
    """P-value over unordered cells: chi-square, and exact tests where cells are sparse."""
    n, m = int(right.sum()), int(left.sum())
    if min(n, m) == 0:
        return 1.0
    pooled = left + right
    sparse = (pooled > 0) & (pooled * min(n, m) < _MIN_EXPECTED * (n + m))
    rare_left, rare_right = int(left[sparse].sum()), int(right[sparse].sum())
    rare = rare_left + rare_right
    dense_left, dense_right = np.append(left[~sparse], 0), np.append(right[~sparse], 0)
    tests = []
    if rare * min(n, m) >= _MIN_EXPECTED * (n + m):
        dense_left[-1], dense_right[-1] = rare_left, rare_right
    elif rare:
        tests.append((0.2, hypergeometric_p(rare_right, rare, n, m)))
    tests.append((0.7, chi_square_p(dense_left, dense_right)))
    worst = _rarest_p(left[sparse], right[sparse], n, m)
    if np.count_nonzero(sparse) > 1:
        tests.append((0.1, worst))
    return weighted_p(tests)


def _rarest_p(left: Ints, right: Ints, n: int, m: int) -> float:
    """The most surprising sparse cell, among all that could be surprising (Bonferroni)."""
    pooled = left + right
    candidates = np.flatnonzero(pooled >= _MIN_EXPECTED)
    p_values = [hypergeometric_p(int(right[cell]), int(pooled[cell]), n, m) for cell in candidates]
    return min([1.0, *(p * len(candidates) for p in p_values)])
