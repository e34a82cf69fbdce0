"""CPU time of an optimizer step, against a loop written by hand (one thread, no other duties)."""

from __future__ import annotations

import logging
import statistics
from functools import partial

import torch

from benchmarks import peers
from benchmarks.figures import Figure
from benchmarks.pairing import NUM_REPEATS, milliseconds_per_step, paired
from benchmarks.workloads import (
    CLIP_NORM,
    GPT2,
    LEARNING_RATE,
    LOG_INTERVAL_STEPS,
    MLP,
    WEIGHT_DECAY,
    Job,
    Workload,
)
from utils.training.engine import Trainer
from utils.training.task_spec import TaskSpec
from utils.training.training_config import TrainingConfig


class Hooks:
    """Listens to everything, as a user's own bookkeeping does."""

    def __init__(self) -> None:
        self.total_loss = 0.0

    def on_epoch_start(self, epoch: int) -> None:
        self.total_loss = 0.0

    def on_batch_end(self, batch_idx: int, loss: float) -> None:
        self.total_loss += loss

    def on_epoch_end(self, epoch: int, metrics: dict[str, float]) -> None:
        self.total_loss = metrics["train_loss"]


def run_trainer(job: Job, *, fused: bool = True) -> None:
    """Train with the engine: clipping, gradient health, hooks and metrics on."""
    config = TrainingConfig(
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        batch_size=job.workload.batch_size,
        epochs=1,
        gradient_accumulation_steps=job.accumulation_steps,
        gradient_clip_norm=CLIP_NORM,
        lr_schedule="linear",
        fused_optimizer=fused,
        log_interval_steps=LOG_INTERVAL_STEPS,
        checkpoint_dir=str(job.folder / "checkpoints"),
        use_tensorboard=job.is_logging,
        tensorboard_dir=str(job.folder),
        device="cpu",
        progress_bar=False,
    )
    spec = TaskSpec(
        name=job.workload.name,
        modality=job.workload.modality,
        task_type=job.workload.task_type,
        pad_token_id=None,
    )
    Trainer(job.model, None, config, spec, hooks=[Hooks(), Hooks(), Hooks()]).train(job.loader())


def run() -> list[Figure]:
    """Measure both models, with accumulation 1 and 4, and the peers where they are installed."""
    torch.set_num_threads(1)
    logging.getLogger("utils.training").setLevel(logging.ERROR)
    engine = {"fused": run_trainer, "plain AdamW": partial(run_trainer, fused=False)}
    figures = []
    over: dict[int, float] = {}
    for accumulation_steps in (1, 4):
        found = paired(engine, MLP, accumulation_steps)
        over[accumulation_steps] = found["plain AdamW"][1]
        bounds = {"fused": 0.85, "plain AdamW": 1.0}
        figures += _ratios(MLP, accumulation_steps, found, bounds)
    figures.append(
        Figure(
            "MLP, an extra micro-batch",
            (over[4] - over[1]) / 3,
            unit="ms",
            at_most=0.03,
            against="the same micro-batch by hand",
        )
    )
    for accumulation_steps in (1, 4):
        found = paired(engine, GPT2, accumulation_steps)
        figures += _ratios(GPT2, accumulation_steps, found, {"fused": 1.0, "plain AdamW": 1.0})
    return [*figures, _tensorboard()]


def _ratios(
    workload: Workload,
    accumulation_steps: int,
    found: dict[str, tuple[float, float]],
    bounds: dict[str, float],
) -> list[Figure]:
    others = peers.measured(workload.name, accumulation_steps)
    return [
        Figure(
            f"{workload.name}, accumulation {accumulation_steps}, {name}",
            ratio,
            at_most=bounds.get(name),
            against=f"by hand; {milliseconds:+.3f} ms",
        )
        for name, (ratio, milliseconds) in (found | others).items()
    ]


def _tensorboard() -> Figure:
    """What TensorBoard every 10 steps adds to the engine's own step."""
    added = []
    quiet = milliseconds_per_step(run_trainer, MLP, 1)
    for _ in range(NUM_REPEATS):
        logging_on = milliseconds_per_step(run_trainer, MLP, 1, is_logging=True)
        after = milliseconds_per_step(run_trainer, MLP, 1)
        added.append(logging_on - (quiet + after) / 2)
        quiet = after
    return Figure(
        f"MLP, TensorBoard every {LOG_INTERVAL_STEPS} steps",
        statistics.median(added),
        unit="ms a step",
        at_most=0.05,
        against="the engine without it",
    )
