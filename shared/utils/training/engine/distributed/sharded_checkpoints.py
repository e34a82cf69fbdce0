"""Checkpoints of ranks that hold a part of each tensor: every rank writes its own part.

The tensors go through ``torch.distributed.checkpoint`` into a folder, and what else the state has
into the checkpoint's file, which is written when the folder is whole. A copy of the shards is taken
into kept memory before training goes on; all else happens in a thread.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from utils.training.engine.checkpoint import CheckpointManager
from utils.training.engine.checkpoint.archive import Archive
from utils.training.engine.checkpoint.shards import (
    digest_of,
    folder_name,
    put_in,
    remove_orphans,
    seal,
)
from utils.training.engine.checkpoint.staging import HostBuffers
from utils.training.engine.checkpoint.state import NonFiniteWeightsError
from utils.training.engine.distributed.world import Ranks


class ShardedCheckpoints(CheckpointManager):
    """Saves and loads shards; a whole file, or shards of another number of ranks, load too.

    Every rank calls every method.

    Args:
        world: the ranks.
        model: sharded already; it says which tensors are, and how.
        optimizer: over the model's parameters.
        settings: those of :class:`CheckpointManager`.
    """

    def __init__(
        self, world: Ranks, model: nn.Module, optimizer: Optimizer, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self._world = world
        self._model = model
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._shard_buffers = HostBuffers()
        self._host_mesh = init_device_mesh("cpu", (world.size,))
        self._staged: dict[str, Tensor] = {}
        self._token = ""
        if world.is_first:
            remove_orphans(self.checkpoint_dir)

    def save(self, model: nn.Module, optimizer: Optimizer, *args: Any, **kwargs: Any) -> Path:
        """Save at the end of an epoch; see :meth:`CheckpointManager.save`."""
        return super().save(*self._staged_parts(model, optimizer, kwargs), *args, **kwargs)

    def save_step(self, model: nn.Module, optimizer: Optimizer, *args: Any, **kwargs: Any) -> Path:
        """Save within an epoch; see :meth:`CheckpointManager.save_step`."""
        return super().save_step(*self._staged_parts(model, optimizer, kwargs), *args, **kwargs)

    def latest(self) -> Path | None:
        """Return the newest whole checkpoint, by the first rank's word."""
        self.wait()
        path: Path | None = self._world.of_first(super().latest() if self._world.is_first else None)
        return path

    def get_best(self) -> Path | None:
        """Return the best checkpoint, by the first rank's word."""
        self.wait()
        best = super().get_best() if self._world.is_first else None
        path: Path | None = self._world.of_first(best)
        return path

    def close(self) -> None:
        """Wait for the save in the background, and give its memory and its thread back."""
        try:
            super().close()
        finally:
            self._staged = {}
            self._shard_buffers.release()

    def _staged_parts(
        self, model: nn.Module, optimizer: Optimizer, kwargs: dict[str, Any]
    ) -> tuple[nn.Module, Optimizer]:
        """Copy the shards to the host, and return what else model and optimizer have to save."""
        self.wait()  # until then the buffers hold the last save's copy
        self._token = self._world.of_first(secrets.token_hex(4))
        shards: dict[str, DTensor] = {}
        weights = _without_shards(model.state_dict(), "model/", shards)
        moments = optimizer.state_dict()
        moments["state"] = {
            index: _without_shards(state, f"optimizer/{index}/", shards)
            for index, state in moments["state"].items()
        }
        average = kwargs["custom_state"].get("average") or {}
        if average:
            averages = _without_shards(average["averages"], "average/", shards)
            kwargs["custom_state"] = kwargs["custom_state"] | {
                "average": average | {"averages": averages}
            }
        copies = self._shard_buffers.snapshot(
            {name: shard.to_local().detach() for name, shard in shards.items()}
        )
        self._staged = {
            name: DTensor.from_local(
                copies[name],
                self._host_mesh,
                shard.placements,
                run_check=False,
                shape=shard.shape,
                stride=shard.stride(),
            )
            for name, shard in shards.items()
        }
        rest = cast("nn.Module", _Rest(weights, dict(model.named_buffers())))
        return rest, cast("Optimizer", _Rest(moments))

    def _write(self, path: Path, model: nn.Module, state: dict[str, Any], archive: Archive) -> None:
        del archive  # of a state that does not name its shards yet
        self._require_finite_shards()
        folder = self.checkpoint_dir / folder_name(path, self._token)
        group = self._world.writers
        save(self._staged, storage_writer=FileSystemWriter(folder), process_group=group)
        mine = {p.name: digest_of(p) for p in folder.glob(f"__{self._world.rank}_*")}
        everyone: list[Any] = [None] * self._world.size
        dist.all_gather_object(everyone, mine, group=group)
        if self._world.is_first:
            mine = {".metadata": digest_of(folder / ".metadata")}
            digests = {name: digest for part in (mine, *everyone) for name, digest in part.items()}
            state["shards"] = seal(folder, digests)
            super()._write(path, model, state, Archive(state))
            remove_orphans(self.checkpoint_dir, path, folder.name)
        dist.barrier(group)

    def _require_finite_shards(self) -> None:
        """Refuse NaN and Inf in any rank's weights, on all ranks."""
        weights = [
            cast("DTensor", tensor).to_local()
            for name, tensor in self._staged.items()
            if name.startswith("model/") and tensor.is_floating_point()
        ]
        bad = torch.tensor(int(not all(weight.isfinite().all() for weight in weights)))
        dist.all_reduce(bad, dist.ReduceOp.MAX, group=self._world.writers)
        if bad:
            raise NonFiniteWeightsError(
                "A weight is NaN or Inf, so nothing was saved; go back to the newest checkpoint, "
                "and lower the learning rate or clip gradients."
            )

    def _completed(self, path: Path, state: dict[str, Any]) -> dict[str, Any]:
        if "shards" not in state:
            return self._distributed(state)
        reader = FileSystemReader(path.parent / state["shards"]["folder"])
        names = reader.read_metadata().state_dict_metadata
        shards: dict[str, Any] = {name: torch.empty_like(self._like(name)) for name in names}
        load(shards, storage_reader=reader, process_group=self._world.hosts)
        return put_in(state, shards)

    def _like(self, name: str) -> Tensor:
        """Return the parameter that a tensor of the shards is laid out as."""
        part, _, rest = name.partition("/")
        if part == "optimizer":
            parameter: Tensor = self._parameters[int(rest.partition("/")[0])]
            return parameter.detach()
        return self._model.get_parameter(rest).detach()

    def _distributed(self, state: dict[str, Any]) -> dict[str, Any]:
        """Cut a whole state into this rank's shards; nothing is sent."""
        weights = state["model_state_dict"]
        averages = (state["custom_state"].get("average") or {}).get("averages", {})
        for name, parameter in self._model.named_parameters(remove_duplicate=False):
            for tensors in (weights, averages):
                if name in tensors:
                    tensors[name] = _shard_as(parameter, tensors[name])
        for index, moments in state["optimizer_state_dict"]["state"].items():
            parameter = self._parameters[index]
            for key, value in moments.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim:
                    moments[key] = _shard_as(parameter, value)
        return state


class _Rest:
    """A state that is taken already, for a manager that asks a model or an optimizer for it."""

    def __init__(self, state: dict[str, Any], buffers: dict[str, Tensor] | None = None) -> None:
        self._state = state
        self._buffers = buffers or {}

    def state_dict(self) -> dict[str, Any]:
        return self._state

    def named_buffers(self, *, remove_duplicate: bool = True) -> list[tuple[str, Tensor]]:
        del remove_duplicate  # both names of a shared one are there
        return list(self._buffers.items())


def _without_shards(
    state: dict[str, Any], prefix: str, shards: dict[str, DTensor]
) -> dict[str, Any]:
    """Return what of a state each rank has whole; the sharded tensors go into ``shards``."""
    rest = {}
    for name, value in state.items():
        if isinstance(value, DTensor):
            shards[f"{prefix}{name}"] = value
        else:
            rest[name] = value
    return rest


def _shard_as(parameter: Tensor, whole: Tensor) -> Tensor:
    assert isinstance(parameter, DTensor)
    placed = whole.to(parameter.device)
    mesh, placements = parameter.device_mesh, parameter.placements
    return distribute_tensor(placed, mesh, placements, src_data_rank=None)
