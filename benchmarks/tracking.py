"""Logging: what metrics, trackers and the progress bar cost a training step."""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from collections.abc import Callable

from rich.console import Console
from torch.utils.tensorboard import SummaryWriter

from benchmarks.figures import Figure
from utils.training.engine.metrics import MetricsEngine
from utils.training.engine.progress import BarProgress
from utils.training.engine.trackers import TensorBoardTracker

LOG_EVERY = 10
STEPS = 5000
REPEATS = 5
DRAWING_SECONDS = 3.0
VALUES = {
    "train/loss": 0.5,
    "train/gradient_norm": 1.5,
    "train/learning_rate": 1e-3,
    "train/samples_per_second": 1000.0,
    "train/accuracy": 0.75,
}


def cpu_ms_a_step(log: Callable[[int], object]) -> float:
    """CPU time, writer threads included, of a loop that logs every 10 steps."""
    start = time.process_time()
    for step in range(STEPS):
        if step % LOG_EVERY == 0:
            log(step)
    return (time.process_time() - start) / STEPS * 1e3


def ours(folder: str) -> float:
    engine = MetricsEngine(use_wandb=False, trackers=[TensorBoardTracker(folder, "ours")])
    engine.log_metrics(VALUES, 0)  # opens the file
    cost = cpu_ms_a_step(lambda step: engine.log_metrics(VALUES, step))
    engine.close()
    return cost


def by_hand(folder: str) -> float:
    writer = SummaryWriter(f"{folder}/by_hand")

    def log(step: int) -> None:
        for name, value in VALUES.items():
            writer.add_scalar(name, value, step)

    log(0)
    cost = cpu_ms_a_step(log)
    writer.close()
    return cost


def without_trackers(_: str) -> float:
    engine = MetricsEngine(use_wandb=False)
    return cpu_ms_a_step(lambda step: engine.log_metrics(VALUES, step))


def drawn_bar() -> BarProgress:
    bar = BarProgress(1, Console(file=io.StringIO(), force_terminal=True, width=120))
    bar.start_epoch(0, STEPS)
    return bar


def progress_update(_: str) -> float:
    bar = drawn_bar()
    cost = cpu_ms_a_step(lambda step: bar.update(step, 0.5, 8 * step))
    bar.close()
    return cost


def drawing_share() -> float:
    """The share of one core that the drawing thread takes."""
    bar = drawn_bar()
    bar.update(1, 0.5, 8)
    start = time.process_time()
    time.sleep(DRAWING_SECONDS)
    share = (time.process_time() - start) / DRAWING_SECONDS
    bar.close()
    return share


def run() -> list[Figure]:
    rounds: dict[Callable[[str], float], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(REPEATS):
            for measure in (ours, by_hand, without_trackers, progress_update):
                rounds.setdefault(measure, []).append(measure(f"{folder}/{repeat}"))
    cost = {measure: statistics.median(values) for measure, values in rounds.items()}
    plain = f"SummaryWriter.add_scalar by hand: {cost[by_hand]:.4f} ms"
    return [
        Figure("TensorBoard every 10 steps, a step", cost[ours], "ms", 0.05, against=plain),
        Figure("TensorBoard, beside add_scalar", cost[ours] / cost[by_hand], at_most=1.0),
        Figure("no tracker every 10 steps, a step", cost[without_trackers], "ms", 0.001),
        Figure("progress every 10 steps, a step", cost[progress_update], "ms", 0.001),
        Figure("drawing the bar, of one core", drawing_share(), "share", 0.02),
    ]
