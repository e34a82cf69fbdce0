"""Progress: a bar on a terminal, lines elsewhere, and the table of epochs."""

from __future__ import annotations

import io
import logging
import math

import pandas as pd
import pytest
from rich.console import Console

from utils.training.engine.metrics import MetricsEngine
from utils.training.engine.outputs import EpochResult
from utils.training.engine.progress import (
    BarProgress,
    LogProgress,
    NullProgress,
    epoch_line,
    epochs_table,
    make_progress,
)
from utils.training.training_config import TrainingConfig


class Clock:
    """A clock that a test moves."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def terminal(width=120):
    return Console(file=io.StringIO(), force_terminal=True, width=width, legacy_windows=False)


def result(epoch=2, accuracy=0.75):
    return EpochResult(
        epoch=epoch,
        avg_loss=0.5,
        avg_accuracy=accuracy,
        batch_count=10,
        sample_count=800,
        duration=4.0,
    )


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records]


def test_an_epochs_line_names_what_was_measured():
    line = epoch_line(result(), {"val_loss": 0.25, "val_f1": math.nan}, num_epochs=5)
    assert line == "epoch 3/5  loss 0.5  accuracy 0.75  val_loss 0.25  (4.0 s, 200 samples/s)"
    assert "accuracy" not in epoch_line(result(accuracy=math.nan), {}, num_epochs=5)


def test_log_lines_come_ten_seconds_apart(lines):
    clock = Clock()
    progress = LogProgress(5, clock)
    progress.start_epoch(2, num_batches=100)
    for second in range(1, 26):
        clock.now = 100.0 + second
        progress.update(2 * second, loss=0.5, samples=20 * second)
    assert lines() == [
        "epoch 3/5  train 20/100  loss 0.5  20 samples/s  40 s left",
        "epoch 3/5  train 40/100  loss 0.5  20 samples/s  30 s left",
    ]
    progress.finish_epoch(result(), {"val_loss": 0.25})
    progress.close()
    assert lines()[-1].startswith("epoch 3/5  loss 0.5")


def test_a_resumed_pass_counts_its_pace_from_where_it_resumed(lines):
    clock = Clock()
    progress = LogProgress(1, clock)
    progress.start_epoch(0, num_batches=1000)
    for second in (1, 11):
        clock.now = 100.0 + second
        progress.update(900 + 4 * second, loss=0.5, samples=10 * (900 + 4 * second))
    assert lines() == ["epoch 1/1  train 944/1000  loss 0.5  40 samples/s  14 s left"]


def test_a_pass_of_unknown_length_has_no_time_left(lines):
    clock = Clock()
    progress = LogProgress(1, clock)
    progress.start_epoch(0, num_batches=0, phase="validate")
    clock.now += 10.0
    progress.update(5, loss=0.5, samples=50)
    assert lines() == ["epoch 1/1  validate 5/?  loss 0.5  5 samples/s  ? left"]


def test_the_bar_shows_epoch_loss_rate_and_time_left():
    clock, console = Clock(), terminal()
    bar = BarProgress(5, console, clock)
    bar.start_epoch(2, num_batches=100)
    clock.now += 10.0
    bar.update(25, loss=0.5, samples=250)
    with console.capture() as capture:
        console.print(bar._draw())
    shown = capture.get()
    for part in ("epoch 3/5", "train", "25/100", "loss 0.5000", "25 samples/s", "30 s left"):
        assert part in shown
    bar.close()


def test_epochs_stay_on_the_terminal_and_the_bar_does_not():
    console = terminal()
    bar = BarProgress(5, console)
    bar.start_epoch(2, num_batches=10)
    bar.update(5, loss=0.5, samples=50)
    bar.finish_epoch(result(), {"val_loss": 0.25})
    bar.start_epoch(3, num_batches=10)
    bar.close()
    bar.close()
    assert "epoch 3/5  loss 0.5  accuracy 0.75  val_loss 0.25" in console.file.getvalue()
    assert not bar._live.is_started


def test_a_bar_that_never_started_draws_nothing():
    bar = BarProgress(5, terminal())
    bar.update(1, loss=0.5, samples=1)
    assert bar._draw().row_count == 0
    bar.close()


def test_the_bar_fits_a_narrow_terminal():
    console = terminal(width=60)
    bar = BarProgress(5, console)
    bar.start_epoch(0, num_batches=100_000)
    bar.update(12_345, loss=0.5, samples=1_000_000)
    with console.capture() as capture:
        console.print(bar._draw())
    assert len(capture.get().splitlines()) == 1
    bar.close()


def test_a_terminal_gets_a_bar_and_a_file_gets_lines():
    config = TrainingConfig()
    assert isinstance(make_progress(config, terminal()), BarProgress)
    assert isinstance(make_progress(config, Console(file=io.StringIO())), LogProgress)
    off = make_progress(TrainingConfig(progress_bar=False), terminal())
    assert isinstance(off, NullProgress)
    off.start_epoch(0, 10)
    off.update(1, 0.5, 4)
    off.finish_epoch(result())
    off.close()


def test_a_dumb_terminal_gets_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(make_progress(TrainingConfig(), terminal()), LogProgress)


def render(summary):
    console = Console(file=io.StringIO(), width=160)
    console.print(epochs_table(summary))
    return console.file.getvalue()


def test_the_table_has_a_row_an_epoch_and_no_empty_columns():
    engine = MetricsEngine(use_wandb=False)
    engine.log_epoch(0, {"loss": 1.5}, {"loss": 1.25}, 1e-3, 0.5, 75.0)
    engine.log_epoch(1, {"loss": 1.0}, {"loss": math.nan}, 1e-3, 0.5, 3700.0)
    text = render(engine.get_summary())
    assert "accuracy" not in text
    for part in ("train loss", "1.25", "1:15", "1:01:40", "0.001"):
        assert part in text


def test_the_table_takes_a_summary_without_rows_or_validation():
    engine = MetricsEngine(use_wandb=False)
    assert "Epochs" in render(engine.get_summary())
    engine.log_epoch(0, {"loss": 1.5})
    assert "1.5" in render(engine.get_summary())


def test_words_are_shown_as_they_are():
    frame = pd.DataFrame({"epoch": [0], "val_loss": [1.0], "drift_status": ["warning"]})
    assert "warning" in render(frame)
