"""From a dataset and a task to a loader, in one call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import NoneType
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from utils.training.arguments import (
    is_whole,
    require_instance,
    require_methods,
    with_known_fields,
)
from utils.training.engine.data.loader import ResumableDataLoader
from utils.training.engine.data.registry import CollatorRegistry
from utils.training.engine.data.workers import WorkerStart
from utils.training.errors import InvalidConfigError
from utils.training.task_spec import TaskSpec

logger = logging.getLogger(__name__)


@with_known_fields
@dataclass
class DataLoaderConfig:
    """How a loader loads; the defaults of :meth:`DataLoaderFactory.create`."""

    batch_size: int = 32  # samples in a batch
    shuffle: bool = True
    num_workers: int = 0  # processes; 0 fetches in this one
    pin_memory: bool = True  # off by itself without CUDA
    drop_last: bool = False
    collator_name: str | None = None  # None: by the task's modality
    random_seed: int = 42
    persistent_workers: bool = False  # keep the workers between epochs
    prefetch_factor: int | None = None  # batches that each worker fetches ahead
    rank: int = 0  # the part of every epoch that this process takes
    world_size: int = 1

    def validate(self) -> None:
        """Check every field.

        Raises:
            InvalidConfigError: a ValueError that lists all faults.
        """
        smallest = {"batch_size": 1, "num_workers": 0, "random_seed": 0, "world_size": 1, "rank": 0}
        if self.prefetch_factor is not None:
            smallest["prefetch_factor"] = 1
        faults = [
            f"{name} is {value!r}, allowed is a whole number from {low} up."
            for name, low in smallest.items()
            if not is_whole(value := getattr(self, name), low)
        ]
        faults += [
            f"{name} is {value!r}, allowed is True or False."
            for name in ("shuffle", "pin_memory", "drop_last", "persistent_workers")
            if not isinstance(value := getattr(self, name), bool)
        ]
        if not faults and self.rank >= self.world_size:
            faults.append(f"rank is {self.rank}, allowed is less than world_size.")
        if faults:
            raise InvalidConfigError(faults)


class DataLoaderFactory:
    """Makes loaders that give the same batches for the same seed, with any number of workers.

    Args:
        registry: where collators come from; None: the shared one.
    """

    def __init__(self, registry: CollatorRegistry | None = None) -> None:
        self.registry = registry or CollatorRegistry.get_instance()

    def create(
        self,
        dataset: Any,
        batch_size: int | None = None,
        shuffle: bool | None = None,
        task_spec: TaskSpec | None = None,
        collator_name: str | None = None,
        num_workers: int | None = None,
        pin_memory: bool | None = None,
        drop_last: bool | None = None,
        random_seed: int | None = None,
        *,
        config: DataLoaderConfig | None = None,
        tokenizer: Any = None,
        collate_fn: Callable[[Sequence[Any]], Any] | None = None,
    ) -> DataLoader[Any]:
        """Make a loader; what is left out comes from ``config``.

        Args:
            dataset: a torch or Hugging Face dataset, a list, or anything with ``__len__`` and
                ``__getitem__``. An iterable dataset works too: it brings its own order, and a
                resumed run replays it.
            batch_size: samples in a batch.
            shuffle: a new order for every epoch.
            task_spec: its modality chooses the collator.
            collator_name: a registered collator; wins over the modality.
            num_workers: processes that fetch; 0 fetches in this one.
            pin_memory: page-locked batches; off by itself without CUDA.
            drop_last: leave out the last batch if it isn't full.
            random_seed: of the order, and of what samples draw.
            config: defaults for all of these.
            tokenizer: for text collators.
            collate_fn: a collator of your own; wins over names.

        Returns:
            A :class:`ResumableDataLoader`, or a plain DataLoader for an iterable dataset.

        Raises:
            InvalidConfigError: a ValueError that lists every setting out of range.
            UnknownNameError: a ValueError that offers the nearest collator.
            ValueError: the dataset is empty.
            TypeError: the dataset can't be loaded, or another argument is of the wrong kind.
        """
        require_instance("config", config, (DataLoaderConfig, NoneType), "a DataLoaderConfig")
        if collate_fn is not None:
            require_methods("collate_fn", collate_fn, ["__call__"], "a function of a list")
        given = {
            "batch_size": batch_size,
            "shuffle": shuffle,
            "collator_name": collator_name,
            "num_workers": num_workers,
            "pin_memory": pin_memory,
            "drop_last": drop_last,
            "random_seed": random_seed,
        }
        set_here = {name: value for name, value in given.items() if value is not None}
        settings = replace(config or DataLoaderConfig(), **set_here)  # type: ignore[arg-type]
        settings.validate()
        collate = collate_fn or self._collator(settings, task_spec, tokenizer)
        if isinstance(dataset, IterableDataset):
            return _iterable_loader(dataset, settings, collate, is_shuffle_asked=bool(shuffle))
        return ResumableDataLoader(
            dataset,
            settings.batch_size,
            shuffle=settings.shuffle,
            drop_last=settings.drop_last,
            seed=settings.random_seed,
            rank=settings.rank,
            world_size=settings.world_size,
            collate_fn=collate,
            **_process_options(settings),
        )

    def _collator(
        self, settings: DataLoaderConfig, task_spec: TaskSpec | None, tokenizer: Any
    ) -> Callable[[Sequence[Any]], Any]:
        options = {} if tokenizer is None else {"tokenizer": tokenizer}
        return self.registry.get_collator(task_spec, settings.collator_name, **options)


def _process_options(settings: DataLoaderConfig) -> dict[str, Any]:
    return {
        "num_workers": settings.num_workers,
        "pin_memory": settings.pin_memory and torch.cuda.is_available(),
        "persistent_workers": settings.persistent_workers and settings.num_workers > 0,
        "prefetch_factor": settings.prefetch_factor if settings.num_workers else None,
    }


def _iterable_loader(
    dataset: IterableDataset[Any],
    settings: DataLoaderConfig,
    collate: Callable[[Sequence[Any]], Any],
    *,
    is_shuffle_asked: bool,
) -> DataLoader[Any]:
    if is_shuffle_asked:
        logger.warning(
            "shuffle=True has no effect on an iterable dataset; shuffle in the dataset itself."
        )
    return DataLoader(
        dataset,
        batch_size=settings.batch_size,
        drop_last=settings.drop_last,
        collate_fn=collate,
        worker_init_fn=WorkerStart(),
        generator=torch.Generator().manual_seed(settings.random_seed),
        **_process_options(settings),
    )
