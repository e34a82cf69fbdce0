"""Where the panels stand, and the figure that they stand in."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable

import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from utils.training.dashboard.drawing import STYLE
from utils.training.dashboard.drift_panels import DRIFT_PANELS
from utils.training.dashboard.inputs import DriftSeries, Settings, View, best_epoch
from utils.training.dashboard.panels import PANELS

_WIDTH_INCHES = 15.0
_ROW_INCHES = 4.2
_HEADER_INCHES = 1.0
_TITLE_WIDTH = 90  # characters
_FOOTER_WIDTH = 180


class DashboardFigure(Figure):
    """A figure that a notebook shows without pyplot having set it up."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=72)
        return buffer.getvalue()


def draw_figure(
    frame: pd.DataFrame, drift: DriftSeries | None, settings: Settings, title: str
) -> Figure:
    """Six panels, and four more where there is a drift series (which may be empty)."""
    # Whatever style the user has set, the picture looks the same, and the style stays theirs.
    with matplotlib.style.context(["default", STYLE]):
        num_rows = 2 if drift is None else 4
        spacing = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
        height = _HEADER_INCHES + num_rows * _ROW_INCHES
        figure = DashboardFigure(figsize=(_WIDTH_INCHES, height), layout=spacing)
        figure.suptitle(textwrap.fill(title, _TITLE_WIDTH), fontsize=17, fontweight="bold")
        figure.supxlabel(textwrap.fill(settings.footer, _FOOTER_WIDTH), fontsize=9)
        parts = figure.subfigures(num_rows // 2, 1, squeeze=False)[:, 0]
        _draw_metrics(parts[0].subplots(2, 3).flat, frame, settings)
        if drift is not None:
            # Their own grid, so that long feature names take no room from the panels above.
            for axes, draw_drift in zip(parts[1].subplots(2, 2).flat, DRIFT_PANELS, strict=True):
                draw_drift(axes, drift)
        figure.draw_without_rendering()  # ticks and layout are made now, in this style
    return figure


def _draw_metrics(panels: Iterable[Axes], frame: pd.DataFrame, settings: Settings) -> None:
    view = View(frame, settings, best_epoch(frame, settings))
    for axes, draw_panel in zip(panels, PANELS, strict=True):
        draw_panel(axes, view)
