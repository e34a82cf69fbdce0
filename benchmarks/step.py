"""CPU time of an optimizer step, against a loop written by hand (one thread, no other duties)."""

from __future__ import annotations

import logging
from functools import partial

import torch

from benchmarks import peers
from benchmarks.figures import Figure
from benchmarks.pairing import compare, paired, timed
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

FUSED, PLAIN = "default (fused AdamW)", "plain AdamW"


class Hooks:
    """Listens to everything, as a user's own bookkeeping does."""

    def __init__(self) -> None:
        self.total_loss = 0.0

    def on_epoch_start(self, _epoch: int) -> None:
        """Begin a new sum."""
        self.total_loss = 0.0

    def on_batch_end(self, _batch_idx: int, loss: float) -> None:
        """Add a batch."""
        self.total_loss += loss

    def on_epoch_end(self, _epoch: int, metrics: dict[str, float]) -> None:
        """Take the epoch's own."""
        self.total_loss = metrics["train_loss"]


def run_trainer(job: Job, *, fused: bool = True, tensorboard: bool = True) -> None:
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
        use_tensorboard=job.is_logging and tensorboard,
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
    one, four = _engine(MLP, 1), _engine(MLP, 4)
    # Beyond one micro-batch a step, the optimizer's part shrinks and the bound is on the others.
    extra = (four[FUSED][1] - one[FUSED][1]) / 3
    return [
        *_ratios(MLP, 1, one, {FUSED: 0.85, PLAIN: 1.0}),
        *_ratios(MLP, 4, four, {}),
        Figure("MLP, an extra micro-batch", extra, "ms", at_most=0.03, against="one by hand"),
        *_ratios(GPT2, 1, _engine(GPT2, 1), {FUSED: 1.0}),
        *_ratios(GPT2, 4, _engine(GPT2, 4), {FUSED: 1.0}),
        _tensorboard(),
    ]


def _engine(workload: Workload, accumulation_steps: int) -> dict[str, tuple[float, float]]:
    runners = {FUSED: run_trainer, PLAIN: partial(run_trainer, fused=False)}
    return paired(runners, workload, accumulation_steps)


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
    quiet, logged = "without", "with TensorBoard"
    runners = {quiet: partial(run_trainer, tensorboard=False), logged: run_trainer}
    seconds = timed(runners, MLP, 1, is_logging=True)
    added = compare(seconds[logged], seconds[quiet])[1]
    return Figure(
        f"MLP, TensorBoard every {LOG_INTERVAL_STEPS} steps",
        added,
        unit="ms a step",
        at_most=0.05,
        against="the engine without it",
    )
