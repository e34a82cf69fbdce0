"""The dashboard of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.training.arguments import require_instance
from utils.training.dashboard.inputs import (
    DriftSeries,
    Settings,
    drift_series,
    metrics_frame,
)
from utils.training.errors import MissingDependencyError, TrainingError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Dashboard:
    """Draws a run's metrics, and its drift, for a notebook, a file or a report.

    It needs no display and leaves the process's matplotlib backend and style as they are.
    """

    def __init__(self) -> None:
        self._figure: Figure | None = None
        self._frame: pd.DataFrame | None = None
        self._title = ""

    def plot(self, metrics_df: Any, config: Any = None, title: str = "Training Metrics") -> Figure:
        """Draw loss, accuracy, generalisation gap, learning rate, gradient norm and time.

        Args:
            metrics_df: the summary of a MetricsEngine; a run's points from an ExperimentDB
                (``get_metrics``); or rows or columns named ``train_loss`` or ``train/loss``. Any
                column may be missing.
            config: a TrainingConfig, a dict of its fields, or None. It gives the thresholds, the
                monitored metric that makes an epoch the best one, and the footer.
            title: of the whole picture.

        Returns:
            The figure, which a notebook displays.

        Raises:
            MissingDependencyError: matplotlib is not installed.
        """
        settings = Settings.from_config(config)
        return self._draw(metrics_frame(metrics_df), None, settings, title)

    def plot_with_drift(
        self,
        metrics_df: Any,
        drift_data: Any,
        config: Any = None,
        title: str = "Training Metrics + Drift Analysis",
    ) -> Figure:
        """Draw the six panels of :meth:`plot` and four of drift.

        Args:
            metrics_df: as in :meth:`plot`.
            drift_data: comparisons in their order: a list of DriftMetrics; a list of their dicts,
                each with an ``epoch`` where it has one; or a DataFrame of such rows, with
                ``js_divergence`` and, where known, ``status``, ``affected_features``, ``details``,
                ``epoch`` and ``timestamp``. A MetricsEngine's summary does, and None takes
                ``metrics_df`` for it.
            config: as in :meth:`plot`.
            title: of the whole picture.
        """
        settings = Settings.from_config(config)
        frame = metrics_frame(metrics_df)
        drift = drift_series(frame if drift_data is None else drift_data, settings)
        return self._draw(frame, drift, settings, title)

    def _draw(
        self, frame: pd.DataFrame, drift: DriftSeries | None, settings: Settings, title: str
    ) -> Figure:
        require_instance("title", title, str, "text")
        try:
            from utils.training.dashboard.layout import draw_figure
        except ImportError as error:
            raise MissingDependencyError("matplotlib", "The dashboard", "tracking") from error
        self._figure = draw_figure(frame, drift, settings, title)
        self._frame, self._title = frame, title
        return self._figure

    def save(self, path: str | Path, dots_per_inch: int = 150) -> Path:
        """Write the latest picture as PNG, SVG or one HTML page, by the file's ending.

        Raises:
            UnknownNameError: a ValueError; the ending is another one.
            TrainingError: nothing has been drawn yet.
        """
        if self._figure is None or self._frame is None:
            raise TrainingError("There is no picture to save yet; call plot() first.")
        from utils.training.dashboard.output import save_figure

        return save_figure(self._figure, self._frame, self._title, path, dots_per_inch)
