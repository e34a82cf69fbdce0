"""The hand that all panels share: colours, lines, thresholds, legends, and words for emptiness."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from utils.training.dashboard.inputs import Best

# Okabe and Ito's palette, which people with every kind of colour vision can tell apart.
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
SKY, PURPLE, GREY = "#56B4E9", "#CC79A7", "#6B6B6B"

STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "font.size": 10,
    "grid.alpha": 0.3,
    "legend.fontsize": 9,
    "legend.framealpha": 0.85,
}
_LOG_RATIO = 50.0  # between the largest and smallest value, from which a log axis reads better
_SHOWN_OF_PREFIX = 4  # characters before the place where names begin to differ
_SHORT_RUN = 30  # epochs up to which every one is marked


@dataclass(frozen=True)
class Line:
    """One curve of a panel."""

    column: str
    label: str
    color: str
    marker: str
    linestyle: str = "-"


def draw_lines(
    axes: Axes, frame: pd.DataFrame, lines: Sequence[Line], best: Best | None = None
) -> bool:
    """Draw the columns over the epochs; False where not one of them holds a finite value.

    Epochs with NaN or infinity are marked by crosses at the foot of the panel.
    """
    there = [line for line in lines if line.column in frame.columns]
    finite = {line.column: np.isfinite(frame[line.column].to_numpy()) for line in there}
    there = [line for line in there if finite[line.column].any()]
    for line in there:
        values = frame[line.column].where(finite[line.column])
        axes.plot(
            frame["epoch"],
            values,
            label=line.label,
            color=line.color,
            linestyle=line.linestyle,
            marker=line.marker if len(frame) <= _SHORT_RUN else None,
            markersize=4,
        )
    if not there:
        return False
    if best is not None:
        _mark_best(axes, best, has_value=any(line.column == best.column for line in there))
    _mark_gaps(axes, frame, [finite[line.column] for line in there])
    over_epochs(axes, frame)
    return True


def _mark_best(axes: Axes, best: Best, has_value: bool) -> None:
    """A star at the monitored value; in the other panels a line at its epoch."""
    if not has_value:
        label = f"best epoch ({best.epoch:g})"
        axes.axvline(best.epoch, color=GREEN, linestyle=":", linewidth=1.5, label=label)
        return
    label = f"best: epoch {best.epoch:g} ({best.value:.4g})"
    axes.plot(
        best.epoch,
        best.value,
        marker="*",
        markersize=14,
        linestyle="none",
        color=GREEN,
        markeredgecolor="black",
        label=label,
        zorder=5,
    )


def _mark_gaps(axes: Axes, frame: pd.DataFrame, finite: list[np.ndarray]) -> None:
    gaps = frame["epoch"][~np.logical_and.reduce(finite)]
    if len(gaps):
        axes.plot(
            gaps,
            np.full(len(gaps), 0.03),
            transform=axes.get_xaxis_transform(),
            marker="x",
            linestyle="none",
            color="black",
            label="NaN or Inf",
        )


def draw_threshold(axes: Axes, value: float, label: str, color: str) -> None:
    """Draw a level across the panel, unless it lies so far off that it would flatten the rest."""
    low, high = axes.get_ylim()
    if value > 10 * max(abs(low), abs(high)):
        axes.plot([], [], linestyle="--", color=color, label=f"{label}, above the panel")
        return
    axes.axhline(value, linestyle="--", linewidth=1.2, color=color, label=label)


def over_epochs(axes: Axes, frame: pd.DataFrame) -> None:
    """Make the x axis one of whole epochs."""
    axes.set_xlabel("epoch")
    first, last = frame["epoch"].min(), frame["epoch"].max()
    margin = max(0.5, 0.02 * (last - first))
    room_for_legend = 1.0 if first == last else 0.0
    axes.set_xlim(first - margin, last + margin + room_for_legend)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))


def plain_numbers(axes: Axes) -> None:
    """Whole numbers at the ticks: a multiplier above the axis would lie on the title."""
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))


def log_where_wide(axes: Axes, values: pd.DataFrame) -> None:
    """A logarithmic axis where positive values span orders of magnitude."""
    numbers = values.to_numpy(dtype=float)
    numbers = numbers[np.isfinite(numbers)]
    if len(numbers) and numbers.min() > 0 and numbers.max() / numbers.min() > _LOG_RATIO:
        axes.set_yscale("log")
        axes.set_ylabel(f"{axes.get_ylabel()} (log)")
    else:
        plain_numbers(axes)


def say_why_empty(axes: Axes, sentence: str) -> None:
    """An empty panel holds a sentence instead of axes."""
    axes.set(xticks=[], yticks=[], xlabel="", ylabel="", facecolor="#F4F4F4")
    axes.spines[:].set_visible(False)
    axes.text(
        0.5,
        0.5,
        textwrap.fill(sentence, 38),
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=GREY,
        fontsize=11,
    )


def add_legend(axes: Axes) -> None:
    """Explain the curves, where they are least in the way."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best")


def short_names(names: Iterable[str], width: int = 24) -> dict[str, str]:
    """Names that fit beside an axis, no two of them alike.

    The middle gives way; where that makes names alike, so does what they begin with in common.
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(_without_middle(name, width), []).append(name)
    short: dict[str, str] = {}
    for middle_less, group in groups.items():
        if len(group) == 1:
            short[group[0]] = middle_less
            continue
        shared = os.path.commonprefix(group)  # noqa: RUF071 - by characters is what is meant
        start = max(0, len(shared) - _SHOWN_OF_PREFIX)
        for number, name in enumerate(group, 1):
            rest = _without_end(f"…{name[start:]}", width)
            short[name] = rest if rest not in short.values() else f"{rest[: width - 5]} ({number})"
    return short


def _without_middle(name: str, width: int) -> str:
    if len(name) <= width:
        return name
    half = (width - 1) / 2
    return f"{name[: math.ceil(half)]}…{name[-math.floor(half) :]}"


def _without_end(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: width - 1]}…"
