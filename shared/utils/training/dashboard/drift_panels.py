"""The four panels of a run's drift."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from utils.training.dashboard.drawing import (
    BLUE,
    GREEN,
    ORANGE,
    VERMILION,
    add_legend,
    plain_numbers,
    say_why_empty,
    short_names,
)
from utils.training.dashboard.inputs import DriftSeries

_STATUSES = {
    "healthy": (GREEN, "o", ""),
    "warning": (ORANGE, "^", "//"),
    "critical": (VERMILION, "X", "xx"),
}
_MOST_FEATURES = 10
_MOST_LABELS = 8
_NOTHING = "No profiles were compared."
_NO_FEATURES = "The comparisons carry no values of single features."


def divergence_panel(axes: Axes, drift: DriftSeries) -> None:
    """The divergence of each comparison, its status, and the thresholds."""
    axes.set_title("JS divergence", loc="left")
    if not drift.points:
        say_why_empty(axes, _NOTHING)
        return
    values = [point.js_divergence for point in drift.points]
    axes.plot(range(len(values)), values, color=BLUE, linewidth=1.2, zorder=2)
    for status, (color, marker, _) in _STATUSES.items():
        places = [i for i, point in enumerate(drift.points) if point.status == status]
        if places:
            heights = [values[i] for i in places]
            axes.scatter(places, heights, color=color, marker=marker, label=status, zorder=3)
    warning, critical = drift.warning, drift.critical
    axes.axhline(warning, color=ORANGE, linestyle="--", label=f"warning ({warning:g})")
    axes.axhline(critical, color=VERMILION, linestyle="--", label=f"critical ({critical:g})")
    axes.set_ylabel("greatest of a feature (bits)")
    axes.set_ylim(bottom=0.0, top=1.25 * max(*values, critical))
    plain_numbers(axes)
    _over_comparisons(axes, drift)
    add_legend(axes)


def features_panel(axes: Axes, drift: DriftSeries) -> None:
    """The features of the latest comparison that diverge most."""
    axes.set_title("Most drifted features, latest comparison", loc="left")
    latest = drift.points[-1].features if drift.points else {}
    if not latest:
        say_why_empty(axes, _NO_FEATURES if drift.points else _NOTHING)
        return
    names = sorted(latest, key=lambda name: latest[name])[-_MOST_FEATURES:]
    short = _short_names(drift)
    affected = set(drift.points[-1].affected_features)
    colors = [VERMILION if name in affected else BLUE for name in names]
    hatches = ["xx" if name in affected else "" for name in names]
    axes.barh(
        [short[name] for name in names],
        [latest[name] for name in names],
        color=colors,
        hatch=hatches,
        edgecolor="white",
    )
    warning, critical = drift.warning, drift.critical
    axes.axvline(warning, color=ORANGE, linestyle="--", label=f"warning ({warning:g})")
    axes.axvline(critical, color=VERMILION, linestyle="--", label=f"critical ({critical:g})")
    axes.set_xlabel("JS divergence (bits)")
    axes.set_xlim(left=0.0)
    handles = [Patch(color=BLUE, label="not significant")]
    if affected:
        handles.append(Patch(facecolor=VERMILION, hatch="xx", edgecolor="white", label="drifted"))
    axes.legend(handles=[*handles, *axes.get_legend_handles_labels()[0]], loc="lower right")


def _short_names(drift: DriftSeries) -> dict[str, str]:
    """One short form for each feature of the series: the same in every panel."""
    return short_names(name for point in drift.points for name in point.features)


def heatmap_panel(axes: Axes, drift: DriftSeries) -> None:
    """Which features diverged when."""
    axes.set_title("Features over time", loc="left")
    greatest: dict[str, float] = {}
    for point in drift.points:
        for name, value in point.features.items():
            greatest[name] = max(value, greatest.get(name, 0.0))
    if not greatest:
        say_why_empty(axes, _NO_FEATURES if drift.points else _NOTHING)
        return
    names = sorted(greatest, key=lambda name: -greatest[name])[:_MOST_FEATURES]
    cells = [[point.features.get(name, np.nan) for point in drift.points] for name in names]
    top = max(drift.critical, *greatest.values())
    image = axes.imshow(cells, aspect="auto", cmap="cividis", vmin=0.0, vmax=top)
    short = _short_names(drift)
    axes.set_yticks(range(len(names)), [short[name] for name in names])
    axes.grid(visible=False)
    _over_comparisons(axes, drift)
    axes.figure.colorbar(image, ax=axes, label="JS divergence (bits)")


def status_panel(axes: Axes, drift: DriftSeries) -> None:
    """How many features drifted, coloured by what was made of it."""
    axes.set_title("Drifted features and status", loc="left")
    if not drift.points:
        say_why_empty(axes, _NOTHING)
        return
    counts = [len(point.affected_features) for point in drift.points]
    for status, (color, _, hatch) in _STATUSES.items():
        places = [i for i, point in enumerate(drift.points) if point.status == status]
        # A bar of no features is a thin one, so that its status still shows.
        heights = [max(counts[i], 0.06 * max(*counts, 1)) for i in places]
        if places:
            axes.bar(places, heights, color=color, hatch=hatch, edgecolor="white", label=status)
    axes.set_ylabel("drifted features")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(0.0, 1.3 * max(*counts, 1))
    _over_comparisons(axes, drift)
    axes.legend(loc="upper left", ncols=len(_STATUSES))


def _over_comparisons(axes: Axes, drift: DriftSeries) -> None:
    """Label the comparisons by epoch or time, as many of them as there is room for."""
    number = len(drift.points)
    most = _MOST_LABELS if drift.axis != "timestamp" else _MOST_LABELS // 2
    places = list(range(0, number, max(1, -(-number // most))))
    axes.set_xticks(places, [drift.points[i].label for i in places])
    axes.set_xlim(-0.6, number - 0.4)
    axes.set_xlabel(drift.axis if drift.axis != "timestamp" else "time")


DRIFT_PANELS = (divergence_panel, features_panel, heatmap_panel, status_panel)
