"""A whole training state, given by the first rank to all: only that one need have the file."""

from __future__ import annotations

import io
import pickle
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from utils.training.engine.distributed.world import Ranks


def state_of_first(world: Ranks, state: dict[str, Any] | None) -> dict[str, Any]:
    """Return the first rank's state on every rank, its tensors on the CPU.

    The tensors travel one by one, so that no rank holds more than the state and one tensor.

    Args:
        world: the ranks; each calls it.
        state: the first rank's; None on all others.
    """
    tensors: list[Tensor] = []
    form: tuple[bytes, list[tuple[torch.Size, torch.dtype]]] | None = None
    if state is not None:
        frame, tensors = _taken_apart(state)
        form = frame, [(tensor.shape, tensor.dtype) for tensor in tensors]
    frame, kinds = world.of_first(form)
    if state is None:
        tensors = [torch.empty(shape, dtype=dtype) for shape, dtype in kinds]
    for tensor in tensors:
        if tensor.numel():
            content = tensor.contiguous().reshape(-1).view(torch.uint8)  # gloo lacks some types
            dist.broadcast(content, src=0, group=world.hosts)
    return state if state is not None else _put_together(frame, tensors)


def _taken_apart(state: dict[str, Any]) -> tuple[bytes, list[Tensor]]:
    """Return the state without its tensors, and these."""
    tensors: list[Tensor] = []

    class Frame(pickle.Pickler):
        def persistent_id(self, value: Any) -> int | None:
            if not isinstance(value, Tensor):
                return None
            tensors.append(value.detach())
            return len(tensors) - 1

    frame = io.BytesIO()
    Frame(frame).dump(state)
    return frame.getvalue(), tensors


def _put_together(frame: bytes, tensors: list[Tensor]) -> dict[str, Any]:
    class Frame(pickle.Unpickler):
        def persistent_load(self, place: Any) -> Tensor:
            return tensors[place]

    state: dict[str, Any] = Frame(io.BytesIO(frame)).load()
    return state
