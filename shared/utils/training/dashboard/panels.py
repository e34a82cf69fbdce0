"""The six panels of a run's metrics."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from utils.training.dashboard.drawing import (
    BLUE,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    Line,
    add_legend,
    draw_lines,
    draw_threshold,
    log_where_wide,
    over_epochs,
    plain_numbers,
    say_why_empty,
)
from utils.training.dashboard.inputs import View

_MINUTE, _HOUR = 60.0, 3600.0


def loss_panel(axes: Axes, view: View) -> None:
    """Training and validation loss; the best epoch has a star."""
    axes.set_title("Loss", loc="left")
    axes.set_ylabel("loss")
    lines = [
        Line("train_loss", "training", BLUE, "o"),
        Line("val_loss", "validation", VERMILION, "s", "--"),
    ]
    if not draw_lines(axes, view.frame, lines, view.best):
        say_why_empty(axes, "No finite loss was logged.")
        return
    log_where_wide(axes, view.frame.filter(["train_loss", "val_loss"]))
    add_legend(axes)


def accuracy_panel(axes: Axes, view: View) -> None:
    """Accuracy in percent, or perplexity for a task that has no accuracy."""
    lines = [
        Line("train_accuracy", "training", BLUE, "o"),
        Line("val_accuracy", "validation", VERMILION, "s", "--"),
    ]
    axes.set_title("Accuracy", loc="left")
    axes.set_ylabel("accuracy (%)")
    if draw_lines(axes, view.frame, lines, view.best):
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
    elif not _perplexity(axes, view):
        say_why_empty(axes, "No accuracy was logged; the task may have none.")
        return
    add_legend(axes)


def _perplexity(axes: Axes, view: View) -> bool:
    lines = [
        Line("train_perplexity", "training", BLUE, "o"),
        Line("val_perplexity", "validation", VERMILION, "s", "--"),
    ]
    if not draw_lines(axes, view.frame, lines, view.best):
        return False
    axes.set_title("Perplexity", loc="left")
    axes.set_ylabel("perplexity")
    log_where_wide(axes, view.frame.filter(["train_perplexity", "val_perplexity"]))
    return True


def gap_panel(axes: Axes, view: View) -> None:
    """How much worse the model is on data it has not seen."""
    axes.set_title("Generalisation gap", loc="left")
    axes.set_ylabel("validation − training loss")
    gaps = view.frame.reindex(columns=["epoch", "train_loss", "val_loss"])
    lines = [Line("gap", "gap (rising: overfitting)", PURPLE, "o")]
    gaps["gap"] = gaps["val_loss"] - gaps["train_loss"]
    if not draw_lines(axes, gaps, lines, view.best):
        say_why_empty(axes, "The gap needs a finite training and validation loss of one epoch.")
        return
    axes.axhline(0.0, color=GREY, linewidth=1.0, label="no gap")
    plain_numbers(axes)
    add_legend(axes)


def learning_rate_panel(axes: Axes, view: View) -> None:
    """The schedule, as it was at the end of each epoch."""
    axes.set_title("Learning rate", loc="left")
    axes.set_ylabel("learning rate")
    line = Line("learning_rate", "at the end of the epoch", SKY, "o")
    if not draw_lines(axes, view.frame, [line]):
        say_why_empty(axes, "No learning rate was logged.")
        return
    log_where_wide(axes, view.frame.filter(["learning_rate"]))
    add_legend(axes)


def gradient_panel(axes: Axes, view: View) -> None:
    """The greatest gradient norm of each epoch, against clipping and explosion."""
    axes.set_title("Gradient norm", loc="left")
    axes.set_ylabel("L2 norm before clipping")
    line = Line("gradient_norm", "greatest of the epoch", BLUE, "o")
    if not draw_lines(axes, view.frame, [line]):
        say_why_empty(axes, "No finite gradient norm was logged.")
        return
    threshold = view.settings.explosion_threshold
    draw_threshold(axes, threshold, f"explosion ({threshold:g})", VERMILION)
    if view.settings.gradient_clip_norm is not None:
        clip = view.settings.gradient_clip_norm
        draw_threshold(axes, clip, f"clipped to {clip:g}", ORANGE)
    log_where_wide(axes, view.frame.filter(["gradient_norm"]))
    add_legend(axes)


def duration_panel(axes: Axes, view: View) -> None:
    """How long each epoch took, and all together."""
    axes.set_title("Time per epoch", loc="left")
    durations = view.frame.get("epoch_duration", pd.Series(dtype=float))
    finite = durations.where(np.isfinite(durations))
    if not finite.notna().any():
        say_why_empty(axes, "No epoch's duration was logged.")
        return
    unit, seconds = _unit(float(finite.max()))
    total_unit, total_seconds = _unit(float(finite.sum()))
    total = f"total {finite.sum() / total_seconds:.3g} {total_unit}"
    axes.bar(view.frame["epoch"], finite / seconds, color=SKY, width=0.8, label=total)
    axes.set_ylabel(f"time ({unit})")
    over_epochs(axes, view.frame)
    plain_numbers(axes)
    axes.set_ylim(top=1.25 * axes.get_ylim()[1])
    add_legend(axes)


def _unit(seconds: float) -> tuple[str, float]:
    if seconds < 2 * _MINUTE:
        return "s", 1.0
    return ("min", _MINUTE) if seconds < 2 * _HOUR else ("h", _HOUR)


PANELS = (
    loss_panel,
    accuracy_panel,
    gap_panel,
    learning_rate_panel,
    gradient_panel,
    duration_panel,
)
