"""Optimizers and learning-rate schedules by name."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import SGD, Adafactor, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from utils.training.errors import InvalidConfigError, UnknownNameError
from utils.training.training_config import TrainingConfig

logger = logging.getLogger(__name__)

FUSED_DEVICES = ("cpu", "cuda", "mps", "xpu")


def create_optimizer(model: nn.Module, config: TrainingConfig) -> Optimizer:
    """Build the optimizer that ``config.optimizer`` names, over the trainable parameters.

    Weight decay is for matrices and larger; biases, norms and other vectors have none.

    Raises:
        InvalidConfigError: a ValueError; the model has no trainable parameter.
        UnknownNameError: a ValueError that offers the nearest optimizer.
    """
    builders: dict[str, Callable[[list[dict[str, Any]], TrainingConfig], Optimizer]] = {
        "adamw": _adamw,
        "sgd": _sgd,
        "adafactor": _adafactor,
    }
    if config.optimizer not in builders:
        raise UnknownNameError("optimizer", config.optimizer, builders)
    return builders[config.optimizer](parameter_groups(model, config.weight_decay), config)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split the trainable parameters into those that decay and those that don't.

    Raises:
        InvalidConfigError: a ValueError; the model has no trainable parameter.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    if not trainable:
        raise InvalidConfigError(
            ["The model has no trainable parameter; set requires_grad on what is to be trained."]
        )
    if weight_decay == 0:
        return [{"params": trainable, "weight_decay": 0.0}]
    matrices = [p for p in trainable if p.ndim > 1]
    vectors = [p for p in trainable if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _adamw(groups: list[dict[str, Any]], config: TrainingConfig) -> Optimizer:
    return _fused_where_possible(AdamW, groups, config, lr=config.learning_rate)


def _sgd(groups: list[dict[str, Any]], config: TrainingConfig) -> Optimizer:
    return _fused_where_possible(
        SGD, groups, config, lr=config.learning_rate, momentum=config.momentum
    )


def _adafactor(groups: list[dict[str, Any]], config: TrainingConfig) -> Optimizer:
    return Adafactor(groups, lr=config.learning_rate)


def _fused_where_possible(
    kind: Callable[..., Optimizer],
    groups: list[dict[str, Any]],
    config: TrainingConfig,
    **settings: float,
) -> Optimizer:
    return kind(groups, fused=config.fused_optimizer and _can_fuse(groups), **settings)


def _can_fuse(groups: list[dict[str, Any]]) -> bool:
    """Tell where torch has the fused kernel; it checks in the first step only, and then raises."""
    return all(
        p.device.type in FUSED_DEVICES and p.is_floating_point()
        for group in groups
        for p in group["params"]
    )


def create_scheduler(
    optimizer: Optimizer, config: TrainingConfig, total_steps: int | None
) -> LambdaLR:
    """Build the schedule that ``config.lr_schedule`` names, stepped once an optimizer step.

    Args:
        optimizer: whose rates it moves, from ``config.learning_rate`` as the peak.
        config: the schedule's name and ``warmup_steps``.
        total_steps: optimizer steps until the rate is 0; a constant schedule needs none.

    Raises:
        InvalidConfigError: a ValueError; the schedule needs a length and there is none.
    """
    if config.lr_schedule == "constant":
        return LambdaLR(optimizer, _with_warmup(_constant, config.warmup_steps, math.inf))
    if total_steps is None:
        fault = (
            f"lr_schedule is '{config.lr_schedule}', which ends, and the training data has no "
            "length; set max_steps, or lr_schedule='constant'."
        )
        raise InvalidConfigError([fault])
    if config.warmup_steps >= total_steps:
        logger.warning(
            "warmup_steps is %d and the run has %d steps: the learning rate never reaches %g; "
            "warm up for fewer.",
            config.warmup_steps,
            total_steps,
            config.learning_rate,
        )
    shapes = {"linear": _linear, "cosine": _cosine}
    if config.lr_schedule not in shapes:
        raise UnknownNameError("lr_schedule", config.lr_schedule, [*shapes, "constant"])
    shape = shapes[config.lr_schedule]
    return LambdaLR(optimizer, _with_warmup(shape, config.warmup_steps, total_steps))


def _with_warmup(
    shape: Callable[[float], float], warmup_steps: int, total_steps: float
) -> Callable[[int], float]:
    """Rise linearly over the warm-up, then follow ``shape`` over the share of steps done."""
    decay_steps = max(1, total_steps - warmup_steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        return shape(min(1.0, (step - warmup_steps) / decay_steps))

    return factor


def _constant(_done: float) -> float:
    return 1.0


def _linear(done: float) -> float:
    return 1.0 - done


def _cosine(done: float) -> float:
    """Half a cosine from 1 to 0 (Loshchilov and Hutter, 2017, without restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * done))
