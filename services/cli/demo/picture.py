"""Drift and accuracy over time in one picture, with what happened as vertical lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from services.cli.demo.client import Answer
from services.cli.demo.drift_log import DriftPoint
from services.cli.demo.tallies import by_interval
from services.cli.demo.timeline import Event
from utils.training.dashboard.drawing import BLUE, GREEN, GREY, ORANGE, STYLE, VERMILION

_SIZE_INCHES = (10.0, 6.0)
_DPI = 130
_INTERVAL_SECONDS = 2.0  # of the accuracy's points
_TITLE = "Drift is noticed, a new version is trained and takes over, with no hand in it"
_PAPER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
_COLOURS = {"healthy": GREEN, "warning": ORANGE, "critical": VERMILION}


@dataclass(frozen=True)
class Thresholds:
    """Of the drift's status, in bits."""

    warning: float
    critical: float


def draw(
    path: Path,
    *,
    started: float,
    drift: Sequence[DriftPoint],
    answers: Sequence[Answer],
    events: Sequence[Event],
    thresholds: Thresholds,
) -> Path:
    """Save the picture as a PNG.

    Args:
        path: where.
        started: the Unix time that is second 0.
        drift: the windows.
        answers: of the client.
        events: those with a mark become lines.
        thresholds: drawn into the upper panel.
    """
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        figure.suptitle(_TITLE, fontweight="bold")
        upper, lower = figure.subplots(2, 1, sharex=True)
        _draw_drift(upper, drift, started, thresholds)
        _draw_accuracy(lower, answers, started)
        for event in events:
            if event.mark is not None:
                _mark(upper, lower, event)
        lower.set_xlabel("seconds since the start")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="png", dpi=_DPI)
    return path


def _draw_drift(
    axes: Axes, drift: Sequence[DriftPoint], started: float, thresholds: Thresholds
) -> None:
    for level, name in ((thresholds.warning, "warning"), (thresholds.critical, "critical")):
        axes.axhline(level, color=_COLOURS[name], linestyle=":", linewidth=1.2)
        axes.annotate(
            name,
            (0.995, level),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            color=_COLOURS[name],
            fontsize=9,
        )
    for version in dict.fromkeys(point.version for point in drift):
        points = [point for point in drift if point.version == version]
        seconds = [point.at - started for point in points]
        scores = [point.score for point in points]
        axes.plot(seconds, scores, color=GREY, linewidth=1)
        axes.scatter(seconds, scores, c=[_COLOURS[p.status] for p in points], s=28, zorder=3)
        axes.annotate(
            f"version {version}",
            (seconds[0], scores[0]),
            xytext=(0, 8),
            textcoords="offset points",
            fontsize=9,
            bbox=_PAPER,
        )
    highest = max([thresholds.critical, *(point.score for point in drift)])
    axes.set_ylim(-0.02 * highest, 1.15 * highest)
    axes.set_ylabel("drift (JS, bits)")


def _draw_accuracy(axes: Axes, answers: Sequence[Answer], started: float) -> None:
    for label, is_new, colour, marker in (
        ("digits of the old scanner", False, BLUE, "o"),
        ("digits of the new scanner", True, VERMILION, "s"),
    ):
        middles, shares = by_interval(answers, _INTERVAL_SECONDS, is_new=is_new)
        if middles:
            seconds = [middle - started for middle in middles]
            percent = [100 * share for share in shares]
            axes.plot(
                seconds,
                percent,
                color=colour,
                marker=marker,
                markersize=3,
                linewidth=1.2,
                label=label,
            )
    axes.set_ylim(-3, 103)
    axes.set_ylabel("read right (%)")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="center left")


def _mark(upper: Axes, lower: Axes, event: Event) -> None:
    for axes in (upper, lower):
        axes.axvline(event.seconds, color=GREY, linestyle="--", linewidth=1)
    upper.annotate(
        event.mark or "",
        (event.seconds, 1.02),
        xycoords=("data", "axes fraction"),
        rotation=30,
        ha="left",
        va="bottom",
        fontsize=9,
    )
