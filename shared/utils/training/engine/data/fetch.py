"""A batch from its key: (epoch, indices) in, collated samples out, the same in every process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset, get_worker_info

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
        self._draws = not (draws_nothing(dataset) and getattr(collate, "draws_nothing", False))
        self._by_batch = self._fetch_many is not None or draws_nothing(dataset)
        self._untouched = UntouchedGenerators()

    def __getitem__(self, key: tuple[int, list[int]]) -> Any:
        if not self._draws:
            return self._collate(self._samples(key[1]))
        if get_worker_info() is not None:
            return self._keyed(*key)
        with self._untouched:
            return self._keyed(*key)

    def _keyed(self, epoch: int, indices: list[int]) -> Any:
        if self._by_batch:
            seed_generators(mix(epoch_key(self._seed, epoch, BATCH), indices[0]))
            return self._collate(self._samples(indices))
        base = epoch_key(self._seed, epoch, SAMPLE)
        samples = []
        for index in indices:
            seed_generators(mix(base, index))
            samples.append(self._dataset[index])
        return self._collate(samples)

    def _samples(self, indices: list[int]) -> list[Any]:
        if self._fetch_many is not None:
            samples: list[Any] = self._fetch_many(indices)
            return samples
        return [self._dataset[index] for index in indices]


def draws_nothing(dataset: Any) -> bool:
    """Tell whether fetching surely draws no random number: data at rest, with no code of a user."""
    if type(dataset) in {list, tuple, TensorDataset}:
        return True
    if type(dataset) is Subset:
        return draws_nothing(dataset.dataset)
    if type(dataset) is ConcatDataset:
        return all(draws_nothing(part) for part in dataset.datasets)
    is_hugging_face = type(dataset).__module__ == "datasets.arrow_dataset"
    return is_hugging_face and dataset.format["type"] != "custom"
