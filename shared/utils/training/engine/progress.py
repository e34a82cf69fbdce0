"""How far a run is: a live bar on a terminal, a line now and then where there is none."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from rich import box
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from utils.training.engine.outputs import EpochResult
from utils.training.training_config import TrainingConfig

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

_LINE_SECONDS = 10.0  # between two log lines of one epoch
_REFRESHES_A_SECOND = 4
_BAR_PARTS = ("epoch", "phase", "bar", "batches", "loss", "rate", "left")


class Progress(Protocol):
    """Is told where a run is. ``update`` costs microseconds and may come at any interval."""

    def start_epoch(self, epoch: int, num_batches: int, phase: str = "train") -> None:
        """Begin a pass over the data: ``phase`` is ``train`` or ``validate``."""

    def update(self, num_batches_done: int, loss: float, samples: int) -> None:
        """Tell how many batches and samples of the pass are done, and the loss now."""

    def finish_epoch(self, result: EpochResult, metrics: Mapping[str, float] | None = None) -> None:
        """Show an epoch's outcome for good."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class NullProgress:
    """Shows nothing: what stands where progress is switched off."""

    def start_epoch(self, epoch: int, num_batches: int, phase: str = "train") -> None:
        """Do nothing."""

    def update(self, num_batches_done: int, loss: float, samples: int) -> None:
        """Do nothing."""

    def finish_epoch(self, result: EpochResult, metrics: Mapping[str, float] | None = None) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class _Pass:
    """One pass over the data, as far as it is known."""

    def __init__(self, epoch: int, num_batches: int, phase: str, started: float) -> None:
        self.epoch = epoch
        self.num_batches = num_batches
        self.phase = phase
        self.num_done = 0
        self.loss = math.nan
        # Where the pace is counted from: the start, then the first update, because a resumed pass
        # begins with batches that were done long before.
        self._origin = (started, 0, 0)
        self._latest = self._origin
        self._num_updates = 0

    def update(self, num_batches_done: int, loss: float, samples: int, now: float) -> None:
        """Take what a training loop tells."""
        self.num_done, self.loss = num_batches_done, loss
        if self._num_updates == 1:
            self._origin = self._latest
        self._latest = (now, num_batches_done, samples)
        self._num_updates += 1

    @property
    def samples_per_second(self) -> float:
        """The pace between the first and the latest update."""
        return self._pace(2)

    def seconds_left(self, now: float) -> float:
        """Of this pass, at its own pace; NaN where the pace or the length is unknown."""
        pace = self._pace(1)
        if not pace or not self.num_batches:
            return math.nan
        since_update = now - self._latest[0]
        return max(0.0, (self.num_batches - self.num_done) / pace - since_update)

    def _pace(self, what: int) -> float:
        seconds = self._latest[0] - self._origin[0]
        return (self._latest[what] - self._origin[what]) / seconds if seconds > 0 else 0.0


def epoch_line(result: EpochResult, metrics: Mapping[str, float], num_epochs: int) -> str:
    """An epoch in one line: its losses, whatever else was measured, and how fast it was."""
    shown = {"loss": result.avg_loss, "accuracy": result.avg_accuracy} | dict(metrics)
    values = "  ".join(
        f"{name} {value:.4g}" for name, value in shown.items() if not math.isnan(value)
    )
    speed = f"{_duration(result.duration)}, {result.samples_per_second:,.0f} samples/s"
    return f"epoch {result.epoch + 1}/{num_epochs}  {values}  ({speed})"


class LogProgress:
    """Writes a log line now and then, and one for each epoch.

    Args:
        num_epochs: of the whole run; epochs are counted from 0 and shown from 1.
        clock: seconds that only grow.
    """

    def __init__(self, num_epochs: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._num_epochs = num_epochs
        self._clock = clock
        self._pass = _Pass(0, 0, "train", clock())
        self._last_line = clock()

    def start_epoch(self, epoch: int, num_batches: int, phase: str = "train") -> None:
        """Begin a pass over the data."""
        self._last_line = self._clock()
        self._pass = _Pass(epoch, num_batches, phase, self._last_line)

    def update(self, num_batches_done: int, loss: float, samples: int) -> None:
        """Write a line where the last one is at least 10 seconds old."""
        now = self._clock()
        self._pass.update(num_batches_done, loss, samples, now)
        if now - self._last_line >= _LINE_SECONDS:
            self._last_line = now
            logger.info("%s", _pass_line(self._pass, self._num_epochs, now))

    def finish_epoch(self, result: EpochResult, metrics: Mapping[str, float] | None = None) -> None:
        """Write the epoch's line."""
        logger.info("%s", epoch_line(result, metrics or {}, self._num_epochs))

    def close(self) -> None:
        """Nothing is open."""


def _pass_line(state: _Pass, num_epochs: int, now: float) -> str:
    total = state.num_batches or "?"
    return (
        f"epoch {state.epoch + 1}/{num_epochs}  {state.phase} {state.num_done}/{total}  "
        f"loss {state.loss:.4g}  {state.samples_per_second:,.0f} samples/s  "
        f"{_duration(state.seconds_left(now))} left"
    )


class BarProgress:
    """A live bar at the foot of a terminal, drawn from its own thread a few times a second.

    Args:
        num_epochs: of the whole run; epochs are counted from 0 and shown from 1.
        console: the terminal; by default the one behind standard error.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        num_epochs: int,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._num_epochs = num_epochs
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._pass: _Pass | None = None
        self._live = Live(
            get_renderable=self._draw,
            console=self._console,
            refresh_per_second=_REFRESHES_A_SECOND,
            transient=True,
        )

    def start_epoch(self, epoch: int, num_batches: int, phase: str = "train") -> None:
        """Begin a pass over the data; the first one brings the bar up."""
        self._pass = _Pass(epoch, num_batches, phase, self._clock())
        if not self._live.is_started:
            self._live.start()

    def update(self, num_batches_done: int, loss: float, samples: int) -> None:
        """Leave the numbers for the drawing thread."""
        if self._pass is not None:
            self._pass.update(num_batches_done, loss, samples, self._clock())

    def finish_epoch(self, result: EpochResult, metrics: Mapping[str, float] | None = None) -> None:
        """Print the epoch's line above the bar."""
        self._pass = None
        line = epoch_line(result, metrics or {}, self._num_epochs)
        self._console.print(line, highlight=False, markup=False)

    def close(self) -> None:
        """Take the bar away; the epochs' lines stay."""
        self._pass = None
        if self._live.is_started:
            self._live.stop()

    def _draw(self) -> Table:
        state, now = self._pass, self._clock()
        grid = Table.grid(padding=(0, 2))
        if state is None:
            return grid
        for part in _BAR_PARTS:  # on a narrow terminal the bar gives way, and nothing wraps
            grid.add_column(no_wrap=part != "bar", max_width=30 if part == "bar" else None)
        grid.add_row(
            f"epoch {state.epoch + 1}/{self._num_epochs}",
            state.phase,
            ProgressBar(total=state.num_batches or None, completed=state.num_done, pulse=False),
            f"{state.num_done}/{state.num_batches or '?'}",
            f"loss {state.loss:.4f}",
            f"{state.samples_per_second:,.0f} samples/s",
            f"{_duration(state.seconds_left(now))} left",
        )
        return grid


def make_progress(
    config: TrainingConfig, console: Console | None = None
) -> BarProgress | LogProgress | NullProgress:
    """A bar where standard error is a terminal, log lines elsewhere, nothing where switched off."""
    if not config.progress_bar:
        return NullProgress()
    target = console or Console(stderr=True)
    is_terminal = target.is_terminal and not target.is_dumb_terminal
    return BarProgress(config.epochs, target) if is_terminal else LogProgress(config.epochs)


def epochs_table(summary: pd.DataFrame, title: str = "Epochs") -> Table:
    """The summary of a :class:`MetricsEngine` for a terminal; the lowest validation loss is bold.

    Columns that hold nothing are left out.
    """
    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    columns = [name for name in summary.columns if summary.empty or summary[name].notna().any()]
    for name in columns:
        header = "time" if name == "epoch_duration" else name.replace("_", " ")
        table.add_column(header, justify="right")
    losses = summary["val_loss"] if "val_loss" in columns else None
    best = None if losses is None or not losses.notna().any() else losses.idxmin()
    for index, row in summary.iterrows():
        cells = [_cell(name, row[name]) for name in columns]
        table.add_row(*cells, style="bold green" if index == best else "")
    return table


def _cell(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    number = float(value)  # type: ignore[arg-type]
    if math.isnan(number):
        return ""
    if name == "epoch":
        return f"{int(number)}"
    return _duration(number) if name == "epoch_duration" else f"{number:.4g}"


def _duration(seconds: float) -> str:
    """``0.8 s``, ``12 s``, ``3:05``, ``1:02:03``; ``?`` where unknown."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 10:  # noqa: PLR2004 - below it tenths are worth showing
        return f"{seconds:.1f} s"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
