"""Checks of what an accumulator is given: arguments, losses, counts, states, trainers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from utils.training.arguments import described, is_whole, require_instance
from utils.training.engine.accumulation_window import ItemCount
from utils.training.errors import InvalidConfigError, TrainingError

STATE_COUNTS = ("total_steps", "optimizer_steps", "skipped_steps", "position", "batch_index")


class AccumulationError(TrainingError, ValueError):
    """A loss, a count, a state or a trainer that accumulation can't work with."""


def loss_fault(loss: Any) -> str:
    """Say what is wrong with a loss that has no gradient to give."""
    if not isinstance(loss, Tensor):
        return f"loss is a {type(loss).__name__}; give the scalar tensor that the loss returned."
    if loss.numel() != 1:
        return f"loss has shape {list(loss.shape)}; give one mean, such as loss.mean()."
    return "loss has no graph; compute it outside torch.no_grad(), and don't detach it."


def item_count(num_items: ItemCount, loss: Tensor) -> ItemCount:
    """Return a count that divides without loss: a number, or a scalar beside the loss.

    Raises:
        AccumulationError: a ValueError; it is no count.
    """
    if isinstance(num_items, Tensor):
        is_ready = num_items.ndim == 0 and num_items.dtype is torch.float32 is loss.dtype
        if is_ready and num_items.device == loss.device:
            return num_items
        if num_items.numel() != 1:
            raise AccumulationError(
                f"num_items has shape {list(num_items.shape)}; give one count, such as .sum()."
            )
        dtype = torch.promote_types(loss.dtype, torch.float32)
        return num_items.detach().to(device=loss.device, dtype=dtype)
    if not isinstance(num_items, int | float) or not 0 <= num_items < math.inf:
        raise AccumulationError(f"num_items is {num_items!r}, allowed is a finite count from 0 up.")
    return num_items


def refuse_invalid_arguments(
    optimizer: Any,
    accumulation_steps: Any,
    max_grad_norm: Any,
    scaler: Any,
    batch_size: Any,
    monitor: Any,
) -> None:
    """Refuse a constructor's arguments.

    Raises:
        InvalidConfigError: a ValueError that names every argument out of range.
    """
    faults = [
        f"{name} is {value!r}, allowed is a whole number from 1 up."
        for name, value in (("accumulation_steps", accumulation_steps), ("batch_size", batch_size))
        if not is_whole(value, 1)
    ]
    if not all(hasattr(optimizer, name) for name in ("param_groups", "step", "zero_grad")):
        faults.append(f"optimizer is a {type(optimizer).__name__}; give a torch.optim.Optimizer.")
    if max_grad_norm is not None and not (_is_number(max_grad_norm) and max_grad_norm > 0):
        faults.append(f"max_grad_norm is {max_grad_norm!r}, allowed is a number above 0, or None.")
    needed = ("scale", "unscale_", "step", "update", "is_enabled", "get_scale")
    if scaler is not None and not all(hasattr(scaler, name) for name in needed):
        faults.append(f"scaler is a {type(scaler).__name__}; give a torch.amp.GradScaler, or None.")
    if monitor is not None and not hasattr(monitor, "judge"):
        faults.append(f"monitor is {described(monitor)}; give a GradientMonitor, or None.")
    if faults:
        raise InvalidConfigError(faults)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def lightning_steps(trainer: Any | None, accumulation_steps: int) -> int:
    """Return the micro-batches that a Lightning trainer accumulates, 1 without one.

    Raises:
        InvalidConfigError: a ValueError; it is no Lightning trainer.
        AccumulationError: a ValueError; it accumulates, and ``accumulation_steps`` does.
    """
    if trainer is None:
        return 1
    steps = getattr(trainer, "accumulate_grad_batches", None)
    if not isinstance(steps, int):
        kind = type(trainer).__name__
        raise InvalidConfigError(
            [f"trainer is a {kind} without accumulate_grad_batches; give a Lightning Trainer."]
        )
    if steps > 1 and accumulation_steps > 1:
        raise AccumulationError(
            "Gradient accumulation conflict detected!\n"
            f"Manual accumulation_steps: {accumulation_steps}\n"
            f"Lightning accumulate_grad_batches: {steps}\n\n"
            "Resolution options:\n"
            "1. accumulation_steps=1, and Lightning accumulates\n"
            "2. accumulate_grad_batches=1 in the trainer, and this accumulator does\n"
            "3. No trainer argument, where Lightning has no part in these steps"
        )
    return steps


def refuse_invalid_state(state: dict[str, Any], accumulation_steps: int) -> None:
    """Refuse a state that isn't one of an accumulator with so many steps.

    Raises:
        WrongTypeError: a TypeError; it is no dict.
        AccumulationError: a ValueError.
    """
    wanted = {*STATE_COUNTS, "window", "last_grad_norm", "last_skipped_batches"}
    require_instance("state", state, dict, "what state_dict() returned")
    if set(state) != wanted:
        raise AccumulationError(
            f"The state holds {', '.join(sorted(state)) or 'nothing'}; give what state_dict() "
            f"returned: {', '.join(sorted(wanted))}."
        )
    for name in STATE_COUNTS:
        if not isinstance(state[name], int) or state[name] < 0:
            raise AccumulationError(
                f"{name} in the state is {state[name]!r}, allowed is a whole number from 0 up."
            )
    if state["position"] >= accumulation_steps:
        raise AccumulationError(
            f"The state was saved after {state['position']} micro-batches of a window, and "
            f"accumulation_steps is {accumulation_steps} now; use the value it was saved with."
        )
