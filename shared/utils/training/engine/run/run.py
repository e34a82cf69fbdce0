"""A training run: its parts, its position, and how both are recorded and saved."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from utils.training.engine.checkpoint import CheckpointManager
from utils.training.engine.data import capture_epoch_start, iterate
from utils.training.engine.distributed import Alone, World
from utils.training.engine.distributed.data import EveryNth
from utils.training.engine.early_stopping import EarlyStopping
from utils.training.engine.ema import ExponentialMovingAverage, NoAverage
from utils.training.engine.epoch_sums import EpochSums
from utils.training.engine.gradient_accumulator import GradientAccumulator
from utils.training.engine.loop import TrainingLoop, ValidationLoop, item_unit
from utils.training.engine.metrics import MetricsEngine
from utils.training.engine.outputs import EpochResult
from utils.training.engine.precision import Precision
from utils.training.engine.progress import Progress
from utils.training.engine.run.data_profiles import DataProfiles
from utils.training.engine.run.state import TrainerState
from utils.training.seed_manager import capture_rng_state, restore_rng_state
from utils.training.training_config import TrainingConfig

logger = logging.getLogger(__name__)


@dataclass
class Run:
    """Everything that one call of ``train()`` works with."""

    model: nn.Module
    config: TrainingConfig  # its ``monitor`` is one that this run measures
    device: torch.device
    train_loader: Iterable[Any]
    val_loader: Iterable[Any] | None
    optimizer: Optimizer
    scheduler: LRScheduler
    accumulator: GradientAccumulator
    training_loop: TrainingLoop
    validation_loop: ValidationLoop
    precision: Precision
    average: ExponentialMovingAverage | NoAverage
    early_stopping: EarlyStopping
    checkpoints: CheckpointManager
    metrics: MetricsEngine
    profiles: DataProfiles
    progress: Progress
    sums: EpochSums
    world: World = field(default_factory=Alone)
    blueprint: nn.Module | None = None  # where no rank has the whole model that is to be exported
    state: TrainerState = field(default_factory=TrainerState)
    resumed_generators: dict[str, Any] | None = None  # as the checkpoint that was resumed has them
    clock: float = field(default_factory=time.perf_counter)  # until here the state's time is told

    @property
    def global_step(self) -> int:
        """Optimizer steps taken, skipped ones left out."""
        return self.accumulator.effective_step

    @property
    def is_at_last_step(self) -> bool:
        """True where ``max_steps`` are done."""
        return self.config.max_steps is not None and self.global_step >= self.config.max_steps

    @property
    def is_finished(self) -> bool:
        """True where no epoch is left to run, or to validate."""
        if self.state.is_epoch_trained:
            return False
        is_last = self.state.epoch >= self.config.epochs
        return is_last or self.is_at_last_step or self.early_stopping.should_stop

    def restore_generators(self) -> None:
        """Put the random generators where the resumed checkpoint has them; only the first time."""
        if self.resumed_generators is not None:
            restore_rng_state(self.resumed_generators)
            self.resumed_generators = None

    def open_epoch(self) -> Iterator[Any]:
        """Open the training data at the run's position, the generators as they were there."""
        state, loader = self.state, self.train_loader
        if state.batch == 0:
            state.epoch_start = self.world.of_first(capture_epoch_start(loader))
            if isinstance(loader, EveryNth):  # all ranks must draw the same order
                return iterate(loader, epoch=state.epoch, epoch_start_rng=state.epoch_start)
            return iterate(loader, epoch=state.epoch)
        batches = iterate(
            loader,
            epoch=state.epoch,
            start_batch=state.batch,
            epoch_start_rng=state.epoch_start,
        )
        self.restore_generators()
        return batches

    def record_epoch(self, trained: EpochResult, validated: EpochResult | None) -> dict[str, float]:
        """Show and log an epoch, and return its metrics as ``train_...`` and ``val_...``."""
        loop = self.validation_loop
        measured = {} if validated is None else loop.metrics(validated)
        rate = f"{item_unit(self.training_loop.task_spec)}_per_second"
        learned = {
            "loss": trained.avg_loss,
            "accuracy": trained.avg_accuracy,
            rate: trained.items_per_second,
            "skipped_steps": trained.skipped_steps,
        }
        self.metrics.log_epoch(
            epoch=trained.epoch,
            train_metrics={k: v for k, v in learned.items() if not math.isnan(v)},
            val_metrics={k.removeprefix("val/"): v for k, v in measured.items()},
            learning_rate=trained.learning_rate,
            gradient_norm=trained.max_gradient_norm,
            epoch_duration=trained.duration,
            reference_profile=self.profiles.reference,
            current_profile=self.profiles.current,
        )
        metrics = named_metrics(trained, validated)
        self.progress.finish_epoch(trained, of_phase(metrics, "val"))
        return metrics

    def finish_epoch(self, trained: EpochResult, metrics: dict[str, float]) -> Path | None:
        """Judge the epoch, move to the next, and save where that is due; the path, if it was."""
        epoch, value = trained.epoch, metrics[self.config.monitor]
        is_best = self.state.take_if_best(value, self.config.monitor_mode)
        self.early_stopping.update(value)
        self.state.final_loss = trained.avg_loss
        self.state.begin_next_epoch()
        self.sums = EpochSums()
        is_due = (epoch + 1) % self.config.save_interval_epochs == 0
        if not (is_due or is_best or self.is_finished):
            return None
        return self.checkpoints.save(
            model=self.model,
            optimizer=self.optimizer,
            scheduler=self.scheduler,
            epoch=epoch,
            metrics=metrics,
            global_step=self.global_step,
            custom_state=self.state_dict(),
            blocking=not self.config.async_checkpoints,
        )

    def best_checkpoint(self) -> Path | None:
        """Return the best epoch's checkpoint, the newest where no epoch could be ranked."""
        return self.checkpoints.get_best() or self.checkpoints.latest()

    def save_step(self, *, blocking: bool) -> Path:
        """Save the run in the middle of an epoch, between two accumulation windows."""
        return self.checkpoints.save_step(
            model=self.model,
            optimizer=self.optimizer,
            scheduler=self.scheduler,
            epoch=self.state.epoch,
            global_step=self.global_step,
            custom_state=self.state_dict(),
            blocking=blocking,
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything besides model, optimizer and schedule that the next sitting needs."""
        now = time.perf_counter()
        self.state.elapsed_seconds += now - self.clock
        self.clock = now
        scaler = self.precision.scaler
        return {
            "config": self.config.to_dict(),
            "position": self.state.to_dict(),
            "ranks": self.world.gather(
                {"sums": self.sums.state_dict(), "generators": capture_rng_state()}
            ),
            "samples_per_batch": self.samples_per_batch,
            "accumulator": self.accumulator.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else {},
            "average": self.average.state_dict(),
            "early_stopping": self.early_stopping.state_dict(),
            "metrics": self.metrics.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.state = TrainerState.from_dict(state["position"])
        self._take_part(state)
        self.accumulator.load_state_dict(state["accumulator"])
        if self.precision.scaler is not None and state["scaler"]:
            self.precision.scaler.load_state_dict(state["scaler"])
        self.early_stopping.load_state_dict(state["early_stopping"])
        self.metrics.load_state_dict(state["metrics"])
        if state["average"]:
            self.average.load_state_dict(state["average"])

    @property
    def samples_per_batch(self) -> int:
        """Samples that the ranks see together in a micro-batch."""
        batch_size = getattr(self.train_loader, "batch_size", None) or self.config.batch_size
        return int(batch_size) * self.world.size

    def _take_part(self, state: dict[str, Any]) -> None:
        """Take this rank's own sums and generators, or, from another number of ranks, a share."""
        ranks = state["ranks"]
        if len(ranks) == self.world.size:
            self.sums.load_state_dict(ranks[self.world.rank]["sums"])
            self.resumed_generators = ranks[self.world.rank]["generators"]
        else:
            whole = EpochSums.added_up([part["sums"] for part in ranks])
            if self.world.is_first:
                self.sums = whole
            else:
                self.sums.batch_count = whole.batch_count
                self.resumed_generators = None  # its own; the first goes on with the first's
        samples = self.state.batch * state["samples_per_batch"]
        self.state.batch, repeated = divmod(samples, self.samples_per_batch)
        if repeated:
            logger.warning(
                "%d samples of epoch %d are seen again: %d ranks and their batch size don't "
                "divide what was done.",
                repeated,
                self.state.epoch,
                self.world.size,
            )


def named_metrics(trained: EpochResult, validated: EpochResult | None) -> dict[str, float]:
    """Name an epoch's numbers as hooks and checkpoints know them; NaN where a task has none."""
    metrics = {"train_loss": trained.avg_loss, "train_accuracy": trained.avg_accuracy}
    if validated is not None:
        metrics |= {"val_loss": validated.avg_loss, "val_accuracy": validated.avg_accuracy}
    return metrics


def of_phase(metrics: dict[str, float], phase: str) -> dict[str, float]:
    """Keep the metrics of ``train`` or ``val``."""
    return {name: value for name, value in metrics.items() if name.startswith(f"{phase}_")}
