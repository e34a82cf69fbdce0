"""From an open window to a finished one: its drift from the version's reference profile."""

from __future__ import annotations

import math
from typing import Any

from services.monitor.windows.open_window import OpenWindow
from utils.service.contracts.drift import DriftWindow, FeatureShift
from utils.training.drift_metrics import (
    MIN_ROWS,
    DriftMetrics,
    compare_profiles,
    profile_columns,
)
from utils.training.drift_metrics.profile import Profile

_MOST_FEATURES = 100  # kept of a window, the most drifted


class Judge:
    """Compares windows; the thresholds are in bits."""

    def __init__(self, warning_bits: float, critical_bits: float) -> None:
        self._warning = warning_bits
        self._critical = critical_bits

    def finish(
        self, window: OpenWindow, reference: dict[str, Any] | None, metrics: dict[str, float]
    ) -> DriftWindow:
        """Judge a window.

        Args:
            window: what was seen.
            reference: the version's profile; None where it has none.
            metrics: what feedback said of the version.
        """
        note, drift, missing = self._compare(window, reference)
        shifts = {} if drift is None else _shifts(drift)
        return DriftWindow(
            model_name=window.model_name,
            version=window.version,
            window_start=window.start,
            window_end=window.end,
            rows=window.rows,
            requests=window.requests,
            errors=window.errors,
            status="unknown" if drift is None else drift.status,
            score=max((shift.js for shift in shifts.values()), default=0.0),
            features=shifts,
            affected=() if drift is None else tuple(drift.affected_features[:_MOST_FEATURES]),
            missing=missing,
            metrics={**metrics, "error_rate": window.errors / window.requests},
            note=note,
            has_reference=reference is not None,
        )

    def _compare(
        self, window: OpenWindow, reference: dict[str, Any] | None
    ) -> tuple[str | None, DriftMetrics | None, tuple[str, ...]]:
        if reference is None:
            return "The version was registered without a reference profile.", None, ()
        if window.rows < MIN_ROWS:
            return f"{window.rows} rows are too few for a verdict; {MIN_ROWS} are.", None, ()
        columns = window.padded_columns()
        known = reference["features"]
        missing = tuple(
            name for name in known if name not in columns and not Profile.is_optional(name)
        )
        common = {name: values for name, values in columns.items() if name in known}
        if not common:
            return "The predictions have no feature of the reference profile.", None, missing
        try:
            current = profile_columns(common, reference)
            kept = {**reference, "features": {name: known[name] for name in common}}
            drift = compare_profiles(kept, current, self._warning, self._critical)
        except (TypeError, ValueError) as error:
            return f"The predictions can't be compared with the reference: {error}", None, missing
        if "insufficient_rows" in drift.details:
            return f"The reference has fewer than {MIN_ROWS} rows.", None, missing
        return None, drift, missing


def _shifts(drift: DriftMetrics) -> dict[str, FeatureShift]:
    names = [name.removesuffix(".js") for name in drift.details if name.endswith(".js")]
    found = {
        name: FeatureShift(
            js=drift.details[f"{name}.js_debiased"], p=drift.details[f"{name}.p_adjusted"]
        )
        for name in names
    }
    worst = sorted(found.items(), key=lambda item: -item[1].js)[:_MOST_FEATURES]
    return {name: shift for name, shift in worst if math.isfinite(shift.js)}
