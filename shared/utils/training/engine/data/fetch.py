"""A batch from its key: (epoch, indices) in, collated samples out, the same in every process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    ConcatDataset,
    Dataset,
    Subset,
    TensorDataset,
    default_collate,
    get_worker_info,
)

from utils.training.engine.data.keys import (
    BATCH,
    SAMPLE,
    UntouchedGenerators,
    epoch_key,
    mix,
    seed_generators,
)


class KeyedBatches(Dataset[Any]):
    """A dataset of batches: ``batches[epoch, indices]`` is collated and reproducible.

    Right before a sample is fetched, the random generators are set to the key of (seed, epoch,
    index). Where a dataset fetches a batch at once, they are set once, to the key of (seed, epoch,
    first index), which no other batch of the epoch has. Where neither the dataset nor the collator
    can draw a random number, they are left alone. The collator draws on from the last sample.
    """

    def __init__(self, dataset: Any, collate: Callable[[list[Any]], Any], seed: int) -> None:
        self._dataset = dataset
        self._collate = collate
        self._seed = seed
        self._fetch_many = getattr(dataset, "__getitems__", None)
        self._is_data_at_rest = is_data_at_rest(dataset)
        self._draws = not (self._is_data_at_rest and _draws_nothing(collate))
        self._takes_columns = is_tensors(dataset) and hasattr(collate, "from_columns")
        self._untouched = UntouchedGenerators()

    def __getitem__(self, key: tuple[int, list[int]]) -> Any:
        if not self._draws:
            return self._batch(key[1])
        if get_worker_info() is not None:
            return self._keyed_batch(*key)
        with self._untouched:
            return self._keyed_batch(*key)

    def _keyed_batch(self, epoch: int, indices: list[int]) -> Any:
        if self._fetch_many is not None or self._is_data_at_rest:
            seed_generators(mix(epoch_key(self._seed, epoch, BATCH), indices[0]))
            return self._batch(indices)
        base = epoch_key(self._seed, epoch, SAMPLE)
        samples = []
        for index in indices:
            seed_generators(mix(base, index))
            samples.append(self._dataset[index])
        return self._collate(samples)

    def _batch(self, indices: list[int]) -> Any:
        if self._takes_columns:
            return self._collate.from_columns(_columns(self._dataset, indices))  # type: ignore[attr-defined]
        if self._fetch_many is not None:
            return self._collate(self._fetch_many(indices))
        return self._collate([self._dataset[index] for index in indices])


def is_data_at_rest(dataset: Any) -> bool:
    """Tell whether no code of a user runs in a fetch, so that it can't draw a random number."""
    if type(dataset) in {list, tuple, TensorDataset}:
        return True
    if type(dataset) is Subset:
        return is_data_at_rest(dataset.dataset)
    if type(dataset) is ConcatDataset:
        return all(is_data_at_rest(part) for part in dataset.datasets)
    is_hugging_face = type(dataset).__module__ == "datasets.arrow_dataset"
    return is_hugging_face and dataset.format["type"] != "custom"


def is_tensors(dataset: Any) -> bool:
    """Tell whether a batch can be cut out of whole tensors at once, many times faster."""
    if type(dataset) is Subset:
        return is_tensors(dataset.dataset)
    return type(dataset) is TensorDataset


def _columns(dataset: Any, indices: list[int]) -> list[Tensor]:
    if type(dataset) is Subset:
        return _columns(dataset.dataset, [dataset.indices[index] for index in indices])
    rows = torch.tensor(indices)
    return [tensor[rows] for tensor in dataset.tensors]


def _draws_nothing(collate: Callable[[list[Any]], Any]) -> bool:
    return collate is default_collate or getattr(collate, "draws_nothing", False)
