"""Drift between two profiles: how much, how surely, and what follows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from utils.training.drift_metrics.feature_drift import FeatureDrift, feature_drift
from utils.training.drift_metrics.profile import Profile
from utils.training.drift_metrics.statistics import adjusted_p

Status = Literal["healthy", "warning", "critical"]

MIN_ROWS = 100  # in either profile, for a verdict
SIGNIFICANCE = 0.01  # false discovery rate of Benjamini and Hochberg, over all features


@dataclass
class DriftMetrics:
    """The drift of current data from a reference.

    ``js_divergence`` is the greatest raw JS divergence of a feature, in bits. ``status`` follows
    the debiased one of the features that drifted significantly; ``affected_features`` lists these,
    the most drifted first. ``timestamp`` is ISO 8601 in UTC.

    ``details`` holds for each feature ``<feature>.js`` and ``.js_debiased`` (bits), ``.p``,
    ``.p_adjusted``, ``.n`` and ``.n_reference`` (rows), and flags, 1.0 where they are set:
    ``watch`` (significant, but below the warning level), ``insufficient_rows`` (no verdict),
    ``<feature>.absent`` (missing in the current data) and ``<feature>.new`` (in the reference).
    """

    js_divergence: float
    status: Status
    affected_features: list[str]
    timestamp: str
    details: dict[str, float] = field(default_factory=dict)


def compare_profiles(
    reference: dict[str, Any],
    current: dict[str, Any],
    warning: float = 0.1,
    critical: float = 0.2,
) -> DriftMetrics:
    """Measure how far current data drifted from a reference.

    A feature drifted where its p-value is significant among those of all features (Benjamini and
    Hochberg at 1 %). The status is ``warning`` or ``critical`` where the debiased JS divergence of
    such a feature reaches the threshold. An input that the current data lack counts as missing in
    every row; labels, predictions and embeddings are compared where both profiles have them.

    Args:
        reference: a profile.
        current: a profile of the same modality, made with or without the reference.
        warning: in bits.
        critical: in bits, not below ``warning``.

    Raises:
        ValueError: a profile is of another version or modality or holds no rows, or the thresholds
            are not in order.
    """
    if not 0 <= warning <= critical:
        raise ValueError(
            f"warning is {warning} and critical is {critical}; give 0 <= warning <= critical."
        )
    left, right = Profile.from_dict(reference), Profile.from_dict(current)
    left.check_comparable(right)
    drifts = {
        name: feature_drift(feature, right.features.get(name), right.rows)
        for name, feature in left.features.items()
        if name in right.features or not left.is_optional(name)
    }
    details, affected = _judge(drifts)
    details |= _presence(left, right)
    if min(left.rows, right.rows) < MIN_ROWS:
        details["insufficient_rows"] = 1.0
        affected = []
    status = _status([drifts[name].js_debiased for name in affected], warning, critical)
    if affected and status == "healthy":
        details["watch"] = 1.0
    return DriftMetrics(
        js_divergence=max((drift.js for drift in drifts.values()), default=0.0),
        status=status,
        affected_features=affected,
        timestamp=datetime.now(UTC).isoformat(),
        details=details,
    )


def _judge(drifts: dict[str, FeatureDrift]) -> tuple[dict[str, float], list[str]]:
    """The details of every feature, and the names of those that drifted, by their divergence."""
    details: dict[str, float] = {}
    affected = []
    adjusted = adjusted_p([drift.p for drift in drifts.values()])
    for (name, drift), p_adjusted in zip(drifts.items(), adjusted, strict=True):
        details |= drift.details(name, p_adjusted)
        if p_adjusted <= SIGNIFICANCE:
            affected.append(name)
    return details, sorted(affected, key=lambda name: -drifts[name].js_debiased)


def _status(divergences: list[float], warning: float, critical: float) -> Status:
    worst = max(divergences, default=-1.0)
    if worst >= critical:
        return "critical"
    return "warning" if worst >= warning else "healthy"


def _presence(reference: Profile, current: Profile) -> dict[str, float]:
    absent = {f"{name}.absent": 1.0 for name in reference.features if name not in current.features}
    new = {f"{name}.new": 1.0 for name in current.features if name not in reference.features}
    return absent | new
