"""A DataLoader that resumes at any batch in no time, bit for bit, with any number of workers."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.context import BaseContext
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, default_collate

from utils.training.arguments import is_whole
from utils.training.engine.data.fetch import KeyedBatches
from utils.training.engine.data.sampler import EpochSampler
from utils.training.engine.data.workers import WorkerStart, signals_held_back

logger = logging.getLogger(__name__)


class ResumableDataLoader(DataLoader[Any]):
    """A map-style dataset in batches that are a pure function of (seed, epoch, batch index).

    The order of an epoch follows from (seed, epoch), and what a sample draws from Python's,
    NumPy's legacy and PyTorch's CPU generator from (seed, epoch, sample index). So the number of
    workers changes nothing, the position is two whole numbers, and the process's own generators
    (dropout's, say) are never touched.

    Iterating again without :meth:`set_epoch` takes the next epoch. Workers are forked on Linux,
    where a dataset need not be picklable, and spawned elsewhere; each has one thread.

    Args:
        dataset: anything with ``__len__`` and ``__getitem__`` or ``__getitems__``.
        batch_size: samples in a batch of this rank.
        shuffle: a new order for every epoch.
        drop_last: leave out what doesn't fill a batch on every rank.
        seed: of order and samples.
        rank: which part of every epoch this process takes.
        world_size: how many parts there are; see :class:`EpochSampler`.
        collate_fn: samples to batch.
        num_workers: processes that fetch; 0 fetches in this one.
        pin_memory: page-locked batches, for faster copies to a GPU.
        persistent_workers: keep the workers between epochs (and a copy of the dataset in them).
        prefetch_factor: batches that each worker fetches ahead.
        multiprocessing_context: how workers start: "fork", "spawn", "forkserver" or a context.
        worker_init_fn: called in every worker with its number.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        num_workers: int = 0,
        pin_memory: bool = False,
        persistent_workers: bool = False,
        prefetch_factor: int | None = None,
        multiprocessing_context: str | BaseContext | None = None,
        worker_init_fn: Callable[[int], None] | None = None,
    ) -> None:
        refuse_unsuitable(dataset, batch_size)
        self.epochs = EpochSampler(
            len(dataset),
            batch_size=batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )
        super().__init__(
            dataset,
            batch_size=batch_size,
            sampler=self.epochs,
            drop_last=drop_last,
            collate_fn=collate_fn or default_collate,
            num_workers=num_workers,
            pin_memory=pin_memory,
            persistent_workers=persistent_workers,
            prefetch_factor=prefetch_factor,
            multiprocessing_context=multiprocessing_context or _start_method(num_workers),
            worker_init_fn=WorkerStart(worker_init_fn),
        )
        self._batches = KeyedBatches(dataset, self.collate_fn, seed)
        self._keys = _Keys(self.epochs)
        self._fetching = self._fetching_loader()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration; later ones count on from it."""
        self.epochs.set_epoch(epoch)

    def start_at(self, batch_index: int) -> None:
        """Let the next iteration, and only that, begin with this batch of its epoch.

        Raises:
            ValueError: the epoch has fewer batches.
        """
        self.epochs.start_at(batch_index)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self._keys.position = self.epochs.take_position()
        if self.num_workers == 0 and not self.pin_memory:
            return map(self._batches.__getitem__, self._keys)
        with signals_held_back():
            batches = iter(self._fetching)
        return self._ending_with(batches)

    def _ending_with(self, batches: Any) -> Iterator[Any]:
        """Pass batches on, and end the workers when the epoch ends, fails or is abandoned.

        Left to the garbage collector, that stalls for 5 seconds a worker after an error, since
        the queues are gone before the iterator asks the workers to leave.
        """
        is_kept = False
        try:
            yield from batches
            is_kept = self.persistent_workers
        finally:
            if self.num_workers and not is_kept:
                batches._shutdown_workers()  # noqa: SLF001 - torch offers no public way
                self._fetching = self._fetching_loader()

    def _fetching_loader(self) -> DataLoader[Any]:
        return _FetchingLoader(
            self._batches,
            batch_size=None,
            sampler=self._keys,
            collate_fn=_as_it_is,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            persistent_workers=self.persistent_workers,
            prefetch_factor=self.prefetch_factor if self.num_workers else None,
            multiprocessing_context=self.multiprocessing_context,
            worker_init_fn=self.worker_init_fn,
            generator=torch.Generator(),  # a DataLoader draws a seed per epoch; not from ours
        )

    def check_worker_number_rationality(self) -> None:
        """Say it in the log where there are more workers than processors."""
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        if processors and self.num_workers > processors:
            logger.warning(
                "num_workers is %d on %d processors; more workers than processors slow each "
                "other down.",
                self.num_workers,
                processors,
            )


class _FetchingLoader(DataLoader[Any]):
    """The loader inside: it iterates keys, and the one outside has checked what it was given."""

    def check_worker_number_rationality(self) -> None:
        """Stay silent: the outer loader has spoken."""


class _Keys:
    """The sampler inside: an item is the key of a whole batch.

    It may be opened more than once for one epoch (a DataLoader does), so it keeps the position.
    """

    def __init__(self, epochs: EpochSampler) -> None:
        self._epochs = epochs
        self.position = (0, 0)  # epoch and first batch

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        return self._epochs.batches(*self.position)


def _as_it_is(batch: Any) -> Any:
    return batch


def _is_pair_of_columns(dataset: Any) -> bool:
    """Tell inputs [n, ...] beside labels [n] from two samples, whose shapes are equal."""
    if not isinstance(dataset, tuple | list) or len(dataset) != 2:  # noqa: PLR2004 - inputs, labels
        return False
    shapes = [tuple(getattr(part, "shape", ())) for part in dataset]
    return all(shapes) and shapes[0] != shapes[1] and shapes[0][0] == shapes[1][0]


def _start_method(num_workers: int) -> str | None:
    return "fork" if num_workers > 0 and sys.platform == "linux" else None


def refuse_unsuitable(dataset: Any, batch_size: int) -> None:
    """Raise one sentence for what can't be batched by index.

    Raises:
        TypeError: the dataset has no length or no items.
        ValueError: the dataset is empty, or the batch size no whole number from 1 up.
    """
    if not is_whole(batch_size, 1):
        raise ValueError(f"batch_size is {batch_size!r}, allowed is a whole number from 1 up.")
    if isinstance(dataset, str | bytes):
        raise TypeError(
            f"The dataset is the text {dataset[:60]!r}; load what it names first, and give that."
        )
    if hasattr(dataset, "iloc"):
        raise TypeError(
            f"The dataset is a {type(dataset).__name__}, which gives columns and not rows by "
            "index; give its rows, such as frame.to_dict('records')."
        )
    if _is_pair_of_columns(dataset):
        raise TypeError(
            f"The dataset is a {type(dataset).__name__} of inputs and labels side by side; give "
            "samples, such as TensorDataset(inputs, labels)."
        )
    if isinstance(dataset, Mapping):
        raise TypeError(
            f"The dataset is a {type(dataset).__name__} with the keys "
            f"{', '.join(map(str, dataset))}; give one of its parts."
        )
    is_map = hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
    if not is_map or isinstance(dataset, IterableDataset):
        raise TypeError(
            f"The dataset is a {type(dataset).__name__}, which has no order to draw by index; give "
            "one with __len__ and __getitem__, or wrap it in a torch DataLoader of your own."
        )
    if len(dataset) == 0:
        raise ValueError("The dataset is empty; give one with at least 1 sample.")
