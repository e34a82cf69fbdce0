"""The processes that train together: one alone, or the ranks that torchrun started."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Protocol

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from utils.training.engine.devices import resolve_device
from utils.training.engine.distributed.failure import FailureWatch
from utils.training.engine.distributed.meeting import fresh_part
from utils.training.engine.epoch_sums import EpochSums
from utils.training.errors import InvalidConfigError
from utils.training.training_config import TrainingConfig

logger = logging.getLogger(__name__)

Strategy = Literal["plain", "ddp", "fsdp"]


class World(Protocol):
    """What the Trainer asks of the processes that train together."""

    @property
    def rank(self) -> int:
        """This process's number, from 0."""

    @property
    def size(self) -> int:
        """How many there are."""

    @property
    def strategy(self) -> Strategy:
        """What is replicated or sharded over them."""

    @property
    def is_first(self) -> bool:
        """True on the rank that logs, draws, calls hooks and writes."""

    def device(self, name: str) -> torch.device:
        """This process's device by the config's name."""

    def gather(self, value: Any) -> list[Any]:
        """Return the plain values of all ranks, in their order, on each of them."""

    def of_first(self, value: Any) -> Any:
        """Return the first rank's plain value on every rank."""

    def any(self, flag: bool) -> bool:
        """Tell whether the flag is set on any rank."""

    def add_up(self, sums: EpochSums) -> EpochSums:
        """Return an epoch's sums over all ranks."""

    def watching(self) -> Any:
        """Context in which an error on one rank ends all."""


@dataclass(frozen=True)
class Alone:
    """One process: everything is its own, and nothing is sent."""

    rank: int = 0
    size: int = 1
    strategy: Strategy = "plain"
    is_first: bool = True

    def device(self, name: str) -> torch.device:
        """Return the device as it is named."""
        return resolve_device(name)

    def gather(self, value: Any) -> list[Any]:
        """Return the one value."""
        return [value]

    def of_first(self, value: Any) -> Any:
        """Return the value."""
        return value

    def any(self, flag: bool) -> bool:
        """Return the flag."""
        return flag

    def add_up(self, sums: EpochSums) -> EpochSums:
        """Return the sums."""
        return sums

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch nobody."""
        yield


@dataclass(frozen=True)
class Ranks:
    """Several processes, with a gloo group of their own for values on the host.

    ``writers`` is another group, for the thread that writes checkpoints: two threads that share
    one would mix up their messages.
    """

    rank: int
    size: int
    strategy: Strategy
    local_rank: int
    hosts: Any
    writers: Any
    watch: FailureWatch

    @property
    def is_first(self) -> bool:
        """True on rank 0."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """Return the device; a GPU without a number is the one of the local rank."""
        device = resolve_device(name)
        if device.type != "cuda":
            return device
        if device.index is None:
            device = torch.device("cuda", self.local_rank)
        torch.cuda.set_device(device)
        return device

    def gather(self, value: Any) -> list[Any]:
        """Return the plain values of all ranks, in their order, on each of them."""
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.hosts)
        return values

    def of_first(self, value: Any) -> Any:
        """Return the first rank's plain value on every rank."""
        values = [value]
        dist.broadcast_object_list(values, src=0, group=self.hosts)
        return values[0]

    def any(self, flag: bool) -> bool:
        """Tell whether the flag is set on any rank."""
        flags = torch.tensor(int(flag))
        dist.all_reduce(flags, dist.ReduceOp.MAX, group=self.hosts)
        return bool(flags.item())

    def add_up(self, sums: EpochSums) -> EpochSums:
        """Return an epoch's sums over all ranks."""
        return EpochSums.added_up(self.gather(sums.state_dict()))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Have an error on one rank end all; only the first rank logs what is no warning."""
        ours = logging.getLogger("utils.training")
        former = ours.level
        if not self.is_first:
            ours.setLevel(logging.ERROR)
        try:
            with self.watch.watching():
                yield
        finally:
            ours.setLevel(former)


def join_world(config: TrainingConfig) -> World:
    """Join the other processes that torchrun started, or train alone where it started none.

    A process joins once; later runs of the same process find the groups made.

    Raises:
        InvalidConfigError: a ValueError; the setting doesn't fit the ranks.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if dist.is_available() and dist.is_initialized():
        size = dist.get_world_size()
    if size == 1:
        return Alone()
    if not dist.is_available():
        raise InvalidConfigError(
            [f"WORLD_SIZE is {size}, and this build of torch has no torch.distributed."]
        )
    hosts, writers, watch = _groups(config.device)
    return Ranks(
        rank=dist.get_rank(),
        size=size,
        strategy="fsdp" if config.strategy == "fsdp" else "ddp",
        local_rank=int(os.environ.get("LOCAL_RANK", dist.get_rank())),
        hosts=hosts,
        writers=writers,
        watch=watch,
    )


@cache
def _groups(device_name: str) -> tuple[Any, Any, FailureWatch]:
    """Make the process's groups: for tensors on its device, for values, for writing."""
    if not dist.is_initialized():
        device = resolve_device(device_name)
        if device.type == "cuda":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        shared, rank, size = next(rendezvous("env://"))
        store = fresh_part(shared, rank, size)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
        atexit.register(_leave)
    store = dist.distributed_c10d._get_default_store()  # noqa: SLF001 - torch offers no public way
    watch = FailureWatch(store, dist.get_rank())
    return dist.new_group(backend="gloo"), dist.new_group(backend="gloo"), watch


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
