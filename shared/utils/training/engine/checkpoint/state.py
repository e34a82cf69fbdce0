"""What a checkpoint holds: gathered from a run, judged, and described."""

from __future__ import annotations

import json
import math
import operator
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from utils.training.engine.checkpoint.file import MAX_METADATA_BYTES, CorruptCheckpointError
from utils.training.engine.checkpoint.plain_values import to_json_value, to_plain
from utils.training.errors import TrainingError
from utils.training.seed_manager import capture_rng_state

_REQUIRED_KEYS = (
    "epoch",
    "global_step",
    "model_state_dict",
    "optimizer_state_dict",
    "scheduler_state_dict",
    "metrics",
    "rng_state",
    "custom_state",
)


class NonFiniteWeightsError(TrainingError, RuntimeError):
    """Weights with NaN or Inf, which are never saved."""


def gather_state(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    custom_state: dict[str, Any] | None,
    **facts: Any,
) -> dict[str, Any]:
    """Collect everything a run needs to go on, as tensors (not yet copied) and plain values.

    Raises:
        TypeError: a value has no plain form.
    """
    parts = {
        **facts,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": {} if scheduler is None else scheduler.state_dict(),
        "rng_state": capture_rng_state(),
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "custom_state": custom_state or {},
    }
    return {name: to_plain(part, name) for name, part in parts.items()}


def describe(state: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata that a listing shows, within the length that a file can take."""
    value = state["monitor_value"]
    metadata = {
        "epoch": state["epoch"],
        "global_step": state["global_step"],
        "monitor": state["monitor"],
        "monitor_value": repr(math.nan if value is None else value),
        "timestamp": state["timestamp"],
        "git_commit": state["git_commit"],
        "metrics": json.dumps(to_json_value(state["metrics"]), allow_nan=False),
        "config": None,
    }
    if "shards" in state:
        metadata["shards"] = state["shards"]
    if "config" in state["custom_state"]:
        metadata["config"] = json.dumps(to_json_value(state["custom_state"]["config"]))
    for longest in ("config", "metrics"):
        if len(json.dumps(metadata)) > MAX_METADATA_BYTES:
            metadata[longest] = None
    return metadata


def require_structure(path: Path, state: Any) -> None:
    """Check that a file's content is a training state.

    Raises:
        CorruptCheckpointError: it lacks a part.
    """
    missing = [key for key in _REQUIRED_KEYS if not isinstance(state, dict) or key not in state]
    if missing:
        raise CorruptCheckpointError(
            f"{path} lacks {', '.join(missing)}, so it is no training state."
        )


def require_at_least(name: str, value: Any, least: int) -> int:
    """Return ``value`` as an int.

    Raises:
        ValueError: it is no whole number, or below ``least``.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}, allowed is a whole number from {least}.")
    return number


def as_numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """Return the metrics as Python floats.

    Raises:
        ValueError: one is neither a number nor a tensor or array of one element.
    """
    return {str(name): _as_number(name, value) for name, value in metrics.items()}


def current_git_commit() -> str | None:
    """Return the commit of the working folder; None without git or outside a repository."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _as_number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"The metric '{name}' is {value!r}, allowed is a number or a tensor of one element."
        ) from error


def require_finite_weights(model: nn.Module, model_state: dict[str, Any]) -> None:
    """Refuse NaN and Inf in parameters, and NaN in buffers: a mask's usual value is -inf.

    Args:
        model: tells parameters from buffers; its own values are not looked at.
        model_state: its ``state_dict()``, or a copy of it.

    Raises:
        NonFiniteWeightsError: a weight is NaN or Inf.
    """
    weights = {
        name: value
        for name, value in model_state.items()
        if isinstance(value, Tensor) and value.is_floating_point() and value.numel()
    }
    buffer_names = {name for name, _ in model.named_buffers(remove_duplicate=False)}
    for name in _names_with_infinite_norm(weights):  # where finite values overflowed the norm, too
        weight = weights[name]
        bad = weight.isnan() if name in buffer_names else ~weight.isfinite()
        if bad.any():
            raise NonFiniteWeightsError(
                f"{name} has {int(bad.sum())} values that are NaN or Inf, so nothing was saved; "
                "go back to the newest checkpoint, and lower the learning rate or clip gradients."
            )


def _names_with_infinite_norm(tensors: dict[str, Tensor]) -> list[str]:
    """Name the tensors that may hold NaN or Inf, at the price of one device synchronisation."""
    if not tensors:
        return []
    norms = torch._foreach_norm(list(tensors.values()), dtype=torch.float32)  # noqa: SLF001 - torch's own name for it
    values = torch.stack([norm.to(norms[0].device) for norm in norms]).tolist()
    return [name for name, value in zip(tensors, values, strict=True) if not math.isfinite(value)]
