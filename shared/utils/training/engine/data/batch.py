"""A batch in any nesting: to a device, and its number of samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def to_device(batch: Any, device: torch.device | str, *, non_blocking: bool = True) -> Any:
    """Move every tensor of nested dicts, lists and tuples; what is there already is not copied.

    A batch with nothing to move is returned as it is, the same object.
    """
    target = torch.device(device)
    if isinstance(batch, Tensor):
        return batch if _is_on(batch, target) else batch.to(target, non_blocking=non_blocking)
    if isinstance(batch, Mapping):
        moved = {k: to_device(v, target, non_blocking=non_blocking) for k, v in batch.items()}
        return batch if all(moved[k] is v for k, v in batch.items()) else _like(batch, moved)
    if isinstance(batch, list | tuple):
        items = [to_device(v, target, non_blocking=non_blocking) for v in batch]
        is_there = all(new is old for new, old in zip(items, batch, strict=True))
        return batch if is_there else _like(batch, items)
    return batch


def batch_size_of(batch: Any) -> int:
    """Count the samples: the first dimension of the first tensor that has one.

    Raises:
        ValueError: the batch holds no such tensor.
    """
    size = _first_size(batch)
    if size is None:
        raise ValueError(
            f"The batch is a {type(batch).__name__} without a tensor that has a first dimension; "
            "give tensors [batch, ...], alone or in a dict, list or tuple."
        )
    return size


def _is_on(tensor: Tensor, device: torch.device) -> bool:
    here = tensor.device
    return here == device or (here.type == device.type and device.index is None)


def _like(batch: Any, values: Any) -> Any:
    if hasattr(batch, "_fields"):  # a named tuple takes its fields one by one
        return type(batch)(*values)
    return type(batch)(values)


def _first_size(batch: Any) -> int | None:
    if isinstance(batch, Tensor):
        return batch.shape[0] if batch.ndim else None
    if isinstance(batch, Mapping):
        batch = batch.values()
    elif not isinstance(batch, list | tuple):
        return None
    return next((size for size in map(_first_size, batch) if size is not None), None)
