"""The watch after a promotion: is the new version worse than the one before it?"""

from __future__ import annotations

from statistics import fmean

from services.monitor.models import Production
from services.monitor.settings import MonitorSettings
from utils.service.contracts.drift import DriftWindow
from utils.training.drift_metrics import MIN_ROWS
from utils.training.metric_direction import direction_of

_FORMER_WINDOWS = 5  # the last ones of the former version are what the new one is held against
_ERROR_RATE = "error_rate"


def reason_to_roll_back(
    window: DriftWindow,
    production: Production,
    windows: list[DriftWindow],
    settings: MonitorSettings,
) -> str | None:
    """Why a promotion should be taken back, in a sentence; None where nothing says so.

    Errors and performance count, drift does not: a version is no worse for what it is asked.

    Args:
        window: just finished.
        production: the version of the window, and the one before it.
        windows: those that the model had before, newest first.
        settings: how much worse, and in how many windows.
    """
    if production.former is None or window.requests < MIN_ROWS:
        return None
    after = [
        one
        for one in windows
        if one.version == window.version and one.window_end > production.since
    ]
    if len(after) >= settings.rollback_windows:
        return None
    before = [one for one in windows if one.version == production.former.version]
    former = _means(before[:_FORMER_WINDOWS])
    for name, value in window.metrics.items():
        if name in former and _is_worse(name, value, former[name], settings):
            return (
                f"{name} of version {window.version} is {value:.4g} in a window of "
                f"{window.requests} requests after its promotion, and was {former[name]:.4g} with "
                f"version {production.former.version}."
            )
    return None


def _means(windows: list[DriftWindow]) -> dict[str, float]:
    names = {name for window in windows for name in window.metrics}
    return {name: fmean(w.metrics[name] for w in windows if name in w.metrics) for name in names}


def _is_worse(name: str, value: float, former: float, settings: MonitorSettings) -> bool:
    if name == _ERROR_RATE:
        return value - former > settings.rollback_error_rise
    direction = direction_of(name)
    if direction is None:
        return False
    loss = former - value if direction == "higher" else value - former
    return loss > settings.rollback_performance_drop * abs(former)
