"""A model over ranks: replicated by DDP, or sharded block by block by FSDP2."""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from utils.training.engine.activation_checkpointing import find_blocks

_COALESCED_BYTES = 1 << 25  # that travel in one message


class RankModel(Protocol):
    """A model whose gradients are averaged over the ranks."""

    model: nn.Module  # as the user gave it: names, state, validation
    forward: nn.Module  # what a training batch goes through

    def synchronise(self, wanted: bool) -> None:
        """Say whether the next backward pass averages the gradients, or keeps this rank's own."""


class Replicas:
    """The whole model on each rank (DDP)."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.model = model
        self._replica = DistributedDataParallel(
            model,
            device_ids=[device] if device.type == "cuda" else None,
            forward_sync_buffers=False,
            gradient_as_bucket_view=True,
        )
        self.forward: nn.Module = self._replica

    def synchronise(self, wanted: bool) -> None:
        """Do what ``no_sync()`` does, without a context around forward and backward."""
        self._replica.require_backward_grad_sync = wanted


class Shards:
    """A part of every parameter on each rank (FSDP2), gathered block by block where it is used."""

    def __init__(
        self, model: nn.Module, device: torch.device, size: int, mixed_precision: str | None
    ) -> None:
        broadcast(list(model.parameters()))
        broadcast(list(model.buffers()))
        policy = MixedPrecisionPolicy()
        if mixed_precision == "bf16":
            policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
        mesh = init_device_mesh(device.type, (size,))
        for block in blocks_of(model):
            fully_shard(block, mesh=mesh, mp_policy=policy)
        self._root = fully_shard(model, mesh=mesh, mp_policy=policy)
        self.model: nn.Module = model  # changed in place
        self.forward: nn.Module = model

    def synchronise(self, wanted: bool) -> None:
        """Reduce and scatter the gradients in the next backward pass, or keep them whole."""
        self._root.set_requires_gradient_sync(wanted)


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """Find what is gathered at a time: the classes that the model says not to split, or its blocks.

    A Hugging Face model names them in ``_no_split_modules``; any other's are the members of its
    outermost containers of repeated blocks. A model without either is one block.
    """
    names = set(getattr(model, "_no_split_modules", None) or ())
    named = [module for module in model.modules() if type(module).__name__ in names]
    return named or find_blocks(model)


@torch.no_grad()
def broadcast(tensors: list[Tensor]) -> None:
    """Give every rank the first one's values."""
    for tensor in tensors:
        dist.broadcast(tensor.detach(), src=0)


class BufferCopies:
    """Keeps the buffers that training changes, such as a batch norm's, those of rank 0.

    Each rank's forward pass moves its own; after each optimizer step all take the first rank's, so
    that validation and checkpoints are the same wherever they happen.
    """

    def __init__(self, model: nn.Module) -> None:
        persistent = model.state_dict(keep_vars=True)
        names = [name for name, _ in model.named_buffers() if name in persistent]
        self._buffers: list[Any] = [model.get_buffer(name) for name in names]

    def update(self) -> None:
        """Take the first rank's."""
        if self._buffers:
            coalesced = dist._broadcast_coalesced  # type: ignore[attr-defined]  # noqa: SLF001 - as DDP's own
            assert dist.group.WORLD is not None
            coalesced(dist.group.WORLD, self._buffers, _COALESCED_BYTES, 0)
