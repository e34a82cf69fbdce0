"""An epoch's order as a pure function of seed and epoch, split over ranks, entered anywhere."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Sampler

from utils.training.engine.data.keys import ORDER, epoch_key


class EpochSampler(Sampler[int]):
    """Indices of one rank, shuffled anew for every epoch; nothing to save but (epoch, batch).

    Rank r of W takes every W-th sample of the epoch's order. Each sample comes once over all
    ranks: nothing is repeated to even them out, so the last batch of a rank may be shorter than
    another's, or be missing. With ``drop_last`` every rank has the same full batches.
    Batch b of all ranks together holds the same samples as batch b of one rank with W times the
    batch size.
    """

    def __init__(
        self,
        length: int,
        *,
        batch_size: int,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank is {rank}, allowed is 0 to {world_size - 1} (world_size - 1).")
        self.length = length
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.start = 0  # the batch that the next iteration begins with

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration; later ones count on from it."""
        self.epoch = epoch

    def start_at(self, batch_index: int) -> None:
        """Let the next iteration, and only that, begin with this batch of the epoch.

        Raises:
            ValueError: the epoch has fewer batches.
        """
        if not 0 <= batch_index <= self.num_batches:
            raise ValueError(
                f"The position is batch {batch_index}, allowed is 0 to {self.num_batches}, the "
                "batches of an epoch; resume with the dataset and batch size that were saved."
            )
        self.start = batch_index

    @property
    def num_batches(self) -> int:
        """Batches of this rank in a whole epoch."""
        return -(-len(self) // self.batch_size)

    def order(self, epoch: int) -> Tensor:
        """Give this rank's indices [samples] in the order of an epoch."""
        used = self.length
        if self.drop_last:
            used -= used % (self.batch_size * self.world_size)
        return self._whole_order(epoch)[:used][self.rank :: self.world_size]

    def first_of_all(self, epoch: int) -> list[int]:
        """Give the first indices of an epoch, as many as a batch holds, on every rank the same."""
        first: list[int] = self._whole_order(epoch)[: self.batch_size].tolist()
        return first

    def _whole_order(self, epoch: int) -> Tensor:
        if not self.shuffle:
            return torch.arange(self.length)
        generator = torch.Generator().manual_seed(epoch_key(self.seed, epoch, ORDER))
        return torch.randperm(self.length, generator=generator)

    def take_position(self) -> tuple[int, int]:
        """Give (epoch, first batch) of the iteration that begins now, and move on to the next."""
        position = self.epoch, self.start
        self.epoch, self.start = self.epoch + 1, 0
        return position

    def batches(self, epoch: int, start: int = 0) -> Iterator[tuple[int, list[int]]]:
        """Yield (epoch, indices) for every batch from ``start`` on."""
        chunks = self.order(epoch)[start * self.batch_size :].split(self.batch_size)
        return ((epoch, chunk.tolist()) for chunk in chunks if len(chunk))

    def __iter__(self) -> Iterator[int]:
        position = self.take_position()
        return (index for _, indices in self.batches(*position) for index in indices)

    def __len__(self) -> int:
        if self.drop_last:
            return self.length // (self.batch_size * self.world_size) * self.batch_size
        return len(range(self.rank, self.length, self.world_size))
