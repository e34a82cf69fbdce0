"""An epoch's batches dealt out to ranks: each sample once, the same number of steps on each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from torch.utils.data import (
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

from utils.training.engine.data.loader import ResumableDataLoader


class Ghost(NamedTuple):
    """A batch that counts nothing, for a rank that has none where another has.

    It goes through the model, for the others wait for this rank's part of each collective
    operation, and weighs 0.
    """

    batch: Any


class RankLoader(ResumableDataLoader):
    """One rank's part of every epoch, in as many steps as the rank with the most batches has."""

    def __len__(self) -> int:
        """Return the steps of an epoch, the same on every rank."""
        sampler = self.epochs
        rounded = math.floor if sampler.drop_last else math.ceil
        return rounded(sampler.length / (sampler.batch_size * sampler.world_size))

    def start_at(self, batch_index: int) -> None:
        """Let the next iteration, and only that, begin with this step of its epoch.

        Raises:
            ValueError: the epoch has fewer steps.
        """
        self._first_step = batch_index
        missing = batch_index - self.epochs.num_batches
        super().start_at(batch_index if batch_index > len(self) else batch_index - max(missing, 0))

    _first_step = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        epoch, first = self.epochs.epoch, self._first_step
        self._first_step = 0
        num_real = max(0, self.epochs.num_batches - first)
        yield from super().__iter__()
        for _ in range(len(self) - first - num_real):
            yield Ghost(self.batch_of(epoch))

    def batch_of(self, epoch: int) -> Any:
        """Return the whole epoch's first samples as a batch."""
        return self._batches[epoch, self.epochs.first_of_all(epoch)]


class EveryNth:
    """Any loader's batches in turns: rank r takes the r-th of each ``world_size``.

    Every rank reads all of them, so each must be given the same ones in the same order.
    """

    def __init__(self, loader: Iterable[Any], rank: int, world_size: int) -> None:
        self.dataset = loader  # where set_epoch is looked for
        self.sampler = getattr(loader, "sampler", None)  # and generators
        self.batch_sampler = getattr(loader, "batch_sampler", None)
        self.generator = getattr(loader, "generator", None)
        self.batch_size = getattr(loader, "batch_size", None)
        self._loader = loader
        self._rank = rank
        self._world_size = world_size

    def __len__(self) -> int:
        """Return the steps of an epoch.

        Raises:
            TypeError: the loader has no length.
        """
        return math.ceil(len(self._loader) / self._world_size)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self._loader)
        while turn := list(islice(batches, self._world_size)):
            yield turn[self._rank] if self._rank < len(turn) else Ghost(turn[0])


def part_of(loader: Iterable[Any], rank: int, world_size: int, seed: int) -> Iterable[Any]:
    """Return one rank's part of a loader; ``seed`` is of the order where the loader has none.

    A loader by index, ours or a plain DataLoader with one of torch's two usual samplers, is split
    by samples; one with a DistributedSampler for as many ranks is split already; any other is dealt
    out batch by batch.
    """
    if isinstance(loader, ResumableDataLoader):
        return _rank_loader(
            loader, rank, world_size, shuffle=loader.epochs.shuffle, seed=loader.epochs.seed
        )
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return EveryNth(loader, rank, world_size)
    sampler = loader.sampler
    if isinstance(sampler, DistributedSampler) and sampler.num_replicas == world_size:
        return loader
    is_random = type(sampler) is RandomSampler and not sampler.replacement
    if loader.batch_size is None or not (is_random or type(sampler) is SequentialSampler):
        return EveryNth(loader, rank, world_size)
    return _rank_loader(loader, rank, world_size, shuffle=is_random, seed=seed)


def _rank_loader(
    loader: DataLoader[Any], rank: int, world_size: int, *, shuffle: bool, seed: int
) -> RankLoader:
    return RankLoader(
        loader.dataset,
        loader.batch_size or 1,
        shuffle=shuffle,
        drop_last=loader.drop_last,
        seed=seed,
        rank=rank,
        world_size=world_size,
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
        persistent_workers=loader.persistent_workers,
        prefetch_factor=loader.prefetch_factor,
        worker_init_fn=None if isinstance(loader, ResumableDataLoader) else loader.worker_init_fn,
    )
