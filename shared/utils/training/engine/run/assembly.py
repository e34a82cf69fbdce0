"""From a configuration, a model and data to the parts of a run."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, IterableDataset

from utils.training.engine.checkpoint import CheckpointManager
from utils.training.engine.data import DataLoaderFactory
from utils.training.engine.distributed import Alone, Ranks, World
from utils.training.engine.distributed.data import part_of
from utils.training.engine.early_stopping import EarlyStopping
from utils.training.engine.ema import ExponentialMovingAverage, NoAverage
from utils.training.engine.epoch_sums import EpochSums
from utils.training.engine.gradient_accumulator import GradientAccumulator
from utils.training.engine.gradient_monitor import GradientMonitor
from utils.training.engine.interrupt import StopSwitch
from utils.training.engine.loop import TrainingLoop, ValidationLoop
from utils.training.engine.loss import LossStrategy, get_loss_strategy
from utils.training.engine.metrics import MetricsEngine
from utils.training.engine.optimization import create_optimizer, create_scheduler
from utils.training.engine.precision import Precision, create_precision
from utils.training.engine.progress import make_progress
from utils.training.engine.run.data_profiles import profile_data
from utils.training.engine.run.run import Run
from utils.training.engine.trackers import Tracker
from utils.training.errors import InvalidConfigError, UnknownNameError
from utils.training.flash_attention_wrapper import FlashAttentionWrapper
from utils.training.task_spec import TaskSpec
from utils.training.training_config import TrainingConfig

logger = logging.getLogger(__name__)

DEFAULT_TASK_TYPE = "language_modeling"
METRICS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")


def create_run(
    model: nn.Module,
    model_config: Any,
    config: TrainingConfig,
    task_spec: TaskSpec | None,
    train_data: Any,
    val_data: Any | None,
    trackers: Iterable[Tracker] = (),
    world: World | None = None,
    stop: StopSwitch | None = None,
) -> Run:
    """Build a run's parts, and refuse at once what can't work.

    Raises:
        InvalidConfigError, UnknownNameError: ValueErrors; a setting does not fit data or machine.
    """
    world = world or Alone()
    num_profiled = config.drift_samples if world.is_first else 0
    profiles = profile_data(train_data, val_data, task_spec, num_profiled)
    config = replace(config, monitor=monitored_metric(config, has_validation=val_data is not None))
    device = world.device(config.device)
    model.to(device)
    FlashAttentionWrapper(model, model_config)
    loaders = (
        create_loader(train_data, config, task_spec, world, shuffle=True),
        None
        if val_data is None
        else create_loader(val_data, config, task_spec, world, shuffle=False),
    )
    parts = create_parts(model, world, device, config, stop or StopSwitch())
    optimizer = create_optimizer(model, config)
    precision = create_precision(config.mixed_precision, device)
    accumulator = parts.accumulator(**_accumulation_settings(optimizer, precision, config))
    if not world.is_first:
        config, trackers = silenced(config), ()
    metrics = MetricsEngine.from_config(config, trackers=trackers)
    strategy = create_strategy(task_spec)
    return Run(
        model=model,
        config=config,
        device=device,
        train_loader=loaders[0],
        val_loader=loaders[1],
        optimizer=optimizer,
        scheduler=create_scheduler(optimizer, config, total_steps(loaders[0], config)),
        accumulator=accumulator,
        training_loop=parts.training_loop(
            accumulator,
            optimizer=optimizer,
            loss_strategy=strategy,
            metrics_tracker=metrics,
            device=device,
            task_spec=task_spec,
            precision=precision,
            log_interval_steps=config.log_interval_steps,
        ),
        validation_loop=parts.validation_loop(
            strategy, device=device, task_spec=task_spec, precision=precision
        ),
        precision=precision,
        average=_create_average(model, config),
        early_stopping=EarlyStopping(
            config.early_stopping_patience, config.early_stopping_min_delta, config.monitor_mode
        ),
        checkpoints=parts.checkpoints(optimizer, **_checkpoint_settings(config)),
        metrics=metrics,
        profiles=profiles,
        progress=make_progress(config),
        sums=EpochSums(),
        world=world,
        blueprint=parts.blueprint,
    )


@dataclass(frozen=True)
class _LoneParts:
    """Builds the parts of a run that one process is alone with."""

    model: nn.Module
    blueprint: None = None

    def accumulator(self, **settings: Any) -> GradientAccumulator:
        return GradientAccumulator(**settings)

    def training_loop(self, accumulator: GradientAccumulator, **settings: Any) -> TrainingLoop:
        return TrainingLoop(self.model, gradient_accumulator=accumulator, **settings)

    def validation_loop(self, loss_strategy: LossStrategy, **settings: Any) -> ValidationLoop:
        return ValidationLoop(self.model, loss_strategy, **settings)

    def checkpoints(self, _optimizer: Optimizer, **settings: Any) -> CheckpointManager:
        return CheckpointManager(**settings)


def create_parts(
    model: nn.Module,
    world: World,
    device: torch.device,
    config: TrainingConfig,
    stop: StopSwitch,
) -> Any:
    """Choose who builds the parts that differ between one process and several."""
    if not isinstance(world, Ranks):
        return _LoneParts(model)
    # The libraries of sharding take a second to import, which one process alone is spared.
    from utils.training.engine.distributed.assembly import spread

    return spread(model, world, device, config, stop)


def silenced(config: TrainingConfig) -> TrainingConfig:
    """Return the config of a rank that neither draws nor logs nor writes to people."""
    return replace(
        config,
        use_wandb=False,
        use_tensorboard=False,
        use_mlflow=False,
        progress_bar=False,
        email_alerts=False,
        slack_alerts=False,
    )


def create_loader(
    data: Any, config: TrainingConfig, task_spec: TaskSpec | None, world: World, *, shuffle: bool
) -> Iterable[Any]:
    """Take a loader as it is, batch a dataset of samples, and keep this rank's part of it."""
    loader = _whole_loader(data, config, task_spec, shuffle=shuffle)
    if world.size == 1:
        return loader
    return part_of(loader, world.rank, world.size, config.random_seed)


def _whole_loader(
    data: Any, config: TrainingConfig, task_spec: TaskSpec | None, *, shuffle: bool
) -> Iterable[Any]:
    is_map = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    if isinstance(data, DataLoader) or not (is_map or isinstance(data, IterableDataset)):
        return data
    return DataLoaderFactory().create(
        dataset=data,
        batch_size=config.batch_size,
        shuffle=shuffle and is_map,
        task_spec=task_spec,
        num_workers=config.num_workers,
        pin_memory=config.pin_memory,
        drop_last=config.drop_last and shuffle,
        random_seed=config.random_seed,
    )


def create_strategy(task_spec: TaskSpec | None) -> LossStrategy:
    """Choose the loss by the task's type; without a task it is next-token prediction."""
    return get_loss_strategy(DEFAULT_TASK_TYPE if task_spec is None else task_spec.task_type)


def _accumulation_settings(
    optimizer: Optimizer, precision: Precision, config: TrainingConfig
) -> dict[str, Any]:
    return dict(  # noqa: C408 - they are arguments
        optimizer=optimizer,
        accumulation_steps=config.gradient_accumulation_steps,
        max_grad_norm=config.gradient_clip_norm,
        scaler=precision.scaler,
        batch_size=config.batch_size,
        monitor=GradientMonitor(
            vanishing_threshold=config.vanishing_threshold,
            explosion_threshold=config.explosion_threshold,
            max_consecutive_failures=config.max_consecutive_failures,
        ),
    )


def _create_average(
    model: nn.Module, config: TrainingConfig
) -> ExponentialMovingAverage | NoAverage:
    if config.ema_decay is None:
        return NoAverage()
    return ExponentialMovingAverage(model, config.ema_decay)


def _checkpoint_settings(config: TrainingConfig) -> dict[str, Any]:
    return dict(  # noqa: C408 - they are arguments
        checkpoint_dir=config.checkpoint_dir,
        keep_best_k=config.keep_best_k,
        keep_last_n=config.keep_last_n,
        monitor=config.monitor,
        mode=config.monitor_mode,
        save_interval_epochs=config.save_interval_epochs,
    )


def monitored_metric(config: TrainingConfig, *, has_validation: bool) -> str:
    """Return the metric that decides what is best: the configured one, where it is measured.

    Raises:
        UnknownNameError: a ValueError; no run measures a metric of this name.
    """
    if config.monitor not in METRICS:
        raise UnknownNameError("monitor", config.monitor, METRICS)
    if has_validation or not config.monitor.startswith("val_"):
        return config.monitor
    instead = config.monitor.replace("val_", "train_", 1)
    logger.info("There is no validation data: '%s' stands for '%s'.", instead, config.monitor)
    return instead


def num_batches(loader: Iterable[Any]) -> int | None:
    """Return a loader's batches in an epoch, None where it doesn't know."""
    try:
        return len(loader)  # type: ignore[arg-type]
    except TypeError:
        return None


def total_steps(loader: Iterable[Any], config: TrainingConfig) -> int | None:
    """Return the optimizer steps of the whole run, None where nothing bounds them.

    Raises:
        InvalidConfigError: a ValueError; the training data is empty.
    """
    batches = num_batches(loader)
    if batches is None:
        return config.max_steps
    if batches == 0:
        raise InvalidConfigError(
            ["The training data has no batch; give more samples, or set drop_last=False."]
        )
    steps = config.epochs * math.ceil(batches / config.gradient_accumulation_steps)
    return steps if config.max_steps is None else min(steps, config.max_steps)
